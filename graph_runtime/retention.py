"""What is let go of: a thread with everything that belongs to it. The journal keeps what happened.

A thread goes in one batch of its own, whose guard says that it is finished and that nothing of it is left to
be told; so a prune may be stopped anywhere, and several processes may prune at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from . import records
from .clock import SECOND
from .errors import Conflict
from .ground import Ground
from .storage import Ask, Batch, Do, Params, Row
from .storage.sql import QueryName

#: In the order in which rows refer to each other.
_DROPS: tuple[QueryName, ...] = (
    "drop_receipts_of_thread",
    "drop_outbox_of_thread",
    "drop_due_of_thread",
    "drop_decisions_of_thread",
    "drop_waits_of_thread",
    "drop_executions_of_thread",
    "drop_bypasses_of_thread",
    "drop_reassignments_of_thread",
    "drop_requests_of_thread",
    "drop_interrupts_of_thread",
    "drop_effects_of_thread",
    "drop_values_of_thread",
    "drop_writes_of_thread",
    "drop_frames_of_thread",
    "drop_checkpoints_of_thread",
    "drop_runs_of_thread",
    "drop_thread",
)
#: How many threads one look at the database names.
_PAGE = 100
#: Later than any run.
_ALWAYS = 1 << 62


@dataclass(frozen=True, slots=True)
class Retention:
    """Which finished threads go: those past either bound. A bound that is None or 0 is none."""

    #: Seconds since the end of the thread's last run.
    older_than: float | None = None
    #: How many are kept, those that ended last.
    keep: int | None = None

    def __post_init__(self) -> None:
        if (self.older_than or 0) < 0 or (self.keep or 0) < 0:
            raise ValueError("nothing was pruned: an age and a number of threads are 0 or more")


def drop_thread(thread_id: str, *, told_in: str) -> Iterable[Do]:
    """Yield the statements that forget a thread: runs, checkpoints, questions, requests, what was told.

    Of what people said the digest stays, and ``told_in``, the line of the journal that says that it went.
    """
    yield Do("forget_texts_of_thread", {"thread_id": thread_id, "erased_in": told_in})
    yield from (Do(name, {"thread_id": thread_id}) for name in _DROPS)


class Prunes:
    """Lets finished threads go."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def count(self, retention: Retention) -> int:
        """Return how many threads would go now."""
        due, _ = await self._look(retention)
        return due

    async def prune(self, retention: Retention, *, limit: int | None, actor: str | None) -> int:
        """Let threads go, the longest ended first, at most ``limit``; return how many went."""
        went, left = 0, _ALWAYS if limit is None else limit
        while left > 0:
            _, rows = await self._look(retention)
            for row in rows[:left]:
                went += await self._went(row, actor)
            left -= len(rows)
            if not rows:
                break
        return went

    async def _look(self, retention: Retention) -> tuple[int, list[Row]]:
        """Return how many threads are past a bound, and the first of them.

        The order is by age, so both bounds take from its front, and the further one holds. Counted and named
        in one snapshot: who prunes at the same time takes the same threads, never others in their place.
        """
        if not retention.older_than and not retention.keep:
            return 0, []
        before = 0
        if retention.older_than:
            before = self._ground.clock() - round(retention.older_than * SECOND)
        asks = [
            Ask("find_finished_threads", {"limit": _PAGE}),
            Ask("count_finished_threads", {"before": before}),
        ]
        if retention.keep:
            asks.append(Ask("count_finished_threads", {"before": _ALWAYS}))
        rows, aged, *every = await self._ground.store.read(*asks)
        due = int(aged[0]["count"])
        if retention.keep:
            due = max(due, int(every[0][0]["count"]) - retention.keep)
        return due, list(rows[:due])

    async def _went(self, row: Row, actor: str | None) -> bool:
        one: Params = {"thread_id": row["thread_id"]}
        line = self._ground.new_id("evt")
        pruned = records.put_event(
            line,
            "thread.pruned",
            self._ground.clock(),
            actor=actor,
            thread_id=row["thread_id"],
            run_id=row["run_id"],
            ended_at=row["updated_at"],
        )
        finished = Do("hold_finished_thread", {**one, "run_id": row["run_id"]}, guard="thread finished")
        held = (Do("lock_thread", one), finished)
        try:
            dropped = drop_thread(row["thread_id"], told_in=line)
            await self._ground.store.commit(Batch("prune", (*held, *dropped, pruned)))
        except Conflict:
            return False  # it goes on again, or somebody else was first
        return True
