"""Companions join their own statements to the batch of a pause or an end: so a question and the right to
answer it are one fact, and the engine itself needs to know nothing of approvals.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .clock import NewId
from .judging import Directory
from .plan import Plan
from .quick import quick
from .storage import Do
from .types import Interrupt, InterruptId, Run, RunStatus, Task


@quick
@dataclass(frozen=True, slots=True)
class PauseFacts:
    """What a companion is told when a run pauses."""

    run: Run
    plan: Plan
    #: Questions asked for the first time, each with its task.
    opened: tuple[tuple[Interrupt, Task], ...]
    #: Questions that are no longer asked.
    superseded: tuple[InterruptId, ...]
    now: int
    new_id: NewId


@quick
@dataclass(frozen=True, slots=True)
class EndFacts:
    """What a companion is told when a run ends, or stops and waits for an operator."""

    run: Run
    status: RunStatus
    actor: str | None
    now: int
    new_id: NewId


class Companion(Protocol):
    """Joins its own statements to the batch of a pause or an end. Pure: it reads and awaits nothing."""

    def on_pause(self, facts: PauseFacts) -> Sequence[Do]:
        """Return what must be written with this pause, or nothing of it is written."""
        ...

    def on_end(self, facts: EndFacts) -> Sequence[Do]:
        """Return what must be written with this end."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A companion that may look something up before a pause is written; nothing waits for it otherwise."""

    def prepare(self, facts: PauseFacts, directory: Directory) -> Awaitable[None] | None:
        """Return what is awaited before :meth:`Companion.on_pause`, or None. What it raises fails the run."""
        ...
