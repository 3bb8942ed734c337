"""StateGraph: a workflow in plain Python, compiled into a plan. The names are LangGraph's."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Literal, Self, get_args, get_origin

from .calls import Care, RetryPolicy, is_async, read_retries
from .compiled import CompiledGraph
from .errors import InvalidGraph, Unsupported
from .plan import Branch, Join, Node, Plan
from .saver import AsyncSqliteSaver
from .state import Channel, Schema, codec_for, has_keys, read_schema
from .timeouts import TimeoutPolicy
from .types import END, START, Command

_RESERVED = frozenset({START, END})
#: What joins the names of nodes in a namespace.
_SEPARATORS = ("|", ":")


class StateGraph:
    """Collects nodes and edges over one state schema; ``compile`` makes a graph of them.

    ``state_schema`` is a TypedDict, dataclass, pydantic model, or a single (annotated) type. A key annotated
    with a reducer, ``Annotated[list, operator.add]``, merges what several nodes write.
    """

    def __init__(
        self,
        state_schema: Any,
        context_schema: Any = None,
        *,
        input_schema: Any = None,
        output_schema: Any = None,
    ) -> None:
        self._context = context_schema
        self._state = read_schema(state_schema)
        self._input = self._state if input_schema is None else read_schema(input_schema)
        self._output = self._state if output_schema is None else read_schema(output_schema)
        self._nodes: dict[str, Node] = {}
        self._edges: dict[str, list[str]] = {}
        self._joins: list[Join] = []
        self._branches: dict[str, list[Branch]] = {}
        self._says: dict[str, tuple[str, ...]] = {}
        self._subgraphs: dict[str, Plan] = {}
        self._care = Care()
        self._channels: dict[str, Channel] = {}
        self._classes: frozenset[type] = frozenset()
        self._know(self._state)
        for schema in (self._input, self._output):
            self._know(schema, managed=schema is self._state)

    def _know(self, schema: Schema, *, managed: bool = True) -> None:
        """Take up its keys. Raises :class:`InvalidGraph` for one that is merged otherwise elsewhere."""
        for name, channel in schema.channels.items():
            if channel.managed is not None and not managed:
                raise InvalidGraph(f"no graph was begun: the run itself keeps {name!r}, no input or output")
            if self._channels.setdefault(name, channel).clashes(channel):
                raise InvalidGraph(f"nothing was added: two schemas give the key {name!r} different reducers")
        self._classes |= schema.classes

    def add_node(
        self,
        node: str | Callable[..., Any] | CompiledGraph,
        action: Callable[..., Any] | CompiledGraph | None = None,
        *,
        input_schema: Any = None,
        defer: bool = False,
        metadata: Mapping[str, Any] | None = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
        error_handler: Callable[..., Any] | None = None,
        destinations: Mapping[str, str] | Sequence[str] | None = None,
        cache_policy: Any = None,
        version: str = "",
    ) -> Self:
        """Add ``action`` under a name (the function's own, when only a function is given).

        What has an ``ainvoke`` and cannot be called, as a Runnable of LangChain's, is awaited by that.
        The node is given the state, or the part that ``input_schema`` or else the annotation of its first
        parameter names, and returns a dict of updates, a :class:`~graph_runtime.Command` or None. Keys that
        only this part has become keys of the graph. ``defer`` makes it wait until nothing else is due.
        ``version`` is part of what a paused run checks before it is given its answer: change it when the
        meaning of the node's question changes. Raises :class:`InvalidGraph` for a bad or taken name, and
        TypeError for what cannot be called.
        """
        run: Any = action if isinstance(node, str) else node
        name = node if isinstance(node, str) else _name_of(node)
        if cache_policy is not None:
            raise Unsupported(f"node {name!r} was not added: the node cache is not built")
        inner = run.plan if isinstance(run, CompiledGraph) else None
        if isinstance(run, CompiledGraph):
            run = _as_node(run)
        elif not callable(run) and callable(getattr(run, "ainvoke", None)):
            run = _as_called(run)
        if run is None:
            raise InvalidGraph(f"node {name!r} was not added: it has nothing to run")
        if not callable(run):
            raise TypeError(f"node {name!r} was not added: a {type(run).__name__} cannot be called")
        if name in _RESERVED or any(mark in name for mark in _SEPARATORS):
            raise InvalidGraph(f"node {name!r} was not added: a name is not reserved and has none of | :")
        if name in self._nodes:
            raise InvalidGraph(f"node {name!r} was not added: the name is taken")
        known = (self._state, self._input, self._output)
        part = _part_of(run, *known) if input_schema is None else read_schema(input_schema)
        sees = self._state if part is None or part.type is self._state.type else part
        self._know(sees)
        care = Care(read_retries(retry_policy), TimeoutPolicy.coerce(timeout), error_handler)
        own = input_schema is not None
        self._nodes[name] = Node(name, run, sees, defer, care, own, version, dict(metadata or {}))
        said = tuple(destinations or ()) or _said(run)
        if said:
            self._says[name] = said
        if inner is not None:
            self._subgraphs[name] = inner
        return self

    def set_node_defaults(
        self,
        *,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
        error_handler: Callable[..., Any] | None = None,
    ) -> Self:
        """Look after every node like this that says nothing else for itself, also those added before."""
        given = Care(read_retries(retry_policy), TimeoutPolicy.coerce(timeout), error_handler)
        self._care = given.or_else(self._care)
        return self

    def add_edge(self, start_key: str | Sequence[str], end_key: str) -> Self:
        """Let ``end_key`` follow ``start_key``; from a list of nodes, once all of them have run."""
        sources = (start_key,) if isinstance(start_key, str) else tuple(start_key)
        for source in sources:
            if source == END:
                raise InvalidGraph("no edge was added: END has no way out")
        if end_key == START:
            raise InvalidGraph("no edge was added: START has no way in")
        if isinstance(start_key, str):
            self._edges.setdefault(start_key, []).append(end_key)
        else:
            if START in sources or not sources:
                raise InvalidGraph("no edge was added: a list edge begins at one or more nodes, not at START")
            self._joins.append(Join(tuple(sorted(set(sources))), end_key))
        return self

    def add_conditional_edges(
        self,
        source: str,
        path: Callable[..., Any],
        path_map: Mapping[Any, str] | Sequence[str] | None = None,
    ) -> Self:
        """Let ``path`` choose what follows ``source``: it sees the fresh state and returns a name, a list of
        names, END, a Send, or a mixture. ``path_map`` translates what it returns into names. Its first
        parameter's annotation says which part it sees; else what its node sees, and what that returned.
        """
        if source == END:
            raise InvalidGraph("no branch was added: END has no way out")
        name = getattr(path, "__name__", type(path).__name__)
        branches = self._branches.setdefault(source, [])
        if any(branch.name == name for branch in branches):
            raise InvalidGraph(f"no branch was added: {source!r} already has a branch called {name!r}")
        part = _part_of(path, self._state, self._input, self._output)
        if part is not None:
            self._know(part)
        branches.append(Branch(name, path, _ends(path, path_map), part))
        return self

    def add_sequence(self, nodes: Sequence[Callable[..., Any] | tuple[str, Callable[..., Any]]]) -> Self:
        """Add the nodes, each following the one before it."""
        if not nodes:
            raise InvalidGraph("no sequence was added: it has no nodes")
        before: str | None = None
        for node in nodes:
            name, run = node if isinstance(node, tuple) else (_name_of(node), node)
            self.add_node(name, run)
            if before is not None:
                self.add_edge(before, name)
            before = name
        return self

    def set_entry_point(self, key: str) -> Self:
        """Begin at ``key``: the same as an edge from START."""
        return self.add_edge(START, key)

    def set_conditional_entry_point(
        self,
        path: Callable[..., Any],
        path_map: Mapping[Any, str] | Sequence[str] | None = None,
    ) -> Self:
        """Let ``path`` choose where to begin: the same as conditional edges from START."""
        return self.add_conditional_edges(START, path, path_map)

    def set_finish_point(self, key: str) -> Self:
        """End after ``key``: the same as an edge to END."""
        return self.add_edge(key, END)

    def compile(
        self,
        checkpointer: AsyncSqliteSaver | bool | None = None,  # noqa: FBT001 - LangGraph's signature
        *,
        cache: Any = None,
        store: Any = None,
        interrupt_before: str | Sequence[str] | None = None,
        interrupt_after: str | Sequence[str] | None = None,
        name: str = "graph",
        version: str = "1",
        strict: bool = False,
        debug: bool = False,
    ) -> CompiledGraph:
        """Return the graph, checked. ``name`` is how a stored run finds it again; it must stay the same.

        ``strict`` refuses an answer that does not name its question.

        Raises :class:`InvalidGraph` for an edge from or to an unknown node, or no way in from START, and
        TypeError for a checkpointer that is none of ours.
        """
        if not isinstance(checkpointer, AsyncSqliteSaver | bool | None):
            raise TypeError(f"the graph was not compiled: a {type(checkpointer).__name__} keeps no threads")
        if store is not None or cache is not None:
            raise Unsupported("the graph was not compiled: store and cache are not built")
        if debug:
            raise Unsupported(
                'the graph was not compiled: nothing is printed; astream(stream_mode="debug") shows it'
            )
        stops = (_stops(interrupt_before), _stops(interrupt_after))
        for stop in (*stops[0], *stops[1]):
            if stop != "*" and stop not in self._nodes:
                raise InvalidGraph(f"the graph was not compiled: a breakpoint names {stop!r}, no node")
        self._check()
        nodes = {
            key: dataclasses.replace(
                node, care=node.care.or_else(self._care), handler_retries=self._care.retries
            )
            for key, node in self._nodes.items()
        }
        for node in nodes.values():
            if node.care.timeout is not None and not is_async(node.run):
                raise InvalidGraph(
                    f"the graph was not compiled: node {node.name!r} is a plain function, which cannot be "
                    "stopped, so it takes no timeout"
                )
        whole = Schema(self._state.type, dict(self._channels), self._state.form, self._classes)
        return CompiledGraph(
            Plan(
                name=name,
                version=version,
                state=whole,
                shared=self._state,
                input=self._input,
                output=self._output,
                nodes=nodes,
                edges={source: tuple(dict.fromkeys(ends)) for source, ends in self._edges.items()},
                joins=tuple(dict.fromkeys(self._joins)),
                branches={source: tuple(branches) for source, branches in self._branches.items()},
                codec=codec_for(whole),
                stop_before=stops[0],
                stop_after=stops[1],
                says={name: tuple(e for e in ends) for name, ends in self._says.items()},
                subgraphs=dict(self._subgraphs),
                context=self._context,
            ),
            checkpointer=checkpointer,
            strict=strict,
        )

    def _check(self) -> None:
        sources = {*self._edges, *self._branches, *(s for join in self._joins for s in join.sources)}
        targets = {end for ends in self._edges.values() for end in ends}
        targets |= {join.target for join in self._joins}
        targets |= {
            end
            for branches in self._branches.values()
            for branch in branches
            for end in (branch.ends or {}).values()
        }
        for name in sorted(sources - {START} - set(self._nodes)):
            raise InvalidGraph(f"the graph was not compiled: an edge begins at {name!r}, which is no node")
        for name in sorted(targets - {END} - set(self._nodes)):
            raise InvalidGraph(f"the graph was not compiled: an edge leads to {name!r}, which is no node")
        if START not in sources:
            raise InvalidGraph("the graph was not compiled: nothing follows START, so there is no way in")


def _stops(names: str | Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)


def _name_of(node: Any) -> str:
    """Return what a node is called that was given no name."""
    if isinstance(node, CompiledGraph):
        return node.name
    named = getattr(node, "get_name", None)  # a Runnable of LangChain's
    return str(named() if callable(named) else getattr(node, "__name__", type(node).__name__))


def _part_of(function: Callable[..., Any], *known: Schema) -> Schema | None:
    """Return the part of the state that the annotation of the function's first parameter names.

    A name that cannot be looked up means the schema of that name which is ``known``.
    """
    try:
        first = next(iter(inspect.signature(function).parameters))
    except (TypeError, ValueError, StopIteration):
        return None
    so = "it does not say which part of the state is seen there: say it as input_schema="
    hint = _hint(function, first, so, known)
    if isinstance(hint, Schema):
        return hint
    return read_schema(hint) if has_keys(hint) else None


def _annotation(function: Callable[..., Any], name: str) -> Any:
    return getattr(_called(function), "__annotations__", {}).get(name)


def _called(function: Callable[..., Any]) -> Any:
    return inspect.unwrap(function if inspect.isroutine(function) else type(function).__call__)


def _hint(function: Callable[..., Any], name: str, so: str, known: Sequence[Schema] = ()) -> Any:
    """Return one annotation of a function, None where there is none.

    One that cannot be read, because it names what is not there, is warned of, with what is ``so`` for it; the
    others do not matter to it.
    """
    call, said = _called(function), _annotation(function, name)
    if not isinstance(said, str):
        return said
    alone = SimpleNamespace(__annotations__={name: said})
    try:
        return typing.get_type_hints(alone, getattr(call, "__globals__", {}), _closed_over(call))[name]
    except Exception as error:  # noqa: BLE001 - an annotation is the author's code, and may raise anything
        for schema in known:
            if said == getattr(schema.type, "__name__", None):
                return schema
        warnings.warn(
            f"the annotation {said!r} of {call.__qualname__} was not read ({error}): {so}", stacklevel=4
        )
        return None


def _closed_over(call: Callable[..., Any]) -> dict[str, Any]:
    cells = (
        zip(call.__code__.co_freevars, call.__closure__ or (), strict=True)
        if inspect.isfunction(call)
        else ()
    )
    found = {}
    for name, cell in cells:
        with contextlib.suppress(ValueError):  # a name that is not bound yet
            found[name] = cell.cell_contents
    return found


def _as_node(graph: CompiledGraph) -> Callable[..., Any]:
    async def run(state: Any) -> Any:
        given = state if isinstance(state, Mapping) else dict(state)
        return await graph.ainvoke(given)

    return run


def _as_called(runnable: Any) -> Callable[..., Any]:
    async def run(state: Any, config: Any) -> Any:
        return await runnable.ainvoke(state, config)

    return run


def _said(run: Callable[..., Any]) -> tuple[str, ...]:
    """Return where a node says it goes: ``-> Command[Literal["a", "b"]]``."""
    said = _returns(run, "Command", "drawings do not show where it goes")
    for one in (said, *get_args(said)):
        if get_origin(one) is Command and get_args(one) and get_origin(get_args(one)[0]) is Literal:
            return tuple(get_args(get_args(one)[0]))
    return ()


def _returns(function: Callable[..., Any], word: str, so: str) -> Any:
    """Return the annotation of what the function returns, where it has the word; see :func:`_hint`."""
    said = _annotation(function, "return")
    return _hint(function, "return", so) if not isinstance(said, str) or word in said else None


def _ends(
    path: Callable[..., Any], path_map: Mapping[Any, str] | Sequence[str] | None
) -> dict[Any, str] | None:
    if isinstance(path_map, Mapping):
        return dict(path_map)
    if path_map is not None:
        return {end: end for end in path_map}
    said = _returns(path, "Literal", "what it returns is not checked against it: give it a path_map")
    if get_origin(said) is Literal:
        return {end: end for end in get_args(said)}
    return None
