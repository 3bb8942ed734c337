"""What happens in a walk, as the events of LangGraph's stream modes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from .clock import SECOND, Clock, system_clock
from .plan import Plan, Result
from .types import INTERRUPT, ROOT, Checkpoint, Interrupt, Task, TaskId

Version = Literal["v1", "v2"]
StreamMode = Literal["values", "updates", "custom", "tasks", "checkpoints", "debug"]
_SHOW_CHECKPOINTS, _SHOW_TASKS = frozenset({"checkpoints", "debug"}), frozenset({"tasks", "debug"})
#: Takes the namespace of the graph in which it happened, the mode and the event.
Put = Callable[[tuple[str, ...], StreamMode, Any], None]


def read_modes(mode: str | Sequence[str]) -> tuple[StreamMode, ...]:
    """Return the modes as a tuple. Raises ValueError for one that there is not."""
    modes = (mode,) if isinstance(mode, str) else tuple(mode)
    unknown = [one for one in modes if one not in get_args(StreamMode)]
    if unknown:
        raise ValueError(
            f"there is no stream mode {unknown[0]!r}; there are {', '.join(get_args(StreamMode))}"
        )
    return modes  # type: ignore[return-value]


def shown(plan: Plan, values: Mapping[str, Any], keys: str | Sequence[str] | None = None) -> Any:
    """Return the state as callers see it: all of it, or the keys they chose; for a single key, its value."""
    if keys is None:
        keys = ROOT if plan.state.form == "root" else tuple(plan.state.channels)
    if isinstance(keys, str):
        return values.get(keys)
    return {name: values[name] for name in keys if name in values}


def _nobody(ns: tuple[str, ...], mode: StreamMode, event: Any) -> None:
    """Stand in for the reader where nobody listens."""


class Stream:
    """Puts what a walk tells it as events of the modes asked for; for no modes, nothing.

    ``keys`` limits what is shown of the graph's own state; subgraphs show all of theirs.
    """

    def __init__(
        self,
        modes: Sequence[StreamMode] = (),
        put: Put = _nobody,
        *,
        keys: str | Sequence[str] | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._modes = frozenset(modes)
        #: Whether anybody listens at all; a worker's walk need not say what nobody hears.
        self.heard = bool(modes)
        self._give = put
        self._keys = keys
        self._clock = clock

    @property
    def shows_checkpoints(self) -> bool:
        """Whether anybody is shown checkpoints, so that reading one for it is worth while."""
        return not self._modes.isdisjoint(_SHOW_CHECKPOINTS)

    @property
    def shows_tasks(self) -> bool:
        """Whether anybody is shown tasks."""
        return not self._modes.isdisjoint(_SHOW_TASKS)

    def custom(self, ns: str, value: Any) -> None:
        """A node wrote ``value``."""
        self._put(ns, "custom", value)

    def values(
        self, ns: str, plan: Plan, values: Mapping[str, Any], changed: Iterable[str] | None = None
    ) -> None:
        """The state is this now; a step that changed none of what is shown shows nothing."""
        keys = None if ns else self._keys
        if changed is not None and keys is not None:
            changed = set(changed) & {keys} if isinstance(keys, str) else set(changed) & set(keys)
        if "values" in self._modes and (changed is None or any(True for _ in changed)):
            self._put(ns, "values", shown(plan, values, keys))

    def checkpoint(
        self,
        plan: Plan,
        checkpoint: Checkpoint,
        asked: Mapping[TaskId, tuple[Interrupt, ...]],
        saved: Mapping[TaskId, Result],
    ) -> None:
        """The thread stands here now; its tasks have asked and returned this."""
        if self.shows_checkpoints:
            event = _checkpoint(plan, checkpoint, asked, saved)
            self._put(checkpoint.ns, "checkpoints", event)
            self._debug(checkpoint.ns, "checkpoint", checkpoint.step, event)

    def task(self, ns: str, task: Task, step: int, given: Any) -> None:
        """The task begins, on ``given``."""
        event = {"id": task.id, "name": task.node, "input": given, "triggers": ()}
        self._put(ns, "tasks", event)
        self._debug(ns, "task", step, event)

    def result(self, ns: str, plan: Plan, result: Result, step: int) -> None:
        """The task has finished with this."""
        if "updates" in self._modes:
            update = _update(plan, result, None if ns else self._keys)
            self._put(ns, "updates", {result.task.node: update})
        self._ended(ns, result.task, step, result=_written(result))

    def failure(self, ns: str, task: Task, step: int, error: BaseException) -> None:
        """The task has failed with this."""
        self._ended(ns, task, step, error=error)

    def pause(
        self,
        ns: str,
        plan: Plan,
        values: Mapping[str, Any],
        task: Task,
        step: int,
        asked: tuple[Interrupt, ...],
    ) -> None:
        """The task waits for the answers to this."""
        self._put(ns, "updates", {INTERRUPT: asked})
        state = shown(plan, values, None if ns else self._keys)
        self._put(ns, "values", {**(state if isinstance(state, dict) else {}), INTERRUPT: asked})
        self._ended(ns, task, step, asked=asked)

    def stop(self) -> None:
        """The run rests at a breakpoint: nothing is asked."""
        self._put("", "updates", {INTERRUPT: ()})

    def _ended(
        self,
        ns: str,
        task: Task,
        step: int,
        *,
        result: Mapping[str, Any] | None = None,
        error: BaseException | None = None,
        asked: tuple[Interrupt, ...] = (),
    ) -> None:
        if not self.shows_tasks:
            return
        event = {
            "id": task.id,
            "name": task.node,
            "error": error,
            "result": result or {},
            "interrupts": [_question(one) for one in asked],
        }
        self._put(ns, "tasks", event)
        self._debug(ns, "task_result", step, event)

    def _put(self, ns: str, mode: StreamMode, event: Any) -> None:
        if mode in self._modes:
            self._give(tuple(ns.split("|")) if ns else (), mode, event)

    def _debug(self, ns: str, kind: str, step: int, payload: Any) -> None:
        if "debug" not in self._modes:
            return
        timestamp = datetime.fromtimestamp(self._clock() / SECOND, UTC).isoformat()
        self._put(ns, "debug", {"step": step, "timestamp": timestamp, "type": kind, "payload": payload})


@dataclass(frozen=True, slots=True)
class GraphOutput:
    """What version 2 of ``ainvoke`` returns: the output, and apart from it the questions."""

    value: Any
    interrupts: tuple[Interrupt, ...] = ()


def output_of(
    plan: Plan,
    values: Mapping[str, Any],
    asked: tuple[Interrupt, ...],
    keys: str | Sequence[str] | None,
    version: Version,
) -> Any:
    """Return what a call returns of the state, with what is asked."""
    output = plan.result(values, keys)
    if version == "v2":
        whole = keys is None and plan.output.form == "object" and output is not None
        return GraphOutput(plan.output.present(output) if whole else output, asked)
    if asked and (output is None or isinstance(output, dict)):
        return {**(output or {}), INTERRUPT: list(asked)}
    return output


def part(mode: StreamMode, ns: tuple[str, ...], event: Any, plan: Plan) -> dict[str, Any]:
    """Return an event as version 2 of the stream shows it: with its type, namespace and data.

    The questions stand beside the values, and a state of a dataclass or pydantic model is an instance of it.
    """
    if mode != "values":
        return {"type": mode, "ns": ns, "data": event}
    data, asked = event, ()
    if isinstance(event, dict):
        data = {key: value for key, value in event.items() if key != INTERRUPT}
        asked = event.get(INTERRUPT, ())
        if plan.output.form == "object":
            data = plan.output.present(data)
    return {"type": mode, "ns": ns, "data": data, "interrupts": asked}


def _update(plan: Plan, result: Result, keys: str | Sequence[str] | None) -> Any:
    if keys is None and plan.state.form == "root":
        keys = ROOT
    if isinstance(keys, str):
        written = [value for name, value in result.updates if name == keys]
        return written[0] if len(written) == 1 else written or None
    updates = [(name, value) for name, value in result.updates if keys is None or name in keys]
    if len({name for name, _ in updates}) < len(updates):
        return [{name: value} for name, value in updates]
    return dict(updates) or None


def _written(result: Result) -> dict[str, Any]:
    every: dict[str, list[Any]] = {}
    for name, value in result.updates:
        every.setdefault(name, []).append(value)
    return {name: some[0] if len(some) == 1 else {"$writes": some} for name, some in every.items()}


def _question(asked: Interrupt) -> dict[str, Any]:
    return {"value": asked.value, "id": asked.id, "response_schema": asked.response_schema}


def _checkpoint(
    plan: Plan,
    checkpoint: Checkpoint,
    asked: Mapping[TaskId, tuple[Interrupt, ...]],
    saved: Mapping[TaskId, Result],
) -> dict[str, Any]:
    configurable = {"thread_id": checkpoint.thread_id, "checkpoint_ns": checkpoint.ns}
    parent = checkpoint.parent_id
    tasks = []
    for task in checkpoint.due:
        result = {"result": _written(saved[task.id])} if task.id in saved else {}
        questions = tuple(_question(one) for one in asked.get(task.id, ()))
        tasks.append({"id": task.id, "name": task.node, **result, "interrupts": questions, "state": None})
    return {
        "config": {"configurable": {**configurable, "checkpoint_id": checkpoint.id}},
        "parent_config": None
        if parent is None
        else {"configurable": {**configurable, "checkpoint_id": parent}},
        "values": shown(plan, checkpoint.values),
        "metadata": {"source": checkpoint.source, "step": checkpoint.step, "parents": {}},
        "next": list(checkpoint.next),
        "tasks": tasks,
    }
