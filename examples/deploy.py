"""A deploy that asks before it touches production: ``/deploy payments 4f2c9e1``.

START -> build_plan -> review -> (approved: publish | else: stop) -> END
"""

from __future__ import annotations

import hashlib
import operator
from typing import Annotated, Literal, TypedDict

from pydantic import BaseModel, Field

from graph_runtime import END, START, Action, Command, Decision, StateGraph, approve, current_task


class Arguments(BaseModel):
    """Deploy a commit of a service to production."""

    service: str = Field(description="what is deployed, such as payments", pattern=r"^[a-z][a-z0-9-]{0,39}$")
    commit: str = Field(description="7 to 40 hex digits of the commit", pattern=r"^[0-9a-f]{7,40}$")
    author: str | None = Field(
        default=None, description="who wrote it, and so may not approve it", pattern=r"^[UW][A-Z0-9]+$"
    )


class Deploy(TypedDict, total=False):
    """What a deploy knows; the first four keys are its input."""

    service: str
    commit: str
    requester: str
    author: str
    migrations: int
    plan_hash: str
    decision: Decision
    deployed: str
    log: Annotated[list[str], operator.add]


async def build_plan(state: Deploy) -> dict[str, object]:
    """Work out what would change, and give it a hash that the approval is bound to."""
    plan = f"{state['service']}@{state['commit']}"
    return {
        "migrations": 1 if state["service"] == "payments" else 0,
        "plan_hash": hashlib.sha256(plan.encode()).hexdigest()[:12],
        "log": [f"planned {plan}"],
    }


async def review(state: Deploy) -> Command[Literal["publish", "stop"]]:
    """Ask. The run waits here, costing nothing, until somebody decides or the deadline passes."""
    decision = approve(
        f"Deploy {state['service']} {state['commit']} to production",
        action=Action(
            "deploy",
            {
                "service": state["service"],
                "commit": state["commit"],
                "environment": "production",
                "plan hash": state["plan_hash"],
            },
        ),
        facts={"migrations": state["migrations"]},
        policy="prod-deploy",
        requester=state.get("requester"),
        also=[state["author"]] if "author" in state else [],
    )
    return Command(goto="publish" if decision.approved else "stop", update={"decision": decision})


async def publish(state: Deploy) -> dict[str, object]:
    """Deploy. The task's id is the same if this node must run again, so the other side can tell."""
    return {"deployed": state["commit"], "log": [f"deployed, idempotency key {current_task().id}"]}


async def stop(state: Deploy) -> dict[str, object]:
    """Do nothing, and say so."""
    return {"log": [f"not deployed: {state['decision'].outcome}"]}


graph = (
    StateGraph(Deploy)
    .add_node(build_plan)
    .add_node(review)
    .add_node(publish)
    .add_node(stop)
    .add_edge(START, "build_plan")
    .add_edge("build_plan", "review")
    .add_edge("publish", END)
    .add_edge("stop", END)
    .compile(name="deploy", version="1")
)
