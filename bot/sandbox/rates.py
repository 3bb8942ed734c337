"""Slack's rate limits: so many calls a minute for each method, one message a second for each channel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Calls a minute, by Slack's tiers (docs.slack.dev/apis/web-api/rate-limits).
TIER_1, TIER_2, TIER_3, TIER_4 = 1, 20, 50, 100
PER_MINUTE = {
    "apps.connections.open": TIER_3,
    "auth.test": 600,
    "bots.info": TIER_3,
    "chat.delete": TIER_3,
    "chat.postEphemeral": TIER_4,
    "chat.update": TIER_3,
    "chat.getPermalink": 600,
    "conversations.history": TIER_3,
    "conversations.info": TIER_3,
    "conversations.join": TIER_3,
    "conversations.list": TIER_2,
    "conversations.members": TIER_4,
    "conversations.open": TIER_3,
    "conversations.replies": TIER_3,
    "reactions.add": TIER_3,
    "team.info": TIER_3,
    "usergroups.list": TIER_2,
    "usergroups.users.list": TIER_2,
    "users.info": TIER_4,
    "users.list": TIER_2,
    "users.lookupByEmail": TIER_3,
    "views.open": TIER_4,
    "views.publish": TIER_4,
    "views.push": TIER_4,
    "views.update": TIER_4,
}
# chat.postMessage: about one a second for each channel with short bursts, several hundred a minute in all.
POST_PER_CHANNEL = (1.0, 5)
POST_PER_WORKSPACE = (300 / 60, 300)
RESPONSE_URL = (1.0, 5)


class RateLimits:
    """Token buckets on the sandbox's clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def wait_for(self, method: str, place: str = "") -> int:
        """0 when the call may pass (and is counted), else the whole seconds for `Retry-After`.

        `place` is the channel of a chat.postMessage, or the secret of a "response_url".
        """
        if method == "chat.postMessage":
            each = self._take(f"post:{place}", *POST_PER_CHANNEL)
            return each or self._take("post", *POST_PER_WORKSPACE)
        if method == "response_url":
            return self._take(f"url:{place}", *RESPONSE_URL)
        per_minute = PER_MINUTE.get(method)
        return 0 if per_minute is None else self._take(method, per_minute / 60, per_minute)

    def _take(self, bucket: str, per_second: float, size: float) -> int:
        now = self._clock()
        left, seen = self._left.get(bucket, (size, now))
        left = min(size, left + max(0.0, now - seen) * per_second)
        if left < 1:
            self._left[bucket] = (left, now)
            return max(1, math.ceil((1 - left) / per_second))
        self._left[bucket] = (left - 1, now)
        return 0
