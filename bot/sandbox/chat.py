"""chat.* and reactions.add, and what an answer to a response URL does to a channel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bot.sandbox.limits import POST_TEXT, UPDATE_TEXT, message_blocks, metadata_body
from bot.sandbox.refusals import Json, SlackError

if TYPE_CHECKING:
    from bot.sandbox.args import Args
    from bot.sandbox.handles import ResponseUrl
    from bot.sandbox.records import Channel, Message
    from bot.sandbox.workspace import Workspace


def message_json(workspace: Workspace, message: Message, *, all_metadata: bool = True) -> Json:
    """The message as Slack shows it to the app; without `all_metadata` only its event type is told."""
    shown: Json = {
        "type": "message",
        "user": message.user,
        "ts": message.ts,
        "text": message.text,
        "team": workspace.team_id,
    }
    if message.app:
        shown |= {"bot_id": workspace.bot_id, "app_id": workspace.app_id}
    if message.blocks:
        shown["blocks"] = message.blocks
    if message.metadata is not None:
        shown["metadata"] = (
            message.metadata if all_metadata else {"event_type": message.metadata["event_type"]}
        )
    if message.edited:
        shown["edited"] = {"user": message.user, "ts": message.ts}
    replies = workspace.messages(message.channel, message.ts)
    if replies:
        shown |= {
            "thread_ts": message.ts,
            "reply_count": len(replies),
            "reply_users": sorted({reply.user for reply in replies}),
            "latest_reply": replies[-1].ts,
        }
    if message.thread_ts is not None:
        shown["thread_ts"] = message.thread_ts
    if message.reactions:
        names = dict.fromkeys(name for name, _ in message.reactions)
        shown["reactions"] = [
            {"name": name, "users": users, "count": len(users)}
            for name in names
            for users in [[user for one, user in message.reactions if one == name]]
        ]
    return shown


def find_channel(workspace: Workspace, name: str) -> Channel:
    """The channel by id or #name; SlackError `channel_not_found` also for a private one without the app."""
    channel = workspace.channels.get(name)
    if channel is None and name.startswith("#"):
        channel = next((one for one in workspace.channels.values() if one.name == name[1:]), None)
    hidden = channel is not None and (channel.is_private or channel.is_im)
    if channel is None or (hidden and workspace.bot_user_id not in channel.members):
        raise SlackError("channel_not_found")
    return channel


def _may_speak(workspace: Workspace, channel: Channel) -> bool:
    return workspace.bot_user_id in channel.members or "chat:write.public" in workspace.scopes


def _place_to_post(workspace: Workspace, name: str) -> Channel:
    """Where a message of the app may go."""
    if name in workspace.users:
        # Slack opens the direct message by itself. A deactivated person counting as not found is our reading.
        if workspace.users[name].deleted or workspace.users[name].is_bot:
            raise SlackError("channel_not_found")
        return workspace.open_dm(name)
    channel = find_channel(workspace, name)
    if channel.is_archived:
        raise SlackError("is_archived")
    if not _may_speak(workspace, channel):
        raise SlackError("not_in_channel")
    return channel


def _content(workspace: Workspace, args: Args) -> tuple[str, list[Json]]:
    blocks = args.tree("blocks", "invalid_blocks_format")
    stored = message_blocks(blocks, workspace.new_id) if blocks else []
    if not stored and not args.text("text"):
        raise SlackError("no_text")
    return args.text("text"), stored


def post_message(workspace: Workspace, args: Args) -> Json:
    """chat.postMessage"""
    channel = _place_to_post(workspace, args.text("channel"))
    text, blocks = _content(workspace, args)
    metadata = args.tree("metadata", "invalid_metadata_format")
    message = workspace.post(
        channel=channel.id,
        user=workspace.bot_user_id,
        text=text[:POST_TEXT],
        blocks=blocks,
        metadata=None if metadata is None else metadata_body(metadata),
        thread_ts=args.text("thread_ts") or None,
        broadcast=args.flag("reply_broadcast"),
    )
    shown = message_json(workspace, message)
    return {"channel": channel.id, "ts": message.ts, "message": shown}


def update(workspace: Workspace, args: Args) -> Json:
    """chat.update: text without blocks removes the blocks, blocks without text leave no text."""
    channel = find_channel(workspace, args.text("channel"))
    message = workspace.message(channel.id, args.text("ts"))
    if message is None:
        raise SlackError("message_not_found")
    if message.user != workspace.bot_user_id:
        raise SlackError("cant_update_message")
    if channel.is_archived:
        raise SlackError("is_inactive")
    if not _may_speak(workspace, channel):
        raise SlackError("not_in_channel")
    if len(args.text("text")) > UPDATE_TEXT:
        raise SlackError("msg_too_long")
    text, blocks = _content(workspace, args)
    metadata = message.metadata
    if args.has("metadata"):
        metadata = metadata_body(args.tree("metadata", "invalid_metadata_format"))
    # With blocks Slack shows no "(edited)".
    edited = message.edited or not blocks
    changed = workspace.put(replace(message, text=text, blocks=blocks, metadata=metadata, edited=edited))
    shown = message_json(workspace, changed)
    return {"channel": channel.id, "ts": changed.ts, "text": changed.text, "message": shown}


def delete(workspace: Workspace, args: Args) -> Json:
    """chat.delete: own messages only."""
    channel = find_channel(workspace, args.text("channel"))
    message = workspace.message(channel.id, args.text("ts"))
    if message is None:
        raise SlackError("message_not_found")
    if message.user != workspace.bot_user_id:
        raise SlackError("cant_delete_message")
    workspace.delete_message(channel.id, message.ts)
    return {"channel": channel.id, "ts": message.ts}


def post_ephemeral(workspace: Workspace, args: Args) -> Json:
    """chat.postEphemeral: only to members of the channel."""
    channel = _place_to_post(workspace, args.text("channel"))
    user = args.need("user")
    if user not in workspace.users or user not in channel.members:
        raise SlackError("user_not_in_channel")
    text, blocks = _content(workspace, args)
    if len(text) > POST_TEXT:
        raise SlackError("msg_too_long")
    shown = workspace.whisper(
        user=user, channel=channel.id, text=text, blocks=blocks, thread_ts=args.text("thread_ts") or None
    )
    return {"message_ts": shown.ts}


def get_permalink(workspace: Workspace, args: Args) -> Json:
    """chat.getPermalink: an address of the sandbox's own page."""
    channel = find_channel(workspace, args.text("channel"))
    message = workspace.message(channel.id, args.text("message_ts"))
    if message is None:
        raise SlackError("message_not_found")
    link = f"{workspace.handles.base_url}/archives/{channel.id}/p{message.ts.replace('.', '')}"
    if not message.is_root:
        link += f"?thread_ts={message.thread_ts}&cid={channel.id}"
    return {"channel": channel.id, "permalink": link}


def add_reaction(workspace: Workspace, args: Args) -> Json:
    """reactions.add"""
    channel = find_channel(workspace, args.text("channel"))
    message = workspace.message(channel.id, args.text("timestamp"))
    if message is None:
        raise SlackError("message_not_found")
    name = args.text("name").strip(":")
    if not name:
        raise SlackError("invalid_name")
    if (name, workspace.bot_user_id) in message.reactions:
        raise SlackError("already_reacted")
    workspace.put(replace(message, reactions=(*message.reactions, (name, workspace.bot_user_id))))
    return {}


def respond(workspace: Workspace, url: ResponseUrl, args: Args) -> None:
    """What one answer to a response URL does: a new private message unless it says otherwise.

    `replace_original` is without effect for slash commands (slackapi/bolt-js#2287): a new message comes.
    Posting asks for no membership. Raises SlackError when the content breaks a limit.
    """
    old_message = workspace.message(url.channel, url.ts) if url.source == "message" and url.ts else None
    old_whisper = workspace.ephemeral(url.user, url.ts) if url.source == "ephemeral" and url.ts else None
    if args.flag("delete_original"):
        if old_message is not None:
            workspace.delete_message(url.channel, old_message.ts)
        elif old_whisper is not None:
            workspace.replace_ephemeral(old_whisper, None)
        return
    text, blocks = _content(workspace, args)
    if args.flag("replace_original") and old_message is not None:
        workspace.put(replace(old_message, text=text, blocks=blocks, edited=old_message.edited or not blocks))
    elif args.flag("replace_original") and old_whisper is not None:
        workspace.replace_ephemeral(old_whisper, replace(old_whisper, text=text, blocks=blocks))
    elif args.text("response_type") == "in_channel":
        workspace.post(
            channel=url.channel,
            user=workspace.bot_user_id,
            text=text[:POST_TEXT],
            blocks=blocks,
            thread_ts=args.text("thread_ts") or None,
        )
    else:
        thread_ts = args.text("thread_ts") or url.thread_ts
        workspace.whisper(user=url.user, channel=url.channel, text=text, blocks=blocks, thread_ts=thread_ts)
