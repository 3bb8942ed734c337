from __future__ import annotations

from typing import Any

import pytest
from sandbox_app import plain
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox import NotOnScreenError, Sandbox
from bot.sandbox.elements import action_of, complaint, find, initial_state, state_with


def option(value: str) -> dict[str, Any]:
    return {"text": plain(value.title()), "value": value}


OPTIONS = [option("low"), option("high")]


@pytest.mark.parametrize(
    ("element", "typed", "state"),
    [
        ({"type": "plain_text_input"}, "words", {"value": "words"}),
        ({"type": "plain_text_input"}, "", {"value": None}),
        ({"type": "number_input"}, 250, {"value": "250"}),
        ({"type": "static_select", "options": OPTIONS}, "low", {"selected_option": OPTIONS[0]}),
        (
            {"type": "static_select", "option_groups": [{"options": OPTIONS}]},
            "high",
            {"selected_option": OPTIONS[1]},
        ),
        ({"type": "radio_buttons", "options": OPTIONS}, None, {"selected_option": None}),
        ({"type": "checkboxes", "options": OPTIONS}, ["low", "high"], {"selected_options": OPTIONS}),
        ({"type": "multi_users_select"}, ["U0BOB"], {"selected_users": ["U0BOB"]}),
        ({"type": "users_select"}, "U0BOB", {"selected_user": "U0BOB"}),
        ({"type": "datepicker"}, "2026-11-22", {"selected_date": "2026-11-22"}),
        ({"type": "datetimepicker"}, "1790000000", {"selected_date_time": 1790000000}),
    ],
)
def test_each_kind_of_input_holds_its_value_where_slack_puts_it(
    element: dict[str, Any], typed: Any, state: dict[str, Any]
):
    assert state_with({**element, "action_id": "a"}, typed) == {"type": element["type"], **state}


def test_inputs_start_from_their_initial_value():
    assert initial_state({"type": "plain_text_input", "initial_value": "x"}) == {
        "type": "plain_text_input",
        "value": "x",
    }
    assert initial_state({"type": "checkboxes"}) == {"type": "checkboxes", "selected_options": []}
    assert initial_state({"type": "button"}) is None


def test_an_option_that_is_not_offered_cannot_be_chosen():
    with pytest.raises(NotOnScreenError, match="low, high"):
        state_with({"type": "static_select", "action_id": "a", "options": OPTIONS}, "medium")
    with pytest.raises(NotOnScreenError, match="holds no value"):
        state_with({"type": "button", "action_id": "a"}, "x")


@pytest.mark.parametrize(
    ("element", "typed", "words"),
    [
        ({"type": "plain_text_input", "min_length": 10}, "short", "at least 10"),
        ({"type": "plain_text_input", "max_length": 3}, "long", "at most 3"),
        ({"type": "number_input", "is_decimal_allowed": False}, "1.5", "whole number"),
        ({"type": "number_input", "is_decimal_allowed": True}, "lots", "Please enter a number"),
        ({"type": "number_input", "is_decimal_allowed": True}, "NaN", "Please enter a number"),
        (
            {"type": "number_input", "is_decimal_allowed": True, "max_value": "320.00"},
            "320.01",
            "at most 320.00",
        ),
        ({"type": "number_input", "is_decimal_allowed": True, "min_value": "0.01"}, "0", "at least 0.01"),
        ({"type": "email_text_input"}, "me", "valid email"),
        ({"type": "url_text_input"}, "me", "valid URL"),
        ({"type": "users_select"}, None, "required"),
        ({"type": "number_input", "is_decimal_allowed": True, "max_value": "320.00"}, "319.99", None),
        ({"type": "email_text_input"}, "me@acme.test", None),
        ({"type": "datepicker"}, "2026-11-22", None),
    ],
)
def test_slacks_client_complains_below_a_field_before_it_sends(
    element: dict[str, Any], typed: Any, words: str | None
):
    found = complaint({"type": "input"}, element, state_with({**element, "action_id": "a"}, typed))
    assert found is None if words is None else words in str(found)
    assert complaint({"optional": True}, element, state_with({**element, "action_id": "a"}, None)) is None


def test_elements_are_found_in_every_kind_of_block():
    button = {"type": "button", "action_id": "go", "text": plain("Go"), "value": "1"}
    for block in (
        {"type": "actions", "block_id": "b", "elements": [button]},
        {"type": "section", "block_id": "b", "accessory": button},
        {"type": "card", "block_id": "b", "actions": [button]},
        {
            "type": "carousel",
            "block_id": "c",
            "elements": [{"type": "card", "block_id": "b", "actions": [button]}],
        },
        {
            "type": "container",
            "block_id": "c",
            "child_blocks": [{"type": "actions", "block_id": "b", "elements": [button]}],
        },
    ):
        holder, element = find([block], "go")
        assert (holder["block_id"], element) == ("b", button)


def test_a_name_in_two_blocks_needs_the_block_id():
    rows = [
        {"type": "actions", "block_id": name, "elements": [{"type": "button", "action_id": "go"}]}
        for name in ("a", "b")
    ]
    with pytest.raises(NotOnScreenError, match="say block_id"):
        find(rows, "go")
    assert find(rows, "go", "b")[0]["block_id"] == "b"


def test_a_click_says_what_was_chosen():
    block = {"block_id": "b"}
    menu = {"type": "overflow", "action_id": "m", "options": OPTIONS}
    assert action_of(block, menu, "1.1", "low")["selected_option"] == OPTIONS[0]
    thumbs = {
        "type": "feedback_buttons",
        "action_id": "f",
        "positive_button": {"value": "+"},
        "negative_button": {},
    }
    assert action_of(block, thumbs, "1.1", "+")["value"] == "+"
    with pytest.raises(NotOnScreenError):
        action_of(block, thumbs, "1.1", "?")
    with pytest.raises(NotOnScreenError, match="cannot be used"):
        action_of(block, {"type": "image"}, "1.1")


async def test_a_choice_in_a_message_stays_in_the_state_of_the_next_click(
    slack: Sandbox, client: AsyncWebClient
):
    blocks = [
        {
            "type": "actions",
            "block_id": "b",
            "elements": [
                {"type": "static_select", "action_id": "risk", "options": OPTIONS},
                {"type": "button", "action_id": "go", "text": plain("Go")},
            ],
        }
    ]
    ts = (await client.chat_postMessage(channel="C0DEPLOYS", text="x", blocks=blocks))["ts"]
    where = {"channel": "C0DEPLOYS", "ts": ts}
    chosen = slack.payload_of_click(user="U0ALICE", **where, action_id="risk", value="high")
    assert chosen["actions"][0]["selected_option"] == OPTIONS[1]
    for user, held in (("U0ALICE", OPTIONS[1]), ("U0BOB", None)):
        payload = slack.payload_of_click(user=user, **where, action_id="go")
        assert payload["state"]["values"]["b"]["risk"]["selected_option"] == held


async def test_a_click_in_a_view_carries_what_was_typed_beside_it(slack: Sandbox, client: AsyncWebClient):
    blocks = [
        {
            "type": "input",
            "block_id": "why",
            "label": plain("Why"),
            "element": {"type": "plain_text_input", "action_id": "t"},
        },
        {
            "type": "actions",
            "block_id": "b",
            "elements": [{"type": "button", "action_id": "more", "text": plain("More")}],
        },
    ]
    view = {"type": "modal", "title": plain("T"), "submit": plain("Go"), "blocks": blocks}
    trigger = slack.workspace.handles.issue_trigger("U0ALICE")
    opened = (await client.views_open(trigger_id=trigger, view=view))["view"]
    delivery = await slack.click_in_view(
        user="U0ALICE", view_id=opened["id"], action_id="more", values={"why": {"t": "half a word"}}
    )
    assert delivery.payload["container"] == {"type": "view", "view_id": opened["id"]}
    assert delivery.payload["view"]["state"]["values"]["why"]["t"]["value"] == "half a word"
    assert "response_url" not in delivery.payload
    with pytest.raises(NotOnScreenError, match="on screen"):
        await slack.click_in_view(user="U0BOB", view_id=opened["id"], action_id="more")
