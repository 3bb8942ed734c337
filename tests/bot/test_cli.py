"""Every command of the CLI, with its exit code: 0 done, 1 refused, 2 typed wrong, 3 the settings are wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from approval_graphs import Case, ask, publish, stop
from bot_bench import (
    ALICE,
    BOB,
    CHANNEL,
    OPERATOR,
    POLICIES,
    USER,
    Bench,
    Cli,
    Everybody,
    Spawn,
    bot_here,
    environment,
    map_people,
    paused,
    settings_file,
    settings_for,
)
from forked import Forked

from bot.cards import ticket_of
from bot.cli import main
from bot.sandbox import Fault
from bot.terminal import out
from graph_runtime import (
    START,
    Actor,
    Approvals,
    Place,
    Requests,
    Run,
    Runtime,
    StateGraph,
    read_policies,
)

#: What is typed wrong exits with 2.
TYPED_WRONG = {"the input is no JSON", "must be an object", "Nothing was started"}


async def test_start_puts_a_run_in_the_queue_and_a_key_starts_it_once(bench: Bench, cli: Cli):
    started = await cli("start", "deploy", '{"service": "payments"}', "--requester", BOB, "--key", "k1")
    assert (started.code, started.err) == (0, "")
    (run,) = await bench.runtime.runs()
    assert started.out == f"Started {run.id} of deploy.\n"
    assert (run.status, run.requester) == ("queued", BOB)
    again = await cli("start", "deploy", '{"service": "other"}', "--key", "k1", "--json")
    assert again.json["run_id"] == run.id
    elsewhere = await cli("start", "plain", '{"service": "x"}', "--thread", "case 7", "--json")
    assert (elsewhere.json["thread_id"], elsewhere.json["status"]) == ("case 7", "queued")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["start", "nowhere", "{}"], "there is no graph 'nowhere'; registered are"),
        (["start", "deploy", "{"], "the input is no JSON"),
        (["start", "deploy", "[]"], "must be an object"),
        (["start", "deploy", "{}"], "no run was started"),
        (["start", "deploy", '{"service": ' + "[" * 3_000], "Nothing was started"),
        (["show", "run-nothing"], "there is no run 'run-nothing'"),
        (["history", "run-nothing"], "there is no run 'run-nothing'"),
        (["replay", "run-nothing"], "there is no run 'run-nothing'"),
        (["cancel", "run-nothing"], "there is no run 'run-nothing'"),
        (["runs", "--status", "sleeping"], "there are queued, running"),
    ],
)
async def test_what_is_refused_says_why_in_one_line_and_exits_with_its_code(
    cli: Cli, words: list[str], said: str
):
    refused = await cli(*words)
    assert (refused.code, refused.out) == (2 if said in TYPED_WRONG else 1, "")
    assert said in refused.err
    assert refused.err.startswith("signoff: ")
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "--limit", "0"],
        ["show"],
        ["decide", "req-1", "perhaps"],
        ["detonate"],
        ["serve", "--nothing"],
    ],
)
async def test_what_is_typed_wrong_exits_with_2(cli: Cli, words: list[str]):
    assert (await cli(*words)).code == 2


async def test_without_a_word_the_commands_are_listed(cli: Cli):
    said = await cli("--help")
    words = "demo serve migrate check start runs show history replay decide cancel"
    for word in words.split():
        assert word in said.out


async def test_runs_lists_the_newest_first_as_a_table_and_as_json(bench: Bench, cli: Cli):
    assert (await cli("runs")).out == "There are no such runs.\n"
    assert (await cli("runs", "--json")).json == []
    first, second = await paused(bench), await paused(bench, "plain")
    table = await cli("runs")
    assert table.code == 0
    head, *rows = table.out.splitlines()
    assert head.split() == ["RUN", "GRAPH", "STATUS", "STEP", "ASKED", "BY", "STARTED", "(UTC)"]
    assert [row.split()[:3] for row in rows] == [
        [second.id, "plain", "interrupted"],
        [first.id, "deploy", "interrupted"],
    ]
    listed = (await cli("runs", "--json", "--graph", "deploy", "--status", "interrupted")).json
    assert [(run["run_id"], run["requester"]) for run in listed] == [(first.id, OPERATOR)]
    assert len((await cli("runs", "--json", "--limit", "1")).json) == 1


async def test_show_says_all_that_an_operator_needs_before_answering(bench: Bench, cli: Cli):
    run = await paused(bench, title="Deploy payments", facts={"risk": "[bold]high[/bold] [/nothing]"})
    view, request = await bench.runtime.look(run.id), (await bench.request(run)).request
    shown = await cli("show", run.id)
    assert shown.code == 0
    for part in (
        run.id,
        run.thread_id,
        "interrupted",
        OPERATOR,
        view.state.checkpoint_id,
        view.open[0].interrupt.id,
        request.id,
        "Deploy payments",
        "prod-deploy",
        request.digest.removeprefix("sha256:")[:8],
        "[bold]high[/bold] [/nothing]",
    ):
        assert part in shown.out
    said = (await cli("show", run.id, "--json")).json
    assert (said["next"], said["values"]["service"]) == (["ask"], "payments")
    assert [q["interrupt_id"] for q in said["interrupts"]] == [view.open[0].interrupt.id]
    assert [q["request_id"] for q in said["requests"]] == [request.id]


async def test_show_lists_the_nodes_on_the_way_with_where_the_run_stands(bench: Bench, cli: Cli):
    run = await paused(bench)
    shown = (await cli("show", run.id)).out
    lines = [line.split() for line in shown.splitlines()]
    start = lines.index(["NODE", "MARK", "STEP", "WENT", "TO"])
    assert lines[start + 1 : start + 4] == [["ask", "waits", "0"], ["publish", "ahead"], ["stop", "ahead"]]
    assert (await cli("show", run.id, "--json")).json["way"] == [
        {"node": "ask", "mark": "waits", "step": 0, "tasks": 1},
        {"node": "publish", "mark": "ahead", "step": None, "tasks": 1},
        {"node": "stop", "mark": "ahead", "step": None, "tasks": 1},
    ]
    await bench.runtime.cancel(run.thread_id, run.id)
    shown = (await cli("show", run.id)).out
    assert re.search(r"^ask +stopped +0 *$", shown, re.MULTILINE)
    assert re.search(r"^publish +- *$", shown, re.MULTILINE)


async def test_show_of_a_run_that_was_decided_says_where_it_went(bench: Bench, cli: Cli):
    run = await paused(bench, "plain")
    approvals = Approvals(bench.runtime, Everybody())
    (request,) = await approvals.find(run_id=run.id)
    view = await approvals.view(request.id)
    assert view is not None
    place, actor = Place("api"), Actor(ALICE, "T1")
    await approvals.decide(ticket_of(view, bench.store.deployment), actor, "approve", place=place)
    await bench.runtime.advance(run.id)
    shown = (await cli("show", run.id)).out
    assert re.search(r"^ask_plainly +done +0 +publish \(goto\) *$", shown, re.MULTILINE)
    assert re.search(r"^publish +done +1 *$", shown, re.MULTILINE)
    assert re.search(r"^stop +- *$", shown, re.MULTILINE)


async def test_show_prints_the_graph_as_mermaid_with_its_mark(bench: Bench, cli: Cli):
    run = await paused(bench)
    drawn = await cli("show", run.id, "--mermaid")
    assert (drawn.code, drawn.err) == (0, "")
    assert drawn.out == bench.runtime.draw_mermaid(await bench.runtime.look(run.id))
    assert drawn.out.startswith("flowchart TD\n")
    assert "  class n1 asks\n" in drawn.out


async def test_show_of_a_failed_run_gives_the_error(bench: Bench, cli: Cli):
    run = await bench.queue("deploy", policy="no such policy")
    await bench.runtime.advance(run.id)
    shown = await cli("show", run.id)
    assert "PolicyError: nobody was asked" in shown.out
    assert (await cli("show", run.id, "--json")).json["error"]["type"] == "PolicyError"


async def test_a_narrow_terminal_cuts_no_id(bench: Bench, cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(out, "_width", 60)
    run = await paused(bench)
    assert run.id in (await cli("runs")).out
    shown = (await cli("show", run.id)).out
    assert (await bench.request(run)).request.id in shown


async def test_history_lists_steps_and_journal(bench: Bench, cli: Cli):
    run = await paused(bench)
    shown = await cli("history", run.id)
    assert shown.code == 0
    assert "run.interrupted" in shown.out
    assert "request.opened" in shown.out
    said = (await cli("history", run.id, "--json", "--limit", "1")).json
    assert [step["next"] for step in said["steps"]] == [["ask"]]
    assert "request.opened" in [event["kind"] for event in said["events"]]


async def test_replay_says_that_nothing_differs_and_what_was_compared(bench: Bench, cli: Cli):
    run = await paused(bench)
    same = await cli("replay", run.id)
    assert (same.code, same.err) == (0, "")
    assert re.search(r"steps compared +2 *\n", same.out)
    assert same.out.endswith("Nothing differs.\n")
    said = (await cli("replay", run.id, "--json")).json
    assert (said["steps"], said["skipped"], said["divergence"]) == (2, [], None)


async def test_replay_of_a_node_that_has_not_finished_has_nothing_to_compare(bench: Bench, cli: Cli):
    nothing = await cli("replay", (await paused(bench)).id, "--node", "ask")
    assert nothing.code == 1
    assert nothing.out.endswith("There is nothing to compare.\n")


async def test_replay_of_an_unknown_node_names_those_that_there_are(bench: Bench, cli: Cli):
    refused = await cli("replay", (await paused(bench)).id, "--node", "aks")
    assert (refused.code, refused.out) == (1, "")
    assert "has no node 'aks'; its nodes are ask, publish, stop" in refused.err


async def test_replay_shows_what_differs_first_without_its_values(bench: Bench, cli: Cli):
    run = await paused(bench, service="s3cret")
    config = bench.folder / "signoff.toml"
    config.write_text(config.read_text().replace("approval_graphs:deploy", "approval_graphs:deploy_since"))
    differs = await cli("replay", run.id)
    assert (differs.code, differs.err) == (1, "")
    said, head, row = differs.out.splitlines()[-3:]
    assert said == "This differs first:"
    assert head.split() == ["STEP", "IN", "WHAT", "NAME", "RECORDED", "NOW"]
    assert row.split() == ["0", "channel", "service", row.split()[3], row.split()[4]]
    assert row.split()[3].startswith("sha256:")
    assert "s3cret" not in differs.out
    said = await cli("replay", run.id, "--json")
    assert said.code == 1
    assert (said.json["divergence"]["what"], said.json["divergence"]["name"]) == ("channel", "service")
    assert "s3cret" not in said.out


async def test_cancel_withdraws_and_names_the_user_of_this_machine(bench: Bench, cli: Cli):
    run = await paused(bench)
    ended = await cli("cancel", run.id, "--reason", "wrong commit")
    assert (ended.code, ended.out) == (0, f"{run.id} is cancelled; what it asked was withdrawn.\n")
    assert (await bench.request(run)).request.status == "withdrawn"
    (event,) = await bench.events("run.cancelled")
    assert (event.actor, event.said) == (f"cli:{USER}", "wrong commit")
    again = await cli("cancel", run.id)
    assert again.code == 1
    assert "cancelled" in again.err


async def test_finished_threads_go_when_told_and_their_journal_stays(bench: Bench, cli: Cli):
    runs = [await bench.queue(service=f"s{n}") for n in range(3)]
    for run in runs[:2]:
        await bench.runtime.cancel(run.thread_id, run.id)
    assert (await cli("db", "prune")).out == "0 finished threads went; the journal keeps what happened.\n"
    assert (await cli("db", "prune", "--keep", "1", "--dry-run")).out == "1 finished thread would go.\n"
    assert len(await bench.runtime.runs()) == 3
    gone = await cli("db", "prune", "--older-than", "30d", "--keep", "1")
    assert (gone.code, gone.out) == (0, "1 finished thread went; the journal keeps what happened.\n")
    assert {run.id for run in await bench.runtime.runs()} == {run.id for run in runs[1:]}
    (event,) = await bench.events("thread.pruned")
    assert event.actor == f"cli:{USER}"
    shown = await cli("history", runs[0].id)
    assert shown.out.startswith("The run itself is no longer kept; this is its journal.\n")
    assert "run.cancelled" in shown.out
    said = (await cli("history", runs[0].id, "--json")).json
    assert said["steps"] == []
    assert [line["kind"] for line in said["events"]][-1] == "thread.pruned"
    wrong = await cli("db", "prune", "--older-than", "soon")
    assert (wrong.code, wrong.out) == (2, "")
    assert "'soon' is no duration" in wrong.err


async def of_an_older_graph(bench: Bench, *, name: str = "ask", **given: Any) -> tuple[Runtime, Run]:
    """Return a run that waits at a node from which version 0 of the graph led elsewhere, and its runtime."""
    older = StateGraph(Case).add_node(name, ask).add_node(publish).add_node(stop)
    older.add_edge(START, name).add_edge(name, "stop")
    graph = older.compile(name="deploy", version="0")
    runtime = Runtime(bench.store, [graph], companions=[Requests(read_policies(POLICIES))])
    given = {"service": "payments", "effects": str(bench.effects), **given}
    run = await runtime.start("deploy", given, requester=OPERATOR)
    return runtime, await runtime.advance(run.id)


async def test_migrate_run_says_what_it_would_do_and_does_it_when_told_to(bench: Bench, cli: Cli):
    _, run = await of_an_older_graph(bench)
    (asked,) = (await bench.runtime.look(run.id)).open
    looked = await cli("migrate-run", run.id)
    assert looked.code == 1
    assert "nothing was migrated yet; add --yes to do this" in looked.err
    assert re.search(r"^version +0 → 1 *$", looked.out, re.MULTILINE)
    assert re.search(r"^ask +edges +stop +none *$", looked.out, re.MULTILINE)
    assert re.search(
        rf"^{asked.interrupt.id} +ask +is open: superseded, and asked anew$", looked.out, re.MULTILINE
    )
    assert await bench.runtime.get(run.id) == run

    did = await cli("migrate-run", run.id, "--yes")
    assert (did.code, did.err) == (0, "")
    assert did.out.startswith(looked.out)
    assert did.out.endswith(f"{run.id} is queued on version 1.\n")
    (event,) = await bench.events("run.migrated")
    assert event.actor == f"cli:{USER}"
    moved = await bench.runtime.advance(run.id)
    assert (moved.status, moved.version) == ("interrupted", "1")
    assert (await bench.request(run, 1)).request.status == "open"


async def test_migrate_run_names_the_answer_that_it_does_not_deliver_and_whose_it_was(bench: Bench, cli: Cli):
    older, run = await of_an_older_graph(bench)
    approvals = Approvals(older, Everybody())
    (request,) = await approvals.find(run_id=run.id)
    view = await approvals.view(request.id)
    assert view is not None
    await approvals.decide(
        ticket_of(view, bench.store.deployment), Actor(ALICE, "T1"), "approve", place=Place("api")
    )
    stopped = await bench.runtime.advance(run.id)
    assert stopped.status == "needs_attention"
    did = await cli("migrate-run", run.id, "--yes")
    assert did.code == 0
    assert "GraphChanged: run" in did.out
    said = rf"^{request.interrupt_id} +ask +{ALICE} +has an answer that had not arrived: it is NOT delivered$"
    assert re.search(said, did.out, re.MULTILINE)
    assert (await bench.runtime.advance(run.id)).status == "interrupted"
    assert bench.published() == []


async def test_migrate_run_is_refused_in_one_line_with_the_node_that_is_gone(bench: Bench, cli: Cli):
    _, run = await of_an_older_graph(bench, name="ask_the_boss")
    for words in (["--yes"], []):
        refused = await cli("migrate-run", run.id, *words)
        assert (refused.code, refused.out) == (1, "")
        assert "it has no node 'ask_the_boss'" in refused.err
        assert refused.err.count("\n") == 1
    refused = await cli("migrate-run", run.id, "--to", "7")
    assert refused.code == 1
    assert "version '7' of graph 'deploy' was not found; registered are 1" in refused.err
    assert await bench.runtime.get(run.id) == run


async def test_a_migrated_run_is_asked_anew_on_a_new_card_and_the_old_one_says_so(bot: Bench, cli: Cli):
    _, run = await of_an_older_graph(bot)
    old = await bot.card(run)
    assert (await cli("migrate-run", run.id, "--yes")).code == 0
    await bot.drawn(old, "*Superseded*")
    new = await bot.card(run, 1)
    assert new.ts != old.ts
    await bot.click(new, user=ALICE)
    await bot.rests(run, "completed")
    assert len(bot.published()) == 1


async def test_the_database_is_checked_measured_copied_put_back_and_made_small(bench: Bench, cli: Cli):
    run = await paused(bench)
    copy = str(bench.folder / "copy.db")
    assert (await cli("db", "check")).out.startswith("The database is sound")
    assert "runs" in (await cli("db", "size")).out
    assert (await cli("db", "size", "--json")).json["file"] > 0
    made = await cli("db", "backup", copy)
    assert (made.code, made.err) == (0, "")
    assert "holds a verified copy of" in made.out
    again = await cli("db", "backup", copy)
    assert (again.code, again.out) == (1, "")
    assert (await cli("db", "backup", copy, "--replace")).code == 0
    for words, why in {
        ("db", "restore", copy): "nothing was restored yet",
        ("db", "restore", copy, "--yes"): "another process has it open",
        ("db", "restore", copy + "x", "--yes"): "another process has it open",
        ("db", "vacuum"): "another process has it open",
    }.items():
        refused = await cli(*words)
        assert (refused.code, refused.out) == (1, ""), words
        assert why in refused.err
    await bench.store.__aexit__(None, None, None)
    assert "there is no file" in (await cli("db", "restore", copy + "x", "--yes")).err
    put = await cli("db", "restore", copy, "--yes")
    assert (put.code, put.err) == (0, "")
    assert "1 question will be asked anew" in put.out
    assert "The file had" in (await cli("db", "vacuum")).out
    assert "nothing was changed yet" in (await cli("db", "renew")).err
    assert "1 run must be looked at: " + run.id in (await cli("db", "renew", "--yes")).out
    await bench.store.__aenter__()
    assert (await bench.runtime.get(run.id)).status == "needs_attention"
    lines = await bench.events("database.restored")
    assert [event.actor for event in lines] == [f"cli:{USER}"] * 2
    with contextlib.closing(sqlite3.connect(bench.database)) as db, db:
        db.execute("UPDATE threads SET last_run = NULL")
        db.execute("UPDATE runs SET head = 'chk-9'")
    broken = await cli("db", "check")
    assert (broken.code, broken.out) == (1, "")
    assert f"a run stands where there is no checkpoint: {run.id}" in broken.err


async def test_migrate_creates_the_database_and_says_where_it_is(bench: Bench, cli: Cli, monkeypatch):
    path = bench.folder / "new" / "place.db"
    path.parent.mkdir()
    monkeypatch.setenv("SIGNOFF_DATABASE", f"sqlite:///{path}")
    made = await cli("migrate")
    assert made.code == 0
    assert "schema" in made.out
    assert path.exists()
    assert (await cli("migrate")).code == 0, "a second time changes nothing"


async def test_a_database_that_cannot_be_opened_is_said_in_one_line(bench: Bench, cli: Cli, monkeypatch):
    (bench.folder / "notes.txt").write_text("This is no database. " * 100)
    monkeypatch.setenv("SIGNOFF_DATABASE", f"sqlite:///{bench.folder / 'notes.txt'}")
    for words in (["runs"], ["migrate"]):
        failed = await cli(*words)
        assert failed.code == 1, failed
        assert failed.err.startswith("signoff: ")
        assert failed.err.count("\n") == 1


async def test_copy_database_counts_what_it_moved_and_closes_the_original(
    bench: Bench, cli: Cli, monkeypatch: pytest.MonkeyPatch
):
    old, new = (f"sqlite:///{bench.folder / name}.db" for name in ("old", "new"))
    monkeypatch.setenv("SIGNOFF_DATABASE", old)
    given = json.dumps({"service": "payments", "effects": str(bench.effects)})
    assert (await cli("start", "deploy", given, "--requester", ALICE)).code == 0
    moved = await cli("copy-database", old, new)
    assert moved.code == 0
    assert re.search(r"^ +1  runs$", moved.out, re.MULTILINE)
    assert "The original is closed." in moved.out
    refused = await cli("runs")
    assert refused.code == 1
    assert "it was copied to" in refused.err
    monkeypatch.setenv("SIGNOFF_DATABASE", new)
    assert len(json.loads((await cli("runs", "--json")).out)) == 1
    again = await cli("copy-database", new, new)
    assert again.code == 1


async def test_copy_database_wants_two_addresses_that_it_knows(bench: Bench, cli: Cli):
    assert (await cli("copy-database", "mysql://root:hunter2@db/x", "sqlite:///new.db")).code == 2
    missing = await cli("copy-database", "sqlite:///nothing.db", "sqlite:///new.db")
    assert missing.code == 1
    assert "there is no database" in missing.err


async def test_serve_knows_three_roles(bench: Bench, cli: Cli):
    refused = await cli("serve", "--role", "boss")
    assert refused.code == 2
    assert "nothing was started" in refused.err


# -- decide


async def test_decide_is_the_same_as_the_button_and_the_bot_draws_it(bench: Bench, cli: Cli):
    map_people(bench, **{USER: ALICE})
    async with bot_here(settings_for(bench.slack, bench.folder)):
        run = await bench.start()
        card = await bench.card(run)
        request = (await bench.request(run)).request
        decided = await cli("decide", request.id, "approve", "--reason", "checked by hand")
        assert (decided.code, decided.err) == (0, "")
        assert decided.out == f"{request.id} is approved; the run goes on.\n"
        await bench.drawn(card, f"*Approved* by <@{ALICE}>")
        await bench.rests(run, "completed")
    (vote,) = (await bench.request(run)).votes
    assert (vote.reviewer, vote.surface, vote.reason) == (ALICE, "cli", "checked by hand")
    (event,) = await bench.events("request.approved")
    assert event.data["message"] == USER, "the journal knows whose terminal it was"


async def test_decide_needs_no_card(bench: Bench, cli: Cli):
    map_people(bench, **{USER: BOB})
    run = await paused(bench)
    request = (await bench.request(run)).request
    assert (await cli("decide", request.id, "reject", "--reason", "no")).code == 0
    assert (await bench.request(run)).request.status == "rejected"


@pytest.mark.parametrize(
    ("person", "verdict", "words"),
    [
        ("U0DAVE", "approve", "You are not among those who may decide this"),
        ("U0CAROL", "approve", "You asked for this"),
        ("U0GUEST", "approve", "Guests may not decide here"),
        ("U0ZOE", "approve", "This account is deactivated"),
        (ALICE, "reject", "Say why"),
    ],
)
async def test_decide_is_refused_by_the_same_policy_as_the_button(
    bench: Bench, cli: Cli, person: str, verdict: str, words: str
):
    map_people(bench, **{USER: person})
    run = await paused(bench)
    refused = await cli("decide", (await bench.request(run)).request.id, verdict)
    assert (refused.code, refused.out) == (1, "")
    assert words in refused.err
    assert (await bench.request(run)).request.status == "open"
    assert len(await bench.refusals()) == 1


async def test_decide_by_somebody_who_is_nobody_in_slack_says_what_to_add(bench: Bench, cli: Cli):
    run = await paused(bench)
    refused = await cli("decide", (await bench.request(run)).request.id, "approve")
    assert refused.code == 1
    assert "[people]" in refused.err
    assert f'{USER} = "U..."' in refused.err


async def test_decide_of_a_request_that_never_was_is_refused(bench: Bench, cli: Cli):
    map_people(bench, **{USER: ALICE})
    refused = await cli("decide", "req-nothing", "approve")
    assert refused.code == 1
    assert "there is no request 'req-nothing'" in refused.err


async def test_decide_twice_says_who_was_first(bench: Bench, cli: Cli):
    map_people(bench, **{USER: ALICE})
    run = await paused(bench)
    request = (await bench.request(run)).request
    assert (await cli("decide", request.id, "approve")).code == 0
    again = await cli("decide", request.id, "approve")
    assert again.code == 1
    assert ALICE in again.err


# -- check


async def test_check_of_good_settings_says_ok_everywhere(bench: Bench, cli: Cli):
    lines = (bench.folder / "signoff.toml").read_text()
    (bench.folder / "signoff.toml").write_text(lines.replace("C0PRIVATE", "C0GENERAL"))
    found = await cli("check")
    assert "WRONG" not in found.out.replace("database", ""), found.out
    for what in (
        "settings",
        "graphs",
        "policies",
        "database",
        "scopes",
        f"channel {CHANNEL}",
        "group S0SRE",
        "group S0OWN",
        "group S0ONCALL",
        "socket mode",
    ):
        assert what in found.out


async def test_check_notes_that_nobody_could_end_a_freeze(bench: Bench, cli: Cli, monkeypatch):
    note = f"note   operators          only {OPERATOR}: it takes two to end a freeze in Slack"
    assert " ".join(note.split()) in " ".join((await cli("check")).out.split())
    monkeypatch.setenv("SIGNOFF_OPERATORS", json.dumps([OPERATOR, ALICE]))
    assert f"operators {OPERATOR}, {ALICE}" in " ".join((await cli("check")).out.split())


Broken = Callable[[Bench, pytest.MonkeyPatch], None]


def changed(old: str, new: str) -> Broken:
    def break_(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        path = bench.folder / "signoff.toml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return break_


def said(name: str, value: str) -> Broken:
    return lambda bench, monkeypatch: monkeypatch.setenv(name, value)


def unset(name: str) -> Broken:
    return lambda bench, monkeypatch: monkeypatch.delenv(name)


def slack(change: Callable[[Any], Any]) -> Broken:
    return lambda bench, monkeypatch: change(bench.slack)


BROKEN: dict[str, tuple[Broken, str]] = {
    "no TOML": (changed("[slack]", "[slack"), "is no TOML"),
    "an unknown setting": (changed("connections = 1", "conections = 1"), "slack.conections"),
    "a wrong mode": (changed('mode = "socket"', 'mode = "carrier pigeon"'), "slack.mode"),
    "a graph that is not there": (
        changed("approval_graphs:plain", "approval_graphs:missing"),
        "graphs.plain",
    ),
    "a module that is not there": (
        changed("approval_graphs:plain", "no_such_module:plain"),
        "ModuleNotFoundError",
    ),
    "a graph that is none": (
        changed("approval_graphs:plain", "approval_graphs:no_graph"),
        "no compiled graph",
    ),
    "a graph of another name": (
        changed("approval_graphs:plain", "approval_graphs:twice"),
        "is called 'twice'",
    ),
    "a policy without people": (
        changed('groups = ["S0SRE"]\ndeadline = "4h"', 'deadline = "4h"'),
        "nobody may decide",
    ),
    "a policy with a wrong deadline": (changed('"4h"', '"soon"'), "no duration"),
    "no default policy": (
        changed('[policies."default"]', '[policies."other"]'),
        "there is no [policies.default]",
    ),
    "another database": (
        said("SIGNOFF_DATABASE", "mysql://root:hunter2@db/x"),
        "sqlite:///PATH or postgresql:",
    ),
    "a database that is not there": (said("SIGNOFF_DATABASE", "sqlite:////proc/nothing/x.db"), "database"),
    "no bot token": (unset("SLACK_BOT_TOKEN"), "SLACK_BOT_TOKEN"),
    "no app token": (unset("SLACK_APP_TOKEN"), "SLACK_APP_TOKEN"),
    "a bot token that Slack refuses": (said("SLACK_BOT_TOKEN", "xoxb-wrong"), "invalid_auth"),
    "an app token that Slack refuses": (said("SLACK_APP_TOKEN", "xapp-wrong"), "SLACK_APP_TOKEN: "),
    "tokens the wrong way round": (said("SLACK_BOT_TOKEN", "xapp-sandbox"), "begins with xoxb-"),
    "a Slack that does not answer": (
        changed("api_url = ", 'api_url = "http://127.0.0.1:9/api/" #'),
        "did not answer",
    ),
    "a Slack that is out of order": (slack(lambda s: s.faults.add(Fault("auth.test", "500"))), "http_500"),
    "a missing scope": (
        slack(lambda s: setattr(s.workspace, "scopes", s.workspace.scopes - {"groups:history"})),
        "missing groups:history",
    ),
    "a channel the bot cannot see": (changed("C0GENERAL", "C0PRIVATE"), "channel_not_found"),
    "a channel that never was": (changed("C0GENERAL", "C0NOWHERE"), "channel_not_found"),
    "an archived channel": (changed("C0GENERAL", "C0OLD"), "it is archived"),
    "a channel the bot is not in": (
        slack(lambda s: s.workspace.kick("C0GENERAL")),
        "invite the bot to #general",
    ),
    "a group that never was": (changed('people = ["U0ALICE"]', 'groups = ["S0NONE"]'), "group S0NONE"),
    "a group that is empty": (slack(lambda s: s.workspace.set_group("S0SRE", [])), "it has no members"),
}


@pytest.mark.parametrize(("broken", "words"), BROKEN.values(), ids=BROKEN)
async def test_check_says_precisely_what_is_wrong_and_exits_with_3(
    bench: Bench, cli: Cli, monkeypatch: pytest.MonkeyPatch, broken: Broken, words: str
):
    changed("C0PRIVATE", "C0GENERAL")(bench, monkeypatch)
    broken(bench, monkeypatch)
    found = await cli("check")
    assert found.code == 3
    assert words in re.sub(r"\s+", " ", found.out)
    assert "WRONG" in found.out
    assert "hunter2" not in found.out
    assert "Traceback" not in found.out + found.err


# -- the process itself


async def ended(bench: Bench, *words: str, **env: str) -> tuple[int, str]:
    """Run a command in a process of its own to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bot.cli", *words),
        env={**environment(bench.slack), **env},
        cwd=bench.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.processes
def test_no_command_waits_for_what_only_others_need():
    needless = {"aiohttp", "slack_bolt", "celpy", "psycopg"}
    code = f"import sys, bot.cli; assert not {needless} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("env", "code", "words"),
    [
        ({"SLACK_APP_TOKEN": "xapp-wrong"}, 3, "Slack refused SLACK_APP_TOKEN"),
        ({"SLACK_BOT_TOKEN": "xoxb-wrong"}, 3, "Slack refused the bot token: invalid_auth"),
        ({"SLACK_BOT_TOKEN": ""}, 3, "missing: SLACK_BOT_TOKEN"),
        ({"SIGNOFF_SLACK__API_URL": "http://127.0.0.1:9/api/"}, 3, "did not answer"),
        ({"SIGNOFF_HTTP__HOST": "203.0.113.1"}, 3, "cannot be listened on"),
        ({"SIGNOFF_DATABASE": "sqlite:////proc/nothing/x.db"}, 1, "signoff: "),
    ],
)
async def test_serve_that_cannot_start_says_why_in_one_line(
    bench: Bench, env: dict[str, str], code: int, words: str
):
    config: Path = settings_file(bench.slack, bench.folder)
    log = bench.folder / "log"
    process = Forked(main, "serve", "--config", str(config), env=environment(bench.slack, **env), out=log)
    async with asyncio.timeout(30):
        returned = await process.wait()
    out = process.read()
    last = out.strip().splitlines()[-1]
    assert (returned, words in last) == (code, True), out
    assert "Traceback" not in out
    assert "xoxb-wrong" not in out
    assert "xapp-wrong" not in out


@pytest.mark.processes
async def test_a_second_signal_stops_at_once(bench: Bench, spawn: Spawn):
    process = await spawn(settings_file(bench.slack, bench.folder), fresh=True)
    process.process.terminate()
    await process.says("stopping")
    process.process.terminate()
    assert await process.died() in {0, 130}
    assert "Traceback" not in process.log.read_text()


@pytest.mark.processes
async def test_the_scripted_demo_plays_to_its_end(bench: Bench):
    code, out = await ended(bench, "demo", "--once", PYTHONPATH=str(Path(__file__).parents[2]))
    assert code == 0, out
    assert "That is the whole idea." in out


@pytest.mark.processes
async def test_the_demo_shows_its_page_until_ctrl_c(bench: Bench):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bot.cli", "demo", "--port", "0"),
        # A browser that would take over the terminal is not opened.
        env={**environment(bench.slack), "PYTHONPATH": str(Path(__file__).parents[2]), "BROWSER": "cat %s"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(30):
        while "Stop with Ctrl-C" not in said:
            line = (await process.stdout.readline()).decode()
            assert line, said
            said += line
        address = re.search(r"http://\S+", said)
        assert address, said
        async with aiohttp.ClientSession() as session, session.get(address[0]) as page:
            assert page.status == 200
        process.send_signal(signal.SIGINT)
        rest, _ = await process.communicate()
    assert process.returncode == 0, said + rest.decode()
    assert "Traceback" not in rest.decode()


@pytest.mark.processes
async def test_a_demo_on_a_port_that_is_taken_says_which_option_helps(bench: Bench):
    code, out = await ended(bench, "demo", "--port", str(bench.slack.port))
    assert code == 1
    assert "try --port 0" in out
    assert "Traceback" not in out
