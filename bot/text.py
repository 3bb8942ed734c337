"""Untrusted text made safe to show: no mention, no link, no formatting, nothing that hides or reorders."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

#: Shown in place of a character that would be invisible or would turn the text around.
REPLACEMENT = "\ufffd"
_KEPT = frozenset("\n\t")
# Cc control, Cf format (bidi overrides, zero width), Co private, Cs surrogate, Zl and Zp line separators.
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
# Zero-width joiner and variation selectors belong to emoji.
_JOINERS = frozenset("\u200d\ufe0f\ufe0e")
#: Slack's clients turn straight quotes into curly ones as one types.
_STRAIGHT = {0x201C: '"', 0x201D: '"', 0x201E: '"', 0x2018: "'", 0x2019: "'"}
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def plain(text: Any, limit: int) -> str:
    """Return ``text`` of at most ``limit`` characters; what was cut is said, what hides is replaced."""
    whole = str(text).replace("\r\n", "\n")
    note = "" if len(whole) <= limit else f"… ({len(whole):,} characters)"
    # What is not shown need not be looked at: it may be very long.
    shown = whole[: max(limit - len(note), 0)] if note else whole
    safe = (
        c if c in _KEPT or c in _JOINERS or unicodedata.category(c) not in _HIDDEN else REPLACEMENT
        for c in shown
    )
    return "".join(safe) + note


def fits(text: Any, limit: int) -> bool:
    """Say whether ``plain`` shows all of the text."""
    return len(str(text).replace("\r\n", "\n")) <= limit


def escaped(text: Any, limit: int) -> str:
    """Return ``text`` for a mrkdwn place: safe as in ``plain``, Slack's three control characters escaped.

    ``limit`` counts what is sent, so that a text of nothing but ``&`` does not grow past it.
    Source: Slack's "Formatting text for app surfaces": & < > are escaped once.
    """
    safe = [_ESCAPES.get(c, c) for c in plain(text, limit)]
    if sum(map(len, safe)) <= limit:
        return "".join(safe)
    kept, room = [], limit - 1
    for piece in safe:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def straight(text: str) -> str:
    """Return the text with straight quotes in place of curly ones."""
    return text.translate(_STRAIGHT)


def worded(value: Any, *, indent: int | None = None) -> str:
    """Return a state value as a person reads it: texts bare, numbers exact, structures as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, int | float | Decimal | datetime):
        return str(value)
    return json.dumps(_jsonable(value), ensure_ascii=False, indent=indent)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_jsonable(item) for item in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def person(id_: str) -> str:
    """Return a mention of a Slack user for a mrkdwn place, or the safe text when it is no user id."""
    return f"<@{id_}>" if is_slack_id(id_, "UW") else escaped(id_, 80)


def group(id_: str) -> str:
    """Return a mention of a group, channel or schedule of a policy for a mrkdwn place, or the safe text."""
    kind, _, name = id_.partition(":")
    if kind == "channel" and is_slack_id(name, "CG"):
        return f"members of <#{name}>"
    if kind == "oncall":
        return f"who is on call for {escaped(name, 60)}"
    return f"<!subteam^{id_}>" if is_slack_id(id_, "S") else escaped(id_, 80)


def is_slack_id(id_: str, first: str) -> bool:
    """Say whether ``id_`` has the form of a Slack id that begins with one of the letters ``first``."""
    return len(id_) > 2 and id_[0] in first and id_.isascii() and id_.isalnum() and id_.isupper()
