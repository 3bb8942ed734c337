from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from sandbox_app import CARD, in_socket_mode, plain, small_app

from bot.sandbox import Sandbox
from bot.sandbox.journal import masked

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient


async def state(slack: Sandbox, http: aiohttp.ClientSession, me: str, **query: str) -> dict[str, Any]:
    async with http.get(f"{slack.url}/sandbox/state", params={"as": me, **query}) as answer:
        assert answer.status == 200
        return dict(await answer.json())


async def do(
    slack: Sandbox, http: aiohttp.ClientSession, door: str, **body: Any
) -> tuple[int, dict[str, Any]]:
    async with http.post(f"{slack.url}/sandbox/{door}", json=body) as answer:
        return answer.status, await answer.json()


async def test_the_whole_day_of_a_person_goes_through_the_doors(slack: Sandbox, http: aiohttp.ClientSession):
    app, ran, client = small_app(slack)
    async with in_socket_mode(slack, app):
        ts = (await client.chat_postMessage(channel="C0DEPLOYS", text="Deploy?", blocks=CARD))["ts"]
        card = {"as": "U0ALICE", "channel": "C0DEPLOYS", "ts": ts, "block_id": "decide"}
        status, answer = await do(slack, http, "click", **card, action_id="reject")
        assert (status, answer["ok"], answer["delivery"]["outcome"]) == (200, True, "acked")
        (modal,) = (await state(slack, http, "U0ALICE"))["modals"]
        assert (modal["title"], modal["submit"], modal["values"]) == (
            "Reject deploy",
            "Reject",
            {"why": {"text": None}},
        )
        form = {"as": "U0ALICE", "view_id": modal["id"]}
        _, answer = await do(slack, http, "view/submit", **form, values={"why": {"text": "short"}})
        assert answer["delivery"]["response"]["response_action"] == "errors"
        (modal,) = (await state(slack, http, "U0ALICE"))["modals"]
        assert (modal["errors"], modal["values"]) == (
            {"why": "Say more, please."},
            {"why": {"text": "short"}},
        )
        assert (await do(slack, http, "view/close", **form))[1] == {"ok": True, "delivery": None}
        await do(
            slack, http, "slash", **{"as": "U0ALICE"}, channel="C0DEPLOYS", command="/signoff", text="runs"
        )
        await do(slack, http, "say", **{"as": "U0BOB"}, channel="C0DEPLOYS", text="why?", thread_ts=ts)
        await do(slack, http, "home", **{"as": "U0ALICE"})
        await slack.wait_for(lambda: slack.home("U0ALICE"))
    seen = await state(slack, http, "U0ALICE")
    assert seen["home"]["blocks"][0]["text"]["text"] == "Nothing to decide"
    assert [(one["text"], one["thread_ts"]) for one in seen["messages"]["C0DEPLOYS"]] == [
        ("Deploy?", None),
        ("why?", ts),
    ]
    assert seen["messages"]["C0DEPLOYS"][0]["reply_count"] == 1
    (private,) = seen["ephemerals"]
    assert private["text"] == "You asked for runs"
    await do(slack, http, "ephemeral/dismiss", **{"as": "U0ALICE"}, id=private["id"])
    assert (await state(slack, http, "U0ALICE"))["ephemerals"] == []
    assert ran["reject"] == 1


async def test_the_log_tells_both_directions_and_no_secrets(slack: Sandbox, http: aiohttp.ClientSession):
    app, _, client = small_app(slack)
    async with in_socket_mode(slack, app):
        ts = (
            await client.chat_postMessage(channel="C0DEPLOYS", text=f"never {slack.bot_token}", blocks=CARD)
        )["ts"]
        await slack.click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="approve")
        await slack.wait_for(lambda: slack.messages("C0DEPLOYS")[0].text.startswith("Approved"))
    log = (await state(slack, http, "U0ALICE"))["log"]
    lines = [(one["direction"], one["kind"], one["who"], one["summary"], one["outcome"]) for one in log]
    assert ("to_app", "interactive", "U0ALICE", "Alice clicked Approve", "acked") in lines
    assert ("from_app", "chat.update", "U0SIGNOFF", "chat.update C0DEPLOYS", "ok") in lines
    words = json.dumps(log)
    assert slack.bot_token not in words
    assert slack.app_token not in words
    assert "/actions/" not in words
    assert log == sorted(log, key=lambda one: one["id"])


def test_secrets_are_masked_wherever_they_stand():
    told = {
        "a": ["see http://127.0.0.1:1/commands/0a1b and xapp-1-A-b"],
        "token": "x",
        "response_url": "y",
        "n": 1,
    }
    assert masked(told) == {
        "a": ["see [masked] and [masked]"],
        "token": "[masked]",
        "response_url": "[masked]",
        "n": 1,
    }


async def test_each_person_sees_their_own_channels_messages_and_buttons(
    slack: Sandbox, client: AsyncWebClient, http: aiohttp.ClientSession
):
    for_bob = [
        {
            "type": "actions",
            "elements": [
                {"type": "button", "action_id": "go", "text": plain("Go"), "visible_to_user_ids": ["U0BOB"]}
            ],
        }
    ]
    await client.chat_postMessage(channel="C0DEPLOYS", text="x", blocks=for_bob)
    await client.chat_postMessage(channel="U0BOB", text="psst")
    await client.chat_postEphemeral(channel="C0DEPLOYS", user="U0BOB", text="for Bob")
    bob, guest = await state(slack, http, "U0BOB"), await state(slack, http, "U0GUEST")
    assert {one["id"] for one in bob["channels"]} == {"C0DEPLOYS", "C0GENERAL", "C0PRIVATE", "C0OLD", "D0BOB"}
    assert {one["id"] for one in guest["channels"]} == {"C0DEPLOYS", "C0GENERAL"}
    assert set(guest["messages"]) == {"C0DEPLOYS", "C0GENERAL"}
    assert len(bob["messages"]["C0DEPLOYS"][0]["blocks"]) == 1
    assert guest["messages"]["C0DEPLOYS"][0]["blocks"] == []
    assert ([one["text"] for one in bob["ephemerals"]], guest["ephemerals"]) == (["for Bob"], [])


async def test_unread_messages_are_counted_until_the_channel_is_open(
    slack: Sandbox, client: AsyncWebClient, http: aiohttp.ClientSession
):
    async def unread(**query: str) -> int:
        channels = (await state(slack, http, "U0ALICE", **query))["channels"]
        return next(int(one["unread"]) for one in channels if one["id"] == "C0DEPLOYS")

    await client.chat_postMessage(channel="C0DEPLOYS", text="x")
    assert await unread() == 1
    assert await unread(channel="C0DEPLOYS") == 0
    await client.chat_postMessage(channel="C0DEPLOYS", text="x")
    assert await unread() == 1


async def test_the_state_says_who_is_here_how_the_app_is_reached_and_what_it_offers(
    slack: Sandbox, http: aiohttp.ClientSession
):
    seen = await state(slack, http, "")
    assert seen["me"] == "U0ALICE"
    assert seen["app"] == {
        "id": "A0SIGNOFF",
        "name": "signoff",
        "bot_user_id": "U0SIGNOFF",
        "connected": False,
        "mode": "socket",
    }
    assert seen["team"] == {"id": "T0SANDBOX", "name": "Acme", "domain": "acme"}
    assert [one["command"] for one in seen["commands"]] == ["/signoff"]
    assert {one["id"]: one["deleted"] for one in seen["users"]}["U0ZOE"] is True
    slack.request_url = "http://127.0.0.1:1/"
    assert (await state(slack, http, "U0BOB"))["app"]["mode"] == "http"


async def test_changes_are_streamed_as_versions(
    slack: Sandbox, client: AsyncWebClient, http: aiohttp.ClientSession
):
    async with http.get(f"{slack.url}/sandbox/events", params={"as": "U0ALICE"}) as stream:
        assert stream.content_type == "text/event-stream"

        async def version() -> int:
            async with asyncio.timeout(5):
                line = await stream.content.readline()
                assert await stream.content.readline() == b"\n"
            return int(json.loads(line.removeprefix(b"data: "))["version"])

        first = await version()
        await client.chat_postMessage(channel="C0DEPLOYS", text="x")
        assert await version() > first


async def test_an_open_stream_does_not_hold_up_the_end(http: aiohttp.ClientSession):
    slack = Sandbox()
    await slack.start()
    async with http.get(f"{slack.url}/sandbox/events", params={"as": "U0ALICE"}) as stream:
        await stream.content.readline()
        async with asyncio.timeout(3):
            await slack.stop()
            assert (await stream.content.read()) is not None
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.get(f"{slack.url}/sandbox/state")


async def test_a_failed_click_shows_a_warning_that_can_be_dismissed(
    slack: Sandbox, client: AsyncWebClient, http: aiohttp.ClientSession
):
    ts = (await client.chat_postMessage(channel="C0DEPLOYS", text="x", blocks=CARD))["ts"]
    click = {"as": "U0ALICE", "channel": "C0DEPLOYS", "ts": ts, "action_id": "approve"}
    _, answer = await do(slack, http, "click", **click)
    assert answer["delivery"]["outcome"] == "no_connection"
    (toast,) = (await state(slack, http, "U0ALICE"))["toasts"]
    assert "did not respond" in toast["text"]
    await do(slack, http, "toast/dismiss", **{"as": "U0BOB"}, id=toast["id"])
    assert len((await state(slack, http, "U0ALICE"))["toasts"]) == 1
    await do(slack, http, "toast/dismiss", **{"as": "U0ALICE"}, id=toast["id"])
    assert (await state(slack, http, "U0ALICE"))["toasts"] == []


@pytest.mark.parametrize(
    ("door", "body", "sentence"),
    [
        ("click", {"as": "U0NOBODY"}, "no user"),
        ("click", {}, "as is missing"),
        ("click", {"as": "U0ALICE", "channel": "C0DEPLOYS", "ts": "1.1", "action_id": "x"}, "no message"),
        ("view/submit", {"as": "U0ALICE", "view_id": "V1"}, "does not have view"),
        ("view/submit", {"as": "U0ALICE", "view_id": "V1", "values": []}, "does not have view"),
        ("view/submit", {"as": "U0ALICE", "view_id": "V1", "values": [1]}, "values is not"),
        ("slash", {"as": "U0ALICE", "channel": "C0DEPLOYS", "command": "/rm"}, "/rm is not a valid command"),
        ("say", {"as": "U0GUEST", "channel": "C0PRIVATE", "text": "hi"}, "cannot see"),
        ("say", {"as": "U0ALICE", "channel": "C0OLD", "text": "hi"}, "archived"),
        ("say", {"as": "U0ALICE", "channel": "C0DEPLOYS", "text": ""}, "text is missing"),
    ],
)
async def test_what_cannot_be_done_is_told_in_a_sentence(
    slack: Sandbox, http: aiohttp.ClientSession, door: str, body: dict[str, Any], sentence: str
):
    status, answer = await do(slack, http, door, **body)
    assert (status, answer["ok"]) == (400, False)
    assert sentence in answer["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.test"}, 403),
        ({"Host": "evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({}, 400),
    ],
)
async def test_foreign_pages_cannot_act(
    slack: Sandbox, http: aiohttp.ClientSession, headers: dict[str, str], status: int
):
    sent = {"Content-Type": "application/json", **headers}
    async with http.post(f"{slack.url}/sandbox/say", data=b"{", headers=sent) as answer:
        assert answer.status == status


async def test_a_rebound_name_cannot_read(slack: Sandbox, http: aiohttp.ClientSession):
    for path in ("/sandbox/state", "/sandbox/events", "/"):
        async with http.get(f"{slack.url}{path}", headers={"Host": "evil.test"}) as answer:
            assert answer.status == 403
    async with http.get(f"{slack.url}/sandbox/state", headers={"Host": f"localhost:{slack.port}"}) as answer:
        assert answer.status == 200


async def test_the_page_and_its_files_are_served_with_a_strict_policy(
    slack: Sandbox, http: aiohttp.ClientSession
):
    for path, kind in (
        ("/", "text/html"),
        ("/page/page.js", "text/javascript"),
        ("/page/style.css", "text/css"),
    ):
        async with http.get(f"{slack.url}{path}") as answer:
            assert (answer.status, answer.content_type) == (200, kind)
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    for path in ("/page/..%2Fserver.py", "/page/.hidden", "/page/none.js", "/page/%2Fetc%2Fpasswd"):
        async with http.get(f"{slack.url}{path}") as answer:
            assert answer.status == 404


async def test_a_condition_that_never_holds_tells_what_was_on_screen(slack: Sandbox, client: AsyncWebClient):
    await client.chat_postMessage(channel="C0DEPLOYS", text="the card")
    with pytest.raises(TimeoutError, match="the card"):
        await slack.wait_for(lambda: slack.messages("C0DEPLOYS")[1], timeout=0.1)
