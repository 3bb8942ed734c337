"""What a node is told of its call: config, context, and where and how often it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from graphs import Log

from graph_runtime import (
    START,
    CompiledGraph,
    NodeRuntime,
    RetryPolicy,
    StateGraph,
    get_config,
    get_runtime,
)
from graph_runtime.config import merged


@dataclass
class Person:
    name: str


def only(node: Any, context: Any = None, **more: Any) -> CompiledGraph:
    return StateGraph(Log, context).add_node("node", node, **more).add_edge(START, "node").compile()


def test_configs_add_up_by_key_and_by_tag() -> None:
    one = {
        "tags": ["a", "b"],
        "metadata": {"x": 1, "y": 1},
        "configurable": {"who": "one"},
        "run_name": "one",
    }
    two = {"tags": ["b", "c"], "metadata": {"y": 2}, "configurable": {"how": "two"}, "run_name": None}
    assert merged(one, None, two) == {
        "tags": ["a", "b", "c"],
        "metadata": {"x": 1, "y": 2},
        "configurable": {"who": "one", "how": "two"},
        "run_name": "one",
    }
    assert one["tags"] == ["a", "b"], "what a caller passed is left as it was"


async def test_a_graph_called_in_a_node_adds_its_config_and_context_to_those_of_the_node() -> None:
    async def inside(state: Log) -> Any:
        found = get_config()
        return {
            "answer": (
                found["configurable"]["outer"],
                found["configurable"]["inner"],
                found["metadata"]["langgraph_node"],
                get_runtime().context.name,
            )
        }

    inner = StateGraph(Log, Person).add_node("inside", inside).add_edge(START, "inside").compile()

    async def calls(state: Log) -> Any:
        found = await inner.ainvoke({"log": []}, {"configurable": {"inner": 2}}, context={"name": "other"})
        return {"answer": found["answer"]}

    done = await only(calls, Person).ainvoke(
        {"log": []}, {"configurable": {"outer": 1}}, context=Person("caller")
    )
    assert done["answer"] == (1, 2, "inside", "other")


async def test_the_metadata_of_a_node_stands_in_its_config() -> None:
    async def node(state: Log, config: Any) -> Any:
        return {"answer": config["metadata"]["owner"]}

    assert (await only(node, metadata={"owner": "ops"}).ainvoke({"log": []}))["answer"] == "ops"


async def test_a_helper_sees_the_same_attempt_as_the_node() -> None:
    seen: list[tuple[int, int]] = []

    async def node(state: Log, runtime: NodeRuntime) -> Any:
        info, helpers = runtime.execution_info, get_runtime().execution_info
        assert info is not None and helpers is not None
        seen.append((info.node_attempt, helpers.node_attempt))
        if len(seen) < 2:
            raise ConnectionError("down")

    await only(node, retry_policy=RetryPolicy(initial_interval=0, jitter=False)).ainvoke({"log": []})
    assert seen == [(1, 1), (2, 2)]


async def test_a_context_that_does_not_fit_stops_the_call_before_anything_is_stored() -> None:
    ran: list[str] = []

    async def node(state: Log) -> Any:
        ran.append("node")

    graph = only(node, Person)
    with pytest.raises(TypeError, match="stranger"):
        await graph.ainvoke({"log": []}, context={"stranger": 1})
    with pytest.raises(TypeError, match="stranger"):
        await anext(graph.astream({"log": []}, context={"stranger": 1}))
    assert not ran
