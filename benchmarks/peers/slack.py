"""Slack's side of the clicks: the sandbox, and people who click over signed HTTP; a process of its own.

It answers lines of JSON on standard input: ``post`` puts look-alike cards on the screen, ``paced`` clicks one
after the other with a pause between, ``burst`` clicks many at once, ``lanes`` keeps many under way.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

import aiohttp

from bot.cards import APPROVE
from bot.sandbox import Sandbox
from bot.sandbox.delivery import signature

ALICE, CHANNEL = "U0ALICE", "C0DEPLOYS"
Card = tuple[str, str]


def look_alike(number: int) -> list[dict[str, Any]]:
    """Return a card whose click is as large as that of the bot's: much of the work is to read it."""
    words = "with some words that are about so long, :mag: `and` <some> *marks*"
    lines = [{"type": "mrkdwn", "text": f"*line {n}*\n{words}"} for n in range(17)]
    button = {"type": "button", "text": {"type": "plain_text", "text": "Approve"}, "action_id": APPROVE}
    return [
        {"type": "section", "block_id": "title", "text": {"type": "mrkdwn", "text": f"*Deploy {number}*"}},
        {"type": "section", "block_id": "facts", "fields": lines[:9]},
        {"type": "section", "block_id": "more", "fields": lines[9:]},
        {
            "type": "actions",
            "block_id": "buttons",
            "elements": [{**button, "value": json.dumps({f"id {n}": "x" * 24 for n in range(5)})}],
        },
    ]


class People:
    """Click on cards, each at most once, and take the time from the click to its acknowledgement."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self._sandbox = sandbox
        self._session = session
        self._cards: Iterator[Card] = iter(())
        self._url = ""
        self._seen = 0

    def post(self, count: int) -> list[Card]:
        """Put look-alike cards on the screen."""
        space = self._sandbox.workspace
        made = [
            space.post(channel=CHANNEL, user=space.bot_user_id, text="Deploy", blocks=look_alike(number))
            for number in range(count)
        ]
        return [(message.channel, message.ts) for message in made]

    def meet(self, url: str, cards: Sequence[Card]) -> None:
        """Learn where clicks go and which cards there are."""
        self._url = url
        self._cards = iter([(channel, ts) for channel, ts in cards])

    async def paced(self, count: int, pause: float) -> dict[str, Any]:
        took, tests = [], 0
        for card in itertools.islice(self._cards, count):
            took.append(await self._click(self._body(card)))
            await asyncio.sleep(pause)
            tests += self._new_auth_tests()
        return {"took": took, "auth_tests": tests}

    async def burst(self, count: int, at_once: int, pause: float) -> dict[str, Any]:
        took, walls = [], []
        for _ in range(count):
            bodies = [self._body(card) for card in itertools.islice(self._cards, at_once)]
            begun = time.perf_counter()
            took += await asyncio.gather(*(self._click(body) for body in bodies))
            walls.append(time.perf_counter() - begun)
            await asyncio.sleep(pause)
        return {"took": took, "walls": walls}

    async def lanes(self, count: int, at_once: int) -> dict[str, Any]:
        bodies = iter([self._body(card) for card in itertools.islice(self._cards, count)])

        async def lane() -> list[float]:
            return [await self._click(body) for body in bodies]

        begun = time.perf_counter()
        took = await asyncio.gather(*(lane() for _ in range(at_once)))
        return {"took": [one for lane_ in took for one in lane_], "walls": [time.perf_counter() - begun]}

    def _body(self, card: Card) -> bytes:
        channel, ts = card
        payload = self._sandbox.payload_of_click(user=ALICE, channel=channel, ts=ts, action_id=APPROVE)
        return urlencode({"payload": json.dumps(payload)}).encode()

    async def _click(self, body: bytes) -> float:
        stamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": signature(self._sandbox.signing_secret, stamp, body.decode()),
        }
        begun = time.perf_counter()
        async with self._session.post(self._url, data=body, headers=headers) as answer:
            await answer.read()
        if answer.status != 200:
            raise RuntimeError(f"a click was answered with {answer.status}")
        return time.perf_counter() - begun

    def _new_auth_tests(self) -> int:
        new = [entry for entry in self._sandbox.log if entry.id > self._seen]
        self._seen = max([self._seen, *(entry.id for entry in new)])
        return sum(entry.kind == "auth.test" for entry in new)


async def main() -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with Sandbox() as sandbox, aiohttp.ClientSession(connector=connector) as session:
        people = People(sandbox, session)
        _say(
            {
                "api_url": f"{sandbox.url}/api/",
                "bot_token": sandbox.bot_token,
                "secret": sandbox.signing_secret,
            }
        )
        doings: dict[str, Callable[..., Any]] = {
            name: getattr(people, name) for name in ("post", "meet", "paced", "burst", "lanes")
        }
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            done = doings[asked.pop("do")](**asked)
            _say(await done if asyncio.iscoroutine(done) else done)


def _say(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
