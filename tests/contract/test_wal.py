"""The write-ahead log stays small, and one process at a time moves it into the file."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from writes import event, event_ids

from graph_runtime import Store, open_store
from graph_runtime.storage import Batch
from graph_runtime.storage.checkpointer import LARGEST_WAL, PAGES

MIB = 1024 * 1024
BIG = "x" * (MIB // 4)
#: MiB with which a log is long enough to be moved into the file.
FULL = PAGES * 4096 // MIB + 2


async def write(store: Store, mib: float, name: str = "e") -> None:
    """Commit so many MiB, a quarter at a time."""
    for n in range(round(mib * 4)):
        await store.commit(Batch("big", (event(f"{name}{n:04}", data=BIG),)))


@pytest.fixture
def wal(tmp_path: Path) -> Path:
    return tmp_path / "signoff.db-wal"


@contextlib.contextmanager
def long_reader(path: Path) -> Iterator[None]:
    """Read from the database as a copy or a report does, until the block ends."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        yield


async def test_a_lone_process_keeps_the_log_small_by_itself(store: Store, wal: Path) -> None:
    largest = 0
    for n in range(2 * FULL):
        await write(store, 1, f"e{n}-")
        largest = max(largest, wal.stat().st_size)
    assert largest < PAGES * 4096 + 2 * MIB
    assert len(await event_ids(store)) == 8 * FULL


async def test_while_another_process_moves_the_log_nobody_else_does(
    store: Store, wal: Path, tmp_path: Path
) -> None:
    await write(store, 1)
    size = (tmp_path / "signoff.db").stat().st_size
    other = os.open(tmp_path / "signoff.db-checkpoint", os.O_RDWR)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        await write(store, FULL, "f")
        assert wal.stat().st_size > FULL * MIB
        assert (tmp_path / "signoff.db").stat().st_size == size
    finally:
        os.close(other)
    await write(store, 1, "g")
    assert (tmp_path / "signoff.db").stat().st_size > FULL * MIB
    before = wal.stat().st_size
    await write(store, 3, "h")
    assert wal.stat().st_size == before, "written again from its beginning"


async def test_the_lock_ends_with_its_process(store: Store, tmp_path: Path) -> None:
    lock = tmp_path / "signoff.db-checkpoint"
    code = f"import fcntl, time; f = open({str(lock)!r}); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); time.sleep(60)"
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert holder.stdout is not None
    await holder.stdout.readline()
    size = (tmp_path / "signoff.db").stat().st_size
    await write(store, FULL)
    assert (tmp_path / "signoff.db").stat().st_size == size
    holder.kill()
    await holder.wait()
    await write(store, 1, "f")
    assert (tmp_path / "signoff.db").stat().st_size > FULL * MIB


async def test_what_a_long_reader_made_large_is_small_again_after_it(
    store: Store, wal: Path, tmp_path: Path
) -> None:
    with long_reader(tmp_path / "signoff.db"):
        await write(store, 1 + LARGEST_WAL / MIB)
        assert wal.stat().st_size > LARGEST_WAL, "a log that is read from cannot be emptied"
    await write(store, 0.5, "f")
    assert wal.stat().st_size < MIB
    assert len(await event_ids(store)) == 4 * (1 + LARGEST_WAL // MIB) + 2


async def test_two_that_write_at_once_keep_it_small_and_lose_nothing(database: str, wal: Path) -> None:
    async with open_store(database) as one, open_store(database) as other:
        largest = 0
        for n in range(10):
            await asyncio.gather(write(one, 1, f"a{n}-"), write(other, 1, f"b{n}-"))
            largest = max(largest, wal.stat().st_size)
        assert largest < LARGEST_WAL + 8 * MIB
        assert len(await event_ids(one)) == 80
        assert (await other.check())["intact"] == "ok"
    assert not wal.exists(), "the last to close leaves one file"
