"""Going through a run again: what is recomputed, what is answered from the record, and what is told."""

from __future__ import annotations

import contextlib
import json
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
    AsyncSqliteSaver,
    Command,
    CompiledGraph,
    Divergence,
    InMemorySaver,
    MessagesState,
    RemainingSteps,
    Replay,
    RetryPolicy,
    Run,
    Runtime,
    Send,
    StateGraph,
    Store,
    ToolBlocked,
    UnknownGraph,
    UnknownNode,
    UnknownRun,
    get_runtime,
    interrupt,
    open_store,
    read_tool_policy,
    step,
)
from graph_runtime.callers import Call
from graph_runtime.ledger import Durability
from graph_runtime.storage import Ask, Batch, Do, Row

T = {"configurable": {"thread_id": "t"}}


class Case(TypedDict, total=False):
    """A state with a plain key, a sum and a list."""

    subject: str
    answer: Any
    total: Annotated[int, operator.add]
    log: Annotated[list[Any], operator.add]


async def draft(state: Any) -> Case:
    return {"total": 1, "log": ["draft"]}


async def work(part: int) -> Case:
    return {"total": part, "log": [f"work {part}"]}


async def left(state: Any) -> Case:
    return {"log": ["left"]}


async def right(state: Any) -> Case:
    return {"log": ["right"]}


async def further(state: Any) -> Case:
    return {"log": ["further"]}


async def review(state: Any) -> Command[Any]:
    said = interrupt({"publish": state["subject"]})
    return Command(goto="publish" if said == "yes" else END, update={"answer": said})


async def publish(state: Any) -> Case:
    return {"log": [f"published {state['subject']} of {state['total']}"]}


async def sum_up(state: Any) -> Case:
    return {"log": ["summed up"]}


async def look(state: Any) -> Case:
    return {"log": ["looked"]}


async def check(state: Any) -> Case:
    return {"log": [f"checked: {interrupt('all well?')}"]}


def spread(state: Any) -> list[Any]:
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
    return {row["step"]: row for row in rows if row["run_id"] == run.id}


async def change(store: Store, row: Row, **fields: str | int | None) -> None:
    """Change a checkpoint behind the runtime's back."""
    drop = Do("drop_checkpoint", {"checkpoint_id": row["checkpoint_id"]})
    put = {name: value for name, value in dict(row).items() if name != "created_at"}
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
        Do("put_value", {"checkpoint_id": id_, "channel": name, "base": None, "value": value})
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
            {
                "checkpoint_id": id_,
                "task_id": one["task_id"],
                "run_id": one["run_id"],
                "value": change(one["value"]),
                "now": 0,
            },
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
            self.read, self.deployment, self.clock = store.read, store.deployment, store.clock

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


def fewer(state: Any) -> list[Any]:
    return ["left", "right", Send("work", 0)]


def broken(state: Any) -> list[Any]:
    raise LookupError(state["subject"])


def asking(state: Any) -> list[Any]:
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
            ("further", "right"),
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


def extended(old: list[Any], new: list[Any]) -> list[Any]:
    old.extend(new)
    return old


class Extended(TypedDict, total=False):
    log: Annotated[list[Any], extended]


async def test_a_reducer_that_changes_its_left_side_in_place_changes_nothing_else(
    make_runtime: MakeRuntime,
) -> None:
    async def one(state: Any) -> Any:
        return {"log": ["one"]}

    graph = StateGraph(Extended).add_node(one).add_edge(START, "one")
    graph.add_conditional_edges("one", lambda state: "one" if len(state["log"]) < 4 else END)
    runtime = make_runtime(graph.compile())
    run = await begin(runtime, {"log": ["in"]})
    assert (await runtime.look(run.id)).state.values["log"] == ["in", "one", "one", "one"]

    assert ((await runtime.replay(run.id)).same, (await runtime.replay(run.id)).steps) == (True, 5)


async def test_a_value_whose_keys_come_in_another_order_is_the_same(make_runtime: MakeRuntime) -> None:
    def graph(reducer: Callable[[Any, Any], Any]) -> CompiledGraph:
        # A class would keep its annotation as text, in which this reducer has no name.
        state = TypedDict("state", {"votes": Annotated[dict[str, int], reducer]}, total=False)  # noqa: UP013

        async def vote(state: Any) -> Any:
            return {"votes": {"bob": 1}}

        return StateGraph(state).add_node(vote).add_edge(START, "vote").compile()

    run = await begin(make_runtime(graph(lambda old, new: {**old, **new})), {"votes": {"alice": 1}})

    assert (await make_runtime(graph(lambda old, new: {**new, **old})).replay(run.id)).same
    lost = await make_runtime(graph(lambda old, new: new)).replay(run.id)
    assert where(lost) == (1, "channel", "votes")


# -- a changed record


@pytest.mark.parametrize(
    ("step", "fields", "found"),
    [
        (2, {"due": "[]"}, (2, "due", "next")),
        (2, {"joins": "{}"}, (2, "join", "further, right → inner")),
        (2, {"held": "[]"}, (2, "held", "held")),
        (1, {"routes": "[]"}, (1, "route", "routes")),
        (-1, {"due": "[]"}, (-1, "due", "next")),
        (-1, {"due": '[["id", "__start__", null, 7]]'}, (-1, "record", "checkpoint ")),
        (2, {"due": '[["id", ["odd"], null, 7]]'}, (2, "record", "the step")),
        (2, {"joins": '{"!": ["odd"]}'}, (2, "record", "the step")),
        (2, {"metadata": "odd"}, (2, "record", "")),
    ],
)
async def test_a_changed_checkpoint_is_told_at_its_step(
    make_runtime: MakeRuntime,
    store: Store,
    step: int,
    fields: dict[str, str],
    found: tuple[int, str, str],
) -> None:
    runtime = make_runtime(case())
    run = await driven(runtime)
    await change(store, (await rows_of(store, run))[step], **fields)

    at, what, name = where(await runtime.replay(run.id))
    assert (at, what) == found[:2]
    assert name.startswith(found[2])
    assert not (await runtime.replay(run.id, nodes=["work", "left", "right"])).skipped


async def test_a_send_that_was_given_something_else_is_told_by_its_digest(
    make_runtime: MakeRuntime, store: Store
) -> None:
    runtime = make_runtime(case())
    run = await driven(runtime)
    row = (await rows_of(store, run))[1]
    (_, _, (id_, node, push, arg), *rest) = json.loads(row["due"])
    assert (node, push, arg) == ("work", 0, 0)
    due = [*json.loads(row["due"])[:2], [id_, node, push, 7], *rest]
    await change(store, row, due=json.dumps(due))

    found = await runtime.replay(run.id)

    assert where(found) == (1, "due", "next")
    assert first(found).recorded != first(found).recomputed
    # The same tasks with other ids are other tasks, and look the same in words.
    await change(store, row, due=row["due"].replace(id_, "0" * 32))
    found = await runtime.replay(run.id)
    assert first(found).recorded.startswith("sha256:")


async def test_what_an_input_held_is_given_and_the_first_step_shows_that_it_was_changed(
    make_runtime: MakeRuntime, store: Store
) -> None:
    runtime = make_runtime(case())
    run = await begin(runtime, {"subject": "s", "log": ["in"]})
    row = (await rows_of(store, run))[-1]
    # A plain key's input is the value itself; only what a reducer makes of an input can differ from it.
    await change_value(store, row, "__start__log", '["other"]')

    assert where(await runtime.replay(run.id)) == (0, "channel", "log")


@pytest.mark.parametrize("text", ['["other"]', None, "{damaged"])
async def test_a_changed_value_is_told_at_the_step_that_wrote_it(
    make_runtime: MakeRuntime, store: Store, text: str | None
) -> None:
    runtime = make_runtime(case())
    run = await driven(runtime)
    row = (await rows_of(store, run))[3]
    await change_value(store, row, "log", text)

    step, what, _ = where(await runtime.replay(run.id))

    assert (step, what) == (3, "channel" if text == '["other"]' else "record")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda text: text.replace('"draft"', '"drift"'), (1, "channel", "log")),
        (lambda text: text.replace('"left"', '"further"'), (1, "route", "draft")),
        (lambda text: text.replace('"left"', '"nobody"'), (1, "route", "draft")),
        (lambda text: text[:-1], (0, "record", "checkpoint ")),
        (None, (1, "record", "draft")),
    ],
)
async def test_a_changed_result_is_told_at_the_step_that_merged_it(
    make_runtime: MakeRuntime,
    store: Store,
    change: Callable[[str], str] | None,
    found: tuple[int, str, str],
) -> None:
    runtime = make_runtime(case())
    run = await driven(runtime)
    await change_writes(store, (await rows_of(store, run))[0], change)

    step, what, name = where(await runtime.replay(run.id))

    assert (step, what) == found[:2]
    assert name.startswith(found[2])


async def test_a_changed_value_in_a_subgraph_is_told_with_its_namespace(
    make_runtime: MakeRuntime, store: Store
) -> None:
    runtime = make_runtime(case())
    run = await driven(runtime)
    (task,) = (step for step in await runtime.history(run.id) if step.next == ("inner",))
    ns = f"inner:{task.tasks[0].id}"
    await change_value(store, (await rows_of(store, run, ns=ns))[1], "log", '["other"]')

    found = await runtime.replay(run.id)

    assert where(found) == (1, "channel", "log")
    assert first(found).ns == ns


async def test_a_checkpoint_that_follows_one_of_another_graph_is_told(
    make_runtime: MakeRuntime, store: Store
) -> None:
    runtime = make_runtime(case())
    run = await driven(runtime)
    rows = await rows_of(store, run)
    (task,) = (step for step in await runtime.history(run.id) if step.next == ("inner",))
    stranger = (await rows_of(store, run, ns=f"inner:{task.tasks[0].id}"))[2]
    await change(store, rows[3], parent_id=stranger["checkpoint_id"])

    assert where(await runtime.replay(run.id))[:2] == (3, "record")


async def test_a_changed_answer_is_told_by_the_node_that_had_it(
    make_runtime: MakeRuntime, store: Store
) -> None:
    runtime = make_runtime(case())
    run = await driven(runtime)
    asked = [q for q in (await runtime.look(run.id)).questions if q.node == "check"]
    for text in ('"bad"', "{damaged"):
        answer_it: dict[str, Any] = {"run_id": run.id, "thread_id": run.thread_id, "answered_by": None}
        id_ = {"interrupt_id": asked[0].interrupt.id}
        await store.commit(
            Batch(
                "tamper",
                (
                    Do("reopen_interrupt", id_),
                    Do("answer_interrupt", {**id_, **answer_it, "answer": text, "now": 0}),
                ),
            )
        )
        found = await runtime.replay(run.id, nodes=["check"])
        assert where(found)[:2] == (2, "result" if text == '"bad"' else "record")


# -- changed nodes


async def test_a_node_whose_code_changed_is_found_by_its_name(make_runtime: MakeRuntime) -> None:
    async def further(state: Any) -> Case:
        return {"log": ["much further"], "total": 1}

    async def review(state: Any) -> Command[Any]:
        said = interrupt({"publish": state["subject"]})
        return Command(goto=END if said == "yes" else "publish", update={"answer": said})

    run = await driven(make_runtime(case()))
    changed = make_runtime(case(further=further, review=review))

    assert (await changed.replay(run.id)).same
    assert (await changed.replay(run.id, nodes=["left", "right"])).same
    found = await changed.replay(run.id, nodes=["further", "review"])
    assert where(found) == (3, "result", "further")
    assert first(found).recorded.startswith("log sha256:")
    assert first(found).recorded.endswith("; no total")
    found = await changed.replay(run.id, nodes="review")
    assert where(found) == (6, "result", "review")
    assert (first(found).recorded, first(found).recomputed) == ("goes to publish", f"goes to {END}")


async def test_a_node_of_a_subgraph_is_found_by_its_name_and_where_it_is(make_runtime: MakeRuntime) -> None:
    async def look(state: Any) -> Case:
        return {"log": ["looked away"]}

    run = await driven(make_runtime(case()))

    found = await make_runtime(case(sub=inner(look))).replay(run.id, nodes=["look"])

    assert where(found) == (1, "result", "look")
    assert first(found).ns.startswith("inner:")


async def test_updates_to_several_keys_in_another_order_say_the_same(make_runtime: MakeRuntime) -> None:
    async def one(state: Log) -> Any:
        return {"answer": {"a": 1, "b": 2}, "log": ["one"]}

    async def turned(state: Log) -> Any:
        return Command(update=[("log", ["one"]), ("answer", {"b": 2, "a": 1})])

    run = await begin(make_runtime(one_after_another(one=one)))

    assert (await make_runtime(one_after_another(one=turned)).replay(run.id, nodes=["one"])).same


async def raising(state: Any) -> Any:
    raise LookupError(state["subject"])


async def unstorable(state: Any) -> Any:
    return {"log": [interrupt("well?"), object()]}


async def not_asking(state: Any) -> Any:
    return {"log": ["yes"]}


async def asking_more(state: Any) -> Any:
    return {"log": [interrupt("well?"), interrupt("really?")]}


async def asking_else(state: Any) -> Any:
    return {"log": [interrupt("good?")]}


async def swallowing(state: Any) -> Any:
    with contextlib.suppress(BaseException):
        interrupt("really?")
    return {"log": [interrupt("well?")]}


async def leaving(state: Any) -> Any:
    return Command(graph=Command.PARENT, goto="ask")


@pytest.mark.parametrize(
    ("node", "what", "said"),
    [
        (raising, "result", "raised LookupError"),
        (unstorable, "result", "raised ValueRefused"),
        (not_asking, "result", "raised AnswerUnused"),
        (leaving, "result", "raised ParentCommand"),
        (asking_more, "past", "asked what has no answer in its record"),
        (asking_else, "past", "asked what has no answer in its record"),
        (swallowing, "past", "asked what has no answer in its record"),
    ],
)
async def test_a_node_that_does_something_else_is_told_and_nothing_comes_of_it(
    make_runtime: MakeRuntime, node: Callable[..., Any], what: str, said: str
) -> None:
    async def ask(state: Log) -> Log:
        return {"log": [interrupt("well?")]}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await answer_only(runtime, await begin(runtime, {"subject": "secret"}), "yes")
    assert (await runtime.replay(run.id, nodes=["ask"])).same

    found = await make_runtime(one_after_another(ask=node)).replay(run.id, nodes=["ask"])

    assert where(found) == (1, what, "ask")
    assert first(found).recomputed == said
    assert "secret" not in repr(found)
    assert len((await runtime.look(run.id)).questions) == 1


@pytest.mark.parametrize("swallows", [False, True])
async def test_a_step_that_is_not_recorded_is_told_and_its_function_is_not_called(
    make_runtime: MakeRuntime, *, swallows: bool
) -> None:
    count = Count()

    async def one(state: Log) -> Log:
        return {"log": [await step("look", lambda: 1)]}

    async def more(state: Log) -> Log:
        with contextlib.suppress(BaseException) if swallows else contextlib.nullcontext():
            await step("pay", count, "pay")
        return {"log": [await step("look", lambda: 1)]}

    run = await begin(make_runtime(one_after_another(one=one)))

    found = await make_runtime(one_after_another(one=more)).replay(run.id, nodes=["one"])

    assert where(found) == (1, "past", "one")
    assert first(found).recomputed == "wanted to run what is not in its record"
    assert count.all == 0


async def test_what_differs_is_shown_as_digests_and_given_to_code_as_it_is(make_runtime: MakeRuntime) -> None:
    async def one(state: Log) -> Log:
        return {"log": ["hunter2"]}

    async def other(state: Log) -> Log:
        return {"log": ["hunter3"]}

    run = await begin(make_runtime(one_after_another(one=one)))

    found = await make_runtime(one_after_another(one=other)).replay(run.id, nodes=["one"])

    assert "hunter" not in repr(found)
    assert [dict(one.updates) for one in first(found).values] == [{"log": ["hunter2"]}, {"log": ["hunter3"]}]


async def test_a_failing_node_is_tried_again_at_once_and_its_handler_stands_in(
    make_runtime: MakeRuntime,
) -> None:
    attempts: list[int] = []

    async def third(state: Log, runtime: Any) -> Log:
        attempts.append(runtime.execution_info.node_attempt)
        if attempts[-1] < 3:
            raise ConnectionError
        return {"log": ["third time"]}

    async def never(state: Log) -> Log:
        raise ConnectionError

    async def handler(state: Log, error: Any) -> Log:
        return {"log": [f"instead of {error.node}"]}

    def graph(wait: float) -> CompiledGraph:
        retries = RetryPolicy(initial_interval=wait, jitter=False)
        builder = StateGraph(Log).add_node(third, retry_policy=retries)
        builder.add_node(never, retry_policy=retries, error_handler=handler)
        # Where a handler stood in, the way on from its node was not asked for.
        builder.add_conditional_edges("never", lambda _: "third")
        return builder.add_edge(START, "third").add_edge("third", "never").compile()

    run = await begin(make_runtime(graph(0.001)))
    assert run.status == "completed"

    # Each of these would wait for an hour.
    found = await make_runtime(graph(3_600)).replay(run.id, nodes=["third", "never"])

    assert (found.same, found.tasks) == (True, 2)
    assert attempts == [1, 2, 3, 1, 2, 3]
    assert (await make_runtime(graph(0)).replay(run.id)).same


# -- runs that did not go straight


async def test_a_run_and_its_retry_replay_with_their_own_answers(make_runtime: MakeRuntime) -> None:
    fail = True

    async def ask(state: Log) -> Log:
        return {"log": [interrupt("well?")]}

    async def other(state: Log) -> Log:
        said = interrupt("good?")
        if fail:
            raise ValueError("not yet")
        return {"log": [said]}

    graph = StateGraph(Log).add_node(ask).add_node(other).add_edge(START, "ask").add_edge(START, "other")
    runtime = make_runtime(graph.compile())
    run = await answer(runtime, await begin(runtime), {"well?": "yes"})
    failed = await answer(runtime, run, {"good?": "no"})
    assert failed.status == "failed"
    fail = False
    again = await runtime.advance((await runtime.retry(run.thread_id, run.id)).id)
    again = await answer(runtime, again, {"good?": "now"})
    assert again.status == "completed"

    # Each run has its own answers, and only what it ran is run again.
    for one in (failed, again):
        found = await runtime.replay(one.id, nodes=["ask", "other"])
        assert (found.same, found.tasks) == (True, 1)
    assert ((await runtime.replay(again.id)).same, (await runtime.replay(again.id)).steps) == (True, 1)
    assert (await runtime.replay(failed.id)).steps == 2


async def test_a_fork_is_compared_with_what_it_is_a_copy_of(make_runtime: MakeRuntime, store: Store) -> None:
    runtime = make_runtime(case())
    run = await driven(runtime)
    rows = await rows_of(store, run)
    forked = await runtime.fork(run.thread_id, rows[1]["checkpoint_id"])
    forked = await answer(runtime, await runtime.advance(forked.id), {"all well?": "fine"})
    forked = await answer_only(runtime, forked, "no")
    assert forked.status == "completed"

    found = await runtime.replay(forked.id)
    assert (found.same, found.skipped) == (True, ())
    assert (await runtime.replay(forked.id, nodes=["work", "left", "right", "review"])).tasks == 5

    copy = (await rows_of(store, forked))[2]
    assert copy["source"] == "fork"
    await change(store, copy, due="[]")
    assert where(await runtime.replay(forked.id)) == (2, "due", "next")


async def test_an_answer_with_an_update_leaves_finished_siblings_what_they_ran_on() -> None:
    async def sibling(state: Any) -> Any:
        return {"log": [f"sibling saw {state['subject']}"]}

    async def gate(state: Any) -> Any:
        return {"answer": interrupt("pay?"), "log": [f"gate saw {state['subject']}"]}

    def way(state: Any) -> str:
        return "end" if state["subject"] == "1" else "again"

    async def again(state: Any) -> Any:
        return {"log": ["again"]}

    async with InMemorySaver().opened() as saver:
        builder = StateGraph(Log).add_node(sibling).add_node(gate).add_node(again)
        builder.add_edge(START, "sibling").add_edge(START, "gate")
        builder.add_conditional_edges("sibling", way, {"end": END, "again": "again"})
        graph = builder.compile(checkpointer=saver)
        await graph.ainvoke({"subject": "1"}, T)
        done = await graph.ainvoke(Command(resume="yes", update={"subject": "2"}), T)
        assert done["log"] == ["gate saw 2", "sibling saw 1"]
        runtime = saver.runtime_of(graph)
        (run,) = await runtime.runs()

        assert ((await runtime.replay(run.id)).same, (await runtime.replay(run.id)).given) == (True, 1)
        found = await runtime.replay(run.id, nodes=["sibling", "gate"])
        assert (found.same, found.tasks) == (True, 2)


async def drive_with(runtime: Runtime, run: Run, durability: Durability) -> Run:
    """Drive the run to its rest as a caller with that durability does."""
    claimed = await runtime.claim_this(run.id)
    assert claimed is not None
    return await runtime.drive(claimed, Call(durability=durability))


async def test_steps_that_a_call_with_exit_left_out_are_told_as_not_recorded(
    make_runtime: MakeRuntime,
) -> None:
    async def one(state: Log) -> Log:
        return {"log": ["one"]}

    async def two(state: Log) -> Log:
        return {"log": [interrupt("well?")]}

    runtime = make_runtime(one_after_another(one=one, two=two, three=one, four=one))
    run = await drive_with(runtime, await runtime.start("graph", {"subject": "s"}), "exit")
    assert run.status == "interrupted"
    found = await runtime.replay(run.id)
    assert found.same
    assert (found.steps, [(one.step, one.why) for one in found.skipped]) == (0, [(1, "not recorded")])

    (asked,) = (await runtime.look(run.id)).open
    run = await runtime.resume(run.thread_id, run.id, asked.interrupt.id, "yes")
    run = await drive_with(runtime, run, "exit")
    assert run.status == "completed"
    found = await runtime.replay(run.id)
    assert (found.steps, [one.step for one in found.skipped], found.divergence) == (0, [1, 4], None)
    # What the first node of that call returned is still there, and nothing else.
    found = await runtime.replay(run.id, nodes=["one", "two", "three", "four"])
    assert (found.same, found.tasks) == (True, 1)


async def test_an_edit_begins_a_run_that_has_nothing_to_be_computed_from(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(one_after_another(one=draft, two=draft))
    await runtime.edit("t", {"log": ["edited"]}, as_node="one", graph="graph")
    run = await runtime.last_run("t")
    assert run is not None
    run = await runtime.drive(await runtime.take_up(run))
    assert run.status == "completed"

    found = await runtime.replay(run.id)

    assert (found.same, found.given, found.steps, found.skipped) == (True, 1, 1, ())


async def test_a_later_run_of_a_thread_goes_on_from_what_the_earlier_one_left(
    make_runtime: MakeRuntime,
) -> None:
    class Grown(Log, total=False):
        more: Annotated[list[Any], operator.add]

    async def one(state: Any) -> Any:
        return {"log": ["one"], "more": ["one"]}

    old = make_runtime(one_after_another(one=one))
    first_run = await begin(old)
    graph = StateGraph(Grown).add_node("one", one).add_edge(START, "one").compile()
    new = make_runtime(graph)
    later = await begin(new, {"subject": "later"}, thread_id=first_run.thread_id)

    assert ((await new.replay(later.id)).same, (await new.replay(later.id)).steps) == (True, 3)
    # A key that the graph has got since had no beginning in the first run.
    assert (await new.replay(first_run.id)).same


# -- subgraphs


async def test_a_graph_that_a_node_calls_is_not_known_and_answers_the_node_from_the_record(
    make_runtime: MakeRuntime,
) -> None:
    count = Count()

    async def within(state: Log) -> Log:
        count("within")
        return {"log": [f"within {state['subject']}"]}

    sub = one_after_another("sub", within=within)

    async def caller(state: Log) -> Any:
        first = await sub.ainvoke({"subject": "a"})
        second = await sub.ainvoke({"subject": "b"})
        return {"log": [*first["log"], *second["log"]]}

    async def otherwise(state: Log) -> Any:
        return {"log": (await sub.ainvoke({"subject": "c"}))["log"]}

    async def thrice(state: Log) -> Any:
        return {"log": [await sub.ainvoke({"subject": one}) for one in "abc"]}

    run = await begin(make_runtime(one_after_another(caller=caller)))
    runtime = make_runtime(one_after_another(caller=caller))
    assert count.all == 2

    found = await runtime.replay(run.id)
    assert (found.same, found.steps) == (True, 3)
    assert {one.why for one in found.skipped} == {"graph not known"}
    assert len(found.skipped) == 6
    assert (await runtime.replay(run.id, nodes=["caller"])).same
    changed = await make_runtime(one_after_another(caller=otherwise)).replay(run.id, nodes=["caller"])
    assert first(changed).recomputed == "gave its subgraph another input"
    more = await make_runtime(one_after_another(caller=thrice)).replay(run.id, nodes=["caller"])
    assert first(more).recomputed == "called a graph that it did not call then"
    assert count.all == 2


@pytest.mark.parametrize("durability", ["sync", "exit"])
async def test_a_subgraph_with_a_memory_answers_with_what_it_came_to_in_that_step(
    make_runtime: MakeRuntime, durability: Durability
) -> None:
    async def more(state: Any) -> Any:
        return {"log": [len(state["log"])]}

    sub = StateGraph(Log).add_node(more).add_edge(START, "more").compile(checkpointer=True)

    async def sub_node(state: Any) -> Any:
        return {"answer": (await sub.ainvoke({"log": ["in"]}))["log"]}

    def way(state: Any) -> str:
        return END if len(state["answer"]) > 4 else "sub_node"

    graph = StateGraph(Log).add_node(sub_node).add_edge(START, "sub_node")
    runtime = make_runtime(graph.add_conditional_edges("sub_node", way).compile())
    run = await drive_with(runtime, await runtime.start("graph", {"subject": "s"}), durability)
    assert (await runtime.look(run.id)).state.values["answer"] == ["in", 1, "in", 3, "in", 5]

    found = await runtime.replay(run.id, nodes=["sub_node"])

    assert found.same
    assert found.tasks == (3 if durability == "sync" else 0)


async def test_what_a_subgraph_with_a_memory_came_to_between_two_checkpoints_is_not_known(
    make_runtime: MakeRuntime,
) -> None:
    async def more(state: Any) -> Any:
        return {"log": [len(state["log"])]}

    sub = StateGraph(Log).add_node(more).add_edge(START, "more").compile(checkpointer=True)

    async def ask(state: Any) -> Any:
        if "answer" not in state:
            interrupt("well?")
        return {"answer": (await sub.ainvoke({"log": ["in"]}))["log"]}

    graph = StateGraph(Log).add_node(ask).add_edge(START, "ask")
    graph.add_conditional_edges("ask", lambda state: "ask" if len(state["answer"]) < 4 else END)
    runtime = make_runtime(graph.compile())
    run = await begin(runtime)
    (asked,) = (await runtime.look(run.id)).open
    run = await runtime.resume(run.thread_id, run.id, asked.interrupt.id, "yes")
    run = await drive_with(runtime, run, "exit")
    assert (await runtime.look(run.id)).state.values["answer"] == ["in", 1, "in", 3]

    found = await runtime.replay(run.id, nodes=["ask"])

    assert (found.same, found.tasks) == (True, 0)
    assert [(one.step, one.why) for one in found.skipped] == [(2, "not recorded")]


async def test_a_node_whose_subgraph_did_not_end_is_left_out(make_runtime: MakeRuntime) -> None:
    async def leave(state: Any) -> Any:
        return Command(graph=Command.PARENT, update={"log": ["left"]}, goto="after")

    async def after(state: Any) -> Any:
        return {"log": ["after"]}

    sub = one_after_another("sub", leave=leave)
    graph = StateGraph(Log).add_node("sub", sub).add_node(after).add_edge(START, "sub")
    runtime = make_runtime(graph.compile())
    run = await begin(runtime)
    assert (await runtime.look(run.id)).state.values["log"] == ["left", "after"]

    assert (await runtime.replay(run.id)).same
    found = await runtime.replay(run.id, nodes=["sub", "leave", "after"])
    assert (found.same, found.tasks) == (True, 1)
    assert [(one.step, one.why) for one in found.skipped] == [(1, "not recorded")]


async def test_a_run_that_a_node_starts_beside_its_own_is_not_started_again(
    make_runtime: MakeRuntime, tmp_path: Path
) -> None:
    count = Count()

    async def paid(state: Log) -> Log:
        count("paid")
        return {"log": ["paid"]}

    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "other.db")) as saver:
        builder = StateGraph(Log).add_node(paid).add_edge(START, "paid")
        other = builder.compile(checkpointer=saver)

        async def pay(state: Log) -> Any:
            await other.ainvoke({"subject": "x"}, T)
            return {"log": ["paid"]}

        async def mend(state: Log) -> Any:
            await other.aupdate_state(T, {"log": ["mended"]}, as_node="paid")
            return {"log": ["mended"]}

        async def watch(state: Log) -> Any:
            loose = one_after_another("loose", paid=paid)
            return {"log": [event async for event in loose.astream({"subject": "x"})]}

        runtime = make_runtime(one_after_another(pay=pay, mend=mend, watch=watch))
        run = await begin(runtime)
        assert (run.status, count.all) == ("completed", 2)
        before = [one.checkpoint for one in [found async for found in saver.alist(T)]]

        for node in ("pay", "mend", "watch"):
            found = await runtime.replay(run.id, nodes=[node])
            assert first(found).recomputed == "wanted to run what is not in its record"
        assert [one.checkpoint for one in [found async for found in saver.alist(T)]] == before
        assert count.all == 2


# -- what the record does not hold


async def test_ids_that_messages_were_given_by_chance_are_not_compared(
    make_runtime: MakeRuntime, store: Store
) -> None:
    async def reply(state: Any) -> Any:
        return {"messages": [("ai", "hello"), {"role": "ai", "content": "again", "id": "mine"}]}

    graph = StateGraph(MessagesState).add_node(reply).add_edge(START, "reply")
    runtime = make_runtime(graph.compile())
    run = await begin(runtime, {"messages": "hi"})

    assert (await runtime.replay(run.id)).same
    assert (await runtime.replay(run.id, nodes=["reply"])).same
    row = (await rows_of(store, run))[1]
    (values,) = await store.read(Ask("get_values", {"checkpoint_id": row["checkpoint_id"]}))
    text = values[0]["value"]
    for old, new in (("mine", "yours"), ("hello", "hullo")):
        assert old in text
        await change_value(store, row, "messages", text.replace(old, new))
        assert where(await runtime.replay(run.id)) == (1, "channel", "messages")


class Counted(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    left: RemainingSteps


@pytest.mark.parametrize("durability", ["sync", "exit"])
async def test_the_steps_that_were_left_are_known_where_the_record_is_whole(
    make_runtime: MakeRuntime, durability: Durability
) -> None:
    async def note(state: Any) -> Any:
        return {"log": [state["left"]]}

    async def ask(state: Any) -> Any:
        return {"log": [interrupt("well?"), state["left"]]}

    def way(state: Any) -> str:
        return "note" if state["left"] > 5 else "sub"

    sub = StateGraph(Counted).add_sequence([("one", note), ("two", note)]).add_edge(START, "one").compile()
    graph = StateGraph(Counted).add_node(note).add_node(ask).add_node("sub", sub).add_edge(START, "note")
    graph.add_conditional_edges("note", way).add_edge("sub", "ask")
    runtime = make_runtime(graph.compile())
    run = await runtime.start("graph", {"log": []}, max_steps=9)
    run = await drive_with(runtime, run, durability)
    run = await answer_only(runtime, run, "yes")
    assert run.status == "completed"
    assert (await runtime.look(run.id)).state.values["log"][:4] == [8, 7, 6, 5]

    found = await runtime.replay(run.id)
    again = await runtime.replay(run.id, nodes=["note", "ask", "one", "two"])

    assert found.same
    assert again.same
    if durability == "sync":
        assert (found.skipped, again.skipped, again.tasks) == ((), (), 4 + 1 + 2)
    else:
        assert [(one.ns == "", one.why) for one in found.skipped][-1] == (True, "not recorded")
        assert again.tasks == 0


async def test_a_retry_has_all_its_steps_left(make_runtime: MakeRuntime) -> None:
    failed = []

    async def note(state: Any) -> Any:
        return {"log": [state["left"]]}

    async def fail_once(state: Any) -> Any:
        failed.append(state["left"])
        if len(failed) == 1:
            raise ValueError("not yet")
        return {"log": [state["left"]]}

    graph = StateGraph(Counted).add_sequence([("note", note), ("fail_once", fail_once)])
    runtime = make_runtime(graph.add_edge(START, "note").compile())
    run = await begin(runtime, {"log": []}, max_steps=9)
    again = await runtime.advance((await runtime.retry(run.thread_id, run.id)).id)
    assert (again.status, failed) == ("completed", [7, 8])

    found = await runtime.replay(again.id, nodes=["fail_once"])
    assert (found.same, found.tasks, found.skipped) == (True, 1, ())
    found = await runtime.replay(again.id)
    assert (found.same, found.steps, found.skipped) == (True, 1, ())


async def test_a_subgraph_with_a_memory_has_all_its_steps_left_at_each_call(
    make_runtime: MakeRuntime,
) -> None:
    async def note(state: Any) -> Any:
        return {"log": [state["left"]]}

    sub = StateGraph(Counted).add_node(note).add_edge(START, "note").compile(checkpointer=True)
    graph = StateGraph(Log).add_node("sub", sub).add_edge(START, "sub")
    graph.add_conditional_edges("sub", lambda state: "sub" if len(state["log"]) < 4 else END)
    runtime = make_runtime(graph.compile())
    run = await begin(runtime, {"log": []}, max_steps=9)
    assert (await runtime.look(run.id)).state.values["log"] == [8, 8, 8, 8]

    found = await runtime.replay(run.id, nodes=["note"])

    assert (found.same, found.tasks) == (True, 2)


async def test_the_config_and_the_context_of_a_call_are_given_again(make_runtime: MakeRuntime) -> None:
    class Who(TypedDict):
        name: str

    async def sign(state: Any, config: Any) -> Any:
        return {"log": [config["configurable"]["by"], get_runtime().context["name"]]}

    async with InMemorySaver().opened() as saver:
        graph = StateGraph(Log, Who).add_node(sign).add_edge(START, "sign").compile(checkpointer=saver)
        config = {"configurable": {"thread_id": "t", "by": "alice"}}
        await graph.ainvoke({"subject": "s"}, config, context={"name": "bob"})
        runtime = saver.runtime_of(graph)
        (run,) = await runtime.runs()

        assert first(await runtime.replay(run.id, nodes=["sign"])).recomputed == "raised KeyError"
        found = await runtime.replay(run.id, nodes=["sign"], config=config, context={"name": "bob"})
        assert (found.same, found.tasks) == (True, 1)


async def test_a_branch_may_ask_and_record_as_its_node_may(make_runtime: MakeRuntime) -> None:
    count = Count()

    async def way(state: Any) -> str:
        await step("look", count, "look")
        return interrupt("which way?")

    async def one(state: Any) -> Any:
        return {"log": ["one"]}

    graph = StateGraph(Log).add_node(one).add_node("two", one).add_edge(START, "one")
    runtime = make_runtime(graph.add_conditional_edges("one", way).compile())
    run = await answer_only(runtime, await begin(runtime), "two")
    assert run.status == "completed"

    assert (await runtime.replay(run.id)).same
    assert (await runtime.replay(run.id, nodes=["one"])).same
    assert count.all == 1


async def test_what_is_not_there_cannot_be_replayed(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(case())
    run = await driven(runtime)

    with pytest.raises(UnknownRun):
        await runtime.replay("run-nothing")
    with pytest.raises(UnknownGraph):
        await make_runtime(one_after_another(one=draft)).replay(run.id)
    with pytest.raises(UnknownNode, match=r"has no node 'reveiw'; its nodes are draft, .*, check"):
        await runtime.replay(run.id, nodes=["left", "reveiw"])


@pytest.mark.parametrize("do", ["allow", "ask", "block"])
async def test_a_tool_is_judged_as_it_was_and_not_used_again(make_runtime: MakeRuntime, do: str) -> None:
    count = Count()

    def graph(*names: str) -> CompiledGraph:
        tools = read_tool_policy([{"tool": "pay", "do": do, "reason": "money"}])

        async def pay(state: Log) -> Log:
            for name in names:
                with contextlib.suppress(ToolBlocked):
                    await tools.call(name, count, {"node": name})
            return {"log": ["paid"]}

        return one_after_another(pay=pay)

    runtime = make_runtime(graph("pay"))
    run = await begin(runtime)
    if do == "ask":
        run = await answer_only(runtime, run, {"decision": "approve"})
    assert (run.status, count.all) == ("completed", int(do != "block"))

    assert (await runtime.replay(run.id, nodes=["pay"])).same
    found = await make_runtime(graph("pay", "refund")).replay(run.id, nodes=["pay"])
    assert where(found) == (1, "past", "pay")
    assert count.of["refund"] == 0
    assert count.all == int(do != "block")
