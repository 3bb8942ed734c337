"""LangGraph with its AsyncSqliteSaver as it comes; the variants are its durability modes."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from benchmarks.peers.driver import CHAIN, FAN, serve


class State(TypedDict, total=False):
    text: str
    title: str
    count: int
    done: bool


class Many(TypedDict, total=False):
    number: int
    found: Annotated[list[int], operator.add]


async def prepare(state: State) -> State:
    return {"title": "prepared"}


async def review(state: State) -> Command[str]:
    answer = interrupt({"question": "Publish?"})
    return Command(goto="publish" if answer == "yes" else END)


async def publish(state: State) -> State:
    return {"done": True}


async def count(state: State) -> State:
    return {"count": state["count"] + 1}


async def plan(state: Many) -> Many:
    return {"found": []}


async def work(state: Many) -> Many:
    return {"found": [state["number"]]}


def cycle_graph() -> StateGraph:
    graph = StateGraph(State)
    graph.add_node(prepare)
    graph.add_node(review, destinations=("publish", END))
    graph.add_node(publish)
    graph.add_edge(START, "prepare")
    graph.add_edge("prepare", "review")
    return graph


def chain_graph() -> StateGraph:
    graph = StateGraph(State)
    names = [f"n{number}" for number in range(CHAIN)]
    for before, name in zip([START, *names], names, strict=False):
        graph.add_node(name, count)
        graph.add_edge(before, name)
    return graph


def fan_graph() -> StateGraph:
    graph = StateGraph(Many)
    graph.add_node(plan)
    graph.add_node(work)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", lambda _: [Send("work", {"number": n}) for n in range(FAN)], ["work"])
    return graph


class LangGraph:
    def __init__(self, saver: AsyncSqliteSaver, durability: str) -> None:
        self._cycle = cycle_graph().compile(checkpointer=saver)
        self._chain = chain_graph().compile(checkpointer=saver)
        self._fan = fan_graph().compile(checkpointer=saver)
        self._durability = durability

    async def start(self, thread: str, text: str) -> str:
        paused = await self._run(self._cycle, {"text": text}, thread)
        assert paused["__interrupt__"]
        return thread

    async def finish(self, question: str) -> None:
        done = await self._run(self._cycle, Command(resume="yes"), question)
        assert done["done"]

    async def chain(self, thread: str) -> None:
        done = await self._run(self._chain, {"text": "x" * 2_000, "count": 0}, thread)
        assert done["count"] == CHAIN

    async def fan(self, thread: str) -> None:
        done = await self._run(self._fan, {"number": 0}, thread)
        assert len(done["found"]) == FAN

    async def _run(self, graph: Any, given: Any, thread: str) -> Any:
        config = {"configurable": {"thread_id": thread}, "recursion_limit": 1_000}
        return await graph.ainvoke(given, config, durability=self._durability)


@asynccontextmanager
async def open_session(variant: str, path: Path) -> AsyncIterator[LangGraph]:
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        yield LangGraph(saver, variant)


if __name__ == "__main__":
    serve(open_session)
