"""Policy files: TOML with ``[policies.NAME]`` and ``[calendars.NAME]`` tables, kept apart from the settings.

Who may decide is often looked after by other people than the rest of the settings.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from graph_runtime import Policy, PolicyError, read_policies
from graph_runtime.policy import ON_CALL


def load_tables(path: Path) -> dict[str, dict[str, Any]]:
    """Return the tables of a policy file as they stand. Raises :class:`PolicyError` that names the file."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise PolicyError(f"no policy was loaded: {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"no policy was loaded: {path} is no TOML: {error}") from None
    others = sorted(data.keys() - {"policies", "calendars"})
    if others:
        raise PolicyError(
            f"no policy was loaded: {path} holds [policies.NAME] and [calendars.NAME] tables and no more; "
            f"there is {', '.join(others)}"
        )
    if not isinstance(data.get("policies"), Mapping) or not data["policies"]:
        raise PolicyError(f"no policy was loaded: {path} holds no [policies.NAME]")
    if not isinstance(data.get("calendars", {}), Mapping):
        raise PolicyError(f"no policy was loaded: {path} holds no [calendars.NAME] but calendars")
    return {"policies": data["policies"], "calendars": data.get("calendars", {})}


def load_policies(path: Path) -> dict[str, Policy]:
    """Return the policies of a file by name. Raises :class:`PolicyError` that names it and every fault."""
    tables = load_tables(path)
    try:
        return read_policies(tables["policies"], tables["calendars"])
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def telling_who_is_on_call(policies: Mapping[str, Policy], on_call: Mapping[str, str]) -> dict[str, Policy]:
    """Return the policies with each schedule that is escalated to as its user group, which Slack can tell."""
    found = dict(policies)
    for name, policy in policies.items():
        group = on_call.get(policy.escalate.to.removeprefix(ON_CALL)) if policy.escalate else None
        if policy.escalate is not None and group is not None and policy.escalate.to.startswith(ON_CALL):
            told = policy.escalate.model_copy(update={"to": group})
            found[name] = policy.model_copy(update={"escalate": told})
    return found


def schedules_of(policies: Iterable[Policy]) -> set[str]:
    """Return the names of the on-call schedules that the policies speak of."""
    found = set()
    for policy in policies:
        found |= {rule.on_call for rule in policy.every_rule if rule.on_call}
        named = [policy.escalate.to] if policy.escalate else []
        named += [policy.freeze_bypass.group] if policy.freeze_bypass else []
        found |= {one.removeprefix(ON_CALL) for one in named if one.startswith(ON_CALL)}
    return found
