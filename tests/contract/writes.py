"""The simplest things to write, and how to see whether they are there."""

from __future__ import annotations

from typing import Any

from graph_runtime import Store
from graph_runtime.storage import Ask, Do


def thread(name: str, guard: str | None = None) -> Do:
    return Do("put_thread", {"thread_id": name, "now": 1}, guard=guard)


def event(id_: str, *, guard: str | None = None, **changed: Any) -> Do:
    said: dict[str, Any] = {
        "kind": "test",
        "now": 1,
        "actor": None,
        "thread_id": None,
        "run_id": None,
        "request_id": None,
    }
    return Do("put_event", {"event_id": id_, "data": "{}", **said, **changed}, guard=guard)


async def event_ids(store: Store) -> list[str]:
    (rows,) = await store.read(Ask("find_events", {"limit": 10_000}))
    return [row["event_id"] for row in rows]
