"""``signoff outbox list | retry``: what could not be told, and telling it after all."""

from __future__ import annotations

from typing import Annotated

import typer

from graph_runtime import Outbox, Refused

from .tables_gate import outbox as outbox_table
from .tables_gate import outbox_json
from .terminal import AsJson, Config, open_desk, os_user, out, run_it, settings_of, show_it

outbox = typer.Typer(help="Look at what could not be told.", no_args_is_help=True)


@outbox.command("list")
def list_troubled(as_json: AsJson = False, config: Config = None) -> None:
    """List what was given up (parked), and what failed and is tried again, each with its reason."""

    async def work() -> None:
        async with open_desk(settings_of(config)) as desk:
            found = await Outbox(desk.runtime).troubled()
        show_it(outbox_json(found) if as_json else outbox_table(found))

    run_it(work())


@outbox.command()
def retry(
    entry: Annotated[str, typer.Argument(help="one of them; without it, all that were given up")] = "",
    config: Config = None,
) -> None:
    """Have what was given up told after all, once what was wrong is mended."""

    async def work() -> None:
        async with open_desk(settings_of(config)) as desk:
            taken = await Outbox(desk.runtime).take_up(entry, actor=f"cli:{os_user()}")
            if entry and not taken:
                raise Refused("NOT_PENDING", f"nothing was changed: no entry {entry!r} was given up")
            out.print(f"{taken} will be told by 'signoff serve'.", highlight=False, markup=False)

    run_it(work())
