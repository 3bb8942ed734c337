"""Named places at which a test makes the program fail; nothing at all unless the environment says so.

``SIGNOFF_FAULT=after:decide:kill`` kills the process right after the commit of the batch named ``decide``;
``before`` and ``after``, ``kill``, ``error`` and ``cancel`` are what there is. With ``SIGNOFF_FAULT_COUNT=3``
it happens the third time. The only points are the two sides of the one commit door.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Literal

from .errors import CommitUnknown, StoreUnavailable

Side = Literal["before", "after"]


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
        """Do nothing, or fail here as the environment asked: die, raise, or cancel the caller.

        An error is the one that a database which is away there leads to: nothing was written, or nobody
        knows. A cancel comes as it does from whoever holds the task, at its next wait: with ``before``, the
        batch is on its way by then and is written without its caller.
        """
        if self._wanted is None or self._wanted[:2] != (side, batch):
            return
        self._passed += 1
        if self._passed != self._wanted[3]:
            return
        if self._wanted[2] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._wanted[2] == "cancel":
            task = asyncio.current_task()
            assert task is not None
            if task.get_name() != "ledger":  # a walk's own writer is held by nobody who could cancel it
                task.cancel(f"fault asked for {side} {batch}")
            return
        failed = StoreUnavailable if side == "before" else CommitUnknown
        raise failed(f"batch {batch!r}: fault asked for {side} it")
