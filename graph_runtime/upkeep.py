"""Looking after a database: is it sound, how large is it; a copy, the copy put back, the file made small.

Copies, sizes and the like are for SQLite; a server has tools of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from pathlib import Path

from .clock import Clock, NewId, TimeOrderedIds, system_clock
from .restoring import Restored, renew
from .storage import Ask, open_store
from .storage.files import (
    DatabaseSize,
    alone,
    back_up,
    clear,
    copy,
    damage,
    deployment_of,
    path_of,
    put,
    reading,
    size,
    standing,
    vacuum,
)

#: How many broken promises are named.
_MOST = 100


class Upkeep:
    """Looks after the database at an address, beside the processes that use it."""

    def __init__(self, url: str, *, clock: Clock = system_clock, new_id: NewId | None = None) -> None:
        self._url = url
        self._clock = clock
        self._new_id = new_id or TimeOrderedIds(clock)

    async def check(self) -> list[str]:
        """Return what is wrong: damage to the file, and rows that break a promise; nothing when it is sound.

        Every page of a file is looked at. Raises :class:`StoreError` for a database that cannot be opened.
        """
        async with open_store(self._url, migrate=False) as store:
            if self._url.startswith("sqlite:"):
                wrong = await asyncio.to_thread(damage, path_of(self._url))
                if wrong:
                    return wrong
            (rows,) = await store.read(Ask("find_broken", {"limit": _MOST}))
            return [f"{row['promise']}: {row['id']}" for row in rows]

    async def size(self) -> DatabaseSize:
        """Return how large the file is, and what is in it. Raises :class:`StoreError`."""
        return await asyncio.to_thread(size, path_of(self._url))

    async def vacuum(self) -> tuple[int, int]:
        """Write the file anew without what is free in it; return its size before and after, in bytes.

        It needs as much room on the disk once more, and nobody else on the database: raises
        :class:`StoreUnavailable` otherwise, and the file is as it was.
        """
        return await asyncio.to_thread(vacuum, path_of(self._url))

    async def back_up(self, file: Path, *, replace: bool = False) -> int:
        """Write a verified copy of this moment to ``file`` and return its size in bytes; everybody goes on.

        The copy is the owner's alone, and is there whole or not at all. An earlier copy is given up only
        with ``replace``, once the new one is verified. Raises :class:`StoreUnavailable`.
        """
        return await asyncio.to_thread(back_up, path_of(self._url), file, replace=replace)

    async def restore(self, file: Path, *, actor: str | None = None) -> Restored:
        """Put a copy in the place of the database, and return what that has changed.

        It is another database then: cards of before are refused, what waits is asked anew, and runs that were
        under way since the copy was made need an operator. All of that has happened, or the database is as it
        was. One that is damaged so that it is no database any more is kept beside it, as ``.damaged``.

        Raises :class:`StoreUnavailable` while another process uses the database, for a copy that is damaged
        or none of ours, and for a disk without room for two more of them; :class:`SchemaMismatch` for a copy
        of a newer program.
        """
        path = path_of(self._url)
        aside = path.with_name(f"{path.name}.restoring")
        with contextlib.ExitStack() as stack:
            place = await asyncio.to_thread(stack.enter_context, alone(path, to_replace=True))
            stack.callback(clear, aside)
            await asyncio.to_thread(_take, file, aside)
            was = deployment_of(place)
            async with open_store(f"sqlite:///{aside}") as store:
                restored = await renew(
                    store,
                    partial(standing, place) if was == store.deployment else None,
                    clock=self._clock,
                    new_id=self._new_id,
                    actor=actor,
                )
            await asyncio.to_thread(put, aside, place)
        return restored

    async def renew(self, *, actor: str | None = None) -> Restored:
        """Do to a database that was put back by other means what :meth:`restore` does, and return it.

        For a snapshot of a disk, or what the tools of a server have put back. Nothing is known then of what
        it replaced: every run that was under way in it needs an operator. It may be done again.
        """
        async with open_store(self._url) as store:
            return await renew(store, None, clock=self._clock, new_id=self._new_id, actor=actor)


def _take(file: Path, aside: Path) -> None:
    clear(aside)
    with reading(file, mode="ro") as copied:
        copy(copied, aside)
