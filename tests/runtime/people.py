"""A directory of people for tests, and the moves of a reviewer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from graphs import Log, one_after_another

from graph_runtime import (
    Action,
    Actor,
    Approvals,
    CompiledGraph,
    Decision,
    Place,
    Policy,
    Requests,
    RequestView,
    Reviewer,
    Runtime,
    Store,
    Ticket,
    approve,
    read_policies,
)

CARD = Place("slack", "A1", "T1", "C1", "1700000000.000100")
CLI = Place("cli")
API = Place("api")

POLICIES: Mapping[str, Any] = {
    "default": {"people": ["U_BOSS"], "groups": ["G_OPS"]},
    "slow": {"people": ["U_BOSS"], "deadline": "1h"},
    "two": {"require": [{"name": "crew", "people": ["U_BOSS", "U_TOO"], "count": 2}]},
    "auto": {"tiers": {"low": {"when": 'risk == "low"', "auto": True}, "other": {"people": ["U_BOSS"]}}},
    "limited": {
        "tiers": {
            # Not even one request: each goes on by the next tier.
            "low": {"auto": True, "limits": [{"most": "0.5", "per": "1h"}]},
            "other": {"people": ["U_BOSS"]},
        }
    },
    "reminded": {"people": ["U_BOSS"], "deadline": "1h", "remind": ["50%"]},
    "passed": {"people": ["U_BOSS"], "freeze_bypass": {"group": "G_OPS"}},
    "free": {"people": ["U_BOSS", "U_REQ"], "self_approval": "allow", "reject_reason": "optional"},
}


class People:
    """Knows members by group; ``lost`` groups cannot be looked up, ``kinds`` are people who are no members."""

    def __init__(
        self,
        groups: Mapping[str, Collection[str]] | None = None,
        *,
        lost: Collection[str] = (),
        kinds: Mapping[str, Any] | None = None,
    ) -> None:
        self.groups, self.lost, self.kinds = dict(groups or {}), set(lost), dict(kinds or {})
        self.asked = 0
        #: Whose kind was asked, or which group's members.
        self.looked_up: list[str] = []

    async def members(self, group: Any) -> Collection[Any] | None:
        self.looked_up.append(group)
        return None if group in self.lost else self.groups.get(group, ())

    async def reviewer(self, actor: Actor, groups: Collection[Any]) -> Reviewer:
        self.asked += 1
        self.looked_up.append(actor.id)
        return Reviewer(
            actor.id,
            frozenset(g for g in groups if g not in self.lost and actor.id in self.groups.get(g, ())),
            frozenset(g for g in groups if g in self.lost),
            self.kinds.get(actor.id, "member"),
        )


def requests(**policies: Any) -> Requests:
    """Return the companion with the policies of these tests, and others."""
    return Requests(read_policies({**POLICIES, **policies}))


def deploy(policy: str = "default", **more: Any) -> CompiledGraph:
    """Return a graph whose ``ask`` needs an approval and whose ``act`` notes what came of it."""

    async def ask(state: Log) -> Log:
        decision = approve(
            f"Deploy {state['subject']}",
            action=Action("deploy", {"service": state["subject"]}),
            policy=policy,
            facts={"risk": "low"},
            **more,
        )
        return {"answer": decision}

    async def act(state: Log) -> Log:
        decision = state["answer"]
        assert isinstance(decision, Decision)
        return {"log": [f"{decision.outcome} by {', '.join(decision.by) or 'nobody'}"]}

    return one_after_another("deploy", ask=ask, act=act)


def boss(workspace: str = "T1") -> Actor:
    return person("U_BOSS", workspace)


def person(name: str, workspace: str = "T1") -> Actor:
    return Actor(name, workspace)  # type: ignore[arg-type]


def ticket_of(view: RequestView, store: Store, **changed: Any) -> Ticket:
    """Return what a button of this request's card carries."""
    request = view.request
    said = {
        "deployment": store.deployment,
        "request_id": request.id,
        "thread_id": request.thread_id,
        "run_id": request.run_id,
        "interrupt_id": request.interrupt_id,
    }
    return Ticket(**(said | changed))


async def open_view(approvals: Approvals, run_id: str) -> RequestView:
    """Return the one open request of the run."""
    (request,) = await approvals.find(run_id=run_id, status="open")
    view = await approvals.view(request.id)
    assert view is not None
    return view


def policy(**said: Any) -> Policy:
    return Policy.model_validate({"people": ["U_BOSS"], **said})


async def view_of(approvals: Approvals, request_id: str) -> RequestView:
    view = await approvals.view(request_id)
    assert view is not None
    return view


def approvals_of(runtime: Runtime, people: People | None = None) -> Approvals:
    return Approvals(runtime, people or People({"G_OPS": ["U_OPS"]}))
