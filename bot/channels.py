"""What Slack says of channels and of our being in them: cards that lie there are looked at again.

An event is a bell. Whether a card still stands is seen by drawing it; ``fallback.py`` says what comes then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from graph_runtime import Outbox

from .identity import Identity
from .text import is_slack_id


class Listens(Protocol):
    """What of a Bolt app is needed here."""

    def event(self, event: str, /) -> Callable[..., Any]:
        """Return what registers a listener for an event."""
        ...


class Channels:
    """Listens for channels that go away, and for our being taken out of one."""

    def __init__(self, outbox: Outbox, identity: Identity) -> None:
        self._outbox = outbox
        self._identity = identity

    def listen(self, app: Listens) -> None:
        """Register every listener. The manifest declares what stands here; a test compares the two."""
        app.event("channel_archive")(self.on_change)
        app.event("channel_deleted")(self.on_change)
        app.event("channel_left")(self.on_change)
        app.event("group_archive")(self.on_change)
        app.event("group_deleted")(self.on_change)
        app.event("group_left")(self.on_change)
        app.event("member_left_channel")(self.on_member_left)

    async def on_change(self, event: dict[str, Any]) -> None:
        """Look at the cards of open requests in this channel; delivered twice, it is looked at twice."""
        channel = event.get("channel")
        if isinstance(channel, str) and is_slack_id(channel, "CDG"):
            await self._outbox.look_again("slack", self._identity.workspace, channel)

    async def on_member_left(self, event: dict[str, Any]) -> None:
        """Do so when it was the bot that left."""
        if event.get("user") == self._identity.bot_user:
            await self.on_change(event)
