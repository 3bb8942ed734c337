"""What waits, as a saver lists it; and what LangGraph has that is refused here in plain words."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import uuid
from pathlib import Path
from typing import Any, TypedDict

import aiosqlite
import langgraph.checkpoint.sqlite.aio
import langgraph.graph
import pytest
from graphs import Log

from graph_runtime import (
    START,
    AsyncSqliteSaver,
    Command,
    CompiledGraph,
    Conflict,
    GraphBubbleUp,
    GraphInterrupt,
    InMemorySaver,
    MemorySaver,
    NodeRuntime,
    SchemaMismatch,
    StateGraph,
    ThreadBusy,
    UnknownThread,
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
    "name", ["entrypoint", "task", "CachePolicy", "InMemoryStore", "BaseStore", "SqliteSaver", "get_store"]
)
def test_what_is_not_built_says_so_when_it_is_imported(name: str) -> None:
    with pytest.raises(Unsupported, match=f"'{name}' was not imported: .* is not built here"):
        exec(f"from graph_runtime import {name}")  # noqa: S102 - the statement is what is tried


def test_what_is_not_built_says_so_where_it_is_asked_for() -> None:
    with pytest.raises(Unsupported, match="store"):
        NodeRuntime().store  # noqa: B018 - to look is what is tried
    with pytest.raises(Unsupported, match='stream_mode="debug"'):
        StateGraph(Log).add_node("n", asking).add_edge(START, "n").compile(debug=True)


def test_the_pause_is_what_langgraph_calls_what_bubbles_up() -> None:
    assert issubclass(GraphInterrupt, GraphBubbleUp)
    assert not issubclass(GraphBubbleUp, Exception)
    assert MemorySaver is InMemorySaver


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


# -- what is opened, and whose it is ------------------------------------------------------------------------


class State(TypedDict, total=False):
    x: int


async def test_a_database_of_langgraph_s_is_left_as_it_is(tmp_path: Path) -> None:
    graph, path = langgraph.graph.StateGraph(State), tmp_path / "theirs.db"
    graph.add_node("n", lambda _: {"x": 1})
    graph.add_edge(START, "n")
    async with langgraph.checkpoint.sqlite.aio.AsyncSqliteSaver.from_conn_string(str(path)) as theirs:
        await graph.compile(checkpointer=theirs).ainvoke({"x": 0}, thread("t"))
    before = path.read_bytes()
    with pytest.raises(SchemaMismatch, match=r"LangGraph's checkpoints.*a new file"):
        async with AsyncSqliteSaver.from_conn_string(str(path)):
            pass
    assert path.read_bytes() == before
    async with aiosqlite.connect(path) as connection:
        with pytest.raises(TypeError, match="from_conn_string"):
            AsyncSqliteSaver(connection)  # type: ignore[arg-type]


@pytest.mark.parametrize("lease", [0, 0.5, -1, float("inf"), float("nan")])
async def test_a_lease_that_no_driver_could_keep_is_refused(lease: float) -> None:
    with pytest.raises(ValueError, match="a second or more"):
        InMemorySaver(lease=lease)


async def test_who_goes_on_with_a_killed_call_is_told_how_long_to_wait_and_then_it_goes_on(
    tmp_path: Path,
) -> None:
    path = f"{tmp_path}/t.db"
    async with AsyncSqliteSaver.from_conn_string(path, lease=1) as saver:
        graph = asking(saver)
        # As a process leaves it that is killed: held, and driven by nobody.
        await saver.runtime_of(graph).start("graph", {"subject": "1"}, thread_id="t", driver="caller")
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        graph = asking(saver)
        for given in (None, {"subject": "2"}):
            with pytest.raises(ThreadBusy, match="running, and whoever drives it holds it for another 1 s"):
                await graph.ainvoke(given, thread("t"))
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(ThreadBusy):
                    await graph.ainvoke(None, thread("t"))
                    break
                await asyncio.sleep(0.05)
        assert await waiting(saver) == [("t", "pay 1?")]


async def test_a_saver_lets_go_of_graphs_that_nobody_has_any_more() -> None:
    saver = InMemorySaver()
    for number in range(3):
        await asking(saver).with_config({"tags": ["x"]}).ainvoke({"subject": "1"}, thread(str(number)))
    gc.collect()
    assert len(saver._runtimes) == 0


async def test_a_thread_may_be_a_number_or_a_uuid_and_is_its_text() -> None:
    saver, name = InMemorySaver(), uuid.uuid4()
    graph = asking(saver)
    for given in (7, name):
        where = {"configurable": {"thread_id": given}}
        await graph.ainvoke({"subject": "1"}, where)
        assert (await graph.aget_state(where)).config["configurable"]["thread_id"] == str(given)
        assert await waiting(saver, where) == [(str(given), "pay 1?")]
        assert (await saver.aget_tuple(where)) is not None
    assert {found.config["configurable"]["thread_id"] async for found in saver.alist(None)} == {
        "7",
        str(name),
    }
    assert len([found async for found in saver.alist(None, limit=3)]) == 3
    for odd in (None, True, 1.5, " "):
        with pytest.raises(UnknownThread):
            await graph.ainvoke({"subject": "1"}, {"configurable": {"thread_id": odd}})
