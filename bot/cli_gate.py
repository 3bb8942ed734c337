"""``signoff freeze | release | freezes | settle``: what shuts the execution gate, and what was left open."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from graph_runtime import Alarms, Refused

from .commands import MistypedError
from .config import Settings
from .named import caution, check_scope
from .redaction import Redaction
from .tables_gate import freezes as freezes_table
from .tables_gate import freezes_json
from .terminal import AsJson, Config, open_desk, os_user, out, run_it, settings_of, show_it

Scope = Annotated[str, typer.Argument(help="all, graph:NAME or action:NAME")]


def freeze(
    scope: Scope,
    reason: Annotated[str, typer.Option(help="why; it is kept")],
    config: Config = None,
) -> None:
    """Carry nothing of the scope out from now on; what was approved waits."""

    async def work() -> None:
        settings = settings_of(config)
        async with open_desk(settings) as desk:
            await check_scope(desk.runtime, scope)
            await Alarms(desk.runtime).freeze(scope, by=who_types(settings), reason=reason)
            more = await caution(desk.runtime, desk.approvals, scope)
            out.print(
                f"{scope} is frozen; 'signoff release {scope}' by two people ends it.{more}",
                highlight=False,
                markup=False,
            )

    run_it(work())


def release(scope: Scope, config: Config = None) -> None:
    """Agree to the end of a freeze; the second person ends it, and what waited goes on."""

    async def work() -> None:
        settings = settings_of(config)
        async with open_desk(settings) as desk:
            left = await Alarms(desk.runtime).release(scope, by=who_types(settings))
            said = "is not frozen any more; what waited goes on"
            if left is not None:
                said = "is frozen until one more person agrees"
            out.print(f"{scope} {said}.", highlight=False, markup=False)

    run_it(work())


def freezes(as_json: AsJson = False, config: Config = None) -> None:
    """List what is frozen, by whom, why, and who agreed to its end."""

    async def work() -> None:
        async with open_desk(settings_of(config)) as desk:
            found = [Redaction().freeze(one) for one in await Alarms(desk.runtime).freezes()]
        show_it(freezes_json(found) if as_json else freezes_table(found))

    run_it(work())


def settle(
    request: Annotated[str, typer.Argument(help="request whose effect is indeterminate")],
    what: Annotated[str, typer.Argument(metavar="done|not-done", help="what the other side says")],
    result: Annotated[str | None, typer.Option(help="what it came to, as JSON; with done")] = None,
    config: Config = None,
) -> None:
    """Say what became of an effect that broke off: after not-done it is carried out once more."""
    if what not in {"done", "not-done"}:
        raise typer.BadParameter("done or not-done was expected; nothing was settled", param_hint="WHAT")
    answer: dict[str, Any] = {"done": what == "done"}
    if result is not None:
        try:
            answer["result"] = json.loads(result)
        except ValueError:
            raise typer.BadParameter(
                "JSON was expected; nothing was settled", param_hint="--result"
            ) from None

    async def work() -> None:
        settings = settings_of(config)
        async with open_desk(settings) as desk:
            view = await desk.approvals.view(request)
            open_ = [] if view is None else await desk.runtime.questions(view.run.id)
            asked = [q for q in open_ if _is_about(q.interrupt.value, request)]
            if view is None or not asked:
                raise Refused(
                    "NOT_PENDING", f"nothing was settled: no effect of {request!r} is indeterminate"
                )
            await desk.runtime.resume(
                view.run.thread_id, view.run.id, asked[0].interrupt.id, answer, actor=who_types(settings)
            )
            out.print(f"{request} is {what}; {view.run.id} goes on.", highlight=False, markup=False)

    run_it(work())


def _is_about(value: Any, request: str) -> bool:
    return isinstance(value, dict) and (value.get("type"), value.get("request_id")) == (
        "signoff.unsettled",
        request,
    )


def who_types(settings: Settings) -> str:
    """Return whom the user of this machine is in Slack. Raises :class:`MistypedError` for nobody."""
    user = os_user()
    person = settings.people.get(user)
    if person is None:
        raise MistypedError(
            f"nothing was changed: the user {user!r} of this machine is nobody in Slack; add "
            f'{user} = "U..." under [people] in the settings'
        )
    return person
