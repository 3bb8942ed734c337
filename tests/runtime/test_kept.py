"""What this process keeps of where runs rest is never anything else than what lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from graphs import Log, answer, begin, one_after_another, side_by_side, values
from kit import MakeRuntime

from graph_runtime import (
    START,
    AsyncSqliteSaver,
    Command,
    Run,
    Send,
    StateGraph,
    Store,
    ValueRefused,
    interrupt,
)
from graph_runtime.kept import LARGEST, MOST, Kept, Rest
from graph_runtime.types import Checkpoint, CheckpointId, RunId, ThreadId

pytestmark = pytest.mark.databases("sqlite", "postgres")


async def one(state: Log) -> dict[str, Any]:
    return {"log": [interrupt("one?")]}


async def two(state: Log) -> dict[str, Any]:
    return {"log": [interrupt("two?")]}


async def test_a_run_that_was_driven_elsewhere_since_is_read_back(make_runtime: MakeRuntime) -> None:
    here, there = make_runtime(side_by_side(one=one, two=two)), make_runtime(side_by_side(one=one, two=two))
    run = await begin(here)
    assert here.ground.kept.at(await here.get(run.id)) is not None
    await answer(there, run, {"one?": "first"})
    assert here.ground.kept.at(await here.get(run.id)) is None
    rested = await answer(here, run, {"two?": "second"})
    assert rested.status == "completed"
    assert (await values(here, run))["log"] == ["first", "second"]


async def test_an_edit_from_elsewhere_is_seen(make_runtime: MakeRuntime) -> None:
    async def show(state: Log) -> dict[str, Any]:
        return {"log": [f"{interrupt('go?')} after {len(state['log'])}"]}

    here, there = (make_runtime(one_after_another(show=show)) for _ in range(2))
    run = await begin(here, {"log": ["a"]})
    await there.edit(run.thread_id, {"log": ["b"]}, as_node="__start__")
    await here.advance(run.id)
    await answer(here, run, {"go?": "yes"})
    assert (await values(here, run))["log"] == ["a", "b", "yes after 2"]


MINE: list[Any] = []


async def test_what_callers_and_nodes_do_to_their_own_lists_changes_nothing(store: Store) -> None:
    async def make(state: Log) -> dict[str, Any]:
        MINE[:] = [["made"]]
        return {"answer": MINE}

    async def ask(state: Log) -> dict[str, Any]:
        return {"log": [interrupt("go?"), state["answer"], state["subject"]]}

    graph = one_after_another(make=make, ask=ask)
    graph.checkpointer = AsyncSqliteSaver(store)
    thread = {"configurable": {"thread_id": "t"}}
    given: dict[str, Any] = {"subject": ["given"]}
    paused = await graph.ainvoke(given, thread)
    for one in (MINE[0], paused["answer"][0], paused["subject"], given["subject"]):
        one.append("changed")
    done = await graph.ainvoke(Command(resume="yes"), thread)
    assert done["log"] == ["yes", [["made"]], ["given"]]
    assert (await graph.aget_state(thread)).values == done


async def test_what_was_sent_to_a_node_is_as_it_was_sent_when_it_runs_again(
    make_runtime: MakeRuntime,
) -> None:
    async def work(sent: dict[str, Any]) -> dict[str, Any]:
        sent["seen"] = [*sent.get("seen", ()), "here"]
        return {"log": [interrupt("go?"), sent["seen"]]}

    graph = StateGraph(Log).add_node("work", work)
    graph.add_conditional_edges(START, lambda _: [Send("work", {})], ["work"])
    runtime = make_runtime(graph.compile(name="graph"))
    run = await begin(runtime)
    await answer(runtime, run, {"go?": "yes"})
    assert (await values(runtime, run))["log"] == ["yes", ["here"]]


@dataclass
class Own:
    size: int = 1


@pytest.mark.parametrize(
    "state",
    [{"text": "x" * LARGEST}, {"list": [1] * LARGEST}, {"deep": {"a": ["x" * LARGEST]}}, {"own": Own()}],
)
def test_a_large_state_or_one_of_unknown_size_is_not_kept(state: dict[str, Any]) -> None:
    kept, run = Kept(), _run("run-1")
    kept.keep(run, _rest(run, state))
    assert not kept.holds(run.id)
    kept.keep(run, _rest(run, {"text": "x", "list": [1, 2.5, None, True, b"y"], "tuple": ("z",)}))
    assert kept.holds(run.id)


def test_no_more_runs_are_kept_than_the_bound_and_the_oldest_go_first() -> None:
    kept, runs = Kept(), [_run(f"run-{n}") for n in range(MOST + 3)]
    for run in runs:
        kept.keep(run, _rest(run, {}))
    assert [kept.holds(run.id) for run in runs] == [False] * 3 + [True] * MOST


def _rest(run: Run, values: dict[str, Any]) -> Rest:
    checkpoint = Checkpoint(
        run.head, run.thread_id, run.id, None, 0, "loop", "", values, (), {}, (), (), created_at=0
    )
    return Rest(checkpoint, {}, {}, {}, run.epoch)


def _run(run_id: str) -> Run:
    return Run(
        RunId(run_id),
        ThreadId("thread"),
        "graph",
        "1",
        "interrupted",
        "worker",
        CheckpointId(f"chk-{run_id}"),
        step=0,
        steps_taken=0,
        max_steps=10,
        requester=None,
        error=None,
        lease_owner=None,
        lease_until=None,
        epoch=1,
        created_at=0,
        updated_at=0,
    )


async def test_what_holds_itself_is_refused_wherever_it_comes_from(make_runtime: MakeRuntime) -> None:
    loop: list[Any] = []
    loop.append(loop)

    async def make(state: Log) -> dict[str, Any]:
        return {"answer": loop}

    runtime = make_runtime(one_after_another(make=make))
    with pytest.raises(ValueRefused, match="holds itself"):
        await runtime.start("graph", {"subject": loop})
    run = await begin(runtime)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == "ValueRefused"
