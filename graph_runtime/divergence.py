"""Where a record and what is recomputed from it differ, in words that show no state values. Pure."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal

from . import records
from .errors import InvalidUpdateError, ValueRefused
from .messages import MERGES_MESSAGES, without_id
from .plan import After, Chosen, Plan, Result, Target, check_targets, merged_values
from .types import START, UNSET, Checkpoint, CheckpointId, Route, Task, TaskId
from .values import Codec

What = Literal[
    "channel",  # a value merged to something else
    "join",  # other arrivals at an edge from several nodes
    "held",  # other deferred nodes wait
    "due",  # something else comes next
    "route",  # a conditional edge chose otherwise, or the way is another one
    "result",  # a node returned something else, or raised
    "past",  # a node did what its record does not have
    "record",  # a row is missing or cannot be read
]


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first place where what is recomputed differs from the record."""

    #: The subgraph, as its checkpoints name it; empty for the graph itself.
    ns: str
    #: The step of the checkpoint that was made there.
    step: int
    what: What
    #: The key, edge, branch or node.
    name: str
    #: In words that may be shown: names as they are, values as digests.
    recorded: str
    recomputed: str
    #: The two themselves, for code only; an error where recomputing raised one.
    values: tuple[Any, Any] = field(default=(UNSET, UNSET), repr=False)


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint as it is on disk, with what its finished tasks returned."""

    checkpoint: Checkpoint
    #: Which checkpoint wrote each of its keys.
    versions: Mapping[str, CheckpointId]
    results: Mapping[TaskId, Result]
    #: Which run ran each of them.
    runs: Mapping[TaskId, str]


@dataclass(frozen=True, slots=True)
class Place:
    """The step of a run that is compared."""

    plan: Plan
    ns: str
    step: int

    def differs(
        self,
        what: What,
        name: str,
        recorded: str,
        recomputed: str,
        values: tuple[Any, Any] = (UNSET, UNSET),
    ) -> Divergence:
        """Return the divergence of this step."""
        return Divergence(self.ns, self.step, what, name, recorded, recomputed, values)

    def of_task(self, task: Task, result: Result | None) -> Divergence | None:
        """Return what a recorded task needs, and the graph or the record has no more."""
        plan, node = self.plan, task.node
        if node != START and node not in plan.nodes:
            return self.differs("due", node, "is due", "no such node")
        if result is None:
            return self.differs("record", node, "no result", "the step has one")
        for name, value in result.updates:
            if name not in plan.state.channels:
                return self.differs("channel", name, digest(plan.codec, value), "no such key")
        for targets in (result.goto, *(chosen.targets for chosen in result.chosen)):
            try:
                check_targets(plan, node, targets)
            except InvalidUpdateError as error:
                return self.differs(
                    "route", node, _targets(plan.codec, targets), "no such node", (targets, error)
                )
        return None

    def of_merge(self, values: Mapping[str, Any], results: Sequence[Result], error: Exception) -> Divergence:
        """Return the key whose reducer raised, or who else did."""
        for name in sorted({name for result in results for name, _ in result.updates}):
            only = [
                dataclasses.replace(r, updates=tuple(u for u in r.updates if u[0] == name)) for r in results
            ]
            try:
                merged_values(self.plan, copy.deepcopy(dict(values)), only)
            except Exception as raised:  # noqa: BLE001 - reducers are the author's, and may raise anything
                return self.differs("channel", name, "was merged", told(raised), (UNSET, raised))
        return self.differs("due", "next", "went on", told(error), (UNSET, error))

    def of_values(
        self,
        kept: Kept,
        before: Kept | None,
        changed: Mapping[str, Any],
        named: Mapping[str, frozenset[Any]] | None = None,
    ) -> Divergence | None:
        """Return the first key that has another value than it had ``before``, with what ``changed``.

        ``named`` holds, for lists of messages, the ids that were not made up while merging.
        """
        codec, recorded = self.plan.codec, kept.checkpoint.values
        recomputed = {**({} if before is None else before.checkpoint.values), **changed}
        versions = {} if before is None else before.versions
        for name in sorted({*recorded, *recomputed}):
            if name not in changed and kept.versions.get(name) == versions.get(name):
                continue  # nobody touched it: both are one row
            one, other = recorded.get(name, UNSET), recomputed.get(name, UNSET)
            if named and name in named:
                one, other = _without_chance(one, named[name]), _without_chance(other, named[name])
            if one is UNSET or other is UNSET or not same(codec, one, other):
                said = digest(codec, one), digest(codec, other)
                return self.differs("channel", name, *said, (one, other))
        return None

    def of_way(self, recorded: Checkpoint, after: After) -> Divergence | None:
        """Return how the way from here differs: arrivals at joins, what is held or due, or the routes."""
        codec = self.plan.codec
        for key in sorted({*recorded.joins, *after.joins}):
            arrived, now = recorded.joins.get(key, ()), after.joins.get(key, ())
            if arrived != now:
                return self.differs("join", _join(key), _names(arrived), _names(now), (arrived, now))
        if recorded.held != after.held:
            said = _names(recorded.held), _names(after.held)
            return self.differs("held", "held", *said, (recorded.held, after.held))
        due = [codec.decode(records.write_tasks(codec, tasks)) for tasks in (recorded.due, after.due)]
        if not same(codec, *due):
            said = _due(codec, recorded.due), _due(codec, after.due)
            if said[0] == said[1]:
                said = digest(codec, due[0]), digest(codec, due[1])
            return self.differs("due", "next", *said, (recorded.due, after.due))
        if recorded.routes != after.routes:
            said = _routes(recorded.routes), _routes(after.routes)
            return self.differs("route", "routes", *said, (recorded.routes, after.routes))
        return None

    def of_choice(self, result: Result, chosen: tuple[Chosen, ...] | BaseException) -> Divergence | None:
        """Return how the branches that leave a node choose otherwise."""
        codec, node, was = self.plan.codec, result.task.node, _choices(self.plan.codec, result.chosen)
        if isinstance(chosen, BaseException):
            return self.differs("route", node, was, told(chosen), (result.chosen, chosen))
        if _essence(codec, Result(result.task, chosen=chosen)) == _essence(
            codec, Result(result.task, chosen=result.chosen)
        ):
            return None
        return self.differs("route", node, was, _choices(codec, chosen), (result.chosen, chosen))

    def of_result(self, result: Result, outcome: Result | BaseException) -> Divergence | None:
        """Return how what a node returned, and its branches chose, differs."""
        codec, node = self.plan.codec, result.task.node
        try:
            if not isinstance(outcome, BaseException) and _essence(codec, outcome) == _essence(codec, result):
                return None
        except ValueRefused as refused:
            outcome = refused
        if isinstance(outcome, BaseException):
            return self.differs("result", node, "returned", told(outcome), (result, outcome))
        said = _result(codec, result, outcome), _result(codec, outcome, result)
        return self.differs("result", node, *said, (result, outcome))


def same(codec: Codec, one: Any, other: Any) -> bool:
    """Say whether two values are stored as the same value, whatever the order of their keys."""
    try:
        return codec.encode(one) == codec.encode(other) or codec.digest(one) == codec.digest(other)
    except ValueRefused:
        return False


def digest(codec: Codec, value: Any) -> str:
    """Return what may be shown of a value: the beginning of its digest."""
    if value is UNSET:
        return "no value"
    try:
        return codec.digest(value)[:19]
    except ValueRefused:
        return "what cannot be stored"


def told(error: BaseException) -> str:
    """Return what may be shown of an error: its message may hold what the state holds."""
    return f"raised {type(error).__name__}"


def named_ids(plan: Plan, values: Mapping[str, Any], results: Iterable[Result]) -> dict[str, frozenset[Any]]:
    """Return, for each list of messages, the ids that it had or was given.

    ``add_messages`` makes one up for a message that has none, another one each time.
    """
    named: dict[str, set[Any]] = {
        name: _ids(values.get(name, []))
        for name, channel in plan.state.channels.items()
        if channel.reducer in MERGES_MESSAGES
    }
    for name, update in (one for result in results for one in result.updates):
        if name in named:
            named[name] |= _ids(update)
    return {name: frozenset(ids) for name, ids in named.items()}


def _ids(messages: Any) -> set[Any]:
    many = messages if isinstance(messages, list) else [messages]
    found = (one.get("id") if isinstance(one, Mapping) else getattr(one, "id", None) for one in many)
    return {id_ for id_ in found if isinstance(id_, str)}


def _without_chance(messages: Any, named: frozenset[Any]) -> Any:
    if not isinstance(messages, list):
        return messages
    return [without_id(one) if getattr(one, "id", None) not in named else one for one in messages]


def _essence(codec: Codec, result: Result) -> str:
    """Return a digest of all that a result says; the order of updates to different keys says nothing."""
    ordered = dataclasses.replace(result, updates=tuple(sorted(result.updates, key=itemgetter(0))))
    return codec.digest(codec.decode(records.write_result(codec, ordered)))


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _join(key: str) -> str:
    sources, target = json.loads(key)
    return f"{_names(sources)} → {target}"


def _due(codec: Codec, tasks: Iterable[Task]) -> str:
    return _names(t.node if t.push is None else f"{t.node}({digest(codec, t.arg)})" for t in tasks)


def _targets(codec: Codec, targets: Iterable[Target]) -> str:
    return _names(t if isinstance(t, str) else f"{t.node}({digest(codec, t.arg)})" for t in targets)


def _choices(codec: Codec, chosen: Iterable[Chosen]) -> str:
    return "; ".join(f"{_targets(codec, one.targets)} ({one.by})" for one in chosen) or "nothing"


def _routes(routes: Iterable[Route]) -> str:
    return "; ".join(f"{r.source} → {_names(r.targets)} ({r.by or r.way})" for r in routes) or "nothing"


def _result(codec: Codec, result: Result, other: Result) -> str:
    """Return that in which a result differs from the other one."""
    mine, theirs = _by_key(result), _by_key(other)
    parts = [
        f"{name} {digest(codec, mine[name][0] if len(mine[name]) == 1 else mine[name])}"
        if name in mine
        else f"no {name}"
        for name in sorted({*mine, *theirs})
        if name not in mine or name not in theirs or not same(codec, mine[name], theirs[name])
    ]
    if _targets(codec, result.goto) != _targets(codec, other.goto):
        parts.append(f"goes to {_targets(codec, result.goto)}")
    if _choices(codec, result.chosen) != _choices(codec, other.chosen):
        parts.append(f"chooses {_choices(codec, result.chosen)}")
    if result.handled != other.handled:
        parts.append("its error handler stood in" if result.handled else "returned by itself")
    return "; ".join(parts) or "says the same in other words"


def _by_key(result: Result) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, value in result.updates:
        found.setdefault(name, []).append(value)
    return found
