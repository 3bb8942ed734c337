"""How a caller wants its run driven; a worker takes the defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .calls import RunControl
from .ledger import Durability
from .plan import Plan
from .streaming import Stream


@dataclass(slots=True)
class Call:
    """One call's wishes, for the run and for the subgraphs in it."""

    stream: Stream = field(default_factory=Stream)
    context: Any = None
    durability: Durability = "sync"
    stop_before: tuple[str, ...] = ()
    stop_after: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    #: The run rested before these nodes and is told to go on now.
    go_on: bool = False
    #: Asks for the run to rest before its next step.
    control: RunControl | None = None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the caller wants to find again beside each checkpoint."""
        found: Mapping[str, Any] = self.config.get("metadata") or {}
        return found

    def stops_before(self, plan: Plan, nodes: Iterable[str]) -> bool:
        """Say whether the run is to rest before these nodes; the call's breakpoints replace the plan's."""
        return _names_one(self.stop_before or plan.stop_before, plan, nodes)

    def stops_after(self, plan: Plan, nodes: Iterable[str]) -> bool:
        """Say whether the run is to rest after these nodes."""
        return _names_one(self.stop_after or plan.stop_after, plan, nodes)


def _names_one(stops: Iterable[str], plan: Plan, nodes: Iterable[str]) -> bool:
    named = set(stops)
    return not named.isdisjoint(nodes) or ("*" in named and not set(plan.nodes).isdisjoint(nodes))
