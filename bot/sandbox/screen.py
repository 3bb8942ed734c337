"""The page's doors: what one person sees as JSON, a stream of changes, and what they do."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from bot.sandbox.elements import for_eyes_of
from bot.sandbox.refusals import Json, NotOnScreenError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bot.sandbox.delivery import Delivery
    from bot.sandbox.records import View
    from bot.sandbox.server import Sandbox

PAGE = Path(__file__).parent / "page"
# Named here because the guess of the operating system differs, and a browser runs no module of another kind.
KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
HEARTBEAT_SECONDS = 15.0
# The page runs its own scripts only and shows pictures from anywhere a message says.
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' https: http: data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Screen:
    """Serves the page and its JSON. Only requests that name this server's own address are served."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._closing = False
        self._deeds: dict[str, Callable[[str, Json], Awaitable[Delivery | None]]] = {
            "click": self._click,
            "view/click": self._click_in_view,
            "view/submit": self._submit,
            "view/close": self._close_view,
            "slash": self._slash,
            "say": self._say,
            "home": self._home,
            "ephemeral/dismiss": self._dismiss,
            "toast/dismiss": self._dismiss,
        }

    def add_routes(self, app: web.Application) -> None:
        """Afterwards the page, its files and its doors are part of the application."""
        app.router.add_get("/", self._index)
        app.router.add_get("/page/{name}", self._file)
        app.router.add_get("/archives/{channel}/{message}", self._permalink)
        app.router.add_get("/sandbox/state", self._state)
        app.router.add_get("/sandbox/events", self._events)
        app.router.add_post("/sandbox/{deed:.+}", self._act)

    def close(self) -> None:
        """Afterwards every event stream ends by itself."""
        self._closing = True
        self._sandbox.changes.touch()

    # -- files

    async def _index(self, request: web.Request) -> web.StreamResponse:
        self._must_be_ours(request)
        return _page_file("index.html")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        self._must_be_ours(request)
        return _page_file(request.match_info["name"])

    async def _permalink(self, request: web.Request) -> web.StreamResponse:
        """Leads a permalink to the page, which finds the message by these two words."""
        digits = request.match_info["message"].removeprefix("p")
        channel = request.match_info["channel"]
        if not digits.isdigit() or channel not in self._sandbox.workspace.channels:
            raise web.HTTPNotFound
        raise web.HTTPFound(f"/?channel={channel}&ts={digits[:-6]}.{digits[-6:]}")

    # -- reading

    async def _state(self, request: web.Request) -> web.StreamResponse:
        self._must_be_ours(request)
        # Without a name the first person at hand is looked through the eyes of.
        people = (user.id for user in self._sandbox.workspace.users.values() if not user.is_bot)
        me, channel = request.query.get("as") or next(people, ""), request.query.get("channel")
        try:
            if channel and self._sandbox.workspace.sees(me, channel):
                self._sandbox.workspace.mark_read(me, channel)
            state = self.state(me)
        except NotOnScreenError as error:
            return _refused(str(error))
        return web.json_response(state, headers={"Cache-Control": "no-store"})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self._must_be_ours(request)
        stream = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        await stream.prepare(request)
        changes, seen = self._sandbox.changes, -1
        while not self._closing:
            if changes.version != seen:
                seen = changes.version
                await stream.write(f'data: {{"version": {seen}}}\n\n'.encode())
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await changes.wait(seen)
            except TimeoutError:
                await stream.write(b": still here\n\n")
        return stream

    def state(self, me: str) -> Json:
        """Everything the page shows to `me`; raises NotOnScreenError for an unknown person."""
        sandbox, space = self._sandbox, self._sandbox.workspace
        space.user(me)
        seen = [channel for channel in space.channels.values() if space.sees(me, channel.id)]
        home = sandbox.home(me)
        return {
            "version": sandbox.changes.version,
            "now": space.clock(),
            "team": {"id": space.team_id, "name": space.team_name, "domain": space.team_domain},
            "app": {
                "id": space.app_id,
                "name": space.app_name,
                "bot_user_id": space.bot_user_id,
                "connected": sandbox.connected,
                "mode": "socket" if sandbox.request_url is None else "http",
            },
            "me": me,
            "users": [
                {
                    "id": user.id,
                    "name": user.name,
                    "real_name": user.real_name,
                    "title": user.title,
                    "is_bot": user.is_bot,
                    "is_guest": user.is_guest,
                    "deleted": user.deleted,
                    "team_id": user.team_id,
                    "color": user.color,
                    "tz_offset": user.tz_offset,
                }
                for user in space.users.values()
            ],
            "groups": [
                {"id": group.id, "handle": group.handle, "name": group.name, "users": list(group.users)}
                for group in space.groups.values()
            ],
            "channels": [
                {
                    "id": channel.id,
                    "name": channel.name,
                    "topic": channel.topic,
                    "is_private": channel.is_private,
                    "is_im": channel.is_im,
                    "im_user": channel.im_user,
                    "is_archived": channel.is_archived,
                    "member": me in channel.members,
                    "unread": space.unread(me, channel.id),
                }
                for channel in seen
            ],
            "messages": {channel.id: self._messages(me, channel.id) for channel in seen},
            "ephemerals": [
                {
                    "id": one.id,
                    "channel": one.channel,
                    "thread_ts": one.thread_ts,
                    "text": one.text,
                    "blocks": for_eyes_of(me, one.blocks),
                    "ts": one.ts,
                }
                for one in sandbox.ephemerals(me)
            ],
            "modals": [_modal(view) for view in sandbox.modals(me)],
            "home": None
            if home is None
            else {"id": home.id, "blocks": home.blocks, "values": values_of(home)},
            "toasts": [{"id": one.id, "text": one.text, "at": one.at} for one in sandbox.toasts(me)],
            "commands": [
                {"command": one.command, "description": one.description, "usage_hint": one.usage_hint}
                for one in space.commands
            ],
            "log": [
                {
                    "id": one.id,
                    "at": one.at,
                    "direction": one.direction,
                    "kind": one.kind,
                    "who": one.who,
                    "summary": one.summary,
                    "outcome": one.outcome,
                    "ms": one.ms,
                    "detail": one.detail,
                }
                for one in sandbox.log
            ],
        }

    def _messages(self, me: str, channel: str) -> list[Json]:
        space = self._sandbox.workspace
        stored = space.everything_in(channel)
        replies = Counter(one.thread_ts for one in stored if not one.is_root)
        return [
            {
                "ts": one.ts,
                "user": one.user,
                "text": one.text,
                "blocks": for_eyes_of(me, one.blocks),
                "thread_ts": one.thread_ts,
                "reply_count": replies[one.ts],
                "edited": one.edited,
                "metadata_type": one.metadata["event_type"] if one.metadata else None,
                "app": one.app,
                "broadcast": one.broadcast,
                "reactions": [name for name, _ in one.reactions],
                "values": _plain(space.typed(channel, one.ts, me)),
            }
            for one in stored
        ]

    def in_words(self) -> str:
        """What everybody sees and the last deliveries, for the message of a failed test."""
        sandbox, space = self._sandbox, self._sandbox.workspace
        lines = [
            f"{channel.name or channel.id}: {one.user}: {one.text}"
            for channel in space.channels.values()
            for one in space.everything_in(channel.id)[-5:]
        ]
        lines += [f"only {one.user}: {one.text}" for one in sandbox.ephemerals()[-5:]]
        lines += [f"warning for {one.user}: {one.text}" for one in sandbox.toasts()[-5:]]
        for user in space.users:
            lines += [f"modal of {user}: {view.title} {view.errors or ''}" for view in sandbox.modals(user)]
        lines += [f"log: {one.summary}: {one.outcome}" for one in sandbox.log[-10:]]
        return "On screen:\n" + "\n".join(lines or ["nothing"])

    # -- doing

    async def _act(self, request: web.Request) -> web.StreamResponse:
        self._must_be_ours(request)
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType
        name, office = request.match_info["deed"], self._sandbox.office
        if name not in {*self._deeds, *office.deeds}:
            raise web.HTTPNotFound
        try:
            body = await request.json()
        except ValueError:
            return _refused("the request is not JSON")
        if not isinstance(body, dict):
            return _refused("the request is not a JSON object")
        try:
            if name in office.deeds:
                delivery = await office.do(name, body)
            else:
                me = _word(body, "as")
                self._sandbox.workspace.user(me)
                delivery = await self._deeds[name](me, body)
        except (ValueError, TypeError) as error:
            return _refused(str(error))
        return web.json_response({"ok": True, "delivery": _told(delivery)})

    async def _click(self, me: str, body: Json) -> Delivery:
        return await self._sandbox.click(
            user=me,
            channel=_word(body, "channel"),
            ts=_word(body, "ts"),
            action_id=_word(body, "action_id"),
            block_id=body.get("block_id"),
            value=body.get("value"),
        )

    async def _click_in_view(self, me: str, body: Json) -> Delivery:
        return await self._sandbox.click_in_view(
            user=me,
            view_id=_word(body, "view_id"),
            action_id=_word(body, "action_id"),
            block_id=body.get("block_id"),
            value=body.get("value"),
            values=_values(body),
        )

    async def _submit(self, me: str, body: Json) -> Delivery:
        return await self._sandbox.submit(user=me, view_id=_word(body, "view_id"), values=_values(body))

    async def _close_view(self, me: str, body: Json) -> Delivery | None:
        return await self._sandbox.close_view(user=me, view_id=_word(body, "view_id"))

    async def _slash(self, me: str, body: Json) -> Delivery:
        command = _word(body, "command")
        if command not in {one.command for one in self._sandbox.workspace.commands}:
            raise NotOnScreenError(f"{command} is not a valid command.")
        text = str(body.get("text") or "")
        return await self._sandbox.slash(user=me, channel=_word(body, "channel"), command=command, text=text)

    async def _say(self, me: str, body: Json) -> None:
        text, thread_ts = _word(body, "text"), body.get("thread_ts")
        await self._sandbox.say(user=me, channel=_word(body, "channel"), text=text, thread_ts=thread_ts)

    async def _home(self, me: str, body: Json) -> Delivery:
        return await self._sandbox.open_home(user=me)

    async def _dismiss(self, me: str, body: Json) -> None:
        self._sandbox.workspace.dismiss(me, _word(body, "id"))

    def _must_be_ours(self, request: web.Request) -> None:
        """Refuses foreign pages: those that name another host (DNS rebinding) or come from another origin."""
        port = self._sandbox.port
        public = urlsplit(self._sandbox.url).netloc
        ours = {public, f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"}
        origin = request.headers.get("Origin")
        if request.host not in ours or (origin is not None and urlsplit(origin).netloc != request.host):
            raise web.HTTPForbidden(text="This server answers only its own page.")


def _page_file(name: str) -> web.StreamResponse:
    path = PAGE / name
    if Path(name).name != name or name.startswith(".") or not path.is_file():
        raise web.HTTPNotFound
    kind = KINDS.get(path.suffix, "application/octet-stream")
    return web.FileResponse(path, headers={**PAGE_HEADERS, "Content-Type": kind})


def _word(body: Json, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise NotOnScreenError(f"{key} is missing")
    return value


def _values(body: Json) -> dict[str, dict[str, Any]]:
    values = body.get("values") or {}
    if not isinstance(values, dict) or not all(isinstance(one, dict) for one in values.values()):
        raise NotOnScreenError("values is not {block_id: {action_id: value}}")
    return values


def _refused(sentence: str) -> web.Response:
    return web.json_response({"ok": False, "error": sentence}, status=400)


def _told(delivery: Delivery | None) -> Json | None:
    if delivery is None:
        return None
    return {"outcome": delivery.outcome, "ms": delivery.elapsed_ms, "response": delivery.response}


def values_of(view: View) -> dict[str, dict[str, Any]]:
    """What the view's inputs hold, as `submit` takes it: texts, option values, lists of them."""
    return _plain(view.state)


def _plain(state: dict[str, dict[str, Json]]) -> dict[str, dict[str, Any]]:
    return {
        block_id: {
            action_id: _value(next(held for member, held in one.items() if member != "type"))
            for action_id, one in actions.items()
        }
        for block_id, actions in state.items()
    }


def _value(held: Any) -> Any:
    if isinstance(held, list):
        return [_value(one) for one in held]
    if isinstance(held, dict) and "value" in held:
        return held["value"]
    return held


def _modal(view: View) -> Json:
    return {
        "id": view.id,
        "type": view.type,
        "callback_id": view.callback_id,
        "title": view.title,
        "submit": view.submit,
        "close": view.close,
        "blocks": view.blocks,
        "errors": view.errors,
        "hash": view.hash,
        "values": values_of(view),
    }
