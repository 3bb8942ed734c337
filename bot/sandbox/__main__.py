"""`python -m bot.sandbox`: the sandbox alone, until it is interrupted."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from bot.sandbox.server import Sandbox


async def run(host: str, port: int, request_url: str | None, public_url: str | None) -> None:
    """Serves until SIGINT or SIGTERM; what to open and what to export stands on standard output."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    sandbox = Sandbox(host=host, port=port, request_url=request_url, public_url=public_url, rate_limits=True)
    async with sandbox as slack:
        lines = (
            f"# The page: {slack.url}/",
            f"SLACK_BOT_TOKEN={slack.bot_token}",
            f"SLACK_APP_TOKEN={slack.app_token}",
            f"SLACK_SIGNING_SECRET={slack.signing_secret}",
            f"SLACK_API_URL={slack.url}/api/",
        )
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        await stopped.wait()


def main() -> int:
    """The exit status: 0 after an interrupt, 1 when the port is taken."""
    parser = argparse.ArgumentParser(prog="python -m bot.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4390)
    parser.add_argument("--request-url", help="deliver by signed HTTP to this URL instead of Socket Mode")
    parser.add_argument(
        "--public-url", help="the address of the page and the API when it is not host and port"
    )
    wanted = parser.parse_args()
    try:
        asyncio.run(run(wanted.host, wanted.port, wanted.request_url, wanted.public_url))
    except OSError as error:
        sys.stderr.write(f"cannot listen on {wanted.host}:{wanted.port}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
