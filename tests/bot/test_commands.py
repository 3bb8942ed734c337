"""``/signoff ...`` as people type it: answered privately, refused with a reason, and never a stack trace."""

from __future__ import annotations

import json

import pytest
from bot_bench import ALICE, BOB, CAROL, CHANNEL, DAVE, EXTERNAL, GONE, GUEST, OPERATOR, Bench, in_both_modes

from bot.sandbox import Fault
from graph_runtime import Alarms


@in_both_modes
@pytest.mark.parametrize("text", ["", "help", "  HELP  "])
async def test_help_lists_every_command(bot: Bench, text: str):
    answer = await bot.slash(text, user=DAVE)
    for word in ("runs", "show RUN", "history RUN", "start GRAPH", "cancel RUN", "help"):
        assert word in answer
    assert [one.user for one in bot.slack.ephemerals()] == [DAVE]
    assert bot.slack.messages(CHANNEL) == [], "an answer is nobody else's business"


async def test_an_unknown_word_is_said_as_text_and_help_follows(bot: Bench):
    answer = await bot.slash("detonate <!channel> now")
    assert "There is no `detonate`" in answer
    answer = await bot.slash("<!channel>")
    assert "There is no `&lt;!channel&gt;`" in answer
    assert "looks after runs" in answer


async def test_runs_lists_the_newest_first_with_status_and_who_asked(bot: Bench):
    assert "There are no runs yet" in await bot.slash("runs")
    first = await bot.start()
    second = await bot.start("plain")
    await bot.card(first)
    await bot.rests(second, "interrupted")
    answer = (await bot.slash("runs", user=DAVE)).split("\n*Newest")[0]
    lines = [line for line in answer.splitlines() if "run-" in line]
    assert [first.id in lines[1], second.id in lines[0]] == [True, True]
    assert all(f"interrupted, asked by <@{OPERATOR}>" in line for line in lines)


async def test_show_says_where_a_run_stands_and_what_it_asks_but_no_state_value(bot: Bench):
    run = await bot.start(service="hunter2")
    card = await bot.card(run)
    answer = await bot.slash(f"show `{run.id}`", user=DAVE)
    view = await bot.runtime.look(run.id)
    request = (await bot.request(run)).request
    for part in (
        f"`{run.id}`: interrupted",
        f"thread      {run.thread_id}",
        f"checkpoint  {view.state.checkpoint_id}",
        "next        ask",
        "state keys",
        f"interrupt   {view.open[0].interrupt.id} at ask",
        f"Deploy hunter2 (prod-deploy, `{request.id}`)",
    ):
        assert part in answer
    assert "hunter2" not in answer.replace("Deploy hunter2", ""), "the title is on the card; values are not"
    await bot.click(card)
    await bot.drawn(card, "the run completed")
    answer = await bot.slash(f"show {run.id}")
    assert "completed" in answer
    assert "next        nothing" in answer
    assert "Waits for" not in answer


def way_in(bot: Bench, user: str) -> tuple[str, list[str]]:
    """Return the line that the newest private answer says of the run's way, and what is bold in it."""
    (block,) = [
        block
        for block in bot.slack.ephemerals(user)[-1].blocks
        if block["type"] == "rich_text" and block["elements"][0]["type"] == "rich_text_section"
    ]
    parts = block["elements"][0]["elements"]
    return "".join(part["text"] for part in parts), [p["text"] for p in parts if p.get("style")]


async def test_show_draws_the_way_in_one_line(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    await bot.slash(f"show {run.id}", user=DAVE)
    assert way_in(bot, DAVE) == ("ask ⏳ → publish | stop", ["ask ⏳"])
    await bot.click(card)
    await bot.drawn(card, "the run completed")
    await bot.slash(f"show {run.id}", user=DAVE)
    assert way_in(bot, DAVE) == ("ask ✓ → publish ✓", [])


async def test_show_of_a_long_and_wide_run_draws_what_is_near_it_and_names_are_text(bot: Bench):
    run = await bot.start("maze")
    await bot.rests(run, "interrupted")
    await bot.slash(f"show {run.id}", user=DAVE)
    line, bold = way_in(bot, DAVE)
    assert line == (
        "… → step 2 ✓ → step 3 ✓ → step 4 ✓ → step 5 ✓ → *<!channel>* ⏳ → "
        "door 0 | door 1 | door 2 | door 3 and 26 more → beyond → …"
    )
    assert bold == ["*<!channel>* ⏳"]
    assert len(json.dumps(bot.slack.ephemerals(DAVE)[-1].blocks)) < 4_000


async def test_show_of_a_failed_run_says_why_to_who_asked_and_its_kind_to_others(bot: Bench):
    run = await bot.start("failing")
    await bot.click(await bot.card(run))
    await bot.rests(run, "failed")
    answer = await bot.slash(f"show {run.id}")
    assert way_in(bot, OPERATOR) == ("ask_then_fail ✓ → fail ✗", ["fail ✗"])
    assert "failed (RuntimeError)" in answer
    assert "the provider refused" in answer
    answer = await bot.slash(f"show {run.id}", user=DAVE)
    assert "failed (RuntimeError)" in answer
    assert "the provider refused" not in answer, "its words may hold values of the state"


async def test_history_lists_the_steps_with_their_routes(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    await bot.click(card)
    await bot.drawn(card, "the run completed")
    answer = await bot.slash(f"history {run.id}", user=DAVE)
    assert "next publish" in answer
    assert "ask -> publish" in answer
    assert "next END" in answer


@pytest.mark.parametrize("command", ["show", "history", "cancel"])
@pytest.mark.parametrize("rest", ["", "run-nothing", "run-1 run-2" * 50, "<!channel>"])
async def test_a_run_that_is_not_named_or_not_there_is_said(bot: Bench, command: str, rest: str):
    answer = await bot.slash(f"{command} {rest}")
    assert ":no_entry:" in answer
    assert "<!channel>" not in answer


@in_both_modes
async def test_an_operator_starts_a_run_and_is_its_requester(bot: Bench):
    given = json.dumps({"service": "payments", "effects": str(bot.effects)})
    answer = await bot.slash(f"start deploy {given}", user=OPERATOR)
    assert ":arrow_forward: Started `run-" in answer
    (run,) = await bot.runtime.runs()
    assert (run.graph, run.requester) == ("deploy", OPERATOR)


@pytest.mark.parametrize("user", [ALICE, CAROL, DAVE])
async def test_nobody_else_starts_runs(bot: Bench, user: str):
    assert "Only operators may start runs here. Nothing was started." in await bot.slash(
        "start deploy {}", user=user
    )
    assert await bot.runtime.runs() == []


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("start", "Type `/signoff start GRAPH"),
        ("start deploy {service: payments}", "the input is no JSON"),
        ('start deploy {"service": ', "the input is no JSON"),
        ('start deploy ["payments"]', "must be an object"),
        ("start deploy 7", "must be an object"),
        ("start deploy", "no run was started"),
        ("start deploy {}", "no run was started"),
        ('start deploy {"nothing": 1}', "o run was started"),
        ('start nowhere {"service": "x"}', "there is no graph &#x27;nowhere&#x27;"),
        ("start <!channel> {}", "&lt;!channel&gt;"),
        ("start deploy " + "[" * 5_000, "Nothing was started"),
        ('start deploy {"service": ' + "9" * 5_000 + "}", "Nothing was started"),
        ('start deploy {"service": NaN}', "a value was not stored"),
        ('start deploy {"service": "\\ud800"}', "a value was not stored"),
        ('start deploy {"service": ' + "[" * 900 + "]" * 900 + "}", "o"),
    ],
)
async def test_what_cannot_be_started_is_said_and_nothing_is_started(bot: Bench, typed: str, words: str):
    answer = await bot.slash(typed)
    assert ":no_entry:" in answer
    assert words.replace("&#x27;", "'").lower() in answer.lower()
    assert await bot.runtime.runs() == []


async def test_the_curly_quotes_that_slack_makes_of_straight_ones_are_taken(bot: Bench):
    answer = await bot.slash(f"start deploy {{“service”: “payments”, “effects”: “{bot.effects}”}}")
    assert "Started" in answer
    (run,) = await bot.runtime.runs()
    assert (await bot.runtime.look(run.id)).state.values["service"] == "payments"


async def test_quotes_inside_a_text_stay_as_they_were_typed(bot: Bench):
    await bot.slash('start deploy {"service": "“blue”", "effects": "x"}')
    (run,) = await bot.runtime.runs()
    assert (await bot.runtime.look(run.id)).state.values["service"] == "“blue”"


async def test_the_requester_and_operators_may_cancel_and_others_may_not(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    answer = await bot.slash(f"cancel {run.id}", user=ALICE)
    assert "Only its requester or an operator may cancel it. Nothing was done." in answer
    assert (await bot.runtime.get(run.id)).status == "interrupted"
    answer = await bot.slash(f"cancel {run.id} wrong *commit*", user=OPERATOR)
    assert f"Cancelled `{run.id}`; what it asked was withdrawn." in answer
    (event,) = await bot.events("run.cancelled")
    assert (event.actor, event.said) == (OPERATOR, "wrong *commit*")
    await bot.drawn(card, "*Withdrawn*")
    assert "cancelled" in await bot.slash(f"cancel {run.id}", user=OPERATOR)
    assert len(await bot.events("run.cancelled")) == 1
    own = await bot.runtime.start("deploy", {"service": "payments"}, requester=ALICE)
    assert "Cancelled" in await bot.slash(f"cancel {own.id}", user=ALICE)


async def test_a_finished_run_cannot_be_cancelled(bot: Bench):
    run = await bot.start()
    card = await bot.card(run)
    await bot.click(card)
    await bot.drawn(card, "the run completed")
    answer = await bot.slash(f"cancel {run.id}")
    assert ":no_entry:" in answer
    assert (await bot.runtime.get(run.id)).status == "completed"


@in_both_modes
@pytest.mark.parametrize("user", [GUEST, EXTERNAL, GONE, BOB])
async def test_only_full_members_are_told_anything(bot: Bench, user: str):
    await bot.queue()
    if user == BOB:
        bot.slack.faults.add(Fault("users.info", "500"))  # who Bob is cannot be learned
    payload = bot.slack._doors.slash(user=user, channel=CHANNEL, command="/signoff", text="runs")
    answered = await bot.deliver(payload, "slash_commands")
    said = json.dumps(answered.response)
    assert "Only full members of this workspace may use this. Nothing was done." in said
    assert "run-" not in said


async def test_operators_freeze_and_two_of_them_release(bot: Bench):
    assert "Nothing is frozen" in await bot.slash("freezes", user=DAVE)
    frozen = await bot.slash("freeze graph:deploy incident <!channel> 12", user=OPERATOR)
    assert "`graph:deploy` is frozen" in frozen
    listed = await bot.slash("freezes", user=DAVE)
    assert f"`graph:deploy` by <@{OPERATOR}>" in listed
    assert "incident &lt;!channel&gt; 12" in listed
    assert "one more operator" in await bot.slash("release graph:deploy", user=OPERATOR)
    assert "somebody else must agree" in await bot.slash("release graph:deploy", user=OPERATOR)
    assert f"<@{OPERATOR}> would end it" in await bot.slash("freezes", user=DAVE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("freeze all why", "Only operators may freeze"),
        ("release all", "Only operators may freeze"),
    ],
)
async def test_nobody_else_may_freeze(bot: Bench, text: str, said: str):
    assert said in await bot.slash(text, user=DAVE)
    assert "Nothing is frozen" in await bot.slash("freezes", user=DAVE)


async def test_a_freeze_of_an_action_that_nothing_asks_for_says_so(bot: Bench):
    asked = "No recent request names that action; check the spelling."
    assert asked in await bot.slash("freeze action:deploy incident", user=OPERATOR)
    run = await bot.start()
    await bot.card(run)
    assert "`action:deploy`" in await bot.slash("freezes", user=OPERATOR)
    assert asked not in await bot.slash("freeze graph:deploy incident", user=OPERATOR)
    await bot.slash("release action:deploy", user=OPERATOR)
    await Alarms(bot.runtime).release("action:deploy", by=ALICE)
    assert asked not in await bot.slash("freeze action:deploy incident", user=OPERATOR)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("freeze", "Type one scope"),
        ("freeze graph:nope why", "Nothing was frozen: there is no graph nope; there are agent, deploy, "),
        ("freeze all", "say why"),
        ("freeze everything why", "was expected"),
        ("release", "Type one scope"),
        ("release all now", "Type one scope"),
        ("release all", "is not frozen"),
    ],
)
async def test_a_freeze_that_is_typed_wrong_changes_nothing(bot: Bench, text: str, said: str):
    assert said in await bot.slash(text, user=OPERATOR)
    assert "Nothing is frozen" in await bot.slash("freezes", user=OPERATOR)
