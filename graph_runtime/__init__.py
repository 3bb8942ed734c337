"""A durable asyncio graph runtime that stops at questions and resumes exactly once.

The names are LangGraph's where the thing is the same. It has never heard of Slack and can be used alone.
"""

from __future__ import annotations

from .absences import Absences
from .alarms import Alarms, Freeze
from .approvals import Approvals
from .beginnings import Limits
from .bypasses import Bypasses
from .calendars import Calendar
from .calls import ExecutionInfo, NodeError, NodeRuntime, RetryPolicy, RunControl, StreamWriter
from .clock import SECOND, Bell, Clock, NewId, TimeOrderedIds, system_clock
from .compiled import CompiledGraph
from .delegation import Delegation
from .divergence import Divergence
from .drawing import Stage, Stop, Way
from .erasing import Erasure, Erasures
from .errors import (
    AlreadyAnswered,
    AnswerUnused,
    CommitUnknown,
    Conflict,
    DecisionNeeded,
    EmptyInputError,
    FrozenError,
    GrantRefused,
    GraphBubbleUp,
    GraphChanged,
    GraphDrained,
    GraphError,
    GraphInterrupt,
    GraphRecursionError,
    InterruptClosed,
    InvalidGraph,
    InvalidUpdateError,
    JournalError,
    KeyRequired,
    LeaseLost,
    LimitReached,
    MigrationRefused,
    NoCheckpointer,
    NodeCancelledError,
    NodeEnded,
    NodeExitError,
    NodeMisused,
    NodeTimeoutError,
    NotDone,
    NotPaused,
    NoWay,
    OutsideNode,
    ParentCommand,
    PauseSwallowed,
    PolicyError,
    Refused,
    ResumeRefused,
    RunCancelled,
    RunFinished,
    SchemaMismatch,
    SignoffError,
    StoreError,
    StoreUnavailable,
    ThreadBusy,
    ToolBlocked,
    ToolRefused,
    ToolRejected,
    UnknownCheckpoint,
    UnknownGraph,
    UnknownInterrupt,
    UnknownNode,
    UnknownRun,
    UnknownSubgraph,
    UnknownThread,
    UnknownWay,
    Unsupported,
    ValueRefused,
    WrongThread,
)
from .grants import call_decisions, execute_once
from .graph import StateGraph
from .inside import current_task, get_config, get_runtime, get_stream_writer, interrupt, spend, step
from .journal import Broken, Head, Journal, Verified, lines_of
from .judging import Directory, Seat, Standing
from .messages import (
    REMOVE_ALL_MESSAGES,
    AIMessage,
    AnyMessage,
    HumanMessage,
    MessagesState,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    add_messages,
)
from .outbox import OperatorAlarm, Outbox
from .policy import Duration, Policy, read_duration, read_policies
from .replay import Replay, SkippedStep
from .requests import Requests, approve
from .restoring import Restored
from .retention import Retention
from .runtime import Runtime
from .saver import AsyncSqliteSaver, InMemorySaver, MemorySaver
from .shown import RequestView, RunView, StateSnapshot
from .state import IsLastStep, RemainingSteps
from .storage import Store, open_store
from .storage.copying import copy_database
from .storage.files import DatabaseSize
from .streaming import GraphOutput
from .timeouts import TimeoutPolicy
from .tools import ToolPolicy, ToolRule, ToolVerdict, load_tool_policy, read_tool_policy
from .types import (
    END,
    START,
    Action,
    Actor,
    ApprovalRequest,
    Command,
    Decision,
    Event,
    Grant,
    Interrupt,
    OutboxEntry,
    Overwrite,
    Place,
    Question,
    Reviewer,
    Run,
    Send,
    StateUpdate,
    Ticket,
    Vote,
)
from .upkeep import Upkeep
from .versions import Migration, NodeChange
from .waiting import wait_until
from .worker import Worker, keep_doing, open_queue

_UNSUPPORTED = {
    "entrypoint": "the functional API",
    "task": "the functional API",
    "BaseStore": "the long-term store",
    "InMemoryStore": "the long-term store",
    "AsyncSqliteStore": "the long-term store",
    "CachePolicy": "the cache of nodes",
    "InMemoryCache": "the cache of nodes",
    "SqliteSaver": "a saver for synchronous calls",
    "get_store": "the long-term store",
}


def __getattr__(name: str) -> object:
    """Say of what LangGraph has and this package has not, that it has not."""
    if name in _UNSUPPORTED:
        raise Unsupported(
            f"{name!r} was not imported: {_UNSUPPORTED[name]} is not built here; see docs/differences.md"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "END",
    "REMOVE_ALL_MESSAGES",
    "SECOND",
    "START",
    "AIMessage",
    "Absences",
    "Action",
    "Actor",
    "Alarms",
    "AlreadyAnswered",
    "AnswerUnused",
    "AnyMessage",
    "ApprovalRequest",
    "Approvals",
    "AsyncSqliteSaver",
    "Bell",
    "Broken",
    "Bypasses",
    "Calendar",
    "Clock",
    "Command",
    "CommitUnknown",
    "CompiledGraph",
    "Conflict",
    "DatabaseSize",
    "Decision",
    "DecisionNeeded",
    "Delegation",
    "Directory",
    "Divergence",
    "Duration",
    "EmptyInputError",
    "Erasure",
    "Erasures",
    "Event",
    "ExecutionInfo",
    "Freeze",
    "FrozenError",
    "Grant",
    "GrantRefused",
    "GraphBubbleUp",
    "GraphChanged",
    "GraphDrained",
    "GraphError",
    "GraphInterrupt",
    "GraphOutput",
    "GraphRecursionError",
    "Head",
    "HumanMessage",
    "InMemorySaver",
    "Interrupt",
    "InterruptClosed",
    "InvalidGraph",
    "InvalidUpdateError",
    "IsLastStep",
    "Journal",
    "JournalError",
    "KeyRequired",
    "LeaseLost",
    "LimitReached",
    "Limits",
    "MemorySaver",
    "MessagesState",
    "Migration",
    "MigrationRefused",
    "NewId",
    "NoCheckpointer",
    "NoWay",
    "NodeCancelledError",
    "NodeChange",
    "NodeEnded",
    "NodeError",
    "NodeExitError",
    "NodeMisused",
    "NodeRuntime",
    "NodeTimeoutError",
    "NotDone",
    "NotPaused",
    "OperatorAlarm",
    "Outbox",
    "OutboxEntry",
    "OutsideNode",
    "Overwrite",
    "ParentCommand",
    "PauseSwallowed",
    "Place",
    "Policy",
    "PolicyError",
    "Question",
    "Refused",
    "RemainingSteps",
    "RemoveMessage",
    "Replay",
    "RequestView",
    "Requests",
    "Restored",
    "ResumeRefused",
    "Retention",
    "RetryPolicy",
    "Reviewer",
    "Run",
    "RunCancelled",
    "RunControl",
    "RunFinished",
    "RunView",
    "Runtime",
    "SchemaMismatch",
    "Seat",
    "Send",
    "SignoffError",
    "SkippedStep",
    "Stage",
    "Standing",
    "StateGraph",
    "StateSnapshot",
    "StateUpdate",
    "Stop",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "StreamWriter",
    "SystemMessage",
    "ThreadBusy",
    "Ticket",
    "TimeOrderedIds",
    "TimeoutPolicy",
    "ToolBlocked",
    "ToolMessage",
    "ToolPolicy",
    "ToolRefused",
    "ToolRejected",
    "ToolRule",
    "ToolVerdict",
    "UnknownCheckpoint",
    "UnknownGraph",
    "UnknownInterrupt",
    "UnknownNode",
    "UnknownRun",
    "UnknownSubgraph",
    "UnknownThread",
    "UnknownWay",
    "Unsupported",
    "Upkeep",
    "ValueRefused",
    "Verified",
    "Vote",
    "Way",
    "Worker",
    "WrongThread",
    "add_messages",
    "approve",
    "call_decisions",
    "copy_database",
    "current_task",
    "execute_once",
    "get_config",
    "get_runtime",
    "get_stream_writer",
    "interrupt",
    "keep_doing",
    "lines_of",
    "load_tool_policy",
    "open_queue",
    "open_store",
    "read_duration",
    "read_policies",
    "read_tool_policy",
    "spend",
    "step",
    "system_clock",
    "wait_until",
]
