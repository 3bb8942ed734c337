"""A graph as Mermaid text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .plan import Plan
from .types import END, START, RunView


def draw_mermaid(plan: Plan, view: RunView | None = None) -> str:
    """Return a flowchart: solid edges always follow, dotted ones by choice.

    With a view of a run, nodes that are due are marked ``due``, and those that ask ``asks``.
    """
    names = [START, *plan.nodes, END]
    ids = {name: f"n{number}" for number, name in enumerate(names)}
    shown = {START: "start", END: "end"}
    lines = ["flowchart TD"]
    for name in names:
        label = re.sub(r"[^\w .:/-]", "_", shown.get(name, name))
        lines.append(f'  {ids[name]}(["{label}"])' if name in shown else f'  {ids[name]}["{label}"]')
    lines += [f"  {ids[a]} {arrow} {ids[b]}" for a, arrow, b in dict.fromkeys(_edges(plan))]
    if view is not None:
        asking = {q.node for q in view.open}
        for name in dict.fromkeys(view.state.next):
            if name in ids:
                lines.append(f"  class {ids[name]} {'asks' if name in asking else 'due'}")
        lines += ["  classDef due stroke-width:3px", "  classDef asks stroke-width:3px,stroke-dasharray:4"]
    return "\n".join(lines) + "\n"


def _edges(plan: Plan) -> Iterator[tuple[str, str, str]]:
    for source, ends in plan.edges.items():
        for end in ends:
            yield source, "-->", end
    for join in plan.joins:
        for source in join.sources:
            yield source, "-->", join.target
    for source, branches in plan.branches.items():
        for branch in branches:
            ends_of = branch.ends.values() if branch.ends is not None else [*plan.nodes, END]
            for end in ends_of:
                yield source, "-.->", end
    for source, said in plan.says.items():
        for end in said:
            yield source, "-.->", end
