"""signoff's runtime as the bot drives it, and by LangGraph's names.

``sync``: a Worker claims each run from the queue under a lease and drives it, as in ``signoff serve``; the
only thing added is that whoever waits for a run is told when it rests. ``async``: a compiled graph with
AsyncSqliteSaver drives its own runs, in its default durability.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypedDict

from benchmarks.peers.driver import CHAIN, FAN, Session, serve
from bot.logs import set_up_logs
from graph_runtime import (
    END,
    START,
    Approvals,
    AsyncSqliteSaver,
    Command,
    Run,
    Runtime,
    Send,
    StateGraph,
    Worker,
    interrupt,
    open_store,
)


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
    return (
        StateGraph(State)
        .add_node(prepare)
        .add_node(review)
        .add_node(publish)
        .add_edge(START, "prepare")
        .add_edge("prepare", "review")
    )


def chain_graph() -> StateGraph:
    graph = StateGraph(State)
    names = [f"n{number}" for number in range(CHAIN)]
    for before, name in zip([START, *names], names, strict=False):
        graph.add_node(name, count).add_edge(before, name)
    return graph


def fan_graph() -> StateGraph:
    return (
        StateGraph(Many)
        .add_node(plan)
        .add_node(work)
        .add_edge(START, "plan")
        .add_conditional_edges("plan", lambda _: [Send("work", {"number": n}) for n in range(FAN)], ["work"])
    )


class TellingRuntime(Runtime):
    """Says when a run rests; the bot has nobody who waits for that."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._resting: dict[str, asyncio.Future[Run]] = {}

    async def drive(self, run: Run, call: Any = None) -> Run:
        rested = await super().drive(run, call)
        self._told(run.id).set_result(rested)
        return rested

    async def rests(self, run: Run) -> Run:
        """Return the run when a worker has taken it to its next rest."""
        rested = await self._told(run.id)
        del self._resting[run.id]
        return rested

    def _told(self, run_id: str) -> asyncio.Future[Run]:
        return self._resting.setdefault(run_id, asyncio.get_running_loop().create_future())


class NoDirectory:
    async def reviewer(self, actor: Any, groups: Any) -> NoReturn:
        raise AssertionError("nobody decides here")


class Workers:
    """Runs that a Worker takes from the queue."""

    def __init__(self, runtime: TellingRuntime) -> None:
        self._runtime = runtime

    async def start(self, thread: str, text: str) -> Any:
        run = await self._runtime.start("cycle", {"text": text}, thread_id=thread)
        assert (await self._runtime.rests(run)).status == "interrupted"
        # Which question it is stands on the card that the bot draws.
        (question,) = (await self._runtime.look(run.id)).open
        return run, question.interrupt.id

    async def finish(self, question: Any) -> None:
        run, interrupt_id = question
        await self._runtime.resume(run.thread_id, run.id, interrupt_id, "yes")
        assert (await self._runtime.rests(run)).status == "completed"

    async def chain(self, thread: str) -> None:
        await self._through("chain", {"text": "x" * 2_000, "count": 0}, thread)

    async def fan(self, thread: str) -> None:
        await self._through("fan", {"number": 0}, thread)

    async def _through(self, graph: str, given: Any, thread: str) -> None:
        run = await self._runtime.start(graph, given, thread_id=thread)
        assert (await self._runtime.rests(run)).status == "completed"


class Face:
    """Runs that drive themselves, through LangGraph's names."""

    def __init__(self, saver: AsyncSqliteSaver) -> None:
        self._cycle = cycle_graph().compile(checkpointer=saver, name="cycle")
        self._chain = chain_graph().compile(checkpointer=saver, name="chain")
        self._fan = fan_graph().compile(checkpointer=saver, name="fan")

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
        return await graph.ainvoke(
            given, {"configurable": {"thread_id": thread}, "recursion_limit": 1_000}, durability="async"
        )


@asynccontextmanager
async def open_session(variant: str, path: Path) -> AsyncIterator[Session]:
    if variant == "async":
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
            yield Face(saver)
        return
    graphs = [
        cycle_graph().compile(name="cycle"),
        chain_graph().compile(name="chain"),
        fan_graph().compile(name="fan"),
    ]
    stop = asyncio.Event()
    async with open_store(f"sqlite:///{path}") as store, asyncio.TaskGroup() as house:
        runtime = TellingRuntime(store, graphs)
        house.create_task(Worker(runtime, Approvals(runtime, NoDirectory())).work(stop))
        yield Workers(runtime)
        stop.set()
        runtime.runs_bell.ring()


if __name__ == "__main__":
    set_up_logs("json")
    serve(open_session)
