"""Claims runs, keeps their leases, and walks them to their next rest."""

from __future__ import annotations

import asyncio

from . import records
from .callers import Call
from .clock import SECOND
from .errors import LeaseLost, StoreError, UnknownRun, first_leaf
from .executor import NodeFailed
from .ground import Begun, Ground
from .storage import Ask, Batch, Do, Params
from .types import Run
from .walk import Walk


class Advance:
    """Drives claimed runs under their leases."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def claim(self) -> Run | None:
        """Take the oldest queued run, or one whose lease lapsed; at most one worker gets it. None: no run."""
        (found,) = await self._ground.store.read(Ask("find_claimable", {"now": self._ground.clock()}))
        if not found:
            return None
        (rows,) = await self._ground.store.commit(Batch("claim", (Do("claim_run", self._lease()),)))
        return records.read_run(rows[0]) if rows else None

    async def claim_this(self, run_id: str) -> Run | None:
        """Take this run if it is queued or its lease lapsed; None otherwise."""
        (rows,) = await self._ground.store.commit(Batch("claim", (self._ground.claim(run_id),)))
        return records.read_run(rows[0]) if rows else None

    async def get(self, run_id: str) -> Run:
        """Return the run. Raises :class:`UnknownRun`."""
        (rows,) = await self._ground.store.read(Ask("get_run", {"run_id": run_id}))
        if not rows:
            raise UnknownRun(f"there is no run {run_id!r}")
        return records.read_run(rows[0])

    async def drive(self, run: Run, call: Call | None = None, begun: Begun | None = None) -> Run:
        """Take a claimed run step by step to its next pause or its end; return it as it rests then.

        Raises :class:`LeaseLost` when another worker has it, or it was cancelled; what was not committed
        by then never happened. When the caller is cancelled, the run goes back into the queue. What a node
        raised is recorded in the run, and raised only to a ``call``. A run just ``begun`` here is not read
        back.
        """
        walk = Walk(self._ground, run, call or Call(), begun)
        third, keeper = self._ground.lease / SECOND / 3, None
        try:
            async with asyncio.TaskGroup() as group:

                def keep() -> None:
                    nonlocal keeper
                    keeper = group.create_task(self._keep(run, third), name=f"lease of {run.id}")

                # Most walks are over long before: their lease needs no task, only this.
                first = asyncio.get_running_loop().call_later(third, keep)
                try:
                    await walk.to_rest()
                except NodeFailed as failed:
                    if call is not None:
                        raise
                    del failed  # it stands in the run
                finally:
                    first.cancel()
                    if keeper is not None:
                        keeper.cancel()
        except BaseExceptionGroup as failed:
            raise first_leaf(failed) from None
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(run))
            raise
        rested = walk.ledger.rested
        return await self.get(run.id) if rested is None else records.read_run(rested)

    async def _keep(self, run: Run, third: float) -> None:
        """Renew the lease each third of its length; raise LeaseLost, which stops the nodes, if it is gone."""
        while True:
            until = self._ground.clock() + self._ground.lease
            hold = Do("hold_run", {**self._fence(run), "until": until}, guard="lease")
            await self._ground.commit_leased(Batch("hold", (hold,)))
            await asyncio.sleep(third)

    async def _give_back(self, run: Run) -> None:
        try:
            await self._ground.store.commit(Batch("give back", (Do("give_back_run", self._fence(run)),)))
        except StoreError:
            return  # the lease lapses, which gives it back too

    def _lease(self) -> dict[str, str | int | None]:
        now = self._ground.clock()
        return {"owner": self._ground.owner, "until": now + self._ground.lease, "now": now}

    def _fence(self, run: Run) -> Params:
        return {"run_id": run.id, "epoch": run.epoch, "owner": self._ground.owner}


__all__ = ["Advance", "LeaseLost"]
