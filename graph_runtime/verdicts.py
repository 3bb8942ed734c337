"""What a verdict comes to before it is recorded: who gives it, and what an edit would make of the action.

The form of a request is asked here, last: whoever may not decide hears of that, and not what the form thinks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import Refused, ValueRefused
from .forms import find_form, read_edit
from .judging import Case, Standing, may_decide, merge
from .types import Reviewer, Verdict
from .values import Codec

#: What a dialog asks for next, so that it is no reason not to open it.
ASKED_NEXT = frozenset({"REASON_REQUIRED", "INVALID_INPUT"})
#: Reason, edited, confirm and seen of a decision.
Said = tuple[str | None, Mapping[str, Any] | None, str | None, int | None]
_plain = Codec()


def weigh(
    case: Case,
    reviewer: Reviewer,
    before: Standing,
    verdict: Verdict,
    said: Said,
    *,
    behalf: Reviewer | None = None,
) -> tuple[Mapping[str, Any] | None, Refused | None]:
    """Return the action's arguments as an edit leaves them, and why the verdict may not be taken."""
    reason, edited, confirm, _ = said

    def refused(arguments: Mapping[str, Any] | None) -> Refused | None:
        return _check_storable(arguments) or may_decide(
            case,
            reviewer,
            verdict,
            reason,
            behalf=behalf,
            arguments=arguments,
            confirm=confirm,
            standing=before,
        )

    if edited is None or verdict != "edit":
        return None, refused(None)
    arguments = merge(case, before, edited)
    refusal = refused(arguments)
    action, form, edit = case.request.action, case.request.form, case.policy.edit
    barred = refusal is not None and refusal.code not in ASKED_NEXT
    if barred or action is None or form is None or edit is None:
        return arguments, refusal
    present = action.arguments if before.arguments is None else before.arguments
    try:
        arguments = read_edit(
            form,
            edited,
            present,
            editable=edit.fields,
            requested=action.arguments,
            facts=case.request.facts,
        )
    except Refused as wrong:
        return arguments, wrong
    return arguments, refused(arguments)


def check_form(case: Case) -> Refused | None:
    """Say why the request cannot be edited by its form in this process, when it has one."""
    action, form = case.request.action, case.request.form
    if action is None or form is None:
        return None
    try:
        find_form(form, action.arguments)
    except Refused as refusal:
        return refusal
    return None


def _check_storable(arguments: Mapping[str, Any] | None) -> Refused | None:
    try:
        _plain.encode(arguments)
    except ValueRefused as error:
        return Refused("INVALID_INPUT", str(error))
    return None
