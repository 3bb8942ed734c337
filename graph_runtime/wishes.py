"""What a call says, read: which thread and place it means, what it answers, what its run may use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from .beginnings import Limits
from .config import RECURSION_LIMIT, thread_of
from .errors import UnknownInterrupt


def answers_in(resume: Any, waiting: Sequence[str], *, strict: bool) -> dict[str, Any] | None:
    """Return the answers by question id; None when one plain value is meant for the only question."""
    ids = isinstance(resume, Mapping) and bool(resume) and all(_is_id(key) for key in resume)
    if ids:
        return dict(resume)
    if strict:
        raise UnknownInterrupt("nothing was resumed: a strict graph takes answers as {interrupt_id: answer}")
    if len(waiting) > 1:
        raise RuntimeError(
            f"nothing was resumed: {len(waiting)} questions are open; answer by {{interrupt_id: answer}}: "
            + ", ".join(waiting)
        )
    return None


def _is_id(key: Any) -> bool:
    return isinstance(key, str) and len(key) == 32 and all(c in "0123456789abcdef" for c in key)


def address(config: Mapping[str, Any] | None) -> tuple[str, str | None, str]:
    """Return the thread, checkpoint and namespace that a config names.

    Raises ValueError or KeyError for one without a thread, and :class:`UnknownThread` for what names none.
    """
    configurable = (config or {}).get("configurable")
    if configurable is None:
        raise ValueError(
            'nothing was done: a graph with a checkpointer needs {"configurable": {"thread_id": ...}}'
        )
    return thread_of(configurable), configurable.get("checkpoint_id"), configurable.get("checkpoint_ns", "")


def discards(on_paused: str | None) -> bool:
    """Say whether what waits is to be withdrawn. Raises ValueError for any other wish."""
    if on_paused not in {None, "discard"}:
        raise ValueError(f'nothing was done: on_paused is "discard" or nothing, not {on_paused!r}')
    return on_paused == "discard"


def names_in(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of nodes as a tuple."""
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)


def limits_in(config: Mapping[str, Any] | None) -> Limits:
    """Return what a run that a call begins may use. Raises TypeError or ValueError for what is no limit."""
    given = (config or {}).get("limits") or Limits()
    if not isinstance(given, Limits):
        raise TypeError(f"nothing was run: the config's limits are Limits(...), not a {type(given).__name__}")
    limit = (config or {}).get("recursion_limit", RECURSION_LIMIT)
    if limit < 1:
        raise ValueError("recursion_limit must be at least 1")
    return dataclasses.replace(given, steps=min(limit, given.steps or limit))
