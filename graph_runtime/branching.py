"""Asks the branches that leave a finished task what comes next."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping
from typing import Any

from .calls import Given, wanted
from .errors import InvalidUpdateError, NoWay, UnknownWay
from .plan import Branch, Chosen, Plan, Result, Target, check_targets, fresh_values
from .types import START, Send


async def choose(plan: Plan, result: Result, values: Mapping[str, Any], given: Given) -> tuple[Chosen, ...]:
    """Return what the branches that leave a finished task choose on its fresh state."""
    source = result.task.node
    own = plan.shared if source == START else plan.nodes[source].sees
    fresh = fresh_values(plan, values, result.updates)
    chosen = []
    for branch in plan.branches.get(source, ()):
        state = (branch.sees or own).present(fresh)
        if branch.sees is None and isinstance(state, dict):
            state = {**dict(result.updates), **state}
        chosen.append(await _choose(plan, source, branch, state, given))
    return tuple(chosen)


async def _choose(plan: Plan, source: str, branch: Branch, state: Any, given: Given) -> Chosen:
    said = branch.choose(state, **given.named(wanted(branch.choose)))
    if inspect.isawaitable(said):
        said = await said
    targets: list[Target] = []
    for one in said if isinstance(said, list | tuple) else [said]:
        target = one
        if branch.ends is not None and not isinstance(one, Send):
            target = branch.ends.get(one) if isinstance(one, Hashable) else None
            if target is None:
                raise UnknownWay(
                    f"nothing of this step was stored: branch {branch.name!r} after {source!r} returned "
                    f"{one!r}; it declares {', '.join(map(repr, branch.ends))}"
                )
        if target is None or target == START:
            raise NoWay(
                f"nothing of this step was stored: branch {branch.name!r} after {source!r} chose {one!r}"
            )
        if not isinstance(target, str | Send):
            raise InvalidUpdateError(
                f"nothing of this step was stored: branch {branch.name!r} after {source!r} returned {one!r}, "
                "which names no node"
            )
        targets.append(target)
    check_targets(plan, source, targets)
    return Chosen(branch.name, tuple(targets))
