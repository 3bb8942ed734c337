"""What the programs left on our side is gone through again: what has not changed is never told as changed."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Any

from harness import PROGRAMS, Ours, Program

import graph_runtime
from graph_runtime import CompiledGraph, Run, Runtime, Store, open_store

for _path in sorted(Path(__file__).parent.glob("programs_*.py")):
    importlib.import_module(_path.stem)


class Keeping(Ours):
    """Our side, keeping every graph that a program compiles."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.graphs: list[CompiledGraph] = []

    def __getattr__(self, name: str) -> Any:
        kept = self.graphs
        if name != "StateGraph":
            return super().__getattr__(name)

        class StateGraph(graph_runtime.StateGraph):
            def compile(self, *args: Any, **more: Any) -> CompiledGraph:
                kept.append(super().compile(*args, **more))
                return kept[-1]

        return StateGraph


async def replays(store: Store, graphs: list[CompiledGraph], run: Run) -> bool:
    """Say whether the run is that of one of the graphs; several of a program may have one name."""
    return any([(await Runtime(store, [one]).replay(run.id)).same for one in graphs if one.name == run.graph])


async def left_by(program: Program, folder: Path) -> list[bool]:
    """Run the program, and say of each run that it left on disk whether it replays."""
    folder.mkdir()
    lib = Keeping(folder)
    # In a task of its own: some programs cancel theirs.
    await asyncio.create_task(program.observe(lib))
    found = []
    for file in folder.glob("*.db"):
        async with open_store(f"sqlite:///{file}") as store:
            runs = await Runtime(store, []).runs(limit=1_000)
            found += [await replays(store, lib.graphs, run) for run in runs]
    return found


async def test_what_the_programs_recorded_replays_as_it_was(tmp_path: Path) -> None:
    at_once, found = asyncio.Semaphore(8), dict[str, list[bool]]()

    async def one(name: str, program: Program) -> None:
        async with at_once:
            found[name] = await left_by(program, tmp_path / name)

    async with asyncio.TaskGroup() as group:
        for name, program in PROGRAMS.items():
            group.create_task(one(name, program), name=name)

    assert sum(map(len, found.values())) > 200
    assert [name for name, same in found.items() if not all(same)] == []
