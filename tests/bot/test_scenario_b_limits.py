"""Refunds that a policy pays by itself are limited; of two for one case one is paid; deadlines keep hours."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aside import aside
from bot_bench import BOB, CAROL, CHANNEL, DAVE, Bench, words_of
from kit import SECOND, MakeRuntime, MovedClock, SettableClock
from people import approvals_of
from scenario_bench import behind_the_bot, policies_of

from bot.sandbox import SlashCommand
from bot.showcases import SHOWCASES
from examples import refund
from graph_runtime import (
    PolicyError,
    Requests,
    RequestView,
    Run,
    Runtime,
    open_store,
    read_policies,
)

BOTH = pytest.mark.databases("sqlite", "postgres")
#: 09:00 in Berlin, on a Monday.
MORNING = datetime(2026, 12, 21, 9, tzinfo=ZoneInfo("Europe/Berlin"))


class Desk:
    """The example's refunds, on a clock and a bank of their own."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.approvals = runtime, approvals_of(runtime)

    async def refund(self, amount: str = "20.00", requester: str | None = CAROL, **more: Any) -> RequestView:
        """Ask for a refund, let the policy do what it does by itself, and return the request."""
        given = {**SHOWCASES["refund"].given, "amount": amount, "requester": requester}
        run = await self.runtime.start("refund", given, requester=requester, **more)
        run = await self.runtime.advance(run.id)
        while await self.approvals.expire_due():
            pass
        return await self.view(run)

    async def view(self, run: Run) -> RequestView:
        (request,) = await self.approvals.find(run_id=run.id)
        view = await self.approvals.view(request.id)
        assert view is not None
        return view


@pytest.fixture
def desk(
    make_runtime: MakeRuntime, clock: SettableClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Desk:
    monkeypatch.setenv("SIGNOFF_OUTSIDE", str(tmp_path))
    clock.now = round(MORNING.timestamp() * 1_000_000)
    policies = read_policies(SHOWCASES["refund"].read_policies())
    return Desk(make_runtime(refund.graph, companions=[Requests(policies)]))


def outcomes(views: Sequence[RequestView]) -> list[tuple[str, str | None]]:
    return [(view.request.status, view.case.terms.tier) for view in views]


@BOTH
async def test_b2_the_sixth_refund_of_a_day_for_one_requester_is_asked_about(
    desk: Desk, clock: SettableClock
) -> None:
    five = [await desk.refund() for _ in range(5)]
    assert outcomes(five) == [("approved", "auto")] * 5
    sixth = await desk.refund()
    assert outcomes([sixth]) == [("open", "one")]
    assert str(sixth.standing) == "0 of 1 finance"
    assert sixth.request.deadline_at == round(MORNING.replace(day=22).timestamp() * 1_000_000)
    assert outcomes([await desk.refund(requester=BOB)]) == [("approved", "auto")], "others have their own"
    (line,) = [e for e in await desk.runtime.events(limit=1_000) if e.kind == "request.limited"]
    assert (line.actor, line.request_id) == ("policy", sixth.request.id)
    assert line.data == {"tier": "auto", "next": "one"}
    clock.pass_seconds(86_400)
    while await desk.approvals.expire_due():
        pass
    assert (await desk.view(sixth.run)).request.status == "timed_out", "its deadline began as it was asked"
    assert outcomes([await desk.refund()]) == [("approved", "auto")], "another day"
    clock.pass_seconds(-86_400)
    counted = [await desk.refund() for _ in range(5)]
    assert outcomes(counted) == [("approved", "auto")] * 4 + [("open", "one")], "a clock that is set back"


@BOTH
async def test_two_processes_that_approve_at_once_pass_no_limit(
    make_runtime: MakeRuntime, desk: Desk, database: str, clock: SettableClock
) -> None:
    given = {**SHOWCASES["refund"].given, "amount": "1.00"}
    runs = [await desk.runtime.start("refund", given, requester=CAROL) for _ in range(7)]
    for run in runs:
        await desk.runtime.advance(run.id)
    async with open_store(database) as other:
        too = approvals_of(Runtime(other, [refund.graph], clock=clock))
        # Each at a request of its own, all at once: it is the count that they meet at.
        requests = [(await desk.view(run)).request.id for run in runs]
        at_once = [
            (desk.approvals, too)[number % 2]._overdue._settle(id_, "policy")
            for number, id_ in enumerate(requests)
        ]
        await asyncio.gather(*at_once)
    views = [await desk.view(run) for run in runs]
    assert sorted(outcomes(views)) == [("approved", "auto")] * 5 + [("open", "one")] * 2
    with aside(database) as connection:
        counted = dict(connection.execute("SELECT used, count(*) FROM quotas GROUP BY used").fetchall())
        assert counted == {"5": 1, "5.00": 1}
        ((cards,),) = connection.execute("SELECT count(*) FROM outbox WHERE kind = 'card'").fetchall()
        assert cards == 2


def limited(*limits: Any, after: Any = None) -> Any:
    auto = {"when": "amount <= 50", "auto": True, "limits": limits}
    return {"tiers": {"auto": auto, "one": after or {"people": [DAVE]}}, "deadline": "1h"}


def desk_of(make_runtime: MakeRuntime, policy: Any) -> Desk:
    policies = read_policies({"default": {"people": [DAVE]}, "refund": policy})
    return Desk(make_runtime(refund.graph, companions=[Requests(policies)]))


async def test_what_is_added_up_is_exact_and_what_is_no_sum_is_asked_about(
    make_runtime: MakeRuntime, desk: Desk
) -> None:
    desk = desk_of(make_runtime, limited({"most": "100.10", "per": "1d", "of": "amount"}))
    three = [await desk.refund(amount) for amount in ("50.00", "50.00", "0.10")]
    assert outcomes(three) == [("approved", "auto")] * 3
    assert outcomes([await desk.refund("0.01")]) == [("open", "one")]
    for of in ("customer", "args.currency", "args.nothing"):
        desk = desk_of(make_runtime, limited({"most": 5, "per": "1d", "of": of}))
        assert outcomes([await desk.refund()]) == [("open", "one")], of
    desk = desk_of(make_runtime, limited({"most": 5, "per": "1d", "by": "requester"}))
    assert outcomes([await desk.refund(requester=None)]) == [("open", "one")], "nobody's limit is nobody's"


async def test_past_a_limit_the_next_tier_may_reject_or_have_limits_of_its_own(
    make_runtime: MakeRuntime, desk: Desk
) -> None:
    policy = limited({"most": 1, "per": "1h"})
    more = {"when": "amount < 5", "auto": True, "limits": [{"most": 1, "per": "1h"}]}
    policy["tiers"] = {**policy["tiers"], "one": more, "never": {"block": True}}
    desk = desk_of(make_runtime, policy)
    views = [await desk.refund(amount) for amount in ("1.00", "1.00", "1.00", "20.00")]
    assert outcomes(views) == [
        ("approved", "auto"),
        ("approved", "one"),
        ("rejected", "never"),
        ("rejected", "never"),
    ]


async def test_a_limit_past_which_nobody_could_approve_is_refused_before_it_is_reached(
    make_runtime: MakeRuntime, desk: Desk
) -> None:
    desk = desk_of(make_runtime, limited({"most": 5, "per": "1d"}, after={"people": [CAROL]}))
    given = {**SHOWCASES["refund"].given, "amount": "1.00"}
    run = await desk.runtime.start("refund", given, requester=CAROL)
    run = await desk.runtime.advance(run.id)
    assert run.status == "failed"
    assert "it could never be approved" in (run.error or {})["message"]


@pytest.mark.parametrize(
    ("tiers", "words"),
    [
        ({"a": {"people": [DAVE], "limits": [{"most": 1, "per": "1h"}]}}, "only a tier that is auto"),
        ({"a": {"auto": True, "limits": [{"most": 1, "per": "1h"}]}}, "there is no tier after it"),
        ({"a": {"auto": True, "limits": [{"most": 0, "per": "1h"}]}, "b": {"block": True}}, "greater than 0"),
        ({"a": {"auto": True}, "b": {"block": True}}, "none after it is ever taken"),
    ],
)
def test_a_limit_that_says_nothing_is_refused(tiers: Any, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        read_policies({"refund": {"tiers": tiers}})


async def test_b2_the_sixth_has_a_card_that_finance_decides(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind_the_bot(bench, monkeypatch, "refund", policies_of("refund")):
        given = {**SHOWCASES["refund"].given, "amount": "5.00"}
        for _ in range(5):
            await bench.rests(await bench.start("refund", **given), "completed")
        run = await bench.start("refund", **given)
        card = await bench.card(run)
        await bench.click(card, user=DAVE)
        await bench.drawn(card, f"*Approved* by <@{DAVE}>")
    assert len(bench.slack.messages(CHANNEL)) == 1, "of the five before it nobody hears"


async def test_b11_a_second_refund_for_a_case_that_waits_is_the_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.slack.workspace.add_command(SlashCommand("/refund"))
    shown, typed = SHOWCASES["refund"], "R-1042 320.00 damaged Max Meier"
    async with behind_the_bot(bench, monkeypatch, "refund", policies_of("refund"), commands=shown.commands):

        async def type_(user: str) -> str:
            said = await bench.slack.slash(user=user, channel=CHANNEL, command="/refund", text=typed)
            assert said.outcome == "acked"
            return await bench.private(user)

        await type_(CAROL)
        (run,) = await bench.runtime.runs()
        card = await bench.card(run)
        again = await type_(BOB)
        assert f"Nothing new was started: `{run.id}` of refund is there for R-1042 already" in again
        assert f"asked for by <@{CAROL}>, and is waiting for an answer." in again
        await bench.click(card, user=DAVE)
        await bench.drawn(card, "the run completed")
        assert [one.id for one in await bench.runtime.runs()] == [run.id]
        assert len(bench.slack.messages(CHANNEL)) == 1, "there was one card to decide"
        assert [paid["amount"] for paid in refund.bank().payments()] == ["320.00"]


async def test_b14_a_deadline_on_a_holiday_moves_to_business_hours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = MovedClock(round(MORNING.replace(day=24, hour=16).timestamp() * SECOND))
    async with behind_the_bot(bench, monkeypatch, "refund", policies_of("refund"), clock=moved):
        run = await bench.start("refund", **{**SHOWCASES["refund"].given, "amount": "700.00"})
        card = await bench.card(run)
        # Christmas is a Friday and a Saturday: the working day is Monday, in the hours of the calendar.
        (opened,) = await bench.events("request.opened")
        monday = opened.at + 4 * 86_400 * SECOND
        assert (await bench.request(run)).request.deadline_at == monday
        assert f"expires <!date^{monday // SECOND}^" in words_of(card)
        moved.pass_seconds(86_400 + 3_600)  # Christmas, a day and an hour later
        await bench.click(card, user=DAVE)
        await bench.drawn(card, "Stage 2 of 2")
        moved.pass_seconds(3 * 86_400 - 3_600)
        done = await bench.drawn(card, "*Timed out*")
        assert f"by <@{DAVE}>" not in words_of(done)
        assert refund.bank().payments() == []
