from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from sandbox_app import CARD, in_socket_mode, plain, reason_modal, small_app

from bot.sandbox import NotOnScreenError, Sandbox

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

BUTTON = {"type": "button", "text": plain("Press")}


async def post_card(client: AsyncWebClient, blocks: Any = CARD, channel: str = "C0DEPLOYS") -> str:
    return str((await client.chat_postMessage(channel=channel, text="Deploy payments?", blocks=blocks))["ts"])


async def test_a_click_reaches_an_unmodified_app_which_updates_the_card(slack: Sandbox):
    app, ran, client = small_app(slack)
    async with in_socket_mode(slack, app):
        ts = await post_card(client)
        delivery = await slack.click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="approve")
        await slack.wait_for(lambda: slack.messages("C0DEPLOYS")[0].text == "Approved by U0ALICE")
    assert (delivery.outcome, delivery.summary, delivery.user) == (
        "acked",
        "Alice clicked Approve",
        "U0ALICE",
    )
    assert delivery.elapsed_ms > 0
    assert ran["approve"] == 1
    assert slack.messages("C0DEPLOYS")[0].blocks == []
    assert slack.deliveries == [delivery]
    assert slack.toasts() == []


async def test_the_payload_of_a_click_is_built_from_the_stored_blocks(slack: Sandbox, client: AsyncWebClient):
    ts = await post_card(client)
    payload = slack.payload_of_click(
        user="U0BOB", channel="C0DEPLOYS", ts=ts, action_id="approve", value="forged"
    )
    assert payload["actions"][0]["value"] == "req-1"
    assert payload["actions"][0]["block_id"] == "decide"
    assert payload["container"] == {
        "type": "message",
        "message_ts": ts,
        "channel_id": "C0DEPLOYS",
        "is_ephemeral": False,
    }
    assert payload["user"] == {"id": "U0BOB", "username": "bob", "name": "bob", "team_id": "T0SANDBOX"}
    assert payload["team"] == {"id": "T0SANDBOX", "domain": "acme"}
    assert payload["api_app_id"] == "A0SIGNOFF"
    assert payload["message"]["blocks"][1]["elements"][0]["action_id"] == "approve"
    payload["message"]["blocks"].clear()
    assert slack.messages("C0DEPLOYS")[0].blocks


async def test_a_stranger_clicks_with_their_own_team_in_the_installed_team(
    slack: Sandbox, client: AsyncWebClient
):
    ts = await post_card(client)
    payload = slack.payload_of_click(user="U0EXTERN", channel="C0DEPLOYS", ts=ts, action_id="approve")
    assert payload["team"]["id"] == "T0SANDBOX"
    assert payload["user"]["team_id"] == "T0OTHER"


async def test_a_modal_opens_refuses_a_short_reason_in_place_and_closes_on_a_good_one(slack: Sandbox):
    app, ran, client = small_app(slack)
    async with in_socket_mode(slack, app):
        ts = await post_card(client)
        await slack.click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="reject")
        (view,) = slack.modals("U0ALICE")
        assert (view.title, view.callback_id, view.private_metadata) == ("Reject deploy", "reason", "req-1")
        refused = await slack.submit(user="U0ALICE", view_id=view.id, values={"why": {"text": "no"}})
        assert refused.outcome == "acked"
        assert refused.response == {"response_action": "errors", "errors": {"why": "Say more, please."}}
        (open_still,) = slack.modals("U0ALICE")
        assert open_still.errors == {"why": "Say more, please."}
        assert open_still.state["why"]["text"]["value"] == "no"
        good = await slack.submit(
            user="U0ALICE", view_id=view.id, values={"why": {"text": "Friday afternoon"}}
        )
    assert good.outcome == "acked"
    assert good.response is None
    assert slack.modals("U0ALICE") == []
    assert ran["reason"] == 2


async def test_an_empty_required_field_never_reaches_the_app(slack: Sandbox):
    app, ran, client = small_app(slack)
    async with in_socket_mode(slack, app):
        ts = await post_card(client)
        await slack.click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="reject")
        held_back = await slack.submit(user="U0ALICE", view_id=slack.modals("U0ALICE")[0].id)
    assert held_back.outcome == "error"
    assert slack.modals("U0ALICE")[0].errors == {"why": "Please complete this required field."}
    assert ran["reason"] == 0
    assert len(slack.deliveries) == 1


async def test_a_slash_command_is_answered_privately_in_its_acknowledgement(slack: Sandbox):
    app, ran, _ = small_app(slack)
    async with in_socket_mode(slack, app):
        delivery = await slack.slash(user="U0CAROL", channel="C0GENERAL", command="/signoff", text="runs")
    assert delivery.response == {"text": "You asked for runs"}
    assert delivery.summary == "Carol typed /signoff runs"
    assert [(one.user, one.channel, one.text) for one in slack.ephemerals()] == [
        ("U0CAROL", "C0GENERAL", "You asked for runs")
    ]
    assert slack.messages("C0GENERAL") == []
    assert ran["signoff"] == 1


async def test_opening_the_home_tab_makes_the_app_publish_it(slack: Sandbox):
    app, ran, _ = small_app(slack)
    async with in_socket_mode(slack, app):
        first = await slack.open_home(user="U0ALICE")
        home = await slack.wait_for(lambda: slack.home("U0ALICE"))
        second = await slack.open_home(user="U0ALICE")
        await slack.wait_for(lambda: ran["home"] == 2)
    assert home.blocks[0]["text"]["text"] == "Nothing to decide"
    assert "view" not in first.payload["event"]
    assert second.payload["event"]["view"]["id"] == home.id


async def test_a_response_url_answers_only_the_person_who_clicked(slack: Sandbox):
    app, _, client = small_app(slack)
    async with in_socket_mode(slack, app):
        ts = await post_card(client, [{"type": "actions", "elements": [BUTTON | {"action_id": "private"}]}])
        await slack.click(user="U0BOB", channel="C0DEPLOYS", ts=ts, action_id="private")
        (shown,) = await slack.wait_for(lambda: slack.ephemerals("U0BOB"))
    assert shown.text == "only you see this"
    assert slack.ephemerals("U0ALICE") == []


async def test_a_missing_acknowledgement_times_out_and_warns_the_person(slack: Sandbox):
    app, ran, client = small_app(slack)
    slack.deadline = 0.2
    async with in_socket_mode(slack, app):
        ts = await post_card(client, [{"type": "actions", "elements": [BUTTON | {"action_id": "slow"}]}])
        delivery = await slack.click(user="U0BOB", channel="C0DEPLOYS", ts=ts, action_id="slow")
    assert (delivery.outcome, delivery.response) == ("timeout", None)
    assert delivery.elapsed_ms >= 190
    assert [toast.user for toast in slack.toasts()] == ["U0BOB"]
    assert "did not respond" in slack.toasts("U0BOB")[0].text
    assert ran["slow"] == 1
    assert len(slack.deliveries) == 1


async def test_slack_gives_the_app_three_seconds_unless_told_otherwise(slack: Sandbox):
    assert slack.deadline == 3.0


async def test_without_a_connection_the_person_is_warned_at_once(slack: Sandbox, client: AsyncWebClient):
    ts = await post_card(client)
    delivery = await slack.click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="approve")
    command = await slack.slash(user="U0ALICE", channel="C0DEPLOYS", command="/signoff")
    assert (delivery.outcome, command.outcome) == ("no_connection", "no_connection")
    assert "dispatch_failed" in slack.toasts("U0ALICE")[1].text


async def test_a_duplicated_envelope_runs_the_listener_twice_with_one_id(slack: Sandbox):
    app, ran, client = small_app(slack)
    async with in_socket_mode(slack, app):
        ts = await post_card(client)
        slack.faults.duplicate_next_delivery()
        await slack.click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="approve")
    first, copy = slack.deliveries
    assert first.id == copy.id
    assert first.payload == copy.payload
    assert (first.outcome, copy.outcome) == ("acked", "acked")
    assert ran["approve"] == 2


async def test_envelopes_go_to_two_connections_in_turn_and_one_refresh_loses_no_click(slack: Sandbox):
    app, ran, client = small_app(slack)
    async with in_socket_mode(slack, app, handlers=2):
        assert slack.connections == 2
        ts = await post_card(client)
        await slack.disconnect_sockets("warning")
        clicks = [
            slack.click(user=user, channel="C0DEPLOYS", ts=ts, action_id="reject")
            for user in ("U0ALICE", "U0BOB")
        ]
        outcomes = [delivery.outcome for delivery in await asyncio.gather(*clicks)]
        await slack.wait_for(lambda: slack.connections == 2)
    assert outcomes == ["acked", "acked"]
    assert ran["reject"] == 2


@pytest.mark.parametrize("reason", ["refresh_requested", "warning", None])
async def test_the_app_comes_back_after_a_disconnect(slack: Sandbox, reason: str | None):
    app, _, client = small_app(slack)
    async with in_socket_mode(slack, app):
        opened = sum(1 for line in slack.log if line.kind == "apps.connections.open")
        await slack.disconnect_sockets(reason)
        await slack.wait_for(
            lambda: (
                sum(1 for line in slack.log if line.kind == "apps.connections.open") > opened
                and slack.connected
            )
        )
        ts = await post_card(client)
        delivery = await slack.click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="approve")
    assert delivery.outcome == "acked"


async def test_an_acknowledgement_may_come_back_on_another_connection(
    slack: Sandbox, http: aiohttp.ClientSession
):
    async with await connect(slack, http) as one, await connect(slack, http) as two:
        sockets = [one, two]
        for socket in sockets:
            assert (await socket.receive_json())["type"] == "hello"
        async with asyncio.TaskGroup() as tasks:
            click = tasks.create_task(slack.slash(user="U0ALICE", channel="C0GENERAL", command="/signoff"))
            done, waiting = await asyncio.wait(
                [asyncio.ensure_future(socket.receive_json()) for socket in sockets],
                return_when=asyncio.FIRST_COMPLETED,
            )
            envelope = done.pop().result()
            for receiving in waiting:
                receiving.cancel()
            ack = json.dumps({"envelope_id": envelope["envelope_id"], "payload": {"text": "hi"}})
            for socket in sockets:
                await socket.send_str("not json")
                await socket.send_str(json.dumps({"envelope_id": "of another time"}))
                await socket.send_str(ack)
    assert envelope["type"] == "slash_commands"
    assert envelope["accepts_response_payload"] is True
    assert click.result().response == {"text": "hi"}
    assert len(slack.ephemerals("U0ALICE")) == 1


async def connect(slack: Sandbox, http: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
    headers = {"Authorization": f"Bearer {slack.app_token}"}
    async with http.post(f"{slack.url}/api/apps.connections.open", headers=headers) as answer:
        url = (await answer.json())["url"]
    return await http.ws_connect(url)


async def test_a_ticket_opens_one_connection_only(slack: Sandbox, http: aiohttp.ClientSession):
    headers = {"Authorization": f"Bearer {slack.app_token}"}
    async with http.post(f"{slack.url}/api/apps.connections.open", headers=headers) as answer:
        url = (await answer.json())["url"]
    async with http.ws_connect(url) as socket:
        hello = await socket.receive_json()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(url)
    assert hello["connection_info"] == {"app_id": "A0SIGNOFF"}
    assert hello["num_connections"] == 1
    assert refused.value.status == 403


async def test_the_eleventh_connection_is_sent_away(slack: Sandbox, http: aiohttp.ClientSession):
    sockets = [await connect(slack, http) for _ in range(11)]
    first_words = [(await socket.receive_json()) for socket in sockets]
    assert [one["type"] for one in first_words] == ["hello"] * 10 + ["disconnect"]
    assert first_words[10]["reason"] == "too_many_websockets"
    assert slack.connections == 10
    for socket in sockets:
        await socket.close()


async def test_an_unacknowledged_event_is_repeated_with_the_same_envelope_id(http: aiohttp.ClientSession):
    async with Sandbox(deadline=0.1, event_retries=(0.0, 0.0)) as slack, await connect(slack, http) as socket:
        await socket.receive_json()
        async with asyncio.TaskGroup() as tasks:
            opened = tasks.create_task(slack.open_home(user="U0ALICE"))
            first, second = await socket.receive_json(), await socket.receive_json()
            await socket.send_json({"envelope_id": second["envelope_id"]})
        await slack.wait_for(lambda: len(slack.deliveries) == 2)
        assert opened.result().outcome == "timeout"
        assert first["envelope_id"] == second["envelope_id"]
        assert first["payload"] == second["payload"]
        assert (first["retry_attempt"], second["retry_attempt"]) == (0, 1)
        assert second["retry_reason"] == "http_timeout"
        assert (slack.deliveries[1].retry, slack.deliveries[1].outcome) == (1, "acked")
        assert slack.toasts() == []


async def test_forged_payloads_are_delivered_as_they_are(slack: Sandbox):
    app, ran, client = small_app(slack)
    async with in_socket_mode(slack, app):
        ts = await post_card(client)
        payload = slack.payload_of_click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="approve")
        payload["team"]["id"] = payload["user"]["team_id"] = "T0EVIL"
        payload["actions"][0]["value"] = "another request"
        delivery = await slack.deliver("interactive", payload)
        await slack.wait_for(lambda: slack.messages("C0DEPLOYS")[0].text == "Approved by U0ALICE")
    assert delivery.outcome == "acked"
    assert delivery.payload["actions"][0]["value"] == "another request"
    assert ran["approve"] == 1


async def test_closing_a_modal_is_told_to_the_app_only_if_it_asked(slack: Sandbox):
    app, ran, client = small_app(slack)
    async with in_socket_mode(slack, app):
        for notify in (False, True):
            payload = slack.payload_of_click(
                user="U0ALICE", channel="C0DEPLOYS", ts=await post_card(client), action_id="reject"
            )
            view = reason_modal(notify_on_close=notify)
            opened = await client.views_open(trigger_id=payload["trigger_id"], view=view)
            delivery = await slack.close_view(user="U0ALICE", view_id=opened["view"]["id"])
            assert slack.modals("U0ALICE") == []
            assert (delivery is not None) == notify
    assert ran["closed"] == 1


async def test_people_can_use_only_what_their_screen_shows(slack: Sandbox, client: AsyncWebClient):
    slack.workspace.invite("C0PRIVATE", slack.workspace.bot_user_id)
    secret = await post_card(client, channel="C0PRIVATE")
    with pytest.raises(NotOnScreenError, match="Gina cannot see C0PRIVATE"):
        await slack.click(user="U0GUEST", channel="C0PRIVATE", ts=secret, action_id="approve")
    ts = await post_card(client)
    with pytest.raises(NotOnScreenError, match="decide/approve, decide/reject"):
        await slack.click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="detonate")
    with pytest.raises(NotOnScreenError, match="no message"):
        await slack.click(user="U0ALICE", channel="C0DEPLOYS", ts="1.0", action_id="approve")
    with pytest.raises(NotOnScreenError, match="no user"):
        await slack.click(user="U0NOBODY", channel="C0DEPLOYS", ts=ts, action_id="approve")
    for_bob = [
        {"type": "actions", "elements": [BUTTON | {"action_id": "go", "visible_to_user_ids": ["U0BOB"]}]}
    ]
    hidden = await post_card(client, for_bob)
    with pytest.raises(NotOnScreenError, match="not shown to Alice"):
        await slack.click(user="U0ALICE", channel="C0DEPLOYS", ts=hidden, action_id="go")
    assert (
        await slack.click(user="U0BOB", channel="C0DEPLOYS", ts=hidden, action_id="go")
    ).summary.startswith("Bob")


async def test_clear_on_close_closes_the_whole_stack(slack: Sandbox, client: AsyncWebClient):
    for open_modal in (client.views_open, client.views_push):
        trigger = slack.workspace.handles.issue_trigger("U0ALICE")
        opened = await open_modal(
            trigger_id=trigger, view=reason_modal(clear_on_close=True, notify_on_close=True)
        )
    delivery = await slack.close_view(user="U0ALICE", view_id=opened["view"]["id"])
    assert slack.modals("U0ALICE") == []
    assert delivery is not None
    assert delivery.payload["is_cleared"] is True


async def test_only_the_modal_on_top_can_be_used(slack: Sandbox, client: AsyncWebClient):
    views = []
    for open_modal in (client.views_open, client.views_push):
        trigger = slack.workspace.handles.issue_trigger("U0ALICE")
        views.append((await open_modal(trigger_id=trigger, view=reason_modal()))["view"]["id"])
    with pytest.raises(NotOnScreenError, match="does not have view"):
        await slack.submit(user="U0ALICE", view_id=views[0], values={"why": {"text": "x"}})
    with pytest.raises(NotOnScreenError, match="no element 'other'"):
        await slack.submit(user="U0ALICE", view_id=views[1], values={"why": {"other": "x"}})
    assert await slack.close_view(user="U0ALICE", view_id=views[1]) is None
    assert [view.id for view in slack.modals("U0ALICE")] == [views[0]]


async def test_a_home_can_be_clicked_but_neither_submitted_nor_closed(slack: Sandbox):
    app, ran, client = small_app(slack)
    async with in_socket_mode(slack, app):
        blocks = [{"type": "actions", "elements": [BUTTON | {"action_id": "slow"}]}]
        view = (await client.views_publish(user_id="U0ALICE", view={"type": "home", "blocks": blocks}))[
            "view"
        ]
        slack.deadline = 0.1
        await slack.click_in_view(user="U0ALICE", view_id=view["id"], action_id="slow")
        with pytest.raises(NotOnScreenError, match="no submit button"):
            await slack.submit(user="U0ALICE", view_id=view["id"])
        with pytest.raises(NotOnScreenError, match="cannot be closed"):
            await slack.close_view(user="U0ALICE", view_id=view["id"])
    assert ran["slow"] == 1


async def test_a_person_may_talk_to_the_app_by_its_own_name(slack: Sandbox):
    said = await slack.say(user="U0ALICE", channel="U0SIGNOFF", text="hello")
    assert said.channel == "D0ALICE"
    assert [one.text for one in slack.messages("U0ALICE")] == ["hello"]
    with pytest.raises(NotOnScreenError, match="cannot see"):
        await slack.say(user="U0BOB", channel="D0ALICE", text="hello")


async def test_an_unknown_kind_of_delivery_is_refused(slack: Sandbox):
    with pytest.raises(ValueError, match="unknown kind"):
        await slack.deliver("carrier pigeon", {})
