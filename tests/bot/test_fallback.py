"""A card whose place is lost: where it goes, what counts then, and what the operators are told of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bot_bench import ALICE, BOB, CAROL, CHANNEL, DAVE, GENERAL, GONE, OPERATOR, Cli, buttons, words_of
from post_bench import Post

from bot import cards
from bot.fallback import MOST_PEOPLE
from bot.sandbox import Fault, User
from graph_runtime import SECOND, Absences, Actor, Erasures, Outbox, Place, Refused, Run
from graph_runtime.types import PersonId

HOUR = 3_600


def alarms(post: Post) -> list[str]:
    return [message.text for message in post.private(OPERATOR)]


async def settled(post: Post) -> None:
    """Let the courier go until nothing is left for now, its pace included."""
    for _ in range(4):
        await post.deliver()
        post.clock.pass_seconds(2)


async def click(post: Post, run: Run, user: str, place: Place | None = None) -> Any:
    """Approve as Slack would hand it on, from the user's own card or from another place."""
    view = await post.view(run)
    ours = next((one for one in view.cards.values() if one.channel == f"D{user[1:]}"), None)
    ticket = cards.ticket_of(view, post.bench.store.deployment)
    at = place or ours
    assert at is not None
    return await post.approvals.decide(ticket, Actor(PersonId(user)), "approve", place=at)


def archive(post: Post) -> None:
    post.bench.slack.workspace.archive(CHANNEL)


def kick(post: Post) -> None:
    post.bench.slack.workspace.kick(CHANNEL)


@pytest.mark.parametrize(("lost", "when"), [(archive, "before"), (kick, "after")])
async def test_a_card_whose_channel_is_lost_goes_to_each_of_those_who_may_decide(
    post: Post, lost: Any, when: str
):
    if when == "before":
        lost(post)
    run = await post.ask(policy="pair")
    await settled(post)
    old = (await post.view(run)).card
    if when == "after":
        lost(post)
        await post.look_again()
        await settled(post)
    view = await post.view(run)
    assert sorted(place.channel for place in view.cards.values()) == ["D0ALICE", "D0BOB"]
    assert all(buttons(post.private(one)[-1]) == ["Approve", "Reject"] for one in (ALICE, BOB))
    assert "each of those who may decide has this card" in words_of(post.private(ALICE)[-1])
    if when == "after":
        with pytest.raises(Refused) as refused:
            await click(post, run, ALICE, old)
        assert refused.value.code == "CARD_REPLACED"
    await click(post, run, ALICE)
    await settled(post)
    assert "*1 of 2 approved*" in words_of(post.private(BOB)[0]), "every card is drawn anew at each vote"
    await click(post, run, BOB)
    await settled(post)
    for one in (ALICE, BOB):
        assert "*Approved* by" in words_of(post.private(one)[0])
        assert buttons(post.private(one)[0]) == []
    assert "<#D" not in post.private(CAROL)[0].text, "nobody is sent to another's direct messages"
    lines = post.bench.slack.messages("D0ALICE", thread_ts=post.private(ALICE)[0].ts)
    assert len(lines) == 2, "each line stands below each card"
    (told,) = alarms(post)
    assert told.startswith(f":warning: Cards cannot be shown in <#{CHANNEL}>")
    assert "go to 2 of those who may decide" in told
    assert await Outbox(post.runtime).count() == {"lost": 1}


async def test_where_the_settings_name_a_channel_for_that_the_card_goes_there_first(post: Post):
    post.settings = post.settings.model_copy(
        update={"slack": post.settings.slack.model_copy(update={"fallback_channel": GENERAL})}
    )
    post.courier = post.new_courier(post.runtime)
    archive(post)
    run = await post.ask()
    await settled(post)
    (card,) = post.cards(GENERAL)
    assert (await post.view(run)).card == post.place(GENERAL, card.ts)
    assert f"go to <#{GENERAL}>" in alarms(post)[0]
    # And when that is lost too, to those who may decide.
    post.bench.slack.workspace.archive(GENERAL)
    await post.look_again(GENERAL)
    await settled(post)
    assert len((await post.view(run)).cards) == 2
    assert len(alarms(post)) == 2


async def test_the_requester_and_who_has_left_get_no_card_and_each_rule_has_its_share(post: Post):
    crowd = [f"U0CROWD{number:02}" for number in range(30)]
    for one in crowd:
        post.bench.slack.workspace.add_user(User(one, one.lower(), one.title()))
    post.bench.slack.workspace.set_group("S0SRE", [*crowd, GONE, CAROL])
    post.bench.slack.workspace.set_group("S0OWN", [DAVE])
    archive(post)
    run = await post.ask(policy="several")
    await settled(post)
    channels = {place.channel for place in (await post.view(run)).cards.values()}
    assert len(channels) == MOST_PEOPLE
    assert "D0DAVE" in channels
    assert not channels & {"D0CAROL", "D0ZOE"}


async def test_a_deleted_message_is_posted_once_more_beside_it_and_the_old_one_does_not_count(post: Post):
    run = await post.ask(policy="pair")
    await settled(post)
    (old,) = post.cards()
    post.bench.slack.workspace.delete_message(CHANNEL, old.ts)
    await click(post, run, ALICE, post.place(CHANNEL, old.ts))
    await settled(post)
    (new,) = post.cards()
    assert "*1 of 2 approved*" in words_of(new)
    with pytest.raises(Refused) as refused:
        await click(post, run, BOB, post.place(CHANNEL, old.ts))
    assert refused.value.code == "CARD_REPLACED"
    await click(post, run, BOB, post.place(CHANNEL, new.ts))
    assert alarms(post) == [], "a deleted message is nobody's trouble"


async def test_a_closed_request_s_lost_card_is_only_noted(post: Post):
    run = await post.ask()
    await settled(post)
    archive(post)
    await post.decide(run)
    await settled(post)
    assert (await post.view(run)).cards == {}
    assert post.private(ALICE) == []
    assert alarms(post) == []
    assert await Outbox(post.runtime).count() == {"lost": 1}
    (noted,) = await post.bench.events("card.lost")
    assert (noted.data["error"], noted.data["instead"]) == ("is_inactive", [])
    assert len(post.private(CAROL)) == 1, "who asked is told all the same"


async def test_a_card_that_was_decided_while_it_moved_is_not_posted_again(post: Post):
    archive(post)
    run = await post.ask()
    assert await post.courier.deliver_one(), "it is replaced"
    await post.decide(run, place=Place("cli"))
    await settled(post)
    assert post.private(ALICE) == post.private(BOB) == []
    assert (await Outbox(post.runtime).count()).keys() == {"lost"}


async def test_a_reminder_below_a_lost_card_brings_the_new_one_and_stands_there(post: Post):
    run = await post.ask(policy="reminded")
    await settled(post)
    kick(post)
    post.clock.pass_seconds(31 * 60)
    assert await post.approvals.expire_due()
    await settled(post)
    await settled(post)
    places = (await post.view(run)).cards.values()
    assert sorted(one.channel for one in places) == ["D0ALICE", "D0BOB"]
    for one in places:
        (line,) = post.bench.slack.messages(one.channel, thread_ts=one.message)
        assert "Still needed" in line.text


@pytest.mark.parametrize("error", ["missing_scope"])
async def test_when_nobody_is_reached_the_last_card_is_parked_and_told_after_all_once_it_is_mended(
    post: Post, error: str, cli: Cli
):
    archive(post)
    post.bench.slack.faults.add(Fault("conversations.open", f"error:{error}", times=2))
    run = await post.ask()
    for _ in range(3):  # the card, then both instead of it
        assert await post.courier.deliver_one()
    assert (await post.view(run)).cards == {}
    assert (await Outbox(post.runtime).count())["parked"] == 1, "the last one stays"
    await settled(post)
    assert len(alarms(post)) == 3, "that it moved, that one was not reached, that the last one was not"
    assert "`signoff outbox list` shows everything that was given up" in alarms(post)[-1]
    listed = await cli("outbox", "list", "--json")
    (parked,) = listed.json
    assert (parked["status"], parked["why"]) == ("parked", error)
    assert parked["entry"] in (await cli("outbox", "list")).out
    assert (await cli("outbox", "retry", "out-none")).code == 1
    assert await post.bench.events("outbox.taken_up") == [], "nothing was"
    assert (await cli("outbox", "retry")).out.startswith("1 will be told")
    await settled(post)
    assert len((await post.view(run)).cards) == 1
    assert (await cli("outbox", "list")).out.startswith("Everything was told")


async def test_of_two_last_cards_that_are_lost_at_once_one_stays(post: Post):
    archive(post)
    run = await post.ask()
    await post.courier.deliver_one()
    post.bench.slack.faults.add(Fault("conversations.open", "error:user_disabled", times=2))
    other = post.new_courier()
    await asyncio.gather(post.courier.deliver_one(), other.deliver_one())
    assert (await post.view(run)).cards == {}
    assert (await Outbox(post.runtime).count())["parked"] == 1


@pytest.mark.parametrize("error", ["is_archived", "token_revoked"])
async def test_many_cards_of_one_cause_are_one_alarm_an_hour(post: Post, error: str):
    post.bench.slack.workspace.set_group("S0SRE", [ALICE])
    post.bench.slack.faults.add(Fault("chat.postMessage", f"error:{error}", times=5))
    for _ in range(5):
        await post.ask()
    for _ in range(5):
        await post.courier.deliver_one()
        post.clock.pass_seconds(2)
    await settled(post)
    assert len(alarms(post)) == 1
    post.clock.pass_seconds(HOUR)
    post.bench.slack.faults.add(Fault("chat.postMessage", f"error:{error}"))
    await post.ask()
    await settled(post)
    assert len(alarms(post)) == 2


async def test_an_alarm_that_reaches_nobody_is_in_the_outbox_and_alarms_nobody(post: Post):
    post.bench.slack.faults.add(Fault("chat.postMessage", "error:token_revoked", times=9))
    await post.ask()
    await settled(post)
    found = await Outbox(post.runtime).troubled()
    assert [(one.kind, one.status, one.error) for one in found] == [
        ("card", "parked", "token_revoked"),
        ("alarm", "parked", "token_revoked"),
    ]


async def test_who_may_decide_is_asked_again_while_slack_does_not_say(post: Post):
    archive(post)
    post.bench.slack.faults.add(Fault("usergroups.users.list", "500"))
    run = await post.ask()
    assert await post.courier.deliver_one()
    (waits,) = await Outbox(post.runtime).troubled()
    assert (waits.status, waits.error) == ("pending", "is_archived")
    await settled(post)
    assert len((await post.view(run)).cards) == 2


async def test_a_card_by_direct_message_whose_post_ended_unclear_is_found_and_not_posted_again(post: Post):
    archive(post)
    run = await post.ask()
    await post.courier.deliver_one()
    post.bench.slack.faults.add(Fault("chat.postMessage", "drop_after_store"))
    await settled(post)
    await settled(post)
    assert (len(post.private(ALICE)), len(post.private(BOB))) == (1, 1)
    assert len((await post.view(run)).cards) == 2


async def test_a_line_below_a_message_that_reaches_nobody_holds_no_other_up(post: Post):
    archive(post)
    run = await post.ask(policy="pair")
    await settled(post)
    post.bench.slack.faults.add(Fault("chat.postMessage", "error:messages_tab_disabled", times=1_000))
    await click(post, run, ALICE)
    for _ in range(12):
        await post.deliver()
        post.clock.pass_seconds(400)
    assert not (await Outbox(post.runtime).count()).get("pending")


async def test_who_acts_for_somebody_who_is_away_gets_the_card_too(post: Post):
    run = await post.ask(policy="pair")
    await settled(post)
    absences = Absences(post.runtime, post.directory)
    await absences.delegate(ALICE, DAVE, until=post.clock() + 24 * HOUR * SECOND, by=ALICE)
    kick(post)
    await post.look_again()
    await settled(post)
    channels = {place.channel for place in (await post.view(run)).cards.values()}
    assert {f"D{ALICE[1:]}", f"D{DAVE[1:]}"} <= channels


async def test_a_card_that_may_not_be_edited_any_more_has_its_end_told_below_it(post: Post):
    run = await post.ask()
    await settled(post)
    (card,) = post.cards()
    post.bench.slack.faults.add(Fault("chat.update", "error:edit_window_closed", times=99))
    await post.decide(run)
    await settled(post)
    (line,) = post.bench.slack.messages(CHANNEL, card.ts)
    assert "Approved" in line.text


async def test_erasing_words_draws_no_lost_card_again(post: Post):
    run = await post.ask(policy="pair")
    await settled(post)
    view = await post.view(run)
    assert view.card is not None
    ticket = cards.ticket_of(view, post.bench.store.deployment)
    who = Actor(PersonId(ALICE))
    await post.approvals.decide(ticket, who, "approve", place=view.card, reason="words of mine")
    await settled(post)
    kick(post)
    await post.look_again()
    await settled(post)
    before = (await post.view(run)).cards
    await Erasures(post.runtime.ground).erase(ALICE, actor=OPERATOR)
    await settled(post)
    assert (await post.view(run)).cards == before
