"""One ``decide()`` for button, dialog, CLI and API: read, judge, and one guarded batch.

``check_ticket``, ``may_decide`` and ``judge`` are pure: no await, no clock, no chance. Whoever loses a race
(two reviewers, a reviewer and the deadline, a reviewer and a cancel) reads again and is judged again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

from . import records
from .errors import Conflict, Refused, StoreError, StoreUnavailable
from .plainjson import write_json
from .policy import Policy
from .runtime import Runtime
from .shown import RequestView
from .storage import Ask, Batch, Do, Params, Row
from .types import (
    Actor,
    ApprovalRequest,
    Decision,
    GroupId,
    PersonId,
    Place,
    RequestId,
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
_OUTCOME: dict[Verdict, RequestStatus] = {"approve": "approved", "reject": "rejected"}
_plain = Codec()


class Directory(Protocol):
    """Knows people and groups; the runtime only knows their ids."""

    async def reviewer(self, actor: Actor, groups: Collection[GroupId]) -> Reviewer:
        """Return who this is now, with those of ``groups`` they are in.

        What cannot be learned is said in the result (``kind="unknown"``, ``unknown`` groups), never guessed.
        """
        ...


def check_ticket(
    ticket: Ticket,
    place: Place,
    *,
    deployment: str,
    request: ApprovalRequest | None,
    card: Place | None,
    owner_of_place: RequestId | None,
) -> Refused | None:
    """Say why this ticket, used at this place, is not the ticket of that request; None when it is.

    ``owner_of_place`` is the request whose card really lies there.
    """
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
    if card is None:
        return Refused("NO_CARD_YET", "This card is just being posted. Nothing was recorded; click again.")
    if place.channel != card.channel:
        return Refused("WRONG_CHANNEL", "This card belongs in another channel. Nothing was recorded.")
    if place.message != card.message:
        return Refused("WRONG_MESSAGE", "This is not the card of this request. Nothing was recorded.")
    return None


def check_open(view: RequestView, now: int) -> Refused | None:
    """Say why this request takes no decision any more; None while it is open and in time."""
    request, votes = view.request, view.votes
    if request.status in {"withdrawn", "superseded"}:
        return Refused("NOT_PENDING", f"This request was {request.status}. Nothing was recorded.")
    if request.status == "timed_out" or (
        request.status == "open" and request.deadline_at is not None and now >= request.deadline_at
    ):
        return Refused("EXPIRED", "The deadline has passed. Nothing was recorded.", at=request.deadline_at)
    if request.status != "open":
        by = tuple(vote.reviewer for vote in votes)
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


def may_decide(
    request: ApprovalRequest, policy: Policy, reviewer: Reviewer, verdict: Verdict, reason: str | None
) -> Refused | None:
    """Say why this reviewer may not give this verdict; None when they may. An unknown is a no."""
    match reviewer.kind:
        case "external":
            return Refused("EXTERNAL_USER", "People of other workspaces may not decide here.")
        case "guest":
            return Refused("GUEST_USER", "Guests may not decide here.")
        case "bot":
            return Refused("BOT_USER", "Bots may not decide.")
        case "deactivated":
            return Refused("DEACTIVATED_USER", "This account is deactivated.")
        case "unknown":
            return _unknown("who you are")
    if verdict not in _OUTCOME:
        return Refused("UNKNOWN_ACTION", "There is no such answer to this request. Nothing was recorded.")
    party = reviewer.id == request.requester or reviewer.id in request.also
    if verdict == "reject" and party:
        return _check_reason(policy, verdict, reason)
    if verdict == "approve" and party and policy.self_approval == "forbid":
        return Refused("SELF_APPROVAL", "You asked for this, so somebody else must approve it.")
    if reviewer.id not in policy.people and not reviewer.groups & set(policy.groups):
        if reviewer.unknown & set(policy.groups):
            return _unknown("whether you are in the group that may decide")
        return Refused("NOT_APPROVER", "You are not among those who may decide this.")
    return _check_reason(policy, verdict, reason)


def _unknown(what: str) -> Refused:
    return Refused(
        "MEMBERSHIP_UNKNOWN", f"It could not be checked {what}. Nothing was recorded; try again in a minute."
    )


def _check_reason(policy: Policy, verdict: Verdict, reason: str | None) -> Refused | None:
    if verdict == "reject" and policy.reject_reason == "required" and not (reason or "").strip():
        return Refused("REASON_REQUIRED", "Say why, so that the requester can act on it.")
    return None


def judge(votes: Sequence[tuple[PersonId, Verdict]]) -> RequestStatus:
    """Return what the votes make of an open request: one vote decides it."""
    return _OUTCOME[votes[-1][1]] if votes else "open"


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
    ) -> RequestView:
        """Record the verdict and answer the run's question, in one commit; return the request as it is then.

        Raises :class:`Refused` when the ticket is not that card's, the request is closed, the person may not,
        or the database stayed busy for :data:`DECIDE_SECONDS`; nothing but the refusal was recorded then.
        """
        until = asyncio.get_running_loop().time() + DECIDE_SECONDS
        try:
            return await self._decide(ticket, actor, verdict, place, reason, until)
        except TimeoutError:
            refusal = Refused("BUSY", "This took too long and was not recorded. Click again.")
            with contextlib.suppress(StoreError):
                await self.refuse(refusal, actor, place, ticket)
            raise refusal from None

    async def check(self, ticket: Ticket, actor: Actor, verdict: Verdict, *, place: Place) -> RequestView:
        """Return the request when this person could give this verdict now, before a dialog asks them more.

        Raises :class:`Refused` as :meth:`decide` does, except for a missing reason.
        """
        view = await self._checked(ticket, actor, place)
        reviewer = await self._reviewer(view, actor)
        refusal = may_decide(view.request, _policy(view.request), reviewer, verdict, None)
        if refusal is not None and refusal.code != "REASON_REQUIRED":
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
        requests, runs, decisions, cards = await self._store.read(*_asks_of(request_id))
        return _view(requests, runs, decisions, cards)

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
        """Close requests whose deadline has passed, as timed_out and by nobody; True when there were any."""
        params: Params = {"now": self._runtime.clock(), "limit": limit}
        (rows,) = await self._store.read(Ask("find_due", params))
        for row in rows:
            await self._expire(row["request_id"])
        return bool(rows)

    async def _decide(
        self,
        ticket: Ticket,
        actor: Actor,
        verdict: Verdict,
        place: Place,
        reason: str | None,
        until: float,
    ) -> RequestView:
        reviewer: Reviewer | None = None
        run: Run | None = None
        while run is None:
            # The commit is not under this timeout: once begun it ends, and only then is its outcome known.
            async with asyncio.timeout_at(until):
                view = await self._checked(ticket, actor, place)
                request = view.request
                # Asked once per click: the answer is at most as old as this click.
                reviewer = reviewer or await self._reviewer(view, actor)
            refusal = may_decide(request, _policy(request), reviewer, verdict, reason)
            if refusal is not None:
                await self.refuse(refusal, actor, place, ticket)
                raise refusal
            votes = [(vote.reviewer, vote.verdict) for vote in view.votes]
            status = judge([*votes, (reviewer.id, verdict)])
            now = self._runtime.clock()
            decision = Decision(status, request.id, request.digest, (reviewer.id,), reason, now)
            vote: Params = {
                "decision_id": self._runtime.new_id("dec"),
                "request_id": request.id,
                "reviewer": reviewer.id,
                "verdict": verdict,
                "reason": reason,
                "digest": request.digest,
                "surface": place.surface,
                "now": now,
            }
            event = records.put_event(
                self._runtime.new_id("evt"),
                f"request.{status}",
                now,
                actor=reviewer.id,
                thread_id=request.thread_id,
                run_id=request.run_id,
                request_id=request.id,
                digest=request.digest,
                surface=place.surface,
                channel=place.channel,
                message=place.message,
            )
            writes = (*self._close(view, decision, reviewer.id), Do("put_decision", vote), event)
            run = await self._won(Batch("decide", writes, give_up_at=until), view.run)
        assert reviewer is not None
        # As this batch left it, without reading it back: whoever clicked waits for the acknowledgement.
        closed = replace(request, status=status, revision=request.revision + 1, closed_at=now)
        cast = Vote(reviewer.id, verdict, reason, request.digest, now, place.surface)
        return RequestView(closed, run, (*view.votes, cast), view.card)

    async def _checked(self, ticket: Ticket, actor: Actor, place: Place) -> RequestView:
        at: Params = {
            "surface": place.surface,
            "workspace": place.workspace,
            "channel": place.channel,
            "message": place.message,
        }
        requests, runs, decisions, cards, owners, asking = await self._store.read(
            *_asks_of(ticket.request_id),
            Ask("get_receipt_at", at),
            Ask("find_asking", {"run_id": ticket.run_id}),
        )
        view = _view(requests, runs, decisions, cards)
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

    async def _reviewer(self, view: RequestView, actor: Actor) -> Reviewer:
        if view.card is not None and actor.workspace and actor.workspace != view.card.workspace:
            return Reviewer(actor.id, kind="external")
        return await self._directory.reviewer(actor, _policy(view.request).groups)

    async def _expire(self, request_id: str) -> None:
        won = False
        while not won:
            view = await self.view(request_id)
            if view is None or view.request.status != "open":
                await self._store.commit(Batch("drop due", (Do("drop_due", {"request_id": request_id}),)))
                return
            request, now = view.request, self._runtime.clock()
            if view.run.status not in {"queued", "running", "interrupted"}:
                return
            if request.deadline_at is None or now < request.deadline_at:
                return
            decision = Decision("timed_out", request.id, request.digest, at=now)
            event = records.put_event(
                self._runtime.new_id("evt"),
                "request.timed_out",
                now,
                thread_id=request.thread_id,
                run_id=request.run_id,
                request_id=request.id,
            )
            batch = Batch("expire", (*self._close(view, decision, None), event))
            won = await self._won(batch, view.run) is not None

    def _close(self, view: RequestView, decision: Decision, by: PersonId | None) -> tuple[Do, ...]:
        """Return what every closing writes: run, request, answer, card and thread, in that order of locks."""
        request, now = view.request, decision.at
        answer = decision if request.action is not None else _plain_answer(decision)
        payload = write_json({"what": "request", "status": decision.outcome, "by": by})
        return (
            self._runtime.answers.wake(view.run),
            Do(
                "close_request",
                {
                    "request_id": request.id,
                    "status": decision.outcome,
                    "revision": request.revision,
                    "now": now,
                },
                guard="request open",
            ),
            self._runtime.answers.answer(view.run, request.interrupt_id, _plain.encode(answer), by, now),
            Do("drop_due", {"request_id": request.id}),
            Do("redraw_card", {"request_id": request.id, "now": now}),
            Do(
                "put_entry",
                {
                    "entry_id": self._runtime.new_id("out"),
                    "kind": "trail",
                    "request_id": request.id,
                    "payload": payload,
                    "now": now,
                },
            ),
        )

    async def _won(self, batch: Batch, run: Run) -> Run | None:
        """Return the run as the batch left it: woken, or claimed at once. None when another batch won."""
        try:
            returned = await self._runtime.ground.commit_waking(batch, run)
        except Conflict:
            return None
        except StoreUnavailable:
            late = batch.give_up_at is not None and asyncio.get_running_loop().time() >= batch.give_up_at
            if late:
                raise TimeoutError from None
            raise
        self._runtime.outbox_bell.ring()
        return records.read_left(returned)


def _asks_of(request_id: str) -> tuple[Ask, ...]:
    params: Params = {"request_id": request_id}
    return (
        Ask("get_request", params),
        Ask("get_run_of_request", params),
        Ask("find_decisions", params),
        Ask("get_card", params),
    )


def _view(
    requests: Sequence[Row], runs: Sequence[Row], decisions: Sequence[Row], cards: Sequence[Row]
) -> RequestView | None:
    if not requests:
        return None
    return RequestView(
        request=records.read_request(requests[0]),
        run=records.read_run(runs[0]),
        votes=tuple(records.read_vote(row) for row in decisions),
        card=records.read_place(cards[0]) if cards else None,
    )


def _policy(request: ApprovalRequest) -> Policy:
    return _read_policy(write_json(request.policy))


@lru_cache(maxsize=256)
def _read_policy(text: str) -> Policy:
    return Policy.model_validate_json(text)


def _plain_answer(decision: Decision) -> dict[str, str | None]:
    said = {"approved": "approve", "rejected": "reject"}.get(decision.outcome, decision.outcome)
    return {
        "decision": said,
        "reason": decision.reason,
        "by": decision.by[0] if decision.by else None,
        "request_id": decision.request_id,
    }
