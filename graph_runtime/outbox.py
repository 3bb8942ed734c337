"""What the outside world must be told: claimed under a lease, drawn from present state, told at least once.

An entry is done only when it was drawn at the revision that is wanted now; an old card can never win.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import records
from .clock import SECOND
from .errors import Conflict
from .plainjson import write_json
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
#: How long operators are told nothing more of a cause that they were told of.
ALARM_PACE = 60 * 60 * SECOND


@dataclass(frozen=True, slots=True)
class OperatorAlarm:
    """What the operators are told of an entry: once per cause and hour, however many entries it hits."""

    cause: str
    operators: tuple[str, ...]
    said: Mapping[str, Any]


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

    async def place_of(self, entry: OutboxEntry) -> Place | None:
        """Return where the entry landed; None when it did not, or nobody knows."""
        (rows,) = await self._store.read(Ask("get_receipt", {"entry_id": entry.id}))
        return records.read_place(rows[0]) if rows else None

    async def retry(
        self, entry: OutboxEntry, error: str, *, wait: int | None = None, redraw: bool = False
    ) -> None:
        """Give the entry back, to be tried after ``wait`` microseconds, or longer after each failure.

        With ``redraw`` the cards of its request are drawn anew before, which shows whether they still stand.
        """
        now = self._runtime.clock()
        if wait is None:
            wait = min(FIRST_WAIT * 2 ** min(entry.attempts - 1, 20), LONGEST_WAIT)
        params: Params = {
            **self._held(entry, now),
            "available_at": now + wait,
            "error": records.legible(error),
        }
        back = Do("retry_entry", params, guard="lease")
        drawn = Do("redraw_card", {"request_id": entry.request_id, "now": now})
        await self._store.commit(Batch("retry entry", (back, drawn) if redraw else (back,)))

    async def defer(self, entry: OutboxEntry, until: int) -> None:
        """Give the entry back untried, to be claimed from ``until`` on; it does not count as an attempt.

        The outbox's bell rings then.
        """
        now = self._runtime.clock()
        params: Params = {**self._held(entry, now), "available_at": until}
        await self._store.commit(Batch("defer entry", (Do("defer_entry", params, guard="lease"),)))
        asyncio.get_running_loop().call_later((until - now) / SECOND, self._runtime.outbox_bell.ring)

    async def park(self, entry: OutboxEntry, error: str, alarm: OperatorAlarm | None = None) -> None:
        """Stop trying, and say so in the journal: an operator must look at it, and is told by the alarm."""
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
        await self._store.commit(Batch("park entry", (parked, event, *self._ring(entry, alarm, now))))
        self._runtime.outbox_bell.ring()

    async def lose(
        self,
        entry: OutboxEntry,
        error: str,
        instead: Sequence[Mapping[str, Any]] = (),
        alarm: OperatorAlarm | None = None,
        *,
        run_id: str = "",
    ) -> None:
        """Give a card's place up: a click there is refused from then on, and new cards take its place.

        ``instead`` says of each of them where it goes. With none, and with ``run_id``, that of its request,
        another card must be left: raises :class:`~graph_runtime.errors.Conflict`, guard "another card", for
        the last one, which stays as it is.
        """
        now, error = self._runtime.clock(), records.legible(error)
        left: tuple[Do, ...] = ()
        if run_id and not instead:
            # The lock comes first: of two that are lost at once, each would wait for the other's row.
            others: Params = {"request_id": entry.request_id, "entry_id": entry.id}
            left = (
                Do("lock_run", {"run_id": run_id}),
                Do("hold_cards", others, guard="another card"),
            )
        lost = Do("lose_entry", {**self._held(entry, now), "error": error}, guard="lease")
        cards = tuple(
            Do(
                "put_entry",
                {
                    "entry_id": self._runtime.new_id("out"),
                    "kind": "card",
                    "request_id": entry.request_id,
                    "payload": write_json(dict(payload)),
                    "now": now,
                },
                guard="no such card",
            )
            for payload in instead
        )
        event = records.put_event(
            self._runtime.new_id("evt"),
            "card.lost",
            now,
            request_id=entry.request_id,
            entry=entry.id,
            error=error,
            instead=[str(payload.get("to") or payload.get("channel") or "") for payload in instead],
        )
        writes = (*left, lost, *cards, event, *self._ring(entry, alarm, now))
        await self._store.commit(Batch("lose card", writes))
        self._runtime.outbox_bell.ring()

    def _ring(self, entry: OutboxEntry, alarm: OperatorAlarm | None, now: int) -> tuple[Do, ...]:
        """Return what tells the operators in the same commit, if they were not told of this cause lately."""
        if alarm is None:
            return ()
        cause = f"alarm:{alarm.cause}"
        turn: Params = {"channel": cause, "now": now, "free_at": now + ALARM_PACE}
        told = (
            Do(
                "put_alarm",
                {
                    "entry_id": self._runtime.new_id("out"),
                    "request_id": entry.request_id,
                    "payload": write_json({**alarm.said, "what": "alarm", "to": operator}),
                    "cause": cause,
                    "free_at": now + ALARM_PACE,
                    "now": now,
                },
            )
            for operator in alarm.operators
        )
        return (Do("take_turn", turn), *told)

    async def look_again(self, surface: str, workspace: str, channel: str) -> None:
        """Have the cards of open requests in this channel drawn anew: something has happened to it."""
        at: Params = {"surface": surface, "workspace": workspace, "channel": channel}
        drawn = Do("redraw_cards_in_channel", {**at, "now": self._runtime.clock()})
        await self._store.commit(Batch("tell again", (drawn,)))
        self._runtime.outbox_bell.ring()

    async def troubled(self, limit: int = 100) -> list[OutboxEntry]:
        """Return entries that were given up (``parked``), and those that failed and are tried again."""
        (rows,) = await self._store.read(Ask("find_troubled", {"limit": limit}))
        return [records.read_entry(row) for row in rows]

    async def take_up(self, entry_id: str = "", *, actor: str | None) -> int:
        """Have an entry that was given up told after all, or every one; return how many there were."""
        now = self._runtime.clock()
        event = records.put_event(
            self._runtime.new_id("evt"), "outbox.taken_up", now, actor=actor, entry=entry_id or "all"
        )
        taken = Do("take_up_parked", {"entry_id": entry_id, "now": now}, guard="some were given up")
        try:
            rows, _ = await self._store.commit(Batch("tell again", (taken, event)))
        except Conflict:
            return 0
        self._runtime.outbox_bell.ring()
        return len(rows)

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
        """Return how many entries wait (``pending``), were given up (``parked``) or replaced (``lost``)."""
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
