"""The form of the refund's edit, in Slack and at the command line: B3, and what its form makes of an edit.

B4 and B6 to B8 stand in test_dialogs.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from bot_bench import ALICE, BOB, CAROL, DAVE, Bench, Everybody, bot_here, in_both_modes, settings_for, texts

from bot import cards, dialogs, forms
from bot.sandbox import Delivery, Message
from bot.showcases import SHOWCASES
from bot.wiring import open_runtime
from examples import refund
from graph_runtime import Actor, Approvals, Decision, Place, Refused, Run
from graph_runtime.types import PersonId

AMOUNT, REASON, NOTE = "edit:amount", "edit:reason_code", "edit:note_to_customer"
SHOWN = SHOWCASES["refund"]


@pytest.fixture(params=["socket"])
async def bot(
    request: pytest.FixtureRequest, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """The bot at work on the refund."""
    monkeypatch.setenv("SIGNOFF_OUTSIDE", str(bench.folder))
    for group in SHOWN.groups:
        bench.slack.workspace.add_group(group)
    settings = settings_for(
        bench.slack,
        bench.folder,
        request.param,
        graphs={SHOWN.graph: SHOWN.target},
        policies=SHOWN.read_policies(),
    )
    if request.param == "http":
        bench.slack.request_url = f"http://127.0.0.1:{settings.http.port}/slack/events"
    bench.runtime = open_runtime(settings, bench.store)
    async with bot_here(settings):
        yield bench


async def start(bot: Bench, amount: str = "320.00") -> tuple[Run, Message]:
    answer = await bot.slash(f"start refund {json.dumps({**SHOWN.given, 'amount': amount})}")
    run = await bot.runtime.get(re.findall(r"run-\w+", answer)[0])
    return run, await bot.card(run)


async def open_edit(bot: Bench, card: Message, user: str = DAVE) -> Any:
    assert (await bot.click(card, cards.EDIT, user=user)).outcome == "acked"
    return bot.slack.modals(user)[-1]


async def submit(bot: Bench, dialog: Any, user: str = DAVE, why: str = "in part", **typed: str) -> Delivery:
    values = {f"edit:{name}": {forms.VALUE_INPUT: said} for name, said in typed.items()}
    values[dialogs.COMMENT_BLOCK] = {dialogs.COMMENT_INPUT: why}
    return await bot.slack.submit(user=user, view_id=dialog.id, values=values)


def errors(answered: Delivery) -> dict[str, str]:
    assert answered.response is not None, answered
    assert answered.response["response_action"] == "errors"
    return dict(answered.response["errors"])


@in_both_modes
async def test_b3_more_than_was_asked_for_or_is_left_is_told_at_its_field_and_the_request_stays_open(
    bot: Bench,
):
    run, card = await start(bot)
    dialog = await open_edit(bot, card)
    for amount, sentence in (
        ("320.01", "At most 320.00 EUR, which was asked for."),
        ("880.01", "Only 880.00 EUR are left of the charge."),
        ("0", "This must be more than 0."),
        ("250.005", "EUR has 2 digits after the point."),
    ):
        assert errors(await submit(bot, dialog, amount=amount)) == {AMOUNT: sentence}
    assert await bot.refusals() == ["INVALID_INPUT"] * 4
    view = await bot.request(run)
    assert (view.request.status, view.votes) == ("open", ())
    (still,) = bot.slack.modals(DAVE)
    assert still.errors
    assert (await submit(bot, dialog, amount="319.99")).response is None
    await bot.drawn(card, "*Approved with changes*")
    await bot.rests(run, "completed")
    assert [paid["amount"] for paid in refund.bank().payments()] == ["319.99"]


async def test_the_dialog_is_the_form_and_what_is_stored_is_what_the_form_made_of_it(bot: Bench):
    run, card = await start(bot)
    dialog = await open_edit(bot, card)
    found = {block["block_id"]: block for block in dialog.blocks if block["type"] == "input"}
    assert list(found) == [AMOUNT, REASON, NOTE, dialogs.COMMENT_BLOCK]
    assert [found[one]["label"]["text"] for one in (AMOUNT, REASON, NOTE)] == [
        "Amount",
        "Reason",
        "Note to the customer",
    ]
    assert found[AMOUNT]["hint"]["text"] == "At most what was asked for."
    amount, reason, note = (found[one]["element"] for one in (AMOUNT, REASON, NOTE))
    assert (amount["type"], amount["initial_value"]) == ("number_input", "320.00")
    assert [one["value"] for one in reason["options"]] == [
        "goodwill",
        "damaged",
        "late",
        "duplicate",
    ]
    assert reason["initial_option"]["value"] == "goodwill"
    assert (note["multiline"], note["max_length"], found[NOTE]["optional"]) == (True, 500, True)
    shown = "".join(texts(dialog.blocks[1]))
    assert "case  R-1042" in shown, "what neither policy nor form lets change is only shown"
    answered = await submit(bot, dialog, amount="250", reason_code="damaged", note_to_customer="Sorry,\nAnn")
    assert answered.response is None
    await bot.rests(run, "completed")
    decision = (await bot.runtime.look(run.id)).state.values["decision"]
    assert isinstance(decision, Decision)
    assert decision.arguments == {
        "case": "R-1042",
        "amount": Decimal(250),
        "currency": "EUR",
        "reason_code": "damaged",
        "note_to_customer": "Sorry,\nAnn",
    }
    assert type(decision.arguments["amount"]) is Decimal


async def test_a_second_edit_is_still_at_most_what_was_asked_for_and_not_what_the_first_left(bot: Bench):
    _, card = await start(bot, "700.00")
    assert (await submit(bot, await open_edit(bot, card), amount="400.00")).response is None
    await bot.drawn(card, "Stage 2 of 2")
    dialog = await open_edit(bot, card, ALICE)
    assert errors(await submit(bot, dialog, ALICE, amount="700.01")) == {
        AMOUNT: "At most 700.00 EUR, which was asked for."
    }
    assert "Requested: 700.00" in " ".join(texts(dialog.blocks))


async def test_who_may_not_decide_hears_of_that_and_the_command_line_of_what_the_form_refuses(bot: Bench):
    run, _ = await start(bot)
    view = await bot.request(run)
    ticket = cards.ticket_of(view, bot.store.deployment)
    approvals = Approvals(bot.runtime, Everybody())

    async def refused(who: str, **edited: Any) -> Refused:
        with pytest.raises(Refused) as found:
            await approvals.decide(ticket, Actor(PersonId(who)), "edit", place=Place("cli"), edited=edited)
        return found.value

    asked = await refused(CAROL, amount="999")
    assert (asked.code, asked.fields) == ("SELF_APPROVAL", {})
    wrong = await refused(BOB, amount="a lot", reason_code="because", note_to_customer="n" * 501)
    assert wrong.code == "INVALID_INPUT"
    assert wrong.fields == {
        "amount": "Write a number with a point, such as 250.00.",
        "reason_code": "Choose one of 'goodwill', 'damaged', 'late' or 'duplicate'.",
        "note_to_customer": "Write at most 500 characters.",
    }
    assert "amount: Write a number" in str(wrong)
    assert str(wrong).endswith("Nothing was recorded.")
    barred = await refused(BOB, currency="JPY")
    assert barred.fields == {"currency": "This may not be changed."}
    assert (await bot.request(run)).votes == ()
    # Typed as JSON has it, and stored as the form has it.
    done = await approvals.decide(
        ticket, Actor(PersonId(BOB)), "edit", place=Place("cli"), edited={"amount": "12.50"}
    )
    assert done.votes[-1].arguments is not None
    assert repr(done.votes[-1].arguments["amount"]) == "Decimal('12.50')"


async def test_a_form_that_is_not_there_any_more_is_refused_before_its_dialog_and_after(
    bot: Bench, monkeypatch: pytest.MonkeyPatch
):
    run, card = await start(bot)
    dialog = await open_edit(bot, card)
    monkeypatch.delattr(refund, "Edit")
    assert (await submit(bot, dialog, amount="250")).response["response_action"] == "update"  # type: ignore[index]
    (notice,) = bot.slack.modals(DAVE)
    assert "The form for changes is not there any more" in " ".join(texts(notice.blocks))
    await bot.click(card, cards.EDIT, user=BOB)
    assert "The form for changes is not there any more" in await bot.private(BOB)
    assert bot.slack.modals(BOB) == []
    assert await bot.refusals() == ["GRAPH_CHANGED"] * 2
    assert (await bot.request(run)).votes == ()
    # It can be approved as it is.
    await bot.click(card, user=BOB)
    await bot.drawn(card, "*Approved*")


async def test_a_form_that_fails_is_no_yes(bot: Bench, monkeypatch: pytest.MonkeyPatch):
    run, card = await start(bot)
    dialog = await open_edit(bot, card)
    monkeypatch.setattr(refund, "_PLACES", None)
    told = errors(await submit(bot, dialog, amount="250"))
    assert told[AMOUNT].startswith("The form could not be asked (AttributeError)")
    assert (await bot.request(run)).request.status == "open"
