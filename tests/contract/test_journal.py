"""A sealed journal shows every change: edited, deleted, inserted, moved, reordered, cut off."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aside import aside
from kit import SettableClock
from writes import event

from graph_runtime import SECOND, Head, Journal, JournalError, Store, Verified, lines_of, open_store
from graph_runtime.journal import LATE, LONGEST_BLOCK
from graph_runtime.storage import Batch

pytestmark = pytest.mark.databases("sqlite", "postgres")
KEYS = {"k1": b"a key of thirty-two letters, more"}
START = 1_000_000 * SECOND


def journal_of(store: Store, keys: dict[str, bytes] | None = None, key: str = "k1") -> Journal:
    return Journal(store, keys or KEYS, key=key, clock=SettableClock(START))


async def write(store: Store, *ids: str, at: int = START) -> None:
    lines = (event(id_, now=at + n, data=json.dumps({"n": id_})) for n, id_ in enumerate(ids))
    await store.commit(Batch("test", tuple(lines)))


async def sealed(store: Store) -> Journal:
    """Three blocks: e1 to e3, e4 and e5, e6."""
    journal = journal_of(store)
    for ids in (("e1", "e2", "e3"), ("e4", "e5"), ("e6",)):
        await write(store, *ids)
        assert await journal.seal() is not None
    return journal


def change(database: str, *statements: str) -> None:
    with aside(database) as raw:
        for statement in statements:
            raw.execute(statement)


def fault(found: Verified) -> tuple[str, int, str | None]:
    assert found.broken is not None
    return found.broken.fault, found.broken.block, found.broken.event_id


async def test_what_was_sealed_is_found_whole(store: Store):
    journal = await sealed(store)
    await write(store, "e7")
    found = await journal.verify([h for h in [await journal.head()] if h])
    assert (found.lines, found.unsealed, found.broken) == (6, 1, None)
    assert found.head is not None and found.head.block == 3


async def test_nothing_sealed_is_nothing_broken(store: Store):
    journal = journal_of(store)
    assert await journal.seal() is None
    assert await journal.head() is None
    assert await journal.verify() == Verified(None, 0, 0, None)


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (["UPDATE events SET data = '{\"n\": \"e9\"}' WHERE event_id = 'e2'"], ("edited", 1, "e2")),
        (["UPDATE events SET at = at + 1 WHERE event_id = 'e4'"], ("edited", 2, "e4")),
        (["UPDATE events SET actor = 'U0EVE' WHERE event_id = 'e6'"], ("edited", 3, "e6")),
        (["DELETE FROM events WHERE event_id = 'e1'"], ("deleted", 1, "e1")),
        (["UPDATE events SET block = 2 WHERE event_id = 'e3'"], ("deleted", 1, "e3")),
        (["UPDATE events SET block = NULL WHERE event_id = 'e5'"], ("deleted", 2, "e5")),
        (
            ["INSERT INTO events (event_id, at, kind, data, block) VALUES ('e2b', 1, 'x', '{}', 1)"],
            ("inserted", 1, "e2b"),
        ),
        (
            ["INSERT INTO events (event_id, at, kind, data) VALUES ('e2b', 1, 'x', '{}')"],
            ("inserted", 3, "e2b"),
        ),
        (
            ["INSERT INTO events (event_id, at, kind, data, block) VALUES ('e9', 1, 'x', '{}', 9)"],
            ("block", 9, "e9"),
        ),
        (
            [
                "UPDATE events SET event_id = 'x' WHERE event_id = 'e4'",
                "UPDATE events SET event_id = 'e4' WHERE event_id = 'e5'",
                "UPDATE events SET event_id = 'e5' WHERE event_id = 'x'",
            ],
            ("edited", 2, "e4"),
        ),
        (
            ["INSERT INTO events (event_id, at, kind, data, block) VALUES ('e0', 1, 'x', '{}', 0)"],
            ("block", 0, "e0"),
        ),
        (
            ["INSERT INTO events (event_id, at, kind, data, block) VALUES ('e0', 1, 'x', '{}', -3)"],
            ("block", -3, "e0"),
        ),
        (["DELETE FROM blocks WHERE block = 2"], ("block", 2, None)),
        (["DELETE FROM blocks WHERE block = 3"], ("block", 3, "e6")),
        (["UPDATE blocks SET lines = '[]' WHERE block = 2"], ("block", 2, None)),
        (["UPDATE blocks SET sealed_at = 5 WHERE block = 1"], ("block", 1, None)),
        (["UPDATE blocks SET key_id = 'k9' WHERE block = 1"], ("key", 1, None)),
    ],
    ids=lambda value: value[0][:60] if isinstance(value, list) else None,
)
async def test_a_change_to_what_was_sealed_is_named(
    store: Store, database: str, statements: list[str], named: Any
):
    journal = await sealed(store)
    change(database, *statements)
    assert fault(await journal.verify()) == named


async def test_an_end_that_was_cut_off_shows_against_a_head_that_was_noted(store: Store, database: str):
    journal = await sealed(store)
    noted = await journal.head()
    assert noted is not None
    change(database, "DELETE FROM events WHERE block = 3", "DELETE FROM blocks WHERE block = 3")
    assert (await journal.verify()).broken is None, "nothing in the database says that there was more"
    assert fault(await journal.verify([noted])) == ("cut off", 3, None)
    # Gone on from there, by a process that knows nothing of it, it is another block 3.
    await write(store, "e7")
    with pytest.raises(JournalError, match="block 3, which was sealed here, is gone"):
        await journal.seal()
    again = await journal_of(store).seal()
    assert again is not None
    for heads in ([noted], [noted, again], [again, noted]):
        assert fault(await journal.verify(heads)) == ("block", 3, None), "every head that was noted counts"


async def test_a_line_that_is_sealed_late_says_so_itself(store: Store):
    journal = await sealed(store)
    await write(store, "e0", at=START - LATE - 1)
    await journal.seal()
    assert fault(await journal.verify()) == ("inserted", 4, "e0")


async def test_lines_of_a_clock_that_is_a_little_behind_are_in_order(store: Store):
    journal = await sealed(store)
    await write(store, "e0", at=START - LATE + 5)
    await journal.seal()
    assert (await journal.verify()).broken is None


HOUR = 3_600


@pytest.mark.parametrize(
    "jumps", [(HOUR, -HOUR), (-HOUR, HOUR), (-HOUR,)], ids=["ahead and right again", "behind", "set back"]
)
async def test_lines_of_a_clock_that_was_an_hour_wrong_are_in_order_and_one_that_was_put_in_is_found(
    store: Store, jumps: tuple[int, ...]
):
    clock = SettableClock(START)
    journal = Journal(store, KEYS, key="k1", clock=clock)
    ids = iter(f"e{n}" for n in range(1, 99))
    for seconds in (0, *jumps):
        clock.pass_seconds(seconds)
        # Sealed in two blocks, and the last line of each time in the first block of the next.
        for _ in range(2):
            await write(store, next(ids), at=clock() - 5)
            await journal.seal()
        await write(store, next(ids), at=clock())
        assert (await journal.verify()).broken is None
    await journal.seal()
    assert (await journal.verify()).broken is None
    await write(store, "e0", at=clock() - LATE - 6)
    assert fault(await journal.verify())[::2] == ("inserted", "e0")
    await journal.seal()
    assert fault(await journal.verify())[::2] == ("inserted", "e0"), "sealed or not"


async def test_a_line_dated_ahead_does_not_make_those_after_it_look_as_if_they_were_put_in(store: Store):
    journal = await sealed(store)
    await write(store, "e7", at=START + 10 * LATE)
    await journal.seal()
    await write(store, "e8")
    assert (await journal.verify()).broken is None
    await journal.seal()
    assert (await journal.verify()).broken is None


async def test_another_key_cannot_seal_what_was_changed(store: Store, database: str):
    await sealed(store)
    change(database, "DELETE FROM blocks", "UPDATE events SET block = NULL, actor = 'U0EVE'")
    forger = Journal(store, {"k1": b"b" * 32}, key="k1", clock=SettableClock(START))
    await forger.seal()
    assert (await forger.verify()).broken is None
    assert fault(await journal_of(store).verify()) == ("block", 1, None)


async def test_a_new_key_goes_on_where_the_old_one_ended(store: Store):
    await sealed(store)
    both = {**KEYS, "k2": b"another key of thirty-two letters"}
    await write(store, "e7")
    assert await journal_of(store, both, "k2").seal() is not None
    assert (await journal_of(store, both, "k2").verify()).broken is None
    assert fault(await journal_of(store).verify()) == ("key", 4, None)


async def test_of_several_that_seal_at_once_each_line_is_in_one_block(store: Store, database: str):
    lines = [f"e{n:04}" for n in range(3 * LONGEST_BLOCK + 7)]
    await write(store, *lines)
    async with open_store(database) as other:
        journals = [journal_of(store), journal_of(other)]

        async def until_none(journal: Journal) -> None:
            while (await journal.verify()).unsealed:
                await journal.seal()

        await asyncio.gather(*(until_none(journal) for journal in journals))
    found = await journals[0].verify()
    assert (found.lines, found.unsealed, found.broken) == (len(lines), 0, None)
    assert found.head is not None and found.head.block == 4


async def test_every_line_can_be_read_in_its_order(store: Store):
    await sealed(store)
    await write(store, "e7")
    read = [(line.id, block) async for line, block in lines_of(store)]
    assert read == [("e1", 1), ("e2", 1), ("e3", 1), ("e4", 2), ("e5", 2), ("e6", 3), ("e7", None)]


async def test_without_its_key_nothing_is_sealed(store: Store):
    with pytest.raises(JournalError, match="no journal key 'k2'"):
        journal_of(store, key="k2")


async def test_a_head_is_what_the_last_seal_returned(store: Store):
    journal = journal_of(store)
    await write(store, "e1")
    head = await journal.seal()
    assert isinstance(head, Head)
    assert await journal.head() == head
