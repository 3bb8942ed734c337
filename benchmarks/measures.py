"""What is measured: the workloads, how much of each, and which figures stand in its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Figures = Mapping[str, Any]
#: Nodes of W2, tasks of W3; see peers/driver.py.
STEPS = 100


@dataclass(frozen=True)
class Column:
    """One figure of a table: its heading, where it comes from, and how many decimals are shown."""

    head: str
    value: Callable[[Figures], float | None]
    digits: int = 1


@dataclass(frozen=True)
class Measure:
    """One thing to do on a fresh database, the same for every peer. The first column is what is compared."""

    workload: str
    title: str
    ask: Figures
    columns: tuple[Column, ...]
    more_is_better: bool = False
    #: What the others are compared with.
    base: str = "langgraph:sync"
    #: At most so many rounds, for what takes minutes.
    rounds: int = 1_000
    #: What ``--quick`` asks instead.
    quick: Figures = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.workload} {self.title}"


def figure(head: str, name: str, digits: int = 1, *, per: int = 1) -> Column:
    """Return the column of one figure of the driver's answer, divided by ``per``."""

    def value(figures: Figures) -> float | None:
        found = figures.get(name)
        return None if found is None else found / per

    return Column(head, value, digits)


FSYNCS, HOPS = figure("fsyncs", "fsyncs", 2), figure("thread hops", "hops")
KB, CPU = figure("KB on disk", "kb"), figure("CPU µs", "cpu_us", 0)
_CYCLE = {"kind": "cycles", "count": 100, "at_once": 1, "size": 2_000, "seconds": 10}
_LANES = {**_CYCLE, "count": 1_000_000, "at_once": 100, "seconds": 2}
_ONE = (
    figure("cycle ms", "cycle_ms", 2),
    figure("p99", "cycle_p99_ms"),
    figure("start → paused", "start_ms", 2),
    figure("answer → finished", "finish_ms", 2),
)
_MANY = (figure("cycles/s", "per_second", 0), _ONE[0], _ONE[1], FSYNCS, HOPS, CPU)


def _sized(title: str, size: int, count: int) -> Measure:
    ask = {**_CYCLE, "size": size, "count": count}
    return Measure("W4", title, ask, (_ONE[0], KB, FSYNCS, CPU), quick={"count": 5})


def _paused(count: int) -> Measure:
    ask = {"kind": "paused", "count": count, "size": 2_000}
    columns = (
        figure("resume one, ms", "resume_ms", 2),
        figure("x empty database", "resume_x_empty", 2),
        figure("page of pending, ms", "page_ms", 2),
        figure("bytes per thread", "bytes_per_thread", 0),
        figure("paused per s", "fill_per_second", 0),
        figure("process start to open, ms", "ready_ms", 0),
        figure("idle CPU %", "idle_percent", 2),
        figure("tasks + timers", "tasks_and_timers", 0),
        figure("RSS MB", "rss_mb", 0),
    )
    return Measure("W5", f"{count:,} paused threads", ask, columns, rounds=1, quick={"count": count // 50})


def _thousand(title: str, graph: str) -> Measure:
    ask = {**_CYCLE, "count": 1_000, "seconds": 600, "one_thread": "thread", "graph": graph}
    columns = (
        figure("resume at the end, ms", "last_finish_ms", 2),
        figure("on a new thread", "first_finish_ms", 2),
        figure("growth", "finish_growth", 2),
        KB,
        FSYNCS,
        CPU,
    )
    return Measure("W6", title, ask, columns, rounds=2, quick={"count": 100})


def _clicked(title: str, how: str, ask: Figures, columns: tuple[Column, ...], quick: Figures) -> Measure:
    return Measure(
        "Slack",
        title,
        {"kind": "clicks", "how": how, **ask},
        columns,
        more_is_better=how != "paced",
        base="bolt:transaction",
        quick=quick,
    )


_ACK = (figure("ack ms", "ack_ms", 2), figure("p99", "ack_p99_ms"))
_ACKS = (figure("acks/s", "acks_per_second", 0), *_ACK, figure("fsyncs", "fsyncs", 2), HOPS, CPU)

MEASURES = (
    Measure("W1", "one at a time", _CYCLE, (*_ONE, FSYNCS, HOPS, KB, CPU), quick={"count": 30}),
    Measure("W1", "100 at once", _LANES, _MANY, more_is_better=True, quick={"seconds": 0.7}),
    Measure(
        "W1",
        "100 at once, each fsync 2 ms slower",
        {**_LANES, "slow_us": 2_000},
        _MANY,
        more_is_better=True,
        quick={"seconds": 0.7},
    ),
    Measure(
        "W2",
        "a chain of 100 nodes",
        {"kind": "chain", "count": 5},
        (
            Column("steps/s", lambda figures: STEPS * 1_000 / figures["whole_ms"], 0),
            figure("fsyncs per step", "fsyncs", 2, per=STEPS),
            figure("hops per step", "hops", per=STEPS),
            figure("KB on disk", "kb"),
            figure("CPU µs per step", "cpu_us", 0, per=STEPS),
        ),
        more_is_better=True,
        quick={"count": 2},
    ),
    Measure(
        "W3",
        "100 tasks sent, one reducer",
        {"kind": "fan", "count": 5},
        (figure("ms", "whole_ms"), figure("fsyncs", "fsyncs"), HOPS, KB, CPU),
        quick={"count": 2},
    ),
    _sized("10 KB of state", 10_000, 20),
    _sized("100 KB of state", 100_000, 20),
    _sized("1 MB of state", 1_000_000, 10),
    _paused(1_000),
    _paused(10_000),
    _paused(100_000),
    _thousand("1,000 cycles on one thread", "cycle"),
    _thousand("1,000 cycles on one thread, each appends 3 entries", "log"),
    _clicked(
        "clicks 30 ms apart",
        "paced",
        {"count": 100, "pause": 0.03},
        (
            *_ACK,
            figure("fsyncs the ack waits for", "ack_fsyncs"),
            figure("fsyncs in all", "fsyncs", 2),
            HOPS,
            CPU,
            figure("auth.test", "auth_tests", 0),
        ),
        {"count": 20},
    ),
    _clicked("64 clicks at once", "burst", {"count": 3, "at_once": 64, "pause": 1.0}, _ACKS, {"count": 1}),
    _clicked("64 clicks under way all the time", "lanes", {"count": 5, "at_once": 64}, _ACKS, {"count": 2}),
)
