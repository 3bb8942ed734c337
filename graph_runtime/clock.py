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


def _base32(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


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

    def __call__(self, kind: str) -> str:
        """Return a new id that begins with ``kind``."""
        now = self._clock()
        if now > self._time:
            self._time = now
            # The top bit stays free, so that counting up does not overflow into the time part.
            self._tail = int.from_bytes(os.urandom(4)) & ((1 << 29) - 1)
        else:
            self._tail += 1
        return f"{kind}-{_base32(self._time, 11)}{_base32(self._tail, 6)}"


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
