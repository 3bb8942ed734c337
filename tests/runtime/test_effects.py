"""Author code in threads, and author code that tries to end more than itself."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from graphs import Log, begin, one_after_another, side_by_side, values
from kit import MakeRuntime

from graph_runtime import START, NodeExitError, StateGraph, current_task, read_tool_policy, step

_said: contextvars.ContextVar[str] = contextvars.ContextVar("said")


@pytest.mark.parametrize("by", ["step", "tool"])
async def test_a_plain_function_of_an_effect_does_not_stop_the_loop(
    make_runtime: MakeRuntime, by: str
) -> None:
    going, tools = threading.Event(), read_tool_policy([{"tool": "wait", "do": "allow"}])

    def wait() -> list[Any]:
        # Only the loop can let it go.
        return [going.wait(10), _said.get(), current_task().node]

    async def node(state: Log) -> Log:
        _said.set("hello")
        asyncio.get_running_loop().call_soon(going.set)
        return {"log": [await (step("wait", wait) if by == "step" else tools.call("wait", wait, {}))]}

    runtime = make_runtime(one_after_another(node=node))
    run = await begin(runtime)
    assert (await values(runtime, run))["log"] == [[True, "hello", "node"]]


async def test_what_a_plain_function_did_is_recorded_although_its_node_was_stopped_meanwhile(
    make_runtime: MakeRuntime,
) -> None:
    loop, begun, go, paid = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), list[str]()

    def pay() -> str:
        loop.call_soon_threadsafe(begun.set)
        assert go.wait(10)
        paid.append("paid")
        return "paid"

    async def pays(state: Log) -> Log:
        return {"log": [await step("pay", pay)]}

    async def fails(state: Log) -> Log:
        await begun.wait()
        if not paid:
            loop.call_soon(lambda: loop.call_soon(go.set))
            raise ValueError("its sibling is stopped for this")
        return {}

    runtime = make_runtime(side_by_side(pays=pays, fails=fails))
    run = await begin(runtime)
    assert (run.status, (run.error or {})["type"], paid) == ("failed", "ValueError", ["paid"])
    run = await runtime.advance((await runtime.retry(run.thread_id, run.id)).id)
    assert (await values(runtime, run))["log"] == ["paid"]
    assert paid == ["paid"], "once"


async def test_a_timeout_that_passes_during_a_plain_function_is_that_timeout_still(
    make_runtime: MakeRuntime,
) -> None:
    def slow() -> None:
        threading.Event().wait(0.05)

    async def node(state: Log) -> Log:
        try:
            async with asyncio.timeout(0.01):
                await step("slow", slow)
        except TimeoutError:
            return {"log": ["in time", await step("slow", slow)]}
        return {"log": ["never"]}

    runtime = make_runtime(one_after_another(node=node))
    run = await begin(runtime)
    assert (await values(runtime, run))["log"] == ["in time", None]


def _next(state: Log) -> Log:
    return {"log": [next(iter(()))]}


async def _next_in_a_step(state: Log) -> Log:
    return {"log": [await step("next", lambda: next(iter(())))]}


@pytest.mark.parametrize("node", [_next, _next_in_a_step])
async def test_a_plain_function_that_raises_stop_iteration_fails_its_run_and_keeps_nobody_waiting(
    make_runtime: MakeRuntime, node: Callable[[Log], Any]
) -> None:
    async with asyncio.timeout(10):
        run = await begin(make_runtime(one_after_another(node=node)))
    assert (run.status, (run.error or {})["type"]) == ("failed", "RuntimeError")


# -- sys.exit() and CancelledError ------------------------------------------------------------------------------


async def _exits(state: Log) -> Log:
    sys.exit(3)


def _exits_in_a_thread(state: Log) -> Log:
    sys.exit(3)


async def _exits_in_a_step(state: Log) -> Log:
    return {"log": [await step("exit", sys.exit, 3)]}


async def _exits_in_a_subgraph(state: Log) -> Log:
    await one_after_another("inner", inner=_exits).ainvoke({"subject": "s"})
    return {}


async def _beside(state: Log) -> Log:
    return {"log": ["beside"]}


@pytest.mark.parametrize("node", [_exits, _exits_in_a_thread, _exits_in_a_step, _exits_in_a_subgraph])
async def test_a_node_that_calls_sys_exit_fails_its_run_and_nothing_else(
    make_runtime: MakeRuntime, node: Callable[[Log], Any]
) -> None:
    runtime = make_runtime(side_by_side(node=node, beside=_beside), one_after_another("other", node=_beside))
    run = await begin(runtime)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == "NodeExitError"
    assert "called sys.exit(3)" in run.error["message"]
    assert (await begin(runtime, graph="other")).status == "completed"


async def test_a_router_that_calls_sys_exit_fails_its_run(make_runtime: MakeRuntime) -> None:
    def way(state: Log) -> str:
        sys.exit()

    graph = StateGraph(Log).add_node("node", _beside).add_edge(START, "node")
    run = await begin(make_runtime(graph.add_conditional_edges("node", way).compile(name="graph")))
    assert (run.error or {})["message"].startswith("node 'node' called sys.exit();")


async def test_whoever_drives_a_graph_is_told_of_the_exit_as_an_error() -> None:
    with pytest.raises(NodeExitError) as raised:
        await one_after_another(node=_exits).ainvoke({"subject": "s"})
    assert (raised.value.node, raised.value.code) == ("node", 3)


async def test_ctrl_c_in_a_node_is_not_the_nodes(make_runtime: MakeRuntime) -> None:
    async def node(state: Log) -> Log:
        raise KeyboardInterrupt

    runtime = make_runtime(one_after_another(node=node))
    run = await runtime.start("graph", {"subject": "s"})
    walk = runtime.advance(run.id)
    with pytest.raises(KeyboardInterrupt):
        await walk
    assert (await runtime.get(run.id)).status == "running", "left to its lease"


@pytest.mark.parametrize("by", ["node", "step"])
async def test_a_node_that_lets_a_cancelled_error_escape_fails_its_run(
    make_runtime: MakeRuntime, by: str
) -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def node(state: Log) -> Log:
        await (cancelled() if by == "node" else step("cancelled", cancelled))
        return {}

    run = await begin(make_runtime(one_after_another(node=node)))
    assert (run.status, (run.error or {})["type"]) == ("failed", "NodeCancelledError")
