"""What the bot logs over a whole approval, and when things go wrong: events with fields, and no secret."""

from __future__ import annotations

import json
import logging
import re

import pytest
import structlog
from bot_bench import ALICE, BOB, CHANNEL, DAVE, Bench, Process, Spawn, settings_file

from bot import cards
from bot.logs import set_up_logs
from bot.sandbox import Fault

STATE = "hunter2-in-the-state"
REASON = "hunter3-in-the-reason"
TYPED = "hunter4-in-a-command"


def clean(bench: Bench, process: Process) -> list[str]:
    """Assert that nothing private is in the log, and return the events."""
    log = process.log.read_text(encoding="utf-8")
    for secret in (
        bench.slack.bot_token,
        bench.slack.app_token,
        bench.slack.signing_secret,
        STATE,
        REASON,
        TYPED,
        "response_url",
        "trigger_id",
        "/actions/",
        "/commands/",
        "ticket=",
    ):
        assert secret not in log, f"{secret!r} in {[line for line in log.splitlines() if secret in line]}"
    return [line["event"] for line in process.lines()]


@pytest.mark.processes
async def test_no_secret_and_no_state_value_is_in_the_log_of_good_and_bad_days(bench: Bench, spawn: Spawn):
    # Over HTTP, where more passes through libraries that log: bodies, headers and errors of parsing.
    process = await spawn(settings_file(bench.slack, bench.folder, "http"), wait=False)
    bench.slack.request_url = f"{(await process.says('ready'))['address']}/slack/events"
    run = await bench.start(service=STATE, facts={"password": STATE})
    card = await bench.card(run)
    # Refused clicks, forged ones, and a dialog with a reason.
    await bench.click(card, user=DAVE)
    forged = bench.payload(card)
    forged["container"] = {"type": STATE}
    await bench.deliver(forged)
    await bench.deliver(bench.payload(card) | {"user": {"id": f"U!{STATE}"}})
    await bench.slash(f"show {TYPED}")
    await bench.slash('start deploy {"' + TYPED)
    await bench.deliver(
        bench.slack._doors.slash(user=ALICE, channel=CHANNEL, command="/signoff", text=TYPED)
        | {"user_id": "no id"},
        "slash_commands",
    )
    # Slack on a bad day: everything fails once, with answers that are none of Slack's.
    for method in (
        "usergroups.users.list",
        "users.info",
        "views.open",
        "response_url",
        "chat.update",
        "chat.postMessage",
    ):
        bench.slack.faults.add(Fault(method, "500"))
    await bench.click(card, user=BOB)
    await bench.click(card, cards.REJECT)
    await bench.reject(card, REASON)
    await bench.drawn(card, "*Rejected*")
    failing = await bench.start("failing", service=STATE)
    other = await bench.card(failing)
    await bench.click(other)
    await bench.rests(failing, "failed")
    await bench.thread(other, 2)
    assert await process.stop() == 0
    said = clean(bench, process)
    assert {"ready", "card.shown", "run.rested", "entry.retried", "directory.unknown", "stopped"} <= set(said)
    assert "Traceback" not in process.log.read_text(encoding="utf-8")


@pytest.mark.processes
async def test_a_database_that_fails_at_a_click_is_logged_without_the_click(bench: Bench, spawn: Spawn):
    process = await spawn(settings_file(bench.slack, bench.folder), fault="before:decide:error")
    run = await bench.start(service=STATE)
    card = await bench.card(run)
    answered = await bench.click(card)
    await bench.private(ALICE)
    assert answered.outcome == "acked"
    assert (await bench.request(run)).request.status == "open"
    await bench.click(card)
    await bench.drawn(card, "the run completed")
    await process.stop()
    clean(bench, process)
    line = next(line for line in process.lines() if line["event"] == "click.failed")
    assert line["level"] == "error"


@pytest.mark.processes
async def test_log_lines_are_events_with_fields_as_text_or_as_json(bench: Bench, spawn: Spawn):
    config = settings_file(bench.slack, bench.folder)
    process = await spawn(config)
    run = await bench.start()
    await bench.card(run)
    line = await process.says("card.shown")
    assert {"event", "level", "logger", "timestamp", "request_id", "status"} == set(line)
    rested = await process.says("run.rested")
    assert (rested["run_id"], rested["status"]) == (run.id, "interrupted")
    await process.stop()
    assert all(re.fullmatch(r"[a-z]+(\.[a-z]+)?", one["event"]) for one in process.lines()), process.lines()


def read_port(text: str) -> int:
    return int(text)


@pytest.mark.parametrize("form", ["text", "json"])
def test_tokens_and_response_urls_are_masked_wherever_they_come_from(
    form: str, capsys: pytest.CaptureFixture[str]
):
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    level = root.level
    try:
        set_up_logs(form)  # type: ignore[arg-type]
        structlog.get_logger("signoff.test").warning("sent", token="xoxb-1-secret", count=7)
        logging.getLogger("another.library").warning(
            "called %s", "https://hooks.slack.com/actions/T/1/secret"
        )
        logging.getLogger("slack_sdk").info("a body with hunter2")
        try:
            read_port("xapp-1-secret")
        except ValueError:
            structlog.get_logger("signoff.test").exception("failed")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        structlog.reset_defaults()
    said = capsys.readouterr().err
    assert "secret" not in said
    assert "hunter2" not in said
    assert said.count("***") >= 3
    assert "ValueError" in said
    if form == "json":
        lines = [json.loads(line) for line in said.splitlines()]
        assert [line["event"] for line in lines] == ["sent", "called ***", "failed"]
        assert lines[0]["count"] == 7
