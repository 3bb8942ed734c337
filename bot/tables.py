"""What the CLI prints, as pure functions: tables for people, plain structures for --json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from graph_runtime import (
    SECOND,
    DatabaseSize,
    Event,
    Migration,
    Refused,
    Replay,
    RequestView,
    Run,
    RunView,
    Standing,
    StateSnapshot,
    Vote,
    Way,
)
from graph_runtime.policy import Rule
from graph_runtime.types import RunStatus

from .redaction import mask
from .text import plain, worded

if TYPE_CHECKING:
    from .check import Finding  # it loads what asks Slack

_STYLE = {
    "queued": "blue",
    "running": "blue",
    "interrupted": "yellow",
    "open": "yellow",
    "completed": "green",
    "approved": "green",
    "rejected": "red",
    "timed_out": "red",
    "failed": "red",
    "needs_attention": "red",
    "done": "green",
    "here": "blue",
    "waits": "yellow",
    "stopped": "red",
}


def known_status(status: str) -> str:
    """Return the status. Raises :class:`Refused` that lists the statuses there are."""
    if status and status not in get_args(RunStatus):
        raise Refused("NOT_ALLOWED", f"no status {status!r}; there are {', '.join(get_args(RunStatus))}")
    return status


def moment(at: int | None) -> str:
    """Return a moment in UTC, as every operator's log has it."""
    return "" if at is None else datetime.fromtimestamp(at / SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S")


def minute(at: int | None) -> str:
    """Return a moment in UTC without its seconds."""
    return moment(at)[:-3]


def stacked(at: int | None) -> str:
    """Return the same in two lines, for a table that is wide already."""
    return minute(at).replace(" ", "\n")


def runs(found: Sequence[Run]) -> RenderableType:
    """Return the runs as a table."""
    if not found:
        return "There are no such runs."
    table = headed("RUN", "GRAPH", "STATUS", "STEP", "ASKED BY", "STARTED (UTC)")
    for run in found:
        table.add_row(
            run.id, run.graph, _status(run.status), str(run.step), run.requester or "", moment(run.created_at)
        )
    return table


def view(seen: RunView, requests: Sequence[RequestView], way: Way) -> Iterator[RenderableType]:
    """Yield where a run stands, how it came there, what it asks, and its state."""
    run, state = seen.run, seen.state
    facts = Table.grid(padding=(0, 2))
    rows: dict[str, str | Text] = {
        "run": run.id,
        "thread": run.thread_id,
        "graph": f"{run.graph} (version {run.version})",
        "status": _status(run.status),
        "asked by": run.requester or "a program",
        "started": moment(run.created_at),
        "checkpoint": state.checkpoint_id,
        "step": f"{state.step} ({run.steps_taken} of at most {run.max_steps} taken)",
        "next": ", ".join(state.next) or "nothing",
    }
    if run.error:
        rows["error"] = plain(f"{run.error['type']}: {run.error['message']}", 1_000)
    for name, value in rows.items():
        facts.add_row(Text(name, style="bold"), value if isinstance(value, Text) else Text(value))
    yield facts
    yield _way(way)
    if seen.questions:
        table = headed("INTERRUPT", "NODE", "STEP", "STATUS", "ASKED (UTC)", "ANSWERED BY")
        for q in seen.questions:
            asked = (minute(q.asked_at), q.answered_by or "")
            table.add_row(q.interrupt.id, q.node, str(q.step), _status(q.status), *asked)
        yield table
    if requests:
        table = headed("REQUEST", "TITLE", "POLICY", "STATUS", "BOUND TO", "DEADLINE\n(UTC)")
        for one in requests:
            r, bound = one.request, one.bound_to.removeprefix("sha256:")[:8]
            row = (plain(r.title, 80), r.policy_name, _status(r.status), bound, stacked(r.deadline_at))
            table.add_row(r.id, *row)
        yield table
    for one in requests:
        if one.request.status == "open":
            yield _asked(one)
    table = headed("STATE", "VALUE")
    for name, value in state.values.items():
        table.add_row(plain(name, 60), plain(worded(value), 500))
    yield table


def _way(way: Way) -> RenderableType:
    """Return the nodes of a run in the order in which it comes to them."""
    table = headed("NODE", "MARK", "STEP", "WENT TO")
    if way.cut:
        table.add_row("...", "done", "", "see signoff history")
    for stage in way.stages:
        for stop in stage.stops:
            name = plain(stop.node, 60) + (f" ({stop.times} tasks)" if stop.times > 1 else "")
            step = "" if stage.step is None else str(stage.step)
            table.add_row(name, Text(stop.mark, style=_STYLE.get(stop.mark, "")), step, "; ".join(stop.chose))
    for node in way.elsewhere:
        table.add_row(plain(node, 60), Text("-"), "", "")
    return table


def needs(stages: Sequence[Sequence[Rule]]) -> str:
    """Return whose approvals are needed, by the ids that the policy names."""
    said = []
    for stage in stages:
        rules = []
        for rule in stage:
            ids = ", ".join([*rule.refs, *rule.people]) or "who asked"
            who = f"{rule.name} ({ids})" if rule.name else ids
            rules.append(f"{rule.count} of {who}" + (f" when {rule.when}" if rule.when else ""))
        said.append(" and ".join(rules))
    return ", then ".join(said)


def _asked(seen: RequestView) -> RenderableType:
    """Return what exactly an open request asks, of whom, and how far it is."""
    request, case = seen.request, seen.case
    barred = [p for p in (request.requester, *request.also) if p]
    rows = {
        "request": request.id,
        "tier": case.terms.tier or "",
        "needs": needs(case.terms.stages),
        "stands at": str(seen.standing),
        "voted": ", ".join(f"{voter(vote)} {vote.verdict}" for vote in seen.votes),
        "may not approve": ", ".join(barred) if case.policy.self_approval == "forbid" else "",
        "action": "" if request.action is None else request.action.name,
    }
    shown = {**({} if request.action is None else request.action.arguments), **request.facts}
    rows |= {name: "(empty)" if value == "" else value for name, value in shown.items()}
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        if value not in ("", None):
            table.add_row(Text(plain(name, 60), style="bold"), Text(plain(worded(value), 2_000)))
    return table


def history(steps: Sequence[StateSnapshot], events: Sequence[Event]) -> Iterator[RenderableType]:
    """Yield the steps and the journal of a run."""
    table = headed("STEP", "SOURCE", "NEXT", "ROUTE", "CHECKPOINT", "AT (UTC)")
    for step in steps:
        routes = "; ".join(f"{r.source} → {', '.join(r.targets)} ({r.by or r.way})" for r in step.routes)
        names = ", ".join(step.next) or "END"
        at = moment(step.at)
        table.add_row(str(step.step), step.source, names, routes, step.checkpoint_id, at)
    if steps:
        yield table
    table = headed("AT (UTC)", "EVENT", "BY", "DETAILS")
    for event in events:
        details = ", ".join(f"{k}={short(v)}" for k, v in event.data.items() if v not in (None, "", []))
        said = f"“{plain(event.words, 300)}” " if event.words else ""
        table.add_row(moment(event.at), event.kind, event.actor or "", said + plain(details, 300))
    yield table


def replay(found: Replay) -> Iterator[RenderableType]:
    """Yield what was compared, and what differs first."""
    skipped = Counter(one.why for one in found.skipped)
    facts = Table.grid(padding=(0, 2))
    rows = {
        "run": found.run_id,
        "graph": f"{found.graph} (version {found.version}, as it is now)",
        "steps compared": found.steps,
        "executions compared": found.tasks,
        "edits taken as given": found.given,
        **{f"steps left out: {why}": count for why, count in sorted(skipped.items())},
    }
    for name, value in rows.items():
        if value:
            facts.add_row(Text(name, style="bold"), Text(str(value)))
    yield facts
    if found.divergence is None:
        some = found.steps + found.tasks
        yield Text("Nothing differs.", style="green") if some else Text("There is nothing to compare.")
        return
    first = found.divergence
    yield Text("This differs first:", style="bold red")
    table = headed("STEP", "IN", "WHAT", "NAME", "RECORDED", "NOW")
    said = (first.name, first.recorded, first.recomputed)
    table.add_row(str(first.step), plain(first.ns, 200), first.what, *(plain(one, 500) for one in said))
    yield table


def migration(seen: Migration) -> Iterator[RenderableType]:
    """Yield what taking a run to another version of its graph means."""
    run = seen.run
    facts = Table.grid(padding=(0, 2))
    rows = {
        "run": run.id,
        "graph": run.graph,
        "version": f"{run.version} → {seen.to_version}",
        "stopped": plain(mask(f"{run.error['type']}: {run.error['message']}"), 1_000) if run.error else "",
        "keys not known": ", ".join(seen.keys_unknown) and f"{', '.join(seen.keys_unknown)} (kept, unseen)",
        "keys without value": ", ".join(seen.keys_without_value),
        "checked when called": ", ".join(seen.unchecked),
    }
    for name, value in rows.items():
        if value:
            facts.add_row(Text(name, style="bold"), Text(plain(value, 2_000)))
    yield facts
    if seen.changes:
        table = headed("NODE", "WHAT CHANGED", "WHEN IT STOPPED", "NOW")
        for change in seen.changes:
            then, now = (", ".join(said) or "none" for said in (change.then, change.now))
            table.add_row(*(plain(cell, 500) for cell in (change.node, change.part, then, now)))
        yield table
    asked = [
        *((one, "is open: superseded, and asked anew") for one in seen.open),
        *((one, "has an answer that had not arrived: it is NOT delivered") for one in seen.undelivered),
        *((one, "was answered, and its node runs again: asked anew") for one in seen.used),
    ]
    if asked:
        table = headed("INTERRUPT", "NODE", "ANSWERED BY", "WHAT BECOMES OF IT")
        for one, becomes in asked:
            table.add_row(one.id, plain(one.node, 60), one.answered_by or "", becomes)
        yield table


def volume(size: int) -> str:
    """Return a number of bytes as people say it."""
    amount, units = float(size), iter(("bytes", "KiB", "MiB", "GiB"))
    unit = next(units)
    while amount >= 1024 and (larger := next(units, None)):
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"


def size(found: DatabaseSize) -> RenderableType:
    """Return how large a database is."""
    table = headed("WHAT", "SIZE")
    rows = {"file": found.file, "of it free": found.free, "log": found.log, **found.tables}
    for name, taken in rows.items():
        table.add_row(name, volume(taken))
    return table


def size_json(found: DatabaseSize) -> dict[str, Any]:
    """Return how large a database is in bytes, for --json."""
    return {"file": found.file, "free": found.free, "log": found.log, "tables": dict(found.tables)}


def checks(found: Sequence[Finding]) -> RenderableType:
    """Return what ``signoff check`` found."""
    table = Table.grid(padding=(0, 2))
    for one in found:
        mark = Text("ok", style="green") if one.good else Text("WRONG", style="bold red")
        mark = Text("note", style="yellow") if one.good and one.warns else mark
        table.add_row(mark, Text(one.what, style="bold"), Text(one.said))
    return table


def run_json(run: Run) -> dict[str, Any]:
    """Return a run for --json."""
    return {
        "run_id": run.id,
        "thread_id": run.thread_id,
        "graph": run.graph,
        "version": run.version,
        "status": run.status,
        "step": run.step,
        "requester": run.requester,
        "error": run.error,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
    }


def view_json(seen: RunView, requests: Sequence[RequestView], way: Way) -> dict[str, Any]:
    """Return everything to inspect before resuming, for --json."""
    return {
        **run_json(seen.run),
        "checkpoint_id": seen.state.checkpoint_id,
        "next": list(seen.state.next),
        "way": [
            {"node": stop.node, "mark": stop.mark, "step": stage.step, "tasks": stop.times}
            for stage in way.stages
            for stop in stage.stops
        ],
        "values": {name: worded(value) for name, value in seen.state.values.items()},
        "interrupts": [
            {
                "interrupt_id": q.interrupt.id,
                "node": q.node,
                "step": q.step,
                "status": q.status,
                "value": worded(q.interrupt.value),
                "digest": q.interrupt.digest,
                "asked_at": q.asked_at,
                "answered_by": q.answered_by,
            }
            for q in seen.questions
        ],
        "requests": [
            {
                "request_id": r.id,
                "interrupt_id": r.interrupt_id,
                "title": r.title,
                "policy": r.policy_name,
                "status": r.status,
                "revision": r.revision,
                "digest": r.digest,
                "requester": r.requester,
                "also": list(r.also),
                "tier": case.terms.tier,
                "needs": needs(case.terms.stages),
                "standing": standing_json(standing),
                "votes": votes_json(votes),
                "action": None
                if r.action is None
                else {
                    "name": r.action.name,
                    "arguments": {k: worded(v) for k, v in r.action.arguments.items()},
                },
                "facts": {name: worded(value) for name, value in r.facts.items()},
                "deadline_at": r.deadline_at,
            }
            for r, case, standing, votes in (
                (one.request, one.case, one.standing, one.votes) for one in requests
            )
        ],
    }


def votes_json(votes: Sequence[Vote]) -> list[dict[str, Any]]:
    """Return the votes on a request, for --json."""
    return [
        {
            "reviewer": vote.reviewer,
            "on_behalf_of": vote.on_behalf_of,
            "verdict": vote.verdict,
            "reason": vote.reason,
            "reason_erased": vote.erased,
            "groups": sorted(vote.groups),
            "stage": vote.stage + 1,
            "at": vote.at,
        }
        for vote in votes
    ]


def voter(vote: Vote) -> str:
    """Return who voted, and in whose place."""
    return vote.reviewer + (f" for {vote.on_behalf_of}" if vote.on_behalf_of else "")


def standing_json(standing: Standing) -> dict[str, Any]:
    """Return how far a request is, for --json."""
    return {
        "words": str(standing),
        "stage": standing.stage + 1,
        "stages": standing.stages,
        "rules": [
            {
                "name": seat.name or None,
                "filled": seat.filled,
                "count": seat.count,
                "people": list(seat.people),
                "groups": list(seat.groups),
            }
            for seat in standing.seats
        ],
        "rejections": standing.rejections,
        "rejections_reject": standing.veto,
    }


def history_json(steps: Sequence[StateSnapshot], events: Sequence[Event]) -> dict[str, Any]:
    """Return steps and journal for --json."""
    return {
        "steps": [
            {
                "step": s.step,
                "source": s.source,
                "next": list(s.next),
                "checkpoint_id": s.checkpoint_id,
                "parent_id": s.parent_id,
                "routes": [[r.source, r.way, list(r.targets), r.by] for r in s.routes],
                "created_at": s.at,
            }
            for s in steps
        ],
        "events": [
            {
                "at": e.at,
                "kind": e.kind,
                "actor": e.actor,
                "request_id": e.request_id,
                **e.data,
                **({} if e.words is None else {"said": e.said, "said_erased": e.erased}),
            }
            for e in events
        ],
    }


def replay_json(found: Replay) -> dict[str, Any]:
    """Return what came of a replay, for --json; values as digests."""
    first = found.divergence
    return {
        "run_id": found.run_id,
        "graph": found.graph,
        "version": found.version,
        "steps": found.steps,
        "tasks": found.tasks,
        "given": found.given,
        "skipped": [{"ns": one.ns, "step": one.step, "why": one.why} for one in found.skipped],
        "divergence": None
        if first is None
        else {
            "ns": first.ns,
            "step": first.step,
            "what": first.what,
            "name": first.name,
            "recorded": first.recorded,
            "recomputed": first.recomputed,
        },
    }


#: An id that is cut cannot be copied; the others are as narrow.
_WHOLE = {"ID", "RUN", "REQUEST", "INTERRUPT", "ENTRY", "STATUS", "STEP", "BOUND TO", "TRIES"}
_WHOLE |= {"WHO", "FROM (UTC)", "UNTIL (UTC)", "DEADLINE\n(UTC)"}


def headed(*heads: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head, no_wrap=head in _WHOLE, overflow="fold")
    return table


def _status(status: str) -> Text:
    return Text(status, style=_STYLE.get(status, ""))


def short(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
