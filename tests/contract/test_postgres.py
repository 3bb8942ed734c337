"""What only PostgreSQL has: a server that goes away, locks on rows, a clock and a password of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aside import aside, impatient
from graphs import Log, answer_only, begin, one_after_another, review_then_publish
from kit import SettableClock
from people import API, approvals_of, boss, deploy, open_view, requests, ticket_of, view_of
from postgres import Databases, OwnServer, own_server
from severed import Wire, wire_to
from writes import event, event_ids, thread

import graph_runtime.storage
from graph_runtime import (
    AsyncSqliteSaver,
    CommitUnknown,
    Runtime,
    SchemaMismatch,
    StoreError,
    StoreUnavailable,
    ThreadBusy,
    open_store,
    step,
)
from graph_runtime.clock import system_clock
from graph_runtime.storage import Ask, Batch, Do
from graph_runtime.storage.sql import migrations

pytestmark = pytest.mark.databases("postgres")


async def stop_backends(database: str) -> int:
    """End every other connection to the database, as a restarted server does; return how many."""
    with aside(database) as raw:
        ended = raw.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return len(ended.fetchall())


async def blocked(database: str) -> None:
    """Return when somebody waits for a lock."""
    with aside(database) as raw:
        while not raw.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
            await asyncio.sleep(0.01)


# -- the schema -------------------------------------------------------------------------------------------------


async def test_a_database_without_a_schema_gets_one_only_when_asked(databases: Databases) -> None:
    with databases.empty() as address:
        with pytest.raises(SchemaMismatch, match="signoff migrate"):
            async with open_store(address, migrate=False):
                pass
        async with open_store(address) as store:
            await store.commit(Batch("test", (event("e1"),)))
        async with open_store(address, migrate=False) as again:
            assert again.deployment == store.deployment
            assert await event_ids(again) == ["e1"]


async def test_several_that_come_first_at_once_make_one_schema(databases: Databases) -> None:
    async def come(address: str) -> str:
        async with open_store(address) as store:
            return store.deployment

    with databases.empty() as address:
        assert len(set(await asyncio.gather(*(come(address) for _ in range(8))))) == 1


def test_text_is_compared_by_its_bytes_whatever_the_language_of_the_server(database: str) -> None:
    with aside(database) as raw:
        columns = raw.execute(
            "SELECT collation_name, count(*) FROM information_schema.columns "
            "WHERE table_schema = 'public' AND data_type = 'text' GROUP BY collation_name"
        ).fetchall()
    assert [name for name, _ in columns] == ["C"]


def test_whole_numbers_have_64_bits_as_in_sqlite(database: str) -> None:
    with aside(database) as raw:
        types = raw.execute(
            "SELECT DISTINCT data_type FROM information_schema.columns WHERE table_schema = 'public'"
        ).fetchall()
    assert sorted(types) == [("bigint",), ("text",)]


# -- what is refused at the door ----------------------------------------------------------------------------------


async def test_a_server_that_does_not_keep_what_it_confirms_is_refused(database: str) -> None:
    unsafe = f"{database}&options=-c%20synchronous_commit%3Doff"
    with pytest.raises(StoreError, match="synchronous_commit is off"):
        async with open_store(unsafe):
            pass


async def test_check_says_what_an_operator_should_know(database: str) -> None:
    async with open_store(database) as store:
        said = await store.check()
    assert said["engine"].startswith("PostgreSQL 1")
    assert said["durable"] == "yes (synchronous_commit=on)"
    assert said["schema"] == str(migrations()[-1][0])
    assert said["path"].startswith("postgresql://")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:hunter2@127.0.0.1:1/x",
        "postgresql://u:hunter2@127.0.0.1:wrong/x",
        "postgresql://u:hunter2@/x?host=/nowhere",
    ],
)
async def test_a_password_is_never_shown(address: str) -> None:
    store = open_store(address)
    with pytest.raises(StoreUnavailable, match="no database was opened at postgresql://u@") as raised:
        await store.__aenter__()
    assert "ter2" not in str(raised.value)
    assert "hunter2@" not in "".join(traceback.format_exception(raised.value))


async def test_values_do_not_show_in_errors(database: str) -> None:
    async with open_store(database) as store:
        secret = f"{7 * 7}-{11 * 11}"
        for broken in (event("e1", kind=None, data=secret), event(secret)):
            with pytest.raises(StoreError) as raised:
                await store.commit(Batch("test", (event(secret), broken)))
            assert secret not in "".join(traceback.format_exception(raised.value))


def test_without_the_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in ("postgres", "packet"):
        monkeypatch.delitem(sys.modules, f"graph_runtime.storage.{name}")
        monkeypatch.delattr(graph_runtime.storage, name)
    with pytest.raises(StoreError, match=r"pip install 'signoff\[postgres\]'"):
        open_store("postgresql://u@h/x")


# -- locks on rows ------------------------------------------------------------------------------------------------


async def test_a_claim_passes_by_a_run_that_somebody_holds(database: str) -> None:
    async with open_store(database) as store:
        runtime = Runtime(store, [review_then_publish()])
        first, second = [await runtime.start("review", {"subject": "s"}) for _ in range(2)]
        with aside(database) as raw, raw.transaction():
            raw.execute("SELECT 1 FROM runs WHERE run_id = %s FOR UPDATE", [first.id])
            claimed = await runtime.claim()
            assert claimed is not None
            assert claimed.id == second.id
            assert await runtime.claim() is None


async def test_who_loses_a_deadlock_is_tried_again(database: str) -> None:
    """The store has one row and waits for another; who has that one waits for the first, and longer."""
    quick = f"{database}&options=-c%20deadlock_timeout%3D1500ms"
    async with open_store(quick) as store:
        await store.commit(Batch("test", (thread("a"), thread("b"))))
        with aside(database) as raw:
            raw.execute("SET deadlock_timeout = '10s'")
            raw.execute("BEGIN")
            raw.execute("UPDATE threads SET created_at = 2 WHERE thread_id = 'b'")
            locks = (Do("lock_thread", {"thread_id": name}, guard="there") for name in "ab")
            writing = asyncio.create_task(store.commit(Batch("test", (event("e1"), *locks))))
            await blocked(database)
            await asyncio.to_thread(raw.execute, "UPDATE threads SET created_at = 2 WHERE thread_id = 'a'")
            assert not writing.done(), "it lost, and waits for its second try"
            raw.execute("COMMIT")
        await writing
        assert await event_ids(store) == ["e1"]


async def test_a_thread_is_not_deleted_under_a_run_that_starts_meanwhile(database: str) -> None:
    """The start has the thread's row; the deletion waits for it, and then sees the run."""
    async with open_store(database) as store:
        runtime = Runtime(store, [review_then_publish()])
        run = await answer_only(runtime, await begin(runtime), {"decision": "approve"})
        with aside(database) as raw:
            raw.execute("BEGIN")
            raw.execute("UPDATE threads SET last_run = last_run WHERE thread_id = %s", [run.thread_id])
            raw.execute("UPDATE runs SET status = 'queued' WHERE run_id = %s", [run.id])
            deleting = asyncio.create_task(AsyncSqliteSaver(store).adelete_thread(run.thread_id))
            await blocked(database)
            raw.execute("COMMIT")
        with pytest.raises(ThreadBusy):
            await deleting
        assert (await runtime.look(run.id)).run.status == "queued"


# -- the clock ----------------------------------------------------------------------------------------------------


async def test_leases_are_told_by_the_clock_of_the_database(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose own clock is a day ahead takes nobody's lease away."""
    async with open_store(database) as store:
        with monkeypatch.context() as patch:
            there = time.time_ns
            patch.setattr(time, "time_ns", lambda: there() + 86_400 * 10**9)
            assert Runtime(store, []).clock() < system_clock() - 3_600 * 10**6
            async with open_store(database) as ahead:
                one, other = (
                    Runtime(s, [review_then_publish()], owner=n) for s, n in ((store, "1"), (ahead, "2"))
                )
                await one.start("review", {"subject": "s"})
                assert await one.claim() is not None
                assert await other.claim() is None
        with aside(database) as raw:
            (now,) = raw.execute(
                "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
            ).fetchone()
        assert abs(store.clock() - now) < 5_000_000


# -- a server that goes away ----------------------------------------------------------------------------------------


async def test_connections_that_the_server_has_closed_hurt_nobody(database: str) -> None:
    async with open_store(database) as store:
        await asyncio.gather(*(store.commit(Batch("test", (event(f"a{n}"),))) for n in range(8)))
        assert await stop_backends(database) >= 1
        await asyncio.gather(*(store.commit(Batch("test", (event(f"b{n}"),))) for n in range(8)))
        await stop_backends(database)
        assert len(await event_ids(store)) == 16


async def test_a_batch_whose_connection_dies_before_it_landed_is_written_once(database: str) -> None:
    async with open_store(database) as store:
        await store.commit(Batch("test", (thread("a"),)))
        with aside(database) as raw:
            raw.execute("BEGIN")
            raw.execute("LOCK TABLE events IN EXCLUSIVE MODE")
            writing = asyncio.create_task(store.commit(Batch("test", (thread("b"), event("e1")))))
            await blocked(database)
            raw.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
            await asyncio.sleep(0)
            raw.execute("ROLLBACK")
        await writing
        assert await event_ids(store) == ["e1"]


@pytest.fixture
async def wire(database: str) -> AsyncIterator[Wire]:
    with tempfile.TemporaryDirectory(prefix="wire-") as folder:
        async with wire_to(Path(folder), database) as wire:
            yield wire


async def test_a_batch_that_landed_is_told_so_although_its_answer_was_lost(database: str, wire: Wire) -> None:
    async with open_store(wire.address) as store, open_store(database) as direct:
        await store.commit(Batch("test", (event("e0"),)))
        wire.silent = True
        writing = asyncio.create_task(store.commit(Batch("test", (event("e1"), event("e2")))))
        while "e2" not in await event_ids(direct):
            await asyncio.sleep(0.01)
        await wire.cut()
        wire.silent = False
        await wire.lay()
        assert [list(rows) for rows in await writing] == [[], []]
        assert await event_ids(direct) == ["e0", "e1", "e2"]


async def test_who_cannot_be_told_whether_it_landed_is_told_that(
    database: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(wire.address) as store, open_store(database) as direct:
        await store.commit(Batch("test", (event("e0"),)))
        wire.silent = True
        writing = asyncio.create_task(store.commit(Batch("test", (event("e1"),))))
        while "e1" not in await event_ids(direct):
            await asyncio.sleep(0.01)
        impatient(monkeypatch)
        await wire.cut()
        with pytest.raises(CommitUnknown, match="look before trying again"):
            await writing
        wire.silent = False
        await wire.lay()
        monkeypatch.undo()
        await store.commit(Batch("test", (event("e2"),)))
        assert await event_ids(direct) == ["e0", "e1", "e2"]


async def test_a_node_that_cannot_read_what_it_has_recorded_fails_no_run(
    database: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    lost: list[str] = []

    async def work(state: Log) -> Log:
        if lost:
            return {"log": [await step("work", str, "worked")]}
        await wire.cut()
        try:
            return {"log": [await step("work", str, "worked")]}
        except StoreError as error:
            lost.append(type(error).__name__)
            await wire.lay()
            raise

    async with open_store(wire.address) as store:
        clock = SettableClock()
        runtime = Runtime(store, [one_after_another(work=work)], clock=clock)
        run = await runtime.start("graph", {"subject": "s"})
        with pytest.raises(StoreUnavailable):
            await runtime.advance(run.id)
        assert lost == ["StoreUnavailable"]
        clock.pass_seconds(31)
        assert (await runtime.advance(run.id)).status == "completed"


async def test_a_claim_whose_answer_was_lost_is_not_guessed(database: str, wire: Wire) -> None:
    """It has no line in the journal: its lease lapses, and the run is claimed again."""
    async with open_store(wire.address) as store, open_store(database) as direct:
        run = await Runtime(direct, [review_then_publish()]).start("review", {"subject": "s"})
        runtime = Runtime(store, [review_then_publish()])
        assert len(await runtime.runs()) == 1
        wire.silent = True
        claiming = asyncio.create_task(runtime.claim_this(run.id))
        while (await Runtime(direct, []).get(run.id)).status != "running":
            await asyncio.sleep(0.01)
        await wire.cut()
        with pytest.raises(CommitUnknown):
            await claiming


@pytest.fixture(scope="module")
def server(databases: Databases) -> Iterator[OwnServer]:
    """A server that nobody else uses, to be stopped."""
    with own_server() as server:
        yield server


async def test_a_server_that_was_stopped_is_said_and_it_heals_when_it_is_back(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(server.address("postgres")) as store:
        runtime = Runtime(store, [review_then_publish()])
        run = await begin(runtime)
        await asyncio.to_thread(server.stop, signal.SIGQUIT)
        with monkeypatch.context() as patch:
            impatient(patch)
            for asking in (store.read(Ask("count_runs")), store.commit(Batch("test", (event("e1"),)))):
                with pytest.raises(StoreUnavailable, match="no connection to postgresql://signoff"):
                    await asking
        await asyncio.to_thread(server.start)
        back = time.monotonic()
        assert (await runtime.get(run.id)).status == "interrupted"
        await store.commit(Batch("test", (event("e2"),)))
        assert time.monotonic() - back < 10
        assert "e2" in await event_ids(store)
        assert "e1" not in await event_ids(store)


async def test_a_click_whose_answer_was_lost_is_told_what_it_came_to(database: str, wire: Wire) -> None:
    async with open_store(wire.address) as store, open_store(database) as direct:
        runtime = Runtime(store, [deploy()], companions=[requests()])
        run = await begin(runtime)
        approvals = approvals_of(runtime)
        view = await open_view(approvals, run.id)
        ticket = ticket_of(view, store)
        deciding = asyncio.create_task(approvals.decide(ticket, boss(), "approve", place=API))
        looking = approvals_of(Runtime(direct, [deploy()]))
        # What it reads is answered, what it writes is not.
        while not approvals._store._under_way:
            await asyncio.sleep(0)
        wire.silent = True
        while (await view_of(looking, view.request.id)).request.status == "open":
            await asyncio.sleep(0.01)
        await wire.cut()
        wire.silent = False
        await wire.lay()
        told = await deciding
        assert (told.request.status, told.run.status) == ("approved", "queued")
