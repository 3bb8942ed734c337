"""A program whose disk gives out and comes back; prints what it was told, as JSON.

Usage: disk_child.py limit FOLDER, or disk_child.py disk FOLDER where FOLDER is a small disk of its own.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from graphs import review_then_publish
from writes import event, event_ids

from graph_runtime import Runtime, Store, StoreUnavailable, Upkeep, open_store
from graph_runtime.storage import Batch

#: Larger than what is left in the pages that the file has already.
LARGE = "x" * 100_000


async def refused(store: Store) -> str:
    """Return what a batch is told that the disk does not take."""
    try:
        await store.commit(Batch("large", (event("refused"), event("large", data=LARGE))))
    except StoreUnavailable as error:
        return str(error)
    raise AssertionError("the disk took it")


async def give_out(folder: Path, full: Callable[[], None], free: Callable[[], None]) -> dict[str, object]:
    async with open_store(f"sqlite:///{folder}/signoff.db") as store:
        runtime = Runtime(store, [review_then_publish()])
        paused = await runtime.advance((await runtime.start("review", {"subject": "s"})).id)
        await store.commit(Batch("first", (event("before"),)))
        full()
        said = [await refused(store), await refused(store)]
        seen = await event_ids(store)
        asked = (await runtime.look(paused.id)).open
        upkeep, copy = Upkeep(f"sqlite:///{folder}/signoff.db"), folder / "copy.db"
        try:
            await upkeep.back_up(copy)
        except StoreUnavailable as error:
            said_of_copy = f"{error}; left: {[file.name for file in folder.glob('copy*')]}"
        free()
        await upkeep.back_up(copy)
        await store.commit(Batch("large", (event("after"), event("large", data=LARGE))))
        await runtime.resume(paused.thread_id, paused.id, asked[0].interrupt.id, {"decision": "approve"})
        ended = await runtime.advance(paused.id)
        return {
            "said": said,
            "copy": said_of_copy,
            "seen": "refused" in seen,
            "after": "after" in await event_ids(store),
            "status": ended.status,
            "intact": (await store.check())["intact"],
        }


async def limit(folder: Path) -> dict[str, object]:
    """A limit on the size of files: writes past it fail as on a disk with a quota."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, most))

    return await give_out(folder, full, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))


async def disk(folder: Path) -> dict[str, object]:
    ballast = folder / "ballast"

    def full() -> None:
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                return

    said = await give_out(folder, full, ballast.unlink)
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    try:
        async with open_store(f"sqlite:///{folder}/signoff.db"):
            said["read-only"] = "opened"
    except StoreUnavailable as error:
        said["read-only"] = str(error)
    subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    async with open_store(f"sqlite:///{folder}/signoff.db") as store:
        said["writable"] = "after" in await event_ids(store)
    return said


if __name__ == "__main__":
    found = asyncio.run({"limit": limit, "disk": disk}[sys.argv[1]](Path(sys.argv[2])))
    sys.stdout.write(json.dumps(found))
