"""Who may vote, and what the votes make of a request. Pure: no await, no clock, no chance.

A request is approved when every place of every rule of every stage is filled by somebody else. Who fills
which is not told by the first rule that fits but by a matching: no vote is lost to the order of the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from .errors import PolicyError, Refused
from .matching import match
from .policy import Policy, Rule, Terms
from .types import (
    Action,
    Actor,
    ApprovalRequest,
    DelegationId,
    GroupId,
    PersonId,
    RequestStatus,
    Reviewer,
    Verdict,
    Vote,
)
from .values import Codec

_plain = Codec()
#: Whose place another may fill, and whose. The two, and whoever is one with either, count as one person.
SamePerson = frozenset[tuple[PersonId, PersonId]]
_YES: frozenset[Verdict] = frozenset({"approve", "edit"})


class Directory(Protocol):
    """Knows people and groups; the runtime only knows their ids."""

    async def reviewer(self, actor: Actor, groups: Collection[GroupId]) -> Reviewer:
        """Return who this is now, with those of ``groups`` they are in.

        What cannot be learned is said in the result (``kind="unknown"``, ``unknown`` groups), never guessed.
        """

    async def members(self, group: GroupId) -> Collection[PersonId] | None:
        """Return everybody who is in the group, guests and bots included; None when it cannot be learned."""


@dataclass(frozen=True, slots=True)
class Seat:
    """How far one rule of a stage is filled."""

    #: What the policy calls those who may fill it; empty where it names them by their ids alone.
    name: str
    filled: int
    count: int
    people: tuple[PersonId, ...] = ()
    groups: tuple[GroupId, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """What the votes make of a request: its outcome, and what an open one still lacks."""

    outcome: RequestStatus
    #: The rules of the present stage.
    seats: tuple[Seat, ...] = ()
    stage: int = 0
    stages: int = 1
    rejections: int = 0
    veto: int = 1
    #: Whose votes count for the outcome; for an open one, for the present stage.
    by: tuple[PersonId, ...] = ()
    #: How often the action was edited.
    round: int = 0
    #: The action's arguments as they stand, when they were edited.
    arguments: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        """Return it like ``1 of 2 sre, 0 of 1 owners``."""
        return self.words(str)

    def words(self, show: Callable[[str], str]) -> str:
        """Return it in words, with each person and group as ``show`` shows them."""
        said = [f"stage {self.stage + 1} of {self.stages}: "] if self.stages > 1 else []
        seats = (
            f"{seat.filled} of {seat.count} "
            + (seat.name or " or ".join(map(show, (*seat.groups, *seat.people))))
            for seat in self.seats
        )
        said.append(", ".join(seats))
        if self.rejections:
            said.append(f"; {self.rejections} of {self.veto} rejections")
        return "".join(said)


@dataclass(frozen=True, slots=True)
class Case:
    """A request with all that a judgment of it rests on."""

    request: ApprovalRequest
    policy: Policy
    terms: Terms
    votes: tuple[Vote, ...] = ()
    #: Who is one person now. Votes keep who was when they were cast, and are judged by that.
    same_person: SamePerson = frozenset()

    @classmethod
    def of(
        cls, request: ApprovalRequest, votes: Sequence[Vote] = (), same_person: SamePerson | None = None
    ) -> Case:
        """Return the case of a request as it lies in the store."""
        policy = Policy.model_validate(request.policy)
        kept = request.terms
        terms = policy.choose(request.facts) if kept is None else Terms.model_validate(kept)
        return cls(request, policy, terms, tuple(votes), same_person or frozenset())

    @property
    def as_cast(self) -> Case:
        """The case as its votes were cast: who is one person by what was so at each of them."""
        kept = {(vote.reviewer, other) for vote in self.votes for other in (*vote.one_with, vote.holder)}
        return replace(self, same_person=frozenset(pair for pair in kept if pair[0] != pair[1]))

    def as_now(self, reviewer: Reviewer, behalf: Reviewer | None = None) -> Case:
        """Return the case for who decides now: who was one at a vote still is, and who is now."""
        acting = {(behalf.id, reviewer.id)} if behalf is not None else set()
        return replace(self, same_person=self.as_cast.same_person | self.same_person | acting)

    def one(self, person: PersonId) -> PersonId:
        """Return the one person who this is, whoever acts for them."""
        return _one(person, self.same_person)

    def has_asked(self, person: PersonId) -> bool:
        """Say whether this is the requester or a co-author."""
        return person in {self.request.requester, *self.request.also}

    def is_party(self, person: PersonId) -> bool:
        """Say whether this is the requester or a co-author, or acts for one, or one acts for them."""
        parties = {self.one(party) for party in (self.request.requester, *self.request.also) if party}
        return self.one(person) in parties

    def may_fill(self, rule: Rule, person: PersonId, groups: Collection[GroupId]) -> bool:
        """Say whether this person, in these groups, may fill a place of the rule."""
        if rule.requester:
            return person == self.request.requester
        if self.policy.self_approval == "forbid" and self.is_party(person):
            return False
        return person in rule.people or not frozenset(groups).isdisjoint(rule.refs)


def _one(person: PersonId, same: SamePerson) -> PersonId:
    """Return the first by name of all who are one person with this one."""
    return min(_all_one(person, same)) if same else person


def _all_one(person: PersonId, same: SamePerson) -> set[PersonId]:
    known, grown = {person}, True
    while grown:
        found = {p for pair in same if not known.isdisjoint(pair) for p in pair}
        grown = not found <= known
        known |= found
    return known


def bound_digest(request: ApprovalRequest, arguments: Mapping[str, Any] | None) -> str:
    """Return what a vote is bound to: the action as it was asked, or as an edit left it."""
    if arguments is None or request.action is None:
        return request.digest
    return _plain.digest({"action": Action(request.action.name, arguments), "facts": request.facts})


def judge(case: Case) -> Standing:
    """Return what the votes make of the request. Only votes of people who might cast them count."""
    case = case.as_cast
    votes = _last_votes(case)
    edits = [vote for vote in case.votes if vote.verdict == "edit"]
    edited = edits[-1].arguments if edits else None
    current = max((vote.round for vote in case.votes), default=0)
    rejected = [vote for vote in votes if vote.verdict == "reject"]

    def standing(outcome: RequestStatus, by: Sequence[Vote], **more: Any) -> Standing:
        return Standing(
            outcome,
            rejections=len(rejected),
            veto=case.policy.veto.deny,
            by=tuple(vote.reviewer for vote in by),
            round=current,
            arguments=edited,
            **more,
        )

    for verdict, outcome in _AT_ONCE.items():
        said = [vote for vote in votes if vote.verdict == verdict]
        if said:
            return standing(outcome, said)
    if len(rejected) >= case.policy.veto.deny or any(case.has_asked(vote.holder) for vote in rejected):
        return standing("rejected", rejected)
    for number, stage in enumerate(case.terms.stages):
        voters, filled = _seated(case, votes, stage, number, current)
        if sum(map(len, filled)) < sum(rule.count for rule in stage):
            seats = tuple(
                Seat(rule.name or "", len(there), rule.count, people_of(rule, case), rule.refs)
                for rule, there in zip(stage, filled, strict=True)
            )
            seated = {number for there in filled for number in there}
            here = [vote for number, vote in enumerate(voters) if number in seated]
            return standing("open", here, seats=seats, stage=number, stages=len(case.terms.stages))
    if not case.terms.stages:
        return standing("open", ())  # nobody was asked: the policy decides by itself, or never
    approvals = [vote for vote in votes if vote.verdict in _YES and vote.round == current]
    return standing("edited" if edits else "approved", approvals)


#: One such vote closes a request; none of them approves.
_AT_ONCE: Mapping[Verdict, RequestStatus] = {"withdraw": "withdrawn", "respond": "responded"}


def _last_votes(case: Case) -> list[Vote]:
    """Return the last vote of each person."""
    last: dict[PersonId, Vote] = {}
    for vote in case.votes:
        person = case.one(vote.reviewer)
        last.pop(person, None)
        last[person] = vote
    return list(last.values())


def _seated(
    case: Case, votes: Sequence[Vote], stage: Sequence[Rule], number: int, current: int
) -> tuple[list[Vote], list[list[int]]]:
    voters = [v for v in votes if v.verdict in _YES and v.round == current and v.stage == number]
    may = [_fits(case, stage, vote.holder, vote.groups) for vote in voters]
    return voters, match([rule.count for rule in stage], may)


def _fits(case: Case, stage: Sequence[Rule], person: PersonId, groups: Collection[GroupId]) -> frozenset[int]:
    return frozenset(n for n, rule in enumerate(stage) if case.may_fill(rule, person, groups))


def people_of(rule: Rule, case: Case) -> tuple[PersonId, ...]:
    return (case.request.requester,) if rule.requester and case.request.requester else rule.people


def may_decide(
    case: Case,
    reviewer: Reviewer,
    verdict: Verdict,
    reason: str | None,
    *,
    behalf: Reviewer | None = None,
    arguments: Mapping[str, Any] | None = None,
    confirm: str | None = None,
) -> Refused | None:
    """Say why this reviewer may not give this verdict now; None when they may. An unknown is a no.

    ``behalf`` is in whose place, as the directory knows them now: what may be filled is theirs, and what bars
    either of them bars both. That a delegation says so is not looked at here. ``arguments`` are those that an
    edit would leave, ``confirm`` what was typed to confirm an approval.
    """
    # A veto in one's own place is nobody else's to take away, by a delegation that one did not ask for.
    alone = verdict == "reject" and behalf is None
    case = replace(case, same_person=frozenset()) if alone else case.as_now(reviewer, behalf)
    holder = behalf or reviewer
    refusal = check_kind(reviewer, behalf) or _check_verdict(case, holder, verdict)
    if refusal is not None:
        return refusal
    party = case.is_party(reviewer.id)
    standing = judge(case)
    earlier = [vote for vote in case.votes if case.one(vote.reviewer) == case.one(reviewer.id)][-1:]
    if case.has_asked(holder.id) and verdict in {"reject", "withdraw"}:
        # Taking back what one asked for needs no group, and no earlier vote stands against it.
        again = any(vote.verdict == "reject" for vote in earlier)
        return _already(earlier[0], reviewer) if again else _check_reason(case, verdict, reason)
    stage = case.terms.stages[standing.stage] if case.terms.stages else ()
    rules = stage if verdict != "reject" else [rule for rules in case.terms.stages for rule in rules]
    fits = _fits(case, rules, holder.id, holder.groups)
    unknown = any(holder.unknown & set(rule.refs) for rule in rules)
    if not fits:
        if party and case.policy.self_approval == "forbid":
            return Refused("SELF_APPROVAL", "You asked for this, so somebody else must approve it.")
        if unknown:
            return _unknown("whether you are in the group that may decide")
        later = any(_fits(case, one, holder.id, holder.groups) for one in case.terms.stages)
        return Refused("NOT_APPROVER", _not_yet(standing) if later else _NOBODY)
    if earlier and earlier[0].round == standing.round:
        return _already(earlier[0], reviewer)
    if verdict in _YES:
        refusal = _check_needed(case, holder, stage, standing, verdict, unknown=unknown)
        refusal = refusal or _check_confirmed(case, confirm)
    if verdict == "edit" and refusal is None:
        refusal = check_edit(case, standing, arguments)
    return refusal or _check_reason(case, verdict, reason)


_NOBODY = "You are not among those who may decide this."


def _not_yet(standing: Standing) -> str:
    return (
        f"Your turn is not now: this is at stage {standing.stage + 1} of {standing.stages}. "
        "Nothing was recorded."
    )


def check_kind(reviewer: Reviewer, behalf: Reviewer | None = None) -> Refused | None:
    """Say why somebody like this decides nothing, or nobody decides in that place; None for full members."""
    refusal = _check_kind(reviewer)
    if refusal is not None or behalf is None or behalf.kind == "member":
        return refusal
    if behalf.kind == "unknown":
        return _unknown("for whom you act")
    return Refused("NOT_APPROVER", f"{behalf.id} is no full member any more, so nobody acts for them.")


def _check_kind(reviewer: Reviewer) -> Refused | None:
    match reviewer.kind:
        case "external":
            return Refused("EXTERNAL_USER", "People of other workspaces may not decide here.")
        case "guest":
            return Refused("GUEST_USER", "Guests may not decide here.")
        case "bot":
            return Refused("BOT_USER", "Bots may not decide.")
        case "deactivated":
            return Refused("DEACTIVATED_USER", "This account is deactivated.")
        case "unknown":
            return _unknown("who you are")
    return None


def _check_verdict(case: Case, reviewer: Reviewer, verdict: Verdict) -> Refused | None:
    if verdict == "withdraw":
        if case.has_asked(reviewer.id):
            return None
        return Refused("NOT_ALLOWED", "Only who asked for this may withdraw it. Nothing was recorded.")
    if verdict not in case.policy.decisions:
        return Refused("UNKNOWN_ACTION", "There is no such answer to this request. Nothing was recorded.")
    return None


def _already(vote: Vote, reviewer: Reviewer) -> Refused:
    who = "You have" if vote.reviewer == reviewer.id else f"{vote.reviewer}, who counts as one with you, has"
    said = {"approve": "approved", "edit": "approved it with changes", "reject": "rejected"}
    return Refused(
        "ALREADY_VOTED",
        f"{who} already {said.get(vote.verdict, 'voted')}. Nothing more was recorded.",
        by=(vote.reviewer,),
        at=vote.at,
    )


def _check_needed(
    case: Case,
    reviewer: Reviewer,
    stage: Sequence[Rule],
    standing: Standing,
    verdict: Verdict,
    *,
    unknown: bool,
) -> Refused | None:
    """Refuse a vote that fills no place, now or later in its stage: it would be lost for a later one."""
    if verdict == "edit":
        return None  # it begins the counting anew
    before = sum(seat.filled for seat in standing.seats)
    cast = Vote(
        reviewer.id, verdict, None, "", 0, "", reviewer.groups, stage=standing.stage, round=standing.round
    )
    counted = case.as_cast
    _, filled = _seated(counted, [*_last_votes(counted), cast], stage, standing.stage, standing.round)
    if sum(map(len, filled)) > before:
        return None
    if unknown:
        return _unknown("whether you are in the group that is still needed")
    return Refused("NOT_NEEDED", "Enough of your group have approved; others are still needed.")


def _check_confirmed(case: Case, confirm: str | None) -> Refused | None:
    phrase = case.terms.confirm
    if phrase is None or (confirm or "").strip() == phrase:
        return None
    return Refused("INVALID_INPUT", f"Type {phrase} to confirm. Nothing was recorded.")


def _unknown(what: str) -> Refused:
    return Refused(
        "MEMBERSHIP_UNKNOWN", f"It could not be checked {what}. Nothing was recorded; try again in a minute."
    )


def _check_reason(case: Case, verdict: Verdict, reason: str | None) -> Refused | None:
    said = len((reason or "").strip())
    if verdict == "respond" and not said:
        return Refused("REASON_REQUIRED", "Say what you answer instead.")
    least = case.policy.least_reason if verdict == "reject" else 0
    if said >= least:
        return None
    if said or least > 1:
        return Refused("REASON_REQUIRED", f"Say why, in at least {least} characters.")
    return Refused("REASON_REQUIRED", "Say why, so that the requester can act on it.")


# -- edits ---------------------------------------------------------------------------------------------------


def check_edit(case: Case, standing: Standing, arguments: Mapping[str, Any] | None) -> Refused | None:
    """Say why these arguments may not take the place of the action's.

    The tier stays that of what was asked for: an edit never lowers it. One whose result would need people
    that the tier does not ask for is refused, so that an edit does not get past them either.
    """
    action, edit = case.request.action, case.policy.edit
    if action is None or edit is None or arguments is None:
        return Refused("INVALID_INPUT", "There is nothing here that could be edited. Nothing was recorded.")
    present = action.arguments if standing.arguments is None else standing.arguments
    same = {name for name in {*present} & {*arguments} if present[name] == arguments[name]}
    changed = {*present, *arguments} - same
    if not changed:
        return Refused("INVALID_INPUT", "Nothing was changed: approve it as it is. Nothing was recorded.")
    if barred := sorted(changed - ({*edit.fields} & {*present})):
        return Refused("INVALID_INPUT", f"{', '.join(barred)} may not be changed. Nothing was recorded.")
    # What a form knows is of the kind that it says.
    typed = () if case.request.form is None else case.request.form.names
    for name in sorted(changed - {*typed}):
        if _kind(arguments[name]) is not _kind(present[name]):
            return Refused(
                "INVALID_INPUT", f"{name} must stay {_kind(present[name]).__name__}. Nothing was recorded."
            )
        if _is_number(present[name]) and not _is_number(arguments[name]):
            return Refused("INVALID_INPUT", f"{name} must stay a number. Nothing was recorded.")
    facts = {**case.request.facts, **{n: arguments[n] for n in changed if n in case.request.facts}}
    try:
        # A tier that its limits have let past may be full again by then: it lets no edit through.
        limited = [tier.name for tier in case.policy.tiers if tier.limits]
        needed = case.policy.choose(facts, arguments, without=limited)
    except PolicyError as error:
        return Refused("INVALID_INPUT", f"The policy does not allow this change: {error}")
    if needed.do == "reject" or not covers(case.terms, needed):
        tier = f" of tier {needed.tier}" if needed.tier else ""
        return Refused(
            "INVALID_INPUT", f"This change needs the rules{tier}: reject it, and let it be asked anew."
        )
    return None


def _kind(value: Any) -> type:
    return Decimal if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _is_number(value: Any) -> bool:
    """Say whether conditions take this for a number: texts that read as one are."""
    try:
        return not isinstance(value, str) or Decimal(value).is_finite()
    except InvalidOperation:
        return False


def covers(terms: Terms, needed: Terms) -> bool:
    """Say whether whoever satisfies ``terms`` satisfies ``needed`` too, as far as their words show."""
    have = [rule for stage in terms.stages for rule in stage]
    want = [rule for stage in needed.stages for rule in stage]
    may = [
        {
            number
            for number, rule in enumerate(have)
            if rule.count >= one.count
            and rule.requester == one.requester
            and {*rule.people} == {*one.people}
            and {*rule.refs} == {*one.refs}
        }
        for one in want
    ]
    return sum(map(len, match([1] * len(have), may))) == len(want)


def merge(case: Case, standing: Standing, changes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the action's arguments with these changes; None when there is no action."""
    action = case.request.action
    if action is None:
        return None
    return {**(action.arguments if standing.arguments is None else standing.arguments), **changes}


def make_vote(
    case: Case,
    reviewer: Reviewer,
    verdict: Verdict,
    reason: str | None,
    *,
    behalf: Reviewer | None = None,
    delegation: DelegationId | None = None,
    arguments: Mapping[str, Any] | None = None,
    at: int = 0,
    surface: str = "",
) -> Vote:
    """Return the vote that this reviewer casts now, with all that later judgments of it rest on."""
    before, now, holder = judge(case), case.as_now(reviewer, behalf), behalf or reviewer
    return Vote(
        reviewer.id,
        verdict,
        reason,
        bound_digest(case.request, before.arguments if arguments is None else arguments),
        at,
        surface,
        holder.groups,
        before.stage,
        before.round + (verdict == "edit"),
        arguments,
        on_behalf_of=None if behalf is None else behalf.id,
        delegation=delegation,
        one_with=frozenset(_all_one(reviewer.id, now.same_person) - {reviewer.id}),
    )


def with_vote(case: Case, vote: Vote) -> Case:
    """Return the case with one vote more."""
    return replace(case, votes=(*case.votes, vote))
