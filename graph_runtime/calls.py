"""Calls an author's function: with what it asks for by name, in a thread when it may block, again if due."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import GenericAlias
from typing import Any, NamedTuple, NoReturn, Protocol

from .errors import NodeTimeoutError, Unsupported
from .timeouts import TimeoutPolicy, read_seconds


def default_retry_on(error: Exception) -> bool:
    """Say whether an error may pass by itself, as LangGraph does: lost connections, and what nobody knows."""
    if isinstance(error, ConnectionError):
        return True
    settled = (
        ValueError,
        TypeError,
        ArithmeticError,
        ImportError,
        LookupError,
        NameError,
        SyntaxError,
        RuntimeError,
        ReferenceError,
        StopIteration,
        StopAsyncIteration,
        OSError,
    )
    return not isinstance(error, settled)


class RetryPolicy(NamedTuple):
    """When and how often a node that failed runs again within its step. Seconds; the first run counts."""

    initial_interval: float = 0.5
    backoff_factor: float = 2.0
    max_interval: float = 128.0
    max_attempts: int = 3
    jitter: bool = True
    retry_on: type[Exception] | Sequence[type[Exception]] | Callable[[Exception], bool] = default_retry_on

    def covers(self, error: Exception) -> bool:
        """Say whether this policy is for that error."""
        if isinstance(self.retry_on, type):
            return isinstance(error, self.retry_on)
        if isinstance(self.retry_on, Sequence):
            return isinstance(error, tuple(self.retry_on))
        return self.retry_on(error)

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after that attempt, the first being 1."""
        seconds = min(self.initial_interval * self.backoff_factor ** (attempt - 1), self.max_interval)
        return seconds + random.uniform(0, 1) if self.jitter else seconds  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class NodeError:
    """What an error handler is given: the node that failed and what it raised."""

    node: str
    error: BaseException


class StreamWriter(Protocol):
    """Puts its argument on the call's custom stream."""

    def __call__(self, value: Any, /) -> None: ...


Beat = Callable[[], None]


def _write_nothing(_: Any) -> None:
    """Stand in for the writer where nobody listens."""


def beat_nothing() -> None:
    """Stand in for the heartbeat of a node without an idle timeout."""


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """Where and how often a node runs."""

    checkpoint_id: str
    checkpoint_ns: str
    task_id: str
    thread_id: str
    run_id: str
    #: Which attempt this is within the step, the first being 1.
    node_attempt: int = 1
    #: Seconds since the epoch.
    node_first_attempt_time: float | None = None


@dataclass(frozen=True, slots=True)
class NodeRuntime:
    """What a node is given as ``runtime``: the context, a writer to the custom stream, where it runs."""

    context: Any = None
    stream_writer: StreamWriter = _write_nothing
    previous: None = None
    #: None outside of a run.
    execution_info: ExecutionInfo | None = None
    #: Puts off the node's idle timeout.
    heartbeat: Callable[[], None] = beat_nothing

    @property
    def store(self) -> NoReturn:
        """Raise :class:`Unsupported`: the long-term store is not built."""
        raise Unsupported("nothing was read or kept: the long-term store is not built here")

    def __class_getitem__(cls, context: Any) -> GenericAlias:
        return GenericAlias(cls, (context,))


@dataclass(frozen=True, slots=True)
class Care:
    """How a node is looked after: its retries, its timeout, and who takes over when it fails."""

    retries: tuple[RetryPolicy, ...] = ()
    timeout: TimeoutPolicy | None = None
    on_error: Callable[..., Any] | None = None

    @property
    def needed(self) -> bool:
        """Whether there is anything to look after."""
        return bool(self.retries) or self.timeout is not None or self.on_error is not None

    def or_else(self, other: Care) -> Care:
        """Return this care, and the other's where this one says nothing."""
        return Care(
            self.retries or other.retries, self.timeout or other.timeout, self.on_error or other.on_error
        )


Made = tuple[Mapping[str, Any], NodeRuntime]


def _make_nothing() -> Made:
    return {}, NodeRuntime()


@dataclass(slots=True)
class Given:
    """What a function may ask for by parameter name; it is made when somebody does, as few do."""

    make: Callable[[], Made] = _make_nothing
    error: NodeError | None = None
    attempt: int = 1
    beat: Beat | None = None
    #: Writing to the stream is a sign of life.
    writes_beat: bool = False
    _made: Made | None = field(default=None, init=False)

    @property
    def config(self) -> Mapping[str, Any]:
        """The config of the task."""
        return self._all()[0]

    @property
    def runtime(self) -> NodeRuntime:
        """The runtime of the task."""
        return self._all()[1]

    def at_attempt(self, number: int, beat: Beat, *, writes_beat: bool) -> Given:
        """Return the same for that attempt, with its heartbeat."""
        return Given(self.make, self.error, number, beat, writes_beat)

    def named(self, names: frozenset[str]) -> dict[str, Any]:
        """Return the arguments for those parameter names."""
        if not names:
            return {}
        everything = {
            "config": self.config,
            "runtime": self.runtime,
            "writer": self.runtime.stream_writer,
            "store": None,
            "previous": None,
            "error": self.error,
        }
        return {name: everything[name] for name in names}

    def _all(self) -> Made:
        if self._made is None:
            config, runtime = self.make()
            self._made = config, runtime if self.beat is None else self._beating(runtime, self.beat)
        return self._made

    def _beating(self, runtime: NodeRuntime, beat: Beat) -> NodeRuntime:
        info, write = runtime.execution_info, runtime.stream_writer

        def write_and_beat(value: Any) -> None:
            write(value)
            beat()

        return replace(
            runtime,
            execution_info=None if info is None else replace(info, node_attempt=self.attempt),
            stream_writer=write_and_beat if self.writes_beat else write,
            heartbeat=beat,
        )


INJECTED = frozenset({"config", "runtime", "writer", "store", "previous", "error"})
_wanted: dict[Any, frozenset[str]] = {}
_async: dict[Any, bool] = {}


def wanted(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names that the function asks for, after its first parameter."""
    try:
        known = _wanted.get(function)
    except TypeError:  # an unhashable callable
        known = None
    if known is not None:
        return known
    try:
        parameters = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        parameters = []
    names = frozenset(p.name for p in parameters) & INJECTED
    try:
        _wanted[function] = names
    except TypeError:
        return names
    return names


def is_async(function: Callable[..., Any]) -> bool:
    """Say whether calling the function gives something to await, without calling it."""
    try:
        known = _async.get(function)
    except TypeError:  # an unhashable callable
        return _is_async(function)
    if known is None:
        known = _async[function] = _is_async(function)
    return known


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 - objects with an async __call__ count
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


async def call(function: Callable[..., Any], seen: Any, given: Given) -> Any:
    """Return what the function returns. A plain function runs in a thread: it may block, the loop must not.

    The context goes along, so ``interrupt()`` works there too.
    """
    names = wanted(function)
    extra = given.named(names) if names else {}
    if is_async(function):
        return await function(seen, **extra)
    returned = await asyncio.to_thread(_in_thread, function, seen, **extra)
    return await returned if inspect.isawaitable(returned) else returned


async def call_effect(function: Callable[..., Any], *args: Any) -> Any:
    """Return what an effect's function returns. A plain one runs in a thread, as a plain node does.

    No thread can be stopped: a cancel meanwhile is raised at the first wait after its end. So what it has
    done is recorded by whoever goes on to do that.
    """
    # Asked anew each time: most of these functions are made where they are used, and would be kept for ever.
    if _is_async(function):
        return await function(*args)
    alone = partial(contextvars.copy_context().run, _in_thread, function, *args)
    ended = asyncio.get_running_loop().run_in_executor(None, alone)
    cancelled = False
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            cancelled = True
    task = asyncio.current_task()
    if cancelled and task is not None:
        task.uncancel()  # the same cancel again, not another one: timeouts and task groups count them
        task.cancel()
    returned = ended.result()
    return await returned if inspect.isawaitable(returned) else returned


def is_stopped(error: BaseException) -> bool:
    """Say whether this is a cancel of the running task from outside, not one that author code let escape."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _in_thread(function: Callable[..., Any], *args: Any, **extra: Any) -> Any:
    try:
        return function(*args, **extra)
    except StopIteration as error:
        # No future takes it, and whoever waits for one would wait for ever. Coroutines say it like this too.
        raise RuntimeError("a plain function raised StopIteration") from error


async def with_care(
    node: str,
    care: Care,
    attempt: Callable[[Beat], Awaitable[Any]],
    *,
    retrying: Callable[[], Awaitable[None]],
) -> Any:
    """Return what ``attempt`` returns, within the node's timeout and again as its retry policies say.

    It is given what puts off its idle timeout. ``retrying`` is awaited before each further attempt; what it
    raises ends the trying. A pause is never retried. Raises the last error.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return await _in_time(node, care.timeout, attempt)
        except Exception as error:
            policy = next((p for p in care.retries if p.covers(error)), None)
            if policy is None or tries >= policy.max_attempts:
                raise
            await retrying()
            await asyncio.sleep(policy.wait(tries))


async def _in_time(node: str, policy: TimeoutPolicy | None, attempt: Callable[[Beat], Awaitable[Any]]) -> Any:
    if policy is None:
        return await attempt(beat_nothing)
    run, idle = read_seconds(policy.run_timeout), read_seconds(policy.idle_timeout)
    loop = asyncio.get_running_loop()
    began = loop.time()
    whole, quiet = asyncio.timeout(run), asyncio.timeout(idle)

    def beat() -> None:
        if idle is not None:
            with contextlib.suppress(RuntimeError):  # from a task that outlived the attempt
                quiet.reschedule(loop.time() + idle)

    try:
        async with whole, quiet:
            return await attempt(beat)
    except TimeoutError:
        elapsed = loop.time() - began
        if quiet.expired():
            raise NodeTimeoutError(node, elapsed, "idle", run_timeout=run, idle_timeout=idle) from None
        if whole.expired():
            raise NodeTimeoutError(node, elapsed, "run", run_timeout=run, idle_timeout=idle) from None
        raise


class RunControl:
    """Asks the run of one call to rest before its next step. May be used from any thread."""

    def __init__(self) -> None:
        self.drain_reason: str | None = None

    def request_drain(self, reason: str = "shutdown") -> None:
        """Let the call raise :class:`GraphDrained` as soon as its present step is on disk."""
        self.drain_reason = reason

    @property
    def drain_requested(self) -> bool:
        """Whether the run is to rest."""
        return self.drain_reason is not None


def read_retries(policy: RetryPolicy | Sequence[RetryPolicy] | None) -> tuple[RetryPolicy, ...]:
    """Return the policies as a tuple; the first that covers an error is the one that counts."""
    if policy is None:
        return ()
    return (policy,) if isinstance(policy, RetryPolicy) else tuple(policy)
