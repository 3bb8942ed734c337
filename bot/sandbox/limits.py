"""Slack's sizes and shapes for messages and views, with the error names and JSON pointers Slack answers.

The numbers are Slack's documented ones, checked against the models of slack_sdk 3.47. Two are not documented:
a message's blocks may hold about 13 200 characters of text in all (slackapi/bolt-js#2509, #2867), and the
text of a context element is taken to have the general limit of a text object, 3 000.
"""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

from bot.sandbox.element_limits import INPUT_ELEMENTS, check_element
from bot.sandbox.elements import interactive
from bot.sandbox.findings import Findings
from bot.sandbox.refusals import Json, SlackError

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE_BLOCKS = 50
VIEW_BLOCKS = 100
BLOCK_TEXT_TOTAL = 13_200
POST_TEXT = 40_000
UPDATE_TEXT = 4_000
VIEW_BYTES = 250_000
PRIVATE_METADATA = 3_000
METADATA_BYTES = 8_000
MARKDOWN_TOTAL = 12_000
MESSAGE_ONLY = frozenset({"file", "markdown", "table", "data_table", "context_actions", "plan", "task_card"})


def _section(seen: Findings, at: str, block: Json) -> None:
    if "text" not in block and "fields" not in block:
        seen.add(at, "missing required field: text or fields")
    if "text" in block:
        seen.text(f"{at}/text", block["text"], 3000)
    for place, field in enumerate(seen.items(f"{at}/fields", block.get("fields"), 1, 10, optional=True)):
        seen.text(f"{at}/fields/{place}", field, 2000)
    if "accessory" in block:
        check_element(seen, f"{at}/accessory", block["accessory"], "section")


def _header(seen: Findings, at: str, block: Json) -> None:
    seen.text(f"{at}/text", block.get("text"), 150, plain=True)


def _context(seen: Findings, at: str, block: Json) -> None:
    for place, element in enumerate(seen.items(f"{at}/elements", block.get("elements"), 1, 10)):
        where = f"{at}/elements/{place}"
        if isinstance(element, dict) and element.get("type") == "image":
            check_element(seen, where, element, "context")
        else:
            seen.text(where, element, 3000)


def _actions(seen: Findings, at: str, block: Json) -> None:
    most = 5 if block["type"] == "context_actions" else 25
    for place, element in enumerate(seen.items(f"{at}/elements", block.get("elements"), 1, most)):
        check_element(seen, f"{at}/elements/{place}", element, block["type"])


def _image(seen: Findings, at: str, block: Json) -> None:
    check_element(seen, at, block, "image")
    if "title" in block:
        seen.text(f"{at}/title", block["title"], 2000, plain=True)


def _input(seen: Findings, at: str, block: Json) -> None:
    seen.text(f"{at}/label", block.get("label"), 2000, plain=True)
    if "hint" in block:
        seen.text(f"{at}/hint", block["hint"], 2000, plain=True)
    element = block.get("element")
    if isinstance(element, dict) and element.get("type") not in INPUT_ELEMENTS:
        seen.add(f"{at}/element/type", f"unsupported type: {element.get('type')}")
    else:
        check_element(seen, f"{at}/element", element, "input")


def _markdown(seen: Findings, at: str, block: Json) -> None:
    seen.string(f"{at}/text", block.get("text"), MARKDOWN_TOTAL)


def _rich_text(seen: Findings, at: str, block: Json) -> None:
    known = {"rich_text_section", "rich_text_list", "rich_text_preformatted", "rich_text_quote"}
    for place, element in enumerate(seen.items(f"{at}/elements", block.get("elements"), 1, 1000)):
        where = f"{at}/elements/{place}"
        if not isinstance(element, dict) or element.get("type") not in known:
            seen.add(f"{where}/type", "must be a valid enum value")
        else:
            seen.items(f"{where}/elements", element.get("elements"), 0, 1000)


def _table(seen: Findings, at: str, block: Json) -> None:
    for place, row in enumerate(seen.items(f"{at}/rows", block.get("rows"), 1, 100)):
        seen.items(f"{at}/rows/{place}", row, 1, 20)


def _alert(seen: Findings, at: str, block: Json) -> None:
    seen.text(f"{at}/text", block.get("text"), 3000)
    seen.choice(f"{at}/level", block.get("level"), {"default", "info", "warning", "error", "success"})


def _card(seen: Findings, at: str, block: Json) -> None:
    if not any(key in block for key in ("hero_image", "title", "actions", "body")):
        seen.add(at, "missing required field: hero_image, title, actions or body")
    for key, most in (("title", 150), ("subtitle", 150), ("body", 200)):
        if key in block:
            seen.text(f"{at}/{key}", block[key], most)
    for place, element in enumerate(seen.items(f"{at}/actions", block.get("actions"), 1, 25, optional=True)):
        check_element(seen, f"{at}/actions/{place}", element, "actions")


def _carousel(seen: Findings, at: str, block: Json) -> None:
    for place, card in enumerate(seen.items(f"{at}/elements", block.get("elements"), 1, 10)):
        where = f"{at}/elements/{place}"
        if not isinstance(card, dict) or card.get("type") != "card":
            seen.add(f"{where}/type", "must be a valid enum value")
        else:
            _card(seen, where, card)


def _container(seen: Findings, at: str, block: Json) -> None:
    if "title" not in block and "rich_text_title" not in block:
        seen.add(at, "missing required field: title")
    for key in ("title", "subtitle"):
        if key in block:
            seen.text(f"{at}/{key}", block[key], 150)
    for place, child in enumerate(seen.items(f"{at}/child_blocks", block.get("child_blocks"), 1, 10)):
        _block(seen, f"{at}/child_blocks/{place}", child)


def _video(seen: Findings, at: str, block: Json) -> None:
    seen.text(f"{at}/title", block.get("title"), 200, plain=True)
    seen.string(f"{at}/alt_text", block.get("alt_text"), 2000)
    seen.string(f"{at}/video_url", block.get("video_url"), 3000)
    seen.string(f"{at}/thumbnail_url", block.get("thumbnail_url"), 3000)
    if "author_name" in block:
        seen.string(f"{at}/author_name", block["author_name"], 50)


def _task(seen: Findings, at: str, block: Json) -> None:
    seen.string(f"{at}/title", block.get("title"), 3000)


def _free(seen: Findings, at: str, block: Json) -> None:
    """A block whose own limits are not documented: only the general ones hold."""


BLOCKS: dict[str, Callable[[Findings, str, Json], None]] = {
    "actions": _actions,
    "alert": _alert,
    "auth_provider": _free,
    "call": _free,
    "card": _card,
    "carousel": _carousel,
    "container": _container,
    "context": _context,
    "context_actions": _actions,
    "data_table": _free,
    "data_visualization": _free,
    "divider": _free,
    "file": _free,
    "header": _header,
    "image": _image,
    "input": _input,
    "markdown": _markdown,
    "plan": _task,
    "rich_text": _rich_text,
    "section": _section,
    "table": _table,
    "task_card": _task,
    "video": _video,
}


def _block(seen: Findings, at: str, block: Any) -> None:
    if not isinstance(block, dict):
        seen.add(at, "must be an object")
        return
    check = BLOCKS.get(str(block.get("type")))
    if check is None:
        seen.add(f"{at}/type", f"unsupported type: {block.get('type')}")
        return
    if block.get("block_id") not in (None, ""):
        seen.string(f"{at}/block_id", block["block_id"], 255)
    check(seen, at, block)
    ids = [element.get("action_id") for element in _own_elements(block)]
    for action_id in sorted({one for one in ids if one and ids.count(one) > 1}):
        seen.add(at, f"`action_id` {action_id} already exists for block_id {block.get('block_id')}")


def _own_elements(block: Json) -> list[Json]:
    held = [*_listed(block.get("elements")), *_listed(block.get("actions")), block.get("accessory")]
    return [element for element in held if isinstance(element, dict)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _all_blocks(blocks: list[Json]) -> list[Json]:
    """The blocks with those inside containers, because ids are unique in the whole surface."""
    nested = [child for block in blocks for child in _all_blocks(_listed(block.get("child_blocks")))]
    return [block for block in blocks if isinstance(block, dict)] + nested


def _surface(seen: Findings, at: str, blocks: Any, most: int, *, message: bool) -> None:
    listed = seen.items(at, blocks, 0, most)
    for place, block in enumerate(listed):
        _block(seen, f"{at}/{place}", block)
        if not message and isinstance(block, dict) and block.get("type") in MESSAGE_ONLY:
            seen.add(f"{at}/{place}/type", f"unsupported type: {block.get('type')}")
    if seen.messages:
        return
    everything = _all_blocks(listed)
    ids = [block["block_id"] for block in everything if block.get("block_id")]
    for block_id in sorted({one for one in ids if ids.count(one) > 1}):
        seen.add(at, f"`block_id` {block_id} already exists")
    if sum(1 for block in everything if block["type"] == "table") > 1:
        seen.add(at, "only one table is allowed")
    if sum(len(block["text"]) for block in everything if block["type"] == "markdown") > MARKDOWN_TOTAL:
        seen.add(at, f"must be less than {MARKDOWN_TOTAL + 1} characters in all markdown blocks")


def text_length(thing: Any) -> int:
    """How many characters of text an object tree holds, counting each string under a `text` key once."""
    if isinstance(thing, list):
        return sum(text_length(one) for one in thing)
    if isinstance(thing, dict):
        own = len(thing["text"]) if isinstance(thing.get("text"), str) else 0
        return own + sum(text_length(value) for value in thing.values() if isinstance(value, dict | list))
    return 0


def message_blocks(blocks: Any, new_id: Callable[[], str]) -> list[Json]:
    """A copy of the blocks as Slack stores them, with ids where there were none.

    Raises SlackError `invalid_blocks_format` (not a list), `invalid_blocks` (a sentence and pointer for each)
    or `msg_blocks_too_long`.
    """
    if not isinstance(blocks, list):
        raise SlackError("invalid_blocks_format")
    seen = Findings()
    _surface(seen, "/blocks", blocks, MESSAGE_BLOCKS, message=True)
    if seen.messages:
        raise SlackError("invalid_blocks", *seen.messages)
    if text_length(blocks) > BLOCK_TEXT_TOTAL:
        raise SlackError("msg_blocks_too_long")
    return with_ids(blocks, new_id)


def with_ids(blocks: list[Json], new_id: Callable[[], str]) -> list[Json]:
    """A copy in which every block and every interactive element has an id, as Slack gives them."""
    stored = copy.deepcopy(blocks)
    for block in _all_blocks(stored):
        block["block_id"] = block.get("block_id") or new_id()
    for _, element in interactive(stored):
        element["action_id"] = element.get("action_id") or new_id()
    for block, _ in interactive(stored):
        block["block_id"] = block.get("block_id") or new_id()
    return stored


def view_body(view: Any, kind: str, new_id: Callable[[], str]) -> Json:
    """A copy of the view as Slack stores it; `kind` is "modal" or "home".

    Raises SlackError `view_too_large` above 250 kB, else `invalid_arguments` with a sentence and pointer per
    fault: for views Slack has no `invalid_blocks` (slack-go/slack#725, jeremeamia/slack-block-kit#3).
    """
    if not isinstance(view, dict):
        raise SlackError("invalid_arguments", "[ERROR] must be an object [json-pointer:/view]")
    if len(json.dumps(view, ensure_ascii=False).encode()) > VIEW_BYTES:
        raise SlackError("view_too_large")
    seen = Findings()
    if view.get("type") != kind:
        seen.add("/view/type", "must be a valid enum value")
    if kind == "modal":
        seen.text("/view/title", view.get("title"), 24, plain=True)
        for key in ("submit", "close"):
            if view.get(key) is not None:
                seen.text(f"/view/{key}", view[key], 24, plain=True)
    for key, most in (("private_metadata", PRIVATE_METADATA), ("callback_id", 255), ("external_id", 255)):
        if view.get(key):
            seen.string(f"/view/{key}", view[key], most)
    _surface(seen, "/view/blocks", view.get("blocks"), VIEW_BLOCKS, message=False)
    blocks = _listed(view.get("blocks"))
    inputs = any(isinstance(block, dict) and block.get("type") == "input" for block in blocks)
    if kind == "modal" and inputs and view.get("submit") is None:
        seen.add("/view/submit", "missing required field: submit")
    if seen.messages:
        raise SlackError("invalid_arguments", *seen.messages)
    return {**view, "blocks": with_ids(blocks, new_id)}


def metadata_body(metadata: Any) -> Json | None:
    """The metadata as stored, or None for `{}`, which removes it.

    Raises SlackError `invalid_metadata_format` (shape, key spelling, an object inside an object) or
    `metadata_too_large` (Slack documents no number; 8 000 bytes of JSON here).
    """
    if metadata == {}:
        return None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("event_type"), str):
        raise SlackError("invalid_metadata_format")
    payload = metadata.get("event_payload")
    if not metadata["event_type"] or not isinstance(payload, dict):
        raise SlackError("invalid_metadata_format")
    for key, value in payload.items():
        nested = value if isinstance(value, list) else [value]
        if not re.fullmatch(r"[a-z][a-z0-9_]*", key) or any(isinstance(one, dict | list) for one in nested):
            raise SlackError("invalid_metadata_format")
    if len(json.dumps(metadata, ensure_ascii=False).encode()) > METADATA_BYTES:
        raise SlackError("metadata_too_large")
    return {"event_type": metadata["event_type"], "event_payload": copy.deepcopy(payload)}
