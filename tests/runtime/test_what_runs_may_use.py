"""What a run may use in its whole life: time, questions, retries, budgets, through every pause."""

from __future__ import annotations

import asyncio
import math
import threading
from pathlib import Path
from typing import Any

import pytest
from graphs import Log, answer_only, begin, one_after_another
from kit import MakeRuntime, SettableClock

from graph_runtime import (
    START,
    AsyncSqliteSaver,
    Command,
    LimitReached,
    Limits,
    RetryPolicy,
    StateGraph,
    interrupt,
    spend,
)

T = {"configurable": {"thread_id": "t"}}
AGAIN = RetryPolicy(initial_interval=0.001, jitter=False)


# -- what is no limit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"seconds": -1},
        {"seconds": math.nan},
        {"seconds": math.inf},
        {"seconds": True},
        {"questions": -1},
        {"retries": "3"},
        {"steps": 1.5},
        {"steps": True},
        {"budget": {"usd": math.nan}},
        {"budget": {"usd": -1}},
        {"budget": {"usd": True}},
        {"budget": {"seconds": 1e9}},
        {"budget": {"questions": 5}},
        {"budget": {"retries": 5}},
        {"budget": {"steps": 5}},
        {"budget": {" ": 5}},
    ],
    ids=str,
)
def test_what_is_no_limit_is_refused_before_any_run_has_it(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no run was limited"):
        Limits(**given)


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("usd", math.nan),
        ("usd", math.inf),
        ("usd", -1),
        ("usd", True),
        ("usd", "1"),
        ("seconds", 1),
        ("steps", 1),
    ],
)
async def test_what_cannot_be_counted_is_not_spent(make_runtime: MakeRuntime, name: str, amount: Any) -> None:
    async def node(state: Log) -> None:
        spend(name, amount)

    run = await begin(
        make_runtime(one_after_another(node=node)), limits=Limits(budget={"usd": 1}, seconds=60)
    )
    assert (run.status, (run.error or {})["type"]) == ("failed", "ValueError")
    assert "nothing was spent" in (run.error or {})["message"]
    assert run.used == {}


# -- budgets ------------------------------------------------------------------------------------------------


@pytest.mark.databases("sqlite", "postgres")
async def test_what_a_node_spends_before_its_question_is_not_taken_again_when_it_is_answered(
    make_runtime: MakeRuntime,
) -> None:
    async def asks(state: Log) -> Any:
        spend("usd", 1)
        answers = [interrupt("first?")]
        spend("usd", 0.5)
        return {"log": [*answers, interrupt("second?")]}

    async def after(state: Log) -> None:
        spend("usd", 1)

    runtime = make_runtime(one_after_another(asks=asks, after=after))
    run = await begin(runtime, limits=Limits(budget={"usd": 2.5}))
    assert run.used["usd"] == 1
    run = await answer_only(runtime, run, "one")
    assert run.used["usd"] == 1.5
    run = await answer_only(runtime, run, "two")
    assert (run.status, run.used["usd"], run.taken) == ("completed", 2.5, {})


async def test_what_a_node_spends_more_than_before_is_taken_and_a_further_attempt_takes_it_anew(
    make_runtime: MakeRuntime,
) -> None:
    prices, fails = [1, 3], [1]

    async def dearer(state: Log) -> Any:
        spend("usd", prices[0])
        return {"log": [interrupt("sure?")]}

    async def fails_once(state: Log) -> None:
        spend("usd", 10)
        if fails:
            fails.pop()
            raise ConnectionError

    graph = StateGraph(Log).add_node(dearer).add_node(fails_once, retry_policy=AGAIN)
    graph.add_edge(START, "dearer").add_edge("dearer", "fails_once")
    runtime = make_runtime(graph.compile())
    run = await begin(runtime, limits=Limits(budget={"usd": 100}))
    prices.pop(0)
    run = await answer_only(runtime, run, "yes")
    assert (run.status, run.used) == ("completed", {"questions": 1, "usd": 23, "retries": 1})


async def test_a_budget_that_is_used_up_stops_the_run_in_every_life_of_it(make_runtime: MakeRuntime) -> None:
    async def spends(state: Log) -> Any:
        spend("usd", 1)
        return {"log": [interrupt("more?")]}

    async def more(state: Log) -> None:
        spend("usd", 1)

    runtime = make_runtime(one_after_another(spends=spends, more=more))
    run = await begin(runtime, limits=Limits(budget={"usd": 1.5}))
    run = await answer_only(runtime, run, "yes")
    assert (run.status, (run.error or {})["type"]) == ("failed", "LimitReached")


# -- time ---------------------------------------------------------------------------------------------------


async def test_a_node_that_is_under_way_when_the_time_is_up_is_stopped(make_runtime: MakeRuntime) -> None:
    stopped = asyncio.Event()

    async def endless(state: Log) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    inner = StateGraph(Log).add_node(endless).add_edge(START, "endless").compile()
    for graph in (one_after_another(endless=endless), one_after_another(inner=inner.ainvoke)):
        stopped.clear()
        async with asyncio.timeout(10):
            run = await begin(make_runtime(graph), limits=Limits(seconds=0.2))
        assert (run.status, (run.error or {})["type"]) == ("failed", "LimitReached")
        assert stopped.is_set()


async def test_a_plain_function_is_not_waited_for_when_the_time_is_up_and_what_it_returns_is_thrown_away(
    make_runtime: MakeRuntime,
) -> None:
    let_go, ended = threading.Event(), threading.Event()

    def blocks(state: Log) -> Any:
        let_go.wait(10)
        ended.set()
        return {"log": ["too late"]}

    runtime = make_runtime(one_after_another(blocks=blocks))
    run = await begin(runtime, limits=Limits(seconds=0.2))
    assert (run.status, (run.error or {})["type"]) == ("failed", "LimitReached")
    assert not ended.is_set()
    let_go.set()
    await asyncio.to_thread(ended.wait, 10)
    assert (await runtime.look(run.id)).state.values.get("log", []) == []


async def test_what_was_returned_too_late_by_the_clock_is_not_merged(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    async def slow(state: Log) -> Any:
        clock.pass_seconds(61)
        return {"log": ["too late"]}

    runtime = make_runtime(one_after_another(slow=slow))
    run = await begin(runtime, limits=Limits(seconds=60))
    assert (run.status, (run.error or {})["type"]) == ("failed", "LimitReached")
    assert (await runtime.look(run.id)).state.values.get("log", []) == []


async def test_a_timeout_of_the_node_s_own_is_its_own(make_runtime: MakeRuntime) -> None:
    async def impatient(state: Log) -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    run = await begin(make_runtime(one_after_another(impatient=impatient)), limits=Limits(seconds=60))
    assert (run.status, (run.error or {})["type"]) == ("failed", "TimeoutError")


# -- a compiled graph's own runs ----------------------------------------------------------------------------


async def test_a_call_gives_its_run_limits_that_hold_through_its_pauses(tmp_path: Path) -> None:
    async def asks(state: Log) -> Any:
        spend("usd", 1)
        return {"log": [interrupt("more?")]}

    async def more(state: Log) -> None:
        spend("usd", 1)

    async with AsyncSqliteSaver.from_conn_string(f"{tmp_path}/limits.db") as saver:
        graph = StateGraph(Log).add_sequence([asks, more]).add_edge(START, "asks").compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, {**T, "limits": Limits(budget={"usd": 1.5})})
        with pytest.raises(LimitReached, match="usd"):
            await graph.ainvoke(Command(resume="yes"), T)
        with pytest.raises(TypeError, match="Limits"):
            await graph.ainvoke({"log": []}, {"configurable": {"thread_id": "u"}, "limits": {"usd": 1}})
        bound = graph.with_config({"limits": Limits(seconds=0.0)})
        with pytest.raises(LimitReached, match="seconds"):
            await bound.ainvoke({"log": []}, {"configurable": {"thread_id": "v"}})
