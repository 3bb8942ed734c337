"""Sends a payload to the app and does what its answer asks: replies, modals, warnings, retries of events."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bot.sandbox import views
from bot.sandbox.delivery import ACK_SECONDS, ERROR, TIMEOUT, Delivery, Parcel, milliseconds_since
from bot.sandbox.doors import user_of
from bot.sandbox.limits import message_blocks
from bot.sandbox.refusals import Json, SlackError

if TYPE_CHECKING:
    from bot.sandbox.delivery import SignedHttp, SocketMode
    from bot.sandbox.doors import Doors
    from bot.sandbox.faults import Faults
    from bot.sandbox.journal import Journal
    from bot.sandbox.workspace import Workspace

# Slack repeats an unacknowledged event at once, after a minute and after five; nothing else is repeated.
EVENT_RETRIES = (0.0, 60.0, 300.0)
KINDS = frozenset({"interactive", "slash_commands", "events_api"})


class Exchange:
    """Deliveries to the app, one after the other or at the same time."""

    def __init__(
        self,
        *,
        workspace: Workspace,
        doors: Doors,
        sockets: SocketMode,
        faults: Faults,
        journal: Journal,
        event_retries: tuple[float, ...] = EVENT_RETRIES,
    ) -> None:
        self.deliveries: list[Delivery] = []
        self.deadline = ACK_SECONDS
        self.request_url: str | None = None
        self.http: SignedHttp | None = None
        self._workspace = workspace
        self._doors = doors
        self._sockets = sockets
        self._faults = faults
        self._journal = journal
        self._event_retries = event_retries
        self._retrying: set[asyncio.Task[None]] = set()

    async def deliver(self, kind: str, payload: Json) -> Delivery:
        """The delivery, once its outcome is known and what the answer asks for has been done."""
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}; known: {', '.join(sorted(KINDS))}")
        parcel = Parcel(self._workspace.new_id(), kind, payload)
        copies = 1 + self._faults.take_duplicates()
        async with asyncio.TaskGroup() as sending:
            tasks = [sending.create_task(self._send(parcel)) for _ in range(copies)]
        first = self._carry_out(tasks[0].result())
        self.deliveries += [first, *(task.result() for task in tasks[1:])]
        if kind == "events_api" and not first.acked:
            self._retry(parcel, first.outcome)
        self._workspace.changes.touch()
        return first

    async def close(self) -> None:
        """Afterwards no event is waiting to be repeated."""
        tasks = list(self._retrying)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, parcel: Parcel) -> Delivery:
        user = user_of(parcel.payload)
        summary = self._doors.summary(parcel.payload, user)
        line = self._journal.to_app(parcel.kind, user, summary, parcel.payload)
        started = time.perf_counter()
        outcome, response = "cancelled", None
        try:
            if self.request_url is None or self.http is None:
                outcome, response = await self._sockets.send(parcel, self.deadline)
            else:
                outcome, response = await self.http.send(self.request_url, parcel, self.deadline)
        finally:
            elapsed = milliseconds_since(started)
            self._journal.settle(line, outcome, elapsed)
        return Delivery(
            id=parcel.id,
            kind=parcel.kind,
            user=user,
            payload=parcel.payload,
            outcome=outcome,
            response=response,
            elapsed_ms=elapsed,
            summary=summary,
            retry=parcel.retry,
        )

    def _retry(self, parcel: Parcel, outcome: str) -> None:
        task = asyncio.get_running_loop().create_task(self._repeat(parcel, outcome))
        self._retrying.add(task)
        task.add_done_callback(self._retrying.discard)

    async def _repeat(self, parcel: Parcel, outcome: str) -> None:
        for number, pause in enumerate(self._event_retries, start=1):
            await asyncio.sleep(pause)
            reason = {TIMEOUT: "http_timeout", "no_connection": "connection_failed"}.get(
                outcome, "http_error"
            )
            again = await self._send(Parcel(parcel.id, parcel.kind, parcel.payload, number, reason))
            self.deliveries.append(again)
            self._workspace.changes.touch()
            if again.acked:
                return
            outcome = again.outcome

    def _carry_out(self, delivery: Delivery) -> Delivery:
        """Does what the answer asks; the delivery, with outcome "error" when it could not be done."""
        payload = delivery.payload
        if not delivery.acked:
            self._warn(delivery)
            return delivery
        try:
            if delivery.kind == "slash_commands":
                self._reply(payload, delivery.response)
            elif payload.get("type") == "view_submission":
                view = self._workspace.modals.get(str((payload.get("view") or {}).get("id")))
                if view is not None:
                    views.apply_response(self._workspace, view, delivery.response)
        except SlackError as error:
            self._workspace.warn(delivery.user, f"We had some trouble connecting. Try again? ({error.error})")
            return Delivery(
                id=delivery.id,
                kind=delivery.kind,
                user=delivery.user,
                payload=payload,
                outcome=ERROR,
                response=delivery.response,
                elapsed_ms=delivery.elapsed_ms,
                summary=f"{delivery.summary}, but the answer was refused: {error}",
            )
        return delivery

    def _reply(self, payload: Json, response: Json | None) -> None:
        """The acknowledgement of a slash command may carry a message."""
        text = str((response or {}).get("text") or "")
        blocks = (response or {}).get("blocks")
        if response is None or not (text or blocks):
            return
        stored = message_blocks(blocks, self._workspace.new_id) if blocks else []
        channel, user = str(payload.get("channel_id")), str(payload.get("user_id"))
        if response.get("response_type") == "in_channel":
            bot = self._workspace.bot_user_id
            self._workspace.post(channel=channel, user=bot, text=text, blocks=stored)
        else:
            self._workspace.whisper(user=user, channel=channel, text=text, blocks=stored)

    def _warn(self, delivery: Delivery) -> None:
        """Slack's words to the person when the app did not answer; events fail in silence."""
        payload, app = delivery.payload, self._workspace.app_name
        if delivery.kind == "slash_commands":
            error = "operation_timeout" if delivery.outcome == TIMEOUT else "dispatch_failed"
            words = f'{payload.get("command")} failed with the error "{error}"'
        elif payload.get("type") == "view_submission":
            words = "We had some trouble connecting. Try again?"
        elif payload.get("type") == "block_actions":
            words = f"Something went wrong: the {app} app did not respond ({delivery.outcome})."
        else:
            return
        self._workspace.warn(delivery.user, words)


def not_sent(user: str, payload: Json, summary: str) -> Delivery:
    """The record of a submission that Slack's client held back because a field is not valid."""
    return Delivery("", "interactive", user, payload, ERROR, None, 0.0, summary)
