"""Supersteps: what runs, in which order, how often, and what each node sees."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, Literal, TypedDict

from harness import Lib, Log, Recorder, fan, line, program, schema, step, thread


class Sums(TypedDict):
    total: Annotated[int, operator.add]
    seen: Annotated[list[Any], operator.add]


class Route(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    way: str


@program("A chain runs its nodes once each, in order, and returns the final state.")
async def a_chain(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a"), step(record, "b"), step(record, "c")).compile()
    await record.call(graph.ainvoke({"log": ["in"]}))


@program("The history of a chain of three nodes has five snapshots, START being a step of its own.")
async def a_chain_in_history(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b"), step(record, "c")).compile(
            checkpointer=saver
        )
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.history([snapshot async for snapshot in graph.aget_state_history(thread())])


@program("Nodes of one step see the state of its start, not each other's writes.", overlapping=True)
async def nodes_of_a_step_do_not_see_each_other(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.seen(f"a saw {state['log']}")
        return {"log": ["a"]}

    async def b(state: Any) -> Any:
        record.seen(f"b saw {state['log']}")
        return {"log": ["b"]}

    async def c(state: Any) -> Any:
        record.seen(f"c saw {state['log']}")
        return {"log": ["c"]}

    await record.call(fan(lib, Log, a, b, then=c).compile().ainvoke({"log": ["in"]}))


@program("Async nodes of one step overlap: each can wait for the other.", overlapping=True)
async def async_nodes_overlap(lib: Lib, record: Recorder) -> None:
    here, there = asyncio.Event(), asyncio.Event()

    async def a(state: Any) -> Any:
        here.set()
        await asyncio.wait_for(there.wait(), 5)
        return {"log": ["a"]}

    async def b(state: Any) -> Any:
        there.set()
        await asyncio.wait_for(here.wait(), 5)
        return {"log": ["b"]}

    await record.call(fan(lib, Log, a, b).compile().ainvoke({"log": []}))


@program("Writes of a step are applied by the nodes' names, not as they finish.", overlapping=True)
async def writes_follow_names(lib: Lib, record: Recorder) -> None:
    finished = {name: asyncio.Event() for name in "abc"}

    def after(name: str, other: str | None) -> Any:
        async def node(state: Any) -> Any:
            if other:
                await asyncio.wait_for(finished[other].wait(), 5)
            finished[name].set()
            return {"log": [name]}

        node.__name__ = name
        return node

    graph = fan(lib, Log, after("b", "c"), after("c", None), after("a", "b")).compile()
    await record.call(graph.ainvoke({"log": []}))


@program("Two edges from one node run both targets in the next step.", overlapping=True)
async def a_fork_and_two_ends(lib: Lib, record: Recorder) -> None:
    builder = line(lib, Log, step(record, "a"))
    builder.add_node("b", step(record, "b"))
    builder.add_node("c", step(record, "c"))
    builder.add_edge("a", "b")
    builder.add_edge("a", "c")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("Even branches that meet at a node run it once.", overlapping=True)
async def a_diamond(lib: Lib, record: Recorder) -> None:
    builder = fan(lib, Log, step(record, "b"), step(record, "c"))
    builder.add_node("d", step(record, "d"))
    builder.add_edge("b", "d")
    builder.add_edge("c", "d")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("Uneven branches that meet at a node run it twice.", overlapping=True)
async def uneven_branches(lib: Lib, record: Recorder) -> None:
    builder = fan(lib, Log, step(record, "b"), step(record, "c"))
    for name in ("c2", "d"):
        builder.add_node(name, step(record, name))
    builder.add_edge("b", "d")
    builder.add_edge("c", "c2")
    builder.add_edge("c2", "d")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A list edge waits for all its sources, also over different steps.", overlapping=True)
async def a_list_edge_waits(lib: Lib, record: Recorder) -> None:
    builder = fan(lib, Log, step(record, "b"), step(record, "c"))
    for name in ("c2", "d"):
        builder.add_node(name, step(record, name))
    builder.add_edge("c", "c2")
    builder.add_edge(["b", "c2"], "d")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A list edge never fires when one of its sources is never reached.", overlapping=True)
async def a_list_edge_half_met(lib: Lib, record: Recorder) -> None:
    builder = fan(lib, Log, step(record, "b"), step(record, "c"))
    for name in ("never", "d"):
        builder.add_node(name, step(record, name))
    builder.add_edge(["b", "never"], "d")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A list edge fires again when a loop passes its sources again.", overlapping=True)
async def a_list_edge_in_a_loop(lib: Lib, record: Recorder) -> None:
    builder = lib.StateGraph(Log)
    for name in ("a", "b", "c", "d"):
        builder.add_node(name, step(record, name))
    builder.add_edge(lib.START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("a", "c")
    builder.add_edge(["b", "c"], "d")
    builder.add_conditional_edges("d", lambda state: "a" if len(state["log"]) < 8 else lib.END)
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A deferred node waits until nothing else is due.", overlapping=True)
async def a_deferred_node(lib: Lib, record: Recorder) -> None:
    builder = fan(lib, Log, step(record, "b"), step(record, "c"))
    builder.add_node("c2", step(record, "c2"))
    builder.add_node("c3", step(record, "c3"))
    builder.add_node("d", step(record, "d"), defer=True)
    builder.add_edge("b", "d")
    builder.add_edge("c", "c2")
    builder.add_edge("c2", "c3")
    builder.add_edge("c3", "d")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A router sees the fresh state of the node it leaves.")
async def a_router_sees_fresh_state(lib: Lib, record: Recorder) -> None:
    def choose(state: Any) -> str:
        record.seen(f"choose saw {state['log']}")
        return "c" if state["log"] == ["a"] else "b"

    builder = lib.StateGraph(Log)
    for name in "abc":
        builder.add_node(name, step(record, name))
    builder.add_edge(lib.START, "a")
    builder.add_conditional_edges("a", choose)
    await record.call(builder.compile().ainvoke({"log": []}))


@program("An async router works like a plain one.")
async def an_async_router(lib: Lib, record: Recorder) -> None:
    async def choose(state: Any) -> str:
        record.seen("choose")
        return "b"

    builder = lib.StateGraph(Log)
    for name in "abc":
        builder.add_node(name, step(record, name))
    builder.add_edge(lib.START, "a")
    builder.add_conditional_edges("a", choose)
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A router may return a list of names.", overlapping=True)
async def a_router_returns_a_list(lib: Lib, record: Recorder) -> None:
    builder = lib.StateGraph(Log)
    for name in "abcd":
        builder.add_node(name, step(record, name))
    builder.add_edge(lib.START, "a")
    builder.add_conditional_edges("a", lambda state: ["d", "b"])
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A router that returns END ends its path; one that returns an empty list does too.")
async def a_router_returns_the_end(lib: Lib, record: Recorder) -> None:
    ways: tuple[Any, ...] = (lib.END, [])
    for way in ways:
        builder = lib.StateGraph(Log)
        for name in "ab":
            builder.add_node(name, step(record, name))
        builder.add_edge(lib.START, "a")
        builder.add_conditional_edges("a", lambda state, way=way: way)
        await record.call(builder.compile().ainvoke({"log": []}))


@program("A router's answer is translated by its path map, a dict.")
async def a_path_map(lib: Lib, record: Recorder) -> None:
    for answer in (True, False, 3):
        builder = lib.StateGraph(Log)
        for name in "abc":
            builder.add_node(name, step(record, name))
        builder.add_edge(lib.START, "a")
        builder.add_conditional_edges(
            "a", lambda state, answer=answer: answer, {True: "b", False: "c", 3: lib.END}
        )
        await record.call(builder.compile().ainvoke({"log": []}))


@program("A router's answers may be listed, or be its Literal annotation.")
async def a_path_list_and_a_literal(lib: Lib, record: Recorder) -> None:
    def choose(state: Any) -> Literal["b", "c"]:
        return "c"

    for path_map in (["b", "c"], None):
        builder = lib.StateGraph(Log)
        for name in "abc":
            builder.add_node(name, step(record, name))
        builder.add_edge(lib.START, "a")
        builder.add_conditional_edges("a", choose, path_map)
        await record.call(builder.compile().ainvoke({"log": []}))


@program("A router's mixture of names and Sends starts all of them.", overlapping=True)
async def a_router_mixes(lib: Lib, record: Recorder) -> None:
    async def b(state: Any) -> Any:
        record.seen(f"b saw {state['log']}")
        return {"log": ["b"]}

    builder = lib.StateGraph(Log)
    builder.add_node("a", step(record, "a"))
    builder.add_node("b", b)
    builder.add_node("c", step(record, "c"))
    builder.add_edge(lib.START, "a")
    builder.add_conditional_edges("a", lambda state: [lib.Send("b", {"log": ["sent"]}), "c"])
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A router at START chooses the first node; two routers on one node both count.", overlapping=True)
async def routers_at_start_and_two_on_a_node(lib: Lib, record: Recorder) -> None:
    builder = lib.StateGraph(Log)
    for name in "abcd":
        builder.add_node(name, step(record, name))

    def first(state: Any) -> str:
        return "b"

    def second(state: Any) -> str:
        return "c"

    builder.add_conditional_edges(lib.START, lambda state: "a" if state["log"] else "d")
    builder.add_conditional_edges("a", first)
    builder.add_conditional_edges("a", second)
    await record.call(builder.compile().ainvoke({"log": ["x"]}))


@program("set_entry_point, set_finish_point and add_sequence are edges by other names.")
async def other_names_for_edges(lib: Lib, record: Recorder) -> None:
    builder = lib.StateGraph(Log)
    builder.add_sequence([("a", step(record, "a")), step(record, "b")])
    builder.set_entry_point("a")
    builder.set_finish_point("b")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("set_conditional_entry_point routes from START.")
async def a_conditional_entry(lib: Lib, record: Recorder) -> None:
    builder = lib.StateGraph(Log)
    for name in "ab":
        builder.add_node(name, step(record, name))
    builder.set_conditional_entry_point(lambda state: state["log"][0], {"one": "a", "two": "b"})
    await record.call(builder.compile().ainvoke({"log": ["two"]}))


@program("A node's name is its function's when none is given, and builder methods chain.")
async def names_from_functions(lib: Lib, record: Recorder) -> None:
    async def greet(state: Any) -> Any:
        record.seen("greet")
        return {"log": ["greet"]}

    graph = lib.StateGraph(Log).add_node(greet).add_edge(lib.START, "greet").compile()
    await record.call(graph.ainvoke({"log": []}))


@program("A plain function and a callable object are nodes too.")
async def nodes_that_are_not_async(lib: Lib, record: Recorder) -> None:
    class Adds:
        async def __call__(self, state: Any) -> Any:
            record.seen("object")
            return {"log": ["object"]}

    def plain(state: Any) -> Any:
        record.seen("plain")
        return {"log": ["plain"]}

    builder = lib.StateGraph(Log)
    builder.add_node("plain", plain)
    builder.add_node("object", Adds())
    builder.add_edge(lib.START, "plain")
    builder.add_edge("plain", "object")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A node may return None, and nothing is written.")
async def a_node_returns_none(lib: Lib, record: Recorder) -> None:
    async def quiet(state: Any) -> Any:
        record.seen("quiet")

    await record.call(line(lib, Log, quiet, step(record, "b")).compile().ainvoke({"log": ["in"]}))


@program("A node that returns a string, a number or a list of dicts is an invalid update.")
async def a_node_returns_nonsense(lib: Lib, record: Recorder) -> None:
    for nonsense in ("text", 7, True, [{"log": ["x"]}]):

        async def bad(state: Any, nonsense: Any = nonsense) -> Any:
            record.seen("bad")
            return nonsense

        await record.call(line(lib, Log, bad).compile().ainvoke({"log": []}))


@program("Keys that the state does not have are dropped, from updates and from the input.")
async def unknown_keys_are_dropped(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value(state)
        return {"log": ["a"], "other": 1}

    await record.call(line(lib, Log, a).compile().ainvoke({"log": ["in"], "stranger": 2}))


@program("Changing the state that a node was given is not a write.")
async def mutation_is_not_a_write(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        state["way"] = "changed"
        return {"log": ["a"]}

    async def b(state: Any) -> Any:
        record.value(state)

    await record.call(line(lib, Route, a, b).compile().ainvoke({"way": "given"}))


@program("A loop runs until its router leaves it.")
async def a_loop(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.seen("a")
        return {"total": 1, "seen": [state["total"]]}

    builder = lib.StateGraph(Sums)
    builder.add_node("a", a)
    builder.add_edge(lib.START, "a")
    builder.add_conditional_edges("a", lambda state: lib.END if state["total"] >= 4 else "a")
    await record.call(builder.compile().ainvoke({"total": 0}))


@program("A loop without end stops at the recursion limit.")
async def the_recursion_limit(lib: Lib, record: Recorder) -> None:
    builder = lib.StateGraph(Log)
    builder.add_node("a", step(record, "a"))
    builder.add_edge(lib.START, "a")
    builder.add_edge("a", "a")
    await record.call(builder.compile().ainvoke({"log": []}, {"recursion_limit": 3}))


@program("N nodes in a row need a recursion limit of N + 1.")
async def the_smallest_limit_that_is_enough(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a"), step(record, "b"), step(record, "c")).compile()
    await record.call(graph.ainvoke({"log": []}, {"recursion_limit": 4}))
    await record.call(graph.ainvoke({"log": []}, {"recursion_limit": 3}))


@program("A recursion limit below one is a ValueError and nothing runs.")
async def a_limit_below_one(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a")).compile()
    await record.call(graph.ainvoke({"log": []}, {"recursion_limit": 0}))


@program("After the recursion limit the thread keeps its place, and goes on from there.")
async def going_on_after_the_limit(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        nodes = [step(record, name) for name in "abcd"]
        graph = line(lib, Log, *nodes).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread(recursion_limit=3)))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("Empty input is an EmptyInputError on a thread that has nothing to go on with.")
async def no_input(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a")).compile()
    await record.call(graph.ainvoke(None))
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        await record.call(graph.ainvoke(None, thread()))


@program("New input on a finished thread keeps its state, and reducers accumulate.")
async def new_input_on_a_finished_thread(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": ["one"]}, thread()))
        await record.call(graph.ainvoke({"log": ["two"]}, thread()))
        record.history([snapshot async for snapshot in graph.aget_state_history(thread())])


@program("Two threads know nothing of each other, even when they run at once.", overlapping=True)
async def two_threads(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        both = await asyncio.gather(
            graph.ainvoke({"log": ["one"]}, thread("1")), graph.ainvoke({"log": ["two"]}, thread("2"))
        )
        record.value(both)
        record.snapshot(await graph.aget_state(thread("1")))


@program("Without a checkpointer every call starts anew.")
async def no_checkpointer(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a")).compile()
    await record.call(graph.ainvoke({"log": ["one"]}))
    await record.call(graph.ainvoke({"log": ["two"]}))


@program("A graph with a checkpointer and no thread is refused.")
async def no_thread(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}))


@program("An error in a router is the run's error.")
async def a_router_fails(lib: Lib, record: Recorder) -> None:
    def choose(state: Any) -> str:
        raise LookupError("no way")

    builder = lib.StateGraph(Log)
    builder.add_node("a", step(record, "a"))
    builder.add_edge(lib.START, "a")
    builder.add_conditional_edges("a", choose)
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A router's answer that its path map does not have is a KeyError; None is a ValueError.")
async def a_router_without_a_way(lib: Lib, record: Recorder) -> None:
    for answer, path_map in (("c", {"b": "b"}), (None, None)):
        builder = lib.StateGraph(Log)
        for name in "ab":
            builder.add_node(name, step(record, name))
        builder.add_edge(lib.START, "a")
        builder.add_conditional_edges("a", lambda state, answer=answer: answer, path_map)
        await record.call(builder.compile().ainvoke({"log": []}))


@program("A managed key tells a node how many steps remain.")
async def remaining_steps(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value(state["left"])
        return {"log": ["a"]}

    builder = lib.StateGraph(schema(log=Annotated[list[str], operator.add], left=lib.RemainingSteps))
    builder.add_node("a", a)
    builder.add_edge(lib.START, "a")
    builder.add_conditional_edges("a", lambda state: lib.END if state["left"] <= 2 else "a")
    await record.call(builder.compile().ainvoke({"log": []}, {"recursion_limit": 5}))
