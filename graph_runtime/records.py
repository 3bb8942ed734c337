"""Rows of the store and the nouns they stand for, in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .bypass import Bypass
from .delegation import Delegation
from .drawing import Passed
from .plainjson import read_json, write_json
from .plan import Chosen, Result, Target
from .storage import Do, Param, Params, Row
from .stored import Place as StoredPlace
from .stored import read_stored, read_versions
from .timeouts import TimeoutPolicy
from .types import (
    START,
    Action,
    ApprovalRequest,
    Checkpoint,
    CheckpointId,
    Event,
    Form,
    Interrupt,
    InterruptId,
    OutboxEntry,
    Place,
    Question,
    Route,
    Run,
    RunId,
    Send,
    Task,
    TaskId,
    Vote,
)
from .values import Codec


def legible(text: str) -> str:
    """Return words for people as every database stores them: without NUL and halves of a surrogate."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


#: Begins the keys under which a run keeps what its unfinished tasks took, beside what it used.
_TAKEN = "@ "


def write_used(used: Mapping[str, float], taken: Mapping[str, float]) -> str:
    """Return what a run has used, and what its unfinished tasks took of it, as one JSON text."""
    if not used and not taken:
        return "{}"
    return write_json({**used, **{_TAKEN + key: amount for key, amount in taken.items()}})


def _used(row: Row, *, taken: bool) -> dict[str, float]:
    if row["used"] == "{}":
        return {}
    return {k: v for k, v in read_json(row["used"]).items() if k.startswith(_TAKEN) == taken}


def read_run(row: Row) -> Run:
    """Return the run that a row of ``runs`` stands for."""
    return Run(
        id=row["run_id"],
        thread_id=row["thread_id"],
        graph=row["graph"],
        version=row["version"],
        status=row["status"],
        driver=row["driver"],
        head=row["head"],
        step=row["step"],
        steps_taken=row["steps_taken"],
        max_steps=row["max_steps"],
        requester=row["requester"],
        error=None if row["error"] is None else read_json(row["error"]),
        limits=read_json(row["limits"]),
        used=_used(row, taken=False),
        taken={key.removeprefix(_TAKEN): amount for key, amount in _used(row, taken=True).items()},
        origin=row["origin"],
        parent_run=row["parent_run"],
        passes=row["passes"],
        lease_owner=row["lease_owner"],
        lease_until=row["lease_until"],
        epoch=row["epoch"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def write_tasks(codec: Codec, tasks: Sequence[Task]) -> str:
    """Return tasks as one JSON text; what a Send passed is encoded strictly.

    Of the input that START carries there are only the names: its values are rows of their own.
    """
    if not tasks:
        return "[]"
    rows = [
        [t.id, t.node, t.push, _names(t) if t.node == START else t.arg, *_write_timeout(t.timeout)]
        for t in tasks
    ]
    passes = any(t.push is not None for t in tasks)
    return codec.encode(rows) if passes else write_json(rows)


def _names(task: Task) -> list[str]:
    return [name for name, _ in task.arg]


def read_tasks(codec: Codec, text: str, brought: Mapping[str, Any] | None = None) -> tuple[Task, ...]:
    """Return the tasks that ``write_tasks`` was given.

    ``brought`` is what an input brought, by channel; without it, START is shown to carry nothing.
    """
    return tuple(
        Task(
            TaskId(id_),
            node,
            push,
            _carried(arg, brought) if node == START else arg,
            _read_timeout(timeout),
        )
        for id_, node, push, arg, *timeout in codec.decode(text)
    )


def _carried(names: Sequence[str], brought: Mapping[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    return () if brought is None else tuple((name, brought[name]) for name in names)


def write_result(codec: Codec, result: Result) -> str:
    """Return what a finished task came to, as one JSON text."""
    return codec.encode(
        [
            [[name, value] for name, value in result.updates],
            _write_targets(result.goto),
            [[chosen.by, _write_targets(chosen.targets)] for chosen in result.chosen],
            result.handled,
        ]
    )


def read_result(codec: Codec, task: Task, text: str) -> Result:
    """Return the result that ``write_result`` was given."""
    updates, goto, chosen, handled = codec.decode(text)
    return Result(
        task,
        tuple((name, value) for name, value in updates),
        _read_targets(goto),
        tuple(Chosen(by, _read_targets(targets)) for by, targets in chosen),
        handled,
    )


def put_write(codec: Codec, checkpoint_id: CheckpointId, run_id: RunId, result: Result, now: int) -> Do:
    """Return the statement that stores what a finished task of a checkpoint came to, in which run."""
    put: Params = {
        "checkpoint_id": checkpoint_id,
        "task_id": result.task.id,
        "run_id": run_id,
        "value": write_result(codec, result),
        "now": now,
    }
    return Do("put_write", put)


def _write_targets(targets: Iterable[Target]) -> list[Any]:
    return [[t.node, t.arg, *_write_timeout(t.timeout)] if isinstance(t, Send) else t for t in targets]


def _read_targets(targets: Iterable[Any]) -> tuple[Target, ...]:
    return tuple(t if isinstance(t, str) else Send(t[0], t[1], timeout=_read_timeout(t[2:])) for t in targets)


def _write_timeout(timeout: TimeoutPolicy | None) -> list[Any]:
    return [] if timeout is None else [timeout.run_timeout, timeout.idle_timeout, timeout.refresh_on]


def _read_timeout(parts: Sequence[Any]) -> TimeoutPolicy | None:
    return TimeoutPolicy(*parts) if parts else None


def read_checkpoint(
    codec: Codec, row: Row, rows: Iterable[Row], decoded: dict[StoredPlace, Any] | None = None
) -> Checkpoint:
    """Return the checkpoint that a row of ``checkpoints`` and those of ``get_values`` stand for.

    A value that is in ``decoded`` is not read again, and what is read is put there.
    """
    known = {} if decoded is None else decoded
    stored = read_stored(rows)
    for place, one in stored.items():
        if place not in known:
            known[place] = codec.decode(one.text)
    values = {name: known[id_, name] for name, id_ in read_versions(row).items() if (id_, name) in stored}
    own = {name: known[id_, name] for id_, name in stored if id_ == row["checkpoint_id"]}
    brought = own | {name.removeprefix(START): own[name] for name in own if name.startswith(START)}
    return Checkpoint(
        id=row["checkpoint_id"],
        thread_id=row["thread_id"],
        run_id=row["run_id"],
        parent_id=row["parent_id"],
        step=row["step"],
        source=row["source"],
        ns=row["ns"],
        values=values,
        due=read_tasks(codec, row["due"], brought),
        joins={key: tuple(sources) for key, sources in read_json(row["joins"]).items()},
        held=tuple(read_json(row["held"])),
        routes=_read_routes(row["routes"]),
        metadata=codec.decode(row["metadata"]),
        created_at=row["created_at"],
    )


def read_passed(row: Row) -> Passed:
    """Return what a row of ``checkpoints`` says of the way over it. No value is read."""
    return Passed(
        step=row["step"],
        source=row["source"],
        # Tasks lie as write_tasks puts them; what a Send passed stays as it is.
        nodes=tuple(task[1] for task in read_json(row["due"])),
        routes=_read_routes(row["routes"]),
        parent_id=row["parent_id"],
    )


def _read_routes(text: str) -> tuple[Route, ...]:
    return tuple(Route(s, w, tuple(t), b) for s, w, t, b in read_json(text))


def put_checkpoint(
    codec: Codec,
    checkpoint: Checkpoint,
    fingerprints: dict[str, str],
    versions: dict[str, CheckpointId],
) -> Do:
    """Return the statement that stores a checkpoint, without its channel values."""
    return Do(
        "put_checkpoint",
        {
            "checkpoint_id": checkpoint.id,
            "thread_id": checkpoint.thread_id,
            "run_id": checkpoint.run_id,
            "parent_id": checkpoint.parent_id,
            "ns": checkpoint.ns,
            "step": checkpoint.step,
            "source": checkpoint.source,
            "due": write_tasks(codec, checkpoint.due),
            "joins": write_json(dict(checkpoint.joins)) if checkpoint.joins else "{}",
            "held": write_json(list(checkpoint.held)) if checkpoint.held else "[]",
            "routes": write_json([[r.source, r.way, list(r.targets), r.by] for r in checkpoint.routes])
            if checkpoint.routes
            else "[]",
            "fingerprints": write_json(fingerprints) if fingerprints else "{}",
            "versions": write_json(versions) if versions else "{}",
            "metadata": codec.encode(dict(checkpoint.metadata)) if checkpoint.metadata else "{}",
            "now": checkpoint.created_at,
        },
        guard="the step is new",
    )


def read_question(codec: Codec, row: Row) -> Question:
    """Return the question that a row of ``interrupts`` stands for."""
    return Question(
        interrupt=Interrupt(
            value=codec.decode(row["value"]),
            id=InterruptId(row["interrupt_id"]),
            digest=row["digest"],
            key=row["key"],
            occurrence=row["occurrence"],
            response_schema=None if row["response_schema"] is None else read_json(row["response_schema"]),
        ),
        thread_id=row["thread_id"],
        run_id=row["run_id"],
        checkpoint_id=row["checkpoint_id"],
        task_id=row["task_id"],
        ns=row["ns"],
        node=row["node"],
        step=row["step"],
        status=row["status"],
        answer=None if row["answer"] is None else codec.decode(row["answer"]),
        answered_by=row["answered_by"],
        asked_at=row["asked_at"],
        answered_at=row["answered_at"],
        delivered_at=row["delivered_at"],
    )


_plain = Codec()


def read_request(row: Row) -> ApprovalRequest:
    """Return the request that a row of ``requests`` stands for."""
    action = None if row["action"] is None else _plain.decode(row["action"])
    return ApprovalRequest(
        id=row["request_id"],
        interrupt_id=row["interrupt_id"],
        thread_id=row["thread_id"],
        run_id=row["run_id"],
        graph=row["graph"],
        node=row["node"],
        title=row["title"],
        action=action if isinstance(action, Action) else None,
        facts=_plain.decode(row["facts"]),
        digest=row["digest"],
        policy_name=row["policy_name"],
        policy=read_json(row["policy"]),
        requester=row["requester"],
        also=tuple(read_json(row["also"])),
        status=row["status"],
        revision=row["revision"],
        deadline_at=row["deadline_at"],
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
        terms=None if row["terms"] is None else read_json(row["terms"]),
        shape=row["shape"],
        part=row["part"],
        parts=row["parts"],
        form=None if row["form"] is None else Form(**read_json(row["form"])),
    )


def read_vote(row: Row) -> Vote:
    """Return the vote that a row of ``decisions`` stands for."""
    return Vote(
        reviewer=row["reviewer"],
        verdict=row["verdict"],
        reason=row["said"],
        digest=row["digest"],
        at=row["decided_at"],
        surface=row["surface"],
        groups=frozenset(read_json(row["groups"])),
        stage=row["stage"],
        round=row["round"],
        arguments=None if row["arguments"] is None else _plain.decode(row["arguments"]),
        erased=erased_of(row),
        on_behalf_of=row["on_behalf_of"],
        delegation=row["delegation_id"],
        one_with=frozenset(read_json(row["one_with"])),
    )


def read_delegation(row: Row) -> Delegation:
    """Return the delegation that a row of ``delegations`` stands for."""
    return Delegation(
        id=row["delegation_id"],
        person=row["person"],
        delegate=row["delegate"],
        since=row["since"],
        until=row["until"],
        policy=row["policy"],
        request_id=row["request_id"],
        reason=said_of(row),
        made_by=row["made_by"],
        made_at=row["made_at"],
        revoked_at=row["revoked_at"],
    )


def read_bypass(row: Row) -> Bypass:
    """Return the consent that a row of ``bypasses`` stands for."""
    return Bypass(
        scope=row["scope"],
        since=row["since"],
        person=row["person"],
        on_behalf_of=row["on_behalf_of"],
        one_with=frozenset(read_json(row["one_with"])),
        reason=said_of(row),
        needed=row["needed"],
        at=row["given_at"],
    )


def said_of(row: Row) -> str | None:
    """Return what is shown of words that lie beside the journal; None when there were none."""
    left = erased_of(row)
    said: str | None = row["said"]
    return said or (f"(erased: {left[:19]})" if left else None)


def erased_of(row: Row) -> str | None:
    """Return what is left of words that were erased: their digest, or that nobody had one."""
    return None if row["erased_in"] is None else row["words_digest"] or "no digest"


def read_entry(row: Row) -> OutboxEntry:
    """Return the entry that a row of ``outbox`` stands for."""
    return OutboxEntry(
        id=row["entry_id"],
        kind=row["kind"],
        request_id=row["request_id"],
        status=row["status"],
        wanted=row["wanted"],
        attempts=row["attempts"],
        overtaken=bool(row["overtaken"]),
        payload=read_json(row["payload"]),
        lease_owner=row["lease_owner"],
        lease_until=row["lease_until"],
        error=row["error"],
    )


def read_place(row: Row) -> Place:
    """Return the place that a row of ``receipts`` stands for."""
    return Place(row["surface"], row["app"], row["workspace"], row["channel"], row["message"])


def read_event(row: Row) -> Event:
    """Return the event that a row of ``events`` stands for."""
    known = "said" in row.keys()  # noqa: SIM118 - a row of SQLite is no mapping
    return Event(
        id=row["event_id"],
        at=row["at"],
        kind=row["kind"],
        actor=row["actor"],
        thread_id=row["thread_id"],
        run_id=row["run_id"],
        request_id=row["request_id"],
        data=read_json(row["data"]),
        said=row["said"] if known else None,
        erased=erased_of(row) if known else None,
    )


def put_event(
    event_id: str,
    kind: str,
    now: int,
    *,
    actor: str | None = None,
    thread_id: str | None = None,
    run_id: str | None = None,
    request_id: str | None = None,
    **data: Param | list[str],
) -> Do:
    """Return the statement that adds a line to the journal. ``data`` holds ids and codes, no state values."""
    return Do(
        "put_event",
        {
            "event_id": event_id,
            "kind": kind,
            "now": now,
            "actor": actor,
            "thread_id": thread_id,
            "run_id": run_id,
            "request_id": request_id,
            "data": write_json(data),
        },
    )
