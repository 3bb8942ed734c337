"""Plain JSON, compact and fast, for the small records of this package; state values go through the Codec."""

from __future__ import annotations

from typing import Any

import orjson


def write_json(value: Any) -> str:
    """Return ``value`` as JSON without spaces. Raises ``TypeError`` for what JSON or UTF-8 cannot hold."""
    return orjson.dumps(value).decode()


def write_sorted(value: Any) -> bytes:
    """Return ``value`` as ``write_json`` does, with keys sorted by their bytes, in UTF-8."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def read_json(text: str) -> Any:
    """Return what ``write_json`` was given. Raises ``ValueError`` for what is no JSON."""
    return orjson.loads(text)
