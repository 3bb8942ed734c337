"""A peer's driver in its own process: one line of JSON is asked, one is answered."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from .environments import CACHE, ROOT, Peer

#: A measure that takes longer has hung.
PATIENCE = 1_800.0
#: The marks that peers/counting.py leaves in a trace.
_MARK = "(999999)"


def ask_fresh(peer: Peer, question: dict[str, Any], folder: str, *, shim: Path | None) -> dict[str, Any]:
    """Fill a database in one process, and look at it with another that has just begun (W5)."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = str(Path(place) / "data" / "data.db")
        Path(path).parent.mkdir()
        for kind in ("fill", "find"):
            spawned = time.monotonic()
            with contextlib.closing(Process(peer, shim=shim)) as process:
                figures |= process.ask({**question, "kind": kind, "path": path, "spawned": spawned})
    return figures


class Process:
    """Runs one peer's driver from the first question to ``close``; its stderr goes to ``.bench/NAME.log``.

    ``shim`` counts fsyncs within the process. With ``traced`` strace counts them from outside, which costs
    time: such answers are good for counts alone.
    """

    def __init__(self, peer: Peer, *, shim: Path | None, traced: bool = False) -> None:
        self.peer = peer
        self._trace = CACHE / f"{peer.name}.trace" if traced else None
        command = [str(peer.python()), "-m", f"benchmarks.peers.{peer.name}"]
        if self._trace is not None:
            trace = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", str(self._trace)]
            command = [*trace, *command]
        with (CACHE / f"{peer.name}.log").open("a") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                command,
                cwd=ROOT,
                env={**os.environ, **({"LD_PRELOAD": str(shim)} if shim else {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the figures of one measure; ``{"error": why}`` when the peer did not come through."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watchdog = threading.Timer(PATIENCE, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            why = f"exit code {self._process.wait()}; see .bench/{self.peer.name}.log"
            return {"error": f"its process ended: {why}"}
        answer: dict[str, Any] = json.loads(line)
        if self._trace is not None and "error" not in answer:
            answer["fsyncs"] = self._traced() / answer["units"]
        return answer

    def close(self) -> None:
        """End the process by ending its input."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    def _traced(self) -> int:
        """Return the fsyncs between the last two marks."""
        assert self._trace is not None
        calls = [line for line in self._trace.read_text().splitlines() if "sync(" in line]
        marks = [number for number, line in enumerate(calls) if _MARK in line]
        return marks[-1] - marks[-2] - 1
