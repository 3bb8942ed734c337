"""The examples walk through their Slack surface, and what they do outside is done once, whatever dies."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bot_bench import ALICE, CAROL, CHANNEL, DAVE, Bench
from forked import Forked
from kit import NIGHTLY
from refund_child import main
from scenario_bench import behind_the_bot, policies_of

from bot import cards
from bot.sandbox import Message
from bot.showcases import SHOWCASES
from examples.refund import Bank
from graph_runtime import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def example(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """The bot at work on the refund."""
    async with behind_the_bot(bench, monkeypatch, "refund", policies_of("refund")):
        yield bench


async def start(bench: Bench, name: str, **changed: Any) -> Run:
    shown = SHOWCASES[name]
    return await bench.runtime.start(shown.graph, {**shown.given, **changed}, requester=CAROL)


def payments(bench: Bench) -> list[Decimal]:
    return [Decimal(paid["amount"]) for paid in Bank(bench.folder / "bank.jsonl").payments()]


async def said(bench: Bench, run: Run) -> str:
    await bench.rests(run, "completed")
    return str((await bench.runtime.look(run.id)).state.values["said"])


async def test_a_refund_of_700_takes_finance_and_then_a_lead(example: Bench):
    run = await start(example, "refund")
    card = await example.card(run)
    await example.click(card, user=ALICE)
    assert "at stage 1 of 2" in await example.private(ALICE), "finance comes first"
    await example.click(card, user=DAVE)
    await example.drawn(card, "Stage 2 of 2")
    assert payments(example) == []
    await example.click(card, user=ALICE)
    assert await said(example, run) == "Erika Muster gets 700.00 EUR (pay-1)"
    assert payments(example) == [Decimal("700.00")]


async def test_b1_a_small_refund_is_paid_by_itself_and_nobody_is_bothered(example: Bench):
    run = await start(example, "refund", amount="49.99")
    assert await said(example, run) == "Erika Muster gets 49.99 EUR (pay-1)"
    assert example.slack.messages(CHANNEL) == []
    (line,) = [e for e in await example.runtime.events(run_id=run.id) if e.kind == "request.approved"]
    assert line.actor == "policy"


async def test_more_than_is_left_of_the_charge_is_never_paid(example: Bench):
    run = await start(example, "refund", amount="880.01")
    assert "gets nothing, rejected" in await said(example, run)
    assert payments(example) == []
    assert example.slack.messages(CHANNEL) == []


async def test_a_rejected_refund_says_why(example: Bench):
    run = await start(example, "refund", amount="320.00")
    card = await example.card(run)
    await example.click(card, cards.REJECT, user=DAVE)
    (dialog,) = example.slack.modals(DAVE)
    why = {cards.REASON_BLOCK: {cards.REASON_INPUT: "The parcel came back empty"}}
    await example.slack.submit(user=DAVE, view_id=dialog.id, values=why)
    assert await said(example, run) == "Erika Muster gets nothing, rejected: The parcel came back empty"


@pytest.mark.processes
@pytest.mark.timeout(1_800 if NIGHTLY else 120)
async def test_b10_whenever_it_dies_at_the_provider_it_pays_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """Killed at random moments around the payment, again and again, until it comes through."""
    shown, chance = SHOWCASES["refund"], random.Random(20260110)
    cards_of: dict[str, Message] = {}
    async with behind_the_bot(bench, monkeypatch, "refund", policies_of("refund")):
        for number in range(100 if NIGHTLY else 3):
            given = {**shown.given, "amount": "100.00", "case_id": f"R-{number}"}
            run = await bench.start("refund", **given)
            cards_of[run.id] = await bench.card(run)
    # One that only takes clicks: who drives the runs is killed.
    async with behind_the_bot(bench, monkeypatch, "refund", policies_of("refund"), role="web"):
        for card in cards_of.values():
            assert (await bench.click(card, user=DAVE)).outcome == "acked"
    runtime, kills = bench.runtime, 0
    for number, run_id in enumerate(cards_of):
        assert (await bench.request(await runtime.get(run_id))).request.status == "approved"
        while (await runtime.get(run_id)).live:
            out, err = bench.folder / f"out-{kills}-{number}", bench.folder / "err"
            process = Forked(main, str(bench.folder), run_id, env=os.environ, out=out, err=err)
            await process.says("up")  # it begins to drive the run
            try:
                async with asyncio.timeout(chance.uniform(0, 0.06)):
                    await process.wait()
            except TimeoutError:
                process.send_signal(signal.SIGKILL)
                await process.wait()
                kills += 1
        assert (await runtime.get(run_id)).status == "completed"
        assert len(payments(bench)) == number + 1, "neither twice nor never"
    assert kills
