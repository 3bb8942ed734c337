"""How values lie in rows: what did not change is not written again, and a list that grew by what it grew."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import pytest
from graphs import answer_only, begin, values
from hypothesis import given
from hypothesis import strategies as st
from kit import MakeRuntime

from graph_runtime import END, START, Command, CompiledGraph, Run, Runtime, StateGraph, Store, interrupt
from graph_runtime.storage import Ask
from graph_runtime.stored import WHOLE_BELOW, WHOLE_EVERY, Stored, read_stored, storing
from graph_runtime.types import CheckpointId
from graph_runtime.values import Codec


class Case(TypedDict, total=False):
    text: str
    said: str
    log: Annotated[list[Any], operator.add]


def looping(times: int) -> CompiledGraph:
    """Return a graph that adds an entry to its log so many times, and then asks."""

    async def loop(state: Case) -> Command[Any]:
        n = len(state["log"])
        return Command(update={"log": [f"entry number {n} of the log"]}, goto="loop" if n < times else "ask")

    async def ask(state: Case) -> Case:
        return {"said": interrupt("?"), "log": ["asked"]}

    graph = StateGraph(Case).add_node("loop", loop).add_node("ask", ask)
    return graph.add_edge(START, "loop").add_edge("ask", END).compile()


async def rows_of(store: Store, run: Run) -> list[Sequence[Any]]:
    """Return the values' rows that each checkpoint of the run is read from, the newest first."""
    page = {"thread_id": run.thread_id, "ns": "", "before": "~", "limit": 1_000}
    (checkpoints,) = await store.read(Ask("find_thread_checkpoints", page))
    asks = [Ask("get_values", {"checkpoint_id": one["checkpoint_id"]}) for one in checkpoints]
    return [[dict(row) for row in rows] for rows in await store.read(*asks)]


async def stored_bytes(store: Store, run: Run) -> int:
    """Return how many characters of values the thread has, each row once."""
    every = {
        (row["checkpoint_id"], row["channel"]): row["value"]
        for rows in await rows_of(store, run)
        for row in rows
    }
    return sum(map(len, every.values()))


async def test_a_large_input_that_nobody_changes_is_stored_once(
    make_runtime: MakeRuntime, store: Store
) -> None:
    runtime = make_runtime(looping(3))
    run = await begin(runtime, {"text": "x" * 100_000, "log": []})
    run = await answer_only(runtime, run, "yes")
    assert run.status == "completed"
    assert await stored_bytes(store, run) < 101_000


async def test_a_list_that_grows_is_stored_by_what_it_grew_and_read_whole_at_every_step(
    make_runtime: MakeRuntime, store: Store
) -> None:
    times = 3 * WHOLE_EVERY
    runtime = make_runtime(looping(times))
    run = await begin(runtime, {"log": []})
    run = await answer_only(runtime, run, "yes")
    assert run.status == "completed"

    whole = [f"entry number {n} of the log" for n in range(times + 1)]
    assert (await values(runtime, run))["log"] == [*whole, "asked"]
    history = await runtime.history(run.id, limit=1_000)
    lengths = [len(one.values["log"]) for one in history]
    assert lengths == sorted(lengths, reverse=True)
    assert all(one.values["log"] == [*whole, "asked"][: len(one.values["log"])] for one in history)
    entry = len('"entry number 10 of the log",')
    assert await stored_bytes(store, run) < entry * times * 4, "and not with the square of it"
    chains = [sum(row["channel"] == "log" for row in rows) for rows in await rows_of(store, run)]
    assert max(chains) <= WHOLE_EVERY + 1


@pytest.mark.parametrize("changed", ["reordered", "shortened", "first", "inside"])
async def test_a_list_that_did_more_than_grow_is_stored_whole(
    make_runtime: MakeRuntime, store: Store, changed: str
) -> None:
    long = [{"n": n, "text": "entry of a list that is long enough"} for n in range(20)]

    def reduce(old: list[Any], new: list[Any]) -> list[Any]:
        if new != ["now"]:
            return old + new
        if changed == "inside":
            old[3]["n"] = "changed in place"
            return [*old, "end"]
        return {"reordered": [*old[::-1], "end"], "shortened": old[:-1], "first": ["start", *old]}[changed]

    own: Any = TypedDict("Own", {"log": Annotated[list[Any], reduce]})  # type: ignore[misc]

    def ask(state: Any) -> Any:
        return {"log": [interrupt("?")]}

    graph = StateGraph(own).add_node("fill", lambda state: {"log": ["filled"]}).add_node("ask", ask)
    runtime = make_runtime(graph.add_edge(START, "fill").add_edge("fill", "ask").compile())
    run = await begin(runtime, {"log": long})
    before = (await values(runtime, run))["log"]
    run = await answer_only(runtime, run, "now")
    expected = {
        "reordered": [*before[::-1], "end"],
        "shortened": before[:-1],
        "first": ["start", *before],
        "inside": [*(x | {"n": "changed in place"} if n == 3 else x for n, x in enumerate(before)), "end"],
    }[changed]
    assert (await values(runtime, run))["log"] == expected


async def test_a_fork_goes_on_from_a_list_in_the_middle_of_its_growth(
    make_runtime: MakeRuntime, store: Store
) -> None:
    runtime: Runtime = make_runtime(looping(40))
    run = await begin(runtime, {"log": []})
    run = await answer_only(runtime, run, "yes")
    middle = (await runtime.history(run.id, limit=1_000))[20]
    fork = await runtime.advance((await runtime.fork(run.thread_id, str(middle.checkpoint_id))).id)
    fork = await answer_only(runtime, fork, "again")
    assert (await values(runtime, fork))["log"] == (await values(runtime, run))["log"]
    assert (await runtime.replay(fork.id)).same


@given(
    st.lists(
        st.lists(st.recursive(st.integers() | st.text() | st.none(), st.lists, max_leaves=4), max_size=4),
        max_size=40,
    ),
    st.booleans(),
)
def test_whatever_a_list_became_is_what_is_read_back(grown: list[list[Any]], again: object) -> None:
    codec, value, before, base = Codec(), ["x" * WHOLE_BELOW], None, None
    rows: list[Any] = []
    for n, more in enumerate(grown):
        value = value + more if n % 5 != 4 else value[:1] + more
        id_ = CheckpointId(f"c{n}")
        put, before = storing(codec, id_, "log", value, base, before)
        base = id_
        rows.append({**put.params})
        found = read_stored(rows)["c" + str(n), "log"]
        assert codec.decode(found.text) == value
        assert found.suffixes <= WHOLE_EVERY
        if again:  # as another process would read it
            before = Stored(found.text, found.suffixes)
