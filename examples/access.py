"""Access to a resource for a while: given when its owners agree, and taken back by itself.

START -> review -> (approved: give -> keep -> take_back | else: refuse) -> END
"""

from __future__ import annotations

import operator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypedDict

from pydantic import BaseModel, BeforeValidator, Field

from graph_runtime import (
    END,
    START,
    Action,
    Command,
    Decision,
    StateGraph,
    approve,
    execute_once,
    read_duration,
    step,
    wait_until,
)


def _minutes(text: Any) -> Any:
    """Return minutes for a duration like ``30m`` or ``4h``, and a bare number as it is."""
    written = isinstance(text, str) and not text.isdecimal()
    return read_duration(text) // 60 if written else text


class Arguments(BaseModel):
    """Ask for access to a resource for a while."""

    resource: str = Field(description="what to, such as prod-db", pattern=r"^[a-z][a-z0-9-]{0,39}$")
    level: Literal["read", "write"] = Field(description="what you may do there")
    minutes: Annotated[int, BeforeValidator(_minutes)] = Field(
        description="for how long, such as 30m or 4h; 8h at most", gt=0, le=480
    )
    reason: str = Field(
        description="why, with the ticket",
        min_length=3,
        max_length=300,
        json_schema_extra={"rest_of_line": True},
    )


class Access(TypedDict, total=False):
    """What a request for access knows; the first five keys are its input."""

    resource: str
    level: str
    minutes: int
    reason: str
    requester: str
    decision: Decision
    until: str
    log: Annotated[list[str], operator.add]


def access_of(state: Access) -> Action:
    """Return exactly what is given."""
    to = {"resource": state["resource"], "level": state["level"]}
    return Action("give access", {**to, "minutes": state["minutes"], "to": state["requester"]})


async def review(state: Access) -> Command[Literal["give", "refuse"]]:
    """Ask the owners of the resource."""
    decision = approve(
        f"{state['level']} access to {state['resource']} for {state['minutes']} minutes",
        action=access_of(state),
        facts={"reason": state["reason"]},
        policy="prod-db-access",
        requester=state["requester"],
    )
    return Command(goto="give" if decision.approved else "refuse", update={"decision": decision})


async def give(state: Access) -> Access:
    """Give the access, once, and note until when: in UTC, from the moment it is given."""

    async def in_a_while() -> str:
        return (datetime.now(UTC) + timedelta(minutes=state["minutes"])).isoformat(timespec="seconds")

    async def open_door(key: str) -> bool:
        # A real one would create the role here, with the key as its name.
        return True

    until: str = await step("until", in_a_while)
    await execute_once(state["decision"].grant, open_door, action=access_of(state))
    return {"until": until, "log": [f"given until {until}"]}


async def keep(state: Access) -> Access:
    """Wait: a row in the database, which a new start and a clock that is set do no harm."""
    wait_until(datetime.fromisoformat(state["until"]))
    return {}


async def take_back(state: Access) -> Access:
    """Take the access back, and look whether it is gone."""

    async def close_door() -> str:
        return f"taken back from {state['requester']}"

    return {"log": [await step("take back", close_door)]}


async def refuse(state: Access) -> Access:
    """Give nothing, and say so."""
    return {"log": [f"not given: {state['decision'].outcome}"]}


graph = (
    StateGraph(Access)
    .add_node(review)
    .add_node(give)
    .add_node(keep)
    .add_node(take_back)
    .add_node(refuse)
    .add_edge(START, "review")
    .add_edge("give", "keep")
    .add_edge("keep", "take_back")
    .add_edge("take_back", END)
    .add_edge("refuse", END)
    .compile(name="access", version="1")
)
