"""A form: the pydantic model that says what an edit may make of an action's arguments.

A request keeps where its form is found and its JSON schema, never its code: the form of the program that
takes the decision is asked, before anything is recorded. What fields a form may have is said here, so that
every surface can offer them; how they look is the surface's.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import functools
import sys
import traceback
import types
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import structlog
from pydantic import BaseModel, RootModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from .errors import Refused, ValueRefused
from .types import Form
from .values import copied

Kind = Literal["text", "whole", "number", "yes or no", "choice", "date", "moment"]
#: More than this nobody fills in at once, nor finds in a list; what nobody can read whole is no choice.
MOST_FIELDS = 40
MOST_CHOICES = 100
LONGEST_CHOICE = 75
_KINDS: Mapping[Any, Kind] = {
    str: "text",
    int: "whole",
    float: "number",
    Decimal: "number",
    bool: "yes or no",
    dt.date: "date",
    dt.datetime: "moment",
}
_SAID = 300
_log = structlog.get_logger("signoff.forms")


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of a form, as somebody is asked for it."""

    name: str
    kind: Kind
    title: str
    description: str | None = None
    #: Whether it may be left empty, which is None then.
    nullable: bool = False
    #: Whether there is nothing that stands for it when it is not given.
    required: bool = True
    choices: tuple[str | int, ...] = ()
    least: Decimal | None = None
    most: Decimal | None = None
    shortest: int | None = None
    longest: int | None = None
    #: None: as its text is.
    multiline: bool | None = None
    #: Whether it is somebody's user id, to be chosen among people.
    person: bool = False


@functools.cache
def fields_of(model: type[BaseModel]) -> tuple[FormField, ...]:
    """Return the fields of a form. Raises :class:`ValueRefused` for one that nobody could be asked for."""
    if not 1 <= (number := len(model.model_fields)) <= MOST_FIELDS:
        raise ValueRefused(
            f"nobody was asked: the form {model.__qualname__} has {number} fields; 1 to {MOST_FIELDS} can be "
            "filled in"
        )
    try:
        return tuple(_field(name, field) for name, field in model.model_fields.items())
    except _Unfit as unfit:
        raise ValueRefused(f"nobody was asked: the form {model.__qualname__} has {unfit}") from None


def form_of(model: Any) -> Form:
    """Return what a request keeps of a form.

    Raises :class:`ValueRefused` for one that another process would not find, or nobody could be asked for.
    """
    if isinstance(model, type) and issubclass(model, BaseModel) and not issubclass(model, RootModel):
        return _kept_of(model)
    raise ValueRefused(f"nobody was asked: a form is a class of pydantic's BaseModel, and {model!r} is none")


@functools.cache
def _kept_of(model: type[BaseModel]) -> Form:
    reference = f"{model.__module__}:{model.__qualname__}"
    if _at(reference) is not model:
        raise ValueRefused(
            f"nobody was asked: the form {model.__qualname__} is not at the top level of its module under "
            "its own name, so whoever takes the decision would not find it; move it there"
        )
    fields_of(model)
    return Form(reference, to_jsonable_python(model.model_json_schema()))


def check_fits(model: type[BaseModel], arguments: Mapping[str, Any]) -> None:
    """Raise :class:`ValueRefused` when the form could never be satisfied: it needs what the action lacks."""
    lacking = [field.name for field in fields_of(model) if field.required and field.name not in arguments]
    if lacking:
        raise ValueRefused(
            f"nobody was asked: the form {model.__qualname__} needs {', '.join(lacking)}, for which the "
            "action has no argument; give the field a default, or the action the argument"
        )


def find_form(form: Form, arguments: Mapping[str, Any]) -> type[BaseModel]:
    """Return the model that a request's form is in this process. Raises :class:`Refused` (GRAPH_CHANGED).

    Nothing is imported by a name that was stored: the module of a form comes with that of its graph.
    """
    model = _at(form.reference)
    if model is not None:
        with contextlib.suppress(ValueRefused):
            form_of(model)
            check_fits(model, arguments)
            return model
    raise Refused(
        "GRAPH_CHANGED",
        "The form for changes is not there any more, or does not fit what was asked: the workflow was "
        "changed meanwhile. Approve or reject it as it is. Nothing was recorded.",
    )


def read_edit(
    form: Form,
    edited: Mapping[str, Any],
    present: Mapping[str, Any],
    *,
    editable: Collection[str],
    requested: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the present arguments with what an edit makes of the ``editable`` ones, as the form left it.

    The form's validators find what was ``requested``, and the ``facts``, in their context. Raises
    :class:`Refused` with a sentence for each field (INVALID_INPUT), and as :func:`find_form`.
    """
    model = find_form(form, present)
    names = [field.name for field in fields_of(model) if field.name in present]
    free = [name for name in names if name in editable]
    changes = {name: value for name, value in edited.items() if name not in present or value != present[name]}
    if barred := sorted({*changes} - {*free}):
        raise _wrong(dict.fromkeys(barred, "This may not be changed."))
    if not changes:
        return dict(present)
    given = {**{name: present[name] for name in names}, **changes}
    context = {"requested": copied(dict(requested)), "facts": copied(dict(facts))}
    try:
        valid = model.model_validate(copied(given), context=context)
    except ValidationError as error:
        raise _wrong(sentences(error, model, names)) from None
    except Exception as error:  # noqa: BLE001 - a fault of the author's, whatever it is, and still no yes
        # Its words may hold what was typed, so they are not logged.
        *_, at = traceback.extract_tb(error.__traceback__)
        where = f"{at.name}:{at.lineno}"
        _log.error("form.failed", form=form.reference, error=type(error).__name__, at=where)
        raise Refused(
            "INVALID_INPUT",
            f"The form could not be asked ({type(error).__name__}): tell who looks after this workflow. "
            "Nothing was recorded.",
        ) from None
    values = {name: bare(getattr(valid, name)) for name in free}
    return {**present, **{name: value for name, value in values.items() if value != present[name]}}


def sentences(error: ValidationError, model: type[BaseModel], names: Collection[str]) -> dict[str, str]:
    """Return a short sentence for each field that pydantic refused; one about the whole is under ``""``."""
    said: dict[str, str] = {}
    for one in error.errors(include_url=False, include_input=False):
        name = str(one["loc"][0]) if one["loc"] else ""
        field = model.model_fields.get(name)
        if one["type"] == "string_pattern_mismatch" and field is not None and field.description:
            # What the author says of it is for people, and a pattern is not.
            sentence = f"This must be {field.description.strip().rstrip('.')}."[:_SAID]
        else:
            sentence = _sentence(one["type"], one["msg"], one.get("ctx", {}))
        said.setdefault(name if name in names else "", sentence)
    return said


def bare(value: Any) -> Any:
    """Return a value as an action holds it: that of an enum's member, which is not one of plain types."""
    return value.value if isinstance(value, enum.Enum) else value


def _wrong(said: Mapping[str, str]) -> Refused:
    each = " ".join(f"{name}: {sentence}" if name else sentence for name, sentence in said.items())
    return Refused("INVALID_INPUT", f"{each} Nothing was recorded.", fields=said)


_WHOLE = "Write a whole number, such as 3."
_NUMBER = "Write a number with a point, such as 250.00."
_WORDS: Mapping[str, str] = {
    "missing": "This is needed.",
    "string_type": "Write something.",
    "string_too_short": "Write at least {min_length} characters.",
    "string_too_long": "Write at most {max_length} characters.",
    "string_pattern_mismatch": "This must look like {pattern}.",
    "greater_than": "This must be more than {gt}.",
    "greater_than_equal": "This must be at least {ge}.",
    "less_than": "This must be less than {lt}.",
    "less_than_equal": "This must be at most {le}.",
    "multiple_of": "This must be a multiple of {multiple_of}.",
    "decimal_max_places": "Write at most {decimal_places} digits after the point.",
    "decimal_max_digits": "Write at most {max_digits} digits.",
    "decimal_whole_digits": "Write at most {whole_digits} digits before the point.",
    "literal_error": "Choose one of {expected}.",
    "enum": "Choose one of {expected}.",
    "finite_number": _NUMBER,
    "date_from_datetime_inexact": "Choose a date.",
}
_BEGIN: Mapping[str, str] = {
    "int_": _WHOLE,
    "decimal_": _NUMBER,
    "float_": _NUMBER,
    "bool_": "Choose yes or no.",
    "date_from": "Choose a date.",
    "date_pars": "Choose a date.",
    "date_type": "Choose a date.",
    "datetime_from": "Choose a date and a time.",
    "datetime_pars": "Choose a date and a time.",
    "datetime_type": "Choose a date and a time.",
}


def _sentence(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """Return what pydantic says, for somebody who fills in a form; an author's own words as they are."""
    said = _WORDS.get(kind) or next((words for begin, words in _BEGIN.items() if kind.startswith(begin)), "")
    if said:
        sentence = said.format_map(context)
    elif kind in {"value_error", "assertion_error"}:
        # What pytest adds to an assertion, and no author to a sentence, are further lines.
        sentence = str(context.get("error", "")).strip().partition("\n")[0] or "This may not be so."
    else:
        sentence = message
    sentence = sentence[:1].upper() + sentence[1:_SAID]
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def _at(reference: str) -> type[BaseModel] | None:
    module, _, name = reference.partition(":")
    found = vars(sys.modules[module]).get(name) if module in sys.modules else None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


class _Unfit(Exception):
    """Why a field cannot be one of a form."""


def _field(name: str, field: FieldInfo) -> FormField:
    if field.alias is not None or field.validation_alias is not None:
        raise _Unfit(f"a field {name} with an alias: the arguments of an action have none")
    kind, nullable, choices, more = _read_type(name, field.annotation)
    limits = [*_limits([*field.metadata, *more])]

    def limit(key: str) -> Any:
        return next((found for one in limits if (found := getattr(one, key, None)) is not None), None)

    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    multiline = extra.get("multiline")
    return FormField(
        name=name,
        kind=kind,
        title=field.title or name,
        description=field.description,
        nullable=nullable,
        required=field.is_required(),
        choices=choices,
        least=_number(limit("ge")),
        most=_number(limit("le")),
        shortest=limit("min_length"),
        longest=limit("max_length"),
        multiline=multiline if isinstance(multiline, bool) else None,
        person=kind == "text" and extra.get("person") is True,
    )


def _number(limit: Any) -> Decimal | None:
    return Decimal(str(limit)) if isinstance(limit, int | float | Decimal) else None


def _limits(metadata: list[Any]) -> Iterator[Any]:
    for one in metadata:
        yield one
        if isinstance(one, FieldInfo):
            yield from one.metadata


def _read_type(name: str, annotation: Any) -> tuple[Kind, bool, tuple[str | int, ...], list[Any]]:
    """Return the kind of a field's type, whether it may be None, its choices, and what it says besides."""
    nullable = False
    metadata: list[Any] = []
    while (origin := get_origin(annotation)) in {Annotated, Union, types.UnionType}:
        inner = get_args(annotation)
        if origin is Annotated:
            annotation = inner[0]
            metadata += inner[1:]
            continue
        nullable = nullable or type(None) in inner
        others = [one for one in inner if one is not type(None)]
        if len(others) != 1:
            raise _Unfit(f"a field {name} of several types: a field is of one, or None")
        (annotation,) = others
    if origin is Literal or (isinstance(annotation, type) and issubclass(annotation, enum.Enum)):
        listed = get_args(annotation) if origin is Literal else tuple(annotation)
        nullable = nullable or None in listed
        return "choice", nullable, _choices(name, [bare(one) for one in listed if one is not None]), metadata
    try:
        return _KINDS[annotation], nullable, (), metadata
    except (KeyError, TypeError):
        shown = getattr(annotation, "__name__", annotation)
        raise _Unfit(
            f"a field {name} of type {shown}, which nobody can fill in; str, int, Decimal, float, bool, "
            "Literal, Enum, date and datetime are what can be asked for, each also as Optional"
        ) from None


def _choices(name: str, values: list[Any]) -> tuple[str | int, ...]:
    if not 1 <= len(values) <= MOST_CHOICES:
        raise _Unfit(f"a field {name} of {len(values)} choices: 1 to {MOST_CHOICES} can be offered")
    for value in values:
        is_one = isinstance(value, str | int) and not isinstance(value, bool)
        if not is_one or not 1 <= len(str(value).strip()) <= len(str(value)) <= LONGEST_CHOICE:
            raise _Unfit(
                f"a field {name} with the choice {value!r}: a choice is a whole number, or a text of 1 to "
                f"{LONGEST_CHOICE} characters"
            )
    if len({str(value) for value in values}) < len(values):
        raise _Unfit(f"a field {name} with two choices that look the same")
    return tuple(values)
