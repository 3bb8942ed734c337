"""Builds the parts of a process from the settings: store, runtime, Slack's client, and who we are there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import ClientError, ClientSession, ClientTimeout
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from graph_runtime import SECOND, Approvals, Clock, Outbox, Requests, Runtime, Store, open_store, system_clock

from .config import ConfigError, Settings
from .directory import SlackDirectory
from .identity import Identity
from .launches import Launch, load_launches
from .replies import error_code


@dataclass(frozen=True, slots=True)
class House:
    """The running parts of one process."""

    settings: Settings
    store: Store
    runtime: Runtime
    approvals: Approvals
    outbox: Outbox
    client: AsyncWebClient
    identity: Identity
    directory: SlackDirectory
    session: ClientSession
    launches: tuple[Launch, ...] = ()


def open_runtime(settings: Settings, store: Store, *, clock: Clock | None = None) -> Runtime:
    """Return a runtime over the store with the settings' graphs and policies, and its clock or another."""
    companions = [Requests(settings.policies, tools=settings.tool_policies)]
    lease = settings.lease * SECOND
    return Runtime(store, settings.load_graphs(), companions=companions, lease=lease, clock=clock)


def slack_client(settings: Settings, session: ClientSession) -> AsyncWebClient:
    """Return a client that never repeats a call by itself: a repeated post would be a second card."""
    return AsyncWebClient(
        token=settings.bot_token.get_secret_value(),
        base_url=settings.slack.api_url,
        session=session,
        retry_handlers=[],
    )


async def learn_identity(client: AsyncWebClient) -> Identity:
    """Return who we are in Slack. Raises :class:`ConfigError` when the token is refused."""
    try:
        who = await client.auth_test()
        bot = await client.bots_info(bot=str(who["bot_id"]))
    except SlackApiError as error:
        raise ConfigError(f"nothing was started; Slack refused the bot token: {error_code(error)}") from None
    except (ClientError, OSError, TimeoutError) as error:
        raise ConfigError(
            f"nothing was started; {client.base_url} did not answer: {type(error).__name__}"
        ) from None
    return Identity(
        app=str(bot["bot"]["app_id"]),
        workspace=str(who["team_id"]),
        bot_id=str(who["bot_id"]),
        bot_user=str(who["user_id"]),
    )


@contextlib.asynccontextmanager
async def open_house(
    settings: Settings, *, takes: bool = False, clock: Clock | None = None
) -> AsyncIterator[House]:
    """Open the store, Slack's client and what stands on them; close them in the opposite order.

    Who ``takes`` what Slack delivers needs more secrets. Raises :class:`ConfigError` for one that is missing.
    """
    settings.need_slack(takes=takes)
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings.database))
        runtime = open_runtime(settings, store, clock=clock)
        launches = load_launches(settings, runtime.graphs)
        # A call that hangs must be over before the lease of what it delivers.
        timeout = ClientTimeout(total=min(10.0, settings.lease * 0.4))
        session = await stack.enter_async_context(ClientSession(timeout=timeout))
        client = slack_client(settings, session)
        identity = await learn_identity(client)
        directory = SlackDirectory(
            client, workspace=identity.workspace, clock=clock or system_clock, on_call=settings.on_call
        )
        # What is carried out may depend on who its approvers are by then.
        runtime.ground.directory = directory
        yield House(
            settings=settings,
            store=store,
            runtime=runtime,
            approvals=Approvals(runtime, directory),
            outbox=Outbox(runtime, lease=settings.lease * SECOND),
            client=client,
            identity=identity,
            directory=directory,
            session=session,
            launches=launches,
        )
