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
from .ballots import changes, commit_or_lose, decision_of, note, put_vote, said_with, whose
from .closings import closing, trail
from .errors import Refused, StoreError
from .judging import (
    Case,
    Directory,
    Standing,
    bound_digest,
    check_kind,
    judge,
    make_vote,
    may_decide,
    with_vote,
)
from .lookup import asks_of, find_view, read_view
from .overdue import Overdue
from .runtime import Runtime
from .shown import RequestView
from .standins import Asked
from .storage import Ask, Batch, Do, Params
from .texts import Spoken
from .tickets import check_open, check_ticket
from .types import (
    Actor,
    ApprovalRequest,
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
        self._overdue = Overdue(runtime, directory)

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

        def allowed(reviewer: Reviewer, behalf: Reviewer | None) -> Refused | None:
            refusal = may_decide(case, reviewer, verdict, None, behalf=behalf)
            if verdict == "edit" and (refusal is None or refusal.code in ASKED_NEXT):
                return check_form(case)
            return refusal

        *_, refusal = await Asked(self._directory, actor, case.terms.refs).choose(view, allowed)
        if refusal is not None and refusal.code not in ASKED_NEXT:
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
        asked = Asked(self._directory, actor, ())
        reviewer, *_, refusal = await asked.choose(view, lambda who, _: check_kind(who))
        if refusal is not None and refusal.code != "MEMBERSHIP_UNKNOWN":
            refusal = Refused(refusal.code, _MEMBERS)
        digest = bound_digest(view.request, view.standing.arguments)
        if refusal is None and seen not in {None, digest}:
            refusal = Refused("STALE_ACTION", _CHANGED)
        if refusal is not None:
            await self.refuse(refusal, actor, place, ticket)
            raise refusal
        if seen is None:
            event = note(
                self._runtime,
                view.request,
                "request.details_shown",
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
        return await find_view(self._store, request_id, self._runtime.clock())

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
        return await self._overdue.do_due(limit)

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
        asked: Asked | None = None
        run: Run | None = None
        while run is None:
            # The commit is not under this timeout: once begun it ends, and only then is its outcome known.
            async with asyncio.timeout_at(until):
                view = await self._checked(ticket, actor, place)
                case = view.case
                asked = asked or Asked(self._directory, actor, case.terms.refs)
                before = judge(case)
                # What the last place left that was looked at: of an edit that is taken, its own.
                edits: list[Mapping[str, Any] | None] = []
                allowed = partial(_allowed, case, before, verdict, said, edits)
                reviewer, behalf, by, refusal = await asked.choose(view, allowed)
            arguments = edits[-1]
            if seen not in {None, before.round} and (refusal is None or refusal.code in ASKED_NEXT):
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
                standing=before,
            )
            after, why = (
                judge(with_vote(case, vote)),
                said_with(self._runtime, view.request, vote.reviewer, vote.reason, now),
            )
            if after.outcome == "open":
                event = self._event(view, "voted", vote, after, place, why)
                writes = (*self._vote(view, vote, after, why), event)
                run = await commit_or_lose(
                    self._runtime, Batch("vote", writes, give_up_at=until), view.run, wakes=False
                )
            else:
                decision = decision_of(case, after, reason, now)
                async with asyncio.timeout_at(until):
                    closed = await closing(self._runtime, view, decision, vote.reviewer)
                writes = (
                    *closed.writes,
                    *put_vote(self._runtime, view, vote, why),
                    self._event(view, after.outcome, vote, after, place, why),
                )
                batch = Batch("decide" if closed.wakes else "decide part", writes, give_up_at=until)
                run = await commit_or_lose(self._runtime, batch, view.run, wakes=closed.wakes)
        # As this batch left it, without reading it back: whoever clicked waits for the acknowledgement.
        closed_at = None if after.outcome == "open" else now
        left = replace(
            view.request, status=after.outcome, revision=view.request.revision + 1, closed_at=closed_at
        )
        return replace(view, request=left, run=run, votes=(*view.votes, vote))

    def _vote(self, view: RequestView, vote: Vote, after: Standing, why: Spoken) -> tuple[Do, ...]:
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
            *put_vote(self._runtime, view, vote, why),
            Do("redraw_card", {"request_id": request.id, "now": vote.at}),
            trail(self._runtime, request, said, vote.at),
        )

    def _event(
        self, view: RequestView, what: str, vote: Vote, after: Standing, place: Place, why: Spoken
    ) -> Do:
        return note(
            self._runtime,
            view.request,
            f"request.{what}",
            vote.at,
            actor=vote.reviewer,
            line=why.line,
            digest=vote.digest,
            surface=place.surface,
            channel=place.channel,
            message=place.message,
            **({} if what != "voted" else {"verdict": vote.verdict, "standing": str(after)}),
            **changes(view, vote),
            **why.told,
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


def _allowed(
    case: Case,
    before: Standing,
    verdict: Verdict,
    said: Said,
    edits: list[Mapping[str, Any] | None],
    reviewer: Reviewer,
    behalf: Reviewer | None,
) -> Refused | None:
    arguments, refusal = weigh(case, reviewer, before, verdict, said, behalf=behalf)
    edits.append(arguments)
    return refusal
