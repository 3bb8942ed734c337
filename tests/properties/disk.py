"""What lies in the database, read past the runtime with SQLite's own module, and what must always hold there."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

START = "__start__"
ENDED = {"completed", "failed", "cancelled"}
#: table: {column: table and column in which each of its values must be}
ROOTS = {
    "threads": {"last_run": "runs.run_id"},
    "runs": {
        "thread_id": "threads.thread_id",
        "head": "checkpoints.checkpoint_id",
        "parent_run": "runs.run_id",
    },
    "checkpoints": {
        "thread_id": "threads.thread_id",
        "run_id": "runs.run_id",
        "parent_id": "checkpoints.checkpoint_id",
    },
    "frames": {
        "thread_id": "threads.thread_id",
        "run_id": "runs.run_id",
        "head": "checkpoints.checkpoint_id",
    },
    "effects": {"run_id": "runs.run_id"},
    "channel_values": {"checkpoint_id": "checkpoints.checkpoint_id"},
    "writes": {"checkpoint_id": "checkpoints.checkpoint_id"},
    "interrupts": {
        "thread_id": "threads.thread_id",
        "run_id": "runs.run_id",
        "checkpoint_id": "checkpoints.checkpoint_id",
    },
    "events": {"thread_id": "threads.thread_id", "run_id": "runs.run_id"},
}


@dataclass(frozen=True)
class Disk:
    """Every row of every table at one moment."""

    rows: Mapping[str, list[dict[str, Any]]]

    @cached_property
    def runs(self) -> dict[str, dict[str, Any]]:
        return {row["run_id"]: row for row in self.rows["runs"]}

    @cached_property
    def checkpoints(self) -> dict[str, dict[str, Any]]:
        return {
            row["checkpoint_id"]: {**row, "due": json.loads(row["due"])} for row in self.rows["checkpoints"]
        }

    @cached_property
    def frames(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {(row["thread_id"], row["ns"]): row for row in self.rows["frames"]}

    @cached_property
    def saved(self) -> dict[str, set[str]]:
        """The finished tasks of each checkpoint."""
        found: dict[str, set[str]] = defaultdict(set)
        for row in self.rows["writes"]:
            found[row["checkpoint_id"]].add(row["task_id"])
        return found

    def questions(self, run: str) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the questions of a run by task and number."""
        found = {}
        for row in self.rows["interrupts"]:
            if row["run_id"] == run:
                value = json.loads(row["value"])
                key = (row["task_id"], value["number"])
                assert key not in found, f"question {key} of run {run} was asked twice"
                found[key] = {**row, "value": value}
        return found

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [{**row, **json.loads(row["data"])} for row in self.rows["events"] if row["kind"] == kind]


def read(database: sqlite3.Connection) -> Disk:
    """Return all that is committed."""
    database.row_factory = sqlite3.Row
    database.execute("BEGIN")
    try:
        rows = {
            table: [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY 1, 2")]  # noqa: S608
            for table in ROOTS
        }
    finally:
        database.execute("COMMIT")
    return Disk(rows)


def check(disk: Disk, ran: Mapping[str, int]) -> None:
    """Check what holds in every database, whatever was done with it. ``ran`` counts executions of tasks."""
    _no_row_is_of_something_unknown(disk)
    _each_line_of_checkpoints_is_unbroken(disk)
    _each_task_is_one_task_recorded_once(disk, ran)
    _a_thread_has_one_living_run(disk)
    _each_answer_was_accepted_once(disk)
    _what_has_ended_asks_nothing(disk)


def _no_row_is_of_something_unknown(disk: Disk) -> None:
    ids: dict[str, set[Any]] = {}
    for table, columns in ROOTS.items():
        for column, home in columns.items():
            if home not in ids:
                there, name = home.split(".")
                ids[home] = {row[name] for row in disk.rows[there]} | {None}
            for row in disk.rows[table]:
                # A refusal is written down with the ids as they were claimed.
                if row[column] not in ids[home] and row.get("kind") != "resume.refused":
                    raise AssertionError(f"a row of {table} has {column} {row[column]!r}, which is nowhere")
    written = {(row["checkpoint_id"], row["channel"]) for row in disk.rows["channel_values"]}
    for row in disk.rows["checkpoints"]:
        lost = {(at, name) for name, at in json.loads(row["versions"]).items()} - written
        assert not lost, f"checkpoint {row['checkpoint_id']} has lost its values {lost}"


def _each_line_of_checkpoints_is_unbroken(disk: Disk) -> None:
    steps = Counter((row["run_id"], row["ns"], row["step"]) for row in disk.rows["checkpoints"])
    assert all(number == 1 for number in steps.values()), f"two checkpoints of one step: {steps}"
    for id_, row in disk.checkpoints.items():
        if row["parent_id"] is None:
            assert row["step"] == -1, f"checkpoint {id_} of step {row['step']} has no parent"
            continue
        parent = disk.checkpoints[row["parent_id"]]
        for name in ("thread_id", "ns"):
            assert parent[name] == row[name], f"checkpoint {id_} has a parent with another {name}"
        assert parent["step"] == row["step"] - 1, f"checkpoint {id_} does not follow its parent's step"
    for id_, run in disk.runs.items():
        head = disk.checkpoints[run["head"]]
        assert (head["ns"], head["thread_id"]) == ("", run["thread_id"]), f"run {id_} has a strange head"
        assert head["step"] == run["step"], f"run {id_} is at step {run['step']}, its head at {head['step']}"
        last = max(
            (c["step"] for c in disk.checkpoints.values() if (c["run_id"], c["ns"]) == (id_, "")),
            default=None,
        )
        assert last in {None, run["step"]}, f"run {id_} has a checkpoint past its head"


def _each_task_is_one_task_recorded_once(disk: Disk, ran: Mapping[str, int]) -> None:
    tasks = Counter(task[0] for row in disk.checkpoints.values() for task in row["due"])
    assert all(number == 1 for number in tasks.values()), f"a task is due at two checkpoints: {tasks}"
    for id_, row in disk.checkpoints.items():
        assert disk.saved[id_] <= {task[0] for task in row["due"]}, f"a write of no task of {id_}"
        if row["source"] != "loop":
            continue
        parent = disk.checkpoints[row["parent_id"]]
        for task, node, *_ in parent["due"]:
            if node != START:
                assert task in disk.saved[parent["checkpoint_id"]], f"{node} at {id_} left no record"
                assert ran[task] >= 1, f"{node} at {id_} has a record and never ran"


def _a_thread_has_one_living_run(disk: Disk) -> None:
    living = Counter(run["thread_id"] for run in disk.runs.values() if run["status"] not in ENDED)
    assert all(number == 1 for number in living.values()), f"two runs of one thread live: {living}"
    last = {row["thread_id"]: row["last_run"] for row in disk.rows["threads"]}
    for id_, run in disk.runs.items():
        if run["status"] not in ENDED:
            assert last[run["thread_id"]] == id_, f"run {id_} lives and is not the last of its thread"


def _each_answer_was_accepted_once(disk: Disk) -> None:
    told = Counter((event["run_id"], event["interrupt"]) for event in disk.events("run.answered"))
    answered = {
        (row["run_id"], row["interrupt_id"]): 1
        for row in disk.rows["interrupts"]
        if row["answered_at"] is not None
    }
    assert told == answered, f"the journal says {told}, the questions {answered}"
    for row in disk.rows["interrupts"]:
        asks = row["status"] in {"open", "withdrawn"}
        assert not (asks and row["answer"] is not None), (
            f"{row['interrupt_id']} is {row['status']} with an answer"
        )
        assert row["status"] != "answered" or row["answer"] is not None
        assert row["delivered_at"] is None or row["status"] == "answered", "only an answer is delivered"


def _what_has_ended_asks_nothing(disk: Disk) -> None:
    for row in disk.rows["interrupts"]:
        status = disk.runs[row["run_id"]]["status"]
        waits = row["status"] == "answered" and row["delivered_at"] is None
        assert not (row["status"] == "open" and status in ENDED), (
            f"{row['interrupt_id']} is open in a {status} run"
        )
        assert not (waits and status in {"completed", "interrupted"}), (
            f"the answer to {row['interrupt_id']} was never delivered, and its run is {status}"
        )
    for kind in ENDED:
        ends = Counter(event["run_id"] for event in disk.events(f"run.{kind}"))
        assert all(number == 1 for number in ends.values()), f"an end was told twice: {ends}"
        ended = {id_ for id_, run in disk.runs.items() if run["status"] == kind}
        silent = {id_ for id_ in ended - set(ends) if disk.runs[id_]["origin"] != "update"}
        assert not silent and set(ends) <= ended, f"{kind}: {ended}, but the journal says {set(ends)}"
