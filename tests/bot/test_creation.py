"""D1 in Slack: a request that nobody could approve is no dead card, but a run that says why it failed."""

from __future__ import annotations

import asyncio

import pytest
from bot_bench import ALICE, BOB, CAROL, CHANNEL, GUEST, OPERATOR, Bench

from bot.sandbox import Fault


@pytest.mark.parametrize("others", [[CAROL], [GUEST]], ids=["the requester", "a guest"])
async def test_d1_a_group_with_too_few_who_may_approve_is_a_failed_run_and_no_card(
    bot: Bench, others: list[str]
):
    bot.slack.workspace.set_group("S0SRE", [ALICE, *others])
    run = await bot.rests(await bot.start(policy="pair"), "failed")
    assert run.error is not None
    assert "2 of sre must approve, and only 1 could" in run.error["message"]
    assert "failed (PolicyError)" in await bot.slash(f"show {run.id}", user=OPERATOR)
    await bot.quiet()
    assert await bot.events("request.opened") == []
    assert not [one for one in bot.slack.messages(CHANNEL) if "Deploy payments" in one.text]


async def test_who_is_added_to_the_group_is_seen_as_soon_as_slack_says_so(bot: Bench):
    bot.slack.workspace.set_group("S0SRE", [ALICE])
    await bot.rests(await bot.start(policy="pair"), "failed")
    bot.slack.workspace.set_group("S0SRE", [ALICE, BOB])
    updated = {"type": "subteam_updated", "subteam": {"id": "S0SRE"}}
    assert (await bot.deliver(bot.slack.event(updated), "events_api")).outcome == "acked"
    card = await bot.card(await bot.start(policy="pair"))
    for who in (ALICE, BOB):
        await bot.click(card, user=who)
    await bot.drawn(card, "*Approved*")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("usergroups.users.list", "500"),
        Fault("users.info", "ratelimited"),
    ],
    ids=lambda fault: f"{fault.method} {fault.kind}",
)
async def test_when_slack_does_not_answer_the_card_is_posted_and_the_click_decides(bot: Bench, fault: Fault):
    await bot.card(await bot.start(policy="lenient"))  # Slack has said who the operator is
    bot.slack.faults.add(fault)
    card = await bot.card(await bot.start(policy="pair"))
    for who in (ALICE, BOB):
        await bot.click(card, user=who)
    await bot.drawn(card, "*Approved*")
    assert await bot.refusals() == []
    assert fault.method in [line.kind for line in bot.slack.log if line.outcome != "ok"]


async def test_many_questions_at_once_ask_slack_once_who_is_in_their_group(bot: Bench):
    given = {"service": "payments", "effects": str(bot.effects), "policy": "pair"}
    runs = await asyncio.gather(*(bot.runtime.start("deploy", given) for _ in range(12)))
    for run in runs:
        await bot.rests(run, "interrupted")
    calls = [line.kind for line in bot.slack.log]
    assert calls.count("usergroups.users.list") == 1
    assert calls.count("users.info") == 2, "of Alice and Bob"
