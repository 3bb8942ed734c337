"""The state API: what a thread holds, what it held, and how it is changed from outside."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from harness import Lib, Log, Recorder, ask, fan, line, program, step, thread, whole


class Counted(TypedDict, total=False):
    name: str
    log: Annotated[list[str], operator.add]


@program("An unknown thread has an empty snapshot and no history.")
async def an_unknown_thread(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        record.snapshot(await graph.aget_state(thread("nobody")))
        record.value(await whole(graph.aget_state_history(thread("nobody"))))


@program("Without a checkpointer there is no state to get: a ValueError.")
async def no_checkpointer_no_state(lib: Lib, record: Recorder) -> None:
    graph = line(lib, Log, step(record, "a")).compile()
    await record.call(graph.aget_state(thread()))
    await record.call(whole(graph.aget_state_history(thread())))
    await record.call(graph.aupdate_state(thread(), {"log": ["x"]}))


@program("Snapshots form a chain by their parents.")
async def parents(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        nodes = [step(record, name) for name in "abc"]
        graph = line(lib, Log, *nodes).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        record.links(await whole(graph.aget_state_history(thread())))


@program("A snapshot's config reads that snapshot again, wherever the thread is now.")
async def reading_by_config(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        for old in await whole(graph.aget_state_history(thread())):
            again = await graph.aget_state(old.config)
            record.snapshot(again)
            record.links([old, again])


@program("History: limit takes the newest, filter asks the metadata, before asks for what is older.")
async def searching_history(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        everything = await whole(graph.aget_state_history(thread()))
        record.history(await whole(graph.aget_state_history(thread(), limit=2)))
        record.history(await whole(graph.aget_state_history(thread(), filter={"source": "input"})))
        record.history(await whole(graph.aget_state_history(thread(), filter={"step": 1})))
        record.history(await whole(graph.aget_state_history(thread(), before=everything[1].config)))
        record.history(await whole(graph.aget_state_history(thread(), before=everything[1].config, limit=1)))
        record.history(await whole(graph.aget_state_history(thread(), filter={"source": "nothing"})))


@program(
    "A live snapshot has the finished siblings' writes; the same one by its config has the start of the step.",
    overlapping=True,
)
async def live_and_by_config(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = fan(lib, Log, step(record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        live = await graph.aget_state(thread())
        record.snapshot(live)
        record.snapshot(await graph.aget_state(live.config))
        record.history(await whole(graph.aget_state_history(thread(), limit=1)))


@program("Tasks of a snapshot show what they wrote.", overlapping=True)
async def results_of_tasks(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = fan(lib, Log, step(record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        state = await graph.aget_state(thread())
        record.value([(task.name, task.result) for task in state.tasks])
        await graph.ainvoke(lib.Command(resume="yes"), thread())
        for old in await whole(graph.aget_state_history(thread())):
            record.value([(task.name, task.result) for task in old.tasks])


@program("Metadata of the config is stored with each checkpoint, and can be filtered by.")
async def metadata_of_a_call(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread(metadata={"who": "me"}))
        await graph.ainvoke({"log": []}, thread(metadata={"who": "you"}))
        record.value([old.metadata.get("who") for old in await whole(graph.aget_state_history(thread()))])
        record.history(await whole(graph.aget_state_history(thread(), filter={"who": "me"})))


@program("update_state runs the reducers and adds a checkpoint.")
async def an_update(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        await graph.ainvoke({"log": ["in"]}, thread())
        config = await graph.aupdate_state(thread(), {"log": ["new"]})
        record.snapshot(await graph.aget_state(thread()))
        record.snapshot(await graph.aget_state(config))
        history = await whole(graph.aget_state_history(thread()))
        record.history(history)
        record.links(history)


@program("update_state as a node takes that node's edges.")
async def an_update_as_a_node(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        nodes = [step(record, name) for name in "abc"]
        graph = line(lib, Log, *nodes).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        await graph.aupdate_state(thread(), {"log": ["as a"]}, as_node="a")
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("update_state as a node runs that node's router on the new state.")
async def an_update_runs_routers(lib: Lib, record: Recorder) -> None:
    def choose(state: Any) -> str:
        record.seen(f"choose saw {state['log']}")
        return str(state["log"][-1])

    async with lib.saver() as saver:
        builder = lib.StateGraph(Log)
        for name in "abc":
            builder.add_node(name, step(record, name))
        builder.add_edge(lib.START, "a")
        builder.add_conditional_edges("a", choose, {"a": "b", "go to c": "c"})
        graph = builder.compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await graph.aupdate_state(thread(), {"log": ["go to c"]}, as_node="a")
        record.value((await graph.aget_state(thread())).next)
        await record.call(graph.ainvoke(None, thread()))


@program("update_state before the first run seeds a thread.")
async def seeding_a_thread(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await graph.aupdate_state(thread(), {"log": ["seed"]}, as_node="a")
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("update_state as START is like input.")
async def an_update_as_start(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        await graph.aupdate_state(thread(), {"log": ["in"]}, as_node=lib.START)
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program(
    "Without as_node the last writer is meant; when two nodes were last it is an InvalidUpdateError.",
    overlapping=True,
)
async def the_last_writer(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(
            checkpointer=saver, interrupt_after=["a"]
        )
        await graph.ainvoke({"log": []}, thread("1"))
        await graph.aupdate_state(thread("1"), {"log": ["edited"]})
        record.value((await graph.aget_state(thread("1"))).next)
        graph = fan(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread("2"))
        await record.call(graph.aupdate_state(thread("2"), {"log": ["edited"]}))


@program("update_state as a node that does not exist is an InvalidUpdateError.")
async def an_update_as_nobody(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        await record.call(graph.aupdate_state(thread(), {"log": ["x"]}, as_node="nobody"))
        record.snapshot(await graph.aget_state(thread()))


@program("update_state of nothing as END clears what is pending.")
async def clearing_pending_work(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(
            checkpointer=saver, interrupt_before=["b"]
        )
        await record.call(graph.ainvoke({"log": []}, thread()))
        await graph.aupdate_state(thread(), None, as_node=lib.END)
        record.snapshot(await graph.aget_state(thread()))


@program("update_state of nothing copies the checkpoint.")
async def an_update_of_nothing(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(
            checkpointer=saver, interrupt_before=["b"]
        )
        await record.call(graph.ainvoke({"log": []}, thread()))
        await graph.aupdate_state(thread(), None)
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(None, thread()))


@program("update_state may overwrite past the reducer.")
async def an_update_that_overwrites(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(
            checkpointer=saver, interrupt_before=["b"]
        )
        await graph.ainvoke({"log": ["in"]}, thread())
        await graph.aupdate_state(thread(), {"log": lib.Overwrite(["only"])})
        await record.call(graph.ainvoke(None, thread()))


@program("update_state with a key that the state does not have drops the key.")
async def an_update_of_strangers(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Counted, step(record, "a")).compile(checkpointer=saver)
        await graph.ainvoke({"name": "n"}, thread())
        await graph.aupdate_state(thread(), {"stranger": 1, "name": "m"})
        record.snapshot(await graph.aget_state(thread()))


@program("bulk_update_state applies several updates, one checkpoint for each superstep.")
async def updates_in_bulk(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        first = [lib.StateUpdate({"log": ["seed"]}, lib.START)]
        second = [lib.StateUpdate({"log": ["as a"]}, "a")]
        await graph.abulk_update_state(thread(), [first, second])
        record.history(await whole(graph.aget_state_history(thread())))
        await record.call(graph.ainvoke(None, thread()))


@program("A state edited while a question is open: the node is asked for again and sees the edit.")
async def editing_at_a_question(lib: Lib, record: Recorder) -> None:
    async def b(state: Any) -> Any:
        return {"log": [lib.interrupt(f"saw {state['log']}")]}

    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), b).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await graph.aupdate_state(thread(), {"log": ["edited"]})
        record.value((await graph.aget_state(thread())).next)
        await record.call(graph.ainvoke(None, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program("A deleted thread is unknown again.")
async def deleting_a_thread(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        await graph.ainvoke({"log": ["one"]}, thread())
        await saver.adelete_thread("t")
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke({"log": ["two"]}, thread()))


@program("The saver itself finds a thread's newest checkpoint, and lists them.")
async def asking_the_saver(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        newest = await saver.aget_tuple(thread())
        record.value((newest.metadata["source"], newest.metadata["step"]))
        record.value(newest.config["configurable"]["thread_id"])
        record.value([found.metadata["step"] for found in await whole(saver.alist(thread()))])
        record.value([found.metadata["step"] for found in await whole(saver.alist(thread(), limit=1))])
        record.value(await saver.aget_tuple(thread("nobody")))


@program("A failed task's error is in the state.")
async def an_error_in_the_state(lib: Lib, record: Recorder) -> None:
    async def b(state: Any) -> Any:
        raise ValueError("b broke")

    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), b).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        record.history(await whole(graph.aget_state_history(thread())))


@program(
    "A thread is read without its graph having run in this process, and by another graph of the same shape."
)
async def reading_in_another_process(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread(), interrupt_before=["b"])
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), step(record, "b")).compile(checkpointer=saver)
        record.snapshot(await graph.aget_state(thread()))
        record.history(await whole(graph.aget_state_history(thread())))


@program("A snapshot's parts have names.")
async def the_parts_of_a_snapshot(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        state = await graph.aget_state(thread())
        (task,) = state.tasks
        record.value((state.next, task.name, task.error, task.state, task.result, task.interrupts))
        record.value(state.config["configurable"].keys() >= {"thread_id", "checkpoint_ns", "checkpoint_id"})
        record.value(state.metadata.keys() >= {"source", "step", "parents"})
        record.value(type(state.created_at).__name__)
        record.value(isinstance(state.tasks, tuple))
