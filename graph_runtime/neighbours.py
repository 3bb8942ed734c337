"""What other systems ask in their own shape, and the same decision in theirs. Pure.

A node may ask ``interrupt(value)`` with a ``tool_approval`` or an ``HITLRequest`` of LangChain, or with a
``HumanInterrupt`` of Agent Inbox. People decide as they always do; the node gets its neighbour's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

from .errors import ValueRefused
from .types import Action, Decision, Shape

#: What people may say of a call, in LangChain's words, which are ours too.
Said = Literal["approve", "edit", "reject", "respond"]
ALL: frozenset[Said] = frozenset({"approve", "edit", "reject", "respond"})
#: Under what a description is shown: it must not be taken for what is known.
BY_THE_MODEL = "written by the model, not verified"
TIMED_OUT = "timed out, nobody decided; do not retry"
WITHDRAWN = "withdrawn by who asked for it; do not retry"

#: The flags of Agent Inbox, and what each allows.
_FLAGS: Mapping[str, Said] = {
    "allow_accept": "approve",
    "allow_edit": "edit",
    "allow_ignore": "reject",
    "allow_respond": "respond",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool that is asked for."""

    action: Action
    #: What of :data:`ALL` may be said of it.
    allowed: frozenset[Said]
    description: str = ""
    #: What the program that asks says of it: a key of our own, which no model fills in.
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a neighbour's value asks: each of its calls, in their order."""

    shape: Shape
    calls: tuple[Call, ...]


# -- what is asked -------------------------------------------------------------------------------------------


def read(value: Any, response_schema: Any = None) -> Asked | None:
    """Return what a neighbour's value asks; None for a value that is nobody's.

    ``response_schema`` is what an answer must fit, as JSON schema; it may allow less. Raises
    :class:`ValueRefused` for a value that begins like a neighbour's and does not go on like it.
    """
    alone = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
    if isinstance(alone, Mapping) and "action_request" in alone:
        return Asked("agent_inbox", (_inbox(alone),))
    if isinstance(value, list | tuple) and any(
        isinstance(v, Mapping) and "action_request" in v for v in value
    ):
        raise _wrong("a HumanInterrupt", f"one in its list was expected, and there are {len(value)}")
    if not isinstance(value, Mapping):
        return None
    if value.get("type") == "tool_approval":
        named = frozenset(_named(response_schema)) & ALL
        what = "a tool_approval"
        if not isinstance(value.get("tool_call_id"), str):
            raise _wrong(what, "it has no tool_call_id that is text")
        return Asked("tool_approval", (_call(what, value, named or ALL),))
    if "action_requests" in value:
        return Asked("hitl_request", tuple(_batch(value)))
    return None


def _batch(value: Mapping[str, Any]) -> Iterator[Call]:
    what = "an HITLRequest"
    requests, configs = value["action_requests"], value.get("review_configs")
    if not _is_list(requests) or not requests:
        raise _wrong(what, "its action_requests are no list of one or more")
    if not _is_list(configs):
        raise _wrong(what, "it has no list of review_configs")
    allowed: dict[str, frozenset[Said]] = {}
    for config in configs:
        name = config.get("action_name") if isinstance(config, Mapping) else None
        said = config.get("allowed_decisions") if isinstance(config, Mapping) else None
        if not isinstance(name, str) or not _is_list(said):
            raise _wrong(what, "a review_config has an action_name and a list of allowed_decisions")
        if unknown := [one for one in said if one not in ALL]:
            raise _wrong(what, f"for {name!r} it allows {unknown[0]!r}, which is no decision")
        # Of several for one name each must allow it.
        allowed[name] = allowed.get(name, ALL) & frozenset(said)
    for request in requests:
        name = request.get("name") if isinstance(request, Mapping) else None
        if isinstance(name, str) and name not in allowed:
            raise _wrong(what, f"it has no review_config for {name!r}")
        yield _call(what, request, allowed.get(str(name), ALL))


def _call(what: str, said: Any, allowed: frozenset[Said]) -> Call:
    name = said.get("name") if isinstance(said, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        raise _wrong(what, "a call has no name")
    action = Action(name, _arguments(what, name, said))
    return Call(action, allowed, _description(what, said), _facts(what, name, said))


def _inbox(value: Mapping[str, Any]) -> Call:
    what = "a HumanInterrupt"
    request, config = value["action_request"], value.get("config")
    name = request.get("action") if isinstance(request, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        raise _wrong(what, "its action_request has no action")
    flags = {flag: config.get(flag) for flag in _FLAGS} if isinstance(config, Mapping) else {}
    if not flags or not all(isinstance(flag, bool) for flag in flags.values()):
        raise _wrong(what, f"its config does not say true or false for each of {', '.join(_FLAGS)}")
    allowed = frozenset(said for flag, said in _FLAGS.items() if flags[flag])
    return Call(Action(name, _arguments(what, name, request)), allowed, _description(what, value))


def _arguments(what: str, name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    arguments = said.get("args")
    if not isinstance(arguments, Mapping) or not all(isinstance(key, str) for key in arguments):
        raise _wrong(what, f"the args of {name!r} are no mapping by name")
    return dict(arguments)


def _facts(what: str, name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    facts = said.get("facts", {})
    if not isinstance(facts, Mapping) or not all(isinstance(key, str) for key in facts):
        raise _wrong(what, f"the facts of {name!r} are no mapping by name")
    if taken := {"args", BY_THE_MODEL} & facts.keys():
        raise _wrong(what, f"a fact of {name!r} is called {taken.pop()!r}, which is another thing's name")
    return dict(facts)


def _description(what: str, said: Mapping[str, Any]) -> str:
    description = said.get("description")
    if not isinstance(description, str | None):
        raise _wrong(what, "its description is no text")
    return (description or "").strip()


def _named(schema: Any) -> Iterator[Said]:
    """Yield the types of decisions that a JSON schema names, wherever in it."""
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        kind = properties.get("type") if isinstance(properties, Mapping) else None
        if isinstance(kind, Mapping):
            yield from (one for one in (kind.get("const"), *(kind.get("enum") or ())) if one in ALL)
        schema = list(schema.values())
    if isinstance(schema, list | tuple):
        for one in schema:
            yield from _named(one)


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _wrong(what: str, why: str) -> ValueRefused:
    return ValueRefused(
        f"nobody was asked: the value looks like {what}, but {why}; see docs/howto/neighbours.md"
    )


# -- what is answered ----------------------------------------------------------------------------------------


def decided(
    shape: Shape, action: Action, decision: Decision, allowed: Collection[Said] | None = None
) -> dict[str, Any]:
    """Return one decision as that neighbour has it. Only its arguments can be other than ``action``'s.

    A no is said in words where the neighbour ``allowed`` those and no rejection: it is never left unsaid.
    """
    arguments = dict(action.arguments if decision.arguments is None else decision.arguments)
    inbox = shape == "agent_inbox"
    match decision.outcome:
        case "approved":
            return {"type": "accept", "args": None} if inbox else {"type": "approve"}
        case "edited" if inbox:
            return {"type": "edit", "args": {"action": action.name, "args": arguments}}
        case "edited":
            return {"type": "edit", "edited_action": {"name": action.name, "args": arguments}}
    said = decision.reason or _NOES.get(decision.outcome)
    in_words = allowed is not None and "reject" not in allowed and "respond" in allowed
    if decision.outcome == "responded" or in_words:
        words = said or "rejected; do not retry"
        return {"type": "response", "args": words} if inbox else {"type": "respond", "message": words}
    if inbox:
        return {"type": "ignore", "args": None}
    return {"type": "reject", **({"message": said} if said else {})}


_NOES = {"timed_out": TIMED_OUT, "withdrawn": WITHDRAWN}


def answer(shape: Shape, decisions: Sequence[Mapping[str, Any]]) -> Any:
    """Return the answer that holds the decisions of all calls, in the order of the calls."""
    if shape == "hitl_request":
        return {"decisions": list(decisions)}
    (only,) = decisions
    return [only] if shape == "agent_inbox" else only


def reader(value: Any) -> Callable[[Any], Any] | None:
    """Return what takes an answer to a neighbour's value as it is, or refuses it; None for anybody else's."""
    try:
        asked = read(value)
    except ValueRefused:
        asked = None  # nobody's: whoever keeps requests says so
    if asked is None:
        return None

    def taken(given: Any, asked: Asked = asked) -> Any:
        for call, one in zip(asked.calls, _decisions(asked, given), strict=True):
            _check(asked.shape, call, one)
        return given

    return taken


def _decisions(asked: Asked, given: Any) -> Sequence[Any]:
    if asked.shape == "tool_approval":
        return [given]
    if asked.shape == "hitl_request":
        found, what = (given.get("decisions") if isinstance(given, Mapping) else None), '{"decisions": [...]}'
    else:
        found, what = given, "a list"
    if not _is_list(found):
        raise _refused(f"{what} was expected")
    if len(found) != len(asked.calls):
        raise _refused(f"{len(asked.calls)} decisions were expected, and there are {len(found)}")
    return list(found)


def _check(shape: Shape, call: Call, given: Any) -> None:
    """Raise :class:`ValueRefused` unless this may be said of the call. A no always may."""
    inbox = shape == "agent_inbox"
    kinds: Mapping[str, Said] = _INBOX if inbox else _LANGCHAIN
    kind = given.get("type") if isinstance(given, Mapping) else None
    said = kinds.get(kind) if isinstance(kind, str) else None
    name = call.action.name
    if said is None:
        raise _refused(f"the decision on {name!r} has no type of {', '.join(kinds)}")
    if said not in call.allowed | {"reject"}:
        raise _refused(f"{kind!r} is not allowed for {name!r}")
    if said == "edit":
        edited = given.get("args" if inbox else "edited_action")
        there = edited.get("action" if inbox else "name") if isinstance(edited, Mapping) else None
        if there != name:
            raise _refused(f"an edit keeps the tool {name!r}, and changes its args only")
        if not isinstance(edited.get("args"), Mapping):
            raise _refused(f"the edited args of {name!r} are no mapping by name")
    if said == "respond" and not isinstance(given.get("args" if inbox else "message"), str):
        raise _refused(f"the response to {name!r} is no text")
    if said == "reject" and not inbox and not isinstance(given.get("message"), str | None):
        raise _refused(f"the message of the rejection of {name!r} is no text")


_LANGCHAIN: Mapping[str, Said] = {
    "approve": "approve",
    "edit": "edit",
    "reject": "reject",
    "respond": "respond",
}
_INBOX: Mapping[str, Said] = {"accept": "approve", "edit": "edit", "ignore": "reject", "response": "respond"}


def _refused(why: str) -> ValueRefused:
    return ValueRefused(f"nothing was decided, and the question is still open: {why}")
