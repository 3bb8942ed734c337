"""The examples that the demo can play, each with its graph, its policies and the people whom they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import examples

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
    #: What is typed to start one more, and its idempotency key.
    typed: str
    key: str = ""
    #: A file of ``examples/policies``; without one, the policies of the deploy.
    policies: str | None = None
    groups: tuple[Group, ...] = ()
    reviewer: str = ALICE

    @property
    def commands(self) -> dict[str, Any]:
        """The example's command as the settings name it."""
        arguments = f"examples.{self.graph}:Arguments"
        return {self.graph: {"graph": self.graph, "arguments": arguments, "key": self.key}}

    @property
    def target(self) -> str:
        """The graph as the settings name it."""
        return f"examples.{self.graph}:graph"

    def read_policies(self) -> dict[str, Any]:
        """Return the example's policies by name, with one for plain questions."""
        default = {"groups": ["S0SRE"]}
        if self.policies is None:
            return {"default": default, "prod-deploy": {"groups": ["S0SRE"], "deadline": "4h"}}
        return {"default": default, **load_policies(_POLICIES / self.policies)}


SHOWCASES: Mapping[str, Showcase] = {
    "deploy": Showcase(
        "deploy",
        {"service": "payments", "commit": "4f2c9e1", "requester": CAROL},
        "Carol's deploy waits in #deploys. You are Alice, of @sre: click Approve.",
        "/deploy billing 7d0c1aa",
        "{service}:{commit}",
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
        "/refund R-1043 320.00 damaged Max Meier",
        "{case_id}",
        "refund.toml",
        (
            Group("S0FINANCE", "finance", "Finance", (DAVE, BOB)),
            Group("S0FINLEADS", "finance-leads", "Finance leads", (ALICE,)),
        ),
        DAVE,
    ),
    "access": Showcase(
        "access",
        {
            "resource": "prod-db",
            "level": "read",
            "minutes": 1,
            "reason": "INC-123",
            "requester": CAROL,
        },
        "Carol asks for a minute of access to prod-db. You are Bob, who owns it. It is taken back by itself.",
        "/access prod-db read 30m INC-124 the report hangs",
        "",
        "access.toml",
        (
            Group("S0DBOWNERS", "db-owners", "Owners of databases", (BOB, DAVE)),
            Group("S0PRIVACY", "privacy", "Privacy", (ALICE,)),
            Group("S0DATAOWNERS", "data-owners", "Owners of data", (BOB,)),
        ),
        BOB,
    ),
}
