"""The least that SQLite can do: hand-written commits on one writer's thread, no graph, no checks, no journal.

The number is the commits of one approval cycle: 3 is what any honest cycle needs (paused, claimed, finished),
6 is one for each step, 2 needs a node that writes into the same transaction. ``t``: each commit alone; ``g``:
those that wait together share one; ``d``: alone, and a value that did not change is not written again.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from benchmarks.peers.driver import serve
from benchmarks.peers.workloads import CHAIN, FAN

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS checkpoints (thread TEXT, step INTEGER, state TEXT)",
    "CREATE UNIQUE INDEX IF NOT EXISTS steps ON checkpoints (thread, step)",
    "CREATE TABLE IF NOT EXISTS runs (thread TEXT PRIMARY KEY, status TEXT)",
    "CREATE INDEX IF NOT EXISTS paused ON runs (thread) WHERE status = 'paused'",
)
Statement = tuple[str, tuple[Any, ...]]
_PUT = "INSERT INTO checkpoints (thread, step, state) VALUES (?, ?, ?)"
PAUSE = "INSERT INTO runs (thread, status) VALUES (?, 'paused')"
_CLAIM = "UPDATE runs SET status = 'claimed' WHERE thread = ? AND status = 'paused'"
_READ = "SELECT state FROM checkpoints WHERE thread = ? ORDER BY step"
_PENDING = "SELECT thread FROM runs WHERE status = 'paused' LIMIT ?"
_END = "UPDATE runs SET status = 'finished' WHERE thread = ?"


class Writer:
    """Runs transactions on a thread of its own; ``grouped``: all that wait share one commit."""

    def __init__(self, path: Path, *, grouped: bool) -> None:
        self._path = path
        self._grouped = grouped
        self._queue: SimpleQueue[tuple[Sequence[Statement], asyncio.Future[None]] | None] = SimpleQueue()
        self._made = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._loop = asyncio.get_running_loop()

    async def open(self) -> None:
        self._thread.start()
        await asyncio.to_thread(self._made.wait)

    async def commit(self, statements: Sequence[Statement]) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((statements, done))
        await done

    async def close(self) -> None:
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        for statement in _SCHEMA:
            db.execute(statement)
        self._made.set()
        open_ = True
        while open_:
            waiting = [self._queue.get()]
            while self._grouped and not self._queue.empty():
                waiting.append(self._queue.get())
            open_ = None not in waiting
            group = [one for one in waiting if one is not None]
            error: Exception | None = None
            try:
                self._write(db, [statements for statements, _ in group])
            except Exception as raised:  # noqa: BLE001 - those who wait are told
                error = raised
            self._loop.call_soon_threadsafe(_tell, [done for _, done in group], error)
        db.close()

    @staticmethod
    def _write(db: sqlite3.Connection, transactions: Sequence[Sequence[Statement]]) -> None:
        db.execute("BEGIN IMMEDIATE")
        for statements in transactions:
            for sql, params in statements:
                assert db.execute(sql, params).rowcount == 1
        db.execute("COMMIT")


def _tell(done: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for one in done:
        if error is None:
            one.set_result(None)
        else:
            one.set_exception(error)


@asynccontextmanager
async def open_writer(path: Path, *, grouped: bool) -> AsyncIterator[Writer]:
    writer = Writer(path, grouped=grouped)
    await writer.open()
    try:
        yield writer
    finally:
        await writer.close()


class Floor:
    def __init__(self, writer: Writer, reader: sqlite3.Connection, commits: int, *, deltas: bool) -> None:
        self._writer = writer
        self._reader = reader
        self._commits = commits
        self._deltas = deltas

    async def start(self, thread: str, text: str, graph: str) -> str:
        if graph != "cycle":
            raise NotImplementedError("there are no reducers")
        given, prepared = {"text": text}, {"title": "prepared"}
        await self._in(
            [self._put(thread, 0, given, given)],
            [self._put(thread, 1, given | prepared, prepared)],
            [(PAUSE, (thread,))],
            apart=self._commits == 6,
        )
        return thread

    async def finish(self, question: str) -> None:
        thread, state = question, self._state(question)
        claim, ended = (_CLAIM, (thread,)), (_END, (thread,))
        reviewed, published = {"answer": "yes"}, {"done": True}
        review = self._put(thread, 2, state | reviewed, reviewed)
        publish = self._put(thread, 3, state | reviewed | published, published)
        if self._commits == 3:
            await self._in([claim], [review, publish, ended], apart=True)
        else:
            await self._in([claim], [review], [publish, ended], apart=self._commits == 6)

    async def chain(self, thread: str) -> None:
        state = {"text": "x" * 2_000, "count": 0}
        for number in range(CHAIN):
            state["count"] = number + 1
            await self._writer.commit([self._put(thread, number, state, {"count": number + 1})])

    async def fan(self, thread: str) -> None:
        await self._writer.commit([self._put(thread, 0, {"found": []}, {})])
        async with asyncio.TaskGroup() as group:
            for number in range(FAN):
                found = {"found": [number]}
                group.create_task(self._writer.commit([self._put(thread, 1 + number, found, found)]))
        await self._writer.commit([self._put(thread, 1 + FAN, {"found": list(range(FAN))}, {})])

    async def pending(self, limit: int) -> Sequence[str]:
        return [thread for (thread,) in self._reader.execute(_PENDING, (limit,)).fetchall()]

    def _state(self, thread: str) -> dict[str, Any]:
        """Read a thread on the loop's own thread: that takes microseconds, a hop would take a hundred."""
        rows = [json.loads(state) for (state,) in self._reader.execute(_READ, (thread,)).fetchall()]
        return {key: value for row in rows for key, value in row.items()}

    async def _in(self, *transactions: list[Statement], apart: bool) -> None:
        for one in transactions if apart else [[*chain.from_iterable(transactions)]]:
            await self._writer.commit(one)

    def _put(self, thread: str, step: int, state: Any, changed: Any) -> Statement:
        return _PUT, (thread, step, json.dumps(changed if self._deltas else state))


@asynccontextmanager
async def open_session(variant: str, path: Path) -> AsyncIterator[Floor]:
    async with open_writer(path, grouped=variant.endswith("g")) as writer:
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            yield Floor(writer, reader, int(variant[0]), deltas=variant.endswith("d"))


if __name__ == "__main__":
    serve(open_session)
