"""One file that everybody uses at once: the bot, four writers, somebody who copies, somebody who looks."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bot_bench import CHANNEL, GENERAL, OPERATOR, Bench, Spawn, environment, settings_file, settings_for
from kit import NIGHTLY, much
from promises import Told, broken
from regime import say

from bot.sandbox import Sandbox, User
from bot.wiring import open_runtime
from graph_runtime import open_store

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3_600 if NIGHTLY else 300)]
HERE = Path(__file__).parent
WRITERS, EACH = 4, much(400, 2_500)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Sandbox() as slack:
        olga = User(OPERATOR, "olga", "Olga Operator")
        slack.workspace.add_user(olga, channels=[CHANNEL, GENERAL])
        settings = settings_for(slack, tmp_path)
        async with open_store(settings.database) as store:
            yield Bench(slack, tmp_path, store, open_runtime(settings, store))


async def test_nobody_who_shares_a_file_is_refused_or_kept_waiting(bench: Bench) -> None:
    spawn, config = Spawn(bench), settings_file(bench.slack, bench.folder)
    database, copy = f"sqlite:///{bench.database}", bench.folder / "copy.db"
    paths = os.pathsep.join([str(HERE), *sys.path])
    environ = {**environment(bench.slack), "PYTHONPATH": paths}
    over = asyncio.Event()
    told: list[tuple[str, ...]] = []

    async def run(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            env=environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, f"{words}: {err.decode()}"
        return out.decode()

    async def write(name: str) -> float:
        longest = float(await run(str(HERE / "writer_child.py"), database, name, str(EACH)))
        told.extend(("noted", f"{name}-{n:06}", "") for n in range(EACH))
        return longest

    async def look() -> int:
        """What an operator types, over and over."""
        times = 0
        while not over.is_set() or not times:
            await run("-m", "bot.cli", "db", "check", "--config", str(config))
            await run("-m", "bot.cli", "runs", "--config", str(config))
            times += 1
        return times

    async def copies() -> int:
        times = 0
        while not over.is_set() or not times:
            await run("-m", "bot.cli", "db", "backup", "--replace", "--config", str(config), str(copy))
            assert broken(f"sqlite:///{copy}") == []
            times += 1
        return times

    async def click() -> list[float]:
        """People click, and nobody is told to do so again."""
        took = []
        while not over.is_set() or len(took) < 3:
            card = await bench.card(await bench.start())
            began = time.monotonic()
            assert (await bench.click(card)).outcome == "acked"
            took.append(time.monotonic() - began)
            await bench.drawn(card, "the run completed")
        return took

    try:
        bot = await spawn(config)
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(work()) for work in (look, copies)]
            clicks = group.create_task(click())
            waits = await asyncio.gather(*(write(f"w{n}") for n in range(WRITERS)))
            over.set()
        assert await bot.stop() == 0
    finally:
        await spawn.end()
    assert await bench.refusals() == []
    assert broken(database, Told(told)) == []
    assert len(told) == WRITERS * EACH
    assert max(waits) < much(5, 2)
    assert max(clicks.result()) < 3, "what Slack waits for"
    say(
        f"{len(told)} lines by {WRITERS} writers, longest wait {max(waits):.2f} s; "
        f"{len(clicks.result())} clicks, longest {max(clicks.result()):.2f} s; "
        f"{others[0].result()} looks and {others[1].result()} copies meanwhile"
    )
