from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web
from sandbox_app import CARD, over_http, reason_modal, small_app
from slack_sdk.signature import SignatureVerifier

from bot.sandbox import Sandbox
from bot.sandbox.delivery import signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from slack_sdk.web.async_client import AsyncWebClient


class Endpoint:
    """A bare request URL: keeps what came, answers what it is told."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[web.Response] = []
        self.url = ""

    async def serve(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.text())
        self.headers.append({key.lower(): value for key, value in request.headers.items()})
        return self.answers.pop(0) if self.answers else web.Response()


@pytest.fixture
async def endpoint(slack: Sandbox) -> Any:
    found = Endpoint()
    app = web.Application()
    app.router.add_post("/slack/events", found.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = slack.request_url = f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
    yield found
    await runner.cleanup()


async def post_card(client: AsyncWebClient) -> str:
    return str((await client.chat_postMessage(channel="C0DEPLOYS", text="Deploy?", blocks=CARD))["ts"])


async def test_an_unmodified_app_takes_click_modal_command_and_event_over_signed_http(slack: Sandbox):
    app, ran, client = small_app(slack, signing_secret=slack.signing_secret)
    async with over_http(slack, app):
        ts = await post_card(client)
        click = await slack.click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="reject")
        view = slack.modals("U0ALICE")[0]
        refused = await slack.submit(user="U0ALICE", view_id=view.id, values={"why": {"text": "no"}})
        assert slack.modals("U0ALICE")[0].errors == {"why": "Say more, please."}
        good = await slack.submit(user="U0ALICE", view_id=view.id, values={"why": {"text": "Friday evening"}})
        command = await slack.slash(user="U0BOB", channel="C0GENERAL", command="/signoff", text="show 1 & 2")
        event = await slack.open_home(user="U0ALICE")
        await slack.wait_for(lambda: slack.home("U0ALICE"))
    assert [one.outcome for one in (click, refused, good, command, event)] == ["acked"] * 5
    assert slack.modals("U0ALICE") == []
    assert slack.ephemerals("U0BOB")[0].text == "You asked for show 1 &amp; 2"
    assert ran == {"reject": 1, "reason": 2, "signoff": 1, "home": 1}


async def test_an_app_with_another_signing_secret_refuses_and_the_person_is_warned(slack: Sandbox):
    app, ran, client = small_app(slack, signing_secret="another secret")
    async with over_http(slack, app):
        ts = await post_card(client)
        delivery = await slack.click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="approve")
    assert delivery.outcome == "http_401"
    assert ran["approve"] == 0
    assert "http_401" in slack.toasts("U0ALICE")[0].text


async def test_the_request_url_is_verified_with_a_challenge(slack: Sandbox, endpoint: Endpoint):
    app, _, _ = small_app(slack, signing_secret=slack.signing_secret)
    assert not await slack.verify_request_url()
    assert json.loads(endpoint.bodies[0])["type"] == "url_verification"
    async with over_http(slack, app):
        assert await slack.verify_request_url()
    slack.request_url = None
    assert not await slack.verify_request_url()


async def test_every_kind_of_body_is_signed_over_its_raw_bytes(slack: Sandbox, endpoint: Endpoint):
    await slack.slash(user="U0ALICE", channel="C0GENERAL", command="/signoff", text="ä & b")
    payload = slack.event({"type": "user_change", "user": {"id": "U0ALICE"}})
    await slack.deliver("events_api", payload)
    verifier = SignatureVerifier(slack.signing_secret)
    for body, headers in zip(endpoint.bodies, endpoint.headers, strict=True):
        assert verifier.is_valid_request(body, headers)
        assert not verifier.is_valid_request(body + " ", headers)
    fields = dict(parse_qsl(endpoint.bodies[0]))
    assert fields["text"] == "ä &amp; b"
    assert fields["is_enterprise_install"] == "false"
    assert json.loads(endpoint.bodies[1])["event"]["type"] == "user_change"


def test_the_signature_is_the_one_of_slacks_documentation():
    body = (
        "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        "&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        "&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        "&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    assert (
        signature("8f742231b10e8888abcd99yyyzzz85a5", "1531420618", body)
        == "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    )


@pytest.mark.parametrize(
    ("make", "outcome", "response"),
    [
        (lambda: web.Response(text="plain words"), "acked", {"text": "plain words"}),
        (lambda: web.json_response({"text": "hi"}), "acked", {"text": "hi"}),
        (lambda: web.Response(), "acked", None),
        (lambda: web.Response(status=500), "http_500", None),
        (lambda: web.Response(status=302, headers={"Location": "/elsewhere"}), "http_302", None),
    ],
)
async def test_the_answer_of_the_request_url_decides_the_outcome(
    slack: Sandbox,
    endpoint: Endpoint,
    make: Callable[[], web.Response],
    outcome: str,
    response: dict[str, str] | None,
):
    endpoint.answers = [make()]
    delivery = await slack.slash(user="U0ALICE", channel="C0GENERAL", command="/signoff")
    assert (delivery.outcome, delivery.response) == (outcome, response)


async def test_nobody_listening_is_no_connection(slack: Sandbox, endpoint: Endpoint):
    slack.request_url = "http://127.0.0.1:9/slack/events"
    delivery = await slack.slash(user="U0ALICE", channel="C0GENERAL", command="/signoff")
    assert delivery.outcome == "no_connection"


async def test_a_duplicate_comes_as_a_second_request_with_the_same_body(slack: Sandbox, endpoint: Endpoint):
    slack.faults.duplicate_next_delivery()
    await slack.slash(user="U0ALICE", channel="C0GENERAL", command="/signoff")
    await slack.slash(user="U0ALICE", channel="C0GENERAL", command="/signoff")
    assert len(endpoint.bodies) == 3
    assert endpoint.bodies[0] == endpoint.bodies[1] != endpoint.bodies[2]
    assert [one.id for one in slack.deliveries[:2]] == [slack.deliveries[0].id] * 2


async def test_a_failed_event_comes_again_with_retry_headers(endpoint: Endpoint):
    async with Sandbox(event_retries=(0.0, 0.0, 0.0), request_url=endpoint.url) as slack:
        endpoint.answers = [web.Response(status=500), web.Response(status=503)]
        first = await slack.open_home(user="U0BOB")
        await slack.wait_for(lambda: len(slack.deliveries) == 3)
    assert first.outcome == "http_500"
    assert [one.outcome for one in slack.deliveries] == ["http_500", "http_503", "acked"]
    assert [one.get("x-slack-retry-num") for one in endpoint.headers] == [None, "1", "2"]
    assert [one.get("x-slack-retry-reason") for one in endpoint.headers] == [None, "http_error", "http_error"]
    assert len(set(endpoint.bodies)) == 1


@pytest.mark.parametrize("action", ["update", "push", "clear"])
async def test_the_answer_to_a_submission_moves_the_modals(
    slack: Sandbox, endpoint: Endpoint, client: AsyncWebClient, action: str
):
    ts = await post_card(client)
    for open_modal in (client.views_open, client.views_push):
        click = slack.payload_of_click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="reject")
        await open_modal(trigger_id=click["trigger_id"], view=reason_modal())
    below, top = slack.modals("U0ALICE")
    assert (top.previous_view_id, top.root_view_id) == (below.id, below.id)
    answer = {"response_action": action, "view": reason_modal(callback_id="next")}
    endpoint.answers = [web.json_response(answer)]
    await slack.submit(user="U0ALICE", view_id=top.id, values={"why": {"text": "because"}})
    stack = slack.modals("U0ALICE")
    if action == "clear":
        assert stack == []
    elif action == "update":
        assert [(one.id, one.callback_id) for one in stack] == [(below.id, "reason"), (top.id, "next")]
        assert stack[1].hash != top.hash
        assert stack[1].state["why"]["text"]["value"] == "because"
    else:
        assert [one.callback_id for one in stack] == ["reason", "reason", "next"]
        endpoint.answers = [web.json_response(answer)]
        fourth = await slack.submit(user="U0ALICE", view_id=stack[2].id, values={"why": {"text": "because"}})
        assert fourth.outcome == "error"
        assert "push_limit_reached" in fourth.summary
        assert len(slack.modals("U0ALICE")) == 3


@pytest.mark.parametrize(
    "answer",
    [
        {"response_action": "errors", "errors": {"no such block": "x"}},
        {"response_action": "errors"},
        {"response_action": "update", "view": {"type": "modal"}},
        {"response_action": "explode"},
    ],
)
async def test_an_answer_slack_cannot_follow_keeps_the_modal_and_warns(
    slack: Sandbox, endpoint: Endpoint, client: AsyncWebClient, answer: dict[str, Any]
):
    click = slack.payload_of_click(
        user="U0ALICE", channel="C0DEPLOYS", ts=await post_card(client), action_id="reject"
    )
    opened = await client.views_open(trigger_id=click["trigger_id"], view=reason_modal())
    endpoint.answers = [web.json_response(answer)]
    delivery = await slack.submit(
        user="U0ALICE", view_id=opened["view"]["id"], values={"why": {"text": "because"}}
    )
    assert delivery.outcome == "error"
    assert [one.id for one in slack.modals("U0ALICE")] == [opened["view"]["id"]]
    assert "trouble connecting" in slack.toasts("U0ALICE")[0].text
