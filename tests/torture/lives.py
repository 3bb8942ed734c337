"""Lives one life of a story after another, each in a process of its own that has everything imported.

Usage: lives.py. Reads a line of JSON for each life: ``story``, ``folder``, ``life``, and what it is to meet:
``fault`` and ``count`` for a named one, ``wait`` when somebody is to look at the process before it begins,
``tells`` when it is to say in a pipe what it was told.
Prints the process's id, and when it has ended, how.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from living import again_after_errors, alive, note
from stories import STORIES

from graph_runtime import StoreUnavailable
from graph_runtime.faults import Faults
from graph_runtime.storage import sqlite  # noqa: F401 - not to be imported by each life

#: What ``prctl`` takes for: end with your parent, and: whoever likes may trace this process.
_SET_PDEATHSIG, _SET_PTRACER, _ANY = 1, 0x59616D61, -1
_libc = ctypes.CDLL(None)


async def live(asked: dict[str, Any]) -> dict[str, Any]:
    """Play the story to its end; return what was said on the way, and which batches passed."""
    story, folder = STORIES[asked["story"]], Path(asked["folder"])
    passed: Counter[str] = Counter()
    point = Faults.point

    def count(self: Faults, side: Any, batch: str) -> None:
        passed[batch] += side == "before"
        point(self, side, batch)

    Faults.point = count  # type: ignore[method-assign]
    said: list[str] = []
    with (folder / "told").open("w") if asked.get("tells") else contextlib.nullcontext() as told:
        while True:
            try:
                async with alive(
                    folder, asked["life"], asking=story.asking, name=asked.get("name", "")
                ) as world:
                    await again_after_errors(world, story.play, said, told)
                break
            except StoreUnavailable as error:
                await note(error, said, told)
            if told is None:
                break  # who cannot open its database ends, and is started again by others
    return {"said": said, "passed": passed}


def be_born(asked: dict[str, Any]) -> None:
    """Live in this process, and end it."""
    folder = Path(asked["folder"])
    try:
        _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if asked.get("fault"):
            os.environ["SIGNOFF_FAULT"] = asked["fault"]
            os.environ["SIGNOFF_FAULT_COUNT"] = str(asked.get("count", 1))
        if asked.get("wait"):
            _libc.prctl(_SET_PTRACER, ctypes.c_ulong(_ANY), 0, 0, 0)
            (folder / "go").read_bytes()
        found = asyncio.run(live(asked))
        (folder / "lived").write_text(json.dumps(found))
    except BaseException:  # noqa: BLE001 - whatever it was, whoever looks at this life is told
        (folder / "error").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            be_born(asked)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
