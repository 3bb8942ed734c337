"""Failure, retry, timeouts and error handlers: what is kept, what runs again, what is given up."""

from __future__ import annotations

import asyncio
from typing import Any

from harness import Lib, Log, NodeError, Recorder, a_while, fan, line, program, step, thread, whole


def breaks(record: Recorder, name: str, *errors: Exception) -> Any:
    """A node that raises these errors in turn, and then works."""
    left = list(errors)

    async def node(state: Any) -> Any:
        record.seen(name)
        if left:
            raise left.pop(0)
        return {"log": [name]}

    node.__name__ = name
    return node


def quick(lib: Lib, **more: Any) -> Any:
    """A retry policy that does not make a test wait."""
    return lib.RetryPolicy(initial_interval=0.001, backoff_factor=1.0, jitter=False, **more)


def with_policy(lib: Lib, node: Any, policy: Any) -> Any:
    builder = lib.StateGraph(Log)
    builder.add_node(node.__name__, node, retry_policy=policy)
    builder.add_edge(lib.START, node.__name__)
    return builder.compile()


@program("A node's error is the call's error; the thread stays at the node, and going on runs it again.")
async def a_node_fails(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), breaks(record, "b", ValueError("b broke"))).compile(
            checkpointer=saver
        )
        error = await record.call(graph.ainvoke({"log": []}, thread()))
        record.value(str(error))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))
        record.history(await whole(graph.aget_state_history(thread())))


@program("A node that fails again and again stays where it is.")
async def a_node_fails_twice(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        node = breaks(record, "a", ValueError("one"), KeyError("two"))
        graph = line(lib, Log, node).compile(checkpointer=saver)
        calls: list[Any] = [{"log": []}, None, None]
        for given in calls:
            await record.call(graph.ainvoke(given, thread()))


@program(
    "When one node of a step fails, nothing of the step is applied, and finished siblings do not run again.",
    overlapping=True,
)
async def a_sibling_is_kept(lib: Lib, record: Recorder) -> None:
    done = asyncio.Event()
    broken = [True]

    async def a(state: Any) -> Any:
        record.seen("a")
        done.set()
        return {"log": ["a"]}

    async def b(state: Any) -> Any:
        record.seen("b")
        await done.wait()
        await a_while()
        if broken:
            broken.clear()
            raise ValueError("b broke")
        return {"log": ["b"]}

    async with lib.saver() as saver:
        graph = fan(lib, Log, a, b, then=step(record, "c")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.value((await graph.aget_state(thread())).next)
        record.history(await whole(graph.aget_state_history(thread(), limit=1)))
        await record.call(graph.ainvoke(None, thread()))


@program("What a finished sibling wrote outlives the process.", overlapping=True)
async def a_sibling_is_kept_over_a_restart(lib: Lib, record: Recorder) -> None:
    done = asyncio.Event()
    broken = [True]

    async def a(state: Any) -> Any:
        record.seen("a")
        done.set()
        return {"log": ["a"]}

    async def b(state: Any) -> Any:
        record.seen("b")
        await done.wait()
        await a_while()
        if broken:
            broken.clear()
            raise ValueError("b broke")
        return {"log": ["b"]}

    calls: list[Any] = [{"log": []}, None]
    for given in calls:
        async with lib.saver() as saver:
            graph = fan(lib, Log, a, b).compile(checkpointer=saver)
            await record.call(graph.ainvoke(given, thread()))


@program("The first failure cancels the siblings that still run.", overlapping=True)
async def siblings_are_cancelled(lib: Lib, record: Recorder) -> None:
    started = asyncio.Event()

    async def slow(state: Any) -> Any:
        started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            record.seen("slow cancelled")
            raise

    async def broken(state: Any) -> Any:
        await started.wait()
        raise ValueError("broke")

    await record.call(fan(lib, Log, slow, broken).compile().ainvoke({"log": []}))


@program("A cancelled call keeps the thread at its node, and going on runs the node again.")
async def the_caller_cancels(lib: Lib, record: Recorder) -> None:
    started = asyncio.Event()

    async def b(state: Any) -> Any:
        record.seen("b")
        if not started.is_set():
            started.set()
            await asyncio.sleep(30)
        return {"log": ["b"]}

    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), b).compile(checkpointer=saver)
        call = asyncio.ensure_future(graph.ainvoke({"log": []}, thread(), durability="sync"))
        await started.wait()
        call.cancel()
        try:
            await call
        except asyncio.CancelledError:
            record.value("cancelled")
        record.value((await graph.aget_state(thread())).next)
        await record.call(graph.ainvoke(None, thread()))


@program("A retry policy runs a failed node again, at most max_attempts times in all.")
async def a_retry(lib: Lib, record: Recorder) -> None:
    error = ConnectionError("down")
    await record.call(with_policy(lib, breaks(record, "a", error, error), quick(lib)).ainvoke({"log": []}))
    graph = with_policy(lib, breaks(record, "a", error, error), quick(lib, max_attempts=2))
    await record.call(graph.ainvoke({"log": []}))


@program("By default unknown errors and connection errors are retried; programming errors are not.")
async def what_is_retried(lib: Lib, record: Recorder) -> None:
    class Strange(Exception):
        pass

    for error in (
        ConnectionError("x"),
        Strange("x"),
        ValueError("x"),
        TypeError("x"),
        KeyError("x"),
        RuntimeError("x"),
        OSError("x"),
        TimeoutError("x"),
        ArithmeticError("x"),
    ):
        await record.call(with_policy(lib, breaks(record, "a", error), quick(lib)).ainvoke({"log": []}))


@program("retry_on is a class, several classes, or a function of the error.")
async def what_to_retry(lib: Lib, record: Recorder) -> None:
    for retry_on in (ValueError, (KeyError, ValueError), lambda error: "again" in str(error), KeyError):
        policy = quick(lib, retry_on=retry_on)
        graph = with_policy(lib, breaks(record, "a", ValueError("again")), policy)
        await record.call(graph.ainvoke({"log": []}))


@program("Of several policies the first that matches the error counts.")
async def several_policies(lib: Lib, record: Recorder) -> None:
    policies = [
        quick(lib, retry_on=KeyError, max_attempts=4),
        quick(lib, retry_on=ValueError, max_attempts=2),
    ]
    for error in (KeyError("x"), ValueError("x"), TypeError("x")):
        graph = with_policy(lib, breaks(record, "a", error, error, error), policies)
        await record.call(graph.ainvoke({"log": []}))


@program("A node that is retried sees the same state, and writes once.")
async def a_retry_is_clean(lib: Lib, record: Recorder) -> None:
    attempts: list[int] = []

    async def b(state: Any) -> Any:
        record.value(state)
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionError("down")
        return {"log": ["b"]}

    builder = line(lib, Log, step(record, "a"))
    builder.add_node("b", b, retry_policy=quick(lib))
    builder.add_edge("a", "b")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A retried node shows once in the stream.")
async def a_retry_in_the_stream(lib: Lib, record: Recorder) -> None:
    graph = with_policy(lib, breaks(record, "a", ConnectionError("down")), quick(lib))
    await record.stream(graph.astream({"log": []}))


@program("set_node_defaults gives every node its policy, and a node's own wins.")
async def node_defaults(lib: Lib, record: Recorder) -> None:
    builder = lib.StateGraph(Log)
    builder.set_node_defaults(retry_policy=quick(lib, max_attempts=2))
    down = ConnectionError("down")
    builder.add_node("a", breaks(record, "a", down))
    builder.add_node("b", breaks(record, "b", down, down), retry_policy=quick(lib, max_attempts=3))
    builder.add_node("c", breaks(record, "c", down, down))
    builder.add_edge(lib.START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "c")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A node that takes longer than its timeout is a NodeTimeoutError, which names it.")
async def a_timeout(lib: Lib, record: Recorder) -> None:
    async def slow(state: Any) -> Any:
        record.seen("slow")
        await asyncio.sleep(30)

    builder = lib.StateGraph(Log)
    builder.add_node("slow", slow, timeout=0.02)
    builder.add_edge(lib.START, "slow")
    error = await record.call(builder.compile().ainvoke({"log": []}))
    record.value((error.node, error.kind, error.timeout, error.run_timeout, error.idle_timeout))
    record.value(isinstance(error, TimeoutError))


@program("A node within its timeout is not touched.")
async def a_timeout_that_is_long_enough(lib: Lib, record: Recorder) -> None:
    builder = lib.StateGraph(Log)
    builder.add_node("a", step(record, "a"), timeout=lib.TimeoutPolicy(run_timeout=20))
    builder.add_edge(lib.START, "a")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A timeout is retried like an unknown error.")
async def a_timeout_is_retried(lib: Lib, record: Recorder) -> None:
    attempts: list[int] = []

    async def slow(state: Any) -> Any:
        record.seen("slow")
        attempts.append(1)
        if len(attempts) < 2:
            await asyncio.sleep(30)
        return {"log": ["slow"]}

    builder = lib.StateGraph(Log)
    builder.add_node("slow", slow, timeout=0.2, retry_policy=quick(lib))
    builder.add_edge(lib.START, "slow")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("An idle timeout is put off by heartbeats.")
async def an_idle_timeout(lib: Lib, record: Recorder) -> None:
    async def lively(state: Any, runtime: Any) -> Any:
        for _ in range(4):
            await asyncio.sleep(0.1)
            runtime.heartbeat()
        return {"log": ["lively"]}

    async def idle(state: Any) -> Any:
        await asyncio.sleep(30)

    for node in (lively, idle):
        builder = lib.StateGraph(Log)
        builder.add_node("n", node, timeout=lib.TimeoutPolicy(idle_timeout=0.25))
        builder.add_edge(lib.START, "n")
        error = await record.call(builder.compile().ainvoke({"log": []}))
        record.value(getattr(error, "kind", None))


@program("A Send may have a timeout of its own.")
async def a_send_with_a_timeout(lib: Lib, record: Recorder) -> None:
    async def slow(state: Any) -> Any:
        record.seen("slow")
        await asyncio.sleep(30)

    builder = lib.StateGraph(Log)
    builder.add_node("slow", slow)
    builder.add_conditional_edges(lib.START, lambda state: lib.Send("slow", {}, timeout=0.02))
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A timeout that is not above zero, or of a plain function, is a ValueError when the graph is built.")
async def impossible_timeouts(lib: Lib, record: Recorder) -> None:
    for timeout in (0, -1.0):
        try:
            lib.StateGraph(Log).add_node("a", step(record, "a"), timeout=timeout)
        except ValueError as error:
            record.error(error)

    def plain(state: Any) -> Any:
        record.seen("plain")

    try:
        builder = lib.StateGraph(Log)
        builder.add_node("plain", plain, timeout=1)
        builder.add_edge(lib.START, "plain")
        builder.compile()
    except ValueError as error:
        record.error(error)


@program("A node that times out keeps the thread at its place.")
async def a_timeout_in_a_thread(lib: Lib, record: Recorder) -> None:
    attempts: list[int] = []

    async def slow(state: Any) -> Any:
        record.seen("slow")
        attempts.append(1)
        if len(attempts) < 2:
            await asyncio.sleep(30)
        return {"log": ["slow"]}

    async with lib.saver() as saver:
        builder = lib.StateGraph(Log)
        builder.add_node("slow", slow, timeout=0.2)
        builder.add_edge(lib.START, "slow")
        graph = builder.compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("A node that raises CancelledError itself is a NodeCancelledError, not a cancelled call.")
async def a_node_cancels_itself(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        raise asyncio.CancelledError

    await record.call(line(lib, Log, a).compile().ainvoke({"log": []}))


@program("An error handler sees the state and the error, and its update stands for the node's.")
async def an_error_handler(lib: Lib, record: Recorder) -> None:
    async def recover(state: Any, error: NodeError) -> Any:
        record.seen(f"recover saw {state['log']} {error.node} {error.error!r}")
        return {"log": ["recovered"]}

    builder = lib.StateGraph(Log)
    builder.add_node("a", breaks(record, "a", ValueError("broke")), error_handler=recover)
    builder.add_edge(lib.START, "a")
    await record.call(builder.compile().ainvoke({"log": ["in"]}))


@program("After an error handler the failed node's edges are not taken; the handler's Command is.")
async def where_a_handler_goes(lib: Lib, record: Recorder) -> None:
    async def stay(state: Any, error: NodeError) -> Any:
        return {"log": ["stay"]}

    async def go(state: Any, error: NodeError) -> Any:
        return lib.Command(update={"log": ["go"]}, goto="c")

    for handler in (stay, go):
        builder = lib.StateGraph(Log)
        builder.add_node("a", breaks(record, "a", ValueError("broke")), error_handler=handler)
        builder.add_node("b", step(record, "b"))
        builder.add_node("c", step(record, "c"))
        builder.add_edge(lib.START, "a")
        builder.add_edge("a", "b")
        await record.call(builder.compile().ainvoke({"log": []}))


@program("An error handler is called after the retries, once, and not when they succeed.")
async def a_handler_after_retries(lib: Lib, record: Recorder) -> None:
    async def recover(state: Any, error: NodeError) -> Any:
        record.seen("recover")
        return {"log": ["recovered"]}

    down = ConnectionError("down")
    for errors in ([down], [down, down]):
        builder = lib.StateGraph(Log)
        node = breaks(record, "a", *errors)
        builder.add_node("a", node, retry_policy=quick(lib, max_attempts=2), error_handler=recover)
        builder.add_edge(lib.START, "a")
        await record.call(builder.compile().ainvoke({"log": []}))


@program("A graph's default retry looks after error handlers too, whatever the node says for itself.")
async def a_handler_that_is_retried(lib: Lib, record: Recorder) -> None:
    tries: list[int] = []

    async def recover(state: Any, error: NodeError) -> Any:
        record.seen("recover")
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("again")
        return {"log": ["recovered"]}

    builder = lib.StateGraph(Log)
    node = breaks(record, "a", ConnectionError("down"))
    builder.add_node("a", node, retry_policy=quick(lib, max_attempts=1), error_handler=recover)
    builder.set_node_defaults(retry_policy=quick(lib, max_attempts=4))
    builder.add_edge(lib.START, "a")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("An error handler that fails fails the run.")
async def a_failing_handler(lib: Lib, record: Recorder) -> None:
    async def recover(state: Any, error: NodeError) -> Any:
        record.seen("recover")
        raise KeyError("worse")

    builder = lib.StateGraph(Log)
    builder.add_node("a", breaks(record, "a", ValueError("broke")), error_handler=recover)
    builder.add_edge(lib.START, "a")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("With an error handler a failing node does not cancel its siblings.", overlapping=True)
async def a_handler_beside_siblings(lib: Lib, record: Recorder) -> None:
    broke = asyncio.Event()

    async def slow(state: Any) -> Any:
        await broke.wait()
        await a_while()
        record.seen("slow finished")
        return {"log": ["slow"]}

    async def bad(state: Any) -> Any:
        broke.set()
        raise ValueError("broke")

    async def recover(state: Any, error: NodeError) -> Any:
        record.seen("recover")
        return {"log": ["recovered"]}

    builder = lib.StateGraph(Log)
    builder.add_node("bad", bad, error_handler=recover)
    builder.add_node("slow", slow)
    builder.add_node("after", step(record, "after"))
    builder.add_edge(lib.START, "bad")
    builder.add_edge(lib.START, "slow")
    builder.add_edge("slow", "after")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A default error handler catches every node that has none of its own.")
async def a_default_handler(lib: Lib, record: Recorder) -> None:
    async def default(state: Any, error: NodeError) -> Any:
        record.seen(f"default for {error.node}")
        return lib.Command(update={"log": ["default"]}, goto="b" if error.node == "a" else lib.END)

    async def own(state: Any, error: NodeError) -> Any:
        record.seen(f"own for {error.node}")
        return {"log": ["own"]}

    builder = lib.StateGraph(Log)
    builder.set_node_defaults(error_handler=default)
    builder.add_node("a", breaks(record, "a", ValueError("x")))
    builder.add_node("b", breaks(record, "b", ValueError("x")), error_handler=own)
    builder.add_edge(lib.START, "a")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A timeout reaches the error handler.")
async def a_handler_of_a_timeout(lib: Lib, record: Recorder) -> None:
    async def slow(state: Any) -> Any:
        await asyncio.sleep(30)

    async def recover(state: Any, error: NodeError) -> Any:
        record.seen(f"recover from {type(error.error).__name__}")
        return {"log": ["recovered"]}

    builder = lib.StateGraph(Log)
    builder.add_node("slow", slow, timeout=0.02, error_handler=recover)
    builder.add_edge(lib.START, "slow")
    await record.call(builder.compile().ainvoke({"log": []}))


@program("A question is no error to an error handler.")
async def a_handler_and_a_question(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.seen("a")
        return {"log": [lib.interrupt("a?")]}

    async def recover(state: Any, error: NodeError) -> Any:
        record.seen("recover")
        return {"log": ["recovered"]}

    async with lib.saver() as saver:
        builder = lib.StateGraph(Log)
        builder.add_node("a", a, error_handler=recover)
        builder.add_edge(lib.START, "a")
        graph = builder.compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program("A drain request stops the run between two steps, and the thread goes on later.")
async def a_drain(lib: Lib, record: Recorder) -> None:
    control = lib.RunControl()

    async def a(state: Any) -> Any:
        record.seen("a")
        control.request_drain("going home")
        return {"log": ["a"]}

    async with lib.saver() as saver:
        graph = line(lib, Log, a, step(record, "b")).compile(checkpointer=saver)
        error = await record.call(graph.ainvoke({"log": []}, thread(), control=control))
        record.value(error.reason)
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))
