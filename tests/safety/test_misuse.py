"""Answers and inputs where nothing asks for them: langgraph runs something all the same, graph_runtime refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from misuse import Lib, Log, Till, asks, both, fan, ids, line, outcome, questions, thread

import graph_runtime
from graph_runtime import (
    AlreadyAnswered,
    NotPaused,
    ResumeRefused,
    RunFinished,
    SignoffError,
    ThreadBusy,
    UnknownInterrupt,
    UnknownThread,
    Unsupported,
)


async def test_a_question_without_a_checkpointer_is_not_shown_as_a_pause_that_nobody_can_answer(
    tmp_path: Path,
) -> None:
    """Theirs: the question surfaces as if paused, the answer is a RuntimeError. Ours: the call raises at once."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib) -> tuple[Any, Any]:
        graph = Till(lib).graph(None)
        asked = await outcome(graph.ainvoke({"amount": 1}))
        return asked, await outcome(graph.ainvoke(lib.Command(resume="approve")))

    asked, answered = await program(theirs)
    assert questions(asked) == ["pay 1?"]
    assert isinstance(answered, RuntimeError)

    asked, _ = await program(ours)
    assert isinstance(asked, SignoffError)


async def test_a_second_resume_on_a_finished_thread_is_refused_and_not_kept(tmp_path: Path) -> None:
    """Theirs: the final state is returned as success and the answer stored. Ours: RunFinished."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any]:
        till = Till(lib)
        graph = till.graph(saver)
        await graph.ainvoke({"amount": 1}, thread())
        await graph.ainvoke(lib.Command(resume="approve"), thread())
        return till, await outcome(graph.ainvoke(lib.Command(resume="reject"), thread()))

    async with theirs.saver() as saver:
        till, second = await program(theirs, saver)
        assert second == {"amount": 1, "said": "approve"}
        assert till.ran == ["gate", "gate", "pay"]
        kept = (await saver.aget_tuple(thread())).pending_writes
        assert [write[1:] for write in kept] == [("__resume__", "reject")]

    async with ours.saver() as saver:
        till, second = await program(ours, saver)
        assert isinstance(second, RunFinished)
        assert till.ran == ["gate", "gate", "pay"]
        runtime = saver.runtime_of(till.graph(saver))
        (run,) = await runtime.runs()
        assert [asked.answer for asked in (await runtime.look(run.id)).questions] == ["approve"]


async def test_an_answer_kept_from_a_finished_thread_approves_the_next_input_of_an_entrypoint(
    tmp_path: Path,
) -> None:
    """Theirs: the duplicate click answers the next run, approved by nobody. Ours has no functional API."""
    from langgraph.func import entrypoint

    theirs, _ = both(tmp_path)
    paid: list[int] = []
    async with theirs.saver() as saver:

        async def body(amount: int) -> str:
            said: str = theirs.interrupt(f"pay {amount}?")
            if said == "approve":
                paid.append(amount)
            return said

        buy: Any = entrypoint(checkpointer=saver)(body)
        await buy.ainvoke(1, thread())
        for _ in range(2):
            await buy.ainvoke(theirs.Command(resume="approve"), thread())
        assert await buy.ainvoke(1_000_000, thread()) == "approve"
    assert paid == [1, 1_000_000]

    with pytest.raises(Unsupported):
        _ = graph_runtime.entrypoint
    pytest.skip(reason="not applicable: graph_runtime has no functional API")


async def test_an_answer_to_a_finished_thread_does_not_open_the_gate_of_a_later_visit(tmp_path: Path) -> None:
    """Theirs: after goto the gate, going on consumes the stale answer and pays. Ours never took the answer."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any, Any]:
        till = Till(lib)
        graph = till.graph(saver)
        await graph.ainvoke({"amount": 1}, thread())
        await graph.ainvoke(lib.Command(resume="reject"), thread())
        late = await outcome(graph.ainvoke(lib.Command(resume="approve"), thread()))
        await graph.ainvoke(lib.Command(goto="gate"), thread())
        return till, late, await outcome(graph.ainvoke(None, thread()))

    async with theirs.saver() as saver:
        till, late, end = await program(theirs, saver)
        assert late == {"amount": 1, "said": "reject"}
        assert end == {"amount": 1, "said": "approve"}
        assert till.paid == [1]

    async with ours.saver() as saver:
        till, late, end = await program(ours, saver)
        assert isinstance(late, RunFinished)
        assert questions(end) == ["pay 1?"]
        assert till.paid == []


async def test_a_resume_on_an_unknown_thread_does_not_start_a_run(tmp_path: Path) -> None:
    """Theirs: a new run begins at START with an empty state and pauses. Ours: UnknownThread."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any, Any]:
        till = Till(lib)

        async def gate(state: Any) -> Any:
            return await till.gate({"amount": None, **state})

        graph = till.graph(saver, gate)
        got = await outcome(graph.ainvoke(lib.Command(resume="approve"), thread()))
        return till, got, await graph.aget_state(thread())

    async with theirs.saver() as saver:
        till, got, state = await program(theirs, saver)
        assert till.ran == ["gate"]
        assert questions(got) == ["pay None?"]
        assert state.next == ("gate",)

    async with ours.saver() as saver:
        till, got, state = await program(ours, saver)
        assert isinstance(got, UnknownThread)
        assert till.ran == []
        assert state.config["configurable"].get("checkpoint_id") is None


async def test_a_resume_on_a_deleted_thread_does_not_start_a_run(tmp_path: Path) -> None:
    """Theirs: a new run begins at START with an empty state. Ours: UnknownThread; a paused one is not deleted."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any]:
        till = Till(lib)

        async def gate(state: Any) -> Any:
            return await till.gate({"amount": None, **state})

        graph = till.graph(saver, gate)
        await graph.ainvoke({"amount": 1}, thread())
        await graph.ainvoke(lib.Command(resume="reject"), thread())
        till.ran.clear()
        await saver.adelete_thread("t")
        return till, await outcome(graph.ainvoke(lib.Command(resume="approve"), thread()))

    async with theirs.saver() as saver:
        till, got = await program(theirs, saver)
        assert till.ran == ["gate"]
        assert questions(got) == ["pay None?"]

    async with ours.saver() as saver:
        till, got = await program(ours, saver)
        assert isinstance(got, UnknownThread)
        assert till.ran == []
        await till.graph(saver).ainvoke({"amount": 1}, thread("paused"))
        with pytest.raises(ThreadBusy):
            await saver.adelete_thread("paused")


async def test_a_goto_on_an_unknown_thread_does_not_jump_past_the_gate(tmp_path: Path) -> None:
    """Theirs: START's way and the goto's both run, and money moves. Ours: UnknownThread."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any]:
        till = Till(lib)
        command = lib.Command(goto="pay", update={"amount": 7})
        return till, await outcome(till.graph(saver).ainvoke(command, thread()))

    async with theirs.saver() as saver:
        till, got = await program(theirs, saver)
        assert sorted(till.ran) == ["gate", "pay"]
        assert till.paid == [7]
        assert questions(got) == ["pay 7?"]

    async with ours.saver() as saver:
        till, got = await program(ours, saver)
        assert isinstance(got, UnknownThread)
        assert till.ran == []


async def test_a_resume_on_an_unknown_thread_of_an_entrypoint_is_not_its_input(tmp_path: Path) -> None:
    """Theirs: the body runs with the Command as its input, its question answered. Ours: no functional API."""
    from langgraph.func import entrypoint

    theirs, _ = both(tmp_path)
    seen: list[Any] = []
    async with theirs.saver() as saver:

        async def body(amount: Any) -> Any:
            seen.append(amount)
            return theirs.interrupt("pay?")

        buy: Any = entrypoint(checkpointer=saver)(body)
        assert await buy.ainvoke(theirs.Command(resume="approve"), thread()) == "approve"
    assert [type(given) for given in seen] == [theirs.Command]

    with pytest.raises(Unsupported):
        _ = graph_runtime.entrypoint
    pytest.skip(reason="not applicable: graph_runtime has no functional API")


async def test_a_yes_to_one_is_not_a_yes_to_the_999_that_came_in_while_it_was_asked(tmp_path: Path) -> None:
    """Theirs: new input drops the question and the late yes pays 999. Ours: ThreadBusy, and the yes pays 1."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any]:
        till = Till(lib)
        graph = till.graph(saver)
        await graph.ainvoke({"amount": 1}, thread())
        got = await outcome(graph.ainvoke({"amount": 999}, thread()))
        await graph.ainvoke(lib.Command(resume="approve"), thread())
        return till, got

    async with theirs.saver() as saver:
        till, got = await program(theirs, saver)
        assert questions(got) == ["pay 999?"]
        assert till.paid == [999]

    async with ours.saver() as saver:
        till, got = await program(ours, saver)
        assert isinstance(got, ThreadBusy)
        assert till.paid == [1]


async def test_a_question_that_new_input_discarded_takes_no_answer(tmp_path: Path) -> None:
    """The other half of that row. Theirs: the dead id is ignored. Ours: discarding is said, journaled and final."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any, **more: Any) -> tuple[Till, Any, Any]:
        till = Till(lib)
        graph = till.graph(saver)
        first = await graph.ainvoke({"amount": 1}, thread())
        await graph.ainvoke({"amount": 999}, thread(), **more)
        late = lib.Command(resume={ids(first)["pay 1?"]: "approve"})
        return till, graph, await outcome(graph.ainvoke(late, thread()))

    async with theirs.saver() as saver:
        till, _, late = await program(theirs, saver)
        assert questions(late) == ["pay 999?"]
        assert till.ran == ["gate", "gate", "gate"], "the unknown id ran the node once more"

    async with ours.saver() as saver:
        till, graph, late = await program(ours, saver, on_paused="discard")
        assert isinstance(late, ResumeRefused)
        assert till.ran == ["gate", "gate"]
        lines = await saver.runtime_of(graph).events()
        (line,) = [line for line in lines if line.kind == "run.cancelled"]
        assert line.data["reason"] == "discarded for new input"


@pytest.mark.parametrize("whose", ["unknown", "stale", "another thread's"])
async def test_an_answer_to_an_id_that_is_not_asked_is_refused(tmp_path: Path, whose: str) -> None:
    """Theirs: the id is ignored, the asking node runs again and asks again. Ours: refused, nothing runs."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[list[str], Any]:
        ran: list[str] = []
        graph = line(lib, Log, asks(lib, ran, "a", "a?"), asks(lib, ran, "b", "b?")).compile(
            checkpointer=saver
        )
        given = {"unknown": "0" * 32}
        for name in ("t", "other"):
            first = await graph.ainvoke({"log": []}, thread(name))
            second = await graph.ainvoke(lib.Command(resume="yes"), thread(name))
            if name == "t":
                given["stale"] = ids(first)["a?"]
            else:
                given["another thread's"] = ids(second)["b?"]
        ran.clear()
        return ran, await outcome(graph.ainvoke(lib.Command(resume={given[whose]: "yes"}), thread()))

    async with theirs.saver() as saver:
        ran, got = await program(theirs, saver)
        assert ran == ["b"]
        assert questions(got) == ["b?"]

    async with ours.saver() as saver:
        ran, got = await program(ours, saver)
        assert isinstance(got, AlreadyAnswered if whose == "stale" else UnknownInterrupt)
        assert ran == []


async def test_of_answers_by_id_with_one_bad_id_none_is_taken(tmp_path: Path) -> None:
    """Theirs: the good one is applied and the bad one ignored. Ours: UnknownInterrupt, both questions open."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[list[str], Any, Any]:
        ran: list[str] = []
        graph = fan(lib, Log, asks(lib, ran, "a", "a?"), asks(lib, ran, "b", "b?")).compile(
            checkpointer=saver
        )
        asked = ids(await graph.ainvoke({"log": []}, thread()))
        ran.clear()
        answers = {asked["a?"]: "yes", "0" * 32: "no"}
        got = await outcome(graph.ainvoke(lib.Command(resume=answers), thread()))
        return ran, got, await graph.aget_state(thread())

    async with theirs.saver() as saver:
        _, got, state = await program(theirs, saver)
        assert questions(got) == ["b?"]
        assert state.values == {"log": ["a? yes"]}

    async with ours.saver() as saver:
        ran, got, state = await program(ours, saver)
        assert isinstance(got, UnknownInterrupt)
        assert ran == []
        assert sorted(asked.value for asked in state.interrupts) == ["a?", "b?"]


async def test_a_resume_at_the_checkpoint_of_an_answered_pause_does_not_pay_again(tmp_path: Path) -> None:
    """Theirs: the finished thread pays again. Ours: refused; the pause was answered once."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any]:
        till = Till(lib)
        graph = till.graph(saver)
        await graph.ainvoke({"amount": 1}, thread())
        pause = (await graph.aget_state(thread())).config
        await graph.ainvoke(lib.Command(resume="approve"), thread())
        return till, await outcome(graph.ainvoke(lib.Command(resume="approve"), pause))

    async with theirs.saver() as saver:
        till, _ = await program(theirs, saver)
        assert till.paid == [1, 1]

    async with ours.saver() as saver:
        till, got = await program(ours, saver)
        assert isinstance(got, ResumeRefused)
        assert till.ran == ["gate", "gate", "pay"]


async def test_an_answer_at_a_breakpoint_does_not_answer_the_question_behind_it(tmp_path: Path) -> None:
    """Theirs: the value answers an interrupt() that no person was shown. Ours: NotPaused, and it is asked."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any, Any]:
        till = Till(lib)
        graph = till.graph(saver, interrupt_before=["gate"])
        await graph.ainvoke({"amount": 1}, thread())
        got = await outcome(graph.ainvoke(lib.Command(resume="approve"), thread()))
        ran = list(till.ran)
        return till, got, (ran, await graph.ainvoke(None, thread()))

    async with theirs.saver() as saver:
        till, got, _ = await program(theirs, saver)
        assert got == {"amount": 1, "said": "approve"}
        assert till.paid == [1]

    async with ours.saver() as saver:
        till, got, (ran, after) = await program(ours, saver)
        assert isinstance(got, NotPaused)
        assert ran == []
        assert questions(after) == ["pay 1?"]
        assert till.paid == []


@pytest.mark.parametrize("answer", [{}, None], ids=["an empty dict", "None"])
async def test_an_empty_answer_is_an_answer(tmp_path: Path, answer: Any) -> None:
    """Theirs: {} is lost and asked again, None ends in an UnboundLocalError. Ours: delivered as it is."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any]:
        till = Till(lib)
        graph = till.graph(saver)
        await graph.ainvoke({"amount": 1}, thread())
        return till, await outcome(graph.ainvoke(lib.Command(resume=answer), thread()))

    async with theirs.saver() as saver:
        till, got = await program(theirs, saver)
        if answer is None:
            assert isinstance(got, UnboundLocalError)
        else:
            assert till.ran == ["gate", "gate"]
            assert questions(got) == ["pay 1?"]

    async with ours.saver() as saver:
        till, got = await program(ours, saver)
        assert got == {"amount": 1, "said": answer}
        assert till.ran == ["gate", "gate"]


async def test_data_that_looks_like_answers_by_id_is_not_lost_in_silence(tmp_path: Path) -> None:
    """Theirs: a dict with a 32-hex key, meant as data, is lost and asked again. Ours: UnknownInterrupt."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any]:
        till = Till(lib)
        graph = till.graph(saver)
        await graph.ainvoke({"amount": 1}, thread())
        digest = "d41d8cd98f00b204e9800998ecf8427e"
        return till, await outcome(graph.ainvoke(lib.Command(resume={digest: "checked"}), thread()))

    async with theirs.saver() as saver:
        till, got = await program(theirs, saver)
        assert questions(got) == ["pay 1?"]
        assert till.ran == ["gate", "gate"]

    async with ours.saver() as saver:
        till, got = await program(ours, saver)
        assert isinstance(got, UnknownInterrupt)
        assert till.ran == ["gate"]


async def test_new_input_under_the_run_id_of_the_metadata_is_not_dropped(tmp_path: Path) -> None:
    """Theirs: taken for a reconnect, the input of 2 is dropped and nothing runs. Ours: a run of its own."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any]:
        till = Till(lib)
        graph = till.graph(saver)
        config = thread(metadata={"run_id": "r1"})
        await graph.ainvoke({"amount": 1}, config)
        await graph.ainvoke(lib.Command(resume="reject"), config)
        return till, await outcome(graph.ainvoke({"amount": 2}, config))

    async with theirs.saver() as saver:
        till, got = await program(theirs, saver)
        assert got == {"amount": 1, "said": "reject"}
        assert till.ran == ["gate", "gate"]

    async with ours.saver() as saver:
        till, got = await program(ours, saver)
        assert questions(got) == ["pay 2?"]
        assert till.ran == ["gate", "gate", "gate"]


@pytest.mark.parametrize("name", [None, ""], ids=["None", "empty"])
async def test_a_thread_must_have_a_name(tmp_path: Path, name: Any) -> None:
    """Theirs: accepted, as the threads "None" and "". Ours: UnknownThread before anything runs."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any]:
        till = Till(lib)
        return till, await outcome(till.graph(saver).ainvoke({"amount": 1}, thread(name)))

    async with theirs.saver() as saver:
        till, got = await program(theirs, saver)
        assert questions(got) == ["pay 1?"]
        async with saver.conn.execute("SELECT DISTINCT thread_id FROM checkpoints") as rows:
            assert [row[0] for row in await rows.fetchall()] == [str(name) if name is None else ""]

    async with ours.saver() as saver:
        till, got = await program(ours, saver)
        assert isinstance(got, UnknownThread)
        assert till.ran == []
