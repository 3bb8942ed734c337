"""What is named in a command and is not what it takes: a run for its request, somebody who is nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graph_runtime import Actor, Approvals, Refused, Runtime
from graph_runtime.types import PersonId

from .config import ConfigError, Settings
from .typed import MistypedError

if TYPE_CHECKING:
    from .directory import SlackDirectory  # it loads what asks Slack

_OPEN, _RUNS = 1_000, 100


async def request_named(approvals: Approvals, given: str) -> str:
    """Return the request's id that was typed. Raises :class:`MistypedError` that names those of a run."""
    if given.startswith("run-"):
        ids = [request.id for request in await approvals.find(run_id=given)]
        if ids:
            are = "its request is" if len(ids) == 1 else "its requests are"
            raise MistypedError(f"Nothing was changed: {given} is a run; {are} {', '.join(ids)}.")
    return given


async def run_named(approvals: Approvals, given: str) -> str:
    """Return the run's id that was typed. Raises :class:`MistypedError` that names the run of a request."""
    if given.startswith("req-"):
        view = await approvals.view(given)
        if view is not None:
            raise MistypedError(f"Nothing was done: {given} is a request; its run is {view.run.id}.")
    return given


async def check_scope(runtime: Runtime, scope: str) -> None:
    """Raise :class:`Refused` for the scope of a graph that is not there and never had a run."""
    kind, _, name = scope.partition(":")
    if kind != "graph" or not name or name in runtime.graphs or await runtime.runs(graph=name, limit=1):
        return
    known = ", ".join(sorted(runtime.graphs)) or "none"
    raise Refused("INVALID_INPUT", f"Nothing was frozen: there is no graph {name}; there are {known}.")


async def caution(runtime: Runtime, approvals: Approvals, scope: str) -> str:
    """Return what to say of a scope whose action nothing has asked for lately; empty for any other.

    It is frozen all the same: what will ask for it may never have run yet.
    """
    kind, _, name = scope.partition(":")
    if kind != "action":
        return ""
    found = await approvals.find(status="open", limit=_OPEN)
    for run in await runtime.runs(limit=_RUNS):
        if any(request.action is not None and request.action.name == name for request in found):
            return ""
        found = await approvals.find(run_id=run.id)
    if any(request.action is not None and request.action.name == name for request in found):
        return ""
    return " No recent request names that action; check the spelling."


async def check_known(directory: SlackDirectory, *users: str) -> None:
    """Raise :class:`MistypedError` for somebody whom Slack says it does not know."""
    for user in users:
        found = await directory.reviewer(Actor(PersonId(user)), ())
        if found.kind == "unknown" and directory.is_nobody(user):
            raise MistypedError(f"Nothing was changed: Slack knows no {user}.")


def need_slack(settings: Settings) -> None:
    """Raise :class:`ConfigError` that names every setting missing for asking Slack who somebody is."""
    try:
        settings.need_slack(takes=False)
    except ConfigError as error:
        raise ConfigError(str(error).replace("nothing was started", "nothing was changed", 1)) from None
