"""What hypothesis draws: a random graph, and a random sequence of operations on it. Plain data, nothing of ours.

A failing example is printed as these objects, so it can be pasted back as ``@example(Program(...))``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import strategies as st

START, END = "__start__", "__end__"


# -- graphs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """The node asks one question and waits for its answer."""


@dataclass(frozen=True)
class AskTwo:
    """The node asks two questions at once."""


@dataclass(frozen=True)
class Step:
    """The node calls ``step()``."""


@dataclass(frozen=True)
class Fail:
    """The node raises here, the first ``times`` times that its task comes so far."""

    times: int


@dataclass(frozen=True)
class Inner:
    """The node runs another graph."""

    graph: Graph


Move = Ask | AskTwo | Step | Fail | Inner


@dataclass(frozen=True)
class Node:
    """Makes its moves in order, then adds one entry to the log and its weight to the total."""

    name: str
    moves: tuple[Move, ...] = ()
    weight: int = 1
    #: It has a retry policy of two attempts.
    again: bool = False


@dataclass(frozen=True)
class Spread:
    """``times`` Sends to ``node``."""

    node: str
    times: int


@dataclass(frozen=True)
class Branch:
    """A conditional edge: the total, divided by how many ways there are, leaves the number of the way taken."""

    source: str
    ways: tuple[tuple[str | Spread, ...], ...]


@dataclass(frozen=True)
class Graph:
    """Nodes and the edges between them."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    joins: tuple[tuple[tuple[str, ...], str], ...] = ()
    branches: tuple[Branch, ...] = ()


def moves(*, inside: bool) -> st.SearchStrategy[Any]:
    """Return lists of moves with at most two questions, and seldom a failure."""
    some: list[tuple[int, st.SearchStrategy[Any]]] = [(4, st.just(Ask())), (4, st.just(Step()))]
    if not inside:
        some += [(2, st.just(AskTwo())), (3, st.builds(Inner, graphs(inside=True)))]
    some += [(1, st.builds(Fail, st.integers(1, 2)))]
    return st.lists(one_of(some), max_size=3).map(tuple).filter(lambda drawn: questions_of(drawn) <= 2)


def one_of(weighed: Sequence[tuple[int, st.SearchStrategy[Any]]]) -> st.SearchStrategy[Any]:
    """Return what draws from each of these as often as its weight says; the first one is the simplest."""
    return st.sampled_from([one for weight, one in weighed for _ in range(weight)]).flatmap(lambda one: one)


def questions_of(drawn: Sequence[Move]) -> int:
    """Return how many questions a node with these moves asks itself."""
    return sum(2 if isinstance(move, AskTwo) else isinstance(move, Ask) for move in drawn)


@st.composite
def graphs(draw: st.DrawFn, *, inside: bool = False) -> Graph:
    """Draw a graph all of whose nodes can be reached; one that is no subgraph may lead back and go round."""
    names = "uvw"[: draw(st.integers(1, 3))] if inside else "abcdef"[: draw(st.integers(2, 6))]
    nodes = tuple(
        Node(name, draw(moves(inside=inside)), draw(st.integers(0, 3)), draw(st.booleans())) for name in names
    )
    edges, joins, branches = [(START, names[0])], [], []
    for number, name in enumerate(names[1:], 1):
        earlier = names[:number]
        source = draw(st.sampled_from((*earlier, START)))
        way = draw(st.sampled_from(("edge", "join", "branch", "spread")))
        if way == "join" and number > 1:
            sources = draw(st.sets(st.sampled_from(earlier), min_size=2, max_size=3))
            joins.append((tuple(sorted(sources)), name))
        elif way == "branch":
            other = draw(st.sampled_from((END, *earlier) if not inside else (END,)))
            ways = draw(st.permutations([(name,), (other,)]))
            branches.append(Branch(source, tuple(ways)))
        elif way == "spread":
            branches.append(Branch(source, ((Spread(name, draw(st.integers(1, 3))),),)))
        else:
            edges.append((source, name))
    return Graph(nodes, tuple(edges), tuple(joins), tuple(branches))


# -- operations ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fate:
    """The process stops at the ``commit``-th commit of the operation, and dies there or waits to be let go."""

    commit: int
    side: Literal["before", "after"]
    dies: bool


@dataclass(frozen=True)
class Start:
    thread: int
    total: int
    process: int = 0
    fate: Fate | None = None


@dataclass(frozen=True)
class Work:
    """Claim whatever can be claimed and drive it until it rests."""

    process: int = 0
    fate: Fate | None = None


@dataclass(frozen=True)
class Drive:
    """Claim one run, if that can be done, and drive it until it rests."""

    run: int
    process: int = 0
    fate: Fate | None = None


@dataclass(frozen=True)
class TakeUp:
    """Drive a run that rests, although nothing was answered."""

    run: int
    process: int = 0
    fate: Fate | None = None


@dataclass(frozen=True)
class GoOn:
    """Let a run that rests without a question go on, as after an edit."""

    run: int
    process: int = 0
    fate: Fate | None = None


@dataclass(frozen=True)
class Answer:
    """Answer an open question."""

    question: int
    process: int = 0
    fate: Fate | None = None


@dataclass(frozen=True)
class AnswerAll:
    """Answer all open questions of a run in one call; spoiled by one that is open no more."""

    run: int
    spoiled: bool = False
    process: int = 0
    fate: Fate | None = None


@dataclass(frozen=True)
class AnswerTwice:
    """Answer one question from two processes at once."""

    question: int


@dataclass(frozen=True)
class AnswerAgain:
    """Answer any question that was ever asked, whatever became of it."""

    question: int
    process: int = 0
    fate: Fate | None = None


@dataclass(frozen=True)
class AnswerAcross:
    """Answer a question with one id taken from elsewhere, or from nowhere."""

    question: int
    wrong: Literal["thread", "run", "question"]
    other: int
    process: int = 0


@dataclass(frozen=True)
class Cancel:
    run: int
    process: int = 0
    fate: Fate | None = None


@dataclass(frozen=True)
class Retry:
    run: int
    process: int = 0
    fate: Fate | None = None


@dataclass(frozen=True)
class Fork:
    thread: int
    checkpoint: int
    process: int = 0
    fate: Fate | None = None


@dataclass(frozen=True)
class Edit:
    """Write to a thread as one of its nodes (or START, or END); at an old checkpoint when one is given."""

    thread: int
    node: int
    total: int
    checkpoint: int | None = None
    process: int = 0
    fate: Fate | None = None


@dataclass(frozen=True)
class Pass:
    """Let the time of every lease pass."""


@dataclass(frozen=True)
class LetGo:
    """Let an operation that was stopped go on, stop its process in good order, or kill it."""

    which: int
    how: Literal["go on", "stop", "kill"]


Operation = (
    Start
    | Work
    | Drive
    | TakeUp
    | GoOn
    | Answer
    | AnswerAll
    | AnswerTwice
    | AnswerAgain
    | AnswerAcross
    | Cancel
    | Retry
    | Fork
    | Edit
    | Pass
    | LetGo
)


@dataclass(frozen=True)
class Program:
    """A graph, and what is done with it."""

    graph: Graph
    operations: tuple[Operation, ...]


SOME, PROCESS, SIDE = st.integers(0, 5), st.integers(0, 1), st.sampled_from(("before", "after"))
Drawn = st.SearchStrategy[Any]


def driving(fate: Drawn) -> list[tuple[int, Drawn]]:
    """Return what drives a run, with weights."""
    return [
        (6, st.builds(Drive, SOME, PROCESS, fate)),
        (3, st.builds(Work, PROCESS, fate)),
        (1, st.builds(TakeUp, SOME, PROCESS, fate)),
    ]


def calling(fate: Drawn) -> list[tuple[int, Drawn]]:
    """Return what says something to a run or a thread in one commit, with weights."""
    threads, totals = st.integers(0, 2), st.integers(0, 3)
    at = one_of([(2, st.none()), (1, SOME)])
    return [
        (6, st.builds(Answer, SOME, PROCESS, fate)),
        (2, st.builds(AnswerAll, SOME, st.booleans(), PROCESS, fate)),
        (2, st.builds(AnswerAgain, SOME, PROCESS, fate)),
        (2, st.builds(Start, threads, totals, PROCESS, fate)),
        (2, st.builds(Cancel, SOME, PROCESS, fate)),
        (2, st.builds(Retry, SOME, PROCESS, fate)),
        (2, st.builds(Fork, threads, SOME, PROCESS, fate)),
        (2, st.builds(Edit, threads, SOME, totals, at, PROCESS, fate)),
        (1, st.builds(GoOn, SOME, PROCESS, fate)),
    ]


def other() -> list[tuple[int, Drawn]]:
    """Return what has no fate of its own, with weights."""
    across = st.sampled_from(("thread", "run", "question"))
    return [
        (2, st.just(Pass())),
        (2, st.builds(LetGo, SOME, st.sampled_from(("go on", "go on", "stop", "kill")))),
        (2, st.builds(AnswerTwice, SOME)),
        (2, st.builds(AnswerAcross, SOME, across, SOME, PROCESS)),
    ]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Draw a program that begins with a run, since nothing can happen before one."""
    driven = one_of([(2, st.none()), (3, st.builds(Fate, st.integers(1, 4), SIDE, st.booleans()))])
    # An operation of one commit is stopped before it, or dies on one side of it.
    dies, waits = (
        st.builds(Fate, st.just(1), SIDE, st.just(value=True)),
        st.just(Fate(1, "before", dies=False)),
    )
    called = one_of([(4, st.none()), (1, dies), (1, waits)])
    operations = one_of(driving(driven) + calling(called) + other())
    # Left to itself hypothesis draws mostly short lists; a failing one may still shrink to nothing.
    least = draw(st.sampled_from((0, 12, 20)))
    first = Start(0, draw(st.integers(0, 3)))
    return Program(draw(graphs()), (first, *draw(st.lists(operations, min_size=least, max_size=36))))


@st.composite
def races(draw: st.DrawFn) -> Program:
    """Draw a program in which operations stand at a commit while a few others overtake them."""
    plain = driving(st.none()) + calling(st.none())
    waits = st.just(Fate(1, "before", dies=False))
    stands = one_of(driving(st.builds(Fate, st.integers(1, 3), SIDE, st.just(value=False))) + calling(waits))
    before = draw(st.lists(one_of(plain), min_size=draw(st.sampled_from((0, 3, 6))), max_size=9))
    # Not each of them comes to a commit.
    standing = draw(st.lists(stands, min_size=draw(st.sampled_from((1, 3))), max_size=4))
    meanwhile = draw(st.lists(one_of([*plain, (6, st.just(Pass()))]), min_size=1, max_size=5))
    first, last = Start(0, draw(st.integers(0, 3))), LetGo(0, draw(st.sampled_from(("go on", "stop"))))
    return Program(draw(graphs()), (first, *before, *standing, *meanwhile, last))
