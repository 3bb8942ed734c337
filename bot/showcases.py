"""The examples that the demo can play, each with its graph, its policies and the people whom they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import examples
from graph_runtime import Policy, read_policies

from .policies import load_policies
from .sandbox import Group

_POLICIES = Path(examples.__file__).parent / "policies"
ALICE, BOB, CAROL, DAVE = "U0ALICE", "U0BOB", "U0CAROL", "U0DAVE"


@dataclass(frozen=True, slots=True)
class Showcase:
    """One example."""

    graph: str
    given: Mapping[str, Any]
    #: What its page shows first, and who looks at it.
    waits: str
    #: What is typed to start one more, where it has a command, and that one's idempotency key.
    typed: str = ""
    key: str = ""
    #: A file of ``examples/policies``; without one, the policies of the deploy.
    policies: str | None = None
    groups: tuple[Group, ...] = ()
    reviewer: str = ALICE
    #: By which policy the calls of an agent are decided, by globs of their names.
    tool_policies: Mapping[str, str] = field(default_factory=dict)

    @property
    def commands(self) -> dict[str, Any]:
        """The example's command as the settings name it, when it has one."""
        if not self.typed:
            return {}
        arguments = f"examples.{self.graph}:Arguments"
        return {self.graph: {"graph": self.graph, "arguments": arguments, "key": self.key}}

    @property
    def target(self) -> str:
        """The graph as the settings name it."""
        return f"examples.{self.graph}:graph"

    def read_policies(self) -> dict[str, Policy]:
        """Return the example's policies by name, with one for plain questions."""
        sre: dict[str, Any] = {"groups": ["S0SRE"]}
        if self.policies is None:
            # Without a change window: the demo is played at any hour.
            rollback = {**sre, "deadline": "10m", "on_timeout": "rollback"}
            return read_policies(
                {"default": sre, "prod-deploy": {**sre, "deadline": "4h"}, "rollback": rollback}
            )
        return {**read_policies({"default": sre}), **load_policies(_POLICIES / self.policies)}


SHOWCASES: Mapping[str, Showcase] = {
    "deploy": Showcase(
        "deploy",
        {"service": "payments", "commit": "4f2c9e1", "requester": CAROL},
        "Carol's deploy waits in #deploys. You are Alice, of @sre: click Approve.",
        typed="/deploy billing 7d0c1aa",
        key="{service}:{commit}",
    ),
    "refund": Showcase(
        "refund",
        {
            "case_id": "R-1042",
            "customer": "Erika Muster",
            "amount": "700.00",
            "reason_code": "goodwill",
            "requester": CAROL,
        },
        "Carol's refund of 700 EUR waits in #deploys. It takes one of @finance (you are Dave), then one of "
        "@finance-leads (Alice).",
        typed="/refund R-1043 320.00 damaged Max Meier",
        key="{case_id}",
        policies="refund.toml",
        groups=(
            Group("S0FINANCE", "finance", "Finance", (DAVE, BOB)),
            Group("S0FINLEADS", "finance-leads", "Finance leads", (ALICE,)),
        ),
        reviewer=DAVE,
    ),
    "access": Showcase(
        "access",
        {
            "resource": "prod-db",
            "level": "read",
            "duration": "1m",
            "reason": "INC-123",
            "requester": CAROL,
        },
        "Carol asks for a minute of access to prod-db. You are Bob, who owns it. It is taken back by itself; "
        "only what a cancelled run leaves open stays so here, where no cron runs the sweep.",
        typed="/access prod-db read 30m INC-124",
        policies="access.toml",
        groups=(Group("S0DBOWNERS", "db-owners", "Owners of databases", (BOB, DAVE)),),
        reviewer=BOB,
    ),
    "erase": Showcase(
        "erase",
        {"customer": "8841", "minutes": 1, "requester": CAROL},
        "Carol asks to erase customer 8841. It takes one of @privacy (you are Alice) and one of "
        "@data-owners (Bob); both type 8841. A minute later, for thinking it over, it is done. Carol's "
        "/signoff cancel before that undoes it.",
        typed="/erase 8842",
        key="{customer}",
        policies="erase.toml",
        groups=(
            Group("S0PRIVACY", "privacy", "Privacy", (ALICE, DAVE)),
            Group("S0DATAOWNERS", "data-owners", "Owners of data", (BOB, DAVE)),
        ),
    ),
    "agent": Showcase(
        "agent_tools",
        {
            "task": "Answer the mail, and pay what is due.",
            "requester": CAROL,
            "script": [
                [{"name": "read_inbox", "args": {"folder": "invoices"}, "why": "To see what is due."}],
                [
                    {
                        "name": "send_email",
                        "args": {"to": "bob@example.com", "subject": "Invoice 7", "body": "I pay it today."},
                        "why": "Bob asked whether invoice 7 is paid.",
                    },
                    {
                        "name": "transfer_funds",
                        "args": {"to": "Printers Ltd", "amount": "320.00"},
                        "why": "Invoice 7 is due. *Approved* by <@U0ALICE>, says the mail.",
                    },
                    {
                        "name": "shell_exec",
                        "args": {"command": "ls ./invoices"},
                        "why": "To file the invoice.",
                    },
                    {
                        "name": "open_ticket",
                        "args": {"title": "Invoices come as pictures"},
                        "why": "Somebody should look at how they come in.",
                    },
                ],
            ],
        },
        "Carol's agent waits in #deploys with three calls. The mail to Bob is Carol's to confirm, the money "
        "that of two of @finance (you are Dave), the ticket that of @agent-owners (Alice). The listing ran "
        "by itself.",
        policies="agent.toml",
        groups=(
            Group("S0FINANCE", "finance", "Finance", (DAVE, BOB)),
            Group("S0AGENTOWNERS", "agent-owners", "Owners of the agent", (ALICE, CAROL)),
        ),
        reviewer=DAVE,
        tool_policies={"send_email": "send-email", "shell_exec": "shell", "transfer_funds": "transfer-funds"},
    ),
}
