"""What is counted in every peer's process, whatever it runs: fsyncs, thread hops, bytes."""

from __future__ import annotations

import asyncio
import cProfile
import ctypes
import io
import os
import pstats
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
#: A file descriptor that nobody has.
MARK = 999_999


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
                os.fsync(MARK)

    def slow(self, microseconds: int) -> None:
        if self.counted:
            self._here.bench_slow(ctypes.c_long(microseconds))
        elif microseconds:
            raise RuntimeError("no fsync was made slower: there is no shim (it needs cc)")


def in_words(profile: cProfile.Profile) -> str:
    """Return where the time went, as a table of the first forty functions."""
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(40)
    return text.getvalue()


def bytes_of(folder: Path) -> int:
    """Return how much the files in the folder hold."""
    return sum(path.stat().st_size for path in folder.iterdir())
