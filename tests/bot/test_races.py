"""Many hands at once, on one process and on two: one decision, one resume, and everybody is answered."""

from __future__ import annotations

import asyncio

import pytest
from bot_bench import ALICE, BOB, CHANNEL, OPERATOR, Bench, Spawn, in_both_modes, settings_file, texts

from bot import cards
from bot.sandbox import User


def crowd(bench: Bench, number: int) -> list[str]:
    """Return so many new members of the group that may decide."""
    people = [f"U0SRE{n:02}" for n in range(number)]
    for person in people:
        bench.slack.workspace.add_user(User(person, person.lower(), f"Reviewer {person}"), channels=[CHANNEL])
    bench.slack.workspace.set_group("S0SRE", people)
    return people


async def forty_hands(bench: Bench) -> None:
    """Twenty approvals and twenty rejections of one card at the same moment."""
    people = crowd(bench, 40)
    approving, rejecting = people[:20], people[20:]
    run = await bench.start()
    card = await bench.card(run)
    for person in rejecting:
        assert (await bench.click(card, cards.REJECT, user=person)).outcome == "acked"
    reason = {cards.REASON_BLOCK: {cards.REASON_INPUT: "No"}}
    views = {person: bench.slack.modals(person)[-1].id for person in rejecting}
    clicks = [bench.deliver(bench.payload(card, user=person)) for person in approving]
    submissions = [bench.slack.submit(user=p, view_id=views[p], values=reason) for p in rejecting]
    mixed = [hand for pair in zip(clicks, submissions, strict=True) for hand in pair]
    outcomes = [answer.outcome for answer in await asyncio.gather(*mixed)]
    assert outcomes == ["acked"] * 40
    await bench.drawn(card, "the run completed")
    await bench.slack.wait_for(lambda: answered(bench, approving, rejecting) == 39)
    await bench.quiet()
    assert answered(bench, approving, rejecting) == 39
    assert all(len(bench.slack.ephemerals(person)) <= 1 for person in people)
    assert await bench.refusals() == ["ALREADY_DECIDED"] * 39
    (vote,) = (await bench.request(run)).votes
    assert len(bench.published()) == (1 if vote.verdict == "approve" else 0)
    assert len(await bench.events("run.completed")) == 1
    assert len(bench.slack.messages(CHANNEL, thread_ts=card.ts)) == 2
    # Everybody who was refused was told by whom.
    told = [one.text for one in bench.slack.ephemerals() if one.user in approving]
    told += [" ".join(texts(view.blocks)) for person in rejecting for view in bench.slack.modals(person)]
    assert len(told) == 39
    assert all(f"already decided by <@{vote.reviewer}>" in words for words in told)


def answered(bench: Bench, approving: list[str], rejecting: list[str]) -> int:
    """Count who was told that it came too late: privately, or in the dialog they had open."""
    sentences = sum(len(bench.slack.ephemerals(person)) for person in approving)
    notices = sum(view.title == "Not recorded" for p in rejecting for view in bench.slack.modals(p))
    return sentences + notices


@pytest.mark.processes
async def test_forty_hands_on_two_processes_make_one_decision(bench: Bench, spawn: Spawn):
    first = await spawn(settings_file(bench.slack, bench.folder, name="one.toml"))
    second = await spawn(settings_file(bench.slack, bench.folder, name="two.toml"))
    await bench.slack.wait_for(lambda: bench.slack.connections == 2)
    await forty_hands(bench)
    assert [await first.stop(), await second.stop()] == [0, 0]


@in_both_modes
async def test_forty_hands_on_one_process_make_one_decision(bot: Bench):
    await forty_hands(bot)


async def test_a_click_and_a_cancel_at_once_leave_no_card_open(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    cancel = bot.slack.slash(user=OPERATOR, channel=CHANNEL, command="/signoff", text=f"cancel {run.id}")
    clicked, cancelled = await asyncio.gather(bot.deliver(bot.payload(card)), cancel)
    assert (clicked.outcome, cancelled.outcome) == ("acked", "acked")
    await bot.quiet()
    status, ended = (await bot.request(run)).request.status, (await bot.runtime.get(run.id)).status
    assert (status, ended) in {
        ("approved", "cancelled"),
        ("approved", "completed"),
        ("withdrawn", "cancelled"),
    }
    assert len(bot.published()) <= (1 if status == "approved" else 0)
    (shown,) = bot.slack.messages(CHANNEL)
    assert {"approved": "*Approved*", "withdrawn": "*Withdrawn*"}[status] in shown.text


async def test_one_person_who_clicks_ten_times_at_once_decides_once(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    clicks = [bot.deliver(bot.payload(card, user=user)) for user in (ALICE, BOB) for _ in range(5)]
    assert {answer.outcome for answer in await asyncio.gather(*clicks)} == {"acked"}
    await bot.slack.wait_for(lambda: len(bot.slack.ephemerals(ALICE) + bot.slack.ephemerals(BOB)) == 9)
    await bot.rests(run, "completed")
    assert len(bot.dump()["decisions"]) == 1
    assert len(bot.published()) == 1
