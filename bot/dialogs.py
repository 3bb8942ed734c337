"""The dialogs that ask a reviewer more: why, what they approve, what they change, what they answer instead.

Closing one is never a decision, and submitting one is one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slack_sdk.models.blocks import (
    Block,
    InputBlock,
    MarkdownTextObject,
    PlainTextInputElement,
    PlainTextObject,
    SectionBlock,
)
from slack_sdk.models.views import View

from graph_runtime import ApprovalRequest, RequestView

from . import cards
from .fields import LONGEST_TEXT, Field, offered
from .forms import block_of, typed
from .payloads import DialogOrigin, Submission
from .redaction import Masked
from .text import plain, worded

EDIT_DIALOG = "signoff_edit_dialog"
RESPOND_DIALOG = "signoff_respond_dialog"
COMMENT_BLOCK, COMMENT_INPUT = "comment", "text"
ANSWER_BLOCK, ANSWER_INPUT = "answer", "text"
_CONFIRMED = 300
_FIXED = 10
#: Beside what the policy lets change, and the dialog does not.
_NOT_TYPED = ": not shown whole, so it cannot be changed here"


def _asking(callback: str, origin: DialogOrigin, title: str, submit: str, blocks: Sequence[Block]) -> View:
    """Return a dialog that asks for more, and remembers the card it was opened from."""
    return View(
        type="modal",
        callback_id=callback,
        title=PlainTextObject(text=title),
        submit=PlainTextObject(text=submit),
        close=PlainTextObject(text="Back"),
        private_metadata=origin.model_dump_json(),
        blocks=blocks,
    )


def reject_dialog(request: ApprovalRequest, origin: DialogOrigin, *, reason_required: bool) -> View:
    """Return the dialog that asks why. Closing it is never a decision."""
    return _asking(
        cards.REJECT_DIALOG,
        origin,
        "Reject",
        "Reject",
        blocks=[
            SectionBlock(text=PlainTextObject(text=cards.title_of(request), emoji=False)),
            InputBlock(
                block_id=cards.REASON_BLOCK,
                label=PlainTextObject(text="Why?"),
                optional=not reason_required,
                hint=PlainTextObject(text="The requester sees this, and it is kept."),
                element=PlainTextInputElement(
                    action_id=cards.REASON_INPUT, multiline=True, max_length=cards.REASON, focus_on_load=True
                ),
            ),
        ],
    )


def confirm_dialog(request: ApprovalRequest, origin: DialogOrigin, phrase: str) -> View:
    """Return the dialog in which an approver types what they approve. Closing it is never a decision."""
    return _asking(
        cards.CONFIRM_DIALOG,
        origin,
        "Approve",
        "Approve",
        blocks=[
            SectionBlock(text=PlainTextObject(text=cards.title_of(request), emoji=False)),
            confirm_input(phrase, focus=True),
        ],
    )


def confirm_input(phrase: str, *, focus: bool = False) -> Block:
    """Return the input in which an approver types what they approve."""
    return InputBlock(
        block_id=cards.CONFIRM_BLOCK,
        label=PlainTextObject(text=plain(f"Type {phrase} to confirm", 150), emoji=False),
        element=PlainTextInputElement(
            action_id=cards.CONFIRM_INPUT, max_length=_CONFIRMED, focus_on_load=focus or None
        ),
    )


def notice_dialog(sentence: str, title: str = "Not recorded", *more: Block) -> View:
    """Return a dialog that only says something, in place of one whose question was decided meanwhile."""
    return View(
        type="modal",
        title=PlainTextObject(text=title),
        close=PlainTextObject(text="Close"),
        blocks=[SectionBlock(text=MarkdownTextObject(text=sentence, verbatim=True)), *more],
    )


def edit_dialog(view: RequestView, origin: DialogOrigin) -> View:
    """Return the dialog in which what may be changed is changed, and that approved."""
    case, standing = view.case, view.standing
    fields = offered(case, standing)
    blocks: list[Block] = [SectionBlock(text=PlainTextObject(text=cards.title_of(view.request), emoji=False))]
    fixed = _fixed(view, fields)
    blocks += [cards.lines(fixed)] if fixed else []
    blocks += [block_of(field) for field in fields]
    if case.terms.confirm is not None:
        blocks.append(confirm_input(case.terms.confirm))
    blocks.append(
        _text(
            COMMENT_BLOCK,
            COMMENT_INPUT,
            "Why?",
            "Submitting approves it as it stands here. Everybody sees what you changed, and why.",
            cards.REASON,
        )
    )
    return _asking(
        EDIT_DIALOG,
        origin,
        "Approve with changes",
        "Approve",
        blocks=blocks,
    )


def respond_dialog(view: RequestView, origin: DialogOrigin) -> View:
    """Return the dialog in which somebody answers instead of approving."""
    hint = "Nothing is carried out. Who asked, and the workflow, get this answer."
    return _asking(
        RESPOND_DIALOG,
        origin,
        "Reply instead",
        "Reply",
        blocks=[
            SectionBlock(text=PlainTextObject(text=cards.title_of(view.request), emoji=False)),
            _text(ANSWER_BLOCK, ANSWER_INPUT, "Your answer", hint, LONGEST_TEXT),
        ],
    )


def read_edit(fields: Sequence[Field], submission: Submission) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Return what was changed, and a sentence for each block that could not be read."""
    values, wrong = typed(fields, submission)
    changed = {f.name: values[f.name] for f in fields if f.name in values and values[f.name] is not f.present}
    if not submission.text(COMMENT_BLOCK, COMMENT_INPUT).strip():
        wrong[COMMENT_BLOCK] = "Say why you changed it."
    return changed, wrong


def _fixed(view: RequestView, fields: Sequence[Field]) -> list[tuple[str, str]]:
    """Return what the dialog only shows."""
    action, edited = view.request.action, view.standing.arguments
    arguments = (action.arguments if action else {}) if edited is None else edited
    named = {field.name for field in fields}
    shown = {**view.request.facts, **arguments}
    edit = view.case.policy.edit
    barred = {n for n in (edit.fields if edit else ()) if isinstance(arguments.get(n), Masked)}
    found = [
        (plain(n, 60), plain(worded(v), 200) + (_NOT_TYPED if n in barred else ""))
        for n, v in shown.items()
        if n not in named
    ]
    if len(found) > _FIXED:
        found[_FIXED:] = [("and", f"{len(found) - _FIXED} more, on the card")]
    return found


def _text(block: str, action: str, label: str, hint: str, most: int) -> Block:
    return InputBlock(
        block_id=block,
        label=PlainTextObject(text=label),
        hint=PlainTextObject(text=hint),
        element=PlainTextInputElement(action_id=action, multiline=True, max_length=most),
    )
