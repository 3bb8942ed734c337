"""Apache Burr with its AsyncSQLitePersister: as shipped (rollback journal), or on a database in WAL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from burr.core import Application, ApplicationBuilder, ApplicationContext, State, action
from burr.core.graph import Graph, GraphBuilder
from burr.core.parallelism import MapStates
from burr.integrations.persisters.b_aiosqlite import AsyncSQLitePersister

from benchmarks.peers.driver import serve
from benchmarks.peers.workloads import CHAIN, FAN


@action(reads=["log"], writes=["title", "log"])
async def prepare(state: State, entries: list[str]) -> State:
    return state.update(title="prepared").extend(log=entries)


@action(reads=["log"], writes=["answer", "log"])
async def review(state: State, answer: str, entries: list[str]) -> State:
    return state.update(answer=answer).extend(log=entries)


@action(reads=["answer", "log"], writes=["done", "log"])
async def publish(state: State, entries: list[str]) -> State:
    return state.update(done=True).extend(log=entries)


@action(reads=["count"], writes=["count"])
async def count(state: State) -> State:
    return state.update(count=state["count"] + 1)


@action(reads=[], writes=["found"])
async def plan(state: State) -> State:
    return state.update(found=[])


@action(reads=["number"], writes=["result"])
async def work(state: State) -> State:
    return state.update(result=state["number"])


class Fan(MapStates):
    def is_async(self) -> bool:
        return True

    def action(self, state: State, inputs: dict[str, Any]) -> Any:
        return work

    async def states(self, state: State, context: ApplicationContext, inputs: dict[str, Any]) -> Any:
        for number in range(FAN):
            yield state.update(number=number)

    async def reduce(self, state: State, states: Any) -> State:
        return state.update(found=[one["result"] async for one in states])

    @property
    def reads(self) -> list[str]:
        return []

    @property
    def writes(self) -> list[str]:
        return ["found"]


def line(**actions: Any) -> GraphBuilder:
    return GraphBuilder().with_actions(**actions).with_transitions(*pairwise(actions))


def cycle(entries: list[str]) -> Graph:
    """Return prepare -> review -> publish, and round again: the thread's next cycle goes on from its last."""
    actions = {"prepare": prepare, "review": review, "publish": publish}
    steps = line(**{name: one.bind(entries=entries) for name, one in actions.items()})
    return steps.with_transitions(("publish", "prepare")).build()


#: Threads that have a cycle behind them, by database.
_known: set[tuple[Path, str]] = set()


class Burr:
    def __init__(self, persister: AsyncSQLitePersister, path: Path) -> None:
        self._persister = persister
        self._path = path
        self._cycles = {"cycle": cycle([]), "log": cycle(["an entry"])}
        self._chain = line(**{f"n{number}": count for number in range(CHAIN)}).build()
        self._fan = line(plan=plan, fan=Fan()).build()

    async def start(self, thread: str, text: str, graph: str) -> tuple[str, str]:
        if (self._path, thread) in _known:
            app = await self._stored(thread, graph)
        else:
            app = await self._new(self._cycles[graph], thread, "prepare", {"text": text, "log": []})
        _known.add((self._path, thread))
        await app.arun(halt_before=["review"])
        return thread, graph

    async def finish(self, question: tuple[str, str]) -> None:
        app = await self._stored(*question)
        _, _, state = await app.arun(halt_after=["publish"], inputs={"answer": "yes"})
        assert state["done"]

    async def chain(self, thread: str) -> None:
        app = await self._new(self._chain, thread, "n0", {"text": "x" * 2_000, "count": 0})
        _, _, state = await app.arun(halt_after=[f"n{CHAIN - 1}"])
        assert state["count"] == CHAIN

    async def fan(self, thread: str) -> None:
        app = await self._new(self._fan, thread, "plan", {})
        _, _, state = await app.arun(halt_after=["fan"])
        assert len(state["found"]) == FAN

    async def pending(self, limit: int) -> Sequence[tuple[str, str]]:
        """List every thread and read the first ones: there is no query for who is paused."""
        found = []
        for thread in await self._persister.list_app_ids():
            stored = await self._persister.load("", thread)
            if stored is not None and stored["position"] == "prepare":
                found.append((thread, "cycle"))
                if len(found) == limit:
                    break
        return found

    async def _new(self, graph: Graph, thread: str, first: str, state: dict[str, Any]) -> Application:
        builder = self._builder(graph, thread)
        return await builder.with_entrypoint(first).with_state(**state).abuild()

    async def _stored(self, thread: str, graph: str) -> Application:
        builder = self._builder(self._cycles[graph], thread)
        return await builder.initialize_from(
            self._persister, resume_at_next_action=True, default_state={}, default_entrypoint="prepare"
        ).abuild()

    def _builder(self, graph: Graph, thread: str) -> ApplicationBuilder:
        builder = ApplicationBuilder().with_graph(graph).with_identifiers(app_id=thread)
        return builder.with_state_persister(self._persister)


@asynccontextmanager
async def open_session(variant: str, path: Path) -> AsyncIterator[Burr]:
    async with AsyncSQLitePersister.from_values(db_path=str(path)) as persister:
        if variant == "wal":
            await persister.connection.execute_fetchall("PRAGMA journal_mode=WAL")
        await persister.initialize()
        yield Burr(persister, path)


if __name__ == "__main__":
    serve(open_session)
