"""The whole bot in HTTP mode, as ``signoff serve`` runs it, with deploys that wait for approval."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers.counting import Figures
from benchmarks.peers.driver import serve
from benchmarks.peers.slack import CHANNEL
from bot.app import serve as serve_bot
from bot.collector import collecting_seldom
from bot.config import Settings, load_settings
from bot.courier import CHANNEL_PACE, Courier
from bot.fallback import Fallback
from bot.logs import set_up_logs
from bot.wiring import open_house
from graph_runtime import Approvals, Outbox, Requests, Runtime, system_clock

_DEPLOY = {"service": "search", "commit": "4f2c9e1", "requester": "U0CAROL"}


def settings_for(path: Path, slack: Figures) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    policy = {"groups": ["S0SRE"], "deadline": "4h"}
    said: dict[str, Any] = {
        "database": f"sqlite:///{path}",
        "graphs": {"deploy": "benchmarks.peers.deploys:graph"},
        "policies": {"default": policy, "prod-deploy": policy},
        "slack": {"mode": "http", "channel": CHANNEL, "api_url": slack["api_url"]},
        "http": {"port": port},
        "SLACK_BOT_TOKEN": slack["bot_token"],
        "SLACK_SIGNING_SECRET": slack["secret"],
    }
    return load_settings(**said)


class EarlierClock:
    """Stood still some time ago, and moves when it is told to: a channel takes one new card each second."""

    def __init__(self, ago: int) -> None:
        self.now = system_clock() - ago

    def __call__(self) -> int:
        return self.now


async def ask_for(count: int, settings: Settings) -> list[tuple[str, str]]:
    """Take deploys up to their question, post their cards, and return where the cards lie."""
    clock = EarlierClock((count + 1) * CHANNEL_PACE)
    async with open_house(settings) as house:
        companions = [Requests(settings.policies)]
        runtime = Runtime(house.store, settings.load_graphs(), companions=companions, clock=clock)
        approvals = Approvals(runtime, house.directory)

        async def one() -> None:
            run = await runtime.start("deploy", _DEPLOY)
            await runtime.advance(run.id)

        await asyncio.gather(*(one() for _ in range(count)))
        courier = Courier(
            Outbox(runtime),
            approvals,
            house.client,
            house.identity,
            Fallback(Outbox(runtime), house.directory, channel=CHANNEL),
            deployment=house.store.deployment,
        )
        while await courier.deliver_one():
            clock.now += CHANNEL_PACE
        views = [await approvals.view(one.id) for one in await approvals.find(limit=count)]
        return [(view.card.channel, view.card.message) for view in views if view and view.card]


@asynccontextmanager
async def open_door(
    variant: str, path: Path, slack: Figures, count: int
) -> AsyncIterator[tuple[str, list[Any]]]:
    settings = settings_for(path, slack)
    cards = await ask_for(count, settings)
    stop, started = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        bot = group.create_task(serve_bot(settings, stop, started=started))
        await started.wait()
        with collecting_seldom():
            yield f"http://127.0.0.1:{settings.http.port}/slack/events", cards
        # An ordered stop would go on telling what the last clicks came to.
        bot.cancel()
    async with open_house(settings) as house:
        approved = await house.approvals.find(status="approved", limit=count)
    if len(approved) != count:
        raise RuntimeError(f"{count - len(approved)} of {count} clicks did not approve anything")


if __name__ == "__main__":
    set_up_logs("json")
    serve(open_door=open_door)
