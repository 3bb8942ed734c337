"""``signoff check``: every thing that can be wrong, looked at for real, each with what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from aiohttp import ClientError, ClientSession, ClientTimeout
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from graph_runtime import CompiledGraph, Outbox, Store, StoreError, open_store

from .config import ConfigError, Settings, load_settings
from .launches import load_launches
from .policies import schedules_of
from .replies import error_code
from .text import is_slack_id
from .wiring import learn_identity, open_runtime, slack_client

#: What the bot calls needs these scopes; manifest.yml asks for them.
SCOPES = frozenset(
    {
        "channels:history",
        "channels:read",
        "chat:write",
        "commands",
        "groups:history",
        "groups:read",
        "im:history",
        "im:write",
        "usergroups:read",
        "users:read",
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    good: bool
    said: str
    #: Whether it works as it is, and may still not be what is wanted.
    warns: bool = False


async def check_all(config: str | None) -> list[Finding]:
    """Return what was found, in order; it stops where the next look would make no sense."""
    try:
        settings = load_settings(config)
    except ConfigError as error:
        return [Finding("settings", good=False, said=str(error))]
    found = [Finding("settings", good=True, said="readable")]
    async for finding in _look(settings):
        found.append(finding)  # noqa: PERF401 - an async generator
    return found


async def _look(settings: Settings) -> AsyncIterator[Finding]:
    try:
        graphs = settings.load_graphs()
        yield Finding(
            "graphs", good=True, said=", ".join(f"{g.name} (version {g.plan.version})" for g in graphs)
        )
        if settings.commands:
            yield _look_at_commands(settings, graphs)
    except ConfigError as error:
        yield Finding("graphs", good=False, said=str(error))
    yield Finding("policies", good=True, said=", ".join(settings.policies))
    yield _look_at_operators(settings)
    try:
        async with open_store(settings.database, migrate=False) as store:
            facts = await store.check()
            untold = await _look_at_outbox(settings, store)
        good = facts.get("intact", "ok") == "ok" and facts["durable"].startswith("yes")
        yield Finding("database", good=good, said=", ".join(f"{k} {v}" for k, v in facts.items()))
        if untold is not None:
            yield untold
    except (StoreError, OSError, ValueError) as error:
        yield Finding("database", good=False, said=str(error))
    yield _sealing(settings)
    try:
        settings.need_slack(takes=True)
    except ConfigError as error:
        yield Finding("slack settings", good=False, said=str(error))
        return
    async with ClientSession(timeout=ClientTimeout(total=10)) as session:
        client = slack_client(settings, session)
        try:
            async for finding in _look_at_slack(settings, client):
                yield finding
        except (ClientError, OSError, TimeoutError) as error:
            yield Finding("slack", good=False, said=f"{settings.slack.api_url} did not answer: {error}")


def _look_at_operators(settings: Settings) -> Finding:
    found = list(dict.fromkeys(settings.operators))
    if len(found) > 1:
        return Finding("operators", good=True, said=", ".join(found))
    said = f"only {found[0]}" if found else "none"
    return Finding("operators", good=True, said=f"{said}: it takes two to end a freeze in Slack", warns=True)


def _look_at_commands(settings: Settings, graphs: Sequence[CompiledGraph]) -> Finding:
    try:
        launches = load_launches(settings, {graph.name: graph.plan for graph in graphs})
    except ConfigError as error:
        return Finding("commands", good=False, said=str(error))
    return Finding("commands", good=True, said=", ".join(launch.command for launch in launches))


async def _look_at_slack(settings: Settings, client: AsyncWebClient) -> AsyncIterator[Finding]:
    try:
        identity = await learn_identity(client)
    except ConfigError as error:
        yield Finding("slack", good=False, said=str(error))
        return
    yield Finding("slack", good=True, said=f"app {identity.app} in workspace {identity.workspace}")
    granted = (await client.auth_test()).headers.get("x-oauth-scopes", "")
    missing = SCOPES - {scope.strip() for scope in granted.split(",")}
    said = f"missing {', '.join(sorted(missing))}: install the app again from manifest.yml"
    yield Finding("scopes", good=not missing, said=said if missing else "all there")
    channels = {p.channel or settings.slack.channel for p in settings.policies.values()}
    channels |= {settings.slack.fallback_channel} - {""}
    channels |= {rule.channel for p in settings.policies.values() for rule in p.every_rule if rule.channel}
    channels |= {p.escalate.notify for p in settings.policies.values() if p.escalate and p.escalate.notify}
    for channel in sorted(channels):
        yield await _look_at_channel(client, channel)
    for group in sorted(_groups_of(settings)):
        yield await _look_at_group(client, group)
    if settings.slack.mode == "socket":
        opener = AsyncWebClient(token=settings.app_token.get_secret_value(), base_url=settings.slack.api_url)
        try:
            await opener.apps_connections_open(app_token=settings.app_token.get_secret_value())
            yield Finding("socket mode", good=True, said="a connection can be opened")
        except SlackApiError as error:
            yield Finding("socket mode", good=False, said=f"SLACK_APP_TOKEN: {error_code(error)}")


async def _look_at_outbox(settings: Settings, store: Store) -> Finding | None:
    try:
        parked = (await Outbox(open_runtime(settings, store)).count()).get("parked", 0)
    except ConfigError:
        return None  # the graphs are wrong, which is said already
    said = f"{parked} given up: 'signoff outbox list' says why" if parked else "nothing was given up"
    return Finding("outbox", good=not parked, said=said)


def _groups_of(settings: Settings) -> set[str]:
    """Return every user group that a policy asks, by itself or as a schedule's."""
    rules = [rule for policy in settings.policies.values() for rule in policy.every_rule]
    groups = {str(ref) for rule in rules for ref in rule.refs if ":" not in ref}
    told = {p.escalate.to for p in settings.policies.values() if p.escalate}
    groups |= {one for one in told if is_slack_id(one, "S")}
    groups |= {str(group) for command in settings.commands.values() for group in command.groups}
    return groups | {settings.on_call[name] for name in schedules_of(settings.policies.values())}


async def _look_at_channel(client: AsyncWebClient, channel: str) -> Finding:
    try:
        info = (await client.conversations_info(channel=channel))["channel"]
    except SlackApiError as error:
        code = error_code(error)
        return Finding(f"channel {channel}", good=False, said=f"{code}: check the id, or invite the bot")
    if info.get("is_archived"):
        return Finding(f"channel {channel}", good=False, said="it is archived: choose another")
    if not info.get("is_member"):
        return Finding(f"channel {channel}", good=False, said=f"invite the bot to #{info.get('name')}")
    return Finding(f"channel {channel}", good=True, said=f"#{info.get('name')}")


async def _look_at_group(client: AsyncWebClient, group: str) -> Finding:
    try:
        users = (await client.usergroups_users_list(usergroup=group))["users"]
    except SlackApiError as error:
        return Finding(f"group {group}", good=False, said=f"{error_code(error)}: check the id")
    if not users:
        return Finding(f"group {group}", good=False, said="it has no members, so nobody could decide")
    return Finding(f"group {group}", good=True, said=f"{len(users)} members")


def _sealing(settings: Settings) -> Finding:
    said = settings.journal
    if not said.keys:
        return Finding("journal", good=True, said="not sealed: there is no journal key")
    anchor = "no anchor: an end that is cut off would not show" if not said.anchor else "with an anchor"
    return Finding("journal", good=True, said=f"sealed with key {said.current}, {anchor}")
