"""A wire between a store and its PostgreSQL server that can be cut where it hurts most."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict


class Wire:
    """Carries bytes both ways until it is told to keep the answers, or to be gone."""

    def __init__(self, folder: Path, database: str) -> None:
        given = conninfo_to_dict(database)
        self._there = (str(given.get("host") or "/var/run/postgresql"), int(given.get("port") or 5432))
        self._here = folder / ".s.PGSQL.5432"
        rest = "&".join(
            f"{name}={quote(str(value))}" for name, value in given.items() if name not in {"host", "port"}
        )
        #: The same database, by way of the wire.
        self.address = f"postgresql://?host={quote(str(folder), safe='')}&{rest}"
        #: While set, what the server says goes nowhere.
        self.silent = False
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def lay(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_unix_server(self._carry, self._here)

    async def cut(self) -> None:
        """End every connection; new ones find nobody."""
        assert self._server is not None
        self._server.close()
        self._here.unlink(missing_ok=True)
        for writer in list(self._open):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._there
        if host.startswith("/"):
            there, back = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            there, back = await asyncio.open_connection(host, port)
        self._open |= {writer, back}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, back, answers=False))
                both.create_task(self._pass(there, writer, answers=True))
        finally:
            for one in (writer, back):
                self._open.discard(one)
                one.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                if answers and self.silent:
                    continue
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


@contextlib.asynccontextmanager
async def wire_to(folder: Path, database: str) -> AsyncIterator[Wire]:
    """Yield a wire to the database, cut at the end."""
    wire = Wire(folder, database)
    await wire.lay()
    try:
        yield wire
    finally:
        await wire.cut()
