"""Who asks, where a node asks beside itself: gather() and TaskGroup run branches as tasks of their own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from .errors import ValueRefused
from .values import Codec

_BESIDE = "beside "


def running_task() -> asyncio.Task[Any] | None:
    """Return the asyncio task that runs here; None in the thread of a plain function."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def branch_key(codec: Codec, home: asyncio.Task[Any] | None) -> str | None:
    """Return what tells a branch that runs beside the node from others: what its function was given.

    Which of two branches comes first is chance: one that asks what another one asks must not be given the
    other's answer. Lists and sets are left out, because branches gather results in them. None in the node's
    own task, its ``home``, and for a branch that was given nothing that can be told.
    """
    task = running_task()
    frame = None if task is None or task is home else getattr(task.get_coro(), "cr_frame", None)
    if frame is None:
        return None
    code, given = frame.f_code, {}
    for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        value = frame.f_locals.get(name)
        if not isinstance(value, list | set):
            with contextlib.suppress(ValueRefused):
                given[name] = codec.digest(value)
    return _BESIDE + codec.digest(given) if given else None


def is_beside(key: str | None) -> bool:
    """Say whether a question has such a key."""
    return key is not None and key.startswith(_BESIDE)
