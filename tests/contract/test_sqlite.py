"""What only SQLite has: a file with a mode, a disk that can be full, a database in memory."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from graphs import answer_only, begin, one_after_another, review_then_publish
from kit import MakeRuntime, SettableClock
from writes import event, event_ids

from graph_runtime import Runtime, StoreError, StoreUnavailable, Upkeep, open_store
from graph_runtime.storage import Batch
from graph_runtime.storage.sql import migrations


async def test_the_file_is_the_owner_s_alone(database: str, tmp_path: Path) -> None:
    async with open_store(database) as store:
        await store.commit(Batch("test", (event("e1"),)))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {f"signoff.db{end}": 0o600 for end in ("", "-wal", "-shm", "-checkpoint")}


async def test_missing_folders_are_made(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/a/b/c.db") as store:
        await store.commit(Batch("test", (event("e1"),)))
    assert (tmp_path / "a/b/c.db").exists()


async def test_durable_means_durable(database: str) -> None:
    async with open_store(database) as store:
        said = await store.check()
    assert said["durable"] == "yes (synchronous=FULL)"
    assert said["journal"] == "wal"
    assert said["intact"] == "ok"
    assert said["schema"] == str(migrations()[-1][0])
    assert ("note" in said) == (sqlite3.sqlite_version_info < (3, 51, 3))


async def test_a_database_in_memory_keeps_the_contract() -> None:
    async with open_store("sqlite:///:memory:") as store:
        runtime = Runtime(store, [review_then_publish()])
        run = await answer_only(runtime, await begin(runtime), {"decision": "approve"})
        assert run.status == "completed"


async def test_a_full_disk_is_said_nothing_is_half_written_and_it_heals(store: Any, tmp_path: Path) -> None:
    await store.commit(Batch("test", (event("e0"),)))
    (pages,) = [row[0] for row in await store._writer.execute_fetchall("PRAGMA page_count")]
    await store._writer.execute_fetchall(f"PRAGMA max_page_count={pages + 2}")
    big = "x" * 200_000
    said = await asyncio.gather(
        store.commit(Batch("small", (event("e1"),))),
        store.commit(Batch("big", (event("x1"), event("x2", data=big)))),
        store.commit(Batch("small", (event("e2"),))),
        return_exceptions=True,
    )
    assert [type(one) for one in said] == [list, StoreUnavailable, list], said
    assert await event_ids(store) == ["e0", "e1", "e2"]
    await store._writer.execute_fetchall("PRAGMA max_page_count=1000000")
    await store.commit(Batch("big", (event("x1"), event("x2", data=big))))
    assert await event_ids(store) == ["e0", "e1", "e2", "x1", "x2"]


async def test_a_full_disk_in_the_middle_of_a_run_loses_nothing(
    store: Any, make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    big: list[str] = ["x" * 400_000]
    runtime = make_runtime(one_after_another(a=lambda s: {"log": ["a"]}, b=lambda s: {"log": big}))
    run = await runtime.start("graph", {"subject": "s"})
    (pages,) = [row[0] for row in await store._writer.execute_fetchall("PRAGMA page_count")]
    await store._writer.execute_fetchall(f"PRAGMA max_page_count={pages + 20}")
    with pytest.raises(StoreUnavailable):
        await runtime.advance(run.id)
    assert (await runtime.get(run.id)).status == "running"
    await store._writer.execute_fetchall("PRAGMA max_page_count=1000000")
    clock.pass_seconds(31)
    assert (await runtime.advance(run.id)).status == "completed"


@pytest.mark.parametrize(
    "content", [b"this is no database" * 100, b"SQLite format 3\x00 but not really" * 100]
)
async def test_a_file_that_is_no_database_is_refused(database: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "signoff.db").write_bytes(content)
    with pytest.raises(StoreError):
        async with open_store(database):
            pass
    assert (tmp_path / "signoff.db").read_bytes() == content


async def test_damage_that_no_letter_stands_for_is_named(tmp_path: Path) -> None:
    """SQLite's words of such a file hold a piece of it, and cannot be read either."""
    path = tmp_path / "damaged.db"
    async with open_store(f"sqlite:///{path}"):
        pass
    content = path.read_bytes()
    turned = content.replace(b"INDEX runs_newest ON runs (", b"INDEX runs_newest ON r\xc2ns (")
    assert turned != content
    path.write_bytes(turned)
    with pytest.raises(StoreUnavailable, match="the file is damaged: restore a backup"):
        async with open_store(f"sqlite:///{path}"):
            pass
    with pytest.raises(StoreUnavailable, match="damaged"):
        await Upkeep(f"sqlite:///{path}").back_up(tmp_path / "copy.db")
