"""The counts of `make bench` that do not drift with the machine: what a cycle may cost, and that the counter counts."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from benchmarks.environments import PEERS, shim
from benchmarks.measures import MEASURES
from benchmarks.process import Process

#: fsyncs and thread hops of one approval cycle. They go down; they never go up.
AT_MOST = {"sync": (6.3, 6.5), "async": (3.3, 3.3)}


def measured(peer: str, measure: str, folder: Path, **ask: Any) -> dict[str, Any]:
    library = shim()
    if library is None:
        pytest.skip("fsyncs are counted by a library that needs a C compiler (cc)")
    (usual,) = (one.ask for one in MEASURES if one.key == measure)
    (contestant,) = (one for one in PEERS if one.name == peer)
    with contextlib.closing(Process(contestant, shim=library)) as process:
        figures = process.ask({**usual, **ask, "folder": str(folder)})
    assert "error" not in figures, figures
    return figures


@pytest.mark.parametrize("variant", AT_MOST)
def test_an_approval_cycle_costs_no_more_than_it_did(variant: str, tmp_path: Path) -> None:
    figures = measured("ours", "W1 one at a time", tmp_path, variant=variant, count=60)
    fsyncs, hops = AT_MOST[variant]
    assert figures["fsyncs"] <= fsyncs
    assert figures["hops"] <= hops


def test_three_commits_by_hand_are_counted_as_three_fsyncs_and_three_hops(tmp_path: Path) -> None:
    figures = measured("floor", "W1 one at a time", tmp_path, variant="3t", count=20)
    assert (figures["fsyncs"], figures["hops"]) == (3, 3)


def test_a_click_is_acknowledged_after_one_fsync_and_no_auth_test(tmp_path: Path) -> None:
    figures = measured("bot", "Slack clicks 30 ms apart", tmp_path, variant="decision", count=3)
    assert round(figures["ack_fsyncs"]) == 1
    assert figures["auth_tests"] == 0
