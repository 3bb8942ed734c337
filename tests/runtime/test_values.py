"""What is read back equals what was written, with its types, or writing is refused and names the place."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import hashlib
import json
import math
import subprocess
import sys
import uuid
import zoneinfo
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any

import pydantic
import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kit import much

import graph_runtime
from graph_runtime import Action, Decision, Overwrite, ValueRefused
from graph_runtime.state import codec_for, read_schema
from graph_runtime.values import MAX_VALUE, Codec, storable_class


class Color(enum.Enum):
    RED = 1
    BLUE = "b"


class Mood(enum.StrEnum):
    GOOD = "good"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Point:
    x: int
    y: Any = None


@dataclass
class Box:
    items: list[Any] = field(default_factory=list)
    size: int = field(init=False, default=0)


class Order(pydantic.BaseModel):
    amount: Decimal
    color: Color = Color.RED
    inner: Point | None = None


CODEC = Codec([Color, Mood, Rights, Point, Box, Order])

#: Every text but half surrogate pairs, which no UTF-8 can hold.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
offsets = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    st.binary(max_size=20),
    st.decimals(allow_nan=False),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.none() | offsets),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from([Color.RED, Color.BLUE, Mood.GOOD, Rights.READ]),
)
hashables = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.tuples(inner, inner), st.frozensets(inner, max_size=3), st.builds(Point, st.integers(), inner)
    ),
    max_leaves=6,
)
everything = st.recursive(
    st.one_of(
        hashables,
        st.builds(Action, texts, st.dictionaries(texts, scalars, max_size=3)),
        st.builds(
            Order, amount=st.decimals(allow_nan=False, allow_infinity=False), color=st.sampled_from(Color)
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(hashables, inner, max_size=3),
        st.sets(hashables, max_size=4),
        st.tuples(inner),
        st.builds(Box, st.lists(inner, max_size=3)),
        st.builds(Overwrite, inner),
    ),
    max_leaves=12,
)


def types_of(value: Any) -> Any:
    """Return the shape of a value: the types at every depth."""
    if isinstance(value, dict):
        return dict, [(types_of(k), types_of(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [types_of(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(str(types_of(item)) for item in value)
    if dataclasses.is_dataclass(value):
        return type(value), [types_of(getattr(value, f.name)) for f in dataclasses.fields(value)]
    return type(value)


@given(everything)
@settings(max_examples=much(100, 300), deadline=None)
def test_every_value_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    text = CODEC.encode(value)
    back = CODEC.decode(text)
    assert back == value
    assert types_of(back) == types_of(value)
    assert CODEC.encode(back) == text
    assert CODEC.digest(back) == CODEC.digest(value)


@given(everything)
@settings(max_examples=much(50, 100), deadline=None)
def test_what_is_stored_is_json_that_others_can_read(value: Any) -> None:
    text = CODEC.encode(value)
    json.loads(text, parse_constant=pytest.fail)
    text.encode("utf-8")


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 53) + 1, (1 << 53) - 1), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
)


@given(plain)
@settings(max_examples=much(100, 500), deadline=None)
@example({"\uffff": 1, "\U00010000": 2})
@example({"a": '\x00\x1f\x7f\u2028"\\/', "b": [1.0, 1e21, -0.0]})
def test_the_digest_is_that_of_rfc_8785_whichever_library_wrote_it(value: Any) -> None:
    try:
        canonical = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        with pytest.raises(ValueRefused):
            CODEC.digest(value)
        return
    if "$" not in canonical.decode():
        assert CODEC.digest(value) == "sha256:" + hashlib.sha256(canonical).hexdigest()


@given(st.dictionaries(hashables, scalars, max_size=6), st.randoms())
@settings(max_examples=much(50, 100), deadline=None)
def test_the_digest_does_not_depend_on_the_order_of_keys(value: dict[Any, Any], chance: Any) -> None:
    pairs = list(value.items())
    chance.shuffle(pairs)
    other = dict(pairs)
    assert CODEC.digest(other) == CODEC.digest(value)
    assert CODEC.digest([Point(1, other)]) == CODEC.digest([Point(1, value)])


@given(st.sets(hashables, max_size=8), st.randoms())
@settings(max_examples=much(50, 100), deadline=None)
def test_neither_text_nor_digest_depends_on_the_order_of_a_set(value: set[Any], chance: Any) -> None:
    items = list(value)
    chance.shuffle(items)
    assert CODEC.encode(set(items)) == CODEC.encode(value)
    assert CODEC.digest(set(items)) == CODEC.digest(value)


def test_digests_are_the_same_in_every_process_and_version() -> None:
    assert CODEC.digest({"b": 1, "a": [True, None, "ü"]}) == (
        "sha256:56c60bbfbc1402809302640a222c80c494c756a1a8d35a239e453d18a2764136"
    )


def test_what_differs_has_another_digest() -> None:
    values: list[Any] = [
        None, False, True, 0, 2, "", "0", [], {}, (), set(), frozenset(), b"", "None", [0], ["0"], [[]], (0,),
        {0}, {"0": 0}, {0: 0}, {"$": 0}, {"$": "int", "v": "0"}, 2**60, str(2**60), Decimal(0), Decimal("0.0"),
        dt.date(2026, 1, 1), "2026-01-01", dt.datetime(2026, 1, 1), dt.timedelta(0), Color.RED, "RED", Mood.GOOD,  # noqa: DTZ001
        "good", Point(0), Point(0, 0), uuid.UUID(int=0), Action("a"), Action("b"), 0.5,
    ]  # fmt: skip
    assert len({CODEC.digest(value) for value in values}) == len(values)


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Pairs(dict[str, int]):
    pass


class Foreign:
    pass


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (object(), "it is a builtins.object"),
        ({"a": [1, object()]}, ".a[1] is a"),
        ([{"x": (1, {2: Foreign()})}], "[0].x[1].2 is a"),
        ({"a": {"b": math.nan}}, ".a.b is nan"),
        ([math.inf], "[0] is inf"),
        (-math.inf, "it is -inf"),
        ({"t": Text("x")}, ".t is a"),
        ([Number(1)], "[0] is a"),
        (Pairs(a=1), "it is a"),
        ({Text("k"): 1}, "key is a"),
        (Point(1, Foreign()), ".y is a"),
        ({Foreign()}, "{} is a"),
        (1j, "it is a builtins.complex"),
        (bytearray(b"x"), "it is a builtins.bytearray"),
        (range(3), "it is a builtins.range"),
        (lambda: 1, "it is a builtins.function"),
        (Foreign, "it is a builtins.type"),
        (ValueError("x"), "it is a builtins.ValueError"),
        ([Decimal("NaN")], "[0] is"),
        ([Decimal("sNaN")], "[0] is"),
        ({"r": Rights.READ | Rights.WRITE}, ".r is"),
        (Rights(0), "it is"),
    ],
)
def test_what_would_not_come_back_is_refused_with_its_place(value: Any, place: str) -> None:
    with pytest.raises(ValueRefused) as raised:
        CODEC.encode(value)
    assert place in str(raised.value)
    with pytest.raises(ValueRefused):
        CODEC.digest(value)


@pytest.mark.parametrize(
    "value", ["half \ud800", {"k\udfff": 1}, {"half \ud800"}, [{("\ud800",): 1}], Point(1, "\ud800")]
)
def test_half_a_surrogate_pair_is_refused(value: Any) -> None:
    with pytest.raises(ValueRefused, match="surrogate"):
        CODEC.encode(value)
    with pytest.raises(ValueRefused, match="surrogate"):
        CODEC.digest(value)


def test_what_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    for value in (loop, {"a": loop}, deep):
        with pytest.raises(ValueRefused, match="nested"):
            CODEC.encode(value)
        with pytest.raises(ValueRefused, match="nested"):
            CODEC.digest(value)


def test_a_value_may_be_so_large_and_no_larger() -> None:
    assert CODEC.decode(CODEC.encode("x" * (MAX_VALUE - 2))) == "x" * (MAX_VALUE - 2)
    with pytest.raises(ValueRefused, match=f"{MAX_VALUE:,}"):
        CODEC.encode("x" * (MAX_VALUE - 1))


@pytest.mark.parametrize("value", [2**53 - 1, 2**53, -(2**53), 10**40, 1e300, 5e-324, -0.0, 0.1, 1e16])
def test_numbers_are_exact(value: float) -> None:
    back = CODEC.decode(CODEC.encode(value))
    assert (type(back), back, math.copysign(1, back)) == (type(value), value, math.copysign(1, value))


@pytest.mark.parametrize("month", [1, 7, 10])
def test_a_time_of_a_named_zone_comes_back_equal_or_is_refused(month: int) -> None:
    """The hour that happens twice equals nothing of another zone (PEP 495), so its offset is not enough."""
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    for fold in (0, 1):
        value = dt.datetime(2026, month, 25, 2, 30, fold=fold, tzinfo=zone)
        try:
            text = CODEC.encode(value)
        except ValueRefused:
            continue
        back = CODEC.decode(text)
        assert back == value
        assert back.utcoffset() == value.utcoffset()


class Renamed(pydantic.BaseModel):
    until: int = pydantic.Field(alias="validUntil")


class Loose(pydantic.BaseModel, extra="allow"):
    a: int = 0


class Changing(pydantic.BaseModel):
    words: list[str]

    @pydantic.field_validator("words", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return value.split() if isinstance(value, str) else [*value, "again"]


@dataclass
class Derived:
    seed: dataclasses.InitVar[int]
    grown: int = 0

    def __post_init__(self, seed: int) -> None:
        self.grown += seed


@pytest.mark.parametrize(
    "value",
    [Renamed(validUntil=1), Loose(a=1, b=2), Changing(words="a b"), Derived(1)],
    ids=lambda v: type(v).__name__,
)
def test_an_object_that_its_fields_do_not_make_again_comes_back_equal_or_is_refused(value: Any) -> None:
    codec = Codec([Renamed, Loose, Changing, Derived])
    try:
        text = codec.encode(value)
    except ValueRefused:
        return
    assert codec.decode(text) == value


def test_the_class_of_a_stored_value_must_still_be_known() -> None:
    text = CODEC.encode({"p": Point(1)})
    with pytest.raises(ValueRefused, match="'Point'"):
        Codec().decode(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"$":"os.system","v":"true"}',
        '{"$":"builtins.eval","v":"1"}',
        '{"$":7,"v":1}',
        '{"$":["x"],"v":1}',
        '{"$":"int"}',
        '{"$":"int","v":"abc"}',
        '{"$":"decimal","v":"abc"}',
        '{"$":"bytes","v":"*"}',
        '{"$":"date","v":"2026-13-01"}',
        '{"$":"dict","v":[[1]]}',
        '{"$":"set","v":[[]]}',
        '{"$":"Color","v":"GREEN"}',
        '{"$":"Point","v":{"z":1}}',
        '{"$":"Order","v":{"amount":"much"}}',
        "not json",
        "",
    ],
)
def test_a_tampered_value_is_refused(text: str) -> None:
    with pytest.raises(ValueRefused, match="not read"):
        CODEC.decode(text)


def test_a_tampered_digest_is_noticed() -> None:
    value = {"amount": 100}
    assert CODEC.digest(value) != CODEC.digest(CODEC.decode(CODEC.encode(value).replace("100", "999")))


def test_two_classes_of_one_name_are_refused() -> None:
    other = type("Point", (), {})
    with pytest.raises(ValueRefused, match="'Point'"):
        Codec([Point, other])


class Animal(pydantic.BaseModel):
    name: str


class Dog(Animal):
    model_config = pydantic.ConfigDict(extra="allow")
    tricks: list[str] = []


class AIMessage(pydantic.BaseModel):
    content: str


def test_a_subclass_of_a_model_that_a_state_names_comes_back_as_what_it_is() -> None:
    dog = Dog(name="rex", tricks=["sit"], colour="brown")  # type: ignore[call-arg]
    text = Codec([Animal]).encode([dog, Animal(name="tom")])
    for codec in (Codec([Animal]), Codec([Animal, Dog]), Codec([Dog, Animal])):
        back = codec.decode(text)
        assert back == [dog, Animal(name="tom")]
        assert [type(one) for one in back] == [Dog, Animal]
    assert Codec([Animal]).decode(Codec([Animal, Dog]).encode(dog)) == dog, "it was named, and is no more"
    with pytest.raises(ValueRefused, match="names no class"):
        Codec([Order]).decode(text)


def test_of_two_subclasses_of_one_name_none_is_stored() -> None:
    for _ in range(2):
        cls = pydantic.create_model("Twin", __base__=Animal, __module__="twins")
    with pytest.raises(ValueRefused, match=r"twins\.Twin"):
        Codec([Animal]).encode(cls(name="x"))


def test_a_class_that_is_called_as_one_of_ours_is_told_from_it() -> None:
    codec, ours = Codec([AIMessage]), graph_runtime.AIMessage("ours")
    text = codec.encode([AIMessage(content="theirs"), ours])
    assert codec.decode(text) == [AIMessage(content="theirs"), ours]
    assert Codec().decode(codec.encode(ours)) == ours, "what was stored before stays readable"


def test_the_runtime_does_not_load_langchain() -> None:
    code = "import sys, graph_runtime; assert 'langchain_core' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "name", ["set", "tuple", "frozenset", "dict", "int", "date", "decimal", "uuid", "bytes"]
)
def test_a_class_named_like_a_built_in_type_comes_back_or_is_refused(name: str) -> None:
    cls = dataclasses.make_dataclass(name, [("a", int)])
    cls.__qualname__ = name
    try:
        codec = Codec([cls])
        text = codec.encode(cls(1))
    except ValueRefused:
        return
    assert codec.decode(text) == cls(1)


def test_a_state_s_annotations_name_the_classes_it_may_hold() -> None:
    @dataclass
    class State:
        orders: Annotated[list[Order | None], "not a reducer"]
        moods: dict[str, tuple[Mood, ...]]
        decision: Decision | None = None

    codec = codec_for(read_schema(State))
    value = [Order(amount=Decimal("1.50"), inner=Point(1)), Color.RED, Mood.GOOD, Point(2, Decimal(3))]
    assert codec.decode(codec.encode(value)) == value
    with pytest.raises(ValueRefused):
        codec.encode(Box())
    assert storable_class(Color)
    assert not storable_class(Foreign)
    assert not storable_class(Point(1))
