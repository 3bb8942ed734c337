"""A connection of no store's: to look at a test's database, and to stand in its way."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from graph_runtime.storage import postgres, sqlite


@contextlib.contextmanager
def aside(database: str) -> Iterator[Any]:
    """Yield a connection in which each statement is its own transaction, unless BEGIN says otherwise."""
    if database.startswith("sqlite:///"):
        with contextlib.closing(sqlite3.connect(database[10:], isolation_level=None)) as connection:
            yield connection
    else:
        with psycopg.connect(database, autocommit=True) as connection:
            yield connection


@contextlib.contextmanager
def holding(database: str) -> Iterator[None]:
    """Let nobody write until the end of the block; everybody may read."""
    with aside(database) as connection:
        if database.startswith("sqlite"):
            connection.execute("BEGIN IMMEDIATE")
        else:
            connection.execute("BEGIN")
            connection.execute("LOCK TABLE threads, runs, requests, outbox, events IN EXCLUSIVE MODE")
        yield
        connection.execute("ROLLBACK")


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stores wait for a tenth of a second only."""
    monkeypatch.setattr(sqlite, "BUSY_MS", 100)
    monkeypatch.setattr(postgres, "PATIENCE", 0.1)
