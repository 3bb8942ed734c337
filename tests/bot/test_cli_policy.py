"""``signoff policy check | explain | simulate | test`` and ``decide`` of several people, with their exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bot_bench import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    GUEST,
    USER,
    Bench,
    Cli,
    bot_here,
    map_people,
    paused,
    settings_for,
)

from graph_runtime import Run

EXAMPLES = Path(__file__).parents[2] / "examples" / "policies"


# -- check


async def test_check_says_what_each_policy_asks(cli: Cli):
    said = await cli("policy", "check", str(EXAMPLES / "refund.toml"))
    assert (said.code, said.err) == (0, "")
    for words in (
        "nobody: it approves, when amount <= 50 && fraud < 0.3",
        "1 of finance (S0FINANCE), then 1 of finance leads (S0FINLEADS)",
        "1d of business hours (Europe/Berlin)",
    ):
        assert words in said.out
    said = await cli("policy", "check", str(EXAMPLES / "deploy.toml"))
    assert "when risk ==" in said.out and "10m" in said.out
    assert "2 of S0SRELEADS let it through a freeze" in " ".join(said.out.split())


async def test_check_without_a_file_looks_at_the_settings(cli: Cli):
    said = await cli("policy", "check")
    assert said.code == 0
    assert "2 of sre (S0SRE) and 1 of owners (S0OWN)" in said.out.replace("\n", " ")
    assert "oncall:primary" in said.out and "1s" in said.out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[policies.a]\npeople = ["U1"]\ndeadlin = "4h"\n[policies.b]\n',
            ["'a'.deadlin", "'b': nobody may decide"],
        ),
        ('[policies.a]\nrequire = [{ group = "S1", when = "risk = 3" }]\n', ["is no CEL", "column 6"]),
        ("", ["holds no [policies.NAME]"]),
        ("[[", ["is no TOML"]),
        (None, ["cannot be read"]),
    ],
)
async def test_check_names_every_fault_and_the_file(
    cli: Cli, tmp_path: Path, text: str | None, words: list[str]
):
    file = tmp_path / "p.toml"
    if text is not None:
        file.write_text(text)
    said = await cli("policy", "check", str(file))
    assert (said.code, said.out) == (3, "")
    assert all(word in said.err for word in [*words, "p.toml"]), said.err


# -- explain


async def voted(bench: Bench, policy: str = "several", who: tuple[str, ...] = (ALICE,), **given: Any) -> Run:
    """Return a run that waits for one of several people, after these votes through Slack."""
    async with bot_here(settings_for(bench.slack, bench.folder)):
        run = await bench.start(policy=policy, **given)
        card = await bench.card(run)
        for person in who:
            await bench.click(card, user=person)
        await bench.quiet()
    return run


async def test_explain_says_who_voted_in_which_groups_what_is_needed_and_who_was_refused(
    bench: Bench, cli: Cli
):
    run = await voted(bench, who=(CAROL, ALICE))
    request = (await bench.request(run)).request
    said = await cli("policy", "explain", request.id)
    assert (said.code, said.err) == (0, "")
    flat = " ".join(said.out.split())
    for words in (
        "policy several, as it stood when this was asked",
        "needs 2 of sre (S0SRE) and 1 of owners (S0OWN)",
        "stands at 1 of 2 sre, 0 of 1 owners",
        "S0OWN, S0SRE",
        "at the deadline timed_out, and the graph is told reject",
        "SELF_APPROVAL",
    ):
        assert words in flat, words
    document = (await cli("policy", "explain", request.id, "--json")).json
    assert document["standing"]["rules"][0] == {
        "name": "sre",
        "filled": 1,
        "count": 2,
        "people": [],
        "groups": ["S0SRE"],
    }
    (vote,) = document["votes"]
    assert (vote["reviewer"], vote["groups"], vote["stage"]) == (ALICE, ["S0OWN", "S0SRE"], 1)


async def test_explain_says_which_tier_was_taken_and_why_not_the_one_before(bench: Bench, cli: Cli):
    run = await bench.queue("deploy", policy="small", facts={"amount": 51})
    await bench.runtime.advance(run.id)
    request = (await bench.request(run)).request
    flat = " ".join((await cli("policy", "explain", request.id)).out.split())
    assert "tier small not taken: amount <= 50" in flat
    assert "tier other taken: no tier before it was" in flat
    run = await bench.queue("deploy", policy="small", facts={"amount": 49})
    await bench.runtime.advance(run.id)
    request = (await bench.request(run)).request
    flat = " ".join((await cli("policy", "explain", request.id)).out.split())
    assert "tier small taken: amount <= 50" in flat
    assert "decided by itself tier small: amount <= 50" in flat


async def test_what_is_not_there_is_told_so(cli: Cli):
    for words in (["explain", "req-9"], ["simulate", "--user", ALICE, "--request", "req-9"]):
        said = await cli("policy", *words)
        assert (said.code, said.err.strip()) == (1, "signoff: there is no request 'req-9'")


# -- simulate


async def test_simulate_asks_slack_and_records_nothing(bench: Bench, cli: Cli):
    run = await voted(bench)
    request = (await bench.request(run)).request
    before = bench.dump(without=())
    for user, words in {
        BOB: [
            "approve taken; it would stand at 2 of 2 sre, 0 of 1 owners",
            "reject taken; the request would be rejected",
        ],
        DAVE: ["approve taken; it would stand at 1 of 2 sre, 1 of 1 owners"],
        ALICE: ["approve ALREADY_VOTED: You have already approved"],
        CAROL: ["approve SELF_APPROVAL: ", "withdraw taken; the request would be withdrawn"],
        GUEST: ["approve GUEST_USER: ", "reject GUEST_USER: "],
    }.items():
        said = await cli("policy", "simulate", "--user", user, "--request", request.id)
        assert (said.code, said.err) == (0, "")
        flat = " ".join(said.out.split())
        assert all(one in flat for one in words), (user, flat)
    assert bench.dump(without=()) == before


async def test_simulate_supposes_groups_and_asks_nobody(bench: Bench, cli: Cli):
    run = await voted(bench, who=())
    request = (await bench.request(run)).request
    bench.slack.workspace.deactivate(BOB)
    said = await cli("policy", "simulate", "--user", BOB, "--request", request.id, "--group", "S0OWN")
    assert "approve   taken; it would stand at 0 of 2 sre, 1 of 1 owners" in said.out
    await bench.runtime.cancel(run.thread_id, run.id)
    said = await cli("policy", "simulate", "--user", BOB, "--request", request.id, "--group", "S0OWN")
    assert "NOT_PENDING: This request was withdrawn" in said.out


# -- test


async def test_cases_are_tried_and_a_wrong_one_is_an_exit_code_for_ci(cli: Cli, tmp_path: Path):
    good = await cli("policy", "test", str(EXAMPLES / "deploy.cases.toml"))
    assert (good.code, good.err) == (0, "")
    assert "All 7 cases came out as they must." in good.out
    cases = (EXAMPLES / "refund.cases.toml").read_text()
    file = tmp_path / "cases.toml"
    file.write_text(cases.replace('tier = "auto"', 'tier = "one"'))
    bad = await cli("policy", "test", str(file), "--policies", str(EXAMPLES / "refund.toml"))
    assert bad.code == 1
    assert "WRONG" in bad.out and "the tier is auto; one was expected" in bad.out
    assert bad.err.strip() == "signoff: 1 of 5 cases did not come out as they must"


async def test_cases_without_a_policy_file_try_those_of_the_settings(cli: Cli, tmp_path: Path):
    file = tmp_path / "cases.toml"
    file.write_text(
        'people = { U1 = ["S0SRE"] }\n[[cases]]\nname = "one"\npolicy = "pair"\nvotes = ["U1 approve"]\nexpect = "open"\n'
    )
    assert (await cli("policy", "test", str(file))).code == 0
    said = await cli("policy", "test", str(tmp_path / "none.toml"))
    assert said.code == 1 and "cannot be read" in said.err
    file.write_text("cases = 3")
    said = await cli("policy", "test", str(file))
    assert said.code == 1 and "nothing was tested" in said.err


# -- decide


async def test_decide_says_how_it_stands_and_when_it_is_done(bench: Bench, cli: Cli):
    map_people(bench, **{USER: ALICE})
    run = await paused(bench, policy="pair")
    request = (await bench.request(run)).request
    first = await cli("decide", request.id, "approve")
    assert (first.code, first.err) == (0, "")
    assert f"Your vote on {request.id} is recorded; it stands at 1 of 2 sre." in first.out
    again = await cli("decide", request.id, "approve")
    assert again.code == 1 and "You have already approved" in again.err
    shown = (await cli("show", run.id)).out
    assert "stands at" in shown and "1 of 2 sre" in shown


@pytest.mark.parametrize("words", [("edit", "--edit", "{"), ("edit", "--edit", "[1]"), ("nod",)])
async def test_decide_typed_wrong_records_nothing(bench: Bench, cli: Cli, words: tuple[str, ...]):
    run = await paused(bench)
    request = (await bench.request(run)).request
    said = await cli("decide", request.id, *words)
    assert said.code == 2 and "nothing was recorded" in said.err
    assert (await bench.request(run)).votes == ()


async def test_decide_takes_what_must_be_typed(bench: Bench, cli: Cli):
    map_people(bench, **{USER: ALICE})
    run = await paused(bench, policy="typed", facts={"service": "payments"})
    request = (await bench.request(run)).request
    said = await cli("decide", request.id, "approve")
    assert said.code == 1 and "Type payments to confirm" in said.err
    said = await cli("decide", request.id, "approve", "--confirm", "payments")
    assert (said.code, said.err) == (0, "")
    assert "is approved" in said.out
