"""What a node may ask for besides the state: config, runtime, context, writer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from harness import Lib, Log, Recorder, RunnableConfig, StreamWriter, line, program, step, thread
from pydantic import BaseModel


@dataclass
class Person:
    name: str
    level: int = 1


class PersonModel(BaseModel):
    name: str
    level: int = 1


class PersonDict(TypedDict):
    name: str


@program("A parameter called config is given the call's config.")
async def config_by_name(lib: Lib, record: Recorder) -> None:
    async def a(state: Any, config: RunnableConfig) -> Any:
        record.value(config["configurable"]["thread_id"])
        record.value(config["configurable"]["extra"])
        record.value(config["recursion_limit"])
        record.value(config["tags"])
        return {"log": ["a"]}

    config = {"configurable": {"thread_id": "t", "extra": 7}, "recursion_limit": 9, "tags": ["tag"]}
    await record.call(line(lib, Log, a).compile().ainvoke({"log": []}, config))


@program("A config parameter needs no annotation, and may be keyword-only.")
async def config_without_annotation(lib: Lib, record: Recorder) -> None:
    async def a(state, config):  # type: ignore[no-untyped-def]  # that is the point
        record.value(config["configurable"]["extra"])

    async def b(state: Any, *, config: RunnableConfig) -> Any:
        record.value(config["configurable"]["extra"])

    def c(state: Any, config: RunnableConfig) -> Any:
        record.value(config["configurable"]["extra"])

    graph = line(lib, Log, a, b, c).compile()
    await record.call(graph.ainvoke({"log": []}, {"configurable": {"extra": 7}}))


@program("The config's metadata tells a node where it runs.")
async def metadata_in_the_config(lib: Lib, record: Recorder) -> None:
    async def b(state: Any, config: RunnableConfig) -> Any:
        record.value({key: config["metadata"][key] for key in ("langgraph_node", "langgraph_step", "mine")})

    graph = line(lib, Log, step(record, "a"), b).compile()
    await record.call(graph.ainvoke({"log": []}, {"metadata": {"mine": 1}}))


@program("get_config gives the config to a helper.")
async def config_in_a_helper(lib: Lib, record: Recorder) -> None:
    def helper() -> Any:
        return lib.get_config()["configurable"]["extra"]

    async def a(state: Any) -> Any:
        record.value(helper())

    await record.call(line(lib, Log, a).compile().ainvoke({"log": []}, {"configurable": {"extra": 7}}))


@program("get_config outside of a node is a RuntimeError.")
async def config_outside(lib: Lib, record: Recorder) -> None:
    try:
        lib.get_config()
    except RuntimeError as error:
        record.error(error)


@program("A router may ask for the config too.")
async def config_in_a_router(lib: Lib, record: Recorder) -> None:
    def choose(state: Any, config: RunnableConfig) -> str:
        return str(config["configurable"]["way"])

    builder = lib.StateGraph(Log)
    for name in "abc":
        builder.add_node(name, step(record, name))
    builder.add_edge(lib.START, "a")
    builder.add_conditional_edges("a", choose)
    await record.call(builder.compile().ainvoke({"log": []}, {"configurable": {"way": "c"}}))


@program("with_config binds a config, and the call's config adds to it.")
async def a_bound_config(lib: Lib, record: Recorder) -> None:
    async def a(state: Any, config: RunnableConfig) -> Any:
        record.value({key: config["configurable"].get(key) for key in ("one", "two")})

    graph = line(lib, Log, a).compile().with_config({"configurable": {"one": 1, "two": 1}})
    await record.call(graph.ainvoke({"log": []}))
    await record.call(graph.ainvoke({"log": []}, {"configurable": {"two": 2}}))


@program("A subgraph is given its parent's config.")
async def config_in_a_subgraph(lib: Lib, record: Recorder) -> None:
    async def inner(state: Any, config: RunnableConfig) -> Any:
        record.value(config["configurable"]["extra"])

    sub = line(lib, Log, inner).compile()

    async def call(state: Any) -> Any:
        await sub.ainvoke({"log": []})

    builder = line(lib, Log, call)
    builder.add_node("sub", sub)
    builder.add_edge("call", "sub")
    await record.call(builder.compile().ainvoke({"log": []}, {"configurable": {"extra": 7}}))


@program("The context of a call is a node's runtime.context; a dict becomes the schema's dataclass or model.")
async def context(lib: Lib, record: Recorder) -> None:
    async def a(state: Any, runtime: Any) -> Any:
        record.value(runtime.context)

    for kind, given in (
        (Person, Person("p", 2)),
        (Person, {"name": "p"}),
        (PersonModel, {"name": "p", "level": "3"}),
        (PersonDict, {"name": "p"}),
    ):
        graph = line(lib, Log, a, context_schema=kind).compile()
        await record.call(graph.ainvoke({"log": []}, context=given))


@program("A context that does not fit its schema is an error, and nothing runs.")
async def a_bad_context(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a"), context_schema=PersonModel).compile()
    await record.call(graph.ainvoke({"log": []}, context={"level": 1}))
    graph = line(lib, Log, step(record, "a"), context_schema=Person).compile()
    await record.call(graph.ainvoke({"log": []}, context={"stranger": 1}))


@program("Without a context runtime.context is None.")
async def no_context(lib: Lib, record: Recorder) -> None:
    async def a(state: Any, runtime: Any) -> Any:
        record.value(runtime.context)

    await record.call(line(lib, Log, a, context_schema=Person).compile().ainvoke({"log": []}))


@program("The context is not stored: it is given again with the answer.")
async def context_is_not_stored(lib: Lib, record: Recorder) -> None:
    async def a(state: Any, runtime: Any) -> Any:
        record.value(runtime.context)
        return {"log": [lib.interrupt("a?")]}

    async with lib.saver() as saver:
        graph = line(lib, Log, a, context_schema=Person).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread(), context=Person("one")))
        await record.call(graph.ainvoke(None, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread(), context=Person("two")))


@program("get_runtime gives the runtime to a helper, and a subgraph inherits the context.")
async def runtime_in_a_helper(lib: Lib, record: Recorder) -> None:
    async def inner(state: Any) -> Any:
        record.value(lib.get_runtime(Person).context)

    sub = line(lib, Log, inner).compile()
    builder = line(lib, Log, inner, context_schema=Person)
    builder.add_node("sub", sub)
    builder.add_edge("inner", "sub")
    await record.call(builder.compile().ainvoke({"log": []}, context=Person("p")))


@program("runtime.stream_writer writes to the custom stream.")
async def the_runtimes_writer(lib: Lib, record: Recorder) -> None:
    async def a(state: Any, runtime: Any) -> Any:
        runtime.stream_writer("by runtime")

    await record.stream(line(lib, Log, a).compile().astream({"log": []}, stream_mode="custom"))


@program("runtime.execution_info names the thread and counts the attempts.")
async def execution_info(lib: Lib, record: Recorder) -> None:
    attempts: list[int] = []

    async def a(state: Any, runtime: Any) -> Any:
        record.value((runtime.execution_info.thread_id, runtime.execution_info.node_attempt))
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionError("down")

    async with lib.saver() as saver:
        builder = lib.StateGraph(Log)
        policy = lib.RetryPolicy(initial_interval=0.001, jitter=False)
        builder.add_node("a", a, retry_policy=policy)
        builder.add_edge(lib.START, "a")
        graph = builder.compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))


@program("A node may ask for config, runtime and writer together, in any order.")
async def everything_at_once(lib: Lib, record: Recorder) -> None:
    async def a(state: Any, writer: StreamWriter, runtime: Any, config: RunnableConfig) -> Any:
        writer(config["configurable"]["extra"])
        writer(runtime.context)

    graph = line(lib, Log, a, context_schema=Person).compile()
    config = {"configurable": {"extra": 7}}
    await record.stream(graph.astream({"log": []}, config, context=Person("p"), stream_mode="custom"))


@program("A node that was paused is given the config of the call that resumes it.")
async def config_on_resume(lib: Lib, record: Recorder) -> None:
    async def a(state: Any, config: RunnableConfig) -> Any:
        record.value(config["configurable"].get("who"))
        return {"log": [lib.interrupt("a?")]}

    async with lib.saver() as saver:
        graph = line(lib, Log, a).compile(checkpointer=saver)
        one = {"configurable": {"thread_id": "t", "who": "one"}}
        two = {"configurable": {"thread_id": "t", "who": "two"}}
        await record.call(graph.ainvoke({"log": []}, one))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), two))


@program("A parameter with a default that nobody injects keeps its default; the first may have any name.")
async def other_parameters(lib: Lib, record: Recorder) -> None:
    async def a(anything: Any, more: int = 5) -> Any:
        record.value((anything, more))

    await record.call(line(lib, Log, a).compile().ainvoke({"log": []}))


@program("A Runnable is a node: it is given the state and the config, and is called by its name.")
async def a_runnable_is_a_node(lib: Lib, record: Recorder) -> None:
    from langchain_core.runnables import RunnableLambda

    async def note(state: Any, config: RunnableConfig) -> Any:
        record.value(config["configurable"]["user"])
        return {"log": ["noted"]}

    builder = lib.StateGraph(Log)
    builder.add_node(RunnableLambda(note, name="first"))
    builder.add_node("second", RunnableLambda(lambda state: {"log": [len(state["log"])]}))
    builder.add_edge(lib.START, "first")
    builder.add_edge("first", "second")
    graph = builder.compile(debug=False)
    await record.call(graph.ainvoke({"log": []}, {"configurable": {"user": "ann"}}))
    record.value("first" in graph.get_graph().draw_mermaid())


@program("Plain keys of the configurable stand in the metadata of the checkpoints, and filter the history.")
async def configurable_in_the_metadata(lib: Lib, record: Recorder) -> None:
    def shown(snapshot: Any) -> Any:
        own = {"run_id", "parents"}
        return {key: value for key, value in snapshot.metadata.items() if key not in own}

    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        own = {"user": "ann", "number": 3, "__hidden": "x", "nested": {"a": 1}, "nothing": None}
        config = {"configurable": {"thread_id": "t", **own}, "metadata": {"mine": "yes"}}
        await record.call(graph.ainvoke({"log": []}, config))
        await graph.aupdate_state({"configurable": {"thread_id": "t", "user": "bob"}}, {"log": ["edited"]})
        for where in ({}, {"user": "ann"}, {"user": "bob"}, {"mine": "yes"}):
            record.value([shown(one) async for one in graph.aget_state_history(thread(), filter=where)])


@program("The history at a checkpoint is that checkpoint.")
async def the_history_at_a_checkpoint(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        middle = [one async for one in graph.aget_state_history(thread())][1].config
        record.history([one async for one in graph.aget_state_history(middle)])
