"""Every error of the runtime. Each says what did not happen and what to do.

::

    SignoffError
    ├── GraphError                       the plan is wrong
    │   ├── InvalidGraph (ValueError)        compile: unknown node, no entry, reserved name
    │   ├── InvalidUpdateError               a node returned what cannot be merged
    │   ├── GraphRecursionError              the run took as many steps as it was allowed
    │   ├── EmptyInputError                  a run was started with nothing
    │   └── NodeMisused                      a node broke a rule of pausing
    │       ├── OutsideNode                      interrupt() where no node runs
    │       ├── PauseSwallowed                   a node caught its own pause and went on
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
    │   ├── NotPaused                        the run asks nothing at the moment
    │   ├── RunFinished                      completed or failed
    │   └── RunCancelled
    ├── ThreadBusy                       new input for a thread whose run is still alive
    ├── UnknownGraph                     no graph of that name is registered
    ├── GraphChanged                     the paused node is not the node that asked
    ├── Refused                          a decision was not taken (has a code and a sentence)
    ├── PolicyError                      a policy is missing or could never be satisfied
    └── StoreError
        ├── Conflict                         a guard failed; the whole batch was undone
        │   └── LeaseLost                        someone else drives this run now
        ├── StoreUnavailable                 disk full, locked or unreadable; nothing was written
        └── SchemaMismatch                   the database is older or newer than this program

    GraphInterrupt (BaseException)       not an error: the pause on its way out of a node
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .types import Interrupt, PersonId, RefusalCode


class SignoffError(Exception):
    """Everything this package raises on purpose, except the pause itself."""


class GraphError(SignoffError):
    """The graph, or what one of its nodes returned, is wrong."""


class InvalidGraph(GraphError, ValueError):
    """The graph was not compiled; the sentence names the node or edge to mend."""


class InvalidUpdateError(GraphError):
    """What a node returned was not merged: its shape is wrong, or two nodes wrote one plain key."""


class GraphRecursionError(GraphError, RecursionError):
    """The run stopped before another step: it had taken as many as its limit allows."""


class EmptyInputError(GraphError):
    """The run was not started: its input held nothing for any key of the state."""


class NodeMisused(GraphError):
    """A node broke a rule of pausing; the run stopped before its result was merged."""


class OutsideNode(NodeMisused):
    """Nothing was asked: the call came from outside a running node."""


class PauseSwallowed(NodeMisused):
    """A node caught its own pause and went on; what it returned was thrown away."""


class AnswerUnused(NodeMisused):
    """A re-run node ended without asking the question that was answered; its result was thrown away."""


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


class UnknownGraph(SignoffError):
    """Nothing was done: no graph of that name is registered."""


class GraphChanged(SignoffError):
    """The run was not advanced: the node that asked is not the node that would get the answer."""


class Refused(SignoffError):
    """A decision was not taken. The refusal stands in the journal; nothing else changed.

    ``code`` is one of :data:`graph_runtime.types.RefusalCode`; the text is the sentence for the person.
    """

    def __init__(
        self, code: RefusalCode, sentence: str, *, by: tuple[PersonId, ...] = (), at: int | None = None
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        #: Who had decided before, and when (microseconds); for ALREADY_DECIDED.
        self.by = by
        self.at = at


class PolicyError(SignoffError):
    """Nobody was asked: the policy is missing, broken, or nobody could ever satisfy it."""


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


class SchemaMismatch(StoreError):
    """The database was left alone: its schema is not the one this program knows."""


class GraphInterrupt(BaseException):
    """The pause on its way out of a node: a ``BaseException``, so that ``except Exception`` lets it pass."""

    def __init__(self, interrupts: tuple[Interrupt, ...] = ()) -> None:
        super().__init__(interrupts)
        self.interrupts = interrupts
