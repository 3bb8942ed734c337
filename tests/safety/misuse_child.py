"""Another process that answers the one question of a thread, and waits at the gate until it is told to go on.

Usage: misuse_child.py langgraph|graph_runtime FOLDER ANSWER. Prints "gate" when the node is entered; then, or instead,
one line of JSON: what it paid, and the name of the error that it was given.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from misuse import Till, graph_runtime, langgraph, outcome, thread


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def main(side: str, folder: str, answer: str) -> None:
    lib = {"langgraph": langgraph, "graph_runtime": graph_runtime}[side](Path(folder))
    till = Till(lib)

    async def gate(state: Any) -> Any:
        say("gate")
        await asyncio.to_thread(sys.stdin.readline)
        return await till.gate(state)

    async with lib.saver() as saver:
        got = await outcome(till.graph(saver, gate).ainvoke(lib.Command(resume=answer), thread()))
    error = type(got).__name__ if isinstance(got, Exception) else None
    say(json.dumps({"paid": till.paid, "error": error}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
