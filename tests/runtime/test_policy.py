"""Policies as data: what they may say, what they come to for some facts, and what is refused at the door."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from graph_runtime import Policy, PolicyError, read_policies
from graph_runtime.policy import Terms

SECOND = 1_000_000
MONDAY = 1_767_603_600_000_000  # 09:00 UTC
CALENDARS = {"office": {"tz": "Europe/Berlin", "holidays": ["2026-01-06"]}}
REFUND = {
    "tiers": {
        "block": {"when": "fraud >= 0.9", "block": True},
        "auto": {"when": "amount <= 50 && fraud < 0.3", "auto": True},
        "one": {"when": "amount <= 500", "require": [{"group": "G_FIN"}]},
        "two": {"stages": [[{"group": "G_FIN"}], [{"group": "G_LEADS"}]]},
    }
}


def one(**body: Any) -> Policy:
    return read_policies({"p": body}, CALENDARS)["p"]


def faults(*, calendars: Any = None, **bodies: Any) -> str:
    with pytest.raises(PolicyError) as raised:
        read_policies(bodies, CALENDARS if calendars is None else calendars)
    return str(raised.value)


def test_the_short_form_is_one_rule_of_one_person():
    terms = one(people=["U1"], groups=["G1"]).choose({})
    ((rule,),) = terms.stages
    assert (rule.people, rule.refs, rule.count, terms.tier, terms.do) == (("U1",), ("G1",), 1, None, "ask")


@pytest.mark.parametrize(
    ("amount", "fraud", "tier", "do"),
    [
        ("49.99", 0.1, "auto", "approve"),
        (Decimal("50.00"), 0, "auto", "approve"),
        ("50.01", 0, "one", "ask"),
        (10, 0.3, "one", "ask"),
        (500, 0, "one", "ask"),
        (Decimal("500.01"), 0, "two", "ask"),
        (10, "0.90", "block", "reject"),
    ],
)
def test_the_first_tier_whose_condition_holds_is_taken(amount: Any, fraud: Any, tier: str, do: str):
    terms = one(**REFUND).choose({"amount": amount, "fraud": fraud})
    assert (terms.tier, terms.do) == (tier, do)


def test_without_a_tier_that_holds_or_a_fact_that_is_asked_nobody_is_asked():
    policy = one(
        tiers={"low": {"when": "amount < 5", "auto": True}, "mid": {"when": "amount < 9", "people": ["U1"]}}
    )
    with pytest.raises(PolicyError, match="none of the tiers low, mid applies"):
        policy.choose({"amount": 9})
    with pytest.raises(PolicyError, match="no fact 'amount'"):
        policy.choose({})


def test_a_rule_is_left_out_where_its_condition_does_not_hold():
    policy = one(require=[{"group": "G_SRE", "count": 2}, {"group": "G_OWN", "when": 'risk == "high"'}])
    assert [rule.group for rule in policy.choose({"risk": "high"}).stages[0]] == ["G_SRE", "G_OWN"]
    assert [rule.group for rule in policy.choose({"risk": "low"}).stages[0]] == ["G_SRE"]
    only = one(stages=[[{"group": "G_OWN", "when": "risk > 3"}]])
    with pytest.raises(PolicyError, match="no rule of the policy applies"):
        only.choose({"risk": 3})


def test_channels_and_schedules_are_asked_of_the_directory_by_their_kind():
    policy = one(require=[{"channel": "C1", "on_call": "sre-primary", "group": "G1", "groups": ["G1", "G2"]}])
    assert policy.choose({}).refs == ("G1", "G2", "channel:C1", "oncall:sre-primary")


def test_a_policy_and_its_terms_come_back_from_json_as_they_were():
    policy = one(
        **REFUND,
        deadline={"after": "1d", "business_hours": "office"},
        windows=["office", {"tz": "UTC", "days": "sat", "from": "22:00", "to": "02:00"}],
        remind=["50%", "4h before"],
        escalate={"after": "2h", "to": "oncall:sre", "notify": "C_LEADS"},
        on_timeout="rollback",
        freeze_bypass={"group": "G_LEADS", "count": 2},
        reject_reason={"required": True, "min": 10},
        decisions=["approve", "edit", "reject"],
        edit={"fields": ["amount"]},
        step_up={"when": "amount > 100", "type_to_confirm": "{customer}"},
        veto={"deny": 2},
        recheck_members=True,
    )
    assert Policy.model_validate_json(policy.model_dump_json(exclude_none=True)) == policy
    terms = policy.choose({"amount": 700, "fraud": 0}, {"customer": "8841"})
    assert terms.confirm == "8841"
    assert Terms.model_validate_json(terms.model_dump_json(exclude_none=True)) == terms


def at(text: str) -> int:
    return (
        round(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()) * SECOND
    )


def test_a_deadline_in_business_hours_stands_over_nights_and_holidays():
    policy = one(people=["U1"], deadline={"after": "1d 2h", "business_hours": "office"})
    # Monday evening begins on Wednesday, because Tuesday is a holiday; a day on is Thursday.
    assert policy.deadline_at(at("2026-01-05 18:00")) == at("2026-01-08 11:00")
    assert one(people=["U1"], deadline="4h").deadline_at(MONDAY) == MONDAY + 4 * 3_600 * SECOND
    assert one(people=["U1"]).deadline_at(MONDAY) is None


def test_reminders_are_parts_of_the_time_or_a_time_before_its_end():
    policy = one(people=["U1"], deadline="4h", remind=["85%", "50%", "1h before", "5h before"])
    hour = 3_600 * SECOND
    moments = policy.remind_at(MONDAY, policy.deadline_at(MONDAY))
    assert [(moment - MONDAY) / hour for moment in moments] == [2, 3, 3.4]
    assert one(people=["U1"]).remind_at(MONDAY, None) == ()


def test_windows_say_from_when_on_it_may_be_carried_out():
    policy = one(
        people=["U1"], windows=[{"tz": "Europe/Berlin", "days": "mon-thu", "from": "09:30", "to": "16:00"}]
    )
    assert policy.opens_at(at("2026-01-08 16:10")) == at("2026-01-12 09:30")
    assert one(people=["U1"]).opens_at(MONDAY) is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "'p': nobody may decide"),
        ({"people": ["U1"], "require": [{"people": ["U2"]}]}, "say once who decides"),
        ({"people": ["U1"], "tiers": REFUND["tiers"]}, "say once who decides"),
        ({"require": [{}]}, "'p'.require.0: nobody could fill it"),
        ({"require": [{"people": [" "]}]}, "'p'.require.0.people.0: "),
        ({"require": [{"people": ["U1", "U1"], "count": 2}]}, "needs 2 of 1 people"),
        ({"require": [{"group": "G1", "count": 0}]}, "'p'.require.0.count: "),
        ({"require": [{"group": "G1", "when": "risk = 3"}]}, "'p'.require.0.when: "),
        ({"require": [{"group": "G1", "when": 3}]}, "'p'.require.0.when: "),
        ({"require": [{"group": "G1", "cuont": 2}]}, "'p'.require.0.cuont: "),
        ({"require": [{"requester": True, "people": ["U1"]}]}, "stands alone"),
        ({"stages": [[]]}, "'p'.stages.0: "),
        ({"tiers": {"a": {"people": ["U1"]}, "b": {"auto": True}}}, "none after it is ever taken"),
        ({"tiers": {"a": {"auto": True, "block": True}}}, "exactly one of"),
        ({"tiers": {"a": {}}}, "exactly one of"),
        ({"tiers": [{"name": "a", "when": "x", "auto": True}, {"name": "a", "auto": True}]}, "the same name"),
        ({"tiers": {"a": 3}}, "'p'.tiers.0: "),
        ({"people": ["U1"], "veto": {"deny": 0}}, "'p'.veto.deny: "),
        ({"people": ["U1"], "self_approval": "perhaps"}, "'p'.self_approval: "),
        ({"people": ["U1"], "external_users": "allow"}, "'p'.external_users: "),
        ({"people": ["U1"], "reject_reason": {"min": 0}}, "'p'.reject_reason.min: "),
        ({"people": ["U1"], "reject_reason": "often"}, "'p'.reject_reason: "),
        ({"people": ["U1"], "decisions": []}, "'p'.decisions: "),
        ({"people": ["U1"], "decisions": ["approve", "withdraw"]}, "'p'.decisions.1: "),
        ({"people": ["U1"], "decisions": ["approve", "edit"]}, "an edit needs both"),
        ({"people": ["U1"], "edit": {"fields": ["amount"]}}, "an edit needs both"),
        ({"people": ["U1"], "deadline": "1 week"}, "'p'.deadline: "),
        (
            {"people": ["U1"], "deadline": {"after": "0h", "business_hours": "office"}},
            "no time that a question",
        ),
        ({"people": ["U1"], "deadline": {"after": "soon", "business_hours": "office"}}, "no duration"),
        ({"people": ["U1"], "deadline": {"after": "1d", "business_hours": "shop"}}, "no calendar 'shop'"),
        ({"people": ["U1"], "deadline": {"after": "1d"}}, "'p'.deadline.business_hours: "),
        ({"people": ["U1"], "windows": ["shop"]}, "no calendar 'shop'"),
        ({"people": ["U1"], "remind": ["50%"]}, "no deadline to remind of"),
        ({"people": ["U1"], "deadline": "4h", "remind": ["100%"]}, "'p'.remind.0: "),
        ({"people": ["U1"], "deadline": "4h", "remind": ["soon before"]}, "'p'.remind.0: "),
        ({"people": ["U1"], "on_timeout": "approve"}, "a deadline never approves"),
        ({"people": ["U1"], "on_timeout": "Approved"}, "a deadline never approves"),
        ({"people": ["U1"], "step_up": {"type_to_confirm": ""}}, "'p'.step_up.type_to_confirm: "),
        ("U1", "'p': "),
    ],
)
def test_a_policy_that_is_broken_is_refused_and_says_where(body: Any, words: str):
    assert words in faults(p=body)


def test_every_fault_of_every_policy_and_calendar_is_named_at_once():
    said = faults(
        calendars={"office": {"tz": "Nowhere"}},
        first={
            "people": ["U1"],
            "deadline": {"after": "1d", "business_hours": "office"},
            "veto": {"deny": 0},
        },
        second={"require": [{"group": "G1", "count": 0}, {"when": "x"}]},
        third=Policy(people=("U1",)),  # type: ignore[arg-type]
    )
    for part in (
        "calendar 'office'.tz",
        "'first'.veto.deny",
        "'second'.require.0.count",
        "'second'.require.1:",
    ):
        assert part in said
    assert "third" not in said and "no calendar" not in said


@pytest.mark.parametrize("template", ["{owner}", "{}", " {blank} "])
def test_a_confirmation_that_names_nothing_asks_nobody(template: str):
    policy = one(people=["U1"], step_up={"type_to_confirm": template})
    with (
        pytest.raises(PolicyError, match="nobody was asked")
        if template != "{}"
        else pytest.raises(AssertionError)
    ):
        assert policy.choose({"blank": " "}).confirm != "{}"


def test_a_confirmation_is_only_asked_for_where_its_condition_holds():
    policy = one(people=["U1"], step_up={"when": 'risk == "high"', "type_to_confirm": "{service} to prod"})
    assert policy.choose({"risk": "high"}, {"service": "payments"}).confirm == "payments to prod"
    assert policy.choose({"risk": "low"}).confirm is None
