"""Tool policies: what a rule says of a tool, and that a tool runs once, after an approval, or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from graphs import Count, Log, answer_only, begin, events, one_after_another, values
from kit import MakeRuntime, SettableClock
from people import API, approvals_of, boss, open_view, requests, ticket_of

from graph_runtime import (
    START,
    Action,
    Alarms,
    Approvals,
    CompiledGraph,
    OutsideNode,
    PolicyError,
    RetryPolicy,
    Run,
    Runtime,
    StateGraph,
    Store,
    ToolBlocked,
    ToolPolicy,
    ToolRefused,
    ToolRejected,
    approve,
    interrupt,
    load_tool_policy,
    read_tool_policy,
)

RULES = [
    {"tool": "read_*", "do": "allow", "reason": "reading changes nothing"},
    {"tool": "read_secret", "do": "block", "reason": "too late: the rule before it has decided"},
    {"tool": "shell", "do": "block", "reason": "no shell in production"},
    {"tool": "mail.*", "do": "ask", "policy": "slow", "reason": "mail leaves the house"},
]
POLICY = read_tool_policy(RULES)


# -- the verdict --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "do", "rule"),
    [
        ("read_file", "allow", 1),
        ("read_", "allow", 1),
        ("read_secret", "allow", 1),
        ("shell", "block", 3),
        ("mail.send", "ask", 4),
        ("transfer", "ask", None),
        ("shell2", "ask", None),
        ("a_shell", "ask", None),
        ("Read_file", "ask", None),
        ("SHELL", "ask", None),
        ("mail_send", "ask", None),
    ],
)
def test_the_first_rule_that_matches_the_whole_name_decides_and_else_people_are_asked(
    tool: str, do: str, rule: int | None
) -> None:
    verdict = POLICY.judge(tool)
    assert (verdict.do, verdict.rule) == (do, rule)


@pytest.mark.parametrize(
    ("glob", "names", "others"),
    [
        ("*", ["a", "a/b:c.d-e", "x" * 128], []),
        ("read?", ["reads", "read_", "read/"], ["read", "reader"]),
        ("fs.*", ["fs.", "fs.read", "fs.a.b"], ["fs", "fsxread"]),
        ("*_file", ["_file", "a_file"], ["a_files"]),
        ("a*b*c", ["abc", "axbxc", "abbc"], ["ac", "abcd"]),
        ("server/tool", ["server/tool"], ["server.tool"]),
        ("*a*a*a*a*a*a*a*a*b", ["a" * 8 + "b"], ["a" * 128]),
    ],
)
def test_a_star_stands_for_any_characters_a_question_mark_for_one_and_the_rest_for_itself(
    glob: str, names: list[str], others: list[str]
) -> None:
    policy = read_tool_policy([{"tool": glob, "do": "allow"}])
    assert [policy.judge(name).do for name in names] == ["allow"] * len(names)
    assert [policy.judge(name).do for name in others] == ["ask"] * len(others)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "read file",
        "read_x\nshell",
        "read_x\x00",
        "read_\u202eelif",
        "re\u0430d_file",
        "read_*",
        "read_<!channel>",
        "x" * 129,
        "read_\ud800",
        None,
        7,
        ["read_file"],
    ],
)
def test_what_is_no_name_of_a_tool_is_blocked_even_where_everything_is_allowed(name: Any) -> None:
    assert read_tool_policy([{"tool": "*", "do": "allow"}]).judge(name).do == "block"


def test_a_policy_without_rules_asks_for_everything() -> None:
    assert ToolPolicy().judge("read_file").do == "ask"
    assert read_tool_policy([]).judge("read_file").do == "ask"


# -- rules that are refused ---------------------------------------------------------------------------------

ALLOW = {"tool": "read_*", "do": "allow"}


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([ALLOW, {"tool": "x", "do": "perhaps"}], "rule 2, do: Input should be 'allow', 'ask' or 'block'"),
        ([{"do": "allow"}], "rule 1, tool: Field required"),
        ([{"tool": "x"}], "rule 1, do: Field required"),
        ([{**ALLOW, "args.path": "x"}], "rule 1, args.path: Extra inputs are not permitted"),
        ([{**ALLOW, "tool": 7}], "rule 1, tool: Input should be a valid string"),
        ([{**ALLOW, "tool": ""}], "rule 1: tool is a name of 1 to 128"),
        ([{**ALLOW, "tool": "[a-z]*"}], "rule 1: tool is a name of 1 to 128"),
        ([{**ALLOW, "tool": "read file"}], "rule 1: tool is a name of 1 to 128"),
        ([{"tool": "shell", "do": "block"}], "rule 1: a rule that blocks says why"),
        ([{"tool": "shell", "do": "block", "reason": " "}], "rule 1: a rule that blocks says why"),
        ([{**ALLOW, "policy": "sre"}], "rule 1: policy says who is asked, and this rule asks nobody"),
        ([{"tool": "x", "do": "ask", "policy": ""}], "rule 1, policy: String should have at least 1"),
        ([{**ALLOW, "reason": "x" * 201}], "rule 1, reason: String should have at most 200"),
        (
            [{"tool": "*", "do": "allow"}, {"tool": "shell", "do": "block", "reason": "no"}],
            "rule 2: it can never decide, because an earlier rule is for '*'",
        ),
        ([ALLOW, ALLOW], "rule 2: it can never decide, because an earlier rule is for 'read_*'"),
        (["read_*"], "rule 1: Input should be a valid dictionary"),
        ({"tool": "x", "do": "allow"}, "a list of rules was expected"),
        ("read_*", "a list of rules was expected"),
    ],
)
def test_rules_that_are_broken_are_refused_whole_with_the_rule_and_the_key_named(
    rules: Any, said: str
) -> None:
    with pytest.raises(PolicyError) as refused:
        read_tool_policy(rules)
    assert str(refused.value).startswith("no tool policy was loaded")
    assert said in str(refused.value)


def test_every_broken_rule_is_named_at_once() -> None:
    with pytest.raises(PolicyError, match=r"rule 1, do: .*rule 3, tool: "):
        read_tool_policy([{"tool": "a", "do": "no"}, ALLOW, {"do": "ask"}])


def test_a_file_of_rules_is_read_in_its_order(tmp_path: Path) -> None:
    file = tmp_path / "tools.toml"
    file.write_text("".join(f"[[tools]]\n{lines(rule)}\n" for rule in RULES))
    assert load_tool_policy(file) == POLICY
    assert load_tool_policy(str(file)) == POLICY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[tools]]\ntool = "a"\ndo = \n', "line 3, column"),
        ('# first\n[[tools]]\ntool = "a"\ndo = "allow"\n\n[[tools]]\ntool = "b"\n', "rule 2 (line 6), do"),
        ('tools = [{tool = "a", do = "no"}]', "rule 1, do"),
        ('[[tool]]\ntool = "a"\ndo = "allow"\n', "holds [[tools]] tables and no more; there is 'tool'"),
        ('limit = 1\n[[tools]]\ntool = "a"\ndo = "allow"\n', "there is 'limit'"),
        ('[tools]\ntool = "a"\n', "holds [[tools]] tables and no more"),
        ("", "holds [[tools]] tables and no more"),
        ("\ufffe\ud800", "is no TOML"),
    ],
)
def test_a_broken_file_is_refused_whole_with_its_line_or_key_named(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "tools.toml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(PolicyError) as refused:
        load_tool_policy(file)
    assert said in str(refused.value)
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_is_no_empty_policy(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read: No such file"):
        load_tool_policy(tmp_path / "tools.toml")


def lines(rule: Mapping[str, str]) -> str:
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in rule.items())


# -- the call -----------------------------------------------------------------------------------------------


class Bench:
    """One node that uses one tool, by a policy that a test may change; counts what was really run."""

    def __init__(self, make: MakeRuntime, *, then_ask: str = "") -> None:
        self.policy = POLICY
        self.ran = Count()
        self.arguments: dict[str, Any] = {"path": "/etc/hostname-of-a-secret"}
        self.options: dict[str, Any] = {}
        self.caught: list[ToolRefused] = []
        self.catches = False
        self._then_ask = then_ask
        self.runtime: Runtime = make(one_after_another(use=self.node), companions=[requests()])
        self.approvals: Approvals = approvals_of(self.runtime)

    async def tool(self, **arguments: Any) -> str:
        self.ran("tool")
        return f"done {json.dumps(arguments)}"

    async def node(self, state: Log) -> Log:
        try:
            done = await self.policy.call(state["subject"], self.tool, self.arguments, **self.options)
        except ToolRefused as refused:
            if not self.catches:
                raise
            self.caught.append(refused)
            done = str(refused)
        later = interrupt(self._then_ask) if self._then_ask else None
        return {"log": [done], "answer": later}

    async def start(self, tool: str) -> Run:
        return await begin(self.runtime, {"subject": tool})

    async def decide(self, run: Run, verdict: Any, reason: str | None = None) -> Run:
        ticket = ticket_of(await open_view(self.approvals, run.id), self.runtime.store)
        await self.approvals.decide(ticket, boss(), verdict, place=API, reason=reason)
        return await self.runtime.advance(run.id)


@pytest.fixture
def bench(make_runtime: MakeRuntime) -> Bench:
    return Bench(make_runtime)


@pytest.fixture
def asking(make_runtime: MakeRuntime) -> Bench:
    """A node that asks something else after it has used the tool, so that it runs again from its top."""
    return Bench(make_runtime, then_ask="and then?")


async def told(store: Store) -> list[tuple[str, Any, Any]]:
    return [
        (e.kind, e.data["tool"], e.data["rule"]) for e in await events(store) if e.kind.startswith("tool.")
    ]


async def test_an_allowed_tool_runs_once_though_its_node_runs_again(asking: Bench, store: Store) -> None:
    run = await asking.start("read_file")
    assert run.status == "interrupted"
    run = await asking.decide(run, "approve")
    assert run.status == "completed"
    assert asking.ran.of["tool"] == 1
    assert await told(store) == [("tool.allowed", "read_file", 1)]


async def test_a_tool_that_is_asked_for_shows_what_would_run_and_runs_once_when_approved(
    bench: Bench, store: Store
) -> None:
    bench.options = {"facts": {"risk": "low"}, "requester": "U_REQ"}
    run = await bench.start("mail.send")
    assert (run.status, bench.ran.all) == ("interrupted", 0)
    request = (await open_view(bench.approvals, run.id)).request
    assert request.title == "Use the tool mail.send"
    assert request.action is not None
    assert (request.action.name, request.action.arguments) == ("mail.send", bench.arguments)
    assert request.facts == {"risk": "low", "why asked": "mail leaves the house"}
    assert (request.policy_name, request.requester) == ("slow", "U_REQ")
    run = await bench.decide(run, "approve")
    assert (run.status, bench.ran.of["tool"]) == ("completed", 1)
    assert (await values(bench.runtime, run))["log"] == [f"done {json.dumps(bench.arguments)}"]
    assert await told(store) == [("tool.asked", "mail.send", 4)]


async def test_a_tool_that_no_rule_names_is_asked_for_by_the_default_policy(
    bench: Bench, store: Store
) -> None:
    run = await bench.start("transfer_funds")
    request = (await open_view(bench.approvals, run.id)).request
    assert (request.policy_name, request.facts) == ("default", {"why asked": "no rule names this tool"})
    assert bench.ran.all == 0
    assert await told(store) == [("tool.asked", "transfer_funds", None)]


async def test_a_rejected_tool_is_not_run_and_the_node_is_told_by_whom_and_why(bench: Bench) -> None:
    bench.catches = True
    run = await bench.decide(await bench.start("mail.send"), "reject", "not to this address")
    assert run.status == "completed"
    (refused,) = bench.caught
    assert isinstance(refused, ToolRejected)
    assert (refused.decision.by, refused.tool) == (("U_BOSS",), "mail.send")
    assert str(refused) == "the tool mail.send was not used: it was rejected: not to this address"
    assert bench.ran.all == 0


async def test_a_tool_that_nobody_decides_in_time_is_not_run(bench: Bench, clock: SettableClock) -> None:
    run = await bench.start("mail.send")
    clock.pass_seconds(3_601)
    assert await bench.approvals.expire_due()
    run = await bench.runtime.advance(run.id)
    assert run.error is not None
    assert (run.status, run.error["type"], bench.ran.all) == ("failed", "ToolRejected", 0)
    assert "it was not decided in time" in run.error["message"]


async def test_a_blocked_tool_is_not_run_and_nobody_is_asked(bench: Bench, store: Store) -> None:
    run = await bench.start("shell")
    assert run.error is not None
    assert (run.status, run.error["type"], bench.ran.all) == ("failed", "ToolBlocked", 0)
    assert run.error["message"] == (
        "the tool shell was not used: it is blocked by rule 3: no shell in production"
    )
    assert await bench.approvals.find(run_id=run.id) == []
    assert await told(store) == [("tool.blocked", "shell", 3)]


async def test_a_refused_tool_is_not_tried_again_by_a_retry_policy(make_runtime: MakeRuntime) -> None:
    tries: list[str] = []

    async def use(state: Log) -> Log:
        tries.append("use")
        return {"log": [await POLICY.call("shell", tries.append, {})]}

    graph = StateGraph(Log).add_node(use, retry_policy=RetryPolicy(initial_interval=0, jitter=False))
    run = await begin(make_runtime(graph.add_edge(START, "use").compile()))
    assert (run.status, tries) == ("failed", ["use"])


@pytest.mark.parametrize("name", ["read_x\nshell", "read_\u202eelif", "", "x" * 500, "read_\ud800"])
async def test_a_hostile_name_is_blocked_and_stands_escaped_in_the_journal(
    make_runtime: MakeRuntime, store: Store, name: str
) -> None:
    ran = Count()

    async def use(state: Log) -> Log:
        everything = read_tool_policy([{"tool": "*", "do": "allow"}])
        return {"log": [await everything.call(name, lambda: ran("tool"), {})]}

    run = await begin(make_runtime(one_after_another(use=use)))
    assert run.error is not None
    assert (run.error["type"], ran.all) == ("ToolBlocked", 0)
    ((kind, shown, rule),) = await told(store)
    assert (kind, rule) == ("tool.blocked", None)
    assert shown == ascii(name)[:80]
    assert shown.isprintable()
    assert shown in run.error["message"]


@pytest.mark.parametrize("tool", ["read_file", "mail.send", "shell", "other"])
async def test_the_journal_says_rule_and_reason_and_never_an_argument(
    bench: Bench, store: Store, tool: str
) -> None:
    run = await bench.start(tool)
    if run.status == "interrupted":
        await bench.decide(run, "approve")
    (line,) = [event for event in await events(store) if event.kind.startswith("tool.")]
    verdict = POLICY.judge(tool)
    assert line.data == {"tool": tool, "rule": verdict.rule, "reason": verdict.reason, "node": "use"}
    assert (line.run_id, line.thread_id) == (run.id, run.thread_id)
    assert "secret" not in str([event.data for event in await events(store)])


# -- rules that change, runs that break ---------------------------------------------------------------------

BLOCK_ALL = read_tool_policy([{"tool": "*", "do": "block", "reason": "frozen"}])
ALLOW_ALL = read_tool_policy([{"tool": "*", "do": "allow"}])


async def test_a_rule_that_allows_by_now_does_not_skip_the_question_that_is_open(bench: Bench) -> None:
    run = await bench.start("mail.send")
    bench.policy = ALLOW_ALL
    run = await bench.decide(run, "approve")
    assert (run.status, bench.ran.of["tool"]) == ("completed", 1)


async def test_a_rejection_holds_though_a_rule_allows_by_now(bench: Bench) -> None:
    run = await bench.start("mail.send")
    bench.policy = ALLOW_ALL
    run = await bench.decide(run, "reject", "no")
    assert (run.status, bench.ran.all) == ("failed", 0)


async def test_a_rule_that_blocks_by_now_stops_a_tool_that_was_approved(bench: Bench, store: Store) -> None:
    run = await bench.start("mail.send")
    bench.policy, bench.catches = BLOCK_ALL, True
    run = await bench.decide(run, "approve")
    # The node went on without the tool; the answer counts as taken, so that nothing needs an operator.
    assert (run.status, bench.ran.all) == ("completed", 0)
    (refused,) = bench.caught
    assert isinstance(refused, ToolBlocked)
    assert (refused.rule, refused.reason) == (1, "frozen")
    assert await told(store) == [("tool.asked", "mail.send", 4), ("tool.blocked", "mail.send", 1)]


async def test_what_was_done_is_not_undone_by_a_rule_that_blocks_by_now(asking: Bench) -> None:
    run = await asking.start("read_file")
    asking.policy = BLOCK_ALL
    run = await asking.decide(run, "approve")
    assert (run.status, asking.ran.of["tool"]) == ("completed", 1)


async def test_a_block_that_a_node_lived_with_stays_one_for_the_rest_of_its_run(asking: Bench) -> None:
    asking.catches = True
    run = await asking.start("shell")
    asking.policy = ALLOW_ALL
    run = await asking.decide(run, "approve")
    assert (run.status, asking.ran.all, len(asking.caught)) == ("completed", 0, 2)


async def test_an_approval_of_other_arguments_is_not_used(bench: Bench) -> None:
    run = await bench.start("mail.send")
    bench.arguments = {"path": "/etc/shadow"}
    run = await bench.decide(run, "approve")
    assert (run.status, bench.ran.all) == ("interrupted", 0)
    request = (await open_view(bench.approvals, run.id)).request
    assert request.action is not None
    assert request.action.arguments == {"path": "/etc/shadow"}


async def test_a_retried_run_is_judged_anew_and_does_not_do_again_what_was_done(
    make_runtime: MakeRuntime,
) -> None:
    bench = Bench(make_runtime)
    breaks = True

    async def use(state: Log) -> Log:
        await bench.policy.call("read_file", bench.tool, bench.arguments)
        await bench.policy.call("shell", bench.tool, {})
        if breaks:
            raise ValueError("after both")
        return {"log": ["done"]}

    runtime = make_runtime(one_after_another(use=use), companions=[requests()])
    run = await begin(runtime)
    assert (run.status, bench.ran.of["tool"]) == ("failed", 1)
    bench.policy, breaks = ALLOW_ALL, False
    again = await runtime.advance((await runtime.retry(run.thread_id, run.id)).id)
    assert (again.status, bench.ran.of["tool"]) == ("completed", 2)


async def test_a_retried_run_does_not_ask_for_a_tool_that_has_run(make_runtime: MakeRuntime) -> None:
    bench = Bench(make_runtime)
    breaks = True

    async def use(state: Log) -> Log:
        await bench.policy.call("mail.send", bench.tool, bench.arguments)
        if breaks:
            raise ValueError("after the mail")
        return {"log": ["done"]}

    runtime = make_runtime(one_after_another(use=use), companions=[requests()])
    bench.runtime, bench.approvals = runtime, approvals_of(runtime)
    run = await bench.decide(await begin(runtime), "approve")
    assert (run.status, bench.ran.of["tool"]) == ("failed", 1)
    breaks = False
    again = await runtime.advance((await runtime.retry(run.thread_id, run.id)).id)
    assert (again.status, bench.ran.of["tool"]) == ("completed", 1)


async def test_a_tool_that_failed_has_not_run_and_is_judged_again(bench: Bench) -> None:
    async def broken(**arguments: Any) -> str:
        raise ValueError("the disk is full")

    bench.tool, tool = broken, bench.tool  # type: ignore[method-assign]
    run = await bench.start("read_file")
    assert run.error is not None
    assert run.error["message"] == "the disk is full"
    bench.tool, bench.policy = tool, BLOCK_ALL  # type: ignore[method-assign]
    again = await bench.runtime.advance((await bench.runtime.retry(run.thread_id, run.id)).id)
    assert again.error is not None
    assert (again.error["type"], bench.ran.all) == ("ToolBlocked", 0)


# -- how it is called ---------------------------------------------------------------------------------------


def twice_at_once(ran: list[str], *keys: str | None) -> CompiledGraph:
    async def use(state: Log) -> Log:
        calls = [POLICY.call("mail.send", lambda text: ran.append(text), {"text": "hi"}, key=k) for k in keys]
        await asyncio.gather(*calls)
        return {"log": ["done"]}

    return one_after_another(use=use)


@pytest.mark.parametrize("keys", [("call 1", "call 2"), (None, None)])
async def test_of_two_equal_calls_at_once_each_needs_its_own_approval(
    make_runtime: MakeRuntime, keys: tuple[str | None, ...]
) -> None:
    ran: list[str] = []
    runtime = make_runtime(twice_at_once(ran, *keys))
    run = await begin(runtime)
    for waiting in (2, 1):
        asked = (await runtime.look(run.id)).open
        assert (run.status, len(asked), len(ran)) == ("interrupted", waiting, 2 - waiting)
        await runtime.resume(run.thread_id, run.id, asked[0].interrupt.id, {"decision": "approve"})
        run = await runtime.advance(run.id)
    assert (run.status, ran) == ("completed", ["hi", "hi"])


async def test_of_several_calls_at_once_the_allowed_one_runs_once_and_the_others_are_asked_together(
    make_runtime: MakeRuntime, store: Store
) -> None:
    ran: list[str] = []

    async def use(state: Log) -> Log:
        async def slow(text: str) -> str:
            await asyncio.sleep(0.02)
            ran.append(text)
            return text

        names = ("mail.send", "read_file", "transfer")
        return {"log": await asyncio.gather(*(POLICY.call(n, slow, {"text": n}) for n in names))}

    runtime = make_runtime(one_after_another(use=use))
    run = await begin(runtime)
    asked = (await runtime.look(run.id)).open
    assert sorted(q.interrupt.value["action"].name for q in asked) == ["mail.send", "transfer"]
    assert "mail.send" not in ran
    answers = {q.interrupt.id: {"decision": "approve"} for q in asked}
    await runtime.resume_all(run.thread_id, run.id, answers)
    run = await runtime.advance(run.id)
    assert (run.status, sorted(ran)) == ("completed", ["mail.send", "read_file", "transfer"])
    assert len(await told(store)) == 3


async def test_a_call_with_a_key_that_is_done_is_done_whatever_its_arguments_are_by_now(
    asking: Bench,
) -> None:
    asking.options = {"key": "call 1"}
    run = await asking.decide(await asking.start("mail.send"), "approve")
    asking.arguments = {"path": "other words of the model"}
    run = await asking.decide(run, "approve")
    assert (run.status, asking.ran.of["tool"]) == ("completed", 1)


async def test_arguments_may_have_any_names_and_are_those_of_the_moment_of_the_call(
    make_runtime: MakeRuntime,
) -> None:
    got: list[Any] = []
    arguments = {"name": "n", "at": 1, "function": "f", "key": ["k"], "self": "s", "tool": "t"}

    async def use(state: Log) -> Log:
        mine = {**arguments, "key": ["k"]}
        calling = asyncio.ensure_future(POLICY.call("read_it", lambda **given: got.append(given), mine))
        await asyncio.sleep(0)
        mine["key"].append("changed meanwhile")  # type: ignore[attr-defined]
        return {"log": [await calling]}

    run = await begin(make_runtime(one_after_another(use=use)))
    assert (run.status, got) == ("completed", [arguments])


async def test_without_approval_requests_a_program_answers(make_runtime: MakeRuntime) -> None:
    ran = Count()

    async def use(state: Log) -> Log:
        return {"log": [await POLICY.call("transfer", lambda amount: ran("tool"), {"amount": 7})]}

    runtime = make_runtime(one_after_another(use=use))
    run = await answer_only(runtime, await begin(runtime), {"decision": "approve"})
    assert (run.status, ran.of["tool"]) == ("completed", 1)


async def test_arguments_that_cannot_be_stored_are_refused_before_anything_runs(bench: Bench) -> None:
    bench.arguments = {"path": object()}
    run = await bench.start("read_file")
    assert run.error is not None
    assert (run.error["type"], bench.ran.all) == ("ValueRefused", 0)


async def test_outside_of_a_node_no_tool_is_used() -> None:
    with pytest.raises(OutsideNode, match="nothing was run"):
        await POLICY.call("read_file", lambda: None, {})


# -- answers that are none ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    ["yes", True, None, {"decision": "edit"}, {"decision": "APPROVE"}, {"decision": "approve", "reason": 1}],
)
@pytest.mark.parametrize("by", ["tool", "approve"])
async def test_an_answer_that_is_no_decision_decides_nothing_and_the_question_stays_open(
    make_runtime: MakeRuntime, said: Any, by: str
) -> None:
    used, tools = list[int](), read_tool_policy([])

    async def node(state: Log) -> Any:
        if by == "tool":
            return {"log": [await tools.call("mail", lambda: used.append(1), {})]}
        return {"log": [approve("Deploy?", action=Action("deploy", {})).approved]}

    runtime = make_runtime(one_after_another(node=node))
    run = await begin(runtime)
    (asked,) = (await runtime.look(run.id)).open
    await runtime.resume(run.thread_id, run.id, asked.interrupt.id, said)
    run = await runtime.advance(run.id)
    assert (run.status, (run.error or {})["type"]) == ("interrupted", "ValueRefused")
    assert "still open" in (run.error or {})["message"]
    assert [q.interrupt.id for q in (await runtime.look(run.id)).open] == [asked.interrupt.id]
    assert used == []
    await runtime.resume(run.thread_id, run.id, asked.interrupt.id, {"decision": "approve"})
    assert (await runtime.advance(run.id)).status == "completed"


@pytest.mark.parametrize("scope", ["all", "graph:agent", "action:read_file"])
async def test_c13_a_tool_that_is_frozen_is_used_when_two_people_agree(
    make_runtime: MakeRuntime, scope: str
) -> None:
    used: list[str] = []

    async def use(state: Log) -> Log:
        return {
            "log": [await POLICY.call("read_file", lambda path: used.append(path) or path, {"path": "a"})]
        }

    runtime = make_runtime(one_after_another("agent", use=use), companions=[requests()])
    alarms = Alarms(runtime)
    await alarms.freeze(scope, by="U_ANN", reason="an incident")
    run = await begin(runtime)
    assert (run.status, used) == ("interrupted", [])
    for who in ("U_ANN", "U_BEN"):
        await alarms.release(scope, by=who)
    run = await runtime.advance(run.id)
    assert (await values(runtime, run))["log"] == ["a"]
    assert used == ["a"]
