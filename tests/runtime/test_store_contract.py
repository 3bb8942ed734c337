"""The storage contract, for every backend: reads are snapshots, writes are guarded batches, one door."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest
from graphs import answer_only, begin, one_after_another, review_then_publish
from kit import MakeRuntime, SettableClock

import graph_runtime
from graph_runtime import (
    Conflict,
    LeaseLost,
    Runtime,
    SchemaMismatch,
    Store,
    StoreError,
    StoreUnavailable,
    ValueRefused,
    open_store,
    types,
)
from graph_runtime.storage import Ask, Batch, Do
from graph_runtime.storage.sql import QueryName, migrations, queries, statements

HERE = Path(__file__).parent
PACKAGE = Path(graph_runtime.__file__).parent


@pytest.fixture(params=["one handle", "two handles"])
async def second(request: pytest.FixtureRequest, store: Store, database: str) -> AsyncIterator[Store]:
    """The same handle, or another one on the same database: the contract knows no difference."""
    if request.param == "one handle":
        yield store
        return
    async with open_store(database) as other:
        yield other


def thread(name: str, guard: str | None = None) -> Do:
    return Do("put_thread", {"thread_id": name, "now": 1}, guard=guard)


def event(id_: str, *, guard: str | None = None, **changed: Any) -> Do:
    said: dict[str, Any] = {
        "kind": "test",
        "now": 1,
        "actor": None,
        "thread_id": None,
        "run_id": None,
        "request_id": None,
    }
    return Do("put_event", {"event_id": id_, "data": "{}", **said, **changed}, guard=guard)


async def event_ids(store: Store) -> list[str]:
    (rows,) = await store.read(Ask("find_events", {"limit": 10_000}))
    return [row["event_id"] for row in rows]


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


async def test_the_batch_of_a_cancelled_caller_still_lands(store: Store) -> None:
    committing = [asyncio.create_task(store.commit(Batch("test", (event(f"e{n}"),)))) for n in range(5)]
    await asyncio.sleep(0)
    for task in committing[::2]:
        task.cancel()
    await asyncio.wait(committing)
    assert [task.cancelled() for task in committing] == [True, False, True, False, True]
    await store.commit(Batch("test", (event("e9"),)))
    assert await event_ids(store) == ["e0", "e1", "e2", "e3", "e4", "e9"]


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


async def _children(database: str, what: str, number: int) -> list[Any]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE), *sys.path])

    async def child(n: int) -> Any:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "store_child.py"),
            database,
            what,
            f"child {n}",
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out)

    return list(await asyncio.gather(*(child(n) for n in range(number))))


@pytest.mark.processes
async def test_processes_that_claim_at_once_share_the_runs_and_lose_none(store: Store, database: str) -> None:
    runtime = Runtime(store, [review_then_publish()])
    started = [(await runtime.start("review", {"subject": "s"})).id for _ in range(30)]
    got = await _children(database, "claim", 3)
    assert sorted(id_ for one in got for id_ in one["got"]) == sorted(started)
    runs = await runtime.runs(limit=100)
    assert {(run.status, run.epoch) for run in runs} == {("interrupted", 1)}


@pytest.mark.processes
async def test_processes_that_start_at_once_on_a_new_database_share_it(database: str) -> None:
    """Whoever comes first makes the schema; each thread gets one run whoever asks."""
    got = await _children(database, "start", 4)
    assert len({one["deployment"] for one in got}) == 1
    assert sorted(name for one in got for name in one["got"]) == sorted(f"case-{n}" for n in range(20))
    async with open_store(database) as store:
        assert len(await Runtime(store, [review_then_publish()]).runs(limit=100)) == 20


# -- SQLite's own -------------------------------------------------------------------------------------------------


async def test_the_file_is_the_owner_s_alone(store: Store, tmp_path: Path) -> None:
    await store.commit(Batch("test", (event("e1"),)))
    for file in tmp_path.glob("signoff.db*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    assert len(list(tmp_path.glob("signoff.db*"))) == 3


async def test_missing_folders_are_made(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/a/b/c.db") as store:
        await store.commit(Batch("test", (event("e1"),)))
    assert (tmp_path / "a/b/c.db").exists()


async def test_durable_means_durable(store: Store) -> None:
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


async def test_a_newer_schema_is_left_alone(database: str, tmp_path: Path) -> None:
    async with open_store(database):
        pass
    with _raw(tmp_path) as raw:
        raw.execute("PRAGMA user_version=999")
    with pytest.raises(SchemaMismatch, match="999"):
        async with open_store(database):
            pass
    with _raw(tmp_path) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (999,)


async def test_an_older_schema_is_only_changed_when_asked(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(database):
        pass
    newer = (*migrations(), (2, "0002_next.sql", "-- The next one\nCREATE TABLE next (x TEXT);\n"))
    monkeypatch.setattr("graph_runtime.storage.sqlite.migrations", lambda: newer)
    with pytest.raises(SchemaMismatch, match="signoff migrate"):
        async with open_store(database, migrate=False):
            pass
    async with open_store(database) as store:
        await store.commit(Batch("test", (event("e1"),)))
    with _raw(tmp_path) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (2,)
        assert raw.execute("SELECT count(*) FROM next").fetchone() == (0,)


async def test_a_migration_that_fails_halfway_leaves_the_old_schema(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(database) as store:
        await store.commit(Batch("test", (event("e1"),)))
    broken = (*migrations(), (2, "0002_next.sql", "CREATE TABLE next (x TEXT); CREATE TABLE runs (x TEXT);"))
    with monkeypatch.context() as patch:
        patch.setattr("graph_runtime.storage.sqlite.migrations", lambda: broken)
        with pytest.raises(StoreError):
            async with open_store(database):
                pass
    async with open_store(database) as store:
        assert await event_ids(store) == ["e1"]


class _raw:
    """A connection of no store's, to look and to break."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "signoff.db", isolation_level=None)

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


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


async def test_a_lock_held_elsewhere_is_waited_for(store: Store, tmp_path: Path) -> None:
    with _raw(tmp_path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        committing = asyncio.create_task(store.commit(Batch("test", (event("e1"),))))
        assert await event_ids(store) == [], "readers do not wait"
        await asyncio.sleep(0.1)
        assert not committing.done()
        raw.execute("ROLLBACK")
    await committing
    assert await event_ids(store) == ["e1"]


async def test_a_lock_held_too_long_is_said_to_everybody_who_waits(store: Any, tmp_path: Path) -> None:
    await store._writer.execute_fetchall("PRAGMA busy_timeout=50")
    with _raw(tmp_path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        said = await asyncio.gather(
            *(store.commit(Batch("test", (event(f"e{n}"),))) for n in range(3)), return_exceptions=True
        )
    assert {type(one) for one in said} == {StoreUnavailable}
    await store.commit(Batch("test", (event("e9"),)))
    assert await event_ids(store) == ["e9"]


@pytest.mark.parametrize(
    "content", [b"this is no database" * 100, b"SQLite format 3\x00 but not really" * 100]
)
async def test_a_file_that_is_no_database_is_refused(database: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "signoff.db").write_bytes(content)
    with pytest.raises(StoreError):
        async with open_store(database):
            pass
    assert (tmp_path / "signoff.db").read_bytes() == content


@pytest.mark.parametrize("url", ["", "sqlite:///", "sqlite://x", "postgres://x/y", "file:///x", "/x.db"])
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no database was opened"):
        open_store(url)


# -- the words of the schema and the code ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("runs", "status", types.RunStatus),
        ("runs", "driver", types.Driver),
        ("checkpoints", "source", types.CheckpointSource),
        ("interrupts", "status", types.InterruptStatus),
        ("requests", "status", types.RequestStatus),
        ("decisions", "verdict", types.Verdict),
        ("outbox", "status", types.EntryStatus),
        ("outbox", "kind", types.EntryKind),
    ],
)
def test_the_words_of_the_code_are_the_words_of_the_schema(table: str, column: str, words: Any) -> None:
    script = "\n".join(text for _, _, text in migrations())
    (body,) = re.findall(rf"CREATE TABLE {table} \((.*?)\n\);", script, re.DOTALL)
    (listed,) = re.findall(rf"\b{column} TEXT NOT NULL CHECK \({column} IN\s*\((.*?)\)\)", body, re.DOTALL)
    assert re.findall(r"'(\w+)'", listed) == list(get_args(words))


def test_the_live_states_of_the_code_are_those_of_the_index() -> None:
    script = "\n".join(text for _, _, text in migrations())
    (listed,) = re.findall(r"runs_one_live_per_thread.*?status IN \((.*?)\)", script, re.DOTALL)
    assert set(re.findall(r"'(\w+)'", listed)) == types.LIVE
    assert set(get_args(types.RunStatus)) >= types.LIVE


def test_the_names_of_the_code_are_the_blocks_of_the_file() -> None:
    text = (PACKAGE / "storage" / "queries.sql").read_text("utf-8")
    blocks = re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)
    assert sorted(blocks) == sorted(set(blocks))
    assert set(get_args(QueryName)) == set(blocks) == set(queries())


def test_every_statement_is_used() -> None:
    code = "\n".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py") if path.name != "sql.py")
    assert [name for name in get_args(QueryName) if f'"{name}"' not in code] == []


def test_every_statement_names_each_parameter_and_has_no_gap(tmp_path: Path) -> None:
    database = sqlite3.connect(":memory:")
    try:
        for _, _, script in migrations():
            for statement in statements(script):
                database.execute(statement)
        for name, text in queries().items():
            assert "?" not in text, name
            assert text, name
            parameters = dict.fromkeys(re.findall(r":(\w+)", text), 1)
            database.execute(f"EXPLAIN {text}", parameters)
    finally:
        database.close()
