"""What every test may use: a clock that only tests move, and the type of a factory of runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from graph_runtime import Bell, CompiledGraph, Runtime, system_clock

#: 2026-01-05 09:00:00 UTC, a Monday morning.
MONDAY = 1_767_603_600_000_000
SECOND = 1_000_000


class SettableClock:
    """The time in microseconds; it stands still until a test moves it."""

    def __init__(self, now: int = MONDAY) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        """Move the time on, or back."""
        self.now += round(seconds * SECOND)


class MovedClock(SettableClock):
    """The time goes on from a Monday morning by itself, for a bot that waits for it, and a test moves it on."""

    def __init__(self, now: int = MONDAY) -> None:
        super().__init__(now - system_clock())
        self._bells: list[Bell] = []

    def __call__(self) -> int:
        return system_clock() + self.now

    def bell(self) -> Bell:
        """Return a bell that rings when the time is moved."""
        self._bells.append(Bell())
        return self._bells[-1]

    def pass_seconds(self, seconds: float) -> None:
        super().pass_seconds(seconds)
        for bell in self._bells:
            bell.ring()


class MakeRuntime(Protocol):
    """Makes a runtime on the test's store and clock; each call is another worker process, so to speak."""

    def __call__(self, *graphs: CompiledGraph, companions: Sequence[Any] = ..., **more: Any) -> Runtime: ...
