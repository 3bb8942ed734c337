"""Answers that come twice, at once, too early, after a crash or after an edit, and who gave them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from misuse import Lib, Log, Till, asks, both, ids, line, outcome, questions, thread

from graph_runtime import (
    AlreadyAnswered,
    InterruptClosed,
    NotPaused,
    ResumeRefused,
    RunFinished,
    UnknownInterrupt,
)

CHILD = Path(__file__).parent / "misuse_child.py"


def two_questions(lib: Lib, saver: Any, ran: list[str], **compiled: Any) -> Any:
    """Return a graph of one node that asks first a small thing, then a large one."""
    node = asks(lib, ran, "a", "rename?", "wipe?")
    return line(lib, Log, node).compile(checkpointer=saver, **compiled)


async def test_an_answer_by_id_that_is_delivered_twice_does_not_answer_the_next_question(
    tmp_path: Path,
) -> None:
    """Theirs: the second copy answers question 2, through the first id. Ours: AlreadyAnswered."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[list[str], Any]:
        ran: list[str] = []
        graph = two_questions(lib, saver, ran)
        asked = ids(await graph.ainvoke({"log": []}, thread()))
        answer = lib.Command(resume={asked["rename?"]: "yes"})
        await graph.ainvoke(answer, thread())
        return ran, await outcome(graph.ainvoke(answer, thread()))

    async with theirs.saver() as saver:
        ran, second = await program(theirs, saver)
        assert second == {"log": ["rename? yes", "wipe? yes"]}

    async with ours.saver() as saver:
        ran, second = await program(ours, saver)
        assert isinstance(second, AlreadyAnswered)
        assert ran == ["a", "a"]


async def test_a_bare_answer_that_is_delivered_twice_never_runs_on_a_strict_graph(tmp_path: Path) -> None:
    """Theirs: the second copy answers question 2. Ours: strict=True refuses an answer that names no question."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any, **compiled: Any) -> tuple[list[str], Any, Any]:
        ran: list[str] = []
        graph = two_questions(lib, saver, ran, **compiled)
        await graph.ainvoke({"log": []}, thread())
        first = await outcome(graph.ainvoke(lib.Command(resume="yes"), thread()))
        return ran, first, await outcome(graph.ainvoke(lib.Command(resume="yes"), thread()))

    async with theirs.saver() as saver:
        _, _, second = await program(theirs, saver)
        assert second == {"log": ["rename? yes", "wipe? yes"]}

    async with ours.saver() as saver:
        ran, first, second = await program(ours, saver, strict=True)
        assert isinstance(first, UnknownInterrupt)
        assert isinstance(second, UnknownInterrupt)
        assert ran == ["a"]


async def test_going_on_without_an_answer_does_not_give_the_first_answer_to_the_second_question(
    tmp_path: Path,
) -> None:
    """Theirs: ainvoke(None) after answer 1 of 2 delivers it to question 2. Ours: question 2 is asked again."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> Any:
        graph = two_questions(lib, saver, [])
        await graph.ainvoke({"log": []}, thread())
        await graph.ainvoke(lib.Command(resume="yes"), thread())
        return await outcome(graph.ainvoke(None, thread()))

    async with theirs.saver() as saver:
        assert await program(theirs, saver) == {"log": ["rename? yes", "wipe? yes"]}

    async with ours.saver() as saver:
        assert questions(await program(ours, saver)) == ["wipe?"]


async def test_of_two_resumes_at_once_in_one_process_one_is_taken(tmp_path: Path) -> None:
    """Theirs: both run, approve pays, reject is told it rejected, the history forks. Ours: the second is refused."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any, Any, list[Any]]:
        till = Till(lib)
        arrived: asyncio.Queue[str] = asyncio.Queue()
        go = asyncio.Event()

        async def gate(state: Any) -> Any:
            arrived.put_nowait("arrived")
            await go.wait()
            return await till.gate(state)

        graph = till.graph(saver, gate)
        go.set()
        await graph.ainvoke({"amount": 1}, thread())
        await arrived.get()
        go.clear()
        async with asyncio.TaskGroup() as group:
            one = group.create_task(outcome(graph.ainvoke(lib.Command(resume="approve"), thread())))
            await arrived.get()
            other = group.create_task(outcome(graph.ainvoke(lib.Command(resume="reject"), thread())))
            there = group.create_task(arrived.get())
            await asyncio.wait({other, there}, return_when=asyncio.FIRST_COMPLETED)
            there.cancel()
            go.set()
        parents = [
            at.parent_config["configurable"]["checkpoint_id"]
            async for at in graph.aget_state_history(thread())
            if at.parent_config is not None
        ]
        return till, one.result(), other.result(), parents

    async with theirs.saver() as saver:
        till, one, other, parents = await program(theirs, saver)
        assert (one["said"], other["said"]) == ("approve", "reject")
        assert till.paid == [1]
        assert till.ran.count("gate") == 3
        assert len(set(parents)) < len(parents), "two checkpoints have one parent"

    async with ours.saver() as saver:
        till, one, other, parents = await program(ours, saver)
        assert one == {"amount": 1, "said": "approve"}
        assert isinstance(other, ResumeRefused)
        assert till.ran == ["gate", "gate", "pay"]
        assert len(set(parents)) == len(parents)


@pytest.mark.processes
async def test_of_two_resumes_at_once_in_two_processes_on_one_file_one_is_taken(tmp_path: Path) -> None:
    """Theirs: both processes pass the gate, and both pay. Ours: the second process is refused."""
    theirs, ours = both(tmp_path)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    environment["PYTHONPATH"] = os.pathsep.join([str(CHILD.parent), *(path for path in sys.path if path)])

    async def resume(side: str, folder: Path) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            sys.executable, str(CHILD), side, str(folder), "approve", env=environment, stdin=pipe, stdout=pipe
        )

    async def program(lib: Lib, side: str, folder: Path) -> tuple[list[str], list[Any]]:
        async with lib.saver() as saver:
            await Till(lib).graph(saver).ainvoke({"amount": 1}, thread())
        children, first = [], []
        for _ in range(2):
            child = await resume(side, folder)
            assert child.stdout is not None
            children.append(child)
            first.append((await child.stdout.readline()).decode().strip())
        ends = []
        for child, line_ in zip(children, first, strict=True):
            out, _ = await child.communicate(b"go on\n" if line_ == "gate" else None)
            ends.append(json.loads(out or line_))
        return first, ends

    first, ends = await program(theirs, "langgraph", tmp_path / "theirs")
    assert first == ["gate", "gate"]
    assert ends == [{"paid": [1], "error": None}] * 2

    first, ends = await program(ours, "graph_runtime", tmp_path / "ours")
    assert first[0] == "gate"
    assert ends[0] == {"paid": [1], "error": None}
    assert ends[1]["paid"] == []
    assert ends[1]["error"] in {"NotPaused", "AlreadyAnswered"}


async def test_a_click_that_comes_before_the_pause_is_stored_is_refused(tmp_path: Path) -> None:
    """Theirs: it pays, while the first caller is told "paused". Ours: NotPaused; a later click can be taken."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any, Any]:
        till = Till(lib)
        shown, go = asyncio.Event(), asyncio.Event()

        async def gate(state: Any) -> Any:
            if not shown.is_set():
                # The node has told somebody of its question, and is on its way to asking it.
                shown.set()
                await go.wait()
            return await till.gate(state)

        graph = till.graph(saver, gate)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(graph.ainvoke({"amount": 1}, thread(), durability="sync"))
            await shown.wait()
            click = await outcome(graph.ainvoke(lib.Command(resume="approve"), thread()))
            go.set()
        return till, first.result(), click

    async with theirs.saver() as saver:
        till, first, click = await program(theirs, saver)
        assert questions(first) == ["pay 1?"]
        assert click == {"amount": 1, "said": "approve"}
        assert till.ran == ["gate", "pay", "gate"]

    async with ours.saver() as saver:
        till, first, click = await program(ours, saver)
        assert questions(first) == ["pay 1?"]
        assert isinstance(click, NotPaused)
        assert till.ran == ["gate"]


async def test_a_reject_after_a_crash_is_not_dropped_for_the_approve_before_it(tmp_path: Path) -> None:
    """Theirs: the reject is dropped and the approve pays. Ours: RunFinished; going on asks anew, and reject holds."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any, Any]:
        till = Till(lib)
        crashes = [True]

        async def gate(state: Any) -> Any:
            returned = await till.gate(state)
            if crashes:
                crashes.pop()
                raise ValueError("the node broke after its answer")
            return returned

        graph = till.graph(saver, gate)
        await graph.ainvoke({"amount": 1}, thread())
        crash = await outcome(graph.ainvoke(lib.Command(resume="approve"), thread()))
        assert isinstance(crash, ValueError)
        return till, graph, await outcome(graph.ainvoke(lib.Command(resume="reject"), thread()))

    async with theirs.saver() as saver:
        till, _, got = await program(theirs, saver)
        assert got == {"amount": 1, "said": "approve"}
        assert till.paid == [1]

    async with ours.saver() as saver:
        till, graph, got = await program(ours, saver)
        assert isinstance(got, RunFinished)
        assert till.ran == ["gate", "gate"]
        assert questions(await graph.ainvoke(None, thread())) == ["pay 1?"]
        end = await graph.ainvoke(ours.Command(resume="reject"), thread())
        assert end == {"amount": 1, "said": "reject"}
        assert till.paid == []


@pytest.mark.parametrize("how", ["by its id", "bare"])
async def test_an_answer_to_what_was_asked_before_an_edit_does_not_approve_the_edited_state(
    tmp_path: Path, how: str
) -> None:
    """Theirs: the question is invisible, its id dead, yet a bare answer pays 999. Ours: it is asked anew."""
    theirs, ours = both(tmp_path)

    async def program(lib: Lib, saver: Any) -> tuple[Till, Any, Any, Any]:
        till = Till(lib)
        graph = till.graph(saver)
        asked = ids(await graph.ainvoke({"amount": 1}, thread()))
        await graph.aupdate_state(thread(), {"amount": 999})
        state = await graph.aget_state(thread())
        resume = "approve" if how == "bare" else {asked["pay 1?"]: "approve"}
        return till, graph, state, await outcome(graph.ainvoke(lib.Command(resume=resume), thread()))

    async with theirs.saver() as saver:
        till, _, state, got = await program(theirs, saver)
        assert state.next == ("gate",)
        assert state.interrupts == ()
        if how == "bare":
            assert got == {"amount": 999, "said": "approve"}
            assert till.paid == [999]
        else:
            assert questions(got) == ["pay 999?"]

    async with ours.saver() as saver:
        till, graph, state, got = await program(ours, saver)
        assert isinstance(got, NotPaused if how == "bare" else InterruptClosed)
        assert till.ran == ["gate"]
        assert questions(await graph.ainvoke(None, thread())) == ["pay 999?"]
        assert till.paid == []


async def test_an_edit_in_the_name_of_the_gate_leaves_a_trace_of_who_made_it(tmp_path: Path) -> None:
    """Theirs: approval is bypassed with no trace of an actor. Ours: the journal says who, and what was open."""
    theirs, ours = both(tmp_path)
    till = Till(theirs)
    async with theirs.saver() as saver:
        graph = till.graph(saver)
        await graph.ainvoke({"amount": 1}, thread())
        await graph.aupdate_state(thread(), {"said": "approve"}, as_node="gate")
        (edit,) = [at async for at in graph.aget_state_history(thread(), filter={"source": "update"})]
        await graph.ainvoke(None, thread())
        assert till.paid == [1]
        assert till.ran == ["gate", "pay"]
        assert set(edit.metadata) <= {"source", "step", "parents"}

    till = Till(ours)
    async with ours.saver() as saver:
        graph = till.graph(saver)
        asked = ids(await graph.ainvoke({"amount": 1}, thread()))["pay 1?"]
        await graph.aupdate_state(thread(), {"said": "approve"}, as_node="gate")
        runtime = saver.runtime_of(graph)
        run = await runtime.last_run("t")
        assert run is not None
        assert "run.edited" in [event.kind for event in await runtime.events(run_id=run.id)]
        assert [(q.interrupt.id, q.status) for q in (await runtime.look(run.id)).questions] == [
            (asked, "superseded")
        ]

        await graph.ainvoke({"amount": 1}, thread("named"))
        await runtime.edit("named", {"said": "approve"}, as_node="gate", actor="U1")
        lines = [event for event in await runtime.events() if event.kind == "run.edited"]
        assert lines[-1].actor == "U1"


async def test_who_answered_can_be_read_afterwards(tmp_path: Path) -> None:
    """Theirs: only the raw rows hold what was said, the history nothing. Ours: the journal has actor and question."""
    theirs, ours = both(tmp_path)
    said = {"verdict": "approve", "by": "U1"}

    def keeping_the_verdict(till: Till) -> Any:
        async def gate(state: Any) -> Any:
            returned = await till.gate(state)
            return {"said": returned["said"]["verdict"]}

        return gate

    till = Till(theirs)
    async with theirs.saver() as saver:
        graph = till.graph(saver, keeping_the_verdict(till))
        await graph.ainvoke({"amount": 1}, thread())
        await graph.ainvoke(theirs.Command(resume=said), thread())
        assert till.paid == [1]
        history = [at async for at in graph.aget_state_history(thread())]
        assert "U1" not in repr(history)
        async with saver.conn.execute(
            "SELECT channel FROM writes WHERE instr(value, CAST('U1' AS BLOB))"
        ) as rows:
            assert {row[0] for row in await rows.fetchall()} == {"__resume__"}

    till = Till(ours)
    async with ours.saver() as saver:
        graph = till.graph(saver, keeping_the_verdict(till))
        asked = ids(await graph.ainvoke({"amount": 1}, thread()))["pay 1?"]
        runtime = saver.runtime_of(graph)
        run = await runtime.last_run("t")
        assert run is not None
        await runtime.resume("t", run.id, asked, said, actor="U1")
        await graph.ainvoke(None, thread())
        assert till.paid == [1]
        (line_,) = [event for event in await runtime.events(run_id=run.id) if event.kind == "run.answered"]
        assert (line_.actor, line_.data["interrupt"]) == ("U1", asked)
        assert [q.answer for q in (await runtime.look(run.id)).questions] == [said]
