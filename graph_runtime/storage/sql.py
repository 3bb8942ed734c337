"""The statements of ``queries.sql`` and the files of ``schema/``, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from operator import itemgetter
from typing import Any, Literal, get_args

#: A glued-together statement cannot be run: the store takes only these names.
QueryName = Literal[
    "get_deployment",
    "set_deployment",
    "put_deployment",
    "get_closed",
    "put_thread",
    "get_thread",
    "put_run",
    "set_last_run",
    "get_run",
    "get_run_by_key",
    "get_last_run",
    "find_runs",
    "count_runs",
    "find_claimable",
    "claim_run",
    "claim_this_run",
    "claim_woken_run",
    "take_up_run",
    "lock_run",
    "go_on_run",
    "hold_run",
    "step_run",
    "rest_run",
    "end_run",
    "finish_run",
    "give_back_run",
    "wake_run",
    "migrate_run",
    "attend_run",
    "ask_anew",
    "find_live_runs",
    "cancel_run",
    "put_checkpoint",
    "get_checkpoint",
    "get_values",
    "find_all_checkpoints",
    "find_thread_checkpoints",
    "find_questions_of_task",
    "find_questions_within",
    "edit_run",
    "put_value",
    "put_write",
    "drop_values",
    "drop_writes",
    "drop_checkpoint",
    "follow_checkpoint",
    "get_head",
    "get_head_values",
    "get_head_writes",
    "get_writes",
    "find_errors_at",
    "find_checkpoints",
    "find_checkpoints_of_run",
    "lock_thread",
    "hold_thread",
    "hold_finished_thread",
    "find_finished_threads",
    "count_finished_threads",
    "drop_receipts_of_thread",
    "drop_outbox_of_thread",
    "drop_due_of_thread",
    "forget_texts_of_thread",
    "drop_decisions_of_thread",
    "drop_requests_of_thread",
    "drop_waits_of_thread",
    "drop_executions_of_thread",
    "drop_interrupts_of_thread",
    "drop_effects_of_thread",
    "drop_values_of_thread",
    "drop_writes_of_thread",
    "drop_frames_of_thread",
    "drop_checkpoints_of_thread",
    "drop_runs_of_thread",
    "drop_thread",
    "put_frame",
    "get_frame",
    "find_live_frames",
    "get_frame_head",
    "get_frame_values",
    "get_frame_writes",
    "put_effect",
    "find_effects",
    "put_interrupt",
    "find_questions",
    "find_open_questions",
    "find_asking",
    "find_open_questions_of_run",
    "find_past_questions",
    "find_answerable",
    "get_question",
    "answer_interrupt",
    "deliver_interrupt",
    "finish_interrupt",
    "reopen_interrupt",
    "supersede_interrupt",
    "supersede_as",
    "withdraw_interrupts",
    "put_request",
    "get_request",
    "get_run_of_request",
    "find_requests",
    "find_open_requests",
    "find_requests_of_run",
    "find_requests_of_question",
    "close_request",
    "close_part",
    "find_parts",
    "hold_parts",
    "vote_request",
    "retier_request",
    "get_quota",
    "take_quota",
    "withdraw_requests",
    "supersede_request",
    "get_opening",
    "put_decision",
    "find_decisions",
    "put_entry",
    "put_trails_of_withdrawn",
    "redraw_card",
    "redraw_card_of_interrupt",
    "redraw_cards_of_run",
    "redraw_last_card_of_run",
    "find_told",
    "redraw_entry",
    "put_trail_of_run",
    "claim_entry",
    "complete_entry",
    "complete_entry_again",
    "retry_entry",
    "defer_entry",
    "park_entry",
    "lose_entry",
    "hold_cards",
    "put_alarm",
    "redraw_cards_in_channel",
    "take_up_parked",
    "find_troubled",
    "take_turn",
    "get_turn",
    "put_receipt",
    "find_cards",
    "get_receipt",
    "get_receipt_at",
    "doubt_outbox",
    "count_outbox",
    "put_due",
    "find_due",
    "shift_due",
    "shift_deadlines",
    "redraw_cards_of_scope",
    "drop_due",
    "take_due",
    "drop_due_of_closed",
    "put_wait",
    "drop_wait",
    "drop_waits_of_run",
    "find_due_waits",
    "find_frozen_waits",
    "get_execution",
    "revoke_unused_grants",
    "reserve_execution",
    "reserve_again",
    "end_execution",
    "drop_execution",
    "find_freezes",
    "put_freeze",
    "agree_to_release",
    "drop_freeze",
    "put_event",
    "put_events_of_withdrawn",
    "find_events",
    "find_events_of_run",
    "find_events_of_request",
    "get_event",
    "find_events_after",
    "find_unsealed",
    "count_unsealed",
    "get_last_block",
    "find_blocks",
    "find_sealed_events",
    "find_strays",
    "put_block",
    "seal_event",
    "put_text",
    "find_texts_of_person",
    "erase_text",
    "count_words_of_person",
    "find_texts_of_blocks",
    "find_untold_erasures",
    "find_erasures",
    "find_broken",
    "drop_reassignments_of_thread",
    "drop_bypasses_of_thread",
    "lock_request",
    "put_bypass",
    "find_bypasses",
    "find_bypassed",
    "get_delegation_count",
    "count_delegation",
    "put_delegation",
    "get_delegation",
    "find_delegations",
    "find_delegations_for",
    "find_delegations_used",
    "hold_delegation",
    "revoke_delegation",
    "revoke_delegations",
]

#: Whoever makes or changes a PostgreSQL schema holds this advisory lock, as does whoever opens a store.
LOCK_SCHEMA = f"SELECT pg_advisory_lock({int.from_bytes(b'signoff')})"

_BLOCK = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
PARAMETER = re.compile(r"(?<!:):([a-z_]+)")


Dialect = Literal["sqlite", "postgres"]


@cache
def queries(dialect: Dialect = "sqlite") -> Mapping[str, str]:
    """Return every statement by its name, with ``:name`` parameters.

    Comments are removed, but for what ``/* postgres: ... */`` holds: PostgreSQL gets those words.
    """
    text = (resources.files(__package__) / "queries.sql").read_text("utf-8")
    parts = _BLOCK.split(text)[1:]
    words = r"\1" if dialect == "postgres" else ""
    found = {name: _bare(body, words) for name, body in zip(parts[::2], parts[1::2], strict=True)}
    missing = set(get_args(QueryName)) ^ set(found)
    if missing:
        raise LookupError(f"queries.sql and QueryName disagree about {', '.join(sorted(missing))}")
    return found


@dataclass(frozen=True, slots=True)
class Numbered:
    """A statement of SQLite with numbered parameters, which bind at half the cost of named ones."""

    text: str
    #: Takes the parameters, in their order, out of those by name.
    pick: Callable[[Mapping[str, Any]], Any]


@cache
def numbered() -> Mapping[str, Numbered]:
    """Return every statement by its name, as SQLite takes it with a sequence of parameters."""
    return {name: _numbered(text) for name, text in queries().items()}


def _numbered(text: str) -> Numbered:
    names = list(dict.fromkeys(PARAMETER.findall(text)))
    numbers = {name: number for number, name in enumerate(names, 1)}
    sql = PARAMETER.sub(lambda found: f"?{numbers[found[1]]}", text)
    if len(names) > 1:
        return Numbered(sql, itemgetter(*names))
    return Numbered(sql, (lambda params: (params[names[0]],)) if names else _nothing)


def _nothing(_: Mapping[str, Any]) -> tuple[()]:
    return ()


def _bare(body: str, words: str) -> str:
    lines = [line for line in body.splitlines() if not line.startswith("--")]
    return re.sub(r"/\* postgres: (.*?) \*/", words, "\n".join(lines)).strip().rstrip(";")


@cache
def migrations() -> tuple[tuple[int, str, str], ...]:
    """Return (number, file name, text) of each schema file, in order."""
    folder = resources.files(__package__) / "schema"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return tuple((int(f.name[:4]), f.name, f.read_text("utf-8")) for f in files)


def statements(script: str) -> list[str]:
    """Return the single statements of a schema file, which holds no semicolon inside a statement."""
    bare = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("--"))
    return [one.strip() for one in bare.split(";") if one.strip()]
