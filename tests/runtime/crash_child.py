"""A small program on one database; ``SIGNOFF_FAULT`` says where it dies. Prints JSON when it lives to the end.

Usage: crash_child.py DATABASE NOTES LIFE decide|answer. Each execution of a node is one line in the file NOTES. Whatever was
begun before is continued: the program looks at what is stored and does what is still to be done.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from graphs import Log
from people import CLI, approvals_of, boss, requests, ticket_of, view_of

from graph_runtime import START, Action, Outbox, Place, Refused, Runtime, StateGraph, approve, open_store

#: The time of claims in this program; a later one makes its leases lapse.
KEY = "the one run of this test"


def program(notes: Path) -> Any:
    """Return a graph with a finished sibling, two questions in one step, and what follows them."""

    def note(what: str) -> None:
        with notes.open("a", encoding="utf-8") as file:
            file.write(what + "\n")

    async def plain(state: Log) -> Log:
        note("plain")
        return {"log": ["plain"]}

    def ask(name: str) -> Any:
        async def run(state: Log) -> Log:
            note(name)
            return {"log": [f"{name} {approve(name, action=Action(name)).outcome}"]}

        return run

    async def after(state: Log) -> Log:
        note("after")
        return {"log": ["after"]}

    graph = StateGraph(Log)
    for name, node in {"plain": plain, "ask_a": ask("a"), "ask_b": ask("b")}.items():
        graph.add_node(name, node).add_edge(START, name)
    graph.add_node("after", after).add_edge(["plain", "ask_a", "ask_b"], "after")
    return graph.compile(name="crash")


async def deliver(outbox: Outbox) -> None:
    while (entry := await outbox.claim()) is not None:
        await outbox.landed(entry, Place("slack", "A1", "T1", "C1", entry.id))


async def live(database: str, notes: Path, epoch: int, how: str) -> None:
    async with open_store(database) as store:
        # An hour between two lives of the program: every lease of the one before has lapsed.
        now = 1_767_603_600_000_000 + epoch * 3_600_000_000

        def clock() -> int:
            nonlocal now
            now += 1
            return now

        runtime = Runtime(
            store, [program(notes)], companions=[requests()] if how == "decide" else [], clock=clock
        )
        approvals, outbox = approvals_of(runtime), Outbox(runtime)
        run = await runtime.start("crash", {"subject": "s"}, idempotency_key=KEY)
        for _ in range(20):
            while (claimed := await runtime.claim()) is not None:
                await runtime.drive(claimed)
            await deliver(outbox)
            if how == "answer":
                asked = (await runtime.look(run.id)).open
                if not asked:
                    break
                said = {"decision": "approve"}
                await runtime.resume(run.thread_id, run.id, asked[0].interrupt.id, said)
                continue
            waiting = await approvals.find(run_id=run.id, status="open")
            if not waiting:
                break
            view = await view_of(approvals, waiting[0].id)
            try:
                await approvals.decide(ticket_of(view, store), boss(), "approve", place=CLI)
            except Refused as refused:
                raise SystemExit(f"refused: {refused}") from refused
        now += 60_000_000  # a card that was overtaken is drawn once more a little later
        await deliver(outbox)
        run = await runtime.get(run.id)
        votes = [len((await view_of(approvals, r.id)).votes) for r in await approvals.find()]
        sys.stdout.write(
            json.dumps(
                {
                    "status": run.status,
                    "log": (await runtime.look(run.id)).state.values["log"],
                    "steps": [page.step for page in await runtime.history(run.id)],
                    "votes": votes,
                    "requests": [r.status for r in await approvals.find()],
                    "runs": len(await runtime.runs()),
                    "outbox": dict(await outbox.count()),
                    "questions": [q.status for q in (await runtime.look(run.id)).questions],
                    "events": [event.kind for event in await runtime.events(run_id=run.id)],
                }
            )
        )


def main() -> None:
    asyncio.run(live(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))


if __name__ == "__main__":
    main()
