"""Requests of several people in the store: votes that leave one open, the last one, and what is due meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from graphs import Log, begin, events, one_after_another, values
from kit import MakeRuntime, SettableClock
from people import CLI, People, approvals_of, deploy, open_view, person, requests, ticket_of, view_of

from graph_runtime import (
    Action,
    Approvals,
    CompiledGraph,
    Decision,
    PolicyError,
    Refused,
    RequestView,
    Runtime,
    Store,
    approve,
)
from graph_runtime.storage import Ask

pytestmark = pytest.mark.databases("sqlite", "postgres")
CREW = {"G_SRE": ["U_A", "U_B", "U_C", "U_REQ"], "G_OWN": ["U_A", "U_O"]}
TWO_AND_ONE = {
    "require": [{"name": "sre", "group": "G_SRE", "count": 2}, {"name": "owners", "group": "G_OWN"}]
}
TWO = {"require": [{"name": "sre", "group": "G_SRE", "count": 2}]}
REFUND = {
    "tiers": {
        "never": {"when": "amount > 5000", "block": True},
        "auto": {"when": "amount <= 50", "auto": True},
        "asked": {"require": [{"name": "sre", "group": "G_SRE", "count": 2}]},
    },
    "decisions": ["approve", "edit", "reject", "respond"],
    "edit": {"fields": ["amount"]},
    "deadline": "1h",
}


class Desk:
    """One waiting run, its request, and the moves of those who decide."""

    def __init__(self, runtime: Runtime, approvals: Approvals, view: RequestView) -> None:
        self.runtime, self.approvals, self.view = runtime, approvals, view
        self.id = view.request.id

    async def vote(self, who: str, verdict: Any = "approve", **more: Any) -> RequestView:
        return await self.approvals.decide(
            ticket_of(self.view, self.runtime.store), person(who), verdict, place=CLI, **more
        )

    async def refused(self, who: str, verdict: Any = "approve", **more: Any) -> str:
        with pytest.raises(Refused) as raised:
            await self.vote(who, verdict, **more)
        return raised.value.code

    async def now(self) -> RequestView:
        return await view_of(self.approvals, self.id)

    async def decision(self) -> Decision:
        run = await self.runtime.advance(self.view.run.id)
        decision = (await values(self.runtime, run))["answer"]
        assert isinstance(decision, Decision)
        return decision

    async def lines(self) -> list[Mapping[str, Any]]:
        """Return what is to be told below the card, in order."""
        told = []
        while (entry := await self.runtime.store.read(Ask("count_outbox"))) and entry[0]:
            claimed = await _outbox(self.runtime).claim()
            if claimed is None:
                break
            if claimed.kind == "trail":
                told.append(claimed.payload)
            await _outbox(self.runtime).landed(
                claimed, dataclasses.replace(CLI, surface="slack", channel="C1", message=claimed.id)
            )
        return told


def _outbox(runtime: Runtime) -> Any:
    from graph_runtime import Outbox

    return Outbox(runtime)


def paying(amount: Any, **more: Any) -> CompiledGraph:
    """Return a graph that asks whether so much may be paid."""

    async def ask(state: Log) -> Log:
        action = Action("pay", {"amount": amount, "to": state["subject"]})
        return {"answer": approve("Pay", action=action, policy="p", facts={"amount": amount}, **more)}

    return one_after_another("pay", ask=ask)


async def desk_of(make_runtime: MakeRuntime, policy: Any, graph: CompiledGraph | None = None) -> Desk:
    runtime = make_runtime(graph or deploy("p"), companions=[requests(p=policy)])
    approvals = approvals_of(runtime, People(CREW))
    run = await begin(runtime, {"subject": "pay"}, requester="U_REQ")
    return Desk(runtime, approvals, await open_view(approvals, run.id))


# -- on the way ------------------------------------------------------------------------------------------------


async def test_a_vote_that_decides_nothing_is_one_commit_and_leaves_the_request_open(
    make_runtime: MakeRuntime, store: Store, clock: SettableClock
) -> None:
    desk = await desk_of(make_runtime, TWO_AND_ONE)
    clock.pass_seconds(7)
    after = await desk.vote("U_A", reason="looks fine")
    assert after == await desk.now(), "it is returned as it lies there"
    assert (after.request.status, after.request.revision, after.request.closed_at) == ("open", 2, None)
    (vote,) = after.votes
    assert (vote.reviewer, vote.verdict, vote.reason, vote.at) == ("U_A", "approve", "looks fine", clock.now)
    assert (vote.groups, vote.stage, vote.round, vote.digest) == (
        {"G_SRE", "G_OWN"},
        0,
        0,
        after.request.digest,
    )
    assert str(after.standing) == "1 of 2 sre, 0 of 1 owners"
    assert (await desk.runtime.get(after.run.id)).status == "interrupted"
    (line,) = await events(store, kind="request.voted")
    assert (line.actor, line.data["verdict"], line.data["standing"]) == (
        "U_A",
        "approve",
        str(after.standing),
    )
    (told,) = await desk.lines()
    assert (told["what"], told["by"], told["seats"][0]) == ("vote", "U_A", ["sre", 1, 2, [], ["G_SRE"]])


async def test_the_last_vote_tells_the_graph_of_everybody(make_runtime: MakeRuntime, store: Store) -> None:
    desk = await desk_of(make_runtime, TWO_AND_ONE)
    for who in ("U_A", "U_B"):
        await desk.vote(who)
    assert await desk.refused("U_A") == "ALREADY_VOTED"
    assert await desk.refused("U_REQ") == "SELF_APPROVAL"
    closed = await desk.vote("U_C")
    assert (closed.request.status, closed.request.revision) == ("approved", 4)
    assert closed.deciders == ("U_A", "U_B", "U_C")
    assert await desk.refused("U_O") == "ALREADY_DECIDED"
    decision = await desk.decision()
    assert (decision.outcome, decision.by) == ("approved", ("U_A", "U_B", "U_C"))
    assert [e.kind for e in await events(store, request_id=desk.id)].count("request.approved") == 1


async def test_the_snapshot_rules_and_not_the_policy_as_it_is_now(make_runtime: MakeRuntime) -> None:
    desk = await desk_of(make_runtime, TWO)
    looser = make_runtime(deploy("p"), companions=[requests(p={"people": ["U_A"]})])
    later = Desk(looser, approvals_of(looser, People(CREW)), desk.view)
    assert (await later.vote("U_A")).request.status == "open"
    assert (await later.vote("U_B")).request.status == "approved"


async def test_a_group_that_cannot_be_looked_up_lets_nobody_vote(make_runtime: MakeRuntime) -> None:
    desk = await desk_of(make_runtime, TWO)
    desk.approvals = approvals_of(desk.runtime, People(CREW, lost=["G_SRE"]))
    assert await desk.refused("U_A") == "MEMBERSHIP_UNKNOWN"
    assert (await desk.now()).votes == ()


# -- two last votes at once ------------------------------------------------------------------------------------


async def outcome(vote: Any) -> Any:
    try:
        return await vote
    except Refused as refused:
        return refused


@pytest.mark.parametrize("number", range(20))
async def test_two_last_votes_at_once_close_a_request_once(
    make_runtime: MakeRuntime, store: Store, number: int
) -> None:
    await last_votes_at_once(make_runtime, store, number)


async def last_votes_at_once(make_runtime: MakeRuntime, store: Store, number: int) -> None:
    """Two people give the last vote at once, each through a process of their own."""
    desk = await desk_of(make_runtime, TWO)
    other = make_runtime(deploy("p"), companions=[requests(p=TWO)])
    second = Desk(other, approvals_of(other, People(CREW)), desk.view)
    await desk.vote("U_A")

    async def after(turns: int, vote: Any) -> Any:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await outcome(vote)

    said = await asyncio.gather(
        after(number % 3, desk.vote("U_B")),
        after(number % 5, second.vote("U_C")),
        after(0, second.vote("U_B")),
    )
    won = [one for one in said if isinstance(one, RequestView)]
    lost = [one.code for one in said if isinstance(one, Refused)]
    assert len(won) == 1
    assert set(lost) == {"ALREADY_DECIDED"} and len(lost) == 2
    now = await desk.now()
    assert (now.request.status, now.request.revision, len(now.votes)) == ("approved", 3, 2)
    assert len(await events(store, request_id=desk.id)) == 1 + 2 + 2  # opened, two votes, two refusals
    assert (await desk.decision()).by == tuple(vote.reviewer for vote in now.votes)


async def test_two_first_votes_at_once_are_both_kept(make_runtime: MakeRuntime) -> None:
    desk = await desk_of(make_runtime, {"require": [{"group": "G_SRE", "count": 3}]})
    said = await asyncio.gather(*(outcome(desk.vote(who)) for who in ("U_A", "U_A", "U_B")))
    assert sorted(one.code if isinstance(one, Refused) else "taken" for one in said) == [
        "ALREADY_VOTED",
        "taken",
        "taken",
    ]
    now = await desk.now()
    assert (now.request.revision, sorted(v.reviewer for v in now.votes)) == (3, ["U_A", "U_B"])


async def test_a_vote_and_a_cancel_at_once_leave_nothing_open(make_runtime: MakeRuntime) -> None:
    for number in range(5):
        desk = await desk_of(make_runtime, TWO)
        run = desk.view.run
        works = [outcome(desk.vote("U_A")), desk.runtime.cancel(run.thread_id, run.id)]
        await asyncio.gather(*works[:: 1 if number % 2 else -1])
        assert (await desk.now()).request.status == "withdrawn"


# -- edits, answers, withdrawals -------------------------------------------------------------------------------


async def test_an_edit_is_approved_by_enough_and_the_graph_gets_what_was_approved(
    make_runtime: MakeRuntime, store: Store
) -> None:
    desk = await desk_of(make_runtime, REFUND, paying(700))
    await desk.vote("U_A")
    edited = await desk.vote("U_B", "edit", edited={"amount": Decimal("400.50")})
    assert str(edited.standing) == "1 of 2 sre"
    (first, second) = edited.votes
    assert (second.verdict, second.round, second.arguments) == (
        "edit",
        1,
        {"amount": Decimal("400.50"), "to": "pay"},
    )
    assert second.digest not in {first.digest, edited.request.digest}
    closed = await desk.vote("U_A")
    assert (closed.request.status, closed.deciders) == ("edited", ("U_B", "U_A"))
    decision = await desk.decision()
    assert decision.approved and decision.arguments == {"amount": Decimal("400.50"), "to": "pay"}
    assert (decision.digest, decision.tier, decision.by) == (second.digest, "asked", ("U_B", "U_A"))
    lines = await events(store, request_id=desk.id)
    assert "400.50" not in str(lines), "the journal holds no values"
    told = [
        (line.data.get("changed"), line.data.get("digest_before"), line.data["digest"]) for line in lines[1:]
    ]
    assert told == [
        (None, None, first.digest),
        (["amount"], first.digest, second.digest),
        (None, None, second.digest),
    ], "but of an edit what it changed, and the digests of before and after"


async def test_an_edit_of_an_edit_is_told_from_what_the_first_one_left(
    make_runtime: MakeRuntime, store: Store
) -> None:
    desk = await desk_of(make_runtime, REFUND, paying(700))
    one = (await desk.vote("U_A", "edit", edited={"amount": Decimal(400)})).votes[-1]
    two = (await desk.vote("U_B", "edit", edited={"amount": Decimal(300)})).votes[-1]
    kinds = ("request.voted", "request.edited")
    lines = [line for line in await events(store, request_id=desk.id) if line.kind in kinds]
    assert [(line.data["changed"], line.data["digest_before"], line.data["digest"]) for line in lines] == [
        (["amount"], desk.view.request.digest, one.digest),
        (["amount"], one.digest, two.digest),
    ]


@pytest.mark.parametrize("edited", [{}, {"to": "me"}, {"amount": 9_000}, {"amount": object()}, None])
async def test_an_edit_that_is_not_allowed_changes_nothing(make_runtime: MakeRuntime, edited: Any) -> None:
    desk = await desk_of(make_runtime, REFUND, paying(700))
    assert await desk.refused("U_A", "edit", edited=edited) == "INVALID_INPUT"
    assert (await desk.now()) == desk.view


async def test_of_two_edits_drawn_from_the_same_round_one_is_recorded(make_runtime: MakeRuntime) -> None:
    desk = await desk_of(make_runtime, REFUND, paying(700))
    edits = [
        outcome(desk.vote(who, "edit", edited={"amount": n}, seen=0))
        for who, n in (("U_A", 400), ("U_B", 300))
    ]
    codes = [one.code for one in await asyncio.gather(*edits) if isinstance(one, Refused)]
    assert codes == ["STALE_ACTION"]
    (vote,) = (await desk.now()).votes
    other = "U_B" if vote.reviewer == "U_A" else "U_A"
    assert await desk.refused(other, seen=0) == "STALE_ACTION"
    assert await desk.refused(vote.reviewer, seen=0) == "ALREADY_VOTED"
    assert (await desk.vote(other, seen=1)).request.status == "edited"


async def test_an_answer_instead_and_a_withdrawal_are_told_to_the_graph(make_runtime: MakeRuntime) -> None:
    answered = await desk_of(make_runtime, REFUND, paying(700))
    await answered.vote("U_A", "respond", reason="ask finance first")
    told = await answered.decision()
    assert (told.outcome, told.reason, told.by, told.approved) == (
        "responded",
        "ask finance first",
        ("U_A",),
        False,
    )
    taken_back = await desk_of(make_runtime, REFUND, paying(700))
    assert await taken_back.refused("U_A", "withdraw") == "NOT_ALLOWED"
    closed = await taken_back.vote("U_REQ", "withdraw")
    assert (closed.request.status, closed.run.status) == ("withdrawn", "queued")
    assert await taken_back.refused("U_A") == "NOT_PENDING"
    assert (await taken_back.decision()).outcome == "withdrawn"


# -- what nobody decides ---------------------------------------------------------------------------------------


async def test_b1_what_a_policy_decides_by_itself_asks_nobody_and_stands_in_the_journal(
    make_runtime: MakeRuntime, store: Store
) -> None:
    cases = ((Decimal("50.00"), "approved", "auto"), (5001, "rejected", "never"))
    for number, (amount, status, tier) in enumerate(cases, 1):
        desk = await desk_of(make_runtime, REFUND, paying(amount))
        assert desk.view.request.deadline_at is None
        assert await desk.refused("U_A") == "NOT_APPROVER"
        assert await desk.approvals.expire_due()
        assert not await desk.approvals.expire_due()
        decision = await desk.decision()
        assert (decision.outcome, decision.by, decision.tier) == (status, ("policy",), tier)
        (line,) = await events(store, request_id=desk.id, kind=f"request.{status}")
        assert (line.actor, line.data["tier"]) == ("policy", tier) and "amount" in line.data["rule"]
        (outbox,) = await store.read(Ask("count_outbox"))
        told = [(row["status"], row["count"]) for row in outbox]
        assert told == [("pending", number)], "who asked is told, and there is no card"


async def test_a_run_whose_policy_would_decide_can_still_be_cancelled_first(
    make_runtime: MakeRuntime, store: Store
) -> None:
    desk = await desk_of(make_runtime, REFUND, paying(5))
    await desk.runtime.cancel(desk.view.run.thread_id, desk.view.run.id)
    await desk.approvals._overdue._settle(desk.id, "policy")
    await desk.approvals._overdue._remind(desk.id, "remind 0")
    assert (await desk.now()).request.status == "withdrawn"
    (outbox,) = await store.read(Ask("count_outbox"))
    assert outbox == []


@pytest.mark.parametrize(
    ("policy", "facts", "words"),
    [
        (
            {"tiers": {"a": {"when": "amount < 5", "auto": True}}},
            {"amount": 5},
            "none of the tiers a applies",
        ),
        ({"tiers": {"a": {"when": "risk < 5", "auto": True}}}, {"amount": 5}, "no fact 'risk'"),
        ({"require": [{"people": ["U_REQ", "U_A"], "count": 2}]}, {}, "it could never be approved"),
        ({"people": ["U_A"], "step_up": {"type_to_confirm": "{service}"}}, {}, "names 'service'"),
    ],
)
async def test_a_policy_that_asks_nobody_fails_the_run_with_the_reason(
    make_runtime: MakeRuntime, policy: Any, facts: Any, words: str
) -> None:
    async def ask(state: Log) -> Log:
        approve("Pay", action=Action("pay"), policy="p", facts=facts)
        raise AssertionError

    runtime = make_runtime(one_after_another("pay", ask=ask), companions=[requests(p=policy)])
    run = await begin(runtime, requester="U_REQ")
    assert run.status == "failed" and run.error is not None
    assert run.error["type"] == PolicyError.__name__ and words in run.error["message"]
    assert await approvals_of(runtime).find() == []


async def test_a11_a_deadline_names_nobody_and_says_what_the_policy_wants_done(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
) -> None:
    desk = await desk_of(make_runtime, {**TWO, "deadline": "4h", "on_timeout": "rollback"})
    await desk.vote("U_A")
    clock.pass_seconds(4 * 3_600)
    assert await desk.refused("U_B") == "EXPIRED"
    await desk.approvals.expire_due()
    decision = await desk.decision()
    assert (decision.outcome, decision.by, decision.on_timeout) == ("timed_out", (), "rollback")
    assert not decision.approved
    (line,) = await events(store, kind="request.timed_out")
    assert line.actor is None


# -- reminders -------------------------------------------------------------------------------------------------


async def test_reminders_and_an_escalation_are_told_once_each_in_their_time(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
) -> None:
    policy = {**TWO, "deadline": "4h", "remind": ["50%", "1h before"]}
    policy["escalate"] = {"after": "150m", "to": "U_LEAD", "notify": "C_LEADS"}
    desk = await desk_of(make_runtime, policy)
    other = make_runtime(deploy("p"), companions=[requests(p=policy)])
    second = approvals_of(other, People(CREW))
    said: list[tuple[str, str | None]] = []
    for _ in range(4):
        clock.pass_seconds(1_800 * 2)
        while any(await asyncio.gather(desk.approvals.expire_due(), second.expire_due())):
            pass
        said += [(line["what"], line.get("channel")) for line in await desk.lines()]
    assert said[0] == ("remind", None)
    # Two that are due at the same look are told in either order.
    assert sorted(said[1:4], key=str) == [("escalate", "C_LEADS"), ("escalate", None), ("remind", None)]
    assert said[4:] == [("request", None), ("told", None)]
    kinds = [e.kind for e in await events(store, request_id=desk.id)]
    assert (kinds.count("request.reminded"), kinds.count("request.escalated")) == (2, 1)


async def test_nobody_is_reminded_of_what_is_decided(make_runtime: MakeRuntime, clock: SettableClock) -> None:
    desk = await desk_of(make_runtime, {"people": ["U_A"], "deadline": "4h", "remind": ["50%"]})
    await desk.vote("U_A")
    clock.pass_seconds(3 * 3_600)
    assert not await desk.approvals.expire_due()


async def test_the_moment_from_which_it_may_be_carried_out_is_in_the_decision(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    window = {"tz": "UTC", "days": "tue", "from": "10:00", "to": "11:00"}
    desk = await desk_of(make_runtime, {"people": ["U_A"], "windows": [window]})
    await desk.vote("U_A")
    assert (await desk.decision()).opens_at == clock.now + 25 * 3_600 * 1_000_000
    rejected = await desk_of(make_runtime, {"people": ["U_A"], "windows": [window]})
    await rejected.vote("U_A", "reject", reason="no")
    assert (await rejected.decision()).opens_at is None


async def test_a_dialog_opens_for_who_only_lacks_what_it_asks(make_runtime: MakeRuntime) -> None:
    desk = await desk_of(make_runtime, {"people": ["U_A"], "step_up": {"type_to_confirm": "{risk}"}})
    ticket = ticket_of(desk.view, desk.runtime.store)
    view = await desk.approvals.check(ticket, person("U_A"), "approve", place=CLI)
    assert view.case.terms.confirm == "low"
    with pytest.raises(Refused) as raised:
        await desk.approvals.check(ticket, person("U_B"), "approve", place=CLI)
    assert raised.value.code == "NOT_APPROVER"
    assert await desk.refused("U_A", confirm="high") == "INVALID_INPUT"
    assert (await desk.vote("U_A", confirm="low")).request.status == "approved"
