"""Changing what was asked for, and answering instead, in Slack: B3, B4 and B6 to B8 of a refund."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from typing import Any

import pytest
from bot_bench import (
    ALICE,
    BOB,
    CAROL,
    CHANNEL,
    DAVE,
    Bench,
    buttons,
    in_both_modes,
    texts,
    words_of,
)
from card_bench import AT, TICKET, entry, new_ids, request, taken, view
from hypothesis import given, settings
from hypothesis import strategies as st

from bot import cards, dialogs, forms, lines
from bot.fields import offered
from bot.payloads import DialogOrigin, write_ticket
from bot.sandbox import Delivery, Message
from bot.sandbox.limits import view_body
from graph_runtime import Action, Decision, RequestView, Vote

AMOUNT = "edit:amount"


async def open_edit(bot: Bench, card: Message, user: str = ALICE) -> Any:
    """Click Edit and return the dialog."""
    assert (await bot.click(card, cards.EDIT, user=user)).outcome == "acked"
    (dialog,) = bot.slack.modals(user)
    return dialog


async def submit(
    bot: Bench, dialog: Any, why: str = "partial goods", *, user: str = ALICE, **typed: str
) -> Delivery:
    """Type into the dialog's fields and submit it."""
    values = {f"edit:{name}": {forms.VALUE_INPUT: said} for name, said in typed.items()}
    values[dialogs.COMMENT_BLOCK] = {dialogs.COMMENT_INPUT: why}
    return await bot.slack.submit(user=user, view_id=dialog.id, values=values)


def errors(answered: Delivery) -> dict[str, str]:
    assert answered.response is not None, answered
    assert answered.response["response_action"] == "errors"
    return dict(answered.response["errors"])


def inputs(dialog: Any) -> dict[str, Any]:
    return {block["block_id"]: block["element"] for block in dialog.blocks if block["type"] == "input"}


async def private(bot: Bench, user: str = CAROL) -> str:
    """Return the one direct message to who asked, once all is told."""
    await bot.slack.wait_for(lambda: bot.slack.messages(f"D{user[1:]}"))
    await bot.quiet()
    (told,) = bot.slack.messages(f"D{user[1:]}")
    return words_of(told)


async def decided(bot: Bench, run: Any) -> Decision:
    await bot.rests(run, "completed")
    found = (await bot.runtime.look(run.id)).state.values["decision"]
    assert isinstance(found, Decision)
    return found


# -- the dialog ------------------------------------------------------------------------------------------------


async def test_approve_and_reject_come_first_and_only_where_the_policy_says_so(bot: Bench):
    assert buttons(await bot.card(await bot.start("refund"))) == [
        "Approve",
        "Reject",
        "Edit",
        "Reply instead",
    ]
    assert buttons(await bot.card(await bot.start())) == ["Approve", "Reject"]


@in_both_modes
async def test_an_edit_approves_what_it_leaves_and_the_card_says_what_it_was(bot: Bench):
    run = await bot.start("refund")
    card = await bot.card(run)
    dialog = await open_edit(bot, card)
    assert dialog.title == "Approve with changes"
    assert (await submit(bot, dialog, amount="250.00")).response is None
    assert bot.slack.modals(ALICE) == []
    done = await bot.drawn(card, "*Approved with changes*")
    assert texts(done.blocks[1])[:2] == ["amount  ", "250.00 (requested 320.00)"]
    assert f":pencil2: Changed by <@{ALICE}>" in words_of(done)
    assert "partial goods" in words_of(done)
    assert "amount: 250.00 (requested 320.00)" in done.text, "a screen reader reads only the text"
    assert buttons(done) == []
    decision = await decided(bot, run)
    assert (decision.outcome, decision.reason, decision.by) == ("edited", "partial goods", (ALICE,))
    assert decision.arguments is not None
    assert repr(decision.arguments["amount"]) == "Decimal('250.00')"
    assert decision.arguments["customer"] == "Ann Archer"
    told = await private(bot)
    assert f"was approved with changes by <@{ALICE}>." in told
    assert "250.00 (requested 320.00)" in told
    assert "partial goods" in told
    line, _ = await bot.thread(card, 2)
    assert line.startswith(f":white_check_mark: Approved with changes by <@{ALICE}> for <@{CAROL}>.")
    (vote,) = (await bot.request(run)).votes
    assert (vote.verdict, vote.reason) == ("edit", "partial goods")


async def test_each_field_has_the_input_of_its_kind_with_what_it_is_now(bot: Bench):
    long = "Sorry about the broken parts.\n" * 4
    run = await bot.start("refund", facts={"note": long})
    dialog = await open_edit(bot, await bot.card(run))
    found = inputs(dialog)
    assert list(found) == [AMOUNT, "edit:parts", "edit:express", "edit:note", dialogs.COMMENT_BLOCK]
    amount, parts, express, note, _ = found.values()
    assert (amount["type"], amount["is_decimal_allowed"], amount["initial_value"]) == (
        "number_input",
        True,
        "320.00",
    )
    assert (parts["type"], parts["is_decimal_allowed"], parts["initial_value"]) == (
        "number_input",
        False,
        "3",
    )
    assert (express["type"], express["initial_option"]["value"]) == ("static_select", "no")
    assert (note["type"], note["multiline"], note["initial_value"]) == ("plain_text_input", True, long)
    shown = "".join(texts(dialog.blocks[1]))
    assert "customer  Ann Archer" in shown
    assert "charge  900.00" in shown
    assert 'lines  ["a", "b"]' in shown, "what is no text, number or yes and no is only shown"
    assert "amount" not in shown


async def test_what_was_typed_is_taken_exactly_and_only_what_changed(bot: Bench):
    huge = "12345678901234567890.10"
    run = await bot.start("refund", facts={"amount": huge, "charge": huge}, policy="refund")
    card = await bot.card(run)
    dialog = await open_edit(bot, card)
    assert inputs(dialog)[AMOUNT]["type"] == "plain_text_input", (
        "so many digits must not pass through a float"
    )
    answered = await submit(bot, dialog, amount=" 12345678901234567890.09 ", express="yes", note="A\r\nB")
    assert answered.response is None
    await bot.drawn(card, "Stage 2 of 2")
    (vote,) = (await bot.request(run)).votes
    assert vote.arguments is not None
    assert vote.arguments == {
        "customer": "Ann Archer",
        "amount": Decimal("12345678901234567890.09"),
        "parts": 3,
        "express": True,
        "note": "A\r\nB",
        "lines": ["a", "b"],
    }
    assert type(vote.arguments["parts"]) is int


@in_both_modes
async def test_every_field_that_cannot_be_read_is_told_at_itself_and_nothing_is_recorded(bot: Bench):
    run = await bot.start("refund")
    dialog = await open_edit(bot, await bot.card(run))
    # Slack's own client holds back most of it; what it lets through, or another client sends, is told here.
    payload = bot.slack._doors.submission(ALICE, dialog)
    for block, held in {
        AMOUNT: {"type": "number_input", "value": "250,00"},
        "edit:parts": {"type": "number_input", "value": "2.5"},
        "edit:express": {"type": "static_select", "selected_option": None},
    }.items():
        payload["view"]["state"]["values"][block][forms.VALUE_INPUT] = held
    payload["view"]["state"]["values"][dialogs.COMMENT_BLOCK][dialogs.COMMENT_INPUT]["value"] = " "
    answered = await bot.deliver(payload)
    assert errors(answered) == {
        AMOUNT: "Write a number with a point, such as 250.00.",
        "edit:parts": "Write a whole number, such as 3.",
        "edit:express": "Choose yes or no.",
        dialogs.COMMENT_BLOCK: "Say why you changed it.",
    }
    assert await bot.refusals() == ["INVALID_INPUT"]
    assert (await bot.request(run)).votes == ()


async def test_nothing_changed_and_no_comment_are_told_at_their_fields(bot: Bench):
    run = await bot.start("refund")
    dialog = await open_edit(bot, await bot.card(run))
    assert errors(await submit(bot, dialog, amount="320.0")) == {
        AMOUNT: "Nothing was changed: approve it as it is. Nothing was recorded."
    }
    assert errors(await submit(bot, dialog, " ", amount="300")) == {
        dialogs.COMMENT_BLOCK: "Say why you changed it."
    }
    assert await bot.refusals() == ["INVALID_INPUT", "REASON_REQUIRED"]
    assert (await bot.request(run)).votes == ()
    assert (await submit(bot, dialog, "it was", amount="300")).response is None


async def test_what_must_be_typed_is_typed_in_the_dialog_of_an_edit_too(bot: Bench):
    run = await bot.start("refund", policy="refund-typed")
    card = await bot.card(run)
    dialog = await open_edit(bot, card)
    assert cards.CONFIRM_BLOCK in inputs(dialog)
    typed = {
        AMOUNT: {forms.VALUE_INPUT: "10"},
        dialogs.COMMENT_BLOCK: {dialogs.COMMENT_INPUT: "less"},
        cards.CONFIRM_BLOCK: {cards.CONFIRM_INPUT: "Ann"},
    }
    answered = await bot.slack.submit(user=ALICE, view_id=dialog.id, values=typed)
    assert errors(answered) == {cards.CONFIRM_BLOCK: "Type Ann Archer to confirm. Nothing was recorded."}
    typed[cards.CONFIRM_BLOCK][cards.CONFIRM_INPUT] = "Ann Archer"
    assert (await bot.slack.submit(user=ALICE, view_id=dialog.id, values=typed)).response is None
    await bot.drawn(card, "*Approved with changes*")


@pytest.mark.parametrize("action", [cards.EDIT, cards.RESPOND])
async def test_who_may_not_approve_gets_no_dialog(bot: Bench, action: str):
    card = await bot.card(await bot.start("refund"))
    await bot.click(card, action, user=CAROL)
    assert "somebody else must approve" in await bot.private(CAROL)
    assert bot.slack.modals(CAROL) == []
    assert await bot.refusals() == ["SELF_APPROVAL"]


async def test_an_edit_of_a_field_that_is_not_offered_is_not_taken(bot: Bench):
    run = await bot.start("refund")
    dialog = await open_edit(bot, await bot.card(run))
    payload = bot.slack._doors.submission(ALICE, dialog)
    values = payload["view"]["state"]["values"]
    values["edit:customer"] = {forms.VALUE_INPUT: {"type": "plain_text_input", "value": "Eve"}}
    values[dialogs.COMMENT_BLOCK][dialogs.COMMENT_INPUT]["value"] = "for me"
    assert "Nothing was changed" in errors(await bot.deliver(payload))[AMOUNT]
    assert (await bot.request(run)).votes == ()


kept = (
    st.text(st.characters(), max_size=3_000)
    | st.integers()
    | st.booleans()
    | st.decimals(allow_nan=False)
    | st.floats()
    | st.none()
    | st.lists(st.integers(), max_size=3)
)


def seen(arguments: dict[str, Any], votes: tuple[Vote, ...] = (), **terms: Any) -> RequestView:
    policy = {
        "people": [ALICE],
        "decisions": ["approve", "edit", "respond"],
        "edit": {"fields": list(arguments)},
    }
    kept = {"stages": [[{"people": [ALICE]}]], **terms}
    asked = request(action=Action("x", arguments), policy=policy, terms=kept, facts={"more": "x" * 5_000})
    return view(asked, votes=votes)


@settings(max_examples=60, deadline=None)
@given(
    arguments=st.dictionaries(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9 _.-]{0,39}\Z"), kept, min_size=1),
    phrase=st.none() | st.text(min_size=1, max_size=400),
)
def test_slack_takes_every_dialog_and_what_it_holds_is_no_change(
    arguments: dict[str, Any], phrase: str | None
):
    shown = seen(arguments, confirm=phrase)
    origin = DialogOrigin(ticket=write_ticket(TICKET), channel="C0DEPLOYS", message="1.1", round=10**9)
    for dialog in (dialogs.edit_dialog(shown, origin), dialogs.respond_dialog(shown, origin)):
        view_body(json.loads(json.dumps(dialog.to_dict())), "modal", new_ids())
    for field in offered(shown.case, shown.standing):
        assert field.read(field.shown) is field.present
        assert type(field.present) in {str, int, bool, Decimal}
        assert type(field.read(f" {field.shown} ")) is type(field.present)


def test_a_dialog_of_too_many_and_too_long_fields_shows_the_rest():
    many = {f"field {n}": "💥" * 1_000 for n in range(30)} | {f"number {n}": n for n in range(90)}
    shown = seen(many)
    fields = offered(shown.case, shown.standing)
    assert len(fields) <= 40
    assert len(fields) < len(many)
    dialog = dialogs.edit_dialog(
        shown, DialogOrigin(ticket=write_ticket(TICKET), channel="C0DEPLOYS", message="1.1", round=0)
    ).to_dict()
    view_body(json.loads(json.dumps(dialog)), "modal", new_ids())
    assert "more, on the card" in json.dumps(dialog)


@pytest.mark.parametrize(
    "value", [1.5, None, [1], {"a": 1}, "x" * 3_001, "a\u202eb", "a\x00b", 10**30, Decimal("1E+99")]
)
def test_what_cannot_be_typed_as_it_is_is_not_offered(value: Any):
    shown = seen({"it": value, "other": 1})
    assert [field.name for field in offered(shown.case, shown.standing)] == ["other"]


def test_without_a_form_a_text_is_not_emptied_and_a_number_stays_one():
    shown = seen({"amount": "320.00", "to": "Printers Ltd", "note": ""})
    amount, to, note = offered(shown.case, shown.standing)
    assert [field.may_be_empty for field in (amount, to, note)] == [False, False, True]
    for field in (amount, to):
        for typed in ("", "  "):
            with pytest.raises(ValueError, match="Write something, or go back"):
                field.read(typed)
    for typed in ("abc", "1e3", "NaN", "3,20"):
        with pytest.raises(ValueError, match="Write a number with a point"):
            amount.read(typed)
    assert (amount.read(" 300.50 "), to.read("abc"), note.read("7")) == ("300.50", "abc", "7")


@given(
    status=st.sampled_from(["approved", "edited", "rejected", "responded", "timed_out", "withdrawn"]),
    said=st.lists(st.tuples(st.sampled_from(["edit", "reject", "respond"]), st.text()), max_size=6),
    title=st.text(),
    who=st.text(min_size=1),
    value=kept,
)
def test_slack_takes_whatever_who_asked_is_told(
    status: str, said: list[tuple[str, str]], title: str, who: str, value: Any
):
    votes = tuple(
        Vote(who, verdict, reason, "sha256:1", AT, "slack", frozenset(), 0, 1, {"it": value})
        for verdict, reason in said
    )
    asked = dataclasses.replace(seen({"it": 1}).request, status=status, title=title, closed_at=AT)
    taken(lines.private(view(asked, votes=votes), entry("trail", what="told", status=status, to=CAROL)))


def test_the_largest_edit_still_fits_its_card():
    first = {f"{'n' * 30} {n}": "y" * 2_000 for n in range(40)}
    last = dict.fromkeys(first, "x" * 2000)
    edit = Vote(ALICE, "edit", "w" * 2_000, "sha256:1", AT, "slack", frozenset(), 0, 1, last)
    taken(cards.card(seen(first, (edit,)), entry(), "d"))


# -- B3 to B8 --------------------------------------------------------------------------------------------------


@in_both_modes
async def test_b3_an_edit_above_what_may_be_paid_is_told_at_its_field_and_the_request_stays_open(bot: Bench):
    run = await bot.start("refund")
    card = await bot.card(run)
    dialog = await open_edit(bot, card)
    for amount, tier in (("900.01", "never"), ("500.01", "two")):
        assert errors(await submit(bot, dialog, amount=amount)) == {
            AMOUNT: f"This change needs the rules of tier {tier}: reject it, and let it be asked anew."
        }
    assert await bot.refusals() == ["INVALID_INPUT"] * 2
    view = await bot.request(run)
    assert (view.request.status, view.votes) == ("open", ())
    (still,) = bot.slack.modals(ALICE)
    assert still.errors
    assert (await submit(bot, dialog, amount="319.99")).response is None
    await bot.drawn(card, "*Approved with changes*")


@in_both_modes
async def test_b4_an_edit_never_lowers_the_tier(bot: Bench):
    run = await bot.start("refund", facts={"amount": "700.00"})
    card = await bot.card(run)
    dialog = await open_edit(bot, card)
    assert (await submit(bot, dialog, amount="400.00")).response is None
    shown = await bot.drawn(card, "Stage 2 of 2")
    assert texts(shown.blocks[1])[:2] == ["amount  ", "400.00 (requested 700.00)"]
    assert (await bot.request(run)).request.status == "open"
    await bot.click(card, user=DAVE)
    await bot.drawn(card, f"*Approved with changes* by <@{ALICE}>, <@{DAVE}>")
    decision = await decided(bot, run)
    assert (decision.tier, decision.arguments and decision.arguments["amount"]) == ("two", Decimal(400))


@in_both_modes
async def test_b6_an_edit_submitted_after_somebody_else_decided_says_who(bot: Bench):
    run = await bot.start("refund")
    card = await bot.card(run)
    dialog = await open_edit(bot, card, BOB)
    await bot.click(card, user=ALICE)
    assert (await submit(bot, dialog, user=BOB, amount="1")).outcome == "acked"
    (notice,) = bot.slack.modals(BOB)
    assert notice.title == "Not recorded"
    assert f"already decided by <@{ALICE}>" in " ".join(texts(notice.blocks))
    assert await bot.refusals() == ["ALREADY_DECIDED"]
    assert bot.slack.ephemerals(BOB) == []
    assert [vote.verdict for vote in (await bot.request(run)).votes] == ["approve"]


@in_both_modes
async def test_b6_an_edit_of_what_somebody_else_has_edited_meanwhile_is_told_and_loses_nothing(bot: Bench):
    run = await bot.start("refund", facts={"amount": "700.00"})
    card = await bot.card(run)
    stale = bot.payload(card, user=BOB)
    mine, theirs = await open_edit(bot, card, BOB), await open_edit(bot, card)
    await submit(bot, theirs, amount="400.00")
    # Also when it is what the first one did, or cannot be read: it was written about something else.
    for typed, why in (("650.00", "too much"), ("400.00", "the same"), ("650.00", " ")):
        told = errors(await submit(bot, mine, why, user=BOB, amount=typed))
        assert "Somebody has changed this since" in told[dialogs.COMMENT_BLOCK]
    (still,) = bot.slack.modals(BOB)
    assert still.state[AMOUNT][forms.VALUE_INPUT]["value"] == "650.00"
    assert len((await bot.request(run)).votes) == 1
    # Nor is it approved by who was shown the other amount.
    await bot.deliver(stale)
    assert "Somebody has changed this since" in await bot.private(BOB)
    assert await bot.refusals() == ["STALE_ACTION"] * 4
    await bot.drawn(card, "Stage 2 of 2")
    await bot.click(card, user=BOB)
    await bot.drawn(card, "*Approved with changes*")


async def test_an_edit_begins_from_what_the_last_one_left(bot: Bench):
    run = await bot.start("refund", facts={"amount": "700.00"})
    card = await bot.card(run)
    await submit(bot, await open_edit(bot, card), amount="400.00")
    await bot.drawn(card, "Stage 2 of 2")
    dialog = await open_edit(bot, card, DAVE)
    assert inputs(dialog)[AMOUNT]["initial_value"] == "400.00"
    assert "Requested: 700.00" in texts(dialog.blocks)
    assert "Nothing was changed" in errors(await submit(bot, dialog, user=DAVE, amount="400"))[AMOUNT]


async def test_the_same_edit_twice_is_one_vote(bot: Bench):
    run = await bot.start("refund", facts={"amount": "700.00"})
    dialog = await open_edit(bot, await bot.card(run))
    payload = bot.slack._doors.submission(ALICE, dialog)
    values = payload["view"]["state"]["values"]
    values[AMOUNT][forms.VALUE_INPUT]["value"] = "400"
    values[dialogs.COMMENT_BLOCK][dialogs.COMMENT_INPUT]["value"] = "less"
    for _ in range(2):
        assert (await bot.deliver(json.loads(json.dumps(payload)))).outcome == "acked"
    assert len((await bot.request(run)).votes) == 1
    (code,) = await bot.refusals()
    assert code in {"ALREADY_VOTED", "STALE_ACTION"}


@in_both_modes
@pytest.mark.parametrize("action", [cards.EDIT, cards.RESPOND, cards.REJECT])
async def test_b7_a_dialog_that_is_closed_decides_nothing_and_the_card_keeps_its_buttons(
    bot: Bench, action: str
):
    run = await bot.start("refund")
    card = await bot.card(run)
    await bot.quiet()
    before = bot.dump()
    await bot.click(card, action)
    (dialog,) = bot.slack.modals(ALICE)
    await bot.slack.close_view(user=ALICE, view_id=dialog.id)
    await bot.quiet()
    assert bot.dump() == before
    assert await bot.refusals() == []
    assert buttons(await bot.card(run)) == ["Approve", "Reject", "Edit", "Reply instead"]
    await bot.click(card)
    await bot.drawn(card, "*Approved*")


@in_both_modes
async def test_b8_a_rejection_says_why_in_enough_words_and_the_graph_gets_them(bot: Bench):
    run = await bot.start("refund")
    card = await bot.card(run)
    for short in (" ", "no"):
        told = errors(await bot.reject(card, short))
        assert told == {cards.REASON_BLOCK: "Say why, in at least 10 characters."}
    assert (await bot.request(run)).votes == ()
    assert (await bot.reject(card, "the goods were used")).response is None
    await bot.drawn(card, f"*Rejected* by <@{ALICE}>")
    decision = await decided(bot, run)
    assert (decision.outcome, decision.reason) == ("rejected", "the goods were used")
    told = await private(bot)
    assert told.startswith(f":no_entry: “Refund 1042” in <#{CHANNEL}> was rejected by <@{ALICE}>.")
    assert "the goods were used" in told


# -- an answer instead -----------------------------------------------------------------------------------------


@in_both_modes
async def test_an_answer_instead_reaches_the_graph_and_nothing_is_carried_out(bot: Bench):
    run = await bot.start("refund")
    card = await bot.card(run)
    await bot.click(card, cards.RESPOND)
    (dialog,) = bot.slack.modals(ALICE)
    said = {dialogs.ANSWER_BLOCK: {dialogs.ANSWER_INPUT: " "}}
    answered = await bot.slack.submit(user=ALICE, view_id=dialog.id, values=said)
    assert errors(answered) == {dialogs.ANSWER_BLOCK: "Say what you answer instead."}
    said[dialogs.ANSWER_BLOCK][dialogs.ANSWER_INPUT] = "ask for a *photo* <!here> first"
    assert (await bot.slack.submit(user=ALICE, view_id=dialog.id, values=said)).response is None
    done = await bot.drawn(card, f"*Answered instead* by <@{ALICE}>")
    assert "ask for a *photo* <!here> first" in texts([b for b in done.blocks if b["type"] == "rich_text"])
    decision = await decided(bot, run)
    assert (decision.outcome, decision.reason) == ("responded", "ask for a *photo* <!here> first")
    told = await private(bot)
    assert f"was answered instead by <@{ALICE}>: it is not carried out." in told
    assert "ask for a *photo* &lt;!here&gt; first" in told


async def test_who_asked_is_told_by_themselves_how_it_ended_unless_they_ended_it(bot: Bench):
    first = await bot.card(await bot.start(policy="short"))
    await bot.drawn(first, "*Timed out*")
    assert f"Nobody decided on “Deploy payments” in <#{CHANNEL}> in time" in await private(bot)
    second = await bot.card(await bot.start())
    await bot.reject(second, "I found a mistake", user=CAROL)
    await bot.drawn(second, f"*Rejected* by <@{CAROL}>")
    third = await bot.card(await bot.start(requester=DAVE))
    await bot.click(third)
    assert f"was approved by <@{ALICE}>." in await private(bot, DAVE)
    await private(bot)
