"""Fixtures of the bot's tests; what they are made of stands in bot_bench.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bot_bench import (
    ALICE,
    BOB,
    CHANNEL,
    DAVE,
    GENERAL,
    OPERATOR,
    Bench,
    Spawn,
    bot_here,
    settings_for,
)

from bot.sandbox import Group, Sandbox, User
from bot.wiring import open_runtime
from graph_runtime import open_store


@pytest.fixture
async def slack() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        olga = User(OPERATOR, "olga", "Olga Operator")
        sandbox.workspace.add_user(olga, channels=[CHANNEL, GENERAL])
        sandbox.workspace.add_group(Group("S0OWN", "owners", "Owners of payments", (ALICE, BOB, DAVE)))
        sandbox.workspace.add_group(Group("S0ONCALL", "oncall", "On call now", (DAVE,)))
        yield sandbox


@pytest.fixture
async def bench(slack: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    """Slack and a database, without a bot."""
    settings = settings_for(slack, tmp_path)
    async with open_store(settings.database) as store:
        yield Bench(slack, tmp_path, store, open_runtime(settings, store))


@pytest.fixture(params=["socket"])
async def bot(request: pytest.FixtureRequest, bench: Bench) -> AsyncIterator[Bench]:
    """The bot, over Socket Mode; over signed HTTP too where a test says ``in_both_modes``."""
    bench.mode = request.param
    settings = settings_for(bench.slack, bench.folder, bench.mode)
    if bench.mode == "http":
        bench.slack.request_url = f"http://127.0.0.1:{settings.http.port}/slack/events"
    async with bot_here(settings):
        yield bench


@pytest.fixture
async def spawn(bench: Bench) -> AsyncIterator[Spawn]:
    starter = Spawn(bench)
    yield starter
    await starter.end()
