"""Many rows in one statement are the same as one after the other: tables, answers, and who is refused."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kit import much
from writes import event, event_ids

from graph_runtime import Conflict, Store
from graph_runtime.storage import Batch, Do
from graph_runtime.storage.bulk import ALONE, LARGEST, LONGEST_SHAPE, MANY, SIZES, many, side_by_side
from graph_runtime.storage.connection import CACHED_TO_WRITE, Connection, rows_by_name
from graph_runtime.storage.sql import PARAMETER, migrations, queries, statements
from graph_runtime.storage.sqlite import _Waiting, _write_all

#: One text of each size, and some that are left.
COUNT = sum(SIZES) + 3
SEEDED = 3 * COUNT
#: What is new in the rows that a statement puts, so that it finds no row of its own yet.
NEW = {
    "put_thread": ("thread_id",),
    "put_run": ("run_id", "idempotency_key"),
    "put_checkpoint": ("checkpoint_id", "step"),
    "put_value": ("checkpoint_id",),
    "put_write": ("task_id",),
    "put_effect": ("task_id",),
    "put_interrupt": ("interrupt_id",),
    "put_request": ("request_id",),
    "put_decision": ("decision_id",),
    "put_text": ("text_id",),
    "put_entry": ("entry_id",),
    "put_trail_of_run": ("entry_id",),
    "put_due": ("kind",),
    "put_event": ("event_id",),
}
#: What does it whatever state a row is in.
UNCONDITIONAL = {*NEW, "rest_run", "finish_interrupt", "deliver_interrupt", "drop_due"} - {"put_trail_of_run"}
NULLABLE = {"requester", "parent_run", "parent_id", "base", "key", "reason", "error", "actor", "action"}
NUMBERS = {"now", "until", "lease_until", "max_steps", "counted", "occurrence", "deadline_at", "due_at"}
WORDS = {
    "owner": "me",
    "lease_owner": "me",
    "epoch": 1,
    "revision": 1,
    "driver": "worker",
    "origin": "input",
    "source": "loop",
    "verdict": "approve",
    "ns": "",
}


def value(name: str, n: int, query: str) -> Any:
    """What the statement is given for a parameter, the n-th time."""
    if name == "status":
        return {"end_run": "failed", "close_request": "approved"}.get(query, "queued")
    if name == "kind":
        return {"put_entry": "trail"}.get(query, f"a-kind-{n}")
    if name == "before":
        return ("", f"run_id-{n}", "of another")[n % 3]
    new = SEEDED if name in NEW.get(query, ()) else 0
    if query == "put_run" and name == "thread_id":
        n += 2 * COUNT  # those have no run that is alive
    if query == "put_request" and name == "interrupt_id":
        n += COUNT  # those have no request yet
    if name.endswith("_id") or name in {"head", "idempotency_key"}:
        return f"{name if name != 'head' else 'checkpoint_id'}-{n + new}"
    if name == "step":
        return n + new
    if name in NULLABLE and n % 3 == 0 and query != "put_effect":
        return None
    return WORDS.get(name, n * 7 if name in NUMBERS else f"{name}\0é{n}")


def given_to(query: str, count: int = COUNT) -> list[dict[str, Any]]:
    names = dict.fromkeys(PARAMETER.findall(queries()[query]))  # type: ignore[index]
    return [{name: value(name, n, query) for name in names} for n in range(count)]


@contextmanager
def database(like: Connection | None = None) -> Iterator[Connection]:
    """A database in memory as a writer has it, empty or with what another one holds."""
    with closing(
        sqlite3.connect(
            ":memory:", factory=Connection, isolation_level=None, cached_statements=CACHED_TO_WRITE
        )
    ) as connection:
        rows_by_name(connection)
        if like is not None:
            like.backup(connection)
        else:
            for _, _, script in migrations():
                for statement in statements(script):
                    connection.execute(statement)
        connection.execute("PRAGMA foreign_keys=ON")
        yield connection


@pytest.fixture(scope="module")
def seeded() -> Iterator[Connection]:
    """Threads of which two thirds have a run, in all its states, with checkpoints, questions and requests."""
    with database() as made:
        for n in range(SEEDED):
            own = f"run_id-{n}"
            made.rows("put_thread", {"thread_id": f"thread_id-{n}", "now": n})
            if n >= 2 * COUNT:
                continue
            of_run = {"run_id": own, "thread_id": f"thread_id-{n}", "now": n}
            status = ("running", "queued", "interrupted", "completed", "running")[n % 5]
            lease = ("me", 5 if n % 2 else 5_000) if status == "running" else (None, None)
            run = value_of("put_run", n) | of_run | {"idempotency_key": None, "head": f"checkpoint_id-{n}"}
            made.rows("put_run", run | {"status": status, "lease_owner": lease[0], "lease_until": lease[1]})
            if n % 2 == 0:
                made.execute("UPDATE threads SET last_run = ? WHERE thread_id = ?", (own, f"thread_id-{n}"))
            made.rows(
                "put_checkpoint",
                value_of("put_checkpoint", n) | of_run | id_of("checkpoint_id", n) | {"step": 0},
            )
            made.rows("put_interrupt", value_of("put_interrupt", n) | of_run | id_of("interrupt_id", n))
            if n % 4 == 1:
                made.execute(
                    "UPDATE interrupts SET status = 'answered' WHERE interrupt_id = ?", (f"interrupt_id-{n}",)
                )
            if n < COUNT:
                request = of_run | id_of("request_id", n) | id_of("interrupt_id", n)
                made.rows("put_request", value_of("put_request", n) | request)
                made.rows("put_entry", value_of("put_entry", n) | id_of("entry_id", n) | {"kind": "card"})
                if n % 7 == 0:
                    made.execute("UPDATE outbox SET status = 'parked' WHERE entry_id = ?", (f"entry_id-{n}",))
                made.rows("put_due", value_of("put_due", n) | {"kind": "deadline"})
                if n % 3 == 0:
                    made.execute(
                        "UPDATE requests SET status = 'approved' WHERE request_id = ?", (f"request_id-{n}",)
                    )
        yield made


def id_of(name: str, n: int) -> dict[str, str]:
    return {name: f"{name}-{n}"}


def value_of(query: str, n: int) -> dict[str, Any]:
    return {name: value(name, n, query) for name in PARAMETER.findall(queries()[query])}  # type: ignore[index]


def tables(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: sorted((tuple(row) for row in connection.execute(f"SELECT * FROM {name}")), key=repr)  # noqa: S608
        for name in names
    }


@pytest.mark.parametrize("query", sorted(MANY | ALONE))
def test_all_in_one_leave_and_return_what_one_by_one_does(query: str, seeded: Connection) -> None:
    params = given_to(query)
    with database(seeded) as apart, database(seeded) as together:
        one_by_one = [apart.rows(query, one) for one in params]
        rows, count = together.rows_of_many(query, params)
        assert tables(together) == tables(apart)
        assert count == sum(each for _, each in one_by_one)
        assert sorted(map(tuple, rows), key=repr) == sorted(
            (tuple(row) for found, _ in one_by_one for row in found), key=repr
        )
        assert count == len(params) if query in UNCONDITIONAL else 0 < count < len(params)
        assert tables(together) != tables(seeded)


@pytest.mark.parametrize("query", sorted(MANY))
def test_each_touches_one_row_that_it_names(query: str, seeded: Connection) -> None:
    with database(seeded) as apart:
        assert all(apart.rows(query, one)[1] <= 1 for one in given_to(query))
        if "RETURNING" in queries()[query]:  # type: ignore[index]
            assert all(
                row["run_id"] == one["run_id"] for one in given_to(query) for row in apart.rows(query, one)[0]
            )
        if not query.startswith("put_"):
            for form in many()[query]:
                plan = apart.execute(f"EXPLAIN QUERY PLAN {form.text}", form.pick(given_to(query, form.rows)))
                scanned = [row["detail"] for row in plan if re.match(r"SCAN (?!v\b|\d)", row["detail"])]
                assert not [one for one in scanned if "CONSTANT" not in one], (
                    "each row would be looked for in all"
                )


@pytest.mark.parametrize("query", sorted(MANY))
def test_one_that_cannot_be_bound_stops_them_all(query: str, seeded: Connection) -> None:
    params = given_to(query)
    params[10] |= {next(name for name in params[10] if name != "run_id"): object()}
    with database(seeded) as connection, pytest.raises((sqlite3.InterfaceError, sqlite3.ProgrammingError)):
        connection.rows_of_many(query, params)


#: The batches of a cycle of the benchmark, and some others.
SHAPES: dict[str, tuple[tuple[Any, str | None], ...]] = {
    "start": (
        ("put_thread", None),
        ("put_run", "thread idle"),
        ("set_last_run", "thread unchanged"),
        ("put_checkpoint", "the step is new"),
        ("put_value", None),
        ("put_event", None),
    ),
    "step": (
        ("step_run", "lease"),
        ("put_write", None),
        ("put_checkpoint", "the step is new"),
        ("put_value", None),
        ("put_value", None),
        ("finish_interrupt", None),
    ),
    "pause": (("hold_run", "lease"), ("put_interrupt", None), ("rest_run", None), ("put_event", None)),
    "answer": (("claim_woken_run", "run waits"), ("answer_interrupt", "question open"), ("put_event", None)),
    "decide": (
        ("claim_woken_run", "run waits"),
        ("close_request", "request open"),
        ("answer_interrupt", "question open"),
        ("drop_due", None),
        ("redraw_card", None),
        ("put_decision", None),
    ),
    "finish": (
        ("finish_run", "lease"),
        ("redraw_cards_of_run", None),
        ("put_trail_of_run", None),
        ("put_event", None),
    ),
    "end": (("end_run", "lease"),),
    "line": (("put_event", "new"),),
    # These have statements that are written alone.
    "cancel": (("cancel_run", "alive"), ("put_event", None)),
    "claim": (("claim_run", None),),
}
AMISS = ("", "", "", "", "", "unbindable", "missing", "null", "number", "long", "epoch", "event", "thread")


def batch_of(shape: str, n: int, number: int, amiss: str) -> Batch:
    """The batch of this shape for the n-th run, with ids of its own, and with something amiss perhaps."""
    writes = []
    for place, (query, guard) in enumerate(SHAPES[shape]):
        own = value_of(query, n)
        for name in {"put_run": (), "put_thread": ()}.get(query, NEW.get(query, ())):
            own[name] = 1_000 + number if name == "step" else f"{name}-new-{number}-{place}"
        if shape == "start":
            new = {
                "run_id": f"run_id-new-{n}",
                "thread_id": f"thread_id-{n}",
                "idempotency_key": None,
                "before": "",
            }
            own |= {name: what for name, what in new.items() if name in own}
        writes.append(Do(query, own, guard))
    last = writes[-1]
    changed: dict[str, dict[str, Any]] = {
        "unbindable": {next(iter(last.params)): object()},
        "null": {next(iter(last.params)): None},
        "number": {"run_id": 5},
        "long": {"data": "x" * (LARGEST + 1)},
        "epoch": {"epoch": 7},
        "event": {"event_id": "the same"},
        "thread": {"thread_id": "thread_id-0"},
    }
    params = {**last.params, **changed.get(amiss, {})}
    if amiss == "missing":
        params.pop(next(iter(params)))
    return Batch(shape, (*writes[:-1], last._replace(params=params)))


def waiting(batch: Batch) -> _Waiting:
    return _Waiting(batch, None, math.inf)  # type: ignore[arg-type]


def said(outcomes: list[Any]) -> list[Any]:
    """The outcomes in a form that can be compared."""
    return [
        (type(one), str(one))
        if isinstance(one, BaseException)
        else [[tuple(row) for row in rows] for rows in one]
        for one in outcomes
    ]


DRAWN = st.lists(
    st.tuples(
        st.sampled_from([name for name in SHAPES for _ in range(1 if name in {"cancel", "claim"} else 3)]),
        st.integers(0, 40),
        st.sampled_from(AMISS),
    ),
    max_size=8,
)
#: Runs in which each batch of the shape does what it is for: see what is seeded.
FIT = {
    "start": [*range(2 * COUNT, SEEDED)],
    "answer": [n for n in range(2 * COUNT) if n % 5 in {1, 2} and n % 4 != 1 and (n >= COUNT or n % 3 == 0)],
    "decide": [n for n in range(COUNT) if n % 5 in {1, 2} and n % 4 != 1 and n % 3],
    "line": [*range(COUNT)],
}
DRIVEN = [n for n in range(2 * COUNT) if n % 5 in {0, 4}]


@settings(max_examples=much(40, 200), deadline=None)
@example(common=["end"], many_of_each=12, drawn=[("start", 29, "")])
@given(
    common=st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=3),
    many_of_each=st.integers(0, 60),
    drawn=DRAWN,
)
def test_a_group_is_told_what_each_would_be_told_alone(
    common: list[str], many_of_each: int, drawn: list[tuple[str, int, str]], seeded: Connection
) -> None:
    """Most batches of a group are as in a busy bot; a few, in between, are whatever may come."""
    batches = []
    for shape in common:
        batches += [(shape, n, "") for n in FIT.get(shape, DRIVEN)[:many_of_each]]
    for place, one in enumerate(drawn):
        batches.insert(place * 7 % (len(batches) + 1), one)
    told_as_if_alone(batches, seeded)


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("amiss", [*dict.fromkeys(AMISS), "the same run", "another state"])
def test_one_that_differs_is_told_so_and_hurts_nobody(shape: str, amiss: str, seeded: Connection) -> None:
    fit = FIT.get(shape, DRIVEN)
    other = {
        "the same run": fit[3],
        "another state": next(n for n in range(SEEDED) if n not in fit and n % 5 == 3),
    }
    batches = [(shape, n, "") for n in fit[:16]]
    batches.insert(9, (shape, other.get(amiss, fit[16]), amiss))
    told_as_if_alone(batches, seeded)


def told_as_if_alone(batches: list[tuple[str, int, str]], seeded: Connection) -> None:
    """As if each had been written alone in the order in which they came.

    Whoever claims any run, or starts one on a thread whose run ends in the same group, may be later.
    """
    group = [waiting(batch_of(shape, n, number, amiss)) for number, (shape, n, amiss) in enumerate(batches)]
    with database(seeded) as connection:
        told = dict(enumerate(said(_write_all(group, connection)))), tables(connection)
    possible = [[*range(len(group))]]
    if {"claim", "start"} & {shape for shape, _, _ in batches}:
        shapes, others = side_by_side([one.batch for one in group])
        possible.append([*itertools.chain(*shapes), *others])
    assert told in [written_alone(group, order, seeded) for order in possible]


def written_alone(group: list[_Waiting], order: list[int], seeded: Connection) -> tuple[Any, Any]:
    with database(seeded) as connection:
        alone = {number: said(_write_all([group[number]], connection))[0] for number in order}
        return alone, tables(connection)


def writes_of(group: list[_Waiting], connection: Connection) -> list[str]:
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    outcomes = _write_all(group, connection)
    connection.set_trace_callback(None)
    assert not [one for one in outcomes if isinstance(one, BaseException)]
    return [one for one in seen if one.startswith(("INSERT", "UPDATE", "DELETE"))]


@pytest.mark.parametrize("shape", sorted(set(SHAPES) - {"cancel", "claim"}))
def test_those_of_one_shape_are_written_side_by_side(shape: str, seeded: Connection) -> None:
    group = [waiting(batch_of(shape, n, n, "")) for n in FIT.get(shape, DRIVEN)[: SIZES[1]]]
    with database(seeded) as connection:
        alone = sum(query in ALONE for query, _ in SHAPES[shape])
        assert len(writes_of(group, connection)) == len(SHAPES[shape]) - alone + SIZES[1] * alone


def test_who_names_the_same_comes_after_the_one_who_came_first() -> None:
    shapes, others = side_by_side([batch_of("pause", n, k, "") for k, n in enumerate([1, 2, 1, 3, 4, 2, 5])])
    assert (shapes, others) == ([[0, 1, 3, 4, 6]], [2, 5])
    mixed = ["cancel", "pause", "pause", "pause", "pause", "pause", "claim"]
    shapes, others = side_by_side([batch_of(shape, max(k, 1), k, "") for k, shape in enumerate(mixed)])
    assert (shapes, others) == ([[2, 3, 4, 5]], [0, 1, 6])


def test_what_is_long_or_not_a_text_is_written_alone() -> None:
    fit = [Batch("line", (event(f"e{n}"),)) for n in range(8)]
    assert side_by_side(fit) == ([list(range(8))], [])
    amiss = [
        Batch("line", (event("long", data="x" * (LARGEST + 1)),)),
        Batch("line", (event("number", data=1),)),
        Batch("line", (Do("put_event", {}),)),
        Batch("line", tuple(event(f"many-{n}") for n in range(LONGEST_SHAPE + 1))),
        Batch("thread", (Do("put_thread", {"thread_id": 1, "now": 1}),)),
        Batch("thread", (Do("put_thread", {"thread_id": [], "now": 1}),)),  # type: ignore[dict-item]
        Batch("guarded", (Do("drop_due", {"request_id": "r"}, guard="there are some"),)),
    ]
    assert side_by_side([*amiss, *fit, *amiss]) == ([list(range(7, 15))], [*range(7), *range(15, 22)])


async def test_of_many_at_once_one_that_loses_hurts_nobody(store: Store) -> None:
    await store.commit(Batch("line", (event("e-050"),)))
    batches = [Batch("line", (event(f"e-{n:03}", guard="new"),)) for n in range(100)]
    said = await asyncio.gather(*map(store.commit, batches), return_exceptions=True)
    assert [n for n, one in enumerate(said) if isinstance(one, Conflict)] == [50]
    assert [one for n, one in enumerate(said) if n != 50] == [[[]]] * 99
    assert len(await event_ids(store)) == 100
