"""What this project promised itself, and whether the run kept it: the least, and the goal."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .measures import MEASURES, Measure
from .results import Results


def _named(key: str) -> Measure:
    return next(measure for measure in MEASURES if measure.key == key)


_ONE, _MANY = _named("W1 one at a time"), _named("W1 100 at once")
_SLOW = _named("W1 100 at once, each fsync 2 ms slower")
_CHAIN, _FAN = _named("W2 a chain of 100 nodes"), _named("W3 100 tasks sent, one reducer")
_LARGE, _LOG = _named("W4 1 MB of state"), _named("W6 1,000 cycles on one thread, each appends 3 entries")
_PAUSED = _named("W5 100,000 paused threads")
_PACED, _BURST = _named("Slack clicks 30 ms apart"), _named("Slack 64 clicks at once")


@dataclass(frozen=True)
class Goal:
    """One promise. ``least`` must be kept, ``goal`` is aimed at; a count has one figure for both."""

    what: str
    measured: Callable[[Results], float | None]
    least: float
    goal: float
    at_most: bool = False

    def verdict(self, found: float) -> str:
        """Say which of the two was reached."""
        for mark, words in ((self.goal, "goal"), (self.least, "least")):
            if found <= mark if self.at_most else found >= mark:
                return words
        return "**missed**"


def _times(measure: Measure, who: str, base: str) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(measure, who, base)


def _figure(measure: Measure, who: str, head: str) -> Callable[[Results], float | None]:
    column = next(column for column in measure.columns if column.head == head)
    return lambda results: results.median(measure, who, column)


def _hops_over_commits(who: str) -> Callable[[Results], float | None]:
    hops, fsyncs = _figure(_ONE, who, "thread hops"), _figure(_ONE, who, "fsyncs")

    def over(results: Results) -> float | None:
        hopped, synced = hops(results), fsyncs(results)
        return None if hopped is None or synced is None else hopped - synced

    return over


def _kept_when_slow(who: str) -> Callable[[Results], float | None]:
    def kept(results: Results) -> float | None:
        column = _MANY.columns[0]
        pairs = zip(results.all(_SLOW, who, column), results.all(_MANY, who, column), strict=False)
        ratios = [slow / usual for slow, usual in pairs]
        return statistics.median(ratios) if ratios else None

    return kept


def _slower_ack(results: Results) -> float | None:
    ratio = results.ratio(_PACED, "bot:decision", "bolt:transaction")
    return None if ratio is None else 1 / ratio


def _waited_for(results: Results) -> float | None:
    found = _figure(_PACED, "bot:decision", "fsyncs the ack waits for")(results)
    return None if found is None else round(found)


_SYNC, _ASYNC, _ASKED = "ours:sync", "ours:async", "ours:request"
_BASE = "langgraph:sync"
GOALS = (
    Goal("W1 one at a time, async, x langgraph:sync", _times(_ONE, _ASYNC, _BASE), 5, 7),
    Goal("W1 one at a time, async, x burr:wal", _times(_ONE, _ASYNC, "burr:wal"), 1.2, 2),
    Goal("W1 one at a time, sync, x langgraph:sync", _times(_ONE, _SYNC, _BASE), 3, 4.5),
    Goal("W1 100 at once, sync, x langgraph:sync", _times(_MANY, _SYNC, _BASE), 20, 40),
    Goal("W1 100 at once, async, x langgraph:sync", _times(_MANY, _ASYNC, _BASE), 20, 40),
    Goal("W1 100 at once, sync, x burr:wal", _times(_MANY, _SYNC, "burr:wal"), 2, 4),
    Goal("W1 100 at once, async, x burr:wal", _times(_MANY, _ASYNC, "burr:wal"), 2, 4),
    Goal("W1 100 at once, sync, x floor:3g", _times(_MANY, _SYNC, "floor:3g"), 0.3, 0.6),
    Goal("W1 100 at once, async, x floor:3g", _times(_MANY, _ASYNC, "floor:3g"), 0.3, 0.6),
    Goal("W1 100 at once, sync, what slow fsyncs leave", _kept_when_slow(_SYNC), 0.5, 0.5),
    Goal("W1 100 at once, async, what slow fsyncs leave", _kept_when_slow(_ASYNC), 0.5, 0.5),
    Goal("W1 fsyncs per cycle, sync", _figure(_ONE, _SYNC, "fsyncs"), 6.1, 6.1, at_most=True),
    Goal("W1 fsyncs per cycle, async", _figure(_ONE, _ASYNC, "fsyncs"), 3.1, 3.1, at_most=True),
    Goal("W1 thread hops beyond commits, sync", _hops_over_commits(_SYNC), 1, 1, at_most=True),
    Goal("W1 thread hops beyond commits, async", _hops_over_commits(_ASYNC), 1, 1, at_most=True),
    Goal("W2 sync, x floor:3t", _times(_CHAIN, _SYNC, "floor:3t"), 0.5, 0.8),
    Goal("W3 sync, x langgraph:sync", _times(_FAN, _SYNC, _BASE), 20, 40),
    Goal("W3 sync, fsyncs", _figure(_FAN, _SYNC, "fsyncs"), 5, 5, at_most=True),
    Goal("W4 1 MB, KB on disk per cycle", _figure(_LARGE, _SYNC, "KB on disk"), 1_100, 1_100, at_most=True),
    Goal("W5 page of pending, ms", _figure(_PAUSED, _ASKED, "page of pending, ms"), 5, 2, at_most=True),
    Goal("W5 bytes per bare thread", _figure(_PAUSED, _SYNC, "bytes per thread"), 8e3, 8e3, at_most=True),
    Goal("W5 bytes with its request", _figure(_PAUSED, _ASKED, "bytes per thread"), 14e3, 14e3, at_most=True),
    Goal("W5 resume, x empty database", _figure(_PAUSED, _ASKED, "x empty database"), 1.3, 1.3, at_most=True),
    Goal("W5 idle CPU, %", _figure(_PAUSED, _ASKED, "idle CPU %"), 1, 1, at_most=True),
    Goal("W5 start, ms", _figure(_PAUSED, _ASKED, "process start to open, ms"), 1_000, 1_000, at_most=True),
    Goal("W5 tasks and timers in all", _figure(_PAUSED, _ASKED, "tasks + timers"), 10, 10, at_most=True),
    Goal("W6 appending, KB on disk per cycle", _figure(_LOG, _SYNC, "KB on disk"), 20, 20, at_most=True),
    Goal("W6 appending, resume after 1,000, x new", _figure(_LOG, _SYNC, "growth"), 2, 1.3, at_most=True),
    Goal("Slack ack, one at a time, x bolt:transaction's ms", _slower_ack, 1.5, 1.25, at_most=True),
    Goal("Slack 64 at once, x bolt:plain", _times(_BURST, "bot:decision", "bolt:plain"), 0.55, 0.75),
    Goal(
        "Slack fsyncs the ack waits for (by time, to the next whole one)",
        _waited_for,
        1,
        1,
        at_most=True,
    ),
    Goal("Slack auth.test per click", _figure(_PACED, "bot:decision", "auth.test"), 0, 0, at_most=True),
)


def goal_table(results: Results) -> Iterator[str]:
    """Yield the lines of a table of what was promised and measured; promises not measured are left out."""
    found = [(goal, goal.measured(results)) for goal in GOALS]
    if all(one is None for _, one in found):
        return
    yield "| | least | goal | measured | reached |"
    yield "|---|---:|---:|---:|---|"
    for goal, one in found:
        if one is not None:
            sign = "≤ " if goal.at_most else ""
            marks = f"{sign}{goal.least:,.5g} | {sign}{goal.goal:,.5g}"
            yield f"| {goal.what} | {marks} | {one:,.4g} | {goal.verdict(one)} |"
    yield ""
