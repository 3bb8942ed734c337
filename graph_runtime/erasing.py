"""Erases what a person said: reasons, answers, why something was frozen or cancelled. Their digests stay.

It goes in guarded batches of a page each, so it may be stopped anywhere and begun again. With the words goes,
in the same batch, that what shows them is drawn anew, and the line of the journal that says who erased whose
words and how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from . import records
from .errors import Conflict
from .ground import Ground
from .plainjson import read_json
from .storage import Ask, Batch, Do, Row

#: Texts of one batch.
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure reaches, or has reached, and what it leaves as it is."""

    #: Texts whose words go.
    texts: int = 0
    #: Cards, lines and private messages that are drawn anew.
    messages: int = 0
    #: Changes of an action by this person: they are what was approved, and stay with their thread.
    edits: int = 0
    #: Lines of the journal that were sealed over words, before words lay beside them.
    lines: int = 0
    #: Texts that went before, with their threads: where they were told is not known any more.
    gone: int = 0
    #: Threads that are kept whose state may hold words of this person.
    threads: int = 0

    def __add__(self, other: Erasure) -> Erasure:
        return Erasure(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Erasures:
    """Erases the words of people."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._store = ground.store

    async def count(self, person: str) -> Erasure:
        """Return what :meth:`erase` would reach and leave now; nothing is changed."""
        (row,) = await self._counted(person)
        return Erasure(**{name: row[name] for name in ("texts", "edits", "lines", "gone", "threads")})

    async def erase(self, person: str, *, actor: str) -> Erasure:
        """Erase every text that this person wrote, and return what was reached and what was left.

        Afterwards no text of theirs has words or salt, and each message that showed some waits in the outbox
        to be drawn anew. What is written meanwhile is erased too, if it comes in time. Runs are not touched:
        what they were answered is their state.
        """
        left = await self.count(person)
        done = Erasure(edits=left.edits, lines=left.lines, gone=left.gone, threads=left.threads)
        while True:
            (rows,) = await self._store.read(Ask("find_texts_of_person", {"person": person, "limit": _PAGE}))
            if not rows:
                return done
            entries = await self._shown(person, rows)
            try:
                await self._store.commit(self._batch(person, rows, entries, actor))
            except Conflict:
                continue  # somebody erases, or lets a thread go, at the same time
            done += Erasure(texts=len(rows), messages=len(entries))

    async def _counted(self, person: str) -> list[Row]:
        (rows,) = await self._store.read(Ask("count_words_of_person", {"person": person}))
        return list(rows)

    def _batch(self, person: str, rows: Sequence[Row], entries: list[str], actor: str) -> Batch:
        line, now = self._ground.new_id("evt"), self._ground.clock()
        erased = (
            Do(
                "erase_text",
                {"text_id": row["text_id"], "person": person, "erased_in": line},
                guard="words are there",
            )
            for row in rows
        )
        redrawn = (Do("redraw_entry", {"entry_id": entry, "now": now}) for entry in entries)
        event = records.put_event(line, "words.erased", now, actor=actor, person=person, count=len(rows))
        return Batch("erase", (*redrawn, *erased, event))

    async def _shown(self, person: str, rows: Sequence[Row]) -> list[str]:
        """Return the entries that show these texts, or are about to."""
        requests = dict.fromkeys(row["request_id"] for row in rows if row["request_id"])
        if not requests:
            return []
        told = await self._store.read(*(Ask("find_told", {"request_id": id_}) for id_ in requests))
        return sorted(row["entry_id"] for found in told for row in found if _shows(row, person))


def _shows(row: Row, person: str) -> bool:
    """Say whether an entry shows reasons of this person, where it landed or while it waits."""
    if row["status"] == "lost" or (row["message"] is None and row["status"] != "pending"):
        return False  # a lost card is ours to change no more
    said = read_json(row["payload"])
    return bool(row["kind"] == "card" or said["what"] == "told" or said.get("by") == person)
