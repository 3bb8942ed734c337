"""A node may ask as it likes, one thing or many, side by side or in turn; each answer reaches its question."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from typing import Any

import pytest
from graphs import (
    Count,
    Log,
    answer,
    answer_only,
    begin,
    events,
    one_after_another,
    open_ids,
    side_by_side,
    take_all,
    values,
)
from kit import MakeRuntime

from graph_runtime import (
    END,
    START,
    Command,
    GraphInterrupt,
    InterruptClosed,
    NodeEnded,
    OutsideNode,
    RetryPolicy,
    Send,
    StateGraph,
    Store,
    ValueRefused,
    current_task,
    interrupt,
    read_tool_policy,
    step,
)

pytestmark = pytest.mark.databases("sqlite", "postgres")


@pytest.fixture
def count() -> Count:
    return Count()


# -- one node -------------------------------------------------------------------------------------------


async def test_several_questions_of_one_node_are_asked_one_after_another(
    make_runtime: MakeRuntime, count: Count
) -> None:
    async def ask(state: Log) -> Log:
        count("ask")
        return {"log": [interrupt("a"), interrupt("b"), interrupt("c")]}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    for question in "abc":
        assert list(await open_ids(runtime, run)) == [question]
        run = await answer(runtime, run, {question: question.upper()})
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == ["A", "B", "C"]
    assert count.of["ask"] == 4


async def test_the_same_thing_asked_in_a_loop_is_a_new_question_each_time(make_runtime: MakeRuntime) -> None:
    async def ask(state: Log) -> Log:
        said = []
        while (one := interrupt("another?")) != "no":
            said.append(one)
        return {"log": said}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    ids = set()
    for said in ["x", "x", "y", "no"]:
        (id_,) = (await open_ids(runtime, run)).values()
        assert id_ not in ids
        ids.add(id_)
        run = await answer_only(runtime, run, said)
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == ["x", "x", "y"]


async def test_a_loop_of_nodes_asks_anew_in_each_round(make_runtime: MakeRuntime) -> None:
    async def ask(state: Log) -> Command[Any]:
        said = interrupt("good?")
        return Command(goto=END if said == "yes" else "ask", update={"log": [said]})

    runtime = make_runtime(StateGraph(Log).add_node(ask).add_edge(START, "ask").compile())
    run = await begin(runtime)
    (first,) = (await open_ids(runtime, run)).values()
    run = await answer_only(runtime, run, "no")
    (second,) = (await open_ids(runtime, run)).values()
    assert first != second
    run = await answer_only(runtime, run, "yes")
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == ["no", "yes"]


@pytest.mark.parametrize("said", [False, 0, "", [], {}, None, 0.0, (), {"decision": None}])
async def test_an_empty_answer_is_an_answer(make_runtime: MakeRuntime, said: Any) -> None:
    async def ask(state: Log) -> Log:
        return {"log": [interrupt("a"), interrupt("b")]}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await answer_only(runtime, await begin(runtime), said)
    assert list(await open_ids(runtime, run)) == ["b"]
    run = await answer_only(runtime, run, "B")
    assert run.status == "completed"
    (got, _) = (await values(runtime, run))["log"]
    assert got == said
    assert type(got) is type(said)


@pytest.mark.parametrize("question", [None, 0, "", False, [], {}, "x" * 100_000, {"$": 1}, ("a", 1)])
async def test_any_storable_value_can_be_asked(make_runtime: MakeRuntime, question: Any) -> None:
    async def ask(state: Log) -> Log:
        return {"answer": interrupt(question)}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    (asked,) = (await runtime.look(run.id)).open
    assert asked.interrupt.value == question
    run = await answer_only(runtime, run, "yes")
    assert (run.status, (await values(runtime, run))["answer"]) == ("completed", "yes")


async def test_a_value_that_cannot_be_stored_is_not_asked(make_runtime: MakeRuntime) -> None:
    async def ask(state: Log) -> Log:
        with pytest.raises(ValueRefused, match="object"):
            interrupt({"what": object()})
        return {}

    assert (await begin(make_runtime(one_after_another(ask=ask)))).status == "completed"


async def test_a_question_asked_in_a_helper_is_the_node_s_question(make_runtime: MakeRuntime) -> None:
    async def deep(what: str) -> Any:
        await asyncio.sleep(0)
        return interrupt(what)

    async def ask(state: Log) -> Log:
        return {"log": [await deep("a"), await deep("b")]}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await answer_only(runtime, await begin(runtime), 1)
    run = await answer_only(runtime, run, 2)
    assert (await values(runtime, run))["log"] == [1, 2]


async def test_a_plain_function_asks_from_its_own_thread(make_runtime: MakeRuntime, count: Count) -> None:
    threads = set()

    def ask(state: Log) -> Log:
        count("ask")
        threads.add(threading.get_ident())
        return {"log": [interrupt("a"), interrupt("b"), current_task().node]}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await answer_only(runtime, await begin(runtime), 1)
    run = await answer_only(runtime, run, 2)
    assert (await values(runtime, run))["log"] == [1, 2, "ask"]
    assert threading.get_ident() not in threads
    assert count.of["ask"] == 3


async def test_a_router_may_ask_and_the_node_it_leaves_runs_again(
    make_runtime: MakeRuntime, count: Count
) -> None:
    async def work(state: Log) -> Log:
        count("work")
        return {"log": ["worked"]}

    def route(state: Log) -> str:
        assert state["log"] == ["worked"]
        return str(interrupt("where?"))

    graph = StateGraph(Log).add_node(work).add_node("next", lambda state: {"log": ["next"]})
    runtime = make_runtime(graph.add_edge(START, "work").add_conditional_edges("work", route).compile())
    run = await answer_only(runtime, await begin(runtime), "next")
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == ["worked", "next"]
    assert count.of["work"] == 2


async def test_a_router_behind_start_may_ask(make_runtime: MakeRuntime) -> None:
    graph = StateGraph(Log).add_node("left", lambda s: {"log": ["left"]})
    graph.add_node("right", lambda s: {"log": ["right"]})
    graph.add_conditional_edges(START, lambda state: interrupt(state["subject"]))
    runtime = make_runtime(graph.compile())
    run = await begin(runtime, {"subject": "left or right?"})
    assert list(await open_ids(runtime, run)) == ["left or right?"]
    run = await answer_only(runtime, run, "right")
    assert (run.status, (await values(runtime, run))["log"]) == ("completed", ["right"])


# -- concurrency inside a node ----------------------------------------------------------------------------


async def _say(what: str) -> Any:
    return interrupt(what)


async def test_questions_gathered_in_a_node_are_all_open_and_taken_in_any_order(
    make_runtime: MakeRuntime,
) -> None:
    async def ask(state: Log) -> Log:
        return {"log": list(await asyncio.gather(_say("a"), _say("b"), _say("c")))}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    assert set(await open_ids(runtime, run)) == {"a", "b", "c"}
    run = await answer(runtime, run, {"c": 3})
    assert set(await open_ids(runtime, run)) == {"a", "b"}
    run = await answer(runtime, run, {"a": 1, "b": 2})
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == [1, 2, 3]


async def test_questions_of_a_task_group_in_a_node_are_all_asked_in_the_end(
    make_runtime: MakeRuntime,
) -> None:
    async def ask(state: Log) -> Log:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_say(what)) for what in "ab"]
        return {"log": [task.result() for task in tasks]}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    said = {"a": 1, "b": 2}
    while run.status == "interrupted":
        ids = await open_ids(runtime, run)
        assert ids
        what = max(ids)
        run = await answer(runtime, run, {what: said[what]})
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == [1, 2]
    assert {q.status for q in (await runtime.look(run.id)).questions} == {"answered"}


async def test_an_answer_is_kept_when_the_re_run_pauses_before_it_reaches_its_question(
    make_runtime: MakeRuntime,
) -> None:
    slow = iter([0, 3, 0, 0])

    async def late(what: str, ticks: int) -> Any:
        for _ in range(ticks):
            await asyncio.sleep(0)
        return interrupt(what)

    async def ask(state: Log) -> Log:
        # In the second execution "b" is not reached before the pause of "a" has left the node.
        return {"log": list(await asyncio.gather(_say("a"), late("b", next(slow))))}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    assert set(await open_ids(runtime, run)) == {"a", "b"}
    run = await answer(runtime, run, {"b": "B"})
    assert {q.interrupt.value: q.status for q in (await runtime.look(run.id)).questions} == {
        "a": "open",
        "b": "answered",
    }
    run = await answer(runtime, run, {"a": "A"})
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == ["A", "B"]


async def test_an_open_question_stays_open_when_the_re_run_pauses_before_it_is_asked_again(
    make_runtime: MakeRuntime,
) -> None:
    slow = iter([0, 3, 0, 0])

    async def late(what: str, ticks: int) -> Any:
        for _ in range(ticks):
            await asyncio.sleep(0)
        return interrupt(what)

    async def ask(state: Log) -> Log:
        return {"log": list(await asyncio.gather(_say("a"), _say("b"), late("c", next(slow))))}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    before = await open_ids(runtime, run)
    assert set(before) == {"a", "b", "c"}
    run = await answer(runtime, run, {"b": "B"})
    after = await open_ids(runtime, run)
    assert after == {"a": before["a"], "c": before["c"]}
    run = await answer(runtime, run, {"c": "C", "a": "A"})
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == ["A", "B", "C"]


async def test_a_question_that_the_finished_node_no_longer_asks_is_closed(
    make_runtime: MakeRuntime, count: Count
) -> None:
    async def ask(state: Log) -> Log:
        count("ask")
        if count.of["ask"] == 1:
            await asyncio.gather(_say("a"), _say("b"))
        return {"log": [interrupt("a")]}

    async def after(state: Log) -> Log:
        return {"log": [interrupt("after")]}

    runtime = make_runtime(one_after_another(ask=ask, after=after))
    run = await begin(runtime)
    ids = await open_ids(runtime, run)
    run = await answer(runtime, run, {"a": 1})
    assert list(await open_ids(runtime, run)) == ["after"], "nobody waits for the answer to b any more"
    with pytest.raises(InterruptClosed):
        await runtime.resume(run.thread_id, run.id, ids["b"], 2)
    run = await answer_only(runtime, run, 3)
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == [1, 3]


async def test_a_real_failure_beside_a_question_wins(make_runtime: MakeRuntime) -> None:
    async def fail() -> None:
        raise ValueError("broken")

    async def ask(state: Log) -> Log:
        async with asyncio.TaskGroup() as group:
            group.create_task(_say("a"))
            group.create_task(fail())
        return {}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    assert run.status == "failed"
    (task,) = (await runtime.look(run.id)).state.tasks
    assert run.error is not None
    said = {"type": "ValueError", "message": "broken", "task": task.id}
    assert run.error.items() >= said.items()


async def test_what_a_node_left_behind_cannot_ask(make_runtime: MakeRuntime) -> None:
    go, left = asyncio.Event(), []

    async def later() -> None:
        await go.wait()
        interrupt("too late")

    async def leave(state: Log) -> Log:
        left.append(asyncio.create_task(later()))
        return {"log": ["left"]}

    runtime = make_runtime(one_after_another(leave=leave))
    run = await begin(runtime)
    go.set()
    with pytest.raises(NodeEnded, match="'leave'"):
        await left[0]
    assert run.status == "completed"
    assert (await runtime.look(run.id)).questions == ()


@pytest.mark.parametrize("beside", ["a pause", "a failure"])
async def test_an_effect_that_runs_beside_a_pause_or_a_failure_is_recorded_before_the_node_is_left(
    make_runtime: MakeRuntime, beside: str
) -> None:
    """gather() leaves it running; unrecorded, it would be run again."""
    began, go, ran = asyncio.Event(), asyncio.Event(), []

    async def slow() -> str:
        began.set()
        await go.wait()
        ran.append("slow")
        return "done"

    async def other() -> Any:
        await began.wait()
        asyncio.get_running_loop().call_later(0.01, go.set)
        if beside == "a failure" and not go.is_set():
            raise ValueError("broken")
        return interrupt("go on?")

    async def both(state: Log) -> Log:
        return {"log": await asyncio.gather(step("slow", slow), other())}

    runtime = make_runtime(one_after_another(both=both))
    run = await begin(runtime)
    assert ran == ["slow"]
    if beside == "a failure":
        run = await runtime.advance((await runtime.retry(run.thread_id, run.id)).id)
    run = await answer_only(runtime, run, "yes")
    assert (run.status, ran) == ("completed", ["slow"])
    assert (await values(runtime, run))["log"] == ["done", "yes"]


async def test_no_effect_begins_once_its_node_has_paused(make_runtime: MakeRuntime) -> None:
    began, go, ran = asyncio.Event(), asyncio.Event(), []

    async def slow() -> None:
        began.set()
        await go.wait()
        ran.append("slow")

    async def one_then_another() -> None:
        await step("slow", slow)
        await step("next", lambda: ran.append("next"))

    async def ask() -> Any:
        await began.wait()
        asyncio.get_running_loop().call_soon(go.set)
        return interrupt("go on?")

    async def both(state: Log) -> Log:
        _, said = await asyncio.gather(one_then_another(), ask())
        return {"log": [said]}

    runtime = make_runtime(one_after_another(both=both))
    run = await begin(runtime)
    assert (run.status, ran) == ("interrupted", ["slow"])
    run = await answer_only(runtime, run, "yes")
    assert (run.status, ran) == ("completed", ["slow", "next"])


async def test_a_question_from_a_thread_that_does_not_know_its_node_needs_attention(
    make_runtime: MakeRuntime,
) -> None:
    def ask(state: Log) -> Log:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return {"answer": pool.submit(interrupt, "?").result()}

    run = await begin(make_runtime(one_after_another(ask=ask)))
    assert run.error is not None
    assert (run.status, run.error["type"]) == ("needs_attention", "OutsideNode")


async def test_nothing_is_asked_outside_a_node() -> None:
    with pytest.raises(OutsideNode):
        interrupt("hello?")
    with pytest.raises(OutsideNode):
        current_task()


# -- several tasks in a step ------------------------------------------------------------------------------


async def test_answering_one_of_two_nodes_runs_only_that_one_and_only_once_more(
    make_runtime: MakeRuntime, count: Count
) -> None:
    async def left(state: Log) -> Log:
        count("left")
        return {"log": [interrupt("l")]}

    async def right(state: Log) -> Log:
        count("right")
        return {"log": [interrupt("r")]}

    async def quiet(state: Log) -> Log:
        count("quiet")
        return {"log": ["q"]}

    runtime = make_runtime(side_by_side(left=left, quiet=quiet, right=right))
    run = await begin(runtime)
    assert (await runtime.look(run.id)).state.next == ("left", "right")
    run = await answer(runtime, run, {"r": "R"})
    assert dict(count.of) == {"left": 1, "quiet": 1, "right": 2}
    view = await runtime.look(run.id)
    assert (run.status, view.state.next) == ("interrupted", ("left",))
    assert view.state.values["log"] == ["q", "R"], "what has finished can be seen"
    run = await answer(runtime, run, {"l": "L"})
    assert run.status == "completed"
    assert dict(count.of) == {"left": 2, "quiet": 1, "right": 2}
    assert (await values(runtime, run))["log"] == ["L", "q", "R"], "task order, not order of answers"


async def test_questions_of_sends_are_told_apart_and_their_results_keep_the_order_of_the_sends(
    make_runtime: MakeRuntime, count: Count
) -> None:
    async def one(arg: str) -> Log:
        count(arg)
        return {"log": [interrupt("the same words for all")]}

    graph = StateGraph(Log).add_node(one)
    graph.add_conditional_edges(START, lambda state: [Send("one", arg) for arg in "xyz"])
    runtime = make_runtime(graph.compile())
    run = await begin(runtime)
    view = await runtime.look(run.id)
    args = dict(zip((task.id for task in view.state.tasks), "xyz", strict=True))
    assert [task.path for task in view.state.tasks] == [("__pregel_push", n) for n in range(3)]
    assert len({q.interrupt.id for q in view.open}) == 3
    for arg in "zxy":
        (asked,) = [q for q in view.open if args[q.task_id] == arg]
        await runtime.resume(run.thread_id, run.id, asked.interrupt.id, arg.upper())
        run = await runtime.advance(run.id)
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == ["X", "Y", "Z"]
    assert dict(count.of) == {"x": 2, "y": 2, "z": 2}


async def test_answers_to_all_at_once_need_one_more_execution_each(
    make_runtime: MakeRuntime, count: Count
) -> None:
    async def left(state: Log) -> Log:
        count("left")
        return {"log": [interrupt("l")]}

    async def right(state: Log) -> Log:
        count("right")
        return {"log": [interrupt("r")]}

    runtime = make_runtime(side_by_side(left=left, right=right))
    run = await answer(runtime, await begin(runtime), {"l": 1, "r": 2})
    assert run.status == "completed"
    assert dict(count.of) == {"left": 2, "right": 2}


async def test_an_answer_that_arrives_while_the_run_moves_for_another_one_is_not_lost(
    make_runtime: MakeRuntime, count: Count
) -> None:
    gate, inside = asyncio.Event(), asyncio.Event()

    async def left(state: Log) -> Log:
        count("left")
        said = interrupt("l")
        inside.set()
        await gate.wait()
        return {"log": [said]}

    async def right(state: Log) -> Log:
        count("right")
        return {"log": [interrupt("r")]}

    runtime = make_runtime(side_by_side(left=left, right=right))
    run = await begin(runtime)
    ids = await open_ids(runtime, run)
    await runtime.resume(run.thread_id, run.id, ids["l"], 1)
    async with asyncio.TaskGroup() as group:
        group.create_task(runtime.advance(run.id))
        await inside.wait()
        moving = await runtime.resume(run.thread_id, run.id, ids["r"], 2)
        assert moving.status == "running"
        gate.set()
    assert (await runtime.get(run.id)).status == "queued"
    assert await take_all(runtime) == 1
    assert (await values(runtime, run))["log"] == [1, 2]
    assert dict(count.of) == {"left": 2, "right": 2}


async def test_an_answer_for_the_very_node_that_is_being_run_is_not_lost(make_runtime: MakeRuntime) -> None:
    gate, inside = asyncio.Event(), asyncio.Event()

    async def slow_a() -> Any:
        said = interrupt("a")
        inside.set()
        await gate.wait()
        return said

    async def ask(state: Log) -> Log:
        said = await asyncio.gather(_say("b"), slow_a(), return_exceptions=True)
        for one in said:
            if isinstance(one, BaseException):
                raise one
        return {"log": list(said)}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    ids = await open_ids(runtime, run)
    await runtime.resume(run.thread_id, run.id, ids["a"], "A")
    async with asyncio.TaskGroup() as group:
        group.create_task(runtime.advance(run.id))
        await inside.wait()
        await runtime.resume(run.thread_id, run.id, ids["b"], "B")
        gate.set()
    assert await take_all(runtime) == 1
    run = await runtime.get(run.id)
    assert (run.status, (await values(runtime, run))["log"]) == ("completed", ["B", "A"])


async def test_a_finished_sibling_is_seen_while_the_other_waits_and_is_not_run_again(
    make_runtime: MakeRuntime, count: Count
) -> None:
    async def ask(state: Log) -> Log:
        count("ask")
        return {"subject": interrupt("subject?")}

    async def also(state: Log) -> Log:
        count("also")
        return {"answer": "saved"}

    runtime = make_runtime(side_by_side(also=also, ask=ask))
    run = await begin(runtime, {"subject": "old"})
    assert (await values(runtime, run)) == {"subject": "old", "answer": "saved", "log": []}
    run = await answer_only(runtime, run, "new")
    assert await values(runtime, run) == {"subject": "new", "answer": "saved", "log": []}
    assert dict(count.of) == {"ask": 2, "also": 1}


async def test_two_finished_siblings_that_wrote_one_plain_key_do_not_hide_the_run(
    make_runtime: MakeRuntime,
) -> None:
    runtime = make_runtime(
        side_by_side(
            a=lambda state: {"answer": 1},
            b=lambda state: {"answer": 2},
            c=lambda state: {"log": [interrupt("c")]},
        )
    )
    run = await begin(runtime)
    if run.status == "interrupted":
        view = await runtime.look(run.id)
        (asked,) = view.open
        await runtime.resume(run.thread_id, run.id, asked.interrupt.id, "yes")
        run = await runtime.advance(run.id)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == "InvalidUpdateError"


# -- broken rules -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [BaseException, GraphInterrupt])
async def test_a_swallowed_pause_needs_attention_and_its_result_is_thrown_away(
    make_runtime: MakeRuntime, what: type[BaseException]
) -> None:
    async def swallow(state: Log) -> Log:
        try:
            said = interrupt("may I?")
        except what:
            said = "of course"
        return {"answer": said}

    runtime = make_runtime(one_after_another(swallow=swallow, after=lambda state: {"log": ["ran"]}))
    run = await begin(runtime)
    assert run.status == "needs_attention"
    assert run.error is not None
    assert run.error["type"] == "PauseSwallowed"
    assert await values(runtime, run) == {"subject": "s", "log": []}
    assert await take_all(runtime) == 0


async def test_except_exception_lets_the_pause_pass(make_runtime: MakeRuntime) -> None:
    async def careful(state: Log) -> Log:
        with contextlib.suppress(Exception):
            return {"answer": interrupt("may I?")}
        return {"answer": "of course"}

    runtime = make_runtime(one_after_another(careful=careful))
    run = await begin(runtime)
    assert run.status == "interrupted"
    run = await answer_only(runtime, run, "no")
    assert (await values(runtime, run))["answer"] == "no"


async def test_a_pause_collected_by_gather_as_a_result_is_swallowed(make_runtime: MakeRuntime) -> None:
    async def swallow(state: Log) -> Log:
        await asyncio.gather(_say("a"), return_exceptions=True)
        return {"answer": "of course"}

    run = await begin(make_runtime(one_after_another(swallow=swallow)))
    assert run.status == "needs_attention"


async def test_a_pause_without_a_question_needs_attention(make_runtime: MakeRuntime) -> None:
    async def pretend(state: Log) -> Log:
        raise GraphInterrupt

    runtime = make_runtime(one_after_another(pretend=pretend))
    run = await begin(runtime)
    assert run.status == "needs_attention", "an interrupted run that asks nothing would wait for ever"


async def test_a_payload_that_changed_is_asked_anew_and_the_old_answer_is_not_used(
    make_runtime: MakeRuntime, store: Store
) -> None:
    amounts = iter([1, 999, 999])

    async def pay(state: Log) -> Log:
        amount = next(amounts)
        return {"log": [interrupt({"pay": amount}), amount]}

    runtime = make_runtime(one_after_another(pay=pay))
    run = await begin(runtime)
    run = await answer_only(runtime, run, "yes to 1")
    by_status = {q.status: q for q in (await runtime.look(run.id)).questions}
    old, new = by_status["superseded"], by_status["open"]
    assert (old.interrupt.value, new.interrupt.value) == ({"pay": 1}, {"pay": 999})
    assert old.interrupt.digest != new.interrupt.digest
    (line,) = await events(store, kind="interrupt.superseded")
    assert line.data["interrupt"] == old.interrupt.id
    run = await answer_only(runtime, run, "yes to 999")
    assert (await values(runtime, run))["log"] == ["yes to 999", 999]


async def test_a_payload_may_change_three_times_and_then_the_run_needs_attention(
    make_runtime: MakeRuntime,
) -> None:
    numbers = iter(range(100))

    async def fickle(state: Log) -> Log:
        return {"answer": interrupt(f"number {next(numbers)}?")}

    runtime = make_runtime(one_after_another(fickle=fickle))
    run = await begin(runtime)
    for _ in range(3):
        run = await answer_only(runtime, run, "yes")
        assert run.status == "interrupted"
    run = await answer_only(runtime, run, "yes")
    assert run.status == "needs_attention"
    assert run.error is not None
    assert run.error["type"] == "NodeMisused"


async def test_a_payload_that_changes_back_is_asked_anew_too(make_runtime: MakeRuntime) -> None:
    words = iter("abaa")

    async def fickle(state: Log) -> Log:
        return {"answer": interrupt(next(words))}

    runtime = make_runtime(one_after_another(fickle=fickle))
    run = await begin(runtime)
    for said in ("A1", "B", "A2"):
        assert run.status == "interrupted"
        run = await answer_only(runtime, run, said)
    assert run.status == "completed"
    assert (await values(runtime, run))["answer"] == "A2"
    assert len({q.interrupt.id for q in (await runtime.look(run.id)).questions}) == 3


async def test_an_answer_that_the_re_run_does_not_ask_for_needs_attention(make_runtime: MakeRuntime) -> None:
    ask = iter([True, False])

    async def forget(state: Log) -> Log:
        return {"answer": interrupt("may I?")} if next(ask) else {"answer": "of course"}

    runtime = make_runtime(one_after_another(forget=forget))
    run = await answer_only(runtime, await begin(runtime), "no")
    assert run.status == "needs_attention"
    assert run.error is not None
    assert run.error["type"] == "AnswerUnused"
    assert "answer" not in await values(runtime, run)


async def test_answers_are_not_swapped_when_the_re_run_asks_in_another_order(
    make_runtime: MakeRuntime,
) -> None:
    orders = iter([("a", "b"), ("a", "b"), ("b", "a")])

    async def ask(state: Log) -> Log:
        return {"log": sorted(f"{one}={interrupt(one)}" for one in next(orders))}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await answer(runtime, await begin(runtime), {"a": 1})
    run = await answer(runtime, run, {"b": 2})
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == ["a=1", "b=2"]


async def test_a_question_inserted_before_does_not_get_the_old_answer(make_runtime: MakeRuntime) -> None:
    deployed: list[str] = []

    async def ask(state: Log) -> Log:
        wipe = interrupt("WIPE DISK?") if deployed else "not asked"
        return {"log": [wipe, interrupt("amount ok?")]}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    deployed.append("new code")
    run = await answer_only(runtime, run, "yes")
    assert "WIPE DISK?" in await open_ids(runtime, run)
    run = await answer(runtime, run, {"WIPE DISK?": "no"})
    while run.status == "interrupted":
        run = await answer_only(runtime, run, "yes")
    assert (await values(runtime, run))["log"] == ["no", "yes"]


# -- key= and bind= ---------------------------------------------------------------------------------------


async def test_questions_are_told_apart_by_their_keys(make_runtime: MakeRuntime) -> None:
    async def ask(state: Log) -> Log:
        async def one(key: str) -> Any:
            return interrupt("same words", key=key)

        return {"log": list(await asyncio.gather(one("x"), one("y")))}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    by_key = {q.interrupt.key: q.interrupt.id for q in (await runtime.look(run.id)).open}
    assert set(by_key) == {"x", "y"}
    await runtime.resume(run.thread_id, run.id, by_key["y"], "Y")
    run = await runtime.advance(run.id)
    run = await answer_only(runtime, run, "X")
    assert (await values(runtime, run))["log"] == ["X", "Y"]


async def test_a_key_does_not_carry_an_answer_over_to_changed_words(make_runtime: MakeRuntime) -> None:
    words = iter(["pay 1?", "pay 999?", "pay 999?"])

    async def ask(state: Log) -> Log:
        return {"answer": interrupt(next(words), key="pay")}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await answer_only(runtime, await begin(runtime), "yes")
    assert list(await open_ids(runtime, run)) == ["pay 999?"]
    run = await answer_only(runtime, run, "no")
    assert (await values(runtime, run))["answer"] == "no"


async def test_the_same_key_twice_is_two_questions(make_runtime: MakeRuntime) -> None:
    async def ask(state: Log) -> Log:
        return {"log": [interrupt("same", key="k"), interrupt("same", key="k")]}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await answer_only(runtime, await begin(runtime), 1)
    assert run.status == "interrupted"
    run = await answer_only(runtime, run, 2)
    assert (await values(runtime, run))["log"] == [1, 2]


async def test_bind_lets_the_words_change_but_not_what_is_bound(make_runtime: MakeRuntime) -> None:
    words = iter(["It is 10:00. Pay?", "It is 10:05. Pay?"])

    async def ask(state: Log) -> Log:
        return {"answer": interrupt(next(words), bind={"pay": 100})}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await answer_only(runtime, await begin(runtime), "yes")
    assert (run.status, (await values(runtime, run))["answer"]) == ("completed", "yes")


async def test_when_what_is_bound_changes_the_same_words_are_asked_anew(make_runtime: MakeRuntime) -> None:
    amounts = iter([100, 999, 999])

    async def ask(state: Log) -> Log:
        return {"answer": interrupt("Pay?", bind={"pay": next(amounts)})}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await answer_only(runtime, await begin(runtime), "yes to 100")
    assert run.status == "interrupted"
    run = await answer_only(runtime, run, "no to 999")
    assert (await values(runtime, run))["answer"] == "no to 999"


@pytest.mark.parametrize("bound", [False, 0, "", [], {}])
async def test_what_is_bound_may_be_empty(make_runtime: MakeRuntime, bound: Any) -> None:
    words = iter(["one", "two"])

    async def ask(state: Log) -> Log:
        return {"answer": interrupt(next(words), bind=bound)}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await answer_only(runtime, await begin(runtime), "yes")
    assert run.status == "completed"


async def test_equal_questions_of_two_dicts_in_another_key_order_are_one_question(
    make_runtime: MakeRuntime,
) -> None:
    orders: Any = iter([{"a": 1, "b": {1: "x", 2: "y"}}, {"b": {2: "y", 1: "x"}, "a": 1}])

    async def ask(state: Log) -> Log:
        return {"answer": interrupt(next(orders))}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await answer_only(runtime, await begin(runtime), "yes")
    assert run.status == "completed"


# -- branches ---------------------------------------------------------------------------------------------------


async def test_an_answer_reaches_the_branch_that_asked_whichever_comes_first_the_next_time(
    make_runtime: MakeRuntime,
) -> None:
    paid, waits = list[int](), {1: [0.02, 0.0], 999: [0.0, 0.02]}

    async def pay(amount: int) -> None:
        await asyncio.sleep(waits[amount].pop(0) if waits[amount] else 0)
        if interrupt("pay this invoice?") == "approve":
            paid.append(amount)

    async def both(state: Log) -> None:
        await asyncio.gather(pay(1), pay(999))

    runtime = make_runtime(one_after_another(both=both))
    run = await begin(runtime)
    run = await answer_only(runtime, run, "approve")
    assert paid == [], "the branch that came first this time is not the one that asked"
    assert run.status == "interrupted"
    view = await runtime.look(run.id)
    (second,) = view.open
    run = await runtime.resume(run.thread_id, run.id, second.interrupt.id, "no")
    run = await runtime.advance(run.id)
    assert (run.status, paid) == ("completed", [999])


@pytest.mark.parametrize("how", ["gather", "group"])
async def test_branches_that_nothing_tells_apart_ask_nothing(make_runtime: MakeRuntime, how: str) -> None:
    async def ask() -> Any:
        return interrupt("sure?")

    async def both(state: Log) -> Any:
        if how == "gather":
            return {"log": await asyncio.gather(ask(), ask())}
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask()) for _ in range(2)]
        return {"log": [one.result() for one in asked]}

    runtime = make_runtime(one_after_another(both=both))
    run = await begin(runtime)
    assert (run.status, (run.error or {})["type"]) == ("needs_attention", "KeyRequired")
    assert (await runtime.look(run.id)).questions == ()


async def test_who_caught_its_pause_does_nothing_more_while_its_siblings_go_on(
    make_runtime: MakeRuntime,
) -> None:
    did = list[str]()

    async def swallows() -> None:
        try:
            interrupt("sure?")
        except BaseException:  # noqa: BLE001  # that is what it does wrong
            await step("swallowed", did.append, "swallowed")

    async def goes_on() -> None:
        await asyncio.sleep(0.01)
        await step("sibling", did.append, "sibling")

    async def both(state: Log) -> None:
        await asyncio.gather(swallows(), goes_on(), return_exceptions=True)

    async def alone(state: Log) -> None:
        await swallows()

    for node in (both, alone):
        run = await begin(runtime := make_runtime(one_after_another(node=node)))
        assert (run.status, (run.error or {})["type"]) == ("needs_attention", "PauseSwallowed")
        assert (await runtime.look(run.id)).questions == ()
    assert did == ["sibling"]


async def test_whether_an_answered_question_is_still_to_come_cannot_be_known_before_the_node_has_ended(
    make_runtime: MakeRuntime,
) -> None:
    """Its step() runs, for the question may come after it; what the node returns is not stored."""
    did, runs = list[int](), list[int]()

    async def node(state: Log) -> Any:
        runs.append(1)
        if len(runs) == 1:
            interrupt("sure?")
        await step("after", did.append, 1)
        return {"log": ["unasked"]}

    run = await begin(runtime := make_runtime(one_after_another(node=node)))
    run = await answer_only(runtime, run, "no")
    assert (run.status, (run.error or {})["type"]) == ("needs_attention", "AnswerUnused")
    assert did == [1]
    assert (await values(runtime, run)).get("log", []) == []


# -- effects that return what cannot be stored ------------------------------------------------------------------


@pytest.mark.parametrize("by", ["step", "tool"])
async def test_what_was_done_is_not_done_again_though_its_result_could_not_be_stored(
    make_runtime: MakeRuntime, by: str
) -> None:
    did, tools = list[str](), read_tool_policy([{"tool": "pay", "do": "allow"}])

    def pay() -> Any:
        did.append("paid")
        return object()

    async def node(state: Log) -> Any:
        await (step("pay", pay) if by == "step" else tools.call("pay", pay, {}))

    graph = StateGraph(Log).add_edge(START, "node")
    again = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=ValueRefused)
    runtime = make_runtime(graph.add_node("node", node, retry_policy=again).compile())
    run = await begin(runtime)
    assert (run.status, (run.error or {})["type"]) == ("failed", "ValueRefused")
    assert "is not run again" in (run.error or {})["message"]
    run = await runtime.advance((await runtime.retry(run.thread_id, run.id)).id)
    assert run.status == "failed"
    assert did == ["paid"]
