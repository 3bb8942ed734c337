"""What every test may use: a clock that only tests move, a fresh store, and a factory of runtimes on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from kit import MakeRuntime, SettableClock

from graph_runtime import CompiledGraph, Runtime, Store, TimeOrderedIds, open_store


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture(params=["sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, once for each backend."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/signoff.db"
    raise LookupError(f"there is no backend {request.param!r}")


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
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
