"""The sandbox: a local Slack an unmodified app can talk to; its server, lifetimes and people's hands."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiohttp
from aiohttp import web

from bot.sandbox.changes import Changes
from bot.sandbox.delivery import Delivery, SignedHttp, SocketMode
from bot.sandbox.doors import Doors
from bot.sandbox.elements import complaint, interactive
from bot.sandbox.exchange import EVENT_RETRIES, Exchange, not_sent
from bot.sandbox.faults import Faults
from bot.sandbox.journal import Journal
from bot.sandbox.office import Office
from bot.sandbox.rates import RateLimits
from bot.sandbox.records import demo_workspace
from bot.sandbox.refusals import Json, NotOnScreenError
from bot.sandbox.screen import Screen
from bot.sandbox.webapi import WebApi
from bot.sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from bot.sandbox.journal import Entry
    from bot.sandbox.records import Ephemeral, Message, Seed, Toast, View

T = TypeVar("T")

BOT_TOKEN = "xoxb-sandbox"  # noqa: S105  (opens nothing but this process)
APP_TOKEN = "xapp-sandbox"  # noqa: S105
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"  # noqa: S105  (the example in Slack's documentation)
LARGEST_BODY = 4 << 20


class Sandbox:
    """A workspace on a loopback port, in the caller's event loop, from `async with` to its end.

    `request_url` None means Socket Mode, else signed HTTP to that URL; it may change at any time. `deadline`
    is the seconds the app has to acknowledge. `rate_limits` switches Slack's rate limits on. `port` 0 takes
    a free one. `public_url` is the address the app and the browser use when it differs from host and port.
    `clock` gives seconds since 1970 for timestamps, triggers and signatures; `new_id` gives unique words.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(5),
        seed: Seed | None = None,
        request_url: str | None = None,
        deadline: float = 3.0,
        rate_limits: bool = False,
        public_url: str | None = None,
        event_retries: tuple[float, ...] = EVENT_RETRIES,
    ) -> None:
        self.bot_token = BOT_TOKEN
        self.app_token = APP_TOKEN
        self.signing_secret = SIGNING_SECRET
        self.changes = Changes()
        self.faults = Faults()
        self.workspace = Workspace(seed or demo_workspace(), clock=clock, new_id=new_id, changes=self.changes)
        self.url = ""
        self._host, self._port, self._public_url = host, port, public_url
        self._clock = clock
        self._doors = Doors(self.workspace)
        self._journal = Journal(clock=clock, changes=self.changes, app_user=self.workspace.bot_user_id)
        self._sockets = SocketMode(self.workspace.app_id, new_id, self.changes.touch)
        self._exchange = Exchange(
            workspace=self.workspace,
            doors=self._doors,
            sockets=self._sockets,
            faults=self.faults,
            journal=self._journal,
            event_retries=event_retries,
        )
        self._exchange.deadline = deadline
        self._exchange.request_url = request_url
        self._api = WebApi(
            self.workspace,
            bot_token=self.bot_token,
            app_token=self.app_token,
            faults=self.faults,
            rates=RateLimits(clock),
            journal=self._journal,
            new_socket_url=self._new_socket_url,
        )
        self._api.rate_limits = rate_limits
        self.office = Office(self)
        self._screen = Screen(self)
        self._runner: web.AppRunner | None = None

    # -- lifetime

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Afterwards the server listens and `url` is known; raises OSError when the port is taken."""
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_route("GET", "/api/{method}", self._api.call)
        app.router.add_route("POST", "/api/{method}", self._api.call)
        app.router.add_post("/actions/{key}", self._api.respond)
        app.router.add_post("/commands/{key}", self._api.respond)
        app.router.add_get("/link/", self._sockets.serve)
        self._screen.add_routes(app)
        # A caller that goes away ends its handler: nothing may outlive the connection it answers.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = runner.addresses[0][1]
        shown_host = "127.0.0.1" if self._host in {"0.0.0.0", "::", ""} else self._host  # noqa: S104
        self.url = (self._public_url or f"http://{shown_host}:{self._port}").rstrip("/")
        self.workspace.handles.base_url = self.url
        session = aiohttp.ClientSession(trust_env=False)
        self._exchange.http = SignedHttp(self.signing_secret, self._clock, session)

    async def stop(self) -> None:
        """Afterwards nothing of the sandbox runs, its server last."""
        if self._runner is None:
            return
        await self._exchange.close()
        self._api.closing.set()
        self._screen.close()
        await self._sockets.close()
        if self._exchange.http is not None:
            await self._exchange.http.session.close()
        await self._runner.cleanup()
        self._runner = None

    def _new_socket_url(self) -> str:
        ticket = self._sockets.new_ticket()
        address = self.url.replace("http", "ws", 1)
        return f"{address}/link/?ticket={ticket}&app_id={self.workspace.app_id}"

    # -- settings that may change

    @property
    def port(self) -> int:
        """The port listened on."""
        return self._port

    @property
    def request_url(self) -> str | None:
        """Where deliveries are posted; None in Socket Mode."""
        return self._exchange.request_url

    @request_url.setter
    def request_url(self, url: str | None) -> None:
        self._exchange.request_url = url
        self.changes.touch()

    @property
    def deadline(self) -> float:
        """Seconds the app has to acknowledge."""
        return self._exchange.deadline

    @deadline.setter
    def deadline(self, seconds: float) -> None:
        self._exchange.deadline = seconds

    @property
    def rate_limits(self) -> bool:
        """True while Slack's rate limits hold."""
        return self._api.rate_limits

    @rate_limits.setter
    def rate_limits(self, on: bool) -> None:
        self._api.rate_limits = on

    @property
    def connected(self) -> bool:
        """True while a delivery has somewhere to go."""
        return self.request_url is not None or self._sockets.connected

    @property
    def connections(self) -> int:
        """How many Socket Mode connections take deliveries."""
        return sum(1 for connection in self._sockets.connections if not connection.draining)

    # -- what people do

    async def click(
        self,
        *,
        user: str,
        channel: str,
        ts: str,
        action_id: str,
        block_id: str | None = None,
        value: Any = None,
    ) -> Delivery:
        """The click, delivered. `value` picks an option; a button sends its stored value.

        Raises NotOnScreenError when the person cannot see the channel, the message or the element. A
        deactivated person may click: it is the click made just before the account was closed.
        """
        self._doors.must_see_element(user, channel, ts, action_id, block_id)
        payload = self.payload_of_click(
            user=user, channel=channel, ts=ts, action_id=action_id, block_id=block_id, value=value
        )
        return await self.deliver("interactive", payload)

    def payload_of_click(
        self,
        *,
        user: str,
        channel: str,
        ts: str,
        action_id: str,
        block_id: str | None = None,
        value: Any = None,
    ) -> Json:
        """What a click would send, its own to change. Its trigger and response URL are good."""
        return self._doors.click(
            user=user, channel=channel, ts=ts, action_id=action_id, block_id=block_id, value=value
        )

    async def click_in_view(
        self,
        *,
        user: str,
        view_id: str,
        action_id: str,
        block_id: str | None = None,
        value: Any = None,
        values: dict[str, dict[str, Any]] | None = None,
    ) -> Delivery:
        """A use of an element in the person's App Home or top modal, delivered.

        `value` picks an option; `values` is what they typed into other inputs before, as for `submit`.
        """
        view = self._doors.view_on_screen(user, view_id)
        if values:
            view = self.workspace.modals.type_into(view, values)
        payload = self._doors.click_in_view(
            user=user, view=view, action_id=action_id, block_id=block_id, value=value
        )
        return await self.deliver("interactive", payload)

    async def submit(
        self, *, user: str, view_id: str, values: dict[str, dict[str, Any]] | None = None
    ) -> Delivery:
        """The submission, delivered, and what the app answered done to the modals.

        `values` is {block_id: {action_id: text, number, date, option value or list of them}}. As in Slack's
        client nothing is sent while a field is not valid: the outcome is "error" and the view shows why.
        """
        view = self._doors.view_on_screen(user, view_id)
        if not view.submit:
            raise NotOnScreenError(f"view {view_id} has no submit button")
        view = self.workspace.modals.type_into(view, values or {})
        view = self.workspace.modals.show_errors(view, self._complaints(view))
        payload = self._doors.submission(user, view)
        if view.errors:
            summary = self._doors.summary(payload, user) + " with fields that are not valid; nothing was sent"
            return not_sent(user, payload, summary)
        return await self.deliver("interactive", payload)

    @staticmethod
    def _complaints(view: View) -> dict[str, str]:
        found: dict[str, str] = {}
        for block, element in interactive(view.blocks):
            if block.get("type") != "input":
                continue
            held = view.state[str(block["block_id"])][str(element["action_id"])]
            words = complaint(block, element, held)
            if words is not None:
                found[str(block["block_id"])] = words
        return found

    async def close_view(self, *, user: str, view_id: str) -> Delivery | None:
        """Afterwards the modal is closed; view_closed is delivered if the view asked for it, else None."""
        view = self._doors.view_on_screen(user, view_id)
        if view.type == "home":
            raise NotOnScreenError("an App Home cannot be closed")
        cleared = bool(view.body.get("clear_on_close"))
        payload = self._doors.closing(user, view, is_cleared=cleared)
        if cleared:
            self.workspace.modals.shut_all(user)
        else:
            self.workspace.modals.shut(view)
        return await self.deliver("interactive", payload) if view.body.get("notify_on_close") else None

    async def slash(self, *, user: str, channel: str, command: str, text: str = "") -> Delivery:
        """The slash command, delivered; a message in the acknowledgement is shown."""
        channel = self._place(user, channel)
        return await self.deliver(
            "slash_commands", self._doors.slash(user=user, channel=channel, command=command, text=text)
        )

    async def say(self, *, user: str, channel: str, text: str, thread_ts: str | None = None) -> Message:
        """The message a person typed, posted. The app hears nothing: it subscribes to no message events."""
        channel = self._place(user, channel)
        if self.workspace.channel(channel).is_archived:
            raise NotOnScreenError(f"{channel} is archived")
        self.workspace.mark_read(user, channel)
        return self.workspace.post(channel=channel, user=user, text=text, thread_ts=thread_ts)

    def _place(self, user: str, channel: str) -> str:
        """The channel, where the app's own id means the direct message with it."""
        if channel == self.workspace.bot_user_id:
            channel = self.workspace.open_dm(user).id
        self._doors.must_see(user, channel)
        return channel

    async def open_home(self, *, user: str) -> Delivery:
        """The app_home_opened event, delivered."""
        return await self.deliver("events_api", self._doors.home_opened(user))

    async def deliver(self, kind: str, payload: Json) -> Delivery:
        """An arbitrary payload, delivered; `kind` is "interactive", "slash_commands" or "events_api"."""
        return await self._exchange.deliver(kind, payload)

    def event(self, event: Json) -> Json:
        """The event_callback around an inner event, for deliver("events_api", ...)."""
        return self._doors.event(event)

    # -- what can be seen

    def messages(self, channel: str, thread_ts: str | None = None) -> list[Message]:
        """What stands in the channel itself, or the replies below `thread_ts`; oldest first, none deleted.

        A person's id names the direct message between them and the app.
        """
        if channel in self.workspace.users:
            channel = "D" + channel[1:]
        return self.workspace.messages(channel, thread_ts)

    def ephemerals(self, user: str | None = None) -> list[Ephemeral]:
        """The private messages on the person's screen (everybody's without `user`), oldest first."""
        return [one for one in self.workspace.ephemerals if user in (None, one.user)]

    def toasts(self, user: str | None = None) -> list[Toast]:
        """The warning triangles on the person's screen (everybody's without `user`), oldest first."""
        return [one for one in self.workspace.toasts if user in (None, one.user)]

    def modals(self, user: str) -> list[View]:
        """The person's modals; the last one is on top."""
        return self.workspace.modals.stack(user)

    def home(self, user: str) -> View | None:
        """The person's App Home, or None before the app published one."""
        return self.workspace.modals.home(user)

    @property
    def deliveries(self) -> list[Delivery]:
        """Everything sent to the app whose outcome is known, in the order it became known."""
        return self._exchange.deliveries

    @property
    def log(self) -> list[Entry]:
        """The last 200 deliveries and Web API calls, secrets masked."""
        return self._journal.entries()

    async def wait_for(self, condition: Callable[[], T], timeout: float = 10) -> T:  # noqa: ASYNC109
        """What `condition` gives, once it is true; a LookupError inside it means not yet.

        Looked at after each change here and, because a condition may also look at the app, 20 times a second.
        Raises TimeoutError telling what was on screen.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    seen = self.changes.version
                    with suppress(LookupError):
                        found = condition()
                        if found:
                            return found
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await self.changes.wait(seen)
        except TimeoutError:
            raise TimeoutError(f"not seen within {timeout} s. {self.on_screen()}") from None

    def on_screen(self) -> str:
        """What everybody sees and the last deliveries, in words; for the message of a failed test."""
        return self._screen.in_words()

    # -- a bad day

    async def disconnect_sockets(self, reason: str | None = "refresh_requested") -> None:
        """Sends the app a `disconnect` with this reason on every connection; None cuts them instead."""
        await self._sockets.disconnect(reason)

    async def verify_request_url(self) -> bool:
        """True when the request URL answers Slack's url_verification; False without a request URL."""
        if self.request_url is None or self._exchange.http is None:
            return False
        challenge = self.workspace.new_id() + self.workspace.new_id()
        return await self._exchange.http.verifies(self.request_url, challenge, self.deadline)
