"""The write-ahead log torn at any byte, or with a bit turned: what is left is a whole past, or is refused.

The log is that of real runs, and holds all of them. With each acknowledgement stands how long the log was by
then: of a log that was cut behind it, nothing acknowledged may be missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kit import NIGHTLY, much
from living import World, alive
from promises import Told, broken_in, read_told
from regime import say

from graph_runtime import StoreError, Upkeep, open_store

pytestmark = pytest.mark.timeout(3_600 if NIGHTLY else 300)
#: Bytes of the log's header, of a frame's, and of a frame.
HEADER, FRAME_HEADER, FRAME = 32, 24, 24 + 4_096


@dataclass(frozen=True)
class Log:
    """A database whose whole life is still in its log."""

    folder: Path
    content: bytes
    told: Told
    #: How long the log was when each acknowledgement had come.
    at: list[int]

    @property
    def ends(self) -> list[int]:
        """Where each frame ends."""
        return list(range(HEADER, len(self.content) + 1, FRAME))


class Measured(World):
    """Notes how long the log is at each acknowledgement."""

    def ack(self, *words: str) -> None:
        super().ack(*words)
        with (self.folder / "lengths").open("a") as file:
            file.write(f"{_written(self.folder)}\n")


def _written(folder: Path) -> int:
    return (folder / "signoff.db-wal").stat().st_size


async def _live(folder: Path) -> None:
    """Ask and answer, reject and cancel; take file and log before the one is moved into the other."""
    async with open_store(f"sqlite:///{folder}/signoff.db") as store:
        world = Measured(store, folder, 0)
        try:
            for graph in ("errand", "pair", "slow", "nested", "steps"):
                await world.start(graph)
                await world.settle()
            await world.decide(title="errand")
            await world.decide("reject", title="a")
            await world.settle()
            run = await world.last("nested")
            world.ack("ended", (await world.runtime.cancel("nested", run.id)).id, "cancelled", "nested")
            await world.settle()
        finally:
            world.close()
        for name in ("signoff.db", "signoff.db-wal"):
            shutil.copy(folder / name, folder / f"{name}.torn")


@pytest.fixture(scope="module")
def log() -> Iterator[Log]:
    with tempfile.TemporaryDirectory(prefix="torn-") as room:
        folder = Path(room)
        asyncio.run(_live(folder))
        content = (folder / "signoff.db-wal.torn").read_bytes()
        lengths = [int(line) for line in (folder / "lengths").read_text().splitlines()]
        yield Log(folder, content, read_told(folder), lengths)


def look(log: Log, content: bytes, told: list[tuple[str, ...]]) -> list[str]:
    """Return what is broken in the database with this log; a refusal is not."""
    place = log.folder / "torn"
    place.mkdir()
    try:
        shutil.copy(log.folder / "signoff.db.torn", place / "signoff.db")
        (place / "signoff.db-wal").write_bytes(content)
        with contextlib.closing(sqlite3.connect(place / "signoff.db", isolation_level=None)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master").fetchall():
                # Cut before its first commit had ended, in which the schema was made.
                return ["acknowledged and nothing is there"] if told else []
            return broken_in(connection, Told(told))
    finally:
        shutil.rmtree(place)


def test_a_log_that_is_torn_anywhere_leaves_a_past_that_is_whole(log: Log) -> None:
    chance = random.Random(20260105)
    edges = {end + by for end in log.ends for by in (-1, 0, 1)}
    inside = {chance.randrange(len(log.content)) for _ in range(much(400, 4_000))}
    cuts = sorted(cut for cut in edges | inside if 0 <= cut <= len(log.content))
    for cut in cuts:
        told = [ack for ack, at in zip(log.told.acks, log.at, strict=True) if at <= cut]
        assert look(log, log.content[:cut], told) == [], f"cut at {cut} of {len(log.content)}"
    assert len(cuts) >= 1_000
    say(f"{len(cuts)} cuts of a log of {len(log.ends) - 1} frames with {len(log.at)} acknowledgements")


def test_a_bit_that_turned_in_the_log_leaves_a_past_that_is_whole(log: Log) -> None:
    """Each frame has a sum over all before it: the log ends before the first that does not fit."""
    chance = random.Random(20260105)
    for _ in range(500):
        byte, bit = chance.randrange(len(log.content)), chance.randrange(8)
        content = bytearray(log.content)
        content[byte] ^= 1 << bit
        told = [ack for ack, at in zip(log.told.acks, log.at, strict=True) if at <= byte]
        assert look(log, bytes(content), told) == [], f"bit {bit} of byte {byte}"


async def test_a_program_goes_on_from_a_torn_log_or_says_why_not(log: Log, tmp_path: Path) -> None:
    """The same through the program itself, which does what is left to be done."""
    chance = random.Random(20260106)
    went_on = 0
    for number in range(much(20, 300)):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(log.folder / "signoff.db.torn", folder / "signoff.db")
        cut = chance.randrange(len(log.content))
        (folder / "signoff.db-wal").write_bytes(log.content[:cut])
        async with alive(folder, 1) as world:
            await world.settle()
            await world.decide()
            await world.settle()
            assert set(await world.runtime.count()) <= {"completed", "cancelled"}
            went_on += 1
        with contextlib.closing(sqlite3.connect(folder / "signoff.db")) as connection:
            assert broken_in(connection, read_told(folder)) == [], f"cut at {cut}"
        shutil.rmtree(folder)
    say(f"{went_on} programs went on from a torn log")


async def test_a_bit_that_turned_in_the_file_is_named_or_harmless_and_never_a_riddle(
    log: Log, tmp_path: Path
) -> None:
    """A page of the file has no sum: a turned bit in a text is not seen. But nothing else than an error of
    ours comes of it, and whoever looks is told of every page that cannot be right.
    """
    whole = tmp_path / "whole.db"
    shutil.copy(log.folder / "signoff.db.torn", whole)
    shutil.copy(log.folder / "signoff.db-wal.torn", tmp_path / "whole.db-wal")
    async with open_store(f"sqlite:///{whole}"):
        pass  # whoever closes it last moves the log into the file
    content = whole.read_bytes()
    chance = random.Random(20260107)
    refused = named = 0
    for number in range(much(100, 2_000)):
        broken = bytearray(content)
        byte = chance.randrange(len(content))
        broken[byte] ^= 1 << chance.randrange(8)
        place = tmp_path / f"{number}.db"
        place.write_bytes(broken)
        try:
            said = await Upkeep(f"sqlite:///{place}").check()
        except StoreError:
            refused += 1
        else:
            named += bool(said)
        for file in tmp_path.glob(f"{number}.db*"):
            file.unlink()
    assert refused + named, "not one of them was seen"
    say(f"of {much(100, 2_000)} turned bits {refused} kept the database closed, {named} were named")


def test_the_acknowledgements_stand_where_the_log_was_flushed(log: Log) -> None:
    """So that the other tests of this file know what must be there."""
    assert json.dumps(log.at) == json.dumps(sorted(log.at))
    assert 0 < log.at[0] < log.at[-1] <= len(log.content)
    kinds = {ack[0] for ack in log.told.acks}
    assert {"started", "decided", "landed", "ended"} <= kinds
