"""What people type in commands: people, days, and links as Slack wraps them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from .text import is_slack_id

#: As Slack sends a mention in a command whose text it escapes.
_MENTION = re.compile(r"<@([A-Z0-9]+)(?:\|[^>]*)?>")
_LINK = re.compile(r"<((?:https?|mailto):[^|>]+)(?:\|([^>]*))?>")


class MistypedError(Exception):
    """What was typed is no command; the text says what to type."""


def read_person(text: str, say: str = "name a person, like @bob, and choose them from the list.") -> str:
    """Return the id of who is mentioned. Raises :class:`MistypedError`."""
    found = _MENTION.fullmatch(text.strip())
    who = found[1] if found else text.strip()
    if not is_slack_id(who, "UW"):
        raise MistypedError(f"Nothing was changed: {say}")
    return who


def read_moment(text: str, *, ends: bool) -> int:
    """Return microseconds for a day, its end or its beginning, or a time of a day; UTC if it names no zone.

    Raises :class:`MistypedError`.
    """
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            day = date.fromisoformat(text) + timedelta(days=ends)
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        raise MistypedError(
            f"Nothing was changed: {text[:40]!r} is no day; write it like 2026-12-05 or 2026-12-05T14:00."
        ) from None


def until_words(until: int, show: Callable[[int], str]) -> str:
    """Return an end like ``through Dec 5 (UTC)`` where it is that of a day, else as ``show`` shows it."""
    moment = datetime.fromtimestamp(until / 1_000_000, UTC)
    if (moment.hour, moment.minute, moment.second, moment.microsecond) != (0, 0, 0, 0):
        return f"until {show(until)}"
    day = moment - timedelta(days=1)
    return f"through {day:%b} {day.day}, {day.year} (UTC)"


def unwrapped(text: str) -> str:
    """Return what was typed, without what Slack makes of links and of its own control characters."""
    plain = _LINK.sub(lambda found: found[2] or found[1], text)
    return plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
