"""What is played while something breaks. Each story has a beginning that is always whole, a play that may end
anywhere and is played again until it comes through, and an end that it must come to.

The first six are those at whose every write and flush the program is killed; with the others, every batch that
the program commits has its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from graphs import Log, one_after_another
from living import HOUR, SECOND, World
from people import CLI, People, approvals_of, boss, person, requests, ticket_of

from graph_runtime import (
    START,
    Absences,
    Action,
    Alarms,
    AsyncSqliteSaver,
    Bypasses,
    Erasures,
    Journal,
    NotPaused,
    OperatorAlarm,
    Refused,
    RunFinished,
    Runtime,
    StateGraph,
    Upkeep,
    approve,
)
from graph_runtime.callers import Call

Move = Callable[[World], Awaitable[None]]


@dataclass(frozen=True)
class Story:
    """A beginning, a play and an end."""

    begin: Move
    play: Move
    end: Move
    #: Batches beside whose commit it is broken off; each batch of the packages has one story at least.
    home: tuple[str, ...] = ()
    #: Whether its questions are approval requests.
    asking: bool = True


async def nothing(world: World) -> None:
    return


async def ended(world: World, thread: str, *log: str, by: Runtime | None = None) -> None:
    """The thread's run is completed, has gone its way once, and everything of it has been told."""
    run = await world.last(thread)
    assert run.status == "completed", (run.status, run.error)
    found = (await (by or world.runtime).look(run.id)).state.values["log"]
    assert found == list(log), found
    left = await world.outbox.count()
    assert left.get("pending", 0) == 0, left


# -- the six -------------------------------------------------------------------------------------------------


async def play_start(world: World) -> None:
    await world.start("pair")
    await world.settle()


async def end_start(world: World) -> None:
    run = await world.last("pair")
    assert run.status == "interrupted"
    view = await world.runtime.look(run.id)
    assert [q.status for q in view.open] == ["open", "open"]
    cards = [await world.approvals.view(r.id) for r in await world.approvals.find(run_id=run.id)]
    assert all(card is not None and card.card is not None for card in cards)
    assert len(cards) == 2


async def begin_click(world: World) -> None:
    await world.start("errand")
    await world.settle()


async def play_click(world: World) -> None:
    await world.decide()
    await world.settle()


async def end_click(world: World) -> None:
    await ended(world, "errand", "prepared", "errand approved", "paid errand")


async def play_two(world: World) -> None:
    for title in ("a", "b"):
        await world.decide(title=title)
        await world.drive()
    await world.settle()


async def end_two(world: World) -> None:
    await ended(world, "pair", "a approved", "b approved", "plain", "paid pair")


async def begin_deadline(world: World) -> None:
    await world.start("slow")
    await world.settle()


async def play_deadline(world: World) -> None:
    (request,) = await world.approvals.find(run_id=(await world.last("slow")).id)
    world.now = max(world.now, (request.deadline_at or 0) + 1)
    while await world.approvals.expire_due():
        view = await world.approvals.view(request.id)
        if view is not None and view.request.status == "timed_out":
            world.ack("expired", request.id, "slow")
    await world.settle()


async def end_deadline(world: World) -> None:
    await ended(world, "slow", "prepared", "slow timed_out", "paid slow")


async def begin_post(world: World) -> None:
    await world.start("pair")
    await world.start("errand")
    await world.drive()


async def play_post(world: World) -> None:
    """One entry is told at the second try, one at once, one is put off first, one is given up."""
    while (entry := await world.outbox.claim()) is not None:
        view = await world.approvals.view(entry.request_id)
        title = "" if view is None else view.request.title
        tried = world.folder / f"tried-{entry.id}"
        if title == "errand":
            await world.outbox.park(entry, "the channel is gone")
        elif title == "a" and not tried.exists():
            tried.touch()
            await world.outbox.retry(entry, "HTTP 500", wait=1_000_000)
        elif title == "b" and not tried.exists():
            tried.touch()
            await world.outbox.defer(entry, world.now + 1_000_000)
        else:
            await world.tell(entry)
        world.pass_seconds(2)
    world.pass_seconds(60)
    while (entry := await world.outbox.claim()) is not None:
        await world.tell(entry)


async def end_post(world: World) -> None:
    assert await world.outbox.count() == {"parked": 1}
    found = await world.approvals.find(status="open")
    shown = {r.title: (await world.approvals.view(r.id)) for r in found}
    assert {title: view is not None and view.card is not None for title, view in shown.items()} == {
        "a": True,
        "b": True,
        "errand": False,
    }


async def begin_fork(world: World) -> None:
    await world.start("steps")
    await world.start("fragile")
    await world.drive()
    (world.folder / "mended").touch()


async def play_fork(world: World) -> None:
    """Go on elsewhere from an old checkpoint, round by goto; and again where something failed."""
    run = await world.last("steps")
    if run.origin == "input":
        pages = await world.runtime.history(run.id)
        old = next(page for page in pages if page.step == 1)
        forked = await world.runtime.fork("steps", old.checkpoint_id)
        world.ack("started", forked.id, "steps")
    run = await world.last("fragile")
    if run.status == "failed":
        again = await world.runtime.retry("fragile", run.id)
        world.ack("started", again.id, "fragile")
    await world.settle()


async def end_fork(world: World) -> None:
    await ended(world, "steps", "counted", "counted", "counted", "last")
    await ended(world, "fragile", "whole", "held")
    assert len(await world.runtime.runs()) == 4
    assert (await world.last("steps")).origin == "fork"


SIX = {
    "start-interrupt": Story(nothing, play_start, end_start, ("start", "claim", "task", "pause")),
    "click-resume": Story(begin_click, play_click, end_click, ("decide", "effect", "step", "finish")),
    "two-interrupts": Story(play_start, play_two, end_two, ("decide", "claim", "pause")),
    "deadline": Story(begin_deadline, play_deadline, end_deadline, ("expire",)),
    "outbox-post": Story(
        begin_post,
        play_post,
        end_post,
        ("claim entry", "retry entry", "defer entry", "park entry", "turn", "receipt"),
    ),
    "fork-goto": Story(begin_fork, play_fork, end_fork, ("fork", "retry")),
}

# -- the others ----------------------------------------------------------------------------------------------


async def play_answers(world: World) -> None:
    """A refused answer, an answer that does not fit, and one that does; and a halt between two nodes."""
    await world.start("typed")
    await world.drive()
    run = await world.last("typed")
    if run.status == "interrupted" and run.error is None:
        await world.answer("typed", "many")
        await world.drive()
    run = await world.last("typed")
    if run.status == "interrupted":
        await world.answer("typed", 3)
    await world.drive()
    run = await world.last("typed")
    with contextlib.suppress(RunFinished):
        await world.runtime.resume("typed", run.id, "x", 4)


async def end_answers(world: World) -> None:
    await ended(world, "typed", "3")
    assert "resume.refused" in {event.kind for event in await world.runtime.events()}
    assert [event.kind for event in await world.runtime.events()].count("answer.invalid") == 1


async def play_failing(world: World) -> None:
    await world.start("fragile")
    await world.settle()
    (world.folder / "mended").touch()
    run = await world.last("fragile")
    if run.status == "failed":
        again = await world.runtime.retry("fragile", run.id)
        world.ack("started", again.id, "fragile")
    await world.settle()


async def end_failing(world: World) -> None:
    await ended(world, "fragile", "whole", "held")
    assert [run.origin for run in await world.runtime.runs()] == ["retry", "input"]


async def play_halt(world: World) -> None:
    """A run that is to stop before a node, and is told to go on."""
    run = await world.start("steps")
    claimed = await world.runtime.claim_this(run.id)
    if claimed is not None:
        claimed = await world.runtime.drive(claimed, Call(stop_before=("last",)))
    run = await world.last("steps")
    if run.status == "interrupted":
        with contextlib.suppress(NotPaused):
            await world.runtime.go_on("steps", run.id)
    await world.settle()


async def end_halt(world: World) -> None:
    await ended(world, "steps", "counted", "counted", "counted", "last")


async def play_nested(world: World) -> None:
    await world.start("nested")
    await world.drive()
    await world.decide()
    await world.settle()


async def end_nested(world: World) -> None:
    await ended(world, "nested", "first", "inside approved", "paid nested")


async def begin_withdrawn(world: World) -> None:
    await world.start("slow")
    await world.start("errand")
    await world.settle()


async def play_withdrawn(world: World) -> None:
    """An edit asks anew, a deadline of the old question is let go, the run is cancelled; a forged click."""
    await world.drive()
    run = await world.last("slow")
    if run.live and len(await world.approvals.find(run_id=run.id)) < 2:
        head = await world.runtime.edit("slow", {"log": ["edited"]}, as_node="prepare")
        world.ack("edited", head, "slow")
        await world.drive()
    world.pass_seconds(2 * HOUR)
    while await world.approvals.expire_due():
        pass
    for thread in ("errand", "slow"):
        run = await world.last(thread)
        if run.live:
            cancelled = await world.runtime.cancel(thread, run.id)
            world.ack("ended", cancelled.id, "cancelled", thread)
    await world.settle()


async def end_withdrawn(world: World) -> None:
    run = await world.last("errand")
    assert run.status == "cancelled"
    assert (await world.last("slow")).status in {"cancelled", "completed"}
    statuses = {r.title: r.status for r in await world.approvals.find()}
    assert statuses["errand"] == "withdrawn"
    assert statuses["slow"] in {"withdrawn", "timed_out"}


async def begin_kept(world: World) -> None:
    for graph in ("steps", "fragile", "review"):
        await world.start(graph)
    await world.settle()


async def play_kept(world: World) -> None:
    """A finished thread is let go, and another one deleted; one that waits stays."""
    await world.runtime.prune(keep=1)
    await AsyncSqliteSaver(world.store).adelete_thread("fragile")


async def end_kept(world: World) -> None:
    assert [run.thread_id for run in await world.runtime.runs()] == ["review"]
    kinds = [event.kind for event in await world.runtime.events()]
    assert kinds.count("thread.pruned") == 1
    assert kinds.count("thread.deleted") == 1


async def play_leases(world: World) -> None:
    """A node that takes longer than a third of its lease; and one whose driver is asked to stop."""
    slow = dawdling(world)
    run = await world.start("dawdle", slow)
    while (await world.last("dawdle")).live:
        world.pass_seconds(1)
        claimed = await slow.claim_this(run.id)
        if claimed is None:
            continue
        driving = asyncio.create_task(slow.drive(claimed))
        stopped = world.folder / "stopped"
        if not stopped.exists():
            while not driving.done() and not (world.folder / "begun").exists():
                await asyncio.sleep(0)
            stopped.touch()
            driving.cancel()
            await asyncio.wait({driving})
            continue
        await driving
    await world.settle()


def dawdling(world: World) -> Runtime:
    """Return a runtime with a short lease and a long node."""

    async def dawdle(state: Log) -> Log:
        """Return when the lease was renewed, and somebody has asked for a stop before."""
        run_id = (await world.last("dawdle")).id
        until = (await world.runtime.get(run_id)).lease_until
        (world.folder / "begun").touch()
        while not (world.folder / "stopped").exists():
            await asyncio.sleep(0)
        while (await world.runtime.get(run_id)).lease_until == until:
            await asyncio.sleep(0.001)
        return {"log": ["dawdled"]}

    return Runtime(
        world.store,
        [one_after_another("dawdle", dawdle=dawdle)],
        companions=[requests()],
        clock=world.clock,
        owner=f"dawdler {world.now}",
        lease=SECOND // 20,
    )


async def end_leases(world: World) -> None:
    await ended(world, "dawdle", "dawdled", by=dawdling(world))


def paying(world: World, version: str) -> Runtime:
    """Return a runtime that knows one version of a graph that asks."""

    async def ask(state: Log) -> Log:
        said = approve("pay", action=Action("pay", {"version": version}))
        return {"log": [f"{version} {said.outcome}"]}

    async def ask_twice(state: Log) -> Log:
        return await ask(state)

    graph = StateGraph(Log).add_node("ask", ask if version == "1" else ask_twice).add_edge(START, "ask")
    return Runtime(
        world.store,
        [graph.compile(name="pay", version=version)],
        companions=[requests()],
        clock=world.clock,
        owner=f"{version} {world.now}",
    )


async def begin_migrated(world: World) -> None:
    run = await paying(world, "1").start("pay", {"subject": "s"}, thread_id="pay")
    await paying(world, "1").advance(run.id)
    await world.deliver()


async def play_migrated(world: World) -> None:
    """What a run asks is asked anew by the graph as it is now."""
    runtime = paying(world, "2")
    run = await world.last("pay")
    if not [e for e in await runtime.events(run_id=run.id) if e.kind == "run.migrated"]:
        await runtime.migrate("pay", run.id)
    await runtime.advance(run.id)
    if (await world.last("pay")).live:
        approvals = approvals_of(runtime)
        for request in await approvals.find(status="open"):
            view = await approvals.view(request.id)
            assert view is not None
            await approvals.decide(ticket_of(view, world.store), boss(), "approve", place=CLI)
            world.ack("decided", request.id, "U_BOSS", "approve", "pay")
        await runtime.advance(run.id)
    await world.settle()


async def end_migrated(world: World) -> None:
    await ended(world, "pay", "2 approved", by=paying(world, "2"))
    assert [r.status for r in await world.approvals.find()] == ["superseded", "approved"]


async def begin_restored(world: World) -> None:
    await world.start("errand")
    await world.settle()
    await world.start("steps")


async def play_restored(world: World) -> None:
    """The database was put back: what waits is asked anew, and what was under way waits for somebody."""
    if "database.restored" not in {event.kind for event in await world.runtime.events()}:
        await Upkeep(f"sqlite:///{world.folder}/signoff.db", clock=world.clock).renew()
    await world.drive()
    run = await world.last("steps")
    if run.live:
        await world.runtime.cancel("steps", run.id)
        world.ack("ended", run.id, "cancelled", "steps")
    await world.settle()


async def end_restored(world: World) -> None:
    assert (await world.last("steps")).status == "cancelled"
    # One that had been queued by a renewal which then broke off has moved, as far as the next one knows.
    asked = await world.last("errand")
    assert asked.status in {"interrupted", "needs_attention"}
    statuses = [r.status for r in await world.approvals.find()]
    assert statuses.count("open") == (asked.status == "interrupted")
    assert set(statuses) <= {"open", "superseded"}
    assert "database.restored" in {event.kind for event in await world.runtime.events()}


async def play_guarded(world: World) -> None:
    """What is approved waits for its time and for the end of a freeze, and is carried out once."""
    alarms = Alarms(world.runtime)
    await world.start("guarded")
    begun = world.folder / "begun"
    if not begun.exists():
        with contextlib.suppress(Refused):
            await alarms.freeze("graph:guarded", by="U_ANN", reason="a drill")
        begun.touch()
    await world.drive()
    await world.decide()
    await world.drive()
    run = await world.last("guarded")
    for question in (await world.runtime.look(run.id)).open:
        if question.interrupt.value["type"] == "signoff.timer":
            # A program does not wait: the time that comes then finds nobody.
            await world.runtime.resume("guarded", run.id, question.interrupt.id, None)
    world.pass_seconds(2 * HOUR)
    while await alarms.ring_due():
        pass
    await world.drive()
    for who in ("U_ANN", "U_BEN"):
        with contextlib.suppress(Refused):
            await alarms.release("graph:guarded", by=who)
    await alarms.ring_released()
    await world.drive()
    await world.settle()
    await Erasures(world.runtime.ground).erase("U_ANN", actor="cli:ann")
    journal = journal_of(world)
    while await journal.seal():
        pass


async def play_absent(world: World) -> None:
    """Somebody decides in another's place, and what they approved is let through a freeze."""
    await world.start("passing")
    begun = world.folder / "begun"
    if not begun.exists():
        with contextlib.suppress(Refused):
            await Alarms(world.runtime).freeze("graph:passing", by="U_ANN", reason="a drill")
        begun.touch()
    await world.settle()
    people = People({"G_OPS": ["U_OPS"]})
    (request,) = await world.approvals.find(run_id=(await world.last("passing")).id)
    view = await world.approvals.view(request.id)
    assert view is not None
    with contextlib.suppress(Refused):  # it was made before it broke off
        until = world.now + 24 * HOUR * SECOND
        await Absences(world.runtime, people).delegate("U_BOSS", "U_SUB", until=until, by="U_BOSS")
    with contextlib.suppress(Refused):
        await world.approvals.decide(ticket_of(view, world.store), person("U_SUB"), "approve", place=CLI)
        world.ack("decided", request.id, "U_SUB", "approve", "passing")
    await world.settle()
    with contextlib.suppress(Refused):
        await Bypasses(world.runtime, people).consent(request.id, person("U_OPS"), place=CLI, reason="now")
    await Alarms(world.runtime).ring_released()
    await world.settle()


async def end_absent(world: World) -> None:
    await ended(world, "passing", "passing approved", "paid once")
    assert len(world.told()) == 1, "neither twice nor never"
    (request,) = await world.approvals.find()
    view = await world.approvals.view(request.id)
    assert view is not None
    assert [(vote.reviewer, vote.on_behalf_of) for vote in view.votes] == [("U_SUB", "U_BOSS")]
    kinds = [event.kind for event in await world.runtime.events()]
    assert (kinds.count("delegation.made"), kinds.count("freeze.bypassed")) == (1, 1)


def journal_of(world: World) -> Journal:
    return Journal(world.store, {"k": b"a key of thirty-two letters, more"}, key="k", clock=world.clock)


async def end_guarded(world: World) -> None:
    await ended(world, "guarded", "guarded approved", "waited", "paid once")
    assert len(world.told()) == 1, "neither twice nor never"
    found = await journal_of(world).verify()
    assert (found.unsealed, found.broken) == (0, None)
    assert (await Erasures(world.runtime.ground).count("U_ANN")).texts == 0


async def begin_waiting(world: World) -> None:
    """A run has ended after a decision, and another one waits, with a deadline."""
    await world.start("errand")
    await world.settle()
    await world.decide()
    await world.settle()
    await world.start("slow")
    await world.settle()


async def begin_overtaken(world: World) -> None:
    await world.start("pair")
    await world.drive()


async def play_overtaken(world: World) -> None:
    """Cards are decided while they are posted: what is posted then is out of date, and is drawn again."""
    while (entry := await world.outbox.claim()) is not None:
        await world.tell(entry, world.decide if entry.kind == "card" else None)
    await world.decide()
    await world.settle()


async def play_busy(world: World) -> None:
    """Work for ever, four cases at once, beside others who do the same."""

    async def work(lane: int) -> None:
        for n in itertools.count():
            case = f"{world.runtime.owner} {lane} {n}"
            run = await world.start("errand" if lane % 2 else "pair", thread=case)
            await world.drive()
            # What others drive at this moment is theirs to end.
            for request in await world.approvals.find(run_id=run.id, status="open"):
                await world.click(request.id, "reject" if n % 3 == 2 else "approve")
            await world.drive()
            await world.deliver()

    await world.runtime.prune(keep=50)
    async with asyncio.TaskGroup() as group:
        for lane in range(4):
            group.create_task(work(lane))


async def end_busy(world: World) -> None:
    assert set(await world.runtime.count()) == {"completed"}
    assert await world.outbox.count() == {}


async def finish_busy(world: World) -> None:
    """Do what was left undone by all who were killed."""
    while (await world.runtime.count()).keys() - {"completed"}:
        await world.settle()
        await world.decide()
    await world.settle()


async def begin_quorum(world: World) -> None:
    await world.start("quorum")
    await world.settle()


async def play_quorum(world: World) -> None:
    """Two people decide, one after the other."""
    (request,) = await world.approvals.find(run_id=(await world.last("quorum")).id)
    for who in ("U_BOSS", "U_TOO"):
        view = await world.approvals.view(request.id)
        assert view is not None
        with contextlib.suppress(Refused):  # what was recorded before it broke off
            await world.approvals.decide(ticket_of(view, world.store), person(who), "approve", place=CLI)
            world.ack("voted", request.id, who, "approve", "quorum")
        await world.settle()


async def end_quorum(world: World) -> None:
    await ended(world, "quorum", "prepared", "quorum approved", "paid quorum")
    (request,) = await world.approvals.find()
    view = await world.approvals.view(request.id)
    assert view is not None
    assert [vote.reviewer for vote in view.votes] == ["U_BOSS", "U_TOO"]


async def begin_batch(world: World) -> None:
    await world.start("batch")
    await world.settle()


async def play_batch(world: World) -> None:
    """Three calls of one question are decided, the last one first."""
    for number in (3, 2, 1):
        await world.decide(title=f"Use the tool t{number} ({number} of 3)")
    await world.settle()


async def end_batch(world: World) -> None:
    await ended(world, "batch", "prepared", "approve approve approve", "paid batch")


async def begin_auto(world: World) -> None:
    await world.start("auto")
    await world.drive()


async def play_auto(world: World) -> None:
    """The policy decides by itself, and nobody is asked."""
    while await world.approvals.expire_due():
        pass
    await world.settle()


async def end_auto(world: World) -> None:
    await ended(world, "auto", "prepared", "auto approved", "paid auto")


async def begin_limited(world: World) -> None:
    await world.start("limited")
    await world.drive()


async def play_limited(world: World) -> None:
    """Past its limits the policy decides nothing by itself any more, and people are asked."""
    while await world.approvals.expire_due():
        pass
    await world.decide()
    await world.settle()


async def end_limited(world: World) -> None:
    await ended(world, "limited", "prepared", "limited approved", "paid limited")


async def begin_reminded(world: World) -> None:
    await world.start("reminded")
    await world.settle()


async def play_reminded(world: World) -> None:
    """Half of the time has passed; then somebody decides."""
    (request,) = await world.approvals.find(run_id=(await world.last("reminded")).id)
    # Within its hour, whichever life this is.
    world.now = max(request.opened_at + 31 * 60 * SECOND, min(world.now, (request.deadline_at or 0) - SECOND))
    while await world.approvals.expire_due():
        pass
    await world.decide()
    world.pass_seconds(3 * HOUR)
    await world.settle()


async def end_reminded(world: World) -> None:
    await ended(world, "reminded", "prepared", "reminded approved", "paid reminded")
    lines = [e.kind for e in await world.runtime.events() if e.kind == "request.reminded"]
    assert len(lines) == 1


async def play_lost(world: World) -> None:
    """A card's channel is lost, and two people get one instead."""
    await world.outbox.look_again("slack", "T1", "C1")
    alarm = OperatorAlarm("is_archived:C1", ("U_OPS",), {"error": "is_archived"})
    while (entry := await world.outbox.claim()) is not None:
        view = await world.approvals.view(entry.request_id)
        assert view is not None
        if entry.kind == "card" and "to" not in entry.payload and view.request.status == "open":
            await world.outbox.lose(entry, "is_archived", [{"to": "U_BOSS"}, {"to": "U_TOO"}], alarm)
        else:
            await world.tell(entry)
        world.pass_seconds(2)
    await world.decide()
    await world.settle()


async def end_lost(world: World) -> None:
    await ended(world, "errand", "prepared", "errand approved", "paid errand")
    (request,) = await world.approvals.find()
    view = await world.approvals.view(request.id)
    assert view is not None
    assert len(view.cards) == 2
    assert [event for event in await world.runtime.events() if event.kind == "card.lost"]


OTHERS = {
    "lost": Story(begin_click, play_lost, end_lost, ("lose card", "tell again")),
    "quorum": Story(begin_quorum, play_quorum, end_quorum, ("vote",)),
    "batch": Story(begin_batch, play_batch, end_batch, ("decide part", "decide")),
    "auto": Story(begin_auto, play_auto, end_auto, ("policy",)),
    "limited": Story(begin_limited, play_limited, end_limited, ("next tier",)),
    "reminded": Story(begin_reminded, play_reminded, end_reminded, ("remind",)),
    "answers": Story(nothing, play_answers, end_answers, ("answer", "reopen", "refuse"), asking=False),
    "failing": Story(nothing, play_failing, end_failing, ("end", "retry")),
    "guarded": Story(
        nothing,
        play_guarded,
        end_guarded,
        ("gate", "ring", "drop wait", "freeze", "release", "erase", "seal"),
    ),
    "absent": Story(nothing, play_absent, end_absent, ("delegate", "bypass")),
    "halt": Story(nothing, play_halt, end_halt, ("go on", "pause")),
    "nested": Story(nothing, play_nested, end_nested, ("subgraph",)),
    "overtaken": Story(begin_overtaken, play_overtaken, end_two, ("receipt", "decide")),
    "withdrawn": Story(begin_withdrawn, play_withdrawn, end_withdrawn, ("edit", "drop due", "cancel")),
    "kept": Story(begin_kept, play_kept, end_kept, ("prune", "delete")),
    "leases": Story(nothing, play_leases, end_leases, ("hold", "give back")),
    "migrated": Story(begin_migrated, play_migrated, end_migrated, ("migrate",)),
    "busy": Story(nothing, play_busy, end_busy),
    "waiting": Story(begin_waiting, play_click, end_click),
    "restored": Story(begin_restored, play_restored, end_restored, ("restore run", "restore")),
}
STORIES = SIX | OTHERS
