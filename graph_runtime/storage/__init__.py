"""The storage contract, in words: reads are snapshots, writes are guarded batches, and there is one door.

``commit`` is the only write. A batch is a list of named statements; some carry a guard. It is committed
whole and is on disk when ``commit`` returns, or it left no trace and raised. No lock and no transaction is
ever held across an ``await`` of the caller: who loses a race reads again and decides again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Protocol, Self

from graph_runtime.clock import Clock
from graph_runtime.errors import StoreError
from graph_runtime.quick import quick

from .sql import QueryName

Param = str | int | None
Params = Mapping[str, Param]


_NONE: Params = MappingProxyType({})


class Row(Protocol):
    """One row of an answer: its columns by name; ``dict(row)`` has them all."""

    def __getitem__(self, column: str, /) -> Any: ...

    def keys(self) -> Iterable[str]:
        """Return the names of the columns."""
        ...


class Do(NamedTuple):
    """One statement of ``queries.sql`` with its parameters.

    ``guard`` names what it means when the statement changes no row, or breaks a uniqueness: the whole batch
    is undone and ``commit`` raises :class:`~graph_runtime.errors.Conflict` with that name.
    """

    query: QueryName
    params: Params = _NONE
    guard: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class Batch:
    """Statements that happen together or not at all, under a name that faults and errors use."""

    name: str
    writes: tuple[Do, ...]
    #: ``time.monotonic()`` past which it is not written any more: its caller has said so to a person.
    give_up_at: float | None = None


class Ask(NamedTuple):
    """One reading statement of ``queries.sql`` with its parameters."""

    query: QueryName
    params: Params = _NONE


class Store(Protocol):
    """A database that keeps threads, runs, questions and everything that must be told."""

    #: Names this database; a card drawn from another one, or from before a restore, carries another name.
    deployment: str

    @property
    def clock(self) -> Clock:
        """Tells the time that all processes on this database share: leases and deadlines go by it."""
        ...

    async def commit(self, batch: Batch) -> Sequence[Sequence[Row]]:
        """Write the batch and return, for each statement, the rows it returned (none without RETURNING).

        When this returns, the batch is on disk and every later ``read`` sees it, from any process. Batches
        that wait at the same moment may share one flush; one that fails never takes another with it. Once
        called it runs to its end even if the caller is cancelled.

        Raises :class:`~graph_runtime.errors.Conflict` when a guard failed,
        :class:`~graph_runtime.errors.StoreUnavailable` when the disk is full, read-only or locked for longer
        than five seconds, or the server is away; nothing of the batch is in the database then, and the next
        try may succeed. Raises :class:`~graph_runtime.errors.CommitUnknown` when the server went away while
        it committed and did not come back in time to be asked, or the disk failed to flush what it had taken.
        """
        ...

    async def read(self, *asks: Ask) -> Sequence[Sequence[Row]]:
        """Return the rows of each ask, all from one snapshot: no commit falls between two of them."""
        ...

    async def check(self) -> Mapping[str, str]:
        """Return what an operator should know of this database: engine, version, durability, problems."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_store(url: str, *, migrate: bool = True) -> Store:
    """Return the store at ``url``, to be entered with ``async with``.

    ``sqlite:///PATH`` is a file, ``postgresql://USER:PASSWORD@HOST:PORT/NAME`` a database of a server, with
    whatever else libpq takes. Entering it, with ``migrate``, creates a missing file or schema and brings an
    older schema up to date; without, it raises :class:`~graph_runtime.errors.SchemaMismatch` instead, as it
    always does for a newer schema. Raises :class:`~graph_runtime.errors.StoreUnavailable` for a file that
    cannot be made, read or written, or a server that does not answer.

    Raises ``ValueError`` for any other kind of address, and :class:`~graph_runtime.errors.StoreError` when
    the driver for it is not installed.
    """
    # A database driver is loaded only where it is used.
    scheme, _, path = url.partition("://")
    if scheme == "sqlite" and len(path) > 1 and path.startswith("/"):
        from .sqlite import SqliteStore  # noqa: PLC0415

        return SqliteStore(path[1:], migrate=migrate)
    if scheme == "postgresql" and path:
        try:
            from .postgres import PostgresStore  # noqa: PLC0415
        except ImportError as error:
            raise StoreError(
                f"no database was opened: PostgreSQL needs its driver ({error.name}); "
                "run: pip install 'signoff[postgres]'"
            ) from None
        return PostgresStore(url, migrate=migrate)
    # The address is not repeated: it may hold a password.
    raise ValueError(
        "no database was opened: sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/NAME was expected"
    )


def keep_memory() -> tuple[str, Callable[[], None]]:
    """Return the URL of a new empty database in memory, and what lets it go.

    It can be opened by several stores of this process at once, and outlives them until then.
    """
    from .sqlite import keep_memory_file  # noqa: PLC0415 - a database driver is loaded only where it is used

    name, let_go = keep_memory_file()
    return f"sqlite:///{name}", let_go


__all__ = ["Ask", "Batch", "Do", "Param", "Params", "QueryName", "Row", "Store", "keep_memory", "open_store"]
