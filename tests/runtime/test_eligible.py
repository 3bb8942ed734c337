"""D1: what too few people could ever approve is refused before anybody is asked, however large its group looks."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Collection
from typing import Any

import pytest
from graphs import Log, begin, events, one_after_another
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import MakeRuntime
from people import People, deploy, requests
from structlog.testing import capture_logs

import graph_runtime.eligible
from graph_runtime import LeaseLost, PolicyError, Run, Runtime, Store, interrupt, read_policies
from graph_runtime.eligible import LOOKUPS, check_satisfiable
from graph_runtime.judging import Case
from graph_runtime.types import ApprovalRequest

TWO = {"require": [{"name": "crew", "group": "G_CREW", "count": 2}]}
#: Two rules that the same people fit: three are needed.
TWO_AND_ONE = {
    "require": [
        {"name": "crew", "group": "G_CREW", "count": 2},
        {"name": "owners", "groups": ["G_OWN", "channel:C1"]},
    ]
}


async def asked(
    make_runtime: MakeRuntime, directory: Any, policy: Any, *, also: Collection[str] = ()
) -> tuple[Runtime, Run, list[str]]:
    """Return a run that asks by this policy for U_REQ, how it rests, and what the log says was not learned."""
    runtime = make_runtime(deploy("p", also=also), companions=[requests(p=policy)])
    runtime.ground.directory = directory
    with capture_logs() as said:
        run = await begin(runtime, requester="U_REQ")
    return runtime, run, [line["policy"] for line in said if line["event"] == "approvers.unknown"]


@pytest.mark.parametrize(
    ("people", "policy", "also"),
    [
        (People({"G_CREW": ["U_A", "U_REQ"]}), TWO, ()),
        (People({"G_CREW": ["U_A", "U_B"]}), TWO, ["U_B"]),
        (People({"G_CREW": []}), {"groups": ["G_CREW"]}, ()),
        (People({"G_CREW": ["U_A", "U_G"]}, kinds={"U_G": "guest"}), TWO, ()),
        (People({"G_CREW": ["U_A", "U_B", "U_G"]}, kinds={"U_B": "deactivated", "U_G": "bot"}), TWO, ()),
        (People({"G_CREW": ["U_A", "U_B"], "G_OWN": ["U_B"], "channel:C1": ["U_A"]}), TWO_AND_ONE, ()),
        (People({"G_CREW": ["U_A"]}, lost=["G_OWN"]), TWO_AND_ONE, ()),
        (
            People({"G_CREW": ["U_A", "U_REQ"]}),
            {"stages": [[{"people": ["U_A"]}], [{"name": "crew", "group": "G_CREW"}]]},
            (),
        ),
    ],
    ids=[
        "the requester is no approver",
        "nor is a co-author",
        "nobody is in it",
        "a guest",
        "a closed account and a bot",
        "two in both groups",
        "one rule is enough",
        "nobody decides two stages",
    ],
)
async def test_d1_where_too_few_could_approve_the_run_fails_and_nobody_is_asked(
    make_runtime: MakeRuntime, store: Store, people: People, policy: Any, also: Any
) -> None:
    runtime, run, _ = await asked(make_runtime, people, policy, also=also)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == "PolicyError"
    assert "nobody was asked: it could never be approved" in run.error["message"]
    assert not await events(store, run_id=run.id, kind="request.opened")
    assert (await runtime.look(run.id)).questions == ()


@pytest.mark.parametrize(
    ("people", "policy"),
    [
        (People({"G_CREW": ["U_A", "U_REQ", "U_B"]}), TWO),
        (People({"G_CREW": ["U_A", "U_G", "U_B"]}, kinds={"U_G": "guest"}), TWO),
        (People({"G_CREW": ["U_A", "U_B"], "G_OWN": ["U_B"], "channel:C1": ["U_C"]}), TWO_AND_ONE),
        (People({"G_CREW": ["U_REQ", "U_B"]}), {**TWO, "self_approval": "allow"}),
        (People({"G_CREW": ["U_G"]}, kinds={"U_G": "guest"}), {"people": ["U_A"], "groups": ["G_CREW"]}),
    ],
)
async def test_where_enough_could_approve_they_are_asked(
    make_runtime: MakeRuntime, people: People, policy: Any
) -> None:
    _, run, unknown = await asked(make_runtime, people, policy)
    assert (run.status, unknown) == ("interrupted", []), run.error


@pytest.mark.parametrize(
    "people",
    [
        People({"G_CREW": ["U_A"]}, lost=["G_CREW"]),
        People({"G_CREW": ["U_A", "U_B"]}, kinds={"U_A": "unknown"}),
        People({"G_CREW": [f"U_{n}" for n in range(99)]}, kinds={f"U_{n}": "guest" for n in range(99)}),
    ],
    ids=["a group that cannot be looked up", "a person who cannot", "more guests than are looked up"],
)
async def test_what_cannot_be_learned_is_logged_and_the_request_is_opened(
    make_runtime: MakeRuntime, people: People
) -> None:
    _, run, unknown = await asked(make_runtime, people, TWO)
    assert (run.status, unknown) == ("interrupted", ["p"]), run.error


async def test_a_directory_that_hangs_is_not_waited_for(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(People):
        async def members(self, group: Any) -> Any:
            await asyncio.Event().wait()

    monkeypatch.setattr(graph_runtime.eligible, "SECONDS", 0.05)
    _, run, unknown = await asked(make_runtime, Silent(), TWO)
    assert (run.status, unknown) == ("interrupted", ["p"])


async def test_few_are_looked_up_whatever_the_size_of_the_group(make_runtime: MakeRuntime) -> None:
    crowd = [f"U_{n:04}" for n in range(5_000)]
    people = People({"G_CREW": crowd}, kinds={"U_0000": "guest"})
    await asked(make_runtime, people, TWO)
    assert people.looked_up == ["G_CREW", "U_0000", "U_0001", "U_0002"]
    guests = People({"G_CREW": crowd}, kinds=dict.fromkeys(crowd, "guest"))
    await asked(make_runtime, guests, TWO)
    assert guests.asked == LOOKUPS


async def test_the_parts_of_one_question_share_their_look_ups(make_runtime: MakeRuntime) -> None:
    async def ask(state: Log) -> Log:
        calls = [{"name": "pay", "args": {"n": n}, "description": "to be paid"} for n in range(5)]
        allowed = [{"action_name": "pay", "allowed_decisions": ["approve", "reject"]}]
        return {"answer": interrupt({"action_requests": calls, "review_configs": allowed})}

    people = People({"G_OPS": ["U_OPS"]})
    runtime = make_runtime(one_after_another(ask=ask), companions=[requests(default={"groups": ["G_OPS"]})])
    runtime.ground.directory = people
    assert (await begin(runtime)).status == "interrupted"
    assert people.looked_up.count("U_OPS") == 1


@pytest.mark.parametrize("policy", [{"people": ["U_A"]}, {"tiers": {"all": {"auto": True}}}])
async def test_where_no_group_has_a_say_nobody_is_looked_up(make_runtime: MakeRuntime, policy: Any) -> None:
    people = People()
    _, run, unknown = await asked(make_runtime, people, policy)
    assert (run.status, people.looked_up, unknown) == ("interrupted", [], [])


async def test_a_run_that_is_cancelled_meanwhile_asks_nothing(
    make_runtime: MakeRuntime, store: Store
) -> None:
    class Cancelling(People):
        async def members(self, group: Any) -> Any:
            (run,) = await runtime.runs()
            await runtime.cancel(run.thread_id, run.id, actor="U_REQ")
            return await super().members(group)

    runtime = make_runtime(deploy("p"), companions=[requests(p=TWO)])
    runtime.ground.directory = Cancelling({"G_CREW": ["U_A", "U_B"]})
    run = await runtime.start("deploy", {"subject": "s"})
    with pytest.raises(LeaseLost):
        await runtime.advance(run.id)
    assert (await runtime.get(run.id)).status == "cancelled"
    assert not await events(store, kind="request.opened")


PEOPLE = [f"U_{n}" for n in range(6)]


@given(st.lists(st.tuples(st.integers(1, 2), st.frozensets(st.sampled_from(PEOPLE))), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_it_could_be_approved_exactly_when_some_choice_of_distinct_people_fills_all_places(
    rules: list[tuple[int, frozenset[str]]],
) -> None:
    body = {"require": [{"group": f"G_{n}", "count": count} for n, (count, _) in enumerate(rules)]}
    members = {f"G_{n}": sorted(people) for n, (_, people) in enumerate(rules)}
    places = [people for count, people in rules for _ in range(count)]
    # U_0 asks, and may not approve.
    possible = any(
        all(who in people and who != "U_0" for who, people in zip(chosen, places, strict=True))
        for chosen in itertools.permutations(PEOPLE, len(places))
    )
    case = case_for(body)
    if not possible:
        with pytest.raises(PolicyError, match="could never be approved"):
            check_satisfiable(case, members)
        return
    seated = check_satisfiable(case, members)
    assert len({*seated}) == len(seated) == len(places)
    only_they = {group: [one for one in people if one in seated] for group, people in members.items()}
    assert sorted(check_satisfiable(case, only_they)) == sorted(seated), "they are enough"


def case_for(body: Any) -> Case:
    policy = read_policies({"p": body})["p"]
    said: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(ApprovalRequest))
    said |= {"facts": {}, "requester": "U_0", "also": (), "policy": {}}
    return Case(ApprovalRequest(**said), policy, policy.choose({}))
