"""What waits, as a saver lists it; and what LangGraph has that is refused here in plain words."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from graphs import Log

from graph_runtime import (
    START,
    AsyncSqliteSaver,
    Command,
    CompiledGraph,
    Conflict,
    InMemorySaver,
    StateGraph,
    Unsupported,
    interrupt,
)
from graph_runtime.storage import Batch


def asking(saver: AsyncSqliteSaver) -> CompiledGraph:
    def ask(state: Log) -> dict[str, Any]:
        return {"answer": [interrupt(f"pay {state['subject']}?"), interrupt("sure?")]}

    return StateGraph(Log).add_node(ask).add_edge(START, "ask").compile(checkpointer=saver)


def thread(name: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": name}}


async def waiting(saver: AsyncSqliteSaver, *args: Any, **more: Any) -> list[tuple[str, Any]]:
    return [(q.thread_id, q.interrupt.value) async for q in saver.alist_pending(*args, **more)]


async def test_what_waits_is_listed_the_oldest_first_and_leaves_when_it_is_answered() -> None:
    saver = InMemorySaver()
    graph = asking(saver)
    assert await waiting(saver) == []
    await graph.ainvoke({"subject": "1"}, thread("b"))
    await graph.ainvoke({"subject": "2"}, thread("a"))
    assert await waiting(saver) == [("b", "pay 1?"), ("a", "pay 2?")]
    assert await waiting(saver, limit=1) == [("b", "pay 1?")]
    assert await waiting(saver, thread("a")) == [("a", "pay 2?")]

    await graph.ainvoke(Command(resume="yes"), thread("b"))
    assert await waiting(saver) == [("a", "pay 2?"), ("b", "sure?")]
    await graph.ainvoke({"subject": "3"}, thread("a"), on_paused="discard")
    assert await waiting(saver, thread("a")) == [("a", "pay 3?")]


async def test_more_than_a_page_of_what_waits_is_listed_to_its_end() -> None:
    saver = InMemorySaver()
    graph = asking(saver)
    async with saver.opened():
        for n in range(203):
            await graph.ainvoke({"subject": str(n)}, thread(f"t{n}"))
        found = await waiting(saver)
        assert found == [(f"t{n}", f"pay {n}?") for n in range(203)]
        assert await waiting(saver, limit=150) == found[:150]


async def test_an_id_of_what_waits_takes_the_answer() -> None:
    saver = InMemorySaver()
    graph = asking(saver)
    await graph.ainvoke({"subject": "1"}, thread("t"))
    async for question in saver.alist_pending(limit=1):
        await graph.ainvoke(Command(resume={question.interrupt.id: "yes"}), thread(question.thread_id))
    assert await waiting(saver) == [("t", "sure?")]


@pytest.mark.parametrize(
    "name", ["entrypoint", "task", "CachePolicy", "InMemoryStore", "BaseStore", "SqliteSaver"]
)
def test_what_is_not_built_says_so_when_it_is_imported(name: str) -> None:
    with pytest.raises(Unsupported, match=f"'{name}' was not imported: .* is not built here"):
        exec(f"from graph_runtime import {name}")  # noqa: S102 - the statement is what is tried


def test_a_misspelt_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError):
        importlib.import_module("graph_runtime").StateGarph  # noqa: B018 - to look is what is tried


def test_there_is_no_synchronous_call() -> None:
    graph = asking(InMemorySaver())
    with pytest.raises(Unsupported, match="await ainvoke"):
        graph.invoke({"subject": "1"}, thread("t"))
    with pytest.raises(Unsupported, match="astream"):
        graph.stream({"subject": "1"}, thread("t"))


async def test_a_resume_that_lost_a_race_is_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    saver = InMemorySaver()
    graph = asking(saver)
    await graph.ainvoke({"subject": "1"}, thread("t"))
    commit, lost = saver.store.commit, []

    async def loses_once(batch: Batch) -> Any:
        if batch.name == "answer" and not lost:
            lost.append(batch)
            raise Conflict("question open", batch.name)
        return await commit(batch)

    monkeypatch.setattr(saver.store, "commit", loses_once)
    await graph.ainvoke(Command(resume="yes"), thread("t"))
    assert lost
    assert await waiting(saver) == [("t", "sure?")]
