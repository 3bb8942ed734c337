"""The arithmetic of a step: what is due, how writes merge, what comes next. Pure, so hypothesis can play."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import pytest
from graphs import Log
from hypothesis import given
from hypothesis import strategies as st

from graph_runtime import END, START, Command, InvalidUpdateError, Overwrite, Send, StateGraph
from graph_runtime.plan import (
    Chosen,
    Plan,
    Result,
    after_step,
    check_targets,
    fresh_values,
    merged_values,
    read_return,
    start_task,
    targets_of,
    task_id,
)
from graph_runtime.types import Route, RunId, Task

RUN = RunId("run-1")


def plan(*nodes: str, defer: Sequence[str] = (), edges: Sequence[tuple[Any, str]] = ()) -> Plan:
    """Return a plan of nodes that do nothing, with these edges besides one from START to the first."""
    graph = StateGraph(Log)
    for node in nodes:
        graph.add_node(node, lambda state: None, defer=node in defer)
    graph.add_edge(START, nodes[0])
    for source, target in edges:
        graph.add_edge(source, target)
    return graph.compile().plan


def task(node: str, push: int | None = None) -> Task:
    return Task(task_id(RUN, "", 1, node, push), node, push)


def step(of: Plan, *results: Result, joins: Any = (), held: Sequence[str] = (), values: Any = ()) -> Any:
    return after_step(of, RUN, "", 2, values=dict(values), joins=dict(joins), held=held, results=results)


def names(after: Any) -> list[str]:
    return [due.node for due in after.due]


def test_a_task_has_one_id_wherever_it_runs_and_no_other_task_has_it() -> None:
    ids = [
        task_id(RunId(run), ns, number, node, push)
        for run in ("run-1", "run-2")
        for ns in ("", "a:1", "a:1|b:2")
        for number in (1, 2)
        for node in ("a", "b")
        for push in (None, 0, 1)
    ]
    assert len(set(ids)) == len(ids)
    assert all(len(id_) == 32 and int(id_, 16) >= 0 for id_ in ids)
    assert task_id(RUN, "a:1", 1, "a", None) == task_id(RUN, "a:1", 1, "a", None)


@given(st.permutations(["b", "a", "c", "b:0", "a:1", "c:2"]))
def test_writes_merge_in_task_order_whoever_finished_first(order: list[str]) -> None:
    of = plan("a", "b", "c")
    results = []
    for name in order:
        node, _, push = name.partition(":")
        results.append(Result(task(node, int(push) if push else None), (("log", [name]),)))
    after = step(of, *results, values={"log": ["start"]})
    assert after.changed == {"log": ["start", "a", "b", "c", "b:0", "a:1", "c:2"]}
    assert merged_values(of, {"log": ["start"]}, results)["log"] == after.changed["log"]


def test_edges_lead_on_and_the_end_leads_nowhere() -> None:
    of = plan("a", "b", "c", edges=[("a", "c"), ("a", "b"), ("b", END)])
    after = step(of, Result(task("a")))
    assert names(after) == ["b", "c"]
    assert after.routes == (), "a plain edge is no decision"
    assert [due.id for due in after.due] == [task_id(RUN, "", 2, "b", None), task_id(RUN, "", 2, "c", None)]
    assert names(step(of, Result(task("b")))) == []


def test_a_node_reached_twice_in_one_step_runs_once() -> None:
    of = plan("a", "b", "c", edges=[("a", "c"), ("b", "c")])
    after = step(of, Result(task("a"), goto=("c",)), Result(task("b"), chosen=(Chosen("r", ("c",)),)))
    assert names(after) == ["c"]


def test_goto_adds_to_the_edges() -> None:
    of = plan("a", "b", "c", edges=[("a", "b")])
    after = step(of, Result(task("a"), goto=("c", END)))
    assert names(after) == ["b", "c"]
    assert after.routes == (Route("a", "goto", ("c", END)),)


def test_sends_follow_the_nodes_in_the_order_they_were_sent() -> None:
    of = plan("a", "b", "c", edges=[("a", "c")])
    first = Result(task("a"), goto=(Send("b", 1), Send("c", 2)))
    second = Result(task("b"), chosen=(Chosen("route", (Send("b", 3), "b")),))
    after = step(of, second, first)
    assert [(due.node, due.push, due.arg) for due in after.due] == [
        ("b", None, None),
        ("c", None, None),
        ("b", 0, 1),
        ("c", 1, 2),
        ("b", 2, 3),
    ]
    assert len({due.id for due in after.due}) == 5
    assert after.routes == (
        Route("a", "goto", ("b", "c")),
        Route("b", "branch", ("b", "b"), "route"),
    )


def test_a_list_edge_waits_for_all_also_over_steps() -> None:
    of = plan("a", "b", "c", edges=[(["b", "a"], "c")])
    first = step(of, Result(task("b")))
    assert names(first) == []
    assert first.joins == {'[["a","b"],"c"]': ("b",)}
    again = step(of, Result(task("b")), joins=first.joins)
    assert again.joins == first.joins, "running twice does not count twice"
    last = step(of, Result(task("a")), joins=again.joins)
    assert names(last) == ["c"]
    assert last.joins == {}, "the next round waits anew"
    assert last.routes == (Route("a, b", "join", ("c",)),)
    both = step(of, Result(task("a")), Result(task("b")))
    assert (names(both), both.joins) == (["c"], {})


def test_a_list_edge_to_the_end_ends() -> None:
    of = plan("a", "b", edges=[(["a", "b"], END)])
    after = step(of, Result(task("a")), Result(task("b")))
    assert (names(after), after.joins) == ([], {})


def test_a_deferred_node_waits_until_nothing_else_is_due() -> None:
    of = plan("a", "b", "z", defer=["z"], edges=[("a", "b"), ("a", "z"), ("b", "z")])
    first = step(of, Result(task("a")))
    assert (names(first), first.held) == (["b"], ("z",))
    sending = step(of, Result(task("b"), goto=(Send("a", 1),)), held=first.held)
    assert (names(sending), sending.held) == (["a"], ("z",)), "a Send is something else that is due"
    last = step(of, Result(task("b")), held=first.held)
    assert (names(last), last.held) == (["z"], ())
    assert names(step(of, Result(task("z")))) == []


def test_what_branches_see_has_their_node_s_own_writes_only() -> None:
    of = plan("a", "b")
    before = {"log": ["x"], "subject": "s"}
    assert fresh_values(of, before, [("log", ["y"]), ("subject", "t")]) == {"log": ["x", "y"], "subject": "t"}
    assert before == {"log": ["x"], "subject": "s"}


def test_two_writers_of_a_plain_key_are_refused_and_one_that_writes_twice_too() -> None:
    of = plan("a", "b")
    with pytest.raises(InvalidUpdateError, match="'subject'"):
        step(of, Result(task("a"), (("subject", 1),)), Result(task("b"), (("subject", 2),)))
    with pytest.raises(InvalidUpdateError):
        step(of, Result(task("a"), (("subject", 1), ("subject", 2))))
    assert step(of, Result(task("a"), (("subject", Overwrite(1)),))).changed == {"subject": 1}


def test_overwrite_goes_past_the_reducer_once_per_step() -> None:
    of = plan("a", "b")
    old = {"log": ["old"]}
    write = Result(task("a"), (("log", Overwrite(["new"])),))
    assert step(of, write, Result(task("b"), (("log", ["b"]),)), values=old).changed == {"log": ["new"]}
    with pytest.raises(InvalidUpdateError, match="overwrote"):
        step(of, write, Result(task("b"), (("log", Overwrite([])),)), values=old)


class Numbers(TypedDict, total=False):
    least: Annotated[int, min]
    total: Annotated[int, operator.add]
    any_two: Annotated[Any, lambda left, right: [left, right]]
    doc: Annotated[int, "only words"]


def test_reducers_start_from_their_type_s_empty_value_or_from_the_first_write() -> None:
    graph = StateGraph(Numbers).add_node("a", lambda state: None).add_edge(START, "a")
    of = graph.compile().plan
    assert of.state.start_values() == {"least": 0, "total": 0}
    writes = Result(task("a"), (("total", 2), ("total", 3), ("any_two", 1), ("any_two", 2), ("doc", 7)))
    assert step(of, writes).changed == {"total": 5, "any_two": [1, 2], "doc": 7}


@pytest.mark.parametrize(
    ("returned", "updates", "goto"),
    [
        (None, (), ()),
        ({}, (), ()),
        ({"subject": 1, "unknown": 2}, (("subject", 1),), ()),
        (Command(), (), ()),
        (Command(update={"subject": 1}, goto="a"), (("subject", 1),), ("a",)),
        (Command(goto=["a", "b", END]), (), ("a", "b", END)),
        (Command(goto=("a",)), (), ("a",)),
        (Command(update=[("log", [1]), ("log", [2]), ("unknown", 3)]), (("log", [1]), ("log", [2])), ()),
        ([Command(update={"log": [1]}), {"log": [2]}, None], (("log", [1]), ("log", [2])), ()),
        ((Command(goto="a"), Command(goto="b")), (), ("a", "b")),
    ],
)
def test_a_node_may_return_an_update_a_command_or_several(returned: Any, updates: Any, goto: Any) -> None:
    result = read_return(plan("a", "b"), task("a"), returned)
    assert (result.updates, result.goto) == (updates, goto)


@pytest.mark.parametrize(
    "returned", ["text", 7, [{"subject": 1}], {1, 2}, object(), [Command(), 7], Command(update=7)]
)
def test_any_other_return_is_refused_by_the_node_s_name(returned: Any) -> None:
    with pytest.raises(InvalidUpdateError, match="node 'a'"):
        read_return(plan("a", "b"), task("a"), returned)


@pytest.mark.parametrize("target", ["nowhere", Send("nowhere", 1), Send(END, 1), Send(START, 1), START, ""])
def test_an_unknown_target_is_refused_with_the_nodes_there_are(target: Any) -> None:
    of = plan("a", "b")
    with pytest.raises(InvalidUpdateError, match="a, b"):
        check_targets(of, "a", targets_of(target))
    with pytest.raises(InvalidUpdateError):
        read_return(of, task("a"), Command(goto=target))


def test_the_input_is_a_task_of_start() -> None:
    asked = start_task(RUN, "", 0, (("subject", 1),))
    assert (asked.node, asked.push, asked.arg) == (START, None, (("subject", 1),))
    assert names(step(plan("a", "b", edges=[(START, "b")]), Result(asked))) == ["a", "b"]


def test_a_fingerprint_is_worked_out_once() -> None:
    of = plan("a", "b", edges=[("a", "b")])
    assert of.fingerprint("a") is of.fingerprint("a")
    assert of.fingerprint("a") != of.fingerprint("b")
