"""What a run has used of its limits."""

from __future__ import annotations

from .clock import SECOND
from .errors import GraphRecursionError, LimitReached
from .plainjson import write_json
from .types import Run


class Meter:
    """Counts on from what the run had used when it was claimed."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._spent: dict[str, float] = {}

    def check(self, graph: str, steps: int, now: int) -> None:
        """Let another step of ``graph`` begin after so many, at that time of the clock.

        Raises :class:`GraphRecursionError` or :class:`LimitReached`; what the run did so far is kept.
        """
        run = self._run
        if steps >= run.max_steps:
            raise GraphRecursionError(
                f"run {run.id!r} stopped after {steps} steps of graph {graph!r}, its limit; "
                "what it did so far is kept. Start it with a higher limit if it is meant to go on that long"
            )
        seconds = run.limits.get("seconds")
        if seconds is not None and now - run.created_at > seconds * SECOND:
            raise LimitReached(f"run {run.id!r} stopped: it began longer ago than its {seconds:g} seconds")

    def spend(self, name: str, amount: float) -> None:
        """Take ``amount`` from the run's limit called ``name``. Raises :class:`LimitReached`."""
        limit = self._run.limits.get(name)
        used = self._run.used.get(name, 0) + self._spent.get(name, 0)
        if limit is not None and used + amount > limit:
            raise LimitReached(
                f"run {self._run.id!r} stopped: it has used {used:g} of its {limit:g} {name}, and wants "
                f"{amount:g} more"
            )
        self._spent[name] = self._spent.get(name, 0) + amount

    def stored(self) -> str:
        """Return what has been used, by name, as the store keeps it."""
        if not self._spent and not self._run.used:
            return "{}"
        used = {
            name: self._run.used.get(name, 0) + self._spent.get(name, 0)
            for name in {**self._run.used, **self._spent}
        }
        return write_json(used)
