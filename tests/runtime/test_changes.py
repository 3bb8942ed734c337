"""Changes from outside: edits, forks, and answers that come with an update, a goto or a deletion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from graphs import Count, Log, answer_only, begin, events, one_after_another
from kit import MakeRuntime

from graph_runtime import (
    END,
    START,
    AsyncSqliteSaver,
    Command,
    CompiledGraph,
    InvalidUpdateError,
    NotPaused,
    Runtime,
    StateGraph,
    StateUpdate,
    Store,
    ThreadBusy,
    UnknownCheckpoint,
    UnknownRun,
    UnknownThread,
    interrupt,
    step,
)
from graph_runtime.storage import Batch

pytestmark = pytest.mark.databases("sqlite", "postgres")

T = {"configurable": {"thread_id": "t"}}


@pytest.fixture
def count() -> Count:
    return Count()


@pytest.fixture
async def saver(tmp_path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
        yield saver


def payment(saver: AsyncSqliteSaver, count: Count) -> CompiledGraph:
    """Return a graph that asks whether to pay the subject, and pays."""

    async def gate(state: Log) -> dict[str, Any]:
        return {"answer": interrupt(f"pay {state['subject']}?")}

    async def pay(state: Log) -> dict[str, Any]:
        count("pay")
        return {"log": [f"paid {state['subject']}: {state['answer']}"]}

    async def audit(_: Log) -> dict[str, Any]:
        count("audit")
        return {"log": ["audited"]}

    graph = StateGraph(Log).add_node(gate).add_node(pay).add_node(audit)
    graph.add_edge(START, "gate").add_edge("gate", "pay")
    return graph.compile(checkpointer=saver)


async def asked(graph: CompiledGraph) -> list[Any]:
    return [one.value for one in (await graph.aget_state(T)).interrupts]


async def test_an_answer_whose_update_changes_the_question_is_not_used(
    saver: AsyncSqliteSaver, count: Count
) -> None:
    graph = payment(saver, count)
    await graph.ainvoke({"subject": "1"}, T)

    await graph.ainvoke(Command(resume="yes", update={"subject": "999"}), T)

    assert count.of["pay"] == 0
    assert await asked(graph) == ["pay 999?"]
    assert (await graph.ainvoke(Command(resume="no"), T))["log"] == ["paid 999: no"]


async def test_an_answer_with_an_update_and_a_goto_keeps_what_siblings_returned(
    saver: AsyncSqliteSaver, count: Count
) -> None:
    graph = payment(saver, count)
    inner = StateGraph(Log)

    async def sibling(_: Log) -> dict[str, Any]:
        count("sibling")
        return {"log": ["sibling"]}

    async def gate(_: Log) -> dict[str, Any]:
        return {"answer": interrupt("pay?")}

    async def audit(state: Log) -> dict[str, Any]:
        return {"log": [f"audited {state['subject']}"]}

    inner.add_node(sibling).add_node(gate).add_node(audit).add_edge(START, "sibling").add_edge(START, "gate")
    graph = inner.compile(checkpointer=saver)
    await graph.ainvoke({"subject": "1"}, T)

    done = await graph.ainvoke(Command(resume="yes", update={"subject": "2"}, goto="audit"), T)

    assert done == {"subject": "2", "answer": "yes", "log": ["audited 2", "sibling"]}
    assert count.of["sibling"] == 1


async def test_a_refused_answer_leaves_its_update_undone(saver: AsyncSqliteSaver, count: Count) -> None:
    graph = payment(saver, count)
    await graph.ainvoke({"subject": "1"}, T)
    before = await graph.aget_state(T)

    with pytest.raises(InvalidUpdateError):
        await graph.ainvoke(Command(resume="yes", goto="nowhere"), T)

    assert await graph.aget_state(T) == before


async def test_a_fork_of_an_answered_question_asks_it_again_and_runs_its_steps_again(
    saver: AsyncSqliteSaver, count: Count
) -> None:
    async def gate(_: Log) -> dict[str, Any]:
        await step("look", count, "look")
        return {"answer": interrupt("pay?")}

    builder = StateGraph(Log).add_node(gate).add_edge(START, "gate")
    graph = builder.compile(checkpointer=saver)
    await graph.ainvoke({"subject": "1"}, T)
    pause = (await graph.aget_state(T)).config
    await graph.ainvoke(Command(resume="yes"), T)

    forked = await graph.ainvoke(None, pause)

    assert "answer" not in forked
    assert await asked(graph) == ["pay?"]
    assert count.of["look"] == 2


async def test_a_retry_keeps_steps_and_asks_anew(make_runtime: MakeRuntime, count: Count) -> None:
    async def gate(_: Log) -> dict[str, Any]:
        await step("look", count, "look")
        said = interrupt("pay?")
        if count.of["gate"] == 0:
            count("gate")
            raise ValueError("after the answer")
        return {"answer": said}

    runtime = make_runtime(one_after_another(gate=gate))
    run = await answer_only(runtime, await begin(runtime), "yes")
    assert run.status == "failed"

    again = await runtime.advance((await runtime.retry(run.thread_id, run.id)).id)

    assert again.status == "interrupted"
    assert (await answer_only(runtime, again, "no")).status == "completed"
    assert (await runtime.look(again.id)).state.values["answer"] == "no"
    assert count.of["look"] == 1


async def test_time_travel_from_an_open_question_must_be_said_to_discard_it(
    saver: AsyncSqliteSaver, count: Count
) -> None:
    graph = payment(saver, count)
    await graph.ainvoke({"subject": "1"}, T)
    first = [old async for old in graph.aget_state_history(T)][-1].config

    with pytest.raises(ThreadBusy):
        await graph.ainvoke(None, first)
    assert await asked(graph) == ["pay 1?"]

    await graph.ainvoke(None, first, on_paused="discard")
    assert await asked(graph) == ["pay 1?"]


async def test_a_goto_needs_a_thread_that_has_a_state(saver: AsyncSqliteSaver, count: Count) -> None:
    graph = payment(saver, count)
    with pytest.raises(UnknownThread):
        await graph.ainvoke(Command(goto="pay", update={"subject": "1"}), T)
    assert count.of["pay"] == 0


async def test_an_edit_in_the_name_of_the_end_ends_the_run_and_closes_its_question(
    make_runtime: MakeRuntime, store: Store
) -> None:
    async def gate(_: Log) -> dict[str, Any]:
        return {"answer": interrupt("pay?")}

    runtime = make_runtime(one_after_another(gate=gate))
    run = await begin(runtime)

    await runtime.edit(run.thread_id, None, as_node=END)

    view = await runtime.look(run.id)
    assert (view.run.status, view.state.next) == ("completed", ())
    assert [q.status for q in view.questions] == ["superseded"]
    assert [e.kind for e in await events(store, run_id=run.id)][-2:] == ["run.edited", "run.completed"]


class Slow:
    """A store whose commit of an edit waits for the test."""

    def __init__(self, store: Store) -> None:
        self._store, self.deployment, self.read, self.clock = store, store.deployment, store.read, store.clock
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def commit(self, batch: Batch) -> Any:
        if batch.name == "edit":
            self.reached.set()
            await self.opened.wait()
        return await self._store.commit(batch)


@pytest.mark.parametrize("how", [(None, END), ({"subject": "new"}, "after")], ids=["to the end", "as a node"])
async def test_an_edit_does_not_land_on_a_run_that_was_driven_meanwhile_though_it_rests_where_it_did(
    make_runtime: MakeRuntime, store: Store, how: tuple[Any, str]
) -> None:
    async def gate(_: Log) -> dict[str, Any]:
        return {"log": [interrupt("first?"), interrupt("second?")]}

    async def after(_: Log) -> None:
        return None

    graph, slow = one_after_another(gate=gate, after=after), Slow(store)
    runtime = make_runtime(graph)
    run = await begin(runtime)
    edit = asyncio.create_task(
        Runtime(slow, [graph], owner="slow").edit(run.thread_id, how[0], as_node=how[1])  # type: ignore[arg-type]
    )
    await slow.reached.wait()
    run = await answer_only(runtime, run, "yes")
    slow.opened.set()

    with pytest.raises(ThreadBusy, match="went on meanwhile"):
        await edit
    view = await runtime.look(run.id)
    assert {(q.interrupt.value, q.status) for q in view.questions} == {
        ("first?", "answered"),
        ("second?", "open"),
    }
    assert (await answer_only(runtime, run, "no")).status == "completed"
    assert (await runtime.look(run.id)).state.values["log"] == ["yes", "no"]


@pytest.mark.parametrize("how", [(None, END), ({"subject": "new"}, "after")], ids=["to the end", "as a node"])
async def test_an_edit_that_a_look_at_the_run_overtook_is_made_where_the_same_is_asked_still(
    make_runtime: MakeRuntime, store: Store, how: tuple[Any, str]
) -> None:
    async def gate(_: Log) -> dict[str, Any]:
        return {"log": [interrupt("sure?")]}

    async def after(_: Log) -> None:
        return None

    graph, slow = one_after_another(gate=gate, after=after), Slow(store)
    runtime = make_runtime(graph)
    run = await begin(runtime)
    edit = asyncio.create_task(
        Runtime(slow, [graph], owner="slow").edit(run.thread_id, how[0], as_node=how[1])  # type: ignore[arg-type]
    )
    await slow.reached.wait()
    # Somebody has it driven, without an answer: it asks the same, and rests where it did.
    assert (await runtime.drive(await runtime.take_up(run))).status == "interrupted"
    slow.opened.set()

    made = await edit
    view = await runtime.look(run.id)
    assert view.state.checkpoint_id == made
    assert [q.status for q in view.questions] == ["superseded"]


async def test_an_edit_does_not_begin_a_run_where_the_one_it_was_for_has_ended_meanwhile(
    make_runtime: MakeRuntime, store: Store
) -> None:
    async def gate(_: Log) -> dict[str, Any]:
        return {"log": [interrupt("sure?")]}

    graph, slow = one_after_another(gate=gate), Slow(store)
    runtime = make_runtime(graph)
    run = await begin(runtime)
    edit = asyncio.create_task(
        Runtime(slow, [graph], owner="slow").edit(run.thread_id, {"subject": "new"})  # type: ignore[arg-type]
    )
    await slow.reached.wait()
    assert (await answer_only(runtime, run, "yes")).status == "completed"
    slow.opened.set()

    with pytest.raises(ThreadBusy, match="completed"):
        await edit
    assert (await runtime.last_run(run.thread_id)) == await runtime.get(run.id)


async def test_a_finished_thread_that_was_edited_takes_new_input(
    saver: AsyncSqliteSaver, count: Count
) -> None:
    async def note(state: Log) -> dict[str, Any]:
        return {"log": [state["subject"]]}

    graph = StateGraph(Log).add_node(note).add_edge(START, "note").compile(checkpointer=saver)
    await graph.ainvoke({"subject": "1"}, T)
    await graph.aupdate_state(T, {"log": ["edited"]})
    assert (await graph.ainvoke({"subject": "2"}, T))["log"] == ["1", "edited", "2"]


@pytest.mark.parametrize("how", ["input", "empty", "checkpoint", "no checkpoint", "update", "bad update"])
async def test_what_takes_the_place_of_a_paused_run_withdraws_its_question_in_its_own_commit_or_leaves_it(
    saver: AsyncSqliteSaver, how: str
) -> None:
    async def first(state: Log) -> Any:
        return {"log": ["first"]}

    async def gate(state: Log) -> Any:
        return {"log": [interrupt("sure?")]}

    graph = StateGraph(Log).add_sequence([first, gate]).add_edge(START, "first").compile(checkpointer=saver)
    await graph.ainvoke({"log": []}, T)
    runtime, past = saver.runtime_of(graph), [one async for one in graph.aget_state_history(T)][-1].config
    paused = await runtime.last_run("t")
    assert paused is not None
    gone = {"configurable": {"thread_id": "t", "checkpoint_id": "gone"}}
    ways: dict[str, Callable[..., Awaitable[Any]]] = {
        "input": lambda **more: graph.ainvoke({"log": ["new"]}, T, **more),
        "empty": lambda **more: graph.ainvoke(7, T, **more),
        "checkpoint": lambda **more: graph.ainvoke(None, past, **more),
        "no checkpoint": lambda **more: graph.ainvoke(None, gone, **more),
        "update": lambda **more: graph.aupdate_state(past, {"log": ["new"]}, as_node="first", **more),
        "bad update": lambda **more: graph.aupdate_state(past, {"log": ["new"]}, as_node="none", **more),
    }
    with pytest.raises((ThreadBusy, UnknownCheckpoint, InvalidUpdateError)):
        await ways[how]()
    with pytest.raises(ValueError, match="on_paused"):
        await ways[how](on_paused="forget")
    assert (await runtime.get(paused.id)).status == "interrupted"

    if how in {"empty", "no checkpoint", "bad update"}:
        with pytest.raises((InvalidUpdateError, UnknownCheckpoint)):
            await ways[how](on_paused="discard")
        assert (await runtime.get(paused.id)).status == "interrupted", "what could not be begun ended nothing"
        assert (await graph.ainvoke(Command(resume="yes"), T))["log"] == ["first", "yes"]
        return
    await ways[how](on_paused="discard")
    assert (await runtime.get(paused.id)).status == "cancelled"
    assert [q.status for q in (await runtime.look(paused.id)).questions] == ["withdrawn"]
    (said,) = [e for e in await runtime.events(run_id=paused.id) if e.kind == "run.cancelled"]
    assert said.data["reason"] == "discarded for new input"
    last = await runtime.last_run("t")
    assert last is not None and last.id != paused.id


async def test_of_several_edits_with_one_bad_none_is_made(saver: AsyncSqliteSaver, count: Count) -> None:
    graph = payment(saver, count)
    good, bad = StateUpdate({"subject": "1"}, START), StateUpdate({"subject": "2"}, "nobody")
    with pytest.raises(InvalidUpdateError):
        await graph.abulk_update_state(T, [[good], [bad]])
    assert (await graph.aget_state(T)).created_at is None


async def test_a_subgraph_is_edited_only_where_it_stands(saver: AsyncSqliteSaver) -> None:
    async def one(_: Log) -> dict[str, Any]:
        return {"log": ["one"]}

    async def two(_: Log) -> dict[str, Any]:
        return {"log": [interrupt("two?")]}

    inner = StateGraph(Log).add_sequence([one, two]).add_edge(START, "one").compile()
    graph = StateGraph(Log).add_node("sub", inner).add_edge(START, "sub").compile(checkpointer=saver)
    await graph.ainvoke({"subject": "s"}, T)
    (task,) = (await graph.aget_state(T)).tasks
    assert task.state is not None
    inside: Any = task.state
    old = [old.config async for old in graph.aget_state_history(inside)][-1]

    with pytest.raises(UnknownCheckpoint):
        await graph.aupdate_state(old, {"log": ["late"]})
    await graph.aupdate_state(inside, {"log": ["edited"]})

    # The answer to the old state can no longer be given; the new one is asked for.
    assert await asked(graph) == []
    await graph.ainvoke(None, T)
    assert await asked(graph) == ["two?"]
    assert (await graph.ainvoke(Command(resume="yes"), T))["log"] == ["one", "edited", "yes"]


async def test_a_thread_is_deleted_only_when_nothing_of_it_is_alive(
    saver: AsyncSqliteSaver, count: Count
) -> None:
    graph = payment(saver, count)
    await graph.ainvoke({"subject": "1"}, T)
    with pytest.raises(ThreadBusy):
        await saver.adelete_thread("t")
    assert await asked(graph) == ["pay 1?"]

    await graph.ainvoke(Command(resume="yes"), T)
    await saver.adelete_thread("t")

    assert await saver.aget_tuple(T) is None
    with pytest.raises(UnknownThread):
        await graph.ainvoke(Command(resume="yes"), T)
    await saver.adelete_thread("t")
    assert [e.kind for e in await events(saver.store)][-1] == "thread.deleted"


async def test_only_an_ended_run_of_that_thread_is_retried(make_runtime: MakeRuntime, count: Count) -> None:
    async def ask(state: Log) -> Log:
        return {"log": [interrupt("go on?")]}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    with pytest.raises(UnknownRun):
        await runtime.retry(run.thread_id, "run-nothing")
    with pytest.raises(NotPaused, match="only an ended one is retried"):
        await runtime.retry(run.thread_id, run.id)
    assert (await runtime.get(run.id)).status == "interrupted"


async def test_a_run_that_somebody_drives_is_neither_taken_up_nor_changed_by_an_answer(
    make_runtime: MakeRuntime, count: Count
) -> None:
    async def ask(state: Log) -> Log:
        return {"log": [interrupt("go on?")]}

    runtime = make_runtime(one_after_another(ask=ask))
    run = await begin(runtime)
    (question,) = (await runtime.look(run.id)).open
    held = await runtime.take_up(run)
    assert held.status == "running"
    with pytest.raises(ThreadBusy, match="driven elsewhere"):
        await runtime.take_up(run)
    with pytest.raises(ThreadBusy, match="cannot be changed"):
        await runtime.resume_all(
            run.thread_id, run.id, {question.interrupt.id: "yes"}, command=Command(update={"log": ["new"]})
        )
    assert [q.status for q in (await runtime.look(run.id)).questions] == ["open"]
