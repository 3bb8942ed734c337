"""Tables and JSON of what holds things up: freezes, who is away, and what could not be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from graph_runtime import Delegation, Freeze, OutboxEntry

from .redaction import mask
from .tables import headed, moment, short, stacked
from .text import plain


def freezes(found: Sequence[Freeze]) -> RenderableType:
    """Return what is frozen."""
    shown = headed("SCOPE", "BY", "SINCE", "RELEASED BY", "WHY")
    for one in found:
        agreed = ", ".join(one.released_by) or "nobody yet"
        shown.add_row(one.scope, one.by, moment(one.since), agreed, short(one.reason))
    return shown if found else Text("Nothing is frozen.")


def freezes_json(found: Sequence[Freeze]) -> list[dict[str, Any]]:
    """Return what is frozen, for --json."""
    return [
        {
            "scope": one.scope,
            "by": one.by,
            "reason": one.reason,
            "since": one.since,
            "released_by": list(one.released_by),
        }
        for one in found
    ]


def outbox(found: Sequence[OutboxEntry]) -> RenderableType:
    """Return what could not be told, as a table."""
    if not found:
        return Text("Everything was told, or is on its way.")
    shown = headed("ENTRY", "WHAT", "REQUEST", "STATUS", "TRIES", "WHY")
    for one in found:
        why = Text(plain(one.error or "", 120))
        shown.add_row(one.id, Text(_told(one)), one.request_id, one.status, str(one.attempts), why)
    return shown


def outbox_json(found: Sequence[OutboxEntry]) -> list[dict[str, Any]]:
    """Return the same for --json."""
    return [
        {
            "entry": one.id,
            "what": _told(one),
            "request": one.request_id,
            "status": one.status,
            "tries": one.attempts,
            "why": one.error,
        }
        for one in found
    ]


def _told(entry: OutboxEntry) -> str:
    """Say what an entry is, and for whom where it is for somebody."""
    to = entry.payload.get("to") or entry.payload.get("channel")
    return f"{'line' if entry.kind == 'trail' else entry.kind}" + (f" for {plain(to, 40)}" if to else "")


def delegations(found: Sequence[Delegation]) -> RenderableType:
    """Return who is away, and who acts for them."""
    shown = headed("ID", "WHO", "IN", "FROM (UTC)", "UNTIL (UTC)", "WHY")
    for one in found:
        scope = one.request_id or one.policy or "everything"
        when = (stacked(one.since), stacked(one.until))
        by = "" if one.made_by == one.person else f",\nby {one.made_by}"
        who = f"{one.delegate} for\n{one.person}{by}"
        shown.add_row(one.id, who, scope, *when, plain(mask(one.reason or ""), 300))
    return shown if found else Text("Nobody is away.")


def delegation_json(one: Delegation) -> dict[str, Any]:
    """Return a delegation, for --json."""
    return {
        "delegation_id": one.id,
        "person": one.person,
        "delegate": one.delegate,
        "since": one.since,
        "until": one.until,
        "policy": one.policy,
        "request_id": one.request_id,
        "reason": one.reason and mask(one.reason),
        "made_by": one.made_by,
    }
