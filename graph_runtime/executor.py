"""Runs one step's tasks side by side; home of ``interrupt()``, the pause.

A node that asks is run again from its top when the answer is there, and ``interrupt()`` then returns it. So
that an answer can only reach the question it was given for, a question is known inside its task by the key
the author gave it, else by the digest of what it asked and its occurrence, never by its position alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pydantic

from .beside import branch_key, is_beside, running_task
from .branching import choose
from .calls import Beat, Care, Given, NodeError, beat_nothing, call, is_async, is_stopped, with_care
from .errors import (
    AnswerUnused,
    GraphBubbleUp,
    GraphInterrupt,
    InvalidGraph,
    KeyRequired,
    NodeCancelledError,
    NodeEnded,
    NodeExitError,
    NodeMisused,
    ParentCommand,
    PauseSwallowed,
    ValueRefused,
    first_leaf,
)
from .host import Host
from .plainjson import write_json
from .plan import (
    Node,
    Plan,
    Result,
    read_return,
)
from .quick import quick
from .types import PARENT, START, Command, Interrupt, InterruptId, Question, Task, TaskId
from .values import copied

#: The task whose node is running here.
current: contextvars.ContextVar[TaskScope] = contextvars.ContextVar("signoff_task")


class NodeFailed(Exception):
    """A node, or a branch that leaves it, raised ``error``; whatever it was, the database is well."""

    def __init__(self, error: BaseException, task: TaskId | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.task = task


@quick
@dataclass(frozen=True, slots=True)
class Paused:
    """A task that waits for answers: ``interrupts`` are the questions it asks for the first time."""

    task: Task
    interrupts: tuple[Interrupt, ...]
    #: Questions of an earlier run of this task that it no longer asks.
    superseded: tuple[InterruptId, ...] = ()
    #: Subgraphs that paused inside it.
    inside: tuple[Any, ...] = ()


@dataclass(slots=True)
class TaskScope:
    """What one execution of a task knows while its node runs."""

    plan: Plan
    task: Task
    #: Every question this task ever asked, with its answer where there is one.
    questions: tuple[Question, ...] = ()
    given: Given = field(default_factory=Given)
    host: Host | None = None
    ns: str = ""
    run: str = ""
    asked: list[Interrupt] = field(default_factory=list)
    #: Subgraphs that paused inside this task.
    inside: list[Any] = field(default_factory=list)
    used: set[InterruptId] = field(default_factory=set)
    seen: dict[str, int] = field(default_factory=dict)
    #: What earlier executions of this task recorded with step(), by key; None until it is first asked for.
    effects: dict[str, Any] | None = None
    subgraphs: int = 0
    attempts: int = 0
    #: Effects that run at this moment, beside each other.
    under_way: set[asyncio.Future[None]] = field(default_factory=set)
    #: The node has paused or failed, and is left as soon as its effects are recorded.
    leaving: bool = False
    ended: bool = False
    #: The asyncio task in which the node itself runs; it may start others beside it.
    home: asyncio.Task[Any] | None = None
    #: The asyncio tasks that a pause was raised in: none of them has anything more to do.
    paused: set[asyncio.Task[Any]] = field(default_factory=set)
    #: A rule that was broken beside a pause, which would hide it.
    misuse: NodeMisused | None = None

    @contextlib.contextmanager
    def effect(self, what: str) -> Iterator[None]:
        """Hold the node until the effect in this block is recorded: unrecorded, it would be run again.

        Raises :class:`NodeEnded` when the node is left by now: no effect begins any more.
        """
        self.alive(what, leaving=self.leaving)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.under_way.add(over)
        try:
            yield
        finally:
            self.under_way.discard(over)
            over.set_result(None)

    async def quiet(self) -> None:
        """Return when no effect is under way; no other one begins, but what they come to ask is asked."""
        self.leaving = True
        while self.under_way:
            await asyncio.wait(self.under_way)

    async def retrying(self) -> None:
        """Count a retry. Raises :class:`LimitReached` when the run has used them up."""
        if self.host is not None:
            await self.host.retrying()

    def alive(self, what: str, *, leaving: bool = False) -> None:
        """Raise :class:`NodeEnded` when the node of this scope has ended."""
        if self.ended or leaving:
            raise NodeEnded(
                f"nothing was done: node {self.task.node!r} had already ended when a task it left behind "
                f"called {what}; await every task before the node returns"
            )
        if self.paused and running_task() in self.paused:
            raise self.misused(
                PauseSwallowed(
                    f"nothing was done: node {self.task.node!r} caught the pause of its own question and "
                    f"went on to call {what} as if it had been answered; let GraphInterrupt pass"
                )
            )

    def pausing(self) -> None:
        """Note that the pause is raised here."""
        task = running_task()
        if task is not None:
            self.paused.add(task)

    def misused(self, error: NodeMisused) -> NodeMisused:
        """Return the error, noted: gather() shows only the first of what its branches raise."""
        self.misuse = self.misuse or error
        return error

    def ask(
        self, value: Any, key: str | None, bind: Any, schema: Any, read: Callable[[Any], Any] | None = None
    ) -> Any:
        """Return the answer to this question, or raise the pause. See :func:`interrupt`.

        It is what ``read`` makes of the answer; what that refuses leaves the question open.
        """
        self.alive("interrupt()")
        codec = self.plan.codec
        codec.encode(value)
        digest = codec.digest(value if bind is None else bind)
        key = branch_key(codec, self.home) if key is None else key
        identity = f"key:{key}" if key is not None else digest
        occurrence = self.seen.get(identity, 0)
        self.seen[identity] = occurrence + 1
        known = self._asked_before(digest, key, occurrence)
        if known is not None and known.status == "answered":
            answer = _fitting(known, schema, read)
            self.used.add(known.interrupt.id)
            return answer
        if known is not None:
            asked = known.interrupt
        else:
            # A question that takes the place of a superseded one must not have its id again.
            changes = sum(q.status not in {"open", "answered"} for q in self.questions)
            asked = Interrupt(
                value,
                interrupt_id(self.run, self.task.id, f"{identity} {digest}", occurrence, changes),
                digest,
                key,
                occurrence,
            )
        if schema is not None or asked.response_schema is not None:
            asked = dataclasses.replace(asked, response_schema=_described(schema))
        if any(other.id != asked.id and _same(other, asked) for other in self.asked):
            # Which of two equal questions comes first is chance, and the answers would be swapped.
            raise self.misused(
                KeyRequired(
                    f"nothing was asked: node {self.task.node!r} asks the same thing twice at once; "
                    "give each question its own key="
                )
            )
        self.asked.append(asked)
        self.pausing()
        raise GraphInterrupt((asked,))

    def _asked_before(self, digest: str, key: str | None, occurrence: int) -> Question | None:
        asked = [
            q for q in self.questions if q.status in {"open", "answered"} and q.interrupt.digest == digest
        ]
        same = [q for q in asked if (q.interrupt.key, q.interrupt.occurrence) == (key, occurrence)]
        if (
            not same
            and key is None
            and occurrence == 0
            and len(asked) == 1
            and is_beside(asked[0].interrupt.key)
        ):
            return asked[0]  # one of its branches asked it then, and nobody asked the same
        return same[0] if same else None

    def effect_key(self, name: str, key: str | None, args: Sequence[Any]) -> str:
        """Return the key under which this call is recorded; an equal call after it gets another one."""
        identity = f"key:{key}" if key is not None else self.plan.codec.digest([name, list(args)])
        call = write_json(["step", name, identity])
        occurrence = self.seen.get(call, 0)
        self.seen[call] = occurrence + 1
        return write_json([name, identity, occurrence])

    def settle(self, key: str) -> None:
        """Count the answers to the question of that key as used: what they were for is done."""
        done = (q for q in self.questions if q.status == "answered" and q.interrupt.key == key)
        self.used.update(q.interrupt.id for q in done)

    def unused(self) -> tuple[Question, ...]:
        """Return the answered questions that this execution did not ask."""
        return tuple(q for q in self.questions if q.status == "answered" and q.interrupt.id not in self.used)


def _same(one: Interrupt, other: Interrupt) -> bool:
    return one.digest == other.digest and one.key == other.key


class AnswerInvalid(Exception):
    """The answer that was stored does not fit what the question takes; the question is open again."""

    def __init__(self, question: Question, error: Exception) -> None:
        super().__init__(str(error))
        self.interrupt_id = question.interrupt.id
        self.task_id = question.task_id
        self.error = error


def _fitting(question: Question, schema: Any, read: Callable[[Any], Any] | None) -> Any:
    """Return the answer, read by the type it must fit. Raises :class:`AnswerInvalid`."""
    if read is not None:
        try:
            return read(question.answer)
        except ValueRefused as error:
            raise AnswerInvalid(question, error) from error
    if schema is None or isinstance(schema, Mapping):
        return question.answer
    try:
        return pydantic.TypeAdapter(schema).validate_python(question.answer)
    except pydantic.ValidationError as error:
        raise AnswerInvalid(question, error) from error


def _described(schema: Any) -> Mapping[str, Any] | None:
    """Return what an answer must fit as a JSON schema."""
    if schema is None or isinstance(schema, Mapping):
        return schema
    return pydantic.TypeAdapter(schema).json_schema()


def interrupt_id(run: str, task: TaskId, identity: str, occurrence: int, changes: int) -> InterruptId:
    """Return the id of a question: 32 hex digits, the same at every re-run of the same task."""
    text = f"{run}\n{task}\n{identity}\n{occurrence}\n{changes}"
    return InterruptId(hashlib.sha256(text.encode()).hexdigest()[:32])


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
    token = current.set(scope)
    scope.home = asyncio.current_task()
    try:
        try:
            # A copy of its own: what a node changes in place is no write, and no sibling sees it.
            result = await _body(plan, {name: copied(value) for name, value in values.items()}, scope)
        except GraphInterrupt:
            return _paused(scope)
        except (NodeMisused, AnswerInvalid):
            raise
        except asyncio.CancelledError as error:
            # Only the driver's own cancel may leave the run to somebody else: a node that lets the cancel of
            # something it awaited escape would do so again, there too.
            if is_stopped(error):
                raise
            raise NodeFailed(NodeCancelledError(scope.task.node), scope.task.id) from error
        except SystemExit as error:
            # The process is not the node's to end: it drives other runs, and would find this one again.
            raise NodeFailed(NodeExitError(scope.task.node, error.code), scope.task.id) from error
        except BaseExceptionGroup as group:
            # A group whose leaves are all pauses is the pause; a real failure among them wins.
            _, rest = group.split(GraphInterrupt)
            if rest is not None:
                raise _failure(first_leaf(rest), scope.task.id) from group
            return _paused(scope)
        except Exception as error:
            raise NodeFailed(error, scope.task.id) from error
    finally:
        scope.ended = True
        current.reset(token)
    if scope.misuse is not None:
        raise scope.misuse
    if scope.asked or scope.inside:
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


def _failure(error: BaseException, task: TaskId) -> BaseException:
    ordinary = isinstance(error, Exception) and not isinstance(error, NodeMisused | AnswerInvalid)
    return NodeFailed(error, task) if ordinary else error


def _paused(scope: TaskScope) -> Paused:
    if scope.misuse is not None:
        raise scope.misuse
    if not scope.asked and not scope.inside:
        raise PauseSwallowed(
            f"node {scope.task.node!r} was left by a pause without a question; only interrupt() may raise it"
        )
    ids = {asked.id for asked in scope.asked}
    if scope.inside and not scope.asked:
        return Paused(scope.task, (), inside=tuple(scope.inside))
    known = {q.interrupt.id for q in scope.questions}
    if ids <= known:
        # Nothing else was asked instead: what this execution did not reach, a later one will.
        return Paused(scope.task, tuple(scope.asked), inside=tuple(scope.inside))
    # What another branch asked is not asked otherwise: it was not reached, which is a matter of chance.
    keys = {asked.key for asked in scope.asked}
    reached = (q for q in scope.questions if not is_beside(q.interrupt.key) or q.interrupt.key in keys)
    stale = tuple(
        q.interrupt.id
        for q in reached
        if (q.status == "open" and q.interrupt.id not in ids)
        or (q.status == "answered" and q.interrupt.id not in scope.used)
    )
    return Paused(scope.task, tuple(scope.asked), stale, tuple(scope.inside))


class Bubble(GraphBubbleUp):
    """``Command(graph=Command.PARENT)`` on its way out of the subgraph in which a node said it."""

    def __init__(self, command: Command[Any]) -> None:
        super().__init__(command)
        self.command = command


async def _body(plan: Plan, values: Mapping[str, Any], scope: TaskScope) -> Result:
    task = scope.task
    if task.node == START:
        result = Result(task, tuple(task.arg))
    else:
        node = plan.nodes[task.node]
        result = await _run_node(plan, node, values, scope)
    if result.handled or task.node not in plan.branches:
        return result
    return dataclasses.replace(result, chosen=await choose(plan, result, values, scope.given))


async def _run_node(plan: Plan, node: Node, values: Mapping[str, Any], scope: TaskScope) -> Result:
    task = scope.task
    if task.timeout is None and not node.care.needed:
        return await _attempt(plan, node, values, scope, scope.given, beat_nothing)
    care = node.care if task.timeout is None else dataclasses.replace(node.care, timeout=task.timeout)
    if care.timeout is not None and not is_async(node.run):
        raise InvalidGraph(
            f"node {node.name!r} was not run: a plain function cannot be stopped, so it takes no timeout"
        )
    given = scope.given
    auto = care.timeout is not None and care.timeout.refresh_on == "auto"

    async def attempt(beat: Beat) -> Result:
        return await _attempt(plan, node, values, scope, given, beat, writes_beat=auto)

    try:
        done: Result = await with_care(node.name, care, attempt, retrying=scope.retrying)
        return done
    except (NodeMisused, AnswerInvalid):
        raise
    except Exception as error:
        if node.care.on_error is None:
            raise
        failed = NodeError(node.name, error)
        handled = await _handled(plan, node, values, scope, dataclasses.replace(given, error=failed))
        return dataclasses.replace(handled, handled=True)


async def _attempt(
    plan: Plan,
    node: Node,
    values: Mapping[str, Any],
    scope: TaskScope,
    given: Given,
    beat: Beat,
    *,
    writes_beat: bool = False,
) -> Result:
    """Run the node once, from its first line."""
    task = scope.task
    scope.seen.clear()
    scope.paused.clear()
    scope.leaving = False
    scope.subgraphs = 0
    scope.attempts += 1
    scope.given = given.at_attempt(scope.attempts, beat, writes_beat=writes_beat)
    seen = task.arg if task.push is not None else node.sees.present(values)
    try:
        returned = await call(node.run, seen, scope.given)
    except Bubble as bubble:
        returned = dataclasses.replace(bubble.command, graph=None)
    except (GraphInterrupt, SystemExit, Exception):
        # gather() leaves effects running beside the pause or the failure: they may be done already.
        await scope.quiet()
        raise
    return _read(plan, task, returned, scope)


async def _handled(
    plan: Plan, node: Node, values: Mapping[str, Any], scope: TaskScope, given: Given
) -> Result:
    """Return what the node's error handler makes of its failure."""
    task, handler = scope.task, node.care.on_error
    assert handler is not None
    seen_before, subgraphs_before = dict(scope.seen), scope.subgraphs

    async def attempt(_: Beat) -> Result:
        scope.seen, scope.subgraphs = dict(seen_before), subgraphs_before
        seen = task.arg if task.push is not None else node.sees.present(values)
        return _read(plan, task, await call(handler, seen, given), scope)

    done: Result = await with_care(node.name, Care(node.handler_retries), attempt, retrying=scope.retrying)
    return done


def _read(plan: Plan, task: Task, returned: Any, scope: TaskScope) -> Result:
    for part in returned if isinstance(returned, list | tuple) else (returned,):
        if isinstance(part, Command) and part.graph == PARENT:
            if not scope.ns:
                raise ParentCommand(
                    f"nothing of this step was stored: node {task.node!r} speaks for the graph around it, "
                    "and it runs in none"
                )
            raise Bubble(part)
    return read_return(plan, task, returned)
