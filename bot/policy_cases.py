"""Cases of policies for a team's own CI: some facts, votes in their order, and what must come of them.

Everything is judged by the functions that judge a click; nothing is asked and nothing is written.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from graph_runtime import SECOND, Action, ApprovalRequest, Policy, PolicyError, Refused, Reviewer
from graph_runtime.delegation import choose_place
from graph_runtime.eligible import check_satisfiable
from graph_runtime.judging import Case, judge, make_vote, may_decide, merge, with_vote
from graph_runtime.policy import Duration
from graph_runtime.types import (
    GroupId,
    InterruptId,
    PersonId,
    RefusalCode,
    RequestId,
    RunId,
    ThreadId,
    Verdict,
)

#: What becomes of a case when no request is opened at all.
NOT_ASKED = "not asked"
Kind = Literal["member", "guest", "external", "bot", "deactivated", "unknown"]
Expected = Literal[
    "open", "approved", "edited", "rejected", "responded", "withdrawn", "timed_out", "not asked"
]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _read_person(said: Any) -> Any:
    return {"groups": said} if isinstance(said, list) else said


class Known(_Data):
    """Somebody of the cases: the groups, ``channel:C1`` and ``oncall:NAME`` that they are in."""

    groups: tuple[GroupId, ...] = ()
    #: Those of which it is not known.
    unknown: tuple[GroupId, ...] = ()
    kind: Kind = "member"


def _read_step(said: Any) -> Any:
    """Return a step for ``U0ALICE approve`` or ``wait 4h``, with ``: CODE`` after it when it is refused."""
    if not isinstance(said, str):
        return said
    step, _, refused = (part.strip() for part in said.partition(":"))
    words = step.split(maxsplit=1)
    if len(words) != 2:
        raise ValueError(f"{said!r} is no step; write it like U0ALICE approve, or wait 4h")
    if words[0] == "wait":
        return {"wait": words[1]}
    return {"by": words[0], "verdict": words[1], "refused": refused or None}


class Step(_Data):
    """A vote, or that time passes."""

    by: PersonId | None = None
    verdict: Verdict | None = None
    reason: str | None = "because"
    edit: Mapping[str, Any] | None = None
    confirm: str | None = None
    #: The code with which the vote must be refused.
    refused: RefusalCode | None = None
    wait: Duration | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        vote = self.by is not None and self.verdict is not None
        if vote == (self.wait is not None):
            raise ValueError("a step is a vote, with by and verdict, or a wait")
        return self


class CaseFile(_Data):
    """What a file of cases holds beside them: where the policies are, and the people."""

    policies: str | None = None
    people: dict[str, Annotated[Known, BeforeValidator(_read_person)]] = {}
    cases: tuple[PolicyCase, ...] = Field(min_length=1)


class PolicyCase(_Data):
    """One case."""

    name: str
    policy: str
    expect: Expected
    requester: PersonId | None = None
    also: tuple[PersonId, ...] = ()
    facts: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    votes: tuple[Annotated[Step, BeforeValidator(_read_step)], ...] = ()
    #: Who acts for whom.
    same_person: dict[PersonId, PersonId] = {}
    tier: str | None = None
    #: How the request stands in the end, like ``1 of 2 sre, 0 of 1 owners``.
    standing: str | None = None


CaseFile.model_rebuild()


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of a case: nothing wrong, or each thing that is."""

    name: str
    wrong: tuple[str, ...]


def load_cases(path: Path) -> CaseFile:
    """Return the cases of a TOML file. Raises :class:`PolicyError` that names the file and every fault."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise PolicyError(f"nothing was tested: {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"nothing was tested: {path} is no TOML: {error}") from None
    try:
        return CaseFile.model_validate(data)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_input=False)
        ]
        raise PolicyError(f"nothing was tested: {path}: " + "; ".join(faults)) from None


def run_cases(cases: CaseFile, policies: Mapping[str, Policy]) -> list[CaseResult]:
    """Return what came of each case, in their order."""
    return [CaseResult(one.name, tuple(_run(one, cases, policies))) for one in cases.cases]


def _run(one: PolicyCase, cases: CaseFile, policies: Mapping[str, Policy]) -> Iterator[str]:
    policy = policies.get(one.policy)
    if policy is None:
        yield f"there is no policy {one.policy!r}; there are {', '.join(sorted(policies))}"
        return
    strangers = sorted({step.by for step in one.votes if step.by and step.by not in cases.people})
    if strangers:
        yield f"nobody is known of {', '.join(strangers)}: name them under [people]"
        return
    try:
        case = _opened(one, policy)
    except PolicyError as error:
        if one.expect != NOT_ASKED:
            yield f"{error}; {one.expect} was expected"
        return
    if one.tier is not None and case.terms.tier != one.tier:
        yield f"the tier is {case.terms.tier}; {one.tier} was expected"
    now, outcome = 0, "open" if case.terms.do == "ask" else _BY_ITSELF[case.terms.do]
    for number, step in enumerate(one.votes, start=1):
        if step.wait is not None:
            now += step.wait * SECOND
            timed_out = case.request.deadline_at is not None and now >= case.request.deadline_at
            outcome = "timed_out" if timed_out and outcome == "open" else outcome
            continue
        case, outcome, refused = _vote(case, step, cases, outcome)
        if refused != step.refused:
            said = f"vote {number} ({step.by} {step.verdict}) is {refused or 'taken'}"
            yield f"{said}; {step.refused or 'taken'} was expected"
    if outcome != one.expect:
        stands = f" at {judge(case)}" if outcome == "open" else ""
        yield f"it is {outcome}{stands}; {one.expect} was expected"
    if one.standing is not None and str(judge(case)) != one.standing:
        yield f"it stands at {judge(case)}; {one.standing} was expected"


_BY_ITSELF = {"approve": "approved", "reject": "rejected"}


def _opened(one: PolicyCase, policy: Policy) -> Case:
    terms = policy.choose(one.facts, one.arguments)
    request = ApprovalRequest(
        id=RequestId("req-test"),
        interrupt_id=InterruptId(""),
        thread_id=ThreadId(""),
        run_id=RunId(""),
        graph="",
        node="",
        title=one.name,
        action=Action(one.policy, one.arguments),
        facts=one.facts,
        digest="",
        policy_name=one.policy,
        policy={},
        requester=one.requester,
        also=one.also,
        status="open",
        revision=1,
        deadline_at=policy.deadline_at(0),
        opened_at=0,
        closed_at=None,
    )
    case = Case(request, policy, terms, same_person=frozenset(one.same_person.items()))
    if terms.do == "ask":
        check_satisfiable(case)
    return case


def _vote(case: Case, step: Step, cases: CaseFile, outcome: str) -> tuple[Case, str, str | None]:
    """Return the case, its outcome, and the code of the refusal, after a vote."""
    if outcome != "open":
        closed = {"timed_out": "EXPIRED", "withdrawn": "NOT_PENDING"}
        return case, outcome, closed.get(outcome, "ALREADY_DECIDED")
    assert step.by is not None and step.verdict is not None  # noqa: PT018 - a step without wait
    verdict, reason = step.verdict, step.reason
    arguments = merge(case, judge(case), step.edit) if step.edit is not None else None
    reviewer = _known(step.by, case, cases)

    def allowed(behalf: Reviewer | None) -> Refused | None:
        more: dict[str, Any] = {"behalf": behalf, "arguments": arguments, "confirm": step.confirm}
        return may_decide(case, reviewer, verdict, reason, **more)

    acted_for = sorted(whom for who, whom in case.same_person if who == step.by and whom in cases.people)
    places = (_known(whom, case, cases) for whom in acted_for)
    behalf, refused = choose_place(allowed(None), places, allowed)
    if refused is not None:
        return case, outcome, refused.code
    vote = make_vote(case, reviewer, verdict, reason, behalf=behalf, arguments=arguments, surface="cli")
    case = with_vote(case, vote)
    return case, judge(case).outcome, None


def _known(who: PersonId, case: Case, cases: CaseFile) -> Reviewer:
    person = cases.people[who]
    asked = frozenset(person.groups) & {*case.terms.refs}
    return Reviewer(who, asked, frozenset(person.unknown), person.kind)
