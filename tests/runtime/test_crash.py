"""Killed on either side of any commit, the program goes on in its next life as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from crash_child import main
from forked import Forked

#: Every batch of the story, with how often it passes in an undisturbed life.
BATCHES = {"start": 1, "claim": 3, "task": 2, "pause": 2, "decide": 2, "step": 1, "finish": 1, "receipt": 4}


async def live(
    folder: Path, epoch: int, fault: str = "", count: int = 1, how: str = "decide"
) -> tuple[int, Any]:
    """Run the program once; return how it ended and, when it lived, what it saw at the end."""
    words = (f"sqlite:///{folder}/signoff.db", str(folder / "notes"), str(epoch), how)
    env = {"SIGNOFF_FAULT": fault, "SIGNOFF_FAULT_COUNT": str(count)}
    out, err = folder / f"out-{epoch}", folder / f"err-{epoch}"
    ended = await Forked(main, *words, env={**os.environ, **env}, out=out, err=err).wait()
    assert ended in {0, -signal.SIGKILL}, err.read_text("utf-8")
    return ended, json.loads(out.read_text("utf-8")) if ended == 0 else None


def check(end: Any, notes: Path, *, most: int, how: str = "decide") -> None:
    """Check what must be true at the end, however often the program died before."""
    ran = Counter(notes.read_text("utf-8").split())
    assert end["status"] == "completed"
    assert end["log"] == ["a approved", "b approved", "plain", "after"]
    assert end["votes"] == ([1, 1] if how == "decide" else [])
    assert end["requests"] == (["approved", "approved"] if how == "decide" else [])
    assert end["questions"] == ["answered", "answered"]
    assert end["runs"] == 1
    assert end["outbox"] == {}
    assert end["steps"] == sorted(set(end["steps"]), reverse=True), "one checkpoint per step"
    assert len(end["steps"]) == 4
    for kind in ("run.started", "run.completed"):
        assert end["events"].count(kind) == 1
    assert end["events"].count("request.approved" if how == "decide" else "run.answered") == 2
    # A node under way when the program died runs again; one whose result was saved does not.
    assert ran["plain"] <= most
    assert 2 <= ran["a"] <= 1 + most
    assert 2 <= ran["b"] <= 1 + most
    assert 1 <= ran["after"] <= most
    assert ran.total() <= 6 + 3 * (most - 1)


@pytest.mark.processes
async def test_an_undisturbed_life_runs_each_node_as_often_as_it_must(tmp_path: Path) -> None:
    ended, end = await live(tmp_path, 0)
    assert ended == 0
    check(end, tmp_path / "notes", most=1)


@pytest.mark.processes
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("batch", BATCHES)
async def test_killed_there_the_next_life_finishes_the_run(tmp_path: Path, side: str, batch: str) -> None:
    for count in {1, BATCHES[batch]}:
        folder = tmp_path / str(count)
        folder.mkdir()
        ended, _ = await live(folder, 0, f"{side}:{batch}:kill", count)
        assert ended == -signal.SIGKILL, f"the program never came {side} its {count}. {batch}"
        ended, end = await live(folder, 1)
        assert ended == 0
        check(end, folder / "notes", most=2)


@pytest.mark.processes
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("count", [1, 2])
async def test_killed_beside_a_plain_answer_it_counts_once(tmp_path: Path, side: str, count: int) -> None:
    ended, _ = await live(tmp_path, 0, f"{side}:answer:kill", count, "answer")
    assert ended == -signal.SIGKILL
    ended, end = await live(tmp_path, 1, how="answer")
    assert ended == 0
    check(end, tmp_path / "notes", most=1, how="answer")


@pytest.mark.processes
async def test_killed_again_and_again_the_run_still_finishes(tmp_path: Path) -> None:
    lives = 0
    for batch in ("start", "claim", "task", "pause", "decide", "task", "decide", "step", "finish", "receipt"):
        ended, _ = await live(tmp_path, lives, f"after:{batch}:kill")
        lives += 1
        if ended == 0:
            break
    ended, end = await live(tmp_path, lives)
    assert ended == 0
    check(end, tmp_path / "notes", most=1 + lives)


@pytest.mark.processes
@pytest.mark.parametrize(("side", "decided"), [("before", False), ("after", True)])
async def test_killed_beside_the_decision_all_of_it_is_there_or_nothing(
    tmp_path: Path,
    side: str,
    decided: bool,  # noqa: FBT001 - the two columns of one table
) -> None:
    import sqlite3

    await live(tmp_path, 0, f"{side}:decide:kill")
    database = sqlite3.connect(tmp_path / "signoff.db")
    try:
        for query, there in [
            ("SELECT count(*) FROM decisions", 1),
            ("SELECT count(*) FROM requests WHERE status = 'approved' AND revision = 2", 1),
            ("SELECT count(*) FROM interrupts WHERE status = 'answered'", 1),
            ("SELECT count(*) FROM outbox WHERE kind = 'trail'", 1),
            ("SELECT count(*) FROM outbox WHERE kind = 'card' AND wanted > 1", 1),
            ("SELECT count(*) FROM events WHERE kind = 'request.approved'", 1),
            ("SELECT count(*) FROM runs WHERE status = 'queued'", 1),
        ]:
            assert database.execute(query).fetchone() == (there if decided else 0,), query
    finally:
        database.close()
