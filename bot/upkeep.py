"""What ``signoff db ...`` does and says: sound or not, how large, copied, put back, made small."""

from __future__ import annotations

from pathlib import Path

from rich.console import RenderableType

from graph_runtime import Refused, Restored, Retention, Runtime, StoreError, Upkeep

from . import tables


async def check(url: str) -> str:
    """Look at every page and every promise. Raises :class:`StoreError` that names what is wrong."""
    wrong = await Upkeep(url).check()
    if wrong:
        raise StoreError(f"the database is not sound ({len(wrong)} found): " + "; ".join(wrong))
    return "The database is sound: every page of it, and what its rows promise of each other."


async def size(url: str) -> RenderableType:
    """Return how large the database is, as a table."""
    return tables.size(await Upkeep(url).size())


async def size_json(url: str) -> dict[str, object]:
    """Return how large the database is, for --json."""
    return tables.size_json(await Upkeep(url).size())


async def vacuum(url: str) -> str:
    """Make the file small."""
    before, after = await Upkeep(url).vacuum()
    return f"The file had {tables.volume(before)} and has {tables.volume(after)}."


async def back_up(url: str, file: Path, *, replace: bool) -> str:
    """Write a verified copy."""
    written = await Upkeep(url).back_up(file, replace=replace)
    return f"{file} holds a verified copy of {tables.volume(written)}."


async def restore(url: str, file: Path, *, actor: str, sure: bool) -> str:
    """Put a copy back. Raises :class:`Refused` unless that is wanted for sure."""
    if not sure:
        raise Refused("NOT_ALLOWED", f"nothing was restored yet: {file} replaces the database with --yes")
    return f"Restored from {file}. " + _changed(await Upkeep(url).restore(file, actor=actor))


async def renew(url: str, *, actor: str, sure: bool) -> str:
    """Make a database that was put back by other means another one. Raises :class:`Refused` unless sure."""
    if not sure:
        raise Refused("NOT_ALLOWED", "nothing was changed yet: all that waits is asked anew with --yes")
    return "The database has another name. " + _changed(await Upkeep(url).renew(actor=actor))


async def prune(runtime: Runtime, bounds: Retention, *, actor: str, dry_run: bool) -> str:
    """Let finished threads go, or say how many would."""
    went = await runtime.prune(older_than=bounds.older_than, keep=bounds.keep, actor=actor, dry_run=dry_run)
    threads = _many(went, "finished thread")
    return f"{threads} would go." if dry_run else f"{threads} went; the journal keeps what happened."


def _changed(done: Restored) -> str:
    waiting = f": {', '.join(done.attention)}" if done.attention else ""
    return (
        f"Cards from before are refused; {_many(done.asked_anew, 'question')} will be asked anew by "
        f"'signoff serve'; {_many(len(done.attention), 'run')} must be looked at{waiting}."
    )


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
