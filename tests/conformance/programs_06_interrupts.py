"""interrupt() and resume: questions, answers, what runs again and what does not."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from harness import Lib, Log, Recorder, a_while, ask, fan, line, program, step, thread
from pydantic import BaseModel
from typing_extensions import TypedDict as TypedDictForPydantic


class Work(TypedDict, total=False):
    items: list[str]
    done: Annotated[list[Any], operator.add]


class Plain(TypedDict, total=False):
    name: str
    answer: Any


class Decision(BaseModel):
    approved: bool
    reason: str = "none"


class Choice(TypedDictForPydantic):
    option: int


@dataclass
class Verdict:
    good: bool


@program("A question ends the call with the state and the question; the answer is what interrupt returns.")
async def ask_and_answer(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), ask(lib, record, "b"), step(record, "c")).compile(
            checkpointer=saver
        )
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))
        record.snapshot(await graph.aget_state(thread()))


@program("A question asked in one process is answered in the next.")
async def ask_restart_answer(lib: Lib, record: Recorder) -> None:
    calls: list[Any] = [{"log": []}, lib.Command(resume="yes")]
    for given in calls:
        async with lib.saver() as saver:
            graph = line(lib, Log, step(record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
            await record.call(graph.ainvoke(given, thread()))


@program("The node that asked runs again from its start; the nodes before it do not.")
async def the_node_runs_again(lib: Lib, record: Recorder) -> None:
    async def b(state: Any) -> Any:
        record.seen("b before")
        answer = lib.interrupt("sure?")
        record.seen("b after")
        return {"log": [answer]}

    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), b).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program("Several questions of one node are asked one at a time; earlier answers are replayed in order.")
async def several_questions(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a", "one?", "two?", "three?")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        for answer in (1, 2, 3):
            await record.call(graph.ainvoke(lib.Command(resume=answer), thread()))


@program("Several questions of one node have ids of their own, and may be answered by id.")
async def several_questions_by_id(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a", "one?", "two?")).compile(checkpointer=saver)
        result = await record.call(graph.ainvoke({"log": []}, thread()))
        for answer in (1, 2):
            (question,) = result["__interrupt__"]
            result = await record.call(graph.ainvoke(lib.Command(resume={question.id: answer}), thread()))


@program("Nodes in a row each ask; each answer goes to its node.")
async def questions_in_a_row(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume=1), thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(lib.Command(resume=2), thread()))


@program("A loop may ask its question each time round, and each has an id of its own.")
async def a_question_in_a_loop(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.seen("a")
        return {"log": [lib.interrupt(f"round {len(state['log'])}?")]}

    async with lib.saver() as saver:
        builder = lib.StateGraph(Log)
        builder.add_node("a", a)
        builder.add_edge(lib.START, "a")
        builder.add_conditional_edges("a", lambda state: "a" if state["log"][-1] == "again" else lib.END)
        graph = builder.compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        for answer in ("again", "again", "stop"):
            await record.call(graph.ainvoke(lib.Command(resume=answer), thread()))


@program("The updates stream shows the question, and on resume what the node wrote.")
async def a_question_in_updates(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
        await record.stream(graph.astream({"log": []}, thread()))
        await record.stream(graph.astream(lib.Command(resume="yes"), thread()))


@program("The values stream shows the question too.")
async def a_question_in_values(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, step(record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
        await record.stream(graph.astream({"log": []}, thread(), stream_mode="values"))
        await record.stream(graph.astream(lib.Command(resume="yes"), thread(), stream_mode="values"))


@program("A question may be any value that can be stored, also a false one.")
async def questions_of_all_kinds(lib: Lib, record: Recorder) -> None:
    questions = ["text", 7, 0, "", None, False, ["list"], {"deep": {"er": [1, 2.5, None]}}]
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a", *questions)).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        for _ in questions:
            await record.call(graph.ainvoke(lib.Command(resume="ok"), thread()))


@program("Falsy answers are answers: False, 0, empty text and an empty list.")
async def falsy_answers(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        for number, answer in enumerate((False, 0, "", [])):
            graph = line(lib, Log, ask(lib, record, "a")).compile(checkpointer=saver)
            await record.call(graph.ainvoke({"log": []}, thread(str(number))))
            await record.call(graph.ainvoke(lib.Command(resume=answer), thread(str(number))))


@program("A dict whose keys are no ids is one plain answer.")
async def a_dict_is_an_answer(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume={"approved": True, "by": ["x"]}), thread()))


@program("The same question is asked again, under the same id, when the thread is called without an answer.")
async def asked_again(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(None, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program("Questions of nodes of one step all surface, and are answered together by id.", overlapping=True)
async def parallel_questions_together(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = fan(lib, Log, ask(lib, record, "a"), ask(lib, record, "b"), then=step(record, "c")).compile(
            checkpointer=saver
        )
        result = await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        answers = {question.id: f"to {question.value}" for question in result["__interrupt__"]}
        await record.call(graph.ainvoke(lib.Command(resume=answers), thread()))


@program(
    "Parallel questions may be answered one after the other, in any order; the last one by its bare value.",
    overlapping=True,
)
async def parallel_questions_in_turn(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        builder = fan(lib, Log, *[quiet_ask(lib, name) for name in "abc"], then=step(record, "d"))
        graph = builder.compile(checkpointer=saver)
        result = await record.call(graph.ainvoke({"log": []}, thread()))
        ids = {question.value: question.id for question in result["__interrupt__"]}
        for name in "ca":
            answer = lib.Command(resume={ids[f"{name}?"]: f"to {name}"})
            result = await graph.ainvoke(answer, thread())
            record.value(sorted(question.value for question in result["__interrupt__"]))
            record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(lib.Command(resume="to b"), thread()))


def quiet_ask(lib: Lib, name: str) -> Any:
    """A node that asks; how often it is entered is left open."""

    async def node(state: Any) -> Any:
        return {"log": [f"{name}={lib.interrupt(f'{name}?')!r}"]}

    node.__name__ = name
    return node


@program(
    "A bare answer to several open questions is a RuntimeError, and no question is lost.", overlapping=True
)
async def a_bare_answer_to_several(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = fan(lib, Log, ask(lib, record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
        result = await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="which?"), thread()))
        record.snapshot(await graph.aget_state(thread()))
        answers = {question.id: True for question in result["__interrupt__"]}
        await record.call(graph.ainvoke(lib.Command(resume=answers), thread()))


@program(
    "A quiet sibling of a question finishes, its write shows in the live state, and it never runs again.",
    overlapping=True,
)
async def a_quiet_sibling(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = fan(lib, Log, step(record, "a"), ask(lib, record, "b"), then=step(record, "c")).compile(
            checkpointer=saver
        )
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program("A slow sibling is not cancelled by a question.", overlapping=True)
async def a_slow_sibling(lib: Lib, record: Recorder) -> None:
    asked = asyncio.Event()

    async def slow(state: Any) -> Any:
        await asked.wait()
        await a_while()
        record.seen("slow finished")
        return {"log": ["slow"]}

    async def quick(state: Any) -> Any:
        asked.set()
        return {"log": [lib.interrupt("quick?")]}

    async with lib.saver() as saver:
        graph = fan(lib, Log, quick, slow).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program("Questions of Sends have an id each, and the results follow the Sends.", overlapping=True)
async def questions_in_sends(lib: Lib, record: Recorder) -> None:
    async def work(state: Any) -> Any:
        record.seen(f"work {state['item']}")
        return {"done": [(lib.interrupt(f"{state['item']}?"))]}

    async with lib.saver() as saver:
        builder = lib.StateGraph(Work)
        builder.add_node("work", work)
        builder.add_conditional_edges(
            lib.START, lambda state: [lib.Send("work", {"item": item}) for item in state["items"]]
        )
        graph = builder.compile(checkpointer=saver)
        result = await record.call(graph.ainvoke({"items": ["z", "a", "m"]}, thread()))
        answers = {question.id: f"to {question.value}" for question in result["__interrupt__"]}
        await record.call(graph.ainvoke(lib.Command(resume=answers), thread()))


@program("A question of one Send among quiet ones is answered by its bare value.", overlapping=True)
async def one_question_among_sends(lib: Lib, record: Recorder) -> None:
    async def work(state: Any) -> Any:
        record.seen(f"work {state['item']}")
        item = state["item"]
        return {"done": [lib.interrupt("m?") if item == "m" else item]}

    async with lib.saver() as saver:
        builder = lib.StateGraph(Work)
        builder.add_node("work", work)
        builder.add_conditional_edges(
            lib.START, lambda state: [lib.Send("work", {"item": item}) for item in state["items"]]
        )
        graph = builder.compile(checkpointer=saver)
        await record.call(graph.ainvoke({"items": ["z", "m", "a"]}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(lib.Command(resume="answer"), thread()))


@program("A helper that the node calls may ask, async or not.")
async def questions_in_helpers(lib: Lib, record: Recorder) -> None:
    def plain() -> Any:
        return lib.interrupt("plain?")

    async def helper() -> Any:
        await asyncio.sleep(0)
        return lib.interrupt("async?")

    async def a(state: Any) -> Any:
        record.seen("a")
        return {"log": [plain(), await helper()]}

    async with lib.saver() as saver:
        graph = line(lib, Log, a).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="one"), thread()))
        await record.call(graph.ainvoke(lib.Command(resume="two"), thread()))


@program("Questions inside asyncio.gather are asked one at a time.")
async def questions_in_gather(lib: Lib, record: Recorder) -> None:
    async def one(name: str) -> Any:
        return lib.interrupt(f"{name}?")

    async def a(state: Any) -> Any:
        return {"log": await asyncio.gather(one("x"), one("y"))}

    async with lib.saver() as saver:
        graph = line(lib, Log, a).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="to x"), thread()))
        await record.call(graph.ainvoke(lib.Command(resume="to y"), thread()))


@program("A node that is a plain function may ask.")
async def a_question_in_a_plain_function(lib: Lib, record: Recorder) -> None:
    def a(state: Any) -> Any:
        record.seen("a")
        return {"log": [lib.interrupt("a?")]}

    async with lib.saver() as saver:
        graph = line(lib, Log, a).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program("A router may ask; the node that it leaves runs again.")
async def a_question_in_a_router(lib: Lib, record: Recorder) -> None:
    def choose(state: Any) -> str:
        record.seen("choose")
        return str(lib.interrupt("which way?"))

    async with lib.saver() as saver:
        builder = lib.StateGraph(Log)
        for name in "abc":
            builder.add_node(name, step(record, name))
        builder.add_edge(lib.START, "a")
        builder.add_conditional_edges("a", choose)
        graph = builder.compile(checkpointer=saver)
        result = await graph.ainvoke({"log": []}, thread())
        record.value(result["__interrupt__"])
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(lib.Command(resume="c"), thread()))


@program("A node that asks may answer with a Command.")
async def a_question_then_a_command(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        answer = lib.interrupt("a?")
        return lib.Command(update={"log": [answer]}, goto="c" if answer == "yes" else "b")

    async with lib.saver() as saver:
        builder = lib.StateGraph(Log)
        builder.add_node("a", a)
        for name in "bc":
            builder.add_node(name, step(record, name))
        builder.add_edge(lib.START, "a")
        graph = builder.compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program("An answer with an update: the node that runs again sees the update.")
async def an_answer_with_an_update(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.value(state)
        return {"answer": lib.interrupt("a?")}

    async with lib.saver() as saver:
        graph = line(lib, Plain, a).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"name": "old"}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes", update={"name": "new"}), thread()))


@program(
    "An answer with a goto: the asking node is answered and the other node runs beside it.", overlapping=True
)
async def an_answer_with_a_goto(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        builder = line(lib, Log, ask(lib, record, "a"), step(record, "b"))
        builder.add_node("z", step(record, "z"))
        graph = builder.compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes", goto="z"), thread()))


@program(
    "An answer that its response_schema, a model, refuses raises, stores nothing, and may be given again."
)
async def a_response_schema(lib: Lib, record: Recorder) -> None:
    async def a(state: Any) -> Any:
        record.seen("a")
        decision = lib.interrupt("ok?", response_schema=Decision)
        record.value(decision)
        return {"log": [decision.reason]}

    async with lib.saver() as saver:
        graph = line(lib, Log, a).compile(checkpointer=saver)
        result = await record.call(graph.ainvoke({"log": []}, thread()))
        record.value(result["__interrupt__"][0].response_schema, "schema")
        await record.call(graph.ainvoke(lib.Command(resume={"approved": "perhaps"}), thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(lib.Command(resume={"approved": True}), thread()))


@program("A response_schema may be a TypedDict, a dataclass, or a JSON schema that validates nothing.")
async def other_response_schemas(lib: Lib, record: Recorder) -> None:
    described = {"type": "object", "properties": {"x": {"type": "integer"}}}

    async def a(state: Any) -> Any:
        answers = [
            lib.interrupt("typed?", response_schema=Choice),
            lib.interrupt("dataclass?", response_schema=Verdict),
            lib.interrupt("json?", response_schema=described),
        ]
        record.value(answers)
        return {"log": ["done"]}

    async with lib.saver() as saver:
        graph = line(lib, Log, a).compile(checkpointer=saver)
        result = await record.call(graph.ainvoke({"log": []}, thread()))
        for answer in ({"option": "3"}, {"good": True}, {"x": "no integer"}):
            record.value(result["__interrupt__"][0].response_schema, "schema")
            result = await record.call(graph.ainvoke(lib.Command(resume=answer), thread()))


@program("An id is the same in the result, in the state, in the stream and after a restart.")
async def ids_are_stable(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a")).compile(checkpointer=saver)
        await record.stream(graph.astream({"log": []}, thread(), stream_mode=["updates", "values"]))
        record.snapshot(await graph.aget_state(thread()))
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a")).compile(checkpointer=saver)
        record.snapshot(await graph.aget_state(thread()))


@program("The same question on two threads has two ids.")
async def ids_of_two_threads(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a")).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread("1")))
        await record.call(graph.ainvoke({"log": []}, thread("2")))
        await record.call(graph.ainvoke(lib.Command(resume="two"), thread("2")))
        await record.call(graph.ainvoke(lib.Command(resume="one"), thread("1")))


@program("A question is not retried by a retry policy.")
async def a_question_is_not_retried(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        builder = lib.StateGraph(Log)
        policy = lib.RetryPolicy(initial_interval=0.001, jitter=False, retry_on=Exception)
        builder.add_node("a", ask(lib, record, "a"), retry_policy=policy)
        builder.add_edge(lib.START, "a")
        graph = builder.compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program("When the node fails after its answer, going on runs it again with the answer, unasked.")
async def failing_after_the_answer(lib: Lib, record: Recorder) -> None:
    broken = [True]

    async def a(state: Any) -> Any:
        record.seen("a")
        answer = lib.interrupt("a?")
        if broken.pop():
            broken.append(False)
            raise ValueError("after the answer")
        return {"log": [answer]}

    async with lib.saver() as saver:
        graph = line(lib, Log, a).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))
        state = await graph.aget_state(thread())
        record.value((state.next, [task.error for task in state.tasks]))
        await record.call(graph.ainvoke(None, thread()))


@program("A failing sibling raises, but the question is kept.", overlapping=True)
async def a_failing_sibling(lib: Lib, record: Recorder) -> None:
    asked = asyncio.Event()
    broken = [True]

    async def a(state: Any) -> Any:
        asked.set()
        return {"log": [lib.interrupt("a?")]}

    async def b(state: Any) -> Any:
        await asked.wait()
        await a_while()
        if broken:
            broken.clear()
            raise ValueError("b broke")
        return {"log": ["b"]}

    async with lib.saver() as saver:
        graph = fan(lib, Log, a, b).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread()))
        record.snapshot(await graph.aget_state(thread()))
        await record.call(graph.ainvoke(lib.Command(resume="yes"), thread()))


@program("A question that cannot be stored is a TypeError, and the thread stays at its node.")
async def a_question_that_cannot_be_stored(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a", object())).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"log": []}, thread(), durability="sync"))
        record.value((await graph.aget_state(thread())).next)


@program("History keeps the question of each step, answered or not.")
async def questions_in_history(lib: Lib, record: Recorder) -> None:
    async with lib.saver() as saver:
        graph = line(lib, Log, ask(lib, record, "a"), ask(lib, record, "b")).compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, thread())
        await graph.ainvoke(lib.Command(resume="yes"), thread())
        record.history([snapshot async for snapshot in graph.aget_state_history(thread())])


@program("A question and state of a dataclass go together.")
async def a_question_with_a_dataclass(lib: Lib, record: Recorder) -> None:
    async def a(state: Verdict) -> Any:
        return {"good": lib.interrupt({"was": state.good})}

    async with lib.saver() as saver:
        graph = line(lib, Verdict, a).compile(checkpointer=saver)
        await record.call(graph.ainvoke({"good": False}, thread()))
        await record.call(graph.ainvoke(lib.Command(resume=True), thread()))
