"""Static breakpoints: interrupt_before and interrupt_after."""

from __future__ import annotations

from typing import Any

from harness import Lib, Log, Recorder, ask, fan, line, program, step, thread


@program("interrupt_before stops before the node, and None goes on.")
async def before_a_node(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(
            checkpointer=saver, interrupt_before=["b"]
        )
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))
        record.snapshot(await graph.aget_state(thread()))


@program("interrupt_after stops after the node, and None goes on.")
async def after_a_node(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(
            checkpointer=saver, interrupt_after=["a"]
        )
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("interrupt_after the last node stops at a finished thread.")
async def after_the_last_node(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver, interrupt_after=["a"])
        await record.stream(graph.astream({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("A star stops at every node.")
async def at_every_node(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        for where in ("interrupt_before", "interrupt_after"):
            graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(
                checkpointer=saver, **{where: "*"}
            )
            await record.call(graph.ainvoke({"log": []}, thread(where)))
            await record.call(graph.ainvoke(None, thread(where)))
            await record.call(graph.ainvoke(None, thread(where)))


@program("A breakpoint shows in the stream as an empty interrupt.")
async def a_breakpoint_in_the_stream(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(
            checkpointer=saver, interrupt_before=["b"]
        )
        await record.stream(graph.astream({"log": []}, thread()))
        await record.stream(graph.astream(None, thread()))
        await record.stream(graph.astream({"log": []}, thread("2"), stream_mode="values"))
        await record.stream(graph.astream(None, thread("2"), stream_mode="values"))


@program("Breakpoints may be given with a call, and hold for that call only.")
async def breakpoints_of_a_call(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        nodes = [step(record, name) for name in "abc"]
        graph = line(lib, Log, *nodes).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread(), interrupt_before=["b"]))
        await record.call(graph.ainvoke(None, thread(), interrupt_after=["b"]))
        await record.call(graph.ainvoke(None, thread()))


@program("A call's breakpoints replace the compiled ones.")
async def breakpoints_of_a_call_replace(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(
            checkpointer=saver, interrupt_before=["a"]
        )
        await record.call(graph.ainvoke({"log": []}, thread(), interrupt_before=["b"]))


@program("A breakpoint before one node holds back its whole step.", overlapping=True)
async def a_breakpoint_holds_the_step(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = fan(lib, Log, step(record, "a"), step(record, "b"), then=step(record, "c")).compile(
            checkpointer=saver, interrupt_before=["b"]
        )
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("A breakpoint after one node stops once its whole step is done.", overlapping=True)
async def a_breakpoint_after_one_of_two(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = fan(lib, Log, step(record, "a"), step(record, "b"), then=step(record, "c")).compile(
            checkpointer=saver, interrupt_after=["b"]
        )
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("State edited at a breakpoint is what the node sees.")
async def editing_at_a_breakpoint(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(
            checkpointer=saver, interrupt_before=["b"]
        )
        await record.call(graph.ainvoke({"log": []}, thread()))
        await graph.aupdate_state(thread(), {"log": ["edited"]})
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("A breakpoint in a loop stops each time round.")
async def a_breakpoint_in_a_loop(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        builder = lib.StateGraph(Log)
        builder.add_node("a", step(record, "a"))
        builder.add_edge(lib.START, "a")
        builder.add_conditional_edges("a", lambda state: "a" if len(state["log"]) < 3 else lib.END)
        graph = builder.compile(checkpointer=saver, interrupt_before=["a"])
        await record.call(graph.ainvoke({"log": []}, thread()))
        for _ in range(3):
            await record.call(graph.ainvoke(None, thread()))


@program("A breakpoint outlives the process.")
async def a_breakpoint_and_a_restart(lib: Lib, record: Recorder) -> None:
    calls: list[Any] = [{"log": []}, None]
    for given in calls:
        async with lib.saver() as saver:
            graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(
                checkpointer=saver, interrupt_before=["b"]
            )
            await record.call(graph.ainvoke(given, thread()))


@program("A breakpoint before a node that asks: first the one, then the other.")
async def a_breakpoint_before_a_question(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a")).compile(checkpointer=saver, interrupt_before=["a"])
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(None, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program("Without a checkpointer a breakpoint ends the call, and there is nothing to go on with.")
async def a_breakpoint_without_a_checkpointer(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(interrupt_before=["b"])
    await record.call(graph.ainvoke({"log": []}))
    await record.call(graph.ainvoke(None))


@program("Breakpoints hold a Send back too.", overlapping=True)
async def a_breakpoint_before_sends(lib: Lib, record: Recorder) -> None:
    async def work(state: Any) -> Any:
        record.seen(f"work {state['n']}")
        return {"log": [str(state["n"])]}

    async with lib.saver() as saver:
        builder = line(lib, Log, step(record, "a"))
        builder.add_node("work", work)
        builder.add_conditional_edges("a", lambda state: [lib.Send("work", {"n": n}) for n in (1, 2)])
        graph = builder.compile(checkpointer=saver, interrupt_before=["work"])
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("Breakpoints of a call are those of its own graph; those of a subgraph are compiled into it.")
async def breakpoints_of_a_call_and_a_subgraph(lib: Lib, record: Recorder) -> None:
    def graphs(saver: Any, **inside: Any) -> Any:
        sub = line(lib, Log, step(record, "one"), step(record, "two")).compile(**inside)
        return (
            line(lib, Log, step(record, "a"))
            .add_node("sub", sub)
            .add_edge("a", "sub")
            .compile(checkpointer=saver)
        )

    async with lib.saver() as saver:
        for number, (inside, call) in enumerate(
            [
                ({}, {"interrupt_before": ["two"]}),
                ({}, {"interrupt_after": ["one"]}),
                ({}, {"interrupt_before": "*"}),
                ({"interrupt_before": ["two"]}, {}),
                ({"interrupt_after": ["one"]}, {"interrupt_before": ["sub"]}),
            ]
        ):
            graph, where = graphs(saver, **inside), thread(f"t{number}")
            await record.call(graph.ainvoke({"log": []}, where, **call))
            while (await graph.aget_state(where)).next:
                record.value((await graph.aget_state(where)).next)
                await record.call(graph.ainvoke(None, where, **call))
