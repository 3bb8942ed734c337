"""What this process keeps of where runs rest is never anything else than what lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from graphs import Log, answer, begin, one_after_another, side_by_side, values
from kit import MakeRuntime

from graph_runtime import AsyncSqliteSaver, Run, interrupt
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


async def test_what_a_caller_was_given_is_not_kept() -> None:
    graph = one_after_another(one=one)
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        graph.checkpointer = saver
        await graph.ainvoke({"log": []}, {"configurable": {"thread_id": "t"}})
        assert not saver.runtime_of(graph).ground.kept.holds(
            (await saver.runtime_of(graph).last_run("t")).id  # type: ignore[union-attr]
        )


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
