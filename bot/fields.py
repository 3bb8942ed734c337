"""What of an action a dialog offers to be changed, and what was typed made a value again, exactly.

A field is offered when its value can be shown whole and as it is; any other stands in the dialog as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeGuard

from graph_runtime import Standing
from graph_runtime.judging import Case

from .redaction import Masked
from .text import plain

#: Slack's limits: 100 blocks in a dialog, 3,000 characters in an input, 250 kB for all of it.
MOST_FIELDS = 40
LONGEST_TEXT = 3_000
_ROOM = 100_000
#: A number of more digits might pass through a float in a client, so it is typed as text.
_SAFE_DIGITS = 15
_MOST_DIGITS = 30
_LARGEST = int("9" * _MOST_DIGITS) + 1
_WHOLE = re.compile(rf"[+-]?[0-9]{{1,{_MOST_DIGITS}}}", re.ASCII)
_NUMBER = re.compile(rf"{_WHOLE.pattern}(\.[0-9]{{1,{_MOST_DIGITS}}})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Field:
    """One argument that may be changed: what it is now, and what was asked for."""

    name: str
    present: str | int | Decimal
    requested: Any

    @property
    def block_id(self) -> str:
        """The block of its input; errors stand there."""
        return f"edit:{self.name}"

    @property
    def shown(self) -> str:
        """What its input begins with."""
        return _shown(self.present)

    @property
    def is_number(self) -> bool:
        """Whether a number input takes it; one of very many digits is typed as text."""
        is_number = isinstance(self.present, int | Decimal) and not isinstance(self.present, bool)
        return is_number and sum(map(str.isdigit, self.shown)) <= _SAFE_DIGITS

    def read(self, typed: str) -> str | int | Decimal:
        """Return what was typed as a value of its kind, the present one when nothing was changed.

        Raises ValueError with a sentence for the person.
        """
        value = self._read(typed)
        return self.present if value == self.present else value

    def _read(self, typed: str) -> str | int | Decimal:
        if isinstance(self.present, str):
            # Slack may send other line ends and trim the text, which nobody means as a change.
            same = _lines(typed).strip() == _lines(self.present).strip()
            return self.present if same else typed
        typed = typed.strip()
        if isinstance(self.present, bool):
            if typed not in {"yes", "no"}:
                raise ValueError("Choose yes or no.")
            return typed == "yes"
        if isinstance(self.present, int):
            if not _WHOLE.fullmatch(typed):
                raise ValueError("Write a whole number, such as 3.")
            return int(typed)
        if not _NUMBER.fullmatch(typed):
            raise ValueError("Write a number with a point, such as 250.00.")
        return Decimal(typed)


def offered(case: Case, standing: Standing) -> tuple[Field, ...]:
    """Return the fields that an edit of this request may change, in the order of the policy."""
    action, edit = case.request.action, case.policy.edit
    if action is None or edit is None or "edit" not in case.policy.decisions:
        return ()
    present: Mapping[str, Any] = action.arguments if standing.arguments is None else standing.arguments
    found: list[Field] = []
    room = _ROOM
    for name in dict.fromkeys(edit.fields):
        value = present.get(name)
        # What is not shown whole would come back as its mask.
        if isinstance(value, Masked) or not _can_be_typed(value):
            continue
        room -= len(json.dumps(_shown(value)))
        if room >= 0 and len(found) < MOST_FIELDS:
            found.append(Field(name, value, action.arguments.get(name)))
    return tuple(found)


def _can_be_typed(value: Any) -> TypeGuard[str | int | Decimal]:
    if isinstance(value, str):
        # What hides or would be cut would come back as something else.
        return bool(plain(value, LONGEST_TEXT) == value.replace("\r\n", "\n"))
    if isinstance(value, int):
        return abs(value) < _LARGEST
    return isinstance(value, Decimal) and value.is_finite() and bool(_NUMBER.fullmatch(_shown(value)))


def _shown(value: str | int | Decimal) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
