"""The door the app calls through: /api/{method}, with tokens, scopes, rate limits and ordered faults."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeAlias

from aiohttp import web

from bot.sandbox import chat, directory, views
from bot.sandbox.args import Args, read_args
from bot.sandbox.refusals import Json, SlackError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.sandbox.faults import Fault, Faults
    from bot.sandbox.journal import Journal
    from bot.sandbox.rates import RateLimits
    from bot.sandbox.workspace import Workspace

    Method: TypeAlias = Callable[[Workspace, Args], Json]

_READ_CHANNELS = ("channels:read", "groups:read", "im:read", "mpim:read")
_READ_HISTORY = ("channels:history", "groups:history", "im:history", "mpim:history")

# Each method with the scopes of which one is enough.
METHODS: dict[str, tuple[Method, tuple[str, ...]]] = {
    "api.test": (directory.api_test, ()),
    "auth.test": (directory.auth_test, ()),
    "bots.info": (directory.bots_info, ("users:read",)),
    "chat.delete": (chat.delete, ("chat:write",)),
    "chat.getPermalink": (chat.get_permalink, ()),
    "chat.postEphemeral": (chat.post_ephemeral, ("chat:write",)),
    "chat.postMessage": (chat.post_message, ("chat:write",)),
    "chat.update": (chat.update, ("chat:write",)),
    "conversations.history": (directory.conversations_history, _READ_HISTORY),
    "conversations.info": (directory.conversations_info, _READ_CHANNELS),
    "conversations.join": (directory.conversations_join, ("channels:join",)),
    "conversations.list": (directory.conversations_list, _READ_CHANNELS),
    "conversations.members": (directory.conversations_members, _READ_CHANNELS),
    "conversations.open": (directory.conversations_open, ("im:write", "mpim:write")),
    "conversations.replies": (directory.conversations_replies, _READ_HISTORY),
    "reactions.add": (chat.add_reaction, ("reactions:write",)),
    "team.info": (directory.team_info, ("team:read",)),
    "usergroups.list": (directory.usergroups_list, ("usergroups:read",)),
    "usergroups.users.list": (directory.usergroups_users_list, ("usergroups:read",)),
    "users.info": (directory.users_info, ("users:read",)),
    "users.list": (directory.users_list, ("users:read",)),
    "users.lookupByEmail": (directory.users_lookup_by_email, ("users:read.email",)),
    "views.open": (views.open_view, ()),
    "views.publish": (views.publish_view, ()),
    "views.push": (views.push_view, ()),
    "views.update": (views.update_view, ()),
}
OPEN_SOCKET = "apps.connections.open"


class WebApi:
    """Answers Web API calls and response URLs against one workspace."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        bot_token: str,
        app_token: str,
        faults: Faults,
        rates: RateLimits,
        journal: Journal,
        new_socket_url: Callable[[], str],
    ) -> None:
        self.workspace = workspace
        self.rate_limits = False
        self._bot_token = bot_token
        self._app_token = app_token
        self._faults = faults
        self._rates = rates
        self._journal = journal
        self._new_socket_url = new_socket_url
        self.closing = asyncio.Event()

    async def call(self, request: web.Request) -> web.StreamResponse:
        """Serves /api/{method}."""
        method = request.match_info["method"]
        started = time.perf_counter()
        outcome, args = "ok", Args({})
        fault = self._faults.take(method)
        try:
            args = await read_args(request)
            refused = self._before(request, fault)
            if refused is not None:
                outcome = _outcome_of(fault)
                return refused
            self._authorize(request, method, args)
            wait = self._rates.wait_for(method, args.text("channel")) if self.rate_limits else 0
            if wait:
                outcome = "ratelimited"
                return _too_many(wait)
            body = {"ok": True, **self._run(method, args)}
            outcome = fault.kind if fault else "ok"
            await self._after(request, fault)
        except SlackError as error:
            outcome, body = error.error, error.answer()
        finally:
            # Also when the app went away while a fault held its answer back.
            ms = (time.perf_counter() - started) * 1000
            self._journal.from_app(method, args.values, outcome, ms)
        headers = (
            {"x-oauth-scopes": ",".join(sorted(self.workspace.scopes))} if method == "auth.test" else None
        )
        return web.json_response(body, headers=headers)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Serves response URLs; refusals are 404 for the URL itself and 400 for what it was sent."""
        started = time.perf_counter()
        outcome, args = "ok", Args({})
        fault = self._faults.take("response_url")
        try:
            args = await read_args(request)
            refused = self._before(request, fault)
            if refused is not None:
                outcome = _outcome_of(fault)
                return refused
            key = request.match_info["key"]
            wait = self._rates.wait_for("response_url", key) if self.rate_limits else 0
            if wait:
                outcome = "ratelimited"
                return _too_many(wait)
            try:
                url = self.workspace.handles.use_response_url(key)
            except SlackError as error:
                outcome = error.error
                return web.json_response(error.answer(), status=404)
            chat.respond(self.workspace, url, args)
            outcome = fault.kind if fault else "ok"
            await self._after(request, fault)
            return web.json_response({"ok": True})
        except SlackError as error:
            outcome = error.error
            return web.json_response(error.answer(), status=400)
        finally:
            self._journal.from_app(
                "response_url", args.values, outcome, (time.perf_counter() - started) * 1000
            )

    def _run(self, method: str, args: Args) -> Json:
        if method == OPEN_SOCKET:
            return {"url": self._new_socket_url()}
        run, _ = METHODS[method]
        return run(self.workspace, args)

    def _authorize(self, request: web.Request, method: str, args: Args) -> None:
        """Raises SlackError unless the token may call the method."""
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        token = bearer.strip() if scheme.lower() == "bearer" else args.text("token")
        args.values.pop("token", None)
        if method not in METHODS and method != OPEN_SOCKET:
            raise SlackError("unknown_method", req_method=method)
        if method == "api.test":
            return
        if not token:
            raise SlackError("not_authed")
        if token not in {self._bot_token, self._app_token}:
            raise SlackError("invalid_auth")
        if (token == self._app_token) != (method == OPEN_SOCKET):
            raise SlackError("not_allowed_token_type")
        if method == OPEN_SOCKET:
            return
        if self.workspace.token_revoked:
            raise SlackError("token_revoked")
        _, enough = METHODS[method]
        if enough and not self.workspace.scopes & set(enough):
            raise SlackError(
                "missing_scope", needed=enough[0], provided=",".join(sorted(self.workspace.scopes))
            )

    def _before(self, request: web.Request, fault: Fault | None) -> web.StreamResponse | None:
        """The answer of a fault that keeps the call from taking effect, or None."""
        kind = fault.kind if fault else ""
        if fault is not None and kind == "ratelimited":
            return _too_many(fault.retry_after)
        if kind in {"500", "503"}:
            return web.Response(
                status=int(kind), text="upstream connect error or disconnect/reset before headers"
            )
        if kind.startswith("error:"):
            raise SlackError(kind.removeprefix("error:"))
        if kind == "drop_before_store":
            return _drop(request)
        return None

    async def _after(self, request: web.Request, fault: Fault | None) -> None:
        """Lets a fault spoil the answer of a call that took effect."""
        if fault is None:
            return
        if fault.kind == "drop_after_store":
            _drop(request)
        elif fault.kind == "timeout_after_store":
            await self.closing.wait()
        elif fault.kind == "hold_after_store" and fault.hold is not None:
            await fault.hold.wait()


def _outcome_of(fault: Fault | None) -> str:
    kind = fault.kind if fault else "error"
    return f"http_{kind}" if kind in {"500", "503"} else kind


def _too_many(seconds: int) -> web.Response:
    body = {"ok": False, "error": "ratelimited"}
    return web.json_response(body, status=429, headers={"Retry-After": str(seconds)})


def _drop(request: web.Request) -> web.Response:
    """Closes the TCP connection; the response returned has nowhere to go."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
