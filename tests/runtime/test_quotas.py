"""Limits of what a policy approves by itself: whose they are, and what an edit past them needs."""

from __future__ import annotations

from typing import Any

import pytest
from graphs import Log, begin, one_after_another
from kit import MakeRuntime, SettableClock
from people import CLI, People, approvals_of, deploy, open_view, person, requests, ticket_of

from graph_runtime import SECOND, Absences, Action, Approvals, Refused, Runtime, Store, approve

pytestmark = pytest.mark.databases("sqlite", "postgres")
ONCE: dict[str, Any] = {"auto": True, "limits": [{"most": "1", "per": "1d", "by": "requester"}]}
REFUND = {
    "decisions": ["approve", "edit", "reject"],
    "edit": {"fields": ["amount"]},
    "tiers": {
        "auto": {"when": "args.amount <= 1000.0", **ONCE},
        "small": {"when": "args.amount <= 50.0", "people": ["U_LEAD"]},
        "big": {"require": [{"name": "directors", "people": ["U_D1", "U_D2"], "count": 2}]},
    },
}


async def tier_of(runtime: Runtime, approvals: Approvals) -> tuple[str, str | None]:
    run = await begin(runtime, requester="U_REQ")
    while await approvals.expire_due():
        pass
    (request,) = await approvals.find(run_id=run.id)
    view = await approvals.view(request.id)
    assert view is not None
    return view.request.status, view.case.terms.tier


async def test_a_requesters_limit_is_theirs_whoever_acts_for_them_meanwhile(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    tiers = {"auto": ONCE, "other": {"people": ["U_BOSS"]}}
    runtime = make_runtime(deploy("p"), companions=[requests(p={"tiers": tiers})])
    approvals, absences = approvals_of(runtime), Absences(runtime, People())
    assert await tier_of(runtime, approvals) == ("approved", "auto")
    made = await absences.delegate("U_REQ", "U_A", until=clock() + 3_600 * SECOND, by="U_REQ")
    assert await tier_of(runtime, approvals) == ("open", "other")
    await absences.revoke(made.id, by="U_REQ", operator=False)
    assert await tier_of(runtime, approvals) == ("open", "other")


async def test_an_edit_past_a_limit_needs_whom_its_sum_would_have_needed(
    make_runtime: MakeRuntime, store: Store
) -> None:
    async def ask(state: Log) -> Log:
        return {"answer": approve("Refund", action=Action("refund", {"amount": 40}), policy="p")}

    async def act(state: Log) -> Log:
        return {}

    graph = one_after_another("refund", ask=ask, act=act)
    runtime = make_runtime(graph, companions=[requests(p=REFUND)])
    approvals = approvals_of(runtime)
    assert await tier_of(runtime, approvals) == ("approved", "auto")
    assert await tier_of(runtime, approvals) == ("open", "small")
    (request,) = await approvals.find(status="open")
    view = await open_view(approvals, request.run_id)
    ticket = ticket_of(view, store)
    with pytest.raises(Refused, match="needs the rules of tier big"):
        await approvals.decide(ticket, person("U_LEAD"), "edit", place=CLI, edited={"amount": 900})
    taken = await approvals.decide(ticket, person("U_LEAD"), "edit", place=CLI, edited={"amount": 30})
    assert taken.request.status == "edited"
