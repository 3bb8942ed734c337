"""A local Slack: Web API subset, Socket Mode, signed HTTP deliveries and a page, with Slack's rules.

An unmodified slack-bolt app runs against it with `base_url=slack.url + "/api/"`. It imports nothing of ours.
"""

from __future__ import annotations

from bot.sandbox.delivery import Delivery
from bot.sandbox.faults import Fault
from bot.sandbox.records import (
    Channel,
    Ephemeral,
    Group,
    Message,
    Seed,
    SlashCommand,
    Toast,
    User,
    View,
    demo_workspace,
)
from bot.sandbox.refusals import NotOnScreenError
from bot.sandbox.server import Sandbox
from bot.sandbox.workspace import Workspace

__all__ = [
    "Channel",
    "Delivery",
    "Ephemeral",
    "Fault",
    "Group",
    "Message",
    "NotOnScreenError",
    "Sandbox",
    "Seed",
    "SlashCommand",
    "Toast",
    "User",
    "View",
    "Workspace",
    "demo_workspace",
]
