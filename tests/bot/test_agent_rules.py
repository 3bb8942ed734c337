"""What an agent may do by itself, how much of it, and when its owner is asked: on the runtime alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agent_bench import SHOWN, call, given, ticket, told
from bot_bench import ALICE, BOB, CAROL, DAVE
from kit import MakeRuntime
from people import API, People, person, ticket_of

from examples import agent_tools
from graph_runtime import Approvals, Requests, RequestView, Run, Runtime, Store


@dataclass
class Desk:
    runtime: Runtime
    store: Store
    approvals: Approvals

    async def run(self, *turns: list[dict[str, Any]], **more: Any) -> Run:
        run = await self.runtime.start(SHOWN.graph, given(*turns, **more), requester=CAROL)
        return await self.go_on(run)

    async def go_on(self, run: Run) -> Run:
        """Drive the run until people are waited for, or it is over."""
        run = await self.runtime.advance(run.id)
        while await self.approvals.expire_due():
            run = await self.runtime.advance(run.id)
        return run

    async def views(self, run: Run) -> list[RequestView]:
        found = [await self.approvals.view(one.id) for one in await self.approvals.find(run_id=run.id)]
        return [view for view in found if view is not None]

    async def decide(self, view: RequestView, who: str, verdict: Any = "approve", **said: Any) -> RequestView:
        ticket = ticket_of(view, self.store)
        return await self.approvals.decide(ticket, person(who), verdict, place=API, **said)

    async def told(self, run: Run) -> list[tuple[str, str, str]]:
        return told((await self.runtime.look(run.id)).state.values)


PEOPLE = People(
    {"S0FINANCE": [DAVE, BOB], "S0AGENTOWNERS": [ALICE, CAROL], "S0FINLEADS": [ALICE], "S0DBOWNERS": [BOB]},
    kinds={"U0AGENT": "bot", "agent_tools": "unknown"},
)


@pytest.fixture
def desk(make_runtime: MakeRuntime, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("SIGNOFF_OUTSIDE", str(tmp_path))
    companion = Requests(SHOWN.read_policies(), tools=SHOWN.tool_policies)
    runtime = make_runtime(agent_tools.graph, companions=[companion])
    return Desk(runtime, store, Approvals(runtime, PEOPLE))


async def test_a_turn_of_too_many_calls_asks_for_five_and_sends_the_others_back(desk: Desk) -> None:
    run = await desk.run([ticket(f"{number}") for number in range(7)])
    assert len(await desk.views(run)) == 5
    assert [name for name, _, _ in await desk.told(run)] == ["call-0-5", "call-0-6"]


async def test_a_policy_runs_and_blocks_commands_by_itself(desk: Desk) -> None:
    commands = ["ls -la ./invoices", "ls; rm -rf /", "ls\nwhoami", "whoami"]
    run = await desk.run([call("shell_exec", command=command) for command in commands], [call("shell_exec")])
    views = await desk.views(run)
    assert [(view.request.status, view.case.terms.tier) for view in views] == [
        ("approved", "listing"),
        ("rejected", "dangerous"),
        ("open", "other"),
        ("open", "other"),
    ]
    for view in views[2:]:
        await desk.decide(view, ALICE)
    run = await desk.go_on(run)
    said = [text for _, _, text in await desk.told(run)]
    assert said[0].startswith("tier dangerous: ")
    assert said[1:] == [
        "ran ls -la ./invoices",
        "ran ls\nwhoami",
        "ran whoami",
        "shell_exec takes command, as text",
    ]


async def test_an_agent_stops_when_its_budget_or_its_turns_are_used_up(desk: Desk) -> None:
    reads = [[call("read_inbox", folder=f"{number}")] for number in range(30)]
    run = await desk.run(*reads[:3], budget={"tool_calls": 2})
    assert (await desk.runtime.look(run.id)).state.values["said"] == "stopped: no tool_calls are left"
    run = await desk.run(*reads, budget={"tool_calls": 100})
    assert (await desk.runtime.look(run.id)).state.values["said"] == "That is all, after 25 turns."


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_an_owner_lets_an_agent_ask_again_or_stops_it(desk: Desk, verdict: str) -> None:
    run = await desk.run([ticket("A")], [ticket("B")], [ticket("C")])
    for number in range(2):
        await desk.decide((await desk.views(run))[number], ALICE, "reject", reason="no")
        run = await desk.go_on(run)
    pause = (await desk.views(run))[2]
    await desk.decide(pause, ALICE, verdict, reason="Enough")
    run = await desk.go_on(run)
    if verdict == "reject":
        assert (await desk.runtime.look(run.id)).state.values["said"] == "stopped by its owner: Enough"
        return
    await desk.decide((await desk.views(run))[3], ALICE)
    run = await desk.go_on(run)
    assert (await desk.told(run))[-1] == ("call-2-0", "success", "opened: C")
