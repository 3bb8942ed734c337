from __future__ import annotations

import asyncio
import signal
import sys

import pytest
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox import Sandbox


@pytest.mark.processes
async def test_the_sandbox_starts_alone_says_how_to_reach_it_and_stops_on_sigterm():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot.sandbox", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            lines = [(await process.stdout.readline()).decode().strip() for _ in range(5)]
            assert lines[0].startswith("# The page: http://127.0.0.1:")
            said = dict(line.split("=", 1) for line in lines[1:])
            client = AsyncWebClient(token=said["SLACK_BOT_TOKEN"], base_url=said["SLACK_API_URL"])
            assert (await client.auth_test())["team"] == "Acme"
            opened = await client.apps_connections_open(app_token=said["SLACK_APP_TOKEN"])
            assert opened["url"].startswith("ws://")
            assert said["SLACK_SIGNING_SECRET"]
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.processes
async def test_a_taken_port_is_told_in_one_line():
    async with Sandbox() as slack:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot.sandbox", "--port", str(slack.port), stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(20):
            _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().startswith(f"cannot listen on 127.0.0.1:{slack.port}")
    assert len(errors.decode().splitlines()) == 1


async def test_a_public_address_is_used_in_every_url():
    async with Sandbox(public_url="http://localhost:8080/") as slack:
        client = AsyncWebClient(token=slack.bot_token, base_url=f"http://127.0.0.1:{slack.port}/api/")
        assert (await client.auth_test())["url"] == "http://localhost:8080/"
        opened = await client.apps_connections_open(app_token=slack.app_token)
    assert opened["url"].startswith("ws://localhost:8080/link/")


async def test_two_sandboxes_know_nothing_of_each_other():
    async with Sandbox() as one, Sandbox() as two:
        await one.say(user="U0ALICE", channel="C0GENERAL", text="hello")
        assert len(one.messages("C0GENERAL")) == 1
        assert two.messages("C0GENERAL") == []
