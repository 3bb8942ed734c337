"""Procrastinate between processes: a job is put in the write that it tells of, and nothing depends on it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import procrastinate
import pytest
from aside import aside
from graphs import begin, open_ids, review_then_publish
from postgres import Databases

import graph_runtime.procrastinate as ours
from graph_runtime import Bell, Conflict, Run, Runtime, Store, open_queue, open_store
from graph_runtime.storage import Batch, Do
from graph_runtime.storage.sql import queries
from graph_runtime.worker import Polling

pytestmark = pytest.mark.databases("postgres")


@asynccontextmanager
async def listening(database: str, store: Store) -> AsyncIterator[Bell]:
    """Yield a bell that rings for what others do on the database."""
    bell, stop = Bell(), asyncio.Event()
    async with open_queue(database, store) as queue, asyncio.TaskGroup() as group:
        group.create_task(queue.listen([bell], stop))
        with aside(database) as raw:
            while not raw.execute("SELECT 1 FROM procrastinate_workers").fetchall():
                await asyncio.sleep(0.01)
        yield bell
        stop.set()


async def rung(bell: Bell) -> None:
    """Return when it rings; fail when it does not."""
    async with asyncio.timeout(20):
        await bell.wait(60)


def woken(run: Run) -> Do:
    return Do("wake_run", {"run_id": run.id, "thread_id": run.thread_id, "now": 1}, guard="run alive")


def jobs(database: str) -> list[Any]:
    with aside(database) as raw:
        return raw.execute(
            "SELECT queue_name, task_name, priority, lock, queueing_lock, args, status, scheduled_at, attempts "
            "FROM procrastinate_jobs ORDER BY id"
        ).fetchall()


async def test_what_one_process_starts_rings_in_another_and_leaves_no_job_behind(database: str) -> None:
    async with open_store(database) as one, open_store(database) as other, open_queue(database, one):
        runtime = Runtime(one, [review_then_publish()])
        async with listening(database, other) as bell:
            run = await runtime.start("review", {"subject": "s"})
            await rung(bell)
            claimed = await Runtime(other, [review_then_publish()]).claim()
            assert claimed is not None
            assert claimed.id == run.id
            while jobs(database):
                await asyncio.sleep(0.01)


async def test_the_job_is_the_one_that_procrastinate_itself_would_put(database: str) -> None:
    async with open_store(database) as store, open_queue(database, store):
        run = await Runtime(store, [review_then_publish()]).start("review", {"subject": "s"})
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=database))
        async with app.open_async():
            await app.configure_task(ours.TASK, queue=ours.QUEUE).defer_async(run_id=run.id)
    put, theirs = jobs(database)
    assert put == theirs
    assert put[3:5] == (None, None), "no lock: it could hold a run up for days"


async def test_a_batch_that_is_refused_leaves_no_job(database: str) -> None:
    async with open_store(database) as store, open_queue(database, store):
        runtime = Runtime(store, [review_then_publish()])
        run = await begin(runtime)
        before = len(jobs(database))
        missing = Do("drop_due", {"request_id": "?"}, guard="there")
        with pytest.raises(Conflict):
            await store.commit(Batch("test", (woken(run), missing)))
        assert len(jobs(database)) == before
        await store.commit(Batch("test", (woken(run),)))
        assert len(jobs(database)) == before + 1


async def test_each_answer_puts_one_job_however_many_came_before(database: str) -> None:
    async with open_store(database) as store, open_queue(database, store):
        runtime = Runtime(store, [review_then_publish()])
        runs = [await begin(runtime) for _ in range(3)]
        before = len(jobs(database))
        for run in runs:
            (asked,) = (await open_ids(runtime, run)).values()
            await runtime.resume(run.thread_id, run.id, asked, {"decision": "approve"})
        assert len(jobs(database)) == before + 3


def test_every_statement_that_queues_a_run_puts_a_job() -> None:
    """A new one that nobody told the queue of would wait for a worker's next look."""
    queues = [
        name
        for name, text in queries().items()
        if re.match(r"UPDATE runs SET.*'queued'", text.split("WHERE")[0], re.DOTALL)
    ]
    # What rests goes on in the same process, whose own bell rings.
    assert set(queues) - {"rest_run"} == ours._WAKING - {"cancel_run"}


async def test_what_is_claimed_in_the_same_write_needs_no_job(database: str) -> None:
    async with open_store(database) as store, open_queue(database, store):
        runtime = Runtime(store, [review_then_publish()])
        run = await begin(runtime)
        before = len(jobs(database))
        await store.commit(Batch("test", (woken(run), runtime.ground.claim(run.id))))
        assert len(jobs(database)) == before


async def test_without_its_tables_everything_goes_on_by_looking(database: str) -> None:
    async with open_store(database) as store, open_queue(database, store):
        with aside(database) as raw:
            raw.execute("DROP FUNCTION procrastinate_defer_jobs_v1")
        runtime = Runtime(store, [review_then_publish()])
        run = await runtime.start("review", {"subject": "s"})
        assert (await runtime.advance(run.id)).status == "interrupted"


async def test_it_starts_again_after_its_connections_were_ended(database: str) -> None:
    async with (
        open_store(database) as one,
        open_store(database) as other,
        open_queue(database, one),
        listening(database, other) as bell,
    ):
        with aside(database) as raw:
            raw.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await Runtime(one, [review_then_publish()]).start("review", {"subject": "s"})
        await rung(bell)


async def test_a_job_whose_worker_died_is_taken_by_another(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "SWEEP_SECONDS", 0.1)
    async with open_store(database) as store, listening(database, store) as bell:
        with aside(database) as raw:
            raw.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status) "
                "VALUES ('signoff', 'advance', '{\"run_id\": \"run-1\"}', 'doing')"
            )
        await rung(bell)
        while jobs(database):
            await asyncio.sleep(0.01)


async def test_its_tables_are_made_once_and_migrated_by_its_own_scripts(
    databases: Databases, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with databases.migrated(template) as database:

        async def come() -> None:
            async with open_store(database) as store, open_queue(database, store):
                pass

        await asyncio.gather(*(come() for _ in range(4)))
        await come()
        more = {**ours._migrations(), "99.00.00_01_next.sql": b"CREATE TABLE procrastinate_next (x int)"}
        monkeypatch.setattr(ours, "_migrations", lambda: more)
        await asyncio.gather(*(come() for _ in range(3)))
        with aside(database) as raw:
            assert raw.execute("SELECT count(*) FROM procrastinate_next").fetchone() == (0,)


async def test_sqlite_needs_no_queue() -> None:
    async with open_store("sqlite:///:memory:") as store, open_queue("sqlite:///:memory:", store) as queue:
        assert isinstance(queue, Polling)
        stop = asyncio.Event()
        stop.set()
        await queue.listen([Bell()], stop)
