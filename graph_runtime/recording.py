"""What is written for running tasks beside their steps: effects and uses of grants, under the run's lease."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from . import records
from .errors import StoreError
from .executor import TaskScope
from .ground import Ground
from .ledger import Durability, Ledger
from .storage import Ask, Do, Params, Row
from .types import Actor, GroupId, PersonId, Reviewer, Run


class Recording:
    """Writes for the tasks of one claimed run."""

    def __init__(self, ground: Ground, run: Run, durability: Durability) -> None:
        self.ground = ground
        self.run = run
        self.ledger = Ledger(ground, durability, self._hold)

    def _hold(self) -> Do:
        until = self.ground.clock() + self.ground.lease
        return Do("hold_run", {**self.ground.fence(self.run), "until": until}, guard="lease")

    async def effects_of(self, scope: TaskScope) -> dict[str, Any]:
        """Return what earlier executions of this task recorded, by key."""
        try:
            if scope.attempts > 1:
                await self.barrier()  # what the attempt before recorded when it was stopped
            (rows,) = await self.ground.store.read(Ask("find_effects", {"task_id": scope.task.id}))
        except StoreError as error:
            # Away, not wrong: a node that sees this error must not make its run fail of it.
            self.ledger.broken = error
            raise
        return {row["key"]: scope.plan.codec.decode(row["value"]) for row in rows}

    async def keep_effect(
        self,
        scope: TaskScope,
        key: str,
        name: str,
        value: Any,
        *,
        told: Mapping[str, Any] | None = None,
        also: Sequence[Do] = (),
    ) -> Any:
        """Record an effect, and with it a line of the journal, so that both are on disk."""
        text, run, now = scope.plan.codec.encode(value), self.run, self.ground.clock()
        effect: Params = {"task_id": scope.task.id, "key": key, "name": name, "run_id": run.id}
        writes = [
            self._hold(),
            Do("put_effect", {**effect, "value": text, "now": now}, "effect is new"),
            *also,
        ]
        if told is not None:
            writes.append(self._line(told))
        # With all that was before it: of the run itself nothing may be on disk yet.
        await self.ledger.commit("effect", writes, at_once=True, beside=True)
        return scope.plan.codec.decode(text)

    async def write(self, scope: TaskScope, writes: Sequence[Do], *, told: Mapping[str, Any]) -> None:
        """Write this under the run's lease, with a line of the journal; on disk when this returns."""
        await self.ledger.commit("gate", [self._hold(), *writes, self._line(told)], at_once=True, beside=True)

    async def attempt(self, scope: TaskScope, writes: Sequence[Do], *, told: Mapping[str, Any]) -> bool:
        """Write as :meth:`write`; when a guard of ``writes`` fails, write nothing and return False."""
        return await self.ledger.attempt("gate", [self._hold(), *writes, self._line(told)])

    async def read(self, *asks: Ask) -> Sequence[Sequence[Row]]:
        """Return what stands in the store, from one snapshot."""
        try:
            return await self.ground.store.read(*asks)
        except StoreError as error:
            self.ledger.broken = error
            raise

    async def reviewer(self, person: PersonId, groups: Collection[GroupId]) -> Reviewer:
        """Return who this is now, with those of the groups they are in; what cannot be learned is said."""
        if self.ground.directory is None:
            return Reviewer(person, unknown=frozenset(groups), kind="unknown")
        return await self.ground.directory.reviewer(Actor(person), groups)

    def now(self) -> int:
        """Return the time of the clock that the run goes by."""
        return self.ground.clock()

    def _line(self, told: Mapping[str, Any]) -> Do:
        ids = {"thread_id": self.run.thread_id, "run_id": self.run.id}
        return records.put_event(self.ground.new_id("evt"), now=self.ground.clock(), **{**told, **ids})

    async def barrier(self) -> None:
        """Return when everything before this moment is on disk."""
        await self.ledger.barrier()
