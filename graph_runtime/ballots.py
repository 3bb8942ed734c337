"""What a verdict writes: the vote, what was said with it, its line in the journal; and the commit of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from . import records
from .errors import Conflict, StoreUnavailable
from .judging import Case, Standing, bound_digest
from .plainjson import write_json
from .policy import ON_CALL
from .runtime import Runtime
from .shown import RequestView
from .standins import hold
from .storage import Batch, Do
from .texts import Spoken, spoken
from .types import ApprovalRequest, Decision, Run, Vote
from .values import Codec

_plain = Codec()


def decision_of(case: Case, after: Standing, reason: str | None, now: int) -> Decision:
    """Return what a request came to, as its run is told."""
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


def said_with(
    runtime: Runtime, request: ApprovalRequest | None, person: str, words: str | None, now: int
) -> Spoken:
    """Return a new line of the journal with what somebody says beside it, of a request where it is of one."""
    return spoken(
        runtime.new_id("evt"),
        person,
        words,
        now,
        thread_id=None if request is None else request.thread_id,
        request_id=None if request is None else request.id,
    )


def put_vote(runtime: Runtime, view: RequestView, vote: Vote, why: Spoken) -> tuple[Do, ...]:
    """Return what keeps a vote; it is held up by a delegation that does not hold any more."""
    put = Do(
        "put_decision",
        {
            "decision_id": runtime.new_id("dec"),
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
            "on_behalf_of": vote.on_behalf_of,
            "delegation_id": vote.delegation,
            "one_with": write_json(sorted(vote.one_with)),
            "now": vote.at,
        },
    )
    return *hold(vote.delegation, vote.at), put, *why.writes


def note(
    runtime: Runtime,
    request: ApprovalRequest,
    kind: str,
    now: int,
    actor: str | None = None,
    line: str | None = None,
    **data: Any,
) -> Do:
    """Return a line of the journal about a request."""
    return records.put_event(
        line or runtime.new_id("evt"),
        kind,
        now,
        actor=actor,
        thread_id=request.thread_id,
        run_id=request.run_id,
        request_id=request.id,
        **data,
    )


def whose(vote: Vote) -> dict[str, Any]:
    """Return what the journal says of a vote besides who cast it: in whose place, and on which call."""
    acted = {"on_behalf_of": vote.on_behalf_of, "delegation": vote.delegation} if vote.on_behalf_of else {}
    on_call = sorted(one.removeprefix(ON_CALL) for one in vote.groups if one.startswith(ON_CALL))
    return {**acted, **({"on_call": on_call} if on_call else {})}


def changes(view: RequestView, vote: Vote) -> dict[str, Any]:
    """Return what the journal says of an edit: which arguments it changed, and what the digest was before.

    The digest of what it left is the line's own; a value is in neither.
    """
    request, now = view.request, vote.arguments
    if now is None or request.action is None:
        return {}
    edited = view.standing.arguments
    before = request.action.arguments if edited is None else edited
    written, left = ({n: _plain.encode(v) for n, v in each.items()} for each in (before, now))
    changed = sorted(n for n in {*written, *left} if written.get(n) != left.get(n))
    return {"changed": changed, "digest_before": bound_digest(request, edited)}


async def commit_or_lose(runtime: Runtime, batch: Batch, run: Run, *, wakes: bool = True) -> Run | None:
    """Return the run as the batch left it: woken, or claimed at once. None when another batch won."""
    try:
        if wakes:
            run = await runtime.ground.commit_waking(batch, run)
        else:
            await runtime.store.commit(batch)
    except Conflict:
        return None
    except StoreUnavailable:
        late = batch.give_up_at is not None and asyncio.get_running_loop().time() >= batch.give_up_at
        if late:
            raise TimeoutError from None
        raise
    runtime.outbox_bell.ring()
    return run
