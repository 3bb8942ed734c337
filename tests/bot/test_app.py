"""The house as a whole: health, a day without a network, and cases with names of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from bot_bench import ALICE, BOB, CHANNEL, Bench, bot_here, settings_for

import bot.app
from bot.config import ConfigError
from bot.sandbox import Fault, Sandbox
from graph_runtime import Run


async def get(address: str, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(address + path) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("mode", ["socket", "http"])
async def test_health_readiness_and_metrics_are_answered_in_both_modes(bench: Bench, mode: Any):
    port = settings_for(bench.slack, bench.folder, "http").http.port
    settings = settings_for(bench.slack, bench.folder, mode, http={"port": port})
    address = f"http://127.0.0.1:{port}"
    bench.slack.request_url = f"{address}/slack/events" if mode == "http" else None
    async with bot_here(settings):
        await bench.card(await bench.start())
        assert await get(address, "/healthz") == (200, '{"alive": true}')
        assert await get(address, "/readyz") == (200, '{"ready": true}')
        status, text = await get(address, "/metrics")
        assert status == 200
        assert 'signoff_runs{status="interrupted"} 1.0' in text
        assert 'signoff_outbox{status="parked"} 0.0' in text
        async with aiohttp.ClientSession() as session, session.post(f"{address}/slack/events") as answer:
            # Over Socket Mode nobody has business at this door.
            assert answer.status == {"socket": 404, "http": 401}[mode]


async def test_a_bot_without_a_connection_is_alive_but_not_ready(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    port = settings_for(bench.slack, bench.folder, "http").http.port
    settings = settings_for(bench.slack, bench.folder, http={"port": port})
    async with bot_here(settings):
        bench.slack.faults.add(Fault("apps.connections.open", "500", times=1_000))
        await bench.slack.disconnect_sockets(None)

        async def unready() -> bool:
            return (await get(f"http://127.0.0.1:{port}", "/readyz"))[0] == 503

        async with asyncio.timeout(15):
            while not await unready():
                await asyncio.sleep(0.05)
        assert (await get(f"http://127.0.0.1:{port}", "/healthz"))[0] == 200


@pytest.mark.parametrize("kind", ["500", "drop_before_store", "ratelimited", "error:internal_error"])
async def test_a_connection_that_cannot_be_opened_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str
):
    monkeypatch.setattr(bot.app, "_WATCH_SECONDS", 0.05)
    bench.slack.faults.add(Fault("apps.connections.open", kind, times=2))
    async with bot_here(settings_for(bench.slack, bench.folder)):
        card = await bench.card(await bench.start())
        assert (await bench.click(card)).outcome == "acked"


async def test_a_socket_that_stays_away_is_built_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bot.app, "_WATCH_SECONDS", 0.02)
    monkeypatch.setattr(bot.app, "_SOCKET_PATIENCE", 0.2)
    async with bot_here(settings_for(bench.slack, bench.folder)):
        assert bench.slack.connections == 2
        await bench.slack.disconnect_sockets(None)
        await bench.slack.wait_for(lambda: bench.slack.connections == 2)
        card = await bench.card(await bench.start())
        assert (await bench.click(card)).outcome == "acked"


@pytest.mark.parametrize("reason", ["warning", "refresh_requested"])
async def test_clicks_go_on_while_slack_refreshes_the_connections(bench: Bench, reason: str):
    async with bot_here(settings_for(bench.slack, bench.folder)):
        cards = [await bench.card(await bench.start(policy=policy)) for policy in ("prod-deploy", "general")]
        await bench.slack.disconnect_sockets(reason)
        await bench.slack.wait_for(lambda: bench.slack.connected)
        for card in cards:
            assert (await bench.click(card)).outcome == "acked"
            await bench.drawn(card, "*Approved*")


async def test_a_port_that_is_taken_is_a_wrong_setting(bench: Bench):
    settings = settings_for(bench.slack, bench.folder, http={"port": bench.slack.port})
    with pytest.raises(ExceptionGroup) as refused:
        async with bot_here(settings):
            pass
    first: BaseException = refused.value
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, ConfigError)
    assert "cannot be listened on" in str(first)


@pytest.mark.parametrize("mode", ["socket", "http"])
@pytest.mark.parametrize(
    "thread", ["case 42", "orders/2026-01-05#7", "häuser@example.test", "x" * 255, "💥" * 255, '"\\\x00']
)
async def test_a_case_may_have_any_name_and_its_card_still_works(bench: Bench, mode: Any, thread: str):
    settings = settings_for(bench.slack, bench.folder, mode)
    if mode == "http":
        bench.slack.request_url = f"http://127.0.0.1:{settings.http.port}/slack/events"
    given = {"service": "payments", "effects": str(bench.effects), "policy": "general"}
    run: Run = await bench.runtime.start("deploy", given, thread_id=thread)
    async with bot_here(settings):
        card = await bench.card(run)
        assert (await bench.click(card)).outcome == "acked"
        await bench.drawn(card, "the run completed")
    assert await bench.refusals() == []


async def test_the_first_click_asks_slack_who_and_the_next_ones_do_not(bot: Bench):
    for policy in ("prod-deploy", "general"):
        card = await bot.card(await bot.start(policy=policy))
        await bot.click(card, user=BOB)
        await bot.drawn(card, "*Approved*")
    calls = [line.kind for line in bot.slack.log]
    assert calls.count("usergroups.users.list") == 2, "once for the first question, once for the first click"
    assert calls.count("auth.test") <= 2, "once at the start, once by Bolt"


async def test_a_hundred_sentences_do_not_hold_up_a_stop(bench: Bench):
    stop, started = asyncio.Event(), asyncio.Event()
    settings = settings_for(bench.slack, bench.folder)
    async with asyncio.TaskGroup() as group:
        group.create_task(bot.app.serve(settings, stop, started=started))
        await started.wait()
        card = await bench.card(await bench.start())
        await bench.click(card, user=ALICE)
        await bench.drawn(card, "*Approved*")
        late = [bench.deliver(late_click(bench, card)) for _ in range(100)]
        assert {answer.outcome for answer in await asyncio.gather(*late)} == {"acked"}
        stop.set()
    assert len(bench.slack.ephemerals(BOB)) == 100, "what was promised is told before the end"


def late_click(bench: Bench, card: Any) -> dict[str, Any]:
    """A click on the card as Bob's screen still shows it."""
    workspace = bench.slack.workspace
    shown = workspace.message(CHANNEL, card.ts)
    assert shown is not None
    workspace.put(card)
    payload = bench.payload(card, user=BOB)
    workspace.put(shown)
    return payload


async def test_slack_that_is_away_at_the_start_is_said_in_one_sentence(bench: Bench):
    async with Sandbox() as other:
        settings = settings_for(other, bench.folder)
    with pytest.raises(ConfigError, match="did not answer"):
        await bot.app.serve(settings, asyncio.Event())
