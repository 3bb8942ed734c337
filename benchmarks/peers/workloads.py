"""The workloads W1-W4 and W6 on one database, and what each cycle, chain or fan of them took and cost."""

from __future__ import annotations

import asyncio
import cProfile
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.peers.counting import CountingLoop, Figures, Fsyncs, bytes_of, in_words

#: Nodes of W2, tasks of W3.
CHAIN, FAN = 100, 100
_WARM_UPS, _MOST_TO_USE = 2, 300
_GROWTHS = 30
_numbers = itertools.count()


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


async def measure(open_session: Open, ask: Figures, fsyncs: Fsyncs) -> Figures:
    """Take one measure on a fresh database: its times, and what it cost per unit (cycle, chain or fan)."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ask["folder"]) as folder:
        path = Path(folder) / "data.db"
        async with open_session(ask["variant"], path) as session:
            await KINDS[ask["kind"]](session, {**ask, "count": _WARM_UPS, "at_once": 1}, "warm-up")
        before = bytes_of(Path(folder))
        async with open_session(ask["variant"], path) as session:
            more = await _until_in_use(session, ask, path)
            figures = await _counted(session, ask, fsyncs)
        # The last connection to close has moved the log into the file.
        figures["kb"] = (bytes_of(Path(folder)) - before) / 1_000 / (figures["units"] + more)
        if ask.get("one_thread"):
            async with open_session(ask["variant"], path) as session:
                figures |= await growth(session, ask)
        return figures


async def _until_in_use(session: Session, ask: Figures, path: Path) -> int:
    """Work until the write-ahead log, if there is one, grows no more; return how many units that took.

    The first commit of a new log costs an fsync more, and each that makes the file longer waits for the file
    system as well. A database that is in use writes over what it wrote before.
    """
    length, done = -1, 0
    while done < _MOST_TO_USE and _length_of_log(path) > length:
        length = _length_of_log(path)
        await KINDS[ask["kind"]](session, {**ask, "count": 1, "at_once": 1}, f"first-{done}")
        done += 1
    return done


def _length_of_log(path: Path) -> int:
    log = Path(f"{path}-wal")
    return log.stat().st_size if log.exists() else 0


async def _counted(session: Session, ask: Figures, counter: Fsyncs) -> Figures:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    profile = cProfile.Profile() if ask.get("profile") else None
    counter.slow(ask.get("slow_us", 0))
    hops, fsyncs, cpu = loop.hops, counter.count(), time.process_time()
    counter.mark()
    begun = time.perf_counter()
    with profile or nullcontext():
        units, figures = await KINDS[ask["kind"]](session, ask, f"measure-{next(_numbers)}")
    took = time.perf_counter() - begun
    counter.mark()
    figures["units"] = units
    figures["per_second"] = units / took
    figures["hops"] = (loop.hops - hops) / units
    figures["cpu_us"] = (time.process_time() - cpu) / units * 1_000_000
    if counter.counted:
        figures["fsyncs"] = (counter.count() - fsyncs) / units
    counter.slow(0)
    if profile is not None:
        figures["profile"] = in_words(profile)
    return figures
