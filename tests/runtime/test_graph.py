"""Graphs as authors write them: schemas, edges, branches and commands mean what they mean in LangGraph."""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NotRequired, Required, TypedDict

import pydantic
import pytest
from graphs import Log, begin, one_after_another, side_by_side, values
from kit import MakeRuntime

from graph_runtime import (
    END,
    START,
    Command,
    EmptyInputError,
    InvalidGraph,
    NodeRuntime,
    Run,
    Runtime,
    Send,
    StateGraph,
    interrupt,
)


async def final(make_runtime: MakeRuntime, graph: StateGraph, given: Any = None) -> Mapping[str, Any]:
    runtime = make_runtime(graph.compile())
    run = await begin(runtime, given)
    assert (run.status, run.error) == ("completed", None)
    return await values(runtime, run)


async def failed(make_runtime: MakeRuntime, graph: StateGraph, given: Any = None) -> Mapping[str, str]:
    run: Run = await begin(make_runtime(graph.compile()), given)
    assert run.status == "failed"
    assert run.error is not None
    return run.error


def note(text: str) -> Any:
    return lambda state: {"log": [text]}


def graph_of(*names: str) -> StateGraph:
    graph = StateGraph(Log)
    for name in names:
        graph.add_node(name, note(name))
    return graph


# -- steps ----------------------------------------------------------------------------------------------------


async def test_all_nodes_of_a_step_see_the_state_of_its_start_and_overlap(make_runtime: MakeRuntime) -> None:
    together = asyncio.Barrier(2)

    async def a(state: Log) -> Log:
        await together.wait()
        return {"log": [f"a saw {len(state['log'])}"]}

    async def b(state: Log) -> Log:
        await together.wait()
        return {"log": [f"b saw {len(state['log'])}"]}

    runtime = make_runtime(side_by_side(b=b, a=a))
    async with asyncio.timeout(5):
        run = await begin(runtime)
    assert (await values(runtime, run))["log"] == ["a saw 0", "b saw 0"]


async def test_uneven_branches_run_the_target_twice_without_a_list_edge(make_runtime: MakeRuntime) -> None:
    graph = graph_of("a", "b", "b2", "c")
    graph.add_edge(START, "a").add_edge(START, "b").add_edge("b", "b2").add_edge("a", "c").add_edge("b2", "c")
    assert (await final(make_runtime, graph))["log"] == ["a", "b", "b2", "c", "c"]


async def test_a_list_edge_joins_uneven_branches(make_runtime: MakeRuntime) -> None:
    graph = graph_of("a", "b", "b2", "c")
    graph.add_edge(START, "a").add_edge(START, "b").add_edge("b", "b2").add_edge(["a", "b2"], "c")
    assert (await final(make_runtime, graph))["log"] == ["a", "b", "b2", "c"]


async def test_a_list_edge_waits_over_a_pause(make_runtime: MakeRuntime) -> None:
    graph = graph_of("a", "c").add_node("ask", lambda state: {"log": [interrupt("?")]})
    graph.add_node("later", note("later")).add_edge(START, "a").add_edge(START, "later").add_edge(
        "later", "ask"
    )
    graph.add_edge(["a", "ask"], "c")
    runtime = make_runtime(graph.compile())
    run = await begin(runtime)
    (asked,) = (await runtime.look(run.id)).open
    await runtime.resume(run.thread_id, run.id, asked.interrupt.id, "said")
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"] == ["a", "later", "said", "c"]


async def test_a_deferred_node_runs_last_and_once(make_runtime: MakeRuntime) -> None:
    graph = graph_of("a", "b", "b2").add_node("z", note("z"), defer=True)
    graph.add_edge(START, "a").add_edge(START, "b").add_edge("b", "b2").add_edge("a", "z").add_edge("b2", "z")
    assert (await final(make_runtime, graph))["log"] == ["a", "b", "b2", "z"]


async def test_an_input_may_lead_straight_to_the_end(make_runtime: MakeRuntime) -> None:
    assert await final(make_runtime, StateGraph(Log).add_edge(START, END)) == {"subject": "s", "log": []}


async def test_a_sequence_has_an_entry_and_an_end(make_runtime: MakeRuntime) -> None:
    graph = StateGraph(Log).add_sequence([("a", note("a")), ("b", note("b"))])
    graph.set_entry_point("a").set_finish_point("b")
    assert (await final(make_runtime, graph))["log"] == ["a", "b"]


# -- branches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "ends", "log"),
    [
        ("x", None, ["x"]),
        (["x", "y"], None, ["x", "y"]),
        (("y", "x"), None, ["x", "y"]),
        (END, None, []),
        ([], None, []),
        (["x", END], None, ["x"]),
        (Send("x", {"n": 1}), None, ["x"]),
        ([Send("x", 1), Send("x", 2)], None, ["x", "x"]),
        ([Send("y", 1), "x"], None, ["x", "y"]),
        (True, {True: "x", False: "y"}, ["x"]),
        ("yes", {"yes": "x", "no": END}, ["x"]),
        ("no", {"yes": "x", "no": END}, []),
        (["yes", "also"], {"yes": "x", "also": "y"}, ["x", "y"]),
        ([Send("y", 1)], {"yes": "x"}, ["y"]),
        ("x", ["x", "y"], ["x"]),
        (0, {0: "y"}, ["y"]),
    ],
)
@pytest.mark.parametrize("source", ["a", START])
async def test_a_branch_may_return_all_these_shapes(
    make_runtime: MakeRuntime, chosen: Any, ends: Any, log: list[str], source: str
) -> None:
    graph = graph_of("a", "x", "y").add_edge(START, "a") if source == "a" else graph_of("x", "y")
    graph.add_conditional_edges(source, lambda state: chosen, ends)
    assert (await final(make_runtime, graph))["log"] == [*(["a"] if source == "a" else []), *log]


@pytest.mark.parametrize(
    ("chosen", "error"),
    [
        (None, "NoWay"),
        (["x", None], "NoWay"),
        (START, "NoWay"),
        ("nowhere", "InvalidUpdateError"),
        (["x", "nowhere"], "InvalidUpdateError"),
        (Send("nowhere", 1), "InvalidUpdateError"),
        (Send(END, 1), "InvalidUpdateError"),
        (7, "InvalidUpdateError"),
        ({"x": 1}, "InvalidUpdateError"),
    ],
)
async def test_a_branch_to_nowhere_fails_the_run_and_nothing_of_the_step_is_kept(
    make_runtime: MakeRuntime, chosen: Any, error: str
) -> None:
    graph = graph_of("a", "x").add_edge(START, "a").add_conditional_edges("a", lambda state: chosen)
    runtime = make_runtime(graph.compile())
    run = await begin(runtime)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == error
    assert (await values(runtime, run))["log"] == []


async def test_a_branch_may_not_leave_the_ends_it_declared(make_runtime: MakeRuntime) -> None:
    graph = graph_of("a", "x", "y").add_edge(START, "a")
    graph.add_conditional_edges("a", lambda state: "y", {"yes": "x"})
    assert "'y'" in (await failed(make_runtime, graph))["message"]


async def test_a_branch_sees_the_fresh_state_and_may_be_async(make_runtime: MakeRuntime) -> None:
    async def route(state: Log) -> Literal["x", "__end__"]:
        await asyncio.sleep(0)
        return "x" if state["log"] == ["a"] else "__end__"

    graph = graph_of("a", "x").add_edge(START, "a").add_conditional_edges("a", route)
    assert (await final(make_runtime, graph))["log"] == ["a", "x"]


async def test_two_branches_of_one_node_add_up(make_runtime: MakeRuntime) -> None:
    graph = graph_of("a", "x", "y").add_edge(START, "a")
    graph.add_conditional_edges("a", functools.wraps(len)(lambda state: "x"))
    graph.add_conditional_edges("a", lambda state: "y")
    assert (await final(make_runtime, graph))["log"] == ["a", "x", "y"]


async def test_a_branch_that_raises_fails_the_run(make_runtime: MakeRuntime) -> None:
    def route(state: Log) -> str:
        raise LookupError("no way")

    graph = graph_of("a").add_edge(START, "a").add_conditional_edges("a", route)
    error = await failed(make_runtime, graph)
    assert (error["type"], error["message"]) == ("LookupError", "no way")
    assert len(error["task"]) == 32


# -- Send and Command ---------------------------------------------------------------------------------------------


async def test_a_send_s_target_sees_only_what_was_sent(make_runtime: MakeRuntime) -> None:
    async def work(arg: Any) -> Log:
        return {"log": [arg]}

    graph = StateGraph(Log).add_node(work)
    sends = [Send("work", {"n": 2}), Send("work", "text"), Send("work", None), Send("work", (1, {2}))]
    graph.add_conditional_edges(START, lambda state: sends)
    assert (await final(make_runtime, graph))["log"] == [{"n": 2}, "text", None, (1, {2})]


async def test_nested_sends_run_one_step_later(make_runtime: MakeRuntime) -> None:
    async def fan(arg: int) -> Command[Any]:
        deeper = [Send("fan", arg - 1)] * 2 if arg else []
        return Command(update={"log": [arg]}, goto=deeper)

    graph = StateGraph(Log).add_node(fan).add_conditional_edges(START, lambda state: Send("fan", 2))
    assert (await final(make_runtime, graph))["log"] == [2, 1, 1, 0, 0, 0, 0]


async def test_a_send_of_what_cannot_be_stored_fails_the_run(make_runtime: MakeRuntime) -> None:
    graph = graph_of("a", "b").add_edge(START, "a")
    graph.add_conditional_edges("a", lambda state: Send("b", object()))
    assert (await failed(make_runtime, graph))["type"] == "ValueRefused"


async def test_goto_adds_to_static_edges(make_runtime: MakeRuntime) -> None:
    graph = graph_of("b", "c").add_node("a", lambda state: Command(goto="c", update={"log": ["a"]}))
    graph.add_edge(START, "a").add_edge("a", "b")
    assert (await final(make_runtime, graph))["log"] == ["a", "b", "c"]


async def test_commands_and_updates_may_come_in_a_list(make_runtime: MakeRuntime) -> None:
    returned = [Command(update={"log": [1]}, goto="b"), {"log": [2]}, Command(update=[("log", [3])])]
    graph = graph_of("b").add_node("a", lambda state: returned).add_edge(START, "a")
    assert (await final(make_runtime, graph))["log"] == [1, 2, 3, "b"]


# -- what a node is -------------------------------------------------------------------------------------------------


class Caller:
    """A callable object that cannot be a key of a dict."""

    def __init__(self, *, wait: bool = False) -> None:
        self.wait = wait

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        raise TypeError("unhashable")

    def __call__(self, state: Log) -> Log:
        return {"log": ["called"]}


class AsyncCaller:
    async def __call__(self, state: Log) -> Log:
        await asyncio.sleep(0)
        return {"log": ["called"]}


async def _two(state: Log, suffix: str) -> Log:
    return {"log": [suffix]}


@pytest.mark.parametrize(
    ("node", "log"),
    [
        (Caller(), ["called"]),
        (AsyncCaller(), ["called"]),
        (functools.partial(_two, suffix="p"), ["p"]),
        (lambda state: _two(state, "awaitable"), ["awaitable"]),
        (lambda state, config: {"log": [config["metadata"]["node"]]}, ["n"]),
        (lambda state, *, config: {"log": [config["metadata"]["step"]]}, [1]),
        (dict, []),
        (lambda state, extra=1: {"log": [extra]}, [1]),
    ],
)
async def test_a_node_may_be_anything_that_can_be_called(
    make_runtime: MakeRuntime, node: Any, log: Any
) -> None:
    graph = StateGraph(Log).add_node("n", node).add_edge(START, "n")
    assert (await final(make_runtime, graph))["log"] == log


async def test_config_tells_a_node_where_it_runs(make_runtime: MakeRuntime) -> None:
    async def where(state: Log, config: Any) -> Log:
        return {"answer": config["configurable"]}

    runtime = make_runtime(one_after_another(where=where))
    run = await begin(runtime, thread_id="case-1")
    (page,) = [page for page in await runtime.history(run.id) if page.next == ("where",)]
    assert (await values(runtime, run))["answer"] == {
        "thread_id": "case-1",
        "run_id": run.id,
        "checkpoint_id": page.checkpoint_id,
        "checkpoint_ns": f"where:{page.tasks[0].id}",
        "task_id": page.tasks[0].id,
    }


# -- schemas --------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    subject: str
    tags: Annotated[list[str], operator.add] = field(default_factory=list)
    done: bool = False
    limit: ClassVar[int] = 3


async def test_a_dataclass_state_reaches_nodes_as_an_instance(make_runtime: MakeRuntime) -> None:
    def work(state: Case) -> dict[str, Any]:
        assert isinstance(state, Case)
        assert state.done is False
        return {"tags": [state.subject], "done": True, "limit": 9}

    graph = StateGraph(Case).add_node("work", work).add_edge(START, "work")
    assert await final(make_runtime, graph, {"subject": "s"}) == {"subject": "s", "tags": ["s"], "done": True}


async def test_an_instance_is_an_input_and_an_update(make_runtime: MakeRuntime) -> None:
    graph = StateGraph(Case).add_node("work", lambda state: Case("new", ["b"])).add_edge(START, "work")
    state = await final(make_runtime, graph, Case("old", ["a"]))
    assert state == {"subject": "new", "tags": ["a", "b"], "done": False}


class Form(pydantic.BaseModel):
    amount: int
    note: str = ""
    tags: Annotated[list[str], operator.add] = pydantic.Field(default_factory=list)


async def test_a_pydantic_state_is_validated_where_a_node_starts(make_runtime: MakeRuntime) -> None:
    def work(state: Form) -> dict[str, Any]:
        return {"amount": "not a number", "tags": [type(state).__name__]}

    graph = StateGraph(Form).add_node("work", work).add_edge(START, "work")
    state = await final(make_runtime, graph, {"amount": 1})
    assert state["amount"] == "not a number", "the writer is not the one who fails"
    graph.add_node("reads", lambda state: None).add_edge("work", "reads")
    assert (await failed(make_runtime, graph, {"amount": 1}))["type"] == "ValidationError"
    assert (await failed(make_runtime, graph, {"amount": "x"}))["type"] == "ValidationError"


async def test_an_update_by_a_pydantic_instance_is_what_was_set(make_runtime: MakeRuntime) -> None:
    graph = StateGraph(Form).add_node("work", lambda state: Form(amount=2)).add_edge(START, "work")
    state = await final(make_runtime, graph, Form(amount=1, note="kept", tags=["a"]))
    assert state == {"amount": 2, "note": "kept", "tags": ["a"]}


@pytest.mark.parametrize(
    ("schema", "given", "returned", "expected"),
    [
        (int, 1, 2, 2),
        (Annotated[int, operator.add], 1, 2, 3),
        (Annotated[list[Any], operator.add], [1], [2, {"a": 1}], [1, 2, {"a": 1}]),
        (list[Any], [1], [2], [2]),
        (dict[str, int], {"a": 1}, {"b": 2}, {"b": 2}),
        (str, "a", None, "a"),
        (bool, True, False, False),
    ],
)
async def test_a_state_may_be_one_value(
    make_runtime: MakeRuntime, schema: Any, given: Any, returned: Any, expected: Any
) -> None:
    seen = []

    def work(state: Any) -> Any:
        seen.append(state)
        return returned

    runtime = make_runtime(StateGraph(schema).add_node("work", work).add_edge(START, "work").compile())
    run = await runtime.start("graph", given)
    run = await runtime.advance(run.id)
    assert (run.status, run.error) == ("completed", None)
    assert await values(runtime, run) == expected
    assert seen == [given]


class Typed(TypedDict):
    a: Required[int]
    b: NotRequired[Annotated[list[int], operator.add]]
    c: Annotated[NotRequired[Sequence[int]], operator.add]
    d: Annotated[dict[str, int], operator.or_]
    e: Annotated[set[int], operator.or_]


async def test_annotations_may_be_nested_and_abstract(make_runtime: MakeRuntime) -> None:
    def work(state: Typed) -> Any:
        return {"b": [1], "c": [2], "d": {"x": 1}, "e": {3}}

    graph = StateGraph(Typed).add_sequence([("one", work), ("two", work)]).add_edge(START, "one")
    state = await final(make_runtime, graph, {"a": 0})
    assert state == {"a": 0, "b": [1, 1], "c": [2, 2], "d": {"x": 1}, "e": {3}}


class Narrow(TypedDict):
    subject: str


class Added(TypedDict):
    subject: Annotated[str, operator.add]


class Hidden(TypedDict, total=False):
    hidden: int


class Private(TypedDict, total=False):
    subject: str
    secret: int


async def test_nodes_and_the_input_may_have_schemas_of_their_own(make_runtime: MakeRuntime) -> None:
    seen: list[Any] = []

    def write(state: Narrow) -> Any:
        seen.append(dict(state))
        return {"secret": 7}

    def read(state: Private) -> Any:
        seen.append(dict(state))
        return {"log": [state["secret"]]}

    graph = StateGraph(Log, input_schema=Narrow, output_schema=Log)
    graph.add_node("write", write, input_schema=Narrow).add_node("read", read, input_schema=Private)
    graph.add_edge(START, "write").add_edge("write", "read")
    state = await final(make_runtime, graph, {"subject": "s", "answer": "not in the input's schema"})
    assert seen == [{"subject": "s"}, {"subject": "s", "secret": 7}]
    assert state == {"subject": "s", "secret": 7, "log": [7]}


async def test_unknown_keys_are_dropped_and_an_input_of_nothing_else_is_refused(
    make_runtime: MakeRuntime,
) -> None:
    graph = StateGraph(Log).add_node("a", lambda state: {"typo": 1}).add_edge(START, "a")
    assert await final(make_runtime, graph, {"subject": "s", "typo": 2}) == {"subject": "s", "log": []}
    with pytest.raises(EmptyInputError, match="answer, log, subject"):
        await begin(make_runtime(graph.compile()), {"typo": 1})


async def test_a_reducer_that_raises_fails_the_run(make_runtime: MakeRuntime) -> None:
    graph = StateGraph(Log).add_node("a", lambda state: {"log": 7}).add_edge(START, "a")
    assert (await failed(make_runtime, graph))["type"] == "TypeError"


def extend(left: list[int], right: list[int]) -> list[int]:
    left.extend(right)
    return left


class Items(TypedDict):
    items: Annotated[list[int], extend]


async def test_a_reducer_that_changes_its_left_side_counts_once(make_runtime: MakeRuntime) -> None:
    graph = StateGraph(Items).add_node("a", lambda state: {"items": [2]}).add_edge(START, "a")
    graph.add_conditional_edges("a", lambda state: END if state["items"] == [1, 2] else "a")
    assert await final(make_runtime, graph, {"items": [1]}) == {"items": [1, 2]}


# -- what does not compile ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        lambda g: g.compile(),
        lambda g: g.add_edge("a", "b").compile(),
        lambda g: g.add_edge(START, "nowhere").compile(),
        lambda g: g.add_edge(START, "a").add_edge("nowhere", "a").compile(),
        lambda g: g.add_edge(START, "a").add_edge("a", "nowhere").compile(),
        lambda g: g.add_edge(START, "a").add_edge(["a", "nowhere"], "b").compile(),
        lambda g: g.add_edge(START, "a").add_edge(["a", "b"], "nowhere").compile(),
        lambda g: g.add_edge(START, "a").add_conditional_edges("nowhere", len).compile(),
        lambda g: g.add_edge(START, "a").add_conditional_edges("a", len, {1: "nowhere"}).compile(),
        lambda g: g.add_edge(START, "a").add_conditional_edges("a", len, ["nowhere"]).compile(),
        lambda g: g.add_edge(END, "a"),
        lambda g: g.add_edge("a", START),
        lambda g: g.add_edge([START, "a"], "b"),
        lambda g: g.add_edge(["a", END], "b"),
        lambda g: g.add_edge([], "b"),
        lambda g: g.add_conditional_edges(END, len),
        lambda g: g.add_conditional_edges("a", len).add_conditional_edges("a", len),
        lambda g: g.add_node("a", note("a")),
        lambda g: g.add_node(START, note("a")),
        lambda g: g.add_node(END, note("a")),
        lambda g: g.add_node("x|y", note("a")),
        lambda g: g.add_node("x:y", note("a")),
        lambda g: g.add_node("x"),
        lambda g: g.add_node("x", None),
        lambda g: g.add_sequence([]),
    ],
)
def test_a_graph_that_makes_no_sense_is_refused_while_it_is_built(wrong: Any) -> None:
    graph = StateGraph(Log).add_node("a", note("a")).add_node("b", note("b"))
    with pytest.raises(InvalidGraph) as raised:
        wrong(graph)
    assert isinstance(raised.value, ValueError)
    assert "was" in str(raised.value)


@pytest.mark.parametrize("wrong", [7, "text", [note("a")]])
def test_what_cannot_be_called_is_no_node(wrong: Any) -> None:
    with pytest.raises(TypeError, match="'x' was not added"):
        StateGraph(Log).add_node("x", wrong)


@pytest.mark.parametrize("wrong", ["file.db", 7, object()])
def test_what_keeps_no_threads_is_no_checkpointer(wrong: Any) -> None:
    with pytest.raises(TypeError, match="was not compiled"):
        graph_of("a").add_edge(START, "a").compile(checkpointer=wrong)


@pytest.mark.parametrize("name", ["log", "x+y", "x>y", "a, b", '["a"]', "a\nb", ""])
async def test_a_node_may_have_any_name_without_a_separator_of_namespaces(
    make_runtime: MakeRuntime, name: str
) -> None:
    graph = graph_of("a", name, "z").add_edge(START, "a").add_edge(START, name).add_edge(["a", name], "z")
    assert (await final(make_runtime, graph))["log"] == [*sorted(["a", name]), "z"]


def test_two_schemas_may_repeat_a_key_but_not_merge_it_in_two_ways() -> None:
    class Plain(TypedDict):
        log: list[Any]

    class Other(TypedDict):
        log: Annotated[list[Any], operator.iadd]

    def narrow(state: Added) -> None: ...

    assert StateGraph(Log, input_schema=Plain, output_schema=Log) is not None
    for build in (
        lambda: StateGraph(Log, input_schema=Other),
        lambda: StateGraph(Log, output_schema=Other),
        lambda: StateGraph(Log).add_node("a", note("a"), input_schema=Other),
        lambda: StateGraph(Log).add_conditional_edges(START, narrow),
        lambda: StateGraph(Log).add_node(narrow),
    ):
        with pytest.raises(InvalidGraph, match="different reducers"):
            build()


@pytest.mark.parametrize("reducer", [lambda left: left, lambda a, b, c: a, lambda: None])
def test_a_reducer_takes_two_values(reducer: Any) -> None:
    class Wrong(TypedDict):
        items: Annotated[list[Any], reducer]

    Wrong.__annotations__["items"] = Annotated[list[Any], reducer]
    with pytest.raises(InvalidGraph, match="'items' must take two values"):
        StateGraph(Wrong)


async def test_an_annotation_says_what_a_node_and_a_branch_see_and_may_add_a_key(
    make_runtime: MakeRuntime,
) -> None:
    seen: list[Any] = []

    def first(state: Narrow) -> dict[str, Any]:
        seen.append(state)
        return {"hidden": 1, "answer": "yes"}

    def annotated(state: Hidden) -> str:
        seen.append(state)
        return END

    def bare(state: Any) -> str:
        seen.append(state)
        return END

    graph = StateGraph(Log).add_node(first).add_edge(START, "first")
    graph.add_conditional_edges("first", annotated).add_conditional_edges("first", bare)
    state = await final(make_runtime, graph, {"subject": "s", "log": ["in"], "hidden": 2})
    assert state == {"subject": "s", "log": ["in"], "answer": "yes", "hidden": 1}
    assert seen == [{"subject": "s"}, {"hidden": 1}, {"subject": "s", "hidden": 1, "answer": "yes"}]


def test_a_literal_return_names_the_ends_of_a_branch() -> None:
    def route(state: Log) -> Literal["a", "nowhere"]:
        return "a"

    graph = graph_of("a").add_edge(START, "a").add_conditional_edges("a", route)
    with pytest.raises(InvalidGraph, match="'nowhere'"):
        graph.compile()


def test_a_compiled_graph_does_not_change_with_its_maker() -> None:
    graph = graph_of("a").add_edge(START, "a")
    compiled = graph.compile(name="g", version="7")
    graph.add_node("b", note("b")).add_edge("a", "b")
    assert set(compiled.plan.nodes) == {"a"}
    assert compiled.plan.edges == {START: ("a",)}
    assert (compiled.name, repr(compiled)) == ("g", "<graph 'g' version 7: a>")


def test_a_fingerprint_is_of_the_node_not_of_the_graph() -> None:
    def base(**more: Any) -> StateGraph:
        return graph_of("b").add_node("a", note("a"), **more).add_edge(START, "a").add_edge("a", "b")

    def of(graph: StateGraph) -> str:
        return graph.compile().plan.fingerprint("a")

    same = of(base())
    assert same == of(base())
    assert same == of(base().add_node("c", note("c")).add_edge("b", "c"))
    assert same == of(base().add_edge(START, "b"))
    others = [
        of(base(version="2")),
        of(base(input_schema=Narrow)),
        of(base().add_edge("a", END)),
        of(base().add_edge(["a", "b"], END)),
        of(base().add_conditional_edges("a", len)),
        of(base().add_conditional_edges("a", len, {1: "b"})),
    ]
    assert len({same, *others}) == 1 + len(others)


# -- annotations ----------------------------------------------------------------------------------------------


@dataclass
class Caller:
    user: str = "nobody"


class Kept(TypedDict, total=False):
    private: str


@pytest.mark.parametrize("kind", [Runtime, NodeRuntime])
async def test_a_node_may_say_which_context_its_runtime_has_and_still_names_its_part_of_the_state(
    kind: Any,
) -> None:
    async def first(state: Log) -> Any:
        return {"private": "kept"}

    async def second(state: Kept, runtime: Any) -> Any:
        return {"answer": (dict(state), runtime.context.user)}

    second.__annotations__["runtime"] = kind[Caller]
    graph = StateGraph(Log, context_schema=Caller).add_sequence([first, second]).add_edge(START, "first")
    result = await graph.compile().ainvoke({"subject": "x"}, context={"user": "ann"})
    assert result["answer"] == ({"private": "kept"}, "ann")


async def test_one_annotation_that_cannot_be_read_does_not_hide_another() -> None:
    async def first(state: Log) -> Any:
        return {"private": "kept"}

    async def second(state: Kept, writer: NotThere) -> NotThere:  # type: ignore[name-defined]  # noqa: F821
        return {"answer": dict(state)}

    graph = StateGraph(Log).add_sequence([first, second]).add_edge(START, "first")
    assert (await graph.compile().ainvoke({"subject": "x"}))["answer"] == {"private": "kept"}


def test_a_part_of_the_state_that_cannot_be_read_is_said_and_not_passed_over() -> None:
    async def node(state: NotThere) -> Any:  # type: ignore[name-defined]  # noqa: F821
        return None

    def chosen(state: Log) -> Literal[NotThere]:  # type: ignore[name-defined]  # noqa: F821
        return END

    with pytest.warns(UserWarning, match=r"'NotThere'.*input_schema="):
        StateGraph(Log).add_node(node)
    with pytest.warns(UserWarning, match="path_map"):
        StateGraph(Log).add_conditional_edges(START, chosen)
