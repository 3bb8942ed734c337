"""Procrastinate as the queue between processes on PostgreSQL: a job in the same write as what it tells of.

A job says no more than "there is work": whoever takes it rings its own bells, and claims what there is by the
ordinary guarded statement. So nothing depends on it: no lock can hold a run up, a job that finds nothing to
do ends, and what a lost job told of is found at a worker's next look. docs/decisions/0005-jobs-are-bells.md
has the reasons.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import procrastinate
import psycopg
import structlog
from procrastinate import sql
from procrastinate.schema import SchemaManager, migrations_path
from psycopg_pool import AsyncConnectionPool

from .clock import Bell
from .errors import StoreError
from .storage import Batch, Do
from .storage.packet import Sent
from .storage.postgres import PATIENCE, PostgresStore, nothing

_log = structlog.get_logger("signoff.queue")
#: The queue and the task of every job of ours.
QUEUE, TASK = "signoff", "advance"
#: Seconds between two looks for jobs: Procrastinate may forget a notice that comes while it fetches one.
FETCH_SECONDS = 0.25
#: Seconds between two looks for jobs whose worker has died, and since its last sign of life.
SWEEP_SECONDS = 5.0
STALLED_SECONDS = 30.0
#: Seconds before it is started again after it broke off, doubled up to the longest.
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
#: Seconds that an ordered stop waits for it; it has nothing that could be lost.
STOP_SECONDS = 5.0
#: Procrastinate's own statement, with one job written out, so that the batch's own write can hold it.
_DEFER = (
    sql.queries["defer_jobs"]
    .replace("%(jobs)s", "ARRAY[ROW($1, $2, 0, NULL, NULL, jsonb_build_object('run_id', $3::text), NULL)]")
    .encode()
)
_WAKING = frozenset({"ask_anew", "cancel_run", "give_back_run", "go_on_run", "wake_run"})


class ProcrastinateQueue:
    """The queue of a process on a PostgreSQL store. While it is open, the store's batches carry its jobs."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        # Connections of its own: it waits for notices on one, and must not use up those that clicks need.
        self._pool = AsyncConnectionPool(
            store.address,
            min_size=1,
            max_size=2,
            timeout=PATIENCE,
            reconnect_timeout=PATIENCE / 2,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector())

    async def __aenter__(self) -> Self:
        """Make or migrate Procrastinate's tables beside ours. Raises :class:`StoreError` when that fails."""
        # Each job is several lines of log otherwise, and each outage pages of them; we say it in one.
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
        await self._pool.open()
        await self._app.open_async(self._pool)
        try:
            async with self._pool.connection() as connection:
                await _bring_up_to_date(connection)
        except psycopg.Error as error:
            await self._pool.close()
            said = str(error).partition("\n")[0]
            raise StoreError(f"nothing was started: Procrastinate's tables cannot be made: {said}") from None
        self._store.beside = jobs_of
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put no more jobs, and close its connections."""
        self._store.beside = nothing
        await self._app.close_async()
        await self._pool.close()

    async def listen(self, bells: Sequence[Bell], stop: asyncio.Event) -> None:
        """See :meth:`Queue.listen`."""

        async def advance(run_id: str) -> None:
            for bell in bells:
                bell.ring()

        self._app.task(name=TASK, queue=QUEUE)(advance)
        async with asyncio.TaskGroup() as group:
            tasks = {
                group.create_task(self._again_and_again(self._take_jobs), name="queue"),
                group.create_task(self._again_and_again(self._sweep), name="queue sweep"),
            }
            await stop.wait()
            for task in tasks:
                task.cancel()
            _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()

    async def _again_and_again(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work for ever; when it breaks off, wait a little longer each time it did so soon."""
        wait, loop = FIRST_WAIT, asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the workers' own look goes on without it
                _log.warning("queue.broke", work=work.__name__, error=type(error).__name__)
            if loop.time() - began > LONGEST_WAIT:
                wait = FIRST_WAIT
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _take_jobs(self) -> None:
        await self._app.run_worker_async(
            queues=[QUEUE],
            fetch_job_polling_interval=FETCH_SECONDS,
            delete_jobs="successful",
            install_signal_handlers=False,
            shutdown_graceful_timeout=STOP_SECONDS / 2,
            stalled_worker_timeout=STALLED_SECONDS,
        )

    async def _sweep(self) -> None:
        """Put jobs back whose worker died with them; Procrastinate itself leaves them as they are."""
        while True:
            manager = self._app.job_manager
            for job in await manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=STALLED_SECONDS):
                await manager.retry_job(job, retry_at=datetime.now(UTC))
            await asyncio.sleep(SWEEP_SECONDS)


def jobs_of(batch: Batch) -> list[Sent]:
    """Return the statements that put a job for each run of which a batch leaves something to do elsewhere."""
    claimed = {do.params["run_id"] for do in batch.writes if do.query == "claim_this_run"}
    runs = {str(do.params["run_id"]): None for do in batch.writes if _wakes(do)}
    return [
        Sent(_DEFER, (QUEUE.encode(), TASK.encode(), run_id.encode()))
        for run_id in runs
        if run_id not in claimed
    ]


def _wakes(do: Do) -> bool:
    """Say whether the statement queues a run, or ends one of which something is to be told."""
    return do.query in _WAKING or do.params.get("status") == "queued"


async def _bring_up_to_date(connection: psycopg.AsyncConnection) -> None:
    """Leave the tables as this version of Procrastinate has them; one process does it, the others wait."""
    files = _migrations()
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(b"jobs")])
    found = await connection.execute(
        "SELECT to_regclass('procrastinate_jobs') IS NOT NULL, "
        "(SELECT value FROM deployment WHERE key = 'procrastinate')"
    )
    ((there, applied),) = await found.fetchall()
    if not there:
        await connection.execute(SchemaManager.get_schema())
    for name, script in files.items():
        if there and applied is not None and name > applied:
            await connection.execute(script)
    await connection.execute(
        "INSERT INTO deployment (key, value) VALUES ('procrastinate', %s) "
        "ON CONFLICT (key) DO UPDATE SET value = greatest(deployment.value, excluded.value)",
        [max(files)],
    )


def _migrations() -> dict[str, bytes]:
    """Return Procrastinate's scripts in their order: their names begin with its versions."""
    return {path.name: path.read_bytes() for path in sorted(Path(migrations_path).glob("*.sql"))}
