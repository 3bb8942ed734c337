"""W5: what many paused threads cost, when they are made and when a new process finds them."""

from __future__ import annotations

import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.counting import Figures, bytes_of
from benchmarks.peers.workloads import Open, Session, cycles

_LANES, _PAGE, _PAGES = 100, 20, 20
_RESUMES = 60
_IDLE_SECONDS = 3.0


async def fill(open_session: Open, ask: Figures) -> Figures:
    """Pause ``count`` threads in the database at ``path``."""
    path, text = Path(ask["path"]), "x" * ask["size"]
    async with open_session(ask["variant"], path) as session:
        await cycles(session, {**ask, "count": 3, "at_once": 1}, "warm-up")
    before = bytes_of(path.parent)
    numbers = iter(range(ask["count"]))

    async def lane(session: Session) -> None:
        for number in numbers:
            await session.start(f"thread-{number}", text, "cycle")

    async with open_session(ask["variant"], path) as session:
        begun = time.perf_counter()
        await asyncio.gather(*(lane(session) for _ in range(_LANES)))
        took = time.perf_counter() - begun
    return {
        "fill_per_second": ask["count"] / took,
        "bytes_per_thread": (bytes_of(path.parent) - before) / ask["count"],
    }


async def find(open_session: Open, ask: Figures) -> Figures:
    """Open the full database in a process that has just begun, look around, resume some of its threads."""
    path, variant = Path(ask["path"]), ask["variant"]
    async with open_session(variant, path) as session:
        figures = {"ready_ms": (time.monotonic() - ask["spawned"]) * 1_000}
        figures |= await _idle()
        pages = [await _timed(lambda: session.pending(_PAGE)) for _ in range(_PAGES)]
        figures["page_ms"] = statistics.median(pages) * 1_000
        with tempfile.TemporaryDirectory(dir=path.parent.parent) as folder:
            figures |= await _resumed(open_session, session, ask, Path(folder))
    return {**figures, "units": 1}


async def _idle() -> Figures:
    """Return what the process does while nothing happens."""
    loop: Any = asyncio.get_running_loop()
    before = time.process_time()
    await asyncio.sleep(_IDLE_SECONDS)
    return {
        "idle_percent": (time.process_time() - before) / _IDLE_SECONDS * 100,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000,
        # There is no public count of timers.
        "tasks_and_timers": len(asyncio.all_tasks()) + len(loop._scheduled),  # noqa: SLF001
    }


async def _resumed(open_session: Open, full: Session, ask: Figures, folder: Path) -> Figures:
    """Resume threads of the full database and of an empty one in turn: the machine drifts for both."""
    questions = await full.pending(_RESUMES)
    took: list[float] = []
    took_empty: list[float] = []
    if ask.get("alone"):
        took = [await _timed(lambda one=one: full.finish(one)) for one in questions]
        return {"resume_ms": statistics.median(took) * 1_000}
    async with open_session(ask["variant"], folder / "data.db") as empty:
        for number, question in enumerate(questions):
            took.append(await _timed(lambda one=question: full.finish(one)))
            begun = await empty.start(f"empty-{number}", "x" * ask["size"], "cycle")
            took_empty.append(await _timed(lambda one=begun: empty.finish(one)))
    resume, resume_empty = statistics.median(took), statistics.median(took_empty)
    return {"resume_ms": resume * 1_000, "resume_x_empty": resume / resume_empty}


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun
