"""What every test may use: a clock that only tests move, a fresh store, and a factory of runtimes on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kit import MakeRuntime, SettableClock, lay_out, migrate
from postgres import Databases, NoPostgresError, any_server

from graph_runtime import CompiledGraph, Runtime, Store, TimeOrderedIds, open_store


@pytest.fixture(scope="session", autouse=True)
def _outside(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the examples do outside is done in a folder of its own, whichever test lets them."""
    os.environ["SIGNOFF_OUTSIDE"] = str(tmp_path_factory.mktemp("outside"))


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what needs a database on those that its mark names."""
    if "database" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("databases")
        metafunc.parametrize("database", mark.args if mark else ["sqlite"], indirect=True)


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database of the test's own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/signoff.db"
        return
    databases, template = request.getfixturevalue("databases"), request.getfixturevalue("template")
    with databases.migrated(template) as address:
        yield address


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Makes databases on a real PostgreSQL; without one, the test is skipped and says what was tried."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(any_server())
        except NoPostgresError as error:
            if os.environ.get("SIGNOFF_TESTS_NEED_POSTGRES"):
                pytest.fail(f"no PostgreSQL: {error}")
            pytest.skip(f"no PostgreSQL: {error}")
        with contextlib.closing(Databases(server)) as found:
            yield found


@pytest.fixture(scope="session")
def template(databases: Databases) -> Iterator[str]:
    """The address of a database with the schema, from which others are copied."""
    with databases.empty() as address, ThreadPoolExecutor(1) as aside:
        # The thread has no loop of a test.
        aside.submit(asyncio.run, migrate(address)).result()
        yield address


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    file = Path(database.removeprefix("sqlite:///"))
    if database.startswith("sqlite:///") and not file.exists():
        lay_out(file)
    async with open_store(database) as store:
        yield store


@pytest.fixture
def make_runtime(store: Store, clock: SettableClock) -> MakeRuntime:
    made, ids = 0, TimeOrderedIds(clock)

    def make(*graphs: CompiledGraph, companions: Iterable[Any] = (), **more: Any) -> Runtime:
        nonlocal made
        made += 1
        said: dict[str, Any] = {"clock": clock, "new_id": ids, "owner": f"worker {made}"}
        return Runtime(store, graphs, companions=tuple(companions), **(said | more))

    return make
