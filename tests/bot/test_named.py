"""What is named in a command and is not what it takes is said by its own name."""

from __future__ import annotations

import json

import pytest
from bot_bench import ALICE, BOB, OPERATOR, USER, Bench, Cli, paused


async def test_a_run_in_the_place_of_its_request_and_the_other_way_are_named(bot: Bench):
    run = await bot.start()
    await bot.card(run)
    named = (await bot.request(run)).request.id
    for words in (f"reassign {run.id} @bob", f"bypass `{run.id}` now"):
        answer = await bot.slash(words, user=ALICE)
        assert f"Nothing was changed: {run.id} is a run; its request is {named}." in answer
    for words in (f"show {named}", f"cancel {named}"):
        assert f"{named} is a request; its run is {run.id}." in await bot.slash(words, user=OPERATOR)
    assert "There is no run" in await bot.slash("show req-none", user=OPERATOR)


async def test_the_desk_names_them_too(bench: Bench, cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SIGNOFF_PEOPLE", json.dumps({USER: ALICE}))
    run = await paused(bench)
    named = (await bench.request(run)).request.id
    for words in (("decide", run.id, "approve"), ("policy", "explain", run.id), ("bypass", run.id)):
        refused = await cli(*words)
        assert (refused.code, refused.out) == (2, "")
        assert f"{run.id} is a run; its request is {named}." in refused.err
    refused = await cli("show", named)
    assert refused.code == 2
    assert f"{named} is a request; its run is {run.id}." in refused.err
    unknown = await cli("policy", "simulate", "--user", "U0ANN", "--request", named)
    assert (unknown.code, "Slack knows no U0ANN" in unknown.err) == (2, True)


async def test_who_is_to_be_erased_is_an_id_or_somebody_of_the_settings(
    bench: Bench, cli: Cli, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SIGNOFF_PEOPLE", json.dumps({"bob": BOB, "robert": BOB}))
    refused = await cli("audit", "erase", "alice", "--dry-run")
    assert (refused.code, refused.out) == (2, "")
    assert "'alice' is no Slack user id like U0BOB, no cli:NAME, and no name in [people]" in refused.err
    found = await cli("audit", "erase", "bob", "--dry-run")
    assert found.out == f"bob is {BOB}, cli:bob, cli:robert.\nThere is no text of {BOB} to erase.\n"
    for known in (ALICE, "cli:alice"):
        assert (await cli("audit", "erase", known, "--dry-run")).code == 0
