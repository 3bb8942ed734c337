"""How commands open what they work with, run, print, and say what did not happen."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from graph_runtime import Absences, Approvals, Refused, Runtime, SignoffError, open_store

from .commands import MistypedError
from .config import ConfigError, Settings, load_settings
from .logs import redact

out = Console()
err = Console(stderr=True)

Config = Annotated[str | None, typer.Option("--config", help="settings file; default signoff.toml here")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document instead of a table")]


def os_user() -> str:
    """Return who runs this process, as the system knows: no environment variable can say otherwise."""
    return pwd.getpwuid(os.getuid()).pw_name


class Desk:
    """What commands that need no Slack work with."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.approvals = Approvals(runtime, _Nobody())
        self.absences = Absences(runtime, _Nobody())


class _Nobody:
    """A directory for commands that decide nothing."""

    async def reviewer(self, actor: Any, groups: Any) -> NoReturn:
        raise Refused("NOT_ALLOWED", "nothing was recorded: this command decides nothing")

    async def members(self, group: Any) -> None:
        """Know of nobody."""


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    from .wiring import open_runtime  # noqa: PLC0415

    async with open_store(settings.database) as store:
        yield Desk(open_runtime(settings, store))


def settings_of(config: str | None) -> Settings:
    try:
        return load_settings(config)
    except ConfigError as error:
        fail(str(error), code=3)


def run_it(work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except MistypedError as error:
        fail(str(error), code=2)
    except (SignoffError, ValidationError, OSError) as error:
        fail(str(error))
    except ConfigError as error:
        fail(str(error), code=3)


def tell(work: Coroutine[Any, Any, Any]) -> None:
    """Run the work and print what it returns."""

    async def tell() -> None:
        show_it(await work)

    run_it(tell())


def until_stopped(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run until SIGTERM or Ctrl-C asks for an ordered stop; a second one stops at once."""

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def asked() -> None:
            if stop.is_set():
                # At once means now. What was promised is on disk; the rest is taken up at the next start.
                os._exit(130)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked)
        try:
            await work(stop)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                # What is asked while the last words are said changes nothing any more.
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)

    asyncio.run(main())


def first_words(failed: BaseExceptionGroup[BaseException]) -> str:
    """Return the words of the first error in a group of groups."""
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


def read_changes(text: str) -> dict[str, Any]:
    """Return the JSON object of an edit, its fractions as the decimals that were typed."""
    try:
        given = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise MistypedError(f"nothing was recorded: --edit is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise MistypedError('nothing was recorded: --edit is an object like {"amount": 250.00}')
    return given


def show_it(what: Any) -> None:
    if isinstance(what, dict | list):
        # Plain print: a JSON document must not be wrapped to the width of a terminal.
        print(json.dumps(what, ensure_ascii=False, indent=2))
    else:
        # No markup: what graphs and people say is text.
        out.print(what, highlight=False, markup=False)


def fail(sentence: str, code: int = 1) -> NoReturn:
    err.print(f"signoff: {redact(sentence)}", style="red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(code)
