"""The words of queries.sql and the schema are those of the code, and both databases understand them."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest
from postgres import Databases

import graph_runtime
from graph_runtime import types
from graph_runtime.storage.postgres import _statement
from graph_runtime.storage.sql import QueryName, migrations, queries, statements

PACKAGE = Path(graph_runtime.__file__).parent


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("runs", "status", types.RunStatus),
        ("runs", "driver", types.Driver),
        ("checkpoints", "source", types.CheckpointSource),
        ("interrupts", "status", types.InterruptStatus),
        ("requests", "status", types.RequestStatus),
        ("decisions", "verdict", types.Verdict),
        ("outbox", "status", types.EntryStatus),
        ("outbox", "kind", types.EntryKind),
    ],
)
def test_the_words_of_the_code_are_the_words_of_the_schema(table: str, column: str, words: Any) -> None:
    script = "\n".join(text for _, _, text in migrations())
    *_, body = re.findall(rf"CREATE TABLE {table} \((.*?)\n\);", script, re.DOTALL)
    (listed,) = re.findall(rf"\b{column} TEXT NOT NULL CHECK \({column} IN\s*\((.*?)\)\)", body, re.DOTALL)
    assert re.findall(r"'(\w+)'", listed) == list(get_args(words))


def test_the_live_states_of_the_code_are_those_of_the_index() -> None:
    script = "\n".join(text for _, _, text in migrations())
    (listed,) = re.findall(r"runs_one_live_per_thread.*?status IN \((.*?)\)", script, re.DOTALL)
    assert set(re.findall(r"'(\w+)'", listed)) == types.LIVE
    assert set(get_args(types.RunStatus)) >= types.LIVE


def test_the_names_of_the_code_are_the_blocks_of_the_file() -> None:
    text = (PACKAGE / "storage" / "queries.sql").read_text("utf-8")
    blocks = re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)
    assert sorted(blocks) == sorted(set(blocks))
    assert set(get_args(QueryName)) == set(blocks) == set(queries())


def test_every_statement_is_used() -> None:
    code = "\n".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py") if path.name != "sql.py")
    assert [name for name in get_args(QueryName) if f'"{name}"' not in code] == []


def test_every_statement_names_each_parameter_and_has_no_gap(tmp_path: Path) -> None:
    database = sqlite3.connect(":memory:")
    try:
        for _, _, script in migrations():
            for statement in statements(script):
                database.execute(statement)
        for name, text in queries().items():
            assert "?" not in text, name
            assert text, name
            parameters = dict.fromkeys(re.findall(r":(\w+)", text), 1)
            database.execute(f"EXPLAIN {text}", parameters)
    finally:
        database.close()


def test_postgresql_can_prepare_every_statement_with_and_without_a_guard(
    databases: Databases, template: str
) -> None:
    with databases.migrated(template) as address, psycopg.connect(address, autocommit=True) as connection:
        for number, name in enumerate(get_args(QueryName)):
            writes = re.match(r"(INSERT|UPDATE|DELETE)\b", queries("postgres")[name])
            for guarded in (False, True) if writes else (False,):
                text = _statement(name, guarded=guarded).text.decode()
                assert "/*" not in text, name
                connection.execute(f"PREPARE s{number}_{guarded:d} AS {text}".encode())


def test_words_for_postgresql_alone_are_comments_to_sqlite() -> None:
    claim = "ORDER BY updated_at LIMIT 1"
    assert f"{claim} FOR UPDATE SKIP LOCKED\n" in queries("postgres")["claim_run"]
    assert f"{claim} \n" in queries()["claim_run"]
