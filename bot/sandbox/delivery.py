"""The way to the app: envelopes over Socket Mode or signed HTTP requests, and what became of each."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import aiohttp
from aiohttp import WSMsgType, web

from bot.sandbox.refusals import Json

if TYPE_CHECKING:
    from collections.abc import Callable

ACK_SECONDS = 3.0
MOST_CONNECTIONS = 10
ACKED, TIMEOUT, NO_CONNECTION, ERROR = "acked", "timeout", "no_connection", "error"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One payload sent to the app and what became of it.

    `outcome` is "acked", "timeout" (no answer within the deadline), "http_<status>", "no_connection", or
    "error": the app's answer could not be followed, or Slack's client held back a field that is not valid.
    `response` is the payload of the acknowledgement. Two deliveries with the same `id` are duplicates.
    """

    id: str
    kind: str
    user: str
    payload: Json
    outcome: str
    response: Json | None
    elapsed_ms: float
    summary: str
    retry: int = 0

    @property
    def acked(self) -> bool:
        """True when the app answered in time and its answer could be followed."""
        return self.outcome == ACKED


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is put on the wire: `kind` is "interactive", "slash_commands" or "events_api"."""

    id: str
    kind: str
    payload: Json
    retry: int = 0
    retry_reason: str = ""

    def envelope(self) -> Json:
        """The Socket Mode frame."""
        accepts = self.kind == "slash_commands" or self.payload.get("type") == "view_submission"
        frame: Json = {
            "envelope_id": self.id,
            "type": self.kind,
            "accepts_response_payload": accepts,
            "payload": self.payload,
        }
        if self.kind == "events_api":
            frame |= {"retry_attempt": self.retry, "retry_reason": self.retry_reason}
        return frame

    def http_body(self) -> tuple[str, str]:
        """The HTTP body and its content type."""
        if self.kind == "events_api":
            return json.dumps(self.payload), "application/json"
        if self.kind == "interactive":
            fields = {"payload": json.dumps(self.payload)}
        else:
            fields = {key: str(value) for key, value in self.payload.items() if value is not None}
        return urlencode(fields), "application/x-www-form-urlencoded"


@dataclass(eq=False, slots=True)
class Connection:
    """A Socket Mode connection of the app. A draining one gets no new envelopes, but its acks count."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport | None
    draining: bool = False


@dataclass(eq=False, slots=True)
class SocketMode:
    """The app's WebSockets; envelopes go to them in turn, acknowledgements may come back on any."""

    app_id: str
    new_id: Callable[[], str]
    on_change: Callable[[], None]
    connections: list[Connection] = field(default_factory=list)
    _tickets: set[str] = field(default_factory=set)
    _waiting: dict[str, list[asyncio.Future[Json | None]]] = field(default_factory=dict)
    _turn: int = 0

    def new_ticket(self) -> str:
        """A ticket good for one connection."""
        ticket = self.new_id() + self.new_id()
        self._tickets.add(ticket)
        return ticket

    @property
    def connected(self) -> bool:
        """True while an envelope could be delivered."""
        return any(not connection.draining for connection in self.connections)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serves /link/ until the app goes away; 403 for a ticket that is unknown or used."""
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.json_response({"ok": False, "error": "invalid_ticket"}, status=403)
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        await socket.prepare(request)
        if len(self.connections) >= MOST_CONNECTIONS:
            await socket.send_json(_disconnect("too_many_websockets"))
            await socket.close()
            return socket
        connection = Connection(socket, request.transport)
        self.connections.append(connection)
        self.on_change()
        try:
            await socket.send_json(
                {
                    "type": "hello",
                    "connection_info": {"app_id": self.app_id},
                    "num_connections": len(self.connections),
                    "debug_info": {"host": "sandbox", "approximate_connection_time": 3600},
                }
            )
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    self._acknowledge(frame.data)
        finally:
            self.connections.remove(connection)
            self.on_change()
        return socket

    async def send(self, parcel: Parcel, deadline: float) -> tuple[str, Json | None]:
        """The outcome of one copy of the parcel."""
        live = [connection for connection in self.connections if not connection.draining]
        if not live:
            return NO_CONNECTION, None
        self._turn += 1
        chosen = live[self._turn % len(live)]
        answered: asyncio.Future[Json | None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(parcel.id, [])
        waiting.append(answered)
        try:
            async with asyncio.timeout(deadline):
                await chosen.socket.send_json(parcel.envelope())
                return ACKED, await answered
        except TimeoutError:
            return TIMEOUT, None
        except ConnectionError:
            return NO_CONNECTION, None
        finally:
            if answered in waiting:
                waiting.remove(answered)
            if not waiting:
                self._waiting.pop(parcel.id, None)

    def _acknowledge(self, data: str) -> None:
        try:
            frame = json.loads(data)
        except ValueError:
            return
        if not isinstance(frame, dict):
            return
        waiting = self._waiting.get(str(frame.get("envelope_id")), [])
        payload = frame.get("payload")
        for answered in waiting:
            if not answered.done():
                answered.set_result(payload if isinstance(payload, dict) else None)
                return

    async def disconnect(self, reason: str | None) -> None:
        """Asks the app to leave its connections, or with None cuts them without a word.

        After "warning" envelopes still come; after every other reason these connections get none.
        """
        for connection in list(self.connections):
            if reason is None:
                connection.draining = True
                if connection.transport is not None:
                    connection.transport.abort()
                continue
            connection.draining = connection.draining or reason != "warning"
            try:
                await connection.socket.send_json(_disconnect(reason))
            except ConnectionError:
                connection.draining = True
        self.on_change()

    async def close(self) -> None:
        """Afterwards every connection is closed."""
        for connection in list(self.connections):
            await connection.socket.close(code=1001)


def _disconnect(reason: str) -> Json:
    return {"type": "disconnect", "reason": reason, "debug_info": {"host": "sandbox"}}


def signature(secret: str, timestamp: str, body: str) -> str:
    """Slack's v0 signature of a raw body."""
    base = f"v0:{timestamp}:{body}".encode()
    return "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()


@dataclass(eq=False, slots=True)
class SignedHttp:
    """Delivers to the app's request URL, as Slack does without Socket Mode."""

    signing_secret: str
    clock: Callable[[], float]
    session: aiohttp.ClientSession

    async def send(self, url: str, parcel: Parcel, deadline: float) -> tuple[str, Json | None]:
        """The outcome of one copy of the parcel; a body that is no JSON counts as `{"text": body}`."""
        body, content_type = parcel.http_body()
        headers: dict[str, str] = {}
        if parcel.retry:
            headers = {"x-slack-retry-num": str(parcel.retry), "x-slack-retry-reason": parcel.retry_reason}
        try:
            status, answer = await self._post(url, body, content_type, headers, deadline)
        except TimeoutError:
            return TIMEOUT, None
        except (aiohttp.ClientError, OSError):
            return NO_CONNECTION, None
        if status != 200:
            return f"http_{status}", None
        return ACKED, _parsed(answer)

    async def verifies(self, url: str, challenge: str, deadline: float) -> bool:
        """True when the URL answers Slack's url_verification with the challenge."""
        body = json.dumps({"type": "url_verification", "challenge": challenge, "token": "unused"})
        try:
            status, answer = await self._post(url, body, "application/json", {}, deadline)
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False
        parsed = _parsed(answer) or {}
        return status == 200 and challenge in (answer, parsed.get("challenge"))

    async def _post(
        self, url: str, body: str, content_type: str, headers: dict[str, str], deadline: float
    ) -> tuple[int, str]:
        timestamp = str(int(self.clock()))
        signed = {
            **headers,
            "Content-Type": content_type,
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": signature(self.signing_secret, timestamp, body),
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
        }
        async with (
            asyncio.timeout(deadline),
            self.session.post(url, data=body.encode(), headers=signed, allow_redirects=False) as answer,
        ):
            return answer.status, await answer.text()


def _parsed(answer: str) -> Json | None:
    if not answer.strip():
        return None
    try:
        parsed = json.loads(answer)
    except ValueError:
        return {"text": answer}
    return parsed if isinstance(parsed, dict) else {"text": answer}


def milliseconds_since(started: float) -> float:
    """Since a reading of time.perf_counter(), rounded to a tenth."""
    return round((time.perf_counter() - started) * 1000, 1)
