"""Slack's sizes and shapes for block elements: buttons, selects, inputs, images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.sandbox.elements import HOLDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.sandbox.findings import Findings
    from bot.sandbox.refusals import Json

INPUT_ELEMENTS = frozenset(HOLDS)
# What only an input block may hold.
ONLY_IN_INPUT = frozenset(
    {"plain_text_input", "email_text_input", "url_text_input", "number_input", "file_input"}
)


def check_element(seen: Findings, at: str, element: Any, inside: str) -> None:
    """Adds what is wrong with the element at `at`; `inside` is the type of the block around it."""
    if element is None:
        seen.add(at, f"missing required field: {at.rsplit('/', 1)[-1]}")
        return
    if not isinstance(element, dict):
        seen.add(at, "must be an object")
        return
    kind = str(element.get("type"))
    if not _belongs(kind, inside):
        seen.add(f"{at}/type", f"unsupported type: {element.get('type')}")
        return
    if element.get("action_id") not in (None, ""):
        seen.string(f"{at}/action_id", element["action_id"], 255)
    if "placeholder" in element:
        seen.text(f"{at}/placeholder", element["placeholder"], 150, plain=True)
    if "confirm" in element:
        _confirm(seen, f"{at}/confirm", element["confirm"])
    check = _CHECKS.get(kind)
    if check is not None:
        check(seen, at, element)


def _belongs(kind: str, inside: str) -> bool:
    if kind == "image":
        return inside in {"section", "context", "image"}
    if inside == "context_actions":
        return kind in {"feedback_buttons", "icon_button"}
    if inside == "input":
        return kind in INPUT_ELEMENTS
    return kind in {"button", "overflow", "workflow_button"} | (INPUT_ELEMENTS - ONLY_IN_INPUT)


def _confirm(seen: Findings, at: str, confirm: Any) -> None:
    if not isinstance(confirm, dict):
        seen.add(at, "must be an object")
        return
    for key, most, plain in (
        ("title", 100, True),
        ("confirm", 30, True),
        ("deny", 30, True),
        ("text", 300, False),
    ):
        seen.text(f"{at}/{key}", confirm.get(key), most, plain=plain)
    seen.choice(f"{at}/style", confirm.get("style"), {"primary", "danger"})


def _button(seen: Findings, at: str, element: Json) -> None:
    seen.text(f"{at}/text", element.get("text"), 75, plain=True)
    limits = (("value", 2000), ("url", 3000), ("accessibility_label", 75), ("agent_prompt", 4000))
    for key, most in limits:
        if key in element:
            seen.string(f"{at}/{key}", element[key], most, 0)
    seen.choice(f"{at}/style", element.get("style"), {"primary", "danger"})


def _feedback(seen: Findings, at: str, element: Json) -> None:
    for key in ("positive_button", "negative_button"):
        side = element.get(key)
        if not isinstance(side, dict):
            seen.add(f"{at}/{key}", f"missing required field: {key}")
            continue
        seen.text(f"{at}/{key}/text", side.get("text"), 75, plain=True)
        seen.string(f"{at}/{key}/value", side.get("value"), 2000)


def _options(seen: Findings, at: str, options: Any, least: int, most: int) -> None:
    for place, option in enumerate(seen.items(at, options, least, most)):
        where = f"{at}/{place}"
        if not isinstance(option, dict):
            seen.add(where, "must be an object")
            continue
        seen.text(f"{where}/text", option.get("text"), 75)
        seen.string(f"{where}/value", option.get("value"), 150)
        if "description" in option:
            seen.text(f"{where}/description", option["description"], 75)


def _select(seen: Findings, at: str, element: Json) -> None:
    if "option_groups" not in element:
        _options(seen, f"{at}/options", element.get("options"), 1, 100)
        return
    for place, group in enumerate(seen.items(f"{at}/option_groups", element["option_groups"], 1, 100)):
        where = f"{at}/option_groups/{place}"
        if not isinstance(group, dict):
            seen.add(where, "must be an object")
            continue
        seen.text(f"{where}/label", group.get("label"), 75, plain=True)
        _options(seen, f"{where}/options", group.get("options"), 1, 100)


def _overflow(seen: Findings, at: str, element: Json) -> None:
    _options(seen, f"{at}/options", element.get("options"), 1, 5)


def _choices(seen: Findings, at: str, element: Json) -> None:
    _options(seen, f"{at}/options", element.get("options"), 1, 10)


def _text_input(seen: Findings, at: str, element: Json) -> None:
    seen.whole(f"{at}/min_length", element.get("min_length"), 0, 3000)
    seen.whole(f"{at}/max_length", element.get("max_length"), 1, 3000)
    if element.get("initial_value") is not None:
        most = element.get("max_length")
        seen.string(
            f"{at}/initial_value", element["initial_value"], most if isinstance(most, int) else 3000, 0
        )


def _number_input(seen: Findings, at: str, element: Json) -> None:
    if not isinstance(element.get("is_decimal_allowed"), bool):
        seen.add(f"{at}/is_decimal_allowed", "missing required field: is_decimal_allowed")
    for key in ("min_value", "max_value", "initial_value"):
        if element.get(key) is not None and not isinstance(element[key], str):
            seen.add(f"{at}/{key}", "must be a string")


def _image(seen: Findings, at: str, element: Json) -> None:
    seen.string(f"{at}/alt_text", element.get("alt_text"), 2000)
    if "slack_file" not in element:
        seen.string(f"{at}/image_url", element.get("image_url"), 3000)


_CHECKS: dict[str, Callable[[Findings, str, Json], None]] = {
    "button": _button,
    "checkboxes": _choices,
    "email_text_input": _text_input,
    "feedback_buttons": _feedback,
    "image": _image,
    "multi_static_select": _select,
    "number_input": _number_input,
    "overflow": _overflow,
    "plain_text_input": _text_input,
    "radio_buttons": _choices,
    "static_select": _select,
    "url_text_input": _text_input,
}
