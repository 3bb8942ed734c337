"""What an author's code may call inside a running node: to ask, to record, to spend, to know where it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from .calls import NodeRuntime, call_effect
from .errors import OutsideNode, ValueRefused
from .executor import TaskScope, current
from .host import Host
from .meter import KEPT_LIMITS, is_amount
from .neighbours import reader
from .types import Task
from .values import Unstorable

#: What the types of questions begin with that this program asks by itself.
OURS = "signoff."


def interrupt(value: Any, *, response_schema: Any = None, key: str | None = None, bind: Any = None) -> Any:
    """Ask the outside world ``value`` and return its answer.

    The first time, the node is left (by :class:`GraphInterrupt`), the run pauses and costs nothing while
    it waits. When the answer has come the node runs again from its first line, and this call returns it.

    ``response_schema`` is a type that the answer must fit; an answer that does not is not used, and the
    question is open again. ``key`` names the question within its node; without one, the same value asked
    again is the next occurrence, and what branches ask beside each other is told apart by what their
    functions were given. ``bind`` is what the answer is bound to instead of ``value``: when it has changed by
    the re-run (a clock, a model's new words), the answer is not used and the new one is asked.

    An answer to a value of LangChain's or Agent Inbox's shape must be of theirs, or it is not used either.

    Raises :class:`OutsideNode` where no node runs, :class:`ValueRefused` for a value that cannot be stored
    or whose ``type`` is one of ours, and :class:`NodeEnded` from a task that outlived its node.
    """
    if isinstance(value, Mapping) and str(value.get("type", "")).startswith(OURS):
        raise ValueRefused(
            f"nothing was asked: a question of type {value['type']!r} is asked by this program alone, with "
            "approve(), wait_until() or execute_once()"
        )
    # A type that the asker gave says more than the shape.
    read = reader(value) if response_schema is None or isinstance(response_schema, Mapping) else None
    return ask(value, key=key, bind=bind, response_schema=response_schema, read=read)


def ask(
    value: Any,
    *,
    key: str | None,
    bind: Any,
    response_schema: Any = None,
    read: Callable[[Any], Any] | None = None,
) -> Any:
    """Ask as :func:`interrupt`, and return what ``read`` makes of the answer; it may refuse it."""
    scope = current.get(None)
    if scope is None:
        raise OutsideNode("nothing was asked: interrupt() works inside a node of a running graph")
    return scope.ask(value, key, bind, response_schema, read)


async def step(name: str, function: Callable[..., Any], *args: Any, key: str | None = None) -> Any:
    """Run ``function(*args)`` once per task, however often its node runs, and return what it returned.

    The result is recorded before this returns; when the node runs again from its top (after a pause or a
    crash) the record is returned and nothing is called. A call is known by ``key``, else by name, arguments
    and occurrence. Everything before it is on disk when ``function`` starts. A crash between the end of
    ``function`` and its record runs it again: pass ``current_task().id`` on as an idempotency key.

    A plain ``function`` runs in a thread, as a plain node does, with the context of the node. No thread can
    be stopped: when the node is, its end is waited for, and its result recorded.

    Raises what ``function`` raises, recording nothing; :class:`OutsideNode` where no node runs; and
    :class:`ValueRefused` when the result cannot be stored. That it was run is recorded then, and whenever the
    node runs again this raises the same and calls nothing.
    """
    scope, _ = driven("step()")
    return await run_once(scope.effect_key(name, key, args), name, function, *args)


def driven(what: str) -> tuple[TaskScope, Host]:
    """Return the scope of the task whose node is running, and who drives its run.

    Raises :class:`OutsideNode` where no node runs, and :class:`NodeEnded` when it has ended.
    """
    scope = current.get(None)
    if scope is None or scope.host is None:
        raise OutsideNode(f"nothing was run: {what} works inside a node of a running graph")
    scope.alive(what)
    return scope, scope.host


async def recorded() -> dict[str, Any]:
    """Return what earlier executions of the running task recorded, and this one so far, by key."""
    scope, host = driven("step()")
    if scope.effects is None:
        loaded = await host.effects_of(scope)
        # Two calls at once may both load; what one of them has recorded since must not be lost.
        scope.effects = loaded if scope.effects is None else scope.effects
    return scope.effects


async def run_once(at: str, name: str, function: Callable[..., Any], *args: Any) -> Any:
    """Return what is recorded at that key; when there is nothing yet, run the function and record it."""
    scope, host = driven("step()")
    effects = await recorded()
    if at in effects:
        return as_recorded(name, effects[at])
    await host.barrier()
    with scope.effect("step()"):
        value = await call_effect(function, *args)
        scope.alive("step()")
        try:
            try:
                effects[at] = await host.keep_effect(scope, at, name, value)
            except ValueRefused as refused:
                effects[at] = await host.keep_effect(scope, at, name, Unstorable(str(refused)))
        except asyncio.CancelledError:
            scope.effects = None  # it is recorded all the same: another attempt must see it
            raise
    return as_recorded(name, effects[at])


def as_recorded(name: str, value: Any) -> Any:
    """Return what an effect returned. Raises :class:`ValueRefused` when that could not be stored."""
    if isinstance(value, Unstorable):
        raise ValueRefused(
            f"the result of step {name!r} is not there: {value.why}. Its function was run, which is "
            "recorded, and is not run again; let it return what can be stored, under another key if it is to "
            "run once more"
        )
    return value


def spend(name: str, amount: float = 1) -> None:
    """Take ``amount`` from the run's own budget called ``name``, which survives every pause.

    It is taken once per task and place, the first, second ... call with that name of an attempt: when the
    node runs again after a pause, only what it takes more than before is taken. A further attempt of a node
    that failed takes it anew, and so may a node whose process was killed.

    Raises :class:`LimitReached` when less than that is left, and nothing is taken; a name for which the run
    was given no budget is counted and never refused. Raises ValueError for an amount that is no finite number
    of zero or more, and for the name of a limit that the runtime keeps.
    """
    scope = current.get(None)
    if scope is None or scope.host is None:
        raise OutsideNode("nothing was spent: spend() works inside a node of a running graph")
    if name in KEPT_LIMITS:
        raise ValueError(
            f"nothing was spent: {name!r} is a limit that the runtime keeps; call the budget otherwise"
        )
    if not is_amount(amount):
        raise ValueError(f"nothing was spent: {amount!r} is no finite number of zero or more")
    scope.host.spend(scope, name, amount)


def current_scope() -> TaskScope | None:
    """Return the scope of the task whose node is running, or None outside of one."""
    return current.get(None)


def get_stream_writer() -> Callable[[Any], None]:
    """Return a function that puts its argument on the call's custom stream."""
    scope = current.get(None)
    if scope is None:
        raise OutsideNode("get_stream_writer() works inside a node of a running graph")
    return scope.given.runtime.stream_writer


def get_config() -> Mapping[str, Any]:
    """Return the config of the task whose node is running."""
    scope = current.get(None)
    if scope is None:
        raise OutsideNode("get_config() works inside a node of a running graph")
    return scope.given.config


def get_runtime(context_schema: Any = None) -> NodeRuntime:
    """Return the runtime of the task whose node is running."""
    scope = current.get(None)
    if scope is None:
        raise OutsideNode("get_runtime() works inside a node of a running graph")
    return scope.given.runtime


def current_task() -> Task:
    """Return the task whose node is running. Raises :class:`OutsideNode` anywhere else.

    Its id is the same whenever this task runs again, so it can serve as an idempotency key.
    """
    scope = current.get(None)
    if scope is None:
        raise OutsideNode("no task is running here: current_task() works inside a node of a running graph")
    return scope.task
