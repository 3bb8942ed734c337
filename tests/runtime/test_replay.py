"""Going through a run again: what is recomputed, what is answered from the record, and what is told."""

from __future__ import annotations

import contextlib
import operator
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from graphs import Count, Log, answer, answer_only, begin, one_after_another
from kit import MakeRuntime

from graph_runtime import (
    END,
    START,
    Command,
    CompiledGraph,
    Divergence,
    Replay,
    Run,
    Runtime,
    Send,
    StateGraph,
    Store,
    interrupt,
    open_store,
    step,
)
from graph_runtime.storage import Ask, Batch, Do, Row

T = {"configurable": {"thread_id": "t"}}


class Case(TypedDict, total=False):
    """A state with a plain key, a sum and a list."""

    subject: str
    answer: Any
    total: Annotated[int, operator.add]
    log: Annotated[list[Any], operator.add]


async def draft(state: Case) -> Case:
    return {"total": 1, "log": ["draft"]}


async def work(part: int) -> Case:
    return {"total": part, "log": [f"work {part}"]}


async def left(state: Case) -> Case:
    return {"log": ["left"]}


async def right(state: Case) -> Case:
    return {"log": ["right"]}


async def further(state: Case) -> Case:
    return {"log": ["further"]}


async def review(state: Case) -> Command[Any]:
    said = interrupt({"publish": state["subject"]})
    return Command(goto="publish" if said == "yes" else END, update={"answer": said})


async def publish(state: Case) -> Case:
    return {"log": [f"published {state['subject']} of {state['total']}"]}


async def sum_up(state: Case) -> Case:
    return {"log": ["summed up"]}


async def look(state: Case) -> Case:
    return {"log": ["looked"]}


async def check(state: Case) -> Case:
    return {"log": [f"checked: {interrupt('all well?')}"]}


def spread(state: Case) -> list[Any]:
    return [*(Send("work", part) for part in range(state["total"] + 1)), "left", "right"]


NODES = {"left": left, "right": right, "further": further, "review": review, "publish": publish}
EDGES: tuple[tuple[Any, str], ...] = (
    ("left", "further"),
    (["further", "right"], "inner"),
    ("inner", "review"),
    ("publish", END),
)


def inner(look: Callable[..., Any] = look) -> CompiledGraph:
    """Return the subgraph, which asks too."""
    return StateGraph(Case).add_sequence([("look", look), ("check", check)]).add_edge(START, "look").compile()


def case(
    schema: Any = Case,
    *,
    route: Callable[..., Any] = spread,
    edges: tuple[tuple[Any, str], ...] = EDGES,
    sub: CompiledGraph | None = None,
    without: str = "",
    **nodes: Callable[..., Any],
) -> CompiledGraph:
    """Return a graph that has everything: Sends, a join over several steps, a subgraph, questions, a gate."""
    graph = StateGraph(schema).add_node("draft", draft).add_edge(START, "draft")
    graph.add_node("work", work).add_node("sum_up", sum_up, defer=True).add_edge("work", "sum_up")
    for name, node in (NODES | nodes).items():
        if name != without:
            graph.add_node(name, node)
    graph.add_node("inner", sub or inner())
    graph.add_conditional_edges("draft", route)
    for source, target in edges:
        graph.add_edge(source, target)
    return graph.compile(name="case")


async def driven(runtime: Runtime) -> Run:
    """Take a run of the case through both questions and an edit to its end."""
    run = await begin(runtime, {"subject": "s"})
    run = await answer(runtime, run, {"all well?": "fine"})
    await runtime.edit(run.thread_id, {"subject": "edited"}, as_node="inner")
    run = await answer_only(runtime, await runtime.advance(run.id), "yes")
    assert run.status == "completed"
    return run


async def rows_of(store: Store, run: Run, *, ns: str = "") -> dict[int, Row]:
    """Return the checkpoints of one graph of the run by step."""
    ask = Ask("find_thread_checkpoints", {"thread_id": run.thread_id, "ns": ns, "before": "~", "limit": 100})
    (rows,) = await store.read(ask)
    return {row["step"]: row for row in rows}


async def change(store: Store, row: Row, **fields: str | int | None) -> None:
    """Change a checkpoint behind the runtime's back."""
    drop = Do("drop_checkpoint", {"checkpoint_id": row["checkpoint_id"]})
    put = {name: value for name, value in row.items() if name != "created_at"}
    await store.commit(
        Batch("tamper", (drop, Do("put_checkpoint", {**put, "now": row["created_at"], **fields})))
    )


async def change_value(store: Store, row: Row, channel: str, text: str | None) -> None:
    """Change a value behind the runtime's back, or take it away."""
    id_ = row["checkpoint_id"]
    (values,) = await store.read(Ask("get_values", {"checkpoint_id": id_}))
    mine = {one["channel"]: one["value"] for one in values if one["checkpoint_id"] == id_}
    assert channel in mine
    kept = {name: value for name, value in (mine | {channel: text}).items() if value is not None}
    puts = [
        Do("put_value", {"checkpoint_id": id_, "channel": name, "value": value})
        for name, value in kept.items()
    ]
    await store.commit(Batch("tamper", (Do("drop_values", {"checkpoint_id": id_, "kept": ""}), *puts)))


async def change_writes(store: Store, row: Row, change: Callable[[str], str] | None) -> None:
    """Change what the tasks of a checkpoint returned behind the runtime's back, or take it away."""
    id_ = row["checkpoint_id"]
    (writes,) = await store.read(Ask("get_writes", {"checkpoint_id": id_}))
    assert writes
    puts = [
        Do(
            "put_write",
            {"checkpoint_id": id_, "task_id": one["task_id"], "value": change(one["value"]), "now": 0},
        )
        for one in (writes if change is not None else ())
    ]
    await store.commit(Batch("tamper", (Do("drop_writes", {"checkpoint_id": id_}), *puts)))


def first(found: Replay) -> Divergence:
    """Return the divergence that there must be."""
    assert found.divergence is not None
    assert not found.same
    return found.divergence


def where(found: Replay) -> tuple[int, str, str]:
    """Return where a replay first differs."""
    one = first(found)
    return one.step, one.what, one.name


# -- the same graph


async def test_a_run_with_everything_in_it_replays_as_it_was(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(case())
    run = await driven(runtime)

    found = await runtime.replay(run.id)

    assert found.same
    assert found.divergence is None
    assert (found.graph, found.version, found.given, found.skipped) == ("case", "1", 1, ())
    # Input, START and five steps before the edit, two after it; of the subgraph input, START and two.
    steps = [state.step for state in await runtime.history(run.id)]
    assert (len(steps), found.steps, found.tasks) == (10, 9 + 4, 0)


async def test_no_node_runs_in_a_replay_and_only_the_named_ones_with_nodes(
    make_runtime: MakeRuntime,
) -> None:
    count = Count()

    async def one(state: Log) -> Log:
        count("one")
        return {"log": ["one"]}

    async def two(state: Log) -> Log:
        count("two")
        return {"log": [await step("look", count, "look")]}

    runtime = make_runtime(one_after_another(one=one, two=two))
    run = await begin(runtime)
    assert count.of == {"one": 1, "two": 1, "look": 1}

    assert (await runtime.replay(run.id)).steps == 4
    assert count.of == {"one": 1, "two": 1, "look": 1}

    found = await runtime.replay(run.id, nodes=["two"])
    assert (found.same, found.tasks, found.steps) == (True, 1, 0)
    assert count.of == {"one": 1, "two": 2, "look": 1}


async def test_every_node_of_a_run_with_everything_in_it_returns_what_it_returned(
    make_runtime: MakeRuntime,
) -> None:
    runtime = make_runtime(case())
    run = await driven(runtime)

    found = await runtime.replay(run.id, nodes=[*NODES, "draft", "work", "sum_up", "inner", "look", "check"])

    assert found.same
    assert found.skipped == ()
    # draft, two works, left, right, further, sum_up, inner with look and check, review, publish.
    assert found.tasks == 12


async def test_a_run_that_waits_replays_up_to_where_it_stands_and_its_finished_siblings_run_again(
    make_runtime: MakeRuntime,
) -> None:
    async def ask(state: Log) -> Log:
        return {"answer": interrupt("well?")}

    async def beside(state: Log) -> Log:
        return {"log": ["beside"]}

    graph = StateGraph(Log).add_node(ask).add_node(beside).add_edge(START, "ask").add_edge(START, "beside")
    runtime = make_runtime(graph.compile())
    run = await begin(runtime)
    assert run.status == "interrupted"

    assert (await runtime.replay(run.id)).steps == 2
    found = await runtime.replay(run.id, nodes=["ask", "beside"])
    assert (found.same, found.tasks) == (True, 1)


async def test_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    def dump() -> list[str]:
        with contextlib.closing(sqlite3.connect(path)) as database:
            return list(database.iterdump())

    class OnlyReads:
        """A store that takes no batch."""

        def __init__(self, store: Store) -> None:
            self.read, self.deployment = store.read, store.deployment

        async def commit(self, batch: Batch) -> Any:
            raise AssertionError(f"a replay wrote {batch.name!r}")

    async with open_store(f"sqlite:///{path}") as store:
        run = await driven(Runtime(store, [case()]))
        before = dump()
        reading: Any = OnlyReads(store)
        runtime = Runtime(reading, [case()])
        assert (await runtime.replay(run.id)).same
        assert (await runtime.replay(run.id, nodes=[*NODES, "inner", "check"])).same
        assert dump() == before


# -- a changed graph


class Louder(Case):
    log: Annotated[list[Any], lambda old, new: [*old, *(str(one).upper() for one in new)]]


class Plainer(Case):
    total: int


class Torn(Case):
    log: Annotated[list[Any], lambda old, new: 1 / 0 if new == ["further"] else old + new]


class Unstorable(Case):
    log: Annotated[list[Any], lambda old, new: [*old, object()] if new == ["further"] else old + new]


class Lacking(TypedDict, total=False):
    subject: str
    total: Annotated[int, operator.add]
    log: Annotated[list[Any], operator.add]


def fewer(state: Case) -> list[Any]:
    return ["left", "right", Send("work", 0)]


def broken(state: Case) -> list[Any]:
    raise LookupError(state["subject"])


def asking(state: Case) -> list[Any]:
    return [interrupt("which way?")]


for _route in (fewer, broken, asking):
    _route.__name__ = "spread"


@pytest.mark.parametrize(
    ("graph", "found", "said"),
    [
        (lambda: case(Louder), (1, "channel", "log"), ("sha256:", "sha256:")),
        (lambda: case(Plainer), (-1, "channel", "total"), ("sha256:", "no value")),
        (lambda: case(Torn), (3, "channel", "log"), ("was merged", "raised ZeroDivisionError")),
        (lambda: case(Unstorable), (3, "channel", "log"), ("sha256:", "what cannot be stored")),
        (lambda: case(Lacking), (6, "channel", "answer"), ("sha256:", "no such key")),
        (lambda: case(route=fewer), (1, "route", "draft"), ("work(sha256:", "left, right, work(sha256:")),
        (lambda: case(route=broken), (1, "route", "draft"), ("work(sha256:", "raised LookupError")),
        (lambda: case(route=asking), (1, "past", "draft"), ("ended", "asked what has no answer")),
        (
            lambda: case(edges=(("left", "right"), *EDGES[1:])),
            (2, "due", "next"),
            ("further, sum_up", "right, sum_up"),
        ),
        (
            lambda: case(edges=(EDGES[0], (["further", "right", "left"], "inner"), *EDGES[2:])),
            (2, "join", "further, left, right → inner"),
            ("nothing", "left, right"),
        ),
        (lambda: case(without="publish", edges=EDGES[:-1]), (6, "route", "review"), ("publish", "no such")),
        (
            lambda: case(without="further", edges=(("left", "inner"), ("inner", "review"))),
            (2, "join", "further, right → inner"),
            ("right", "nothing"),
        ),
    ],
    ids=lambda one: one if isinstance(one, str) else None,
)
async def test_what_changed_in_the_graph_is_the_first_thing_told(
    make_runtime: MakeRuntime,
    graph: Callable[[], CompiledGraph],
    found: tuple[int, str, str],
    said: tuple[str, str],
) -> None:
    run = await driven(make_runtime(case()))

    replayed = await make_runtime(graph()).replay(run.id)

    assert where(replayed) == found
    assert first(replayed).recorded.startswith(said[0])
    assert first(replayed).recomputed.startswith(said[1])
