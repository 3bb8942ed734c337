"""A database is looked after while it is used: checked, measured, copied; and put back as another one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from forked import Forked
from graphs import Log, answer_only, begin, events, one_after_another, review_then_publish
from kit import MakeRuntime
from people import CLI, approvals_of, boss, deploy, open_view, requests, ticket_of
from restore_child import main

from graph_runtime import (
    InterruptClosed,
    Outbox,
    Place,
    Refused,
    Runtime,
    SchemaMismatch,
    Store,
    StoreError,
    StoreUnavailable,
    Upkeep,
    interrupt,
    open_store,
)
from graph_runtime.storage import Batch, Do

HERE = Path(__file__).parent
#: Copies that are made under load; tests/torture makes more.
COPIES = 3


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "signoff.db"


@pytest.fixture
def upkeep(place: Path) -> Upkeep:
    return Upkeep(f"sqlite:///{place}")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copies" / "one.db"


@pytest.fixture(autouse=True)
def _folder(copy: Path) -> None:
    copy.parent.mkdir()


@contextlib.asynccontextmanager
async def using(place: Path, *graphs: Any) -> AsyncIterator[Runtime]:
    """A runtime on the database; nobody else has it open."""
    async with open_store(f"sqlite:///{place}") as store:
        yield Runtime(store, graphs or (deploy(), review_then_publish()), companions=[requests()])


def rows(place: Path, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(place)) as db, db:
        return db.execute(statement).fetchall()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


async def approve(runtime: Runtime, run_id: str) -> None:
    approvals = approvals_of(runtime)
    view = await open_view(approvals, run_id)
    await approvals.decide(ticket_of(view, runtime.store), boss(), "approve", place=CLI)


async def told(runtime: Runtime) -> None:
    outbox = Outbox(runtime)
    while (entry := await outbox.claim()) is not None:
        await outbox.landed(entry, Place("slack", "A1", "T1", "C1", entry.id))


# -- a copy ---------------------------------------------------------------------------------------------------


async def test_a_copy_is_whole_private_and_one_file(upkeep: Upkeep, place: Path, copy: Path) -> None:
    async with using(place) as runtime:
        run = await begin(runtime)
        assert await upkeep.back_up(copy) == copy.stat().st_size
        await approve(runtime, run.id)
    assert files(copy.parent) == {"one.db"}
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert rows(copy, "SELECT status FROM requests") == [("open",)], "as it was at that moment"
    assert await Upkeep(f"sqlite:///{copy}").check() == []


async def test_an_earlier_copy_is_only_replaced_when_told_and_never_the_database_itself(
    upkeep: Upkeep, place: Path, copy: Path
) -> None:
    async with using(place) as runtime:
        await upkeep.back_up(copy)
        run = await begin(runtime)
        with pytest.raises(StoreUnavailable, match=r"there is a file .* already"):
            await upkeep.back_up(copy)
        assert rows(copy, "SELECT * FROM runs") == []
        await upkeep.back_up(copy, replace=True)
        assert rows(copy, "SELECT run_id FROM runs") == [(run.id,)]
        (copy.parent / "other name").symlink_to(place)
        for same in (place, copy.parent / "other name"):
            with pytest.raises(StoreUnavailable, match="already"):
                await upkeep.back_up(same, replace=True)
        assert (await runtime.get(run.id)).status == "interrupted"


async def test_a_copy_that_cannot_be_made_leaves_nothing(upkeep: Upkeep, place: Path, copy: Path) -> None:
    with pytest.raises(StoreUnavailable, match="there is no file"):
        await upkeep.back_up(copy)
    async with using(place):
        with pytest.raises(StoreUnavailable, match="No such file or directory"):
            await upkeep.back_up(copy.parent / "nowhere" / "one.db")
    rows(place, "DELETE FROM deployment")
    with pytest.raises(StoreUnavailable, match="damaged, or none of signoff's"):
        await upkeep.back_up(copy)
    assert files(copy.parent) == set()


async def test_copies_made_under_load_keep_every_promise_and_every_decision_that_was_told(
    upkeep: Upkeep, place: Path, copy: Path
) -> None:
    done: list[str] = []
    stop = asyncio.Event()

    async def load(runtime: Runtime, name: str) -> None:
        for n in range(100_000):
            if stop.is_set():
                return
            run = await begin(runtime, {"subject": f"{name} {n}"}, graph="deploy")
            if n % 5 == 4:
                await runtime.cancel(run.thread_id, run.id)
                continue
            await approve(runtime, run.id)
            done.append(run.id)
            await runtime.advance(run.id)
            await told(runtime)

    async with using(place) as runtime, asyncio.TaskGroup() as group:
        for name in ("a", "b", "c", "d"):
            group.create_task(load(runtime, name))
        for n in range(COPIES):
            seen = len(done)
            while len(done) < seen + 10:
                await asyncio.sleep(0)
            before = list(done)
            await upkeep.back_up(copy, replace=n > 0)
            copied = Upkeep(f"sqlite:///{copy}")
            assert await copied.check() == []
            decided = {id_ for (id_,) in rows(copy, "SELECT run_id FROM requests WHERE status = 'approved'")}
            assert set(before) <= decided
        stop.set()
    assert await upkeep.check() == []


# -- putting it back --------------------------------------------------------------------------------------------


async def restored(upkeep: Upkeep, place: Path, copy: Path, *, lost: bool) -> Any:
    """Put the copy back, over the database or after a loss of the disk."""
    if lost:
        place.unlink()
    return await upkeep.restore(copy, actor="cli:root")


async def test_a_database_in_use_is_not_replaced(upkeep: Upkeep, place: Path, copy: Path) -> None:
    async with using(place) as runtime:
        await upkeep.back_up(copy)
        run = await begin(runtime)
        with pytest.raises(StoreUnavailable, match="another process has it open"):
            await upkeep.restore(copy)
        with pytest.raises(StoreUnavailable, match="another process has it open"):
            await upkeep.vacuum()
        await approve(runtime, run.id)
        deployment = runtime.store.deployment
    async with using(place) as runtime:
        assert runtime.store.deployment == deployment
        assert (await runtime.advance(run.id)).status == "completed"


@pytest.mark.parametrize("lost", [False, True], ids=["in its place", "after a loss"])
async def test_what_waits_is_asked_anew_and_the_cards_of_before_are_refused(
    upkeep: Upkeep, place: Path, copy: Path, lost: Any
) -> None:
    async with using(place) as runtime:
        run = await begin(runtime, graph="deploy")
        await told(runtime)
        old = ticket_of(await open_view(approvals_of(runtime), run.id), runtime.store)
    await upkeep.back_up(copy)
    done = await restored(upkeep, place, copy, lost=lost)
    assert (done.asked_anew, done.attention) == (1, ())
    assert done.deployment != old.deployment
    assert files(place.parent) <= {"signoff.db", "signoff.db-checkpoint"}
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    async with using(place) as runtime:
        approvals = approvals_of(runtime)
        assert runtime.store.deployment == done.deployment
        assert await approvals.find(status="open") == []
        claimed = await runtime.claim()
        assert claimed is not None
        again = await runtime.drive(claimed)
        assert (again.id, again.status) == (run.id, "interrupted")
        with pytest.raises(Refused) as refused:
            await approvals.decide(old, boss(), "approve", place=CLI)
        assert refused.value.code == "WRONG_DEPLOYMENT"
        # The old card is drawn anew, as superseded, and there is one for the new question.
        outbox, drawn = Outbox(runtime), []
        while (entry := await outbox.claim()) is not None:
            view = await approvals.view(entry.request_id)
            assert view is not None
            drawn.append((view.request.id == old.request_id, view.request.status))
            await outbox.landed(entry, Place("slack", "A1", "T1", "C1", entry.id))
        assert sorted(set(drawn)) == [(False, "open"), (True, "superseded")]
        await approve(runtime, run.id)
        assert (await runtime.advance(run.id)).status == "completed"
        kinds = [event.kind for event in await events(runtime.store)]
        assert [kinds.count(kind) for kind in ("database.restored", "run.asked_anew")] == [1, 1]
        assert "request.approved" in kinds
    assert await upkeep.check() == []


async def test_what_was_decided_since_is_never_open_again(upkeep: Upkeep, place: Path, copy: Path) -> None:
    async with using(place) as runtime:
        run = await begin(runtime, graph="deploy", thread_id="t")
        plain = await begin(runtime, graph="review", thread_id="p")
        waits = await begin(runtime, graph="deploy")
        await upkeep.back_up(copy)
        await approve(runtime, run.id)
        assert (await runtime.advance(run.id)).status == "completed"
        await approve(runtime, plain.id)
    done = await upkeep.restore(copy, actor="cli:root")
    assert set(done.attention) == {run.id, plain.id}
    assert done.asked_anew == 1
    async with using(place) as runtime:
        approvals = approvals_of(runtime)
        for id_ in done.attention:
            there = await runtime.get(id_)
            assert there.status == "needs_attention"
            assert there.error is not None
            assert there.error["type"] == "DatabaseRestored"
            (asked,) = await approvals.find(run_id=id_)
            assert asked.status == "superseded"
            view = await approvals.view(asked.id)
            assert view is not None
            with pytest.raises(Refused, match="superseded"):
                await approvals.decide(ticket_of(view, runtime.store), boss(), "approve", place=CLI)
            (question,) = (await runtime.look(id_)).questions
            assert question.status == "superseded"
            with pytest.raises(InterruptClosed):
                await runtime.resume(there.thread_id, id_, question.interrupt.id, {"decision": "approve"})
        claimed = await runtime.claim()
        assert claimed is not None
        assert claimed.id == waits.id
        await runtime.drive(claimed)
        assert await runtime.claim() is None
        # An operator ends it; what is begun again is a new run, which asks anew.
        await runtime.cancel("t", run.id)
        retried = await runtime.retry("t", run.id)
        assert (await runtime.advance(retried.id)).status == "interrupted"
        kinds = [event.kind for event in await events(runtime.store, run_id=run.id)]
        assert "run.needs_attention" in kinds
    assert await upkeep.check() == []


@pytest.mark.parametrize("lost", [False, True], ids=["in its place", "after a loss"])
async def test_an_answer_that_may_have_been_used_since_is_not_used_again(
    upkeep: Upkeep, place: Path, copy: Path, lost: Any
) -> None:
    used: list[str] = []

    async def act(state: Log) -> Log:
        used.append("acted")
        return {}

    async def ask(state: Log) -> Log:
        return {"answer": interrupt("go?")}

    graph = one_after_another("asks", ask=ask, act=act)
    async with using(place, graph) as runtime:
        run = await begin(runtime)
        (asked,) = (await runtime.look(run.id)).open
        await approve(runtime, run.id)
        await upkeep.back_up(copy)
        assert (await runtime.advance(run.id)).status == "completed"
    done = await restored(upkeep, place, copy, lost=lost)
    assert done.attention == (run.id,)
    async with using(place, graph) as runtime:
        assert await runtime.claim() is None
        assert (await runtime.advance(run.id)).status == "needs_attention"
        (question,) = (await runtime.look(run.id)).questions
        assert (question.interrupt.id, question.status) == (asked.interrupt.id, "superseded")
    assert used == ["acted"]


async def test_a_run_that_has_not_moved_since_goes_on_by_itself_unless_that_cannot_be_known(
    upkeep: Upkeep, place: Path, copy: Path
) -> None:
    async with using(place) as runtime:
        run = await runtime.start("deploy", {"subject": "s"})
        await upkeep.back_up(copy)
    assert (await upkeep.restore(copy)).attention == ()
    async with using(place) as runtime:
        assert (await runtime.advance(run.id)).status == "interrupted"
    # The database has another name by now, so it cannot say what became of the run.
    assert (await upkeep.restore(copy)).attention == (run.id,)


async def test_several_questions_limits_and_answers_given_before_survive(
    upkeep: Upkeep, place: Path, copy: Path
) -> None:
    async def ask(state: Log) -> Log:
        return {"log": [interrupt("first"), interrupt("second")]}

    async with open_store(f"sqlite:///{place}") as store:
        graph = one_after_another("two", ask=ask)
        runtime = Runtime(store, [graph])
        run = await begin(runtime, thread_id="t")
        run = await answer_only(runtime, run, "one")
    await upkeep.back_up(copy)
    for _ in range(2):
        await upkeep.restore(copy)
    async with open_store(f"sqlite:///{place}") as store:
        runtime = Runtime(store, [graph])
        run = await runtime.advance(run.id)
        assert [q.interrupt.value for q in (await runtime.look(run.id)).open] == ["second"]
        run = await answer_only(runtime, run, "two")
        assert run.status == "completed"
        assert (await runtime.look(run.id)).state.values["log"] == ["one", "two"]


async def test_what_may_have_been_told_since_is_looked_for_before_it_is_told_again(
    upkeep: Upkeep, place: Path, copy: Path
) -> None:
    async with using(place) as runtime:
        await begin(runtime, graph="deploy")
        assert await Outbox(runtime).claim() is not None
        await upkeep.back_up(copy)
    await upkeep.restore(copy)
    async with using(place) as runtime:
        entry = await Outbox(runtime).claim()
        assert entry is not None
        assert entry.overtaken


@pytest.mark.parametrize("content", [b"", b"this is no database" * 1_000], ids=["empty", "overwritten"])
async def test_a_database_that_is_none_any_more_is_put_aside_and_replaced(
    upkeep: Upkeep, place: Path, copy: Path, content: bytes
) -> None:
    async with using(place) as runtime:
        run = await begin(runtime, graph="deploy")
    await upkeep.back_up(copy)
    place.write_bytes(content)
    assert (await upkeep.restore(copy)).asked_anew == 1
    assert (place.parent / "signoff.db.damaged").exists() == bool(content)
    async with using(place) as runtime:
        assert (await runtime.advance(run.id)).status == "interrupted"


async def test_a_database_damaged_inside_is_replaced(upkeep: Upkeep, place: Path, copy: Path) -> None:
    async with using(place) as runtime:
        for _ in range(5):
            run = await begin(runtime, graph="deploy")
    await upkeep.back_up(copy)
    content = bytearray(place.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)
    place.write_bytes(content)
    await upkeep.restore(copy)
    assert await upkeep.check() == []
    async with using(place) as runtime:
        assert (await runtime.get(run.id)).live


async def test_a_copy_that_is_damaged_foreign_or_too_new_replaces_nothing(
    upkeep: Upkeep, place: Path, copy: Path
) -> None:
    async with using(place) as runtime:
        run = await begin(runtime)
        await upkeep.back_up(copy)
    before = place.read_bytes()
    whole = copy.read_bytes()

    async def refused(why: str, kind: type[StoreError] = StoreUnavailable) -> None:
        with pytest.raises(kind, match=why):
            await upkeep.restore(copy)
        assert place.read_bytes() == before
        assert files(place.parent) <= {"signoff.db", "signoff.db-checkpoint"}

    copy.write_bytes(whole[: len(whole) // 2])
    await refused("damaged")
    copy.write_bytes(os.urandom(20_000))
    await refused("no database")
    copy.unlink()
    await refused("there is no file")
    rows(copy, "CREATE TABLE other (x)")
    await refused("none of signoff's")
    copy.write_bytes(whole)
    rows(copy, "PRAGMA user_version = 999")
    await refused("use the newer program", SchemaMismatch)
    async with using(place) as runtime:
        assert (await runtime.get(run.id)).status == "interrupted"


@pytest.mark.parametrize("batch", ["restore run", "restore"])
@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_restore_that_is_killed_has_not_happened_and_can_be_done_again(
    upkeep: Upkeep, place: Path, copy: Path, batch: str, side: str
) -> None:
    async with using(place) as runtime:
        await begin(runtime, graph="deploy")
        deployment = runtime.store.deployment
    await upkeep.back_up(copy)
    before = place.read_bytes()
    env = {**os.environ, "SIGNOFF_FAULT": f"{side}:{batch}:kill"}
    child = Forked(main, str(place), str(copy), env=env, out=copy.with_name("out"))
    assert await child.wait() == -signal.SIGKILL, child.read()
    assert place.read_bytes() == before
    async with using(place) as runtime:
        assert runtime.store.deployment == deployment
    assert (await upkeep.restore(copy)).asked_anew == 1
    assert files(place.parent) <= {"signoff.db", "signoff.db-checkpoint"}


@pytest.mark.databases("sqlite", "postgres")
async def test_a_database_that_was_put_back_by_other_means_is_made_another_one(
    database: str, make_runtime: MakeRuntime, store: Store
) -> None:
    runtime = make_runtime(deploy(), companions=[requests()])
    approvals = approvals_of(runtime)
    waits, answered = await begin(runtime), await begin(runtime)
    queued = await runtime.start("deploy", {"subject": "s"})
    view = await open_view(approvals, answered.id)
    await approvals.decide(ticket_of(view, store), boss(), "approve", place=CLI)
    old = ticket_of(await open_view(approvals, waits.id), store)
    done = await Upkeep(database).renew(actor="cli:root")
    assert set(done.attention) == {answered.id, queued.id}
    assert done.asked_anew == 1
    assert await Upkeep(database).check() == []
    async with open_store(database) as other:
        assert other.deployment == done.deployment != store.deployment
        runtime = Runtime(other, [deploy()], companions=[requests()], clock=runtime.clock)
        assert (await runtime.advance(waits.id)).status == "interrupted"
        assert await runtime.claim() is None
        with pytest.raises(Refused) as refused:
            await approvals_of(runtime).decide(old, boss(), "approve", place=CLI)
        assert refused.value.code == "WRONG_DEPLOYMENT"
        await approve(runtime, waits.id)
        assert (await runtime.advance(waits.id)).status == "completed"
    assert (await Upkeep(database).renew()).attention == ()


# -- sound, large, small ----------------------------------------------------------------------------------------


async def test_a_sound_database_has_nothing_wrong_while_it_is_used(upkeep: Upkeep, place: Path) -> None:
    async with using(place) as runtime:
        run = await begin(runtime, graph="deploy")
        assert await upkeep.check() == []
        await approve(runtime, run.id)
        await runtime.advance(run.id)
        await begin(runtime, graph="review")
        assert await upkeep.check() == []


@pytest.mark.databases("sqlite", "postgres")
async def test_the_promises_of_either_kind_of_database_are_checked(
    database: str, make_runtime: MakeRuntime, store: Store
) -> None:
    runtime = make_runtime(deploy(), companions=[requests()])
    run = await begin(runtime)
    assert await Upkeep(database).check() == []
    await store.commit(Batch("test", (Do("attend_run", {"run_id": run.id, "error": "{}", "now": 1}),)))
    await store.commit(Batch("test", (Do("drop_outbox_of_thread", {"thread_id": run.thread_id}),)))
    (said,) = await Upkeep(database).check()
    assert said.startswith("a request is open, and nobody was to be shown it: req-")


BROKEN = {
    "UPDATE runs SET status = 'completed'": "a question is open, and its run is over",
    "UPDATE interrupts SET status = 'answered'": "an answer waits, and its run was not woken",
    "UPDATE interrupts SET status = 'withdrawn'": "a request is open, and its question is not",
    "DELETE FROM outbox": "a request is open, and nobody was to be shown it",
    "UPDATE requests SET status = 'approved'": "a request was decided, and nobody did",
    "UPDATE threads SET last_run = 'run-9'": "a run is alive, and its thread has gone on",
    "UPDATE runs SET head = 'chk-9'": "a run stands where there is no checkpoint",
    "UPDATE checkpoints SET parent_id = 'chk-9'": "a checkpoint follows none that is there",
    "UPDATE runs SET status = 'running'": "a run is driven by nobody",
}


@pytest.mark.parametrize("statement", BROKEN)
async def test_a_broken_promise_is_named_with_its_row(upkeep: Upkeep, place: Path, statement: str) -> None:
    async with using(place) as runtime:
        await begin(runtime, graph="deploy")
    rows(place, statement)
    found = await upkeep.check()
    assert BROKEN[statement] in [one.rpartition(": ")[0] for one in found]


async def test_damage_to_the_file_is_found(upkeep: Upkeep, place: Path) -> None:
    async with using(place) as runtime:
        await begin(runtime, graph="deploy")
    rows(place, "PRAGMA wal_checkpoint(TRUNCATE)")
    (page,) = next(iter(rows(place, "SELECT rootpage FROM sqlite_master WHERE name = 'interrupts_of_task'")))
    content = bytearray(place.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = bytes(4096)
    place.write_bytes(content)
    said = ""
    try:
        said = "; ".join(await upkeep.check())
    except StoreError as error:
        said = str(error)
    assert "malformed" in said or "interrupts_of_task" in said or "damaged" in said


async def test_a_row_that_refers_to_nothing_is_found(upkeep: Upkeep, place: Path) -> None:
    async with using(place) as runtime:
        await begin(runtime, graph="deploy")
    rows(place, "DELETE FROM threads")
    assert "runs refers to what is not there" in await upkeep.check()


async def test_its_size_says_what_takes_the_room_and_pruning_and_writing_it_anew_frees_it(
    upkeep: Upkeep, place: Path
) -> None:
    big = "x" * 400_000
    async with using(place, one_after_another("big", a=lambda s: {"log": [big]})) as runtime:
        for _ in range(5):
            assert (await begin(runtime)).status == "completed"
        large = await upkeep.size()
        assert large.file + large.log > 2_000_000
        assert large.tables["channel_values"] > 2_000_000 or large.log > 2_000_000
        await asyncio.sleep(0.002)
        assert await runtime.prune(older_than=0.001) == 5
    pruned = await upkeep.size()
    assert pruned.free > 2_000_000
    before, after = await upkeep.vacuum()
    assert before == pruned.file
    assert after < before - 2_000_000
    small = await upkeep.size()
    assert (small.file, small.free) == (after, 0)
    assert next(iter(small.tables.values())) == max(small.tables.values())


async def test_a_database_that_is_not_there_or_no_file_is_said(upkeep: Upkeep) -> None:
    doing: list[Callable[[], Awaitable[Any]]] = [upkeep.size, upkeep.vacuum]
    for do in doing:
        with pytest.raises(StoreUnavailable, match="there is no file"):
            await do()
    with pytest.raises(SchemaMismatch, match="no database"):
        await upkeep.check()
    for url in ("postgresql://u:hunter2@h/db", "sqlite:///:memory:"):
        with pytest.raises(StoreError, match="no SQLite file") as refused:
            await Upkeep(url).size()
        assert "hunter2" not in str(refused.value)
