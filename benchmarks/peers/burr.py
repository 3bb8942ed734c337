"""Apache Burr with its AsyncSQLitePersister: as shipped (rollback journal), or on a database in WAL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from burr.core import Application, ApplicationBuilder, ApplicationContext, State, action
from burr.core.graph import Graph, GraphBuilder
from burr.core.parallelism import MapStates
from burr.integrations.persisters.b_aiosqlite import AsyncSQLitePersister

from benchmarks.peers.driver import CHAIN, FAN, serve


@action(reads=[], writes=["title"])
async def prepare(state: State) -> State:
    return state.update(title="prepared")


@action(reads=[], writes=["answer"])
async def review(state: State, answer: str) -> State:
    return state.update(answer=answer)


@action(reads=["answer"], writes=["done"])
async def publish(state: State) -> State:
    return state.update(done=True)


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


def line(**actions: Any) -> Graph:
    names = list(actions)
    return GraphBuilder().with_actions(**actions).with_transitions(*pairwise(names)).build()


class Burr:
    def __init__(self, persister: AsyncSQLitePersister) -> None:
        self._persister = persister
        self._cycle = line(prepare=prepare, review=review, publish=publish)
        self._chain = line(**{f"n{number}": count for number in range(CHAIN)})
        self._fan = line(plan=plan, fan=Fan())
        self._known: set[str] = set()

    async def start(self, thread: str, text: str) -> str:
        if thread in self._known:
            app = await self._stored(thread, goes_on=False)
        else:
            app = await self._new(self._cycle, thread, "prepare", {"text": text})
        self._known.add(thread)
        await app.arun(halt_before=["review"])
        return thread

    async def finish(self, question: str) -> None:
        app = await self._stored(question, goes_on=True)
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

    async def _new(self, graph: Graph, thread: str, first: str, state: dict[str, Any]) -> Application:
        builder = self._builder(graph, thread)
        return await builder.with_entrypoint(first).with_state(**state).abuild()

    async def _stored(self, thread: str, *, goes_on: bool) -> Application:
        builder = self._builder(self._cycle, thread)
        return await builder.initialize_from(
            self._persister, resume_at_next_action=goes_on, default_state={}, default_entrypoint="prepare"
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
        yield Burr(persister)


if __name__ == "__main__":
    serve(open_session)
