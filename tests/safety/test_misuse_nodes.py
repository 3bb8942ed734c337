"""Nodes and graphs that would let an answer reach what it was not given for, or run what nobody sees."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from misuse import Lib, Log, Till, asks, both, fan, ids, line, outcome, questions, thread

from graph_runtime import GraphChanged, GraphRecursionError, InvalidUpdateError, Unsupported


async def test_a_node_that_catches_every_exception_does_not_catch_its_pause(tmp_path: Path) -> None:
    """Theirs: the pause is swallowed and the default answer pays. Ours: it passes, and a person is asked."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any]:
        till = Till(lib)

        async def gate(state: Any) -> Any:
            try:
                return await till.gate(state)
            except Exception:  # noqa: BLE001  # that is what this node does wrong
                return {"said": "approve"}

        return till, await outcome(till.graph(saver, gate).ainvoke({"amount": 1}, thread()))

    async with theirs.saver() as saver:
        till, got = await program(theirs, saver)
        assert got == {"amount": 1, "said": "approve"}
        assert till.paid == [1]

    async with ours.saver() as saver:
        till, got = await program(ours, saver)
        assert questions(got) == ["pay 1?"]
        assert till.paid == []


async def test_an_answer_for_a_node_that_was_renamed_is_not_success(tmp_path: Path) -> None:
    """Theirs: next is empty, the call returns the state, nothing ran. Ours: GraphChanged."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any, Any]:
        till = Till(lib)
        await till.graph(saver).ainvoke({"amount": 1}, thread())
        renamed = till.builder(name="review").compile(checkpointer=saver)
        till.ran.clear()
        got = await outcome(renamed.ainvoke(lib.Command(resume="approve"), thread()))
        return till, got, await outcome(renamed.aget_state(thread()))

    async with theirs.saver() as saver:
        till, got, state = await program(theirs, saver)
        assert got == {"amount": 1}
        assert state.next == ()
        assert till.ran == []

    async with ours.saver() as saver:
        till, got, _ = await program(ours, saver)
        assert isinstance(got, GraphChanged)
        assert till.ran == []


async def test_after_a_refused_answer_the_graph_that_asked_can_still_finish_its_thread(
    tmp_path: Path,
) -> None:
    """The other half of that row, and on both: back on the old graph the question takes its answer."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any]:
        till = Till(lib)
        old, renamed = till.graph(saver), till.builder(name="review").compile(checkpointer=saver)
        await old.ainvoke({"amount": 1}, thread())
        await outcome(renamed.ainvoke(lib.Command(resume="approve"), thread()))
        return till, await outcome(old.ainvoke(lib.Command(resume="reject"), thread()))

    async with theirs.saver() as saver:
        till, got = await program(theirs, saver)
        assert got == {"amount": 1, "said": "reject"}
        assert till.paid == []

    async with ours.saver() as saver:
        till, got = await program(ours, saver)
        assert got == {"amount": 1, "said": "reject"}
        assert till.paid == []


async def test_a_question_that_a_deploy_puts_before_another_does_not_get_its_answer(tmp_path: Path) -> None:
    """Theirs: the yes to the amount answers "WIPE DISK?". Ours: that is asked first, of a person."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> Any:
        old = line(lib, Log, asks(lib, [], "a", "pay 1?")).compile(checkpointer=saver)
        new = line(lib, Log, asks(lib, [], "a", "WIPE DISK?", "pay 1?")).compile(checkpointer=saver)
        asked = ids(await old.ainvoke({"log": []}, thread()))
        return await outcome(new.ainvoke(lib.Command(resume={asked["pay 1?"]: "amount-yes"}), thread()))

    async with theirs.saver() as saver:
        got = await program(theirs, saver)
        assert questions(got) == ["pay 1?"], "WIPE DISK? has been answered"

    async with ours.saver() as saver:
        got = await program(ours, saver)
        assert questions(got) == ["WIPE DISK?"]


async def test_questions_in_another_order_on_the_re_run_do_not_swap_their_answers(tmp_path: Path) -> None:
    """Theirs: a question that nobody saw gets the other one's answer. Ours: each answer reaches its question."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[list[str], Any]:
        runs: list[str] = []
        shown: list[str] = []

        async def a(state: Any) -> Any:
            order = ("b?", "a?") if runs else ("a?", "b?")
            runs.append("a")
            return {"log": [f"{question} {lib.interrupt(question)}" for question in order]}

        graph = line(lib, Log, a).compile(checkpointer=saver)
        got = await graph.ainvoke({"log": []}, thread())
        while questions(got):
            (question,) = questions(got)
            shown.append(question)
            got = await graph.ainvoke(lib.Command(resume=f"to {question}"), thread())
        return shown, got

    async with theirs.saver() as saver:
        shown, got = await program(theirs, saver)
        assert shown == ["a?", "a?"]
        assert got == {"log": ["b? to a?", "a? to a?"]}

    async with ours.saver() as saver:
        shown, got = await program(ours, saver)
        assert shown == ["a?", "b?", "a?"]
        assert got == {"log": ["b? to b?", "a? to a?"]}


async def test_another_thread_is_not_approved_from_the_node_cache(tmp_path: Path) -> None:
    """Theirs: what was approved on one thread is approved on every other. Ours refuses a cache policy at all."""
    from langgraph.cache.memory import InMemoryCache
    from langgraph.types import CachePolicy

    theirs, ours = both(tmp_path)
    till = Till(theirs)
    async with theirs.saver() as saver:
        graph = till.builder(cache_policy=CachePolicy()).compile(checkpointer=saver, cache=InMemoryCache())
        await graph.ainvoke({"amount": 1}, thread("one"))
        await graph.ainvoke(theirs.Command(resume="approve"), thread("one"))
        assert await graph.ainvoke({"amount": 1}, thread("other")) == {"amount": 1, "said": "approve"}
        assert till.paid == [1, 1]

    with pytest.raises(Unsupported):
        Till(ours).builder(cache_policy=CachePolicy())
    pytest.skip(reason="not applicable: graph_runtime has no node cache")


async def test_a_loop_of_questions_is_bounded_over_the_whole_run(tmp_path: Path) -> None:
    """Theirs: the limit of 3 is per call, so 20 steps pass it. Ours: it is the run's, through every pause."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> Any:
        async def a(state: Any) -> Any:
            return {"log": [lib.interrupt(f"round {len(state['log'])}?")]}

        builder = lib.StateGraph(Log)
        builder.add_node("a", a)
        builder.add_edge(lib.START, "a")
        builder.add_edge("a", "a")
        graph = builder.compile(checkpointer=saver)
        config = thread(recursion_limit=3)
        got = await outcome(graph.ainvoke({"log": []}, config))
        for _ in range(20):
            if isinstance(got, Exception):
                return got
            got = await outcome(graph.ainvoke(lib.Command(resume="again"), config))
        return got

    async with theirs.saver() as saver:
        got = await program(theirs, saver)
        assert got["log"] == ["again"] * 20
        assert questions(got) == ["round 20?"]

    async with ours.saver() as saver:
        assert isinstance(await program(ours, saver), GraphRecursionError)


@pytest.mark.parametrize("way", ["a node's goto", "a node's Send", "a router's Send", "an input's goto"])
async def test_a_way_to_an_unknown_node_is_not_success(
    tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Theirs: a log warning, and the run "succeeds". Ours: InvalidUpdateError, and the step is not stored."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Any, Any]:
        async def a(state: Any) -> Any:
            if way == "a node's goto":
                return lib.Command(update={"log": ["a"]}, goto="publish")
            if way == "a node's Send":
                return lib.Command(update={"log": ["a"]}, goto=lib.Send("publish", {}))
            return {"log": ["a"]}

        builder = lib.StateGraph(Log)
        builder.add_node("a", a)
        builder.add_edge(lib.START, "a")
        if way == "a router's Send":
            builder.add_conditional_edges("a", lambda state: [lib.Send("publish", {})])
        graph = builder.compile(checkpointer=saver)
        given: Any = {"log": []}
        if way == "an input's goto":
            await graph.ainvoke(given, thread())
            given = lib.Command(goto="publish")
        got = await outcome(graph.ainvoke(given, thread()))
        return got, (await graph.aget_state(thread())).values

    with caplog.at_level(logging.WARNING):
        async with theirs.saver() as saver:
            got, _ = await program(theirs, saver)
            assert got == {"log": ["a"]}
    assert "publish" in caplog.text

    async with ours.saver() as saver:
        got, kept = await program(ours, saver)
        assert isinstance(got, InvalidUpdateError)
        assert kept == {"log": ["a"] if way == "an input's goto" else []}


async def test_an_answer_to_one_of_two_questions_does_not_run_the_other_one_s_node(tmp_path: Path) -> None:
    """Theirs: the other asking sibling's code runs again up to its question. Ours: only the answered one runs."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[list[str], Any]:
        ran: list[str] = []
        graph = fan(lib, Log, asks(lib, ran, "a", "a?"), asks(lib, ran, "b", "b?")).compile(
            checkpointer=saver
        )
        asked = ids(await graph.ainvoke({"log": []}, thread()))
        ran.clear()
        return ran, await outcome(graph.ainvoke(lib.Command(resume={asked["a?"]: "yes"}), thread()))

    async with theirs.saver() as saver:
        ran, got = await program(theirs, saver)
        assert sorted(ran) == ["a", "b"]
        assert questions(got) == ["b?"]

    async with ours.saver() as saver:
        ran, got = await program(ours, saver)
        assert ran == ["a"]
        assert questions(got) == ["b?"]
