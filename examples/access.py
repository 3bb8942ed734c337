"""Access to a resource for a while: given when its owners agree, and taken back by itself, whatever fails.

START -> check -> review -> (approved: give -> keep -> take_back -> verify_revoked | else: refuse) -> END.
When it cannot be taken back, the run goes on trying each minute beside an alarm that somebody must answer.

More time is another request: its own approval, its own grant, its own end. Who is in a hurry ends it with
``python -m examples.access revoke RUN``. What a cancelled run leaves open is closed by
``python -m examples.access sweep``, each minute from cron.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import structlog
from pydantic import AfterValidator, BaseModel, Field

from graph_runtime import (
    END,
    START,
    Action,
    Command,
    Decision,
    NotDone,
    NotPaused,
    Run,
    Runtime,
    StateGraph,
    approve,
    execute_once,
    get_runtime,
    open_store,
    read_duration,
    step,
    wait_until,
)

from .outside import Book, outside

_log = structlog.get_logger("signoff.access")
#: By whose policy each resource is given: its owners'.
OWNERS = {"prod-db": "prod-db-access", "vault": "vault-access"}
TICKET = re.compile(r"[A-Z]{2,10}-\d{1,7}")
LONGEST = timedelta(hours=8)
#: How often it is tried to take an access back before somebody is called, and how long after each try.
TRIES, PAUSE = 3, timedelta(minutes=1)
#: An access that is open so long after its end is closed by the sweep, whatever its run says.
OVERDUE = timedelta(minutes=15)


def _length(text: str) -> str:
    """Return the duration as it was written. Raises ValueError for one that is not given."""
    if not 0 < read_duration(text) <= LONGEST.total_seconds():
        raise ValueError(f"at most {LONGEST.total_seconds() / 3600:g} hours are given, and more than none")
    return text


class Arguments(BaseModel):
    """Ask for access to a resource for a while."""

    resource: str = Field(description="what to, such as prod-db", pattern=r"^[a-z][a-z0-9-]{0,39}$")
    level: Literal["read", "write"] = Field(description="what you may do there")
    duration: Annotated[str, AfterValidator(_length)] = Field(
        description="for how long, such as 30m or 4h; 8h at most"
    )
    reason: str = Field(description="the ticket, such as INC-123", pattern=f"^{TICKET.pattern}$")
    extends: str = Field(
        default="", description="the run whose access this one prolongs", pattern=r"^(run-[A-Za-z0-9]+)?$"
    )


class Access(TypedDict, total=False):
    """What a request for access knows; the first six keys are its input."""

    resource: str
    level: str
    duration: str
    reason: str
    requester: str
    #: The run whose access this one prolongs, if any.
    extends: str
    wrong: str
    open_until: str
    decision: Decision
    key: str
    until: str
    log: Annotated[list[str], operator.add]


class Doors(Book):
    """Stands in for what gives access: what was opened and closed, by key, and until when it was meant."""

    def __init__(self, file: Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(file)
        self.now = clock

    def open(self, key: str, length: timedelta, **of: str) -> str:
        """Open, once for each key, and return until when, in UTC; after an open one that it prolongs."""
        found = self.find(key)
        if found is not None:
            return str(found["until"])
        begins = max([self.now(), *(read_time(one["until"]) for one in self.of_run(of["extends"]))])
        until = (begins + length).isoformat(timespec="seconds")
        self.add(what="opened", key=key, until=until, **of)
        return until

    def close(self, key: str) -> None:
        """Close; nothing happens to what is closed already."""
        if self.is_open(key):
            self.add(what="closed", key=key, at=self.now().isoformat(timespec="seconds"))

    def find(self, key: str) -> dict[str, Any] | None:
        """Return what was opened with this key, or None when there is nothing."""
        return next((one for one in self.lines("opened") if one["key"] == key), None)

    def is_open(self, key: str) -> bool:
        """Say whether what was opened with this key is open."""
        return any(one["key"] == key for one in self.opened())

    def opened(self) -> list[dict[str, Any]]:
        """Return all that is open."""
        closed = {one["key"] for one in self.lines("closed")}
        return [one for one in self.lines("opened") if one["key"] not in closed]

    def of_run(self, run_id: str) -> list[dict[str, Any]]:
        """Return what that run has opened and is open."""
        return [one for one in self.opened() if one["run"] == run_id]


def doors() -> Doors:
    """Return what gives access."""
    return Doors(outside("doors.jsonl"))


def read_time(text: str) -> datetime:
    """Return a moment that was written down, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def access_of(state: Access) -> Action:
    """Return exactly what is given."""
    to = {"resource": state["resource"], "level": state["level"]}
    return Action("give access", {**to, "for": state["duration"], "to": state["requester"]})


async def check(state: Access) -> Command[Literal["review", "refuse"]]:
    """Refuse what nobody needs to be asked about, and look whether there is something to prolong."""
    wrong, prolonged = _wrong(state), doors().of_run(state.get("extends", ""))
    same = {name: str(state.get(name)) for name in ("resource", "level", "requester")}
    if not wrong and any(one[name] != said for one in prolonged for name, said in same.items()):
        wrong = f"{state['extends']} is another access"
    if wrong:
        return Command(goto="refuse", update={"wrong": wrong})
    # One that is over by now is not prolonged: this is a new request.
    return Command(goto="review", update={"open_until": prolonged[0]["until"] if prolonged else ""})


def _wrong(state: Access) -> str | None:
    if state["resource"] not in OWNERS:
        return f"nobody owns {state['resource']}; there are {', '.join(OWNERS)}"
    if not TICKET.fullmatch(state["reason"]):
        return "the reason must be a ticket like INC-123"
    try:
        _length(state["duration"])
    except ValueError as error:
        return str(error)
    return None


async def review(state: Access) -> Command[Literal["give", "refuse"]]:
    """Ask the owners of the resource."""
    more = state["open_until"]
    decision = approve(
        f"{state['duration']} {'more ' if more else ''}of {state['level']} access to {state['resource']}",
        action=access_of(state),
        facts={"reason": state["reason"], **({"open until": read_time(more)} if more else {})},
        policy=OWNERS[state["resource"]],
        requester=state["requester"],
    )
    return Command(goto="give" if decision.approved else "refuse", update={"decision": decision})


async def give(state: Access) -> Access:
    """Give the access, once; the other side says until when, in UTC: no clock of ours has a say."""
    there, ran = doors(), get_runtime().execution_info
    assert ran is not None
    whose = {"run": ran.run_id, "thread": ran.thread_id, "requester": state["requester"]}
    of = {"resource": state["resource"], "level": state["level"], "extends": state.get("extends", "")}
    length = timedelta(seconds=read_duration(state["duration"]))

    async def open_it(key: str) -> dict[str, str]:
        return {"key": key, "until": there.open(key, length, **whose, **of)}

    async def look(key: str) -> dict[str, str]:
        found = there.find(key)
        if found is None:
            raise NotDone("nothing was opened with that key")
        return {"key": key, "until": found["until"]}

    given: dict[str, str] = await execute_once(
        state["decision"].grant, open_it, action=access_of(state), reconcile=look
    )
    return {"key": given["key"], "until": given["until"], "log": [f"given until {given['until']}"]}


async def keep(state: Access) -> Access:
    """Wait: a row in the database, which a new start and a clock that is set do no harm.

    The card says until when, to each reader in their own zone.
    """
    wait_until(read_time(state["until"]))
    return {}


async def take_back(state: Access) -> Command[Literal["verify_revoked", "keep_trying", "alarm"]]:
    """Take the access back; when that fails again and again, call somebody and go on trying."""
    if await _closed(state["key"], TRIES):
        return Command(goto="verify_revoked")
    _log.error("access.still_open", resource=state["resource"], requester=state["requester"])
    said = f"alarm: still open after {TRIES} tries"
    return Command(goto=["keep_trying", "alarm"], update={"log": [said]})


async def keep_trying(state: Access) -> Access:
    """Go on until it is closed, each minute: the run does not end before."""
    await _closed(state["key"], None)
    return {}


async def alarm(state: Access) -> Access:
    """Ask somebody to look after it by hand. Whatever they answer, it is tried on meanwhile."""
    what = {"resource": state["resource"], "level": state["level"], "of": state["requester"]}
    answered = approve(
        f"Still open: {state['level']} access to {state['resource']}",
        action=Action("take access back by hand", {**what, "ended": read_time(state["until"])}),
        policy="access-alarm",
        requester=state["requester"],
    )
    return {"log": [f"alarm: {answered.outcome} by {', '.join(answered.by)}"]}


async def _closed(key: str, tries: int | None) -> bool:
    """Try to close until it is seen to be closed, so often at most; say whether it is."""
    there = doors()

    async def once() -> dict[str, Any]:
        return {"open": not _shut(there, key), "at": there.now().isoformat()}

    for number in itertools.count(1):
        tried = await step("close", once, key=f"close {number}")
        if not tried["open"]:
            return True
        if number == tries:
            break
        wait_until(read_time(tried["at"]) + PAUSE, key=f"after try {number}")
    return False


def _shut(there: Doors, key: str) -> bool:
    """Close what is open under that key; say whether it is seen to be closed then."""
    try:
        there.close(key)
        return not there.is_open(key)
    except OSError as error:
        _log.warning("access.not_closed", why=type(error).__name__)
        return False


async def verify_revoked(state: Access) -> Command[Literal["take_back", "__end__"]]:
    """Look once more whether it is gone: somebody may have opened it again by hand."""
    if doors().is_open(state["key"]):
        return Command(goto="take_back")
    return Command(goto=END, update={"log": [f"taken back from {state['requester']}"]})


async def refuse(state: Access) -> Access:
    """Give nothing, and say so."""
    return {"log": [f"not given: {state.get('wrong') or state['decision'].outcome}"]}


graph = (
    StateGraph(Access)
    .add_node(check)
    .add_node(review)
    .add_node(give)
    .add_node(keep)
    .add_node(take_back)
    .add_node(keep_trying)
    .add_node(alarm)
    .add_node(verify_revoked)
    .add_node(refuse)
    .add_edge(START, "check")
    .add_edge("give", "keep")
    .add_edge("keep", "take_back")
    .add_edge(["keep_trying", "alarm"], "verify_revoked")
    .add_edge("refuse", END)
    .compile(name="access", version="2")
)


# -- what an operator does


async def revoke(runtime: Runtime, run_id: str, *, by: str) -> Run:
    """End an access now: its run goes on as if its time had come. Raises NotPaused for one that is not given.

    Raises UnknownRun, and what ``Runtime.resume`` raises when somebody was quicker.
    """
    run = await runtime.get(run_id)
    waits = [one for one in await runtime.questions(run_id) if one.node == "keep" and one.status == "open"]
    if not waits:
        raise NotPaused(f"nothing was taken back: run {run_id!r} is {run.status}, and waits for no end")
    return await runtime.resume(run.thread_id, run_id, waits[0].interrupt.id, None, actor=by)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: keys of what it closed, and of what it could not close."""

    closed: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()


async def sweep(runtime: Runtime) -> Swept:
    """Close every access that no run looks after any more, and what is open long after its end.

    A run that was cancelled takes nothing back, nor does one whose thread is gone.
    """
    there = doors()
    closed: list[str] = []
    stuck: list[str] = []
    for one in there.opened():
        run = await runtime.last_run(one["thread"])
        if run is not None and run.live and there.now() <= read_time(one["until"]) + OVERDUE:
            continue
        (closed if _shut(there, one["key"]) else stuck).append(one["key"])
    if stuck:
        _log.error("access.still_open", keys=stuck)
    return Swept(tuple(closed), tuple(stuck))


async def main(said: argparse.Namespace) -> int:
    """Do what was typed, and return the exit code: 1 when something is open that should not be."""
    async with open_store(said.database) as store:
        runtime = Runtime(store, [graph])
        if said.what == "revoke":
            run = await revoke(runtime, said.run, by=said.actor)
            print(f"{run.id} takes it back.")
            return 0
        found = await sweep(runtime)
        print(f"{len(found.closed)} closed, {len(found.stuck)} still open")
        return 1 if found.stuck else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.access", description=__doc__)
    parser.add_argument("--database", default="sqlite:///signoff.db")
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("sweep")
    now = commands.add_parser("revoke")
    now.add_argument("run")
    now.add_argument("--actor", required=True)
    raise SystemExit(asyncio.run(main(parser.parse_args())))
