"""How a caller wants its run driven, and what its nodes are given of that; a worker takes the defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .calls import ExecutionInfo, Given, Made, NodeRuntime, RunControl
from .clock import SECOND
from .config import found_again, of_task
from .errors import NoCheckpointer
from .frames import Frame, path_of_task
from .ledger import Durability
from .plan import Plan
from .streaming import Stream
from .types import Interrupt, Run, Task


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
    #: The run is kept when the call ends, so that what it asks can be answered.
    kept: bool = True
    #: Where the walk has brought the run: the state, and what is asked. None until it has come to its rest.
    rested: tuple[Mapping[str, Any], tuple[Interrupt, ...]] | None = None

    def check_asking(self) -> None:
        """Let questions be asked. Raises :class:`NoCheckpointer` when nobody could answer them."""
        if not self.kept:
            raise NoCheckpointer(
                "nothing was asked: a graph without a checkpointer cannot pause; "
                "compile(checkpointer=...) it, or run it in a Runtime"
            )

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the caller wants to find again beside each checkpoint."""
        return found_again(self.config)

    def stops_before(self, plan: Plan, ns: str, tasks: Iterable[Task]) -> bool:
        """Say whether the run is to rest before these tasks of the graph at a namespace.

        The call's breakpoints take the place of the plan's, and are those of the outermost graph alone.
        """
        stops = plan.stop_before if ns else self.stop_before or plan.stop_before
        return bool(stops) and _names_one(stops, plan, tasks)

    def stops_after(self, plan: Plan, ns: str, tasks: Iterable[Task]) -> bool:
        """Say whether the run is to rest after these tasks."""
        stops = plan.stop_after if ns else self.stop_after or plan.stop_after
        return bool(stops) and _names_one(stops, plan, tasks)


def given_to(call: Call, run: Run, frame: Frame, task: Task, now: int) -> Given:
    """Return what the node of a task finds in its config and its runtime: the call's, and where it runs."""
    return Given(partial(_made, call, run, frame, task, now))


def _made(call: Call, run: Run, frame: Frame, task: Task, now: int) -> Made:
    step, ns = frame.checkpoint.step + 1, frame.inside(task)
    place = {
        "thread_id": run.thread_id,
        "run_id": run.id,
        "checkpoint_id": frame.checkpoint.id,
        "checkpoint_ns": ns,
        "task_id": task.id,
    }
    told = {
        "graph": run.graph,
        "node": task.node,
        "step": step,
        "langgraph_node": task.node,
        "langgraph_step": step,
        "langgraph_path": path_of_task(task),
        "langgraph_checkpoint_ns": ns,
        **(frame.plan.nodes[task.node].metadata if task.node in frame.plan.nodes else {}),
    }
    config = of_task(call.config if frame.config is None else frame.config, place, told)
    context = call.context if frame.context is None else frame.context
    at = now / SECOND
    info = ExecutionInfo(frame.checkpoint.id, ns, task.id, run.thread_id, run.id, node_first_attempt_time=at)
    return config, NodeRuntime(context, partial(call.stream.custom, frame.ns), execution_info=info)


def _names_one(stops: Iterable[str], plan: Plan, tasks: Iterable[Task]) -> bool:
    named, nodes = set(stops), [task.node for task in tasks]
    return not named.isdisjoint(nodes) or ("*" in named and not set(plan.nodes).isdisjoint(nodes))
