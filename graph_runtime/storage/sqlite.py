"""SQLite through aiosqlite: one hop to the writer's thread for all batches that wait, one flush for all.

A group is BEGIN IMMEDIATE, its batches, those of one shape side by side (``bulk.py``), COMMIT. When one of
them fails, all is undone and written again with a SAVEPOINT per batch, so that it fails alone. Nobody is told
anything before the COMMIT returned, Conflicts included. ``synchronous=FULL`` makes "returned" mean "on disk".

Small reads are made where the caller is, on the loop's own thread: a point read takes microseconds, a hop to
another thread and back takes hundreds. What turns out not to be small goes to the reader's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiosqlite

from graph_runtime.clock import system_clock
from graph_runtime.errors import (
    CommitUnknown,
    Conflict,
    SchemaMismatch,
    StoreError,
    StoreUnavailable,
    ValueRefused,
)
from graph_runtime.faults import Faults

from . import Ask, Batch, Row
from .bulk import FEWEST, side_by_side
from .checkpointer import Checkpointer
from .connection import CACHED, CACHED_TO_WRITE, RUN, SLICE_MS, Connection, execute, rows_by_name
from .sql import migrations, statements

#: How long a writer of another process is waited for.
BUSY_MS = 5_000
#: json_each and RETURNING.
OLDEST = (3, 38, 0)
#: Before it, two connections that reset the WAL at once could lose a checkpoint (sqlite.org, release 3.51.3).
WAL_RESET_FIXED = (3, 51, 3)
#: What a read on the loop's thread may be, before it is broken off and made on the reader's thread instead:
#: bytes of one row, seconds in all, looked at every so many of SQLite's instructions (and rows: SMALL_ROWS).
SMALL_VALUE, SMALL_SECONDS, _LOOK_EVERY = 64 * 1024, 0.002, 5_000
#: Databases in memory that several connections of one process share, by number.
_MEMORY_FILE = "file:/signoff-memory-"
_numbers = itertools.count(1)
_UNBINDABLE = (
    KeyError,  # a parameter that was not given
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    OverflowError,
    UnicodeEncodeError,
)
_CAUSES = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the file or its disk is read-only",
    sqlite3.SQLITE_IOERR: "the disk failed, or is full",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore a backup",
    sqlite3.SQLITE_NOTADB: "the file is no database",
}
_UNIQUE = frozenset({sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY})

#: What became of a batch; None when it must be tried again.
Outcome = Sequence[Sequence[Row]] | BaseException | None


@dataclass(slots=True)
class _Waiting:
    """A batch that waits for the writer, and whom to tell."""

    batch: Batch
    done: asyncio.Future[Sequence[Sequence[Row]]]
    #: ``time.monotonic()`` past which another process has held the file for too long.
    until: float


#: Whether a file that this program has not made holds tables already.
_OTHERS = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


class SqliteStore:
    """The storage contract on one SQLite file, which several processes may share."""

    deployment: str
    #: Whoever shares the file is on this machine.
    clock = staticmethod(system_clock)

    def __init__(self, path: str, *, migrate: bool = True) -> None:
        self._path = path
        self._migrate = migrate
        self._faults = Faults()
        self._waiting: list[_Waiting] = []
        self._bell = asyncio.Event()
        self._closing = False
        self._writer: aiosqlite.Connection
        self._reader: aiosqlite.Connection
        self._here: Connection | None = None
        self._here_until = math.inf
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
            await self._writer.execute_fetchall(f"PRAGMA busy_timeout={SLICE_MS}")
            self._reader = self._writer
            if not _in_memory(self._path):
                self._reader = await self._connect(query_only=True)
                self._here = self._connect_here()
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            await self._writer.close()
            raise StoreUnavailable(f"no database was opened at {self._path!r}: {why(error)}") from error
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
        if self._here is not None:
            self._here.close()
            self._here = None
        if self._reader is not self._writer:
            await self._reader.close()
        await self._writer.close()

    async def commit(self, batch: Batch) -> Sequence[Sequence[Row]]:
        """See :meth:`Store.commit`."""
        if self._closing:
            raise StoreUnavailable(f"batch {batch.name!r} was not written: the store is closed")
        done: asyncio.Future[Sequence[Sequence[Row]]] = asyncio.get_running_loop().create_future()
        self._faults.point("before", batch.name)
        self._waiting.append(_Waiting(batch, done, time.monotonic() + BUSY_MS / 1_000))
        self._bell.set()
        result = await done  # a caller that is cancelled here leaves; its batch is written all the same
        self._faults.point("after", batch.name)
        return result

    async def read(self, *asks: Ask) -> Sequence[Sequence[Row]]:
        """See :meth:`Store.read`."""
        if self._closing:
            raise StoreUnavailable("nothing was read: the store is closed")

        try:
            found = self._read_here(asks)
            return await self._hop(self._reader, partial(_snapshot, asks)) if found is None else found
        except _UNBINDABLE as error:
            raise ValueRefused(f"nothing was read: a parameter cannot be sent: {error}") from error
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StoreUnavailable(f"nothing was read: {why(error)}") from error

    def _read_here(self, asks: Sequence[Ask]) -> list[list[Row]] | None:
        """Return the rows, read on this thread without leaving it; None when that would take long."""
        here = self._here
        if here is None:
            return None
        found = []
        self._here_until = time.monotonic() + SMALL_SECONDS
        try:
            if len(asks) > 1:  # one statement is a snapshot by itself
                execute(here, "BEGIN")
            for ask in asks:
                rows = here.small_rows(ask.query, ask.params)
                if rows is None:
                    return None
                found.append(rows)
        except (sqlite3.OperationalError, sqlite3.DataError):
            return None
        finally:
            self._here_until = math.inf
            if here.in_transaction:
                execute(here, "COMMIT")
        return found

    async def check(self) -> Mapping[str, str]:
        """See :meth:`Store.check`."""

        def look(connection: Connection) -> list[str]:
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
        connection = await aiosqlite.connect(
            self._path,
            uri=uri,
            factory=Connection,
            isolation_level=None,
            cached_statements=CACHED if query_only else CACHED_TO_WRITE,
        )
        await connection.execute_fetchall(f"PRAGMA busy_timeout={BUSY_MS}")
        await connection.execute_fetchall(RUN, rows_by_name)
        if query_only:
            await connection.execute_fetchall("PRAGMA query_only=ON")
        return connection

    def _connect_here(self) -> Connection:
        here = sqlite3.connect(self._path, isolation_level=None, factory=Connection, cached_statements=CACHED)
        rows_by_name(here)
        here.execute("PRAGMA busy_timeout=0")
        here.execute("PRAGMA query_only=ON")
        here.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, SMALL_VALUE)
        here.set_progress_handler(lambda: time.monotonic() > self._here_until, _LOOK_EVERY)
        return here

    @staticmethod
    async def _hop(connection: aiosqlite.Connection, work: Callable[[Connection], list[Any]]) -> list[Any]:
        return list(await connection.execute_fetchall(RUN, work))

    def _make_private(self) -> None:
        """Make a missing file readable by its owner alone, or say that it is missing."""
        path = Path(self._path)
        if not self._migrate and not path.exists():
            raise SchemaMismatch(
                f"there is no database at {self._path!r} yet; run 'signoff migrate', or just 'signoff serve'"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One that is there is left to SQLite: to close it here would end the locks that it holds on it.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreUnavailable(f"no database was opened at {self._path!r}: {error.strerror}") from error

    def _prepare(self, connection: Connection) -> list[Any]:
        if not _in_memory(self._path):
            # First of all, because it says plainly what the matter is with a disk that cannot be written to.
            connection.checkpointer = Checkpointer(self._path)
        _keep_log(connection)
        connection.execute("PRAGMA wal_autocheckpoint=0")
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

    def _bring_up_to_date(self, connection: Connection) -> None:
        present = connection.execute("PRAGMA user_version").fetchone()[0]
        known = migrations()[-1][0]
        if not present and connection.execute(_OTHERS).fetchone()[0]:
            raise SchemaMismatch(
                f"{self._path!r} was left alone: it is a database of another program, such as LangGraph's "
                "checkpoints, which cannot be gone on from here; give the path of a new file"
            )
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
        closed, _ = connection.rows("get_closed", {})
        if closed:
            raise StoreError(f"the database was left alone: {closed[0]['value']}; use that one")

    async def _flush(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.clear()
            group, self._waiting = self._waiting, []
            if group:
                await self._write_group(group)
            if self._closing and not self._waiting:
                return

    async def _write_group(self, group: list[_Waiting]) -> None:
        try:
            outcomes: list[Outcome] = await self._hop(self._writer, partial(_write_all, group))
        except Exception as error:  # noqa: BLE001 - whatever it was, every waiting caller must hear it
            outcomes = [error] * len(group)
        again = []
        for one, outcome in zip(group, outcomes, strict=True):
            if outcome is None:
                again.append(one)
            elif one.done.done():
                continue
            elif isinstance(outcome, BaseException):
                one.done.set_exception(outcome)
                one.done.exception()  # a caller that was cancelled will not fetch it; nobody else need warn
            else:
                one.done.set_result(outcome)
        if again:
            self._waiting[:0] = again
            self._bell.set()


def keep_memory_file() -> tuple[str, Callable[[], None]]:
    """Return the name of a new database in memory, and what lets it go: it ends with its last user."""
    name = f"{_MEMORY_FILE}{next(_numbers)}?vfs=memdb"
    keeper = sqlite3.connect(name, uri=True, check_same_thread=False)
    return name, keeper.close


def _in_memory(path: str) -> bool:
    return path == ":memory:" or path.startswith(_MEMORY_FILE)


def _keep_log(connection: Connection) -> None:
    """Let the database have a write-ahead log.

    Of two that begin a new file at once SQLite refuses one without waiting, for each would wait for the
    other's lock: that one tries again here.
    """
    until = time.monotonic() + BUSY_MS / 1_000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _snapshot(asks: Sequence[Ask], connection: Connection) -> list[list[Row]]:
    connection.execute("BEGIN")
    try:
        return [connection.rows(ask.query, ask.params)[0] for ask in asks]
    finally:
        connection.execute("COMMIT")


def _write_all(group: Sequence[_Waiting], connection: Connection) -> list[Outcome]:
    """Write the batches in one transaction; when that is impossible, each in one of its own, once.

    The outcome of a batch that must be tried again, as the file was held by another process, is None.
    """
    begun = _begin(connection, group)
    if begun is not None:
        return begun
    batches = [one.batch for one in group]
    try:
        try:
            outcomes = _write_together(connection, batches)
        except sqlite3.OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - one failed: all is undone, and it is found out which
            connection.execute("ROLLBACK")
            if len(group) == 1:
                return [error]
            begun = _begin(connection, group)
            if begun is not None:
                return begun
            outcomes = [_write_apart(connection, batch) for batch in batches]
        connection.commit_all()
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if len(group) == 1:
            return [_unavailable(batches[0], error)]
        return [outcome for one in group for outcome in _write_all([one], connection)]
    return outcomes


def _write_together(connection: Connection, batches: Sequence[Batch]) -> list[Outcome]:
    """Write all batches, those of one shape side by side; raises when any of them fails, whichever it is."""
    if len(batches) < FEWEST:
        return [_write(connection, batch) for batch in batches]
    outcomes: list[Outcome] = [None] * len(batches)
    shapes, others = side_by_side(batches)
    for numbers in shapes:
        returned = _write_side_by_side(connection, [batches[number] for number in numbers])
        for number, rows in zip(numbers, returned, strict=True):
            outcomes[number] = rows
    for number in others:
        outcomes[number] = _write(connection, batches[number])
    return outcomes


def _write_side_by_side(connection: Connection, batches: Sequence[Batch]) -> list[list[list[Row]]]:
    """Write each statement of all batches before the next; return what each would be given alone."""
    returned: list[list[list[Row]]] = [[] for _ in batches]
    for number, (query, _, guard) in enumerate(batches[0].writes):
        params = [batch.writes[number].params for batch in batches]
        rows, count = connection.rows_of_many(query, params)
        if guard is not None and count != len(batches):  # no statement here touches two rows of one batch
            raise Conflict(guard, batches[0].name)
        by_run = {row["run_id"]: row for row in rows}
        for own, given in zip(returned, params, strict=True):
            row = by_run.get(given["run_id"]) if rows else None
            own.append([] if row is None else [row])
    return returned


def _begin(connection: Connection, group: Sequence[_Waiting]) -> list[Outcome] | None:
    """Begin a transaction (None), or say what becomes of the batches.

    While another process holds the file, a batch that nobody wants any more, or that has waited for
    BUSY_MS, is given up, and the others are to be tried again.
    """
    while not any(map(_given_up, group)):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                return [_unavailable(one.batch, error) for one in group]
        else:
            return None
    late = StoreUnavailable("it waited too long, because another process holds the file or the disk is slow")
    return [_unavailable(one.batch, late) if _given_up(one) else None for one in group]


def _given_up(one: _Waiting) -> bool:
    now, give_up_at = time.monotonic(), one.batch.give_up_at
    return now >= one.until or (give_up_at is not None and now >= give_up_at)


def _write_apart(connection: Connection, batch: Batch) -> Outcome:
    connection.execute("SAVEPOINT batch")
    try:
        outcome: Outcome = _write(connection, batch)
    except sqlite3.OperationalError:
        raise  # the disk or the file, not this batch: nothing of the group can be trusted to be there
    except Exception as error:  # noqa: BLE001 - a batch that cannot be bound must not take its neighbours along
        connection.execute("ROLLBACK TO batch")
        outcome = error
    connection.execute("RELEASE batch")
    return outcome


def _write(connection: Connection, batch: Batch) -> Sequence[Sequence[Row]]:
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
        except UnicodeDecodeError as error:
            raise _unavailable(batch, error) from error
        if do.guard is not None and count == 0:
            raise Conflict(do.guard, batch.name)
        returned.append(rows)
    return returned


def why(error: Exception) -> str:
    """Return what is the matter, in words for whoever can mend it, and SQLite's own words."""
    if isinstance(error, UnicodeDecodeError):
        # SQLite's own words hold a piece of the file, which is no text any more.
        return _CAUSES[sqlite3.SQLITE_CORRUPT]
    code = getattr(error, "sqlite_errorcode", None)
    cause = None if code is None else _CAUSES.get(code & 0xFF)
    return str(error) if cause is None else f"{cause} ({error}, {getattr(error, 'sqlite_errorname', code)})"


def _unavailable(batch: Batch, error: Exception) -> StoreError:
    failed: StoreError
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_FSYNC:
        # All of it is in the log by then. The next commit writes over it; a crash before that brings it back.
        failed = CommitUnknown(f"batch {batch.name!r} was written and could not be flushed: {why(error)}")
    else:
        failed = StoreUnavailable(f"batch {batch.name!r} was not written: {why(error)}")
    failed.__cause__ = error
    return failed
