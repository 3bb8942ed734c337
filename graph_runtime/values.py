"""Values and their strict typed JSON: what is read back equals what was written, or writing is refused.

JSON's own types lie as they are. Anything else is an object with the key ``"$"``, its tag, and ``"v"``.
There is no pickle and no import by name: a tag is looked up in a closed table, to which a graph adds the
enums, dataclasses and pydantic models that its state names. With a pydantic model come those of its
subclasses that the program has loaded, and with every table LangChain's messages, when it has loaded them.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import datetime as dt
import enum
import hashlib
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pydantic
import rfc8785

from .errors import ValueRefused
from .messages import MESSAGE_CLASSES, langchain_message
from .plainjson import read_json, write_json, write_sorted
from .types import Action, Decision, Overwrite

#: One stored value, in characters of JSON. A larger one belongs in a file or a bucket, with its address here.
MAX_VALUE = 16 * 1024 * 1024
#: Above this, JSON numbers of other languages, and RFC 8785, are not exact (2**53 - 1).
_EXACT_INT = (1 << 53) - 1
_TAG, _TAGGED = "$", '"$"'

_to_text: dict[type, tuple[str, Callable[[Any], Any]]] = {
    Decimal: ("decimal", str),
    dt.datetime: ("datetime", lambda v: [v.isoformat(), v.fold]),
    dt.date: ("date", dt.date.isoformat),
    dt.time: ("time", lambda v: [v.isoformat(), v.fold]),
    dt.timedelta: ("timedelta", lambda v: [v.days, v.seconds, v.microseconds]),
    uuid.UUID: ("uuid", str),
    bytes: ("bytes", lambda v: base64.b64encode(v).decode("ascii")),
}
_from_text: dict[str, Callable[[Any], Any]] = {
    "int": int,
    "decimal": Decimal,
    "datetime": lambda v: dt.datetime.fromisoformat(v[0]).replace(fold=v[1]),
    "date": dt.date.fromisoformat,
    "time": lambda v: dt.time.fromisoformat(v[0]).replace(fold=v[1]),
    "timedelta": lambda v: dt.timedelta(v[0], v[1], v[2]),
    "uuid": uuid.UUID,
    "bytes": lambda v: base64.b64decode(v, validate=True),
}

#: No class of a state may have one of these names.
_TAGS = frozenset({"tuple", "set", "frozenset", "dict", *_from_text})


@dataclasses.dataclass(frozen=True, slots=True)
class Unstorable:
    """Stands in the record of an effect that was done for what it returned, which could not be stored."""

    why: str


class Codec:
    """Writes and reads state values; knows, besides the built-in types, the classes it was given.

    A class that a state names is stored under its ``__qualname__``, so moving it to another module changes
    nothing and renaming it makes old values unreadable, with an error that names it. A class that comes along
    with another one, or is called as one of ours, is stored under its module and name: it cannot be taken for
    another.
    """

    def __init__(self, classes: Iterable[type] = ()) -> None:
        self._classes: dict[str, type] = {}
        self._tags: dict[type, str] = {}
        self._bases: list[type] = []
        ours = (Decision, Action, Overwrite, Unstorable, *MESSAGE_CLASSES)
        names = {cls.__qualname__: cls for cls in ours}
        for cls in (*ours, *classes):
            if cls.__qualname__ in _TAGS:
                raise ValueRefused(
                    f"a class of a state is called {cls.__qualname__!r}, which is taken: rename it"
                )
            tag = cls.__qualname__ if names.get(cls.__qualname__, cls) is cls else _full_name(cls)
            known = self._classes.setdefault(tag, cls)
            if known is not cls:
                raise ValueRefused(
                    f"two classes of one state are called {cls.__qualname__!r}: rename one of them"
                )
            self._tags[cls] = tag
            if issubclass(cls, pydantic.BaseModel):
                self._bases.append(cls)

    def _tag_of(self, cls: type) -> str | None:
        """Return what a class is stored under; None when it cannot be read back from there."""
        tag = self._tags.get(cls)
        if tag is None and any(issubclass(cls, base) for base in self._all_bases()):
            found = _full_name(cls)
            if self._class_of(found) is cls:
                tag = self._tags[cls] = found
        return tag

    def _class_of(self, tag: str) -> type[Any] | None:
        """Return the class that was stored under a tag: one that is known, or a subclass of one."""
        known = self._classes.get(tag)
        if known is None:
            found = {one for base in self._all_bases() for one in _family(base) if _is_called(one, tag)}
            if len(found) == 1:
                known = self._classes[tag] = found.pop()
        return known

    def _all_bases(self) -> list[type]:
        theirs = langchain_message()
        return self._bases if theirs is None else [*self._bases, theirs]

    def encode(self, value: Any) -> str:
        """Return ``value`` as JSON text of at most :data:`MAX_VALUE` characters.

        Raises :class:`ValueRefused`, naming the place inside the value, for anything that would not be
        read back equal: unknown classes, subclasses of built-in types, NaN, lone surrogates, cycles.
        """
        try:
            text = write_json(value if _is_plain(value) else self._tagged(value, ""))
        except (RecursionError, TypeError, rfc8785.CanonicalizationError) as error:
            raise _refused("a value was not stored", error) from None
        if len(text) > MAX_VALUE:
            raise ValueRefused(
                f"a value was not stored: {len(text):,} characters are more than {MAX_VALUE:,}; "
                "keep it elsewhere and store its address"
            )
        return text

    def decode(self, text: str) -> Any:
        """Return the value that ``encode`` was given.

        Raises :class:`ValueRefused` for an unknown tag or class, or a text that ``encode`` did not make.
        """
        try:
            # Without the tag's key nothing in it is anything else than JSON.
            return self._untagged(read_json(text)) if _TAGGED in text else read_json(text)
        except ValueRefused:
            raise
        except Exception as error:
            raise ValueRefused(
                f"a stored value was not read: it is damaged, or its class has changed: {error}"
            ) from error

    def digest(self, value: Any) -> str:
        """Return ``sha256:`` and 64 hex digits over RFC 8785 canonical JSON of the typed encoding."""
        try:
            if _is_plain(value) and _is_canonical(value):
                canonical = write_sorted(value)
            else:
                canonical = rfc8785.dumps(_ordered(self._tagged(value, "")))
        except (RecursionError, TypeError, UnicodeEncodeError, rfc8785.CanonicalizationError) as error:
            raise _refused("no digest was made", error) from None
        return "sha256:" + hashlib.sha256(canonical).hexdigest()

    def _tagged(self, value: Any, path: str) -> Any:
        cls = type(value)
        if cls is str or cls is bool or value is None:
            return value
        if cls is int:
            return value if -_EXACT_INT <= value <= _EXACT_INT else {_TAG: "int", "v": _digits(value, path)}
        if cls is float:
            if not math.isfinite(value):
                raise ValueRefused(
                    f"a value was not stored: {path or 'it'} is {value}, which JSON cannot hold"
                )
            return value
        if cls is list:
            return [self._tagged(item, f"{path}[{i}]") for i, item in enumerate(value)]
        if cls is dict:
            return self._tagged_dict(value, path)
        if cls is tuple:
            return {_TAG: "tuple", "v": [self._tagged(item, f"{path}[{i}]") for i, item in enumerate(value)]}
        if cls is set or cls is frozenset:
            items = [self._tagged(item, f"{path}{{}}") for item in value]
            return {_TAG: cls.__name__, "v": sorted(items, key=rfc8785.dumps)}
        simple = _to_text.get(cls)
        if simple is not None:
            return self._checked({_TAG: simple[0], "v": simple[1](value)}, value, path)
        return self._tagged_object(value, path)

    def _tagged_dict(self, value: dict[Any, Any], path: str) -> Any:
        if _TAG not in value and all(type(key) is str for key in value):
            return {key: self._tagged(item, f"{path}.{key}") for key, item in value.items()}
        return {
            _TAG: "dict",
            "v": [
                [self._tagged(key, f"{path} key"), self._tagged(item, f"{path}.{key}")]
                for key, item in value.items()
            ],
        }

    def _tagged_object(self, value: Any, path: str) -> Any:
        cls = type(value)
        name = self._tag_of(cls)
        if name is None:
            raise ValueRefused(
                f"a value was not stored: {path or 'it'} is a {cls.__module__}.{cls.__qualname__}, which "
                "would not be read back the same; use plain JSON types, or name the class in the annotations "
                "of the graph's state"
            )
        if isinstance(value, enum.Enum):
            return self._checked({_TAG: name, "v": value.name}, value, path)
        body = {key: self._tagged(v, f"{path}.{key}") for key, v in _fields(value).items()}
        return self._checked({_TAG: name, "v": body}, value, path)

    def _checked(self, tagged: Any, value: Any, path: str) -> Any:
        """Return ``tagged`` when it is read back equal: not NaN, a sum of flags or a renamed field."""
        try:
            equal = self._untagged(tagged) == value
        except Exception:  # noqa: BLE001 - whatever the class raises, the value could not be read back
            equal = False
        if not equal:
            raise ValueRefused(
                f"a value was not stored: {path or 'it'} is a {type(value).__qualname__} that would not be "
                "read back equal; use plain JSON types for it"
            )
        return tagged

    def _untagged(self, value: Any) -> Any:
        if type(value) is list:
            return [self._untagged(item) for item in value]
        if type(value) is not dict:
            return value
        tag = value.get(_TAG)
        if tag is None:
            return {key: self._untagged(item) for key, item in value.items()}
        body = value["v"]
        if tag in _from_text:
            return _from_text[tag](body)
        if tag == "tuple":
            return tuple(self._untagged(item) for item in body)
        if tag == "set":
            return {self._untagged(item) for item in body}
        if tag == "frozenset":
            return frozenset(self._untagged(item) for item in body)
        if tag == "dict":
            return {self._untagged(key): self._untagged(item) for key, item in body}
        cls: Any = self._class_of(tag)
        if cls is None:
            raise ValueRefused(
                f"a stored value was not read: this graph's state names no class {tag!r}, and none that it "
                "names has a subclass of that name which this program has loaded"
            )
        if issubclass(cls, enum.Enum):
            return cls[body]
        return cls(**{key: self._untagged(item) for key, item in body.items()})


#: What JSON holds as it is, whatever its value.
_SAFE = frozenset({str, bool, type(None)})
_TEXT, _NUMBER = frozenset({str}), frozenset({int})
#: What orjson writes as RFC 8785 wants it: fractions are written otherwise, and keys beyond ASCII sorted so.
_SAME = frozenset({str, bool, type(None), int})


def _is_plain(value: Any) -> bool:
    """Say whether JSON holds the value as it is: the most of what is stored, and needs no tag anywhere."""
    cls = type(value)
    if cls in _SAFE:
        return True
    if cls is dict:
        if _TAG in value or not _TEXT.issuperset(map(type, value)):
            return False
        items = value.values()
    elif cls is list:
        items = value
    elif cls is int:
        return bool(-_EXACT_INT <= value <= _EXACT_INT)
    else:
        return cls is float and math.isfinite(value)
    kinds = {*map(type, items)}
    if kinds == _NUMBER:
        return bool(min(items) >= -_EXACT_INT and max(items) <= _EXACT_INT)
    return kinds <= _SAFE or all(map(_is_plain, items))


def _is_canonical(value: Any) -> bool:
    """Say whether orjson writes a plain value in RFC 8785's form."""
    cls = type(value)
    if cls is dict:
        return "".join(value).isascii() and all(map(_is_canonical, value.values()))
    return all(map(_is_canonical, value)) if cls is list else cls in _SAME


def _ordered(tagged: Any) -> Any:
    """Return the tagged value with the pairs of tagged dicts sorted: equal dicts have one digest."""
    if type(tagged) is list:
        return [_ordered(item) for item in tagged]
    if type(tagged) is not dict:
        return tagged
    ordered = {key: _ordered(item) for key, item in tagged.items()}
    if ordered.get(_TAG) == "dict":
        ordered["v"] = sorted(ordered["v"], key=rfc8785.dumps)
    return ordered


def _full_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _is_called(cls: type, tag: str) -> bool:
    return tag in {cls.__qualname__, _full_name(cls)}


def _family(base: type[Any]) -> Iterator[type[Any]]:
    yield base
    for cls in base.__subclasses__():
        yield from _family(cls)


def _fields(value: Any) -> Mapping[str, Any]:
    if isinstance(value, pydantic.BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields} | (value.model_extra or {})
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}


def _refused(what: str, error: Exception) -> Exception:
    """Return why a value could not be written: what orjson, rfc8785 or the depth of the stack says."""
    if isinstance(error, ValueRefused):
        return error
    if isinstance(error, RecursionError) or "ecursion" in str(error):
        return ValueRefused(f"{what}: the value is nested too deeply, or holds itself")
    return ValueRefused(f"{what}: a text in it has half a surrogate pair")


def _digits(value: int, path: str) -> str:
    try:
        return str(value)
    except ValueError:  # Python's own limit on the digits of a number (sys.set_int_max_str_digits)
        raise ValueRefused(f"a value was not stored: {path or 'it'} is a number of too many digits") from None


def storable_class(cls: Any) -> bool:
    """Say whether instances of ``cls`` can be stored once the codec is given it."""
    return isinstance(cls, type) and (
        issubclass(cls, enum.Enum | pydantic.BaseModel) or dataclasses.is_dataclass(cls)
    )


_ATOMS = frozenset({str, int, float, bool, type(None), bytes})


def detached(value: Any) -> Any:
    """Return the value in lists and dicts of its own: whoever made it may go on changing theirs.

    Raises :class:`ValueRefused` for one that could not be stored either: nested too deeply, or in itself.
    """
    try:
        return _detached(value)
    except RecursionError as error:
        raise _refused("a value was not taken", error) from None


def _detached(value: Any) -> Any:
    cls = type(value)
    if cls is dict:
        return {key: item if type(item) in _ATOMS else _detached(item) for key, item in value.items()}
    if cls is list or cls is tuple:
        return cls([item if type(item) in _ATOMS else _detached(item) for item in value])
    return value


def copied(value: Any) -> Any:
    """Return a copy that shares nothing that can be changed in place: ``deepcopy``, but quick for JSON."""
    cls = type(value)
    if cls in _ATOMS:
        return value
    if cls is dict:
        return {key: item if type(item) in _ATOMS else copied(item) for key, item in value.items()}
    if cls is list:
        return [item if type(item) in _ATOMS else copied(item) for item in value]
    return copy.deepcopy(value)
