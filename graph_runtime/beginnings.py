"""How runs begin: with an input, again after a failure, or as a branch at an old checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import records
from .endings import ending, until
from .errors import Conflict, NotPaused, ThreadBusy, UnknownCheckpoint, UnknownThread
from .ground import Begun, Ground, Written, read_written
from .meter import KEPT_LIMITS, is_amount
from .plainjson import write_json
from .plan import After, Plan, Result, after_step, read_return, start_updates, task_id
from .storage import Ask, Batch, Do, Params
from .types import Command, Driver, Origin, PersonId, Run, RunId, Task, ThreadId

_KINDS: Mapping[Origin, str] = {
    "input": "run.started",
    "retry": "run.retried",
    "fork": "run.forked",
    "update": "run.edited",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use in its whole life, through every pause; None is no limit.

    ``steps`` counts for each subgraph by itself. ``seconds`` counts from the start of the run, pauses
    included: a node under way is stopped then, and a plain function, which runs in a thread that nothing can
    stop, is no longer waited for. ``retries`` are the further attempts of all nodes together. ``budget``
    names what nodes take with ``spend()``.

    Raises ValueError for what is no limit: not a finite number of zero or more, or a budget with the name of
    another limit.
    """

    steps: int | None = None
    seconds: float | None = None
    questions: int | None = None
    retries: int | None = None
    budget: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("seconds", "questions", "retries"):
            limit = getattr(self, name)
            if limit is not None and not is_amount(limit):
                raise ValueError(f"no run was limited: {name}={limit!r} is no finite number of zero or more")
        if self.steps is not None and (not isinstance(self.steps, int) or isinstance(self.steps, bool)):
            raise ValueError(f"no run was limited: steps={self.steps!r} is no whole number")
        for name, limit in self.budget.items():
            if name in KEPT_LIMITS or not isinstance(name, str) or not name.strip():
                raise ValueError(f"no run was limited: a budget cannot be called {name!r}")
            if not is_amount(limit):
                raise ValueError(f"no run was limited: the budget {name!r} is {limit!r}, no finite number")

    def stored(self) -> dict[str, float]:
        """Return the limits besides steps, by name."""
        named = {"seconds": self.seconds, "questions": self.questions, "retries": self.retries, **self.budget}
        return {name: limit for name, limit in named.items() if limit is not None}


class Beginnings:
    """Puts new runs on threads; one run of a thread is alive at a time."""

    def __init__(self, ground: Ground, *, max_steps: int) -> None:
        self._ground = ground
        self._max_steps = max_steps

    async def start(
        self,
        plan: Plan,
        given: Any,
        *,
        thread: ThreadId,
        requester: str | None,
        idempotency_key: str | None,
        limits: Limits,
        driver: Driver,
        allow_empty: bool,
        metadata: Mapping[str, Any] | None,
        at: str | None,
        later: bool = False,
        discard: bool = False,
    ) -> Begun:
        """Begin a run with an input or a Command. See :meth:`graph_runtime.Runtime.start`.

        With ``later`` nothing is stored: the walk of the run does it, before anything else. With ``discard``
        a live run of the thread is cancelled in the same commit.
        """
        ground = self._ground
        if not isinstance(given, Command):
            updates = start_updates(plan, given, some=not allow_empty)
        while True:
            keyed, last, stands = await self.before(plan, thread, idempotency_key)
            if keyed is not None:
                return Begun(keyed, ())
            ended = self.discarding(last, discard=discard)
            if at is not None:
                stands = await self.at(plan, thread, at)
            run_id = RunId(ground.new_id("run"))
            opened: tuple[Written, ...]
            if isinstance(given, Command):
                opened = (self._commanded(plan, run_id, thread, stands, given, metadata),)
            else:
                opened = ground.opening(
                    plan, thread, run_id, updates, ns="", stands=stands, metadata=metadata
                )
            lane = ground.reserve() if driver == "worker" and not later else None
            run = self.run_at(
                run_id,
                plan,
                opened[-1],
                "input",
                driver,
                requester=requester,
                limits=limits,
                held=driver == "caller" or lane is not None,
            )
            writes = [do for one in opened for do in one.writes]
            begins = (*ended, *self.beginning(run, last, writes, key=idempotency_key))
            if later and not ended:
                return Begun(run, opened, begins)
            try:
                await ground.store.commit(Batch("start", begins))
            except BaseException as error:
                if lane is not None:
                    lane.free()
                if isinstance(error, Conflict):
                    continue  # another start won; look again at what is there now
                raise
            if ended:
                ground.outbox_bell.ring()
            begun = Begun(run, opened)
            if lane is None:
                ground.runs_bell.ring()
            else:
                lane.take(run, begun)
            return begun

    async def retry(self, parent: Run, driver: Driver, max_steps: int | None) -> Run:
        """Begin a run at the head of an ended one, with its very tasks."""
        while True:
            plan = self._ground.plan_of(parent)
            _, last, stands = await self.before(plan, parent.thread_id, None)
            if last is None or last.id != parent.id or stands is None:
                raise NotPaused(f"nothing was begun: the thread has gone on since run {parent.id!r}")
            run_id = RunId(self._ground.new_id("run"))
            limits = Limits(steps=max_steps)
            run = self.run_at(run_id, plan, stands, "retry", driver, limits=limits, parent=parent)
            if await self._committed(run, last, (), self.discarding(last, discard=False)):
                return run

    async def fork(
        self,
        thread: ThreadId,
        checkpoint_id: str,
        driver: Driver,
        max_steps: int | None,
        *,
        discard: bool = False,
    ) -> Run:
        """Begin a run with a copy of an old checkpoint, whose tasks are its own."""
        while True:
            last = await self.last_run(thread)
            (rows,) = await self._ground.store.read(Ask("get_checkpoint", {"checkpoint_id": checkpoint_id}))
            if last is None or not rows or rows[0]["thread_id"] != thread or rows[0]["ns"]:
                raise UnknownCheckpoint(
                    f"nothing was begun: thread {thread!r} has no checkpoint {checkpoint_id!r}"
                )
            (parents,) = await self._ground.store.read(Ask("get_run", {"run_id": rows[0]["run_id"]}))
            parent = records.read_run(parents[0])
            ended = self.discarding(last, discard=discard)
            plan = self._ground.plan_of(parent)
            old = await self.at(plan, thread, checkpoint_id)
            run_id = RunId(self._ground.new_id("run"))
            copied = self._copied(plan, run_id, old)
            limits = Limits(steps=max_steps)
            run = self.run_at(run_id, plan, copied, "fork", driver, limits=limits, parent=parent)
            if await self._committed(run, last, copied.writes, ended):
                return run

    async def before(
        self, plan: Plan, thread: ThreadId, key: str | None
    ) -> tuple[Run | None, Run | None, Written | None]:
        """Return the run this key already started, the thread's last run, and where that one stands."""
        asks = [Ask("get_last_run", {"thread_id": thread})]
        if key is not None:
            asks.append(Ask("get_run_by_key", {"graph": plan.name, "idempotency_key": key}))
        last, *of_key = await self._ground.store.read(*asks)
        keyed = of_key[0] if of_key else ()
        if keyed:
            return records.read_run(keyed[0]), None, None
        if not last:
            return None, None, None
        run = records.read_run(last[0])
        try:
            return None, run, await self.at(plan, thread, run.head)
        except UnknownCheckpoint:
            if await self.last_run(thread) == run:
                raise
        # The thread was pruned, or went on, between the two looks.
        return await self.before(plan, thread, key)

    async def last_run(self, thread: str) -> Run | None:
        """Return the run whose head is the head of the thread; None for an unknown thread."""
        (rows,) = await self._ground.store.read(Ask("get_last_run", {"thread_id": thread}))
        return records.read_run(rows[0]) if rows else None

    async def at(self, plan: Plan, thread: str, checkpoint_id: str, *, ns: str = "") -> Written:
        """Return a checkpoint of the thread. Raises :class:`UnknownCheckpoint`."""
        rows, values = await self._ground.store.read(
            Ask("get_checkpoint", {"checkpoint_id": checkpoint_id}),
            Ask("get_values", {"checkpoint_id": checkpoint_id}),
        )
        if not rows or (rows[0]["thread_id"], rows[0]["ns"]) != (thread, ns):
            raise UnknownCheckpoint(
                f"nothing was done: thread {thread!r} has no checkpoint {checkpoint_id!r}"
            )
        return read_written(plan, rows[0], values)

    def run_at(
        self,
        run_id: RunId,
        plan: Plan,
        written: Written,
        origin: Origin,
        driver: Driver,
        *,
        requester: str | None = None,
        limits: Limits | None = None,
        parent: Run | None = None,
        rests: bool = False,
        held: bool | None = None,
    ) -> Run:
        """Return a new run that stands at ``written``: at rest, claimed by this process, or in the queue.

        Without ``held``, one that does not rest is claimed when a caller is to drive it.
        """
        now, checkpoint = self._ground.clock(), written.checkpoint
        claimed = (driver == "caller" if held is None else held) and not rests
        limits = limits or Limits()
        asked_by = requester if parent is None else parent.requester
        return Run(
            id=run_id,
            thread_id=checkpoint.thread_id,
            graph=plan.name,
            version=plan.version,
            status="running" if claimed else "interrupted" if rests else "queued",
            driver=driver,
            head=checkpoint.id,
            step=checkpoint.step,
            steps_taken=0,
            max_steps=limits.steps or (self._max_steps if parent is None else parent.max_steps),
            requester=None if asked_by is None else PersonId(asked_by),
            error=None,
            limits=limits.stored() if parent is None else parent.limits,
            used={},
            origin=origin,
            parent_run=None if parent is None else parent.id,
            lease_owner=self._ground.owner if claimed else None,
            lease_until=now + self._ground.lease if claimed else None,
            epoch=1 if claimed else 0,
            created_at=now,
            updated_at=now,
        )

    def beginning(
        self,
        run: Run,
        last: Run | None,
        writes: Sequence[Do],
        *,
        key: str | None = None,
        actor: str | None = None,
    ) -> tuple[Do, ...]:
        """Return the statements that put the run on its thread in place of ``last``.

        The journal says that ``actor`` did it, else the requester.
        """
        put: Params = {
            "run_id": run.id,
            "thread_id": run.thread_id,
            "graph": run.graph,
            "version": run.version,
            "status": run.status,
            "driver": run.driver,
            "head": run.head,
            "step": run.step,
            "max_steps": run.max_steps,
            "requester": run.requester,
            "idempotency_key": key,
            "limits": write_json(dict(run.limits)),
            "origin": run.origin,
            "parent_run": run.parent_run,
            "lease_owner": run.lease_owner,
            "lease_until": run.lease_until,
            "epoch": run.epoch,
            "now": run.created_at,
        }
        moved: Params = {
            "run_id": run.id,
            "thread_id": run.thread_id,
            "before": "" if last is None else last.id,
        }
        return (
            Do("put_thread", {"thread_id": run.thread_id, "now": run.created_at}),
            Do("put_run", put, guard="thread idle"),
            Do("set_last_run", moved, guard="thread unchanged"),
            *writes,
            records.put_event(
                self._ground.new_id("evt"),
                _KINDS[run.origin],
                run.created_at,
                actor=actor or run.requester,
                thread_id=run.thread_id,
                run_id=run.id,
                **({} if run.parent_run is None else {"from": run.parent_run}),
            ),
        )

    # -- the inside ----------------------------------------------------------------------------------------

    def discarding(self, last: Run | None, *, discard: bool) -> tuple[Do, ...]:
        """Return what ends the thread's last run in the commit that begins another: nothing, if it is over.

        Raises :class:`ThreadBusy` for one that is alive, unless it is to be discarded.
        """
        if last is None or not last.live:
            return ()
        if not discard:
            raise ThreadBusy(
                f"no run was begun: run {last.id!r} of thread {last.thread_id!r} is {last.status}"
                f"{until(last, self._ground.clock())}; answer what it asks, or cancel it, or say "
                'on_paused="discard" to withdraw it'
            )
        now = self._ground.clock()
        params: Params = {"run_id": last.id, "thread_id": last.thread_id, "now": now}
        said = ending(self._ground, last, "cancelled", None, now, reason="discarded for new input")
        return (Do("cancel_run", params, guard="run alive"), *said)

    async def _committed(self, run: Run, last: Run | None, writes: Sequence[Do], ended: Sequence[Do]) -> bool:
        try:
            await self._ground.store.commit(Batch(run.origin, (*ended, *self.beginning(run, last, writes))))
        except Conflict:
            return False
        self._ground.runs_bell.ring()
        if ended:
            self._ground.outbox_bell.ring()
        return True

    def _commanded(
        self,
        plan: Plan,
        run_id: RunId,
        thread: ThreadId,
        stands: Written | None,
        command: Command[Any],
        metadata: Mapping[str, Any] | None,
    ) -> Written:
        """Return the checkpoint that a caller's update and goto make of where the thread stands."""
        if stands is None:
            raise UnknownThread(
                f"nothing was run: a Command speaks to a thread that has a state, and {thread!r} has none"
            )
        old = stands.checkpoint
        task = Task(task_id(run_id, "", old.step + 1, "the input", None), "the input")
        # The input is no node: it has no edges of its own.
        said = dataclasses.replace(read_return(plan, task, command), handled=True)
        return self._ground.checkpoint(
            plan,
            thread,
            run_id,
            ns="",
            parent=old.id,
            step=old.step + 1,
            source="update",
            after=self._after(plan, run_id, stands, [said]),
            values={**plan.state.start_values(), **old.values},
            versions=stands.versions,
            metadata=metadata,
        )

    def _after(self, plan: Plan, run_id: RunId, stands: Written, results: Sequence[Result]) -> After:
        old = stands.checkpoint
        return after_step(
            plan,
            run_id,
            old.ns,
            old.step + 2,
            values=old.values,
            joins=old.joins,
            held=old.held,
            results=results,
        )

    def _copied(self, plan: Plan, run_id: RunId, stands: Written) -> Written:
        old, step = stands.checkpoint, stands.checkpoint.step + 1
        due = tuple(
            dataclasses.replace(t, id=task_id(run_id, old.ns, step + 1, t.node, t.push)) for t in old.due
        )
        return self._ground.checkpoint(
            plan,
            old.thread_id,
            run_id,
            ns=old.ns,
            parent=old.id,
            step=step,
            source="fork",
            after=After({}, due, old.joins, old.held, old.routes),
            values=old.values,
            versions=stands.versions,
            metadata=old.metadata,
        )
