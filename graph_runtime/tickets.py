"""Whether a ticket is that of the request it names, and whether that still takes decisions. Pure."""

from __future__ import annotations

from collections.abc import Collection

from .errors import Refused
from .shown import RequestView
from .types import ApprovalRequest, Place, RequestId, Ticket


def check_ticket(
    ticket: Ticket,
    place: Place,
    *,
    deployment: str,
    request: ApprovalRequest | None,
    cards: Collection[Place],
    owner_of_place: RequestId | None,
) -> Refused | None:
    """Say why this ticket, used at this place, is not the ticket of that request; None when it is.

    ``cards`` is where its cards lie, mostly one. ``owner_of_place`` is the request whose card was put there,
    whether it still counts or not.
    """
    # All of them were put there by one app in one workspace.
    card = next(iter(cards), None)
    if card is not None and place.surface == card.surface:
        if place.app != card.app:
            return Refused("WRONG_APP", "This click came from another app. Nothing was recorded.")
        if place.workspace != card.workspace:
            return Refused("WRONG_WORKSPACE", "This click came from another workspace. Nothing was recorded.")
    if ticket.deployment != deployment:
        return Refused(
            "WRONG_DEPLOYMENT",
            "This card belongs to another installation, or to a database that was restored since. "
            "Nothing was recorded.",
        )
    if request is None:
        return Refused("UNKNOWN_REQUEST", "There is no such request. Nothing was recorded.")
    if owner_of_place is not None and owner_of_place != request.id:
        return Refused("WRONG_REQUEST", "This button belongs to another card. Nothing was recorded.")
    if ticket.thread_id != request.thread_id:
        return Refused("WRONG_THREAD", "This button belongs to another case. Nothing was recorded.")
    if ticket.run_id != request.run_id:
        return Refused("WRONG_RUN", "This button belongs to another run. Nothing was recorded.")
    if ticket.interrupt_id != request.interrupt_id:
        return Refused("WRONG_INTERRUPT", "This button belongs to another question. Nothing was recorded.")
    if place.surface in {"cli", "api"}:
        return None
    if any((place.channel, place.message) == (one.channel, one.message) for one in cards):
        return None
    if owner_of_place is not None:
        return Refused(
            "CARD_REPLACED",
            "This card could not be kept up to date and was replaced: use the newer one. "
            "Nothing was recorded.",
        )
    if card is None:
        return Refused("NO_CARD_YET", "This card is just being posted. Nothing was recorded; click again.")
    if all(place.channel != one.channel for one in cards):
        return Refused("WRONG_CHANNEL", "This card belongs in another channel. Nothing was recorded.")
    return Refused("WRONG_MESSAGE", "This is not the card of this request. Nothing was recorded.")


def check_open(view: RequestView, now: int) -> Refused | None:
    """Say why this request takes no decision any more; None while it is open and in time."""
    request = view.request
    if request.status in {"withdrawn", "superseded"}:
        return Refused("NOT_PENDING", f"This request was {request.status}. Nothing was recorded.")
    if request.status == "timed_out" or (
        request.status == "open"
        and not view.frozen
        and request.deadline_at is not None
        and now >= request.deadline_at
    ):
        return Refused("EXPIRED", "The deadline has passed. Nothing was recorded.", at=request.deadline_at)
    if request.status != "open":
        by = view.deciders
        names = ", ".join(by)
        return Refused(
            "ALREADY_DECIDED",
            f"Already {request.status} by {names}. Nothing was recorded.",
            by=by,
            at=request.closed_at,
        )
    if view.run.status not in {"queued", "running", "interrupted"}:
        return Refused("NOT_PENDING", "An operator must look at this run first. Nothing was recorded.")
    return None
