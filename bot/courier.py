"""The postman: one outbox entry, one message posted or edited. It finds a card it has already posted.

Posting is the one call that must not simply be tried again: Slack has no idempotency key, so after an attempt
whose end is unknown the courier first looks for its own metadata in the channel.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import structlog
from aiohttp import ClientError
from slack_sdk.errors import SlackApiError, SlackObjectFormationError
from slack_sdk.web.async_client import AsyncWebClient

from graph_runtime import (
    SECOND,
    Approvals,
    Bell,
    Conflict,
    Outbox,
    OutboxEntry,
    Place,
    RequestView,
    StoreError,
    keep_doing,
)

from . import cards, lines
from .fallback import (
    CHANNEL_LOST,
    MESSAGE_LOST,
    UNCHANGEABLE,
    UNREACHABLE,
    Fallback,
    alarm_message,
)
from .identity import Identity
from .redaction import Redaction
from .replies import error_code, seconds_to_wait
from .text import is_slack_id

_log = structlog.get_logger("signoff.courier")
#: Errors that trying again cannot mend; an operator must. Source: Slack's pages of chat.postMessage and
#: chat.update. What a card does when its place is lost stands in ``fallback.py``.
PERMANENT = (
    CHANNEL_LOST
    | MESSAGE_LOST
    | {
        "account_inactive",
        "invalid_auth",
        "invalid_blocks",
        "metadata_too_large",
        "missing_scope",
        "msg_blocks_too_long",
        "msg_too_long",
        "no_permission",
        "no_text",
        "not_authed",
        "team_access_not_granted",
        "token_expired",
        "token_revoked",
    }
)
#: Slack shows about one message per second and channel, and may silently drop the rest.
CHANNEL_PACE = 1 * SECOND
#: How far back before the request was opened a lost message is looked for, for clocks that differ.
SKEW_SECONDS = 60
_PAGES = 5
#: How often an entry that fails for a reason of our own is tried before an operator is told.
_TRIES = 5


class Courier:
    """Delivers outbox entries to Slack, one at a time and in order for each request."""

    def __init__(
        self,
        outbox: Outbox,
        approvals: Approvals,
        client: AsyncWebClient,
        identity: Identity,
        fallback: Fallback,
        *,
        deployment: str,
        redaction: Redaction | None = None,
    ) -> None:
        self._outbox = outbox
        self._approvals = approvals
        self._client = client
        self._identity = identity
        self._fallback = fallback
        self._deployment = deployment
        self._redaction = redaction or Redaction()

    async def work(self, bell: Bell, stop: asyncio.Event) -> None:
        """Deliver until ``stop`` is set."""
        await keep_doing(self.deliver_one, bell=bell, stop=stop)

    async def drain(self, seconds: float) -> None:
        """Tell what may be told now, for up to ``seconds``; the rest is told at the next start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self.deliver_one():
                    pass

    async def deliver_one(self) -> bool:
        """Deliver the next entry, or give it back or park it with the reason; False when there is none."""
        entry = await self._outbox.claim()
        if entry is None:
            return False
        try:
            await self._try(entry)
        except Conflict:
            _log.info("entry.lost", entry_id=entry.id)  # another courier has it, and draws a newer state
        return True

    async def _try(self, entry: OutboxEntry) -> None:
        try:
            # Past its lease another courier may take the entry, so this one must have stopped by then.
            async with asyncio.timeout(self._outbox.lease / SECOND * 0.8):
                await self._deliver(entry)
        except SlackApiError as error:
            await self._failed(entry, error)
        except StoreError:
            raise
        except SlackObjectFormationError as error:
            # No message that Slack would take: trying again cannot mend it, and the others must go on.
            await self._fallback.park(entry, f"it cannot be drawn: {error}")
        except (ClientError, OSError, TimeoutError) as error:
            await self._outbox.retry(entry, type(error).__name__)
            _log.warning("entry.unclear", entry_id=entry.id, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is about this entry alone
            # One entry that cannot be drawn must not silence all the others, nor be forgotten.
            _log.exception("entry.failed", entry_id=entry.id)
            if entry.attempts < _TRIES:
                await self._outbox.retry(entry, type(error).__name__)
            else:
                await self._fallback.park(entry, type(error).__name__)

    async def _deliver(self, entry: OutboxEntry) -> None:
        view = await self._approvals.view(entry.request_id)
        if view is None:
            await self._fallback.park(entry, "its request is gone")
            return
        view = self._redaction.view(view)
        if entry.kind == "card":
            await self._deliver_card(entry, view)
        elif entry.kind == "alarm":
            await self._deliver_alarm(entry, view)
        elif entry.wanted > 1 and (place := await self._outbox.place_of(entry)) is not None:
            await self._redraw(entry, view, place)
        elif entry.payload["what"] == "told":
            await self._deliver_private(entry, view)
        else:
            await self._deliver_trail(entry, view)

    async def _deliver_card(self, entry: OutboxEntry, view: RequestView) -> None:
        place, to = view.cards.get(entry.id), entry.payload.get("to")
        if place is None and "instead" in entry.payload and view.request.status != "open":
            # Decided before it was replaced: nobody needs another card.
            await self._outbox.lose(entry, "closed")
            return
        channel = place.channel if place else str(entry.payload.get("channel") or self._fallback.home(view))
        found = None
        try:
            if place is None and to:
                channel = await self._open_private(str(to))
            if place is None and _may_have_landed(entry):
                found = place = await self._find(entry, view, channel, thread=None)
            if place is None:
                found = await self._post(entry, channel, cards.card(view, entry, self._deployment))
                if found is None:
                    return
            else:
                message = cards.card(view, entry, self._deployment)
                await self._client.chat_update(channel=place.channel, ts=place.message, **message.arguments())
        except SlackApiError as error:
            if not await self._fallback.replaced(entry, view, error_code(error), channel):
                raise
            return
        await self._outbox.landed(entry, found)
        _log.info("card.shown", request_id=view.request.id, status=view.request.status)

    async def _deliver_trail(self, entry: OutboxEntry, view: RequestView) -> None:
        """Tell a line below each card, or, one that is for another channel, there by itself."""
        elsewhere = entry.payload.get("channel")
        if elsewhere:
            places: list[tuple[str, str | None]] = [(str(elsewhere), None)]
        else:
            # Without a card there is nothing to stand below; one that comes after all shows it by itself.
            places = [(card.channel, card.message) for card in view.cards.values()]
        found, message, lost = None, _line(entry, view), ""
        for number, (channel, thread) in enumerate(places):
            there = None
            try:
                if _may_have_landed(entry):
                    there = await self._find(entry, view, channel, thread=thread)
                if there is None:
                    there = await self._post(entry, channel, message, thread=thread, first=not number)
            except SlackApiError as error:
                if elsewhere or error_code(error) not in CHANNEL_LOST | UNREACHABLE:
                    raise
                # The others are told all the same.
                lost = error_code(error)
                continue
            if there is None:
                return
            found = found or there
        if lost and entry.attempts < _TRIES:
            # Whether the card still stands there is seen by drawing it, and the line comes after that.
            await self._outbox.retry(entry, lost, redraw=True)
            return
        if lost:
            _log.warning("line.unreached", entry_id=entry.id, error=lost)
        await self._stands(entry, view, found)

    async def _redraw(self, entry: OutboxEntry, view: RequestView, place: Place) -> None:
        """Draw a line anew wherever it stands: words in it were erased. One that is gone stays gone."""
        await self._draw_anew(entry, view, place)
        for card in () if entry.payload.get("channel") else view.cards.values():
            # Below every other card the line stands too, and the receipt knows of one place alone.
            if card.channel != place.channel:
                other = await self._find(entry, view, card.channel, thread=card.message)
                if other is not None:
                    await self._draw_anew(entry, view, other)
        await self._outbox.landed(entry, None)
        _log.info("line.redrawn", request_id=entry.request_id)

    async def _draw_anew(self, entry: OutboxEntry, view: RequestView, place: Place) -> None:
        arguments = _line(entry, view).arguments()
        try:
            await self._client.chat_update(channel=place.channel, ts=place.message, **arguments)
        except SlackApiError as error:
            code = error_code(error)
            if code in UNCHANGEABLE:
                await self._client.chat_delete(channel=place.channel, ts=place.message)
            elif code != "message_not_found":
                raise

    async def _stands(self, entry: OutboxEntry, view: RequestView, found: Place | None) -> None:
        """Note where a line stands. One that was found may show words that were erased since."""
        if found is not None and entry.wanted > 1 and _may_have_landed(entry):
            arguments = _line(entry, view).arguments()
            await self._client.chat_update(channel=found.channel, ts=found.message, **arguments)
        await self._outbox.landed(entry, found)

    async def _deliver_private(self, entry: OutboxEntry, view: RequestView) -> None:
        """Tell somebody in their direct message; whom Slack does not know, or cannot reach, is not told."""
        to, found = str(entry.payload["to"]), None
        if is_slack_id(to, "UW"):
            try:
                found = await self._tell(entry, view, to, _line(entry, view))
                if found is None:
                    return
            except SlackApiError as error:
                # What was decided stands on the card all the same, so nobody must look after it.
                if error_code(error) not in UNREACHABLE:
                    raise
                _log.warning("private.refused", request_id=entry.request_id, error=error_code(error))
        await self._stands(entry, view, found)

    async def _deliver_alarm(self, entry: OutboxEntry, view: RequestView) -> None:
        """Tell an operator in their direct message; whom nothing reaches finds it in the outbox."""
        try:
            found = await self._tell(entry, view, str(entry.payload["to"]), alarm_message(view, entry))
        except SlackApiError as error:
            if error_code(error) not in UNREACHABLE:
                raise
            await self._fallback.park(entry, error_code(error))
            return
        if found is not None:
            await self._outbox.landed(entry, found)

    async def _tell(
        self, entry: OutboxEntry, view: RequestView, to: str, message: cards.Message
    ) -> Place | None:
        """Return where the message stands in a person's direct messages; None when the entry must wait."""
        channel, found = await self._open_private(to), None
        if _may_have_landed(entry):
            found = await self._find(entry, view, channel, thread=None)
        return found or await self._post(entry, channel, message)

    async def _open_private(self, to: str) -> str:
        opened = await self._client.conversations_open(users=to)
        return str(opened["channel"]["id"])

    async def _post(
        self,
        entry: OutboxEntry,
        channel: str,
        message: cards.Message,
        *,
        thread: str | None = None,
        first: bool = True,
    ) -> Place | None:
        """Return where the message was posted; None when the channel takes none now, and the entry waits."""
        free_at = await self._outbox.take_turn(channel, CHANNEL_PACE)
        if free_at is not None:
            if first:
                await self._outbox.defer(entry, free_at)
            else:
                # Some of it has been told, which the next try looks for first.
                await self._outbox.retry(entry, "waits for its turn", wait=CHANNEL_PACE)
            return None
        answer = await self._client.chat_postMessage(
            channel=channel,
            thread_ts=thread,
            unfurl_links=False,
            unfurl_media=False,
            **message.arguments(),
        )
        return self._place(answer["channel"], answer["ts"])

    async def _find(
        self, entry: OutboxEntry, view: RequestView, channel: str, *, thread: str | None
    ) -> Place | None:
        """Return where an earlier attempt of this entry landed, or None when it did not."""
        since = view.request.opened_at // SECOND - SKEW_SECONDS
        asked: dict[str, Any] = {"channel": channel, "include_all_metadata": True, "limit": 100}
        if thread is None:
            answer = await self._client.conversations_history(oldest=str(since), **asked)
        else:
            answer = await self._client.conversations_replies(ts=thread, **asked)
        pages = 0
        async for page in answer:
            for message in page["messages"]:
                metadata = message.get("metadata") or {}
                ours = message.get("bot_id") == self._identity.bot_id
                payload = metadata.get("event_payload") or {}
                if (
                    ours
                    and metadata.get("event_type") == cards.METADATA
                    and payload.get("entry_id") == entry.id
                ):
                    return self._place(channel, message["ts"])
            pages += 1
            if pages == _PAGES:
                break
        return None

    async def _failed(self, entry: OutboxEntry, error: SlackApiError) -> None:
        code, seconds = error_code(error), seconds_to_wait(error)
        if seconds is not None:
            await self._outbox.retry(entry, "ratelimited", wait=int(seconds * SECOND))
        elif code in PERMANENT | UNREACHABLE:
            await self._fallback.park(entry, code, str(entry.payload.get("channel", "")))
        else:
            await self._outbox.retry(entry, code)
            _log.warning("entry.retried", entry_id=entry.id, error=code)

    def _place(self, channel: str, ts: str) -> Place:
        return Place("slack", self._identity.app, self._identity.workspace, channel, ts)


def _line(entry: OutboxEntry, view: RequestView) -> cards.Message:
    """Return what an entry says that is no card: to one person alone, or to all below the card."""
    draw = lines.private if entry.payload["what"] == "told" else lines.trail
    return draw(view, entry)


def _may_have_landed(entry: OutboxEntry) -> bool:
    return entry.attempts > 1 or entry.overtaken
