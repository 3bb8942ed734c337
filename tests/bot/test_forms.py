"""Models of pydantic as inputs and back: each kind, its limits, what is wrong at its field, what is refused early."""

from __future__ import annotations

import datetime as dt
import enum
import json
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from card_bench import new_ids
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, ValidationInfo, field_validator, model_validator
from slack_sdk.models.blocks import PlainTextObject
from slack_sdk.models.views import View

from bot import forms
from bot.fields import shown
from bot.payloads import Submission
from bot.sandbox.elements import state_of, state_with
from bot.sandbox.limits import view_body
from graph_runtime import Refused, ValueRefused
from graph_runtime.forms import FormField, fields_of, find_form, form_of, read_edit
from graph_runtime.types import Form


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Every(BaseModel):
    """One field of each kind."""

    name: str = Field(title="Full name", description="As in the passport", min_length=2, max_length=60)
    note: str = Field(default="", max_length=2_000)
    lines: str | None = Field(default=None, json_schema_extra={"multiline": True})
    amount: Decimal = Field(default=Decimal("250.00"), ge=Decimal("0.01"), le=900, decimal_places=2)
    share: float | None = None
    parts: Annotated[int, Field(ge=1)] | None = 3
    express: bool = False
    reason: Literal["goodwill", "damaged", 7] = "damaged"
    size: Size | None = Size.LARGE
    day: dt.date | None = dt.date(2026, 11, 26)
    moment: dt.datetime | None = None


def drawn(model: type[BaseModel], present: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The blocks as Slack stores them, when it takes them."""
    view = View(
        type="modal",
        title=PlainTextObject(text="A form"),
        submit=PlainTextObject(text="Go"),
        blocks=forms.inputs(model, present),
    )
    return list(view_body(json.loads(json.dumps(view.to_dict())), "modal", new_ids())["blocks"])


def submitted(blocks: list[dict[str, Any]], **typed: Any) -> Submission:
    """What Slack sends of these blocks when this was typed and nothing else was touched."""
    elements = {block["block_id"]: block["element"] for block in blocks}
    held = {
        f"edit:{name}": {forms.VALUE_INPUT: state_with(elements[f"edit:{name}"], said)}
        for name, said in typed.items()
    }
    return Submission.model_validate(
        {
            "api_app_id": "A1",
            "user": {"id": "U1"},
            "view": {"id": "V1", "state": {"values": state_of(blocks, held)}},
        }
    )


PRESENT = {"name": "Ann Archer"}


def test_each_field_has_the_input_of_its_kind_within_its_limits():
    found = {block["block_id"].removeprefix("edit:"): block for block in drawn(Every, PRESENT)}
    assert list(found) == list(Every.model_fields)
    elements = {name: block["element"] for name, block in found.items()}
    assert {name: element["type"] for name, element in elements.items()} == {
        **dict.fromkeys(("name", "note", "lines"), "plain_text_input"),
        **dict.fromkeys(("amount", "share", "parts"), "number_input"),
        **dict.fromkeys(("express", "reason", "size"), "static_select"),
        "day": "datepicker",
        "moment": "datetimepicker",
    }
    assert found["name"]["label"]["text"] == "Full name"
    assert found["name"]["hint"]["text"] == "As in the passport"
    name, amount, parts = elements["name"], elements["amount"], elements["parts"]
    assert (name["min_length"], name["max_length"], name["initial_value"]) == (2, 60, "Ann Archer")
    assert (amount["min_value"], amount["max_value"], amount["initial_value"]) == ("0.01", "900", "250.00")
    assert (parts["is_decimal_allowed"], parts["min_value"], parts["initial_value"]) == (False, "1", "3")
    assert [elements[one]["multiline"] for one in ("name", "note", "lines")] == [False, True, True]
    assert [one["value"] for one in elements["reason"]["options"]] == ["goodwill", "damaged", "7"]
    assert elements["size"]["initial_option"]["value"] == "large"
    assert elements["day"]["initial_date"] == "2026-11-26"
    needed = [name for name, block in found.items() if not block["optional"]]
    assert needed == ["name", "amount", "express", "reason"]


def test_what_is_not_touched_comes_back_as_it_was_and_what_is_left_empty_is_nothing():
    blocks = drawn(Every, PRESENT)
    value, wrong = forms.read(Every, submitted(blocks), present=PRESENT)
    assert (value, wrong) == (Every(name="Ann Archer"), {})
    changed = {
        "name": "Bob",
        "lines": "one\r\ntwo",
        "amount": "12345.67",
        "share": "0.1",
        "parts": "",
        "express": "yes",
        "reason": "7",
        "size": "small",
        "day": "2026-12-24",
        "moment": 1_790_000_000,
    }
    assert forms.read(Every, submitted(blocks, **changed), present=PRESENT)[1] == {
        "edit:amount": "This must be at most 900."
    }
    value, wrong = forms.read(
        Every, submitted(blocks, **(changed | {"amount": "899.99", "day": None})), present=PRESENT
    )
    assert not wrong
    assert value is not None
    assert repr(value.amount) == "Decimal('899.99')"
    assert (value.share, value.parts, value.express, value.reason, value.size, value.day) == (
        0.1,
        None,
        True,
        7,
        Size.SMALL,
        None,
    )
    assert value.lines == "one\r\ntwo"
    assert value.moment == dt.datetime.fromtimestamp(1_790_000_000, dt.UTC)


def test_what_cannot_be_read_is_told_at_each_of_its_fields():
    blocks = drawn(Every, PRESENT)
    sent = submitted(blocks)
    values = sent.view.state["values"]
    for name, held in {
        "amount": {"value": "250,00"},
        "parts": {"value": "2.5"},
        "express": {"selected_option": None},
        "reason": {"selected_option": {"value": "because"}},
        "day": {"selected_date": "tomorrow"},
        "moment": {"selected_date_time": 5},
    }.items():
        values[f"edit:{name}"][forms.VALUE_INPUT] = held
    assert forms.read(Every, sent, present=PRESENT) == (
        None,
        {
            "edit:amount": "Write a number with a point, such as 250.00.",
            "edit:parts": "Write a whole number, such as 3.",
            "edit:express": "Choose yes or no.",
            "edit:reason": "Choose one of the list.",
            "edit:day": "Choose a date.",
            "edit:moment": "Choose a date and a time.",
        },
    )


class Trip(BaseModel):
    """Its whole is judged, too, and by what it is asked in."""

    leaves: dt.date
    returns: dt.date
    seats: int = Field(default=1, multiple_of=1)

    @field_validator("seats")
    @classmethod
    def there_are_so_many(cls, seats: int, info: ValidationInfo) -> int:
        free = (info.context or {}).get("free", 2)
        if seats > free:
            raise ValueError(f"only {free} are free")
        return seats

    @model_validator(mode="after")
    def in_order(self) -> Trip:
        assert self.returns >= self.leaves, "nobody returns before they leave"
        return self


def test_what_is_wrong_with_all_of_it_stands_at_the_last_field_and_the_context_counts():
    blocks = drawn(Trip)
    typed = {"leaves": "2026-12-02", "returns": "2026-12-01"}
    _, wrong = forms.read(Trip, submitted(blocks, **typed))
    assert wrong == {"edit:seats": "Nobody returns before they leave."}
    _, wrong = forms.read(Trip, submitted(blocks, **typed, seats="3"), context={"free": 1})
    assert wrong == {"edit:seats": "Only 1 are free."}
    value, wrong = forms.read(Trip, submitted(blocks, leaves="2026-12-02", returns="2026-12-03"))
    assert (value, wrong) == (Trip(leaves=dt.date(2026, 12, 2), returns=dt.date(2026, 12, 3)), {})
    fields = [forms.Field(about) for about in fields_of(Trip)]
    assert forms.at_blocks(fields, {"elsewhere": "Not so.", "": "Nor so."}) == {
        "edit:seats": "elsewhere: Not so. Nor so."
    }


def first_of(year: int) -> dt.datetime:
    return dt.datetime(year, 1, 1)  # noqa: DTZ001 - as hypothesis wants it


kept = st.fixed_dictionaries(
    {
        "name": st.text(min_size=2, max_size=60),
        "note": st.text(max_size=2_000),
        "lines": st.none() | st.text(max_size=100),
        "amount": st.decimals("0.01", 900, places=2),
        "share": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "parts": st.none() | st.integers(1, 10**12),
        "express": st.booleans(),
        "reason": st.sampled_from(["goodwill", "damaged", 7]),
        "size": st.none() | st.sampled_from(Size),
        "day": st.none() | st.dates(),
        "moment": st.none() | st.datetimes(first_of(2002), first_of(2285), timezones=st.just(dt.UTC)),
    }
)


@settings(max_examples=25, deadline=None)
@given(kept)
def test_slack_takes_every_form_and_what_can_be_shown_comes_back_as_it_was(present: dict[str, Any]):
    fields = [forms.Field(about, forms.bare(present[about.name])) for about in fields_of(Every)]
    whole = [field for field in fields if shown(field.about, field.present) is not None]
    values, wrong = forms.typed(whole, submitted(drawn(Every, present)))
    assert not wrong
    assert values == {field.name: field.present for field in whole}
    hidden = {field.name for field in fields} - {*values}
    assert hidden <= {"name", "note", "lines", "share"}, "texts that hide, and floats of too many digits"


# -- what is refused before anybody is asked -------------------------------------------------------------------


class Outer:
    class Inner(BaseModel):
        a: int


class Aliased(BaseModel):
    a: int = Field(alias="b")


class Listed(BaseModel):
    a: list[int]


class Either(BaseModel):
    a: int | str


class Flag(BaseModel):
    a: Literal[True, "yes"]


class Same(BaseModel):
    a: Literal[1, "1"]


class Endless(BaseModel):
    a: Literal["x", "y" * 76]  # type: ignore[valid-type]


class Nothing(BaseModel):
    pass


class Root(RootModel[int]):
    pass


Many = enum.Enum("Many", {f"M{n}": n for n in range(101)})  # type: ignore[misc]


class Crowded(BaseModel):
    a: Many


Wide = type(
    "Wide", (BaseModel,), {"__annotations__": {f"a{n}": int for n in range(41)}, "__module__": __name__}
)


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (Outer.Inner, "not at the top level of its module"),
        (dict, "class of pydantic's BaseModel"),
        (Every(name="Ann"), "class of pydantic's BaseModel"),
        (Root, "class of pydantic's BaseModel"),
        (Aliased, "a field a with an alias"),
        (Listed, "a field a of type list, which nobody can fill in"),
        (Either, "a field a of several types"),
        (Flag, "a field a with the choice True"),
        (Same, "two choices that look the same"),
        (Endless, "a text of 1 to 75 characters"),
        (Crowded, "a field a of 101 choices: 1 to 100 can be offered"),
        (Nothing, "has 0 fields"),
        (Wide, "has 41 fields"),
    ],
)
def test_a_form_that_nobody_could_fill_in_or_find_again_is_refused_with_its_reason(form: Any, why: str):
    with pytest.raises(ValueRefused, match=why):
        form_of(form)


def test_a_class_inside_a_function_is_no_form():
    class Local(BaseModel):
        a: int

    with pytest.raises(ValueRefused, match="move it there"):
        form_of(Local)


# -- what an edit comes to -------------------------------------------------------------------------------------


class Order(BaseModel):
    """Trims, and knows a choice by an enum."""

    size: Size
    note: str = ""
    price: Decimal = Field(default=Decimal(1), gt=0)

    @field_validator("note")
    @classmethod
    def trimmed(cls, note: str, info: ValidationInfo) -> str:
        assert info.context is not None
        info.context["requested"]["size"] = "changed by the form"
        return note.strip()


ASKED = {"size": "small", "note": " as before ", "price": Decimal("5.00"), "other": [1]}


def edit(present: dict[str, Any], **edited: Any) -> dict[str, Any]:
    editable = ("size", "price")
    return read_edit(form_of(Order), edited, present, editable=editable, requested=ASKED, facts={})


def test_an_edit_takes_what_the_form_made_of_the_fields_that_may_be_changed_and_nothing_else():
    assert edit(ASKED, size="large", price="5.0") == {**ASKED, "size": "large"}
    assert repr(edit(ASKED, price="4.50")["price"]) == "Decimal('4.50')"
    assert edit(ASKED)["note"] == " as before ", "the policy does not let it be changed"
    assert ASKED["size"] == "small", "a form gets copies"
    for edited in ({"other": [2]}, {"size": "huge"}, {"price": float("nan")}):
        with pytest.raises(Refused) as refused:
            edit(ASKED, **edited)
        assert [*refused.value.fields] == [*edited]


def test_a_form_is_found_by_its_name_and_only_while_it_fits():
    assert find_form(form_of(Order), ASKED) is Order
    for reference in (
        "no.such.module:Order",
        f"{__name__}:Orders",
        f"{__name__}:forms",
        f"{__name__}:Listed",
    ):
        with pytest.raises(Refused, match="The form for changes is not there any more"):
            find_form(Form(reference, {}), ASKED)
    with pytest.raises(Refused, match="does not fit what was asked"):
        find_form(form_of(Order), {"price": 1})


def test_a_field_of_a_form_says_what_it_is_asked_for():
    (leaves, _, seats) = fields_of(Trip)
    assert leaves == FormField("leaves", "date", "leaves")
    assert (seats.kind, seats.required) == ("whole", False)
