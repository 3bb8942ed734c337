"""What the world must be told is told in order, at least once, and a card never goes back to an older state."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from graphs import begin, events
from kit import MakeRuntime, SettableClock
from people import CARD, CLI, approvals_of, boss, deploy, open_view, requests, ticket_of

from graph_runtime import SECOND, Approvals, Conflict, Outbox, OutboxEntry, Runtime, Store
from graph_runtime.outbox import FIRST_WAIT, LEASE, LONGEST_WAIT, REDRAW_AFTER
from graph_runtime.storage import Ask

pytestmark = pytest.mark.databases("sqlite", "postgres")


class House:
    """A waiting deployment and two couriers."""

    def __init__(self, make_runtime: MakeRuntime) -> None:
        self.runtime = make_runtime(deploy("slow"), companions=[requests()])
        other: Runtime = make_runtime(deploy("slow"), companions=[requests()])
        self.approvals: Approvals = approvals_of(self.runtime)
        self.courier, self.other = Outbox(self.runtime), Outbox(other)

    async def ask(self, subject: str = "pay") -> str:
        run = await begin(self.runtime, {"subject": subject})
        return (await open_view(self.approvals, run.id)).request.id

    async def decide(self, request_id: str) -> None:
        view = await self.approvals.view(request_id)
        assert view is not None
        ticket = ticket_of(view, self.runtime.store)
        await self.approvals.decide(ticket, boss(), "approve", place=CLI)

    async def claim(self, courier: Outbox | None = None) -> OutboxEntry:
        entry = await (courier or self.courier).claim()
        assert entry is not None
        return entry

    async def nothing(self) -> bool:
        return await self.courier.claim() is None and await self.other.claim() is None


@pytest.fixture
def house(make_runtime: MakeRuntime) -> House:
    return House(make_runtime)


async def test_an_entry_is_claimed_by_one_courier_and_done_when_it_landed(
    house: House, clock: SettableClock
) -> None:
    request = await house.ask()
    entry = await house.claim()
    assert (entry.kind, entry.request_id, entry.attempts, entry.overtaken) == ("card", request, 1, False)
    assert (entry.wanted, entry.lease_until) == (1, clock.now + LEASE)
    assert await house.nothing()
    assert await house.courier.count() == {"pending": 1}
    await house.courier.landed(entry, CARD)
    assert await house.nothing()
    assert await house.courier.count() == {}
    view = await house.approvals.view(request)
    assert view is not None
    assert view.card == CARD


async def test_entries_of_one_request_come_in_order_and_other_requests_need_not_wait(
    house: House, clock: SettableClock
) -> None:
    first, second = await house.ask("one"), await house.ask("two")
    card = await house.claim()
    assert card.request_id == first
    await house.decide(first)
    other = await house.claim(house.other)
    assert (other.kind, other.request_id) == ("card", second)
    assert await house.nothing(), "the trail of the first waits for its card"
    await house.courier.retry(card, "503")
    assert await house.nothing(), "also while the card waits to be tried again"
    clock.now += FIRST_WAIT
    again = await house.claim()
    assert (again.id, again.attempts) == (card.id, 2)
    await house.courier.landed(again, CARD)
    trail = await house.claim()
    assert (trail.kind, trail.request_id) == ("trail", first)
    assert trail.payload == {"what": "request", "status": "approved", "by": "U_BOSS"}


async def test_a_card_drawn_at_an_old_revision_is_drawn_again(house: House) -> None:
    request = await house.ask()
    entry = await house.claim()
    await house.decide(request)
    await house.courier.landed(entry, CARD)
    again = await house.claim()
    assert (again.id, again.wanted, again.attempts, again.overtaken) == (entry.id, 2, 1, False)
    await house.courier.landed(again, None)
    trail = await house.claim()
    assert trail.kind == "trail"
    await house.courier.landed(trail, None)
    assert await house.nothing()


async def test_many_changes_are_one_drawing(house: House) -> None:
    request = await house.ask()
    await house.decide(request)
    await house.runtime.advance((await house.runtime.runs())[0].id)
    entry = await house.claim()
    assert (entry.kind, entry.wanted) == ("card", 3)
    await house.courier.landed(entry, CARD)
    told = []
    while (entry_ := await house.courier.claim()) is not None:
        told.append((entry_.kind, entry_.payload["what"], entry_.payload["status"]))
        await house.courier.landed(entry_, None)
    assert told == [("trail", "request", "approved"), ("trail", "run", "completed")]


async def test_a_delivered_card_is_drawn_again_when_its_request_changes(house: House) -> None:
    request = await house.ask()
    await house.courier.landed(await house.claim(), CARD)
    assert await house.nothing()
    await house.decide(request)
    assert (await house.claim()).kind == "card"


async def test_a_lapsed_courier_is_overtaken_and_the_card_is_drawn_once_more_later(
    house: House, clock: SettableClock
) -> None:
    await house.ask()
    slow = await house.claim()
    clock.now += LEASE
    assert await house.nothing(), "a lease stands until its last microsecond"
    clock.now += 1
    taken = await house.claim(house.other)
    assert (taken.id, taken.attempts, taken.overtaken) == (slow.id, 2, True)
    with pytest.raises(Conflict):
        await house.courier.landed(slow, CARD)
    await house.other.landed(taken, CARD)
    assert await house.nothing(), "not at once: the slow one's call may still be on its way"
    clock.now += REDRAW_AFTER - 1
    assert await house.nothing()
    clock.now += 1
    once_more = await house.claim()
    assert (once_more.id, once_more.overtaken, once_more.wanted) == (slow.id, False, 2)
    await house.courier.landed(once_more, None)
    clock.now += 10 * LEASE
    assert await house.nothing()


@pytest.mark.parametrize("what", ["landed", "retry", "park", "defer"])
async def test_an_overtaken_courier_can_change_nothing(house: House, clock: SettableClock, what: str) -> None:
    request = await house.ask()
    slow = await house.claim()
    clock.now += LEASE + 1
    taken = await house.claim(house.other)

    async def late() -> None:
        match what:
            case "landed":
                await house.courier.landed(slow, dataclasses.replace(CARD, message="9.9"))
            case "retry":
                await house.courier.retry(slow, "late")
            case "park":
                await house.courier.park(slow, "late")
            case _:
                await house.courier.defer(slow, clock.now)

    with pytest.raises(Conflict) as raised:
        await late()
    assert raised.value.guard == "lease"
    await house.other.landed(taken, CARD)
    with pytest.raises(Conflict):
        await late()
    view = await house.approvals.view(request)
    assert view is not None
    assert view.card == CARD


async def test_an_overtaken_courier_of_the_same_process_can_change_nothing_even_much_later(
    house: House, clock: SettableClock
) -> None:
    await house.ask()
    slow = await house.claim()
    clock.now += LEASE + 1
    taken = await house.claim()
    await house.courier.landed(taken, CARD)
    clock.now += REDRAW_AFTER
    third = await house.claim()
    assert third.attempts == slow.attempts, "the count began anew, so it alone tells nothing"
    with pytest.raises(Conflict):
        await house.courier.retry(slow, "late")
    await house.courier.landed(third, None)


async def test_failures_are_waited_out_longer_and_longer(house: House, clock: SettableClock) -> None:
    await house.ask()
    waits = []
    for attempt in range(1, 13):
        entry = await house.claim()
        assert (entry.attempts, entry.overtaken) == (attempt, False)
        await house.courier.retry(entry, f"error {attempt}")
        before = clock.now
        ((row,),) = await house.runtime.store.read(Ask("count_outbox"))
        waits.append(row["oldest"] - before)
        clock.now = row["oldest"] - 1
        assert await house.nothing()
        clock.now += 1
    assert waits[:4] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT, 8 * FIRST_WAIT]
    assert max(waits) == waits[-1] == LONGEST_WAIT
    entry = await house.claim()
    assert entry.error == "error 12"
    await house.courier.landed(entry, CARD)
    assert await house.nothing()


async def test_a_wait_may_be_asked_for(house: House, clock: SettableClock) -> None:
    await house.ask()
    await house.courier.retry(await house.claim(), "429", wait=30_000_000)
    clock.pass_seconds(29)
    assert await house.nothing()
    clock.pass_seconds(1)
    assert (await house.claim()).attempts == 2


async def test_the_bell_rings_when_the_turn_of_a_deferred_entry_comes(
    house: House, clock: SettableClock
) -> None:
    await house.ask()
    bell = house.runtime.outbox_bell
    await bell.wait(0)  # what was rung for the question
    await house.courier.defer(await house.claim(), clock.now + SECOND // 20)
    async with asyncio.timeout(10):
        await bell.wait(60)


async def test_a_deferred_entry_was_not_tried(house: House, clock: SettableClock) -> None:
    await house.ask()
    await house.courier.defer(await house.claim(), clock.now + 5)
    assert await house.nothing()
    clock.now += 5
    assert (await house.claim()).attempts == 1


async def test_a_parked_entry_is_not_tried_again_and_the_journal_says_so(house: House, store: Store) -> None:
    request = await house.ask()
    entry = await house.claim()
    await house.courier.park(entry, "channel_not_found")
    assert await house.courier.count() == {"parked": 1}
    (line,) = await events(store, kind="outbox.parked")
    assert (line.request_id, line.data) == (request, {"entry": entry.id, "error": "channel_not_found"})
    await house.decide(request)
    trail = await house.claim()
    assert trail.kind == "trail", "a parked card does not hold up what follows"


async def test_an_error_text_of_any_kind_can_be_kept(house: House, clock: SettableClock) -> None:
    await house.ask()
    entry = await house.claim()
    await house.courier.retry(entry, "nul \x00 and 🙂 " + "x" * 10_000)
    clock.now += FIRST_WAIT
    assert (await house.claim()).id == entry.id


async def test_a_second_message_does_not_move_the_card(house: House) -> None:
    request = await house.ask()
    await house.courier.landed(await house.claim(), CARD)
    await house.decide(request)
    await house.courier.landed(await house.claim(), dataclasses.replace(CARD, message="9.9"))
    view = await house.approvals.view(request)
    assert view is not None
    assert view.card == CARD


async def test_a_channel_has_one_turn_at_a_time_whoever_asks(
    make_runtime: MakeRuntime, clock: SettableClock
) -> None:
    one, other = (Outbox(make_runtime()) for _ in range(2))
    said = await asyncio.gather(*(each.take_turn("C1", SECOND) for each in (one, other) * 10))
    assert said.count(None) == 1
    assert {at for at in said if at is not None} == {clock.now + SECOND}
    assert await other.take_turn("C2", SECOND) is None, "each channel has its own"
    clock.pass_seconds(0.9)
    assert await other.take_turn("C1", SECOND) == clock.now + SECOND // 10
    clock.pass_seconds(0.1)
    assert await other.take_turn("C1", SECOND) is None
    clock.pass_seconds(-3600)
    assert await one.take_turn("C1", SECOND) is None, "a clock that was set back silences nobody"
