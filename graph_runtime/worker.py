"""The loops: advance runs, keep time, let threads go. One loop shape; stopping is an ordered sequence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.util import find_spec
from typing import Protocol

import structlog

from .alarms import Alarms
from .approvals import Approvals
from .clock import SECOND, Bell
from .errors import LeaseLost, SignoffError, StoreError
from .ground import Begun
from .retention import Retention
from .runtime import Runtime
from .storage import Store
from .types import Run

_log = structlog.get_logger("signoff.worker")
#: How often a loop looks by itself, for what another process queued or a bell that was lost.
POLL_SECONDS = 1.0
#: Finished threads that go at one look; runs and clicks are served between two of them.
PRUNED_AT_ONCE = 20
#: How long after a look that found no more of them the next one is.
PRUNE_AGAIN = 600 * SECOND


async def keep_doing(
    work: Callable[[], Awaitable[bool]], *, bell: Bell, stop: asyncio.Event, idle: float = POLL_SECONDS
) -> None:
    """Call ``work`` again and again until ``stop``; when it says that it did nothing, wait for the bell.

    An error of the database is logged and waited out; any other error ends the loop, and with it the house.
    """
    while not stop.is_set():
        try:
            if await work():
                continue
        except StoreError as error:
            _log.warning("database.refused", error=str(error))
        await bell.wait(idle)


class Queue(Protocol):
    """How processes that share a database tell each other that there is work.

    A word that is lost costs latency, never correctness: every worker also looks by itself.
    """

    async def listen(self, bells: Sequence[Bell], stop: asyncio.Event) -> None:
        """Ring the bells at each word from any process, until ``stop`` is set."""
        ...


class Polling:
    """The queue of one process: its own bells, and a look every :data:`POLL_SECONDS` for the others."""

    async def listen(self, bells: Sequence[Bell], stop: asyncio.Event) -> None:
        """Return when ``stop`` is set; whoever commits rings the bells."""
        await stop.wait()


@contextlib.asynccontextmanager
async def open_queue(database: str, store: Store) -> AsyncIterator[Queue]:
    """Yield the queue for an open store: Procrastinate's on PostgreSQL, where that is installed.

    Raises :class:`StoreError` when its tables cannot be made.
    """
    if not database.startswith("postgresql://") or find_spec("procrastinate") is None:
        yield Polling()
        return
    # Loaded only where they are used.
    from .procrastinate import ProcrastinateQueue  # noqa: PLC0415
    from .storage.postgres import PostgresStore  # noqa: PLC0415

    assert isinstance(store, PostgresStore)
    async with ProcrastinateQueue(store) as queue:
        yield queue


class Worker:
    """Advances queued runs, at most ``lanes`` at once, and closes requests whose deadline has passed.

    While it works, a run that this process queues is claimed in the same commit if a lane is free: so neither
    a start nor a click costs a second one.
    """

    def __init__(
        self,
        runtime: Runtime,
        approvals: Approvals,
        *,
        lanes: int = 100,
        grace: float = 10.0,
        retention: Retention | None = None,
    ) -> None:
        self._runtime = runtime
        self._approvals = approvals
        self._alarms = Alarms(runtime)
        self._lanes = lanes
        self._grace = grace
        self._retention = retention or Retention()
        self._prune_at = 0

    async def work(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; then claim nothing more, let runs under way reach their next commit
        for up to the grace period, and give the others back to the queue.
        """
        async with asyncio.TaskGroup() as house:
            keeping = house.create_task(self._keep_time(stop), name="time")
            lanes = _Lanes(self._runtime, house, self._lanes)
            self._runtime.ground.reserve = lambda: None if stop.is_set() else lanes.reserve()
            try:
                await keep_doing(lambda: self._take_one(lanes), bell=self._runtime.runs_bell, stop=stop)
            finally:
                self._runtime.ground.reserve = lambda: None
            keeping.cancel()  # a deadline that was due is due at the next start as well
            await lanes.empty(self._grace)

    async def _take_one(self, lanes: _Lanes) -> bool:
        lane = lanes.reserve()
        if lane is None:
            return False  # whoever leaves a lane rings; to wait here would not hear the stop
        run: Run | None = None
        try:
            run = await self._runtime.claim()
        finally:
            if run is None:
                lane.free()
        if run is None:
            return False
        lane.take(run)
        return True

    async def _keep_time(self, stop: asyncio.Event) -> None:
        bell = Bell()
        await keep_doing(self._mind_time, bell=bell, stop=stop)

    async def _mind_time(self) -> bool:
        """Close what is past its deadline; when nothing is, let a few finished threads go."""
        if await self._approvals.expire_due() or await self._alarms.ring_due():
            return True
        await self._alarms.ring_released()
        kept, now = self._retention, self._runtime.clock()
        if now >= self._prune_at:
            went = await self._runtime.prune(older_than=kept.older_than, keep=kept.keep, limit=PRUNED_AT_ONCE)
            if went < PRUNED_AT_ONCE:
                self._prune_at = now + PRUNE_AGAIN
            if went:
                _log.info("threads.pruned", threads=went)
        return False


class _Lanes:
    """The places in which a worker drives runs; each is the parent of nothing but its run's task."""

    def __init__(self, runtime: Runtime, house: asyncio.TaskGroup, lanes: int) -> None:
        self._runtime = runtime
        self._house = house
        self._all = self._free = lanes
        self._left = asyncio.Event()
        #: Somebody wanted a place when there was none.
        self._wanted = False
        self._closed = False
        self._running: set[asyncio.Task[None]] = set()

    def reserve(self) -> _Lanes | None:
        """Keep a place; None when all are taken."""
        if self._free == 0:
            self._wanted = True
            return None
        self._free -= 1
        return self

    def free(self) -> None:
        """Give the place back; whoever wanted one looks again for what it has queued."""
        self._free += 1
        self._left.set()
        if self._wanted:
            self._wanted = False
            self._runtime.runs_bell.ring()

    def take(self, run: Run, begun: Begun | None = None) -> None:
        """Drive a claimed run in the place that was kept for it; after the end, leave it to its lease."""
        if self._closed:
            return
        task = self._house.create_task(self._drive(run, begun), name=f"run {run.id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def empty(self, grace: float) -> None:
        """Return when no run is driven any more; those that take longer than ``grace`` seconds are left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._free < self._all:
                    self._left.clear()
                    await self._left.wait()
        self._closed = True
        for task in self._running:
            task.cancel()

    async def _drive(self, run: Run, begun: Begun | None) -> None:
        try:
            rested = await self._runtime.drive(run, None, begun)
            _log.info("run.rested", run_id=run.id, thread_id=run.thread_id, status=rested.status)
        except LeaseLost:
            _log.info("run.lost", run_id=run.id, thread_id=run.thread_id)
        except SignoffError as error:
            # The lease lapses and the run is taken up again, here or elsewhere.
            _log.warning("run.interrupted", run_id=run.id, error=type(error).__name__)
        finally:
            self.free()
