"""Who the bot is in Slack."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are in Slack, as Slack says."""

    app: str
    workspace: str
    bot_id: str
    bot_user: str
