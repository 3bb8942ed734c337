"""The deletion of a person's data: shown first, agreed to by two, thought over, done in pieces, certified.

START -> resolve_subject -> dry_run -> review -> cool_off -> recheck -> (as it was: delete -> certify
| more or less by now: dry_run, and every vote is void | a legal hold: stop) -> END

Whoever thinks better of it cancels the run while it cools off, with ``/signoff cancel RUN`` as the card says.
``python -m examples.erase certificate RUN`` prints the certificate, ``... check FILE`` proves it; to
``signoff audit verify --anchor FILE`` it is the head of the journal at that time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import operator
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from pydantic import BaseModel, Field

from graph_runtime import (
    END,
    SECOND,
    START,
    Action,
    Command,
    Decision,
    Head,
    Journal,
    JournalError,
    NotDone,
    Runtime,
    StateGraph,
    Store,
    approve,
    execute_once,
    get_runtime,
    lines_of,
    open_store,
    system_clock,
    wait_until,
)
from graph_runtime.values import Codec

from .outside import outside

#: Rows of one piece, which goes whole or not at all.
PIECE = 50
#: How far a table may have changed since people saw its count.
DRIFT = 0.05
MOST_LOOKS = 3
#: For how many minutes it cools off unless it is said.
COOLING = 24 * 60
_plain = Codec()


class Arguments(BaseModel):
    """Erase everything that is kept of a customer, once two departments agree."""

    customer: str = Field(description="the customer's number, such as 8841", pattern=r"^[0-9]{1,12}$")


class Erase(TypedDict, total=False):
    """What a deletion knows; the first three keys are its input."""

    customer: str
    requester: str
    #: How long it cools off; a day unless it is said.
    minutes: int
    counts: dict[str, int]
    before: dict[str, int]
    sample: str
    holds: list[str]
    looks: int
    decision: Decision
    result: dict[str, Any]
    log: Annotated[list[str], operator.add]


class Records:
    """Stands in for the database of a shop. It keeps under which key each piece was deleted."""

    TABLES = ("orders", "messages", "addresses")

    def __init__(self, file: Path) -> None:
        self._file = file
        with self._open() as db:
            db.execute("CREATE TABLE IF NOT EXISTS rows (part TEXT, id INTEGER, customer TEXT, body TEXT)")
            db.execute("CREATE TABLE IF NOT EXISTS holds (customer TEXT, why TEXT)")
            db.execute(
                "CREATE TABLE IF NOT EXISTS pieces (key TEXT, number INTEGER, part TEXT, first INTEGER, "
                "last INTEGER, rows INTEGER, digest TEXT, times INTEGER, PRIMARY KEY (key, number))"
            )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._file)) as db, db:
            yield db

    def add(self, customer: str, **counts: int) -> None:
        """Put so many more rows of a customer into each table."""
        with self._open() as db:
            for part, count in counts.items():
                (last,) = db.execute(
                    "SELECT coalesce(max(id), 0) FROM rows WHERE part = ?", (part,)
                ).fetchone()
                rows = ((part, last + n, customer, f"{part} {last + n}") for n in range(1, count + 1))
                db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", rows)

    def hold(self, customer: str, why: str) -> None:
        """Forbid to delete anything of a customer."""
        with self._open() as db:
            db.execute("INSERT INTO holds VALUES (?, ?)", (customer, why))

    def holds(self, customer: str) -> list[str]:
        """Return why nothing of a customer may be deleted."""
        with self._open() as db:
            return [why for (why,) in db.execute("SELECT why FROM holds WHERE customer = ?", (customer,))]

    def counts(self, customer: str) -> dict[str, int]:
        """Return how many rows of a customer each table has."""
        with self._open() as db:
            found = dict(
                db.execute("SELECT part, count(*) FROM rows WHERE customer = ? GROUP BY part", (customer,))
            )
        return {part: found.get(part, 0) for part in self.TABLES}

    def ids(self, customer: str, part: str) -> list[int]:
        """Return the ids of a customer's rows in a table, in order."""
        with self._open() as db:
            wanted = "SELECT id FROM rows WHERE customer = ? AND part = ? ORDER BY id"
            return [id_ for (id_,) in db.execute(wanted, (customer, part))]

    def cut(self, key: str, customer: str) -> None:
        """Say in which pieces the customer is deleted; nothing of that key may be deleted yet."""
        spans = [
            (part, ids[at], ids[min(at + PIECE, len(ids)) - 1])
            for part in self.TABLES
            for ids in [self.ids(customer, part)]
            for at in range(0, len(ids), PIECE)
        ]
        with self._open() as db:
            db.execute("DELETE FROM pieces WHERE key = ?", (key,))
            db.executemany(
                "INSERT INTO pieces VALUES (?, ?, ?, ?, ?, NULL, NULL, 0)",
                ((key, number, *span) for number, span in enumerate(spans, 1)),
            )

    def pieces(self, key: str, *, left: bool = False) -> list[dict[str, Any]]:
        """Return the pieces of that key, in order; only those that are there still when ``left``."""
        wanted = "SELECT number, part, first, last, rows, digest, times FROM pieces WHERE key = ?"
        names = ("number", "part", "first", "last", "rows", "digest", "times")
        with self._open() as db:
            found = [
                dict(zip(names, row, strict=True)) for row in db.execute(wanted + " ORDER BY number", (key,))
            ]
        return [one for one in found if not left or one["digest"] is None]

    def delete(self, key: str, customer: str, number: int) -> None:
        """Delete a piece and note its digest, in one transaction; what was deleted stays as it is noted."""
        (piece,) = [one for one in self.pieces(key) if one["number"] == number]
        span = (customer, piece["part"], piece["first"], piece["last"])
        where = "FROM rows WHERE customer = ? AND part = ? AND id BETWEEN ? AND ?"
        with self._open() as db:
            rows = db.execute(f"SELECT part, id, body {where} ORDER BY id", span).fetchall()
            db.execute(f"DELETE {where}", span)
            db.execute(
                "UPDATE pieces SET rows = ?, digest = ?, times = times + 1 WHERE key = ? AND number = ?",
                (len(rows), _digest(rows), key, number),
            )


def records() -> Records:
    """Return the shop's database. A new one has two customers, 8841 and 8842."""
    file = outside("records.db")
    new = not file.exists()
    found = Records(file)
    if new:
        found.add("8841", orders=700, messages=200, addresses=100)
        found.add("8842", orders=60, messages=12, addresses=2)
    return found


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Changed(NotDone):
    """Nothing was deleted: it is not what people saw any more."""


def erase_of(state: Erase) -> Action:
    """Return exactly what will be done."""
    return Action("erase", {"customer": state["customer"], "rows": sum(state["counts"].values())})


async def resolve_subject(state: Erase) -> Command[Literal["dry_run", "stop"]]:
    """Look whether there is anything of that customer."""
    if not any(records().counts(state["customer"]).values()):
        return Command(goto="stop", update={"log": [f"nothing is known of {state['customer']}"]})
    return Command(goto="dry_run")


async def dry_run(state: Erase) -> Command[Literal["review", "stop"]]:
    """Count what would go, and look for legal holds; nothing is deleted."""
    there, customer = records(), state["customer"]
    counts, looks = there.counts(customer), state.get("looks", 0) + 1
    if holds := there.holds(customer):
        return _stopped(holds)
    if looks > MOST_LOOKS:
        said = f"nothing was deleted: it changed more than {MOST_LOOKS} times"
        return Command(goto="stop", update={"log": [said]})
    first = (
        f"{part} {', '.join(map(str, there.ids(customer, part)[:3]))}" for part in counts if counts[part]
    )
    seen: Erase = {"counts": counts, "before": state.get("counts", {}), "looks": looks}
    said = ", ".join(f"{count} {part}" for part, count in counts.items())
    return Command(
        goto="review", update={**seen, "sample": "; ".join(first), "log": [f"look {looks}: {said}"]}
    )


def _stopped(holds: list[str]) -> Command[Any]:
    said = f"nothing was deleted, a legal hold: {'; '.join(holds)}"
    return Command(goto="stop", update={"holds": holds, "log": [said]})


async def review(state: Erase) -> Command[Literal["cool_off", "stop"]]:
    """Ask; since the last look, what has changed is shown beside it."""
    counts, before = state["counts"], state["before"]
    moved = [f"{part} {before[part]} → {counts[part]}" for part in before if before[part] != counts[part]]
    decision = approve(
        f"Erase customer {state['customer']}",
        action=erase_of(state),
        facts={
            **counts,
            "first ids": state["sample"],
            "legal holds": "none",
            "undo": _undo(state),
            **({"since the last look": "; ".join(moved)} if moved else {}),
        },
        policy="gdpr-delete",
        requester=state.get("requester"),
    )
    if decision.approved:
        return Command(goto="cool_off", update={"decision": decision})
    why = f": {decision.reason}" if decision.reason else ""
    said = f"nothing was deleted, {decision.outcome}{why}"
    return Command(goto="stop", update={"decision": decision, "log": [said]})


def _undo(state: Erase) -> str:
    ran, minutes = get_runtime().execution_info, state.get("minutes", COOLING)
    assert ran is not None
    long = f"{minutes} min" if minutes < 60 else f"{minutes / 60:g} h"
    return f"/signoff cancel {ran.run_id}, for {long} after it is approved"


async def cool_off(state: Erase) -> Erase:
    """Wait; whoever thinks better of it cancels the run."""
    decided = datetime.fromtimestamp(state["decision"].at / SECOND, UTC)
    wait_until(decided + timedelta(minutes=state.get("minutes", COOLING)))
    return {}


async def recheck(state: Erase) -> Command[Literal["delete", "dry_run", "stop"]]:
    """Look whether it is still what people saw: a day has passed."""
    return _changed(state) or Command(goto="delete")


def _changed(state: Erase) -> Command[Any] | None:
    there = records()
    if holds := there.holds(state["customer"]):
        return _stopped(holds)
    now = there.counts(state["customer"])
    far = any(abs(now[part] - count) > DRIFT * count for part, count in state["counts"].items())
    return Command(goto="dry_run") if far else None


async def delete(state: Erase) -> Command[Literal["certify", "recheck"]]:
    """Delete under one grant, in pieces of one key: a piece that is done is not done again, whatever dies."""
    there, customer = records(), state["customer"]

    def done(key: str, holds: list[str]) -> dict[str, Any]:
        gone = [one for one in there.pieces(key) if one["digest"] is not None]
        counts = {part: sum(one["rows"] for one in gone if one["part"] == part) for part in there.TABLES}
        of = {"customer": customer, "pieces": len(gone), "of": len(there.pieces(key)), "stopped": holds}
        return {**of, **counts, "digest": _digest([one["digest"] for one in gone])}

    def erase(key: str) -> dict[str, Any]:
        if len(there.pieces(key, left=True)) == len(there.pieces(key)):
            if _changed(state) is not None:
                raise Changed("nothing was deleted: it is not what was approved any more")
            there.cut(key, customer)
        for piece in there.pieces(key, left=True):
            if holds := there.holds(customer):
                return done(key, holds)
            there.delete(key, customer, piece["number"])
        return done(key, [])

    async def look(key: str) -> dict[str, Any]:
        if not there.pieces(key) or there.pieces(key, left=True):
            # Begun perhaps, and not ended. Called again with this key, it goes on with the next piece.
            raise NotDone("not all of it is deleted")
        return done(key, [])

    try:
        result: dict[str, Any] = await execute_once(
            state["decision"].grant, erase, action=erase_of(state), reconcile=look
        )
    except Changed:
        return Command(goto="recheck")
    return Command(goto="certify", update={"result": result})


async def certify(state: Erase) -> Erase:
    """Say what was deleted. Its digest stands in the journal, with the end of the grant."""
    result = state["result"]
    halted = f", stopped by {'; '.join(result['stopped'])}" if result["stopped"] else ""
    said = f"{result['pieces']} of {result['of']} pieces deleted{halted}, {result['digest'][:12]}"
    return {"log": [said]}


async def stop(state: Erase) -> Erase:
    """Leave everything as it is."""
    return {}


graph = (
    StateGraph(Erase)
    .add_node(resolve_subject)
    .add_node(dry_run)
    .add_node(review)
    .add_node(cool_off)
    .add_node(recheck)
    .add_node(delete)
    .add_node(certify)
    .add_node(stop)
    .add_edge(START, "resolve_subject")
    .add_edge("cool_off", "recheck")
    .add_edge("certify", END)
    .add_edge("stop", END)
    .compile(name="erase", version="1")
)


# -- the certificate: one line, of which every part can be proved by the journal


async def certificate(runtime: Runtime, journal: Journal, run_id: str) -> str:
    """Return the certificate of a run that has deleted. Raises UnknownRun.

    Raises :class:`JournalError` for what the journal does not prove, or not yet: in a second it is sealed.
    """
    values = (await runtime.look(run_id)).state.values
    head = await journal.head()
    if "result" not in values or head is None:
        raise JournalError(
            f"there is no certificate: run {run_id!r} has deleted nothing, or nothing is sealed"
        )
    noted = {"block": head.block, "seal": head.seal, "sealed_at": head.sealed_at}
    return await _written(runtime.store, values["decision"].request_id, values["result"], noted)


async def check_certificate(store: Store, journal: Journal, line: str) -> None:
    """Raise :class:`JournalError` unless the journal says the same, and is as it was sealed."""
    try:
        said = json.loads(line)
        noted = {name: said[name] for name in ("block", "seal", "sealed_at")}
        proved = await _written(store, said["request"], said["result"], noted)
        found = await journal.verify([Head(**noted)])
    except (ValueError, KeyError, TypeError) as error:
        raise JournalError(f"this is no certificate: {type(error).__name__}") from None
    if found.broken is not None:
        raise JournalError(f"the journal is broken: {found.broken.sentence}")
    if proved != line.strip():
        raise JournalError("the certificate is not what the journal says")


async def _written(store: Store, request: str, result: Mapping[str, Any], noted: Mapping[str, Any]) -> str:
    by, done = [], None
    async for event, block in lines_of(store):
        if event.request_id != request or block is None or block > noted["block"]:
            continue
        if event.kind in {"request.voted", "request.approved"}:
            by.append(event.actor)
        if event.kind == "grant.done" and event.data["result"] == _plain.digest(dict(result)):
            done = event
    if done is None:
        raise JournalError(
            f"the journal does not prove that of request {request!r}, up to block {noted['block']}"
        )
    at = datetime.fromtimestamp(done.at / SECOND, UTC).isoformat()
    of = {"run": done.run_id, "request": request, "approved_by": by, "at": at}
    return json.dumps({**of, "result": dict(result), **noted})


async def main(said: argparse.Namespace) -> int:
    """Do what was typed, and return the exit code."""
    # The graph needs nothing of the bot; whoever proves needs the keys of its journal.
    from bot.config import load_settings  # noqa: PLC0415

    settings = load_settings(said.config)
    async with open_store(settings.database, migrate=False) as store:
        kept = settings.journal
        journal = Journal(store, kept.secrets, key=kept.current, clock=system_clock)
        try:
            if said.what == "certificate":
                print(await certificate(Runtime(store, [graph]), journal, said.run))
                return 0
            await check_certificate(store, journal, said.line)
        except JournalError as error:
            print(error)
            return 1
    print("The certificate says what the journal says.")
    return 0


def _read(file: str) -> str:
    return Path(file).read_text(encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.erase", description=__doc__)
    parser.add_argument("--config", default=None)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("certificate").add_argument("run")
    commands.add_parser("check").add_argument("line", metavar="FILE", type=_read)
    raise SystemExit(asyncio.run(main(parser.parse_args())))
