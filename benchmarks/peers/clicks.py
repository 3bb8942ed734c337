"""Clicks: a server in this process, people and Slack in another; what each acknowledgement took and cost."""

from __future__ import annotations

import asyncio
import cProfile
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.peers.counting import CountingLoop, Figures, Fsyncs, in_words

_WARM_UPS = 5
#: How much slower each fsync is made to learn for how many of them an acknowledgement waits.
_SLOWER_MS = 100
_SLOW_CLICKS, _SLOW_PAUSE = 6, 1.0

Card = Sequence[str]
#: Opens a server for Slack's clicks: given where Slack is and how many cards there shall be, it yields its
#: address and where its cards lie; without cards, look-alikes are made. Each card is clicked once.
OpenDoor = Callable[[str, Path, Figures, int], AbstractAsyncContextManager[tuple[str, list[Card]]]]


class Slack:
    """The process of peers/slack.py."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, do: str, **said: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **said}).encode() + b"\n")
        return await self.hear()

    async def hear(self) -> Any:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("Slack's side ended; its words are in the log")
        return json.loads(line)

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def clicks(open_door: OpenDoor, ask: Figures, fsyncs: Fsyncs) -> Figures:
    """Return the figures of ``count`` clicks: paced, in bursts, or in lanes that are always busy."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.peers.slack"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    slack = Slack(process)
    try:
        place = await slack.hear()
        total = _WARM_UPS + ask["count"] * ask.get("at_once", 1)
        if ask["how"] == "paced" and fsyncs.counted:
            total += _SLOW_CLICKS
        with tempfile.TemporaryDirectory(prefix="bench-", dir=ask["folder"]) as folder:
            path = Path(folder) / "data.db"
            async with open_door(ask["variant"], path, place, total) as (url, cards):
                await slack.ask("meet", url=url, cards=cards or await slack.ask("post", count=total))
                await slack.ask("paced", count=_WARM_UPS, pause=0.05)
                return await _taken(slack, ask, fsyncs)
    finally:
        await slack.end()


async def _taken(slack: Slack, ask: Figures, fsyncs: Fsyncs) -> Figures:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    profile = cProfile.Profile() if ask.get("profile") else None
    before, hops, cpu = fsyncs.count(), loop.hops, time.process_time()
    with profile or nullcontext():
        said = await _clicked(slack, ask)
    took = sorted(said["took"])
    figures: Figures = {
        "units": len(took),
        "ack_ms": statistics.median(took) * 1_000,
        "ack_p99_ms": took[int(len(took) * 0.99)] * 1_000,
        "cpu_us": (time.process_time() - cpu) / len(took) * 1_000_000,
        "hops": (loop.hops - hops) / len(took),
    }
    if fsyncs.counted:
        figures["fsyncs"] = (fsyncs.count() - before) / len(took)
    if profile is not None:
        figures["profile"] = in_words(profile)
    if "walls" in said:
        figures["acks_per_second"] = len(took) / len(said["walls"]) / statistics.median(said["walls"])
    else:
        figures["auth_tests"] = said["auth_tests"] / len(took)
        figures |= await _waited_for(slack, fsyncs, min(took))
    return figures


async def _clicked(slack: Slack, ask: Figures) -> Any:
    match ask["how"]:
        case "paced":
            return await slack.ask("paced", count=ask["count"], pause=ask["pause"])
        case "burst":
            return await slack.ask("burst", count=ask["count"], at_once=ask["at_once"], pause=ask["pause"])
        case _:
            return await slack.ask("lanes", count=ask["count"] * ask["at_once"], at_once=ask["at_once"])


async def _waited_for(slack: Slack, fsyncs: Fsyncs, usual: float) -> Figures:
    """Return for how many fsyncs an acknowledgement waits: slower ones make it later by their number.

    The quickest click counts: others may have waited for a commit that was not theirs.
    """
    if not fsyncs.counted:
        return {}
    fsyncs.slow(_SLOWER_MS * 1_000)
    try:
        said = await slack.ask("paced", count=_SLOW_CLICKS, pause=_SLOW_PAUSE)
    finally:
        fsyncs.slow(0)
    return {"ack_fsyncs": max(0.0, (min(said["took"]) - usual) * 1_000 / _SLOWER_MS)}
