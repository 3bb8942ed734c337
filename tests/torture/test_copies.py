"""Copies made while two processes work on the file: each is a whole past, and so is what is put back from it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from kit import NIGHTLY, much
from living import alive
from nursery import nursery
from promises import Told, broken, read_told
from regime import say

from graph_runtime import Upkeep

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3_600 if NIGHTLY else 300)]
COPIES = much(5, 50)


def test_copies_that_are_made_under_load_keep_every_promise_and_so_do_databases_put_back_from_them() -> None:
    with nursery("busy") as one, nursery("busy") as other:
        folder = one.folder()
        copy, place = folder / "copy.db", folder / "restored" / "signoff.db"
        place.parent.mkdir()
        one.begin(folder, life=1, name="one")
        other.begin(folder, life=1, name="other")
        acks = 0
        for number in range(1, COPIES + 1):
            told = read_told(folder)
            while len(told.acks) < acks + 20:
                time.sleep(0.001)
                told = read_told(folder)
            acks = len(told.acks)
            asyncio.run(Upkeep(f"sqlite:///{folder}/signoff.db").back_up(copy, replace=number > 1))
            # What was acknowledged before the copy began is in it; what was sent has gone on since.
            assert broken(f"sqlite:///{copy}", Told(told.acks)) == [], f"copy {number}"
            asyncio.run(_put_back(copy, place, told))
        for house in (one, other):
            os.kill(house.pid, signal.SIGKILL)
            assert house.ended(folder).code == -signal.SIGKILL
        assert broken(f"sqlite:///{folder}/signoff.db", read_told(folder)) == []
        say(f"{COPIES} copies while {acks} things were acknowledged, each put back and gone on with")


async def _put_back(copy: Path, place: Path, told: Told) -> None:
    """Put a copy in the place of another copy, and go on with it: what it asks is asked anew, once."""
    restored = await Upkeep(f"sqlite:///{place}").restore(copy)
    decided = Told([ack for ack in told.acks if ack[0] in {"decided", "started"}])
    assert broken(f"sqlite:///{place}", decided) == []
    async with alive(place.parent, 2) as world:
        assert world.store.deployment == restored.deployment
        await world.settle()
        while (count := await world.runtime.count()).get("interrupted"):
            await world.decide()
            await world.settle()
        assert set(count) <= {"completed", "needs_attention"}
        assert count.get("needs_attention", 0) == len(restored.attention)
    assert broken(f"sqlite:///{place}", decided) == []
