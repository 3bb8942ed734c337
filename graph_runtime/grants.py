"""The execution gate: what was approved is carried out once, as it was shown; where nobody knows, it is said.

A grant is one approved request. Before the function runs, its use is on disk; after it, its result is. In
between lies the gap that no database closes: a process that dies there leaves an effect of which nobody knows
whether it took place. It is never repeated blindly: ``reconcile`` looks, or an operator says.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from . import records
from .bypass import holding, scopes_of
from .calls import call_effect, is_stopped
from .clock import SECOND
from .errors import FrozenError, GrantRefused, NodeMisused, NotDone, ValueRefused
from .executor import TaskScope
from .host import Host
from .inside import as_recorded, ask, driven, recorded, run_once
from .judging import Case, bound_digest, judge
from .plainjson import write_json
from .requests import POLICY
from .storage import Ask, Do, Row
from .types import Action, ApprovalRequest, Decision, Grant, Verdict
from .values import Codec, Unstorable
from .waiting import UNSETTLED, gate_of, settle_waits, wait_for_release, wait_until

_plain = Codec()
#: Parameters of the statements that reserve: of what a freeze may be that holds them up.
_SCOPES = ("scope_a", "scope_b", "scope_c", "scope_d")
Effect = Callable[[str], Any]
Reconcile = Callable[[str], Awaitable[Any]]


async def execute_once(
    grant: Grant,
    function: Effect,
    *,
    action: Action | None = None,
    reconcile: Reconcile | None = None,
    wait_for_release: bool = True,
) -> Any:
    """Call ``function(key)`` for an approved request, once in its whole life, and return what it returned.

    ``key`` is an idempotency key, always the same for this grant: hand it on to the other side. With
    ``action``, what is about to be done, it must be what was approved. All before this call is on disk when
    ``function`` starts, and the use of the grant too. When the node runs again, what is recorded is returned.

    While a freeze holds for the graph or the action nothing is carried out: the run waits for its end, or,
    without ``wait_for_release``, :class:`FrozenError` is raised. A freeze that enough people of the policy's
    ``freeze_bypass`` let this request through does not hold it; one of ``all`` always does. Outside the
    windows of its policy the run waits for the next one.

    ``function`` raises :class:`NotDone` when surely nothing has happened: then the grant is unused again, and
    the error is raised. After any other error, and after a crash meanwhile, the outcome is indeterminate:
    ``reconcile(key)`` returns the result when the other side knows that key, and raises :class:`NotDone` when
    it does not; without it, or when it raises anything else, the run asks an operator (``signoff settle``).
    An error after which surely nothing was done is raised, and the node's retries decide.

    With ``recheck_members`` in its policy, the votes are judged again by who has cast them is now.

    Raises :class:`GrantRefused` for a request that was not approved, or would not be any more, for another
    action, for a grant that was used elsewhere or revoked; :class:`OutsideNode` where no node runs.
    """
    scope, host = driven("execute_once()")
    gate = _Gate(scope, host, grant)
    with gate.alone():
        done = await recorded()
        if gate.at not in done:
            await host.barrier()
            try:
                return await gate.carry_out(function, action, reconcile, waits=wait_for_release)
            except GrantRefused:
                # What it waited for until then is over as well: the node may go another way.
                gate.settle()
                raise
        gate.settle()
        return as_recorded("execute_once", done[gate.at])


async def call_decisions(asked: Any) -> tuple[Decision, ...]:
    """Return what was decided on each call of ``asked``, in the order of the calls, each with its grant.

    ``asked`` is what this node gave ``interrupt()`` in LangChain's or Agent Inbox's words, answered by now.
    The answer in those words has no place for who decided and by which request; this has, and what was
    approved is carried out with :func:`execute_once`. Recorded like a step: it is the same on a re-run.

    Empty where no requests are kept and a program answered: nothing was granted then. Raises
    :class:`ValueRefused` for what this node has not asked, and :class:`OutsideNode` where no node runs.
    """
    scope, host = driven("call_decisions()")
    digest = scope.plan.codec.digest(asked)
    found = [q for q in scope.questions if q.interrupt.digest == digest and q.interrupt.id in scope.used]
    if not found:
        raise ValueRefused("nothing was read: this node has not asked that, or it is not answered")
    question = {"interrupt_id": found[-1].interrupt.id}

    async def load() -> list[Decision]:
        (rows,) = await host.read(Ask("find_requests_of_question", question))
        of_each = (Ask("find_decisions", {"request_id": row["request_id"]}) for row in rows)
        votes = await host.read(*of_each) if rows else ()
        return [_decided(row, cast) for row, cast in zip(rows, votes, strict=True)]

    name = "call_decisions"
    return tuple(await run_once(scope.effect_key(name, None, [question]), name, load))


def _decided(row: Row, votes: Sequence[Row]) -> Decision:
    """Return what a closed request came to, as its closing said it."""
    case = Case.of(records.read_request(row), [records.read_vote(vote) for vote in votes])
    request, standing = case.request, judge(case)
    said = [vote for vote in case.votes if vote.verdict == _SAID.get(request.status)]
    by_itself = tuple(vote.reviewer for vote in case.votes if vote.reviewer == POLICY)
    edited = request.status == "edited"
    return Decision(
        request.status,
        request.id,
        bound_digest(request, standing.arguments),
        by_itself or (() if request.status == "timed_out" else standing.by),
        said[-1].reason if said else None,
        request.closed_at or 0,
        tier=case.terms.tier,
        arguments=standing.arguments if edited else None,
        on_timeout=case.policy.on_timeout if request.status == "timed_out" else None,
    )


#: The vote whose reason is that of the outcome.
_SAID: Mapping[str, Verdict] = {
    "approved": "approve",
    "edited": "edit",
    "rejected": "reject",
    "responded": "respond",
    "withdrawn": "withdraw",
}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What stood in the store when the gate looked."""

    execution: Row | None
    #: What a freeze may be of that holds this up, and the freezes that do, each with its beginning: those
    #: through which enough people let it are left out.
    scopes: frozenset[str]
    frozen: dict[str, int]
    case: Case


@dataclass(frozen=True, slots=True)
class _Found:
    known: bool
    result: Any = None


class _Gate:
    """One use of one grant by one task."""

    def __init__(self, scope: TaskScope, host: Host, grant: Grant) -> None:
        self._scope = scope
        self._host = host
        self._grant = grant
        self.name = gate_of(grant.request_id)
        self.at = write_json(["execute_once", grant.request_id])
        self._key = f"{grant.request_id}:{grant.digest.removeprefix('sha256:')[:32]}"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let no sibling use the same grant meanwhile: it would take this use for one that broke off."""
        if self._scope.seen.get(self.name):
            raise NodeMisused(
                f"nothing was carried out: node {self._scope.task.node!r} uses one grant twice at once"
            )
        self._scope.seen[self.name] = 1
        try:
            yield
        finally:
            self._scope.seen[self.name] = 0

    async def carry_out(
        self, function: Effect, action: Action | None, reconcile: Reconcile | None, *, waits: bool
    ) -> Any:
        """Wait until nothing holds it up, and use the grant; or find out what became of an earlier use."""
        seen, not_done = await self._look(action), False
        while True:
            if seen.execution is not None and not not_done:
                found = await self.find_out(reconcile)
                if found.known:
                    return found.result
                # That may have taken a while, and somebody may have frozen it meanwhile.
                seen, not_done = await self._look(action), True
            if seen.frozen and not waits:
                raise FrozenError(f"nothing was carried out: {', '.join(seen.frozen)} is frozen")
            wait_for_release(self.name, seen.frozen)
            self._wait_for_window(seen.case)
            with self._scope.effect("execute_once()"):
                await self.check_members(seen.case)
            self.settle()
            used = await self.use(function, reconcile, seen)
            if used.known:
                return used.result
            # A sibling was first, or somebody froze it: what stands there now says which.
            seen = await self._look(action)

    async def _look(self, action: Action | None) -> _Seen:
        with self._scope.effect("execute_once()"):
            return await self.look(action)

    def _wait_for_window(self, case: Case) -> None:
        """Leave the node until the policy's next window opens; return while one is open."""
        now = self._host.now()
        opens_at = case.policy.opens_at(now)
        if opens_at is not None and opens_at > now:
            until = datetime.fromtimestamp(opens_at / SECOND, UTC)
            wait_until(until, key=f"{self.name} opens {until.isoformat()}")

    def settle(self) -> None:
        """Count what this gate waited for as used: the wait is over."""
        settle_waits(self._scope, self.name)

    async def look(self, action: Action | None) -> _Seen:
        """Return what stands in the store. Raises :class:`GrantRefused`."""
        of = {"request_id": self._grant.request_id}
        requests, executions, freezes, decisions, runs, bypasses = await self._host.read(
            Ask("get_request", of),
            Ask("get_execution", of),
            Ask("find_freezes"),
            Ask("find_decisions", of),
            Ask("get_run", {"run_id": self._scope.run}),
            Ask("find_bypasses", of),
        )
        if not requests or requests[0]["status"] not in {"approved", "edited"}:
            raise GrantRefused("NOT_APPROVED", "nothing was carried out: that request was not approved")
        request = requests[0]
        if request["thread_id"] != runs[0]["thread_id"]:
            # What is kept of its use goes with its thread.
            raise GrantRefused("USED", "nothing was carried out: this grant is that of another thread")
        case = Case.of(records.read_request(request), [records.read_vote(row) for row in decisions])
        arguments = judge(case).arguments
        approved = _approved(case.request, arguments)
        if bound_digest(case.request, arguments) != self._grant.digest:
            raise GrantRefused("STALE_ACTION", "nothing was carried out: another action was approved")
        if action is not None and _plain.digest(action) != _plain.digest(approved):
            raise GrantRefused(
                "STALE_ACTION",
                "nothing was carried out: what is about to be done is not what was approved; ask anew",
            )
        execution = executions[0] if executions else None
        if execution is not None:
            self._check_ours(execution)
        scopes = scopes_of(case.request.action, {request["graph"], runs[0]["graph"]})
        frozen = {row["scope"]: row["since"] for row in freezes if row["scope"] in scopes}
        frozen = holding(frozen, [records.read_bypass(row) for row in bypasses])
        return _Seen(execution, scopes, frozen, case)

    async def check_members(self, case: Case) -> None:
        """Judge the request again by who its voters are now, where its policy wants that.

        Raises :class:`GrantRefused` when they would not do any more, or it cannot be learned.
        """
        if not case.policy.recheck_members or case.terms.do != "ask":
            return
        used = {"request_id": self._grant.request_id}
        (rows,) = await self._host.read(Ask("find_delegations_used", used))
        revoked = {row["delegation_id"] for row in rows if row["revoked_at"] is not None}
        votes = []
        for vote in case.votes:
            who = await self._host.reviewer(vote.reviewer, case.terms.refs)
            if vote.on_behalf_of is not None and who.kind == "member":
                # Whose place it was must still have it, and must not have taken it back.
                who = await self._host.reviewer(vote.on_behalf_of, case.terms.refs)
            if who.kind == "unknown" or who.unknown:
                raise GrantRefused(
                    "MEMBERSHIP_UNKNOWN",
                    "nothing was carried out: it could not be checked whether who approved still may; try "
                    "again in a minute",
                )
            there = who.kind == "member" and vote.delegation not in revoked
            if there or vote.verdict not in {"approve", "edit"}:
                votes.append(replace(vote, groups=who.groups))
        if judge(replace(case, votes=tuple(votes))).outcome != case.request.status:
            raise GrantRefused(
                "NOT_APPROVER", "nothing was carried out: somebody who approved may not any more; ask anew"
            )

    def _check_ours(self, execution: Row) -> None:
        if execution["status"] == "revoked":
            raise GrantRefused("REVOKED", "nothing was carried out: this grant was revoked; ask anew")
        if (execution["run_id"], execution["task_id"]) != (self._scope.run, self._scope.task.id):
            raise GrantRefused("USED", "nothing was carried out: this grant has been used already")

    async def use(self, function: Effect, reconcile: Reconcile | None, seen: _Seen) -> _Found:
        """Reserve the grant, call the function, and record how that ended; return its result.

        Nothing was done, and nothing is known, when somebody has used or frozen it since it was ``seen``.
        """
        again = seen.execution is not None
        shut = dict(zip(_SCOPES, itertools.chain(sorted(seen.scopes), itertools.repeat("all")), strict=False))
        row = {**self._row("reserved"), **shut}
        reserve = Do("reserve_again" if again else "reserve_execution", row, guard="gate is open")
        with self._scope.effect("execute_once()"):
            if not await self._host.attempt(self._scope, [reserve], told=self._told("grant.reserved")):
                return _Found(known=False)
            try:
                value = await call_effect(function, self._key)
            except NotDone:
                await self._release()
                raise
            except (Exception, SystemExit, asyncio.CancelledError) as error:
                # What it raised says nothing about what it did. Whoever is cancelled from outside is left as
                # by a crash: the use is found, begun and not ended.
                if is_stopped(error):
                    raise
                await self._write(
                    "grant.indeterminate", self._ended("indeterminate"), why=type(error).__name__
                )
                failed = error
            else:
                return _Found(known=True, result=await self._done(value))
        found = await self.find_out(reconcile)
        if found.known:
            return found
        # Surely not done: whether and when it is tried again is for the node's retries to say.
        with self._scope.effect("execute_once()"):
            await self._release()
        raise failed

    async def _mark_indeterminate(self, why: str) -> None:
        await self._write("grant.indeterminate", self._ended("indeterminate"), why=why)

    async def _release(self) -> None:
        await self._write("grant.released", Do("drop_execution", self._of()))

    async def find_out(self, reconcile: Reconcile | None) -> _Found:
        """Return what became of an effect of which only the beginning is known; or ask an operator."""
        with self._scope.effect("execute_once()"):
            ((execution,),) = await self._host.read(Ask("get_execution", self._of()))
            if execution["status"] == "done":
                # An attempt that was stopped while its result was written.
                self._scope.effects = None
                return _Found(known=True, result=as_recorded("execute_once", (await recorded())[self.at]))
            if execution["status"] == "reserved":
                await self._mark_indeterminate("it broke off")
                ((execution,),) = await self._host.read(Ask("get_execution", self._of()))
        key = f"{self.name} unsettled {execution['ended_at']}"
        if reconcile is not None and not self._was_asked(key):
            with self._scope.effect("execute_once()"):
                try:
                    result = await reconcile(self._key)
                except NotDone:
                    await self._write("grant.reconciled", told="not done")
                    return _Found(known=False)
                except Exception as error:  # noqa: BLE001 - it could not find out, whatever it raises
                    await self._write("grant.unreconciled", why=type(error).__name__)
                else:
                    return _Found(known=True, result=await self._done(result))
        self.settle()
        said = ask(
            {"type": UNSETTLED, "request_id": self._grant.request_id, "key": self._key},
            key=key,
            bind=None,
            read=_read_settlement,
        )
        if not said["done"]:
            return _Found(known=False)
        with self._scope.effect("execute_once()"):
            return _Found(known=True, result=await self._done(said.get("result")))

    def _was_asked(self, key: str) -> bool:
        return any(question.interrupt.key == key for question in self._scope.questions)

    async def _done(self, value: Any) -> Any:
        """Record the result with the end of the grant; one that cannot be stored is done all the same."""
        try:
            kept = await self._keep(value)
        except ValueRefused as refused:
            kept = await self._keep(Unstorable(str(refused)))
        (await recorded())[self.at] = kept
        self.settle()
        return as_recorded("execute_once", kept)

    async def _keep(self, value: Any) -> Any:
        # With its digest the result can be proved by the journal alone, when the run is pruned.
        result = self._scope.plan.codec.digest(value)
        told = {"kind": "grant.done", "request_id": self._grant.request_id, "result": result}
        also = [self._ended("done")]
        return await self._host.keep_effect(self._scope, self.at, "execute_once", value, told=told, also=also)

    async def _write(self, kind: str, *writes: Do, **data: str) -> None:
        await self._host.write(self._scope, writes, told=self._told(kind, **data))

    def _told(self, kind: str, **data: str) -> dict[str, str]:
        return {"kind": kind, "request_id": self._grant.request_id, "key": self._key, **data}

    def _of(self) -> dict[str, str]:
        return {"request_id": self._grant.request_id}

    def _row(self, status: str) -> dict[str, Any]:
        return {
            **self._of(),
            "run_id": self._scope.run,
            "task_id": self._scope.task.id,
            "key": self._key,
            "digest": self._grant.digest,
            "status": status,
            "now": self._host.now(),
        }

    def _ended(self, status: str) -> Do:
        return Do(
            "end_execution", {**self._of(), "status": status, "now": self._host.now()}, guard="grant is ours"
        )


def _approved(request: ApprovalRequest, arguments: Mapping[str, Any] | None) -> Action | None:
    """Return the action as it was approved: with the arguments that its last edit left."""
    if request.action is None or arguments is None:
        return request.action
    return Action(request.action.name, arguments)


def _read_settlement(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping) or not isinstance(answer.get("done"), bool):
        raise ValueRefused(
            'nothing was settled: {"done": true} with a "result", or {"done": false} was expected'
        )
    return answer
