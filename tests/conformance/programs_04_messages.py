"""add_messages: lists of messages that grow, are replaced by id and removed by id."""

from __future__ import annotations

from typing import Annotated, Any

from harness import Lib, Recorder, fan, line, program, schema, step, thread
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)


def conversation(lib: Lib) -> Any:
    return schema(messages=Annotated[list[Any], lib.add_messages])


@program("Messages are appended.")
async def messages_are_appended(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value(state["messages"])
        return {"messages": [lib.AIMessage("hello", id="m2")]}

    graph = line(lib, conversation(lib), a).compile()
    await record.call(graph.ainvoke({"messages": [lib.HumanMessage("hi", id="m1")]}))


@program("A single message is as good as a list of one.")
async def a_single_message(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"messages": lib.AIMessage("hello", id="m2")}

    graph = line(lib, conversation(lib), a).compile()
    await record.call(graph.ainvoke({"messages": lib.HumanMessage("hi", id="m1")}))


@program("A message of a known id replaces the one before, in its place.")
async def a_message_is_replaced(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"messages": [lib.HumanMessage("hi again", id="m1"), lib.AIMessage("new", id="m3")]}

    graph = line(lib, conversation(lib), a).compile()
    given = [lib.HumanMessage("hi", id="m1"), lib.AIMessage("hello", id="m2")]
    await record.call(graph.ainvoke({"messages": given}))


@program("RemoveMessage removes by id.")
async def a_message_is_removed(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"messages": [lib.RemoveMessage(id="m1"), lib.AIMessage("new", id="m3")]}

    graph = line(lib, conversation(lib), a).compile()
    given = [lib.HumanMessage("hi", id="m1"), lib.AIMessage("hello", id="m2")]
    await record.call(graph.ainvoke({"messages": given}))


@program("Removing a message that is not there is a ValueError.")
async def an_unknown_message_is_removed(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"messages": [lib.RemoveMessage(id="m9")]}

    graph = line(lib, conversation(lib), a).compile()
    await record.call(graph.ainvoke({"messages": [lib.HumanMessage("hi", id="m1")]}))


@program("REMOVE_ALL_MESSAGES drops all that was before it.")
async def all_messages_are_removed(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        everything = lib.RemoveMessage(id=lib.REMOVE_ALL_MESSAGES)
        return {"messages": [lib.AIMessage("lost", id="m2"), everything, lib.AIMessage("kept", id="m3")]}

    graph = line(lib, conversation(lib), a).compile()
    await record.call(graph.ainvoke({"messages": [lib.HumanMessage("hi", id="m1")]}))


@program("A message without an id is given one, and keeps it over checkpoints.")
async def ids_are_assigned_and_stay(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"messages": [lib.AIMessage("hello")]}

    async with lib.saver() as saver:
        graph = line(lib, conversation(lib), a, step(record, "b")).compile(
            checkpointer=saver, interrupt_before=["b"]
        )
        await record.call(graph.ainvoke({"messages": [lib.HumanMessage("hi")]}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("Tuples, dicts and plain text become messages.")
async def other_forms_of_messages(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value([(message.type, message.content) for message in state["messages"]])
        return {"messages": [("assistant", "hello")]}

    graph = line(lib, conversation(lib), a).compile()
    given = [("user", "one"), {"role": "system", "content": "two"}, "three"]
    result = await graph.ainvoke({"messages": given})
    record.value([(message.type, message.content) for message in result["messages"]])


@program("MessagesState is a state of messages, and can be extended.")
async def messages_state(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"messages": [lib.AIMessage("hello", id="m2")]}

    graph = line(lib, lib.MessagesState, a).compile()
    await record.call(graph.ainvoke({"messages": [lib.HumanMessage("hi", id="m1")]}))


@program("Messages of nodes of one step follow the nodes' names.", overlapping=True)
async def messages_of_one_step(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        return {"messages": [lib.AIMessage("a", id="m3")]}

    async def b(state: Any) -> Any:
        return {"messages": [lib.AIMessage("b", id="m2")]}

    graph = fan(lib, conversation(lib), a, b).compile()
    await record.call(graph.ainvoke({"messages": [lib.HumanMessage("hi", id="m1")]}))


@program("add_messages is a plain function of two lists.")
async def add_messages_by_hand(lib: Lib, record: Recorder) -> None:
    one, two = lib.HumanMessage("one", id="m1"), lib.AIMessage("two", id="m2")
    record.value(lib.add_messages([one], [two]))
    record.value(lib.add_messages([one], lib.HumanMessage("other", id="m1")))
    record.value(lib.add_messages([], [one]))
    record.value(lib.add_messages([one, two], [lib.RemoveMessage(id="m2")]))


@program("Messages come back from a checkpoint as messages.")
async def messages_survive(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value(state["messages"])
        return {"messages": [lib.AIMessage("hello", id="m2")]}

    async with lib.saver() as saver:
        graph = line(lib, conversation(lib), a).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"messages": [lib.HumanMessage("hi", id="m1")]}, thread()))
    async with lib.saver() as saver:
        graph = line(lib, conversation(lib), a).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"messages": [lib.HumanMessage("more", id="m3")]}, thread()))


async def talk_in_langchain(lib: Lib, record: Recorder, state: Any) -> None:
    async def model(state: Any) -> Any:
        record.value([type(one).__module__ for one in state["messages"]])
        call = {"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
        return {
            "messages": [AIMessage("2", id="m2", tool_calls=[call]), AIMessageChunk(content="3", id="m3")]
        }

    async def tool(state: Any) -> Any:
        record.value(state["messages"][-2].tool_calls)
        said = lib.interrupt("ok?")
        return {"messages": [ToolMessage(said, tool_call_id="c1", id="m4"), RemoveMessage(id="m1")]}

    calls: list[Any] = [{"messages": [("user", "hi"), HumanMessage("1", id="m1")]}, lib.Command(resume="yes")]
    for given in calls:
        async with lib.saver() as saver:
            graph = line(lib, state, model, tool).compile(checkpointer=saver)
            result = await record.call(graph.ainvoke(given, thread()))
    record.value([(type(one).__module__, type(one).__name__) for one in result["messages"]])
    record.value([one.tool_calls for one in result["messages"] if one.type == "ai"])


@program("Messages of LangChain are kept as they are in a state that names them.")
async def langchain_named(lib: Lib, record: Recorder) -> None:
    await talk_in_langchain(lib, record, schema(messages=Annotated[list[AnyMessage], lib.add_messages]))


@program("Messages of LangChain are kept as they are in a state that names only their base.")
async def langchain_by_base(lib: Lib, record: Recorder) -> None:
    await talk_in_langchain(lib, record, schema(messages=Annotated[list[BaseMessage], lib.add_messages]))


@program("Messages of LangChain are kept as they are in a state that names no class.")
async def langchain_not_named(lib: Lib, record: Recorder) -> None:
    await talk_in_langchain(lib, record, schema(messages=Annotated[list[Any], lib.add_messages]))


@program("Messages of LangChain are kept as they are in a MessagesState.")
async def langchain_in_messages_state(lib: Lib, record: Recorder) -> None:
    await talk_in_langchain(lib, record, lib.MessagesState)
