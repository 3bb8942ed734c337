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
    MarkdownTextObject,
    PlainTextObject,
    RichTextBlock,
    RichTextElementParts,
    RichTextSectionElement,
    SectionBlock,
)

from graph_runtime import (
    SECOND,
    ApprovalRequest,
    Delegation,
    OutboxEntry,
    Refused,
    RequestView,
    Seat,
    Ticket,
)
from graph_runtime.bypass import KILL_SWITCH, count_for, holding, progress
from graph_runtime.judging import Case
from graph_runtime.policy import Rule
from graph_runtime.types import PersonId

from .fields import editable
from .payloads import write_ticket
from .text import escaped, fits, group, person, plain, worded

APPROVE = "signoff_approve"
#: Approves what must be confirmed by typing: it opens a dialog.
CONFIRM = "signoff_confirm"
CONFIRM_DIALOG = "signoff_confirm_dialog"
CONFIRM_BLOCK, CONFIRM_INPUT = "confirm", "text"
REJECT = "signoff_reject"
REJECT_DIALOG = "signoff_reject_dialog"
REASON_BLOCK, REASON_INPUT = "reason", "text"
EDIT = "signoff_edit"
RESPOND = "signoff_respond"
#: Opens a dialog with all of what the card shows a part of.
DETAILS = "signoff_details"
#: Marks our own messages, so that a courier finds one whose receipt was lost.
METADATA = "signoff_entry"

# Slack's limits, with room to spare: header 150, a message's blocks together about 11,000 characters
# (undocumented; 9,000 is safe), chat.update's text 4,000.
HEADER = 150
_NAME = 60
_CHANGED = " (changed, see below)"
_VALUE = 400
_REQUESTED = 100
_EMPTY = "(empty)"
_WHY = 300
LINES = 16
NAMES = 20
#: What all rules together may take of a line before it says only how many have approved.
EACH = 1_500
_FALLBACK = 3_000
REASON = 1_000
_FROZEN = ":snowflake: Frozen: you may decide, and nothing is carried out until it ends. The deadline waits."
_BY_THEMSELVES = (
    ":mailbox_with_mail: It cannot be shown in its channel, so each of those who may decide has this card."
)
REASONS = 3

_Text, _Date = RichTextElementParts.Text, RichTextElementParts.Date
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
    request, case, standing = view.request, view.case, view.standing
    title = headline(view)
    facts = _facts(request, standing.arguments)
    blocks: list[Block] = [HeaderBlock(text=PlainTextObject(text=title, emoji=False))]
    if facts:
        blocks.append(lines(facts))
    if standing.arguments is not None:
        blocks += _changed(view)
    if request.status == "open":
        progress = _progress(view)
        blocks += [mrkdwn(progress)] if progress else []
        blocks += [_context([_FROZEN])] if view.frozen else []
        blocks += [_context([_BY_THEMSELVES])] if "to" in entry.payload else []
        given = [f"{person(o.person)} gave their place to {person(o.delegate)}" for o in reassigned(view)]
        blocks += [_context(given)] if given else []
        blocks += [_context(_who_may(case)), *_buttons(view, case, deployment), _context([_trace(view)])]
        said = f"{progress} Approve or Reject" if progress else "Approve or Reject"
    else:
        said = _verdict(view)
        blocks += [
            SectionBlock(text=MarkdownTextObject(text=f"{_MARK[request.status]} {said}", verbatim=True)),
        ]
        for word, verdict in (("Reason", "reject"), ("Answer", "respond")):
            told = [v.words for v in view.votes if v.verdict == verdict and v.words][-REASONS:]
            each = [(word, plain(reason, REASON // len(told))) for reason in told]
            blocks += [lines(each)] if each else []
        freeze = passed(view)
        state = _RUN_STATE[view.run.status]
        if view.run.status == "interrupted" and view.waits_until is not None:
            state = f"the run waits until {date(view.waits_until)}"
        blocks += [_context([f":snowflake: {freeze}"])] if freeze else []
        opens = _opens(view)
        blocks += [_context([f":clock3: Not before {date(opens)}, when its window opens"])] if opens else []
        # What holds it up is said already.
        held = freeze and view.run.status == "interrupted" and view.waits_until is None
        blocks.append(_context([_asked_by(request), *([] if held else [state]), _trace(view)]))
    shown = ", ".join(f"{name}: {value}" for name, value in facts)
    fallback = escaped(f"{title}. {shown}", _FALLBACK - 700) + f" | {said}"
    return Message(fallback, tuple(blocks), metadata_of(entry, request))


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
_RUN_STATE = {
    "queued": "the run goes on",
    "running": "the run goes on",
    "interrupted": "the run waits",
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
    names = voices(view, view.deciders)
    if request.status == "withdrawn" and names:
        return f"*Withdrawn*{when} by {names}, who asked"
    if request.status == "withdrawn":
        return f"*Withdrawn*{when}: the run no longer asks this"
    if request.status == "superseded":
        return f"*Superseded*{when}: what would be done has changed, and is asked anew"
    if request.status == "edited":
        return f"*Approved with changes* by {names}{when}"
    if request.status == "responded":
        return f"*Answered instead* by {names}{when}: it is not carried out"
    return f"*{request.status.capitalize()}* by {names}{when}"


def title_of(request: ApprovalRequest) -> str:
    """Return what will be done, in one line that is never empty."""
    # A header must not be empty.
    return plain(request.title, HEADER) if request.title.strip() else "(no title)"


def headline(view: RequestView) -> str:
    """Return the title. Who edits changes what would be done, and not the words that were said of it."""
    title, action, edited = title_of(view.request), view.request.action, view.standing.arguments
    if edited is None or (action is not None and edited == action.arguments):
        return title
    return plain(title, HEADER - len(_CHANGED)) + _CHANGED


def _is_cut(view: RequestView) -> bool:
    """Say whether the card shows less than all of what would be carried out, and of what was asked for."""
    request, edited = view.request, view.standing.arguments
    shown, first = _shown(request, edited)
    if edited is None and request.action is not None:
        # One line stands for both, which need not say the same.
        arguments, facts = request.action.arguments, request.facts
        if any(arguments[name] != facts[name] for name in arguments.keys() & facts.keys()):
            return True
    return len(shown) > LINES or not all(
        fits(name, _NAME) and _is_whole(value, first.get(name, value)) for name, value in shown.items()
    )


def _is_whole(value: Any, requested: Any) -> bool:
    if value is requested or value == requested:
        return fits(worded(value), _VALUE)
    return fits(worded(requested), _REQUESTED) and fits(worded(value), _VALUE - len(_was(requested)))


def _facts(request: ApprovalRequest, edited: Mapping[str, Any] | None) -> list[tuple[str, str | datetime]]:
    shown, first = _shown(request, edited)
    # What an edit changed stands first: it is what the next person must see.
    names = sorted(shown, key=lambda name: name not in first or first[name] == shown[name])
    found: list[tuple[str, str | datetime]] = []
    for name in names:
        value, requested = shown[name], first.get(name, shown[name])
        moment = value if _is_moment(value) and value == requested else None
        found.append((plain(name, _NAME), moment or fact(value, requested)))
    if len(found) > LINES:
        found[LINES:] = [("and", f"{len(found) - LINES} more: signoff show {request.run_id}")]
    return found


def _shown(
    request: ApprovalRequest, edited: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return what a card shows by name, and what was asked for when that was edited."""
    arguments = request.action.arguments if request.action and edited is None else edited or {}
    first = request.action.arguments if request.action and edited is not None else {}
    # A fact that is an argument too is shown as it would be carried out.
    return {**arguments, **request.facts, **({} if edited is None else edited)}, first


def _is_moment(value: Any) -> bool:
    """Say whether Slack's date shows all of a value: it has seconds since 1970, and nothing below them."""
    moment = isinstance(value, datetime) and value.tzinfo is not None and value.microsecond == 0
    return moment and value.timestamp() >= 0


def fact(value: Any, requested: Any) -> str:
    """Return a value as it would be carried out, and what was asked for where that was another."""
    if value is requested or value == requested:
        return plain(_said(value), _VALUE)
    # Both together take no more of the card than one.
    was = _was(requested)
    return plain(_said(value), _VALUE - len(was)) + was


def _was(requested: Any) -> str:
    return f" (requested {plain(_said(requested), _REQUESTED)})"


def _said(value: Any) -> str:
    said = worded(value)
    return said if said.strip() else _EMPTY


def _who_may(case: Case) -> list[str]:
    request, stages = case.request, case.terms.stages
    needs = ", then ".join(" and ".join(_need(rule, request) for rule in stage) for stage in stages)
    confirms = any(rule.requester for stage in stages for rule in stage)
    barred = [p for p in ("" if confirms else request.requester, *request.also) if p]
    if barred and case.policy.self_approval == "forbid":
        needs += ", not " + ", ".join(map(person, list(dict.fromkeys(barred))[:NAMES]))
    words = [_asked_by(request), f"needs {needs}"]
    if request.deadline_at is not None:
        words.append("expires " + date(request.deadline_at))
    return words


def _need(rule: Rule, request: ApprovalRequest) -> str:
    if rule.requester:
        return f"{person(request.requester)}, who asked" if request.requester else "who asked"
    names = [*map(group, rule.refs), *map(person, rule.people)]
    if len(names) > NAMES:
        names[NAMES:] = [f"{len(names) - NAMES} more"]
    return f"{'one' if rule.count == 1 else rule.count} of {', '.join(names)}"


def voices(view: RequestView, people: Iterable[str]) -> str:
    """Return people who voted, each with whom they acted for."""
    acted = {vote.reviewer: vote.on_behalf_of for vote in view.votes}
    return ", ".join(voice_of(who, acted.get(PersonId(who))) for who in people)


def voice_of(who: str, whose: str | None) -> str:
    """Return who acted, and for whom when that is somebody else."""
    return person(who) + (f" for {person(whose)}" if whose else "")


def reassigned(view: RequestView) -> list[Delegation]:
    """Return which places in this request were given to somebody else."""
    return [one for one in view.delegations if one.request_id is not None]


def passed(view: RequestView) -> str:
    """Return how an approved request stands with what is frozen; empty where that is no matter of it."""
    terms, frozen, consents = view.case.policy.freeze_bypass, view.held_by, view.bypasses
    if view.request.status not in {"approved", "edited"}:
        return ""
    enough = [one for one in consents if len(count_for(one.scope, one.since, consents)) >= one.needed]
    if enough and not holding(frozen, consents):
        names = dict.fromkeys(voice_of(one.person, one.on_behalf_of) for one in enough)
        return f"Let through the freeze by {', '.join(names)}"
    if not frozen or not view.run.live:
        return ""
    if KILL_SWITCH in frozen or terms is None:
        return "Frozen: it is carried out when that ends"
    given = progress(frozen, consents)
    return f"Frozen, bypass {given} of {terms.count}: `/signoff bypass {view.request.id} reason`"


def _opens(view: RequestView) -> int | None:
    """Return when the window opens that what was approved outside of all has to wait for."""
    closed = view.request.closed_at
    if view.request.status not in {"approved", "edited"} or closed is None or view.used or not view.run.live:
        return None
    opens = view.case.policy.opens_at(closed)
    return opens if opens is not None and opens > closed else None


def _progress(view: RequestView) -> str:
    """Return how far an open request of several people is, in one line; empty where one person decides."""
    standing, case = view.standing, view.case
    places = sum(rule.count for stage in case.terms.stages for rule in stage)
    if places < 2 and case.policy.veto.deny < 2:
        return ""
    seats = standing.seats
    filled, count = sum(seat.filled for seat in seats), sum(seat.count for seat in seats)
    stage = f"Stage {standing.stage + 1} of {standing.stages}: " if standing.stages > 1 else ""
    said = f"{stage}*{filled} of {count} approved*"
    each = " · " + ", ".join(map(seat_of, seats))
    if len(seats) > 1 and len(each) <= EACH:
        said += each
    if standing.by:
        said += " · :white_check_mark: " + voices(view, standing.by[:NAMES])
    if standing.rejections:
        said += f" · :no_entry: {standing.rejections} of {standing.veto} rejections"
    return said


def seat_of(seat: Seat) -> str:
    """Return how far one rule is filled, in a few words."""
    mark = ":white_check_mark: " if seat.filled == seat.count else ""
    who = escaped(seat.name, 60) or " or ".join([*map(group, seat.groups), *map(person, seat.people)][:NAMES])
    return f"{mark}{seat.filled} of {seat.count} {who}"


def _changed(view: RequestView) -> list[Block]:
    """Return who changed the action and why; what it is now, and what was asked for, stands above."""
    edit = [vote for vote in view.votes if vote.verdict == "edit"][-1]
    first = view.request.action.arguments if view.request.action else {}
    back = ", back to what was requested" if edit.arguments == first else ""
    who = _context([f":pencil2: Changed by {voice_of(edit.reviewer, edit.on_behalf_of)}{back}"])
    return [who, lines([("Why", plain(edit.words, _WHY))])] if edit.words else [who]


def _asked_by(request: ApprovalRequest) -> str:
    return f"Asked by {person(request.requester)}" if request.requester else "Asked by a program"


def _trace(view: RequestView) -> str:
    """Name the run, and the first digits of the digest that the decision is bound to."""
    return f"{view.request.run_id} · bound to {view.bound_to.removeprefix('sha256:')[:8]}"


def _buttons(view: RequestView, case: Case, deployment: str) -> list[Block]:
    value = write_ticket(ticket_of(view, deployment), view.standing.round)
    approve = APPROVE if case.terms.confirm is None else CONFIRM
    elements = [
        ButtonElement(text=text, action_id=action, value=value, style=style)
        for verdict, text, action, style in (
            ("approve", "Approve", approve, "primary"),
            ("reject", "Reject", REJECT, "danger"),
            ("edit", "Edit", EDIT, None),
            ("respond", "Reply instead", RESPOND, None),
        )
        if verdict in case.policy.decisions and (verdict != "edit" or editable(case, view.standing))
    ]
    if _is_cut(view):
        elements.append(ButtonElement(text="Details", action_id=DETAILS, value=value))
    # A new block_id per revision: Slack keeps a client's input state by block_id.
    block_id = f"signoff:{view.request.id}:{view.request.revision}"
    return [ActionsBlock(block_id=block_id, elements=elements)] if elements else []


def lines(pairs: Iterable[tuple[str, str | datetime]]) -> Block:
    """Return a block with a line for each name and its value; a moment is shown in each reader's own zone."""
    parts: list[Any] = []
    for name, value in pairs:
        if parts:
            parts.append(_Text(text="\n"))
        parts.append(_Text(text=f"{name}  ", style=_bold))
        if isinstance(value, datetime):
            form = "{date_short_pretty} at {time_secs}" if value.second else "{date_short_pretty} at {time}"
            parts.append(_Date(timestamp=int(value.timestamp()), format=form, fallback=worded(value)))
        else:
            parts.append(_Text(text=value if value.strip() else _EMPTY))
    return RichTextBlock(elements=[RichTextSectionElement(elements=parts)])


def _context(words: Sequence[str]) -> Block:
    return ContextBlock(elements=[MarkdownTextObject(text=" · ".join(words)[:2_000], verbatim=True)])


def mrkdwn(text: str) -> Block:
    """Return a block of words that are safe already."""
    return SectionBlock(text=MarkdownTextObject(text=text, verbatim=True))


def metadata_of(entry: OutboxEntry, request: ApprovalRequest) -> dict[str, Any]:
    """Return what marks a message as that of an entry."""
    # Readable by everyone in the workspace: ids only.
    return {
        "event_type": METADATA,
        "event_payload": {"entry_id": entry.id, "request_id": request.id, "run_id": request.run_id},
    }
