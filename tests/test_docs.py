"""The docs are run and compared with the code."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import re
import sys
import tomllib
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bot.cli import app
from bot.config import Settings
from bot.policies import load_policies
from bot.policy_cases import CaseFile, PolicyCase, load_cases, run_cases
from graph_runtime import (
    Actor,
    Approvals,
    Limits,
    Place,
    Refused,
    Requests,
    Reviewer,
    Runtime,
    Ticket,
    errors,
    open_store,
    read_policies,
    types,
)
from graph_runtime.policy import Policy
from graph_runtime.tools import ToolRule
from graph_runtime.types import PersonId

ONE = {"people": ["U_ANN"]}
DOCS = Path(__file__).parent.parent / "docs"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


async def run_page(name: str) -> dict[str, Any]:
    """Run a page's Python blocks as one program, and return its names."""
    source = "\n".join(blocks(DOCS / name, "python"))
    # As it is, without what this file imports from the future.
    code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    # A module as any: what is at its top level is found by its name.
    page = sys.modules["page"] = ModuleType("page")
    running = eval(code, vars(page))  # noqa: S307 - our own page
    if running is not None:  # it awaits something itself
        await running
    return vars(page)


async def test_the_worked_example_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (await run_page("worked-example.md"))["run"].status == "completed"


async def test_the_runtime_alone_in_about_thirty_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (source,) = blocks(DOCS / "alone.md", "python")
    assert len([line for line in source.splitlines() if line.strip()]) <= 34
    await run_page("alone.md")
    assert "it asks nothing any more" in capsys.readouterr().out


async def test_what_is_approved_is_carried_out_as_it_is_written(tmp_path: Path) -> None:
    page = await run_page("howto/execute.md")
    paid: list[str] = []

    class Bank:
        async def pay(self, amount: int, idempotency_key: str) -> str:
            paid.append(idempotency_key)
            raise ConnectionError("no answer")

        async def find(self, key: str) -> str | None:
            return "pay-17" if key in paid else None

    page["bank"] = Bank()
    async with open_store(f"sqlite:///{tmp_path}/docs.db") as store:
        runtime = Runtime(store, [page["graph"]], companions=[Requests(read_policies({"default": ONE}))])
        run = await runtime.advance((await runtime.start("refund", {"case": "c1", "amount": 320})).id)
        approvals = Approvals(runtime, Anybody())
        (request,) = await approvals.find(run_id=run.id)
        ticket = Ticket(store.deployment, request.id, run.thread_id, run.id, request.interrupt_id)
        await approvals.decide(ticket, Actor(PersonId("U_ANN")), "approve", place=Place("api"))
        run = await runtime.advance(run.id)
        assert run.status == "completed"
        assert (await runtime.look(run.id)).state.values["payment"] == "pay-17"
    assert len(paid) == 1


async def test_the_form_of_the_docs_refuses_at_its_field_and_makes_what_is_stored(tmp_path: Path) -> None:
    page = await run_page("howto/forms.md")
    (policies,) = blocks(DOCS / "howto" / "forms.md", "toml")
    (tmp_path / "policies.toml").write_text(policies)
    policy = load_policies(tmp_path / "policies.toml")
    async with open_store(f"sqlite:///{tmp_path}/docs.db") as store:
        runtime = Runtime(
            store, [page["graph"]], companions=[Requests({**read_policies({"default": ONE}), **policy})]
        )
        run = await runtime.advance((await runtime.start("refund", {"amount": Decimal("320.00")})).id)
        approvals = Approvals(runtime, Anybody())
        (request,) = await approvals.find(run_id=run.id)
        ticket = Ticket(store.deployment, request.id, run.thread_id, run.id, request.interrupt_id)

        async def edit(**edited: Any) -> None:
            await approvals.decide(
                ticket, Actor(PersonId("U_ANN")), "edit", place=Place("api"), reason="part", edited=edited
            )

        with pytest.raises(Refused) as refused:
            await edit(amount="300", reason="because")
        assert [*refused.value.fields] == ["amount", "reason"]
        assert refused.value.fields["amount"] == "At most 320.00, of which 250.00 are left."
        await edit(amount="249.50", reason="damaged")
        await runtime.advance(run.id)
        decision = (await runtime.look(run.id)).state.values["decision"]
    arguments = {"amount": Decimal("249.50"), "reason": "damaged", "note": "", "order": "R-1042"}
    assert decision.arguments == arguments


class Anybody:
    """A directory in which everybody is a member."""

    async def reviewer(self, actor: Actor, groups: Any) -> Reviewer:
        return Reviewer(actor.id, frozenset(groups))


async def test_the_tools_of_the_docs_are_asked_for_and_used_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (rules,) = blocks(DOCS / "howto" / "tools.md", "toml")
    (tmp_path / "tools.toml").write_text(rules)
    page = await run_page("howto/tools.md")
    assert page["run"].status == "completed"
    assert page["tools"].judge("shell").do == "block"


async def test_the_calls_of_a_neighbour_are_decided_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = await run_page("howto/neighbours.md")
    (shown,) = blocks(DOCS / "howto" / "neighbours.md", "json")
    assert await page["decide_all"](Anybody()) == json.loads(shown)


def test_every_key_of_a_tool_rule_is_documented_and_no_other() -> None:
    page = (DOCS / "howto" / "tools.md").read_text()
    assert set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)) == set(ToolRule.model_fields)


def test_every_policy_of_the_docs_does_what_its_cases_say(tmp_path: Path) -> None:
    page = (DOCS / "howto" / "policies.md").read_text()
    # Those of the first steps stand in a list, so they are indented.
    found = re.findall(r"^ *```toml\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    pairs = list(zip(found[::2], found[1::2], strict=True))
    assert len(pairs) == 12, "one in five minutes, and eleven that people use"
    for number, (policies, cases) in enumerate(pairs):
        (tmp_path / "policies.toml").write_text(policies)
        (tmp_path / f"{number}.toml").write_text(cases)
        named = load_policies(tmp_path / "policies.toml")
        results = run_cases(load_cases(tmp_path / f"{number}.toml"), named)
        assert results
        assert [(one.name, one.wrong) for one in results if one.wrong] == []


def test_every_key_of_a_case_is_documented_and_no_other() -> None:
    page = (DOCS / "howto" / "policies.md").read_text().split("## A file of cases")[1]
    keys = re.findall(
        r"`(?:cases\.)?(\w+)`(?=[^|]*\| )", "\n".join(re.findall(r"^\| `.*$", page, re.MULTILINE))
    )
    assert {*keys} == ({*CaseFile.model_fields} | {*PolicyCase.model_fields}) - {"cases"}


async def test_the_page_on_replay_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (await run_page("howto/replay.md"))["first"].what == "past"


async def test_the_page_on_limits_runs_as_it_is_written_and_names_every_limit() -> None:
    assert "0.02 of its 0.03 usd" in (await run_page("howto/limits.md"))["said"]
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "howto" / "limits.md").read_text(), re.MULTILINE)
    assert rows == [field.name for field in dataclasses.fields(Limits)]


def test_the_number_of_programs_is_said_as_it_is() -> None:
    files = (DOCS.parent / "tests" / "conformance").glob("programs_*.py")
    programs = sum(len(re.findall(r"^@program\(", file.read_text(), re.MULTILINE)) for file in files)
    assert f"and {programs} small programs" in (DOCS / "differences.md").read_text()


def test_every_noun_has_its_line_in_the_glossary() -> None:
    glossary = (DOCS / "glossary.md").read_text()
    nouns = [
        name
        for name, thing in vars(types).items()
        if not name.startswith("_") and inspect.isclass(thing) and thing.__module__ == types.__name__
    ]
    missing = [noun for noun in nouns if f"**{noun}**" not in glossary]
    assert nouns
    assert not missing


def flat(model: Any, prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if inspect.isclass(inner) and hasattr(inner, "model_fields"):
            names += flat(inner, f"{prefix}{name}.")
        elif field.validation_alias is not None:
            names.append(field.validation_alias.choices[0])
        else:
            names.append(prefix + name)
    return names


def test_every_setting_is_documented_and_no_other() -> None:
    page = (DOCS / "settings.md").read_text()
    listed = set(re.findall(r"^\| `([^`]+)` \|", page.split("## A policy")[0], re.MULTILINE))
    assert listed == set(flat(Settings))


def test_every_key_of_a_policy_is_documented_and_no_other() -> None:
    page = (DOCS / "settings.md").read_text()
    listed = set(re.findall(r"^\| `([^`]+)` \|", page.split("## A policy")[1], re.MULTILINE))
    assert listed == set(Policy.model_fields)


def test_the_settings_in_the_docs_load(monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = blocks(DOCS / "settings.md", "toml")
    settings = Settings(**tomllib.loads(text))
    assert settings.policies["prod-deploy"].deadline == 4 * 3600
    assert [graph.name for graph in settings.load_graphs()] == ["deploy"]


def test_every_command_is_documented() -> None:
    page = (DOCS / "howto" / "operate.md").read_text()
    names = [
        command.callback.__name__.replace("_", "-") for command in app.registered_commands if command.callback
    ]
    names += [
        f"{group.name} {command.name or command.callback.__name__}"
        for group in app.registered_groups
        if group.typer_instance
        for command in group.typer_instance.registered_commands
        if command.callback
    ]
    assert names
    assert [name for name in names if f"`signoff {name}" not in page] == []


def test_the_error_tree_at_the_top_of_the_file_is_the_tree_of_the_classes() -> None:
    classes = {
        name: cls
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, BaseException) and cls.__module__ == errors.__name__
    }
    drawn: dict[str, str | None] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│├└─ ]*)(\w+)(?: \(\w+\))?(?: {2,}|$)", line)
        if found and found[2] in classes:
            depth = len(found[1]) // 4
            drawn[found[2]] = above[depth - 1] if depth else None
            above[depth:] = [found[2]]
    for name, parent in drawn.items():
        if parent is not None:
            assert issubclass(classes[name], classes[parent]), f"{name} is drawn under {parent}"
    assert set(drawn) == set(classes)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_deliberate_difference_is_told_with_its_reason_and_no_other() -> None:
    sys.path.insert(0, str(DOCS.parent / "tests" / "conformance"))
    different = importlib.import_module("different").DIFFERENT
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", (DOCS / "differences.md").read_text(), re.MULTILINE)
    assert dict(rows) == different
