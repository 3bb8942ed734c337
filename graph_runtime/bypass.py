"""Who may let one approved request through a freeze, and what their consents come to. Pure.

A consent is for the freezes that held when it was given: one that begins later needs consents of its own. The
kill switch, a freeze of ``all``, is never passed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from .errors import Refused
from .judging import Case, check_kind
from .types import Action, PersonId, Reviewer

KILL_SWITCH = "all"


@dataclass(frozen=True, slots=True)
class Bypass:
    """One person's consent to carry one request out although one freeze holds."""

    scope: str
    #: When that freeze began.
    since: int
    person: PersonId
    on_behalf_of: PersonId | None = None
    #: Who counted as one person with them.
    one_with: frozenset[PersonId] = frozenset()
    reason: str | None = None
    needed: int = 1
    at: int = 0


def scopes_of(action: Action | None, graphs: Collection[str]) -> frozenset[str]:
    """Return what a freeze may be of that holds an action of one of these graphs up."""
    named = {f"action:{action.name}"} if action is not None else set()
    return frozenset({KILL_SWITCH, *(f"graph:{graph}" for graph in graphs), *named})


def holding(frozen: Mapping[str, int], given: Sequence[Bypass]) -> dict[str, int]:
    """Return, of the freezes that hold, those that not enough people let the request through."""
    return {
        scope: since
        for scope, since in frozen.items()
        if scope == KILL_SWITCH or not _passed(count_for(scope, since, given))
    }


def _passed(found: Sequence[Bypass]) -> bool:
    return bool(found) and len(found) >= max(one.needed for one in found)


def count_for(scope: str, since: int, given: Sequence[Bypass]) -> list[Bypass]:
    """Return the consents that are for this freeze."""
    return [one for one in given if (one.scope, one.since) == (scope, since)]


def progress(frozen: Mapping[str, int], given: Sequence[Bypass], fresh: Collection[str] = ()) -> int:
    """Return how many have let it through every freeze that holds; one more through those of ``fresh``."""
    return min((len(count_for(*one, given)) + (one[0] in fresh) for one in frozen.items()), default=0)


def may_bypass(
    case: Case,
    reviewer: Reviewer,
    reason: str | None,
    *,
    behalf: Reviewer | None = None,
    frozen: Mapping[str, int],
    given: Sequence[Bypass],
    used: bool,
) -> Refused | None:
    """Say why this person may not let the request through the freezes that hold; None when they may."""
    terms = case.policy.freeze_bypass
    if case.request.status not in {"approved", "edited"}:
        return Refused("NOT_PENDING", "Only what was approved can be let through. Nothing was recorded.")
    if used:
        return Refused("NOT_PENDING", "It was carried out already. Nothing was recorded.")
    if terms is None:
        return Refused("NOT_ALLOWED", "Its policy lets nobody past a freeze. Nothing was recorded.")
    if KILL_SWITCH in frozen:
        return Refused("FROZEN", "All is frozen, and nobody gets past that. Nothing was recorded.")
    if not frozen:
        return Refused("NOT_PENDING", "It is not frozen, so there is nothing to let it through.")
    case = joined(case.as_now(reviewer, behalf), given)
    holder = behalf or reviewer
    refusal = check_kind(reviewer, behalf)
    if refusal is not None:
        return refusal
    if terms.group not in holder.groups:
        if terms.group in holder.unknown:
            return Refused(
                "MEMBERSHIP_UNKNOWN",
                "It could not be checked whether you are in the group that may let it through. "
                "Nothing was recorded; try again in a minute.",
            )
        return Refused("NOT_APPROVER", "You are not among those who may let this through a freeze.")
    if case.is_party(reviewer.id):
        return Refused("SELF_APPROVAL", "You asked for this, so somebody else must let it through.")
    before = [one for one in given if case.one(one.person) == case.one(reviewer.id)]
    if not new_for(frozen, before):
        who = (
            "You have"
            if before[-1].person == reviewer.id
            else f"{before[-1].person}, who is one with you, has"
        )
        return Refused("ALREADY_VOTED", f"{who} consented already. Nothing more was recorded.")
    if terms.reason == "required" and not (reason or "").strip():
        return Refused("REASON_REQUIRED", "Say why it cannot wait. Nothing was recorded.")
    return None


def new_for(frozen: Mapping[str, int], before: Sequence[Bypass]) -> dict[str, int]:
    """Return the freezes that these consents are not for."""
    return {scope: since for scope, since in frozen.items() if not count_for(scope, since, before)}


def joined(case: Case, given: Sequence[Bypass]) -> Case:
    """Return the case with who counted as one person when the consents were given."""
    kept = {(one.person, other) for one in given for other in one.one_with}
    return replace(case, same_person=case.same_person | kept)
