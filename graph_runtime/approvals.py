"""One ``decide()`` for button, dialog, CLI and API: read, judge, and one guarded batch.

Who may and what the votes come to is judged in ``judging.py``, purely. Whoever loses a race (two reviewers, a
reviewer and the deadline, a reviewer and a cancel) reads again and is judged again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import quotas, records
from .closings import closing, trail
from .errors import Conflict, Refused, StoreError, StoreUnavailable
from .judging import Case, Directory, Standing, bound_digest, check_kind, judge, may_decide, with_vote
from .plainjson import write_json
from .requests import POLICY, due_of, put_card
from .runtime import Runtime
from .shown import RequestView
from .storage import Ask, Batch, Do, Params, Row
from .texts import Spoken, spoken
from .tickets import check_open, check_ticket
from .types import (
    Actor,
    ApprovalRequest,
    Decision,
    GroupId,
    Place,
    RequestStatus,
    Reviewer,
    Run,
    Ticket,
    Verdict,
    Vote,
)
from .values import Codec
from .verdicts import ASKED_NEXT, Said, check_form, weigh

#: A click must be answered within Slack's 3 s; past this it is told to try again, and nothing was recorded.
DECIDE_SECONDS = 1.8
_CHANGED = "Somebody has changed this since you were shown it. Nothing was recorded: look at the card again."
_MEMBERS = "Only full members of this workspace are shown all of it. Nothing was recorded."
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
        somebody has edited since is not approved unseen (STALE_ACTION). What is edited of a request with a
        form is what that makes of it. Raises :class:`Refused` when the ticket is not that card's, the request
        is closed, the person may not, the form refuses what was edited (then ``fields`` says what, of which
        argument), or the database stayed busy for :data:`DECIDE_SECONDS`; only the refusal was recorded.
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
        reviewer = await self._reviewer(view, case.terms.refs, actor)
        refusal = may_decide(case, reviewer, verdict, None)
        if refusal is None or refusal.code in ASKED_NEXT:
            refusal = check_form(case) if verdict == "edit" else None
        if refusal is not None:
            await self.refuse(refusal, actor, place, ticket)
            raise refusal
        return view

    async def disclose(
        self, ticket: Ticket, actor: Actor, *, place: Place, seen: str | None = None
    ) -> RequestView:
        """Return the request, all of which a full member is about to be shown. It decides nothing.

        That they asked for it, and by which digest it was bound then, is in the journal before it is
        returned. With ``seen``, the digest of what they look at already, they turn a page: nothing is
        written, and what somebody has changed since is refused (STALE_ACTION). Raises :class:`Refused` as
        :meth:`decide` does, but whoever is a full member may look.
        """
        view = await self._checked(ticket, actor, place)
        reviewer = await self._reviewer(view, (), actor)
        refusal = check_kind(reviewer)
        if refusal is not None and refusal.code != "MEMBERSHIP_UNKNOWN":
            refusal = Refused(refusal.code, _MEMBERS)
        digest = bound_digest(view.request, view.standing.arguments)
        if refusal is None and seen not in {None, digest}:
            refusal = Refused("STALE_ACTION", _CHANGED)
        if refusal is not None:
            await self.refuse(refusal, actor, place, ticket)
            raise refusal
        if seen is None:
            event = self._noted(
                view.request,
                "details_shown",
                self._runtime.clock(),
                actor=reviewer.id,
                digest=digest,
                surface=place.surface,
                channel=place.channel,
                message=place.message,
            )
            moment = asyncio.get_running_loop().time() + 0.5
            await self._store.commit(Batch("disclose", (event,), give_up_at=moment))
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
        """Return the request with its run, votes and cards from one snapshot, or None when there is none."""
        return _view(*await self._store.read(*_asks_of(request_id)))

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
        said: Said,
        until: float,
    ) -> RequestView:
        reason, _, _, seen = said
        reviewer: Reviewer | None = None
        run: Run | None = None
        while run is None:
            # The commit is not under this timeout: once begun it ends, and only then is its outcome known.
            async with asyncio.timeout_at(until):
                view = await self._checked(ticket, actor, place)
                case = view.case
                # Asked once per click: the answer is at most as old as this click.
                reviewer = reviewer or await self._reviewer(view, case.terms.refs, actor)
            before = judge(case)
            arguments, refusal = weigh(case, reviewer, before, verdict, said)
            if seen not in {None, before.round} and (refusal is None or refusal.code in ASKED_NEXT):
                refusal = Refused("STALE_ACTION", _CHANGED)
            if refusal is not None:
                await self.refuse(refusal, actor, place, ticket)
                raise refusal
            now = self._runtime.clock()
            vote = Vote(
                reviewer.id,
                verdict,
                reason,
                bound_digest(view.request, before.arguments if arguments is None else arguments),
                now,
                place.surface,
                reviewer.groups,
                before.stage,
                before.round + (verdict == "edit"),
                arguments,
            )
            after, why = judge(with_vote(case, vote)), self._spoken(view, vote)
            if after.outcome == "open":
                event = self._event(view, "voted", vote, after, place, why)
                writes = (*self._vote(view, vote, after, why), event)
                run = await self._won(Batch("vote", writes, give_up_at=until), view.run, wakes=False)
            else:
                decision = self._decision(case, after, reason, now)
                async with asyncio.timeout_at(until):
                    closed = await closing(self._runtime, view, decision, reviewer.id)
                writes = (
                    *closed.writes,
                    *self._put_vote(view, vote, why),
                    self._event(view, after.outcome, vote, after, place, why),
                )
                batch = Batch("decide" if closed.wakes else "decide part", writes, give_up_at=until)
                run = await self._won(batch, view.run, wakes=closed.wakes)
        # As this batch left it, without reading it back: whoever clicked waits for the acknowledgement.
        closed_at = None if after.outcome == "open" else now
        left = replace(
            view.request, status=after.outcome, revision=view.request.revision + 1, closed_at=closed_at
        )
        return RequestView(left, run, (*view.votes, vote), view.cards, view.frozen)

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

    def _spoken(self, view: RequestView, vote: Vote) -> Spoken:
        request = view.request
        return spoken(
            self._runtime.new_id("evt"),
            vote.reviewer,
            vote.reason,
            vote.at,
            thread_id=request.thread_id,
            request_id=request.id,
        )

    def _put_vote(self, view: RequestView, vote: Vote, why: Spoken) -> tuple[Do, ...]:
        put = Do(
            "put_decision",
            {
                "decision_id": self._runtime.new_id("dec"),
                "request_id": view.request.id,
                "reviewer": vote.reviewer,
                "verdict": vote.verdict,
                "text_id": why.text_id,
                "digest": vote.digest,
                "surface": vote.surface,
                "groups": write_json(sorted(vote.groups)),
                "stage": vote.stage,
                "round": vote.round,
                "arguments": None if vote.arguments is None else _plain.encode(vote.arguments),
                "now": vote.at,
            },
        )
        return put, *why.writes

    def _vote(self, view: RequestView, vote: Vote, after: Standing, why: Spoken) -> tuple[Do, ...]:
        """Return what a vote writes that leaves its request open."""
        request = view.request
        counted: Params = {"request_id": request.id, "revision": request.revision}
        said = {
            "what": "vote",
            "status": vote.verdict,
            "by": vote.reviewer,
            "seats": [[s.name, s.filled, s.count, [*s.people], [*s.groups]] for s in after.seats],
            "stage": after.stage,
            "stages": after.stages,
            "rejections": after.rejections,
            "veto": after.veto,
        }
        return (
            Do("vote_request", counted, guard="request open"),
            *self._put_vote(view, vote, why),
            Do("redraw_card", {"request_id": request.id, "now": vote.at}),
            trail(self._runtime, request, said, vote.at),
        )

    def _event(
        self, view: RequestView, what: str, vote: Vote, after: Standing, place: Place, why: Spoken
    ) -> Do:
        return records.put_event(
            why.line,
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
            **why.told,
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
            *_asks_of(ticket.request_id),
        )
        view = _view(*rows)
        refusal = check_ticket(
            ticket,
            place,
            deployment=self._store.deployment,
            request=None if view is None else view.request,
            cards=() if view is None else view.cards.values(),
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

    async def _reviewer(self, view: RequestView, groups: Collection[GroupId], actor: Actor) -> Reviewer:
        if view.card is not None and actor.workspace and actor.workspace != view.card.workspace:
            return Reviewer(actor.id, kind="external")
        return await self._directory.reviewer(actor, groups)

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
                event = self._noted(request, "timed_out", now)
                closed = await closing(self._runtime, view, decision, None)
                batch, wakes = Batch("expire", (*closed.writes, event)), closed.wakes
            won = await self._won(batch, view.run, wakes=wakes) is not None

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
        why = self._spoken(view, vote)
        said = {"tier": terms.tier, "rule": terms.why, **why.told}
        event = self._noted(request, standing.outcome, now, actor=POLICY, line=why.line, **said)
        decision = self._decision(case, standing, terms.why, now)
        # It has no card, so nothing is told in a thread below one.
        closed = await closing(self._runtime, view, decision, POLICY, told=False)
        writes = (*closed.writes, *self._put_vote(view, vote, why), *counted, event)
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
            self._noted(request, "limited", now, actor=POLICY, tier=case.terms.tier, next=terms.tier),
        )

    async def _remind(self, request_id: str, kind: str) -> None:
        """Tell below the card that nobody has decided yet, once."""
        view = await self._due(request_id)
        if view is None:
            return
        request, now = view.request, self._runtime.clock()
        escalation = view.case.policy.escalate if kind == "escalate" else None
        said: list[dict[str, Any]] = [{"what": "remind", "status": "open", "by": None}]
        if escalation is not None:
            said = [{"what": "escalate", "status": "open", "by": None, "to": escalation.to}]
            said += [{**said[0], "channel": escalation.notify}] if escalation.notify else []
        taken = Do("take_due", {"request_id": request_id, "kind": kind}, guard="line due")
        event = self._noted(request, "escalated" if escalation else "reminded", now)
        # Somebody else told it when it was not there any more.
        with contextlib.suppress(Conflict):
            lines = (trail(self._runtime, request, one, now) for one in said)
            # Drawn anew, so that a card that somebody has deleted is missed by then.
            redrawn = Do("redraw_card", {"request_id": request.id, "now": now})
            await self._store.commit(Batch("remind", (taken, redrawn, *lines, event)))
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
        self,
        request: ApprovalRequest,
        what: str,
        now: int,
        actor: str | None = None,
        line: str | None = None,
        **data: str | None,
    ) -> Do:
        return records.put_event(
            line or self._runtime.new_id("evt"),
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


def _asks_of(request_id: str) -> tuple[Ask, ...]:
    params: Params = {"request_id": request_id}
    return (
        Ask("get_request", params),
        Ask("get_run_of_request", params),
        Ask("find_decisions", params),
        Ask("find_cards", params),
        Ask("find_freezes"),
    )


def _view(
    requests: Sequence[Row],
    runs: Sequence[Row],
    decisions: Sequence[Row],
    cards: Sequence[Row],
    freezes: Sequence[Row],
) -> RequestView | None:
    if not requests:
        return None
    request = records.read_request(requests[0])
    return RequestView(
        request=request,
        run=records.read_run(runs[0]),
        votes=tuple(records.read_vote(row) for row in decisions),
        cards={row["entry_id"]: records.read_place(row) for row in cards},
        frozen=any(row["scope"] in {"all", f"graph:{request.graph}"} for row in freezes),
    )
