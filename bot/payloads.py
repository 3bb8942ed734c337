"""What Slack sends, checked by pydantic at the door. Fields we do not use are ignored; ours must be right."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graph_runtime import Actor, Place, Refused, Ticket
from graph_runtime.types import InterruptId, PersonId, RequestId, RunId, ThreadId

from .identity import Identity

#: Longer than any id of ours; a longer one is garbage.
Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9:_-]+$")]
SlackId = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Z0-9]+$")]
Ts = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9.]+$")]


class _Payload(BaseModel):
    # An error of a payload must not repeat it: a payload holds a response_url and what people typed.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _Team(_Payload):
    id: SlackId


class _User(_Payload):
    id: SlackId
    team_id: str = ""


class _Container(_Payload):
    channel_id: SlackId
    message_ts: Ts


class _Button(_Payload):
    action_id: str
    value: str = ""


class Click(_Payload):
    """A ``block_actions`` payload of a button on a message."""

    api_app_id: SlackId
    team: _Team | None = None
    user: _User
    container: _Container
    actions: list[_Button] = Field(min_length=1)
    trigger_id: str = ""
    response_url: str = ""

    @property
    def workspace(self) -> str:
        """The team the click came from; null in an org-wide install, where the user's team stands."""
        return self.team.id if self.team else self.user.team_id

    @property
    def place(self) -> Place:
        """Where the clicked card lies, as Slack says."""
        return Place(
            "slack", self.api_app_id, self.workspace, self.container.channel_id, self.container.message_ts
        )

    @property
    def actor(self) -> Actor:
        """Who clicked."""
        return Actor(PersonId(self.user.id), self.user.team_id or self.workspace)


class _View(_Payload):
    id: str
    hash: str = ""
    callback_id: str = ""
    private_metadata: str = ""
    state: dict[str, Any] = Field(default_factory=dict)


class Submission(_Payload):
    """A ``view_submission`` payload of one of our dialogs."""

    api_app_id: SlackId
    team: _Team | None = None
    user: _User
    view: _View

    @property
    def workspace(self) -> str:
        """The team the submission came from."""
        return self.team.id if self.team else self.user.team_id

    @property
    def actor(self) -> Actor:
        """Who submitted."""
        return Actor(PersonId(self.user.id), self.user.team_id or self.workspace)

    def has(self, block_id: str) -> bool:
        """Say whether the dialog had this input."""
        values = self.view.state.get("values")
        return isinstance(values, dict) and block_id in values

    def text(self, block_id: str, action_id: str) -> str:
        """Return what was typed into an input or chosen in a select or picker; empty when nothing was."""
        values = self.view.state.get("values")
        block = values.get(block_id) if isinstance(values, dict) else None
        held = block.get(action_id) if isinstance(block, dict) else None
        if not isinstance(held, dict):
            return ""
        chosen = held.get("selected_option")
        value = (chosen if isinstance(chosen, dict) else held).get("value")
        moment = held.get("selected_date_time")
        if type(moment) is int:
            return str(moment)
        found = held.get("selected_date") or held.get("selected_user") if value is None else value
        return found if isinstance(found, str) else ""


class Turn(Submission):
    """A ``block_actions`` payload of a button in a dialog of ours: it has no message and no response_url."""

    actions: list[_Button] = Field(min_length=1)
    response_url: Literal[""] = ""

    @property
    def place(self) -> Place:
        """Where it came from: a dialog lies in no channel."""
        return Place("slack", self.api_app_id, self.workspace)


class Typed(_Payload):
    """A slash command."""

    api_app_id: SlackId
    team_id: SlackId
    user_id: SlackId
    channel_id: SlackId
    command: str
    text: str = ""
    trigger_id: str = ""

    @property
    def actor(self) -> Actor:
        """Who typed."""
        return Actor(PersonId(self.user_id), self.team_id)


def read_typed(body: Any, identity: Identity) -> Typed | str:
    """Return what was typed, or why it is not for us."""
    try:
        typed = Typed.model_validate(body)
    except ValidationError:
        return ":no_entry: This command could not be read. Nothing was done."
    if typed.api_app_id != identity.app or typed.team_id != identity.workspace:
        return ":no_entry: This command came from another app or workspace. Nothing was done."
    return typed


class _Ticket(BaseModel):
    """A ticket as a button carries it: short keys, because a value holds 2,000 characters at most."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    d: Id
    q: Id
    #: The only id that others choose: whatever an author calls a case.
    t: str = Field(min_length=1, max_length=255)
    r: Id
    i: Id
    #: How often the action had been edited when the button was drawn.
    n: int | None = None


class DialogOrigin(BaseModel):
    """What a dialog remembers of the card it was opened from."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    ticket: str = Field(max_length=2_000)
    channel: SlackId
    message: Ts
    #: How often the action had been edited when the dialog was drawn.
    round: int | None = None


class LaunchOrigin(BaseModel):
    """What a dialog remembers of the command that it was opened by."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    command: str = Field(max_length=40)


class DetailsOrigin(DialogOrigin):
    """What a dialog that shows all of a request remembers besides: the digest of what it shows."""

    digest: str = Field(max_length=100)


def write_ticket(ticket: Ticket, round_: int | None = None) -> str:
    """Return the ticket as a button's value, with how often the action that it shows was edited."""
    return json.dumps(
        {
            "d": ticket.deployment,
            "q": ticket.request_id,
            "t": ticket.thread_id,
            "r": ticket.run_id,
            "i": ticket.interrupt_id,
        }
        | ({} if round_ is None else {"n": round_}),
        separators=(",", ":"),
        ensure_ascii=False,
    )


def read_ticket(value: str) -> Ticket:
    """Return the ticket that a value claims to be. Raises :class:`Refused` (GARBLED_TICKET)."""
    try:
        read = _Ticket.model_validate_json(value)
    except ValidationError:
        raise Refused("GARBLED_TICKET", "This button is not one of ours. Nothing was recorded.") from None
    return Ticket(read.d, RequestId(read.q), ThreadId(read.t), RunId(read.r), InterruptId(read.i))


def read_round(value: str) -> int | None:
    """Return how often the action had been edited when a button with this value was drawn; None: unknown."""
    try:
        return _Ticket.model_validate_json(value).n
    except ValidationError:
        return None
