"""What the tests of the scenarios share: an example behind the bot, or alone with a clock that they move."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bot_bench import ALICE, CHANNEL, GENERAL, OPERATOR, Bench, Everybody, bot_here, eventually, settings_for
from kit import MovedClock, SettableClock

from bot import cards, courier
from bot.config import Role, Settings
from bot.policies import load_policies
from bot.sandbox import Group, Message, User
from bot.showcases import SHOWCASES
from bot.wiring import open_runtime
from graph_runtime import SECOND, Actor, Alarms, Approvals, Clock, Place, Policy, Run, Runtime, worker
from graph_runtime.types import PersonId, Verdict

POLICIES = Path(__file__).parents[2] / "examples" / "policies"
ERIN = "U0ERIN"


def policies_of(name: str, **changed: Mapping[str, Any]) -> dict[str, Policy]:
    """Return the policies of a scenario, with terms of some changed, and one for plain questions."""
    found = load_policies(POLICIES / f"{name}.toml")
    for policy, terms in changed.items():
        found[policy.replace("_", "-")] = found[policy.replace("_", "-")].model_copy(update=terms)
    return {"default": Policy(groups=("S0SRE",)), **found}  # type: ignore[arg-type]  # ids are plain text


@asynccontextmanager
async def behind_the_bot(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    policies: Mapping[str, Policy],
    *,
    clock: Clock | None = None,
    role: Role = "all",
    **more: Any,
) -> AsyncIterator[Bench]:
    """Run the bot with an example, its people and its policies; by the machine's clock, or the test's."""
    settings = put_behind(bench, monkeypatch, name, policies, clock=clock, **more)
    async with bot_here(settings, role, clock=clock):
        yield bench


def put_behind(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    policies: Mapping[str, Policy],
    *,
    clock: Clock | None = None,
    **more: Any,
) -> Settings:
    """Return the settings of such a bot, whose people are in Slack; the bench looks with the same clock."""
    monkeypatch.setenv("SIGNOFF_OUTSIDE", str(bench.folder))
    # This Slack takes as many messages as come, and a scenario has many.
    monkeypatch.setattr(courier, "CHANNEL_PACE", 1)
    bench.slack.workspace.add_user(User(ERIN, "erin", "Erin Evans"), channels=[CHANNEL, GENERAL])
    shown = SHOWCASES[name]
    for group in shown.groups:
        bench.slack.workspace.add_group(group)
    said = {
        "graphs": {shown.graph: shown.target},
        "policies": policies,
        "tool_policies": dict(shown.tool_policies),
        "on_call": {"sre-primary": "S0ONCALL"},
        "operators": [OPERATOR, ALICE],
    }
    settings = settings_for(bench.slack, bench.folder, **{**said, **more})
    bench.runtime = open_runtime(settings, bench.store, clock=clock)
    if isinstance(clock, MovedClock):
        # The bot's worker looks each second, and when this clock is moved.
        monkeypatch.setattr(worker, "Bell", clock.bell)
    return settings


def put_group(bench: Bench, group: str, *people: str) -> None:
    """Let a group have these members, whether it is there or not."""
    if group in bench.slack.workspace.groups:
        bench.slack.workspace.set_group(group, list(people))
    else:
        bench.slack.workspace.add_group(Group(group, group.lower(), group, people))


async def confirm(bench: Bench, card: Message, user: str, typed: str) -> Any:
    """Click Approve, type what is asked for, and submit; return what came back."""
    assert (await bench.click(card, cards.CONFIRM, user=user)).outcome == "acked"
    dialog = bench.slack.modals(user)[-1]
    values = {cards.CONFIRM_BLOCK: {cards.CONFIRM_INPUT: typed}}
    return (await bench.slack.submit(user=user, view_id=dialog.id, values=values)).response


async def log_of(runtime: Runtime, run: Run) -> list[str]:
    """Return what the run has noted."""
    return list((await runtime.look(run.id)).state.values.get("log", []))


async def lasts(runtime: Runtime, run: Run, *words: str) -> list[str]:
    """Return what the run has noted once its last line has these words."""

    async def there() -> list[str] | None:
        lines = await log_of(runtime, run)
        return lines if lines and all(word in lines[-1] for word in words) else None

    return await eventually(there, what=f"{words} as the last line of {run.id}")


async def waits(bench: Bench, run: Run) -> Run:
    """Return the run once it rests and a time that it waits for is still to come; everything is told."""

    async def there() -> Run | None:
        now = await bench.runtime.get(run.id)
        if now.status != "interrupted":
            return None
        asked = [question.interrupt.value for question in await bench.runtime.questions(run.id)]
        until = [moment_of(value["until"]) for value in asked if "until" in value]
        return now if until and min(until) > bench.runtime.clock() else None

    found = await eventually(there, what=f"a time that {run.id} waits for")
    await bench.quiet()
    return found


def moment_of(text: str) -> int:
    """Return a moment that was written down as the clock tells it."""
    return round(datetime.fromisoformat(text).timestamp() * SECOND)


# -- without the bot


async def vote(
    runtime: Runtime, run: Run, *people: str, verdict: Verdict = "approve", confirm: str | None = None
) -> Run:
    """Let people decide the run's open request, and drive the run until it rests."""
    approvals = Approvals(runtime, Everybody())
    for person in people:
        (request,) = await approvals.find(run_id=run.id, status="open")
        view = await approvals.view(request.id)
        assert view is not None
        await approvals.decide(
            cards.ticket_of(view, runtime.store.deployment),
            Actor(PersonId(person)),
            verdict,
            place=Place("cli"),
            reason="so it is",
            confirm=confirm,
        )
    return await runtime.advance(run.id)


async def time_passes(runtime: Runtime, clock: SettableClock, seconds: float, run: Run) -> Run:
    """Move the clock on, do what is due by then, and drive the run until it rests."""
    clock.pass_seconds(seconds)
    await Approvals(runtime, Everybody()).expire_due()
    await Alarms(runtime).ring_due()
    await Alarms(runtime).ring_released()
    return await runtime.advance(run.id)


def at(clock: SettableClock) -> datetime:
    """Return the clock's moment."""
    return datetime.fromtimestamp(clock() / 1_000_000, UTC)
