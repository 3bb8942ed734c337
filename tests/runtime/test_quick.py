"""A frozen dataclass that is made quickly is the dataclass that it was."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from dataclasses import dataclass, field

import pytest

from graph_runtime.quick import quick


@dataclass(frozen=True, slots=True)
class Slow:
    name: str
    size: int = 1
    items: list[int] = field(default_factory=list)
    seen: bool = field(default=False, compare=False)


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    name: str
    size: int = 1
    items: list[int] = field(default_factory=list)
    seen: bool = field(default=False, compare=False)


@pytest.mark.parametrize(
    ("given", "named"), [(("a",), {}), (("a", 2, [3], True), {}), (("a",), {"items": [1], "seen": True})]
)
def test_it_takes_the_same_arguments_and_holds_the_same(given: tuple[object, ...], named: dict[str, object]):
    one, other = Slow(*given, **named), Quick(*given, **named)  # type: ignore[arg-type]
    assert dataclasses.asdict(one) == dataclasses.asdict(other)
    assert repr(one).replace("Slow", "Quick") == repr(other)
    assert type(other) is Quick
    assert list(inspect.signature(Slow).parameters) == list(inspect.signature(Quick).parameters)


def test_each_one_has_its_own_list():
    assert Quick("a").items is not Quick("a").items


def test_it_stays_as_it_is():
    one = Quick("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.size = 2  # type: ignore[misc]
    assert dataclasses.replace(one, size=2) == Quick("a", 2)
    assert copy.deepcopy(one) == one
    assert hash(dataclasses.replace(one, items=())) == hash(dataclasses.replace(one, items=(), seen=True))  # type: ignore[arg-type]


def test_what_is_missing_or_too_much_is_refused():
    with pytest.raises(TypeError, match="name"):
        Quick()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="other"):
        Quick("a", other=1)  # type: ignore[call-arg]
