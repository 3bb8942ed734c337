"""Runs author code again on what a run recorded: everything that it asks for is answered from the record.

Nothing is written and no effect is called: a task that wants what its record does not have is left there.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from . import records
from .beside import running_task
from .branching import choose
from .callers import Call, given_to
from .calls import RetryPolicy
from .divergence import Kept, same
from .errors import GraphInterrupt, NodeMisused
from .executor import (
    AnswerInvalid,
    Bubble,
    NodeFailed,
    TaskScope,
    current,
    run_task,
)
from .frames import Frame, called, read_writes
from .ground import Ground
from .plan import Chosen, Plan, Result, start_updates
from .storage import Ask, Do, Params, Row
from .stored import read_versions
from .types import GroupId, PersonId, Run, Task, TaskId

#: Sorts after every checkpoint id.
_NEWEST = "~"


class Unreadable(Exception):
    """A row of the record cannot be read: it was changed by another hand, or a class of the state was."""


class OffRecord(BaseException):
    """A task that runs again did what its record does not have, and is left there; nothing was done.

    A ``BaseException``, so that ``except Exception`` lets it pass.
    """


class NotRecorded(OffRecord):
    """What a task was given then is not on record, so nothing can be said of it."""


class Record:
    """Reads what one run left."""

    def __init__(self, ground: Ground, run: Run, plan: Plan, config: Mapping[str, Any], context: Any) -> None:
        self.ground = ground
        self.run = run
        self._codec = plan.codec
        self._call = Call(config=config, context=context)

    async def kept(self, plan: Plan, id_: str | None) -> Kept | None:
        """Return a checkpoint with values of its own; None when it is not there. Raises Unreadable."""
        if id_ is None:
            return None
        of_it = {"checkpoint_id": id_}
        rows, values, writes = await self.ground.store.read(
            Ask("get_checkpoint", of_it), Ask("get_values", of_it), Ask("get_writes", of_it)
        )
        if not rows:
            return None
        try:
            checkpoint = records.read_checkpoint(plan.codec, rows[0], values)
            results = read_writes(plan, checkpoint, writes)
            runs = {TaskId(row["task_id"]): str(row["run_id"]) for row in writes}
            kept = Kept(checkpoint, read_versions(rows[0]), results, runs)
        except Exception as error:
            raise Unreadable(f"checkpoint {id_}") from error
        if set(kept.versions) != set(checkpoint.values):
            raise Unreadable(f"the values of checkpoint {id_}")
        return kept

    async def where_it_ran(self, plan: Plan, kept: Kept, task: Task) -> Kept:
        """Return the checkpoint on whose values a finished task ran.

        An answer that comes with an update takes finished tasks along to a checkpoint with other values.
        """
        while kept.checkpoint.source == "update":
            before = await self.kept(plan, kept.checkpoint.parent_id)
            if before is None or task.id not in before.results:
                break
            kept = before
        return kept

    async def scope(self, plan: Plan, kept: Kept, task: Task, upto: str | None) -> TaskScope:
        """Return the scope in which a task runs again. Raises Unreadable.

        ``upto`` is the checkpoint that its step led to; None when others came between, which left nothing.
        """
        checkpoint = kept.checkpoint
        (effects,) = await self.ground.store.read(Ask("find_effects", {"task_id": task.id}))
        run_id = kept.runs.get(task.id, self.run.id)
        asked = await self._asked_in(run_id, kept.checkpoint.ns, task)
        try:
            questions = tuple(records.read_question(self._codec, row) for row in asked)
            recorded = {row["key"]: plan.codec.decode(row["value"]) for row in effects}
        except Exception as error:
            raise Unreadable(f"what task {task.id} asked and recorded") from error
        frame = Frame(checkpoint.ns, plan, checkpoint, kept.versions, {}, {})
        given = given_to(self._call, self.run, frame, task, checkpoint.created_at)
        host = _Host(self, recorded, upto)
        return TaskScope(plan, task, questions, given, host, checkpoint.ns, run_id)

    async def _asked_in(self, run_id: str, ns: str, task: Task) -> list[Row]:
        """Return what the task asked in that run, with its own answers: no other run is given them."""
        of_task: Params = {"thread_id": self.run.thread_id, "ns": ns, "task_id": task.id}
        (rows,) = await self.ground.store.read(Ask("find_questions_of_task", of_task))
        return [row for row in rows if row["run_id"] == run_id]


class _Host:
    """Answers a running task from the record alone."""

    def __init__(self, record: Record, effects: dict[str, Any], upto: str | None) -> None:
        self._record = record
        self._effects = effects
        self._upto = upto
        #: Why the task was left, also when it caught that and went on.
        self.left: OffRecord | None = None

    async def effects_of(self, scope: TaskScope) -> dict[str, Any]:
        return self._effects

    async def keep_effect(
        self,
        scope: TaskScope,
        key: str,
        name: str,
        value: Any,
        *,
        told: Mapping[str, Any] | None = None,
        also: Sequence[Do] = (),
    ) -> NoReturn:
        await self.barrier()

    async def write(self, scope: TaskScope, writes: Sequence[Do], *, told: Mapping[str, Any]) -> NoReturn:
        await self.barrier()

    async def attempt(self, scope: TaskScope, writes: Sequence[Do], *, told: Mapping[str, Any]) -> NoReturn:
        await self.barrier()

    async def read(self, *asks: Ask) -> Sequence[Sequence[Row]]:
        """Return what stands in the store: what was done once stands there for good."""
        return await self._record.ground.store.read(*asks)

    async def reviewer(self, person: PersonId, groups: Collection[GroupId]) -> NoReturn:
        """Leave the task: who somebody is now says nothing about then."""
        self._leave(OffRecord("wanted to know who somebody is now"))

    def now(self) -> int:
        """Return the time of the present clock; nothing of it is written."""
        return self._record.ground.clock()

    async def barrier(self) -> NoReturn:
        """Leave the task: whoever waits for the disk is about to do what cannot be undone."""
        self._leave(OffRecord("wanted to run what is not in its record"))

    async def retrying(self) -> None:
        """Count nothing: what a retry costs was paid then."""

    def spend(self, scope: TaskScope, name: str, amount: float) -> None:
        """Take nothing: it was taken then."""

    async def subgraph(
        self,
        scope: TaskScope,
        plan: Plan,
        given: Any,
        *,
        memory: bool | None,
        config: Mapping[str, Any] | None = None,
        context: Any = None,
    ) -> Any:
        """Return what the graph came to then, if it is given the same input; none of its nodes runs."""
        record, ns = self._record, called(scope, memory=memory)
        if memory is True and self._upto is None:
            self._leave(NotRecorded("its subgraph kept only its last state"))
        newest: Params = {
            "thread_id": record.run.thread_id,
            "ns": ns,
            "before": self._upto or _NEWEST,
            "limit": 1,
        }
        (rows,) = await record.ground.store.read(Ask("find_thread_checkpoints", newest))
        if not rows:
            self._leave(OffRecord("called a graph that it did not call then"))
        try:
            end = begun = await record.kept(plan, rows[0]["checkpoint_id"])
            while begun is not None and begun.checkpoint.source != "input":
                begun = await record.kept(plan, begun.checkpoint.parent_id)
        except Unreadable as damaged:
            self._leave(NotRecorded(f"{damaged} cannot be read"))
        if end is None or end.checkpoint.due:
            # Its node caught the failure, or a Command spoke past it for the graph around.
            self._leave(NotRecorded("its subgraph did not come to its end"))
        taken = [list(update) for update in start_updates(plan, given)]
        if begun is not None and not same(plan.codec, taken, [list(u) for u in begun.checkpoint.due[0].arg]):
            self._leave(OffRecord("gave its subgraph another input"))
        return plan.result(end.checkpoint.values)

    def _leave(self, why: OffRecord) -> NoReturn:
        self.left = self.left or why
        raise why


async def run_again(plan: Plan, values: Mapping[str, Any], scope: TaskScope) -> Result | BaseException:
    """Return what the node returns and its branches choose this time, or what it raised or was left by."""
    outcome: Any
    try:
        outcome = await run_task(_at_once(plan, scope.task.node), values, scope)
    except NodeFailed as failed:
        outcome = failed.error
    except (OffRecord, Bubble, NodeMisused, AnswerInvalid) as error:
        outcome = error
    return _left(scope) or outcome


async def choose_again(
    plan: Plan, result: Result, values: Mapping[str, Any], scope: TaskScope
) -> tuple[Chosen, ...] | BaseException:
    """Return what the branches that leave a finished task choose this time, or what they raised."""
    outcome: tuple[Chosen, ...] | BaseException
    token = current.set(scope)
    scope.home = running_task()
    try:
        outcome = await choose(plan, result, copy.deepcopy(dict(values)), scope.given)
    except (Exception, SystemExit, GraphInterrupt, OffRecord) as error:  # noqa: BLE001 - branches are the author's
        outcome = error
    finally:
        scope.ended = True
        current.reset(token)
    return _left(scope) or outcome


def _left(scope: TaskScope) -> OffRecord | None:
    """Return why a task was left, also when the author's code caught that."""
    assert isinstance(scope.host, _Host)
    if scope.host.left is not None:
        return scope.host.left
    return OffRecord("asked what has no answer in its record") if scope.asked else None


def _at_once(plan: Plan, name: str) -> Plan:
    """Return the plan with the node's retries made without waiting: what they waited for has passed."""
    node = plan.nodes[name]
    care = dataclasses.replace(node.care, retries=_without_waiting(node.care.retries))
    calm = dataclasses.replace(node, care=care, handler_retries=_without_waiting(node.handler_retries))
    return dataclasses.replace(plan, nodes={**plan.nodes, name: calm})


def _without_waiting(retries: Iterable[RetryPolicy]) -> tuple[RetryPolicy, ...]:
    return tuple(one._replace(initial_interval=0.0, jitter=False) for one in retries)
