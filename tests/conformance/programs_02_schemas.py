"""State schemas and reducers: what a state may be, how writes meet, what survives a checkpoint."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NotRequired, Required, TypedDict
from uuid import UUID

from harness import Lib, Log, Recorder, fan, line, program, step, thread
from pydantic import BaseModel, Field
from typing_extensions import ReadOnly
from typing_extensions import TypedDict as ExtendedTypedDict


class Plain(TypedDict, total=False):
    name: str
    count: int


class Sums(TypedDict):
    total: Annotated[int, operator.add]
    text: Annotated[str, operator.add]
    tags: Annotated[set[str], operator.or_]


def newest_three(left: list[int], right: list[int]) -> list[int]:
    return (left + right)[-3:]


def either(left: Any, right: Any) -> Any:
    return right or left


class Custom(TypedDict):
    recent: Annotated[list[int], newest_three]
    kept: Annotated[str, either]


@dataclass
class Box:
    name: str
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    size: int = 1


class Model(BaseModel):
    name: str
    count: int = 0
    log: Annotated[list[str], operator.add] = Field(default_factory=list)


class Partly(TypedDict):
    name: str
    nick: NotRequired[str]


class Extended(ExtendedTypedDict, total=False):
    name: Required[str]
    count: NotRequired[int]
    kind: ReadOnly[str]
    log: Required[Annotated[list[str], operator.add]]


class ExtendedPart(ExtendedTypedDict):
    name: str


class Anything(TypedDict, total=False):
    value: Any


class Lists(TypedDict):
    bare: list[str]
    added: Annotated[list[str], operator.add]


@program("A key without a reducer keeps the last value.")
async def the_last_value(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"name": "a", "count": state["count"] + 1}

    async def b(state: Any) -> Any:
        return {"name": "b"}

    await record.call(line(lib, Plain, a, b).compile().ainvoke({"name": "in", "count": 0}))


@program("A key that was never written is absent from the state and from the result.")
async def an_absent_key(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value(state)

    await record.call(line(lib, Plain, a).compile().ainvoke({"name": "in"}))


@program("Two writers of a key without a reducer in one step are an InvalidUpdateError.", overlapping=True)
async def two_writers(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"name": "a"}

    async def b(state: Any) -> Any:
        return {"name": "b"}

    await record.call(fan(lib, Plain, a, b).compile().ainvoke({"name": "in"}))


@program("Two writers in different steps are no conflict.")
async def two_writers_in_turn(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"name": "a"}

    async def b(state: Any) -> Any:
        return {"name": state["name"] + "b"}

    await record.call(line(lib, Plain, a, b).compile().ainvoke({}))


@program("Reducers of numbers, text and sets begin at the empty value of their type.")
async def reducers_of_plain_types(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value(state)
        return {"total": 2, "text": "a", "tags": {"x"}}

    async def b(state: Any) -> Any:
        return {"total": 3, "text": "b", "tags": {"x", "y"}}

    builder = line(lib, Sums, a, b)
    await record.call(builder.compile().ainvoke({"total": 1}))


@program("A reducer may be any function of two values.")
async def a_reducer_of_ones_own(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"recent": [3, 4], "kept": ""}

    async def b(state: Any) -> Any:
        return {"recent": [5]}

    await record.call(line(lib, Custom, a, b).compile().ainvoke({"recent": [1, 2], "kept": "first"}))


@program("The input goes through the reducers too.")
async def input_is_reduced(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Custom, step(record, "a")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"recent": [1, 2, 3, 4]}, thread()))
        await record.call(graph.ainvoke({"recent": [5]}, thread()))


@program("Overwrite goes past the reducer.")
async def overwrite(lib: Lib, record: Recorder) -> None:
    async def b(state: Any) -> Any:
        return {"log": lib.Overwrite(["only"])}

    await record.call(
        line(lib, Log, step(record, "a"), b, step(record, "c")).compile().ainvoke({"log": ["in"]})
    )


@program("Two Overwrites of one key in one step are an InvalidUpdateError.", overlapping=True)
async def two_overwrites(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"log": lib.Overwrite(["a"])}

    async def b(state: Any) -> Any:
        return {"log": lib.Overwrite(["b"])}

    await record.call(fan(lib, Log, a, b).compile().ainvoke({"log": ["in"]}))


@program("An Overwrite beside a plain write in one step wins over it.", overlapping=True)
async def an_overwrite_beside_a_write(lib: Lib, record: Recorder) -> None:
    async def b(state: Any) -> Any:
        return {"log": lib.Overwrite(["b"])}

    graph = fan(lib, Log, step(record, "a"), b, step(record, "c")).compile()
    await record.call(graph.ainvoke({"log": ["in"]}))


@program("Overwrite in the input replaces what a thread has gathered.")
async def overwrite_in_the_input(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": ["one"]}, thread()))
        await record.call(graph.ainvoke({"log": lib.Overwrite(["new"])}, thread()))


@program("A list without a reducer is replaced, one with a reducer is added to.")
async def lists_with_and_without(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"bare": ["a"], "added": ["a"]}

    await record.call(line(lib, Lists, a).compile().ainvoke({"bare": ["in"], "added": ["in"]}))


@program("A reducer that fails is the run's error.")
async def a_failing_reducer(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"log": 7}

    await record.call(line(lib, Log, a).compile().ainvoke({"log": ["in"]}))


@program("With a dataclass, nodes get instances, defaults included, and the result is a dict.")
async def a_dataclass(lib: Lib, record: Recorder) -> None:
    async def a(state: Box) -> Any:
        record.value(state)
        return {"log": [state.name], "size": state.size + 1}

    async def b(state: Box) -> Any:
        record.value(state)

    graph = line(lib, Box, a, b).compile()
    await record.call(graph.ainvoke({"name": "in"}))
    await record.call(graph.ainvoke(Box("in", ["x"], 5)))


@program("A node may return an instance of the state's dataclass.")
async def a_dataclass_returned(lib: Lib, record: Recorder) -> None:
    async def a(state: Box) -> Any:
        return Box("changed", ["a"], 9)

    await record.call(line(lib, Box, a).compile().ainvoke({"name": "in"}))


@program("With a pydantic model, nodes get instances and the result is a dict.")
async def a_pydantic_model(lib: Lib, record: Recorder) -> None:
    async def a(state: Model) -> Any:
        record.value(state)
        return {"count": state.count + 1, "log": ["a"]}

    graph = line(lib, Model, a).compile()
    await record.call(graph.ainvoke({"name": "in", "count": "4"}))
    await record.call(graph.ainvoke(Model(name="in")))


@program("A node may return an instance of the state's model.")
async def a_model_returned(lib: Lib, record: Recorder) -> None:
    async def a(state: Model) -> Any:
        return Model(name="new", count=3)

    await record.call(line(lib, Model, a).compile().ainvoke({"name": "in"}))


@program("A bad input for a pydantic state is a ValidationError before the node runs.")
async def a_bad_input(lib: Lib, record: Recorder) -> None:
    async def a(state: Model) -> Any:
        record.seen("a")

    await record.call(line(lib, Model, a).compile().ainvoke({"name": "in", "count": "many"}))


@program("A bad update of a pydantic state fails at the next node, not at the writer.")
async def a_bad_update(lib: Lib, record: Recorder) -> None:
    async def a(state: Model) -> Any:
        record.seen("a")
        return {"count": "many"}

    async def b(state: Model) -> Any:
        record.seen("b")

    await record.call(line(lib, Model, a, b).compile().ainvoke({"name": "in"}))


@program("A bad update by the last node of a pydantic state is not noticed.")
async def a_bad_last_update(lib: Lib, record: Recorder) -> None:
    async def a(state: Model) -> Any:
        return {"count": "many"}

    await record.call(line(lib, Model, a).compile().ainvoke({"name": "in"}))


@program("A pydantic state coerces what a node sees, not what the state holds.")
async def a_model_coerces_no_state(lib: Lib, record: Recorder) -> None:
    async def a(state: Model) -> Any:
        record.value(state.count)
        return {"log": ["a"]}

    await record.call(line(lib, Model, a).compile().ainvoke({"name": "in", "count": "4"}))


@program("A state may be one value, with or without a reducer.")
async def a_root_state(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value(state)
        return ["a"]

    async def b(state: Any) -> Any:
        record.value(state)
        return ["b"]

    await record.call(line(lib, Annotated[list[str], operator.add], a, b).compile().ainvoke(["in"]))
    await record.call(line(lib, list, a, b).compile().ainvoke(["in"]))


@program("A one-value state is stored and read back.")
async def a_root_state_stored(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return ["a"]

    async with lib.saver() as saver:
        graph = line(lib, Annotated[list[str], operator.add], a).compile(checkpointer=saver)
        await record.call(graph.ainvoke(["in"], thread()))
        record.snapshot(await graph.aget_state(thread()))


@program("NotRequired keys may stay away.")
async def not_required(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value(state)
        return {"nick": "n"}

    await record.call(line(lib, Partly, a).compile().ainvoke({"name": "in"}))


@program("A key may be set to None, and None is then its value.")
async def none_is_a_value(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"value": None}

    async with lib.saver() as saver:
        graph = line(lib, Anything, a).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"value": 1}, thread()))
        record.snapshot(await graph.aget_state(thread()))


@program("Dates, decimals, UUIDs, sets, bytes and large numbers survive a checkpoint with their types.")
async def types_that_survive(lib: Lib, record: Recorder) -> None:
    everything = {
        "at": datetime(2026, 1, 5, 9, 30, tzinfo=UTC),
        "day": date(2026, 1, 5),
        "span": timedelta(minutes=90),
        "money": Decimal("10.20"),
        "id": UUID("12345678-1234-5678-1234-567812345678"),
        "tags": {"b", "a"},
        "raw": b"\x00\xff",
        "large": 2**60,
        "share": 0.1,
        "no": False,
        "nothing": None,
        "nested": {"list": [{"deep": [1, 2]}]},
    }

    async def a(state: Any) -> Any:
        record.seen("a")

    async with lib.saver() as saver:
        graph = line(lib, Anything, a).compile(checkpointer=saver, interrupt_before=["a"])
        await record.call(graph.ainvoke({"value": everything}, thread()))
    async with lib.saver() as saver:
        graph = line(lib, Anything, a).compile(checkpointer=saver)
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("An absent plain key raises KeyError in the node that reads it.")
async def reading_an_absent_key(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"count": state["count"] + 1}

    await record.call(line(lib, Plain, a).compile().ainvoke({"name": "in"}))


@program("Input without any key of the state still runs the graph.")
async def input_of_strangers(lib: Lib, record: Recorder) -> None:
    await record.call(line(lib, Log, step(record, "a")).compile().ainvoke({"stranger": 1}))
    await record.call(line(lib, Log, step(record, "a")).compile().ainvoke({}))


@program("Input that is no mapping is invalid for a state of keys.")
async def input_of_another_kind(lib: Lib, record: Recorder) -> None:
    for given in ("text", 7, ["log"]):
        await record.call(line(lib, Log, step(record, "a")).compile().ainvoke(given))


@program("The TypedDict of typing_extensions is a state of keys, and so are its qualifiers.")
async def extended_typed_dict(lib: Lib, record: Recorder) -> None:
    async def a(state: Extended) -> Any:
        record.value(dict(state))
        return {"count": 1, "log": ["a"]}

    async with lib.saver() as saver:
        graph = line(lib, Extended, a, step(record, "b")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"name": "x", "log": ["in"]}, thread()))
        record.snapshot(await graph.aget_state(thread()))


@program("A node may ask for a part of the state as the TypedDict of typing_extensions.")
async def extended_part(lib: Lib, record: Recorder) -> None:
    async def a(state: ExtendedPart) -> Any:
        record.value(dict(state))
        return {"count": 1}

    builder = lib.StateGraph(Plain, input_schema=ExtendedPart)
    builder.add_node("a", a)
    builder.add_edge(lib.START, "a")
    await record.call(builder.compile().ainvoke({"name": "x", "count": 5}))
