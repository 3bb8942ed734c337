"""Which process moves the write-ahead log into the file: one at a time, by a lock that ends with its process.

SQLite lets whoever commits do that once the log has grown; before 3.51.3 two that did so at once could lose
a part of it. A lock of the operating system needs no renewal and no clock: it is free when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

#: How many pages the log holds before they are moved into the file, which costs two flushes and takes longer
#: than a commit: 16 MiB, so that of the commits of a busy bot one in hundreds meets it.
PAGES = 4_000
#: Past this many bytes the log is emptied as soon as no reader needs it; writers wait for that moment.
LARGEST_WAL = 32 * 1024 * 1024
#: To ask for the size takes longer than a statement: a log that is far from large is asked so seldom.
_SELDOM = 16


class Checkpointer:
    """The lock beside one database file. To lock the file itself would take SQLite's own locks from it."""

    def __init__(self, path: str) -> None:
        self._wal = Path(f"{path}-wal")
        self._file = os.open(f"{path}-checkpoint", os.O_CREAT | os.O_RDWR, 0o600)
        self._unasked = 0

    def take(self) -> bool:
        """Take the lock if nobody has it, and say whether it is held now."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let another process have the lock."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def is_large(self) -> bool:
        """Say whether the log is past :data:`LARGEST_WAL`, as far as was asked: see :data:`_SELDOM`."""
        if self._unasked:
            self._unasked -= 1
            return False
        try:
            size = self._wal.stat().st_size
        except FileNotFoundError:
            size = 0
        if size <= LARGEST_WAL * 3 // 4:
            self._unasked = _SELDOM
        return size > LARGEST_WAL

    def close(self) -> None:
        """Let go of the lock for good."""
        os.close(self._file)
