"""Kill -9 at every place where it could hurt, then start again: one card, one decision, one resume."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

import pytest
from bot_bench import ALICE, CHANNEL, Bench, Spawn, buttons, settings_file

from bot.sandbox import Fault, Message
from graph_runtime import Run

pytestmark = pytest.mark.processes


async def whole(bench: Bench, run: Run, card: Message, *, repeated: bool = False, lines: bool = True) -> None:
    """Assert that everything happened, and happened once."""
    shown = await bench.drawn(card, "the run completed")
    assert buttons(shown) == []
    assert [message.ts for message in bench.slack.messages(CHANNEL)] == [card.ts], "one card"
    if lines:
        await bench.thread(card, 2)
        await bench.quiet()
        told = [message.text.split(" by ")[0] for message in bench.slack.messages(CHANNEL, thread_ts=card.ts)]
        assert told == [":white_check_mark: Approved", ":checkered_flag: The run completed for <@U0CAROL>."]
    # A node whose step was not committed runs again, under the same id: the other side can tell.
    assert len(set(bench.published())) == 1
    assert len(bench.published()) == 1 or repeated
    assert len(bench.dump()["decisions"]) == 1
    journal = Counter(event.kind for event in await bench.events())
    assert (journal["request.opened"], journal["request.approved"], journal["run.completed"]) == (1, 1, 1)
    assert (await bench.runtime.get(run.id)).status == "completed"


@pytest.mark.parametrize("mode", ["socket", "http"])
async def test_a_bot_that_dies_while_a_run_waits_finds_everything_as_it_was(
    bench: Bench, spawn: Spawn, mode: str
):
    config = settings_file(bench.slack, bench.folder, mode)
    if mode == "http":
        bench.slack.request_url = request_url(config)
    first = await spawn(config)
    run = await bench.start()
    card = await bench.card(run)
    await first.kill()
    second = await spawn(config)
    clicked = await bench.click(card)
    assert clicked.outcome == "acked"
    await whole(bench, run, card)
    assert await second.stop() == 0
    assert "Traceback" not in second.log.read_text()


def request_url(config) -> str:
    port = next(line.split()[-1] for line in config.read_text().splitlines() if line.startswith("port"))
    return f"http://127.0.0.1:{port}/slack/events"


@pytest.mark.parametrize(
    "fault",
    [
        "after:claim:kill",
        "before:pause:kill",
        "after:pause:kill",
        "after:claim entry:kill",
        "before:receipt:kill",
    ],
)
async def test_a_bot_that_dies_before_the_card_is_up_posts_one_card_when_it_is_back(
    bench: Bench, spawn: Spawn, fault: str
):
    config = settings_file(bench.slack, bench.folder)
    run = await bench.queue()
    first = await spawn(config, fault=fault, wait=False)
    assert await first.died() == -signal.SIGKILL
    await spawn(config)
    card = await bench.card(run)
    assert (await bench.click(card)).outcome == "acked"
    await whole(bench, run, card, lines=fault == "before:receipt:kill")


@pytest.mark.parametrize(
    "fault", ["before:decide:kill", "after:decide:kill", "before:finish:kill", "after:finish:kill"]
)
async def test_a7_a_bot_that_dies_at_the_click_decides_once_and_its_card_is_put_right(
    bench: Bench, spawn: Spawn, fault: str
):
    config = settings_file(bench.slack, bench.folder)
    first = await spawn(config, fault=fault)
    run = await bench.start()
    card = await bench.card(run)
    bench.slack.deadline = 0.5
    again = bench.payload(card)
    clicked = await bench.click(card)
    assert await first.died() == -signal.SIGKILL
    await spawn(config)
    bench.slack.deadline = 3
    if fault == "before:decide:kill":
        assert clicked.outcome != "acked", "nothing happened, so nobody is told that it did"
        assert len(bench.slack.toasts(ALICE)) == 1
        assert bench.dump()["decisions"] == []
        assert (await bench.click(card)).outcome == "acked"
    if fault == "after:decide:kill":
        assert clicked.outcome != "acked"
        # Their screen still shows the buttons, so they click again.
        assert (await bench.deliver(again)).outcome == "acked"
        assert f"already decided by <@{ALICE}>" in await bench.private(ALICE)
    # A courier that died with the card in hand is waited out before the thread goes on, which takes 15 s.
    await whole(bench, run, card, repeated=fault == "before:finish:kill", lines="finish" not in fault)


async def test_a_card_that_was_posted_when_the_bot_died_is_found_and_not_posted_again(
    bench: Bench, spawn: Spawn
):
    config = settings_file(bench.slack, bench.folder)
    answer = asyncio.Event()
    bench.slack.faults.add(Fault("chat.postMessage", "hold_after_store", hold=answer))
    first = await spawn(config)
    run = await bench.queue()
    (posted,) = await bench.slack.wait_for(lambda: bench.slack.messages(CHANNEL))
    await first.kill()
    answer.set()
    early = bench.payload(posted)
    await spawn(config)
    # The bot does not know this card yet: a click is told so, and lost to nobody.
    assert (await bench.deliver(early)).outcome == "acked"
    card = await bench.card(run)
    assert card.ts == posted.ts
    assert (await bench.click(card)).outcome == "acked"
    await whole(bench, run, card)


async def test_a_thread_line_that_was_posted_when_the_bot_died_is_not_posted_again(
    bench: Bench, spawn: Spawn
):
    config = settings_file(bench.slack, bench.folder)
    first = await spawn(config)
    run = await bench.start()
    card = await bench.card(run)
    answer = asyncio.Event()
    bench.slack.faults.add(Fault("chat.postMessage", "hold_after_store", hold=answer))
    assert (await bench.click(card)).outcome == "acked"
    await bench.slack.wait_for(lambda: bench.slack.messages(CHANNEL, thread_ts=card.ts))
    await first.kill()
    answer.set()
    await spawn(config)
    await whole(bench, run, card)


async def test_an_ordered_stop_gives_back_what_it_holds_and_exits_with_0(bench: Bench, spawn: Spawn):
    config = settings_file(bench.slack, bench.folder)
    first = await spawn(config, fresh=True)
    run = await bench.start()
    card = await bench.card(run)
    await bench.click(card)
    assert await first.stop() == 0
    said = [line["event"] for line in first.lines()]
    assert said.index("ready") < said.index("stopping")
    assert said[-1] == "stopped"
    await spawn(config)
    await whole(bench, run, card)
