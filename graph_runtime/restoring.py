"""What makes a database that was put back from a backup another one than it was.

Since the backup was made, what it says is open may have been decided, and what it says is under way may have
been done. So it gets another name, by which the cards of before are refused; what waits is asked anew; and a
run of which it is not known how far it came waits for an operator.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import records
from .clock import Clock, NewId
from .plainjson import write_json
from .storage import Ask, Batch, Do, Params, Row, Store
from .storage.files import Standing
from .types import Run, RunId
from .versions import refunded

#: Runs that are looked at together; their batches share a flush.
_PAGE = 100
_REASON = {
    "type": "DatabaseRestored",
    "message": "the database was restored, and this run was under way since the backup was made: what it did "
    "meanwhile is not on record. Look at what it was to do, then cancel it, and start it again if need be",
}


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has changed."""

    #: The database's new name.
    deployment: str
    #: Questions that are asked anew.
    asked_anew: int
    #: Runs that wait for an operator now.
    attention: tuple[RunId, ...]


async def renew(
    store: Store,
    stood: Callable[[Sequence[str]], Mapping[str, Standing]] | None,
    *,
    clock: Clock,
    new_id: NewId,
    actor: str | None,
) -> Restored:
    """Make the database another one than the backup was, and return what was changed.

    ``stood`` says how far runs had come in the database that is replaced: one that had come further since the
    backup has moved. Where that is not known, every run that was under way in the backup has.
    """
    was, name = store.deployment, uuid.uuid4().hex
    asked, attention, after = 0, list[RunId](), ""
    while True:
        page: Params = {"after": after, "limit": _PAGE}
        (rows,) = await store.read(Ask("find_live_runs", page))
        runs = [records.read_run(row) for row in rows]
        if not runs:
            break
        after = runs[-1].id
        then = None if stood is None else await asyncio.to_thread(stood, [run.id for run in runs])
        questions = await store.read(*(Ask("find_questions", {"run_id": run.id}) for run in runs))
        batches = []
        for run, of_run in zip(runs, questions, strict=True):
            stale = [q for q in of_run if _waits(q)]
            if _has_moved(run, then):
                attention.append(run.id)
                batches.append(tuple(_attended(run, stale, actor, clock(), new_id)))
            elif run.status == "interrupted" and stale:
                asked += len(stale)
                batches.append(tuple(_asked_anew(run, stale, actor, clock(), new_id)))
        await asyncio.gather(*(store.commit(Batch("restore run", writes)) for writes in batches))
    restored = records.put_event(
        new_id("evt"),
        "database.restored",
        clock(),
        actor=actor,
        was=was,
        questions=asked,
        runs=list(attention),
    )
    named = Do("set_deployment", {"value": name}, guard="it has a name")
    revoked = Do("revoke_unused_grants", {"now": clock()})
    # One that was revoked since the backup would let somebody act for another again.
    ended = Do("revoke_delegations", {"now": clock(), "revoked_by": actor})
    await store.commit(Batch("restore", (named, Do("doubt_outbox"), revoked, ended, restored)))
    return Restored(name, asked, tuple(attention))


def _waits(question: Row) -> bool:
    """Say whether the question is open, or has an answer that no node has gone on with."""
    return question["status"] == "open" or (
        question["status"] == "answered" and question["delivered_at"] is None
    )


def _has_moved(run: Run, then: Mapping[str, Standing] | None) -> bool:
    if run.status == "needs_attention":
        return False
    if then is None:
        return run.status in {"queued", "running"}
    return then.get(run.id) != Standing(run.status, run.head, run.epoch, run.updated_at)


def _attended(run: Run, stale: Sequence[Row], actor: str | None, now: int, new_id: NewId) -> Iterator[Do]:
    yield Do("attend_run", {"run_id": run.id, "error": write_json(_REASON), "now": now})
    yield from _superseded(run, stale, now, new_id)
    common: Params = {"run_id": run.id, "now": now}
    payload = write_json({"what": "run", "status": "needs_attention", "by": actor})
    yield Do("redraw_cards_of_run", common)
    yield Do("put_trail_of_run", {**common, "entry_id": new_id("out"), "payload": payload})
    yield records.put_event(
        new_id("evt"),
        "run.needs_attention",
        now,
        actor=actor,
        thread_id=run.thread_id,
        run_id=run.id,
        reason=_REASON["type"],
    )


def _asked_anew(run: Run, stale: Sequence[Row], actor: str | None, now: int, new_id: NewId) -> Iterator[Do]:
    used = records.write_used(refunded(run, len(stale)), run.taken)
    yield Do("ask_anew", {"run_id": run.id, "used": used, "now": now}, guard="run rests")
    yield from _superseded(run, stale, now, new_id)
    yield records.put_event(
        new_id("evt"),
        "run.asked_anew",
        now,
        actor=actor,
        thread_id=run.thread_id,
        run_id=run.id,
        interrupts=[q["interrupt_id"] for q in stale],
    )


def _superseded(run: Run, stale: Sequence[Row], now: int, new_id: NewId) -> Iterator[Do]:
    for question in stale:
        one: Params = {"interrupt_id": question["interrupt_id"], "now": now}
        yield Do("supersede_interrupt", one)
        yield Do("supersede_request", one)
        yield Do("redraw_card_of_interrupt", one)
        yield records.put_event(
            new_id("evt"),
            "interrupt.superseded",
            now,
            thread_id=run.thread_id,
            run_id=run.id,
            interrupt=question["interrupt_id"],
        )
