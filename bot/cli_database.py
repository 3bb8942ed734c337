"""``signoff db prune | check | size | vacuum | backup | restore | renew``: what looks after the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from graph_runtime import Retention

from . import upkeep
from .commands import MistypedError
from .config import Age
from .terminal import AsJson, Config, open_desk, os_user, run_it, settings_of, show_it, tell

database = typer.Typer(help="Look after the database.", no_args_is_help=True)


@database.command()
def prune(
    older_than: Annotated[str | None, typer.Option(help="let go of what ended longer ago, like 30d")] = None,
    keep: Annotated[int | None, typer.Option(min=0, help="keep so many, those that ended last")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say how many threads would go")] = False,
    config: Config = None,
) -> None:
    """Let go of finished threads past either bound now; without one, past those of the settings.

    The journal keeps what happened. 0 is no bound.
    """

    async def work() -> None:
        settings = settings_of(config)
        if older_than is None and keep is None:
            bounds = settings.retention
        else:
            bounds = Retention(_age(older_than), keep)
        async with open_desk(settings) as desk:
            actor = f"cli:{os_user()}"
            show_it(await upkeep.prune(desk.runtime, bounds, actor=actor, dry_run=dry_run))

    run_it(work())


@database.command("check")
def check_database(config: Config = None) -> None:
    """Look at every page of the database, and at what its rows promise of each other; others go on."""
    tell(upkeep.check(settings_of(config).database))


@database.command("size")
def size_of_database(as_json: AsJson = False, config: Config = None) -> None:
    """Say how large the database is, and what takes the room."""
    url = settings_of(config).database
    tell(upkeep.size_json(url) if as_json else upkeep.size(url))


@database.command()
def vacuum(config: Config = None) -> None:
    """Write the file anew without what is free in it; nobody else may use the database meanwhile."""
    tell(upkeep.vacuum(settings_of(config).database))


@database.command()
def backup(
    file: Annotated[Path, typer.Argument(help="where the copy goes; readable by you alone")],
    replace: Annotated[
        bool, typer.Option("--replace", help="put it in the place of an earlier copy")
    ] = False,
    config: Config = None,
) -> None:
    """Write a verified copy of this moment, while everybody goes on."""
    tell(upkeep.back_up(settings_of(config).database, file, replace=replace))


@database.command()
def restore(
    file: Annotated[Path, typer.Argument(help="a copy that `signoff db backup` made")],
    yes: Annotated[bool, typer.Option("--yes", help="do it: the copy replaces the database")] = False,
    config: Config = None,
) -> None:
    """Put a copy in the place of the database; nobody may use it meanwhile."""
    url = settings_of(config).database
    tell(upkeep.restore(url, file, actor=f"cli:{os_user()}", sure=yes))


@database.command()
def renew(
    yes: Annotated[bool, typer.Option("--yes", help="do it: all that waits is asked anew")] = False,
    config: Config = None,
) -> None:
    """Say, before it is served, that the database was put back by other means: a snapshot, pg_restore."""
    tell(upkeep.renew(settings_of(config).database, actor=f"cli:{os_user()}", sure=yes))


def _age(text: str | None) -> float | None:
    try:
        return None if text is None else float(TypeAdapter(Age).validate_python(text))
    except ValidationError as error:
        said = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise MistypedError(f"nothing was pruned: {said}") from None
