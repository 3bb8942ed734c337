"""Time travel: running on from an old checkpoint, and forking from an edited one."""

from __future__ import annotations

from typing import Any

from harness import Lib, Log, Recorder, ask, fan, line, program, step, thread, whole


async def at_step(graph: Any, number: int) -> Any:
    """The newest snapshot of the thread with this step number."""
    return next(
        old for old in await whole(graph.aget_state_history(thread())) if old.metadata["step"] == number
    )


@program("None with an old checkpoint's config runs on from there; what was done before it is not run.")
async def running_on_from_an_old_checkpoint(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        nodes = [step(record, name) for name in "abc"]
        graph = line(lib, Log, *nodes).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        old = await at_step(graph, 1)
        await record.call(graph.ainvoke(None, old.config))
        record.snapshot(await graph.aget_state(thread()))


@program("Running on from an old checkpoint makes a branch; the old branch stays readable.")
async def a_branch_in_history(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        await graph.ainvoke(None, (await at_step(graph, 1)).config)
        history = await whole(graph.aget_state_history(thread()))
        record.history(history)
        record.links(history)


@program("update_state of an old checkpoint forks it, and the fork runs on.")
async def forking(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        config = await graph.aupdate_state((await at_step(graph, 1)).config, {"log": ["edited"]})
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, config))
        history = await whole(graph.aget_state_history(thread()))
        record.history(history)
        record.links(history)


@program("After a fork the thread's head is the fork.")
async def the_head_after_a_fork(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        await graph.aupdate_state((await at_step(graph, 1)).config, {"log": ["edited"]})
        await record.call(graph.ainvoke(None, thread()))
        record.snapshot(await graph.aget_state(thread()))


@program("A fork as another node goes another way.")
async def forking_as_another_node(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        nodes = [step(record, name) for name in "abc"]
        graph = line(lib, Log, *nodes).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        old = await at_step(graph, 0)
        config = await graph.aupdate_state(old.config, {"log": ["as b"]}, as_node="b")
        await record.call(graph.ainvoke(None, config))


@program("Running on from before a question asks it again, under a new id, and the new one can be answered.")
async def an_old_question_is_asked_again(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="first"), thread()))
        await record.call(graph.ainvoke(None, (await at_step(graph, 1)).config))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(lib.Command(resume="second"), thread()))


@program("Running on from the start runs everything again.")
async def running_on_from_the_start(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": ["in"]}, thread()))
        await record.call(graph.ainvoke(None, (await at_step(graph, -1)).config))
        await record.call(graph.ainvoke(None, (await at_step(graph, 0)).config))


@program("Running on from the end of a finished thread runs nothing.")
async def running_on_from_the_end(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(None, (await graph.aget_state(thread())).config))


@program("Input with an old checkpoint's config begins a new branch on that state.")
async def new_input_on_an_old_state(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        await graph.ainvoke({"log": ["one"]}, thread())
        first = await graph.aget_state(thread())
        await graph.ainvoke({"log": ["two"]}, thread())
        await record.call(graph.ainvoke({"log": ["three"]}, first.config))
        record.snapshot(await graph.aget_state(thread()))


@program("Time travel to a step of two nodes runs both again.", overlapping=True)
async def going_back_to_a_wide_step(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = fan(lib, Log, step(record, "a"), step(record, "b"), then=step(record, "c")).compile(
            checkpointer=saver
        )
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(None, (await at_step(graph, 0)).config))


@program("A stream from an old checkpoint yields only what runs.")
async def streaming_from_an_old_checkpoint(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        nodes = [step(record, name) for name in "abc"]
        graph = line(lib, Log, *nodes).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        old = await at_step(graph, 1)
        await record.stream(graph.astream(None, old.config, stream_mode=["updates", "values"]))


@program("A fork of a breakpoint edits and goes on, twice, from the same place.")
async def two_forks_of_one_place(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread(), interrupt_before=["b"])
        place = (await graph.aget_state(thread())).config
        for name in ("left", "right"):
            config = await graph.aupdate_state(place, {"log": [name]})
            await record.call(graph.ainvoke(None, config))
        record.value(len(await whole(graph.aget_state_history(thread()))))
