"""What a running task may ask of whoever drives its run: a walk, or a replay from the record."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .plan import Plan
from .storage import Ask, Do, Row
from .types import GroupId, PersonId, Reviewer

if TYPE_CHECKING:
    from .executor import TaskScope


class Host(Protocol):
    """What a running task may ask of whoever drives its run."""

    async def effects_of(self, scope: TaskScope) -> dict[str, Any]:
        """Return what earlier executions of this task recorded, by key."""
        ...

    async def keep_effect(
        self,
        scope: TaskScope,
        key: str,
        name: str,
        value: Any,
        *,
        told: Mapping[str, Any] | None = None,
        also: Sequence[Do] = (),
    ) -> Any:
        """Record an effect so that it is on disk, and return it as it will be read back.

        ``told`` is a line of the journal that is written with it: its kind, and ids and codes.
        """
        ...

    async def write(self, scope: TaskScope, writes: Sequence[Do], *, told: Mapping[str, Any]) -> None:
        """Write this under the run's lease, with a line of the journal; on disk when this returns."""
        ...

    async def attempt(self, scope: TaskScope, writes: Sequence[Do], *, told: Mapping[str, Any]) -> bool:
        """Write as :meth:`write`; when a guard of ``writes`` fails, write nothing and return False."""
        ...

    async def read(self, *asks: Ask) -> Sequence[Sequence[Row]]:
        """Return what stands in the store, from one snapshot."""
        ...

    async def reviewer(self, person: PersonId, groups: Collection[GroupId]) -> Reviewer:
        """Return who this is now, with those of the groups they are in; what cannot be learned is said."""
        ...

    def now(self) -> int:
        """Return the time of the clock that the run goes by."""
        ...

    async def barrier(self) -> None:
        """Return when everything before this moment is on disk."""
        ...

    async def retrying(self) -> None:
        """Count a retry. Raises :class:`LimitReached` when the run has used them up."""
        ...

    async def subgraph(
        self,
        scope: TaskScope,
        plan: Plan,
        given: Any,
        *,
        memory: bool | None,
        config: Mapping[str, Any] | None = None,
        context: Any = None,
    ) -> Any:
        """Run a graph inside this task to its end, and return its output; or raise the pause.

        Its nodes are given the config and context of the task, with what is given here on top.
        """
        ...

    def spend(self, scope: TaskScope, name: str, amount: float) -> None:
        """Take ``amount`` from the run's budget called ``name``. Raises :class:`LimitReached`."""
        ...
