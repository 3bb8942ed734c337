"""Durability: when what was done is stored, seen from a second connection."""

from __future__ import annotations

from typing import Any

from harness import Lib, Log, Recorder, ask, line, program, step, thread, whole


@program("Every durability gives the same result.")
async def the_same_result(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        for durability in ("sync", "async", "exit"):
            graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
            await record.call(graph.ainvoke({"log": []}, thread(durability), durability=durability))
            record.snapshot(await graph.aget_state(thread(durability)))


@program("sync and async keep every step; exit keeps one checkpoint of a call.")
async def history_of_each_durability(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        for durability in ("sync", "async", "exit"):
            graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
            await graph.ainvoke({"log": []}, thread(durability), durability=durability)
            record.history(await whole(graph.aget_state_history(thread(durability))))


@program("With sync, a step's checkpoint is stored before the next step begins.")
async def sync_is_stored_first(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver, lib.saver() as other:
        reader = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=other)

        async def b(state: Any) -> Any:
            stored = await reader.aget_state(thread())
            record.value((stored.values, stored.next))
            return {"log": ["b"]}

        graph = line(lib, Log, step(record, "a"), b).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread(), durability="sync"))


@program("With exit, nothing is stored before the call ends.")
async def exit_is_stored_last(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver, lib.saver() as other:
        reader = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=other)

        async def b(state: Any) -> Any:
            stored = await reader.aget_state(thread())
            record.value((stored.values, stored.next))
            return {"log": ["b"]}

        graph = line(lib, Log, step(record, "a"), b).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread(), durability="exit"))
        record.value((await reader.aget_state(thread())).values)


@program("A question is asked and answered under every durability.")
async def questions_under_each_durability(lib: Lib, record: Recorder) -> None:
    for durability in ("sync", "async", "exit"):
        calls: list[Any] = [{"log": []}, lib.Command(resume="yes")]
        for given in calls:
            async with lib.saver() as saver:
                graph = line(lib, Log, step(record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
                await record.call(graph.ainvoke(given, thread(durability), durability=durability))
                record.value(len(await whole(graph.aget_state_history(thread(durability)))))


@program("A failure under every durability leaves the thread at the failed node.")
async def failures_under_each_durability(lib: Lib, record: Recorder) -> None:
    for durability in ("sync", "async", "exit"):
        broken = [True]

        async def b(state: Any, broken: Any = broken) -> Any:
            record.seen("b")
            if broken:
                broken.clear()
                raise ValueError("b broke")
            return {"log": ["b"]}

        async with lib.saver() as saver:
            graph = line(lib, Log, step(record, "a"), b).compile(checkpointer=saver)
            await record.call(graph.ainvoke({"log": []}, thread(durability), durability=durability))
            record.value((await graph.aget_state(thread(durability))).next)
            await record.call(graph.ainvoke(None, thread(durability), durability=durability))


@program("Subgraphs follow the durability of their parent.")
async def durability_of_subgraphs(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        for durability in ("sync", "exit"):
            builder = lib.StateGraph(Log)
            builder.add_node("sub", line(lib, Log, step(record, "a"), ask(lib, record, "b")).compile())
            builder.add_edge(lib.START, "sub")
            graph = builder.compile(checkpointer=saver)
            await record.call(graph.ainvoke({"log": []}, thread(durability), durability=durability))
            state = await graph.aget_state(thread(durability))
            record.value(len(await whole(graph.aget_state_history(state.tasks[0].state))))
            answer = lib.Command(resume="yes")
            await record.call(graph.ainvoke(answer, thread(durability), durability=durability))


@program("A saver in memory keeps threads as long as it lives.")
async def a_saver_in_memory(lib: Lib, record: Recorder) -> None:
    saver = lib.InMemorySaver()
    graph = line(lib, Log, step(record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
    await record.call(graph.ainvoke({"log": []}, thread()))
    record.snapshot(await graph.aget_state(thread()))
    await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))
    record.history(await whole(graph.aget_state_history(thread())))
    other = line(lib, Log, step(record, "a")).compile(checkpointer=lib.InMemorySaver())
    record.snapshot(await other.aget_state(thread()))
