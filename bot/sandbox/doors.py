"""What a person does becomes a payload here, from the stored blocks and views, never from a browser."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

from bot.sandbox.chat import message_json
from bot.sandbox.elements import HOLDS, action_of, find, state_of, visible_to
from bot.sandbox.refusals import Json, NotOnScreenError
from bot.sandbox.views import view_json

if TYPE_CHECKING:
    from bot.sandbox.records import View
    from bot.sandbox.workspace import Workspace

VERIFICATION_TOKEN = "deprecated"  # noqa: S105  (the old token field, still sent and never to be trusted)


class Doors:
    """Builds the payloads of clicks, submissions, commands and events, and words for the log."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    # -- messages

    def must_see(self, user: str, channel: str) -> None:
        """Raises NotOnScreenError unless the person can open the channel."""
        if not self._workspace.sees(user, channel):
            raise NotOnScreenError(f"{self._workspace.user(user).first_name} cannot see {channel}")

    def must_see_element(
        self, user: str, channel: str, ts: str, action_id: str, block_id: str | None
    ) -> None:
        """Raises NotOnScreenError unless the person can see the channel, the message and the element."""
        self.must_see(user, channel)
        _, element = find(self._blocks(user, channel, ts, block_id), action_id, block_id)
        if not visible_to(element, user):
            raise NotOnScreenError(f"{action_id!r} is not shown to {self._workspace.user(user).first_name}")

    def click(
        self,
        *,
        user: str,
        channel: str,
        ts: str,
        action_id: str,
        block_id: str | None = None,
        value: Any = None,
    ) -> Json:
        """The block_actions payload of a click in a message, private messages included."""
        space = self._workspace
        message, whisper = space.message(channel, ts), space.ephemeral(user, ts)
        blocks = self._blocks(user, channel, ts, block_id)
        block, element = find(blocks, action_id, block_id)
        action = action_of(block, element, space.next_ts(), value)
        if element.get("type") in HOLDS:
            space.choose(channel, ts, user, block=block, element=element, value=value)
        container: Json = {
            "type": "message",
            "message_ts": ts,
            "channel_id": channel,
            "is_ephemeral": message is None,
        }
        thread_ts = message.thread_ts if message else whisper.thread_ts if whisper else None
        if thread_ts:
            container["thread_ts"] = thread_ts
        source = "message" if message else "ephemeral"
        payload = self._interaction(user, "block_actions") | {
            "container": container,
            "trigger_id": space.handles.issue_trigger(user),
            "channel": {"id": channel, "name": self._channel_name(channel)},
            "state": {"values": state_of(blocks, space.typed(channel, ts, user))},
            "response_url": space.handles.issue_response_url(
                user=user, channel=channel, source=source, ts=ts, thread_ts=thread_ts
            ),
            "actions": [action],
        }
        if message is not None:
            payload["message"] = message_json(space, message)
        return copy.deepcopy(payload)

    def _blocks(self, user: str, channel: str, ts: str, block_id: str | None) -> list[Json]:
        message = self._workspace.message(channel, ts)
        if message is not None:
            # A person whose client has not yet heard of an edit clicks what they see: an earlier version.
            versions = [message.blocks, *self._workspace.earlier_blocks(channel, ts)]
            shown = (v for v in versions if any(block.get("block_id") == block_id for block in v))
            return next(shown, message.blocks)
        whisper = self._workspace.ephemeral(user, ts)
        if whisper is None:
            raise NotOnScreenError(f"no message {ts!r} in {channel} for {user}")
        return whisper.blocks

    # -- views

    def view_on_screen(self, user: str, view_id: str) -> View:
        """The person's App Home or top modal with this id; raises NotOnScreenError for any other."""
        self._workspace.user(user)
        home, stack = self._workspace.modals.home(user), self._workspace.modals.stack(user)
        on_screen = [*stack[-1:], *([home] if home else [])]
        for view in on_screen:
            if view.id == view_id:
                return view
        names = ", ".join(f"{view.id} ({view.callback_id or view.type})" for view in on_screen)
        raise NotOnScreenError(
            f"{user} does not have view {view_id!r} on screen; there is: {names or 'none'}"
        )

    def click_in_view(
        self, *, user: str, view: View, action_id: str, block_id: str | None = None, value: Any = None
    ) -> Json:
        """The block_actions payload of a use of an element in a view."""
        space = self._workspace
        block, element = find(view.blocks, action_id, block_id)
        action = action_of(block, element, space.next_ts(), value)
        if element.get("type") in HOLDS:
            view = space.modals.type_into(view, {str(block["block_id"]): {action_id: value}})
        shown = view_json(space, view)
        return copy.deepcopy(
            self._interaction(user, "block_actions")
            | {
                "container": {"type": "view", "view_id": view.id},
                "trigger_id": space.handles.issue_trigger(user, view.id),
                "view": shown,
                "state": shown["state"],
                "actions": [action],
            }
        )

    def submission(self, user: str, view: View) -> Json:
        """The view_submission payload of the view as it is filled in now."""
        space = self._workspace
        return copy.deepcopy(
            self._interaction(user, "view_submission")
            | {
                "trigger_id": space.handles.issue_trigger(user, view.id),
                "view": view_json(space, view),
                "response_urls": [],
            }
        )

    def closing(self, user: str, view: View, *, is_cleared: bool = False) -> Json:
        """The view_closed payload."""
        shown = view_json(self._workspace, view)
        return copy.deepcopy(
            self._interaction(user, "view_closed") | {"view": shown, "is_cleared": is_cleared}
        )

    # -- commands and events

    def slash(self, *, user: str, channel: str, command: str, text: str = "") -> Json:
        """The fields of a slash command."""
        space = self._workspace
        return {
            "token": VERIFICATION_TOKEN,
            "team_id": space.team_id,
            "team_domain": space.team_domain,
            "channel_id": channel,
            "channel_name": self._channel_name(channel),
            "user_id": user,
            "user_name": space.user(user).name,
            "command": command,
            "text": self._escaped(text) if self._escapes(command) else text,
            "api_app_id": space.app_id,
            "is_enterprise_install": "false",
            "response_url": space.handles.issue_response_url(user=user, channel=channel, source="command"),
            "trigger_id": space.handles.issue_trigger(user),
        }

    def _escapes(self, command: str) -> bool:
        return any(one.command == command and one.should_escape for one in self._workspace.commands)

    def _escaped(self, text: str) -> str:
        """The text as Slack escapes it, with people and channels that it names as ``<@U1|name>``."""
        space = self._workspace
        names = {f"@{user.name}": f"<@{user.id}|{user.name}>" for user in space.users.values()}
        names |= {f"#{c.name}": f"<#{c.id}|{c.name}>" for c in space.channels.values() if not c.is_im}
        safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return re.sub(r"(?:(?<!\S)|(?<==))[@#][\w.-]+", lambda found: names.get(found[0], found[0]), safe)

    def event(self, event: Json) -> Json:
        """The event_callback payload around an inner event."""
        space = self._workspace
        return {
            "token": VERIFICATION_TOKEN,
            "team_id": space.team_id,
            "api_app_id": space.app_id,
            "event": {"event_ts": space.next_ts(), **event},
            "type": "event_callback",
            "event_id": "Ev" + space.new_id().upper(),
            "event_time": int(space.clock()),
            "event_context": "EC" + space.new_id(),
            "is_ext_shared_channel": False,
            "authorizations": [
                {
                    "enterprise_id": None,
                    "team_id": space.team_id,
                    "user_id": space.bot_user_id,
                    "is_bot": True,
                    "is_enterprise_install": False,
                }
            ],
        }

    def home_opened(self, user: str) -> Json:
        """The app_home_opened event; `view` is there only if one was published."""
        space = self._workspace
        space.user(user)
        event: Json = {
            "type": "app_home_opened",
            "user": user,
            "channel": space.open_dm(user).id,
            "tab": "home",
        }
        home = space.modals.home(user)
        if home is not None:
            event["view"] = copy.deepcopy(view_json(space, home))
        return self.event(event)

    # -- words

    def summary(self, payload: Json, user: str) -> str:
        """One short line for the log, for example "Alice clicked Approve"."""
        known = self._workspace.users.get(user)
        who = known.first_name if known else user or "Slack"
        if "command" in payload:
            return f"{who} typed {payload['command']} {payload.get('text', '')}".rstrip()
        kind = payload.get("type")
        if kind == "block_actions":
            actions = payload.get("actions") or [{}]
            return f"{who} clicked {_label(actions[0])}"
        if kind in {"view_submission", "view_closed"}:
            title = ((payload.get("view") or {}).get("title") or {}).get("text", "a modal")
            return f"{who} {'submitted' if kind == 'view_submission' else 'closed'} {title}"
        if kind == "event_callback":
            event = payload.get("event") or {}
            if event.get("type") == "app_home_opened":
                return f"{who} opened the Home tab"
            return f"event {event.get('type')}"
        return f"{who} sent {kind}"

    # -- parts

    def _interaction(self, user: str, kind: str) -> Json:
        space, who = self._workspace, self._workspace.user(user)
        return {
            "type": kind,
            "user": {"id": who.id, "username": who.name, "name": who.name, "team_id": who.team_id},
            "api_app_id": space.app_id,
            "token": VERIFICATION_TOKEN,
            "team": {"id": space.team_id, "domain": space.team_domain},
            "enterprise": None,
            "is_enterprise_install": False,
        }

    def _channel_name(self, channel: str) -> str:
        found = self._workspace.channel(channel)
        if found.is_im:
            return "directmessage"
        return "privategroup" if found.is_private else found.name


def _label(action: Json) -> str:
    for part in (action.get("text"), (action.get("selected_option") or {}).get("text")):
        if isinstance(part, dict) and part.get("text"):
            return str(part["text"])
    return str(action.get("action_id", "something"))


def user_of(payload: Json) -> str:
    """Who a payload says acted, or an empty string."""
    user = payload.get("user")
    if isinstance(user, dict):
        return str(user.get("id", ""))
    event = payload.get("event")
    if isinstance(event, dict) and isinstance(event.get("user"), str):
        return str(event["user"])
    return str(payload.get("user_id", ""))
