"""A refund that is paid once: a small one by itself, a larger one after one or two people, edited if need be.

START -> load_case -> review -> (approved: pay -> notify | else: notify) -> END
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypedDict

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from graph_runtime import END, START, Action, Command, Decision, NotDone, StateGraph, approve, execute_once

from .outside import Book, outside

Why = Literal["goodwill", "damaged", "late", "duplicate"]


class Arguments(BaseModel):
    """Refund money to a customer."""

    case_id: str = Field(description="the case, such as R-1042", pattern=r"^R-[0-9]{1,9}$")
    amount: Decimal = Field(description="in EUR, such as 320.00", gt=0, max_digits=9, decimal_places=2)
    reason_code: Why = Field(description="why")
    customer: str = Field(
        description="who gets it", min_length=1, max_length=80, json_schema_extra={"rest_of_line": True}
    )


class Refund(TypedDict, total=False):
    """What a refund knows; the first five keys are its input."""

    case_id: str
    customer: str
    amount: Decimal | str
    reason_code: str
    requester: str
    original_charge: Decimal
    already_refunded: Decimal
    fraud: float
    decision: Decision
    payment: str
    said: str


#: Digits after the point, where they are not two.
_PLACES = {"JPY": 0, "KWD": 3}


class Edit(BaseModel):
    """What an approver may change, and to what: never to more than was asked for, or than is left."""

    amount: Decimal = Field(gt=0, title="Amount", description="At most what was asked for.")
    reason_code: Why = Field(title="Reason")
    note_to_customer: str = Field(title="Note to the customer", max_length=500)

    @field_validator("amount")
    @classmethod
    def at_most_what_is_right(cls, amount: Decimal, info: ValidationInfo) -> Decimal:
        """Return the amount. Raises ValueError for one that nobody may pay."""
        known = info.context or {}
        requested, facts = known["requested"], known["facts"]
        currency = requested["currency"]
        left = facts["original_charge"] - facts["already_refunded"]
        if amount > left:
            raise ValueError(f"Only {left} {currency} are left of the charge.")
        if amount > requested["amount"]:
            raise ValueError(f"At most {requested['amount']} {currency}, which was asked for.")
        places = _PLACES.get(currency, 2)
        if amount != round(amount, places):
            raise ValueError(f"{currency} has {places} digits after the point.")
        return amount


class Bank(Book):
    """Stands in for a payment provider: payments in a file, each with the key that it was asked for with."""

    def pay(self, amount: Decimal, key: str) -> str:
        """Pay, once for each key, and return the payment's id."""
        found = self.find(key)
        if found is not None:
            return found
        payment = f"pay-{len(self.payments()) + 1}"
        self.add(what="paid", id=payment, key=key, amount=str(amount))
        return payment

    def find(self, key: str) -> str | None:
        """Return the payment that was made with this key, or None when there is none."""
        return next((payment["id"] for payment in self.payments() if payment["key"] == key), None)

    def payments(self) -> list[dict[str, str]]:
        """Return every payment that was made."""
        return self.lines("paid")


def bank() -> Bank:
    """Return the provider."""
    return Bank(outside("bank.jsonl"))


async def load_case(state: Refund) -> Refund:
    """Look up what is known of the case."""
    # A shop would ask its own database and its fraud service.
    return {"original_charge": Decimal("900.00"), "already_refunded": Decimal("20.00"), "fraud": 0.1}


def refund_of(state: Refund) -> Action:
    """Return exactly what will be done, as it is asked for or as an approver left it."""
    decision = state.get("decision")
    edited = None if decision is None else decision.arguments
    asked = {
        "case": state["case_id"],
        "amount": Decimal(state["amount"]),
        "currency": "EUR",
        "reason_code": state["reason_code"],
        "note_to_customer": "",
    }
    return Action("refund", dict(edited) if edited else asked)


async def review(state: Refund) -> Command[Literal["pay", "notify"]]:
    """Ask, unless the policy decides by itself: up to 50 EUR is paid, and what looks like fraud is not."""
    decision = approve(
        f"Refund {state['amount']} EUR to {state['customer']}",
        action=refund_of(state),
        facts={
            "amount": Decimal(state["amount"]),
            "original_charge": state["original_charge"],
            "already_refunded": state["already_refunded"],
            "fraud": state["fraud"],
        },
        policy="refund",
        requester=state.get("requester"),
        form=Edit,
    )
    return Command(goto="pay" if decision.approved else "notify", update={"decision": decision})


async def pay(state: Refund) -> Refund:
    """Pay what was approved, once, whatever dies meanwhile."""
    provider, action = bank(), refund_of(state)

    async def carry_out(key: str) -> str:
        return provider.pay(action.arguments["amount"], key)

    async def look(key: str) -> str:
        found = provider.find(key)
        if found is None:
            raise NotDone("the provider knows no payment of that key")
        return found

    paid: str = await execute_once(state["decision"].grant, carry_out, action=action, reconcile=look)
    return {"payment": paid}


async def notify(state: Refund) -> Refund:
    """Say what came of it."""
    decision, who = state["decision"], state["customer"]
    if "payment" in state:
        amount = refund_of(state).arguments["amount"]
        return {"said": f"{who} gets {amount} EUR ({state['payment']})"}
    why = f": {decision.reason}" if decision.reason else ""
    return {"said": f"{who} gets nothing, {decision.outcome}{why}"}


graph = (
    StateGraph(Refund)
    .add_node(load_case)
    .add_node(review)
    .add_node(pay)
    .add_node(notify)
    .add_edge(START, "load_case")
    .add_edge("load_case", "review")
    .add_edge("pay", "notify")
    .add_edge("notify", END)
    .compile(name="refund", version="1")
)
