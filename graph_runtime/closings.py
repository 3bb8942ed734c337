"""What the closing of a request writes. It answers its question in the words in which that was asked.

A question of several parts, each a request of its own, is answered by the closing of the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import neighbours
from .plainjson import write_json
from .runtime import Runtime
from .shown import RequestView
from .storage import Ask, Do, Params
from .types import Action, ApprovalRequest, Decision, PersonId
from .values import Codec

_plain = Codec()


@dataclass(frozen=True, slots=True)
class Closing:
    """The statements that close a request, and whether its run goes on with them."""

    writes: tuple[Do, ...]
    wakes: bool


async def closing(
    runtime: Runtime, view: RequestView, decision: Decision, by: PersonId | None, *, has_card: bool = True
) -> Closing:
    """Return what every closing writes: run, request, answer, card and thread, in that order of locks.

    Which part is the last is read here, and guarded there: whoever loses that race reads again.
    """
    request, now = view.request, decision.at
    action = request.action or Action("")
    closed: Params = {
        "request_id": request.id,
        "status": decision.outcome,
        "revision": request.revision,
        "now": now,
    }
    said: dict[str, Any] = {"what": "request", "status": decision.outcome, "by": by}
    # Without a card there is no thread below it.
    lines = [said] if has_card else []
    # An agent's calls that run by themselves are many, and nobody waits for them.
    silent = not has_card and request.shape is not None and decision.approved
    if request.requester and request.requester != by and not silent:
        # Who asked is told by themselves too, unless it was they who closed it.
        lines.append({**said, "what": "told", "to": request.requester})
    after = (
        Do("drop_due", {"request_id": request.id}),
        Do("redraw_card", {"request_id": request.id, "now": now}),
        *(trail(runtime, request, line, now) for line in lines),
    )
    close = Do("close_request", closed, guard="request open")
    answer: Any
    if request.shape is None:
        answer = decision if request.action is not None else _plain_answer(decision)
    else:
        decided = neighbours.decided(request.shape, action, decision, view.case.terms.neighbour)
        parts: list[Any] = [decided]
        if request.parts > 1:
            close = Do("close_part", {**closed, "answer": _plain.encode(decided)}, guard="request open")
            found = await _decided_before(runtime, request)
            if len(found) < request.parts - 1:
                held: Params = {"interrupt_id": request.interrupt_id, "run_id": request.run_id}
                # The lock comes first: of two last parts, the one that waited for it is no longer one of two.
                lock = Do("lock_run", {"run_id": request.run_id})
                hold = Do("hold_parts", held, guard="another part open")
                return Closing((lock, close, hold, *after), wakes=False)
            parts = [decided if part == request.part else found[part] for part in range(request.parts)]
        answer = neighbours.answer(request.shape, parts)
    answers = runtime.answers
    answered = answers.answer(view.run, request.interrupt_id, _plain.encode(answer), by, now)
    return Closing((answers.wake(view.run), close, answered, *after), wakes=True)


def trail(runtime: Runtime, request: ApprovalRequest, said: Mapping[str, Any], now: int) -> Do:
    """Return the statement that has a line told below the request's card."""
    return Do(
        "put_entry",
        {
            "entry_id": runtime.new_id("out"),
            "kind": "trail",
            "request_id": request.id,
            "payload": write_json(said),
            "now": now,
        },
    )


async def _decided_before(runtime: Runtime, request: ApprovalRequest) -> dict[int, Any]:
    """Return what was decided on the other parts, by their numbers. It never changes any more."""
    (rows,) = await runtime.store.read(Ask("find_parts", {"interrupt_id": request.interrupt_id}))
    return {
        row["part"]: _plain.decode(row["answer"])
        for row in rows
        if row["answer"] is not None and row["part"] != request.part
    }


def _plain_answer(decision: Decision) -> dict[str, str | None]:
    said = {"approved": "approve", "rejected": "reject"}.get(decision.outcome, decision.outcome)
    return {
        "decision": said,
        "reason": decision.reason,
        "by": decision.by[0] if decision.by else None,
        "request_id": decision.request_id,
    }
