"""``signoff audit verify | export | head | erase``: the journal, for those who must be able to prove it."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from graph_runtime import (
    Erasure,
    Erasures,
    Event,
    Journal,
    JournalError,
    lines_of,
    open_store,
    system_clock,
)

from .anchors import read_anchors, write_anchor
from .commands import MistypedError
from .config import ConfigError, Settings
from .interchange import envelopes
from .redaction import Redaction
from .terminal import AsJson, Config, fail, open_desk, os_user, out, run_it, settings_of, show_it
from .text import is_slack_id

audit = typer.Typer(help="Look into the journal, and prove it.", no_args_is_help=True)

_UNCOMPARED = "No noted head was compared: an end that was cut off would not show."
#: What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: More requests than any database has.
_EVERY = 10_000_000
_FIELDS = ("id", "at", "kind", "actor", "thread_id", "run_id", "request_id", "block", "data")


@asynccontextmanager
async def _open_journal(settings: Settings) -> AsyncIterator[Journal]:
    said = settings.journal
    if not said.keys:
        raise ConfigError(
            "nothing was verified: there is no journal key; set SIGNOFF_JOURNAL__KEYS to "
            """'{"k1": "..."}', with what `openssl rand -hex 32` prints"""
        )
    async with open_store(settings.database, migrate=False) as store:
        yield Journal(store, said.secrets, key=said.current, clock=system_clock)


@audit.command()
def verify(
    anchor: Annotated[Path | None, typer.Option(help="a file of heads; default that of the settings")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Look at every sealed line: exit code 0 when all is as it was sealed, 1 with the first that is not."""

    async def work() -> None:
        settings = settings_of(config)
        noted = anchor or _own_anchor(settings)
        heads = read_anchors(noted) if noted is not None else []
        async with _open_journal(settings) as journal:
            found = await journal.verify(heads)
        if as_json:
            broken = (
                None
                if found.broken is None
                else {
                    "fault": found.broken.fault,
                    "block": found.broken.block,
                    "event_id": found.broken.event_id,
                    "sentence": found.broken.sentence,
                }
            )
            show_it(
                {
                    "sealed_until": None if found.head is None else _time(found.head.sealed_at),
                    "block": None if found.head is None else found.head.block,
                    "lines": found.lines,
                    "unsealed": found.unsealed,
                    "anchors": len(heads),
                    "broken": broken,
                }
            )
        if found.broken is not None:
            raise JournalError(f"the journal is broken: {found.broken.sentence}")
        if as_json:
            return
        if found.head is None:
            out.print(f"Nothing is sealed yet; {_many(found.unsealed, 'line')} would be.", highlight=False)
            return
        until = f"The journal is as it was sealed, up to {_time(found.head.sealed_at)}:"
        what = f"{_many(found.lines, 'line')} in {_many(found.head.block, 'block')};"
        left = f"{_many(found.unsealed, 'line')} not sealed yet."
        anchored = _fit(len(heads)) if heads else _UNCOMPARED
        out.print(f"{until} {what} {left} {anchored}", highlight=False, soft_wrap=True)

    run_it(work())


@audit.command()
def head(config: Config = None) -> None:
    """Print the head of the sealed journal, as one line to be noted elsewhere and given to --anchor."""

    async def work() -> None:
        async with _open_journal(settings_of(config)) as journal:
            found = await journal.head()
        if found is None:
            fail("nothing is sealed yet")
        print(write_anchor(found))

    run_it(work())


@audit.command()
def export(
    form: Annotated[str, typer.Option("--format", help="jsonl, csv or aais")] = "jsonl",
    config: Config = None,
) -> None:
    """Print every line of the journal in the order of its ids; the block says by what it is sealed.

    As aais: every request, vote and outcome that is kept, as Agent Approval Interchange 1.0 writes them.
    """
    if form not in {"jsonl", "csv", "aais"}:
        raise typer.BadParameter(
            "jsonl, csv or aais was expected; nothing was exported", param_hint="--format"
        )
    if form == "aais":
        run_it(_interchange(settings_of(config)))
        return

    async def work() -> None:
        settings = settings_of(config)
        redaction = Redaction(settings.redact)
        async with open_store(settings.database, migrate=False) as store:
            table = csv.DictWriter(sys.stdout, _FIELDS)
            if form == "csv":
                table.writeheader()
            async for event, block in lines_of(store):
                row = _row(redaction.event(event), block)
                if form == "csv":
                    cells = {**row, "data": json.dumps(row["data"], ensure_ascii=False)}
                    table.writerow({name: _cell(value) for name, value in cells.items()})
                else:
                    print(json.dumps(row, ensure_ascii=False))

    run_it(work())


@audit.command()
def erase(
    person: Annotated[
        str, typer.Argument(help="Slack user id of whoever said it, or their name in [people]")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only say what would be erased, and what not")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask to type the id again")] = False,
    config: Config = None,
) -> None:
    """Erase what a person said: reasons, answers, why something was frozen or cancelled. Digests stay.

    What was posted of it is drawn anew by a running signoff serve. It cannot be taken back.
    """

    async def work() -> None:
        settings = settings_of(config)
        whose = _whose(settings, person)
        # What they did on the command line was written down under the name of this machine's user.
        names = [whose, *(f"cli:{user}" for user, id_ in settings.people.items() if id_ == whose)]
        if whose != person:
            out.print(f"{person} is {', '.join(names)}.", highlight=False, markup=False, soft_wrap=True)
        async with open_desk(settings) as desk:
            erasures = Erasures(desk.runtime.ground)
            found = Erasure()
            for name in names:
                found += await erasures.count(name)
            if not dry_run and found.texts:
                if not yes and typer.prompt(f"{_many(found.texts, 'text')}. Type {whose} to erase") != whose:
                    fail("nothing was erased: another id was typed")
                found = Erasure()
                for name in names:
                    found += await erasures.erase(name, actor=f"cli:{os_user()}")
        for line in _erased(whose, found, dry_run=dry_run):
            out.print(line, highlight=False, markup=False, soft_wrap=True)

    run_it(work())


def _whose(settings: Settings, person: str) -> str:
    """Return under which id somebody's words are kept. Raises :class:`MistypedError` for nobody's."""
    if person.startswith("cli:") or is_slack_id(person, "UW"):
        return person
    if person in settings.people:
        return settings.people[person]
    raise MistypedError(
        f"nothing was erased: {person!r} is no Slack user id like U0BOB, no cli:NAME, and no name in [people]"
    )


def _erased(person: str, found: Erasure, *, dry_run: bool) -> Iterator[str]:
    """Yield what was erased, and what was not."""
    if not found.texts:
        yield f"There is no text of {person} to erase."
    elif dry_run:
        yield f"{_many(found.texts, 'text')} of {person} would be erased; nothing was erased yet."
    else:
        yield f"{_many(found.texts, 'text')} of {person} erased; the digests stay, and the id {person} does."
        if found.messages:
            said = _many(found.messages, "message")
            yield f"{said} in Slack drawn anew by a running signoff serve; what cannot be is outbox.parked."
        yield "Their bytes leave an SQLite file with signoff db vacuum, PostgreSQL with VACUUM FULL texts."
    if found.threads:
        yield (
            f"Not erased: what runs were answered, in the state of {_many(found.threads, 'thread')}; "
            "signoff db prune lets finished threads go."
        )
    if found.edits:
        yield f"Not erased: {_many(found.edits, 'edit')}: what was approved goes with its thread."
    if found.lines:
        yield (
            f"Not erased: the reasons in {_many(found.lines, 'line')} of the journal that hold them "
            "themselves, as was done before."
        )
    if found.gone:
        said = _many(found.gone, "text")
        yield f"Not reached: what Slack still shows of {said} that went with their threads before."


async def _interchange(settings: Settings) -> None:
    async with open_desk(settings) as desk:
        requests = await desk.approvals.find(limit=_EVERY)
        views = [await desk.approvals.view(request.id) for request in requests]
    redaction = Redaction(settings.redact)
    for envelope in envelopes(redaction.view(view) for view in views if view is not None):
        print(json.dumps(envelope, ensure_ascii=False))


def _own_anchor(settings: Settings) -> Path | None:
    said = settings.journal.anchor
    return Path(said) if said and not said.startswith("https://") and Path(said).exists() else None


def _row(event: Event, block: int | None) -> dict[str, Any]:
    return {
        "id": event.id,
        "at": _time(event.at),
        "kind": event.kind,
        "actor": event.actor,
        "thread_id": event.thread_id,
        "run_id": event.run_id,
        "request_id": event.request_id,
        "block": block,
        "data": dict(event.data),
    }


def _cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: ids are chosen by others."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat()


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _fit(heads: int) -> str:
    return f"{_many(heads, 'noted head')} fit{'s' if heads == 1 else ''}."
