"""Several processes on one database, and what may be done to them: killed, stopped, left without their database,
under a flood of clicks. Each test here is told how much of it there is to be.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from forked import Forked
from people import CLI, approvals_of, boss, person, requests, ticket_of
from postgres import OwnServer
from worker_child import main, program

from graph_runtime import (
    Approvals,
    CommitUnknown,
    Refused,
    RequestView,
    Run,
    Runtime,
    Store,
    StoreError,
    open_queue,
    open_store,
)

#: Seconds of a worker's lease.
LEASE = 2


def say(figure: str) -> None:
    """Show a figure to whoever runs pytest with ``-s``."""
    sys.stdout.write(f"\n{figure}\n")


class Workers:
    """Worker processes on one database."""

    def __init__(self, database: str, notes: Path) -> None:
        self._database, self._notes = database, notes
        self._number = itertools.count(1)
        self.all: dict[str, Forked] = {}

    async def start(self, *, seconds: float = 0.05) -> str:
        """Start one and return its name, once it is at work."""
        name = f"worker-{next(self._number)}"
        words = (self._database, str(self._notes), name, str(LEASE), str(seconds))
        out = self._notes.with_name(f"{name}-said")
        process = self.all[name] = Forked(main, *words, env=os.environ, out=out)
        await process.says("ready")
        return name

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one of them."""
        self.all[name].send_signal(number)

    async def kill(self, name: str) -> None:
        """End one as a power cut does."""
        process = self.all.pop(name)
        process.kill()
        await process.wait()

    async def end(self) -> None:
        """Ask all of them for an ordered end; one that takes longer is killed."""
        ending, self.all = list(self.all.values()), {}
        for process in ending:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in ending:
            try:
                async with asyncio.timeout(20):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


class Web:
    """What a web process does: starts runs and takes clicks; it advances nothing."""

    def __init__(self, store: Store, runtime: Runtime, notes: Path) -> None:
        self.store, self.runtime = store, runtime
        self.approvals: Approvals = approvals_of(runtime)
        self._notes = notes

    async def start(self, number: int) -> list[Run]:
        """Start that many runs, and return them."""

        async def one(name: str) -> Run:
            return await self.runtime.start("scale", {"subject": name}, thread_id=name)

        return await _some_at_once(one, [f"case-{n}" for n in range(number)])

    async def asked(self, number: int) -> list[RequestView]:
        """Return the open requests, once there are that many."""
        while True:
            found = await self.approvals.find(status="open", limit=10_000)
            if len(found) == number:
                break
            await asyncio.sleep(0.05)
        views = await _some_at_once(self.approvals.view, [request.id for request in found])
        return [view for view in views if view is not None]

    async def click(self, view: RequestView) -> None:
        """Approve, as a person does: again when told that nothing was recorded, or that nobody knows."""
        while True:
            try:
                await self.approvals.decide(ticket_of(view, self.store), boss(), "approve", place=CLI)
            except CommitUnknown:
                await asyncio.sleep(0.1)
            except Refused as refused:
                if refused.code == "ALREADY_DECIDED":
                    return
                if refused.code != "BUSY":
                    raise
            except StoreError:
                await asyncio.sleep(0.1)
            else:
                return

    async def all_done(self, runs: list[Run]) -> None:
        """Return when every run is completed; fail when one ended otherwise."""
        while True:
            with contextlib.suppress(StoreError):
                count = await self.runtime.count()
                assert set(count) <= {"queued", "running", "interrupted", "completed"}, count
                if count.get("completed") == len(runs):
                    return
            await asyncio.sleep(0.05)

    async def check(self, runs: list[Run]) -> None:
        """Fail unless each run was decided once and went its way once, as its checkpoints say."""
        for run in runs:
            view = await self.runtime.look(run.id)
            assert view.state.values["log"] == ["prepared", "approved", "done"]
            steps = [page.step for page in await self.runtime.history(run.id)]
            assert steps == list(range(steps[0], steps[0] - len(steps), -1))
            kinds = Counter(event.kind for event in await self.runtime.events(run_id=run.id))
            assert (kinds["request.approved"], kinds["run.completed"]) == (1, 1)

    def executions(self, node: str) -> Counter[str]:
        """Return how often that node ran for each case."""
        lines = [line.split() for line in self._notes.read_text(encoding="utf-8").splitlines()]
        return Counter(case for _, ran, case in lines if ran == node)


@asynccontextmanager
async def house(database: str, folder: Path) -> AsyncIterator[tuple[Web, Workers]]:
    """Yield a web process, which is this one, and workers."""
    notes = folder / "notes"
    notes.touch()
    workers = Workers(database, notes)
    async with open_store(database) as store, open_queue(database, store):
        try:
            yield Web(store, Runtime(store, [program(notes)], companions=[requests()]), notes), workers
        finally:
            await workers.end()


async def kill_under_load(database: str, folder: Path, kills: int) -> list[float]:
    """Kill one of two workers so often, twenty clicks each time; return the seconds to the end of all of them."""
    chance = random.Random(20260105)
    async with house(database, folder) as (web, workers):
        names = [await workers.start(), await workers.start()]
        runs = await web.start(20 * kills)
        waiting = await web.asked(len(runs))
        recovered = []
        for batch in _batched(waiting, 20):
            clicks = [asyncio.create_task(web.click(view)) for view in batch]
            await asyncio.sleep(chance.uniform(0.05, 0.25))
            await workers.kill(names.pop(0))
            died = time.monotonic()
            names.append(await workers.start())
            await asyncio.gather(*clicks)
            while (await web.runtime.count()).get("completed", 0) < 20 * (len(recovered) + 1):
                await asyncio.sleep(0.05)
            recovered.append(time.monotonic() - died)
        await web.all_done(runs)
        await web.check(runs)
        ran = web.executions("carry_out")
    assert set(ran) == {run.thread_id for run in runs}
    assert ran.total() <= len(runs) + 16 * kills, "only what was under way ran again"
    say(f"seconds from each kill to the end of all: {', '.join(f'{s:.1f}' for s in recovered)}")
    return recovered


def _forgeries(other: Run) -> list[dict[str, str]]:
    return [{"run_id": other.id}, {"thread_id": other.thread_id}, {"interrupt_id": "x"}]


async def _some_at_once(work: Callable[[Any], Awaitable[Any]], items: list[Any]) -> list[Any]:
    """Return what the work makes of each item, forty at once."""
    return [one for some in _batched(items, 40) for one in await asyncio.gather(*map(work, some))]


def _batched(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def stop_past_the_lease(database: str, folder: Path) -> None:
    """Stop a worker with three runs in its hands until another has ended them, and let it go on."""
    async with house(database, folder) as (web, workers):
        zombie = await workers.start(seconds=1)
        runs = await web.start(3)
        await asyncio.gather(*(web.click(view) for view in await web.asked(3)))
        while len(web.executions("carry_out")) < 3:
            await asyncio.sleep(0.01)
        workers.signal(zombie, signal.SIGSTOP)
        await workers.start()
        await web.all_done(runs)
        before = [await web.runtime.history(run.id) for run in runs]
        assert set(web.executions("carry_out").values()) == {2}
        workers.signal(zombie, signal.SIGCONT)
        more = await web.runtime.start("scale", {"subject": "case-9"}, thread_id="case-9")
        (view,) = await web.asked(1)
        await web.click(view)
        await web.all_done([*runs, more])
        await workers.end()
        assert [await web.runtime.history(run.id) for run in runs] == before
        await web.check(runs)


async def take_the_database_away(server: OwnServer, folder: Path, seconds: float, clicks: int) -> float:
    """Stop the server under so many clicks, as a crash does; return the seconds from its return to the end."""
    async with house(server.address("postgres"), folder) as (web, workers):
        for _ in range(2):
            await workers.start()
        runs = await web.start(clicks)
        waiting = await web.asked(clicks)
        clicking = [asyncio.create_task(web.click(view)) for view in waiting]
        await asyncio.sleep(0.03)
        await asyncio.to_thread(server.stop, signal.SIGQUIT)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.start)
        back = time.monotonic()
        await asyncio.gather(*clicking)
        await web.all_done(runs)
        took = time.monotonic() - back
        say(f"away for {seconds:g} s: {took:.1f} s from the database's return to the end of all")
        await web.check(runs)
        return took


async def flood(database: str, folder: Path, number: int) -> float:
    """Click so often, forty at once: a quarter is good, the others are the same again, or forged.

    Exactly the right ones count. Returns the seconds to the end of all runs.
    """
    chance = random.Random(20260105)
    async with house(database, folder) as (web, workers):
        for _ in range(2):
            await workers.start(seconds=0)
        runs = await web.start(number // 4)
        waiting = await web.asked(len(runs))
        accepted: Counter[str] = Counter()
        refused: Counter[str] = Counter()

        async def click(clicked: tuple[RequestView, Any, dict[str, str]]) -> None:
            view, actor, forged = clicked
            ticket = replace(ticket_of(view, web.store), **forged)
            while True:
                try:
                    await web.approvals.decide(ticket, actor, "approve", place=CLI)
                except Refused as refusal:
                    refused[refusal.code] += 1
                    if refusal.code != "BUSY":
                        return
                except StoreError:
                    refused["the database was busy"] += 1
                else:
                    accepted[view.request.id] += 1
                    return

        clicks = []
        for view, other in zip(waiting, [*waiting[1:], waiting[0]], strict=True):
            clicks += [
                (view, boss(), {}),
                (view, boss(), {}),
                (view, person("U_NOBODY"), {}),
                (view, boss(), chance.choice(_forgeries(other.run))),
            ]
        chance.shuffle(clicks)
        began = time.monotonic()
        await _some_at_once(click, clicks)
        clicked = time.monotonic() - began
        await web.all_done(runs)
        ended = time.monotonic() - began
        say(f"{len(clicks)} clicks in {clicked:.1f} s, all runs ended after {ended:.1f} s")
        assert set(accepted.values()) == {1}
        assert len(accepted) == len(runs)
        again = refused["BUSY"] + refused["the database was busy"]
        assert refused.total() - again == len(clicks) - len(runs)
        await web.check(runs)
        assert web.executions("carry_out") == Counter({run.thread_id: 1 for run in runs})
        return ended
