"""A request, its views and cards as the tests of what Slack takes make them; nothing of it runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

from bot import cards
from bot.sandbox.limits import UPDATE_TEXT, message_blocks, metadata_body, text_length
from graph_runtime import Action, ApprovalRequest, OutboxEntry, RequestView, Run, Ticket, Vote

AT = 1_767_603_600_000_000
TICKET = Ticket("dep-1", "req-1", "thr-1", "run-1", "int-1")


def request(**changes: Any) -> ApprovalRequest:
    return ApprovalRequest(
        **{
            "id": "req-1",
            "interrupt_id": "int-1",
            "thread_id": "thr-1",
            "run_id": "run-1",
            "graph": "deploy",
            "node": "ask",
            "title": "Deploy payments",
            "action": Action("deploy", {"service": "payments"}),
            "facts": {},
            "digest": "sha256:0123456789abcdef",
            "policy_name": "prod",
            "policy": {"groups": ["S0SRE"]},
            "requester": "U0CAROL",
            "also": (),
            "status": "open",
            "revision": 1,
            "deadline_at": None,
            "opened_at": AT,
            "closed_at": None,
            **changes,
        }
    )


def run(status: str = "interrupted") -> Run:
    return Run(
        id="run-1",
        thread_id="thr-1",
        graph="deploy",
        version="1",
        status=status,
        driver="worker",
        head="chk-1",
        step=1,
        steps_taken=1,
        max_steps=10,
        requester=None,
        error=None,
        lease_owner=None,
        lease_until=None,
        epoch=1,
        created_at=AT,
        updated_at=AT,
    )


def view(
    asked: ApprovalRequest | None = None, *, votes: tuple[Vote, ...] = (), status: str = "interrupted"
) -> RequestView:
    return RequestView(asked or request(), run(status), votes, {})


def entry(kind: str = "card", **payload: Any) -> OutboxEntry:
    return OutboxEntry("out-1", kind, "req-1", "pending", 1, 1, False, payload, None, None, None)


def vote(verdict: str, reason: str | None = None, by: str = "U0ALICE") -> Vote:
    return Vote(by, verdict, reason, "sha256:0", AT, "slack")


def new_ids() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"id{next(numbers)}"


def taken(message: cards.Message) -> list[dict[str, Any]]:
    """Return the blocks as Slack stores them; raises when Slack would refuse any of it."""
    arguments = json.loads(json.dumps(message.arguments(), ensure_ascii=False).encode())
    assert 0 < len(arguments["text"]) <= UPDATE_TEXT, "chat.update refuses a longer text"
    assert metadata_body(arguments["metadata"])
    assert text_length(arguments["blocks"]) < 9_500
    return message_blocks(arguments["blocks"], new_ids())
