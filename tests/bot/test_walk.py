"""The walk of an approval as people see it in Slack, from the card to the end of the run."""

from __future__ import annotations

import pytest
from bot_bench import (
    ALICE,
    BOB,
    CAROL,
    CHANNEL,
    DAVE,
    EXTERNAL,
    GENERAL,
    GONE,
    GUEST,
    OPERATOR,
    Bench,
    buttons,
    in_both_modes,
    texts,
    words_of,
)

from bot import cards
from bot.sandbox import Fault


@in_both_modes
async def test_a_card_says_what_will_be_done_who_asks_and_who_may_answer(bot: Bench):
    run = await bot.start(facts={"risk": "high", "migrations": 2}, author=DAVE)
    card = await bot.card(run)
    header, facts, context, actions, trace = card.blocks
    assert header["text"]["text"] == "Deploy payments"
    assert "".join(texts(facts)) == "service  payments\nrisk  high\nmigrations  2"
    (who,) = texts(context)
    assert who.startswith(
        f"Asked by <@{CAROL}> · needs one of <!subteam^S0SRE>, not <@{CAROL}>, <@{DAVE}>, <@{OPERATOR}> · expires"
    )
    assert buttons(card) == ["Approve", "Reject"]
    assert {element["value"] for element in actions["elements"]} == {actions["elements"][0]["value"]}
    request = (await bot.request(run)).request
    assert texts(trace) == [f"{run.id} · bound to {request.digest.removeprefix('sha256:')[:8]}"]
    assert (card.channel, card.user) == (CHANNEL, bot.slack.workspace.bot_user_id)


@in_both_modes
async def test_an_approval_goes_from_card_to_published_and_the_card_tells_it(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    clicked = await bot.click(card, user=ALICE)
    assert (clicked.outcome, clicked.response) == ("acked", None)
    done = await bot.drawn(card, "the run completed")
    assert (await bot.rests(run, "completed")).error is None
    assert f"*Approved* by <@{ALICE}>" in words_of(done)
    assert f"Approved* by <@{ALICE}>" in done.text, "a screen reader reads only the text"
    assert buttons(done) == []
    assert not done.edited
    assert len(bot.published()) == 1
    assert bot.slack.ephemerals(ALICE) == []
    (decision,) = bot.dump()["decisions"]
    assert {ALICE, "approve", "slack"} <= set(decision)


async def test_the_thread_below_the_card_tells_the_requester_what_happened_in_order(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    await bot.click(card, user=ALICE)
    verdict, ended = await bot.thread(card, 2)
    assert verdict.startswith(f":white_check_mark: Approved by <@{ALICE}> for <@{CAROL}>.")
    assert ended.startswith(f":checkered_flag: The run completed for <@{CAROL}>.")
    await bot.quiet()
    assert len(await bot.thread(card, 2)) == 2
    assert len(bot.slack.messages(CHANNEL)) == 1


@in_both_modes
async def test_a_rejection_asks_why_and_the_reason_is_shown_to_everybody(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    answered = await bot.reject(card, "  Freeze until Monday <!channel>  ")
    assert answered.outcome == "acked"
    assert bot.slack.modals(ALICE) == []
    done = await bot.drawn(card, "the run completed")
    assert f"*Rejected* by <@{ALICE}>" in done.text
    assert "Freeze until Monday <!channel>" in "".join(texts(done.blocks[3])), (
        "in rich text, where nothing is parsed"
    )
    assert done.blocks[3]["type"] == "rich_text"
    assert bot.published() == []
    (line, _) = await bot.thread(card, 2)
    assert (
        f":no_entry: Rejected by <@{ALICE}> for <@{CAROL}>. Reason: Freeze until Monday &lt;!channel&gt;"
        in line
    )
    (vote,) = (await bot.request(run)).votes
    assert (vote.verdict, vote.reason) == ("reject", "Freeze until Monday <!channel>")


@in_both_modes
async def test_a_rejection_without_a_reason_is_told_at_the_field_and_nothing_is_recorded(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    # Slack's own client holds back an empty field, but not one of blanks.
    answered = await bot.reject(card, " \n ")
    assert answered.response == {
        "response_action": "errors",
        "errors": {cards.REASON_BLOCK: "Say why, so that the requester can act on it."},
    }
    (dialog,) = bot.slack.modals(ALICE)
    assert cards.REASON_BLOCK in dialog.errors
    assert (await bot.request(run)).request.status == "open"
    again = await bot.slack.submit(
        user=ALICE, view_id=dialog.id, values={cards.REASON_BLOCK: {cards.REASON_INPUT: "Not today"}}
    )
    assert again.outcome == "acked"
    await bot.drawn(card, "*Rejected*")
    assert bot.slack.ephemerals(ALICE) == []


async def test_a_reason_may_be_left_out_where_the_policy_says_so(bot: Bench):
    run = await bot.start(policy="lenient")
    card = await bot.card(run)
    assert (await bot.reject(card, "")).outcome == "acked"
    done = await bot.drawn(card, "*Rejected*")
    assert "Reason" not in words_of(done)


@in_both_modes
async def test_closing_the_dialog_is_no_decision(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    await bot.click(card, cards.REJECT)
    (dialog,) = bot.slack.modals(ALICE)
    await bot.slack.close_view(user=ALICE, view_id=dialog.id)
    assert bot.slack.modals(ALICE) == []
    assert (await bot.request(run)).request.status == "open"
    assert await bot.refusals() == []
    await bot.click(card)
    await bot.drawn(card, "*Approved*")


@in_both_modes
async def test_a_dialog_submitted_after_somebody_else_decided_says_who(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    await bot.click(card, cards.REJECT, user=BOB)
    (dialog,) = bot.slack.modals(BOB)
    await bot.click(card, user=ALICE)
    late = await bot.slack.submit(
        user=BOB, view_id=dialog.id, values={cards.REASON_BLOCK: {cards.REASON_INPUT: "No"}}
    )
    assert late.outcome == "acked"
    (notice,) = bot.slack.modals(BOB)
    assert notice.title == "Not recorded"
    assert f"already decided by <@{ALICE}>" in " ".join(texts(notice.blocks))
    assert await bot.refusals() == ["ALREADY_DECIDED"]
    assert bot.slack.ephemerals(BOB) == [], "the dialog has said it"
    assert [vote.verdict for vote in (await bot.request(run)).votes] == ["approve"]


async def test_the_requester_may_reject_but_not_approve(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    await bot.click(card, user=CAROL)
    assert "somebody else must approve" in await bot.private(CAROL)
    assert (await bot.reject(card, "I found a mistake", user=CAROL)).outcome == "acked"
    await bot.drawn(card, f"*Rejected* by <@{CAROL}>")


async def test_the_requester_may_approve_where_the_policy_allows_it(bot: Bench):
    run = await bot.start(policy="lenient", requester=ALICE)
    card = await bot.card(run)
    assert "not <@" not in words_of(card)
    await bot.click(card, user=ALICE)
    await bot.drawn(card, f"*Approved* by <@{ALICE}>")


REFUSED = {
    "the requester": (CAROL, "SELF_APPROVAL", "You asked for this"),
    "the author": (BOB, "SELF_APPROVAL", "You asked for this"),
    "someone of no group": (DAVE, "NOT_APPROVER", "You are not among those who may decide this"),
    "a guest": (GUEST, "GUEST_USER", "Guests may not decide here"),
    "someone of another workspace": (EXTERNAL, "EXTERNAL_USER", "People of other workspaces may not decide"),
    "a deactivated account": (GONE, "DEACTIVATED_USER", "This account is deactivated"),
}


@in_both_modes
@pytest.mark.parametrize(
    ("who", "action"),
    [
        *((who, cards.APPROVE) for who in REFUSED),
        # Who asks may take it back, so only the others may not reject.
        *((who, cards.REJECT) for who, (_, code, _) in REFUSED.items() if code != "SELF_APPROVAL"),
    ],
)
async def test_who_may_not_decide_gets_one_private_sentence_and_no_dialog(bot: Bench, who: str, action: str):
    user, code, words = REFUSED[who]
    run = await bot.start(author=BOB)
    card = await bot.card(run)
    await bot.quiet()
    before = bot.dump()
    clicked = await bot.click(card, action, user=user)
    assert clicked.outcome == "acked"
    assert words in await bot.private(user)
    assert bot.slack.modals(user) == []
    assert bot.dump() == before
    assert await bot.refusals() == [code]
    await bot.click(card, user=ALICE)
    await bot.drawn(card, f"*Approved* by <@{ALICE}>")
    assert [one.user for one in bot.slack.ephemerals() if one.user != OPERATOR] == [user]
    assert bot.slack.toasts() == []


@pytest.mark.parametrize("method", ["usergroups.users.list", "users.info"])
@pytest.mark.parametrize("kind", ["500", "ratelimited", "drop_before_store", "error:fatal_error"])
async def test_a_membership_that_cannot_be_looked_up_is_never_a_yes(bot: Bench, method: str, kind: str):
    run = await bot.start()
    card = await bot.card(run)
    # aiohttp itself repeats a GET once whose connection was lost.
    bot.slack.faults.add(Fault(method, kind, times=2 if kind == "drop_before_store" else 1))
    clicked = await bot.click(card, user=BOB)
    assert clicked.outcome == "acked"
    assert "It could not be checked" in await bot.private(BOB)
    assert await bot.refusals() == ["MEMBERSHIP_UNKNOWN"]
    assert (await bot.request(run)).request.status == "open"
    # Slack answers again, and nothing of the failure was kept.
    await bot.click(card, user=BOB)
    await bot.drawn(card, f"*Approved* by <@{BOB}>")
    assert len(bot.slack.ephemerals(BOB)) == 1


async def test_a_directory_that_hangs_is_given_up_before_slack_gives_up_the_click(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    bot.slack.faults.add(Fault("usergroups.users.list", "timeout_after_store"))
    clicked = await bot.click(card, user=BOB)
    assert clicked.outcome == "acked"
    assert clicked.elapsed_ms < 2_500
    assert await bot.refusals() == ["MEMBERSHIP_UNKNOWN"]
    assert bot.slack.toasts() == []


async def test_who_left_the_group_may_not_decide_from_the_moment_slack_says_so(bot: Bench):
    first, second = await bot.start(), await bot.start(policy="general")
    card, other = await bot.card(first), await bot.card(second)
    await bot.click(card, user=BOB)
    await bot.drawn(card, "*Approved*")
    bot.slack.workspace.set_group("S0SRE", [ALICE])
    changed = {"type": "subteam_members_changed", "subteam_id": "S0SRE", "removed_users": [BOB]}
    assert (await bot.deliver(bot.slack.event(changed), "events_api")).outcome == "acked"
    await bot.click(other, user=BOB)
    assert "You are not among those" in await bot.private(BOB)
    updated = {"type": "subteam_updated", "subteam": {"id": "S0SRE"}}
    bot.slack.workspace.set_group("S0SRE", [ALICE, BOB])
    assert (await bot.deliver(bot.slack.event(updated), "events_api")).outcome == "acked"
    await bot.click(other, user=BOB)
    await bot.drawn(other, f"*Approved* by <@{BOB}>")


async def test_whose_account_is_closed_may_not_decide_from_the_moment_slack_says_so(bot: Bench):
    first, second = await bot.start(), await bot.start(policy="general")
    card, other = await bot.card(first), await bot.card(second)
    await bot.click(card, user=BOB)
    await bot.drawn(card, "*Approved*")
    bot.slack.workspace.deactivate(BOB)
    changed = {"type": "user_change", "user": {"id": BOB, "deleted": True}}
    assert (await bot.deliver(bot.slack.event(changed), "events_api")).outcome == "acked"
    await bot.click(other, user=BOB)
    assert "This account is deactivated" in await bot.private(BOB)


@in_both_modes
async def test_a_late_click_is_told_who_decided_and_when(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    late = bot.payload(card, user=BOB)
    await bot.click(card, user=ALICE)
    await bot.drawn(card, "the run completed")
    assert (await bot.deliver(late)).outcome == "acked"
    sentence = await bot.private(BOB)
    assert f"already decided by <@{ALICE}> <!date^" in sentence
    assert "Your click was not recorded" in sentence
    assert await bot.refusals() == ["ALREADY_DECIDED"]
    assert len(bot.published()) == 1


@in_both_modes
async def test_a14_a_click_after_a_cancel_says_that_the_request_was_withdrawn(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    late = bot.payload(card, user=ALICE)
    await bot.slash(f"cancel {run.id} not needed")
    shown = await bot.drawn(card, "*Withdrawn*")
    assert buttons(shown) == []
    assert "the run was cancelled" in words_of(shown)
    assert (await bot.deliver(late)).outcome == "acked"
    assert "This request was withdrawn. Nothing was recorded." in await bot.private(ALICE)
    assert await bot.refusals() == ["NOT_PENDING"]
    assert bot.published() == []
    (line,) = await bot.thread(card, 1)
    assert line.startswith(f":heavy_multiplication_x: The run was cancelled by <@{OPERATOR}> for <@{CAROL}>.")


@in_both_modes
async def test_after_the_deadline_the_card_says_timed_out_and_a_click_is_too_late(bot: Bench):
    run = await bot.start(policy="short")
    card = await bot.card(run)
    late = bot.payload(card, user=ALICE)
    shown = await bot.drawn(card, "*Timed out*")
    assert buttons(shown) == []
    assert (await bot.deliver(late)).outcome == "acked"
    assert "The deadline has passed" in await bot.private(ALICE)
    assert await bot.refusals() == ["EXPIRED"]
    await bot.rests(run, "completed")
    assert bot.published() == []
    assert bot.dump()["decisions"] == [], "a deadline is nobody's vote"
    lines = await bot.thread(card, 2)
    assert lines[0].startswith(":hourglass: The deadline passed and nobody decided")


@in_both_modes
async def test_a_plain_interrupt_is_asked_by_the_default_policy_and_gets_a_plain_answer(bot: Bench):
    run = await bot.start("plain")
    card = await bot.card(run)
    assert card.blocks[0]["text"]["text"] == "Shall it go out?"
    assert "service  payments" in "".join(texts(card.blocks[1]))
    await bot.click(card, user=BOB)
    await bot.drawn(card, f"*Approved* by <@{BOB}>")
    await bot.rests(run, "completed")
    answer = (await bot.runtime.look(run.id)).state.values["decision"]
    assert (answer["decision"], answer["by"], answer["reason"]) == ("approve", BOB, None)
    assert len(bot.published()) == 1


async def test_a_rejected_plain_interrupt_answers_with_the_reason(bot: Bench):
    run = await bot.start("plain")
    await bot.reject(await bot.card(run), "Too late in the week")
    await bot.rests(run, "completed")
    answer = (await bot.runtime.look(run.id)).state.values["decision"]
    assert (answer["decision"], answer["reason"]) == ("reject", "Too late in the week")


async def test_a_card_says_when_its_run_waits_at_the_next_question(bot: Bench):
    run = await bot.start("twice")
    first = await bot.card(run)
    await bot.click(first)
    await bot.drawn(first, "*Approved*")
    second = await bot.card(run, 1)
    assert second.channel == GENERAL
    assert second.blocks[0]["text"]["text"] == "Really?"
    await bot.click(second)
    await bot.drawn(second, "the run completed")
    assert (await bot.rests(run, "completed")).error is None


async def test_a_run_that_fails_after_the_verdict_says_so_without_its_words(bot: Bench):
    run = await bot.start("failing")
    card = await bot.card(run)
    await bot.click(card)
    await bot.drawn(card, "the run failed")
    lines = await bot.thread(card, 2)
    assert lines[1].startswith(
        f":warning: The run failed for <@{OPERATOR}>. Operators: `signoff show {run.id}`"
    )
    everything = "".join(
        words_of(m) for m in [*bot.slack.messages(CHANNEL), *bot.slack.messages(CHANNEL, card.ts)]
    )
    assert "the provider refused" not in everything


async def test_a_dialog_that_slack_does_not_open_is_told_and_the_next_click_works(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    for number, kind in enumerate(["error:expired_trigger_id", "500", "drop_before_store"], 1):
        bot.slack.faults.add(Fault("views.open", kind))
        assert (await bot.click(card, cards.REJECT)).outcome == "acked"
        assert "Slack did not open the dialog. Click again." in await bot.private(ALICE, number)
    await bot.reject(card, "At last")
    await bot.drawn(card, "*Rejected*")


async def test_a_private_sentence_that_cannot_be_said_holds_up_nothing(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    for kind in ("500", "drop_before_store"):
        bot.slack.faults.add(Fault("response_url", kind))
        assert (await bot.click(card, user=DAVE)).outcome == "acked"
    assert (await bot.click(card, user=CAROL)).outcome == "acked"
    await bot.private(CAROL)
    assert bot.slack.ephemerals(DAVE) == []
    await bot.click(card, user=ALICE)
    await bot.drawn(card, "*Approved*")


async def test_an_agents_tool_is_shown_on_a_card_with_its_arguments_and_used_once(bot: Bench):
    run = await bot.start("agent")
    card = await bot.card(run)
    header, facts, *_ = card.blocks
    assert header["text"]["text"] == "Use the tool publish"
    assert "".join(texts(facts)) == "service  payments\nword  published\nwhy asked  everybody will see it"
    assert bot.effects.read_text() == "read payments\n", "a tool that is allowed has run, and nothing else"
    await bot.click(card, user=ALICE)
    await bot.drawn(card, "the run completed")
    assert bot.effects.read_text() == "read payments\npublished payments\n"
    verdicts = [(e.kind, e.data["tool"]) for e in await bot.events("tool.allowed", "tool.asked")]
    assert verdicts == [("tool.allowed", "read_status"), ("tool.asked", "publish")]


async def test_an_agents_tool_that_is_rejected_is_not_used_and_the_agent_goes_on(bot: Bench):
    run = await bot.start("agent")
    card = await bot.card(run)
    await bot.reject(card, "not on a Friday")
    await bot.rests(run, "completed")
    assert bot.effects.read_text() == "read payments\n"
    outcome = (await bot.runtime.look(run.id)).state.values["outcome"]
    assert outcome == "the tool publish was not used: it was rejected: not on a Friday"
