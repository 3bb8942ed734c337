"""The dialog that shows all of a request: whole values in pages, to full members, decided by nobody."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from bot_bench import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    EXTERNAL,
    GONE,
    GUEST,
    Bench,
    buttons,
    in_both_modes,
    texts,
)
from card_bench import AT, entry, new_ids, request, view, vote
from hypothesis import given, settings
from hypothesis import strategies as st

from bot import cards, details
from bot.payloads import DetailsOrigin
from bot.sandbox import Fault, Message, View
from bot.sandbox.limits import view_body
from graph_runtime import Action, RequestView, Run
from graph_runtime.judging import bound_digest

#: 60 kB, of which every line is another one.
PLAN = "\n".join(f"{n:05} create table t{n} -- <!channel> *bold*" for n in range(1_350))
ORIGIN = DetailsOrigin(ticket="{}", channel="C0DEPLOYS", message="1.2", digest="sha256:0")


async def ask(bot: Bench, **facts: Any) -> tuple[Run, Message]:
    run = await bot.start(facts=facts)
    return run, await bot.card(run)


async def open_details(bot: Bench, card: Message, user: str = ALICE) -> View:
    clicked = await bot.click(card, cards.DETAILS, user=user)
    assert clicked.outcome == "acked", clicked
    (dialog,) = bot.slack.modals(user)
    return dialog


async def turn(bot: Bench, dialog: View, action: str = details.NEXT, user: str = ALICE) -> View:
    turned = await bot.slack.click_in_view(user=user, view_id=dialog.id, action_id=action)
    assert turned.outcome == "acked", turned
    (now,) = bot.slack.modals(user)
    assert now.id == dialog.id
    return now


def shown(blocks: list[dict[str, Any]]) -> str:
    """Return what stands in the values of a page, one after another."""
    inside = [e for b in blocks if b["type"] == "rich_text" for e in b["elements"]]
    return "".join(
        part["text"] for e in inside if e["type"] == "rich_text_preformatted" for part in e["elements"]
    )


def links(blocks: list[dict[str, Any]]) -> list[str]:
    return [e["text"]["text"] for b in blocks if b["type"] == "actions" for e in b["elements"]]


# -- the button ------------------------------------------------------------------------------------------------


def drawn(asked: Any, **more: Any) -> list[str]:
    blocks = cards.card(view(asked, **more), entry(), "dep-1").arguments()["blocks"]
    return links(json.loads(json.dumps(blocks)))


@pytest.mark.parametrize(
    ("facts", "cut"),
    [
        ({}, False),
        ({"plan": "x" * 400}, False),
        ({"plan": "x" * 401}, True),
        ({"plan": "a\r\n" * 200}, False),
        ({"plan": ["x" * 390, "y" * 10]}, True),
        ({"n" * 61: 1}, True),
        ({f"fact {n}": n for n in range(15)}, False),
        ({f"fact {n}": n for n in range(16)}, True),
        ({"service": "payments"}, False),
        ({"service": "something else than the argument"}, True),
    ],
)
def test_the_button_is_there_when_the_card_does_not_show_all(facts: dict[str, Any], cut: bool):  # noqa: FBT001
    assert drawn(request(facts=facts)) == ["Approve", "Reject", *(["Details"] if cut else [])]
    assert drawn(request(facts=facts, status="rejected", closed_at=AT), votes=(vote("reject", "no"),)) == []


# -- opening it ------------------------------------------------------------------------------------------------


@in_both_modes
async def test_sixty_thousand_characters_are_read_whole_page_by_page_and_back(bot: Bench):
    run, card = await ask(bot, plan=PLAN, migrations=3)
    assert buttons(card) == ["Approve", "Reject", "Details"]
    dialog = await open_details(bot, card, DAVE)
    assert (dialog.title, dialog.submit) == ("Details", "")
    digest = (await bot.request(run)).request.digest
    first = texts(dialog.blocks)
    assert first[:3] == ["Deploy payments", first[1], "What would be carried out: deploy"]
    assert f"An approval is bound to {digest} · " in first[1]
    assert first.index("migrations") < first.index("plan (1 of 22)"), "what takes pages comes last"
    read, pages = shown(dialog.blocks), 1
    assert links(dialog.blocks) == ["Next"]
    while "Next" in links(dialog.blocks):
        dialog = await turn(bot, dialog, user=DAVE)
        pages += 1
        assert f"Page {pages} of " in texts(dialog.blocks)[1]
        read += shown(dialog.blocks)
    assert PLAN in read
    assert links(dialog.blocks) == ["Back"]
    assert shown((await turn(bot, dialog, details.BACK, user=DAVE)).blocks) in read
    # Dave may not decide; he may look, and nothing came of it.
    view = await bot.request(run)
    assert (view.request.status, view.request.revision, view.votes) == ("open", 1, ())
    (event,) = await bot.events("request.details_shown")
    assert (event.actor, event.run_id, event.request_id) == (DAVE, run.id, view.request.id)
    assert {name: event.data[name] for name in ("digest", "surface", "channel", "message")} == {
        "digest": digest,
        "surface": "slack",
        "channel": card.channel,
        "message": card.ts,
    }
    await open_details(bot, card, DAVE)
    assert len(await bot.events("request.details_shown")) == 2, "each opening is one line"
    assert await bot.refusals() == []


async def test_what_was_edited_is_shown_as_it_is_and_as_it_was_with_its_own_digest(bot: Bench):
    run = await bot.start("refund", facts={"amount": "700.00", "note": "n" * 500})
    card = await bot.card(run)
    dialog = await open_details(bot, card)
    before = texts(dialog.blocks)[1]
    await bot.slack.close_view(user=ALICE, view_id=dialog.id)
    await bot.click(card, cards.EDIT)
    (edit,) = bot.slack.modals(ALICE)
    typed = {"edit:amount": {"value": "400.00"}, "comment": {"text": "partial goods"}}
    assert (await bot.slack.submit(user=ALICE, view_id=edit.id, values=typed)).response is None
    card = await bot.drawn(card, "Changed by")
    dialog = await open_details(bot, card, BOB)
    words = texts(dialog.blocks)
    assert words[words.index("amount") + 1] == "400.00"
    assert words[words.index("What was asked for") + 1 :][:2] == ["amount", "700.00"]
    assert words[words.index(f"by {ALICE}") + 1] == "partial goods"
    view = await bot.request(run)
    digest = bound_digest(view.request, view.standing.arguments)
    assert digest in words[1]
    assert digest not in before
    assert [e.data["digest"] for e in await bot.events("request.details_shown")] == [
        view.request.digest,
        digest,
    ]


# -- who and what is refused -----------------------------------------------------------------------------------


async def test_guests_strangers_and_who_cannot_be_looked_up_are_not_shown_it(bot: Bench):
    _, card = await ask(bot, plan=PLAN)
    told = {
        GUEST: "Only full members of this workspace are shown all of it.",
        EXTERNAL: "Only full members of this workspace are shown all of it.",
        GONE: "Only full members of this workspace are shown all of it.",
        BOB: "who you are",
    }
    for user, sentence in told.items():
        if user == BOB:
            bot.slack.faults.add(Fault("users.info", "500"))
        assert (await bot.click(card, cards.DETAILS, user=user)).outcome == "acked"
        assert sentence in await bot.private(user)
        assert bot.slack.modals(user) == []
    codes = ["GUEST_USER", "EXTERNAL_USER", "DEACTIVATED_USER", "MEMBERSHIP_UNKNOWN"]
    assert await bot.refusals() == codes
    assert await bot.events("request.details_shown") == []


async def test_a_button_of_another_card_or_place_shows_nothing(bot: Bench):
    _, card = await ask(bot, plan=PLAN)
    other = await bot.card(await bot.start(policy="general", facts={"plan": PLAN + "."}))
    good = bot.payload(card, cards.DETAILS)
    foreign = bot.payload(other, cards.DETAILS)["actions"][0]["value"]
    ticket = json.loads(good["actions"][0]["value"])

    def changed(value: str, **container: str) -> dict[str, Any]:
        actions = [{**good["actions"][0], "value": value}]
        return {**good, "actions": actions, "container": {**good["container"], **container}}

    forged = {
        "WRONG_REQUEST": changed(foreign),
        "WRONG_MESSAGE": changed(json.dumps(ticket), message_ts="1.000001"),
        "WRONG_CHANNEL": changed(json.dumps(ticket), channel_id="C0GENERAL", message_ts="1.000001"),
        "WRONG_RUN": changed(json.dumps({**ticket, "r": "run-0"})),
        "WRONG_THREAD": changed(json.dumps({**ticket, "t": "thr-0"})),
        "GARBLED_TICKET": changed("{}"),
        "WRONG_WORKSPACE": {**good, "team": {"id": "T0OTHER"}},
    }
    for payload in forged.values():
        await bot.deliver(payload)
        assert bot.slack.modals(ALICE) == []
    assert await bot.refusals() == [*forged]
    assert await bot.events("request.details_shown") == []


async def test_what_is_decided_meanwhile_is_said_in_place_of_the_next_page(bot: Bench):
    _, card = await ask(bot, plan=PLAN)
    stale = bot.payload(card, cards.DETAILS, user=CAROL)
    dialog = await open_details(bot, card, CAROL)
    await bot.click(card, user=ALICE)
    assert buttons(await bot.drawn(card, "*Approved*")) == []
    now = await turn(bot, dialog, user=CAROL)
    assert f"This was already decided by <@{ALICE}>" in words_of_view(now)
    assert "create table" not in words_of_view(now)
    await bot.deliver(stale)
    assert "already decided" in await bot.private(CAROL)
    assert await bot.refusals() == ["ALREADY_DECIDED", "ALREADY_DECIDED"]


async def test_what_is_changed_meanwhile_is_not_mixed_with_what_was_shown(bot: Bench):
    run = await bot.start("refund", facts={"amount": "700.00", "note": PLAN})
    card = await bot.card(run)
    dialog = await open_details(bot, card, BOB)
    await bot.click(card, cards.EDIT)
    (edit,) = bot.slack.modals(ALICE)
    typed = {"edit:amount": {"value": "400.00"}, "comment": {"text": "partial goods"}}
    await bot.slack.submit(user=ALICE, view_id=edit.id, values=typed)
    now = await turn(bot, dialog, user=BOB)
    assert "Somebody has changed this since you were shown it" in words_of_view(now)
    assert await bot.refusals() == ["STALE_ACTION"]


async def test_a_page_that_is_turned_twice_or_forged_changes_nothing(bot: Bench):
    _, card = await ask(bot, plan=PLAN)
    dialog = await open_details(bot, card)
    payload = bot.slack._doors.click_in_view(user=ALICE, view=dialog, action_id=details.NEXT)
    await bot.deliver(payload)
    (second,) = bot.slack.modals(ALICE)
    await bot.deliver(payload)  # it was clicked twice: the dialog is another by now
    assert bot.slack.modals(ALICE) == [second]
    garbled = {**payload, "view": {**payload["view"], "private_metadata": "{}"}}
    await bot.deliver(garbled)
    await bot.deliver({**payload, "actions": [{**payload["actions"][0], "value": "second"}]})
    # A button of a card inside a dialog, and one of a dialog on a card.
    ticket = bot.payload(card)["actions"][0]["value"]
    for action in (cards.APPROVE, cards.REJECT, cards.DETAILS):
        await bot.deliver({**payload, "actions": [{"action_id": action, "value": ticket}]})
    await bot.deliver({**bot.payload(card), "actions": [{"action_id": details.NEXT, "value": "1"}]})
    assert bot.slack.modals(ALICE) == [second]
    codes = ["GARBLED_TICKET", "GARBLED_TICKET", *["WRONG_CHANNEL"] * 3, "UNKNOWN_ACTION"]
    assert await bot.refusals() == codes
    assert len(await bot.events("request.details_shown")) == 1


async def test_a_dialog_that_slack_does_not_open_is_told(bot: Bench):
    _, card = await ask(bot, plan=PLAN)
    bot.slack.faults.add(Fault("views.open", "500"))
    await bot.click(card, cards.DETAILS)
    assert "Slack did not open the dialog. Click again." in await bot.private(ALICE)


def words_of_view(dialog: View) -> str:
    return "\n".join(texts(dialog.blocks))


# -- pages as a function ---------------------------------------------------------------------------------------

anything = st.text(st.characters(), max_size=200)
long = st.builds(lambda text, times: text * times, st.text("ab\n😀\u202e", max_size=7), st.integers(0, 2_000))


def body(asked: RequestView, page: int) -> Any:
    """Return a page as Slack stores it; raises when Slack would refuse any of it."""
    dialog = details.details_dialog(asked, ORIGIN, page).to_dict()
    return view_body(json.loads(json.dumps(dialog)), "modal", new_ids())


@settings(max_examples=25, deadline=None)
@given(
    arguments=st.dictionaries(anything, long | st.decimals(), max_size=4),
    facts=st.dictionaries(anything, long),
)
def test_slack_takes_every_page_whatever_is_on_it(arguments: dict[str, Any], facts: dict[str, Any]):
    asked = view(request(action=Action("x", arguments), facts=facts))
    count = len(details.pages(asked))
    bodies = [body(asked, page) for page in range(count)]
    assert body(asked, 99) == bodies[-1]
    assert body(asked, -1) == bodies[0]
    read = "".join(shown(one["blocks"]) for one in bodies)
    for value in (*arguments.values(), *facts.values()):
        assert str(value).replace("\u202e", "\ufffd") in read
    assert "\u202e" not in read


@settings(max_examples=100, deadline=None)
@given(text=st.text("ab\n😀", max_size=80), most=st.integers(2, 20))
def test_pieces_are_the_text_and_none_is_longer_than_slack_counts(text: str, most: int):
    found = details.pieces(text, most)
    assert "".join(found) == text
    assert all(len(piece.encode("utf-16-le")) // 2 <= most for piece in found)
    assert all(found) or not text


def test_structures_are_set_out_in_lines_and_numbers_are_exact():
    asked = view(request(action=Action("x", {"rows": [{"id": 1}], "sum": Decimal("1.10")})))
    assert shown(body(asked, 0)["blocks"]) == '[\n  {\n    "id": 1\n  }\n]1.10'


def test_megabytes_are_laid_out_at_once():
    asked = view(request(facts={"log": "line of a log\n" * 300_000}))
    assert len(details.pages(asked)) > 300
    assert "Page 200 of" in body(asked, 199)["blocks"][1]["elements"][0]["text"]
