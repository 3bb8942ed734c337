"""Where a run stands. A frame is the place of one graph in it: of itself, or of a subgraph in a task."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import records
from .errors import GraphChanged
from .executor import Paused, TaskScope
from .ground import Ground
from .kept import Rest
from .plainjson import read_json
from .plan import Plan, Result
from .quick import quick
from .storage import Ask, Params, Row
from .stored import Stored, growing, read_stored, read_versions
from .types import Checkpoint, CheckpointId, Question, Run, Task, TaskId


@dataclass(slots=True)
class Frame:
    """One graph's place in a run."""

    ns: str
    plan: Plan
    checkpoint: Checkpoint
    versions: Mapping[str, CheckpointId]
    fingerprints: Mapping[str, str]
    saved: dict[TaskId, Result]
    #: Steps of a subgraph since it was last given an input; the run counts those of the graph itself.
    steps: int = 0
    #: It began in this walk, and so has not rested yet.
    new: bool = False
    #: Its lists as they are stored, which the next checkpoint may go on from.
    lists: Mapping[str, Stored] = field(default_factory=dict)

    #: What the call that began a subgraph gave it on top of its parent's; None is the run's own.
    config: Mapping[str, Any] | None = None
    context: Any = None

    def inside(self, task: Task) -> str:
        """Return the namespace of the subgraphs that run in a task of this frame."""
        return inside(self.ns, task)

    def left(self) -> tuple[Task, ...]:
        """Return the due tasks that have not finished."""
        due = self.checkpoint.due
        return tuple(task for task in due if task.id not in self.saved) if self.saved else due


@quick
@dataclass(frozen=True, slots=True)
class Resting:
    """Why a frame cannot go on: what its tasks ask, or a node before or after which it was told to stop."""

    frame: Frame
    paused: tuple[Paused, ...] = ()
    #: Tasks that ran in this walk; the answers they were given are delivered.
    ran: frozenset[TaskId] = frozenset()


def inside(ns: str, task: Task) -> str:
    """Return the namespace of the subgraphs that run in a task of the graph at ``ns``."""
    own = f"{task.node}:{task.id}"
    return f"{ns}|{own}" if ns else own


def called(scope: TaskScope, *, memory: bool | None) -> str:
    """Return the namespace of the subgraph that a task calls now, and count the call."""
    own = f"{scope.task.node}:{scope.task.id}" if memory is not True else scope.task.node
    ns = f"{scope.ns}|{own}" if scope.ns else own
    if scope.subgraphs:
        # With a colon no node's name can be the same: a|1 may be what node "1" of graph a has inside.
        ns = f"{ns}|:{scope.subgraphs}"
    scope.subgraphs += 1
    return ns


def plan_within(plan: Plan, ns: str) -> Plan | None:
    """Return the plan of a graph that is a node, by its namespace; None for one that a node's code calls."""
    for part in ns.split("|") if ns else ():
        inner = plan.subgraphs.get(part.partition(":")[0])
        if inner is None:
            return None
        plan = inner
    return plan


def plans_at(plan: Plan, ns: str) -> tuple[Plan, ...]:
    """Return whose namespace it may be: the graph's that is a node, or of those that a node's code calls."""
    around: tuple[Plan, ...] = ()
    here: tuple[Plan, ...] = (plan,)
    for part in ns.split("|") if ns else ():
        if not part.startswith(":"):  # that is a further call of the same node, of any of its graphs
            around = here
            name = part.partition(":")[0]
        here = tuple(inner for one in around for inner in plans_in(one, name))
    return here


def plans_in(plan: Plan, node: str) -> tuple[Plan, ...]:
    """Return the plan of the graph that the node is, else those of the graphs that its function holds."""
    inner = plan.subgraphs.get(node)
    if inner is not None:
        return (inner,)
    return _held_by(plan.nodes[node].run) if node in plan.nodes else ()


def _held_by(function: Any) -> tuple[Plan, ...]:
    """Return the plans of the compiled graphs that a function names, or the object has whose method it is."""
    found: list[Any] = []
    if isinstance(function, functools.partial):
        found += [*function.args, *function.keywords.values()]
        function = function.func
    if not inspect.isroutine(function):
        found += getattr(function, "__dict__", {}).values()
        function = type(function).__call__
    found += getattr(getattr(function, "__self__", None), "__dict__", {}).values()
    with contextlib.suppress(TypeError, ValueError):  # no function of Python, or a name that is not bound yet
        names = inspect.getclosurevars(function)
        found += [*names.nonlocals.values(), *names.globals.values()]
    plans = (getattr(one, "plan", None) for one in found)
    return tuple({id(plan): plan for plan in plans if isinstance(plan, Plan)}.values())


def memory(ns: str, task: Task) -> str:
    """Return the namespace of a subgraph that keeps its memory over the calls of the task's node."""
    return f"{ns}|{task.node}" if ns else task.node


def asked_within(ns: str, task: Task, question: Question) -> bool:
    """Say whether a question was asked by the task of the graph at ``ns``, or inside of it."""
    if question.ns == ns and question.task_id == task.id:
        return True
    return any(within(way, question.ns) for way in (inside(ns, task), memory(ns, task)))


def within(way: str, ns: str) -> bool:
    """Say whether a namespace is ``way``, or below it."""
    return ns == way or ns.startswith(way + "|")


def has_begun(frame: Frame, questions: Iterable[Question]) -> bool:
    """Say whether a task of the present step has run before: it has finished, or asked something."""
    asked = (asked_within(frame.ns, task, q) for q in questions for task in frame.checkpoint.due)
    return bool(frame.saved) or any(asked)


def may_run(frame: Frame, task: Task, questions: Iterable[Question]) -> bool:
    """Say whether the task asked nothing yet, or has an answer to go on with, its subgraphs' included."""
    asked = [q for q in questions if asked_within(frame.ns, task, q)]
    waits = any(q.status == "open" for q in asked)
    return not waits or any(q.status == "answered" and q.delivered_at is None for q in asked)


def all_resting(resting: Resting) -> Iterator[Resting]:
    """Yield what rests, the innermost first."""
    for paused in resting.paused:
        for one in paused.inside:
            yield from all_resting(one)
    yield resting


def path_of_task(task: Task) -> tuple[str | int, ...]:
    """Return how a task came to be: pulled by an edge, or pushed as which Send of its step."""
    return ("__pregel_pull", task.node) if task.push is None else ("__pregel_push", task.push)


def asks_of_root(run_id: str) -> tuple[Ask, ...]:
    """Return the asks for where a run stands: head, values, writes, questions."""
    params: Params = {"run_id": run_id}
    return (
        Ask("get_head", params),
        Ask("get_head_values", params),
        Ask("get_head_writes", params),
        Ask("find_questions", params),
    )


def asks_of_task(thread_id: str, ns: str, task: Task) -> tuple[Ask, ...]:
    """Return the asks for all that a task of the graph at ``ns`` has asked, or what runs inside of it."""
    own = Ask("find_questions_of_task", {"thread_id": thread_id, "ns": ns, "task_id": task.id})
    ways = (inside(ns, task), memory(ns, task))
    return (own, *(Ask("find_questions_within", {"thread_id": thread_id, "ns": way}) for way in ways))


def asks_of_frame(thread_id: str, ns: str) -> tuple[Ask, ...]:
    """Return the asks for where a subgraph stands: frame, head, values, writes."""
    params: Params = {"thread_id": thread_id, "ns": ns}
    return (
        Ask("get_frame", params),
        Ask("get_frame_head", params),
        Ask("get_frame_values", params),
        Ask("get_frame_writes", params),
    )


def read_frame(plan: Plan, head: Row, values: Sequence[Row], writes: Iterable[Row], steps: int = 0) -> Frame:
    """Return the frame that these rows stand for."""
    checkpoint = records.read_checkpoint(plan.codec, head, values)
    saved = read_writes(plan, checkpoint, writes)
    fingerprints = dict(read_json(head["fingerprints"]))
    versions = read_versions(head)
    lists = growing(versions, read_stored(values))
    return Frame(checkpoint.ns, plan, checkpoint, versions, fingerprints, saved, steps, lists=lists)


def kept_frame(plan: Plan, rest: Rest) -> Frame:
    """Return the frame of a run that rested here, as this process left it."""
    return Frame("", plan, rest.checkpoint, rest.versions, {}, dict(rest.saved), lists=rest.lists)


def read_writes(plan: Plan, checkpoint: Checkpoint, writes: Iterable[Row]) -> dict[TaskId, Result]:
    """Return what finished tasks of the checkpoint returned, by task."""
    tasks = {task.id: task for task in checkpoint.due}
    return {
        TaskId(row["task_id"]): records.read_result(plan.codec, tasks[row["task_id"]], row["value"])
        for row in writes
        if row["task_id"] in tasks
    }


def changed_since(ground: Ground, run: Run, rows: Iterable[Row]) -> GraphChanged | None:
    """Say which node that waits is not the node that the run stopped at; None when all of them are.

    ``rows`` are those of ``find_asking``. A subgraph that a function calls is known only once it is called.
    """
    for row in rows:
        plan = plan_within(ground.plan_of(run), row["ns"])
        prints: dict[str, str] = read_json(row["fingerprints"])
        changed = None if plan is None else _changed_node(plan, prints)
        if changed is not None:
            return _graph_changed(run, changed)
    return None


def check_fingerprints(run: Run, frame: Frame) -> None:
    """Raise :class:`GraphChanged` when a due node is not the node that the run stopped at."""
    changed = _changed_node(frame.plan, frame.fingerprints)
    if changed is not None:
        raise _graph_changed(run, changed)


def _changed_node(plan: Plan, prints: Mapping[str, str]) -> str | None:
    for node, then in prints.items():
        if node not in plan.nodes or plan.fingerprint(node) != then:
            return node
    return None


def _graph_changed(run: Run, node: str) -> GraphChanged:
    return GraphChanged(
        f"run {run.id!r} was not advanced: node {node!r} of graph {run.graph!r} is not the node that this "
        "run stopped at (its name, keys, edges or version changed); register the old graph beside the new "
        "one, migrate the run, or cancel it"
    )
