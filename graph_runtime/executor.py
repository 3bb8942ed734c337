"""Runs one step's tasks side by side; home of ``interrupt()``, the pause.

A node that asks is run again from its top when the answer is there, and ``interrupt()`` then returns it. So
that an answer can only reach the question it was given for, a question is known inside its task by the key
the author gave it, else by the digest of what it asked and its occurrence, never by its position alone.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import (
    AnswerUnused,
    GraphInterrupt,
    InvalidUpdateError,
    NodeEnded,
    NodeMisused,
    OutsideNode,
    PauseSwallowed,
)
from .plan import Branch, Chosen, Plan, Result, Target, check_targets, fresh_values, read_return
from .types import START, Interrupt, InterruptId, Question, Send, Task, TaskId

_current: contextvars.ContextVar[TaskScope] = contextvars.ContextVar("signoff_task")


class NodeFailed(Exception):
    """A node, or a branch that leaves it, raised ``error``; whatever it was, the database is well."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True)
class Paused:
    """A task that waits for answers: ``interrupts`` are the questions it asks for the first time."""

    task: Task
    interrupts: tuple[Interrupt, ...]
    #: Questions of an earlier run of this task that it no longer asks.
    superseded: tuple[InterruptId, ...] = ()


@dataclass(slots=True)
class TaskScope:
    """What one execution of a task knows while its node runs."""

    plan: Plan
    task: Task
    #: Every question this task ever asked, with its answer where there is one.
    questions: tuple[Question, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    asked: list[Interrupt] = field(default_factory=list)
    used: set[InterruptId] = field(default_factory=set)
    seen: dict[str, int] = field(default_factory=dict)
    ended: bool = False

    def ask(self, value: Any, key: str | None, bind: Any) -> Any:
        """Return the answer to this question, or raise the pause. See :func:`interrupt`."""
        if self.ended:
            raise NodeEnded(
                f"nothing was asked: node {self.task.node!r} had already ended when a task it left behind "
                "called interrupt(); await every task before the node returns"
            )
        codec = self.plan.codec
        codec.encode(value)
        digest = codec.digest(value if bind is None else bind)
        identity = f"key:{key}" if key is not None else digest
        occurrence = self.seen.get(identity, 0)
        self.seen[identity] = occurrence + 1
        known = next(
            (
                q
                for q in self.questions
                if q.status in {"open", "answered"}
                and q.interrupt.digest == digest
                and q.interrupt.key == key
                and q.interrupt.occurrence == occurrence
            ),
            None,
        )
        if known is not None and known.status == "answered":
            self.used.add(known.interrupt.id)
            return known.answer
        if known is not None:
            asked = known.interrupt
        else:
            # A question that takes the place of a superseded one must not have its id again.
            changes = sum(q.status not in {"open", "answered"} for q in self.questions)
            asked = Interrupt(
                value,
                interrupt_id(self.task.id, f"{identity} {digest}", occurrence, changes),
                digest,
                key,
                occurrence,
            )
        self.asked.append(asked)
        raise GraphInterrupt((asked,))

    def unused(self) -> tuple[Question, ...]:
        """Return the answered questions that this execution did not ask."""
        return tuple(q for q in self.questions if q.status == "answered" and q.interrupt.id not in self.used)


def interrupt_id(task: TaskId, identity: str, occurrence: int, changes: int) -> InterruptId:
    """Return the id of a question: 32 hex digits, the same at every re-run of the same task."""
    text = f"{task}\n{identity}\n{occurrence}\n{changes}"
    return InterruptId(hashlib.sha256(text.encode()).hexdigest()[:32])


def interrupt(value: Any, *, key: str | None = None, bind: Any = None) -> Any:
    """Ask the outside world ``value`` and return its answer.

    The first time, the node is left (by :class:`GraphInterrupt`), the run pauses and costs nothing while
    it waits. When the answer has come the node runs again from its first line, and this call returns it.

    ``key`` names the question within its node; without one, the same value asked again is the next
    occurrence. ``bind`` is what the answer is bound to instead of ``value``: when it has changed by the
    re-run (a clock, a model's new words), the answer is not used and the new question is asked.

    Raises :class:`OutsideNode` where no node runs, :class:`ValueRefused` for a value that cannot be stored,
    and :class:`NodeEnded` from a task that outlived its node.
    """
    scope = _current.get(None)
    if scope is None:
        raise OutsideNode("nothing was asked: interrupt() works inside a node of a running graph")
    return scope.ask(value, key, bind)


def current_task() -> Task:
    """Return the task whose node is running. Raises :class:`OutsideNode` anywhere else.

    Its id is the same whenever this task runs again, so it can serve as an idempotency key.
    """
    scope = _current.get(None)
    if scope is None:
        raise OutsideNode("no task is running here: current_task() works inside a node of a running graph")
    return scope.task


Settled = Callable[[Result], Awaitable[None]]


async def run_tasks(
    plan: Plan,
    values: Mapping[str, Any],
    scopes: Iterable[TaskScope],
    *,
    settled: Settled,
) -> list[Result | Paused]:
    """Run the tasks side by side on ``values``; return what each came to, in the order given.

    ``settled`` is awaited for each finished task while others still run, so that its result can be saved. A
    pause leaves the others running; a failure cancels them and is raised, alone: what a node raised as
    :class:`NodeFailed`, a broken rule or database as itself.
    """
    scopes = tuple(scopes)

    async def one(scope: TaskScope) -> Result | Paused:
        outcome = await run_task(plan, values, scope)
        if isinstance(outcome, Result):
            await settled(outcome)
        return outcome

    if len(scopes) == 1:
        return [await one(scopes[0])]
    try:
        async with asyncio.TaskGroup() as step:
            running = [step.create_task(one(scope), name=scope.task.node) for scope in scopes]
    except BaseExceptionGroup as group:
        raise first_leaf(group) from None
    return [task.result() for task in running]


async def run_task(plan: Plan, values: Mapping[str, Any], scope: TaskScope) -> Result | Paused:
    """Run one node, and then the branches that leave it, on ``values``; return its result or its pause."""
    token = _current.set(scope)
    try:
        try:
            # A copy of its own: what a node changes in place is no write, and no sibling sees it.
            result = await _body(plan, copy.deepcopy(dict(values)), scope)
        except GraphInterrupt:
            return _paused(scope)
        except NodeMisused:
            raise
        except asyncio.CancelledError as error:
            # Only the driver's own cancel may leave the run to somebody else: a node that lets the cancel of
            # something it awaited escape would do so again, there too.
            running = asyncio.current_task()
            if running is not None and running.cancelling():
                raise
            raise NodeFailed(error) from error
        except BaseExceptionGroup as group:
            # A group whose leaves are all pauses is the pause; a real failure among them wins.
            _, rest = group.split(GraphInterrupt)
            if rest is not None:
                raise _failure(first_leaf(rest)) from group
            return _paused(scope)
        except Exception as error:
            raise NodeFailed(error) from error
    finally:
        scope.ended = True
        _current.reset(token)
    if scope.asked:
        raise PauseSwallowed(
            f"what node {scope.task.node!r} returned was thrown away: it caught the pause of its own "
            "question and went on as if it had been answered; let GraphInterrupt pass"
        )
    if scope.unused():
        raise AnswerUnused(
            f"what node {scope.task.node!r} returned was thrown away: it ran again and did not ask the "
            "question that was answered; a node must ask the same questions each time it runs"
        )
    return result


def _failure(error: BaseException) -> BaseException:
    ordinary = isinstance(error, Exception) and not isinstance(error, NodeMisused)
    return NodeFailed(error) if ordinary else error


def _paused(scope: TaskScope) -> Paused:
    if not scope.asked:
        raise PauseSwallowed(
            f"node {scope.task.node!r} was left by a pause without a question; only interrupt() may raise it"
        )
    ids = {asked.id for asked in scope.asked}
    known = {q.interrupt.id for q in scope.questions}
    if ids <= known:
        # Nothing else was asked instead: what this execution did not reach, a later one will.
        return Paused(scope.task, tuple(scope.asked))
    stale = tuple(
        q.interrupt.id
        for q in scope.questions
        if (q.status == "open" and q.interrupt.id not in ids)
        or (q.status == "answered" and q.interrupt.id not in scope.used)
    )
    return Paused(scope.task, tuple(scope.asked), stale)


async def _body(plan: Plan, values: Mapping[str, Any], scope: TaskScope) -> Result:
    task = scope.task
    if task.node == START:
        result = Result(task, tuple(task.arg))
    else:
        node = plan.nodes[task.node]
        seen = task.arg if task.push is not None else node.sees.present(values)
        result = read_return(plan, task, await _call(node.run, seen, scope))
    branches = plan.branches.get(task.node, ())
    if not branches:
        return result
    fresh = fresh_values(plan, values, result.updates)
    sees = plan.input if task.node == START else plan.nodes[task.node].sees
    state = (plan.state if sees is plan.input else sees).present(fresh)
    chosen = [await _choose(plan, task.node, branch, state, scope) for branch in branches]
    return Result(task, result.updates, result.goto, tuple(chosen))


async def _choose(plan: Plan, source: str, branch: Branch, state: Any, scope: TaskScope) -> Chosen:
    said = branch.choose(state, **_wanted(branch.choose, scope))
    if inspect.isawaitable(said):
        said = await said
    targets: list[Target] = []
    for one in said if isinstance(said, list | tuple) else [said]:
        target = one
        if branch.ends is not None and not isinstance(one, Send):
            target = branch.ends.get(one) if isinstance(one, Hashable) else None
        if not isinstance(target, str | Send):
            declared = "" if branch.ends is None else f"; it declares {', '.join(map(repr, branch.ends))}"
            raise InvalidUpdateError(
                f"nothing of this step was stored: branch {branch.name!r} after {source!r} returned {one!r}, "
                f"which names no node{declared}"
            )
        targets.append(target)
    check_targets(plan, source, targets)
    return Chosen(branch.name, tuple(targets))


async def _call(run: Callable[..., Any], seen: Any, scope: TaskScope) -> Any:
    extra = _wanted(run, scope)
    if inspect.iscoroutinefunction(run) or inspect.iscoroutinefunction(getattr(run, "__call__", None)):  # noqa: B004
        return await run(seen, **extra)
    # A plain function may block; the loop must not. The context goes along, so interrupt() works there.
    returned = await asyncio.to_thread(run, seen, **extra)
    return await returned if inspect.isawaitable(returned) else returned


def _wanted(function: Callable[..., Any], scope: TaskScope) -> dict[str, Any]:
    """Return the arguments that the function asks for by name."""
    try:
        parameters = list(inspect.signature(function).parameters)[1:]
    except (TypeError, ValueError):
        return {}  # a function of C, which takes the state and nothing else
    return {"config": scope.config} if "config" in parameters else {}


def first_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first real failure in a group, at any depth."""
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf
