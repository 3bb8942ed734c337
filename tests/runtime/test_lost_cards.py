"""A card's place is given up in one commit with what takes its place; a request is never left without a card."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from graphs import begin
from kit import MakeRuntime, SettableClock
from people import CARD, approvals_of, boss, deploy, open_view, requests, ticket_of

from graph_runtime import Conflict, OperatorAlarm, Outbox, OutboxEntry, Place, Refused
from graph_runtime.outbox import ALARM_PACE

pytestmark = pytest.mark.databases("sqlite", "postgres")


def private(user: str) -> Place:
    return dataclasses.replace(CARD, channel=f"D_{user}")


async def claimed(outbox: Outbox) -> OutboxEntry:
    entry = await outbox.claim()
    assert entry is not None
    return entry


async def test_lost_cards_are_replaced_drawn_and_lost_again_but_for_the_last_one(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(deploy("slow"), companions=[requests()])
    approvals, outbox = approvals_of(runtime), Outbox(runtime)
    other = Outbox(make_runtime(deploy("slow"), companions=[requests()]))
    run = await begin(runtime, {"subject": "pay"})
    first = await claimed(outbox)
    await outbox.landed(first, CARD)
    await outbox.look_again("slack", CARD.workspace, "C_OTHER")
    assert await outbox.claim() is None, "another channel is no matter"
    await outbox.look_again("slack", CARD.workspace, CARD.channel)
    first = await claimed(outbox)
    alarm = OperatorAlarm("is_archived:C1", ("U_OPS",), {"error": "is_archived"})
    stale = dataclasses.replace(first, attempts=9)
    with pytest.raises(Conflict):
        await outbox.lose(stale, "is_archived", [{"to": "U_A"}])
    await outbox.lose(first, "is_archived", [{"to": "U_A"}, {"to": "U_B"}], alarm)
    # The old place counts no more, and the new ones do from their receipts on.
    ticket = ticket_of(await open_view(approvals, run.id), runtime.store)
    with pytest.raises(Refused) as refused:
        await approvals.decide(ticket, boss(), "approve", place=CARD)
    assert refused.value.code == "CARD_REPLACED"
    found = [await claimed(outbox) for _ in range(3)]
    assert [(one.kind, one.payload["to"]) for one in found] == [
        ("card", "U_A"),
        ("card", "U_B"),
        ("alarm", "U_OPS"),
    ]
    a, b, told = found
    await outbox.landed(told, private("U_OPS"))
    await outbox.landed(a, private("U_A"))
    await outbox.landed(b, private("U_B"))
    assert [*(await open_view(approvals, run.id)).cards.values()] == [private("U_A"), private("U_B")]
    # Both are lost at once: one of them stays.
    for channel in ("D_U_A", "D_U_B"):
        await outbox.look_again("slack", CARD.workspace, channel)
    a, b = await claimed(outbox), await claimed(other)
    lost = await asyncio.gather(
        outbox.lose(a, "user_disabled", run_id=run.id),
        other.lose(b, "user_disabled", run_id=run.id),
        return_exceptions=True,
    )
    (conflict,) = [one for one in lost if one is not None]
    assert isinstance(conflict, Conflict)
    assert conflict.guard == "another card"
    assert len((await open_view(approvals, run.id)).cards) == 1
    (left,) = (await open_view(approvals, run.id)).cards.values()
    assert (await approvals.decide(ticket, boss(), "approve", place=left)).request.status == "approved"
    lines = [e.data["instead"] for e in await runtime.events() if e.kind == "card.lost"]
    assert lines == [["U_A", "U_B"], []]


async def test_operators_are_told_once_an_hour_and_what_was_parked_is_taken_up(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    runtime = make_runtime(deploy("slow"), companions=[requests()])
    outbox = Outbox(runtime)
    alarm = OperatorAlarm("token_revoked:", ("U_OPS", "U_TOO"), {"error": "token_revoked"})

    async def park() -> None:
        clock.now += 1
        await begin(runtime, {"subject": "pay"})
        while (entry := await outbox.claim()) is not None:
            if entry.kind == "alarm":
                alarms.append(str(entry.payload["to"]))
                await outbox.landed(entry, None)
            else:
                await outbox.park(entry, "token_revoked", alarm)

    alarms: list[str] = []
    for _ in range(3):
        await park()
    assert sorted(alarms) == ["U_OPS", "U_TOO"]
    clock.now += ALARM_PACE
    await park()
    assert sorted(alarms) == ["U_OPS", "U_OPS", "U_TOO", "U_TOO"]
    assert await outbox.count() == {"parked": 4}
    found = await outbox.troubled()
    assert {(one.kind, one.status, one.error) for one in found} == {("card", "parked", "token_revoked")}
    assert await outbox.take_up(found[0].id, actor="cli:ann") == 1
    assert await outbox.take_up(actor="cli:ann") == 3
    assert await outbox.take_up(actor="cli:ann") == 0
    entry = await claimed(outbox)
    assert entry.attempts == 2, "it is looked for before it is told again"
