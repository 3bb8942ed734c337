"""Who somebody is, and in whose place they may act: asked of the directory, each person once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from .delegation import OWN_IS_NOT_ENOUGH, Delegation, choose_place, held_by
from .errors import Refused
from .judging import Directory
from .shown import RequestView
from .storage import Do, Params
from .types import Actor, DelegationId, GroupId, PersonId, Reviewer

#: How many people somebody may act for are looked up for one click.
_MOST = 10


class Asked:
    """One person who is about to decide, and those for whom they may, as the directory knows them."""

    def __init__(self, directory: Directory, actor: Actor, groups: Collection[GroupId]) -> None:
        self._directory = directory
        self._actor = actor
        self._groups = groups
        self._known: dict[PersonId, Reviewer] = {}

    async def choose(
        self, view: RequestView, allowed: Callable[[Reviewer, Reviewer | None], Refused | None]
    ) -> tuple[Reviewer, Reviewer | None, Delegation | None, Refused | None]:
        """Return who it is, in whose place and by which delegation they act, and why they may not.

        Their own place comes first, and nobody else is looked up when it will do.
        """
        card = view.card
        if card is not None and self._actor.workspace and self._actor.workspace != card.workspace:
            reviewer = Reviewer(self._actor.id, kind="external")
        else:
            reviewer = await self._ask(self._actor)
        own = allowed(reviewer, None)
        if own is None or own.code not in OWN_IS_NOT_ENOUGH:
            return reviewer, None, None, own
        held = held_by(view.delegations, reviewer.id)[:_MOST]
        people = await asyncio.gather(*(self._ask(Actor(one.person)) for one in held))
        behalf, refusal = choose_place(own, people, lambda place: allowed(reviewer, place))
        by = next((one for one in held if behalf is not None and one.person == behalf.id), None)
        return reviewer, behalf, by, refusal

    async def _ask(self, actor: Actor) -> Reviewer:
        # At most as old as this click.
        if actor.id not in self._known:
            self._known[actor.id] = await self._directory.reviewer(actor, self._groups)
        return self._known[actor.id]


def hold(delegation: DelegationId | None, now: int) -> tuple[Do, ...]:
    """Return the guard that somebody may still act for the other when it is written down."""
    if delegation is None:
        return ()
    held: Params = {"delegation_id": delegation, "now": now}
    return (Do("hold_delegation", held, guard="delegation holds"),)
