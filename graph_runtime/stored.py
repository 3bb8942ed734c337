"""How the values of checkpoints lie in rows: one for each change, and for a list that grew what it grew by.

A suffix is only ever taken from what is on disk: the new list's text must begin with the stored text. It is
read back by putting texts together, never by running reducers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .plainjson import read_json
from .quick import quick
from .storage import Do, Row
from .types import CheckpointId
from .values import Codec

#: A list with a shorter text is stored whole; so is each one after so many suffixes.
WHOLE_BELOW, WHOLE_EVERY = 256, 32

#: A value by the checkpoint that stored it, and its channel.
Place = tuple[str, str]


@quick
@dataclass(frozen=True, slots=True)
class Stored:
    """The whole text of a value, and of how many suffixes it is made."""

    text: str
    suffixes: int = 0


def put_value(checkpoint_id: CheckpointId, channel: str, text: str, base: str | None = None) -> Do:
    """Return the statement that stores a value, or what it adds to that of ``base``."""
    return Do("put_value", {"checkpoint_id": checkpoint_id, "channel": channel, "base": base, "value": text})


def storing(
    codec: Codec,
    checkpoint_id: CheckpointId,
    channel: str,
    value: Any,
    base: CheckpointId | None,
    before: Stored | None,
) -> tuple[Do, Stored | None]:
    """Return the statement that stores a channel's new value, and what its next one may go on from.

    ``before`` is what ``base`` has stored of the channel.
    """
    text = codec.encode(value)
    goes_on = Stored(text) if len(text) >= WHOLE_BELOW and text[0] == "[" else None
    if before is None or base is None or before.suffixes >= WHOLE_EVERY:
        return put_value(checkpoint_id, channel, text), goes_on
    end = len(before.text) - 1
    # The bracket that closed the old list is a comma now: all of it is there, and something follows.
    if text[end : end + 1] != "," or not text.startswith(before.text[:end]):
        return put_value(checkpoint_id, channel, text), goes_on
    suffix = "[" + text[end + 1 :]
    return put_value(checkpoint_id, channel, suffix, base), Stored(text, before.suffixes + 1)


def read_stored(rows: Iterable[Row]) -> dict[Place, Stored]:
    """Return the whole texts of the values that rows of ``get_values`` hold."""
    by_place = {(row["checkpoint_id"], row["channel"]): row for row in rows}
    found = {}
    for place, row in by_place.items():
        parts, base = [row["value"]], row["base"]
        while base is not None:
            before = by_place[base, place[1]]
            parts.append(before["value"])
            base = before["base"]
        whole = parts[0] if len(parts) == 1 else f"[{','.join(part[1:-1] for part in reversed(parts))}]"
        found[place] = Stored(whole, len(parts) - 1)
    return found


def read_versions(row: Row) -> dict[str, CheckpointId]:
    """Return, for each channel of a checkpoint's row, the checkpoint that last wrote it."""
    return {name: CheckpointId(id_) for name, id_ in read_json(row["versions"]).items()}


def growing(versions: Mapping[str, CheckpointId], stored: Mapping[Place, Stored]) -> dict[str, Stored]:
    """Return the lists among a checkpoint's values that the next one may go on from, by channel."""
    of_channels = {name: stored.get((id_, name)) for name, id_ in versions.items()}
    return {
        name: one
        for name, one in of_channels.items()
        if one is not None and len(one.text) >= WHOLE_BELOW and one.text[0] == "["
    }
