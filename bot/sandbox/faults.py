"""Faults a test orders: what Slack does to us on a bad day."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

KINDS = frozenset(
    {
        "ratelimited",
        "500",
        "503",
        "drop_before_store",
        "drop_after_store",
        "timeout_after_store",
        "hold_after_store",
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the next `times` calls of `method` ("*": any, "response_url": answers by URL).

    `kind` is one of KINDS or "error:<slack_error>". Of these only `…_after_store` let the call take effect:
    drop closes the TCP connection without an answer, timeout never answers, hold answers once `hold` is set.
    """

    method: str
    kind: str
    times: int = 1
    retry_after: int = 1
    hold: asyncio.Event | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS and not self.kind.startswith("error:"):
            raise ValueError(f"unknown fault {self.kind!r}; known: {', '.join(sorted(KINDS))}, error:<name>")
        if self.kind == "hold_after_store" and self.hold is None:
            raise ValueError("hold_after_store needs hold=asyncio.Event()")
        if self.times < 1:
            raise ValueError("times counts from 1")


class Faults:
    """The faults still to come, in the order they were added."""

    def __init__(self) -> None:
        self.pending: list[Fault] = []
        self._duplicates = 0

    def add(self, fault: Fault) -> Fault:
        """Afterwards the fault waits for its method to be called."""
        self.pending.append(fault)
        return fault

    def clear(self) -> None:
        """Afterwards nothing bad is planned."""
        self.pending.clear()
        self._duplicates = 0

    def take(self, method: str) -> Fault | None:
        """The first fault for `method`, with one use less left; None when there is none."""
        for place, fault in enumerate(self.pending):
            if fault.method in (method, "*"):
                if fault.times > 1:
                    self.pending[place] = replace(fault, times=fault.times - 1)
                else:
                    del self.pending[place]
                return fault
        return None

    def duplicate_next_delivery(self, n: int = 1) -> None:
        """Afterwards the next delivery is sent `n` more times with the same envelope id."""
        self._duplicates = n

    def take_duplicates(self) -> int:
        """How many extra copies the delivery being sent gets."""
        n, self._duplicates = self._duplicates, 0
        return n
