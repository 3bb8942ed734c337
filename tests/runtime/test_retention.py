"""Finished threads go by age and number, with everything but the journal; nothing else ever goes."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from graphs import answer_only, begin, events, one_after_another, review_then_publish, side_by_side
from kit import MakeRuntime, SettableClock
from people import CARD, CLI, approvals_of, boss, deploy, open_view, requests, ticket_of

from graph_runtime import (
    Action,
    LeaseLost,
    Outbox,
    Place,
    Refused,
    Retention,
    Run,
    Runtime,
    Store,
    UnknownRun,
    UnknownThread,
    Worker,
    approve,
    execute_once,
    interrupt,
    open_store,
    step,
    wait_until,
)
from graph_runtime.worker import PRUNE_AGAIN, PRUNED_AT_ONCE

DAY = 86_400
on_both = pytest.mark.databases("sqlite", "postgres")


def short() -> Any:
    async def work(state: dict[str, Any]) -> dict[str, Any]:
        return {"log": [await step("double", double, state["subject"])]}

    async def double(text: str) -> str:
        return text * 2

    return one_after_another("short", work=work)


async def finished(runtime: Runtime, clock: SettableClock, *names: str) -> None:
    """Finish a run on each of these threads, a second apart."""
    for name in names:
        run = await begin(runtime, thread_id=name)
        assert run.status == "completed"
        clock.pass_seconds(1)


async def threads(runtime: Runtime) -> list[str]:
    return sorted({run.thread_id for run in await runtime.runs(limit=1_000)})


def rows(tmp_path: Path) -> dict[str, int]:
    """Return how many rows each table has that is about threads, but for the journal."""
    with contextlib.closing(sqlite3.connect(tmp_path / "signoff.db")) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608 - names of our tables
            for name in tables
            if name not in {"events", "deployment", "turns"}
        }


async def told(runtime: Runtime) -> None:
    """Deliver everything that is to be told."""
    outbox = Outbox(runtime)
    while (entry := await outbox.claim()) is not None:
        await outbox.landed(entry, Place("slack", "A1", "T1", "C1", entry.id))


@on_both
async def test_what_ended_longer_ago_goes_and_the_journal_says_so(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
) -> None:
    runtime = make_runtime(short())
    await finished(runtime, clock, "old", "older")
    clock.pass_seconds(30 * DAY)
    await finished(runtime, clock, "young")
    before = await events(store)
    assert await runtime.prune(older_than=31 * DAY) == 0
    assert await runtime.prune(older_than=30 * DAY, dry_run=True) == 2
    assert await threads(runtime) == ["old", "older", "young"]
    assert await runtime.prune(older_than=30 * DAY, actor="cli:root") == 2
    assert await threads(runtime) == ["young"]
    after = await events(store)
    assert after[: len(before)] == before
    lines = after[len(before) :]
    assert [(line.kind, line.thread_id, line.actor) for line in lines] == [
        ("thread.pruned", "old", "cli:root"),
        ("thread.pruned", "older", "cli:root"),
    ]
    assert await runtime.prune(older_than=30 * DAY) == 0


async def test_of_the_finished_those_that_ended_last_are_kept(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(short())
    await finished(runtime, clock, "a", "b", "c", "d", "a")
    assert await runtime.prune(keep=4) == 0
    assert await runtime.prune(keep=2) == 2
    assert await threads(runtime) == ["a", "d"], "a has ended again since"


async def test_a_thread_past_either_bound_goes(make_runtime: MakeRuntime, clock: SettableClock) -> None:
    runtime = make_runtime(short())
    await finished(runtime, clock, "a", "b")
    clock.pass_seconds(DAY)
    await finished(runtime, clock, "c", "d")
    assert await runtime.prune(older_than=DAY / 2, keep=3, dry_run=True) == 2
    assert await runtime.prune(older_than=2 * DAY, keep=3) == 1
    assert await threads(runtime) == ["b", "c", "d"]
    assert await runtime.prune(older_than=DAY / 2, keep=3) == 1
    assert await threads(runtime) == ["c", "d"]


@pytest.mark.parametrize("bounds", [{}, {"older_than": 0, "keep": 0}, {"older_than": None, "keep": None}])
async def test_without_a_bound_everything_is_kept(
    make_runtime: MakeRuntime, clock: SettableClock, bounds: dict[str, Any]
) -> None:
    runtime = make_runtime(short())
    await finished(runtime, clock, "a")
    clock.pass_seconds(10_000 * DAY)
    assert await runtime.prune(**bounds, dry_run=True) == 0
    assert await runtime.prune(**bounds) == 0
    assert await threads(runtime) == ["a"]


@pytest.mark.parametrize("bounds", [{"older_than": -1}, {"keep": -1}])
async def test_a_bound_below_nothing_is_refused(make_runtime: MakeRuntime, bounds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nothing was pruned"):
        await make_runtime(short()).prune(**bounds)


async def test_nothing_of_a_pruned_thread_is_left_but_its_journal(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store, tmp_path: Path
) -> None:
    runtime = make_runtime(short(), deploy(), companions=[requests()])
    approvals = approvals_of(runtime)
    run = await begin(runtime, graph="deploy", thread_id="asked")
    await told(runtime)
    view = await open_view(approvals, run.id)
    await approvals.decide(ticket_of(view, store), boss(), "approve", place=CLI)
    assert (await runtime.advance(run.id)).status == "completed"
    await told(runtime)
    again = await begin(runtime, graph="deploy", thread_id="asked")
    await runtime.cancel("asked", again.id)
    await told(runtime)
    await finished(runtime, clock, "asked", "plain")
    full = rows(tmp_path)
    empty = {name for name, count in full.items() if not count}
    # In test_absences.py, test_scenario_b_limits.py and test_erasing.py.
    beside = {"bypasses", "delegations", "quotas", "texts"}
    assert empty == {"frames", "due", "waits", "executions", "blocks", "freezes"} | beside, "looked at below"
    clock.pass_seconds(1)
    assert await runtime.prune(older_than=0.5) == 2
    assert set(rows(tmp_path).values()) == {0}
    kinds = {event.kind for event in await events(store, run_id=run.id)}
    assert {"run.started", "request.opened", "request.approved", "run.completed"} <= kinds
    of_request = [event.kind for event in await runtime.events(request_id=view.request.id)]
    assert of_request == ["request.opened", "request.approved"]


async def test_what_subgraphs_and_deadlines_left_goes_too(
    make_runtime: MakeRuntime, clock: SettableClock, tmp_path: Path
) -> None:
    inner = one_after_another("inner", ask=asks)
    outer = one_after_another("outer", inner=inner)
    runtime = make_runtime(outer, companions=[requests(default={"people": ["U_BOSS"], "deadline": "1h"})])
    run = await begin(runtime, thread_id="deep")
    counted = rows(tmp_path)
    assert counted["frames"] == 1
    assert counted["due"] == 1
    assert (await runtime.cancel("deep", run.id)).status == "cancelled"
    await told(runtime)
    clock.pass_seconds(1)
    assert await runtime.prune(older_than=0.5) == 1
    assert set(rows(tmp_path).values()) == {0}


async def test_what_was_carried_out_and_waited_for_goes_too(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store, tmp_path: Path
) -> None:
    async def ask(state: dict[str, Any]) -> dict[str, Any]:
        return {"answer": approve("Pay", action=Action("pay", {}))}

    async def pay(state: dict[str, Any]) -> dict[str, Any]:
        await execute_once(state["answer"].grant, lambda key: key)
        wait_until(datetime(2026, 1, 5, tzinfo=UTC))
        return {}

    runtime = make_runtime(one_after_another("pay", ask=ask, pay=pay), companions=[requests()])
    approvals = approvals_of(runtime)
    run = await begin(runtime, thread_id="paid")
    view = await open_view(approvals, run.id)
    await approvals.decide(ticket_of(view, store), boss(), "approve", place=CLI)
    assert (await runtime.advance(run.id)).status == "interrupted"
    counted = rows(tmp_path)
    assert (counted["executions"], counted["waits"]) == (1, 1)
    await runtime.cancel("paid", run.id)
    await told(runtime)
    clock.pass_seconds(1)
    assert await runtime.prune(older_than=0.5) == 1
    assert set(rows(tmp_path).values()) == {0}


async def asks(state: dict[str, Any]) -> dict[str, Any]:
    return {"answer": interrupt("Go?")}


async def fails(state: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("no")


async def test_every_end_is_an_end(make_runtime: MakeRuntime, clock: SettableClock) -> None:
    runtime = make_runtime(short(), one_after_another("asks", ask=asks), one_after_another("fails", f=fails))
    await finished(runtime, clock, "completed")
    await runtime.cancel("cancelled", (await begin(runtime, graph="asks", thread_id="cancelled")).id)
    assert (await begin(runtime, graph="fails", thread_id="failed")).status == "failed"
    clock.pass_seconds(DAY)
    assert await runtime.prune(older_than=DAY / 2) == 3
    assert await threads(runtime) == []


async def test_what_is_alive_stays_however_old(make_runtime: MakeRuntime, clock: SettableClock) -> None:
    async def swallows(state: dict[str, Any]) -> dict[str, Any]:
        with contextlib.suppress(BaseException):
            interrupt("Go?")
        return {}

    runtime = make_runtime(
        short(), one_after_another("asks", ask=asks), one_after_another("swallows", node=swallows)
    )
    await begin(runtime, graph="asks", thread_id="interrupted")
    assert (await begin(runtime, graph="swallows", thread_id="attention")).status == "needs_attention"
    await runtime.start("short", {"subject": "s"}, thread_id="queued")
    await runtime.start("short", {"subject": "s"}, thread_id="running", driver="caller")
    await finished(runtime, clock, "twice")
    await begin(runtime, graph="asks", thread_id="twice")
    clock.pass_seconds(1_000 * DAY)
    assert await runtime.prune(older_than=1, keep=1) == 0
    assert await threads(runtime) == ["attention", "interrupted", "queued", "running", "twice"]


@on_both
async def test_what_is_still_to_be_told_stays_until_it_is_told(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(deploy(), companions=[requests()])
    run = await begin(runtime, thread_id="t")
    await runtime.cancel("t", run.id)
    clock.pass_seconds(DAY)
    assert await runtime.prune(older_than=1) == 0
    outbox = Outbox(runtime)
    entry = await outbox.claim()
    assert entry is not None
    assert await runtime.prune(older_than=1) == 0, "a courier has it in hand"
    await outbox.landed(entry, CARD)
    await told(runtime)
    assert await runtime.prune(older_than=1) == 1


async def test_what_was_given_up_on_holds_no_thread_back(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(deploy(), companions=[requests()])
    run = await begin(runtime, thread_id="t")
    await runtime.cancel("t", run.id)
    outbox = Outbox(runtime)
    while (entry := await outbox.claim()) is not None:
        await outbox.park(entry, "channel_not_found")
    clock.pass_seconds(DAY)
    assert await runtime.prune(older_than=1) == 1


@on_both
async def test_a_thread_that_goes_on_at_that_moment_stays(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    """The look says that it is finished; the guard of its batch says that it is not any more."""
    runtime = make_runtime(short())
    await finished(runtime, clock, *(f"t{n}" for n in range(40)))
    clock.pass_seconds(DAY)
    started: list[Run] = []

    async def start_some() -> None:
        for n in range(39, -1, -1):
            started.append(await runtime.start("short", {"subject": "new"}, thread_id=f"t{n}"))

    went, _ = await asyncio.gather(runtime.prune(older_than=1), start_some())
    assert 0 < went < 40
    for run in started:
        assert (await runtime.advance(run.id)).status == "completed"
    # A thread that was pruned first has begun anew; one that went on first has kept what it had.
    logs = [(await runtime.look(run.id)).state.values["log"] for run in started]
    assert sorted(map(len, logs)) == [1] * went + [2] * (40 - went)


@on_both
async def test_two_that_prune_at_once_let_the_same_threads_go_and_no_others(
    store: Store, database: str, make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(short())
    await finished(runtime, clock, *(f"t{n:02}" for n in range(30)))
    async with open_store(database) as second:
        other = Runtime(second, [short()], clock=clock, owner="other")
        went = await asyncio.gather(runtime.prune(keep=10), other.prune(keep=10), runtime.prune(keep=10))
    assert sum(went) == 20
    assert await threads(runtime) == [f"t{n:02}" for n in range(20, 30)]
    assert len([e for e in await events(store) if e.kind == "thread.pruned"]) == 20


async def test_a_limit_takes_the_longest_ended_first(make_runtime: MakeRuntime, clock: SettableClock) -> None:
    runtime = make_runtime(short())
    await finished(runtime, clock, "c", "a", "b")
    clock.pass_seconds(DAY)
    assert await runtime.prune(older_than=1, limit=2) == 2
    assert await threads(runtime) == ["b"]
    assert await runtime.prune(older_than=1, limit=0) == 0


async def test_a_pruned_run_is_unknown_and_its_key_starts_a_new_one(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(review_then_publish())
    run = await begin(runtime, thread_id="t", idempotency_key="k")
    assert (await answer_only(runtime, run, {"decision": "approve"})).status == "completed"
    assert (await runtime.start("review", {"subject": "s"}, idempotency_key="k")).id == run.id
    clock.pass_seconds(DAY)
    assert await runtime.prune(older_than=1) == 1
    with pytest.raises(UnknownRun):
        await runtime.look(run.id)
    with pytest.raises(UnknownThread):
        await runtime.resume("t", run.id, "any", "x")
    again = await runtime.start("review", {"subject": "s"}, thread_id="t", idempotency_key="k")
    assert again.id != run.id
    assert await runtime.events(run_id=run.id), "the journal is kept"


@on_both
async def test_a_click_on_a_pruned_request_is_told_so_and_a_forged_one_is_not(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
) -> None:
    runtime = make_runtime(deploy(), companions=[requests()])
    approvals = approvals_of(runtime)
    run = await begin(runtime, thread_id="t")
    view = await open_view(approvals, run.id)
    ticket = ticket_of(view, store)
    await runtime.cancel("t", run.id)
    await told(runtime)
    clock.pass_seconds(DAY)
    assert await runtime.prune(older_than=1) == 1
    for place in (CARD, CLI):
        with pytest.raises(Refused, match="no longer kept") as refused:
            await approvals.decide(ticket, boss(), "approve", place=place)
        assert refused.value.code == "NO_LONGER_KEPT"
    for changed in ({"request_id": "req-9"}, {"run_id": "run-9"}):
        with pytest.raises(Refused, match="no such request"):
            await approvals.decide(ticket_of(view, store, **changed), boss(), "approve", place=CARD)
    codes = [event.data["code"] for event in await events(store, kind="decision.refused")]
    assert codes == ["NO_LONGER_KEPT", "NO_LONGER_KEPT", "UNKNOWN_REQUEST", "UNKNOWN_REQUEST"]


async def test_a_run_s_end_and_a_prune_of_it_do_not_meet_halfway(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
) -> None:
    """Whoever still drives a run by mistake finds its lease gone, and writes nothing."""
    runtime = make_runtime(side_by_side("slow", a=asks))
    run = await begin(runtime, thread_id="t")
    claimed = await runtime.take_up(run)
    await runtime.cancel("t", run.id)
    clock.pass_seconds(DAY)
    assert await runtime.prune(older_than=1) == 1
    with pytest.raises(LeaseLost):
        await runtime.drive(claimed)
    assert await threads(runtime) == []


async def test_the_worker_lets_threads_go_a_few_at_a_time_and_looks_again_later(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(short(), companions=[requests()])
    names = [f"t{n:02}" for n in range(PRUNED_AT_ONCE + 5)]
    await finished(runtime, clock, *names)
    clock.pass_seconds(DAY)
    worker = Worker(runtime, approvals_of(runtime), retention=Retention(older_than=60))
    assert not await worker._mind_time()
    assert len(await threads(runtime)) == 5
    assert not await worker._mind_time()
    assert await threads(runtime) == []
    await finished(runtime, clock, "next")
    clock.pass_seconds(60)
    await worker._mind_time()
    assert await threads(runtime) == ["next"], "it has just looked"
    clock.now += PRUNE_AGAIN
    await worker._mind_time()
    assert await threads(runtime) == []


async def test_a_worker_without_bounds_keeps_everything(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(short(), companions=[requests()])
    await finished(runtime, clock, "a")
    clock.pass_seconds(10_000 * DAY)
    await Worker(runtime, approvals_of(runtime))._mind_time()
    assert await threads(runtime) == ["a"]
