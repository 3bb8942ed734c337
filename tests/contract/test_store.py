"""The storage contract, for every backend: reads are snapshots, writes are guarded batches, one door."""

from __future__ import annotations

import asyncio
import json
import os
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aside import aside, holding, impatient
from forked import Forked
from graphs import review_then_publish
from kit import SettableClock
from store_child import main
from writes import event, event_ids, thread

from graph_runtime import (
    Approvals,
    Conflict,
    LeaseLost,
    Runtime,
    SchemaMismatch,
    Store,
    StoreError,
    StoreUnavailable,
    ValueRefused,
    open_store,
)
from graph_runtime.storage import Ask, Batch, Do
from graph_runtime.storage.sql import migrations

pytestmark = pytest.mark.databases("sqlite", "postgres")


@pytest.fixture(params=["one handle", "two handles"])
async def second(request: pytest.FixtureRequest, store: Store, database: str) -> AsyncIterator[Store]:
    """The same handle, or another one on the same database: the contract knows no difference."""
    if request.param == "one handle":
        yield store
        return
    async with open_store(database) as other:
        yield other


# -- commit ---------------------------------------------------------------------------------------------------


async def test_a_batch_is_there_for_every_handle_when_commit_returns(store: Store, second: Store) -> None:
    await store.commit(Batch("test", (event("e1"), event("e2"))))
    assert await event_ids(second) == ["e1", "e2"]
    assert await event_ids(store) == ["e1", "e2"]


async def test_commit_returns_the_rows_of_each_statement(store: Store) -> None:
    runtime = Runtime(store, [review_then_publish()])
    run = await runtime.start("review", {"subject": "s"})
    params: dict[str, Any] = {"owner": "me", "until": 2, "now": 1}
    first, rows, last = await store.commit(
        Batch("test", (event("e1"), Do("claim_run", params), Do("claim_run", params)))
    )
    assert [row["run_id"] for row in rows] == [run.id]
    assert list(first) == list(last) == []


async def test_a_failed_guard_names_itself_and_leaves_no_trace(store: Store, second: Store) -> None:
    missing = Do("drop_due", {"request_id": "req-9"}, guard="there is a deadline")
    with pytest.raises(Conflict) as raised:
        await store.commit(Batch("story", (event("e1"), thread("t1"), missing, event("e2"))))
    assert (raised.value.guard, raised.value.batch) == ("there is a deadline", "story")
    assert "'there is a deadline'" in str(raised.value)
    assert await event_ids(second) == []
    assert await second.read(Ask("get_thread", {"thread_id": "t1"})) == [[]]


async def test_a_statement_without_a_guard_may_change_nothing(store: Store) -> None:
    await store.commit(Batch("test", (Do("drop_due", {"request_id": "req-9"}), event("e1"))))
    assert await event_ids(store) == ["e1"]


async def test_a_broken_uniqueness_is_a_conflict_of_its_guard(store: Store, second: Store) -> None:
    await store.commit(Batch("test", (event("e1"),)))
    with pytest.raises(Conflict) as raised:
        await second.commit(Batch("test", (event("e2"), event("e1", guard="the event is new"))))
    assert raised.value.guard == "the event is new"
    with pytest.raises(StoreError) as unguarded:
        await second.commit(Batch("test", (event("e3"), event("e1"))))
    assert not isinstance(unguarded.value, Conflict | StoreUnavailable)
    assert await event_ids(store) == ["e1"]


async def test_any_other_broken_rule_is_no_lost_race(store: Store) -> None:
    """A conflict means "read again, try again"; what will be broken again must not say so."""
    with pytest.raises(StoreError) as raised:
        await store.commit(Batch("test", (event("e1", guard="g", kind=None),)))
    assert not isinstance(raised.value, Conflict)
    assert await event_ids(store) == []


@pytest.mark.parametrize(
    "value", ["half \ud800", 2**63, -(2**63) - 1, object(), ["list"], 1 + 1j], ids=lambda v: type(v).__name__
)
async def test_what_cannot_be_bound_is_refused_and_hurts_nobody(
    store: Store, second: Store, value: Any
) -> None:
    batches = [Batch("fine", (event(f"e{n}"),)) for n in range(4)]
    batches.insert(2, Batch("broken", (event("x0"), event("x1", actor=value), event("x2"))))
    said = await asyncio.gather(*map(store.commit, batches), return_exceptions=True)
    assert [type(one) for one in said if isinstance(one, BaseException)] == [ValueRefused]
    assert isinstance(said[2], ValueRefused)
    assert await event_ids(second) == ["e0", "e1", "e2", "e3"]
    with pytest.raises(ValueRefused):
        await store.read(Ask("get_thread", {"thread_id": value}))
    await store.commit(Batch("after", (event("e9"),)))


async def test_a_missing_parameter_is_refused_and_hurts_nobody(store: Store) -> None:
    said = await asyncio.gather(
        store.commit(Batch("broken", (Do("put_thread", {"thread_id": "t"}),))),
        store.commit(Batch("fine", (event("e1"),))),
        return_exceptions=True,
    )
    assert isinstance(said[0], ValueRefused)
    assert await event_ids(store) == ["e1"]


async def test_of_a_hundred_commits_at_once_the_failing_ones_hurt_nobody(store: Store, second: Store) -> None:
    await store.commit(Batch("test", (event("taken"),)))

    def batch(n: int) -> Batch:
        if n % 10 == 3:
            return Batch("late", (event(f"x{n}"), event("taken", guard="free")))
        if n % 10 == 7:
            return Batch("none", (event(f"y{n}"), Do("drop_due", {"request_id": "?"}, guard="there")))
        return Batch("fine", (event(f"e{n:02}"), thread(f"t{n}")))

    handles = [store, second]
    said = await asyncio.gather(
        *(handles[n % 2].commit(batch(n)) for n in range(100)), return_exceptions=True
    )
    guards = {n: one.guard for n, one in enumerate(said) if isinstance(one, Conflict)}
    assert guards == {n: "free" if n % 10 == 3 else "there" for n in range(100) if n % 10 in {3, 7}}
    assert sum(isinstance(one, BaseException) for one in said) == 20
    expected = [f"e{n:02}" for n in range(100) if n % 10 not in {3, 7}]
    assert await event_ids(store) == [*expected, "taken"]


async def test_the_batch_of_a_cancelled_caller_still_lands(database: str) -> None:
    async with open_store(database) as store:
        committing = [asyncio.create_task(store.commit(Batch("test", (event(f"e{n}"),)))) for n in range(5)]
        await asyncio.sleep(0)
        for task in committing[::2]:
            task.cancel()
        await asyncio.wait(committing)
        assert [task.cancelled() for task in committing] == [True, False, True, False, True]
    async with open_store(database) as store:
        assert await event_ids(store) == ["e0", "e1", "e2", "e3", "e4"]


async def test_a_cancelled_caller_s_conflict_is_nobody_s_trouble(store: Store) -> None:
    missing = Do("drop_due", {"request_id": "?"}, guard="there")
    committing = asyncio.create_task(store.commit(Batch("test", (missing,))))
    await asyncio.sleep(0)
    committing.cancel()
    await asyncio.wait([committing])
    await store.commit(Batch("test", (event("e1"),)))


async def test_what_waits_when_the_store_closes_is_written_first(database: str) -> None:
    async with open_store(database) as store:
        committing = asyncio.create_task(store.commit(Batch("test", (event("e1"),))))
        await asyncio.sleep(0)
    await committing
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.commit(Batch("test", (event("e2"),)))
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.read(Ask("count_runs"))
    async with open_store(database) as again:
        assert await event_ids(again) == ["e1"]


# -- read -----------------------------------------------------------------------------------------------------


async def test_a_read_is_one_snapshot_while_others_write(store: Store, second: Store) -> None:
    """Each batch writes two events; no read may see one of them without the other."""
    stop = asyncio.Event()

    async def write() -> None:
        for n in range(60):
            await store.commit(Batch("pair", (event(f"a{n:03}", run_id="a"), event(f"b{n:03}", run_id="b"))))
        stop.set()

    async def look() -> int:
        seen = 0
        while not stop.is_set():
            a, b, again = await second.read(
                *(Ask("find_events_of_run", {"run_id": name, "limit": 1_000}) for name in ("a", "b", "a"))
            )
            assert len(a) == len(b) == len(again)
            seen += 1
            await asyncio.sleep(0)  # a small read does not leave the loop, and others want their turn
        return seen

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        looks = [group.create_task(look()) for _ in range(3)]
    assert all(task.result() > 1 for task in looks)


async def test_an_empty_read_is_empty(store: Store) -> None:
    assert list(await store.read()) == []


async def test_a_cancelled_read_harms_no_later_one(store: Store) -> None:
    reading = asyncio.create_task(store.read(Ask("count_runs")))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    assert await store.read(Ask("count_runs")) == [[]]


# -- leases -----------------------------------------------------------------------------------------------------


async def test_every_write_of_a_lease_repeats_the_claim(
    store: Store, second: Store, clock: SettableClock
) -> None:
    first = Runtime(store, [review_then_publish()], clock=clock, owner="first")
    other = Runtime(second, [review_then_publish()], clock=clock, owner="second")
    await first.start("review", {"subject": "s"})
    old = await first.claim()
    clock.pass_seconds(31)
    new = await other.claim()
    assert old is not None
    assert new is not None
    fence: dict[str, Any] = {"run_id": old.id, "epoch": old.epoch, "owner": "first"}
    for do in (
        Do("hold_run", {**fence, "until": 9}, guard="lease"),
        Do(
            "step_run",
            {**fence, "head": "h", "step": 9, "counted": 1, "used": "{}", "until": 9, "now": 9},
            guard="lease",
        ),
        Do("end_run", {**fence, "status": "failed", "error": None, "now": 9}, guard="lease"),
        Do("give_back_run", fence, guard="lease"),
    ):
        for forged in ({}, {"epoch": new.epoch}, {"owner": "second"}):
            with pytest.raises(Conflict):
                await store.commit(Batch("zombie", (Do(do.query, {**do.params, **forged}, guard="lease"),)))
    with pytest.raises(LeaseLost):
        await first.drive(old)
    assert await first.get(new.id) == new


async def test_many_claimers_get_each_run_at_most_once(store: Store, second: Store) -> None:
    houses = [Runtime(handle, [review_then_publish()]) for handle in (store, second) * 10]
    started = [(await houses[0].start("review", {"subject": "s"})).id for _ in range(12)]
    claimed = [run.id for run in await asyncio.gather(*(house.claim() for house in houses)) if run]
    assert sorted(claimed) == sorted(started)


# -- several processes --------------------------------------------------------------------------------------------


async def _children(database: str, what: str, number: int, folder: Path) -> list[Any]:
    async def child(n: int) -> Any:
        out, err = folder / f"out-{n}", folder / f"err-{n}"
        process = Forked(main, database, what, f"child {n}", env=os.environ, out=out, err=err)
        assert await process.wait() == 0, err.read_text("utf-8")
        return json.loads(process.read())

    return list(await asyncio.gather(*(child(n) for n in range(number))))


@pytest.mark.processes
async def test_processes_that_claim_at_once_share_the_runs_and_lose_none(
    store: Store, database: str, tmp_path: Path
) -> None:
    runtime = Runtime(store, [review_then_publish()])
    started = [(await runtime.start("review", {"subject": "s"})).id for _ in range(30)]
    got = await _children(database, "claim", 3, tmp_path)
    assert sorted(id_ for one in got for id_ in one["got"]) == sorted(started)
    runs = await runtime.runs(limit=100)
    assert {(run.status, run.epoch) for run in runs} == {("interrupted", 1)}


@pytest.mark.processes
async def test_processes_that_start_at_once_on_a_new_database_share_it(database: str, tmp_path: Path) -> None:
    """Whoever comes first makes the schema; each thread gets one run whoever asks."""
    got = await _children(database, "start", 4, tmp_path)
    assert len({one["deployment"] for one in got}) == 1
    assert sorted(name for one in got for name in one["got"]) == sorted(f"case-{n}" for n in range(20))
    async with open_store(database) as store:
        assert len(await Runtime(store, [review_then_publish()]).runs(limit=100)) == 20


# -- somebody else has it ---------------------------------------------------------------------------------------


async def test_a_lock_held_elsewhere_is_waited_for(store: Store, database: str) -> None:
    with holding(database):
        committing = asyncio.create_task(store.commit(Batch("test", (event("e1"),))))
        assert await event_ids(store) == [], "readers do not wait"
        await asyncio.sleep(0.1)
        assert not committing.done()
    await committing
    assert await event_ids(store) == ["e1"]


async def test_a_lock_held_too_long_is_said_to_everybody_who_waits(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    with holding(database):
        said = await asyncio.gather(
            *(store.commit(Batch("test", (event(f"e{n}"),))) for n in range(3)), return_exceptions=True
        )
    assert {type(one) for one in said} == {StoreUnavailable}
    await store.commit(Batch("test", (event("e9"),)))
    assert await event_ids(store) == ["e9"]


async def test_a_batch_is_given_up_when_its_time_has_passed(store: Store, database: str) -> None:
    with holding(database):
        soon = time.monotonic() + 0.2
        with pytest.raises(StoreUnavailable):
            await store.commit(Batch("click", (event("e1"),), give_up_at=soon))
        with pytest.raises(StoreUnavailable):
            await store.commit(Batch("click", (event("e2"),), give_up_at=soon))
    await store.commit(Batch("test", (event("e3"),)))
    assert await event_ids(store) == ["e3"]


# -- migrations -------------------------------------------------------------------------------------------------


def set_schema(database: str, number: int) -> None:
    with aside(database) as raw:
        if database.startswith("sqlite"):
            raw.execute(f"PRAGMA user_version={number}")
        else:
            raw.execute("UPDATE deployment SET value = %s WHERE key = 'schema'", [str(number)])


def migrate_with(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let the program know one more migration."""
    more = (*migrations(), (migrations()[-1][0] + 1, "9999_next.sql", script))
    monkeypatch.setattr("graph_runtime.storage.sqlite.migrations", lambda: more)
    monkeypatch.setattr("graph_runtime.storage.postgres.migrations", lambda: more)


async def test_a_newer_schema_is_left_alone(database: str) -> None:
    async with open_store(database) as store:
        await store.commit(Batch("test", (event("e1"),)))
    set_schema(database, 999)
    for migrate in (True, False):
        with pytest.raises(SchemaMismatch, match="999"):
            async with open_store(database, migrate=migrate):
                pass
    set_schema(database, migrations()[-1][0])
    async with open_store(database, migrate=False) as store:
        assert await event_ids(store) == ["e1"]


async def test_an_older_schema_is_only_changed_when_asked(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(database) as store:
        await store.commit(Batch("test", (event("e1"),)))
    with monkeypatch.context() as patch:
        migrate_with(patch, "-- The next one\nCREATE TABLE next (x TEXT);\n")
        with pytest.raises(SchemaMismatch, match="signoff migrate"):
            async with open_store(database, migrate=False):
                pass
        async with open_store(database) as store:
            await store.commit(Batch("test", (event("e2"),)))
            assert await event_ids(store) == ["e1", "e2"]
    with aside(database) as raw:
        assert raw.execute("SELECT count(*) FROM next").fetchone() == (0,)
    with pytest.raises(SchemaMismatch, match="newer program"):
        async with open_store(database):
            pass


async def test_a_migration_that_fails_halfway_leaves_the_old_schema(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(database) as store:
        await store.commit(Batch("test", (event("e1"),)))
    with monkeypatch.context() as patch:
        migrate_with(patch, "CREATE TABLE next (x TEXT); CREATE TABLE runs (x TEXT);")
        with pytest.raises(StoreError):
            async with open_store(database):
                pass
    async with open_store(database) as store:
        assert await event_ids(store) == ["e1"]
    with aside(database) as raw:
        raw.execute("CREATE TABLE next (x TEXT)")


async def test_votes_that_were_cast_before_policies_of_several_are_there_after_the_migration(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with aside(database) as raw:
        # Whatever made the database: as it was at first.
        tables = [
            "texts",
            "freezes",
            "executions",
            "waits",
            "quotas",
            "blocks",
            "bypasses",
            "delegations",
            "events",
            "due",
            "turns",
            "receipts",
            "outbox",
            "decisions",
            "requests",
            "interrupts",
            "writes",
        ]
        tables += ["channel_values", "effects", "frames", "checkpoints", "runs", "threads", "deployment"]
        for table in tables if not database.startswith("sqlite") else ():
            raw.execute(f"DROP TABLE {table}")
    with monkeypatch.context() as patch:
        for backend in ("sqlite", "postgres"):
            patch.setattr(f"graph_runtime.storage.{backend}.migrations", lambda: migrations()[:1])
        async with open_store(database):
            pass
        with aside(database) as raw:
            raw.execute("INSERT INTO threads VALUES ('case', 'run-1', 1)")
            raw.execute(
                "INSERT INTO runs (run_id, thread_id, graph, version, status, driver, head, step, steps_taken, "
                "max_steps, limits, used, origin, created_at, updated_at) VALUES ('run-1', 'case', 'g', '1', "
                "'interrupted', 'worker', 'chk-1', 1, 1, 9, '{}', '{}', 'input', 1, 1)"
            )
            raw.execute(
                "INSERT INTO interrupts VALUES ('int-1', 'case', 'run-1', 'chk-1', 't', '', 'ask', 1, NULL, 0, "
                "'1', 'sha256:0', NULL, 'answered', '1', 'U_A', 1, 1, NULL, 0)"
            )
            raw.execute(
                "INSERT INTO requests VALUES ('req-1', 'int-1', 'case', 'run-1', 'g', 'ask', 'T', NULL, '{}', "
                """'sha256:0', 'p', '{"people": ["U_A"], "groups": [], "deadline": null}', NULL, '[]', """
                "'approved', 2, NULL, 1, 1)"
            )
            raw.execute(
                "INSERT INTO decisions VALUES ('dec-1', 'req-1', 'U_A', 'approve', 'ok', 'sha256:0', 'cli', 1)"
            )
    async with open_store(database) as store:
        view = await Approvals(Runtime(store, []), Nobody()).view("req-1")
        assert view is not None
        (vote,) = view.votes
        assert (vote.reviewer, vote.verdict, vote.groups, vote.round) == ("U_A", "approve", frozenset(), 0)
        assert (vote.reason, vote.erased) == ("ok", None)
        assert (view.request.terms, view.standing.outcome) == (None, "approved")
    with aside(database) as raw:
        found = raw.execute("SELECT count(*) FROM decisions").fetchone()
        assert tuple(found) == (1,)


class Nobody:
    async def reviewer(self, actor: Any, groups: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite:///",
        "sqlite://x",
        "postgres://x/y",
        "file:///x",
        "/x.db",
        "postgresql://",
        "postgresql://u:hun%ter2@db/x",
    ],
)
def test_any_other_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="no database was opened") as raised:
        open_store(url)
    assert "ter2" not in "".join(traceback.format_exception(raised.value))
