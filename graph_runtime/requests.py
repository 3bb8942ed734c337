"""Opens an approval request in the same commit as the pause, and closes it in the same commit as the end.

``approve()`` is what authors call. A plain ``interrupt(anything)`` gets a request too, by the default policy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel

from . import neighbours, records
from .clock import SECOND
from .companions import EndFacts, PauseFacts
from .eligible import check_members, check_satisfiable
from .errors import PolicyError, ValueRefused
from .forms import check_fits, form_of
from .inside import ask
from .judging import Case, Directory
from .plainjson import write_json
from .policy import Policy, Terms
from .quotas import next_terms
from .storage import Do, Params
from .types import (
    Action,
    ApprovalRequest,
    Decision,
    Form,
    Interrupt,
    PersonId,
    RequestId,
    RequestStatus,
    Task,
)
from .values import Codec
from .waiting import is_for_people

#: Marks an interrupt value that ``approve()`` made.
APPROVAL = "signoff.approval"
DEFAULT_POLICY = "default"
#: Who decides what a policy decides by itself.
POLICY = PersonId("policy")
MAX_TITLE = 150

_plain = Codec()
_OUTCOMES: Mapping[str, RequestStatus] = {"approve": "approved", "reject": "rejected"}


def approve(
    title: str,
    *,
    action: Action,
    policy: str = DEFAULT_POLICY,
    requester: str | None = None,
    also: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
    key: str | None = None,
    form: type[BaseModel] | None = None,
) -> Decision:
    """Ask people whether ``action`` may be carried out, and return their decision.

    The decision is bound to ``action`` and ``facts``, both shown on the card: when either has changed by the
    time the node runs again, the answer is not used and a new question is asked. ``requester`` and the
    people in ``also`` may not approve, unless the policy says so. The run pauses as in ``interrupt()``.

    ``form`` is a pydantic model at the top level of its module. Where the policy offers an edit, only those
    fields are changed that the form has too, and to what it lets them be. Its validators find the action's
    arguments as they were asked for in ``info.context["requested"]``, and ``info.context["facts"]``. The
    decision is not bound to the form.

    Raises :class:`ValueRefused` for an action that is no :class:`Action`, when it or a fact is not of plain
    types, for a form that would not be found again or that nobody could fill in, and for one that needs what
    the action lacks. An answer of another shape than a decision decides nothing: whoever resumed the run is
    told, and the question is open still.
    """
    shown = dict(facts or {})
    if not isinstance(action, Action):
        raise ValueRefused(
            f"nobody was asked: the action of {title!r} is a {type(action).__name__}, no Action"
        )
    _plain.encode([action, shown])
    value = {
        "type": APPROVAL,
        "title": title,
        "action": action,
        "facts": shown,
        "policy": policy,
        "requester": requester,
        "also": list(also),
    }
    if form is not None:
        kept = form_of(form)
        check_fits(form, action.arguments)
        value["form"] = {"reference": kept.reference, "schema": kept.schema}
    bound = {"action": action, "facts": shown}

    def decision(answer: Any) -> Decision:
        if isinstance(answer, Decision):
            return answer
        # Answered by a program that keeps no approval requests, through Runtime.resume.
        said = answer.get("decision") if isinstance(answer, Mapping) else None
        reason = answer.get("reason") if isinstance(answer, Mapping) else None
        if not isinstance(said, str) or said not in _OUTCOMES or not isinstance(reason, str | None):
            raise ValueRefused(
                f"nothing was decided: the answer to {title!r} was not understood, and it is still open; a "
                'Decision, or {"decision": "approve"} or {"decision": "reject"}, with a "reason" if there is '
                "one, was expected"
            )
        return Decision(_OUTCOMES[said], RequestId(""), _plain.digest(bound), reason=reason)

    answered: Decision = ask(value, key=key, bind=bound, read=decision)
    return answered


class Requests:
    """The companion that keeps approval requests. ``policies`` must hold one called "default".

    ``tools`` says by which policy the calls are decided that LangChain or Agent Inbox ask for, by globs of
    their names: the first that matches counts, and where none does the default.
    """

    def __init__(self, policies: Mapping[str, Policy], *, tools: Mapping[str, str] | None = None) -> None:
        if DEFAULT_POLICY not in policies:
            raise PolicyError(
                f"nothing was started: there is no policy called {DEFAULT_POLICY!r}, by which a plain "
                "interrupt() is decided"
            )
        self._policies = dict(policies)
        self._tools = dict(tools or {})
        self._has_groups = any(_has_groups(policy) for policy in policies.values())
        if unknown := sorted({*self._tools.values()} - {*policies}):
            raise PolicyError(
                f"nothing was started: there is no policy called {', '.join(map(repr, unknown))}"
            )

    def prepare(self, facts: PauseFacts, directory: Directory) -> Awaitable[None] | None:
        """Return what finds out whether enough people are in the groups of new requests; None without any.

        It raises :class:`PolicyError` as :meth:`on_pause` does.
        """
        if not self._has_groups:
            return None
        cases = [
            case
            for asked, task in facts.opened
            if is_for_people(asked.value)
            for said in self._read(facts, asked)
            if (case := _asking(self._case(facts, asked, task, said))).terms.do == "ask" and case.terms.refs
        ]
        return check_members(cases, directory) if cases else None

    def on_pause(self, facts: PauseFacts) -> Sequence[Do]:
        """Return the statements that open a request for each new question and supersede the old ones.

        Raises :class:`PolicyError` for an unknown policy or one that nobody could satisfy.
        """
        superseded = [do for id_ in facts.superseded for do in _supersede(id_, facts.now)]
        shown = ((asked, task) for asked, task in facts.opened if is_for_people(asked.value))
        return [*superseded, *(do for asked, task in shown for do in self._open(facts, asked, task))]

    def on_end(self, facts: EndFacts) -> Sequence[Do]:
        """Return the statements that withdraw what is still open and tell how the run ended."""
        run, now = facts.run, facts.now
        payload = write_json({"what": "run", "status": facts.status, "by": facts.actor})
        common: Params = {"run_id": run.id, "now": now}
        told = [
            Do("redraw_cards_of_run", common),
            Do("put_trail_of_run", {**common, "entry_id": facts.new_id("out"), "payload": payload}),
        ]
        if facts.status in {"needs_attention", "completed"}:
            return told  # nothing is withdrawn: its deadlines wait with it, or no task of it is left to ask
        return [
            *told,
            Do("put_trails_of_withdrawn", {**common, "entry_id": facts.new_id("out"), "payload": payload}),
            Do(
                "put_events_of_withdrawn",
                {**common, "event_id": facts.new_id("evt"), "actor": facts.actor, "data": "{}"},
            ),
            Do("withdraw_requests", common),
            Do("drop_due_of_closed", {"run_id": run.id}),
        ]

    def _open(self, facts: PauseFacts, asked: Interrupt, task: Task) -> Iterator[Do]:
        """Yield what opens the request of a question, or one for each of its parts."""
        for said in self._read(facts, asked):
            yield from self._put(facts, asked, self._case(facts, asked, task, said))

    def _read(self, facts: PauseFacts, asked: Interrupt) -> Iterator[dict[str, Any]]:
        """Yield what a question asks, or each of its parts."""
        theirs = neighbours.read(asked.value, asked.response_schema)
        if theirs is None:
            yield _read_question(asked.value, facts.run.requester)
            return
        for part, call in enumerate(theirs.calls):
            parts = len(theirs.calls)
            said = _read_call(call, facts.run.requester, f" ({part + 1} of {parts})" if parts > 1 else "")
            said["policy"] = self._policy_for(call.action.name)
            said["place"] = {"shape": theirs.shape, "part": part, "parts": parts}
            yield said

    def _policy_for(self, tool: str) -> str:
        found = (policy for glob, policy in self._tools.items() if fnmatchcase(tool, glob))
        return next(found, DEFAULT_POLICY)

    def _case(self, facts: PauseFacts, asked: Interrupt, task: Task, said: dict[str, Any]) -> Case:
        """Return the request that is to be opened, with its policy. Raises :class:`PolicyError`."""
        policy = self._policies.get(said["policy"])
        if policy is None:
            raise PolicyError(
                f"nobody was asked: node {task.node!r} names policy {said['policy']!r}; "
                f"there are {', '.join(sorted(self._policies))}"
            )
        action = said["action"] if isinstance(said["action"], Action) else None
        terms = policy.choose(said["facts"], None if action is None else action.arguments)
        if said["allowed"] is not None:
            policy = _narrowed(policy, terms, said)
            terms = terms.model_copy(update={"neighbour": tuple(sorted(said["allowed"]))})
        place: Mapping[str, Any] = said["place"]
        # What a neighbour asks is bound call by call: a part knows nothing of the others.
        bound = {"action": action, "facts": said["facts"]}
        digest = asked.digest if said["allowed"] is None else _plain.digest(bound)
        deadline = policy.deadline_at(facts.now) if terms.do == "ask" else None
        request = ApprovalRequest(
            id=RequestId(facts.new_id("req")),
            interrupt_id=asked.id,
            thread_id=facts.run.thread_id,
            run_id=facts.run.id,
            graph=facts.run.graph,
            node=task.node,
            title=said["title"],
            action=action,
            facts=said["facts"],
            digest=digest,
            policy_name=said["policy"],
            policy={},
            requester=said["requester"],
            also=tuple(said["also"]),
            status="open",
            revision=1,
            deadline_at=deadline,
            opened_at=facts.now,
            closed_at=None,
            form=None if said["form"] is None else Form(**said["form"]),
            **place,
        )
        return Case(request, policy, terms)

    def _put(self, facts: PauseFacts, asked: Interrupt, case: Case) -> Iterator[Do]:
        request, policy, terms = case.request, case.policy, case.terms
        request_id, deadline = request.id, request.deadline_at
        later = _asking(case)
        if later.terms.do == "ask":
            check_satisfiable(later)
        yield Do(
            "put_request",
            {
                "request_id": request_id,
                "interrupt_id": asked.id,
                "thread_id": request.thread_id,
                "run_id": request.run_id,
                "graph": request.graph,
                "node": request.node,
                "title": request.title,
                "action": None if request.action is None else _plain.encode(request.action),
                "facts": _plain.encode(request.facts),
                "digest": request.digest,
                "policy_name": request.policy_name,
                "policy": policy.model_dump_json(exclude_none=True),
                "terms": terms.model_dump_json(exclude_none=True),
                "form": None if request.form is None else write_json(asdict(request.form)),
                "requester": request.requester,
                "also": write_json(list(request.also)),
                "deadline_at": deadline,
                "shape": request.shape,
                "part": request.part,
                "parts": request.parts,
                "now": facts.now,
            },
        )
        if terms.do == "ask":
            yield put_card(facts.new_id("out"), request_id, facts.now)
        for kind, at in due_of(policy, terms, facts.now, deadline):
            yield Do("put_due", {"kind": kind, "request_id": request_id, "due_at": at})
        yield records.put_event(
            facts.new_id("evt"),
            "request.opened",
            facts.now,
            actor=request.requester,
            thread_id=facts.run.thread_id,
            run_id=facts.run.id,
            request_id=request_id,
            interrupt=asked.id,
            policy=request.policy_name,
            tier=terms.tier,
            digest=request.digest,
            **({} if request.parts == 1 else {"part": f"{request.part + 1} of {request.parts}"}),
        )


def _has_groups(policy: Policy) -> bool:
    asked = (policy, *policy.tiers)
    return any(rule.refs for one in asked for stage in one.rules for rule in stage)


def _supersede(interrupt_id: str, now: int) -> tuple[Do, ...]:
    params: Params = {"interrupt_id": interrupt_id, "now": now}
    return Do("supersede_request", params), Do("redraw_card_of_interrupt", params)


def _asking(case: Case) -> Case:
    """Return the case of the people who are asked, be it only once the limits of its tiers are reached."""
    while case.terms.do == "approve" and case.policy.limits_of(case.terms):
        case = replace(case, terms=next_terms(case))
    return case


def put_card(entry_id: str, request_id: RequestId, now: int) -> Do:
    """Return the statement that has a request's card posted."""
    entry: Params = {"entry_id": entry_id, "kind": "card", "request_id": request_id, "payload": "{}"}
    return Do("put_entry", {**entry, "now": now})


def due_of(policy: Policy, terms: Terms, now: int, deadline: int | None) -> Iterator[tuple[str, int]]:
    """Yield what is due for a request that is opened or asked of people now, and when."""
    if terms.do != "ask":
        yield "policy", now  # nobody is asked, so nobody is waited for
        return
    if deadline is not None:
        yield "deadline", deadline
    for number, moment in enumerate(policy.remind_at(now, deadline)):
        yield f"remind {number}", moment
    if policy.escalate is not None:
        yield "escalate", now + policy.escalate.after * SECOND


def _read_question(value: Any, run_requester: str | None) -> dict[str, Any]:
    """Return title, action, facts, policy, requester and also of what a node asked, whatever its shape."""
    if isinstance(value, Mapping) and value.get("type") == APPROVAL:
        requester = value["requester"] or run_requester
        # Whoever started the run is a party to it, whatever name it is asked under.
        parties = [*value["also"], *([run_requester] if run_requester else [])]
        return {
            "title": str(value["title"])[:MAX_TITLE],
            "action": value["action"],
            "facts": value["facts"],
            "policy": value["policy"],
            "requester": requester,
            "also": [party for party in dict.fromkeys(parties) if party != requester],
            **_OURS,
            "form": value.get("form"),
        }
    title, facts = "A run asks for a decision", {}
    if isinstance(value, str):
        title = value if value.strip() else title
    elif isinstance(value, Mapping):
        facts = {str(name): item for name, item in value.items()}
        for name in ("title", "question", "message"):
            if isinstance(facts.get(name), str) and facts[name].strip():
                title = facts.pop(name)
                break
    else:
        facts = {"value": value}
    return {
        "title": title[:MAX_TITLE],
        "action": None,
        "facts": _storable(facts),
        "policy": DEFAULT_POLICY,
        "requester": run_requester,
        "also": [],
        **_OURS,
    }


#: What a question in our own words says of neighbours: what may be said is its policy's, and it is whole.
_OURS: Mapping[str, Any] = {"allowed": None, "place": {}, "form": None}


def _read_call(call: neighbours.Call, run_requester: str | None, which: str) -> dict[str, Any]:
    """Return the same of a call that a neighbour asks for, and what may be said of it."""
    if neighbours.BY_THE_MODEL in call.action.arguments:
        raise ValueRefused(
            f"nobody was asked: an argument is called {neighbours.BY_THE_MODEL!r}, and the description of "
            "the call would be shown in its place"
        )
    return {
        "title": f"Use the tool {call.action.name}"[: MAX_TITLE - len(which)] + which,
        "action": call.action,
        "facts": {**call.facts, **({neighbours.BY_THE_MODEL: call.description} if call.description else {})},
        "requester": run_requester,
        "also": [],
        "allowed": call.allowed,
        "form": None,
    }


def _narrowed(policy: Policy, terms: Terms, said: Mapping[str, Any]) -> Policy:
    """Return the policy with what it and the neighbour allow. Raises :class:`PolicyError` for nothing."""
    name, allowed = said["action"].name, said["allowed"]
    offered = [one for one in policy.decisions if one in allowed]
    if not offered or (terms.do == "approve" and "approve" not in allowed):
        wanted = "approve" if terms.do == "approve" else ", ".join(policy.decisions)
        raise PolicyError(
            f"nobody was asked about {name!r}: policy {said['policy']!r} offers {wanted}, and who asks "
            f"allows {', '.join(sorted(allowed)) or 'nothing'}; one of them must allow what the other does"
        )
    edit = policy.edit if "edit" in offered else None
    return policy.model_copy(update={"decisions": tuple(offered), "edit": edit})


def _storable(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts with what the plain codec does not know as text: they are only shown."""
    shown = {}
    for name, item in facts.items():
        try:
            _plain.encode(item)
            shown[name] = item
        except ValueRefused:
            shown[name] = str(item)
    return shown
