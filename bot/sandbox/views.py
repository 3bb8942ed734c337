"""views.open, push, update and publish, and what the answer to a submission does to the modals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.sandbox.limits import view_body
from bot.sandbox.refusals import Json, SlackError

if TYPE_CHECKING:
    from bot.sandbox.args import Args
    from bot.sandbox.records import View
    from bot.sandbox.workspace import Workspace


def view_json(workspace: Workspace, view: View) -> Json:
    """The view as the Web API and the payloads show it, with what the person typed in `state`."""
    body = view.body
    shown: Json = {
        "id": view.id,
        "team_id": workspace.team_id,
        "type": view.type,
        "blocks": view.blocks,
        "private_metadata": view.private_metadata,
        "callback_id": view.callback_id,
        "state": {"values": view.state},
        "hash": view.hash,
        "title": body.get("title"),
        "submit": body.get("submit"),
        "close": body.get("close"),
        "clear_on_close": bool(body.get("clear_on_close")),
        "notify_on_close": bool(body.get("notify_on_close")),
        "previous_view_id": view.previous_view_id,
        "root_view_id": view.root_view_id,
        "app_id": workspace.app_id,
        "external_id": view.external_id,
        "app_installed_team_id": workspace.team_id,
        "bot_id": workspace.bot_id,
    }
    if view.type == "home":
        shown = {key: value for key, value in shown.items() if key not in {"title", "submit", "close"}}
    return shown


def _body(workspace: Workspace, args: Args, kind: str) -> Json:
    return view_body(args.tree("view", "invalid_arguments"), kind, workspace.new_id)


def open_view(workspace: Workspace, args: Args) -> Json:
    """views.open: a bad view does not use up the trigger."""
    trigger_id = args.text("trigger_id") or args.need("interactivity_pointer")
    workspace.handles.look_at_trigger(trigger_id)
    body = _body(workspace, args, "modal")
    trigger = workspace.handles.use_trigger(trigger_id)
    return {"view": view_json(workspace, workspace.modals.open(trigger.user, body))}


def push_view(workspace: Workspace, args: Args) -> Json:
    """views.push: on top of the modals the person has open."""
    trigger_id = args.text("trigger_id") or args.need("interactivity_pointer")
    workspace.handles.look_at_trigger(trigger_id)
    body = _body(workspace, args, "modal")
    trigger = workspace.handles.use_trigger(trigger_id)
    return {"view": view_json(workspace, workspace.modals.push(trigger.user, body))}


def update_view(workspace: Workspace, args: Args) -> Json:
    """views.update: `not_found` for a closed view, `hash_conflict` when it changed since `hash`."""
    if args.text("view_id"):
        view = workspace.modals.get(args.text("view_id"))
    else:
        view = workspace.modals.by_external_id(args.need("external_id"))
    if view is None:
        raise SlackError("not_found")
    body = _body(workspace, args, view.type)
    changed = workspace.modals.update(view, body, args.text("hash") or None)
    return {"view": view_json(workspace, changed)}


def publish_view(workspace: Workspace, args: Args) -> Json:
    """views.publish: the App Home of one person."""
    user = args.need("user_id")
    if user not in workspace.users or workspace.users[user].deleted:
        raise SlackError("user_not_found")
    body = _body(workspace, args, "home")
    view = workspace.modals.publish(user, body, args.text("hash") or None)
    return {"view": view_json(workspace, view)}


def apply_response(workspace: Workspace, view: View, response: Json | None) -> None:
    """Does what the acknowledgement of a submission asks for; none asks to close the view.

    Raises SlackError when Slack could not follow it: an unknown action, a bad view, errors below no input.
    """
    action = (response or {}).get("response_action")
    now = workspace.modals.get(view.id)
    if action == "clear":
        workspace.modals.shut_all(view.user)
    elif now is None:
        return
    elif action is None:
        workspace.modals.shut(now)
    elif action == "errors":
        errors = (response or {}).get("errors")
        inputs = {block["block_id"] for block in now.blocks if block.get("type") == "input"}
        if not isinstance(errors, dict) or not errors or not set(errors) <= inputs:
            raise SlackError("invalid_response_errors")
        workspace.modals.show_errors(now, {str(block): str(words) for block, words in errors.items()})
    elif action == "update":
        body = view_body((response or {}).get("view"), "modal", workspace.new_id)
        workspace.modals.update(now, body)
    elif action == "push":
        workspace.modals.push(view.user, view_body((response or {}).get("view"), "modal", workspace.new_id))
    else:
        raise SlackError("invalid_response_action")
