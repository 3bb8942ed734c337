"""Requests of several people as they see them in Slack, and the acceptance tests A1 to A5 and A11 of a deploy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bot_bench import (
    ALICE,
    BOB,
    CAROL,
    CHANNEL,
    DAVE,
    EXTERNAL,
    GENERAL,
    GUEST,
    OPERATOR,
    Bench,
    Spawn,
    bot_here,
    buttons,
    in_both_modes,
    settings_file,
    settings_for,
    texts,
    words_of,
)
from kit import MovedClock

from bot import cards
from bot.sandbox import Fault, User

ERIN = "U0ERIN"


@pytest.fixture(autouse=True)
def _erin(bench: Bench) -> None:
    """One more of sre, who owns nothing."""
    bench.slack.workspace.add_user(User(ERIN, "erin", "Erin Evans"), channels=[CHANNEL, GENERAL])
    bench.slack.workspace.set_group("S0SRE", [ALICE, BOB, ERIN])


def progress(card: Any) -> str:
    """Return the line of the card that says how far it is."""
    (line,) = [text for text in texts(card.blocks) if "approved*" in text]
    return line


async def doubled(bench: Bench) -> None:
    run = await bench.start(policy="several")
    card = await bench.card(run)
    payload = bench.payload(card, user=ALICE)

    async def again() -> Any:
        await asyncio.sleep(0.005)
        return await bench.deliver(payload)

    answers = await asyncio.gather(bench.deliver(payload), again())
    assert [one.outcome for one in answers] == ["acked", "acked"]
    assert "You have already approved. Nothing more was recorded" in await bench.private(ALICE)
    await bench.quiet()
    view = await bench.request(run)
    assert [vote.reviewer for vote in view.votes] == [ALICE]
    assert (view.request.status, str(view.standing)) == ("open", "1 of 2 sre, 0 of 1 owners")
    assert await bench.refusals() == ["ALREADY_VOTED"]
    assert len(await bench.thread(card, 1)) == 1


@in_both_modes
async def test_a1_a_click_that_is_delivered_twice_is_one_vote(bot: Bench):
    await doubled(bot)


@pytest.mark.processes
async def test_a1_a_click_that_is_delivered_twice_through_two_processes_is_one_vote(
    bench: Bench, spawn: Spawn
):
    first = await spawn(settings_file(bench.slack, bench.folder, name="one.toml"))
    second = await spawn(settings_file(bench.slack, bench.folder, name="two.toml"))
    await bench.slack.wait_for(lambda: bench.slack.connections == 2)
    await doubled(bench)
    assert [await first.stop(), await second.stop()] == [0, 0]


@in_both_modes
async def test_a2_the_requester_does_not_approve_and_takes_it_back(bot: Bench):
    run = await bot.start(policy="several")
    card = await bot.card(run)
    await bot.click(card, user=ALICE)
    await bot.click(card, user=CAROL)
    assert "somebody else must approve it" in await bot.private(CAROL)
    assert await bot.refusals() == ["SELF_APPROVAL"]
    assert len((await bot.request(run)).votes) == 1
    assert (await bot.reject(card, "I found a mistake", user=CAROL)).outcome == "acked"
    await bot.drawn(card, f"*Rejected* by <@{CAROL}>")
    assert (await bot.rests(run, "completed")).error is None
    assert bot.published() == []


@pytest.mark.parametrize(("who", "code"), [(GUEST, "GUEST_USER"), (EXTERNAL, "EXTERNAL_USER")])
async def test_a3_guests_and_people_of_other_workspaces_never_vote(bot: Bench, who: str, code: str):
    bot.slack.workspace.set_group("S0SRE", [ALICE, BOB, who])
    run = await bot.start(policy="several")
    card = await bot.card(run)
    for action in (cards.APPROVE, cards.REJECT):
        await bot.click(card, action, user=who)
    await bot.private(who, 2)
    assert await bot.refusals() == [code, code]
    assert (await bot.request(run)).votes == ()


@pytest.mark.parametrize("kind", ["500", "ratelimited", "error:fatal_error"])
async def test_a4_when_groups_cannot_be_looked_up_nobody_is_let_through(bot: Bench, kind: str):
    run = await bot.start(policy="several")
    card = await bot.card(run)
    bot.slack.faults.add(Fault("usergroups.users.list", kind, times=2))
    await bot.click(card, user=ALICE)
    assert "try again in a minute" in await bot.private(ALICE)
    assert await bot.refusals() == ["MEMBERSHIP_UNKNOWN"]
    assert (await bot.request(run)).votes == ()
    await bot.click(card, user=ALICE)
    await bot.drawn(card, "1 of 3 approved")


@in_both_modes
async def test_a5_two_people_in_both_groups_do_not_stand_for_three(bot: Bench):
    run = await bot.start(policy="several")
    card = await bot.card(run)
    await bot.click(card, user=ALICE)
    await bot.click(card, user=BOB)
    shown = await bot.drawn(card, "2 of 3 approved")
    assert (await bot.rests(run, "interrupted")).error is None
    assert progress(shown).endswith(f"<@{ALICE}>, <@{BOB}>")
    await bot.click(card, user=ERIN)
    done = await bot.drawn(card, "the run completed")
    assert f"*Approved* by <@{ALICE}>, <@{BOB}>, <@{ERIN}>" in words_of(done)
    assert len(bot.published()) == 1


async def test_a11_a_deadline_closes_it_and_names_nobody(bench: Bench, moved: MovedClock):
    async with bot_here(settings_for(bench.slack, bench.folder), clock=moved):
        run = await bench.start(policy="pair")
        card = await bench.card(run)
        late = bench.payload(card, user=BOB)
        await bench.click(card, user=ALICE)
        await bench.drawn(card, "1 of 2 approved")
        moved.pass_seconds(4 * 3_600)
        done = await bench.drawn(card, "*Timed out*")
        assert "nobody decided, which counts as a no" in words_of(done)
        assert f"by <@{ALICE}>" not in words_of(done)
        assert buttons(done) == []
        await bench.deliver(late)
        assert "The deadline has passed" in await bench.private(BOB)
        assert (await bench.rests(run, "completed")).error is None
        assert bench.published() == []
        (line,) = await bench.events("request.timed_out")
        assert line.actor is None


# -- what people see -------------------------------------------------------------------------------------------


async def test_a_card_says_how_far_it_is_in_one_line_above_who_may(bot: Bench):
    run = await bot.start(policy="several")
    card = await bot.card(run)
    header, _, line, context, _, _ = card.blocks
    assert header["text"]["text"] == "Deploy payments"
    assert texts(line) == ["*0 of 3 approved* · 0 of 2 sre, 0 of 1 owners"]
    (who,) = texts(context)
    assert f"needs 2 of <!subteam^S0SRE> and one of <!subteam^S0OWN>, not <@{CAROL}>" in who
    await bot.click(card, user=DAVE)
    shown = await bot.drawn(card, "1 of 3 approved")
    assert progress(shown) == (
        f"*1 of 3 approved* · 0 of 2 sre, :white_check_mark: 1 of 1 owners · :white_check_mark: <@{DAVE}>"
    )
    assert "*1 of 3 approved*" in shown.text, "a screen reader reads only the text"
    assert buttons(shown) == ["Approve", "Reject"]


async def test_each_vote_has_its_line_below_the_card_as_it_stood_then(bot: Bench):
    run = await bot.start(policy="several")
    card = await bot.card(run)
    for who in (ALICE, ERIN, DAVE):
        await bot.click(card, user=who)
    lines = await bot.thread(card, 4)
    assert [line.split("\n")[0] for line in lines] == [
        f":white_check_mark: <@{ALICE}> approved: 1 of 2 sre, 0 of 1 owners.",
        f":white_check_mark: <@{ERIN}> approved: :white_check_mark: 2 of 2 sre, 0 of 1 owners.",
        f":white_check_mark: Approved by <@{DAVE}> for <@{CAROL}>.",
        f":checkered_flag: The run completed for <@{CAROL}>.",
    ]


async def test_one_who_is_not_needed_any_more_is_told_so(bot: Bench):
    run = await bot.start(policy="several")
    card = await bot.card(run)
    bot.slack.workspace.set_group("S0OWN", [DAVE])
    for who in (ALICE, BOB, ERIN):
        await bot.click(card, user=who)
    assert "Enough of your group have approved" in await bot.private(ERIN)
    await bot.click(card, user=DAVE)
    await bot.drawn(card, "the run completed")


async def test_members_of_a_channel_and_who_is_on_call_may_decide(bot: Bench):
    first, second = await bot.start(policy="channel"), await bot.start(policy="on-call")
    card, other = await bot.card(first), await bot.card(second)
    assert f"needs one of members of <#{GENERAL}>" in words_of(card)
    assert "needs one of who is on call for primary" in words_of(other)
    await bot.click(other, user=ALICE)
    assert "You are not among those" in await bot.private(ALICE)
    await bot.click(other, user=DAVE)
    await bot.drawn(other, f"*Approved* by <@{DAVE}>")
    await bot.click(card, user=ALICE)
    await bot.drawn(card, f"*Approved* by <@{ALICE}>")


@in_both_modes
async def test_what_must_be_typed_is_asked_in_a_dialog_and_told_at_its_field(bot: Bench):
    run = await bot.start(policy="typed", facts={"service": "payments"})
    card = await bot.card(run)
    await bot.click(card, cards.CONFIRM, user=CAROL)
    assert "somebody else must approve it" in await bot.private(CAROL)
    assert bot.slack.modals(CAROL) == []
    assert (await bot.click(card, cards.CONFIRM)).outcome == "acked"
    (dialog,) = bot.slack.modals(ALICE)
    assert "Type payments to confirm" in texts(dialog.blocks)
    typed = {cards.CONFIRM_BLOCK: {cards.CONFIRM_INPUT: "payment"}}
    answered = await bot.slack.submit(user=ALICE, view_id=dialog.id, values=typed)
    assert answered.response == {
        "response_action": "errors",
        "errors": {cards.CONFIRM_BLOCK: "Type payments to confirm. Nothing was recorded."},
    }
    typed = {cards.CONFIRM_BLOCK: {cards.CONFIRM_INPUT: " payments "}}
    await bot.slack.submit(user=ALICE, view_id=dialog.id, values=typed)
    await bot.drawn(card, f"*Approved* by <@{ALICE}>")
    (vote,) = (await bot.request(run)).votes
    assert vote.reason is None


async def test_a_plain_click_does_not_get_past_what_must_be_typed(bot: Bench):
    run = await bot.start(policy="typed", facts={"service": "payments"})
    card = await bot.card(run)
    payload = bot.payload(card, cards.CONFIRM)
    payload["actions"][0]["action_id"] = cards.APPROVE
    assert (await bot.deliver(payload)).outcome == "acked"
    assert "Type payments to confirm" in await bot.private(ALICE)
    assert (await bot.request(run)).votes == ()


async def test_what_the_policy_decides_by_itself_has_no_card(bot: Bench):
    run = await bot.start(policy="small", facts={"amount": 49})
    assert (await bot.rests(run, "completed")).error is None
    await bot.quiet()
    assert len(bot.published()) == 1
    assert bot.slack.messages(CHANNEL) == []
    (line,) = await bot.events("request.approved")
    assert (line.actor, line.data["tier"]) == ("policy", "small")
    (told,) = bot.slack.messages(CAROL)
    assert words_of(told).startswith(
        ":white_check_mark: “Deploy payments” was approved by the policy `small`, by its tier `small`: "
        "nobody was asked."
    )


async def test_forty_hands_on_a_card_of_three_make_one_decision(bot: Bench):
    people = [f"U0SRE{n:02}" for n in range(40)]
    for person in people:
        bot.slack.workspace.add_user(User(person, person.lower(), f"Reviewer {person}"), channels=[CHANNEL])
    bot.slack.workspace.set_group("S0SRE", people)
    bot.slack.workspace.set_group("S0OWN", people)
    run = await bot.start(policy="several")
    card = await bot.card(run)
    clicks = [bot.deliver(bot.payload(card, user=person)) for person in people]
    assert {one.outcome for one in await asyncio.gather(*clicks)} == {"acked"}
    await bot.drawn(card, "the run completed")
    await bot.quiet()
    view = await bot.request(run)
    assert (len(view.votes), view.request.revision) == (3, 4)
    assert await bot.refusals() == ["ALREADY_DECIDED"] * 37
    assert len(bot.published()) == 1


async def test_show_says_what_is_still_needed(bot: Bench):
    run = await bot.start(policy="several")
    card = await bot.card(run)
    await bot.click(card, user=DAVE)
    await bot.drawn(card, "1 of 3 approved")
    assert "0 of 2 sre, 1 of 1 owners" in await bot.slash(f"show {run.id}", user=OPERATOR)
