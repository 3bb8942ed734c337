"""Whatever graph is drawn and whatever is done with it, by whom and in which order, the promises hold."""

from __future__ import annotations

import pytest
from drawn import Program, programs, races
from hypothesis import HealthCheck, given, settings
from kit import NIGHTLY
from trial import play

#: New programs each night, and many; otherwise always the same few.
thoroughly = settings(
    max_examples=1_000 if NIGHTLY else 40,
    derandomize=not NIGHTLY,
    print_blob=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# Room for hypothesis to make a failing program small.
patiently = pytest.mark.timeout(7_200 if NIGHTLY else 900)


@patiently
@thoroughly
@given(programs())
async def test_whatever_is_done_with_whatever_graph_the_promises_hold(program: Program) -> None:
    await play(program)


@patiently
@thoroughly
@given(races())
async def test_whatever_overtakes_whatever_at_a_commit_the_promises_hold(program: Program) -> None:
    await play(program)
