"""What people say in their own words: it lies beside the journal, whose line holds only the digest of it.

So the words can be erased while every seal stays true. The digest is over a salt too, which goes with the
words: who guesses what was said cannot find out by comparing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import records
from .storage import Do, Row

#: What a line calls the digest of what was said with it.
WORDS = "words"


@dataclass(frozen=True, slots=True)
class Spoken:
    """A line of the journal that is about to be written, and the words that belong to it."""

    line: str
    writes: tuple[Do, ...] = ()
    #: What the line says of the words.
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def text_id(self) -> str | None:
        """Where the words lie; None when there are none."""
        return self.line if self.writes else None


def spoken(
    line: str,
    person: str | None,
    words: str | None,
    now: int,
    *,
    thread_id: str | None = None,
    request_id: str | None = None,
) -> Spoken:
    """Return what keeps the words of a person beside the line ``line``. Without words it keeps nothing."""
    if not words:
        return Spoken(line)
    salt, said = secrets.token_hex(16), records.legible(words)
    digest = digest_of(salt, said)
    put = Do(
        "put_text",
        {
            "text_id": line,
            "person": person or "",
            "thread_id": thread_id,
            "request_id": request_id,
            "digest": digest,
            "salt": salt,
            "said": said,
            "now": now,
        },
    )
    return Spoken(line, (put,), {WORDS: digest})


def digest_of(salt: str, said: str) -> str:
    """Return the digest that a line of the journal holds of words."""
    return "sha256:" + hashlib.sha256(f"{salt}{said}".encode()).hexdigest()


def fault_of(event_id: str, digest: str, text: Row | None) -> str | None:
    """Say what is wrong with the words of a sealed line that holds their digest; None when nothing is."""
    if text is None:
        return f"what was said with line {event_id} is not there any more, and was not erased as it is"
    if text["said"] is None and text["erased_in"] is not None and text["digest"] == digest:
        return None  # whether the line that says so is there is looked at in the end
    if text["said"] is None or digest_of(str(text["salt"]), str(text["said"])) != digest:
        return f"what was said with line {event_id} was changed after that was sealed"
    return None
