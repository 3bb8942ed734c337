"""Tool policies as data: which tools a node may use by itself, which people are asked for, which never.

The first rule whose glob matches the tool's name decides; a tool that no rule names is asked for. The verdict
is taken before anything runs, stands in the journal, and holds for its call as a policy holds for its
request: while the call waits it may become stricter, never laxer.
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import PolicyError, ToolBlocked, ToolRejected
from .inside import as_recorded, driven, recorded, run_once
from .requests import DEFAULT_POLICY, approve
from .types import Action
from .waiting import settle_waits, wait_while_frozen

#: From the laxest to the strictest.
Does = Literal["allow", "ask", "block"]
_STRICTNESS: tuple[Does, ...] = get_args(Does)
#: What tools are called in MCP and in the models' APIs, with the signs that separate a server from its tool.
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_GLOB = re.compile(r"[A-Za-z0-9_.:/*?-]{1,128}")


class ToolRule(BaseModel):
    """What happens with the tools that one glob names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    #: ``*`` stands for any characters, none included, and ``?`` for one; letters count as they are written.
    tool: str
    do: Does
    #: For people and the journal: why. A rule that blocks must say it.
    reason: str = Field(default="", max_length=200)
    #: By which policy people are asked.
    policy: str = Field(default=DEFAULT_POLICY, min_length=1)

    @model_validator(mode="after")
    def _meant(self) -> ToolRule:
        if not _GLOB.fullmatch(self.tool):
            raise ValueError(
                "tool is a name of 1 to 128 letters, digits and _ . : / - in which * and ? are wildcards"
            )
        if self.do == "block" and not self.reason.strip():
            raise ValueError("a rule that blocks says why: add a reason")
        if self.do != "ask" and "policy" in self.model_fields_set:
            raise ValueError(f"policy says who is asked, and this rule asks nobody: it does {self.do!r}")
        return self


@dataclass(frozen=True, slots=True)
class ToolVerdict:
    """What a tool policy says of one tool, and by which rule."""

    do: Does
    #: The number of the rule in its list, the first being 1; None when no rule names the tool.
    rule: int | None
    reason: str
    policy: str = DEFAULT_POLICY


@dataclass(frozen=True, slots=True)
class ToolPolicy:
    """Rules for the tools of a graph, in the order in which they are tried."""

    rules: tuple[ToolRule, ...] = ()

    def judge(self, tool: str) -> ToolVerdict:
        """Return what happens with a tool of that name: the first rule that matches, else people are asked.

        What is no tool's name is blocked: a glob must not be met by a line break or a look-alike letter.
        """
        if not _is_name(tool):
            return ToolVerdict("block", None, "this is no name of a tool")
        for number, rule in enumerate(self.rules, 1):
            if fnmatchcase(tool, rule.tool):
                return ToolVerdict(rule.do, number, rule.reason, rule.policy)
        return ToolVerdict("ask", None, "no rule names this tool")

    async def call(
        self,
        tool: str,
        function: Callable[..., Any],
        arguments: Mapping[str, Any],
        *,
        key: str | None = None,
        title: str | None = None,
        requester: str | None = None,
        also: Sequence[str] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> Any:
        """Use a tool from inside a node: return what ``function(**arguments)`` returned, run once per call.

        When the tool is asked for, the run pauses as in ``approve()``: people see the tool, exactly these
        arguments, ``facts`` and the rule's reason, and an approval runs the function with them once, as
        ``step()`` does. A call is known by ``key``, such as the id that a model gave it, else by the tool,
        its arguments and its occurrence, as in ``step()``.

        Raises :class:`ToolBlocked`, or :class:`ToolRejected` when people did not approve; the function was
        not run then. Raises :class:`ValueRefused` for arguments that cannot be stored,
        :class:`OutsideNode` where no node runs, and whatever the function raises.
        """
        scope, host = driven("ToolPolicy.call()")
        # A copy: what was judged and shown is what runs, whatever else holds these arguments.
        given = copy.deepcopy(dict(arguments))
        name = f"tool {_shown(tool)}"
        at = scope.effect_key(name, key, [given])
        # Of several calls at once, each comes as far as its question before the node is left.
        with scope.effect("ToolPolicy.call()"):
            done = await recorded()
            if at in done:
                scope.settle(at)
                settle_waits(scope, at)
                return as_recorded(name, done[at])
            verdict, asked = await self._judged(tool, at)
        if verdict.do == "block":
            scope.settle(at)
            raise ToolBlocked(_shown(tool), verdict.rule, verdict.reason)
        if asked is not None:
            decision = approve(
                title or f"Use the tool {tool}",
                action=Action(tool, given),
                policy=asked.policy,
                requester=requester,
                also=also,
                facts={**(facts or {}), **({"why asked": asked.reason} if asked.reason else {})},
                # Of two equal calls at once, each is known by its own place: one approval runs one of them.
                key=at,
            )
            if decision.outcome != "approved":
                raise ToolRejected(_shown(tool), decision)
        # Seldom frozen, and then nobody's: to look is one read.
        await wait_while_frozen(scope, host, at, tool)
        return await run_once(at, name, partial(function, **given))

    async def _judged(self, tool: str, at: str) -> tuple[ToolVerdict, ToolVerdict | None]:
        """Return the strictest verdict that this run has had on the call, and by which people are asked.

        A new one is recorded with its line of the journal.
        """
        scope, host = driven("ToolPolicy.call()")
        effects = await recorded()
        # Of this run: a run that is retried is judged anew, though what was done is not done again.
        places = {do: json.dumps([at, scope.run, do]) for do in _STRICTNESS}
        kept = [ToolVerdict(*effects[place]) for place in places.values() if place in effects]
        verdict = max([*kept, self.judge(tool)], key=lambda one: _STRICTNESS.index(one.do))
        if verdict not in kept:
            told = {
                "kind": _KINDS[verdict.do],
                "tool": _shown(tool),
                "rule": verdict.rule,
                "reason": verdict.reason,
                "node": scope.task.node,
            }
            said = [verdict.do, verdict.rule, verdict.reason, verdict.policy]
            place = places[verdict.do]
            effects[place] = await host.keep_effect(scope, place, f"verdict {_shown(tool)}", said, told=told)
        return verdict, next((one for one in [*kept, verdict] if one.do == "ask"), None)


_KINDS: Mapping[Does, str] = {"allow": "tool.allowed", "ask": "tool.asked", "block": "tool.blocked"}


def read_tool_policy(rules: Sequence[Any]) -> ToolPolicy:
    """Return the policy of these rules, each a mapping with the keys of :class:`ToolRule`, in their order.

    Raises :class:`PolicyError` that names every rule and key that is wrong; no rule is taken then.
    """
    if isinstance(rules, str | bytes | Mapping) or not isinstance(rules, Sequence):
        raise PolicyError("no tool policy was loaded: a list of rules was expected")
    return _read(rules, [""] * len(rules))


def load_tool_policy(path: str | Path) -> ToolPolicy:
    """Return the policy of a TOML file: one ``[[tools]]`` table for each rule, and nothing else.

    Raises :class:`PolicyError` that names the file, and in it every line, rule and key that is wrong.
    """
    try:
        text = Path(path).read_text("utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise PolicyError(f"no tool policy was loaded: {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"no tool policy was loaded: {path} is no TOML: {error}") from None
    rules = data.pop("tools", None)
    if data or not isinstance(rules, list):
        there = f"; there is {', '.join(map(repr, data))}" if data else ""
        raise PolicyError(f"no tool policy was loaded: {path} holds [[tools]] tables and no more{there}")
    lines = [n for n, line in enumerate(text.splitlines(), 1) if re.match(r"\s*\[\[\s*tools\s*\]\]", line)]
    where = [f" (line {line})" for line in lines] if len(lines) == len(rules) else [""] * len(rules)
    try:
        return _read(rules, where)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def _read(rules: Sequence[Any], where: Sequence[str]) -> ToolPolicy:
    found: list[ToolRule] = []
    wrong: list[str] = []
    for number, (body, line) in enumerate(zip(rules, where, strict=True), 1):
        place = f"rule {number}{line}"
        try:
            rule = body if isinstance(body, ToolRule) else ToolRule.model_validate(body)
        except ValidationError as error:
            for one in error.errors(include_input=False, include_url=False):
                at = "".join(f", {key}" for key in one["loc"])
                wrong.append(f"{place}{at}: {one['msg'].removeprefix('Value error, ')}")
            continue
        before = next((one for one in found if one.tool in {"*", rule.tool}), None)
        if before is not None:
            wrong.append(f"{place}: it can never decide, because an earlier rule is for {before.tool!r}")
        found.append(rule)
    if wrong:
        raise PolicyError("no tool policy was loaded: " + "; ".join(wrong))
    return ToolPolicy(tuple(found))


def _is_name(tool: Any) -> bool:
    return isinstance(tool, str) and _NAME.fullmatch(tool) is not None


def _shown(tool: Any) -> str:
    """Return the name as it may stand in the journal and in errors; one that is none, escaped and cut."""
    return tool if _is_name(tool) else ascii(tool)[:80]
