"""Plays one drawn program on real runtimes over one real store, and compares with the model after each operation."""

from __future__ import annotations

import asyncio
import itertools
import json
import pprint
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import disk
from disk import Disk
from drawn import (
    END,
    START,
    Answer,
    AnswerAcross,
    AnswerAgain,
    AnswerAll,
    AnswerTwice,
    Cancel,
    Drive,
    Edit,
    Fate,
    Fork,
    GoOn,
    Graph,
    LetGo,
    Operation,
    Pass,
    Program,
    Retry,
    Start,
    TakeUp,
    Work,
)
from kit import SettableClock
from model import MAX_STEPS, Model, Moment, Question, Run, agree
from world import Doing, Door, Process, World, compiled, doing

from graph_runtime import Runtime, Store, open_store
from graph_runtime.runtime import LEASE
from graph_runtime.storage import Batch, keep_memory

T = TypeVar("T")
#: More rounds of work than any drawn graph needs to come to an end.
MANY = 300
THREAD = "thread "


@dataclass(frozen=True)
class Held:
    """An operation that was stopped at a commit, and how its outcome is judged once it is let go."""

    doing: Doing
    task: asyncio.Task[Any]
    judge: Callable[[], Awaitable[None]]
    run: Run | None = None


class Trial:
    """Two processes, the world they act on, and the model of what must be true."""

    def __init__(self, graph: Graph, store: Store, database: sqlite3.Connection) -> None:
        self.world, self.model = World(), Model(graph)
        self.told: list[str] = []
        self._graph = compiled(graph, self.world)
        self._nodes = (*(node.name for node in graph.nodes), START, END)
        self._store, self._door, self._database = store, Door(store), database
        self._clock = SettableClock()
        self._ids, self._owners = itertools.count(1), itertools.count(1)
        self._answers, self._turns = itertools.count(1), itertools.count(1)
        self._processes = [self._process(number) for number in range(2)]
        self._held: list[Held] = []
        self._refused = 0
        self._touched: Run | None = None

    def _process(self, number: int) -> Process:
        runtime = Runtime(
            self._door,
            [self._graph],
            clock=self._clock,
            new_id=lambda kind: f"{kind}-{next(self._ids):08}",
            owner=f"process {next(self._owners)}",
            max_steps=MAX_STEPS,
        )
        return Process(number, runtime)

    # -- playing --------------------------------------------------------------------------------------------

    async def play(self, operations: Sequence[Operation]) -> None:
        """Play the operations, then bring every run to its end."""
        try:
            for number, operation in enumerate(operations, 1):
                self.told.append(f"{number}. {operation}")
                self._clock.now += 1_000
                await self._do(operation)
                await self._check(self._touched)
            await self._end()
        finally:
            for held in self._held:
                held.doing.process.dead = True
                held.doing.gate.set()
            await asyncio.gather(*(held.task for held in self._held), return_exceptions=True)

    async def _end(self) -> None:
        """Bring every run to its end, let go whoever still stands somewhere, and see that nothing is left."""
        self.told.append("the end: overtake whoever drives, answer whatever is asked, until nothing is left")
        await self._finish()
        if self._held:
            # What had read the thread before all this must not act on it as it was then.
            for thread in self.model.threads:
                await self._start(Start(int(thread.removeprefix(THREAD)), 1))
            await self._finish()
        while self._held:
            await self._let_go(self._held[0])
            await self._check(None)
        await self._finish()
        for run in self._runs:
            await self._check(run)
        for answer, question in self.model.accepted.items():
            reached = {(question.run.id, question.job.id, question.number)}
            assert question.delivered or question.status == "superseded" or question.run.status != "completed"
            # A node whose run did not get any further may have had it and not lived to say so.
            given = self.world.given[answer]
            assert given == reached if question.delivered else given <= reached, f"{answer} reached {given}"

    async def _finish(self) -> None:
        """Work until every run has ended. Each driver stands at some commit, and is overtaken there."""
        for number in range(MANY):
            await self._overtake()
            await self._do(Work(number % 2, Fate(1 + number % 4, "before", dies=False)))
            await self._check(self._touched)
            waiting = [run for run in self._runs if run.status == "interrupted"]
            if any(run.living and run not in waiting for run in self._runs):
                continue
            if not waiting:
                return
            await self._do(AnswerAll(0) if any(run.open for run in waiting) else GoOn(0))
        raise AssertionError("a run never came to its end")

    async def _overtake(self) -> None:
        """Let each driver that stands somewhere go on while a new one of the same process has the run.

        The new one has written nothing yet that could be in the way of the old one: nothing but the epoch tells
        them apart. What is answered meanwhile, neither of them knows of.
        """
        await self._do(Pass())
        for held in [held for held in self._held if held.run is not None]:
            run, process = held.run, held.doing.process.number
            if run is not None and run.driver is held.doing:
                await self._claim(run, Drive(0, process, Fate(1, "before", dies=False)))
                await self._check(run)
                if run.open:
                    await self._answers_to(AnswerAll(0), run.thread, run.id, [q.id for q in run.open])
            self._tell("let go")
            await self._let_go(held, cancelled=next(self._turns) % 2 == 0)
            await self._check(run)
        for held in [held for held in self._held if held.run is not None]:
            await self._let_go(held)
            await self._check(held.run)

    async def _do(self, operation: Operation) -> None:
        self._touched = None
        if not self.model.runs and not isinstance(operation, Start):
            return
        await getattr(self, f"_{type(operation).__name__.lower()}")(operation)

    # -- beginning ------------------------------------------------------------------------------------------

    async def _start(self, said: Start) -> None:
        thread = f"{THREAD}{said.thread}"

        def begun(now: Disk) -> None:
            self.model.start(thread, said.total, self._last_run(now, thread))

        await self._ask(
            said,
            lambda runtime: runtime.start("graph", {"total": said.total}, thread_id=thread),
            lambda: self.model.busy(thread),
            begun,
        )

    async def _retry(self, said: Retry) -> None:
        run = self._pick_run(said.run, lambda run: self.model.refuse_retry(run) is None)
        await self._ask(
            said,
            lambda runtime: runtime.retry(run.thread, run.id),
            lambda: self.model.refuse_retry(run),
            lambda now: self.model.retry(run, self._last_run(now, run.thread)),
        )

    async def _fork(self, said: Fork) -> None:
        thread = self._pick_thread(said.thread, lambda last: not last.living)
        checkpoint, moment = self._moment(await self._read(), thread, said.checkpoint)
        await self._ask(
            said,
            lambda runtime: runtime.fork(thread, checkpoint),
            lambda: self.model.busy(thread),
            lambda now: self.model.fork(thread, moment, self._last_run(now, thread)),
        )

    async def _edit(self, said: Edit) -> None:
        thread = self._pick_thread(said.thread, lambda last: last.status not in {"queued", "running"})
        node = self._pick(self._nodes, said.node)
        now, checkpoint, moment = await self._read(), None, None
        last = self.model.threads[thread][-1]
        if said.checkpoint is not None and node != END:
            checkpoint, moment = self._moment(now, thread, said.checkpoint)
        at_head = checkpoint in {None, now.runs[last.id]["head"]}

        def stands(run: Run) -> Any:
            return run, run.place.step, {(q.id, q.delivered) for q in run.questions.values()}

        rested, before = last.status == "interrupted", stands(last)

        def refusal() -> str | None:
            if not self._late:
                return self.model.refuse_edit(thread, at_head=at_head)
            # Whatever it had read must be as it was, but for an answer nobody has used: the same is asked there.
            then = self.model.threads[thread][-1]
            still = then.status in ({"interrupted", "queued"} if rested else {last.status})
            return None if still and stands(then) == before else "ThreadBusy"

        await self._ask(
            said,
            lambda runtime: runtime.edit(
                thread, None if node == END else {"total": said.total}, as_node=node, at=checkpoint
            ),
            refusal,
            lambda now: self.model.edit(thread, node, said.total, moment, self._last_run(now, thread)),
        )

    def _moment(self, now: Disk, thread: str, number: int) -> tuple[str, Moment]:
        """Return a checkpoint of the thread, the newest one first, and what the model knows of it."""
        found = [c for c in now.rows["checkpoints"] if c["thread_id"] == thread and not c["ns"]]
        row = self._pick(sorted(found, key=lambda c: c["checkpoint_id"], reverse=True), number)
        line = self.model.runs[row["run_id"]].place.line
        return row["checkpoint_id"], next(moment for moment in line if moment.step == row["step"])

    # -- answering and ending -------------------------------------------------------------------------------

    async def _answer(self, said: Answer) -> None:
        await self._say(said, self._pick(self._open, said.question))

    async def _answeragain(self, said: AnswerAgain) -> None:
        await self._say(said, self._pick(self.model.questions, said.question))

    async def _say(self, said: Answer | AnswerAgain, question: Question | None) -> None:
        if question is not None:
            await self._answers_to(said, question.run.thread, question.run.id, [question.id])

    async def _answeracross(self, said: AnswerAcross) -> None:
        question = self._pick(self.model.questions, said.question)
        if question is None:
            return
        ids = {"thread": question.run.thread, "run": question.run.id, "question": question.id}
        others = {
            "thread": list(self.model.threads),
            "run": list(self.model.runs),
            "question": [other.id for other in self.model.questions],
        }
        wrong = [*(other for other in others[said.wrong] if other != ids[said.wrong]), "nowhere"]
        ids[said.wrong] = self._pick(wrong, said.other)
        await self._answers_to(said, ids["thread"], ids["run"], [ids["question"]])

    async def _answerall(self, said: AnswerAll) -> None:
        run = self._pick_run(said.run, lambda run: bool(run.open))
        asked = [q.id for q in run.open]
        if said.spoiled:
            asked.append(next((q.id for q in run.questions.values() if q.status != "open"), "nowhere"))
        if asked:
            await self._answers_to(said, run.thread, run.id, asked)

    async def _answers_to(self, said: Any, thread: str, run: str, asked: Sequence[str]) -> None:
        answers = {id_: f"answer {next(self._answers)}" for id_ in asked}

        def refusal() -> str | None:
            refusals = (self.model.refuse_answer(thread, run, id_) for id_ in asked)
            return next((name for name in refusals if name is not None), None)

        def answered(_: Disk) -> None:
            for question in list(self.model.runs[run].questions.values()):
                if question.id in answers:
                    self.model.answer(question, answers[question.id])

        await self._ask(
            said, lambda runtime: runtime.resume_all(thread, run, answers), refusal, answered, journaled=True
        )

    async def _answertwice(self, said: AnswerTwice) -> None:
        question = self._pick(self._open, said.question)
        if question is None:
            return
        answers = [f"answer {next(self._answers)}" for _ in self._processes]
        tasks = [
            self._begin(
                Doing(process),
                lambda r, a=answer: r.resume(question.run.thread, question.run.id, question.id, a),
            )
            for process, answer in zip(self._processes, answers, strict=True)
        ]
        await asyncio.wait(tasks)
        errors = [_error(task) for task in tasks]
        self._tell(f"{errors}")
        assert sorted(errors, key=str) == ["AlreadyAnswered", None], f"of two answers at once: {errors}"
        self._refused += 1
        self.model.answer(question, answers[errors.index(None)])

    async def _cancel(self, said: Cancel) -> None:
        run = self._pick_run(said.run, lambda run: run.living)

        def cancelled(now: Disk) -> None:
            self.model.catch_up(run, now)
            self.world.overtaken.add(run.driver)
            self.model.cancel(run)

        await self._ask(
            said,
            lambda runtime: runtime.cancel(run.thread, run.id),
            lambda: self.model.refuse_run(run.thread, run.id),
            cancelled,
        )

    async def _goon(self, said: GoOn) -> None:
        run = self._pick_run(said.run, lambda run: self.model.refuse_go_on(run.thread, run.id) is None)

        def refusal() -> str | None:
            refused = self.model.refuse_go_on(run.thread, run.id)
            # It is not looked at again: what does not rest any more does not rest, whatever became of it.
            return refused and ("NotPaused" if self._late else refused)

        def gone_on(_: Disk) -> None:
            run.status = "queued"

        await self._ask(
            said,
            lambda runtime: runtime.go_on(run.thread, run.id),
            refusal,
            gone_on,
        )

    # -- calling --------------------------------------------------------------------------------------------

    async def _ask(
        self,
        said: Any,
        call: Callable[[Runtime], Awaitable[Any]],
        refusal: Callable[[], str | None],
        done: Callable[[Disk], None],
        *,
        journaled: bool = False,
    ) -> None:
        """Call a process; what the model refuses must be refused, and what it does not must be done."""
        own = Doing(self._processes[said.process], getattr(said, "fate", None))
        task = self._begin(own, call)

        async def judge() -> None:
            error, died = _error(task), own.process.dead
            if died:
                happened = own.at.startswith("after") and own.at != "after refuse"
            elif error == "CancelledError":
                happened = False
            else:
                expected = refusal()
                assert error == expected, f"it came to {error}, and should have come to {expected}"
                happened = error is None
            self._tell(f"died {own.at}" if died else error or "done")
            self._refused += journaled and (
                own.at == "after refuse" if died else not happened and error != "CancelledError"
            )
            if happened:
                assert refusal() is None
                done(await self._read())
            if died:
                await self._bury(own.process)

        await self._until(own, task)
        if own.stopped:
            self._hold(Held(own, task, judge))
        else:
            await judge()

    # -- driving --------------------------------------------------------------------------------------------

    async def _work(self, said: Work) -> None:
        process = self._processes[said.process]
        claimed = await self._now(process, lambda runtime: runtime.claim())
        claimable = [run.id for run in self._runs if run.claimable]
        assert (claimed is None) == (not claimable), f"claimed {claimed}, could be claimed: {claimable}"
        if claimed is not None:
            assert claimed.id in claimable, f"run {claimed.id} was claimed, although it cannot be"
            await self._drives(said, claimed)

    async def _drive(self, said: Drive) -> None:
        await self._claim(self._pick_run(said.run, lambda run: run.claimable), said)

    async def _claim(self, run: Run, said: Drive) -> None:
        process = self._processes[said.process]
        claimed = await self._now(process, lambda runtime: runtime.claim_this(run.id))
        assert (claimed is None) == (not run.claimable), f"a {run.status} run was claimed: {claimed}"
        if claimed is not None:
            await self._drives(said, claimed)

    async def _takeup(self, said: TakeUp) -> None:
        run = self._pick_run(said.run, lambda run: run.status == "interrupted")
        there = await self._now(self._processes[said.process], lambda runtime: runtime.get(run.id))
        task = self._begin(Doing(self._processes[said.process]), lambda runtime: runtime.take_up(there))
        await asyncio.wait([task])
        error = _error(task)
        assert error == (None if run.status == "interrupted" else "ThreadBusy"), (
            f"{error} for a {run.status} run"
        )
        if error is None:
            await self._drives(said, task.result())

    async def _drives(self, said: Work | Drive | TakeUp, claimed: Any) -> None:
        run = self.model.runs[claimed.id]
        own = Doing(self._processes[said.process], said.fate)
        if run.driver is not None:
            self.world.overtaken.add(run.driver)
        self.model.claim(run, own)
        task = self._begin(own, lambda runtime: runtime.drive(claimed))
        await self._until(own, task)
        if own.stopped:
            self._hold(Held(own, task, lambda: self._driven(own, task, run), run))
            await self._now_is(run, await self._read())
        else:
            await self._driven(own, task, run)

    async def _driven(self, own: Doing, task: asyncio.Task[Any], run: Run) -> None:
        """Judge a drive that has ended or died."""
        self._touched = run
        error = _error(task)
        if own.process.dead:
            await self._bury(own.process)
            self._tell(f"{run.id}: died {own.at}")
        elif run.driver is not own:
            assert error in {None, "LeaseLost", "CancelledError"}, (
                f"a driver that was overtaken came to {error}"
            )
            self._tell(f"{run.id}: was overtaken, {error}")
            return
        else:
            assert error in {None, "CancelledError"}, (
                f"{run.id}: the drive came to {error}: {task.exception()!r}"
            )
        if run.driver is own:
            await self._now_is(run, await self._read())

    async def _now_is(self, run: Run, now: Disk) -> None:
        """Follow a run that was driven: where it had to go, or, if that was disturbed, as far as it is on disk."""
        own, there = run.driver, now.runs[run.id]
        paused = sum(event["run_id"] == run.id for event in now.events("run.interrupted")) > run.pauses
        broken = self.world.broken[own]
        disturbed = own.stopped or own.process.dead
        if there["status"] == "running":
            assert disturbed, f"nobody drives run {run.id}, and it is running"
            self.model.catch_up(run, now)
        elif there["status"] == "queued" and not paused:
            assert own.at and not disturbed, f"run {run.id} was put back into the queue"
            self.model.stopped(run, now)
        elif broken and not paused and there["status"] != "completed":
            self.model.failed(run, now)
            error = json_of(there["error"])
            assert (there["status"], error["type"]) == ("failed", "Broken"), (
                f"run {run.id} is {there['status']}: {error}"
            )
            assert error["task"] in broken & {job.id for job in run.place.left}, "another task failed"
        else:
            assert not broken, f"{broken} failed in run {run.id}, and it is {there['status']}"
            came_to = self.model.rest(run)
            error = json_of(there["error"] or "null")
            assert (came_to == "limit") == (error is not None), f"run {run.id} {came_to}: {error}"
            assert error is None or error["type"] == "GraphRecursionError", f"run {run.id}: {error}"
        self._tell(f"{run.id}: {own.at and f'{own.at}, '}{run.status} at step {run.place.step}")

    # -- stopping and crashing ------------------------------------------------------------------------------

    async def _pass(self, _: Pass) -> None:
        self._clock.now += 2 * LEASE
        for run in self._runs:
            run.lapsed = run.status == "running"

    async def _letgo(self, said: LetGo) -> None:
        held = self._pick(self._held, said.which)
        if held is None:
            return
        if said.how == "kill":
            held.doing.process.dead = True
            await self._bury(held.doing.process)
        else:
            await self._let_go(held, cancelled=said.how == "stop")

    async def _let_go(self, held: Held, *, cancelled: bool = False) -> None:
        """Let an operation that was stopped go on; a driver that was overtaken must not write anything."""
        self._held.remove(held)
        before = await self._read()
        self._stirred = True
        held.doing.gate.set()
        if cancelled:
            held.task.cancel()
        await asyncio.wait([held.task])
        now = await self._read()
        if held.run is not None and held.run.driver is not held.doing:
            changed = [table for table, rows in now.rows.items() if rows != before.rows[table]]
            assert not changed, f"a driver that was overtaken wrote to {changed}"
        self._late = True
        try:
            await held.judge()
        finally:
            self._late = False

    #: What is judged now had read the database before other operations.
    _late = False
    #: Something stopped or died while other things of its process were under way.
    _stirred = False

    async def _bury(self, process: Process) -> None:
        """Let everything that a dead process had begun die with it, and start another one in its place."""
        if self._processes[process.number] is not process:
            return
        self._processes[process.number] = self._process(process.number)
        died = [held for held in self._held if held.doing.process is process]
        self._held = [held for held in self._held if held.doing.process is not process]
        for held in died:
            self._stirred = True
            held.doing.gate.set()
            await asyncio.wait([held.task])
            await held.judge()

    def _hold(self, held: Held) -> None:
        self._held.append(held)
        self._tell(f"stands {held.doing.at}")

    def _begin(self, own: Doing, call: Callable[[Runtime], Awaitable[T]]) -> asyncio.Task[T]:
        async def inside() -> T:
            doing.set(own)
            return await call(own.process.runtime)

        return asyncio.create_task(inside())

    async def _until(self, own: Doing, task: asyncio.Task[Any]) -> None:
        """Return when the task has ended, or the process was stopped or died in it."""
        reached = asyncio.create_task(own.reached.wait())
        await asyncio.wait([task, reached], return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        if not own.stopped:
            await asyncio.wait([task])
        self._stirred = self._stirred or bool(own.at)

    async def _now(self, process: Process, call: Callable[[Runtime], Awaitable[T]]) -> T:
        """Call a process that is not disturbed."""
        return await self._begin(Doing(process), call)

    # -- looking --------------------------------------------------------------------------------------------

    async def _read(self) -> Disk:
        if self._stirred:
            # What was on its way to the disk has arrived when something that set out later has.
            for _ in range(2):
                await self._store.commit(Batch("nothing", ()))
                await asyncio.sleep(0)
            self._stirred = False
        return disk.read(self._database)

    async def _check(self, looked_at: Run | None) -> None:
        now = await self._read()
        assert not self.world.wrong, self.world.wrong
        disk.check(now, self.world.ran)
        assert set(now.runs) == set(self.model.runs)
        assert {row["thread_id"] for row in now.rows["threads"]} == set(self.model.threads)
        for run in self._runs:
            self._compare(run, now)
        accepted = {row["interrupt_id"] for row in now.rows["interrupts"] if row["answered_at"] is not None}
        assert accepted == {question.id for question in self.model.accepted.values()}
        refused = len(now.events("resume.refused"))
        assert refused == self._refused, f"{refused} refusals in the journal, {self._refused} were made"
        for key, times in self.world.steps.items():
            kept = times - self.world.lost[key] - self.world.under_way[key]
            assert kept <= 1, f"step() called {key} {times} times"
        for answer, reached in self.world.given.items():
            question = self.model.accepted[answer]
            assert reached == {(question.run.id, question.job.id, question.number)}, (
                f"{answer} reached {reached}"
            )
        self.world.finished = set[str]().union(*now.saved.values())
        if looked_at is not None:
            await self._look(looked_at)

    def _compare(self, run: Run, now: Disk) -> None:
        there = now.runs[run.id]
        if run.status == "running" and run.driver is not None:
            self.model.catch_up(run, now)
        is_now = {name: there[name] for name in ("status", "origin", "thread_id", "step", "steps_taken")}
        assert is_now == {
            "status": run.status,
            "origin": run.origin,
            "thread_id": run.thread,
            "step": run.place.step,
            "steps_taken": run.place.taken,
        }, (
            f"run {run.id} is {is_now}, and should be {run.status} at {run.place.step}, {run.place.taken} taken"
        )
        if self.model.threads[run.thread][-1] is run:
            agree(run, run.place, now, there["head"])
        on_disk = now.questions(run.id)
        assert set(on_disk) == {(job.id, number) for job, number in run.questions}, (
            f"run {run.id} asks {set(on_disk)}"
        )
        for question in run.questions.values():
            row = on_disk[question.job.id, question.number]
            question.id = row["interrupt_id"]
            assert row["value"] == question.value
            is_so = (row["status"], json_of(row["answer"] or "null"), row["delivered_at"] is not None)
            should = (question.status, question.answer, question.delivered)
            assert is_so == should, f"{question.id} of {run.id}: {is_so}, and should be {should}"

    async def _look(self, run: Run) -> None:
        """Compare what a reader is shown with the model."""
        process = self._processes[0]
        history = await self._now(process, lambda runtime: runtime.history(run.id))
        shown = [(s.step, s.source, s.values, s.next) for s in reversed(history)]
        line = [(m.step, m.source, m.values, tuple(node for node, *_ in m.due)) for m in run.place.line]
        assert shown == line, f"history: {shown}, should be {line}"
        view = await self._now(process, lambda runtime: runtime.look(run.id))
        assert {q.interrupt.id for q in view.open} == {q.id for q in run.open}
        if self.model.threads[run.thread][-1] is run:
            assert view.state.values == run.place.live_values
            assert view.state.next == tuple(job.node for job in run.place.left)

    def _last_run(self, now: Disk, thread: str) -> str:
        return next(row["last_run"] for row in now.rows["threads"] if row["thread_id"] == thread)

    @property
    def _runs(self) -> list[Run]:
        return list(self.model.runs.values())

    @property
    def _open(self) -> list[Question]:
        return [q for q in self.model.questions if q.status == "open"]

    def _pick_run(self, number: int, likely: Callable[[Run], bool]) -> Run:
        """Return a run; those with which the operation gets somewhere come first."""
        picked = self._pick(sorted(self._runs, key=lambda run: not likely(run)), number)
        assert picked is not None
        return picked

    def _pick_thread(self, number: int, likely: Callable[[Run], bool]) -> str:
        """Return a thread; those with whose last run the operation gets somewhere come first."""
        picked = self._pick(
            sorted(self.model.threads.values(), key=lambda runs: not likely(runs[-1])), number
        )
        assert picked is not None
        return picked[-1].thread

    @staticmethod
    def _pick(among: Sequence[T], number: int) -> T | None:
        return among[number % len(among)] if among else None

    def _tell(self, what: str) -> None:
        self.told.append(f"     {what}")


def _error(task: asyncio.Task[Any]) -> str | None:
    if task.cancelled():
        return "CancelledError"
    error = task.exception()
    return None if error is None else type(error).__name__


def json_of(text: str) -> Any:
    return json.loads(text)


@asynccontextmanager
async def trial(graph: Graph) -> AsyncIterator[Trial]:
    """Give a trial on an empty database in memory."""
    url, let_go = keep_memory()
    database = sqlite3.connect(url.removeprefix("sqlite:///"), uri=True, isolation_level=None)
    try:
        async with open_store(url) as store:
            yield Trial(graph, store, database)
    finally:
        database.close()
        let_go()


async def play(program: Program) -> None:
    """Play a program; an error carries the story of what was done and what it came to."""
    async with trial(program.graph) as played:
        try:
            await played.play(program.operations)
        except BaseException as error:
            drawn = pprint.pformat(program, width=100)
            error.add_note("\n".join([drawn, "What was done, and what it came to:", *played.told]))
            raise
