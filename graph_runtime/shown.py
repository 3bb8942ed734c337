"""What readers are shown of threads, runs and requests, each from one snapshot of the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .bypass import Bypass
from .delegation import Delegation, pairs
from .judging import Case, Standing, judge
from .types import (
    ApprovalRequest,
    CheckpointId,
    CheckpointSource,
    EntryId,
    Interrupt,
    InterruptId,
    PersonId,
    Place,
    Question,
    RequestId,
    Route,
    Run,
    RunId,
    TaskId,
    ThreadId,
    Vote,
)


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task of a snapshot, with LangGraph's field names."""

    id: TaskId
    name: str
    path: tuple[str | int, ...]
    #: What it failed with, as text, when it has.
    error: str | None = None
    interrupts: tuple[Interrupt, ...] = ()
    #: The snapshot of the subgraph that runs in it, or the config to ask for it.
    state: StateSnapshot | Mapping[str, Any] | None = None
    #: What it returned, when it has finished while others of its step have not.
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StateSnapshot:
    """The state of a thread at one checkpoint, with LangGraph's field names where they mean the same."""

    values: Any
    next: tuple[str, ...]
    config: Mapping[str, Any]
    metadata: Mapping[str, Any] | None
    created_at: str | None
    parent_config: Mapping[str, Any] | None
    tasks: tuple[TaskView, ...] = ()
    interrupts: tuple[Interrupt, ...] = ()
    routes: tuple[Route, ...] = ()
    #: Microseconds since the epoch.
    at: int = 0

    @property
    def thread_id(self) -> ThreadId:
        """The thread that this is the state of."""
        return ThreadId(self.config["configurable"]["thread_id"])

    @property
    def run_id(self) -> RunId:
        """The run that came here."""
        return RunId((self.metadata or {})["run_id"])

    @property
    def checkpoint_id(self) -> CheckpointId:
        """The checkpoint that this is the state at."""
        return CheckpointId(self.config["configurable"]["checkpoint_id"])

    @property
    def parent_id(self) -> CheckpointId | None:
        """The checkpoint before it."""
        return None if self.parent_config is None else self.parent_config["configurable"]["checkpoint_id"]

    @property
    def step(self) -> int:
        """The number of the step that led here; -1 for the first input."""
        return int((self.metadata or {})["step"])

    @property
    def source(self) -> CheckpointSource:
        """What made the checkpoint."""
        return (self.metadata or {})["source"]  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class RunView:
    """All that an operator should look at before resuming, from one snapshot of the database."""

    run: Run
    state: StateSnapshot
    questions: tuple[Question, ...]

    @property
    def open(self) -> tuple[Question, ...]:
        """The questions that wait for an answer."""
        return tuple(q for q in self.questions if q.status == "open")


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request with everything a card shows, from one snapshot of the database."""

    request: ApprovalRequest
    run: Run
    votes: tuple[Vote, ...]
    #: Where its cards lie, by the entries that put them there: one, unless its channel was lost.
    cards: Mapping[EntryId, Place]
    #: Whether all, or its graph, is frozen: its deadline does not count then.
    frozen: bool = False
    #: Who acts for whom in it.
    delegations: tuple[Delegation, ...] = ()
    #: The freezes that hold its action up, each with its beginning; none once it was carried out.
    held_by: Mapping[str, int] = field(default_factory=dict)
    #: Who lets it through which of them.
    bypasses: tuple[Bypass, ...] = ()
    #: Whether its action was carried out, or is at this moment.
    used: bool = False
    #: The next moment that its run waits for, if it waits for one.
    waits_until: int | None = None

    @property
    def card(self) -> Place | None:
        """Where its first card lies; None while there is none."""
        return next(iter(self.cards.values()), None)

    @property
    def case(self) -> Case:
        """The request and its votes, with its policy and terms read, and who is one person now."""
        return Case.of(self.request, self.votes, pairs(self.delegations))

    @property
    def standing(self) -> Standing:
        """What the votes make of it: who is still needed while it is open."""
        return judge(self.case)

    @property
    def bound_to(self) -> str:
        """What an approval is bound to now: what was asked for, or what the last edit made of it."""
        # As it was cast: what is shown may be masked by then, and would make another digest.
        edits = [vote for vote in self.votes if vote.verdict == "edit"]
        return edits[-1].digest if edits else self.request.digest

    @property
    def deciders(self) -> tuple[PersonId, ...]:
        """Whose votes closed it; everybody who voted when no vote is one for what it came to."""
        verdicts = {
            "approved": {"approve"},
            "edited": {"approve", "edit"},
            "rejected": {"reject"},
            "responded": {"respond"},
            "withdrawn": {"withdraw"},
        }.get(self.request.status, set())
        last = max((vote.round for vote in self.votes), default=0)
        yes = self.request.status in {"approved", "edited"}
        said = [v for v in self.votes if v.verdict in verdicts and (v.round == last or not yes)]
        return tuple(vote.reviewer for vote in said or self.votes)

    @property
    def ticket_ids(self) -> tuple[RequestId, ThreadId, RunId, InterruptId]:
        """The ids that a button of this card carries."""
        request = self.request
        return request.id, request.thread_id, request.run_id, request.interrupt_id
