"""Time and names come in through constructors, so that a test is the clock."""

from __future__ import annotations

import asyncio
import os
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
    """Return the last 85 bits of ``number`` as 17 characters."""
    high, low = number >> 45 & (1 << 40) - 1, number & (1 << 45) - 1
    return (
        f"{_PAIRS[high >> 30]}{_PAIRS[high >> 20 & 1023]}{_PAIRS[high >> 10 & 1023]}{_PAIRS[high & 1023]}"
        f"{_PAIRS[low >> 35]}{_PAIRS[low >> 25 & 1023]}{_PAIRS[low >> 15 & 1023]}{_PAIRS[low >> 5 & 1023]}"
        f"{_ALPHABET[low & 31]}"
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
        self._chance = b""

    def __call__(self, kind: str) -> str:
        """Return a new id that begins with ``kind``."""
        now = self._clock()
        if now > self._time:
            self._time = now
            # The top bit stays free, so that counting up does not overflow into the time part.
            if len(self._chance) < 4:
                self._chance = os.urandom(1024)
            self._tail = int.from_bytes(self._chance[:4]) & ((1 << 29) - 1)
            self._chance = self._chance[4:]
        else:
            self._tail += 1
        return f"{kind}-{_base32(self._time << 30 | self._tail)}"


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
