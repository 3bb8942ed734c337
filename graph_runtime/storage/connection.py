"""A connection to SQLite that is given whole functions to run on its own thread, by statements' names."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from . import Row
from .bulk import many
from .checkpointer import PAGES, Checkpointer
from .sql import numbered

RUN = "--run"
_STATEMENTS = numbered()
_MANY = many()
execute = sqlite3.Connection.execute
#: Every statement stays prepared, and the pragmas beside them.
CACHED = len(_STATEMENTS) + 32
#: The same for a writer, who has some for many rows as well.
CACHED_TO_WRITE = CACHED + sum(map(len, _MANY.values()))
#: A read on the loop's thread may have so many rows of one statement.
SMALL_ROWS = 500
#: How often a waiting writer looks whether its batches are still wanted.
SLICE_MS = 100


class _Done:
    """What the hop hands back through ``execute_fetchall``."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def fetchall(self) -> list[Any]:
        return self._rows


class Connection(sqlite3.Connection):
    """A connection that can be given a whole function to run on its own thread, through a public call."""

    #: Of the writer of a file; whoever has no part in checkpoints, as one in memory, has none.
    checkpointer: Checkpointer | None = None
    _moves_wal = False

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        if sql == RUN:
            return _Done(parameters(self))
        return super().execute(sql, parameters)

    def rows(self, query: str, params: Mapping[str, Any]) -> tuple[list[Row], int]:
        statement = _STATEMENTS[query]
        cursor = execute(self, statement.text, statement.pick(params))
        if cursor.description is None:
            return [], cursor.rowcount
        found = cursor.fetchall()
        return found, len(found)

    def rows_of_many(self, query: str, params: Sequence[Mapping[str, Any]]) -> tuple[list[Row], int]:
        """Do it with each of them; return all rows, in no promised order, and how many rows it was in all."""
        found: list[Row] = []
        count = done = 0
        for size, text, pick in _MANY.get(query, ()):
            while len(params) - done >= size:
                cursor = execute(self, text, pick(params[done : done + size]))
                done += size
                rows = cursor.fetchall()
                count += cursor.rowcount if cursor.description is None else len(rows)
                found += rows
        for one in params[done:]:
            rows, changed = self.rows(query, one)
            count += changed
            found += rows
        return found, count

    def small_rows(self, query: str, params: Mapping[str, Any]) -> list[Row] | None:
        """Return the rows, or None when there are too many of them."""
        statement = _STATEMENTS[query]
        found = execute(self, statement.text, statement.pick(params)).fetchmany(SMALL_ROWS + 1)
        return found if len(found) <= SMALL_ROWS else None

    def commit_all(self) -> None:
        """Commit; when the log has grown and no other process is at it, it is moved into the file as well."""
        turn = self.checkpointer
        if turn is None:
            super().execute("COMMIT")
            return
        mine = turn.take()
        try:
            if mine is not self._moves_wal:
                super().execute(f"PRAGMA wal_autocheckpoint={PAGES if mine else 0}")
                self._moves_wal = mine
            super().execute("COMMIT")
            if mine and turn.is_large():
                self._empty_wal()
        finally:
            if mine:
                turn.release()

    def close(self) -> None:
        """Close, and let go of the lock if there is one."""
        super().close()
        if self.checkpointer is not None:
            self.checkpointer.close()
            self.checkpointer = None

    def _empty_wal(self) -> None:
        """Empty the log if nobody reads from it at this moment; if somebody does, the next commit tries."""
        super().execute("PRAGMA busy_timeout=0")
        with contextlib.suppress(sqlite3.Error):  # what was committed is committed
            super().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        super().execute(f"PRAGMA busy_timeout={SLICE_MS}")


def rows_by_name(connection: sqlite3.Connection) -> list[Any]:
    connection.row_factory = sqlite3.Row
    return []
