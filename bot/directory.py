"""Who is this, and which groups are they in: asked of Slack, kept for a minute, and failing closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Literal, TypeVar

import structlog
from aiohttp import ClientError
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from graph_runtime import SECOND, Actor, Clock, Reviewer
from graph_runtime.policy import CHANNEL, ON_CALL
from graph_runtime.types import GroupId, PersonId

from .replies import error_code

_log = structlog.get_logger("signoff.directory")
#: How old an answer may be; events of changes make it younger.
TTL = 60 * SECOND
#: A click must be answered within 3 s, so this is what a question to Slack may take of it.
ASK_SECONDS = 1.2
#: Members of a channel come in pages; one with more than so many is no list of approvers.
_PAGE, _PAGES = 1_000, 5

#: Errors of users.info for an id that is nobody's. Source: Slack's page of users.info.
_NOBODY = frozenset({"user_not_found", "users_not_found"})

T = TypeVar("T")
#: Members by group, and when Slack said so.
Kept = dict[str, tuple[int, frozenset[str]]]
Kind = Literal["member", "guest", "external", "bot", "deactivated", "unknown"]


class SlackDirectory:
    """The Directory protocol over users.info, usergroups.users.list and conversations.members.

    ``on_call`` names the user group that holds who is on call by a schedule, as paging tools keep it.
    An answer that cannot be had within :data:`ASK_SECONDS` is "unknown", which is never a yes.
    """

    def __init__(
        self,
        client: AsyncWebClient,
        *,
        workspace: str,
        clock: Clock,
        on_call: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._workspace = workspace
        self._clock = clock
        self._on_call = dict(on_call or {})
        self._users: dict[str, tuple[int, Kind, str]] = {}
        self._groups: Kept = {}
        #: Who was in a group when a question was asked. A click asks anew, and is not judged by this.
        self._rosters: Kept = {}
        #: Ids of which Slack said that they are nobody's.
        self._nobody: set[str] = set()
        #: What Slack is asked at this moment, by the user or the group.
        self._asking: dict[str, asyncio.Future[Any]] = {}

    async def reviewer(self, actor: Actor, groups: Collection[GroupId]) -> Reviewer:
        """Return who this is now. See :class:`graph_runtime.Directory`."""
        if actor.workspace and actor.workspace != self._workspace:
            return Reviewer(actor.id, kind="external")
        # An on-call schedule that is nowhere has a group of no name, which nobody can look up.
        named = {group: self._group_of(group) for group in groups}
        known = {group: self._known_members(one, self._groups) for group, one in named.items()}
        user = self._known_user(actor.id)
        if user is None or None in known.values():
            asked = asyncio.gather(*(self._members(group) for group in named.values()))
            found, members = await asyncio.gather(self._user(actor.id), asked)
            user, known = found, dict(zip(named, members, strict=True))
        kind, name = user
        return Reviewer(
            actor.id,
            frozenset(group for group, users in known.items() if users is not None and actor.id in users),
            frozenset(group for group, users in known.items() if users is None),
            kind,
            name,
        )

    async def members(self, group: GroupId) -> frozenset[PersonId] | None:
        """Return everybody who is in the group. See :class:`graph_runtime.Directory`."""
        named = self._group_of(group)
        users = self._known_members(named, self._groups) or self._known_members(named, self._rosters)
        if users is None:
            users = await self._together(named, lambda: self._find_members(named))
            if users is None:
                return None
            self._rosters[named] = (self._clock(), users)
        return frozenset(map(PersonId, users))

    def is_nobody(self, user: str) -> bool:
        """Say whether Slack said that it has no such user. Who decides is still only unknown, and refused."""
        return user in self._nobody

    def forget_user(self, user: str) -> None:
        """Ask Slack anew about this user next time: their account has changed."""
        self._users.pop(user, None)

    def forget_group(self, group: str) -> None:
        """Ask Slack anew about this group next time: its members have changed."""
        self._groups.pop(group, None)
        self._rosters.pop(group, None)

    def _group_of(self, ref: GroupId) -> str:
        return self._on_call.get(ref.removeprefix(ON_CALL), "") if ref.startswith(ON_CALL) else ref

    def _known_user(self, user: str) -> tuple[Kind, str] | None:
        known = self._users.get(user)
        return known[1:] if known is not None and self._clock() - known[0] < TTL else None

    def _known_members(self, group: str, kept: Kept) -> frozenset[str] | None:
        known = kept.get(group)
        return known[1] if known is not None and self._clock() - known[0] < TTL else None

    async def _user(self, user: str) -> tuple[Kind, str]:
        known = self._known_user(user)
        if known is not None:
            return known
        found = await self._together(user, lambda: self._find_user(user))
        return ("unknown", "") if found is None else found

    async def _find_user(self, user: str) -> tuple[Kind, str] | None:
        answer = await self._ask(lambda: self._client.users_info(user=user), "users.info", user)
        if answer is None:
            return None
        self._nobody.discard(user)
        found = answer["user"]
        kind, name = self._kind(found), str(found.get("real_name") or found.get("name") or user)
        self._users[user] = (self._clock(), kind, name)
        return kind, name

    def _kind(self, user: Any) -> Kind:
        if user.get("deleted"):
            return "deactivated"
        if user.get("is_bot") or user.get("id") == "USLACKBOT":
            return "bot"
        if user.get("is_stranger") or user.get("team_id", self._workspace) != self._workspace:
            return "external"
        if user.get("is_restricted") or user.get("is_ultra_restricted"):
            return "guest"
        return "member"

    async def _members(self, group: str) -> frozenset[str] | None:
        users = self._known_members(group, self._groups)
        if users is None:
            users = await self._together(group, lambda: self._find_members(group))
            if users is not None:
                self._groups[group] = (self._clock(), users)
        return users

    async def _find_members(self, group: str) -> frozenset[str] | None:
        return await (self._in_channel(group) if group.startswith(CHANNEL) else self._in_group(group))

    async def _in_group(self, group: str) -> frozenset[str] | None:
        if not group:
            return None
        answer = await self._ask(
            lambda: self._client.usergroups_users_list(usergroup=group), "usergroups.users.list"
        )
        return None if answer is None else frozenset(str(user) for user in answer["users"])

    async def _in_channel(self, ref: str) -> frozenset[str] | None:
        """Return a channel's members; None for one with more of them than can be read in time."""
        channel = ref.removeprefix(CHANNEL)

        async def everybody() -> frozenset[str] | None:
            answer = await self._client.conversations_members(channel=channel, limit=_PAGE)
            found: set[str] = set()
            pages = 0
            async for page in answer:
                found |= {str(user) for user in page["members"]}
                pages += 1
                if pages > _PAGES:
                    return None
            return frozenset(found)

        members: frozenset[str] | None = await self._ask(everybody, "conversations.members")
        return members

    async def _together(self, what: str, find: Callable[[], Awaitable[T | None]]) -> T | None:
        """Return what ``find`` gives, asked once for all who want to know the same at this moment.

        When whoever asks is stopped meanwhile, it is unknown to the others as well.
        """
        if what in self._asking:
            told: T | None = await asyncio.shield(self._asking[what])
            return told
        waiting = self._asking[what] = asyncio.get_running_loop().create_future()
        found = None
        try:
            found = await find()
        finally:
            del self._asking[what]
            waiting.set_result(found)
        return found

    async def _ask(self, call: Callable[[], Awaitable[Any]], method: str, user: str = "") -> Any:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await call()
        except (TimeoutError, SlackApiError, SlackClientError, ClientError, OSError) as error:
            if isinstance(error, SlackApiError) and user and error_code(error) in _NOBODY:
                self._nobody.add(user)
            _log.warning("directory.unknown", method=method, error=type(error).__name__)
            return None
