"""The journal's seals: who changes, removes, adds or moves a line afterwards is found out, line by line.

Lines are committed with the fact they tell of, and sealed within a second after it, in blocks: a chain in
every commit would be one lock for all. A block's seal is an HMAC-SHA256 (RFC 2104) over the digests of its
lines and the seal before it. Whoever holds no key cannot make one; whoever cuts off the end is found out by a
head that was noted elsewhere (an anchor); so is whoever takes blocks away to have their lines sealed anew.
What is not sealed yet, a second's worth, is not protected, nor is what no anchor has noted yet.

What people said lies beside the lines (texts.py): a line holds its digest, so words that were changed are
found out too, and words that were erased, by a line that says so, break nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from . import records, texts
from .clock import SECOND, Clock
from .errors import Conflict, JournalError
from .plainjson import read_json, write_json
from .storage import Ask, Batch, Do, Row, Store
from .types import Event

#: Lines of one block.
LONGEST_BLOCK = 500
#: A line that is sealed after others that are so much younger was put there later: no commit waits that long.
#: No line counts as younger than the seals after it: a clock that was ahead accuses nobody.
LATE = 600 * SECOND
#: What the first block follows.
_NOTHING = "0" * 64
#: Blocks read at a time.
_PAGE = 20

Fault = Literal["edited", "deleted", "inserted", "block", "cut off", "key", "words"]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the sealed journal at some moment; noted elsewhere, it is an anchor."""

    block: int
    seal: str
    sealed_at: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place at which the journal is not what was sealed."""

    fault: Fault
    block: int
    #: The line, where one can be named.
    event_id: str | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found: all in order when ``broken`` is None."""

    head: Head | None
    lines: int
    #: Lines that are not sealed yet.
    unsealed: int
    broken: Broken | None


class Journal:
    """Seals the lines of a database's journal, and looks whether they are what was sealed.

    ``keys`` are secrets by their id, all that were ever sealed with; ``key`` is the one to seal with.
    """

    def __init__(self, store: Store, keys: Mapping[str, bytes], *, key: str, clock: Clock) -> None:
        if key not in keys:
            raise JournalError(f"nothing is sealed: there is no journal key {key!r}")
        self._store = store
        self._keys = dict(keys)
        self._key = key
        self._clock = clock
        #: The last head that this process has sealed.
        self._last: Head | None = None

    async def seal(self) -> Head | None:
        """Seal the oldest lines that are not, at most :data:`LONGEST_BLOCK`; return the new head.

        None when there are none, or another process was first: the number of a block is taken once.

        Raises :class:`JournalError`, having sealed nothing, when the block that it sealed last is not there
        any more: whoever took it away wants the rest to be sealed anew.
        """
        last = self._last
        rows, blocks, own = await self._store.read(
            Ask("find_unsealed", {"limit": LONGEST_BLOCK}),
            Ask("get_last_block"),
            Ask("find_blocks", {"after": last.block - 1 if last else 0, "limit": 1}),
        )
        if last is not None and (not own or _head(own[0]) != last):
            raise JournalError(
                f"nothing was sealed: block {last.block}, which was sealed here, is gone or another one; "
                "look with signoff audit verify"
            )
        if not rows:
            return None
        number, before = (blocks[0]["block"] + 1, blocks[0]["seal"]) if blocks else (1, _NOTHING)
        now = self._clock()
        lines = write_json([[row["event_id"], digest_of(row)] for row in rows])
        seal = _seal(self._keys[self._key], number, self._key, before, now, lines)
        put = {"block": number, "key_id": self._key, "lines": lines, "seal": seal, "now": now}
        marks = (
            Do("seal_event", {"event_id": row["event_id"], "block": number}, guard="line unsealed")
            for row in rows
        )
        try:
            await self._store.commit(Batch("seal", (Do("put_block", put, guard="block is new"), *marks)))
        except Conflict:
            return None
        self._last = Head(number, seal, now)
        return self._last

    async def head(self) -> Head | None:
        """Return the end of what is sealed; None before the first block."""
        (blocks,) = await self._store.read(Ask("get_last_block"))
        return _head(blocks[0]) if blocks else None

    async def verify(self, anchors: Iterable[Head] = ()) -> Verified:
        """Look at every sealed line, and at heads that were noted elsewhere; say where it breaks first.

        Nothing is written. Lines that are sealed meanwhile may be left out.
        """
        noted: dict[int, set[Head]] = {}
        for anchor in anchors:
            noted.setdefault(anchor.block, set()).add(anchor)
        walk = _Verification(self._keys, noted)
        while True:
            # The end is looked at in the snapshot in which no block follows: others go on sealing.
            after = {"after": walk.number}
            blocks, strays, unsealed, count = await self._store.read(
                Ask("find_blocks", {**after, "limit": _PAGE}),
                Ask("find_strays", after),
                Ask("find_unsealed", {"limit": 1}),
                Ask("count_unsealed"),
            )
            if not blocks or walk.broken is not None:
                break
            span = {"after": walk.number, "until": max(row["block"] for row in blocks)}
            rows, said = await self._store.read(
                Ask("find_sealed_events", span), Ask("find_texts_of_blocks", span)
            )
            walk.look_at(blocks, rows, said)
        if walk.broken is None:
            walk.look_at_end(strays, unsealed, self._clock())
        if walk.broken is None:
            walk.look_at_erasures(*await self._store.read(Ask("find_untold_erasures"), Ask("find_erasures")))
        return Verified(walk.head, walk.lines, int(count[0]["count"]), walk.broken)


async def lines_of(store: Store, *, after: str = "") -> AsyncIterator[tuple[Event, int | None]]:
    """Yield every line of the journal past ``after`` in the order of their ids, with the block it is in."""
    rows: Sequence[Row] = [{"event_id": after}]
    while rows:
        (rows,) = await store.read(
            Ask("find_events_after", {"event_id": rows[-1]["event_id"], "limit": LONGEST_BLOCK})
        )
        for row in rows:
            yield records.read_event(row), row["block"]


def digest_of(row: Row) -> str:
    """Return the SHA-256 over a line's fields as they are stored, as JSON (RFC 8785), in hex."""
    names = ("event_id", "at", "kind", "actor", "thread_id", "run_id", "request_id", "data")
    fields = [row[name] for name in names]
    try:
        written = write_json(fields)
    except TypeError:  # no text, but bytes that somebody put there by hand
        written = repr(fields)
    return hashlib.sha256(written.encode()).hexdigest()


def _seal(key: bytes, number: int, key_id: str, before: str, at: int, lines: str) -> str:
    sealed = write_json([number, key_id, before, at, lines]).encode()
    return hmac.new(key, sealed, hashlib.sha256).hexdigest()


def _head(row: Row) -> Head:
    return Head(row["block"], row["seal"], row["sealed_at"])


class _Verification:
    """Walks over the blocks in their order until something is not as it was sealed."""

    def __init__(self, keys: Mapping[str, bytes], noted: Mapping[int, Collection[Head]]) -> None:
        self._keys = keys
        self._noted = noted
        self.number = 0
        self.lines = 0
        self.head: Head | None = None
        self.broken: Broken | None = None
        self._youngest = 0
        #: What was said with the lines that are looked at, by their ids.
        self._said: dict[str, Row] = {}

    def look_at(self, blocks: Sequence[Row], rows: Sequence[Row], said: Sequence[Row]) -> None:
        self._said = {row["text_id"]: row for row in said}
        by_block: dict[int, dict[str, Row]] = {}
        for row in rows:
            by_block.setdefault(row["block"], {})[row["event_id"]] = row
        for block in blocks:
            self.broken = self._look_at_block(block, by_block.pop(block["block"], {}))
            if self.broken is not None:
                return
        for number, strays in sorted(by_block.items()):
            self._stray(next(iter(strays)), number)

    def look_at_end(self, strays: Sequence[Row], unsealed: Sequence[Row], now: int) -> None:
        """Look for lines of blocks that are gone, for heads that are, and for a line put before the end."""
        for stray in strays[:1]:
            self._stray(stray["event_id"], stray["block"])
        beyond = [number for number in self._noted if number > self.number]
        if self.broken is None and beyond:
            self.broken = Broken(
                "cut off",
                min(beyond),
                None,
                f"the journal ends with block {self.number}, and block {min(beyond)} was noted elsewhere: "
                "the end was cut off, or an older copy was put in its place",
            )
        self._set_clock(now)
        for row in unsealed:
            if self.broken is None and row["at"] < self._youngest - LATE:
                self.broken = _inserted(row["event_id"], self.number)

    def _set_clock(self, at: int) -> None:
        """Let nothing that was sealed before be younger than ``at``, when the next lines were sealed.

        A clock that was ahead, and is right again, has left lines and seals of a time that had not come yet:
        what follows is no later for that. Who holds no key cannot say so, because a seal covers its time.
        """
        self._youngest = min(self._youngest, at)

    def look_at_erasures(self, untold: Sequence[Row], erasures: Sequence[Row]) -> None:
        """Look for words that went without a line that says so, and for lines that say another number."""
        for row in untold:
            self._words(row["text_id"], f"what was said with line {row['text_id']} went, and no line says so")
        for row in erasures:
            told = read_json(row["data"]).get("count")
            if told != row["count"]:
                self._words(
                    row["event_id"],
                    f"line {row['event_id']} says that {told} texts were erased, and {row['count']} are",
                )

    def _words(self, event_id: str, sentence: str) -> None:
        self.broken = self.broken or Broken("words", self.number, event_id, sentence)

    def _stray(self, event_id: str, number: int) -> None:
        self.broken = self.broken or Broken(
            "block",
            number,
            event_id,
            f"line {event_id} stands in block {number}, and there is no such block: it was deleted",
        )

    def _look_at_block(self, block: Row, rows: Mapping[str, Row]) -> Broken | None:
        number, key = block["block"], self._keys.get(block["key_id"])
        if number != self.number + 1:
            return Broken("block", self.number + 1, None, f"block {self.number + 1} is not there any more")
        if key is None:
            return Broken(
                "key",
                number,
                None,
                f"block {number} was sealed with key {block['key_id']!r}, which was not given: it cannot be "
                "verified",
            )
        before = self.head.seal if self.head else _NOTHING
        seal = _seal(key, number, block["key_id"], before, block["sealed_at"], block["lines"])
        if not hmac.compare_digest(seal, block["seal"]):
            return Broken(
                "block",
                number,
                None,
                f"the seal of block {number} does not fit: its list of lines was changed, or it was sealed "
                "with another key",
            )
        # Heads are no secrets; every part of one was sealed.
        if any(noted != _head(block) for noted in self._noted.get(number, ())):
            return Broken("block", number, None, f"block {number} is another one than was noted elsewhere")
        self._set_clock(block["sealed_at"])
        broken = self._look_at_lines(number, read_json(block["lines"]), rows)
        self.number, self.head = number, _head(block)
        return broken

    def _look_at_lines(
        self, number: int, lines: Sequence[tuple[str, str]], rows: Mapping[str, Row]
    ) -> Broken | None:
        youngest = self._youngest
        for event_id, digest in lines:
            row = rows.get(event_id)
            if row is None:
                said = f"line {event_id} was in block {number}, and was deleted or moved"
                return Broken("deleted", number, event_id, said)
            if digest_of(row) != digest:
                return Broken(
                    "edited",
                    number,
                    event_id,
                    f"line {event_id} of block {number} was changed after it was sealed",
                )
            if row["at"] < youngest - LATE:
                return _inserted(event_id, number)
            words = read_json(row["data"]).get(texts.WORDS) if f'"{texts.WORDS}"' in row["data"] else None
            fault = texts.fault_of(event_id, words, self._said.get(event_id)) if words else None
            if fault is not None:
                return Broken("words", number, event_id, fault)
            self._youngest = max(self._youngest, row["at"])
            self.lines += 1
        more = sorted(rows.keys() - {event_id for event_id, _ in lines})
        return _inserted(more[0], number) if more else None


def _inserted(event_id: str, number: int) -> Broken:
    return Broken(
        "inserted",
        number,
        event_id,
        f"line {event_id} was put in later: at block {number} there was no such line of that time",
    )
