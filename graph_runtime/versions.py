"""Takes a run that waits from one version of its graph to another, when an operator says so.

The tasks of its present step stay the same tasks, so that what they recorded with ``step()`` is not done
again. What they asked is asked anew: an answer to one version of a node never reaches another one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import records
from .companions import PauseFacts
from .errors import Conflict, MigrationRefused, ThreadBusy, UnknownGraph, ValueRefused
from .frames import Frame, asks_of_frame, asks_of_root, inside, memory, read_frame, within
from .ground import Ground, Written
from .plainjson import read_json
from .plan import After, Plan
from .storage import Ask, Batch, Do, Params, Row
from .types import END, ROOT, START, InterruptId, Run, RunStatus, Send


@dataclass(frozen=True, slots=True)
class NodeChange:
    """One part of a node that is not as it was when the run stopped there."""

    node: str
    #: ``version``, ``keys`` that it asks for, ``edges``, ``list edges`` or ``branches`` that leave it.
    part: str
    then: tuple[str, ...]
    now: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that a migration closes, to be asked anew by the other version of its node."""

    id: InterruptId
    node: str
    #: Who had answered it; the answer is not used. None for an open question, and for a program.
    answered_by: str | None = None


@dataclass(frozen=True, slots=True)
class Migration:
    """What it means to take a run to another version of its graph."""

    run: Run
    to_version: str
    #: Nodes of the present step that are not the nodes that the run stopped at.
    changes: tuple[NodeChange, ...]
    #: Keys that the run has a value for and the other version does not know: kept, and seen by no node.
    keys_unknown: tuple[str, ...]
    #: Keys of the other version for which the run has no value.
    keys_without_value: tuple[str, ...]
    #: Questions that are asked anew, in the order in which they were asked.
    open: tuple[Asked, ...]
    #: Answers that were accepted and had not reached their node by now: they never will.
    undelivered: tuple[Asked, ...]
    #: Answers that an unfinished node had gone on with; it runs again from its top, and asks again.
    used: tuple[Asked, ...]
    #: Subgraphs that a function calls: what they are by now is known only when it calls them.
    unchecked: tuple[str, ...]
    #: How the run goes on.
    status: RunStatus


@dataclass(frozen=True, slots=True)
class _Crossing:
    """A migration with what it is written from."""

    migration: Migration
    plan: Plan
    #: Where the run stands, the graph itself first, then its subgraphs; read with the other version's codec.
    frames: tuple[Frame, ...]
    #: Each question to be closed, and the status that it was read with.
    stale: tuple[tuple[InterruptId, str], ...]


class Versions:
    """Says what a migration would do, and does it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def look(self, run: Run, to: str | None) -> Migration:
        """Return what migrating the run would do. See :meth:`graph_runtime.Runtime.migration`."""
        return (await self._crossing(run, to)).migration

    async def move(self, run: Run, to: str | None, actor: str | None) -> Migration | None:
        """Migrate the run and return what was done; None when the run has moved since it was read."""
        crossing = await self._crossing(run, to)
        ground, now, migration = self._ground, self._ground.clock(), crossing.migration
        moved = [self._restated(run, frame) for frame in crossing.frames]
        head = moved[0][0].checkpoint
        stale = tuple(id_ for id_, _ in crossing.stale)
        facts = PauseFacts(run, crossing.plan, (), stale, now, ground.new_id)
        migrate: Params = {
            "run_id": run.id,
            "thread_id": run.thread_id,
            "version": crossing.plan.version,
            "head": head.id,
            "step": head.step,
            "status": migration.status,
            "used": records.write_used(refunded(run, len(stale)), run.taken),
            "before": run.head,
            "epoch": run.epoch,
            "was": run.status,
            "now": now,
        }
        writes = (
            Do("migrate_run", migrate, guard="run unchanged"),
            *(do for companion in ground.companions for do in companion.on_pause(facts)),
            *(do for _, writes in moved for do in writes),
            # What the operator and the journal are told of a question must be what was true of it.
            *(
                Do("supersede_as", {"interrupt_id": id_, "status": status}, guard="question unchanged")
                for id_, status in crossing.stale
            ),
            records.put_event(
                ground.new_id("evt"),
                "run.migrated",
                now,
                actor=actor,
                thread_id=run.thread_id,
                run_id=run.id,
                **{"from": run.version, "to": crossing.plan.version},
                nodes=list(dict.fromkeys(change.node for change in migration.changes)),
                asked_anew=[one.id for one in (*migration.open, *migration.used)],
                undelivered=[one.id for one in migration.undelivered],
            ),
        )
        batch = Batch("migrate", writes)
        try:
            if migration.status == "queued":
                await ground.commit_waking(batch, run)
            else:
                await ground.store.commit(batch)
        except Conflict:
            return None
        ground.outbox_bell.ring()
        return migration

    # -- reading -------------------------------------------------------------------------------------------

    async def _crossing(self, run: Run, to: str | None) -> _Crossing:
        plan = self._target(run, to)
        self._check_rests(run)
        head, values, writes, questions, live = await self._ground.store.read(
            *asks_of_root(run.id), Ask("find_live_frames", {"thread_id": run.thread_id})
        )
        try:
            root = read_frame(plan, head[0], values, writes)
            frames, unchecked = await self._frames(run, root, [row["ns"] for row in live])
        except ValueRefused as error:
            raise _refused(run, plan, [str(error)]) from error
        gone = tuple(node for frame in frames for node in _gone(frame))
        wrong = [f"it has no node {node!r}" for node in gone]
        wrong += [said for frame in frames for said in _misfits(frame)]
        if wrong:
            raise _refused(run, plan, wrong, gone)
        changes = tuple(change for frame in frames for change in _changes(frame))
        if not changes and plan.version == run.version and run.status != "needs_attention":
            raise MigrationRefused(
                f"run {run.id!r} was left as it was: it stands on version {plan.version!r} of graph "
                f"{plan.name!r} as it is registered here, and can be answered"
            )
        stale = [row for row in questions if _is_stale(row, frames, unchecked)]
        migration = Migration(
            run=run,
            to_version=plan.version,
            changes=changes,
            keys_unknown=tuple(sorted(name for name in root.versions if name not in plan.state.channels)),
            keys_without_value=tuple(
                sorted(n for n, c in plan.state.channels.items() if n not in root.versions and not c.managed)
            ),
            open=_asked(stale, "open"),
            undelivered=_asked(stale, "answered", delivered=False),
            used=_asked(stale, "answered", delivered=True),
            unchecked=unchecked,
            status=_status_after(run, asked=bool(stale)),
        )
        return _Crossing(
            migration, plan, frames, tuple((row["interrupt_id"], row["status"]) for row in stale)
        )

    def _target(self, run: Run, to: str | None) -> Plan:
        plans = self._ground.plans
        plan = plans.get(run.graph if to is None else f"{run.graph}@{to}")
        if plan is None:
            known = sorted(name.partition("@")[2] for name in plans if name.startswith(f"{run.graph}@"))
            there = f"registered are {', '.join(known)}" if known else "no version of it is registered here"
            wanted = "" if to is None else f"version {to!r} of "
            raise UnknownGraph(
                f"run {run.id!r} was left as it was: {wanted}graph {run.graph!r} was not found; {there}"
            )
        return plan

    def _check_rests(self, run: Run) -> None:
        lease = run.lease_until or 0
        if run.status == "running" and lease >= self._ground.clock():
            raise ThreadBusy(
                f"run {run.id!r} was left as it was: it is driven at this moment; try again when it rests"
            )
        reason = (run.error or {}).get("type")
        if run.status == "needs_attention" and reason != "GraphChanged":
            raise MigrationRefused(
                f"run {run.id!r} was left as it was: it needs attention for another reason than a changed "
                f"graph ({reason}), which another version does not settle; cancel it"
            )

    async def _frames(
        self, run: Run, root: Frame, live: Sequence[str]
    ) -> tuple[tuple[Frame, ...], tuple[str, ...]]:
        """Return the run's frames, and the namespaces of live subgraphs whose graph is not known."""
        frames, unchecked = [root], list[str]()
        for frame in frames:  # which grows by the subgraphs of each
            for task in frame.left():
                plan = frame.plan.subgraphs.get(task.node)
                for ns in live:
                    ways = (inside(frame.ns, task), memory(frame.ns, task))
                    own = ns in ways
                    if own and plan is not None:
                        known, head, values, writes = await self._ground.store.read(
                            *asks_of_frame(run.thread_id, ns)
                        )
                        frames.append(read_frame(plan, head[0], values, writes, known[0]["steps"]))
                    elif own or (plan is None and any(within(way, ns) for way in ways)):
                        unchecked.append(ns)
        return tuple(frames), tuple(dict.fromkeys(unchecked))

    # -- writing -------------------------------------------------------------------------------------------

    def _restated(self, run: Run, frame: Frame) -> tuple[Written, tuple[Do, ...]]:
        """Return a frame's present step as a checkpoint of the other version, with the same tasks."""
        old, plan = frame.checkpoint, frame.plan
        written = self._ground.checkpoint(
            plan,
            run.thread_id,
            run.id,
            ns=frame.ns,
            parent=old.id,
            step=old.step + 1,
            source="update",
            after=After({}, old.due, old.joins, old.held, old.routes),
            values={**plan.state.start_values(), **old.values},
            versions=frame.versions,
            metadata=old.metadata,
        )
        kept = [
            records.put_write(
                plan.codec, written.checkpoint.id, run.id, result, written.checkpoint.created_at
            )
            for result in frame.saved.values()
        ]
        stands: Params = {
            "thread_id": run.thread_id,
            "ns": frame.ns,
            "run_id": run.id,
            "head": written.checkpoint.id,
            "done": 0,
            "steps": frame.steps,
        }
        place = [Do("put_frame", stands)] if frame.ns else []
        return written, (*written.writes, *kept, *place)


def _refused(run: Run, plan: Plan, wrong: Iterable[str], gone: Iterable[str] = ()) -> MigrationRefused:
    return MigrationRefused(
        f"run {run.id!r} was left as it was: it does not fit version {plan.version!r} of graph "
        f"{plan.name!r}: {'; '.join(wrong)}. Edit its state so that it leads elsewhere, cancel it, or "
        "register the graph that it began on beside the new one",
        tuple(gone),
    )


def _gone(frame: Frame) -> Iterator[str]:
    """Yield the nodes that the run needs and the other version does not have."""
    needed = [task.node for task in frame.checkpoint.due if task.node != START]
    needed += frame.checkpoint.held
    for result in frame.saved.values():
        targets = [*result.goto, *(target for chosen in result.chosen for target in chosen.targets)]
        needed += [target.node if isinstance(target, Send) else target for target in targets]
    yield from (n for n in dict.fromkeys(needed) if n not in frame.plan.nodes and n != END)


def _misfits(frame: Frame) -> Iterator[str]:
    """Yield why the state and the progress of a frame do not fit the other version, besides its nodes."""
    plan, checkpoint = frame.plan, frame.checkpoint
    waits = {join.key for join in plan.joins}
    for key in checkpoint.joins:
        if key not in waits:
            sources, target = read_json(key)
            yield f"it has no list edge from {', '.join(sources)} to {target}, which has begun to wait"
    written = [name for result in frame.saved.values() for name, _ in result.updates]
    written += [name for task in checkpoint.due if task.node == START for name, _ in task.arg]
    for name in sorted({name for name in written if name not in plan.state.channels}):
        yield f"it has no key {name!r}, which the present step has written to"
    if checkpoint.values and (plan.state.form == "root") != (ROOT in checkpoint.values):
        yield "its state is a single value and the run's is not, or the other way round"
        return
    values = {**plan.state.start_values(), **checkpoint.values}
    for name, channel in plan.state.channels.items():
        if channel.reducer is not None and channel.start is not None and name in values:
            try:
                channel.reducer(copy.deepcopy(values[name]), channel.start())
            except Exception as error:  # noqa: BLE001 - reducers are the author's, and may raise anything
                yield f"key {name!r} holds what its reducer does not take ({type(error).__name__})"
    seen = {**values, **plan.state.managed_values(1)}
    for node in dict.fromkeys(task.node for task in frame.left() if task.push is None):
        if node not in plan.nodes:
            continue
        try:
            plan.nodes[node].sees.present(copy.deepcopy(seen))
        except Exception as error:  # noqa: BLE001 - schemas are the author's, and may raise anything
            # Not its text: pydantic repeats the values.
            yield f"node {node!r} does not take the run's state ({type(error).__name__})"


def _changes(frame: Frame) -> Iterator[NodeChange]:
    """Yield what is different about the nodes of a frame that wait."""
    for node, text in frame.fingerprints.items():
        if node not in frame.plan.nodes:
            continue
        then, now = read_json(text), read_json(frame.plan.fingerprint(node))
        for part in dict.fromkeys([*then, *now]):
            if then.get(part) != now.get(part):
                yield NodeChange(node, part, _worded(part, then.get(part)), _worded(part, now.get(part)))


def _worded(part: str, said: Any) -> tuple[str, ...]:
    if said is None:
        return ()
    match part:
        case "list edges":
            found = [read_json(key) for key in said]
            return tuple(f"{' + '.join(sources)} → {target}" for sources, target in found)
        case "branches":
            return tuple(f"{name} → {' | '.join(ends) or 'any'}" for name, ends in said)
        case "edges":
            return tuple("END" if end == END else end for end in said)
    return (said,) if isinstance(said, str) else tuple(said)


def _is_stale(row: Row, frames: Sequence[Frame], unchecked: Sequence[str]) -> bool:
    """Say whether an unfinished task would find this question, or its answer, when it runs again."""
    if row["status"] not in {"open", "answered"}:
        return False
    for frame in frames:
        if row["ns"] == frame.ns:
            return any(row["task_id"] == task.id for task in frame.left())
    return any(within(ns, row["ns"]) for ns in unchecked)


def _asked(rows: Iterable[Row], status: str, *, delivered: bool | None = None) -> tuple[Asked, ...]:
    found = [row for row in rows if row["status"] == status]
    if delivered is not None:
        found = [row for row in found if (row["delivered_at"] is not None) == delivered]
    return tuple(Asked(InterruptId(r["interrupt_id"]), r["node"], r["answered_by"]) for r in found)


def refunded(run: Run, asked_anew: int) -> dict[str, float]:
    """Return what the run has used, without the questions that it is made to ask once more."""
    left = {"questions": max(0, run.used["questions"] - asked_anew)} if "questions" in run.used else {}
    return {**run.used, **left}


def _status_after(run: Run, *, asked: bool) -> RunStatus:
    """Return how the run goes on: one that rests at a breakpoint, and asks nothing, rests there still."""
    if run.driver == "caller" or (run.status == "interrupted" and not asked):
        return "interrupted"
    return "queued"
