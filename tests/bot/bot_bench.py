"""The bot on real parts: a local Slack, the bot in this process or in one of its own, one SQLite file.

Runs are started through ``/signoff start``, as operators do, so that the bot's own bell rings.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import pwd
import re
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import pytest
from forked import Forked

from bot import cards
from bot.app import serve
from bot.cli import main
from bot.config import Role, Settings, load_settings
from bot.sandbox import Delivery, Message, Sandbox
from graph_runtime import (
    SECOND,
    Actor,
    Approvals,
    Clock,
    Event,
    Outbox,
    RequestView,
    Reviewer,
    Run,
    Runtime,
    Store,
)

in_both_modes = pytest.mark.parametrize("bot", ["socket", "http"], indirect=True)
T = TypeVar("T")
Mode = Literal["socket", "http"]
USER = pwd.getpwuid(os.getuid()).pw_name
HERE = Path(__file__).parent
CHANNEL, GENERAL = "C0DEPLOYS", "C0GENERAL"
ALICE, BOB, CAROL, DAVE = "U0ALICE", "U0BOB", "U0CAROL", "U0DAVE"
GUEST, EXTERNAL, GONE = "U0GUEST", "U0EXTERN", "U0ZOE"
#: Starts and cancels runs and decides nothing; Carol is the requester unless the input says otherwise.
OPERATOR = "U0OLGA"
GRAPHS = {
    "deploy": "approval_graphs:deploy",
    "plain": "approval_graphs:plain",
    "failing": "approval_graphs:failing",
    "twice": "approval_graphs:twice",
    "agent": "approval_graphs:agent",
    "maze": "approval_graphs:maze",
    "paying": "approval_graphs:paying",
    "refund": "approval_graphs:refund",
}
POLICIES: dict[str, dict[str, Any]] = {
    "default": {"groups": ["S0SRE"]},
    "prod-deploy": {
        "groups": ["S0SRE"],
        "deadline": "4h",
        "freeze_bypass": {"group": "S0OWN", "count": 2},
    },
    "short": {"groups": ["S0SRE"], "deadline": "1s"},
    "general": {"groups": ["S0SRE"], "channel": GENERAL},
    "lenient": {"people": [ALICE], "reject_reason": "optional", "self_approval": "allow"},
    "secret": {"groups": ["S0SRE"], "channel": "C0PRIVATE"},
    # Three people: nobody stands for two of them.
    "several": {
        "require": [{"name": "sre", "group": "S0SRE", "count": 2}, {"name": "owners", "group": "S0OWN"}],
        "deadline": "4h",
    },
    "reminded": {"groups": ["S0SRE"], "deadline": "1h", "remind": ["50%"]},
    "pair": {"require": [{"name": "sre", "group": "S0SRE", "count": 2}], "deadline": "4h"},
    "channel": {"require": [{"channel": GENERAL}]},
    "on-call": {"require": [{"on_call": "primary"}]},
    "typed": {"groups": ["S0SRE"], "step_up": {"type_to_confirm": "{service}"}},
    "refund": {
        "tiers": {
            "never": {"when": "amount > charge", "block": True},
            "one": {"when": "amount <= 500", "groups": ["S0SRE"]},
            "two": {
                "stages": [
                    [{"name": "finance", "group": "S0SRE"}],
                    [{"name": "leads", "group": "S0OWN"}],
                ]
            },
        },
        "decisions": ["approve", "edit", "reject", "respond"],
        "edit": {"fields": ["amount", "parts", "express", "note", "missing", "lines"]},
        "reject_reason": {"min": 10},
        "deadline": "1d",
    },
    "refund-typed": {
        "groups": ["S0SRE"],
        "decisions": ["approve", "edit"],
        "edit": {"fields": ["amount"]},
        "step_up": {"type_to_confirm": "{customer}"},
    },
    "small": {"tiers": {"small": {"when": "amount <= 50", "auto": True}, "other": {"groups": ["S0SRE"]}}},
}


async def eventually(
    look: Callable[[], Awaitable[T | None]], *, seconds: float = 15, what: str = "what was waited for"
) -> T:
    """Return what ``look`` gives as soon as it gives something true; fail after ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            while not (found := await look()):
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} did not come within {seconds} s") from None
    return found


class NoDirectory:
    """For looking only: tests of who may decide go through Slack."""

    async def reviewer(self, actor: Any, groups: Any) -> NoReturn:
        raise AssertionError("a test decides through the bot")


@dataclass
class Bench:
    """A local Slack and a database; the bot comes and goes. What tests do and look at."""

    slack: Sandbox
    folder: Path
    store: Store
    runtime: Runtime
    mode: Mode = "socket"

    def __post_init__(self) -> None:
        self.approvals = Approvals(self.runtime, NoDirectory())
        self.outbox = Outbox(self.runtime)
        self.effects = self.folder / "effects"

    # -- what people do

    async def start(self, graph: str = "deploy", **given: Any) -> Run:
        """Start a run through Slack and return it."""
        given = {"service": "payments", "effects": str(self.effects), **given}
        answer = await self.slash(f"start {graph} {json.dumps(given)}", user=OPERATOR)
        named = re.search(r"run-\w+", answer)
        assert named, answer
        return await self.runtime.get(named[0])

    async def queue(self, graph: str = "deploy", **given: Any) -> Run:
        """Put a run in the queue without the bot's help, for a bot that is to die on it."""
        given = {"service": "payments", "effects": str(self.effects), **given}
        return await self.runtime.start(graph, given, requester=OPERATOR)

    async def slash(self, text: str, *, user: str = OPERATOR, channel: str = CHANNEL) -> str:
        """Type ``/signoff TEXT`` and return everything that the private answer says."""
        before = len(self.slack.ephemerals(user))
        typed = await self.slack.slash(user=user, channel=channel, command="/signoff", text=text)
        assert typed.outcome == "acked", typed
        shown = self.slack.ephemerals(user)[before:]
        assert len(shown) == 1, shown
        return words_of(shown[0])

    async def click(self, card: Message, action: str = cards.APPROVE, *, user: str = ALICE) -> Delivery:
        """Click a button of the card as it is now."""
        return await self.slack.click(user=user, channel=card.channel, ts=card.ts, action_id=action)

    def payload(self, card: Message, action: str = cards.APPROVE, *, user: str = ALICE) -> dict[str, Any]:
        """Return what such a click would send, to be changed or sent later."""
        return self.slack.payload_of_click(user=user, channel=card.channel, ts=card.ts, action_id=action)

    async def deliver(self, payload: dict[str, Any], kind: str = "interactive") -> Delivery:
        return await self.slack.deliver(kind, payload)

    async def reject(self, card: Message, reason: str, *, user: str = ALICE) -> Delivery:
        """Click Reject and submit the dialog."""
        opened = await self.click(card, cards.REJECT, user=user)
        assert opened.outcome == "acked", opened
        dialog = self.slack.modals(user)[-1]
        return await self.slack.submit(
            user=user, view_id=dialog.id, values={cards.REASON_BLOCK: {cards.REASON_INPUT: reason}}
        )

    # -- what can be seen

    async def request(self, run: Run, number: int = 0) -> RequestView:
        """Return the run's request as it is now."""
        found = await self.approvals.find(run_id=run.id)
        view = await self.approvals.view(found[number].id)
        assert view is not None
        return view

    async def card(self, run: Run, number: int = 0) -> Message:
        """Return the card of the run's request, once it is posted and its receipt is on disk."""

        async def landed() -> RequestView | None:
            found = await self.approvals.find(run_id=run.id)
            view = await self.approvals.view(found[number].id) if len(found) > number else None
            return view if view is not None and view.card is not None else None

        view = await eventually(landed, seconds=25, what=f"the card of {run.id}")
        assert view.card is not None
        message = self.slack.workspace.message(view.card.channel, view.card.message)
        assert message is not None
        return message

    async def drawn(self, card: Message, words: str) -> Message:
        """Return the card once it says ``words``."""

        def now() -> Message:
            message = self.slack.workspace.message(card.channel, card.ts)
            if message is None or words not in words_of(message):
                raise LookupError("not yet")
            return message

        return await self.slack.wait_for(now)

    async def thread(self, card: Message, lines: int) -> list[str]:
        """Return the lines below the card, once there are so many."""
        await self.slack.wait_for(lambda: len(self.slack.messages(card.channel, card.ts)) >= lines)
        found = self.slack.messages(card.channel, card.ts)
        return [words_of(line) for line in found]

    async def private(self, user: str, number: int = 1) -> str:
        """Return the newest private sentence to this user, once there are ``number`` of them."""
        await self.slack.wait_for(lambda: len(self.slack.ephemerals(user)) >= number)
        return words_of(self.slack.ephemerals(user)[-1])

    async def rests(self, run: Run, *status: str) -> Run:
        """Return the run once it has this status."""

        async def there() -> Run | None:
            now = await self.runtime.get(run.id)
            return now if now.status in status else None

        return await eventually(there, what=f"{run.id} as {status}")

    async def quiet(self) -> None:
        """Return when nothing is left to be told soon and no run is under way.

        A card that another courier may still be drawing is drawn once more much later; that is not waited for.
        """

        async def nothing() -> bool:
            runs = await self.runtime.count()
            with contextlib.closing(sqlite3.connect(self.database)) as db:
                soon = self.runtime.clock() + 5 * SECOND
                due = "SELECT count(*) FROM outbox WHERE status = 'pending' AND available_at < ?"
                ((left,),) = db.execute(due, (soon,))
            return not left and not runs.get("queued") and not runs.get("running")

        await eventually(nothing, what="an empty outbox")

    async def events(self, *kinds: str) -> list[Event]:
        """Return the journal's lines, of these kinds when named."""
        found = await self.runtime.events(limit=5_000)
        return [event for event in found if not kinds or event.kind in kinds]

    async def refusals(self) -> list[str]:
        """Return the codes of all refusals in the journal."""
        return [event.data["code"] for event in await self.events("decision.refused")]

    def dump(self, without: Collection[str] = ("events",)) -> dict[str, list[tuple[Any, ...]]]:
        """Return every row of every table, except of the journal."""
        with contextlib.closing(sqlite3.connect(self.database)) as db:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {
                name: sorted(db.execute(f"SELECT * FROM {name}"), key=repr)  # noqa: S608 - names of our tables
                for name in tables
                if name not in without
            }

    def published(self) -> list[str]:
        """Return one line for each time that something was published."""
        return self.effects.read_text(encoding="utf-8").splitlines() if self.effects.exists() else []

    @property
    def database(self) -> Path:
        return self.folder / "signoff.db"


def words_of(message: Any) -> str:
    """Return the fallback text of a message and all texts of its blocks."""
    return "\n".join([message.text, *texts(message.blocks)])


def texts(tree: Any) -> list[str]:
    """Return every text in a tree of blocks, in order; a mention in rich text as ``@U1``."""
    if isinstance(tree, list):
        return [text for item in tree for text in texts(item)]
    if not isinstance(tree, dict):
        return []
    if tree.get("type") == "user":
        return ["@" + tree["user_id"]]
    own = [tree["text"]] if isinstance(tree.get("text"), str) else []
    return own + [text for key, item in tree.items() if key != "value" for text in texts(item)]


def buttons(message: Message) -> list[str]:
    """Return the words on the card's buttons."""
    return [
        element["text"]["text"]
        for block in message.blocks
        if block["type"] == "actions"
        for element in block["elements"]
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings_for(slack: Sandbox, folder: Path, mode: Mode = "socket", **more: Any) -> Settings:
    """Return settings that point the bot at the sandbox."""
    said: dict[str, Any] = {
        "database": f"sqlite:///{folder / 'signoff.db'}",
        "graphs": GRAPHS,
        "policies": POLICIES,
        "operators": [OPERATOR],
        "on_call": {"primary": "S0ONCALL"},
        "slack": {"mode": mode, "channel": CHANNEL, "api_url": f"{slack.url}/api/"},
        "http": {"port": free_port() if mode == "http" else 0},
        "SLACK_BOT_TOKEN": slack.bot_token,
        "SLACK_APP_TOKEN": slack.app_token,
        "SLACK_SIGNING_SECRET": slack.signing_secret,
    }
    return load_settings(**(said | more))


@asynccontextmanager
async def bot_here(
    settings: Settings, role: Role = "all", *, clock: Clock | None = None
) -> AsyncIterator[None]:
    """Run the real bot in this process until the block ends, and end it as a second Ctrl-C does.

    An ordered stop takes up to a second; the tests of processes stop theirs so.
    """
    started = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        work = serve(settings, asyncio.Event(), role=role, started=started, clock=clock)
        task = group.create_task(work, name=role)
        waiting = group.create_task(started.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            yield
        finally:
            task.cancel()


# -- the bot as a process of its own


def settings_file(slack: Sandbox, folder: Path, mode: Mode = "socket", *, name: str = "signoff.toml") -> Path:
    """Write a settings file with a short lease, so that what a dead process held is free soon."""
    port = free_port()
    policies = "".join(
        f'[policies."{policy}"]\n' + "".join(f"{key} = {toml(value)}\n" for key, value in terms.items())
        for policy, terms in POLICIES.items()
    )
    graphs = "".join(f"{graph} = {json.dumps(place)}\n" for graph, place in GRAPHS.items())
    path = folder / name
    path.write_text(
        f"""
database = "sqlite:///{folder / "signoff.db"}"
operators = ["{OPERATOR}"]
on_call = {{ primary = "S0ONCALL" }}
lease = "2s"
log = "json"
[graphs]
{graphs}
[slack]
mode = "{mode}"
channel = "{CHANNEL}"
api_url = "{slack.url}/api/"
connections = 1
[http]
port = {port}
{policies}
""",
        encoding="utf-8",
    )
    return path


def toml(value: Any) -> str:
    """Return a value as TOML has it in one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def environment(slack: Sandbox, **more: str) -> dict[str, str]:
    """Return the environment of a process of the bot: tokens, and where its graphs are."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("SIGNOFF_", "SLACK_"))
    }
    return {
        **inherited,
        "PYTHONPATH": str(HERE),
        "SLACK_BOT_TOKEN": slack.bot_token,
        "SLACK_APP_TOKEN": slack.app_token,
        "SLACK_SIGNING_SECRET": slack.signing_secret,
        **more,
    }


@dataclass
class Process:
    """A bot in a process of its own, with what it logged."""

    process: Forked | asyncio.subprocess.Process
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """Return its log lines so far; a line that is no JSON as ``{"event": line}``."""
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"event": line})
        return found

    async def says(self, event: str) -> dict[str, Any]:
        """Return the first log line of this event, once it is there."""

        async def there() -> dict[str, Any] | None:
            found = next((line for line in self.lines() if line["event"] == event), None)
            assert found or self.process.returncode is None, self.log.read_text(encoding="utf-8")
            return found

        return await eventually(there, what=f"the log line {event!r}")

    async def died(self) -> int:
        """Return how it ended, once it has."""
        async with asyncio.timeout(20):
            return await self.process.wait()

    async def kill(self) -> None:
        """Kill it as a power cut would."""
        self.process.kill()
        await self.died()

    async def stop(self) -> int:
        """Ask for an ordered stop, and return the exit code."""
        self.process.terminate()
        return await self.died()


class Everybody:
    """A directory in which everybody is in every group; who they all are it cannot say."""

    async def members(self, group: Any) -> None:
        return None

    async def reviewer(self, actor: Actor, groups: Any) -> Reviewer:
        return Reviewer(actor.id, frozenset(groups))


@dataclass
class Said:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Awaitable[Said]]


class Spawn:
    """Starts bots as processes; every one that still runs is killed at the end of the test."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._all: list[Process] = []

    async def __call__(
        self, config: Path, *, fault: str = "", wait: bool = True, fresh: bool = False, **more: str
    ) -> Process:
        """Start ``signoff serve`` and return when it is ready, or at once without ``wait``.

        With ``fresh``, as an operator does: by an interpreter that has loaded nothing.
        """
        log = self._bench.folder / f"log-{len(self._all)}"
        words = ("serve", "--config", str(config))
        env = environment(self._bench.slack, **more, **({"SIGNOFF_FAULT": fault} if fault else {}))
        process: Forked | asyncio.subprocess.Process
        if fresh:
            with log.open("wb") as file:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "bot.cli", *words), env=env, stdout=file, stderr=file
                )
        else:
            process = Forked(main, *words, env=env, out=log)
        started = Process(process, log)
        self._all.append(started)
        if not wait:
            return started
        await started.says("ready")
        await self._bench.slack.wait_for(lambda: self._bench.slack.connected)
        return started

    async def end(self) -> None:
        for one in self._all:
            if one.process.returncode is None:
                await one.kill()


# -- the signature that Slack would make


def signed(secret: str, body: bytes, *, at: float | None = None, **headers: str) -> dict[str, str]:
    """Return the headers of a request that Slack signed."""
    stamp = str(int(time.time() if at is None else at))
    mark = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={mark}", **headers}


def map_people(bench: Bench, **people: str) -> None:
    config = bench.folder / "signoff.toml"
    lines = "".join(f'{user} = "{person}"\n' for user, person in people.items())
    config.write_text(config.read_text() + f"[people]\n{lines}")


async def paused(bench: Bench, graph: str = "deploy", **given: Any) -> Run:
    """Return a run that waits for its question, which nobody has drawn yet."""
    return await bench.runtime.advance((await bench.queue(graph, **given)).id)
