"""What one walk writes, in the order in which it happened, and when that goes to disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .clock import SECOND
from .errors import Conflict, LeaseLost, StoreError
from .ground import Ground
from .plainjson import read_json
from .storage import Batch, Do, Row
from .types import CheckpointId

#: Lines of the journal that were held back longer are told at the time of their commit.
_HELD_LONG = 60 * SECOND
Durability = Literal["sync", "async", "exit"]
#: Seconds for which a step of a call with durability "async" may wait for the next, to share its flush.
LINGER = 0.005


@dataclass(slots=True)
class _Stand:
    """Where one graph of the walk stood when the call began, and its checkpoints of this call on disk."""

    before: CheckpointId | None
    mine: list[str]


class Ledger:
    """Takes the batches of a walk and commits them when its durability says so.

    ``sync``: at once. ``async``: a moment later, while the nodes run ahead; what came about meanwhile goes
    with it. ``exit``: when the run rests,
    and then each graph has only its last checkpoint. After a barrier all is on disk, in each of them. Batches
    that wait together are written as one, so that none is there without those before it.
    """

    def __init__(self, ground: Ground, durability: Durability, hold: Callable[[], Do]) -> None:
        self._ground = ground
        self._durability = durability
        self._hold = hold
        self._held: list[Do] = []
        self._name = ""
        self._writer: asyncio.Task[Any] | None = None
        #: Set when somebody waits for the disk.
        self._wanted = asyncio.Event()
        self._failed: Exception | None = None
        self._stands: dict[str, _Stand] = {}
        #: An error of the database that a node may have caught; the walk still ends with it.
        self.broken: StoreError | None = None
        #: The run's row as the write left it with which the walk came to its rest.
        self.rested: Row | None = None

    def begins(self, writes: Sequence[Do]) -> None:
        """Note what must be written before anything else."""
        self._held += writes

    def stands(self, ns: str, before: CheckpointId | None, mine: Sequence[str] = ()) -> None:
        """Note where a graph stood before this call, and which checkpoints this call has stored since."""
        self._stands[ns] = _Stand(before, list(mine))

    def knows(self, ns: str) -> bool:
        """Say whether a graph of that namespace has moved in this walk."""
        return ns in self._stands

    async def commit(
        self, name: str, writes: Sequence[Do], *, at_once: bool = False, beside: bool = False
    ) -> None:
        """Commit now, or let the nodes run ahead of the disk when the caller wants that.

        What is written ``beside`` running nodes goes on when they are cancelled, and the next barrier waits
        for it: whoever then looks where the run stands sees it. What else comes at its moment goes along in
        one batch.

        Raises :class:`LeaseLost` or :class:`StoreUnavailable`, here or at the next barrier.
        """
        self._held += writes
        self._name = name
        alone = not beside and not self._writing and len(self._held) == len(writes)
        if self._durability == "sync" and alone:
            # Nothing else waits: it needs no writer of its own.
            self._held = []
            await self.write(Batch(name, tuple(writes)))
        elif self._durability == "sync" or at_once:
            await self._written()
        elif self._durability == "async":
            self._write_on()
            await asyncio.sleep(0)

    async def barrier(self) -> None:
        """Return when everything before this moment is on disk."""
        if self._held and self._durability == "exit":
            # The lease as it was when these were made may be over by now.
            self._held.append(self._hold())
        await self._written()

    async def attempt(self, name: str, writes: Sequence[Do]) -> bool:
        """Commit this after all that came before it, unless a guard of its own fails; say whether it was.

        It is a batch of its own: nothing else may be undone with it.
        """
        await self.barrier()
        self._writer = writing = asyncio.create_task(
            self._write_alone(Batch(name, tuple(writes))), name="ledger"
        )
        done = await asyncio.shield(writing)
        if self._failed is not None:
            raise self._failed
        if self._held and self._durability == "async":
            self._write_on()
        return done

    async def write(self, batch: Batch) -> None:
        """Commit a batch past the durability."""
        try:
            returned = await self._ground.commit_leased(batch)
        except StoreError as error:
            self.broken = error
            raise
        for rows in returned:
            if rows:
                self.rested = rows[0]

    def forget_refused(self) -> None:
        """Give up what the store did not take, and all that came after it: the end can be written then."""
        if self._failed is not None and self.broken is None:
            self._held, self._failed = [], None

    async def _written(self) -> None:
        # Whoever wakes late must not ask for another writing when there is nothing more to write: two that
        # wait would wake each other with empty ones for ever.
        while self._failed is None and (self._held or self._writing):
            self._wanted.set()
            # Several may wait for the same writing, and a cancel of one must not stop it for the others.
            await asyncio.shield(self._write_on())
        if self._failed is not None:
            raise self._failed

    @property
    def _writing(self) -> bool:
        return self._writer is not None and not self._writer.done()

    def _write_on(self) -> asyncio.Task[Any]:
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_held(), name="ledger")
        return self._writer

    async def _write_alone(self, batch: Batch) -> bool:
        try:
            await self._ground.commit_leased(batch)
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            if isinstance(error, Conflict) and not isinstance(error, LeaseLost):
                return False
            self.broken = error if isinstance(error, StoreError) else self.broken
            self._failed = error
        return True

    async def _write_held(self) -> None:
        while self._held and self._failed is None:
            if self._durability == "async" and not self._wanted.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LINGER):
                        await self._wanted.wait()
            self._wanted.clear()
            held, self._held = self._held, []
            if self._durability == "exit":
                held = self._last_of_each(held)
            try:
                await self.write(Batch(self._name, _fenced_once(self._told_now(held))))
            except Exception as error:  # noqa: BLE001 - whoever waits is told; nothing may follow what is missing
                self._failed = error

    def _told_now(self, held: Sequence[Do]) -> Sequence[Do]:
        """Return the writes with the lines of the journal that were held back long told at this moment.

        A line that comes to the journal long after its time would look as if somebody had put it there.
        """
        now = self._ground.clock()
        return [
            do._replace(params={**do.params, "now": now})
            if do.query == "put_event" and now - int(str(do.params["now"])) > _HELD_LONG
            else do
            for do in held
        ]

    def _last_of_each(self, held: Sequence[Do]) -> list[Do]:
        """Return the writes with only the last checkpoint of each graph, after the one before the call."""
        last = {str(do.params["ns"]): do for do in held if do.query == "put_checkpoint"}
        kept = {do.params["checkpoint_id"] for do in last.values()}
        overtaken = {do.params["checkpoint_id"] for do in held if do.query == "put_checkpoint"} - kept
        needed = {(id_, name) for do in last.values() for name, id_ in _versions(do).items()}
        writes: list[Do] = []
        for do in held:
            id_ = do.params.get("checkpoint_id")
            if id_ in overtaken and do.query in {"put_checkpoint", "put_write"}:
                continue
            if id_ in overtaken and do.query == "put_value" and (id_, do.params["channel"]) not in needed:
                continue
            if do.query == "put_checkpoint":
                before = self._stands[str(do.params["ns"])].before
                do = do._replace(params={**do.params, "parent_id": before})  # noqa: PLW2901
            writes.append(do)
        for ns, stand in self._stands.items():
            kept_id = str(last[ns].params["checkpoint_id"]) if ns in last else (stand.mine or [""])[-1]
            overtaken_on_disk = [id_ for id_ in stand.mine if id_ != kept_id]
            for id_ in overtaken_on_disk:
                writes.append(Do("drop_values", {"checkpoint_id": id_, "kept": kept_id}))
                writes.append(Do("drop_writes", {"checkpoint_id": id_}))
                writes.append(Do("drop_checkpoint", {"checkpoint_id": id_}))
            if overtaken_on_disk:
                writes.append(Do("follow_checkpoint", {"checkpoint_id": kept_id, "parent_id": stand.before}))
            stand.mine = [kept_id] if ns in last or stand.mine else []
        return writes


def _fenced_once(held: Sequence[Do]) -> tuple[Do, ...]:
    """Return the writes with one fence, the last of them where the first stood: it holds for the batch."""
    fences = [at for at, do in enumerate(held) if do.query == "hold_run"]
    if len(fences) < 2:
        return tuple(held)
    first, last = fences[0], fences[-1]
    rest = (do for do in held[first:] if do.query != "hold_run")
    return (*held[:first], held[last], *rest)


def _versions(put_checkpoint: Do) -> dict[str, Any]:
    return dict(read_json(str(put_checkpoint.params["versions"])))
