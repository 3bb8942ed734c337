"""What every peer's process does: read one measure a line, take it, answer with figures.

It runs under each peer's own Python, so it and what it measures with import the standard library alone. A
peer gives one function, ``open_session(variant, path)``, or ``open_door`` when it takes clicks; whatever is
counted and timed is counted and timed here, for all alike.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback

from benchmarks.peers.clicks import OpenDoor, clicks
from benchmarks.peers.counting import CountingLoop, Figures, Fsyncs
from benchmarks.peers.paused import fill, find
from benchmarks.peers.workloads import Open, measure


def serve(
    open_session: Open | None = None, *, open_door: OpenDoor | None = None, alone: bool = False
) -> None:
    """Answer each line of standard input with one line, until it ends.

    ``alone``: the peer cannot have two databases open at once.
    """
    # What a library prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    fsyncs = Fsyncs()

    async def answer(ask: Figures) -> Figures:
        if open_door is not None:
            return await clicks(open_door, ask, fsyncs)
        assert open_session is not None
        match ask["kind"]:
            case "fill":
                return await fill(open_session, ask)
            case "find":
                return await find(open_session, ask)
            case _:
                return await measure(open_session, ask, fsyncs)

    for line in sys.stdin:
        with asyncio.Runner(loop_factory=CountingLoop) as runner:
            try:
                figures = runner.run(answer({**json.loads(line), "alone": alone}))
            except NotImplementedError:
                figures = {"left_out": True}
            except Exception as error:  # noqa: BLE001 - the peer's fault is a line of the table, not the end
                traceback.print_exc()
                figures = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(figures) + "\n")
        answers.flush()
