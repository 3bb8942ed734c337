"""Heads of the journal as lines of a file, as the sealer notes them and an audit reads them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from graph_runtime import Head

from .config import ConfigError


def read_anchors(path: Path) -> list[Head]:
    """Return the heads that were noted in a file; a line that was cut off is none.

    Raises :class:`ConfigError` for a file without any.
    """
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise ConfigError(f"nothing was verified: {path} cannot be read: {error.strerror}") from None
    heads = []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            noted = json.loads(line)
            heads.append(Head(int(noted["block"]), str(noted["seal"]), int(noted["sealed_at"])))
    if not heads:
        raise ConfigError(f"nothing was verified: {path} holds no heads of a journal")
    return heads


def write_anchor(head: Head) -> str:
    """Return a head as a line of a file of anchors."""
    return json.dumps({"block": head.block, "seal": head.seal, "sealed_at": head.sealed_at})
