"""Time and names come in through constructors, so that a test is the clock."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Protocol

#: Crockford's base 32 in lower case: no i, l, o, u, so an id survives being read aloud.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
SECOND = 1_000_000


class Clock(Protocol):
    """Tells the time as whole microseconds since 1970-01-01 UTC."""

    def __call__(self) -> int: ...


def system_clock() -> int:
    """Return the machine's wall-clock time in microseconds since the epoch."""
    return time.time_ns() // 1_000


class NewId(Protocol):
    """Makes an id that no other process will make, sorting after every earlier one of this process."""

    def __call__(self, kind: str) -> str: ...


_PAIRS = tuple(one + other for one in _ALPHABET for other in _ALPHABET)


def _base32(number: int) -> str:
    """Return the last 45 bits of ``number`` as 9 characters."""
    return (
        f"{_PAIRS[number >> 35 & 1023]}{_PAIRS[number >> 25 & 1023]}{_PAIRS[number >> 15 & 1023]}"
        f"{_PAIRS[number >> 5 & 1023]}{_ALPHABET[number & 31]}"
    )


class TimeOrderedIds:
    """Ids like ``run-1n3k2v9a0q7m3x5p2``: 11 characters of time, 6 of counter and chance.

    Text order is order of making within one process; between processes it follows their clocks. The tail is
    30 bits of chance at each new microsecond; it goes up by one when two ids fall on the same microsecond
    or the clock steps back.
    """

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._time = 0
        self._tail = 0
        #: What all ids of a millisecond begin with, and which it is.
        self._millisecond, self._begin = -1, ""

    def __call__(self, kind: str) -> str:
        """Return a new id that begins with ``kind``."""
        now = self._clock()
        if now > self._time:
            self._time = now
            # The top bit stays free, so that counting up does not overflow into the time part. Chance keeps
            # processes apart and guards no secret; a forked process is given a seed of its own.
            self._tail = random.getrandbits(29)
            if now >> 10 != self._millisecond:
                self._millisecond = now >> 10
                self._begin = _base32(self._millisecond)
        else:
            self._tail += 1
        tail = self._tail
        return (
            f"{kind}-{self._begin}{_PAIRS[self._time & 1023]}"
            f"{_PAIRS[tail >> 20]}{_PAIRS[tail >> 10 & 1023]}{_PAIRS[tail & 1023]}"
        )


class Bell:
    """Says that there may be work. Losing a ring costs latency, never correctness: the loops also poll."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Let whoever waits go on, now or at its next wait."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return when the bell rings, or after ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()
