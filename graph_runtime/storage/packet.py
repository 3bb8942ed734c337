"""Several statements to PostgreSQL in one write, and their results in one read.

psycopg's own pipeline waits for the socket after each statement. Here a whole transaction, COMMIT included,
is one write: it takes a third of the time, and a process that is stopped in the middle leaves nothing locked.
"""

from __future__ import annotations

import itertools
import select
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection, pq
from psycopg.abc import PQGen
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait

from . import Row

#: PostgreSQL's types of whole numbers; everything else that our statements return is text.
_NUMBERS = frozenset({20, 21, 23})
_DONE = frozenset({pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK})


@dataclass(frozen=True, slots=True)
class Sent:
    """A statement with ``$1`` parameters, and their values as text; a NUL in a value would cut it off."""

    text: bytes
    values: Sequence[bytes | None] = ()


_ROLLBACK = Sent(b"ROLLBACK")
#: The SQLSTATE of a prepared statement whose table has changed since; the next packet prepares it anew.
STALE_PLAN = "0A000"


class RefusedError(Exception):
    """The server refused the statement at ``index``, and with it the transaction."""

    def __init__(self, index: int, result: PGresult) -> None:
        super().__init__(_field(result, pq.DiagnosticField.MESSAGE_PRIMARY))
        self.index = index
        #: The SQLSTATE: five characters that say what is wrong.
        self.state = _field(result, pq.DiagnosticField.SQLSTATE)


class Line(AsyncConnection[Any]):
    """A connection that sends packets, and knows which statements the server has prepared for it."""

    def __init__(self, pgconn: PGconn) -> None:
        super().__init__(pgconn)
        self._names: dict[bytes, bytes] = {}
        self._made = 0

    @property
    def lost(self) -> bool:
        """Whether it is closed, or the server has said something unasked since: that it closes."""
        if self.closed:
            return True
        look = select.poll()
        look.register(self.fileno(), select.POLLIN)
        return bool(look.poll(0))

    async def send(self, *packet: Sent) -> list[list[Row]]:
        """Run the statements and return the rows of each. The packet ends the transaction that it begins.

        Raises :class:`RefusedError` when the server refuses one; none of them has happened then. Raises
        ``psycopg.Error`` when the connection is lost; whether they have happened is not known then.
        """
        try:
            answers = await self._answers(packet)
            all_results = ((index, one) for index, results in enumerate(answers) for one in results)
            refused = next((found for found in all_results if found[1].status not in _DONE), None)
            if refused is not None:
                await self._forget(refused[1])
        except BaseException:
            # Half a conversation, which nobody can go on with; the server rolls back what was not committed.
            self.pgconn.finish()
            raise
        if refused is not None:
            raise RefusedError(*refused)
        return [_rows(results[-1]) for results in answers]

    async def _forget(self, refused: PGresult) -> None:
        """Leave the transaction that failed, and plans that a migration has overtaken."""
        if self.pgconn.transaction_status == pq.TransactionStatus.INERROR:
            await self._answers([_ROLLBACK])
        if _field(refused, pq.DiagnosticField.SQLSTATE) == STALE_PLAN:
            self._names.clear()

    async def _answers(self, packet: Sequence[Sent]) -> list[list[PGresult]]:
        """Return the results of each statement: of preparing it where that was needed, and of running it."""
        pgconn, new, counts = self.pgconn, dict[bytes, tuple[int, bytes]](), list[int]()
        pgconn.enter_pipeline_mode()
        for index, one in enumerate(packet):
            name = self._names.get(one.text) or new.get(one.text, (0, b""))[1]
            if not name:
                self._made += 1
                name = b"s%d" % self._made
                new[one.text] = index, name
                pgconn.send_prepare(name, one.text)
            pgconn.send_query_prepared(name, list(one.values))
            counts.append(2 if new.get(one.text, (-1,))[0] == index else 1)
        pgconn.pipeline_sync()
        results = iter(await self.wait(_exchange(pgconn)))
        pgconn.exit_pipeline_mode()
        answers = [list(itertools.islice(results, count)) for count in counts]
        for text, (index, name) in new.items():
            if answers[index][0].status in _DONE:
                self._names[text] = name
        return answers


def _exchange(pgconn: PGconn) -> PQGen[list[PGresult]]:
    """Write what was queued and collect the results up to the end of the packet."""
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    results: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            yield Wait.R
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            if pgconn.status != pq.ConnStatus.OK:
                raise psycopg.OperationalError(pgconn.get_error_message())
        elif result.status == pq.ExecStatus.PIPELINE_SYNC:
            return results
        else:
            results.append(result)


def _rows(result: PGresult) -> list[Row]:
    columns = [
        (_text(result.fname(n)), int if result.ftype(n) in _NUMBERS else _text, n)
        for n in range(result.nfields)
    ]
    return [
        {
            name: None if (value := result.get_value(row, n)) is None else read(value)
            for name, read, n in columns
        }
        for row in range(result.ntuples)
    ]


def _text(value: bytes | None) -> str:
    return (value or b"").decode()


def _field(result: PGresult, which: pq.DiagnosticField) -> str:
    return (result.error_field(which) or b"").decode("utf-8", "replace")
