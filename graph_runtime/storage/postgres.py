"""PostgreSQL through psycopg: one write per batch, and a guard that fails aborts it in the server.

A client that counts rows after COMMIT was sent is too late, so each guarded statement is wrapped in a
function of ours that raises there. Transactions are READ COMMITTED: a statement sees what was committed
before it, and the first one of a batch locks the row that the others depend on.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from graph_runtime.errors import (
    CommitUnknown,
    Conflict,
    SchemaMismatch,
    SignoffError,
    StoreError,
    StoreUnavailable,
    ValueRefused,
)
from graph_runtime.faults import Faults

from . import Ask, Batch, Param, Params, Row
from .packet import STALE_PLAN, Line, RefusedError, Sent
from .sql import LOCK_SCHEMA, QueryName, migrations, queries, statements

#: The oldest one that the tests run on.
OLDEST = 15
#: Seconds for which a connection, a lock, or the return of the database is waited for.
PATIENCE = 5.0
#: Connections of one process, at most.
CONNECTIONS = 10
#: How often something is tried that lost a race, or its connection before it was written.
_TRIES = 5
#: Dead peers are noticed within half a minute, on both sides, whatever the machines' own settings are.
_CONNECTING: Mapping[str, str | int] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
    "client_encoding": "UTF8",
}
_SESSION: Mapping[str, str] = {
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "default_transaction_isolation": "read committed",
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
}
#: The SQLSTATE of a guard that failed.
_GUARD_FAILED = "SG001"
_GUARD = Sent(
    f"""
CREATE OR REPLACE FUNCTION signoff_guard(changed bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF changed = 0 THEN
    RAISE EXCEPTION 'a guard failed' USING ERRCODE = '{_GUARD_FAILED}';
  END IF;
  RETURN true;
END $$
""".encode()
)
_GUARDED = "WITH written AS ({} RETURNING 1) SELECT signoff_guard(count(*)) FROM written"
_GUARDED_ROWS = """WITH written AS ({}) SELECT written.*
FROM (SELECT signoff_guard(count(*)) AS held FROM written) asked LEFT JOIN written ON asked.held"""
_UNIQUE = "23505"
#: Serialisation failure, deadlock, and a plan that a migration has overtaken: undone whole, and tried again.
_LOST_A_RACE = frozenset({"40001", "40P01", STALE_PLAN})
#: A value that is no text or number of its column; a parameter of another type.
_NO_VALUE = frozenset({"42804", "42883", "42P18"})

_BEGIN = Sent(b"BEGIN")
_SNAPSHOT = Sent(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
_COMMIT = Sent(b"COMMIT")
_WAIT_FOR_LOCKS = b"SELECT set_config('lock_timeout', $1, true)"
_LOOK = Sent(
    b"SELECT current_setting('synchronous_commit') AS commits, current_setting('server_encoding') AS encoding"
)
_LOCK_SCHEMA = Sent(LOCK_SCHEMA.encode())
_IS_MADE = Sent(b"SELECT to_regclass('deployment')::text AS name")
_GET_SCHEMA = Sent(b"SELECT value FROM deployment WHERE key = 'schema'")
_PUT_SCHEMA = b"""INSERT INTO deployment (key, value) VALUES ('schema', $1)
ON CONFLICT (key) DO UPDATE SET value = excluded.value"""
_NOW = Sent(b"SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now")
_SET = b"SELECT set_config($1, $2, false)"
#: Ends the connection of that name, and says whether it was still there.
_END = b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
_PARAMETER = re.compile(r"(?<![:\w]):(\w+)")


class DatabaseClock:
    """The time by the database's clock: what it said last, and what a clock that never jumps says since."""

    def __init__(self) -> None:
        self._ahead = time.time_ns() // 1_000 - _monotonic()

    def __call__(self) -> int:
        """Return microseconds since the epoch."""
        return _monotonic() + self._ahead

    def set(self, now: int, *, asked_at: int) -> None:
        """Take over what the database said to a question sent at that monotonic time."""
        self._ahead = now - asked_at


class PostgresStore:
    """The storage contract on one PostgreSQL database, which many processes share."""

    deployment: str

    def __init__(self, url: str, *, migrate: bool = True) -> None:
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            # Neither the address nor what libpq says of it is repeated: both may hold the password.
            raise ValueError(
                "no database was opened: postgresql://USER:PASSWORD@HOST:PORT/NAME was expected"
            ) from None
        self.address = make_conninfo(
            url, **{key: value for key, value in _CONNECTING.items() if key not in given}
        )
        self._shown = "postgresql://" + "".join(
            f"{before}{given[name]}"
            for name, before in (("user", ""), ("host", "@"), ("port", ":"), ("dbname", "/"))
            if given.get(name)
        )
        self._migrate = migrate
        self._faults = Faults()
        self._closing = False
        self._under_way: set[asyncio.Task[Sequence[Sequence[Row]]]] = set()
        self.clock = DatabaseClock()
        #: What else goes into the write of a batch. When the server refuses that, the batch goes alone.
        self.beside: Callable[[Batch], Sequence[Sent]] = nothing
        self._lines: AsyncConnectionPool[Line]

    async def __aenter__(self) -> Self:
        """Make or bring up to date the schema, which one process at a time may do, and open connections."""
        try:
            async with await Line.connect(self.address, autocommit=True) as line:
                await self._prepare(line)
        except psycopg.Error as error:
            raise StoreUnavailable(f"no database was opened at {self._shown}: {_said(error)}") from None
        except RefusedError as error:
            raise StoreError(f"no database was opened at {self._shown}: {error}") from None
        self._closing = False
        self._lines = AsyncConnectionPool(
            self.address,
            connection_class=Line,
            kwargs={"autocommit": True},
            configure=_configure,
            min_size=1,
            max_size=CONNECTIONS,
            # It gives up soon: whoever asks then makes the next attempt at once, not ever later.
            reconnect_timeout=PATIENCE / 2,
            open=False,
        )
        await self._lines.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is under way, then close."""
        self._closing = True
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self._lines.close()

    async def commit(self, batch: Batch) -> Sequence[Sequence[Row]]:
        """See :meth:`Store.commit`."""
        if self._closing:
            raise StoreUnavailable(f"batch {batch.name!r} was not written: the store is closed")
        self._faults.point("before", batch.name)
        writing = asyncio.create_task(self._commit(batch), name=f"batch {batch.name}")
        self._under_way.add(writing)
        writing.add_done_callback(self._over)
        result = await asyncio.shield(writing)
        self._faults.point("after", batch.name)
        return result

    async def read(self, *asks: Ask) -> Sequence[Sequence[Row]]:
        """See :meth:`Store.read`."""
        if self._closing:
            raise StoreUnavailable("nothing was read: the store is closed")
        said = "nothing was read"
        packet = [_statement(ask.query).bound(ask.params, said) for ask in asks]
        if not packet:
            return []
        if len(packet) > 1:
            packet = [_SNAPSHOT, *packet, _COMMIT]
        for tries in range(1, _TRIES + 1):
            try:
                async with self._line(PATIENCE, said) as line:
                    rows = await line.send(*packet)
                return rows if len(asks) == 1 else rows[1:-1]
            except RefusedError as error:
                if error.state not in _LOST_A_RACE or tries == _TRIES:
                    raise _refusal(error, said) from None
            except psycopg.Error as error:
                if tries == _TRIES:
                    raise StoreUnavailable(f"{said}: {_said(error)}") from None
        raise AssertionError

    async def check(self) -> Mapping[str, str]:
        """See :meth:`Store.check`."""
        names = ("server_version", "synchronous_commit", "fsync", "full_page_writes", "data_checksums")
        asked = (Sent(b"SELECT current_setting($1) AS value", (name.encode(),)) for name in names)
        said = "nothing was looked at"
        try:
            async with self._line(PATIENCE, said) as line:
                found = dict(zip(names, [rows[0]["value"] for rows in await line.send(*asked)], strict=True))
        except (RefusedError, psycopg.Error) as error:
            raise StoreUnavailable(f"{said}: {_said(error)}") from None
        unsafe = [f"{name}=off" for name in names[1:4] if found[name] == "off"]
        safe = f"yes (synchronous_commit={found['synchronous_commit']})"
        return {
            "engine": f"PostgreSQL {found['server_version'].split()[0]}",
            "path": self._shown,
            "schema": str(len(migrations())),
            "durable": f"no ({', '.join(unsafe)})" if unsafe else safe,
            "checksums": found["data_checksums"],
        }

    # -- the inside ----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _line(self, patience: float, said: str) -> AsyncIterator[Line]:
        """Yield a connection that the server has not closed since it was last used."""
        until = time.monotonic() + patience
        while True:
            try:
                line = await self._lines.getconn(until - time.monotonic())
            except psycopg.Error as error:
                raise StoreUnavailable(f"{said}: no connection to {self._shown}: {_said(error)}") from None
            try:
                if not line.lost:
                    yield line
                    return
                await line.close()
            finally:
                await self._lines.putconn(line)

    async def _commit(self, batch: Batch) -> Sequence[Sequence[Row]]:
        said = f"batch {batch.name!r} was not written"
        kinds = [_statement(do.query, guarded=do.guard is not None) for do in batch.writes]
        writes = [kind.bound(do.params, said) for kind, do in zip(kinds, batch.writes, strict=True)]
        beside = self.beside(batch)
        tries, name = 0, b""
        while True:
            tries += 1
            try:
                async with self._line(_left(batch, said), said) as line:
                    name = (line.info.parameter_status("application_name") or "").encode()
                    rows = await self._write(line, batch, [*writes, *beside], said)
                return [one if kind.returns else [] for kind, one in zip(kinds, rows, strict=False)]
            except RefusedError as error:
                if beside and len(writes) <= error.index < len(writes) + len(beside):
                    beside = ()
                elif error.state not in _LOST_A_RACE or tries == _TRIES:
                    raise _refusal(error, said, batch) from None
            except psycopg.Error as error:
                if await self._landed(batch, name):
                    # What it claimed, if anything, waits for the end of its lease.
                    return [[] for _ in writes]
                if tries == _TRIES:
                    raise StoreUnavailable(f"{said}: {_said(error)}") from None

    async def _write(self, line: Line, batch: Batch, writes: Sequence[Sent], said: str) -> list[list[Row]]:
        # Rounded up: a wait that ends with the batch's own limit ends after it, never just before.
        patience = math.ceil(_left(batch, said) * 1_000)
        first = (_BEGIN, _NOW, Sent(_WAIT_FOR_LOCKS, (b"%d" % patience,)))
        asked_at = _monotonic()
        try:
            rows = await line.send(*first, *writes, _COMMIT)
        except RefusedError as error:
            error.index -= len(first)
            raise
        self.clock.set(rows[1][0]["now"], asked_at=asked_at)
        return rows[len(first) : -1]

    async def _landed(self, batch: Batch, name: bytes) -> bool:
        """Say whether a batch is there whose connection was lost before the answer came.

        The proof is its line in the journal, looked for when the other end of the connection is surely gone.
        What has no line there is fenced by a lease, whose holder starts again from what is stored.
        """
        event = next((do.params["event_id"] for do in batch.writes if do.query == "put_event"), None)
        until = time.monotonic() + PATIENCE
        while event is not None and time.monotonic() < until:
            asked = _statement("get_event").bound({"event_id": event}, "nothing was read")
            with contextlib.suppress(StoreUnavailable, RefusedError, psycopg.Error):
                async with self._line(until - time.monotonic(), "nothing was read") as line:
                    there, landed = await line.send(Sent(_END, (name,)), asked)
                if not there:
                    return bool(landed)
            await asyncio.sleep(0.05)
        raise CommitUnknown(
            f"whether batch {batch.name!r} was written is not known: {self._shown} went away meanwhile; "
            "look before trying again"
        )

    def _over(self, writing: asyncio.Task[Sequence[Sequence[Row]]]) -> None:
        self._under_way.discard(writing)
        if not writing.cancelled():
            writing.exception()  # a caller that was cancelled will not fetch it, and nobody else need warn

    async def _prepare(self, line: Line) -> None:
        version = line.info.server_version // 10_000
        if version < OLDEST:
            raise StoreError(f"no database was opened: PostgreSQL {version} is older than {OLDEST}")
        ((found,),) = await line.send(_LOOK)
        if found["commits"] == "off":
            raise StoreError(
                "no database was opened: its synchronous_commit is off, so a confirmed write can be lost; "
                "set it to on"
            )
        if found["encoding"] != "UTF8":
            raise StoreError(f"no database was opened: its encoding is {found['encoding']}; UTF8 is needed")
        # Held until this connection is closed: whoever comes second finds the schema made.
        await line.send(_LOCK_SCHEMA)
        await self._bring_up_to_date(line)
        asked_at = _monotonic()
        asked = [_statement(name).bound({}, "") for name in ("get_deployment", "get_closed")]
        deployment, closed, now = await line.send(*asked, _NOW)
        if closed:
            raise StoreError(f"the database was left alone: {closed[0]['value']}; use that one")
        self.deployment = deployment[0]["value"]
        self.clock.set(now[0]["now"], asked_at=asked_at)

    async def _bring_up_to_date(self, line: Line) -> None:
        ((made,),) = await line.send(_IS_MADE)
        ((number,),) = await line.send(_GET_SCHEMA) if made["name"] else [[{"value": "0"}]]
        present, known = int(number["value"]), migrations()[-1][0]
        if present > known:
            raise SchemaMismatch(
                f"the database was left alone: its schema is number {present}, this program knows {known}; "
                "use the newer program"
            )
        if present < known and not self._migrate:
            raise SchemaMismatch(
                f"the database was left alone: its schema is number {present}, this program wants {known}; "
                "run 'signoff migrate'"
            )
        if present < known:
            made_of = [
                Sent(_as_in_sqlite(statement).encode())
                for number, _, script in migrations()
                if number > present
                for statement in statements(script)
            ]
            deployment = _statement("put_deployment").bound({"value": uuid.uuid4().hex}, "")
            schema = Sent(_PUT_SCHEMA, (str(known).encode(),))
            await line.send(_BEGIN, *made_of, _GUARD, deployment, schema, _COMMIT)


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement of ``queries.sql`` as PostgreSQL wants it: numbered parameters, and a guard around it."""

    query: QueryName
    text: bytes
    names: tuple[str, ...]
    returns: bool

    def bound(self, params: Params, said: str) -> Sent:
        """Return it with its values. Raises :class:`ValueRefused` for one that cannot be sent."""
        values: list[bytes | None] = []
        for name in self.names:
            try:
                values.append(_as_text(params[name]))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueRefused(
                    f"{said}: {self.query!r} cannot take its parameter {name!r}: {error}"
                ) from error
        return Sent(self.text, values)


@cache
def _statement(query: QueryName, *, guarded: bool = False) -> _Statement:
    numbers: dict[str, int] = {}
    text = _PARAMETER.sub(
        lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}", queries("postgres")[query]
    )
    returns = re.search(r"\bRETURNING\b", text) is not None
    if guarded:
        text = (_GUARDED_ROWS if returns else _GUARDED).format(text)
    return _Statement(query, text.encode(), tuple(numbers), returns)


def _as_in_sqlite(statement: str) -> str:
    """Return DDL with SQLite's meaning: text sorts by its bytes, as ids must; whole numbers have 64 bits."""
    return re.sub(r"\bINTEGER\b", "BIGINT", re.sub(r"\bTEXT\b", 'TEXT COLLATE "C"', statement))


def _as_text(value: Param) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("PostgreSQL stores no NUL character")
        return value.encode()
    if not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} is neither text nor a whole number")
    if not -(2**63) <= value < 2**63:
        raise ValueError("the number is larger than 64 bits")
    return b"%d" % value


def nothing(batch: Batch) -> Sequence[Sent]:
    """Return what is written beside a batch when nobody wants anything."""
    return ()


def _refusal(error: RefusedError, said: str, batch: Batch | None = None) -> SignoffError:
    """Return what a refusal of the server means to the caller. Details are left out: they hold values."""
    if batch is not None:
        guard = batch.writes[error.index].guard if 0 <= error.index < len(batch.writes) else None
        if error.state == _GUARD_FAILED or (error.state == _UNIQUE and guard is not None):
            return Conflict(guard or "", batch.name)
    if error.state[:2] == "22" or error.state in _NO_VALUE:
        return ValueRefused(f"{said}: a value cannot be sent ({error.state})")
    if error.state[:2] in {"23", "42"}:
        return StoreError(f"{said}: {error}")
    return StoreUnavailable(f"{said}: {error}")


def _left(batch: Batch, said: str) -> float:
    """Return for how many seconds this batch may wait. Raises :class:`StoreUnavailable` for none."""
    if batch.give_up_at is None:
        return PATIENCE
    left = min(PATIENCE, batch.give_up_at - time.monotonic())
    if left <= 0:
        raise StoreUnavailable(f"{said}: it waited too long")
    return left


async def _configure(line: Line) -> None:
    name = {"application_name": f"signoff {uuid.uuid4().hex}"}
    settings = {**_SESSION, **name}.items()
    await line.send(*(Sent(_SET, (key.encode(), value.encode())) for key, value in settings))


def _monotonic() -> int:
    return time.monotonic_ns() // 1_000


def _said(error: Exception) -> str:
    """Return the first line of an error; what follows may repeat values."""
    return str(error).strip().partition("\n")[0]
