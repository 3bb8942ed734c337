"""One ``decide()`` for button, dialog, CLI and API: read, judge, and one guarded batch.

Who may and what the votes come to is judged in ``judging.py``, purely. Whoever loses a race (two reviewers, a
reviewer and the deadline, a reviewer and a cancel) reads again and is judged again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from . import records
from .absences import instead
from .closings import closing, trail
from .errors import Conflict, Refused, StoreError, StoreUnavailable, ValueRefused
from .judging import Case, Directory, Standing, bound_digest, judge, make_vote, may_decide, merge, with_vote
from .lookup import asks_of, read_view
from .plainjson import write_json
from .policy import ON_CALL
from .requests import POLICY
from .runtime import Runtime
from .shown import RequestView
from .standins import Asked, hold
from .storage import Ask, Batch, Do, Params
from .tickets import check_open, check_ticket
from .types import (
    Actor,
    ApprovalRequest,
    Decision,
    PersonId,
    Place,
    RequestStatus,
    Reviewer,
    Run,
    Ticket,
    Verdict,
    Vote,
)
from .values import Codec

#: A click must be answered within Slack's 3 s; past this it is told to try again, and nothing was recorded.
DECIDE_SECONDS = 1.8
#: What :meth:`Approvals.check` lets pass: a dialog is about to ask for it.
_ASKED_NEXT = frozenset({"REASON_REQUIRED", "INVALID_INPUT"})
_CHANGED = "Somebody has changed this since you were shown it. Nothing was recorded: look at the card again."
_plain = Codec()


class Approvals:
    """Takes decisions. Every refusal is one line in the journal and changes nothing else."""

    def __init__(self, runtime: Runtime, directory: Directory) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._directory = directory

    async def decide(
        self,
        ticket: Ticket,
        actor: Actor,
        verdict: Verdict,
        *,
        place: Place,
        reason: str | None = None,
        edited: Mapping[str, Any] | None = None,
        confirm: str | None = None,
        seen: int | None = None,
    ) -> RequestView:
        """Record the verdict in one commit, and return the request as it is then.

        A vote that decides the request answers the run's question in the same commit; one that does not
        leaves it open for the others. ``edited`` are the arguments that an edit changes, ``confirm`` is what
        was typed where the policy wants it typed, ``seen`` the round of edits that the person was shown: what
        somebody has edited since is not approved unseen (STALE_ACTION). Raises :class:`Refused` when the
        ticket is not that card's, the request is closed, the person may not, or the database stayed busy for
        :data:`DECIDE_SECONDS`; nothing but the refusal was recorded then.
        """
        until = asyncio.get_running_loop().time() + DECIDE_SECONDS
        try:
            return await self._decide(ticket, actor, verdict, place, (reason, edited, confirm, seen), until)
        except TimeoutError:
            refusal = Refused("BUSY", "This took too long and was not recorded. Click again.")
            with contextlib.suppress(StoreError):
                await self.refuse(refusal, actor, place, ticket)
            raise refusal from None

    async def check(self, ticket: Ticket, actor: Actor, verdict: Verdict, *, place: Place) -> RequestView:
        """Return the request when this person could give this verdict now, before a dialog asks them more.

        Raises :class:`Refused` as :meth:`decide` does, except for what a dialog asks for next.
        """
        view = await self._checked(ticket, actor, place)
        case = view.case

        def allowed(reviewer: Reviewer, behalf: Reviewer | None) -> Refused | None:
            return may_decide(case, reviewer, verdict, None, behalf=behalf)

        *_, refusal = await Asked(self._directory, actor, case.terms.refs).choose(view, allowed)
        if refusal is not None and refusal.code not in _ASKED_NEXT:
            await self.refuse(refusal, actor, place, ticket)
            raise refusal
        return view

    async def refuse(
        self, refusal: Refused, actor: Actor | None, place: Place, ticket: Ticket | None = None
    ) -> None:
        """Put a refusal in the journal. A ticket's ids are written as they were claimed."""
        event = records.put_event(
            self._runtime.new_id("evt"),
            "decision.refused",
            self._runtime.clock(),
            actor=None if actor is None else actor.id,
            # The only id that others choose; a forged one may hold what no database stores.
            thread_id=None if ticket is None else records.legible(ticket.thread_id),
            run_id=None if ticket is None else ticket.run_id,
            request_id=None if ticket is None else ticket.request_id,
            code=refusal.code,
            interrupt=None if ticket is None else ticket.interrupt_id,
            surface=place.surface,
            workspace=place.workspace,
            channel=place.channel,
            message=place.message,
        )
        # A refusal is worth a moment, not the person's three seconds.
        moment = asyncio.get_running_loop().time() + 0.5
        await self._store.commit(Batch("refuse", (event,), give_up_at=moment))

    async def view(self, request_id: str) -> RequestView | None:
        """Return the request with its run, votes and card from one snapshot, or None when there is none."""
        return read_view(await self._store.read(*asks_of(request_id, self._runtime.clock())))

    async def find(
        self, *, run_id: str = "", status: RequestStatus | None = None, limit: int = 50
    ) -> list[ApprovalRequest]:
        """Return requests, oldest first; of one run or status when given."""
        if run_id:
            ask = Ask("find_requests_of_run", {"run_id": run_id, "status": status or "", "limit": limit})
        elif status == "open":
            ask = Ask("find_open_requests", {"limit": limit})
        else:
            ask = Ask("find_requests", {"status": status or "", "limit": limit})
        (rows,) = await self._store.read(ask)
        return [records.read_request(row) for row in rows]

    async def expire_due(self, limit: int = 20) -> bool:
        """Do what is due; True when there was anything.

        Requests past their deadline close as timed_out and by nobody; what a policy decides by itself is
        decided; those who may decide are reminded.
        """
        params: Params = {"now": self._runtime.clock(), "limit": limit}
        (rows,) = await self._store.read(Ask("find_due", params))
        for row in rows:
            if row["kind"] in {"deadline", "policy"}:
                await self._settle(row["request_id"], row["kind"])
            else:
                await self._remind(row["request_id"], row["kind"])
        return bool(rows)

    async def _decide(
        self,
        ticket: Ticket,
        actor: Actor,
        verdict: Verdict,
        place: Place,
        said: tuple[str | None, Mapping[str, Any] | None, str | None, int | None],
        until: float,
    ) -> RequestView:
        reason, edited, confirm, seen = said
        asked: Asked | None = None
        run: Run | None = None
        while run is None:
            # The commit is not under this timeout: once begun it ends, and only then is its outcome known.
            async with asyncio.timeout_at(until):
                view = await self._checked(ticket, actor, place)
                case = view.case
                asked = asked or Asked(self._directory, actor, case.terms.refs)
                before = judge(case)
                arguments = None if edited is None or verdict != "edit" else merge(case, before, edited)
                more: dict[str, Any] = {"arguments": arguments, "confirm": confirm}
                allowed = partial(_allowed, case, verdict, reason, more)
                reviewer, behalf, by, refusal = await asked.choose(view, allowed)
            if seen not in {None, before.round} and (refusal is None or refusal.code in _ASKED_NEXT):
                refusal = Refused("STALE_ACTION", _CHANGED)
            if refusal is not None:
                await self.refuse(refusal, actor, place, ticket)
                raise refusal
            now = self._runtime.clock()
            vote = make_vote(
                case,
                reviewer,
                verdict,
                reason,
                behalf=behalf,
                delegation=None if by is None else by.id,
                arguments=arguments,
                at=now,
                surface=place.surface,
            )
            after = judge(with_vote(case, vote))
            if after.outcome == "open":
                writes = (*self._vote(view, vote, after), self._event(view, "voted", vote, after, place))
                run = await self._won(Batch("vote", writes, give_up_at=until), view.run, wakes=False)
            else:
                decision = self._decision(case, after, reason, now)
                async with asyncio.timeout_at(until):
                    closed = await closing(self._runtime, view, decision, vote.reviewer)
                writes = (
                    *closed.writes,
                    *self._put_vote(view, vote),
                    self._event(view, after.outcome, vote, after, place),
                )
                batch = Batch("decide" if closed.wakes else "decide part", writes, give_up_at=until)
                run = await self._won(batch, view.run, wakes=closed.wakes)
        # As this batch left it, without reading it back: whoever clicked waits for the acknowledgement.
        closed_at = None if after.outcome == "open" else now
        left = replace(
            view.request, status=after.outcome, revision=view.request.revision + 1, closed_at=closed_at
        )
        return replace(view, request=left, run=run, votes=(*view.votes, vote))

    def _decision(self, case: Case, after: Standing, reason: str | None, now: int) -> Decision:
        request = case.request
        decision = Decision(
            after.outcome,
            request.id,
            bound_digest(request, after.arguments),
            after.by,
            reason,
            now,
            tier=case.terms.tier,
            arguments=after.arguments if after.outcome == "edited" else None,
        )
        return replace(decision, opens_at=case.policy.opens_at(now)) if decision.approved else decision

    def _put_vote(self, view: RequestView, vote: Vote) -> tuple[Do, ...]:
        put = Do(
            "put_decision",
            {
                "decision_id": self._runtime.new_id("dec"),
                "request_id": view.request.id,
                "reviewer": vote.reviewer,
                "verdict": vote.verdict,
                "reason": vote.reason,
                "digest": vote.digest,
                "surface": vote.surface,
                "groups": write_json(sorted(vote.groups)),
                "stage": vote.stage,
                "round": vote.round,
                "arguments": None if vote.arguments is None else _plain.encode(vote.arguments),
                "on_behalf_of": vote.on_behalf_of,
                "delegation_id": vote.delegation,
                "one_with": write_json(sorted(vote.one_with)),
                "now": vote.at,
            },
        )
        return *hold(vote.delegation, vote.at), put

    def _vote(self, view: RequestView, vote: Vote, after: Standing) -> tuple[Do, ...]:
        """Return what a vote writes that leaves its request open."""
        request = view.request
        counted: Params = {"request_id": request.id, "revision": request.revision}
        said = {
            "what": "vote",
            "status": vote.verdict,
            "by": vote.reviewer,
            "for": vote.on_behalf_of,
            "seats": [[s.name, s.filled, s.count, [*s.people], [*s.groups]] for s in after.seats],
            "stage": after.stage,
            "stages": after.stages,
            "rejections": after.rejections,
            "veto": after.veto,
        }
        return (
            Do("vote_request", counted, guard="request open"),
            *self._put_vote(view, vote),
            Do("redraw_card", {"request_id": request.id, "now": vote.at}),
            trail(self._runtime, request, said, vote.at),
        )

    def _event(self, view: RequestView, what: str, vote: Vote, after: Standing, place: Place) -> Do:
        return records.put_event(
            self._runtime.new_id("evt"),
            f"request.{what}",
            vote.at,
            actor=vote.reviewer,
            thread_id=view.request.thread_id,
            run_id=view.request.run_id,
            request_id=view.request.id,
            digest=vote.digest,
            surface=place.surface,
            channel=place.channel,
            message=place.message,
            **({} if what != "voted" else {"verdict": vote.verdict, "standing": str(after)}),
            **whose(vote),
        )

    async def _checked(self, ticket: Ticket, actor: Actor, place: Place) -> RequestView:
        at: Params = {
            "surface": place.surface,
            "workspace": place.workspace,
            "channel": place.channel,
            "message": place.message,
        }
        owners, asking, *rows = await self._store.read(
            Ask("get_receipt_at", at),
            Ask("find_asking", {"run_id": ticket.run_id}),
            *asks_of(ticket.request_id, self._runtime.clock()),
        )
        view = read_view(rows)
        refusal = check_ticket(
            ticket,
            place,
            deployment=self._store.deployment,
            request=None if view is None else view.request,
            card=None if view is None else view.card,
            owner_of_place=owners[0]["request_id"] if owners else None,
        )
        if refusal is None and view is not None:
            refusal = check_open(view, self._runtime.clock())
        if refusal is None and view is not None and self._runtime.answers.changed(view.run, asking):
            refusal = Refused(
                "GRAPH_CHANGED",
                "The workflow was changed after this was asked, so an operator must look first. "
                "Nothing was recorded.",
            )
        if refusal is not None and refusal.code == "UNKNOWN_REQUEST" and await self._was_pruned(ticket):
            refusal = Refused(
                "NO_LONGER_KEPT",
                "This request is no longer kept: it was over, and its time has passed. Nothing was recorded.",
            )
        if refusal is not None:
            await self.refuse(refusal, actor, place, ticket)
            raise refusal
        assert view is not None
        return view

    async def _was_pruned(self, ticket: Ticket) -> bool:
        """Say whether the journal knows the request, although it is not there any more."""
        named: Params = {"run_id": ticket.run_id, "request_id": ticket.request_id}
        (known,) = await self._store.read(Ask("get_opening", named))
        return bool(known)

    async def _settle(self, request_id: str, kind: str) -> None:
        """Close a request past its deadline, or one that its policy decides by itself."""
        won = False
        while not won:
            view = await self._due(request_id)
            if view is None:
                return
            request, now = view.request, self._runtime.clock()
            case = view.case
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
                event = self._noted(request, "timed_out", now)
                closed = await closing(self._runtime, view, decision, None)
                batch, wakes = Batch("expire", (*closed.writes, event)), closed.wakes
            won = await self._won(batch, view.run, wakes=wakes) is not None

    async def _by_policy(self, view: RequestView, case: Case, now: int) -> tuple[Batch, bool]:
        """Return what closes a request of a tier that asks nobody, and whether its run goes on."""
        request, terms = view.request, case.terms
        approves = terms.do == "approve"
        standing = Standing("approved" if approves else "rejected", by=(POLICY,))
        vote = Vote(POLICY, "approve" if approves else "reject", terms.why, request.digest, now, "policy")
        event = self._noted(request, standing.outcome, now, actor=POLICY, tier=terms.tier, rule=terms.why)
        decision = self._decision(case, standing, terms.why, now)
        # It has no card, so nothing is told in a thread below one.
        closed = await closing(self._runtime, view, decision, POLICY, told=False)
        return Batch("policy", (*closed.writes, *self._put_vote(view, vote), event)), closed.wakes

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
        event = self._noted(request, "escalated" if escalation else "reminded", now)
        # Somebody else told it when it was not there any more.
        with contextlib.suppress(Conflict):
            lines = (trail(self._runtime, request, one, now) for one in said)
            await self._store.commit(Batch("remind", (taken, *lines, event)))
            self._runtime.outbox_bell.ring()

    async def _due(self, request_id: str) -> RequestView | None:
        """Return a request for which something is due; None when it is closed, or its run waits."""
        view = await self.view(request_id)
        if view is None or view.request.status != "open":
            await self._store.commit(Batch("drop due", (Do("drop_due", {"request_id": request_id}),)))
            return None
        waits = view.frozen or view.run.status not in {"queued", "running", "interrupted"}
        return None if waits else view

    def _noted(
        self, request: ApprovalRequest, what: str, now: int, actor: str | None = None, **data: str | None
    ) -> Do:
        return records.put_event(
            self._runtime.new_id("evt"),
            f"request.{what}",
            now,
            actor=actor,
            thread_id=request.thread_id,
            run_id=request.run_id,
            request_id=request.id,
            **data,
        )

    async def _won(self, batch: Batch, run: Run, *, wakes: bool = True) -> Run | None:
        """Return the run as the batch left it: woken, or claimed at once. None when another batch won."""
        try:
            if wakes:
                returned = await self._runtime.ground.commit_waking(batch, run)
            else:
                await self._store.commit(batch)
        except Conflict:
            return None
        except StoreUnavailable:
            late = batch.give_up_at is not None and asyncio.get_running_loop().time() >= batch.give_up_at
            if late:
                raise TimeoutError from None
            raise
        self._runtime.outbox_bell.ring()
        return records.read_left(returned) if wakes else run


def _allowed(
    case: Case,
    verdict: Verdict,
    reason: str | None,
    more: Mapping[str, Any],
    reviewer: Reviewer,
    behalf: Reviewer | None,
) -> Refused | None:
    unstorable = _check_storable(more["arguments"])
    return unstorable or may_decide(case, reviewer, verdict, reason, behalf=behalf, **more)


def whose(vote: Vote) -> dict[str, Any]:
    """Return what the journal says of a vote besides who cast it: in whose place, and on which call."""
    acted = {"on_behalf_of": vote.on_behalf_of, "delegation": vote.delegation} if vote.on_behalf_of else {}
    on_call = sorted(one.removeprefix(ON_CALL) for one in vote.groups if one.startswith(ON_CALL))
    return {**acted, **({"on_call": on_call} if on_call else {})}


def _check_storable(arguments: Mapping[str, Any] | None) -> Refused | None:
    try:
        _plain.encode(arguments)
    except ValueRefused as error:
        return Refused("INVALID_INPUT", str(error))
    return None
