"""Web processes and workers that share one database: each does its part, and none does it twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from bot_bench import BOB, Bench, bot_here, settings_for

from bot.app import serve
from bot.config import ConfigError, Role, Settings
from bot.sandbox import Sandbox
from bot.wiring import open_runtime
from graph_runtime import open_store

pytestmark = pytest.mark.databases("sqlite", "postgres")


@pytest.fixture
def settings(slack: Sandbox, tmp_path: Path, database: str) -> Settings:
    return settings_for(slack, tmp_path, database=database)


@pytest.fixture
async def bench(slack: Sandbox, tmp_path: Path, settings: Settings, brisk: None) -> AsyncIterator[Bench]:
    async with open_store(settings.database) as store:
        yield Bench(slack, tmp_path, store, open_runtime(settings, store))


async def test_a_click_on_any_web_process_is_carried_out_once_by_some_worker(
    bench: Bench, settings: Settings
) -> None:
    roles: tuple[Role, ...] = ("web", "web", "worker", "worker")
    async with AsyncExitStack() as stack:
        for role in roles:
            await stack.enter_async_context(bot_here(settings, role))
        for _ in range(3):
            card = await bench.card(await bench.start())
            assert (await bench.click(card, user=BOB)).outcome == "acked"
            await bench.drawn(card, "the run completed")
    assert len(bench.published()) == 3


async def test_a_web_process_alone_takes_the_click_and_leaves_the_rest(
    bench: Bench, settings: Settings
) -> None:
    async with bot_here(settings, "worker"):
        given = {"service": "payments", "effects": str(bench.effects), "policy": "general"}
        run = await bench.runtime.start("deploy", given)
        card = await bench.card(run)
    async with bot_here(settings, "web"):
        assert (await bench.click(card, user=BOB)).outcome == "acked"
    assert (await bench.runtime.get(run.id)).status == "queued"
    async with bot_here(settings, "worker"):
        await bench.drawn(card, "the run completed")


async def test_a_worker_needs_no_way_in_from_slack_and_offers_none(slack: Sandbox, tmp_path: Path) -> None:
    without = settings_for(slack, tmp_path, "http", SLACK_APP_TOKEN="", SLACK_SIGNING_SECRET="")
    with pytest.raises(ConfigError, match="SLACK_SIGNING_SECRET"):
        await serve(without, asyncio.Event(), role="web")
    async with bot_here(without, "worker"), aiohttp.ClientSession() as session:
        address = f"http://127.0.0.1:{without.http.port}"
        assert (await session.get(f"{address}/readyz")).status == 200
        assert (await session.post(f"{address}/slack/events", data=b"{}")).status == 404


async def test_socket_mode_needs_no_signing_secret(slack: Sandbox, tmp_path: Path) -> None:
    async with bot_here(settings_for(slack, tmp_path, "socket", SLACK_SIGNING_SECRET="")):
        pass
