"""What is never shown whole: B12, B13 and C10; and what a person said, erased wherever it stood."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from bot_bench import ALICE, BOB, CAROL, CHANNEL, Bench, Cli, bot_here, settings_for, words_of
from card_bench import entry, request, view, vote
from post_bench import Post

from bot import cards, dialogs, forms
from bot.fields import offered
from bot.redaction import HIDDEN, Masked, Redaction, mask
from bot.sandbox.faults import Fault
from graph_runtime import Action, Actor, Erasures, Journal, Refused, Run
from graph_runtime.judging import bound_digest

CARD = "4111 1111 1111 1111"
AWS = "AKIAIOSFODNN7EXAMPLE"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
XOXB = "xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx"
KEY = "0123456789abcdef0123456789abcdef"
CANARY = "Ann Archer called about her divorce"


@pytest.fixture(autouse=True)
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel takes the next message at once, where the test is not the clock."""
    monkeypatch.setattr("bot.courier.CHANNEL_PACE", 1_000)


@pytest.fixture
async def strict(bench: Bench) -> AsyncIterator[Bench]:
    """The bot, with names that are never shown."""
    settings = settings_for(bench.slack, bench.folder, redact=["customer", "card.*"])
    async with bot_here(settings):
        yield bench


def everything(bench: Bench) -> str:
    """Return all that anybody was shown in Slack, and every dialog."""
    shown = [
        words_of(message) for channel in (CHANNEL, f"D{CAROL[1:]}") for message in all_of(bench, channel)
    ]
    shown += [words_of(one) for user in (ALICE, BOB, CAROL) for one in bench.slack.ephemerals(user)]
    return "\n".join(shown)


def all_of(bench: Bench, channel: str) -> list[Any]:
    messages = bench.slack.messages(channel)
    return [*messages, *(line for message in messages for line in bench.slack.messages(channel, message.ts))]


async def edit(bot: Bench, card: Any, **typed: str) -> Any:
    assert (await bot.click(card, cards.EDIT)).outcome == "acked"
    (dialog,) = bot.slack.modals(ALICE)
    values = {f"edit:{n}": {forms.VALUE_INPUT: v} for n, v in typed.items() if n != "why"}
    values[dialogs.COMMENT_BLOCK] = {dialogs.COMMENT_INPUT: typed["why"]}
    return await bot.slack.submit(user=ALICE, view_id=dialog.id, values=values)


# -- in Slack --------------------------------------------------------------------------------------------------


async def test_b12_a_customer_name_that_is_a_link_or_turns_the_text_around_is_plain_text(bot: Bench):
    name = "*<https://evil|click>* \u202eevil"
    card = await bot.card(await bot.start(facts={"customer": name}))
    (block,) = [one for one in card.blocks if one["type"] == "rich_text"][:1]
    shown = [part for section in block["elements"] for part in section["elements"]]
    assert {part["type"] for part in shown} == {"text"}, "Slack parses nothing of it"
    assert "*<https://evil|click>* \ufffdevil" in [part["text"] for part in shown]
    assert "&lt;https://evil|click&gt;" in card.text
    assert "\u202e" not in words_of(card)


async def test_b13_a_card_number_in_a_note_is_masked_everywhere_and_runs_whole(
    bot: Bench, cli: Cli, capfd: pytest.CaptureFixture[str]
):
    run = await bot.start("refund")
    card = await bot.card(run)
    done = await edit(bot, card, note=f"to card {CARD}", why=f"they gave {CARD} by phone")
    assert done.response is None
    await bot.drawn(card, "*Approved with changes*")
    await bot.rests(run, "completed")
    await bot.slack.wait_for(lambda: bot.slack.messages(f"D{CAROL[1:]}"))
    await bot.quiet()
    said = everything(bot)
    assert said.count("(card …1111)") >= 6, "note and reason: on the card, in its thread, in the message"
    outputs = [
        (await cli("show", run.id)).out,
        (await cli("show", run.id, "--json")).out,
        (await cli("history", run.id)).out,
        (await cli("history", run.id, "--json")).out,
        *[(await cli("audit", "export", "--format", form)).out for form in ("jsonl", "csv", "aais")],
        json.dumps([dict(event.data) for event in await bot.events()]),
        *capfd.readouterr(),
    ]
    for shown in (said, *outputs):
        # A moment in microseconds may hold any digits.
        assert "4111" not in re.sub(r"\b17\d{14}\b", "", shown.replace(" ", ""))
    # What is bound, and what the run has, is what was typed.
    seen = await bot.request(run)
    (one,) = seen.votes
    assert one.arguments is not None
    assert one.arguments["note"] == f"to card {CARD}"
    assert one.digest == bound_digest(seen.request, one.arguments)
    decision = (await bot.runtime.look(run.id)).state.values["decision"]
    assert (decision.arguments["note"], decision.digest) == (f"to card {CARD}", one.digest)
    assert decision.reason == f"they gave {CARD} by phone"


async def test_c10_secrets_in_a_tool_call_are_masked_on_screen_and_the_call_is_whole(bot: Bench, cli: Cli):
    secrets = f"key={AWS} token {JWT} bot {XOXB} end"
    run = await bot.start("agent", service=secrets)
    card = await bot.card(run)
    assert "key=(masked) token (masked) bot (masked) end" in words_of(card)
    shown = [(await cli("show", run.id)).out, (await cli("show", run.id, "--json")).out]
    await bot.click(card)
    await bot.rests(run, "completed")
    await bot.quiet()
    for said in (everything(bot), *shown, (await cli("audit", "export", "--format", "aais")).out):
        for secret in (AWS, JWT, XOXB, JWT.rpartition(".")[2]):
            assert secret not in said
    assert bot.published()[-1] == f"published {secrets}"


async def test_a_value_that_a_rule_names_is_shown_nowhere_and_offered_to_nobody(strict: Bench):
    run = await strict.start("refund")
    card = await strict.card(run)
    assert f"customer  \n{HIDDEN}" in words_of(card)
    await strict.click(card, cards.EDIT)
    (dialog,) = strict.slack.modals(ALICE)
    assert "Ann Archer" not in json.dumps(dialog.blocks)
    await strict.slack.submit(
        user=ALICE, view_id=dialog.id, values={dialogs.COMMENT_BLOCK: {dialogs.COMMENT_INPUT: "Ann Archer"}}
    )
    await strict.reject(card, "Ann Archer is unknown here")
    await strict.drawn(card, "*Rejected*")
    await strict.quiet()
    assert "Ann Archer" not in everything(strict)
    assert f"{HIDDEN} is unknown here" in everything(strict)


async def test_a_phrase_to_type_that_is_hidden_is_named_by_no_refusal(strict: Bench):
    card = await strict.card(await strict.start("refund", policy="refund-typed"))
    assert (await strict.click(card, cards.CONFIRM)).outcome == "acked"
    (dialog,) = strict.slack.modals(ALICE)
    typed = {cards.CONFIRM_BLOCK: {cards.CONFIRM_INPUT: "Bert"}}
    answered = await strict.slack.submit(user=ALICE, view_id=dialog.id, values=typed)
    assert answered.response is not None
    said = json.dumps([dialog.blocks, answered.response])
    assert f"Type {HIDDEN} to confirm" in said
    assert "Ann Archer" not in said
    typed = {cards.CONFIRM_BLOCK: {cards.CONFIRM_INPUT: "Ann Archer"}}
    done = await strict.slack.submit(user=ALICE, view_id=dialog.id, values=typed)
    assert done.response is None, "who knows it may approve"


async def test_a_click_that_decides_scans_nothing(bot: Bench, monkeypatch: pytest.MonkeyPatch):
    card = await bot.card(await bot.start())
    await bot.quiet()
    scanned: list[str] = []
    monkeypatch.setattr("bot.redaction.mask", lambda text: scanned.append(text) or text)
    monkeypatch.setattr("bot.courier.Redaction.view", lambda self, view: view)
    assert (await bot.click(card)).outcome == "acked"
    assert not [text for text in scanned if "payments" in text]


# -- the rules -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "5500-0000-0000-0004",
        "378282246310005",
        AWS,
        JWT,
        XOXB,
        "xapp-1-A0123456789-1234567890-abcdef",
        "ghp_" + "a1" * 18,
        "github_pat_" + "a1" * 15,
        "glpat-" + "a1" * 10,
        "sk_live_" + "a1" * 20,
        "sk-proj-" + "a1" * 20,
        "AIza" + "a1" * 17 + "b",
        "SG." + "a" * 22 + "." + "b" * 43,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----",
    ],
)
def test_a_secret_is_masked_whole_wherever_it_stands(text: str):
    for shown in (mask(text), mask(f'{{"a": "{text}", "b": 1}}'), mask(f"see {text} now")):
        assert isinstance(shown, Masked)
        assert not {part for part in text.split() if len(part) > 5 and part in shown}
    assert str(mask(f"see {text} now")).startswith("see (")
    assert str(mask(f"see {text} now")).endswith(") now")


@pytest.mark.parametrize(
    "text",
    [
        "4f2c9e1d8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d",
        "sha256:4111111111111111aa00",
        "run-1j7m14ax1009pxe5x",
        "1767603600000000",
        "4111 1111 1111 1112",
        "call 020 7946 0958 today",
        "postgresql://USER:PASSWORD@HOST:PORT/NAME",
        "https://example.com/draws?a=b",
    ],
)
def test_what_only_looks_random_is_shown(text: str):
    assert mask(text) is text


def test_a_password_in_an_address_is_masked_and_the_rest_of_it_is_not():
    assert mask("postgres://bot:hunter2@db/x") == "postgres://bot:(masked)@db/x"


@pytest.mark.parametrize(
    "text", ["eyJ" * 20_000, "sk-" * 20_000, "aws " * 15_000, "//" * 30_000, "a" * 60_000]
)
def test_no_text_takes_long(text: str):
    began = time.process_time()
    mask(text)
    assert time.process_time() - began < 2


def test_names_hide_what_they_name_at_any_depth_and_its_words_in_other_texts():
    rules = Redaction(["customer", "Card.*"])
    values = {
        "order": {"customer": "Ann Archer", "no": 7},
        "card": {"pan": 1, "cvv": 2},
        "list": [4242424242424242],
    }
    assert rules.values(values) == {
        "order": {"customer": HIDDEN, "no": 7},
        "card": {"pan": HIDDEN, "cvv": HIDDEN},
        "list": ["(card …4242)"],
    }
    shown = rules.view(
        view(request(title="Refund ann archer", facts=values), votes=(vote("reject", "Ann Archer!"),))
    )
    assert (shown.request.title, shown.votes[0].reason) == (f"Refund {HIDDEN}", f"{HIDDEN}!")
    assert shown.request.digest == request().digest


def test_a_changed_value_that_is_masked_alike_is_said_to_be_changed():
    policy = {
        "groups": ["S0SRE"],
        "decisions": ["approve", "edit"],
        "edit": {"fields": ["customer", "amount"]},
    }
    action = Action("refund", {"customer": "Ann Archer", "amount": Decimal(3)})
    edited = vote("edit", "mixed up")
    object.__setattr__(edited, "arguments", {"customer": "Bert Baker", "amount": Decimal(3)})
    seen = view(request(action=action, policy=policy), votes=(edited,))
    shown = Redaction(["customer"]).view(seen)
    card = cards.card(shown, entry(), "dep-1")
    assert f"{HIDDEN} (changed) (requested {HIDDEN})" in json.dumps([b.to_dict() for b in card.blocks])
    assert [field.name for field in offered(shown.case, shown.standing)] == ["amount"]


def test_a_refusal_keeps_its_code_and_loses_what_is_hidden():
    seen = view(request(facts={"customer": "Ann Archer"}))
    said = Redaction(["customer"]).refusal(Refused("INVALID_INPUT", "Type Ann Archer to confirm."), seen)
    assert (said.code, said.sentence) == ("INVALID_INPUT", f"Type {HIDDEN} to confirm.")


# -- erasing ---------------------------------------------------------------------------------------------------


async def told(post: Post) -> None:
    """Let the courier tell all that there is, a channel's message each second."""
    for _ in range(8):
        post.clock.pass_seconds(2)
        await post.deliver()


async def rejected(post: Post) -> Run:
    """Reject a request, and have all of it told."""
    run = await post.ask()
    await told(post)
    seen = await post.view(run)
    ticket = cards.ticket_of(seen, post.bench.store.deployment)
    assert seen.card is not None
    await post.approvals.decide(ticket, Actor(ALICE), "reject", place=seen.card, reason=CANARY)
    run = await post.runtime.advance(run.id)
    await told(post)
    assert everything(post.bench).count(CANARY) >= 3, "on the card, in its thread, in the message"
    return run


async def test_what_was_erased_is_gone_from_slack_and_every_command(post: Post, cli: Cli):
    run, bench = await rejected(post), post.bench
    before = len(all_of(bench, CHANNEL))
    planned = await cli("audit", "erase", ALICE, "--dry-run")
    assert f"1 text of {ALICE} would be erased; nothing was erased yet." in planned.out
    assert CANARY in everything(bench)
    erased = await cli("audit", "erase", ALICE, "--yes")
    assert (erased.code, erased.err) == (0, "")
    assert f"1 text of {ALICE} erased; the digests stay, and the id {ALICE} does." in erased.out
    assert "3 messages in Slack drawn anew" in erased.out
    assert "Not erased: what runs were answered, in the state of 1 thread; signoff db prune" in erased.out
    await told(post)
    assert CANARY not in everything(bench)
    assert everything(bench).count("(erased: sha256:") >= 3
    assert len(all_of(bench, CHANNEL)) == before, "lines are changed where they stand, none is told again"
    for words in (["history", run.id], ["audit", "export"], ["audit", "export", "--format", "aais"]):
        assert CANARY not in (await cli(*words)).out
    assert "erased: sha256:" in (await cli("history", run.id)).out


async def test_a_line_that_may_not_be_changed_any_more_is_deleted_and_one_that_is_gone_stays_so(post: Post):
    await rejected(post)
    (line,) = [one for one in all_of(post.bench, CHANNEL) if CANARY in words_of(one) and one.thread_ts]
    (private,) = post.private()
    await post.client.chat_delete(channel=private.channel, ts=private.ts)
    post.bench.slack.faults.add(Fault("chat.update", "error:edit_window_closed", times=2))
    await Erasures(post.runtime.ground).erase(ALICE, actor="cli:ann")
    await told(post)
    left = post.bench.slack.workspace.message(line.channel, line.ts)
    assert left is None or left.deleted
    assert post.private() == []


async def test_words_that_were_erased_while_they_were_posted_do_not_stay(post: Post):
    """The post landed and its receipt did not; then the words went."""
    run = await post.ask()
    await told(post)
    seen = await post.view(run)
    assert seen.card is not None
    ticket = cards.ticket_of(seen, post.bench.store.deployment)
    await post.approvals.decide(ticket, Actor(ALICE), "reject", place=seen.card, reason=CANARY)
    post.bench.slack.faults.add(Fault("chat.postMessage", "drop_after_store", times=2))
    post.clock.pass_seconds(2)
    await post.deliver()
    assert CANARY in everything(post.bench)
    await Erasures(post.runtime.ground).erase(ALICE, actor="cli:ann")
    post.clock.pass_seconds(60)
    await told(post)
    assert CANARY not in everything(post.bench)


async def test_who_has_said_nothing_and_another_id_erase_nothing(post: Post, cli: Cli):
    assert f"There is no text of {ALICE} to erase." in (await cli("audit", "erase", ALICE, "--yes")).out
    await rejected(post)
    said = await cli("audit", "erase", ALICE)
    assert said.code == 1
    assert (await Erasures(post.runtime.ground).count(ALICE)).texts == 1


async def test_no_byte_of_what_was_erased_is_left_in_the_file(post: Post, cli: Cli):
    """Once the thread is let go and the file written anew, as the command says. The journal still proves."""
    await rejected(post)
    journal = Journal(post.bench.store, {"k1": KEY.encode()}, key="k1", clock=post.clock)
    await journal.seal()
    await Erasures(post.runtime.ground).erase(ALICE, actor="cli:ann")
    await told(post)
    assert CANARY.encode() in b"".join(files(post.bench)), (
        "in the state of the run, and in what was overwritten"
    )
    assert await post.runtime.prune(older_than=1) == 1
    await journal.seal()
    found = await journal.verify()
    assert (found.broken, found.unsealed) == (None, 0)
    await post.bench.store.__aexit__(None, None, None)
    vacuumed = await cli("db", "vacuum")
    assert vacuumed.code == 0, vacuumed.err
    assert CANARY.encode() not in b"".join(files(post.bench))


def files(bench: Bench) -> list[bytes]:
    return [path.read_bytes() for path in bench.folder.glob("signoff.db*")]
