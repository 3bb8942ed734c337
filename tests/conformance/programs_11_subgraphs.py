"""Subgraphs: as a node, inside a function, nested; their questions, state, memory and failures."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from harness import Lib, Log, Recorder, ask, line, program, step, thread, whole


class Outer(TypedDict, total=False):
    name: str
    log: Annotated[list[str], operator.add]


class Inner(TypedDict, total=False):
    name: str
    private: str


class Apart(TypedDict, total=False):
    text: str
    answer: str


def outer(lib: Lib, sub: Any, record: Recorder, state: Any = Log) -> Any:
    """a, then the subgraph as node ``sub``, then z."""
    builder = lib.StateGraph(state)
    builder.add_node("a", step(record, "a"))
    builder.add_node("sub", sub)
    builder.add_node("z", step(record, "z"))
    builder.add_edge(lib.START, "a")
    builder.add_edge("a", "sub")
    builder.add_edge("sub", "z")
    return builder


@program("A compiled graph is a node; keys that both have are handed in and out.")
async def a_subgraph_as_a_node(lib: Lib, record: Recorder) -> None:
    async def change(state: Any) -> Any:
        record.value(state)
        return {"name": f"changed {state['name']}", "private": "inner"}

    async def last(state: Any) -> Any:
        record.value(state)

    sub = line(lib, Inner, change, last).compile()
    await record.call(outer(lib, sub, record, Outer).compile().ainvoke({"name": "in"}))


@program("A list with a reducer that both have comes back doubled.")
async def a_doubled_list(lib: Lib, record: Recorder) -> None:
    sub = line(lib, Log, step(record, "inner")).compile()
    await record.call(outer(lib, sub, record).compile().ainvoke({"log": ["in"]}))


@program("A subgraph called in a function may have any schema.")
async def a_subgraph_in_a_function(lib: Lib, record: Recorder) -> None:
    async def reply(state: Any) -> Any:
        record.seen("reply")
        return {"answer": f"to {state['text']}"}

    sub = line(lib, Apart, reply).compile()

    async def call(state: Any) -> Any:
        record.seen("call")
        result = await sub.ainvoke({"text": state["name"]})
        return {"name": result["answer"]}

    await record.call(line(lib, Outer, call).compile().ainvoke({"name": "in"}))


@program("A subgraph's input and output schemas hold at its border.")
async def a_subgraph_with_an_output_schema(lib: Lib, record: Recorder) -> None:
    class In(TypedDict):
        name: str

    class Out(TypedDict):
        log: list[str]

    async def change(state: Any) -> Any:
        record.value(state)
        return {"name": "inner", "log": ["inner"]}

    sub = line(lib, Outer, change, input_schema=In, output_schema=Out).compile()
    await record.call(outer(lib, sub, record, Outer).compile().ainvoke({"name": "in", "log": ["in"]}))


@program("Graphs nest three deep.")
async def three_deep(lib: Lib, record: Recorder) -> None:
    async def add(state: Any) -> Any:
        record.seen("deepest")
        return {"name": state["name"] + "!"}

    graph = line(lib, Outer, add).compile()
    for name in ("two", "one"):
        builder = lib.StateGraph(Outer)
        builder.add_node(name, graph)
        builder.add_edge(lib.START, name)
        graph = builder.compile()
    await record.call(graph.ainvoke({"name": "in"}))


@program("Two subgraphs of one step that hand back a key without a reducer conflict.", overlapping=True)
async def two_subgraphs_conflict(lib: Lib, record: Recorder) -> None:
    def sub() -> Any:
        async def same(state: Any) -> Any:
            return {"private": "x"}

        return line(lib, Inner, same).compile()

    builder = lib.StateGraph(Outer)
    for name in ("one", "two"):
        builder.add_node(name, sub())
        builder.add_edge(lib.START, name)
    await record.call(builder.compile().ainvoke({"name": "in"}))


@program("Command.PARENT leaves the subgraph and goes to a node of its parent.")
async def leaving_a_subgraph(lib: Lib, record: Recorder) -> None:
    async def leave(state: Any) -> Any:
        record.seen("leave")
        return lib.Command(graph=lib.Command.PARENT, update={"log": ["from inside"]}, goto="other")

    sub = line(lib, Log, step(record, "inner"), leave, step(record, "never")).compile()
    builder = lib.StateGraph(Log)
    builder.add_node("sub", sub)
    builder.add_node("other", step(record, "other"))
    builder.add_edge(lib.START, "sub")
    await record.call(builder.compile().ainvoke({"log": ["in"]}))


@program("Command.PARENT goes one graph up, not to the top.")
async def leaving_one_of_two_subgraphs(lib: Lib, record: Recorder) -> None:
    async def leave(state: Any) -> Any:
        record.seen("leave")
        return lib.Command(graph=lib.Command.PARENT, goto="middle")

    deep = line(lib, Log, leave).compile()
    builder = lib.StateGraph(Log)
    builder.add_node("deep", deep)
    builder.add_node("middle", step(record, "middle"))
    builder.add_edge(lib.START, "deep")
    builder.add_edge("middle", lib.END)
    between = builder.compile()
    builder = lib.StateGraph(Log)
    builder.add_node("between", between)
    builder.add_node("top", step(record, "top"))
    builder.add_edge(lib.START, "between")
    builder.add_edge("between", "top")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A question inside a subgraph pauses the parent at the subgraph's node; the answer goes inside.")
async def a_question_inside(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        sub = line(lib, Log, step(record, "b"), ask(lib, record, "c")).compile()
        graph = outer(lib, sub, record).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))
        record.snapshot(await graph.aget_state(thread()))


@program("A question inside a subgraph outlives the process.")
async def a_question_inside_and_a_restart(lib: Lib, record: Recorder) -> None:
    calls: list[Any] = [{"log": []}, lib.Command(resume="yes")]
    for given in calls:
        async with lib.saver() as saver:
            sub = line(lib, Log, step(record, "b"), ask(lib, record, "c")).compile()
            graph = outer(lib, sub, record).compile(checkpointer=saver)
            await record.call(graph.ainvoke(given, thread()))


@program("A question three graphs deep is answered from the top.")
async def a_question_three_deep(lib: Lib, record: Recorder) -> None:
    async def deepest(state: Any) -> Any:
        record.seen("deepest")
        return {"name": lib.interrupt("deep?")}

    async with lib.saver() as saver:
        graph = line(lib, Outer, deepest).compile()
        for name in ("two", "one"):
            builder = lib.StateGraph(Outer)
            builder.add_node(f"before_{name}", step(record, f"before_{name}"))
            builder.add_node(name, graph)
            builder.add_edge(lib.START, f"before_{name}")
            builder.add_edge(f"before_{name}", name)
            graph = builder.compile(checkpointer=saver if name == "one" else None)
        result = await graph.ainvoke({"name": "in"}, thread())
        record.value(result["__interrupt__"])
        record.value((await graph.aget_state(thread())).next)
        result = await graph.ainvoke(lib.Command(resume="answer"), thread())
        record.value(result["name"])


@program(
    "A question in a subgraph that a function calls: the function runs again, the finished inner node does not."
)
async def a_question_inside_a_function(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        sub = line(lib, Log, step(record, "b"), ask(lib, record, "c")).compile()

        async def call(state: Any) -> Any:
            record.seen("call")
            result = await sub.ainvoke({"log": []})
            return {"log": result["log"]}

        graph = line(lib, Log, step(record, "a"), call).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program("Several questions inside a subgraph are answered in turn.")
async def several_questions_inside(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        sub = line(lib, Log, ask(lib, record, "b", "one?", "two?"), ask(lib, record, "c")).compile()
        graph = outer(lib, sub, record).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        for answer in (1, 2, 3):
            await record.call(graph.ainvoke(lib.Command(resume=answer), thread()))


@program("Questions of two subgraphs of one step are answered by id.", overlapping=True)
async def questions_in_two_subgraphs(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:

        def sub(name: str) -> Any:
            async def inner(state: Any) -> Any:
                record.seen(name)
                return {"log": [lib.interrupt(f"{name}?")]}

            return line(lib, Log, inner).compile()

        builder = lib.StateGraph(Log)
        for name in ("one", "two"):
            builder.add_node(name, sub(name))
            builder.add_edge(lib.START, name)
        graph = builder.compile(checkpointer=saver)
        result = await record.call(graph.ainvoke({"log": []}, thread()))
        answers = {question.id: f"to {question.value}" for question in result["__interrupt__"]}
        await record.call(graph.ainvoke(lib.Command(resume=answers), thread()))


@program("get_state with subgraphs shows the paused subgraph's own state inside the task.")
async def the_state_inside(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        sub = line(lib, Log, step(record, "b"), ask(lib, record, "c")).compile()
        graph = outer(lib, sub, record).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        state = await graph.aget_state(thread(), subgraphs=True)
        record.snapshot(state)
        record.snapshot(state.tasks[0].state)
        await graph.ainvoke(lib.Command(resume="yes"), thread())
        record.snapshot(await graph.aget_state(thread(), subgraphs=True))


@program("Without subgraphs the task has the config under which the inner state can be read.")
async def reading_inside_by_config(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        sub = line(lib, Log, step(record, "b"), ask(lib, record, "c")).compile()
        graph = outer(lib, sub, record).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        (task,) = (await graph.aget_state(thread())).tasks
        record.value(task.state["configurable"]["checkpoint_ns"])
        record.snapshot(await graph.aget_state(task.state))


@program("The history of a paused subgraph is read by its config.")
async def history_inside(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        sub = line(lib, Log, step(record, "b"), ask(lib, record, "c")).compile()
        graph = outer(lib, sub, record).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        (task,) = (await graph.aget_state(thread())).tasks
        record.history(await whole(graph.aget_state_history(task.state)))


@program("A breakpoint inside a subgraph, edited inside, goes on with the edit.")
async def editing_inside(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        sub = line(lib, Log, step(record, "b"), step(record, "c")).compile(interrupt_before=["c"])
        graph = outer(lib, sub, record).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        state = await graph.aget_state(thread(), subgraphs=True)
        record.snapshot(state)
        inside = state.tasks[0].state
        record.snapshot(inside)
        await graph.aupdate_state(inside.config, {"log": ["edited"]})
        await record.call(graph.ainvoke(None, thread()))


@program("A subgraph that fails keeps what it had done; going on runs only the failed inner node.")
async def a_failure_inside(lib: Lib, record: Recorder) -> None:
    broken = [True]

    async def c(state: Any) -> Any:
        record.seen("c")
        if broken:
            broken.clear()
            raise ValueError("c broke")
        return {"log": ["c"]}

    async with lib.saver() as saver:
        sub = line(lib, Log, step(record, "b"), c).compile()
        graph = outer(lib, sub, record).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        state = await graph.aget_state(thread())
        record.value((state.next, [task.error for task in state.tasks]))
        await record.call(graph.ainvoke(None, thread()))


@program("A subgraph forgets between two calls of its parent, unless its checkpointer is True.")
async def memory_of_subgraphs(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        for kept in (None, True):

            async def count(state: Any) -> Any:
                record.value(state.get("private"))
                return {"private": (state.get("private") or "") + "x"}

            sub = line(lib, Inner, count).compile(checkpointer=kept)
            builder = lib.StateGraph(Outer)
            builder.add_node("sub", sub)
            builder.add_edge(lib.START, "sub")
            graph = builder.compile(checkpointer=saver)
            for _ in range(2):
                await record.call(graph.ainvoke({"name": "in"}, thread(str(kept))))


@program("A subgraph whose checkpointer is False works within a parent that has one.")
async def a_subgraph_without_memory(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        sub = line(lib, Log, step(record, "b")).compile(checkpointer=False)
        graph = outer(lib, sub, record).compile(checkpointer=saver, interrupt_before=["z"])
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("Streams with subgraphs name where each event is from.")
async def streams_inside(lib: Lib, record: Recorder) -> None:
    sub = line(lib, Log, step(record, "b"), step(record, "c")).compile()
    graph = outer(lib, sub, record).compile()
    await record.stream(graph.astream({"log": []}, subgraphs=True))
    await record.stream(graph.astream({"log": []}, subgraphs=True, stream_mode=["updates", "values"]))
    await record.stream(graph.astream({"log": []}))


@program("A question inside shows at both levels of a stream with subgraphs.")
async def a_question_inside_in_the_stream(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        sub = line(lib, Log, ask(lib, record, "b")).compile()
        graph = outer(lib, sub, record).compile(checkpointer=saver)
        await record.stream(graph.astream({"log": []}, thread(), subgraphs=True))
        await record.stream(graph.astream(lib.Command(resume="yes"), thread(), subgraphs=True))


@program("Each Send to a subgraph is a call of its own.", overlapping=True)
async def sends_to_a_subgraph(lib: Lib, record: Recorder) -> None:
    async def inner(state: Any) -> Any:
        record.seen(f"inner {state['name']}")
        return {"log": [state["name"]]}

    sub = line(lib, Outer, inner, output_schema=Log).compile()
    builder = lib.StateGraph(Outer)
    builder.add_node("sub", sub)
    builder.add_conditional_edges(lib.START, lambda state: [lib.Send("sub", {"name": n}) for n in "yx"])
    await record.call(builder.compile().ainvoke({"log": []}))


@program("Two subgraphs beside each other run to their ends.", overlapping=True)
async def two_subgraphs_beside_each_other(lib: Lib, record: Recorder) -> None:
    def sub(*names: str) -> Any:
        return line(lib, Log, *[step(record, name) for name in names]).compile()

    builder = lib.StateGraph(Log)
    builder.add_node("one", sub("a", "b"))
    builder.add_node("two", sub("c"))
    builder.add_node("last", step(record, "last"))
    builder.add_edge(lib.START, "one")
    builder.add_edge(lib.START, "two")
    builder.add_edge(["one", "two"], "last")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A subgraph shares its parent's recursion limit, counted for itself.")
async def the_limit_inside(lib: Lib, record: Recorder) -> None:
    sub = line(lib, Log, *[step(record, name) for name in "bcde"]).compile()
    builder = lib.StateGraph(Log)
    builder.add_node("sub", sub)
    builder.add_edge(lib.START, "sub")
    graph = builder.compile()
    await record.call(graph.ainvoke({"log": []}, {"recursion_limit": 5}))
    await record.call(graph.ainvoke({"log": []}, {"recursion_limit": 4}))


@program("Time travel to before a subgraph runs it from its start.")
async def going_back_before_a_subgraph(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        sub = line(lib, Log, step(record, "b"), ask(lib, record, "c")).compile()
        graph = outer(lib, sub, record).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="first"), thread()))
        history = await whole(graph.aget_state_history(thread()))
        old = next(snapshot for snapshot in history if snapshot.next == ("sub",))
        await record.call(graph.ainvoke(None, old.config))
        await record.call(graph.ainvoke(lib.Command(resume="second"), thread()))


@program("get_subgraphs names the graphs inside, also the nested ones when asked.")
async def finding_subgraphs(lib: Lib, record: Recorder) -> None:
    deep = line(lib, Log, step(record, "deep")).compile()
    builder = lib.StateGraph(Log)
    builder.add_node("inner", deep)
    builder.add_edge(lib.START, "inner")
    graph = outer(lib, builder.compile(), record).compile()
    record.value([name for name, _ in await whole(graph.aget_subgraphs())])
    record.value([name for name, _ in await whole(graph.aget_subgraphs(recurse=True))])


@program(
    "The state of what is inside is shown to any depth, and what is asked there is edited by its address."
)
async def the_state_three_deep(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "first"), ask(lib, record, "leaf")).compile()
    for name in ("inner", "middle"):
        builder = lib.StateGraph(Log)
        builder.add_node(name, graph)
        builder.add_edge(lib.START, name)
        graph = builder.compile()
    builder = outer(lib, graph, record)
    async with lib.saver() as saver:
        graph = builder.compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        state = await graph.aget_state(thread(), subgraphs=True)
        record.snapshot(state)
        for _ in range(3):
            (task,) = state.tasks
            state = task.state
        record.snapshot(await graph.aget_state(state.config))
        record.history(
            [one async for one in graph.aget_state_history({"configurable": state.config["configurable"]})]
        )
        await graph.aupdate_state(state.config, {"log": ["edited"]})
        await record.call(graph.ainvoke(None, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program(
    "The state of a graph that a function calls is shown, in a function of a graph that a function calls too."
)
async def the_state_of_called_graphs(lib: Lib, record: Recorder) -> None:
    deepest = line(lib, Apart, step(record, "first"), ask(lib, record, "leaf")).compile()

    async def call(state: Any) -> Any:
        record.seen("call")
        await deepest.ainvoke({"text": state["name"]})

    inner = line(lib, Outer, call).compile()

    async def outermost(state: Any) -> Any:
        record.seen("outermost")
        await inner.ainvoke({"name": state["name"] + "!"})

    async with lib.saver() as saver:
        graph = line(lib, Outer, outermost).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"name": "in"}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        record.snapshot(await graph.aget_state(thread(), subgraphs=True))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))
        record.snapshot(await graph.aget_state(thread(), subgraphs=True))


@program("A subgraph that has not begun shows an empty state.")
async def the_state_before_it_begins(lib: Lib, record: Recorder) -> None:
    sub = line(lib, Log, step(record, "inner")).compile()
    async with lib.saver() as saver:
        graph = outer(lib, sub, record).compile(checkpointer=saver, interrupt_before=["sub"])
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        record.snapshot(await graph.aget_state(thread(), subgraphs=True))
