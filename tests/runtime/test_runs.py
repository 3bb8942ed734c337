"""A run keeps its id to its end, moves under a lease, stops at its limits and says why."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from graphs import (
    Count,
    Log,
    answer_only,
    begin,
    events,
    one_after_another,
    review_then_publish,
    side_by_side,
    take_all,
    values,
)
from kit import MakeRuntime, SettableClock

from graph_runtime import (
    END,
    START,
    Approvals,
    Bell,
    Command,
    CommitUnknown,
    CompiledGraph,
    Conflict,
    EmptyInputError,
    GraphChanged,
    InvalidUpdateError,
    IsLastStep,
    LeaseLost,
    Limits,
    NotPaused,
    Overwrite,
    Policy,
    RemainingSteps,
    Requests,
    Reviewer,
    RunCancelled,
    RunFinished,
    Runtime,
    StateGraph,
    Store,
    StoreUnavailable,
    ThreadBusy,
    UnknownGraph,
    UnknownRun,
    UnknownThread,
    Worker,
    interrupt,
    keep_doing,
    open_store,
    step,
)
from graph_runtime.storage import Do

pytestmark = pytest.mark.databases("sqlite", "postgres")


@pytest.fixture
def count() -> Count:
    return Count()


class Gate:
    """A node waits in it until the test opens it."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.opened.wait()


# -- starting ---------------------------------------------------------------------------------------------


async def test_a_started_run_waits_in_the_queue(make_runtime: MakeRuntime, clock: SettableClock) -> None:
    runtime = make_runtime(review_then_publish())
    run = await runtime.start("review", {"subject": "s"}, thread_id="case-1", requester="U1")
    assert run == await runtime.get(run.id)
    assert (run.status, run.thread_id, run.requester, run.driver) == ("queued", "case-1", "U1", "worker")
    assert (run.created_at, run.steps_taken, run.lease_owner) == (clock.now, 0, None)
    assert (await runtime.look(run.id)).state.next == ("review",)


async def test_nothing_starts_without_a_known_graph_input_or_thread(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(review_then_publish())
    with pytest.raises(UnknownGraph, match=r"'nope'.*review"):
        await runtime.start("nope", {"subject": "s"})
    for given in ({}, {"unknown": 1}, None):
        with pytest.raises(EmptyInputError):
            await runtime.start("review", given)
    with pytest.raises(EmptyInputError):
        await runtime.start("review", None, allow_empty=True)
    for thread in ("", "  ", 7):
        with pytest.raises(UnknownThread):
            await runtime.start("review", {"subject": "s"}, thread_id=thread)  # type: ignore[arg-type]
    with pytest.raises(UnknownRun):
        await runtime.get("run-9")
    with pytest.raises(UnknownRun):
        await runtime.look("run-9")
    with pytest.raises(UnknownRun):
        await runtime.history("run-9")
    with pytest.raises(UnknownRun):
        await runtime.advance("run-9")
    assert await runtime.runs() == []


async def test_an_idempotency_key_starts_one_run(make_runtime: MakeRuntime, count: Count) -> None:
    runtime = make_runtime(review_then_publish(count))
    first = await runtime.start("review", {"subject": "s"}, idempotency_key="build-7")
    again = await runtime.start("review", {"subject": "other"}, idempotency_key="build-7", thread_id="case-9")
    assert again == first
    assert len(await runtime.runs()) == 1
    other = await runtime.start("review", {"subject": "s"}, idempotency_key="build-8")
    assert other.id != first.id


async def test_forty_starts_with_one_key_start_one_run(make_runtime: MakeRuntime) -> None:
    houses = [make_runtime(review_then_publish()) for _ in range(4)]
    runs = await asyncio.gather(
        *(houses[n % 4].start("review", {"subject": str(n)}, idempotency_key="k") for n in range(40))
    )
    assert len({run.id for run in runs}) == 1
    assert len(await houses[0].runs()) == 1


async def test_forty_starts_on_one_thread_start_one_run(make_runtime: MakeRuntime) -> None:
    houses = [make_runtime(review_then_publish()) for _ in range(4)]
    started = await asyncio.gather(
        *(houses[n % 4].start("review", {"subject": str(n)}, thread_id="case-1") for n in range(40)),
        return_exceptions=True,
    )
    assert len([one for one in started if isinstance(one, ThreadBusy)]) == 39
    assert len(await houses[0].runs()) == 1


async def test_a_second_run_on_a_finished_thread_keeps_the_state(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(one_after_another(note=lambda state: {"log": [state["subject"]]}))
    first = await begin(runtime, {"subject": "one", "answer": "kept"}, thread_id="case-1")
    second = await begin(runtime, {"subject": "two"}, thread_id="case-1")
    assert second.id != first.id
    assert await values(runtime, second) == {"subject": "two", "answer": "kept", "log": ["one", "two"]}
    assert (await values(runtime, first))["log"] == ["one"], "the first run's record stays as it was"
    older, newer = await runtime.history(first.id), await runtime.history(second.id)
    assert newer[-1].parent_id == older[0].checkpoint_id
    assert newer[-1].step == older[0].step + 1


async def test_the_thread_s_last_run_is_the_last_one_even_when_the_clock_was_set_back(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(review_then_publish())
    first = await begin(runtime, thread_id="case-1")
    await answer_only(runtime, first, {"decision": "approve"})
    clock.pass_seconds(-60)
    second = await begin(runtime, thread_id="case-1")
    async with asyncio.timeout(5):
        with pytest.raises(ThreadBusy):
            await runtime.start("review", {"subject": "s"}, thread_id="case-1")
    await answer_only(runtime, second, {"decision": "reject"})
    third = await begin(runtime, thread_id="case-1")
    assert (await values(runtime, third))["log"] == ["reviewed", "published s", "reviewed", "stopped"]


async def test_two_graphs_may_take_turns_on_one_thread(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(
        one_after_another("a", a=lambda state: {"log": ["a"]}),
        one_after_another("b", b=lambda state: {"log": ["b"]}),
    )
    for graph in "aba":
        run = await begin(runtime, graph=graph, thread_id="case-1")
    assert (await values(runtime, run))["log"] == ["a", "b", "a"]


async def test_runs_are_found_newest_first_by_status_and_graph(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(review_then_publish(), one_after_another("quick", a=lambda state: {}))
    made = []
    for graph in ("review", "quick", "review"):
        clock.pass_seconds(1)
        made.append((await begin(runtime, graph=graph)).id)
    assert [run.id for run in await runtime.runs()] == made[::-1]
    assert [run.id for run in await runtime.runs(limit=1)] == made[2:]
    assert [run.id for run in await runtime.runs(graph="quick")] == made[1:2]
    assert [run.id for run in await runtime.runs(status="interrupted")] == [made[2], made[0]]
    assert await runtime.runs(status="failed") == []


# -- limits and failures ----------------------------------------------------------------------------------


async def test_a_loop_of_nodes_stops_at_its_limit(make_runtime: MakeRuntime, count: Count) -> None:
    async def again(state: Log) -> Command[Any]:
        count("again")
        return Command(goto="again", update={"log": [count.all]})

    runtime = make_runtime(StateGraph(Log).add_node(again).add_edge(START, "again").compile())
    run = await begin(runtime, max_steps=7)
    assert (run.status, run.steps_taken, count.all) == ("failed", 7, 7)
    assert run.error is not None
    assert run.error["type"] == "GraphRecursionError"
    assert (await values(runtime, run))["log"] == [1, 2, 3, 4, 5, 6, 7], "what it did is kept"


async def test_the_limit_holds_over_pauses_and_processes(make_runtime: MakeRuntime, count: Count) -> None:
    async def ask(state: Log) -> Command[Any]:
        count("ask")
        return Command(goto="ask", update={"log": [interrupt("again?")]})

    graph = StateGraph(Log).add_node(ask).add_edge(START, "ask").compile()
    runtime = make_runtime(graph)
    run = await begin(runtime, max_steps=3)
    for _ in range(3):
        assert run.status == "interrupted"
        run = await answer_only(make_runtime(graph), run, "yes")
    assert (run.status, run.steps_taken) == ("failed", 3)


async def test_an_input_without_a_key_is_taken_only_on_request(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(one_after_another(a=lambda state: {"log": [dict(state)]}))
    for given in ({}, {"unknown": 1}):
        run = await runtime.start("graph", given, allow_empty=True)
        run = await runtime.advance(run.id)
        assert (run.status, (await values(runtime, run))["log"]) == ("completed", [{"log": []}])
    with pytest.raises(InvalidUpdateError):
        await runtime.start("graph", ["log"], allow_empty=True)


async def test_a_choice_at_the_start_is_no_step(make_runtime: MakeRuntime) -> None:
    graph = StateGraph(Log).add_node("a", lambda state: {"log": ["a"]})
    graph.set_conditional_entry_point(lambda state: "a")
    runtime = make_runtime(graph.compile())
    run = await begin(runtime, max_steps=1)
    assert (run.status, run.steps_taken) == ("completed", 1)
    assert (await values(runtime, run))["log"] == ["a"]


async def test_a_run_that_met_its_limit_goes_on_with_a_higher_one(make_runtime: MakeRuntime) -> None:
    nodes = {name: lambda state, name=name: {"log": [name]} for name in "abcde"}
    runtime = make_runtime(one_after_another(**nodes))
    run = await begin(runtime, max_steps=2)
    again = await runtime.retry(run.thread_id, run.id)
    assert again.max_steps == 2
    again = await runtime.advance(again.id)
    assert (again.status, (await values(runtime, again))["log"]) == ("failed", list("abcd"))
    with pytest.raises(ValueError, match="max_steps"):
        await runtime.retry(again.thread_id, again.id, max_steps=0)
    last = await runtime.retry(again.thread_id, again.id, max_steps=5)
    last = await runtime.advance(last.id)
    assert (last.status, (await values(runtime, last))["log"]) == ("completed", list("abcde"))


async def test_a_node_is_told_how_many_steps_are_left_and_nothing_of_it_is_stored(
    make_runtime: MakeRuntime,
) -> None:
    class Counted(TypedDict):
        log: Annotated[list[Any], operator.add]
        left: RemainingSteps
        last: IsLastStep

    def note(state: Counted) -> dict[str, Any]:
        return {"log": [(state["left"], state["last"])], "left": 99}

    graph = StateGraph(Counted).add_node("a", note).add_edge(START, "a")
    graph.add_conditional_edges("a", lambda state: "a" if state["left"] else END)
    runtime = make_runtime(graph.compile())
    run = await begin(runtime, {"log": [], "left": 50}, max_steps=3)
    assert run.status == "completed"
    assert await values(runtime, run) == {"log": [(2, False), (1, True), (0, False)]}


async def test_a_run_may_take_exactly_as_many_steps_as_its_limit(make_runtime: MakeRuntime) -> None:
    graph = one_after_another(a=lambda s: {}, b=lambda s: {}, c=lambda s: {})
    assert (await begin(make_runtime(graph), max_steps=3)).status == "completed"
    assert (await begin(make_runtime(graph), max_steps=2)).status == "failed"
    assert (await begin(make_runtime(graph, max_steps=2))).status == "failed"


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_limit_below_one_is_refused(make_runtime: MakeRuntime, limit: int) -> None:
    runtime = make_runtime(review_then_publish())
    with pytest.raises(ValueError, match="max_steps"):
        await runtime.start("review", {"subject": "s"}, max_steps=limit)


async def test_a_failing_node_fails_the_run_and_says_why(make_runtime: MakeRuntime, store: Store) -> None:
    async def fail(state: Log) -> Log:
        raise LookupError("no such customer")

    runtime = make_runtime(one_after_another(first=lambda state: {"log": ["kept"]}, fail=fail))
    run = await begin(runtime)
    assert run.status == "failed"
    (task,) = (await runtime.look(run.id)).state.tasks
    assert task.name == "fail"
    assert "LookupError" in str(task.error)
    assert "no such customer" in str(task.error)
    assert run.error is not None
    said = {"type": "LookupError", "message": "no such customer", "task": task.id}
    assert run.error.items() >= said.items()
    assert run.lease_owner is None
    assert (await values(runtime, run))["log"] == ["kept"]
    assert (await runtime.look(run.id)).state.next == ("fail",)
    (line,) = await events(store, run_id=run.id, kind="run.failed")
    assert line.data["reason"] == "LookupError"


async def test_a_failing_node_withdraws_what_its_siblings_ask(make_runtime: MakeRuntime) -> None:
    async def ask(state: Log) -> Log:
        return {"answer": interrupt("first?")}

    async def fail(state: Log) -> Log:
        raise ValueError(interrupt("second?"))

    runtime = make_runtime(side_by_side(ask=ask, fail=fail))
    run = await begin(runtime)
    by_value = {q.interrupt.value: q.interrupt.id for q in (await runtime.look(run.id)).open}
    await runtime.resume(run.thread_id, run.id, by_value["second?"], "yes")
    run = await runtime.advance(run.id)
    assert run.status == "failed"
    view = await runtime.look(run.id)
    assert {q.interrupt.value: q.status for q in view.questions} == {
        "first?": "withdrawn",
        "second?": "answered",
    }


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("report-\udcff.txt"),
        ValueError("\x00"),
        ValueError("x" * 1_000_000),
        Unspeakable(),
        RecursionError("deep"),
        ExceptionGroup("many", [ValueError("one"), ValueError("two")]),
        asyncio.CancelledError("by the node itself"),
        TimeoutError(),
        OSError("disk"),
        StoreUnavailable("of the node's own database"),
        LeaseLost("lease", "of the node's own lease"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("others", [0, 1])
async def test_whatever_a_node_raises_the_run_fails_and_the_store_lives_on(
    make_runtime: MakeRuntime, error: BaseException, others: int
) -> None:
    async def fail(state: Log) -> Log:
        raise error

    nodes: dict[str, Any] = {"fail": fail, **{f"other{n}": lambda state: {} for n in range(others)}}
    runtime = make_runtime(side_by_side(**nodes), one_after_another("fine", a=lambda state: {}))
    run = await begin(runtime)
    assert run.status == "failed"
    assert run.error is not None
    assert len(run.error["message"]) <= 2_000
    assert (await begin(runtime, graph="fine")).status == "completed"


async def test_a_cancelled_step_inside_a_node_is_the_node_s_failure_not_the_worker_s(
    make_runtime: MakeRuntime,
) -> None:
    async def cancels(state: Log) -> Log:
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task
        return {}

    runtime = make_runtime(one_after_another(cancels=cancels))
    run = await begin(runtime)
    assert run.status == "failed"
    assert await take_all(runtime) == 0


async def test_two_writers_of_a_plain_key_fail_the_run_and_nothing_of_the_step_is_kept(
    make_runtime: MakeRuntime,
) -> None:
    runtime = make_runtime(
        side_by_side(a=lambda state: {"answer": 1, "log": ["a"]}, b=lambda state: {"answer": 2})
    )
    run = await begin(runtime)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == "InvalidUpdateError"
    assert "answer" not in (await runtime.history(run.id))[0].values


async def test_an_unknown_target_fails_the_run_before_anything_of_the_step_is_stored(
    make_runtime: MakeRuntime,
) -> None:
    runtime = make_runtime(
        one_after_another(go=lambda state: Command(goto="nowhere", update={"log": ["lost"]}))
    )
    run = await begin(runtime)
    assert run.status == "failed"
    assert run.error is not None
    assert "'nowhere'" in run.error["message"]
    assert (await values(runtime, run))["log"] == []


async def test_a_list_edge_may_lead_to_the_end(make_runtime: MakeRuntime) -> None:
    graph = StateGraph(Log).add_node("a", lambda state: {"log": ["a"]}).add_node("b", lambda state: {})
    graph.add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], END)
    run = await begin(make_runtime(graph.compile()))
    assert (run.status, run.error) == ("completed", None)


async def test_overwrite_works_beside_siblings_and_over_a_pause(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(
        side_by_side(
            put=lambda state: {"log": Overwrite(["new"])},
            ask=lambda state: {"answer": interrupt("?")},
        )
    )
    run = await begin(runtime, {"subject": "s", "log": ["old"]})
    assert (run.status, run.error) == ("interrupted", None)
    run = await answer_only(runtime, run, "yes")
    assert await values(runtime, run) == {"subject": "s", "log": ["new"], "answer": "yes"}


async def test_changing_the_state_in_place_writes_nothing(make_runtime: MakeRuntime) -> None:
    async def sneak(state: Log) -> None:
        state["log"].append("sneaked in")
        state["subject"] = "changed"

    runtime = make_runtime(
        one_after_another(sneak=sneak, look=lambda state: {"answer": [state["subject"], *state["log"]]})
    )
    run = await begin(runtime, {"subject": "s", "log": ["given"]})
    assert (await values(runtime, run))["answer"] == ["s", "given"], "a crash in between would read this"


async def test_siblings_do_not_see_each_other_s_changes_in_place(make_runtime: MakeRuntime) -> None:
    async def sneak(state: Log) -> None:
        state["log"].append("sneaked in")

    async def watch(state: Log) -> Log:
        return {"answer": list(state["log"])}

    run = await begin(runtime := make_runtime(side_by_side(a_sneak=sneak, b_watch=watch)))
    assert (await values(runtime, run))["answer"] == []


async def test_a_graph_that_this_process_does_not_know_is_not_failed(make_runtime: MakeRuntime) -> None:
    knows, newer = (
        make_runtime(review_then_publish()),
        make_runtime(one_after_another("other", a=lambda s: {})),
    )
    run = await knows.start("review", {"subject": "s"})
    claimed = await newer.claim()
    if claimed is not None:
        with pytest.raises(UnknownGraph):
            await newer.drive(claimed)
    run = await knows.get(run.id)
    assert run.live, "an older process of a rolling deployment must not end the runs of the newer one"


# -- cancel -----------------------------------------------------------------------------------------------


async def test_cancelling_while_a_node_runs_keeps_its_write_out(
    make_runtime: MakeRuntime, store: Store
) -> None:
    gate = Gate()

    async def work(state: Log) -> Log:
        await gate()
        return {"log": ["too late"]}

    runtime = make_runtime(one_after_another(work=work, after=lambda state: {"log": ["after"]}))
    run = await runtime.start("graph", {"subject": "s"})
    driving = asyncio.create_task(runtime.advance(run.id))
    await gate.reached.wait()
    cancelled = await runtime.cancel(run.thread_id, run.id, actor="U1", reason="wrong customer")
    assert cancelled.status == "cancelled"
    gate.opened.set()
    with pytest.raises(LeaseLost):
        await driving
    assert await runtime.get(run.id) == cancelled
    assert (await values(runtime, run))["log"] == []
    (line,) = await events(store, kind="run.cancelled")
    assert (line.actor, line.said) == ("U1", "wrong customer")
    assert await take_all(runtime) == 0


async def test_cancelling_while_parallel_nodes_run_stops_them_at_the_first_write(
    make_runtime: MakeRuntime,
) -> None:
    slow, fast = Gate(), Gate()
    stopped = []

    async def first(state: Log) -> Log:
        await fast()
        return {"log": ["first"]}

    async def second(state: Log) -> Log:
        try:
            await slow()
        except asyncio.CancelledError:
            stopped.append("second")
            raise
        return {"log": ["second"]}

    runtime = make_runtime(side_by_side(first=first, second=second))
    run = await runtime.start("graph", {"subject": "s"})
    driving = asyncio.create_task(runtime.advance(run.id))
    await asyncio.gather(fast.reached.wait(), slow.reached.wait())
    await runtime.cancel(run.thread_id, run.id)
    fast.opened.set()
    with pytest.raises(LeaseLost):
        await driving
    assert stopped == ["second"]


async def test_a_cancelled_run_frees_its_thread(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(review_then_publish())
    run = await begin(runtime, thread_id="case-1")
    await runtime.cancel("case-1", run.id)
    assert (await begin(runtime, thread_id="case-1")).status == "interrupted"
    (asked,) = (await runtime.look(run.id)).questions
    assert asked.status == "withdrawn"


async def test_of_forty_cancels_at_once_one_is_told_it_did_it(
    make_runtime: MakeRuntime, store: Store
) -> None:
    runtime = make_runtime(review_then_publish())
    run = await begin(runtime)
    said = await asyncio.gather(
        *(runtime.cancel(run.thread_id, run.id) for _ in range(40)), return_exceptions=True
    )
    assert sum(isinstance(one, RunCancelled) for one in said) == 39
    assert len(await events(store, kind="run.cancelled")) == 1


# -- leases -----------------------------------------------------------------------------------------------


async def test_a_queued_run_is_claimed_by_one_worker_and_oldest_first(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    graph = review_then_publish()
    houses = [make_runtime(graph) for _ in range(10)]
    started = []
    for number in range(3):
        clock.pass_seconds(1)
        started.append((await houses[0].start("review", {"subject": str(number)})).id)
    claimed = await asyncio.gather(*(house.claim() for house in houses))
    won = [run for run in claimed if run is not None]
    assert sorted(run.id for run in won) == sorted(started)
    assert all(run.lease_owner == house.owner for run, house in zip(claimed, houses, strict=True) if run)
    assert {run.epoch for run in won} == {1}
    assert (await houses[0].advance(started[0])).status == "running", "a leased run is left alone"


async def test_the_oldest_run_is_claimed_first(make_runtime: MakeRuntime, clock: SettableClock) -> None:
    runtime = make_runtime(review_then_publish())
    started = []
    for number in range(3):
        clock.pass_seconds(1)
        started.append((await runtime.start("review", {"subject": str(number)})).id)
    claimed = [run.id for _ in range(3) if (run := await runtime.claim())]
    assert claimed == started
    assert await runtime.claim() is None


async def test_a_lapsed_lease_lets_another_worker_take_over_and_the_zombie_cannot_write(
    make_runtime: MakeRuntime, clock: SettableClock, count: Count
) -> None:
    gate = Gate()

    async def work(state: Log) -> Log:
        count("work")
        if count.of["work"] == 1:
            await gate()
            return {"log": ["zombie"]}
        return {"log": ["successor"]}

    graph = one_after_another(work=work)
    zombie, successor = make_runtime(graph), make_runtime(graph)
    run = await zombie.start("graph", {"subject": "s"})
    driving = asyncio.create_task(zombie.advance(run.id))
    await gate.reached.wait()
    clock.pass_seconds(30)
    assert await successor.claim() is None, "a lease stands until its last microsecond"
    clock.now += 1
    taken = await successor.claim()
    assert taken is not None
    assert (taken.id, taken.epoch) == (run.id, 2)
    gate.opened.set()
    with pytest.raises(LeaseLost):
        await driving
    assert (await successor.drive(taken)).status == "completed"
    assert (await values(successor, run))["log"] == ["successor"]
    assert len(await successor.history(run.id)) == 3


async def test_a_zombie_with_the_same_owner_name_cannot_write_either(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(one_after_another(work=lambda state: {"log": ["once"]}))
    await runtime.start("graph", {"subject": "s"})
    old = await runtime.claim()
    clock.pass_seconds(31)
    new = await runtime.claim()
    assert old is not None
    assert new is not None
    with pytest.raises(LeaseLost):
        await runtime.drive(old)
    run = await runtime.drive(new)
    assert (run.status, (await values(runtime, run))["log"]) == ("completed", ["once"])


@pytest.mark.parametrize("ending", ["pause", "fail"])
async def test_a_zombie_can_neither_pause_nor_fail_a_run(
    make_runtime: MakeRuntime, clock: SettableClock, ending: str
) -> None:
    gate = Gate()

    async def work(state: Log) -> Log:
        await gate()
        if ending == "fail":
            raise ValueError("broken")
        return {"answer": interrupt("?")}

    graph = one_after_another(work=work)
    zombie, successor = make_runtime(graph), make_runtime(graph)
    run = await zombie.start("graph", {"subject": "s"})
    driving = asyncio.create_task(zombie.advance(run.id))
    await gate.reached.wait()
    clock.pass_seconds(31)
    taken = await successor.claim()
    gate.opened.set()
    with pytest.raises(LeaseLost):
        await driving
    assert await successor.get(run.id) == taken
    assert (await successor.look(run.id)).questions == ()


async def test_the_lease_is_renewed_while_a_node_works(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    gate = Gate()

    async def work(state: Log) -> Log:
        await gate()
        return {"log": ["done"]}

    graph = one_after_another(work=work)
    runtime, other = make_runtime(graph, lease=150_000), make_runtime(graph)
    run = await runtime.start("graph", {"subject": "s"})
    driving = asyncio.create_task(runtime.advance(run.id))
    await gate.reached.wait()
    clock.pass_seconds(0.1)
    before = (await runtime.get(run.id)).lease_until
    async with asyncio.timeout(5):
        while (await runtime.get(run.id)).lease_until == before:
            await asyncio.sleep(0.01)
    clock.pass_seconds(0.1)
    assert await other.claim() is None
    gate.opened.set()
    assert (await driving).status == "completed"


async def test_losing_the_lease_stops_the_nodes(make_runtime: MakeRuntime, clock: SettableClock) -> None:
    gate, stopped = Gate(), asyncio.Event()

    async def work(state: Log) -> Log:
        try:
            await gate()
        finally:
            stopped.set()
        return {}

    graph = one_after_another(work=work)
    runtime, other = make_runtime(graph, lease=90_000), make_runtime(graph)
    run = await runtime.start("graph", {"subject": "s"})
    driving = asyncio.create_task(runtime.advance(run.id))
    await gate.reached.wait()
    clock.pass_seconds(1)
    while await other.claim() is None:
        clock.pass_seconds(1)  # it was renewed in this very moment
    with pytest.raises(LeaseLost):
        await driving
    assert stopped.is_set()


async def test_a_cancelled_drive_gives_the_run_back(make_runtime: MakeRuntime, count: Count) -> None:
    gate = Gate()

    async def work(state: Log) -> Log:
        count("work")
        if count.of["work"] == 1:
            await gate()
        return {"log": ["done"]}

    runtime = make_runtime(one_after_another(work=work))
    run = await runtime.start("graph", {"subject": "s"})
    driving = asyncio.create_task(runtime.advance(run.id))
    await gate.reached.wait()
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driving
    back = await runtime.get(run.id)
    assert (back.status, back.lease_owner) == ("queued", None)
    assert await take_all(runtime) == 1
    assert (await values(runtime, run))["log"] == ["done"]


async def test_what_finished_before_the_drive_was_cancelled_is_not_run_again(
    make_runtime: MakeRuntime, count: Count
) -> None:
    gate, saved = Gate(), asyncio.Event()

    async def quick(state: Log) -> Log:
        count("quick")
        return {"log": ["quick"]}

    async def slow(state: Log) -> Log:
        count("slow")
        if count.of["slow"] == 1:
            await gate()
        return {"log": ["slow"]}

    runtime = make_runtime(side_by_side(quick=quick, slow=slow))
    run = await runtime.start("graph", {"subject": "s"})
    driving = asyncio.create_task(runtime.advance(run.id))
    async with asyncio.timeout(5):
        while (await values(runtime, run))["log"] != ["quick"]:
            await asyncio.sleep(0.005)
    saved.set()
    driving.cancel()
    await asyncio.wait([driving])
    await take_all(runtime)
    assert (await values(runtime, run))["log"] == ["quick", "slow"]
    assert dict(count.of) == {"quick": 1, "slow": 2}


async def test_an_answer_saved_with_a_finished_node_does_not_keep_the_run_in_the_queue(
    make_runtime: MakeRuntime, count: Count
) -> None:
    """A worker dies after one node has finished with its answer and before the others' pause is stored."""
    gate = Gate()

    async def one(state: Log) -> Log:
        count("one")
        return {"log": [interrupt("one?")]}

    async def two(state: Log) -> Log:
        count("two")
        first = interrupt("two?")
        if count.of["two"] == 2:
            await gate()
        return {"log": [first, interrupt("and three?")]}

    runtime = make_runtime(side_by_side(one=one, two=two))
    run = await begin(runtime)
    by_value = {q.interrupt.value: q.interrupt.id for q in (await runtime.look(run.id)).open}
    for question in ("one?", "two?"):
        await runtime.resume(run.thread_id, run.id, by_value[question], question)
    driving = asyncio.create_task(runtime.advance(run.id))
    await gate.reached.wait()
    async with asyncio.timeout(5):
        while (await runtime.look(run.id)).state.next != ("two",):
            await asyncio.sleep(0.005)
    driving.cancel()
    await asyncio.wait([driving])
    assert await take_all(runtime, 5) == 1
    run = await runtime.get(run.id)
    assert run.status == "interrupted"
    run = await answer_only(runtime, run, "three")
    assert (run.status, (await values(runtime, run))["log"]) == ("completed", ["one?", "two?", "three"])
    assert count.of["one"] == 2


async def test_a_caller_s_run_is_left_to_its_caller(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(one_after_another(a=lambda state: {}))
    run = await runtime.start("graph", {"subject": "s"}, driver="caller")
    assert (run.status, run.lease_owner, run.epoch) == ("running", runtime.owner, 1)
    assert await runtime.claim() is None
    assert (await runtime.advance(run.id)).status == "running", "it is not advanced behind the caller's back"
    assert (await runtime.drive(run)).status == "completed"


async def test_an_unknown_driver_is_refused_at_once(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(one_after_another(a=lambda state: {}))
    async with asyncio.timeout(5):
        with pytest.raises(Exception, match="driver"):
            await runtime.start("graph", {"subject": "s"}, driver="nobody")  # type: ignore[arg-type]


# -- a breakpoint -------------------------------------------------------------------------------------------


async def test_a_worker_s_run_goes_on_from_its_breakpoint_when_it_is_told_to(
    make_runtime: MakeRuntime,
) -> None:
    graph = StateGraph(Log).add_sequence(
        [("a", lambda state: {"log": ["a"]}), ("b", lambda state: {"log": ["b"]})]
    )
    runtime = make_runtime(graph.add_edge(START, "a").compile(interrupt_before=["b"]))
    run = await begin(runtime)
    assert (run.status, (await values(runtime, run))["log"]) == ("interrupted", ["a"])
    assert await runtime.claim() is None

    assert (await runtime.go_on(run.thread_id, run.id, actor="U_OPS")).status == "queued"
    run = await runtime.advance(run.id)

    assert (run.status, (await values(runtime, run))["log"]) == ("completed", ["a", "b"])
    told = [event.actor for event in await runtime.events(run_id=run.id) if event.kind == "run.gone_on"]
    assert told == ["U_OPS"]
    with pytest.raises(RunFinished):
        await runtime.go_on(run.thread_id, run.id)


async def test_a_run_that_is_told_to_go_on_still_stops_at_its_next_breakpoint(
    make_runtime: MakeRuntime,
) -> None:
    def loop(state: Log) -> Command[Any]:
        return Command(update={"log": ["x"]}, goto="loop" if len(state["log"]) < 2 else END)

    graph = StateGraph(Log).add_node("loop", loop).add_edge(START, "loop")
    runtime = make_runtime(graph.compile(interrupt_before=["loop"]))
    run = await begin(runtime, {"subject": "s", "log": []})
    passed = []
    while run.status == "interrupted":
        passed.append(len((await values(runtime, run))["log"]))
        await runtime.go_on(run.thread_id, run.id)
        run = await runtime.advance(run.id)
    assert (run.status, passed) == ("completed", [0, 1, 2])


async def test_a_run_that_asks_is_not_told_to_go_on(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(one_after_another(a=lambda state: {"answer": interrupt("?")}))
    run = await begin(runtime)
    with pytest.raises(NotPaused, match="must be answered"):
        await runtime.go_on(run.thread_id, run.id)
    assert len((await runtime.look(run.id)).open) == 1


# -- a graph that changed -----------------------------------------------------------------------------------


def _asking(
    *,
    key: str = "answer",
    version: str = "",
    after: bool = False,
    ask_to: str | None = None,
    name: str = "ask",
    schema: Any = Log,
) -> StateGraph:
    def ask(state: Log) -> Any:
        return {key: interrupt("?")}

    graph = StateGraph(schema).add_node(name, ask, version=version).add_edge(START, name)
    graph.add_node("done", lambda state: {"log": ["done"]}).add_edge(name, "done")
    if after:
        graph.add_node("extra", lambda state: {"log": ["extra"]}).add_edge("done", "extra")
    if ask_to:
        graph.add_edge(name, ask_to)
    return graph


async def test_a_downstream_node_added_while_a_run_waits_is_run(make_runtime: MakeRuntime) -> None:
    run = await begin(make_runtime(_asking().compile()))
    newer = make_runtime(_asking(after=True).compile(version="2"))
    run = await answer_only(newer, run, "yes")
    assert (run.status, (await values(newer, run))["log"]) == ("completed", ["done", "extra"])


@pytest.mark.parametrize(
    "changed",
    [_asking(version="2"), _asking(name="asks"), _asking(ask_to=END), _asking(after=True, ask_to="extra")],
    ids=["version", "renamed", "edge to the end", "another edge"],
)
async def test_a_changed_node_is_not_given_the_answer(
    make_runtime: MakeRuntime, changed: StateGraph, store: Store
) -> None:
    run = await begin(make_runtime(_asking().compile()))
    newer = make_runtime(changed.compile())
    if "ask" not in newer.graphs["graph"].nodes:
        (asked,) = (await newer.look(run.id)).open
        assert asked.node == "ask"
    with pytest.raises(GraphChanged):
        await answer_only(newer, run, "yes")
    with pytest.raises(GraphChanged):
        await newer.take_up(run)
    with pytest.raises(GraphChanged):
        await newer.go_on(run.thread_id, run.id)
    assert (await newer.get(run.id)).status == "interrupted"
    assert await take_all(newer) == 0
    refused = [event for event in await newer.events(run_id=run.id) if event.kind == "resume.refused"]
    assert [event.data["code"] for event in refused] == ["GRAPH_CHANGED"]
    run = await answer_only(make_runtime(_asking().compile()), run, "yes")
    assert run.status == "completed", "the graph that asked still takes the answer"


async def test_a_node_that_changed_after_its_answer_was_taken_is_not_given_it(
    make_runtime: MakeRuntime,
) -> None:
    runtime = make_runtime(_asking().compile())
    run = await begin(runtime)
    (asked,) = (await runtime.look(run.id)).open
    await runtime.resume(run.thread_id, run.id, asked.interrupt.id, "yes")
    newer = make_runtime(_asking(version="2").compile())
    run = await newer.advance(run.id)
    assert run.status == "needs_attention"
    assert run.error is not None
    assert run.error["type"] == "GraphChanged"
    assert (await values(newer, run)).get("answer") is None
    assert (await newer.cancel(run.thread_id, run.id)).status == "cancelled"


async def test_a_subgraph_s_node_that_changed_is_not_given_the_answer(make_runtime: MakeRuntime) -> None:
    def around(inner: StateGraph) -> CompiledGraph:
        graph = StateGraph(Log).add_node("inner", inner.compile()).add_edge(START, "inner")
        return graph.compile()

    run = await begin(make_runtime(around(_asking())))
    newer = make_runtime(around(_asking(version="2")))
    with pytest.raises(GraphChanged):
        await answer_only(newer, run, "yes")
    assert (await newer.get(run.id)).status == "interrupted"


async def test_a_state_key_added_while_a_run_waits_does_not_stop_it(make_runtime: MakeRuntime) -> None:
    class More(Log, total=False):
        added: int

    run = await begin(make_runtime(_asking().compile()))
    newer = make_runtime(_asking(schema=More).compile(version="2"))
    run = await answer_only(newer, run, "yes")
    assert run.status == "completed"


async def test_the_old_graph_registered_beside_the_new_one_finishes_its_runs(
    make_runtime: MakeRuntime,
) -> None:
    run = await begin(make_runtime(_asking().compile(version="1")))
    both = make_runtime(_asking(version="2").compile(version="2"), _asking().compile(name="graph@1"))
    run = await answer_only(both, run, "yes")
    assert run.status == "completed"


# -- history ----------------------------------------------------------------------------------------------


async def test_history_pages_from_the_newest_checkpoint_to_the_input(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    def note(text: str) -> Any:
        def run(state: Log) -> Log:
            clock.pass_seconds(1)
            return {"log": [text]}

        return run

    runtime = make_runtime(one_after_another(a=note("a"), b=note("b"), c=note("c")))
    run = await begin(runtime)
    pages = await runtime.history(run.id)
    assert [(p.step, p.source, p.next) for p in pages] == [
        (3, "loop", ()),
        (2, "loop", ("c",)),
        (1, "loop", ("b",)),
        (0, "loop", ("a",)),
        (-1, "input", (START,)),
    ]
    assert [p.values.get("log") for p in pages] == [["a", "b", "c"], ["a", "b"], ["a"], [], []]
    assert [p.parent_id for p in pages] == [*(p.checkpoint_id for p in pages[1:]), None]
    assert [p.created_at for p in pages] == sorted((p.created_at for p in pages), reverse=True)
    assert await runtime.history(run.id, limit=2) == pages[:2]
    assert await runtime.history(run.id, limit=2, before=2) == pages[2:4]
    assert await runtime.history(run.id, before=-1) == []
    assert len({p.checkpoint_id for p in pages}) == 5


async def test_history_shows_what_was_asked_at_each_step(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(review_then_publish())
    run = await answer_only(runtime, await begin(runtime), {"decision": "approve"})
    asked = {page.next: [i.value for i in page.interrupts] for page in await runtime.history(run.id)}
    assert asked == {
        (): [],
        ("publish",): [],
        ("review",): [{"question": "Publish?", "subject": "s"}],
        (START,): [],
    }


async def test_the_journal_says_which_way_a_run_took(make_runtime: MakeRuntime, store: Store) -> None:
    runtime = make_runtime(review_then_publish())
    run = await answer_only(runtime, await begin(runtime, requester="U1"), {"decision": "reject"}, actor="U2")
    lines = await events(store, run_id=run.id)
    assert [(line.kind, line.actor) for line in lines] == [
        ("run.started", "U1"),
        ("run.interrupted", None),
        ("run.answered", "U2"),
        ("run.routed", None),
        ("run.completed", None),
    ]
    (routed,) = [line for line in lines if line.kind == "run.routed"]
    assert routed.data["source"] == "review"
    assert routed.data["way"] == "goto"
    assert routed.data["targets"] == ["stop"]


# -- the worker -------------------------------------------------------------------------------------------


class Nobody:
    """A directory that knows nobody."""

    async def reviewer(self, actor: Any, groups: Any) -> Reviewer:
        return Reviewer(actor.id, kind="unknown")


def _worker(runtime: Runtime, **more: Any) -> Worker:
    return Worker(runtime, Approvals(runtime, Nobody()), **more)


def _stop(runtime: Runtime, stop: asyncio.Event) -> None:
    """Tell a worker to stop as whoever serves does: it hears it at once."""
    stop.set()
    runtime.runs_bell.ring()


async def _until(runtime: Runtime, run_id: str, status: str) -> None:
    async with asyncio.timeout(5):
        while (await runtime.get(run_id)).status != status:
            await asyncio.sleep(0.005)


async def test_a_worker_takes_runs_until_it_is_told_to_stop(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    requests = Requests({"default": Policy(people=("U1",), deadline=60)})
    runtime = make_runtime(
        one_after_another("quick", a=lambda state: {}), review_then_publish(), companions=[requests]
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as house:
        house.create_task(_worker(runtime).work(stop))
        quick, asks = [await runtime.start(graph, {"subject": "s"}) for graph in ("quick", "review")]
        await _until(runtime, quick.id, "completed")
        await _until(runtime, asks.id, "interrupted")
        _stop(runtime, stop)
    late = await runtime.start("quick", {"subject": "s"})
    assert (await runtime.get(late.id)).status == "queued"


async def test_a_stopping_worker_lets_a_run_reach_its_commit(make_runtime: MakeRuntime) -> None:
    gate = Gate()

    async def work(state: Log) -> Log:
        await gate()
        return {"log": ["done"]}

    runtime = make_runtime(one_after_another(work=work))
    run = await runtime.start("graph", {"subject": "s"})
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as house:
        house.create_task(_worker(runtime).work(stop))
        await gate.reached.wait()
        _stop(runtime, stop)
        gate.opened.set()
    assert (await runtime.get(run.id)).status == "completed"


@pytest.mark.parametrize("lanes", [1, 2])
async def test_a_stopping_worker_gives_back_what_does_not_end_within_its_grace(
    make_runtime: MakeRuntime, lanes: int
) -> None:
    gate = Gate()

    async def work(state: Log) -> Log:
        await gate()
        return {}

    runtime = make_runtime(one_after_another(work=work))
    runs = [await runtime.start("graph", {"subject": "s"}) for _ in range(lanes)]
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as house:
        house.create_task(_worker(runtime, lanes=lanes, grace=0.05).work(stop))
        for run in runs:
            await _until(runtime, run.id, "running")
        await gate.reached.wait()
        _stop(runtime, stop)
    for run in runs:
        back = await runtime.get(run.id)
        assert (back.status, back.lease_owner) == ("queued", None)


async def test_a_stopping_worker_claims_nothing_more(make_runtime: MakeRuntime, count: Count) -> None:
    gate = Gate()

    async def work(state: Log) -> Log:
        count("work")
        await gate()
        return {}

    runtime = make_runtime(one_after_another(work=work))
    runs = [await runtime.start("graph", {"subject": "s"}) for _ in range(2)]
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as house:
        house.create_task(_worker(runtime, lanes=1).work(stop))
        await gate.reached.wait()
        stop.set()
        gate.opened.set()
    assert sorted([(await runtime.get(run.id)).status for run in runs]) == ["completed", "queued"]
    assert count.all == 1


async def test_a_worker_waits_out_a_database_that_refuses(make_runtime: MakeRuntime) -> None:
    stop, tries = asyncio.Event(), []

    async def work() -> bool:
        tries.append(1)
        if len(tries) == 3:
            stop.set()
        raise StoreUnavailable("locked")

    async with asyncio.timeout(5):
        await keep_doing(work, bell=Bell(), stop=stop, idle=0.001)
    assert len(tries) == 3


async def test_a_worker_goes_on_when_a_run_was_taken_from_it_or_could_not_be_driven(
    make_runtime: MakeRuntime,
) -> None:
    gate = Gate()

    async def work(state: Log) -> Log:
        if state["subject"] == "taken":
            await gate()
        return {}

    runtime, elsewhere = make_runtime(one_after_another(work=work)), make_runtime(review_then_publish())
    taken = await runtime.start("graph", {"subject": "taken"})
    unknown = await elsewhere.start("review", {"subject": "s"})
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as house:
        house.create_task(_worker(runtime).work(stop))
        await gate.reached.wait()
        await _until(runtime, unknown.id, "running")
        await runtime.cancel(taken.thread_id, taken.id)
        gate.opened.set()
        fine = await runtime.start("graph", {"subject": "fine"})
        await _until(runtime, fine.id, "completed")
        _stop(runtime, stop)
    assert (await runtime.get(taken.id)).status == "cancelled"
    assert (await runtime.get(unknown.id)).status == "running"


# -- companions -------------------------------------------------------------------------------------------


class Strict:
    """A companion that insists on something that is not so."""

    def on_pause(self, facts: Any) -> list[Do]:
        return [Do("drop_due", {"request_id": "req-9"}, guard="there is a deadline")]

    def on_end(self, facts: Any) -> list[Do]:
        return []


async def test_a_companion_s_failed_guard_undoes_the_whole_pause(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(review_then_publish(), companions=[Strict()])
    with pytest.raises(Conflict, match="there is a deadline") as raised:
        await begin(runtime)
    assert not isinstance(raised.value, LeaseLost)
    (run,) = await runtime.runs()
    assert run.status == "running"
    assert (await runtime.look(run.id)).questions == ()


async def test_runs_are_counted_and_the_journal_is_read_by_run(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(review_then_publish())
    assert await runtime.count() == {}
    runs = [await begin(runtime) for _ in range(3)]
    await answer_only(runtime, runs[0], {"decision": "approve"})
    assert await runtime.count() == {"completed": 1, "interrupted": 2}
    kinds = [event.kind for event in await runtime.events(run_id=runs[1].id)]
    assert kinds == ["run.started", "run.interrupted"]
    assert len(await runtime.events(limit=2)) == 2


async def test_a_run_that_began_too_long_ago_takes_no_further_step_pauses_included(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    ran: list[str] = []

    async def ask(_: Log) -> None:
        interrupt("go on?")
        ran.append("went on")

    runtime = make_runtime(one_after_another(ask=ask))
    given = {"subject": "s"}
    late = await runtime.start("graph", given, limits=Limits(seconds=60))
    timely = await runtime.start("graph", given, limits=Limits(seconds=600))
    for run in (late, timely):
        assert (await runtime.advance(run.id)).status == "interrupted"
    clock.pass_seconds(61)
    assert (await answer_only(runtime, timely, "yes")).status == "completed"
    failed = await answer_only(runtime, late, "yes")
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error["type"] == "LimitReached"
    assert ran == ["went on"]


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("batch", ["effect", "subgraph"])
async def test_a_database_that_is_away_for_a_moment_inside_a_node_fails_no_run(
    database: str, clock: SettableClock, monkeypatch: pytest.MonkeyPatch, side: str, batch: str
) -> None:
    """The node is not to blame: the run is taken up again, and what was recorded is not done again."""
    done: list[str] = []

    async def work(state: Log) -> Log:
        return {"log": [await step("work", done.append, "worked")]}

    graph = one_after_another(work=one_after_another("inner", work=work))
    monkeypatch.setenv("SIGNOFF_FAULT", f"{side}:{batch}:error")
    async with open_store(database) as store:
        runtime = Runtime(store, [graph], clock=clock)
        run = await runtime.start("graph", {"subject": "s"})
        with pytest.raises(StoreUnavailable if side == "before" else CommitUnknown):
            await runtime.advance(run.id)
        assert (await runtime.get(run.id)).status == "running"
        clock.pass_seconds(31)
        assert (await runtime.advance(run.id)).status == "completed"
        assert (await values(runtime, run))["log"] == [None]
    assert done == ["worked"] * (2 if (side, batch) == ("before", "effect") else 1)
