"""What a walk tells its stream, and when: a frame as it begins, moves and rests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .executor import NodeFailed, Paused
from .frames import Frame, Resting, asked_within
from .plan import Result, live_values
from .streaming import Stream
from .types import START, Checkpoint, Interrupt, Question, Task, TaskId


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells a stream what becomes of frames. What is asked is told once it is stored and can be answered."""

    stream: Stream

    def opened(self, frame: Frame, before: Checkpoint | None) -> None:
        """An input brought the frame where it stands, by way of ``before`` if that was another checkpoint."""
        if not self.stream.heard:
            return
        if before is not None:
            self.stream.checkpoint(frame.plan, before, {}, {})
            brought = {name for task in before.due if task.node == START for name, _ in task.arg}
            changed = [
                name
                for name, by in frame.versions.items()
                if by == frame.checkpoint.id or (by == before.id and name in brought)
            ]
            self.stream.values(frame.ns, frame.plan, frame.checkpoint.values, changed)
        self.stream.checkpoint(frame.plan, frame.checkpoint, {}, {})

    def taken_up(self, frame: Frame, questions: Iterable[Question]) -> None:
        """The frame goes on where it stood."""
        if not self.stream.heard:
            return
        asked: dict[TaskId, tuple[Interrupt, ...]] = {}
        for q in questions:
            if q.ns == frame.ns and q.checkpoint_id == frame.checkpoint.id and q.delivered_at is None:
                asked[q.task_id] = (*asked.get(q.task_id, ()), q.interrupt)
        self.stream.values(frame.ns, frame.plan, frame.checkpoint.values)
        self.stream.checkpoint(frame.plan, frame.checkpoint, asked, frame.saved)

    def begun(self, frame: Frame, task: Task) -> None:
        """The task is about to run."""
        if task.node == START or not self.stream.shows_tasks:
            return
        try:
            sees = frame.plan.nodes[task.node].sees
            given = task.arg if task.push is not None else sees.present(frame.checkpoint.values)
        except Exception:  # noqa: BLE001 - the state does not fit the node, which is about to say so itself
            return
        self.stream.task(frame.ns, task, frame.checkpoint.step + 1, given)

    def finished(self, frame: Frame, result: Result) -> None:
        """A task has returned, while others of its step may still run."""
        if self.stream.heard and result.task.node != START:
            self.stream.result(frame.ns, frame.plan, result, frame.checkpoint.step + 1)

    def failed(self, frame: Frame, failure: NodeFailed) -> None:
        """A task has raised."""
        for task in frame.checkpoint.due:
            if task.id == failure.task and task.node != START:
                self.stream.failure(frame.ns, task, frame.checkpoint.step + 1, failure.error)

    def moved(self, frame: Frame, changed: Iterable[str]) -> None:
        """A step has brought the frame here, and changed these channels."""
        if self.stream.heard:
            self.stream.values(frame.ns, frame.plan, frame.checkpoint.values, changed)
            self.stream.checkpoint(frame.plan, frame.checkpoint, {}, {})

    def rests(self, root: Resting, questions: Sequence[Question]) -> None:
        """The run rests, and everything that it asks is stored."""
        if not self.stream.heard:
            return
        asked = self._asks(root, [q for q in questions if q.status == "open"])
        frame = root.frame
        changed = {name for result in frame.saved.values() for name, _ in result.updates}
        if changed:
            values = live_values(frame.plan, frame.checkpoint.values, frame.saved.values())
            self.stream.values(frame.ns, frame.plan, values, changed)
        if not asked:
            self.stream.stop()

    def _asks(self, resting: Resting, questions: Sequence[Question]) -> tuple[Interrupt, ...]:
        """Tell what each task asks, the innermost first, and return all of it."""
        frame = resting.frame
        paused = {one.task.id: one for one in resting.paused}
        every: tuple[Interrupt, ...] = ()
        for task in frame.left():
            if task.id in paused:
                asked = self._asked_by(paused[task.id], questions)
            else:
                asked = tuple(q.interrupt for q in questions if asked_within(frame.ns, task, q))
            if asked:
                step = frame.checkpoint.step + 1
                self.stream.pause(frame.ns, frame.plan, frame.checkpoint.values, task, step, asked)
            every += asked
        return every

    def _asked_by(self, paused: Paused, questions: Sequence[Question]) -> tuple[Interrupt, ...]:
        inside = (self._asks(one, questions) for one in paused.inside)
        return paused.interrupts + tuple(asked for one in inside for asked in one)
