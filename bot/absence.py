"""``/signoff delegate | delegations | undelegate | reassign | bypass``: who acts for whom; past a freeze."""

from __future__ import annotations

from collections.abc import Collection

from graph_runtime import Absences, Actor, Approvals, Bypasses, Delegation, Place, Reviewer

from .cards import date, passed
from .named import request_named
from .redaction import mask
from .text import escaped, person
from .typed import MistypedError, read_moment, read_person, until_words

HELP = """• `/signoff delegate @bob until 2026-12-05 [for POLICY] [reason]` let Bob decide in your place
• `/signoff delegations` who is away, and who acts for them
• `/signoff undelegate ID` end one that is yours (or any: operators)
• `/signoff reassign REQUEST @bob [reason]` give your place in one open request to Bob
• `/signoff bypass REQUEST reason` let what was approved through a freeze, if its policy names you"""
WORDS = frozenset({"delegate", "delegations", "undelegate", "reassign", "bypass"})
_SHOWN = 20
_DELEGATE = "Type `/signoff delegate @bob until 2026-12-05 [for POLICY] [reason]`. Nothing was changed."


class AbsenceCommands:
    """Answers what is typed about absence and freezes. Everybody acts for themselves here."""

    def __init__(
        self,
        absences: Absences,
        bypasses: Bypasses,
        approvals: Approvals,
        *,
        policies: Collection[str],
        operators: Collection[str],
    ) -> None:
        self._absences = absences
        self._bypasses = bypasses
        self._approvals = approvals
        self._policies = frozenset(policies)
        self._operators = frozenset(operators)

    async def answer(self, word: str, rest: str, reviewer: Reviewer) -> str:
        """Return what is said of one command of :data:`WORDS`. Raises MistypedError and Refused."""
        match word:
            case "delegate":
                return await self._delegate(rest, reviewer)
            case "delegations":
                return await self._list()
            case "undelegate":
                return await self._undelegate(rest, reviewer)
            case "reassign":
                return await self._reassign(rest, reviewer)
            case _:
                return await self._bypass(rest, reviewer)

    async def _delegate(self, rest: str, reviewer: Reviewer) -> str:
        words = rest.split()
        if len(words) < 3 or words[1].lower() != "until":
            raise MistypedError(_DELEGATE)
        to, until, policy, reason = read_person(words[0]), read_moment(words[2], ends=True), None, words[3:]
        if reason and reason[0].lower() == "for":
            if len(reason) < 2 or reason[1].strip("`") not in self._policies:
                raise MistypedError(
                    "Nothing was changed: after `for` stands a policy, and there is no such one."
                )
            policy, reason = reason[1].strip("`"), reason[2:]
        made = await self._absences.delegate(
            reviewer.id, to, until=until, by=reviewer.id, policy=policy, reason=" ".join(reason)
        )
        what = f" of `{escaped(policy, 60)}`" if policy else ""
        how_long = until_words(made.until, date)
        return (
            f":palm_tree: {person(to)} may decide{what} in your place {how_long}, and the "
            f"two of you count as one person. End it with `/signoff undelegate {made.id}`."
        )

    async def _list(self) -> str:
        found = await self._absences.find()
        if not found:
            return "Nobody is away."
        lines = [_line(one) for one in found[:_SHOWN]]
        more = f"\n… and {len(found) - _SHOWN} more: `signoff delegations`" if len(found) > _SHOWN else ""
        return "\n".join(lines) + more

    async def _undelegate(self, rest: str, reviewer: Reviewer) -> str:
        words = rest.split()
        if len(words) != 1:
            raise MistypedError("Type `/signoff undelegate ID`, with an id of `/signoff delegations`.")
        operator = reviewer.id in self._operators
        gone = await self._absences.revoke(words[0].strip("`"), by=reviewer.id, operator=operator)
        return f":leftwards_arrow_with_hook: {person(gone.delegate)} acts no more for {person(gone.person)}."

    async def _reassign(self, rest: str, reviewer: Reviewer) -> str:
        request, _, more = rest.strip().partition(" ")
        whom, _, reason = more.strip().partition(" ")
        if not whom:
            raise MistypedError("Type `/signoff reassign REQUEST @bob [reason]`. Nothing was changed.")
        to, named = read_person(whom), await request_named(self._approvals, request.strip("`"))
        made = await self._absences.reassign(named, Actor(reviewer.id), to, reason=reason)
        return (
            f":busts_in_silhouette: {person(to)} may decide `{escaped(made.request_id, 80)}` in your place. "
            f"Take it back with `/signoff undelegate {made.id}`."
        )

    async def _bypass(self, rest: str, reviewer: Reviewer) -> str:
        request, _, reason = rest.strip().partition(" ")
        if not request:
            raise MistypedError("Type `/signoff bypass REQUEST reason`. Nothing was recorded.")
        named = await request_named(self._approvals, request.strip("`"))
        view = await self._bypasses.consent(named, Actor(reviewer.id), place=Place("slack"), reason=reason)
        return f":snowflake: {passed(view)}"


def _line(one: Delegation) -> str:
    what = " in everything"
    if one.request_id is not None:
        what = f" in `{escaped(one.request_id, 80)}`"
    elif one.policy is not None:
        what = f" in `{escaped(one.policy, 60)}`"
    why = f": {escaped(mask(one.reason), 200)}" if one.reason else ""
    return (
        f"• {person(one.delegate)} for {person(one.person)}{what}, {date(one.since)} to {date(one.until)}"
        f" (`{one.id}`){why}"
    )


__all__ = ["HELP", "WORDS", "AbsenceCommands"]
