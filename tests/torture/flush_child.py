"""A process that commits once more, says what it was told, and is killed at once.

Usage: flush_child.py DATABASE. Waits for a line between the first commit and the second.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from writes import event

from graph_runtime import StoreError, open_store
from graph_runtime.storage import Batch


async def main(database: str) -> None:
    async with open_store(database) as store:
        await store.commit(Batch("first", (event("before"),)))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        try:
            await store.commit(Batch("second", (event("after"), event("too"))))
            said = "committed"
        except StoreError as error:
            said = type(error).__name__
        sys.stdout.write(f"{said}\n")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
