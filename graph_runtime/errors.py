"""Every error of the runtime. Each says what did not happen and what to do.

::

    SignoffError
    ├── GraphError                       the plan is wrong
    │   ├── InvalidGraph (ValueError)        compile: unknown node, no entry, reserved name
    │   ├── InvalidUpdateError               a node returned what cannot be merged
    │   │   ├── NoWay                            a router returned nothing
    │   │   └── UnknownWay                       a router returned what its path map does not have
    │   ├── GraphRecursionError              the run took as many steps as it was allowed
    │   ├── EmptyInputError                  a run was started with nothing
    │   ├── NodeTimeoutError                 a node took longer than it may
    │   ├── NodeCancelledError               a node raised CancelledError itself
    │   ├── NodeExitError                    a node called sys.exit()
    │   ├── GraphDrained                     not a failure: the run rests because its caller wanted it to
    │   ├── ParentCommand                    Command.PARENT in a graph that runs in no other
    │   ├── LimitReached                     the run used up its time, questions, retries or budget
    │   ├── Unsupported                      a LangGraph feature that is not built
    │   └── NodeMisused                      a node broke a rule of pausing
    │       ├── OutsideNode                      interrupt() where no node runs
    │       ├── PauseSwallowed                   a node caught its own pause and went on
    │       ├── NoCheckpointer (RuntimeError)    a question that nobody could answer
    │       ├── KeyRequired                      two branches of one node ask the same thing at once
    │       ├── AnswerUnused                     a re-run node did not ask what was answered
    │       └── NodeEnded                        a node's leftover task asked after the node had ended
    ├── ValueRefused (TypeError)         a value cannot be stored exactly
    ├── ResumeRefused                    an answer was not taken; nothing ran
    │   ├── UnknownThread
    │   ├── UnknownRun
    │   ├── WrongThread                      that run belongs to another thread
    │   ├── UnknownInterrupt                 that question was never asked in that run
    │   ├── AlreadyAnswered
    │   ├── InterruptClosed                  withdrawn, superseded or expired
    │   ├── DecisionNeeded                   that question has an approval request: decide it there
    │   ├── GraphChanged                     the paused node is not the node that asked
    │   ├── NotPaused                        the run asks nothing at the moment
    │   ├── RunFinished                      completed or failed
    │   └── RunCancelled
    ├── ThreadBusy                       new input for a thread whose run is still alive
    ├── UnknownCheckpoint                the thread has no such checkpoint
    ├── UnknownSubgraph (ValueError)     the graph has no subgraph of that namespace
    ├── UnknownGraph                     no graph of that name is registered
    ├── UnknownNode                      the graph has no node of that name
    ├── MigrationRefused                 the run does not fit the other version of its graph
    ├── Refused                          a decision was not taken (has a code and a sentence)
    ├── PolicyError                      a policy is missing or could never be satisfied
    ├── GrantRefused                     what was about to be done is not what was approved, or was done
    ├── FrozenError                      a freeze holds: nothing is carried out
    ├── NotDone                          an effect's own word that nothing has happened
    ├── JournalError                     the journal cannot be sealed, or is not what was sealed
    ├── ToolRefused (PermissionError)    a tool was not used
    │   ├── ToolBlocked                      a rule of the tool policy blocks it
    │   └── ToolRejected                     people were asked, and did not approve
    └── StoreError
        ├── Conflict                         a guard failed; the whole batch was undone
        │   └── LeaseLost                        someone else drives this run now
        ├── StoreUnavailable                 disk full, locked or unreadable; nothing was written
        ├── CommitUnknown                    the connection or the disk failed while it was written
        └── SchemaMismatch                   the database is older or newer than this program

    GraphBubbleUp (BaseException)        not an error: it leaves a node on purpose
    └── GraphInterrupt                       the pause on its way out of a node
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .types import Decision, Interrupt, PersonId, RefusalCode


class SignoffError(Exception):
    """Everything this package raises on purpose, except the pause itself."""


class GraphError(SignoffError):
    """The graph, or what one of its nodes returned, is wrong."""


class InvalidGraph(GraphError, ValueError):
    """The graph was not compiled; the sentence names the node or edge to mend."""


class InvalidUpdateError(GraphError):
    """What a node returned was not merged: its shape is wrong, or two nodes wrote one plain key."""


class NoWay(ValueError, InvalidUpdateError):
    """Nothing of the step was stored: a router returned None, or START, which is nowhere to go."""


class UnknownWay(KeyError, InvalidUpdateError):
    """Nothing of the step was stored: a router returned what its path map does not have."""

    __str__ = Exception.__str__  # a KeyError would show its sentence in quotes


class GraphRecursionError(GraphError, RecursionError):
    """The run stopped before another step: it had taken as many as its limit allows."""


class EmptyInputError(GraphError):
    """The run was not started: its input held nothing for any key of the state."""


class NodeTimeoutError(GraphError):
    """The node was stopped after ``elapsed`` seconds: it ran, or was idle, longer than its timeout.

    No ``TimeoutError``, so that it is retried.
    """

    def __init__(
        self,
        node: str,
        elapsed: float,
        kind: Literal["run", "idle"],
        *,
        run_timeout: float | None,
        idle_timeout: float | None,
    ) -> None:
        timeout = (run_timeout if kind == "run" else idle_timeout) or 0.0
        did = "took longer than its timeout of" if kind == "run" else "gave no sign of life for"
        super().__init__(f"node {node!r} was stopped: it {did} {timeout:g} s")
        self.node = node
        self.elapsed = elapsed
        self.kind = kind
        self.timeout = timeout
        self.run_timeout = run_timeout
        self.idle_timeout = idle_timeout


class NodeCancelledError(GraphError):
    """A node let a ``CancelledError`` escape that nobody had asked for: the node failed."""

    def __init__(self, node: str) -> None:
        super().__init__(f"node {node!r} let a CancelledError escape although nobody had cancelled it")
        self.node = node


class NodeExitError(GraphError):
    """A node called ``sys.exit()``: the node failed, and the process goes on.

    In a task that the node started itself, ``sys.exit()`` ends the process all the same: that is asyncio's.
    """

    def __init__(self, node: str, code: object) -> None:
        super().__init__(
            f"node {node!r} called sys.exit({'' if code is None else repr(code)}); a node that cannot go on "
            "raises an error"
        )
        self.node = node
        self.code = code


class GraphDrained(GraphError):
    """The call ended between two steps because it was asked to; ``None`` as input goes on."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the run rests before its next step: {reason}")
        self.reason = reason


class ParentCommand(GraphError):
    """Nothing was done: ``Command(graph=Command.PARENT)`` came from a graph that runs in no other."""


class LimitReached(GraphError):
    """The run stopped: it has used up what it was given. Its checkpoint stays where it was."""


class Unsupported(GraphError, NotImplementedError):
    """Nothing was done: this part of LangGraph is not built here; docs/differences.md lists them."""


class NodeMisused(GraphError):
    """A node broke a rule of pausing; the run stopped before its result was merged."""


class OutsideNode(NodeMisused, RuntimeError):
    """Nothing was asked: the call came from outside a running node."""


class PauseSwallowed(NodeMisused):
    """A node caught its own pause and went on; what it returned was thrown away."""


class AnswerUnused(NodeMisused):
    """A re-run node ended without asking the question that was answered; its result was thrown away."""


class NoCheckpointer(NodeMisused, RuntimeError):
    """Nothing was asked: the graph has no checkpointer, so no answer could ever reach the question."""


class KeyRequired(NodeMisused):
    """Nothing was asked: two questions at once look the same; give each its own ``key=``."""


class NodeEnded(NodeMisused):
    """Nothing was asked: the node that made this call had already ended."""


class ValueRefused(SignoffError, TypeError):
    """A value was not stored, because reading it back would not give the same value."""


class ResumeRefused(SignoffError):
    """An answer was not taken and no node ran."""

    #: Stands in the journal; the class name in capitals.
    code = "RESUME_REFUSED"


class UnknownThread(ResumeRefused):
    """No thread has that id."""

    code = "UNKNOWN_THREAD"


class UnknownRun(ResumeRefused):
    """No run has that id."""

    code = "UNKNOWN_RUN"


class WrongThread(ResumeRefused):
    """That run belongs to another thread."""

    code = "WRONG_THREAD"


class UnknownInterrupt(ResumeRefused):
    """That run never asked a question with that id."""

    code = "UNKNOWN_INTERRUPT"


class AlreadyAnswered(ResumeRefused):
    """That question has its answer; the second one was not taken."""

    code = "ALREADY_ANSWERED"


class InterruptClosed(ResumeRefused):
    """That question was withdrawn, superseded or has expired."""

    code = "INTERRUPT_CLOSED"


class DecisionNeeded(ResumeRefused):
    """That question has an approval request, whose policy says who may answer: decide it there."""

    code = "DECISION_NEEDED"


class NotPaused(ResumeRefused):
    """That run is under way and asks nothing at the moment."""

    code = "NOT_PAUSED"


class RunFinished(ResumeRefused):
    """That run has reached its end; its questions are consumed."""

    code = "RUN_FINISHED"


class RunCancelled(ResumeRefused):
    """That run was cancelled; its questions were withdrawn."""

    code = "RUN_CANCELLED"


class ThreadBusy(SignoffError):
    """No run was started: the thread's earlier run is still alive, and what it asks is still open."""


class UnknownCheckpoint(SignoffError):
    """Nothing was done: the thread has no such checkpoint."""


class UnknownSubgraph(SignoffError, ValueError):
    """Nothing was read or written: the graph has no subgraph of that namespace."""


class UnknownGraph(SignoffError):
    """Nothing was done: no graph of that name is registered."""


class UnknownNode(SignoffError):
    """Nothing was done: the graph has no node of that name."""


class GraphChanged(ResumeRefused):
    """The run was not advanced: the node that asked is not the node that would get the answer."""

    code = "GRAPH_CHANGED"


class MigrationRefused(SignoffError):
    """The run was left as it was: it does not fit the version it would be migrated to, or need not be.

    ``nodes`` names the nodes that it needs and that version does not have.
    """

    def __init__(self, sentence: str, nodes: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.nodes = nodes


class Refused(SignoffError):
    """A decision was not taken. The refusal stands in the journal; nothing else changed.

    ``code`` is one of :data:`graph_runtime.types.RefusalCode`; the text is the sentence for the person.
    """

    def __init__(
        self,
        code: RefusalCode,
        sentence: str,
        *,
        by: tuple[PersonId, ...] = (),
        at: int | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        #: What is wrong with each argument of an edit; under "" what is about all of them. For INVALID_INPUT.
        self.fields: Mapping[str, str] = fields or {}
        #: Who had decided before, and when (microseconds); for ALREADY_DECIDED.
        self.by = by
        self.at = at


class PolicyError(SignoffError):
    """Nobody was asked: the policy is missing, broken, or nobody could ever satisfy it."""


class GrantRefused(SignoffError):
    """Nothing was carried out: the grant is not for this, or was used or revoked.

    ``code`` is NOT_APPROVED, STALE_ACTION, USED, REVOKED, NOT_APPROVER or MEMBERSHIP_UNKNOWN.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class FrozenError(SignoffError):
    """Nothing was carried out: a freeze holds."""


class NotDone(SignoffError):
    """Said by an effect, or by whoever looks for it: surely nothing has happened."""


class JournalError(SignoffError):
    """The journal cannot be sealed or verified, or is not what was sealed."""


class ToolRefused(SignoffError, PermissionError):
    """A tool was not used: its function was not called.

    A ``PermissionError``, so that no default retry tries again.
    """

    def __init__(self, tool: str, sentence: str) -> None:
        super().__init__(sentence)
        self.tool = tool


class ToolBlocked(ToolRefused):
    """A rule of the tool policy blocks the tool. ``rule`` is its number; None for what is no tool's name."""

    def __init__(self, tool: str, rule: int | None, reason: str) -> None:
        by = "" if rule is None else f" by rule {rule}"
        super().__init__(tool, f"the tool {tool} was not used: it is blocked{by}: {reason}")
        self.rule = rule
        self.reason = reason


class ToolRejected(ToolRefused):
    """People were asked for the tool and did not approve. ``decision`` says who, and why."""

    def __init__(self, tool: str, decision: Decision) -> None:
        why = f": {decision.reason}" if decision.reason else ""
        super().__init__(tool, f"the tool {tool} was not used: it was {_said(decision.outcome)}{why}")
        self.decision = decision


def _said(outcome: str) -> str:
    return "not decided in time" if outcome == "timed_out" else outcome


class StoreError(SignoffError):
    """The database did not do what was asked."""


class Conflict(StoreError):
    """A guard failed and the whole batch was undone. Read again, decide again.

    ``guard`` is the name of the guard that failed.
    """

    def __init__(self, guard: str, batch: str) -> None:
        super().__init__(f"batch {batch!r} was not committed: guard {guard!r} no longer holds")
        self.guard = guard
        self.batch = batch


class LeaseLost(Conflict):
    """This worker no longer drives the run: its lease lapsed, or the run was cancelled."""


class StoreUnavailable(StoreError):
    """Nothing was written: the disk is full, read-only or locked. The next try may succeed."""


class CommitUnknown(StoreError):
    """Whether it was written is not known: database or disk failed meanwhile. Look before trying again."""


class SchemaMismatch(StoreError):
    """The database was left alone: its schema is not the one this program knows."""


class GraphBubbleUp(BaseException):
    """What leaves a node on purpose and is no error: let it pass."""


class GraphInterrupt(GraphBubbleUp):
    """The pause on its way out of a node: a ``BaseException``, so that ``except Exception`` lets it pass."""

    def __init__(self, interrupts: tuple[Interrupt, ...] = ()) -> None:
        super().__init__(interrupts)
        self.interrupts = interrupts


def first_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first real failure in a group, at any depth."""
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf
