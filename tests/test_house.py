"""The rules of the house, kept by machine: who may import whom, one door per library, rooms of a size."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest
import yaml
from forked import LOADED

import graph_runtime
from bot.config import Role

ROOT = Path(__file__).parent.parent
#: The only files that may import each third-party library.
DOORS = {
    "detect_secrets": {"bot/redaction.py"},
    "celpy": {"graph_runtime/conditions.py"},
    "lark": {"graph_runtime/conditions.py"},
    "aiosqlite": {"graph_runtime/storage/sqlite.py"},
    "sqlite3": {
        "graph_runtime/storage/connection.py",
        "graph_runtime/storage/copying.py",
        "graph_runtime/storage/files.py",
        "graph_runtime/storage/sqlite.py",
    },
    "orjson": {"bot/logs.py", "graph_runtime/plainjson.py"},
    "procrastinate": {"graph_runtime/procrastinate.py"},
    "psycopg": {
        "graph_runtime/procrastinate.py",
        "graph_runtime/storage/copying.py",
        "graph_runtime/storage/packet.py",
        "graph_runtime/storage/postgres.py",
    },
    "psycopg_pool": {"graph_runtime/procrastinate.py", "graph_runtime/storage/postgres.py"},
    "rfc8785": {"graph_runtime/values.py"},
    "slack_bolt": {"bot/app.py", "bot/slack.py"},
    "pydantic_settings": {"bot/config.py"},
    "prometheus_client": {"bot/app.py"},
    "yarl": {"bot/app.py"},
    "typer": {
        "bot/cli.py",
        "bot/cli_absence.py",
        "bot/cli_audit.py",
        "bot/cli_database.py",
        "bot/cli_gate.py",
        "bot/cli_outbox.py",
        "bot/cli_policy.py",
        "bot/terminal.py",
    },
}
#: Imports point down: a module may import only from its own row or a lower one.
LEVELS = [
    {"clock", "config", "errors", "faults", "messages", "plainjson", "quick", "timeouts", "types"},
    {"calendars", "calls", "conditions", "storage", "values"},
    {"beside", "delegation", "forms", "matching", "neighbours", "policy", "state"},
    {"judging"},
    {"bypass"},
    {"eligible", "shown", "tickets", "verdicts"},
    {"plan"},
    {
        "branching",
        "companions",
        "drawing",
        "executor",
        "host",
        "kept",
        "lookup",
        "records",
        "standins",
        "stored",
        "streaming",
    },
    {
        "divergence",
        "erasing",
        "ground",
        "inside",
        "journal",
        "meter",
        "quotas",
        "retention",
        "saver",
        "texts",
    },
    {"beginnings", "endings", "frames", "ledger", "requests", "waiting"},
    {
        "callers",
        "edits",
        "grants",
        "questions",
        "restoring",
        "recording",
        "telling",
        "tools",
        "versions",
        "views",
        "wishes",
    },
    {"answers", "rerun", "upkeep", "walk"},
    {"replay"},
    {"advance"},
    {"runtime"},
    {"absences", "alarms", "approvals", "ballots", "bypasses", "closings", "compiled", "outbox", "overdue"},
    {"graph", "procrastinate", "worker"},
]
LONGEST_ROOM = 540


def modules(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts)


@cache
def imports_of(path: Path) -> set[str]:
    """Absolute names of everything a module imports, wherever in it."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, node.module] if node.module else base)
            found |= {f"{start}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules("graph_runtime"), ids=str)
def test_the_runtime_has_never_heard_of_slack(path: Path) -> None:
    assert not {name for name in imports_of(path) if re.match(r"(bot|slack_bolt|slack_sdk|aiohttp)\b", name)}


@pytest.mark.parametrize("path", modules("bot/sandbox"), ids=str)
def test_the_sandbox_imports_nothing_of_ours(path: Path) -> None:
    ours = {name for name in imports_of(path) if re.match(r"(bot|graph_runtime|examples)\b", name)}
    assert not {name for name in ours if not name.startswith("bot.sandbox")}


@pytest.mark.parametrize("path", modules("bot"), ids=str)
def test_the_bot_has_never_heard_of_sql(path: Path) -> None:
    assert not {name for name in imports_of(path) if name.startswith("graph_runtime.storage")}
    assert not re.search(r"\b(SELECT|INSERT INTO|UPDATE \w+ SET|BEGIN IMMEDIATE)\b", path.read_text())


@pytest.mark.parametrize("library", sorted(DOORS))
def test_each_library_has_its_door(library: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for package in ("bot", "graph_runtime")
        for path in modules(package)
        if any(name == library or name.startswith(f"{library}.") for name in imports_of(path))
    }
    assert users == DOORS[library]


def test_imports_point_down() -> None:
    level = {name: number for number, row in enumerate(LEVELS) for name in row}
    for path in modules("graph_runtime"):
        own = path.relative_to(ROOT / "graph_runtime").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in level, f"give {own} its place in LEVELS"
        # What is imported for type checkers only does not run.
        source = re.sub(r"if TYPE_CHECKING:\n(    .*\n)+", "", path.read_text())
        for name in re.findall(r"^(?:from \.(\w+)|from graph_runtime\.(\w+)) import", source, re.MULTILINE):
            used = "".join(name)
            if (path.parent / f"{used}.py").exists() and path.parent.name == "storage":
                continue
            assert level[used] <= level[own], f"{own} imports {used}, which is above it"
        if own != "__init__" and re.search(r"^from \. import records", source, re.MULTILINE):
            assert level["records"] <= level[own]


@pytest.mark.parametrize("package", ["bot", "graph_runtime", "examples"])
def test_no_room_is_too_large(package: str) -> None:
    large = {
        str(p.relative_to(ROOT)): n
        for p in modules(package)
        if (n := len(p.read_text().splitlines())) > LONGEST_ROOM
    }
    assert not large


def test_no_file_has_a_name_that_says_nothing() -> None:
    nothing = {"utils", "helpers", "base", "common", "manager", "handler", "service", "misc"}
    assert not [p for package in ("bot", "graph_runtime") for p in modules(package) if p.stem in nothing]


def test_every_public_name_says_what_it_is() -> None:
    silent = [
        name
        for name in graph_runtime.__all__
        if not inspect.getdoc(getattr(graph_runtime, name)) and callable(getattr(graph_runtime, name))
    ]
    assert not silent


def test_every_public_method_of_the_front_doors_says_what_is_true_afterwards() -> None:
    for cls in (
        graph_runtime.Runtime,
        graph_runtime.Approvals,
        graph_runtime.Outbox,
        graph_runtime.StateGraph,
        graph_runtime.Store,
    ):
        silent = [
            name
            for name, member in vars(cls).items()
            if not name.startswith("_") and callable(member) and not member.__doc__
        ]
        assert not silent, f"{cls.__name__}: {silent}"


def test_every_dependency_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    listed = tomllib.loads(text)["project"]["dependencies"]
    assert listed
    for requirement in listed:
        assert re.search(rf'"{re.escape(requirement)}",\s+# \S+', text), f"{requirement} has no reason"


def test_nothing_is_left_undone() -> None:
    mark = re.compile("TO" + "DO|FIX" + "ME|XX" + "X")
    for package in ("bot", "graph_runtime", "examples", "tests", "docs"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in {".py", ".md", ".sql", ".js", ".css", ".html"}:
                assert not mark.search(path.read_text()), path


def test_the_modules_import_without_each_other() -> None:
    for name in ("graph_runtime", "bot.cards", "bot.sandbox", "examples.deploy"):
        importlib.import_module(name)


def test_what_forked_programs_find_loaded_is_there() -> None:
    assert not [name for name in LOADED if find_spec(name) is None]


def test_what_is_at_the_top_level_is_what_was_asked_for() -> None:
    for name in ("bot", "graph_runtime", "tests", "manifest.yml", "pyproject.toml", "Dockerfile"):
        assert (ROOT / name).exists()


def test_the_container_is_not_root_and_has_a_health_check() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER signoff$", text, re.MULTILINE)
    assert "HEALTHCHECK" in text
    assert 'CMD ["serve"]' in text


def test_compose_starts_what_there_is_and_only_behind_a_migrated_database() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    roles = {name: one["command"] for name, one in services.items() if one.get("command", [""])[0] == "serve"}
    assert {command[-1] for command in roles.values()} == set(get_args(Role)) - {"all"}
    for name in roles:
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert services["migrate"]["command"] == ["migrate"]
    address = services["web"]["environment"]["SIGNOFF_DATABASE"]
    assert "password" not in address.lower(), "it is in the environment of the container, not in the address"
    assert ".[procrastinate]" in (ROOT / "Dockerfile").read_text()


def test_the_manifest_and_the_readme_name_the_same_command() -> None:
    manifest = yaml.safe_load((ROOT / "manifest.yml").read_text())
    (command,) = manifest["features"]["slash_commands"]
    assert command["command"] in (ROOT / "README.md").read_text()
