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

from benchmarks.peers.driver import serve
from benchmarks.peers.workloads import CHAIN, FAN


class State(TypedDict, total=False):
    text: str
    title: str
    count: int
    done: bool


class Logged(State, total=False):
    log: Annotated[list[str], operator.add]


class Many(TypedDict, total=False):
    number: int
    found: Annotated[list[int], operator.add]


async def count(state: State) -> State:
    return {"count": state["count"] + 1}


async def plan(state: Many) -> Many:
    return {"found": []}


async def work(state: Many) -> Many:
    return {"found": [state["number"]]}


def cycle_graph(schema: type, entries: tuple[str, ...]) -> Any:
    """Return prepare -> review -> publish; each node appends the entries to the state's log."""
    log = {"log": list(entries)} if entries else {}

    async def prepare(state: State) -> dict[str, Any]:
        return {"title": "prepared", **log}

    async def review(state: State) -> Command[str]:
        answer = interrupt({"question": "Publish?"})
        return Command(goto="publish" if answer == "yes" else END, update=log)

    async def publish(state: State) -> dict[str, Any]:
        return {"done": True, **log}

    graph: Any = StateGraph(schema)
    graph.add_node(prepare)
    graph.add_node(review, destinations=("publish", END))
    graph.add_node(publish)
    graph.add_edge(START, "prepare")
    graph.add_edge("prepare", "review")
    return graph


def chain_graph() -> Any:
    graph: Any = StateGraph(State)
    names = [f"n{number}" for number in range(CHAIN)]
    for before, name in zip([START, *names], names, strict=False):
        graph.add_node(name, count)
        graph.add_edge(before, name)
    return graph


def fan_graph() -> Any:
    graph: Any = StateGraph(Many)
    graph.add_node(plan)
    graph.add_node(work)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", lambda _: [Send("work", {"number": n}) for n in range(FAN)], ["work"])
    return graph


class LangGraph:
    def __init__(self, saver: AsyncSqliteSaver, durability: str) -> None:
        self._saver = saver
        self._cycles = {
            "cycle": cycle_graph(State, ()).compile(checkpointer=saver),
            "log": cycle_graph(Logged, ("an entry",)).compile(checkpointer=saver),
        }
        self._chain = chain_graph().compile(checkpointer=saver)
        self._fan = fan_graph().compile(checkpointer=saver)
        self._durability = durability

    async def start(self, thread: str, text: str, graph: str) -> tuple[str, str]:
        paused = await self._run(self._cycles[graph], {"text": text}, thread)
        assert paused["__interrupt__"]
        return thread, graph

    async def finish(self, question: tuple[str, str]) -> None:
        thread, graph = question
        done = await self._run(self._cycles[graph], Command(resume="yes"), thread)
        assert done["done"]

    async def chain(self, thread: str) -> None:
        done = await self._run(self._chain, {"text": "x" * 2_000, "count": 0}, thread)
        assert done["count"] == CHAIN

    async def fan(self, thread: str) -> None:
        done = await self._run(self._fan, {"number": 0}, thread)
        assert len(done["found"]) == FAN

    async def pending(self, limit: int) -> list[tuple[str, str]]:
        """Walk all checkpoints, newest first: there is no other way to learn who is paused."""
        known: set[str] = set()
        found: list[tuple[str, str]] = []
        async for one in self._saver.alist(None):
            thread = one.config["configurable"]["thread_id"]
            if thread in known:
                continue
            known.add(thread)
            if any(channel == "__interrupt__" for _, channel, _ in one.pending_writes or ()):
                found.append((thread, "cycle"))
                if len(found) == limit:
                    break
        return found

    async def _run(self, graph: Any, given: Any, thread: str) -> Any:
        config = {"configurable": {"thread_id": thread}, "recursion_limit": 1_000}
        return await graph.ainvoke(given, config, durability=self._durability)


@asynccontextmanager
async def open_session(variant: str, path: Path) -> AsyncIterator[LangGraph]:
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        yield LangGraph(saver, variant)


if __name__ == "__main__":
    serve(open_session)
