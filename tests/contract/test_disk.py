"""A disk that is full, over a quota or read-only: told by its name, nothing half written, healed by itself."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from writes import event, event_ids

from graph_runtime import StoreUnavailable
from graph_runtime.storage import Batch

CHILD = Path(__file__).parent / "disk_child.py"
PATHS = ":".join(str(CHILD.parents[1] / name) for name in ("contract", "runtime", ""))


async def child(*words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *words, env={"PYTHONPATH": PATHS}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def check(said: dict[str, Any], cause: str) -> None:
    assert all(f"batch 'large' was not written: {cause}" in one for one in said["said"]), said
    assert cause in said["copy"]
    assert said["copy"].endswith("left: []"), said
    assert (said["seen"], said["after"], said["status"], said["intact"]) == (False, True, "completed", "ok")


async def test_a_file_that_may_not_grow_is_told_and_healed_without_a_new_start(tmp_path: Path) -> None:
    code, out, err = await child(sys.executable, str(CHILD), "limit", str(tmp_path))
    assert code == 0, err
    check(json.loads(out), "the disk failed, or is full")


async def test_a_small_disk_that_fills_and_is_freed_and_one_that_is_read_only(tmp_path: Path) -> None:
    folder = shlex.quote(str(tmp_path))
    mounted = f"mount -t tmpfs -o size=2m tmpfs {folder}"
    code, _, err = await child("unshare", "-rm", "sh", "-c", f"{mounted}")
    if code:
        pytest.skip(f"no disk can be made here: {err.strip()}")
    run = f"{mounted} && exec {shlex.join([sys.executable, str(CHILD), 'disk', str(tmp_path)])}"
    code, out, err = await child("unshare", "-rm", "sh", "-c", run)
    assert code == 0, err
    said = json.loads(out)
    check(said, "the disk is full")
    assert "no database was opened" in said["read-only"]
    assert "read-only" in said["read-only"].lower()
    assert said["writable"]


async def test_a_file_that_turned_read_only_is_told_and_healed(store: Any) -> None:
    await store.commit(Batch("test", (event("e1"),)))
    await store._writer.execute_fetchall("PRAGMA query_only=ON")
    with pytest.raises(StoreUnavailable, match="not written: the file or its disk is read-only"):
        await store.commit(Batch("test", (event("e2"),)))
    assert await event_ids(store) == ["e1"]
    await store._writer.execute_fetchall("PRAGMA query_only=OFF")
    await store.commit(Batch("test", (event("e3"),)))
    assert await event_ids(store) == ["e1", "e3"]
