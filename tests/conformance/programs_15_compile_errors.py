"""What a graph may not be: refused when it is built or compiled."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, TypedDict

from harness import Lib, Log, Recorder, line, program, schema, step


class Clashing(TypedDict):
    log: Annotated[list[str], operator.add]
    name: str


class ClashingInput(TypedDict):
    name: Annotated[str, operator.add]


def attempt(record: Recorder, build: Callable[[], Any]) -> None:
    """Record the error, or that there was none."""
    try:
        build()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the observation
        record.error(error)
    else:
        record.value("built")


def two(lib: Lib, record: Recorder) -> Any:
    """A builder with nodes a and b, and an entry to a."""
    builder = lib.StateGraph(Log)
    builder.add_node("a", step(record, "a"))
    builder.add_node("b", step(record, "b"))
    builder.add_edge(lib.START, "a")
    return builder


@program("An edge from or to an unknown node is a ValueError.")
async def unknown_ends(lib: Lib, record: Recorder) -> None:
    attempt(record, lambda: two(lib, record).add_edge("a", "nowhere").compile())
    attempt(record, lambda: two(lib, record).add_edge("nowhere", "a").compile())
    attempt(record, lambda: two(lib, record).add_edge(["a", "nowhere"], "b").compile())
    attempt(record, lambda: two(lib, record).add_edge(["a"], "nowhere").compile())


@program("A graph without an entry is a ValueError.")
async def no_entry(lib: Lib, record: Recorder) -> None:
    attempt(record, lambda: lib.StateGraph(Log).compile())
    attempt(record, lambda: lib.StateGraph(Log).add_node("a", step(record, "a")).compile())


@program("A node's name that is taken or reserved is a ValueError, and so are the separators in it.")
async def bad_names(lib: Lib, record: Recorder) -> None:
    for name in ("a", lib.START, lib.END, "with|bar", "with:colon", "with space", "with.dot", "ä"):
        attempt(record, partial(two(lib, record).add_node, name, step(record, "x")))


@program("Other signs may be part of a node's name.")
async def odd_names(lib: Lib, record: Recorder) -> None:
    for name in ("a+b", "a>b", "a/b", "a-b", ""):
        attempt(record, partial(two(lib, record).add_node, name, step(record, "x")))


@program("A node may be called like a key of the state.")
async def a_node_called_like_a_key(lib: Lib, record: Recorder) -> None:
    await record.call(line(lib, Log, step(record, "log")).compile().ainvoke({"log": []}))


@program("An edge out of END or into START is a ValueError.")
async def edges_at_the_ends(lib: Lib, record: Recorder) -> None:
    attempt(record, lambda: two(lib, record).add_edge(lib.END, "a"))
    attempt(record, lambda: two(lib, record).add_edge("a", lib.START))
    attempt(record, lambda: two(lib, record).add_edge(["a", lib.END], "b"))


@program("A breakpoint at an unknown node is a ValueError.")
async def unknown_breakpoints(lib: Lib, record: Recorder) -> None:
    attempt(record, lambda: two(lib, record).compile(interrupt_before=["nowhere"]))
    attempt(record, lambda: two(lib, record).compile(interrupt_after=["nowhere"]))
    attempt(record, lambda: two(lib, record).compile(interrupt_before=["a"], interrupt_after=["b"]))
    attempt(record, lambda: two(lib, record).compile(interrupt_before="*"))


@program("A path map, list or Literal that names an unknown node is a ValueError.")
async def unknown_ways(lib: Lib, record: Recorder) -> None:
    def choose(state: Any) -> Literal["b", "nowhere"]:
        return "b"

    def plain(state: Any) -> Any:
        return "b"

    attempt(record, lambda: two(lib, record).add_conditional_edges("a", plain, {"x": "nowhere"}).compile())
    attempt(record, lambda: two(lib, record).add_conditional_edges("a", plain, ["b", "nowhere"]).compile())
    attempt(record, lambda: two(lib, record).add_conditional_edges("a", choose).compile())
    attempt(record, lambda: two(lib, record).add_conditional_edges("nowhere", plain).compile())


@program("Two routers of one name at one node are a ValueError.")
async def a_router_twice(lib: Lib, record: Recorder) -> None:
    def choose(state: Any) -> str:
        return "b"

    builder = two(lib, record).add_conditional_edges("a", choose)
    attempt(record, lambda: builder.add_conditional_edges("a", choose))


@program("A sequence needs a node, and its names must differ.")
async def bad_sequences(lib: Lib, record: Recorder) -> None:
    attempt(record, lambda: lib.StateGraph(Log).add_sequence([]))
    attempt(record, lambda: lib.StateGraph(Log).add_sequence([step(record, "a"), step(record, "a")]))


@program("A node that cannot be called is a TypeError.")
async def nothing_to_run(lib: Lib, record: Recorder) -> None:
    attempt(record, lambda: two(lib, record).add_node("c", 7))


@program("Two schemas that give one key different reducers are a ValueError.")
async def clashing_schemas(lib: Lib, record: Recorder) -> None:
    class OtherLog(TypedDict):
        log: Annotated[list[str], operator.iadd]

    attempt(record, lambda: lib.StateGraph(Log, input_schema=OtherLog))
    attempt(record, lambda: lib.StateGraph(Clashing, input_schema=ClashingInput))


@program("A reducer that does not take two values is a ValueError.")
async def a_bad_reducer(lib: Lib, record: Recorder) -> None:
    def one(left: Any) -> Any:
        return left

    attempt(record, lambda: lib.StateGraph(schema(log=Annotated[list[str], one])))


@program("What compile is given as a checkpointer must be one.")
async def no_checkpointer_at_all(lib: Lib, record: Recorder) -> None:
    attempt(record, lambda: two(lib, record).compile(checkpointer="file.db"))
    attempt(record, lambda: two(lib, record).compile(checkpointer=None))


@program("A node that nothing leads to is no error.")
async def an_unreachable_node(lib: Lib, record: Recorder) -> None:
    builder = two(lib, record)
    await record.call(builder.compile().ainvoke({"log": []}))


@program("One builder compiles to any number of graphs, and one graph runs any number of times.")
async def compiling_twice(lib: Lib, record: Recorder) -> None:
    builder = line(lib, Log, step(record, "a"))
    one, other = builder.compile(), builder.compile()
    for graph in (one, other, one):
        await record.call(graph.ainvoke({"log": []}))


@program("A compiled graph has a name.")
async def a_name(lib: Lib, record: Recorder) -> None:
    graph = two(lib, record).compile(name="mine")
    record.value(graph.name)
