"""Answers the commands that start runs: one private sentence, after the run is on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from slack_sdk.models.blocks import (
    Block,
    MarkdownTextObject,
    RichTextBlock,
    RichTextElementParts,
    RichTextPreformattedElement,
    SectionBlock,
)

from graph_runtime import Actor, Reviewer, Run, Runtime, SignoffError

from .cards import lines
from .commands import MistypedError
from .directory import SlackDirectory
from .launches import Launch, as_typed, explain, read_arguments
from .redaction import Redaction, mask
from .text import escaped, group, person, plain, worded

_ECHOED = 2_900
_VALUE = 300
_NAMES = 20


class Launchpad:
    """Starts runs for who types a command that an author has mapped to a graph."""

    def __init__(
        self, runtime: Runtime, directory: SlackDirectory, launches: Iterable[Launch], redaction: Redaction
    ) -> None:
        self._runtime = runtime
        self._directory = directory
        self._redaction = redaction
        self._launches = {launch.command: launch for launch in launches}

    @property
    def commands(self) -> Sequence[str]:
        """What can be typed, as in ``/deploy``."""
        return [*self._launches]

    async def answer(self, command: str, text: str, actor: Actor) -> dict[str, Any]:
        """Start a run with what was typed, and return the private answer, as arguments of ``ack``.

        What was typed wrong, or by somebody who may not, starts nothing and is told why.
        """
        launch = self._launches[command]
        reviewer = await self._directory.reviewer(actor, launch.terms.groups)
        if reviewer.kind != "member":
            return _say(":no_entry: Only full members of this workspace may use this. Nothing was done.")
        if text.strip().lower() == "help":
            return _help(launch)
        refusal = _may_use(launch, reviewer)
        if refusal is not None:
            return _say(refusal)
        if not text.strip() and launch.needs_some:
            return _help(launch)
        try:
            return await self._start(launch, text, reviewer)
        except MistypedError as error:
            sentence = (
                f":no_entry: Nothing was started: {escaped(mask(str(error)), 900)}. Type `{launch.usage}`"
            )
            # It is gone from the box by now, and is wanted to be mended.
            return _say(sentence, *([_typed(launch, text)] if text.strip() else []))
        except SignoffError as error:
            return _say(f":no_entry: {escaped(str(error)[:1].upper() + str(error)[1:], 500)}")

    async def _start(self, launch: Launch, text: str, reviewer: Reviewer) -> dict[str, Any]:
        arguments = read_arguments(launch.model, text)
        key = launch.key(arguments)
        begun = await self._runtime.begin(
            launch.terms.graph,
            launch.given(arguments, reviewer.id),
            requester=reviewer.id,
            idempotency_key=key,
            allow_empty=True,
        )
        if not begun.opened:
            return _say(_again(begun.run, key or ""))
        shown = [
            (plain(name, 60), plain(worded(value), _VALUE))
            for name, value in self._redaction.values(arguments.model_dump(exclude_none=True)).items()
        ]
        said = f":arrow_forward: Started `{begun.run.id}` of {escaped(launch.terms.graph, 60)}."
        return _say(said, *([lines(shown)] if shown else []))


def _may_use(launch: Launch, reviewer: Reviewer) -> str | None:
    """Say why this person may not use the command; None when they may."""
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


def _again(run: Run, key: str) -> str:
    stands = "waiting for an answer" if run.status == "interrupted" else run.status.replace("_", " ")
    by = f", asked for by {person(run.requester)}" if run.requester else ""
    return (
        f":leftwards_arrow_with_hook: Nothing new was started: `{run.id}` of {escaped(run.graph, 60)} "
        f"is there for {escaped(mask(key), 100)} already{by}, and is {stands}."
    )


def _help(launch: Launch) -> dict[str, Any]:
    told = [f"• {escaped(line, 300)}" for line in explain(launch)]
    named = (
        ["An argument can be named, as in `name=value`; double quotes hold words together."] if told else []
    )
    said = [f"`{launch.usage}` {escaped(launch.about, 200)}", *told, *named]
    return _say("\n".join(said))


def _typed(launch: Launch, text: str) -> Block:
    typed = plain(f"{launch.command} {mask(as_typed(text.strip()))}", _ECHOED)
    part = RichTextElementParts.Text(text=typed)
    return RichTextBlock(elements=[RichTextPreformattedElement(elements=[part])])


def _say(text: str, *more: Block) -> dict[str, Any]:
    shown = text[:3_000]
    blocks = [SectionBlock(text=MarkdownTextObject(text=shown, verbatim=True)), *more]
    return {"response_type": "ephemeral", "text": shown, "blocks": [block.to_dict() for block in blocks]}
