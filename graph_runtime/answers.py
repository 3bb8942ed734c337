"""What an answer must be to be taken: its thread, run and question belong together, and it waits.

Read, judge, and one guarded batch: whoever loses a race reads again and is judged again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import records
from .edits import Edits
from .errors import (
    AlreadyAnswered,
    Conflict,
    DecisionNeeded,
    GraphChanged,
    InterruptClosed,
    NotPaused,
    ResumeRefused,
    RunCancelled,
    RunFinished,
    ThreadBusy,
    UnknownInterrupt,
    UnknownRun,
    UnknownThread,
    WrongThread,
)
from .frames import changed_since
from .ground import Ground
from .storage import Ask, Batch, Do, Params, Row
from .types import Command, InterruptId, Run


class Answers:
    """Takes answers to open questions. A refusal is one line in the journal and changes nothing else."""

    def __init__(self, ground: Ground, edits: Edits) -> None:
        self._ground = ground
        self._edits = edits

    async def take(
        self,
        thread_id: str,
        run_id: str,
        answers: Mapping[str, Any],
        *,
        actor: str | None,
        command: Command[Any] | None,
    ) -> Run:
        """Store the answers and queue the run. See :meth:`graph_runtime.Runtime.resume_all`."""
        while True:
            run, writes = await self._taking(thread_id, run_id, answers, actor, command)
            try:
                return await self._ground.commit_waking(Batch("answer", writes), run)
            except Conflict:
                continue

    async def take_up(
        self, thread_id: str, run_id: str, answers: Mapping[str, Any], *, command: Command[Any]
    ) -> Run | None:
        """Do so for a caller, claiming the run in the same commit; None when somebody else drives it."""
        while True:
            run, writes = await self._taking(thread_id, run_id, answers, None, command)
            try:
                _, claimed = await self._ground.commit_claiming(Batch("answer", writes), run)
            except Conflict:
                continue
            return claimed

    async def _taking(
        self,
        thread_id: str,
        run_id: str,
        answers: Mapping[str, Any],
        actor: str | None,
        command: Command[Any] | None,
    ) -> tuple[Run, tuple[Do, ...]]:
        """Return the run and what stores these answers to it. Raises the refusal, which is in the journal."""
        run, refusal, bad = await self._answerable(thread_id, run_id, tuple(answers))
        if refusal is not None:
            await self._refuse(refusal, thread_id, run_id, bad, actor)
            raise refusal
        assert run is not None
        codec, now = self._ground.plan_of(run).codec, self._ground.clock()
        writes: list[Do] = []
        if command is not None and (command.update is not None or command.goto):
            if run.status == "running":
                raise ThreadBusy(
                    f"nothing was resumed: run {run_id!r} is driven, its state cannot be changed"
                )
            writes += await self._edits.answering(run, command)
        writes.append(self.wake(run))
        for interrupt_id, answer in answers.items():
            writes += [
                self.answer(run, InterruptId(interrupt_id), codec.encode(answer), actor, now),
                records.put_event(
                    self._ground.new_id("evt"),
                    "run.answered",
                    now,
                    actor=actor,
                    thread_id=thread_id,
                    run_id=run_id,
                    interrupt=interrupt_id,
                ),
            ]
        return run, tuple(writes)

    async def go_on(self, thread_id: str, run_id: str, *, actor: str | None) -> None:
        """Let the run go on from a breakpoint. See :meth:`graph_runtime.Runtime.go_on`."""
        run, refusal = await self.named(thread_id, run_id)
        if refusal is not None:
            raise refusal
        assert run is not None
        (asking,) = await self._ground.store.read(Ask("find_asking", {"run_id": run_id}))
        changed = self.changed(run, asking)
        if changed is not None:
            raise changed
        now = self._ground.clock()
        gone_on: Params = {"run_id": run_id, "thread_id": thread_id, "now": now}
        event = records.put_event(
            self._ground.new_id("evt"), "run.gone_on", now, actor=actor, thread_id=thread_id, run_id=run_id
        )
        try:
            gone = Do("go_on_run", gone_on, guard="run rests")
            await self._ground.store.commit(Batch("go on", (Do("lock_run", {"run_id": run_id}), gone, event)))
        except Conflict as conflict:
            raise NotPaused(
                f"nothing was done: run {run_id!r} does not rest at a breakpoint; what it asks must be "
                "answered, and what runs is left alone"
            ) from conflict
        self._ground.runs_bell.ring()

    async def named(self, thread_id: str, run_id: str) -> tuple[Run | None, ResumeRefused | None]:
        """Return the run when it is alive and of that thread, else why not."""
        threads, runs = await self._ground.store.read(
            Ask("get_thread", {"thread_id": thread_id}), Ask("get_run", {"run_id": run_id})
        )
        return _check_run(thread_id, run_id, threads, runs)

    # -- statements that decisions join to their batches ---------------------------------------------------

    def changed(self, run: Run, asking: Sequence[Row]) -> GraphChanged | None:
        """Say why an answer must not be taken now: a node that waits is another one than it was.

        ``asking`` are the rows of ``find_asking`` for the run. Raises :class:`UnknownGraph`.
        """
        return changed_since(self._ground, run, asking)

    def wake(self, run: Run) -> Do:
        """Return the statement that queues a paused run; its guard is "run alive"."""
        return Do(
            "wake_run",
            {"run_id": run.id, "thread_id": run.thread_id, "now": self._ground.clock()},
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

    # -- the inside ----------------------------------------------------------------------------------------

    async def _answerable(
        self, thread_id: str, run_id: str, interrupt_ids: tuple[str, ...]
    ) -> tuple[Run | None, ResumeRefused | None, str]:
        of_run = {"run_id": run_id}
        asks = [Ask("get_run", of_run), Ask("find_answerable", of_run)]
        if not self._ground.kept.holds(run_id):
            asks.append(Ask("find_asking", of_run))
        runs, questions, *asking = await self._ground.store.read(*asks)
        if runs and runs[0]["thread_id"] == thread_id:
            run, refusal = _check_alive(runs[0])
        else:
            run, refusal = await self.named(thread_id, run_id)
        if refusal is not None or run is None:
            return None, refusal, interrupt_ids[0]
        by_id = {row["interrupt_id"]: row["status"] for row in questions}
        bound = {row["interrupt_id"] for row in questions if row["request"] == "open"}
        past = [id_ for id_ in interrupt_ids if id_ not in by_id]
        if past:
            # Not what it asks now: perhaps what it asked before.
            earlier = (Ask("get_question", {**of_run, "interrupt_id": id_}) for id_ in past)
            found = await self._ground.store.read(*earlier)
            by_id |= {row["interrupt_id"]: row["status"] for rows in found for row in rows}
        if not asking and self._ground.kept.at(run) is None:
            # It has moved since this process saw it rest.
            asking = list(await self._ground.store.read(Ask("find_asking", of_run)))
        for id_ in interrupt_ids:
            refusal = _check_question(run_id, id_, by_id)
            if refusal is None and run.status == "needs_attention":
                refusal = NotPaused(f"nothing was resumed: an operator must look at run {run_id!r} first")
            if refusal is None and id_ in bound:
                refusal = DecisionNeeded(
                    f"nothing was resumed: question {id_!r} has an approval request, whose policy says "
                    "who may answer; decide it there"
                )
            if refusal is None and asking:
                refusal = self.changed(run, asking[0])
            if refusal is not None:
                return None, refusal, id_
        return run, None, ""

    async def _refuse(
        self, refusal: ResumeRefused, thread_id: str, run_id: str, interrupt_id: str, actor: str | None
    ) -> None:
        event = records.put_event(
            self._ground.new_id("evt"),
            "resume.refused",
            self._ground.clock(),
            actor=actor,
            thread_id=thread_id,
            run_id=run_id,
            interrupt=interrupt_id,
            code=refusal.code,
        )
        await self._ground.store.commit(Batch("refuse", (event,)))


def _check_run(
    thread_id: str, run_id: str, threads: Sequence[Row], runs: Sequence[Row]
) -> tuple[Run | None, ResumeRefused | None]:
    if not threads:
        return None, UnknownThread(f"nothing was done: there is no thread {thread_id!r}")
    if not runs:
        return None, UnknownRun(f"nothing was done: there is no run {run_id!r}")
    if runs[0]["thread_id"] != thread_id:
        return None, WrongThread(
            f"nothing was done: run {run_id!r} belongs to another thread than {thread_id!r}"
        )
    return _check_alive(runs[0])


def _check_alive(row: Row) -> tuple[Run | None, ResumeRefused | None]:
    run = records.read_run(row)
    if run.status == "cancelled":
        return None, RunCancelled(f"nothing was done: run {run.id!r} was cancelled")
    if not run.live:
        return None, RunFinished(
            f"nothing was done: run {run.id!r} is {run.status}; it asks nothing any more"
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
