"""The clock of the machine is set back or forth: every deadline comes once, and whoever holds a lease keeps it."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from graphs import Log, one_after_another
from kit import SettableClock
from people import approvals_of, deploy, requests
from promises import broken

from graph_runtime import LeaseLost, Runtime, open_store

pytestmark = pytest.mark.databases("sqlite", "postgres")
DAY, HOUR = 86_400, 3_600
JUMPS = {
    "a day back": (-DAY,),
    "an hour back": (-HOUR,),
    "an hour forth": (HOUR,),
    "a year forth": (365 * DAY,),
    "forth and back": (HOUR, -HOUR),
}


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
@pytest.mark.parametrize("moment", ["asked", "nearly due", "past"])
async def test_a_deadline_comes_once_and_never_before_its_time(
    database: str, jump: tuple[int, ...], moment: str
) -> None:
    clock = SettableClock()
    async with open_store(database) as store:
        runtime = Runtime(store, [deploy("slow")], companions=[requests()], clock=clock)
        approvals = approvals_of(runtime)
        run = await runtime.start("deploy", {"subject": "s"})
        await runtime.advance(run.id)
        (request,) = await approvals.find(run_id=run.id)
        assert request.deadline_at is not None
        clock.pass_seconds({"asked": 1, "nearly due": HOUR - 1, "past": HOUR + 1}[moment])
        for seconds in jump:
            clock.pass_seconds(seconds)
            await approvals.expire_due()
            view = await approvals.view(request.id)
            assert view is not None
            if view.request.status == "timed_out":
                assert view.request.closed_at is not None
                assert view.request.closed_at >= request.deadline_at
            else:
                assert clock.now < request.deadline_at
        for _ in range(3):
            clock.now = max(clock.now, request.deadline_at) + 1
            await approvals.expire_due()
            await runtime.advance(run.id)
        kinds = Counter(event.kind for event in await runtime.events(run_id=run.id))
        assert (kinds["request.timed_out"], kinds["run.completed"]) == (1, 1)
    assert broken(database) == []


@pytest.fixture
def berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.__setitem__("TZ", before)
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("switch", [1_774_746_000, 1_792_890_000], ids=["to summer time", "to winter time"])
async def test_a_deadline_across_the_change_to_summer_time_is_an_hour_as_any_other(
    database: str, switch: int
) -> None:
    """An hour is missing on the wall, or comes twice; time as it is kept here knows nothing of walls."""
    assert time.localtime(switch - 1).tm_isdst != time.localtime(switch).tm_isdst, "the clocks change then"
    clock = SettableClock((switch - HOUR // 2) * 1_000_000)
    async with open_store(database) as store:
        runtime = Runtime(store, [deploy("slow")], companions=[requests()], clock=clock)
        approvals = approvals_of(runtime)
        run = await runtime.start("deploy", {"subject": "s"})
        await runtime.advance(run.id)
        clock.pass_seconds(HOUR - 1)
        assert not await approvals.expire_due()
        clock.pass_seconds(2)
        assert await approvals.expire_due()
        assert not await approvals.expire_due()


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
@pytest.mark.parametrize("asked", ["at once", "after the next renewal"])
async def test_whoever_renews_a_lease_keeps_it_and_who_lost_it_writes_nothing(
    database: str, jump: tuple[int, ...], asked: str
) -> None:
    clock, begun, on = SettableClock(), asyncio.Event(), asyncio.Event()

    async def long(state: Log) -> Log:
        begun.set()
        await on.wait()
        return {"log": ["done"]}

    async with open_store(database) as store:
        # The clock stands still between its jumps; renewals come by the machine's own.
        graph = one_after_another("long", long=long, after=lambda state: {"log": ["after"]})
        one, other = (
            Runtime(store, [graph], clock=clock, owner=owner, lease=150_000) for owner in ("one", "other")
        )
        run = await one.start("long", {"subject": "s"})
        claimed = await one.claim()
        assert claimed is not None
        driving = asyncio.create_task(one.drive(claimed))
        await begun.wait()
        for seconds in jump:
            clock.pass_seconds(seconds)
        wanted = clock.now + 150_000
        while asked != "at once" and (await one.get(run.id)).lease_until != wanted:
            await asyncio.sleep(0.005)
        stolen = await other.claim()
        on.set()
        if stolen is None:
            assert (await driving).status == "completed"
        else:
            # The jump was past the lease, and nobody could know that its holder lives.
            assert asked == "at once"
            assert sum(jump) > 0
            assert (await other.drive(stolen)).status == "completed"
            with pytest.raises(LeaseLost):
                await driving
        assert (await one.look(run.id)).state.values["log"] == ["done", "after"]
    assert broken(database) == []
