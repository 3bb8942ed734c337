"""What every example must come through in Slack, whatever it asks: the cross-scenario matrix.

One house is walked through several bad days, because each start of a bot takes longer than what happens in it.
Rows of the matrix that hold for all graphs alike are tested elsewhere, under the names of what they are about.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from typing import Any

import pytest
from bot_bench import ALICE, BOB, CAROL, CHANNEL, DAVE, OPERATOR, Bench, bot_here, eventually, settings_for

from bot import courier
from bot.config import Settings
from bot.sandbox import Message
from bot.showcases import SHOWCASES
from bot.wiring import open_runtime
from graph_runtime import SECOND, Run, approvals

#: Who approves each example, in order.
APPROVERS = {"deploy": (ALICE,), "refund": (DAVE, ALICE), "access": (BOB,)}
#: An access that was given waits for its end.
AFTERWARDS = {"deploy": ("completed",), "refund": ("completed",), "access": ("interrupted",)}
every_example = pytest.mark.parametrize("name", ["access", "deploy", "refund"])


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel takes a message as soon as the last one is there; how it is paced is tested elsewhere."""
    monkeypatch.setattr(courier, "CHANNEL_PACE", SECOND // 100)


def prepared(bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Settings:
    """Return the settings of a bot for an example, with the people it needs."""
    shown = SHOWCASES[name]
    monkeypatch.setenv("SIGNOFF_OUTSIDE", str(bench.folder))
    for group in shown.groups:
        bench.slack.workspace.add_group(group)
    said = {"graphs": {shown.graph: shown.target}, "policies": shown.read_policies(), **more}
    settings = settings_for(bench.slack, bench.folder, **said)
    bench.runtime = open_runtime(settings, bench.store)
    return settings


async def asked(bench: Bench, name: str, number: int = 0) -> Run:
    """Start a run of the example and return it once its card is there."""
    shown = SHOWCASES[name]
    changed = {"refund": {"case_id": f"R-{number}"}}.get(name, {})
    run = await bench.runtime.start(shown.graph, {**shown.given, **changed}, requester=CAROL)
    await bench.card(run)
    return run


async def card_of(bench: Bench, run: Run, user: str) -> Message:
    """Return the card that this person has in front of them."""
    places = (await bench.request(run)).cards.values()
    place = next((one for one in places if one.channel in {CHANNEL, f"D{user[1:]}"}), None)
    assert place is not None, places
    message = bench.slack.workspace.message(place.channel, place.message)
    assert message is not None
    return message


async def approved(bench: Bench, name: str, run: Run) -> None:
    """Let everybody approve who must, each on their own card."""
    for number, user in enumerate(APPROVERS[name], start=1):
        await bench.click(await card_of(bench, run, user), user=user)
        assert len((await bench.request(run)).votes) == number
    await bench.rests(run, *AFTERWARDS[name])


async def elsewhere(bench: Bench, run: Run, name: str) -> None:
    """Return once everybody who must approve has a card in their direct messages."""

    async def there() -> bool:
        channels = {place.channel for place in (await bench.request(run)).cards.values()}
        return {f"D{user[1:]}" for user in APPROVERS[name]} <= channels

    await eventually(there, what="cards in direct messages")


def each_decision_is_in_the_journal(bench: Bench) -> None:
    with contextlib.closing(sqlite3.connect(bench.database)) as db:
        votes = "SELECT request_id, reviewer FROM decisions"
        lines = """SELECT request_id, actor FROM events
            WHERE kind IN ('request.voted', 'request.approved', 'request.rejected')"""
        assert Counter(db.execute(votes)) == Counter(db.execute(lines))


@every_example
async def test_matrix_a_channel_that_is_archived_or_left_and_a_message_that_is_deleted(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
):
    office = bench.slack.office
    async with bot_here(prepared(bench, name, monkeypatch)):
        # Deleted by somebody, which Slack does not tell; the next look posts it once more.
        run = await asked(bench, name, 1)
        old = await bench.card(run)
        first, *_ = APPROVERS[name]
        late = bench.payload(old, user=first)
        await office.delete_message(CHANNEL, old.ts)
        bell = bench.slack.event({"type": "channel_archive", "channel": CHANNEL, "user": ALICE})
        assert (await bench.deliver(bell, "events_api")).acked, "it came out of order: it is open again"

        async def again() -> bool:
            return [place.message for place in (await bench.request(run)).cards.values()] not in (
                [],
                [old.ts],
            )

        await eventually(again, what="another card")
        # A click that was under way when the card was replaced, delivered late.
        assert (await bench.deliver(late)).acked
        assert "was replaced: use the newer one" in await bench.private(first)
        assert await bench.refusals() == ["CARD_REPLACED"]
        await approved(bench, name, run)
        # Archived while it waits: those who may decide have it in their direct messages.
        run = await asked(bench, name, 2)
        assert (await office.archive(CHANNEL)).acked
        await elsewhere(bench, run, name)
        await approved(bench, name, run)
        await office.unarchive(CHANNEL)
        # The bot is taken out of it.
        run = await asked(bench, name, 3)
        assert (await office.remove(CHANNEL)).acked
        await elsewhere(bench, run, name)
        await approved(bench, name, run)
        await bench.quiet()
    said = [message.text for message in bench.slack.messages(OPERATOR)]
    assert [
        f"(`{error}`)" in text for error, text in zip(("is_inactive", "not_in_channel"), said, strict=True)
    ]
    assert all(len(bench.slack.ephemerals(user)) == (user == first) for user in (ALICE, BOB, DAVE))
    each_decision_is_in_the_journal(bench)


@every_example
async def test_matrix_who_left_a_locked_database_a_changed_policy_and_a_new_start(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
):
    settings = prepared(bench, name, monkeypatch)
    first, *_ = APPROVERS[name]
    async with bot_here(settings):
        run = await asked(bench, name)
        await bench.quiet()
        card = await bench.card(run)
        # Locked by somebody for longer than a click may take; how soon it is told is tested elsewhere.
        bench.slack.deadline = 10
        monkeypatch.setattr(approvals, "DECIDE_SECONDS", 0.2)
        with contextlib.closing(sqlite3.connect(bench.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert (await bench.click(card, user=first)).acked
            assert "ot recorded" in await bench.private(first)
            other.execute("ROLLBACK")
        monkeypatch.setattr(approvals, "DECIDE_SECONDS", 1.8)
        assert bench.dump()["decisions"] == []
        # Whose account is closed between the card and the click.
        bench.slack.workspace.set_group(
            next(one.id for one in bench.slack.workspace.groups.values() if first in one.users),
            [first, OPERATOR],
        )
        assert (await bench.slack.office.deactivate(OPERATOR)).acked
        await bench.click(card, user=OPERATOR)
        assert "This account is deactivated" in await bench.private(OPERATOR)
    # The policies are other ones after the next start; what waits keeps those it was asked by.
    other_policies = {one: {"people": ["U0NOBODY"]} for one in settings.policies}
    async with bot_here(prepared(bench, name, monkeypatch, policies=other_policies)):
        payload = bench.payload(card, user=first)
        bench.slack.faults.duplicate_next_delivery()
        assert (await bench.deliver(payload)).acked
        await bench.private(first, 2)
        for user in APPROVERS[name][1:]:
            await bench.click(card, user=user)
        await bench.rests(run, *AFTERWARDS[name])
        await bench.quiet()
    assert [vote.reviewer for vote in (await bench.request(run)).votes] == [*APPROVERS[name]]
    assert len(bench.slack.ephemerals(first)) == 2, "one for the lock, one for the second delivery"
    assert len(bench.slack.ephemerals(OPERATOR)) == 1
    each_decision_is_in_the_journal(bench)
