"""Logs as events with fields. No tokens, no response_urls, no state values."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import orjson
import structlog

from .redaction import mask

#: Tokens, app tokens, and the addresses that let anyone answer in our name.
_SECRET = re.compile(
    r"xox[a-z]-[\w-]+|xapp-[\w-]+|https?://[\w.:-]+/(?:actions|commands|response|services)/\S+|wss?://\S+"
)


def redact(text: str) -> str:
    """Return the text with everything that looks like a token, a response_url or a secret masked."""
    return mask(_SECRET.sub("***", text))


def _redacted(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


class _Logger:
    """Writes each line to standard error as it is at that moment, at once and whole."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        """Write one line."""
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    debug = info = warning = error = critical = exception = msg


def _as_json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()


def set_up_logs(form: Literal["text", "json"], *, level: int = logging.INFO) -> None:
    """Send structured events, and other libraries' warnings, to standard error.

    Our own lines do not pass through ``logging``: a run that rests says so, and there are thousands a second.
    """
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redacted,
    ]
    last = (
        structlog.processors.JSONRenderer(serializer=_as_json)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=last, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Their debug and info lines hold request bodies, parameters and response_urls.
    for name in ("slack_sdk", "slack_bolt", "signoff.bolt", "aiosqlite", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, last],
        logger_factory=_Logger,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
