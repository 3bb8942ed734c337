"""Commands that authors map to graphs: what is typed starts one run, or nothing, and who typed is told which."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import tomllib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
import yaml
from bot_bench import (
    ALICE,
    BOB,
    CAROL,
    CHANNEL,
    DAVE,
    EXTERNAL,
    GONE,
    GUEST,
    OPERATOR,
    Bench,
    Cli,
    Mode,
    bot_here,
    in_both_modes,
    settings_for,
    texts,
    words_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator
from test_manifest import SCHEMA

from bot import forms
from bot.commands import MistypedError
from bot.config import ConfigError, Settings, SlashCommand, load_settings
from bot.launches import Launch, as_typed, load_launches, read_arguments
from bot.sandbox import Fault, Sandbox
from bot.sandbox import SlashCommand as Registered
from bot.showcases import SHOWCASES
from bot.wiring import open_runtime
from graph_runtime import Alarms, Duration, open_store
from graph_runtime.errors import StoreUnavailable

DEPLOY = {"graph": "deploy", "arguments": "examples.deploy:Arguments", "key": "{service}:{commit}"}
REFUND = {"graph": "refund", "arguments": "examples.refund:Arguments"}
PEOPLE = {"graph": "refund", "arguments": "examples.refund:Arguments", "people": [CAROL], "groups": ["S0OWN"]}


def settings_here(slack: Sandbox, folder: Path, mode: Mode = "socket", **more: Any) -> Settings:
    said: dict[str, Any] = {
        "graphs": {name: SHOWCASES[name].target for name in ("deploy", "refund", "access")},
        "policies": {
            "default": {"groups": ["S0SRE"]},
            "prod-deploy": {"groups": ["S0SRE"], "deadline": "4h"},
            "refund": {"groups": ["S0SRE"]},
            "prod-db-access": {"groups": ["S0SRE"]},
        },
        "commands": {
            "deploy": DEPLOY,
            "refund": REFUND,
            "money": PEOPLE,
            "access": {"graph": "access", "arguments": "examples.access:Arguments"},
        },
    }
    return settings_for(slack, folder, mode, **(said | more))


@pytest.fixture(params=["socket"])
async def bot(
    request: pytest.FixtureRequest, slack: Sandbox, tmp_path: Path, brisk: None
) -> AsyncIterator[Bench]:
    settings = settings_here(slack, tmp_path, request.param)
    slack.workspace.add_command(Registered("/deploy", should_escape=True))
    if request.param == "http":
        slack.request_url = f"http://127.0.0.1:{settings.http.port}/slack/events"
    async with open_store(settings.database) as store, bot_here(settings):
        yield Bench(slack, tmp_path, store, open_runtime(settings, store))


async def type_(bot: Bench, line: str, *, user: str = CAROL) -> str:
    """Type a command and return its one private answer."""
    command, _, text = line.partition(" ")
    before = len(bot.slack.ephemerals(user))
    typed = await bot.slack.slash(user=user, channel=CHANNEL, command=command, text=text)
    assert typed.outcome == "acked", typed
    (shown,) = bot.slack.ephemerals(user)[before:]
    return words_of(shown)


async def values(bot: Bench) -> dict[str, Any]:
    (run,) = await bot.runtime.runs()
    return dict((await bot.runtime.look(run.id)).state.values)


# -- it starts a run -------------------------------------------------------------------------------------------


async def test_what_is_typed_starts_a_run_of_who_typed_who_is_told_how_it_ends(bot: Bench):
    answer = await type_(bot, "/deploy payments 4f2c9e1")
    (run,) = await bot.runtime.runs()
    assert f"Started `{run.id}` of deploy." in answer
    assert "commit  \n4f2c9e1" in answer, "as it was understood"
    assert (run.graph, run.requester) == ("deploy", CAROL)
    state = await values(bot)
    assert (state["service"], state["commit"], state["requester"]) == ("payments", "4f2c9e1", CAROL)
    assert "author" not in state, "an argument that was not given is no input"
    card = await bot.card(run)
    await bot.click(card, user=CAROL)
    assert "somebody else" in await bot.private(CAROL, 2)
    await bot.click(card, user=ALICE)
    await bot.rests(run, "completed")
    await bot.slack.wait_for(lambda: bot.slack.messages(CAROL))
    assert f"was approved by <@{ALICE}>" in words_of(bot.slack.messages(CAROL)[-1])


async def test_typed_twice_it_is_the_same_run_and_that_is_said(bot: Bench):
    await type_(bot, "/deploy payments 4f2c9e1")
    (run,) = await bot.runtime.runs()
    await bot.card(run)
    answer = await type_(bot, "/deploy commit=4f2c9e1 payments", user=DAVE)
    assert "other arguments" not in answer
    assert f"Nothing new was started: `{run.id}` of deploy is there for payments:4f2c9e1 already" in answer
    assert f"asked for by <@{CAROL}>, and is waiting for an answer." in answer
    assert len(await bot.runtime.runs()) == 1
    assert "Started" in await type_(bot, "/deploy payments 4f2c9e2", user=DAVE)
    assert len(await bot.runtime.runs()) == 2


async def test_typed_again_it_says_what_is_other_now_and_what_became_of_the_first(bot: Bench):
    await type_(bot, "/deploy payments 4f2c9e1")
    (run,) = await bot.runtime.runs()
    await bot.reject(await bot.card(run), "not today")
    await bot.rests(run, "completed")
    answer = await type_(bot, "/deploy payments 4f2c9e1 author=@bob", user=DAVE)
    assert f"and is completed. “Deploy payments 4f2c9e1 to production” was rejected by <@{ALICE}>." in answer
    assert "It was asked for with other arguments:" in answer
    assert f"author  \nnone (now {BOB})" in answer
    assert "commit  " not in answer


async def test_typed_by_many_at_once_it_is_one_run(bot: Bench):
    lines = [type_(bot, "/deploy payments 4f2c9e1", user=user) for user in (ALICE, BOB, CAROL, DAVE)]
    answers = await asyncio.gather(*lines)
    assert sorted("Started" in answer for answer in answers) == [False, False, False, True]
    assert len(await bot.runtime.runs()) == 1
    assert len(await bot.events("run.started")) == 1


async def test_without_a_key_every_line_is_a_run(bot: Bench):
    for _ in range(2):
        assert "Started" in await type_(bot, "/refund R-1 20 goodwill Max Meier")
    assert len(await bot.runtime.runs()) == 2


async def test_a_text_takes_the_rest_of_the_line_and_values_come_as_their_kinds(bot: Bench):
    await type_(bot, "/refund reason_code=damaged R-12 320.50 Zoë “von” O\u2019Hara <b>")
    state = await values(bot)
    assert state["amount"] == Decimal("320.50")
    assert isinstance(state["amount"], Decimal)
    assert (state["reason_code"], state["customer"]) == ("damaged", "Zoë von O'Hara <b>")
    await bot.card((await bot.runtime.runs())[0])


async def test_what_is_quoted_is_one_text_whatever_stands_in_it(bot: Bench):
    await type_(bot, '/refund R-12 320.50 damaged "Max amount=7 Meier"')
    state = await values(bot)
    assert (state["amount"], state["customer"]) == (Decimal("320.50"), "Max amount=7 Meier")


async def test_people_and_channels_that_slack_escapes_come_as_their_ids(bot: Bench):
    await type_(bot, "/deploy payments 4f2c9e1 @bob")
    assert (await values(bot))["author"] == BOB
    card = await bot.card((await bot.runtime.runs())[0])
    await bot.click(card, user=BOB)
    assert "somebody else" in await bot.private(BOB), "who wrote it may not approve it"


async def test_a_frozen_graph_starts_as_with_signoff_start_and_carries_nothing_out(bot: Bench):
    await Alarms(bot.runtime).freeze("graph:deploy", by=OPERATOR, reason="incident")
    assert "Started" in await type_(bot, "/deploy payments 4f2c9e1")
    card = await bot.card((await bot.runtime.runs())[0])
    assert ":snowflake:" in words_of(card)


# -- it starts nothing -----------------------------------------------------------------------------------------


WRONG = [
    ("/deploy payments 4f2c9eX", "`commit` has not the right form: 7 to 40 hex digits of the commit. Type"),
    ("/deploy payments", "`commit` is missing"),
    ("/deploy payments comit=4f2c9e1", "there is no argument `comit`"),
    ("/deploy payments 4f2c9e1 service=orders", "`commit` has not the right form"),
    ("/deploy a b commit=4f2c9e1 service=x", "“b” is one word too many"),
    ("/deploy service=a service=b", "`service` is given twice"),
    ("/deploy payments requester=U0BOB 4f2c9e1", "there is no argument `requester`"),
    ("/deploy payments 4f2c9e1 @bob <!channel>", "“&lt;!channel&gt;” is one word too many"),
    ('/deploy payments "4f2c9e1', "a quotation mark has no partner"),
    ("/refund R-1 seven goodwill Max", "`amount` (in EUR, such as 320.00): input should be a valid decimal"),
    ("/refund R-1 NaN goodwill Max", "`amount` (in EUR, such as 320.00): input should be a finite number"),
    ("/refund R-1 7 kindness Max", "input should be 'goodwill', 'damaged', 'late' or 'duplicate'"),
    ("/access prod-db read 9h INC-1", "at most 8 hours are given"),
    ("/access prod-db read soon INC-1", "'soon' is no duration"),
]
USAGE = {
    "/deploy": "Type `/deploy SERVICE COMMIT [AUTHOR]`",
    "/refund": "Type `/refund CASE_ID AMOUNT REASON_CODE CUSTOMER...`",
    "/access": "Type `/access RESOURCE LEVEL DURATION REASON [EXTENDS]`",
}


async def test_what_is_typed_wrong_starts_nothing_and_is_said_in_one_sentence(bot: Bench):
    for line, said in WRONG:
        answer = await type_(bot, line)
        assert ":no_entry: Nothing was started: " in answer, line
        assert said in answer, line
        assert USAGE[line.partition(" ")[0]] in answer, line
        (block,) = [one for one in bot.slack.ephemerals(CAROL)[-1].blocks if one["type"] == "rich_text"]
        assert texts(block) == [line], "what is to be mended is gone from the box"
    assert await bot.runtime.runs() == []
    assert {one.user for one in bot.slack.ephemerals()} == {CAROL}, "nobody else is told"


async def test_help_says_what_each_argument_is(bot: Bench):
    for line in ("/access help", "/access HELP"):
        answer = await type_(bot, line)
        assert (
            "`/access RESOURCE LEVEL DURATION REASON [EXTENDS]` Ask for access to a resource for a while."
            in answer
        )
        assert "• RESOURCE: what to, such as prod-db" in answer
        assert "• LEVEL (read or write): what you may do there" in answer
        assert "• DURATION: for how long, such as 30m or 4h; 8h at most" in answer
    assert await bot.runtime.runs() == []


# -- a dialog for what was not typed ---------------------------------------------------------------------------


def filled(**values: str) -> dict[str, dict[str, str]]:
    return {f"edit:{name}": {forms.VALUE_INPUT: value} for name, value in values.items()}


@in_both_modes
async def test_a_command_alone_asks_in_a_dialog_whose_errors_stand_at_their_fields(bot: Bench):
    typed = await bot.slack.slash(user=CAROL, channel=CHANNEL, command="/access", text="  ")
    assert typed.outcome == "acked"
    (dialog,) = bot.slack.modals(CAROL)
    labels = [block["label"]["text"] for block in dialog.blocks if block["type"] == "input"]
    assert labels == ["resource", "level", "duration", "reason", "extends"]
    assert "Ask for access to a resource for a while." in texts(dialog.blocks)
    wanted = {"resource": "prod-db", "level": "read", "duration": "9h", "reason": "INC-123", "extends": ""}
    wrong = await bot.slack.submit(user=CAROL, view_id=dialog.id, values=filled(**wanted))
    assert wrong.response == {
        "response_action": "errors",
        "errors": {"edit:duration": "At most 8 hours are given, and more than none."},
    }
    assert await bot.runtime.runs() == []
    await bot.slack.submit(user=CAROL, view_id=dialog.id, values=filled(**wanted | {"duration": "4h"}))
    (run,) = await bot.runtime.runs()
    (told,) = bot.slack.modals(CAROL)
    said = f"Started `{run.id}` of access. `/signoff show {run.id}` says how it goes."
    assert f":arrow_forward: {said}" in texts(told.blocks)
    assert (run.requester, (await values(bot))["duration"]) == (CAROL, "4h")


async def test_a_dialog_that_is_closed_starts_nothing_and_one_that_is_submitted_twice_one_run(bot: Bench):
    await bot.slack.slash(user=CAROL, channel=CHANNEL, command="/deploy", text="")
    (closed,) = bot.slack.modals(CAROL)
    await bot.slack.close_view(user=CAROL, view_id=closed.id)
    assert await bot.runtime.runs() == []
    await bot.slack.slash(user=CAROL, channel=CHANNEL, command="/deploy", text="")
    (first,) = bot.slack.modals(CAROL)
    given = filled(service="payments", commit="4f2c9e1", author=BOB)
    shown = {block["block_id"]: block for block in first.blocks if block["type"] == "input"}
    assert [block["optional"] for block in shown.values()] == [False, False, True]
    assert shown["edit:author"]["element"]["type"] == "users_select"
    wrong = await bot.slack.submit(user=CAROL, view_id=first.id, values=given | filled(commit="X"))
    assert wrong.response is not None
    assert wrong.response["errors"] == {"edit:commit": "This must be 7 to 40 hex digits of the commit."}
    await bot.slack.submit(user=CAROL, view_id=first.id, values=given)
    await bot.slack.slash(user=DAVE, channel=CHANNEL, command="/deploy", text="")
    (other,) = bot.slack.modals(DAVE)
    await bot.slack.submit(user=DAVE, view_id=other.id, values=given)
    assert (await values(bot))["author"] == BOB
    assert "Nothing new was started" in "".join(texts(bot.slack.modals(DAVE)[0].blocks))


async def test_where_slack_opens_no_dialog_the_command_says_what_to_type(bot: Bench):
    bot.slack.faults.add(Fault("views.open", "error:expired_trigger_id"))
    assert "`/deploy SERVICE COMMIT [AUTHOR]`" in await type_(bot, "/deploy")
    assert "Only full members" in await type_(bot, "/deploy", user=GUEST)
    assert bot.slack.modals(CAROL) == bot.slack.modals(GUEST) == []


@in_both_modes
async def test_guests_strangers_and_who_cannot_be_looked_up_are_refused(bot: Bench):
    typed = [(GUEST, "payments 4f2c9e1"), (GUEST, "help"), (EXTERNAL, "payments 4f2c9e1")]
    for user, text in [*typed, (GONE, "payments 4f2c9e1"), (BOB, "payments 4f2c9e1")]:
        if user == BOB:
            bot.slack.faults.add(Fault("users.info", "500"))  # who Bob is cannot be learned
        payload = bot.slack._doors.slash(user=user, channel=CHANNEL, command="/deploy", text=text)
        answered = await bot.deliver(payload, "slash_commands")
        said = json.dumps(answered.response)
        assert "Only full members of this workspace may use this. Nothing was done." in said
    assert await bot.runtime.runs() == []


async def test_a_command_is_for_those_that_the_settings_name(bot: Bench):
    answer = await type_(bot, "/money R-1 20 goodwill Max", user=OPERATOR)
    assert f"`/money` is for <!subteam^S0OWN> and <@{CAROL}>. Nothing was started." in answer
    assert await bot.runtime.runs() == []
    for user in (CAROL, DAVE):
        assert "Started" in await type_(bot, "/money R-1 20 goodwill Max", user=user)


async def test_a_group_that_cannot_be_asked_is_a_no(bot: Bench):
    bot.slack.faults.add(Fault("usergroups.users.list", "500"))
    answer = await type_(bot, "/money R-1 20 goodwill Max", user=DAVE)
    assert "Slack did not say in time whether you may use `/money`. Nothing was started" in answer
    assert await bot.runtime.runs() == []


async def test_a_command_of_another_app_or_workspace_or_that_is_garbled_starts_nothing(bot: Bench):
    payload = bot.slack._doors.slash(user=CAROL, channel=CHANNEL, command="/deploy", text="payments 4f2c9e1")
    for changed in ({"api_app_id": "A0OTHER"}, {"team_id": "T0OTHER"}, {"user_id": "<!>"}):
        answered = await bot.deliver({**payload, **changed}, "slash_commands")
        assert "Nothing was done." in json.dumps(answered.response)
    assert await bot.runtime.runs() == []


async def test_a_database_that_is_away_is_told_and_nothing_is_claimed(
    bot: Bench, monkeypatch: pytest.MonkeyPatch
):
    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the database did not answer")

    monkeypatch.setattr("graph_runtime.runtime.Runtime.begin", away)
    answer = await type_(bot, "/deploy payments 4f2c9e1")
    assert ":no_entry: The database did not answer" in answer
    assert "Started" not in answer


# -- reading is a function -------------------------------------------------------------------------------------


class Everything(BaseModel):
    """One of each kind."""

    who: str = Field(pattern=r"^U")
    count: int
    price: Decimal
    how: Literal["fast", "slow"]
    sure: bool = False
    within: Duration = 60
    note: Annotated[str, Field(json_schema_extra={"rest_of_line": True})] = ""

    @field_validator("count")
    @classmethod
    def _odd(cls, count: int) -> int:
        if count == 13:
            raise KeyError("an author's mistake")
        return count


def test_every_kind_is_read():
    read = read_arguments(Everything, "<@U1|ann b> 7 1.50 fast yes 1h30m it is  <#C9|ops>\u2019s “own” turn")
    assert read.model_dump() == {
        "who": "U1",
        "count": 7,
        "price": Decimal("1.50"),
        "how": "fast",
        "sure": True,
        "within": 5400,
        "note": "it is C9's own turn",
    }


def test_addresses_and_ampersands_are_read_as_they_were_typed():
    typed = (
        "U1 7 2 fast see <https://x.test/?a=1&amp;b=2> &amp; <mailto:a@x.test|a@x.test> &lt;b&gt; &amp;lt;"
    )
    assert read_arguments(Everything, typed + " sure=no within=1h").note == (
        "see https://x.test/?a=1&b=2 & a@x.test <b> &lt;"
    )
    assert as_typed("<@U1|ann> <#C1|ops> &lt;b&gt; <https://x.test>") == "@ann @ops <b> https://x.test"


def test_a_named_argument_leaves_the_others_in_their_order_and_capitals_do_not_matter():
    read = read_arguments(Everything, "HOW=slow U1 Count=7 2")
    assert (read.who, read.count, read.price, read.how) == ("U1", 7, Decimal(2), "slow")


def test_a_validator_that_breaks_is_told_by_its_kind_alone():
    with pytest.raises(MistypedError, match=r"^the arguments could not be checked \(KeyError\)$"):
        read_arguments(Everything, "U1 13 2 fast")


@settings(max_examples=100, deadline=None)
@given(st.text("ab=7\"'<>@#|U1 \\\n\x00“\u2019", max_size=40))
def test_whatever_is_typed_is_read_or_said_in_words(text: str):
    with contextlib.suppress(MistypedError):
        assert read_arguments(Everything, text).count >= 0


_CELL = st.text(st.characters(exclude_characters='"“”„\u2018\u2019', exclude_categories=["Cs"]), max_size=12)


class Cells(BaseModel):
    first: str
    second: str
    third: str


@settings(max_examples=100, deadline=None)
@given(cells=st.tuples(_CELL, _CELL, _CELL), named=st.permutations([0, 1, 2]), how_many=st.integers(0, 3))
def test_what_is_quoted_is_read_as_it_is_named_or_not(
    cells: tuple[str, str, str], named: list[int], how_many: int
):
    names, by_name = ["first", "second", "third"], named[:how_many]
    words = [f'{names[n]}="{cells[n]}"' for n in by_name]
    words += [f'"{cells[n]}"' for n in range(3) if n not in by_name]
    if any((cell.partition("=")[0].isidentifier() and "=" in cell) or "<" in cell for cell in cells):
        return  # reads as a name, or as a mention
    read = read_arguments(Cells, " ".join(words))
    assert tuple(read.model_dump().values()) == cells


def launch(key: str, model: type[BaseModel] = Cells) -> Launch:
    settings = Settings(
        graphs={"g": "x"},
        policies={"default": {"people": ["U1"]}},
        commands={"c": {"graph": "g", "arguments": "x:Y", "key": key}},
    )
    return Launch("c", settings.commands["c"], model, None)


def test_other_arguments_make_another_key():
    keyed = launch("{first}:{second}/x{third}")
    texts = ["", *"a:%x/", *map("".join, itertools.product("a:%x/", repeat=2))]
    keys = {keyed.key(Cells(first=one, second=two, third="a")) for one in texts for two in texts}
    assert len(keys) == len(texts) ** 2


def test_equal_numbers_make_the_same_key_and_a_long_one_stays_short():
    class Money(BaseModel):
        amount: Decimal

    keyed = launch("refund:{amount}", Money)
    assert {keyed.key(Money(amount=Decimal(text))) for text in ("7", "7.00", "07.0")} == {"refund:7"}
    made = launch("{first}").key(Cells(first="é" * 5_000, second="", third=""))
    assert made is not None
    assert len(made) < 80


# -- the settings ----------------------------------------------------------------------------------------------


class Listed(BaseModel):
    service: list[str]


class Aliased(BaseModel):
    service: str = Field(alias="s")


class Numbered(BaseModel):
    service: Literal[1, 2]


class Foreign(BaseModel):
    service: str
    colour: str


class Asks(BaseModel):
    service: str
    requester: str


class RestFirst(BaseModel):
    service: str = Field(json_schema_extra={"rest_of_line": True})
    commit: str


class Twins(BaseModel):
    service: str
    Service: str


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"arguments": "test_launches:Missing"}, "AttributeError: module 'test_launches' has no attribute"),
        ({"arguments": "no_such_module:Model"}, "ModuleNotFoundError: No module named 'no_such_module'"),
        ({"arguments": "test_launches:DEPLOY"}, "is no pydantic model"),
        ({"arguments": "test_launches:Listed"}, "'service' is a kind that one word cannot be"),
        ({"arguments": "test_launches:Numbered"}, "'service' is a kind that one word cannot be"),
        ({"arguments": "test_launches:Aliased"}, "'service' has an alias"),
        ({"arguments": "test_launches:Foreign"}, "colour is no input key of graph 'deploy'"),
        ({"arguments": "test_launches:Asks"}, "anybody could be named there"),
        ({"arguments": "test_launches:RestFirst"}, "'service' takes the rest of the line, so it is the last"),
        ({"arguments": "test_launches:Twins"}, "two arguments differ only in capital letters"),
        ({"requester_field": "asker"}, "requester_field = 'asker' is no input key of graph 'deploy'"),
        ({"key": "{service}:{nobody}"}, "{nobody} is no argument"),
        ({"key": "{service.upper}"}, "{service.upper} is no argument"),
        ({"key": "{service:>9}"}, "{service} is no argument"),
        ({"key": "{service"}, "key = '{service': expected '}'"),
        ({"key": "once"}, "names no argument, so there would be one run for ever"),
        ({"key": "{service}-{commit}"}, "a colon belongs before {commit}"),
    ],
)
def test_a_command_that_cannot_work_is_named_before_anything_starts(changed: dict[str, str], said: str):
    broken = Settings(
        graphs={name: SHOWCASES[name].target for name in ("deploy", "refund")},
        policies={"default": {"people": [ALICE]}},
        commands={"deploy": {**DEPLOY, **changed}, "fine": REFUND},
    )
    graphs = {graph.name: graph.plan for graph in broken.load_graphs()}
    with pytest.raises(ConfigError) as told:
        load_launches(broken, graphs)
    assert str(told.value).startswith("nothing was started; commands.deploy: ")
    assert said in str(told.value)
    assert "commands.fine" not in str(told.value)


async def test_serve_does_not_start_with_a_broken_command(slack: Sandbox, tmp_path: Path):
    broken = settings_here(slack, tmp_path, commands={"deploy": {**DEPLOY, "arguments": "nowhere:X"}})
    with pytest.raises(ExceptionGroup) as told:
        async with bot_here(broken):
            pass
    assert told.group_contains(ConfigError, match="commands.deploy")


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ({"signoff": DEPLOY}, "/signoff is our own"),
        ({"Deploy": DEPLOY}, "commands.Deploy"),
        (
            {"deploy": {**DEPLOY, "graph": "elsewhere"}},
            "names the graph 'elsewhere', which [graphs] does not",
        ),
        ({"deploy": {**DEPLOY, "arguments": "examples.deploy"}}, "commands.deploy.arguments"),
        ({"deploy": {**DEPLOY, "who": "me"}}, "commands.deploy.who"),
    ],
)
def test_what_needs_no_module_is_told_when_the_settings_are_read(commands: dict[str, Any], said: str):
    with pytest.raises(ConfigError) as told:
        load_settings(graphs={"deploy": "x"}, policies={"default": {"people": [ALICE]}}, commands=commands)
    assert said in str(told.value)


async def test_the_manifest_with_the_commands_of_the_settings_is_one_that_slack_takes(cli: Cli, bench: Bench):
    (bench.folder / "signoff.toml").write_text(
        f"""
[graphs]
deploy = "{SHOWCASES["deploy"].target}"
access = "{SHOWCASES["access"].target}"
[policies.default]
people = ["{ALICE}"]
[commands.deploy]
graph = "deploy"
arguments = "examples.deploy:Arguments"
[commands.access]
graph = "access"
arguments = "examples.access:Arguments"
"""
    )
    printed = await cli("manifest")
    assert printed.code == 0, printed.err
    manifest = yaml.safe_load(printed.out)
    ours = yaml.safe_load((Path(__file__).parents[2] / "manifest.yml").read_text(encoding="utf-8"))
    own, *added = manifest["features"].pop("slash_commands")
    assert [own] == ours["features"].pop("slash_commands")
    assert manifest == ours
    assert [one["command"] for one in added] == ["/deploy", "/access"]
    assert added[0]["description"] == "Deploy a commit of a service to production."
    assert added[0]["usage_hint"] == "SERVICE COMMIT [AUTHOR]"
    assert all(one["should_escape"] for one in added)
    if SCHEMA.exists():
        jsonschema.validate(
            {**manifest, "features": {**manifest["features"], "slash_commands": [own, *added]}},
            json.loads(SCHEMA.read_text(encoding="utf-8")),
        )


async def test_check_and_manifest_name_a_command_that_is_broken(cli: Cli, bench: Bench):
    path = bench.folder / "signoff.toml"
    broken = '[commands.deploy]\ngraph = "deploy"\narguments = "test_launches:Foreign"\n'
    path.write_text(path.read_text() + broken)
    for command in ("check", "manifest"):
        told = await cli(command)
        assert told.code == 3
        assert "commands.deploy" in told.out + told.err
        assert "colour is no input key" in told.out + told.err


def test_the_page_on_commands_names_every_key_and_what_it_shows_is_read():
    page = (Path(__file__).parents[2] / "docs" / "howto" / "commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [*SlashCommand.model_fields]
    (shown,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    SlashCommand.model_validate(tomllib.loads(shown)["commands"]["deploy"])
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"BaseModel": BaseModel, "Field": Field}
    exec(code, names)  # noqa: S102 - our own page
    launch = Launch("deploy", SlashCommand(graph="g", arguments="x:Y"), names["Arguments"], None)
    (sentence,) = re.findall(r"^> \S+ (Nothing was started: .*)$", page, re.MULTILINE)
    with pytest.raises(MistypedError) as wrong:
        read_arguments(launch.model, "payments 4f2c9eX")
    assert sentence == f"Nothing was started: {wrong.value}. Type `{launch.usage}`"
    read = read_arguments(launch.model, "commit=4f2c9e1 payments it is urgent")
    assert read.model_dump() == {"service": "payments", "commit": "4f2c9e1", "note": "it is urgent"}


# -- the demo --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", sorted(name for name, shown in SHOWCASES.items() if shown.typed))
async def test_what_the_demo_says_to_type_starts_a_run(
    slack: Sandbox, tmp_path: Path, example: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SIGNOFF_OUTSIDE", str(tmp_path))
    shown = SHOWCASES[example]
    for team in shown.groups:
        slack.workspace.add_group(team)
    settings = settings_for(
        slack,
        tmp_path,
        graphs={shown.graph: shown.target},
        policies=shown.read_policies(),
        commands=shown.commands,
    )
    async with open_store(settings.database) as store, bot_here(settings):
        bench = Bench(slack, tmp_path, store, open_runtime(settings, store))
        assert "Started" in await type_(bench, shown.typed, user=shown.reviewer)
        (run,) = await bench.runtime.runs()
        card = await bench.card(run)
        (row,) = [block for block in card.blocks if block["type"] == "actions"]
        await bench.click(card, row["elements"][0]["action_id"], user=shown.reviewer)
        assert "somebody else" in await bench.private(shown.reviewer, 2), "their own"
