"""manifest.yml says to Slack what the code listens for, calls and needs: no more and no less."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from slack_sdk.web.async_client import AsyncWebClient

from bot import cards, check, details, dialogs
from bot.app import bolt_app
from bot.channels import Channels
from bot.config import load_settings
from bot.slack import Window

ROOT = Path(__file__).parents[2]
#: Slack's own schema, which is on no registry; point this at a copy of slackapi/manifest-schema to use it.
SCHEMA = Path(
    os.environ.get("SLACK_MANIFEST_SCHEMA", ROOT.parent / "shared/data/slack-manifest.schema.2.0.0.json")
)
#: Which scope an event needs. Source: the pages of these events at docs.slack.dev/reference/events.
SCOPE_OF_EVENT = {
    "app_home_opened": None,
    "channel_archive": "channels:read",
    "channel_deleted": "channels:read",
    "channel_left": "channels:read",
    "group_archive": "groups:read",
    "group_deleted": "groups:read",
    "group_left": "groups:read",
    "member_left_channel": "channels:read",
    "user_change": "users:read",
    "subteam_members_changed": "usergroups:read",
    "subteam_updated": "usergroups:read",
}
#: Which scopes a method needs, any one of them. Source: the pages of these methods.
SCOPE_OF_METHOD = {
    "auth_test": (),
    "bots_info": ("users:read",),
    "apps_connections_open": (),
    "chat_delete": ("chat:write",),
    "chat_postMessage": ("chat:write",),
    "chat_update": ("chat:write",),
    "conversations_history": ("channels:history", "groups:history", "im:history"),
    "conversations_open": ("im:write",),
    "conversations_replies": ("channels:history", "groups:history"),
    "conversations_info": ("channels:read", "groups:read"),
    "conversations_members": ("channels:read", "groups:read"),
    "usergroups_users_list": ("usergroups:read",),
    "users_info": ("users:read",),
    "views_open": (),
    "views_publish": (),
    "views_update": (),
}


@pytest.fixture
def manifest() -> Any:
    return yaml.safe_load((ROOT / "manifest.yml").read_text(encoding="utf-8"))


class Listened:
    """Notes what a window listens for; has the registering methods of a Bolt app."""

    def __init__(self) -> None:
        self.heard: dict[str, list[Any]] = {}

    def __getattr__(self, kind: str) -> Any:
        def register(what: Any) -> Any:
            self.heard.setdefault(kind, []).append(what)
            return lambda listener: listener

        return register


@pytest.fixture
def heard() -> dict[str, list[Any]]:
    nothing: Any = None
    noted: Any = Listened()
    Window(nothing, nothing, nothing, nothing, nothing).listen(noted)
    Channels(nothing, nothing).listen(noted)
    return noted.heard


def test_slacks_own_schema_takes_the_manifest(manifest: Any):
    if not SCHEMA.exists():
        pytest.skip("Slack's manifest schema is not here; SLACK_MANIFEST_SCHEMA names a copy")
    jsonschema.validate(manifest, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_every_event_listened_for_is_subscribed_and_no_other(manifest: Any, heard: dict[str, list[Any]]):
    assert sorted(manifest["settings"]["event_subscriptions"]["bot_events"]) == sorted(heard["event"])


def test_every_command_listened_for_is_declared_and_no_other(manifest: Any, heard: dict[str, list[Any]]):
    declared = [command["command"] for command in manifest["features"]["slash_commands"]]
    assert declared == heard["command"]
    for command in manifest["features"]["slash_commands"]:
        assert re.fullmatch(r"/[a-z0-9_-]{1,31}", command["command"])
        assert command["description"]


def test_clicks_and_dialogs_need_interactivity(manifest: Any, heard: dict[str, list[Any]]):
    ours = {cards.APPROVE, cards.CONFIRM, cards.REJECT, cards.EDIT, cards.RESPOND, cards.DETAILS}
    assert ours | {*details.TURNS} <= set(heard["action"])
    ours = {cards.REJECT_DIALOG, cards.CONFIRM_DIALOG, dialogs.EDIT_DIALOG, dialogs.RESPOND_DIALOG}
    assert ours == set(heard["view"])
    assert manifest["settings"]["interactivity"]["is_enabled"] is True


def test_the_scopes_are_those_that_check_looks_for(manifest: Any):
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == check.SCOPES


def test_every_method_called_has_its_scope_and_every_scope_a_use(manifest: Any):
    scopes = set(manifest["oauth_config"]["scopes"]["bot"])
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bot").glob("*.py"))
    methods = {
        name for name in re.findall(r"\.(\w+)\(", source) if hasattr(AsyncWebClient, name) and "_" in name
    }
    called = methods - {"api_call"}
    assert called <= set(SCOPE_OF_METHOD), "a new method: say which scope it needs"
    used = {scope for method in called for scope in SCOPE_OF_METHOD[method]}
    assert used <= scopes
    assert scopes - used == {"commands"}


def test_every_event_has_its_scope(manifest: Any, heard: dict[str, list[Any]]):
    for event in heard["event"]:
        scope = SCOPE_OF_EVENT[event]
        assert scope is None or scope in manifest["oauth_config"]["scopes"]["bot"]


def test_the_home_tab_is_on_exactly_when_somebody_listens_for_it(manifest: Any, heard: dict[str, list[Any]]):
    home = manifest["features"].get("app_home", {}).get("home_tab_enabled", False)
    assert home == ("app_home_opened" in heard["event"])


def test_socket_mode_is_on_so_no_address_is_needed(manifest: Any):
    assert manifest["settings"]["socket_mode_enabled"] is True
    assert "request_url" not in json.dumps(manifest)


def test_a_name_slack_takes(manifest: Any):
    assert 1 <= len(manifest["display_information"]["name"]) <= 35
    assert len(manifest["display_information"]["description"]) <= 140


async def test_a_real_app_takes_every_listener():
    settings = load_settings(policies={"default": {"people": ["U0ALICE"]}})
    nothing: Any = None
    app = bolt_app(settings, AsyncWebClient(token="xoxb-1"))
    Window(nothing, nothing, nothing, nothing, nothing).listen(app)
    Channels(nothing, nothing).listen(app)
    assert len(app._async_listeners) == 24
