"""The arithmetic of a step: what is due, how writes merge, what comes next. Pure: no await, no clock.

A step runs every due task on the same state; then their updates merge in task order (node name first, then
Sends in the order they were sent) and the routes they took name the tasks of the next step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .calls import Care, RetryPolicy
from .errors import EmptyInputError, InvalidUpdateError
from .plainjson import write_json
from .quick import quick
from .state import Schema
from .types import END, ROOT, START, Command, Route, RunId, Send, Task, TaskId
from .values import Codec, detached

Target = str | Send


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a plan: what it runs, and the part of the state it is given."""

    name: str
    run: Callable[..., Any]
    sees: Schema
    #: Waits until nothing else is due.
    deferred: bool = False
    care: Care = field(default_factory=Care)
    #: It names the keys that it is given, so that they are part of what it is.
    own_input: bool = False
    #: Distinguishes two meanings of one name across deployments; part of the fingerprint.
    version: str = ""
    #: What the node finds in its config's metadata besides what the call put there.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: How often its error handler is tried: as nodes are that say nothing for themselves.
    handler_retries: tuple[RetryPolicy, ...] = ()


@dataclass(frozen=True, slots=True)
class Branch:
    """A conditional edge: ``choose`` looks at the fresh state and names what comes next."""

    name: str
    choose: Callable[..., Any]
    #: Translates what ``choose`` returns; None takes it as node names.
    ends: Mapping[Any, str] | None
    #: The part of the state that it asks for; None gives it what its node sees, and what its node returned.
    sees: Schema | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """An edge from several nodes that waits for all of them, also over different steps."""

    sources: tuple[str, ...]
    target: str

    @property
    def key(self) -> str:
        """Return the name under which arrivals are counted in a checkpoint."""
        return write_json([self.sources, self.target])


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled graph, as data and functions: found by name whenever one of its runs is advanced."""

    name: str
    version: str
    #: Every key there is, those that only a node's own schema names included.
    state: Schema
    #: What a node is given that asks for no part of its own.
    shared: Schema
    input: Schema
    output: Schema
    nodes: Mapping[str, Node]
    edges: Mapping[str, tuple[str, ...]]
    joins: tuple[Join, ...]
    branches: Mapping[str, tuple[Branch, ...]]
    codec: Codec
    #: Nodes before and after which a run rests, "*" for all of them.
    stop_before: tuple[str, ...] = ()
    stop_after: tuple[str, ...] = ()
    #: Graphs that are nodes of this one, by node name.
    subgraphs: Mapping[str, Plan] = field(default_factory=dict)
    #: What a dict given as context is made an instance of; None takes any context as it is.
    context: Any = None
    #: Where nodes say they go with a Command: for drawing only.
    says: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Fingerprints that were asked for; every checkpoint has those of its nodes.
    _prints: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def result(self, values: Mapping[str, Any], keys: str | Sequence[str] | None = None) -> Any:
        """Return what the graph gives its caller: the values of ``keys``, else of its output schema.

        One key alone gives its bare value. None when none of them has a value.
        """
        if isinstance(keys, str):
            return values.get(keys)
        if keys is None and self.output.form == "root":
            return values.get(ROOT)
        names = [n for n, c in self.output.channels.items() if c.managed is None] if keys is None else keys
        return {name: values[name] for name in names if name in values} or None

    def fingerprint(self, node: str) -> str:
        """Return what makes ``node`` the same node for a paused run, as JSON: never its source code.

        Explicit version, its own input schema if it has one, and its outgoing edges and branches: a new key
        of the state, or a new node further on, changes nothing. It can be read, so that whoever meets another
        one can say what has changed.
        """
        known = self._prints.get(node)
        if known is None:
            known = self._prints[node] = self._fingerprint(node)
        return known

    def _fingerprint(self, node: str) -> str:
        spec = self.nodes[node]
        parts: dict[str, Any] = {
            "version": spec.version,
            "edges": sorted(self.edges.get(node, ())),
            "list edges": sorted(join.key for join in self.joins if node in join.sources),
            "branches": [[b.name, sorted((b.ends or {}).values())] for b in self.branches.get(node, ())],
        }
        own = {"keys": sorted(spec.sees.channels)} if spec.own_input else {}
        return write_json({**{name: part for name, part in parts.items() if part}, **own})


@quick
@dataclass(frozen=True, slots=True)
class Chosen:
    """What one branch chose."""

    by: str
    targets: tuple[Target, ...]


@quick
@dataclass(frozen=True, slots=True)
class Result:
    """What a finished task says: channel updates in order, and where to go besides its plain edges."""

    task: Task
    updates: tuple[tuple[str, Any], ...] = ()
    goto: tuple[Target, ...] = ()
    chosen: tuple[Chosen, ...] = ()
    #: An error handler stood in for the node: its edges are not taken.
    handled: bool = False


@quick
@dataclass(frozen=True, slots=True)
class After:
    """Where a step leads: the values it changed, and what is due on them."""

    changed: Mapping[str, Any]
    due: tuple[Task, ...]
    joins: Mapping[str, tuple[str, ...]]
    held: tuple[str, ...]
    routes: tuple[Route, ...]


def task_id(run_id: RunId, ns: str, step: int, node: str, push: int | None) -> TaskId:
    """Return the id that this task has whenever it runs: 32 hex digits."""
    text = write_json([run_id, ns, step, node, push])
    return TaskId(hashlib.sha256(text.encode()).hexdigest()[:32])


def task_order(task: Task) -> tuple[int, int, str]:
    """Sort key in which the writes of one step are applied: by node name, then Sends in their order."""
    return (0, 0, task.node) if task.push is None else (1, task.push, task.node)


def read_return(plan: Plan, task: Task, returned: Any) -> Result:
    """Return what a node's return value means. Raises InvalidUpdateError for a wrong shape or target."""
    updates: list[tuple[str, Any]] = []
    goto: list[Target] = []
    parts = returned if isinstance(returned, list | tuple) and _speaks(returned) else [returned]
    for part in parts:
        if isinstance(part, Command):
            updates.extend(_command_updates(plan, task, part.update))
            goto.extend(targets_of(part.goto))
        else:
            updates.extend(plan.state.updates(part, by=f"node {task.node!r}").items())
    check_targets(plan, task.node, goto)
    return Result(task, tuple((name, detached(value)) for name, value in updates), tuple(goto))


def _speaks(returned: Sequence[Any]) -> bool:
    return any(isinstance(part, Command) for part in returned)


def _command_updates(plan: Plan, task: Task, update: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(update, list | tuple) and all(isinstance(p, tuple) and len(p) == 2 for p in update):
        return [(key, value) for key, value in update if plan.state.takes(key)]
    return plan.state.updates(update, by=f"node {task.node!r}").items()


def targets_of(goto: Target | Sequence[Target]) -> tuple[Target, ...]:
    """Return ``goto`` as a tuple, whichever of its shapes it had."""
    return (goto,) if isinstance(goto, str | Send) else tuple(goto)


def check_targets(plan: Plan, source: str, targets: Iterable[Target]) -> None:
    """Raise InvalidUpdateError when a target is no node of the plan; nothing of the step is stored then."""
    for target in targets:
        name = target.node if isinstance(target, Send) else target
        if name == END and not isinstance(target, Send):
            continue
        if name not in plan.nodes:
            raise InvalidUpdateError(
                f"nothing of this step was stored: {source!r} goes to {name!r}, "
                f"which is no node of graph {plan.name!r}; its nodes are {', '.join(sorted(plan.nodes))}"
            )


def fresh_values(plan: Plan, values: Mapping[str, Any], updates: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return ``values`` with one task's own updates applied: what the branches of its node look at."""
    return {**values, **_merged(plan, values, updates)}


def _merged(plan: Plan, values: Mapping[str, Any], updates: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    per_channel: dict[str, list[Any]] = {}
    for name, value in updates:
        per_channel.setdefault(name, []).append(value)
    return {name: plan.state.channels[name].merge(values, new) for name, new in per_channel.items()}


def merged_values(plan: Plan, values: Mapping[str, Any], results: Iterable[Result]) -> dict[str, Any]:
    """Return ``values`` with the updates of finished tasks merged in task order."""
    return {**values, **_merged(plan, values, _updates(_in_order(results)))}


def _in_order(results: Iterable[Result]) -> list[Result]:
    ordered = list(results)
    if len(ordered) > 1:
        ordered.sort(key=lambda result: task_order(result.task))
    return ordered


def _updates(ordered: Sequence[Result]) -> Iterable[tuple[str, Any]]:
    if len(ordered) == 1:
        return ordered[0].updates
    return (update for result in ordered for update in result.updates)


def live_values(plan: Plan, values: Mapping[str, Any], results: Iterable[Result]) -> dict[str, Any]:
    """Return the merged values, or ``values`` alone where these writes cannot be merged.

    Its run says so when the step ends; until then it must stay readable and able to rest.
    """
    try:
        return merged_values(plan, values, results)
    except Exception:  # noqa: BLE001 - reducers are the author's, and may raise anything
        return dict(values)


def start_updates(plan: Plan, given: Any, *, some: bool = False) -> tuple[tuple[str, Any], ...]:
    """Return the updates that an input stands for; with ``some``, at least one.

    Raises EmptyInputError for None, and for less than ``some``; InvalidUpdateError for what is no input.
    """
    updates = plan.input.updates(given, by="the input")
    if given is None or (some and not updates):
        raise EmptyInputError(
            f"no run was started: the input has no key of graph {plan.name!r}; "
            f"it takes {', '.join(sorted(plan.input.channels))}"
        )
    return tuple((name, detached(value)) for name, value in updates.items())


def after_step(
    plan: Plan,
    run_id: RunId,
    ns: str,
    step: int,
    *,
    values: Mapping[str, Any],
    joins: Mapping[str, tuple[str, ...]],
    held: Sequence[str],
    results: Iterable[Result],
) -> After:
    """Return where the finished step ``step - 1`` leads: merged values, and the tasks of step ``step``.

    Raises InvalidUpdateError when two tasks wrote one plain key.
    """
    ordered = _in_order(results)
    changed = _merged(plan, values, _updates(ordered))
    arrived = {key: list(sources) for key, sources in joins.items()}
    triggered: set[str] = set()
    sends: list[Send] = []
    routes: list[Route] = []

    for result in ordered:
        source = result.task.node
        if not result.handled:
            triggered.update(plan.edges.get(source, ()))
            for join in plan.joins:
                if source in join.sources and source not in arrived.setdefault(join.key, []):
                    arrived[join.key].append(source)
        ways: list[tuple[str | None, tuple[Target, ...]]] = [(c.by, c.targets) for c in result.chosen]
        if result.goto:
            ways.append((None, result.goto))
        for by, targets in ways:
            names = tuple(t.node if isinstance(t, Send) else t for t in targets)
            routes.append(Route(source, "goto" if by is None else "branch", names, by))
            triggered.update(t for t in targets if isinstance(t, str))
            sends.extend(t for t in targets if isinstance(t, Send))
    for join in plan.joins:
        if set(arrived.get(join.key, ())) == set(join.sources):
            del arrived[join.key]
            triggered.add(join.target)
            routes.append(Route(", ".join(join.sources), "join", (join.target,)))

    triggered.discard(END)
    deferred = {name for name in triggered if plan.nodes[name].deferred}
    waiting, ready = deferred.union(held), triggered - deferred
    if not ready and not sends:
        ready, waiting = waiting, set()
    due = [Task(task_id(run_id, ns, step, name, None), name) for name in sorted(ready)]
    due += [
        Task(task_id(run_id, ns, step, s.node, i), s.node, i, s.arg, s.timeout) for i, s in enumerate(sends)
    ]
    return After(
        changed=changed,
        due=tuple(due),
        joins={key: tuple(sorted(sources)) for key, sources in sorted(arrived.items()) if sources}
        if arrived
        else {},
        held=tuple(sorted(waiting)),
        routes=tuple(routes),
    )


def start_task(run_id: RunId, ns: str, step: int, given: Any) -> Task:
    """Return the task of the input step: it carries the input to the nodes behind START."""
    return Task(task_id(run_id, ns, step, START, None), START, None, given)
