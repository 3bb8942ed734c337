"""Very many approvals wait: that costs room on the disk, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import time
from pathlib import Path

import pytest
from house import house
from kit import NIGHTLY, much
from people import CLI, boss, ticket_of
from promises import broken
from regime import say

from graph_runtime import Outbox, Place

pytestmark = [pytest.mark.processes, pytest.mark.timeout(7_200 if NIGHTLY else 300)]
PARKED = much(2_000, 100_000)
CLICKS = 40
TICKS = os.sysconf("SC_CLK_TCK")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def test_what_waits_costs_rows_and_neither_time_nor_memory(database: str, tmp_path: Path) -> None:
    async with house(database, tmp_path) as (web, workers):
        runtime, outbox = web.runtime, Outbox(web.runtime)
        number = itertools.count()

        async def park() -> str:
            name = f"case-{next(number)}"
            run = await runtime.start("scale", {"subject": name}, thread_id=name)
            return (await runtime.advance(run.id)).id

        async def some(many: int) -> list[str]:
            """Start so many runs, and post what they ask."""
            parked = []
            for _ in range(0, many, 50):
                parked += await asyncio.gather(*(park() for _ in range(50)))
                while (entry := await outbox.claim()) is not None:
                    await outbox.landed(entry, Place("slack", "A1", "T1", "C1", entry.id))
            return parked

        async def clicks(runs: list[str]) -> float:
            """Return what a click takes, in milliseconds, as most of them do."""
            took = []
            for run_id in runs:
                (request,) = await web.approvals.find(run_id=run_id, status="open")
                view = await web.approvals.view(request.id)
                assert view is not None
                began = time.perf_counter()
                await web.approvals.decide(ticket_of(view, web.store), boss(), "approve", place=CLI)
                took.append(1_000 * (time.perf_counter() - began))
                await runtime.advance(run_id)
            return statistics.median(took)

        few = await clicks((await some(50))[:CLICKS])
        parked = await some(PARKED)
        many = await clicks(parked[PARKED // 2 :][:CLICKS])
        began = time.perf_counter()
        name = await workers.start()
        started = time.perf_counter() - began
        pid = workers.all[name].pid
        # What it is to tell of the clicks above is told first.
        while (await outbox.count()).get("pending"):
            await asyncio.sleep(0.05)
        before, seconds = _cpu_seconds(pid), much(3, 20)
        await asyncio.sleep(seconds)
        idle, resident = (_cpu_seconds(pid) - before) / seconds, _resident_mib(pid)
        size = Path(database.removeprefix("sqlite:///")).stat().st_size / (PARKED + 50) / 1024
        say(
            f"{PARKED} parked: {size:.1f} KiB each, click {few:.1f} -> {many:.1f} ms, start {started:.1f} s, "
            f"idle {100 * idle:.1f} % of a core, {resident:.0f} MiB"
        )
        assert many <= much(4, 2) * few + 1
        assert started < 5
        assert idle < much(0.03, 0.01)
        assert resident < 150
    assert broken(database) == []
