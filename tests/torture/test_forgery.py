"""Every field of a click times everything that may be wrong with it, and every two fields mixed from two cards,
on a card that waits and on cards that are over: each is refused with a code, and changes nothing.

What Slack says beyond these fields (enterprise, signature, names of actions, dialogs) is tried in
tests/bot/test_forged.py, through the bot. A checkpoint and a digest are not carried by a click: they stand in
the row, and the run and question that are named must be those of the row.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from aside import aside
from kit import SettableClock
from people import approvals_of, deploy, requests
from promises import broken
from regime import say

from graph_runtime import Actor, Approvals, Outbox, Place, Refused, Runtime, Store, Ticket, open_store

pytestmark = [pytest.mark.databases("sqlite", "postgres"), pytest.mark.timeout(300)]
#: What a click says, by the names of these tests.
FIELDS = (
    *("deployment", "request_id", "thread_id", "run_id", "interrupt_id"),
    *("app", "workspace", "channel", "message"),
    *("user", "team"),
)
#: What no other card has, so that "of another card" is something else of its kind.
ELSEWHERE = {"deployment": "another", "app": "A2", "workspace": "T2", "user": "U_NOBODY", "team": "T2"}
#: An org-wide install names no team.
HARMLESS = {("team", "absent")}
STATES = ("pending", "resolved", "expired", "cancelled")


@dataclass(frozen=True)
class Card:
    """A card, as its own click says it is."""

    said: Mapping[str, str]

    def click(self, changed: Mapping[str, str]) -> tuple[Ticket, Actor, Place]:
        said: dict[str, Any] = {**self.said, **changed}
        ticket = Ticket(**{name: said[name] for name in FIELDS[:5]})
        place = Place("slack", said["app"], said["workspace"], said["channel"], said["message"])
        return ticket, Actor(said["user"], said["team"]), place


class Desk:
    """A runtime, and cards of it in every state."""

    def __init__(self, store: Store) -> None:
        self.store, self.clock = store, SettableClock()
        self.runtime = Runtime(store, [deploy("slow")], companions=[requests()], clock=self.clock)
        self.approvals: Approvals = approvals_of(self.runtime)
        self.outbox = Outbox(self.runtime)

    async def card(self, name: str) -> Card:
        """Return the posted card of a new run, which waits."""
        run = await self.runtime.start("deploy", {"subject": name}, thread_id=name)
        await self.runtime.advance(run.id)
        return await self._posted(name)

    async def _posted(self, name: str) -> Card:
        last = await self.runtime.last_run(name)
        assert last is not None
        (request,) = await self.approvals.find(run_id=last.id, status="open")
        while (entry := await self.outbox.claim()) is not None:
            new = entry.request_id == request.id and entry.kind == "card"
            place = Place("slack", "A1", "T1", f"C_{name}", entry.id) if new else None
            await self.outbox.landed(entry, place)
        view = await self.approvals.view(request.id)
        assert view is not None
        assert view.card is not None
        return Card(
            {
                "deployment": self.store.deployment,
                "request_id": request.id,
                "thread_id": request.thread_id,
                "run_id": request.run_id,
                "interrupt_id": request.interrupt_id,
                "app": view.card.app,
                "workspace": view.card.workspace,
                "channel": view.card.channel,
                "message": view.card.message,
                "user": "U_BOSS",
                "team": "T1",
            }
        )

    async def older(self, name: str) -> Card:
        """Return the card of a checkpoint that the thread has left: another question stands in its place."""
        card = await self.card(name)
        await self.runtime.edit(name, {"log": ["changed"]}, as_node="__start__")
        run = await self.runtime.last_run(name)
        assert run is not None
        await self.runtime.advance(run.id)
        await self._posted(name)
        return card

    async def resolved(self, name: str) -> Card:
        card = await self.card(name)
        ticket, actor, place = card.click({})
        await self.approvals.decide(ticket, actor, "approve", place=place)
        run = await self.runtime.last_run(name)
        assert run is not None
        await self.runtime.advance(run.id)
        return card

    async def expired(self, name: str) -> Card:
        card = await self.card(name)
        self.clock.pass_seconds(3_601)
        assert await self.approvals.expire_due()
        return card

    async def cancelled(self, name: str) -> Card:
        card = await self.card(name)
        await self.runtime.cancel(name, card.said["run_id"])
        return card


def dump(database: str) -> dict[str, list[str]]:
    """Return every row of every table except of the journal."""
    tables = (
        *("threads", "runs", "checkpoints", "channel_values", "writes", "interrupts", "requests"),
        *("decisions", "outbox", "receipts", "due", "turns", "frames", "effects", "deployment"),
    )
    with aside(database) as connection:
        return {
            name: sorted(repr(tuple(row)) for row in connection.execute(f"SELECT * FROM {name}").fetchall())  # noqa: S608 - our own names
            for name in tables
        }


def wrongs(card: Card, others: Mapping[str, Card]) -> list[tuple[str, dict[str, str]]]:
    """Return every field times everything that may be wrong with it, and all mixes of two fields."""
    found = []
    for name in FIELDS:
        wrong = {
            "absent": "",
            "malformed": "x'; DROP TABLE requests; --",
            "oversize": "i" * 3_000,
            **{f"of {what}": ELSEWHERE.get(name, other.said[name]) for what, other in others.items()},
        }
        found += [
            (f"{name} {what}", {name: value})
            for what, value in wrong.items()
            if (name, what) not in HARMLESS and value != card.said[name]
        ]
    live = others["another live card"]
    for one, other in itertools.combinations(FIELDS, 2):
        mixed = {name: ELSEWHERE.get(name, live.said[name]) for name in (one, other)}
        found.append((f"{one} and {other} of another", mixed))
    return found


@pytest.mark.parametrize("state", STATES)
async def test_every_forged_click_is_refused_with_a_code_and_changes_nothing(
    database: str, state: str
) -> None:
    async with open_store(database) as store:
        desk = Desk(store)
        # First what time passes over: the others are to be alive after it.
        target = None if state == "pending" else await getattr(desk, state)("target")
        others = {
            "another live card": await desk.card("live"),
            "a finished run": await desk.resolved("finished"),
            "an older checkpoint": await desk.older("older"),
        }
        target = target or await desk.card("target")
        forged = wrongs(target, others)
        before = dump(database)
        codes: set[str] = set()
        for number, (what, changed) in enumerate(forged, 1):
            ticket, actor, place = target.click(changed)
            with pytest.raises(Refused) as refused:
                await desk.approvals.decide(ticket, actor, "approve", place=place)
            codes.add(refused.value.code)
            lines = [e for e in await desk.runtime.events(limit=10_000) if e.kind == "decision.refused"]
            assert len(lines) == number, f"{what}: one line in the journal"
            assert lines[-1].data["code"] == refused.value.code
        assert dump(database) == before
        assert broken(database) == []
        ticket, actor, place = target.click({})
        if state == "pending":
            await desk.approvals.decide(ticket, actor, "approve", place=place)
        else:
            with pytest.raises(Refused) as over:
                await desk.approvals.decide(ticket, actor, "approve", place=place)
            assert over.value.code in {"ALREADY_DECIDED", "EXPIRED", "NOT_PENDING"}
        say(f"{state}: {len(forged)} forged clicks refused, under {len(codes)} codes")
    assert len(forged) >= 100
