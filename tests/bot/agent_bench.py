"""What the tests of the agent share: what its model wants, and what it was told."""

from __future__ import annotations

from typing import Any

from bot_bench import CAROL

from bot.showcases import SHOWCASES
from graph_runtime import ToolMessage

SHOWN = SHOWCASES["agent"]


def call(name: str, why: str = "", **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args, "why": why}


def ticket(title: str, why: str = "") -> dict[str, Any]:
    return call("open_ticket", why, title=title)


def given(*turns: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"task": "Go on.", "requester": CAROL, "script": list(turns), **more}


def told(values: Any) -> list[tuple[str, str, str]]:
    """Return what the model was told: of which call, how it went, and the text."""
    answers = [one for one in values["messages"] if isinstance(one, ToolMessage)]
    return [(one.tool_call_id, one.status, one.content) for one in answers]
