"""What must be true: runs, steps, questions and refusals once more, tiny, and without anything of the runtime.

The model foretells where an undisturbed drive leads. Of a disturbed one it only asks that what lies on disk is a
place on that way: it goes there itself (``catch_up``), and fails when no way leads there.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from disk import Disk
from drawn import END, START, Ask, AskTwo, Branch, Fail, Graph, Inner, Node, Spread, Step

#: Longer than any subgraph, shorter than many a graph.
MAX_STEPS = 5
LIVING = {"queued", "running", "interrupted"}


@dataclass(eq=False)
class Job:
    """One task: a node, and for a Send its place among the Sends and what was sent; START carries the input."""

    node: str
    push: int | None = None
    item: Any = None
    #: Learned from the database.
    id: str = ""


@dataclass(eq=False)
class Question:
    run: Run
    job: Job
    number: int
    value: dict[str, Any]
    status: str = "open"
    answer: Any = None
    delivered: bool = False
    id: str = ""


@dataclass(frozen=True)
class Moment:
    """A checkpoint of a run: what ``history()`` shows, and what a fork begins with."""

    step: int
    source: str
    values: dict[str, Any]
    due: tuple[tuple[str, int | None, Any], ...]
    joins: dict[tuple[tuple[str, ...], str], frozenset[str]]


@dataclass(eq=False)
class Place:
    """Where one graph stands."""

    graph: Graph
    step: int
    values: dict[str, Any]
    due: list[Job]
    joins: dict[tuple[tuple[str, ...], str], frozenset[str]] = field(default_factory=dict)
    #: What finished tasks of this step returned.
    saved: dict[Job, dict[str, Any]] = field(default_factory=dict)
    #: Subgraphs inside tasks of this step, by task and which of its moves.
    inside: dict[tuple[Job, int], Place] = field(default_factory=dict)
    #: Steps of the run, or of the subgraph, so far.
    taken: int = 0
    line: list[Moment] = field(default_factory=list)

    def arrive(self, source: str) -> None:
        """Note a new checkpoint."""
        due = tuple((job.node, job.push, job.item) for job in self.due)
        self.line.append(Moment(self.step, source, self.values, due, dict(self.joins)))

    @property
    def left(self) -> list[Job]:
        return [job for job in self.due if job not in self.saved]

    @property
    def live_values(self) -> dict[str, Any]:
        return merged(self.values, (self.saved[job] for job in self.due if job in self.saved))


@dataclass(eq=False)
class Run:
    id: str
    thread: str
    place: Place
    status: str = "queued"
    origin: str = "input"
    questions: dict[tuple[Job, int], Question] = field(default_factory=dict)
    #: What the present driver, or the last one, knew when it took the run.
    known: set[Question] = field(default_factory=set)
    #: Who drives it, as long as nobody has taken it away.
    driver: Any = None
    lapsed: bool = False
    pauses: int = 0

    @property
    def living(self) -> bool:
        return self.status in LIVING

    @property
    def open(self) -> list[Question]:
        return [q for q in self.questions.values() if q.status == "open"]

    @property
    def claimable(self) -> bool:
        return self.status == "queued" or (self.status == "running" and self.lapsed)


def merged(values: dict[str, Any], updates: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the values after the updates: the log grows, the total is summed."""
    log, total = list(values["log"]), values["total"]
    for update in updates:
        log, total = log + update.get("log", []), total + update["total"]
    return {"log": log, "total": total}


# -- the arithmetic of a step ---------------------------------------------------------------------------------


def begin(graph: Graph, values: dict[str, Any] | None, total: int, before: int) -> Place:
    """Return where an input leads on a thread that stands at step ``before`` with these values."""
    place = Place(graph, before + 1, values or {"log": [], "total": 0}, [Job(START, None, total)])
    place.arrive("input")
    if not any(branch.source == START for branch in graph.branches):
        place.saved[place.due[0]] = {"total": total}
        merge(place)
    return place


def merge(place: Place) -> None:
    """End the step: all its tasks are finished."""
    results = [(job, place.saved[job]) for job in place.due]
    place.taken += any(job.node != START for job in place.due)
    lead_on(place, results, "loop")


def lead_on(place: Place, results: list[tuple[Job, dict[str, Any]]], source: str) -> None:
    """Go to the next step by the edges of these tasks."""
    graph, before = place.graph, place.values
    names, sends, joins = set[str](), list[Spread](), dict(place.joins)
    for job, update in results:
        names |= {target for start, target in graph.edges if start == job.node}
        for join in graph.joins:
            if job.node in join[0]:
                joins[join] = joins.get(join, frozenset()) | {job.node}
        for branch in graph.branches:
            if branch.source == job.node:
                for target in taken(branch, merged(before, [update])["total"]):
                    if isinstance(target, Spread):
                        sends.append(target)
                    else:
                        names.add(target)
    for join, arrived in list(joins.items()):
        if arrived == set(join[0]):
            names.add(join[1])
            del joins[join]
    place.values = merged(before, [update for _, update in results])
    pulled = [Job(name) for name in sorted(names - {END})]
    items = [(send.node, item) for send in sends for item in range(send.times)]
    place.due = pulled + [Job(node, push, item) for push, (node, item) in enumerate(items)]
    place.step, place.joins, place.saved, place.inside = place.step + 1, joins, {}, {}
    place.arrive(source)


def taken(branch: Branch, total: int) -> tuple[str | Spread, ...]:
    """Return the way that the branch takes."""
    return branch.ways[total % len(branch.ways)]


# -- a task ---------------------------------------------------------------------------------------------------


class Walk:
    """Goes as far as the answers that are known lead, or exactly as far as the disk says."""

    def __init__(self, run: Run, disk: Disk | None = None) -> None:
        self.run = run
        self.disk = disk
        #: What is asked for the first time: task, number, value.
        self.asked: list[tuple[Job, int, dict[str, Any]]] = []

    def to_rest(self, place: Place) -> str:
        """Go on until nothing is due ("over"), no further step is allowed ("limit"), or all that is left waits."""
        while place.due:
            if place.taken >= MAX_STEPS:
                return "limit"
            for job in place.left:
                update = self.play(place, job)
                if update is not None:
                    place.saved[job] = update
            if place.left:
                return "rests"
            self.merge(place)
        return "over"

    def merge(self, place: Place) -> None:
        """End the step; the answers that its tasks had are delivered."""
        for job in place.due:
            self.deliver(q for q in self.run.questions.values() if q.job is job)
        merge(place)

    def deliver(self, questions: Iterable[Question]) -> None:
        for q in questions:
            if q.status == "answered" and q in self.run.known:
                q.delivered = True

    def play(self, place: Place, job: Job, ns: str | None = None) -> dict[str, Any] | None:
        """Return what the task comes to, or None when it waits. With ``ns``, go no further than the disk."""
        if job.node == START:
            return {"total": job.item}
        node = next(node for node in place.graph.nodes if node.name == job.node)
        total = place.values["total"] if job.push is None else None
        entry: list[Any] = [node.name, job.item, total]
        asked = inner = 0
        for number, move in enumerate(node.moves):
            match move:
                case Ask() | AskTwo():
                    numbers = range(asked, asked + (1 if isinstance(move, Ask) else 2))
                    answers = [self.answer(node, job, total, n) for n in numbers]
                    if None in answers:
                        return None
                    entry += answers
                    asked = numbers.stop
                case Step():
                    entry.append(f"step {number} of {node.name}")
                case Inner():
                    there = self.inner(place, job, number, inner, move.graph, ns)
                    if there is None or there.due:
                        return None
                    entry.append(there.values["log"])
                    inner += 1
                case Fail():
                    pass
        return {"log": [entry], "total": node.weight}

    def answer(self, node: Node, job: Job, total: int | None, number: int) -> Any:
        """Return the answer that this walk knows of, or ask."""
        known = self.run.questions.get((job, number))
        if known is None:
            self.asked.append(
                (job, number, {"node": node.name, "number": number, "item": job.item, "total": total})
            )
            return None
        return known.answer if known in self.run.known and known.status == "answered" else None

    def inner(
        self, place: Place, job: Job, number: int, occurrence: int, graph: Graph, ns: str | None
    ) -> Place | None:
        """Return where the subgraph stands after this walk; None when it has not begun."""
        there = place.inside.get((job, number))
        if ns is None:
            there = there or begin(graph, None, number, -2)
            assert self.to_rest(there) != "limit"
        else:
            assert self.disk is not None
            own = inside(ns, job, occurrence)
            frame = self.disk.frames.get((self.run.thread, own))
            if frame is None:
                return None
            there = there or begin(graph, None, number, -2)
            self.catch_up(there, frame["head"], own)
        place.inside[job, number] = there
        return there

    # -- what lies on disk --------------------------------------------------------------------------------

    def catch_up(self, place: Place, head: str, ns: str = "") -> None:
        """Go to the place that is on disk; fail when it is not on the way from here."""
        assert self.disk is not None
        there = self.disk.checkpoints[head]
        while place.step < there["step"]:
            for job in place.left:
                place.saved[job] = self.finished(place, job, ns)
            self.merge(place)
        learn(place, self.disk, head)
        saved = self.disk.saved[head]
        for job in place.left:
            if job.id in saved:
                place.saved[job] = self.finished(place, job, ns)
            else:
                self.play(place, job, ns)

    def finished(self, place: Place, job: Job, ns: str) -> dict[str, Any]:
        update = self.play(place, job)
        assert update is not None, f"{job.node} in {ns!r} is finished on disk, and still waits for an answer"
        return update


def inside(ns: str, job: Job, occurrence: int) -> str:
    """Return the namespace of the subgraph that a task runs as its ``occurrence``-th."""
    own = f"{ns}|{job.node}:{job.id}" if ns else f"{job.node}:{job.id}"
    return f"{own}|:{occurrence}" if occurrence else own


def learn(place: Place, disk: Disk, head: str) -> None:
    """Compare the place with a checkpoint, and learn the ids of its tasks."""
    there = disk.checkpoints[head]
    due = [(job.node, job.push) for job in place.due]
    assert there["step"] == place.step, (
        f"on disk it is at step {there['step']}, and should be at {place.step}"
    )
    assert due == [(node, push) for _, node, push, *_ in there["due"]], f"due: {due}, on disk {there['due']}"
    joins = {(tuple(s), t): frozenset(a) for (s, t), a in _joins(there["joins"])}
    assert joins == place.joins, f"arrived: {place.joins}, on disk {joins}"
    for job, (id_, *_) in zip(place.due, there["due"], strict=True):
        assert job.id in {"", id_}, f"task {job.id} of {job.node} has got another id"
        job.id = id_


def _joins(text: str) -> Iterator[tuple[Any, list[str]]]:
    for key, arrived in json.loads(text).items():
        yield json.loads(key), arrived


def agree(run: Run, place: Place, disk: Disk, head: str, ns: str = "") -> None:
    """Check that the run stands on disk exactly where the model stands, subgraphs included."""
    learn(place, disk, head)
    saved = {job.id for job in place.saved}
    assert disk.saved[head] == saved, f"finished: {saved}, on disk {disk.saved[head]}"
    for job in place.left:
        numbers = sorted(number for of, number in place.inside if of is job)
        for occurrence, number in enumerate(numbers):
            own = inside(ns, job, occurrence)
            frame = disk.frames.get((run.thread, own))
            assert frame is not None, f"the subgraph {own} never began"
            there = place.inside[job, number]
            assert bool(frame["done"]) == (not there.due)
            agree(run, there, disk, frame["head"], own)


# -- the model ------------------------------------------------------------------------------------------------


class Model:
    """Every run of every thread. Refusals are named by the class of their error; None is none."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.runs: dict[str, Run] = {}
        self.threads: dict[str, list[Run]] = {}
        self.accepted: dict[Any, Question] = {}

    @property
    def questions(self) -> list[Question]:
        return [q for run in self.runs.values() for q in run.questions.values()]

    # -- beginning ----------------------------------------------------------------------------------------

    def busy(self, thread: str) -> str | None:
        """Say why no run may begin on the thread."""
        return "ThreadBusy" if thread in self.threads and self.threads[thread][-1].living else None

    def start(self, thread: str, total: int, run_id: str) -> None:
        before = self.threads[thread][-1].place if thread in self.threads else None
        values, step = (None, -2) if before is None else (before.values, before.step)
        self._add(Run(run_id, thread, begin(self.graph, values, total, step)))

    def refuse_retry(self, run: Run) -> str | None:
        last = self.threads[run.thread][-1]
        return None if run.status in {"failed", "cancelled"} and run is last else "NotPaused"

    def retry(self, run: Run, run_id: str) -> None:
        """Begin again with the very tasks of the run, and what they have finished; nothing asked is kept."""
        place = copy.deepcopy(run.place)
        place.line, place.taken = [], 0
        self._add(Run(run_id, run.thread, place, origin="retry"))

    def fork(self, thread: str, moment: Moment, run_id: str) -> None:
        place = self._at(moment)
        place.step += 1
        place.arrive("fork")
        self._add(Run(run_id, thread, place, origin="fork"))

    def _at(self, moment: Moment) -> Place:
        due = [Job(*one) for one in moment.due]
        return Place(self.graph, moment.step, moment.values, due, dict(moment.joins))

    def _add(self, run: Run) -> None:
        self.runs[run.id] = run
        self.threads.setdefault(run.thread, []).append(run)

    # -- editing ------------------------------------------------------------------------------------------

    def refuse_edit(self, thread: str, *, at_head: bool) -> str | None:
        last = self.threads[thread][-1]
        return "ThreadBusy" if last.living and not (last.status == "interrupted" and at_head) else None

    def edit(self, thread: str, node: str, total: int, at: Moment | None, run_id: str) -> None:
        """Write as a node; ``run_id`` is the thread's last run, or the one that the edit has begun."""
        last = self.threads[thread][-1]
        goes_on = run_id == last.id
        place = last.place if goes_on or at is None else self._at(at)
        if not goes_on:
            place = copy.copy(place)
            place.line, place.taken = [], 0
        if node == END:
            place.values, place.due, place.joins = place.live_values, [], {}
            place.step, place.saved, place.inside = place.step + 1, {}, {}
            place.arrive("update")
        else:
            lead_on(place, [(Job(node), {"total": total})], "update")
        if goes_on:
            for q in last.questions.values():
                if q.status == "open" or (q.status == "answered" and not q.delivered):
                    q.status = "superseded"
            last.status = "queued" if place.due else "completed"
        else:
            self._add(
                Run(run_id, thread, place, "interrupted" if place.due else "completed", origin="update")
            )

    # -- answering and ending -----------------------------------------------------------------------------

    def refuse_run(self, thread: str, run: str) -> str | None:
        """Say why nothing may be said to that run of that thread."""
        if thread not in self.threads:
            return "UnknownThread"
        if run not in self.runs:
            return "UnknownRun"
        if self.runs[run].thread != thread:
            return "WrongThread"
        if self.runs[run].status == "cancelled":
            return "RunCancelled"
        return None if self.runs[run].living else "RunFinished"

    def refuse_answer(self, thread: str, run: str, question: str) -> str | None:
        refusal = self.refuse_run(thread, run)
        if refusal is not None:
            return refusal
        found = next((q for q in self.runs[run].questions.values() if q.id == question), None)
        if found is None:
            return "UnknownInterrupt" if self.runs[run].open else "NotPaused"
        return {"open": None, "answered": "AlreadyAnswered"}.get(found.status, "InterruptClosed")

    def answer(self, question: Question, answer: Any) -> None:
        question.status, question.answer = "answered", answer
        self.accepted[answer] = question
        if question.run.status == "interrupted":
            question.run.status = "queued"

    def refuse_go_on(self, thread: str, run: str) -> str | None:
        refusal = self.refuse_run(thread, run)
        rests = refusal is None and self.runs[run].status == "interrupted" and not self.runs[run].open
        return refusal or (None if rests else "NotPaused")

    def cancel(self, run: Run) -> None:
        self._end(run, "cancelled")

    def _end(self, run: Run, status: str) -> None:
        run.status, run.driver = status, None
        for q in run.open:
            q.status = "withdrawn"

    # -- driving ------------------------------------------------------------------------------------------

    def claim(self, run: Run, driver: Any) -> None:
        """Let the driver take the run, with the answers that are there now."""
        run.status, run.driver, run.lapsed = "running", driver, False
        run.known = {q for q in run.questions.values() if q.status == "answered"}

    def catch_up(self, run: Run, disk: Disk) -> None:
        """Go to where a disturbed drive has left the run on disk."""
        Walk(run, disk).catch_up(run.place, disk.runs[run.id]["head"])

    def stopped(self, run: Run, disk: Disk) -> None:
        """Put the run back in the queue, wherever its driver was."""
        self.catch_up(run, disk)
        run.status, run.driver = "queued", None

    def failed(self, run: Run, disk: Disk) -> None:
        """End the run with the failure of one of its tasks, wherever the others were."""
        self.catch_up(run, disk)
        self._end(run, "failed")

    def rest(self, run: Run) -> str:
        """Take the run to where an undisturbed drive takes it; return "over", "limit" or "rests"."""
        walk = Walk(run)
        came_to = walk.to_rest(run.place)
        if came_to == "rests":
            run.pauses += 1
            walk.deliver(run.questions.values())
            for job, number, value in walk.asked:
                run.questions[job, number] = Question(run, job, number, value)
            unseen = any(q.status == "answered" and not q.delivered for q in run.questions.values())
            run.status, run.driver = "queued" if unseen else "interrupted", None
        else:
            self._end(run, "completed" if came_to == "over" else "failed")
        return came_to
