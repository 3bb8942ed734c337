"""Working time: what is open when, and how far so much of it reaches, over changes of the clocks too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kit import much
from pydantic import ValidationError

from graph_runtime.calendars import Calendar, add_business_time, is_open, next_opening, openings, opens_at

SECOND, HOUR = 1_000_000, 3_600_000_000
BERLIN = Calendar.model_validate({"tz": "Europe/Berlin", "holidays": ["2026-04-06", "2026-12-25"]})


def at(text: str, zone: str = "Europe/Berlin") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


def said(moment: int, zone: str = "Europe/Berlin") -> str:
    return datetime.fromtimestamp(moment / SECOND, UTC).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def calendar(**changed: Any) -> Calendar:
    return Calendar.model_validate({"tz": "Europe/Berlin", **changed})


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-03-02 09:00", True),  # a Monday
        ("2026-03-02 08:59", False),
        ("2026-03-02 16:59", True),
        ("2026-03-02 17:00", False),
        ("2026-03-01 12:00", False),  # a Sunday
        ("2026-04-06 12:00", False),  # Easter Monday
    ],
)
def test_it_is_open_on_working_days_and_hours_and_on_no_holiday(moment: str, expected: Any):
    assert is_open(BERLIN, at(moment)) is expected


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2026-03-02 10:00", "2026-03-02 10:00"),
        ("2026-03-02 17:00", "2026-03-03 09:00"),
        ("2026-03-06 18:00", "2026-03-09 09:00"),
        ("2026-04-03 17:30", "2026-04-07 09:00"),  # over a weekend and Easter Monday
        ("2026-03-27 20:00", "2026-03-30 09:00"),  # the clocks go forward between
    ],
)
def test_the_next_opening_is_at_the_zones_own_time(moment: str, opens: str):
    assert said(next_opening(BERLIN, at(moment))) == opens


@pytest.mark.parametrize(
    ("moment", "days", "hours", "then"),
    [
        ("2026-03-02 10:00", 0, 2, "2026-03-02 12:00"),
        ("2026-03-02 16:00", 0, 2, "2026-03-03 10:00"),
        ("2026-03-02 16:00", 0, 1, "2026-03-02 17:00"),
        ("2026-03-06 16:00", 1, 0, "2026-03-09 16:00"),
        ("2026-03-07 03:00", 1, 0, "2026-03-10 09:00"),  # Saturday night begins on Monday
        ("2026-04-02 11:00", 2, 0, "2026-04-07 11:00"),  # Friday, then Tuesday
        ("2026-03-27 16:00", 1, 2, "2026-03-31 10:00"),  # over the clocks' going forward
        ("2026-10-23 16:00", 0, 2, "2026-10-26 10:00"),  # and back
    ],
)
def test_time_passes_only_while_it_is_open(moment: str, days: int, hours: int, then: str):
    assert said(add_business_time(BERLIN, at(moment), hours * HOUR, days=days)) == then


def test_a_night_in_which_the_clocks_change_is_as_long_as_it_really_is():
    night = calendar(days="sat", **{"from": "22:00", "to": "06:00"})
    begin = at("2026-03-28 22:00")  # an hour is missing
    assert said(add_business_time(night, begin, 7 * HOUR)) == "2026-03-29 06:00"
    begin = at("2026-10-24 22:00")  # an hour comes twice
    assert said(add_business_time(night, begin, 9 * HOUR)) == "2026-10-25 06:00"
    assert said(add_business_time(night, begin, 9 * HOUR + 60 * SECOND)) == "2026-10-31 22:01"


def test_hours_that_the_clocks_jump_over_are_no_opening():
    gap = calendar(days="sun", **{"from": "02:15", "to": "02:45"})
    begin, end = next(openings(gap, at("2026-03-29 00:00")))
    assert end - begin == HOUR / 2
    assert is_open(gap, begin) and not is_open(gap, end)


def test_a_day_on_in_a_night_counts_from_the_evening_it_began():
    night = calendar(days="mon-fri", **{"from": "22:00", "to": "06:00"})
    assert said(add_business_time(night, at("2026-03-03 03:00"), 0, days=1)) == "2026-03-04 03:00"
    # Saturday early belongs to Friday; the next working day is Monday.
    assert said(add_business_time(night, at("2026-03-07 03:00"), 0, days=1)) == "2026-03-10 03:00"


def test_days_that_meet_go_on_into_each_other():
    always = calendar(days="mon-sun", **{"from": "00:00", "to": "24:00"})
    assert (
        add_business_time(always, at("2026-03-02 10:00"), 100 * HOUR) == at("2026-03-02 10:00") + 100 * HOUR
    )


def test_the_first_of_several_windows_counts_and_none_is_always():
    first = calendar(days="mon-thu", **{"from": "09:30", "to": "16:00"})
    second = calendar(days="fri", **{"from": "06:00", "to": "07:00"})
    assert said(opens_at([first, second], at("2026-03-05 16:10"))) == "2026-03-06 06:00"
    assert opens_at([], 5) == 5


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tz": "Europe/Berlinn"}, "there is no time zone"),
        ({"tz": 3}, "valid string"),
        ({"tz": "../../etc/passwd"}, "there is no time zone"),
        ({"days": "mon-fry"}, "is no day"),
        ({"days": ["monday"]}, "is no day"),
        ({"days": ""}, "at least 1 item"),
        ({"from": "9:00"}, "is no time of day"),
        ({"from": "25:00"}, "is no time of day"),
        ({"from": "24:00"}, "never open"),
        ({"from": "09:00", "to": "09:00"}, "never open"),
        ({"holidays": ["2026-02-30"]}, "valid date"),
        ({"hollidays": []}, "Extra inputs"),
    ],
)
def test_a_calendar_that_is_wrong_is_refused_and_says_where(changed: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        calendar(**changed)


def test_a_calendar_that_is_closed_for_years_says_so():
    days = [(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n)).date().isoformat() for n in range(1_500)]
    closed = calendar(holidays=days)
    with pytest.raises(ValueError, match="does not open"):
        next_opening(closed, at("2026-03-02 10:00"))
    assert not is_open(closed, at("2026-03-02 10:00"))
    rare = calendar(holidays=[day for day in days if day != "2026-03-02"])
    with pytest.raises(ValueError, match="not open so long"):
        add_business_time(rare, at("2026-03-02 10:00"), 30 * HOUR)
    with pytest.raises(ValueError, match="so often"):
        add_business_time(rare, at("2026-03-02 10:00"), 0, days=2)


ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]
)
TIMES = st.sampled_from(["00:00", "02:30", "06:15", "09:00", "13:37", "17:00", "22:00", "23:59"])
DAYS = st.lists(st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]), min_size=1, max_size=7)
#: Around the changes of 2026 and 2011, when Apia left a day out.
MOMENTS = st.one_of(st.integers(1_767_225_600, 1_798_761_600), st.integers(1_325_000_000, 1_325_400_000)).map(
    lambda minute: minute // 60 * 60 * SECOND
)


@st.composite
def calendars(draw: Any) -> Calendar:
    begin, end = draw(st.lists(TIMES, min_size=2, max_size=2, unique=True))
    return Calendar.model_validate({"tz": draw(ZONES), "days": draw(DAYS), "from": begin, "to": end})


def opened(one: Calendar, moment: int) -> bool:
    """Say from the zone's wall clock whether it is open, without the code under test."""
    local = datetime.fromtimestamp(moment // SECOND, UTC).astimezone(ZoneInfo(one.tz))
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    # Two days back, because Apia left a day out.
    for day in (local.date() - timedelta(days=number) for number in range(3)):
        ends = day + timedelta(days=one.to <= one.from_)
        begin = datetime.fromisoformat(f"{day} {one.from_}").replace(tzinfo=ZoneInfo(one.tz)).timestamp()
        end = datetime.fromisoformat(f"{ends} {one.to}").replace(tzinfo=ZoneInfo(one.tz)).timestamp()
        if names[day.weekday()] in one.days and begin <= moment / SECOND < end:
            return True
    return False


@given(calendars(), MOMENTS)
@settings(max_examples=much(50, 150), deadline=None)
def test_open_is_what_the_wall_clock_says(one: Calendar, moment: int):
    assert is_open(one, moment) is opened(one, moment)
    opens = next_opening(one, moment)
    assert opens >= moment and opened(one, opens)
    assert opens == moment or not opened(one, opens - 60 * SECOND)


@given(calendars(), MOMENTS, st.integers(0, 600))
@settings(max_examples=much(10, 30), deadline=None)
def test_open_minutes_are_counted_one_by_one(one: Calendar, moment: int, minutes: int):
    minute = 60 * SECOND
    end = add_business_time(one, moment, minutes * minute)
    # One that opens for a minute a week would be counted for years.
    assume(end - moment <= 21 * 24 * HOUR)
    counted = sum(opened(one, moment + number * minute) for number in range((end - moment) // minute))
    assert counted == minutes


@given(calendars(), MOMENTS, st.integers(0, 10**11), st.integers(0, 10**11))
@settings(max_examples=much(50, 150), deadline=None)
def test_time_added_twice_is_time_added_at_once_and_more_is_never_earlier(
    one: Calendar, moment: int, first: int, second: int
):
    once, twice = add_business_time(one, moment, first + second), add_business_time(one, moment, first)
    assert add_business_time(one, twice, second) in {once, next_opening(one, once)}
    assert once >= twice
    assert add_business_time(one, moment, first, days=2) >= add_business_time(one, moment, first, days=1)
