"""What a reader is shown of a thread: where it stands now, and how it came there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from . import records
from .clock import SECOND
from .drawing import Passed, Way, way
from .errors import UnknownRun, UnknownSubgraph
from .frames import (
    Frame,
    asked_within,
    asks_of_frame,
    asks_of_root,
    asks_of_task,
    plans_at,
    plans_in,
    read_frame,
    read_writes,
)
from .ground import Ground
from .plainjson import read_json
from .plan import Plan, Result, live_values
from .shown import RunView, StateSnapshot, TaskView
from .storage import Ask, Params, Row
from .types import ROOT, START, Checkpoint, Interrupt, Question, Run, Task, TaskId, ThreadId

#: Sorts after every checkpoint id.
_NEWEST = "~"
#: How many questions of finished tasks are shown beside those of the present ones.
_EARLIER = 100


class Views:
    """Reads snapshots; changes nothing."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def look(self, run_id: str) -> RunView:
        """Return everything to inspect before resuming a run. Raises :class:`UnknownRun`."""
        runs, earlier, *rest = await self._ground.store.read(
            Ask("get_run", {"run_id": run_id}),
            Ask("find_past_questions", {"run_id": run_id, "limit": _EARLIER}),
            *asks_of_root(run_id),
        )
        if not runs:
            raise UnknownRun(f"there is no run {run_id!r}")
        run = records.read_run(runs[0])
        frame, questions = self._frame(run, rest)
        codec = frame.plan.codec
        past_ = (records.read_question(codec, row) for row in earlier)
        return RunView(run, live(frame, run, questions), _in_order([*past_, *questions]))

    async def questions(self, run_id: str) -> list[Question]:
        """Return the open questions of a run. See :meth:`graph_runtime.Runtime.questions`."""
        (rows,) = await self._ground.store.read(Ask("find_open_questions_of_run", {"run_id": run_id}))
        if rows:
            codec = self._ground.plan_called(run_id, rows[0]["graph"], rows[0]["version"]).codec
            return [records.read_question(codec, row) for row in rows]
        (runs,) = await self._ground.store.read(Ask("get_run", {"run_id": run_id}))
        if not runs:
            raise UnknownRun(f"there is no run {run_id!r}")
        return []

    async def state(self, run: Run, *, subgraphs: bool = False) -> StateSnapshot:
        """Return where the thread of its last run stands now."""
        frame, questions = self._frame(run, await self._ground.store.read(*asks_of_root(run.id)))
        return await self._with_subgraphs(live(frame, run, questions), frame.plan, run, deep=subgraphs)

    async def plan_at(self, plan: Plan, thread_id: str, ns: str) -> Plan:
        """Return the plan of the graph at a namespace; of several that a node's code may call, one that fits.

        Raises :class:`UnknownSubgraph` when none is known there.
        """
        fitting = plans_at(plan, ns)
        if len(fitting) > 1:
            (heads,) = await self._ground.store.read(
                Ask("get_frame_head", {"thread_id": thread_id, "ns": ns})
            )
            due = {name for row in heads for name in read_json(row["fingerprints"])}
            fitting = tuple(one for one in fitting if due <= set(one.nodes))
        if not fitting:
            raise UnknownSubgraph(f"graph {plan.name!r} has no subgraph {ns!r}")
        return fitting[0]

    async def state_of_frame(
        self, run: Run, plan: Plan, ns: str, *, subgraphs: bool = False
    ) -> StateSnapshot | None:
        """Return where a subgraph of the thread stands; None when there is none of that namespace."""
        asks = asks_of_frame(run.thread_id, ns)
        known, head, values, writes, questions = await self._ground.store.read(
            *asks, Ask("find_questions", {"run_id": run.id})
        )
        if not known:
            return None
        asked = tuple(records.read_question(plan.codec, row) for row in questions)
        found = live(read_frame(plan, head[0], values, writes), run, asked)
        return await self._with_subgraphs(found, plan, run, deep=subgraphs)

    async def at(
        self, plan: Plan, run: Run, checkpoint_id: str, *, subgraphs: bool = False
    ) -> StateSnapshot | None:
        """Return the state at one checkpoint of the run's thread; None when the thread has no such one."""
        (rows,) = await self._ground.store.read(Ask("get_checkpoint", {"checkpoint_id": checkpoint_id}))
        if not rows or rows[0]["thread_id"] != run.thread_id:
            return None
        (found,) = await self._past(plan, run.thread_id, rows)
        return await self._with_subgraphs(found, plan, run, deep=True) if subgraphs else found

    async def history(self, run: Run, *, limit: int, before: int | None) -> list[StateSnapshot]:
        """Return the checkpoints of a run, newest first."""
        page: dict[str, str | int | None] = {
            "run_id": run.id,
            "before": (1 << 53) if before is None else before,
        }
        (rows,) = await self._ground.store.read(Ask("find_checkpoints", {**page, "limit": limit}))
        return await self._past(self._ground.plan_of(run), run.thread_id, rows)

    async def way(self, view: RunView, *, limit: int) -> Way:
        """Return the way of a run to where ``view`` shows it. See :meth:`graph_runtime.Runtime.way`."""
        run, head = view.run, view.state
        page: Params = {"run_id": run.id, "before": head.step, "limit": limit + 1}
        (rows,) = await self._ground.store.read(Ask("find_checkpoints", page))
        newest = [records.read_passed(row) for row in rows]
        here = Passed(head.step, head.source, head.next, head.routes, head.parent_id)
        steps = [*reversed(newest[:limit]), here]
        whole = len(newest) <= limit or newest[limit].nodes == (START,)
        moved = newest or head.run_id == run.id
        if whole and moved and steps[0].source == "loop" and steps[0].parent_id is not None:
            # A retried run begins where another one stood, and that checkpoint is the other's.
            (rows,) = await self._ground.store.read(
                Ask("get_checkpoint", {"checkpoint_id": steps[0].parent_id})
            )
            steps = [*map(records.read_passed, rows), *steps]
        return way(self._ground.plan_of(run), view, steps, cut=not whole)

    async def line(
        self, plan: Plan, thread_id: str, *, ns: str, limit: int, before: str | None, at: str | None = None
    ) -> list[StateSnapshot]:
        """Return the checkpoints of a thread, newest first, all branches of it; or only the one ``at``."""
        ask = Ask(
            "find_thread_checkpoints",
            {"thread_id": thread_id, "ns": ns, "before": before or _NEWEST, "limit": limit},
        )
        if at is not None:
            ask = Ask("get_checkpoint", {"checkpoint_id": at})
        (rows,) = await self._ground.store.read(ask)
        here = [row for row in rows if (row["thread_id"], row["ns"]) == (thread_id, ns)]
        return await self._past(plan, ThreadId(thread_id), here)

    async def _past(self, plan: Plan, thread_id: ThreadId, rows: Sequence[Row]) -> list[StateSnapshot]:
        if not rows:
            return []
        ids = [{"checkpoint_id": row["checkpoint_id"]} for row in rows]
        asking = {
            tuple(ask.params.items()): ask
            for row in rows
            for task in records.read_tasks(plan.codec, row["due"])
            for ask in asks_of_task(thread_id, row["ns"], task)
        }
        found = iter(
            await self._ground.store.read(
                *(Ask("get_values", one) for one in ids),
                *(Ask("get_writes", one) for one in ids),
                *(Ask("find_errors_at", {"thread_id": thread_id, **one}) for one in ids),
                *asking.values(),
            )
        )
        values, writes, failed = ([next(found) for _ in rows] for _ in range(3))
        asked = _in_order(records.read_question(plan.codec, row) for some in found for row in some)
        errors = [read_json(row["error"]) for some in failed for row in some]
        shown_of = {TaskId(one["task"]): str(one["shown"]) for one in errors if "task" in one}
        # A value that many checkpoints share is read once.
        decoded: dict[tuple[str, str], Any] = {}
        snapshots = []
        for row, mine, wrote in zip(rows, values, writes, strict=True):
            checkpoint = records.read_checkpoint(plan.codec, row, mine, decoded)
            found_then = past(plan, checkpoint, asked, read_writes(plan, checkpoint, wrote), shown_of)
            snapshots.append(_with_addresses(found_then, plan))
        return snapshots

    def _frame(self, run: Run, rows: Sequence[Sequence[Row]]) -> tuple[Frame, tuple[Question, ...]]:
        plan = self._ground.plan_of(run)
        head, values, writes, questions = rows
        asked = tuple(records.read_question(plan.codec, row) for row in questions)
        return read_frame(plan, head[0], values, writes), asked

    async def _with_subgraphs(
        self, snapshot: StateSnapshot, plan: Plan, run: Run, *, deep: bool
    ) -> StateSnapshot:
        """Return the snapshot with where the subgraphs of its tasks stand, or with how to ask for that."""
        addressed = _with_addresses(snapshot, plan)
        if not deep:
            return addressed
        tasks = [await self._with_state(task, run) for task in addressed.tasks]
        return dataclasses.replace(addressed, tasks=tuple(tasks))

    async def _with_state(self, task: TaskView, run: Run) -> TaskView:
        if task.state is None or isinstance(task.state, StateSnapshot):
            return task
        way = task.state["configurable"]["checkpoint_ns"]
        for ns in (way, way.rpartition(":")[0]):  # of this task, or kept over the calls of its node
            inner = await self.plan_at(self._ground.plan_of(run), run.thread_id, ns)
            state = await self.state_of_frame(run, inner, ns, subgraphs=True)
            if state is not None:
                return dataclasses.replace(task, state=state)
        return dataclasses.replace(task, state=StateSnapshot({}, (), task.state, None, None, None))


def _with_addresses(snapshot: StateSnapshot, plan: Plan) -> StateSnapshot:
    """Return the snapshot with how to ask for the states of the subgraphs in its tasks."""
    place = snapshot.config["configurable"]
    around = place["checkpoint_ns"]
    tasks = [
        dataclasses.replace(
            task,
            state={
                "configurable": {
                    "thread_id": place["thread_id"],
                    "checkpoint_ns": f"{around}|{task.name}:{task.id}"
                    if around
                    else f"{task.name}:{task.id}",
                }
            },
        )
        if plans_in(plan, task.name)
        else task
        for task in snapshot.tasks
    ]
    return dataclasses.replace(snapshot, tasks=tuple(tasks))


def _in_order(questions: Iterable[Question]) -> tuple[Question, ...]:
    """Return each question once, in the order in which they were asked."""
    once = {q.interrupt.id: q for q in questions}
    return tuple(sorted(once.values(), key=lambda q: (q.asked_at, q.interrupt.id)))


def live(frame: Frame, run: Run, questions: Iterable[Question]) -> StateSnapshot:
    """Return a frame as it is now: with what finished tasks wrote, and what is left."""
    checkpoint = frame.checkpoint
    values = live_values(frame.plan, checkpoint.values, frame.saved.values())
    asked = [q for q in questions if q.status == "open"]
    errors = {} if run.error is None or "task" not in run.error else {run.error["task"]: run.error["shown"]}
    tasks = [
        _task(task, _asked(checkpoint, task, asked), errors.get(task.id), frame.saved.get(task.id))
        for task in checkpoint.due
    ]
    shown = dataclasses.replace(checkpoint, values=values)
    left = tuple(task.node for task in frame.left())
    return _snapshot(frame.plan, shown, left, tasks)


def past(
    plan: Plan,
    checkpoint: Checkpoint,
    questions: Iterable[Question],
    results: Mapping[TaskId, Result],
    errors: Mapping[TaskId, str],
) -> StateSnapshot:
    """Return a checkpoint as it was: values at the start of its step, and what became of all its tasks."""
    asked = list(questions)
    tasks = [
        _task(task, _asked(checkpoint, task, asked), errors.get(task.id), results.get(task.id))
        for task in checkpoint.due
    ]
    return _snapshot(plan, checkpoint, checkpoint.next, tasks)


def _asked(checkpoint: Checkpoint, task: Task, questions: Iterable[Question]) -> tuple[Interrupt, ...]:
    return tuple(q.interrupt for q in questions if asked_within(checkpoint.ns, task, q))


def _task(task: Task, asked: tuple[Interrupt, ...], error: str | None, saved: Result | None) -> TaskView:
    path = ("__pregel_pull", task.node) if task.push is None else ("__pregel_push", task.push)
    wrote = task.arg if task.node == START else None if saved is None else saved.updates
    result = None if wrote is None else dict(wrote)
    return TaskView(task.id, task.node, path, error, asked, None, result)


def _snapshot(
    plan: Plan,
    checkpoint: Checkpoint,
    next_: tuple[str, ...],
    tasks: Sequence[TaskView],
) -> StateSnapshot:
    thread, ns = checkpoint.thread_id, checkpoint.ns

    def config(id_: str) -> Mapping[str, Any]:
        return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": id_}}

    values: Any = checkpoint.values
    if plan.state.form == "root":
        values = values.get(ROOT)
    return StateSnapshot(
        values=values,
        next=next_,
        config=config(checkpoint.id),
        metadata={
            **checkpoint.metadata,
            "source": checkpoint.source,
            "step": checkpoint.step,
            "parents": {},
            "run_id": checkpoint.run_id,
        },
        created_at=datetime.fromtimestamp(checkpoint.created_at / SECOND, UTC).isoformat(),
        parent_config=None if checkpoint.parent_id is None else config(checkpoint.parent_id),
        tasks=tuple(tasks),
        interrupts=tuple(i for task in tasks for i in task.interrupts),
        routes=checkpoint.routes,
        at=checkpoint.created_at,
    )
