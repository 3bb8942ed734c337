"""Are enough people there who may approve? Looked at before they are asked: a dead request helps nobody."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence

import structlog

from .errors import PolicyError
from .judging import Case, Directory, people_of
from .matching import match
from .policy import Rule
from .types import Actor, GroupId, PersonId

_log = structlog.get_logger("signoff.eligible")
#: For how long, and how many people at most, are looked up before a run may pause.
SECONDS, LOOKUPS = 2.0, 10


async def check_members(cases: Sequence[Case], directory: Directory) -> None:
    """Raise :class:`PolicyError` for a request that too few full members of its groups could approve.

    What cannot be learned in time is said in the log, and held against nobody: the request is opened, and
    whoever decides it is looked up then, failing closed.
    """
    looks, unsure = _Looks(directory), list(cases)
    try:
        async with asyncio.timeout(SECONDS):
            unsure = [case for case in cases if not await looks.enough(case)]
    except TimeoutError:
        pass
    for case in unsure:
        request = case.request
        _log.warning("approvers.unknown", run_id=request.run_id, policy=request.policy_name)


class _Looks:
    """The look-ups before one pause."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        #: Who was looked up, and whether they may be a full member.
        self._member: dict[PersonId, bool] = {}
        self._unknown: set[PersonId] = set()

    async def enough(self, case: Case) -> bool:
        """Say whether enough people are there for sure. Raises :class:`PolicyError` when they surely are not.

        Only those are looked up who would fill the places, and others only in place of who turns out to be a
        guest: in a group of people that is as many as the policy wants, whatever its size.
        """
        refs = case.terms.refs
        found = await asyncio.gather(*(self._directory.members(ref) for ref in refs))
        known = {ref: sorted(people) for ref, people in zip(refs, found, strict=True) if people is not None}
        while True:
            members = {
                # Who is known already comes first, so that few others are asked for.
                ref: sorted(filter(self._may_be, people), key=lambda one: one not in self._member)
                for ref, people in known.items()
            }
            seated = check_satisfiable(case, members)
            asked = [person for person in seated if person not in self._member]
            asked = asked[: LOOKUPS - len(self._member)]
            if not asked:
                sure = all(self._member.get(one) and one not in self._unknown for one in seated)
                return sure and len(known) == len(refs)
            are = await asyncio.gather(*(self._directory.reviewer(Actor(one), ()) for one in asked))
            for person, who in zip(asked, are, strict=True):
                self._member[person] = who.kind in {"member", "unknown"}
                if who.kind == "unknown":
                    self._unknown.add(person)

    def _may_be(self, person: PersonId) -> bool:
        return self._member.get(person, True)


def check_satisfiable(
    case: Case, members: Mapping[GroupId, Sequence[PersonId]] | None = None
) -> tuple[PersonId, ...]:
    """Raise :class:`PolicyError` when there are not enough distinct people left who may approve.

    A group, channel or schedule is as large as ``members`` says; one that it does not name may hold anybody.
    Returns those of ``members`` who would fill a place, the first that can: with the people whom the policy
    names, they are enough.
    """
    known = members or {}
    if not {"approve", "edit"} & {*case.policy.decisions}:
        return ()
    rules = [rule for stage in case.terms.stages for rule in stage]
    bounded = [rule for rule in rules if all(ref in known for ref in rule.refs)]
    places = sum(rule.count for rule in bounded)
    may: dict[PersonId, set[int]] = {}
    who: dict[PersonId, PersonId] = {}
    for number, rule in enumerate(bounded):
        # Of so many one is always left for this rule, whoever of them fills another.
        for person in itertools.islice(_could_fill(rule, case, known), places):
            one = case.one(person)
            may.setdefault(one, set()).add(number)
            who.setdefault(one, person)
    filled = match([rule.count for rule in bounded], list(may.values()))
    for rule, there in zip(bounded, filled, strict=True):
        if len(there) < rule.count:
            names = rule.name or " or ".join((*rule.refs, *rule.people)) or "the requester"
            raise PolicyError(
                f"nobody was asked: it could never be approved. {rule.count} of {names} must approve, and "
                f"only {len(there)} could: the requester and co-authors may not, nor guests and bots, and "
                "nobody counts twice; name another person or a group in the policy"
            )
    people = list(who.values())
    seated = ((rule, people[n]) for rule, there in zip(bounded, filled, strict=True) for n in there)
    return tuple(person for rule, person in seated if person not in people_of(rule, case))


def _could_fill(rule: Rule, case: Case, known: Mapping[GroupId, Sequence[PersonId]]) -> Iterator[PersonId]:
    """Yield who may fill a place of the rule, nobody twice, whoever acts for them."""
    named, seen = people_of(rule, case), set()
    grouped = (person for ref in rule.refs for person in known[ref])
    for person, groups in itertools.chain(
        ((one, ()) for one in named), ((one, rule.refs) for one in grouped)
    ):
        one = case.one(person)
        if one not in seen and case.may_fill(rule, person, groups):
            seen.add(one)
            yield person
