"""Fixtures of the bot's tests; what they are made of stands in bot_bench.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout
from bot_bench import (
    ALICE,
    BOB,
    CHANNEL,
    DAVE,
    GENERAL,
    OPERATOR,
    Bench,
    Cli,
    Said,
    Spawn,
    bot_here,
    settings_file,
    settings_for,
)
from kit import MovedClock, lay_out
from post_bench import Post
from typer.testing import CliRunner

from bot import courier
from bot.cli import app
from bot.sandbox import Group, Sandbox, User
from bot.terminal import out
from bot.wiring import open_runtime
from graph_runtime import SECOND, open_store, system_clock


@pytest.fixture
async def slack() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        olga = User(OPERATOR, "olga", "Olga Operator")
        sandbox.workspace.add_user(olga, channels=[CHANNEL, GENERAL])
        sandbox.workspace.add_group(Group("S0OWN", "owners", "Owners of payments", (ALICE, BOB, DAVE)))
        sandbox.workspace.add_group(Group("S0ONCALL", "oncall", "On call now", (DAVE,)))
        yield sandbox


@pytest.fixture
def moved() -> MovedClock:
    """The clock of a bot: it goes on by itself from a Monday morning, and a test moves it on."""
    return MovedClock()


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a channel take twenty messages a second: a bot in this process waits for its turn as ever, but not long."""
    monkeypatch.setattr(courier, "CHANNEL_PACE", SECOND // 20)


@pytest.fixture
async def bench(slack: Sandbox, tmp_path: Path, brisk: None) -> AsyncIterator[Bench]:
    """Slack and a database, without a bot."""
    settings = settings_for(slack, tmp_path)
    lay_out(tmp_path / "signoff.db")
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


@pytest.fixture
def cli(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Type a command on this machine, with the bench's settings."""
    config = settings_file(bench.slack, bench.folder)
    monkeypatch.chdir(bench.folder)
    monkeypatch.setattr(out, "_width", 200)
    monkeypatch.setenv("LOGNAME", "somebody-else")  # who runs a process is no matter of its environment
    monkeypatch.setenv("SLACK_BOT_TOKEN", bench.slack.bot_token)
    monkeypatch.setenv("SLACK_APP_TOKEN", bench.slack.app_token)
    monkeypatch.delenv("SIGNOFF_CONFIG", raising=False)

    async def type_(*words: str) -> Said:
        # In a thread, because the command runs its own loop and Slack runs in this one.
        result = await asyncio.to_thread(CliRunner().invoke, app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    assert config.name == "signoff.toml", "found in the working directory"
    return type_


@pytest.fixture
async def post(bench: Bench, clock: Any) -> AsyncIterator[Post]:
    clock.now = system_clock()
    async with ClientSession(timeout=ClientTimeout(total=1.0)) as session:
        office = Post(bench, clock, session, settings_for(bench.slack, bench.folder))
        await office.open()
        yield office
