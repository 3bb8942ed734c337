"""Who is away, who acts for them, and past a freeze: as people type it and see it in Slack, and operators here."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bot_bench import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    GUEST,
    OPERATOR,
    Bench,
    Cli,
    Everybody,
    eventually,
    paused,
    texts,
    words_of,
)
from card_bench import AT, entry, request, taken, view, vote

from bot import cards, lines
from bot.commands import MistypedError
from bot.terminal import os_user
from bot.typed import read_moment, read_person, unwrapped
from graph_runtime import Absences, Actor, Alarms, Approvals, Delegation, Place, Ticket
from graph_runtime.bypass import Bypass
from graph_runtime.types import PersonId

UNTIL = (datetime.now(UTC) + timedelta(days=7)).date().isoformat()


async def test_a_delegate_decides_and_both_names_are_seen(bot: Bench):
    said = await bot.slash(f"delegate @dave until {UNTIL} for pair at sea <!channel>", user=ALICE)
    assert f"<@{DAVE}> may decide of `pair` in your place" in said
    listed = await bot.slash("delegations", user=BOB)
    assert f"<@{DAVE}> for <@{ALICE}> in `pair`" in listed
    assert "at sea &lt;!channel&gt;" in listed
    run = await bot.start(policy="pair")
    card = await bot.card(run)
    await bot.click(card, user=DAVE)
    shown = await bot.drawn(card, "1 of 2 approved")
    assert f":white_check_mark: <@{DAVE}> for <@{ALICE}>" in words_of(shown)
    await bot.click(card, user=ALICE)
    assert f"{DAVE}, who counts as one with you, has already approved" in await bot.private(ALICE, 2)
    await bot.click(card, user=BOB)
    done = await bot.drawn(card, "the run completed")
    assert f"*Approved* by <@{DAVE}> for <@{ALICE}>, <@{BOB}>" in words_of(done)
    assert (await bot.thread(card, 1))[0].startswith(
        f":white_check_mark: <@{DAVE}> for <@{ALICE}> approved: 1 of 2 sre."
    )
    (line,) = await bot.events("request.voted")
    assert (line.actor, line.data["on_behalf_of"]) == (DAVE, ALICE)
    (made,) = await bot.events("delegation.made")
    ended = await bot.slash(f"undelegate `{made.data['delegation']}`", user=ALICE)
    assert f"<@{DAVE}> acts no more for <@{ALICE}>" in ended
    assert "Nobody is away." in await bot.slash("delegations", user=BOB)


async def test_what_is_typed_wrong_or_may_not_be_changes_nothing(bot: Bench):
    for typed, said in (
        ("delegate", "Type `/signoff delegate @bob until"),
        (f"delegate @dave {UNTIL}", "Type `/signoff delegate @bob until"),
        (f"delegate @nobody until {UNTIL}", "name a person"),
        ("delegate @dave until Christmas", "is no day"),
        (f"delegate @dave until {UNTIL} for nothing", "there is no such one"),
        ("delegate @dave until 2020-01-01", "over before it began"),
        (f"delegate <@{ALICE}> until {UNTIL}", "nobody delegates to themself"),
        (f"delegate <@{GUEST}> until {UNTIL}", "a guest may not decide"),
        ("delegate <@U0NOBODY> until " + UNTIL, "could not be checked who U0NOBODY is"),
        ("undelegate", "Type `/signoff undelegate ID`"),
        ("undelegate del-1", "no delegation 'del-1' holds"),
        ("reassign req-1", "Type `/signoff reassign REQUEST @bob"),
        ("reassign req-1 @dave", "There is no request"),
        ("bypass", "Type `/signoff bypass REQUEST reason`"),
        ("bypass req-1 why", "There is no request"),
    ):
        answer = await bot.slash(typed, user=ALICE)
        assert ":no_entry:" in answer, typed
        assert said in answer, typed
    assert "Nobody is away." in await bot.slash("delegations", user=BOB)


async def test_a_place_in_one_request_is_given_to_somebody_and_the_card_says_so(bot: Bench):
    run = await bot.start(policy="pair")
    card = await bot.card(run)
    named = (await bot.request(run)).request.id
    assert "You have no place of your own" in await bot.slash(f"reassign {named} @bob", user=DAVE)
    assert "name somebody else" in await bot.slash(f"reassign `{named}` @carol", user=ALICE)
    said = await bot.slash(f"reassign `{named}` @dave I wrote <@{BOB}>'s half", user=ALICE)
    assert f"<@{DAVE}> may decide `{named}` in your place" in said
    await bot.drawn(card, f"<@{ALICE}> gave their place to <@{DAVE}>")
    (line,) = await bot.thread(card, 1)
    assert f"<@{ALICE}> gave their place to <@{DAVE}>" in line
    assert f"I wrote <@{BOB}>'s half" not in line.split("\n")[0], "what people write is text"
    await bot.click(card, user=DAVE)
    await bot.drawn(card, f"<@{DAVE}> for <@{ALICE}>")


async def test_people_let_an_approved_payment_through_a_freeze(bot: Bench):
    await bot.slash("freeze graph:paying incident 12")
    run = await bot.start("paying")
    card, named = await bot.card(run), (await bot.request(run)).request.id
    await bot.click(card, user=ALICE)
    await bot.drawn(card, "Frozen, bypass 0 of 2")
    assert "You are not among those" in await bot.slash(f"bypass {named} now", user=CAROL)
    assert "Say why it cannot wait" in await bot.slash(f"bypass {named}", user=BOB)
    said = await bot.slash(f"bypass `{named}` the customer <!here> waits", user=BOB)
    assert "Frozen, bypass 1 of 2" in said
    await bot.drawn(card, "Frozen, bypass 1 of 2")
    assert bot.published() == []
    assert "Let through the freeze" in await bot.slash(f"bypass {named} it does", user=DAVE)
    await bot.drawn(card, f"Let through the freeze by <@{BOB}>, <@{DAVE}>")

    async def paid() -> list[str]:
        return bot.published()

    assert len(await eventually(paid)) == 1
    agreed, done = await bot.events("freeze.bypass_agreed", "freeze.bypassed")
    assert (agreed.actor, done.actor, done.data["standing"]) == (BOB, DAVE, "2 of 2")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The user of this machine is Olga, an operator, in Slack."""
    monkeypatch.setenv("SIGNOFF_PEOPLE", json.dumps({os_user(): OPERATOR}))
    return monkeypatch


async def test_an_operator_makes_and_ends_a_delegation_of_others(
    bench: Bench, cli: Cli, known: pytest.MonkeyPatch
):
    made = await cli(
        "delegate", ALICE, DAVE, "--until", UNTIL, "--policy", "pair", "--reason", "ill", "--json"
    )
    assert (made.code, made.err) == (0, "")
    assert (made.json["person"], made.json["delegate"], made.json["made_by"]) == (ALICE, DAVE, OPERATOR)
    table = (await cli("delegations")).out
    for word in (made.json["delegation_id"], ALICE, DAVE, "pair", "ill"):
        assert word in table
    assert (await cli("delegations", "--json")).json == [made.json]
    for words, said in (
        ((ALICE, BOB, "--until", UNTIL, "--policy", "pair"), "is for the same at the same time"),
        ((ALICE, OPERATOR, "--until", UNTIL), "nobody gives themself another's place"),
        ((ALICE, "dave", "--until", UNTIL), "a user id like U0BOB was expected"),
        ((ALICE, "U0ANN", "--until", UNTIL), "Slack knows no U0ANN"),
        ((ALICE, DAVE, "--until", UNTIL, "--policy", "none"), "there is no policy"),
        ((ALICE, DAVE, "--from", "soon", "--until", UNTIL), "is no day"),
    ):
        refused = await cli("delegate", *words)
        assert refused.code in {1, 2} and said in refused.err
    known.setenv("SLACK_BOT_TOKEN", "")
    refused = await cli("delegate", ALICE, DAVE, "--until", UNTIL)
    assert "nothing was changed; missing: SLACK_BOT_TOKEN" in refused.err
    known.setenv("SLACK_BOT_TOKEN", bench.slack.bot_token)
    known.setenv("SIGNOFF_PEOPLE", json.dumps({os_user(): CAROL}))
    assert "only operators may" in (await cli("delegate", BOB, DAVE, "--until", UNTIL)).err
    assert "only the two, or an operator" in (await cli("undelegate", made.json["delegation_id"])).err
    known.setenv("SIGNOFF_PEOPLE", json.dumps({os_user(): OPERATOR}))
    ended = await cli("undelegate", made.json["delegation_id"])
    assert ended.out == f"{DAVE} acts no more for {ALICE}.\n"
    assert (await cli("delegations")).out == "Nobody is away.\n"


async def test_what_is_decided_for_another_is_told_on_this_machine(
    bench: Bench, cli: Cli, known: pytest.MonkeyPatch
):
    run = await paused(bench, policy="pair")
    asked = (await bench.request(run)).request.id
    until = bench.runtime.clock() + 86_400_000_000
    await Absences(bench.runtime, Everybody()).delegate(ALICE, DAVE, until=until, by=ALICE)
    known.setenv("SIGNOFF_PEOPLE", json.dumps({os_user(): DAVE}))
    would = await cli("policy", "simulate", "--user", DAVE, "--request", asked)
    assert "taken; it would stand at 1 of 2 sre" in would.out
    decided = await cli("decide", asked, "approve")
    assert f"Your vote on {asked} in the place of {ALICE} is recorded" in decided.out
    assert f"{DAVE} for {ALICE} approve" in (await cli("show", run.id)).out
    assert f"{DAVE} for {ALICE}" in (await cli("policy", "explain", asked)).out
    (vote,) = (await cli("policy", "explain", asked, "--json")).json["votes"]
    assert (vote["reviewer"], vote["on_behalf_of"]) == (DAVE, ALICE)


async def test_a_freeze_is_passed_from_this_machine(bench: Bench, cli: Cli, known: pytest.MonkeyPatch):
    await Alarms(bench.runtime).freeze("action:pay", by=OPERATOR, reason="incident 12")
    run = await paused(bench, "paying")
    request = (await bench.request(run)).request
    ticket = Ticket(bench.store.deployment, request.id, run.thread_id, run.id, request.interrupt_id)
    approvals = Approvals(bench.runtime, Everybody())
    await approvals.decide(ticket, Actor(PersonId(ALICE)), "approve", place=Place("cli"))
    await bench.runtime.advance(run.id)
    refused = await cli("bypass", request.id, "--reason", "now")
    assert (refused.code, "You are not among those" in refused.err) == (1, True)
    known.setenv("SIGNOFF_PEOPLE", json.dumps({os_user(): BOB}))
    assert (await cli("bypass", request.id, "--reason", "now")).out == (
        f"{request.id} is frozen, bypass 1 of 2.\n"
    )
    known.setenv("SIGNOFF_PEOPLE", json.dumps({os_user(): DAVE}))
    said = await cli("bypass", request.id, "--reason", "now")
    assert said.out == f"{request.id} is let through the freeze; it is carried out.\n"
    assert (await bench.runtime.get(run.id)).status == "queued"


# -- words -----------------------------------------------------------------------------------------------------


def test_who_is_away_is_not_called_by_a_reminder_and_who_acts_for_them_is():
    named = request(policy={"people": [ALICE, BOB]})
    away = [[ALICE, DAVE, "Alice <!channel>"]]
    line = lines.trail(view(named), entry("trail", what="remind", status="open", by=None, instead=away))
    assert line.text == f":bell: Still needed: 1 of <@{DAVE}> for Alice &lt;!channel&gt;, <@{BOB}>."
    grouped = lines.trail(view(), entry("trail", what="remind", status="open", by=None, instead=away))
    assert f"1 of <!subteam^S0SRE>, <@{DAVE}> for Alice" in grouped.text
    old = lines.trail(view(), entry("trail", what="remind", status="open", by=None))
    assert old.text == ":bell: Still needed: 1 of <!subteam^S0SRE>."


def test_a_line_of_a_decision_names_both_and_who_asked():
    for_alice = dataclasses.replace(vote("approve", by=DAVE), on_behalf_of=ALICE)
    seen = view(request(status="approved", closed_at=AT), votes=(for_alice,))
    line = lines.trail(seen, entry("trail", what="request", status="approved", by=DAVE))
    assert line.text == f":white_check_mark: Approved by <@{DAVE}> for <@{ALICE}>, asked by <@{CAROL}>."
    gone = lines.trail(seen, entry("trail", what="reassign over", status="open", by=ALICE, to=DAVE))
    assert gone.text == f":leftwards_arrow_with_hook: <@{DAVE}> acts no more for <@{ALICE}>"


def test_a_card_that_is_frozen_says_what_ends_that():
    approved = view(request(status="approved", closed_at=AT), votes=(vote("approve"),))
    plain = dataclasses.replace(approved, held_by={"action:deploy": AT})
    shown = taken(cards.card(plain, entry(), "dep-1"))
    assert ":snowflake: Frozen: it is carried out when that ends" in texts(shown)
    policy = {"groups": ["S0SRE"], "freeze_bypass": {"group": "S0OWN"}}
    shut = dataclasses.replace(
        approved, request=dataclasses.replace(approved.request, policy=policy), held_by={"all": AT}
    )
    assert "bypass" not in "".join(texts(taken(cards.card(shut, entry(), "dep-1"))))


def test_a_consent_has_its_line_with_both_names_and_why():
    said = {
        "by": DAVE,
        "for": ALICE,
        "given": 1,
        "needed": 2,
        "scopes": ["graph:deploy"],
    }
    consent = Bypass("graph:deploy", AT, DAVE, ALICE, reason="<!here>", needed=2)  # type: ignore[arg-type]
    seen = dataclasses.replace(view(), bypasses=(consent,))
    line = lines.trail(seen, entry("trail", what="bypass", status="approved", **said))
    assert line.text == (
        f":snowflake: <@{DAVE}> for <@{ALICE}> lets it through the freeze of `graph:deploy`: 1 of 2."
        " Reason: &lt;!here&gt;"
    )


def test_a_place_that_was_given_away_stands_on_the_open_card():
    given = Delegation("del-1", ALICE, DAVE, 0, 1, "prod", "req-1")  # type: ignore[arg-type]
    shown = taken(cards.card(dataclasses.replace(view(), delegations=(given,)), entry(), "dep-1"))
    assert f"<@{ALICE}> gave their place to <@{DAVE}>" in texts(shown)


@pytest.mark.parametrize(
    ("text", "ends", "moment"),
    [
        ("2026-12-05", True, "2026-12-06T00:00+00:00"),
        ("2026-12-05", False, "2026-12-05T00:00+00:00"),
        ("2026-12-05T14:00", True, "2026-12-05T14:00+00:00"),
        ("2026-12-05T14:00+02:00", True, "2026-12-05T12:00+00:00"),
    ],
)
def test_a_day_counts_to_its_end(text: str, ends: Any, moment: str):
    assert read_moment(text, ends=ends) == round(datetime.fromisoformat(moment).timestamp() * 1_000_000)


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "9999-12-31", "2026-12-05 14:00 o'clock"])
def test_what_is_no_day_is_said(text: str):
    with pytest.raises(MistypedError, match="is no day"):
        read_moment(text, ends=True)


def test_people_and_links_come_as_slack_wraps_them():
    assert read_person(f"<@{BOB}|bob>") == read_person(f" <@{BOB}> ") == read_person(BOB) == BOB
    for text in ("@bob", "bob", "<@U0BOB", "<!channel>", ""):
        with pytest.raises(MistypedError):
            read_person(text)
    assert unwrapped('{"at": "<https://a.example/x|a.example/x>", "or": "a &amp; b"}') == (
        '{"at": "a.example/x", "or": "a & b"}'
    )
    assert unwrapped("<https://a.example/x>") == "https://a.example/x"
