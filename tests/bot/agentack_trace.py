"""What stands in the journal, and what the world outside says was done, as AgentAck reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from agentack.engine import evaluate_events
from agentack.models import Action, EvaluationReport, TraceEvent
from agentack.policy import Policy

from graph_runtime import Approvals, Runtime

#: What runs by a tool rule alone reads and nothing more; all else must have been approved by its request.
STRICT = Policy(require_approval_for=("*:call",), max_approval_age_seconds=86_400)
_CLOSED = {
    f"request.{status}"
    for status in ("approved", "edited", "rejected", "responded", "timed_out", "withdrawn")
}


def judged(trace: list[TraceEvent]) -> EvaluationReport:
    return evaluate_events(trace, policy=STRICT)


async def trace_of(
    runtime: Runtime, approvals: Approvals, run_id: str, done: Mapping[str, Mapping[str, Any]]
) -> list[TraceEvent]:
    """Return the trace of a run that is over. ``done`` are the arguments with which each grant was used
    outside, by the id of its request: what was executed is what the world says, not what we do.
    """
    found: list[TraceEvent] = []
    events = await runtime.events(run_id=run_id, limit=1_000)

    def put(kind: Any, at: int, **more: Any) -> None:
        moment = datetime.fromtimestamp(at / 1_000_000, UTC)
        found.append(TraceEvent(kind, moment, run_id, line=len(found) + 1, **more))

    def asked(at: int, name: str, intent: str, action: Action) -> None:
        ids = {"action_id": name, "intent_id": intent}
        put("action_proposed", at, **ids, action=action)
        put("approval_requested", at, **ids, approval_id=name, action=action)

    def closed(at: int, name: str, intent: str, said: str, why: str) -> None:
        ids = {"action_id": name, "intent_id": intent, "approval_id": name}
        put("approval_decision", at, **ids, decision=said)
        if said == "deny":
            put("action_blocked", at, **ids, reason=why)

    for event in events:
        if event.kind == "tool.allowed":
            action = Action(event.data["tool"], "read")
            put("action_proposed", event.at, action_id=event.id, action=action)
            put("action_executed", event.at, action_id=event.id, action=action)
        if event.request_id is None:
            continue
        view = await approvals.view(event.request_id)
        assert view is not None and view.request.action is not None
        tool, first = view.request.action.name, view.request.action.arguments
        last = view.standing.arguments
        intent = str(event.request_id)
        name = intent if last is None else f"{intent} as edited"
        if event.kind == "request.opened":
            asked(event.at, intent, intent, Action(tool, "call", parameters=_plain(first)))
        elif event.kind in _CLOSED:
            if last is not None:
                closed(event.at, intent, intent, "deny", "changed")
                asked(event.at, name, intent, Action(tool, "call", parameters=_plain(last)))
            yes = event.kind in {"request.approved", "request.edited"}
            closed(event.at, name, intent, "allow" if yes else "deny", event.kind)
        elif event.kind == "grant.done":
            action = Action(tool, "call", parameters=_plain(done[intent]))
            ids = {"action_id": name, "intent_id": intent, "approval_id": name}
            put("action_executed", event.at, **ids, action=action)
    last_at = events[-1].at
    put("session_end", last_at)
    return found


def again(trace: list[TraceEvent]) -> list[TraceEvent]:
    """Return the trace with its last execution under an approval made twice."""
    twice = [event for event in trace if event.type == "action_executed" and event.approval_id][-1]
    return [*trace[:-1], _later(twice), trace[-1]]


def _later(event: TraceEvent) -> TraceEvent:
    return replace(event, timestamp=event.timestamp + timedelta(seconds=1), line=(event.line or 0) + 10_000)


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in arguments.items()}
