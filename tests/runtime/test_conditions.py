"""Conditions of policies: CEL in which money is exact, and what is not known is no answer."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_runtime.conditions import ConditionError, check, holds

FIFTY = [50, "50", "50.00", 50.0, Decimal(50), Decimal("50.00"), Decimal("50.000")]
MORE = ["50.01", 50.01, Decimal("50.01"), Decimal("50.000000000000000000000000000000000000001")]


@pytest.mark.parametrize("amount", FIFTY, ids=repr)
@pytest.mark.parametrize(
    "text", ["amount <= 50", "amount <= 50.00", "amount == 50", "amount >= 5e1", "50 == amount"]
)
def test_fifty_is_fifty_however_it_is_written(text: str, amount: Any):
    assert holds(text, {"amount": amount})


@pytest.mark.parametrize("amount", MORE, ids=repr)
def test_a_little_more_than_fifty_is_more_than_fifty(amount: Any):
    assert not holds("amount <= 50", {"amount": amount})
    assert holds("amount > 50.00 && amount != 50", {"amount": amount})


@settings(deadline=None)
@given(
    st.decimals(min_value=-(10**30), max_value=10**30, places=2),
    st.decimals(min_value=-(10**30), max_value=10**30, places=2),
)
def test_sums_of_money_are_compared_exactly_as_decimals_and_as_texts(one: Decimal, other: Decimal):
    for facts in (
        {"a": one, "b": other},
        {"a": f"{one:f}", "b": f"{other:f}"},
        {"a": one, "b": f"{other:f}"},
    ):
        assert holds("a <= b", facts) is (one <= other)
        assert holds("a > b", facts) is (one > other)
        assert holds("decimal(a) + decimal(b) < decimal(a) - decimal(b)", facts) is (other < 0)
    assert holds("a == b", {"a": one, "b": f"{other:f}"}) is (one == other)


@settings(deadline=None)
@given(st.integers(-(10**40), 10**40), st.integers(-(10**40), 10**40))
def test_integers_of_any_size_are_exact(one: int, other: int):
    assert holds("a < b", {"a": one, "b": other}) is (one < other)
    assert holds("a == b", {"a": one, "b": other}) is (one == other)


@pytest.mark.parametrize(
    ("text", "facts", "expected"),
    [
        ('risk == "high"', {"risk": "high"}, True),
        ('risk != "high"', {"risk": "low"}, True),
        ('risk in ["high", "medium"]', {"risk": "low"}, False),
        ("amount in [50, 100]", {"amount": "50.00"}, True),
        ('risk == "high" || amount > 3', {"amount": 5}, True),
        ("amount > charge - refunded", {"amount": "5.01", "charge": 10, "refunded": Decimal("5.00")}, True),
        ("amount > charge - refunded", {"amount": "5.00", "charge": 10, "refunded": Decimal("5.00")}, False),
        ('facts["plan hash"] == "4f2"', {"plan hash": "4f2"}, True),
        (
            "plan.lines > 200 || size(plan.migrations) > 0",
            {"plan": {"lines": 3, "migrations": ["0001"]}},
            True,
        ),
        ("has(plan.owner)", {"plan": {}}, False),
        ("lines.all(n, n < 5) && lines[0] == 1 && lines == [1, 2]", {"lines": [1, 2]}, True),
        ('"a" in plan', {"plan": {"a": 1}}, True),
        ('service.startsWith("pay") && service.matches("^pay")', {"service": "payments"}, True),
        ("urgent", {"urgent": True}, True),
        ("!urgent && urgent == false", {"urgent": False}, True),
        ("owner == null", {"owner": None}, True),
        ("owner == null", {"owner": "U1"}, False),
        ("0x10 == 16 && 16u == 16", {}, True),
        ("1 / 3 < 0.34 && 7 % 2 == 1 && 2 * 3 == 6 && -amount < 0", {"amount": 1}, True),
        ('"a" + "b" == "ab" && [1] + [2] == [1, 2]', {}, True),
        (
            'string(amount) == "50.00" && int(amount) == 50 && double(amount) == 50',
            {"amount": Decimal("50.00")},
            True,
        ),
        ('duration("1h") < duration("2h")', {}, True),
        ('at > timestamp("2026-01-01T00:00:00Z")', {"at": dt.datetime(2026, 2, 1, tzinfo=dt.UTC)}, True),
        ('day == "2026-02-01"', {"day": dt.date(2026, 2, 1)}, True),
    ],
)
def test_conditions_say_what_they_say(text: str, facts: dict[str, Any], expected: Any):
    assert holds(check(text), facts) is expected


@pytest.mark.parametrize(
    ("text", "facts", "words"),
    [
        ('risk == "high"', {}, "there is no fact 'risk'"),
        ("plan.lines > 3", {"plan": {}}, "no such member"),
        ("risk == 3", {"risk": "high"}, "of two kinds"),
        ("risk > 3", {"risk": "high"}, "no order"),
        ("amount < 3", {"amount": None}, "no order"),
        ("amount < 3", {"amount": True}, "no order"),
        ("amount < 3", {"amount": float("nan")}, "no order"),
        ("amount < 3", {"amount": float("inf")}, "no order"),
        ("a < b", {"a": "9", "b": "ten"}, "no order"),
        ("a + b < 60", {"a": "10", "b": "5"}, "decimal"),
        ("a - b < 60", {"a": "x", "b": "5"}, "no sum"),
        ("decimal(a) < 60", {"a": "x"}, "no decimal number"),
        ('risk in ["high"]', {"risk": 3}, "another kind"),
        ("1 in amount", {"amount": 3}, "has nothing in it"),
        ("lines[2] == 1", {"lines": [1]}, "no place"),
        ("amount / 0 < 1", {"amount": 3}, "cannot be reckoned"),
        ("amount", {"amount": 3}, "no question"),
    ],
)
def test_what_is_not_known_is_never_a_yes(text: str, facts: dict[str, Any], words: str):
    with pytest.raises(ConditionError, match=words) as raised:
        holds(text, facts)
    assert text in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("amount = 50", "column 8"),
        ("amount <= ", "cannot be read"),
        ("import os", "cannot be read"),
        ('exec("x")', "no function 'exec'"),
        ("amount.bit_length()", "no function 'bit_length'"),
        ("a" * 1_001, "1,000 characters"),
    ],
)
def test_what_is_no_condition_is_refused_when_it_is_read(text: str, words: str):
    with pytest.raises(ConditionError, match=words):
        check(text)


def test_a_condition_nested_past_all_reason_is_no_answer():
    with pytest.raises(ConditionError, match="RecursionError"):
        holds("(" * 490 + "true" + ")" * 490, {})


def test_a_fact_cannot_take_the_name_of_a_function_or_hide_the_facts():
    assert holds("size([1]) == 1", {"size": 7})
    assert holds('facts["a"] == 1', {"facts": {"a": 2}, "a": 1})
