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
from bot_bench import ALICE, CAROL, CHANNEL, DAVE, Bench, Everybody, bot_here, settings_for
from forked import Forked
from kit import NIGHTLY
from refund_child import main

from bot import cards
from bot.showcases import SHOWCASES
from bot.wiring import open_runtime
from examples.refund import Bank
from graph_runtime import Actor, Approvals, Place, Run, Runtime
from graph_runtime.types import PersonId

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["refund"])
async def example(
    request: pytest.FixtureRequest, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """The bot at work on one of the examples."""
    shown = SHOWCASES[request.param]
    monkeypatch.setenv("SIGNOFF_OUTSIDE", str(bench.folder))
    for group in shown.groups:
        bench.slack.workspace.add_group(group)
    settings = settings_for(
        bench.slack, bench.folder, graphs={shown.graph: shown.target}, policies=shown.read_policies()
    )
    bench.runtime = open_runtime(settings, bench.store)
    async with bot_here(settings):
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
    monkeypatch.setenv("SIGNOFF_OUTSIDE", str(bench.folder))
    shown, chance = SHOWCASES["refund"], random.Random(20260110)
    graphs, policies = {shown.graph: shown.target}, shown.read_policies()
    settings = settings_for(bench.slack, bench.folder, graphs=graphs, policies=policies, lease="1s")
    runtime = open_runtime(settings, bench.store)
    kills = 0
    for number in range(100 if NIGHTLY else 3):
        run = await runtime.start("refund", {**shown.given, "amount": "100.00", "case_id": f"R-{number}"})
        await runtime.advance(run.id)
        (request,) = await bench.approvals.find(run_id=run.id)
        await decide(bench, runtime, request.id)
        while (await runtime.get(run.id)).live:
            out, err = bench.folder / f"out-{kills}-{number}", bench.folder / "err"
            process = Forked(main, str(bench.folder), run.id, env=os.environ, out=out, err=err)
            await process.says("up")  # it begins to drive the run
            try:
                async with asyncio.timeout(chance.uniform(0, 0.06)):
                    await process.wait()
            except TimeoutError:
                process.send_signal(signal.SIGKILL)
                await process.wait()
                kills += 1
        assert (await runtime.get(run.id)).status == "completed"
        assert len(payments(bench)) == number + 1, "neither twice nor never"
    assert kills


async def decide(bench: Bench, runtime: Runtime, request_id: str) -> None:
    approvals = Approvals(runtime, Everybody())
    view = await approvals.view(request_id)
    assert view is not None
    ticket = cards.ticket_of(view, bench.store.deployment)
    await approvals.decide(ticket, Actor(PersonId(DAVE)), "approve", place=Place("cli"))
