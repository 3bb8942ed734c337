"""A list of faults found in an object tree, in the words Slack uses, each with its JSON pointer."""

from __future__ import annotations

from typing import Any


class Findings:
    """Collects what is wrong; nothing here raises."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, at: str, sentence: str) -> None:
        """Afterwards the fault at the pointer `at` is on the list."""
        self.messages.append(f"[ERROR] {sentence} [json-pointer:{at}]")

    def string(self, at: str, value: Any, most: int, least: int = 1) -> None:
        """Faults unless `value` is a string of `least` to `most` characters."""
        if value is None:
            self.add(at, f"missing required field: {at.rsplit('/', 1)[-1]}")
        elif not isinstance(value, str):
            self.add(at, "must be a string")
        elif len(value) > most:
            self.add(at, f"must be less than {most + 1} characters")
        elif len(value) < least:
            self.add(at, f"must be more than {least - 1} characters")

    def text(self, at: str, value: Any, most: int, *, plain: bool = False) -> None:
        """Faults unless `value` is a text object (a plain one if `plain`) of 1 to `most` characters."""
        if value is None:
            self.add(at, f"missing required field: {at.rsplit('/', 1)[-1]}")
        elif not isinstance(value, dict):
            self.add(at, "must be an object")
        elif value.get("type") not in ({"plain_text"} if plain else {"plain_text", "mrkdwn"}):
            self.add(f"{at}/type", "must be a valid enum value")
        else:
            self.string(f"{at}/text", value.get("text"), most)

    def items(self, at: str, value: Any, least: int, most: int, *, optional: bool = False) -> list[Any]:
        """The list at `at`, empty when it is none; faults unless it has `least` to `most` items."""
        if value is None and optional:
            return []
        if value is None:
            self.add(at, f"missing required field: {at.rsplit('/', 1)[-1]}")
            return []
        if not isinstance(value, list):
            self.add(at, "must be an array")
            return []
        if len(value) > most:
            self.add(at, f"no more than {most} items allowed")
        if len(value) < least:
            self.add(at, f"no fewer than {least} items allowed")
        return value

    def choice(self, at: str, value: Any, allowed: set[str]) -> None:
        """Faults unless `value` is absent or one of `allowed`."""
        if value is not None and value not in allowed:
            self.add(at, "must be a valid enum value")

    def whole(self, at: str, value: Any, least: int, most: int) -> None:
        """Faults unless `value` is absent or a whole number from `least` to `most`."""
        if value is None:
            return
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.add(at, f"must be a whole number from {least} to {most}")
