"""One life of a program on a database: its graphs, its moves, and what it was told, written down at once.

A life may end anywhere. The next one is an hour later, so that every lease of the one before has lapsed; it
looks at what is stored and does what is still to be done.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from graphs import Log, one_after_another, review_then_publish, side_by_side
from people import CLI, approvals_of, boss, requests, ticket_of

from graph_runtime import (
    START,
    Action,
    Command,
    CommitUnknown,
    CompiledGraph,
    LeaseLost,
    NotDone,
    Outbox,
    OutboxEntry,
    Place,
    Refused,
    Run,
    Runtime,
    StateGraph,
    Store,
    StoreUnavailable,
    approve,
    current_task,
    execute_once,
    interrupt,
    open_store,
    step,
    wait_until,
)
from graph_runtime.storage import Batch

#: 2026-01-05 09:00:00 UTC.
BEGINNING = 1_767_603_600_000_000
SECOND = 1_000_000
HOUR = 3_600


class World:
    """A program that is alive."""

    def __init__(self, store: Store, folder: Path, life: int, *, asking: bool = True, name: str = "") -> None:
        self.store, self.folder = store, folder
        self.now = BEGINNING + life * HOUR * SECOND
        self.runtime = Runtime(
            store,
            graphs(self),
            companions=[requests()] if asking else [],
            clock=self.clock,
            owner=f"life {life} {name}",
        )
        self.approvals, self.outbox = approvals_of(self.runtime), Outbox(self.runtime)
        self._acks = _open(folder / "acks")
        self._sent = _open(folder / "sent")
        self._ran = _open(folder / "ran")

    def clock(self) -> int:
        """No two moments of a life are the same."""
        self.now += 1
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    def close(self) -> None:
        for file in (self._acks, self._sent, self._ran):
            os.close(file)

    # -- what it writes down -----------------------------------------------------------------------------

    def ack(self, *words: str) -> None:
        """Note what it was told just now. A kill takes nothing of it away, and it is not the database's disk."""
        os.write(self._acks, (json.dumps(words) + "\n").encode())

    def send(self, key: str, body: str) -> None:
        """Do something outside, under a key by which the other side knows it again."""
        os.write(self._sent, (json.dumps([key, body]) + "\n").encode())

    def told(self) -> list[str]:
        """Return the keys under which something was paid outside, each as often as it was."""
        said = (json.loads(line) for line in (self.folder / "sent").read_text().splitlines())
        return [key for key, body in said if body == "paid"]

    def ran(self, node: str) -> None:
        os.write(self._ran, (node + "\n").encode())

    # -- what it does ------------------------------------------------------------------------------------

    async def start(self, graph: str, by: Runtime | None = None, thread: str = "") -> Run:
        """Start the one run of that graph and thread, if this has not been done."""
        thread = thread or graph
        given = {"subject": thread}
        run = await (by or self.runtime).start(graph, given, thread_id=thread, idempotency_key=thread)
        self.ack("started", run.id, thread)
        return run

    async def last(self, thread: str) -> Run:
        run = await self.runtime.last_run(thread)
        assert run is not None, f"there is no run of {thread}"
        return run

    async def drive(self) -> None:
        """Drive every run that can be claimed until it rests."""
        while (claimed := await self.runtime.claim()) is not None:
            rested = await self.runtime.drive(claimed)
            if not rested.live:
                self.ack("ended", rested.id, rested.status, rested.thread_id)

    async def decide(self, verdict: Any = "approve", *, title: str = "", reason: str | None = None) -> None:
        """Click on every open card, or on the one of that title."""
        for request in await self.approvals.find(status="open"):
            if title in {"", request.title}:
                await self.click(request.id, verdict, reason)

    async def click(self, request_id: str, verdict: Any, reason: str | None = None) -> None:
        view = await self.approvals.view(request_id)
        assert view is not None
        try:
            await self.approvals.decide(
                ticket_of(view, self.store), boss(), verdict, place=CLI, reason=reason or "because"
            )
        except Refused as refused:
            if refused.code != "ALREADY_DECIDED":
                raise
            return
        self.ack("decided", request_id, "U_BOSS", verdict, view.request.thread_id)

    async def answer(self, thread: str, said: Any) -> None:
        """Answer every open question of the thread's run, as a program does."""
        run = await self.last(thread)
        for question in (await self.runtime.look(run.id)).open:
            await self.runtime.resume(thread, run.id, question.interrupt.id, said)
            if isinstance(said, int):
                # Any other answer does not fit, and is not kept.
                self.ack("answered", question.interrupt.id, str(said), thread)

    async def deliver(self) -> None:
        """Tell the outside everything that may be told now."""
        while (entry := await self.outbox.claim()) is not None:
            await self.tell(entry)

    async def tell(self, entry: OutboxEntry, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
        """Draw an entry from present state, send it, and note where it landed; something may come in between."""
        await self.outbox.take_turn("C1", 0)
        view = await self.approvals.view(entry.request_id)
        assert view is not None
        body = f"{view.request.status} {view.request.digest}"
        if entry.kind != "card":
            body = json.dumps(dict(entry.payload), sort_keys=True)
        if meanwhile is not None:
            await meanwhile()
        # What is wanted of a card counts up with everything that changes it.
        self.send(f"{entry.id} {entry.wanted if entry.kind == 'card' else ''}", body)
        await self.outbox.landed(entry, Place("slack", "A1", "T1", "C1", entry.id))
        self.ack("landed", entry.id, view.request.thread_id)

    async def settle(self) -> None:
        """Come to where nothing is left to be done by itself."""
        await self.drive()
        await self.deliver()
        # A card that was overtaken is drawn once more a little later.
        self.pass_seconds(60)
        await self.deliver()


@contextlib.asynccontextmanager
async def alive(folder: Path, life: int, *, asking: bool = True, name: str = "") -> AsyncIterator[World]:
    """Yield a program on the database of this folder."""
    async with open_store(f"sqlite:///{folder}/signoff.db") as store:
        world = World(store, folder, life, asking=asking, name=name)
        try:
            yield world
        finally:
            world.close()


def _open(file: Path) -> int:
    return os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)


# -- graphs --------------------------------------------------------------------------------------------------


def graphs(world: World) -> Sequence[CompiledGraph]:
    """Return every graph of these tests, whose nodes note in this world that they ran."""
    return [
        _errand(world),
        _errand(world, "slow", policy="slow"),
        _errand(world, "quorum", policy="two"),
        _errand(world, "auto", policy="auto"),
        _errand(world, "limited", policy="limited"),
        _errand(world, "reminded", policy="reminded"),
        _batch(world),
        _pair(world),
        _steps(world),
        _nested(world),
        _fragile(world),
        _typed(world),
        _guarded(world),
        _passing(world),
        review_then_publish(),
    ]


def _ask(world: World, title: str, policy: str = "default") -> Callable[[Log], Any]:
    async def ask(state: Log) -> Log:
        world.ran(f"ask {title}")
        action = Action("go", {"subject": state["subject"]})
        said = approve(title, action=action, policy=policy, facts={"risk": "low"})
        return {"log": [f"{title} {said.outcome}"]}

    return ask


def _carry_out(world: World) -> Callable[[Log], Any]:
    async def carry_out(state: Log) -> Log:
        world.ran("carry_out")

        async def pay() -> str:
            world.send(current_task().id, state["subject"])
            return state["subject"]

        return {"log": [f"paid {await step('pay', pay)}"]}

    return carry_out


def _errand(world: World, name: str = "errand", policy: str = "default") -> CompiledGraph:
    """Prepare, ask, and do something outside, once."""

    async def prepare(state: Log) -> Log:
        world.ran("prepare")
        return {"log": ["prepared"]}

    return one_after_another(
        name, prepare=prepare, ask=_ask(world, name, policy), carry_out=_carry_out(world)
    )


def _batch(world: World) -> CompiledGraph:
    """Prepare, ask for three calls at once as LangChain does, and do something outside, once."""
    calls = [{"name": f"t{number}", "args": {"n": number}} for number in (1, 2, 3)]
    allowed = [{"action_name": call["name"], "allowed_decisions": ["approve", "reject"]} for call in calls]

    async def prepare(state: Log) -> Log:
        world.ran("prepare")
        return {"log": ["prepared"]}

    async def ask(state: Log) -> Log:
        said = interrupt({"action_requests": calls, "review_configs": allowed})["decisions"]
        return {"log": [" ".join(one["type"] for one in said)]}

    return one_after_another("batch", prepare=prepare, ask=ask, carry_out=_carry_out(world))


def _guarded(world: World) -> CompiledGraph:
    """Ask, wait for a time, and carry out once what was approved; the other side knows its keys."""

    async def ask(state: Log) -> Log:
        said = approve("guarded", action=Action("go", {"subject": state["subject"]}))
        return {"answer": said, "log": [f"guarded {said.outcome}"]}

    async def wait(state: Log) -> Log:
        wait_until(datetime.fromtimestamp(BEGINNING / SECOND, UTC) + timedelta(hours=1))
        return {"log": ["waited"]}

    return one_after_another("guarded", ask=ask, wait=wait, carry_out=_paid_once(world))


def _passing(world: World) -> CompiledGraph:
    """Ask, and carry out once what was approved; the policy lets somebody past a freeze."""

    async def ask(state: Log) -> Log:
        said = approve("passing", action=Action("go", {"subject": state["subject"]}), policy="passed")
        return {"answer": said, "log": [f"passing {said.outcome}"]}

    return one_after_another("passing", ask=ask, carry_out=_paid_once(world))


def _paid_once(world: World) -> Callable[[Log], Awaitable[Log]]:
    async def pay(key: str) -> str:
        world.send(key, "paid")
        return "paid once"

    async def look(key: str) -> str:
        if key not in world.told():
            raise NotDone("the other side knows nothing of it")
        return "paid once"

    async def carry_out(state: Log) -> Log:
        return {"log": [await execute_once(state["answer"].grant, pay, reconcile=look)]}

    return carry_out


def _pair(world: World) -> CompiledGraph:
    """Two questions in one step beside a node that asks nothing, and what follows all three."""

    async def plain(state: Log) -> Log:
        world.ran("plain")
        return {"log": ["plain"]}

    graph = StateGraph(Log)
    nodes = {"plain": plain, "ask_a": _ask(world, "a"), "ask_b": _ask(world, "b")}
    for name, node in nodes.items():
        graph.add_node(name, node).add_edge(START, name)
    graph.add_node("after", _carry_out(world)).add_edge([*nodes], "after")
    return graph.compile(name="pair")


def _steps(world: World) -> CompiledGraph:
    """Goes round by goto, twice, then ends."""

    async def count(state: Log) -> Command[Any]:
        world.ran("count")
        seen = len([word for word in state.get("log", []) if word == "counted"])
        return Command(goto="count" if seen < 2 else "last", update={"log": ["counted"]})

    async def last(state: Log) -> Log:
        world.ran("last")
        return {"log": ["last"]}

    graph = StateGraph(Log).add_node("count", count, destinations=("count", "last")).add_node("last", last)
    return graph.add_edge(START, "count").compile(name="steps")


def _nested(world: World) -> CompiledGraph:
    """A graph in a graph, which asks."""
    inner = one_after_another("inner", first=lambda state: {"log": ["first"]}, ask=_ask(world, "inside"))
    return one_after_another("nested", inner=inner, after=_carry_out(world))


def _fragile(world: World) -> CompiledGraph:
    """Fails until somebody has mended it, beside a node that does not."""

    async def breaks(state: Log) -> Log:
        world.ran("breaks")
        if not (world.folder / "mended").exists():
            raise ValueError("it is broken")
        return {"log": ["whole"]}

    return side_by_side("fragile", breaks=breaks, holds=lambda state: {"log": ["held"]})


def _typed(world: World) -> CompiledGraph:
    """Asks for a number, and takes nothing else."""

    async def ask(state: Log) -> Log:
        return {"answer": interrupt("How many?", response_schema=int)}

    return one_after_another("typed", ask=ask, last=lambda state: {"log": [f"{state['answer']}"]})


#: What the contract of a store lets a program meet, and what its caller may do to it.
TOLERATED = (StoreUnavailable, CommitUnknown, LeaseLost, asyncio.CancelledError)


async def again_after_errors(
    world: World, play: Callable[[World], Any], said: list[str], told: IO[str] | None
) -> None:
    """Play until it comes to its end without an error; note what was said before that.

    What the contract names may be raised: the database is away, or nobody knows, or the caller was cancelled.
    """
    for _ in range(1_000 if told else 5):
        playing = asyncio.create_task(play(world))
        (outcome,) = await asyncio.gather(playing, return_exceptions=True)
        if outcome is None:
            return
        if not isinstance(outcome, TOLERATED):
            raise outcome
        await note(outcome, said, told)
        # Whoever opens the database once more does not meet the same fault again.
        os.environ.pop("SIGNOFF_FAULT", None)
        # Who was cancelled left his batch on its way; after this one it has arrived.
        with contextlib.suppress(StoreUnavailable):
            await world.store.commit(Batch("after an error", ()))
        world.pass_seconds(HOUR)
    raise AssertionError(f"it did not heal: {said}")


async def note(error: BaseException, said: list[str], told: IO[str] | None) -> None:
    """Note what a program was told, and say so to whoever listens; then the next try is a moment later."""
    said.append(f"{type(error).__name__}: {error}")
    if told is not None:
        if not told.closed:
            told.write(f"{said[-1]}\n")
            told.close()
        await asyncio.sleep(0.01)
