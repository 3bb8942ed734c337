"""Scenario D, access for a while: what ``examples/access.py`` does by the policies of ``access.toml``."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bot_bench import (
    ALICE,
    BOB,
    CAROL,
    CHANNEL,
    DAVE,
    OPERATOR,
    Bench,
    Everybody,
    bot_here,
    eventually,
    words_of,
)
from kit import MakeRuntime, MovedClock, SettableClock
from scenario_bench import (
    at,
    behind_the_bot,
    log_of,
    moment_of,
    policies_of,
    put_behind,
    time_passes,
    vote,
    waits,
)

from bot.sandbox import Message
from examples import access
from examples.access import Doors, revoke, sweep
from graph_runtime import SECOND, Approvals, NotPaused, Requests, Run, Runtime

WANTED = {
    "resource": "prod-db",
    "level": "read",
    "duration": "4h",
    "reason": "INC-123",
    "requester": CAROL,
}


HOUR, MINUTE = 3_600, 60


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    """The clock of the bot and of the other side, which the test moves on."""
    found = MovedClock()
    made = Doors(tmp_path / "doors.jsonl", clock=lambda: at(found))
    monkeypatch.setattr(access, "doors", lambda: made)
    return found


async def asked(bench: Bench, **more: str) -> tuple[Run, Message]:
    """Return a run that asks for access, and its card."""
    run = await bench.start("access", **{**WANTED, **more})
    return run, await bench.card(run)


async def given(bench: Bench, **more: str) -> Run:
    """Return a run whose access Bob has agreed to, and that is open."""
    run, card = await asked(bench, **more)
    assert (await bench.click(card, user=BOB)).outcome == "acked"
    return await waits(bench, run)


def dates_of(card: Message) -> list[int]:
    """Return the moments among the card's facts, which Slack shows each reader in their own zone."""
    parts = [part for block in card.blocks if block["type"] == "rich_text" for part in block["elements"]]
    leaves = [leaf for part in parts for leaf in part["elements"]]
    return [leaf["timestamp"] for leaf in leaves if leaf["type"] == "date"]


async def taken_back(bench: Bench, run: Run) -> None:
    """Return once the run has ended as it should, and its card says so."""
    await bench.rests(run, "completed")
    assert (await log_of(bench.runtime, run))[-1] == f"taken back from {CAROL}"
    requests = await bench.approvals.find(run_id=run.id)
    await bench.drawn(await bench.card(run, len(requests) - 1), "the run completed")


async def test_access_is_given_when_an_owner_agrees_and_not_when_the_requester_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
):
    async with behind_the_bot(bench, monkeypatch, "access", policies_of("access"), clock=moved):
        run, card = await asked(bench)
        assert "4h of read access to prod-db" in words_of(card)
        await bench.click(card, user=CAROL)
        assert "somebody else must approve it" in await bench.private(CAROL)
        assert access.doors().opened() == []
        await bench.click(card, user=BOB)
        await waits(bench, run)
        (opened,) = access.doors().opened()
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
        assert f"{run.status} ({run.error['type']})" in await bench.slash(f"show {run.id}", user=BOB)


async def test_d2_what_a_cancelled_run_leaves_open_is_closed_by_the_sweep_and_nothing_else_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock, capsys: pytest.CaptureFixture[str]
):
    async with behind_the_bot(bench, monkeypatch, "access", policies_of("access"), clock=moved):
        left, kept = await given(bench), await given(bench, level="write")
        assert (await sweep(bench.runtime)).closed == ()
        await bench.slash(f"cancel {left.id} in a hurry")
        assert len(access.doors().opened()) == 2, "a cancelled run takes nothing back"
        typed = Namespace(database=f"sqlite:///{bench.database}", what="sweep")
        assert await access.main(typed) == 0
        assert "1 closed, 0 still open\n" in capsys.readouterr().out
        assert [one["run"] for one in access.doors().opened()] == [kept.id]


async def test_d2_a_bot_that_dies_while_access_is_given_leaves_the_end_to_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
):
    settings = put_behind(bench, monkeypatch, "access", policies_of("access"), clock=moved)
    async with bot_here(settings, clock=moved):
        run = await given(bench)
    moved.pass_seconds(4 * HOUR)
    assert len(access.doors().opened()) == 1, "nobody is there"
    assert (await sweep(bench.runtime)).closed == (), "nor is it the sweep's yet: the run lives"
    async with bot_here(settings, clock=moved):
        await taken_back(bench, run)
        assert access.doors().opened() == []


async def test_d2_what_is_open_long_after_its_end_is_closed_by_the_sweep_whatever_its_run_says(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
):
    settings = put_behind(bench, monkeypatch, "access", policies_of("access"), clock=moved)
    async with bot_here(settings, clock=moved):
        run = await given(bench)
    moved.pass_seconds(4 * HOUR + 14 * MINUTE)
    assert (await sweep(bench.runtime)).closed == ()
    moved.pass_seconds(MINUTE)
    assert len((await sweep(bench.runtime)).closed) == 1
    async with bot_here(settings, clock=moved):
        await taken_back(bench, run)
        assert len(access.doors().lines("closed")) == 1


async def test_d2_access_that_was_opened_when_it_broke_off_is_found_by_its_key_and_opened_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
):
    real = Doors.open

    def breaks_off(self: Doors, *said: Any, **of: str) -> str:
        real(self, *said, **of)
        raise ConnectionError("no answer")

    monkeypatch.setattr(Doors, "open", breaks_off)
    async with behind_the_bot(bench, monkeypatch, "access", policies_of("access"), clock=moved):
        run = await given(bench)
        (opened,) = access.doors().lines("opened")
        assert await log_of(bench.runtime, run) == [f"given until {opened['until']}"]
        kinds = [event.kind for event in await bench.runtime.events(run_id=run.id)]
        assert [kind for kind in kinds if kind.startswith("grant.")] == [
            "grant.reserved",
            "grant.indeterminate",
            "grant.done",
        ]


async def test_d3_while_it_cannot_be_taken_back_it_is_tried_each_minute_with_an_alarm_and_the_run_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
):
    tries = []

    def away(self: Doors, key: str) -> None:
        tries.append(key)
        raise ConnectionError("the service is away")

    async with behind_the_bot(bench, monkeypatch, "access", policies_of("access"), clock=moved):
        run = await given(bench)
        with monkeypatch.context() as failing:
            failing.setattr(Doors, "close", away)
            moved.pass_seconds(4 * HOUR)
            await waits(bench, run)  # and does not rest as completed
            for minute in range(1, 21):
                moved.pass_seconds(MINUTE)
                await waits(bench, run)
                shown = bench.slack.messages(CHANNEL)
                assert len(shown) == (1 if minute < 2 else 2), "an alarm after the third try, once"
            assert len(tries) == 22, "each minute, and once more beside the alarm"
            assert (await sweep(bench.runtime)).stuck != ()
        alarm = await bench.card(run, 1)
        assert "Still open: read access to prod-db" in words_of(alarm)
        assert dates_of(alarm) == [moment_of(access.doors().opened()[0]["until"]) // SECOND]
        moved.pass_seconds(MINUTE)
        await eventually(_nothing_open, what="the end of the access")
        await bench.quiet()
        assert (await bench.runtime.get(run.id)).status == "interrupted", "until somebody has seen the alarm"
        await bench.click(alarm, user=DAVE)
        await taken_back(bench, run)
        assert (await log_of(bench.runtime, run))[1:] == [
            "alarm: still open after 3 tries",
            f"alarm: approved by {DAVE}",
            f"taken back from {CAROL}",
        ]
        told = await bench.events("request.opened", "request.approved")
        assert [(event.kind, event.actor, event.data.get("policy")) for event in told] == [
            ("request.opened", CAROL, "prod-db-access"),
            ("request.approved", BOB, None),
            ("request.opened", CAROL, "access-alarm"),
            ("request.approved", DAVE, None),
        ]


async def _nothing_open() -> bool:
    return access.doors().opened() == []


async def test_d5_the_end_is_a_moment_in_utc_whatever_the_clocks_do_and_each_reader_sees_it_in_their_zone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
):
    """Given at 23:30 in London, in the night in which clocks there go from 01:00 to 02:00."""
    begin = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
    moved.pass_seconds((begin - at(moved)).total_seconds())
    async with behind_the_bot(bench, monkeypatch, "access", policies_of("access"), clock=moved):
        run = await given(bench)
        (opened,) = access.doors().opened()
        short = await given(bench, duration="30m")
        until = datetime.fromisoformat(opened["until"])
        assert timedelta() <= until - begin - timedelta(hours=4) < timedelta(minutes=1)
        assert until.utcoffset() == timedelta()
        assert until.astimezone(ZoneInfo("Europe/London")).hour == 4
        card = await bench.card(run)
        moment = f"<!date^{int(until.timestamp())}^{{date_short_pretty}} at {{time}}|2026-03-29 03:30 UTC>"
        await bench.drawn(card, f"the run waits until {moment}")
        moved.pass_seconds(HOUR)
        await taken_back(bench, short)
        moved.pass_seconds(-2 * HOUR)  # somebody sets the clock back
        again = await given(bench, duration="1h")
        moved.pass_seconds(4 * HOUR)  # 02:30 UTC
        await taken_back(bench, again)
        _, asking = await asked(bench, extends=run.id)
        assert dates_of(asking) == [int(until.timestamp())]
        assert "open until: 2026-03-29 03:30:0" in asking.text, "without Slack's dates, in UTC"
        assert access.doors().opened() == [opened]
        moved.pass_seconds(HOUR)
        await taken_back(bench, run)
        closed = access.doors().lines("closed")[-1]
        late = datetime.fromisoformat(closed["at"]) - until
        assert timedelta() <= late < timedelta(minutes=1)


async def test_d6_more_time_is_a_new_approval_and_after_the_end_a_new_request(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
):
    async with behind_the_bot(bench, monkeypatch, "access", policies_of("access"), clock=moved):
        first = await given(bench)
        moved.pass_seconds(3 * HOUR)
        more = await given(bench, extends=first.id, duration="2h")
        assert "2h more of read access to prod-db" in words_of(await bench.card(more))
        begun, prolonged = (moment_of(one["until"]) for one in access.doors().opened())
        assert prolonged - begun == 2 * HOUR * SECOND, "13:00 and two hours"
        moved.pass_seconds(HOUR)
        await taken_back(bench, first)
        assert [one["run"] for one in access.doors().opened()] == [more.id], "each has its own end"
        moved.pass_seconds(2 * HOUR)
        await taken_back(bench, more)
        assert access.doors().opened() == []
        late, asking = await asked(bench, extends=more.id, duration="2h")
        assert "2h of read access to prod-db" in words_of(asking)
        assert dates_of(asking) == [], "nothing is open"
        await bench.click(asking, user=CAROL)
        assert "somebody else must approve it" in await bench.private(CAROL)
        await bench.click(asking, user=BOB)
        await waits(bench, late)
        (opened,) = access.doors().opened()
        assert 0 < moment_of(opened["until"]) - bench.runtime.clock() <= 2 * HOUR * SECOND, "from now"


# -- on the runtime alone: what nobody sees in Slack, and PostgreSQL -------------------------------------------


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


async def test_the_access_of_somebody_else_is_not_prolonged(runtime: Runtime):
    first = await opened(runtime)
    run = await runtime.start("access", {**WANTED, "requester": ALICE, "extends": first.id})
    run = await runtime.advance(run.id)
    assert (await log_of(runtime, run)) == [f"not given: {first.id} is another access"]


@pytest.mark.databases("postgres")
async def test_d3_on_postgresql_too_it_goes_on_beside_the_alarm(
    runtime: Runtime, there: Doors, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    run = await opened(runtime)
    with monkeypatch.context() as failing:
        failing.setattr(Doors, "is_open", lambda self, key: True)
        run = await time_passes(runtime, clock, 4 * HOUR, run)
        for _ in range(4):
            run = await time_passes(runtime, clock, MINUTE, run)
    run = await vote(runtime, run, BOB)
    assert run.status == "interrupted", "it is still open"
    run = await time_passes(runtime, clock, MINUTE, run)
    assert (run.status, there.opened()) == ("completed", [])
