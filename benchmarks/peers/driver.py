"""What every peer's process does: read one measure a line, take it on a fresh database, answer with figures.

It runs under each peer's own Python, so it imports the standard library alone. A peer gives one function,
``open_session(variant, path)``; whatever is counted and timed is counted and timed here, for all alike.
"""

from __future__ import annotations

import asyncio
import cProfile
import ctypes
import io
import itertools
import json
import os
import pstats
import resource
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

#: Nodes of W2, tasks of W3.
CHAIN, FAN = 100, 100
_WARM_UPS = 3
_GROWTHS = 30

Figures = dict[str, Any]


class Session(Protocol):
    """One peer at work on one database. What a method did is as durable at its end as the peer makes it."""

    async def start(self, thread: str, text: str, graph: str) -> Any:
        """Begin prepare -> review -> publish on the thread; return the question at the pause in review.

        ``graph`` is "cycle", or "log", whose three nodes append an entry each to a list of the state.
        """

    async def finish(self, question: Any) -> None:
        """Answer the question and go to the end."""

    async def chain(self, thread: str) -> None:
        """Run a chain of ``CHAIN`` nodes from its input to its end."""

    async def fan(self, thread: str) -> None:
        """Run a node that sends ``FAN`` tasks whose results one reducer gathers."""

    async def pending(self, limit: int) -> Sequence[Any]:
        """Return the questions of at most ``limit`` paused threads, each good for ``finish``."""


Open = Callable[[str, Path], AbstractAsyncContextManager[Session]]


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts what other threads hand to the loop: each is one thread hop."""

    hops = 0

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        self.hops += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


class Fsyncs:
    """The counter of shim.c. Without it nothing is made slower, and strace is told where a measure begins."""

    def __init__(self) -> None:
        here = ctypes.CDLL(None)
        self.counted = hasattr(here, "bench_fsyncs")
        self._here = here

    def count(self) -> int:
        return int(self._here.bench_fsyncs()) if self.counted else 0

    def mark(self) -> None:
        """Leave a mark for whoever traces this process: an fsync of no file."""
        if not self.counted:
            with suppress(OSError):
                os.fsync(-1)

    def slow(self, microseconds: int) -> None:
        if self.counted:
            self._here.bench_slow(ctypes.c_long(microseconds))
        elif microseconds:
            raise RuntimeError("no fsync was made slower: there is no shim (it needs cc)")


@dataclass
class Times:
    """Seconds from call to return, one entry for each cycle."""

    start: list[float] = field(default_factory=list)
    finish: list[float] = field(default_factory=list)

    def figures(self) -> Figures:
        cycle = [a + b for a, b in zip(self.start, self.finish, strict=True)]
        return {
            "start_ms": _median_ms(self.start),
            "finish_ms": _median_ms(self.finish),
            "cycle_ms": _median_ms(cycle),
            "cycle_p99_ms": sorted(cycle)[int(len(cycle) * 0.99)] * 1_000,
        }


def _median_ms(seconds: Sequence[float]) -> float:
    return statistics.median(seconds) * 1_000


async def cycles(session: Session, ask: Figures, name: str) -> tuple[int, Figures]:
    """Take cycles in ``at_once`` lanes until there are ``count`` of them or ``seconds`` are over."""
    times, text = Times(), "x" * ask["size"]
    until = time.perf_counter() + ask.get("seconds", 3_600)
    numbers = iter(range(ask["count"]))

    async def lane() -> None:
        for number in numbers:
            thread = ask.get("one_thread") or f"{name}-{number}"
            begun = time.perf_counter()
            question = await session.start(thread, text, ask.get("graph", "cycle"))
            paused = time.perf_counter()
            await session.finish(question)
            times.start.append(paused - begun)
            times.finish.append(time.perf_counter() - paused)
            if time.perf_counter() > until:
                return

    await asyncio.gather(*(lane() for _ in range(ask["at_once"])))
    return len(times.start), times.figures()


async def growth(session: Session, ask: Figures) -> Figures:
    """Resume the thread that has all those cycles behind it, and new ones, in turn."""
    took: dict[str, list[float]] = {"old": [], "new": []}
    for number in range(_GROWTHS):
        for age, thread in (("old", ask["one_thread"]), ("new", f"new-{number}")):
            question = await session.start(thread, "x" * ask["size"], ask["graph"])
            begun = time.perf_counter()
            await session.finish(question)
            took[age].append(time.perf_counter() - begun)
    old, new = statistics.median(took["old"]), statistics.median(took["new"])
    return {"last_finish_ms": old * 1_000, "first_finish_ms": new * 1_000, "finish_growth": old / new}


async def chains(session: Session, ask: Figures, name: str) -> tuple[int, Figures]:
    """Run the chain ``count`` times, one after the other."""
    return await _repeated(session.chain, ask["count"], name)


async def fans(session: Session, ask: Figures, name: str) -> tuple[int, Figures]:
    """Run the fan ``count`` times, one after the other."""
    return await _repeated(session.fan, ask["count"], name)


async def _repeated(work: Callable[[str], Any], count: int, name: str) -> tuple[int, Figures]:
    took = []
    for number in range(count):
        begun = time.perf_counter()
        await work(f"{name}-{number}")
        took.append(time.perf_counter() - begun)
    return count, {"whole_ms": _median_ms(took)}


KINDS = {"cycles": cycles, "chain": chains, "fan": fans}


class Driver:
    """Takes measures for one peer."""

    def __init__(self, open_session: Open, fsyncs: Fsyncs) -> None:
        self._open = open_session
        self._fsyncs = fsyncs
        self._numbers = itertools.count()

    async def measure(self, ask: Figures) -> Figures:
        """Return the figures of one measure: times, and what it cost per unit (cycle, chain or fan)."""
        with tempfile.TemporaryDirectory(prefix="bench-", dir=ask["folder"]) as folder:
            path = Path(folder) / "data.db"
            async with self._open(ask["variant"], path) as session:
                await KINDS[ask["kind"]](session, _warm_up(ask), "warm-up")
            before = bytes_of(Path(folder))
            async with self._open(ask["variant"], path) as session:
                figures = await self._counted(session, ask)
            # The last connection to close has moved the log into the file.
            figures["kb"] = (bytes_of(Path(folder)) - before) / 1_000 / figures["units"]
            if ask.get("one_thread"):
                async with self._open(ask["variant"], path) as session:
                    figures |= await growth(session, ask)
            return figures

    async def _counted(self, session: Session, ask: Figures) -> Figures:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        profile = cProfile.Profile() if ask.get("profile") else None
        self._fsyncs.slow(ask.get("slow_us", 0))
        hops, fsyncs, cpu = loop.hops, self._fsyncs.count(), time.process_time()
        self._fsyncs.mark()
        begun = time.perf_counter()
        with profile or nullcontext():
            units, figures = await KINDS[ask["kind"]](session, ask, f"measure-{next(self._numbers)}")
        took = time.perf_counter() - begun
        self._fsyncs.mark()
        figures["units"] = units
        figures["per_second"] = units / took
        figures["hops"] = (loop.hops - hops) / units
        figures["cpu_us"] = (time.process_time() - cpu) / units * 1_000_000
        if self._fsyncs.counted:
            figures["fsyncs"] = (self._fsyncs.count() - fsyncs) / units
        self._fsyncs.slow(0)
        figures["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
        if profile is not None:
            text = io.StringIO()
            pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(40)
            figures["profile"] = text.getvalue()
        return figures


def _warm_up(ask: Figures) -> Figures:
    return {**ask, "count": min(_WARM_UPS, ask["count"]), "at_once": 1}


def bytes_of(folder: Path) -> int:
    """Return how much the files in the folder hold."""
    return sum(path.stat().st_size for path in folder.iterdir())


def serve(open_session: Open, *, alone: bool = False) -> None:
    """Answer each line of standard input with one line, until it ends.

    ``alone``: the peer cannot have two databases open in one process.
    """
    from benchmarks.peers.paused import fill, find  # noqa: PLC0415 - it stands on this module

    # What a library prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    driver = Driver(open_session, Fsyncs())
    for line in sys.stdin:
        ask = {**json.loads(line), "alone": alone}
        with asyncio.Runner(loop_factory=CountingLoop) as runner:
            try:
                match ask["kind"]:
                    case "fill":
                        figures = runner.run(fill(open_session, ask))
                    case "find":
                        figures = runner.run(find(open_session, ask))
                    case _:
                        figures = runner.run(driver.measure(ask))
            except NotImplementedError:
                figures = {"left_out": True}
            except Exception as error:  # noqa: BLE001 - the peer's fault is a line of the table, not the end
                traceback.print_exc()
                figures = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(figures) + "\n")
        answers.flush()
