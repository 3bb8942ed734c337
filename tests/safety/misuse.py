"""One small program per row of misuse, and the till it plays with: money moves only when a person said so."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from harness import Lib, Log, fan, graph_runtime, langgraph, line, thread  # its folder is named just above

__all__ = [
    "Lib",
    "Log",
    "Purchase",
    "Till",
    "asks",
    "both",
    "fan",
    "graph_runtime",
    "ids",
    "langgraph",
    "line",
    "outcome",
    "questions",
    "thread",
]

NodeOf = Callable[[Any], Awaitable[Any]]


class Purchase(TypedDict, total=False):
    """What is to be paid, and what a person said to it."""

    amount: int
    said: Any


class Till:
    """A graph whose gate asks ``pay <amount>?`` and whose ``pay`` runs only after "approve".

    ``ran`` names every execution of a node; ``paid`` is the money that is gone.
    """

    def __init__(self, lib: Lib) -> None:
        self.lib = lib
        self.ran: list[str] = []
        self.paid: list[int] = []

    async def gate(self, state: Any) -> Any:
        """Ask once, and say what was answered."""
        self.ran.append("gate")
        return {"said": self.lib.interrupt(f"pay {state['amount']}?")}

    async def pay(self, state: Any) -> Any:
        """Move the money."""
        self.ran.append("pay")
        self.paid.append(state["amount"])
        return {}

    def builder(self, gate: NodeOf | None = None, *, name: str = "gate", **node: Any) -> Any:
        """Return START -> gate -> pay or END, with another gate when one is given."""
        builder = self.lib.StateGraph(Purchase)
        builder.add_node(name, gate or self.gate, **node)
        builder.add_node("pay", self.pay)
        builder.add_edge(self.lib.START, name)
        builder.add_conditional_edges(
            name, lambda state: "pay" if state["said"] == "approve" else self.lib.END, ["pay", self.lib.END]
        )
        builder.add_edge("pay", self.lib.END)
        return builder

    def graph(self, saver: Any, gate: NodeOf | None = None, **compiled: Any) -> Any:
        """Return the graph over a saver."""
        return self.builder(gate).compile(checkpointer=saver, **compiled)


def asks(lib: Lib, ran: list[str], name: str, *each: str) -> NodeOf:
    """Return a node that asks each question in turn and logs "question answer" for each."""

    async def node(state: Any) -> Any:
        ran.append(name)
        return {"log": [f"{question} {lib.interrupt(question)}" for question in each]}

    node.__name__ = name
    return node


def both(folder: Path) -> tuple[Lib, Lib]:
    """Return langgraph and graph_runtime, each with a folder of its own for its databases."""
    for side in ("theirs", "ours"):
        (folder / side).mkdir()
    return langgraph(folder / "theirs"), graph_runtime(folder / "ours")


async def outcome(work: Awaitable[Any]) -> Any:
    """Return what the call returned, or the error that it raised."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the outcome
        return error


def questions(result: Any) -> list[Any]:
    """Return what a paused call asks; nothing for a finished one."""
    return [asked.value for asked in result.get("__interrupt__", ())]


def ids(result: Mapping[str, Any]) -> dict[Any, str]:
    """Return the ids of what a paused call asks, by question."""
    return {asked.value: asked.id for asked in result["__interrupt__"]}
