"""SQLite through aiosqlite: one hop to the writer's thread for all batches that wait, one flush for them all.

A group is BEGIN IMMEDIATE, a SAVEPOINT per batch, COMMIT. Nobody is told anything before the COMMIT returned,
Conflicts included. ``synchronous=FULL`` makes "returned" mean "on disk".
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiosqlite

from graph_runtime.errors import Conflict, SchemaMismatch, StoreError, StoreUnavailable, ValueRefused
from graph_runtime.faults import Faults

from . import Ask, Batch, Row
from .sql import migrations, queries, statements

#: How long a writer of another process is waited for.
BUSY_MS = 5_000
#: How often a waiting writer looks whether its batches are still wanted.
_SLICE_MS = 100
#: json_each and RETURNING.
OLDEST = (3, 38, 0)
#: Before it, two connections that reset the WAL at once could lose a checkpoint (sqlite.org, release 3.51.3).
WAL_RESET_FIXED = (3, 51, 3)
_RUN = "--run"
#: Databases in memory that several connections of one process share, by number.
_MEMORY_FILE = "file:/signoff-memory-"
_numbers = itertools.count(1)
_UNBINDABLE = (
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    OverflowError,
    UnicodeEncodeError,
)
_UNIQUE = frozenset({sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY})

Outcome = Sequence[Sequence[Row]] | BaseException
Work = Callable[["_Connection"], list[Any]]


class _Done:
    """What the hop hands back through ``execute_fetchall``."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def fetchall(self) -> list[Any]:
        return self._rows


class _Connection(sqlite3.Connection):
    """A connection that can be given a whole function to run on its own thread, through a public call."""

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        if sql == _RUN:
            return _Done(parameters(self))
        return super().execute(sql, parameters)

    def rows(self, query: str, params: Mapping[str, Any]) -> tuple[list[Row], int]:
        cursor = super().execute(queries()[query], params)
        if cursor.description is None:
            return [], cursor.rowcount
        names = [column[0] for column in cursor.description]
        found: list[Row] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return found, len(found)


class SqliteStore:
    """The storage contract on one SQLite file, which several processes may share."""

    deployment: str

    def __init__(self, path: str, *, migrate: bool = True) -> None:
        self._path = path
        self._migrate = migrate
        self._faults = Faults()
        self._waiting: list[tuple[Batch, asyncio.Future[Sequence[Sequence[Row]]]]] = []
        self._bell = asyncio.Event()
        self._closing = False
        self._writer: aiosqlite.Connection
        self._reader: aiosqlite.Connection
        self._flusher: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        """Open the file (made with mode 0600 when missing), migrate it, and start the writer."""
        if sqlite3.sqlite_version_info < OLDEST:
            raise StoreError(f"no database was opened: SQLite {sqlite3.sqlite_version} is older than 3.38")
        self._bell, self._closing = asyncio.Event(), False
        if not _in_memory(self._path):
            await asyncio.to_thread(self._make_private)
        self._writer = await self._connect(query_only=False)
        try:
            await self._hop(self._writer, self._prepare)
            await self._writer.execute_fetchall(f"PRAGMA busy_timeout={_SLICE_MS}")
            self._reader = self._writer
            if not _in_memory(self._path):
                self._reader = await self._connect(query_only=True)
        except sqlite3.Error as error:
            await self._writer.close()
            raise StoreUnavailable(f"no database was opened at {self._path!r}: {error}") from error
        except BaseException:
            await self._writer.close()
            raise
        self._flusher = asyncio.create_task(self._flush(), name="sqlite writer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what still waits, then close."""
        self._closing = True
        self._bell.set()
        await self._flusher
        if self._reader is not self._writer:
            await self._reader.close()
        await self._writer.close()

    async def commit(self, batch: Batch) -> Sequence[Sequence[Row]]:
        """See :meth:`Store.commit`."""
        if self._closing:
            raise StoreUnavailable(f"batch {batch.name!r} was not written: the store is closed")
        done: asyncio.Future[Sequence[Sequence[Row]]] = asyncio.get_running_loop().create_future()
        self._faults.point("before", batch.name)
        self._waiting.append((batch, done))
        self._bell.set()
        result = await asyncio.shield(done)
        self._faults.point("after", batch.name)
        return result

    async def read(self, *asks: Ask) -> Sequence[Sequence[Row]]:
        """See :meth:`Store.read`."""
        if self._closing:
            raise StoreUnavailable("nothing was read: the store is closed")

        def snapshot(connection: _Connection) -> list[list[Row]]:
            connection.execute("BEGIN")
            try:
                return [connection.rows(ask.query, ask.params)[0] for ask in asks]
            finally:
                connection.execute("COMMIT")

        try:
            return await self._hop(self._reader, snapshot)
        except _UNBINDABLE as error:
            raise ValueRefused(f"nothing was read: a parameter cannot be sent: {error}") from error
        except sqlite3.Error as error:
            raise StoreUnavailable(f"nothing was read: {error}") from error

    async def check(self) -> Mapping[str, str]:
        """See :meth:`Store.check`."""

        def look(connection: _Connection) -> list[str]:
            pragmas = ("journal_mode", "synchronous", "quick_check(1)")
            return [str(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in pragmas]

        journal, synchronous, quick = await self._hop(self._writer, look)
        found = {
            "engine": f"SQLite {sqlite3.sqlite_version}",
            "path": self._path,
            "schema": str(len(migrations())),
            "journal": journal,
            "durable": "yes (synchronous=FULL)" if synchronous == "2" else f"no (synchronous={synchronous})",
            "intact": quick,
        }
        if sqlite3.sqlite_version_info < WAL_RESET_FIXED:
            found["note"] = (
                "SQLite before 3.51.3 has a rare WAL-reset race between connections; prefer a newer one"
            )
        return found

    async def _connect(self, *, query_only: bool) -> aiosqlite.Connection:
        uri = self._path.startswith(_MEMORY_FILE)
        connection = await aiosqlite.connect(self._path, uri=uri, factory=_Connection, isolation_level=None)
        await connection.execute_fetchall(f"PRAGMA busy_timeout={BUSY_MS}")
        if query_only:
            await connection.execute_fetchall("PRAGMA query_only=ON")
        return connection

    @staticmethod
    async def _hop(connection: aiosqlite.Connection, work: Callable[[_Connection], list[Any]]) -> list[Any]:
        return list(await connection.execute_fetchall(_RUN, work))

    def _make_private(self) -> None:
        """Make a missing file readable by its owner alone, or say that it is missing."""
        path = Path(self._path)
        if not self._migrate and not path.exists():
            raise SchemaMismatch(
                f"there is no database at {self._path!r} yet; run 'signoff migrate', or just 'signoff serve'"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreUnavailable(f"no database was opened at {self._path!r}: {error.strerror}") from error

    def _prepare(self, connection: _Connection) -> list[Any]:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        if connection.execute("PRAGMA synchronous").fetchone()[0] != 2:
            raise StoreError("no database was opened: it does not accept synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._bring_up_to_date(connection)
            connection.rows("put_deployment", {"value": uuid.uuid4().hex})
            rows, _ = connection.rows("get_deployment", {})
            self.deployment = rows[0]["value"]
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return []

    def _bring_up_to_date(self, connection: _Connection) -> None:
        present = connection.execute("PRAGMA user_version").fetchone()[0]
        known = migrations()[-1][0]
        if present > known:
            raise SchemaMismatch(
                f"the database was left alone: its schema is number {present}, this program knows {known}; "
                "use the newer program"
            )
        if present < known and present and not self._migrate:
            raise SchemaMismatch(
                f"the database was left alone: its schema is number {present}, this program wants {known}; "
                "run 'signoff migrate'"
            )
        for number, _, script in migrations():
            if number > present:
                for statement in statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={number}")

    async def _flush(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.clear()
            group, self._waiting = self._waiting, []
            if group:
                await self._write_group(group)
            if self._closing and not self._waiting:
                return

    async def _write_group(self, group: list[tuple[Batch, asyncio.Future[Sequence[Sequence[Row]]]]]) -> None:
        batches = [batch for batch, _ in group]
        try:
            outcomes: list[Outcome] = await self._hop(self._writer, lambda c: _write_all(c, batches))
        except Exception as error:  # noqa: BLE001 - whatever it was, every waiting caller must hear it
            outcomes = [error] * len(group)
        for (_, done), outcome in zip(group, outcomes, strict=True):
            if done.done():
                continue
            if isinstance(outcome, BaseException):
                done.set_exception(outcome)
                done.exception()  # a caller that was cancelled will not fetch it, and nobody else need warn
            else:
                done.set_result(outcome)


def keep_memory_file() -> tuple[str, Callable[[], None]]:
    """Return the name of a new database in memory, and what lets it go: it ends with its last user."""
    name = f"{_MEMORY_FILE}{next(_numbers)}?vfs=memdb"
    keeper = sqlite3.connect(name, uri=True, check_same_thread=False)
    return name, keeper.close


def _in_memory(path: str) -> bool:
    return path == ":memory:" or path.startswith(_MEMORY_FILE)


def _write_all(connection: _Connection, batches: Sequence[Batch]) -> list[Outcome]:
    """Write the batches in one transaction; when that is impossible, each in one of its own, once."""
    try:
        return _write_together(connection, batches)
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if len(batches) == 1:
            return [_unavailable(batches[0], error)]
    alone: list[Outcome] = []
    for batch in batches:
        alone.extend(_write_all(connection, [batch]))
    return alone


def _write_together(connection: _Connection, batches: Sequence[Batch]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    held = _wait_for_lock(connection, batches)
    if held is not None:
        # Another process held the file for BUSY_MS; to wait as long again for each batch would help nobody.
        return [_unavailable(batch, held) for batch in batches]
    for batch in batches:
        if _given_up(batch):
            outcomes.append(StoreUnavailable(f"batch {batch.name!r} was not written: it waited too long"))
            continue
        connection.execute("SAVEPOINT batch")
        try:
            outcomes.append(_write(connection, batch))
        except sqlite3.OperationalError:
            raise  # the disk or the file, not this batch: nothing of the group can be trusted to be there
        except Exception as error:  # noqa: BLE001 - a batch that cannot be bound must not take its neighbours along
            connection.execute("ROLLBACK TO batch")
            outcomes.append(error)
        connection.execute("RELEASE batch")
    connection.execute("COMMIT")
    return outcomes


def _given_up(batch: Batch) -> bool:
    return batch.give_up_at is not None and time.monotonic() >= batch.give_up_at


def _wait_for_lock(connection: _Connection, batches: Sequence[Batch]) -> sqlite3.Error | None:
    """Begin, waiting for other writers for BUSY_MS, or until nobody wants the batches any more."""
    until = time.monotonic() + BUSY_MS / 1_000
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() >= until or all(map(_given_up, batches)):
                return error
        else:
            return None


def _write(connection: _Connection, batch: Batch) -> Sequence[Sequence[Row]]:
    returned = []
    for do in batch.writes:
        try:
            rows, count = connection.rows(do.query, do.params)
        except sqlite3.IntegrityError as error:
            # Another writer can only win a uniqueness; any other broken constraint would be broken again.
            if do.guard is None or error.sqlite_errorcode not in _UNIQUE:
                raise StoreError(f"batch {batch.name!r} was not committed: {error}") from error
            raise Conflict(do.guard, batch.name) from error
        except _UNBINDABLE as error:
            raise ValueRefused(
                f"batch {batch.name!r} was not committed: {do.query!r} cannot store a value: {error}"
            ) from error
        if do.guard is not None and count == 0:
            raise Conflict(do.guard, batch.name)
        returned.append(rows)
    return returned


def _unavailable(batch: Batch, error: sqlite3.Error) -> StoreUnavailable:
    failed = StoreUnavailable(f"batch {batch.name!r} was not written: {error}")
    failed.__cause__ = error
    return failed
