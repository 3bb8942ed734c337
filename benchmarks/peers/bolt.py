"""The least that a Bolt app can do with a click: acknowledge it, or write one row to disk first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from benchmarks.peers.counting import Figures
from benchmarks.peers.driver import serve
from benchmarks.peers.floor import PAUSE, open_writer
from bot.cards import APPROVE


@asynccontextmanager
async def open_door(
    variant: str, path: Path, slack: Figures, count: int
) -> AsyncIterator[tuple[str, list[Any]]]:
    async with AsyncExitStack() as stack:
        writer = None
        if variant == "transaction":
            writer = await stack.enter_async_context(open_writer(path, grouped=True))
        client = AsyncWebClient(token=slack["bot_token"], base_url=slack["api_url"])
        app = AsyncApp(client=client, signing_secret=slack["secret"], process_before_response=True)

        async def on_approve(body: dict[str, Any], ack: AsyncAck) -> None:
            if writer is not None:
                await writer.commit([(PAUSE, (body["trigger_id"],))])
            await ack()

        app.action(APPROVE)(on_approve)
        runner = web.AppRunner(app.web_app(path="/slack/events"), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events", []


if __name__ == "__main__":
    serve(open_door=open_door)
