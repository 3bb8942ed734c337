"""``/signoff ...``: the same calls as the button and the CLI, answered privately in Slack."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from slack_sdk.models.blocks import (
    Block,
    MarkdownTextObject,
    RichTextBlock,
    RichTextElementParts,
    RichTextPreformattedElement,
    RichTextSectionElement,
    SectionBlock,
)

from graph_runtime import (
    Alarms,
    Approvals,
    Freeze,
    Refused,
    RequestView,
    Reviewer,
    Run,
    Runtime,
    RunView,
    SignoffError,
    StateSnapshot,
    Way,
)
from graph_runtime.waiting import FREEZE

from . import absence
from .absence import AbsenceCommands
from .cards import date
from .named import caution, check_scope, run_named
from .redaction import Redaction, mask
from .text import escaped, group, person, plain, straight
from .typed import MistypedError, unwrapped

HELP = """*/signoff* looks after runs:
• `/signoff runs` the newest runs, and how each of them stands
• `/signoff show RUN` where a run stands, and what it asks
• `/signoff history RUN` its steps, newest first
• `/signoff start GRAPH {"key": "value"}` start a run (operators)
• `/signoff cancel RUN [reason]` end a run and withdraw its questions (its requester, or operators)
• `/signoff freeze all|graph:NAME|action:NAME reason` carry nothing of it out (operators)
• `/signoff release SCOPE` agree to the end of a freeze; the second operator ends it
• `/signoff freezes` what is frozen
"""
HELP += f"{absence.HELP}\n• `/signoff help` this list"
MEMBERS = ":no_entry: Only full members of this workspace may use this. Nothing was done."
_SHOWN = 15
#: Of a way: stages before and after the one where a run stands, and nodes of each.
_BEFORE, _AFTER, _BESIDE = 4, 2, 4
_STOP = {"done": " ✓", "here": " ▶", "waits": " ⏳", "failed": " ✗", "stopped": " ■", "ahead": ""}
_Text = RichTextElementParts.Text
_bold = RichTextElementParts.TextStyle(bold=True)


class Commands:
    """Answers slash commands. Members may look; operators may start; requesters and operators may cancel."""

    def __init__(
        self,
        runtime: Runtime,
        approvals: Approvals,
        absences: AbsenceCommands,
        operators: Sequence[str],
        redaction: Redaction | None = None,
    ) -> None:
        self._absences = absences
        self._runtime = runtime
        self._approvals = approvals
        self._operators = frozenset(operators)
        self._alarms = Alarms(runtime)
        self._redaction = redaction or Redaction()

    async def answer(self, text: str, reviewer: Reviewer) -> dict[str, Any]:
        """Return the private answer to what was typed, as arguments of ``ack``. Bad input is answered too."""
        word, _, rest = unwrapped(text).strip().partition(" ")
        if reviewer.kind != "member":
            return say(MEMBERS)
        try:
            match word.lower():
                case "" | "help":
                    return say(HELP)
                case "runs":
                    return await self._runs()
                case "show":
                    return await self._show(_one(rest, "show RUN"), reviewer)
                case "history":
                    return await self._history(_one(rest, "history RUN"))
                case "start":
                    return await self._start(rest, reviewer)
                case "cancel":
                    return await self._cancel(rest, reviewer)
                case "freezes":
                    return await self._freezes()
                case "freeze":
                    return await self._freeze(rest, reviewer)
                case "release":
                    return await self._release(_scope(rest), reviewer)
                case known if known in absence.WORDS:
                    return say(await self._absences.answer(known, rest, reviewer))
                case _:
                    return say(f":grey_question: There is no `{escaped(word, 40)}`.\n{HELP}")
        except (MistypedError, Refused) as error:
            return say(f":no_entry: {escaped(mask(str(error)), 500)}")
        except ValidationError as error:
            places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            return say(f":no_entry: Nothing was started; the input is wrong: {escaped(mask(places), 500)}")
        except SignoffError as error:
            said = mask(str(error))
            return say(f":no_entry: {escaped(said[:1].upper() + said[1:], 500)}")

    async def _runs(self) -> dict[str, Any]:
        runs = await self._runtime.runs(limit=_SHOWN)
        if not runs:
            return say("There are no runs yet. Start one: `/signoff start GRAPH {...}`")
        lines = [f"{_MARK[r.status]} `{r.id}` {escaped(r.graph, 60)}: {r.status}{_by(r)}" for r in runs]
        return say("*Newest runs*\n" + "\n".join(lines))

    async def _show(self, given: str, reviewer: Reviewer) -> dict[str, Any]:
        run_id = await run_named(self._approvals, given)
        view = await self._runtime.look(run_id)
        requests = await self._approvals.find(run_id=run_id, status="open")
        line = _way(await self._runtime.way(view, limit=_SHOWN))
        blocks: list[Block] = [_mrkdwn(_heading(view.run)), *line, _code(_position(view))]
        if view.run.error and (reviewer.id == view.run.requester or reviewer.id in self._operators):
            # Its words may hold what others are not shown: values of the state.
            said = self._redaction.run(view.run).error or {}
            blocks.insert(1, _mrkdwn(f":warning: {escaped(said.get('message', ''), 1_000)}"))
        if frozen := _frozen_by(view):
            blocks.append(_mrkdwn(frozen))
        if requests:
            views = [await self._approvals.view(request.id) for request in requests]
            asked = [_asked(self._redaction.view(view)) for view in views if view is not None]
            blocks.append(_mrkdwn("*Waits for*\n" + "\n".join(asked)))
        return _blocks(f"Run {run_id} is {view.run.status}", blocks)

    async def _history(self, run_id: str) -> dict[str, Any]:
        run = await self._runtime.get(run_id)
        steps = await self._runtime.history(run_id, limit=_SHOWN)
        lines = [_step(step) for step in steps]
        return _blocks(f"History of {run_id}", [_mrkdwn(_heading(run)), _code("\n".join(lines))])

    async def _start(self, rest: str, reviewer: Reviewer) -> dict[str, Any]:
        graph, _, body = rest.strip().partition(" ")
        if not graph:
            raise MistypedError('Type `/signoff start GRAPH {"key": "value"}`. Nothing was started.')
        if reviewer.id not in self._operators:
            raise Refused("NOT_ALLOWED", "Only operators may start runs here. Nothing was started.")
        given = read_input(body)
        run = await self._runtime.start(graph, given, requester=reviewer.id)
        return say(f":arrow_forward: Started `{run.id}` of {escaped(graph, 60)}.")

    async def _cancel(self, rest: str, reviewer: Reviewer) -> dict[str, Any]:
        given, _, reason = rest.strip().partition(" ")
        run_id = await run_named(self._approvals, _one(given, "cancel RUN [reason]"))
        run = await self._runtime.get(run_id)
        if reviewer.id not in self._operators and reviewer.id != run.requester:
            raise Refused("NOT_ALLOWED", "Only its requester or an operator may cancel it. Nothing was done.")
        await self._runtime.cancel(
            run.thread_id, run.id, actor=reviewer.id, reason=reason.strip()[:500] or None
        )
        return say(f":heavy_multiplication_x: Cancelled `{run.id}`; what it asked was withdrawn.")

    async def _freezes(self) -> dict[str, Any]:
        found = await self._alarms.freezes()
        if not found:
            return say("Nothing is frozen.")
        return say("\n".join(_frozen(self._redaction.freeze(one)) for one in found))

    async def _freeze(self, rest: str, reviewer: Reviewer) -> dict[str, Any]:
        self._may_freeze(reviewer)
        scope, _, reason = rest.strip().partition(" ")
        scope = _scope(scope)
        await check_scope(self._runtime, scope)
        await self._alarms.freeze(scope, by=reviewer.id, reason=reason.strip()[:500])
        more = await caution(self._runtime, self._approvals, scope)
        return say(f":snowflake: `{escaped(scope, 80)}` is frozen: nothing of it is carried out.{more}")

    async def _release(self, scope: str, reviewer: Reviewer) -> dict[str, Any]:
        self._may_freeze(reviewer)
        left = await self._alarms.release(scope, by=reviewer.id)
        if left is not None:
            what = escaped(scope, 80)
            return say(f":snowflake: You agreed; one more operator ends the freeze of `{what}`.")
        return say(f":arrow_forward: `{escaped(scope, 80)}` is not frozen any more; what waited goes on.")

    def _may_freeze(self, reviewer: Reviewer) -> None:
        if reviewer.id not in self._operators:
            raise Refused("NOT_ALLOWED", "Only operators may freeze and release. Nothing was changed.")


def _frozen(freeze: Freeze) -> str:
    agreed = f"; {', '.join(map(person, freeze.released_by))} would end it" if freeze.released_by else ""
    return (
        f":snowflake: `{escaped(freeze.scope, 80)}` by {person(freeze.by)}, {date(freeze.since)}: "
        f"{escaped(freeze.reason, 300)}{agreed}"
    )


def _frozen_by(view: RunView) -> str:
    """Say which freezes a run waits for; empty where it waits for none."""
    values = [question.interrupt.value for question in view.open]
    waits = [value for value in values if isinstance(value, dict) and value.get("type") == FREEZE]
    scopes = sorted({str(scope) for value in waits for scope in value.get("scopes", ())})
    if not scopes:
        return ""
    named = ", ".join(f"`{escaped(scope, 80)}`" for scope in scopes)
    return f":snowflake: It goes on when the freeze of {named} ends: `/signoff freezes`"


def _scope(text: str) -> str:
    words = text.split()
    if len(words) != 1:
        raise MistypedError("Type one scope: `all`, `graph:NAME` or `action:NAME`. Nothing was changed.")
    return words[0].strip("`")


def read_input(body: str) -> dict[str, Any]:
    """Return the JSON object that was typed. Raises an error whose text says what was expected."""
    typed = body.strip() or "{}"
    try:
        try:
            given = json.loads(typed)
        except json.JSONDecodeError:
            given = json.loads(straight(typed))
    except json.JSONDecodeError as error:
        raise MistypedError(
            f"Nothing was started: the input is no JSON ({error.msg} at character {error.pos + 1}). "
            'Write it like {"service": "payments"}.'
        ) from None
    except (ValueError, RecursionError):
        raise MistypedError(
            "Nothing was started: the input holds a number too long, or is nested too deep."
        ) from None
    if not isinstance(given, dict):
        raise MistypedError('Nothing was started: the input must be an object like {"service": "payments"}.')
    return given


def _one(text: str, usage: str) -> str:
    words = text.split()
    if len(words) != 1:
        raise MistypedError(f"Type `/signoff {usage}` with one run id, as `/signoff runs` lists them.")
    return words[0].strip("`")


_MARK = {
    "queued": ":large_blue_circle:",
    "running": ":large_blue_circle:",
    "interrupted": ":hourglass:",
    "completed": ":white_check_mark:",
    "failed": ":warning:",
    "cancelled": ":heavy_multiplication_x:",
    "needs_attention": ":warning:",
}


def _by(run: Run) -> str:
    return f", asked by {person(run.requester)}" if run.requester else ""


def _asked(view: RequestView) -> str:
    request = view.request
    stands = view.standing.words(group)
    said = f"• {escaped(request.title, 150)} ({escaped(request.policy_name, 60)}, `{request.id}`)"
    return f"{said}: {stands}" if stands else said


def _heading(run: Run) -> str:
    why = f" ({escaped(run.error['type'], 80)})" if run.error else ""
    started = date(run.created_at)
    return (
        f"{_MARK[run.status]} *{escaped(run.graph, 60)}* `{run.id}`: {run.status}{why}{_by(run)}, {started}"
    )


def _way(way: Way) -> list[Block]:
    """Return one line: the last nodes that ran, the ones that it stands at, the next ones."""
    now = next((n for n, s in enumerate(way.stages) if any(one.mark != "done" for one in s.stops)), None)
    first = max(0, (len(way.stages) if now is None else now) - _BEFORE)
    last = len(way.stages) if now is None else now + 1 + _AFTER
    parts: list[Any] = [_Text(text="…")] if way.cut or first else []
    for stage in way.stages[first:last]:
        parts += [_Text(text=" → ")] if parts else []
        for number, stop in enumerate(stage.stops[:_BESIDE]):
            if number:
                parts.append(_Text(text=" | " if stop.mark == "ahead" else ", "))
            times = f" x{stop.times}" if stop.times > 1 else ""
            style = None if stop.mark in {"done", "ahead"} else _bold
            parts.append(_Text(text=f"{plain(stop.node, 40)}{times}{_STOP[stop.mark]}", style=style))
        if len(stage.stops) > _BESIDE:
            parts.append(_Text(text=f" and {len(stage.stops) - _BESIDE} more"))
    if last < len(way.stages):
        parts.append(_Text(text=" → …"))
    return [RichTextBlock(elements=[RichTextSectionElement(elements=parts)])] if parts else []


def _position(view: RunView) -> str:
    """Return where a run stands. Names of state keys, never their values: a channel is no place for them."""
    state, run = view.state, view.run
    lines = [
        f"thread      {run.thread_id}",
        f"checkpoint  {state.checkpoint_id}",
        f"step        {state.step} ({run.steps_taken} of at most {run.max_steps} taken)",
        f"next        {', '.join(state.next) or 'nothing'}",
        f"state keys  {', '.join(state.values) or 'none'}",
    ]
    lines += [f"interrupt   {q.interrupt.id} at {q.node}" for q in view.open]
    return "\n".join(lines)


def _step(step: StateSnapshot) -> str:
    routes = "; ".join(f"{r.source} -> {', '.join(r.targets)} ({r.by or r.way})" for r in step.routes)
    return f"{step.step:>4}  {step.source:<6} next {', '.join(step.next) or 'END'}  {routes}".rstrip()


def _mrkdwn(text: str) -> Block:
    return SectionBlock(text=MarkdownTextObject(text=text[:3_000], verbatim=True))


def _code(text: str) -> Block:
    return RichTextBlock(
        elements=[RichTextPreformattedElement(elements=[_Text(text=plain(text, 2_900) or " ")])]
    )


def say(text: str, *more: Block) -> dict[str, Any]:
    """Return a private answer, as arguments of ``ack``."""
    return _blocks(text, [_mrkdwn(text), *more])


def _blocks(text: str, blocks: Sequence[Block]) -> dict[str, Any]:
    return {"response_type": "ephemeral", "text": text[:3_000], "blocks": [b.to_dict() for b in blocks]}


__all__ = ["HELP", "MEMBERS", "Commands", "MistypedError", "read_input", "say"]
