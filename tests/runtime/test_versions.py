"""A run that waits is taken to another version of its graph: by an operator, whole, or not at all."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pydantic
import pytest
from graphs import Count, Log, answer, answer_only, begin, events, open_ids, take_all, values
from kit import MakeRuntime, SettableClock
from people import API, approvals_of, boss, open_view, requests, ticket_of

from graph_runtime import (
    END,
    START,
    AsyncSqliteSaver,
    Command,
    CompiledGraph,
    Conflict,
    GraphChanged,
    GraphInterrupt,
    InterruptClosed,
    LeaseLost,
    Limits,
    MigrationRefused,
    Refused,
    Run,
    RunCancelled,
    RunFinished,
    Runtime,
    Send,
    StateGraph,
    Store,
    ThreadBusy,
    UnknownGraph,
    UnknownRun,
    WrongThread,
    interrupt,
    step,
)
from graph_runtime.storage import Batch

pytestmark = pytest.mark.databases("sqlite", "postgres")


def ask(state: Log) -> Any:
    return {"answer": interrupt("pay?")}


def done(state: Log) -> Any:
    return {"log": [f"done {state['answer']}"]}


def audit(state: Log) -> Any:
    return {"log": ["audited"]}


def paying(version: str = "1", *, node: Callable[..., Any] = ask, name: str = "ask") -> CompiledGraph:
    """Return a graph that asks and is done; in version 2, what was answered is audited too."""
    graph = StateGraph(Log).add_node(name, node).add_node(done).add_node(audit)
    graph.add_edge(START, name).add_edge(name, "done").add_edge("done", END).add_edge("audit", END)
    if version != "1":
        graph.add_edge(name, "audit")
    return graph.compile(name="pay", version=version)


async def snapshot(runtime: Runtime, store: Store, run: Run) -> Any:
    """Return all that a refused migration must leave as it is."""
    return await runtime.look(run.id), await events(store), await runtime.history(run.id)


# -- what is done -------------------------------------------------------------------------------------------


async def test_a_run_is_asked_anew_by_the_graph_that_is_registered_now_and_goes_its_way(
    make_runtime: MakeRuntime, store: Store
) -> None:
    run = await begin(make_runtime(paying()))
    newer = make_runtime(paying("2"))
    (old,) = (await newer.look(run.id)).open
    with pytest.raises(GraphChanged):
        await newer.resume(run.thread_id, run.id, old.interrupt.id, "yes")

    seen = await newer.migration(run.thread_id, run.id)
    assert [(c.node, c.part, c.then, c.now) for c in seen.changes] == [
        ("ask", "edges", ("done",), ("audit", "done"))
    ]
    assert (await newer.get(run.id)) == run, "looking changes nothing"

    did = await newer.migrate(run.thread_id, run.id, actor="cli:olga")
    assert did == seen
    assert [one.id for one in did.open] == [old.interrupt.id]
    assert (did.undelivered, did.used, did.unchecked) == ((), (), ())
    moved = await newer.get(run.id)
    assert (moved.version, moved.status, did.status) == ("2", "queued", "queued")

    moved = await newer.advance(run.id)
    (new,) = (await newer.look(run.id)).open
    assert new.interrupt.id != old.interrupt.id
    with pytest.raises(InterruptClosed):
        await newer.resume(run.thread_id, run.id, old.interrupt.id, "yes")
    run = await answer_only(newer, moved, "yes")
    assert (run.status, (await values(newer, run))["log"]) == ("completed", ["audited", "done yes"])

    (line,) = await events(store, kind="run.migrated")
    assert (line.actor, line.run_id, line.thread_id) == ("cli:olga", run.id, run.thread_id)
    assert line.data == {
        "from": "1",
        "to": "2",
        "nodes": ["ask"],
        "asked_anew": [old.interrupt.id],
        "undelivered": [],
    }


async def test_a_card_is_superseded_with_its_question_and_a_click_on_it_is_refused(
    make_runtime: MakeRuntime, store: Store
) -> None:
    old = make_runtime(paying(), companions=[requests()])
    run = await begin(old)
    newer = make_runtime(paying("2"), companions=[requests()])
    approvals = approvals_of(newer)
    before = await open_view(approvals, run.id)
    await newer.migrate(run.thread_id, run.id)
    with pytest.raises(Refused) as refused:
        await approvals.decide(ticket_of(before, store), boss(), "approve", place=API)
    assert refused.value.code == "NOT_PENDING"
    await newer.advance(run.id)
    after = await open_view(approvals, run.id)
    assert after.request.id != before.request.id
    await approvals.decide(ticket_of(after, store), boss(), "approve", place=API)
    assert (await newer.advance(run.id)).status == "completed"
    statuses = [request.status for request in await approvals.find(run_id=run.id)]
    assert sorted(statuses) == ["approved", "superseded"]


@pytest.mark.parametrize("stopped", [False, True], ids=["queued", "needs attention"])
async def test_an_answer_that_had_not_arrived_is_never_delivered_and_that_is_said(
    make_runtime: MakeRuntime, store: Store, *, stopped: bool
) -> None:
    old = make_runtime(paying())
    run = await begin(old)
    (asked,) = (await old.look(run.id)).open
    await old.resume(run.thread_id, run.id, asked.interrupt.id, "yes to version 1", actor="U_BOSS")
    newer = make_runtime(paying("2"))
    if stopped:
        run = await newer.advance(run.id)
        assert run.error is not None
        assert (run.status, run.error["type"]) == ("needs_attention", "GraphChanged")

    did = await newer.migrate(run.thread_id, run.id)
    assert [(one.id, one.node, one.answered_by) for one in did.undelivered] == [
        (asked.interrupt.id, "ask", "U_BOSS")
    ]
    assert did.open == ()
    run = await newer.advance(run.id)
    assert (run.status, run.error) == ("interrupted", None)
    assert "answer" not in await values(newer, run)
    run = await answer_only(newer, run, "yes to version 2")
    assert "done yes to version 2" in (await values(newer, run))["log"]
    (line,) = await events(store, kind="run.migrated")
    assert line.data["undelivered"] == [asked.interrupt.id]


async def test_an_answer_that_an_unfinished_node_went_on_with_is_asked_for_again(
    make_runtime: MakeRuntime,
) -> None:
    def two(state: Log) -> Any:
        return {"answer": [interrupt("first?"), interrupt("second?")]}

    old = make_runtime(paying(node=two))
    run = await answer(old, await begin(old), {"first?": "1 of version 1"})
    newer = make_runtime(paying("2", node=two))
    did = await newer.migrate(run.thread_id, run.id)
    assert (len(did.used), len(did.open), did.undelivered) == (1, 1, ())
    run = await newer.advance(run.id)
    run = await answer(newer, run, {"first?": "1 of version 2"})
    run = await answer(newer, run, {"second?": "2 of version 2"})
    assert (await values(newer, run))["answer"] == ["1 of version 2", "2 of version 2"]


async def test_what_step_recorded_is_not_done_again(make_runtime: MakeRuntime) -> None:
    count = Count()

    async def charge_and_ask(state: Log) -> Any:
        await step("charge", count, "charge")
        return {"answer": interrupt("pay?")}

    run = await begin(make_runtime(paying(node=charge_and_ask)))
    newer = make_runtime(paying("2", node=charge_and_ask))
    await newer.migrate(run.thread_id, run.id)
    run = await answer_only(newer, await newer.advance(run.id), "yes")
    assert (run.status, count.of["charge"]) == ("completed", 1)


async def test_a_finished_sibling_is_not_run_again_and_keeps_its_answer(make_runtime: MakeRuntime) -> None:
    count = Count()

    def graph(version: str) -> CompiledGraph:
        def left(state: Log) -> Any:
            count("left")
            return {"log": [interrupt("left?")]}

        def right(state: Log) -> Any:
            return {"log": [interrupt("right?")]}

        builder = StateGraph(Log).add_node(left).add_node("right", right, version=version).add_node(audit)
        builder.add_edge(START, "left").add_edge(START, "right").add_edge(["left", "right"], "audit")
        return builder.compile(name="pay", version=version)

    old = make_runtime(graph("1"))
    run = await answer(old, await begin(old), {"left?": "left"})
    ran = count.of["left"]
    newer = make_runtime(graph("2"))
    did = await newer.migrate(run.thread_id, run.id)
    assert [(c.node, c.part, c.then, c.now) for c in did.changes] == [("right", "version", ("1",), ("2",))]
    assert [one.node for one in did.open] == ["right"]
    run = await answer(newer, await newer.advance(run.id), {"right?": "right"})
    assert (run.status, count.of["left"]) == ("completed", ran)
    assert (await values(newer, run))["log"] == ["left", "right", "audited"]


async def test_what_a_send_passed_goes_along(make_runtime: MakeRuntime) -> None:
    def graph(version: str) -> CompiledGraph:
        def one(state: Any) -> Any:
            return {"log": [f"{state['subject']} {interrupt(state['subject'])}"]}

        builder = StateGraph(Log).add_node("one", one, version=version)
        builder.add_conditional_edges(START, lambda _: [Send("one", {"subject": s}) for s in "ab"], ["one"])
        return builder.compile(name="pay", version=version)

    run = await begin(make_runtime(graph("1")))
    newer = make_runtime(graph("2"))
    assert len((await newer.migrate(run.thread_id, run.id)).open) == 2
    run = await answer(newer, await newer.advance(run.id), {"a": "yes", "b": "no"})
    assert (await values(newer, run))["log"] == ["a yes", "b no"]


async def test_a_run_may_be_migrated_often_and_with_many_questions_open(make_runtime: MakeRuntime) -> None:
    async def ask_five(state: Log) -> Any:
        async def one(n: int) -> Any:
            return interrupt(f"{n}?")

        return {"answer": await asyncio.gather(*(one(n) for n in range(5)))}

    run = await begin(make_runtime(paying(node=ask_five)), max_steps=9)
    for number in range(2, 7):
        newer = make_runtime(paying(str(number), node=ask_five))
        assert len((await newer.migrate(run.thread_id, run.id)).open) == 5
        run = await newer.advance(run.id)
        assert run.status == "interrupted", run.error
    run = await answer(newer, run, {f"{n}?": n for n in range(5)})
    assert (run.status, (await values(newer, run))["answer"]) == ("completed", [0, 1, 2, 3, 4])


async def test_a_question_that_is_asked_anew_costs_the_run_nothing(make_runtime: MakeRuntime) -> None:
    run = await begin(make_runtime(paying()), limits=Limits(questions=1))
    newer = make_runtime(paying("2"))
    await newer.migrate(run.thread_id, run.id)
    run = await answer_only(newer, await newer.advance(run.id), "yes")
    assert (run.status, run.used["questions"]) == ("completed", 1)


async def test_a_run_is_taken_to_the_version_that_is_named(make_runtime: MakeRuntime) -> None:
    run = await begin(make_runtime(paying()))
    both = make_runtime(paying("1"), paying("3"), paying("2"))
    assert (await both.migrate(run.thread_id, run.id, to="3")).to_version == "3"
    assert (await both.advance(run.id)).version == "3"
    assert (await both.migrate(run.thread_id, run.id, to="1")).to_version == "1"
    run = await answer_only(both, await both.advance(run.id), "yes")
    assert (await values(both, run))["log"] == ["done yes"]


async def test_other_runs_stay_where_they_are(make_runtime: MakeRuntime) -> None:
    old = make_runtime(paying())
    first, second = await begin(old), await begin(old)
    both = make_runtime(paying(), paying("2"))
    await both.migrate(first.thread_id, first.id)
    assert await both.get(second.id) == second
    second = await answer_only(both, second, "yes")
    assert (await values(both, second))["log"] == ["done yes"]


async def test_a_run_that_has_not_begun_takes_its_input_along(make_runtime: MakeRuntime) -> None:
    def graph(version: str) -> CompiledGraph:
        builder = StateGraph(Log).add_node(audit).add_node("other", audit)
        builder.add_conditional_edges(START, lambda state: state["subject"], ["audit", "other"])
        return builder.compile(name="pay", version=version)

    run = await make_runtime(graph("1")).start("pay", {"subject": "audit", "log": ["given"]})
    newer = make_runtime(graph("2"))
    did = await newer.migrate(run.thread_id, run.id)
    assert (did.changes, did.status) == ((), "queued")
    run = await newer.advance(run.id)
    assert (run.status, run.version) == ("completed", "2"), run.error
    assert await values(newer, run) == {"subject": "audit", "log": ["given", "audited"]}


async def test_a_list_that_had_grown_grows_on(make_runtime: MakeRuntime) -> None:
    def graph(version: str) -> CompiledGraph:
        def turn(state: Log) -> Any:
            asked = len(state["log"])
            said = interrupt("on?") if asked == 40 else None
            return Command(update={"log": [said or asked]}, goto=END if asked == 45 else "turn")

        builder = StateGraph(Log).add_node("turn", turn, version=version).add_edge(START, "turn")
        return builder.compile(name="pay", version=version)

    run = await begin(make_runtime(graph("1")))
    newer = make_runtime(graph("2"))
    await newer.migrate(run.thread_id, run.id)
    run = await answer_only(newer, await newer.advance(run.id), "on")
    assert (await values(newer, run))["log"] == [*range(40), "on", *range(41, 46)]


async def test_a_run_that_rests_at_a_breakpoint_rests_there_still(make_runtime: MakeRuntime) -> None:
    def graph(version: str) -> CompiledGraph:
        builder = StateGraph(Log).add_node(done).add_node("audit", audit, version=version)
        builder.add_edge(START, "done").add_edge("done", "audit")
        return builder.compile(name="pay", version=version, interrupt_after=["done"])

    run = await begin(make_runtime(graph("1")), {"answer": "yes"})
    assert (run.status, run.step) == ("interrupted", 1)
    newer = make_runtime(graph("2"))
    assert (await newer.migrate(run.thread_id, run.id)).status == "interrupted"
    assert await take_all(newer) == 0
    await newer.go_on(run.thread_id, run.id)
    run = await newer.advance(run.id)
    assert (run.status, (await values(newer, run))["log"]) == ("completed", ["done yes", "audited"])


async def test_a_new_key_begins_as_the_new_graph_says_and_an_unknown_one_is_kept_and_named(
    make_runtime: MakeRuntime,
) -> None:
    class Less(TypedDict, total=False):
        answer: Any
        notes: Annotated[list[str], operator.add]
        reviewer: str

    def note(state: Less) -> Any:
        return {"notes": [interrupt("note?")]}

    run = await begin(make_runtime(paying()))
    graph = StateGraph(Less).add_node("ask", note).add_edge(START, "ask")
    newer = make_runtime(graph.compile(name="pay", version="2"))
    did = await newer.migrate(run.thread_id, run.id)
    assert did.keys_unknown == ("log", "subject")
    assert did.keys_without_value == ("answer", "notes", "reviewer")
    run = await answer_only(newer, await newer.advance(run.id), "well")
    assert (await values(newer, run)) == {"subject": "s", "log": [], "notes": ["well"]}


async def test_a_run_of_a_caller_waits_for_its_caller(tmp_path: Path) -> None:
    thread = {"configurable": {"thread_id": "t"}}

    def graph(saver: Any, version: str) -> CompiledGraph:
        builder = StateGraph(Log).add_node("ask", ask, version=version).add_edge(START, "ask")
        return builder.compile(checkpointer=saver, name="pay", version=version)

    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "t.db")) as saver:
        await graph(saver, "1").ainvoke({"subject": "s"}, thread)
        newer = graph(saver, "2")
        runtime = saver.runtime_of(newer)
        run = await runtime.last_run("t")
        assert run is not None
        assert (await runtime.migrate("t", run.id)).status == "interrupted"
        (asked,) = (await newer.ainvoke(None, thread))["__interrupt__"]
        assert (await newer.ainvoke(Command(resume={asked.id: "yes"}), thread))["answer"] == "yes"


# -- subgraphs ----------------------------------------------------------------------------------------------


def nested(version: str, *, inner_node: str = "inner_ask", count: Count | None = None) -> CompiledGraph:
    ran = count or Count()

    async def before(state: Log) -> Any:
        ran("before")
        return {"log": ["before"]}

    inner = StateGraph(Log).add_node(before).add_node(inner_node, ask, version=version)
    inner.add_edge(START, "before").add_edge("before", inner_node)
    outer = StateGraph(Log).add_node("sub", inner.compile(name="inner")).add_node(done)
    return outer.add_edge(START, "sub").add_edge("sub", "done").compile(name="pay", version=version)


async def test_a_changed_node_of_a_subgraph_is_migrated_where_the_subgraph_stands(
    make_runtime: MakeRuntime,
) -> None:
    count = Count()
    run = await begin(make_runtime(nested("1", count=count)))
    newer = make_runtime(nested("2", count=count))
    did = await newer.migrate(run.thread_id, run.id)
    assert [(c.node, c.part) for c in did.changes] == [("inner_ask", "version")]
    assert [one.node for one in did.open] == ["inner_ask"]
    run = await answer_only(newer, await newer.advance(run.id), "yes")
    assert (run.status, count.of["before"]) == ("completed", 1)
    assert (await values(newer, run))["log"] == ["before", "done yes"]


async def test_a_node_that_a_subgraph_stands_at_must_be_there(
    make_runtime: MakeRuntime, store: Store
) -> None:
    run = await begin(make_runtime(nested("1")))
    newer = make_runtime(nested("2", inner_node="inner_asks"))
    before = await snapshot(newer, store, run)
    with pytest.raises(MigrationRefused, match="it has no node 'inner_ask'") as refused:
        await newer.migrate(run.thread_id, run.id)
    assert refused.value.nodes == ("inner_ask",)
    assert await snapshot(newer, store, run) == before


async def test_a_subgraph_that_a_function_calls_is_named_and_checked_when_it_is_called(
    make_runtime: MakeRuntime,
) -> None:
    def graph(version: str, inner_version: str) -> CompiledGraph:
        inner = StateGraph(Log).add_node("inner_ask", ask, version=inner_version)
        inner.add_edge(START, "inner_ask")
        compiled = inner.compile(name="inner")

        async def sub(state: Log) -> Any:
            return {"answer": (await compiled.ainvoke({"subject": "inner"}))["answer"]}

        builder = StateGraph(Log).add_node("sub", sub, version=version).add_edge(START, "sub")
        return builder.compile(name="pay", version=version)

    run = await begin(make_runtime(graph("1", "1")))
    newer = make_runtime(graph("2", "1"))
    did = await newer.migrate(run.thread_id, run.id)
    assert [ns.partition(":")[0] for ns in did.unchecked] == ["sub"]
    assert len(did.open) == 1
    run = await newer.advance(run.id)
    run = await answer_only(newer, run, "yes")
    assert (run.status, (await values(newer, run))["answer"]) == ("completed", "yes")

    run = await begin(make_runtime(graph("1", "1")))
    changed = make_runtime(graph("2", "2"))
    await changed.migrate(run.thread_id, run.id)
    run = await changed.advance(run.id)
    assert run.error is not None
    assert (run.status, run.error["type"]) == ("needs_attention", "GraphChanged")


async def test_a_retried_run_is_migrated_where_its_subgraph_stood(make_runtime: MakeRuntime) -> None:
    count = Count()
    old = make_runtime(nested("1", count=count))
    run = await begin(old)
    await old.cancel(run.thread_id, run.id)
    again = await old.retry(run.thread_id, run.id)
    newer = make_runtime(nested("2", count=count))
    did = await newer.migrate(again.thread_id, again.id)
    assert ([c.node for c in did.changes], did.open) == (["inner_ask"], ())
    again = await answer_only(newer, await newer.advance(again.id), "yes")
    assert (again.status, count.of["before"]) == ("completed", 1)


# -- what is refused ----------------------------------------------------------------------------------------


async def refused_whole(newer: Runtime, store: Store, run: Run, words: str, **to: Any) -> MigrationRefused:
    """Check that both looking and migrating are refused with these words, and nothing has changed."""
    before = await snapshot(newer, store, run)
    with pytest.raises(MigrationRefused, match=words):
        await newer.migration(run.thread_id, run.id, **to)
    with pytest.raises(MigrationRefused, match=words) as refused:
        await newer.migrate(run.thread_id, run.id, **to)
    assert "was left as it was" in str(refused.value)
    assert await snapshot(newer, store, run) == before
    return refused.value


async def test_a_node_that_is_due_and_gone_is_named(make_runtime: MakeRuntime, store: Store) -> None:
    run = await begin(make_runtime(paying()))
    newer = make_runtime(paying("2", name="review"))
    refused = await refused_whole(newer, store, run, "it has no node 'ask'.*cancel it, or register")
    assert refused.nodes == ("ask",)
    assert (await newer.cancel(run.thread_id, run.id)).status == "cancelled"


async def test_a_node_that_a_finished_sibling_leads_to_must_be_there(
    make_runtime: MakeRuntime, store: Store
) -> None:
    def graph(version: str, target: str) -> CompiledGraph:
        def quick(state: Log) -> Any:
            return Command(update={"log": ["quick"]}, goto=target)

        builder = StateGraph(Log).add_node("ask", ask, version=version).add_node(quick)
        builder.add_node(target, audit).add_edge(START, "ask").add_edge(START, "quick")
        return builder.compile(name="pay", version=version)

    run = await begin(make_runtime(graph("1", "old_audit")))
    refused = await refused_whole(make_runtime(graph("2", "new_audit")), store, run, "no node 'old_audit'")
    assert refused.nodes == ("old_audit",)


async def test_a_deferred_node_that_waits_must_be_there(make_runtime: MakeRuntime, store: Store) -> None:
    def graph(version: str, last: str) -> CompiledGraph:
        builder = StateGraph(Log).add_node("first", audit).add_node("ask", ask, version=version)
        builder.add_node(last, audit, defer=True)
        builder.add_edge(START, "first").add_edge("first", "ask").add_edge("first", last)
        return builder.compile(name="pay", version=version)

    run = await begin(make_runtime(graph("1", "last")))
    assert (await refused_whole(make_runtime(graph("2", "end")), store, run, "'last'")).nodes == ("last",)


async def test_a_list_edge_that_has_begun_to_wait_must_be_there(
    make_runtime: MakeRuntime, store: Store
) -> None:
    def graph(version: str, *sources: str) -> CompiledGraph:
        builder = StateGraph(Log).add_node("first", audit).add_node("ask", ask, version=version)
        builder.add_node("third", audit).add_node("last", audit)
        builder.add_edge(START, "first").add_edge("first", "ask").add_edge(list(sources), "last")
        return builder.compile(name="pay", version=version)

    run = await begin(make_runtime(graph("1", "first", "ask")))
    newer = make_runtime(graph("2", "ask", "third"))
    await refused_whole(newer, store, run, "no list edge from ask, first to last|from first, ask to last")


class Strict(pydantic.BaseModel):
    subject: str = ""
    answer: Any = None
    amount: int


class Kind(pydantic.BaseModel):
    text: str


class Typed(TypedDict, total=False):
    subject: str
    answer: Any
    kind: Kind


class Added(TypedDict, total=False):
    subject: Annotated[list[str], operator.add]
    answer: Any


class Fewer(TypedDict, total=False):
    answer: Any


def of_state(schema: Any, version: str, **more: Any) -> CompiledGraph:
    async def ask_it(state: Any) -> Any:
        return {"answer": interrupt("pay?")}

    builder = StateGraph(schema).add_node("ask", ask_it, version=version).add_edge(START, "ask")
    return builder.compile(name="pay", version=version, **more)


@pytest.mark.parametrize(
    ("old", "given", "new", "words"),
    [
        (Log, {"subject": "s"}, Strict, r"node 'ask' does not take the run's state \(ValidationError\)"),
        (Log, {"subject": "s"}, Added, r"key 'subject' holds what its reducer does not take \(TypeError\)"),
        (Typed, {"kind": Kind(text="k")}, Log, "names no class 'Kind'"),
        (Log, {"subject": "s"}, list, "its state is a single value and the run's is not"),
    ],
    ids=["a required field", "a reducer", "a class", "a single value"],
)
async def test_a_state_that_does_not_fit_is_refused_without_its_values(
    make_runtime: MakeRuntime, store: Store, old: Any, given: Any, new: Any, words: str
) -> None:
    run = await begin(make_runtime(of_state(old, "1")), given)
    with pytest.raises(MigrationRefused, match=words):
        await make_runtime(of_state(new, "2")).migrate(run.thread_id, run.id)
    assert await make_runtime(of_state(old, "1")).get(run.id) == run
    assert await events(store, kind="run.migrated") == []


async def test_a_key_that_a_finished_sibling_wrote_must_be_there(
    make_runtime: MakeRuntime, store: Store
) -> None:
    def graph(schema: Any, version: str, key: str) -> CompiledGraph:
        builder = StateGraph(schema).add_node("ask", lambda _: {"answer": interrupt("?")}, version=version)
        builder.add_node("quick", lambda _: {key: "quick"})
        return builder.add_edge(START, "ask").add_edge(START, "quick").compile(name="pay", version=version)

    run = await begin(make_runtime(graph(Log, "1", "subject")))
    newer = make_runtime(graph(Fewer, "2", "answer"))
    with pytest.raises(MigrationRefused, match="it has no key 'subject', which the present step has written"):
        await newer.migrate(run.thread_id, run.id)


async def test_a_run_that_is_driven_is_left_to_its_driver_until_its_lease_lapses(
    make_runtime: MakeRuntime, store: Store, clock: SettableClock
) -> None:
    old, newer = make_runtime(paying()), make_runtime(paying("2"))
    run = await begin(old)
    held = await old.take_up(run)
    with pytest.raises(ThreadBusy, match="it is driven at this moment"):
        await newer.migrate(run.thread_id, run.id)
    assert await old.get(run.id) == held
    clock.pass_seconds(31)
    await newer.migrate(run.thread_id, run.id)
    with pytest.raises(LeaseLost):
        await old.drive(held)
    assert (await newer.advance(run.id)).status == "interrupted"


async def test_a_run_that_needs_attention_for_another_reason_is_left_alone(
    make_runtime: MakeRuntime, store: Store
) -> None:
    def swallow(state: Log) -> Any:
        try:
            return {"answer": interrupt("pay?")}
        except GraphInterrupt:
            return {"answer": "yes"}

    run = await begin(make_runtime(paying(node=swallow)))
    assert run.status == "needs_attention"
    await refused_whole(make_runtime(paying("2")), store, run, "another reason.*PauseSwallowed")


async def test_a_run_that_stands_where_it_should_is_left_alone(
    make_runtime: MakeRuntime, store: Store
) -> None:
    runtime = make_runtime(paying())
    run = await begin(runtime)
    await refused_whole(runtime, store, run, "it stands on version '1' .* and can be answered")
    with pytest.raises(UnknownGraph, match=r"version '7' of graph 'pay' was not found; registered are 1$"):
        await runtime.migrate(run.thread_id, run.id, to="7")
    with pytest.raises(UnknownRun):
        await runtime.migrate(run.thread_id, "run-nothing")
    other = await begin(runtime)
    with pytest.raises(WrongThread):
        await runtime.migrate(other.thread_id, run.id)
    await runtime.cancel(other.thread_id, other.id)
    with pytest.raises(RunCancelled):
        await runtime.migrate(other.thread_id, other.id)
    run = await answer_only(runtime, run, "yes")
    with pytest.raises(RunFinished):
        await make_runtime(paying("2")).migrate(run.thread_id, run.id)
    with pytest.raises(UnknownGraph, match="no version of it is registered here"):
        await make_runtime(only_audit("other")).migrate(*(await _paused(runtime)))


def only_audit(name: str) -> CompiledGraph:
    return StateGraph(Log).add_node(audit).add_edge(START, "audit").compile(name=name)


async def _paused(runtime: Runtime) -> tuple[str, str]:
    run = await begin(runtime)
    return run.thread_id, run.id


async def test_a_run_whose_graph_is_back_as_it_was_is_rescued_too(make_runtime: MakeRuntime) -> None:
    old = make_runtime(paying())
    run = await begin(old)
    (asked,) = (await old.look(run.id)).open
    await old.resume(run.thread_id, run.id, asked.interrupt.id, "yes")
    assert (await make_runtime(paying("2")).advance(run.id)).status == "needs_attention"
    did = await old.migrate(run.thread_id, run.id)
    assert (did.changes, len(did.undelivered)) == ((), 1)
    run = await answer_only(old, await old.advance(run.id), "yes again")
    assert (await values(old, run))["log"] == ["done yes again"]


# -- races --------------------------------------------------------------------------------------------------


class Meanwhile:
    """The real store, in front of which something else happens once: just before a migration is committed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.happens: Callable[[], Awaitable[Any]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> Any:
        if batch.name == "migrate" and self.happens is not None:
            happens, self.happens = self.happens, None
            await happens()
        return await self._store.commit(batch)


def two_questions(version: str) -> CompiledGraph:
    async def left(state: Log) -> Any:
        return {"log": [interrupt("left?")]}

    async def right(state: Log) -> Any:
        return {"log": [interrupt("right?")]}

    builder = StateGraph(Log).add_node("left", left, version=version).add_node("right", right)
    return builder.add_edge(START, "left").add_edge(START, "right").compile(name="pay", version=version)


@pytest.fixture
def racing(store: Store, clock: SettableClock) -> tuple[Meanwhile, Runtime]:
    meanwhile: Any = Meanwhile(store)
    return meanwhile, Runtime(meanwhile, [two_questions("2")], clock=clock, owner="operator")


async def test_an_answer_that_comes_in_meanwhile_is_said_to_be_undelivered(
    make_runtime: MakeRuntime, racing: tuple[Meanwhile, Runtime]
) -> None:
    meanwhile, newer = racing
    old = make_runtime(two_questions("1"))
    run = await begin(old)
    ids = await open_ids(old, run)
    await old.resume(run.thread_id, run.id, ids["left?"], "left")
    meanwhile.happens = lambda: old.resume(run.thread_id, run.id, ids["right?"], "right", actor="U_BOSS")
    did = await newer.migrate(run.thread_id, run.id)
    assert [(one.node, one.answered_by) for one in did.undelivered] == [("left", None), ("right", "U_BOSS")]
    assert did.open == ()
    run = await newer.advance(run.id)
    assert set(await open_ids(newer, run)) == {"left?", "right?"}


@pytest.mark.parametrize(
    ("what", "error"), [("cancel", RunCancelled), ("drive", ThreadBusy), ("answer", RunFinished)]
)
async def test_a_run_that_moves_meanwhile_is_looked_at_again(
    make_runtime: MakeRuntime,
    racing: tuple[Meanwhile, Runtime],
    store: Store,
    what: str,
    error: type[Exception],
) -> None:
    meanwhile, newer = racing
    old = make_runtime(two_questions("1"))
    run = await begin(old)

    async def happens() -> None:
        match what:
            case "cancel":
                await old.cancel(run.thread_id, run.id)
            case "drive":
                await old.take_up(run)
            case _:
                await answer(old, run, {"left?": "l", "right?": "r"})

    meanwhile.happens = happens
    with pytest.raises(error):
        await newer.migrate(run.thread_id, run.id)
    assert await events(store, kind="run.migrated") == []


async def test_a_run_that_rests_elsewhere_meanwhile_is_migrated_from_there(
    make_runtime: MakeRuntime, racing: tuple[Meanwhile, Runtime]
) -> None:
    meanwhile, newer = racing
    old = make_runtime(two_questions("1"))
    run = await begin(old)
    meanwhile.happens = lambda: answer(old, run, {"left?": "of version 1"})
    did = await newer.migrate(run.thread_id, run.id)
    assert [one.node for one in did.open] == ["right"]
    run = await newer.advance(run.id)
    run = await answer(newer, run, {"right?": "of version 2"})
    assert (await values(newer, run))["log"] == ["of version 1", "of version 2"]


async def test_of_two_migrations_at_once_one_is_done_and_the_other_finds_nothing_to_do(
    make_runtime: MakeRuntime, store: Store
) -> None:
    run = await begin(make_runtime(paying()))
    newer = [make_runtime(paying("2")) for _ in range(4)]
    outcomes = await asyncio.gather(
        *(one.migrate(run.thread_id, run.id) for one in newer), return_exceptions=True
    )
    assert len([one for one in outcomes if not isinstance(one, BaseException)]) == 1
    assert [type(one) for one in outcomes if isinstance(one, BaseException)] == [MigrationRefused] * 3
    assert len(await events(store, kind="run.migrated")) == 1


async def test_a_migrated_run_can_be_gone_through_again(make_runtime: MakeRuntime) -> None:
    run = await begin(make_runtime(nested("1")))
    newer = make_runtime(nested("2"))
    await newer.migrate(run.thread_id, run.id)
    run = await answer_only(newer, await newer.advance(run.id), "yes")
    replayed = await newer.replay(run.id)
    assert (replayed.divergence, replayed.skipped) == (None, ())
    assert replayed.steps > 0


async def test_a_migration_that_lost_a_race_looks_again(
    make_runtime: MakeRuntime, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await begin(make_runtime(nested("1", count=Count())))
    commit, lost = store.commit, []

    async def loses_once(batch: Batch) -> Any:
        if batch.name == "migrate" and not lost:
            lost.append(batch)
            raise Conflict("run unchanged", batch.name)
        return await commit(batch)

    monkeypatch.setattr(store, "commit", loses_once)
    did = await make_runtime(nested("2", count=Count())).migrate(run.thread_id, run.id)
    assert (len(lost), [one.node for one in did.open]) == (1, ["inner_ask"])
