"""Every part of a click, swapped in turn: each forgery is refused under its own code and changes nothing."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from bot_bench import (
    ALICE,
    BOB,
    CHANNEL,
    EXTERNAL,
    GENERAL,
    Bench,
    in_both_modes,
    signed,
    texts,
)

from bot import cards

Json = dict[str, Any]
Forge = Callable[[Json, Json, Json], None]


def ticket(**changes: Any) -> Forge:
    """Change ids in the ticket; a function of the other card's ticket gives what to put."""

    def forge(payload: Json, ours: Json, theirs: Json) -> None:
        value = {**ours, **{k: v(theirs) if callable(v) else v for k, v in changes.items()}}
        payload["actions"][0]["value"] = json.dumps({k: v for k, v in value.items() if v is not Ellipsis})

    return forge


def value(said: Any) -> Forge:
    def forge(payload: Json, ours: Json, theirs: Json) -> None:
        payload["actions"][0]["value"] = said

    return forge


def at(*path: str | int, put: Any = ...) -> Forge:
    """Put something else at a place of the payload, or take the place out."""

    def forge(payload: Json, ours: Json, theirs: Json) -> None:
        *way, last = path
        inside: Any = payload
        for step in way:
            inside = inside[step]
        if put is ...:
            del inside[last]
        else:
            inside[last] = put(theirs) if callable(put) else put

    return forge


def both(*forges: Forge) -> Forge:
    def forge(payload: Json, ours: Json, theirs: Json) -> None:
        for one in forges:
            one(payload, ours, theirs)

    return forge


FORGED: dict[str, tuple[Forge, str]] = {
    "the request of another card": (ticket(q=lambda their: their["q"]), "WRONG_REQUEST"),
    "a request that never was": (ticket(q="req-0000"), "UNKNOWN_REQUEST"),
    "the run of another card": (ticket(r=lambda their: their["r"]), "WRONG_RUN"),
    "a run that never was": (ticket(r="run-0000"), "WRONG_RUN"),
    "the thread of another card": (ticket(t=lambda their: their["t"]), "WRONG_THREAD"),
    "a thread that never was": (ticket(t="thr-0000"), "WRONG_THREAD"),
    "the question of another card": (ticket(i=lambda their: their["i"]), "WRONG_INTERRUPT"),
    "a question that never was": (ticket(i="int-0000"), "WRONG_INTERRUPT"),
    "the whole ticket of another card": (
        ticket(**{key: (lambda their, key=key: their[key]) for key in "dqtri"}),
        "WRONG_REQUEST",
    ),
    "another deployment": (ticket(d="somewhere-else"), "WRONG_DEPLOYMENT"),
    "a channel where the card does not lie": (at("container", "channel_id", put=GENERAL), "WRONG_CHANNEL"),
    "a channel that never was": (at("container", "channel_id", put="C0NOWHERE"), "WRONG_CHANNEL"),
    "a message that never was": (at("container", "message_ts", put="1.000100"), "WRONG_MESSAGE"),
    "the message of another card, in this channel": (
        at("container", "message_ts", put=lambda their: their["ts"]),
        "WRONG_MESSAGE",
    ),
    "the place of another card": (
        both(
            at("container", "message_ts", put=lambda their: their["ts"]),
            at("container", "channel_id", put=GENERAL),
        ),
        "WRONG_REQUEST",
    ),
    "another app": (at("api_app_id", put="A0OTHER"), "WRONG_APP"),
    "another workspace": (at("team", "id", put="T0OTHER"), "WRONG_WORKSPACE"),
    "no workspace and a user of another one": (
        both(at("team", put=None), at("user", "team_id", put="T0OTHER")),
        "WRONG_WORKSPACE",
    ),
    "a user of another workspace": (at("user", "team_id", put="T0OTHER"), "EXTERNAL_USER"),
    "a stranger who claims our workspace": (at("user", "id", put=EXTERNAL), "EXTERNAL_USER"),
    "a user that never was": (at("user", "id", put="U0NOBODY"), "MEMBERSHIP_UNKNOWN"),
    "the bot itself": (at("user", "id", put="U0SIGNOFF"), "BOT_USER"),
    "a button we never drew": (at("actions", 0, "action_id", put="signoff_detonate"), "UNKNOWN_ACTION"),
    "a button named almost like ours": (
        at("actions", 0, "action_id", put="signoff_approve\n"),
        "UNKNOWN_ACTION",
    ),
    "a button whose name goes on": (
        at("actions", 0, "action_id", put="signoff_approve_all"),
        "UNKNOWN_ACTION",
    ),
    "a button without a name": (at("actions", 0, "action_id", put=""), "UNKNOWN_ACTION"),
    "a value that is no ticket": (value("approve"), "GARBLED_TICKET"),
    "an empty value": (value(""), "GARBLED_TICKET"),
    "no value": (at("actions", 0, "value"), "GARBLED_TICKET"),
    "a value that is no text": (value(["approve"]), "GARBLED_TICKET"),
    "a value that is far too long": (value("x" * 300_000), "GARBLED_TICKET"),
    "a value nested too deep": (value("[" * 100_000), "GARBLED_TICKET"),
    "a value that is a list": (value("[1, 2]"), "GARBLED_TICKET"),
    "ids that are numbers": (ticket(q=1, r=2), "GARBLED_TICKET"),
    "an id that is null": (ticket(r=None), "GARBLED_TICKET"),
    "an id that is missing": (ticket(r=...), "GARBLED_TICKET"),
    "an id that is empty": (ticket(t=""), "GARBLED_TICKET"),
    "an id with a statement in it": (ticket(q="x'; DROP TABLE requests; --"), "GARBLED_TICKET"),
    "an id that is far too long": (ticket(i="i" * 70), "GARBLED_TICKET"),
    "a ticket with more in it": (ticket(verdict="approve"), "GARBLED_TICKET"),
    "no container": (at("container"), "GARBLED_TICKET"),
    "a container that is a view": (at("container", put={"type": "view", "view_id": "V1"}), "GARBLED_TICKET"),
    "a channel that is no id": (at("container", "channel_id", put="../general"), "GARBLED_TICKET"),
    "a message that is no timestamp": (at("container", "message_ts", put="now"), "GARBLED_TICKET"),
    "no actions": (at("actions", put=[]), "GARBLED_TICKET"),
    "actions left out": (at("actions"), "GARBLED_TICKET"),
    "actions that are null": (at("actions", put=None), "GARBLED_TICKET"),
    "an action without a name": (at("actions", 0, "action_id"), "GARBLED_TICKET"),
    "an action whose name is a number": (at("actions", 0, "action_id", put=7), "GARBLED_TICKET"),
    "no app": (at("api_app_id"), "GARBLED_TICKET"),
    "no user": (at("user"), "GARBLED_TICKET"),
    "a user that is no id": (at("user", "id", put="<!channel>"), "GARBLED_TICKET"),
}


async def two_cards(bot: Bench) -> tuple[Any, Any]:
    ours = await bot.card(await bot.start())
    theirs = await bot.card(await bot.start("deploy", policy="general", service="billing"))
    await bot.quiet()
    return ours, theirs


def ticket_on(card: Any) -> Json:
    (actions,) = [block for block in card.blocks if block["type"] == "actions"]
    return {**json.loads(actions["elements"][0]["value"]), "ts": card.ts}


@in_both_modes
@pytest.mark.parametrize(("forge", "code"), FORGED.values(), ids=FORGED)
async def test_a_forged_click_is_refused_under_its_own_code_and_changes_nothing(
    bot: Bench, forge: Forge, code: str
):
    ours, theirs = await two_cards(bot)
    payload, mine = bot.payload(ours), ticket_on(ours)
    mine.pop("ts")
    forge(payload, mine, ticket_on(theirs))
    before, shown = bot.dump(), (bot.slack.messages(CHANNEL), bot.slack.messages(GENERAL))
    assert (await bot.deliver(payload)).outcome == "acked"
    assert "recorded" in await bot.private(ALICE) or code.endswith("_USER")
    (refused,) = await bot.events("decision.refused")
    assert refused.data["code"] == code
    assert bot.dump() == before
    assert (bot.slack.messages(CHANNEL), bot.slack.messages(GENERAL)) == shown
    # Both cards still work, and nobody was told twice.
    for card in (ours, theirs):
        await bot.click(card)
        await bot.drawn(card, "the run completed")
    assert len(bot.slack.ephemerals(ALICE)) == 1
    assert len(bot.published()) == 2


@in_both_modes
async def test_a_click_of_an_org_wide_install_names_no_team_and_is_taken(bot: Bench):
    card = await bot.card(await bot.start())
    payload = bot.payload(card)
    payload["team"] = None
    assert (await bot.deliver(payload)).outcome == "acked"
    await bot.drawn(card, "*Approved*")


@in_both_modes
async def test_a_copy_of_our_card_in_another_message_is_not_our_card(bot: Bench):
    card = await bot.card(await bot.start())
    workspace = bot.slack.workspace
    copy = workspace.post(channel=CHANNEL, user=workspace.bot_user_id, text=card.text, blocks=card.blocks)
    await bot.click(copy)
    assert "This is not the card of this request" in await bot.private(ALICE)
    assert await bot.refusals() == ["WRONG_MESSAGE"]


@in_both_modes
async def test_a_replayed_click_is_answered_already_decided(bot: Bench):
    card = await bot.card(await bot.start())
    payload = bot.payload(card)
    for _ in range(3):
        assert (await bot.deliver(payload)).outcome == "acked"
    assert f"already decided by <@{ALICE}>" in await bot.private(ALICE, 2)
    await bot.quiet()
    assert await bot.refusals() == ["ALREADY_DECIDED"] * 2
    assert len(bot.published()) == 1
    assert len(bot.dump()["decisions"]) == 1


async def test_an_envelope_that_slack_sends_twice_decides_once(bot: Bench):
    card = await bot.card(await bot.start())
    bot.slack.faults.duplicate_next_delivery(2)
    await bot.click(card)
    await bot.private(ALICE, 2)
    await bot.quiet()
    assert await bot.refusals() == ["ALREADY_DECIDED"] * 2
    assert len(bot.published()) == 1


async def test_a_response_url_elsewhere_is_never_called(bot: Bench):
    card = await bot.card(await bot.start())
    called = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        writer.close()

    trap = await asyncio.start_server(listen, "127.0.0.2", 0)
    port = trap.sockets[0].getsockname()[1]
    for url in (
        f"http://127.0.0.2:{port}/actions/x",
        "https://[",
        7,
        "",
        f"http://hooks.slack.com@127.0.0.2:{port}/",
    ):
        payload = bot.payload(card, user=BOB)
        payload["response_url"] = url
        payload["actions"][0]["value"] = "forged"
        assert (await bot.deliver(payload)).outcome == "acked"
    # Sentences go out in order: when this one has arrived, the others are through.
    await bot.deliver(bot.payload(card) | {"api_app_id": "A0OTHER"})
    await bot.private(ALICE)
    assert not called.is_set()
    trap.close()
    assert len(await bot.refusals()) == 6


# -- dialogs


def metadata(**changes: Any) -> Callable[[Json], None]:
    def forge(payload: Json) -> None:
        held = json.loads(payload["view"]["private_metadata"])
        inner = json.loads(held["ticket"])
        for key, put in changes.items():
            if key in held:
                held[key] = put
            else:
                inner[key] = put
        if "ticket" not in changes:
            held["ticket"] = json.dumps(inner)
        payload["view"]["private_metadata"] = json.dumps(held)

    return forge


def replaced(*path: str, put: Any) -> Callable[[Json], None]:
    return lambda payload: at(*path, put=put)(payload, {}, {})


DIALOGS = {
    "a ticket that is garbage": (metadata(ticket="garbage"), "GARBLED_TICKET"),
    "private metadata that is garbage": (replaced("view", "private_metadata", put="{"), "GARBLED_TICKET"),
    "private metadata that is empty": (replaced("view", "private_metadata", put=""), "GARBLED_TICKET"),
    "another run": (metadata(r="run-0000"), "WRONG_RUN"),
    "another thread": (metadata(t="thr-0000"), "WRONG_THREAD"),
    "another question": (metadata(i="int-0000"), "WRONG_INTERRUPT"),
    "another request": (metadata(q="req-0000"), "UNKNOWN_REQUEST"),
    "another deployment": (metadata(d="elsewhere"), "WRONG_DEPLOYMENT"),
    "another channel": (metadata(channel="C0GENERAL"), "WRONG_CHANNEL"),
    "another message": (metadata(message="1.000100"), "WRONG_MESSAGE"),
    "another app": (replaced("api_app_id", put="A0OTHER"), "WRONG_APP"),
    "another workspace": (replaced("team", put={"id": "T0OTHER"}), "WRONG_WORKSPACE"),
    "a user of another workspace": (replaced("user", "team_id", put="T0OTHER"), "EXTERNAL_USER"),
    "no user": (replaced("user", put=None), "GARBLED_TICKET"),
}


@in_both_modes
@pytest.mark.parametrize(("forge", "code"), DIALOGS.values(), ids=DIALOGS)
async def test_a_forged_dialog_is_refused_under_its_own_code_and_changes_nothing(
    bot: Bench, forge: Callable[[Json], None], code: str
):
    card = await bot.card(await bot.start())
    await bot.quiet()
    await bot.click(card, cards.REJECT)
    (dialog,) = bot.slack.modals(ALICE)
    typed = {cards.REASON_BLOCK: {cards.REASON_INPUT: "Because"}}
    payload = bot.slack._doors.submission(ALICE, bot.slack.workspace.modals.type_into(dialog, typed))
    forge(payload)
    before = bot.dump()
    answered = await bot.deliver(payload)
    assert answered.outcome == "acked"
    assert answered.response is not None
    assert answered.response["response_action"] == "update"
    assert "Not recorded" in texts(answered.response["view"])
    assert await bot.refusals() == [code]
    assert bot.dump() == before


@pytest.mark.parametrize(
    "state", [{}, {"values": []}, {"values": {"reason": 7}}, {"values": {"reason": {"text": None}}}]
)
async def test_a_dialog_whose_fields_have_other_shapes_has_no_reason(bot: Bench, state: Json):
    card = await bot.card(await bot.start())
    await bot.click(card, cards.REJECT)
    payload = bot.slack._doors.submission(ALICE, bot.slack.modals(ALICE)[0])
    payload["view"]["state"] = state
    answered = await bot.deliver(payload)
    assert answered.response is not None
    assert answered.response["response_action"] == "errors"
    assert await bot.refusals() == ["REASON_REQUIRED"]


@in_both_modes
@pytest.mark.parametrize("changes", [{"api_app_id": "A0OTHER"}, {"team_id": "T0OTHER"}, {"user_id": "<@U1>"}])
async def test_a_forged_command_does_nothing_and_says_so(bot: Bench, changes: Json):
    payload = bot.slack._doors.slash(
        user="U0OLGA", channel=CHANNEL, command="/signoff", text="start deploy {}"
    )
    answered = await bot.deliver(payload | changes, "slash_commands")
    assert answered.outcome == "acked"
    assert "Nothing was done" in (answered.response or {})["text"]
    assert bot.dump()["runs"] == []


# -- the door of HTTP mode

http_only = pytest.mark.parametrize("bot", ["http"], indirect=True)
FORM = "application/x-www-form-urlencoded"


async def post(bot: Bench, body: bytes, headers: dict[str, str]) -> int:
    assert bot.slack.request_url is not None
    async with (
        aiohttp.ClientSession() as session,
        session.post(bot.slack.request_url, data=io.BytesIO(body), headers=headers) as answer,
    ):
        await answer.read()
        return answer.status


@http_only
async def test_a15_what_slack_did_not_sign_is_401_counted_and_leaves_no_row(bot: Bench):
    card = await bot.card(await bot.start())
    await bot.quiet()
    before = bot.dump(without=())
    body = urlencode({"payload": json.dumps(bot.payload(card))}).encode()
    good = signed(bot.slack.signing_secret, body)
    stamp, mark = "X-Slack-Request-Timestamp", "X-Slack-Signature"
    wrong = {
        "no signature": {stamp: good[stamp]},
        "no timestamp": {mark: good[mark]},
        "neither": {},
        "another secret": signed("0" * 32, body),
        "another body": signed(bot.slack.signing_secret, body + b"&"),
        "too old": signed(bot.slack.signing_secret, body, at=time.time() - 400),
        "of the future": signed(bot.slack.signing_secret, body, at=time.time() + 400),
        "a timestamp that is no number": {**good, stamp: "now"},
        "a timestamp in other digits": {**good, stamp: "\u0661\u0662"},
        "a signature that is no ASCII": {**good, mark: "v0=\u00e9"},
        "an empty signature": {**good, mark: ""},
        "another version": {**good, mark: good[mark].replace("v0=", "v1=")},
    }
    for name, headers in wrong.items():
        assert await post(bot, body, {"Content-Type": FORM, **headers}) == 401, name
    assert bot.dump(without=()) == before
    async with (
        aiohttp.ClientSession() as session,
        session.get(bot.slack.request_url.replace("/slack/events", "/metrics")) as answer,
    ):
        assert f"signoff_unsigned_requests {len(wrong)}.0" in await answer.text()
    assert await post(bot, body, {"Content-Type": FORM, **good}) == 200
    await bot.drawn(card, "*Approved*")


@http_only
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'"text"', "application/json"),
        (b"[" * 200_000, "application/json"),
        (b"\xff\xfe\x00", "application/json"),
        (b"payload=%FF%FE", FORM),
        (b"payload={", FORM),
        (b"payload=[1]", FORM),
        (b"payload=7", FORM),
        (b"payload=null", FORM),
        (b"payload=", FORM),
        (b"payload=%7B%22type%22%3A%22block_actions%22%2C%22team%22%3A7%7D", FORM),
        (b"", FORM),
        (b"hello", FORM),
        (b"x" * (2 << 20), FORM),
        (b"{}", "application/json; charset=klingon"),
        (b"{}", "multipart/form-data"),
        (b"\x00" * 100, "application/octet-stream"),
        (b'{"type": "view_submission", "view": {"callback_id": "not_ours"}}', "application/json"),
    ],
)
async def test_a_signed_body_that_cannot_be_read_is_refused_and_never_an_error_of_ours(
    bot: Bench, body: bytes, kind: str
):
    before = bot.dump()
    headers = {"Content-Type": kind, **signed(bot.slack.signing_secret, body)}
    assert 400 <= await post(bot, body, headers) < 500
    assert bot.dump() == before


@http_only
async def test_slack_can_verify_the_request_url(bot: Bench):
    assert await bot.slack.verify_request_url()


async def test_in_socket_mode_there_is_no_door_for_requests(bot: Bench):
    assert bot.slack.request_url is None
    # Health is answered in both modes; events are not taken.
    assert bot.slack.connections == 2
