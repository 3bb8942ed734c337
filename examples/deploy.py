"""A deploy that asks before it touches production, carries out what was approved and nothing else, and looks.

``/deploy payments 4f2c9e1``:

START -> build_plan -> classify -> review -> recheck -> deploy -> verify -> (works: report
| else: approve_rollback -> rollback -> report) -> END. What has changed since people were asked is planned
and asked anew, three times at most.
"""

from __future__ import annotations

import hashlib
import json
import operator
from typing import Annotated, Any, Literal, TypedDict

from pydantic import BaseModel, Field

from graph_runtime import (
    END,
    START,
    Action,
    Command,
    Decision,
    GrantRefused,
    NotDone,
    RetryPolicy,
    StateGraph,
    approve,
    current_task,
    execute_once,
    step,
)

from .outside import Book, outside

#: How often a plan is made before it is given up: somebody else changes the same all the time.
MOST_PLANS = 3
#: What a grant is refused for that a new approval helps against.
ASK_ANEW = {"NOT_APPROVER", "REVOKED"}


class Arguments(BaseModel):
    """Deploy a commit of a service to production."""

    service: str = Field(description="what is deployed, such as payments", pattern=r"^[a-z][a-z0-9-]{0,39}$")
    commit: str = Field(description="7 to 40 hex digits of the commit", pattern=r"^[0-9a-f]{7,40}$")
    author: str | None = Field(
        default=None,
        description="who wrote it, such as @bob, and so may not approve it",
        pattern=r"^[UW][A-Z0-9]+$",
        json_schema_extra={"person": True},
    )


class Deploy(TypedDict, total=False):
    """What a deploy knows; the first four keys are its input."""

    service: str
    commit: str
    requester: str
    author: str
    plan: dict[str, Any]
    plan_hash: str
    plans: int
    risk: Literal["low", "high"]
    decision: Decision
    deployed: str
    works: bool
    rollback_decision: Decision
    log: Annotated[list[str], operator.add]


class Platform(Book):
    """Stands in for the registry and the cluster. A commit that begins with ``bad`` does not work."""

    def push(self, service: str, commit: str, image: str) -> None:
        """Put another image in the registry under that commit."""
        self.add(what="pushed", service=service, commit=commit, image=image)

    def image(self, service: str, commit: str) -> str:
        """Return the digest of what the registry has under that commit."""
        pushed = [one["image"] for one in self.lines("pushed") if one["commit"] == commit]
        return pushed[-1] if pushed else hashlib.sha256(f"{service}@{commit}".encode()).hexdigest()[:12]

    def deploy(self, service: str, commit: str, key: str) -> str:
        """Let that commit run, once for each key, and return it."""
        if self.find(key) is None:
            self.add(what="deployed", service=service, commit=commit, key=key)
        return commit

    def find(self, key: str) -> str | None:
        """Return the commit that was deployed with this key, or None when there is none."""
        return next((one["commit"] for one in self.lines("deployed") if one["key"] == key), None)

    def running(self, service: str) -> str:
        """Return the commit that runs now."""
        done = [one["commit"] for one in self.lines("deployed") if one["service"] == service]
        return done[-1] if done else "0000000"

    def works(self, service: str) -> bool:
        """Say whether what runs now answers."""
        return not self.running(service).startswith("bad")


def platform() -> Platform:
    """Return the registry and the cluster."""
    return Platform(outside("platform.jsonl"))


class PlanChanged(NotDone):
    """Nothing was deployed: what would be deployed now is not what was approved."""


def plan_of(state: Deploy) -> dict[str, Any]:
    """Return what a deploy would change now."""
    there, service = platform(), state["service"]
    return {
        "from": there.running(service),
        "to": state["commit"],
        "image": there.image(service, state["commit"]),
        "migrations": ["0042_refunds"] if service == "payments" else [],
        "changed lines": 120,
    }


def hash_of(plan: dict[str, Any]) -> str:
    """Return the hash that an approval is bound to."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:12]


def deploy_of(state: Deploy) -> Action:
    """Return exactly what will be done."""
    what = {"service": state["service"], "commit": state["commit"], "environment": "production"}
    return Action("deploy", {**what, "plan hash": state["plan_hash"]})


def rollback_of(state: Deploy) -> Action:
    """Return exactly how it is undone."""
    plan = state["plan"]
    return Action("roll back", {"service": state["service"], "from": plan["to"], "to": plan["from"]})


async def build_plan(state: Deploy) -> Deploy:
    """Work out what would change, and give it a hash that the approval is bound to."""
    plan, number = plan_of(state), state.get("plans", 0) + 1
    said = f"plan {number}: {plan['from']} to {plan['to']}, {hash_of(plan)}"
    return {"plan": plan, "plan_hash": hash_of(plan), "plans": number, "log": [said]}


async def classify(state: Deploy) -> Deploy:
    """Say how risky it is: a migration cannot be taken back, and nobody reads so many lines."""
    plan = state["plan"]
    return {"risk": "high" if plan["migrations"] or plan["changed lines"] > 200 else "low"}


async def review(state: Deploy) -> Command[Literal["recheck", "report"]]:
    """Ask. The run waits here, costing nothing, until somebody decides or the deadline passes."""
    decision = approve(
        f"Deploy {state['service']} {state['commit']} to production",
        action=deploy_of(state),
        facts={"migrations": len(state["plan"]["migrations"]), "risk": state["risk"]},
        policy="prod-deploy",
        requester=state.get("requester"),
        also=[state["author"]] if "author" in state else [],
    )
    if decision.approved:
        return Command(goto="recheck", update={"decision": decision})
    why = f": {decision.reason}" if decision.reason else ""
    said = f"not deployed, {decision.outcome}{why}"
    return Command(goto="report", update={"decision": decision, "log": [said]})


async def recheck(state: Deploy) -> Command[Literal["deploy", "build_plan", "report"]]:
    """Look whether the plan is the same still: people may have taken hours."""
    return Command(goto="deploy") if hash_of(plan_of(state)) == state["plan_hash"] else _plan_anew(state)


async def deploy(state: Deploy) -> Command[Literal["verify", "build_plan", "review", "report"]]:
    """Deploy what was approved, once: when the policy's window is open, and nothing is frozen."""
    there = platform()

    async def carry_out(key: str) -> str:
        # A night may have passed at the gate.
        if hash_of(plan_of(state)) != state["plan_hash"]:
            raise PlanChanged("nothing was deployed: the plan has changed")
        return there.deploy(state["service"], state["commit"], key)

    try:
        done: str = await execute_once(
            state["decision"].grant, carry_out, action=deploy_of(state), reconcile=_find
        )
    except PlanChanged:
        return _plan_anew(state)
    except GrantRefused as refused:
        if refused.code not in ASK_ANEW:
            raise
        return Command(goto="review", update={"log": [f"asked anew: {refused}"]})
    return Command(goto="verify", update={"deployed": done, "log": [f"deployed {done}"]})


def _plan_anew(state: Deploy) -> Command[Any]:
    """Go back to the plan. Its hash is another one, so no vote for the old one counts for it."""
    if state["plans"] < MOST_PLANS:
        return Command(goto="build_plan")
    said = f"not deployed: the plan has changed {MOST_PLANS} times"
    return Command(goto="report", update={"log": [said]})


async def _find(key: str) -> str:
    found = platform().find(key)
    if found is None:
        raise NotDone("the cluster knows no deploy of that key")
    return found


async def verify(state: Deploy) -> Command[Literal["report", "approve_rollback"]]:
    """Look whether what was deployed works."""
    works = platform().works(state["service"])
    return Command(goto="report" if works else "approve_rollback", update={"works": works})


async def approve_rollback(state: Deploy) -> Command[Literal["rollback", "report"]]:
    """Ask whoever is on call, for a short time; the policy says what a deadline means."""
    plan = state["plan"]
    decision = approve(
        f"Roll {state['service']} back to {plan['from']}: {plan['to']} does not work",
        action=rollback_of(state),
        policy="rollback",
        requester=state.get("requester"),
    )
    if decision.approved or decision.on_timeout == "rollback":
        return Command(goto="rollback", update={"rollback_decision": decision})
    said = f"left as it is, {decision.outcome}: {decision.reason}"
    return Command(goto="report", update={"rollback_decision": decision, "log": [said]})


async def rollback(state: Deploy) -> Deploy:
    """Let the commit run again that ran before."""
    there, decision, before = platform(), state["rollback_decision"], state["plan"]["from"]

    async def carry_out(key: str) -> str:
        return there.deploy(state["service"], before, key)

    if decision.approved:
        await execute_once(decision.grant, carry_out, action=rollback_of(state), reconcile=_find)
    else:
        # Nobody decided in time, so nobody gave a grant. The task's id is the same if it must run again.
        await step("roll back", carry_out, current_task().id)
    return {"log": [f"rolled back to {before}, {decision.outcome}"]}


async def report(state: Deploy) -> Deploy:
    """Say what runs now."""
    return {"log": [f"{state['service']} runs {platform().running(state['service'])}"]}


def _may_pass(error: Exception) -> bool:
    return isinstance(error, GrantRefused) and error.code == "MEMBERSHIP_UNKNOWN"


graph = (
    StateGraph(Deploy)
    .add_node(build_plan)
    .add_node(classify)
    .add_node(review)
    .add_node(recheck)
    # A directory that does not answer is asked again; then it is an operator's.
    .add_node(deploy, retry_policy=RetryPolicy(initial_interval=2.0, max_attempts=5, retry_on=_may_pass))
    .add_node(verify)
    .add_node(approve_rollback)
    .add_node(rollback)
    .add_node(report)
    .add_edge(START, "build_plan")
    .add_edge("build_plan", "classify")
    .add_edge("classify", "review")
    .add_edge("rollback", "report")
    .add_edge("report", END)
    .compile(name="deploy", version="2")
)
