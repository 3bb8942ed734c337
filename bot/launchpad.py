"""The commands that start runs: what is typed, or filled in to a dialog, is on disk before the answer.

Typed alone, a command whose arguments fit into a dialog opens one. Closing it starts nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

import structlog
from aiohttp import ClientError
from pydantic import BaseModel, ValidationError
from slack_sdk.errors import SlackApiError, SlackObjectFormationError
from slack_sdk.models.blocks import (
    Block,
    PlainTextObject,
    RichTextBlock,
    RichTextElementParts,
    RichTextPreformattedElement,
    SectionBlock,
)
from slack_sdk.models.views import View
from slack_sdk.web.async_client import AsyncWebClient

from graph_runtime import Actor, Approvals, Reviewer, Run, Runtime, SignoffError, ValueRefused
from graph_runtime.forms import bare
from graph_runtime.requests import POLICY

from . import forms
from .cards import lines, title_of
from .commands import MEMBERS, MistypedError, say
from .dialogs import notice_dialog
from .directory import SlackDirectory
from .identity import Identity
from .launches import Launch, as_typed, explain, read_arguments
from .payloads import LaunchOrigin, Submission, Typed, read_typed
from .redaction import Redaction, mask
from .text import escaped, group, person, plain, worded

_log = structlog.get_logger("signoff.launchpad")
DIALOG = "signoff_launch_dialog"
_GONE = ":no_entry: This dialog could not be read, or its command is gone. Nothing was started."
_NOTHING = "Nothing started"
_ECHOED = 2_900
_VALUE = 300
_NAMES = 20


Ack = Callable[..., Awaitable[Any]]


class Listens(Protocol):
    """What of a Bolt app is needed here."""

    def command(self, command: str, /) -> Callable[..., Any]:
        """Return what registers a listener for a slash command."""
        ...

    def view(self, callback_id: str, /) -> Callable[..., Any]:
        """Return what registers a listener for a dialog."""
        ...


class Launchpad:
    """Starts runs for who types a command that an author has mapped to a graph."""

    def __init__(
        self,
        runtime: Runtime,
        directory: SlackDirectory,
        identity: Identity,
        launches: Iterable[Launch],
        redaction: Redaction,
    ) -> None:
        self._runtime = runtime
        self._approvals = Approvals(runtime, directory)
        self._directory = directory
        self._identity = identity
        self._redaction = redaction
        self._launches = {launch.command: launch for launch in launches}

    def listen(self, app: Listens) -> None:
        """Register every command; they are the authors' own, and ``signoff manifest`` adds them."""
        for command in self._launches:
            app.command(command)(self.on_command)
        if self._launches:
            app.view(DIALOG)(self.on_dialog)

    async def on_command(self, body: dict[str, Any], ack: Ack, client: AsyncWebClient) -> None:
        """Start a run with what was typed, or ask for it in a dialog when that is nothing."""
        typed = read_typed(body, self._identity)
        if isinstance(typed, str):
            await ack(text=typed)
        elif not typed.text.strip() and await self._opened(typed, client):
            await ack()
        else:
            await ack(**await self.answer(typed.command, typed.text, typed.actor))

    async def on_dialog(self, body: dict[str, Any], ack: Ack) -> None:
        """Start a run with what was filled in; an error shows at its field."""
        try:
            sent = Submission.model_validate(body)
            named = LaunchOrigin.model_validate_json(sent.view.private_metadata).command
        except ValidationError:
            sent, named = None, ""
        launch = self._launches.get(named)
        if sent is None or launch is None or sent.api_app_id != self._identity.app:
            await ack(response_action="update", view=notice_dialog(_GONE, _NOTHING))
            return
        reviewer = await self._directory.reviewer(sent.actor, launch.terms.groups)
        refusal = _may_use(launch, reviewer)
        if refusal is not None:
            await ack(response_action="update", view=notice_dialog(refusal, _NOTHING))
            return
        arguments, wrong = forms.read(launch.model, sent)
        if arguments is None:
            await ack(response_action="errors", errors=dict(wrong))
            return
        try:
            said, shown, title = await self._begun(launch, arguments, reviewer)
        except SignoffError as error:
            # At a field, so that what was filled in is kept.
            first = str(forms.inputs(launch.model)[0].block_id)
            why = plain(f"Nothing was started: {mask(str(error))}", 300)
            await ack(response_action="errors", errors={first: why})
            return
        more = [lines(shown)] if shown else []
        await ack(response_action="update", view=notice_dialog(said, title, *more))

    async def _opened(self, typed: Typed, client: AsyncWebClient) -> bool:
        """Open the command's dialog for who may use it; False when it has none, or Slack opens none."""
        launch = self._launches[typed.command]
        reviewer = await self._directory.reviewer(typed.actor, launch.terms.groups)
        if not launch.needs_some or _may_use(launch, reviewer) is not None:
            return False
        try:
            view = _dialog(launch)
            await client.views_open(trigger_id=typed.trigger_id, view=view)
        except (ValueRefused, SlackApiError, SlackObjectFormationError, ClientError, TimeoutError) as error:
            _log.info("dialog.none", command=launch.command, error=type(error).__name__)
            return False
        return True

    async def answer(self, command: str, text: str, actor: Actor) -> dict[str, Any]:
        """Start a run with what was typed, and return the private answer, as arguments of ``ack``.

        What was typed wrong, or by somebody who may not, starts nothing and is told why.
        """
        launch = self._launches[command]
        reviewer = await self._directory.reviewer(actor, launch.terms.groups)
        if reviewer.kind != "member":
            return say(MEMBERS)
        if text.strip().lower() == "help":
            return _help(launch)
        refusal = _may_use(launch, reviewer)
        if refusal is not None:
            return say(refusal)
        if not text.strip() and launch.needs_some:
            return _help(launch)
        try:
            return await self._start(launch, text, reviewer)
        except MistypedError as error:
            sentence = (
                f":no_entry: Nothing was started: {escaped(mask(str(error)), 900)}. Type `{launch.usage}`"
            )
            # It is gone from the box by now, and is wanted to be mended.
            return say(sentence, *([_typed(launch, text)] if text.strip() else []))
        except SignoffError as error:
            return say(f":no_entry: {escaped(str(error)[:1].upper() + str(error)[1:], 500)}")

    async def _start(self, launch: Launch, text: str, reviewer: Reviewer) -> dict[str, Any]:
        said, shown, _ = await self._begun(launch, read_arguments(launch.model, text), reviewer)
        return say(said, *([lines(shown)] if shown else []))

    async def _begun(
        self, launch: Launch, arguments: BaseModel, reviewer: Reviewer
    ) -> tuple[str, list[tuple[str, str]], str]:
        """Return what is said of the run that these arguments start, or have started before."""
        key = launch.key(arguments)
        begun = await self._runtime.begin(
            launch.terms.graph,
            launch.given(arguments, reviewer.id),
            requester=reviewer.id,
            idempotency_key=key,
            allow_empty=True,
        )
        if not begun.opened:
            said = _again(begun.run, key or "", await self._came_to(begun.run))
            other = await self._otherwise(begun.run, launch, arguments)
            return said + (" It was asked for with other arguments:" if other else ""), other, _NOTHING
        shown = [
            (plain(name, 60), plain(worded(value), _VALUE))
            for name, value in self._redaction.values(arguments.model_dump(exclude_none=True)).items()
        ]
        said = (
            f":arrow_forward: Started `{begun.run.id}` of {escaped(launch.terms.graph, 60)}. "
            f"`/signoff show {begun.run.id}` says how it goes."
        )
        return said, shown, "Started"

    async def _came_to(self, run: Run) -> str:
        """Say what became of the newest request of a run; empty while it is open, or without one."""
        found = await self._approvals.find(run_id=run.id)
        view = await self._approvals.view(found[-1].id) if found else None
        if view is None or view.request.status in {"open", "superseded"}:
            return ""
        request = self._redaction.view(view).request
        by = ", ".join("the policy" if who == POLICY else person(who) for who in view.deciders)
        became = request.status.replace("_", " ") + (f" by {by}" if by else "")
        return f" “{escaped(title_of(request), 150)}” was {became}."

    async def _otherwise(self, run: Run, launch: Launch, arguments: BaseModel) -> list[tuple[str, str]]:
        """Return the arguments that the run was started with and that are others now."""
        try:
            steps = await self._runtime.history(run.id, before=0, limit=1)
        except SignoffError:
            return []  # its graph is another one by now, so what it was given cannot be read
        given = (steps[0].tasks[0].result if steps and steps[0].tasks else None) or {}
        typed = arguments.model_dump(exclude_none=True)
        names = [*launch.model.model_fields, *launch.model.model_computed_fields]
        other = [name for name in names if bare(given.get(name)) != bare(typed.get(name))]
        was, now = (self._redaction.values({n: one.get(n) for n in other}) for one in (given, typed))
        return [
            (plain(n, 60), f"{plain(worded(was[n]), _VALUE)} (now {plain(worded(now[n]), _VALUE)})")
            for n in other[:_NAMES]
        ]


def _dialog(launch: Launch) -> View:
    """Return what asks for the arguments. Raises :class:`ValueRefused` for a field that no dialog has."""
    about = SectionBlock(text=PlainTextObject(text=plain(launch.about, 300), emoji=False))
    return View(
        type="modal",
        callback_id=DIALOG,
        title=PlainTextObject(text=plain(launch.command, 24)),
        submit=PlainTextObject(text="Start"),
        close=PlainTextObject(text="Cancel"),
        private_metadata=LaunchOrigin(command=launch.command).model_dump_json(),
        blocks=[about, *forms.inputs(launch.model)],
    )


def _may_use(launch: Launch, reviewer: Reviewer) -> str | None:
    """Say why this person may not use the command; None when they may."""
    if reviewer.kind != "member":
        return MEMBERS
    people, groups = launch.terms.people, launch.terms.groups
    if (not people and not groups) or reviewer.id in people or reviewer.groups:
        return None
    if reviewer.unknown:
        return (
            f":no_entry: Slack did not say in time whether you may use `{launch.command}`. "
            "Nothing was started; type it again."
        )
    names = [*map(group, groups), *map(person, people)][:_NAMES]
    return f":no_entry: `{launch.command}` is for {' and '.join(names)}. Nothing was started."


def _again(run: Run, key: str, came_to: str) -> str:
    stands = "waiting for an answer" if run.status == "interrupted" else run.status.replace("_", " ")
    by = f", asked for by {person(run.requester)}" if run.requester else ""
    return (
        f":leftwards_arrow_with_hook: Nothing new was started: `{run.id}` of {escaped(run.graph, 60)} "
        f"is there for {escaped(mask(key), 100)} already{by}, and is {stands}.{came_to}"
    )


def _help(launch: Launch) -> dict[str, Any]:
    told = [f"• {escaped(line, 300)}" for line in explain(launch)]
    named = (
        ["An argument can be named, as in `name=value`; double quotes hold words together."] if told else []
    )
    said = [f"`{launch.usage}` {escaped(launch.about, 200)}", *told, *named]
    return say("\n".join(said))


def _typed(launch: Launch, text: str) -> Block:
    typed = plain(f"{launch.command} {mask(as_typed(text.strip()))}", _ECHOED)
    part = RichTextElementParts.Text(text=typed)
    return RichTextBlock(elements=[RichTextPreformattedElement(elements=[part])])
