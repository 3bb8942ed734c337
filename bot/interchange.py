"""The approvals of a database as AAIS 1.0 says them: the Agent Approval Interchange Specification.

It knows one decision per request and no edit. So each vote is a decision of its own, an edit an approval of
the digest of what it left, and what came of all of them is the resolution. Source: the JSON schema aais-1.0
(github.com/alexmerced-oss/agent-approval-interchange-spec).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from graph_runtime import Action, ApprovalRequest, RequestView, Vote
from graph_runtime.values import Codec

Envelope = dict[str, Any]
_LEVELS = frozenset({"low", "medium", "high", "critical"})
_DECISIONS = {
    "approve": "approve",
    "edit": "approve",
    "reject": "deny",
    "respond": "deny",
    "withdraw": "cancel",
}
_OUTCOMES = {
    "approved": "approved",
    "edited": "approved",
    "rejected": "denied",
    "responded": "denied",
    "withdrawn": "cancelled",
    "timed_out": "expired",
    "superseded": "stale",
}
#: Its own ids may not hold everything that ours may.
_STRANGE = re.compile(r"[^A-Za-z0-9._:-]")
_plain = Codec()


def envelopes(views: Iterable[RequestView]) -> Iterator[Envelope]:
    """Yield what happened to the requests, in the order in which it happened."""
    found = [(at, kind, body) for view in views for at, kind, body in _of(view)]
    found.sort(key=lambda one: one[0])
    for sequence, (at, kind, body) in enumerate(found):
        name = kind.removeprefix("approval.")
        part = {"requested": "request", "decided": "decision", "resolved": "resolution"}[name]
        yield {
            "aais": "1.0",
            "type": kind,
            "id": f"{name}-{body['id']}",
            "occurred_at": _time(at),
            "sequence": sequence,
            part: body,
        }


def action_of(request: ApprovalRequest, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what was asked for, as AAIS writes an action; with the arguments that an edit left."""
    action = request.action or Action("question", dict(request.facts))
    given = action.arguments if arguments is None else arguments
    return {
        "kind": "tool_call",
        "name": _id(action.name),
        "summary": request.title[:1_000],
        "arguments": json.loads(_plain.encode(dict(given))),
    }


def _of(view: RequestView) -> Iterator[tuple[int, str, dict[str, Any]]]:
    request = view.request
    yield request.opened_at, "approval.requested", _request(request)
    arguments: Mapping[str, Any] | None = None
    last = None
    for number, vote in enumerate(view.votes):
        arguments = vote.arguments if vote.arguments is not None else arguments
        last = _decision(request, vote, number, arguments)
        yield vote.at, "approval.decided", last
    if request.status != "open":
        yield (
            request.closed_at or request.opened_at,
            "approval.resolved",
            _resolution(request, last, arguments),
        )


def _request(request: ApprovalRequest) -> dict[str, Any]:
    action = action_of(request)
    level = str(request.facts.get("risk", "")).lower()
    said: dict[str, Any] = {
        "id": request.id,
        "created_at": _time(request.opened_at),
        "status": "pending",
        "origin": {
            "harness": "signoff",
            "session_id": _id(request.thread_id),
            "run_id": request.run_id,
            "graph_id": _id(request.graph),
            "node_id": _id(request.node),
        },
        "action": action,
        "action_digest": _digest(action),
        "risk": {
            "level": level if level in _LEVELS else "medium",
            "reasons": [f"policy {request.policy_name}"[:1_000]],
        },
        "choices": [
            {"decision": "approve", "scope": "once", "label": "Approve"},
            {"decision": "deny", "scope": "once", "label": "Reject"},
        ],
        "extensions": {
            "dev.signoff/digest": request.digest,
            "dev.signoff/policy": request.policy_name,
            "dev.signoff/requester": request.requester,
        },
    }
    if request.deadline_at is not None:
        said["expires_at"] = _time(request.deadline_at)
    return said


def _decision(
    request: ApprovalRequest, vote: Vote, number: int, arguments: Mapping[str, Any] | None
) -> dict[str, Any]:
    policy = vote.reviewer == "policy"
    return {
        "id": f"{request.id}:{number + 1}",
        "request_id": request.id,
        "action_digest": _digest(action_of(request, arguments)),
        "decided_at": _time(vote.at),
        "decision": _DECISIONS[vote.verdict],
        "scope": "once",
        "actor": {
            "id": _id(vote.reviewer),
            "type": "policy" if policy else "human",
            "authenticated_by": vote.surface or "policy",
        },
        "extensions": {
            "dev.signoff/verdict": vote.verdict,
            "dev.signoff/digest": vote.digest,
            **({} if vote.erased is None else {"dev.signoff/reason_erased": vote.erased}),
        },
    }


def _resolution(
    request: ApprovalRequest, last: Mapping[str, Any] | None, arguments: Mapping[str, Any] | None
) -> dict[str, Any]:
    said: dict[str, Any] = {
        "id": f"{request.id}:end",
        "request_id": request.id,
        "action_digest": _digest(action_of(request, arguments)),
        "resolved_at": _time(request.closed_at or request.opened_at),
        "outcome": _OUTCOMES[request.status],
        "message": request.status.replace("_", " "),
    }
    if last is not None:
        said["decision_id"] = last["id"]
    return said


def _digest(action: Mapping[str, Any]) -> str:
    return _plain.digest(dict(action))


def _id(text: str) -> str:
    plain = _STRANGE.sub("-", text)
    return (plain if plain[:1].isalnum() else f"x{plain}")[:200]


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat().replace("+00:00", "Z")
