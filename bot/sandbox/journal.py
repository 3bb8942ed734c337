"""The log of what went to the app and what it asked for, with secrets masked."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.sandbox.changes import Changes
    from bot.sandbox.refusals import Json

LENGTH = 200
MASK = "[masked]"
_SECRET_KEYS = frozenset({"token", "response_url", "response_urls", "challenge"})
_SECRET_WORDS = re.compile(r"\b(?:xox[a-z]|xapp)-[\w-]+|https?://[^\s\"]+/(?:actions|commands)/\w+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log. `ms` and `outcome` are None while the answer is awaited."""

    id: int
    at: float
    direction: str
    kind: str
    who: str
    summary: str
    detail: Json
    outcome: str | None = None
    ms: float | None = None


def masked(thing: Any) -> Any:
    """A copy of the tree without tokens and response URLs."""
    if isinstance(thing, dict):
        return {key: MASK if key in _SECRET_KEYS and value else masked(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [masked(one) for one in thing]
    return _SECRET_WORDS.sub(MASK, thing) if isinstance(thing, str) else thing


class Journal:
    """The last 200 lines, oldest first."""

    def __init__(self, *, clock: Callable[[], float], changes: Changes, app_user: str) -> None:
        self._clock = clock
        self._changes = changes
        self._app_user = app_user
        self._entries: deque[Entry] = deque(maxlen=LENGTH)
        self._count = 0

    def entries(self) -> list[Entry]:
        """The lines, newest last."""
        return list(self._entries)

    def to_app(self, kind: str, who: str, summary: str, payload: Json) -> Entry:
        """A new line for a delivery whose outcome is not known yet."""
        return self._add(
            direction="to_app",
            kind=kind,
            who=who,
            summary=summary,
            detail=masked(payload),
            outcome=None,
            ms=None,
        )

    def settle(self, entry: Entry, outcome: str, ms: float) -> None:
        """Afterwards the line tells how the delivery ended."""
        for place, one in enumerate(self._entries):
            if one.id == entry.id:
                self._entries[place] = replace(one, outcome=outcome, ms=round(ms, 1))
        self._changes.touch()

    def from_app(self, method: str, args: Json, outcome: str, ms: float) -> Entry:
        """A new line for a call of the app."""
        where = args.get("channel") or args.get("user") or args.get("user_id") or ""
        summary = f"{method} {where}".strip()
        return self._add(
            direction="from_app",
            kind=method,
            who=self._app_user,
            summary=summary,
            detail=masked(args),
            outcome=outcome,
            ms=round(ms, 1),
        )

    def _add(
        self,
        *,
        direction: str,
        kind: str,
        who: str,
        summary: str,
        detail: Json,
        outcome: str | None,
        ms: float | None,
    ) -> Entry:
        self._count += 1
        entry = Entry(self._count, self._clock(), direction, kind, who, summary, detail, outcome, ms)
        self._entries.append(entry)
        self._changes.touch()
        return entry
