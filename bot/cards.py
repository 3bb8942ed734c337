"""Cards, dialogs and lines as pure functions: what is shown of a request, and how a click finds its way back.

A card is understood in five seconds: what will be done, with what, who asks, who may answer. Values come from
graphs and people, so they stand in rich_text elements, which Slack does not parse, never in mrkdwn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ButtonElement,
    ContextBlock,
    HeaderBlock,
    InputBlock,
    MarkdownTextObject,
    PlainTextInputElement,
    PlainTextObject,
    RichTextBlock,
    RichTextElementParts,
    RichTextSectionElement,
    SectionBlock,
)
from slack_sdk.models.views import View

from graph_runtime import SECOND, ApprovalRequest, OutboxEntry, Policy, Refused, RequestView, Ticket

from .payloads import DialogOrigin, write_ticket
from .text import escaped, group, person, plain, worded

APPROVE = "signoff_approve"
REJECT = "signoff_reject"
REJECT_DIALOG = "signoff_reject_dialog"
REASON_BLOCK, REASON_INPUT = "reason", "text"
#: Marks our own messages, so that a courier finds one whose receipt was lost.
METADATA = "signoff_entry"

# Slack's limits, with room to spare: header 150, a message's blocks together about 11,000 characters
# (undocumented; 9,000 is safe), chat.update's text 4,000.
_HEADER = 150
_VALUE = 400
_LINES = 16
_NAMES = 20
_FALLBACK = 3_000
_REASON = 1_000

_Text = RichTextElementParts.Text
_bold = RichTextElementParts.TextStyle(bold=True)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as Slack takes it: blocks, and the text that screen readers and notifications use."""

    text: str
    blocks: tuple[Block, ...]
    metadata: Mapping[str, Any]

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of chat.postMessage and chat.update."""
        return {
            "text": self.text,
            "blocks": [block.to_dict() for block in self.blocks],
            "metadata": dict(self.metadata),
        }


def card(view: RequestView, entry: OutboxEntry, deployment: str) -> Message:
    """Return the card of a request as it stands now: with buttons while it is open, else with the verdict."""
    request = view.request
    title = _title(request)
    facts = _facts(request)
    blocks: list[Block] = [HeaderBlock(text=PlainTextObject(text=title, emoji=False))]
    if facts:
        blocks.append(_lines(facts))
    if request.status == "open":
        blocks += [_context(_who_may(request)), _buttons(view, deployment), _context([_trace(request)])]
        said = "Approve or Reject"
    else:
        said = _verdict(view)
        blocks += [
            SectionBlock(text=MarkdownTextObject(text=f"{_MARK[request.status]} {said}", verbatim=True)),
        ]
        rejection = next((v.reason for v in view.votes if v.verdict == "reject" and v.reason), None)
        if rejection:
            blocks.append(_lines([("Reason", plain(rejection, _REASON))]))
        state = _RUN_STATE[view.run.status]
        blocks.append(_context([_asked_by(request), state, _trace(request)]))
    told = ", ".join(f"{name}: {value}" for name, value in facts)
    fallback = escaped(f"{title}. {told}", _FALLBACK - 300) + f" | {said}"
    return Message(fallback, tuple(blocks), _metadata(entry, request))


def trail(view: RequestView, entry: OutboxEntry) -> Message:
    """Return one line for the card's thread: who decided, or how the run went on. Tells the requester."""
    request, payload = view.request, entry.payload
    by, status = payload.get("by"), payload["status"]
    # Names the requester, who is told by it.
    mention = f" for {person(request.requester)}" if request.requester else ""
    if payload["what"] == "run":
        text = _RUN_LINE[status] + (f" by {person(by)}" if by else "") + f"{mention}."
        if status in {"failed", "needs_attention"}:
            text += f" Operators: `signoff show {view.run.id}`"
        return Message(text, (_mrkdwn(text),), _metadata(entry, request))
    text = _REQUEST_LINE[status] + (f" by {person(by)}" if by else "") + f"{mention}."
    blocks: list[Block] = [_mrkdwn(text)]
    vote = next((v for v in view.votes if v.reviewer == by), None)
    if vote is not None and vote.reason:
        blocks.append(_lines([("Reason", plain(vote.reason, _REASON))]))
        text += " Reason: " + escaped(vote.reason, _REASON)
    return Message(text, tuple(blocks), _metadata(entry, request))


def reject_dialog(request: ApprovalRequest, origin: DialogOrigin, *, reason_required: bool) -> View:
    """Return the dialog that asks why. Closing it is never a decision."""
    return View(
        type="modal",
        callback_id=REJECT_DIALOG,
        title=PlainTextObject(text="Reject"),
        submit=PlainTextObject(text="Reject"),
        close=PlainTextObject(text="Back"),
        private_metadata=origin.model_dump_json(),
        blocks=[
            SectionBlock(text=PlainTextObject(text=_title(request), emoji=False)),
            InputBlock(
                block_id=REASON_BLOCK,
                label=PlainTextObject(text="Why?"),
                optional=not reason_required,
                hint=PlainTextObject(text="The requester sees this, and it is kept in the journal."),
                element=PlainTextInputElement(
                    action_id=REASON_INPUT, multiline=True, max_length=_REASON, focus_on_load=True
                ),
            ),
        ],
    )


def notice_dialog(sentence: str) -> View:
    """Return a dialog that only says something, in place of one whose question was decided meanwhile."""
    return View(
        type="modal",
        title=PlainTextObject(text="Not recorded"),
        close=PlainTextObject(text="Close"),
        blocks=[SectionBlock(text=MarkdownTextObject(text=sentence, verbatim=True))],
    )


def refusal_sentence(refusal: Refused) -> str:
    """Return the private sentence for a refused click, for a mrkdwn place."""
    if refusal.code == "ALREADY_DECIDED" and refusal.by:
        when = f" {date(refusal.at)}" if refusal.at is not None else ""
        names = ", ".join(map(person, refusal.by))
        return f":no_entry: This was already decided by {names}{when}. Your click was not recorded."
    return ":no_entry: " + escaped(refusal.sentence, 500)


def date(at: int) -> str:
    """Return a moment that Slack shows in each reader's own zone."""
    seconds = at // SECOND
    return f"<!date^{seconds}^{{date_short_pretty}} at {{time}}|{_utc(at)}>"


def _utc(at: int) -> str:
    return datetime.fromtimestamp(at // SECOND, UTC).strftime("%Y-%m-%d %H:%M UTC")


def ticket_of(view: RequestView, deployment: str) -> Ticket:
    """Return the ticket that this card's buttons carry."""
    return Ticket(deployment, *view.ticket_ids)


_MARK = {
    "approved": ":white_check_mark:",
    "edited": ":white_check_mark:",
    "rejected": ":no_entry:",
    "responded": ":speech_balloon:",
    "timed_out": ":hourglass:",
    "withdrawn": ":heavy_multiplication_x:",
    "superseded": ":arrows_counterclockwise:",
}
_REQUEST_LINE = {
    "approved": ":white_check_mark: Approved",
    "rejected": ":no_entry: Rejected",
    "timed_out": ":hourglass: The deadline passed and nobody decided, which counts as a no",
}
_RUN_LINE = {
    "completed": ":checkered_flag: The run completed",
    "failed": ":warning: The run failed",
    "cancelled": ":heavy_multiplication_x: The run was cancelled",
    "needs_attention": ":warning: The run stopped and needs an operator",
}
_RUN_STATE = {
    "queued": "the run goes on",
    "running": "the run goes on",
    "interrupted": "the run waits at its next question",
    "completed": "the run completed",
    "failed": "the run failed",
    "cancelled": "the run was cancelled",
    "needs_attention": "the run needs an operator",
}


def _verdict(view: RequestView) -> str:
    request = view.request
    when = f" {date(request.closed_at)}" if request.closed_at is not None else ""
    if request.status == "timed_out":
        return f"*Timed out*{when}: nobody decided, which counts as a no"
    if request.status == "withdrawn":
        return f"*Withdrawn*{when}: the run no longer asks this"
    if request.status == "superseded":
        return f"*Superseded*{when}: what would be done has changed, and is asked anew"
    names = ", ".join(person(vote.reviewer) for vote in view.votes)
    return f"*{request.status.capitalize()}* by {names}{when}"


def _title(request: ApprovalRequest) -> str:
    # A header must not be empty.
    return plain(request.title, _HEADER) if request.title.strip() else "(no title)"


def _facts(request: ApprovalRequest) -> list[tuple[str, str]]:
    shown: dict[str, Any] = {**(request.action.arguments if request.action else {}), **request.facts}
    lines = [(plain(name, 60), plain(worded(value), _VALUE)) for name, value in shown.items()]
    if len(lines) > _LINES:
        lines[_LINES:] = [("and", f"{len(lines) - _LINES} more: signoff show {request.run_id}")]
    return lines


def _who_may(request: ApprovalRequest) -> list[str]:
    policy = Policy.model_validate(request.policy)
    names = [*map(group, policy.groups), *map(person, policy.people)]
    if len(names) > _NAMES:
        names[_NAMES:] = [f"{len(names) - _NAMES} more"]
    may = ", ".join(names)
    barred = [p for p in (request.requester, *request.also) if p]
    if barred and policy.self_approval == "forbid":
        may += ", not " + ", ".join(map(person, list(dict.fromkeys(barred))[:_NAMES]))
    words = [_asked_by(request), f"needs one of {may}"]
    if request.deadline_at is not None:
        words.append("expires " + date(request.deadline_at))
    return words


def _asked_by(request: ApprovalRequest) -> str:
    return f"Asked by {person(request.requester)}" if request.requester else "Asked by a program"


def _trace(request: ApprovalRequest) -> str:
    """Name the run, and the first digits of the digest that the decision is bound to."""
    return f"{request.run_id} · bound to {request.digest.removeprefix('sha256:')[:8]}"


def _buttons(view: RequestView, deployment: str) -> Block:
    value = write_ticket(ticket_of(view, deployment))
    # A new block_id per revision: Slack keeps a client's input state by block_id.
    return ActionsBlock(
        block_id=f"signoff:{view.request.id}:{view.request.revision}",
        elements=[
            ButtonElement(text="Approve", action_id=APPROVE, value=value, style="primary"),
            ButtonElement(text="Reject", action_id=REJECT, value=value, style="danger"),
        ],
    )


def _lines(pairs: Iterable[tuple[str, str]]) -> Block:
    parts: list[Any] = []
    for name, value in pairs:
        if parts:
            parts.append(_Text(text="\n"))
        parts.append(_Text(text=f"{name}  ", style=_bold))
        parts.append(_Text(text=value or " "))
    return RichTextBlock(elements=[RichTextSectionElement(elements=parts)])


def _context(words: Sequence[str]) -> Block:
    return ContextBlock(elements=[MarkdownTextObject(text=" · ".join(words)[:2_000], verbatim=True)])


def _mrkdwn(text: str) -> Block:
    return SectionBlock(text=MarkdownTextObject(text=text, verbatim=True))


def _metadata(entry: OutboxEntry, request: ApprovalRequest) -> dict[str, Any]:
    # Readable by everyone in the workspace: ids only.
    return {
        "event_type": METADATA,
        "event_payload": {"entry_id": entry.id, "request_id": request.id, "run_id": request.run_id},
    }
