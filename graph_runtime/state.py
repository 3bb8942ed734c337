"""Channels and reducers, read from a state schema: a TypedDict, dataclass, pydantic model or single value."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import operator
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_origin

import pydantic
import typing_extensions

from .errors import InvalidGraph, InvalidUpdateError
from .messages import add_messages, reducer_for
from .types import ROOT, Overwrite
from .values import Codec, storable_class

Reducer = Callable[[Any, Any], Any]


class Managed(enum.Enum):
    """What a key is that the run keeps and no node writes."""

    REMAINING_STEPS = "remaining steps"
    IS_LAST_STEP = "is last step"


#: A key of this type holds how many steps the run may still take after the present one.
RemainingSteps = Annotated[int, Managed.REMAINING_STEPS]
#: A key of this type holds whether one step more would end the run for its limit.
IsLastStep = Annotated[bool, Managed.IS_LAST_STEP]

#: What a TypedDict says of a key besides its type; typing_extensions has its own of what typing has later.
_QUALIFIERS = (
    typing.Required,
    typing.NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.ReadOnly,
)
#: What an abstract annotation starts as, so that a reducer has a left side at the first write.
_CONCRETE: dict[Any, type] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
}


@dataclass(frozen=True, slots=True)
class Channel:
    """One key of the state and how writes to it are merged."""

    name: str
    #: ``reducer(left, right)``; None keeps the last value and refuses two writers in one step.
    reducer: Reducer | None = None
    #: Makes the value before the first write; None leaves the key absent.
    start: Callable[[], Any] | None = None
    #: The run says what it holds; it is neither written nor stored.
    managed: Managed | None = None

    def clashes(self, other: Channel) -> bool:
        """Say whether ``other``, a later word on the same key, wants its writes merged in another way."""
        if other.reducer is None and other.managed is None:
            return False
        both = (self.reducer, other.reducer)
        if None not in both and any(getattr(one, "__name__", "") == "<lambda>" for one in both):
            return False  # two schemas that repeat a lambda mean the same
        return both[0] != both[1] or self.managed != other.managed

    def merge(self, values: Mapping[str, Any], updates: Sequence[Any]) -> Any:
        """Return the value after ``updates``, applied in order to the present one.

        Raises :class:`InvalidUpdateError` for two updates of a key without a reducer, or two
        :class:`Overwrite` in one step.
        """
        overwrites = [update for update in updates if isinstance(update, Overwrite)]
        if self.reducer is None and len(updates) == 1 and not overwrites:
            return updates[0]
        if self.reducer is None:
            if len(updates) > 1:
                raise InvalidUpdateError(
                    f"nothing of this step was stored: {len(updates)} tasks wrote the plain key "
                    f"{self.name!r}, which can take one value per step; annotate it with a reducer"
                )
            return overwrites[0].value if overwrites else updates[0]
        if overwrites:
            if len(overwrites) > 1:
                raise InvalidUpdateError(
                    f"nothing of this step was stored: {len(overwrites)} tasks overwrote {self.name!r}"
                )
            return overwrites[0].value
        rest = iter(updates)
        if self.name in values:
            value = values[self.name]
        elif self.start is not None:
            value = self.start()
        else:
            value = next(rest)
        for update in rest:
            value = self.reducer(value, update)
        return value


@dataclass(frozen=True, slots=True)
class Schema:
    """A state's shape: its channels, and the form in which a node is given it."""

    type: Any
    channels: Mapping[str, Channel]
    form: Literal["mapping", "object", "root"]
    classes: frozenset[type]
    #: The channels of it that the run keeps.
    managed: tuple[Channel, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        managed = tuple(c for c in self.channels.values() if c.managed is not None)
        object.__setattr__(self, "managed", managed)

    def takes(self, name: str) -> bool:
        """Say whether a node may write to this key."""
        return name in self.channels and self.channels[name].managed is None

    def managed_values(self, remaining: int) -> dict[str, Any]:
        """Return what the run says in a step after which ``remaining`` more are allowed."""
        return {
            c.name: remaining if c.managed is Managed.REMAINING_STEPS else remaining == 1
            for c in self.managed
        }

    def start_values(self) -> dict[str, Any]:
        """Return the values before anything was written: reducers that start somewhere, nothing else."""
        return {c.name: c.start() for c in self.channels.values() if c.start is not None}

    def present(self, values: Mapping[str, Any]) -> Any:
        """Return the state as a node sees it; a pydantic state is validated here.

        Raises ``pydantic.ValidationError`` (or the dataclass's own error) when the values do not fit.
        """
        if self.form == "root":
            return values.get(ROOT)
        seen = {name: values[name] for name in self.channels if name in values}
        return seen if self.form == "mapping" else self.type(**seen)

    def updates(self, value: Any, *, by: str) -> dict[str, Any]:
        """Return the channel updates that ``value`` stands for; keys outside the schema are dropped.

        Raises :class:`InvalidUpdateError`, naming ``by``, when the value is no update of this state.
        """
        if value is None:
            return {}
        if self.form == "root":
            return {ROOT: value}
        if isinstance(value, Mapping):
            if not self.managed and value.keys() <= self.channels.keys():
                return dict(value)
            return {name: item for name, item in value.items() if self.takes(name)}
        if isinstance(value, pydantic.BaseModel):
            return {n: getattr(value, n) for n in _spoken(value) if self.takes(n)}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if self.takes(f.name)}
        raise InvalidUpdateError(
            f"nothing of this step was stored: {by} returned {type(value).__name__}, expected a dict of "
            "updates, a Command or None"
        )


def _spoken(value: pydantic.BaseModel) -> Iterator[str]:
    # Fields nobody set and that still hold their default are no update (LangGraph does the same).
    for name, info in type(value).model_fields.items():
        default = info.get_default(call_default_factory=True, validated_data={})
        if name in value.model_fields_set or getattr(value, name) != default:
            yield name


def has_keys(type_: Any) -> bool:
    """Say whether a state of this type has keys: a TypedDict, dataclass or pydantic model."""
    return isinstance(type_, type) and (
        typing_extensions.is_typeddict(type_)
        or dataclasses.is_dataclass(type_)
        or issubclass(type_, pydantic.BaseModel)
    )


def read_schema(type_: Any) -> Schema:
    """Return the channels of ``type_``: one for each of its keys, or a single one for any other type.

    Raises :class:`InvalidGraph` for a reducer that does not take two values.
    """
    if has_keys(type_):
        hints = typing.get_type_hints(type_, include_extras=True)
        hints = {n: h for n, h in hints.items() if get_origin(h) is not typing.ClassVar}
        if issubclass(type_, pydantic.BaseModel):
            hints = {n: h for n, h in hints.items() if n in type_.model_fields}
        channels = {name: _channel(name, hint) for name, hint in hints.items()}
        form: Literal["mapping", "object"] = "mapping" if typing_extensions.is_typeddict(type_) else "object"
        found = frozenset(cls for hint in hints.values() for cls in _classes(hint))
        return Schema(type_, channels, form, found)
    return Schema(type_, {ROOT: _channel(ROOT, type_)}, "root", frozenset(_classes(type_)))


def codec_for(*schemas: Schema) -> Codec:
    """Return a codec that knows every class the schemas name."""
    found = frozenset[type]().union(*(schema.classes for schema in schemas))
    return Codec(sorted(found, key=lambda cls: cls.__qualname__))


def _channel(name: str, hint: Any) -> Channel:
    while get_origin(hint) in _QUALIFIERS:
        hint = get_args(hint)[0]
    if get_origin(hint) is not Annotated:
        return Channel(name)
    type_, *extras = get_args(hint)
    if isinstance(extras[-1], Managed):
        return Channel(name, managed=extras[-1])
    if not callable(extras[-1]) or isinstance(extras[-1], type):
        return Channel(name)
    if not _takes_two(extras[-1]):
        raise InvalidGraph(f"no graph was begun: the reducer of {name!r} must take two values, old and new")
    reducer = extras[-1] if extras[-1] is not add_messages else reducer_for(_classes(type_))
    return Channel(name, reducer, _start(type_))


def _takes_two(function: Any) -> bool:
    if function is operator.add:
        return True
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len([p for p in positional if p.default is p.empty]) <= 2 <= len(positional) or any(
        p.kind is p.VAR_POSITIONAL for p in parameters
    )


def _start(type_: Any) -> Callable[[], Any] | None:
    while get_origin(type_) in (*_QUALIFIERS, Annotated):
        type_ = get_args(type_)[0]
    origin = get_origin(type_) or type_
    origin = _CONCRETE.get(origin, origin)
    if not isinstance(origin, type):
        return None
    try:
        origin()
    except Exception:  # noqa: BLE001 - any failure means the same: there is no empty value to start from
        return None
    return origin


def _classes(hint: Any) -> Iterator[type]:
    """Yield every storable class that an annotation names, at any depth."""
    seen: set[Any] = set()
    waiting = [hint]
    while waiting:
        one = waiting.pop()
        waiting.extend(arg for arg in get_args(one) if not isinstance(arg, str | int))
        if not storable_class(one) or one in seen:
            continue
        seen.add(one)
        yield one
        if not issubclass(one, enum.Enum):
            waiting.extend(typing.get_type_hints(one, include_extras=True).values())
