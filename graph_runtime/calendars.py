"""When people work and when changes may be made, as pure functions of a moment.

A calendar says in a time zone's own words on which days and from when to when it is open. Moments are
microseconds since the epoch; hours that a change of the clocks takes away or gives twice are counted as they
really pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .clock import SECOND

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Longer than any run of holidays; past it a calendar is as good as closed for ever.
_HORIZON = 1_100


def _read_zone(name: Any) -> Any:
    if not isinstance(name, str):
        return name
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ValueError(f"there is no time zone {name!r}; write it like Europe/Berlin") from None
    return name


def _read_days(said: Any) -> Any:
    """Return day names for texts like ``mon-thu`` or ``mon-wed, sat``; lists are taken as they are."""
    if not isinstance(said, str):
        return said
    found: list[str] = []
    for part in said.lower().replace(",", " ").split():
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f"{part!r} is no day; write days like mon-fri or mon, wed, sat")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        found += [_DAYS[number % 7] for number in range(begin, end + 1 if end >= begin else end + 8)]
    return found


def _read_time(said: Any) -> Any:
    if not isinstance(said, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d|24:00", said):
        raise ValueError(f"{said!r} is no time of day; write it like 09:30")
    return said


Zone = Annotated[str, BeforeValidator(_read_zone)]
Days = Annotated[tuple[str, ...], BeforeValidator(_read_days), Field(min_length=1)]
TimeOfDay = Annotated[str, BeforeValidator(_read_time)]


class Calendar(BaseModel):
    """Working days and hours in one time zone, without holidays. ``to`` before ``from`` is a day later."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    #: IANA name of the time zone.
    tz: Zone
    #: ``mon-fri``, or a list of day names; the day that it opens on.
    days: Days = _DAYS[:5]
    from_: TimeOfDay = Field(default="09:00", alias="from")
    to: TimeOfDay = "17:00"
    #: Days on which it does not open.
    holidays: tuple[date, ...] = ()

    @model_validator(mode="after")
    def _opens(self) -> Self:
        if unknown := [day for day in self.days if day not in _DAYS]:
            raise ValueError(f"{unknown[0]!r} is no day; write days like mon-fri or mon, wed, sat")
        if self.from_ in {"24:00", self.to}:
            raise ValueError("it would never open: from and to are the same moment")
        return self

    def opening_on(self, day: date) -> tuple[int, int] | None:
        """Return from when to when it is open on what its zone calls this day; None when it is closed."""
        if _DAYS[day.weekday()] not in self.days or day in _set(self.holidays):
            return None
        begin = _moment(day, self.from_, self.tz)
        end = _moment(day + timedelta(days=self.to <= self.from_), self.to, self.tz)
        # Clocks may jump over all of it.
        return (begin, end) if end > begin else None


@lru_cache(maxsize=64)
def _set(days: tuple[date, ...]) -> frozenset[date]:
    return frozenset(days)


def _moment(day: date, said: str, zone: str) -> int:
    hours, minutes = int(said[:2]), int(said[3:])
    there = datetime.combine(day, time(hours % 24, minutes), ZoneInfo(zone)) + timedelta(days=hours // 24)
    return round(there.timestamp()) * SECOND


def openings(calendar: Calendar, at: int) -> Iterator[tuple[int, int]]:
    """Yield the times it is open from the one that ``at`` lies in, or the next."""
    today = _day(calendar, at)
    for number in range(-2, _HORIZON):
        found = calendar.opening_on(today + timedelta(days=number))
        if found is not None and found[1] > at:
            yield found


def is_open(calendar: Calendar, at: int) -> bool:
    """Say whether it is open at this moment; at the moment of closing it is closed."""
    opening = next(openings(calendar, at), None)
    return opening is not None and opening[0] <= at


def next_opening(calendar: Calendar, at: int) -> int:
    """Return ``at`` when it is open then, else when it opens next. Raises ``ValueError`` when never."""
    for begin, _ in openings(calendar, at):
        return max(begin, at)
    raise ValueError(f"the calendar does not open within {_HORIZON} days")


def add_business_time(calendar: Calendar, at: int, microseconds: int, *, days: int = 0) -> int:
    """Return the moment after so much open time, and after so many working days before that.

    A working day on is as long after that day's opening, at its closing at the latest. What begins while it
    is closed begins with the next opening. Raises ``ValueError`` past the calendar's horizon.
    """
    now = next_opening(calendar, at)
    if days:
        now = _days_on(calendar, now, days)
    if not microseconds:
        return now
    for begin, end in openings(calendar, now):
        now = max(begin, now)
        if now + microseconds <= end:
            return now + microseconds
        microseconds -= end - now
        now = end
    raise ValueError(f"the calendar is not open so long within {_HORIZON} days")


def _days_on(calendar: Calendar, at: int, days: int) -> int:
    """Return the moment so many opening days later, as long after opening."""
    day = _day(calendar, at)
    opening = calendar.opening_on(day)
    if opening is None or at < opening[0]:
        day -= timedelta(days=1)  # in the night that a day began
        opening = calendar.opening_on(day)
    since = at - opening[0] if opening is not None else 0
    for _ in range(_HORIZON):
        day += timedelta(days=1)
        found = calendar.opening_on(day)
        if found is None:
            continue
        days -= 1
        if not days:
            return min(found[0] + since, found[1])
    raise ValueError(f"the calendar does not open so often within {_HORIZON} days")


def _day(calendar: Calendar, at: int) -> date:
    return datetime.fromtimestamp(at // SECOND, UTC).astimezone(ZoneInfo(calendar.tz)).date()


def opens_at(windows: Sequence[Calendar], at: int) -> int:
    """Return the first moment from ``at`` on at which one of the windows is open; ``at`` without windows."""
    return min((next_opening(window, at) for window in windows), default=at)
