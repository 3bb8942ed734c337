"""What an administrator does to the workspace, told to the app as by Slack, and bad days that are ordered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.sandbox.directory import user_json
from bot.sandbox.faults import Fault
from bot.sandbox.refusals import Json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bot.sandbox.delivery import Delivery
    from bot.sandbox.server import Sandbox


class Office:
    """Changes the workspace and sends the app the events of it that `manifest.yml` subscribes to.

    Each is a door too: POST /sandbox/admin/{deed} with the arguments by name, for example
    {"channel": "C0DEPLOYS"} to /sandbox/admin/archive.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.deeds: dict[str, Callable[..., Awaitable[Any]]] = {
            "admin/archive": self.archive,
            "admin/unarchive": self.unarchive,
            "admin/delete_channel": self.delete_channel,
            "admin/invite": self.invite,
            "admin/remove": self.remove,
            "admin/delete_message": self.delete_message,
            "admin/deactivate": self.deactivate,
            "admin/set_group": self.set_group,
            "admin/revoke_token": self.revoke_token,
            "admin/fault": self.fault,
            "admin/duplicate": self.duplicate,
            "admin/disconnect": self.disconnect,
            "admin/deadline": self.deadline,
            "admin/calm": self.calm,
        }

    async def do(self, deed: str, body: Json) -> Delivery | None:
        """What the deed of this name delivers to the app; raises ValueError or TypeError for a wrong body."""
        done: Delivery | None = await self.deeds[deed](**{k: v for k, v in body.items() if k != "as"})
        return done

    # -- the workspace

    async def archive(self, channel: str) -> Delivery:
        """Afterwards the channel is archived, and the app has heard of it."""
        self._sandbox.workspace.archive(channel)
        return await self._tell({"type": f"{self._kind(channel)}_archive", "channel": channel, "user": ""})

    async def unarchive(self, channel: str) -> None:
        """Afterwards the channel is open again; the app subscribes to no event of that."""
        self._sandbox.workspace.archive(channel, archived=False)

    async def delete_channel(self, channel: str) -> Delivery:
        """Afterwards the channel is not there any more, and the app has heard of it."""
        kind = self._kind(channel)
        del self._sandbox.workspace.channels[channel]
        self._sandbox.changes.touch()
        return await self._tell({"type": f"{kind}_deleted", "channel": channel})

    async def invite(self, channel: str, user: str = "") -> None:
        """Afterwards the user (default: the app's bot) is in the channel."""
        self._sandbox.workspace.invite(channel, user or self._sandbox.workspace.bot_user_id)

    async def remove(self, channel: str, user: str = "") -> Delivery:
        """Afterwards the user (default: the app's bot) is not in the channel, and the app has heard of it."""
        space = self._sandbox.workspace
        who = user or space.bot_user_id
        kind = self._kind(channel)
        space.kick(channel, who)
        if who == space.bot_user_id:
            await self._tell({"type": f"{kind}_left", "channel": channel, "actor_id": ""})
        left = {"type": "member_left_channel", "user": who, "channel": channel, "channel_type": "C"}
        return await self._tell({**left, "team": space.team_id})

    async def delete_message(self, channel: str, ts: str) -> None:
        """Afterwards the message is gone; the app subscribes to no message events."""
        self._sandbox.workspace.delete_message(channel, ts)

    async def deactivate(self, user: str) -> Delivery:
        """Afterwards the account is closed, and the app has heard of it."""
        space = self._sandbox.workspace
        space.deactivate(user)
        return await self._tell({"type": "user_change", "user": user_json(space, space.user(user))})

    async def set_group(self, group: str, users: list[str]) -> Delivery:
        """Afterwards the group has exactly these users, and the app has heard of it."""
        space = self._sandbox.workspace
        before = set(space.groups[group].users) if group in space.groups else set()
        space.set_group(group, users)
        return await self._tell(
            {
                "type": "subteam_members_changed",
                "subteam_id": group,
                "team_id": space.team_id,
                "added_users": sorted(set(users) - before),
                "removed_users": sorted(before - set(users)),
            }
        )

    async def revoke_token(self, *, revoked: bool = True) -> None:
        """Afterwards calls with the bot's token are refused with `token_revoked`; with False it is good."""
        self._sandbox.workspace.token_revoked = revoked

    # -- bad days

    async def fault(self, method: str, kind: str, times: int = 1, retry_after: int = 1) -> None:
        """Afterwards the next calls of the method go wrong; raises ValueError for an unknown kind."""
        if kind == "hold_after_store":
            raise ValueError("hold_after_store is for tests only: nobody could let it go from here")
        self._sandbox.faults.add(Fault(method, kind, times, retry_after))

    async def duplicate(self, copies: int = 1) -> None:
        """Afterwards the next delivery is sent so many more times."""
        self._sandbox.faults.duplicate_next_delivery(copies)

    async def disconnect(self, reason: str | None = "refresh_requested") -> None:
        """Afterwards the app was asked to leave its connections; with null they were cut."""
        await self._sandbox.disconnect_sockets(reason)

    async def deadline(self, seconds: float) -> None:
        """Afterwards the app has so long to acknowledge."""
        self._sandbox.deadline = float(seconds)

    async def calm(self) -> None:
        """Afterwards nothing bad is planned."""
        self._sandbox.faults.clear()

    def _kind(self, channel: str) -> str:
        return "group" if self._sandbox.workspace.channel(channel).is_private else "channel"

    async def _tell(self, event: Json) -> Delivery:
        return await self._sandbox.deliver("events_api", self._sandbox.event(event))
