"""The dialog that shows all of a request, where its card shows a part: whole values, page by page.

Everything stands in rich text as plain text. Opening it decides nothing; each page is asked for anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ButtonElement,
    ContextBlock,
    PlainTextObject,
    RichTextBlock,
    RichTextElementParts,
    RichTextPreformattedElement,
    RichTextSectionElement,
    SectionBlock,
)
from slack_sdk.models.views import View

from graph_runtime import Approvals, Place, Refused, RequestView
from graph_runtime.judging import bound_digest

from . import cards
from .dialogs import notice_dialog
from .payloads import Click, DetailsOrigin, Turn, read_ticket, write_ticket
from .redaction import Redaction
from .text import plain, worded

BACK, NEXT = "signoff_details_back", "signoff_details_next"
TURNS = (BACK, NEXT)
TITLE = "Details"
#: A text of a block has 3,000 characters at most. What all blocks of a page may have together is documented
#: for messages alone, about 13,000; a dialog has 100 blocks and 250 kB at most.
_PIECE, _PAGE, _BLOCKS = 2_900, 12_000, 60
_LABEL = 100
_Text = RichTextElementParts.Text
_bold = RichTextElementParts.TextStyle(bold=True)


async def opened(approvals: Approvals, click: Click, redaction: Redaction) -> View:
    """Return the first page for who clicked. Raises :class:`Refused` where they are not shown it."""
    ticket = read_ticket(click.actions[0].value)
    view = await approvals.disclose(ticket, click.actor, place=click.place)
    origin = DetailsOrigin(
        ticket=write_ticket(ticket),
        channel=click.container.channel_id,
        message=click.container.message_ts,
        digest=bound_digest(view.request, view.standing.arguments),
    )
    return details_dialog(redaction.view(view), origin, 0)


async def turned(approvals: Approvals, turn: Turn, redaction: Redaction) -> View:
    """Return the page that was asked for, or why it is not shown any more.

    Raises :class:`Refused` (GARBLED_TICKET) for a dialog that is none of ours.
    """
    try:
        origin = DetailsOrigin.model_validate_json(turn.view.private_metadata)
        page = int(turn.actions[0].value)
    except (ValidationError, ValueError):
        raise Refused("GARBLED_TICKET", "This button is not one of ours. Nothing was recorded.") from None
    place = Place("slack", turn.api_app_id, turn.workspace, origin.channel, origin.message)
    ticket = read_ticket(origin.ticket)
    try:
        view = await approvals.disclose(ticket, turn.actor, place=place, seen=origin.digest)
    except Refused as refusal:
        return notice_dialog(cards.refusal_sentence(refusal), TITLE)
    return details_dialog(redaction.view(view), origin, page)


def details_dialog(view: RequestView, origin: DetailsOrigin, page: int) -> View:
    """Return one page of the dialog; the nearest one when there is none of that number."""
    request = view.request
    all_pages = pages(view)
    page = min(max(page, 0), len(all_pages) - 1)
    place = f"Page {page + 1} of {len(all_pages)} · " if len(all_pages) > 1 else ""
    bound = f"{place}An approval is bound to {origin.digest} · {request.id} · {request.run_id}"
    return View(
        type="modal",
        title=PlainTextObject(text=TITLE),
        close=PlainTextObject(text="Close"),
        private_metadata=origin.model_dump_json(),
        blocks=[
            SectionBlock(text=PlainTextObject(text=cards.title_of(request), emoji=False)),
            ContextBlock(elements=[PlainTextObject(text=bound, emoji=False)]),
            *(item.block() for item in all_pages[page]),
            *_buttons(page, len(all_pages)),
        ],
    )


@dataclass(frozen=True, slots=True)
class _Item:
    """A heading, or a piece of a value below its name."""

    label: str
    piece: str | None = None

    @property
    def size(self) -> int:
        return len(self.label) + _length(self.piece or "")

    def block(self) -> Block:
        """Return it as Slack shows it. Only what is shown is looked through for what hides: it takes time."""
        label = RichTextSectionElement(elements=[_Text(text=self.label, style=_bold)])
        if self.piece is None:
            return RichTextBlock(elements=[label])
        text = plain(self.piece, len(self.piece)) or "(empty)"
        return RichTextBlock(elements=[label, RichTextPreformattedElement(elements=[_Text(text=text)])])


def pages(view: RequestView) -> list[list[_Item]]:
    """Return everything there is to show, page by page; there is at least one."""
    found: list[list[_Item]] = [[]]
    room = _PAGE
    for item in _items(view):
        if found[-1] and (item.size > room or len(found[-1]) == _BLOCKS):
            found.append([])
            room = _PAGE
        found[-1].append(item)
        room -= item.size
    return found


def pieces(text: str, most: int = _PIECE) -> list[str]:
    """Return the text in pieces, after a line's end where there is one near; together they are the text."""
    found: list[str] = []
    start = 0
    while start < len(text):
        end = start + most
        if _length(text[start:end]) > most:
            end = start + most // 2
        line = text.rfind("\n", (start + end) // 2, end) if end < len(text) else -1
        end = end if line < 0 else line + 1
        found.append(text[start:end])
        start = end
    return found or [""]


def _length(text: str) -> int:
    """Return how many characters Slack counts, as JavaScript does: one beyond the first plane is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _buttons(page: int, count: int) -> list[Block]:
    elements = [
        ButtonElement(text=text, action_id=action, value=str(to))
        for text, action, to in (("Back", BACK, page - 1), ("Next", NEXT, page + 1))
        if 0 <= to < count
    ]
    return [ActionsBlock(block_id=f"details:{page}", elements=elements)] if elements else []


def _items(view: RequestView) -> Iterator[_Item]:
    for heading, named in _parts(view):
        if named:
            yield _Item(heading)
        for name, value in named:
            label = plain(name, _LABEL)
            # A name is somebody's text too.
            whole = value if len(name) <= _LABEL else f"{name}\n{value}"
            shown = pieces(whole.replace("\r\n", "\n"))
            for number, piece in enumerate(shown):
                yield _Item(label + (f" ({number + 1} of {len(shown)})" if len(shown) > 1 else ""), piece)


def _parts(view: RequestView) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield headings, and under each of them names with their values, whole."""
    request, edited = view.request, view.standing.arguments
    if request.action is not None:
        first = request.action.arguments
        present = first if edited is None else edited
        heading = f"What would be carried out: {plain(request.action.name, _LABEL)}"
        yield heading, _named(present)
        if edited is not None:
            was = {name: value for name, value in first.items() if edited.get(name, _NOTHING) != value}
            yield "What was asked for", _named(was)
            why = [
                (f"by {vote.reviewer}", vote.reason or "") for vote in view.votes if vote.verdict == "edit"
            ]
            yield "Why it was changed", why
    yield "Facts", _named(request.facts)


_NOTHING = object()


def _named(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names with their values as text; what takes pages comes last."""
    found = [(str(name), worded(value, indent=2)) for name, value in values.items()]
    return sorted(found, key=lambda pair: len(pair[1]) > _PIECE)
