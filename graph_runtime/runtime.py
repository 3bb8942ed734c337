"""The front door: start, resume, cancel, look, history, and the worker's claim and drive."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from . import records
from .advance import Advance, asks_of, read_versions
from .clock import SECOND, Clock, NewId, TimeOrderedIds, system_clock
from .companions import Companion
from .errors import (
    AlreadyAnswered,
    Conflict,
    DecisionNeeded,
    InterruptClosed,
    NotPaused,
    ResumeRefused,
    RunCancelled,
    RunFinished,
    ThreadBusy,
    UnknownGraph,
    UnknownInterrupt,
    UnknownRun,
    UnknownThread,
    WrongThread,
)
from .plan import After, Plan, Result, after_step, merged_values, start_task, start_updates
from .storage import Ask, Batch, Do, Params, Row, Store
from .types import (
    START,
    Checkpoint,
    CheckpointId,
    Driver,
    Event,
    Interrupt,
    InterruptId,
    PersonId,
    Run,
    RunId,
    RunView,
    StateSnapshot,
    Task,
    ThreadId,
)

#: How long a worker may be silent before another takes its run.
LEASE = 30 * SECOND
#: Steps a run may take in its whole life, unless it was started with another limit.
MAX_STEPS = 1_000


class Compiled(Protocol):
    """What a Runtime runs: anything with a plan."""

    @property
    def plan(self) -> Plan: ...


class Runtime:
    """Starts, advances and answers runs over one store.

    ``graphs`` are found by name whenever a run is advanced; one registered under ``name@version`` serves only
    the runs of that version. ``owner`` names this process in leases and must differ between processes.
    """

    def __init__(
        self,
        store: Store,
        graphs: Iterable[Compiled],
        *,
        companions: Sequence[Companion] = (),
        clock: Clock = system_clock,
        new_id: NewId | None = None,
        owner: str | None = None,
        lease: int = LEASE,
        max_steps: int = MAX_STEPS,
    ) -> None:
        self.store = store
        self.clock = clock
        self.new_id = new_id or TimeOrderedIds(clock)
        self.owner = owner or f"{os.uname().nodename}:{os.getpid()}:{self.new_id('w')}"
        self.graphs: Mapping[str, Plan] = {graph.plan.name: graph.plan for graph in graphs}
        self._max_steps = max_steps
        self._advance = Advance(
            store,
            self.graphs,
            companions,
            clock=clock,
            new_id=self.new_id,
            owner=self.owner,
            lease=lease,
        )
        self.runs_bell, self.outbox_bell = self._advance.runs_bell, self._advance.outbox_bell

    # -- what people and programs ask for ------------------------------------------------------------

    async def start(
        self,
        graph: str,
        given: Any,
        *,
        thread_id: str | None = None,
        requester: str | None = None,
        idempotency_key: str | None = None,
        max_steps: int | None = None,
        driver: Driver = "worker",
    ) -> Run:
        """Put a new run in the queue, on a new thread or after the thread's finished one, and return it.

        The thread's state is kept and the input merged into it. With an ``idempotency_key`` that this graph
        has seen, nothing is started and the first run is returned.

        Raises :class:`UnknownGraph`, :class:`EmptyInputError`, :class:`InvalidUpdateError` or
        :class:`ValueRefused` for a bad input, ``ValueError`` for ``max_steps`` below one, and
        :class:`ThreadBusy` while the thread's run is alive: a paused thread takes answers, not input.
        """
        plan = self.graphs.get(graph)
        if plan is None:
            known = ", ".join(sorted(self.graphs)) or "none"
            raise UnknownGraph(f"no run was started: there is no graph {graph!r}; registered are {known}")
        if thread_id is not None and not _is_thread_id(thread_id):
            raise UnknownThread(f"no run was started: {thread_id!r:.80} is no thread id of 1 to 255 letters")
        if max_steps is not None and max_steps < 1:
            raise ValueError(f"no run was started: max_steps is {max_steps}, and one step is the least")
        updates = start_updates(plan, given)
        thread = ThreadId(thread_id or self.new_id("thr"))
        while True:
            keyed, last, values = await self._before_start(graph, thread, idempotency_key)
            if keyed is not None:
                return keyed
            if last is not None and last.live:
                raise ThreadBusy(
                    f"no run was started: run {last.id!r} of thread {thread!r} is {last.status}; "
                    "answer it, or cancel it first"
                )
            batch, run = self._opening(
                plan, thread, updates, last, values, requester, idempotency_key, max_steps, driver
            )
            try:
                await self.store.commit(batch)
            except Conflict:
                continue  # another start won; look again at what is there now
            self.runs_bell.ring()
            return run

    async def resume(
        self, thread_id: str, run_id: str, interrupt_id: str, answer: Any, *, actor: str | None = None
    ) -> Run:
        """Store the answer to one open question and queue the run; return the run as it is then.

        The answer reaches that question, in that run, once. Raises a subclass of :class:`ResumeRefused`,
        with the refusal in the journal and nothing run, when the thread, run or question is unknown or does
        not belong together, when the question is answered or closed, when it has an approval request, or
        when the run is finished, cancelled or not paused.
        """
        while True:
            run, refusal = await self._answerable(thread_id, run_id, interrupt_id)
            if refusal is not None:
                await self._refuse(refusal, thread_id, run_id, interrupt_id, actor)
                raise refusal
            assert run is not None
            text = self._advance.plan_of(run).codec.encode(answer)
            now = self.clock()
            batch = Batch(
                "answer",
                (
                    self.wake(run),
                    self.answer(run, InterruptId(interrupt_id), text, actor, now),
                    records.put_event(
                        self.new_id("evt"),
                        "run.answered",
                        now,
                        actor=actor,
                        thread_id=thread_id,
                        run_id=run_id,
                        interrupt=interrupt_id,
                    ),
                ),
            )
            try:
                await self.store.commit(batch)
            except Conflict:
                continue
            self.runs_bell.ring()
            return await self.get(run_id)

    async def cancel(
        self, thread_id: str, run_id: str, *, actor: str | None = None, reason: str | None = None
    ) -> Run:
        """End the run, withdraw what it asks, and return it. A node under way is stopped at its next write.

        Raises UnknownThread, UnknownRun, WrongThread, RunFinished or RunCancelled; nothing changed then.
        """
        while True:
            run, refusal = await self._named(thread_id, run_id)
            if refusal is not None:
                raise refusal
            assert run is not None
            now = self.clock()
            batch = Batch(
                "cancel",
                (
                    Do(
                        "cancel_run",
                        {"run_id": run_id, "thread_id": thread_id, "now": now},
                        guard="run alive",
                    ),
                    *self._advance.ending(run, "cancelled", actor, now, reason=reason),
                ),
            )
            try:
                await self.store.commit(batch)
            except Conflict:
                continue
            self.outbox_bell.ring()
            return await self.get(run_id)

    async def get(self, run_id: str) -> Run:
        """Return the run. Raises :class:`UnknownRun`."""
        return await self._advance.get(run_id)

    async def runs(self, *, status: str = "", graph: str = "", limit: int = 20) -> list[Run]:
        """Return the newest runs first, at most ``limit``; of one status or graph when given."""
        ask = Ask("find_runs", {"status": status, "graph": graph, "limit": limit})
        (rows,) = await self.store.read(ask)
        return [records.read_run(row) for row in rows]

    async def count(self) -> dict[str, int]:
        """Return how many runs there are of each status; a status without runs is absent."""
        (rows,) = await self.store.read(Ask("count_runs"))
        return {row["status"]: row["count"] for row in rows}

    async def events(self, *, run_id: str = "", request_id: str = "", limit: int = 200) -> list[Event]:
        """Return the journal's lines, oldest first; of one run or request when given."""
        ask = Ask("find_events", {"run_id": run_id, "request_id": request_id, "limit": limit})
        (rows,) = await self.store.read(ask)
        return [records.read_event(row) for row in rows]

    async def look(self, run_id: str) -> RunView:
        """Return everything to inspect before resuming, from one snapshot. Raises :class:`UnknownRun`.

        The values include what finished tasks of the present step wrote, and ``next`` names the others.
        """
        runs, head, values, writes, questions = await self.store.read(*asks_of(run_id))
        if not runs:
            raise UnknownRun(f"there is no run {run_id!r}")
        run = records.read_run(runs[0])
        at = self._advance.position(run, head[0], values, writes, questions)
        checkpoint = at.checkpoint
        try:
            values_now = merged_values(at.plan, checkpoint.values, at.saved.values())
        except Exception:  # noqa: BLE001 - these writes cannot be merged; the run says so when its step ends
            values_now = dict(checkpoint.values)
        left = tuple(task for task in checkpoint.due if task.id not in at.saved)
        shown = dataclasses.replace(checkpoint, values=values_now)
        asked = [q.interrupt for q in at.questions if q.status == "open"]
        return RunView(run, _snapshot(shown, left, asked), at.questions)

    async def history(
        self, run_id: str, *, limit: int = 50, before: int | None = None
    ) -> list[StateSnapshot]:
        """Return the run's checkpoints, newest first: the values at the start of each step and what was due.

        At most ``limit``, with steps below ``before``. Raises :class:`UnknownRun`.
        """
        run = await self.get(run_id)
        plan = self._advance.plan_of(run)
        page: Params = {"run_id": run_id, "before": (1 << 53) if before is None else before}
        (rows,) = await self.store.read(Ask("find_checkpoints", {**page, "limit": limit}))
        if not rows:
            return []
        values, questions = await self.store.read(
            Ask("find_values_of_run", {**page, "from_step": rows[-1]["step"]}),
            Ask("find_questions", {"run_id": run_id}),
        )
        written = {(v["checkpoint_id"], v["channel"]): plan.codec.decode(v["value"]) for v in values}
        asked = [records.read_question(plan.codec, row) for row in questions]
        found = []
        for row in rows:
            versions = read_versions(row)
            checkpoint = records.read_checkpoint(
                plan.codec, row, {name: written[id_, name] for name, id_ in versions.items()}
            )
            mine = [q.interrupt for q in asked if q.checkpoint_id == checkpoint.id]
            found.append(_snapshot(checkpoint, checkpoint.due, mine))
        return found

    # -- statements that others join to their batches --------------------------------------------------

    def wake(self, run: Run) -> Do:
        """Return the statement that queues a paused run; its guard is "run alive"."""
        return Do(
            "wake_run",
            {"run_id": run.id, "thread_id": run.thread_id, "now": self.clock()},
            guard="run alive",
        )

    def answer(self, run: Run, interrupt_id: InterruptId, text: str, by: str | None, now: int) -> Do:
        """Return the statement that stores an answer (as JSON text); its guard is "question open"."""
        return Do(
            "answer_interrupt",
            {
                "interrupt_id": interrupt_id,
                "run_id": run.id,
                "thread_id": run.thread_id,
                "answer": text,
                "answered_by": by,
                "now": now,
            },
            guard="question open",
        )

    # -- what workers do -----------------------------------------------------------------------------

    async def claim(self) -> Run | None:
        """Take the oldest queued run, or one whose lease lapsed; at most one worker gets it. None: no run."""
        return await self._advance.claim()

    async def drive(self, run: Run) -> Run:
        """Take a claimed run to its next pause or its end. See :meth:`Advance.drive`."""
        return await self._advance.drive(run)

    async def advance(self, run_id: str) -> Run:
        """Claim this run if it can be claimed, drive it until it rests, and return it as it is then."""
        return await self._advance.advance(run_id)

    # -- the inside ----------------------------------------------------------------------------------

    async def _before_start(
        self, graph: str, thread: ThreadId, key: str | None
    ) -> tuple[Run | None, Run | None, tuple[Row, Sequence[Row]] | None]:
        """Return the run this key already started, the thread's last run, and where that one stands."""
        keyed, last = await self.store.read(
            Ask("get_run_by_key", {"graph": graph, "idempotency_key": key}),
            Ask("get_last_run", {"thread_id": thread}),
        )
        if keyed:
            return records.read_run(keyed[0]), None, None
        if not last:
            return None, None, None
        run = records.read_run(last[0])
        head, values = await self.store.read(
            Ask("get_head", {"run_id": run.id}), Ask("get_head_values", {"run_id": run.id})
        )
        return None, run, (head[0], values)

    def _opening(
        self,
        plan: Plan,
        thread: ThreadId,
        updates: tuple[tuple[str, Any], ...],
        last: Run | None,
        stands: tuple[Row, Sequence[Row]] | None,
        requester: str | None,
        key: str | None,
        max_steps: int | None,
        driver: Driver,
    ) -> tuple[Batch, Run]:
        now, run_id = self.clock(), RunId(self.new_id("run"))
        values: Mapping[str, Any] = plan.state.start_values()
        versions: dict[str, CheckpointId] = {}
        parent, step = None, -1
        if stands is not None and last is not None:
            head, rows = stands
            values = {**values, **records.read_values(plan.codec, rows)}
            versions, parent, step = read_versions(head), CheckpointId(head["checkpoint_id"]), last.step + 1
        task = start_task(run_id, step + 1, updates if plan.branches.get(START) else None)
        waiting = After({}, (task,), {}, (), ())
        first, writes, versions = self._advance.checkpoint(
            plan, thread, run_id, parent, step, "input", waiting, values, versions, now
        )
        head_id, at_step = first.id, step
        if not plan.branches.get(START):
            # Nothing of the author's runs at the start, so the first step's tasks are known at once.
            result = Result(task, updates)
            after = after_step(plan, run_id, step + 2, values=values, joins={}, held=(), results=[result])
            second, more, _ = self._advance.checkpoint(
                plan, thread, run_id, first.id, step + 1, "loop", after, values, versions, now
            )
            writes, head_id, at_step = (*writes, *more), second.id, step + 1
        run = Run(
            id=run_id,
            thread_id=thread,
            graph=plan.name,
            version=plan.version,
            status="queued",
            driver=driver,
            head=head_id,
            step=at_step,
            steps_taken=0,
            max_steps=self._max_steps if max_steps is None else max_steps,
            requester=None if requester is None else PersonId(requester),
            error=None,
            lease_owner=None,
            lease_until=None,
            epoch=0,
            created_at=now,
            updated_at=now,
        )
        put_run: Params = {
            "run_id": run.id,
            "thread_id": thread,
            "graph": run.graph,
            "version": run.version,
            "status": run.status,
            "driver": driver,
            "head": run.head,
            "step": run.step,
            "max_steps": run.max_steps,
            "requester": requester,
            "idempotency_key": key,
            "now": now,
        }
        started = records.put_event(
            self.new_id("evt"), "run.started", now, actor=requester, thread_id=thread, run_id=run.id
        )
        return Batch(
            "start",
            (
                Do("put_thread", {"thread_id": thread, "now": now}),
                Do("put_run", put_run, guard="thread idle"),
                *writes,
                started,
            ),
        ), run

    async def _named(self, thread_id: str, run_id: str) -> tuple[Run | None, ResumeRefused | None]:
        threads, runs = await self.store.read(
            Ask("get_thread", {"thread_id": thread_id}), Ask("get_run", {"run_id": run_id})
        )
        return _check_run(thread_id, run_id, threads, runs)

    async def _answerable(
        self, thread_id: str, run_id: str, interrupt_id: str
    ) -> tuple[Run | None, ResumeRefused | None]:
        threads, runs, questions, requests = await self.store.read(
            Ask("get_thread", {"thread_id": thread_id}),
            Ask("get_run", {"run_id": run_id}),
            Ask("find_questions", {"run_id": run_id}),
            Ask("find_requests", {"run_id": run_id, "status": "open", "limit": 1 << 31}),
        )
        run, refusal = _check_run(thread_id, run_id, threads, runs)
        if refusal is None:
            by_id = {row["interrupt_id"]: row["status"] for row in questions}
            refusal = _check_question(run_id, interrupt_id, by_id)
        if refusal is None and run is not None and run.status == "needs_attention":
            refusal = NotPaused(f"nothing was resumed: an operator must look at run {run_id!r} first")
        if refusal is None and any(row["interrupt_id"] == interrupt_id for row in requests):
            refusal = DecisionNeeded(
                f"nothing was resumed: question {interrupt_id!r} has an approval request, whose policy says "
                "who may answer; decide it there"
            )
        return run, refusal

    async def _refuse(
        self, refusal: ResumeRefused, thread_id: str, run_id: str, interrupt_id: str, actor: str | None
    ) -> None:
        event = records.put_event(
            self.new_id("evt"),
            "resume.refused",
            self.clock(),
            actor=actor,
            thread_id=thread_id,
            run_id=run_id,
            interrupt=interrupt_id,
            code=refusal.code,
        )
        await self.store.commit(Batch("refuse", (event,)))


def _is_thread_id(thread_id: object) -> bool:
    # A card's button carries it; a longer one could not be clicked.
    return isinstance(thread_id, str) and bool(thread_id.strip()) and len(thread_id) <= 255


def _check_run(
    thread_id: str, run_id: str, threads: Sequence[Row], runs: Sequence[Row]
) -> tuple[Run | None, ResumeRefused | None]:
    if not threads:
        return None, UnknownThread(f"nothing was done: there is no thread {thread_id!r}")
    if not runs:
        return None, UnknownRun(f"nothing was done: there is no run {run_id!r}")
    run = records.read_run(runs[0])
    if run.thread_id != thread_id:
        return None, WrongThread(
            f"nothing was done: run {run_id!r} belongs to another thread than {thread_id!r}"
        )
    if run.status == "cancelled":
        return None, RunCancelled(f"nothing was done: run {run_id!r} was cancelled")
    if not run.live:
        return None, RunFinished(
            f"nothing was done: run {run_id!r} is {run.status}; it asks nothing any more"
        )
    return run, None


def _check_question(run_id: str, interrupt_id: str, by_id: Mapping[str, str]) -> ResumeRefused | None:
    status = by_id.get(interrupt_id)
    if status == "open":
        return None
    if status == "answered":
        return AlreadyAnswered(f"nothing was resumed: question {interrupt_id!r} already has its answer")
    if status is not None:
        return InterruptClosed(f"nothing was resumed: question {interrupt_id!r} is {status}")
    waiting = sorted(id_ for id_, one in by_id.items() if one == "open")
    if not waiting:
        return NotPaused(f"nothing was resumed: run {run_id!r} asks nothing at the moment")
    return UnknownInterrupt(
        f"nothing was resumed: run {run_id!r} never asked {interrupt_id!r}; it waits for {', '.join(waiting)}"
    )


def _snapshot(checkpoint: Checkpoint, tasks: Sequence[Task], asked: Sequence[Interrupt]) -> StateSnapshot:
    return StateSnapshot(
        values=checkpoint.values,
        next=tuple(task.node for task in tasks),
        thread_id=checkpoint.thread_id,
        run_id=checkpoint.run_id,
        checkpoint_id=checkpoint.id,
        parent_id=checkpoint.parent_id,
        step=checkpoint.step,
        source=checkpoint.source,
        created_at=checkpoint.created_at,
        tasks=tuple(tasks),
        interrupts=tuple(asked),
        routes=checkpoint.routes,
    )
