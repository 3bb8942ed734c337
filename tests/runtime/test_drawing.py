"""Where a run stands: the way it took, what may follow, and the graph as Mermaid text."""

from __future__ import annotations

import dataclasses
import operator
from typing import Annotated, Any, TypedDict

import pytest
from graphs import Log, answer, answer_only, begin, one_after_another, review_then_publish
from kit import MakeRuntime

from graph_runtime import END, START, Command, Run, Runtime, Send, StateGraph, Way, interrupt


def note(state: Log) -> Any:
    return {"log": ["note"]}


def ask(state: Log) -> Any:
    return {"answer": interrupt("?")}


async def way_of(runtime: Runtime, run: Run, **more: Any) -> Way:
    return await runtime.way(await runtime.look(run.id), **more)


def said(way: Way) -> list[tuple[int | None, dict[str, str]]]:
    return [(stage.step, {stop.node: stop.mark for stop in stage.stops}) for stage in way.stages]


async def test_a_run_that_waits_shows_what_is_done_where_it_waits_and_what_may_follow(
    make_runtime: MakeRuntime,
) -> None:
    graph = StateGraph(Log).add_node("draft", note).add_node("review", ask).add_node("publish", note)
    graph.add_node("stop", note).add_node("archive", note).add_node("unused", note)
    graph.add_edge(START, "draft").add_edge("draft", "review").add_edge("publish", "archive")
    graph.add_conditional_edges("review", lambda state: state["answer"], ["publish", "stop"])
    graph.add_edge("unused", END)
    runtime = make_runtime(graph.compile())
    run = await begin(runtime)
    way = await way_of(runtime, run)
    assert said(way) == [
        (0, {"draft": "done"}),
        (1, {"review": "waits"}),
        (None, {"publish": "ahead", "stop": "ahead"}),
        (None, {"archive": "ahead"}),
    ]
    assert (way.elsewhere, way.cut) == (("unused",), False)

    run = await answer_only(runtime, run, "publish")
    way = await way_of(runtime, run)
    assert said(way) == [
        (0, {"draft": "done"}),
        (1, {"review": "done"}),
        (2, {"publish": "done"}),
        (3, {"archive": "done"}),
    ]
    assert way.elsewhere == ("stop", "unused")
    chose = {stop.node: stop.chose for stage in way.stages for stop in stage.stops}
    assert chose["review"] == ("publish (<lambda>)",)
    assert chose["draft"] == ()


async def test_a_goto_is_said_where_it_was_chosen(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(review_then_publish())
    run = await answer_only(runtime, await begin(runtime), {"decision": "reject"})
    first, second = (await way_of(runtime, run)).stages
    assert [stop.chose for stop in (*first.stops, *second.stops)] == [("stop (goto)",), ()]


async def test_nodes_of_one_step_stand_side_by_side_each_with_its_mark(make_runtime: MakeRuntime) -> None:
    graph = StateGraph(Log).add_node("a", ask).add_node("b", note).add_node("c", ask)
    graph.add_edge(START, "a").add_edge(START, "b").add_edge(START, "c").add_edge(["a", "b", "c"], "d")
    runtime = make_runtime(graph.add_node("d", note).compile())
    run = await begin(runtime)
    (asked,) = [q for q in (await runtime.look(run.id)).open if q.node == "c"]
    assert said(await way_of(runtime, run)) == [
        (0, {"a": "waits", "b": "done", "c": "waits"}),
        (None, {"d": "ahead"}),
    ]
    await runtime.resume(run.thread_id, run.id, asked.interrupt.id, "yes")
    assert said(await way_of(runtime, run))[0] == (0, {"a": "waits", "b": "done", "c": "here"})


async def test_sends_of_one_node_are_counted(make_runtime: MakeRuntime) -> None:
    graph = StateGraph(Log).add_node("one", note)
    graph.add_conditional_edges(START, lambda _: [Send("one", {}) for _ in range(3)], ["one"])
    runtime = make_runtime(graph.compile())
    way = await way_of(runtime, await begin(runtime))
    assert [(stop.node, stop.mark, stop.times) for stage in way.stages for stop in stage.stops] == [
        ("one", "done", 3)
    ]


async def test_what_a_run_failed_with_and_what_it_never_came_to_are_told_apart(
    make_runtime: MakeRuntime,
) -> None:
    def fail(state: Log) -> Any:
        raise ValueError("broken")

    runtime = make_runtime(one_after_another(a=note, b=fail, c=note))
    run = await begin(runtime)
    way = await way_of(runtime, run)
    assert said(way) == [(0, {"a": "done"}), (1, {"b": "failed"})]
    assert way.elsewhere == ("c",)
    waiting = make_runtime(one_after_another("other", a=note, b=ask, c=note))
    run = await begin(waiting)
    await waiting.cancel(run.thread_id, run.id)
    assert said(await way_of(waiting, run)) == [(0, {"a": "done"}), (1, {"b": "stopped"})]


async def test_a_queued_run_has_its_way_ahead_of_it(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(one_after_another(a=note, b=note))
    run = await runtime.start("graph", {"subject": "s"})
    assert said(await way_of(runtime, run)) == [(0, {"a": "here"}), (None, {"b": "ahead"})]

    graph = StateGraph(Log).add_node("a", note).add_node("b", note)
    graph.add_conditional_edges(START, lambda _: "a", ["a", "b"])
    runtime = make_runtime(graph.compile(name="chosen"))
    run = await runtime.start("chosen", {"subject": "s"})
    assert said(await way_of(runtime, run)) == [
        (-1, {START: "here"}),
        (None, {"a": "ahead", "b": "ahead"}),
    ]
    assert said(await way_of(runtime, await runtime.advance(run.id))) == [(0, {"a": "done"})]


async def test_what_an_edit_took_the_place_of_is_not_done(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(one_after_another(a=note, b=ask, c=note))
    run = await begin(runtime)
    await runtime.edit(run.thread_id, {"answer": "edited"}, as_node="b")
    run = await runtime.advance(run.id)
    assert said(await way_of(runtime, run)) == [(0, {"a": "done"}), (2, {"c": "done"})]


async def test_a_retried_run_shows_the_step_at_which_it_began(make_runtime: MakeRuntime) -> None:
    fails = True

    def sometimes(state: Log) -> Any:
        if fails:
            raise ValueError("broken")
        return {"log": ["b"]}

    runtime = make_runtime(one_after_another(a=note, b=sometimes, c=note))
    run = await begin(runtime)
    fails = False
    again = await runtime.retry(run.thread_id, run.id)
    assert said(await way_of(runtime, again))[0] == (1, {"b": "here"})
    again = await runtime.advance(again.id)
    assert said(await way_of(runtime, again)) == [(1, {"b": "done"}), (2, {"c": "done"})]


async def test_a_loop_is_shown_as_it_was_gone_and_a_long_one_is_cut(make_runtime: MakeRuntime) -> None:
    class Loop(TypedDict, total=False):
        count: Annotated[int, operator.add]

    def turn(state: Loop) -> Command[Any]:
        over = state["count"] > 9
        return Command(update={"count": 1}, goto="wait" if over else "turn")

    def wait(state: Loop) -> Any:
        interrupt("?")

    graph = StateGraph(Loop).add_node(turn, destinations=("turn", "wait")).add_node(wait)
    runtime = make_runtime(graph.add_edge(START, "turn").add_edge("wait", "turn").compile())
    run = await begin(runtime, {"count": 0})
    way = await way_of(runtime, run, limit=3)
    assert said(way) == [
        (8, {"turn": "done"}),
        (9, {"turn": "done"}),
        (10, {"turn": "done"}),
        (11, {"wait": "waits"}),
        (None, {"turn": "ahead"}),
        (None, {"wait": "ahead"}),
    ]
    assert way.cut
    assert not (await way_of(runtime, run, limit=11)).cut
    assert len((await way_of(runtime, run)).stages) == 14


async def test_a_question_inside_a_subgraph_is_asked_by_the_node_that_it_runs_in(
    make_runtime: MakeRuntime,
) -> None:
    # The outer graph has a node of the same name as the one that asks inside.
    inner = StateGraph(Log).add_node("ask", ask).add_edge(START, "ask").compile(name="inner")
    graph = StateGraph(Log).add_node("ask", note).add_node("sub", inner)
    runtime = make_runtime(graph.add_edge(START, "ask").add_edge("ask", "sub").compile())
    run = await begin(runtime)
    assert said(await way_of(runtime, run)) == [(0, {"ask": "done"}), (1, {"sub": "waits"})]
    drawn = runtime.draw_mermaid(await runtime.look(run.id))
    assert 'n2["sub"]' in drawn
    assert "  class n2 asks\n" in drawn
    assert "class n1" not in drawn


@dataclasses.dataclass
class Old:
    text: str


class With(TypedDict, total=False):
    subject: Any
    old: Old | None
    answer: Any


async def test_the_way_is_shown_though_the_graph_of_today_cannot_read_the_values_on_it(
    make_runtime: MakeRuntime,
) -> None:
    def write(state: Any) -> Any:
        return {"old": Old("x")}

    def forget(state: Any) -> Any:
        return {"old": None}

    def graph(schema: Any) -> Any:
        made = StateGraph(schema).add_node("write", write).add_node("forget", forget)
        made.add_node("ask", lambda _: {"answer": interrupt("?")})
        return made.add_edge(START, "write").add_edge("write", "forget").add_edge("forget", "ask").compile()

    run = await begin(make_runtime(graph(With)))
    newer = make_runtime(graph(Log))
    way = await way_of(newer, run)
    assert said(way) == [(0, {"write": "done"}), (1, {"forget": "done"}), (2, {"ask": "waits"})]


def test_a_drawing_has_every_node_and_edge_once_and_shows_what_is_chosen_as_dotted() -> None:
    graph = StateGraph(Log).add_node("a", note).add_node("b;--> c", note).add_node("c", note)
    graph.add_edge(START, "a").add_edge("a", "c").add_edge(["a", "b;--> c"], "c")
    graph.add_conditional_edges("a", lambda _: "b", {"b": "b;--> c", "end": END})
    graph.add_conditional_edges("c", lambda _: "a")
    assert graph.compile().draw_mermaid() == (
        "flowchart TD\n"
        '  n0(["start"])\n'
        '  n1["a"]\n'
        '  n2["b_--_ c"]\n'
        '  n3["c"]\n'
        '  n4(["end"])\n'
        "  n0 --> n1\n"
        "  n1 --> n3\n"
        "  n2 --> n3\n"
        "  n1 -.-> n2\n"
        "  n1 -.-> n4\n"
        "  n3 -.-> n1\n"
        "  n3 -.-> n2\n"
        "  n3 -.-> n3\n"
        "  n3 -.-> n4\n"
    )


@pytest.mark.parametrize("answered", [False, True])
async def test_a_drawing_marks_what_is_due_and_what_asks(
    make_runtime: MakeRuntime, *, answered: bool
) -> None:
    runtime = make_runtime(one_after_another(a=note, b=ask))
    run = await begin(runtime)
    if answered:
        (question,) = (await runtime.look(run.id)).open
        await runtime.resume(run.thread_id, run.id, question.interrupt.id, "yes")
    drawn = runtime.draw_mermaid(await runtime.look(run.id))
    assert f"  class n2 {'due' if answered else 'asks'}\n" in drawn
    run = await runtime.advance(run.id) if answered else await answer(runtime, run, {"?": "yes"})
    assert "  class n" not in runtime.draw_mermaid(await runtime.look(run.id))
