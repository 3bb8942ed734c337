"""Where a card goes when its place is lost: beside it, to another channel, else to those who may decide.

A request whose card has no channel left gets one in the direct messages of each of them: all are drawn anew
at each vote, a click in any of them counts, and one at the lost place does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any

import structlog

from graph_runtime import Actor, Conflict, OperatorAlarm, Outbox, OutboxEntry, RequestView
from graph_runtime.policy import Rule
from graph_runtime.types import PersonId

from . import cards, lines
from .directory import SlackDirectory
from .text import escaped, is_slack_id, person

_log = structlog.get_logger("signoff.fallback")
#: The message stands, and may not be changed any more. Source: Slack's page of chat.update.
UNCHANGEABLE = frozenset({"cant_update_message", "edit_window_closed"})
#: It is gone, or not ours to edit: a new one may be posted beside it.
MESSAGE_LOST = UNCHANGEABLE | {"message_not_found"}
#: Nothing can be shown in this channel. Source: Slack's pages of chat.postMessage and chat.update.
CHANNEL_LOST = frozenset(
    {
        "channel_not_found",
        "channel_type_not_supported",
        "is_archived",
        "is_inactive",
        "method_not_supported_for_channel_type",
        "not_in_channel",
        "restricted_action",
        "restricted_action_non_threadable_channel",
        "restricted_action_read_only_channel",
        "restricted_action_thread_locked",
        "restricted_action_thread_only_channel",
    }
)
#: Errors of a person whom no private message reaches. Source: Slack's pages of conversations.open and
#: chat.postMessage.
UNREACHABLE = frozenset(
    {
        "cannot_dm_bot",
        "channel_not_found",
        "invalid_user_combination",
        "is_archived",
        "messages_tab_disabled",
        "method_not_supported_for_channel_type",
        "missing_scope",
        "no_permission",
        "not_enough_users",
        "restricted_action",
        "user_disabled",
        "user_not_found",
        "user_not_visible",
        "users_not_found",
    }
)
#: So many people get a card of one request in their direct messages, and not more.
MOST_PEOPLE = 20
#: How often it is asked again who may decide before those are told who are known.
_ASK_AGAIN = 5


class Fallback:
    """Finds another place for cards that have lost theirs, and tells the operators."""

    def __init__(
        self,
        outbox: Outbox,
        directory: SlackDirectory,
        *,
        channel: str,
        fallback: str = "",
        operators: Sequence[str] = (),
    ) -> None:
        self._outbox = outbox
        self._directory = directory
        self._channel = channel
        self._fallback = fallback
        self._operators = tuple(operators)

    def home(self, view: RequestView) -> str:
        """Return the channel in which the request's card belongs."""
        return str(view.request.policy.get("channel") or self._channel)

    async def replaced(self, entry: OutboxEntry, view: RequestView, code: str, channel: str) -> bool:
        """Say whether a card that met this error in this channel is taken care of; else it is no such error.

        Afterwards new cards are under way and the operators are told, or, with nowhere left to go, the card
        is parked. That of a closed request is only noted: it was decided, and its requester is told.
        """
        to = entry.payload.get("to")
        if code not in MESSAGE_LOST | (UNREACHABLE if to else CHANNEL_LOST):
            return False
        _log.warning("card.lost", entry_id=entry.id, request_id=view.request.id, error=code, channel=channel)
        where = "private" if to else channel
        if view.request.status != "open" and code in UNCHANGEABLE:
            # It still stands, as it was: the line below it tells how it ended, and a click on it as well.
            await self._outbox.landed(entry, None)
        elif view.request.status != "open":
            await self._outbox.lose(entry, code)
        elif code in MESSAGE_LOST:
            await self._outbox.lose(entry, code, [{**entry.payload, "instead": code}])
        elif to:
            await self._unreached(entry, view, code, str(to))
        elif self._fallback not in {"", channel, self.home(view)} and "channel" not in entry.payload:
            alarm = self.alarm(code, where, how="channel", other=self._fallback)
            await self._outbox.lose(entry, code, [{"channel": self._fallback, "instead": code}], alarm)
        else:
            await self._to_people(entry, view, code, where)
        return True

    async def park(self, entry: OutboxEntry, error: str, where: str = "") -> None:
        """Stop trying, and tell the operators; it stands in the log and in the outbox too."""
        # An alarm about alarms would find the same trouble.
        alarm = None if entry.kind == "alarm" else self.alarm(error, where, how="parked")
        await self._outbox.park(entry, error, alarm)
        _log.error("entry.parked", entry_id=entry.id, request_id=entry.request_id, error=error)

    def alarm(self, error: str, where: str, **said: Any) -> OperatorAlarm:
        """Return what the operators are told of an error at a place: once an hour for both."""
        cause = f"{error[:80]}:{where}"
        return OperatorAlarm(cause, self._operators, {"error": error[:200], "where": where, **said})

    async def _to_people(self, entry: OutboxEntry, view: RequestView, code: str, where: str) -> None:
        people, known = await self._people(view)
        if not known and entry.attempts < _ASK_AGAIN:
            await self._outbox.retry(entry, code)
        elif people:
            instead = [{"to": one, "instead": code} for one in people]
            alarm = self.alarm(code, where, how="private", count=len(people))
            await self._outbox.lose(entry, code, instead, alarm)
        else:
            await self.park(entry, code, where)

    async def _unreached(self, entry: OutboxEntry, view: RequestView, code: str, to: str) -> None:
        alarm = self.alarm(code, "private", how="unreached", person=to)
        try:
            await self._outbox.lose(entry, code, alarm=alarm, run_id=view.run.id)
        except Conflict as conflict:
            if conflict.guard != "another card":
                raise
            await self.park(entry, code, "private")

    async def _people(self, view: RequestView) -> tuple[list[str], bool]:
        """Return who may decide the request, and whether that is all of them that there should be.

        When there are more than may be told, each rule has its share of them.
        """
        found, known = [], True
        for stage in view.case.terms.stages:
            for rule in stage:
                members = await self._members(view, rule)
                known = known and members is not None
                found.append(members or [])
        people: list[str] = []
        acting = {str(one.person): str(one.delegate) for one in view.delegations}
        both = ((one, *((acting[one],) if one in acting else ())) for one in _in_turn(found))
        for one in dict.fromkeys(chain.from_iterable(both)):
            kind = (await self._directory.reviewer(Actor(PersonId(one)), ())).kind
            if kind in {"member", "unknown"}:
                people.append(one)
            if len(people) == MOST_PEOPLE:
                break
        return people, known

    async def _members(self, view: RequestView, rule: Rule) -> list[str] | None:
        """Return who may fill the rule; None when Slack does not say who is in its groups."""
        case, members = view.case, dict[str, set[Any]]()
        for one in rule.people:
            members.setdefault(one, set())
        if rule.requester and view.request.requester:
            members.setdefault(view.request.requester, set())
        for ref in rule.refs:
            users = await self._directory.members(ref)
            if users is None:
                return None
            for user in sorted(users):
                members.setdefault(user, set()).add(ref)
        return [
            one
            for one, groups in members.items()
            if is_slack_id(one, "UW") and case.may_fill(rule, PersonId(one), groups)
        ]


def _in_turn(lists: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in zip_longest(*lists):
        yield from (one for one in row if one is not None)


def alarm_message(view: RequestView, entry: OutboxEntry) -> cards.Message:
    """Return what an operator is told of an entry that could not be told where it should."""
    said, request = entry.payload, view.request
    where, error = str(said.get("where", "")), escaped(said.get("error", ""), 200)
    title = f"“{escaped(cards.title_of(request), 150)}”"
    place = f"<#{where}>" if is_slack_id(where, "CDG") else "direct messages" if where else "Slack"
    how = said.get("how")
    mend = "Mend the channel, or name another one in the settings."
    lost = f":warning: Cards cannot be shown in {place} (`{error}`) and go to"
    if how == "channel":
        text = f"{lost} <#{said['other']}>; the first is {title}. {mend}"
    elif how == "private":
        who = f"{said['count']} of those who may decide"
        text = f"{lost} {who}, by direct message; the first is {title}. {mend}"
    elif how == "unreached":
        who = person(str(said["person"]))
        text = f":warning: {who} may decide {title} and cannot be sent it (`{error}`); others have its card."
    else:
        text = (
            f":rotating_light: {title} could not be told in {place} (`{error}`), and is not tried again. "
            "`signoff outbox list` shows everything that was given up; once it is mended, "
            f"`signoff outbox retry` tells it. Until then: `signoff decide {request.id} approve`."
        )
    return lines.line(text, view, entry)
