"""Streams: what each mode yields, in which order, and how modes are combined."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

from harness import Lib, Log, Recorder, StreamWriter, a_while, ask, fan, line, program, step, thread, whole
from pydantic import BaseModel


class Work(TypedDict, total=False):
    items: list[int]
    done: Annotated[list[Any], operator.add]


class Model(BaseModel):
    name: str
    count: int = 0


@program("The default mode is updates: one event for each node, named by it.")
async def updates_by_default(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a"), step(record, "b")).compile()
    await record.stream(graph.astream({"log": []}))


@program("values yields the state at the start and after each step.")
async def values(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a"), step(record, "b")).compile()
    await record.stream(graph.astream({"log": ["in"]}, stream_mode="values"))


@program("values yields once for a step of two nodes; updates yields twice.", overlapping=True)
async def a_wide_step(lib: Lib, record: Recorder) -> None:
    graph = fan(lib, Log, step(record, "a"), step(record, "b"), then=step(record, "c")).compile()
    await record.stream(graph.astream({"log": []}, stream_mode="values"))
    await record.stream(graph.astream({"log": []}, stream_mode="updates"), sort=True)


@program("updates of a step come as the nodes finish, not at the step's end.", overlapping=True)
async def updates_as_they_finish(lib: Lib, record: Recorder) -> None:
    seen = asyncio.Event()

    async def slow(state: Any) -> Any:
        await asyncio.wait_for(seen.wait(), 5)
        return {"log": ["slow"]}

    graph = fan(lib, Log, slow, step(record, "quick")).compile()
    async for event in graph.astream({"log": []}):
        record.events([event])
        seen.set()


@program("A node that writes nothing yields an update of None, and no new values.")
async def a_quiet_node(lib: Lib, record: Recorder) -> None:
    async def quiet(state: Any) -> Any:
        return None

    async def empty(state: Any) -> Any:
        return {}

    for mode in ("updates", "values"):
        graph = line(lib, Log, quiet, empty).compile()
        await record.stream(graph.astream({"log": []}, stream_mode=mode))


@program("An update of keys that the state does not have shows without them.")
async def strangers_in_updates(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"log": ["a"], "stranger": 1}

    async def b(state: Any) -> Any:
        return {"stranger": 1}

    await record.stream(line(lib, Log, a, b).compile().astream({"log": []}))


@program("Updates of Commands show what they wrote, not where they go.")
async def commands_in_updates(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return lib.Command(update={"log": ["a"]}, goto="b")

    async def b(state: Any) -> Any:
        return lib.Command(goto=lib.END)

    builder = lib.StateGraph(Log)
    builder.add_node("a", a)
    builder.add_node("b", b)
    builder.add_edge(lib.START, "a")
    await record.stream(builder.compile().astream({"log": []}))


@program("A node that runs several times in a step yields an event each.", overlapping=True)
async def sends_in_updates(lib: Lib, record: Recorder) -> None:
    async def work(state: Any) -> Any:
        return {"done": [state["n"]]}

    builder = lib.StateGraph(Work)
    builder.add_node("work", work)
    builder.add_conditional_edges(
        lib.START, lambda state: [lib.Send("work", {"n": n}) for n in state["items"]]
    )
    await record.stream(builder.compile().astream({"items": [3, 1, 2]}), sort=True)


@program("A node that returns several Commands yields one event, a list for the key it wrote twice.")
async def several_writes_in_updates(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return [lib.Command(update={"log": ["one"]}), {"log": ["two"]}]

    await record.stream(line(lib, Log, a).compile().astream({"log": []}))


@program("custom yields what nodes write with get_stream_writer, at once.")
async def custom(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        writer = lib.get_stream_writer()
        writer({"progress": 1})
        await asyncio.sleep(0)
        writer("text")
        writer(3)
        return {"log": ["a"]}

    graph = line(lib, Log, a, step(record, "b")).compile()
    await record.stream(graph.astream({"log": []}, stream_mode="custom"))
    await record.stream(graph.astream({"log": []}, stream_mode=["custom", "updates"]))


@program("A writer is given by the parameter's name; it does nothing when nobody listens.")
async def a_writer_by_name(lib: Lib, record: Recorder) -> None:
    async def a(state: Any, writer: StreamWriter) -> Any:
        writer("written")
        return {"log": ["a"]}

    graph = line(lib, Log, a).compile()
    await record.stream(graph.astream({"log": []}, stream_mode="custom"))
    await record.stream(graph.astream({"log": []}, stream_mode="updates"))
    await record.call(graph.ainvoke({"log": []}))


@program("What a node writes to custom arrives before it ends.")
async def custom_arrives_early(lib: Lib, record: Recorder) -> None:
    heard = asyncio.Event()

    async def a(state: Any) -> Any:
        lib.get_stream_writer()("hello")
        await asyncio.wait_for(heard.wait(), 5)
        record.seen("a ends")
        return {"log": ["a"]}

    async for event in line(lib, Log, a).compile().astream({"log": []}, stream_mode="custom"):
        record.events([event])
        heard.set()


@program("A list of modes yields pairs of mode and event, also when the list has one mode.")
async def lists_of_modes(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a"), step(record, "b")).compile()
    await record.stream(graph.astream({"log": []}, stream_mode=["values"]))
    await record.stream(graph.astream({"log": []}, stream_mode=["values", "updates"]))
    await record.stream(graph.astream({"log": []}, stream_mode=["updates", "values"]))


@program("tasks yields the start of each task with its input, and its result.")
async def tasks(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a"), step(record, "b")).compile()
    await record.stream(graph.astream({"log": ["in"]}, stream_mode="tasks"))


@program("tasks of a wide step: all begin, then they end.", overlapping=True)
async def tasks_of_a_wide_step(lib: Lib, record: Recorder) -> None:
    graph = fan(lib, Log, step(record, "a"), step(record, "b")).compile()
    await record.stream(graph.astream({"log": []}, stream_mode="tasks"), sort=True)


@program("tasks shows a question, and on resume the start and the result.")
async def a_question_in_tasks(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a")).compile(checkpointer=saver)
        await record.stream(graph.astream({"log": []}, thread(), stream_mode="tasks"))
        await record.stream(graph.astream(lib.Command(resume="yes"), thread(), stream_mode="tasks"))


@program("checkpoints yields each checkpoint as it is made.")
async def checkpoints(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await record.stream(graph.astream({"log": ["in"]}, thread(), stream_mode="checkpoints"))


@program("debug yields checkpoints and tasks in one stream, with their steps.")
async def debug(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
        await record.stream(graph.astream({"log": []}, thread(), stream_mode="debug"))
        await record.stream(graph.astream(lib.Command(resume="yes"), thread(), stream_mode="debug"))


@program("Several modes of one run keep their order among each other.")
async def several_modes_in_order(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
        modes = ["values", "updates", "tasks", "checkpoints"]
        await record.stream(graph.astream({"log": []}, thread(), stream_mode=modes))
        await record.stream(graph.astream(lib.Command(resume="yes"), thread(), stream_mode=modes))


@program("A failing node ends the stream with its error, after what was before it.")
async def a_failure_in_the_stream(lib: Lib, record: Recorder) -> None:
    async def b(state: Any) -> Any:
        raise ValueError("b broke")

    graph = line(lib, Log, step(record, "a"), b).compile()
    for mode in ("updates", "values", "tasks"):
        await record.stream(graph.astream({"log": []}, stream_mode=mode))


@program("The recursion limit ends the stream with its error.")
async def the_limit_in_the_stream(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a"), step(record, "b")).compile()
    await record.stream(graph.astream({"log": []}, {"recursion_limit": 1}))


@program("A stream that its reader leaves stops the run; what was done is kept.")
async def leaving_a_stream(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        nodes = [step(record, name) for name in "abc"]
        graph = line(lib, Log, *nodes).compile(checkpointer=saver)
        stream = graph.astream({"log": []}, thread(), durability="sync")
        async for event in stream:
            record.events([event])
            break
        await stream.aclose()
        await a_while()
        record.value("c" in (await graph.aget_state(thread())).values["log"])
        await graph.ainvoke(None, thread())
        record.value((await graph.aget_state(thread())).values)


@program("The values stream of a pydantic state yields dicts.")
async def values_of_a_model(lib: Lib, record: Recorder) -> None:
    async def a(state: Model) -> Any:
        return {"count": state.count + 1}

    graph = line(lib, Model, a).compile()
    await record.stream(graph.astream({"name": "n"}, stream_mode="values"))
    await record.stream(graph.astream({"name": "n"}, stream_mode="updates"))


@program("The streams of a one-value state yield the value.")
async def streams_of_a_root_state(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return ["a"]

    graph = line(lib, Annotated[list[str], operator.add], a).compile()
    await record.stream(graph.astream(["in"], stream_mode="values"))
    await record.stream(graph.astream(["in"], stream_mode="updates"))


@program("ainvoke with another stream mode returns the list of that stream's events.")
async def invoking_with_a_mode(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a"), step(record, "b")).compile()
    await record.call(graph.ainvoke({"log": []}, stream_mode="updates"))
    await record.call(graph.ainvoke({"log": []}, stream_mode=["updates", "values"]))


@program("custom from a subgraph arrives only with subgraphs.")
async def custom_from_a_subgraph(lib: Lib, record: Recorder) -> None:
    async def b(state: Any) -> Any:
        lib.get_stream_writer()("from inside")
        return {"log": ["b"]}

    builder = lib.StateGraph(Log)
    builder.add_node("sub", line(lib, Log, b).compile())
    builder.add_edge(lib.START, "sub")
    graph = builder.compile()
    await record.stream(graph.astream({"log": []}, stream_mode="custom"))
    await record.stream(graph.astream({"log": []}, stream_mode="custom", subgraphs=True))


@program("The second version of the stream yields parts with their type, namespace and data.")
async def version_two(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
        modes = ["values", "updates"]
        await record.stream(graph.astream({"log": []}, thread(), stream_mode=modes, version="v2"))
        await record.stream(
            graph.astream(lib.Command(resume="y"), thread(), stream_mode="values", version="v2")
        )


@program("The second version of ainvoke returns the value and the questions apart.")
async def invoking_version_two(lib: Lib, record: Recorder) -> None:
    async def a(state: Model) -> Any:
        return {"count": lib.interrupt("count?")}

    async with lib.saver() as saver:
        graph = line(lib, Model, a).compile(checkpointer=saver)
        result = await graph.ainvoke({"name": "n"}, thread(), version="v2")
        record.value((result.value, result.interrupts))
        result = await graph.ainvoke(lib.Command(resume=3), thread(), version="v2")
        record.value((result.value, result.interrupts))


@program("A stream of an answered question begins with the state as it is.")
async def values_on_resume(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a"), step(record, "b")).compile(checkpointer=saver)
        await graph.ainvoke({"log": ["in"]}, thread())
        events = await whole(graph.astream(lib.Command(resume="yes"), thread(), stream_mode="values"))
        record.events(events)
