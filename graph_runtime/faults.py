"""Named places at which a test makes the program fail; nothing at all unless the environment says so.

``SIGNOFF_FAULT=after:decide:kill`` kills the process right after the commit of the batch named ``decide``;
``before`` and ``after``, ``kill`` and ``error`` are what there is. ``SIGNOFF_FAULT_COUNT=3`` waits for the
third time. The only points are the two sides of the one commit door.
"""

from __future__ import annotations

import os
import signal
from typing import Literal

Side = Literal["before", "after"]


class Fault(OSError):
    """Raised where the environment asked for an error."""


def read_fault() -> tuple[str, str, str, int] | None:
    """Return (side, batch, what, count) from the environment, or None when no fault is wanted."""
    said = os.environ.get("SIGNOFF_FAULT")
    if not said:
        return None
    side, batch, what = said.split(":")
    return side, batch, what, int(os.environ.get("SIGNOFF_FAULT_COUNT", "1"))


class Faults:
    """Counts the passages through each point and fails at the chosen one."""

    def __init__(self) -> None:
        self._wanted = read_fault()
        self._passed = 0

    def point(self, side: Side, batch: str) -> None:
        """Do nothing, or die here, or raise :class:`Fault`, as the environment asked."""
        if self._wanted is None or self._wanted[:2] != (side, batch):
            return
        self._passed += 1
        if self._passed != self._wanted[3]:
            return
        if self._wanted[2] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise Fault(f"fault asked for {side} {batch}")
