"""Killed at any moment, again and again, on one file that grows, beside another that lives on a little longer."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest
from kit import NIGHTLY, much
from living import alive
from nursery import Nursery, nursery
from promises import broken, read_told
from regime import say
from stories import end_busy, finish_busy

pytestmark = [pytest.mark.processes, pytest.mark.timeout(7_200 if NIGHTLY else 300)]
KILLS = much(60, 1_000)


def test_killed_at_any_moment_two_processes_leave_every_promise_kept() -> None:
    chance = random.Random(20260105)
    with nursery("busy") as one, nursery("busy") as other:
        folder = one.folder()
        database = f"sqlite:///{folder}/signoff.db"
        began, lost = time.monotonic(), 0.0
        for life in range(1, KILLS // 2 + 1):
            pair = [(one, "one"), (other, "other")]
            for house, name in pair:
                told = _told(folder)
                house.begin(folder, life=life, name=name)
                while _told(folder) == told:
                    time.sleep(0.001)
            chance.shuffle(pair)
            for house, _ in pair:
                time.sleep(chance.uniform(0, 0.1))
                _kill(house, folder)
                looked = time.monotonic()
                assert broken(database, read_told(folder)) == [], f"in life {life}"
                lost += time.monotonic() - looked
        asyncio.run(_finish(folder, KILLS))
        told = read_told(folder)
        assert broken(database, told, at_rest=True) == []
        say(
            f"{KILLS} kills in {time.monotonic() - began:.0f} s; {len(told.acks)} acknowledgements, none lost"
        )


def _told(folder: Path) -> int:
    file = folder / "acks"
    return file.stat().st_size if file.exists() else 0


def _kill(house: Nursery, folder: Path) -> None:
    os.kill(house.pid, signal.SIGKILL)
    assert house.ended(folder).code == -signal.SIGKILL


async def _finish(folder: Path, life: int) -> None:
    async with alive(folder, life) as world:
        await finish_busy(world)
        await end_busy(world)
