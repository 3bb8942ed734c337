"""When what a call did is on disk: sync, async and exit, seen from a second handle on the database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from graphs import Log, events, one_after_another

from graph_runtime import (
    END,
    START,
    AsyncSqliteSaver,
    Command,
    CompiledGraph,
    InMemorySaver,
    RetryPolicy,
    StateGraph,
    Store,
    StoreUnavailable,
    TimeOrderedIds,
    interrupt,
    open_store,
    read_tool_policy,
    step,
    system_clock,
)
from graph_runtime.ground import Ground
from graph_runtime.ledger import Ledger
from graph_runtime.records import put_event
from graph_runtime.storage import Ask, Batch, Do, Params

Node = Callable[[Log], Awaitable[Any]]
THREAD = {"configurable": {"thread_id": "t"}}
DURABILITIES: list[Literal["sync", "async", "exit"]] = ["sync", "async", "exit"]


@pytest.fixture
async def saver(tmp_path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    async with AsyncSqliteSaver.from_conn_string(f"{tmp_path}/kept.db") as saver:
        yield saver


@pytest.fixture
async def other(tmp_path: Path, saver: AsyncSqliteSaver) -> AsyncIterator[Store]:
    """What another process sees of the same file."""
    async with open_store(f"sqlite:///{tmp_path}/kept.db") as other:
        yield other


def says(name: str) -> Node:
    async def node(state: Log) -> Any:
        return {"log": [name]}

    node.__name__ = name
    return node


async def asks(state: Log) -> Any:
    return {"log": [interrupt("go on?")]}


def kept_in(saver: AsyncSqliteSaver, *nodes: Node) -> CompiledGraph:
    graph = StateGraph(Log).add_sequence([(node.__name__, node) for node in nodes])
    return graph.add_edge(START, nodes[0].__name__).compile(checkpointer=saver)


async def steps_of(graph: CompiledGraph) -> list[int]:
    return [page.step async for page in graph.aget_state_history(THREAD)]


async def stored_step(other: Store) -> int:
    ((run,),) = await other.read(Ask("get_last_run", {"thread_id": "t"}))
    return int(run["step"])


async def test_exit_keeps_one_checkpoint_of_a_call_that_follows_the_one_before_the_call(
    saver: AsyncSqliteSaver,
) -> None:
    graph = kept_in(saver, says("a"), says("b"), asks, says("c"), says("d"))
    await graph.ainvoke({"log": []}, THREAD, durability="exit")
    await graph.ainvoke(Command(resume="yes"), THREAD, durability="exit")
    pages = [page async for page in graph.aget_state_history(THREAD)]
    assert [page.step for page in pages] == [5, 2]
    assert (pages[0].parent_id, pages[1].parent_id) == (pages[1].checkpoint_id, None)
    assert pages[1].values["log"] == ["a", "b"]


async def test_exit_leaves_no_value_and_no_write_behind_that_no_checkpoint_needs(
    saver: AsyncSqliteSaver, other: Store
) -> None:
    async def careful(state: Log) -> Any:
        return {"log": [await step("count", lambda: 7)]}

    stored: list[str] = []

    async def subject(state: Log) -> Any:
        return {"subject": "kept since the first step"}

    async def notes(state: Log) -> Any:
        (rows,) = await other.read(Ask("find_thread_checkpoints", page))
        stored.extend(row["checkpoint_id"] for row in rows)

    page: Params = {"thread_id": "t", "ns": "", "before": "~", "limit": 100}
    graph = kept_in(saver, subject, says("a"), careful, notes, says("b"))
    assert (await graph.ainvoke({"log": []}, THREAD, durability="exit"))["log"] == ["a", 7, "b"]
    assert stored, "the barrier of step() had put a checkpoint on disk"
    (last,) = [page.checkpoint_id async for page in graph.aget_state_history(THREAD)]
    assert last not in stored
    for gone in stored:
        rows, writes = await other.read(
            Ask("get_checkpoint", {"checkpoint_id": gone}), Ask("get_values", {"checkpoint_id": gone})
        )
        assert (rows, writes) == ([], [])
    assert (await graph.aget_state(THREAD)).values["subject"] == "kept since the first step"


async def test_exit_stores_the_claim_and_the_input_before_a_node_runs_and_no_step_after(
    saver: AsyncSqliteSaver, other: Store
) -> None:
    seen: list[tuple[str, int]] = []

    async def looks(state: Log) -> Any:
        ((run,),) = await other.read(Ask("get_last_run", {"thread_id": "t"}))
        seen.append((run["status"], run["step"]))

    await kept_in(saver, says("a"), says("b"), looks).ainvoke({"log": []}, THREAD, durability="exit")
    assert seen == [("running", 0)]


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_step_finds_everything_before_it_on_disk_also_while_a_sibling_waits_for_that(
    saver: AsyncSqliteSaver,
    other: Store,
    durability: Literal["sync", "async", "exit"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit, writing = saver.store.commit, asyncio.Event()
    found: list[int] = []

    async def slow(batch: Batch) -> Any:
        writing.set()
        await asyncio.sleep(0.05)
        return await commit(batch)

    async def look() -> None:
        found.append(await stored_step(other))

    async def a(state: Log) -> Any:
        monkeypatch.setattr(saver.store, "commit", slow)

    async def first(state: Log) -> Any:
        await step("look", look)

    async def second(state: Log) -> Any:
        await writing.wait()
        await step("look", look)

    graph = StateGraph(Log).add_node(a).add_node(first).add_node(second).add_edge(START, "a")
    graph.add_edge("a", "first").add_edge("a", "second")
    await graph.compile(checkpointer=saver).ainvoke({"log": []}, THREAD, durability=durability)
    assert found == [1, 1]


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("tool", ["read", "mail"])
async def test_a_tool_is_judged_and_used_in_the_first_node_under_every_durability(
    saver: AsyncSqliteSaver, durability: Literal["sync", "async", "exit"], tool: str
) -> None:
    tools, used = read_tool_policy([{"tool": "read", "do": "allow"}]), list[str]()

    def use(what: str) -> str:
        used.append(what)
        return what

    async def uses(state: Log) -> Any:
        return {"log": [await tools.call(tool, use, {"what": tool})]}

    graph = kept_in(saver, uses)
    result = await graph.ainvoke({"log": []}, THREAD, durability=durability)
    if tool == "mail":
        (asked,) = result["__interrupt__"]
        result = await graph.ainvoke(
            Command(resume={asked.id: {"decision": "approve"}}), THREAD, durability=durability
        )
    assert result["log"] == [tool]
    assert used == [tool]


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_subgraph_keeps_its_place_under_every_durability(
    saver: AsyncSqliteSaver, durability: Literal["sync", "async", "exit"]
) -> None:
    inner = StateGraph(Log).add_sequence([("i", says("i")), ("asks", asks)]).add_edge(START, "i").compile()

    async def calls(state: Log) -> Any:
        first = await inner.ainvoke({"log": []})
        second = await inner.ainvoke({"log": first["log"]})
        return {"log": second["log"]}

    graph = kept_in(saver, says("a"), calls)
    for said in ("one", "two"):
        paused = await graph.ainvoke(
            {"log": []} if said == "one" else Command(resume="one"), THREAD, durability=durability
        )
        assert [asked.value for asked in paused["__interrupt__"]] == ["go on?"]
    done = await graph.ainvoke(Command(resume="two"), THREAD, durability=durability)
    assert done["log"] == ["a", "i", "one", "i", "two"]


async def test_a_node_that_is_tried_again_runs_its_subgraph_anew_under_exit(saver: AsyncSqliteSaver) -> None:
    inner = one_after_another(i=says("i"), j=says("j"))
    tries: list[int] = []

    async def calls(state: Log) -> Any:
        tries.append(1)
        inside = await inner.ainvoke({"log": []})
        if len(tries) < 2:
            raise ConnectionError("down")
        return {"log": inside["log"]}

    graph = StateGraph(Log).add_edge(START, "calls").add_edge("calls", END)
    graph.add_node("calls", calls, retry_policy=RetryPolicy(initial_interval=0, jitter=False))
    done = await graph.compile(checkpointer=saver).ainvoke({"log": []}, THREAD, durability="exit")
    assert (done["log"], len(tries)) == (["i", "j"], 2)


async def test_async_lets_nodes_run_ahead_and_has_all_on_disk_before_it_returns(
    saver: AsyncSqliteSaver, other: Store
) -> None:
    graph = kept_in(saver, *[says(f"n{number}") for number in range(20)])
    await graph.ainvoke({"log": []}, THREAD, durability="async")
    assert await stored_step(other) == 20
    assert await steps_of(graph) == list(range(20, -2, -1))


async def test_after_a_batch_that_failed_none_that_came_later_is_written(
    saver: AsyncSqliteSaver, monkeypatch: pytest.MonkeyPatch, other: Store
) -> None:
    commit = saver.store.commit
    refused: list[Batch] = []

    async def fails_once(batch: Batch) -> Any:
        if not refused:
            refused.append(batch)
            raise StoreUnavailable("the disk is full")
        return await commit(batch)

    async def catches(state: Log) -> Log:
        with contextlib.suppress(StoreUnavailable):
            await step("wait for the disk", str)
        return {"log": ["went on"]}

    monkeypatch.setattr(saver.store, "commit", fails_once)
    graph = kept_in(saver, says("before"), catches, says("after"))
    with pytest.raises(StoreUnavailable):
        await graph.ainvoke({"log": []}, THREAD, durability="async")
    assert refused
    (runs,) = await other.read(Ask("get_last_run", {"thread_id": "t"}))
    assert not runs


async def test_a_checkpoint_that_a_stream_shows_can_be_read_at_once(
    saver: AsyncSqliteSaver, other: Store
) -> None:
    graph = kept_in(saver, says("a"), says("b"))
    async for event in graph.astream({"log": []}, THREAD, stream_mode="checkpoints"):
        id_ = event["config"]["configurable"]["checkpoint_id"]
        (rows,) = await other.read(Ask("get_checkpoint", {"checkpoint_id": id_}))
        assert rows


async def test_a_question_that_a_stream_shows_can_be_answered_at_once(saver: AsyncSqliteSaver) -> None:
    graph = kept_in(saver, asks)
    async for event in graph.astream({"log": []}, THREAD):
        if "__interrupt__" in event:
            break
    assert (await graph.ainvoke(Command(resume="yes"), THREAD))["log"] == ["yes"]


async def test_many_calls_at_once_share_one_memory() -> None:
    saver = InMemorySaver()
    graph = kept_in(saver, says("a"), asks)
    threads = [{"configurable": {"thread_id": f"t{number}"}} for number in range(30)]
    await asyncio.gather(*(graph.ainvoke({"log": []}, one) for one in threads))
    done = await asyncio.gather(*(graph.ainvoke(Command(resume=n), one) for n, one in enumerate(threads)))
    assert [one["log"] for one in done] == [["a", number] for number in range(30)]
    assert (await kept_in(InMemorySaver(), says("a")).aget_state(threads[0])).values == {}


def test_memory_outlives_the_loop_that_filled_it() -> None:
    graph = kept_in(InMemorySaver(), asks)
    asyncio.run(graph.ainvoke({"log": []}, THREAD))
    assert asyncio.run(graph.ainvoke(Command(resume="yes"), THREAD))["log"] == ["yes"]


async def test_however_many_wait_for_one_writing_and_whenever_they_begin_to_all_go_on(store: Store) -> None:
    ground = Ground(store, {}, (), clock=system_clock, new_id=TimeOrderedIds(), owner="w", lease=1)
    ledger = Ledger(ground, "sync", lambda: Do("get_deployment"))

    async def late(moments: int) -> None:
        for _ in range(moments):
            await asyncio.sleep(0)
        await ledger.barrier()

    async with asyncio.timeout(10), asyncio.TaskGroup() as waiting:
        waiting.create_task(ledger.commit("task", [put_event("evt-1", "noted", 1)]))
        for moments in range(300):
            waiting.create_task(late(moments))
    assert [event.kind for event in await events(store)] == ["noted"]


class Late:
    """A store that is slow with what a task returned, and goes on when whoever waits for it is stopped."""

    def __init__(self, store: Store) -> None:
        self._store, self.deployment, self.read, self.clock = store, store.deployment, store.read, store.clock
        self.reached, self._on_their_way = asyncio.Event(), set[asyncio.Task[Any]]()

    async def commit(self, batch: Batch) -> Any:
        if batch.name != "task":
            return await self._store.commit(batch)
        self.reached.set()
        under_way = asyncio.create_task(self._later(batch))
        self._on_their_way.add(under_way)
        return await asyncio.shield(under_way)

    async def _later(self, batch: Batch) -> Any:
        await asyncio.sleep(0.1)
        return await self._store.commit(batch)


@pytest.mark.parametrize("durability", DURABILITIES[:2])
async def test_what_is_on_its_way_to_the_disk_when_its_node_is_stopped_is_seen_by_the_next_attempt(
    store: Store, durability: Literal["sync", "async", "exit"]
) -> None:
    late, ran = Late(store), list[str]()

    async def quick(state: Log) -> Any:
        ran.append("quick")
        return {"log": ["quick"]}

    async def fails(state: Log) -> Any:
        ran.append("fails")
        if ran.count("fails") == 1:
            await late.reached.wait()
            raise ConnectionError("once")
        return {"log": ["fails"]}

    inner = StateGraph(Log).add_node("quick", quick).add_node("fails", fails)
    inner.add_edge(START, "quick").add_edge(START, "fails")
    outer = StateGraph(Log)
    again = RetryPolicy(initial_interval=0.001, jitter=False)
    outer.add_node("inner", inner.compile(), retry_policy=again).add_edge(START, "inner")

    graph = outer.compile(checkpointer=AsyncSqliteSaver(late))  # type: ignore[arg-type]
    assert (await graph.ainvoke({"log": []}, THREAD, durability=durability))["log"] == ["fails", "quick"]
    assert ran.count("quick") == 1
