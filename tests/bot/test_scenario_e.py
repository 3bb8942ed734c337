"""Scenario E, the deletion of a person's data: what ``examples/erase.py`` does by the policies of ``erase.toml``."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from bot_bench import (
    ALICE,
    BOB,
    CAROL,
    CHANNEL,
    OPERATOR,
    Bench,
    Cli,
    eventually,
    settings_for,
    words_of,
)
from erase_child import main
from forked import Forked
from kit import MakeRuntime, MovedClock, SettableClock
from scenario_bench import (
    behind_the_bot,
    confirm,
    lasts,
    log_of,
    policies_of,
    time_passes,
    vote,
    waits,
)

from bot.sandbox import Message, SlashCommand
from bot.showcases import SHOWCASES
from bot.wiring import open_runtime
from examples import erase
from examples.erase import Records, certificate, check_certificate, records
from graph_runtime import SECOND, Alarms, Journal, JournalError, Requests, Run, Runtime, system_clock

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef0123456789abcdef"
WANTED = {"customer": "8841", "requester": CAROL}
DAY = 24 * 3_600


@pytest.fixture
def moved() -> MovedClock:
    """The bot's clock, which the test moves on."""
    return MovedClock()


async def agreed(bench: Bench, card: Message) -> None:
    """Let two people type what the card asks for."""
    for person in (ALICE, BOB):
        await confirm(bench, card, person, "8841")
    await bench.drawn(card, f"*Approved* by <@{ALICE}>, <@{BOB}>")


async def cools(bench: Bench) -> Run:
    """Return a run that two have agreed to, and that cools off."""
    run = await bench.start("erase", **WANTED)
    await agreed(bench, await bench.card(run))
    return await waits(bench, run)


async def ended(bench: Bench, run: Run, *words: str) -> None:
    """Return once the run has ended with these words, and its newest card says that it has."""
    await bench.rests(run, "completed")
    await lasts(bench.runtime, run, *words)
    asked = await bench.approvals.find(run_id=run.id)
    await bench.drawn(await bench.card(run, len(asked) - 1), "the run completed")


def kept(customer: str = "8841") -> int:
    """Return how many rows there are of a customer."""
    return sum(records().counts(customer).values())


async def test_e5_what_is_typed_wrong_is_told_at_its_field_and_two_must_type_it_right(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    async with behind_the_bot(bench, monkeypatch, "erase", policies_of("erase")):
        run = await bench.start("erase", **WANTED)
        card = await bench.card(run)
        shown = words_of(card)
        for words in ("Erase customer 8841", "700", "orders 1, 2, 3; messages 1, 2, 3", "legal holds"):
            assert words in shown
        wrong = await confirm(bench, card, ALICE, "8814")
        assert "Type 8841 to confirm. Nothing was recorded." in str(wrong)
        assert await bench.refusals() == ["INVALID_INPUT"]
        assert (await bench.request(run)).votes == ()
        await agreed(bench, card)
        await bench.rests(run, "interrupted")
        assert (await bench.runtime.look(run.id)).state.next == ("cool_off",)
        assert kept() == 1_000


async def test_nothing_is_deleted_before_a_day_has_passed_and_who_asked_undoes_it_as_the_card_says(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
):
    bench.slack.workspace.add_command(SlashCommand("/erase", should_escape=True))
    more = {"commands": SHOWCASES["erase"].commands, "clock": moved}
    async with behind_the_bot(bench, monkeypatch, "erase", policies_of("erase"), **more):
        await bench.slack.slash(user=CAROL, channel=CHANNEL, command="/erase", text="8841")
        (run,) = await bench.runtime.runs()
        card = await bench.card(run)
        await agreed(bench, card)
        await waits(bench, run)
        shown = words_of(await bench.drawn(card, "the run waits until <!date^"))
        (until,) = re.findall(r"waits until <!date\^(\d+)\^", shown)
        assert 0 <= bench.runtime.clock() / SECOND - (int(until) - DAY) < 60
        (undo,) = re.findall(r"\nundo  \n/signoff (cancel run-\w+), for 24 h after it is approved", shown)
        assert "Only its requester or an operator" in await bench.slash(undo, user=BOB)
        await bench.slash(undo, user=CAROL)
        await bench.drawn(card, "the run was cancelled")
        moved.pass_seconds(DAY)
        other = await cools(bench)
        moved.pass_seconds(DAY - 60)
        assert (await bench.rests(other, "interrupted"), kept())[1] == 1_000
        moved.pass_seconds(60)
        await ended(bench, other, "20 of 20 pieces deleted")
        assert (kept(), (await bench.runtime.get(run.id)).status) == (0, "cancelled")


@pytest.mark.parametrize("when", ["before anybody is asked", "while it cools off", "at the gate"])
async def test_e1_a_legal_hold_stops_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock, when: str
):
    stopped = "nothing was deleted, a legal hold: case 7"
    async with behind_the_bot(bench, monkeypatch, "erase", policies_of("erase"), clock=moved):
        if when == "before anybody is asked":
            records().hold("8841", "case 7")
            run = await bench.rests(await bench.start("erase", **WANTED), "completed")
            await lasts(bench.runtime, run, stopped)
            assert await bench.approvals.find(run_id=run.id) == []
            assert bench.slack.messages(CHANNEL) == []
        elif when == "while it cools off":
            run = await cools(bench)
            records().hold("8841", "case 7")
            moved.pass_seconds(DAY)
            await ended(bench, run, stopped)
        else:
            run = await cools(bench)
            await bench.slash("freeze all an incident")
            moved.pass_seconds(DAY)
            await bench.drawn(await bench.card(run), "Frozen: it is carried out when that ends")
            records().hold("8841", "case 7")
            for operator in (OPERATOR, ALICE):
                await bench.slash("release all", user=operator)
            await ended(bench, run, stopped)
        assert kept() == 1_000


async def test_e1_a_legal_hold_between_two_pieces_stops_what_is_left_and_the_result_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
):
    real = Records.delete

    def then_hold(self: Records, key: str, customer: str, number: int) -> None:
        real(self, key, customer, number)
        if number == 3:
            self.hold("8841", "case 7")

    monkeypatch.setattr(Records, "delete", then_hold)
    async with behind_the_bot(bench, monkeypatch, "erase", policies_of("erase"), clock=moved):
        run = await cools(bench)
        moved.pass_seconds(DAY)
        await ended(bench, run, "3 of 20 pieces deleted, stopped by case 7")
        assert records().counts("8841")["orders"] == 550


async def test_e2_what_has_grown_by_more_than_a_twentieth_is_shown_and_asked_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
):
    async with behind_the_bot(bench, monkeypatch, "erase", policies_of("erase"), clock=moved):
        run = await cools(bench)
        first = await bench.card(run)
        assert "since the last look" not in words_of(first)
        records().add("8841", orders=36)
        moved.pass_seconds(DAY)
        second = await bench.card(run, 1)
        assert kept() == 1_036
        assert "since the last look  \norders 700 → 736" in words_of(second)
        assert "*0 of 2 approved*" in words_of(second), "votes are void"
        await confirm(bench, second, ALICE, "8841")
        await bench.drawn(second, "*1 of 2 approved*")
        assert (await bench.request(run, 1)).request.status == "open"
        await confirm(bench, second, BOB, "8841")
        await waits(bench, run)
        records().add("8841", orders=36)  # less than a twentieth of what they saw
        moved.pass_seconds(DAY)
        await ended(bench, run, "pieces deleted")
        assert (await bench.runtime.look(run.id)).state.values["result"]["orders"] == 772
        assert kept() == 0


# -- on the runtime alone -------------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Records:
    monkeypatch.setenv("SIGNOFF_OUTSIDE", str(tmp_path))
    return records()


@pytest.fixture
def runtime(make_runtime: MakeRuntime, shop: Records) -> Runtime:
    return make_runtime(erase.graph, companions=[Requests(policies_of("erase"))])


async def cooling(runtime: Runtime, **more: Any) -> Run:
    """Return a run that two have agreed to, and that cools off."""
    run = await runtime.advance((await runtime.start("erase", {**WANTED, **more})).id)
    return await vote(runtime, run, ALICE, BOB, confirm="8841")


async def test_of_whom_nothing_is_known_nobody_is_asked(runtime: Runtime):
    run = await runtime.advance((await runtime.start("erase", {**WANTED, "customer": "1"})).id)
    assert (await log_of(runtime, run)) == ["nothing is known of 1"]


async def test_what_changes_again_and_again_is_given_up(
    runtime: Runtime, shop: Records, clock: SettableClock
):
    run = await cooling(runtime)
    for _ in range(3):
        shop.add("8841", orders=100)
        run = await time_passes(runtime, clock, DAY, run)
        if run.status == "interrupted":
            run = await vote(runtime, run, ALICE, BOB, confirm="8841")
    assert run.status == "completed"
    assert (await log_of(runtime, run))[-1] == "nothing was deleted: it changed more than 3 times"
    assert shop.counts("8841")["orders"] == 1_000


# -- on the bench's database, which other processes open -------------------------------------------------------


@pytest.fixture
def alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The bench with the deletion, without a bot."""
    monkeypatch.setenv("SIGNOFF_OUTSIDE", str(bench.folder))
    graphs = {"erase": "examples.erase:graph"}
    settings = settings_for(bench.slack, bench.folder, graphs=graphs, policies=policies_of("erase"))
    bench.runtime = open_runtime(settings, bench.store)
    return bench


async def driven_on(runtime: Runtime, run: Run) -> Run:
    """Drive a run whose lease another process held, once that is over."""
    claimed = await eventually(lambda: runtime.claim_this(run.id), what=f"a lapsed lease of {run.id}")
    return await runtime.drive(claimed)


@pytest.mark.processes
async def test_e4_killed_after_piece_7_of_20_it_goes_on_with_the_8th_and_no_piece_goes_twice(alone: Bench):
    run = await cooling(alone.runtime, minutes=0)
    assert await Alarms(alone.runtime).ring_due()
    child = Forked(main, str(alone.folder), run.id, "7", env=os.environ, out=alone.folder / "out")
    assert await child.wait() == -signal.SIGKILL, child.read()
    (request,) = await alone.approvals.find(run_id=run.id)
    (key,) = [f"{request.id}:{request.digest.removeprefix('sha256:')[:32]}"]
    assert [one["number"] for one in records().pieces(key, left=True)] == list(range(8, 21))
    begun: list[int] = []
    real = Records.delete

    def noted(self: Records, key: str, customer: str, number: int) -> None:
        begun.append(number)
        real(self, key, customer, number)

    with pytest.MonkeyPatch.context() as watching:
        watching.setattr(Records, "delete", noted)
        run = await driven_on(alone.runtime, run)
    assert run.status == "completed"
    assert begun == list(range(8, 21))
    assert [one["times"] for one in records().pieces(key)] == [1] * 20
    kinds = [
        line.kind for line in await alone.runtime.events(run_id=run.id) if line.kind.startswith("grant.")
    ]
    assert kinds == [
        "grant.reserved",
        "grant.indeterminate",
        "grant.reconciled",
        "grant.reserved",
        "grant.done",
    ]


def journal_of(bench: Bench) -> Journal:
    return Journal(bench.store, {"k1": KEY.encode()}, key="k1", clock=system_clock)


async def certified(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the certificate of a deletion that two people have agreed to in Slack; the bot is gone again."""
    moved = MovedClock()
    async with behind_the_bot(bench, monkeypatch, "erase", policies_of("erase"), clock=moved):
        run = await cools(bench)
        moved.pass_seconds(DAY)
        await ended(bench, run, "20 of 20 pieces deleted")
    with pytest.raises(JournalError, match="there is no certificate"):
        await certificate(bench.runtime, journal_of(bench), run.id)
    assert await journal_of(bench).seal()
    return await certificate(bench.runtime, journal_of(bench), run.id)


async def test_e6_the_certificate_is_proved_and_one_flipped_byte_is_found(
    bench: Bench, cli: Cli, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SIGNOFF_JOURNAL__KEYS", json.dumps({"k1": KEY}))
    line = await certified(bench, monkeypatch)
    said = json.loads(line)
    assert said["approved_by"] == [ALICE, BOB]
    assert (said["result"]["customer"], said["result"]["orders"], said["result"]["pieces"]) == (
        "8841",
        700,
        20,
    )
    file = bench.folder / "certificate.json"

    async def verified(text: str) -> int:
        file.write_text(text)
        return (await cli("audit", "verify", "--anchor", str(file))).code

    assert await verified(line) == 0
    await check_certificate(bench.store, journal_of(bench), line)
    # Of the certificate, every byte.
    for place in range(len(line)):
        if not line[place].isspace():
            with pytest.raises(JournalError):
                await check_certificate(bench.store, journal_of(bench), flipped(line, place))
    assert await verified(flipped(line, line.index(said["seal"]))) != 0
    # Of the journal: what the certificate rests on.
    with sqlite3.connect(bench.database) as raw:
        ((event, data),) = raw.execute("SELECT event_id, data FROM events WHERE kind = 'grant.done'")
        raw.execute(
            "UPDATE events SET data = ? WHERE event_id = ?", (flipped(data, data.index("sha256:") + 9), event)
        )
    assert await verified(line) == 1
    with pytest.raises(JournalError, match="does not prove"):
        await check_certificate(bench.store, journal_of(bench), line)


def flipped(text: str, place: int) -> str:
    return text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]


async def test_e6_the_certificate_is_printed_and_checked_in_the_shell(
    bench: Bench, cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SIGNOFF_JOURNAL__KEYS", json.dumps({"k1": KEY}))
    line = await certified(bench, monkeypatch)
    run = json.loads(line)["run"]
    capsys.readouterr()
    assert await erase.main(Namespace(config=None, what="certificate", run=run)) == 0
    assert capsys.readouterr().out == line + "\n"
    for said, code in ((line, 0), (flipped(line, line.index("700")), 1)):
        assert await erase.main(Namespace(config=None, what="check", line=said)) == code
    assert "the journal does not prove that" in capsys.readouterr().out


async def test_e6_a_result_that_somebody_changed_in_the_database_gets_no_certificate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    line = await certified(bench, monkeypatch)
    said = json.loads(line)
    changed = {**said, "result": {**said["result"], "orders": 699}}
    with pytest.raises(JournalError, match="does not prove"):
        await check_certificate(bench.store, journal_of(bench), json.dumps(changed))
    for no_certificate in ("", "[]", "{", "null", json.dumps({**said, "request": "req-0"})):
        with pytest.raises(JournalError):
            await check_certificate(bench.store, journal_of(bench), no_certificate)
