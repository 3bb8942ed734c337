"""The nouns of docs/glossary.md: frozen, slotted, and importing nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Generic, Literal, NamedTuple, NewType, TypeVar

from .quick import quick
from .timeouts import TimeoutPolicy

ThreadId = NewType("ThreadId", str)
RunId = NewType("RunId", str)
CheckpointId = NewType("CheckpointId", str)
TaskId = NewType("TaskId", str)
InterruptId = NewType("InterruptId", str)
RequestId = NewType("RequestId", str)
DelegationId = NewType("DelegationId", str)
EntryId = NewType("EntryId", str)
PersonId = NewType("PersonId", str)
GroupId = NewType("GroupId", str)

START = "__start__"
END = "__end__"
#: The single channel of a state that is one value and no mapping.
ROOT = "__root__"
#: ``Command(graph=PARENT)`` speaks to the graph that this one runs in.
PARENT = "__parent__"


class _Unset:
    """Stands where nothing was given, because None is a value too."""

    def __repr__(self) -> str:
        return "<not given>"

    def __bool__(self) -> bool:
        return False


UNSET: Any = _Unset()
#: Where ``ainvoke`` and the ``updates`` stream show the questions, as LangGraph does.
INTERRUPT = "__interrupt__"

RunStatus = Literal[
    "queued",  # waits for a worker
    "running",  # a worker or caller holds the lease
    "interrupted",  # every task that is left waits for an answer
    "completed",  # reached its end
    "failed",  # a node raised, or a limit was reached
    "cancelled",  # a person stopped it
    "needs_attention",  # only an operator can say how to go on
]
LIVE: frozenset[RunStatus] = frozenset({"queued", "running", "interrupted", "needs_attention"})
Driver = Literal["caller", "worker"]
Origin = Literal["input", "retry", "fork", "update"]
CheckpointSource = Literal["input", "loop", "update", "fork"]
InterruptStatus = Literal["open", "answered", "withdrawn", "superseded", "expired"]
RequestStatus = Literal[
    "open", "approved", "edited", "rejected", "responded", "timed_out", "withdrawn", "superseded"
]
Verdict = Literal[
    "approve",
    "edit",  # approve, but with other arguments
    "reject",
    "respond",  # say something instead: the action is not carried out
    "withdraw",  # who asked takes it back
]
#: Whose words a question is asked in, when they are not ours.
Shape = Literal[
    "tool_approval",  # LangChain, one interrupt for each call
    "hitl_request",  # LangChain, one interrupt for all calls of a message
    "agent_inbox",  # Agent Inbox, and langgraph.prebuilt
]
EntryStatus = Literal["pending", "delivered", "parked", "lost"]
EntryKind = Literal[
    "card",  # a card of a request, drawn from its present state; one row per place, and mostly one in all
    "trail",  # one line in the card's thread
    "alarm",  # what an operator is told of an entry that could not be told where it should
]
RefusalCode = Literal[
    "GARBLED_TICKET",
    "UNKNOWN_ACTION",
    "UNKNOWN_REQUEST",
    "NO_LONGER_KEPT",
    "WRONG_DEPLOYMENT",
    "WRONG_REQUEST",
    "WRONG_THREAD",
    "WRONG_RUN",
    "WRONG_INTERRUPT",
    "WRONG_APP",
    "WRONG_WORKSPACE",
    "WRONG_CHANNEL",
    "WRONG_MESSAGE",
    "CARD_REPLACED",
    "NO_CARD_YET",
    "EXTERNAL_USER",
    "GUEST_USER",
    "BOT_USER",
    "DEACTIVATED_USER",
    "SELF_APPROVAL",
    "NOT_APPROVER",
    "MEMBERSHIP_UNKNOWN",
    "REASON_REQUIRED",
    "ALREADY_VOTED",
    "NOT_NEEDED",
    "INVALID_INPUT",
    "ALREADY_DECIDED",
    "NOT_PENDING",
    "EXPIRED",
    "STALE_ACTION",
    "NOT_ALLOWED",
    "GRAPH_CHANGED",
    "FROZEN",
    "BUSY",
]

N = TypeVar("N", bound=str)


@quick
@dataclass(frozen=True, slots=True)
class Interrupt:
    """A question that a task asked the outside world: ``value``; ``digest`` binds the answer to it."""

    value: Any
    id: InterruptId
    digest: str = ""
    key: str | None = None
    occurrence: int = 0
    #: What an answer must fit: a type, or a JSON schema; None takes any value.
    response_schema: Any = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, init=False)
class Send:
    """Run ``node`` in the next step on ``arg`` alone, not on the state; ``timeout`` replaces its own."""

    node: str
    arg: Any
    timeout: TimeoutPolicy | None

    def __init__(
        self, node: str, arg: Any, *, timeout: float | timedelta | TimeoutPolicy | None = None
    ) -> None:
        object.__setattr__(self, "node", node)
        object.__setattr__(self, "arg", arg)
        object.__setattr__(self, "timeout", TimeoutPolicy.coerce(timeout))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[N]):
    """What a node or a caller says besides data.

    ``update`` changes the state, ``goto`` goes there next. A caller's ``resume`` answers the one open
    question, or several by ``{interrupt_id: answer}``. ``graph=Command.PARENT`` speaks for the graph around.
    """

    graph: str | None = None
    update: Any = None
    resume: Any = UNSET
    goto: str | Send | Sequence[str | Send] = ()

    PARENT: ClassVar[str] = PARENT


class StateUpdate(NamedTuple):
    """One of the updates that :meth:`CompiledGraph.abulk_update_state` takes."""

    values: Any
    as_node: str | None = None


@dataclass(frozen=True, slots=True)
class Overwrite:
    """Put ``value`` in the channel as it is, past the reducer."""

    value: Any


@quick
@dataclass(frozen=True, slots=True)
class Task:
    """One execution of one node in one step. The id is the same whenever the same task runs again."""

    id: TaskId
    node: str
    #: Position among the step's Sends; None for a task that an edge brought about.
    push: int | None = None
    #: What a Send passed, or the input that START carries; unused otherwise.
    arg: Any = None
    #: Takes the place of the node's own.
    timeout: TimeoutPolicy | None = None


@quick
@dataclass(frozen=True, slots=True)
class Route:
    """Why a step followed: ``source`` led to ``targets`` by ``way``."""

    source: str
    way: Literal["edge", "join", "branch", "goto"]
    targets: tuple[str, ...]
    #: The name of the function that chose, for a branch.
    by: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The immutable record after a step: where the thread stands and how it came there."""

    id: CheckpointId
    thread_id: ThreadId
    run_id: RunId
    parent_id: CheckpointId | None
    step: int
    source: CheckpointSource
    #: Where a subgraph runs: ``node:task_id``, joined by ``|`` from outside; empty for the graph itself.
    ns: str
    values: Mapping[str, Any]
    due: tuple[Task, ...]
    #: For each list edge that has begun to wait: its key and the sources that have arrived.
    joins: Mapping[str, tuple[str, ...]]
    #: Deferred nodes that were triggered and wait for the run to quiet down.
    held: tuple[str, ...]
    routes: tuple[Route, ...]
    created_at: int
    #: What the caller put beside it, to find it again.
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def next(self) -> tuple[str, ...]:
        """The names of the nodes that are due, in task order."""
        return tuple(task.node for task in self.due)


@quick
@dataclass(frozen=True, slots=True)
class Run:
    """One journey of a thread from an input to an end; keeps its id through every pause."""

    id: RunId
    thread_id: ThreadId
    graph: str
    version: str
    status: RunStatus
    driver: Driver
    head: CheckpointId
    step: int
    steps_taken: int
    max_steps: int
    requester: PersonId | None
    #: Why it failed or needs attention: ``{"type": ..., "message": ...}``.
    error: Mapping[str, str] | None
    lease_owner: str | None
    lease_until: int | None
    #: Goes up at each claim; every write of a worker repeats the one it was given.
    epoch: int
    created_at: int
    updated_at: int
    #: What it may use in its whole life by name: seconds, questions, retries, the author's own budgets.
    limits: Mapping[str, float] = field(default_factory=dict)
    used: Mapping[str, float] = field(default_factory=dict)
    #: What its unfinished tasks took of that, by task and place.
    taken: Mapping[str, float] = field(default_factory=dict)
    origin: Origin = "input"
    #: The run that a retry or fork goes back to.
    parent_run: RunId | None = None
    #: The checkpoint from which somebody told it to go on, past a breakpoint there.
    passes: CheckpointId | None = None

    @property
    def live(self) -> bool:
        """Whether the run may still move."""
        return self.status in LIVE


@quick
@dataclass(frozen=True, slots=True)
class Question:
    """An interrupt as it lies in the store, with what became of it."""

    interrupt: Interrupt
    thread_id: ThreadId
    run_id: RunId
    checkpoint_id: CheckpointId
    task_id: TaskId
    ns: str
    node: str
    step: int
    status: InterruptStatus
    answer: Any
    answered_by: str | None
    asked_at: int
    answered_at: int | None
    #: When the task that asked had run with this answer and rested again; None while it has not.
    delivered_at: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the append-only journal."""

    id: str
    at: int
    kind: str
    actor: str | None
    thread_id: ThreadId | None
    run_id: RunId | None
    request_id: RequestId | None
    data: Mapping[str, Any]
    #: What its actor said with it, in their own words, where that was read too.
    said: str | None = None
    #: The digest of what they said, once that is erased.
    erased: str | None = None

    @property
    def words(self) -> str | None:
        """What is shown of what its actor said."""
        return _words(self.said, self.erased)


@dataclass(frozen=True, slots=True)
class Action:
    """Exactly what will be done if the answer is yes; its digest is what a decision is bound to."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Form:
    """What a request keeps of the pydantic model that says what an edit may make of its action."""

    #: ``module:name``.
    reference: str
    #: Its JSON schema when it was asked.
    schema: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments that it knew when it was asked."""
        return tuple(self.schema.get("properties", ()))


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Someone who may be allowed to decide, as the directory knew them at the moment of asking."""

    id: PersonId
    #: Groups of the policy that they are in now.
    groups: frozenset[GroupId] = frozenset()
    #: Groups of the policy whose membership could not be learned; counts as "not a member", and is said.
    unknown: frozenset[GroupId] = frozenset()
    kind: Literal["member", "guest", "external", "bot", "deactivated", "unknown"] = "member"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something, as the surface says: an id, and the workspace their account belongs to."""

    id: PersonId
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a card lies or a click came from, in words that only the window understands.

    ``surface`` is "slack", "cli" or "api"; the other fields are opaque and compared as they are.
    """

    surface: str
    app: str = ""
    workspace: str = ""
    channel: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a button carries. It proves nothing; every id is compared with the store."""

    deployment: str
    request_id: RequestId
    thread_id: ThreadId
    run_id: RunId
    interrupt_id: InterruptId


@dataclass(frozen=True, slots=True)
class Grant:
    """What an approved request gives the graph: its action, once. It proves nothing; the store is asked."""

    request_id: RequestId
    digest: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What an approval gives the graph: the outcome, by whom, when, and bound to what.

    ``outcome`` is the request's final status; a deadline is ``timed_out`` and names no person.
    """

    outcome: RequestStatus
    request_id: RequestId
    digest: str
    by: tuple[PersonId, ...] = ()
    reason: str | None = None
    at: int = 0
    #: The tier of the policy that it was decided by.
    tier: str | None = None
    #: The action's arguments as they were approved, when an approver changed them.
    arguments: Mapping[str, Any] | None = None
    #: What the policy says that a graph should do after a deadline.
    on_timeout: str | None = None
    #: From when on the policy's windows let it be carried out.
    opens_at: int | None = None

    @property
    def approved(self) -> bool:
        """Whether the action may be carried out."""
        return self.outcome in {"approved", "edited"}

    @property
    def grant(self) -> Grant:
        """What ``execute_once`` takes. It looks itself whether the request was approved."""
        return Grant(self.request_id, self.digest)


@dataclass(frozen=True, slots=True)
class Vote:
    """One reviewer's verdict on one request, as recorded. Never edited."""

    reviewer: PersonId
    verdict: Verdict
    reason: str | None
    digest: str
    at: int
    surface: str
    #: Groups, channels and schedules of the policy that they were in when they decided.
    groups: frozenset[GroupId] = frozenset()
    #: The stage that was open then.
    stage: int = 0
    #: How often the action had been edited then; this edit included.
    round: int = 0
    #: The action's arguments as an edit left them.
    arguments: Mapping[str, Any] | None = None
    #: The digest of the reason, once that is erased.
    erased: str | None = None
    #: In whose place it was cast, and by which delegation; None: in their own.
    on_behalf_of: PersonId | None = None
    delegation: DelegationId | None = None
    #: Who counted as one person with the reviewer when it was cast.
    one_with: frozenset[PersonId] = frozenset()

    @property
    def words(self) -> str | None:
        """What is shown of the reason."""
        return _words(self.reason, self.erased)

    @property
    def holder(self) -> PersonId:
        """Whose place it fills."""
        return self.on_behalf_of or self.reviewer


def _words(said: str | None, erased: str | None) -> str | None:
    return said if erased is None else f"(erased: {erased[:19]})"


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """An interrupt with a policy, as it lies in the store."""

    id: RequestId
    interrupt_id: InterruptId
    thread_id: ThreadId
    run_id: RunId
    graph: str
    node: str
    title: str
    action: Action | None
    #: What is shown besides the action, in order.
    facts: Mapping[str, Any]
    digest: str
    policy_name: str
    #: The policy as it stood when the request was opened, as JSON.
    policy: Mapping[str, Any]
    requester: PersonId | None
    #: People who, like the requester, may not approve.
    also: tuple[PersonId, ...]
    status: RequestStatus
    revision: int
    deadline_at: int | None
    opened_at: int
    closed_at: int | None
    #: What the policy came to for these facts, as JSON; None for one that was opened before there were tiers.
    terms: Mapping[str, Any] | None = None
    #: Whose words the question is in and its answer must be; None: ours.
    shape: Shape | None = None
    #: Which of the ``parts`` of its question this is, from 0 on; each is decided by itself.
    part: int = 0
    parts: int = 1
    #: What an edit must satisfy besides the policy; None: the kinds of the arguments alone.
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """Something the outside world must be told. Delivered at least once."""

    id: EntryId
    kind: EntryKind
    request_id: RequestId
    status: EntryStatus
    #: Goes up whenever what should be shown changes; the entry is done when it was drawn at this number.
    wanted: int
    attempts: int
    #: An earlier courier's lease lapsed while it held this entry, so its call may still arrive.
    overtaken: bool
    payload: Mapping[str, Any]
    lease_owner: str | None
    lease_until: int | None
    error: str | None
