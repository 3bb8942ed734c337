"""The deploy that the bot asks about while it is measured: nothing outside of it takes time."""

from __future__ import annotations

import hashlib
import operator
from typing import Annotated, Literal, TypedDict

from graph_runtime import END, START, Action, Command, Decision, StateGraph, approve


class Deploy(TypedDict, total=False):
    service: str
    commit: str
    requester: str
    plan_hash: str
    decision: Decision
    deployed: str
    log: Annotated[list[str], operator.add]


async def build_plan(state: Deploy) -> dict[str, object]:
    plan = f"{state['service']}@{state['commit']}"
    return {"plan_hash": hashlib.sha256(plan.encode()).hexdigest()[:12], "log": [f"planned {plan}"]}


async def review(state: Deploy) -> Command[Literal["publish", "stop"]]:
    said = {"service": state["service"], "commit": state["commit"], "plan hash": state["plan_hash"]}
    decision = approve(
        f"Deploy {state['service']} {state['commit']} to production",
        action=Action("deploy", {**said, "environment": "production"}),
        facts={"migrations": 1},
        policy="prod-deploy",
        requester=state.get("requester"),
    )
    return Command(goto="publish" if decision.approved else "stop", update={"decision": decision})


async def publish(state: Deploy) -> dict[str, object]:
    return {"deployed": state["commit"], "log": ["deployed"]}


async def stop(state: Deploy) -> dict[str, object]:
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
