"""What LangChain and Agent Inbox ask in their own shape is decided as ever, and answered in that shape."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import pytest
from aside import aside
from graphs import Log, answer_only, begin, events, one_after_another, values
from kit import MakeRuntime, SettableClock
from people import API, approvals_of, boss, person, ticket_of, view_of
from pydantic import Discriminator
from typing_extensions import TypedDict

from graph_runtime import (
    Action,
    Approvals,
    CompiledGraph,
    Decision,
    DecisionNeeded,
    PolicyError,
    Refused,
    Requests,
    RequestView,
    Run,
    Runtime,
    Store,
    ValueRefused,
    call_decisions,
    interrupt,
    neighbours,
    open_store,
    read_policies,
)
from graph_runtime.storage.sql import migrations
from graph_runtime.types import RequestId

BOTH = pytest.mark.databases("sqlite", "postgres")
EVERY = ["approve", "edit", "reject", "respond"]
POLICIES: Mapping[str, Any] = {
    "default": {
        "people": ["U_BOSS"],
        "decisions": EVERY,
        "edit": {"fields": ["amount", "to"]},
        "reject_reason": "optional",
        "deadline": "1h",
    },
    "finance": {"people": ["U_CFO"], "decisions": ["approve", "reject"]},
    "small": {
        "tiers": {
            "small": {"when": "args.amount <= 100", "auto": True},
            "huge": {"when": "args.amount > 10000", "block": True},
            "large": {"people": ["U_BOSS"]},
        },
        "decisions": ["approve", "edit", "reject"],
        "edit": {"fields": ["amount"]},
    },
    "answers": {"people": ["U_BOSS"], "decisions": ["respond"]},
}


def one_call(name: str = "transfer", **args: Any) -> dict[str, Any]:
    """Return what LangChain asks for one call."""
    return {
        "type": "tool_approval",
        "tool_call_id": "call_1",
        "name": name,
        "args": args or {"amount": 1, "to": "ann"},
        "description": "It is *safe*.",
    }


def batch(*names: str, allowed: Any = EVERY) -> dict[str, Any]:
    """Return what LangChain asks for several calls at once."""
    return {
        "action_requests": [
            {"name": name, "args": {"amount": number}, "description": f"no. {number}"}
            for number, name in enumerate(names)
        ],
        "review_configs": [{"action_name": n, "allowed_decisions": [*allowed]} for n in dict.fromkeys(names)],
    }


def inbox(**flags: bool) -> dict[str, Any]:
    """Return what Agent Inbox shows."""
    config = dict.fromkeys(("allow_ignore", "allow_respond", "allow_edit", "allow_accept"), True) | flags
    return {
        "action_request": {"action": "Send email", "args": {"to": "ann"}},
        "config": config,
        "description": "Shall I?",
    }


def asking(value: Any, **more: Any) -> CompiledGraph:
    async def ask(state: Log) -> Log:
        return {"answer": interrupt(value, **more)}

    async def end(state: Log) -> Log:
        return {"log": ["ended"]}

    return one_after_another("agent", ask=ask, end=end)


@dataclass
class Desk:
    """A run that asks, and those who decide."""

    runtime: Runtime
    store: Store
    approvals: Approvals
    run: Run

    async def open(self) -> list[RequestView]:
        found = await self.approvals.find(run_id=self.run.id, status="open")
        return [await view_of(self.approvals, one.id) for one in found]

    async def decide(self, view: RequestView, verdict: Any, **said: Any) -> RequestView:
        return await self.approvals.decide(ticket_of(view, self.store), boss(), verdict, place=API, **said)

    async def answered(self) -> Any:
        run = await self.runtime.advance(self.run.id)
        assert run.status == "completed", run.error
        return (await values(self.runtime, run))["answer"]

    async def waits(self) -> bool:
        """Say whether the question is open still, and nothing of the run was moved."""
        look = await self.runtime.look(self.run.id)
        return look.run.status == "interrupted" and len(look.open) == 1


async def desk_of(make_runtime: MakeRuntime, value: Any, *, tools: Any = None, **more: Any) -> Desk:
    graph = asking(value, **more)
    runtime = make_runtime(graph, companions=[Requests(read_policies(POLICIES), tools=tools)])
    return Desk(runtime, runtime.store, approvals_of(runtime), await begin(runtime))


# -- what is asked -------------------------------------------------------------------------------------------


def test_each_shape_is_read() -> None:
    one = neighbours.read(one_call())
    assert one is not None
    assert (one.shape, len(one.calls)) == ("tool_approval", 1)
    assert one.calls[0].action == Action("transfer", {"amount": 1, "to": "ann"})
    assert (one.calls[0].allowed, one.calls[0].description) == (neighbours.ALL, "It is *safe*.")
    many = neighbours.read(batch("a", "b", "a", allowed=["approve", "reject"]))
    assert many is not None
    assert [call.action.name for call in many.calls] == ["a", "b", "a"]
    assert {call.allowed for call in many.calls} == {frozenset({"approve", "reject"})}
    for value in (inbox(allow_edit=False), [inbox(allow_edit=False)]):
        shown = neighbours.read(value)
        assert shown is not None
        assert (shown.shape, shown.calls[0].action.name) == ("agent_inbox", "Send email")
        assert shown.calls[0].allowed == {"approve", "reject", "respond"}


@pytest.mark.parametrize(
    "value", [None, "Publish?", 3, [], ["a"], {}, {"type": "other"}, {"question": "x"}, [1, {"a": 1}]]
)
def test_what_is_nobodys_is_left_to_us(value: Any) -> None:
    assert neighbours.read(value) is None
    assert neighbours.reader(value) is None


def test_of_two_configs_for_one_tool_both_must_allow_it() -> None:
    value = batch("a")
    value["review_configs"].append({"action_name": "a", "allowed_decisions": ["reject", "edit"]})
    asked = neighbours.read(value)
    assert asked is not None
    assert asked.calls[0].allowed == {"reject", "edit"}


def test_a_schema_of_the_answer_narrows_what_is_allowed() -> None:
    branch = {"properties": {"type": {"const": "approve"}}}
    schema = {
        "anyOf": [branch, {"$ref": "#/$defs/R"}],
        "$defs": {"R": {"properties": {"type": {"enum": ["reject"]}}}},
    }
    asked = neighbours.read(one_call(), schema)
    assert asked is not None
    assert asked.calls[0].allowed == {"approve", "reject"}
    plain = neighbours.read(one_call(), {"type": "object", "properties": {"type": {"type": "string"}}})
    assert plain is not None
    assert plain.calls[0].allowed == neighbours.ALL


def without(value: dict[str, Any], *path: Any) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(value))
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return changed


WRONG: Mapping[str, tuple[Any, str]] = {
    "no name": (without(one_call(), "name"), "no name"),
    "a blank name": ({**one_call(), "name": " "}, "no name"),
    "no args": (without(one_call(), "args"), "no mapping by name"),
    "args of numbers": ({**one_call(), "args": {1: 2}}, "no mapping by name"),
    "no id": (without(one_call(), "tool_call_id"), "tool_call_id"),
    "a description that is no text": ({**one_call(), "description": 3}, "no text"),
    "no action": ({"action_requests": [], "review_configs": []}, "no list of one or more"),
    "actions that are no list": ({"action_requests": "a", "review_configs": []}, "no list of one or more"),
    "an action that is text": ({"action_requests": ["a"], "review_configs": []}, "no name"),
    "no configs": (without(batch("a"), "review_configs"), "review_configs"),
    "no config for it": (
        {**batch("a"), "review_configs": batch("b")["review_configs"]},
        "no review_config for 'a'",
    ),
    "a config without decisions": (
        without(batch("a"), "review_configs", 0, "allowed_decisions"),
        "allowed_decisions",
    ),
    "a config that is text": ({**batch("a"), "review_configs": ["a"]}, "allowed_decisions"),
    "an unknown decision": (batch("a", allowed=["ignore"]), "no decision"),
    "two in a list": ([inbox(), inbox()], "there are 2"),
    "no config": (without(inbox(), "config"), "allow_ignore"),
    "a flag is missing": (without(inbox(), "config", "allow_edit"), "allow_ignore"),
    "an action without a name": (without(inbox(), "action_request", "action"), "no action"),
    "an action that says nothing": ({**inbox(), "action_request": None}, "no action"),
    "facts that are text": ({**one_call(), "facts": "x"}, "facts of 'transfer' are no mapping"),
    "a fact that hides": ({**one_call(), "facts": {neighbours.BY_THE_MODEL: 1}}, "another thing's name"),
    "an argument that hides": (one_call(**{neighbours.BY_THE_MODEL: 1}), "shown in its place"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_shape_fails_the_run_and_says_what_is_wrong(
    make_runtime: MakeRuntime, case: str
) -> None:
    value, why = WRONG[case]
    desk = await desk_of(make_runtime, value)
    assert (desk.run.status, (desk.run.error or {})["type"]) == ("failed", "ValueRefused")
    assert why in (desk.run.error or {})["message"]
    assert await desk.approvals.find() == []
    assert neighbours.reader(value) is None or "hides" in case


@pytest.mark.parametrize(
    ("value", "policy"),
    [
        (batch("a", allowed=["respond"]), "finance"),
        (batch("a", allowed=[]), "default"),
        (inbox(allow_accept=False, allow_ignore=False), "finance"),
        (one_call(), "answers"),
        (batch("a", allowed=["edit"]), "small"),
    ],
)
async def test_a_gate_that_nobody_could_answer_is_refused(
    make_runtime: MakeRuntime, value: Any, policy: str
) -> None:
    schema = {"properties": {"type": {"const": "approve"}}} if policy == "answers" else None
    desk = await desk_of(make_runtime, value, tools={"*": policy}, response_schema=schema)
    assert (desk.run.status, (desk.run.error or {})["type"]) == ("failed", "PolicyError")
    assert "one of them must allow what the other does" in (desk.run.error or {})["message"]
    assert await desk.approvals.find() == []


def test_a_tool_names_a_policy_that_is_there() -> None:
    with pytest.raises(PolicyError, match="'lost'"):
        Requests(read_policies(POLICIES), tools={"transfer_*": "finance", "*": "lost"})


# -- what is answered ----------------------------------------------------------------------------------------

ACTION = Action("transfer", {"amount": 1})
PIN = {"name": "transfer", "args": {"amount": 2}}
#: outcome, reason: what LangChain is told, what Agent Inbox is.
SAID: Mapping[tuple[Any, str | None], tuple[Any, Any]] = {
    ("approved", None): ({"type": "approve"}, {"type": "accept", "args": None}),
    ("edited", None): (
        {"type": "edit", "edited_action": PIN},
        {"type": "edit", "args": {"action": "transfer", "args": {"amount": 2}}},
    ),
    ("rejected", "no"): ({"type": "reject", "message": "no"}, {"type": "ignore", "args": None}),
    ("rejected", None): ({"type": "reject"}, {"type": "ignore", "args": None}),
    ("responded", "Ask Ann"): (
        {"type": "respond", "message": "Ask Ann"},
        {"type": "response", "args": "Ask Ann"},
    ),
    ("timed_out", None): (
        {"type": "reject", "message": "timed out, nobody decided; do not retry"},
        {"type": "ignore", "args": None},
    ),
    ("withdrawn", None): (
        {"type": "reject", "message": neighbours.WITHDRAWN},
        {"type": "ignore", "args": None},
    ),
}


@pytest.mark.parametrize("said", SAID)
def test_each_outcome_in_each_shape(said: Any) -> None:
    outcome, reason = said
    arguments = {"amount": 2} if outcome == "edited" else None
    decision = Decision(outcome, RequestId("r"), "", reason=reason, arguments=arguments)
    langchain, agent_inbox = SAID[said]
    for shape in ("tool_approval", "hitl_request"):
        assert neighbours.decided(shape, ACTION, decision) == langchain  # type: ignore[arg-type]
    assert neighbours.decided("agent_inbox", ACTION, decision) == agent_inbox
    assert neighbours.answer("tool_approval", [langchain]) == langchain
    assert neighbours.answer("hitl_request", [langchain]) == {"decisions": [langchain]}
    assert neighbours.answer("agent_inbox", [agent_inbox]) == [agent_inbox]
    # What we answer is what we take.
    for value, given in (
        (one_call(amount=1), langchain),
        (batch("transfer"), {"decisions": [langchain]}),
        ({**inbox(), "action_request": {"action": "transfer", "args": {}}}, [agent_inbox]),
    ):
        read = neighbours.reader(value)
        assert read is not None
        assert read(given) is given


@pytest.mark.parametrize(
    ("outcome", "reason", "words"),
    [
        ("timed_out", None, neighbours.TIMED_OUT),
        ("withdrawn", None, neighbours.WITHDRAWN),
        ("rejected", "no", "no"),
        ("rejected", None, "rejected; do not retry"),
    ],
)
def test_a_no_is_said_in_words_where_only_those_are_allowed(outcome: Any, reason: Any, words: str) -> None:
    decision = Decision(outcome, RequestId("r"), "", reason=reason)
    allowed: Any = ("approve", "respond")
    told = neighbours.decided("hitl_request", ACTION, decision, allowed)
    assert told == {"type": "respond", "message": words}
    assert neighbours.decided("agent_inbox", ACTION, decision, allowed) == {"type": "response", "args": words}
    assert neighbours.decided("hitl_request", ACTION, decision, ("approve",))["type"] == "reject"


@BOTH
async def test_a_deadline_is_told_in_words_to_who_takes_no_rejection(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    desk = await desk_of(make_runtime, batch("a", "b", allowed=["approve", "respond"]))
    clock.pass_seconds(3_600)
    await desk.approvals.expire_due()
    late = {"type": "respond", "message": neighbours.TIMED_OUT}
    assert await desk.answered() == {"decisions": [late, late]}


async def test_the_card_of_a_part_says_which_it_is(make_runtime: MakeRuntime) -> None:
    desk = await desk_of(make_runtime, batch("a", "b" * 200))
    first, second = [view.request.title for view in await desk.open()]
    assert first == "Use the tool a (1 of 2)"
    assert (second[-11:], len(second)) == ("bbb (2 of 2)"[-11:], 150)


VERDICTS: Mapping[str, tuple[dict[str, Any], Any, Any]] = {
    "approve": ({}, {"type": "approve"}, {"type": "accept", "args": None}),
    "edit": (
        {"edited": {"to": "bob"}},
        {"type": "edit", "edited_action": {"name": "Send email", "args": {"to": "bob"}}},
        {"type": "edit", "args": {"action": "Send email", "args": {"to": "bob"}}},
    ),
    "reject": ({"reason": "no"}, {"type": "reject", "message": "no"}, {"type": "ignore", "args": None}),
    "respond": (
        {"reason": "Ask Ann"},
        {"type": "respond", "message": "Ask Ann"},
        {"type": "response", "args": "Ask Ann"},
    ),
}


@pytest.mark.parametrize("verdict", VERDICTS)
async def test_people_decide_one_call_and_the_node_has_it_in_its_shape(
    make_runtime: MakeRuntime, verdict: str
) -> None:
    said, langchain, agent_inbox = VERDICTS[verdict]
    for value, expected in (
        (one_call("Send email", to="ann"), langchain),
        (inbox(), [agent_inbox]),
        ([inbox()], [agent_inbox]),
    ):
        desk = await desk_of(make_runtime, value)
        (view,) = await desk.open()
        request = view.request
        assert request.action == Action("Send email", {"to": "ann"})
        assert (request.title, request.policy_name) == ("Use the tool Send email", "default")
        assert list(request.facts) == ["written by the model, not verified"]
        await desk.decide(view, verdict, **said)
        assert await desk.answered() == expected


async def test_what_the_neighbour_does_not_allow_is_not_offered(make_runtime: MakeRuntime) -> None:
    desk = await desk_of(make_runtime, inbox(allow_edit=False, allow_respond=False))
    (view,) = await desk.open()
    assert view.case.policy.decisions == ("approve", "reject")
    with pytest.raises(Refused, match="no such answer"):
        await desk.decide(view, "edit", edited={"to": "bob"})
    with pytest.raises(Refused, match="no such answer"):
        await desk.decide(view, "respond", reason="Ask Ann")
    assert await desk.waits()


async def test_a_glob_says_by_which_policy_a_tool_is_decided(make_runtime: MakeRuntime) -> None:
    desk = await desk_of(
        make_runtime, batch("transfer_funds", "read"), tools={"transfer_*": "finance", "*": "default"}
    )
    finance, other = await desk.open()
    assert (finance.request.policy_name, other.request.policy_name) == ("finance", "default")
    with pytest.raises(Refused, match="not among those"):
        await desk.decide(finance, "approve")


class Approve(TypedDict):
    type: Literal["approve"]


class Reject(TypedDict):
    type: Literal["reject"]
    message: NotRequired[str]


async def test_a_type_that_langchain_gives_with_its_question_says_what_is_offered(
    make_runtime: MakeRuntime,
) -> None:
    either = Annotated[Approve | Reject, Discriminator("type")]
    desk = await desk_of(make_runtime, one_call(), response_schema=either)
    (view,) = await desk.open()
    assert view.case.policy.decisions == ("approve", "reject")
    await desk.decide(view, "reject", reason="no")
    assert await desk.answered() == {"type": "reject", "message": "no"}


# -- a batch -------------------------------------------------------------------------------------------------

THREE = [
    {"type": "approve"},
    {"type": "edit", "edited_action": {"name": "b", "args": {"amount": 7}}},
    {"type": "reject", "message": "no"},
]


@BOTH
@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
async def test_c1_three_calls_are_decided_in_any_order_and_answered_by_position(
    make_runtime: MakeRuntime, database: str, order: tuple[int, ...]
) -> None:
    desk = await desk_of(make_runtime, batch("a", "b", "c"))
    views = await desk.open()
    assert [(v.request.part, v.request.parts) for v in views] == [(0, 3), (1, 3), (2, 3)]
    assert len({v.request.digest for v in views}) == 3
    said: list[tuple[Any, dict[str, Any]]] = [
        ("approve", {}),
        ("edit", {"edited": {"amount": 7}}),
        ("reject", {"reason": "no"}),
    ]
    for number, part in enumerate(order):
        assert await desk.waits(), f"{number} of 3 are decided"
        verdict, more = said[part]
        left = await desk.decide(views[part], verdict, **more)
        assert left.request.status == ["approved", "edited", "rejected"][part]
        with pytest.raises(Refused, match="Already"):
            await desk.decide(views[part], "approve")
    assert await desk.answered() == {"decisions": THREE}
    assert len(await events(desk.store, kind="request.opened")) == 3
    with aside(database) as raw:
        cards = raw.execute("SELECT count(*) FROM outbox WHERE kind = 'card'").fetchone()
    assert tuple(cards) == (3,)


@BOTH
async def test_c2_a_wrong_answer_of_a_program_is_refused_and_the_question_is_open_still(
    make_runtime: MakeRuntime,
) -> None:
    yes, no = {"type": "approve"}, {"type": "reject"}
    other = {"type": "edit", "edited_action": {"name": "b", "args": {}}}
    wrong: list[tuple[Any, Any, str]] = [
        (batch("a", "b"), {"decisions": [yes]}, "2 decisions were expected, and there are 1"),
        (batch("a", "b"), {"decisions": [yes, no, no]}, "there are 3"),
        (batch("a"), {"decisions": [{"type": "ignore"}]}, "no type of approve"),
        (batch("a"), {"decisions": "approve"}, "was expected"),
        (batch("a"), [yes], "was expected"),
        (batch("a"), {"decisions": [other]}, "keeps the tool 'a'"),
        (batch("a", allowed=["approve"]), {"decisions": [{**other}]}, "not allowed for 'a'"),
        (one_call(), {"type": "maybe"}, "no type of approve"),
        (one_call(), {"type": ["approve"]}, "no type of approve"),
        (one_call(), "approve", "no type of approve"),
        (one_call(), {"type": "edit"}, "keeps the tool 'transfer'"),
        (one_call(), {"type": "edit", "edited_action": {"name": "transfer"}}, "no mapping"),
        (one_call(), {"type": "respond"}, "no text"),
        (one_call(), {"type": "reject", "message": 3}, "no text"),
        (inbox(), {"type": "accept"}, "a list was expected"),
        (inbox(), [], "there are 0"),
        (inbox(), [{"type": "approve"}], "no type of accept"),
        (inbox(allow_respond=False), [{"type": "response", "args": "x"}], "not allowed"),
        (inbox(), [{"type": "edit", "args": {"action": "Other", "args": {}}}], "keeps the tool"),
    ]
    for value, given, why in wrong:
        runtime = make_runtime(asking(value))
        run = await answer_only(runtime, await begin(runtime), given)
        error = run.error or {}
        assert (run.status, error["type"]) == ("interrupted", "ValueRefused"), given
        assert why in error["message"]
        assert "still open" in error["message"]
    right = await answer_only(runtime, run, [{"type": "ignore"}])
    assert (await values(runtime, right))["answer"] == [{"type": "ignore"}]


@BOTH
async def test_c2_a_program_may_not_answer_past_the_requests(make_runtime: MakeRuntime) -> None:
    desk = await desk_of(make_runtime, batch("a", "b"))
    first, second = await desk.open()
    for _ in range(2):
        with pytest.raises(DecisionNeeded):
            await answer_only(desk.runtime, desk.run, {"decisions": [{"type": "approve"}] * 2})
        assert await desk.waits()
        first = await desk.decide(first, "approve") if first.request.status == "open" else first
    await desk.decide(second, "reject")
    assert await desk.answered() == {"decisions": [{"type": "approve"}, {"type": "reject"}]}


@BOTH
async def test_c3_an_edit_keeps_the_name_of_the_tool(make_runtime: MakeRuntime) -> None:
    desk = await desk_of(make_runtime, one_call())
    (view,) = await desk.open()
    for edited in ({"name": "other"}, {"action": "other"}, {"name": "other", "amount": 2}):
        with pytest.raises(Refused, match="may not be changed"):
            await desk.decide(view, "edit", edited=edited)
        assert await desk.waits()
    await desk.decide(view, "edit", edited={"amount": 2})
    pinned = {"name": "transfer", "args": {"amount": 2, "to": "ann"}}
    assert await desk.answered() == {"type": "edit", "edited_action": pinned}
    # And where a program answers:
    runtime = make_runtime(asking(one_call()))
    given = {"type": "edit", "edited_action": {**pinned, "name": "other"}}
    run = await answer_only(runtime, await begin(runtime), given)
    assert (run.status, (run.error or {})["type"]) == ("interrupted", "ValueRefused")


@BOTH
async def test_c7_an_answer_instead_reaches_the_node_as_text(make_runtime: MakeRuntime) -> None:
    desk = await desk_of(make_runtime, batch("a", "b"))
    first, second = await desk.open()
    with pytest.raises(Refused, match="Say what you answer"):
        await desk.decide(first, "respond")
    await desk.decide(first, "respond", reason="Use the other account")
    await desk.decide(second, "approve")
    told = {"type": "respond", "message": "Use the other account"}
    assert await desk.answered() == {"decisions": [told, {"type": "approve"}]}


@BOTH
async def test_c15_past_the_deadline_the_model_is_told_not_to_try_again(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    desk = await desk_of(make_runtime, batch("a", "b"))
    one = await desk_of(make_runtime, one_call())
    first, second = await desk.open()
    await desk.decide(second, "approve")
    clock.pass_seconds(3_600)
    assert await desk.approvals.expire_due()
    late = {"type": "reject", "message": "timed out, nobody decided; do not retry"}
    assert await desk.answered() == {"decisions": [late, {"type": "approve"}]}
    assert await one.answered() == late
    assert (await view_of(desk.approvals, first.request.id)).request.status == "timed_out"


@BOTH
async def test_all_parts_past_their_deadline_answer_once(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    desk = await desk_of(make_runtime, batch("a", "b", "c"))
    clock.pass_seconds(3_600)
    other = approvals_of(desk.runtime)
    await asyncio.gather(desk.approvals.expire_due(), other.expire_due(), other.expire_due())
    assert [d["type"] for d in (await desk.answered())["decisions"]] == ["reject"] * 3
    assert len(await events(desk.store, kind="request.timed_out")) == 3


@BOTH
@pytest.mark.parametrize("size", [2, 3, 8])
async def test_parts_that_are_decided_at_once_answer_their_question_once(
    make_runtime: MakeRuntime, clock: SettableClock, database: str, size: int
) -> None:
    value = batch(*(f"t{number}" for number in range(size)))
    async with open_store(database) as elsewhere:
        other = approvals_of(Runtime(elsewhere, [asking(value)], clock=clock, owner="elsewhere"))
        for _ in range(10):
            desk = await desk_of(make_runtime, value)
            verdicts = ["approve" if number % 3 else "reject" for number in range(size)]
            await asyncio.gather(
                *(
                    (other if view.request.part % 2 else desk.approvals).decide(
                        ticket_of(view, desk.store), boss(), verdict, place=API
                    )
                    for view, verdict in zip(await desk.open(), verdicts, strict=True)
                )
            )
            assert [d["type"] for d in (await desk.answered())["decisions"]] == verdicts
    with aside(database) as raw:
        unanswered = raw.execute("SELECT count(*) FROM interrupts WHERE status <> 'answered'").fetchone()
    assert tuple(unanswered) == (0,)


@BOTH
async def test_a_cancel_between_two_parts_closes_the_rest(make_runtime: MakeRuntime) -> None:
    desk = await desk_of(make_runtime, batch("a", "b"))
    first, second = await desk.open()
    await desk.decide(first, "approve")
    await desk.runtime.cancel(desk.run.thread_id, desk.run.id, actor="U_OP")
    with pytest.raises(Refused, match="withdrawn"):
        await desk.decide(second, "approve")
    assert (await view_of(desk.approvals, first.request.id)).request.status == "approved"


@BOTH
async def test_a_part_that_is_withdrawn_is_rejected_and_the_others_stay(make_runtime: MakeRuntime) -> None:
    graph = asking(batch("a", "b"))
    runtime = make_runtime(graph, companions=[Requests(read_policies(POLICIES))])
    run = await begin(runtime, requester="U_REQ")
    desk = Desk(runtime, runtime.store, approvals_of(runtime), run)
    first, second = await desk.open()
    ticket = ticket_of(first, desk.store)
    with pytest.raises(Refused, match="somebody else must approve"):
        await desk.approvals.decide(ticket, person("U_REQ"), "approve", place=API)
    await desk.approvals.decide(ticket, person("U_REQ"), "withdraw", place=API)
    await desk.decide(second, "approve")
    gone = {"type": "reject", "message": neighbours.WITHDRAWN}
    assert await desk.answered() == {"decisions": [gone, {"type": "approve"}]}


@BOTH
async def test_a_policy_decides_parts_by_their_arguments(make_runtime: MakeRuntime) -> None:
    value = batch("a", "b", "c")
    for request, amount in zip(value["action_requests"], (50, 20_000, 500), strict=True):
        request["args"] = {"amount": amount}
    desk = await desk_of(make_runtime, value, tools={"*": "small"})
    *_, asked = await desk.open()
    assert await desk.approvals.expire_due()
    assert [view.request.id for view in await desk.open()] == [asked.request.id]
    assert await desk.waits()
    with pytest.raises(Refused, match="needs the rules of tier huge"):
        await desk.decide(asked, "edit", edited={"amount": 20_001})
    await desk.decide(asked, "edit", edited={"amount": 400})
    first, second, third = (await desk.answered())["decisions"]
    assert (first, second["type"]) == ({"type": "approve"}, "reject")
    assert third == {"type": "edit", "edited_action": {"name": "c", "args": {"amount": 400}}}


@BOTH
async def test_a_batch_that_is_asked_otherwise_supersedes_every_part(make_runtime: MakeRuntime) -> None:
    asked = [batch("a", "b"), batch("a", "b", "c")]

    async def ask(state: Log) -> Log:
        one = interrupt(asked[0], key="k")
        return {"answer": one}

    graph = one_after_another("agent", ask=ask)
    runtime = make_runtime(graph, companions=[Requests(read_policies(POLICIES))])
    desk = Desk(runtime, runtime.store, approvals_of(runtime), await begin(runtime))
    first, second = await desk.open()
    await desk.decide(first, "approve")
    del asked[0]
    await desk.decide(second, "approve")
    desk.run = await runtime.advance(desk.run.id)
    assert [view.request.part for view in await desk.open()] == [0, 1, 2]
    assert desk.run.status == "interrupted"


# -- requests from before ------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without a schema."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/before.db"
        return
    with request.getfixturevalue("databases").empty() as address:
        yield address


async def test_requests_of_a_database_from_before_are_there_after_the_migration(
    empty: str, monkeypatch: pytest.MonkeyPatch, clock: SettableClock
) -> None:
    database = empty
    with monkeypatch.context() as patch:
        for backend in ("sqlite", "postgres"):
            patch.setattr(f"graph_runtime.storage.{backend}.migrations", lambda: migrations()[:4])
        async with open_store(database):
            pass
    with aside(database) as raw:
        raw.execute("INSERT INTO threads VALUES ('case', 'run-1', 1)")
        raw.execute(
            "INSERT INTO runs (run_id, thread_id, graph, version, status, driver, head, step, steps_taken, "
            "max_steps, limits, used, origin, created_at, updated_at) VALUES ('run-1', 'case', 'g', '1', "
            "'interrupted', 'worker', 'chk-1', 1, 1, 9, '{}', '{}', 'input', 1, 1)"
        )
        raw.execute(
            "INSERT INTO interrupts VALUES ('int-1', 'case', 'run-1', 'chk-1', 't', '', 'ask', 1, NULL, 0, "
            "'1', 'sha256:0', NULL, 'open', NULL, NULL, 1, 1, NULL, 0)"
        )
        raw.execute(
            "INSERT INTO requests VALUES ('req-1', 'int-1', 'case', 'run-1', 'g', 'ask', 'T', NULL, '{}', "
            """'sha256:0', 'p', '{"people": ["U_A"]}', NULL, '[]', 'open', 2, 5, 1, NULL, NULL)"""
        )
        raw.execute(
            "INSERT INTO decisions VALUES ('dec-1', 'req-1', 'U_A', 'approve', 'ok', 'sha256:0', 'cli', '[]', 0, "
            "0, NULL, 1)"
        )
        raw.execute(
            "INSERT INTO outbox VALUES ('out-1', 'card', 'req-1', 'delivered', 1, 1, 0, '{}', 1, NULL, NULL, "
            "NULL, 1, 1)"
        )
        raw.execute("INSERT INTO receipts VALUES ('out-1', 'req-1', 'card', 'slack', 'A', 'T', 'C', 'M', 1)")
        raw.execute("INSERT INTO due VALUES ('deadline', 'req-1', 5)")
        raw.execute("INSERT INTO executions VALUES ('req-1', 'run-1', 't', 'k', 'sha256:0', 'done', 1, 2)")
    async with open_store(database) as store:
        view = await view_of(approvals_of(Runtime(store, [], clock=clock)), "req-1")
        assert (view.request.part, view.request.parts, view.request.shape) == (0, 1, None)
        assert view.card is not None
        assert (view.card.message, view.votes[0].reason) == ("M", "ok")
    with aside(database) as raw:
        for table in ("requests", "decisions", "outbox", "receipts", "due", "executions"):
            found = raw.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            assert tuple(found) == (1,), table
        names = "sqlite_master" if database.startswith("sqlite") else "information_schema.tables"
        column = "name" if database.startswith("sqlite") else "table_name"
        assert raw.execute(f"SELECT {column} FROM {names} WHERE {column} LIKE '%before'").fetchall() == []  # noqa: S608
        if database.startswith("sqlite"):
            assert raw.execute("PRAGMA foreign_key_check").fetchall() == []


def test_an_answer_that_is_no_type_of_ours_is_a_typed_error() -> None:
    read = neighbours.reader(one_call())
    assert read is not None
    with pytest.raises(ValueRefused, match="still open"):
        read(None)


# -- what was decided, and its grants --------------------------------------------------------------------------


async def test_a_node_is_given_the_decision_on_each_of_its_calls_by_position(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    asked = batch("a", "b", "c", "d")
    asked["action_requests"][0]["facts"] = {"risk": "low"}

    async def ask(state: Log) -> Log:
        interrupt(asked)
        return {"answer": [*await call_decisions(asked), *await call_decisions(asked)]}

    companion = Requests(read_policies(POLICIES), tools={"d": "small"})
    runtime = make_runtime(one_after_another("agent", ask=ask), companions=[companion])
    desk = Desk(runtime, runtime.store, approvals_of(runtime), await begin(runtime))
    await desk.approvals.expire_due()
    first, second, third = await desk.open()
    assert list(first.request.facts.items()) == [("risk", "low"), (neighbours.BY_THE_MODEL, "no. 0")]
    await desk.decide(second, "respond", reason="Ask Ann")
    await desk.decide(first, "edit", edited={"amount": 9})
    clock.pass_seconds(3_600)
    await desk.approvals.expire_due()
    found = await desk.answered()
    assert found[:4] == found[4:]
    edited, responded, late, small = found[:4]
    assert (edited.outcome, edited.by, edited.arguments) == ("edited", ("U_BOSS",), {"amount": 9})
    (vote,) = (await view_of(desk.approvals, first.request.id)).votes
    assert (edited.grant.request_id, edited.grant.digest) == (first.request.id, vote.digest)
    assert (responded.outcome, responded.reason, responded.approved) == ("responded", "Ask Ann", False)
    assert (late.outcome, late.by, late.on_timeout) == ("timed_out", (), "reject")
    assert (small.outcome, small.by, small.tier) == ("approved", ("policy",), "small")
    assert third.request.id == late.request_id


@pytest.mark.parametrize(("about", "status"), [("a", "completed"), ("b", "failed")])
async def test_a_program_grants_nothing_and_what_was_not_asked_has_no_decisions(
    make_runtime: MakeRuntime, about: str, status: str
) -> None:
    async def ask(state: Log) -> Log:
        interrupt(batch("a"))
        return {"log": [str(await call_decisions(batch(about)))]}

    runtime = make_runtime(one_after_another("agent", ask=ask))
    run = await answer_only(runtime, await begin(runtime), {"decisions": [{"type": "approve"}]})
    assert run.status == status
    if status == "failed":
        assert "has not asked that" in (run.error or {})["message"]
    else:
        assert (await values(runtime, run))["log"] == ["()"]
