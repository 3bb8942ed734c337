"""Settings at the door: the environment over the file, each wrong place named, and no secret in any message."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bot.config import ConfigError, Settings, load_settings
from bot.logs import redact
from graph_runtime import Retention

GOOD = """
database = "sqlite:////srv/signoff.db"
operators = ["U0OLGA"]
lease = "45s"
[graphs]
deploy = "approval_graphs:deploy"
[slack]
channel = "C0DEPLOYS"
[policies.default]
groups = ["S0SRE"]
deadline = "1d 2h"
[people]
olga = "U0OLGA"
"""
SECRET = "xoxb-1111-2222-this-is-secret"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("SIGNOFF_", "SLACK_")):
            monkeypatch.delenv(name)
    return tmp_path


def write(text: str = GOOD, name: str = "signoff.toml") -> None:
    Path(name).write_text(text, encoding="utf-8")


def refused(**given: Any) -> str:
    with pytest.raises(ConfigError) as error:
        load_settings(**given)
    said = str(error.value)
    assert "nothing was started" in said
    assert "\n" not in said
    return said


def test_the_file_here_is_read_and_the_rest_has_defaults():
    write()
    found = load_settings()
    assert (found.database, found.operators, found.lease) == ("sqlite:////srv/signoff.db", ("U0OLGA",), 45)
    assert found.policies["default"].deadline == 26 * 3600
    assert (found.slack.mode, found.slack.connections, found.http.port) == ("socket", 2, 3000)
    assert (found.slack.api_url, found.people) == ("https://slack.com/api/", {"olga": "U0OLGA"})


@pytest.mark.parametrize(
    ("said", "seconds"), [("90d", 90 * 86_400), ("1d 12h", 129_600), ("0", 0), ("7200", None), ("-1d", None)]
)
def test_how_long_is_kept_is_written_like_a_deadline_and_0_is_for_ever(
    monkeypatch: pytest.MonkeyPatch, said: str, seconds: int | None
):
    write()
    assert load_settings().retention == Retention(90 * 86_400, 0)
    monkeypatch.setenv("SIGNOFF_KEEP_FINISHED", said)
    monkeypatch.setenv("SIGNOFF_KEEP_THREADS", "500")
    if seconds is None:
        assert "keep_finished" in refused()
    else:
        assert load_settings().retention == Retention(seconds, 500)


def test_the_environment_wins_over_the_file_and_an_argument_over_both(monkeypatch: pytest.MonkeyPatch):
    write()
    monkeypatch.setenv("SIGNOFF_LEASE", "9s")
    monkeypatch.setenv("SIGNOFF_SLACK__CHANNEL", "C0OTHER")
    monkeypatch.setenv("SIGNOFF_OPERATORS", '["U0BOB"]')
    monkeypatch.setenv("SLACK_BOT_TOKEN", SECRET)
    found = load_settings()
    assert (found.lease, found.slack.channel, found.operators) == (9, "C0OTHER", ("U0BOB",))
    assert found.bot_token.get_secret_value() == SECRET
    assert load_settings(lease=3).lease == 3


def test_a_file_is_found_by_argument_by_environment_or_by_name(monkeypatch: pytest.MonkeyPatch):
    write()
    write(GOOD.replace("45s", "1s"), "one.toml")
    write(GOOD.replace("45s", "2s"), "two.toml")
    monkeypatch.setenv("SIGNOFF_CONFIG", "two.toml")
    assert [load_settings("one.toml").lease, load_settings().lease] == [1, 2]
    monkeypatch.delenv("SIGNOFF_CONFIG")
    assert load_settings().lease == 45


def test_a_file_that_is_named_but_not_there_or_not_readable_is_said():
    assert "there is no file 'missing.toml'" in refused(file="missing.toml")
    Path("folder.toml").mkdir()
    assert "there is no file 'folder.toml'" in refused(file="folder.toml")
    Path("binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "binary.toml is no TOML" in refused(file="binary.toml")


def test_without_a_file_the_message_says_so():
    said = refused()
    assert "there is no signoff.toml here" in said
    assert "[policies.default]" in said


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('lease = "45s"', 'lease = "soon"', "lease"),
        ('lease = "45s"', "lease = 0", "lease"),
        ('lease = "45s"', "lease = -5", "lease"),
        ('lease = "45s"', "keep_finished = -1", "keep_finished"),
        ('lease = "45s"', "keep_threads = -1", "keep_threads"),
        ("operators", "operater", "operater"),
        ("[slack]", '[slack]\nmode = "pigeon"', "slack.mode"),
        ("[slack]", "[slack]\nconnections = 11", "slack.connections"),
        ("[slack]", '[slack]\napi_url = "http://evil.test/api/"', "slack.api_url"),
        ("[slack]", "[http]\nport = 70000\n[slack]", "http.port"),
        ('groups = ["S0SRE"]', "groups = []", "policy 'default'"),
        ('groups = ["S0SRE"]', 'groups = [""]', "policy 'default'"),
        ('groups = ["S0SRE"]', 'group = ["S0SRE"]', "policy 'default'.group"),
        ('"1d 2h"', '"2 weeks"', "policy 'default'.deadline"),
        ("[policies.default]", "[policies.other]", "[policies.default]"),
        ('[people]\nolga = "U0OLGA"', "people = 7", "people"),
        ('"sqlite:////srv/signoff.db"', '"mysql://u:hunter2@db/x"', "database"),
        ('"sqlite:////srv/signoff.db"', '"postgresql://u:hunter2@db/x?bogus=1"', "database"),
        ('"sqlite:////srv/signoff.db"', '"sqlite:///"', "database"),
    ],
)
def test_each_wrong_setting_is_named(old: str, new: str, place: str):
    assert old in GOOD
    write(GOOD.replace(old, new))
    said = refused()
    assert place in said
    assert "signoff.toml is wrong" in said
    assert "hunter2" not in said


def test_a_policy_file_lies_beside_the_settings_wherever_they_are(tmp_path: Path):
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "policies.toml").write_text(
        '[calendars.office]\ntz = "Europe/Berlin"\n[policies.two]\nrequire = [{ on_call = "sre", count = 2 }]\n'
        'deadline = { after = "1d", business_hours = "office" }\nwindows = ["changes"]\n'
        'escalate = { after = "2h", to = "oncall:sre" }\n'
        '[calendars.changes]\ntz = "UTC"\ndays = "mon-thu"\n'
    )
    (folder / "signoff.toml").write_text(
        'policy_file = "policies.toml"\n'
        + GOOD
        + '[on_call]\nsre = "S0ONCALL"\n[calendars.shop]\ntz = "UTC"\n'
    )
    found = load_settings(str(folder / "signoff.toml"))
    assert sorted(found.policies) == ["default", "two"]
    assert sorted(found.calendars) == ["changes", "office", "shop"]
    assert found.policies["two"].windows[0].days == ("mon", "tue", "wed", "thu")
    assert found.policies["two"].choose({}).refs == ("oncall:sre",)
    told = found.policies["two"].escalate
    assert told is not None and told.to == "S0ONCALL", "a group is what Slack can tell"


@pytest.mark.parametrize(
    ("file", "settings", "words"),
    [
        ("", "", "holds no [policies.NAME]"),
        (None, "", "cannot be read"),
        ('[policies.default]\npeople = ["U1"]', "", "default is in the settings and in policies.toml too"),
        ('[policies.a]\npeople = ["U1"]\nveto = 3', "", "policy 'a'.veto"),
        ('[policies.a]\npeople = ["U1"]\nwindows = ["shop"]', "", "no calendar 'shop'"),
        ('[policies.a]\nrequire = [{ on_call = "sre" }]', "", "the on-call schedule sre, which [on_call]"),
        (
            '[policies.a]\npeople = ["U1"]\nescalate = { after = "1h", to = "oncall:sre" }',
            "",
            "the on-call schedule sre",
        ),
        ('[policies.a]\npeople = ["U1"]', "[calendars.b]\ntz = 'Nowhere'", "calendar 'b'.tz"),
    ],
)
def test_a_policy_file_that_is_wrong_starts_nothing(file: str | None, settings: str, words: str):
    if file is not None:
        write(file, "policies.toml")
    write(f'policy_file = "policies.toml"\n{GOOD}\n{settings}')
    assert words in refused()


def test_a_broken_policy_hides_no_other_fault():
    write(GOOD.replace('lease = "45s"', "lease = 0").replace('groups = ["S0SRE"]', "groups = []"))
    said = refused()
    assert "lease: " in said and "policies: " in said


def test_all_wrong_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch):
    write(GOOD.replace('lease = "45s"', "lease = 0\nlog = 7").replace("[slack]", "[slack]\nconnections = 0"))
    said = refused()
    for place in ("lease", "log", "slack.connections"):
        assert place in said


@pytest.mark.parametrize(
    "name",
    [
        "SIGNOFF_DATABASE",
        "SIGNOFF_GRAPHS",
        "SIGNOFF_POLICIES",
        "SIGNOFF_OPERATORS",
        "SIGNOFF_LEASE",
        "SIGNOFF_PEOPLE",
        "SIGNOFF_SLACK",
        "SIGNOFF_SLACK__MODE",
        "SIGNOFF_SLACK__API_URL",
        "SIGNOFF_SLACK__CONNECTIONS",
        "SIGNOFF_HTTP__PORT",
        "SIGNOFF_LOG",
        "SLACK_APP_TOKEN",
    ],
)
def test_a_token_in_the_wrong_variable_is_never_printed(monkeypatch: pytest.MonkeyPatch, name: str):
    write()
    monkeypatch.setenv(name, SECRET)
    said = refused()
    assert "secret" not in said
    assert "1111" not in said
    assert name.removeprefix("SIGNOFF_").split("__")[-1].lower() in said.lower()


@pytest.mark.parametrize("key", ["operators", "lease", "log", "deadline"])
def test_a_token_in_the_file_is_never_printed(key: str):
    text = {
        "operators": GOOD.replace('["U0OLGA"]', f'"{SECRET}"'),
        "lease": GOOD.replace("45s", SECRET),
        "log": f'log = "{SECRET}"' + GOOD,
        "deadline": GOOD.replace("1d 2h", SECRET),
    }[key]
    write(text)
    assert "secret" not in refused()


def test_tokens_the_wrong_way_round_are_told_by_their_beginning(monkeypatch: pytest.MonkeyPatch):
    write()
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xapp-secret")
    said = refused()
    assert "SLACK_BOT_TOKEN: a token that begins with xoxb- was expected" in said
    assert "xapp-secret" not in said


def test_settings_hide_their_secrets_when_shown(monkeypatch: pytest.MonkeyPatch):
    write()
    monkeypatch.setenv("SLACK_BOT_TOKEN", SECRET)
    monkeypatch.setenv("SLACK_SIGNING_SECRET", "8f742231b10e8888abcd99yyyzzz85a5")
    found = load_settings()
    assert "secret-value" not in repr(found)
    assert SECRET not in repr(found) + str(found)
    assert "8f74" not in repr(found) + str(found)


@pytest.mark.parametrize(
    ("mode", "channel", "missing"),
    [
        ("socket", "C0DEPLOYS", ["SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"]),
        ("http", "C0DEPLOYS", ["SLACK_BOT_TOKEN", "SLACK_SIGNING_SECRET"]),
        ("socket", "", ["SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "slack.channel"]),
    ],
)
def test_what_talking_to_slack_needs_is_named_for_each_mode(mode: str, channel: str, missing: list[str]):
    write()
    found = load_settings(slack={"mode": mode, "channel": channel})
    with pytest.raises(ConfigError) as error:
        found.need_slack(takes=True)
    said = str(error.value)
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET", "slack.channel"):
        assert (name in said) == (name in missing)


def test_a_channel_in_every_policy_is_enough():
    write(GOOD.replace('deadline = "1d 2h"', 'channel = "C0OPS"'))
    tokens = {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}
    load_settings(slack={"channel": ""}, **tokens).need_slack(takes=True)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/api", "http://localhost/api/", "https://slack-gov.com/api"]
)
def test_tokens_travel_over_https_or_on_this_machine(url: str):
    write()
    assert load_settings(slack={"api_url": url}).slack.api_url.endswith("/api/")


def graphs(**places: str) -> Settings:
    write(GOOD.replace('[graphs]\ndeploy = "approval_graphs:deploy"', ""))
    return load_settings(graphs=places)


def test_graphs_are_imported_by_name():
    (found,) = graphs(deploy="approval_graphs:deploy").load_graphs()
    assert found.name == "deploy"


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({}, "name a graph under [graphs]"),
        ({"deploy": "approval_graphs:missing"}, "graphs.deploy = 'approval_graphs:missing': AttributeError"),
        ({"deploy": "no_such_module"}, "ModuleNotFoundError"),
        ({"deploy": "approval_graphs:no_graph"}, "is no compiled graph"),
        ({"other": "approval_graphs:deploy"}, "is called 'deploy'; use one name"),
        ({"a": "nothing_a", "b": "nothing_b"}, "nothing_b"),
    ],
)
def test_each_graph_that_cannot_be_used_is_named(places: dict[str, str], words: str):
    with pytest.raises(ConfigError, match="nothing was started") as error:
        graphs(**places).load_graphs()
    assert words in str(error.value)


def test_a_module_that_fails_at_import_is_said_and_not_raised(nowhere: Path):
    (nowhere / "broken_graph.py").write_text("raise RuntimeError('no database')")
    with pytest.raises(ConfigError, match="RuntimeError: no database"):
        graphs(deploy="broken_graph:graph").load_graphs()


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        "xapp-1-A0-2-abc",
        "xoxp-9",
        "https://hooks.slack.com/actions/T0/1/abc",
        "https://hooks.slack.com/commands/T0/1/abc",
        "http://127.0.0.1:8/actions/abc",
    ],
)
def test_redacting_leaves_nothing_of_a_token_or_a_response_url(secret: str):
    assert redact(f"before {secret} after") == "before *** after"
