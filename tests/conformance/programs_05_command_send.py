"""Command and Send: what a node says besides data, and tasks that are given a state of their own."""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal, TypedDict

from harness import Lib, Log, Recorder, line, program, step, thread


class Work(TypedDict, total=False):
    items: list[int]
    done: Annotated[list[Any], operator.add]


def go(record: Recorder, name: str, command: Any) -> Any:
    """A node that returns this command."""

    async def node(state: Any) -> Any:
        record.seen(name)
        return command

    node.__name__ = name
    return node


def loose(lib: Lib, record: Recorder, first: Any, *others: str) -> Any:
    """A builder whose first node is entered, and whose other nodes no edge leads to."""
    builder = lib.StateGraph(Log)
    builder.add_node(first.__name__, first)
    builder.add_edge(lib.START, first.__name__)
    for name in others:
        builder.add_node(name, step(record, name))
    return builder


@program("A Command updates the state and goes to a node.")
async def a_command(lib: Lib, record: Recorder) -> None:
    first = go(record, "a", lib.Command(update={"log": ["a"]}, goto="b"))
    await record.call(loose(lib, record, first, "b", "c").compile().ainvoke({"log": []}))


@program("A Command without goto is only an update; without update only a way.")
async def half_a_command(lib: Lib, record: Recorder) -> None:
    for command in (lib.Command(update={"log": ["a"]}), lib.Command(goto="b"), lib.Command()):
        graph = loose(lib, record, go(record, "a", command), "b").compile()
        await record.call(graph.ainvoke({"log": []}))


@program("goto may be a list, and order follows the names.", overlapping=True)
async def a_goto_list(lib: Lib, record: Recorder) -> None:
    first = go(record, "a", lib.Command(goto=["c", "b"]))
    await record.call(loose(lib, record, first, "b", "c").compile().ainvoke({"log": []}))


@program("goto adds to the static edges, it does not replace them.", overlapping=True)
async def goto_adds(lib: Lib, record: Recorder) -> None:
    builder = loose(lib, record, go(record, "a", lib.Command(goto="c")), "b", "c")
    builder.add_edge("a", "b")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("goto of a node that a static edge leads to anyway runs it once.")
async def goto_where_an_edge_goes(lib: Lib, record: Recorder) -> None:
    builder = loose(lib, record, go(record, "a", lib.Command(goto="b")), "b")
    builder.add_edge("a", "b")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("goto END ends nothing but its own path.")
async def goto_the_end(lib: Lib, record: Recorder) -> None:
    for static in (False, True):
        builder = loose(lib, record, go(record, "a", lib.Command(goto=lib.END)), "b")
        if static:
            builder.add_edge("a", "b")
        await record.call(builder.compile().ainvoke({"log": []}))


@program("goto may be a Send, or a list of names and Sends.", overlapping=True)
async def goto_a_send(lib: Lib, record: Recorder) -> None:
    async def b(state: Any) -> Any:
        record.seen(f"b saw {state}")
        return {"log": [f"b {state['n']}"]}

    for goto in (lib.Send("b", {"n": 1}), [lib.Send("b", {"n": 1}), "c", lib.Send("b", {"n": 2})]):
        builder = loose(lib, record, go(record, "a", lib.Command(goto=goto)), "c")
        builder.add_node("b", b)
        await record.call(builder.compile().ainvoke({"log": []}))


@program("A node may return a list of Commands and dicts.", overlapping=True)
async def a_list_of_commands(lib: Lib, record: Recorder) -> None:
    commands = [
        lib.Command(update={"log": ["one"]}, goto="b"),
        {"log": ["two"]},
        lib.Command(update={"log": ["three"]}, goto="c"),
    ]
    await record.call(loose(lib, record, go(record, "a", commands), "b", "c").compile().ainvoke({"log": []}))


@program("A Command's update may be a list of pairs, which may name a key twice.")
async def an_update_of_pairs(lib: Lib, record: Recorder) -> None:
    first = go(record, "a", lib.Command(update=[("log", ["one"]), ("log", ["two"])]))
    await record.call(loose(lib, record, first).compile().ainvoke({"log": []}))


@program("A node annotated with Command[Literal[...]] loops by goto alone.")
async def a_loop_by_goto(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.seen("a")
        return lib.Command(update={"log": ["a"]}, goto="b")

    async def b(state: Any) -> Any:
        record.seen("b")
        return lib.Command(goto="a" if len(state["log"]) < 3 else lib.END)

    a.__annotations__["return"] = lib.Command[Literal["b"]]
    b.__annotations__["return"] = lib.Command[Literal["a", "__end__"]]
    builder = lib.StateGraph(Log)
    builder.add_node(a)
    builder.add_node(b)
    builder.add_edge(lib.START, "a")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("destinations only describe, they do not restrict.")
async def destinations(lib: Lib, record: Recorder) -> None:
    builder = lib.StateGraph(Log)
    builder.add_node("a", go(record, "a", lib.Command(goto="c")), destinations=("b",))
    for name in "bc":
        builder.add_node(name, step(record, name))
    builder.add_edge(lib.START, "a")
    await record.call(builder.compile().ainvoke({"log": []}))


@program(
    "A router may return a Send for each item, and the results follow the order of the Sends.",
    overlapping=True,
)
async def map_and_reduce(lib: Lib, record: Recorder) -> None:
    async def work(state: Any) -> Any:
        record.seen(f"work {state}")
        return {"done": [state["item"] * 10]}

    async def sum_up(state: Any) -> Any:
        record.seen("sum_up")
        return {"done": [sum(state["done"])]}

    builder = lib.StateGraph(Work)
    builder.add_node("work", work)
    builder.add_node("sum_up", sum_up)
    builder.add_conditional_edges(
        lib.START, lambda state: [lib.Send("work", {"item": item}) for item in state["items"]]
    )
    builder.add_edge("work", "sum_up")
    await record.call(builder.compile().ainvoke({"items": [3, 1, 2]}))


@program("An empty list of Sends ends the path, and what follows does not run.")
async def no_sends(lib: Lib, record: Recorder) -> None:
    builder = lib.StateGraph(Work)
    builder.add_node("work", go(record, "work", None))
    builder.add_node("after", go(record, "after", None))
    builder.add_conditional_edges(lib.START, lambda state: [])
    builder.add_edge("work", "after")
    await record.call(builder.compile().ainvoke({"items": []}))


@program("Sends of one node to itself run one step later each.", overlapping=True)
async def nested_sends(lib: Lib, record: Recorder) -> None:
    async def work(state: Any) -> Any:
        record.seen(f"work {state['n']}")
        left = state["n"] - 1
        sends = [lib.Send("work", {"n": left})] * left
        return lib.Command(update={"done": [state["n"]]}, goto=sends)

    builder = lib.StateGraph(Work)
    builder.add_node("work", work)
    builder.add_conditional_edges(lib.START, lambda state: lib.Send("work", {"n": 3}))
    await record.call(builder.compile().ainvoke({"items": []}))


@program("A Send's argument may be anything; the target gets it as it is.")
async def a_send_of_anything(lib: Lib, record: Recorder) -> None:
    async def work(state: Any) -> Any:
        record.value(state)

    for arg in (7, "text", ["list"], None):
        builder = lib.StateGraph(Work)
        builder.add_node("work", work)
        builder.add_conditional_edges(lib.START, lambda state, arg=arg: lib.Send("work", arg))
        await record.call(builder.compile().ainvoke({"items": [1]}))


@program("A Send to END is refused.")
async def a_send_to_the_end(lib: Lib, record: Recorder) -> None:
    builder = lib.StateGraph(Log)
    builder.add_node("a", step(record, "a"))
    builder.add_edge(lib.START, "a")
    builder.add_conditional_edges("a", lambda state: lib.Send(lib.END, {}))
    await record.call(builder.compile().ainvoke({"log": []}))


@program("Writes of a step: plain nodes by name first, then Sends in their order.", overlapping=True)
async def nodes_before_sends(lib: Lib, record: Recorder) -> None:
    async def z(state: Any) -> Any:
        return {"done": [f"z {state.get('n')}"]}

    async def a(state: Any) -> Any:
        return {"done": [f"a {state.get('n')}"]}

    builder = lib.StateGraph(Work)
    builder.add_node("a", a)
    builder.add_node("z", z)
    builder.add_conditional_edges(
        lib.START, lambda state: [lib.Send("z", {"n": 1}), lib.Send("a", {"n": 2}), "z", "a"]
    )
    await record.call(builder.compile().ainvoke({"items": []}))


@program("Sends are tasks of the stored step, one for each.", overlapping=True)
async def sends_in_the_state(lib: Lib, record: Recorder) -> None:
    async def work(state: Any) -> Any:
        return {"done": [state["n"]]}

    async with lib.saver() as saver:
        builder = lib.StateGraph(Work)
        builder.add_node("work", work)
        builder.add_conditional_edges(lib.START, lambda state: [lib.Send("work", {"n": n}) for n in (2, 1)])
        graph = builder.compile(checkpointer=saver, interrupt_before=["work"])
        await record.call(graph.ainvoke({"items": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("Command.PARENT in a graph that has no parent is an error.")
async def no_parent(lib: Lib, record: Recorder) -> None:
    first = go(record, "a", lib.Command(graph=lib.Command.PARENT, goto="b"))
    graph = loose(lib, record, first, "b").compile()
    await record.call(graph.ainvoke({"log": []}))
    await record.call(graph.ainvoke(lib.Command(graph=lib.Command.PARENT, goto="b")))


@program("A Command as input to a finished thread goes to a node, with the stored state.")
async def goto_as_input(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": ["in"]}, thread()))
        await record.call(graph.ainvoke(lib.Command(goto="b"), thread()))
        await record.call(graph.ainvoke(lib.Command(update={"log": ["new"]}, goto="a"), thread()))


@program("A Command with only an update, as input to a finished thread, changes the state and runs nothing.")
async def update_as_input(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": ["in"]}, thread()))
        await record.call(graph.ainvoke(lib.Command(update={"log": ["new"]}), thread()))
        record.snapshot(await graph.aget_state(thread()))


@program("A Send as input to a finished thread runs its node on the argument.")
async def send_as_input(lib: Lib, record: Recorder) -> None:
    async def b(state: Any) -> Any:
        record.seen(f"b saw {state}")
        return {"log": ["b"]}

    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), b).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": ["in"]}, thread()))
        await record.call(graph.ainvoke(lib.Command(goto=lib.Send("b", {"log": ["sent"]})), thread()))


@program("Commands and Sends equal themselves and show their parts.")
async def commands_are_values(lib: Lib, record: Recorder) -> None:
    record.value(lib.Send("a", 1) == lib.Send("a", 1))
    record.value(lib.Send("a", 1) == lib.Send("a", 2))
    command = lib.Command(update={"x": 1}, goto="a")
    record.value((command.graph, command.update, command.resume, command.goto))
    record.value((lib.Send("a", 1).node, lib.Send("a", 1).arg, lib.Command.PARENT, lib.START, lib.END))
