"""What the outside world must be told: claimed under a lease, drawn from present state, told at least once.

An entry is done only when it was drawn at the revision that is wanted now; an old card can never win.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from . import records
from .clock import SECOND
from .runtime import Runtime
from .storage import Ask, Batch, Do, Params
from .types import OutboxEntry, Place

#: Longer than any call to the outside may take.
LEASE = 30 * SECOND
#: A courier that was overtaken may have a call under way; the card is drawn once more after it must be over.
REDRAW_AFTER = 15 * SECOND
#: First wait after a failure; doubles up to LONGEST_WAIT.
FIRST_WAIT = 1 * SECOND
LONGEST_WAIT = 5 * 60 * SECOND


class Outbox:
    """The courier's view of the outbox."""

    def __init__(self, runtime: Runtime, *, lease: int = LEASE) -> None:
        #: Microseconds for which a claimed entry is nobody else's.
        self.lease = lease
        self._runtime = runtime
        self._store = runtime.store

    async def claim(self) -> OutboxEntry | None:
        """Take the next entry that may be told now, under a lease; None when there is nothing.

        Entries of one request come in order. ``attempts`` above 1 or ``overtaken`` mean that an earlier
        delivery may have landed without its receipt.
        """
        now = self._runtime.clock()
        params: Params = {"owner": self._runtime.owner, "until": now + self.lease, "now": now}
        (rows,) = await self._store.commit(Batch("claim entry", (Do("claim_entry", params),)))
        return records.read_entry(rows[0]) if rows else None

    async def landed(self, entry: OutboxEntry, place: Place | None) -> None:
        """Record that the entry was told, and where its message lies when it is a new one.

        Raises LeaseLost-like :class:`~graph_runtime.errors.Conflict` when another courier has it by now.
        """
        now = self._runtime.clock()
        receipt = []
        if place is not None:
            receipt.append(
                Do(
                    "put_receipt",
                    {
                        "entry_id": entry.id,
                        "request_id": entry.request_id,
                        "kind": entry.kind,
                        "surface": place.surface,
                        "app": place.app,
                        "workspace": place.workspace,
                        "channel": place.channel,
                        "message": place.message,
                        "now": now,
                    },
                )
            )
        held: Params = {**self._held(entry, now), "drawn": entry.wanted}
        # A line never changes: told again, as an overtaken card is, it would stand twice.
        if entry.overtaken and entry.kind == "card":
            done = Do("complete_entry_again", {**held, "again_at": now + REDRAW_AFTER}, guard="lease")
        else:
            done = Do("complete_entry", held, guard="lease")
        await self._store.commit(Batch("receipt", (*receipt, done)))

    async def retry(self, entry: OutboxEntry, error: str, *, wait: int | None = None) -> None:
        """Give the entry back, to be tried after ``wait`` microseconds, or longer after each failure."""
        now = self._runtime.clock()
        if wait is None:
            wait = min(FIRST_WAIT * 2 ** min(entry.attempts - 1, 20), LONGEST_WAIT)
        params: Params = {
            **self._held(entry, now),
            "available_at": now + wait,
            "error": records.legible(error),
        }
        await self._store.commit(Batch("retry entry", (Do("retry_entry", params, guard="lease"),)))

    async def defer(self, entry: OutboxEntry, until: int) -> None:
        """Give the entry back untried, to be claimed from ``until`` on; it does not count as an attempt.

        The outbox's bell rings then.
        """
        now = self._runtime.clock()
        params: Params = {**self._held(entry, now), "available_at": until}
        await self._store.commit(Batch("defer entry", (Do("defer_entry", params, guard="lease"),)))
        asyncio.get_running_loop().call_later((until - now) / SECOND, self._runtime.outbox_bell.ring)

    async def park(self, entry: OutboxEntry, error: str) -> None:
        """Stop trying, and say so in the journal: an operator must look at it."""
        now, error = self._runtime.clock(), records.legible(error)
        event = records.put_event(
            self._runtime.new_id("evt"),
            "outbox.parked",
            now,
            request_id=entry.request_id,
            entry=entry.id,
            error=error,
        )
        parked = Do("park_entry", {**self._held(entry, now), "error": error}, guard="lease")
        await self._store.commit(Batch("park entry", (parked, event)))

    async def take_turn(self, channel: str, pace: int) -> int | None:
        """Take the channel's turn to be told something new, or return when the next turn may be had.

        Whatever process asks, a channel has one turn in ``pace`` microseconds.
        """
        now = self._runtime.clock()
        turn: Params = {"channel": channel, "now": now, "free_at": now + pace}
        (taken,) = await self._store.commit(Batch("turn", (Do("take_turn", turn),)))
        if taken:
            return None
        (rows,) = await self._store.read(Ask("get_turn", {"channel": channel}))
        return int(rows[0]["free_at"])

    async def count(self) -> Mapping[str, int]:
        """Return how many entries wait (``pending``) or were given up (``parked``)."""
        (rows,) = await self._store.read(Ask("count_outbox"))
        return {row["status"]: row["count"] for row in rows}

    def _held(self, entry: OutboxEntry, now: int) -> dict[str, str | int | None]:
        return {
            "entry_id": entry.id,
            # Attempts count anew after each delivery: only with the lease's end do they name one claim.
            "owner": self._runtime.owner,
            "lease": entry.lease_until,
            "attempts": entry.attempts,
            "now": now,
        }
