"""Another process on the same database: claims runs, or votes for one key, and prints what it got as JSON.

Usage: store_child.py DATABASE claim|start NAME
"""

from __future__ import annotations

import asyncio
import json
import sys

from graphs import review_then_publish

from graph_runtime import Runtime, ThreadBusy, open_store


async def work(database: str, what: str, name: str) -> None:
    async with open_store(database) as store:
        runtime = Runtime(store, [review_then_publish()], owner=name)
        got: list[str] = []
        if what == "claim":
            while (run := await runtime.claim()) is not None:
                got.append(run.id)
                await runtime.drive(run)
        else:
            for number in range(20):
                try:
                    run = await runtime.start("review", {"subject": name}, thread_id=f"case-{number}")
                except ThreadBusy:
                    continue
                got.append(run.thread_id)
        sys.stdout.write(json.dumps({"got": got, "deployment": store.deployment}))


def main() -> None:
    asyncio.run(work(*sys.argv[1:4]))


if __name__ == "__main__":
    main()
