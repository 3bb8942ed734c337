from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any


def post(client: AsyncWebClient) -> Awaitable[Any]:
    return client.chat_postMessage(channel="C0DEPLOYS", text="Deploy?")


async def test_a_dropped_answer_leaves_the_message_stored(slack: Sandbox, client: AsyncWebClient):
    slack.faults.add(Fault(method="chat.postMessage", kind="drop_after_store"))
    with pytest.raises(aiohttp.ClientError):
        await post(client)
    assert len(slack.messages("C0DEPLOYS")) == 1
    await post(client)
    assert len(slack.messages("C0DEPLOYS")) == 2
    assert [line.outcome for line in slack.log] == ["drop_after_store", "ok"]


async def test_the_sdks_default_retry_posts_twice_after_a_dropped_answer(slack: Sandbox):
    slack.faults.add(Fault(method="chat.postMessage", kind="drop_after_store"))
    await post(AsyncWebClient(token=slack.bot_token, base_url=f"{slack.url}/api/"))
    assert len(slack.messages("C0DEPLOYS")) == 2


async def test_a_dropped_request_stores_nothing(slack: Sandbox, client: AsyncWebClient):
    slack.faults.add(Fault(method="chat.postMessage", kind="drop_before_store"))
    with pytest.raises(aiohttp.ClientError):
        await post(client)
    assert slack.messages("C0DEPLOYS") == []


async def test_a_rate_limit_says_when_to_come_back(slack: Sandbox, client: AsyncWebClient):
    slack.faults.add(Fault(method="chat.postMessage", kind="ratelimited", retry_after=7, times=2))
    for _ in range(2):
        with pytest.raises(SlackApiError) as refused:
            await post(client)
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["Retry-After"] == "7"
    await post(client)
    assert len(slack.messages("C0DEPLOYS")) == 1


async def test_the_sdks_rate_limit_retry_gets_through(slack: Sandbox):
    retry = AsyncRateLimitErrorRetryHandler(max_retry_count=1)
    client = AsyncWebClient(token=slack.bot_token, base_url=f"{slack.url}/api/", retry_handlers=[retry])
    slack.faults.add(Fault(method="chat.postMessage", kind="ratelimited", retry_after=0))
    await post(client)
    assert [line.outcome for line in slack.log] == ["ratelimited", "ok"]


@pytest.mark.parametrize("status", ["500", "503"])
async def test_a_server_error_has_its_status_and_stores_nothing(
    slack: Sandbox, client: AsyncWebClient, status: str
):
    slack.faults.add(Fault(method="chat.postMessage", kind=status))
    with pytest.raises(SlackApiError) as refused:
        await post(client)
    assert refused.value.response.status_code == int(status)
    assert slack.messages("C0DEPLOYS") == []
    assert slack.log[-1].outcome == f"http_{status}"


async def test_any_slack_error_can_be_ordered_for_any_method(slack: Sandbox, client: AsyncWebClient):
    slack.faults.add(Fault(method="*", kind="error:token_revoked"))
    with pytest.raises(SlackApiError) as refused:
        await client.auth_test()
    assert refused.value.response["error"] == "token_revoked"
    await client.auth_test()


async def test_an_answer_can_be_held_back_until_the_app_is_gone(slack: Sandbox, client: AsyncWebClient):
    hold = asyncio.Event()
    slack.faults.add(Fault(method="chat.postMessage", kind="hold_after_store", hold=hold))
    posting = asyncio.ensure_future(post(client))
    await slack.wait_for(lambda: slack.messages("C0DEPLOYS"))
    assert not posting.done()
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)
    await slack.wait_for(lambda: slack.log[-1].outcome == "hold_after_store")
    assert len(slack.messages("C0DEPLOYS")) == 1


async def test_a_held_answer_comes_once_it_is_let_go(slack: Sandbox, client: AsyncWebClient):
    hold = asyncio.Event()
    slack.faults.add(Fault(method="chat.postMessage", kind="hold_after_store", hold=hold))
    posting = asyncio.ensure_future(post(client))
    (stored,) = await slack.wait_for(lambda: slack.messages("C0DEPLOYS"))
    hold.set()
    assert (await posting)["ts"] == stored.ts


async def test_an_answer_that_never_comes_runs_into_the_clients_timeout(slack: Sandbox):
    slack.faults.add(Fault(method="chat.postMessage", kind="timeout_after_store"))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as session:
        client = AsyncWebClient(
            token=slack.bot_token, base_url=f"{slack.url}/api/", session=session, retry_handlers=[]
        )
        with pytest.raises(TimeoutError):
            await post(client)
    assert len(slack.messages("C0DEPLOYS")) == 1


async def test_response_urls_fail_on_order_too(slack: Sandbox, http: aiohttp.ClientSession):
    url = slack.workspace.handles.issue_response_url(user="U0ALICE", channel="C0GENERAL", source="command")
    slack.faults.add(Fault(method="response_url", kind="503"))
    async with http.post(url, json={"text": "x"}) as answer:
        assert answer.status == 503
    async with http.post(url, json={"text": "x"}) as answer:
        assert answer.status == 200
    assert len(slack.ephemerals("U0ALICE")) == 1


async def test_the_sandbox_stops_while_answers_are_held_back():
    async with Sandbox() as slack, asyncio.TaskGroup() as tasks:
        client = AsyncWebClient(token=slack.bot_token, base_url=f"{slack.url}/api/", retry_handlers=[])
        slack.faults.add(Fault(method="chat.postMessage", kind="hold_after_store", hold=asyncio.Event()))
        slack.faults.add(Fault(method="chat.postMessage", kind="timeout_after_store"))
        posting = [tasks.create_task(_swallowing(post(client))) for _ in range(2)]
        await slack.wait_for(lambda: len(slack.messages("C0DEPLOYS")) == 2)
        await slack.stop()
    assert all(task.done() for task in posting)


async def _swallowing(call: Awaitable[Any]) -> None:
    try:
        await call
    except (aiohttp.ClientError, ConnectionError):
        return


def test_a_misspelt_fault_is_refused_when_it_is_made():
    with pytest.raises(ValueError, match="unknown fault"):
        Fault(method="chat.update", kind="explode")
    with pytest.raises(ValueError, match="hold"):
        Fault(method="chat.update", kind="hold_after_store")
    with pytest.raises(ValueError, match="times"):
        Fault(method="chat.update", kind="500", times=0)


async def test_cleared_faults_do_not_come(slack: Sandbox, client: AsyncWebClient):
    slack.faults.add(Fault(method="*", kind="500", times=9))
    slack.faults.clear()
    await post(client)
    assert len(slack.messages("C0DEPLOYS")) == 1
