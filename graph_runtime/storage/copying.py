"""Moves a whole database to another one: every row as it is, compared one by one, and the original closed.

Beside the stores themselves only this writes rows, because it writes them as they are. Each side is one
transaction that nobody else can write beside: the copy is there whole or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graph_runtime.errors import StoreError, StoreUnavailable

from . import open_store
from .sql import LOCK_SCHEMA

#: Every table, those that others refer to first, and what its rows are told apart by.
TABLES: Mapping[str, str] = {
    "threads": "thread_id",
    "runs": "run_id",
    "checkpoints": "checkpoint_id",
    "frames": "thread_id, ns",
    "effects": "task_id, key",
    "channel_values": "checkpoint_id, channel",
    "writes": "checkpoint_id, task_id",
    "interrupts": "interrupt_id",
    "requests": "request_id",
    "decisions": "decision_id",
    "outbox": "entry_id",
    "receipts": "entry_id",
    "turns": "channel",
    "due": "request_id, kind",
    "events": "event_id",
    "blocks": "block",
    "waits": "interrupt_id",
    "executions": "request_id",
    "freezes": "scope",
    "quotas": "name",
    "texts": "text_id",
    "delegations": "delegation_id",
    "bypasses": "request_id, scope, since, person",
}
_PAGE = 500
#: Seconds that connections may take to go away after their store was closed.
_PATIENCE = 3.0
#: How many connections of stores there are.
_STORES = """SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'signoff %%'"""


async def copy_database(source: str, target: str) -> Mapping[str, int]:
    """Copy everything from one address to another, and return how many rows of each table that was.

    Afterwards the copy bears the original's deployment id, so that cards stay answerable, and no store opens
    the original any more. Raises :class:`StoreError`, with nothing changed on either side, when the original
    is in use, the other is in use or not empty, or a row does not come out as it went in. Raises
    ``ValueError`` for what is no address.
    """
    async with open_store(source, migrate=False):
        pass
    async with open_store(target) as store:
        shown = (await store.check())["path"]
    try:
        return await asyncio.to_thread(_copy, source, target, shown)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - the drivers' own, whose text may hold a row
        raise StoreError(f"nothing was copied: {type(error).__name__} of {type(error).__module__}") from None


def _copy(source: str, target: str, shown: str) -> Mapping[str, int]:
    with contextlib.closing(_open(source)) as old, contextlib.closing(_open(target)) as new:
        for side, what in ((old, "the original"), (new, "the copy")):
            if not side.taken():
                raise StoreUnavailable(
                    f"nothing was copied: {what} is in use; stop every process on it first"
                )
        for table in TABLES:
            if new.one(f"SELECT count(*) FROM {table}"):  # noqa: S608 - a name of ours
                raise StoreError(f"nothing was copied: the database to copy to is not empty: it has {table}")
        counts = {table: _copy_table(table, key, old, new) for table, key in TABLES.items()}
        id_ = old.one("SELECT value FROM deployment WHERE key = 'deployment_id'")
        new.run("UPDATE deployment SET value = {0} WHERE key = 'deployment_id'", [id_])
        old.run("INSERT INTO deployment (key, value) VALUES ('closed', {0})", [f"it was copied to {shown}"])
        # In this order: if the second does not happen, the original is still whole, and the copy not empty.
        new.run("COMMIT")
        old.run("COMMIT")
        return counts


def _copy_table(table: str, key: str, old: _Side, new: _Side) -> int:
    count, columns = 0, old.columns(table)
    went, came = hashlib.sha256(), hashlib.sha256()
    for rows in old.pages(table, key, columns):
        count += len(rows)
        went.update(repr(rows).encode())
        new.put(table, columns, rows)
    for rows in new.pages(table, key, columns):
        came.update(repr(rows).encode())
    if went.digest() != came.digest():
        raise StoreError(f"nothing was copied: a row of {table} does not come out as it went in")
    return count


class _Side:
    """One of the two databases, by a connection of its own."""

    #: What stands for a value in a statement.
    mark: str

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def taken(self) -> bool:
        """Begin a transaction beside which no store can be open; False when one stays open."""
        until = time.monotonic() + _PATIENCE
        while not self.alone():
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def alone(self) -> bool:
        """Begin the transaction if nobody else has the database, and say whether that was so."""
        raise NotImplementedError

    def run(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run a statement of this module and return its cursor."""
        return self._connection.execute(statement.format(self.mark), values)

    def one(self, statement: str) -> Any:
        """Return the only value of the only row."""
        return self.run(statement).fetchone()[0]

    def columns(self, table: str) -> str:
        """Return the names of the table's columns, as a list in SQL."""
        cursor = self.run(f"SELECT * FROM {table} LIMIT 0")  # noqa: S608 - here and below: names of ours
        return ", ".join(column[0] for column in cursor.description)

    def cursor(self) -> Any:
        """Return a cursor that does not hold all rows at once."""
        return self._connection.cursor()

    def pages(self, table: str, key: str, columns: str) -> Iterator[list[tuple[Any, ...]]]:
        """Yield all rows, some at a time, in the order of their keys."""
        with contextlib.closing(self.cursor()) as cursor:
            cursor.execute(f"SELECT {columns} FROM {table} ORDER BY {key}")  # noqa: S608
            while rows := cursor.fetchmany(_PAGE):
                yield rows

    def put(self, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows as they are."""
        marks = ", ".join([self.mark] * len(rows[0]))
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608

    def close(self) -> None:
        """Undo what was not committed."""
        self._connection.close()


class _Sqlite(_Side):
    mark = "?"

    def alone(self) -> bool:
        # In this mode the file is locked as a whole, which fails while anybody has it open.
        self.run("PRAGMA locking_mode=EXCLUSIVE")
        with contextlib.suppress(sqlite3.OperationalError):
            self.run("BEGIN EXCLUSIVE")
        return bool(self._connection.in_transaction)


class _Postgres(_Side):
    mark = "%s"

    def alone(self) -> bool:
        # A transaction sees at every look who was there at its first.
        self._connection.rollback()
        # Whoever opens a store takes this lock first: it waits, and finds the original closed.
        self.run(LOCK_SCHEMA)
        return not self.one(_STORES)

    def cursor(self) -> Any:
        return self._connection.cursor(name="pages")


def _open(url: str) -> _Side:
    if url.startswith("sqlite:///"):
        return _Sqlite(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=0))
    import psycopg  # noqa: PLC0415 - a database driver is loaded only where it is used

    return _Postgres(psycopg.connect(url))
