"""What is in the workspace and what each person sees of it; all in memory and instantly done."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from bot.sandbox.elements import state_with
from bot.sandbox.handles import Handles
from bot.sandbox.modals import Modals
from bot.sandbox.records import Channel, Ephemeral, Group, Message, Seed, SlashCommand, Toast, User
from bot.sandbox.refusals import Json, NotOnScreenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bot.sandbox.changes import Changes

# What the app was granted; chat:write.public is not among it, so it must be invited to channels.
DEFAULT_SCOPES = frozenset(
    {
        "channels:history",
        "channels:join",
        "channels:read",
        "chat:write",
        "commands",
        "groups:history",
        "groups:read",
        "im:history",
        "im:read",
        "im:write",
        "reactions:write",
        "team:read",
        "usergroups:read",
        "users:read",
        "users:read.email",
    }
)


# How many earlier versions of a message a slow client may still show.
KEPT_VERSIONS = 5


def order(ts: str) -> Decimal:
    """A `ts` as a number to compare by; raises ValueError for anything else."""
    try:
        number = Decimal(ts)
    except InvalidOperation as error:
        raise ValueError(f"not a message timestamp: {ts!r}") from error
    if not number.is_finite():
        raise ValueError(f"not a message timestamp: {ts!r}")
    return number


class Workspace:
    """One team with its users, groups, channels and messages, and the screens of its people."""

    def __init__(
        self, seed: Seed, *, clock: Callable[[], float], new_id: Callable[[], str], changes: Changes
    ) -> None:
        self.team_id = seed.team_id
        self.team_name = seed.team_name
        self.team_domain = seed.team_domain
        self.app_id = seed.app_id
        self.app_name = seed.app_name
        self.bot_user_id = seed.bot_user_id
        self.bot_id = seed.bot_id
        self.commands = seed.commands
        self.scopes = DEFAULT_SCOPES
        self.token_revoked = False
        self.clock = clock
        self.new_id = new_id
        self.changes = changes
        bot = User(
            seed.bot_user_id, seed.app_name, seed.app_name, team_id=seed.team_id, is_bot=True, color="#1d1c1d"
        )
        self.users: dict[str, User] = {user.id: user for user in (*seed.users, bot)}
        self.groups: dict[str, Group] = {group.id: group for group in seed.groups}
        self.channels: dict[str, Channel] = {channel.id: channel for channel in seed.channels}
        self.ephemerals: list[Ephemeral] = []
        self.toasts: list[Toast] = []
        self.handles = Handles(clock=clock, new_id=new_id)
        self.modals = Modals(new_id=new_id, changes=changes)
        self._messages: dict[str, dict[str, Message]] = {}
        self._earlier: dict[tuple[str, str], deque[list[Json]]] = {}
        self._typed: dict[tuple[str, str, str], dict[str, dict[str, Json]]] = {}
        self._read: dict[tuple[str, str], str] = {}
        self._last_micros = 0

    # -- time and names

    def next_ts(self) -> str:
        """A timestamp nobody had before, later than all others, in Slack's format."""
        micros = int(self.clock() * 1_000_000) // 100 * 100
        self._last_micros = max(micros, self._last_micros) + 100
        return f"{self._last_micros // 1_000_000}.{self._last_micros % 1_000_000:06d}"

    def user(self, user: str) -> User:
        """The user; raises NotOnScreenError when there is none."""
        if user not in self.users:
            raise NotOnScreenError(f"no user {user!r}; there is: {', '.join(self.users)}")
        return self.users[user]

    def channel(self, channel: str) -> Channel:
        """The channel; raises NotOnScreenError when there is none."""
        if channel not in self.channels:
            raise NotOnScreenError(f"no channel {channel!r}; there is: {', '.join(self.channels)}")
        return self.channels[channel]

    # -- changes a test or an administrator makes

    def add_user(self, user: User, channels: Iterable[str] = ()) -> User:
        """Afterwards the user exists (replacing one with the same id) and is a member of `channels`."""
        self.users[user.id] = user
        for channel in channels:
            self.invite(channel, user.id)
        self.changes.touch()
        return user

    def deactivate(self, user: str) -> None:
        """Afterwards `users.info` says `deleted`; group and channel memberships stay as they were."""
        self.users[user] = replace(self.user(user), deleted=True)
        self.changes.touch()

    def set_group(self, group: str, users: Iterable[str]) -> None:
        """Afterwards the group (by id) has exactly these users; an unknown group raises NotOnScreenError."""
        if group not in self.groups:
            raise NotOnScreenError(f"no group {group!r}; there is: {', '.join(self.groups)}")
        self.groups[group] = replace(self.groups[group], users=tuple(users))
        self.changes.touch()

    def add_group(self, group: Group) -> Group:
        """Afterwards the group exists, replacing one with the same id."""
        self.groups[group.id] = group
        self.changes.touch()
        return group

    def add_channel(self, channel: Channel) -> Channel:
        """Afterwards the channel exists, replacing one with the same id."""
        self.channels[channel.id] = channel
        self.changes.touch()
        return channel

    def add_command(self, command: SlashCommand) -> SlashCommand:
        """Afterwards the command can be typed, replacing one of the same name."""
        others = (one for one in self.commands if one.command != command.command)
        self.commands = (*others, command)
        self.changes.touch()
        return command

    def archive(self, channel: str, *, archived: bool = True) -> None:
        """Afterwards the channel is archived, or open again with `archived=False`."""
        self.channels[channel] = replace(self.channel(channel), is_archived=archived)
        self.changes.touch()

    def invite(self, channel: str, user: str) -> None:
        """Afterwards the user is a member of the channel."""
        found = self.channel(channel)
        self.channels[channel] = replace(found, members=found.members | {user})
        self.changes.touch()

    def kick(self, channel: str, user: str | None = None) -> None:
        """Afterwards the user (default: the app's bot) is no member of the channel."""
        found = self.channel(channel)
        self.channels[channel] = replace(found, members=found.members - {user or self.bot_user_id})
        self.changes.touch()

    # -- channels

    def open_dm(self, user: str) -> Channel:
        """The direct message between the app and `user`, opened if there was none."""
        channel_id = "D" + user[1:]
        if channel_id not in self.channels:
            members = frozenset({user, self.bot_user_id})
            self.channels[channel_id] = Channel(channel_id, "", members, im_user=user)
            self.changes.touch()
        return self.channels[channel_id]

    def sees(self, user: str, channel: str) -> bool:
        """True for members, and for full members of the team in every public channel."""
        who, where = self.user(user), self.channel(channel)
        if user in where.members:
            return True
        own = who.team_id == self.team_id and not who.is_guest
        return own and not where.is_private and not where.is_im

    # -- messages

    def post(
        self,
        *,
        channel: str,
        user: str,
        text: str,
        blocks: list[Json] | None = None,
        metadata: Json | None = None,
        thread_ts: str | None = None,
        broadcast: bool = False,
    ) -> Message:
        """The message as stored.

        A reply to a reply goes to its root. A reply whose root is gone becomes a message of the channel,
        without an error, as Slack does it (slack-go/slack#1571).
        """
        root = self.message(channel, thread_ts) if thread_ts else None
        message = Message(
            channel=channel,
            ts=self.next_ts(),
            user=user,
            text=text,
            blocks=blocks or [],
            metadata=metadata,
            thread_ts=(root.thread_ts or root.ts) if root else None,
            app=user == self.bot_user_id,
            broadcast=broadcast and root is not None,
        )
        self._messages.setdefault(channel, {})[message.ts] = message
        self.changes.touch()
        return message

    def message(self, channel: str, ts: str) -> Message | None:
        """The message, or None when it never was or is deleted."""
        found = self._messages.get(channel, {}).get(ts)
        return None if found is None or found.deleted else found

    def put(self, message: Message) -> Message:
        """Afterwards the message with this channel and `ts` is `message`."""
        before = self._messages.get(message.channel, {}).get(message.ts)
        if before is not None and before.blocks != message.blocks:
            kept = self._earlier.setdefault((message.channel, message.ts), deque(maxlen=KEPT_VERSIONS))
            kept.appendleft(before.blocks)
        self._messages.setdefault(message.channel, {})[message.ts] = message
        self.changes.touch()
        return message

    def earlier_blocks(self, channel: str, ts: str) -> list[list[Json]]:
        """What the message showed before its edits, newest first: a slow client may still show it."""
        return list(self._earlier.get((channel, ts), ()))

    def delete_message(self, channel: str, ts: str) -> None:
        """Afterwards the message is gone for everybody; raises NotOnScreenError when it was not there."""
        found = self.message(channel, ts)
        if found is None:
            raise NotOnScreenError(f"no message {ts!r} in {channel}")
        self.put(replace(found, deleted=True))

    def messages(self, channel: str, thread_ts: str | None = None) -> list[Message]:
        """What stands in the channel itself, or the replies below `thread_ts`, no root; oldest first."""
        everything = [message for message in self._messages.get(channel, {}).values() if not message.deleted]
        if thread_ts is None:
            return [message for message in everything if message.is_root]
        return [message for message in everything if not message.is_root and message.thread_ts == thread_ts]

    def everything_in(self, channel: str) -> list[Message]:
        """All messages of the channel, replies included; oldest first."""
        return [message for message in self._messages.get(channel, {}).values() if not message.deleted]

    # -- what one person sees

    def whisper(
        self,
        *,
        user: str,
        channel: str,
        text: str,
        blocks: list[Json] | None = None,
        thread_ts: str | None = None,
    ) -> Ephemeral:
        """A message only `user` sees, until they dismiss it."""
        shown = Ephemeral(
            "E" + self.new_id(), user, channel, self.next_ts(), text, blocks or [], thread_ts=thread_ts
        )
        self.ephemerals.append(shown)
        self.changes.touch()
        return shown

    def ephemeral(self, user: str, ts: str) -> Ephemeral | None:
        """The private message with this `ts`, or None."""
        return next((one for one in self.ephemerals if one.user == user and one.ts == ts), None)

    def replace_ephemeral(self, old: Ephemeral, new: Ephemeral | None) -> None:
        """Afterwards `new` stands where `old` was; with None it is gone."""
        self.ephemerals = [
            shown for one in self.ephemerals if (shown := new if one is old else one) is not None
        ]
        self.changes.touch()

    def warn(self, user: str, text: str) -> None:
        """Afterwards the person sees a warning triangle with these words."""
        if user in self.users:
            self.toasts.append(Toast("W" + self.new_id(), user, text, self.clock()))
            self.changes.touch()

    def dismiss(self, user: str, thing: str) -> None:
        """Afterwards the person's private message or warning with this id is gone."""
        self.ephemerals = [one for one in self.ephemerals if (one.id, one.user) != (thing, user)]
        self.toasts = [one for one in self.toasts if (one.id, one.user) != (thing, user)]
        self.changes.touch()

    def typed(self, channel: str, ts: str, user: str) -> dict[str, dict[str, Json]]:
        """What the person chose in the inputs of that message so far."""
        return copy.deepcopy(self._typed.get((channel, ts, user), {}))

    def choose(self, channel: str, ts: str, user: str, *, block: Json, element: Json, value: Any) -> None:
        """Afterwards the element of that message holds `value` for this person."""
        held = self._typed.setdefault((channel, ts, user), {}).setdefault(str(block["block_id"]), {})
        held[str(element["action_id"])] = state_with(element, value)

    def mark_read(self, user: str, channel: str) -> None:
        """Afterwards nothing in the channel is unread for this person."""
        newest = max(self._messages.get(channel, {}), default="0", key=order)
        if self._read.get((user, channel)) != newest:
            self._read[user, channel] = newest
            self.changes.touch()

    def unread(self, user: str, channel: str) -> int:
        """How many messages of others came since the person last had the channel open."""
        seen = order(self._read.get((user, channel), "0"))
        return sum(1 for one in self.everything_in(channel) if one.user != user and order(one.ts) > seen)
