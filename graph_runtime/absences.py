"""Who is away, and who acts for them meanwhile: made, given away for one request, and ended.

What counts for a decision is what holds at its moment; a vote keeps in whose place it was cast.
"""

from __future__ import annotations

import asyncio
from typing import Any

from . import records
from .ballots import said_with
from .clock import SECOND
from .closings import trail
from .delegation import LONGEST_DAYS, Delegation, check_new
from .errors import Conflict, Refused
from .judging import Case, Directory, check_kind, judge
from .lookup import find_view
from .runtime import Runtime
from .shown import RequestView
from .storage import Ask, Batch, Do, Params
from .texts import Spoken
from .tickets import check_open
from .types import Actor, DelegationId, PersonId, Reviewer

_REASON = 500
#: How many of those who are away are looked up for one reminder.
_MOST = 10


class Absences:
    """Keeps the delegations."""

    def __init__(self, runtime: Runtime, directory: Directory) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._directory = directory

    async def find(self) -> list[Delegation]:
        """Return the delegations that hold, or will."""
        (rows,) = await self._store.read(Ask("find_delegations", {"now": self._runtime.clock()}))
        return [records.read_delegation(row) for row in rows]

    async def delegate(
        self,
        person: str,
        to: str,
        *,
        until: int,
        by: str,
        since: int | None = None,
        policy: str | None = None,
        reason: str | None = None,
    ) -> Delegation:
        """Let ``to`` decide in the place of ``person`` from ``since``, default now, and before ``until``.

        ``by`` is who makes it: the person, or somebody who looks after the program, which whoever calls this
        has checked. Raises :class:`Refused` for what ``check_new`` refuses, for people who are no full
        members, and for who would give themself another's place.
        """
        if by != person and by == to:
            raise Refused("NOT_ALLOWED", "nothing was delegated: nobody gives themself another's place")
        who, other = await asyncio.gather(
            *(self._directory.reviewer(Actor(PersonId(one)), ()) for one in (person, to))
        )
        _check_people(who, other)
        return await self._make(person, to, since, until, by, policy=policy, reason=reason)

    async def reassign(
        self, request_id: str, actor: Actor, to: str, *, reason: str | None = None
    ) -> Delegation:
        """Give one's own place in one open request to somebody else, who is reminded from now on.

        Raises :class:`Refused` when it is closed, there is no such place, or it would be of no use to them.
        """
        view = await self._view(request_id)
        refusal = None if view is None else check_open(view, self._runtime.clock())
        if view is None or refusal is not None:
            raise refusal or Refused("UNKNOWN_REQUEST", f"There is no request {request_id!r}.")
        case = view.case
        who, other = await asyncio.gather(
            self._directory.reviewer(actor, case.terms.refs),
            self._directory.reviewer(Actor(PersonId(to)), ()),
        )
        _check_people(who, other)
        refusal = check_giving(case, who, other.id)
        if refusal is not None:
            raise refusal
        until = self._runtime.clock() + LONGEST_DAYS * 86_400 * SECOND
        return await self._make(
            actor.id, to, None, until, actor.id, policy=view.request.policy_name, reason=reason, view=view
        )

    async def revoke(self, delegation_id: str, *, by: str, operator: bool) -> Delegation:
        """End a delegation now, and return it. A vote that was cast by it stays.

        Raises :class:`Refused` for one that is over or unknown, and for who is neither of the two nor an
        operator.
        """
        (rows,) = await self._store.read(Ask("get_delegation", {"delegation_id": delegation_id}))
        now = self._runtime.clock()
        found = records.read_delegation(rows[0]) if rows else None
        if found is None or found.revoked_at is not None or found.until <= now:
            raise Refused(
                "NOT_PENDING", f"nothing was changed: no delegation {delegation_id!r} holds or will"
            )
        if not operator and by not in {found.person, found.delegate}:
            raise Refused("NOT_ALLOWED", "nothing was changed: only the two, or an operator, may end it")
        view = None if found.request_id is None else await self._view(found.request_id)
        gone: Params = {"delegation_id": found.id, "revoked_by": by, "now": now}
        writes = (
            Do("revoke_delegation", gone, guard="it holds"),
            self._event("delegation.revoked", found, view, by, now, Spoken(self._runtime.new_id("evt"))),
            *self._told(found, view, now, "reassign over"),
        )
        try:
            await self._store.commit(Batch("delegate", writes))
        except Conflict:
            raise Refused("NOT_PENDING", "nothing was changed: it was ended meanwhile") from None
        self._runtime.outbox_bell.ring()
        return found

    async def _make(
        self,
        person: str,
        to: str,
        since: int | None,
        until: int,
        by: str,
        *,
        policy: str | None,
        reason: str | None,
        view: RequestView | None = None,
    ) -> Delegation:
        said = records.legible((reason or "").strip())[:_REASON] or None
        while True:
            now = self._runtime.clock()
            counted, rows = await self._store.read(
                Ask("get_delegation_count"), Ask("find_delegations", {"now": now})
            )
            new = Delegation(
                DelegationId(self._runtime.new_id("del")),
                PersonId(person),
                PersonId(to),
                now if since is None else since,
                until,
                policy,
                None if view is None else view.request.id,
                said,
                by,
                now,
            )
            refusal = check_new(new, [records.read_delegation(row) for row in rows], now)
            if refusal is not None:
                raise refusal
            before = counted[0]["value"]
            why = said_with(self._runtime, None if view is None else view.request, by, said, now)
            count: Params = {"before": before, "after": str(int(before) + 1)}
            writes = (
                # Of two at once, which might make a circle together, the second one is looked at again.
                Do("count_delegation", count, guard="delegations are as they were"),
                Do("put_delegation", _row(new, why)),
                *why.writes,
                self._event("delegation.made", new, view, by, now, why),
                *self._told(new, view, now, "reassign"),
            )
            try:
                await self._store.commit(Batch("delegate", writes))
            except Conflict:
                continue
            self._runtime.outbox_bell.ring()
            return new

    def _told(self, one: Delegation, view: RequestView | None, now: int, what: str) -> tuple[Do, ...]:
        if view is None or view.request.status != "open":
            return ()
        said: dict[str, Any] = {"what": what, "status": "open", "by": one.person, "to": one.delegate}
        redraw = Do("redraw_card", {"request_id": view.request.id, "now": now})
        return redraw, trail(self._runtime, view.request, said, now)

    def _event(
        self, kind: str, one: Delegation, view: RequestView | None, by: str, now: int, why: Spoken
    ) -> Do:
        return records.put_event(
            why.line,
            kind,
            now,
            actor=by,
            thread_id=None if view is None else view.request.thread_id,
            run_id=None if view is None else view.request.run_id,
            request_id=one.request_id,
            delegation=one.id,
            person=one.person,
            delegate=one.delegate,
            since=one.since,
            until=one.until,
            policy=one.policy,
            **why.told,
        )

    async def _view(self, request_id: str) -> RequestView | None:
        return await find_view(self._store, request_id, self._runtime.clock())


def check_giving(case: Case, who: Reviewer, to: PersonId) -> Refused | None:
    """Say why somebody has no place of their own in the request that they could give to another. Pure."""
    now, standing = case.as_now(who), judge(case)
    rules = [rule for stage in case.terms.stages[standing.stage :] for rule in stage]
    voted = {now.one(vote.reviewer): vote.reviewer for vote in case.votes if vote.round == standing.round}
    if not any(now.may_fill(rule, who.id, who.groups) for rule in rules):
        if any(who.unknown & {*rule.refs} for rule in rules):
            return Refused("MEMBERSHIP_UNKNOWN", "It could not be checked whether you have a place in it.")
        if case.policy.self_approval == "forbid" and now.is_party(who.id):
            return Refused("SELF_APPROVAL", "You asked for this, so you have no place to give away.")
        return Refused(
            "NOT_APPROVER", "You have no place of your own in it; what you hold for another is not passed on."
        )
    for one, sentence in (
        (who.id, "You have voted, or who is one with you has, so there is nothing to give away."),
        (to, "They have voted already, or who is one with them has, and nobody counts twice."),
    ):
        if now.one(one) in voted:
            return Refused("ALREADY_VOTED", sentence, by=(voted[now.one(one)],))
    if case.policy.self_approval == "forbid" and now.is_party(to):
        return Refused("SELF_APPROVAL", "They asked for this, or are one with who did: name somebody else.")
    return None


async def instead(view: RequestView, directory: Directory) -> list[list[str]]:
    """Return who is still needed and away, who acts for them, and what the directory calls who is away."""
    case, standing = view.case, view.standing
    stage = case.terms.stages[standing.stage] if case.terms.stages else ()
    open_ = [rule for rule, seat in zip(stage, standing.seats, strict=True) if seat.filled < seat.count]
    voted = {case.as_cast.one(vote.reviewer) for vote in case.votes if vote.round == standing.round}
    found = []
    for one in view.delegations[:_MOST]:
        who = await directory.reviewer(Actor(one.person), case.terms.refs)
        may = any(case.may_fill(rule, who.id, who.groups) for rule in open_)
        if may and who.kind == "member" and case.as_cast.one(who.id) not in voted:
            found.append([one.person, one.delegate, who.name])
    return found


def _row(new: Delegation, why: Spoken) -> Params:
    return {
        "delegation_id": new.id,
        "person": new.person,
        "delegate": new.delegate,
        "since": new.since,
        "until": new.until,
        "policy": new.policy,
        "request_id": new.request_id,
        "text_id": why.text_id,
        "made_by": new.made_by,
        "now": new.made_at,
    }


def _check_people(person: Reviewer, to: Reviewer) -> None:
    refusal = check_kind(person)
    if refusal is not None:
        raise Refused(refusal.code, f"nothing was delegated: {refusal.sentence}")
    match to.kind:
        case "member":
            return
        case "unknown":
            raise Refused(
                "MEMBERSHIP_UNKNOWN",
                f"nothing was delegated: it could not be checked who {to.id} is; try again in a minute",
            )
        case "deactivated":
            raise Refused("DEACTIVATED_USER", "nothing was delegated: that account is deactivated")
        case "guest":
            raise Refused("GUEST_USER", "nothing was delegated: a guest may not decide")
        case "bot":
            raise Refused("BOT_USER", "nothing was delegated: a bot may not decide")
    raise Refused("EXTERNAL_USER", "nothing was delegated: people of other workspaces may not decide")


__all__ = ["Absences", "check_giving", "instead"]
