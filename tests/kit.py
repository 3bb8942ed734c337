"""What every test may use: a clock that only tests move, a new database, the type of a factory of runtimes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from graph_runtime import Bell, CompiledGraph, Runtime, open_store, system_clock

T = TypeVar("T")
#: Everything, however long it takes; otherwise what fits into a coffee break.
NIGHTLY = bool(os.environ.get("SIGNOFF_NIGHTLY"))


def much(sample: T, everything: T) -> T:
    """Return how much is to be done."""
    return everything if NIGHTLY else sample


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


def lay_out(path: Path) -> None:
    """Put a database there that has its schema and nothing else, as the first store would make it but sooner."""
    path.touch(0o600)
    path.write_bytes(_laid_out())


@cache
def _laid_out() -> bytes:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as aside:
        path = Path(folder) / "signoff.db"
        # The thread has no loop of a test.
        aside.submit(asyncio.run, migrate(f"sqlite:///{path}")).result()
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            # Each store that is the first on its copy gives it an id of its own.
            database.execute("DELETE FROM deployment WHERE key = 'deployment_id'")
        return path.read_bytes()


async def migrate(address: str) -> None:
    """Give a database its schema."""
    async with open_store(address):
        pass
