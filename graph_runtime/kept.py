"""Where runs rest, as this process left them: one that is answered soon after need not be read back.

A checkpoint never changes, so what is kept of one is what lies on disk, for as long as its run stands there
and nobody else has had the run since. It is little and bounded, and to lose it costs a read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .plan import Result
from .quick import quick
from .stored import Stored
from .types import Checkpoint, CheckpointId, Run, RunId, TaskId

#: How many runs are kept at most, and how large the state of each may be: letters and items.
MOST, LARGEST = 256, 16_384


@quick
@dataclass(frozen=True, slots=True)
class Rest:
    """Where a run rests, without what it asks."""

    checkpoint: Checkpoint
    versions: Mapping[str, CheckpointId]
    saved: Mapping[TaskId, Result]
    lists: Mapping[str, Stored]
    #: That of the run's last claim.
    epoch: int


class Kept:
    """The runs that this process brought to their rest last, at most :data:`MOST` of them."""

    def __init__(self) -> None:
        self._rests: OrderedDict[RunId, Rest] = OrderedDict()

    def keep(self, run: Run, rest: Rest) -> None:
        """Keep where the run rests, unless its state is large."""
        if _size(rest.checkpoint.values, LARGEST) > LARGEST:
            return
        self._rests[run.id] = rest
        if len(self._rests) > MOST:
            self._rests.popitem(last=False)

    def holds(self, run_id: str) -> bool:
        """Say whether anything is kept of the run, which may have moved on since."""
        return run_id in self._rests

    def at(self, run: Run) -> Rest | None:
        """Return where the run rests, if it has not been claimed or moved since it was kept."""
        rest = self._rests.get(run.id)
        return rest if rest is not None and _is_at(rest, run, rest.epoch) else None

    def take(self, claimed: Run) -> Rest | None:
        """Return where the run rested that was just claimed, if nobody else has had it since."""
        rest = self._rests.pop(claimed.id, None)
        return rest if rest is not None and _is_at(rest, claimed, rest.epoch + 1) else None


def _is_at(rest: Rest, run: Run, epoch: int) -> bool:
    return rest.checkpoint.id == run.head and run.epoch == epoch


def _size(value: Any, left: int) -> int:
    """Return about how large a value is, looking no further once it is larger than ``left``."""
    if isinstance(value, str | bytes):
        return len(value)
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        # An object of the author's; how large it is nobody knows.
        return 1 if value is None or isinstance(value, int | float) else left + 1
    size = len(value)
    for item in value.values() if isinstance(value, Mapping) else value:
        if size > left:
            break
        size += _size(item, left - size)
    return size
