"""The execution gate: what was approved is carried out once, as it was shown, or it is said that nobody knows."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from graphs import Log, begin, events, one_after_another, values
from kit import MakeRuntime, SettableClock
from people import API, People, approvals_of, boss, open_view, person, requests, ticket_of

from graph_runtime import (
    SECOND,
    START,
    Action,
    Alarms,
    Approvals,
    CompiledGraph,
    FrozenError,
    Grant,
    GrantRefused,
    NotDone,
    Run,
    Runtime,
    StateGraph,
    Store,
    Upkeep,
    approve,
    execute_once,
    interrupt,
)
from graph_runtime.storage import Ask, Batch, Do
from graph_runtime.values import Codec

pytestmark = pytest.mark.databases("sqlite", "postgres")
PAY = Action("pay", {"amount": 320, "to": "ACME"})


class Provider:
    """The other side: counts what it was told to do, by key."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def pay(self, key: str) -> str:
        self.calls[key] += 1
        return f"paid {sum(self.calls.values())}"


def paying(pay: Callable[[str], Any], **more: Any) -> CompiledGraph:
    async def ask(state: Log) -> Log:
        return {"answer": approve("Pay ACME", action=PAY)}

    async def carry_out(state: Log) -> Log:
        return {"log": [await execute_once(state["answer"].grant, pay, action=PAY, **more)]}

    return one_after_another("pay", ask=ask, carry_out=carry_out)


async def approved(runtime: Runtime, store: Store, verdict: Any = "approve") -> Run:
    run = await begin(runtime)
    approvals = approvals_of(runtime)
    view = await open_view(approvals, run.id)
    await approvals.decide(ticket_of(view, store), boss(), verdict, place=API, reason="so it is")
    return await runtime.advance(run.id)


async def status_of(store: Store, approvals: Approvals, run: Run) -> str | None:
    (request,) = await approvals.find(run_id=run.id)
    (rows,) = await store.read(Ask("get_execution", {"request_id": request.id}))
    return rows[0]["status"] if rows else None


async def test_what_was_approved_is_carried_out_once_with_a_key_of_its_own(
    make_runtime: MakeRuntime, store: Store
):
    provider = Provider()
    runtime = make_runtime(paying(provider.pay), companions=[requests()])
    run = await approved(runtime, store)
    assert (await values(runtime, run))["log"] == ["paid 1"]
    (key,) = provider.calls
    assert key.startswith("req-")
    assert await status_of(store, approvals_of(runtime), run) == "done"
    lines = [line for line in await events(store, run_id=run.id) if line.kind.startswith("grant.")]
    assert [line.kind for line in lines] == ["grant.reserved", "grant.done"]
    assert lines[-1].data["result"] == Codec().digest("paid 1"), "it can be proved when the run is pruned"


async def test_a_node_that_runs_again_is_given_what_was_done(make_runtime: MakeRuntime, store: Store):
    provider = Provider()

    async def ask(state: Log) -> Log:
        return {"answer": approve("Pay ACME", action=PAY)}

    async def carry_out(state: Log) -> Log:
        paid = await execute_once(state["answer"].grant, provider.pay)
        return {"log": [paid, interrupt("And now?")]}

    runtime = make_runtime(one_after_another("pay", ask=ask, carry_out=carry_out), companions=[requests()])
    run = await approved(runtime, store)
    view = await open_view(approvals_of(runtime), run.id)
    await approvals_of(runtime).decide(ticket_of(view, store), boss(), "approve", place=API)
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"][0] == "paid 1"
    assert sum(provider.calls.values()) == 1


async def test_what_was_rejected_is_not_carried_out(make_runtime: MakeRuntime, store: Store):
    provider = Provider()
    runtime = make_runtime(paying(provider.pay), companions=[requests()])
    run = await approved(runtime, store, "reject")
    assert run.status == "failed"
    assert "was not approved" in run.error["message"] if run.error else False
    assert not provider.calls


async def test_another_action_than_the_approved_one_is_refused(make_runtime: MakeRuntime, store: Store):
    provider = Provider()

    async def ask(state: Log) -> Log:
        return {"answer": approve("Pay ACME", action=PAY)}

    async def carry_out(state: Log) -> Log:
        other = Action("pay", {"amount": 3_200, "to": "ACME"})
        await execute_once(state["answer"].grant, provider.pay, action=other)
        return {}

    runtime = make_runtime(one_after_another("pay", ask=ask, carry_out=carry_out), companions=[requests()])
    run = await approved(runtime, store)
    assert run.status == "failed"
    assert run.error is not None
    assert "is not what was approved" in run.error["message"]
    assert not provider.calls


async def test_a_grant_is_used_once_whoever_holds_it(make_runtime: MakeRuntime, store: Store):
    provider = Provider()
    refused: list[str] = []

    async def ask(state: Log) -> Log:
        return {"answer": approve("Pay ACME", action=PAY)}

    async def carry_out(state: Log) -> Log:
        return {"log": [await execute_once(state["answer"].grant, provider.pay)]}

    async def again(state: Log) -> Log:
        with pytest.raises(GrantRefused) as raised:
            await execute_once(state["answer"].grant, provider.pay)
        with pytest.raises(GrantRefused) as changed:
            await execute_once(Grant(state["answer"].request_id, "sha256:0"), provider.pay)
        with pytest.raises(GrantRefused) as unknown:
            await execute_once(Grant("req-nothing", "sha256:0"), provider.pay)  # type: ignore[arg-type]
        refused.extend(error.value.code for error in (raised, changed, unknown))
        return {}

    graph = one_after_another("pay", ask=ask, carry_out=carry_out, again=again)
    run = await approved(make_runtime(graph, companions=[requests()]), store)
    assert run.status == "completed", run.error
    assert refused == ["USED", "STALE_ACTION", "NOT_APPROVED"]
    assert sum(provider.calls.values()) == 1


async def test_an_effect_that_says_it_did_nothing_may_be_tried_again(make_runtime: MakeRuntime, store: Store):
    provider, tries = Provider(), []

    async def pay(key: str) -> str:
        tries.append(key)
        if len(tries) == 1:
            raise NotDone("the provider refused the connection")
        return await provider.pay(key)

    runtime = make_runtime(paying(pay), companions=[requests()])
    run = await approved(runtime, store)
    assert run.status == "failed"
    assert await status_of(store, approvals_of(runtime), run) is None
    run = await runtime.advance((await runtime.retry(run.thread_id, run.id)).id)
    assert (await values(runtime, run))["log"] == ["paid 1"]
    assert len(set(tries)) == 1, "the same key"


async def unsettled(runtime: Runtime, run: Run) -> str:
    assert run.status == "interrupted"
    (question,) = await runtime.questions(run.id)
    assert question.interrupt.value["type"] == "signoff.unsettled"
    return question.interrupt.id


@pytest.mark.parametrize("done", [True, False])
async def test_of_an_effect_that_failed_somehow_an_operator_says_what_became(
    make_runtime: MakeRuntime, store: Store, *, done: bool
):
    provider = Provider()

    async def pay(key: str) -> str:
        if not provider.calls:
            await provider.pay(key)
            raise ConnectionError("no answer")
        return await provider.pay(key)

    runtime = make_runtime(paying(pay), companions=[requests()])
    run = await approved(runtime, store)
    question = await unsettled(runtime, run)
    approvals = approvals_of(runtime)
    assert await status_of(store, approvals, run) == "indeterminate"
    assert not await approvals.find(run_id=run.id, status="open"), "no card: no approver can know"
    await runtime.resume(run.thread_id, run.id, question, {"done": done, "result": "as the bank says"})
    run = await runtime.advance(run.id)
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == ["as the bank says" if done else "paid 2"]
    assert await status_of(store, approvals, run) == "done"
    assert len(provider.calls) == 1, "always the same key"


async def test_an_answer_that_settles_nothing_leaves_the_question_open(
    make_runtime: MakeRuntime, store: Store
):
    async def pay(key: str) -> str:
        raise ConnectionError("no answer")

    runtime = make_runtime(paying(pay), companions=[requests()])
    run = await approved(runtime, store)
    question = await unsettled(runtime, run)
    await runtime.resume(run.thread_id, run.id, question, "yes")
    run = await runtime.advance(run.id)
    assert await unsettled(runtime, run) == question


async def test_an_effect_that_fails_again_after_an_operator_is_asked_for_again(
    make_runtime: MakeRuntime, store: Store, clock: Any
):
    async def pay(key: str) -> str:
        raise ConnectionError("no answer")

    runtime = make_runtime(paying(pay), companions=[requests()])
    run = await approved(runtime, store)
    seen = set()
    for _ in range(5):
        question = await unsettled(runtime, run)
        assert question not in seen, "an answer settles one try, and no other"
        seen.add(question)
        clock.pass_seconds(1)
        await runtime.resume(run.thread_id, run.id, question, {"done": False})
        run = await runtime.advance(run.id)
    assert run.status == "interrupted"


@pytest.mark.parametrize("knows", [True, False])
async def test_reconcile_decides_before_anybody_is_asked(
    make_runtime: MakeRuntime, store: Store, *, knows: bool
):
    provider = Provider()

    async def pay(key: str) -> str:
        paid = await provider.pay(key)
        if paid == "paid 1":
            raise ConnectionError("no answer")
        return paid

    async def reconcile(key: str) -> str:
        assert key in provider.calls
        if not knows:
            raise NotDone("the bank knows nothing of it")
        return "as the bank says"

    runtime = make_runtime(paying(pay, reconcile=reconcile), companions=[requests()])
    run = await approved(runtime, store)
    if not knows:
        # Surely not done: whether it is tried again is for the node's retries to say, or an operator's.
        assert run.status == "failed"
        assert await status_of(store, approvals_of(runtime), run) is None
        run = await runtime.advance((await runtime.retry(run.thread_id, run.id)).id)
    assert run.status == "completed"
    assert (await values(runtime, run))["log"] == ["as the bank says" if knows else "paid 2"]


async def test_two_uses_of_one_grant_at_once_are_refused_not_taken_for_one_that_broke_off(
    make_runtime: MakeRuntime, store: Store
):
    provider = Provider()

    async def slow(key: str) -> str:
        await asyncio.sleep(0.02)
        return await provider.pay(key)

    async def look(key: str) -> str:
        raise NotDone("not yet")

    async def ask(state: Log) -> Log:
        return {"answer": approve("Pay ACME", action=PAY)}

    async def carry_out(state: Log) -> Log:
        grant = state["answer"].grant
        await asyncio.gather(*(execute_once(grant, slow, reconcile=look) for _ in range(2)))
        return {}

    graph = one_after_another("pay", ask=ask, carry_out=carry_out)
    run = await approved(make_runtime(graph, companions=[requests()]), store)
    assert run.status == "needs_attention"
    assert run.error is not None
    assert "uses one grant twice at once" in run.error["message"]
    assert sum(provider.calls.values()) <= 1


async def test_a_plain_function_holds_up_nobody_else(make_runtime: MakeRuntime, store: Store):
    threads: list[int] = []

    def pay(key: str) -> str:
        threads.append(threading.get_ident())
        return "paid"

    run = await approved(make_runtime(paying(pay), companions=[requests()]), store)
    assert run.status == "completed"
    assert threads != [threading.get_ident()]


async def test_the_grant_of_another_thread_is_refused(make_runtime: MakeRuntime, store: Store):
    """What is kept of its use would go with that thread, and the grant be unused again."""
    provider = Provider()

    async def carry_out(state: Log) -> Log:
        return {"log": [await execute_once(Grant(*state["answer"]), provider.pay)]}

    runtime = make_runtime(
        paying(lambda key: key), one_after_another("other", carry_out=carry_out), companions=[requests()]
    )
    run = await approved(runtime, store)
    (request,) = await approvals_of(runtime).find(run_id=run.id)
    other = await runtime.start("other", {"answer": [request.id, request.digest]})
    other = await runtime.advance(other.id)
    assert other.error is not None
    assert "another thread" in other.error["message"]
    assert not provider.calls


async def test_a_freeze_that_begins_while_members_are_looked_up_holds_it_up(
    make_runtime: MakeRuntime, store: Store
):
    provider = Provider()
    strict = {"people": ["U_BOSS"], "recheck_members": True}
    runtime = make_runtime(paying(provider.pay), companions=[requests(default=strict)])

    class Freezing(People):
        async def reviewer(self, actor: Any, groups: Any) -> Any:
            await Alarms(runtime).freeze("all", by="U_ANN", reason="an incident")
            return await super().reviewer(actor, groups)

    runtime.ground.directory = Freezing()
    run = await begin(runtime)
    approvals = approvals_of(runtime)
    view = await open_view(approvals, run.id)
    await approvals.decide(ticket_of(view, store), boss(), "approve", place=API)
    run = await runtime.advance(run.id)
    assert (run.status, provider.calls) == ("interrupted", {})
    for who in ("U_ANN", "U_BEN"):
        await Alarms(runtime).release("all", by=who)
    runtime.ground.directory = People()
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"] == ["paid 1"]


async def test_of_two_tasks_that_race_for_one_grant_one_is_told_at_once_that_it_is_used(
    make_runtime: MakeRuntime, store: Store
):
    provider = Provider()
    strict = {"people": ["U_BOSS"], "recheck_members": True}

    class Together(People):
        """Lets nobody through before both have looked at the grant."""

        async def reviewer(self, actor: Any, groups: Any) -> Any:
            await both.wait()
            return await super().reviewer(actor, groups)

    async def ask(state: Log) -> Log:
        return {"answer": approve("Pay ACME", action=PAY)}

    async def carry_out(state: Log) -> Log:
        try:
            return {"log": [await execute_once(state["answer"].grant, provider.pay, action=PAY)]}
        except GrantRefused as refused:
            return {"log": [refused.code]}

    both = asyncio.Barrier(2)
    graph = StateGraph(Log).add_node("ask", ask).add_node("one", carry_out).add_node("two", carry_out)
    graph.add_edge(START, "ask").add_edge("ask", "one").add_edge("ask", "two")
    runtime = make_runtime(graph.compile(name="pay"), companions=[requests(default=strict)])
    run = await begin(runtime)
    approvals = approvals_of(runtime)
    view = await open_view(approvals, run.id)
    await approvals.decide(ticket_of(view, store), boss(), "approve", place=API)
    runtime.ground.directory = Together()
    run = await runtime.advance(run.id)
    assert (run.status, sorted((await values(runtime, run))["log"])) == ("completed", ["USED", "paid 1"])
    assert sum(provider.calls.values()) == 1


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("raised", [SystemExit(3), asyncio.CancelledError()], ids=["exit", "cancel"])
async def test_an_effect_that_exits_or_cancels_itself_is_indeterminate_as_any_that_failed(
    make_runtime: MakeRuntime, store: Store, raised: BaseException
):
    async def pay(key: str) -> str:
        raise raised

    runtime = make_runtime(paying(pay), companions=[requests()])
    run = await approved(runtime, store)
    assert await status_of(store, approvals_of(runtime), run) == "indeterminate"
    await runtime.resume(run.thread_id, run.id, await unsettled(runtime, run), {"done": True, "result": 7})
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"] == [7]


async def test_a10_what_was_approved_waits_for_the_next_window(
    make_runtime: MakeRuntime, store: Store, clock: SettableClock
):
    provider = Provider()
    nine_to_four = {"tz": "Europe/London", "days": "mon-thu", "from": "09:30", "to": "16:00"}
    policies = requests(default={"people": ["U_BOSS"], "windows": [nine_to_four]})
    runtime = make_runtime(paying(provider.pay), companions=[policies])
    clock.pass_seconds(7 * 3_600 + 600)  # Monday, 16:10
    run = await approved(runtime, store)
    assert (run.status, provider.calls) == ("interrupted", {})
    alarms = Alarms(runtime)
    clock.pass_seconds(17 * 3_600 + 1_199)  # Tuesday, a second before 09:30
    assert not await alarms.ring_due()
    clock.pass_seconds(1)
    assert await alarms.ring_due()
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"] == ["paid 1"]


@pytest.mark.parametrize("kind", ["signoff.freeze", "signoff.timer", "signoff.unsettled", "signoff.approval"])
async def test_what_only_this_program_asks_nobody_else_may(make_runtime: MakeRuntime, kind: str):
    async def ask(state: Log) -> Log:
        return {"log": [interrupt({"type": kind, "until": "never"})]}

    runtime = make_runtime(one_after_another("pay", ask=ask), companions=[requests()])
    run = await begin(runtime)
    assert run.error is not None
    assert "asked by this program alone" in run.error["message"]


async def test_when_reconcile_does_not_know_either_an_operator_is_asked(
    make_runtime: MakeRuntime, store: Store
):
    async def pay(key: str) -> str:
        raise ConnectionError("no answer")

    async def reconcile(key: str) -> str:
        raise TimeoutError("the bank is closed")

    runtime = make_runtime(paying(pay, reconcile=reconcile), companions=[requests()])
    run = await approved(runtime, store)
    await runtime.resume(run.thread_id, run.id, await unsettled(runtime, run), {"done": True, "result": 7})
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"] == [7]


async def test_a_revoked_grant_is_refused(make_runtime: MakeRuntime, store: Store):
    provider = Provider()
    runtime = make_runtime(paying(provider.pay), companions=[requests()])
    run = await begin(runtime)
    approvals = approvals_of(runtime)
    view = await open_view(approvals, run.id)
    await approvals.decide(ticket_of(view, store), boss(), "approve", place=API)
    await store.commit(Batch("test", (Do("revoke_unused_grants", {"now": 1}),)))
    run = await runtime.advance(run.id)
    assert run.error is not None
    assert "was revoked" in run.error["message"]
    assert not provider.calls


@pytest.mark.parametrize("scope", ["all", "graph:pay", "action:pay"])
async def test_while_frozen_nothing_is_carried_out_and_it_goes_on_when_two_people_agree(
    make_runtime: MakeRuntime, store: Store, scope: str
):
    provider = Provider()
    runtime = make_runtime(paying(provider.pay), companions=[requests()])
    alarms = Alarms(runtime)
    await alarms.freeze(scope, by="U_ANN", reason="an incident")
    run = await approved(runtime, store)
    assert run.status == "interrupted"
    assert not provider.calls
    await alarms.release(scope, by="U_ANN")
    assert (await runtime.get(run.id)).status == "interrupted"
    await alarms.release(scope, by="U_BEN")
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"] == ["paid 1"]


async def test_a_second_freeze_holds_when_the_first_has_ended(make_runtime: MakeRuntime, store: Store):
    provider = Provider()
    runtime = make_runtime(paying(provider.pay), companions=[requests()])
    alarms = Alarms(runtime)
    await alarms.freeze("all", by="U_ANN", reason="an incident")
    await alarms.freeze("graph:pay", by="U_ANN", reason="another")
    run = await approved(runtime, store)
    for scope in ("all", "graph:pay"):
        assert not provider.calls
        for who in ("U_ANN", "U_BEN"):
            await alarms.release(scope, by=who)
        run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"] == ["paid 1"]


async def test_a_freeze_of_something_else_holds_nothing_up(make_runtime: MakeRuntime, store: Store):
    provider = Provider()
    runtime = make_runtime(paying(provider.pay), companions=[requests()])
    await Alarms(runtime).freeze("graph:other", by="U_ANN", reason="an incident")
    assert (await approved(runtime, store)).status == "completed"


async def test_who_does_not_want_to_wait_is_told_of_the_freeze(make_runtime: MakeRuntime, store: Store):
    provider = Provider()

    async def ask(state: Log) -> Log:
        return {"answer": approve("Pay ACME", action=PAY)}

    async def carry_out(state: Log) -> Log:
        with pytest.raises(FrozenError, match="all is frozen"):
            await execute_once(state["answer"].grant, provider.pay, wait_for_release=False)
        return {"log": ["later"]}

    runtime = make_runtime(one_after_another("pay", ask=ask, carry_out=carry_out), companions=[requests()])
    await Alarms(runtime).freeze("all", by="U_ANN", reason="an incident")
    run = await approved(runtime, store)
    assert (await values(runtime, run))["log"] == ["later"]
    assert not provider.calls


async def test_a_run_that_rested_just_after_its_freeze_ended_is_woken_all_the_same(
    make_runtime: MakeRuntime, store: Store, clock: SettableClock
):
    provider = Provider()
    runtime = make_runtime(paying(provider.pay), companions=[requests()])
    alarms = Alarms(runtime)
    await alarms.freeze("all", by="U_ANN", reason="an incident")
    run = await approved(runtime, store)
    (freeze,) = await alarms.freezes()
    gone = Do("drop_freeze", {"scope": "all", "before": "[]"})
    await store.commit(Batch("test", (gone,)))  # and whoever ended it died before it rang
    assert await Alarms(runtime).ring_released(), "the next process looks when it starts"
    clock.pass_seconds(1)
    await alarms.freeze("all", by="U_ANN", reason="another")
    assert not await alarms.ring_released()
    run = await runtime.advance(run.id)
    assert run.status == "interrupted"
    await store.commit(Batch("test", (gone,)))
    put = {"scope": "all", "frozen_by": "U_ANN", "text_id": None, "now": clock() + 5}
    await store.commit(Batch("test", (Do("put_freeze", put),)))
    assert await alarms.ring_released(), "another freeze is not the one that it waited for"
    assert not await alarms.ring_released()
    await store.commit(Batch("test", (gone,)))
    await runtime.advance(run.id)
    clock.pass_seconds(61)
    await alarms.ring_released()
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"] == ["paid 1"]
    assert freeze.reason == "an incident"


@pytest.mark.databases("sqlite")
async def test_a_database_that_was_restored_never_uses_a_grant_of_before(
    make_runtime: MakeRuntime, store: Store, database: str, clock: SettableClock
):
    provider = Provider()
    runtime = make_runtime(paying(provider.pay), companions=[requests()])
    await Alarms(runtime).freeze("all", by="U_ANN", reason="an incident")
    run = await approved(runtime, store)
    await Upkeep(database, clock=clock).renew()
    clock.pass_seconds(1)
    for who in ("U_ANN", "U_BEN"):
        await Alarms(runtime).release("all", by=who)
    run = await runtime.advance(run.id)
    assert run.error is not None
    assert "was revoked" in run.error["message"]
    assert not provider.calls


@pytest.mark.parametrize(
    ("since", "code"),
    [
        (People({"G_OPS": ["U_BOSS", "U_OPS"]}), None),
        (People({"G_OPS": ["U_BOSS"]}), "NOT_APPROVER"),
        (People({"G_OPS": ["U_BOSS", "U_OPS"]}, kinds={"U_OPS": "deactivated"}), "NOT_APPROVER"),
        (People({"G_OPS": ["U_BOSS", "U_OPS"]}, lost=["G_OPS"]), "MEMBERSHIP_UNKNOWN"),
        (People({"G_OPS": ["U_BOSS", "U_OPS"]}, kinds={"U_BOSS": "unknown"}), "MEMBERSHIP_UNKNOWN"),
        (None, "MEMBERSHIP_UNKNOWN"),
    ],
)
async def test_a8_who_has_left_the_group_since_the_vote_does_not_count_when_it_is_carried_out(
    make_runtime: MakeRuntime, store: Store, since: People | None, code: str | None
):
    provider = Provider()
    two = {"require": [{"group": "G_OPS", "count": 2}], "recheck_members": True}
    runtime = make_runtime(paying(provider.pay), companions=[requests(default=two)])
    run = await begin(runtime)
    approvals = approvals_of(runtime, People({"G_OPS": ["U_BOSS", "U_OPS"]}))
    view = await open_view(approvals, run.id)
    for voter in ("U_BOSS", "U_OPS"):
        await approvals.decide(ticket_of(view, store), person(voter), "approve", place=API)
    runtime.ground.directory = since
    run = await runtime.advance(run.id)
    assert run.status == ("completed" if code is None else "failed")
    assert sum(provider.calls.values()) == (code is None)
    if code is not None:
        assert run.error is not None
        assert run.error["type"] == "GrantRefused"
        words = "may not any more" if code == "NOT_APPROVER" else "could not be checked"
        assert words in run.error["message"]


async def test_a_node_that_was_refused_after_it_had_waited_may_go_another_way(
    make_runtime: MakeRuntime, store: Store
):
    async def ask(state: Log) -> Log:
        return {"answer": approve("Pay ACME", action=PAY)}

    async def carry_out(state: Log) -> Log:
        try:
            await execute_once(state["answer"].grant, Provider().pay)
        except GrantRefused as refused:
            return {"log": [refused.code]}
        return {}

    strict = requests(default={"groups": ["G_OPS"], "recheck_members": True})
    runtime = make_runtime(one_after_another("pay", ask=ask, carry_out=carry_out), companions=[strict])
    alarms = Alarms(runtime)
    await alarms.freeze("all", by="U_ANN", reason="an incident")
    run = await begin(runtime)
    approvals = approvals_of(runtime)
    view = await open_view(approvals, run.id)
    await approvals.decide(ticket_of(view, store), person("U_OPS"), "approve", place=API)
    assert (await runtime.advance(run.id)).status == "interrupted"
    runtime.ground.directory = People({"G_OPS": []})
    for who in ("U_ANN", "U_BEN"):
        await alarms.release("all", by=who)
    run = await runtime.advance(run.id)
    assert run.error is None
    assert (await values(runtime, run))["log"] == ["NOT_APPROVER"]


async def test_what_was_edited_is_carried_out_as_it_was_edited(make_runtime: MakeRuntime, store: Store):
    provider = Provider()
    seen: list[Any] = []

    async def ask(state: Log) -> Log:
        return {"answer": approve("Pay ACME", action=PAY)}

    async def carry_out(state: Log) -> Log:
        decision = state["answer"]
        seen.append(decision.arguments)
        with pytest.raises(GrantRefused):
            await execute_once(decision.grant, provider.pay, action=PAY)
        return {
            "log": [
                await execute_once(decision.grant, provider.pay, action=Action("pay", decision.arguments))
            ]
        }

    editable = {
        "people": ["U_BOSS"],
        "decisions": ["approve", "edit", "reject"],
        "edit": {"fields": ["amount"]},
    }
    graph = one_after_another("pay", ask=ask, carry_out=carry_out)
    runtime = make_runtime(graph, companions=[requests(default=editable)])
    run = await begin(runtime)
    approvals = approvals_of(runtime)
    view = await open_view(approvals, run.id)
    await approvals.decide(
        ticket_of(view, store), boss(), "edit", place=API, edited={"amount": 250}, reason="partial goods"
    )
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"] == ["paid 1"]
    assert seen == [{"amount": 250, "to": "ACME"}]


@pytest.mark.parametrize("scope", ["all", "graph:pay"])
async def test_c13_deadlines_do_not_count_while_frozen(
    make_runtime: MakeRuntime, store: Store, clock: SettableClock, scope: str
):
    provider = Provider()
    policies = requests(default={"people": ["U_BOSS"], "deadline": "1h"})
    runtime = make_runtime(paying(provider.pay), companions=[policies])
    run = await begin(runtime)
    alarms, approvals = Alarms(runtime), approvals_of(runtime)
    view = await open_view(approvals, run.id)
    assert view.request.deadline_at is not None
    clock.pass_seconds(1_800)
    await alarms.freeze(scope, by="U_ANN", reason="an incident")
    clock.pass_seconds(7_200)
    assert not await approvals.expire_due()
    assert (await open_view(approvals, run.id)).frozen
    for who in ("U_ANN", "U_BEN"):
        await alarms.release(scope, by=who)
    thawed = await open_view(approvals, run.id)
    assert not thawed.frozen
    assert thawed.request.deadline_at == view.request.deadline_at + 7_200 * SECOND
    clock.pass_seconds(1_799)
    assert not await approvals.expire_due()
    clock.pass_seconds(1)
    assert await approvals.expire_due()
    assert (await approvals.find(run_id=run.id))[0].status == "timed_out"


async def test_a_question_may_be_decided_while_frozen_past_its_deadline_and_is_carried_out_later(
    make_runtime: MakeRuntime, store: Store, clock: SettableClock
):
    provider = Provider()
    policies = requests(default={"people": ["U_BOSS"], "deadline": "1h"})
    runtime = make_runtime(paying(provider.pay), companions=[policies])
    alarms, approvals = Alarms(runtime), approvals_of(runtime)
    run = await begin(runtime)
    await alarms.freeze("all", by="U_ANN", reason="an incident")
    clock.pass_seconds(7_200)
    view = await open_view(approvals, run.id)
    await approvals.decide(ticket_of(view, store), boss(), "approve", place=API)
    run = await runtime.advance(run.id)
    assert (run.status, provider.calls) == ("interrupted", {})
    for who in ("U_ANN", "U_BEN"):
        await alarms.release("all", by=who)
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"] == ["paid 1"]


async def test_a_deadline_waits_for_the_last_of_two_freezes(
    make_runtime: MakeRuntime, store: Store, clock: SettableClock
):
    policies = requests(default={"people": ["U_BOSS"], "deadline": "1h"})
    runtime = make_runtime(paying(lambda key: key), companions=[policies])
    alarms, approvals = Alarms(runtime), approvals_of(runtime)
    run = await begin(runtime)
    before = (await open_view(approvals, run.id)).request.deadline_at
    assert before is not None
    await alarms.freeze("graph:pay", by="U_ANN", reason="an incident")
    await alarms.freeze("all", by="U_ANN", reason="another")
    clock.pass_seconds(7_200)
    for scope in ("all", "graph:pay"):
        for who in ("U_ANN", "U_BEN"):
            await alarms.release(scope, by=who)
        clock.pass_seconds(100)
    assert (await open_view(approvals, run.id)).request.deadline_at == before + 7_300 * SECOND
