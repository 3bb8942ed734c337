"""Lists of messages that grow, are replaced by id and removed by id: ``Annotated[list, add_messages]``.

The classes here are for programs that use no other. LangChain's messages are taken as they are where a
program has loaded them: nothing of it is imported here, and without it nothing is missing.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
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
    They become LangChain's when one of its messages is among the others; so they always do in a state whose
    annotation names its classes, or whose graph is made in a program that has loaded them.
    Raises ValueError for removing an id that is not there, and for what is no message.
    """
    theirs = langchain_message()
    if theirs is not None and any(isinstance(one, theirs) for one in (*_many(left), *_many(right))):
        return add_langchain_messages(left, right)
    return _merged([_read(one) for one in _many(left)], [_read(one) for one in _many(right)])


def add_langchain_messages(left: Any, right: Any) -> list[Any]:
    """Do as :func:`add_messages`, and make all of them messages of LangChain, as LangGraph does."""
    return _merged(_langchain(_many(left)), _langchain(_many(right)))


#: How a list of messages may be merged.
MERGES_MESSAGES = (add_messages, add_langchain_messages)


def without_id(one: Any) -> Any:
    """Return a message as it was before it was given an id; what is no message, as it is."""
    theirs = langchain_message()
    if isinstance(one, Message):
        return replace(one, id=None)
    if theirs is not None and isinstance(one, theirs):
        return one.model_copy(update={"id": None})  # type: ignore[attr-defined]
    return one


def langchain_message() -> type | None:
    """Return the base of LangChain's messages, if this program has loaded them."""
    found = getattr(sys.modules.get("langchain_core.messages"), "BaseMessage", None)
    return found if isinstance(found, type) else None


def reducer_for(classes: Iterable[type]) -> Callable[[Any, Any], list[Any]]:
    """Return how a list of messages whose annotation names these classes is merged."""
    theirs, named = langchain_message(), tuple(classes)
    if theirs is None or any(issubclass(one, MESSAGE_CLASSES) for one in named):
        return add_messages
    return add_langchain_messages


def _merged(merged: list[Any], added: list[Any]) -> list[Any]:
    for number, one in enumerate(added):
        if _removes(one) and one.id == REMOVE_ALL_MESSAGES:
            return [m for m in added[number + 1 :] if not _removes(m)]
    places = {one.id: number for number, one in enumerate(merged)}
    removed: set[str | None] = set()
    for one in added:
        place = places.get(one.id)
        if _removes(one):
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


def _removes(one: Any) -> bool:
    return bool(one.type == "remove")


class MessagesState(TypedDict):
    """A state of messages; a state of one's own may inherit from it."""

    messages: Annotated[list[AnyMessage], add_messages]


def _many(messages: Any) -> Sequence[Any]:
    return messages if isinstance(messages, list) else [messages]


def _langchain(messages: Sequence[Any]) -> list[Any]:
    library = sys.modules["langchain_core.messages"]
    read = library.convert_to_messages([_spelled(one) for one in messages])
    whole = (library.message_chunk_to_message(one) for one in read)
    return [one if one.id is not None else one.model_copy(update={"id": str(uuid.uuid4())}) for one in whole]


def _spelled(one: Any) -> Any:
    """Return a message of ours as a dict; anything else as it is."""
    if not isinstance(one, Message | RemoveMessage):
        return one
    given = {f.name: getattr(one, f.name) for f in fields(one)}
    return {"role": one.type, "content": "", **{name: value for name, value in given.items() if value}}


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
