"""A database is moved whole or not at all, and nobody uses both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aside import aside
from graphs import begin
from people import CLI, approvals_of, boss, deploy, open_view, requests, ticket_of
from postgres import Databases
from writes import event, event_ids

from graph_runtime import Journal, Outbox, Place, Runtime, StoreError, copy_database, open_store, system_clock
from graph_runtime.storage import Batch
from graph_runtime.storage.copying import TABLES
from graph_runtime.storage.sql import migrations

pytestmark = pytest.mark.databases("sqlite", "postgres")
JOURNAL_KEYS = {"k1": b"a key of thirty-two letters, more"}


@pytest.fixture(params=["sqlite", "postgres"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database to copy to, without a schema."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/other.db"
        return
    databases: Databases = request.getfixturevalue("databases")
    with databases.empty() as address:
        yield address


def rows(database: str) -> dict[str, list[Any]]:
    with aside(database) as raw:
        return {
            table: sorted(raw.execute(f"SELECT * FROM {table}").fetchall())  # noqa: S608 - our own tables
            for table in ("threads", "runs", "events", "channel_values", "requests", "outbox", "blocks")
        }


async def lived_in(database: str) -> str:
    """Leave a finished run, and one whose card waits for an answer; return its request's id."""
    async with open_store(database) as store:
        runtime = Runtime(store, [deploy()], companions=[requests()])
        approvals = approvals_of(runtime)
        done = await begin(runtime)
        view = await open_view(approvals, done.id)
        await approvals.decide(ticket_of(view, store), boss(), "approve", place=CLI)
        assert (await runtime.advance(done.id)).status == "completed"
        waiting = await begin(runtime, {"subject": "häuser 🙂"})
        outbox = Outbox(runtime)
        entry = await outbox.claim()
        assert entry is not None
        await outbox.landed(entry, Place("slack", "A1", "T1", "C1", "1.2"))
        journal = Journal(store, JOURNAL_KEYS, key="k1", clock=system_clock)
        while await journal.seal():
            pass
        return (await open_view(approvals, waiting.id)).request.id


async def test_what_people_were_asked_before_they_can_answer_after(database: str, other: str) -> None:
    request = await lived_in(database)
    before = rows(database)
    async with open_store(database) as store:
        deployment = store.deployment
    counts = await copy_database(database, other)
    assert rows(other) == before
    assert counts["runs"] == 2
    assert counts["events"] == len(before["events"])
    async with open_store(other) as store:
        assert store.deployment == deployment, "the cards in Slack carry it"
        runtime = Runtime(store, [deploy()], companions=[requests()])
        approvals = approvals_of(runtime)
        found = await Journal(store, JOURNAL_KEYS, key="k1", clock=system_clock).verify()
        assert (found.lines, found.broken) == (len(before["events"]), None)
        view = await approvals.view(request)
        assert view is not None
        await approvals.decide(ticket_of(view, store), boss(), "approve", place=CLI)
        assert (await runtime.advance(view.run.id)).status == "completed"


async def test_the_original_is_closed_and_says_where_everything_is(database: str, other: str) -> None:
    await lived_in(database)
    await copy_database(database, other)
    for migrate in (True, False):
        with pytest.raises(StoreError, match="it was copied to"):
            async with open_store(database, migrate=migrate):
                pass
    with pytest.raises(StoreError, match="it was copied to"):
        await copy_database(database, other)


async def test_a_database_that_somebody_has_open_is_not_copied(
    database: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived_in(database)
    # Whoever stays is waited for as long as this.
    monkeypatch.setattr("graph_runtime.storage.copying._PATIENCE", 0.2)
    async with open_store(database) as store:
        with pytest.raises(StoreError, match="the original is in use"):
            await copy_database(database, other)
        await store.commit(Batch("test", (event("zz"),)))
    monkeypatch.undo()
    await copy_database(database, other)
    async with open_store(other) as copy:
        assert "zz" in await event_ids(copy)


async def test_a_database_that_holds_anything_is_not_copied_to(
    database: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived_in(database)
    async with open_store(other) as copy:
        with monkeypatch.context() as patch:
            patch.setattr("graph_runtime.storage.copying._PATIENCE", 0.2)
            with pytest.raises(StoreError, match="the copy is in use"):
                await copy_database(database, other)
        await copy.commit(Batch("test", (event("e1"),)))
    with pytest.raises(StoreError, match="not empty: it has events"):
        await copy_database(database, other)
    async with open_store(other) as copy:
        assert await event_ids(copy) == ["e1"]
    async with open_store(database):
        pass


async def test_a_copy_that_breaks_off_leaves_both_sides_as_they_were(
    database: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived_in(database)
    before = rows(database)
    with monkeypatch.context() as patch:
        patch.setitem(TABLES, "events", "nothing")  # type: ignore[index]
        with pytest.raises(StoreError, match="nothing was copied"):
            await copy_database(database, other)
    async with open_store(database), open_store(other) as copy:
        assert await event_ids(copy) == []
    assert rows(database) == before
    await copy_database(database, other)
    assert rows(other) == before


async def test_a_database_that_is_not_there_is_not_made(other: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        await copy_database(f"sqlite:///{tmp_path}/nothing.db", other)
    assert not (tmp_path / "nothing.db").exists()
    with pytest.raises(ValueError, match="was expected"):
        await copy_database("mysql://x", other)


def test_the_tables_are_those_of_the_schema_in_its_order() -> None:
    script = "\n".join(text for _, _, text in migrations())
    made = re.findall(r"CREATE TABLE (\w+) \((.*?)\n\);", script, re.DOTALL)
    # A table that a later file makes anew stands where it stood.
    assert list(dict(made)) == ["deployment", *TABLES]
    for name, body in made[1:]:
        (key,) = re.findall(
            r"^  (?:(\w+) (?:TEXT|BIGINT) PRIMARY KEY|PRIMARY KEY \((.*?)\))", body, re.MULTILINE
        )
        assert TABLES[name] == "".join(key)
