"""Where lives come from: copies of a story's beginning, processes that live it, and a tracer beside them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from living import alive
from promises import broken, read_told
from stories import STORIES

HERE = Path(__file__).parent
#: What a program does to a database file that a crash may come between.
WRITES = ("pwrite64", "fdatasync", "fsync", "ftruncate", "unlink")


@dataclass(frozen=True)
class Lived:
    """How a life went: its exit code, what it met on the way, and which batches passed the door."""

    code: int
    said: list[str]
    passed: Counter[str]


class Nursery:
    """Begins lives of one story, each on a copy of the same beginning."""

    def __init__(self, story: str, room: Path) -> None:
        self.story, self._room, self._number = story, room, 0
        paths = [str(HERE), str(HERE.parent / "runtime"), str(HERE.parent), str(HERE.parent.parent)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "SIGNOFF_"))}
        self._lives = subprocess.Popen(
            [sys.executable, str(HERE / "lives.py")],
            env={**environment, "PYTHONPATH": os.pathsep.join([*paths, *sys.path])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._beginning = room / "beginning"
        self._beginning.mkdir()
        asyncio.run(self._begin())

    async def _begin(self) -> None:
        story = STORIES[self.story]
        async with alive(self._beginning, 0, asking=story.asking) as world:
            await story.begin(world)

    def close(self) -> None:
        # Whoever still lives in it ends with it.
        with self._lives:
            self._lives.kill()

    def folder(self) -> Path:
        """Return a new copy of the story's beginning."""
        self._number += 1
        folder = self._room / str(self._number)
        shutil.copytree(self._beginning, folder)
        return folder

    def live(self, folder: Path, *, life: int = 1, trace: Sequence[str] = (), **more: Any) -> Lived:
        """Live once, and return how that went; with ``trace``, under strace with these arguments."""
        self.begin(folder, life=life, wait=bool(trace), **more)
        tracing = strace(self.pid, folder, trace) if trace else contextlib.nullcontext()
        with tracing:
            if trace:
                (folder / "go").write_bytes(b"")
            return self.ended(folder)

    def begin(self, folder: Path, **more: Any) -> None:
        """Begin a life."""
        if more.get("wait"):
            os.mkfifo(folder / "go")
        if more.get("tells"):
            os.mkfifo(folder / "told")
        assert self._lives.stdin is not None
        self._lives.stdin.write(json.dumps({"story": self.story, "folder": str(folder), **more}) + "\n")
        self._lives.stdin.flush()
        self.pid = int(self._said())

    def ended(self, folder: Path) -> Lived:
        """Return how the life went that was begun last, once it is over."""
        code = int(self._said())
        if (folder / "error").exists():
            raise AssertionError((folder / "error").read_text())
        found = json.loads((folder / "lived").read_text()) if code == 0 else {"said": [], "passed": {}}
        return Lived(code, found["said"], Counter(found["passed"]))

    def _said(self) -> str:
        assert self._lives.stdout is not None
        return self._lives.stdout.readline()

    def finish(self, folder: Path, *, life: int = 2) -> list[str]:
        """Look at what a life has left, play the story to its end, look again; return what was broken."""
        return asyncio.run(self._finish(folder, life))

    async def _finish(self, folder: Path, life: int) -> list[str]:
        database, story = f"sqlite:///{folder}/signoff.db", STORIES[self.story]
        found = [f"left so: {said}" for said in broken(database, read_told(folder), at_rest=True)]
        async with alive(folder, life, asking=story.asking) as world:
            await story.play(world)
            await world.settle()
            found += broken(database, read_told(folder), at_rest=True)
            await story.end(world)
        return found

    def remove(self, folder: Path) -> None:
        shutil.rmtree(folder)


@contextlib.contextmanager
def nursery(story: str) -> Iterator[Nursery]:
    """Yield where a story is lived; in memory, as it is the order of writes that matters and not their time."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    with tempfile.TemporaryDirectory(
        prefix="torture-", dir=memory if os.access(memory, os.W_OK) else None
    ) as room:
        found = Nursery(story, Path(room))
        try:
            yield found
        finally:
            found.close()


@contextlib.contextmanager
def strace(pid: int, folder: Path, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Trace a process that waits, with all its threads, until it or the block ends; the log is in ``trace``."""
    command = ["strace", "-f", "-p", str(pid), "-o", str(folder / "trace"), *arguments]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    said = tracer.stderr.readline().decode()
    assert "attached" in said, f"strace says: {said}"
    try:
        yield tracer
    finally:
        if tracer.poll() is None:
            tracer.terminate()
        tracer.communicate()


def calls(folder: Path) -> Counter[str]:
    """Return how often the busiest thread made each of these calls: strace counts each thread by itself."""
    made: Counter[tuple[str, str]] = Counter()
    for line in (folder / "trace").read_text().splitlines():
        found = re.match(r"(\d+) +(\w+)\(", line)
        if found:
            made[found[1], found[2]] += 1
    most: Counter[str] = Counter()
    for (_, call), number in made.items():
        most[call] = max(most[call], number)
    return most
