"""Goes through a run again from its record, with its graph as it is registered now, and compares.

Without nodes, each step is merged again from what its tasks returned: values, joins, what is held, what is
due. No node runs. The functions of conditional edges do run: they are part of the graph as reducers are, and
are given the state alone, so what they choose now is compared with what they chose then. The step itself is
merged with the recorded choice, so that one changed branch is told once, as what it is. (One that looks at a
clock or a network may choose otherwise, and is told then. Such a choice belongs into a node: its
``Command(goto=...)`` is recorded.)

With nodes, only their bodies run, each on the state or Send that it was given then, and what they return is
compared.

A checkpoint that holds values from outside (an edit, or a Command given to a thread) is taken as given, and
so is what an input held: there is nothing to compute them from.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .config import fitted
from .divergence import Divergence, Kept, Place, named_ids, told
from .errors import StoreError, UnknownNode
from .frames import plan_within
from .ground import Ground
from .plan import After, Plan, Result, after_step, start_task
from .rerun import NotRecorded, OffRecord, Record, Unreadable, choose_again, run_again
from .storage import Ask, Row
from .types import START, UNSET, Run, RunId, Task

#: Checkpoints of a run that are listed at once.
_PAGE = 1_000
Why = Literal[
    "not recorded",  # durability="exit" or pruning left nothing to compute it from
    "graph not known",  # a node's own code called the graph, and the record does not say which one
]


@dataclass(frozen=True, slots=True)
class SkippedStep:
    """A step of which something could not be compared."""

    #: The subgraph, as its checkpoints name it; empty for the graph itself.
    ns: str
    step: int
    why: Why


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of going through a run again. Nothing was changed by it."""

    run_id: RunId
    #: The graph with which it was gone through; the run says with which version it began.
    graph: str
    version: str
    #: Steps that were compared, the one that differs included; none when nodes were named.
    steps: int = 0
    #: Executions of the named nodes that were compared, likewise.
    tasks: int = 0
    #: Checkpoints whose values came from outside; none when nodes were named.
    given: int = 0
    skipped: tuple[SkippedStep, ...] = ()
    divergence: Divergence | None = None

    @property
    def same(self) -> bool:
        """Whether all that could be compared is as it was."""
        return self.divergence is None


class Replays:
    """Compares runs with what their graphs would make of them now; changes nothing."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def replay(
        self, run: Run, nodes: str | Iterable[str], config: Mapping[str, Any] | None, context: Any
    ) -> Replay:
        """Go through a run. See :meth:`graph_runtime.Runtime.replay`."""
        plan = self._ground.plan_of(run)
        named, known = frozenset([nodes] if isinstance(nodes, str) else nodes), _nodes_of(plan)
        unknown = sorted(named.difference(known))
        if unknown:
            raise UnknownNode(
                f"nothing was replayed: graph {plan.name!r} has no node {', '.join(map(repr, unknown))}; "
                f"its nodes are {', '.join(known)}"
            )
        record = Record(self._ground, run, plan, config or {}, fitted(plan.context, context))
        through = _Pass(run, plan, named, record)
        divergence = await through.first_divergence(await self._rows(run))
        return Replay(
            run.id,
            plan.name,
            plan.version,
            through.steps,
            through.tasks,
            through.given,
            tuple(through.skipped),
            divergence,
        )

    async def _rows(self, run: Run) -> list[Row]:
        """Return where the checkpoints of the run lie, in the order in which they were made."""
        found: list[Row] = []
        while True:
            after = found[-1]["checkpoint_id"] if found else ""
            page = Ask("find_checkpoints_of_run", {"run_id": run.id, "after": after, "limit": _PAGE})
            (rows,) = await self._ground.store.read(page)
            found += rows
            if len(rows) < _PAGE:
                return found


def _nodes_of(plan: Plan) -> list[str]:
    """Return the names of a graph's nodes, and of those of the graphs that are its nodes."""
    inner = [name for one in plan.subgraphs.values() for name in _nodes_of(one)]
    return list(dict.fromkeys([*plan.nodes, *inner]))


def _past(place: Place, result: Result, outcome: object) -> Divergence | None:
    if not isinstance(outcome, OffRecord):
        return None
    return place.differs("past", result.task.node, "ended", str(outcome), (result, outcome))


class _Pass:
    """One way through one run, in the order in which it was recorded."""

    def __init__(self, run: Run, plan: Plan, nodes: frozenset[str], record: Record) -> None:
        self._run = run
        self._plan = plan
        self._nodes = nodes
        self._record = record
        self.steps = self.tasks = self.given = 0
        self.skipped: list[SkippedStep] = []
        #: By checkpoint, how many steps its graph had taken; absent where the record does not say.
        self._taken: dict[str, int] = {}

    async def first_divergence(self, rows: Iterable[Row]) -> Divergence | None:
        """Go through these checkpoints until one differs, and return how."""
        place, stands = Place(self._plan, "", -1), dict[str, tuple[Place, str]]()
        try:
            for row in rows:
                # Reading may not wait, and a long run must not keep the loop from others.
                await asyncio.sleep(0)
                plan = plan_within(self._plan, row["ns"])
                if plan is None and not self._nodes:
                    self.skipped.append(SkippedStep(row["ns"], row["step"], "graph not known"))
                if plan is None:
                    continue
                place = Place(plan, row["ns"], row["step"])
                stands[place.ns] = place, row["checkpoint_id"]
                found = await self._checkpoint(place, row)
                if found is not None:
                    return found
            for last, id_ in stands.values() if self._nodes else ():
                place = Place(last.plan, last.ns, last.step + 1)
                kept = await self._record.kept(place.plan, id_)
                found = None if kept is None else await self._bodies(place, kept, None)
                if found is not None:
                    return found
        except Unreadable as damaged:
            return place.differs("record", str(damaged), "damaged", "cannot be read")
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - what was changed by another hand may have any shape
            return place.differs("record", "the step", "damaged", told(error), (UNSET, error))
        return None

    async def _checkpoint(self, place: Place, row: Row) -> Divergence | None:
        id_, source, plan = row["checkpoint_id"], row["source"], place.plan
        before = await self._record.kept(plan, row["parent_id"])
        line = (self._run.thread_id, place.ns)
        if before is not None and (before.checkpoint.thread_id, before.checkpoint.ns) != line:
            return place.differs("record", f"the parent of checkpoint {id_}", "of another line", "unusable")
        follows = before is not None and before.checkpoint.step + 1 == place.step
        self._count(place, row, before if follows else None)
        if self._nodes:
            if before is None or source != "loop":
                return None
            return await self._bodies(place, before, id_ if follows else None)
        if source == "update":
            self.given += 1
            return None
        kept = await self._record.kept(plan, id_)
        begins = source == "input" and row["parent_id"] is None
        if kept is None or not (begins or follows):
            self._skip(place)
            return None
        self.steps += 1
        if source == "input":
            return self._input(place, kept, before)
        assert before is not None
        return self._fork(place, kept, before) if source == "fork" else await self._loop(place, kept, before)

    def _skip(self, place: Place) -> None:
        self.skipped.append(SkippedStep(place.ns, place.step, "not recorded"))

    # -- the graph -----------------------------------------------------------------------------------------

    def _input(self, place: Place, kept: Kept, before: Kept | None) -> Divergence | None:
        """Compare what an input found in the thread."""
        recorded, found = kept.checkpoint, {} if before is None else before.checkpoint.values
        begun = {
            # A key that the graph has got since had no beginning then.
            name: value
            for name, value in place.plan.state.start_values().items()
            if name not in found and name in recorded.values
        }
        given = recorded.due[0].arg if recorded.due else ()
        task = start_task(self._run.id, place.ns, place.step + 1, given)
        after = After(begun, (task,), {}, (), ())
        return place.of_values(kept, before, begun) or place.of_way(recorded, after)

    def _fork(self, place: Place, kept: Kept, before: Kept) -> Divergence | None:
        """Compare a copy with what it is a copy of; its tasks have ids of their own."""
        old, new = before.checkpoint, kept.checkpoint
        ids = [task.id for task in new.due] if len(new.due) == len(old.due) else [t.id for t in old.due]
        due = tuple(dataclasses.replace(t, id=id_) for t, id_ in zip(old.due, ids, strict=True))
        after = After({}, due, old.joins, old.held, old.routes)
        return place.of_values(kept, before, {}) or place.of_way(new, after)

    async def _loop(self, place: Place, kept: Kept, before: Kept) -> Divergence | None:
        """Merge a step again and compare what it came to."""
        old, plan = before.checkpoint, place.plan
        results: list[Result] = []
        for task in old.due:
            result = before.results.get(task.id)
            if result is None and task.node == START and old.source == "input":
                # An input that no branch looks at is merged with the start of its run.
                result = Result(task, tuple(task.arg))
            gone = place.of_task(task, result)
            if gone is not None or result is None:
                return gone
            results.append(result)
        try:
            after = after_step(
                plan,
                self._run.id,
                place.ns,
                place.step + 1,
                # A reducer may change in place what it is given.
                values=copy.deepcopy(dict(old.values)),
                joins=old.joins,
                held=old.held,
                results=results,
            )
        except Exception as error:  # noqa: BLE001 - reducers are the author's, and may raise anything
            return place.of_merge(old.values, results, error)
        return (
            place.of_values(kept, before, after.changed, named_ids(plan, old.values, results))
            or await self._choices(place, before, results, kept.checkpoint.id)
            or place.of_way(kept.checkpoint, after)
        )

    async def _choices(
        self, place: Place, before: Kept, results: Sequence[Result], upto: str
    ) -> Divergence | None:
        """Let the branches choose again, each on the state that its node left."""
        plan = place.plan
        for result in results:
            # A node that its error handler stood in for chose nothing.
            if result.handled or not (plan.branches.get(result.task.node) or result.chosen):
                continue
            ran = await self._record.where_it_ran(plan, before, result.task)
            if not self._is_told(plan, ran, result.task):
                self._skip(place)
                continue
            scope = await self._record.scope(plan, ran, result.task, upto)
            chosen = await choose_again(plan, result, self._seen(plan, ran), scope)
            if isinstance(chosen, NotRecorded):
                self._skip(place)
                continue
            found = _past(place, result, chosen) or place.of_choice(result, chosen)
            if found is not None:
                return found
        return None

    # -- the nodes -----------------------------------------------------------------------------------------

    async def _bodies(self, place: Place, before: Kept, upto: str | None) -> Divergence | None:
        """Run the named nodes of a step again: those that this run ran, and that left a result."""
        plan = place.plan
        for task in before.checkpoint.due:
            result = before.results.get(task.id)
            if task.node not in self._nodes or task.node not in plan.nodes or result is None:
                continue
            ran = await self._record.where_it_ran(plan, before, task)
            if ran.runs[task.id] != self._run.id:
                continue
            if not self._is_told(plan, ran, task):
                self._skip(place)
                continue
            scope = await self._record.scope(plan, ran, task, upto)
            outcome = await run_again(plan, self._seen(plan, ran), scope)
            if isinstance(outcome, NotRecorded):
                self._skip(place)
                continue
            self.tasks += 1
            found = _past(place, result, outcome) or place.of_result(result, outcome)
            if found is not None:
                return found
        return None

    # -- what the run itself keeps in the state ------------------------------------------------------------

    def _count(self, place: Place, row: Row, before: Kept | None) -> None:
        """Note how many steps the graph had taken at a checkpoint, as its limit counts them."""
        taken = None if before is None else self._taken_at(before)
        if (row["parent_id"] is None and row["source"] != "loop") or (place.ns and row["source"] == "input"):
            taken = 0
        elif row["source"] == "loop" and before is not None and taken is not None:
            # What the author's code chooses at START is no step of the graph's nodes.
            taken += int(any(task.node != START for task in before.checkpoint.due))
        if taken is not None:
            self._taken[row["checkpoint_id"]] = taken

    def _taken_at(self, kept: Kept) -> int | None:
        checkpoint = kept.checkpoint
        if not checkpoint.ns and checkpoint.run_id != self._run.id:
            return 0
        return self._taken.get(checkpoint.id)

    def _is_told(self, plan: Plan, kept: Kept, task: Task) -> bool:
        """Say whether the record tells what managed keys held when the task ran."""
        if not any(channel.managed is not None for channel in plan.state.channels.values()):
            return True
        return kept.runs.get(task.id, self._run.id) == self._run.id and self._taken_at(kept) is not None

    def _seen(self, plan: Plan, kept: Kept) -> dict[str, Any]:
        """Return the state on which the tasks of a checkpoint ran."""
        remaining = self._run.max_steps - (self._taken_at(kept) or 0) - 1
        return {**kept.checkpoint.values, **plan.state.managed_values(remaining)}
