"""Settings: the environment over one TOML file, checked by pydantic at the door.

Tokens come from the environment only, under the names Slack's own tools use; the file never holds a secret.
"""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from graph_runtime import (
    Calendar,
    CompiledGraph,
    Duration,
    Policy,
    PolicyError,
    Retention,
    StoreError,
    open_store,
    read_duration,
    read_policies,
)
from graph_runtime.policy import Group, Person

from .logs import redact
from .policies import load_tables, schedules_of, telling_who_is_on_call

#: What a process of `signoff serve` does: take what Slack delivers, advance runs and tell Slack, or both.
Role = Literal["all", "web", "worker"]
DEFAULT_FILE = "signoff.toml"
_SLACK_API = "https://slack.com/api/"


class ConfigError(Exception):
    """Nothing was started: the settings are wrong. The text names each place and what to do."""


def _token(prefix: str) -> Any:
    def check(value: Any) -> Any:
        if isinstance(value, str) and value and not value.startswith(prefix):
            # The message must not hold the value: it may be another token.
            raise ValueError(f"a token that begins with {prefix} was expected")
        return value

    return BeforeValidator(check)


def _read_age(text: Any) -> Any:
    return 0 if text == "0" else read_duration(text)


#: Seconds, written like ``90d``; 0 is no bound.
Age = Annotated[int, BeforeValidator(_read_age), Field(ge=0, le=36_525 * 86_400)]


class Slack(BaseModel):
    """How the bot meets Slack."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["socket", "http"] = Field(
        default="socket", description="Socket Mode, or signed HTTP requests"
    )
    channel: str = Field(default="", description="channel id for cards whose policy names none")
    fallback_channel: str = Field(
        default="", description="channel id for cards whose own channel is lost; without one, direct messages"
    )
    api_url: str = Field(
        default=_SLACK_API, description="Slack's Web API; another address only for the sandbox"
    )
    connections: int = Field(
        default=2, ge=1, le=10, description="Socket Mode connections, 10 per app at most"
    )

    @field_validator("api_url")
    @classmethod
    def _safe(cls, url: str) -> str:
        parts = urlsplit(url)
        local = parts.hostname in {"127.0.0.1", "localhost", "::1"}
        if parts.scheme != "https" and not local:
            raise ValueError("tokens travel here, so it is https:// unless it is this machine")
        return url if url.endswith("/") else url + "/"


class Http(BaseModel):
    """Where the bot listens: Slack's requests in HTTP mode, and health and metrics in both modes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 inside a container")
    port: int = Field(default=3000, ge=0, le=65535, description="port to listen on; 0 takes a free one")


class JournalKeys(BaseModel):
    """With what the journal is sealed, and where its head is noted."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    keys: dict[str, SecretStr] = Field(
        default_factory=dict, description="secrets by name, of 32 or more letters"
    )
    key: str = Field(default="", description="the one to seal with; needed once there are several")
    anchor: str = Field(default="", description="a file, or an https:// address that takes a POST")

    @model_validator(mode="after")
    def _a_key(self) -> Self:
        if any(len(secret.get_secret_value()) < 32 for secret in self.keys.values()):
            raise ValueError("a key of the journal has at least 32 letters: openssl rand -hex 32")
        if self.key and self.key not in self.keys:
            raise ValueError("journal.key is the name of one of journal.keys")
        if len(self.keys) > 1 and not self.key:
            raise ValueError("with several journal.keys, journal.key says which one seals")
        if self.anchor.startswith("http://"):
            raise ValueError("an anchor's address begins with https://")
        return self

    @property
    def current(self) -> str:
        """The name of the key to seal with; empty when there is none."""
        return self.key or next(iter(self.keys), "")

    @property
    def secrets(self) -> dict[str, bytes]:
        """The keys by name, as bytes."""
        return {name: secret.get_secret_value().encode() for name, secret in self.keys.items()}


class SlashCommand(BaseModel):
    """A command in Slack that starts a run of a graph with what is typed after it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    graph: str = Field(description="the graph of which it starts a run")
    arguments: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="module:class of the pydantic model that what is typed is read as",
    )
    key: str = Field(default="", description='idempotency key made of arguments, like "{service}:{commit}"')
    people: tuple[Person, ...] = Field(default=(), description="user ids who may use it")
    groups: tuple[Group, ...] = Field(default=(), description="user groups whose members may use it")
    requester_field: str = Field(
        default="requester", description="the input key that gets the user id of who typed; empty for none"
    )


class Settings(BaseSettings):
    """Everything that can be set. Environment names are SIGNOFF_... with __ between levels."""

    model_config = SettingsConfigDict(
        env_prefix="SIGNOFF_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    database: str = Field(
        default="sqlite:///.signoff/signoff.db", description="sqlite:///PATH, or postgresql://..."
    )
    graphs: dict[str, str] = Field(default_factory=dict, description="graph name = module:attribute")
    commands: dict[Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,31}$")], SlashCommand] = Field(
        default_factory=dict, description="command name = the graph of which it starts runs; see docs"
    )
    policies: dict[str, Policy] = Field(default_factory=dict, description="who may decide; see docs")
    policy_file: str = Field(default="", description="a file with more policies, seen from the settings'")
    calendars: dict[str, Calendar] = Field(
        default_factory=dict, description="working days and hours that policies speak of"
    )
    tool_policies: dict[str, str] = Field(
        default_factory=dict, description="glob of tool names = policy for calls in a neighbour's shape"
    )
    on_call: dict[str, str] = Field(
        default_factory=dict, description="on-call schedule = user group that holds who is on call now"
    )
    redact: tuple[str, ...] = Field(
        default=(), description="globs of facts, arguments and state keys whose values are never shown"
    )
    operators: tuple[str, ...] = Field(default=(), description="user ids who may start and cancel runs")
    lease: Duration = Field(default=30, description="how long a dead process keeps its work from others")
    keep_finished: Age = Field(
        default=90 * 86_400, description="how long a finished thread is kept; 0 is for ever"
    )
    keep_threads: int = Field(
        default=0, ge=0, description="how many finished threads are kept, those that ended last; 0 is all"
    )
    people: dict[str, str] = Field(
        default_factory=dict,
        description="user of this machine = Slack user id, for what is done in their name",
    )
    slack: Slack = Slack()
    http: Http = Http()
    journal: JournalKeys = JournalKeys()
    log: Literal["text", "json"] = Field(default="text", description="how log lines look")
    bot_token: Annotated[SecretStr, _token("xoxb-")] = Field(
        SecretStr(""), validation_alias=AliasChoices("SLACK_BOT_TOKEN"), description="bot token"
    )
    app_token: Annotated[SecretStr, _token("xapp-")] = Field(
        SecretStr(""), validation_alias=AliasChoices("SLACK_APP_TOKEN"), description="for Socket Mode"
    )
    signing_secret: SecretStr = Field(
        SecretStr(""), validation_alias=AliasChoices("SLACK_SIGNING_SECRET"), description="for HTTP mode"
    )

    @field_validator("database")
    @classmethod
    def _known_database(cls, url: str) -> str:
        try:
            open_store(url)  # opens nothing before it is entered
        except StoreError as error:
            raise ValueError(str(error)) from error
        return url

    @model_validator(mode="before")
    @classmethod
    def _policies(cls, data: Any) -> Any:
        """Put the policies of the policy file beside the others, and the calendars in them."""
        tables = {name: data.get(name, {}) for name in ("policies", "calendars")}
        if not all(isinstance(table, Mapping) for table in tables.values()):
            return data  # pydantic says so
        file = data.get("policy_file") or ""
        try:
            if isinstance(file, str) and file:
                folder = Path() if _file_in_use is None else _file_in_use.parent
                for name, table in load_tables(folder / file).items():
                    tables[name] = _together(tables[name], table, file)
            policies = read_policies(tables["policies"], tables["calendars"])
            on_call = data.get("on_call")
            if isinstance(on_call, Mapping):
                policies = telling_who_is_on_call(policies, on_call)
            return {**data, **tables, "policies": policies}
        except PolicyError as error:
            # Said with whatever else is wrong, at its place.
            return {**data, "policies": error, "calendars": {}}

    @field_validator("policies", mode="before")
    @classmethod
    def _broken(cls, data: Any) -> Any:
        if isinstance(data, PolicyError):
            raise ValueError(str(data)) from data  # noqa: TRY004 - pydantic takes no other
        return data

    @model_validator(mode="after")
    def _default_policy(self) -> Self:
        if unknown := sorted(schedules_of(self.policies.values()) - self.on_call.keys()):
            raise ValueError(
                f"a policy names the on-call schedule {', '.join(unknown)}, which [on_call] does not know; "
                'for example sre-primary = "S0ONCALL", a user group that your paging tool keeps'
            )
        if unknown := sorted({*self.tool_policies.values()} - self.policies.keys()):
            raise ValueError(f"[tool_policies] names {', '.join(unknown)}, and there is no such policy")
        if "default" not in self.policies:
            raise ValueError(
                "there is no [policies.default]: it says who decides a plain interrupt(); "
                'for example people = ["U0123456789"]'
            )
        return self

    @model_validator(mode="after")
    def _commands_of_graphs(self) -> Self:
        if "signoff" in self.commands:
            raise ValueError("[commands.signoff]: /signoff is our own; call yours otherwise")
        for name, command in self.commands.items():
            if command.graph not in self.graphs:
                raise ValueError(
                    f"[commands.{name}] names the graph {command.graph!r}, which [graphs] does not know"
                )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let arguments win over the environment, and the environment over the file."""
        toml = TomlConfigSettingsSource(settings_cls, _file_in_use)
        return init_settings, env_settings, toml

    @property
    def retention(self) -> Retention:
        """Which finished threads are let go."""
        return Retention(self.keep_finished, self.keep_threads)

    def need_slack(self, *, takes: bool) -> None:
        """Raise :class:`ConfigError` that names every setting missing for calling Slack.

        Who ``takes`` what Slack delivers, in this mode, needs more.
        """
        missing = []
        if not self.bot_token.get_secret_value():
            missing.append("SLACK_BOT_TOKEN (xoxb-..., from the app's OAuth page)")
        if takes and self.slack.mode == "socket" and not self.app_token.get_secret_value():
            missing.append("SLACK_APP_TOKEN (xapp-..., with connections:write)")
        if takes and self.slack.mode == "http" and not self.signing_secret.get_secret_value():
            missing.append("SLACK_SIGNING_SECRET (from the app's Basic Information page)")
        if not self.slack.channel and any(p.channel is None for p in self.policies.values()):
            missing.append("slack.channel, or a channel in every policy")
        if missing:
            raise ConfigError("nothing was started; missing: " + "; ".join(missing))

    def load_graphs(self) -> list[CompiledGraph]:
        """Import and return the graphs. Raises :class:`ConfigError` that names each one that is wrong."""
        found, wrong = [], []
        for name, target in self.graphs.items():
            try:
                graph = find(target)
            except Exception as error:  # noqa: BLE001 - importing runs the author's module
                wrong.append(f"graphs.{name} = {target!r}: {type(error).__name__}: {error}")
                continue
            if not isinstance(graph, CompiledGraph):
                wrong.append(f"graphs.{name} = {target!r} is no compiled graph (call .compile())")
            elif graph.name != name:
                wrong.append(f"graphs.{name} = {target!r} is called {graph.name!r}; use one name")
            else:
                found.append(graph)
        if wrong:
            raise ConfigError("nothing was started; " + "; ".join(wrong))
        if not found:
            raise ConfigError("nothing was started; name a graph under [graphs]: name = module:attribute")
        return found


def find(target: str) -> Any:
    """Return what ``module:attribute`` names, found from the current folder. It runs the author's module."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute or "graph")


def _together(here: Mapping[str, Any], there: Mapping[str, Any], file: str) -> dict[str, Any]:
    twice = sorted(here.keys() & there.keys())
    if twice:
        raise PolicyError(f"no policy was loaded: {', '.join(twice)} is in the settings and in {file} too")
    return {**here, **there}


class SettingsAlone(Settings):
    """Settings of what is given alone: neither the environment nor a file of this folder has a say."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the arguments and nothing else."""
        return (init_settings,)


_file_in_use: Path | None = None


def load_settings(file: str | None = None, **given: Any) -> Settings:
    """Return the settings of ``file``, else of $SIGNOFF_CONFIG, else of signoff.toml here if there is one.

    Raises :class:`ConfigError` that names each wrong place; values are not repeated in it.
    """
    global _file_in_use  # noqa: PLW0603 - pydantic-settings asks for its sources through the class
    chosen = file or os.environ.get("SIGNOFF_CONFIG")
    path = Path(chosen or DEFAULT_FILE)
    if chosen and not path.is_file():
        raise ConfigError(f"nothing was started: there is no file {chosen!r}")
    _file_in_use = path if path.is_file() else None
    try:
        return Settings(**given)
    except ValidationError as error:
        places = [
            f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_input=False)
        ]
        where = str(path) if path.is_file() else "the environment (there is no signoff.toml here)"
        raise ConfigError(f"nothing was started; {where} is wrong: " + redact("; ".join(places))) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"nothing was started: {path} is no TOML: {redact(str(error))}") from None
    except SettingsError as error:
        # A list or table in the environment is JSON; pydantic-settings names the field and repeats no value.
        raise ConfigError(
            f"nothing was started; the environment is wrong: {error}; JSON is expected"
        ) from None
    except OSError as error:
        raise ConfigError(f"nothing was started: {path} cannot be read: {error.strerror}") from None
