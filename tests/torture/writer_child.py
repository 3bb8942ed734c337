"""A process that writes to a database that others use too, and says what it was told.

Usage: writer_child.py DATABASE NAME NUMBER. Prints the seconds of its longest wait.
"""

from __future__ import annotations

import asyncio
import sys
import time

from writes import event

from graph_runtime import open_store
from graph_runtime.storage import Batch


async def main(database: str, name: str, number: int) -> None:
    longest = 0.0
    async with open_store(database) as store:
        for n in range(number):
            began = time.monotonic()
            await store.commit(Batch("note", (event(f"{name}-{n:06}"),)))
            longest = max(longest, time.monotonic() - began)
    sys.stdout.write(f"{longest}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
