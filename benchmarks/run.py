"""Measures signoff's runtime beside its peers, round by round in one run, and prints Markdown.

    make bench
    make bench ARGS="--only W1,W3 --peers ours,langgraph --quick"
    make bench ARGS="--profile W1"

Each peer runs in its own process and environment; within a round all peers take the same measure one after
the other, so that a machine that drifts drifts for all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from .environments import CACHE, PEERS, NotMade, Peer, shim
from .goals import goal_table
from .measures import MEASURES, Measure
from .process import Process, ask_fresh
from .results import Results
from .table import heading, tables

_BEGIN, _END = "<!-- measured -->", "<!-- end of measured -->"


def main() -> None:
    """Measure what the arguments say and print the tables."""
    said = _arguments()
    only = said.profile or said.only
    wanted = [
        m
        for m in MEASURES
        if (not only or m.workload in only)
        and (m.ask["kind"] != "paused" or m.ask["count"] <= said.most_paused)
    ]
    peers = [p for p in PEERS if not said.peers or p.name in said.peers]
    CACHE.mkdir(exist_ok=True)
    results, load = Results(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="run-", dir=said.folder) as folder:
        if said.profile:
            _profile(wanted, folder, quick=said.quick)
            return
        measure_all(
            results, wanted, peers, folder=folder, rounds=said.rounds, quick=said.quick, slow=said.slow
        )
    load_of_run = (load, os.getloadavg()[0])
    text = "\n".join(
        [
            heading(said.rounds, load_of_run, quick=said.quick),
            "",
            *goal_table(results),
            *tables(results, wanted),
        ]
    ).rstrip()
    print(text)
    if said.write is not None:
        _write_into(said.write, text)


def _write_into(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page of the docs."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}", encoding="utf-8")


def measure_all(
    results: Results,
    measures: Sequence[Measure],
    peers: Sequence[Peer],
    *,
    folder: str,
    rounds: int,
    quick: bool,
    slow: int,
) -> None:
    """Take every measure from every peer in every round."""
    library = shim()
    with contextlib.ExitStack() as stack:
        processes = list(_started(stack, peers, results, library, traced=False))
        for number in range(rounds):
            for measure in measures:
                if number >= measure.rounds:
                    continue
                if library is None and measure.ask.get("slow_us"):
                    results.failures[measure.key] = "to make fsyncs slower needs cc"
                    continue
                for process, variant in _contestants(processes, measure):
                    who = f"{process.peer.name}:{variant}"
                    question = _question(measure, variant, folder, quick=quick, slow=slow)
                    if measure.ask["kind"] == "paused":
                        figures = ask_fresh(process.peer, question, folder, shim=library)
                    else:
                        figures = process.ask(question)
                    results.add(measure, who, figures)
                    _say(f"{number + 1}/{rounds} {measure.key}: {who} {_first(measure, figures)}")
    if library is None and shutil.which("strace"):
        _count_apart(results, measures, peers, folder=folder, quick=quick)


def _count_apart(
    results: Results, measures: Sequence[Measure], peers: Sequence[Peer], *, folder: str, quick: bool
) -> None:
    """Count the fsyncs of one more round with strace, whose times are worth nothing."""
    with contextlib.ExitStack() as stack:
        processes = list(_started(stack, peers, results, None, traced=True))
        for measure in measures:
            for process, variant in _contestants(processes, measure):
                if not measure.ask.get("slow_us") and measure.ask["kind"] not in {"paused", "clicks"}:
                    figures = process.ask(_question(measure, variant, folder, quick=quick, slow=0))
                    if "fsyncs" in figures:
                        results.add_count(measure, f"{process.peer.name}:{variant}", figures["fsyncs"])


def _profile(measures: Sequence[Measure], folder: str, *, quick: bool) -> None:
    """Print where the loop's thread of the runtime, and of the bot, spends its time."""
    with contextlib.ExitStack() as stack:
        ours = [peer for peer in PEERS if peer.name in {"ours", "bot"}]
        processes = list(_started(stack, ours, Results(), shim(), traced=False))
        for measure in measures:
            for process, variant in _contestants(processes, measure):
                if measure.ask["kind"] == "paused":
                    continue
                question = _question(measure, variant, folder, quick=quick, slow=0)
                answer = process.ask({**question, "profile": True})
                print(f"### {measure.key}: {process.peer.name}:{variant}\n")
                print(answer.get("profile") or answer["error"])


def _started(
    stack: contextlib.ExitStack,
    peers: Sequence[Peer],
    results: Results,
    library: Path | None,
    *,
    traced: bool,
) -> Iterator[Process]:
    for peer in peers:
        try:
            yield stack.enter_context(contextlib.closing(Process(peer, shim=library, traced=traced)))
        except NotMade as why:
            results.failures[peer.name] = f"its environment could not be made: {why}"


def _contestants(processes: Sequence[Process], measure: Measure) -> Iterator[tuple[Process, str]]:
    for process in processes:
        for variant, workloads in process.peer.variants.items():
            many = measure.ask["kind"] == "paused" and measure.ask["count"] > process.peer.most_paused
            if measure.workload in workloads and not many:
                yield process, variant


def _question(measure: Measure, variant: str, folder: str, *, quick: bool, slow: int) -> dict[str, object]:
    slower = {"slow_us": slow} if slow else {}
    return {**measure.ask, **slower, **(measure.quick if quick else {}), "variant": variant, "folder": folder}


def _first(measure: Measure, figures: dict[str, object]) -> str:
    if "error" in figures:
        return f"failed: {figures['error']}"
    if "left_out" in figures:
        return "left out"
    column = measure.columns[0]
    return f"{column.value(figures):.{column.digits}f} {column.head}"


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _microseconds(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|us)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 2ms or 500us")
    return round(float(found[1]) * (1_000 if found[2] == "ms" else 1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the runtime beside its peers.")
    names = ", ".join(peer.name for peer in PEERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", type=_split, default=(), help="workloads, such as W1,W3")
    parser.add_argument("--peers", type=_split, default=(), help=names)
    parser.add_argument("--slow", type=_microseconds, default=0, help="make each fsync slower, such as 2ms")
    parser.add_argument("--most-paused", type=int, default=100_000, help="W5 with at most so many threads")
    parser.add_argument("--quick", action="store_true", help="fewer of everything, to see that it works")
    parser.add_argument(
        "--profile", type=_split, help="workloads: where our own time goes, instead of tables"
    )
    parser.add_argument("--write", type=_page, help="a page whose marked part is replaced")
    parser.add_argument("--folder", default=None, help="where the databases are made; the default is /tmp")
    return parser.parse_args()


def _page(text: str) -> Path:
    """Return the page; refuse one without marks before an hour is spent, not after."""
    words = Path(text).read_text(encoding="utf-8")
    if _BEGIN not in words or _END not in words:
        raise argparse.ArgumentTypeError(f"{text} lacks {_BEGIN} or {_END}")
    return Path(text)


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


if __name__ == "__main__":
    main()
