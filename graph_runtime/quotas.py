"""How much a tier has approved by itself: counted where it approves, in the same commit.

A count is a row that is written only as it was read. Of two that approve at once one reads again: no limit is
passed, however many processes there are, and nothing that was pruned is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from .clock import SECOND
from .judging import Case
from .plainjson import write_json
from .policy import Limit, Terms
from .storage import Ask, Do, Params, Row, Store

#: What one count may come to in digits; a number that is longer is no sum of money.
_DIGITS = 40


@dataclass(frozen=True, slots=True)
class _Use:
    """What one request takes of one limit."""

    name: str
    most: Decimal
    amount: Decimal
    #: When the time that is counted in began.
    since: int


async def take(store: Store, case: Case, now: int) -> tuple[Do, ...] | None:
    """Return what counts the request against the limits of its tier; None where it would pass one of them.

    What cannot be counted, such as a sum of what is no number, passes the limit too.
    """
    uses: list[_Use] = []
    for number, limit in enumerate(case.policy.limits_of(case.terms)):
        use = _use(case, number, limit, now)
        if use is None:
            return None
        uses.append(use)
    found = await store.read(*(Ask("get_quota", {"name": use.name}) for use in uses)) if uses else ()
    writes = []
    for use, rows in zip(uses, found, strict=True):
        was: Row = rows[0] if rows else {"since": 0, "used": ""}
        # Where a clock was set back, the later time counts on.
        begun = was["since"] >= use.since
        used = (Decimal(was["used"]) if begun and rows else Decimal(0)) + use.amount
        if used > use.most:
            return None
        count: Params = {
            "name": use.name,
            "since": was["since"] if begun else use.since,
            "used": str(used),
            "was_since": was["since"],
            "was_used": was["used"],
        }
        writes.append(Do("take_quota", count, guard="count is as it was"))
    return tuple(writes)


def next_terms(case: Case) -> Terms:
    """Return what the policy comes to without the tier that was taken, and without those before it.

    Raises :class:`PolicyError` when no other tier or rule applies.
    """
    names = [tier.name for tier in case.policy.tiers]
    passed = names[: names.index(str(case.terms.tier)) + 1]
    action = case.request.action
    terms = case.policy.choose(
        case.request.facts, None if action is None else action.arguments, without=passed
    )
    return terms.model_copy(update={"neighbour": case.terms.neighbour})


def _use(case: Case, number: int, limit: Limit, now: int) -> _Use | None:
    requester = case.request.requester
    if limit.by == "requester" and requester is None:
        return None
    amount = Decimal(1) if limit.of is None else _amount(case, limit.of)
    if amount is None:
        return None
    # By name, whoever acts for them: who counts as one person with them is theirs to change.
    whose = requester if limit.by == "requester" else None
    said = [case.request.policy_name, case.terms.tier, number, limit.per, limit.of, limit.by, whose]
    per = limit.per * SECOND
    return _Use(write_json(said), limit.most, amount, now - now % per)


def _amount(case: Case, name: str) -> Decimal | None:
    """Return the number of that name; None where there is none, or one below zero."""
    action = case.request.action
    args: Mapping[str, Any] = {} if action is None else action.arguments
    place = name.removeprefix("args.")
    said = args.get(place) if name.startswith("args.") else case.request.facts.get(name)
    if isinstance(said, bool) or not isinstance(said, int | float | str | Decimal):
        return None
    try:
        found = Decimal(str(said))
    except InvalidOperation:
        return None
    plain = found.is_finite() and found >= 0 and len(f"{found:f}") <= _DIGITS
    return found if plain else None
