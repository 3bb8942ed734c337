"""Policies as data: who may decide, how many of whom and in which order, and how long the question stands.

A policy, and which of its tiers and rules the facts have chosen, is copied into each request when it is
opened; changing it never changes an open question. How votes are counted by it stands in ``judging.py``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from .calendars import Calendar, add_business_time, opens_at
from .clock import SECOND
from .errors import PolicyError
from .types import GroupId, PersonId

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(\d+)\s*([dhms])")
_REMINDER = re.compile(r"([1-9]\d?)%|(.+) before")
#: A deadline further off than this is a typing error.
_LONGEST = 366 * 86_400
#: Takes the place of a calendar that is broken, so that every fault is found at once.
_STAND_IN = Calendar(tz="UTC")
#: Who is in a channel or on call is asked of the directory like a group, under these names.
CHANNEL, ON_CALL = "channel:", "oncall:"


def read_duration(text: Any) -> Any:
    """Return seconds for texts like ``90m``, ``4h`` or ``1d 12h``; anything else unchanged, for pydantic."""
    if not isinstance(text, str):
        return text
    if not re.fullmatch(rf"\s*({_DURATION.pattern}\s*)+", text):
        raise ValueError(f"{text!r} is no duration; write it like 30m, 4h or 1d 12h")
    return sum(int(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def _check_condition(text: str) -> str:
    # Loaded when a policy has a condition: its library is the slowest to load of all that we use.
    from .conditions import check  # noqa: PLC0415

    return check(text)


def _holds(text: str, facts: Mapping[str, Any]) -> bool:
    from .conditions import holds  # noqa: PLC0415 - as above

    try:
        return holds(text, facts)
    except ValueError as error:
        raise PolicyError(f"nobody was asked: {error}") from None


def _check_id(text: str) -> str:
    if not text.strip():
        raise ValueError("people and groups are ids, and none of them is empty")
    return text


def _check_reminder(text: str) -> str:
    found = _REMINDER.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no reminder; write it like 50% or 4h before")
    if found[2]:
        read_duration(found[2])
    return text


def _either(table: type[BaseModel]) -> Discriminator:
    """Tell a table from a plain value, so that what is wrong with it is said of the one that was meant."""
    return Discriminator(lambda value: "~table" if isinstance(value, Mapping | table) else "~plain")


Duration = Annotated[int, BeforeValidator(read_duration), Field(gt=0, le=_LONGEST)]
Condition = Annotated[str, AfterValidator(_check_condition)]
Person = Annotated[PersonId, AfterValidator(_check_id)]
Group = Annotated[GroupId, AfterValidator(_check_id)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,39}$")]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(_Data):
    """So many distinct people of these. One person fills one place of one rule, whichever rules they fit."""

    #: What the card calls those who may fill it; their ids otherwise.
    name: Name | None = None
    people: tuple[Person, ...] = ()
    group: Group | None = None
    groups: tuple[Group, ...] = ()
    #: Members of this channel.
    channel: Group | None = None
    #: Whoever is on call by this schedule.
    on_call: Name | None = None
    #: Whoever asks confirms it, whatever ``self_approval`` says.
    requester: bool = False
    count: int = Field(default=1, ge=1, le=50)
    #: The rule is left out when this does not hold for the facts.
    when: Condition | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.people and not self.refs and not self.requester:
            raise ValueError(
                "nobody could fill it: name people, group, groups, channel, on_call or requester"
            )
        if self.requester and (self.people or self.refs or self.count > 1):
            raise ValueError("requester is one person: it stands alone, with a count of 1")
        if self.people and not self.refs and self.count > len(set(self.people)):
            raise ValueError(
                f"it could never be filled: it needs {self.count} of {len(set(self.people))} people"
            )
        return self

    @property
    def refs(self) -> tuple[GroupId, ...]:
        """What a directory is asked for membership of: groups, channels and schedules."""
        found = [*([self.group] if self.group else []), *self.groups]
        found += [GroupId(CHANNEL + self.channel)] if self.channel else []
        found += [GroupId(ON_CALL + self.on_call)] if self.on_call else []
        return tuple(dict.fromkeys(found))


class _Asked(_Data):
    """Who is asked, in one form: people and groups, of whom one decides, or rules, or stages of rules."""

    people: tuple[Person, ...] = ()
    groups: tuple[Group, ...] = ()
    require: Annotated[tuple[Rule, ...], Field(max_length=20)] = ()
    #: One after another: a vote counts for the stage that was open when it was cast.
    stages: Annotated[
        tuple[Annotated[tuple[Rule, ...], Field(min_length=1, max_length=20)], ...], Field(max_length=10)
    ] = ()

    @property
    def forms(self) -> int:
        """How many of the forms it is written in."""
        return sum(map(bool, (self.people or self.groups, self.require, self.stages)))

    @property
    def rules(self) -> tuple[tuple[Rule, ...], ...]:
        """All rules by stage, whatever their conditions."""
        if self.people or self.groups:
            return ((Rule(people=self.people, groups=self.groups),),)
        return (self.require,) if self.require else self.stages

    def for_facts(self, facts: Mapping[str, Any]) -> tuple[tuple[Rule, ...], ...]:
        """Return the rules that these facts call for. Raises :class:`PolicyError` when there is none."""
        kept = (
            tuple(
                rule.model_copy(update={"when": None})
                for rule in stage
                if rule.when is None or _holds(rule.when, facts)
            )
            for stage in self.rules
        )
        stages = tuple(stage for stage in kept if stage)
        if not stages:
            raise PolicyError("nobody was asked: no rule of the policy applies to these facts")
        return stages


class Limit(_Data):
    """How much a tier approves by itself in a time. Past that, the next tier that holds is taken."""

    most: Decimal = Field(gt=0)
    #: Counted from the last full multiple of this since 1970 in UTC: ``1d`` is from midnight.
    per: Duration
    #: Each requester has a count of their own; all share one otherwise.
    by: Literal["requester"] | None = None
    #: The fact, or the argument as ``args.NAME``, whose numbers are added up; requests are counted otherwise.
    of: Name | None = None


class Tier(_Asked):
    """One of several ways to treat a request, taken when its condition is the first that holds."""

    name: Name
    #: Without one it is taken whenever the tiers before it are not.
    when: Condition | None = None
    #: The policy approves by itself, and nobody is asked.
    auto: bool = False
    #: The policy rejects by itself, and nobody is asked.
    block: bool = False
    #: What it approves by itself, all of them together.
    limits: Annotated[tuple[Limit, ...], Field(max_length=5)] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.limits and not self.auto:
            raise ValueError("limits: only a tier that is auto has any")
        if self.forms + self.auto + self.block != 1:
            raise ValueError(
                "it is exactly one of auto, block, people and groups, require, or stages; this is "
                f"{self.forms + self.auto + self.block} of them"
            )
        return self


class Veto(_Data):
    """How many people's rejections reject. That of the requester, or of a co-author, rejects by itself."""

    deny: int = Field(default=1, ge=1, le=50)


class Reason(_Data):
    """Whether a rejection says why, and in how many characters at least."""

    required: bool = True
    min: int = Field(default=1, ge=1, le=1_000)


class BusinessDeadline(_Data):
    """A deadline in open time: ``1d`` is a working day, hours and minutes pass while it is open."""

    after: str
    business_hours: Calendar

    @model_validator(mode="after")
    def _readable(self) -> Self:
        days, rest = self.parts
        if not 0 < days * 86_400 + rest <= _LONGEST:
            raise ValueError(f"{self.after!r} is no time that a question could stand")
        return self

    @property
    def parts(self) -> tuple[int, int]:
        """Working days, and seconds of open time after them."""
        seconds = int(read_duration(self.after))
        days = sum(int(number) for number, unit in _DURATION.findall(self.after) if unit == "d")
        return days, seconds - days * 86_400


class Escalation(_Data):
    """Who is told when nobody has decided after a while. Being told gives no right to decide."""

    after: Duration
    #: A user, a user group, or ``oncall:`` and the name of a schedule.
    to: Group
    #: Another channel that is told too.
    notify: Group | None = None


class Bypass(_Data):
    """Who may let an approved action through a freeze."""

    group: Group
    count: int = Field(default=1, ge=1, le=50)
    reason: Literal["required", "optional"] = "required"


class StepUp(_Data):
    """What an approver types to show that they have read it; ``{service}`` is a fact or an argument."""

    when: Condition | None = None
    type_to_confirm: str = Field(min_length=1, max_length=100)

    def phrase(self, shown: Mapping[str, Any]) -> str:
        """Return the words to type. Raises :class:`PolicyError` when they name what is not there."""

        def filled(found: re.Match[str]) -> str:
            if found[1] not in shown:
                raise PolicyError(f"nobody was asked: type_to_confirm names {found[1]!r}, which is not there")
            return str(shown[found[1]])

        words = re.sub(r"\{([^{}]+)\}", filled, self.type_to_confirm).strip()
        if not words:
            raise PolicyError("nobody was asked: type_to_confirm comes out empty")
        return words


class Edit(_Data):
    """What of an action an approver may change."""

    fields: tuple[Name, ...] = Field(min_length=1)


class Terms(_Data):
    """What a policy came to for one request: the tier, and the rules that apply. Kept with the request."""

    tier: str | None = None
    do: Literal["ask", "approve", "reject"] = "ask"
    stages: tuple[tuple[Rule, ...], ...] = ()
    #: What an approver must type.
    confirm: str | None = None
    #: Why the policy decided by itself.
    why: str | None = None
    #: What may be said to the neighbour in whose words it was asked, whatever the policy offers.
    neighbour: tuple[Literal["approve", "edit", "reject", "respond"], ...] | None = None

    @property
    def refs(self) -> tuple[GroupId, ...]:
        """Every group, channel and schedule whose members have a say."""
        return tuple(dict.fromkeys(ref for stage in self.stages for rule in stage for ref in rule.refs))


def _read_tiers(said: Any) -> Any:
    """Return a list of tiers for a mapping by name; its order is theirs."""
    if not isinstance(said, Mapping):
        return said
    return [{"name": name, **body} if isinstance(body, Mapping) else body for name, body in said.items()]


class Policy(_Asked):
    """Who may decide a request, and under which terms."""

    #: Ways to treat a request by its facts; the first that holds is taken, and without one nobody is asked.
    tiers: Annotated[tuple[Tier, ...], BeforeValidator(_read_tiers)] = ()
    veto: Veto = Veto()
    #: Whether the requester and the named co-authors may approve. They may always reject.
    self_approval: Literal["forbid", "allow"] = "forbid"
    #: People of other workspaces, guests, bots and deactivated accounts never decide.
    external_users: Literal["refuse"] = "refuse"
    #: Whether a rejection must say why.
    reject_reason: Annotated[
        Annotated[Literal["required", "optional"], Tag("~plain")] | Annotated[Reason, Tag("~table")],
        _either(Reason),
    ] = "required"
    #: The answers that a reviewer may give.
    decisions: Annotated[tuple[Literal["approve", "reject", "edit", "respond"], ...], Field(min_length=1)] = (
        "approve",
        "reject",
    )
    #: Time until the question closes as timed_out, which is never an approval; None stands for ever.
    deadline: (
        Annotated[
            Annotated[Duration, Tag("~plain")] | Annotated[BusinessDeadline, Tag("~table")],
            _either(BusinessDeadline),
        ]
        | None
    ) = None
    #: When those who may decide are reminded.
    remind: tuple[Annotated[str, AfterValidator(_check_reminder)], ...] = ()
    escalate: Escalation | None = None
    #: A word for the graph, carried in the decision of a deadline: what to do then.
    on_timeout: Name = "reject"
    #: When what was approved may be carried out; carried in the decision as a moment.
    windows: tuple[Calendar, ...] = ()
    freeze_bypass: Bypass | None = None
    #: Whether memberships are asked again before what was approved is carried out.
    recheck_members: bool = False
    step_up: StepUp | None = None
    edit: Edit | None = None
    #: Where the question is shown; the runtime does not know what it means. None: where the bot shows all.
    channel: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.forms + bool(self.tiers) == 0:
            raise ValueError("nobody may decide: name people, groups, or both, or require, stages or tiers")
        if self.forms + bool(self.tiers) > 1:
            raise ValueError("say once who decides: people and groups, or require, or stages, or tiers")
        names = [tier.name for tier in self.tiers]
        if len(set(names)) < len(names):
            raise ValueError("two tiers have the same name")
        if self.tiers and self.tiers[-1].limits:
            raise ValueError(
                f"tier {names[-1]!r} has limits, and there is no tier after it to take past them"
            )
        ends = (n for n, tier in enumerate(self.tiers) if tier.when is None and not tier.limits)
        open_ended = next(ends, None)
        if open_ended is not None and open_ended < len(self.tiers) - 1:
            raise ValueError(f"tier {names[open_ended]!r} has no condition, so none after it is ever taken")
        if self.on_timeout.lower().startswith(("approv", "edit")):
            raise ValueError("on_timeout: a deadline never approves")
        if ("edit" in self.decisions) != (self.edit is not None):
            raise ValueError("an edit needs both: edit among the decisions, and edit.fields")
        if self.deadline is None and self.remind:
            raise ValueError("remind: there is no deadline to remind of")
        return self

    @property
    def every_rule(self) -> tuple[Rule, ...]:
        """All rules of all stages and tiers."""
        asked: tuple[_Asked, ...] = (self, *self.tiers)
        return tuple(rule for one in asked for stage in one.rules for rule in stage)

    def choose(
        self,
        facts: Mapping[str, Any],
        shown: Mapping[str, Any] | None = None,
        *,
        without: Collection[str] = (),
    ) -> Terms:
        """Return what the policy comes to for these facts, ``without`` the tiers of these names.

        ``shown`` are the arguments of the action: a confirmation may name them, and to conditions they are
        ``args``. Raises :class:`PolicyError` when no tier or rule applies, or a condition cannot be answered.
        """
        facts = facts if shown is None else {"args": dict(shown), **facts}
        if not self.tiers:
            return self._asking(None, self, facts, shown)
        for tier in self.tiers:
            if tier.name in without or (tier.when is not None and not _holds(tier.when, facts)):
                continue
            if tier.auto or tier.block:
                why = f"tier {tier.name}" + (f": {tier.when}" if tier.when else "")
                return Terms(tier=tier.name, do="approve" if tier.auto else "reject", why=why)
            return self._asking(tier.name, tier, facts, shown)
        raise PolicyError(
            f"nobody was asked: none of the tiers {', '.join(t.name for t in self.tiers)} applies"
        )

    def limits_of(self, terms: Terms) -> tuple[Limit, ...]:
        """Return the limits of the tier that was taken."""
        return next((tier.limits for tier in self.tiers if tier.name == terms.tier), ())

    def _asking(
        self, tier: str | None, asked: _Asked, facts: Mapping[str, Any], shown: Mapping[str, Any] | None
    ) -> Terms:
        step = self.step_up
        needed = step is not None and (step.when is None or _holds(step.when, facts))
        phrase = step.phrase({**facts, **(shown or {})}) if step is not None and needed else None
        return Terms(tier=tier, stages=asked.for_facts(facts), confirm=phrase)

    @property
    def least_reason(self) -> int:
        """How many characters the reason of a rejection has at least; 0 when it may be left out."""
        if isinstance(self.reject_reason, Reason):
            return self.reject_reason.min if self.reject_reason.required else 0
        return 1 if self.reject_reason == "required" else 0

    def deadline_at(self, now: int) -> int | None:
        """Return when a question that is opened now closes."""
        if isinstance(self.deadline, BusinessDeadline):
            days, seconds = self.deadline.parts
            return add_business_time(self.deadline.business_hours, now, seconds * SECOND, days=days)
        return None if self.deadline is None else now + self.deadline * SECOND

    def remind_at(self, now: int, deadline: int | None) -> tuple[int, ...]:
        """Return when a question that is opened now is reminded of, in order and before its deadline."""
        moments = set()
        for text in self.remind if deadline is not None else ():
            found = _REMINDER.fullmatch(text)
            assert found is not None and deadline is not None  # noqa: PT018 - it was checked
            if found[1]:
                moments.add(now + (deadline - now) * int(found[1]) // 100)
            else:
                moments.add(deadline - int(read_duration(found[2])) * SECOND)
        return tuple(sorted(moment for moment in moments if moment > now))

    def opens_at(self, now: int) -> int | None:
        """Return from when on what is approved now may be carried out; None where there are no windows."""
        return opens_at(self.windows, now) if self.windows else None


def read_policies(data: Mapping[str, Any], calendars: Mapping[str, Any] | None = None) -> dict[str, Policy]:
    """Return the policies by name; they may speak of the ``calendars`` by theirs.

    Raises :class:`PolicyError` that names every fault of every one that is broken.
    """
    wrong: list[str] = []
    known: dict[str, Calendar] = {}
    for name, body in (calendars or {}).items():
        known[name] = _STAND_IN
        try:
            known[name] = Calendar.model_validate(body)
        except ValidationError as error:
            wrong += _faults(f"calendar {name!r}", error)
    found: dict[str, Policy] = {}
    for name, body in data.items():
        missing = sorted({*_calendars_named(body)} - known.keys())
        wrong += [f"policy {name!r}: there is no calendar {one!r}" for one in missing]
        try:
            found[name] = Policy.model_validate(_with_calendars(body, known))
        except ValidationError as error:
            wrong += _faults(f"policy {name!r}", error)
    if wrong:
        raise PolicyError("no policy was loaded: " + "; ".join(wrong))
    return found


def _faults(what: str, error: ValidationError) -> Iterator[str]:
    for one in error.errors(include_input=False):
        place = "".join(f".{part}" for part in one["loc"] if part not in {"~table", "~plain"})
        yield f"{what}{place}: {one['msg'].removeprefix('Value error, ')}"


def _calendars_named(body: Any) -> Iterator[str]:
    if isinstance(body, Mapping):
        deadline, windows = body.get("deadline"), body.get("windows")
        if isinstance(deadline, Mapping) and isinstance(deadline.get("business_hours"), str):
            yield deadline["business_hours"]
        if isinstance(windows, list):
            yield from (one for one in windows if isinstance(one, str))


def _with_calendars(body: Any, known: Mapping[str, Calendar]) -> Any:
    """Return the policy with the calendars that it names put in their places: a copy needs nothing else."""
    if not isinstance(body, Mapping):
        return body
    changed = dict(body)
    deadline, windows = body.get("deadline"), body.get("windows")
    if isinstance(deadline, Mapping) and isinstance(deadline.get("business_hours"), str):
        hours = known.get(deadline["business_hours"], _STAND_IN)
        changed["deadline"] = {**deadline, "business_hours": hours}
    if isinstance(windows, list):
        changed["windows"] = [known.get(one, _STAND_IN) if isinstance(one, str) else one for one in windows]
    return changed
