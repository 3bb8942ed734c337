"""Lists of messages that grow, are replaced by id and removed by id: ``Annotated[list, add_messages]``."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, TypedDict

#: A RemoveMessage with this id removes all.
REMOVE_ALL_MESSAGES = "__remove_all__"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    content: Any
    id: str | None = None
    name: str | None = None
    additional_kwargs: Mapping[str, Any] = field(default_factory=dict)

    type: ClassVar[str] = "message"


@dataclass(frozen=True, slots=True)
class HumanMessage(Message):
    """What a person said."""

    type: ClassVar[str] = "human"


@dataclass(frozen=True, slots=True)
class AIMessage(Message):
    """What a model said, and the tools it wants called."""

    tool_calls: Sequence[Any] = field(default_factory=list)

    type: ClassVar[str] = "ai"


@dataclass(frozen=True, slots=True)
class SystemMessage(Message):
    """What a model is told to be."""

    type: ClassVar[str] = "system"


@dataclass(frozen=True, slots=True)
class ToolMessage(Message):
    """What a tool returned."""

    tool_call_id: str = ""
    status: str = "success"

    type: ClassVar[str] = "tool"


@dataclass(frozen=True, slots=True)
class RemoveMessage:
    """Removes the message of that id from the list."""

    id: str

    type: ClassVar[str] = "remove"


AnyMessage = Message
MESSAGE_CLASSES: tuple[type, ...] = (HumanMessage, AIMessage, SystemMessage, ToolMessage, RemoveMessage)
_ROLES: dict[str, type[Message]] = {
    "human": HumanMessage,
    "user": HumanMessage,
    "ai": AIMessage,
    "assistant": AIMessage,
    "system": SystemMessage,
    "tool": ToolMessage,
}


def add_messages(left: Any, right: Any) -> list[Any]:
    """Return ``left`` with ``right`` appended; a message with a known id takes its place, and RemoveMessage
    removes it. A message without an id is given one.

    Texts are what a person said; ``{"role": ..., "content": ...}`` and ``(role, content)`` are messages too.
    Raises ValueError for removing an id that is not there, and for what is no message.
    """
    merged = [_read(one) for one in _many(left)]
    added = [_read(one) for one in _many(right)]
    for number, one in enumerate(added):
        if isinstance(one, RemoveMessage) and one.id == REMOVE_ALL_MESSAGES:
            return [m for m in added[number + 1 :] if not isinstance(m, RemoveMessage)]
    places = {one.id: number for number, one in enumerate(merged)}
    removed: set[str | None] = set()
    for one in added:
        place = places.get(one.id)
        if isinstance(one, RemoveMessage):
            if place is None:
                raise ValueError(f"no message was removed: there is none with the id {one.id!r}")
            removed.add(one.id)
        elif place is None:
            places[one.id] = len(merged)
            merged.append(one)
        else:
            removed.discard(one.id)
            merged[place] = one
    return [one for one in merged if one.id not in removed]


class MessagesState(TypedDict):
    """A state of messages; a state of one's own may inherit from it."""

    messages: Annotated[list[AnyMessage], add_messages]


def _many(messages: Any) -> Sequence[Any]:
    return messages if isinstance(messages, list) else [messages]


def _read(one: Any) -> Any:
    if isinstance(one, RemoveMessage):
        return one
    if isinstance(one, str):
        one = HumanMessage(one)
    elif isinstance(one, tuple) and len(one) == 2:
        one = _made(one[0], one[1], {})
    elif isinstance(one, Mapping):
        rest = {key: value for key, value in one.items() if key not in {"role", "type", "content"}}
        one = _made(one.get("role") or one.get("type"), one.get("content", ""), rest)
    if not isinstance(one, Message):
        raise ValueError(f"no message was added: {type(one).__name__} is no message")  # noqa: TRY004
    return one if one.id is not None else replace(one, id=str(uuid.uuid4()))


def _made(role: Any, content: Any, rest: Mapping[str, Any]) -> Message:
    cls = _ROLES.get(role)
    if cls is None:
        raise ValueError(f"no message was added: {role!r} is no role; there are {', '.join(sorted(_ROLES))}")
    return cls(content, **rest)
