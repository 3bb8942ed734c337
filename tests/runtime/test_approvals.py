"""A request is decided once, by someone who may, while it is open; whoever loses a race is told so."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import itertools
from typing import Any, TypedDict

import pytest
from aside import holding, impatient
from graphs import Log, answer_only, begin, events, one_after_another, side_by_side, values
from kit import MakeRuntime, SettableClock
from people import (
    API,
    CARD,
    CLI,
    People,
    approvals_of,
    boss,
    deploy,
    open_view,
    person,
    policy,
    requests,
    ticket_of,
    view_of,
)

import graph_runtime.approvals
from graph_runtime import (
    START,
    Action,
    Actor,
    ApprovalRequest,
    Approvals,
    Outbox,
    Place,
    PolicyError,
    Refused,
    Requests,
    RequestView,
    Reviewer,
    Run,
    Runtime,
    StateGraph,
    Store,
    StoreUnavailable,
    Ticket,
    Vote,
    approve,
    interrupt,
    read_duration,
    read_policies,
)
from graph_runtime.eligible import check_satisfiable
from graph_runtime.judging import Case, judge, may_decide
from graph_runtime.storage import Ask
from graph_runtime.tickets import check_open, check_ticket

pytestmark = pytest.mark.databases("sqlite", "postgres")

NOW = 1_000_000


def _request(**changed: Any) -> ApprovalRequest:
    said: dict[str, Any] = {
        "id": "req-1",
        "interrupt_id": "i" * 32,
        "thread_id": "case-1",
        "run_id": "run-1",
        "graph": "g",
        "node": "ask",
        "title": "Deploy",
        "action": Action("deploy"),
        "facts": {},
        "digest": "sha256:0",
        "policy_name": "default",
        "policy": {},
        "requester": "U_REQ",
        "also": ("U_ALSO",),
        "status": "open",
        "revision": 1,
        "deadline_at": None,
        "opened_at": 0,
        "closed_at": None,
    }
    return ApprovalRequest(**(said | changed))


def _run(status: Any = "interrupted") -> Run:
    said: dict[str, Any] = {f.name: 0 for f in dataclasses.fields(Run)}
    return Run(**(said | {"status": status}))


# -- judge, may_decide, check_ticket, check_open: pure and exhaustive -----------------------------------------


def test_one_vote_decides() -> None:
    case = Case.of(_request(policy={"people": ["U1"]}))
    assert judge(case).outcome == "open"
    for verdict, outcome in (("approve", "approved"), ("reject", "rejected")):
        vote = Vote("U1", verdict, None, "sha256:0", 5, "slack")  # type: ignore[arg-type]
        assert judge(dataclasses.replace(case, votes=(vote,))).outcome == outcome


KINDS = {
    "external": "EXTERNAL_USER",
    "guest": "GUEST_USER",
    "bot": "BOT_USER",
    "deactivated": "DEACTIVATED_USER",
    "unknown": "MEMBERSHIP_UNKNOWN",
    "member": None,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", ["U_BOSS", "U_REQ", "U_ALSO", "U_ELSE"])
def test_may_decide_by_the_whole_truth_table(kind: Any, who: str) -> None:
    table = itertools.product(
        ["in", "out", "unknown"],
        ["approve", "reject"],
        [None, "  ", "because"],
        ["forbid", "allow"],
        ["required", "optional"],
    )
    for membership, verdict, reason, self_approval, reject_reason in table:
        rules = policy(groups=["G_OPS"], self_approval=self_approval, reject_reason=reject_reason)
        reviewer = Reviewer(
            who,  # type: ignore[arg-type]
            frozenset({"G_OPS", "G_OTHER"} if membership == "in" else {"G_OTHER"}),  # type: ignore[arg-type]
            frozenset({"G_OPS"} if membership == "unknown" else set()),  # type: ignore[arg-type]
            kind,
        )
        refusal = may_decide(Case(_request(), rules, rules.choose({})), reviewer, verdict, reason)  # type: ignore[arg-type]
        party = who in {"U_REQ", "U_ALSO"}
        named = who == "U_BOSS" or membership == "in"
        expected: Any
        if kind != "member":
            expected = KINDS[kind]
        elif party and verdict == "approve" and self_approval == "forbid":
            expected = "SELF_APPROVAL"
        elif not named and not (party and verdict == "reject"):
            expected = "MEMBERSHIP_UNKNOWN" if membership == "unknown" else "NOT_APPROVER"
        elif verdict == "reject" and reject_reason == "required" and reason != "because":
            expected = "REASON_REQUIRED"
        else:
            expected = None
        assert (None if refusal is None else refusal.code) == expected, (membership, verdict, reason)
        assert refusal is None or (refusal.sentence and str(refusal) == refusal.sentence)


def test_a_group_whose_membership_is_unknown_does_not_matter_when_the_policy_does_not_name_it() -> None:
    reviewer = Reviewer("U_ELSE", unknown=frozenset({"G_OTHER"}))  # type: ignore[arg-type]
    rules = policy(groups=["G_OPS"])
    refusal = may_decide(Case(_request(), rules, rules.choose({})), reviewer, "approve", None)
    assert refusal is not None
    assert refusal.code == "NOT_APPROVER"


TICKET = Ticket("dep", "req-1", "case-1", "run-1", "i" * 32)  # type: ignore[arg-type]
AT_CARD: dict[str, Any] = {
    "deployment": "dep",
    "request": _request(),
    "cards": (CARD,),
    "owner_of_place": "req-1",
}


@pytest.mark.parametrize(
    ("ticket", "place", "known", "code"),
    [
        ({}, CARD, {}, None),
        ({}, CLI, {"owner_of_place": None}, None),
        ({}, API, {"owner_of_place": None, "cards": ()}, None),
        ({}, dataclasses.replace(CARD, app="A2"), {}, "WRONG_APP"),
        ({}, dataclasses.replace(CARD, workspace="T2"), {"owner_of_place": None}, "WRONG_WORKSPACE"),
        ({"deployment": "old"}, CARD, {}, "WRONG_DEPLOYMENT"),
        ({"deployment": "old"}, CLI, {"owner_of_place": None}, "WRONG_DEPLOYMENT"),
        ({}, CARD, {"request": None, "cards": (), "owner_of_place": None}, "UNKNOWN_REQUEST"),
        ({}, CARD, {"owner_of_place": "req-2"}, "WRONG_REQUEST"),
        ({"thread_id": "case-2"}, CARD, {}, "WRONG_THREAD"),
        ({"run_id": "run-2"}, CARD, {}, "WRONG_RUN"),
        ({"interrupt_id": "j" * 32}, CARD, {}, "WRONG_INTERRUPT"),
        ({"interrupt_id": "j" * 32}, CLI, {"owner_of_place": None}, "WRONG_INTERRUPT"),
        ({}, CARD, {"cards": (), "owner_of_place": None}, "NO_CARD_YET"),
        ({}, dataclasses.replace(CARD, channel="C2"), {"owner_of_place": None}, "WRONG_CHANNEL"),
        ({}, dataclasses.replace(CARD, message="1.2"), {"owner_of_place": None}, "WRONG_MESSAGE"),
        ({}, dataclasses.replace(CARD, message="1.2"), {}, "CARD_REPLACED"),
        ({}, dataclasses.replace(CARD, message="1.2"), {"cards": ()}, "CARD_REPLACED"),
        ({}, CARD, {"cards": (dataclasses.replace(CARD, channel="D1"), CARD)}, None),
        (
            {},
            dataclasses.replace(CARD, surface="teams", channel="C2"),
            {"owner_of_place": None},
            "WRONG_CHANNEL",
        ),
        ({}, dataclasses.replace(CARD, surface="teams", app="A9"), {}, None),
    ],
)
def test_a_ticket_is_compared_with_the_store_in_every_part(
    ticket: dict[str, Any], place: Place, known: dict[str, Any], code: str | None
) -> None:
    refusal = check_ticket(dataclasses.replace(TICKET, **ticket), place, **(AT_CARD | known))
    assert (None if refusal is None else refusal.code) == code
    assert refusal is None or "Nothing was recorded" in refusal.sentence


VOTES = (Vote("U_BOSS", "approve", None, "sha256:0", 5, "slack"),)  # type: ignore[arg-type]


@pytest.mark.parametrize("run", ["queued", "running", "interrupted", "needs_attention", "completed"])
@pytest.mark.parametrize("deadline", [None, NOW - 1, NOW, NOW + 1])
@pytest.mark.parametrize(
    "status",
    ["open", "approved", "edited", "rejected", "responded", "timed_out", "withdrawn", "superseded"],
)
def test_check_open_by_the_whole_truth_table(status: Any, deadline: int | None, run: Any) -> None:
    view = RequestView(_request(status=status, deadline_at=deadline, closed_at=7), _run(run), VOTES, {})
    refusal = check_open(view, NOW)
    code: str | None
    if status in {"withdrawn", "superseded"}:
        code = "NOT_PENDING"
    elif status == "timed_out" or (status == "open" and deadline is not None and deadline <= NOW):
        code = "EXPIRED"
    elif status != "open":
        code = "ALREADY_DECIDED"
    else:
        code = None if run in {"queued", "running", "interrupted"} else "NOT_PENDING"
    assert (None if refusal is None else refusal.code) == code
    if refusal is not None and code == "ALREADY_DECIDED":
        assert (refusal.by, refusal.at) == (("U_BOSS",), 7)
        assert "U_BOSS" in refusal.sentence


# -- a request from its opening to its end ------------------------------------------------------------------


class Desk:
    """A waiting deployment, its request, and what a reviewer needs."""

    def __init__(self, runtime: Runtime, approvals: Approvals, view: RequestView) -> None:
        self.runtime, self.approvals, self.view = runtime, approvals, view
        self.ticket = ticket_of(view, runtime.store)
        self.id = view.request.id

    async def decide(self, who: str = "U_BOSS", verdict: Any = "approve", **more: Any) -> RequestView:
        return await self.approvals.decide(self.ticket, person(who), verdict, **({"place": CLI} | more))

    async def refused(self, code: str, who: str = "U_BOSS", verdict: Any = "approve", **more: Any) -> Refused:
        """Check the refusal, that it is one line in the journal, and that nothing else changed."""
        store = self.runtime.store
        before, lines = await self.seen(), await events(store)
        with pytest.raises(Refused) as raised:
            await self.decide(who, verdict, **more)
        assert raised.value.code == code
        assert await self.seen() == before
        written = await events(store)
        assert len(written) == len(lines) + 1
        assert (written[-1].kind, written[-1].actor) == ("decision.refused", who)
        assert written[-1].data["code"] == code
        return raised.value

    async def seen(self) -> tuple[Any, ...]:
        store = self.runtime.store
        outbox = await store.read(Ask("count_outbox"))
        return await self.approvals.view(self.id), await self.runtime.look(self.view.run.id), outbox


@pytest.fixture
async def desk(make_runtime: MakeRuntime) -> Desk:
    return await _desk(make_runtime)


async def _desk(
    make_runtime: MakeRuntime, policy: str = "default", people: People | None = None, **more: Any
) -> Desk:
    runtime = make_runtime(deploy(policy, **more), companions=[requests()])
    approvals = approvals_of(runtime, people)
    run = await begin(runtime, {"subject": "pay"}, requester="U_REQ")
    return Desk(runtime, approvals, await open_view(approvals, run.id))


async def test_the_request_is_opened_in_the_commit_of_the_pause(
    desk: Desk, store: Store, clock: SettableClock
) -> None:
    request = desk.view.request
    (asked,) = (await desk.runtime.look(desk.view.run.id)).open
    assert (request.status, request.revision, request.opened_at) == ("open", 1, clock.now)
    assert (request.interrupt_id, request.digest) == (asked.interrupt.id, asked.interrupt.digest)
    assert (request.title, request.requester, request.also) == ("Deploy pay", "U_REQ", ())
    assert (request.action, request.facts) == (Action("deploy", {"service": "pay"}), {"risk": "low"})
    assert (request.policy_name, request.policy["people"]) == ("default", ["U_BOSS"])
    assert desk.view.ticket_ids == (request.id, request.thread_id, request.run_id, request.interrupt_id)
    (opened,) = await events(store, request_id=request.id)
    assert (opened.kind, opened.actor, opened.data["digest"]) == ("request.opened", "U_REQ", request.digest)
    entry = await Outbox(desk.runtime).claim()
    assert entry is not None
    assert (entry.kind, entry.request_id) == ("card", request.id)


@pytest.mark.parametrize(("who", "where"), [("U_BOSS", CLI), ("U_OPS", API)])
async def test_an_approval_answers_the_question_and_the_graph_goes_on(
    desk: Desk, store: Store, clock: SettableClock, who: str, where: Place
) -> None:
    clock.pass_seconds(5)
    closed = await desk.decide(who, place=where, reason="looks fine")
    request = closed.request
    assert (request.status, request.revision, request.closed_at) == ("approved", 2, clock.now)
    groups = frozenset({"G_OPS"} if who == "U_OPS" else ())
    vote = Vote(who, "approve", "looks fine", request.digest, clock.now, where.surface, groups)  # type: ignore[arg-type]
    assert closed.votes == (vote,)
    assert closed.run.status == "queued"
    run = await desk.runtime.advance(request.run_id)
    assert run.status == "completed"
    state = await values(desk.runtime, run)
    decision = state["answer"]
    assert state["log"] == [f"approved by {who}"]
    assert decision.approved
    assert (decision.request_id, decision.digest, decision.reason) == (
        request.id,
        request.digest,
        "looks fine",
    )
    (line,) = await events(store, kind="request.approved")
    assert (line.actor, line.request_id, line.data["surface"]) == (who, request.id, where.surface)


async def test_a_rejection_is_told_to_the_graph(desk: Desk) -> None:
    await desk.refused("REASON_REQUIRED", verdict="reject")
    closed = await desk.decide(verdict="reject", reason="not on a Friday")
    run = await desk.runtime.advance(closed.run.id)
    decision = (await values(desk.runtime, run))["answer"]
    assert (decision.approved, decision.outcome, decision.reason) == (False, "rejected", "not on a Friday")


async def test_the_second_reviewer_is_told_who_decided(desk: Desk) -> None:
    await desk.decide("U_OPS")
    refusal = await desk.refused("ALREADY_DECIDED")
    assert refusal.by == ("U_OPS",)
    await desk.runtime.advance(desk.view.run.id)
    await desk.refused("ALREADY_DECIDED", "U_OPS", "reject", reason="changed my mind")


async def test_the_requester_may_not_approve_but_may_withdraw(desk: Desk) -> None:
    await desk.refused("SELF_APPROVAL", "U_REQ")
    assert (await desk.decide("U_REQ", "reject", reason="mistake")).request.status == "rejected"


async def test_a_co_author_may_not_approve_although_the_policy_names_them(make_runtime: MakeRuntime) -> None:
    desk = await _desk(make_runtime, also=["U_OPS"])
    await desk.refused("SELF_APPROVAL", "U_OPS")
    await desk.decide("U_BOSS")


async def test_whoever_started_the_run_may_not_approve_under_another_requester_s_name(
    make_runtime: MakeRuntime,
) -> None:
    desk = await _desk(make_runtime, requester="U_OTHER", people=People({"G_OPS": ["U_REQ"]}))
    await desk.refused("SELF_APPROVAL", "U_REQ")


async def test_a_policy_may_allow_the_requester(make_runtime: MakeRuntime) -> None:
    desk = await _desk(make_runtime, "free")
    assert (await desk.decide("U_REQ")).request.status == "approved"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "member"])
async def test_who_is_no_member_may_not_decide(make_runtime: MakeRuntime, kind: str) -> None:
    desk = await _desk(make_runtime, people=People(kinds={"U_BOSS": kind}))
    await desk.refused(str(KINDS[kind]))


async def test_unknown_membership_is_a_refusal_and_never_a_pass(make_runtime: MakeRuntime) -> None:
    desk = await _desk(make_runtime, people=People({"G_OPS": ["U_OPS"]}, lost=["G_OPS"]))
    await desk.refused("MEMBERSHIP_UNKNOWN", "U_OPS")
    assert (await desk.decide("U_BOSS")).request.status == "approved", "people named one by one need no group"


async def test_membership_is_asked_at_the_moment_of_deciding(make_runtime: MakeRuntime) -> None:
    people = People({"G_OPS": ["U_OPS"]})
    desk = await _desk(make_runtime, people=people)
    people.groups["G_OPS"] = []
    await desk.refused("NOT_APPROVER", "U_OPS")
    people.groups["G_OPS"] = ["U_OPS"]
    await desk.decide("U_OPS")


async def test_an_account_of_another_workspace_is_external(desk: Desk) -> None:
    await _post(desk)
    with pytest.raises(Refused) as raised:
        await desk.approvals.decide(desk.ticket, boss("T2"), "approve", place=CARD)
    assert raised.value.code == "EXTERNAL_USER"


async def _post(desk: Desk, place: Place = CARD) -> None:
    outbox = Outbox(desk.runtime)
    entry = await outbox.claim()
    assert entry is not None
    await outbox.landed(entry, place)


async def test_a_click_counts_only_on_the_card_of_its_request(desk: Desk, make_runtime: MakeRuntime) -> None:
    await desk.refused("NO_CARD_YET", place=CARD)
    await _post(desk)
    await desk.refused("WRONG_APP", place=dataclasses.replace(CARD, app="A2"))
    await desk.refused("WRONG_WORKSPACE", place=dataclasses.replace(CARD, workspace="T2"))
    await desk.refused("WRONG_CHANNEL", place=dataclasses.replace(CARD, channel="C2"))
    await desk.refused("WRONG_MESSAGE", place=dataclasses.replace(CARD, message="1.2"))
    other = await _desk(make_runtime)
    elsewhere = dataclasses.replace(CARD, message="1700000000.000200")
    await _post(other, elsewhere)
    await desk.refused("WRONG_REQUEST", place=elsewhere)
    assert (await desk.decide(place=CARD)).request.status == "approved"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"deployment": "before the restore"}, "WRONG_DEPLOYMENT"),
        ({"request_id": "req-9"}, "UNKNOWN_REQUEST"),
        ({"thread_id": "case-9"}, "WRONG_THREAD"),
        ({"run_id": "run-9"}, "WRONG_RUN"),
        ({"interrupt_id": "0" * 32}, "WRONG_INTERRUPT"),
    ],
)
async def test_every_id_of_a_ticket_must_be_the_stored_one(
    desk: Desk, changed: dict[str, str], code: str
) -> None:
    desk.ticket = dataclasses.replace(desk.ticket, **changed)  # type: ignore[arg-type]
    await desk.refused(code)


async def test_check_says_before_a_dialog_what_decide_would_say(desk: Desk) -> None:
    view = await desk.approvals.check(desk.ticket, boss(), "reject", place=CLI)
    assert view == desk.view
    with pytest.raises(Refused) as raised:
        await desk.approvals.check(desk.ticket, person("U_REQ"), "approve", place=CLI)
    assert raised.value.code == "SELF_APPROVAL"
    await desk.decide()
    with pytest.raises(Refused) as raised:
        await desk.approvals.check(desk.ticket, boss(), "approve", place=CLI)
    assert raised.value.code == "ALREADY_DECIDED"


async def test_a_refusal_without_a_ticket_is_still_a_line(desk: Desk, store: Store) -> None:
    await desk.approvals.refuse(Refused("GARBLED_TICKET", "?"), None, CARD)
    line = (await events(store))[-1]
    assert (line.kind, line.actor, line.request_id) == ("decision.refused", None, None)
    assert line.data["code"] == "GARBLED_TICKET"


async def test_an_unknown_verdict_changes_nothing(desk: Desk) -> None:
    before = await desk.seen()
    with pytest.raises(Refused) as raised:
        await desk.decide(verdict="perhaps")
    assert raised.value.code == "UNKNOWN_ACTION"
    assert await desk.seen() == before


@pytest.mark.parametrize("reason", ["half \ud83d", "nul \x00", "x" * 100_000, "🙂"])
async def test_no_reason_can_hurt_the_store(desk: Desk, reason: str) -> None:
    try:
        await desk.decide("U_OPS", reason=reason)
    except Exception:  # noqa: BLE001 - refused or not, the next one must be able to decide
        await desk.decide()
    assert (await view_of(desk.approvals, desk.id)).request.status == "approved"


async def test_a_decision_while_another_one_is_worked_on_is_not_lost(make_runtime: MakeRuntime) -> None:
    def ask(what: str) -> Any:
        return lambda state: {"log": [approve(what, action=Action(what)).outcome]}

    runtime = make_runtime(side_by_side(a=ask("a"), b=ask("b")), companions=[requests()])
    approvals = approvals_of(runtime)
    run = await begin(runtime)
    first, second = await approvals.find(run_id=run.id)
    await approvals.decide(
        ticket_of(await view_of(approvals, first.id), runtime.store), boss(), "approve", place=CLI
    )
    claimed = await runtime.claim()
    assert claimed is not None
    decided = await approvals.decide(
        ticket_of(await view_of(approvals, second.id), runtime.store), boss(), "approve", place=CLI
    )
    assert decided.run.status == "running"
    assert (await runtime.drive(claimed)).status in {"queued", "completed"}
    run = await runtime.advance(run.id)
    assert (run.status, (await values(runtime, run))["log"]) == ("completed", ["approved", "approved"])


# -- deadlines ------------------------------------------------------------------------------------------------


async def test_a_deadline_closes_the_request_by_nobody(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
) -> None:
    desk = await _desk(make_runtime, "slow")
    assert desk.view.request.deadline_at == clock.now + 3_600_000_000
    clock.pass_seconds(3_599.999999)
    assert not await desk.approvals.expire_due()
    clock.now += 1
    await desk.refused("EXPIRED")
    assert await desk.approvals.expire_due()
    assert not await desk.approvals.expire_due()
    closed = await view_of(desk.approvals, desk.id)
    assert (closed.request.status, closed.votes) == ("timed_out", ())
    run = await desk.runtime.advance(closed.run.id)
    decision = (await values(desk.runtime, run))["answer"]
    assert (decision.outcome, decision.by, decision.approved) == ("timed_out", (), False)
    assert (await values(desk.runtime, run))["log"] == ["timed_out by nobody"]
    (line,) = await events(store, kind="request.timed_out")
    assert line.actor is None
    await desk.refused("EXPIRED")


async def test_a_decided_request_has_no_deadline_any_more(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    desk = await _desk(make_runtime, "slow")
    await desk.decide()
    clock.pass_seconds(7_200)
    assert not await desk.approvals.expire_due()
    assert (await view_of(desk.approvals, desk.id)).request.status == "approved"


async def test_a_cancelled_run_s_deadlines_are_gone(make_runtime: MakeRuntime, clock: SettableClock) -> None:
    desk = await _desk(make_runtime, "slow")
    await desk.runtime.cancel(desk.view.run.thread_id, desk.view.run.id)
    clock.pass_seconds(7_200)
    assert not await desk.approvals.expire_due()


async def test_deadlines_pass_in_order_and_in_portions(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(deploy("slow"), companions=[requests()])
    approvals = approvals_of(runtime)
    for number in range(5):
        clock.pass_seconds(1)
        await begin(runtime, {"subject": str(number)})
    clock.pass_seconds(7_200)
    assert await approvals.expire_due(limit=2)
    assert [r.status for r in await approvals.find()] == ["timed_out"] * 2 + ["open"] * 3
    while await approvals.expire_due(limit=2):
        pass
    assert {r.status for r in await approvals.find()} == {"timed_out"}


async def test_the_deadline_of_a_run_that_needs_attention_waits_with_it(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    run = await _stuck(make_runtime)
    runtime = make_runtime(deploy(), companions=[requests()])
    approvals = approvals_of(runtime)
    (request,) = await approvals.find(run_id=run.id, status="open")
    ticket = ticket_of(await view_of(approvals, request.id), runtime.store)
    with pytest.raises(Refused) as raised:
        await approvals.decide(ticket, boss(), "approve", place=CLI)
    assert raised.value.code == "NOT_PENDING"
    clock.pass_seconds(7_200)
    assert not await approvals.expire_due()
    await runtime.cancel(run.thread_id, run.id)
    assert (await view_of(approvals, request.id)).request.status == "withdrawn"


# -- races ----------------------------------------------------------------------------------------------------


async def _outcome(work: Any) -> Any:
    try:
        return await work
    except Refused as refusal:
        return refusal


async def test_of_forty_reviewers_at_once_one_decides(make_runtime: MakeRuntime, store: Store) -> None:
    names = [f"U{number}" for number in range(40)]
    desk = await _desk(make_runtime, people=People({"G_OPS": names}))
    others = [approvals_of(make_runtime(deploy()), People({"G_OPS": names})) for _ in range(3)]
    said = await asyncio.gather(
        *(
            _outcome(
                others[number % 3].decide(
                    desk.ticket, person(name), "reject" if number % 2 else "approve", place=CLI, reason="r"
                )
            )
            for number, name in enumerate(names)
        )
    )
    (won,) = [one for one in said if isinstance(one, RequestView)]
    assert {one.code for one in said if isinstance(one, Refused)} == {"ALREADY_DECIDED"}
    assert len(won.votes) == 1
    assert won.request.revision == 2
    run = await desk.runtime.advance(won.run.id)
    decision = (await values(desk.runtime, run))["answer"]
    assert (decision.by[0], decision.outcome) == (won.votes[0].reviewer, won.request.status)
    assert len(await events(store, kind="decision.refused")) == 39


async def test_the_same_click_delivered_forty_times_counts_once(desk: Desk) -> None:
    said = await asyncio.gather(*(_outcome(desk.decide()) for _ in range(40)))
    assert sum(isinstance(one, RequestView) for one in said) == 1
    assert len((await view_of(desk.approvals, desk.id)).votes) == 1


async def test_a_hundred_times_the_deadline_and_a_decision_at_once_have_one_outcome(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
) -> None:
    runtime = make_runtime(deploy("slow"), companions=[requests()])
    approvals, other = approvals_of(runtime), approvals_of(make_runtime(deploy("slow")))
    runs = [await begin(runtime, {"subject": str(number)}) for number in range(100)]
    views = [await open_view(approvals, run.id) for run in runs]
    clock.pass_seconds(3_599)

    async def late(number: int) -> Any:
        # The click is in time when it is read; the deadline passes while it is being recorded.
        if number % 7 == 0:
            clock.pass_seconds(2)
        return await _outcome(approvals.decide(ticket_of(views[number], store), boss(), "approve", place=CLI))

    async def expire() -> None:
        while await other.expire_due(limit=7):
            await asyncio.sleep(0)

    clicks = [late(number) for number in range(100)]
    said = await asyncio.gather(*clicks[:50], expire(), *clicks[50:], expire())
    clock.pass_seconds(10)
    await expire()
    outcomes = {r.id: r for r in await approvals.find(limit=1_000)}
    assert {r.status for r in outcomes.values()} <= {"approved", "timed_out"}
    assert all(r.revision == 2 for r in outcomes.values())
    approved = {one.request.id for one in said if isinstance(one, RequestView)}
    assert approved == {r.id for r in outcomes.values() if r.status == "approved"}
    for run, view in zip(runs, views, strict=True):
        lines = [e.kind for e in await events(store, request_id=view.request.id)]
        ended = [kind for kind in lines if kind in {"request.approved", "request.timed_out"}]
        assert ended == [f"request.{outcomes[view.request.id].status}"]
        rested = await runtime.advance(run.id)
        assert rested.status == "completed"


async def test_a_decision_and_the_deadline_drawn_from_one_reading_have_one_outcome(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
) -> None:
    outcomes = set()
    runtime = make_runtime(deploy("slow"), companions=[requests()])
    approvals = approvals_of(runtime)
    for number in range(20):
        run = await begin(runtime, {"subject": str(number)})
        view = await open_view(approvals, run.id)
        decide = _outcome(approvals.decide(ticket_of(view, store), boss(), "approve", place=CLI))
        assert view.request.deadline_at is not None
        clock.now = view.request.deadline_at - 1
        deciding = asyncio.create_task(decide)
        for _ in range(number % 5):
            await asyncio.sleep(0)
        clock.now += 1
        await asyncio.gather(deciding, approvals.expire_due())
        closed = await view_of(approvals, view.request.id)
        said = deciding.result()
        assert (closed.request.status == "approved") == isinstance(said, RequestView)
        assert (closed.request.status == "timed_out") == (
            isinstance(said, Refused) and said.code == "EXPIRED"
        )
        outcomes.add(closed.request.status)
    assert outcomes <= {"approved", "timed_out"}


@pytest.mark.parametrize("first", ["decide", "cancel"])
async def test_a_decision_and_a_cancel_at_once_leave_nothing_half_done(
    make_runtime: MakeRuntime, first: str
) -> None:
    for number in range(10):
        desk = await _desk(make_runtime)
        run = desk.view.run
        deciding, cancelling = _outcome(desk.decide()), desk.runtime.cancel(run.thread_id, run.id)
        works = [deciding, cancelling] if first == "decide" else [cancelling, deciding]
        said = await asyncio.gather(*works)
        decided = next(one for one in said if not isinstance(one, Run))
        closed = await view_of(desk.approvals, desk.id)
        assert (await desk.runtime.get(run.id)).status == "cancelled"
        if isinstance(decided, Refused):
            assert (decided.code, closed.request.status) == ("NOT_PENDING", "withdrawn")
        else:
            assert closed.request.status == "approved"
        assert await desk.runtime.claim() is None, number


async def test_a_click_that_takes_too_long_is_not_recorded_when_it_is_told_so(
    desk: Desk, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_runtime.approvals, "DECIDE_SECONDS", 0.2)
    with holding(database), pytest.raises(Refused) as raised:
        await desk.decide()
    assert raised.value.code == "BUSY"
    await desk.runtime.cancel(desk.view.run.thread_id, desk.view.run.id)
    closed = await view_of(desk.approvals, desk.id)
    assert closed.request.status == "withdrawn", "the person was told that nothing was recorded"


async def test_a_database_that_another_process_holds_too_long_is_an_honest_error(
    desk: Desk, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    with holding(database), pytest.raises(StoreUnavailable, match="not written"):
        await desk.decide()
    assert (await desk.decide()).request.status == "approved", (
        "nothing was recorded, and the next try may succeed"
    )


async def test_a_directory_that_does_not_answer_is_a_refusal_in_the_journal(
    desk: Desk, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent:
        async def reviewer(self, actor: Any, groups: Any) -> Reviewer:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(graph_runtime.approvals, "DECIDE_SECONDS", 0.05)
    desk.approvals = Approvals(desk.runtime, Silent())
    await desk.refused("BUSY")


class Meanwhile(People):
    """While this directory is asked who somebody is, something else happens."""

    def __init__(self, happens: Any) -> None:
        super().__init__()
        self.happens = happens

    async def reviewer(self, actor: Actor, groups: Any) -> Reviewer:
        if self.asked == 0:
            self.asked += 1
            await self.happens()
        return await super().reviewer(actor, groups)


@pytest.mark.parametrize(
    ("what", "code"), [("decision", "ALREADY_DECIDED"), ("deadline", "EXPIRED"), ("cancel", "NOT_PENDING")]
)
async def test_what_happens_between_reading_and_writing_is_seen(
    make_runtime: MakeRuntime, clock: SettableClock, what: str, code: str
) -> None:
    desk = await _desk(make_runtime, "slow")
    request, run = desk.view.request, desk.view.run

    async def happens() -> None:
        if what == "decision":
            await desk.decide("U_BOSS", "reject", reason="first")
        elif what == "deadline":
            clock.pass_seconds(3_600)
            await desk.approvals.expire_due()
            clock.pass_seconds(-3_600)
        else:
            await desk.runtime.cancel(run.thread_id, run.id)

    late = approvals_of(desk.runtime, Meanwhile(happens))
    with pytest.raises(Refused) as raised:
        await late.decide(desk.ticket, boss(), "approve", place=CLI)
    assert raised.value.code == code
    closed = await view_of(desk.approvals, request.id)
    assert closed.request.revision == 2
    assert closed.request.status != "approved"


async def test_two_timekeepers_at_once_close_a_request_once(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
) -> None:
    desk = await _desk(make_runtime, "slow")
    others = [approvals_of(make_runtime(deploy("slow"))) for _ in range(4)]
    clock.pass_seconds(3_600)
    await asyncio.gather(*(one._overdue._settle(desk.id, "deadline") for one in others))
    assert len(await events(store, kind="request.timed_out")) == 1
    assert (await view_of(desk.approvals, desk.id)).request.revision == 2


async def test_a_timekeeper_that_comes_too_early_or_at_a_bad_time_changes_nothing(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    desk = await _desk(make_runtime, "slow")
    before = await desk.seen()
    await desk.approvals._overdue._settle(desk.id, "deadline")
    await desk.approvals._overdue._settle("req-9", "deadline")
    assert await desk.seen() == before
    run = await _stuck(make_runtime)
    clock.pass_seconds(3_600)
    (request,) = await desk.approvals.find(run_id=run.id, status="open")
    await desk.approvals._overdue._settle(request.id, "deadline")
    assert (await view_of(desk.approvals, request.id)).request.status == "open"


async def _stuck(make_runtime: MakeRuntime) -> Run:
    """Return a run that needs attention while one of its requests is open."""

    def ask(state: Log) -> Log:
        return {"log": [approve("a", action=Action("a"), policy="slow").outcome]}

    asked: list[int] = []

    def forget(state: Log) -> Log:
        if not asked:
            asked.append(1)
            interrupt("forgotten?")
        return {}

    runtime = make_runtime(side_by_side(ask=ask, forget=forget), companions=[requests()])
    approvals = approvals_of(runtime)
    run = await begin(runtime)
    (forgotten,) = [r for r in await approvals.find(run_id=run.id) if r.title == "forgotten?"]
    view = await view_of(approvals, forgotten.id)
    await approvals.decide(ticket_of(view, runtime.store), boss(), "approve", place=CLI)
    run = await runtime.advance(run.id)
    assert run.status == "needs_attention"
    return run


# -- ends that are no decisions ---------------------------------------------------------------------------------


async def test_cancelling_a_run_withdraws_its_request_in_the_same_commit(desk: Desk, store: Store) -> None:
    run = desk.view.run
    await desk.runtime.cancel(run.thread_id, run.id, actor="U9", reason="no longer needed")
    closed = await view_of(desk.approvals, desk.id)
    assert (closed.request.status, closed.request.revision, closed.votes) == ("withdrawn", 2, ())
    await desk.refused("NOT_PENDING")
    (line,) = await events(store, kind="request.withdrawn")
    assert (line.actor, line.request_id) == ("U9", desk.id)
    outbox = Outbox(desk.runtime)
    told = []
    while (entry := await outbox.claim()) is not None:
        told.append(entry.kind)
        await outbox.landed(entry, None)
    assert told == ["card", "trail"]


async def test_a_changed_action_supersedes_the_request_and_opens_another(make_runtime: MakeRuntime) -> None:
    amounts = iter([1, 999, 999])

    def ask(state: Log) -> Log:
        amount = next(amounts)
        return {"log": [amount, approve("Pay", action=Action("pay", {"amount": amount})).outcome]}

    runtime = make_runtime(one_after_another(ask=ask), companions=[requests()])
    approvals = approvals_of(runtime)
    run = await begin(runtime)
    old = await open_view(approvals, run.id)
    await approvals.decide(ticket_of(old, runtime.store), boss(), "approve", place=CLI)
    run = await runtime.advance(run.id)
    new = await open_view(approvals, run.id)
    assert new.request.action == Action("pay", {"amount": 999})
    assert new.request.digest != old.request.digest
    await approvals.decide(ticket_of(new, runtime.store), boss(), "reject", reason="no", place=CLI)
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"] == [999, "rejected"]


async def test_an_open_request_that_nobody_waits_for_any_more_is_superseded(
    make_runtime: MakeRuntime,
) -> None:
    """An approval must not stay clickable when its node has gone on without it."""
    ran: list[int] = []

    async def one(what: str) -> Any:
        return approve(what, action=Action(what))

    async def ask(state: Log) -> Log:
        ran.append(1)
        if len(ran) == 1:
            await asyncio.gather(one("a"), one("b"))
        return {"log": [(await one("a")).outcome]}

    runtime = make_runtime(
        one_after_another(ask=ask, after=lambda state: {"answer": interrupt("and now?")}),
        companions=[requests()],
    )
    approvals = approvals_of(runtime)
    run = await begin(runtime)
    by_title = {r.title: await view_of(approvals, r.id) for r in await approvals.find(run_id=run.id)}
    await approvals.decide(ticket_of(by_title["a"], runtime.store), boss(), "approve", place=CLI)
    await runtime.advance(run.id)
    assert (await view_of(approvals, by_title["b"].request.id)).request.status == "superseded"
    with pytest.raises(Refused) as raised:
        await approvals.decide(ticket_of(by_title["b"], runtime.store), boss(), "approve", place=CLI)
    assert raised.value.code == "NOT_PENDING"
    assert (await open_view(approvals, run.id)).request.title == "and now?"


async def test_a_failed_run_withdraws_what_is_open(make_runtime: MakeRuntime) -> None:
    def fail(state: Log) -> Log:
        raise ValueError(approve("b", action=Action("b")).outcome)

    def ask(state: Log) -> Log:
        return {"log": [approve("a", action=Action("a")).outcome]}

    runtime = make_runtime(side_by_side(ask=ask, fail=fail), companions=[requests()])
    approvals = approvals_of(runtime)
    run = await begin(runtime)
    by_title = {r.title: r.id for r in await approvals.find(run_id=run.id)}
    view = await view_of(approvals, by_title["b"])
    await approvals.decide(ticket_of(view, runtime.store), boss(), "approve", place=CLI)
    assert (await runtime.advance(run.id)).status == "failed"
    assert (await view_of(approvals, by_title["a"])).request.status == "withdrawn"


# -- policies ---------------------------------------------------------------------------------------------------


async def test_an_unknown_policy_fails_the_run_and_nobody_is_asked(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(deploy("nope"), companions=[requests()])
    run = await begin(runtime)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == "PolicyError"
    assert "'nope'" in run.error["message"]
    assert await approvals_of(runtime).find() == []
    assert (await runtime.look(run.id)).questions == ()


async def test_a_policy_that_nobody_is_left_to_satisfy_fails_the_run(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(
        deploy("alone", also=["U2"]), companions=[requests(alone={"people": ["U1", "U2"]})]
    )
    run = await begin(runtime, requester="U1")
    assert run.error is not None
    assert (run.status, run.error["type"]) == ("failed", "PolicyError")
    assert (await begin(runtime, requester="U3")).status == "interrupted"


async def test_a_question_keeps_the_policy_it_was_opened_with(make_runtime: MakeRuntime) -> None:
    desk = await _desk(make_runtime)
    stricter = make_runtime(deploy(), companions=[requests(default={"people": ["U_CEO"]})])
    approvals = approvals_of(stricter)
    closed = await approvals.decide(desk.ticket, boss(), "approve", place=CLI)
    assert closed.request.status == "approved"


def test_policies_are_refused_by_name() -> None:
    with pytest.raises(PolicyError, match="'default'"):
        Requests(read_policies({"other": {"people": ["U1"]}}))
    with pytest.raises(PolicyError) as raised:
        read_policies(
            {
                "empty": {},
                "blank": {"people": [" "]},
                "typo": {"people": ["U1"], "deadlin": "1h"},
                "late": {"people": ["U1"], "deadline": "soon"},
                "zero": {"people": ["U1"], "deadline": 0},
                "ages": {"groups": ["G1"], "deadline": "9999d"},
                "fine": {"groups": ["G1"], "deadline": "1d 12h"},
            }
        )
    text = str(raised.value)
    assert all(f"'{name}" in text for name in ("empty", "blank", "typo", "late", "zero", "ages"))
    assert "'fine" not in text
    ready = policy(deadline="90m")
    assert read_policies({"a": ready}) == {"a": ready}
    assert ready.deadline == 5_400
    assert read_duration(7) == 7
    own = policy(self_approval="allow")
    check_satisfiable(Case(_request(requester="U_BOSS"), own, own.choose({})))


# -- plain questions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "title", "facts"),
    [
        ("Ship it?", "Ship it?", {}),
        ({"question": "Ship it?", "risk": 1}, "Ship it?", {"risk": 1}),
        ({"title": "T", "question": "Q"}, "T", {"question": "Q"}),
        ({"message": "M"}, "M", {}),
        ({"title": " ", "risk": 1}, "A run asks for a decision", {"title": " ", "risk": 1}),
        ({1: "one"}, "A run asks for a decision", {"1": "one"}),
        (42, "A run asks for a decision", {"value": 42}),
        (None, "A run asks for a decision", {"value": None}),
        ("x" * 1_000, "x" * 150, {}),
        ("", "A run asks for a decision", {}),
        ("  ", "A run asks for a decision", {}),
    ],
)
async def test_a_plain_question_gets_a_request_by_the_default_policy(
    make_runtime: MakeRuntime, asked: Any, title: str, facts: Any
) -> None:
    runtime = make_runtime(
        one_after_another(ask=lambda state: {"answer": interrupt(asked)}), companions=[requests()]
    )
    approvals = approvals_of(runtime)
    run = await begin(runtime, requester="U_REQ")
    view = await open_view(approvals, run.id)
    request = view.request
    assert (request.title, request.facts, request.action) == (title, facts, None)
    assert (request.policy_name, request.requester) == ("default", "U_REQ")
    await approvals.decide(ticket_of(view, runtime.store), boss(), "approve", place=CLI)
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["answer"] == {
        "decision": "approve",
        "reason": None,
        "by": "U_BOSS",
        "request_id": request.id,
    }


async def test_a_rejected_or_late_plain_question_says_so(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(
        one_after_another(ask=lambda state: {"answer": interrupt("?")}),
        companions=[requests(default={"people": ["U_BOSS"], "deadline": 60})],
    )
    approvals = approvals_of(runtime)
    runs = [await begin(runtime) for _ in range(2)]
    view = await open_view(approvals, runs[0].id)
    await approvals.decide(ticket_of(view, runtime.store), boss(), "reject", reason="no", place=CLI)
    clock.pass_seconds(60)
    await approvals.expire_due()
    answers = [(await values(runtime, await runtime.advance(run.id)))["answer"] for run in runs]
    assert [(a["decision"], a["reason"], a["by"]) for a in answers] == [
        ("reject", "no", "U_BOSS"),
        ("timed_out", None, None),
    ]


class Color(enum.Enum):
    RED = 1


class Painted(TypedDict, total=False):
    subject: Color
    answer: Any


async def test_facts_of_the_author_s_own_classes_are_shown_as_text(make_runtime: MakeRuntime) -> None:
    graph = StateGraph(Painted).add_edge(START, "ask")
    graph.add_node("ask", lambda state: {"answer": interrupt({"color": state["subject"], "who": {"a"}})})
    runtime = make_runtime(graph.compile(), companions=[requests()])
    run = await begin(runtime, {"subject": Color.RED})
    request = (await open_view(approvals_of(runtime), run.id)).request
    assert request.facts == {"color": "Color.RED", "who": {"a"}}


@pytest.mark.parametrize(
    ("said", "outcome"),
    [({"decision": "approve"}, "approved"), ({"decision": "reject", "reason": "no"}, "rejected")],
)
async def test_approve_without_requests_is_answered_through_resume(
    make_runtime: MakeRuntime, said: Any, outcome: str
) -> None:
    runtime = make_runtime(deploy())
    run = await answer_only(runtime, await begin(runtime), said)
    decision = (await values(runtime, run))["answer"]
    assert (run.status, decision.outcome, decision.reason) == ("completed", outcome, said.get("reason"))
    assert decision.digest.startswith("sha256:")


@pytest.mark.parametrize("said", [None, "approve", {"decision": "maybe"}, {"decision": 1}, {}])
async def test_approve_does_not_guess_what_an_odd_answer_means(make_runtime: MakeRuntime, said: Any) -> None:
    runtime = make_runtime(deploy())
    run = await answer_only(runtime, await begin(runtime), said)
    assert run.error is not None
    assert (run.status, run.error["type"]) == ("interrupted", "ValueRefused"), "and it is open still"


async def test_requests_are_found_by_run_and_status_oldest_first(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    desks = []
    for _ in range(3):
        clock.pass_seconds(1)
        desks.append(await _desk(make_runtime))
    await desks[1].decide()
    find = desks[0].approvals.find
    assert [r.id for r in await find()] == [d.id for d in desks]
    assert [r.id for r in await find(status="open")] == [desks[0].id, desks[2].id]
    assert [r.id for r in await find(run_id=desks[1].view.run.id)] == [desks[1].id]
    assert [r.id for r in await find(limit=1)] == [desks[0].id]
    assert await desks[0].approvals.view("req-9") is None


async def test_a_click_after_the_workflow_changed_is_refused_and_the_request_stays_open(
    make_runtime: MakeRuntime,
) -> None:
    old = await _desk(make_runtime)
    runtime = make_runtime(one_after_another("deploy", act=lambda state: {}), companions=[requests()])
    newer = Desk(runtime, approvals_of(runtime, None), old.view)

    await newer.refused("GRAPH_CHANGED")

    assert (await old.decide()).request.status == "approved"
