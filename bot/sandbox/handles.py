"""Slack's short-lived handles: a trigger opens one modal in 3 s, a response URL answers 5 times in 30 min."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bot.sandbox.refusals import SlackError

if TYPE_CHECKING:
    from collections.abc import Callable

TRIGGER_SECONDS = 3.0
RESPONSE_URL_USES = 5
RESPONSE_URL_SECONDS = 30 * 60.0


@dataclass(frozen=True, slots=True)
class Trigger:
    """Who may be shown a modal, and from which view the interaction came, if from one."""

    user: str
    issued_at: float
    view_id: str | None = None
    used: bool = False


@dataclass(frozen=True, slots=True)
class ResponseUrl:
    """Where an answer goes. `source` is "message", "ephemeral" or "command"; `ts` names the original."""

    user: str
    channel: str
    source: str
    issued_at: float
    ts: str | None = None
    thread_ts: str | None = None
    uses: int = 0


class Handles:
    """Hands out triggers and response URLs and refuses them when they are spent or too old."""

    def __init__(self, *, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._clock = clock
        self._new_id = new_id
        self._triggers: dict[str, Trigger] = {}
        self._response_urls: dict[str, ResponseUrl] = {}
        self.base_url = ""

    def issue_trigger(self, user: str, view_id: str | None = None) -> str:
        """A new trigger id, good for one use until 3 s from now."""
        now = self._clock()
        trigger_id = f"{int(now * 1000)}.{len(self._triggers) + 1}.{self._new_id()}"
        self._triggers[trigger_id] = Trigger(user, now, view_id)
        return trigger_id

    def look_at_trigger(self, trigger_id: str) -> Trigger:
        """The trigger, still unused; raises SlackError when unknown, used or older than 3 s."""
        found = self._triggers.get(trigger_id)
        if found is None:
            raise SlackError("invalid_trigger_id")
        if found.used:
            raise SlackError("exchanged_trigger_id")
        if self._clock() - found.issued_at > TRIGGER_SECONDS:
            raise SlackError("expired_trigger_id")
        return found

    def use_trigger(self, trigger_id: str) -> Trigger:
        """The trigger; afterwards it is spent."""
        found = self.look_at_trigger(trigger_id)
        self._triggers[trigger_id] = replace(found, used=True)
        return found

    def issue_response_url(
        self, *, user: str, channel: str, source: str, ts: str | None = None, thread_ts: str | None = None
    ) -> str:
        """A new URL that answers `user` in `channel`; the last part of its path is the secret."""
        kind = "commands" if source == "command" else "actions"
        key = f"{self._new_id()}{self._new_id()}"
        self._response_urls[key] = ResponseUrl(user, channel, source, self._clock(), ts, thread_ts)
        return f"{self.base_url}/{kind}/{key}"

    def use_response_url(self, key: str) -> ResponseUrl:
        """What the URL answers; afterwards it has one use less. Raises SlackError when spent or too old."""
        found = self._response_urls.get(key)
        if found is None:
            raise SlackError("invalid_url")
        if self._clock() - found.issued_at > RESPONSE_URL_SECONDS:
            raise SlackError("expired_url")
        if found.uses >= RESPONSE_URL_USES:
            raise SlackError("used_url")
        self._response_urls[key] = replace(found, uses=found.uses + 1)
        return found
