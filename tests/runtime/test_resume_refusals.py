"""An answer reaches its question once, or is refused by a typed error with nothing run and a journal line."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from graphs import (
    Count,
    Log,
    answer_only,
    begin,
    events,
    one_after_another,
    review_then_publish,
    side_by_side,
    values,
)
from kit import MakeRuntime, SettableClock

from graph_runtime import (
    AlreadyAnswered,
    DecisionNeeded,
    InterruptClosed,
    NotPaused,
    Policy,
    Requests,
    ResumeRefused,
    Run,
    RunCancelled,
    RunFinished,
    Runtime,
    Store,
    ThreadBusy,
    UnknownInterrupt,
    UnknownRun,
    UnknownThread,
    ValueRefused,
    WrongThread,
    interrupt,
)

pytestmark = pytest.mark.databases("sqlite", "postgres")

APPROVE = {"decision": "approve"}


class Case:
    """A run that waits at ``review``, and what must stay as it is when an answer is refused."""

    def __init__(self, runtime: Runtime, run: Run, interrupt_id: str, count: Count) -> None:
        self.runtime, self.run, self.interrupt_id, self.count = runtime, run, interrupt_id, count

    async def seen(self) -> tuple[Any, ...]:
        view = await self.runtime.look(self.run.id)
        return view, dict(self.count.of)

    async def refuses(
        self, refusal: type[ResumeRefused], *, thread: str = "", run: str = "", question: str = ""
    ) -> str:
        """Check that the answer is refused, that only the journal knows, and return the sentence."""
        store = self.runtime.store
        before, lines = await self.seen(), len(await events(store))
        ids = thread or self.run.thread_id, run or self.run.id, question or self.interrupt_id
        with pytest.raises(refusal) as raised:
            await self.runtime.resume(*ids, APPROVE, actor="U1")
        assert type(raised.value) is refusal
        assert await self.runtime.claim() is None, "a refused answer made a run claimable"
        assert await self.seen() == before
        written = await events(store)
        assert len(written) == lines + 1
        line = written[-1]
        assert (line.kind, line.actor, line.thread_id, line.run_id) == ("resume.refused", "U1", *ids[:2])
        assert line.data == {"interrupt": ids[2], "code": refusal.code}
        return str(raised.value)


@pytest.fixture
def count() -> Count:
    return Count()


@pytest.fixture
async def case(make_runtime: MakeRuntime, count: Count) -> Case:
    runtime = make_runtime(review_then_publish(count))
    run = await begin(runtime, thread_id="case-1")
    (asked,) = (await runtime.look(run.id)).open
    return Case(runtime, run, asked.interrupt.id, count)


async def test_an_unknown_thread_is_refused(case: Case) -> None:
    assert "'case-9'" in await case.refuses(UnknownThread, thread="case-9")


@pytest.mark.parametrize("thread", ["", " ", "None", "CASE-1", "case-1 "])
async def test_a_thread_id_must_be_exactly_the_stored_one(case: Case, thread: str) -> None:
    with pytest.raises(UnknownThread):
        await case.runtime.resume(thread, case.run.id, case.interrupt_id, APPROVE)


async def test_an_unknown_run_is_refused(case: Case) -> None:
    assert "'run-9'" in await case.refuses(UnknownRun, run="run-9")


async def test_another_case_s_run_is_refused_although_both_exist(case: Case) -> None:
    other = await begin(case.runtime, thread_id="case-2")
    await case.refuses(WrongThread, run=other.id)
    await case.refuses(WrongThread, thread="case-2")


async def test_the_earlier_run_of_the_same_thread_is_refused(case: Case) -> None:
    await answer_only(case.runtime, case.run, APPROVE)
    second = await begin(case.runtime, thread_id="case-1")
    (asked,) = (await case.runtime.look(second.id)).open
    await Case(case.runtime, second, asked.interrupt.id, case.count).refuses(RunFinished, run=case.run.id)


async def test_another_run_s_question_is_refused(case: Case) -> None:
    other = await begin(case.runtime, thread_id="case-2")
    (asked,) = (await case.runtime.look(other.id)).open
    sentence = await case.refuses(UnknownInterrupt, question=asked.interrupt.id)
    assert case.interrupt_id in sentence, "the sentence names what the run does wait for"


async def test_an_unknown_question_is_refused(case: Case) -> None:
    await case.refuses(UnknownInterrupt, question="0" * 32)


async def test_a_second_answer_is_refused_before_the_run_has_moved(case: Case) -> None:
    await case.runtime.resume(case.run.thread_id, case.run.id, case.interrupt_id, {"decision": "reject"})
    with pytest.raises(AlreadyAnswered):
        await case.runtime.resume(case.run.thread_id, case.run.id, case.interrupt_id, APPROVE)
    await case.runtime.advance(case.run.id)
    assert dict(case.count.of) == {"review": 2, "stop": 1}


async def test_a_second_answer_is_refused_while_the_run_waits_for_another_one(
    make_runtime: MakeRuntime, count: Count
) -> None:
    async def twice(state: Log) -> Log:
        count("twice")
        return {"log": [interrupt("first"), interrupt("second")]}

    runtime = make_runtime(one_after_another(twice=twice))
    run = await begin(runtime)
    (first,) = (await runtime.look(run.id)).open
    run = await answer_only(runtime, run, 1)
    await Case(runtime, run, first.interrupt.id, count).refuses(AlreadyAnswered)


async def test_a_superseded_question_is_refused(make_runtime: MakeRuntime, count: Count) -> None:
    amounts = iter([100, 100_000])

    async def pay(state: Log) -> Log:
        count("pay")
        return {"answer": interrupt(f"pay {next(amounts)}?")}

    runtime = make_runtime(one_after_another(pay=pay))
    run = await begin(runtime)
    (old,) = (await runtime.look(run.id)).open
    run = await answer_only(runtime, run, "yes")
    (new,) = (await runtime.look(run.id)).open
    assert new.interrupt.value == "pay 100000?"
    assert "superseded" in await Case(runtime, run, old.interrupt.id, count).refuses(InterruptClosed)


async def test_a_run_that_has_not_begun_is_not_paused(make_runtime: MakeRuntime, store: Store) -> None:
    runtime = make_runtime(review_then_publish())
    run = await runtime.start("review", {"subject": "s"})
    with pytest.raises(NotPaused):
        await runtime.resume(run.thread_id, run.id, "0" * 32, APPROVE)
    (line,) = await events(store, kind="resume.refused")
    assert line.data["code"] == "NOT_PAUSED"


async def test_a_run_that_is_under_way_is_not_paused(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(review_then_publish())
    await runtime.start("review", {"subject": "s"})
    run = await runtime.claim()
    assert run is not None
    with pytest.raises(NotPaused):
        await runtime.resume(run.thread_id, run.id, "0" * 32, APPROVE)
    assert (await runtime.drive(run)).status == "interrupted"


async def test_a_finished_run_is_refused_by_its_consumed_question(case: Case) -> None:
    run = await answer_only(case.runtime, case.run, APPROVE)
    assert run.status == "completed"
    await case.refuses(RunFinished)
    assert dict(case.count.of) == {"review": 2, "publish": 1}


async def test_a_failed_run_is_refused(make_runtime: MakeRuntime, count: Count) -> None:
    async def ask(state: Log) -> Log:
        count("ask")
        raise ValueError(interrupt("go?"))

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    (asked,) = (await runtime.look(run.id)).open
    run = await answer_only(runtime, run, "yes")
    assert run.status == "failed"
    await Case(runtime, run, asked.interrupt.id, count).refuses(RunFinished)


async def test_a_cancelled_run_is_refused(case: Case) -> None:
    await case.runtime.cancel(case.run.thread_id, case.run.id, actor="U2")
    await case.refuses(RunCancelled)


async def test_a_run_that_needs_attention_is_refused_at_once_and_keeps_its_question(
    make_runtime: MakeRuntime, count: Count
) -> None:
    async def quiet(state: Log) -> Log:
        count("quiet")
        return {"answer": interrupt("quiet?")}

    async def swallow(state: Log) -> Log:
        count("swallow")
        interrupt("loud?")
        try:
            interrupt("swallowed")
        except BaseException:  # noqa: BLE001 - that is what this node does wrong
            return {}
        return {}

    runtime = make_runtime(side_by_side(quiet=quiet, swallow=swallow))
    run = await begin(runtime)
    ids = {q.interrupt.value: q.interrupt.id for q in (await runtime.look(run.id)).open}
    await runtime.resume(run.thread_id, run.id, ids["loud?"], "yes")
    run = await runtime.advance(run.id)
    assert run.status == "needs_attention"
    async with asyncio.timeout(5):
        await Case(runtime, run, ids["quiet?"], count).refuses(NotPaused)


async def test_new_input_for_a_paused_thread_is_refused(case: Case) -> None:
    before = await case.seen()
    with pytest.raises(ThreadBusy, match="interrupted"):
        await case.runtime.start("review", {"subject": "other"}, thread_id="case-1")
    assert await case.seen() == before
    assert len(await case.runtime.runs()) == 1


async def test_a_question_with_a_request_needs_a_decision(make_runtime: MakeRuntime, count: Count) -> None:
    policies = Requests({"default": Policy(people=("U_BOSS",))})
    runtime = make_runtime(review_then_publish(count), companions=[policies])
    run = await begin(runtime)
    (asked,) = (await runtime.look(run.id)).open
    await Case(runtime, run, asked.interrupt.id, count).refuses(DecisionNeeded)


async def test_an_answer_that_cannot_be_stored_leaves_the_question_open(case: Case) -> None:
    before = await case.seen()
    with pytest.raises(ValueRefused):
        await case.runtime.resume(case.run.thread_id, case.run.id, case.interrupt_id, object())
    assert await case.seen() == before
    assert (await answer_only(case.runtime, case.run, APPROVE)).status == "completed"


async def test_an_answer_for_another_run_does_not_move_either_run(case: Case) -> None:
    other = await begin(case.runtime, thread_id="case-2")
    with pytest.raises(WrongThread):
        await case.runtime.resume("case-2", case.run.id, case.interrupt_id, APPROVE)
    assert {r.status for r in await case.runtime.runs()} == {"interrupted"}
    assert (await case.runtime.get(other.id)).status == "interrupted"


@pytest.mark.parametrize("runtimes", [1, 3])
async def test_of_forty_answers_at_once_one_is_accepted(
    make_runtime: MakeRuntime, count: Count, store: Store, runtimes: int
) -> None:
    houses = [make_runtime(review_then_publish(count)) for _ in range(runtimes)]
    run = await begin(houses[0])
    (asked,) = (await houses[0].look(run.id)).open

    async def say(number: int) -> Mapping[str, Any] | ResumeRefused:
        said = {"decision": "approve", "number": number}
        try:
            await houses[number % runtimes].resume(run.thread_id, run.id, asked.interrupt.id, said)
        except ResumeRefused as refusal:
            return refusal
        return said

    said = await asyncio.gather(*(say(number) for number in range(40)))
    accepted = [one for one in said if not isinstance(one, ResumeRefused)]
    assert len(accepted) == 1
    assert {type(one) for one in said if isinstance(one, ResumeRefused)} == {AlreadyAnswered}
    assert (await houses[-1].advance(run.id)).status == "completed"
    assert dict(count.of) == {"review": 2, "publish": 1}
    assert (await values(houses[0], run))["answer"] == accepted[0]
    assert len(await events(store, kind="run.answered")) == 1
    assert len(await events(store, kind="resume.refused")) == 39


async def test_forty_answers_while_workers_drive_run_publish_once(
    make_runtime: MakeRuntime, count: Count
) -> None:
    runtime, worker = make_runtime(review_then_publish(count)), make_runtime(review_then_publish(count))
    run = await begin(runtime)
    (asked,) = (await runtime.look(run.id)).open

    async def say() -> bool:
        try:
            await runtime.resume(run.thread_id, run.id, asked.interrupt.id, APPROVE)
        except (AlreadyAnswered, RunFinished):
            return False
        await worker.advance(run.id)
        return True

    assert sum(await asyncio.gather(*(say() for _ in range(40)))) == 1
    assert dict(count.of) == {"review": 2, "publish": 1}


async def test_cancel_refuses_what_it_cannot_end(case: Case, clock: SettableClock) -> None:
    runtime, run = case.runtime, case.run
    for ids, refusal in [
        (("case-9", run.id), UnknownThread),
        ((run.thread_id, "run-9"), UnknownRun),
    ]:
        with pytest.raises(refusal):
            await runtime.cancel(*ids)
    other = await begin(runtime, thread_id="case-2")
    with pytest.raises(WrongThread):
        await runtime.cancel("case-2", run.id)
    await answer_only(runtime, run, APPROVE)
    with pytest.raises(RunFinished):
        await runtime.cancel(run.thread_id, run.id)
    await runtime.cancel("case-2", other.id)
    with pytest.raises(RunCancelled):
        await runtime.cancel("case-2", other.id)
