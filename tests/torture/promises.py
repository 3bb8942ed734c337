"""What must be true of a database after anything at all that happened to its programs.

One list for every test of this folder: rows are read past the runtime, and a broken promise is named with the
row that breaks it. What ``signoff db check`` looks for is part of it.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aside import aside

from graph_runtime.storage.sql import queries

#: promise: a statement that names the rows which break it. The numbers are those of docs/torture.md.
PROMISES: Mapping[str, str] = {
    "2: somebody has voted twice on the same": """
        SELECT request_id FROM decisions GROUP BY request_id, reviewer, round, verdict HAVING count(*) > 1""",
    "2: a vote did not move its request on by one, or an end or the next tier did not": """
        SELECT q.request_id FROM requests q WHERE q.revision <> 1
          + (SELECT count(*) FROM decisions d WHERE d.request_id = q.request_id)
          + (SELECT count(*) FROM events e WHERE e.request_id = q.request_id AND e.kind = 'request.limited')
          + CASE WHEN q.status IN ('timed_out', 'superseded') OR (q.status = 'withdrawn' AND NOT EXISTS (
              SELECT 1 FROM decisions d WHERE d.request_id = q.request_id AND d.verdict = 'withdraw'))
            THEN 1 ELSE 0 END""",
    "2: a question has two requests for one of its parts, or none": """
        SELECT interrupt_id FROM requests GROUP BY interrupt_id
        HAVING count(*) <> max(parts) OR count(DISTINCT part) <> count(*)""",
    "2: a request is decided, and nobody did": """
        SELECT q.request_id FROM requests q
        WHERE q.status IN ('approved', 'edited', 'rejected', 'responded')
          AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.request_id = q.request_id)""",
    "2: a vote is bound to something else than its request": """
        SELECT q.request_id FROM requests q JOIN decisions d ON d.request_id = q.request_id
        WHERE d.digest <> q.digest AND d.round = 0""",
    "2: a request was decided, and no vote says so": """
        SELECT q.request_id FROM requests q
        WHERE q.status IN ('approved', 'edited', 'rejected', 'responded') AND NOT EXISTS (
          SELECT 1 FROM decisions d WHERE d.request_id = q.request_id AND d.verdict IN (
            CASE q.status WHEN 'rejected' THEN 'reject' WHEN 'responded' THEN 'respond' ELSE 'approve' END,
            CASE q.status WHEN 'edited' THEN 'edit' ELSE '' END))""",
    "2: a request is closed, and its question was not answered": """
        SELECT q.request_id FROM requests q JOIN interrupts i ON i.interrupt_id = q.interrupt_id
        WHERE q.status IN ('approved', 'edited', 'rejected', 'responded', 'timed_out')
          AND i.status NOT IN ('answered', 'superseded') AND NOT EXISTS (
            SELECT 1 FROM requests o WHERE o.interrupt_id = q.interrupt_id AND (
              o.status = 'open' OR (i.status = 'withdrawn' AND o.status = 'withdrawn')))""",
    "2: a question is answered, and its request was not closed": """
        SELECT q.request_id FROM requests q JOIN interrupts i ON i.interrupt_id = q.interrupt_id
        WHERE i.status = 'answered'
          AND q.status NOT IN ('approved', 'edited', 'rejected', 'responded', 'timed_out')
          AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.request_id = q.request_id AND d.verdict = 'withdraw')""",
    "3: an answer waits, and its run was neither woken nor leased": """
        SELECT i.interrupt_id FROM interrupts i JOIN runs r ON r.run_id = i.run_id
        WHERE i.status = 'answered' AND i.delivered_at IS NULL AND i.past = 0
          AND r.status IN ('interrupted', 'completed')""",
    "3: a run is leased by nobody, or rests under a lease": """
        SELECT run_id FROM runs WHERE (status = 'running') <> (lease_owner IS NOT NULL)""",
    "3: two runs of a thread are alive": """
        SELECT thread_id FROM runs WHERE status IN ('queued', 'running', 'interrupted', 'needs_attention')
        GROUP BY thread_id HAVING count(*) > 1""",
    "4: two checkpoints of one step": """
        SELECT run_id FROM checkpoints GROUP BY run_id, ns, step HAVING count(*) > 1""",
    "4: a run's checkpoints have a gap": """
        SELECT run_id FROM checkpoints GROUP BY run_id, ns
        HAVING max(step) - min(step) + 1 <> count(*)""",
    "4: a checkpoint does not follow its parent": """
        SELECT c.checkpoint_id FROM checkpoints c JOIN checkpoints p ON p.checkpoint_id = c.parent_id
        WHERE c.step <> p.step + 1 OR c.thread_id <> p.thread_id OR c.ns <> p.ns""",
    "4: a checkpoint has lost its parent": """
        SELECT c.checkpoint_id FROM checkpoints c LEFT JOIN checkpoints p ON p.checkpoint_id = c.parent_id
        WHERE CASE WHEN c.parent_id IS NULL THEN c.step <> -1 ELSE p.checkpoint_id IS NULL END""",
    "4: a run does not stand at its last checkpoint": """
        SELECT r.run_id FROM runs r LEFT JOIN checkpoints c ON c.checkpoint_id = r.head
        WHERE c.checkpoint_id IS NULL OR c.step <> r.step OR c.ns <> '' OR c.thread_id <> r.thread_id
          OR EXISTS (SELECT 1 FROM checkpoints l WHERE l.run_id = r.run_id AND l.ns = '' AND l.step > r.step)""",
    "4: a checkpoint has lost a value": """
        SELECT c.checkpoint_id
        FROM checkpoints c, json_each/* postgres: _text */(c.versions/* postgres: ::json */) j
        WHERE NOT EXISTS (
          SELECT 1 FROM channel_values v WHERE v.checkpoint_id = j.value AND v.channel = j.key)""",
    "4: a value goes on from one that is not there": """
        SELECT v.checkpoint_id FROM channel_values v WHERE v.base IS NOT NULL AND NOT EXISTS (
          SELECT 1 FROM channel_values b WHERE b.checkpoint_id = v.base AND b.channel = v.channel)""",
    "5: a request has no card to be drawn, or two at one place": """
        SELECT q.request_id FROM requests q WHERE CASE
          WHEN EXISTS (SELECT 1 FROM due d WHERE d.request_id = q.request_id AND d.kind = 'policy')
          OR EXISTS (SELECT 1 FROM decisions d WHERE d.request_id = q.request_id AND d.reviewer = 'policy')
          THEN EXISTS (SELECT 1 FROM outbox o WHERE o.request_id = q.request_id AND o.kind = 'card')
          ELSE (
            SELECT count(*) <> count(DISTINCT o.payload) OR (
              count(*) = 0 AND (q.status = 'open' OR NOT EXISTS (
                SELECT 1 FROM outbox l WHERE l.request_id = q.request_id AND l.kind = 'card')))
            FROM outbox o WHERE o.request_id = q.request_id AND o.kind = 'card' AND o.status <> 'lost'
          ) END""",
    "5: something is to be told of no request": """
        SELECT o.entry_id FROM outbox o LEFT JOIN requests q ON q.request_id = o.request_id
        WHERE q.request_id IS NULL""",
    "5: a request is closed, and nobody is to be told": """
        SELECT q.request_id FROM requests q WHERE q.status NOT IN ('open', 'superseded') AND NOT EXISTS (
          SELECT 1 FROM outbox o WHERE o.request_id = q.request_id AND o.kind = 'trail')
          AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.request_id = q.request_id AND d.reviewer = 'policy')""",
    "5: a vote is cast, and nobody is to be told": """
        SELECT q.request_id FROM requests q WHERE (
          SELECT count(*) FROM decisions d WHERE d.request_id = q.request_id AND d.reviewer <> 'policy'
        ) > (SELECT count(*) FROM outbox o WHERE o.request_id = q.request_id AND o.kind = 'trail')""",
    "5: a card is delivered, and nobody knows where": """
        SELECT o.entry_id FROM outbox o WHERE o.kind = 'card' AND o.status = 'delivered'
          AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.entry_id = o.entry_id)""",
    "5: a request with a deadline is open, and nobody waits for it": """
        SELECT q.request_id FROM requests q WHERE q.status = 'open' AND q.deadline_at IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM due d WHERE d.request_id = q.request_id AND d.kind = 'deadline')""",
    "6: the journal does not have one line of a request's opening": """
        SELECT q.request_id FROM requests q WHERE 1 <> (
          SELECT count(*) FROM events e WHERE e.request_id = q.request_id AND e.kind = 'request.opened')""",
    "6: the journal does not have one line of a request's end": """
        SELECT q.request_id FROM requests q
        WHERE CASE WHEN q.status IN ('open', 'superseded') THEN 0 ELSE 1 END <> (
          SELECT count(*) FROM events e WHERE e.request_id = q.request_id AND e.kind IN (
            'request.approved', 'request.edited', 'request.rejected', 'request.responded',
            'request.timed_out', 'request.withdrawn'))""",
    "6: the journal does not have one line of a vote that left its request open": """
        SELECT q.request_id FROM requests q WHERE (
          SELECT count(*) FROM events e WHERE e.request_id = q.request_id AND e.kind = 'request.voted'
        ) <> (SELECT count(*) FROM decisions d WHERE d.request_id = q.request_id)
          - CASE WHEN q.status IN ('approved', 'edited', 'rejected', 'responded') OR EXISTS (
              SELECT 1 FROM decisions d WHERE d.request_id = q.request_id AND d.verdict = 'withdraw')
            THEN 1 ELSE 0 END""",
    "6: the journal says another end of a request": """
        SELECT q.request_id FROM requests q WHERE q.status NOT IN ('open', 'superseded') AND NOT EXISTS (
          SELECT 1 FROM events e WHERE e.request_id = q.request_id AND e.kind = 'request.' || q.status)""",
    "6: the journal does not have one line of a run's beginning": """
        SELECT r.run_id FROM runs r WHERE r.origin <> 'update' AND 1 <> (
          SELECT count(*) FROM events e
          WHERE e.run_id = r.run_id AND e.kind IN ('run.started', 'run.retried', 'run.forked'))""",
    "6: the journal does not have one line of a run's end": """
        SELECT r.run_id FROM runs r WHERE r.origin <> 'update'
          AND CASE WHEN r.status IN ('completed', 'failed', 'cancelled') THEN 1 ELSE 0 END <> (
            SELECT count(*) FROM events e
            WHERE e.run_id = r.run_id AND e.kind IN ('run.completed', 'run.failed', 'run.cancelled'))""",
    "6: the journal says another end of a run": """
        SELECT r.run_id FROM runs r
        WHERE r.origin <> 'update' AND r.status IN ('completed', 'failed', 'cancelled') AND NOT EXISTS (
          SELECT 1 FROM events e WHERE e.run_id = r.run_id AND e.kind = 'run.' || r.status)""",
    "6: the journal does not have one line of each answer": """
        SELECT r.run_id FROM runs r WHERE (
          SELECT count(*) FROM interrupts i
          WHERE i.run_id = r.run_id AND i.answered_at IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM requests q WHERE q.interrupt_id = i.interrupt_id)
        ) <> (
          SELECT count(*) FROM events e
          WHERE e.run_id = r.run_id AND e.kind IN ('run.answered', 'time.came', 'freeze.over')
        ) - (
          SELECT count(*) FROM events e WHERE e.run_id = r.run_id AND e.kind = 'answer.invalid')""",
}
#: What a program was told: the rows that must be there then, as the words of its acknowledgement, of which the
#: last is the thread. With a thread that was let go, and the journal says so, they may be gone.
ACKNOWLEDGED: Mapping[str, str] = {
    "started": """
        SELECT r.run_id, r.thread_id FROM runs r JOIN events e ON e.run_id = r.run_id
        WHERE e.kind IN ('run.started', 'run.retried', 'run.forked')""",
    "decided": """
        SELECT d.request_id, d.reviewer, d.verdict, q.thread_id
        FROM decisions d JOIN requests q ON q.request_id = d.request_id JOIN events e
          ON e.request_id = d.request_id AND e.kind IN ('request.approved', 'request.rejected')""",
    "voted": """
        SELECT d.request_id, d.reviewer, d.verdict, q.thread_id
        FROM decisions d JOIN requests q ON q.request_id = d.request_id""",
    "expired": "SELECT request_id, thread_id FROM requests WHERE status = 'timed_out'",
    "answered": "SELECT interrupt_id, answer, thread_id FROM interrupts WHERE answered_at IS NOT NULL",
    "ended": "SELECT run_id, status, thread_id FROM runs",
    "landed": """
        SELECT r.entry_id, q.thread_id FROM receipts r JOIN requests q ON q.request_id = r.request_id""",
    "edited": "SELECT checkpoint_id, thread_id FROM checkpoints",
    "noted": "SELECT event_id, '' FROM events",
}
_PRUNED = "SELECT DISTINCT thread_id FROM events WHERE kind IN ('thread.pruned', 'thread.deleted')"
#: Cards of which nothing is wanted any more, and what they show then.
_DRAWN = """
    SELECT o.entry_id, q.status, q.digest FROM outbox o JOIN requests q ON q.request_id = o.request_id
    WHERE o.kind = 'card' AND o.status = 'delivered'"""


@dataclass(frozen=True)
class Told:
    """What a program was told and what it did outside, in the order in which it happened."""

    #: ``(what, id, ..., thread)``, each written down after it was acknowledged.
    acks: list[tuple[str, ...]] = field(default_factory=list)
    #: (key, body) of everything that went out under a key.
    sent: list[tuple[str, str]] = field(default_factory=list)


def read_told(folder: Path) -> Told:
    """Return what the programs of a folder were told; a line that was cut off was not told."""
    return Told(
        [tuple(line) for line in _lines(folder / "acks")],
        [(line[0], line[1]) for line in _lines(folder / "sent")],
    )


def broken(database: str, told: Told | None = None, *, keys: bool = True, at_rest: bool = False) -> list[str]:
    """Return every promise that this database breaks, with the row; an empty list is what a test wants.

    ``at_rest`` when nobody has written to it since ``told`` was read: then cards can be compared too.
    """
    with aside(database) as connection:
        return broken_in(connection, told or Told(), keys=keys, at_rest=at_rest)


def broken_in(connection: Any, told: Told, *, keys: bool = True, at_rest: bool = False) -> list[str]:
    """Return the same of an open connection to either database."""
    found: list[str] = []
    lite = isinstance(connection, sqlite3.Connection)
    if lite:
        # First, and alone: what a damaged page says of promises means nothing.
        try:
            damage = [row[0] for row in _rows(connection, "PRAGMA integrity_check(5)") if row[0] != "ok"]
        except sqlite3.DatabaseError as error:
            damage = [str(error)]
        if keys and not damage:
            damage += [f"row {row[1]} of {row[0]} refers to nothing" for row in _rows(connection, _FOREIGN)]
        if damage:
            return [f"7: {said}" for said in damage]
    checked = queries("sqlite" if lite else "postgres")["find_broken"].replace(":limit", "100")
    found += [f"check: {row[0]}: {row[1]}" for row in _rows(connection, checked)]
    for promise, statement in PROMISES.items():
        words = r"" if lite else r"\1"
        said = re.sub(r"/\* postgres: (.*?) \*/", words, statement)
        found += [f"{promise}: {row[0]}" for row in _rows(connection, said)]
    there = {
        what: set(map(tuple, _rows(connection, ACKNOWLEDGED[what]))) for what in {a[0] for a in told.acks}
    }
    pruned = {row[0] for row in _rows(connection, _PRUNED)}
    lost = [ack for ack in told.acks if ack[1:] not in there[ack[0]] and ack[-1] not in pruned]
    found += [f"1: acknowledged and not there: {ack}" for ack in lost]
    bodies: dict[str, set[str]] = defaultdict(set)
    shown: dict[str, str] = {}
    for key, body in told.sent:
        bodies[key].add(body)
        shown[key.split()[0]] = body
    for card, status, digest in _rows(connection, _DRAWN) if at_rest else ():
        if shown.get(card, f"{status} {digest}") != f"{status} {digest}":
            found.append(f"8: {card} was drawn for the last time as {shown[card]}, and is {status}")
    found += [f"8: {key} went out as {sorted(said)}" for key, said in bodies.items() if len(said) > 1]
    return found


_FOREIGN = "PRAGMA foreign_key_check"


def _rows(connection: Any, statement: str) -> list[Any]:
    return [tuple(row) for row in connection.execute(statement).fetchall()]


def _lines(file: Path) -> Iterator[list[str]]:
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []:
        if line.endswith("\n"):
            yield json.loads(line)
