"""A SQLite file looked at and handled from outside, beside the processes that use it, or alone with it.

Everything here blocks; whoever has a loop calls it on another thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

from graph_runtime.errors import StoreError, StoreUnavailable

from .sql import queries
from .sqlite import BUSY_MS, why

#: Where SQLite's processes say that they have a file open: its pending, reserved and shared bytes.
_LOCK_BYTES = (512, 0x40000000)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@dataclass(frozen=True, slots=True)
class DatabaseSize:
    """How large a database is, in bytes."""

    #: The file, of which ``free`` is used again before it grows, and the log beside it.
    file: int
    free: int
    log: int
    #: Each table with its indexes, the largest first; empty where SQLite cannot tell.
    tables: Mapping[str, int]


class Standing(NamedTuple):
    """How far a run has come: two of one run differ when it has moved."""

    status: str
    head: str
    epoch: int
    updated_at: int


def path_of(url: str) -> Path:
    """Return the file of a SQLite address. Raises :class:`StoreError` for a database that is no file."""
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path or path.startswith((":memory:", "file:")):
        raise StoreError(
            "nothing was done: the database is no SQLite file; PostgreSQL has pg_dump, pg_restore and VACUUM"
        )
    return Path(path)


@contextlib.contextmanager
def reading(path: Path, *, mode: Literal["rw", "ro"] = "rw") -> Iterator[sqlite3.Connection]:
    """Open a database to read from it, beside whoever writes. Raises :class:`StoreUnavailable`.

    With ``ro`` the file is not touched at all; SQLite may leave its empty companions beside it then.
    """
    if not path.is_file():
        raise StoreUnavailable(f"nothing was read: there is no file {str(path)!r}")
    with _told(f"{str(path)!r} was not read"):
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None)
        with contextlib.closing(connection):
            connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            connection.execute("PRAGMA query_only=ON")
            yield connection


@contextlib.contextmanager
def alone(path: Path, *, to_replace: bool = False) -> Iterator[sqlite3.Connection]:
    """Open a database that nobody else has open, and keep everybody else out until the block ends.

    One that is to be replaced may be missing, or damaged so that it is no database any more; it is kept as
    ``.damaged`` then. Raises :class:`StoreUnavailable` while another process has it open.
    """
    made = _make(path)
    with _told(f"{str(path)!r} was left alone"), _gone_again(path, made=made):
        try:
            connection = _lock(path)
        except sqlite3.DatabaseError as error:
            if not to_replace or getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
                raise
            _put_aside(path)
            _make(path)
            connection = _lock(path)
        with contextlib.closing(connection):
            yield connection


@contextlib.contextmanager
def _gone_again(path: Path, *, made: bool) -> Iterator[None]:
    """Remove a file that was only made for what then failed."""
    try:
        yield
    except BaseException:
        if made:
            clear(path)
        raise


def back_up(path: Path, file: Path, *, replace: bool) -> int:
    """Write a verified copy of this moment to a file, and return its size. See :meth:`Upkeep.back_up`."""
    if file.exists() and (not replace or file.samefile(path)):
        raise StoreUnavailable(f"no copy was made: there is a file {str(file)!r} already")
    fresh = file.with_name(f"{file.name}.copying")
    clear(fresh)
    with reading(path) as source:
        copy(source, fresh)
    with _told(f"no copy was made at {str(file)!r}"):
        size = fresh.stat().st_size
        fresh.replace(file)
        _flush(file.parent)
    return size


def copy(source: sqlite3.Connection, target: Path) -> None:
    """Write a copy of one moment of the source to a new file of the owner's alone, and verify it.

    Writers of the source go on meanwhile. The copy is one file, on disk when this returns; one that could
    not be finished, is not intact or is no database of ours is removed. Raises :class:`StoreUnavailable`.
    """
    made = _make(target, new=True)
    with _gone_again(target, made=made), _told(f"no copy was made at {str(target)!r}"):
        with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copied:
            # In one go: a copy in parts is begun again whenever somebody writes between two of them.
            source.backup(copied)
            copied.execute("PRAGMA journal_mode=DELETE")
            (said,) = copied.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok" or deployment_of(copied) is None:
                raise sqlite3.DatabaseError("what is there to copy is damaged, or none of signoff's")
        _flush(target)


def put(source: Path, place: sqlite3.Connection) -> None:
    """Put the content of a file in the place of that of a database held alone, or leave that as it is."""
    with _told("the database was left as it was"), reading(source) as content:
        content.backup(place)


def clear(path: Path) -> None:
    """Remove a file that was only made on the way, and what stood beside it."""
    for end in ("", "-wal", "-shm", "-journal", "-checkpoint"):
        Path(f"{path}{end}").unlink(missing_ok=True)


def deployment_of(connection: sqlite3.Connection) -> str | None:
    """Return the name of a database of ours; None for any other, or one that cannot be read."""
    try:
        row = connection.execute(queries()["get_deployment"]).fetchone()
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    return None if row is None else str(row[0])


def standing(connection: sqlite3.Connection, runs: Iterable[str]) -> dict[str, Standing]:
    """Return how far these runs have come; one that is not there, or cannot be read, is not among them."""
    found = {}
    connection.row_factory = sqlite3.Row
    for run in runs:
        with contextlib.suppress(sqlite3.Error, UnicodeDecodeError, IndexError):
            row = connection.execute(queries()["get_run"], {"run_id": run}).fetchone()
            if row is not None:
                found[run] = Standing(row["status"], row["head"], row["epoch"], row["updated_at"])
    return found


def damage(path: Path) -> list[str]:
    """Return what is wrong with the file itself, after a look at every page of it."""
    with reading(path) as connection:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(100)") if row[0] != "ok"]
        lost = {str(row[0]) for row in connection.execute("PRAGMA foreign_key_check")}
    return found + [f"{table} refers to what is not there" for table in sorted(lost)]


def size(path: Path) -> DatabaseSize:
    """Return how large the database is. See :meth:`Upkeep.size`."""
    log = Path(f"{path}-wal")
    with reading(path) as connection:
        (page,), (free,) = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", "freelist_count")
        )
        tables = dict(sorted(_tables(connection).items(), key=lambda one: -one[1]))
        return DatabaseSize(
            path.stat().st_size, free * page, log.stat().st_size if log.exists() else 0, tables
        )


def vacuum(path: Path) -> tuple[int, int]:
    """Write the file anew without what is free in it; return its size before and after."""
    if not path.is_file():
        raise StoreUnavailable(f"nothing was done: there is no file {str(path)!r}")
    before = path.stat().st_size
    with alone(path) as connection:
        connection.execute("VACUUM")
    return before, path.stat().st_size


def _tables(connection: sqlite3.Connection) -> dict[str, int]:
    try:
        rows = connection.execute(
            "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name "
            "WHERE s.aggregate = TRUE GROUP BY m.tbl_name"
        )
        return {str(name): int(taken) for name, taken in rows}
    except sqlite3.Error:
        return {}  # this SQLite was built without dbstat


def _make(path: Path, *, new: bool = False) -> bool:
    """Make an empty file of the owner's alone, and say so; one that is there stays, unless it must be new."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if new:
            raise StoreUnavailable(f"nothing was written: there is a file {str(path)!r} already") from None
        return False
    except OSError as error:
        raise StoreUnavailable(f"nothing was written to {str(path)!r}: {error.strerror}") from error
    return True


def _lock(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA busy_timeout=0")
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _put_aside(path: Path) -> None:
    """Rename a file that is no database any more, and what SQLite keeps beside it."""
    with path.open("rb+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *_LOCK_BYTES)
        except OSError as error:
            raise StoreUnavailable(f"{str(path)!r} was left alone: another process has it open") from error
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{end}").rename(f"{path}.damaged{end}")


def _flush(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Raise what SQLite and the disk say as ours, with what did not happen."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        said = "another process has it open; stop it first" if busy else why(error)
        raise StoreUnavailable(f"{what}: {said}") from error
    except OSError as error:
        raise StoreUnavailable(f"{what}: {error.strerror}") from error
