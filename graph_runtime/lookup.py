"""One request with everything around it, from one snapshot: what the store is asked, and how it is read."""

from __future__ import annotations

from collections.abc import Sequence

from . import records
from .bypass import scopes_of
from .delegation import in_force
from .shown import RequestView
from .storage import Ask, Params, Row, Store


def asks_of(request_id: str, now: int) -> tuple[Ask, ...]:
    """Return what :func:`read_view` reads."""
    params: Params = {"request_id": request_id}
    return (
        Ask("get_request", params),
        Ask("get_run_of_request", params),
        Ask("find_decisions", params),
        Ask("find_cards", params),
        Ask("find_freezes"),
        Ask("find_delegations_for", {**params, "now": now}),
        Ask("find_bypasses", params),
        Ask("get_execution", params),
    )


async def find_view(store: Store, request_id: str, now: int) -> RequestView | None:
    """Return the request with all of that from one snapshot, or None when there is none."""
    return read_view(await store.read(*asks_of(request_id, now)))


def read_view(rows: Sequence[Sequence[Row]]) -> RequestView | None:
    """Return the request that the rows of :func:`asks_of` are of, or None when there is none."""
    requests, runs, decisions, cards, freezes, delegations, bypasses, executions = rows
    if not requests:
        return None
    request, run = records.read_request(requests[0]), records.read_run(runs[0])
    scopes = scopes_of(request.action, {request.graph, run.graph})
    held = {row["scope"]: row["since"] for row in freezes if row["scope"] in scopes}
    used = bool(executions) and executions[0]["status"] != "indeterminate"
    return RequestView(
        request=request,
        run=run,
        votes=tuple(records.read_vote(row) for row in decisions),
        cards={row["entry_id"]: records.read_place(row) for row in cards},
        frozen=any(scope in {"all", f"graph:{request.graph}"} for scope in held),
        delegations=in_force(map(records.read_delegation, delegations)),
        held_by={} if used else held,
        bypasses=tuple(map(records.read_bypass, bypasses)),
        used=used,
        waits_until=runs[0]["waits_until"],
    )
