"""StateGraph: a workflow in plain Python, compiled into a plan. The names are LangGraph's."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, get_args, get_origin

from .errors import InvalidGraph
from .plan import Branch, Join, Node, Plan
from .state import Schema, codec_for, read_schema
from .types import END, START

_RESERVED = frozenset({START, END})
#: Namespace separators; a node's name becomes part of ids and namespaces.
_SEPARATORS = ("|", ":", ">", "+")


class StateGraph:
    """Collects nodes and edges over one state schema; ``compile`` makes a graph of them.

    ``state_schema`` is a TypedDict, dataclass, pydantic model, or a single (annotated) type. A key annotated
    with a reducer, ``Annotated[list, operator.add]``, merges what several nodes write.
    """

    def __init__(self, state_schema: Any, *, input_schema: Any = None, output_schema: Any = None) -> None:
        self._state = read_schema(state_schema)
        self._input = self._state if input_schema is None else read_schema(input_schema)
        self._output = self._state if output_schema is None else read_schema(output_schema)
        self._nodes: dict[str, Node] = {}
        self._edges: dict[str, list[str]] = {}
        self._joins: list[Join] = []
        self._branches: dict[str, list[Branch]] = {}

    def add_node(
        self,
        node: str | Callable[..., Any],
        action: Callable[..., Any] | None = None,
        *,
        input_schema: Any = None,
        defer: bool = False,
        version: str = "",
    ) -> Self:
        """Add ``action`` under a name (the function's own, when only a function is given).

        The node is given the state, or the part that ``input_schema`` names, and returns a dict of updates,
        a :class:`~graph_runtime.Command` or None. ``defer`` makes it wait until nothing else is due.
        ``version`` is part of what a paused run checks before it is given its answer: change it when the
        meaning of the node's question changes. Raises :class:`InvalidGraph` for a bad or taken name.
        """
        name, run = (node, action) if isinstance(node, str) else (getattr(node, "__name__", ""), node)
        if run is None or not callable(run):
            raise InvalidGraph(f"node {name!r} was not added: it has nothing to run")
        if not name or name in _RESERVED or any(mark in name for mark in _SEPARATORS):
            raise InvalidGraph(
                f"node {name!r} was not added: a name is not empty, not reserved and has none of | : > +"
            )
        if name in self._nodes:
            raise InvalidGraph(f"node {name!r} was not added: the name is taken")
        if name in self._state.channels:
            raise InvalidGraph(f"node {name!r} was not added: the state has a key of that name")
        sees = self._state if input_schema is None else read_schema(input_schema)
        self._nodes[name] = Node(name, run, sees, defer, input_schema is not None, version)
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
        names, END, a Send, or a mixture. ``path_map`` translates what it returns into names.
        """
        if source == END:
            raise InvalidGraph("no branch was added: END has no way out")
        name = getattr(path, "__name__", type(path).__name__)
        branches = self._branches.setdefault(source, [])
        if any(branch.name == name for branch in branches):
            raise InvalidGraph(f"no branch was added: {source!r} already has a branch called {name!r}")
        branches.append(Branch(name, path, _ends(path, path_map)))
        return self

    def add_sequence(self, nodes: Sequence[Callable[..., Any] | tuple[str, Callable[..., Any]]]) -> Self:
        """Add the nodes, each following the one before it."""
        if not nodes:
            raise InvalidGraph("no sequence was added: it has no nodes")
        before: str | None = None
        for node in nodes:
            name, run = node if isinstance(node, tuple) else (getattr(node, "__name__", ""), node)
            self.add_node(name, run)
            if before is not None:
                self.add_edge(before, name)
            before = name
        return self

    def set_entry_point(self, key: str) -> Self:
        """Begin at ``key``: the same as an edge from START."""
        return self.add_edge(START, key)

    def set_finish_point(self, key: str) -> Self:
        """End after ``key``: the same as an edge to END."""
        return self.add_edge(key, END)

    def compile(self, *, name: str = "graph", version: str = "1") -> CompiledGraph:
        """Return the graph, checked. ``name`` is how a stored run finds it again; it must stay the same.

        Raises :class:`InvalidGraph` for an edge from or to an unknown node, or no way in from START.
        """
        self._check()
        schemas: list[Schema] = [self._state, self._input, self._output]
        schemas += [node.sees for node in self._nodes.values()]
        channels = {key: channel for schema in reversed(schemas) for key, channel in schema.channels.items()}
        whole = Schema(
            self._state.type,
            {**channels, **self._state.channels},
            self._state.form,
            frozenset().union(*(schema.classes for schema in schemas)),
        )
        return CompiledGraph(
            Plan(
                name=name,
                version=version,
                state=whole,
                input=self._input,
                output=self._output,
                nodes=dict(self._nodes),
                edges={source: tuple(dict.fromkeys(ends)) for source, ends in self._edges.items()},
                joins=tuple(dict.fromkeys(self._joins)),
                branches={source: tuple(branches) for source, branches in self._branches.items()},
                codec=codec_for(whole),
            )
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


class CompiledGraph:
    """A graph that a :class:`~graph_runtime.Runtime` can run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @property
    def name(self) -> str:
        """The name under which stored runs find this graph."""
        return self.plan.name

    def __repr__(self) -> str:
        return f"<graph {self.plan.name!r} version {self.plan.version}: {', '.join(self.plan.nodes)}>"


def _ends(
    path: Callable[..., Any], path_map: Mapping[Any, str] | Sequence[str] | None
) -> dict[Any, str] | None:
    if isinstance(path_map, Mapping):
        return dict(path_map)
    if path_map is not None:
        return {end: end for end in path_map}
    try:
        said = typing.get_type_hints(path if inspect.isroutine(path) else type(path).__call__).get("return")
    except (NameError, TypeError):
        return None
    if get_origin(said) is Literal:
        return {end: end for end in get_args(said)}
    return None
