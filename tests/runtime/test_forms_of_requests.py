"""The form of a request in the store: what is kept of it, what it is not bound to, and what an edit comes to."""

from __future__ import annotations

import datetime as dt
import sys
from decimal import Decimal
from typing import Any, Literal

import pytest
from graphs import Log, begin, one_after_another, values
from kit import MakeRuntime
from people import CLI, People, approvals_of, open_view, person, requests, ticket_of, view_of
from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from graph_runtime import Action, Approvals, CompiledGraph, Decision, Refused, RequestView, Runtime, approve

pytestmark = pytest.mark.databases("sqlite", "postgres")
POLICY = {
    "people": ["U_A"],
    "decisions": ["approve", "edit", "reject"],
    "edit": {"fields": ["amount", "why", "by", "to"]},
}
ASKED = {"amount": Decimal("20.00"), "why": None, "by": None, "to": "Ann", "kind": "goodwill"}


class Edit(BaseModel):
    """An edit of a payment."""

    amount: Decimal = Field(gt=0, decimal_places=2)
    why: str | None = None
    by: dt.date | None = None
    kind: Literal["goodwill", "damage"] = "goodwill"

    @model_validator(mode="after")
    def says_why(self, info: ValidationInfo) -> Edit:
        assert info.context is not None
        if self.amount < info.context["requested"]["amount"] and not self.why:
            raise ValueError("who gets less is told why")
        if self.amount > info.context["facts"]["left"]:
            raise ValueError(f"only {info.context['facts']['left']} is left")
        return self


class NeedsMore(BaseModel):
    """It needs what the action lacks."""

    amount: Decimal
    currency: str


class Unlisted(BaseModel):
    """Nobody can fill in a list."""

    amount: list[Decimal]


def paying(form: type[BaseModel] | None) -> CompiledGraph:
    async def ask(state: Log) -> Log:
        action = Action("pay", ASKED)
        return {"answer": approve("Pay", action=action, policy="p", facts={"left": 50}, form=form)}

    return one_after_another("pay", ask=ask)


class Desk:
    """One waiting run with its request."""

    def __init__(self, runtime: Runtime, approvals: Approvals, view: RequestView) -> None:
        self.runtime, self.approvals, self.view = runtime, approvals, view

    async def edit(self, who: str = "U_A", **edited: Any) -> RequestView:
        ticket = ticket_of(self.view, self.runtime.store)
        return await self.approvals.decide(ticket, person(who), "edit", place=CLI, edited=edited)

    async def refused(self, who: str = "U_A", **edited: Any) -> Refused:
        with pytest.raises(Refused) as raised:
            await self.edit(who, **edited)
        now = await view_of(self.approvals, self.view.request.id)
        assert (now.request.status, now.votes) == ("open", ())
        return raised.value


async def desk_of(make_runtime: MakeRuntime, form: type[BaseModel] | None = Edit) -> Desk:
    runtime = make_runtime(paying(form), companions=[requests(p=POLICY)])
    approvals = approvals_of(runtime, People())
    run = await begin(runtime)
    return Desk(runtime, approvals, await open_view(approvals, run.id))


async def test_where_the_form_is_and_its_schema_are_kept_and_the_decision_is_not_bound_to_it(
    make_runtime: MakeRuntime,
) -> None:
    with_form, without = await desk_of(make_runtime), await desk_of(make_runtime, None)
    kept = with_form.view.request.form
    assert kept is not None
    assert kept.reference == f"{__name__}:Edit"
    assert kept.schema == Edit.model_json_schema()
    assert kept.names == ("amount", "why", "by", "kind")
    assert without.view.request.form is None
    assert with_form.view.request.digest == without.view.request.digest
    (question,) = await with_form.runtime.questions(with_form.view.run.id)
    assert question.interrupt.value["form"] == {"reference": kept.reference, "schema": kept.schema}


async def test_an_edit_is_stored_as_the_form_made_it_and_reaches_the_graph_with_its_types(
    make_runtime: MakeRuntime,
) -> None:
    desk = await desk_of(make_runtime)
    await desk.edit(amount="12.50", why="two parts", by="2026-12-01")
    run = await desk.runtime.advance(desk.view.run.id)
    decision = (await values(desk.runtime, run))["answer"]
    assert isinstance(decision, Decision)
    assert decision.outcome == "edited"
    assert decision.arguments == {
        **ASKED,
        "amount": Decimal("12.50"),
        "why": "two parts",
        "by": dt.date(2026, 12, 1),
    }
    assert type(decision.arguments["amount"]) is Decimal


async def test_what_a_form_refuses_is_told_by_field_and_the_request_stays_open(
    make_runtime: MakeRuntime,
) -> None:
    desk = await desk_of(make_runtime)
    wrong = await desk.refused(amount="1.234", by="soon")
    assert (wrong.code, wrong.fields) == (
        "INVALID_INPUT",
        {"amount": "Write at most 2 digits after the point.", "by": "Choose a date."},
    )
    assert (await desk.refused(amount=5)).fields == {"": "Who gets less is told why."}
    assert (await desk.refused(amount="50.01")).sentence == "Only 50 is left. Nothing was recorded."
    # Of both lists, the policy's and the form's.
    assert (await desk.refused(to="Eve")).fields == {"to": "This may not be changed."}
    assert (await desk.refused(kind="damage")).fields == {"kind": "This may not be changed."}
    assert "Nothing was changed" in (await desk.refused(amount="20.0", kind="goodwill")).sentence
    assert (await desk.refused("U_EVE", amount="a lot")).code == "NOT_APPROVER"


async def test_a_form_that_is_gone_is_told_before_a_dialog_opens_and_nothing_but_the_edit_is_lost(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = await desk_of(make_runtime)
    ticket = ticket_of(desk.view, desk.runtime.store)
    assert await desk.approvals.check(ticket, person("U_A"), "edit", place=CLI)
    monkeypatch.delattr(sys.modules[__name__], "Edit")
    with pytest.raises(Refused, match="is not there any more"):
        await desk.approvals.check(ticket, person("U_A"), "edit", place=CLI)
    assert (await desk.refused(amount="30")).code == "GRAPH_CHANGED"
    decided = await desk.approvals.decide(ticket, person("U_A"), "approve", place=CLI)
    assert decided.request.status == "approved"


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("form", "why"), [(NeedsMore, "needs currency, for which"), (Unlisted, "type list, which nobody")]
)
async def test_a_form_that_could_never_be_used_fails_its_node_and_nobody_is_asked(
    make_runtime: MakeRuntime, form: type[BaseModel], why: str
) -> None:
    runtime = make_runtime(paying(form), companions=[requests(p=POLICY)])
    run = await begin(runtime)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == "ValueRefused"
    assert why in run.error["message"]
    assert await approvals_of(runtime).find(run_id=run.id) == []


class Hasty(BaseModel):
    """A form that takes what it is asked first, and never again."""

    amount: Decimal

    @field_validator("amount")
    @classmethod
    def once(cls, amount: Decimal) -> Decimal:
        if ASKED_BEFORE:
            raise ValueError("too late")
        ASKED_BEFORE.append(amount)
        return min(amount, Decimal(15))


ASKED_BEFORE: list[Decimal] = []


async def test_a_form_is_asked_once_and_what_it_left_is_what_is_recorded(make_runtime: MakeRuntime) -> None:
    ASKED_BEFORE.clear()
    runtime = make_runtime(paying(Hasty), companions=[requests(p=POLICY)])
    run = await begin(runtime)
    approvals = approvals_of(runtime)
    view = await open_view(approvals, run.id)
    decided = await approvals.decide(
        ticket_of(view, runtime.store), person("U_A"), "edit", place=CLI, edited={"amount": "19"}
    )
    assert decided.votes[-1].arguments == {**ASKED, "amount": Decimal(15)}
