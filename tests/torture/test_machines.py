"""Several processes on one database, for longer: killed, stopped, left without their database, flooded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from aside import aside
from house import LEASE, flood, kill_under_load, stop_past_the_lease, take_the_database_away
from kit import NIGHTLY, much
from people import CLI, approvals_of, boss, person, requests, ticket_of
from postgres import Databases, own_server
from promises import broken
from regime import say
from worker_child import program
from writes import event

from graph_runtime import Conflict, Refused, Runtime, StoreError, StoreUnavailable, ValueRefused, open_store
from graph_runtime.storage import Batch, Do
from graph_runtime.storage.sqlite import SqliteStore

pytestmark = [
    pytest.mark.processes,
    pytest.mark.databases("postgres"),
    pytest.mark.timeout(3_600 if NIGHTLY else 300),
]


async def test_workers_that_are_killed_under_load_lose_nothing_and_are_replaced_in_time(
    database: str, tmp_path: Path
) -> None:
    recovered = await kill_under_load(database, tmp_path, much(2, 20))
    assert broken(database) == []
    say(f"workers killed: {len(recovered)}; all ended after {max(recovered):.1f} s at most")
    assert max(recovered) <= LEASE + 2, "a dead worker's runs are others' when its lease has lapsed"


async def test_a_worker_that_is_stopped_past_its_lease_again_and_again_writes_nothing_when_it_goes_on(
    databases: Databases, template: str, tmp_path: Path
) -> None:
    for number in range(much(1, 20)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with databases.migrated(template) as address:
            await stop_past_the_lease(address, folder)
            assert broken(address) == []


@pytest.mark.parametrize("seconds", much([6], [6, 45]))
async def test_a_database_that_is_away_for_long_costs_nobody_a_click(
    databases: Databases, tmp_path: Path, seconds: int
) -> None:
    with own_server() as server:
        back = await take_the_database_away(server, tmp_path, seconds, 60)
        say(f"PostgreSQL away for {seconds} s: all ended {back:.1f} s after its return")
        assert back <= 10
        assert broken(server.address("postgres")) == []


@pytest.mark.databases("sqlite", "postgres")
async def test_of_a_long_flood_of_clicks_exactly_the_right_ones_count(database: str, tmp_path: Path) -> None:
    number = much(400, 10_000)
    took = await flood(database, tmp_path, number)
    say(f"{number} clicks on {database.partition(':')[0]}: all ended after {took:.1f} s")
    assert broken(database) == []


@pytest.mark.databases("sqlite", "postgres")
async def test_of_two_who_decide_at_once_one_does_and_the_question_never_stays_open(
    database: str, tmp_path: Path
) -> None:
    """A policy asks for one decision: so the last two votes are one approval and one rejection, by two people on
    two machines, at the same moment.
    """
    rounds, at_once = much(40, 500), 10
    won = {"approve": 0, "reject": 0}
    async with open_store(database) as one, open_store(database) as other:
        here, there = (
            Runtime(store, [program(tmp_path / "notes")], companions=[requests()]) for store in (one, other)
        )
        (tmp_path / "notes").touch()
        hands = approvals_of(here), approvals_of(there)

        async def race(number: int) -> None:
            run = await here.start("scale", {"subject": f"case-{number}"}, thread_id=f"case-{number}")
            assert (await here.advance(run.id)).status == "interrupted"
            (request,) = await hands[0].find(run_id=run.id, status="open")
            view = await hands[0].view(request.id)
            assert view is not None
            ticket = ticket_of(view, one)
            votes = [
                hands[0].decide(ticket, boss(), "approve", place=CLI),
                hands[1].decide(ticket, person("U_OPS"), "reject", place=CLI, reason="no"),
            ]
            said = await asyncio.gather(*votes[:: 1 if number % 2 else -1], return_exceptions=True)
            assert sum(isinstance(one, Refused) for one in said) == 1, said
            assert {one.code for one in said if isinstance(one, Refused)} == {"ALREADY_DECIDED"}
            after = await hands[1].view(request.id)
            assert after is not None
            (vote,) = after.votes
            assert after.request.status == {"approve": "approved", "reject": "rejected"}[vote.verdict]
            assert (await there.get(run.id)).status == "queued"
            won[vote.verdict] += 1

        for first in range(0, rounds, at_once):
            await asyncio.gather(*(race(first + n) for n in range(at_once)))
        assert sum(won.values()) == rounds
        say(f"{rounds} races on {database.partition(':')[0]}: {won}")
    assert broken(database) == []


@pytest.mark.databases("sqlite", "postgres")
async def test_a_batch_that_fails_in_a_group_never_hurts_its_neighbours(database: str) -> None:
    """Of what waits together, each batch comes to its own end, whatever the others come to."""
    chance, groups = random.Random(20260105), much(150, 2_000)
    landed: set[str] = set()
    async with open_store(database) as store:
        await store.commit(Batch("first", (event("taken"),)))

        async def write(name: str, kind: str) -> None:
            good = (event(f"{name}-1"), event(f"{name}-2"))
            bad, refusal = BAD[kind]
            batch = Batch(kind, (*good, *bad(name)))
            (said,) = await asyncio.gather(store.commit(batch), return_exceptions=True)
            if refusal is None:
                assert not isinstance(said, BaseException), said
                landed.update((f"{name}-1", f"{name}-2"))
            else:
                assert isinstance(said, refusal), f"{kind}: {said!r}"

        for group in range(groups):
            kinds = chance.choices(list(BAD), k=chance.randrange(2, 12))
            await asyncio.gather(*(write(f"{group}-{n}", kind) for n, kind in enumerate(kinds)))
        with aside(database) as connection:
            there = {row[0] for row in connection.execute("SELECT event_id FROM events").fetchall()}
        assert there - {"taken"} == landed
        say(f"{groups} groups; {len(landed)} lines landed")


@pytest.mark.databases("sqlite")
async def test_what_takes_a_whole_group_down_is_told_to_those_alone_who_are_not_there(
    database: str, tmp_path: Path
) -> None:
    """A disk that is full and a statement that is broken off undo the group: each batch is tried again alone."""
    chance, groups = random.Random(20260105), much(150, 2_000)
    landed: set[str] = set()
    refused = 0
    async with open_store(database) as store:
        assert isinstance(store, SqliteStore)
        writer = store._writer

        async def limit(pages: int) -> None:
            await writer.execute_fetchall(f"PRAGMA max_page_count={pages}")

        async def write(name: str, size: int) -> None:
            nonlocal refused
            try:
                await store.commit(Batch("write", (event(name, data="x" * size), event(f"{name} too"))))
            except StoreUnavailable:
                refused += 1
            else:
                landed.update((name, f"{name} too"))

        for group in range(groups):
            ((pages,),) = await writer.execute_fetchall("PRAGMA page_count")
            await limit(pages + chance.randrange(3, 12))
            sizes = [chance.choice([10, 10, 5_000, 40_000]) for _ in range(chance.randrange(2, 12))]
            writing = asyncio.gather(*(write(f"{group}-{n}", size) for n, size in enumerate(sizes)))
            while group % 2 and not writing.done():
                await asyncio.sleep(0)
                await writer.interrupt()
            await writing
        await limit(1 << 20)
        with aside(database) as connection:
            assert {row[0] for row in connection.execute("SELECT event_id FROM events").fetchall()} == landed
    assert refused > groups / 10
    assert len(landed) > groups
    say(f"{groups} groups; {len(landed)} lines landed, {refused} batches were refused")


#: What a batch may fail of, and as what; the first is a batch that does not fail.
BAD: dict[str, tuple[Callable[[str], Sequence[Do]], type[Exception] | None]] = {
    "good": (lambda name: (), None),
    "guarded": (lambda name: (Do("drop_due", {"request_id": name}, guard="there is one"),), Conflict),
    "taken": (lambda name: (event("taken", guard="it is new"),), Conflict),
    "twice": (lambda name: (event("taken"),), StoreError),
    "rootless": (lambda name: (Do("put_due", {"kind": "x", "request_id": name, "due_at": 1}),), StoreError),
    "empty": (lambda name: (event(f"{name}-3", kind=None),), StoreError),
    "unbindable": (lambda name: (event(f"{name}-3", data=["no text"]),), ValueRefused),
    "half a letter": (lambda name: (event(f"{name}-3", data="\udcff"),), ValueRefused),
    "too large": (
        lambda name: (Do("put_due", {"kind": "x", "request_id": name, "due_at": 1 << 70}),),
        ValueRefused,
    ),
}
