"""A thread of ten thousand steps, or of hundreds of questions, costs no more than a short one.

Work is counted in instructions of SQLite's machine, which are the same on every computer.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import pytest
from graphs import begin
from people import CARD, CLI, approvals_of, boss, open_view, requests, ticket_of

from graph_runtime import (
    START,
    Action,
    CompiledGraph,
    Outbox,
    Place,
    Run,
    Runtime,
    StateGraph,
    StateUpdate,
    Store,
    approve,
    interrupt,
    open_store,
)
from graph_runtime.saver import AsyncSqliteSaver
from graph_runtime.storage.sql import migrations, queries, statements
from graph_runtime.types import ThreadId

T = TypeVar("T")
SHORT, LONG = 200, 10_000
#: A deeper tree has one page more on the way to each row.
MORE = 1.15


class Counted(TypedDict, total=False):
    n: int
    said: str


async def count(state: Counted) -> Counted:
    return {"n": state["n"] + 1}


async def ask(state: Counted) -> Counted:
    return {"said": interrupt(f"{state['n']} so far; go on?")}


async def ask_people(state: Counted) -> Counted:
    decision = approve("Go on?", action=Action("count", {"to": state["n"]}))
    return {"said": decision.outcome}


def counting(asks: Any = ask) -> CompiledGraph:
    """Return a graph that counts, asks, and counts again."""
    graph = StateGraph(Counted).add_node("count", count).add_node("ask", asks)
    graph.add_edge(START, "count").add_edge("count", "ask").add_edge("ask", "count")
    return graph.compile(name="counting")


class Work:
    """Counts what all connections of a store do, in tens of instructions."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> int:
        self.done += 1
        return 0

    async def of(self, doing: Awaitable[T]) -> tuple[T, int]:
        """Return what is awaited, and how much work that was."""
        before = self.done
        result = await doing
        return result, self.done - before


@asynccontextmanager
async def counted(path: Path) -> AsyncIterator[tuple[Store, Work]]:
    work = Work()
    async with open_store(f"sqlite:///{path}") as store:
        await store._reader.set_progress_handler(work, 10)
        await store._writer.set_progress_handler(work, 10)
        store._here.set_progress_handler(work, 10)
        yield store, work


async def thread_of(runtime: Runtime, steps: int) -> Run:
    """Return a run that asks, on a thread that has had so many steps."""
    updates = [[StateUpdate({"n": n}, "count")] for n in range(steps)]
    await runtime.edits.edit(ThreadId("long"), updates, at=None, graph="counting")
    run = await runtime.last_run("long")
    assert run is not None
    return await runtime.drive(await runtime.take_up(run))


async def use(path: Path, steps: int) -> dict[str, int]:
    """Do everything that is done with a thread, and return how much work each was."""
    did: dict[str, int] = {}
    async with counted(path) as (store, work):
        graph = counting()
        runtime, saver = Runtime(store, [graph]), AsyncSqliteSaver(store)
        run = await thread_of(runtime, steps)
        view, did["look"] = await work.of(runtime.look(run.id))
        assert (view.state.step, view.state.values["n"]) == (steps - 1, steps - 1)
        page, did["history"] = await work.of(runtime.history(run.id, limit=20))
        assert [one.step for one in page] == list(range(steps - 1, steps - 21, -1))
        assert page[0].interrupts == (view.open[0].interrupt,)
        early, did["early history"] = await work.of(runtime.history(run.id, limit=20, before=steps * 9 // 10))
        assert (early[0].step, early[0].next) == (steps * 9 // 10 - 1, ("ask",))
        place = early[0].config
        found, did["one checkpoint"] = await work.of(saver.aget_tuple(place))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"n": early[0].values["n"]}
        for wrong in ({"checkpoint_id": "chk-9"}, {"thread_id": "other"}, {"checkpoint_ns": "inner"}):
            assert await saver.aget_tuple({"configurable": {**place["configurable"], **wrong}}) is None
        (asked,) = view.open
        _, did["answer"] = await work.of(runtime.resume("long", run.id, asked.interrupt.id, "yes"))
        claimed, did["claim"] = await work.of(runtime.claim_this(run.id))
        assert claimed is not None
        run, did["drive"] = await work.of(runtime.drive(claimed))
        assert (run.status, run.step) == ("interrupted", steps + 1)
        _, did["edit"] = await work.of(runtime.edit("long", {"n": 7}, as_node="count"))
        run, did["cancel"] = await work.of(runtime.cancel("long", run.id))
        fork, did["fork"] = await work.of(runtime.fork("long", early[0].checkpoint_id))
        run, did["drive the fork"] = await work.of(runtime.advance(fork.id))
        assert (run.status, run.step) == ("interrupted", early[0].step + 1)
        _, did["cancel the fork"] = await work.of(runtime.cancel("long", run.id))
        _, did["start again"] = await work.of(runtime.start("counting", {"n": 1}, thread_id="long"))
    assert all(did.values())
    return did


async def test_ten_thousand_steps_are_used_like_two_hundred(tmp_path: Path) -> None:
    short = await use(tmp_path / "short.db", SHORT)
    long = await use(tmp_path / "long.db", LONG)
    assert {what: (short[what], done) for what, done in long.items() if done > MORE * short[what]} == {}


async def told(outbox: Outbox) -> None:
    while (entry := await outbox.claim()) is not None:
        place = CARD if entry.kind == "card" else Place("slack", "A1", "T1", "C1", "")
        await outbox.landed(entry, Place("slack", place.app, place.workspace, place.channel, entry.id))


@pytest.mark.parametrize("how", ["answered", "decided"])
async def test_the_hundredth_question_of_a_run_is_answered_like_the_tenth(tmp_path: Path, how: str) -> None:
    people = how == "decided"
    async with counted(tmp_path / "signoff.db") as (store, work):
        graph = counting(ask_people if people else ask)
        runtime = Runtime(store, [graph], companions=[requests()] if people else [], max_steps=1_000)
        approvals, outbox = approvals_of(runtime), Outbox(runtime)
        run = await begin(runtime, {"n": 0}, thread_id="long")

        async def cycle() -> Run:
            if people:
                await told(outbox)
                view = await open_view(approvals, run.id)
                await approvals.decide(ticket_of(view, store), boss(), "approve", place=CLI)
            else:
                (asked,) = (await runtime.views.state(run)).interrupts
                await runtime.resume("long", run.id, asked.id, "yes")
            return await runtime.advance(run.id)

        done = []
        for _ in range(110):
            after, one = await work.of(cycle())
            assert after.status == "interrupted"
            done.append(one)
        # Whoever looks is shown a hundred earlier questions, and no more.
        assert len((await runtime.look(run.id)).questions) == 101
        shown = await runtime.history(run.id, limit=500)
        assert sum(len(one.interrupts) for one in shown) == 111, "but all of them are there"
        early, late = max(done[10:20]), max(done[-10:])
        assert late <= MORE * early, (early, late)


#: What operators ask for now and then, and nothing else waits for.
READS_A_WHOLE_TABLE = {"count_outbox", "count_runs", "find_broken", "find_requests", "revoke_unused_grants"}
READS_A_WHOLE_TABLE |= {"count_words_of_person", "find_troubled", "redraw_cards_of_scope", "take_up_parked"}


def test_no_statement_reads_a_whole_table_but_what_operators_list() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        for _, _, script in migrations():
            for statement in statements(script):
                database.execute(statement)
        scans = set()
        for name, text in queries().items():
            named = dict.fromkeys(re.findall(r":(\w+)", text), 1)
            plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {text}", named)]
            tables = [re.fullmatch(r"SCAN (?!newest|h$)(\w+)", step) for step in plan]
            if any(tables):
                scans.add(name)
    assert scans == READS_A_WHOLE_TABLE
