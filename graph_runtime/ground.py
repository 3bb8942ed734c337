"""What every walk stands on: the store, time, ids, the registered plans, and how a checkpoint is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from . import records
from .clock import Bell, Clock, NewId
from .companions import Companion, Preparing
from .errors import Conflict, LeaseLost, UnknownGraph
from .judging import Directory
from .kept import Kept
from .plan import After, Plan, Result, after_step, start_task
from .quick import quick
from .storage import Ask, Batch, Do, Params, Row, Store
from .stored import Stored, growing, put_value, read_stored, read_versions, storing
from .types import (
    START,
    Checkpoint,
    CheckpointId,
    CheckpointSource,
    Run,
    RunId,
    ThreadId,
)

_WAITS = "run waits"


@quick
@dataclass(frozen=True, slots=True)
class Written:
    """A checkpoint, the statements that store it, and which checkpoint wrote each of its channels."""

    checkpoint: Checkpoint
    writes: tuple[Do, ...]
    versions: Mapping[str, CheckpointId]
    lists: Mapping[str, Stored] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True)
class Begun:
    """A run that this process has just made, and its first checkpoints: it need not be read back."""

    run: Run
    opened: tuple[Written, ...]
    #: What puts it on its thread, when that is not on disk yet: the first that its walk writes.
    unstored: tuple[Do, ...] = ()


class Lane(Protocol):
    """A free place in which this process drives runs, kept for one that is about to be claimed."""

    def take(self, run: Run, begun: Begun | None = None) -> None:
        """Drive the run, which this process has claimed."""
        ...

    def free(self) -> None:
        """Let somebody else have the place."""
        ...


class Ground:
    """Shared by the front door and every walk of one process."""

    def __init__(
        self,
        store: Store,
        plans: Mapping[str, Plan],
        companions: Sequence[Companion],
        *,
        clock: Clock,
        new_id: NewId,
        owner: str,
        lease: int,
    ) -> None:
        self.store = store
        self.plans = plans
        self.companions = tuple(companions)
        self.preparing = tuple(one for one in companions if isinstance(one, Preparing))
        self.clock = clock
        self.new_id = new_id
        self.owner = owner
        self.lease = lease
        self.kept = Kept()
        #: Rings when a run may be claimed; rings when there may be something to tell.
        self.runs_bell, self.outbox_bell = Bell(), Bell()
        #: Who people are, for what is looked at before they are asked and again before what they approved is
        #: carried out. Without it nobody is known, and nothing is looked at before.
        self.directory: Directory | None = None
        #: Gives a lane when this process drives runs and has one free: then what queues a run also claims it.
        self.reserve: Callable[[], Lane | None] = _no_lane

    def plan_of(self, run: Run) -> Plan:
        """Return the plan that serves this run. Raises :class:`UnknownGraph`."""
        return self.plan_called(run.id, run.graph, run.version)

    def plan_called(self, run_id: str, graph: str, version: str) -> Plan:
        """Return the plan of that graph and version, for the run. Raises :class:`UnknownGraph`."""
        plan = self.plans.get(f"{graph}@{version}") or self.plans.get(graph)
        if plan is None:
            raise UnknownGraph(f"run {run_id!r} was left alone: its graph {graph!r} is not registered here")
        return plan

    def fence(self, run: Run) -> dict[str, str | int]:
        """Return the parameters with which only whoever claimed the run may write to it."""
        return {"run_id": run.id, "epoch": run.epoch, "owner": self.owner}

    def claim(self, run_id: str) -> Do:
        """Return the statement that claims a queued run, or one whose lease lapsed, and returns its row."""
        now = self.clock()
        lease: Params = {"run_id": run_id, "owner": self.owner, "until": now + self.lease, "now": now}
        return Do("claim_this_run", lease)

    async def commit_waking(self, batch: Batch, run: Run) -> Run:
        """Commit what queues the run; when a lane of this process is free, claim and drive it at once.

        Returns the run as the batch left it. Raises as :meth:`Store.commit` does. A caller that is cancelled
        meanwhile leaves a claimed run to the end of its lease.
        """
        lane = self.reserve() if run.driver == "worker" else None
        if lane is None:
            returned = await self.store.commit(batch)
            self.runs_bell.ring()
            return await self._left(returned, run)
        try:
            returned, claimed = await self.commit_claiming(batch, run)
        except BaseException:
            lane.free()
            raise
        if claimed is None:
            lane.free()
        else:
            lane.take(claimed)
        return await self._left(returned, run)

    async def _left(self, returned: Sequence[Sequence[Row]], run: Run) -> Run:
        """Return the run as a batch left it, which the last of its statements returned."""
        rows = [row for one in returned for row in one]
        if not rows:
            # It was written, and the connection was lost before it said so.
            ((row,),) = await self.store.read(Ask("get_run", {"run_id": run.id}))
            return records.read_run(row)
        return records.read_run(rows[-1])

    async def commit_claiming(self, batch: Batch, run: Run) -> tuple[Sequence[Sequence[Row]], Run | None]:
        """Commit what queues the run, claiming it as well; None when somebody drives it, who will see to it.

        Raises as :meth:`Store.commit` does.
        """
        writes, at = self._claiming(batch, run)
        try:
            returned = await self.store.commit(replace(batch, writes=writes))
        except Conflict as conflict:
            if conflict.guard != _WAITS:
                raise
            # Whoever drives it looks for the answer before the run may rest.
            return await self.store.commit(batch), None
        return returned, records.read_run(returned[at][0]) if returned[at] else None

    def _claiming(self, batch: Batch, run: Run) -> tuple[tuple[Do, ...], int]:
        """Return the statements of a batch that queues a run, claiming it as well, and which one does."""
        claim = self.claim(run.id)
        for at, do in enumerate(batch.writes):
            if do.query == "wake_run":
                woken = Do("claim_woken_run", {**claim.params, "thread_id": run.thread_id}, guard=_WAITS)
                return (*batch.writes[:at], woken, *batch.writes[at + 1 :]), at
        return (*batch.writes, claim), len(batch.writes)

    async def commit_leased(self, batch: Batch) -> Sequence[Sequence[Row]]:
        """Commit a batch that is fenced by a lease. Raises :class:`LeaseLost` when it is gone."""
        try:
            return await self.store.commit(batch)
        except Conflict as conflict:
            if conflict.guard in {"lease", "the step is new"}:
                raise LeaseLost(conflict.guard, batch.name) from conflict
            raise

    def checkpoint(
        self,
        plan: Plan,
        thread: ThreadId,
        run_id: RunId,
        *,
        ns: str,
        parent: CheckpointId | None,
        step: int,
        source: CheckpointSource,
        after: After,
        values: Mapping[str, object],
        versions: Mapping[str, CheckpointId],
        lists: Mapping[str, Stored] | None = None,
        inputs: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Written:
        """Return a new checkpoint of ``values`` with what ``after`` changed; only changes are written.

        ``lists`` are the stored texts of lists among the values that may be gone on from, ``inputs`` what the
        parent has stored of its input.
        """
        now, id_ = self.clock(), CheckpointId(self.new_id("chk"))
        checkpoint = Checkpoint(
            id=id_,
            thread_id=thread,
            run_id=run_id,
            parent_id=parent,
            step=step,
            source=source,
            ns=ns,
            values={**values, **after.changed},
            due=after.due,
            joins=after.joins,
            held=after.held,
            routes=after.routes,
            created_at=now,
            metadata=metadata or {},
        )
        changed = after.changed
        if not versions.keys() >= values.keys():
            # What reducers start with is written once, as is a key that the graph has got since.
            changed = {n: v for n, v in values.items() if n not in versions} | dict(changed)
        puts, prints = [], {}
        for task in after.due:
            if task.node == START:
                # What an input brought has rows of its own; where it is the value as it stands, there is no
                # other.
                puts += [
                    put_value(id_, START + name if name in changed else name, plan.codec.encode(value))
                    for name, value in task.arg
                ]
            elif task.node in plan.nodes:
                prints[task.node] = plan.fingerprint(task.node)
        written, kept = dict(versions), dict(lists) if lists else {}
        for name, value in changed.items():
            base, before = versions.get(name), kept.pop(name, None)
            as_it_came = inputs is not None and inputs.get(name, self) is value and base != parent
            if as_it_came and parent is not None:
                written[name] = parent
                continue
            put, stored = storing(plan.codec, id_, name, value, base, before)
            puts.append(put)
            written[name] = id_
            if stored is not None:
                kept[name] = stored
        put = records.put_checkpoint(plan.codec, checkpoint, prints, written)
        return Written(checkpoint, (put, *puts), written, kept)

    def routed(self, run: Run, after: After, step: int, now: int) -> Iterable[Do]:
        """Yield what the journal says of the ways that a step took."""
        for route in after.routes:
            yield records.put_event(
                self.new_id("evt"),
                "run.routed",
                now,
                thread_id=run.thread_id,
                run_id=run.id,
                step=step,
                source=route.source,
                way=route.way,
                by=route.by,
                targets=list(route.targets),
            )

    def opening(
        self,
        plan: Plan,
        thread: ThreadId,
        run_id: RunId,
        updates: tuple[tuple[str, object], ...],
        *,
        ns: str,
        stands: Written | None,
        metadata: Mapping[str, object] | None = None,
    ) -> tuple[Written, ...]:
        """Return the checkpoints with which a journey begins: its input, and where that leads.

        ``stands`` is where it goes on from. When the author's own code chooses what follows START, the input
        waits at its own checkpoint to be run as a task.
        """
        values: Mapping[str, object] = plan.state.start_values()
        versions: Mapping[str, CheckpointId] = {}
        lists: Mapping[str, Stored] = {}
        parent, step = None, -1
        if stands is not None:
            values = {**values, **stands.checkpoint.values}
            versions, lists, parent = stands.versions, stands.lists, stands.checkpoint.id
            step = stands.checkpoint.step + 1
        task = start_task(run_id, ns, step + 1, updates)
        first = self.checkpoint(
            plan,
            thread,
            run_id,
            ns=ns,
            parent=parent,
            step=step,
            source="input",
            after=After({}, (task,), {}, (), ()),
            values=values,
            versions=versions,
            lists=lists,
            metadata=metadata,
        )
        if plan.branches.get(START):
            return (first,)
        after = after_step(
            plan,
            run_id,
            ns,
            step + 2,
            values=values,
            joins={},
            held=(),
            results=[Result(task, updates)],
        )
        second = self.checkpoint(
            plan,
            thread,
            run_id,
            ns=ns,
            parent=first.checkpoint.id,
            step=step + 1,
            source="loop",
            after=after,
            values=values,
            versions=first.versions,
            lists=first.lists,
            inputs=dict(updates),
            metadata=metadata,
        )
        return first, second


def _no_lane() -> Lane | None:
    return None


def read_written(plan: Plan, head: Row, values: Sequence[Row]) -> Written:
    """Return a checkpoint that is on disk, from its row and its channel values."""
    checkpoint, versions = records.read_checkpoint(plan.codec, head, values), read_versions(head)
    return Written(checkpoint, (), versions, growing(versions, read_stored(values)))
