"""The postman on a bad day: never a second card, never a lost one, and never an old one that wins."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientSession
from bot_bench import ALICE, CHANNEL, GENERAL, GONE, buttons, words_of
from post_bench import Post

from bot import cards
from bot.courier import CHANNEL_PACE
from bot.sandbox import Fault
from bot.wiring import slack_client
from graph_runtime import (
    SECOND,
    Outbox,
    Place,
)
from graph_runtime.outbox import FIRST_WAIT, REDRAW_AFTER

MINUTE = 60


@pytest.fixture
def brisk() -> None:
    """Slack's own pace: here the test is the clock."""


async def test_a_rate_limit_is_waited_out_for_as_long_as_slack_says(post: Post):
    post.bench.slack.faults.add(Fault("chat.postMessage", "ratelimited", retry_after=7))
    run = await post.ask()
    assert await post.deliver() == 1
    post.clock.pass_seconds(6.9)
    assert await post.deliver() == 0
    post.clock.pass_seconds(0.2)
    assert await post.deliver() == 1
    assert len(post.cards()) == 1
    assert (await post.view(run)).card is not None


@pytest.mark.parametrize(
    "kind", ["500", "503", "drop_before_store", "error:internal_error", "error:service_unavailable"]
)
async def test_a_post_that_failed_is_tried_again_with_longer_and_longer_waits(post: Post, kind: str):
    post.bench.slack.faults.add(Fault("chat.postMessage", kind, times=3))
    await post.ask()
    for wait in (1, 2, 4):
        assert await post.deliver() == 1
        post.clock.pass_seconds(wait * FIRST_WAIT / SECOND - 0.1)
        assert await post.deliver() == 0
        post.clock.pass_seconds(0.2)
    assert post.cards() == []
    assert await post.deliver() == 1
    assert len(post.cards()) == 1
    assert post.calls("conversations.history") == 3, "each attempt after the first looks before it posts"


@pytest.mark.parametrize("kind", ["ratelimited", "503"])
async def test_matrix_a_card_that_slack_does_not_let_be_drawn_now_is_drawn_later(post: Post, kind: str):
    run = await post.ask()
    await post.deliver()
    await post.decide(run)
    post.bench.slack.faults.add(Fault("chat.update", kind, times=2))
    await post.deliver()
    assert buttons(post.cards()[0]), "it still shows what was"
    for _ in range(3):
        post.clock.pass_seconds(5)
        await post.deliver()
    (card,) = post.cards()
    assert "*Approved*" in words_of(card)
    assert (await Outbox(post.runtime).count()).get("lost", 0) == 0, "it was nobody's loss"


@pytest.mark.parametrize("kind", ["drop_after_store", "timeout_after_store"])
async def test_a_card_whose_post_ended_unclear_is_found_and_not_posted_again(post: Post, kind: str):
    post.bench.slack.faults.add(Fault("chat.postMessage", kind))
    run = await post.ask()
    await post.deliver()
    assert (await post.view(run)).card is None
    post.clock.pass_seconds(MINUTE)
    await post.deliver()
    (card,) = post.cards()
    found = (await post.view(run)).card
    assert found is not None
    assert found.message == card.ts
    assert buttons(card) == ["Approve", "Reject"]


async def test_a_lost_card_is_found_below_many_newer_messages(post: Post):
    post.bench.slack.faults.add(Fault("chat.postMessage", "drop_after_store"))
    run = await post.ask()
    await post.deliver()
    (lost,) = post.cards()
    for number in range(250):
        post.bench.slack.workspace.post(channel=CHANNEL, user=ALICE, text=f"lunch {number}")
    post.clock.pass_seconds(MINUTE)
    await post.deliver()
    found = (await post.view(run)).card
    assert found is not None
    assert found.message == lost.ts
    assert post.calls("conversations.history") == 3


async def test_what_somebody_else_posted_with_our_metadata_is_not_taken_for_our_card(post: Post):
    post.bench.slack.faults.add(Fault("chat.postMessage", "500"))
    run = await post.ask()
    await post.deliver()
    (row,) = post.bench.dump()["outbox"]
    forged = {"event_type": cards.METADATA, "event_payload": {"entry_id": row[0]}}
    fake = post.bench.slack.workspace.post(channel=CHANNEL, user=ALICE, text="Deploy", metadata=forged)
    post.clock.pass_seconds(MINUTE)
    await post.deliver()
    found = (await post.view(run)).card
    assert found is not None
    assert found.message != fake.ts


async def test_the_search_stops_after_five_pages_and_posts(post: Post):
    post.bench.slack.faults.add(Fault("chat.postMessage", "500"))
    await post.ask()
    await post.deliver()
    for number in range(600):
        post.bench.slack.workspace.post(channel=CHANNEL, user=ALICE, text=f"lunch {number}")
    post.clock.pass_seconds(MINUTE)
    await post.deliver()
    assert post.calls("conversations.history") == 5
    assert sum(message.app for message in post.cards()) == 1


async def test_a_thread_line_whose_post_ended_unclear_is_found_and_not_posted_again(post: Post):
    run = await post.ask()
    await post.deliver()
    (card,) = post.cards()
    await post.decide(run)
    post.clock.pass_seconds(2)
    post.bench.slack.faults.add(Fault("chat.postMessage", "drop_after_store"))
    await post.deliver()
    for _ in range(3):
        post.clock.pass_seconds(MINUTE)
        await post.deliver()
    (line,) = post.bench.slack.messages(CHANNEL, thread_ts=card.ts)
    assert "Approved by" in line.text


@pytest.mark.parametrize("method", ["chat.postMessage", "chat.update"])
@pytest.mark.parametrize(
    "error", ["invalid_blocks", "token_revoked", "missing_scope", "no_permission", "msg_too_long"]
)
async def test_what_trying_again_cannot_mend_is_parked_with_a_line_in_the_journal(
    post: Post, method: str, error: str
):
    run = await post.ask()
    if method == "chat.update":
        await post.deliver()
        await post.decide(run)
    post.bench.slack.faults.add(Fault(method, f"error:{error}"))
    await post.courier.deliver_one()
    (parked,) = await post.bench.events("outbox.parked")
    assert parked.data["error"] == error
    assert parked.request_id == (await post.view(run)).request.id
    counted = await Outbox(post.runtime).count()
    assert counted["parked"] == 1
    before = post.calls(method)
    post.clock.pass_seconds(24 * 3600)
    await post.deliver()
    if method == "chat.update":
        assert post.calls("chat.update") == before, "it is not tried again"


async def test_a_line_below_a_card_that_never_landed_is_left_out(post: Post):
    post.bench.slack.faults.add(Fault("chat.postMessage", "error:token_revoked"))
    run = await post.ask()
    await post.deliver()
    await post.decide(run, place=Place("cli"))
    await post.deliver()
    reasons = [event.data["error"] for event in await post.bench.events("outbox.parked")]
    assert reasons == ["token_revoked"], "the card says it all, once it is taken up"
    assert len(post.private()) == 1


async def test_one_card_that_cannot_be_drawn_holds_up_no_other(post: Post, monkeypatch: pytest.MonkeyPatch):
    await post.ask()
    # A limit that Slack lowers one day: the models of slack_sdk refuse what is longer.
    monkeypatch.setattr("slack_sdk.models.blocks.blocks.HeaderBlock.text_max_length", 5)
    await post.deliver()
    monkeypatch.undo()
    (parked,) = await post.bench.events("outbox.parked")
    assert parked.data["error"].startswith("it cannot be drawn")
    await post.ask(policy="general")
    await post.deliver()
    assert len(post.cards(GENERAL)) == 1


async def test_a_card_drawn_at_an_old_revision_is_drawn_again(post: Post):
    go_on = asyncio.Event()
    post.bench.slack.faults.add(Fault("chat.postMessage", "hold_after_store", hold=go_on))
    run = await post.ask()
    drawing = asyncio.create_task(post.courier.deliver_one())
    (card,) = await post.bench.slack.wait_for(post.cards)
    await post.decide(run, place=Place("cli"))
    go_on.set()
    assert await drawing
    assert buttons(card), "the old drawing was the first to land"
    await post.deliver()
    (shown,) = post.cards()
    assert "*Approved*" in words_of(shown)
    assert buttons(shown) == []


async def test_an_update_that_was_overtaken_by_another_courier_cannot_win(post: Post):
    run = await post.ask()
    await post.deliver()
    slow, fast = post.courier, post.new_courier()
    go_on = asyncio.Event()
    await post.decide(run)
    post.bench.slack.faults.add(Fault("chat.update", "hold_after_store", hold=go_on))
    stuck = asyncio.create_task(slow.deliver_one())
    await post.bench.slack.wait_for(lambda: "*Approved*" in words_of(post.cards()[0]))
    post.clock.pass_seconds(31)
    await post.runtime.advance(run.id)
    while "the run completed" not in words_of(post.cards()[0]):
        assert await fast.deliver_one()
    go_on.set()
    assert await stuck, "the slow one finds that the entry is no longer its own"
    # Whatever the slow one's call did, the card is drawn once more when it must be over.
    before = post.calls("chat.update")
    post.clock.pass_seconds(REDRAW_AFTER / SECOND + 1)
    while await fast.deliver_one():
        post.clock.pass_seconds(2)
    assert post.calls("chat.update") == before + 1
    assert "the run completed" in words_of(post.cards()[0])
    card = post.cards()[0]
    assert len(post.bench.slack.messages(CHANNEL, thread_ts=card.ts)) == 2


async def test_a_courier_that_fails_after_it_was_overtaken_leaves_the_entry_alone(post: Post):
    run = await post.ask()
    await post.deliver()
    await post.decide(run)
    post.bench.slack.faults.add(Fault("chat.update", "timeout_after_store"))
    stuck = asyncio.create_task(post.courier.deliver_one())
    await post.bench.slack.wait_for(lambda: "*Approved*" in words_of(post.cards()[0]))
    post.clock.pass_seconds(31)
    fast = post.new_courier()
    assert await fast.deliver_one()
    drawn = post.bench.dump()["outbox"]
    assert await stuck, "it timed out, and the entry is no longer its own to give back"
    assert post.bench.dump()["outbox"] == drawn


async def test_a_line_that_was_overtaken_stands_in_the_thread_once(post: Post):
    run = await post.ask()
    await post.deliver()
    (card,) = post.cards()
    await post.decide(run)
    assert await post.courier.deliver_one(), "the card"
    post.clock.pass_seconds(2)
    assert await Outbox(post.runtime).claim(), "a courier that dies with the line in hand"
    for _ in range(4):
        post.clock.pass_seconds(40)
        await post.deliver()
    assert len(post.bench.slack.messages(CHANNEL, thread_ts=card.ts)) == 1


# -- who asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["drop_after_store", "timeout_after_store", "error:fatal_error"])
async def test_who_asked_is_told_once_by_themselves_however_the_post_ended(post: Post, kind: str):
    run = await post.ask()
    await post.deliver()
    await post.decide(run)
    await post.runtime.advance(run.id)
    for _ in range(2):  # the card, the line below it
        await post.courier.deliver_one()
        post.clock.pass_seconds(2)
    post.bench.slack.faults.add(Fault("chat.postMessage", kind))
    for _ in range(4):
        await post.deliver()
        post.clock.pass_seconds(MINUTE)
    (told,) = post.private()
    assert told.text == f":white_check_mark: “Deploy payments” in <#{CHANNEL}> was approved by <@{ALICE}>."
    (card,) = post.cards()
    lines = [line.text for line in post.bench.slack.messages(CHANNEL, thread_ts=card.ts)]
    assert [line.split(" ")[0] for line in lines] == [":white_check_mark:", ":checkered_flag:"]
    assert await Outbox(post.runtime).count() == {}


@pytest.mark.parametrize("method", ["conversations.open", "chat.postMessage"])
@pytest.mark.parametrize(
    "error", ["user_disabled", "cannot_dm_bot", "messages_tab_disabled", "missing_scope"]
)
async def test_who_cannot_be_told_by_themselves_holds_up_no_line(post: Post, method: str, error: str):
    run = await post.ask()
    await post.deliver()
    await post.decide(run)
    await post.runtime.advance(run.id)
    for _ in range(2):
        await post.courier.deliver_one()
        post.clock.pass_seconds(2)
    post.bench.slack.faults.add(Fault(method, f"error:{error}"))
    await post.deliver()
    post.clock.pass_seconds(2)
    await post.deliver()
    assert post.private() == []
    (card,) = post.cards()
    assert len(post.bench.slack.messages(CHANNEL, thread_ts=card.ts)) == 2
    assert await Outbox(post.runtime).count() == {}
    assert await post.bench.events("outbox.parked") == []


async def test_a_direct_message_that_slack_does_not_open_now_is_tried_again(post: Post):
    run = await post.ask()
    await post.deliver()
    await post.decide(run)
    post.bench.slack.faults.add(Fault("conversations.open", "ratelimited", retry_after=7))
    post.clock.pass_seconds(2)
    await post.deliver()
    assert post.private() == []
    post.clock.pass_seconds(8)
    await post.deliver()
    assert len(post.private()) == 1


@pytest.mark.parametrize("requester", ["ci-pipeline", "U0NOBODY", GONE])
async def test_who_is_nobody_that_slack_could_tell_is_not_told(post: Post, requester: str):
    run = await post.ask(requester=requester)
    await post.deliver()
    await post.decide(run)
    post.clock.pass_seconds(2)
    await post.deliver()
    assert post.calls("conversations.open") == (requester != "ci-pipeline")
    assert await Outbox(post.runtime).count() == {}
    assert post.calls("chat.postMessage") == 2


async def test_one_channel_gets_one_message_a_second_and_holds_up_no_other(post: Post):
    for _ in range(3):
        await post.ask()
    await post.ask(policy="general")
    await post.deliver()
    assert (len(post.cards()), len(post.cards(GENERAL))) == (1, 1)
    for number in (2, 3):
        post.clock.pass_seconds(CHANNEL_PACE / SECOND - 0.1)
        await post.deliver()
        assert len(post.cards()) == number - 1
        post.clock.pass_seconds(0.2)
        await post.deliver()
        assert len(post.cards()) == number
    assert {row[5] for row in post.bench.dump()["outbox"]} == {0}, "waiting for a turn is no attempt"


async def test_a_call_that_hangs_is_given_up_before_the_lease_lapses(post: Post):
    post.bench.slack.faults.add(Fault("chat.postMessage", "timeout_after_store"))
    async with ClientSession() as patient:
        post.client = slack_client(post.settings, patient)
        post.courier = post.new_courier(post.runtime, lease=SECOND // 4)
        await post.ask()
        await asyncio.wait_for(post.courier.deliver_one(), 2)
    (row,) = post.bench.dump()["outbox"]
    assert "TimeoutError" in row


async def test_a_house_of_couriers_posts_each_card_once(post: Post):
    for _ in range(6):
        await post.ask(policy="general")
    others = [post.new_courier(post._runtime(f"courier {n}")) for n in range(4)]
    for _ in range(12):
        await asyncio.gather(*(courier.deliver_one() for courier in others))
        post.clock.pass_seconds(1.1)
    posted = [message.metadata["event_payload"]["request_id"] for message in post.cards(GENERAL)]
    assert len(posted) == len(set(posted)) == 6
