"""The arguments of a Web API call, however they came: query string, form fields or a JSON body, merged."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, TypeVar

from bot.sandbox.refusals import Json, SlackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

T = TypeVar("T")


class Args:
    """Reads single arguments leniently, as Slack does: JSON inside strings, booleans as 1, 0, true, false."""

    def __init__(self, values: Json) -> None:
        self.values = values

    def has(self, name: str) -> bool:
        """True when the argument was given and is not null."""
        return self.values.get(name) is not None

    def text(self, name: str) -> str:
        """The argument as a string; empty when absent."""
        value = self.values.get(name)
        if value is None:
            return ""
        return value if isinstance(value, str) else json.dumps(value)

    def need(self, name: str) -> str:
        """The argument as a string; SlackError `invalid_arguments` when absent or empty."""
        value = self.text(name)
        if not value:
            raise SlackError(
                "invalid_arguments", f"[ERROR] missing required field: {name} [json-pointer:/{name}]"
            )
        return value

    def flag(self, name: str) -> bool:
        """True for 1, true and "true"."""
        return str(self.values.get(name, "")).lower() in {"1", "true"}

    def whole(self, name: str, default: int) -> int:
        """The argument as a whole number; SlackError `invalid_arguments` for anything else."""
        value = self.text(name)
        try:
            return int(value) if value else default
        except ValueError as error:
            raise SlackError(
                "invalid_arguments", f"[ERROR] must be an integer [json-pointer:/{name}]"
            ) from error

    def tree(self, name: str, error: str) -> Any:
        """The argument as an object or list, parsed if it is a string; SlackError `error` if it is bad."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as broken:
            raise SlackError(error) from broken

    def page(self, items: Sequence[T], default_limit: int) -> tuple[list[T], Json]:
        """One page of the items by `limit` and `cursor`, and the `response_metadata` with the next cursor."""
        limit = self.whole("limit", default_limit)
        if not 1 <= limit <= 1000:
            raise SlackError("invalid_limit")
        start = 0
        if self.text("cursor"):
            try:
                start = int(base64.b64decode(self.text("cursor"), validate=True).removeprefix(b"next:"))
            except (ValueError, binascii.Error) as error:
                raise SlackError("invalid_cursor") from error
        end = start + limit
        following = base64.b64encode(f"next:{end}".encode()).decode() if end < len(items) else ""
        return list(items[start:end]), {"next_cursor": following}


async def read_args(request: web.Request) -> Args:
    """The merged arguments; SlackError `invalid_json` or `json_not_object` for a bad JSON body."""
    values: Json = dict(request.query)
    if request.content_type == "application/json":
        raw = await request.read()
        if raw.strip():
            try:
                body = json.loads(raw)
            except ValueError as error:
                raise SlackError("invalid_json") from error
            if not isinstance(body, dict):
                raise SlackError("json_not_object")
            values |= body
    elif request.method == "POST":
        values |= {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
    return Args(values)
