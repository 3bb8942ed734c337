"""What is due: deadlines, what a policy decides by itself, reminders. All rows, no sleeping tasks."""

from __future__ import annotations

import contextlib
from typing import Any

from . import quotas
from .absences import instead
from .ballots import commit_or_lose, decision_of, note, put_vote, said_with
from .closings import closing, trail
from .errors import Conflict
from .judging import Case, Directory, Standing
from .lookup import find_view
from .requests import POLICY, due_of, put_card
from .runtime import Runtime
from .shown import RequestView
from .storage import Ask, Batch, Do, Params
from .types import Decision, PersonId, Vote


class Overdue:
    """Does what the clock says; whoever loses a race against a person reads again."""

    def __init__(self, runtime: Runtime, directory: Directory) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._directory = directory

    async def do_due(self, limit: int) -> bool:
        """Do what is due, at most ``limit``; True when there was anything."""
        params: Params = {"now": self._runtime.clock(), "limit": limit}
        (rows,) = await self._store.read(Ask("find_due", params))
        for row in rows:
            if row["kind"] in {"deadline", "policy"}:
                await self._settle(row["request_id"], row["kind"])
            else:
                await self._remind(row["request_id"], row["kind"])
        return bool(rows)

    async def _settle(self, request_id: str, kind: str) -> None:
        """Close a request past its deadline, or one that its policy decides by itself."""
        won = False
        while not won:
            view = await self._due(request_id)
            if view is None:
                return
            request, now = view.request, self._runtime.clock()
            case = view.case
            if kind == "policy" and case.terms.do == "ask":
                return  # somebody else saw meanwhile that it is past its limits, and people are asked
            if kind == "policy":
                batch, wakes = await self._by_policy(view, case, now)
            elif request.deadline_at is None or now < request.deadline_at:
                return
            else:
                decision = Decision(
                    "timed_out",
                    request.id,
                    request.digest,
                    at=now,
                    tier=case.terms.tier,
                    on_timeout=case.policy.on_timeout,
                )
                event = note(self._runtime, request, "request.timed_out", now)
                closed = await closing(self._runtime, view, decision, None)
                batch, wakes = Batch("expire", (*closed.writes, event)), closed.wakes
            won = await commit_or_lose(self._runtime, batch, view.run, wakes=wakes) is not None

    async def _by_policy(self, view: RequestView, case: Case, now: int) -> tuple[Batch, bool]:
        """Return what closes a request of a tier that asks nobody, and whether its run goes on.

        Past the limits of its tier that is none: it goes on by the next tier.
        """
        request, terms = view.request, case.terms
        approves = terms.do == "approve"
        counted = await quotas.take(self._store, case, now) if approves else ()
        if counted is None:
            return Batch("next tier", self._next_tier(view, case, now)), False
        standing = Standing("approved" if approves else "rejected", by=(POLICY,))
        vote = Vote(POLICY, "approve" if approves else "reject", terms.why, request.digest, now, "policy")
        why = said_with(self._runtime, request, vote.reviewer, vote.reason, now)
        said = {"tier": terms.tier, "rule": terms.why, **why.told}
        event = note(
            self._runtime, request, f"request.{standing.outcome}", now, actor=POLICY, line=why.line, **said
        )
        decision = decision_of(case, standing, terms.why, now)
        closed = await closing(self._runtime, view, decision, POLICY, has_card=False)
        writes = (*closed.writes, *put_vote(self._runtime, view, vote, why), *counted, event)
        return Batch("policy", writes), closed.wakes

    def _next_tier(self, view: RequestView, case: Case, now: int) -> tuple[Do, ...]:
        """Return what has the next tier decide a request, with its card where that asks people."""
        request, terms = view.request, quotas.next_terms(case)
        asks = terms.do == "ask"
        deadline = case.policy.deadline_at(now) if asks else None
        changed: Params = {
            "request_id": request.id,
            "revision": request.revision,
            "terms": terms.model_dump_json(exclude_none=True),
            "deadline_at": deadline,
        }
        due = due_of(case.policy, terms, now, deadline)
        return (
            Do("retier_request", changed, guard="request open"),
            Do("drop_due", {"request_id": request.id}),
            *(Do("put_due", {"kind": kind, "request_id": request.id, "due_at": at}) for kind, at in due),
            *((put_card(self._runtime.new_id("out"), request.id, now),) if asks else ()),
            note(
                self._runtime,
                request,
                "request.limited",
                now,
                actor=POLICY,
                tier=case.terms.tier,
                next=terms.tier,
            ),
        )

    async def _remind(self, request_id: str, kind: str) -> None:
        """Tell below the card that nobody has decided yet, once."""
        view = await self._due(request_id)
        if view is None:
            return
        request, now = view.request, self._runtime.clock()
        escalation = view.case.policy.escalate if kind == "escalate" else None
        # Who is away is not called; who acts for them is.
        away = await instead(view, self._directory)
        said: list[dict[str, Any]] = [{"what": "remind", "status": "open", "by": None, "instead": away}]
        if escalation is not None:
            acting = {one.person: one.delegate for one in view.delegations}
            to = acting.get(PersonId(escalation.to), escalation.to)
            said = [{"what": "escalate", "status": "open", "by": None, "to": to, "instead": away}]
            said += [{**said[0], "channel": escalation.notify}] if escalation.notify else []
        taken = Do("take_due", {"request_id": request_id, "kind": kind}, guard="line due")
        event = note(self._runtime, request, f"request.{'escalated' if escalation else 'reminded'}", now)
        # Somebody else told it when it was not there any more.
        with contextlib.suppress(Conflict):
            lines = (trail(self._runtime, request, one, now) for one in said)
            # Drawn anew, so that a card that somebody has deleted is missed by then.
            redrawn = Do("redraw_card", {"request_id": request.id, "now": now})
            await self._store.commit(Batch("remind", (taken, redrawn, *lines, event)))
            self._runtime.outbox_bell.ring()

    async def _due(self, request_id: str) -> RequestView | None:
        """Return a request for which something is due; None when it is closed, or its run waits."""
        view = await find_view(self._store, request_id, self._runtime.clock())
        if view is None or view.request.status != "open":
            await self._store.commit(Batch("drop due", (Do("drop_due", {"request_id": request_id}),)))
            return None
        waits = view.frozen or view.run.status not in {"queued", "running", "interrupted"}
        return None if waits else view
