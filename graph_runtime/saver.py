"""AsyncSqliteSaver and InMemorySaver: handles on a store, constructed as LangGraph's are."""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from . import records
from .clock import SECOND, TimeOrderedIds
from .config import thread_of
from .errors import Conflict, ThreadBusy
from .retention import drop_thread
from .storage import Ask, Batch, Do, Params, Row, Store, keep_memory, open_store
from .types import Question
from .values import Codec

if TYPE_CHECKING:
    from .runtime import Compiled, Runtime


#: Sorts after every checkpoint id.
_NEWEST = "~"
_PAGE = 100
#: Seconds.
LEASE = 30.0


class CheckpointTuple(NamedTuple):
    """A checkpoint as a saver shows it, with LangGraph's field names."""

    config: Mapping[str, Any]
    #: ``id``, ``ts`` and ``channel_values``.
    checkpoint: Mapping[str, Any]
    metadata: Mapping[str, Any]
    parent_config: Mapping[str, Any] | None = None
    #: (task id, channel, value) of what its tasks have returned.
    pending_writes: Sequence[tuple[str, str, Any]] | None = None


class AsyncSqliteSaver:
    """Where a compiled graph keeps its threads. What else a LangGraph saver has is in docs/differences.md."""

    def __init__(self, store: Store, *, lease: float = LEASE) -> None:
        """Keep threads in ``store``, as :func:`open_store` gives it.

        ``lease`` is for how many seconds a call whose process was killed still counts as under way. Raises
        TypeError for a connection, and ValueError for a lease of less than a second.
        """
        if not hasattr(store, "read"):
            raise TypeError(
                f"no saver was made: a {type(store).__name__} of {type(store).__module__} is no store; write "
                "async with AsyncSqliteSaver.from_conn_string(path) as saver"
            )
        if not 1 <= lease < math.inf:
            raise ValueError(f"no saver was made: a lease of {lease!r} s is not kept; it is a second or more")
        self.store = store
        self._lease = lease
        self._runtimes: weakref.WeakKeyDictionary[Compiled, Runtime] = weakref.WeakKeyDictionary()

    @classmethod
    @asynccontextmanager
    async def from_conn_string(
        cls, conn_string: str, *, lease: float = LEASE
    ) -> AsyncIterator[AsyncSqliteSaver]:
        """Open the database at a path, or ``:memory:``, and close it at the end of the block.

        Raises :class:`SchemaMismatch` for a file that another program has made, LangGraph's own included.
        """
        async with open_store(f"sqlite:///{conn_string}") as store:
            yield cls(store, lease=lease)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Self]:
        """Yield this saver with its store open, as it is within ``from_conn_string``."""
        yield self

    def runtime_of(self, graph: Compiled) -> Runtime:
        """Return the runtime that drives this graph over this store; one for as long as the graph lives."""
        from .runtime import Runtime  # noqa: PLC0415 - the saver is below the runtime that it keeps

        known = self._runtimes.get(graph)
        if known is None:
            lease = round(self._lease * SECOND)
            known = self._runtimes[graph] = Runtime(self.store, [graph], lease=lease)
        return known

    async def aget_tuple(self, config: Mapping[str, Any]) -> CheckpointTuple | None:
        """Return the checkpoint that the config names, else the thread's newest; None when there is none."""
        place = config["configurable"]
        wanted = place.get("checkpoint_id")
        if wanted is None:
            async for found in self.alist(config, limit=1):
                return found
            return None
        async with self.opened() as saver:
            (rows,) = await saver.store.read(Ask("get_checkpoint", {"checkpoint_id": wanted}))
            here = (thread_of(place), place.get("checkpoint_ns", ""))
            if not rows or (rows[0]["thread_id"], rows[0]["ns"]) != here:
                return None
            return await saver._tuple(rows[0])  # noqa: SLF001 - our own, opened

    async def alist(
        self,
        config: Mapping[str, Any] | None,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield the checkpoints of the config's thread and namespace, newest first; for None, all there are.

        Values of an author's own classes are read by the graphs that this saver was compiled into.
        """
        place = None if config is None else config["configurable"]
        upto = _NEWEST if before is None else before["configurable"]["checkpoint_id"]
        left = limit
        async with self.opened() as saver:
            while left is None or left > 0:
                ask = Ask("find_all_checkpoints", {"before": upto, "limit": _PAGE})
                if place is not None:
                    of_thread: Params = {"thread_id": thread_of(place), "ns": place.get("checkpoint_ns", "")}
                    ask = Ask("find_thread_checkpoints", {**of_thread, **ask.params})
                (rows,) = await saver.store.read(ask)
                for row in rows:
                    found = await saver._tuple(row)  # noqa: SLF001 - our own, opened
                    if any(found.metadata.get(key) != value for key, value in (filter or {}).items()):
                        continue
                    yield found
                    left = None if left is None else left - 1
                    if left == 0:
                        return
                if len(rows) < _PAGE:
                    return
                upto = rows[-1]["checkpoint_id"]

    async def alist_pending(
        self, config: Mapping[str, Any] | None = None, *, limit: int | None = None
    ) -> AsyncIterator[Question]:
        """Yield the questions that wait for an answer, the oldest first; of the config's thread when given.

        What is asked or answered while this runs may or may not be among them. Values of an author's own
        classes are read by the graphs that this saver was compiled into.
        """
        thread = "" if config is None else thread_of(config["configurable"])
        at, id_, left = 0, "", limit
        async with self.opened() as saver:
            while left is None or left > 0:
                size = _PAGE if left is None else min(left, _PAGE)
                page: Params = {"thread_id": thread, "asked_at": at, "interrupt_id": id_, "limit": size}
                (rows,) = await saver.store.read(Ask("find_open_questions", page))
                for row in rows:
                    yield records.read_question(self._codec(row["graph"]), row)
                if len(rows) < size:
                    return
                at, id_ = rows[-1]["asked_at"], rows[-1]["interrupt_id"]
                left = None if left is None else left - size

    async def adelete_thread(self, thread_id: str) -> None:
        """Forget the thread: its runs, checkpoints, questions and requests. The journal keeps what happened.

        An unknown thread is left as it is. Raises :class:`ThreadBusy` while a run of it is alive: what it
        asks may still be answered, so cancel it first.
        """
        async with self.opened() as saver:
            thread_id = thread_of({"thread_id": thread_id})
            one: Params = {"thread_id": thread_id}
            (known,) = await saver.store.read(Ask("get_thread", one))
            if not known:
                return
            clock = saver.store.clock
            line = TimeOrderedIds(clock)("evt")
            deleted = records.put_event(line, "thread.deleted", clock(), thread_id=thread_id)
            writes = (
                Do("lock_thread", one),
                Do("hold_thread", one, guard="thread idle"),
                *drop_thread(thread_id, told_in=line),
                deleted,
            )
            try:
                await saver.store.commit(Batch("delete", writes))
            except Conflict as conflict:
                raise ThreadBusy(f"thread {thread_id!r} was not deleted: a run of it is alive") from conflict

    async def _tuple(self, row: Row) -> CheckpointTuple:
        one: Params = {"checkpoint_id": row["checkpoint_id"]}
        runs, values, writes = await self.store.read(
            Ask("get_run", {"run_id": row["run_id"]}), Ask("get_values", one), Ask("get_writes", one)
        )
        codec = self._codec(runs[0]["graph"])
        checkpoint = records.read_checkpoint(codec, row, values)
        tasks = {task.id: task for task in checkpoint.due}
        results = [
            records.read_result(codec, tasks[write["task_id"]], write["value"])
            for write in writes
            if write["task_id"] in tasks
        ]
        place = {"thread_id": checkpoint.thread_id, "checkpoint_ns": checkpoint.ns}
        parent = checkpoint.parent_id
        at = datetime.fromtimestamp(checkpoint.created_at / SECOND, UTC).isoformat()
        return CheckpointTuple(
            config={"configurable": {**place, "checkpoint_id": checkpoint.id}},
            checkpoint={"id": checkpoint.id, "ts": at, "channel_values": dict(checkpoint.values)},
            metadata={
                **checkpoint.metadata,
                "source": checkpoint.source,
                "step": checkpoint.step,
                "parents": {},
            },
            parent_config=None if parent is None else {"configurable": {**place, "checkpoint_id": parent}},
            pending_writes=[(r.task.id, name, value) for r in results for name, value in r.updates],
        )

    def _codec(self, graph: str) -> Codec:
        known = [graph.plan for graph in self._runtimes]
        return next((plan.codec for plan in known if plan.name == graph), Codec())


class InMemorySaver(AsyncSqliteSaver):
    """Keeps threads in memory for as long as it lives: for trying things out, and for tests.

    The calls that use it at the same moment share a connection, which the last of them closes.
    """

    def __init__(self, *, lease: float = LEASE) -> None:
        url, let_go = keep_memory()
        weakref.finalize(self, let_go)
        super().__init__(open_store(url), lease=lease)
        self._users = 0
        self._door = asyncio.Lock()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Self]:
        """Yield this saver with its store open."""
        if self._users == 0 and not self._door.locked():
            self._door = asyncio.Lock()  # the loop may be another one than the last time
        async with self._door:
            if self._users == 0:
                await self.store.__aenter__()
            self._users += 1
        try:
            yield self
        finally:
            async with self._door:
                self._users -= 1
                if self._users == 0:
                    await self.store.__aexit__(None, None, None)


#: What LangGraph called it before.
MemorySaver = InMemorySaver
