"""Killed before every write and every flush of a program: what it was told is there, and the next life goes on.

strace kills the process as it enters the n-th call, of each kind. The program lives in memory: a kill takes
nothing that was written, flushed or not, so it is the order of the writes that is tried here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aside import aside
from kit import NIGHTLY, much
from nursery import WRITES, Nursery, calls, nursery, strace
from regime import sample, say
from stories import SIX

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3_600 if NIGHTLY else 300)]
#: Of each story; a night takes all of them.
POINTS, ERRORS = 20, 3


@pytest.fixture(scope="module", autouse=True)
def _strace() -> None:
    """Without it nothing here can be tried; the test of every named commit stands in for it."""
    why = "strace is not installed"
    if shutil.which("strace"):
        tried = subprocess.run(
            ["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False
        )
        if tried.returncode == 0:
            return
        why = f"strace may not trace here: {tried.stderr.strip()}"
    if os.environ.get("SIGNOFF_TESTS_NEED_STRACE"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.mark.parametrize("story", SIX)
def test_killed_before_any_write_or_flush_the_next_life_finds_all_it_needs(story: str) -> None:
    with nursery(story) as house:
        every = points(house)
        died = 0
        for call, number in sample(every, POINTS):
            folder = house.folder()
            inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}")
            lived = house.live(folder, trace=inject)
            died += lived.code == -signal.SIGKILL
            assert house.finish(folder) == [], f"killed before {call} number {number}"
            house.remove(folder)
        tried = min(len(every), much(POINTS, len(every)))
        # A program that is timed a little otherwise may have come to its end one write earlier.
        assert died >= 0.9 * tried
        say(f"{story}: killed at {died} of {len(every)} points")


def points(house: Nursery) -> list[tuple[str, int]]:
    """Return every write and flush of the story, by call and number."""
    folder = house.folder()
    lived = house.live(folder, trace=("-e", f"trace={','.join(WRITES)}"))
    assert (lived.code, lived.said) == (0, [])
    assert house.finish(folder) == []
    return [(call, n + 1) for call, most in calls(folder).items() for n in range(most)]


@pytest.mark.parametrize("story", SIX)
def test_what_was_acknowledged_was_flushed_before(story: str) -> None:
    """A kill cannot show this, for it leaves the machine's memory as it is; the order of the calls does."""
    with nursery(story) as house:
        folder = house.folder()
        watch = ("-y", "-e", "trace=pwrite64,fdatasync,write")
        assert house.live(folder, trace=watch).code == 0
        acks = unflushed = 0
        flushing: set[str] = set()
        for line in (folder / "trace").read_text().splitlines():
            thread, call = line.split(maxsplit=1)
            if re.match(r"pwrite64\(\d+<[^>]*-wal>", call):
                unflushed += 1
            elif re.match(r"fdatasync\(\d+<[^>]*-wal> <unfinished", call):
                flushing.add(thread)
            elif re.match(r"fdatasync\(\d+<[^>]*-wal>\) += 0", call):
                unflushed = 0
            elif re.match(r"<\.\.\. fdatasync resumed>\) += 0", call) and thread in flushing:
                flushing.remove(thread)
                unflushed = 0
            elif re.match(r"write\(\d+<[^>]*/acks>", call):
                acks += 1
                assert not unflushed, f"acknowledged before it was flushed: {line}"
        assert acks >= 1
        say(f"{story}: {acks} acknowledgements, each after its flush")


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("story", SIX)
def test_a_write_or_flush_that_fails_once_is_told_and_heals(story: str, error: str) -> None:
    tried = 0
    with nursery(story) as house:
        for call, number in sample([p for p in points(house) if p[0] != "unlink"], ERRORS):
            folder = house.folder()
            inject = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}")
            lived = house.live(folder, trace=inject)
            assert lived.code == 0
            assert all(_honest(said) for said in lived.said), lived.said
            assert house.finish(folder) == [], f"{error} at {call} number {number}"
            house.remove(folder)
            tried += 1
    say(f"{story}: {tried} calls failed once with {error}")


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("story", SIX)
def test_a_disk_that_fails_from_some_moment_on_is_told_and_heals_without_a_new_start(
    story: str, error: str
) -> None:
    tried = 0
    with nursery(story) as house:
        for call, number in sample([p for p in points(house) if p[0] in {"pwrite64", "fdatasync"}], ERRORS):
            folder = house.folder()
            # The program says in a file that it was told; then the disk is as it was before.
            house.begin(folder, life=1, wait=True, tells=True)
            inject = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}+")
            with strace(house.pid, folder, inject) as tracer:
                (folder / "go").write_bytes(b"")
                told = _first_line(folder / "told")
                tracer.terminate()
            lived = house.ended(folder)
            assert lived.code == 0
            assert bool(told) == bool(lived.said)
            assert all(_honest(said) for said in lived.said), lived.said
            assert house.finish(folder) == [], f"{error} from {call} number {number} on"
            house.remove(folder)
            tried += 1
    say(f"{story}: {tried} times the disk failed with {error} until it was mended")


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_what_was_refused_is_not_there_after_a_kill_and_what_nobody_knows_is_there_or_not(
    tmp_path: Path, error: str
) -> None:
    """What could not be flushed stands in the log all the same, where a crash finds it."""
    told = {}
    for call, number in [
        ("pwrite64", 1),
        ("pwrite64", 2),
        ("pwrite64", 5),
        ("fdatasync", 1),
        ("pwrite64", 999),
    ]:
        folder = tmp_path / f"{call}-{number}"
        folder.mkdir()
        database = f"sqlite:///{folder}/signoff.db"
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("flush_child.py")), database],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            inject = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}")
            with strace(child.pid, folder, inject):
                said = child.communicate("go\n")[0].strip()
        with aside(database) as connection:
            there = [row[0] for row in connection.execute("SELECT event_id FROM events ORDER BY 1")]
        whole, nothing = ["after", "before", "too"], ["before"]
        assert (
            there
            in {
                "committed": [whole],
                "StoreUnavailable": [nothing],
                "CommitUnknown": [whole, nothing],
            }[said]
        ), (call, number, said)
        told[call, number] = said
    assert told["pwrite64", 1] == "StoreUnavailable"
    assert told["fdatasync", 1] == "CommitUnknown"
    assert told["pwrite64", 999] == "committed"


def _first_line(pipe: Path) -> str:
    """Return what the program says first; nothing when it ends without a word."""
    with pipe.open(encoding="utf-8") as lines:
        return lines.readline()


def _honest(said: str) -> bool:
    return any(
        re.match(words, said)
        for words in (
            r"StoreUnavailable: no database was opened at .*: (the disk|the file|No space|Input)",
            r"StoreUnavailable: batch .* was not written: the disk",
            r"CommitUnknown: batch .* was written and could not be flushed: the disk",
        )
    )
