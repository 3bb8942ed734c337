"""The records of a workspace: who is in it, which channels there are, what was posted, what a person sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.sandbox.refusals import Json


@dataclass(frozen=True, slots=True)
class User:
    """A member, guest, stranger (another `team_id`) or bot."""

    id: str
    name: str
    real_name: str
    title: str = ""
    email: str = ""
    team_id: str = "T0SANDBOX"
    is_bot: bool = False
    is_guest: bool = False
    deleted: bool = False
    color: str = "#4a6da7"
    tz: str = "Etc/UTC"
    tz_offset: int = 0

    @property
    def first_name(self) -> str:
        """What the log calls this person."""
        return self.real_name.split()[0] if self.real_name.split() else self.name


@dataclass(frozen=True, slots=True)
class Group:
    """A user group (Slack: subteam), named by `@handle`."""

    id: str
    handle: str
    name: str
    users: tuple[str, ...] = ()
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel, or a direct message between the app and `im_user`."""

    id: str
    name: str
    members: frozenset[str] = frozenset()
    is_private: bool = False
    is_archived: bool = False
    im_user: str | None = None
    created: int = 1700000000
    topic: str = ""

    @property
    def is_im(self) -> bool:
        """True for a direct message."""
        return self.im_user is not None


@dataclass(frozen=True, slots=True)
class Message:
    """One posted message as it is now; a later edit or deletion is a new record with the same `ts`."""

    channel: str
    ts: str
    user: str
    text: str
    blocks: list[Json] = field(default_factory=list)
    metadata: Json | None = None
    thread_ts: str | None = None
    edited: bool = False
    deleted: bool = False
    app: bool = False
    broadcast: bool = False
    reactions: tuple[tuple[str, str], ...] = ()

    @property
    def is_root(self) -> bool:
        """True for a message that stands in the channel itself, not in a thread."""
        return self.thread_ts is None or self.thread_ts == self.ts


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """A message only `user` can see; it has a `ts` that no Web API method accepts."""

    id: str
    user: str
    channel: str
    ts: str
    text: str
    blocks: list[Json] = field(default_factory=list)
    thread_ts: str | None = None


@dataclass(frozen=True, slots=True)
class Toast:
    """Slack's warning triangle for one person: the app did not answer."""

    id: str
    user: str
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class View:
    """A modal on a person's stack, or their App Home, with what they typed so far in `state`."""

    id: str
    user: str
    type: str
    body: Json
    blocks: list[Json]
    hash: str
    root_view_id: str
    previous_view_id: str | None = None
    errors: dict[str, str] = field(default_factory=dict)
    state: dict[str, dict[str, Json]] = field(default_factory=dict)

    @property
    def callback_id(self) -> str:
        """The app's name for this kind of view."""
        return str(self.body.get("callback_id") or "")

    @property
    def private_metadata(self) -> str:
        """The app's own string, never shown."""
        return str(self.body.get("private_metadata") or "")

    @property
    def external_id(self) -> str:
        """The app's own unique name for this view, or empty."""
        return str(self.body.get("external_id") or "")

    @property
    def title(self) -> str:
        """The words at the top of a modal."""
        return self._words("title")

    @property
    def submit(self) -> str:
        """The words of the submit button; empty when there is none."""
        return self._words("submit")

    @property
    def close(self) -> str:
        """The words of the close button; empty means Slack's default."""
        return self._words("close")

    def _words(self, key: str) -> str:
        found = self.body.get(key)
        return str(found.get("text", "")) if isinstance(found, dict) else ""


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A command the app registered in its manifest."""

    command: str
    description: str = ""
    usage_hint: str = ""
    #: Whether people and channels that are typed come as ids.
    should_escape: bool = False


@dataclass(frozen=True, slots=True)
class Seed:
    """What a workspace starts with; the bot user is added by itself."""

    users: tuple[User, ...] = ()
    groups: tuple[Group, ...] = ()
    channels: tuple[Channel, ...] = ()
    team_id: str = "T0SANDBOX"
    team_name: str = "Acme"
    team_domain: str = "acme"
    app_id: str = "A0SIGNOFF"
    app_name: str = "signoff"
    bot_user_id: str = "U0SIGNOFF"
    bot_id: str = "B0SIGNOFF"
    commands: tuple[SlashCommand, ...] = (
        SlashCommand("/signoff", "Ask for approval and look after runs", "runs | show <id> | help", True),
    )


def demo_workspace() -> Seed:
    """Acme: two SREs, a developer who asks, one in no group, a guest, a stranger and someone who left."""
    bot = Seed().bot_user_id
    users = (
        User(
            "U0ALICE", "alice", "Alice Adams", "Site reliability engineer", "alice@acme.test", color="#9f1853"
        ),
        User("U0BOB", "bob", "Bob Brown", "Site reliability engineer", "bob@acme.test", color="#0f62fe"),
        User("U0CAROL", "carol", "Carol Chen", "Developer", "carol@acme.test", color="#198038"),
        User("U0DAVE", "dave", "Dave Diaz", "Accountant", "dave@acme.test", color="#8a3800"),
        User(
            "U0GUEST", "gina", "Gina Guest", "Contractor", "gina@guest.test", is_guest=True, color="#6929c4"
        ),
        User("U0EXTERN", "xena", "Xena Extern", "Supplier", "xena@other.test", "T0OTHER", color="#005d5d"),
        User("U0ZOE", "zoe", "Zoe Gone", "Left last month", "zoe@acme.test", deleted=True, color="#525252"),
    )
    everyone = frozenset(user.id for user in users) | {bot}
    staff = frozenset({"U0ALICE", "U0BOB", "U0CAROL", "U0DAVE"})
    return Seed(
        users=users,
        groups=(
            Group("S0SRE", "sre", "Site reliability", ("U0ALICE", "U0BOB")),
            Group("S0OPS", "ops", "Operations", ("U0BOB",)),
        ),
        channels=(
            Channel("C0DEPLOYS", "deploys", everyone, topic="What goes to production"),
            Channel("C0GENERAL", "general", everyone, topic="Company-wide talk"),
            Channel("C0PRIVATE", "secret", staff, is_private=True, topic="The app is not invited here"),
            Channel("C0OLD", "old", staff | {bot}, is_archived=True, topic="Archived"),
        ),
    )
