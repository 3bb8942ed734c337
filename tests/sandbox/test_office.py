from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from sandbox_app import in_socket_mode, small_app
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox import Sandbox


async def do(slack: Sandbox, http: aiohttp.ClientSession, deed: str, **body: Any) -> tuple[int, Any]:
    async with http.post(f"{slack.url}/sandbox/admin/{deed}", json=body) as answer:
        return answer.status, await answer.json()


async def refusal(client: AsyncWebClient, channel: str) -> str:
    with pytest.raises(SlackApiError) as refused:
        await client.chat_postMessage(channel=channel, text="Deploy?")
    return str(refused.value.response["error"])


async def test_what_an_administrator_does_reaches_the_app_as_slack_tells_it(
    slack: Sandbox, http: aiohttp.ClientSession
):
    app, _, client = small_app(slack)
    heard: list[dict[str, Any]] = []

    async def note(event: dict[str, Any]) -> None:
        heard.append(event)

    for kind in (
        *("channel_archive", "channel_deleted", "channel_left", "group_left", "member_left_channel"),
        *("user_change", "subteam_members_changed"),
    ):
        app.event(kind)(note)
    async with in_socket_mode(slack, app):
        ts = (await client.chat_postMessage(channel="C0GENERAL", text="Deploy?"))["ts"]
        await do(slack, http, "delete_message", channel="C0GENERAL", ts=ts)
        with pytest.raises(SlackApiError, match="message_not_found"):
            await client.chat_update(channel="C0GENERAL", ts=ts, text="Deployed")
        status, answer = await do(slack, http, "archive", channel="C0DEPLOYS")
        assert (status, answer["delivery"]["outcome"]) == (200, "acked")
        assert await refusal(client, "C0DEPLOYS") == "is_archived"
        await do(slack, http, "unarchive", channel="C0DEPLOYS")
        await do(slack, http, "remove", channel="C0DEPLOYS")
        assert await refusal(client, "C0DEPLOYS") == "not_in_channel"
        await do(slack, http, "invite", channel="C0DEPLOYS")
        await client.chat_postMessage(channel="C0DEPLOYS", text="Deploy?")
        await do(slack, http, "delete_channel", channel="C0DEPLOYS")
        assert await refusal(client, "C0DEPLOYS") == "channel_not_found"
        await do(slack, http, "invite", channel="C0PRIVATE")
        await do(slack, http, "remove", channel="C0PRIVATE")
        await do(slack, http, "deactivate", user="U0BOB")
        await do(slack, http, "set_group", group="S0SRE", users=["U0ALICE", "U0DAVE"])
    told = [(one["type"], one.get("channel") or one.get("subteam_id") or one["user"]["id"]) for one in heard]
    assert told == [
        ("channel_archive", "C0DEPLOYS"),
        ("channel_left", "C0DEPLOYS"),
        ("member_left_channel", "C0DEPLOYS"),
        ("channel_deleted", "C0DEPLOYS"),
        ("group_left", "C0PRIVATE"),
        ("member_left_channel", "C0PRIVATE"),
        ("user_change", "U0BOB"),
        ("subteam_members_changed", "S0SRE"),
    ]
    assert heard[-2]["user"]["deleted"] is True
    assert (heard[-1]["added_users"], heard[-1]["removed_users"]) == (["U0DAVE"], ["U0BOB"])


async def test_bad_days_can_be_ordered_through_doors(
    slack: Sandbox, http: aiohttp.ClientSession, client: AsyncWebClient
):
    await do(slack, http, "revoke_token")
    assert await refusal(client, "C0DEPLOYS") == "token_revoked"
    await do(slack, http, "revoke_token", revoked=False)
    await do(slack, http, "fault", method="chat.postMessage", kind="error:restricted_action")
    assert await refusal(client, "C0DEPLOYS") == "restricted_action"
    await do(slack, http, "fault", method="chat.postMessage", kind="ratelimited", times=9)
    await do(slack, http, "calm")
    await client.chat_postMessage(channel="C0DEPLOYS", text="Deploy?")
    await do(slack, http, "duplicate", copies=2)
    assert slack.faults.take_duplicates() == 2
    await do(slack, http, "deadline", seconds=0.5)
    assert slack.deadline == 0.5
    assert (await do(slack, http, "disconnect", reason="warning"))[0] == 200


@pytest.mark.parametrize(
    ("deed", "body"),
    [
        ("archive", {"channel": "C0NOWHERE"}),
        ("archive", {}),
        ("fault", {"method": "chat.update", "kind": "nonsense"}),
        ("fault", {"method": "chat.update", "kind": "hold_after_store"}),
    ],
)
async def test_what_an_administrator_cannot_do_is_said(
    slack: Sandbox, http: aiohttp.ClientSession, deed: str, body: dict[str, Any]
):
    status, answer = await do(slack, http, deed, **body)
    assert (status, answer["ok"]) == (400, False)
    assert answer["error"]
