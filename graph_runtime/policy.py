"""Policies as data: who may decide, whether the requester may, and how long the question stands.

A policy is copied into each request when it is opened; changing it never changes an open question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .errors import PolicyError
from .types import GroupId, PersonId

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(\d+)\s*([dhms])")
#: A deadline further off than this is a typing error.
_LONGEST = 366 * 86_400


def read_duration(text: Any) -> Any:
    """Return seconds for texts like ``90m``, ``4h`` or ``1d 12h``; anything else unchanged, for pydantic."""
    if not isinstance(text, str):
        return text
    if not re.fullmatch(rf"\s*({_DURATION.pattern}\s*)+", text):
        raise ValueError(f"{text!r} is no duration; write it like 30m, 4h or 1d 12h")
    return sum(int(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


Duration = Annotated[int, BeforeValidator(read_duration), Field(gt=0, le=_LONGEST)]


class Policy(BaseModel):
    """Who may decide a request, and under which terms. One of the named people, or a member of a group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Reviewers by id.
    people: tuple[PersonId, ...] = ()
    #: Groups whose members, at the moment of deciding, may decide.
    groups: tuple[GroupId, ...] = ()
    #: Whether the requester and the named co-authors may approve. They may always reject.
    self_approval: Literal["forbid", "allow"] = "forbid"
    #: Whether a rejection must say why.
    reject_reason: Literal["required", "optional"] = "required"
    #: Seconds until the question closes as timed_out, which is never an approval; None stands for ever.
    deadline: Duration | None = None
    #: Where the question is shown; the runtime does not know what it means. None: where the bot shows all.
    channel: str | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Policy:
        if not self.people and not self.groups:
            raise ValueError("nobody may decide: name people, groups, or both")
        if any(not name.strip() for name in (*self.people, *self.groups)):
            raise ValueError("people and groups are ids, and none of them is empty")
        return self

    def check_satisfiable(self, excluded: Iterable[PersonId]) -> None:
        """Raise :class:`PolicyError` when nobody is left who may approve without the ``excluded``."""
        if self.groups or self.self_approval == "allow":
            return
        left = set(self.people) - set(excluded)
        if not left:
            raise PolicyError(
                "nobody was asked: everybody who may decide is the requester or a co-author, who may not "
                "approve; name another person or a group in the policy"
            )


def read_policies(data: Mapping[str, Any]) -> dict[str, Policy]:
    """Return the policies by name. Raises :class:`PolicyError` that names every one that is broken."""
    found, wrong = {}, []
    for name, body in data.items():
        try:
            found[name] = body if isinstance(body, Policy) else Policy.model_validate(body)
        except ValidationError as error:
            wrong += [
                f"policy {name!r}{'.' + '.'.join(map(str, e['loc'])) if e['loc'] else ''}: {e['msg']}"
                for e in error.errors()
            ]
    if wrong:
        raise PolicyError("no policy was loaded: " + "; ".join(wrong))
    return found
