"""The list of promises notices each of them broken: a list that says nothing finds nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from aside import aside
from nursery import Nursery, nursery
from promises import ACKNOWLEDGED, PROMISES, Told, broken

#: What breaks each promise in a database in which a run has ended after a decision, and another one waits.
BREAKS = {
    "2: somebody has voted twice on the same": """
        INSERT INTO decisions SELECT 'dec-2', request_id, reviewer, verdict, reason, digest, surface, groups, stage,
          round, arguments, decided_at, on_behalf_of, delegation_id, one_with
        FROM decisions""",
    "2: a vote did not move its request on by one, or an end or the next tier did not": "UPDATE requests SET revision = 1",
    "2: a question has two requests for one of its parts, or none": "UPDATE requests SET parts = 2",
    "2: a request is decided, and nobody did": "DELETE FROM decisions",
    "2: a vote is bound to something else than its request": "UPDATE decisions SET digest = 'sha256:0'",
    "2: a request was decided, and no vote says so": "UPDATE decisions SET verdict = 'reject'",
    "2: a request is closed, and its question was not answered": """
        UPDATE interrupts SET status = 'withdrawn' WHERE status = 'answered'""",
    "2: a question is answered, and its request was not closed": """
        UPDATE interrupts SET status = 'answered' WHERE status = 'open'""",
    "3: an answer waits, and its run was neither woken nor leased": """
        UPDATE interrupts SET status = 'answered', delivered_at = NULL, past = 0""",
    "3: a run is leased by nobody, or rests under a lease": """
        UPDATE runs SET status = 'running' WHERE status = 'interrupted'""",
    "3: two runs of a thread are alive": """
        UPDATE runs SET status = 'queued', thread_id = (SELECT min(thread_id) FROM threads)""",
    "4: two checkpoints of one step": "UPDATE checkpoints SET step = 1 WHERE step = 2",
    "4: a run's checkpoints have a gap": "UPDATE checkpoints SET step = 7 WHERE step = 2",
    "4: a checkpoint does not follow its parent": "UPDATE checkpoints SET ns = 'elsewhere' WHERE step = 2",
    "4: a checkpoint has lost its parent": "UPDATE checkpoints SET parent_id = NULL WHERE step = 2",
    "4: a run does not stand at its last checkpoint": "UPDATE runs SET head = (SELECT min(head) FROM runs)",
    "4: a checkpoint has lost a value": "DELETE FROM channel_values WHERE channel = 'log'",
    "4: a value goes on from one that is not there": """
        UPDATE channel_values SET base = 'chk-0' WHERE base IS NOT NULL OR channel = 'log'""",
    "5: a request has no card to be drawn, or two at one place": (
        "UPDATE outbox SET kind = 'card', payload = '{}'"
    ),
    "5: something is to be told of no request": "UPDATE outbox SET request_id = 'req-0' WHERE kind = 'trail'",
    "5: a request is closed, and nobody is to be told": "DELETE FROM outbox WHERE kind = 'trail'",
    "5: a vote is cast, and nobody is to be told": "DELETE FROM outbox WHERE kind = 'trail'",
    "5: a card is delivered, and nobody knows where": "DELETE FROM receipts",
    "5: a request with a deadline is open, and nobody waits for it": "DELETE FROM due",
    "6: the journal does not have one line of a request's opening": """
        DELETE FROM events WHERE kind = 'request.opened'""",
    "6: the journal does not have one line of a request's end": """
        INSERT INTO events (event_id, at, kind, actor, thread_id, run_id, request_id, data)
        SELECT 'evt-2', at, 'request.rejected', actor, thread_id, run_id, request_id, data
        FROM events WHERE kind = 'request.approved'""",
    "6: the journal does not have one line of a vote that left its request open": """
        INSERT INTO events (event_id, at, kind, actor, thread_id, run_id, request_id, data)
        SELECT 'evt-3', at, 'request.voted', actor, thread_id, run_id, request_id, data
        FROM events WHERE kind = 'request.approved'""",
    "6: the journal says another end of a request": """
        UPDATE events SET kind = 'request.withdrawn' WHERE kind = 'request.approved'""",
    "6: the journal does not have one line of a run's beginning": "DELETE FROM events WHERE kind = 'run.started'",
    "6: the journal does not have one line of a run's end": "DELETE FROM events WHERE kind = 'run.completed'",
    "6: the journal says another end of a run": "UPDATE events SET kind = 'run.failed' WHERE kind = 'run.completed'",
    "6: the journal does not have one line of each answer": "DELETE FROM requests",
}


@pytest.fixture(scope="module")
def house() -> Iterator[Nursery]:
    with nursery("waiting") as house:
        yield house


@pytest.fixture
def place(house: Nursery, tmp_path: Path) -> str:
    """The address of a database in which a run has ended after a decision, and another one waits."""
    shutil.copytree(house.folder(), tmp_path / "place")
    return f"sqlite:///{tmp_path}/place/signoff.db"


def test_every_promise_can_be_broken() -> None:
    assert BREAKS.keys() == PROMISES.keys()


@pytest.mark.parametrize("promise", PROMISES)
def test_a_broken_promise_is_named(place: str, promise: str) -> None:
    assert broken(place) == []
    with aside(place) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        for index in (
            "runs_one_live_per_thread",
            "checkpoints_once_per_step",
            "outbox_one_card_per_place",
            "decisions_one_vote_each",
        ):
            connection.execute(f"DROP INDEX {index}")
        # The keys of a table are part of it: what they keep out is put into a copy without them.
        for table in ("requests", "outbox", "checkpoints"):
            connection.execute(f"CREATE TABLE copied AS SELECT * FROM {table}")  # noqa: S608 - our own names
            connection.execute(f"DROP TABLE {table}")
            connection.execute(f"ALTER TABLE copied RENAME TO {table}")
        connection.execute(BREAKS[promise])
    # References into the copied tables are of no use any more.
    found = [said for said in broken(place, keys=False) if said.startswith(f"{promise}: ")]
    assert found, "nobody noticed"


def test_what_was_acknowledged_and_is_not_there_is_named(place: str) -> None:
    for what, statement in ACKNOWLEDGED.items():
        with aside(place) as connection:
            width = len(connection.execute(statement).description)
        lost = Told(acks=[(what, *["x"] * width)])
        assert broken(place, lost) == [f"1: acknowledged and not there: {lost.acks[0]}"]


def test_a_row_without_its_root_and_a_damaged_page_are_named(place: str) -> None:
    with aside(place) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("DELETE FROM threads")
    assert broken(place)[0].startswith("7: row ")
    file = Path(place.removeprefix("sqlite:///"))
    content = bytearray(file.read_bytes())
    content[5 * 4096 : 5 * 4096 + 8] = b"\xff" * 8
    file.write_bytes(content)
    assert broken(place)[0].startswith("7: ")


def test_one_key_with_two_bodies_is_named(place: str) -> None:
    told = Told(sent=[("k", "one"), ("k", "one"), ("l", "one"), ("k", "other")])
    assert broken(place, told) == ["8: k went out as ['one', 'other']"]


def test_a_card_that_shows_what_is_no_longer_so_is_named(place: str) -> None:
    with aside(place) as connection:
        ((card,),) = connection.execute(
            "SELECT entry_id FROM outbox o JOIN requests q ON q.request_id = o.request_id "
            "WHERE o.kind = 'card' AND q.status = 'approved'"
        )
    old = Told(sent=[(f"{card} 2", "approved sha256:1"), (f"{card} 1", "open sha256:1")])
    assert broken(place, old, at_rest=True) == [
        f"8: {card} was drawn for the last time as open sha256:1, and is approved"
    ]
