"""Stands in for what lies outside of the examples: files in a folder, which a demo and a test can look at."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def outside(name: str) -> Path:
    """Return the file of that name in the folder $SIGNOFF_OUTSIDE, or here."""
    return Path(os.environ.get("SIGNOFF_OUTSIDE", ".")) / name


class Book:
    """What happened somewhere outside: a file with a line for each thing, never changed."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, **said: Any) -> None:
        """Note one more thing."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")

    def lines(self, what: str | None = None) -> list[dict[str, Any]]:
        """Return what was noted, oldest first; of one kind when it is named."""
        if not self._file.exists():
            return []
        found = [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]
        return [line for line in found if what in {None, line["what"]}]
