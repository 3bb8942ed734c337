"""``signoff policy check | explain | simulate | test``: what policies say, before and while they are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from graph_runtime import Actor, Policy, PolicyError, Refused, RequestView, Reviewer, system_clock
from graph_runtime.delegation import choose_place, held_by
from graph_runtime.judging import judge, make_vote, may_decide, with_vote
from graph_runtime.policy import BusinessDeadline, Limit
from graph_runtime.tickets import check_open
from graph_runtime.types import GroupId, PersonId, Verdict

from . import tables
from .config import Settings
from .named import check_known, request_named
from .policies import load_policies
from .policy_cases import load_cases, run_cases
from .terminal import AsJson, Config, fail, open_desk, run_it, settings_of, show_it
from .text import plain

policy = typer.Typer(help="Look at policies, and try them.", no_args_is_help=True)

RequestArgument = Annotated[str, typer.Argument(help="request id, as `signoff show RUN` lists them")]


@policy.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="a policy file; default those of the settings")] = None,
    config: Config = None,
) -> None:
    """Name every fault of the policies, or say what each one asks."""
    show_it(_policies(_load(file, config)))


@policy.command()
def explain(request: RequestArgument, as_json: AsJson = False, config: Config = None) -> None:
    """Say why a request asks whom it asks, what the votes came to, and who was refused."""

    async def work() -> None:
        async with open_desk(settings_of(config)) as desk:
            view = _there(await desk.approvals.view(await request_named(desk.approvals, request)), request)
            events = await desk.runtime.events(run_id=view.run.id, limit=5_000)
            refused = [e for e in events if e.request_id == request and e.kind == "decision.refused"]
            if as_json:
                show_it(_explained_json(view))
                return
            show_it(_explained(view))
            if view.votes:
                show_it(_votes(view))
            if refused:
                table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
                for head in ("REFUSED", "WHO", "AT (UTC)"):
                    table.add_column(head, overflow="fold")
                for event in refused:
                    table.add_row(
                        str(event.data["code"]), plain(event.actor or "", 80), tables.moment(event.at)
                    )
                show_it(table)

    run_it(work())


@policy.command()
def simulate(
    user: Annotated[str, typer.Option(help="user id of who would decide")],
    request: Annotated[str, typer.Option(help="request id, as `signoff show RUN` lists them")],
    group: Annotated[
        list[str] | None,
        typer.Option(help="suppose they are in this group, and ask Slack nothing; may be repeated"),
    ] = None,
    config: Config = None,
) -> None:
    """Say what would come of each answer of somebody, and record nothing."""

    async def work() -> None:
        settings = settings_of(config)
        async with open_desk(settings) as desk:
            view = _there(await desk.approvals.view(await request_named(desk.approvals, request)), request)
        people = {}
        if group is None:
            held = held_by(view.delegations, PersonId(user))
            people = await _asked(settings, view, user, *(one.person for one in held))
            reviewer = people.pop(user)
        else:
            reviewer = Reviewer(PersonId(user), frozenset(map(GroupId, group)))
        table = Table.grid(padding=(0, 2))
        for verdict in get_args(Verdict):
            if verdict in {*view.case.policy.decisions, "withdraw"}:
                table.add_row(
                    Text(verdict, style="bold"),
                    plain(_would(view, reviewer, list(people.values()), verdict), 500),
                )
        show_it(table)

    run_it(work())


@policy.command("test")
def run_test(
    file: Annotated[Path, typer.Argument(help="a file of cases; see docs/howto/policies.md")],
    policies: Annotated[
        Path | None, typer.Option(help="policy file; default the one the cases name, else the settings'")
    ] = None,
    config: Config = None,
) -> None:
    """Try cases of facts and votes on the policies; exit code 1 when one does not come out as it must."""

    async def work() -> None:
        cases = load_cases(file)
        named = policies or (None if cases.policies is None else file.parent / cases.policies)
        results = run_cases(cases, _load(named, config))
        table = Table.grid(padding=(0, 2))
        for one in results:
            mark = Text("WRONG", style="bold red") if one.wrong else Text("ok", style="green")
            table.add_row(mark, Text(plain(one.name, 200)), Text(plain("; ".join(one.wrong), 2_000)))
        show_it(table)
        wrong = sum(bool(one.wrong) for one in results)
        if wrong:
            fail(f"{wrong} of {len(results)} cases did not come out as they must")
        show_it(f"All {len(results)} cases came out as they must.")

    run_it(work())


def _load(file: Path | None, config: str | None) -> Mapping[str, Policy]:
    if file is None:
        return settings_of(config).policies
    try:
        return load_policies(file)
    except PolicyError as error:
        fail(str(error), code=3)


def _there(view: RequestView | None, request: str) -> RequestView:
    if view is None:
        raise Refused("UNKNOWN_REQUEST", f"there is no request {request!r}")
    return view


async def _asked(settings: Settings, view: RequestView, *users: str) -> dict[str, Reviewer]:
    from .wiring import open_house  # noqa: PLC0415 - only this asks Slack who somebody is

    async with open_house(settings) as house:
        actors = [Actor(PersonId(user), house.identity.workspace) for user in users]
        await check_known(house.directory, *users[:1])
        return {actor.id: await house.directory.reviewer(actor, view.case.terms.refs) for actor in actors}


def _would(view: RequestView, reviewer: Reviewer, acted_for: Sequence[Reviewer], verdict: Verdict) -> str:
    """Return what would come of an answer, were everything typed that a dialog asks for."""
    case = view.case
    reason = "x" * max(case.policy.least_reason, 1)
    tried: Verdict = "approve" if verdict == "edit" else verdict

    def allowed(behalf: Reviewer | None) -> Refused | None:
        return may_decide(case, reviewer, tried, reason, behalf=behalf, confirm=case.terms.confirm)

    behalf, refused = choose_place(check_open(view, system_clock()) or allowed(None), acted_for, allowed)
    if refused is not None:
        return f"{refused.code}: {refused.sentence}"
    if verdict == "edit":
        return "depends on what is changed"
    after = judge(with_vote(case, make_vote(case, reviewer, verdict, None, behalf=behalf)))
    if after.outcome == "open":
        return f"taken; it would stand at {after}"
    return f"taken; the request would be {after.outcome}"


def _policies(policies: Mapping[str, Policy]) -> RenderableType:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("POLICY", "TIER", "ASKS", "DEADLINE", "NOTES"):
        table.add_column(head, overflow="fold")
    for name, one in policies.items():
        past = one.freeze_bypass
        notes = [f"{past.count} of {past.group} let it through a freeze"] if past is not None else []
        for number, (tier, asks) in enumerate(_asks_of(one)):
            first = number == 0
            table.add_row(
                plain(name, 80) if first else "",
                tier,
                plain(asks, 500),
                _deadline(one) if first else "",
                "; ".join(notes) if first else "",
            )
    return table


def _asks_of(one: Policy) -> Iterator[tuple[str, str]]:
    if not one.tiers:
        yield "", tables.needs(one.rules)
    for tier in one.tiers:
        asks = "nobody: it approves" if tier.auto else "nobody: it rejects"
        asks = tables.needs(tier.rules) if tier.rules else asks
        most = "".join(f", {_most(limit)}" for limit in tier.limits)
        yield tier.name, asks + (f", when {tier.when}" if tier.when else "") + most


def _most(limit: Limit) -> str:
    """Return a limit like ``at most 5 in 1d for each requester``."""
    what = f"{limit.most} of {limit.of}" if limit.of else f"{limit.most}"
    return f"at most {what} in {_duration(limit.per)}" + (" for each requester" if limit.by else "")


def _deadline(one: Policy) -> str:
    if one.deadline is None:
        return "none"
    if isinstance(one.deadline, BusinessDeadline):
        return f"{one.deadline.after} of business hours ({one.deadline.business_hours.tz})"
    return _duration(one.deadline)


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3_600)
    return " ".join(
        [f"{hours}h"] * bool(hours)
        + [f"{rest // 60}m"] * bool(rest // 60)
        + [f"{rest % 60}s"] * bool(rest % 60)
    )


def _tried(view: RequestView) -> Iterator[tuple[str, str]]:
    """Yield each tier up to the one that was taken, with what its condition came to."""
    # Loaded here, because the other commands answer no condition.
    from graph_runtime.conditions import holds  # noqa: PLC0415

    case, action = view.case, view.request.action
    facts = view.request.facts if action is None else {"args": action.arguments, **view.request.facts}
    for tier in case.policy.tiers:
        taken = "taken" if tier.name == case.terms.tier else "past its limits"
        if tier.when is None:
            yield f"tier {tier.name}", f"{taken}: no tier before it was"
        else:
            try:
                held = taken if holds(tier.when, facts) else "not taken"
            except ValueError as error:
                held = str(error)
            yield f"tier {tier.name}", f"{held}: {tier.when}"
        if tier.name == case.terms.tier:
            return


def _explained(view: RequestView) -> RenderableType:
    request, case = view.request, view.case
    barred = [p for p in (request.requester, *request.also) if p]
    rows = {
        "request": request.id,
        "policy": f"{request.policy_name}, as it stood when this was asked",
        **dict(_tried(view)),
        "decided by itself": case.terms.why or "",
        "needs": tables.needs(case.terms.stages),
        "stands at": str(view.standing) if request.status == "open" else "",
        "status": request.status,
        "may not approve": ", ".join(barred) if case.policy.self_approval == "forbid" else "",
        "rejected by": f"{case.policy.veto.deny} rejections, or one of who asked",
        "to be typed": case.terms.confirm or "",
        "deadline (UTC)": tables.moment(request.deadline_at),
        "at the deadline": f"timed_out, and the graph is told {case.policy.on_timeout}"
        if request.deadline_at
        else "",
        "bound to": view.bound_to,
    }
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        if value:
            table.add_row(Text(name, style="bold"), Text(plain(value, 1_000)))
    return table


def _votes(view: RequestView) -> RenderableType:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("VOTE", "BY", "IN", "STAGE", "AT (UTC)", "REASON"):
        table.add_column(head, overflow="fold")
    for vote in view.votes:
        groups, reason = ", ".join(sorted(vote.groups)), plain(vote.reason or "", 300)
        table.add_row(
            vote.verdict, tables.voter(vote), groups, str(vote.stage + 1), tables.moment(vote.at), reason
        )
    return table


def _explained_json(view: RequestView) -> dict[str, Any]:
    request, case = view.request, view.case
    return {
        "request_id": request.id,
        "status": request.status,
        "policy": request.policy_name,
        "tier": case.terms.tier,
        "tried": dict(_tried(view)),
        "needs": tables.needs(case.terms.stages),
        "standing": tables.standing_json(view.standing),
        "votes": tables.votes_json(view.votes),
        "deadline_at": request.deadline_at,
    }
