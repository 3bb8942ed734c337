"""How long a node may take, and how long it may be silent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal


@dataclass(frozen=True, slots=True)
class TimeoutPolicy:
    """How long one attempt of a node may take, in seconds: in all, and without a sign of life.

    That is ``runtime.heartbeat()`` and, unless ``refresh_on`` is "heartbeat", a write to the custom stream.
    """

    run_timeout: float | timedelta | None = None
    idle_timeout: float | timedelta | None = None
    refresh_on: Literal["auto", "heartbeat"] = "auto"

    @classmethod
    def coerce(cls, value: float | timedelta | TimeoutPolicy | None) -> TimeoutPolicy | None:
        """Return the policy in seconds, None for one without limits. Raises ValueError unless above zero."""
        policy = value if isinstance(value, TimeoutPolicy) else cls(run_timeout=value)
        if policy.refresh_on not in {"auto", "heartbeat"}:
            raise ValueError("refresh_on must be 'auto' or 'heartbeat'")
        run, idle = read_seconds(policy.run_timeout), read_seconds(policy.idle_timeout)
        return None if run is None and idle is None else cls(run, idle, policy.refresh_on)


def read_seconds(given: float | timedelta | None) -> float | None:
    """Return a length of time in seconds. Raises ValueError unless it is above zero."""
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if seconds is not None and seconds <= 0:
        raise ValueError(f"a timeout of {seconds} s would stop the node before it starts")
    return None if seconds is None else float(seconds)
