"""How often Python looks for objects that hold each other: in a busy bot seldom, for it finds hardly any."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

#: New objects until the youngest are looked at, and how many such looks until the older ones are. With
#: Python's own 700 a bot with a hundred runs under way spent a seventh of its time looking.
_SELDOM = (50_000, 20, 50)


@contextlib.contextmanager
def collecting_seldom() -> Iterator[None]:
    """Let the collector of cycles look seldom, and past what was loaded before; for a whole process.

    What is loaded stays for the life of the process. Cycles are found later: some ten megabytes of them.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
