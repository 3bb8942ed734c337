"""The composition root: builds everything, runs it in one TaskGroup, stops it in order.

Stopping: no more clicks are taken; runs reach their next commit; what was promised is told; the store closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any

import structlog
from aiohttp import ClientError, web
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from slack_bolt.adapter.aiohttp import to_aiohttp_response
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.logger.messages import warning_client_prioritized_and_token_skipped
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient
from yarl import query_to_pairs

from graph_runtime import (
    Absences,
    Bypasses,
    Clock,
    StoreError,
    Worker,
    open_queue,
)

from .absence import AbsenceCommands
from .channels import Channels
from .commands import Commands
from .config import ConfigError, Role, Settings
from .courier import Courier
from .fallback import Fallback
from .launchpad import Launchpad
from .redaction import Redaction
from .replies import error_code, seconds_to_wait
from .sealer import open_sealer
from .slack import Whispers, Window
from .wiring import House, open_house

_log = structlog.get_logger("signoff.app")
#: A larger body is none of Slack's (its largest view is 250 kB).
MAX_BODY = 1024 * 1024
#: A socket that stays away this long is built anew; the client's own reconnect has failed then.
_SOCKET_PATIENCE = 30.0
_WATCH_SECONDS = 5.0
#: How long an ordered stop goes on telling what the last runs came to.
_LAST_WORDS = 5.0


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    role: Role = "all",
    started: asyncio.Event | None = None,
    clock: Clock | None = None,
) -> None:
    """Take clicks and commands, advance runs and tell what happened, until ``stop`` is set.

    In the role "web" it does only the first, in the role "worker" only the rest; any number of each may
    share a database. ``started`` is set once it is at work; ``clock`` takes the place of the store's. Raises
    :class:`ConfigError` before anything was started.
    """
    takes, works = role != "worker", role != "web"
    async with (
        open_house(settings, takes=takes, clock=clock) as house,
        open_queue(settings.database, house.store) as queue,
    ):
        whispers = Whispers(house.session, api_url=settings.slack.api_url)
        app = _listening_app(settings, house, whispers) if takes else None
        fallback = Fallback(
            house.outbox,
            house.directory,
            channel=settings.slack.channel,
            fallback=settings.slack.fallback_channel,
            operators=settings.operators,
        )
        courier = Courier(
            house.outbox,
            house.approvals,
            house.client,
            house.identity,
            fallback,
            deployment=house.store.deployment,
            redaction=Redaction(settings.redact),
        )
        sealer = open_sealer(settings.journal, house.store, house.session)
        worker = Worker(house.runtime, house.approvals, retention=settings.retention)
        runs_bell, outbox_bell = house.runtime.runs_bell, house.runtime.outbox_bell
        inner, last = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            working: list[asyncio.Task[None]] = []
            telling: list[asyncio.Task[None]] = []
            if works:
                working.append(group.create_task(worker.work(inner), name="worker"))
                working.append(group.create_task(queue.listen((runs_bell, outbox_bell), inner), name="queue"))
                telling.append(group.create_task(courier.work(outbox_bell, last), name="courier"))
                telling.append(group.create_task(sealer.work(last), name="sealer"))
            group.create_task(whispers.work(last), name="whispers")
            async with slack_connection(app, settings, house) as door:
                _log.info(
                    "ready",
                    role=role,
                    mode=settings.slack.mode,
                    address=door,
                    team=house.identity.workspace,
                )
                if started is not None:
                    started.set()
                await stop.wait()
            _log.info("stopping")
            inner.set()
            runs_bell.ring()
            await _end_of(working)
            last.set()
            outbox_bell.ring()
            await _end_of(telling)
            if works:
                await courier.drain(_LAST_WORDS)
                await sealer.finish()
    _log.info("stopped")


async def _end_of(tasks: Collection[asyncio.Task[None]]) -> None:
    """Return when all have ended, however; their group hears of what went wrong."""
    if tasks:
        await asyncio.wait(tasks)


def _listening_app(settings: Settings, house: House, whispers: Whispers) -> AsyncApp:
    """Return the Bolt app with all our listeners."""
    app = bolt_app(settings, house.client)
    redaction = Redaction(settings.redact)
    absences = AbsenceCommands(
        Absences(house.runtime, house.directory),
        Bypasses(house.runtime, house.directory),
        house.approvals,
        policies=settings.policies,
        operators=settings.operators,
    )
    commands = Commands(house.runtime, house.approvals, absences, settings.operators, redaction)
    window = Window(house.approvals, commands, house.directory, whispers, house.identity, redaction)
    window.listen(app)
    Launchpad(house.runtime, house.directory, house.identity, house.launches, redaction).listen(app)
    Channels(house.outbox, house.identity).listen(app)
    return app


def bolt_app(settings: Settings, client: AsyncWebClient) -> AsyncApp:
    """Return the Bolt app: a listener's end is its answer, so its last statement is the ack."""
    logger = logging.getLogger("signoff.bolt")
    # Bolt finds SLACK_BOT_TOKEN in the environment and warns that the client's own is used: the same one.
    logger.addFilter(_no_token_warning)
    return AsyncApp(
        client=client,
        signing_secret=settings.signing_secret.get_secret_value() or None,
        # The door looked at the signature of the bytes that came, and hands on nothing else.
        request_verification_enabled=False,
        process_before_response=True,
        logger=logger,
    )


def _no_token_warning(record: logging.LogRecord) -> bool:
    return record.getMessage() != warning_client_prioritized_and_token_skipped()


@contextlib.asynccontextmanager
async def slack_connection(app: AsyncApp | None, settings: Settings, house: House) -> AsyncIterator[str]:
    """Take Slack's deliveries for the app, if there is one, and answer health checks, while open.

    Yields the address listened on.
    """
    sockets: list[AsyncSocketModeHandler] = []
    pages = _web_app(app, settings, house, sockets)
    runner = web.AppRunner(pages, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.http.host, settings.http.port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f"nothing was started; {settings.http.host}:{settings.http.port} cannot be listened on: "
                f"{error.strerror}; choose another with SIGNOFF_HTTP__PORT (0 takes a free one)"
            ) from None
        address = f"http://{settings.http.host}:{runner.addresses[0][1]}"
        if app is None or settings.slack.mode == "http":
            yield address
            return
        async with asyncio.TaskGroup() as group:
            first = [asyncio.Event() for _ in range(settings.slack.connections)]
            watchers = [
                group.create_task(_keep_connected(app, settings, sockets, event), name=f"socket {n}")
                for n, event in enumerate(first)
            ]
            for event in first:
                await event.wait()
            yield address
            for watcher in watchers:
                watcher.cancel()
    finally:
        await runner.cleanup()


async def _keep_connected(
    app: AsyncApp, settings: Settings, sockets: list[AsyncSocketModeHandler], connected: asyncio.Event
) -> None:
    """Hold one Socket Mode connection; build it anew when the client's own reconnect does not come back."""
    token = settings.app_token.get_secret_value()
    while True:
        handler = AsyncSocketModeHandler(app, token, web_client=app.client)
        try:
            # Asked for here, because the client would try a refused token again for ever without a word.
            answer = await app.client.apps_connections_open(app_token=token)
            handler.client.wss_uri = str(answer["url"])
            async with asyncio.timeout(_SOCKET_PATIENCE):
                await handler.connect_async()  # type: ignore[no-untyped-call]  # untyped in slack_bolt
            sockets.append(handler)
            connected.set()
            lost_at: float | None = None
            while lost_at is None or time.monotonic() - lost_at < _SOCKET_PATIENCE:
                await asyncio.sleep(_WATCH_SECONDS)
                there = await handler.client.is_connected()
                lost_at = None if there else (lost_at or time.monotonic())
            _log.warning("socket.rebuilt")
        except SlackApiError as error:
            code = error_code(error)
            if code in {"invalid_auth", "not_allowed_token_type", "not_authed"}:
                raise ConfigError(f"Slack refused SLACK_APP_TOKEN: {code}") from None
            _log.warning("socket.refused", error=code)
            await asyncio.sleep(seconds_to_wait(error) or _WATCH_SECONDS)
        except (ClientError, OSError, TimeoutError) as error:
            # Slack or the network is away for a while; the house stands and tries again.
            _log.warning("socket.failed", error=type(error).__name__)
            await asyncio.sleep(_WATCH_SECONDS)
        finally:
            if handler in sockets:
                sockets.remove(handler)
            await handler.close_async()  # type: ignore[no-untyped-call]


def _web_app(
    app: AsyncApp | None, settings: Settings, house: House, sockets: list[AsyncSocketModeHandler]
) -> web.Application:
    pages = web.Application(client_max_size=MAX_BODY)
    registry = CollectorRegistry()
    unsigned = Gauge("signoff_unsigned_requests", "Requests refused for their signature", registry=registry)
    waiting = Gauge("signoff_outbox", "Outbox entries that are not delivered", ["status"], registry=registry)
    runs = Gauge("signoff_runs", "Runs by status", ["status"], registry=registry)

    async def alive(_: web.Request) -> web.StreamResponse:
        return web.json_response({"alive": True})

    async def ready(_: web.Request) -> web.StreamResponse:
        needs_sockets = app is not None and settings.slack.mode == "socket"
        connected = not needs_sockets or any([await s.client.is_connected() for s in sockets])
        try:
            await house.runtime.runs(limit=1)
        except StoreError:
            return web.json_response({"ready": False, "why": "the database did not answer"}, status=503)
        return web.json_response({"ready": connected}, status=200 if connected else 503)

    async def metrics(_: web.Request) -> web.StreamResponse:
        counted: Mapping[str, int] = await house.outbox.count()
        for status in ("pending", "parked", "lost"):
            waiting.labels(status).set(counted.get(status, 0))
        for name, count in (await house.runtime.count()).items():
            runs.labels(name).set(count)
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    pages.router.add_get("/healthz", alive)
    pages.router.add_get("/readyz", ready)
    pages.router.add_get("/metrics", metrics)
    if app is not None and settings.slack.mode == "http":
        pages.router.add_post("/slack/events", _events(app, settings, unsigned))
    return pages


def _events(
    app: AsyncApp, settings: Settings, unsigned: Gauge
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return what takes Slack's signed requests; it counts those that are not."""
    verifier = SignatureVerifier(settings.signing_secret.get_secret_value())

    async def events(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if not _signed(verifier, body, request.headers):
            # No row, no body and no header in the log: whoever sent this is nobody yet.
            unsigned.inc()
            _log.warning("unsigned", remote=request.remote)
            return web.json_response({"error": "the signature is missing or wrong"}, status=401)
        try:
            answer = await app.async_dispatch(bolt_request(body, request.headers))
        except Exception as error:  # noqa: BLE001 - Bolt reads fields as it likes, and has no error for that
            _log.warning("unreadable", error=type(error).__name__)
            return web.json_response({"error": "the body could not be read"}, status=400)
        return await to_aiohttp_response(answer)

    return events


def bolt_request(body: bytes, headers: Mapping[str, Any]) -> AsyncBoltRequest:
    """Return what Bolt is to read: of a form with a payload, the payload.

    Bolt itself would take the form apart by urllib, which takes longer than all else that a click needs.
    """
    text = body.decode()
    if text.startswith("payload="):
        text = dict(query_to_pairs(text))["payload"]
    return AsyncBoltRequest(body=text, headers=headers)  # type: ignore[arg-type]  # any mapping will do


def _signed(verifier: SignatureVerifier, body: bytes, headers: Mapping[str, Any]) -> bool:
    """Say whether Slack signed these bytes in the last five minutes. Anything malformed is a no."""
    timestamp = headers.get("X-Slack-Request-Timestamp", "")
    signature = headers.get("X-Slack-Signature", "")
    if not timestamp.isascii() or not timestamp.isdigit() or not signature.isascii():
        return False
    try:
        return verifier.is_valid(body, timestamp, signature)
    except (UnicodeDecodeError, ValueError):
        return False
