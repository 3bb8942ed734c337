"""The worked example: pause at ``review``, look, approve, ``publish``, and a further resume is refused."""

from __future__ import annotations

import pytest
from graphs import Count, events, review_then_publish
from kit import MakeRuntime, SettableClock

from graph_runtime import START, RunFinished, Runtime, Store, StoreUnavailable, open_store


@pytest.fixture
def count() -> Count:
    return Count()


async def test_the_worked_example(
    make_runtime: MakeRuntime, store: Store, clock: SettableClock, count: Count
) -> None:
    runtime = make_runtime(review_then_publish(count))
    started = clock.now
    run = await runtime.start("review", {"subject": "post 7"}, thread_id="case-7", requester="U_ANNA")
    clock.pass_seconds(3)
    asked_at = clock.now
    run = await runtime.advance(run.id)
    assert run.status == "interrupted"
    assert run.lease_owner is None, "a waiting run costs nothing"

    # An operator looks before answering.
    view = await runtime.look(run.id)
    (question,) = view.open
    state = view.state
    assert (state.thread_id, view.run.thread_id, question.thread_id) == ("case-7",) * 3
    assert (state.run_id, view.run.id, question.run_id) == (run.id,) * 3
    assert state.checkpoint_id == question.checkpoint_id == run.head
    assert state.interrupts == (question.interrupt,)
    assert len(question.interrupt.id) == 32
    assert question.interrupt.value == {"question": "Publish?", "subject": "post 7"}
    assert question.interrupt.digest.startswith("sha256:")
    assert len(question.interrupt.digest) == len("sha256:") + 64
    assert (state.next, question.node) == (("review",), "review")
    assert [task.id for task in state.tasks] == [question.task_id]
    assert state.values == {"subject": "post 7", "log": []}
    assert (state.step, question.step, run.step) == (0, 0, 0)
    assert (question.asked_at, state.at, view.run.requester) == (asked_at, started, "U_ANNA")
    assert state.created_at == "2026-01-05T09:00:00+00:00"
    assert (question.status, question.answered_at, question.answered_by) == ("open", None, None)

    # The answer reaches exactly that question.
    clock.pass_seconds(60)
    queued = await runtime.resume(
        "case-7", run.id, question.interrupt.id, {"decision": "approve"}, actor="U_BORIS"
    )
    assert queued.status == "queued"
    assert dict(count.of) == {"review": 1}, "resume stores the answer; nothing has run yet"
    run = await runtime.advance(run.id)
    assert run.status == "completed"
    assert dict(count.of) == {"review": 2, "publish": 1}
    done = await runtime.look(run.id)
    assert done.state.next == ()
    assert done.state.values == {
        "subject": "post 7",
        "answer": {"decision": "approve"},
        "log": ["reviewed", "published post 7"],
    }
    (answered,) = done.questions
    assert (answered.status, answered.answered_by, answered.answered_at) == ("answered", "U_BORIS", clock.now)
    assert answered.answer == {"decision": "approve"}
    assert answered.delivered_at == clock.now

    # A further resume of that run is refused, and publish does not run again.
    for said in ({"decision": "approve"}, {"decision": "reject"}):
        with pytest.raises(RunFinished) as refused:
            await runtime.resume("case-7", run.id, question.interrupt.id, said)
        assert refused.value.code == "RUN_FINISHED"
        assert await runtime.claim() is None
    assert count.of["publish"] == 1
    assert await runtime.look(run.id) == done

    # The record tells it again.
    assert [event.kind for event in await events(store, run_id=run.id)] == [
        "run.started",
        "run.interrupted",
        "run.answered",
        "run.routed",
        "run.completed",
        "resume.refused",
        "resume.refused",
    ]
    assert [page.next for page in await runtime.history(run.id)] == [(), ("publish",), ("review",), (START,)]


async def test_the_worked_example_over_a_restart_of_the_whole_program(database: str, count: Count) -> None:
    async with open_store(database) as store:
        first = Runtime(store, [review_then_publish(count)])
        run = await first.start("review", {"subject": "post 8"}, thread_id="case-8")
        await first.advance(run.id)
        view = await first.look(run.id)

    async with open_store(database) as reopened:
        assert reopened.deployment == store.deployment
        second = Runtime(reopened, [review_then_publish(count)])
        assert (await second.look(run.id)) == view
        (question,) = view.open
        await second.resume("case-8", run.id, question.interrupt.id, {"decision": "reject"})
        assert (await second.advance(run.id)).status == "completed"
        assert (await second.look(run.id)).state.values["log"] == ["reviewed", "stopped"]
    assert dict(count.of) == {"review": 2, "stop": 1}
    with pytest.raises(StoreUnavailable):
        await first.start("review", {"subject": "on a closed store"})
