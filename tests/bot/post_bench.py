"""A post office without a house around it, for tests of what the courier does and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession
from bot_bench import ALICE, CAROL, CHANNEL, Bench

from bot import cards
from bot.courier import Courier
from bot.directory import SlackDirectory
from bot.fallback import Fallback
from bot.wiring import learn_identity, slack_client
from graph_runtime import (
    SECOND,
    Actor,
    Approvals,
    Outbox,
    Place,
    Requests,
    RequestView,
    Run,
    Runtime,
    TimeOrderedIds,
)


@dataclass
class Post:
    """A post office without a house around it: the test is the clock and says when a courier goes."""

    bench: Bench
    clock: Any
    session: ClientSession
    settings: Any

    async def open(self) -> None:
        client = slack_client(self.settings, self.session)
        self.identity = await learn_identity(client)
        self.client = client
        self.runtime = self._runtime("one")
        self.directory = SlackDirectory(client, workspace=self.identity.workspace, clock=self.clock)
        self.approvals = Approvals(self.runtime, self.directory)
        self.courier = self.new_courier(self.runtime)

    def _runtime(self, owner: str) -> Runtime:
        return Runtime(
            self.bench.store,
            self.settings.load_graphs(),
            companions=[Requests(self.settings.policies)],
            clock=self.clock,
            new_id=TimeOrderedIds(self.clock),
            owner=owner,
        )

    def new_courier(self, runtime: Runtime | None = None, *, lease: int = 30 * SECOND) -> Courier:
        runtime = runtime or self._runtime("another")
        return Courier(
            Outbox(runtime, lease=lease),
            Approvals(runtime, self.directory),
            self.client,
            self.identity,
            self.fallback_of(runtime),
            deployment=self.bench.store.deployment,
        )

    def fallback_of(self, runtime: Runtime) -> Fallback:
        return Fallback(
            Outbox(runtime),
            self.directory,
            channel=CHANNEL,
            fallback=self.settings.slack.fallback_channel,
            operators=self.settings.operators,
        )

    def private(self, user: str = CAROL) -> list[Any]:
        """Return what the bot told somebody in their direct message."""
        return self.bench.slack.messages(f"D{user[1:]}")

    async def ask(self, **given: Any) -> Run:
        """Start a run and take it to its question."""
        given = {"service": "payments", "effects": str(self.bench.effects), **given}
        run = await self.runtime.start("deploy", given)
        return await self.runtime.advance(run.id)

    async def view(self, run: Run) -> RequestView:
        (request,) = await self.approvals.find(run_id=run.id)
        view = await self.approvals.view(request.id)
        assert view is not None
        return view

    async def decide(self, run: Run, *, place: Place | None = None) -> None:
        view = await self.view(run)
        ticket = cards.ticket_of(view, self.bench.store.deployment)
        at = place or view.card or Place("cli")
        await self.approvals.decide(ticket, Actor(ALICE), "approve", place=at)

    async def deliver(self) -> int:
        """Let the courier go until there is nothing for now; return how often it went."""
        times = 0
        while await self.courier.deliver_one():
            times += 1
        return times

    def cards(self, channel: str = CHANNEL) -> list[Any]:
        return self.bench.slack.messages(channel)

    def calls(self, method: str) -> int:
        return sum(1 for line in self.bench.slack.log if line.kind == method)

    def place(self, channel: str, message: str) -> Place:
        """Return a place in this workspace."""
        return Place("slack", self.identity.app, self.identity.workspace, channel, message)

    async def look_again(self, channel: str = CHANNEL) -> None:
        """Do what Slack's event about a channel does."""
        await Outbox(self.runtime).look_again("slack", self.identity.workspace, channel)
