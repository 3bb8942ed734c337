"""Wakes what waits for a time or the end of a freeze, and keeps the freezes themselves.

Time is looked at each second; correctness needs no more: a wait that is rung twice is answered once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from . import records
from .clock import SECOND
from .errors import Conflict, Refused
from .plainjson import read_json, write_json
from .runtime import Runtime
from .storage import Ask, Batch, Do, Params, Row
from .texts import spoken
from .types import InterruptId
from .waiting import request_of

#: How many people lift a freeze.
RELEASERS = 2
_PAGE = 50
#: How often those who wait for the end of a freeze are looked at though nothing has changed.
LOOK_AGAIN = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Freeze:
    """Nothing of this scope is carried out: ``all``, ``graph:NAME`` or ``action:NAME``."""

    scope: str
    by: str
    #: What whoever began it gave as the reason, or what is left of that once it is erased.
    reason: str
    since: int
    #: Who agreed to its end.
    released_by: tuple[str, ...] = ()


class Alarms:
    """Answers the questions that no person is asked."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store = runtime.store
        #: The freezes that held when those who wait for their end were looked at, and which requests were let
        #: through which of them; and when to look again.
        self._held: tuple[set[tuple[str, int]], set[tuple[str, str, int]]] | None = None
        self._look_again = 0

    async def ring_due(self, limit: int = _PAGE) -> bool:
        """Wake the runs whose time has come, at most ``limit``; True when there were any."""
        due: Params = {"now": self._runtime.clock(), "limit": limit}
        (rows,) = await self._store.read(Ask("find_due_waits", due))
        for row in rows:
            await self._ring(row, "time.came")
        return bool(rows)

    async def freezes(self) -> list[Freeze]:
        """Return the freezes that hold."""
        (rows,) = await self._store.read(Ask("find_freezes"))
        return [_read(row) for row in rows]

    async def freeze(self, scope: str, *, by: str, reason: str) -> None:
        """Let nothing of the scope be carried out from now on; what runs at this moment runs to its end.

        Raises :class:`Refused` for a scope of another form, without a reason, or one that is frozen already.
        """
        if scope != "all" and not (scope.startswith(("graph:", "action:")) and scope.partition(":")[2]):
            raise Refused("INVALID_INPUT", "nothing was frozen: all, graph:NAME or action:NAME was expected")
        if not reason.strip():
            raise Refused("REASON_REQUIRED", "nothing was frozen: say why")
        now = self._runtime.clock()
        why = spoken(self._runtime.new_id("evt"), by, reason, now)
        put: Params = {"scope": scope, "frozen_by": by, "text_id": why.text_id, "now": now}
        event = records.put_event(why.line, "freeze.began", now, actor=by, scope=scope, **why.told)
        try:
            began = Do("put_freeze", put, guard="is not frozen")
            frozen = (began, *why.writes, self._redrawn(scope, now), event)
            await self._store.commit(Batch("freeze", frozen))
        except Conflict:
            raise Refused("NOT_PENDING", f"nothing was changed: {scope} is frozen already") from None
        self._runtime.outbox_bell.ring()

    async def release(self, scope: str, *, by: str) -> Freeze | None:
        """Agree to the end of a freeze; the second person ends it, and what waited goes on.

        Returns the freeze while it holds still, None once it has ended. Raises :class:`Refused` for a scope
        that is not frozen, and for whoever has agreed before.
        """
        while True:
            found = [freeze for freeze in await self.freezes() if freeze.scope == scope]
            if not found:
                raise Refused("NOT_PENDING", f"nothing was changed: {scope} is not frozen")
            freeze = found[0]
            if by in freeze.released_by:
                raise Refused("ALREADY_VOTED", "you have agreed already; somebody else must agree as well")
            agreed = (*freeze.released_by, by)
            over = len(agreed) >= RELEASERS
            try:
                await self._store.commit(Batch("release", self._releasing(freeze, agreed, by, over=over)))
            except Conflict:
                continue
            if not over:
                return Freeze(freeze.scope, freeze.by, freeze.reason, freeze.since, agreed)
            await self.ring_released()
            self._runtime.outbox_bell.ring()
            return None

    def _releasing(self, freeze: Freeze, agreed: tuple[str, ...], by: str, *, over: bool) -> tuple[Do, ...]:
        of: Params = {"scope": freeze.scope, "before": write_json(list(freeze.released_by))}
        now, kind = self._runtime.clock(), "freeze.ended" if over else "freeze.release_agreed"
        event = records.put_event(self._runtime.new_id("evt"), kind, now, actor=by, scope=freeze.scope)
        if not over:
            agreeing = {**of, "released_by": write_json(list(agreed))}
            return Do("agree_to_release", agreeing, guard="freeze is as it was"), event
        lasted: Params = {"scope": freeze.scope, "since": freeze.since, "now": now}
        return (
            Do("drop_freeze", of, guard="freeze is as it was"),
            # Where another freeze still holds, its own end moves the deadlines.
            Do("shift_due", lasted),
            Do("shift_deadlines", lasted),
            self._redrawn(freeze.scope, now),
            event,
        )

    def _redrawn(self, scope: str, now: int) -> Do:
        return Do("redraw_cards_of_scope", {"scope": scope, "now": now})

    async def ring_released(self) -> bool:
        """Wake every run that waits for the end of a freeze which has ended; True when there were any.

        And those whose request enough people let through it. They are looked at when that or the freezes have
        changed, and each minute: a run may have come to rest just after its freeze ended, and whoever ended
        one may have died before it rang.
        """
        freezes, bypassed = await self._store.read(Ask("find_freezes"), Ask("find_bypassed"))
        holds = {(row["scope"], row["since"]) for row in freezes}
        passed = {(row["request_id"], row["scope"], row["since"]) for row in bypassed}
        now = self._runtime.clock()
        if (holds, passed) == self._held and now < self._look_again:
            return False
        rung, after = False, ""
        while rows := await self._frozen(after):
            for row in rows:
                after = row["interrupt_id"]
                waits = holds & set(read_json(row["value"])["scopes"].items())
                request_id = request_of(row["key"])
                if all((request_id, *freeze) in passed for freeze in waits):
                    await self._ring(row, "freeze.over")
                    rung = True
        self._held, self._look_again = (holds, passed), now + LOOK_AGAIN
        return rung

    async def _frozen(self, after: str) -> Sequence[Row]:
        (rows,) = await self._store.read(Ask("find_frozen_waits", {"after": after, "limit": _PAGE}))
        return rows

    async def _ring(self, row: Row, kind: str) -> None:
        """Answer one wait. One that was answered otherwise waits no more; who loses a race looks again."""
        if row["status"] != "open":
            gone = Do("drop_wait", {"interrupt_id": row["interrupt_id"]})
            await self._store.commit(Batch("drop wait", (gone,)))
            return
        run = await self._runtime.get(row["run_id"])
        now, answers = self._runtime.clock(), self._runtime.answers
        event = records.put_event(
            self._runtime.new_id("evt"),
            kind,
            now,
            thread_id=run.thread_id,
            run_id=run.id,
            interrupt=row["interrupt_id"],
        )
        # The card says until when its run waits, and of a gate that was frozen, that it is.
        drawn = Do("redraw_last_card_of_run", {"run_id": run.id, "now": now})
        if kind == "freeze.over" and (gate := request_of(row["key"])) is not None:
            drawn = Do("redraw_card", {"request_id": gate, "now": now})
        writes = (
            answers.wake(run),
            answers.answer(run, InterruptId(row["interrupt_id"]), "null", None, now),
            Do("drop_wait", {"interrupt_id": row["interrupt_id"]}),
            drawn,
            event,
        )
        with contextlib.suppress(Conflict):
            await self._runtime.ground.commit_waking(Batch("ring", writes), run)


def _read(row: Row) -> Freeze:
    return Freeze(
        row["scope"],
        row["frozen_by"],
        records.said_of(row) or "",
        row["since"],
        tuple(read_json(row["released_by"])),
    )
