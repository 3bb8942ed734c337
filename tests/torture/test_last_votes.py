"""Two last votes at once, again and again: every request closes exactly once."""

from __future__ import annotations

import pytest
from kit import MakeRuntime, much
from regime import say
from test_votes import last_votes_at_once

from graph_runtime import Store

TIMES = much(25, 500)


@pytest.mark.timeout(3_600)
@pytest.mark.databases("sqlite", "postgres")
async def test_two_last_votes_at_once_close_every_request_once(
    make_runtime: MakeRuntime, store: Store
) -> None:
    for number in range(TIMES):
        await last_votes_at_once(make_runtime, store, number)
    say(f"{TIMES} times two last votes at once on {type(store).__name__}")
