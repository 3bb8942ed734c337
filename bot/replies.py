"""What Slack said when a call failed, whatever came back: its JSON, a proxy's page, or nothing."""

from __future__ import annotations

from collections.abc import Mapping

from slack_sdk.errors import SlackApiError


def error_code(error: SlackApiError) -> str:
    """Return Slack's error code, else ``http_500`` and the like for an answer that is none of Slack's."""
    data = getattr(error.response, "data", None)
    code = data.get("error") if isinstance(data, Mapping) else None
    return str(code) if code else f"http_{_status(error)}"


def seconds_to_wait(error: SlackApiError) -> float | None:
    """Return how long Slack wants to be left alone with this call; None when it did not say so."""
    if _status(error) != 429 and error_code(error) != "ratelimited":
        return None
    try:
        return min(max(float(error.response.headers.get("Retry-After", 1)), 0.0), 3_600.0)
    except ValueError:
        return 1.0


def _status(error: SlackApiError) -> int:
    # slack_sdk hands on aiohttp's own response when the body is no JSON.
    response = error.response
    for name in ("status_code", "status"):
        if isinstance(found := getattr(response, name, None), int):
            return found
    return 0
