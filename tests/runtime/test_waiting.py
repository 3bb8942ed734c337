"""A run waits for a time or the end of a freeze: durably, once, and it costs rows and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from graphs import Log, begin, events, one_after_another, values
from kit import MONDAY, MakeRuntime, SettableClock
from people import requests

from graph_runtime import Alarms, OutsideNode, Refused, Store, wait_until
from graph_runtime.storage import Ask

pytestmark = pytest.mark.databases("sqlite", "postgres")
NINE = datetime.fromtimestamp(MONDAY / 1_000_000, UTC)


def waits(*hours: float) -> Any:
    async def wait(state: Log) -> Log:
        for hour in hours:
            wait_until(NINE + timedelta(hours=hour), key=f"{hour}")
        return {"log": ["waited"]}

    async def then(state: Log) -> Log:
        return {"log": ["went on"]}

    return one_after_another("waits", wait=wait, then=then)


async def test_a_run_goes_on_when_its_time_has_come_and_not_before(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
):
    runtime = make_runtime(waits(1), companions=[requests()])
    alarms = Alarms(runtime)
    run = await begin(runtime)
    assert run.status == "interrupted"
    clock.pass_seconds(3_599)
    assert not await alarms.ring_due()
    clock.pass_seconds(1)
    assert await alarms.ring_due()
    assert not await alarms.ring_due(), "rung once"
    done = await runtime.advance(run.id)
    assert done.status == "completed"
    assert (await values(runtime, done))["log"] == ["waited", "went on"]
    assert [line.kind for line in await events(store, run_id=run.id, kind="time.came")] == ["time.came"]
    assert not (await store.read(Ask("find_requests_of_run", {"run_id": run.id, "status": "", "limit": 9})))[
        0
    ]


async def test_waits_of_one_node_come_one_after_the_other(make_runtime: MakeRuntime, clock: SettableClock):
    runtime = make_runtime(waits(1, 2))
    alarms = Alarms(runtime)
    run = await begin(runtime)
    clock.pass_seconds(3_600)
    await alarms.ring_due()
    assert (await runtime.advance(run.id)).status == "interrupted"
    clock.pass_seconds(3_600)
    await alarms.ring_due()
    assert (await runtime.advance(run.id)).status == "completed"


async def test_a_time_that_is_past_is_waited_for_no_longer_than_a_look(make_runtime: MakeRuntime):
    runtime = make_runtime(waits(-5))
    run = await begin(runtime)
    assert await Alarms(runtime).ring_due()
    assert (await runtime.advance(run.id)).status == "completed"


async def test_a_cancelled_run_waits_for_nothing(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
):
    runtime = make_runtime(waits(1))
    run = await begin(runtime)
    await runtime.cancel(run.thread_id, run.id)
    clock.pass_seconds(3_600)
    assert not await Alarms(runtime).ring_due()
    assert (await runtime.get(run.id)).status == "cancelled"


async def test_two_that_ring_at_once_wake_a_run_once(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
):
    runtime, other = make_runtime(waits(0)), make_runtime(waits(0))
    run = await begin(runtime)
    rows = (await store.read(Ask("find_due_waits", {"now": clock(), "limit": 9})))[0]
    await Alarms(runtime)._ring(rows[0], "time.came")
    await Alarms(other)._ring(rows[0], "time.came")
    assert (await runtime.advance(run.id)).status == "completed"
    assert len(await events(store, run_id=run.id, kind="time.came")) == 1


async def test_a_thread_that_is_let_go_takes_its_waits_along(make_runtime: MakeRuntime, clock: SettableClock):
    runtime = make_runtime(waits(0))
    run = await begin(runtime)
    await Alarms(runtime).ring_due()
    await runtime.advance(run.id)
    clock.pass_seconds(10)
    assert await runtime.prune(older_than=1) == 1


def test_a_moment_without_a_zone_is_none():
    with pytest.raises(ValueError, match="no time zone"):
        wait_until(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(OutsideNode):
        wait_until(NINE)


async def test_a_freeze_is_ended_by_two_people(make_runtime: MakeRuntime, store: Store):
    alarms = Alarms(make_runtime(waits(1)))
    await alarms.freeze("graph:deploy", by="U_ANN", reason="an incident")
    with pytest.raises(Refused, match="frozen already"):
        await alarms.freeze("graph:deploy", by="U_BEN", reason="me too")
    left = await alarms.release("graph:deploy", by="U_ANN")
    assert left is not None
    assert left.released_by == ("U_ANN",)
    with pytest.raises(Refused, match="somebody else must agree"):
        await alarms.release("graph:deploy", by="U_ANN")
    assert [freeze.released_by for freeze in await alarms.freezes()] == [("U_ANN",)]
    assert await alarms.release("graph:deploy", by="U_BEN") is None
    assert await alarms.freezes() == []
    kinds = [line.kind for line in await events(store) if line.kind.startswith("freeze.")]
    assert kinds == ["freeze.began", "freeze.release_agreed", "freeze.ended"]


@pytest.mark.parametrize("scope", ["", "everything", "graph:", "node:x"])
async def test_what_can_be_frozen_is_all_a_graph_or_an_action(make_runtime: MakeRuntime, scope: str):
    alarms = Alarms(make_runtime(waits(1)))
    with pytest.raises(Refused, match="nothing was frozen"):
        await alarms.freeze(scope, by="U_ANN", reason="why")


async def test_a_freeze_says_why_and_what_is_not_frozen_cannot_be_released(make_runtime: MakeRuntime):
    alarms = Alarms(make_runtime(waits(1)))
    with pytest.raises(Refused, match="say why"):
        await alarms.freeze("all", by="U_ANN", reason=" ")
    with pytest.raises(Refused, match="is not frozen"):
        await alarms.release("all", by="U_ANN")
