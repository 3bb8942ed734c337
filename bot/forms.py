"""A pydantic model as the inputs of a dialog, and what was submitted as that model again, or what is wrong.

Nothing here knows of requests: an edit of what was asked for and the arguments of a command are filled in
the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from slack_sdk.models.blocks import (
    Block,
    DatePickerElement,
    DateTimePickerElement,
    InputBlock,
    InputInteractiveElement,
    NumberInputElement,
    Option,
    PlainTextInputElement,
    PlainTextObject,
    StaticSelectElement,
    UserSelectElement,
)

from graph_runtime.forms import LONGEST_CHOICE, FormField, bare, fields_of, sentences

from .fields import LONGEST_TEXT, Field
from .payloads import Submission
from .text import is_slack_id, plain, worded

VALUE_INPUT = "value"
#: A text longer than this is typed in several lines.
_ONE_LINE = 80
_LABEL, _HINT, _SENTENCE = 150, 500, 300
_NEEDED = "This is needed."
M = TypeVar("M", bound=BaseModel)


def inputs(model: type[BaseModel], present: Mapping[str, Any] | None = None) -> list[Block]:
    """Return an input for each field of the model, filled with what is present, else with its default.

    Raises :class:`ValueRefused` for a model that has a field for which there is no input.
    """
    return [block_of(field) for field in _fields(model, present)]


def read(
    model: type[M],
    submission: Submission,
    *,
    context: Mapping[str, Any] | None = None,
    present: Mapping[str, Any] | None = None,
) -> tuple[M | None, Mapping[str, str]]:
    """Return what was submitted as the model, or a sentence for each block where something is wrong.

    ``present`` is what the inputs were filled with. What is wrong with all of it stands at the last field.
    """
    fields = _fields(model, present)
    values, wrong = typed(fields, submission)
    if wrong:
        return None, wrong
    try:
        return model.model_validate(values, context=dict(context or {})), {}
    except ValidationError as error:
        return None, at_blocks(fields, sentences(error, model, [field.name for field in fields]))


def typed(fields: Sequence[Field], submission: Submission) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what was typed by field, and a sentence for each block that could not be read."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in fields:
        try:
            values[field.name] = field.read(submission.text(field.block_id, VALUE_INPUT))
        except ValueError as error:
            wrong[field.block_id] = str(error)
    return values, wrong


def at_blocks(fields: Sequence[Field], said: Mapping[str, str]) -> dict[str, str]:
    """Return what is said of each field at its block; what is of no field here stands at the last one."""
    blocks = {field.name: field.block_id for field in fields}
    found: dict[str, str] = {}
    for name, sentence in said.items():
        block = blocks.get(name) or [*blocks.values()][-1]
        words = sentence if name in blocks or not name else f"{name}: {sentence}"
        found[block] = plain(f"{found[block]} {words}" if block in found else words, _SENTENCE)
    return found


def block_of(field: Field) -> Block:
    """Return the input of a field."""
    about = field.about
    said = [about.description] if about.description else []
    if field.present != field.requested and field.requested is not None:
        said.append(f"Requested: {worded(field.requested)}")
    hint = plain(" ".join(said), _HINT)
    return InputBlock(
        block_id=field.block_id,
        label=PlainTextObject(text=plain(about.title, _LABEL), emoji=False),
        hint=PlainTextObject(text=hint, emoji=False) if hint else None,
        optional=field.may_be_empty,
        element=_element(field),
    )


def _fields(model: type[BaseModel], present: Mapping[str, Any] | None) -> list[Field]:
    given = present or {}
    begins = {
        about.name: bare(given[about.name] if about.name in given else _default(model, about.name))
        for about in fields_of(model)
    }
    return [
        Field(about, begins[about.name], begins[about.name], needed=_NEEDED if _is_needed(about) else "")
        for about in fields_of(model)
    ]


def _is_needed(about: FormField) -> bool:
    """Say whether a text must be written: nothing stands for it where it is left empty."""
    return about.kind == "text" and about.required and not about.nullable


def _default(model: type[BaseModel], name: str) -> Any:
    field = model.model_fields[name]
    # A factory that looks at the other fields waits for them.
    waits = field.default_factory is not None and field.default_factory_takes_validated_data
    return None if waits or field.is_required() else field.get_default(call_default_factory=True)


def _element(field: Field) -> InputInteractiveElement:
    about, began = field.about, field.shown
    match about.kind:
        case "yes or no":
            return _select(("yes", "no"), began)
        case "choice":
            return _select([str(choice) for choice in about.choices], began)
        case "date":
            return DatePickerElement(action_id=VALUE_INPUT, initial_date=began or None)
        case "moment":
            return DateTimePickerElement(
                action_id=VALUE_INPUT, initial_date_time=int(began) if began else None
            )
    if about.person and (not began or is_slack_id(began, "UW")):
        return UserSelectElement(action_id=VALUE_INPUT, initial_user=began or None)
    if field.is_number:
        return _number_input(field)
    # What it is now may be beyond what it may be.
    most = max(min(about.longest or LONGEST_TEXT, LONGEST_TEXT), len(began), 1)
    return PlainTextInputElement(
        action_id=VALUE_INPUT,
        multiline=_is_long(field),
        min_length=about.shortest if about.shortest and about.shortest <= most else None,
        max_length=most if about.kind == "text" else LONGEST_TEXT,
        initial_value=began or None,
    )


def _is_long(field: Field) -> bool:
    """Say whether a text is typed in several lines: as its form says, and never fewer than it has."""
    about, began = field.about, field.shown
    if "\n" in began or about.kind != "text":
        return "\n" in began
    if about.multiline is not None:
        return about.multiline
    return (len(began) if about.longest is None else about.longest) > _ONE_LINE


def _number_input(field: Field) -> InputInteractiveElement:
    about, began = field.about, field.shown
    now = Decimal(began) if began else None
    low = about.least if now is None or about.least is None or about.least <= now else None
    high = about.most if now is None or about.most is None or now <= about.most else None
    return NumberInputElement(
        action_id=VALUE_INPUT,
        is_decimal_allowed=about.kind == "number",
        min_value=None if low is None else format(low, "f"),
        max_value=None if high is None else format(high, "f"),
        initial_value=began or None,
    )


def _select(words: Sequence[str], began: str) -> InputInteractiveElement:
    options = {
        word: Option(value=word, text=PlainTextObject(text=plain(word, LONGEST_CHOICE), emoji=False))
        for word in words
    }
    return StaticSelectElement(
        action_id=VALUE_INPUT, options=[*options.values()], initial_option=options.get(began)
    )
