"""Where a run stands in its graph: the way it took, what may follow, and the graph as Mermaid text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from .plan import Plan
from .shown import RunView, TaskView
from .types import END, START, CheckpointId, CheckpointSource, Route

Mark = Literal[
    "done",  # it ran, and its step is committed or its result saved
    "here",  # it is due, and asks nothing
    "waits",  # it is due, and waits for an answer
    "failed",  # it is what the run failed with
    "stopped",  # it was due when the run ended
    "ahead",  # an edge or branch leads there from where the run stands
]
#: Nodes are called in drawings as people call them.
SHOWN = {START: "start", END: "end"}


@dataclass(frozen=True, slots=True)
class Passed:
    """A checkpoint as far as the way over it is concerned: what was due there, and what led to it."""

    step: int
    source: CheckpointSource
    nodes: tuple[str, ...]
    routes: tuple[Route, ...]
    parent_id: CheckpointId | None


@dataclass(frozen=True, slots=True)
class Stop:
    """A node on the way of a run."""

    node: str
    mark: Mark
    #: How many tasks of that node its step has, when Sends brought about several.
    times: int = 1
    #: Where it went by choice, and by which branch, else ``goto``.
    chose: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """Nodes that ran, run or may run at the same time."""

    stops: tuple[Stop, ...]
    #: The step of the checkpoint at which they were due; None ahead.
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """How a run came to where it stands, where that is, and what may follow, in this order."""

    stages: tuple[Stage, ...]
    #: Nodes that are not on it.
    elsewhere: tuple[str, ...] = ()
    #: There are earlier steps that it does not show.
    cut: bool = False


def way(plan: Plan, view: RunView, steps: Sequence[Passed], *, cut: bool = False) -> Way:
    """Return the way of a run to where ``view`` shows it: over these checkpoints, the oldest first.

    What may follow is what edges and declared branches lead to, nearest first; where a branch declares
    nothing, nothing is guessed.
    """
    stages = []
    for then, after in pairwise(steps):
        # What an edit or a migration took the place of has not run.
        names = Counter(node for node in then.nodes if node != START)
        if after.source == "loop" and names:
            stops = (Stop(node, "done", times, _chose(node, after)) for node, times in names.items())
            stages.append(Stage(tuple(stops), then.step))
    present = Counter((task.name, _mark(view, task)) for task in view.state.tasks)
    if present:
        here = tuple(Stop(node, mark, times) for (node, mark), times in present.items())
        stages.append(Stage(here, view.state.step))
    if view.run.live:
        stages += _ahead(plan, dict.fromkeys(task.name for task in view.state.tasks))
    on_it = {stop.node for stage in stages for stop in stage.stops}
    return Way(tuple(stages), tuple(node for node in plan.nodes if node not in on_it), cut)


@dataclass(frozen=True, slots=True)
class DrawableGraph:
    """A graph to be drawn."""

    plan: Plan

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of its nodes, with where it begins and ends."""
        return (START, *self.plan.nodes, END)

    def draw_mermaid(self) -> str:
        """Return the graph as Mermaid text. See :func:`draw_mermaid`."""
        return draw_mermaid(self.plan)


def draw_mermaid(plan: Plan, view: RunView | None = None) -> str:
    """Return a flowchart: solid edges always follow, dotted ones by choice.

    With a view of a run, nodes that are due are marked ``due``, and those that ask ``asks``.
    """
    names = [START, *plan.nodes, END]
    ids = {name: f"n{number}" for number, name in enumerate(names)}
    lines = ["flowchart TD"]
    for name in names:
        label = re.sub(r"[^\w .:/-]", "_", SHOWN.get(name, name))
        lines.append(f'  {ids[name]}(["{label}"])' if name in SHOWN else f'  {ids[name]}["{label}"]')
    lines += [f"  {ids[a]} {arrow} {ids[b]}" for a, arrow, b in dict.fromkeys(_edges(plan))]
    if view is not None:
        asking = {task.name for task in view.state.tasks if task.interrupts}
        for name in dict.fromkeys(view.state.next):
            if name in ids:
                lines.append(f"  class {ids[name]} {'asks' if name in asking else 'due'}")
        lines += ["  classDef due stroke-width:3px", "  classDef asks stroke-width:3px,stroke-dasharray:4"]
    return "\n".join(lines) + "\n"


def _mark(view: RunView, task: TaskView) -> Mark:
    if task.error is not None:
        return "failed"
    if task.result is not None and task.name != START:
        return "done"
    if not view.run.live:
        return "stopped"
    return "waits" if task.interrupts else "here"


def _chose(node: str, after: Passed) -> tuple[str, ...]:
    found = [route for route in after.routes if route.source == node]
    return tuple(
        f"{', '.join(SHOWN.get(t, t) for t in route.targets) or 'nowhere'} ({route.by or route.way})"
        for route in found
    )


def _ahead(plan: Plan, start: dict[str, None]) -> Iterator[Stage]:
    """Yield what may follow these nodes, each node where it may come first."""
    leads: dict[str, list[str]] = {}
    for source, _, end in _declared(plan):
        if end != END:
            leads.setdefault(source, []).append(end)
    layer, known = list(start), set[str]()
    while layer:
        layer = [n for n in dict.fromkeys(t for node in layer for t in leads.get(node, ())) if n not in known]
        known.update(layer)
        if layer:
            yield Stage(tuple(Stop(node, "ahead") for node in layer))


def _edges(plan: Plan) -> Iterator[tuple[str, str, str]]:
    yield from _declared(plan)
    for source, branches in plan.branches.items():
        if any(branch.ends is None for branch in branches):
            # It may go anywhere.
            for end in (*plan.nodes, END):
                yield source, "-.->", end


def _declared(plan: Plan) -> Iterator[tuple[str, str, str]]:
    for source, ends in plan.edges.items():
        for end in ends:
            yield source, "-->", end
    for join in plan.joins:
        for source in join.sources:
            yield source, "-->", join.target
    for source, branches in plan.branches.items():
        for branch in branches:
            for end in (branch.ends or {}).values():
                yield source, "-.->", end
    for source, said in plan.says.items():
        for end in said:
            yield source, "-.->", end
