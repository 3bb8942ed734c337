"""Input, output and private schemas: what goes in, what comes out, and what only some nodes see."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from harness import Lib, Recorder, line, program, thread
from pydantic import BaseModel


class Whole(TypedDict, total=False):
    question: str
    answer: str
    notes: Annotated[list[str], operator.add]


class Asked(TypedDict):
    question: str


class Answered(TypedDict):
    answer: str


class Private(TypedDict, total=False):
    secret: str


class PrivateLog(TypedDict, total=False):
    question: str
    secrets: Annotated[list[str], operator.add]


class AskedModel(BaseModel):
    question: str
    length: int = 10


@dataclass
class Part:
    question: str


@program("An input schema filters what goes in, an output schema what comes out.")
async def input_and_output(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value(state)
        return {"answer": f"to {state['question']}", "notes": ["a"]}

    builder = line(lib, Whole, a, input_schema=Asked, output_schema=Answered)
    await record.call(builder.compile().ainvoke({"question": "q", "answer": "planted", "notes": ["planted"]}))


@program("The stored state has the keys that the output schema hides.")
async def state_behind_the_output(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"answer": "yes", "notes": ["a"]}

    async with lib.saver() as saver:
        graph = line(lib, Whole, a, input_schema=Asked, output_schema=Answered).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"question": "q"}, thread()))
        record.snapshot(await graph.aget_state(thread()))


@program(
    "An output schema filters what a call returns, and no stream: the values stream shows the whole state."
)
async def streams_behind_the_output(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"answer": "yes", "notes": ["a"]}

    graph = line(lib, Whole, a, input_schema=Asked, output_schema=Answered).compile()
    for mode in ("values", "updates"):
        await record.stream(graph.astream({"question": "q"}, stream_mode=mode))


@program("A node with an input schema of its own sees only that part of the state.")
async def a_node_sees_a_part(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value(state)
        return {"answer": "yes"}

    builder = lib.StateGraph(Whole)
    builder.add_node("a", a, input_schema=Asked)
    builder.add_edge(lib.START, "a")
    await record.call(builder.compile().ainvoke({"question": "q", "notes": ["n"]}))


@program("A node's annotation of its first parameter is its input schema.")
async def a_schema_by_annotation(lib: Lib, record: Recorder) -> None:
    async def a(state: Asked) -> Any:
        record.value(state)
        return {"answer": "yes"}

    await record.call(line(lib, Whole, a).compile().ainvoke({"question": "q", "notes": ["n"]}))


@program("A private key goes from node to node and is not in the result.")
async def a_private_key(lib: Lib, record: Recorder) -> None:
    async def a(state: Whole) -> Any:
        return {"secret": "s", "notes": ["a"]}

    async def b(state: Private) -> Any:
        record.value(state)
        return {"answer": state["secret"]}

    await record.call(line(lib, Whole, a, b).compile().ainvoke({"question": "q"}))


@program("A private key is stored with the thread, as part of its values.")
async def a_private_key_stored(lib: Lib, record: Recorder) -> None:
    async def a(state: Whole) -> Any:
        return {"secret": "s"}

    async def b(state: Private) -> Any:
        return {"answer": state["secret"]}

    async with lib.saver() as saver:
        graph = line(lib, Whole, a, b).compile(checkpointer=saver, interrupt_before=["b"])
        await record.call(graph.ainvoke({"question": "q"}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("A private key may have a reducer.")
async def a_private_reducer(lib: Lib, record: Recorder) -> None:
    async def a(state: Whole) -> Any:
        return {"secrets": ["one"]}

    async def b(state: Whole) -> Any:
        return {"secrets": ["two"]}

    async def c(state: PrivateLog) -> Any:
        record.value(state)

    await record.call(line(lib, Whole, a, b, c).compile().ainvoke({"question": "q"}))


@program("A private key in the input is dropped unless the input schema has it.")
async def a_private_key_in_the_input(lib: Lib, record: Recorder) -> None:
    async def a(state: PrivateLog) -> Any:
        record.value(state)

    await record.call(line(lib, Whole, a).compile().ainvoke({"question": "q", "secrets": ["planted"]}))


@program("A node may ask for a model or a dataclass of some keys of a TypedDict state.")
async def parts_as_instances(lib: Lib, record: Recorder) -> None:
    async def a(state: AskedModel) -> Any:
        record.value(state)
        return {"notes": ["a"]}

    async def b(state: Part) -> Any:
        record.value(state)
        return {"notes": ["b"]}

    await record.call(line(lib, Whole, a, b).compile().ainvoke({"question": "q"}))


@program("A router's annotation decides what it sees.")
async def a_router_with_a_schema(lib: Lib, record: Recorder) -> None:
    async def a(state: Whole) -> Any:
        return {"secret": "s"}

    def choose(state: Private) -> str:
        record.value(state)
        return str(lib.END)

    builder = lib.StateGraph(Whole)
    builder.add_node("a", a)
    builder.add_edge(lib.START, "a")
    builder.add_conditional_edges("a", choose)
    await record.call(builder.compile().ainvoke({"question": "q"}))


@program("Without an annotation a router sees the part that its node sees, and what that node returned.")
async def a_router_sees_its_nodes_part(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"answer": "yes"}

    def choose(state: Any) -> str:
        record.value(state)
        return str(lib.END)

    builder = lib.StateGraph(Whole)
    builder.add_node("a", a, input_schema=Asked)
    builder.add_edge(lib.START, "a")
    builder.add_conditional_edges("a", choose)
    await record.call(builder.compile().ainvoke({"question": "q", "notes": ["n"]}))


@program("An input model validates nothing until a node asks for it.")
async def an_input_model(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value(state)
        return {"answer": "yes"}

    builder = line(lib, Whole, a, input_schema=AskedModel)
    await record.call(builder.compile().ainvoke({"question": "q"}))


@program("When no key of the output schema was ever written, a call returns None.")
async def an_output_never_written(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"notes": ["a"]}

    await record.call(line(lib, Whole, a, output_schema=Answered).compile().ainvoke({"question": "q"}))


@program("output_keys chooses what a call returns or streams.")
async def output_keys(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"answer": "yes", "notes": ["a"]}

    graph = line(lib, Whole, a).compile()
    await record.call(graph.ainvoke({"question": "q"}, output_keys=["answer"]))
    await record.call(graph.ainvoke({"question": "q"}, output_keys="answer"))
    await record.stream(graph.astream({"question": "q"}, stream_mode="values", output_keys=["notes"]))
