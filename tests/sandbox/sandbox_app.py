"""An unmodified slack-bolt app for the sandbox's own tests, and what it is shown."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CARD = [
    {"type": "section", "text": {"type": "mrkdwn", "text": "Deploy *payments*?"}},
    {
        "type": "actions",
        "block_id": "decide",
        "elements": [
            {
                "type": "button",
                "action_id": "approve",
                "value": "req-1",
                "style": "primary",
                "text": {"type": "plain_text", "text": "Approve"},
            },
            {
                "type": "button",
                "action_id": "reject",
                "value": "req-1",
                "text": {"type": "plain_text", "text": "Reject"},
            },
        ],
    },
]


def plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def reason_modal(**changes: Any) -> dict[str, Any]:
    return {
        "type": "modal",
        "callback_id": "reason",
        "private_metadata": "req-1",
        "title": plain("Reject deploy"),
        "submit": plain("Reject"),
        "blocks": [
            {
                "type": "input",
                "block_id": "why",
                "label": plain("Reason"),
                "element": {"type": "plain_text_input", "action_id": "text", "multiline": True},
            }
        ],
    } | changes


def small_app(slack: Sandbox, **settings: Any) -> tuple[AsyncApp, Counter[str], AsyncWebClient]:
    """An unmodified bolt app: approve edits the card, reject opens a modal, the modal wants ten letters."""
    client = AsyncWebClient(token=slack.bot_token, base_url=f"{slack.url}/api/")
    app = AsyncApp(client=client, **settings)
    ran: Counter[str] = Counter()

    @app.action("approve")
    async def approve(ack: Any, body: dict[str, Any], client: AsyncWebClient) -> None:
        ran["approve"] += 1
        await ack()
        where, card = body["channel"]["id"], body["message"]
        await client.chat_update(
            channel=where, ts=card["ts"], text=f"Approved by {body['user']['id']}", blocks=[]
        )

    @app.action("reject")
    async def reject(ack: Any, body: dict[str, Any], client: AsyncWebClient) -> None:
        ran["reject"] += 1
        await client.views_open(trigger_id=body["trigger_id"], view=reason_modal())
        await ack()

    @app.action("slow")
    async def slow(ack: Any) -> None:
        ran["slow"] += 1

    @app.action("private")
    async def private(ack: Any, respond: Any) -> None:
        await ack()
        await respond("only you see this")

    @app.view("reason")
    async def reason(ack: Any, view: dict[str, Any], body: dict[str, Any], client: AsyncWebClient) -> None:
        ran["reason"] += 1
        words = view["state"]["values"]["why"]["text"]["value"]
        if len(words) < 10:
            await ack(response_action="errors", errors={"why": "Say more, please."})
            return
        await ack()

    @app.view_closed("reason")
    async def closed(ack: Any) -> None:
        ran["closed"] += 1
        await ack()

    @app.command("/signoff")
    async def signoff(ack: Any, command: dict[str, Any]) -> None:
        ran["signoff"] += 1
        await ack(f"You asked for {command['text']}")

    @app.event("app_home_opened")
    async def home(event: dict[str, Any], client: AsyncWebClient) -> None:
        ran["home"] += 1
        blocks = [{"type": "section", "text": plain("Nothing to decide")}]
        await client.views_publish(user_id=event["user"], view={"type": "home", "blocks": blocks})

    return app, ran, client


@asynccontextmanager
async def in_socket_mode(slack: Sandbox, app: AsyncApp, handlers: int = 1) -> AsyncIterator[None]:
    started = [AsyncSocketModeHandler(app, slack.app_token, ping_interval=1) for _ in range(handlers)]
    try:
        for handler in started:
            await handler.connect_async()
        await slack.wait_for(lambda: slack.connections == handlers)
        yield
    finally:
        for handler in started:
            await handler.close_async()


@asynccontextmanager
async def over_http(slack: Sandbox, app: AsyncApp) -> AsyncIterator[str]:
    runner = web.AppRunner(app.web_app(path="/slack/events"), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        slack.request_url = f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
        yield slack.request_url
    finally:
        await runner.cleanup()


class Clock:
    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
