"""Cards as pure functions: whatever a graph or a person says, Slack takes the card and nobody is misled."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from bot_bench import texts
from card_bench import AT, TICKET, entry, new_ids, request, taken, view, vote
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import much

from bot import cards, dialogs, lines, text
from bot.payloads import DialogOrigin, read_ticket, write_ticket
from bot.replies import error_code, seconds_to_wait
from bot.sandbox.limits import view_body
from graph_runtime import (
    Action,
    Place,
    Refused,
    RequestView,
    Ticket,
    Vote,
)
from graph_runtime.types import EntryId

STATUSES = ["open", "approved", "edited", "rejected", "responded", "timed_out", "withdrawn", "superseded"]
RUNS = ["queued", "running", "interrupted", "completed", "failed", "cancelled", "needs_attention"]
SLACK_ID = st.from_regex(r"\A[UW]0[A-Z0-9]{6,9}\Z")
anything = st.text(st.characters(), max_size=400)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | anything
    | st.decimals()
    | st.datetimes(timezones=st.none() | st.just(dt.UTC))
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=4) | st.sets(st.integers())
    ),
    max_leaves=8,
)
facts = st.dictionaries(anything, values, max_size=40)


@settings(max_examples=much(25, 80), deadline=None)
@given(
    title=anything,
    arguments=facts,
    more=facts,
    status=st.sampled_from(STATUSES),
    run_status=st.sampled_from(RUNS),
    reason=anything,
    requester=st.none() | anything.filter(bool),
    also=st.lists(anything, max_size=40),
    people=st.lists(anything, min_size=1, max_size=60),
)
def test_slack_takes_every_card_whatever_is_on_it(
    title: str,
    arguments: dict[str, Any],
    more: dict[str, Any],
    status: str,
    run_status: str,
    reason: str,
    requester: str | None,
    also: list[str],
    people: list[str],
):
    asked = request(
        title=title,
        action=Action("x", arguments),
        facts=more,
        status=status,
        requester=requester,
        also=tuple(also),
        policy={"people": [p if p.strip() else "U0ALICE" for p in people]},
        closed_at=None if status == "open" else AT,
        deadline_at=AT,
    )
    votes = () if status == "open" else (vote("reject", reason, requester or "U0ALICE"),)
    blocks = taken(cards.card(view(asked, votes=votes, status=run_status), entry(), "deployment-1"))
    assert any(block["type"] == "actions" for block in blocks) == (status == "open")


@settings(max_examples=much(15, 40), deadline=None)
@given(
    reason=anything,
    by=st.none() | anything.filter(bool),
    requester=st.none() | anything.filter(bool),
    said=st.sampled_from(
        [("request", s) for s in ("approved", "rejected", "timed_out")]
        + [("run", s) for s in ("completed", "failed", "cancelled", "needs_attention")]
    ),
)
def test_slack_takes_every_line_of_a_thread(
    reason: str, by: str | None, requester: str | None, said: tuple[str, str]
):
    votes = (vote("reject", reason, by),) if by else ()
    what, status = said
    line = lines.trail(
        view(request(requester=requester), votes=votes), entry("trail", what=what, status=status, by=by)
    )
    taken(line)


SEVERAL = {
    "require": [{"name": "sre", "group": "S0SRE", "count": 2}, {"name": "owners", "group": "S0OWN"}],
    "veto": {"deny": 3},
    "decisions": ["approve", "edit", "reject", "respond"],
    "edit": {"fields": ["service"]},
}


@settings(max_examples=much(25, 80), deadline=None)
@given(
    status=st.sampled_from(STATUSES),
    said=st.lists(
        st.tuples(st.sampled_from(["approve", "edit", "reject", "respond"]), anything, anything.filter(bool)),
        max_size=12,
    ),
    value=values,
)
def test_slack_takes_every_card_and_line_of_several_people(status: str, said: list[Any], value: Any):
    votes, rounds = [], 0
    for verdict, reason, who in said:
        rounds += verdict == "edit"
        arguments = {"service": value} if verdict == "edit" else None
        groups = frozenset({"S0SRE", "S0OWN"})
        votes.append(Vote(who, verdict, reason, "sha256:0", AT, "slack", groups, 0, rounds, arguments))
    asked = request(status=status, policy=SEVERAL, closed_at=None if status == "open" else AT, deadline_at=AT)
    seen = view(asked, votes=tuple(votes))
    taken(cards.card(seen, entry(), "deployment-1"))
    seats = [[s.name, s.filled, s.count, [*s.people], [*s.groups]] for s in seen.standing.seats]
    stood = {"seats": seats, "stage": 0, "stages": 2, "rejections": 1, "veto": 2}
    for verdict, _, who in said[:2]:
        if verdict != "respond":
            taken(lines.trail(seen, entry("trail", what="vote", status=verdict, by=who, **stood)))
    taken(lines.trail(seen, entry("trail", what="remind", status="open", by=None)))
    taken(lines.trail(seen, entry("trail", what="escalate", status="open", by=None, to="S0LEAD")))
    closed = "approved" if status == "open" else status
    if closed != "superseded":
        taken(lines.trail(seen, entry("trail", what="request", status=closed, by="U0ALICE")))


def test_the_largest_policy_still_fits():
    rules = [{"groups": [f"S0GROUP{n:03}{m:03}" for m in range(60)], "count": 50} for n in range(20)]
    seen = view(request(policy={"require": rules}, deadline_at=AT))
    taken(cards.card(seen, entry(), "d"))
    line = lines.trail(seen, entry("trail", what="remind", status="open", by=None))
    assert "Still needed: 1000 more" in line.text
    seats = [[s.name, s.filled, s.count, [*s.people], [*s.groups]] for s in seen.standing.seats]
    stood = {"seats": seats, "stage": 0, "stages": 1, "rejections": 0, "veto": 1}
    line = lines.trail(seen, entry("trail", what="vote", status="approve", by="U0ALICE", **stood))
    assert line.text == ":white_check_mark: <@U0ALICE> approved: 0 of 1000."


def told(seen: RequestView, **payload: Any) -> str:
    return lines.trail(seen, entry("trail", **payload)).text


def test_an_edit_shows_what_it_is_now_who_changed_it_and_what_it_was():
    edit = Vote(
        "U0BOB", "edit", None, "sha256:1", AT, "slack", frozenset({"S0SRE"}), 0, 1, {"service": "*<x|y>*"}
    )
    message = cards.card(view(request(policy=SEVERAL), votes=(edit,)), entry(), "d")
    header, facts, who, line, *_, trace = taken(message)
    assert [e["text"] for e in facts["elements"][0]["elements"]] == [
        "service  ",
        "*<x|y>* (requested payments)",
    ]
    assert header["text"]["text"] == "Deploy payments (changed, see below)"
    assert trace["elements"][0]["text"] == "run-1 · bound to 1", "and not to what was asked for"
    assert who["elements"][0]["text"] == ":pencil2: Changed by <@U0BOB>"
    assert line["text"]["text"].startswith("*1 of 3 approved*")
    closed = request(status="edited", closed_at=AT, policy=SEVERAL)
    message = cards.card(view(closed, votes=(edit, vote("approve"))), entry(), "d")
    assert "*Approved with changes* by <@U0BOB>" in message.text


def test_a_title_of_full_length_still_says_that_it_was_changed():
    edit = Vote("U0BOB", "edit", None, "sha256:1", AT, "slack", frozenset({"S0SRE"}), 0, 1, {"service": ""})
    header, facts, *_ = taken(
        cards.card(view(request(title="x" * 150, policy=SEVERAL), votes=(edit,)), entry(), "d")
    )
    assert len(header["text"]["text"]) <= 150
    assert header["text"]["text"].endswith("(150 characters) (changed, see below)")
    assert facts["elements"][0]["elements"][1]["text"] == "(empty) (requested payments)"
    back = dataclasses.replace(edit, arguments={"service": "payments"})
    header, *_ = taken(cards.card(view(request(policy=SEVERAL), votes=(back,)), entry(), "d"))
    assert header["text"]["text"] == "Deploy payments"


def test_who_asked_and_confirms_is_named_and_not_left_out():
    own = request(policy={"require": [{"requester": True}]}, also=("U0BOB",))
    shown = json.dumps(taken(cards.card(view(own), entry(), "d")))
    assert "needs one of <@U0CAROL>" not in shown
    assert "needs <@U0CAROL>, who asked, not <@U0BOB>" in shown


def test_a_card_says_once_what_its_run_waits_for():
    held = request(
        status="approved",
        closed_at=AT,
        policy={"groups": ["S0SRE"], "freeze_bypass": {"group": "S0OWN", "count": 2}},
    )
    waits = view(held, votes=(vote("approve"),))
    assert "U0CAROL> · the run waits · run-1" in json.dumps(
        taken(cards.card(waits, entry(), "d")), ensure_ascii=False
    )
    frozen = dataclasses.replace(waits, held_by={"graph:deploy": AT})
    shown = json.dumps(taken(cards.card(frozen, entry(), "d")), ensure_ascii=False)
    assert "Frozen, bypass 0 of 2" in shown
    assert "the run waits" not in shown


def test_a_moment_is_a_date_in_each_reader_s_zone_and_one_that_such_a_date_would_cut_is_its_text():
    until = dt.datetime(2026, 3, 29, 5, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    facts = {
        "until": until,
        "to the second": until.replace(second=7),
        "finer": until.replace(microsecond=5),
        "of no zone": until.replace(tzinfo=None),
        "of old": until.replace(year=1969),
    }
    message = cards.card(view(request(facts=facts)), entry(), "d")
    leaves = taken(message)[1]["elements"][0]["elements"]
    date = {"type": "date", "timestamp": 1_774_755_000, "format": "{date_short_pretty} at {time}"}
    assert [leaf for leaf in leaves if leaf["type"] == "date"] == [
        {**date, "fallback": "2026-03-29 05:30:00+02:00"},
        {
            **date,
            "timestamp": 1_774_755_007,
            "format": "{date_short_pretty} at {time_secs}",
            "fallback": "2026-03-29 05:30:07+02:00",
        },
    ]
    for words in ("2026-03-29 05:30:00.000005+02:00", "2026-03-29 05:30:00", "1969-03-29 05:30:00+02:00"):
        assert words in [leaf.get("text") for leaf in leaves]
    assert "until: 2026-03-29 05:30:00+02:00" in message.text
    edit = Vote(
        "U0BOB", "edit", None, "sha256:1", AT, "slack", arguments={"until": until + dt.timedelta(hours=1)}
    )
    action = Action("give", {"until": until})
    message = cards.card(view(request(action=action, policy=SEVERAL), votes=(edit,)), entry(), "d")
    now, was = "2026-03-29 06:30:00+02:00", "2026-03-29 05:30:00+02:00"
    assert f"until: {now} (requested {was})" in message.text


def test_an_answer_a_withdrawal_and_rejections_on_the_way_are_told_by_whom():
    answered = request(status="responded", closed_at=AT, policy=SEVERAL)
    shown = cards.card(view(answered, votes=(vote("respond", "use staging"),)), entry(), "d")
    assert "*Answered instead* by <@U0ALICE>" in shown.text
    assert "use staging" in json.dumps(taken(shown))
    taken_back = request(status="withdrawn", closed_at=AT)
    shown = cards.card(view(taken_back, votes=(vote("withdraw", by="U0CAROL"),)), entry(), "d")
    assert "by <@U0CAROL>, who asked" in shown.text
    no = Vote("U0BOB", "reject", "no", "sha256:0", AT, "slack", frozenset({"S0SRE"}))
    shown = cards.card(view(request(policy=SEVERAL), votes=(no,)), entry(), "d")
    assert ":no_entry: 1 of 3 rejections" in shown.text
    stood = {"seats": [["sre", 1, 2, [], ["S0SRE"]]], "stage": 0, "stages": 1, "rejections": 1, "veto": 3}
    line = told(view(), what="vote", status="reject", by="U0BOB", **stood)
    assert line.startswith(":no_entry: <@U0BOB> rejected: 1 of 2 sre; 1 of 3 rejections.")


def test_reminders_name_whom_they_wait_for_and_an_escalation_where():
    seen = view(request(policy=SEVERAL, deadline_at=AT))
    line = told(seen, what="remind", status="open", by=None)
    assert line.startswith(
        ":bell: Still needed: 2 of <!subteam^S0SRE>, 1 of <!subteam^S0OWN>, expires <!date^"
    )
    place = Place("slack", "A1", "T1", "C0DEPLOYS", "1.1")
    seen = dataclasses.replace(seen, cards={EntryId("out-1"): place})
    for to, mention in (
        ("U0LEAD", "<@U0LEAD>"),
        ("S0LEAD", "<!subteam^S0LEAD>"),
        ("oncall:sre", "who is on call"),
    ):
        assert mention in told(seen, what="escalate", status="open", by=None, to=to)
    line = told(seen, what="escalate", status="open", by=None, to="U0LEAD", channel="C0LEADS")
    assert "nobody has decided on “Deploy payments” in <#C0DEPLOYS> yet" in line
    closed = view(request(status="approved", closed_at=AT), votes=(vote("approve"),))
    assert told(closed, what="remind", status="open", by=None) == ":bell: Decided meanwhile: approved."


def test_a_card_has_the_buttons_that_the_policy_allows():
    def actions(**policy: Any) -> list[str]:
        message = cards.card(view(request(policy={"people": ["U1"], **policy})), entry(), "d")
        found = [block for block in taken(message) if block["type"] == "actions"]
        return [element["action_id"] for block in found for element in block["elements"]]

    assert actions() == [cards.APPROVE, cards.REJECT]
    assert actions(decisions=["approve"]) == [cards.APPROVE]
    assert actions(decisions=["respond"]) == [cards.RESPOND]
    every = {"decisions": ["respond", "edit", "reject", "approve"], "edit": {"fields": ["service"]}}
    assert actions(**every) == [cards.APPROVE, cards.REJECT, cards.EDIT, cards.RESPOND]
    nothing = {"decisions": ["approve", "edit"], "edit": {"fields": ["missing"]}}
    assert actions(**nothing) == [cards.APPROVE]
    typed = request(policy={"people": ["U1"]}, terms={"stages": [[{"people": ["U1"]}]], "confirm": "prod"})
    assert cards.CONFIRM in json.dumps(taken(cards.card(view(typed), entry(), "d")))


def test_stages_say_which_one_is_open():
    stages = {"stages": [[{"name": "finance", "group": "S0FIN"}], [{"name": "leads", "group": "S0LEAD"}]]}
    first = Vote("U0ALICE", "approve", None, "sha256:0", AT, "slack", frozenset({"S0FIN"}))
    shown = cards.card(view(request(policy=stages), votes=(first,)), entry(), "d")
    assert "Stage 2 of 2: *0 of 1 approved*" in shown.text
    assert "needs one of <!subteam^S0FIN>, then one of <!subteam^S0LEAD>" in json.dumps(taken(shown))


@settings(max_examples=much(15, 40), deadline=None)
@given(title=anything, phrase=anything)
def test_slack_takes_every_dialog_of_a_confirmation(title: str, phrase: str):
    origin = DialogOrigin(ticket=write_ticket(TICKET), channel="C0DEPLOYS", message="1.000100")
    dialog = dialogs.confirm_dialog(request(title=title), origin, phrase).to_dict()
    view_body(json.loads(json.dumps(dialog)), "modal", new_ids())


@settings(max_examples=much(15, 40), deadline=None)
@given(title=anything, required=st.booleans())
def test_slack_takes_every_dialog(title: str, *, required: bool):
    origin = DialogOrigin(ticket=write_ticket(TICKET), channel="C0DEPLOYS", message="1.000100")
    dialog = dialogs.reject_dialog(request(title=title), origin, reason_required=required).to_dict()
    body = view_body(json.loads(json.dumps(dialog)), "modal", new_ids())
    assert body["blocks"][1]["optional"] is not required
    notice = dialogs.notice_dialog(cards.refusal_sentence(Refused("BUSY", title or "x"))).to_dict()
    view_body(json.loads(json.dumps(notice)), "modal", new_ids())


@pytest.mark.parametrize("title", ["&" * 150, "\u0000" * 10_000, "", " \n"])
@pytest.mark.parametrize("filling", ["&", "x", "\u200b", "💥", '"'])
def test_the_worst_texts_at_full_length_still_fit(title: str, filling: str):
    many = {f"{filling * 90}{n}": filling * 2_000 for n in range(40)}
    asked = request(title=title, facts=many, policy={"people": [f"U0PERSON{n:03}" for n in range(500)]})
    taken(cards.card(view(asked), entry(), "d"))
    closed = request(title=title, facts=many, status="rejected", closed_at=AT)
    shown = cards.card(view(closed, votes=(vote("reject", filling * 5_000),)), entry(), "d")
    taken(shown)
    assert "*Rejected* by <@U0ALICE>" in shown.text, "what was cut is never the verdict"


HOSTILE = {
    "a link": "*<https://evil.test|click>*",
    "everybody": "<!channel> <!here> <!everyone>",
    "a person": "<@U0ALICE>",
    "a channel": "<#C0DEPLOYS>",
    "a group": "<!subteam^S0EVIL>",
    "code": "```drop``` `x`",
    "formatting": "*bold* _it_ ~no~ > quote",
    "entities": "&lt;!channel&gt; &amp;",
    "an emoji": ":white_check_mark: Approved",
    "lines": "ok\nApproved by nobody",
    "an email": "a@evil.test",
}


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_untrusted_words_stand_as_they_are_where_nothing_is_parsed(words: str):
    asked = request(title=words, facts={words: words}, action=Action("x", {"argument": words}))
    message = cards.card(view(asked), entry(), "d")
    header, lines, *rest = taken(message)
    assert header["text"] == {"type": "plain_text", "text": words, "emoji": False}
    assert lines["type"] == "rich_text"
    elements = lines["elements"][0]["elements"]
    assert {element["type"] for element in elements} == {"text"}, "no link, no mention"
    assert [e["text"] for e in elements].count(words) == 2
    assert words not in json.dumps(rest)
    escaped = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert escaped in message.text
    assert not [found for found in ("<!", "<#", "<http") if found in message.text.split(" | ")[0]]


@pytest.mark.parametrize("name", ["UAT", "UNDERSTOOD", "WHATEVER", "U0ALICE", "USLACKBOT", "W1"])
def test_a_word_in_capitals_is_a_word_and_no_person(name: str):
    asked = request(facts={"environment": name}, status="rejected", closed_at=AT)
    blocks = taken(cards.card(view(asked, votes=(vote("reject", name),)), entry(), "d"))
    shown = [e for block in blocks if block["type"] == "rich_text" for e in block["elements"][0]["elements"]]
    assert {element["type"] for element in shown} == {"text"}
    assert [element["text"] for element in shown].count(name) == 2


@pytest.mark.parametrize(
    "hidden",
    [
        "\u202e",
        "\u2066",
        "\u200b",
        "\u200f",
        "\u0000",
        "\u001b",
        "\ufeff",
        "\u2028",
        "\ue000",
        "\ud800",
        "\u00ad",
        "\U000e0041",
    ],
)
def test_what_hides_or_turns_the_text_around_is_shown_as_a_mark(hidden: str):
    asked = request(title=f"pay{hidden}ments", facts={f"a{hidden}b": f"c{hidden}d"})
    message = cards.card(view(asked), entry(), "d")
    everything = message.text + json.dumps([block.to_dict() for block in message.blocks], ensure_ascii=False)
    assert hidden not in everything
    assert "pay\ufffdments" in message.text
    assert "c\ufffdd" in everything


def test_emoji_of_several_characters_stay_whole():
    assert text.plain("👩\u200d🚒 ❤\ufe0f", 50) == "👩\u200d🚒 ❤\ufe0f"


def test_what_was_cut_is_said():
    shown = text.plain("x" * 500, 100)
    assert len(shown) == 100
    assert shown.endswith("x… (500 characters)")
    assert text.plain("x" * 500, 5) == "… (500 characters)"


@pytest.mark.parametrize("limit", [3, 8, 20, 100])
def test_escaping_counts_what_is_sent_and_never_cuts_an_entity(limit: int):
    shown = text.escaped("&<>" * (limit // 3), limit)
    assert len(shown) <= limit
    assert shown.endswith("…")
    assert text.escaped("a&b", 7) == "a&amp;b"
    assert text.escaped("a&b", 6) == "a…"
    rest = shown.removesuffix("…").replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert rest == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("as it is", "as it is"),
        (True, "yes"),
        (False, "no"),
        (None, "none"),
        (12345678901234567890, "12345678901234567890"),
        (Decimal("10.50"), "10.50"),
        (0.1, "0.1"),
        ([1, "ü", None], '[1, "ü", null]'),
        ({"a": {"b": (1, 2)}}, '{"a": {"b": [1, 2]}}'),
        ({1: dt.date(2026, 1, 5)}, '{"1": "2026-01-05"}'),
    ],
)
def test_values_are_worded_as_people_read_them(value: Any, words: str):
    assert text.worded(value) == words


def test_the_fallback_text_carries_the_whole_question_and_what_can_be_done():
    asked = request(facts={"risk": "high", "migrations": 3})
    assert cards.card(view(asked), entry(), "d").text == (
        "Deploy payments. service: payments, risk: high, migrations: 3 | Approve or Reject"
    )


def test_more_facts_than_fit_are_counted_and_say_where_they_are():
    asked = request(facts={f"fact {n}": n for n in range(30)})
    shown = "".join(texts(taken(cards.card(view(asked), entry(), "d"))))
    assert "15 more: signoff show run-1" in shown
    assert "fact 14  14" in shown
    assert "fact 15" not in shown


def test_the_ids_of_the_buttons_change_with_each_revision():
    ids = set()
    for revision in (1, 2, 3):
        blocks = taken(cards.card(view(request(revision=revision)), entry(), "d"))
        ids |= {block["block_id"] for block in blocks if block["type"] == "actions"}
    assert len(ids) == 3


def test_metadata_holds_ids_only():
    asked = request(title="top secret", facts={"password": "hunter2"})
    assert cards.card(view(asked), entry(), "d").metadata == {
        "event_type": cards.METADATA,
        "event_payload": {"entry_id": "out-1", "request_id": "req-1", "run_id": "run-1"},
    }


identifier = st.from_regex(r"\A[A-Za-z0-9:_-]{1,64}\Z")


@settings(max_examples=30)
@given(d=identifier, q=identifier, t=identifier, r=identifier, i=identifier)
def test_a_ticket_comes_back_as_it_went_out(d: str, q: str, t: str, r: str, i: str):
    ticket = Ticket(d, q, t, r, i)
    written = write_ticket(ticket)
    assert len(written) <= 2_000
    assert read_ticket(written) == ticket


def test_the_buttons_carry_the_ticket_of_their_card():
    (actions,) = [b for b in taken(cards.card(view(), entry(), "dep-1")) if b["type"] == "actions"]
    assert {read_ticket(element["value"]) for element in actions["elements"]} == {TICKET}


@given(
    st.text()
    | st.recursive(
        st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    ).map(json.dumps)
)
def test_reading_garbage_is_refused_and_never_fails_otherwise(garbage: str):
    with pytest.raises(Refused) as refused:
        read_ticket(garbage)
    assert refused.value.code == "GARBLED_TICKET"


@pytest.mark.parametrize("kind", ["completed", "failed", "cancelled", "needs_attention"])
def test_the_line_of_a_run_says_how_it_went_on_and_where_to_look(kind: str):
    line = lines.trail(view(), entry("trail", what="run", status=kind)).text
    assert "<@U0CAROL>" in line
    assert ("signoff show run-1" in line) == (kind in {"failed", "needs_attention"})


def test_a_card_nobody_asked_for_says_so():
    blocks = taken(cards.card(view(request(requester=None)), entry(), "d"))
    assert "Asked by a program" in " ".join(texts(blocks))


def test_an_id_that_is_none_of_slacks_is_text():
    assert text.person("cli:<root>") == "cli:&lt;root&gt;"
    assert text.person("U0ALICE") == "<@U0ALICE>"
    assert text.group("sre") == "sre"
    assert text.group("S0SRE") == "<!subteam^S0SRE>"


class Answer:
    def __init__(self, data: Any = None, **more: Any) -> None:
        self.data = data
        self.headers: dict[str, str] = {}
        self.__dict__.update(more)


@pytest.mark.parametrize(
    ("answer", "code", "wait"),
    [
        (Answer({"ok": False, "error": "is_archived"}, status_code=200), "is_archived", None),
        (
            Answer({"ok": False, "error": "ratelimited"}, status_code=429, headers={"Retry-After": "7"}),
            "ratelimited",
            7.0,
        ),
        (Answer("slow down", status_code=429, headers={"Retry-After": "soon"}), "http_429", 1.0),
        (Answer("slow down", status_code=429, headers={"Retry-After": "inf"}), "http_429", 3600.0),
        (Answer("<html>", status_code=502), "http_502", None),
        (Answer(b"\x00", status_code=500), "http_500", None),
        (Answer(None, status=503), "http_503", None),
    ],
)
def test_whatever_answered_in_slacks_place_is_read_without_failing(
    answer: Any, code: str, wait: float | None
):
    from slack_sdk.errors import SlackApiError

    error = SlackApiError("failed", answer)
    assert (error_code(error), seconds_to_wait(error)) == (code, wait)


def test_a_card_that_is_frozen_says_so_and_can_still_be_decided():
    frozen = cards.card(dataclasses.replace(view(), frozen=True), entry(), "dep")
    words = " ".join(texts([block.to_dict() for block in frozen.blocks]))
    assert "Frozen: you may decide, and nothing is carried out until it ends" in words
    assert cards.APPROVE in json.dumps(frozen.arguments())
    assert "Frozen" not in json.dumps(cards.card(view(), entry(), "dep").arguments())
