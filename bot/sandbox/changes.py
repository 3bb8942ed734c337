"""One counter that moves whenever something anybody can see has changed, and a way to wait for it."""

from __future__ import annotations

import asyncio


class Changes:
    """Counts changes of the sandbox; waiters are woken at each one. Belongs to one event loop."""

    def __init__(self) -> None:
        self.version = 0
        self._moved = asyncio.Event()

    def touch(self) -> None:
        """Afterwards `version` is one higher and everybody waiting is awake."""
        self.version += 1
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def wait(self, seen: int) -> int:
        """The version, as soon as it differs from `seen`."""
        while self.version == seen:
            await self._moved.wait()
        return self.version
