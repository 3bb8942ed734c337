"""Who may vote and what votes come to, compared with a model that tries every assignment of people to rules."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import much

from graph_runtime import Action, PolicyError, Reviewer, read_policies
from graph_runtime.delegation import Delegation, check_new, held_by, in_force, pairs
from graph_runtime.eligible import check_satisfiable
from graph_runtime.judging import (
    Case,
    Standing,
    covers,
    judge,
    make_vote,
    may_decide,
    merge,
    with_vote,
)
from graph_runtime.matching import match
from graph_runtime.policy import Rule, Terms
from graph_runtime.types import ApprovalRequest

A, B, C, D, E, REQ, ALSO = "U_A", "U_B", "U_C", "U_D", "U_E", "U_REQ", "U_ALSO"
SRE, OWN, LEAD = "G_SRE", "G_OWN", "G_LEAD"
TWO_AND_ONE = {"require": [{"name": "sre", "group": SRE, "count": 2}, {"name": "owners", "group": OWN}]}


def case_of(
    facts: Mapping[str, Any] | None = None, *, arguments: Mapping[str, Any] | None = None, **body: Any
) -> Case:
    policy = read_policies({"p": body})["p"]
    said: dict[str, Any] = {
        field.name: None for field in dataclasses.fields(ApprovalRequest) if field.name != "terms"
    }
    said |= {"id": "req-1", "action": Action("deploy", arguments or {"amount": 700, "note": "x"})}
    said |= {"facts": dict(facts or {}), "requester": REQ, "also": (ALSO,), "status": "open"}
    request = ApprovalRequest(**said)
    return Case(request, policy, policy.choose(request.facts))


def reviewer(who: str, *groups: str, unknown: Sequence[str] = ()) -> Reviewer:
    return Reviewer(who, frozenset(groups), frozenset(unknown))  # type: ignore[arg-type]


def vote(
    case: Case, who: str, *groups: str, verdict: Any = "approve", **more: Any
) -> tuple[Case, str | None]:
    """Cast a vote as ``decide`` does; return the case after it, and the code when it was refused."""
    standing = judge(case)
    arguments = merge(case, standing, more.pop("edited")) if "edited" in more else None
    reason = more.pop("reason", "because I say so")
    voter, behalf = reviewer(who, *groups, unknown=more.pop("unknown", ())), more.pop("behalf", None)
    refusal = may_decide(case, voter, verdict, reason, behalf=behalf, arguments=arguments, **more)
    if refusal is not None:
        assert refusal.sentence
        return case, refusal.code
    cast = make_vote(case, voter, verdict, reason, behalf=behalf, arguments=arguments)
    return with_vote(case, cast), None


def one(case: Case, *pairs: Any) -> Case:
    """Return the case while these are one person, two and two."""
    return dataclasses.replace(case, same_person=frozenset(pairs))


def outcome(case: Case, *votes: Any) -> Standing:
    for who, *groups in votes:
        case, refused = vote(case, who, *groups)
        assert refused is None, (who, refused)
    return judge(case)


# -- quorum ----------------------------------------------------------------------------------------------------


def test_progress_is_told_in_words_on_the_way_to_the_quorum():
    case = case_of(**TWO_AND_ONE)
    assert str(judge(case)) == "0 of 2 sre, 0 of 1 owners"
    assert str(outcome(case, (A, SRE))) == "1 of 2 sre, 0 of 1 owners"
    assert str(outcome(case, (A, SRE), (B, OWN))) == "1 of 2 sre, 1 of 1 owners"
    done = outcome(case, (A, SRE), (B, OWN), (C, SRE))
    assert (done.outcome, done.by) == ("approved", (A, B, C))


def test_a5_somebody_in_two_groups_fills_one_place_and_two_such_people_do_not_make_three():
    case = case_of(**TWO_AND_ONE)
    assert outcome(case, (A, SRE, OWN), (B, SRE, OWN)).outcome == "open"
    assert outcome(case, (A, SRE, OWN), (B, SRE, OWN), (C, SRE)).outcome == "approved"
    assert outcome(case, (A, SRE, OWN), (B, SRE, OWN), (C, OWN)).outcome == "approved"


def test_whoever_fits_two_rules_makes_room_for_who_fits_one():
    case = case_of(require=[{"group": SRE}, {"group": OWN}])
    # A was counted for sre; B fits nothing else.
    assert outcome(case, (A, SRE, OWN), (B, SRE)).outcome == "approved"


def test_a_vote_that_fills_no_place_is_refused_and_not_lost():
    case, _ = vote(case_of(stages=[[{"group": SRE}, {"group": OWN}], [{"group": LEAD}]]), A, SRE)
    case, refused = vote(case, B, SRE, LEAD)
    assert refused == "NOT_NEEDED"
    case, _ = vote(case, C, OWN)
    assert vote(case, B, SRE, LEAD)[1] is None, "B's vote is there for the stage that needs it"


def test_a_second_vote_of_one_person_is_told_so():
    case, _ = vote(case_of(**TWO_AND_ONE), A, SRE)
    assert vote(case, A, SRE, OWN)[1] == "ALREADY_VOTED"
    assert vote(case, A, SRE, verdict="reject")[1] == "ALREADY_VOTED"


def test_who_acts_for_somebody_is_one_person_with_them():
    case = one(case_of(require=[{"group": SRE, "count": 2}]), (B, A), (C, B))
    case, _ = vote(case, A, SRE)
    assert vote(case, B, SRE)[1] == "ALREADY_VOTED"
    assert vote(case, C, SRE)[1] == "ALREADY_VOTED", "through B"
    assert vote(case, D, SRE)[1] is None
    assert vote(one(case, (D, REQ)), D, SRE)[1] == "SELF_APPROVAL"
    assert vote(one(case, (ALSO, E)), E, SRE)[1] == "SELF_APPROVAL"


def test_two_who_voted_before_they_became_one_are_the_two_that_they_were():
    case = case_of(require=[{"group": SRE, "count": 3}])
    for who in (A, B):
        case, _ = vote(case, who, SRE)
    assert str(judge(one(case, (A, B)))) == "2 of 3 G_SRE"
    assert vote(one(case, (A, C)), C, SRE)[1] == "ALREADY_VOTED", "who votes after that is one with A"


def test_two_who_were_one_when_the_first_voted_stay_so_for_that_request():
    case, _ = vote(one(case_of(require=[{"group": SRE, "count": 2}]), (A, B)), A, SRE)
    assert vote(one(case), B, SRE)[1] == "ALREADY_VOTED", "it ended before B's own vote"


def test_who_acts_for_somebody_fills_what_they_could_fill_and_says_so():
    case = one(case_of(**TWO_AND_ONE), (A, B))
    assert vote(case, B)[1] == "NOT_APPROVER"
    cast, refused = vote(case, B, behalf=reviewer(A, OWN))
    assert (refused, str(judge(cast))) == (None, "0 of 2 sre, 1 of 1 owners")
    (one_vote,) = cast.votes
    assert (one_vote.reviewer, one_vote.on_behalf_of, one_vote.one_with) == (B, A, {A})
    for who in (A, B):
        assert vote(one(cast), who, SRE, OWN)[1] == "ALREADY_VOTED", "also when it has ended"
    assert vote(one(case), B, behalf=reviewer(A))[1] == "NOT_APPROVER", "A is in no group any more"


@pytest.mark.parametrize(
    ("kind", "code"),
    [("deactivated", "NOT_APPROVER"), ("guest", "NOT_APPROVER"), ("unknown", "MEMBERSHIP_UNKNOWN")],
)
def test_nobody_acts_for_who_is_no_full_member_any_more(kind: Any, code: str):
    gone = dataclasses.replace(reviewer(A, SRE), kind=kind)
    assert vote(case_of(people=[A]), B, behalf=gone)[1] == code


def test_what_bars_one_of_the_two_bars_both_and_what_one_may_as_asker_only_they_may():
    case = case_of(people=[A, B, REQ])
    assert vote(case, REQ, behalf=reviewer(A))[1] == "SELF_APPROVAL"
    assert vote(case, B, behalf=reviewer(REQ))[1] == "SELF_APPROVAL"
    assert vote(one(case, (A, REQ)), A, verdict="withdraw")[1] == "NOT_ALLOWED", "A asked nothing"
    gone, refused = vote(one(case, (REQ, E)), E, behalf=reviewer(REQ), verdict="withdraw")
    assert (refused, judge(gone).outcome) == (None, "withdrawn")
    confirmed = case_of(require=[{"requester": True}])
    assert vote(one(confirmed, (A, REQ)), A)[1] == "SELF_APPROVAL"
    assert vote(one(confirmed, (REQ, E)), E, behalf=reviewer(REQ))[1] is None


# -- stages ----------------------------------------------------------------------------------------------------

STAGES = {"stages": [[{"name": "finance", "group": SRE}], [{"name": "leads", "group": LEAD}]]}


def test_stages_come_one_after_another():
    case = case_of(**STAGES)
    assert str(judge(case)) == "stage 1 of 2: 0 of 1 finance"
    assert vote(case, B, LEAD)[1] == "NOT_APPROVER", "not yet"
    case, _ = vote(case, A, SRE, LEAD)
    assert str(judge(case)) == "stage 2 of 2: 0 of 1 leads"
    assert vote(case, A, SRE, LEAD)[1] == "ALREADY_VOTED", "one person is not two stages"
    assert outcome(case, (B, LEAD)).outcome == "approved"


def test_somebody_of_a_later_stage_may_reject_at_once():
    case, refused = vote(case_of(**STAGES), B, LEAD, verdict="reject")
    assert (refused, judge(case).outcome) == (None, "rejected")


# -- no --------------------------------------------------------------------------------------------------------


def test_as_many_reject_as_the_policy_says_but_the_requester_alone():
    case = case_of(people=[A, B, C], veto={"deny": 2})
    case, _ = vote(case, A, verdict="reject")
    assert judge(case).outcome == "open"
    assert str(judge(case)) == "0 of 1 U_A or U_B or U_C; 1 of 2 rejections"
    twice, _ = vote(case, B, verdict="reject")
    assert (judge(twice).outcome, judge(twice).by) == ("rejected", (A, B))
    for party in (REQ, ALSO):
        alone, refused = vote(case, party, verdict="reject")
        assert (refused, judge(alone).outcome) == (None, "rejected")


def test_only_who_asked_may_withdraw():
    case = case_of(**TWO_AND_ONE)
    assert vote(case, A, SRE, verdict="withdraw")[1] == "NOT_ALLOWED"
    gone, refused = vote(case, REQ, verdict="withdraw", reason=None)
    assert (refused, judge(gone).outcome, judge(gone).by) == (None, "withdrawn", (REQ,))


def test_who_approved_their_own_request_may_still_take_it_back():
    case, _ = vote(case_of(**TWO_AND_ONE, self_approval="allow"), REQ, SRE)
    back, refused = vote(case, REQ, verdict="reject")
    assert (refused, judge(back).outcome) == (None, "rejected")


def test_an_answer_instead_is_no_approval():
    case = case_of(people=[A], decisions=["approve", "reject", "respond"])
    assert vote(case, A, verdict="respond", reason=" ")[1] == "REASON_REQUIRED"
    said, _ = vote(case, A, verdict="respond", reason="Use staging")
    assert judge(said).outcome == "responded"
    assert vote(case_of(people=[A]), A, verdict="respond")[1] == "UNKNOWN_ACTION"
    assert vote(case_of(people=[A], decisions=["approve"]), A, verdict="reject")[1] == "UNKNOWN_ACTION"


@pytest.mark.parametrize(
    ("rule", "reason", "code"),
    [
        ({"required": True, "min": 10}, "too short", "REASON_REQUIRED"),
        ({"required": True, "min": 10}, "  because   ", "REASON_REQUIRED"),
        ({"required": True, "min": 10}, "long enough", None),
        ({"required": False}, "", None),
        ("optional", None, None),
        ("required", " ", "REASON_REQUIRED"),
    ],
)
def test_a_reason_is_as_long_as_the_policy_says(rule: Any, reason: str | None, code: str | None):
    assert vote(case_of(people=[A], reject_reason=rule), A, verdict="reject", reason=reason)[1] == code


def test_a_confirmation_is_typed_as_it_stands():
    case = case_of({"service": "payments"}, people=[A], step_up={"type_to_confirm": "{service}"})
    assert vote(case, A)[1] == "INVALID_INPUT"
    assert vote(case, A, confirm="payment")[1] == "INVALID_INPUT"
    assert vote(case, A, confirm=" payments ")[1] is None
    assert vote(case, A, verdict="reject")[1] is None, "a no needs no confirmation"


def test_an_unknown_membership_is_no_vote_even_where_another_is_known():
    case = case_of(**TWO_AND_ONE)
    assert vote(case, A, unknown=[SRE])[1] == "MEMBERSHIP_UNKNOWN"
    case, _ = vote(case, A, SRE)
    case, _ = vote(case, B, SRE)
    assert vote(case, C, SRE, unknown=[OWN])[1] == "MEMBERSHIP_UNKNOWN"
    assert vote(case, C, SRE)[1] == "NOT_NEEDED"


def test_the_requester_confirms_where_a_rule_says_so_and_only_there():
    case = case_of(require=[{"requester": True}, {"group": SRE}])
    case, refused = vote(case, REQ, SRE)
    assert (refused, str(judge(case))) == (None, f"1 of 1 {REQ}, 0 of 1 {SRE}")
    assert vote(case_of(require=[{"group": SRE}]), REQ, SRE)[1] == "SELF_APPROVAL"


def test_the_words_of_a_policy_that_asked_nobody_are_none():
    auto = case_of(tiers={"auto": {"auto": True}})
    assert (judge(auto).outcome, str(judge(auto))) == ("open", "")
    assert vote(auto, A, SRE)[1] == "NOT_APPROVER"


# -- edits -----------------------------------------------------------------------------------------------------

REFUND: dict[str, Any] = {
    "tiers": {
        "block": {"when": "amount > 5000", "block": True},
        "auto": {"when": "amount <= 50", "auto": True},
        "one": {"when": "amount <= 500", "require": [{"group": SRE}]},
        "two": {"stages": [[{"group": SRE}], [{"group": LEAD}]]},
    },
    "decisions": ["approve", "edit", "reject"],
    "edit": {"fields": ["amount"]},
}


def refund(amount: Any, **more: Any) -> Case:
    return case_of({"amount": amount}, arguments={"amount": amount, "note": "x"}, **(REFUND | more))


def test_b4_an_edit_never_lowers_the_tier():
    case, refused = vote(refund(700), A, SRE, verdict="edit", edited={"amount": 400})
    assert (refused, str(judge(case))) == (None, "stage 2 of 2: 0 of 1 G_LEAD")
    done = outcome(case, (B, LEAD))
    assert (done.outcome, done.arguments, done.by) == ("edited", {"amount": 400, "note": "x"}, (A, B))


@pytest.mark.parametrize(
    ("amount", "edited", "code"),
    [
        (400, {"amount": 30}, None),  # a lower tier, by the rules of what was asked for
        (400, {"amount": 700}, "INVALID_INPUT"),  # would need the leads
        (700, {"amount": 9000}, "INVALID_INPUT"),  # would be blocked
        (700, {"amount": 700}, "INVALID_INPUT"),  # nothing changed
        (700, {"amount": "400"}, "INVALID_INPUT"),  # a text
        (700, {"amount": True}, "INVALID_INPUT"),
        (700, {"note": "y"}, "INVALID_INPUT"),  # not to be edited
        (700, {"other": 1}, "INVALID_INPUT"),
        (700, {}, "INVALID_INPUT"),
        (700, {"amount": Decimal("699.99")}, None),
    ],
)
def test_what_may_be_edited(amount: Any, edited: Any, code: str | None):
    assert vote(refund(amount), A, SRE, verdict="edit", edited=edited)[1] == code


def test_an_edit_under_a_tier_that_can_not_be_told_is_refused():
    tiers = {"one": {"when": "amount <= 500", "require": [{"group": SRE}]}}
    assert (
        vote(refund(400, tiers=tiers), A, SRE, verdict="edit", edited={"amount": 501})[1] == "INVALID_INPUT"
    )


def test_an_edit_voids_the_approvals_of_what_it_changed_and_who_gave_them_may_vote_again():
    case = case_of(
        require=[{"group": SRE, "count": 2}], decisions=["approve", "edit"], edit={"fields": ["amount"]}
    )
    case, _ = vote(case, A, SRE)
    case, refused = vote(case, B, SRE, verdict="edit", edited={"amount": 1})
    assert (refused, str(judge(case))) == (None, "1 of 2 G_SRE")
    assert judge(case).by == (B,)
    assert vote(case, B, SRE)[1] == "ALREADY_VOTED", "who edited has approved what came of it"
    done = outcome(case, (A, SRE))
    assert (done.outcome, done.arguments) == ("edited", {"amount": 1, "note": "x"})
    again, _ = vote(case, A, SRE, verdict="edit", edited={"amount": 2})
    assert (judge(again).outcome, judge(again).round) == ("open", 2)


def test_a_lead_who_edits_in_the_second_stage_is_counted_there_when_the_first_has_agreed():
    case, _ = vote(refund(700), A, SRE)
    case, _ = vote(case, B, LEAD, verdict="edit", edited={"amount": 600})
    assert str(judge(case)) == "stage 1 of 2: 0 of 1 G_SRE"
    assert outcome(case, (A, SRE)).outcome == "edited"


def test_a_plain_question_has_nothing_to_edit():
    case = refund(700)
    case = dataclasses.replace(case, request=dataclasses.replace(case.request, action=None))
    assert vote(case, A, SRE, verdict="edit", edited={"amount": 1})[1] == "INVALID_INPUT"


def test_covers_compares_rules_one_by_one():
    def terms(*rules: Any) -> Terms:
        return Terms(stages=(tuple(Rule.model_validate(rule) for rule in rules),))

    sre, own = {"group": SRE}, {"group": OWN}
    assert covers(terms({"group": SRE, "count": 2}, own), terms(sre))
    assert covers(terms(sre), Terms(do="approve"))
    assert not covers(terms(sre), terms(sre, own))
    assert not covers(terms(sre), terms({"group": SRE, "count": 2}))
    assert not covers(terms({"groups": [SRE, OWN]}), terms(sre)), "somebody of the other group would do"
    assert not covers(terms(sre), terms(sre, sre))


# -- what could never be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "members", "enough"),
    [
        ({"people": [A]}, None, True),
        ({"people": [REQ, ALSO]}, None, False),
        ({"people": [REQ, ALSO], "self_approval": "allow"}, None, True),
        ({"people": [REQ], "groups": [SRE]}, None, True),
        ({"require": [{"people": [A, B, REQ], "count": 3}]}, None, False),
        ({"require": [{"people": [A, B], "count": 2}, {"people": [A, B]}]}, None, False),
        ({"require": [{"people": [A, B], "count": 2}, {"people": [B, C]}]}, None, True),
        ({"stages": [[{"people": [A]}], [{"people": [A]}]]}, None, False),
        ({"require": [{"group": SRE, "count": 2}]}, {SRE: [A, REQ]}, False),
        ({"require": [{"group": SRE, "count": 2}]}, {SRE: [A, B, REQ]}, True),
        ({"require": [{"group": SRE, "count": 2}, {"group": OWN}]}, {SRE: [A, B], OWN: [A, B]}, False),
        ({"require": [{"group": SRE, "count": 2}, {"group": OWN}]}, {SRE: [A, B]}, True),
        ({"require": [{"requester": True}]}, None, True),
        ({"people": [REQ], "decisions": ["reject"]}, None, True),
    ],
)
def test_a_policy_that_nobody_could_satisfy_is_refused_with_the_reason(body: Any, members: Any, enough: Any):
    case = case_of(**body)
    if enough:
        check_satisfiable(case, members)
    else:
        with pytest.raises(PolicyError, match="could never be approved"):
            check_satisfiable(case, members)


def test_a_rule_for_the_requester_needs_one():
    case = case_of(require=[{"requester": True}])
    case = dataclasses.replace(case, request=dataclasses.replace(case.request, requester=None))
    with pytest.raises(PolicyError, match="the requester must approve, and only 0 could"):
        check_satisfiable(case)


# -- against every assignment there is -------------------------------------------------------------------------


def assignable(slots: Sequence[int], may: Sequence[frozenset[int]]) -> bool:
    """Say whether distinct people fill all slots, by trying every assignment."""
    people = range(len(may))
    return any(
        all(slot in may[who] for slot, who in zip(slots, chosen, strict=True))
        for chosen in itertools.permutations(people, len(slots))
    )


@given(st.lists(st.integers(1, 2), min_size=1, max_size=3), st.data())
@settings(max_examples=much(100, 300), deadline=None)
def test_the_matching_fills_all_places_exactly_when_some_assignment_does(counts: list[int], data: Any):
    rules = st.frozensets(st.integers(0, len(counts) - 1))
    may = data.draw(st.lists(rules, max_size=5))
    slots = [rule for rule, count in enumerate(counts) for _ in range(count)]
    filled = match(counts, may)
    people = [who for there in filled for who in there]
    assert len(set(people)) == len(people)
    assert all(rule in may[who] for rule, there in enumerate(filled) for who in there)
    assert all(len(there) <= count for there, count in zip(filled, counts, strict=True))
    assert (len(people) == len(slots)) is assignable(slots, may)


PEOPLE = [A, B, C, D, REQ, ALSO]
GROUPS = [SRE, OWN, LEAD]
WHO = st.sampled_from(
    [{"group": SRE}, {"group": OWN}, {"groups": [SRE, LEAD]}, {"people": [A, B]}, {"group": LEAD}]
)
RULES = st.builds(lambda who, count: {**who, "count": count}, WHO, st.integers(1, 2))
BODIES = st.one_of(
    st.lists(RULES, min_size=1, max_size=3).map(lambda rules: {"require": rules}),
    st.lists(st.lists(RULES, min_size=1, max_size=2), min_size=1, max_size=2).map(lambda s: {"stages": s}),
    st.just({"tiers": REFUND["tiers"]}),
)
#: Most people are in most groups: what is to be tried is not that somebody is in none.
IN = st.sampled_from([{SRE}, {OWN}, {SRE, OWN}, {SRE, LEAD}, {SRE, OWN, LEAD}, set[str]()])
MEMBERS = st.fixed_dictionaries(dict.fromkeys(PEOPLE, IN))
SOMEBODY = st.sampled_from(PEOPLE)
VOTE = st.tuples(st.just("vote"), SOMEBODY, st.just("approve"), st.just(0))
SCOPES = st.sampled_from([None, None, None, "p", "q"])
STEPS = st.one_of(
    VOTE,
    VOTE,
    st.tuples(
        st.just("vote"),
        SOMEBODY,
        st.sampled_from(["edit", "edit", "reject"]),
        st.sampled_from([30, 400, 700, 9_000]),
    ),
    st.tuples(st.just("delegate"), SOMEBODY, SOMEBODY, SCOPES),
    # One of two votes while the other is away, and the other afterwards.
    st.tuples(st.just("away and back"), SOMEBODY, SOMEBODY, st.booleans()),
    st.tuples(st.just("return"), SOMEBODY),
    st.tuples(st.just("join"), SOMEBODY, IN),
    st.tuples(st.just("wait"), st.integers(1, 40)),
)


def spelled(steps: Sequence[Any]) -> Iterator[Any]:
    for step in steps:
        if step[0] != "away and back":
            yield step
            continue
        _, who, to, first = step
        yield "delegate", who, to, None
        yield "vote", who if first else to, "approve", 0
        yield "return", who
        yield "vote", to if first else who, "approve", 0


def joined(person: str, ties: Collection[tuple[str, str]]) -> frozenset[str]:
    known = {person}
    for _ in PEOPLE:
        known |= {p for pair in ties if known & {*pair} for p in pair}
    return frozenset(known)


@dataclasses.dataclass
class Ballot:
    """A vote that was taken, and the world as it was then."""

    who: str
    whose: str
    verdict: str
    round: int
    groups: frozenset[str]
    #: Who acted for whom then, for this request.
    ties: frozenset[tuple[str, str]]

    def is_one_with(self, other: Ballot) -> bool:
        mine = {self.who, self.whose}
        return any(mine & joined(who, self.ties | other.ties) for who in (other.who, other.whose))


def sufficient(case: Case, terms: Terms, content: Mapping[str, Any], ballots: Sequence[Ballot]) -> bool:
    """Say by trying everything whether distinct people who may have approved exactly this content."""
    rules = [rule for stage in terms.stages for rule in stage]
    slots = [rule for rule in rules for _ in range(rule.count)]
    edits = [vote.arguments for vote in case.votes if vote.verdict == "edit"]
    present = edits[-1] if edits else case.request.action.arguments  # type: ignore[union-attr]
    current = [b for b in ballots if b.round == len(edits) and b.verdict != "reject"]

    def fits(ballot: Ballot, rule: Rule) -> bool:
        of_party = any({REQ, ALSO} & joined(who, ballot.ties) for who in (ballot.who, ballot.whose))
        if case.policy.self_approval == "forbid" and of_party:
            return False
        return ballot.whose in rule.people or bool(ballot.groups & {*rule.refs})

    return present == content and any(
        all(fits(ballot, rule) for ballot, rule in zip(chosen, slots, strict=True))
        and not any(a.is_one_with(b) for a, b in itertools.combinations(chosen, 2))
        for chosen in itertools.permutations(current, len(slots))
    )


class Absent:
    """Who is away, by the rules of delegations themselves; the model keeps its own account beside it."""

    def __init__(self) -> None:
        self.made: list[Delegation] = []

    def delegate(self, now: int, person: str, to: str, policy: str | None) -> None:
        new = Delegation(f"d{len(self.made)}", person, to, now, now + 60, policy)  # type: ignore[arg-type]
        alive = [one for one in self.made if one.revoked_at is None and one.until > now]
        if check_new(new, alive, now) is None:
            self.made.append(new)

    def back(self, now: int, person: str) -> None:
        self.made = [
            dataclasses.replace(one, revoked_at=now) if one.person == person and one.holds(now) else one
            for one in self.made
        ]

    def holding(self, now: int) -> tuple[Delegation, ...]:
        return in_force(one for one in self.made if one.holds(now) and one.policy in {None, "p"})

    def ties(self, now: int) -> frozenset[tuple[str, str]]:
        """Say it once more, without those rules: the narrowest of each person's that hold."""
        found: dict[str, tuple[bool, str]] = {}
        for one in self.made:
            open_ = one.revoked_at is None and one.since <= now < one.until
            if open_ and one.policy != "q" and not found.get(one.person, (False, ""))[0]:
                found[one.person] = (one.policy == "p", one.delegate)
        return frozenset((person, to) for person, (_, to) in found.items())


def cast(
    case: Case, who: str, verdict: Any, members: Mapping[str, Any], absent: Absent, now: int, amount: int
) -> tuple[Case, Ballot | None]:
    """Vote as ``decide`` does, with one's own place before those of others."""
    held = absent.holding(now)
    case = dataclasses.replace(case, same_person=pairs(held))
    more = {"edited": {"amount": amount}} if verdict == "edit" else {}
    places = [None, *(reviewer(one.person, *members[one.person]) for one in held_by(held, who))]  # type: ignore[arg-type]
    for behalf in places:
        after, refused = vote(case, who, *members[who], verdict=verdict, behalf=behalf, **more)
        if refused is None:
            whose = who if behalf is None else behalf.id
            round_ = after.votes[-1].round
            groups = frozenset(members[whose])
            return after, Ballot(who, whose, verdict, round_, groups, absent.ties(now))
    return case, None


@given(BODIES, st.sampled_from(["forbid", "allow"]), st.integers(1, 2), MEMBERS, st.lists(STEPS, max_size=12))
@settings(max_examples=much(150, 400), deadline=None)
def test_no_sequence_of_votes_delegations_edits_and_waiting_lets_an_insufficient_set_approve(
    body: Any, self_approval: str, deny: int, members: dict[str, set[str]], steps: list[Any]
):
    case = refund(
        700,
        tiers=body.get("tiers", {}),
        self_approval=self_approval,
        veto={"deny": deny},
        **{key: value for key, value in body.items() if key != "tiers"},
    )
    now, deadline, absent = 0, 100, Absent()
    ballots: list[Ballot] = []
    for step, *said in spelled(steps):
        if step == "wait":
            now += said[0]
        elif step == "delegate":
            absent.delegate(now, *said)
        elif step == "return":
            absent.back(now, said[0])
        elif step == "join":
            members = {**members, said[0]: said[1]}
        elif now < deadline:  # past it, check_open refuses: see its own table
            who, verdict, amount = said
            before = absent.ties(now)
            assert before == pairs(absent.holding(now))
            case, ballot = cast(case, who, verdict, members, absent, now, amount)
            if ballot is None:
                continue
            assert ballot.whose == who or (ballot.whose, who) in before, "nobody acts for who did not say so"
            barred = {REQ, ALSO} & (joined(who, ballot.ties) | joined(ballot.whose, ballot.ties))
            assert verdict == "reject" or self_approval == "allow" or not barred, (
                "who asked, or is one with them"
            )
            for earlier in ballots:
                if earlier.round == ballot.round and verdict != "reject":
                    assert not earlier.is_one_with(ballot), "two votes of one person"
            ballots.append(ballot)
            standing = judge(case)
            content = standing.arguments or case.request.action.arguments  # type: ignore[union-attr]
            if standing.outcome in {"approved", "edited"}:
                assert standing.rejections < deny
                assert sufficient(case, case.terms, content, ballots)
                # By the rules of what was asked for, and by those of what is carried out.
                needed = case.policy.choose({"amount": content["amount"]})
                assert needed.do != "reject"
                assert needed.do == "approve" or sufficient(case, needed, content, ballots)
                assert (standing.outcome == "edited") is (content["amount"] != 700 or standing.round > 0)
            elif standing.outcome == "open" and len(case.terms.stages) == 1:
                assert not sufficient(case, case.terms, content, ballots), "nobody is asked in vain"
            # Whoever goes or comes back afterwards, it stays as it was decided.
            later = dataclasses.replace(case, same_person=frozenset({(A, B), (B, C), (C, D)}))
            assert judge(later) == judge(dataclasses.replace(case, same_person=frozenset())) == standing
            if standing.outcome != "open":
                return
