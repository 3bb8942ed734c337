"""The window: what Slack sends in becomes one call each, and ``ack`` comes last.

One set of listeners serves Socket Mode and HTTP mode. A reviewer is never told something that did not happen:
the decision is committed before the acknowledgement. No click is ignored: every refusal gets one private
sentence, through the click's response_url, which is never stored and never logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog
from pydantic import ValidationError
from slack_bolt import BoltResponse
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncBoltContext
from slack_bolt.middleware.async_middleware import AsyncMiddleware
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from graph_runtime import Actor, Approvals, CommitUnknown, Place, Refused, RequestView, StoreError, Ticket
from graph_runtime.types import RefusalCode, Verdict

from . import cards, details, dialogs, forms
from .commands import Commands
from .directory import SlackDirectory
from .fields import offered
from .identity import Identity
from .payloads import Click, DialogOrigin, Submission, Turn, read_round, read_ticket, read_typed, write_ticket
from .redaction import Redaction
from .replies import error_code

_log = structlog.get_logger("signoff.slack")
#: Slack takes five answers per response_url; one attempt within this time is ours.
_WHISPER_SECONDS = 5.0
#: Sentences that may wait; past it the oldest is dropped, so that a flood of clicks does not fill memory.
_WHISPERS = 500
_AWAY = "The database did not answer. Nothing was recorded;"
_UNKNOWN = "The database went away meanwhile. Look at the card in a minute, before you try again."
#: Where a click that was read stands in Bolt's context.
_CLICK = "signoff_click"
_UNREADABLE = Refused("GARBLED_TICKET", "This click could not be read. Nothing was recorded.")


#: What somebody can mend, or copy before they begin anew, is told without taking away what they typed.
_AT_THE_FIELD = frozenset({"REASON_REQUIRED", "INVALID_INPUT", "STALE_ACTION"})


@dataclass(frozen=True, slots=True)
class _Sent:
    """A dialog that was submitted, and the card that it was opened from."""

    submission: Submission
    origin: DialogOrigin
    ticket: Ticket
    place: Place

    @property
    def by(self) -> tuple[Ticket, Actor]:
        return self.ticket, self.submission.actor

    def text(self, block: str, field: str) -> str | None:
        """Return what was typed, None when that is nothing but blanks."""
        return self.submission.text(block, field).strip() or None


class Whispers:
    """Private sentences on their way: one attempt each, in the order they came, from memory only."""

    def __init__(self, session: aiohttp.ClientSession, *, api_url: str) -> None:
        self._session = session
        self._queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue(_WHISPERS)
        # Only Slack's own hosts, or the sandbox's: a forged payload must not make us call anywhere else.
        self._hosts = {"hooks.slack.com", "slack.com", urlsplit(api_url).hostname}

    def say(self, response_url: str, sentence: str) -> None:
        """Put a sentence on its way to whoever holds this click."""
        try:
            host = urlsplit(response_url).hostname
        except ValueError:
            host = ""
        if host not in self._hosts:
            _log.warning("whisper.refused")
            return
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait((response_url, sentence))

    async def work(self, stop: asyncio.Event) -> None:
        """Say what waits until ``stop`` is set and nothing is left."""
        stopped = asyncio.create_task(stop.wait(), name="whispers stop")
        try:
            while not (stop.is_set() and self._queue.empty()):
                waiting = asyncio.create_task(self._queue.get(), name="whisper")
                try:
                    await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    # A sentence that came is there; one that did not is waited for no more.
                    waiting.cancel()
                if waiting.done():
                    await self._speak(*waiting.result())
        finally:
            stopped.cancel()

    async def _speak(self, response_url: str, sentence: str) -> None:
        said = {"response_type": "ephemeral", "replace_original": False, "text": sentence}
        try:
            async with asyncio.timeout(_WHISPER_SECONDS):
                async with self._session.post(response_url, json=said, allow_redirects=False) as answer:
                    if answer.status != 200:
                        _log.warning("whisper.failed", status=answer.status)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            _log.warning("whisper.failed", error=type(error).__name__)


class Window:
    """Slack's side door into the runtime: clicks, dialogs, commands and events, one call each."""

    def __init__(
        self,
        approvals: Approvals,
        commands: Commands,
        directory: SlackDirectory,
        whispers: Whispers,
        identity: Identity,
        redaction: Redaction | None = None,
    ) -> None:
        self._approvals = approvals
        self._commands = commands
        self._directory = directory
        self._whispers = whispers
        self._identity = identity
        self._redaction = redaction or Redaction()

    def listen(self, app: AsyncApp) -> None:
        """Register every listener. The manifest declares what stands here; a test compares the two."""
        app.use(_Shape(self.read_click))
        app.action(cards.APPROVE)(self.on_approve)
        app.action(cards.CONFIRM)(self.on_confirm)
        app.action(cards.REJECT)(self.on_reject)
        app.action(cards.EDIT)(self.on_edit)
        app.action(cards.RESPOND)(self.on_respond)
        app.action(cards.DETAILS)(self.on_details)
        for turn in details.TURNS:
            app.action(turn)(self.on_turn)
        buttons = (cards.APPROVE, cards.CONFIRM, cards.REJECT, cards.EDIT, cards.RESPOND, cards.DETAILS)
        ours = "|".join((*buttons, *details.TURNS))
        app.action(re.compile(rf"\A(?!(?:{ours})\Z)"))(self.on_unknown_action)
        app.view(cards.REJECT_DIALOG)(self.on_reject_dialog)
        app.view(cards.CONFIRM_DIALOG)(self.on_confirm_dialog)
        app.view(dialogs.EDIT_DIALOG)(self.on_edit_dialog)
        app.view(dialogs.RESPOND_DIALOG)(self.on_respond_dialog)
        app.command("/signoff")(self.on_command)
        app.event("user_change")(self.on_user_change)
        app.event("subteam_members_changed")(self.on_group_change)
        app.event("subteam_updated")(self.on_group_change)
        app.error(self.on_error)

    async def read_click(self, body: dict[str, Any]) -> Click | Turn | None:
        """Return the click; None for one that was refused: it lacks what is needed to find a listener."""
        container = body.get("container")
        inside = isinstance(container, dict) and container.get("type") == "view"
        try:
            return Turn.model_validate(body) if inside else Click.model_validate(body)
        except ValidationError:
            await self._journal(_UNREADABLE, _claimed_actor(body), Place("slack"))
            self._whisper(body.get("response_url"), _UNREADABLE)
            return None

    async def on_approve(self, context: AsyncBoltContext, ack: AsyncAck) -> None:
        """Take an approval: commit, then ack."""

        async def approve(click: Click) -> None:
            value = click.actions[0].value
            ticket, seen = read_ticket(value), read_round(value)
            await self._approvals.decide(ticket, click.actor, "approve", place=click.place, seen=seen)

        await self._clicked(context[_CLICK], approve)
        await ack()

    async def on_reject(self, context: AsyncBoltContext, ack: AsyncAck, client: AsyncWebClient) -> None:
        """Ask why, in a dialog, when this person may reject."""

        async def ask(click: Click) -> None:
            view, origin = await self._dialog(click, "reject")
            required = view.case.policy.least_reason > 0
            dialog = dialogs.reject_dialog(view.request, origin, reason_required=required)
            await client.views_open(trigger_id=click.trigger_id, view=dialog)

        await self._clicked(context[_CLICK], ask)
        await ack()

    async def on_confirm(self, context: AsyncBoltContext, ack: AsyncAck, client: AsyncWebClient) -> None:
        """Ask to type what is approved, in a dialog, when this person may approve."""

        async def ask(click: Click) -> None:
            view, origin = await self._dialog(click, "approve")
            dialog = dialogs.confirm_dialog(view.request, origin, view.case.terms.confirm or "")
            await client.views_open(trigger_id=click.trigger_id, view=dialog)

        await self._clicked(context[_CLICK], ask)
        await ack()

    async def on_edit(self, context: AsyncBoltContext, ack: AsyncAck, client: AsyncWebClient) -> None:
        """Offer what may be changed, in a dialog, when this person may approve."""

        async def ask(click: Click) -> None:
            view, origin = await self._dialog(click, "edit")
            await client.views_open(trigger_id=click.trigger_id, view=dialogs.edit_dialog(view, origin))

        await self._clicked(context[_CLICK], ask)
        await ack()

    async def on_respond(self, context: AsyncBoltContext, ack: AsyncAck, client: AsyncWebClient) -> None:
        """Ask what is answered instead, in a dialog, when this person may."""

        async def ask(click: Click) -> None:
            view, origin = await self._dialog(click, "respond")
            await client.views_open(trigger_id=click.trigger_id, view=dialogs.respond_dialog(view, origin))

        await self._clicked(context[_CLICK], ask)
        await ack()

    async def _dialog(self, click: Click, verdict: Verdict) -> tuple[RequestView, DialogOrigin]:
        """Return what a dialog is opened on, when this person may give the verdict."""
        ticket = read_ticket(click.actions[0].value)
        view = await self._approvals.check(ticket, click.actor, verdict, place=click.place)
        return self._redaction.view(view), DialogOrigin(
            ticket=write_ticket(ticket),
            channel=click.container.channel_id,
            message=click.container.message_ts,
            round=view.standing.round,
        )

    async def on_details(self, context: AsyncBoltContext, ack: AsyncAck, client: AsyncWebClient) -> None:
        """Show all of a request to a full member, in a dialog; who saw what is in the journal."""

        async def show(click: Click) -> None:
            dialog = await details.opened(self._approvals, click, self._redaction)
            await client.views_open(trigger_id=click.trigger_id, view=dialog)

        await self._clicked(context[_CLICK], show)
        await ack()

    async def on_turn(self, context: AsyncBoltContext, ack: AsyncAck, client: AsyncWebClient) -> None:
        """Turn a page of that dialog; what is not open any more is said in its place."""

        async def turn(click: Click | Turn) -> None:
            if not isinstance(click, Turn):
                raise Refused("UNKNOWN_ACTION", "This button is not one of ours. Nothing was recorded.")
            dialog = await details.turned(self._approvals, click, self._redaction)
            # A second click meets another hash, and the first has turned the page.
            await client.views_update(view_id=click.view.id, hash=click.view.hash, view=dialog)

        await self._clicked(context[_CLICK], turn)
        await ack()

    async def on_unknown_action(self, context: AsyncBoltContext, ack: AsyncAck) -> None:
        """Refuse a button that we never drew."""

        async def refuse(click: Click) -> None:
            raise Refused("UNKNOWN_ACTION", "This button is not one of ours. Nothing was recorded.")

        await self._clicked(context[_CLICK], refuse)
        await ack()

    async def on_reject_dialog(self, body: dict[str, Any], ack: AsyncAck) -> None:
        """Take a rejection with its reason: commit, then ack; an error shows at its field."""

        async def take(sent: _Sent) -> Mapping[str, str]:
            reason = sent.text(cards.REASON_BLOCK, cards.REASON_INPUT)
            await self._approvals.decide(*sent.by, "reject", place=sent.place, reason=reason)
            return {}

        await self._submitted(body, ack, cards.REASON_BLOCK, take)

    async def on_confirm_dialog(self, body: dict[str, Any], ack: AsyncAck) -> None:
        """Take an approval that was confirmed by typing: commit, then ack; an error shows at its field."""

        async def take(sent: _Sent) -> Mapping[str, str]:
            typed = sent.text(cards.CONFIRM_BLOCK, cards.CONFIRM_INPUT)
            seen = sent.origin.round
            await self._approvals.decide(*sent.by, "approve", place=sent.place, confirm=typed, seen=seen)
            return {}

        await self._submitted(body, ack, cards.CONFIRM_BLOCK, take)

    async def on_respond_dialog(self, body: dict[str, Any], ack: AsyncAck) -> None:
        """Take an answer that is given instead: commit, then ack; an error shows at its field."""

        async def take(sent: _Sent) -> Mapping[str, str]:
            answer = sent.text(dialogs.ANSWER_BLOCK, dialogs.ANSWER_INPUT)
            await self._approvals.decide(*sent.by, "respond", place=sent.place, reason=answer)
            return {}

        await self._submitted(body, ack, dialogs.ANSWER_BLOCK, take)

    async def on_edit_dialog(self, body: dict[str, Any], ack: AsyncAck) -> None:
        """Take an approval of other arguments: commit, then ack; an error shows at its field."""

        async def take(sent: _Sent) -> Mapping[str, str]:
            seen = sent.origin.round
            view = await self._approvals.check(*sent.by, "edit", place=sent.place)
            # What was not shown whole was not offered, and nothing is scanned here to find that out again.
            submitted = sent.submission
            fields = [f for f in offered(view.case, view.standing) if submitted.has(f.block_id)]
            changed, wrong = dialogs.read_edit(fields, sent.submission)
            confirm = sent.text(cards.CONFIRM_BLOCK, cards.CONFIRM_INPUT)
            # What somebody else has edited meanwhile is told before anything else.
            if wrong and seen in {None, view.standing.round}:
                unsaid = [*wrong] == [dialogs.COMMENT_BLOCK]
                code: RefusalCode = "REASON_REQUIRED" if unsaid else "INVALID_INPUT"
                refusal = Refused(code, "; ".join(wrong.values()))
                await self._journal(refusal, sent.submission.actor, sent.place, sent.ticket)
                return wrong
            comment = sent.text(dialogs.COMMENT_BLOCK, dialogs.COMMENT_INPUT)
            try:
                await self._approvals.decide(
                    *sent.by,
                    "edit",
                    place=sent.place,
                    reason=comment,
                    edited=changed,
                    confirm=confirm,
                    seen=seen,
                )
            except Refused as refusal:
                if refusal.code != "INVALID_INPUT":
                    raise
                if refusal.fields and fields:
                    return forms.at_blocks(fields, refusal.fields)
                unconfirmed = view.case.terms.confirm not in {None, confirm}
                blocks = [field.block_id for field in fields if field.name in changed or not changed]
                place = cards.CONFIRM_BLOCK if unconfirmed else [*blocks, dialogs.COMMENT_BLOCK][0]
                return {place: self._redaction.refusal(refusal, view).sentence}
            return {}

        await self._submitted(body, ack, dialogs.COMMENT_BLOCK, take)

    async def _submitted(
        self,
        body: dict[str, Any],
        ack: AsyncAck,
        block: str,
        take: Callable[[_Sent], Awaitable[Mapping[str, str]]],
    ) -> None:
        """Do the work of one submission; what it returns is wrong is told at those blocks."""
        try:
            submission = Submission.model_validate(body)
        except ValidationError:
            await self._journal(_UNREADABLE, _claimed_actor(body), Place("slack"))
            await ack(response_action="update", view=dialogs.notice_dialog(_UNREADABLE.sentence))
            return
        place = Place("slack", submission.api_app_id, submission.workspace)
        ticket = None
        wrong: Mapping[str, str] = {}
        try:
            origin = DialogOrigin.model_validate_json(submission.view.private_metadata)
            place = Place(
                "slack", submission.api_app_id, submission.workspace, origin.channel, origin.message
            )
            ticket = read_ticket(origin.ticket)
            wrong = await take(_Sent(submission, origin, ticket, place))
        except ValidationError:
            await self._journal(_UNREADABLE, submission.actor, place)
            await ack(response_action="update", view=dialogs.notice_dialog(_UNREADABLE.sentence))
            return
        except Refused as refusal:
            if ticket is None:
                await self._journal(refusal, submission.actor, place)
            if refusal.code not in _AT_THE_FIELD:
                notice = dialogs.notice_dialog(cards.refusal_sentence(refusal))
                await ack(response_action="update", view=notice)
                return
            wrong = {block: (await self._shown(refusal, ticket)).sentence}
        except StoreError as error:
            _log.exception("dialog.failed")
            # At the field, so that what was typed is kept.
            wrong = {block: _UNKNOWN if isinstance(error, CommitUnknown) else f"{_AWAY} submit again."}
        if wrong:
            await ack(response_action="errors", errors=dict(wrong))
        else:
            await ack()

    async def on_command(self, body: dict[str, Any], ack: AsyncAck) -> None:
        """Answer ``/signoff ...`` privately; what the command changed is committed before the answer."""
        typed = read_typed(body, self._identity)
        if isinstance(typed, str):
            await ack(text=typed)
            return
        reviewer = await self._directory.reviewer(typed.actor, ())
        await ack(**await self._commands.answer(typed.text, reviewer))

    async def on_user_change(self, event: dict[str, Any]) -> None:
        """Forget what was known of a user whose account changed."""
        user = event.get("user")
        if isinstance(user, dict):
            self._directory.forget_user(str(user.get("id", "")))

    async def on_group_change(self, event: dict[str, Any]) -> None:
        """Forget the members of a group that changed."""
        subteam = event.get("subteam_id") or (event.get("subteam") or {}).get("id", "")
        self._directory.forget_group(str(subteam))

    async def on_error(self, error: Exception, context: AsyncBoltContext) -> None:
        """Log what went wrong, without the payload: it holds a response_url and what people typed."""
        _log.error("listener.failed", error=type(error).__name__, exc_info=error)

    async def _clicked(self, click: Any, work: Callable[[Any], Awaitable[None]]) -> None:
        """Do the work of one click; whatever refuses it is written down and said to the person."""
        url = click.response_url
        try:
            await work(click)
        except Refused as refusal:
            if refusal.code in {"GARBLED_TICKET", "UNKNOWN_ACTION"}:
                await self._journal(refusal, click.actor, click.place)
            self._whisper(url, await self._shown(refusal, click))
        except (SlackApiError, aiohttp.ClientError, TimeoutError) as error:
            code = error_code(error) if isinstance(error, SlackApiError) else type(error).__name__
            _log.warning("dialog.failed", error=code)
            self._whisper(url, Refused("BUSY", "Slack did not open the dialog. Click again."))
        except (StoreError, OSError) as error:
            _log.exception("click.failed")
            sentence = _UNKNOWN if isinstance(error, CommitUnknown) else f"{_AWAY} click again."
            self._whisper(url, Refused("BUSY", sentence))

    async def _journal(
        self, refusal: Refused, actor: Actor | None, place: Place, ticket: Ticket | None = None
    ) -> None:
        """Write a refusal down if the database lets us; the person is told either way."""
        try:
            await self._approvals.refuse(refusal, actor, place, ticket)
        except StoreError as error:
            _log.error("refusal.unwritten", code=refusal.code, error=type(error).__name__)

    async def _shown(self, refusal: Refused, of: Click | Ticket | None) -> Refused:
        """Return a refusal as it may be told: only one of an input may name what is hidden."""
        if refusal.code != "INVALID_INPUT":
            return refusal
        with contextlib.suppress(Refused, StoreError):
            ticket = read_ticket(of.actions[0].value) if isinstance(of, Click) else of
            view = None if ticket is None else await self._approvals.view(ticket.request_id)
            return self._redaction.refusal(refusal, view)
        return Refused(refusal.code, "This was not taken. Nothing was recorded.")

    def _whisper(self, url: Any, refusal: Refused) -> None:
        if isinstance(url, str) and url:
            self._whispers.say(url, cards.refusal_sentence(refusal))


class _Shape(AsyncMiddleware):
    """Looks at a payload before Bolt takes it apart to find a listener, which fails on missing parts."""

    def __init__(self, read_click: Callable[[dict[str, Any]], Awaitable[Click | Turn | None]]) -> None:
        self._read_click = read_click

    async def async_process(
        self,
        *,
        req: AsyncBoltRequest,
        resp: BoltResponse,
        next: Callable[[], Awaitable[BoltResponse]],  # noqa: A002 - the name is Bolt's
    ) -> BoltResponse | None:
        if req.body.get("type") == "block_actions":
            click = await self._read_click(req.body)
            if click is None:
                return BoltResponse(status=200)
            req.context[_CLICK] = click
        return await next()


def _claimed_actor(body: dict[str, Any]) -> Actor | None:
    user = body.get("user")
    id_ = user.get("id") if isinstance(user, dict) else None
    return Actor(id_[:64]) if isinstance(id_, str) else None  # type: ignore[arg-type]  # as claimed, unchecked
