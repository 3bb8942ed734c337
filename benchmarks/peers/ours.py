"""signoff's runtime as the bot drives it, and by LangGraph's names.

``sync``: a Worker claims each run from the queue under a lease and drives it, in a process set up as that of
``signoff serve``; all that is added is that whoever waits for a run is told when it rests. ``request``: the
same with the bot's companion, so that each question has its approval request and is answered by a decision.
``async``: a compiled graph with AsyncSqliteSaver drives its own runs, in its default durability.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from benchmarks.peers.driver import serve
from benchmarks.peers.workloads import CHAIN, FAN, Session
from bot.collector import collecting_seldom
from bot.logs import set_up_logs
from graph_runtime import (
    END,
    START,
    Actor,
    Approvals,
    AsyncSqliteSaver,
    Command,
    Place,
    Policy,
    Requests,
    Reviewer,
    Run,
    Runtime,
    Send,
    StateGraph,
    Ticket,
    Worker,
    interrupt,
    open_store,
)
from graph_runtime.types import GroupId, PersonId

REVIEWER = PersonId("U0ALICE")


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


def cycle_graph(schema: type, entries: tuple[str, ...]) -> StateGraph:
    """Return prepare -> review -> publish; each node appends the entries to the state's log."""
    log = {"log": list(entries)} if entries else {}

    async def prepare(state: State) -> dict[str, Any]:
        return {"title": "prepared", **log}

    async def review(state: State) -> Command[str]:
        answer = interrupt({"question": "Publish?"})
        return Command(goto="publish" if _agreed(answer) else END, update=log)

    async def publish(state: State) -> dict[str, Any]:
        return {"done": True, **log}

    return (
        StateGraph(schema)
        .add_node(prepare)
        .add_node(review)
        .add_node(publish)
        .add_edge(START, "prepare")
        .add_edge("prepare", "review")
    )


def _agreed(answer: Any) -> bool:
    """Say whether it is a yes: bare, or as an approval request answers a plain question."""
    return answer == "yes" or (isinstance(answer, dict) and answer["decision"] == "approve")


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

    async def drive(self, run: Run, call: Any = None, begun: Any = None) -> Run:
        try:
            rested = await super().drive(run, call, begun)
        except Exception as error:
            self._told(run.id).set_exception(error)
            raise
        self._told(run.id).set_result(rested)
        return rested

    async def rests(self, run_id: str) -> Run:
        """Return the run when a worker has taken it to its next rest."""
        rested = await self._told(run_id)
        del self._resting[run_id]
        return rested

    def _told(self, run_id: str) -> asyncio.Future[Run]:
        return self._resting.setdefault(run_id, asyncio.get_running_loop().create_future())


class OneReviewer:
    """A directory that knows one person, at once; the bot's asks Slack and remembers."""

    async def reviewer(self, actor: Actor, groups: Collection[GroupId]) -> Reviewer:
        return Reviewer(actor.id)

    async def members(self, group: GroupId) -> None:
        """Know of nobody."""


class Workers:
    """Runs that a Worker takes from the queue; their questions are bare, and any program may answer them."""

    def __init__(self, runtime: TellingRuntime) -> None:
        self._runtime = runtime

    async def start(self, thread: str, text: str, graph: str) -> Any:
        run = await self._runtime.start(graph, {"text": text}, thread_id=thread)
        rested = await self._runtime.rests(run.id)
        assert rested.status == "interrupted"
        return rested

    async def finish(self, question: Any) -> None:
        (asked,) = await self._runtime.questions(question.id)
        await self._runtime.resume(question.thread_id, question.id, asked.interrupt.id, "yes")
        assert (await self._runtime.rests(question.id)).status == "completed"

    async def chain(self, thread: str) -> None:
        await self._through("chain", {"text": "x" * 2_000, "count": 0}, thread)

    async def fan(self, thread: str) -> None:
        await self._through("fan", {"number": 0}, thread)

    async def pending(self, limit: int) -> Sequence[Any]:
        return await self._runtime.runs(status="interrupted", limit=limit)

    async def _through(self, graph: str, given: Any, thread: str) -> None:
        run = await self._runtime.start(graph, given, thread_id=thread)
        assert (await self._runtime.rests(run.id)).status == "completed"


class Reviewed(Workers):
    """The same with the bot's companion: each question has a request, a card to be shown, and a decision."""

    def __init__(self, runtime: TellingRuntime, approvals: Approvals) -> None:
        super().__init__(runtime)
        self._approvals = approvals

    async def start(self, thread: str, text: str, graph: str) -> Any:
        run = await super().start(thread, text, graph)
        (request,) = await self._approvals.find(run_id=run.id)
        return request

    async def finish(self, question: Any) -> None:
        ids = (question.id, question.thread_id, question.run_id, question.interrupt_id)
        ticket = Ticket(self._runtime.store.deployment, *ids)
        await self._approvals.decide(ticket, Actor(REVIEWER), "approve", place=Place("api"))
        assert (await self._runtime.rests(question.run_id)).status == "completed"

    async def pending(self, limit: int) -> Sequence[Any]:
        return await self._approvals.find(status="open", limit=limit)


class Face:
    """Runs that drive themselves, through LangGraph's names."""

    def __init__(self, saver: AsyncSqliteSaver) -> None:
        self._cycles = {
            "cycle": cycle_graph(State, ()).compile(checkpointer=saver, name="cycle"),
            "log": cycle_graph(Logged, ("an entry",)).compile(checkpointer=saver, name="log"),
        }
        self._chain = chain_graph().compile(checkpointer=saver, name="chain")
        self._fan = fan_graph().compile(checkpointer=saver, name="fan")

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

    async def pending(self, limit: int) -> Sequence[Any]:
        raise NotImplementedError("it lists them as the others of this runtime do")

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
        cycle_graph(State, ()).compile(name="cycle"),
        cycle_graph(Logged, ("an entry",)).compile(name="log"),
        chain_graph().compile(name="chain"),
        fan_graph().compile(name="fan"),
    ]
    companions = [Requests({"default": Policy(people=(REVIEWER,))})] if variant == "request" else []
    stop = asyncio.Event()
    async with open_store(f"sqlite:///{path}") as store, asyncio.TaskGroup() as house:
        runtime = TellingRuntime(store, graphs, companions=companions)
        approvals = Approvals(runtime, OneReviewer())
        house.create_task(Worker(runtime, approvals).work(stop))
        with collecting_seldom():
            yield Reviewed(runtime, approvals) if companions else Workers(runtime)
        stop.set()
        runtime.runs_bell.ring()


if __name__ == "__main__":
    set_up_logs("json")
    serve(open_session)
