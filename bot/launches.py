"""Commands that authors map to graphs: what was typed becomes a model of theirs, or a sentence.

Nothing here awaits anything: a launch is what the settings say of a command, checked, and reading what was
typed is a pure function.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import re
import shlex
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from string import Formatter
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from graph_runtime.plan import Plan

from .commands import MistypedError
from .config import ConfigError, Settings, SlashCommand, find
from .text import straight, worded
from .typed import unwrapped

M = TypeVar("M", bound=BaseModel)
#: Declares that a text takes the rest of the line: ``Field(json_schema_extra={"rest_of_line": True})``.
REST = "rest_of_line"
#: Kinds that one word can be. A bool is an int, a datetime is a date.
_WORDS = (str, int, float, Decimal, dt.date, dt.time, dt.timedelta, uuid.UUID, enum.Enum)
_NAMED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
#: What Slack makes of a person, a channel or a group that was typed: ``<@U123|name>``.
_MENTION = re.compile(r"<(?:@|#|!subteam\^)([A-Z0-9]+)(?:\|([^<>]*))?>")
#: What a value in a key is made of; something else has to stand between two of them.
_PLAIN = re.compile(r"[A-Za-z0-9_.~%-]*")
#: A longer key is hashed: databases index no text of any length.
_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Launch:
    """A command that starts runs of a graph."""

    name: str
    terms: SlashCommand
    model: type[BaseModel]
    #: The input key that gets the id of who typed; None when the graph has none.
    requester_field: str | None

    @property
    def command(self) -> str:
        """What is typed, as in ``/deploy``."""
        return f"/{self.name}"

    @property
    def about(self) -> str:
        """What it does, in one line."""
        # A model without a docstring has none of its own, whatever it inherits.
        said = (self.model.__dict__.get("__doc__") or "").strip()
        return said.splitlines()[0] if said else f"Start a run of {self.terms.graph}"

    @property
    def usage(self) -> str:
        """What to type, in one line."""
        return " ".join([self.command, *_placeholders(self.model)])

    @property
    def needs_some(self) -> bool:
        """Whether nothing at all is too little."""
        return any(field.is_required() for field in self.model.model_fields.values())

    def given(self, arguments: BaseModel, who: str) -> dict[str, Any]:
        """Return the input of the run: the arguments, without those that are None, and who typed."""
        asked_by = {} if self.requester_field is None else {self.requester_field: who}
        return {**arguments.model_dump(exclude_none=True), **asked_by}

    def key(self, arguments: BaseModel) -> str | None:
        """Return the idempotency key that these arguments make; None when none was asked for.

        Values are written as in an address, so that what stands between them cannot be in them: other
        values make another key.
        """
        if not self.terms.key:
            return None
        made = ""
        for text, name, _, _ in Formatter().parse(self.terms.key):
            made += text + ("" if name is None else _keyed(getattr(arguments, name)))
        if len(made) > _LONGEST_KEY:
            return "sha256:" + hashlib.sha256(made.encode()).hexdigest()
        return made


def read_arguments(model: type[M], text: str) -> M:
    """Return what was typed as the model. Raises :class:`MistypedError` that names what is wrong.

    Words are the values of the fields in their order; ``name=value`` names one, anywhere; double quotes hold
    words together. A last text field that is declared so (:data:`REST`) takes the rest of the line.
    """
    values = _assigned(model, split_words(text))
    try:
        return model.model_validate_strings(values)
    except ValidationError as error:
        wrong = (_complaint(model, dict(one)) for one in error.errors(include_url=False, include_input=False))
        raise MistypedError("; ".join(dict.fromkeys(wrong))) from None
    except Exception as error:
        raise MistypedError(f"the arguments could not be checked ({type(error).__name__})") from error


def split_words(text: str) -> list[str]:
    """Return the words of what was typed, with Slack's mentions as ids and its curly quotes straight.

    An apostrophe is a letter, and so is a backslash: people write sentences here.
    """
    lexer = shlex.shlex(unwrapped(_MENTION.sub(r"\1", straight(text))), posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.quotes, lexer.escape = True, "", '"', ""
    try:
        return list(lexer)
    except ValueError:
        raise MistypedError("a quotation mark has no partner") from None


def as_typed(text: str) -> str:
    """Return what was typed as it looked to who typed it."""
    return unwrapped(_MENTION.sub(lambda found: f"@{found[2] or found[1]}", text))


def _assigned(model: type[BaseModel], words: Sequence[str]) -> dict[str, str]:
    """Return the words by the field that each is for."""
    # The usage line shows names in capitals, and phones begin a line with one.
    names = {name.lower(): name for name in model.model_fields}
    values: dict[str, str] = {}
    free: list[str] = []
    for word in words:
        found = _NAMED.fullmatch(word)
        name = None if found is None else names.get(found[1].lower())
        if found is None or name is None:
            free.append(word)
        elif name in values:
            raise MistypedError(f"`{name}` is given twice")
        else:
            values[name] = found[2]
    for name in [name for name in model.model_fields if name not in values]:
        if not free:
            break
        if takes_rest(model.model_fields[name]):
            values[name], free = " ".join(free), []
        else:
            values[name] = _unnamed(free.pop(0))
    if free:
        raise MistypedError(f"“{_unnamed(free[0])}” is one word too many")
    return values


def _unnamed(word: str) -> str:
    found = _NAMED.fullmatch(word)
    if found is not None:
        raise MistypedError(f"there is no argument `{found[1]}`")
    return word


def _complaint(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    """Return what is wrong with one field in words."""
    said = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    said = said[:1].lower() + said[1:]
    if not error["loc"]:
        return said
    name = str(error["loc"][0])
    if error["type"] == "missing":
        return f"`{name}` is missing"
    field = model.model_fields.get(name)
    if field is not None and field.description and error["type"] == "string_pattern_mismatch":
        # What the author says of it is for people, and a pattern is not.
        return f"`{name}` has not the right form: {field.description}"
    about = f" ({field.description})" if field is not None and field.description else ""
    return f"`{name}`{about}: {said}"


# -- what to type ------------------------------------------------------------------------------------------


def takes_rest(field: FieldInfo) -> bool:
    """Say whether a field is declared to take the rest of the line."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get(REST) is True


def explain(launch: Launch) -> list[str]:
    """Return a line for each argument: its name, what it can be, and what its author says of it."""
    lines = []
    for name, field in launch.model.model_fields.items():
        notes = [_kind(field.annotation)]
        if not field.is_required() and field.default is not None:
            default = field.get_default(call_default_factory=False)
            notes += [f"default {worded(default)}"] if default is not None else []
        said = f"{name.upper()} ({', '.join(filter(None, notes))})".removesuffix(" ()")
        lines.append(f"{said}: {field.description}" if field.description else said)
    return lines


def _placeholders(model: type[BaseModel]) -> list[str]:
    shown = []
    for name, field in model.model_fields.items():
        word = name.upper() + ("..." if takes_rest(field) else "")
        shown.append(word if field.is_required() else f"[{word}]")
    return shown


def _kind(annotation: Any) -> str:
    """Return what a word must be, where that is more than a text."""
    kinds = [kind for kind in _members(annotation) if kind is not NoneType]
    choices = [str(kind) for kind in kinds if isinstance(kind, str)]
    choices += [str(one.value) for kind in kinds if _is_a(kind, enum.Enum) for one in kind]
    if choices:
        return " or ".join([", ".join(choices[:-1]), choices[-1]] if len(choices) > 1 else choices)
    for kinds_of, word in _KINDS.items():
        if any(_is_a(kind, kinds_of) for kind in kinds):
            return word
    return ""


_KINDS = {bool: "yes or no", int: "a whole number", float: "a number", Decimal: "a number", dt.date: "a date"}


def _is_a(kind: Any, of: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, of)


def _members(annotation: Any) -> list[Any]:
    """Return the kinds and the choices that an annotation allows."""
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        return [kind for one in get_args(annotation) for kind in _members(one)]
    if origin is Literal:
        return list(get_args(annotation))
    return [get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation]


# -- what the settings say --------------------------------------------------------------------------------


def load_launches(settings: Settings, graphs: Mapping[str, Plan]) -> tuple[Launch, ...]:
    """Return the commands of the settings. Raises :class:`ConfigError` that names each one that is wrong."""
    found: list[Launch] = []
    wrong: list[str] = []
    for name, terms in settings.commands.items():
        try:
            found.append(_read_launch(name, terms, frozenset(graphs[terms.graph].input.channels)))
        except ValueError as error:
            wrong.append(f"commands.{name}: {error}")
    if wrong:
        raise ConfigError("nothing was started; " + "; ".join(wrong))
    return tuple(found)


def _read_launch(name: str, terms: SlashCommand, keys: frozenset[str]) -> Launch:
    """Return a command, checked against its model and the input keys of its graph. Raises ValueError."""
    at = f"arguments = {terms.arguments!r}"
    try:
        model = find(terms.arguments)
    except Exception as error:  # noqa: BLE001 - importing runs the author's module
        raise ValueError(f"{at}: {type(error).__name__}: {error}") from None
    if not _is_a(model, BaseModel):
        raise ValueError(f"{at} is no pydantic model")
    _check_model(at, model, terms.graph, keys)
    asker: str | None = terms.requester_field or None
    if asker in model.model_fields:
        raise ValueError(f"{at}: {asker!r} is who typed, so it is no argument: anybody could be named there")
    if asker is not None and asker not in keys:
        if "requester_field" in terms.model_fields_set:
            raise ValueError(f"requester_field = {asker!r} is no input key of graph {terms.graph!r}")
        asker = None
    _check_key(terms.key, model)
    return Launch(name, terms, model, asker)


def _check_model(at: str, model: type[BaseModel], graph: str, keys: frozenset[str]) -> None:
    """Raise ValueError that names a field which nobody could type, or which its graph would not get."""
    last = list(model.model_fields)[-1:]
    if len({name.lower() for name in model.model_fields}) < len(model.model_fields):
        raise ValueError(f"{at}: two arguments differ only in capital letters")
    for name, field in model.model_fields.items():
        if field.alias is not None or field.validation_alias is not None:
            raise ValueError(f"{at}: {name!r} has an alias: call the field itself so")
        if not all(_can_be_typed(kind) for kind in _members(field.annotation)):
            raise ValueError(f"{at}: {name!r} is a kind that one word cannot be")
        if takes_rest(field) and ([name] != last or str not in _members(field.annotation)):
            raise ValueError(f"{at}: {name!r} takes the rest of the line, so it is the last one, and a text")
    if unknown := sorted({*model.model_fields, *model.model_computed_fields} - keys):
        raise ValueError(f"{at}: {', '.join(unknown)} is no input key of graph {graph!r}")


def _can_be_typed(kind: Any) -> bool:
    return kind is NoneType or isinstance(kind, str) or any(_is_a(kind, one) for one in _WORDS)


def _check_key(template: str, model: type[BaseModel]) -> None:
    """Raise ValueError for a template of a key that is broken, or whose keys could be taken for others."""
    names = 0
    for text, field, spec, conversion in _parts(template):
        if field is None:
            continue
        if field not in model.model_fields or spec or conversion:
            raise ValueError(f"key = {template!r}: {{{field}}} is no argument")
        if names and _PLAIN.fullmatch(text):
            raise ValueError(
                f"key = {template!r}: a colon belongs before {{{field}}}, lest other values make the same key"
            )
        names += 1
    if template and not names:
        raise ValueError(f"key = {template!r} names no argument, so there would be one run for ever")


def _parts(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"key = {template!r}: {error}") from None


def _keyed(value: Any) -> str:
    """Return a value as it stands in a key: equal ones alike, and nothing that the template could hold."""
    if value is None:
        return ""
    if isinstance(value, enum.Enum):
        value = value.value
    text = format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)
    return quote(text, safe="", errors="surrogatepass")
