"""What a run waits for that no person is asked: a time, the end of a freeze. A row, never a sleeping task.

Such a wait is a question like any other: the run pauses, costs nothing, is cancelled and pruned with what it
waits for, and goes on exactly once. Time answers it, or whoever lifts the freeze.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .companions import EndFacts, PauseFacts
from .errors import FrozenError
from .executor import TaskScope
from .host import Host
from .inside import ask
from .plainjson import write_json
from .storage import Ask, Do
from .types import InterruptId

#: The types of questions that are not for people to be asked in a card.
TIMER, FREEZE, UNSETTLED = "signoff.timer", "signoff.freeze", "signoff.unsettled"
_KINDS = {TIMER: "time", FREEZE: "freeze"}


def wait_until(moment: datetime, *, key: str | None = None) -> None:
    """Leave the node, and let the run go on from here at that moment or soon after.

    The node runs again from its first line then, and this call returns. A worker wakes it, within a second;
    a run that its caller drives shows the wait among what it asks, and its caller answers it, with anything.

    ``moment`` must be the same when the node runs again: what comes from a clock belongs in ``step()``.
    Raises ValueError for a moment without a time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("nothing is waited for: the moment has no time zone")
    ask({"type": TIMER, "until": moment.astimezone(UTC).isoformat()}, key=key, bind=None)


async def wait_while_frozen(scope: TaskScope, host: Host, name: str, action: str) -> None:
    """Leave the node while a freeze holds for all, for the run's graph or for that action.

    ``name`` is that of the call; see :func:`settle_waits`. Raises :class:`FrozenError` for a wait that was
    answered otherwise.
    """
    freezes, runs = await host.read(Ask("find_freezes"), Ask("get_run", {"run_id": scope.run}))
    scopes = {"all", f"graph:{runs[0]['graph']}", f"action:{action}"}
    frozen = {row["scope"]: row["since"] for row in freezes if row["scope"] in scopes}
    wait_for_release(name, frozen)
    settle_waits(scope, name)


def gate_of(request_id: str) -> str:
    """Return how the execution gate of a request calls what it waits for."""
    return f"execute_once {request_id}"


def request_of(key: str | None) -> str | None:
    """Return the request at whose execution gate a wait of this key was asked; None for any other."""
    found = re.match(r"execute_once (\S+) frozen ", key or "")
    return None if found is None else found[1]


def wait_for_release(name: str, frozen: Mapping[str, int]) -> None:
    """Leave the node until these freezes, each with its beginning, have ended; return where there are none.

    Raises :class:`FrozenError` when the wait was answered otherwise.
    """
    if frozen:
        key = f"{name} frozen {write_json(frozen)}"
        ask({"type": FREEZE, "scopes": frozen}, key=key, bind=None)
        raise FrozenError(f"nothing was carried out: {', '.join(frozen)} is frozen still")


def settle_waits(scope: TaskScope, name: str) -> None:
    """Count what the call of that name waited for as used: the wait is over."""
    for question in scope.questions:
        key = question.interrupt.key
        if key is not None and key.startswith(f"{name} "):
            scope.settle(key)


def is_for_people(value: Any) -> bool:
    """Say whether a question is one that people are asked in a card."""
    return not (isinstance(value, Mapping) and value.get("type") in {TIMER, FREEZE, UNSETTLED})


class Waits:
    """The companion that keeps what runs wait for."""

    def on_pause(self, facts: PauseFacts) -> Sequence[Do]:
        """Return the statements that store each new wait, and drop those that are waited for no more."""
        dropped = [Do("drop_wait", {"interrupt_id": id_}) for id_ in facts.superseded]
        asked = ((interrupt.id, interrupt.value) for interrupt, _ in facts.opened)
        # The card says that it waits for the end of a freeze.
        at_gates = (request_of(interrupt.key) for interrupt, _ in facts.opened if _kind(interrupt.value))
        shown = [Do("redraw_card", {"request_id": one, "now": facts.now}) for one in at_gates if one]
        waits = [(id_, value, kind) for id_, value in asked if (kind := _kind(value))]
        if any(kind == "time" for *_, kind in waits):
            # The card says until when.
            shown.append(Do("redraw_last_card_of_run", {"run_id": facts.run.id, "now": facts.now}))
        return [*dropped, *(_put(id_, value, facts) for id_, value, _ in waits), *shown]

    def on_end(self, facts: EndFacts) -> Sequence[Do]:
        """Return what drops the run's waits; those of a run that an operator must look at stay."""
        if facts.status == "needs_attention":
            return []
        return [Do("drop_waits_of_run", {"run_id": facts.run.id})]


def _kind(value: Any) -> str | None:
    return _KINDS.get(str(value.get("type"))) if isinstance(value, Mapping) else None


def _put(interrupt_id: InterruptId, value: Mapping[str, Any], facts: PauseFacts) -> Do:
    until = value.get("until")
    due_at = None if until is None else round(datetime.fromisoformat(until).timestamp() * 1_000_000)
    return Do(
        "put_wait",
        {"interrupt_id": interrupt_id, "run_id": facts.run.id, "kind": _kind(value), "due_at": due_at},
    )
