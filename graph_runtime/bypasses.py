"""Consents to carry one approved request out although its graph or action is frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import records
from .alarms import Alarms
from .ballots import note, said_with
from .bypass import joined, may_bypass, new_for, progress
from .closings import trail
from .delegation import Delegation
from .errors import Conflict, Refused
from .judging import Directory
from .lookup import find_view
from .plainjson import write_json
from .runtime import Runtime
from .shown import RequestView
from .standins import Asked, hold
from .storage import Batch, Do, Params
from .types import Actor, PersonId, Place, Reviewer

_REASON = 500


class Bypasses:
    """Takes the consents by which a freeze of a graph or an action is passed."""

    def __init__(self, runtime: Runtime, directory: Directory) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._directory = directory

    async def consent(
        self, request_id: str, actor: Actor, *, place: Place, reason: str | None = None
    ) -> RequestView:
        """Let one approved request through the freezes that hold it now, as one of those its policy names.

        With the last consent that it needs its run goes on at once. A freeze that begins later needs consents
        of its own, and one of ``all`` is never passed. Returns the request as it is then; raises
        :class:`Refused`, and the refusal is one line of the journal.
        """
        asked: Asked | None = None
        said = records.legible((reason or "").strip())[:_REASON] or None
        while True:
            view = await self._view(request_id)
            if view is None:
                raise Refused("UNKNOWN_REQUEST", f"There is no request {request_id!r}. Nothing was recorded.")
            terms = view.case.policy.freeze_bypass
            asked = asked or Asked(self._directory, actor, () if terms is None else (terms.group,))
            who, behalf, by, refusal = await asked.choose(view, _allowed(view, said))
            if refusal is not None:
                await self._refuse(refusal, view, actor, place)
                raise refusal
            assert terms is not None, "may_bypass has seen to it"
            try:
                await self._store.commit(
                    Batch("bypass", self._writes(view, who, behalf, by, said, terms.count, place))
                )
            except Conflict:
                continue
            break
        self._runtime.outbox_bell.ring()
        await Alarms(self._runtime).ring_released()
        after = await self._view(request_id)
        assert after is not None, "a request whose thread is alive is not pruned"
        return after

    def _writes(
        self,
        view: RequestView,
        who: Reviewer,
        behalf: Reviewer | None,
        by: Delegation | None,
        reason: str | None,
        needed: int,
        place: Place,
    ) -> tuple[Do, ...]:
        request, now = view.request, self._runtime.clock()
        whose = None if behalf is None else behalf.id
        seen = joined(view.case.as_now(who, behalf), view.bypasses)
        mine = [one for one in view.bypasses if seen.one(one.person) == seen.one(who.id)]
        fresh = new_for(view.held_by, mine)
        why = said_with(self._runtime, request, who.id, reason, now)
        common: Params = {
            "request_id": request.id,
            "person": who.id,
            "on_behalf_of": whose,
            "one_with": write_json(sorted(self._one_with(view, who, behalf))),
            "text_id": why.text_id,
            "needed": needed,
            "now": now,
        }
        puts = (
            Do(
                "put_bypass",
                {**common, "scope": scope, "since": since, "before": len(view.bypasses) + number},
                guard="freeze holds, and nobody else has consented",
            )
            for number, (scope, since) in enumerate(sorted(fresh.items()))
        )
        given = progress(view.held_by, view.bypasses, fresh)
        told: dict[str, Any] = {"what": "bypass", "status": request.status, "by": who.id, "for": whose}
        told |= {"given": given, "needed": needed, "scopes": sorted(fresh)}
        data: dict[str, Any] = {"scopes": sorted(fresh), "standing": f"{given} of {needed}"}
        data |= {"on_behalf_of": whose} if whose else {}
        data |= {"delegation": by.id} if by is not None else {}
        kind = "freeze.bypassed" if given >= needed else "freeze.bypass_agreed"
        return (
            Do("lock_request", {"request_id": request.id}),
            *hold(None if by is None else by.id, now),
            *puts,
            *why.writes,
            Do("redraw_card", {"request_id": request.id, "now": now}),
            trail(self._runtime, request, told, now),
            note(
                self._runtime,
                request,
                kind,
                now,
                actor=who.id,
                line=why.line,
                surface=place.surface,
                **data,
                **why.told,
            ),
        )

    def _one_with(self, view: RequestView, who: Reviewer, behalf: Reviewer | None) -> frozenset[PersonId]:
        now = view.case.as_now(who, behalf)
        people = {person for pair in now.same_person for person in pair}
        return frozenset(one for one in people if now.one(one) == now.one(who.id) and one != who.id)

    async def _refuse(self, refusal: Refused, view: RequestView, actor: Actor, place: Place) -> None:
        event = note(
            self._runtime,
            view.request,
            "freeze.bypass_refused",
            self._runtime.clock(),
            actor=actor.id,
            surface=place.surface,
            code=refusal.code,
        )
        await self._store.commit(Batch("refuse", (event,)))

    async def _view(self, request_id: str) -> RequestView | None:
        return await find_view(self._store, request_id, self._runtime.clock())


def _allowed(view: RequestView, reason: str | None) -> Callable[[Reviewer, Reviewer | None], Refused | None]:
    case = view.case

    def allowed(reviewer: Reviewer, behalf: Reviewer | None) -> Refused | None:
        return may_bypass(
            case,
            reviewer,
            reason,
            behalf=behalf,
            frozen=view.held_by,
            given=view.bypasses,
            used=view.used,
        )

    return allowed


__all__ = ["Bypasses"]
