"""One claimed run on its way to its next rest: step by step, one guarded batch after each.

A frame is one graph's place in the run: the graph itself, or a subgraph inside one of its tasks. All frames
move under one lease. What they ask bubbles up, and the pause of the whole run is one commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from . import records
from .callers import Call, given_to
from .config import merged
from .endings import closing, ending, said_of
from .errors import (
    GraphChanged,
    GraphDrained,
    GraphInterrupt,
    NodeMisused,
    StoreError,
    UnknownGraph,
)
from .executor import AnswerInvalid, NodeFailed, Paused, TaskScope, run_tasks
from .frames import (
    Frame,
    Resting,
    all_resting,
    asked_within,
    asks_of_frame,
    asks_of_root,
    called,
    check_fingerprints,
    has_begun,
    kept_frame,
    may_run,
    read_frame,
)
from .ground import Begun, Ground, read_written
from .kept import Rest
from .meter import Meter
from .plainjson import write_json
from .plan import Plan, Result, after_step, start_updates
from .questions import asked_of, finishing, newly_asked, no_longer_asking, pausing, preparing
from .recording import Recording
from .storage import Ask, Do, Params
from .telling import Teller
from .types import (
    START,
    Question,
    Run,
    RunStatus,
    Task,
    TaskId,
)


class Walk(Recording):
    """Drives one claimed run; its tasks' host."""

    def __init__(self, ground: Ground, run: Run, call: Call, begun: Begun | None = None) -> None:
        super().__init__(ground, run, call.durability)
        self.call = call
        self.questions: tuple[Question, ...] = ()
        self.tell = Teller(call.stream)
        self.meter = Meter(run)
        self._taken = run.steps_taken
        self._begun = begun
        #: Where it rested at a breakpoint it does not stop again.
        self.released = call.go_on or run.passes == run.head

    # -- the way ---------------------------------------------------------------------------------------

    async def to_rest(self) -> None:
        """Walk until the run pauses, ends or fails; what it came to is on disk then.

        Raises :class:`LeaseLost` or :class:`StoreUnavailable`, with everything not committed undone, and what
        a node raised, as :class:`NodeFailed`, once the failure is on disk.
        """
        try:
            root = await self._load_root()
            await self._walk_root(root)
        except (StoreError, UnknownGraph, GraphDrained, asyncio.CancelledError):
            # The database failed, or another process knows the graph: the run is taken up again later.
            raise
        except (NodeMisused, GraphChanged) as error:
            await self._end("needs_attention", error)
            raise NodeFailed(error) from error
        except AnswerInvalid as invalid:
            await self._reopen(invalid)
            raise NodeFailed(invalid.error) from invalid
        except NodeFailed as failed:
            # A subgraph that a function calls is known, and found to be another one, only inside its node.
            changed = isinstance(failed.error, GraphChanged)
            await self._end("needs_attention" if changed else "failed", failed.error, failed.task)
            raise
        except Exception as error:
            await self._end("failed", error)
            raise NodeFailed(error) from error

    async def _walk_root(self, root: Frame) -> None:
        try:
            resting = await self._walk(root)
        except GraphDrained:
            await self._pause(Resting(root))
            raise
        except BaseException:
            await self.barrier()
            raise
        if resting is None and not root.checkpoint.due:
            await self.barrier()
            return
        if resting is not None:
            await self._pause(resting)
            await self.barrier()

    async def _walk(self, frame: Frame) -> Resting | None:
        """Run steps until the frame rests (returned) or nothing is due (None)."""
        # Where it rested already it does not stop again.
        first, goes_on = True, has_begun(frame, self.questions) or (self.released and not frame.new)
        while frame.checkpoint.due:
            if frame.ns == "" and self.call.control is not None and self.call.control.drain_requested:
                raise GraphDrained(self.call.control.drain_reason or "shutdown")
            left = frame.left()
            if not (first and goes_on) and self.call.stops_before(frame.plan, frame.ns, left):
                return Resting(frame)
            resting = await self._step(frame, left)
            if resting is not None:
                return resting
            first = False
            if self.call.stops_after(frame.plan, frame.ns, left):
                if frame.checkpoint.due:
                    return Resting(frame)
                if frame.ns == "":
                    self.call.stream.stop()
        if frame.ns == "" and first:
            # A graph that leads from START to END, or a run that was continued with nothing left to do.
            writes = [self._hold(), *closing(self.ground, self.run, "completed", None)]
            await self.ledger.commit("finish", writes, at_once=True)
        return None

    async def _step(self, frame: Frame, left: Sequence[Task]) -> Resting | None:
        """Run what is left of the present step and commit where it leads; or say why it rests."""
        due = [task for task in left if may_run(frame, task, self.questions)] if self.questions else left
        taken = frame.steps if frame.ns else self._taken
        if due:
            self.meter.check(frame.plan.name, taken, self.ground.clock())
        scopes = [self._scope(frame, task) for task in due]

        async def save(result: Result) -> None:
            self.tell.finished(frame, result)
            # The only task that is left needs no write of its own: its checkpoint follows at once.
            if len(left) > 1:
                await self._save(frame, result)

        for task in due:
            self.tell.begun(frame, task)
        values = frame.checkpoint.values
        if frame.plan.state.managed:
            values = {**values, **frame.plan.state.managed_values(self.run.max_steps - taken - 1)}
        try:
            async with self.meter.in_time(self.ground.clock()):
                outcomes = await run_tasks(frame.plan, values, scopes, settled=save)
            self.meter.check_time(self.ground.clock())
        except NodeFailed as failed:
            if self.ledger.broken is not None:
                # The node is not to blame: what it could not store here it may store another time.
                raise self.ledger.broken from failed
            self.tell.failed(frame, failed)
            raise
        if self.ledger.broken is not None:
            raise self.ledger.broken
        paused = tuple(outcome for outcome in outcomes if isinstance(outcome, Paused))
        if paused or len(due) < len(left):
            ran = frozenset(task.id for task in due)
            return Resting(frame, paused, ran | frozenset(frame.saved))
        results = [*frame.saved.values()]
        results += [o for o in outcomes if isinstance(o, Result) and o.task.id not in frame.saved]
        await self._merge(frame, results)
        return None

    def _scope(self, frame: Frame, task: Task) -> TaskScope:
        asked: tuple[Question, ...] = ()
        if self.questions:
            asked = tuple(q for q in self.questions if q.ns == frame.ns and q.task_id == task.id)
        given = given_to(self.call, self.run, frame, task, self.ground.clock())
        return TaskScope(frame.plan, task, asked, given, self, frame.ns, self.run.id)

    # -- what tasks ask of their host --------------------------------------------------------------------

    async def retrying(self) -> None:
        """Count a retry. Raises :class:`LimitReached` when the run has used them up."""
        self.meter.spend("retries", 1)

    def spend(self, scope: TaskScope, name: str, amount: float) -> None:
        """Take ``amount`` from the run's budget called ``name``. Raises :class:`LimitReached`."""
        number = scope.seen[f"spend {name}"] = scope.seen.get(f"spend {name}", 0) + 1
        self.meter.spend_at(scope.task.id, f"{scope.attempts} {number} {name}", name, amount)

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
        """Run a graph inside this task to its end, and return its output; or raise the pause."""
        scope.alive("another graph")
        ns = called(scope, memory=memory)
        try:
            frame = await self._load_frame(plan, ns, given, memory=memory)
            if frame is not None:
                frame.config = merged(scope.given.config, config)
                frame.context = scope.given.runtime.context if context is None else context
            resting = None if frame is None else await self._walk(frame)
            if resting is None:
                done = frame or await self._read_frame(plan, ns)
                return plan.result(done.checkpoint.values)
        except NodeFailed as failed:
            raise failed.error from None
        except StoreError as error:
            self.ledger.broken = error
            raise
        scope.inside.append(resting)
        scope.pausing()
        raise GraphInterrupt(tuple(i for p in resting.paused for i in p.interrupts))

    # -- loading -----------------------------------------------------------------------------------------

    async def _load_root(self) -> Frame:
        run = self.run
        if self._begun is not None and self._begun.opened:
            return self._new_root(self._begun)
        rest = self.ground.kept.take(run)
        asks = asks_of_root(run.id)
        *stands, questions = await self.ground.store.read(*(asks if rest is None else asks[-1:]))
        plan = self.ground.plan_of(run)
        self.questions = tuple(records.read_question(plan.codec, row) for row in questions)
        if rest is not None:
            frame = kept_frame(plan, rest)
        else:
            head, values, writes = stands
            frame = read_frame(plan, head[0], values, writes)
        check_fingerprints(self.run, frame)
        await self._begin_root(frame)
        return frame

    def _new_root(self, begun: Begun) -> Frame:
        """Return the frame of a run that was just begun here."""
        self.ledger.begins(begun.unstored)
        first, last = begun.opened[0], begun.opened[-1]
        ids = [one.checkpoint.id for one in begun.opened]
        self.ledger.stands("", first.checkpoint.parent_id, ids)
        frame = Frame(
            "", self.ground.plan_of(self.run), last.checkpoint, last.versions, {}, {}, lists=last.lists
        )
        self.tell.opened(frame, first.checkpoint if first is not last else None)
        return frame

    async def _begin_root(self, frame: Frame) -> None:
        """Tell where the run stands, and remember where it stood before this call."""
        head = frame.checkpoint
        if self.run.origin != "input" or self.run.epoch > 1:
            self.ledger.stands("", head.id)
            self.tell.taken_up(frame, self.questions)
            return
        first = head
        if head.source != "input" and head.parent_id is not None:
            of_first: Params = {"checkpoint_id": head.parent_id}
            (row,), values = await self.ground.store.read(
                Ask("get_checkpoint", of_first), Ask("get_values", of_first)
            )
            codec = frame.plan.codec
            first = records.read_checkpoint(codec, row, values)
        self.ledger.stands("", first.parent_id, [first.id, head.id] if first is not head else [head.id])
        self.tell.opened(frame, first if first is not head else None)

    async def _load_frame(self, plan: Plan, ns: str, given: Any, *, memory: bool | None) -> Frame | None:
        """Return a subgraph's frame where it stands, or a new one at its input; None when it is done."""
        thread = self.run.thread_id
        if self.ledger.knows(ns):
            # It has moved in this walk, and may be ahead of the disk.
            await self.barrier()
        known, head, values, writes = await self.ground.store.read(*asks_of_frame(thread, ns))
        stands = None
        if known:
            frame = read_frame(plan, head[0], values, writes, known[0]["steps"])
            if not known[0]["done"]:
                check_fingerprints(self.run, frame)
                if not self.ledger.knows(ns):
                    self.ledger.stands(ns, frame.checkpoint.id)
                self.tell.taken_up(frame, self.questions)
                return frame
            if memory is not True:
                return None
            stands = read_written(plan, head[0], values)
        opened = self.ground.opening(
            plan,
            thread,
            self.run.id,
            start_updates(plan, given),
            ns=ns,
            stands=stands,
            metadata=self.call.metadata,
        )
        last = opened[-1]
        put: Params = {
            "thread_id": thread,
            "ns": ns,
            "run_id": self.run.id,
            "head": last.checkpoint.id,
            "done": 0,
            "steps": 0,
        }
        writes_ = [do for one in opened for do in one.writes]
        if not self.ledger.knows(ns):
            self.ledger.stands(ns, opened[0].checkpoint.parent_id)
        begun = [self._hold(), *writes_, Do("put_frame", put)]
        await self.ledger.commit("subgraph", begun, beside=True)
        frame = Frame(ns, plan, last.checkpoint, last.versions, {}, {}, new=True, lists=last.lists)
        self.tell.opened(frame, opened[0].checkpoint if len(opened) > 1 else None)
        return frame

    async def _read_frame(self, plan: Plan, ns: str) -> Frame:
        _, head, values, writes = await self.ground.store.read(*asks_of_frame(self.run.thread_id, ns))
        return read_frame(plan, head[0], values, writes)

    # -- committing --------------------------------------------------------------------------------------

    async def _save(self, frame: Frame, result: Result) -> None:
        """Save what one task returned while its siblings still run, so that it is never run again."""
        write = [self._hold(), self._put_write(frame, result)]
        await self.ledger.commit("task", write, beside=True)
        frame.saved[result.task.id] = result

    def _put_write(self, frame: Frame, result: Result) -> Do:
        now = self.ground.clock()
        return records.put_write(frame.plan.codec, frame.checkpoint.id, self.run.id, result, now)

    async def _merge(self, frame: Frame, results: Sequence[Result]) -> None:
        before, run = frame.checkpoint, self.run
        step = before.step + 1
        after = after_step(
            frame.plan,
            run.id,
            frame.ns,
            step + 1,
            values=before.values,
            joins=before.joins,
            held=before.held,
            results=results,
        )
        written = self.ground.checkpoint(
            frame.plan,
            run.thread_id,
            run.id,
            ns=frame.ns,
            parent=before.id,
            step=step,
            source="loop",
            after=after,
            values=before.values,
            versions=frame.versions,
            # A call with durability "exit" keeps only the last: it must stand on nothing that goes.
            lists={} if self.call.durability == "exit" else frame.lists,
            metadata=self.call.metadata,
        )
        self.meter.finished(result.task.id for result in results)
        now = written.checkpoint.created_at
        root, ended = frame.ns == "", not after.due
        # What the author's code chooses at START is no step of the graph's nodes.
        counted = int(any(result.task.node != START for result in results))
        # A finished task asks nothing any more: nobody may answer what no node waits for.
        stale = [
            q.interrupt.id
            for q in self.questions
            if q.status == "open" and any(asked_within(frame.ns, result.task, q) for result in results)
        ]
        moved: list[Do] = []
        if root:
            head: Params = {
                **self.ground.fence(self.run),
                "head": written.checkpoint.id,
                "step": step,
                "counted": counted,
                "used": self.meter.stored(),
                "until": now + self.ground.lease,
                "now": now,
            }
            moved.append(Do("finish_run" if ended else "step_run", head, guard="lease"))
        else:
            moved.append(self._hold())
            put: Params = {
                "thread_id": run.thread_id,
                "ns": frame.ns,
                "run_id": run.id,
                "head": written.checkpoint.id,
                "done": int(ended),
                "steps": frame.steps + counted,
            }
            moved.append(Do("put_frame", put))
        writes = [
            *moved,
            *(self._put_write(frame, result) for result in results if result.task.id not in frame.saved),
            *written.writes,
            *(no_longer_asking(self.ground, run, frame.plan, stale, now) if stale else ()),
            *finishing(self.questions, frame.ns, (result.task for result in results), now),
            *self.ground.routed(run, after, step, now),
            *(ending(self.ground, run, "completed", None, now, reason=None) if root and ended else ()),
        ]
        # Whoever is shown a checkpoint may ask for it by its id.
        watched = self.call.durability == "async" and self.call.stream.shows_checkpoints
        at_once = watched or (root and ended)
        await self.ledger.commit(
            "finish" if root and ended else "step", writes, at_once=at_once, beside=not root
        )
        if root:
            self._taken += counted
        frame.steps += counted
        frame.checkpoint, frame.versions, frame.lists = written.checkpoint, written.versions, written.lists
        frame.saved = {}
        frame.fingerprints = {}
        self.tell.moved(frame, after.changed)
        if root and ended:
            self.call.rested = written.checkpoint.values, ()
            self.ground.outbox_bell.ring()

    async def _pause(self, resting: Resting) -> None:
        every = list(all_resting(resting))
        opened = newly_asked(self.questions, every)
        if opened:
            self.call.check_asking()
            self.meter.spend("questions", len(opened))
            for look in preparing(self.ground, self.run, every[-1].frame.plan, opened):
                await look
        now = self.ground.clock()
        pause = pausing(self.ground, self.run, self.questions, every, opened, self._rest(now), now)
        writes = [self._hold(), *pause]
        await self.ledger.commit("pause", writes, at_once=True)
        self._keep(resting.frame)
        self.call.rested = asked_of(resting.frame, self.questions, every, opened)
        self.tell.rests(resting, self.questions)
        self.ground.outbox_bell.ring()
        if self.ledger.rested is not None and self.ledger.rested["status"] == "queued":
            self.ground.runs_bell.ring()

    def _keep(self, frame: Frame) -> None:
        """Keep where the run rests; not what a stream was shown or a node was sent, which may be changed."""
        kept = self.call.kept and self.call.durability != "exit" and not self.call.stream.heard
        if kept and all(task.push is None for task in frame.checkpoint.due):
            rest = Rest(frame.checkpoint, frame.versions, frame.saved, frame.lists, self.run.epoch)
            self.ground.kept.keep(self.run, rest)

    async def _reopen(self, invalid: AnswerInvalid) -> None:
        """Open the question again whose answer does not fit; nothing of this walk is stored."""
        now = self.ground.clock()
        writes = [
            self._hold(),
            Do("reopen_interrupt", {"interrupt_id": invalid.interrupt_id}),
            self._rest(now, invalid),
            records.put_event(
                self.ground.new_id("evt"),
                "answer.invalid",
                now,
                thread_id=self.run.thread_id,
                run_id=self.run.id,
                interrupt=invalid.interrupt_id,
            ),
        ]
        await self.ledger.commit("reopen", writes, at_once=True)

    def _rest(self, now: int, invalid: AnswerInvalid | None = None) -> Do:
        said = None if invalid is None else said_of(invalid.error, invalid.task_id)
        return Do(
            "rest_run",
            {
                "run_id": self.run.id,
                "used": self.meter.stored(),
                "error": None if said is None else write_json(said),
                "now": now,
            },
        )

    async def _end(self, status: RunStatus, error: BaseException, task: TaskId | None = None) -> None:
        """Record why the run cannot go on. Its checkpoint stays where it was."""
        self.ledger.forget_refused()
        await self.ledger.commit(
            "end", list(closing(self.ground, self.run, status, said_of(error, task))), at_once=True
        )
        self.ground.outbox_bell.ring()
