"""The operators' desk: ``signoff demo | serve | migrate | check | start | runs | show | replay | ...``

Exit codes: 0 done; 1 refused or not found, and nothing changed; 2 typed wrong; 3 the settings are wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast, get_args

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from graph_runtime import (
    Actor,
    Approvals,
    Place,
    Refused,
    Retention,
    Runtime,
    SignoffError,
    UnknownRun,
    open_store,
)
from graph_runtime import copy_database as copy_everything
from graph_runtime.types import PersonId, Verdict

from . import tables, upkeep
from .cards import ticket_of
from .check import check_all
from .commands import MistypedError, read_input
from .config import Age, ConfigError, Role, Settings, load_settings
from .logs import redact, set_up_logs

app = typer.Typer(
    name="signoff",
    help="Asks people in Slack before a program does something that matters.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_out = Console()
_err = Console(stderr=True)

Config = Annotated[str | None, typer.Option("--config", help="settings file; default signoff.toml here")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document instead of a table")]
RunArgument = Annotated[str, typer.Argument(help="run id, as `signoff runs` lists them")]


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="play it with a scripted reviewer, then stop")] = False,
    port: Annotated[int, typer.Option(help="port of the page; 0 takes a free one")] = 4390,
) -> None:
    """Approve a deploy in a local Slack in the browser: no account, no database server."""
    # Loaded here, because serving Slack needs neither the sandbox nor a browser.
    from .demo import DemoFailed, play, play_once  # noqa: PLC0415

    set_up_logs("text", level=30)
    try:
        if once:
            asyncio.run(play_once(0 if port == 4390 else port, _out))
        else:
            _until_stopped(lambda stop: play(port, _out, stop))
    except* (DemoFailed, TimeoutError, ConfigError) as failed:
        _fail(f"the demo failed: {_first(failed)}")
    except* OSError as failed:
        _fail(f"nothing was started: port {port} cannot be used; try --port 0 ({_first(failed)})")


@app.command()
def serve(
    role: Annotated[
        str,
        typer.Option(help="all, or web (takes clicks and commands) or worker (advances runs, tells Slack)"),
    ] = "all",
    config: Config = None,
) -> None:
    """Take clicks and commands from Slack, and advance runs, until stopped."""
    if role not in get_args(Role):
        raise typer.BadParameter("all, web or worker was expected; nothing was started", param_hint="--role")
    from .app import serve as serve_slack  # noqa: PLC0415 - the other commands need no Slack connection

    settings = _settings(config)
    set_up_logs(settings.log)
    try:
        _until_stopped(lambda stop: serve_slack(settings, stop, role=cast("Role", role)))
    except* ConfigError as failed:
        _fail(_first(failed), code=3)
    except* (SignoffError, OSError) as failed:
        _fail(_first(failed))


@app.command()
def migrate(config: Config = None) -> None:
    """Create the database, or bring its schema up to date."""
    settings = _settings(config)

    async def work() -> None:
        async with open_store(settings.database, migrate=True) as store:
            facts = await store.check()
            _out.print(f"The database is at schema {facts['schema']}: {facts['path']}", highlight=False)

    _run(work())


@app.command("copy-database")
def copy_database(
    source: Annotated[str, typer.Argument(metavar="FROM", help="sqlite:///PATH or postgresql://...")],
    target: Annotated[str, typer.Argument(metavar="TO", help="an empty database: the same kinds of address")],
) -> None:
    """Move everything to another database, compare it row by row, and close the original."""

    async def work() -> None:
        try:
            counts = await copy_everything(source, target)
        except ValueError as error:
            raise MistypedError(str(error)) from error
        for table, rows in counts.items():
            _out.print(f"{rows:>10,}  {table}", highlight=False)
        _out.print("Every row is there, the journal included. The original is closed.", highlight=False)

    _run(work())


@app.command()
def check(config: Config = None) -> None:
    """Say precisely what is wrong: settings, graphs, policies, database, and Slack itself."""
    found = asyncio.run(check_all(config))
    _print(tables.checks(found))
    if not all(one.good for one in found):
        raise typer.Exit(3)


@app.command()
def start(
    graph: Annotated[str, typer.Argument(help="graph name, as in [graphs]")],
    given: Annotated[str, typer.Argument(metavar="JSON", help="the input, a JSON object")] = "{}",
    requester: Annotated[str | None, typer.Option(help="Slack user id of who asks; default yours")] = None,
    key: Annotated[
        str | None, typer.Option(help="idempotency key: a second start returns the first run")
    ] = None,
    thread: Annotated[str | None, typer.Option(help="thread to go on with; default a new one")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Put a new run in the queue; a running `signoff serve` takes it from there."""

    async def work() -> None:
        settings = _settings(config)
        # Whoever starts a run is a party to it: a run of nobody's could be approved by its own author.
        asker = requester or settings.people.get(_os_user())
        async with _desk(settings) as desk:
            run = await desk.runtime.start(
                graph, read_input(given), thread_id=thread, requester=asker, idempotency_key=key
            )
            _print(tables.run_json(run) if as_json else f"Started {run.id} of {run.graph}.")

    _run(work())


@app.command()
def runs(
    status: Annotated[str, typer.Option(help="only runs of this status")] = "",
    graph: Annotated[str, typer.Option(help="only runs of this graph")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List runs, newest first."""

    async def work() -> None:
        async with _desk(_settings(config)) as desk:
            found = await desk.runtime.runs(status=tables.known_status(status), graph=graph, limit=limit)
            _print([tables.run_json(run) for run in found] if as_json else tables.runs(found))

    _run(work())


@app.command()
def show(
    run: RunArgument,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="only its graph as Mermaid text, with marks where it stands")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show all that there is to know before answering: where the run stands and what it asks of whom."""

    async def work() -> None:
        async with _desk(_settings(config)) as desk:
            view = await desk.runtime.look(run)
            if mermaid:
                # Plain print: a line that is wrapped is no Mermaid any more.
                print(desk.runtime.draw_mermaid(view), end="")
                return
            requests, way = await desk.approvals.find(run_id=run), await desk.runtime.way(view)
            if as_json:
                _print(tables.view_json(view, requests, way))
            else:
                for part in tables.view(view, requests, way):
                    _print(part)

    _run(work())


@app.command()
def history(
    run: RunArgument,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the steps of a run, newest first, with the routes it took, and its journal."""

    async def work() -> None:
        async with _desk(_settings(config)) as desk:
            events = await desk.runtime.events(run_id=run, limit=max(limit, 200))
            steps = []
            try:
                steps = await desk.runtime.history(run, limit=limit)
            except UnknownRun:
                # A pruned thread's journal stays.
                if not events:
                    raise
            if as_json:
                _print(tables.history_json(steps, events))
            else:
                if not steps:
                    _print("The run itself is no longer kept; this is its journal.")
                for part in tables.history(steps, events):
                    _print(part)

    _run(work())


@app.command()
def replay(
    run: RunArgument,
    node: Annotated[
        list[str] | None, typer.Option(help="run only this node again; may be repeated", metavar="NAME")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Go through a run again from its record with the graphs as they are now, and say what differs first."""

    async def work() -> None:
        async with _desk(_settings(config)) as desk:
            found = await desk.runtime.replay(run, nodes=node or ())
            if as_json:
                _print(tables.replay_json(found))
            else:
                for part in tables.replay(found):
                    _print(part)
            if not (found.same and found.steps + found.tasks):
                raise typer.Exit(1)

    _run(work())


@app.command()
def decide(
    request: Annotated[str, typer.Argument(help="request id, as `signoff show RUN` lists them")],
    verdict: Annotated[str, typer.Argument(help="approve or reject")],
    reason: Annotated[str | None, typer.Option(help="why; a rejection may need it")] = None,
    config: Config = None,
) -> None:
    """Decide a request as yourself, under the same policy as the button."""
    if verdict not in {"approve", "reject"}:
        raise typer.BadParameter("approve or reject was expected; nothing was recorded", param_hint="VERDICT")
    chosen: Verdict = "approve" if verdict == "approve" else "reject"

    async def work() -> None:
        from .wiring import open_house  # noqa: PLC0415 - only this command asks Slack who somebody is

        settings = _settings(config)
        user = _os_user()
        person = settings.people.get(user)
        if person is None:
            raise Refused(
                "NOT_ALLOWED",
                f"nothing was recorded: the user {user!r} of this machine is nobody in Slack; add "
                f'{user} = "U..." under [people] in the settings',
            )
        async with open_house(settings) as house:
            view = await house.approvals.view(request)
            if view is None:
                raise Refused("UNKNOWN_REQUEST", f"nothing was recorded: there is no request {request!r}")
            place = Place("cli", house.identity.app, house.identity.workspace, message=user)
            decided = await house.approvals.decide(
                ticket_of(view, house.store.deployment),
                Actor(PersonId(person), house.identity.workspace),
                chosen,
                place=place,
                reason=reason,
            )
            _out.print(f"{request} is {decided.request.status}; the run goes on.", highlight=False)

    _run(work())


@app.command()
def cancel(
    run: RunArgument,
    reason: Annotated[str | None, typer.Option(help="why; stands in the journal")] = None,
    config: Config = None,
) -> None:
    """End a run and withdraw what it asks."""

    async def work() -> None:
        async with _desk(_settings(config)) as desk:
            there = await desk.runtime.get(run)
            ended = await desk.runtime.cancel(there.thread_id, run, actor=f"cli:{_os_user()}", reason=reason)
            _out.print(f"{ended.id} is {ended.status}; what it asked was withdrawn.", highlight=False)

    _run(work())


database = typer.Typer(help="Look after the database.", no_args_is_help=True)
app.add_typer(database, name="db")


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
        settings = _settings(config)
        if older_than is None and keep is None:
            bounds = settings.retention
        else:
            bounds = Retention(_age(older_than), keep)
        async with _desk(settings) as desk:
            actor = f"cli:{_os_user()}"
            _print(await upkeep.prune(desk.runtime, bounds, actor=actor, dry_run=dry_run))

    _run(work())


@database.command("check")
def check_database(config: Config = None) -> None:
    """Look at every page of the database, and at what its rows promise of each other; others go on."""
    _tell(upkeep.check(_settings(config).database))


@database.command("size")
def size_of_database(as_json: AsJson = False, config: Config = None) -> None:
    """Say how large the database is, and what takes the room."""
    url = _settings(config).database
    _tell(upkeep.size_json(url) if as_json else upkeep.size(url))


@database.command()
def vacuum(config: Config = None) -> None:
    """Write the file anew without what is free in it; nobody else may use the database meanwhile."""
    _tell(upkeep.vacuum(_settings(config).database))


@database.command()
def backup(
    file: Annotated[Path, typer.Argument(help="where the copy goes; readable by you alone")],
    replace: Annotated[
        bool, typer.Option("--replace", help="put it in the place of an earlier copy")
    ] = False,
    config: Config = None,
) -> None:
    """Write a verified copy of this moment, while everybody goes on."""
    _tell(upkeep.back_up(_settings(config).database, file, replace=replace))


@database.command()
def restore(
    file: Annotated[Path, typer.Argument(help="a copy that `signoff db backup` made")],
    yes: Annotated[bool, typer.Option("--yes", help="do it: the copy replaces the database")] = False,
    config: Config = None,
) -> None:
    """Put a copy in the place of the database; nobody may use it meanwhile."""
    url = _settings(config).database
    _tell(upkeep.restore(url, file, actor=f"cli:{_os_user()}", sure=yes))


@app.command()
def migrate_run(
    run: RunArgument,
    to: Annotated[str | None, typer.Option(help="version to go on with; default the one started now")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do it; without, only say what it would do")] = False,
    config: Config = None,
) -> None:
    """Take a run whose graph was changed to another version of it; what it asks is asked anew."""

    async def work() -> None:
        async with _desk(_settings(config)) as desk:
            thread = (await desk.runtime.get(run)).thread_id
            if yes:
                did = await desk.runtime.migrate(thread, run, to=to, actor=f"cli:{_os_user()}")
            else:
                did = await desk.runtime.migration(thread, run, to=to)
            for part in tables.migration(did):
                _print(part)
            if not yes:
                _fail("nothing was migrated yet; add --yes to do this")
            _out.print(f"{run} is {did.status} on version {did.to_version}.", highlight=False)

    _run(work())


def _age(text: str | None) -> float | None:
    try:
        return None if text is None else float(TypeAdapter(Age).validate_python(text))
    except ValidationError as error:
        said = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise MistypedError(f"nothing was pruned: {said}") from None


def _os_user() -> str:
    """Return who runs this process, as the system knows: no environment variable can say otherwise."""
    return pwd.getpwuid(os.getuid()).pw_name


class _Desk:
    """What commands that need no Slack work with."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.approvals = Approvals(runtime, _Nobody())


class _Nobody:
    """A directory for commands that decide nothing."""

    async def reviewer(self, actor: Any, groups: Any) -> NoReturn:
        raise Refused("NOT_ALLOWED", "nothing was recorded: this command decides nothing")


@asynccontextmanager
async def _desk(settings: Settings) -> AsyncIterator[_Desk]:
    from .wiring import open_runtime  # noqa: PLC0415

    async with open_store(settings.database) as store:
        yield _Desk(open_runtime(settings, store))


def _settings(config: str | None) -> Settings:
    try:
        return load_settings(config)
    except ConfigError as error:
        _fail(str(error), code=3)


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except MistypedError as error:
        _fail(str(error), code=2)
    except (SignoffError, ValidationError, OSError) as error:
        _fail(str(error))
    except ConfigError as error:
        _fail(str(error), code=3)


def _tell(work: Coroutine[Any, Any, Any]) -> None:
    """Run the work and print what it returns."""

    async def tell() -> None:
        _print(await work)

    _run(tell())


def _until_stopped(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
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


def _first(failed: BaseExceptionGroup[BaseException]) -> str:
    """Return the words of the first error in a group of groups."""
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


def _print(what: Any) -> None:
    if isinstance(what, dict | list):
        # Plain print: a JSON document must not be wrapped to the width of a terminal.
        print(json.dumps(what, ensure_ascii=False, indent=2))
    else:
        # No markup: what graphs and people say is text.
        _out.print(what, highlight=False, markup=False)


def _fail(sentence: str, code: int = 1) -> NoReturn:
    _err.print(f"signoff: {redact(sentence)}", style="red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(code)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
