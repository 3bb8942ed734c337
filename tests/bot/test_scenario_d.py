"""Scenario D, access for a while: what ``examples/access.py`` does by the policies of ``access.toml``."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bot_bench import ALICE, BOB, CAROL, CHANNEL, OPERATOR, Bench, Everybody, words_of
from kit import MakeRuntime, SettableClock
from scenario_bench import at, behind_the_bot, lasts, log_of, policies_of, time_passes, vote

from examples import access
from examples.access import Doors, doors, revoke, sweep
from graph_runtime import Approvals, NotPaused, Requests, Run, Runtime

WANTED = {
    "resource": "prod-db",
    "level": "read",
    "duration": "4h",
    "reason": "INC-123",
    "requester": CAROL,
}


async def given(bench: Bench, **more: str) -> Run:
    """Return a run whose access Bob has agreed to, and that is open."""
    run = await bench.start("access", **{**WANTED, **more})
    await bench.click(await bench.card(run), user=BOB)
    await lasts(bench.runtime, run, "given until ")
    await bench.rests(run, "interrupted")
    return run


async def test_access_is_given_when_an_owner_agrees_and_not_when_the_requester_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    async with behind_the_bot(bench, monkeypatch, "access", policies_of("access")):
        run = await bench.start("access", **WANTED)
        card = await bench.card(run)
        assert "4h of read access to prod-db" in words_of(card)
        await bench.click(card, user=CAROL)
        assert "somebody else must approve it" in await bench.private(CAROL)
        assert doors().opened() == []
        await bench.click(card, user=BOB)
        await lasts(bench.runtime, run, "given until ")
        await bench.rests(run, "interrupted")
        (opened,) = doors().opened()
        assert (opened["resource"], opened["level"], opened["requester"]) == ("prod-db", "read", CAROL)


async def test_d1_nobody_is_asked_where_only_the_requester_could_answer_and_the_run_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    async with behind_the_bot(bench, monkeypatch, "access", policies_of("access")):
        run = await bench.start("access", **{**WANTED, "resource": "vault", "requester": BOB})
        run = await bench.rests(run, "failed", "needs_attention")
        assert run.error is not None
        assert "could never be approved" in run.error["message"]
        assert await bench.approvals.find(run_id=run.id) == []
        assert bench.slack.messages(CHANNEL) == []


async def test_d2_what_a_cancelled_run_leaves_open_is_closed_by_the_sweep_and_nothing_else_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    async with behind_the_bot(bench, monkeypatch, "access", policies_of("access")):
        left, kept = await given(bench), await given(bench, level="write")
        assert (await sweep(bench.runtime)).closed == ()
        await bench.slash(f"cancel {left.id} in a hurry")
        assert len(doors().opened()) == 2, "a cancelled run takes nothing back"
        typed = Namespace(database=f"sqlite:///{bench.database}", what="sweep")
        assert await access.main(typed) == 0
        assert capsys.readouterr().out.endswith("1 closed, 0 still open\n")
        assert [one["run"] for one in doors().opened()] == [kept.id]


# -- with a clock that the test moves, on the runtime alone: the bot goes by the machine's ---------------------


@pytest.fixture
def there(tmp_path: Any, clock: SettableClock, monkeypatch: pytest.MonkeyPatch) -> Doors:
    """The other side, which goes by the same clock."""
    made = Doors(tmp_path / "doors.jsonl", clock=lambda: at(clock))
    monkeypatch.setattr(access, "doors", lambda: made)
    return made


@pytest.fixture
def runtime(make_runtime: MakeRuntime, there: Doors) -> Runtime:
    return make_runtime(access.graph, companions=[Requests(policies_of("access"))])


async def opened(runtime: Runtime, **more: str) -> Run:
    run = await runtime.advance((await runtime.start("access", {**WANTED, **more})).id)
    return await vote(runtime, run, BOB)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"duration": "9h"}, "at most 8 hours"),
        ({"duration": "0h"}, "more than none"),
        ({"duration": "long"}, "is no duration"),
        ({"reason": "because"}, "a ticket like INC-123"),
        ({"resource": "moon"}, "nobody owns moon"),
    ],
)
async def test_what_nobody_needs_to_be_asked_about_is_refused(
    runtime: Runtime, wrong: dict[str, str], words: str
):
    run = await runtime.advance((await runtime.start("access", {**WANTED, **wrong})).id)
    assert run.status == "completed"
    (line,) = await log_of(runtime, run)
    assert line.startswith("not given: ")
    assert words in line
    assert await Approvals(runtime, Everybody()).find(run_id=run.id) == []


async def test_who_is_in_a_hurry_takes_it_back_at_once(runtime: Runtime, there: Doors, database: str):
    run = await opened(runtime)
    typed = Namespace(database=database, what="revoke", run=run.id, actor=OPERATOR)
    assert await access.main(typed) == 0
    run = await runtime.advance(run.id)
    assert (run.status, there.opened()) == ("completed", [])
    (answered,) = [line for line in await runtime.events(run_id=run.id) if line.kind == "run.answered"]
    assert answered.actor == OPERATOR
    with pytest.raises(NotPaused, match="waits for no end"):
        await revoke(runtime, run.id, by=OPERATOR)


async def test_d2_a_process_that_dies_while_access_is_given_leaves_the_end_to_the_next(
    runtime: Runtime, make_runtime: MakeRuntime, there: Doors, clock: SettableClock
):
    run = await opened(runtime)
    assert len(there.opened()) == 1
    other = make_runtime(access.graph, companions=[Requests(policies_of("access"))])
    run = await time_passes(other, clock, 4 * 3_600 - 1, run)
    assert len(there.opened()) == 1
    run = await time_passes(other, clock, 1, run)
    assert (run.status, there.opened()) == ("completed", [])


async def test_d2_access_that_was_opened_when_it_broke_off_is_found_by_its_key_and_opened_once(
    runtime: Runtime, there: Doors, monkeypatch: pytest.MonkeyPatch
):
    real = Doors.open

    def breaks_off(self: Doors, *said: Any, **of: str) -> str:
        real(self, *said, **of)
        raise ConnectionError("no answer")

    monkeypatch.setattr(Doors, "open", breaks_off)
    run = await opened(runtime)
    assert run.status == "interrupted"
    (line,) = await log_of(runtime, run)
    assert line.startswith("given until 2026-01-05T13:00:00+00:00")
    assert len(there.lines("opened")) == 1


async def test_d2_what_is_open_long_after_its_end_is_closed_whatever_its_run_says(
    runtime: Runtime, there: Doors, clock: SettableClock
):
    await opened(runtime)
    clock.pass_seconds(4 * 3_600 + 900)
    assert (await sweep(runtime)).closed == ()
    clock.pass_seconds(1)
    assert len((await sweep(runtime)).closed) == 1


@pytest.mark.databases("sqlite", "postgres")
async def test_d3_while_it_cannot_be_taken_back_it_is_tried_each_minute_with_an_alarm_and_the_run_goes_on(
    runtime: Runtime, there: Doors, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    run, tries = await opened(runtime), []

    def away(self: Doors, key: str) -> None:
        tries.append(at(clock))
        raise ConnectionError("the service is away")

    with monkeypatch.context() as failing:
        failing.setattr(Doors, "close", away)
        run = await time_passes(runtime, clock, 4 * 3_600, run)
        approvals = Approvals(runtime, Everybody())
        for minute in range(1, 21):
            run = await time_passes(runtime, clock, 60, run)
            assert run.status == "interrupted", "never as done"
            alarms = [one for one in await approvals.find(run_id=run.id) if one.policy_name == "access-alarm"]
            assert len(alarms) == (minute >= 2), "after the third try, once"
        assert len(tries) == 22, "each minute, and once more beside the alarm"
        assert (await sweep(runtime)).stuck != ()
    run = await time_passes(runtime, clock, 60, run)
    assert there.opened() == []
    assert run.status == "interrupted", "until somebody has seen the alarm"
    run = await vote(runtime, run, BOB)
    assert run.status == "completed"
    lines = await log_of(runtime, run)
    assert lines[1:] == [
        "alarm: still open after 3 tries",
        f"alarm: approved by {BOB}",
        f"taken back from {CAROL}",
    ]
    told = [line for line in await runtime.events(run_id=run.id) if line.kind == "request.opened"]
    assert [line.data["policy"] for line in told] == ["prod-db-access", "access-alarm"]


async def test_what_was_opened_again_by_hand_is_taken_back_again(
    runtime: Runtime, there: Doors, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    run, real = await opened(runtime), Doors.is_open
    seen: list[bool] = []

    def open_once_more(self: Doors, key: str) -> bool:
        seen.append(real(self, key))
        return len(seen) == 3 or seen[-1]  # asked twice by what closes it, then by what looks again

    monkeypatch.setattr(Doors, "is_open", open_once_more)
    run = await time_passes(runtime, clock, 4 * 3_600, run)
    assert run.status == "completed"
    assert len(seen) == 6


async def test_d5_the_end_is_a_moment_in_utc_whatever_the_clocks_do(
    runtime: Runtime, there: Doors, clock: SettableClock
):
    """Given at 23:30 in London, in the night in which clocks there go from 01:00 to 02:00."""
    begin = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
    clock.pass_seconds((begin - at(clock)).total_seconds())
    run = await opened(runtime)
    (line,) = await log_of(runtime, run)
    assert line == "given until 2026-03-29T03:30:00+00:00"
    until = datetime.fromisoformat(there.opened()[0]["until"])
    assert until - begin == timedelta(hours=4)
    assert until.astimezone(ZoneInfo("Europe/London")).hour == 4
    run = await time_passes(runtime, clock, 3_600, run)
    run = await time_passes(runtime, clock, -7_200, run)  # somebody sets the clock back
    run = await time_passes(runtime, clock, 4 * 3_600, run)  # 02:30 UTC
    assert len(there.opened()) == 1
    run = await time_passes(runtime, clock, 3_600, run)
    assert (run.status, there.opened()) == ("completed", [])


async def test_d6_more_time_is_a_new_approval_and_after_the_end_a_new_request(
    runtime: Runtime, there: Doors, clock: SettableClock
):
    first = await opened(runtime)
    clock.pass_seconds(3 * 3_600)
    more = await opened(runtime, extends=first.id, duration="2h")
    assert (await title_of(runtime, more)) == "2h more of read access to prod-db"
    assert (await log_of(runtime, more)) == ["given until 2026-01-05T15:00:00+00:00"], "13:00 and two hours"
    first = await time_passes(runtime, clock, 3_600, first)
    assert first.status == "completed"
    assert [one["run"] for one in there.opened()] == [more.id], "each has its own end"
    more = await time_passes(runtime, clock, 2 * 3_600, more)
    assert there.opened() == []
    late = await opened(runtime, extends=more.id, duration="2h")
    assert (await title_of(runtime, late)) == "2h of read access to prod-db"
    assert (await log_of(runtime, late)) == ["given until 2026-01-05T17:00:00+00:00"], "from now"


async def test_the_access_of_somebody_else_is_not_prolonged(runtime: Runtime):
    first = await opened(runtime)
    run = await runtime.start("access", {**WANTED, "requester": ALICE, "extends": first.id})
    run = await runtime.advance(run.id)
    assert (await log_of(runtime, run)) == [f"not given: {first.id} is another access"]


async def title_of(runtime: Runtime, run: Run) -> str:
    (request,) = await Approvals(runtime, Everybody()).find(run_id=run.id)
    return request.title
