"""Killed, failed or cancelled on either side of any commit, by name: nothing is lost, nothing is done twice."""

from __future__ import annotations

import ast
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import NIGHTLY
from nursery import nursery
from regime import say
from stories import STORIES

PACKAGES = [Path(__file__).parents[2] / name for name in ("graph_runtime", "bot")]
#: Where a batch gets its name elsewhere: the words it may get there.
PASSED_ON = {
    ("beginnings.py", "run.origin"): {"retry", "fork"},
    # What the walk has named, in ledger.commit.
    ("ledger.py", "name"): set(),
    ("ledger.py", "self._name"): set(),
}
#: Whoever loses these has only its lease to lose, which lapses by itself.
SILENT = {"hold", "give back"}


def names_in(file: Path) -> Iterator[str]:
    """Yield the name of every batch that a module commits."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called != "Batch" and not called.endswith("ledger.commit"):
            continue
        first = node.args[0]
        for name in (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,):
            if isinstance(name, ast.Constant):
                yield name.value
            else:
                where = (file.name, ast.unparse(name))
                assert where in PASSED_ON, (
                    f"{where}: write the names of this batch out, or say here what they are"
                )
                yield from PASSED_ON[where]


def test_every_batch_of_the_packages_has_a_story_in_which_it_is_broken_off() -> None:
    names = {name for package in PACKAGES for file in package.rglob("*.py") for name in names_in(file)}
    assert {"decide", "claim", "retry", "pause"} <= names
    assert names == {name for story in STORIES.values() for name in story.home}


@pytest.mark.processes
@pytest.mark.timeout(3_600 if NIGHTLY else 300)
@pytest.mark.parametrize("story", [name for name, story in STORIES.items() if story.home])
def test_whatever_happens_beside_a_commit_every_promise_holds(story: str) -> None:
    points = 0
    with nursery(story) as house:
        undisturbed = house.folder()
        lived = house.live(undisturbed)
        assert (lived.code, lived.said) == (0, [])
        assert house.finish(undisturbed) == []
        names = set(lived.passed) - {"after an error"} if NIGHTLY else set(STORIES[story].home)
        for name in sorted(names):
            times = lived.passed[name]
            assert times, f"nothing called {name!r} is committed in this story"
            for count in range(1, times + 1) if NIGHTLY else {1, times}:
                for side in ("before", "after"):
                    for what in ("kill", "error", "cancel"):
                        fault = f"{side}:{name}:{what}"
                        folder = house.folder()
                        met = house.live(folder, fault=fault, count=count)
                        assert met.code == (-signal.SIGKILL if what == "kill" else 0), (fault, count)
                        assert what == "kill" or met.passed[name] >= count, (fault, count)
                        assert what != "error" or met.said or name in SILENT, f"nobody was told of {fault}"
                        assert house.finish(folder) == [], (fault, count)
                        house.remove(folder)
                        points += 1
    say(f"{story}: {points} faults beside {len(names)} batches")
