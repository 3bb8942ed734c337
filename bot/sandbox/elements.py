"""Interactive elements inside stored blocks: finding them, what they hold, what a click on them says."""

from __future__ import annotations

import copy
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from bot.sandbox.refusals import Json, NotOnScreenError

if TYPE_CHECKING:
    from collections.abc import Iterator

# The member of an element's state that holds its value, and the member of the element it starts from.
HOLDS = {
    "plain_text_input": ("value", "initial_value"),
    "email_text_input": ("value", "initial_value"),
    "url_text_input": ("value", "initial_value"),
    "number_input": ("value", "initial_value"),
    "rich_text_input": ("rich_text_value", "initial_value"),
    "static_select": ("selected_option", "initial_option"),
    "external_select": ("selected_option", "initial_option"),
    "radio_buttons": ("selected_option", "initial_option"),
    "multi_static_select": ("selected_options", "initial_options"),
    "multi_external_select": ("selected_options", "initial_options"),
    "checkboxes": ("selected_options", "initial_options"),
    "users_select": ("selected_user", "initial_user"),
    "multi_users_select": ("selected_users", "initial_users"),
    "conversations_select": ("selected_conversation", "initial_conversation"),
    "multi_conversations_select": ("selected_conversations", "initial_conversations"),
    "channels_select": ("selected_channel", "initial_channel"),
    "multi_channels_select": ("selected_channels", "initial_channels"),
    "datepicker": ("selected_date", "initial_date"),
    "timepicker": ("selected_time", "initial_time"),
    "datetimepicker": ("selected_date_time", "initial_date_time"),
    "file_input": ("files", "initial_files"),
}
_MANY = frozenset(
    {"selected_options", "selected_users", "selected_conversations", "selected_channels", "files"}
)


def interactive(blocks: list[Json]) -> Iterator[tuple[Json, Json]]:
    """Each (block, element) a person can use, in reading order, nested containers and cards included."""
    for block in blocks:
        kind = block.get("type")
        if kind == "container":
            yield from interactive(block.get("child_blocks") or [])
        elif kind == "carousel":
            yield from interactive(block.get("elements") or [])
        elif kind in {"actions", "context_actions"}:
            yield from ((block, element) for element in block.get("elements") or [])
        elif kind == "card":
            yield from ((block, element) for element in block.get("actions") or [])
        elif kind == "section" and isinstance(block.get("accessory"), dict):
            if block["accessory"].get("type") != "image":
                yield block, block["accessory"]
        elif kind == "input" and isinstance(block.get("element"), dict):
            yield block, block["element"]


def find(blocks: list[Json], action_id: str, block_id: str | None = None) -> tuple[Json, Json]:
    """The one element with `action_id`; raises NotOnScreenError when there is none or more than one."""
    here = list(interactive(blocks))
    found = [
        (block, element)
        for block, element in here
        if element.get("action_id") == action_id and block_id in (None, block.get("block_id"))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        where = ", ".join(str(block.get("block_id")) for block, _ in found)
        raise NotOnScreenError(f"{action_id!r} is in several blocks ({where}): say block_id")
    offered = ", ".join(f"{block.get('block_id')}/{element.get('action_id')}" for block, element in here)
    raise NotOnScreenError(f"no element {action_id!r} here; there is: {offered or 'nothing to use'}")


def visible_to(element: Json, user: str) -> bool:
    """False when the element names the people who may see it and `user` is not among them."""
    named = element.get("visible_to_user_ids")
    return not isinstance(named, list) or user in named


def for_eyes_of(user: str, blocks: list[Json]) -> list[Json]:
    """A copy of the blocks without the buttons that are not for `user`; emptied action rows are gone."""
    shown: list[Json] = []
    for block in copy.deepcopy(blocks):
        if block.get("type") in {"actions", "context_actions"}:
            block["elements"] = [element for element in block["elements"] if visible_to(element, user)]
            if not block["elements"]:
                continue
        elif block.get("type") == "container":
            block["child_blocks"] = for_eyes_of(user, block.get("child_blocks") or [])
        elif isinstance(block.get("accessory"), dict) and not visible_to(block["accessory"], user):
            del block["accessory"]
        shown.append(block)
    return shown


def options_of(element: Json) -> list[Json]:
    """All options of a select, with those inside option groups."""
    grouped = [
        option for group in element.get("option_groups") or [] for option in group.get("options") or []
    ]
    return [*(element.get("options") or []), *grouped]


def _pick(element: Json, value: Any) -> Json:
    for option in options_of(element):
        if option.get("value") == value:
            return dict(option)
    offered = ", ".join(str(option.get("value")) for option in options_of(element))
    raise NotOnScreenError(f"{element.get('action_id')!r} has no option {value!r}; there is: {offered}")


def initial_state(element: Json) -> Json | None:
    """What the element holds before anybody touched it; None for an element that holds nothing (a button)."""
    kind = str(element.get("type"))
    if kind not in HOLDS:
        return None
    member, start = HOLDS[kind]
    return {"type": kind, member: copy.deepcopy(element.get(start, [] if member in _MANY else None))}


def state_with(element: Json, value: Any) -> Json:
    """What the element holds after a person put `value` there (option elements: the option's value)."""
    kind = str(element.get("type"))
    if kind not in HOLDS:
        raise NotOnScreenError(f"{element.get('action_id')!r} is a {kind} and holds no value")
    member, _ = HOLDS[kind]
    held: Any = value
    if member == "selected_option":
        held = None if value in (None, "") else _pick(element, value)
    elif member == "selected_options":
        held = [_pick(element, one) for one in value or []]
    elif member in _MANY:
        held = list(value or [])
    elif member == "selected_date_time":
        held = None if value in (None, "") else int(value)
    elif member != "rich_text_value":
        held = None if value in (None, "") else str(value)
    return {"type": kind, member: held}


def state_of(blocks: list[Json], typed: dict[str, dict[str, Json]]) -> dict[str, dict[str, Json]]:
    """`state.values` of the blocks: what was typed where block, action and type agree, else the start."""
    values: dict[str, dict[str, Json]] = {}
    for block, element in interactive(blocks):
        start = initial_state(element)
        if start is None:
            continue
        block_id, action_id = str(block["block_id"]), str(element["action_id"])
        kept = typed.get(block_id, {}).get(action_id)
        values.setdefault(block_id, {})[action_id] = kept if kept and kept["type"] == start["type"] else start
    return values


def complaint(block: Json, element: Json, state: Json) -> str | None:
    """What Slack's client says below an input before it sends anything; None when the value may go."""
    member, _ = HOLDS[str(element.get("type"))]
    held = state.get(member)
    if held in (None, "", []):
        return None if block.get("optional") else "Please complete this required field."
    kind = element.get("type")
    if kind in {"plain_text_input", "email_text_input", "url_text_input"}:
        return _text_complaint(element, str(held))
    if kind == "number_input":
        return _number_complaint(element, str(held))
    return None


def _text_complaint(element: Json, text: str) -> str | None:
    low, high = int(element.get("min_length") or 0), int(element.get("max_length") or 3000)
    if len(text) < low:
        return f"Please enter at least {low} characters."
    if len(text) > high:
        return f"Please enter at most {high} characters."
    if element.get("type") == "email_text_input" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text):
        return "Please enter a valid email address."
    if element.get("type") == "url_text_input" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://\S+", text):
        return "Please enter a valid URL."
    return None


def _number_complaint(element: Json, text: str) -> str | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return "Please enter a number."
    if not number.is_finite() or (
        not element.get("is_decimal_allowed") and number != number.to_integral_value()
    ):
        return "Please enter a whole number." if number.is_finite() else "Please enter a number."
    low, high = element.get("min_value"), element.get("max_value")
    if low is not None and number < Decimal(str(low)):
        return f"Please enter a number that is at least {low}."
    if high is not None and number > Decimal(str(high)):
        return f"Please enter a number that is at most {high}."
    return None


def action_of(block: Json, element: Json, action_ts: str, value: Any = None) -> Json:
    """The entry of `actions` a use of this element sends; a button's value is the stored one."""
    kind = str(element.get("type"))
    action: Json = {
        "type": kind,
        "block_id": block.get("block_id"),
        "action_id": element.get("action_id"),
        "action_ts": action_ts,
    }
    if kind in {"button", "icon_button", "workflow_button"}:
        action |= {
            key: copy.deepcopy(element[key]) for key in ("text", "value", "style", "url") if key in element
        }
    elif kind == "overflow":
        action["selected_option"] = _pick(element, value)
    elif kind == "feedback_buttons":
        sides = [element.get("positive_button") or {}, element.get("negative_button") or {}]
        if value not in [side.get("value") for side in sides]:
            raise NotOnScreenError(f"{element.get('action_id')!r} has no button {value!r}")
        action["value"] = value
    elif kind in HOLDS:
        state = state_with(element, value)
        action |= {key: state[key] for key in state if key != "type"}
    else:
        raise NotOnScreenError(f"a {kind} cannot be used")
    return action
