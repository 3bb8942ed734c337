"""Takes a claimed run step by step to its next pause or its end, one guarded batch after each step.

It has never heard of approvals: a companion may join its own statements to the batch of a pause or an end.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import records
from .clock import SECOND, Bell, Clock, NewId
from .companions import Companion, EndFacts, PauseFacts
from .errors import (
    Conflict,
    GraphChanged,
    GraphRecursionError,
    LeaseLost,
    NodeMisused,
    StoreError,
    UnknownGraph,
    UnknownRun,
)
from .executor import NodeFailed, Paused, TaskScope, first_leaf, run_tasks
from .plan import After, Plan, Result, after_step
from .storage import Ask, Batch, Do, Params, QueryName, Row, Store
from .types import (
    START,
    Checkpoint,
    CheckpointId,
    CheckpointSource,
    Interrupt,
    InterruptId,
    Question,
    Run,
    RunId,
    RunStatus,
    Task,
    TaskId,
    ThreadId,
)

#: How often one task may ask something else than before in place of its question.
MAX_CHANGES = 3


@dataclass(slots=True)
class Position:
    """Where a claimed run stands, while it is driven."""

    run: Run
    plan: Plan
    checkpoint: Checkpoint
    versions: dict[str, CheckpointId]
    fingerprints: Mapping[str, str]
    saved: dict[TaskId, Result]
    questions: tuple[Question, ...]

    def asked_by(self, task: Task) -> tuple[Question, ...]:
        return tuple(q for q in self.questions if q.task_id == task.id)

    def may_run(self, task: Task) -> bool:
        """Say whether the task has not finished, and has an answer to go on with or asked nothing yet."""
        if task.id in self.saved:
            return False
        asked = self.asked_by(task)
        return not any(q.status == "open" for q in asked) or any(
            q.status == "answered" and q.delivered_at is None for q in asked
        )


class Advance:
    """Drives claimed runs. ``plans`` are found by name each time; ``owner`` stands in every lease."""

    def __init__(
        self,
        store: Store,
        plans: Mapping[str, Plan],
        companions: Sequence[Companion],
        *,
        clock: Clock,
        new_id: NewId,
        owner: str,
        lease: int,
    ) -> None:
        self.store = store
        self.clock = clock
        self.new_id = new_id
        self.owner = owner
        #: Rings when a run may be claimed; rings when there may be something to tell.
        self.runs_bell, self.outbox_bell = Bell(), Bell()
        self._plans = plans
        self._companions = tuple(companions)
        self._lease = lease
        self._fingerprints: dict[tuple[str, str, str], str] = {}

    def plan_of(self, run: Run) -> Plan:
        """Return the plan that serves this run. Raises :class:`UnknownGraph`."""
        plan = self._plans.get(f"{run.graph}@{run.version}") or self._plans.get(run.graph)
        if plan is None:
            raise UnknownGraph(
                f"run {run.id!r} was left alone: its graph {run.graph!r} is not registered here"
            )
        return plan

    def _fingerprint(self, plan: Plan, node: str) -> str:
        key = (plan.name, plan.version, node)
        known = self._fingerprints.get(key)
        if known is None:
            known = self._fingerprints[key] = plan.fingerprint(node)[7:31]
        return known

    def position(
        self, run: Run, head: Row, values: Sequence[Row], writes: Sequence[Row], questions: Sequence[Row]
    ) -> Position:
        """Return where a run stands, from the rows of :func:`asks_of`."""
        plan = self.plan_of(run)
        checkpoint = records.read_checkpoint(plan.codec, head, records.read_values(plan.codec, values))
        tasks = {task.id: task for task in checkpoint.due}
        saved = {
            TaskId(row["task_id"]): records.read_result(plan.codec, tasks[row["task_id"]], row["value"])
            for row in writes
        }
        asked = tuple(records.read_question(plan.codec, row) for row in questions)
        return Position(run, plan, checkpoint, read_versions(head), _fingerprints(head), saved, asked)

    # -- what workers do -----------------------------------------------------------------------------

    async def claim(self) -> Run | None:
        """Take the oldest queued run, or one whose lease lapsed; at most one worker gets it. None: no run."""
        now = self.clock()
        params: Params = {"owner": self.owner, "until": now + self._lease, "now": now}
        (rows,) = await self.store.commit(Batch("claim", (Do("claim_run", params),)))
        return records.read_run(rows[0]) if rows else None

    async def advance(self, run_id: str) -> Run:
        """Claim this run if it can be claimed, drive it until it rests, and return it.

        Raises :class:`UnknownRun`; returns the run unchanged when there is nothing to do.
        """
        now = self.clock()
        params: Params = {"owner": self.owner, "until": now + self._lease, "now": now, "run_id": run_id}
        (rows,) = await self.store.commit(Batch("claim", (Do("claim_this_run", params),)))
        return await self.drive(records.read_run(rows[0])) if rows else await self.get(run_id)

    async def get(self, run_id: str) -> Run:
        """Return the run. Raises :class:`UnknownRun`."""
        (rows,) = await self.store.read(Ask("get_run", {"run_id": run_id}))
        if not rows:
            raise UnknownRun(f"there is no run {run_id!r}")
        return records.read_run(rows[0])

    async def drive(self, run: Run) -> Run:
        """Take a claimed run step by step to its next pause or its end; return it as it rests then.

        Raises :class:`LeaseLost` when another worker has it, or it was cancelled; what was not committed
        by then never happened. When the caller is cancelled, the run goes back into the queue.
        """
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(self._keep(run), name=f"lease of {run.id}")
                await self._drive(run)
                keeper.cancel()
        except BaseExceptionGroup as failed:
            raise first_leaf(failed) from None
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(run))
            raise
        return await self.get(run.id)

    async def _keep(self, run: Run) -> None:
        """Renew the lease each third of its length; raise LeaseLost, which stops the nodes, if it is gone."""
        while True:
            await asyncio.sleep(self._lease / SECOND / 3)
            until = self.clock() + self._lease
            hold = Do("hold_run", {**self._fence(run), "until": until}, guard="lease")
            await self._commit_leased(Batch("hold", (hold,)))

    async def _give_back(self, run: Run) -> None:
        await self.store.commit(Batch("give back", (Do("give_back_run", self._fence(run)),)))

    def _fence(self, run: Run) -> dict[str, str | int]:
        return {"run_id": run.id, "epoch": run.epoch, "owner": self.owner}

    async def _commit_leased(self, batch: Batch) -> None:
        try:
            await self.store.commit(batch)
        except Conflict as conflict:
            if conflict.guard in {"lease", "the step is new"}:
                raise LeaseLost(conflict.guard, batch.name) from conflict
            raise

    async def _drive(self, run: Run) -> None:
        try:
            at = await self._load(run)
            while await self._step(at):
                pass
        except (StoreError, UnknownGraph):
            # The database failed, not the node, or another process knows the graph: the lease lapses and the
            # run is taken up again from where it was last committed.
            raise
        except (NodeMisused, GraphChanged) as error:
            await self._end(run, "needs_attention", error)
        except NodeFailed as failed:
            await self._end(run, "failed", failed.error)
        except Exception as error:  # noqa: BLE001 - a node may raise anything; the run keeps it
            await self._end(run, "failed", error)

    async def _load(self, run: Run) -> Position:
        _, head, values, writes, questions = await self.store.read(*asks_of(run.id))
        at = self.position(run, head[0], values, writes, questions)
        for task in at.checkpoint.due:
            if task.node == START:
                continue
            now = self._fingerprint(at.plan, task.node) if task.node in at.plan.nodes else "no such node"
            if at.fingerprints.get(task.node, now) != now:
                raise GraphChanged(
                    f"run {run.id!r} was not advanced: node {task.node!r} of graph {run.graph!r} is not the "
                    "node that this run stopped at (its name, keys, edges or version changed); register the "
                    "old graph beside the new one, or cancel the run"
                )
        return at

    async def _step(self, at: Position) -> bool:
        """Run the present step; commit where it leads. False when the run rests."""
        due = [task for task in at.checkpoint.due if at.may_run(task)]
        if at.run.steps_taken >= at.run.max_steps:
            raise GraphRecursionError(
                f"run {at.run.id!r} stopped after {at.run.steps_taken} steps, its limit; what it did so far "
                "is kept. Start it with a higher max_steps if it is meant to go on that long"
            )
        scopes = [TaskScope(at.plan, task, at.asked_by(task), self._config(at, task)) for task in due]

        async def save(result: Result) -> None:
            # The only task that is left needs no write of its own: its checkpoint follows at once.
            if len(at.checkpoint.due) - len(at.saved) > 1 or len(due) > 1:
                await self._save(at, result)

        outcomes = await run_tasks(at.plan, at.checkpoint.values, scopes, settled=save)
        ran = {task.id for task in due}
        waiting = [task for task in at.checkpoint.due if task.id not in at.saved and task.id not in ran]
        paused = [outcome for outcome in outcomes if isinstance(outcome, Paused)]
        if paused or waiting:
            await self._pause(at, ran, paused)
            return False
        results = [*at.saved.values()]
        results += [o for o in outcomes if isinstance(o, Result) and o.task.id not in at.saved]
        return await self._merge(at, results)

    def _config(self, at: Position, task: Task) -> Mapping[str, Any]:
        return {
            "configurable": {
                "thread_id": at.run.thread_id,
                "run_id": at.run.id,
                "checkpoint_id": at.checkpoint.id,
                "task_id": task.id,
            },
            "metadata": {"graph": at.run.graph, "node": task.node, "step": at.checkpoint.step + 1},
        }

    async def _save(self, at: Position, result: Result) -> None:
        """Save what one task returned while its siblings still run, so that it is never run again."""
        now = self.clock()
        hold = Do("hold_run", {**self._fence(at.run), "until": now + self._lease}, guard="lease")
        await self._commit_leased(Batch("task", (hold, self._put_write(at, result, now))))
        at.saved[result.task.id] = result

    def _put_write(self, at: Position, result: Result, now: int) -> Do:
        return Do(
            "put_write",
            {
                "checkpoint_id": at.checkpoint.id,
                "task_id": result.task.id,
                "value": records.write_result(at.plan.codec, result),
                "now": now,
            },
        )

    async def _pause(self, at: Position, ran: set[TaskId], paused: Sequence[Paused]) -> None:
        now, run = self.clock(), at.run
        known = {q.interrupt.id for q in at.questions}
        opened = tuple((i, p.task) for p in paused for i in p.interrupts if i.id not in known)
        stale = tuple(id_ for p in paused for id_ in p.superseded)
        for one in paused:
            changes = sum(q.status == "superseded" for q in at.asked_by(one.task)) + len(one.superseded)
            if changes > MAX_CHANGES:
                raise NodeMisused(
                    f"node {one.task.node!r} asked something else than before {changes} times; put what "
                    "changes (a clock, a model's words) into the state before the node that asks"
                )
        facts = PauseFacts(run, at.plan, opened, stale, now, self.new_id)
        batch = Batch(
            "pause",
            (
                Do("hold_run", {**self._fence(run), "until": now + self._lease}, guard="lease"),
                *(do for id_ in stale for do in self._superseding(run, id_, now)),
                *(self._put_interrupt(at, i, task, now) for i, task in opened),
                *(do for companion in self._companions for do in companion.on_pause(facts)),
                *self._delivering(at, ran | at.saved.keys(), now),
                Do("rest_run", {"run_id": run.id, "now": now}),
                records.put_event(
                    self.new_id("evt"),
                    "run.interrupted",
                    now,
                    thread_id=run.thread_id,
                    run_id=run.id,
                    step=at.checkpoint.step,
                    interrupts=[i.id for i, _ in opened],
                ),
            ),
        )
        await self._commit_leased(batch)
        self.outbox_bell.ring()
        self.runs_bell.ring()

    def _delivering(self, at: Position, tasks: Collection[TaskId], now: int) -> Iterable[Do]:
        for q in at.questions:
            if q.task_id in tasks and q.status == "answered" and q.delivered_at is None:
                yield Do("deliver_interrupt", {"interrupt_id": q.interrupt.id, "now": now})

    def _superseding(self, run: Run, interrupt_id: InterruptId, now: int) -> tuple[Do, ...]:
        return (
            Do("supersede_interrupt", {"interrupt_id": interrupt_id}),
            records.put_event(
                self.new_id("evt"),
                "interrupt.superseded",
                now,
                thread_id=run.thread_id,
                run_id=run.id,
                interrupt=interrupt_id,
            ),
        )

    def _put_interrupt(self, at: Position, asked: Interrupt, task: Task, now: int) -> Do:
        return Do(
            "put_interrupt",
            {
                "interrupt_id": asked.id,
                "thread_id": at.run.thread_id,
                "run_id": at.run.id,
                "checkpoint_id": at.checkpoint.id,
                "task_id": task.id,
                "node": task.node,
                "step": at.checkpoint.step,
                "key": asked.key,
                "occurrence": asked.occurrence,
                "value": at.plan.codec.encode(asked.value),
                "digest": asked.digest,
                "now": now,
            },
        )

    async def _merge(self, at: Position, results: Sequence[Result]) -> bool:
        before, run, now = at.checkpoint, at.run, self.clock()
        step = before.step + 1
        after = after_step(
            at.plan,
            run.id,
            step + 1,
            values=before.values,
            joins=before.joins,
            held=before.held,
            results=results,
        )
        checkpoint, writes, versions = self.checkpoint(
            at.plan, run.thread_id, run.id, before.id, step, "loop", after, before.values, at.versions, now
        )
        moved = {
            **self._fence(run),
            "head": checkpoint.id,
            "step": step,
            "until": now + self._lease,
            "now": now,
        }
        ended = not after.due
        # A finished task asks nothing any more: nobody may answer what no node waits for.
        stale = tuple(q.interrupt.id for q in at.questions if q.status == "open")
        facts = PauseFacts(run, at.plan, (), stale, now, self.new_id)
        batch = Batch(
            "finish" if ended else "step",
            (
                Do("step_run", moved, guard="lease"),
                *writes,
                *(do for id_ in stale for do in self._superseding(run, id_, now)),
                *(do for companion in self._companions if stale for do in companion.on_pause(facts)),
                *self._delivering(at, [result.task.id for result in results], now),
                *self._routed(run, after, step, now),
                *(self._closing(run, "completed", None, now) if ended else ()),
            ),
        )
        await self._commit_leased(batch)
        at.run = dataclasses.replace(run, head=checkpoint.id, step=step, steps_taken=run.steps_taken + 1)
        at.checkpoint, at.versions, at.saved, at.questions = checkpoint, versions, {}, ()
        if ended:
            self.outbox_bell.ring()
        return not ended

    def _routed(self, run: Run, after: After, step: int, now: int) -> Iterable[Do]:
        for route in after.routes:
            yield records.put_event(
                self.new_id("evt"),
                "run.routed",
                now,
                thread_id=run.thread_id,
                run_id=run.id,
                step=step,
                source=route.source,
                way=route.way,
                by=route.by,
                targets=list(route.targets),
            )

    async def _end(self, run: Run, status: RunStatus, error: BaseException) -> None:
        """Record why the run cannot go on. Its checkpoint stays where it was."""
        said = {"type": type(error).__name__, "message": _message(error)}
        batch = Batch("end", tuple(self._closing(run, status, said, self.clock())))
        await self._commit_leased(batch)
        self.outbox_bell.ring()

    def _closing(
        self, run: Run, status: RunStatus, error: Mapping[str, str] | None, now: int
    ) -> Iterable[Do]:
        text = None if error is None else records.compact(dict(error))
        yield Do("end_run", {**self._fence(run), "status": status, "error": text, "now": now}, guard="lease")
        yield from self.ending(run, status, None, now, reason=error["type"] if error else None)

    def ending(
        self, run: Run, status: RunStatus, actor: str | None, now: int, *, reason: str | None
    ) -> Iterable[Do]:
        """Yield what is written with every end, after the run itself: companions, questions, journal."""
        facts = EndFacts(run, status, actor, now, self.new_id)
        for companion in self._companions:
            yield from companion.on_end(facts)
        if status != "needs_attention":
            yield Do("withdraw_interrupts", {"run_id": run.id})
        yield records.put_event(
            self.new_id("evt"),
            f"run.{status}",
            now,
            actor=actor,
            thread_id=run.thread_id,
            run_id=run.id,
            reason=reason,
        )

    def checkpoint(
        self,
        plan: Plan,
        thread: ThreadId,
        run_id: RunId,
        parent: CheckpointId | None,
        step: int,
        source: CheckpointSource,
        after: After,
        values: Mapping[str, Any],
        versions: Mapping[str, CheckpointId],
        now: int,
    ) -> tuple[Checkpoint, tuple[Do, ...], dict[str, CheckpointId]]:
        """Return a new checkpoint, the statements that store it, and which checkpoint wrote each channel."""
        id_ = CheckpointId(self.new_id("chk"))
        checkpoint = Checkpoint(
            id=id_,
            thread_id=thread,
            run_id=run_id,
            parent_id=parent,
            step=step,
            source=source,
            values={**values, **after.changed},
            due=after.due,
            joins=after.joins,
            held=after.held,
            routes=after.routes,
            created_at=now,
        )
        # What reducers start with is written once, as is a key that the graph has got since.
        changed = {n: v for n, v in values.items() if n not in versions} | dict(after.changed)
        written = {**versions, **dict.fromkeys(changed, id_)}
        prints = {t.node: self._fingerprint(plan, t.node) for t in after.due if t.node in plan.nodes}
        puts = [
            Do("put_value", {"checkpoint_id": id_, "channel": name, "value": plan.codec.encode(value)})
            for name, value in changed.items()
        ]
        return checkpoint, (records.put_checkpoint(plan.codec, checkpoint, prints, written), *puts), written


def _message(error: BaseException) -> str:
    """Return what the error says, storable: authors' errors may refuse to speak or hold half a surrogate."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - whatever it raises, the run has failed with the error, not with this
        return "(the error could not be put into words)"
    return text[:2_000].encode("utf-8", "replace").decode("utf-8")


def asks_of(run_id: str) -> tuple[Ask, ...]:
    """Return the asks whose rows :meth:`Advance.position` takes, after the run's own."""
    names: tuple[QueryName, ...] = (
        "get_run",
        "get_head",
        "get_head_values",
        "get_head_writes",
        "find_questions",
    )
    return tuple(Ask(name, {"run_id": run_id}) for name in names)


def read_versions(row: Row) -> dict[str, CheckpointId]:
    """Return, for each channel, the checkpoint that last wrote it."""
    return {name: CheckpointId(id_) for name, id_ in records.read_compact(row["versions"]).items()}


def _fingerprints(row: Row) -> Mapping[str, str]:
    return dict(records.read_compact(row["fingerprints"]))
