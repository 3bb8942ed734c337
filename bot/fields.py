"""What a dialog asks for, and what was typed made a value again, exactly.

A field is offered when its value can be shown whole and as it is; any other stands in the dialog as text.
What kind a field is says the form of the request; without one, the value that it has now.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from graph_runtime import Standing
from graph_runtime.forms import MOST_FIELDS, FormField, Kind, fields_of, find_form
from graph_runtime.judging import Case

from .redaction import Masked
from .text import plain

#: Slack's limits: 100 blocks in a dialog, 3,000 characters in an input, 250 kB for all of it.
LONGEST_TEXT = 3_000
_ROOM = 100_000
#: What an option takes besides its text.
_OPTION = 80
#: A number of more digits might pass through a float in a client, so it is typed as text.
_SAFE_DIGITS = 15
_MOST_DIGITS = 30
_LARGEST = int("9" * _MOST_DIGITS) + 1
_WHOLE = re.compile(rf"[+-]?[0-9]{{1,{_MOST_DIGITS}}}", re.ASCII)
_NUMBER = re.compile(rf"{_WHOLE.pattern}(\.[0-9]{{1,{_MOST_DIGITS}}})?", re.ASCII)
_NO_NUMBER = "Write a number with a point, such as 250.00."
_EMPTIED = "Write something, or go back."
#: A moment as Slack's picker has it: seconds since the epoch in ten digits.
_SECONDS = re.compile(r"[0-9]{10}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that is asked for: what it is now, and what was asked for at first."""

    about: FormField
    present: Any = None
    requested: Any = None
    #: Why it may not be left empty, though its kind would allow that; empty where it may.
    needed: str = ""
    #: Whether it is a text that must stay a number.
    is_decimal: bool = False

    @property
    def name(self) -> str:
        """What it is called where it is kept."""
        return self.about.name

    @property
    def block_id(self) -> str:
        """The block of its input; errors stand there."""
        return f"edit:{self.name}"

    @property
    def shown(self) -> str:
        """What its input begins with; empty where nothing is."""
        return shown(self.about, self.present) or ""

    @property
    def is_number(self) -> bool:
        """Whether a number input takes it; one of very many digits is typed as text."""
        is_number = self.about.kind in {"whole", "number"}
        return is_number and sum(map(str.isdigit, self.shown)) <= _SAFE_DIGITS

    @property
    def may_be_empty(self) -> bool:
        """Whether its input may be left empty: a text may, and what may be nothing; all else is something."""
        is_free = self.about.kind == "text" and not self.about.shortest
        return not self.needed and (self.about.nullable or is_free)

    def read(self, typed: str) -> Any:
        """Return what was typed as a value of its kind, the present one when nothing was changed.

        Raises ValueError with a sentence for the person.
        """
        kind, began = self.about.kind, self.shown
        held = bool(began) or (kind == "text" and self.present is not None)
        # Slack may send other line ends and trim the text, which nobody means as a change.
        if held and _lines(typed).strip() == _lines(began).strip():
            return self.present
        if not typed.strip() and self.needed:
            raise ValueError(self.needed)
        if not typed.strip() and self.about.nullable:
            return None
        if self.is_decimal:
            typed = typed.strip()
            if not _NUMBER.fullmatch(typed):
                raise ValueError(_NO_NUMBER)
        value = typed if kind == "text" else _value(self.about, typed.strip())
        # A picker knows no seconds.
        same = value == self.present or (kind == "moment" and began and int(typed) // 60 == int(began) // 60)
        return self.present if same else value


def offered(case: Case, standing: Standing) -> tuple[Field, ...]:
    """Return the fields that an edit of this request may change, in the order of the policy.

    Raises :class:`Refused` (GRAPH_CHANGED) for a request whose form is not in this process.
    """
    action, form = case.request.action, case.request.form
    names = editable(case, standing)
    if action is None or not names:
        return ()
    present: Mapping[str, Any] = action.arguments if standing.arguments is None else standing.arguments
    said = {} if form is None else {about.name: about for about in fields_of(find_form(form, present))}
    found: list[Field] = []
    room = _ROOM
    for name in names:
        value = present[name]
        about = said.get(name) if form is not None else _as_it_is(name, value)
        begins = None if about is None else shown(about, value)
        # What is not shown whole would come back as its mask.
        if isinstance(value, Masked) or about is None or begins is None:
            continue
        room -= _size(about, begins)
        if room >= 0 and len(found) < MOST_FIELDS:
            found.append(_field(about, value, action.arguments.get(name), has_form=form is not None))
    return tuple(found)


def editable(case: Case, standing: Standing) -> tuple[str, ...]:
    """Return the arguments that the policy lets be changed, and the form, where there is one, knows."""
    action, edit, form = case.request.action, case.policy.edit, case.request.form
    if action is None or edit is None or "edit" not in case.policy.decisions:
        return ()
    present = action.arguments if standing.arguments is None else standing.arguments
    return tuple(
        name
        for name in dict.fromkeys(edit.fields)
        if name in present and (name in form.names if form is not None else _as_it_is(name, present[name]))
    )


def shown(about: FormField, value: Any) -> str | None:
    """Return what an input of this kind begins with; None when it could not hold the value as it is."""
    if value is None:
        return ""
    match about.kind:
        case "text":
            # What hides or would be cut would come back as something else.
            whole = isinstance(value, str) and plain(value, LONGEST_TEXT) == value.replace("\r\n", "\n")
            return value if whole else None
        case "yes or no":
            return ("yes" if value else "no") if isinstance(value, bool) else None
        case "choice":
            return str(value) if value in about.choices and not isinstance(value, bool) else ""
        case "moment":
            aware = isinstance(value, dt.datetime) and value.tzinfo is not None
            typed = str(int(value.timestamp())) if aware else ""
        case "date":
            is_date = isinstance(value, dt.date) and not isinstance(value, dt.datetime)
            typed = value.isoformat() if is_date else value if isinstance(value, str) else ""
        case _:
            typed = _number(value)
    try:
        _value(about, typed)
    except ValueError:
        return None
    return typed


def _number(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < _LARGEST else ""
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, str):
        value = Decimal(value) if _NUMBER.fullmatch(value) else None
    return format(value, "f") if isinstance(value, Decimal) and value.is_finite() else ""


def _value(about: FormField, typed: str) -> Any:
    match about.kind:
        case "yes or no":
            if typed not in {"yes", "no"}:
                raise ValueError("Choose yes or no.")
            return typed == "yes"
        case "choice":
            for choice in about.choices:
                if str(choice) == typed:
                    return choice
            raise ValueError("Choose one of the list.")
        case "date":
            try:
                found = dt.date.fromisoformat(typed)
            except ValueError:
                raise ValueError("Choose a date.") from None
            if found.isoformat() != typed:
                raise ValueError("Choose a date.")
            return found
        case "moment":
            if not _SECONDS.fullmatch(typed):
                raise ValueError("Choose a date and a time.")
            return dt.datetime.fromtimestamp(int(typed), dt.UTC)
        case "whole":
            if not _WHOLE.fullmatch(typed):
                raise ValueError("Write a whole number, such as 3.")
            return int(typed)
        case _:
            if not _NUMBER.fullmatch(typed):
                raise ValueError(_NO_NUMBER)
            return Decimal(typed)


def _as_it_is(name: str, value: Any) -> FormField | None:
    """Return what a value says of itself where no form does; None for one that cannot be typed."""
    kinds: Mapping[type, Kind] = {str: "text", bool: "yes or no", int: "whole", Decimal: "number"}
    kind = kinds.get(type(value))
    about = None if kind is None else FormField(name, kind, name)
    return None if about is None or shown(about, value) is None else about


def _field(about: FormField, value: Any, requested: Any, *, has_form: bool) -> Field:
    """Return a field of an edit: where no form says what may become of a text, that stays what it is."""
    if has_form or not isinstance(value, str) or not value.strip():
        return Field(about, value, requested)
    is_decimal = _NUMBER.fullmatch(value.strip()) is not None
    return Field(about, value, requested, needed=_EMPTIED, is_decimal=is_decimal)


def _size(about: FormField, begins: str) -> int:
    """Return about how many characters of JSON an input takes."""
    choices = sum(2 * len(json.dumps(str(choice))) + _OPTION for choice in about.choices)
    return len(json.dumps(begins)) + len(json.dumps(about.description or "")) + choices


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
