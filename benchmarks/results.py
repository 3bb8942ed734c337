"""The figures of all rounds: medians, and ratios taken within each round, because the machine drifts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from .measures import Column, Figures, Measure


class Results:
    """What was measured, by measure, contestant and round."""

    def __init__(self) -> None:
        self._rounds: dict[str, dict[str, list[Figures]]] = {}
        self.failures: dict[str, str] = {}

    def add(self, measure: Measure, who: str, figures: Mapping[str, Any]) -> None:
        """Keep one round's figures; an error takes the contestant out of this measure's table."""
        if "left_out" in figures:
            return
        if "error" in figures:
            self.failures[f"{measure.key}: {who}"] = figures["error"]
            return
        self._rounds.setdefault(measure.key, {}).setdefault(who, []).append(figures)

    def add_count(self, measure: Measure, who: str, fsyncs: float) -> None:
        """Put a count that was taken apart beside each round's times."""
        rounds = self._rounds.get(measure.key, {}).get(who, [])
        rounds[:] = [{**one, "fsyncs": fsyncs} for one in rounds]

    def who(self, measure: Measure) -> list[str]:
        """Return who has figures for this measure."""
        return list(self._rounds.get(measure.key, {}))

    def all(self, measure: Measure, who: str, column: Column) -> list[float]:
        """Return the column's figure of each round; empty when it was not counted."""
        found = [column.value(one) for one in self._rounds.get(measure.key, {}).get(who, [])]
        return [one for one in found if one is not None]

    def median(self, measure: Measure, who: str, column: Column) -> float | None:
        """Return the median of the rounds, None without figures."""
        found = self.all(measure, who, column)
        return statistics.median(found) if found else None

    def ratio(self, measure: Measure, who: str, base: str = "") -> float | None:
        """Return how many times better than ``base`` (the measure's): the median of the rounds' ratios."""
        column, base = measure.columns[0], base or measure.base
        pairs = zip(self.all(measure, who, column), self.all(measure, base, column), strict=False)
        ratios = [mine / other if measure.more_is_better else other / mine for mine, other in pairs]
        return statistics.median(ratios) if ratios else None
