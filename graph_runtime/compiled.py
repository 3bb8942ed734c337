"""The compiled graph, with LangGraph's methods: it drives its own runs, over the same store and rules."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NoReturn

from .callers import Call
from .calls import RunControl
from .config import Config, fitted, found_again, merged, thread_of
from .drawing import DrawableGraph, draw_mermaid
from .endings import until
from .errors import (
    Conflict,
    EmptyInputError,
    GraphRecursionError,
    InvalidUpdateError,
    NoCheckpointer,
    NotPaused,
    ThreadBusy,
    UnknownCheckpoint,
    UnknownThread,
    Unsupported,
)
from .executor import NodeFailed
from .ground import Begun
from .inside import current_scope
from .ledger import Durability
from .plan import Plan
from .runtime import Runtime
from .saver import AsyncSqliteSaver
from .shown import RunView, StateSnapshot
from .storage import open_store
from .streaming import Stream, StreamMode, Version, output_of, part, read_modes
from .types import PARENT, ROOT, UNSET, Command, InterruptId, Run, StateUpdate, ThreadId
from .values import copied
from .wishes import address, answers_in, discards, limits_in, names_in


class CompiledGraph:
    """A graph that can be run: by a :class:`~graph_runtime.Runtime`, or by its own methods."""

    def __init__(
        self,
        plan: Plan,
        *,
        checkpointer: AsyncSqliteSaver | bool | None = None,
        strict: bool = False,
        config: Config | None = None,
    ) -> None:
        self.plan = plan
        self.checkpointer = checkpointer
        self._strict = strict
        self._config = config

    @property
    def name(self) -> str:
        """The name under which stored runs find this graph."""
        return self.plan.name

    def __repr__(self) -> str:
        return f"<graph {self.plan.name!r} version {self.plan.version}: {', '.join(self.plan.nodes)}>"

    def draw_mermaid(self, view: RunView | None = None) -> str:
        """Return the graph as Mermaid text; with a view, what is due and what asks is marked."""
        return draw_mermaid(self.plan, view)

    def get_graph(self) -> DrawableGraph:
        """Return what can be drawn of the graph, as LangGraph has it: its Mermaid text."""
        return DrawableGraph(self.plan)

    def with_config(self, config: Config | None = None, **more: Any) -> CompiledGraph:
        """Return the same graph with a config bound to it, which the config of each call adds to."""
        bound = merged(self._config, config, more)
        return CompiledGraph(self.plan, checkpointer=self.checkpointer, strict=self._strict, config=bound)

    def invoke(self, *_: Any, **__: Any) -> NoReturn:
        """Raise :class:`Unsupported`: a run waits without a thread of its own, so there is only ainvoke."""
        raise Unsupported("nothing was run: there is no invoke() here; await ainvoke()")

    def stream(self, *_: Any, **__: Any) -> NoReturn:
        """Raise :class:`Unsupported`, as :meth:`invoke` does: there is only astream."""
        raise Unsupported("nothing was run: there is no stream() here; iterate over astream()")

    async def ainvoke(
        self,
        input: Any,  # noqa: A002 - LangGraph's name
        config: Mapping[str, Any] | None = None,
        *,
        context: Any = None,
        stream_mode: str | Sequence[str] = "values",
        interrupt_before: str | Sequence[str] | None = None,
        interrupt_after: str | Sequence[str] | None = None,
        output_keys: str | Sequence[str] | None = None,
        durability: Durability = "async",
        on_paused: str | None = None,
        control: RunControl | None = None,
        version: Version = "v1",
    ) -> Any:
        """Run the graph to its next pause or its end, and return its output.

        At a pause the output has the questions under ``__interrupt__``. It is limited to ``output_keys``, and
        is the bare value for a single one; None when none of its keys has a value. With ``version="v2"`` it
        is a :class:`GraphOutput`; with another ``stream_mode`` than values, the list of that stream's events.

        ``input`` is an input, ``None`` to go on where the thread rests, or a :class:`Command`: ``resume``
        answers the one open question, or several by ``{interrupt_id: answer}``. Nothing is returned before it
        is on disk.

        A run that this call begins has the limits of the config: its ``recursion_limit``, and ``limits``, a
        :class:`Limits`; they hold through every pause, whatever the config of later calls says.

        Raises what a node raised; a :class:`ResumeRefused` for an answer without its open question, and
        :class:`ThreadBusy` for new input on a paused thread unless ``on_paused="discard"``.
        """
        scope = current_scope()
        if (
            scope is not None
            and scope.host is not None
            and not isinstance(self.checkpointer, AsyncSqliteSaver)
        ):
            return await scope.host.subgraph(
                scope,
                self.plan,
                input,
                memory=self.checkpointer if self.checkpointer is not None else None,
                config=merged(self._config, config),
                context=fitted(self.plan.context, context),
            )
        if stream_mode != "values":
            return [
                event
                async for event in self.astream(
                    input,
                    config,
                    context=context,
                    stream_mode=stream_mode,
                    output_keys=output_keys,
                    interrupt_before=interrupt_before,
                    interrupt_after=interrupt_after,
                    durability=durability,
                    on_paused=on_paused,
                    control=control,
                    version=version,
                )
            ]
        call = self._call(config, context, interrupt_before, interrupt_after, durability, control)
        async with self._saver() as saver:
            runtime = saver.runtime_of(self)
            begun = await self._begun(runtime, saver, input, call.config, call, on_paused)
            run = begun.run
            if run.status == "running":
                run = await _driven(runtime, begun, call)
            if call.rested is not None:
                values, asked = call.rested
            else:
                view = await runtime.look(run.id)
                state, asked = view.state.values, tuple(q.interrupt for q in view.open)
                values = {ROOT: state} if self.plan.state.form == "root" else state
        asked = asked if run.status == "interrupted" else ()
        return output_of(self.plan, copied(values), asked, output_keys, version)

    async def astream(
        self,
        input: Any,  # noqa: A002 - LangGraph's name
        config: Mapping[str, Any] | None = None,
        *,
        context: Any = None,
        stream_mode: str | Sequence[str] = "updates",
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: str | Sequence[str] | None = None,
        interrupt_after: str | Sequence[str] | None = None,
        durability: Durability = "async",
        subgraphs: bool = False,
        on_paused: str | None = None,
        control: RunControl | None = None,
        version: Version = "v1",
    ) -> AsyncIterator[Any]:
        """Run as :meth:`ainvoke`, yielding what happens: the payload for one mode, else (mode, payload).

        With ``subgraphs`` what happens in subgraphs is shown too, each event preceded by its namespace.
        With ``version="v2"`` each is a dict that has the type, the namespace and the data. ``output_keys``
        chooses what is shown of the state. Leaving the loop early stops the run at its next commit; it can be
        gone on with.
        """
        modes = read_modes(stream_mode)
        events: asyncio.Queue[tuple[tuple[str, ...], StreamMode, Any] | None] = asyncio.Queue()
        call = self._call(config, context, interrupt_before, interrupt_after, durability, control)
        call.stream = Stream(modes, lambda *event: events.put_nowait(event), keys=output_keys)
        async with self._saver() as saver:
            runtime = saver.runtime_of(self)
            begun = await self._begun(runtime, saver, input, call.config, call, on_paused)
            run = begun.run

            async def drive() -> None:
                try:
                    if run.status == "running":
                        await _driven(runtime, begun, call)
                finally:
                    events.put_nowait(None)

            driving = asyncio.create_task(drive(), name=f"stream of {run.id}")
            try:
                while (happened := await events.get()) is not None:
                    ns, mode, event = happened
                    if ns and not subgraphs:
                        continue
                    if version == "v2":
                        yield part(mode, ns, event, self.plan)
                    elif isinstance(stream_mode, str):
                        yield (ns, event) if subgraphs else event
                    else:
                        yield (ns, mode, event) if subgraphs else (mode, event)
                await driving
            finally:
                if not driving.done():
                    driving.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await driving

    async def aget_state(self, config: Mapping[str, Any], *, subgraphs: bool = False) -> StateSnapshot:
        """Return where the thread stands, or stood at the config's checkpoint; empty if it is unknown."""
        thread, checkpoint, ns = address(merged(self._config, config))
        async with self._saver(must=True) as saver:
            runtime = saver.runtime_of(self)
            run = await runtime.last_run(thread)
            if run is None:
                return StateSnapshot({}, (), config, None, None, None)
            plan = await runtime.views.plan_at(self.plan, thread, ns)
            if checkpoint is not None:
                found = await runtime.views.at(plan, run, checkpoint, subgraphs=subgraphs)
                if found is None:
                    raise UnknownCheckpoint(f"thread {thread!r} has no checkpoint {checkpoint!r}")
                return found
            if ns:
                inner = await runtime.views.state_of_frame(run, plan, ns, subgraphs=subgraphs)
                if inner is None:
                    raise UnknownCheckpoint(f"thread {thread!r} has no subgraph {ns!r}")
                return inner
            return await runtime.views.state(run, subgraphs=subgraphs)

    async def aget_state_history(
        self,
        config: Mapping[str, Any],
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[StateSnapshot]:
        """Yield the thread's checkpoints, newest first, all branches of it; the one that the config names."""
        thread, at, ns = address(merged(self._config, config))
        upto = None if before is None else before["configurable"].get("checkpoint_id")
        left = limit
        async with self._saver(must=True) as saver:
            views = saver.runtime_of(self).views
            plan = await views.plan_at(self.plan, thread, ns)
            while left is None or left > 0:
                page = await views.line(plan, thread, ns=ns, limit=100, before=upto, at=at)
                for snapshot in page:
                    metadata = snapshot.metadata or {}
                    if filter and any(metadata.get(key) != value for key, value in filter.items()):
                        continue
                    yield snapshot
                    if left is not None:
                        left -= 1
                        if left == 0:
                            return
                if len(page) < 100:
                    return
                upto = page[-1].checkpoint_id

    async def aupdate_state(
        self,
        config: Mapping[str, Any],
        values: Any,
        as_node: str | None = None,
        *,
        on_paused: str | None = None,
    ) -> Mapping[str, Any]:
        """Write to the thread's state as if ``as_node`` had; return the config of the new checkpoint.

        See :meth:`Runtime.edit`. With a subgraph's config, write to its state. At an old checkpoint this
        begins a run: while the thread waits for an answer, it raises :class:`ThreadBusy` unless
        ``on_paused="discard"``, which withdraws the question in the same commit.
        """
        return await self.abulk_update_state(config, [[StateUpdate(values, as_node)]], on_paused=on_paused)

    async def abulk_update_state(
        self,
        config: Mapping[str, Any],
        supersteps: Sequence[Sequence[StateUpdate]],
        *,
        on_paused: str | None = None,
    ) -> Mapping[str, Any]:
        """Write one checkpoint for each superstep, all or none; return the config of the last."""
        discard = discards(on_paused)
        whole = merged(self._config, config)
        thread, checkpoint, ns = address(whole)
        metadata = found_again(whole)
        async with self._saver(must=True) as saver:
            runtime = saver.runtime_of(self)
            edits = runtime.edits
            await self._let_out()
            if ns:
                plan = await runtime.views.plan_at(self.plan, thread, ns)
                made = await edits.edit_inside(
                    ThreadId(thread), supersteps, ns=ns, plan=plan, at=checkpoint, metadata=metadata
                )
            else:
                made = await edits.edit(
                    ThreadId(thread),
                    supersteps,
                    at=checkpoint,
                    graph=self.plan.name,
                    discard=discard,
                    metadata=metadata,
                )
            return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": made}}

    async def aget_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> AsyncIterator[tuple[str, CompiledGraph]]:
        """Yield the graphs that are nodes of this one with their namespaces; with ``recurse``, theirs too."""
        for name, plan in self.plan.subgraphs.items():
            inner = CompiledGraph(plan)
            if namespace is None or namespace == name:
                yield name, inner
            if recurse and (namespace is None or namespace.startswith(f"{name}|")):
                rest = None if namespace is None else namespace.removeprefix(f"{name}|")
                async for below, graph in inner.aget_subgraphs(namespace=rest, recurse=True):
                    yield f"{name}|{below}", graph

    # -- the inside ----------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _saver(self, *, must: bool = False) -> AsyncIterator[AsyncSqliteSaver]:
        if isinstance(self.checkpointer, AsyncSqliteSaver):
            async with self.checkpointer.opened() as saver:
                yield saver
            return
        if must:
            raise ValueError("No checkpointer set")
        # A run without a checkpointer leaves nothing behind; it moves by the same rules all the same.
        async with open_store("sqlite:///:memory:") as store:
            yield AsyncSqliteSaver(store)

    async def _let_out(self) -> None:
        """Return when a node may start what its own run does not record: all before it is on disk.

        In a replay it may not, and is left here.
        """
        scope = current_scope()
        if scope is not None and scope.host is not None:
            await scope.host.barrier()

    def _call(
        self,
        config: Mapping[str, Any] | None,
        context: Any,
        before: str | Sequence[str] | None,
        after: str | Sequence[str] | None,
        durability: Durability,
        control: RunControl | None,
    ) -> Call:
        return Call(
            context=fitted(self.plan.context, context),
            durability=durability,
            stop_before=names_in(before),
            stop_after=names_in(after),
            config=merged(self._config, config),
            control=control,
            kept=isinstance(self.checkpointer, AsyncSqliteSaver),
        )

    async def _begun(
        self,
        runtime: Runtime,
        saver: AsyncSqliteSaver,
        given: Any,
        config: Mapping[str, Any] | None,
        call: Call,
        on_paused: str | None,
    ) -> Begun:
        """Return a run that this call holds and must drive, or one that rests."""
        if isinstance(given, Command) and given.graph == PARENT:
            raise InvalidUpdateError("nothing was run: there is no graph around this one")
        kept, discard = isinstance(self.checkpointer, AsyncSqliteSaver), discards(on_paused)
        await self._let_out()
        if not kept:
            if given is None:
                raise EmptyInputError(
                    "nothing was run: the input is None, and no checkpointer keeps a thread"
                )
            if isinstance(given, Command) and given.resume is not UNSET:
                raise NoCheckpointer("nothing was resumed: a graph without a checkpointer cannot pause")
            place = (config or {}).get("configurable", {})
            return await runtime.begin(
                self.name,
                given,
                thread_id=None if place.get("thread_id") in {None, ""} else thread_of(place),
                driver="caller",
                limits=limits_in(config),
                allow_empty=True,
            )
        thread, checkpoint, _ = address(config)
        if isinstance(given, Command) and given.resume is not UNSET:
            last = await runtime.last_run(thread)
            return Begun(await self._answered(runtime, thread, last, given, checkpoint), ())
        if given is None:
            last = await runtime.last_run(thread)
            if checkpoint is not None and (last is None or checkpoint != last.head or not last.live):
                steps = limits_in(config).steps
                run = await runtime.fork(
                    thread, checkpoint, max_steps=steps, driver="caller", discard=discard
                )
                return Begun(run, ())
            return Begun(await self._gone_on(runtime, thread, last, call), ())
        return await runtime.begin(
            self.name,
            given,
            thread_id=thread,
            driver="caller",
            limits=limits_in(config),
            allow_empty=True,
            metadata=call.metadata,
            at=checkpoint,
            later=call.durability == "async" and not call.stream.shows_checkpoints,
            discard=discard,
        )

    async def _answered(
        self, runtime: Runtime, thread: str, last: Run | None, command: Command[Any], checkpoint: str | None
    ) -> Run:
        if last is None:
            raise UnknownThread(f"nothing was resumed: there is no thread {thread!r}")
        if checkpoint is not None and checkpoint != last.head:
            raise NotPaused(f"nothing was resumed: checkpoint {checkpoint!r} is not where the thread stands")
        waiting = [q.interrupt.id for q in await runtime.questions(last.id)]
        answers = answers_in(command.resume, waiting, strict=self._strict)
        if answers is None:
            answers = {InterruptId(waiting[0] if waiting else ""): command.resume}
        claimed = await runtime.answers.take_up(thread, last.id, answers, command=command)
        if claimed is None:
            raise ThreadBusy(f"nothing was driven: run {last.id!r} is driven elsewhere; its answer is stored")
        return claimed

    async def _gone_on(self, runtime: Runtime, thread: str, last: Run | None, call: Call) -> Run:
        if last is None:
            raise EmptyInputError(f"nothing was run: there is no thread {thread!r} to go on with")
        call.go_on = True
        if last.status in {"failed", "cancelled"}:
            steps = limits_in(call.config).steps
            return await runtime.retry(thread, last.id, max_steps=steps, driver="caller")
        if last.status == "interrupted":
            return await runtime.take_up(last)
        if last.status == "completed":
            return last
        claimed = await runtime.claim_this(last.id)
        if claimed is None:
            now = await runtime.get(last.id)
            raise ThreadBusy(
                f"nothing was run: run {last.id!r} of thread {thread!r} is {now.status}"
                f"{until(now, runtime.clock())}"
            )
        return claimed


async def _driven(runtime: Runtime, begun: Begun, call: Call) -> Run:
    run = begun.run
    try:
        driven = await runtime.drive(run, call, begun)
    except NodeFailed as failed:
        raise failed.error from failed.__cause__
    except Conflict as conflict:
        if begun.unstored and conflict.guard in {"thread idle", "thread unchanged"}:
            raise ThreadBusy(f"no run was started: another began on thread {run.thread_id!r}") from conflict
        raise
    if driven.status == "completed" and driven.steps_taken >= driven.max_steps:
        # LangGraph needs one step more than it has nodes to run, to see that it is done.
        raise GraphRecursionError(f"run {run.id!r} took all of its {driven.max_steps} steps; it is completed")
    return driven
