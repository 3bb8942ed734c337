"""Looking things up: users.*, usergroups.*, conversations.*, team.info, bots.info, auth.test."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from bot.sandbox.chat import find_channel, message_json
from bot.sandbox.refusals import Json, SlackError
from bot.sandbox.workspace import order

if TYPE_CHECKING:
    from bot.sandbox.args import Args
    from bot.sandbox.records import Channel, Group, Message, User
    from bot.sandbox.workspace import Workspace


def user_json(workspace: Workspace, user: User) -> Json:
    """The user as `users.info` shows it; a deactivated one is `deleted`, a foreign one `is_stranger`."""
    foreign = user.team_id != workspace.team_id
    shown: Json = {
        "id": user.id,
        "team_id": user.team_id,
        "name": user.name,
        "deleted": user.deleted,
        "profile": {
            "real_name": user.real_name,
            "display_name": user.name,
            "title": user.title,
            "email": user.email,
            "team": user.team_id,
        },
        "is_bot": user.is_bot,
        "is_app_user": False,
        "updated": 1700000000,
    }
    if user.deleted:
        return shown
    return shown | {
        "color": user.color.removeprefix("#"),
        "real_name": user.real_name,
        "tz": user.tz,
        "tz_label": user.tz,
        "tz_offset": user.tz_offset,
        "is_admin": False,
        "is_owner": False,
        "is_primary_owner": False,
        "is_restricted": user.is_guest,
        "is_ultra_restricted": user.is_guest,
        "is_stranger": foreign,
    }


def channel_json(workspace: Workspace, channel: Channel) -> Json:
    """The conversation as `conversations.info` shows it to the app."""
    shown: Json = {
        "id": channel.id,
        "created": channel.created,
        "is_im": channel.is_im,
        "is_archived": channel.is_archived,
        "context_team_id": workspace.team_id,
    }
    if channel.is_im:
        gone = workspace.users[str(channel.im_user)].deleted
        return shown | {"user": channel.im_user, "is_user_deleted": gone, "is_open": True}
    foreign = any(
        workspace.users[user].team_id != workspace.team_id for user in channel.members & set(workspace.users)
    )
    return shown | {
        "name": channel.name,
        "name_normalized": channel.name,
        "is_channel": not channel.is_private,
        "is_group": channel.is_private,
        "is_mpim": False,
        "is_private": channel.is_private,
        "is_general": channel.name == "general",
        "is_shared": foreign,
        "is_ext_shared": foreign,
        "is_org_shared": False,
        "is_member": workspace.bot_user_id in channel.members,
        "topic": {"value": channel.topic, "creator": "", "last_set": 0},
        "purpose": {"value": "", "creator": "", "last_set": 0},
        "num_members": len(channel.members),
    }


def group_json(workspace: Workspace, group: Group, *, users: bool, count: bool) -> Json:
    """The user group as `usergroups.list` shows it."""
    shown: Json = {
        "id": group.id,
        "team_id": workspace.team_id,
        "is_usergroup": True,
        "is_subteam": True,
        "name": group.name,
        "description": "",
        "handle": group.handle,
        "is_external": False,
        "date_create": 1700000000,
        "date_update": 1700000000,
        "date_delete": 1700000000 if group.disabled else 0,
    }
    if users:
        shown["users"] = list(group.users)
    if count:
        shown["user_count"] = len(group.users)
    return shown


def auth_test(workspace: Workspace, args: Args) -> Json:
    """auth.test"""
    return {
        "url": f"{workspace.handles.base_url}/",
        "team": workspace.team_name,
        "user": workspace.app_name,
        "team_id": workspace.team_id,
        "user_id": workspace.bot_user_id,
        "bot_id": workspace.bot_id,
        "is_enterprise_install": False,
    }


def api_test(workspace: Workspace, args: Args) -> Json:
    """api.test: answers its arguments, or fails with the `error` it was asked to fail with."""
    if args.text("error"):
        raise SlackError(args.text("error"), args=args.values)
    return {"args": args.values}


def team_info(workspace: Workspace, args: Args) -> Json:
    """team.info"""
    if args.text("team") not in ("", workspace.team_id):
        raise SlackError("team_not_found")
    return {
        "team": {
            "id": workspace.team_id,
            "name": workspace.team_name,
            "domain": workspace.team_domain,
            "email_domain": "",
            "url": f"{workspace.handles.base_url}/",
        }
    }


def bots_info(workspace: Workspace, args: Args) -> Json:
    """bots.info"""
    if args.text("bot") not in ("", workspace.bot_id):
        raise SlackError("bot_not_found")
    return {
        "bot": {
            "id": workspace.bot_id,
            "deleted": False,
            "name": workspace.app_name,
            "updated": 1700000000,
            "app_id": workspace.app_id,
            "user_id": workspace.bot_user_id,
        }
    }


def users_info(workspace: Workspace, args: Args) -> Json:
    """users.info"""
    user = workspace.users.get(args.text("user"))
    if user is None:
        raise SlackError("user_not_found")
    return {"user": user_json(workspace, user)}


def users_list(workspace: Workspace, args: Args) -> Json:
    """users.list"""
    page, following = args.page(list(workspace.users.values()), 1000)
    return {"members": [user_json(workspace, user) for user in page], "response_metadata": following}


def users_lookup_by_email(workspace: Workspace, args: Args) -> Json:
    """users.lookupByEmail: finds nobody who is deactivated."""
    email = args.need("email").lower()
    for user in workspace.users.values():
        if user.email.lower() == email and not user.deleted:
            return {"user": user_json(workspace, user)}
    raise SlackError("users_not_found")


def usergroups_list(workspace: Workspace, args: Args) -> Json:
    """usergroups.list"""
    wanted = [one for one in workspace.groups.values() if args.flag("include_disabled") or not one.disabled]
    users, count = args.flag("include_users"), args.flag("include_count")
    return {"usergroups": [group_json(workspace, one, users=users, count=count) for one in wanted]}


def usergroups_users_list(workspace: Workspace, args: Args) -> Json:
    """usergroups.users.list"""
    group = workspace.groups.get(args.text("usergroup"))
    if group is None or (group.disabled and not args.flag("include_disabled")):
        raise SlackError("no_such_subteam")
    return {"users": list(group.users)}


def conversations_info(workspace: Workspace, args: Args) -> Json:
    """conversations.info"""
    return {"channel": channel_json(workspace, find_channel(workspace, args.text("channel")))}


def conversations_members(workspace: Workspace, args: Args) -> Json:
    """conversations.members"""
    channel = find_channel(workspace, args.text("channel"))
    page, following = args.page(sorted(channel.members), 100)
    return {"members": page, "response_metadata": following}


def conversations_list(workspace: Workspace, args: Args) -> Json:
    """conversations.list: public channels unless `types` says more; private ones only where the app is in."""
    types = set((args.text("types") or "public_channel").replace(" ", "").split(","))
    if not types <= {"public_channel", "private_channel", "im", "mpim"}:
        raise SlackError("invalid_types")
    wanted = [
        channel
        for channel in workspace.channels.values()
        if _type(channel) in types
        and (not channel.is_private or workspace.bot_user_id in channel.members)
        and not (channel.is_archived and args.flag("exclude_archived"))
    ]
    page, following = args.page(wanted, 100)
    return {"channels": [channel_json(workspace, one) for one in page], "response_metadata": following}


def _type(channel: Channel) -> str:
    if channel.is_im:
        return "im"
    return "private_channel" if channel.is_private else "public_channel"


def conversations_open(workspace: Workspace, args: Args) -> Json:
    """conversations.open: the direct message with one person."""
    if args.text("channel"):
        channel = find_channel(workspace, args.text("channel"))
        return {"no_op": True, "already_open": True, "channel": {"id": channel.id}}
    users = [user for user in args.text("users").replace(" ", "").split(",") if user]
    if not users:
        raise SlackError("users_list_not_supplied")
    if len(users) > 1:
        raise SlackError("method_not_supported_for_channel_type")
    user = workspace.users.get(users[0])
    if user is None:
        raise SlackError("user_not_found")
    if user.deleted:
        raise SlackError("user_disabled")
    if user.is_bot:
        raise SlackError("cannot_dm_bot")
    already = "D" + user.id[1:] in workspace.channels
    channel = workspace.open_dm(user.id)
    shown = channel_json(workspace, channel) if args.flag("return_im") else {"id": channel.id}
    return {"channel": shown} | ({"no_op": True, "already_open": True} if already else {})


def conversations_join(workspace: Workspace, args: Args) -> Json:
    """conversations.join: public channels only."""
    channel = find_channel(workspace, args.text("channel"))
    if channel.is_private or channel.is_im:
        raise SlackError("method_not_supported_for_channel_type")
    if channel.is_archived:
        raise SlackError("is_archived")
    joined = replace(channel, members=channel.members | {workspace.bot_user_id})
    workspace.add_channel(joined)
    return {"channel": channel_json(workspace, joined)}


def _readable(workspace: Workspace, args: Args) -> Channel:
    channel = find_channel(workspace, args.text("channel"))
    if workspace.bot_user_id not in channel.members:
        raise SlackError("not_in_channel")
    return channel


def _bound(args: Args, name: str, default: str) -> Decimal:
    try:
        return order(args.text(name) or default)
    except ValueError as error:
        raise SlackError(f"invalid_ts_{name}") from error


def _between(args: Args, messages: list[Message]) -> list[Message]:
    oldest, latest = _bound(args, "oldest", "0"), _bound(args, "latest", "99999999999")
    if args.flag("inclusive"):
        return [one for one in messages if oldest <= order(one.ts) <= latest]
    return [one for one in messages if oldest < order(one.ts) < latest]


def _history(workspace: Workspace, args: Args, messages: list[Message], default_limit: int) -> Json:
    page, following = args.page(messages, default_limit)
    full = args.flag("include_all_metadata")
    answer: Json = {
        "messages": [message_json(workspace, one, all_metadata=full) for one in page],
        "has_more": bool(following["next_cursor"]),
    }
    if answer["has_more"]:
        answer["response_metadata"] = following
    return answer


def conversations_history(workspace: Workspace, args: Args) -> Json:
    """conversations.history: newest first, no replies; full metadata only with `include_all_metadata`."""
    channel = _readable(workspace, args)
    wanted = [one for one in workspace.everything_in(channel.id) if one.is_root or one.broadcast]
    return _history(workspace, args, _between(args, wanted)[::-1], 100)


def conversations_replies(workspace: Workspace, args: Args) -> Json:
    """conversations.replies: the root first, then its replies, oldest first."""
    channel = _readable(workspace, args)
    named = workspace.message(channel.id, args.text("ts"))
    root = workspace.message(channel.id, named.thread_ts or named.ts) if named else None
    if root is None:
        raise SlackError("thread_not_found")
    replies = _between(args, workspace.messages(channel.id, root.ts))
    return _history(workspace, args, [root, *replies], 1000)
