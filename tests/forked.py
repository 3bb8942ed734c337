"""Programs that begin at once: a process that has everything loaded forks them.

Each is a process of its own, with an event loop and an output of its own, and a kill ends it as it would end any
other; only the second of imports was done before, once for all.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

#: What those programs use; what is not here, each loads itself.
LOADED = [
    "approval_graphs",
    "bot.app",
    "bot.cli",
    "bot.demo",
    "crash_child",
    "erase_child",
    "graph_runtime.procrastinate",
    "graph_runtime.storage.postgres",
    "graph_runtime.storage.sqlite",
    "refund_child",
    "restore_child",
    "store_child",
    "worker_child",
]
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(LOADED)


class Forked:
    """A program under way, as a process of its own; what it prints is in ``out``, and its errors in ``err``."""

    def __init__(
        self,
        program: Callable[[], None],
        *words: str,
        env: Mapping[str, str],
        out: Path,
        err: Path | None = None,
    ) -> None:
        self.out, self.err = out, err or out
        for path in (self.out, self.err):
            path.write_bytes(b"")
        # It finds what it is to load where this process finds it.
        with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path)):
            forkserver.ensure_running()
        given = (program, words, dict(env), self.out, self.err)
        self._process = _forks.Process(target=_live, args=given, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, if it has: its exit code, or less than 0 for the signal that killed it."""
        return self._process.exitcode

    async def wait(self) -> int:
        """Return how it ended, once it has."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        return code

    async def says(self, line: str) -> None:
        """Return once it has printed this line; fail when it ends without."""
        while line not in self.read().splitlines():
            assert self.returncode is None, self.err.read_text("utf-8")
            await asyncio.sleep(0.002)

    def read(self) -> str:
        """Return what it has printed so far."""
        return self.out.read_text("utf-8")

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _live(program: Callable[[], None], words: list[str], env: dict[str, str], out: Path, err: Path) -> None:
    """Be that program."""
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [program.__module__, *words]
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    program()
