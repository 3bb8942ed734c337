"""The app manifest as an operator hands it to Slack: ours, with the commands of the settings added."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from .launches import Launch

_HERE = Path(__file__).parent
#: Beside this file in an installed package, above it in a checkout.
_PLACES = (_HERE / "manifest.yml", _HERE.parent / "manifest.yml")
#: What follows our own commands in the file.
_AFTER = "oauth_config:\n"
#: Slack takes no longer description and hint. Source: its manifest schema.
_DESCRIPTION, _HINT = 2_000, 1_000


def manifest(launches: Iterable[Launch]) -> str:
    """Return manifest.yml with these commands added to our own."""
    ours = next(place for place in _PLACES if place.exists()).read_text(encoding="utf-8")
    before, after, rest = ours.partition(_AFTER)
    assert after, "manifest.yml has its commands before its scopes"
    return before + "".join(map(_entry, launches)) + after + rest


def _entry(launch: Launch) -> str:
    """Return a command as lines of YAML, which takes a JSON text as it is."""
    hint = launch.usage.removeprefix(launch.command).strip()
    lines = [
        f"    - command: {launch.command}",
        f"      description: {json.dumps(launch.about[:_DESCRIPTION])}",
        *([f"      usage_hint: {json.dumps(hint[:_HINT])}"] if hint else []),
        "      should_escape: true             # people and channels that are typed come as ids",
    ]
    return "\n".join(lines) + "\n"
