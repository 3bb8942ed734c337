"""A worker and courier as a process of its own, on a database that others share.

Usage: worker_child.py DATABASE NOTES NAME LEASE_SECONDS. Each execution of a node is one line in the file NOTES.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

import structlog
from graphs import Log, one_after_another
from people import approvals_of, requests

from graph_runtime import (
    SECOND,
    Action,
    CompiledGraph,
    Conflict,
    Outbox,
    Place,
    Runtime,
    Worker,
    approve,
    keep_doing,
    open_queue,
    open_store,
)


def program(notes: Path, name: str = "web", seconds: float = 0.05) -> CompiledGraph:
    """Return a graph that asks once and then does something that takes a while."""

    def note(node: str, state: Log) -> None:
        with notes.open("a", encoding="utf-8") as file:
            file.write(f"{name} {node} {state['subject']}\n")

    async def prepare(state: Log) -> Log:
        note("prepare", state)
        return {"log": ["prepared"]}

    async def ask(state: Log) -> Log:
        return {"log": [approve(state["subject"], action=Action("go")).outcome]}

    async def carry_out(state: Log) -> Log:
        note("carry_out", state)
        await asyncio.sleep(seconds)
        return {"log": ["done"]}

    return one_after_another("scale", prepare=prepare, ask=ask, carry_out=carry_out)


async def work(database: str, notes: Path, name: str, lease: int, seconds: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with open_store(database) as store, open_queue(database, store) as queue:
        runtime = Runtime(
            store, [program(notes, name, seconds)], companions=[requests()], lease=lease * SECOND
        )
        outbox = Outbox(runtime, lease=lease * SECOND)

        async def tell() -> bool:
            entry = await outbox.claim()
            if entry is not None:
                try:
                    await outbox.landed(entry, Place("slack", "A1", "T1", "C1", entry.id))
                except Conflict:
                    return True  # another courier has it
            return entry is not None

        bells = (runtime.runs_bell, runtime.outbox_bell)
        async with asyncio.TaskGroup() as house:
            house.create_task(Worker(runtime, approvals_of(runtime), grace=2).work(stop))
            house.create_task(queue.listen(bells, stop))
            house.create_task(keep_doing(tell, bell=runtime.outbox_bell, stop=stop))
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await stop.wait()
            for bell in bells:
                bell.ring()


def main() -> None:
    # Nobody reads what it logs.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    given = sys.argv
    asyncio.run(work(given[1], Path(given[2]), given[3], int(given[4]), float(given[5])))


if __name__ == "__main__":
    main()
