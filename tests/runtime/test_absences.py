"""Who is away and who acts for them, in the store; and consents that let one request through a freeze."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from graphs import Log, begin, events, one_after_another, values
from kit import MakeRuntime, SettableClock
from people import CLI, People, approvals_of, deploy, open_view, person, requests, ticket_of, view_of

from graph_runtime import (
    Absences,
    Action,
    Alarms,
    Approvals,
    Bypasses,
    CompiledGraph,
    Refused,
    RequestView,
    Runtime,
    Store,
    Upkeep,
    approve,
    execute_once,
)
from graph_runtime.storage import Ask

pytestmark = pytest.mark.databases("sqlite", "postgres")
DAY = 86_400_000_000
CREW = {"G_SRE": ["U_A", "U_B", "U_C", "U_REQ"], "G_OWN": ["U_A"], "G_LEADS": ["U_L", "U_M", "U_REQ"]}
TWO = {"require": [{"name": "sre", "group": "G_SRE", "count": 2}]}
OWNER = {"require": [{"name": "owners", "group": "G_OWN"}]}


class Office:
    """One waiting run, its request, and the moves of those who are away and of those who decide."""

    def __init__(self, runtime: Runtime, people: People, view: RequestView) -> None:
        self.runtime, self.people, self.view = runtime, people, view
        self.approvals = Approvals(runtime, people)
        self.absences, self.bypasses = Absences(runtime, people), Bypasses(runtime, people)
        self.id = view.request.id

    async def away(self, who: str, to: str, *, days: float = 7, by: str | None = None, **more: Any) -> str:
        until = self.runtime.clock() + round(days * DAY)
        return (await self.absences.delegate(who, to, until=until, by=by or who, **more)).id

    async def vote(self, who: str, verdict: Any = "approve", **more: Any) -> RequestView:
        ticket = ticket_of(self.view, self.runtime.store)
        return await self.approvals.decide(ticket, person(who), verdict, place=CLI, **more)

    async def bypass(self, who: str, reason: str | None = "an incident") -> RequestView:
        return await self.bypasses.consent(self.id, person(who), place=CLI, reason=reason)

    async def now(self) -> RequestView:
        return await view_of(self.approvals, self.id)


async def code_of(move: Any) -> str:
    with pytest.raises(Refused) as raised:
        await move
    return raised.value.code


async def office_of(
    make_runtime: MakeRuntime, policy: Mapping[str, Any], graph: CompiledGraph | None = None, **more: Any
) -> Office:
    people = People(CREW, **more)
    runtime = make_runtime(graph or deploy("p"), companions=[requests(p=policy)])
    runtime.ground.directory = people
    run = await begin(runtime, {"subject": "pay"}, requester="U_REQ")
    return Office(runtime, people, await open_view(approvals_of(runtime), run.id))


# -- what may be delegated -------------------------------------------------------------------------------------


async def test_a_delegation_is_listed_until_it_is_over_or_revoked(
    make_runtime: MakeRuntime, store: Store, clock: SettableClock
) -> None:
    office = await office_of(make_runtime, TWO)
    begins = clock.now + DAY
    first = await office.away("U_A", "U_D", since=begins, reason="on the beach", policy="p")
    (found,) = await office.absences.find()
    assert (found.id, found.person, found.delegate, found.since, found.until) == (
        first,
        "U_A",
        "U_D",
        begins,
        clock.now + 7 * DAY,
    )
    assert (found.policy, found.request_id, found.reason, found.made_by) == ("p", None, "on the beach", "U_A")
    (line,) = await events(store, kind="delegation.made")
    assert (line.actor, line.data["person"], line.data["delegate"]) == ("U_A", "U_A", "U_D")
    assert "beach" not in str(line.data)
    assert await code_of(office.absences.revoke(first, by="U_C", operator=False)) == "NOT_ALLOWED"
    await office.absences.revoke(first, by="U_D", operator=False)
    assert await office.absences.find() == []
    assert await code_of(office.absences.revoke(first, by="U_A", operator=False)) == "NOT_PENDING"
    await office.away("U_A", "U_D", days=1)
    clock.pass_seconds(86_400)
    assert await office.absences.find() == []


@pytest.mark.databases("sqlite")
async def test_what_may_not_be_delegated_is_refused_and_changes_nothing(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    kinds = {"U_G": "guest", "U_X": "external", "U_BOT": "bot", "U_Z": "deactivated", "U_Q": "unknown"}
    office = await office_of(make_runtime, TWO, kinds=kinds)
    codes = [await code_of(office.away("U_A", who)) for who in kinds]
    assert codes == ["GUEST_USER", "EXTERNAL_USER", "BOT_USER", "DEACTIVATED_USER", "MEMBERSHIP_UNKNOWN"]
    assert await code_of(office.away("U_Z", "U_A")) == "DEACTIVATED_USER"
    assert await code_of(office.away("U_A", "U_A")) == "INVALID_INPUT"
    assert await code_of(office.away("U_A", "U_B", days=91)) == "INVALID_INPUT"
    assert await code_of(office.away("U_A", "U_B", days=-1)) == "INVALID_INPUT"
    assert await code_of(office.away("U_A", "U_OPS", by="U_OPS")) == "NOT_ALLOWED"
    assert await office.absences.find() == []
    await office.away("U_A", "U_B", by="U_OPS", days=90)
    assert await code_of(office.away("U_A", "U_C")) == "INVALID_INPUT", "for the same at the same time"
    later = clock.now + 90 * DAY
    await office.away("U_A", "U_C", since=later, days=91)
    await office.away("U_A", "U_C", policy="p")
    assert await code_of(office.away("U_B", "U_A")) == "INVALID_INPUT", "a circle of two"
    await office.away("U_B", "U_D")
    assert await code_of(office.away("U_D", "U_A", policy="p")) == "INVALID_INPUT", "a circle of three"
    await office.away("U_B", "U_A", policy="q", since=later, days=91)


async def test_of_two_that_would_make_a_circle_at_once_one_is_made(make_runtime: MakeRuntime) -> None:
    office = await office_of(make_runtime, TWO)
    for moves in (
        [office.away("U_A", "U_B"), office.away("U_B", "U_A")],
        [office.away("U_C", "U_D"), office.away("U_C", "U_E")],
    ):
        before = len(await office.absences.find())
        said = await asyncio.gather(*moves, return_exceptions=True)
        assert sorted(type(one).__name__ for one in said) == ["Refused", "str"], said
        assert len(await office.absences.find()) == before + 1


# -- deciding for somebody -------------------------------------------------------------------------------------


async def test_a_delegate_fills_the_place_and_both_names_are_kept(
    make_runtime: MakeRuntime, store: Store
) -> None:
    office = await office_of(make_runtime, TWO)
    assert await code_of(office.vote("U_D")) == "NOT_APPROVER"
    made = await office.away("U_A", "U_D")
    after = await office.vote("U_D")
    assert after == await office.now()
    (vote,) = after.votes
    assert (vote.reviewer, vote.on_behalf_of, vote.delegation, vote.groups) == ("U_D", "U_A", made, {"G_SRE"})
    (line,) = await events(store, kind="request.voted")
    assert (line.actor, line.data["on_behalf_of"], line.data["delegation"]) == ("U_D", "U_A", made)
    assert await code_of(office.vote("U_A")) == "ALREADY_VOTED"
    assert await code_of(office.vote("U_D")) == "ALREADY_VOTED"
    assert (await office.vote("U_B")).request.status == "approved"


async def test_what_counts_is_what_holds_at_the_moment_and_what_held_at_a_vote(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    office = await office_of(make_runtime, {"require": [{"group": "G_SRE", "count": 3}]})
    await office.away("U_A", "U_B", days=1)
    await office.vote("U_A")
    clock.pass_seconds(2 * 86_400)
    assert await code_of(office.vote("U_B")) == "ALREADY_VOTED", "they were one when A voted"
    await office.vote("U_C")
    await office.away("U_C", "U_A")
    assert str((await office.now()).standing) == "2 of 3 G_SRE", "who voted before stays who they were"


async def test_nobody_acts_by_a_delegation_that_is_over_or_for_who_has_lost_the_place(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    office = await office_of(make_runtime, OWNER)
    made = await office.away("U_A", "U_D", days=1)
    office.people.groups["G_OWN"] = []
    assert await code_of(office.vote("U_D")) == "NOT_APPROVER"
    office.people.groups["G_OWN"] = ["U_A"]
    office.people.lost = {"G_OWN"}
    assert await code_of(office.vote("U_D")) == "MEMBERSHIP_UNKNOWN"
    office.people.lost = set()
    office.people.kinds = {"U_A": "deactivated"}
    assert await code_of(office.vote("U_D")) == "NOT_APPROVER"
    office.people.kinds = {"U_D": "guest"}
    assert await code_of(office.vote("U_D")) == "GUEST_USER"
    office.people.kinds = {}
    clock.pass_seconds(86_400)
    assert await code_of(office.vote("U_D")) == "NOT_APPROVER"
    made = await office.away("U_A", "U_D")
    await office.absences.revoke(made, by="U_A", operator=False)
    assert await code_of(office.vote("U_D")) == "NOT_APPROVER"
    await office.away("U_A", "U_D", policy="other")
    assert await code_of(office.vote("U_D")) == "NOT_APPROVER"


async def test_one_that_is_revoked_while_its_delegate_is_looked_up_is_not_used(
    make_runtime: MakeRuntime,
) -> None:
    office = await office_of(make_runtime, OWNER)
    made = await office.away("U_A", "U_D")

    class Slow(People):
        async def reviewer(self, actor: Any, groups: Any) -> Any:
            found = await super().reviewer(actor, groups)
            if actor.id == "U_A" and await office.absences.find():
                await office.absences.revoke(made, by="U_A", operator=False)
            return found

    office.approvals = Approvals(office.runtime, Slow(CREW))
    assert await code_of(office.vote("U_D")) == "NOT_APPROVER"
    assert (await office.now()).votes == ()


async def test_what_somebody_holds_for_another_is_not_passed_on_and_who_asked_gains_nothing(
    make_runtime: MakeRuntime,
) -> None:
    office = await office_of(make_runtime, OWNER)
    await office.away("U_A", "U_D")
    await office.away("U_D", "U_E")
    assert await code_of(office.vote("U_E")) == "NOT_APPROVER"
    assert await code_of(office.absences.reassign(office.id, person("U_D"), "U_E")) == "NOT_APPROVER"
    barred = await office_of(make_runtime, OWNER)
    await barred.away("U_REQ", "U_A", policy="p")
    assert await code_of(barred.vote("U_A")) == "SELF_APPROVAL"
    assert (await barred.vote("U_A", "withdraw")).request.status == "withdrawn", "in the place of who asked"


async def test_a_place_in_one_request_is_given_away_and_taken_back(
    make_runtime: MakeRuntime, store: Store
) -> None:
    office = await office_of(make_runtime, TWO)
    reassign = office.absences.reassign
    assert await code_of(reassign("req-nothing", person("U_A"), "U_D")) == "UNKNOWN_REQUEST"
    assert await code_of(reassign(office.id, person("U_D"), "U_A")) == "NOT_APPROVER"
    assert await code_of(reassign(office.id, person("U_REQ"), "U_D")) == "SELF_APPROVAL"
    assert await code_of(reassign(office.id, person("U_A"), "U_REQ")) == "SELF_APPROVAL"
    made = await reassign(office.id, person("U_A"), "U_D", reason="I know too little of it")
    (line,) = await events(store, kind="delegation.made", request_id=office.id)
    assert (line.data["person"], line.data["delegate"], line.data["policy"]) == ("U_A", "U_D", "p")
    other = await office_of(make_runtime, TWO)
    assert await code_of(other.vote("U_D")) == "NOT_APPROVER", "in this one only"
    await office.vote("U_D")
    await office.absences.revoke(made.id, by="U_A", operator=False)
    assert await code_of(office.vote("U_A")) == "ALREADY_VOTED", "the vote stays"
    assert await code_of(reassign(office.id, person("U_B"), "U_D")) == "ALREADY_VOTED"
    assert (await office.vote("U_B")).request.status == "approved"
    assert await code_of(reassign(office.id, person("U_C"), "U_D")) == "ALREADY_DECIDED"


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (None, None),
        ("expired", None),
        ("revoked", "may not any more"),
        ("left", "may not any more"),
        ("gone", "may not any more"),
    ],
)
@pytest.mark.databases("sqlite")
async def test_who_acted_for_whom_is_looked_at_again_where_the_policy_wants_that(
    make_runtime: MakeRuntime, clock: SettableClock, then: str | None, words: str | None
) -> None:
    office = await office_of(make_runtime, {**OWNER, "recheck_members": True}, paying())
    made = await office.away("U_A", "U_D", days=1)
    await office.vote("U_D")
    if then == "expired":
        clock.pass_seconds(86_401)
    elif then == "revoked":
        await office.absences.revoke(made, by="U_A", operator=False)
    elif then == "left":
        office.people.groups["G_OWN"] = []
    elif then == "gone":
        office.people.kinds = {"U_D": "deactivated"}
    run = await office.runtime.advance(office.view.run.id)
    if words is None:
        assert (await values(office.runtime, run))["log"] == ["paid"]
    else:
        assert run.error is not None
        assert words in run.error["message"]


@pytest.mark.databases("sqlite")
async def test_who_is_away_is_not_reminded_and_who_acts_for_them_is(
    make_runtime: MakeRuntime, clock: SettableClock, store: Store
) -> None:
    policy = {**TWO, "deadline": "4h", "remind": ["50%"], "escalate": {"after": "3h", "to": "U_A"}}
    office = await office_of(make_runtime, policy)
    await office.away("U_A", "U_D")
    await office.away("U_E", "U_D")  # has no place in it
    await office.absences.reassign(office.id, person("U_B"), "U_F")
    await office.vote("U_F")
    clock.pass_seconds(2 * 3_600)
    await office.approvals.expire_due()
    clock.pass_seconds(3_600)
    await office.approvals.expire_due()
    rows = await told(store, clock)
    assert [row["instead"] for row in rows if "instead" in row] == [[["U_A", "U_D", ""]]] * 2
    assert [row["to"] for row in rows if row["what"] == "escalate"] == ["U_D"]


async def told(store: Store, clock: SettableClock) -> list[Mapping[str, Any]]:
    """Return the payloads of everything that is to be told."""
    from graph_runtime import Outbox

    runtime = Runtime(store, [], clock=clock)
    found = []
    while (entry := await Outbox(runtime).claim()) is not None:
        place = dataclasses.replace(CLI, surface="slack", channel="C1", message=entry.id)
        await Outbox(runtime).landed(entry, place)
        found += [entry.payload] if entry.kind == "trail" else []
    return found


@pytest.mark.databases("sqlite")
async def test_a_restored_database_lets_nobody_act_for_another(
    make_runtime: MakeRuntime, database: str, clock: SettableClock
) -> None:
    office = await office_of(make_runtime, OWNER)
    await office.away("U_A", "U_D")
    await Upkeep(database, clock=clock).renew()
    assert await office.absences.find() == []


@pytest.mark.databases("sqlite")
async def test_a_place_that_was_given_away_is_let_go_with_its_thread(
    make_runtime: MakeRuntime, store: Store, clock: SettableClock
) -> None:
    office = await office_of(make_runtime, TWO)
    await office.absences.reassign(office.id, person("U_A"), "U_D")
    await office.away("U_B", "U_D")
    await office.runtime.cancel(office.view.run.thread_id, office.view.run.id)
    await told(store, clock)
    assert await office.runtime.prune(keep=0, older_than=0.000_001) == 0
    clock.pass_seconds(1)
    assert await office.runtime.prune(older_than=0.5) == 1
    assert [one.person for one in await office.absences.find()] == ["U_B"]


# -- past a freeze ---------------------------------------------------------------------------------------------

BYPASS = {"people": ["U_A"], "freeze_bypass": {"group": "G_LEADS", "count": 2}}


def paying() -> CompiledGraph:
    """Return a graph that pays what was approved."""

    async def ask(state: Log) -> Log:
        return {"answer": approve("Pay", action=Action("pay", {"to": "ACME"}), policy="p")}

    async def pay(state: Log) -> Log:
        return {"log": [await execute_once(state["answer"].grant, lambda key: "paid")]}

    return one_after_another("pay", ask=ask, pay=pay)


async def frozen(make_runtime: MakeRuntime, *scopes: str, policy: Any = BYPASS) -> Office:
    office = await office_of(make_runtime, policy, paying())
    for scope in scopes:
        await Alarms(office.runtime).freeze(scope, by="U_ANN", reason="an incident")
    await office.vote("U_A")
    assert (await office.runtime.advance(office.view.run.id)).status == "interrupted"
    return office


async def outcome(office: Office) -> list[str]:
    run = await office.runtime.advance(office.view.run.id)
    return list((await values(office.runtime, run)).get("log", []))


async def test_enough_people_let_one_request_through_the_freezes_that_hold_it(
    make_runtime: MakeRuntime, store: Store
) -> None:
    office = await frozen(make_runtime, "graph:pay", "action:pay")
    other = await frozen(make_runtime)
    assert await code_of(office.bypass("U_B")) == "NOT_APPROVER"
    assert await code_of(office.bypass("U_REQ")) == "SELF_APPROVAL"
    assert await code_of(office.bypass("U_L", reason=" ")) == "REASON_REQUIRED"
    await office.bypass("U_L")
    assert await code_of(office.bypass("U_L")) == "ALREADY_VOTED"
    assert await outcome(office) == []
    after = await office.bypass("U_M")
    assert after.run.status == "queued", "what waits is woken at once"
    assert {(one.scope, one.person) for one in after.bypasses} == {
        (scope, who) for scope in ("graph:pay", "action:pay") for who in ("U_L", "U_M")
    }
    assert await outcome(office) == ["paid"]
    assert await outcome(other) == [], "its own consents only"
    assert await code_of(office.bypass("U_L")) == "NOT_PENDING"
    kinds = [line.kind for line in await events(store, request_id=office.id) if "bypass" in line.kind]
    assert kinds == ["freeze.bypass_refused"] * 3 + [
        "freeze.bypass_agreed",
        "freeze.bypass_refused",
        "freeze.bypassed",
        "freeze.bypass_refused",
    ]


async def test_a_freeze_that_begins_later_needs_consents_of_its_own(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    office = await frozen(make_runtime, "graph:pay")
    await office.bypass("U_L")
    clock.pass_seconds(1)
    await Alarms(office.runtime).freeze("action:pay", by="U_ANN", reason="another")
    await office.bypass("U_M")
    assert await outcome(office) == []
    assert await code_of(office.bypass("U_M")) == "ALREADY_VOTED"
    after = await office.bypass("U_L")
    assert after.run.status == "queued"
    clock.pass_seconds(1)
    # The run was woken, and before it looks the freeze of the graph ends and begins again.
    for who in ("U_ANN", "U_BEN"):
        await Alarms(office.runtime).release("graph:pay", by=who)
    await Alarms(office.runtime).freeze("graph:pay", by="U_ANN", reason="once more")
    assert await outcome(office) == []
    await office.bypass("U_L")
    await office.bypass("U_M")
    assert await outcome(office) == ["paid"]


async def test_a_freeze_that_begins_after_the_gate_has_looked_shuts_it(make_runtime: MakeRuntime) -> None:
    policy = {**BYPASS, "recheck_members": True}
    office = await frozen(make_runtime, "graph:pay", policy=policy)
    await office.bypass("U_L")
    await office.bypass("U_M")

    class Freezing(People):
        async def reviewer(self, actor: Any, groups: Any) -> Any:
            await Alarms(office.runtime).freeze("action:pay", by="U_ANN", reason="another")
            return await super().reviewer(actor, groups)

    office.runtime.ground.directory = Freezing(CREW)
    assert (await office.runtime.advance(office.view.run.id)).status == "interrupted"
    (rows,) = await office.runtime.store.read(Ask("get_execution", {"request_id": office.id}))
    assert rows == []


async def test_nobody_gets_past_the_kill_switch(make_runtime: MakeRuntime) -> None:
    office = await frozen(make_runtime, "graph:pay")
    await office.bypass("U_L")
    await Alarms(office.runtime).freeze("all", by="U_ANN", reason="everything")
    assert await code_of(office.bypass("U_M")) == "FROZEN"
    for who in ("U_ANN", "U_BEN"):
        await Alarms(office.runtime).release("all", by=who)
    await office.bypass("U_M")
    await Alarms(office.runtime).freeze("all", by="U_ANN", reason="everything again")
    assert await outcome(office) == []


async def test_who_is_one_with_another_consents_once_and_a_delegate_may(make_runtime: MakeRuntime) -> None:
    office = await frozen(make_runtime, "graph:pay")
    await office.away("U_L", "U_D")
    after = await office.bypass("U_D")
    assert [(one.person, one.on_behalf_of) for one in after.bypasses] == [("U_D", "U_L")]
    assert await code_of(office.bypass("U_L")) == "ALREADY_VOTED"
    await office.away("U_REQ", "U_M")
    assert await code_of(office.bypass("U_M")) == "SELF_APPROVAL"
    assert await outcome(office) == []


async def test_of_two_consents_of_one_person_at_once_one_counts(make_runtime: MakeRuntime) -> None:
    office = await frozen(make_runtime, "graph:pay")
    said = await asyncio.gather(*(office.bypass("U_L") for _ in range(3)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in said) == ["Refused", "Refused", "RequestView"]
    said = await asyncio.gather(office.bypass("U_M"), office.bypass("U_M"), return_exceptions=True)
    assert len((await office.now()).bypasses) == 2
    assert await outcome(office) == ["paid"]


@pytest.mark.databases("sqlite")
async def test_consents_are_let_go_with_their_thread(
    make_runtime: MakeRuntime, store: Store, clock: SettableClock
) -> None:
    office = await frozen(make_runtime, "graph:pay")
    await office.bypass("U_L")
    await office.runtime.cancel(office.view.run.thread_id, office.view.run.id)
    await told(store, clock)
    clock.pass_seconds(1)
    assert await office.runtime.prune(older_than=0.5) == 1
    (rows,) = await store.read(Ask("find_bypasses", {"request_id": office.id}))
    assert rows == []


@pytest.mark.databases("sqlite")
async def test_what_is_not_to_be_let_through_is_refused(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    office = await office_of(make_runtime, BYPASS, paying())
    assert await code_of(office.bypasses.consent("req-0", person("U_L"), place=CLI)) == "UNKNOWN_REQUEST"
    assert await code_of(office.bypass("U_L")) == "NOT_PENDING", "open still"
    await office.vote("U_A")
    assert await code_of(office.bypass("U_L")) == "NOT_PENDING", "not frozen"
    plain = await frozen(make_runtime, "graph:pay", policy={"people": ["U_A"]})
    assert await code_of(plain.bypass("U_L")) == "NOT_ALLOWED"
    office.people.lost = {"G_LEADS"}
    assert await code_of(office.bypass("U_L")) == "MEMBERSHIP_UNKNOWN"


@pytest.mark.databases("sqlite")
async def test_a_run_that_was_not_woken_by_the_last_consent_is_woken_soon(
    make_runtime: MakeRuntime, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = await frozen(make_runtime, "graph:pay")
    alarms = Alarms(office.runtime)
    assert not await alarms.ring_released()

    async def died(self: Alarms) -> bool:
        raise RuntimeError("the process died")

    with monkeypatch.context() as patched:
        await office.bypass("U_L")
        patched.setattr(Alarms, "ring_released", died)
        with pytest.raises(RuntimeError):
            await office.bypass("U_M")
    clock.pass_seconds(1)
    assert await alarms.ring_released(), "the next look, a second later"
    assert await outcome(office) == ["paid"]


# -- what a reader found ---------------------------------------------------------------------------------------


async def test_who_consents_again_for_a_second_freeze_counts_once_for_the_first(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    office = await frozen(make_runtime, "graph:pay")
    await office.away("U_M", "U_L")
    await office.bypass("U_L")
    assert await code_of(office.bypass("U_M")) == "ALREADY_VOTED"
    clock.pass_seconds(5)
    await Alarms(office.runtime).freeze("action:pay", by="U_ANN", reason="another")
    view = await office.bypass("U_M")
    assert [(one.scope, one.person) for one in view.bypasses] == [("graph:pay", "U_L"), ("action:pay", "U_M")]


async def test_who_acts_for_the_requester_may_take_it_back_and_confirm_it(make_runtime: MakeRuntime) -> None:
    office = await office_of(
        make_runtime, {"require": [{"requester": True}, {"name": "sre", "group": "G_SRE"}]}
    )
    await office.away("U_REQ", "U_D")
    assert (await office.vote("U_D")).votes[-1].on_behalf_of == "U_REQ"
    other = await office_of(make_runtime, TWO)
    assert (await other.vote("U_D", "reject", reason="not needed any more")).request.status == "rejected"


@pytest.mark.parametrize("giver", ["U_REQ", "U_A"])
async def test_nobody_takes_a_veto_away_by_delegating_to_who_has_it(
    make_runtime: MakeRuntime, giver: str
) -> None:
    office = await office_of(make_runtime, TWO)
    if giver == "U_A":
        await office.vote("U_A")
    await office.away(giver, "U_C")
    view = await office.vote("U_C", "reject", reason="this breaks the ledger")
    assert view.request.status == "rejected"
    assert view.votes[-1].on_behalf_of is None
