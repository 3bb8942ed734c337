"""One approval cycle and one decision, against the least a disk allows, in one interleaved run.

    make bench                # a Markdown table
    make bench ARGS="--rounds 9"

A cycle is start -> prepare -> review (pauses) -> answer -> publish, with 2 KB of state, driven as a worker
does. The floor is the same number of bare SQLite commits (WAL, synchronous=FULL), 2 KB each. Medians of
rounds; compare ratios, not times: the machine drifts.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypedDict

from graph_runtime import END, START, Command, Runtime, StateGraph, interrupt, open_store

PER_ROUND = 50
#: start, claim, prepare, pause, answer, claim, review, publish
COMMITS = 8


class State(TypedDict, total=False):
    text: str
    done: bool


async def prepare(state: State) -> State:
    return {"text": state["text"] + "."}


async def review(state: State) -> Command[str]:
    answer = interrupt({"question": "Publish?"})
    return Command(goto="publish" if answer == "yes" else END)


async def publish(state: State) -> State:
    return {"done": True}


GRAPH = (
    StateGraph(State)
    .add_node(prepare)
    .add_node(review)
    .add_node(publish)
    .add_edge(START, "prepare")
    .add_edge("prepare", "review")
    .compile(name="cycle")
)


async def cycle(runtime: Runtime) -> None:
    run = await runtime.start("cycle", {"text": "x" * 2_000})
    await runtime.advance(run.id)
    (question,) = (await runtime.look(run.id)).open
    await runtime.resume(run.thread_id, run.id, question.interrupt.id, "yes")
    done = await runtime.advance(run.id)
    assert done.status == "completed"


def floor(connection: sqlite3.Connection) -> None:
    for _ in range(COMMITS):
        with connection:
            connection.execute("INSERT INTO t (value) VALUES (?)", ("x" * 2_000,))


async def timed(work: Callable[[], Awaitable[None]]) -> float:
    begin = time.perf_counter()
    await work()
    return time.perf_counter() - begin


async def measure(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bare = sqlite3.connect(Path(folder) / "floor.db")
        bare.execute("PRAGMA journal_mode=WAL")
        bare.execute("PRAGMA synchronous=FULL")
        bare.execute("CREATE TABLE t (value TEXT)")
        async with open_store(f"sqlite:///{folder}/ours.db") as store:
            runtime = Runtime(store, [GRAPH])

            async def one_at_a_time() -> None:
                for _ in range(PER_ROUND):
                    await cycle(runtime)

            async def all_at_once() -> None:
                await asyncio.gather(*(cycle(runtime) for _ in range(PER_ROUND)))

            async def bare_commits() -> None:
                for _ in range(PER_ROUND):
                    floor(bare)

            names = {"floor": bare_commits, "one at a time": one_at_a_time, "50 at once": all_at_once}
            seconds: dict[str, list[float]] = {name: [] for name in names}
            for _ in range(rounds):
                for name, work in names.items():
                    seconds[name].append(await timed(work))
        bare.close()
    print("| | ms per cycle, median [min-max] | x floor |")
    print("|---|---|---|")
    base = statistics.median(seconds["floor"])
    for name, took in seconds.items():
        each = [one / PER_ROUND * 1_000 for one in took]
        ratio = statistics.median(took) / base
        print(f"| {name} | {statistics.median(each):.2f} [{min(each):.2f}-{max(each):.2f}] | {ratio:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asyncio.run(measure(parser.parse_args().rounds))
