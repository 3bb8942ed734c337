"""What is written when questions are asked, have been answered, or are asked no more."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from . import records
from .companions import PauseFacts
from .errors import NodeMisused
from .frames import Frame, Resting, inside, within
from .ground import Ground
from .plainjson import write_json
from .plan import Plan, live_values
from .storage import Do
from .types import Interrupt, InterruptId, Question, Run, Task, TaskId

#: How often one task may ask something else than before in place of its question.
MAX_CHANGES = 3


def check_changes(questions: Iterable[Question], resting: Resting) -> None:
    """Raise :class:`NodeMisused` when a task has asked something else than before too often."""
    known = list(questions)
    for one in resting.paused:
        # What an operator superseded, by migrating the run, was asked at an earlier checkpoint.
        here = (resting.frame.ns, resting.frame.checkpoint.id, one.task.id)
        earlier = [q for q in known if (q.ns, q.checkpoint_id, q.task_id) == here]
        changes = sum(q.status == "superseded" for q in earlier) + len(one.superseded)
        if changes > MAX_CHANGES:
            raise NodeMisused(
                f"node {one.task.node!r} asked something else than before {changes} times; put what changes "
                "(a clock, a model's words) into step(), or into the state before the node that asks"
            )


Asked = tuple[Frame, Task, Interrupt]


def newly_asked(questions: Iterable[Question], every: Sequence[Resting]) -> list[Asked]:
    """Return what is asked for the first time by all that rests, the innermost first.

    Raises :class:`NodeMisused` when a task has asked something else than before too often.
    """
    for one in every:
        check_changes(questions, one)
    known = {q.interrupt.id for q in questions}
    asked = ((one.frame, p.task, i) for one in every for p in one.paused for i in p.interrupts)
    return [(frame, task, i) for frame, task, i in asked if i.id not in known]


def asked_of(
    root: Frame, questions: Iterable[Question], every: Sequence[Resting], opened: Sequence[Asked]
) -> tuple[Mapping[str, Any], tuple[Interrupt, ...]]:
    """Return the state of a run that rests, with what its finished tasks wrote, and all that it asks."""
    stale = {id_ for one in every for p in one.paused for id_ in p.superseded}
    asked = [q.interrupt for q in questions if q.status == "open" and q.interrupt.id not in stale]
    values = root.checkpoint.values
    if root.saved:
        values = live_values(root.plan, values, root.saved.values())
    return values, (*asked, *(i for _, _, i in opened))


def preparing(ground: Ground, run: Run, plan: Plan, opened: Sequence[Asked]) -> Iterator[Awaitable[None]]:
    """Yield what must be awaited before these questions are asked; mostly nothing."""
    if ground.directory is None or not ground.preparing:
        return
    facts = PauseFacts(
        run, plan, tuple((i, task) for _, task, i in opened), (), ground.clock(), ground.new_id
    )
    for companion in ground.preparing:
        look = companion.prepare(facts, ground.directory)
        if look is not None:
            yield look


def pausing(
    ground: Ground,
    run: Run,
    questions: Iterable[Question],
    every: Sequence[Resting],
    opened: Sequence[Asked],
    rest: Do,
    now: int,
) -> Iterator[Do]:
    """Yield what is written with a pause, between the fence of the run and the rest that ``rest`` writes."""
    root = every[-1].frame
    stale = tuple(id_ for one in every for p in one.paused for id_ in p.superseded)
    facts = PauseFacts(run, root.plan, tuple((i, task) for _, task, i in opened), stale, now, ground.new_id)
    for id_ in stale:
        yield from superseding(ground, run, id_, now)
    for n, (frame, task, i) in enumerate(opened):
        # A microsecond apart, so that they are read in the order in which they were asked.
        yield asking(run, frame, task, i, now + n)
    for companion in ground.companions:
        yield from companion.on_pause(facts)
    for one in every:
        yield from delivering(questions, one.frame.ns, one.ran, now)
    yield rest
    yield records.put_event(
        ground.new_id("evt"),
        "run.interrupted",
        now,
        thread_id=run.thread_id,
        run_id=run.id,
        step=root.checkpoint.step,
        interrupts=[i.id for _, _, i in opened],
    )


def no_longer_asking(
    ground: Ground, run: Run, plan: Plan, stale: Sequence[InterruptId], now: int
) -> Iterator[Do]:
    """Yield what closes questions that finished tasks ask no more."""
    for id_ in stale:
        yield from superseding(ground, run, id_, now)
    facts = PauseFacts(run, plan, (), tuple(stale), now, ground.new_id)
    for companion in ground.companions:
        yield from companion.on_pause(facts)


def asking(run: Run, frame: Frame, task: Task, asked: Interrupt, now: int) -> Do:
    """Return the statement that opens a question."""
    schema = asked.response_schema
    return Do(
        "put_interrupt",
        {
            "interrupt_id": asked.id,
            "thread_id": run.thread_id,
            "run_id": run.id,
            "checkpoint_id": frame.checkpoint.id,
            "task_id": task.id,
            "ns": frame.ns,
            "node": task.node,
            "step": frame.checkpoint.step,
            "key": asked.key,
            "occurrence": asked.occurrence,
            "value": frame.plan.codec.encode(asked.value),
            "digest": asked.digest,
            "response_schema": None if schema is None else write_json(schema),
            "now": now,
        },
    )


def delivering(questions: Iterable[Question], ns: str, tasks: Collection[TaskId], now: int) -> Iterable[Do]:
    """Yield what says that these tasks have run with the answers they had."""
    for q in questions:
        if q.ns == ns and q.task_id in tasks and q.status == "answered" and q.delivered_at is None:
            yield Do("deliver_interrupt", {"interrupt_id": q.interrupt.id, "now": now})


def finishing(questions: Iterable[Question], ns: str, tasks: Iterable[Task], now: int) -> Iterable[Do]:
    """Yield what says that these tasks have come to their end, with the answers they had.

    What they asked is past: a walk that goes on from here need not know of it. Not so what a subgraph asked
    that keeps its memory over their node's calls; that is past when its own task has finished.
    """
    ended = list(tasks)
    for q in questions:
        if any((q.ns == ns and q.task_id == t.id) or within(inside(ns, t), q.ns) for t in ended):
            yield Do("finish_interrupt", {"interrupt_id": q.interrupt.id, "now": now})


def superseding(ground: Ground, run: Run, interrupt_id: InterruptId, now: int) -> tuple[Do, ...]:
    """Return what closes a question that its task asks no more."""
    return (
        Do("supersede_interrupt", {"interrupt_id": interrupt_id}),
        records.put_event(
            ground.new_id("evt"),
            "interrupt.superseded",
            now,
            thread_id=run.thread_id,
            run_id=run.id,
            interrupt=interrupt_id,
        ),
    )
