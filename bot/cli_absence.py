"""``signoff delegate | delegations | undelegate | bypass``: who acts for whom, and past a freeze."""

from __future__ import annotations

from typing import Annotated

import typer

from graph_runtime import Absences, Actor, Bypasses, Place, Refused
from graph_runtime.bypass import holding, progress
from graph_runtime.types import PersonId

from . import tables_gate
from .cli_gate import who_types
from .named import check_known, need_slack, request_named
from .tables import minute
from .terminal import AsJson, Config, open_desk, os_user, run_it, settings_of, show_it
from .typed import MistypedError, read_moment, read_person, until_words

_ID = "a user id like U0BOB was expected."


def delegate(
    person: Annotated[str, typer.Argument(metavar="FROM", help="user id of who is away")],
    to: Annotated[str, typer.Argument(metavar="TO", help="user id of who acts for them")],
    until: Annotated[str, typer.Option(help="a day, its end counted, or a time like 2026-12-05T14:00; UTC")],
    since: Annotated[str | None, typer.Option("--from", help="from when on; default now")] = None,
    policy: Annotated[str | None, typer.Option(help="only requests of this policy")] = None,
    reason: Annotated[str | None, typer.Option(help="why")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Let somebody decide in the place of somebody who is away; for others, operators may."""

    async def work() -> None:
        from .wiring import open_house  # noqa: PLC0415 - only this asks Slack who somebody is

        settings = settings_of(config)
        by = who_types(settings)
        whose, delegate = read_person(person, _ID), read_person(to, _ID)
        begins = None if since is None else read_moment(since, ends=False)
        ends = read_moment(until, ends=True)
        if policy is not None and policy not in settings.policies:
            raise MistypedError(f"nothing was delegated: there is no policy {policy!r}")
        if by != whose and by not in settings.operators:
            raise Refused("NOT_ALLOWED", "nothing was delegated: for others only operators may")
        need_slack(settings)
        async with open_house(settings) as house:
            await check_known(house.directory, whose, delegate)
            made = await Absences(house.runtime, house.directory).delegate(
                whose, delegate, until=ends, by=by, since=begins, policy=policy, reason=reason
            )
        how_long = until_words(made.until, lambda at: f"{minute(at)} UTC")
        said = f"{made.id}: {delegate} acts for {whose} {how_long}."
        show_it(tables_gate.delegation_json(made) if as_json else said)

    run_it(work())


def delegations(as_json: AsJson = False, config: Config = None) -> None:
    """List who is away or will be, and who acts for them."""

    async def work() -> None:
        async with open_desk(settings_of(config)) as desk:
            found = await desk.absences.find()
        if as_json:
            show_it([tables_gate.delegation_json(one) for one in found])
        else:
            show_it(tables_gate.delegations(found))

    run_it(work())


def undelegate(
    delegation: Annotated[str, typer.Argument(metavar="ID", help="as `signoff delegations` lists them")],
    config: Config = None,
) -> None:
    """End a delegation now: one of the two may, or an operator. A vote that was cast by it stays."""

    async def work() -> None:
        settings = settings_of(config)
        by = who_types(settings)
        async with open_desk(settings) as desk:
            gone = await desk.absences.revoke(delegation, by=by, operator=by in settings.operators)
        show_it(f"{gone.delegate} acts no more for {gone.person}.")

    run_it(work())


def bypass(
    request: Annotated[str, typer.Argument(help="an approved request whose graph or action is frozen")],
    reason: Annotated[str | None, typer.Option(help="why it cannot wait; a policy may need it")] = None,
    config: Config = None,
) -> None:
    """Let what was approved through a freeze, as one of those whom its policy names; never through `all`."""

    async def work() -> None:
        from .wiring import open_house  # noqa: PLC0415 - only this asks Slack who somebody is

        settings = settings_of(config)
        who, user = who_types(settings), os_user()
        need_slack(settings)
        async with open_house(settings) as house:
            named = await request_named(house.approvals, request)
            place = Place("cli", house.identity.app, house.identity.workspace, message=user)
            actor = Actor(PersonId(who), house.identity.workspace)
            view = await Bypasses(house.runtime, house.directory).consent(
                named, actor, place=place, reason=reason
            )
        left = holding(view.held_by, view.bypasses)
        given = f"{progress(left, view.bypasses)} of {view.bypasses[-1].needed}"
        went = "is let through the freeze; it is carried out"
        show_it(f"{request} {f'is frozen, bypass {given}' if left else went}.")

    run_it(work())
