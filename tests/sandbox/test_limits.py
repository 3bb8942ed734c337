from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sandbox_app import CARD, plain, reason_modal
from slack_sdk.errors import SlackApiError

from bot.sandbox.limits import BLOCKS, message_blocks, metadata_body, text_length, view_body
from bot.sandbox.refusals import SlackError

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

    from bot.sandbox import Sandbox


def ids() -> Any:
    return iter(f"id{n}" for n in range(1000)).__next__


def mrkdwn(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text}


def section(text: str = "x", **more: Any) -> dict[str, Any]:
    return {"type": "section", "text": mrkdwn(text), **more}


def button(action_id: str = "go", **more: Any) -> dict[str, Any]:
    return {"type": "button", "action_id": action_id, "text": plain("Go"), **more}


def actions(*elements: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "actions", "elements": list(elements), **more}


def options(n: int, text: str = "t", value: str = "v") -> list[dict[str, Any]]:
    return [{"text": plain(text), "value": f"{value}{place}"} for place in range(n)]


def select(n: int, **more: Any) -> dict[str, Any]:
    return {
        "type": "static_select",
        "action_id": "pick",
        "placeholder": plain("p"),
        "options": options(n),
        **more,
    }


def field(element: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "input", "label": plain("L"), "element": element, **more}


def confirm(**changes: Any) -> dict[str, Any]:
    return {"title": plain("t"), "text": mrkdwn("x"), "confirm": plain("y"), "deny": plain("n")} | changes


TEXT_INPUT = {"type": "plain_text_input", "action_id": "t"}

FITS = [
    [section() for _ in range(50)],
    [section("x" * 3000)],
    [{"type": "section", "fields": [mrkdwn("x" * 1000) for _ in range(10)]}],
    [{"type": "header", "text": plain("x" * 150)}],
    [{"type": "context", "elements": [mrkdwn("x") for _ in range(10)]}],
    [actions(*[button(f"b{n}") for n in range(25)])],
    [actions(button(value="x" * 2000, url="u" * 3000, style="danger", confirm=confirm()))],
    [actions(select(100))],
    [actions({"type": "overflow", "action_id": "o", "options": options(5)})],
    [section(accessory=button()), {"type": "divider"}],
    [{"type": "markdown", "text": "x" * 12000}],
    [{"type": "image", "image_url": "https://x.test/a.png", "alt_text": "a"}],
    [
        {
            "type": "rich_text",
            "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "x"}]}],
        }
    ],
    [{"type": "table", "rows": [[{"type": "raw_text", "text": "x"}] * 20] * 100}],
    [{"type": "container", "title": plain("t"), "child_blocks": [section()]}],
    [{"type": "alert", "text": mrkdwn("x"), "level": "warning"}],
    [section(block_id="b" * 255)],
    [actions(button("same"), block_id="one"), actions(button("same"), block_id="two")],
    [],
    [actions(select(1) | {"option_groups": [{"label": plain("g"), "options": options(100)}]})],
    [field({"type": "radio_buttons", "action_id": "r", "options": options(10)}, hint=plain("h" * 2000))],
    [field({"type": "number_input", "action_id": "n", "is_decimal_allowed": True, "min_value": "0.01"})],
    [field(TEXT_INPUT | {"min_length": 0, "max_length": 3000, "initial_value": "x" * 3000})],
    [
        {
            "type": "context",
            "elements": [{"type": "image", "image_url": "https://x.test/a.png", "alt_text": "a"}],
        }
    ],
    [
        {
            "type": "context_actions",
            "elements": [
                {
                    "type": "feedback_buttons",
                    "action_id": "f",
                    "positive_button": {"text": plain("+"), "value": "+"},
                    "negative_button": {"text": plain("-"), "value": "-"},
                }
            ],
        }
    ],
    [{"type": "card", "title": mrkdwn("t"), "actions": [button()]}],
    [{"type": "carousel", "elements": [{"type": "card", "body": mrkdwn("x" * 200)}] * 10}],
    [
        {
            "type": "video",
            "title": plain("t"),
            "alt_text": "a",
            "video_url": "https://x.test/v",
            "thumbnail_url": "https://x.test/t",
            "author_name": "A" * 50,
        }
    ],
    [{"type": "plan", "title": "p"}, {"type": "task_card", "title": "t", "task_id": "1"}],
]
BREAKS: list[tuple[list[Any], str]] = [
    ([section() for _ in range(51)], "no more than 50 items allowed [json-pointer:/blocks]"),
    ([section("x" * 3001)], "must be less than 3001 characters [json-pointer:/blocks/0/text/text]"),
    ([section("")], "must be more than 0 characters [json-pointer:/blocks/0/text/text]"),
    ([{"type": "section"}], "missing required field: text or fields [json-pointer:/blocks/0]"),
    ([{"type": "section", "fields": [mrkdwn("x")] * 11}], "no more than 10 items allowed"),
    ([{"type": "section", "fields": [mrkdwn("x" * 2001)]}], "/blocks/0/fields/0/text"),
    ([{"type": "header", "text": plain("x" * 151)}], "must be less than 151 characters"),
    ([{"type": "header", "text": mrkdwn("x")}], "[json-pointer:/blocks/0/text/type]"),
    ([{"type": "context", "elements": [mrkdwn("x")] * 11}], "no more than 10 items allowed"),
    ([actions()], "no fewer than 1 items allowed [json-pointer:/blocks/0/elements]"),
    ([actions(*[button(f"b{n}") for n in range(26)])], "no more than 25 items allowed"),
    ([actions(button(value="x" * 2001))], "[json-pointer:/blocks/0/elements/0/value]"),
    ([actions(button(url="x" * 3001))], "[json-pointer:/blocks/0/elements/0/url]"),
    ([actions(button(text=plain("x" * 76)))], "must be less than 76 characters"),
    ([actions(button(text=mrkdwn("x")))], "[json-pointer:/blocks/0/elements/0/text/type]"),
    ([actions(button(style="loud"))], "must be a valid enum value [json-pointer:/blocks/0/elements/0/style]"),
    ([actions(button("a" * 256))], "[json-pointer:/blocks/0/elements/0/action_id]"),
    ([actions(button(accessibility_label="x" * 76))], "/accessibility_label]"),
    ([actions(button(confirm=confirm(text=mrkdwn("x" * 301))))], "/confirm/text/text]"),
    ([actions(button(confirm=confirm(title=plain("x" * 101))))], "/confirm/title/text]"),
    ([actions(button(confirm=confirm(deny=plain("x" * 31))))], "/confirm/deny/text]"),
    ([actions(button("same"), button("same"))], "`action_id` same already exists"),
    ([section(block_id="b"), section(block_id="b")], "`block_id` b already exists"),
    ([section(block_id="b" * 256)], "[json-pointer:/blocks/0/block_id]"),
    ([actions(select(101))], "no more than 100 items allowed"),
    ([actions(select(1) | {"options": options(1, text="x" * 76)})], "/options/0/text/text]"),
    ([actions(select(1) | {"options": options(1, value="x" * 150)})], "/options/0/value]"),
    ([actions(select(1, placeholder=plain("x" * 151)))], "/placeholder/text]"),
    (
        [actions({"type": "overflow", "action_id": "o", "options": options(6)})],
        "no more than 5 items allowed",
    ),
    ([actions(TEXT_INPUT)], "unsupported type: plain_text_input"),
    ([field(button())], "unsupported type: button [json-pointer:/blocks/0/element/type]"),
    ([field(TEXT_INPUT | {"max_length": 3001})], "/element/max_length]"),
    ([field({"type": "number_input", "action_id": "n"})], "is_decimal_allowed"),
    ([{"type": "nonsense"}], "unsupported type: nonsense [json-pointer:/blocks/0/type]"),
    (["not a block"], "must be an object [json-pointer:/blocks/0]"),
    ([{"type": "markdown", "text": "x" * 12001}], "must be less than 12001 characters"),
    ([{"type": "markdown", "text": "x" * 6001}] * 2, "in all markdown blocks"),
    ([{"type": "table", "rows": [[{}]] * 101}], "no more than 100 items allowed"),
    ([{"type": "table", "rows": [[{}] * 21]}], "no more than 20 items allowed"),
    ([{"type": "table", "rows": [[{}]]}] * 2, "only one table is allowed"),
    ([{"type": "image", "image_url": "https://x.test/a.png"}], "missing required field: alt_text"),
    (
        [{"type": "container", "title": plain("t"), "child_blocks": [section("x" * 3001)]}],
        "/child_blocks/0/text/text]",
    ),
    ([{"type": "alert", "text": mrkdwn("x"), "level": "loud"}], "/level]"),
    ([{"type": "rich_text", "elements": [{"type": "odd"}]}], "must be a valid enum value"),
    ([{"type": "carousel", "elements": [{"type": "section"}]}], "/elements/0/type]"),
    ([{"type": "card"}], "missing required field: hero_image"),
    ([{"type": "context_actions", "elements": [button()]}], "unsupported type: button"),
    (
        [{"type": "context_actions", "elements": [{"type": "feedback_buttons"}]}],
        "required field: positive_button",
    ),
    ([field(select(1), label=plain("x" * 2001))], "/blocks/0/label/text]"),
    ([field(select(1), hint=plain("x" * 2001))], "/blocks/0/hint/text]"),
    ([{"type": "input", "label": plain("L")}], "missing required field: element"),
    ([field(TEXT_INPUT | {"max_length": 5, "initial_value": "123456"})], "/element/initial_value]"),
    (
        [field({"type": "number_input", "action_id": "n", "is_decimal_allowed": True, "max_value": 3})],
        "/max_value]",
    ),
    (
        [field({"type": "checkboxes", "action_id": "c", "options": options(11)})],
        "no more than 10 items allowed",
    ),
    ([actions("not an element")], "must be an object [json-pointer:/blocks/0/elements/0]"),
    ([actions(button(confirm="sure?"))], "/confirm]"),
    ([actions(select(1) | {"options": ["x"]})], "/options/0]"),
    (
        [
            actions(
                select(1) | {"options": [option | {"description": plain("x" * 76)} for option in options(1)]}
            )
        ],
        "/description",
    ),
    ([actions(select(1) | {"option_groups": ["x"]})], "/option_groups/0]"),
    (
        [actions(select(1) | {"option_groups": [{"label": plain("x" * 76), "options": options(1)}]})],
        "/label/text]",
    ),
    ([actions({"type": "image", "image_url": "x", "alt_text": "a"})], "unsupported type: image"),
    ([section(accessory={"type": "plain_text_input"})], "unsupported type: plain_text_input"),
    ([{"type": "section", "text": "words"}], "must be an object [json-pointer:/blocks/0/text]"),
    ([{"type": "section", "fields": "words"}], "must be an array [json-pointer:/blocks/0/fields]"),
    ([{"type": "header"}], "missing required field: text"),
    ([{"type": "header", "text": {"type": "plain_text", "text": 5}}], "must be a string"),
    ([{"type": "container", "child_blocks": [section()]}], "missing required field: title"),
    ([{"type": "container", "title": plain("t"), "child_blocks": [section()] * 11}], "no more than 10 items"),
    ([{"type": "image", "alt_text": "a", "image_url": "u", "title": plain("x" * 2001)}], "/title/text]"),
    ([{"type": "card", "title": mrkdwn("x" * 151)}], "/title/text]"),
    ([{"type": "plan"}], "missing required field: title"),
    ([{"type": "video", "title": plain("x" * 201)}], "/title/text]"),
    (
        [
            section(block_id="b"),
            {"type": "container", "title": plain("t"), "child_blocks": [section(block_id="b")]},
        ],
        "`block_id` b already exists",
    ),
]


@pytest.mark.parametrize("blocks", FITS, ids=range(len(FITS)))
def test_what_fits_is_taken(blocks: list[Any]):
    stored = message_blocks(blocks, ids())
    assert [block["type"] for block in stored] == [block["type"] for block in blocks]
    assert all(block["block_id"] for block in stored)


@pytest.mark.parametrize(("blocks", "sentence"), BREAKS, ids=[sentence[:40] for _, sentence in BREAKS])
def test_what_breaks_a_limit_is_refused_with_a_pointer(blocks: list[Any], sentence: str):
    with pytest.raises(SlackError) as refused:
        message_blocks(blocks, ids())
    assert refused.value.error == "invalid_blocks"
    assert sentence in "\n".join(refused.value.messages)


def test_the_text_of_all_blocks_together_is_limited():
    block = [section("x" * 2640) for _ in range(5)]
    assert text_length(block) == 13_200
    assert len(message_blocks(block, ids())) == 5
    with pytest.raises(SlackError, match="msg_blocks_too_long"):
        message_blocks([*block, section("x")], ids())


def test_blocks_that_are_no_list_have_their_own_error():
    with pytest.raises(SlackError, match="invalid_blocks_format"):
        message_blocks({"type": "section"}, ids())


def test_missing_ids_are_given_and_the_callers_blocks_stay_as_they_are():
    given = [section(accessory={"type": "button", "text": plain("x")})]
    (stored,) = message_blocks(given, ids())
    assert stored["block_id"]
    assert stored["accessory"]["action_id"]
    assert "block_id" not in given[0]
    assert "action_id" not in given[0]["accessory"]


VIEW_BREAKS = [
    ({"title": plain("x" * 25)}, "/view/title/text"),
    ({"title": None}, "missing required field: title"),
    ({"submit": plain("x" * 25)}, "/view/submit/text"),
    ({"close": plain("x" * 25)}, "/view/close/text"),
    ({"submit": None}, "missing required field: submit"),
    ({"private_metadata": "x" * 3001}, "/view/private_metadata"),
    ({"callback_id": "x" * 256}, "/view/callback_id"),
    ({"external_id": "x" * 256}, "/view/external_id"),
    ({"blocks": [section() for _ in range(101)]}, "no more than 100 items allowed"),
    ({"blocks": None}, "missing required field: blocks"),
    ({"blocks": [{"type": "markdown", "text": "x"}]}, "unsupported type: markdown"),
    ({"type": "home"}, "/view/type"),
]


@pytest.mark.parametrize(("changes", "sentence"), VIEW_BREAKS, ids=[sentence for _, sentence in VIEW_BREAKS])
def test_a_view_that_breaks_a_limit_is_refused_with_a_pointer(changes: dict[str, Any], sentence: str):
    with pytest.raises(SlackError) as refused:
        view_body(reason_modal(**changes), "modal", ids())
    assert refused.value.error == "invalid_arguments"
    assert sentence in "\n".join(refused.value.messages)


def test_a_view_above_250_kilobytes_is_too_large():
    with pytest.raises(SlackError, match="view_too_large"):
        view_body(reason_modal(blocks=[section("x" * 2600) for _ in range(100)]), "modal", ids())
    assert view_body(reason_modal(blocks=[section("x" * 2300) for _ in range(100)]), "modal", ids())


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"event_type": "x"}, "invalid_metadata_format"),
        ({"event_payload": {}}, "invalid_metadata_format"),
        ({"event_type": "x", "event_payload": {"Bad Key": 1}}, "invalid_metadata_format"),
        ({"event_type": "x", "event_payload": {"a": {"b": 1}}}, "invalid_metadata_format"),
        ("text", "invalid_metadata_format"),
        ({"event_type": "x", "event_payload": {"a": "y" * 8000}}, "metadata_too_large"),
    ],
)
def test_metadata_of_another_shape_is_refused(metadata: Any, error: str):
    with pytest.raises(SlackError, match=error):
        metadata_body(metadata)


def test_a_view_that_is_no_object_is_refused():
    with pytest.raises(SlackError, match="invalid_arguments"):
        view_body("a view", "modal", ids())


async def test_a_refusal_reaches_the_app_with_slacks_name_and_pointers(
    slack: Sandbox, client: AsyncWebClient
):
    with pytest.raises(SlackApiError) as refused:
        await client.chat_postMessage(channel="C0DEPLOYS", text="x", blocks=[section("x" * 3001)])
    answer = refused.value.response
    assert answer["error"] == "invalid_blocks"
    assert answer["response_metadata"]["messages"] == [
        "[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]"
    ]
    assert slack.messages("C0DEPLOYS") == []


async def test_long_text_is_cut_when_posted_and_refused_when_updated(slack: Sandbox, client: AsyncWebClient):
    ts = (await client.chat_postMessage(channel="C0DEPLOYS", text="x" * 40_001))["ts"]
    assert len(slack.messages("C0DEPLOYS")[0].text) == 40_000
    with pytest.raises(SlackApiError, match="msg_too_long"):
        await client.chat_update(channel="C0DEPLOYS", ts=ts, text="x" * 4001, blocks=CARD)


def test_every_block_of_the_sdk_is_known():
    from slack_sdk.models.blocks import Block

    of_the_sdk = {kind.type for kind in Block.__subclasses__()}
    assert of_the_sdk <= set(BLOCKS)
