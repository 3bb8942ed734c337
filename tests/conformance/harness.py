"""One program, two libraries: what a program may use of either, and how what it saw is written down."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import operator
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from kit import lay_out
from pydantic import BaseModel

#: Where the other side keeps its public names. Ours has them all at the top.
_LANGGRAPH = (
    "langgraph.graph",
    "langgraph.types",
    "langgraph.errors",
    "langgraph.config",
    "langgraph.runtime",
    "langgraph.graph.message",
    "langgraph.managed",
    "langgraph.checkpoint.sqlite.aio",
    "langgraph.checkpoint.memory",
    "langchain_core.messages",
)
_OURS = ("graph_runtime",)
#: The errors a program can name in an ``except``; what is raised counts as the nearest of them.
_NAMED_ERRORS = frozenset(
    {
        "EmptyInputError",
        "GraphDrained",
        "GraphRecursionError",
        "InvalidUpdateError",
        "NodeCancelledError",
        "NodeTimeoutError",
        "ParentCommand",
        "ValidationError",
    }
)

#: Injection goes by the parameter's name and, as these stay strings, by the annotation's spelling.
RunnableConfig = dict[str, Any]
StreamWriter = Callable[[Any], None]
NodeError = Any


class Log(TypedDict):
    """The state most programs need: who ran, in order."""

    log: Annotated[list[str], operator.add]


class Lib:
    """The public names of one library. A name it does not have fails only the program that asks for it."""

    def __init__(self, homes: tuple[str, ...], folder: Path) -> None:
        self._homes = homes
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        for home in self._homes:
            module = importlib.import_module(home)
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(f"no {name} in {', '.join(self._homes)}")

    def saver(self, file: str = "checkpoints") -> AbstractAsyncContextManager[Any]:
        """A saver on a file of this run; the same file again is what a restarted process finds."""
        opened: AbstractAsyncContextManager[Any] = self.AsyncSqliteSaver.from_conn_string(
            str(self.file(file))
        )
        return opened

    def file(self, name: str) -> Path:
        """Where the saver's file is, or is to be made."""
        return self._folder / f"{name}.db"


class Ours(Lib):
    """Our side, on files that have their schema already."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_OURS, folder)

    def file(self, name: str) -> Path:
        file = super().file(name)
        if not file.exists():
            lay_out(file)
        return file


def langgraph(folder: Path) -> Lib:
    """The side that says what is right."""
    return Lib(_LANGGRAPH, folder)


def graph_runtime(folder: Path) -> Lib:
    """The side that is judged."""
    return Ours(folder)


class Recorder:
    """The observations of one run of one program, as lines that two libraries can agree on.

    Ids are replaced by labels in the order they first appear, so that what was equal stays equal; times and
    checkpoint ids are dropped. Executions since the observation before are one line, sorted when the program
    says that they overlap.
    """

    def __init__(self, *, overlapping: bool = False) -> None:
        self._lines: list[str] = []
        self._ran: list[str] = []
        self._overlapping = overlapping
        self._labels: dict[tuple[str, str], str] = {}

    def seen(self, name: str) -> None:
        """A node, router or helper of this name was entered."""
        self._ran.append(name)

    def value(self, value: Any, what: str = "value") -> None:
        """The program holds this value."""
        self._note(what, self._text(value))

    def error(self, error: BaseException) -> None:
        """The program caught this error; it counts as the nearest class that both libraries have."""
        self._note("error", _error_name(error))

    def snapshot(self, snapshot: Any) -> None:
        """``aget_state`` returned this."""
        self._note("snapshot", self._snapshot(snapshot))

    def history(self, snapshots: Iterable[Any]) -> None:
        """``aget_state_history`` yielded these."""
        for number, snapshot in enumerate(snapshots):
            self._note(f"history {number}", self._snapshot(snapshot))

    def links(self, snapshots: Iterable[Any]) -> None:
        """Which snapshot is whose parent."""
        for snapshot in snapshots:
            self._note("link", f"{self._place(snapshot.config)} after {self._place(snapshot.parent_config)}")

    def events(self, events: Iterable[Any], *, sort: bool = False) -> None:
        """A stream yielded these; ``sort`` when overlapping nodes make their order a matter of chance."""
        lines = [self._text(event) for event in events]
        for line in sorted(lines) if sort else lines:
            self._note("event", line)

    async def call(self, work: Awaitable[Any]) -> Any:
        """Record what the call returns, or the error it raises; hand back whichever it was."""
        try:
            value = await work
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the observation
            self.error(error)
            return error
        self.value(value)
        return value

    async def stream(self, events: AsyncIterator[Any], *, sort: bool = False) -> list[Any]:
        """Record what a stream yields, and the error that ends it."""
        got: list[Any] = []
        try:
            async for event in events:
                got.append(event)
        except Exception as error:  # noqa: BLE001  # the same
            self.events(got, sort=sort)
            self.error(error)
            return got
        self.events(got, sort=sort)
        return got

    @property
    def lines(self) -> list[str]:
        """All that was observed so far."""
        self._flush()
        return list(self._lines)

    def _note(self, what: str, text: str) -> None:
        self._flush()
        self._lines.append(f"{what}: {text}")

    def _flush(self) -> None:
        if self._ran:
            ran = sorted(self._ran) if self._overlapping else self._ran
            self._lines.append(f"ran: {', '.join(ran)}")
            self._ran = []

    def _label(self, kind: str, given: str) -> str:
        count = sum(1 for known, _ in self._labels if known == kind)
        return self._labels.setdefault((kind, given), f"{kind}{count + 1}")

    def _place(self, config: Mapping[str, Any] | None) -> str:
        return "nothing" if config is None else self._label("C", config["configurable"]["checkpoint_id"])

    def _snapshot(self, snapshot: Any) -> str:
        metadata = snapshot.metadata
        shown = {
            "values": snapshot.values,
            "next": snapshot.next,
            "tasks": [self._task(task) for task in snapshot.tasks],
            "interrupts": snapshot.interrupts,
            "metadata": None if metadata is None else (metadata["source"], metadata["step"]),
            "created": snapshot.created_at is not None,
            "parent": snapshot.parent_config is not None,
        }
        return self._text(shown)

    def _task(self, task: Any) -> dict[str, Any]:
        return {
            "name": task.name,
            "path": tuple(task.path[:2]),
            "error": _error_text(task.error),
            "interrupts": task.interrupts,
            "result": task.result,
            "state": "its address" if isinstance(task.state, Mapping) else task.state,
        }

    def _text(self, value: Any) -> str:
        match value:
            case str():
                return repr(self._namespace(value))
            case dict():
                return self._mapping(value)
            case set() | frozenset():
                return f"{type(value).__name__}({', '.join(sorted(self._text(item) for item in value))})"
            case list():
                return f"[{', '.join(self._text(item) for item in value)}]"
            case BaseException():
                return _error_text(value) or ""
        name = type(value).__name__
        if name == "Interrupt":
            return self._interrupt(value.value, value.id)
        if name == "StateSnapshot":
            return f"StateSnapshot{self._snapshot(value)}"
        if isinstance(value, tuple):
            return f"({', '.join(self._text(item) for item in value)})"
        if name.endswith("Message"):
            # A program gives its own messages the ids m1, m2, ...; any other id was assigned.
            known = value.id if re.fullmatch(r"m\d+", value.id or "") else self._label("M", value.id)
            return f"<{value.type} {known} {self._text(value.content)}>"
        if isinstance(value, BaseModel):
            return f"{name}{self._mapping(dict(value))}"
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return (
                f"{name}{self._mapping({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})}"
            )
        return repr(value)

    def _namespace(self, text: str) -> str:
        return re.sub(r"\b(\w+):([\w-]{8,})", lambda m: f"{m[1]}:{self._label('T', m[2])}", text)

    def _interrupt(self, value: Any, given: str) -> str:
        return f"Interrupt({self._text(value)}, {self._label('I', given)})"

    def _mapping(self, value: Mapping[str, Any]) -> str:
        keys = value.keys()
        if keys >= {"value", "id", "response_schema"}:
            return self._interrupt(value["value"], value["id"])
        if keys >= {"step", "timestamp", "type", "payload"}:
            return f"debug {value['step']} {value['type']} {self._text(value['payload'])}"
        if keys >= {"id", "name", "input", "triggers"}:
            return f"task {value['name']} {self._text(value['input'])}"
        if keys >= {"id", "name", "result", "error", "interrupts"}:
            return (
                f"result {value['name']} {self._text(value['result'])} "
                f"{_error_text(value['error'])} {self._text(value['interrupts'])}"
            )
        if keys >= {"config", "parent_config", "metadata", "values", "next", "tasks"}:
            metadata = value["metadata"]
            tasks = [
                {
                    "name": task["name"],
                    "error": _error_text(task.get("error")),
                    "interrupts": task.get("interrupts"),
                }
                for task in value["tasks"]
            ]
            shown = (metadata["source"], metadata["step"], value["values"], value["next"], tasks)
            return f"checkpoint {self._text(shown)}"
        pairs = sorted((self._text(key), self._text(item)) for key, item in value.items())
        return f"{{{', '.join(f'{key}: {item}' for key, item in pairs)}}}"


def _error_name(error: BaseException) -> str:
    for cls in type(error).__mro__:
        if cls.__module__ == "builtins" or cls.__name__ in _NAMED_ERRORS:
            return cls.__name__
    raise AssertionError("every error ends in BaseException") from error


def _error_text(error: BaseException | str | None) -> str | None:
    """A task's error: the node's own in full, the library's by class, for the words are each library's."""
    if error is None:
        return None
    text = error if isinstance(error, str) else repr(error)
    # Pydantic's repr is its message, which names its version.
    name = "ValidationError" if " validation error" in text else text.partition("(")[0]
    return name if name in _NAMED_ERRORS else text


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """A small program that both libraries run, and the sentence that it stands for."""

    name: str
    sentence: str
    section: str
    run: Callable[[Lib, Recorder], Awaitable[None]]
    overlapping: bool

    async def observe(self, lib: Lib) -> list[str]:
        """Run it on one library and return what it saw."""
        record = Recorder(overlapping=self.overlapping)
        await self.run(lib, record)
        return record.lines


PROGRAMS: dict[str, Program] = {}


def program(
    sentence: str, *, overlapping: bool = False
) -> Callable[[Callable[[Lib, Recorder], Awaitable[None]]], Callable[[Lib, Recorder], Awaitable[None]]]:
    """Keep the function as a program. ``overlapping``: several of its nodes run at once, in no fixed order."""

    def keep(run: Callable[[Lib, Recorder], Awaitable[None]]) -> Callable[[Lib, Recorder], Awaitable[None]]:
        name = run.__name__
        if name in PROGRAMS:
            raise ValueError(f"two programs are called {name}")
        section = run.__module__.rpartition("programs_")[2]
        PROGRAMS[name] = Program(name, sentence, section, run, overlapping)
        return run

    return keep


def thread(name: str = "t", **more: Any) -> dict[str, Any]:
    """The config that names a thread."""
    return {"configurable": {"thread_id": name}, **more}


def schema(**keys: Any) -> Any:
    """A TypedDict whose annotations may name what the library brought."""
    return TypedDict("State", keys)  # type: ignore[operator]  # the keys are the program's


def step(record: Recorder, name: str) -> Any:
    """A node that is seen and adds its name to the log."""

    async def node(state: Any) -> Any:
        record.seen(name)
        return {"log": [name]}

    node.__name__ = name
    return node


def ask(lib: Lib, record: Recorder, name: str, *questions: Any) -> Any:
    """A node that asks its questions in turn and adds the answers to the log."""

    async def node(state: Any) -> Any:
        record.seen(name)
        answers = [lib.interrupt(question) for question in questions or (f"{name}?",)]
        return {"log": [f"{name}={answer!r}" for answer in answers]}

    node.__name__ = name
    return node


def line(lib: Lib, state: Any, *nodes: Any, **more: Any) -> Any:
    """A builder whose nodes run one after another; each is called what its function is called."""
    builder = lib.StateGraph(state, **more)
    before = lib.START
    for node in nodes:
        builder.add_node(node.__name__, node)
        builder.add_edge(before, node.__name__)
        before = node.__name__
    builder.add_edge(before, lib.END)
    return builder


def fan(lib: Lib, state: Any, *nodes: Any, then: Any = None) -> Any:
    """A builder whose nodes all run in the first step; ``then`` once all of them are done."""
    builder = lib.StateGraph(state)
    names = [node.__name__ for node in nodes]
    for node in nodes:
        builder.add_node(node.__name__, node)
        builder.add_edge(lib.START, node.__name__)
    if then is not None:
        builder.add_node(then.__name__, then)
        builder.add_edge(names, then.__name__)
        builder.add_edge(then.__name__, lib.END)
    return builder


async def a_while() -> None:
    """Long enough for the loop to finish what it has in hand, such as keeping a sibling's result."""
    await asyncio.sleep(0.05)


async def whole(stream: AsyncIterator[Any]) -> list[Any]:
    """All that the stream yields."""
    return [item async for item in stream]
