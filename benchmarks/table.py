"""The results as Markdown: the machine, a table for each measure, and what could not be measured."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator, Sequence

from .measures import Column, Measure
from .results import Results


def heading(rounds: int, load: tuple[float, float], *, quick: bool) -> str:
    """Return what was measured where; ``load`` is the machine's at the beginning and at the end."""
    fewer = " **A quick look: fewer of everything, and a fiftieth of the paused threads.**" if quick else ""
    return (
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}; medians of {rounds} rounds unless told otherwise; "
        f"load of the machine {load[0]:.1f} at the beginning, {load[1]:.1f} at the end.{fewer}"
    )


def tables(results: Results, measures: Sequence[Measure]) -> Iterator[str]:
    """Yield the lines of a table for each measure."""
    for measure in measures:
        if results.who(measure):
            yield from _table(results, measure)
    for what, why in results.failures.items():
        yield f"- Not measured: {what}: {why}"


def _table(results: Results, measure: Measure) -> Iterator[str]:
    first, *others = measure.columns
    # A column that nobody could count says nothing.
    shown = [c for c in others if any(results.all(measure, who, c) for who in results.who(measure))]
    heads = [first.head, "min-max", f"x {measure.base}", *(column.head for column in shown)]
    rounds = max(len(results.all(measure, who, first)) for who in results.who(measure))
    fewer = f" ({rounds} round{'s' if rounds > 1 else ''})" if rounds == measure.rounds else ""
    yield f"### {measure.workload}: {measure.title}{fewer}"
    yield ""
    yield "| | " + " | ".join(heads) + " |"
    yield "|---|" + "---:|" * len(heads)
    for who in results.who(measure):
        every = results.all(measure, who, first)
        ratio = results.ratio(measure, who)
        cells = [
            _cell(results, measure, who, first),
            f"{min(every):.{first.digits}f}-{max(every):.{first.digits}f}",
            "" if ratio is None else f"{ratio:.3g}",
            *(_cell(results, measure, who, column) for column in shown),
        ]
        yield f"| {who} | " + " | ".join(cells) + " |"
    yield ""


def _cell(results: Results, measure: Measure, who: str, column: Column) -> str:
    median = results.median(measure, who, column)
    return "not counted" if median is None else f"{median:,.{column.digits}f}"
