"""The front door: start, resume, cancel, retry, fork, edit, look, history; the worker's claim and drive."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import GenericAlias
from typing import Any, Protocol

from . import records
from .advance import Advance
from .answers import Answers
from .beginnings import Beginnings, Limits
from .callers import Call
from .clock import SECOND, Clock, NewId, TimeOrderedIds
from .companions import Companion
from .drawing import Way, draw_mermaid
from .edits import Edits
from .endings import ending
from .errors import (
    Conflict,
    NotPaused,
    RunCancelled,
    RunFinished,
    ThreadBusy,
    UnknownGraph,
    UnknownThread,
)
from .ground import Begun, Ground
from .plan import Plan
from .replay import Replay, Replays
from .retention import Prunes, Retention
from .shown import RunView, StateSnapshot
from .storage import Ask, Batch, Do, Params, Store
from .types import CheckpointId, Command, Driver, Event, Question, Run, StateUpdate, ThreadId
from .versions import Migration, Versions
from .views import Views
from .waiting import Waits

#: How long a worker may be silent before another takes its run.
LEASE = 30 * SECOND
#: Steps a run may take in its whole life, unless it was started with another limit.
MAX_STEPS = 1_000


class Compiled(Protocol):
    """What a Runtime runs: anything with a plan."""

    @property
    def plan(self) -> Plan: ...


class Runtime:
    """Starts, advances and answers runs over one store.

    ``graphs`` are found by name whenever a run is advanced. Two versions of one graph may be registered side
    by side: each finishes the runs that began on it, and the last one given starts the new ones. ``owner``
    names this process in leases and must differ between processes. ``clock`` is the store's, unless a test
    wants another.

    A node that asks for its ``runtime`` may call it ``Runtime[Context]``, as LangGraph's do: it is given a
    :class:`NodeRuntime`.
    """

    def __class_getitem__(cls, context: Any) -> GenericAlias:
        return GenericAlias(cls, (context,))

    def __init__(
        self,
        store: Store,
        graphs: Iterable[Compiled],
        *,
        companions: Sequence[Companion] = (),
        clock: Clock | None = None,
        new_id: NewId | None = None,
        owner: str | None = None,
        lease: int = LEASE,
        max_steps: int = MAX_STEPS,
    ) -> None:
        self.store = store
        self.clock = clock = clock or store.clock
        self.new_id = new_id or TimeOrderedIds(clock)
        self.owner = owner or f"{os.uname().nodename}:{os.getpid()}:{self.new_id('w')}"
        plans: dict[str, Plan] = {}
        for graph in graphs:
            plans[graph.plan.name] = plans[f"{graph.plan.name}@{graph.plan.version}"] = graph.plan
        self.ground = Ground(
            store,
            plans,
            (Waits(), *companions),
            clock=clock,
            new_id=self.new_id,
            owner=self.owner,
            lease=lease,
        )
        self._advance = Advance(self.ground)
        self.views = Views(self.ground)
        self._beginnings = Beginnings(self.ground, max_steps=max_steps)
        self.edits = Edits(self.ground, self._beginnings)
        self.answers = Answers(self.ground, self.edits)
        self._prunes = Prunes(self.ground)
        self._replays = Replays(self.ground)
        self._versions = Versions(self.ground)
        self.runs_bell, self.outbox_bell = self.ground.runs_bell, self.ground.outbox_bell

    @property
    def graphs(self) -> Mapping[str, Plan]:
        """The registered graphs by name."""
        return {name: plan for name, plan in self.ground.plans.items() if "@" not in name}

    # -- beginning -------------------------------------------------------------------------------------

    async def start(
        self,
        graph: str,
        given: Any,
        *,
        thread_id: str | None = None,
        requester: str | None = None,
        idempotency_key: str | None = None,
        max_steps: int | None = None,
        limits: Limits | None = None,
        driver: Driver = "worker",
        allow_empty: bool = False,
        metadata: Mapping[str, Any] | None = None,
        at: str | None = None,
    ) -> Run:
        """Put a new run in the queue, on a new thread or after the thread's finished one, and return it.

        The thread's state is kept and the input merged into it. With an ``idempotency_key`` that this graph
        has seen, nothing is started and the first run is returned. With ``driver="caller"`` no worker takes
        the run: it is returned claimed, and the caller drives it. An input without any key of the graph is
        refused unless ``allow_empty``; None always is.

        Raises :class:`UnknownGraph`, :class:`EmptyInputError`, :class:`InvalidUpdateError` or
        :class:`ValueRefused` for a bad input, ``ValueError`` for ``max_steps`` below one, and
        :class:`ThreadBusy` while the thread's run is alive: a paused thread takes answers, not input.
        """
        begun = await self.begin(
            graph,
            given,
            thread_id=thread_id,
            requester=requester,
            idempotency_key=idempotency_key,
            max_steps=max_steps,
            limits=limits,
            driver=driver,
            allow_empty=allow_empty,
            metadata=metadata,
            at=at,
        )
        return begun.run

    async def begin(
        self,
        graph: str,
        given: Any,
        *,
        thread_id: str | None = None,
        requester: str | None = None,
        idempotency_key: str | None = None,
        max_steps: int | None = None,
        limits: Limits | None = None,
        driver: Driver = "worker",
        allow_empty: bool = False,
        metadata: Mapping[str, Any] | None = None,
        at: str | None = None,
        later: bool = False,
        discard: bool = False,
    ) -> Begun:
        """Do as :meth:`start`, for a caller who drives the run at once: ``drive(begun.run, call, begun)``.

        With ``later`` the run is stored by its walk, together with what its first nodes come to. With
        ``discard`` a live run of the thread is cancelled in the commit that begins the new one.
        """
        plan = self.ground.plans.get(graph)
        if plan is None:
            known = ", ".join(sorted(self.graphs)) or "none"
            raise UnknownGraph(f"no run was started: there is no graph {graph!r}; registered are {known}")
        if thread_id is not None and not _is_thread_id(thread_id):
            raise UnknownThread(f"no run was started: {thread_id!r:.80} is no thread id of 1 to 255 letters")
        limits = limits or Limits()
        if max_steps is not None:
            limits = replace(limits, steps=max_steps)
        _check_steps(limits.steps)
        return await self._beginnings.start(
            plan,
            given,
            thread=ThreadId(thread_id or self.new_id("thr")),
            requester=requester,
            idempotency_key=idempotency_key,
            limits=limits,
            driver=driver,
            allow_empty=allow_empty,
            metadata=metadata,
            at=at,
            later=later,
            discard=discard,
        )

    async def retry(
        self, thread_id: str, run_id: str, *, max_steps: int | None = None, driver: Driver = "worker"
    ) -> Run:
        """Begin a new run at the place where this one failed or was cancelled, and return it.

        Finished siblings of the failed task are not run again, nor is what ``step()`` recorded. No answer is
        taken over: what was asked is asked anew. It may take as many steps as the other might, unless
        ``max_steps`` says otherwise. Raises UnknownThread, UnknownRun, WrongThread, or
        :class:`NotPaused` when the run neither failed nor was cancelled, or the thread has gone on since.
        """
        _check_steps(max_steps)
        run, refusal = await self.answers.named(thread_id, run_id)
        if run is None and refusal is not None and not isinstance(refusal, RunFinished | RunCancelled):
            raise refusal
        run = await self.get(run_id)
        if run.status not in {"failed", "cancelled"}:
            raise NotPaused(
                f"nothing was begun: run {run_id!r} is {run.status}; only an ended one is retried"
            )
        return await self._beginnings.retry(run, driver, max_steps)

    async def fork(
        self,
        thread_id: str,
        checkpoint_id: str,
        *,
        max_steps: int | None = None,
        driver: Driver = "worker",
        discard: bool = False,
    ) -> Run:
        """Begin a new run at an old checkpoint of the thread, and return it; the old line stays readable.

        It is a journey of its own: nothing that was answered, recorded or granted is taken over, and what was
        asked is asked anew. Its limits are those of the run it leaves, unless ``max_steps`` says otherwise.
        Raises :class:`UnknownCheckpoint`, and :class:`ThreadBusy` while a run is alive; with ``discard`` that
        one is cancelled in the same commit.
        """
        _check_steps(max_steps)
        return await self._beginnings.fork(
            ThreadId(thread_id), checkpoint_id, driver, max_steps, discard=discard
        )

    async def edit(
        self,
        thread_id: str,
        values: Any,
        *,
        as_node: str | None = None,
        at: str | None = None,
        graph: str | None = None,
        actor: str | None = None,
    ) -> CheckpointId:
        """Write to a thread's state as if ``as_node`` had returned ``values``; return the new checkpoint.

        What follows that node is due then, by its edges and branches, and nothing else; with ``as_node=END``
        and no values, nothing at all. Without ``as_node`` the only node of the last step is meant.
        The journal says that ``actor`` did it.

        At a pause, what was asked is superseded and asked anew when the run goes on, so that no answer to
        the old state can meet the new one. On a finished thread, and at an old checkpoint (``at``), the edit
        begins a new run, which rests where the edit leads.

        Raises :class:`InvalidUpdateError` for an unknown or ambiguous node, :class:`ThreadBusy` while the run
        is driven, :class:`UnknownThread` or :class:`UnknownCheckpoint`.
        """
        return await self.edits.edit(
            ThreadId(thread_id), [[StateUpdate(values, as_node)]], at=at, graph=graph, actor=actor
        )

    # -- answering and ending ---------------------------------------------------------------------------

    async def resume(
        self, thread_id: str, run_id: str, interrupt_id: str, answer: Any, *, actor: str | None = None
    ) -> Run:
        """Store the answer to one open question and queue the run; return the run as it is then.

        The answer reaches that question, in that run, once. Raises a subclass of :class:`ResumeRefused`,
        with the refusal in the journal and nothing run, when the thread, run or question is unknown or does
        not belong together, when the question is answered or closed, when it has an approval request, when
        the node that asked was changed since, or when the run is finished, cancelled or not paused.
        """
        return await self.resume_all(thread_id, run_id, {interrupt_id: answer}, actor=actor)

    async def resume_all(
        self,
        thread_id: str,
        run_id: str,
        answers: Mapping[str, Any],
        *,
        actor: str | None = None,
        command: Command[Any] | None = None,
    ) -> Run:
        """Store the answers to several open questions, all of them or none; otherwise as :meth:`resume`.

        The update and goto of a ``command`` are part of the same commit: the state is changed, and the nodes
        are due beside those that asked. An answer whose question is then asked otherwise is not used.
        """
        return await self.answers.take(thread_id, run_id, answers, actor=actor, command=command)

    async def go_on(self, thread_id: str, run_id: str, *, actor: str | None = None) -> Run:
        """Let a run that rests at a breakpoint, or after an edit, go on; return it as it is then.

        A worker's run is queued, a caller's may be taken up and driven. Raises :class:`NotPaused` when it
        asks something or does not rest, :class:`GraphChanged`, and what :meth:`cancel` raises.
        """
        await self.answers.go_on(thread_id, run_id, actor=actor)
        return await self.get(run_id)

    async def cancel(
        self, thread_id: str, run_id: str, *, actor: str | None = None, reason: str | None = None
    ) -> Run:
        """End the run, withdraw what it asks, and return it. A node under way is stopped at its next write.

        Raises UnknownThread, UnknownRun, WrongThread, RunFinished or RunCancelled; nothing changed then.
        """
        while True:
            run, now = await self._alive(thread_id, run_id), self.clock()
            params: Params = {"run_id": run_id, "thread_id": thread_id, "now": now}
            ended = ending(self.ground, run, "cancelled", actor, now, reason=None, words=reason)
            batch = Batch("cancel", (Do("cancel_run", params, guard="run alive"), *ended))
            try:
                await self.store.commit(batch)
            except Conflict:
                continue
            self.outbox_bell.ring()
            return await self.get(run_id)

    async def prune(
        self,
        *,
        older_than: float | None = None,
        keep: int | None = None,
        limit: int | None = None,
        actor: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Let finished threads go with all that belongs to them; return how many went, or would go.

        A thread goes when its last run ended longer than ``older_than`` seconds ago, or when it is not among
        the ``keep`` finished ones that ended last; None or 0 is no bound. The longest ended go first, at most
        ``limit``, each in a batch of its own. A thread with a live run, or of which something is still to be
        told, stays. The journal keeps its lines and says ``thread.pruned``; the idempotency keys of its runs
        are forgotten. Raises ``ValueError`` for a negative bound.
        """
        retention = Retention(older_than, keep)
        if dry_run:
            return await self._prunes.count(retention)
        return await self._prunes.prune(retention, limit=limit, actor=actor)

    async def migration(self, thread_id: str, run_id: str, *, to: str | None = None) -> Migration:
        """Return what :meth:`migrate` would do now; it raises the same, and changes nothing."""
        return await self._versions.look(await self._alive(thread_id, run_id), to)

    async def migrate(
        self, thread_id: str, run_id: str, *, to: str | None = None, actor: str | None = None
    ) -> Migration:
        """Take a run to version ``to`` of its graph, else to the one registered last; return what was done.

        For a run that stands at a node which is another one by now (:class:`GraphChanged`). It goes on from
        where it stands, with the same tasks, so that what ``step()`` recorded is not done again. What they
        asked is superseded and asked anew; an answer that was accepted and had not reached its node is never
        delivered. The journal says so, and that ``actor`` did it.

        Raises :class:`MigrationRefused` when a node, list edge or key that the run needs is not in that
        version, when its state does not fit, when it needs attention for another reason, or nothing has
        changed; :class:`UnknownGraph`; :class:`ThreadBusy` while the run is driven; and what :meth:`cancel`
        raises. The run is left as it was then.
        """
        while True:
            done = await self._versions.move(await self._alive(thread_id, run_id), to, actor)
            if done is not None:
                return done

    # -- looking -----------------------------------------------------------------------------------------

    async def get(self, run_id: str) -> Run:
        """Return the run. Raises :class:`UnknownRun`."""
        return await self._advance.get(run_id)

    async def last_run(self, thread_id: str) -> Run | None:
        """Return the run whose head is the head of the thread; None for an unknown thread."""
        return await self._beginnings.last_run(thread_id)

    async def runs(self, *, status: str = "", graph: str = "", limit: int = 20) -> list[Run]:
        """Return the newest runs first, at most ``limit``; of one status or graph when given."""
        ask = Ask("find_runs", {"status": status, "graph": graph, "limit": limit})
        (rows,) = await self.store.read(ask)
        return [records.read_run(row) for row in rows]

    async def count(self) -> dict[str, int]:
        """Return how many runs there are of each status; a status without runs is absent."""
        (rows,) = await self.store.read(Ask("count_runs"))
        return {row["status"]: row["count"] for row in rows}

    async def events(self, *, run_id: str = "", request_id: str = "", limit: int = 200) -> list[Event]:
        """Return the newest lines of the journal, oldest first; of a request, else of a run, when given."""
        if request_id:
            ask = Ask("find_events_of_request", {"request_id": request_id, "limit": limit})
        elif run_id:
            ask = Ask("find_events_of_run", {"run_id": run_id, "limit": limit})
        else:
            ask = Ask("find_events", {"limit": limit})
        (rows,) = await self.store.read(ask)
        return [records.read_event(row) for row in rows]

    async def look(self, run_id: str) -> RunView:
        """Return everything to inspect before resuming, from one snapshot. Raises :class:`UnknownRun`.

        The values include what finished tasks of the present step wrote, and ``next`` names the others. The
        questions are those of tasks that are still to finish, and the newest hundred of earlier ones.
        """
        return await self.views.look(run_id)

    async def questions(self, run_id: str) -> list[Question]:
        """Return what a run waits for: its open questions in the order in which they were asked.

        None of its state is read. Raises :class:`UnknownRun`.
        """
        return await self.views.questions(run_id)

    async def way(self, view: RunView, *, limit: int = 50) -> Way:
        """Return a run's way to where ``view`` shows it: its last ``limit`` steps, and what may follow."""
        return await self.views.way(view, limit=limit)

    def draw_mermaid(self, view: RunView) -> str:
        """Return the graph of a run as Mermaid text, with what is due and what asks marked."""
        return draw_mermaid(self.ground.plan_of(view.run), view)

    async def history(
        self, run_id: str, *, limit: int = 50, before: int | None = None
    ) -> list[StateSnapshot]:
        """Return the run's checkpoints, newest first: the values at the start of each step and what was due.

        At most ``limit``, with steps below ``before``. Raises :class:`UnknownRun`.
        """
        return await self.views.history(await self.get(run_id), limit=limit, before=before)

    async def replay(
        self,
        run_id: str,
        *,
        nodes: str | Iterable[str] = (),
        config: Mapping[str, Any] | None = None,
        context: Any = None,
    ) -> Replay:
        """Go through a run again from its record, with the graph as it is registered now; change nothing.

        Each step is merged again from what its tasks returned, and compared with what was recorded: values,
        joins, what is due, and what conditional edges choose. No node runs. With ``nodes``, also those of
        subgraphs, only their bodies run, each on what it was given then, and what they return is compared.
        ``interrupt()``, ``step()`` and subgraphs are answered from the record, and a node that wants what
        its record does not have is left there; all else that a node does, it does. ``spend()`` always
        grants. The config and context of a call are not recorded: give them again.

        What differs is returned, never raised. Raises :class:`UnknownRun`, :class:`UnknownGraph`, and
        :class:`UnknownNode` for a node that the graph does not have.
        """
        return await self._replays.replay(await self.get(run_id), nodes, config, context)

    # -- what workers and callers do ------------------------------------------------------------------------

    async def claim(self) -> Run | None:
        """Take the oldest queued run, or one whose lease lapsed; at most one worker gets it. None: no run."""
        return await self._advance.claim()

    async def claim_this(self, run_id: str) -> Run | None:
        """Take this run if it is queued or its lease lapsed; None otherwise."""
        return await self._advance.claim_this(run_id)

    async def drive(self, run: Run, call: Call | None = None, begun: Begun | None = None) -> Run:
        """Take a claimed run to its next pause or its end. See :meth:`Advance.drive`."""
        return await self._advance.drive(run, call, begun)

    async def take_up(self, run: Run) -> Run:
        """Claim a run that rests, although nothing was answered: to go on from a breakpoint, or ask again.

        Raises :class:`GraphChanged`, or :class:`ThreadBusy` when it does not rest; it is left as it was then.
        """
        (asking,) = await self.store.read(Ask("find_asking", {"run_id": run.id}))
        changed = self.answers.changed(run, asking)
        if changed is not None:
            raise changed
        now = self.clock()
        params: Params = {"run_id": run.id, "owner": self.owner, "until": now + self.ground.lease, "now": now}
        (rows,) = await self.store.commit(Batch("claim", (Do("take_up_run", params),)))
        if not rows:
            raise ThreadBusy(f"nothing was run: run {run.id!r} is driven elsewhere")
        return records.read_run(rows[0])

    async def advance(self, run_id: str) -> Run:
        """Claim this run if it can be claimed, drive it until it rests, and return it as it is then."""
        run = await self._advance.claim_this(run_id)
        return await self._advance.drive(run) if run is not None else await self.get(run_id)

    async def _alive(self, thread_id: str, run_id: str) -> Run:
        run, refusal = await self.answers.named(thread_id, run_id)
        if refusal is not None:
            raise refusal
        assert run is not None
        return run


def _check_steps(steps: int | None) -> None:
    if steps is not None and steps < 1:
        raise ValueError(f"no run was started: max_steps is {steps}, and one step is the least")


def _is_thread_id(thread_id: object) -> bool:
    # A card's button carries it; a longer one could not be clicked.
    return isinstance(thread_id, str) and bool(thread_id.strip()) and len(thread_id) <= 255
