"""What is written when a run ends, or stops and waits for an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from . import records
from .clock import SECOND
from .companions import EndFacts
from .ground import Ground
from .plainjson import write_json
from .storage import Do, Params
from .texts import spoken
from .types import Run, RunStatus, TaskId


def said_of(error: BaseException, task: TaskId | None) -> dict[str, str]:
    """Return an error as a run keeps it: its type, its message and, for a task, what is shown there."""
    said = {"type": type(error).__name__, "message": _spoken(str, error)}
    return said if task is None else {**said, "task": task, "shown": _spoken(repr, error)}


def _spoken(speak: Callable[[BaseException], str], error: BaseException) -> str:
    """Return what the error says, storable: authors' errors may refuse to speak or hold half a surrogate."""
    try:
        text = speak(error)
    except Exception:  # noqa: BLE001 - whatever it raises, the run has failed with the error, not with this
        return "(the error could not be put into words)"
    return records.legible(text[:2_000])


def until(run: Run, now: int) -> str:
    """Return for how long a run that is driven is held, for the sentence that somebody else must wait."""
    if run.status != "running" or run.lease_until is None:
        return ""
    seconds = max(0.0, (run.lease_until - now) / SECOND)
    return (
        f", and whoever drives it holds it for another {seconds:.0f} s and renews that; if that process has "
        "died, try again then"
    )


def closing(ground: Ground, run: Run, status: RunStatus, error: Mapping[str, str] | None) -> Iterable[Do]:
    """Yield what ends a run for whoever claimed it."""
    now = ground.clock()
    ended: Params = {
        **ground.fence(run),
        "status": status,
        "error": None if error is None else write_json(dict(error)),
        "now": now,
    }
    yield Do("end_run", ended, guard="lease")
    yield from ending(ground, run, status, None, now, reason=error["type"] if error else None)


def ending(
    ground: Ground,
    run: Run,
    status: RunStatus,
    actor: str | None,
    now: int,
    *,
    reason: str | None,
    words: str | None = None,
) -> Iterable[Do]:
    """Yield what is written with every end, after the run itself: companions, questions, journal.

    ``reason`` is a code of ours, ``words`` are those of the actor.
    """
    facts = EndFacts(run, status, actor, now, ground.new_id)
    for companion in ground.companions:
        yield from companion.on_end(facts)
    if status not in {"needs_attention", "completed"}:
        # What has come to its end asks nothing: no task of it is left.
        yield Do("withdraw_interrupts", {"run_id": run.id})
    why = spoken(ground.new_id("evt"), actor, words, now, thread_id=run.thread_id)
    yield from why.writes
    yield records.put_event(
        why.line,
        f"run.{status}",
        now,
        actor=actor,
        thread_id=run.thread_id,
        run_id=run.id,
        reason=reason,
        **why.told,
    )
