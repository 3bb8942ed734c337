from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from sandbox_app import CARD, Clock, plain, reason_modal
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox import Channel, Sandbox, User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

META = {"event_type": "signoff_card", "event_payload": {"request_id": "req-1"}}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def slack(clock: Clock) -> AsyncIterator[Sandbox]:
    async with Sandbox(clock=clock) as sandbox:
        yield sandbox


async def refused(call: Awaitable[Any]) -> str:
    with pytest.raises(SlackApiError) as error:
        await call
    return str(error.value.response["error"])


async def test_auth_test_names_the_app_and_its_scopes(slack: Sandbox, client: AsyncWebClient):
    answer = await client.auth_test()
    assert (answer["team_id"], answer["user_id"], answer["bot_id"]) == ("T0SANDBOX", "U0SIGNOFF", "B0SIGNOFF")
    assert "chat:write" in answer.headers["x-oauth-scopes"].split(",")


async def test_tokens_open_only_their_own_doors(slack: Sandbox):
    def with_token(token: str | None) -> AsyncWebClient:
        return AsyncWebClient(token=token, base_url=f"{slack.url}/api/")

    assert await refused(with_token(None).auth_test()) == "not_authed"
    assert await refused(with_token("xoxb-other").auth_test()) == "invalid_auth"
    assert await refused(with_token(slack.app_token).auth_test()) == "not_allowed_token_type"
    as_bot = with_token(slack.bot_token).apps_connections_open(app_token=slack.bot_token)
    assert await refused(as_bot) == "not_allowed_token_type"
    opened = await with_token(None).apps_connections_open(app_token=slack.app_token)
    assert opened["url"].startswith(f"ws://127.0.0.1:{slack.port}/link/?ticket=")


async def test_a_missing_scope_and_an_unknown_method_are_told(slack: Sandbox, client: AsyncWebClient):
    slack.workspace.scopes -= {"usergroups:read"}
    with pytest.raises(SlackApiError) as error:
        await client.usergroups_list()
    assert error.value.response["error"] == "missing_scope"
    assert error.value.response["needed"] == "usergroups:read"
    assert await refused(client.api_call("chat.shout")) == "unknown_method"


async def test_arguments_may_come_as_query_form_or_json(slack: Sandbox, http: aiohttp.ClientSession):
    headers = {"Authorization": f"Bearer {slack.bot_token}"}
    url = f"{slack.url}/api/chat.postMessage"
    fields = {"channel": "C0GENERAL", "text": "x", "blocks": json.dumps(CARD), "metadata": json.dumps(META)}
    calls = [
        http.post(url, params=fields, headers=headers),
        http.post(url, data=fields, headers=headers),
        http.post(
            url, json={"channel": "C0GENERAL", "text": "x", "blocks": CARD, "metadata": META}, headers=headers
        ),
        http.post(url, data={**fields, "token": slack.bot_token, "team_id": "T0SANDBOX"}),
    ]
    for call in calls:
        async with call as answer:
            assert (await answer.json())["ok"] is True
    stored = slack.messages("C0GENERAL")
    assert len(stored) == 4
    assert all(one.metadata == META and len(one.blocks) == 2 for one in stored)
    async with http.post(url, data=b"{", headers={**headers, "Content-Type": "application/json"}) as answer:
        assert (await answer.json())["error"] == "invalid_json"
    async with http.post(url, data=b"[]", headers={**headers, "Content-Type": "application/json"}) as answer:
        assert (await answer.json())["error"] == "json_not_object"


async def test_timestamps_are_unique_and_rise_while_the_clock_stands(slack: Sandbox, client: AsyncWebClient):
    stamps = [(await client.chat_postMessage(channel="C0GENERAL", text="x"))["ts"] for _ in range(3)]
    assert stamps == ["1790000000.000100", "1790000000.000200", "1790000000.000300"]


async def test_an_update_keeps_or_drops_what_slack_keeps_or_drops(slack: Sandbox, client: AsyncWebClient):
    ts = (await client.chat_postMessage(channel="C0DEPLOYS", text="a", blocks=CARD, metadata=META))["ts"]
    await client.chat_update(channel="C0DEPLOYS", ts=ts, text="b", blocks=CARD)
    (card,) = slack.messages("C0DEPLOYS")
    assert (card.text, card.edited, card.metadata) == ("b", False, META)
    await client.chat_update(channel="C0DEPLOYS", ts=ts, text="c")
    (card,) = slack.messages("C0DEPLOYS")
    assert (card.text, card.blocks, card.edited) == ("c", [], True)
    await client.chat_update(channel="C0DEPLOYS", ts=ts, text="c", metadata={})
    assert slack.messages("C0DEPLOYS")[0].metadata is None


async def test_metadata_is_read_back_only_on_request(slack: Sandbox, client: AsyncWebClient):
    ts = (await client.chat_postMessage(channel="C0DEPLOYS", text="a", metadata=META))["ts"]
    await client.chat_postMessage(channel="C0DEPLOYS", text="later")
    where = {"channel": "C0DEPLOYS", "oldest": ts, "latest": ts, "inclusive": True, "limit": 1}
    short = await client.conversations_history(**where)
    full = await client.conversations_history(**where, include_all_metadata=True)
    assert [one["ts"] for one in full["messages"]] == [ts]
    assert short["messages"][0]["metadata"] == {"event_type": "signoff_card"}
    assert full["messages"][0]["metadata"] == META


async def test_history_comes_newest_first_in_pages_without_replies(slack: Sandbox, client: AsyncWebClient):
    roots = [(await client.chat_postMessage(channel="C0DEPLOYS", text=str(n)))["ts"] for n in range(3)]
    reply = await client.chat_postMessage(channel="C0DEPLOYS", text="r", thread_ts=roots[0])
    first = await client.conversations_history(channel="C0DEPLOYS", limit=2)
    assert [one["text"] for one in first["messages"]] == ["2", "1"]
    assert first["has_more"]
    cursor = first["response_metadata"]["next_cursor"]
    second = await client.conversations_history(channel="C0DEPLOYS", limit=2, cursor=cursor)
    assert [one["text"] for one in second["messages"]] == ["0"]
    assert (second["messages"][0]["reply_count"], second["has_more"]) == (1, False)
    thread = await client.conversations_replies(channel="C0DEPLOYS", ts=reply["ts"])
    assert [one["text"] for one in thread["messages"]] == ["0", "r"]
    assert await refused(client.conversations_history(channel="C0DEPLOYS", cursor="?")) == "invalid_cursor"
    assert await refused(client.conversations_replies(channel="C0DEPLOYS", ts="1.1")) == "thread_not_found"
    assert await refused(client.conversations_history(channel="C0DEPLOYS", oldest="x")) == "invalid_ts_oldest"


async def test_odd_arguments_have_slacks_names(slack: Sandbox, client: AsyncWebClient):
    assert await refused(client.users_list(limit=0)) == "invalid_limit"
    assert await refused(client.api_call("users.list", params={"limit": "many"})) == "invalid_arguments"
    assert await refused(client.conversations_list(types="secret")) == "invalid_types"
    assert await refused(client.api_call("views.open", json={"view": {}})) == "invalid_arguments"
    assert (
        await refused(client.conversations_open(users="U0ALICE,U0BOB"))
        == "method_not_supported_for_channel_type"
    )
    assert await refused(client.conversations_open(users="U0SIGNOFF")) == "cannot_dm_bot"
    assert await refused(client.conversations_join(channel="D0ALICE")) == "channel_not_found"
    assert await refused(client.team_info(team="T0OTHER")) == "team_not_found"
    bad = client.api_call("chat.postMessage", params={"channel": "C0DEPLOYS", "blocks": "[{"})
    assert await refused(bad) == "invalid_blocks_format"
    assert (
        await refused(client.reactions_add(channel="C0DEPLOYS", timestamp="1.1", name="x"))
        == "message_not_found"
    )


async def test_a_broadcast_reply_stands_in_the_channel_too(slack: Sandbox, client: AsyncWebClient):
    ts = (await client.chat_postMessage(channel="C0DEPLOYS", text="root"))["ts"]
    await client.chat_postMessage(channel="C0DEPLOYS", text="all", thread_ts=ts, reply_broadcast=True)
    shown = (await client.conversations_history(channel="C0DEPLOYS"))["messages"]
    assert [one["text"] for one in shown] == ["all", "root"]
    link = await client.chat_getPermalink(channel="C0DEPLOYS", message_ts=shown[0]["ts"])
    assert link["permalink"].endswith(f"?thread_ts={ts}&cid=C0DEPLOYS")


async def test_a_reply_in_the_acknowledgement_of_a_command_may_be_public(
    slack: Sandbox, http: aiohttp.ClientSession
):
    opened = AsyncWebClient(base_url=f"{slack.url}/api/").apps_connections_open(app_token=slack.app_token)
    async with http.ws_connect((await opened)["url"]) as socket, asyncio.TaskGroup() as tasks:
        await socket.receive_json()
        for payload in ({"text": "hi", "response_type": "in_channel"}, {"blocks": [{"type": "nonsense"}]}):
            sent = tasks.create_task(slack.slash(user="U0ALICE", channel="C0GENERAL", command="/signoff"))
            envelope = await socket.receive_json()
            await socket.send_json({"envelope_id": envelope["envelope_id"], "payload": payload})
            await sent
    assert [one.text for one in slack.messages("C0GENERAL")] == ["hi"]
    assert [one.outcome for one in slack.deliveries] == ["acked", "error"]
    assert "invalid_blocks" in slack.deliveries[1].summary


async def test_a_reply_to_a_deleted_message_becomes_a_message_of_the_channel(
    slack: Sandbox, client: AsyncWebClient
):
    ts = (await client.chat_postMessage(channel="C0DEPLOYS", text="root"))["ts"]
    first = await client.chat_postMessage(channel="C0DEPLOYS", text="reply", thread_ts=ts)
    assert first["message"]["thread_ts"] == ts
    deeper = await client.chat_postMessage(channel="C0DEPLOYS", text="deeper", thread_ts=first["ts"])
    assert deeper["message"]["thread_ts"] == ts
    assert [one.text for one in slack.messages("C0DEPLOYS", ts)] == ["reply", "deeper"]
    slack.workspace.delete_message("C0DEPLOYS", ts)
    late = await client.chat_postMessage(channel="C0DEPLOYS", text="late", thread_ts=ts)
    assert "thread_ts" not in late["message"]


async def test_where_the_app_may_post(slack: Sandbox, client: AsyncWebClient):
    async def post(channel: str) -> str:
        return await refused(client.chat_postMessage(channel=channel, text="x"))

    assert await post("C0NOWHERE") == "channel_not_found"
    assert await post("C0PRIVATE") == "channel_not_found"
    assert await post("C0OLD") == "is_archived"
    assert await post("U0ZOE") == "channel_not_found"
    slack.workspace.kick("C0GENERAL")
    assert await post("C0GENERAL") == "not_in_channel"
    assert await refused(client.conversations_history(channel="C0GENERAL")) == "not_in_channel"
    slack.workspace.scopes |= {"chat:write.public"}
    assert (await client.chat_postMessage(channel="#general", text="x"))["channel"] == "C0GENERAL"
    direct = await client.chat_postMessage(channel="U0ALICE", text="psst")
    assert direct["channel"] == "D0ALICE"
    assert [one.text for one in slack.messages("U0ALICE")] == ["psst"]
    assert await refused(client.api_call("chat.postMessage", json={"channel": "C0GENERAL"})) == "no_text"


async def test_a_card_that_cannot_be_edited_says_why(slack: Sandbox, client: AsyncWebClient):
    ts = (await client.chat_postMessage(channel="C0DEPLOYS", text="x"))["ts"]
    others = await slack.say(user="U0ALICE", channel="C0DEPLOYS", text="mine")

    async def edit(ts: str = ts, channel: str = "C0DEPLOYS", text: str = "y") -> str:
        return await refused(client.chat_update(channel=channel, ts=ts, text=text))

    assert await edit(others.ts) == "cant_update_message"
    assert await refused(client.chat_delete(channel="C0DEPLOYS", ts=others.ts)) == "cant_delete_message"
    assert await edit("1.000100") == "message_not_found"
    assert await edit(text="x" * 4001) == "msg_too_long"
    slack.workspace.archive("C0DEPLOYS")
    assert await edit() == "is_inactive"
    slack.workspace.archive("C0DEPLOYS", archived=False)
    slack.workspace.kick("C0DEPLOYS")
    assert await edit() == "not_in_channel"
    slack.workspace.invite("C0DEPLOYS", slack.workspace.bot_user_id)
    await client.chat_delete(channel="C0DEPLOYS", ts=ts)
    assert await edit() == "message_not_found"


async def test_private_messages_reach_members_only_and_cannot_be_edited(
    slack: Sandbox, client: AsyncWebClient
):
    slack.workspace.add_channel(Channel("C0FEW", "few", frozenset({"U0ALICE", "U0SIGNOFF"})))
    sent = await client.chat_postEphemeral(channel="C0FEW", user="U0ALICE", text="only you", blocks=CARD)
    outsider = client.chat_postEphemeral(channel="C0FEW", user="U0BOB", text="x")
    assert await refused(outsider) == "user_not_in_channel"
    edit = client.chat_update(channel="C0FEW", ts=sent["message_ts"], text="y")
    assert await refused(edit) == "message_not_found"
    payload = slack.payload_of_click(
        user="U0ALICE", channel="C0FEW", ts=sent["message_ts"], action_id="approve"
    )
    assert payload["container"]["is_ephemeral"] is True
    assert "message" not in payload


async def test_people_and_groups_are_told_as_they_are_now(slack: Sandbox, client: AsyncWebClient):
    async def user(name: str) -> dict[str, Any]:
        return dict((await client.users_info(user=name))["user"])

    assert (await user("U0ZOE"))["deleted"] is True
    assert (await user("U0GUEST"))["is_ultra_restricted"] is True
    assert ((await user("U0EXTERN"))["team_id"], (await user("U0EXTERN"))["is_stranger"]) == ("T0OTHER", True)
    assert await refused(client.users_info(user="U0NOBODY")) == "user_not_found"
    slack.workspace.deactivate("U0BOB")
    assert (await user("U0BOB"))["deleted"] is True
    assert (await client.users_lookupByEmail(email="Alice@acme.test"))["user"]["id"] == "U0ALICE"
    assert await refused(client.users_lookupByEmail(email="zoe@acme.test")) == "users_not_found"
    assert (await client.usergroups_users_list(usergroup="S0SRE"))["users"] == ["U0ALICE", "U0BOB"]
    slack.workspace.set_group("S0SRE", ["U0DAVE"])
    groups = (await client.usergroups_list(include_users=True, include_count=True))["usergroups"]
    assert {one["handle"]: one["users"] for one in groups} == {"sre": ["U0DAVE"], "ops": ["U0BOB"]}
    assert await refused(client.usergroups_users_list(usergroup="S0NONE")) == "no_such_subteam"
    slack.workspace.add_user(User("U0NEW", "new", "New Person"), ["C0DEPLOYS"])
    members = (await client.conversations_members(channel="C0DEPLOYS"))["members"]
    assert "U0NEW" in members
    ids = [one["id"] async for page in await client.users_list(limit=3) for one in page["members"]]
    assert len(ids) == len(set(ids)) == 9


async def test_channels_are_told_as_the_app_may_see_them(slack: Sandbox, client: AsyncWebClient):
    deploys = (await client.conversations_info(channel="C0DEPLOYS"))["channel"]
    assert (deploys["name"], deploys["is_member"], deploys["is_ext_shared"]) == ("deploys", True, True)
    assert (await client.conversations_info(channel="C0OLD"))["channel"]["is_archived"] is True
    assert await refused(client.conversations_info(channel="C0PRIVATE")) == "channel_not_found"
    listed = (await client.conversations_list(types="public_channel,private_channel", exclude_archived=True))[
        "channels"
    ]
    assert [one["name"] for one in listed] == ["deploys", "general"]
    opened = await client.conversations_open(users="U0ALICE", return_im=True)
    assert (opened["channel"]["id"], opened["channel"]["is_im"]) == ("D0ALICE", True)
    assert (await client.conversations_open(users="U0ALICE"))["already_open"] is True
    assert await refused(client.conversations_open(users="U0ZOE")) == "user_disabled"
    assert await refused(client.conversations_open(users="U0NOBODY")) == "user_not_found"
    assert await refused(client.conversations_open(users="")) == "users_list_not_supplied"
    slack.workspace.kick("C0GENERAL")
    assert (await client.conversations_join(channel="C0GENERAL"))["channel"]["is_member"] is True
    assert await refused(client.conversations_join(channel="C0OLD")) == "is_archived"


async def test_permalinks_lead_to_the_page(
    slack: Sandbox, client: AsyncWebClient, http: aiohttp.ClientSession
):
    ts = (await client.chat_postMessage(channel="C0DEPLOYS", text="x"))["ts"]
    link = (await client.chat_getPermalink(channel="C0DEPLOYS", message_ts=ts))["permalink"]
    assert link == f"{slack.url}/archives/C0DEPLOYS/p{ts.replace('.', '')}"
    async with http.get(link, allow_redirects=False) as answer:
        assert answer.headers["Location"] == f"/?channel=C0DEPLOYS&ts={ts}"
    assert (
        await refused(client.chat_getPermalink(channel="C0DEPLOYS", message_ts="1.1")) == "message_not_found"
    )


async def test_small_methods_answer(slack: Sandbox, client: AsyncWebClient):
    ts = (await client.chat_postMessage(channel="C0DEPLOYS", text="x"))["ts"]
    await client.reactions_add(channel="C0DEPLOYS", timestamp=ts, name="eyes")
    again = client.reactions_add(channel="C0DEPLOYS", timestamp=ts, name="eyes")
    assert await refused(again) == "already_reacted"
    shown = (await client.conversations_history(channel="C0DEPLOYS"))["messages"][0]
    assert shown["reactions"] == [{"name": "eyes", "users": ["U0SIGNOFF"], "count": 1}]
    assert (await client.team_info())["team"]["domain"] == "acme"
    assert (await client.bots_info(bot="B0SIGNOFF"))["bot"]["user_id"] == "U0SIGNOFF"
    assert await refused(client.bots_info(bot="B0OTHER")) == "bot_not_found"
    assert (await client.api_test(foo="bar"))["args"]["foo"] == "bar"
    assert await refused(client.api_test(error="my_error")) == "my_error"


def a_trigger(slack: Sandbox) -> str:
    return str(slack.workspace.handles.issue_trigger("U0ALICE"))


async def test_a_trigger_opens_one_modal_within_three_seconds(
    slack: Sandbox, client: AsyncWebClient, clock: Clock
):
    trigger = a_trigger(slack)
    broken = client.views_open(trigger_id=trigger, view=reason_modal(title=plain("x" * 25)))
    assert await refused(broken) == "invalid_arguments"
    clock.now += 3.0
    await client.views_open(trigger_id=trigger, view=reason_modal())
    again = client.views_open(trigger_id=trigger, view=reason_modal())
    assert await refused(again) == "exchanged_trigger_id"
    late = a_trigger(slack)
    clock.now += 3.01
    assert await refused(client.views_open(trigger_id=late, view=reason_modal())) == "expired_trigger_id"
    assert await refused(client.views_open(trigger_id="1.2.3", view=reason_modal())) == "invalid_trigger_id"


async def test_views_are_guarded_by_hash_stack_and_external_id(slack: Sandbox, client: AsyncWebClient):
    opened = (await client.views_open(trigger_id=a_trigger(slack), view=reason_modal(external_id="one")))[
        "view"
    ]
    updated = await client.views_update(
        view_id=opened["id"], hash=opened["hash"], view=reason_modal(callback_id="b")
    )
    stale = client.views_update(view_id=opened["id"], hash=opened["hash"], view=reason_modal())
    assert await refused(stale) == "hash_conflict"
    await client.views_update(view_id=opened["id"], view=reason_modal(external_id="two"))
    await client.views_update(external_id="two", view=reason_modal(external_id="two"))
    twice = client.views_push(trigger_id=a_trigger(slack), view=reason_modal(external_id="two"))
    assert await refused(twice) == "duplicate_external_id"
    for _ in range(2):
        await client.views_push(trigger_id=a_trigger(slack), view=reason_modal())
    full = client.views_push(trigger_id=a_trigger(slack), view=reason_modal())
    assert await refused(full) == "push_limit_reached"
    assert updated["view"]["hash"] != opened["hash"]
    slack.workspace.modals.shut_all("U0ALICE")
    assert await refused(client.views_update(view_id=opened["id"], view=reason_modal())) == "not_found"


async def test_a_home_is_published_for_one_person_and_guarded_by_its_hash(
    slack: Sandbox, client: AsyncWebClient
):
    home = {"type": "home", "blocks": CARD}
    first = (await client.views_publish(user_id="U0ALICE", view=home))["view"]
    second = (await client.views_publish(user_id="U0ALICE", view=home, hash=first["hash"]))["view"]
    assert first["id"] == second["id"]
    stale = client.views_publish(user_id="U0ALICE", view=home, hash=first["hash"])
    assert await refused(stale) == "hash_conflict"
    assert slack.home("U0BOB") is None
    assert await refused(client.views_publish(user_id="U0NOBODY", view=home)) == "user_not_found"
    assert await refused(client.views_publish(user_id="U0BOB", view=reason_modal())) == "invalid_arguments"


async def answer(http: aiohttp.ClientSession, url: str, **body: Any) -> tuple[int, str]:
    async with http.post(url, json=body) as response:
        return response.status, (await response.json()).get("error", "")


async def test_a_response_url_works_five_times(
    slack: Sandbox, client: AsyncWebClient, http: aiohttp.ClientSession
):
    ts = (await client.chat_postMessage(channel="C0DEPLOYS", text="x", blocks=CARD))["ts"]
    url = slack.payload_of_click(user="U0ALICE", channel="C0DEPLOYS", ts=ts, action_id="approve")[
        "response_url"
    ]
    assert await answer(http, url, text="private") == (200, "")
    assert await answer(http, url, text="public", response_type="in_channel") == (200, "")
    assert await answer(http, url, text="changed", replace_original=True) == (200, "")
    assert [one.text for one in slack.ephemerals("U0ALICE")] == ["private"]
    assert [one.text for one in slack.messages("C0DEPLOYS")] == ["changed", "public"]
    assert await answer(http, url, blocks=[{"type": "nonsense"}]) == (400, "invalid_blocks")
    assert await answer(http, url, delete_original=True) == (200, "")
    assert [one.text for one in slack.messages("C0DEPLOYS")] == ["public"]
    assert await answer(http, url, text="sixth") == (404, "used_url")


async def test_a_response_url_expires_after_thirty_minutes(
    slack: Sandbox, http: aiohttp.ClientSession, clock: Clock
):
    url = slack.workspace.handles.issue_response_url(user="U0ALICE", channel="C0GENERAL", source="command")
    clock.now += 30 * 60
    assert await answer(http, url, text="still") == (200, "")
    clock.now += 1
    assert await answer(http, url, text="late") == (404, "expired_url")
    assert (await answer(http, url + "0", text="guessed"))[0] == 404


async def test_a_response_url_changes_a_private_message_and_posts_where_the_app_is_not(
    slack: Sandbox, client: AsyncWebClient, http: aiohttp.ClientSession
):
    sent = await client.chat_postEphemeral(channel="C0GENERAL", user="U0BOB", text="a", blocks=CARD)
    click = slack.payload_of_click(
        user="U0BOB", channel="C0GENERAL", ts=sent["message_ts"], action_id="approve"
    )
    await answer(http, click["response_url"], text="b", replace_original=True)
    assert [one.text for one in slack.ephemerals("U0BOB")] == ["b"]
    await answer(http, click["response_url"], delete_original=True)
    assert slack.ephemerals("U0BOB") == []
    url = slack.workspace.handles.issue_response_url(user="U0ALICE", channel="C0PRIVATE", source="command")
    await answer(http, url, text="c", replace_original=True)
    await answer(http, url, text="d", response_type="in_channel")
    assert [one.text for one in slack.ephemerals("U0ALICE")] == ["c"]
    assert [one.text for one in slack.messages("C0PRIVATE")] == ["d"]


async def test_one_channel_takes_about_one_message_a_second(
    slack: Sandbox, client: AsyncWebClient, clock: Clock
):
    slack.rate_limits = True
    for _ in range(5):
        await client.chat_postMessage(channel="C0DEPLOYS", text="x")
    with pytest.raises(SlackApiError) as error:
        await client.chat_postMessage(channel="C0DEPLOYS", text="x")
    assert error.value.response.status_code == 429
    assert error.value.response.headers["Retry-After"] == "1"
    await client.chat_postMessage(channel="C0GENERAL", text="another channel")
    clock.now += 1
    await client.chat_postMessage(channel="C0DEPLOYS", text="x")
    assert len(slack.messages("C0DEPLOYS")) == 6


async def test_each_method_has_its_own_tier(slack: Sandbox, client: AsyncWebClient, clock: Clock):
    slack.rate_limits = True
    for _ in range(20):
        await client.usergroups_list()
    assert await refused(client.usergroups_list()) == "ratelimited"
    await client.users_info(user="U0ALICE")
    clock.now += 3
    await client.usergroups_list()
