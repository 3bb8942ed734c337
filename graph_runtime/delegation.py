"""Who acts for whom: delegations as data, which of them hold for a request, and which may be made. Pure.

A delegate may fill what the other could fill, and no more: what somebody holds for another is not passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .clock import SECOND
from .errors import Refused
from .types import DelegationId, PersonId, RefusalCode, RequestId, Reviewer

#: The longest that somebody may be away.
LONGEST_DAYS = 90
_LONGEST = LONGEST_DAYS * 86_400 * SECOND


@dataclass(frozen=True, slots=True)
class Delegation:
    """From ``since`` on and before ``until``, ``delegate`` may decide in the place of ``person``."""

    id: DelegationId
    person: PersonId
    delegate: PersonId
    since: int
    until: int
    #: Only requests of this policy; of a reassignment, that of its request.
    policy: str | None = None
    #: Only this request: the place in it was given away.
    request_id: RequestId | None = None
    reason: str | None = None
    #: Who made it: the person, or an operator.
    made_by: str = ""
    made_at: int = 0
    revoked_at: int | None = None

    def holds(self, now: int) -> bool:
        """Say whether it is in force."""
        return self.revoked_at is None and self.since <= now < self.until

    @property
    def scope(self) -> tuple[str | None, RequestId | None]:
        """What it is for."""
        return self.policy, self.request_id

    def meets(self, other: Delegation) -> bool:
        """Say whether there may be a request and a moment for which both hold."""
        if self.since >= other.until or other.since >= self.until:
            return False
        return all(
            one is None or another is None or one == another
            for one, another in zip(self.scope, other.scope, strict=True)
        )


def in_force(found: Iterable[Delegation]) -> tuple[Delegation, ...]:
    """Return those that count for one request, of all that hold for it: one for each person, the narrowest.

    So nobody can make others one person by delegating to several of them.
    """
    chosen: dict[PersonId, Delegation] = {}
    for one in found:
        there = chosen.get(one.person)
        if there is None or _width(one) < _width(there):
            chosen[one.person] = one
    return tuple(chosen.values())


def _width(one: Delegation) -> tuple[bool, bool]:
    return one.request_id is None, one.policy is None


def pairs(held: Iterable[Delegation]) -> frozenset[tuple[PersonId, PersonId]]:
    """Return who is one person with whom by these delegations."""
    return frozenset((one.person, one.delegate) for one in held)


def held_by(held: Iterable[Delegation], who: PersonId) -> tuple[Delegation, ...]:
    """Return the delegations by which this person may act for others."""
    return tuple(one for one in held if one.delegate == who)


#: What refuses somebody for themselves, and not for another.
OWN_IS_NOT_ENOUGH: frozenset[RefusalCode] = frozenset(
    {"NOT_APPROVER", "NOT_NEEDED", "MEMBERSHIP_UNKNOWN", "NOT_ALLOWED", "SELF_APPROVAL"}
)


def choose_place(
    own: Refused | None,
    places: Iterable[Reviewer],
    allowed: Callable[[Reviewer], Refused | None],
) -> tuple[Reviewer | None, Refused | None]:
    """Return in whose place somebody acts who is refused for themselves, and why they are refused there.

    Their own place comes first. Where none will do, what is said is what was said of their own, unless that
    is only that they have none.
    """
    if own is None or own.code not in OWN_IS_NOT_ENOUGH:
        return None, own
    said = own
    for place in places:
        refusal = allowed(place)
        if refusal is None or refusal.code not in OWN_IS_NOT_ENOUGH:
            return place, refusal
        if said.code in {"NOT_APPROVER", "NOT_ALLOWED"}:
            said = refusal
    return None, said


def check_new(new: Delegation, others: Sequence[Delegation], now: int) -> Refused | None:
    """Say why this delegation may not be made beside those that hold or will; None when it may."""
    if new.person == new.delegate:
        return _refused("nobody delegates to themself")
    if new.until <= max(now, new.since):
        return _refused("it would be over before it began")
    if new.until - new.since > _LONGEST:
        return _refused(f"it lasts {LONGEST_DAYS} days at most")
    met = [one for one in others if one.meets(new)]
    for one in met:
        if one.person == new.person and one.scope == new.scope:
            return _refused(f"{one.id} is for the same at the same time; end it first")
    reached, grown = {new.delegate}, True
    while grown:
        more = {one.delegate for one in met if one.person in reached} - reached
        reached |= more
        grown = bool(more)
    if new.person in reached:
        return _refused("they act for each other then, and nobody would be there")
    return None


def _refused(why: str) -> Refused:
    return Refused("INVALID_INPUT", f"nothing was delegated: {why}")
