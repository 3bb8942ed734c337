"""The main job, on real parts: a local Slack in the browser, the bot over Socket Mode, one deploy."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import tempfile
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from graph_runtime import Outbox, Run, Runtime, open_store

from . import cards
from .app import serve
from .config import Settings, SettingsAlone
from .launches import load_launches
from .sandbox import Message, Sandbox, SlashCommand
from .showcases import ALICE, BOB, CAROL, SHOWCASES, Showcase
from .wiring import open_runtime

CHANNEL = "C0DEPLOYS"
REQUESTER, REVIEWER, LATE = CAROL, ALICE, BOB


class DemoFailed(Exception):
    """A step of the scripted demo did not come out as it should."""


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo."""

    slack: Sandbox
    settings: Settings
    runtime: Runtime


def demo_settings(slack: Sandbox, folder: Path, shown: Showcase) -> Settings:
    """Return settings that point the bot at the sandbox and at a database in ``folder``."""
    return SettingsAlone(
        database=f"sqlite:///{folder / 'demo.db'}",
        graphs={shown.graph: shown.target},
        policies=shown.read_policies(),
        tool_policies=dict(shown.tool_policies),
        commands=shown.commands,
        # It takes two of them to end a freeze.
        operators=[REQUESTER, REVIEWER],
        slack={"channel": CHANNEL, "api_url": f"{slack.url}/api/"},
        http={"port": 0},
        # It goes with the database, so it is nobody's secret; elsewhere it comes from the environment.
        journal={"keys": {"demo": secrets.token_hex(32)}},
        SLACK_BOT_TOKEN=slack.bot_token,
        SLACK_APP_TOKEN=slack.app_token,
        SLACK_SIGNING_SECRET=slack.signing_secret,
    )


@asynccontextmanager
async def open_demo(port: int, shown: Showcase) -> AsyncIterator[Demo]:
    """Start the sandbox and the bot, with a database of their own that goes with them."""
    with tempfile.TemporaryDirectory(prefix="signoff-demo-") as folder:
        os.environ["SIGNOFF_OUTSIDE"] = folder
        async with Sandbox(port=port, rate_limits=True) as slack:
            for team in shown.groups:
                slack.workspace.add_group(team)
            settings = demo_settings(slack, Path(folder), shown)
            for launch in load_launches(settings, {g.name: g.plan for g in settings.load_graphs()}):
                hint = launch.usage.removeprefix(launch.command).strip()
                slack.workspace.add_command(
                    SlashCommand(launch.command, launch.about, hint, should_escape=True)
                )
            async with open_store(settings.database) as store, asyncio.TaskGroup() as group:
                runtime = open_runtime(settings, store)
                stop, started = asyncio.Event(), asyncio.Event()
                group.create_task(serve(settings, stop, started=started), name="bot")
                await started.wait()
                try:
                    yield Demo(slack, settings, runtime)
                finally:
                    stop.set()


async def play(port: int, console: Console, stop: asyncio.Event, example: str = "deploy") -> None:
    """Run the demo until ``stop``: the page is there, and the example's question waits for approval."""
    shown = SHOWCASES[example]
    async with open_demo(port, shown) as demo:
        run = await demo.runtime.start(shown.graph, dict(shown.given), requester=REQUESTER)
        await demo.slack.wait_for(lambda: demo.slack.messages(CHANNEL))
        page = f"{demo.slack.url}/?as={shown.reviewer}&channel={CHANNEL}"
        console.print()
        console.print("  [bold]signoff[/] runs against a local Slack: nothing leaves this machine.")
        console.print()
        console.print(f"  Open  [bold cyan]{page}[/]", soft_wrap=True)
        console.print()
        console.print(f"  {shown.waits}")
        console.print("  Then click as somebody else (top bar, “Acting as”), or type /signoff help,")
        if shown.typed:
            console.print(f"  or ask for one more yourself: [bold]{shown.typed}[/]")
        console.print(f"  The run is {run.id}. Stop with Ctrl-C.")
        console.print()
        await asyncio.to_thread(_open_browser, page)
        await stop.wait()


def _open_browser(page: str) -> None:
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return
    # A browser that would take over the terminal is worse than none.
    if not isinstance(found, webbrowser.GenericBrowser) or isinstance(found, webbrowser.BackgroundBrowser):
        found.open(page)


async def play_once(port: int, console: Console) -> None:
    """Play the demo with a scripted reviewer, printing each step. Raises :class:`DemoFailed`."""
    shown = SHOWCASES["deploy"]
    async with open_demo(port, shown) as demo:
        slack = demo.slack
        say = _Steps(console)
        say(f"sandbox and bot are up, connected over Socket Mode: {slack.url}")
        run = await demo.runtime.start(shown.graph, dict(shown.given), requester=REQUESTER)
        say(f"Carol asked for a deploy: {run.id}")
        await slack.wait_for(lambda: slack.messages(CHANNEL))
        card = slack.messages(CHANNEL)[-1]
        await _wait_until_told(demo)
        paused = await _wait_for_status(demo, run, "interrupted")
        say(f"the run is {paused.status}, and its card is in #deploys: “{_headline(card)}”")

        refused = await slack.click(user=REQUESTER, channel=CHANNEL, ts=card.ts, action_id=cards.APPROVE)
        sentence = await _private_sentence(slack, REQUESTER)
        _expect(refused.outcome == "acked" and "somebody else" in sentence, f"Carol was told: {sentence!r}")
        say(f"Carol tried to approve her own deploy, and was told privately: “{sentence}”")

        # Bob's page still shows the buttons when he clicks, a moment too late.
        stale = slack.payload_of_click(user=LATE, channel=CHANNEL, ts=card.ts, action_id=cards.APPROVE)
        click = await slack.click(user=REVIEWER, channel=CHANNEL, ts=card.ts, action_id=cards.APPROVE)
        _expect(click.outcome == "acked", f"Alice's click was {click.outcome}")
        took = f"{click.elapsed_ms:.0f} ms"
        say(f"Alice clicked Approve; acknowledged after {took}, when the decision was on disk")
        done = await _wait_for_status(demo, run, "completed")
        say(f"the run went on and is {done.status}")
        await slack.wait_for(lambda: "the run completed" in _words(slack.messages(CHANNEL)[-1]))
        drawn = slack.messages(CHANNEL)[-1]
        _expect(cards.APPROVE not in str(drawn.blocks), "the card still has buttons")
        say("the card says who approved, has no buttons, and shows that the run completed")

        second = await slack.deliver("interactive", stale)
        sentence = await _private_sentence(slack, LATE)
        _expect(second.outcome == "acked" and "already decided" in sentence, f"Bob was told: {sentence!r}")
        say(f"Bob's later click was refused: “{sentence}”")
        votes = await demo.runtime.events(run_id=run.id)
        approvals = [event for event in votes if event.kind == "request.approved"]
        _expect(len(approvals) == 1, f"{len(approvals)} approvals stand in the journal")
        refusals = [event for event in votes if event.kind == "decision.refused"]
        _expect(len(refusals) == 2, f"{len(refusals)} refusals stand in the journal")
        say("the journal holds one approval and two refusals. That is the whole idea.")


class _Steps:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0

    def __call__(self, text: str) -> None:
        self._number += 1
        self._console.print(f"{self._number:>2}. {text}", highlight=False, markup=False, soft_wrap=True)


async def _wait_for_status(demo: Demo, run: Run, status: str) -> Run:
    async with asyncio.timeout(30):
        while (now := await demo.runtime.get(run.id)).status != status:
            if not now.live:
                raise DemoFailed(f"the run is {now.status}, expected {status}: {now.error}")
            await asyncio.sleep(0.02)
    return now


async def _wait_until_told(demo: Demo) -> None:
    """Return when the receipt of the card is on disk: a click before that is told to come again."""
    async with asyncio.timeout(30):
        while (await Outbox(demo.runtime).count()).get("pending"):  # noqa: ASYNC110 - another process's row
            await asyncio.sleep(0.02)


async def _private_sentence(slack: Sandbox, user: str) -> str:
    await slack.wait_for(lambda: slack.ephemerals(user))
    text = slack.ephemerals(user)[-1].text
    named = re.sub(r"<@(\w+)>", lambda found: "@" + slack.workspace.user(found[1]).first_name, text)
    return re.sub(r"<!date\^[^|]*\|([^>]*)>", r"(\1)", named)


def _headline(message: Message) -> str:
    return str(message.blocks[0]["text"]["text"])


def _words(message: Message) -> Any:
    return str(message.blocks)


def _expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - a condition is what it is for
    if not holds:
        raise DemoFailed(otherwise)
