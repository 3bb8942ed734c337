"""DBOS Transact on SQLite: as shipped (1 s poll, rollback journal), or with a 2 ms poll on a database in WAL.

A pause is a workflow that waits in ``recv``; whoever answers sends it a message.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig, SetWorkflowID

from benchmarks.peers.driver import serve
from benchmarks.peers.workloads import CHAIN, FAN

_FOREVER = 1_000_000.0
#: The moment before a workflow waits; by then its input and its first step are on disk.
_waits: dict[str, asyncio.Future[None]] = {}


@DBOS.step()
async def prepare(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "title": "prepared"}


@DBOS.step()
async def publish(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "done": True}


@DBOS.step()
async def count(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "count": state["count"] + 1}


@DBOS.step()
async def work(number: int) -> int:
    return number


@DBOS.workflow()
async def cycle(state: dict[str, Any]) -> dict[str, Any]:
    prepared = await prepare(state)
    waits = _waits.pop(str(DBOS.workflow_id), None)
    if waits is not None:
        waits.set_result(None)
    answer = await DBOS.recv_async("answer", timeout_seconds=_FOREVER)
    return await publish(prepared) if answer == "yes" else prepared


@DBOS.workflow()
async def chain(state: dict[str, Any]) -> dict[str, Any]:
    for _ in range(CHAIN):
        state = await count(state)
    return state


@DBOS.workflow()
async def fan() -> list[int]:
    return list(await asyncio.gather(*(work(number) for number in range(FAN))))


class Dbos:
    def __init__(self, poll: float) -> None:
        self._poll = poll

    async def start(self, thread: str, text: str, graph: str) -> Any:
        if graph != "cycle":
            raise NotImplementedError("there are no reducers")
        waits = _waits[thread] = asyncio.get_running_loop().create_future()
        with SetWorkflowID(thread):
            handle = await DBOS.start_workflow_async(cycle, {"text": text})
        await waits
        return handle

    async def finish(self, question: Any) -> None:
        await DBOS.send_async(question.workflow_id, "yes", "answer")
        done = await question.get_result(polling_interval_sec=self._poll)
        assert done["done"]

    async def chain(self, thread: str) -> None:
        handle = await DBOS.start_workflow_async(chain, {"text": "x" * 2_000, "count": 0})
        assert (await handle.get_result())["count"] == CHAIN

    async def fan(self, thread: str) -> None:
        handle = await DBOS.start_workflow_async(fan)
        assert len(await handle.get_result()) == FAN

    async def pending(self, limit: int) -> Sequence[Any]:
        found = await DBOS.list_workflows_async(status="PENDING", limit=limit)
        return [await DBOS.retrieve_workflow_async(one.workflow_id) for one in found]


@asynccontextmanager
async def open_session(variant: str, path: Path) -> AsyncIterator[Dbos]:
    poll = 0.002 if variant == "polwal" else 1.0
    if variant == "polwal":
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA journal_mode=WAL")
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{path}",
        "log_level": "ERROR",
        "notification_listener_polling_interval_sec": poll,
    }
    DBOS(config=config)
    DBOS.launch()
    try:
        yield Dbos(poll)
    finally:
        await asyncio.to_thread(DBOS.destroy)


if __name__ == "__main__":
    serve(open_session, alone=True)
