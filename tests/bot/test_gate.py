"""``signoff freeze | release | freezes | settle``."""

from __future__ import annotations

import json

import pytest
from bot_bench import ALICE, BOB, Bench, Cli, Everybody

from bot.terminal import os_user
from graph_runtime import Actor, Alarms, Approvals, Place, Run, Ticket
from graph_runtime.types import PersonId


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The user of this machine is Alice in Slack."""
    monkeypatch.setenv("SIGNOFF_PEOPLE", json.dumps({os_user(): ALICE}))
    return monkeypatch


async def test_a_freeze_is_listed_and_ended_by_two_people(bench: Bench, cli: Cli, known: pytest.MonkeyPatch):
    frozen = await cli("freeze", "graph:deploy", "--reason", "incident 12")
    assert (frozen.code, frozen.err) == (0, "")
    assert "graph:deploy is frozen; 'signoff release graph:deploy' by two people ends it." in frozen.out
    table = await cli("freezes")
    for word in ("graph:deploy", ALICE, "nobody yet", "incident 12"):
        assert word in table.out
    assert "until one more person agrees" in (await cli("release", "graph:deploy")).out
    again = await cli("release", "graph:deploy")
    assert (again.code, again.out) == (1, "")
    assert "somebody else must agree" in again.err
    assert (await cli("freezes", "--json")).json[0]["released_by"] == [ALICE]
    known.setenv("SIGNOFF_PEOPLE", json.dumps({os_user(): BOB}))
    assert "is not frozen any more" in (await cli("release", "graph:deploy")).out
    assert (await cli("freezes")).out == "Nothing is frozen.\n"
    assert await Alarms(bench.runtime).freezes() == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["freeze", "all", "--reason", " "], 1, "say why"),
        (["freeze", "graph:nope", "--reason", "why"], 1, "there is no graph nope; there are agent, deploy"),
        (["freeze", "everything", "--reason", "why"], 1, "graph:NAME or action:NAME was expected"),
        (["freeze", "all"], 2, "--reason"),
        (["release", "all"], 1, "all is not frozen"),
        (["settle", "req-1", "perhaps"], 2, "done or not-done was expected"),
        (["settle", "req-1", "done", "--result", "{"], 2, "JSON was expected"),
        (["settle", "req-1", "done"], 1, "no effect of 'req-1' is indeterminate"),
    ],
)
async def test_what_is_refused_says_why(
    cli: Cli, known: pytest.MonkeyPatch, words: list[str], code: int, said: str
):
    refused = await cli(*words)
    assert (refused.code, refused.out) == (code, "")
    assert said in refused.err


async def test_who_is_nobody_in_slack_freezes_nothing(bench: Bench, cli: Cli):
    refused = await cli("freeze", "all", "--reason", "why")
    assert refused.code == 2
    assert "is nobody in Slack" in refused.err
    assert await Alarms(bench.runtime).freezes() == []


@pytest.fixture
async def broken_off(bench: Bench) -> tuple[Run, str]:
    """A run whose payment broke off, and the request that it was approved by."""
    run = await bench.runtime.advance((await bench.queue("paying")).id)
    (request,) = await bench.approvals.find(run_id=run.id)
    ticket = Ticket(bench.store.deployment, request.id, run.thread_id, run.id, request.interrupt_id)
    approvals = Approvals(bench.runtime, Everybody())
    await approvals.decide(ticket, Actor(PersonId(ALICE)), "approve", place=Place("cli"))
    return await bench.runtime.advance(run.id), request.id


async def test_what_became_of_an_effect_is_said_and_the_run_goes_on(
    bench: Bench, cli: Cli, known: pytest.MonkeyPatch, broken_off: tuple[Run, str]
):
    run, request = broken_off
    assert run.status == "interrupted"
    said = await cli("settle", request, "done", "--result", '"pay-17"')
    assert (said.code, said.err) == (0, "")
    assert said.out == f"{request} is done; {run.id} goes on.\n"
    ended = await bench.runtime.advance(run.id)
    assert (await bench.runtime.look(ended.id)).state.values["outcome"] == "pay-17"
    (line,) = [e for e in await bench.runtime.events(run_id=run.id) if e.kind == "run.answered"]
    assert line.actor == ALICE
    assert (await cli("settle", request, "done")).code == 1, "once"


async def test_what_was_not_done_is_carried_out_once_more(
    bench: Bench, cli: Cli, known: pytest.MonkeyPatch, broken_off: tuple[Run, str]
):
    run, request = broken_off
    assert (await cli("settle", request, "not-done")).code == 0
    run = await bench.runtime.advance(run.id)
    assert run.status == "interrupted", "it broke off again"
    assert (await cli("settle", request, "done")).code == 0
    assert (await bench.runtime.advance(run.id)).status == "completed"
