"""The drawn graph made real, the world its nodes act on, and the door at which a process is stopped or dies.

The world outlives every process: it counts what nodes and the functions of ``step()`` really did.
"""

from __future__ import annotations

import asyncio
import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from drawn import Ask, AskTwo, Branch, Fail, Fate, Graph, Inner, Move, Node, Spread, Step

from graph_runtime import (
    CompiledGraph,
    LeaseLost,
    RetryPolicy,
    Runtime,
    Send,
    StateGraph,
    Store,
    get_config,
    interrupt,
    step,
)
from graph_runtime.storage import Ask as Query
from graph_runtime.storage import Batch, Row


class State(TypedDict, total=False):
    """A list that grows and a number that is summed; ``item`` is what a Send passes."""

    log: Annotated[list[Any], operator.add]
    total: Annotated[int, operator.add]
    item: int


class Broken(Exception):
    """What a node raises that is drawn to fail."""


class Died(BaseException):
    """The process is no more: nothing of it is written after this."""


# -- processes ----------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Process:
    """One process: its runtime, and whether it lives."""

    number: int
    runtime: Runtime
    dead: bool = False


@dataclass(eq=False)
class Doing:
    """One thing that a process does: it may be stopped at one of its commits, or die there."""

    process: Process
    fate: Fate | None = None
    commits: int = 0
    #: Where it was stopped or died, in words; empty while it was not.
    at: str = ""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def stopped(self) -> bool:
        return self.reached.is_set() and not self.gate.is_set()

    async def passes(self) -> None:
        """Return when the process may go on. A stopped one stands still as a whole. Raises :class:`Died`."""
        if self.stopped:
            await self.gate.wait()
        if self.process.dead:
            raise Died

    async def reaches(self, side: str, commit: int, batch: str) -> None:
        """Stop or die here, if this is the place."""
        fate = self.fate
        # A refusal changes nothing, so nothing can change under it that would be worth a wait.
        waits = fate is not None and (fate.dies or batch != "refuse")
        if fate is not None and waits and (fate.commit, fate.side) == (commit, side) and not self.at:
            self.at = f"{side} {batch}"
            self.process.dead = fate.dies
            self.reached.set()
            if fate.dies:
                self.gate.set()
        await self.passes()


doing: ContextVar[Doing] = ContextVar("doing")


class Door:
    """The store as the processes see it: a commit is the only place at which a crash can be told from another."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.deployment = store.deployment

    async def commit(self, batch: Batch) -> Sequence[Sequence[Row]]:
        """Commit, unless the process is stopped or dies on this side of it or the other."""
        own = doing.get()
        await own.passes()
        own.commits += 1
        commit = own.commits
        await own.reaches("before", commit, batch.name)
        rows = await self._store.commit(batch)
        await own.reaches("after", commit, batch.name)
        return rows

    async def read(self, *asks: Query) -> Sequence[Sequence[Row]]:
        """Read, unless the process is stopped or dead."""
        await doing.get().passes()
        return await self._store.read(*asks)


# -- the world ----------------------------------------------------------------------------------------------


@dataclass
class World:
    """What really happened, whoever crashed."""

    #: Executions of each task, by its id.
    ran: Counter[str] = field(default_factory=Counter)
    #: Calls of each function given to step(), by task and place in the node.
    steps: Counter[tuple[str, int]] = field(default_factory=Counter)
    #: Those of them whose record was lost with the process, or refused because another one drives.
    lost: Counter[tuple[str, int]] = field(default_factory=Counter)
    #: Those that may yet be recorded or lost.
    under_way: Counter[tuple[str, int]] = field(default_factory=Counter)
    fails: Counter[tuple[str, int]] = field(default_factory=Counter)
    #: Which question each answer was given to: run, task and number of the question.
    given: defaultdict[Any, set[tuple[str, str, int]]] = field(default_factory=lambda: defaultdict(set))
    #: Tasks whose last attempt raised, by what was being done.
    broken: defaultdict[Doing, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: Tasks known to be on disk as finished, and who may run them nevertheless: it does not know.
    finished: set[str] = field(default_factory=set)
    overtaken: set[Doing] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def enters(self, node: str, task: str) -> None:
        """Count an execution of a task."""
        self.ran[task] += 1
        if task in self.finished and doing.get() not in self.overtaken:
            self.wrong.append(f"task {task} of {node} ran again, although its result was on disk")

    def takes(self, answer: Any, run: str, task: str, number: int) -> Any:
        """Note which question an answer reached."""
        self.given[answer].add((run, task, number))
        return answer

    async def steps_once(self, node: str, task: str, place: int) -> Any:
        """Call a function through ``step()``; what it returns can be foretold."""
        called = 0

        def function() -> str:
            nonlocal called
            called += 1
            self.steps[task, place] += 1
            self.under_way[task, place] += 1
            return f"step {place} of {node}"

        try:
            return await step("once", function, key=str(place))
        except (Died, LeaseLost):
            self.lost[task, place] += called
            raise
        except asyncio.CancelledError:
            # A task that is cancelled for its sibling's failure has its record on the way; a process that was
            # stopped at the door, has died or has lost the run has not.
            own = doing.get()
            self.lost[task, place] += called * (bool(own.at) or own.process.dead or own in self.overtaken)
            raise
        finally:
            self.under_way[task, place] -= called

    def fails_here(self, task: str, place: int, times: int) -> None:
        """Raise the first ``times`` times."""
        self.fails[task, place] += 1
        if self.fails[task, place] <= times:
            raise Broken(f"for the {self.fails[task, place]}. time of {times}")


# -- graphs -------------------------------------------------------------------------------------------------


def question(node: str, number: int, item: Any, total: Any) -> dict[str, Any]:
    """Return what a node asks."""
    return {"node": node, "number": number, "item": item, "total": total}


def compiled(graph: Graph, world: World, name: str = "graph") -> CompiledGraph:
    """Return the graph that the drawn one stands for."""
    builder = StateGraph(State)
    for node in graph.nodes:
        retries = RetryPolicy(initial_interval=0, max_attempts=2, jitter=False, retry_on=Broken)
        builder.add_node(node.name, _body(node, world), retry_policy=retries if node.again else None)
    for source, target in graph.edges:
        builder.add_edge(source, target)
    for sources, target in graph.joins:
        builder.add_edge(sources, target)
    for number, branch in enumerate(graph.branches):
        choose = _chooser(branch)
        choose.__name__ = f"choose_{number}"
        builder.add_conditional_edges(branch.source, choose)
    return builder.compile(name=name)


def _chooser(branch: Branch) -> Callable[[Any], Any]:
    def choose(state):
        way = branch.ways[state["total"] % len(branch.ways)]
        targets: list[Any] = []
        for target in way:
            if isinstance(target, Spread):
                targets += [Send(target.node, {"item": item}) for item in range(target.times)]
            else:
                targets.append(target)
        return targets

    return choose


def _body(node: Node, world: World) -> Callable[[Any], Any]:
    inner = {
        place: compiled(move.graph, world, f"{node.name}{place}")
        for place, move in enumerate(node.moves)
        if isinstance(move, Inner)
    }

    async def body(state):
        task = get_config()["configurable"]["task_id"]
        broken = world.broken[doing.get()]
        broken.discard(task)
        world.enters(node.name, task)
        try:
            entry = [node.name, state.get("item"), state.get("total")]
            asked = 0
            for place, move in enumerate(node.moves):
                # A node of a process that has just died does nothing more.
                await doing.get().passes()
                made = await _make(move, node, state, place, asked, world, inner.get(place))
                entry += made
                asked += len(made) if isinstance(move, Ask | AskTwo) else 0
        except Broken:
            broken.add(task)
            raise
        return {"log": [entry], "total": node.weight}

    return body


async def _make(
    move: Move, node: Node, state: Any, place: int, asked: int, world: World, inner: CompiledGraph | None
) -> list[Any]:
    where = get_config()["configurable"]
    run, task = where["run_id"], where["task_id"]

    async def ask(number: int) -> Any:
        value = question(node.name, number, state.get("item"), state.get("total"))
        return world.takes(interrupt(value, key=str(number)), run, task, number)

    if isinstance(move, Ask):
        return [await ask(asked)]
    if isinstance(move, AskTwo):
        return list(await asyncio.gather(ask(asked), ask(asked + 1)))
    if isinstance(move, Step):
        return [await world.steps_once(node.name, task, place)]
    if isinstance(move, Fail):
        world.fails_here(task, place, move.times)
        return []
    assert inner is not None
    return [(await inner.ainvoke({"total": place}))["log"]]
