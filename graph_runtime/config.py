"""What a node is told of the call that it runs in: a config with LangGraph's keys."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any

import pydantic

from .errors import UnknownThread

#: LangGraph's default: user steps a run may take, and one.
RECURSION_LIMIT = 10_007

Config = Mapping[str, Any]
#: Keys of a config that say where a call runs.
_PLACE = frozenset({"thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", "run_id", "task_id"})


def merged(*configs: Config | None) -> dict[str, Any]:
    """Return one config: tags add up, configurable and metadata key by key, of anything else the last one."""
    one: dict[str, Any] = {}
    for config in configs:
        for key, value in (config or {}).items():
            if value is None:
                continue
            if key in {"configurable", "metadata"}:
                one[key] = {**one.get(key, {}), **value}
            elif key == "tags":
                one[key] = [*one.get(key, ()), *(tag for tag in value if tag not in one.get(key, ()))]
            else:
                one[key] = value
    return one


def of_task(config: Config | None, configurable: Config, metadata: Config) -> dict[str, Any]:
    """Return what a task is given: the call's config, completed, with where the task runs."""
    whole = {"tags": [], "metadata": {}, "recursion_limit": RECURSION_LIMIT, "configurable": {}}
    return merged(whole, config, {"configurable": configurable, "metadata": metadata})


def found_again(config: Config) -> dict[str, Any]:
    """Return what is kept beside each checkpoint of a call: its metadata, and the plain ones of its own keys.

    Not those that say where it runs, nor those that begin with two underscores.
    """
    own = {
        key: value
        for key, value in (config.get("configurable") or {}).items()
        if isinstance(value, str | int | float) and key not in _PLACE and not key.startswith("__")
    }
    return {**(config.get("metadata") or {}), **own}


def fitted(schema: Any, context: Any) -> Any:
    """Return the context as an instance of its schema, when it is a dict and the schema a class of its own.

    Raises ``TypeError`` or ``pydantic.ValidationError`` for a dict that does not fit.
    """
    a_class = isinstance(schema, type) and (
        issubclass(schema, pydantic.BaseModel) or dataclasses.is_dataclass(schema)
    )
    return schema(**context) if isinstance(context, dict) and a_class else context


def thread_of(configurable: Mapping[str, Any]) -> str:
    """Return the name of a thread as it is stored: of a number or a UUID, its text.

    Raises KeyError where there is none, and :class:`UnknownThread` for what names no thread.
    """
    thread = configurable["thread_id"]
    if isinstance(thread, int | uuid.UUID) and not isinstance(thread, bool):
        return str(thread)
    if not isinstance(thread, str) or not thread.strip():
        raise UnknownThread(
            f"nothing was done: {thread!r} is no thread id; a text, a number or a UUID is one"
        )
    return thread
