"""Graphs that the bot's tests run, in this process and in others: each publishes by writing a line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from graph_runtime import (
    END,
    START,
    Action,
    Command,
    CompiledGraph,
    StateGraph,
    ToolRefused,
    approve,
    current_task,
    execute_once,
    interrupt,
    read_tool_policy,
)


class Case(TypedDict, total=False):
    """``effects`` is a file that gets a line whenever something is published."""

    title: str
    service: str
    requester: str
    author: str
    policy: str
    facts: dict[str, Any]
    effects: str
    decision: Any
    outcome: str


async def ask(state: Case) -> Command[Literal["publish", "stop"]]:
    decision = approve(
        state.get("title", f"Deploy {state['service']}"),
        action=Action("deploy", {"service": state["service"]}),
        facts=state.get("facts"),
        policy=state.get("policy", "prod-deploy"),
        requester=state.get("requester", "U0CAROL"),
        also=[state["author"]] if "author" in state else [],
    )
    return Command(goto="publish" if decision.approved else "stop", update={"outcome": decision.outcome})


async def ask_plainly(state: Case) -> Command[Literal["publish", "stop"]]:
    answer = interrupt({"question": "Shall it go out?", "service": state["service"]})
    return Command(
        goto="publish" if answer["decision"] == "approve" else "stop",
        update={"decision": answer, "outcome": answer["decision"]},
    )


async def publish(state: Case) -> dict[str, Any]:
    with Path(state["effects"]).open("a", encoding="utf-8") as file:
        file.write(f"{state['service']} {current_task().id}\n")
    return {}


async def stop(state: Case) -> dict[str, Any]:
    return {}


async def fail(state: Case) -> dict[str, Any]:
    raise RuntimeError(f"the provider refused {state['service']}")


async def ask_then_fail(state: Case) -> Command[Literal["fail"]]:
    approve("Break it", action=Action("break", {"service": state["service"]}), policy="prod-deploy")
    return Command(goto="fail")


async def ask_again(state: Case) -> dict[str, Any]:
    approve("Really?", action=Action("confirm", {"service": state["service"]}), policy="general")
    return {}


TOOLS = read_tool_policy(
    [
        {"tool": "read_*", "do": "allow"},
        {"tool": "publish", "do": "ask", "policy": "prod-deploy", "reason": "everybody will see it"},
    ]
)


async def use_tools(state: Case) -> dict[str, Any]:
    def write(service: str, word: str) -> str:
        with Path(state["effects"]).open("a", encoding="utf-8") as file:
            file.write(f"{word} {service}\n")
        return word

    given = {"service": state["service"]}
    await TOOLS.call("read_status", write, {**given, "word": "read"})
    try:
        done = await TOOLS.call("publish", write, {**given, "word": "published"}, requester="U0CAROL")
    except ToolRefused as refused:
        done = str(refused)
    return {"outcome": done}


deploy = (
    StateGraph(Case)
    .add_node(ask)
    .add_node(publish)
    .add_node(stop)
    .add_edge(START, "ask")
    .add_edge("publish", END)
    .add_edge("stop", END)
    .compile(name="deploy", version="1")
)


class Louder(Case):
    service: Annotated[str, lambda old, new: new.upper()]


#: What ``deploy`` might become while its runs wait.
deploy_since = (
    StateGraph(Louder)
    .add_node("ask", ask)
    .add_node("publish", publish)
    .add_node("stop", stop)
    .add_edge(START, "ask")
    .add_edge("publish", END)
    .add_edge("stop", END)
    .compile(name="deploy", version="1")
)
plain = (
    StateGraph(Case)
    .add_node(ask_plainly)
    .add_node(publish)
    .add_node(stop)
    .add_edge(START, "ask_plainly")
    .add_edge("publish", END)
    .add_edge("stop", END)
    .compile(name="plain", version="1")
)
failing = (
    StateGraph(Case)
    .add_node(ask_then_fail)
    .add_node(fail)
    .add_edge(START, "ask_then_fail")
    .add_edge("fail", END)
    .compile(name="failing", version="1")
)
twice = (
    StateGraph(Case)
    .add_node(ask)
    .add_node("publish", ask_again)
    .add_node(stop)
    .add_edge(START, "ask")
    .add_edge("publish", END)
    .add_edge("stop", END)
    .compile(name="twice", version="1")
)


async def answer_itself(state: Case) -> Command[Literal["stop"]]:
    return Command(resume={"decision": "approve"}, goto="stop")


#: One of its nodes asks, and another, beside it, says what the answer is.
selfish = (
    StateGraph(Case)
    .add_node(ask_plainly)
    .add_node(answer_itself)
    .add_node(publish)
    .add_node(stop)
    .add_edge(START, "ask_plainly")
    .add_edge(START, "answer_itself")
    .add_edge("publish", END)
    .compile(name="selfish", version="1")
)
agent = StateGraph(Case).add_node(use_tools).add_edge(START, "use_tools").compile(name="agent", version="1")


def far_and_wide() -> CompiledGraph:
    """Return a graph of many steps one after another, and then many ways, with names that mean something."""
    doors = [f"door {number}" for number in range(30)]
    steps = [f"step {number}" for number in range(6)]
    graph = StateGraph(Case).add_sequence([(name, stop) for name in steps])
    graph.add_node("*<!channel>*", ask_plainly_only).add_node("beyond", stop).add_node("far beyond", stop)
    graph.add_edge(START, steps[0]).add_edge(steps[-1], "*<!channel>*").add_edge("beyond", "far beyond")
    for door in doors:
        graph.add_node(door, stop).add_edge(door, "beyond")
    graph.add_conditional_edges("*<!channel>*", lambda _: doors[0], doors)
    return graph.compile(name="maze", version="1")


def ask_plainly_only(state: Case) -> dict[str, Any]:
    return {"decision": interrupt("Which door?")}


maze = far_and_wide()
no_graph = "this is only text"


async def ask_to_refund(state: Case) -> dict[str, Any]:
    given = {"amount": "320.00", "charge": "900.00", "note": "", **(state.get("facts") or {})}
    amount, charge = Decimal(given["amount"]), Decimal(given["charge"])
    arguments = {
        "customer": "Ann Archer",
        "amount": amount,
        "parts": 3,
        "express": False,
        "note": given["note"],
        "lines": ["a", "b"],
    }
    decision = approve(
        "Refund 1042",
        action=Action("refund", arguments),
        facts={"amount": amount, "charge": charge},
        policy=state.get("policy", "refund"),
        requester=state.get("requester", "U0CAROL"),
    )
    return {"decision": decision, "outcome": decision.outcome}


#: Leaves what was decided in its state.
refund = (
    StateGraph(Case)
    .add_node(ask_to_refund)
    .add_edge(START, "ask_to_refund")
    .compile(name="refund", version="1")
)


async def ask_to_pay(state: Case) -> dict[str, Any]:
    action = Action("pay", {"service": state["service"]})
    return {"decision": approve(f"Pay {state['service']}", action=action, policy="prod-deploy")}


async def pay(state: Case) -> dict[str, Any]:
    async def provider(key: str) -> str:
        with Path(state["effects"]).open("a", encoding="utf-8") as file:
            file.write(f"{key}\n")
        raise ConnectionError("no answer")

    if not state["decision"].approved:
        return {"outcome": "not paid"}
    return {"outcome": await execute_once(state["decision"].grant, provider)}


#: Its provider takes the money and breaks off: nobody knows.
paying = (
    StateGraph(Case)
    .add_node(ask_to_pay)
    .add_node(pay)
    .add_edge(START, "ask_to_pay")
    .add_edge("ask_to_pay", "pay")
    .compile(name="paying", version="1")
)
