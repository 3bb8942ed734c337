"""The bot seals its journal while it works; ``signoff audit`` proves it, and names what was changed."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import aais
import pytest
from aiohttp import ClientSession, web
from bot_bench import ALICE, Bench, Cli, Everybody, bot_here, eventually, settings_for

from bot.anchors import read_anchors
from bot.config import ConfigError
from bot.sealer import FileAnchor, Sealer, WebAnchor
from graph_runtime import Actor, Approvals, Head, Journal, Place, Ticket, system_clock
from graph_runtime.types import PersonId

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def sealed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench with an approved run whose journal is sealed, and its head noted."""
    monkeypatch.setenv("SIGNOFF_JOURNAL__KEYS", json.dumps({"k1": KEY}))
    monkeypatch.setenv("SIGNOFF_JOURNAL__ANCHOR", str(bench.folder / "heads"))
    run = await bench.runtime.advance((await bench.queue()).id)
    (request,) = await bench.approvals.find(run_id=run.id)
    ticket = Ticket(bench.store.deployment, request.id, run.thread_id, run.id, request.interrupt_id)
    approvals = Approvals(bench.runtime, Everybody())
    await approvals.decide(ticket, Actor(PersonId(ALICE)), "approve", place=Place("cli"))
    await bench.runtime.advance(run.id)
    await Sealer(journal_of(bench), FileAnchor(bench.folder / "heads")).finish()
    return bench


async def test_the_bot_seals_what_it_does_within_a_second(bench: Bench):
    said = {"keys": {"k1": KEY}, "anchor": str(bench.folder / "heads")}
    async with bot_here(settings_for(bench.slack, bench.folder, journal=said)):
        run = await bench.start()
        await bench.click(await bench.card(run), user=ALICE)
        await bench.rests(run, "completed")
        await bench.quiet()

        async def all_sealed() -> bool:
            return not await unsealed(bench)

        await eventually(all_sealed)
        await eventually(lambda: asyncio.to_thread((bench.folder / "heads").exists))
    found = await journal_of(bench).verify(read_anchors(bench.folder / "heads"))
    assert found.broken is None


async def unsealed(bench: Bench) -> int:
    return (await journal_of(bench).verify()).unsealed


def journal_of(bench: Bench) -> Journal:
    return Journal(bench.store, {"k1": KEY.encode()}, key="k1", clock=system_clock)


def change(bench: Bench, statement: str, *params: Any) -> None:
    with sqlite3.connect(bench.folder / "signoff.db") as raw:
        raw.execute(statement, params)


async def test_what_was_sealed_is_proved(sealed: Bench, cli: Cli):
    said = await cli("audit", "verify")
    assert (said.code, said.err) == (0, "")
    assert "The journal is as it was sealed, up to " in said.out
    assert "0 lines not sealed yet" in said.out
    assert "1 noted head fits" in said.out
    proved = await cli("audit", "verify", "--json")
    assert (proved.json["broken"], proved.json["unsealed"], proved.json["anchors"]) == (None, 0, 1)
    assert proved.json["lines"] == len(await all_lines(cli))


async def all_lines(cli: Cli) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await cli("audit", "export")).out.splitlines()]


async def test_one_changed_byte_is_named(sealed: Bench, cli: Cli):
    line = next(line for line in await all_lines(cli) if line["kind"] == "request.approved")
    change(sealed, "UPDATE events SET actor = 'U0EVE' WHERE event_id = ?", line["id"])
    said = await cli("audit", "verify")
    assert (said.code, said.out) == (1, "")
    assert f"the journal is broken: line {line['id']} of block {line['block']} was changed" in said.err
    as_json = await cli("audit", "verify", "--json")
    assert as_json.code == 1
    assert as_json.json["broken"]["fault"] == "edited"
    assert as_json.json["broken"]["event_id"] == line["id"]


async def test_an_end_that_was_cut_off_does_not_fit_the_head_that_was_noted(sealed: Bench, cli: Cli):
    head = await journal_of(sealed).head()
    assert head is not None
    (sealed.folder / "elsewhere").write_text(json.dumps(vars_of(head)) + "\n")
    change(sealed, "DELETE FROM events WHERE block = ?", head.block)
    change(sealed, "DELETE FROM blocks WHERE block = ?", head.block)
    said = await cli("audit", "verify", "--anchor", str(sealed.folder / "elsewhere"))
    assert said.code == 1
    assert "the end was cut off" in said.err


def vars_of(head: Head) -> dict[str, Any]:
    return {"block": head.block, "seal": head.seal, "sealed_at": head.sealed_at}


async def test_the_head_is_printed_as_an_anchor_takes_it(sealed: Bench, cli: Cli):
    said = await cli("audit", "head")
    assert said.json == vars_of(await journal_of(sealed).head() or Head(0, "", 0))
    (sealed.folder / "mine").write_text(said.out)
    assert (await cli("audit", "verify", "--anchor", str(sealed.folder / "mine"))).code == 0


async def test_the_journal_is_printed_line_by_line(sealed: Bench, cli: Cli):
    kinds = [line["kind"] for line in await all_lines(cli)]
    assert kinds[0] == "run.started"
    assert {"request.opened", "request.approved", "run.completed"} <= set(kinds)
    table = list(csv.DictReader(io.StringIO((await cli("audit", "export", "--format", "csv")).out)))
    assert [row["kind"] for row in table] == kinds
    assert all(row["block"].isdigit() for row in table)
    assert (await cli("audit", "export", "--format", "xml")).code == 2


async def test_no_cell_of_a_table_is_a_formula(sealed: Bench, cli: Cli):
    await sealed.runtime.start("deploy", {"service": "x"}, thread_id="=1+1")
    table = csv.DictReader(io.StringIO((await cli("audit", "export", "--format", "csv")).out))
    assert "'=1+1" in {row["thread_id"] for row in table}


@pytest.mark.parametrize("words", [["audit", "verify"], ["audit", "head"]])
async def test_without_a_key_nothing_is_proved(bench: Bench, cli: Cli, words: list[str]):
    said = await cli(*words)
    assert (said.code, said.out) == (3, "")
    assert "there is no journal key; set SIGNOFF_JOURNAL__KEYS" in said.err


async def test_a_file_that_holds_no_heads_proves_nothing(sealed: Bench, cli: Cli):
    for text, why in (("{}", "holds no heads"), ("x", "holds no heads"), (None, "cannot be read")):
        path = sealed.folder / "other"
        path.write_text(text) if text is not None else path.unlink()
        said = await cli("audit", "verify", "--anchor", str(path))
        assert said.code == 3
        assert why in said.err


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"keys": {"k1": "short"}}, "at least 32"),
        ({"keys": {"k1": KEY}, "key": "k2"}, "the name of one of journal.keys"),
        ({"keys": {"k1": KEY, "k2": KEY}}, "which one seals"),
        ({"keys": {"k1": KEY}, "anchor": "http://example.com"}, "https://"),
    ],
)
def test_settings_of_the_journal_that_are_wrong_start_nothing(said: dict[str, Any], why: str, bench: Bench):
    with pytest.raises(ConfigError, match=why) as raised:
        settings_for(bench.slack, bench.folder, journal=said)
    assert KEY not in str(raised.value)
    assert "short" not in str(raised.value)


async def test_a_head_that_could_not_be_noted_is_noted_with_the_next(bench: Bench, tmp_path: Path):
    missing = tmp_path / "there"
    sealer = Sealer(journal_of(bench), FileAnchor(missing / "heads"))
    await bench.runtime.start("deploy", {"service": "x"})
    await sealer.finish()
    assert await unsealed(bench) == 0, "sealed all the same"
    missing.mkdir()
    await sealer.finish()
    (noted,) = read_anchors(missing / "heads")
    assert noted == await journal_of(bench).head()
    assert (missing / "heads").stat().st_mode & 0o777 == 0o600


async def test_heads_are_posted_to_an_address(bench: Bench):
    taken: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        taken.append(await request.json())
        return web.Response(status=201 if len(taken) > 1 else 500)

    pages = web.Application()
    pages.router.add_post("/heads", take)
    runner = web.AppRunner(pages)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with ClientSession() as session:
            port = runner.addresses[0][1]
            sealer = Sealer(journal_of(bench), WebAnchor(f"http://127.0.0.1:{port}/heads", session))
            await bench.runtime.start("deploy", {"service": "x"})
            await sealer.finish()
            await sealer.finish()
            await sealer.finish()
    finally:
        await runner.cleanup()
    head = await journal_of(bench).head()
    assert head is not None
    assert taken == [vars_of(head)] * 2, "once refused, once taken, and not again"


async def test_requests_votes_and_outcomes_are_valid_where_they_are_interchanged(sealed: Bench, cli: Cli):
    """As its own library reads them: with digests over exactly the action that they name."""
    rejected = await sealed.runtime.advance((await sealed.queue(service="x = 1", title="Deploy <x>")).id)
    await sealed.runtime.advance((await sealed.queue("plain")).id)
    await sealed.runtime.cancel(rejected.thread_id, rejected.id)
    said = await cli("audit", "export", "--format", "aais")
    assert (said.code, said.err) == (0, "")
    envelopes = [json.loads(line) for line in said.out.splitlines()]
    for number, envelope in enumerate(envelopes):
        aais.validate(envelope)
        assert envelope["sequence"] == number
    kinds = [envelope["type"] for envelope in envelopes]
    assert kinds.count("approval.requested") == 3
    assert kinds.count("approval.decided") == 1
    resolved = [e["resolution"] for e in envelopes if e["type"] == "approval.resolved"]
    assert [one["outcome"] for one in resolved] == ["approved", "cancelled"]
    for request in (e["request"] for e in envelopes if e["type"] == "approval.requested"):
        assert request["action_digest"] == aais.action_digest(request["action"])
    (decision,) = (e["decision"] for e in envelopes if e["type"] == "approval.decided")
    assert decision["actor"] == {"id": ALICE, "type": "human", "authenticated_by": "cli"}
    assert resolved[0]["decision_id"] == decision["id"]


async def test_a_line_that_a_full_disk_cut_off_spoils_no_other(bench: Bench, tmp_path: Path):
    (tmp_path / "heads").write_text('{"block": 1, "se')
    await bench.runtime.start("deploy", {"service": "x"})
    await Sealer(journal_of(bench), FileAnchor(tmp_path / "heads")).finish()
    assert read_anchors(tmp_path / "heads") == [await journal_of(bench).head()]


async def test_a_sealer_whose_block_was_taken_away_seals_no_more_and_the_bot_goes_on(bench: Bench):
    sealer = Sealer(journal_of(bench), None)
    await bench.runtime.start("deploy", {"service": "x"})
    await sealer.finish()
    change(bench, "DELETE FROM blocks")
    change(bench, "UPDATE events SET block = NULL, actor = 'U0EVE'")
    await sealer.finish()
    assert await journal_of(bench).head() is None, "it would have sealed what was changed"
