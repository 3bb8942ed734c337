"""Which batches can be written side by side, many rows in one statement, and the texts for it.

Batches of one shape have the same statements in the same order. When each statement touches only rows that
its own parameters name, and no two batches name the same, the first statement of all of them may come before
the second of any: the tables are the same afterwards as if each batch had been written alone. SQLite takes
half as long for a row among many, and Python's lock is let go and taken again once for all of them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from . import Batch, QueryName
from .sql import PARAMETER, queries

#: How many rows one text takes, the most first. Few, because each text stays prepared.
SIZES = (64, 16, 4)
FEWEST = SIZES[-1]
#: A text that stays prepared holds on to what it was last given: what is longer than this goes in alone.
LARGEST = 16 * 1024
#: Shapes are remembered, so many of them; a batch of more statements has none.
_SHAPES, LONGEST_SHAPE = 256, 64

#: What a batch may name. Batches that name the same are written in the order in which they came.
_NAMES = ("thread_id", "run_id", "request_id", "interrupt_id")
#: Parameters of any length.
_LONG = ("value", "answer", "data", "error", "action", "facts", "metadata", "payload", "due", "held")
#: Written with one text for many rows: each touches at most one row, which its parameters name, and with a
#: guard is only right when all of them did.
MANY: frozenset[QueryName] = frozenset(
    {
        "put_thread",
        "put_run",
        "set_last_run",
        "claim_this_run",
        "claim_woken_run",
        "hold_run",
        "step_run",
        "rest_run",
        "end_run",
        "finish_run",
        "put_checkpoint",
        "put_value",
        "put_write",
        "put_effect",
        "put_interrupt",
        "answer_interrupt",
        "deliver_interrupt",
        "finish_interrupt",
        "put_request",
        "close_request",
        "put_decision",
        "put_text",
        "put_entry",
        "redraw_card",
        "put_due",
        "put_event",
    }
)
#: The same but for their form: one at a time, between the others. Each may touch several rows, so that their
#: number says nothing: only without a guard.
ALONE: frozenset[QueryName] = frozenset({"drop_due", "redraw_cards_of_run", "put_trail_of_run"})

#: The statements of a batch, each with its guard.
Shape = tuple[tuple[QueryName, str | None], ...]


class Many(NamedTuple):
    """A statement of SQLite for so many rows at once."""

    rows: int
    text: str
    #: Takes the parameters of all rows, one row after the other, out of those by name.
    pick: Callable[[Sequence[Mapping[str, Any]]], Sequence[Any]]


@cache
def many() -> Mapping[str, tuple[Many, ...]]:
    """Return each statement of :data:`MANY` by its name, for each of :data:`SIZES`."""
    return {name: _many(name, queries()[name]) for name in MANY}


def _many(name: str, text: str) -> tuple[Many, ...]:
    made = _inserted(text) or _updated(text)
    if made is None:
        raise LookupError(f"{name} has not the form of a statement that many rows can share")
    before, row, after, names = made
    pick = itemgetter(*names)

    def pick_all(rows: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        return [*itertools.chain.from_iterable(map(pick, rows))]

    return tuple(Many(size, before + ", ".join([row] * size) + after, pick_all) for size in SIZES)


#: What a text for many rows is made of: before the rows, one row, after them, and the parameters of one row.
_Parts = tuple[str, str, str, list[str]]
_INSERT = re.compile(
    r"(INSERT INTO .*?\)\s*VALUES )(\([^()]*\))(\s*ON CONFLICT \(\w+\) DO NOTHING)?", re.DOTALL
)


def _inserted(text: str) -> _Parts | None:
    """INSERT INTO t (..) VALUES (row), (row) ON CONFLICT .. DO NOTHING."""
    found = _INSERT.fullmatch(text)
    if found is None:
        return None
    before, row, after = found.groups()
    return before, PARAMETER.sub("?", row), after or "", PARAMETER.findall(row)


def _updated(text: str) -> _Parts | None:
    """UPDATE t SET .. FROM (VALUES (row), (row)) AS v WHERE ..; its columns are column1, column2 .."""
    wheres = [found.start() for found in re.finditer(r"\sWHERE\s", text)]
    own = [at for at in wheres if text.count("(", 0, at) == text.count(")", 0, at)]
    if not text.startswith("UPDATE") or len(own) != 1:
        return None
    names = list(dict.fromkeys(PARAMETER.findall(text)))
    columns = {name: f"v.column{number}" for number, name in enumerate(names, 1)}
    of_rows = PARAMETER.sub(lambda found: columns[found[1]], text[: own[0]] + _HERE + text[own[0] :])
    before, after = of_rows.split(_HERE)
    return f"{before} FROM (VALUES ", f"({', '.join('?' * len(names))})", f") AS v{after}", names


_HERE = "\0"


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the batches of one shape are looked at."""

    #: Whether each statement touches only what it names.
    fit: bool
    #: Where what a batch names stands: which write, which parameter.
    names: tuple[tuple[int, str], ...]
    #: Where what may be long stands.
    long: tuple[tuple[int, str], ...]


@lru_cache(_SHAPES)
def _plan(shape: Shape) -> _Plan:
    fit = all(query in MANY or (query in ALONE and guard is None) for query, guard in shape)
    used = [(n, name) for n, (query, _) in enumerate(shape) for name in _parameters(query)]
    # A line of the journal names what it is about, and touches nothing of it.
    names = tuple((n, name) for n, name in used if name in _NAMES and shape[n][0] != "put_event")
    return _Plan(fit, names, tuple((n, name) for n, name in used if name in _LONG) if fit else ())


@cache
def _parameters(query: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(PARAMETER.findall(queries()[query])))


def side_by_side(batches: Sequence[Batch]) -> tuple[list[list[int]], list[int]]:
    """Return, by their numbers, the batches of each shape that can be written side by side, and the others.

    Of those that name the same thread, run, request or question, only the first can be. The others are to
    be written after them, in their order.
    """
    shapes: dict[Any, tuple[_Plan, list[int]]] = {}
    others: list[int] = []
    named: set[Any] = set()
    for number, batch in enumerate(batches):
        writes: Any = batch.writes
        if len(writes) > LONGEST_SHAPE:
            others.append(number)
            continue
        shape = tuple([do[::2] for do in writes])
        known = shapes.get(shape)
        if known is None:
            known = shapes[shape] = (_plan(shape), [])
        plan, beside = known
        given = [do[1] for do in writes]
        try:
            names = {given[n][name] for n, name in plan.names}
            "".join(names)  # whatever is no text is the same to SQLite as some text
            longest = max([len(given[n][name] or "") for n, name in plan.long], default=0)
        except (KeyError, TypeError):
            others.append(number)
            continue
        if plan.fit and longest <= LARGEST and named.isdisjoint(names):
            beside.append(number)
        else:
            others.append(number)
        named |= names
    found = [beside for _, beside in shapes.values()]
    others += [number for few in found if len(few) < FEWEST for number in few]
    return [enough for enough in found if len(enough) >= FEWEST], sorted(others)
