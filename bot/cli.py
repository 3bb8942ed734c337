"""The operators' desk: ``signoff demo | serve | migrate | check | start | runs | show | replay | ...``

Exit codes: 0 done; 1 refused or not found, and nothing changed; 2 typed wrong; 3 the settings are wrong.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, cast, get_args

import typer

from graph_runtime import (
    Actor,
    Place,
    Refused,
    SignoffError,
    UnknownRun,
    open_queue,
    open_store,
)
from graph_runtime import copy_database as copy_everything
from graph_runtime.types import PersonId, Verdict

from . import tables
from .cards import ticket_of
from .cli_absence import bypass, delegate, delegations, undelegate
from .cli_audit import audit
from .cli_database import database
from .cli_gate import freeze, freezes, release, settle
from .cli_outbox import outbox
from .cli_policy import policy
from .collector import collecting_seldom
from .commands import MistypedError, read_input
from .config import ConfigError, Role
from .logs import set_up_logs
from .named import need_slack, request_named, run_named
from .redaction import Redaction
from .terminal import (
    AsJson,
    Config,
    fail,
    first_words,
    open_desk,
    os_user,
    out,
    read_changes,
    run_it,
    settings_of,
    show_it,
    until_stopped,
)

app = typer.Typer(
    name="signoff",
    help="Asks people in Slack before a program does something that matters.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(database, name="db")
app.add_typer(audit, name="audit")
for command in (freeze, release, freezes, settle, bypass, delegate, delegations, undelegate):
    app.command()(command)
app.add_typer(policy, name="policy")
app.add_typer(outbox, name="outbox")

RunArgument = Annotated[str, typer.Argument(help="run id, as `signoff runs` lists them")]


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="play the deploy with a script, then stop")] = False,
    port: Annotated[int, typer.Option(help="port of the page; 0 takes a free one")] = 4390,
    example: Annotated[str, typer.Option(help="deploy, refund, access, erase or agent")] = "deploy",
) -> None:
    """Decide an example in a local Slack in the browser: no account, no database server."""
    # Loaded here, because serving Slack needs neither the sandbox nor a browser.
    from .demo import DemoFailed, play, play_once  # noqa: PLC0415
    from .showcases import SHOWCASES  # noqa: PLC0415

    if example not in SHOWCASES:
        wanted = ", ".join(SHOWCASES)
        raise typer.BadParameter(f"{wanted} was expected; nothing was started", param_hint="--example")
    if once and example != "deploy":
        raise typer.BadParameter("--once plays the deploy alone; nothing was started", param_hint="--example")
    set_up_logs("text", level=30)
    try:
        if once:
            asyncio.run(play_once(0 if port == 4390 else port, out))
        else:
            until_stopped(lambda stop: play(port, out, stop, example))
    except* (DemoFailed, TimeoutError, ConfigError) as failed:
        fail(f"the demo failed: {first_words(failed)}")
    except* OSError as failed:
        fail(f"nothing was started: port {port} cannot be used; try --port 0 ({first_words(failed)})")


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

    settings = settings_of(config)
    set_up_logs(settings.log)
    try:
        with collecting_seldom():
            until_stopped(lambda stop: serve_slack(settings, stop, role=cast("Role", role)))
    except* ConfigError as failed:
        fail(first_words(failed), code=3)
    except* (SignoffError, OSError) as failed:
        fail(first_words(failed))


@app.command()
def migrate(config: Config = None) -> None:
    """Create the database, or bring its schema up to date."""
    settings = settings_of(config)

    async def work() -> None:
        # The queue has tables of its own on PostgreSQL; whoever serves need not be allowed to make any.
        async with open_store(settings.database) as store, open_queue(settings.database, store):
            facts = await store.check()
            out.print(f"The database is at schema {facts['schema']}: {facts['path']}", highlight=False)

    run_it(work())


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
            out.print(f"{rows:>10,}  {table}", highlight=False)
        out.print("Every row is there, the journal included. The original is closed.", highlight=False)

    run_it(work())


@app.command()
def check(config: Config = None) -> None:
    """Say precisely what is wrong: settings, graphs, policies, database, and Slack itself."""
    from .check import check_all  # noqa: PLC0415 - the other commands here ask Slack nothing

    found = asyncio.run(check_all(config))
    show_it(tables.checks(found))
    if not all(one.good for one in found):
        raise typer.Exit(3)


@app.command()
def manifest(config: Config = None) -> None:
    """Print the app manifest for Slack: ours, with the commands of the settings added."""
    from .launches import load_launches  # noqa: PLC0415 - what reads an author's commands
    from .manifest import manifest as manifest_of  # noqa: PLC0415

    settings = settings_of(config)
    try:
        graphs = {graph.name: graph.plan for graph in settings.load_graphs()}
        # Plain print: a line that is wrapped may be no YAML any more.
        print(manifest_of(load_launches(settings, graphs)), end="")
    except ConfigError as error:
        fail(str(error), code=3)


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
        settings = settings_of(config)
        # Whoever starts a run is a party to it: a run of nobody's could be approved by its own author.
        asker = requester or settings.people.get(os_user())
        async with open_desk(settings) as desk:
            run = await desk.runtime.start(
                graph, read_input(given), thread_id=thread, requester=asker, idempotency_key=key
            )
            show_it(tables.run_json(run) if as_json else f"Started {run.id} of {run.graph}.")

    run_it(work())


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
        async with open_desk(settings_of(config)) as desk:
            kept = await desk.runtime.runs(status=tables.known_status(status), graph=graph, limit=limit)
            found = [Redaction().run(run) for run in kept]
            show_it([tables.run_json(run) for run in found] if as_json else tables.runs(found))

    run_it(work())


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
        settings = settings_of(config)
        redaction = Redaction(settings.redact)
        async with open_desk(settings) as desk:
            seen = await desk.runtime.look(await run_named(desk.approvals, run))
            if mermaid:
                # Plain print: a line that is wrapped is no Mermaid any more.
                print(desk.runtime.draw_mermaid(seen), end="")
                return
            found = [await desk.approvals.view(one.id) for one in await desk.approvals.find(run_id=run)]
            requests = [redaction.view(one) for one in found if one is not None]
            view, way = redaction.look(seen), await desk.runtime.way(seen)
            if as_json:
                show_it(tables.view_json(view, requests, way))
            else:
                for part in tables.view(view, requests, way):
                    show_it(part)

    run_it(work())


@app.command()
def history(
    run: RunArgument,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the steps of a run, newest first, with the routes it took, and its journal."""

    async def work() -> None:
        settings = settings_of(config)
        redaction = Redaction(settings.redact)
        async with open_desk(settings) as desk:
            found = await desk.runtime.events(run_id=run, limit=max(limit, 200))
            events = [redaction.event(event) for event in found]
            steps = []
            try:
                steps = await desk.runtime.history(run, limit=limit)
            except UnknownRun:
                # A pruned thread's journal stays.
                if not events:
                    raise
            if as_json:
                show_it(tables.history_json(steps, events))
            else:
                if not steps:
                    show_it("The run itself is no longer kept; this is its journal.")
                for part in tables.history(steps, events):
                    show_it(part)

    run_it(work())


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
        async with open_desk(settings_of(config)) as desk:
            found = await desk.runtime.replay(run, nodes=node or ())
            if as_json:
                show_it(tables.replay_json(found))
            else:
                for part in tables.replay(found):
                    show_it(part)
            if not (found.same and found.steps + found.tasks):
                raise typer.Exit(1)

    run_it(work())


@app.command()
def decide(
    request: Annotated[str, typer.Argument(help="request id, as `signoff show RUN` lists them")],
    verdict: Annotated[str, typer.Argument(help="approve, reject, edit, respond or withdraw")],
    reason: Annotated[str | None, typer.Option(help="why, or the answer; a rejection may need it")] = None,
    edited: Annotated[
        str | None, typer.Option("--edit", help="what an edit changes, a JSON object", metavar="JSON")
    ] = None,
    confirm: Annotated[str | None, typer.Option(help="the words that the policy wants typed")] = None,
    config: Config = None,
) -> None:
    """Decide a request as yourself, under the same policy as the button."""
    if verdict not in get_args(Verdict):
        words = ", ".join(get_args(Verdict))
        raise typer.BadParameter(f"one of {words} was expected; nothing was recorded", param_hint="VERDICT")
    chosen = cast("Verdict", verdict)

    async def work() -> None:
        from .wiring import open_house  # noqa: PLC0415 - only this command asks Slack who somebody is

        settings = settings_of(config)
        changes = None if edited is None else read_changes(edited)
        user = os_user()
        person = settings.people.get(user)
        if person is None:
            raise Refused(
                "NOT_ALLOWED",
                f"nothing was recorded: the user {user!r} of this machine is nobody in Slack; add "
                f'{user} = "U..." under [people] in the settings',
            )
        need_slack(settings)
        async with open_house(settings) as house:
            view = await house.approvals.view(await request_named(house.approvals, request))
            if view is None:
                raise Refused("UNKNOWN_REQUEST", f"nothing was recorded: there is no request {request!r}")
            place = Place("cli", house.identity.app, house.identity.workspace, message=user)
            decided = await house.approvals.decide(
                ticket_of(view, house.store.deployment),
                Actor(PersonId(person), house.identity.workspace),
                chosen,
                place=place,
                reason=reason,
                edited=changes,
                confirm=confirm,
            )
            acted = decided.votes[-1].on_behalf_of
            whose = f" in the place of {acted}" if acted else ""
            if decided.request.status == "open":
                show_it(f"Your vote on {request}{whose} is recorded; it stands at {decided.standing}.")
            else:
                show_it(f"{request} is {decided.request.status}{whose}; the run goes on.")

    run_it(work())


@app.command()
def cancel(
    run: RunArgument,
    reason: Annotated[str | None, typer.Option(help="why; it is kept")] = None,
    config: Config = None,
) -> None:
    """End a run and withdraw what it asks."""

    async def work() -> None:
        async with open_desk(settings_of(config)) as desk:
            there = await desk.runtime.get(run)
            ended = await desk.runtime.cancel(there.thread_id, run, actor=f"cli:{os_user()}", reason=reason)
            out.print(f"{ended.id} is {ended.status}; what it asked was withdrawn.", highlight=False)

    run_it(work())


@app.command()
def migrate_run(
    run: RunArgument,
    to: Annotated[str | None, typer.Option(help="version to go on with; default the one started now")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do it; without, only say what it would do")] = False,
    config: Config = None,
) -> None:
    """Take a run whose graph was changed to another version of it; what it asks is asked anew."""

    async def work() -> None:
        async with open_desk(settings_of(config)) as desk:
            thread = (await desk.runtime.get(run)).thread_id
            if yes:
                did = await desk.runtime.migrate(thread, run, to=to, actor=f"cli:{os_user()}")
            else:
                did = await desk.runtime.migration(thread, run, to=to)
            for part in tables.migration(did):
                show_it(part)
            if not yes:
                fail("nothing was migrated yet; add --yes to do this")
            out.print(f"{run} is {did.status} on version {did.to_version}.", highlight=False)

    run_it(work())


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
