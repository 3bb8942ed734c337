"""The peers, and an environment for each: a virtual one of its own, made at first use under ``.bench``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".bench"
ALL = ("W1", "W2", "W3", "W4", "W6")


class NotMade(Exception):
    """An environment could not be made; its text says why."""


@dataclass(frozen=True)
class Peer:
    """One contestant: what must be installed for it, and its variants with the workloads that each takes."""

    name: str
    variants: Mapping[str, Collection[str]]
    #: Empty: it runs in the environment of this process.
    requirements: tuple[str, ...] = ()
    #: Pausing more threads than this in W5 would take more than a few minutes.
    most_paused: int = 100_000

    def python(self) -> Path:
        """Return the peer's interpreter, making its environment if need be. Raises :class:`NotMade`."""
        if not self.requirements:
            return Path(sys.executable)
        folder = CACHE / self.name
        interpreter, stamp = folder / "bin" / "python", folder / "requirements"
        wanted = "\n".join(self.requirements)
        if stamp.exists() and stamp.read_text() == wanted:
            return interpreter
        shutil.rmtree(folder, ignore_errors=True)
        print(f"making the environment of {self.name} ...", file=sys.stderr)
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, *self.requirements])
        stamp.write_text(wanted)
        return interpreter


PEERS = (
    Peer("ours", {"sync": (*ALL, "W5"), "async": ALL, "request": ("W1", "W5")}),
    Peer(
        "langgraph",
        {"sync": (*ALL, "W5"), "async": ALL},
        ("langgraph==1.2.22", "langgraph-checkpoint-sqlite==3.1.2"),
        most_paused=10_000,
    ),
    Peer("burr", {"wal": (*ALL, "W5"), "shipped": ALL}, ("apache-burr[aiosqlite,tracking-client]==0.43.0",)),
    Peer(
        "dbos",
        {"polwal": ("W1", "W2", "W3", "W4", "W5"), "shipped": ("W1", "W2", "W3")},
        ("dbos==3.4.0",),
        most_paused=1_000,
    ),
    Peer("bot", {"decision": ("Slack",)}),
    Peer("bolt", {"plain": ("Slack",), "transaction": ("Slack",)}),
    Peer(
        "floor",
        {
            "2t": ("W1",),
            "3t": ("W1", "W2", "W3", "W4"),
            "6t": ("W1",),
            "3g": ("W1", "W3", "W5"),
            "3d": ("W4",),
        },
    ),
)


def shim() -> Path | None:
    """Return the library that counts fsyncs, built from shim.c; None without a C compiler."""
    source, built = Path(__file__).parent / "shim.c", CACHE / "shim.so"
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    CACHE.mkdir(exist_ok=True)
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        try:
            _run([compiler, "-O2", "-shared", "-fPIC", "-o", str(built), str(source), "-ldl"])
        except NotMade as why:
            print(f"fsyncs are not counted by the shim: {why}", file=sys.stderr)
            return None
    return built


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotMade(f"{Path(command[0]).name}: {said[-1] if said else f'exit code {done.returncode}'}")
