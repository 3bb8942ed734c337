"""Scenario A, a production deploy: what ``examples/deploy.py`` does by the policies of ``deploy.toml``.

A1 to A5 and A11 are in test_quorum.py, A7 in test_kills.py, A14 in test_walk.py, A15 in test_forged.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from bot_bench import ALICE, BOB, DAVE, OPERATOR, Bench, Everybody, buttons, eventually, words_of
from kit import SECOND, MakeRuntime, MovedClock, SettableClock
from scenario_bench import (
    ERIN,
    behind_the_bot,
    confirm,
    lasts,
    log_of,
    policies_of,
    put_group,
    time_passes,
    vote,
)

from examples.deploy import Platform, graph, platform
from graph_runtime import Alarms, Approvals, Requests, Run, Runtime

#: For a bot that goes by the machine's clock.
ANY_HOUR = {"windows": ()}
HOUR = 3_600
LOW = {"service": "shop", "commit": "4f2c9e1", "requester": "U0CAROL"}


def deployed(there: Platform) -> list[str]:
    return [line["commit"] for line in there.lines("deployed")]


async def test_a_deploy_of_high_risk_takes_three_people_who_type_its_name_and_is_done_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    policies = policies_of("deploy", prod_deploy=ANY_HOUR)
    async with behind_the_bot(bench, monkeypatch, "deploy", policies):
        put_group(bench, "S0SRE", ALICE, BOB)
        put_group(bench, "S0PAYOWNERS", ALICE, DAVE)
        run = await bench.start("deploy", commit="4f2c9e1", requester="U0CAROL", author=ERIN)
        card = await bench.card(run)
        assert "needs 2 of <!subteam^S0SRE> and one of <!subteam^S0PAYOWNERS>" in words_of(card)
        wrong = await confirm(bench, card, ALICE, "payment")
        assert "Type payments to confirm" in str(wrong)
        for person in (ALICE, BOB, DAVE):
            await confirm(bench, card, person, "payments")
        done = await bench.drawn(card, "the run completed")
        assert f"*Approved* by <@{ALICE}>, <@{BOB}>, <@{DAVE}>" in words_of(done)
        assert (await log_of(bench.runtime, run))[1:] == ["deployed 4f2c9e1", "payments runs 4f2c9e1"]
        assert deployed(platform()) == ["4f2c9e1"]


async def test_a8_who_left_the_group_between_vote_and_deploy_does_not_count_and_it_is_asked_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    async with behind_the_bot(bench, monkeypatch, "deploy", policies_of("deploy", prod_deploy=ANY_HOUR)):
        put_group(bench, "S0SRE", ALICE, BOB, ERIN)
        await bench.slash("freeze graph:deploy an incident")
        run = await bench.start("deploy", **LOW)
        first = await bench.card(run)
        for person in (ALICE, BOB):
            await bench.click(first, user=person)
        await bench.drawn(first, "*Approved*")
        await bench.rests(run, "interrupted")
        await bench.drawn(first, "Frozen, bypass 0 of 2")
        put_group(bench, "S0SRE", ALICE, ERIN)
        left = {"type": "subteam_members_changed", "subteam_id": "S0SRE", "removed_users": [BOB]}
        await bench.deliver(bench.slack.event(left), "events_api")
        for person in (OPERATOR, ALICE):
            await bench.slash("release graph:deploy", user=person)
        second = await bench.card(run, 1)
        assert second.ts != first.ts
        assert deployed(platform()) == []
        for person in (ALICE, ERIN):
            await bench.click(second, user=person)
        lines = await lasts(bench.runtime, run, "shop runs 4f2c9e1")
        assert lines[1].startswith("asked anew: ")
        assert "may not any more" in lines[1]
        assert deployed(platform()) == ["4f2c9e1"]


async def test_a13_what_does_not_work_is_rolled_back_by_who_is_on_call(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    policies = policies_of("deploy", prod_deploy=ANY_HOUR)
    async with behind_the_bot(bench, monkeypatch, "deploy", policies):
        put_group(bench, "S0SRE", ALICE, BOB)
        run = await bench.start("deploy", **{**LOW, "commit": "bad1234"})
        card = await bench.card(run)
        for person in (ALICE, BOB):
            await bench.click(card, user=person)
        asked = await bench.card(run, 1)
        assert "Roll shop back to 0000000: bad1234 does not work" in words_of(asked)
        await bench.click(asked, user=ALICE)
        assert "You are not among those" in await bench.private(ALICE)
        await bench.click(asked, user=DAVE)
        lines = await lasts(bench.runtime, run, "shop runs 0000000")
        assert lines[1:] == ["deployed bad1234", "rolled back to 0000000, approved", "shop runs 0000000"]
        assert deployed(platform()) == ["bad1234", "0000000"]


async def test_a10_what_was_approved_at_1610_waits_for_the_window_and_for_the_end_of_a_freeze(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
):
    moved.pass_seconds(7 * HOUR + 600)  # Monday, 16:10 in London
    async with behind_the_bot(bench, monkeypatch, "deploy", policies_of("deploy"), clock=moved):
        put_group(bench, "S0SRE", ALICE, BOB)
        run = await bench.start("deploy", **LOW)
        card = await bench.card(run)
        for person in (ALICE, BOB):
            await bench.click(card, user=person)
        shown = await bench.drawn(card, "the run waits until <!date^1767691800^")
        assert f"*Approved* by <@{ALICE}>, <@{BOB}>" in words_of(shown)
        assert "Not before <!date^1767691800^" in words_of(shown), "Tuesday, 09:30"
        assert (buttons(shown), deployed(platform())) == ([], [])
        moved.pass_seconds(16 * HOUR - 600)  # Tuesday, 08:00
        await bench.slash("freeze graph:deploy an incident")
        await bench.drawn(card, "Frozen, bypass 0 of 2")
        assert await waits_for(bench, run) == "signoff.timer"
        moved.pass_seconds(5_400)  # 09:30: the window is open

        async def at_the_freeze() -> bool:
            return await waits_for(bench, run) == "signoff.freeze"

        await eventually(at_the_freeze, what="the wait for the end of the freeze")
        assert (await bench.request(run)).request.status == "approved"
        await bench.drawn(card, "Frozen, bypass 0 of 2")
        assert deployed(platform()) == []
        for person in (OPERATOR, ALICE):
            await bench.slash("release graph:deploy", user=person)
        done = await bench.drawn(card, "the run completed")
        assert "Frozen" not in words_of(done) and "Not before" not in words_of(done)
        assert deployed(platform()) == ["4f2c9e1"]


async def waits_for(bench: Bench, run: Run) -> str | None:
    """Return for what the run waits that no person is asked, if it does."""
    found = [one for one in await bench.runtime.questions(run.id) if one.status == "open"]
    return found[0].interrupt.value["type"] if found else None


async def test_a13_what_does_not_work_is_rolled_back_when_who_is_on_call_says_nothing_for_ten_minutes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
):
    moved.pass_seconds(HOUR)
    async with behind_the_bot(bench, monkeypatch, "deploy", policies_of("deploy"), clock=moved):
        put_group(bench, "S0SRE", ALICE, BOB)
        run = await bench.start("deploy", **{**LOW, "commit": "bad1234"})
        card = await bench.card(run)
        for person in (ALICE, BOB):
            await bench.click(card, user=person)
        asked = await bench.card(run, 1)
        *_, opened = await bench.events("request.opened")
        assert (await bench.request(run, 1)).request.deadline_at == opened.at + 600 * SECOND
        assert deployed(platform()) == ["bad1234"]
        moved.pass_seconds(600)
        lines = await lasts(bench.runtime, run, "shop runs 0000000")
        assert lines[1:] == ["deployed bad1234", "rolled back to 0000000, timed_out", "shop runs 0000000"]
        assert deployed(platform()) == ["bad1234", "0000000"]
        late = await bench.drawn(asked, "*Timed out*")
        assert (buttons(late), f"<@{DAVE}>" in words_of(late)) == ([], False), "it names nobody"
        (line,) = await bench.events("request.timed_out")
        assert line.actor is None


# -- with a clock that the test moves, on the runtime alone ----------------------------------------------------


@pytest.fixture
def runtime(make_runtime: MakeRuntime, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A runtime with the deploy and its policies, in which everybody is in every group."""
    monkeypatch.setenv("SIGNOFF_OUTSIDE", str(tmp_path))
    made = make_runtime(graph, companions=[Requests(policies_of("deploy"))])
    made.ground.directory = Everybody()
    return made


async def planned(runtime: Runtime, **more: str) -> Run:
    return await runtime.advance((await runtime.start("deploy", {**LOW, **more})).id)


@pytest.mark.databases("postgres")
async def test_on_postgresql_too_what_was_approved_after_hours_waits_for_the_window_and_the_end_of_a_freeze(
    runtime: Runtime, clock: SettableClock
):
    clock.pass_seconds(7 * 3_600 + 600)  # Monday, 16:10 in London
    run = await vote(runtime, await planned(runtime), ALICE, BOB)
    assert (run.status, deployed(platform())) == ("interrupted", [])
    run = await time_passes(runtime, clock, 16 * 3_600 - 600, run)  # Tuesday, 08:00
    alarms = Alarms(runtime)
    await alarms.freeze("graph:deploy", by=ALICE, reason="an incident")
    run = await time_passes(runtime, clock, 5_400, run)  # 09:30: the window is open
    (question,) = [one for one in await runtime.questions(run.id) if one.status == "open"]
    assert question.interrupt.value["type"] == "signoff.freeze"
    approvals = Approvals(runtime, Everybody())
    (request,) = await approvals.find(run_id=run.id)
    view = await approvals.view(request.id)
    assert view is not None
    assert (view.request.status, view.frozen) == ("approved", True)
    assert deployed(platform()) == []
    for person in (ALICE, BOB):
        await alarms.release("graph:deploy", by=person)
    run = await runtime.advance(run.id)
    assert (run.status, deployed(platform())) == ("completed", ["4f2c9e1"])


async def test_what_does_not_work_is_left_where_who_is_on_call_wants_it_so(
    runtime: Runtime, clock: SettableClock
):
    clock.pass_seconds(3_600)
    run = await vote(runtime, await planned(runtime, commit="bad1234"), ALICE, BOB)
    run = await vote(runtime, run, DAVE, verdict="reject")
    assert (await log_of(runtime, run))[-2:] == ["left as it is, rejected: so it is", "shop runs bad1234"]


async def test_a_plan_that_changes_before_or_at_the_gate_is_made_and_asked_anew_and_old_votes_are_void(
    runtime: Runtime, clock: SettableClock
):
    clock.pass_seconds(7 * 3_600 + 600)
    there, run = platform(), await planned(runtime)
    there.push("shop", "4f2c9e1", "another")
    run = await vote(runtime, run, ALICE, BOB)
    assert len(await requests_of(runtime, run)) == 2, "found at once, though the window is shut"
    run = await vote(runtime, run, ALICE)
    assert [one.status for one in await requests_of(runtime, run)] == ["approved", "open"], "two votes anew"
    run = await vote(runtime, run, BOB)
    there.push("shop", "4f2c9e1", "a third")  # in the night, while it waits for the window
    run = await time_passes(runtime, clock, 17 * 3_600 + 1_200, run)
    assert [one.status for one in await requests_of(runtime, run)] == ["approved", "approved", "open"]
    there.push("shop", "4f2c9e1", "a fourth")
    run = await vote(runtime, run, ALICE, BOB)
    assert run.status == "completed"
    lines = await log_of(runtime, run)
    assert lines[-2:] == ["not deployed: the plan has changed 3 times", "shop runs 0000000"]
    assert deployed(there) == []


async def requests_of(runtime: Runtime, run: Run) -> Any:
    return await Approvals(runtime, Everybody()).find(run_id=run.id)


async def test_a_deploy_that_broke_off_is_looked_for_by_its_key_and_not_done_again(
    runtime: Runtime, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    clock.pass_seconds(3_600)
    real = Platform.deploy

    def breaks_off(self: Platform, *of: str) -> str:
        real(self, *of)
        raise ConnectionError("no answer")

    monkeypatch.setattr(Platform, "deploy", breaks_off)
    run = await vote(runtime, await planned(runtime), ALICE, BOB)
    assert (run.status, deployed(platform())) == ("completed", ["4f2c9e1"])
