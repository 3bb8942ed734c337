"""What ``signoff db ...`` does and says: sound or not, how large, copied, put back, made small."""

from __future__ import annotations

from pathlib import Path

from rich.console import RenderableType

from graph_runtime import Refused, Retention, Runtime, StoreError, Upkeep

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
    done = await Upkeep(url).restore(file, actor=actor)
    waiting = ", ".join(done.attention)
    return (
        f"Restored from {file}. Cards from before are refused; {_many(done.asked_anew, 'question')} will be "
        f"asked anew by 'signoff serve'; {_many(len(done.attention), 'run')} "
        + (f"must be looked at: {waiting}." if waiting else "must be looked at.")
    )


async def prune(runtime: Runtime, bounds: Retention, *, actor: str, dry_run: bool) -> str:
    """Let finished threads go, or say how many would."""
    went = await runtime.prune(older_than=bounds.older_than, keep=bounds.keep, actor=actor, dry_run=dry_run)
    threads = _many(went, "finished thread")
    return f"{threads} would go." if dry_run else f"{threads} went; the journal keeps what happened."


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
