"""What operators and reviewers meet when something is no longer kept, or cannot be."""

from __future__ import annotations

import resource

import pytest
from bot_bench import (
    ALICE,
    BOB,
    CHANNEL,
    Bench,
    Spawn,
    bot_here,
    buttons,
    eventually,
    in_both_modes,
    settings_file,
    settings_for,
    texts,
)

from bot import cards
from graph_runtime import Upkeep

#: Longer than nothing: what has ended is past it.
AT_ONCE = 0.001


@in_both_modes
async def test_a_late_click_on_a_card_whose_thread_was_pruned_is_told_so(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    late = bot.payload(card, user=BOB)
    await bot.click(card, cards.REJECT, user=BOB)
    (dialog,) = bot.slack.modals(BOB)
    await bot.click(card, user=ALICE)
    await bot.rests(run, "completed")
    await bot.quiet()
    assert await bot.runtime.prune(older_than=AT_ONCE) == 1
    before = bot.dump()
    assert (await bot.deliver(late)).outcome == "acked"
    assert "This request is no longer kept" in await bot.private(BOB)
    submitted = await bot.slack.submit(
        user=BOB, view_id=dialog.id, values={cards.REASON_BLOCK: {cards.REASON_INPUT: "No"}}
    )
    assert submitted.outcome == "acked"
    (notice,) = bot.slack.modals(BOB)
    assert "This request is no longer kept" in " ".join(texts(notice.blocks))
    assert await bot.refusals() == ["NO_LONGER_KEPT", "NO_LONGER_KEPT"]
    assert bot.dump() == before, "only the journal grew"


async def test_the_bot_lets_threads_go_by_itself_once_everything_is_told(bench: Bench):
    settings = settings_for(bench.slack, bench.folder, keep_threads=1)
    for service in ("first", "second", "third"):
        run = await bench.queue(service=service)
        await bench.runtime.cancel(run.thread_id, run.id)
    async with bot_here(settings):

        async def one_left() -> bool:
            return len(await bench.runtime.runs()) == 1

        await eventually(one_left, what="two of three threads gone")
    (left,) = await bench.runtime.runs()
    assert left.id == run.id
    assert len(await bench.events("thread.pruned")) == 2


async def test_a_bot_in_its_own_process_takes_the_bound_from_its_environment(bench: Bench, spawn: Spawn):
    for service in ("first", "second"):
        run = await bench.queue(service=service)
        await bench.runtime.cancel(run.thread_id, run.id)
    bot = await spawn(settings_file(bench.slack, bench.folder), SIGNOFF_KEEP_THREADS="1")
    assert (await bot.says("threads.pruned"))["threads"] == 1
    assert [left.id for left in await bench.runtime.runs()] == [run.id]


@pytest.mark.processes
async def test_a_click_that_the_disk_does_not_take_is_told_so_and_taken_once_it_does(
    bench: Bench, spawn: Spawn
):
    bot = await spawn(settings_file(bench.slack, bench.folder))
    run = await bench.start()
    card = await bench.card(run)
    await bench.quiet()
    _, most = resource.prlimit(bot.process.pid, resource.RLIMIT_FSIZE)
    # As a disk over its quota: the file and its log cannot grow, nor can the bot's own log.
    resource.prlimit(bot.process.pid, resource.RLIMIT_FSIZE, (32 * 1024, most))
    assert (await bench.click(card)).outcome == "acked"
    assert "Nothing was recorded; click again." in await bench.private(ALICE)
    answer = await bench.slash(f"cancel {run.id}")
    assert "was not written: the disk failed, or is full" in answer
    assert (await bench.runtime.get(run.id)).status == "interrupted"
    assert bench.dump()["decisions"] == []
    resource.prlimit(bot.process.pid, resource.RLIMIT_FSIZE, (most, most))
    assert (await bench.click(card)).outcome == "acked"
    await bench.rests(run, "completed")
    await bench.drawn(card, f"*Approved* by <@{ALICE}>")
    assert bot.process.returncode is None, "it was not started anew"
    assert len(bench.published()) == 1


async def test_a_database_that_was_put_back_asks_anew_and_old_buttons_do_nothing(bench: Bench, spawn: Spawn):
    config = settings_file(bench.slack, bench.folder)
    upkeep, copy = Upkeep(f"sqlite:///{bench.database}"), bench.folder / "copy.db"
    first = await spawn(config)
    decided, waits = await bench.start(service="decided"), await bench.start(service="waits")
    card, other = await bench.card(decided), await bench.card(waits)
    await bench.quiet()
    early = bench.payload(card, user=BOB)
    await upkeep.back_up(copy)
    assert (await bench.click(card)).outcome == "acked"
    await bench.rests(decided, "completed")
    await bench.quiet()
    assert await first.stop() == 0
    await bench.store.__aexit__(None, None, None)
    done = await upkeep.restore(copy, actor="cli:root")
    await bench.store.__aenter__()
    assert (done.attention, done.asked_anew) == ((decided.id,), 1)

    await spawn(config)
    # What was decided since is never asked again; an operator is.
    shown = await bench.drawn(card, "needs an operator")
    assert buttons(shown) == []
    assert (await bench.deliver(early)).outcome == "acked"
    assert "a database that was restored since" in await bench.private(BOB)
    # What waited is asked anew, on a card of its own.
    assert buttons(await bench.drawn(other, "*Superseded*")) == []
    new = await bench.card(waits, 1)
    assert new.ts != other.ts
    assert (await bench.click(new)).outcome == "acked"
    await bench.rests(waits, "completed")
    assert [line.split()[0] for line in bench.published()] == ["decided", "waits"], "each of them once"
    assert (await bench.runtime.get(decided.id)).status == "needs_attention"
    assert await bench.refusals() == ["WRONG_DEPLOYMENT"]
    assert len(bench.slack.messages(CHANNEL)) == 3
    assert await upkeep.check() == []
