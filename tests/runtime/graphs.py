"""Small graphs, and the few moves that most tests of the runtime make."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypedDict

from graph_runtime import (
    END,
    START,
    Command,
    CompiledGraph,
    Event,
    Run,
    Runtime,
    StateGraph,
    Store,
    interrupt,
)
from graph_runtime.records import read_event
from graph_runtime.storage import Ask

#: More rows than any test makes.
ALL = 100_000


class Log(TypedDict, total=False):
    """A state for tests: a plain key, another one, and a list that everybody may write."""

    subject: str
    answer: Any
    log: Annotated[list[Any], operator.add]


class Count:
    """Counts how often each node ran."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def __call__(self, node: str) -> None:
        self.of[node] += 1

    @property
    def all(self) -> int:
        return self.of.total()


def side_by_side(name: str = "graph", **nodes: Callable[..., Any]) -> CompiledGraph:
    """Return a graph whose nodes all run in the first step."""
    graph = StateGraph(Log)
    for node, action in nodes.items():
        graph.add_node(node, action)
        graph.add_edge(START, node)
    return graph.compile(name=name)


def one_after_another(name: str = "graph", **nodes: Callable[..., Any]) -> CompiledGraph:
    """Return a graph whose nodes run in the order given."""
    graph = StateGraph(Log).add_sequence(list(nodes.items()))
    return graph.add_edge(START, next(iter(nodes))).compile(name=name)


def review_then_publish(count: Count | None = None) -> CompiledGraph:
    """Return the worked example: ``review`` asks, then steers to ``publish`` or ``stop``."""
    ran = count or Count()

    async def review(state: Log) -> Command[Any]:
        ran("review")
        answer = interrupt({"question": "Publish?", "subject": state["subject"]})
        goto = "publish" if answer["decision"] == "approve" else "stop"
        return Command(goto=goto, update={"answer": answer, "log": ["reviewed"]})

    async def publish(state: Log) -> dict[str, Any]:
        ran("publish")
        return {"log": [f"published {state['subject']}"]}

    async def stop(state: Log) -> dict[str, Any]:
        ran("stop")
        return {"log": ["stopped"]}

    graph = StateGraph(Log).add_node(review).add_node(publish).add_node(stop)
    graph.add_edge(START, "review").add_edge("publish", END).add_edge("stop", END)
    return graph.compile(name="review")


async def begin(runtime: Runtime, given: Any = None, **more: Any) -> Run:
    """Start a run of the runtime's first graph and drive it until it rests."""
    graph = more.pop("graph", next(iter(runtime.graphs)))
    run = await runtime.start(graph, given or {"subject": "s"}, **more)
    return await runtime.advance(run.id)


async def open_ids(runtime: Runtime, run: Run) -> dict[Any, str]:
    """Return the ids of the open questions by what they ask (its text, for values that cannot be keys)."""
    view = await runtime.look(run.id)
    asked = [q.interrupt for q in view.open]
    return {i.value if isinstance(i.value, str | int | None) else str(i.value): i.id for i in asked}


async def answer(runtime: Runtime, run: Run, answers: Mapping[Any, Any]) -> Run:
    """Answer open questions by what they ask, then drive the run until it rests."""
    ids = await open_ids(runtime, run)
    for asked, said in answers.items():
        await runtime.resume(run.thread_id, run.id, ids[asked], said)
    return await runtime.advance(run.id)


async def answer_only(runtime: Runtime, run: Run, said: Any, *, actor: str | None = None) -> Run:
    """Answer the one open question, then drive the run until it rests."""
    (asked,) = (await runtime.look(run.id)).open
    await runtime.resume(run.thread_id, run.id, asked.interrupt.id, said, actor=actor)
    return await runtime.advance(run.id)


async def values(runtime: Runtime, run: Run) -> Mapping[str, Any]:
    """Return the run's state values as they are now."""
    return (await runtime.look(run.id)).state.values


async def events(store: Store, *, run_id: str = "", request_id: str = "", kind: str = "") -> list[Event]:
    """Return the lines of the journal, oldest first."""
    if request_id:
        ask = Ask("find_events_of_request", {"request_id": request_id, "limit": ALL})
    else:
        ask = (
            Ask("find_events_of_run", {"run_id": run_id, "limit": ALL})
            if run_id
            else Ask("find_events", {"limit": ALL})
        )
    (rows,) = await store.read(ask)
    return [event for event in map(read_event, rows) if kind in {"", event.kind}]


async def take_all(runtime: Runtime, most: int = 100) -> int:
    """Claim and drive runs until none can be claimed; return how many claims that took.

    Fails after ``most``: a run that is queued again and again for nothing is a bug.
    """
    for taken in range(most):
        run = await runtime.claim()
        if run is None:
            return taken
        await runtime.drive(run)
    raise AssertionError(f"runs were still being claimed after {most} claims")
