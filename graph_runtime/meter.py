"""What a run has used of its limits."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Iterable
from typing import Any

from . import records
from .clock import SECOND
from .errors import GraphRecursionError, LimitReached
from .types import Run

#: What the runtime itself counts; a budget of an author's has another name.
KEPT_LIMITS = frozenset({"steps", "seconds", "questions", "retries"})


def is_amount(amount: Any) -> bool:
    """Say whether that much can be counted: a finite number of zero or more."""
    number = isinstance(amount, int | float) and not isinstance(amount, bool)
    return number and math.isfinite(amount) and amount >= 0


_ANY_TIME = contextlib.nullcontext()


class Meter:
    """Counts on from what the run had used when it was claimed."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._spent: dict[str, float] = {}
        #: What tasks that have not finished took, by task and place: they run again, and take it once.
        self._taken: dict[str, dict[str, float]] = {}
        for key, amount in run.taken.items():
            task, _, place = key.partition(" ")
            self._taken.setdefault(task, {})[place] = amount

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
        self.check_time(now)

    def check_time(self, now: int) -> None:
        """Let what happens at that time of the clock happen. Raises :class:`LimitReached` if it is late."""
        left = self._left(now)
        if left is not None and left < 0:
            raise self._late()

    def in_time(self, now: int) -> contextlib.AbstractAsyncContextManager[None]:
        """Stop what runs in this block when the time of the run is up. Raises :class:`LimitReached` then.

        A plain function runs in a thread, which nothing can stop: it is no longer waited for.
        """
        left = self._left(now)
        return _ANY_TIME if left is None else self._until(left)

    @contextlib.asynccontextmanager
    async def _until(self, left: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(left) as limit:
                yield
        except TimeoutError:
            if limit.expired():
                raise self._late() from None
            raise

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

    def spend_at(self, task: str, place: str, name: str, amount: float) -> None:
        """Take what a task takes at a place; what it took there before, it has. Raises as :meth:`spend`."""
        taken = self._taken.setdefault(task, {})
        before = taken.get(place, 0)
        if amount > before:
            self.spend(name, amount - before)
        taken[place] = max(amount, before)

    def finished(self, tasks: Iterable[str]) -> None:
        """Forget what these tasks took where: they do not run again."""
        for task in tasks:
            self._taken.pop(task, None)

    def stored(self) -> str:
        """Return what has been used, by name, as the store keeps it."""
        used = {
            name: self._run.used.get(name, 0) + self._spent.get(name, 0)
            for name in {**self._run.used, **self._spent}
        }
        taken = {f"{task} {at}": amount for task, some in self._taken.items() for at, amount in some.items()}
        return records.write_used(used, taken)

    def _left(self, now: int) -> float | None:
        seconds = self._run.limits.get("seconds")
        return None if seconds is None else seconds - (now - self._run.created_at) / SECOND

    def _late(self) -> LimitReached:
        run = self._run
        return LimitReached(
            f"run {run.id!r} stopped: it began longer ago than its {run.limits['seconds']:g} seconds; what "
            "it did so far is kept"
        )
