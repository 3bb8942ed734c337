"""Several processes on one database: killed, stopped, without their database, and under a flood of clicks.

A little of each; tests/torture has all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from house import flood, kill_under_load, stop_past_the_lease, take_the_database_away
from postgres import Databases, OwnServer, own_server

pytestmark = [pytest.mark.processes, pytest.mark.databases("postgres")]


async def test_workers_that_are_killed_under_load_lose_nothing(database: str, tmp_path: Path) -> None:
    await kill_under_load(database, tmp_path, 1)


async def test_a_worker_that_was_stopped_past_its_lease_writes_nothing_when_it_goes_on(
    database: str, tmp_path: Path
) -> None:
    await stop_past_the_lease(database, tmp_path)


@pytest.fixture(scope="module")
def server(databases: Databases) -> Iterator[OwnServer]:
    """A server that nobody else uses, to be stopped."""
    with own_server() as server:
        yield server


async def test_a_database_that_is_away_for_a_while_costs_nobody_a_click(
    server: OwnServer, tmp_path: Path
) -> None:
    await take_the_database_away(server, tmp_path, 1.5, 30)


@pytest.mark.databases("sqlite", "postgres")
async def test_of_a_flood_of_clicks_exactly_the_right_ones_count(database: str, tmp_path: Path) -> None:
    await flood(database, tmp_path, 120)
