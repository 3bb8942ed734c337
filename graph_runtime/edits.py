"""Changes to a thread's state from outside, as if one of its nodes had made them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import records
from .beginnings import Beginnings
from .branching import choose
from .calls import Given
from .companions import PauseFacts
from .endings import ending
from .errors import Conflict, InvalidUpdateError, ThreadBusy, UnknownCheckpoint, UnknownThread
from .frames import asks_of_frame, asks_of_root, read_frame, read_writes
from .ground import Ground, Written
from .plan import After, Plan, Result, after_step, check_targets, read_return, targets_of, task_id
from .storage import Ask, Batch, Do, Params
from .types import (
    END,
    START,
    Checkpoint,
    CheckpointId,
    Command,
    InterruptId,
    Question,
    Run,
    RunId,
    Send,
    StateUpdate,
    Task,
    ThreadId,
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Read:
    """What an edit that lost a race had read: the run, and its questions with whether a node still waits."""

    run: Run
    asked: frozenset[tuple[InterruptId, bool]]


class Edits:
    """Writes checkpoints that no node made."""

    def __init__(self, ground: Ground, beginnings: Beginnings) -> None:
        self._ground = ground
        self._beginnings = beginnings

    async def edit(
        self,
        thread: ThreadId,
        supersteps: Sequence[Sequence[StateUpdate]],
        *,
        at: str | None,
        graph: str | None,
        actor: str | None = None,
        discard: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> CheckpointId:
        """Write one checkpoint for each superstep, all or none. See :meth:`graph_runtime.Runtime.edit`."""
        read: _Read | None = None
        while True:
            last = await self._beginnings.last_run(thread)
            plan = self._ground.plan_of(last) if last is not None else self._ground.plans.get(graph or "")
            if plan is None:
                raise UnknownThread(f"nothing was edited: there is no thread {thread!r}")
            branches = at is not None and (last is None or at != last.head)
            goes_on = last is not None and not branches and _rests(last, read)
            if last is not None and not goes_on and read is not None:
                raise ThreadBusy(f"nothing was edited: run {last.id!r} of the thread is {last.status}")
            ended = () if goes_on else self._beginnings.discarding(last, discard=discard and branches)
            place = at or (None if last is None else last.head)
            stands = None if place is None else await self._beginnings.at(plan, thread, place)
            run_id = last.id if last is not None and goes_on else RunId(self._ground.new_id("run"))
            steps = await self._written(plan, thread, run_id, "", stands, supersteps, metadata)
            if last is not None and goes_on:
                read = await self._committed(plan, last, steps, read, actor=actor)
                if read is None:
                    return steps[-1].checkpoint.id
                continue
            driver = "caller" if last is None else last.driver
            run = self._beginnings.run_at(run_id, plan, steps[-1], "update", driver, rests=True)
            if not steps[-1].checkpoint.due:
                run = dataclasses.replace(run, status="completed")
            writes = [do for one in steps for do in one.writes]
            begins = self._beginnings.beginning(run, last, writes, actor=actor)
            try:
                await self._ground.store.commit(Batch("edit", (*ended, *begins)))
            except Conflict as conflict:
                raise ThreadBusy(f"nothing was edited: thread {thread!r} went on meanwhile") from conflict
            return steps[-1].checkpoint.id

    async def edit_inside(
        self,
        thread: ThreadId,
        supersteps: Sequence[Sequence[StateUpdate]],
        *,
        ns: str,
        plan: Plan,
        at: str | None,
        metadata: Mapping[str, Any] | None = None,
    ) -> CheckpointId:
        """Do the same to a subgraph of a resting run, where it stands."""
        read: _Read | None = None
        while True:
            last = await self._beginnings.last_run(thread)
            known, head, values, writes = await self._ground.store.read(*asks_of_frame(thread, ns))
            if last is None or not known:
                raise UnknownThread(f"nothing was edited: thread {thread!r} has no subgraph {ns!r}")
            if not _rests(last, read) or known[0]["done"]:
                raise ThreadBusy(
                    f"nothing was edited: subgraph {ns!r} does not rest; its run is {last.status}"
                )
            frame = read_frame(plan, head[0], values, writes, known[0]["steps"])
            if at is not None and at != frame.checkpoint.id:
                raise UnknownCheckpoint(
                    f"nothing was edited: subgraph {ns!r} does not stand at {at!r} any more"
                )
            at = frame.checkpoint.id
            stands = Written(frame.checkpoint, (), frame.versions)
            steps = await self._written(plan, thread, last.id, ns, stands, supersteps, metadata)
            moved: Params = {
                "thread_id": thread,
                "ns": ns,
                "run_id": last.id,
                "head": steps[-1].checkpoint.id,
                "done": int(not steps[-1].checkpoint.due),
                "steps": frame.steps,
            }
            outer = self._ground.plan_of(last)
            read = await self._committed(outer, last, steps, read, ns=ns, moved=Do("put_frame", moved))
            if read is None:
                return steps[-1].checkpoint.id

    async def answering(self, run: Run, command: Command[Any]) -> tuple[Do, ...]:
        """Return the statements that add a caller's update and goto to the present step of a resting run.

        Its tasks stay the same tasks, so an answer still reaches what is asked again; finished ones keep what
        they returned. Raises :class:`InvalidUpdateError` for what cannot be merged.
        """
        plan = self._ground.plan_of(run)
        head, values, writes, _ = await self._ground.store.read(*asks_of_root(run.id))
        frame = read_frame(plan, head[0], values, writes)
        old = frame.checkpoint
        goto = targets_of(command.goto)
        check_targets(plan, "the input", goto)
        task = Task(task_id(run.id, "", old.step, "the input", None), "the input")
        said = read_return(plan, task, Command(update=command.update))
        merged = after_step(
            plan, run.id, "", 0, values=old.values, joins=old.joins, held=old.held, results=[said]
        )
        after = After(merged.changed, _beside(run.id, old, goto), old.joins, old.held, old.routes)
        written = self._ground.checkpoint(
            plan,
            run.thread_id,
            run.id,
            ns="",
            parent=old.id,
            step=old.step + 1,
            source="update",
            after=after,
            values=old.values,
            versions=frame.versions,
        )
        kept = [
            records.put_write(
                plan.codec, written.checkpoint.id, run.id, result, written.checkpoint.created_at
            )
            for result in frame.saved.values()
        ]
        return (self._moved(run, written, "interrupted"), *written.writes, *kept)

    # -- the inside ----------------------------------------------------------------------------------------

    async def _written(
        self,
        plan: Plan,
        thread: ThreadId,
        run_id: RunId,
        ns: str,
        stands: Written | None,
        supersteps: Sequence[Sequence[StateUpdate]],
        metadata: Mapping[str, Any] | None,
    ) -> list[Written]:
        if not supersteps or not all(supersteps):
            raise ValueError("nothing was edited: there is no update")
        steps: list[Written] = []
        for updates in supersteps:
            stands = await self._superstep(plan, thread, run_id, ns, stands, updates, metadata)
            steps.append(stands)
        return steps

    async def _superstep(
        self,
        plan: Plan,
        thread: ThreadId,
        run_id: RunId,
        ns: str,
        stands: Written | None,
        updates: Sequence[StateUpdate],
        metadata: Mapping[str, Any] | None,
    ) -> Written:
        old = None if stands is None else stands.checkpoint
        values = {**plan.state.start_values(), **({} if old is None else old.values)}
        step = -1 if old is None else old.step
        if any(one.values is None and one.as_node == END for one in updates):
            if len(updates) > 1:
                raise InvalidUpdateError("nothing was edited: clearing what is due goes with no other update")
            after = await self._cleared(plan, run_id, old, values)
        else:
            results = [
                await self._result(plan, run_id, ns, step, stands, values, one, alone=len(updates) == 1)
                for one in updates
            ]
            after = after_step(
                plan,
                run_id,
                ns,
                step + 2,
                values=values,
                joins={} if old is None else old.joins,
                held=() if old is None else old.held,
                results=results,
            )
        return self._ground.checkpoint(
            plan,
            thread,
            run_id,
            ns=ns,
            parent=None if old is None else old.id,
            step=step + 1,
            source="update",
            after=after,
            values=values,
            versions={} if stands is None else stands.versions,
            metadata=metadata,
        )

    async def _cleared(
        self, plan: Plan, run_id: RunId, old: Checkpoint | None, values: Mapping[str, Any]
    ) -> After:
        """Return the end of everything: what finished tasks returned is merged, and nothing is due."""
        if old is None:
            return After({}, (), {}, (), ())
        (rows,) = await self._ground.store.read(Ask("get_writes", {"checkpoint_id": old.id}))
        saved = read_writes(plan, old, rows).values()
        merged = after_step(plan, run_id, old.ns, 0, values=values, joins={}, held=(), results=saved)
        return After(merged.changed, (), {}, (), ())

    async def _result(
        self,
        plan: Plan,
        run_id: RunId,
        ns: str,
        step: int,
        stands: Written | None,
        values: Mapping[str, Any],
        update: StateUpdate,
        *,
        alone: bool,
    ) -> Result:
        """Return what the node would have come to if it had returned these values."""
        node = update.as_node
        if node is None and not alone:
            raise InvalidUpdateError("nothing was edited: of several updates each must say as_node=")
        if node is None:
            node = await self._last_writer(plan, stands)
        if node != START and node not in plan.nodes:
            raise InvalidUpdateError(f"nothing was edited: {node!r} is no node of graph {plan.name!r}")
        task = Task(task_id(run_id, ns, step + 1, node, None), node)
        if node == START:
            result = Result(task, tuple(plan.input.updates(update.values, by="the edit").items()))
        else:
            result = read_return(plan, task, update.values)
        return dataclasses.replace(result, chosen=await choose(plan, result, values, Given()))

    async def _last_writer(self, plan: Plan, stands: Written | None) -> str:
        """Return the only node that ran in the last step. Raises :class:`InvalidUpdateError` for several."""
        old = None if stands is None else stands.checkpoint
        while old is not None and old.parent_id is not None:
            parent = (await self._beginnings.at(plan, old.thread_id, old.parent_id, ns=old.ns)).checkpoint
            if old.source == "loop":
                ran = {task.node for task in parent.due}
                if len(ran) == 1:
                    return ran.pop()
                raise InvalidUpdateError(
                    f"nothing was edited: {', '.join(sorted(ran))} ran last; say as_node="
                )
            old = parent
        return START

    async def _committed(
        self,
        plan: Plan,
        run: Run,
        steps: Sequence[Written],
        before: _Read | None,
        *,
        ns: str = "",
        moved: Do | None = None,
        actor: str | None = None,
    ) -> _Read | None:
        """Put the edit in the place where the run rests; what was asked there is asked anew.

        Nothing is written when the run was driven since it was read: then what was read is returned, to look
        again. Raises :class:`ThreadBusy` when the run asks something else by now than it did ``before``.
        """
        ground = self._ground
        (rows,) = await ground.store.read(Ask("find_questions", {"run_id": run.id}))
        asked = [records.read_question(plan.codec, row) for row in rows]
        read = _Read(run, frozenset((q.interrupt.id, q.delivered_at is None) for q in asked))
        if before is not None and before.asked != read.asked:
            raise ThreadBusy(f"nothing was edited: run {run.id!r} went on meanwhile")
        now, stale = ground.clock(), tuple(_stale(asked, ns))
        # What was due in the graph itself is due no more, even where the same nodes are due again.
        past = [q.interrupt.id for q in asked if not ns and not q.ns]
        facts = PauseFacts(run, plan, (), stale, now, ground.new_id)
        head, over = steps[-1], not ns and not steps[-1].checkpoint.due
        status = "completed" if over else "queued" if run.driver == "worker" else "interrupted"
        if moved is not None:
            head = Written(dataclasses.replace(head.checkpoint, id=run.head, step=run.step), (), {})
        writes = (
            self._moved(run, head, status),
            *(() if moved is None else (moved,)),
            *(do for one in steps for do in one.writes),
            *(Do("supersede_interrupt", {"interrupt_id": id_}) for id_ in stale),
            *(Do("finish_interrupt", {"interrupt_id": id_, "now": now}) for id_ in past),
            *(do for companion in ground.companions for do in companion.on_pause(facts)),
            records.put_event(
                ground.new_id("evt"), "run.edited", now, actor=actor, thread_id=run.thread_id, run_id=run.id
            ),
            *(ending(ground, run, "completed", None, now, reason="edited") if over else ()),
        )
        try:
            await ground.store.commit(Batch("edit", writes))
        except Conflict:
            return read
        ground.runs_bell.ring()
        return None

    def _moved(self, run: Run, written: Written, status: str) -> Do:
        return Do(
            "edit_run",
            {
                "run_id": run.id,
                "head": written.checkpoint.id,
                "step": written.checkpoint.step,
                "status": status,
                "before": run.head,
                "epoch": run.epoch,
                "now": self._ground.clock(),
            },
            guard="thread unchanged",
        )


def _rests(run: Run, read: _Read | None) -> bool:
    """Say whether an edit may be put where the run stands.

    One that has ``read`` it before, and lost a race, is judged again: the run must stand there still, though
    an answer may have come that nobody has used.
    """
    if read is None:
        return run.status == "interrupted"
    return run.status in {"interrupted", "queued"} and (run.id, run.head) == (read.run.id, read.run.head)


def _stale(asked: Iterable[Question], ns: str) -> Iterable[InterruptId]:
    """Yield the questions at or inside a namespace whose answers must not meet the new state."""
    for question in asked:
        waits = question.status in {"open", "answered"} and question.delivered_at is None
        if waits and (not ns or question.ns == ns or question.ns.startswith(ns + "|")):
            yield question.interrupt.id


def _beside(run_id: RunId, old: Checkpoint, goto: Sequence[str | Send]) -> tuple[Task, ...]:
    """Return the due tasks of a checkpoint, and those that a caller sends beside them."""
    step, there = old.step + 2, {task.node for task in old.due if task.push is None}
    names = sorted({t for t in goto if isinstance(t, str) and t != END} - there)
    pulled = [t for t in old.due if t.push is None] + [
        Task(task_id(run_id, old.ns, step, name, None), name) for name in names
    ]
    pushed = [t for t in old.due if t.push is not None]
    first = 1 + max((t.push or 0 for t in pushed), default=-1)
    for n, send in enumerate((t for t in goto if isinstance(t, Send)), first):
        pushed.append(Task(task_id(run_id, old.ns, step, send.node, n), send.node, n, send.arg, send.timeout))
    return (*sorted(pulled, key=lambda task: task.node), *pushed)
