"""Seals the journal while the bot works, and notes its head where nobody who changes the database comes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import structlog
from aiohttp import ClientError, ClientSession

from graph_runtime import Bell, Head, Journal, JournalError, Store, StoreError, keep_doing, system_clock

from .anchors import write_anchor
from .config import JournalKeys

_log = structlog.get_logger("signoff.sealer")
#: How often the head is noted elsewhere, at most.
ANCHOR_SECONDS = 60.0


def open_sealer(said: JournalKeys, store: Store, session: ClientSession) -> Sealer:
    """Return what seals the journal by these settings: nothing does without a key."""
    if not said.keys:
        return Sealer(None, None)
    anchor: FileAnchor | WebAnchor | None = None
    if said.anchor:
        anchor = (
            WebAnchor(said.anchor, session)
            if said.anchor.startswith("https://")
            else FileAnchor(Path(said.anchor))
        )
    return Sealer(Journal(store, said.secrets, key=said.current, clock=system_clock), anchor)


class FileAnchor:
    """Heads as lines at the end of a file: on another disk, or one that can only be appended to."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def note(self, head: Head) -> None:
        """Add a line with the head, on disk when this returns. Raises ``OSError``."""
        await asyncio.to_thread(self._append, write_anchor(head))

    def _append(self, line: str) -> None:
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as file:
            # A line of its own, also after one that a full disk has cut off.
            file.write(f"\n{line}\n")
            file.flush()
            os.fsync(file.fileno())


class WebAnchor:
    """Heads posted to an address, as JSON."""

    def __init__(self, url: str, session: ClientSession) -> None:
        self._url = url
        self._session = session

    async def note(self, head: Head) -> None:
        """Post the head. Raises ``OSError`` when it was not taken."""
        try:
            async with self._session.post(
                self._url,
                data=write_anchor(head),
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
            ) as answer:
                if answer.status >= 300:
                    raise OSError(f"the anchor answered {answer.status}")
        except (ClientError, TimeoutError) as error:
            raise OSError(f"the anchor did not answer: {type(error).__name__}") from error


class Sealer:
    """Seals within a second of each line; a head that could not be noted is noted with the next."""

    def __init__(self, journal: Journal | None, anchor: FileAnchor | WebAnchor | None) -> None:
        self._journal = journal
        self._anchor = anchor
        self._unnoted: Head | None = None
        self._note_at = 0.0

    async def work(self, stop: asyncio.Event) -> None:
        """Seal until ``stop`` is set, and note the head beside it: an anchor that hangs holds nothing up."""
        if self._journal is None:
            _log.warning("journal.unsealed", why="there is no journal.keys in the settings")
            await stop.wait()
            return
        async with asyncio.TaskGroup() as group:
            noting = group.create_task(keep_doing(self._note_in_time, bell=Bell(), stop=stop), name="anchor")
            await keep_doing(self._seal, bell=Bell(), stop=stop)
            noting.cancel()

    async def finish(self) -> None:
        """Seal and note what there is to the end; what cannot be is left to the next start."""
        try:
            while self._journal is not None and await self._seal():
                pass
        except StoreError as error:
            _log.warning("journal.unsealed", why=str(error))
        await self._note()

    async def _seal(self) -> bool:
        assert self._journal is not None
        try:
            head = await self._journal.seal()
        except JournalError as error:
            # The bot goes on: what people decide is not to be held up by whoever did this.
            _log.error("journal.broken", why=str(error))
            return False
        self._unnoted = head or self._unnoted
        return head is not None

    async def _note_in_time(self) -> bool:
        if asyncio.get_running_loop().time() >= self._note_at:
            await self._note()
        return False

    async def _note(self) -> None:
        if self._anchor is None or self._unnoted is None:
            return
        self._note_at = asyncio.get_running_loop().time() + ANCHOR_SECONDS
        head = self._unnoted
        try:
            await self._anchor.note(head)
        except OSError as error:
            _log.error("anchor.failed", error=str(error))
        else:
            self._unnoted = None if self._unnoted is head else self._unnoted
