"""What a person said is erased: the words go, their digests and every seal stay."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from dataclasses import dataclass

import pytest
from aside import aside
from kit import MakeRuntime, SettableClock
from people import CLI, approvals_of, boss, deploy, open_view, requests, ticket_of, view_of

from graph_runtime import Alarms, Approvals, Erasure, Erasures, Journal, Refused, Run, Runtime, Store
from graph_runtime.storage.sql import migrations, statements

pytestmark = pytest.mark.databases("sqlite", "postgres")
CANARY = "the customer Ann Archer called twice"


@dataclass
class Office:
    """A runtime whose boss rejects with a reason, and a journal that is sealed."""

    store: Store
    runtime: Runtime
    database: str
    clock: SettableClock

    def __post_init__(self) -> None:
        self.approvals: Approvals = approvals_of(self.runtime)
        self.erasures = Erasures(self.runtime.ground)
        self.journal = Journal(self.store, {"k1": b"k" * 32}, key="k1", clock=self.clock)

    async def rejected(self, thread: str = "case-1", reason: str = CANARY) -> Run:
        run = await self.runtime.start("deploy", {"subject": "payments"}, thread_id=thread)
        await self.runtime.advance(run.id)
        view = await open_view(self.approvals, run.id)
        ticket = ticket_of(view, self.store)
        await self.approvals.decide(ticket, boss(), "reject", place=CLI, reason=reason)
        await self.runtime.advance(run.id)
        return await self.runtime.get(run.id)

    async def fault(self) -> str | None:
        """Seal what is not, and return what the journal says is wrong."""
        while await self.journal.seal() is not None:
            pass
        broken = (await self.journal.verify()).broken
        return None if broken is None else f"{broken.fault}: {broken.sentence}"

    def change(self, statement: str) -> None:
        with aside(self.database) as raw:
            raw.execute(statement)


@pytest.fixture
def office(store: Store, make_runtime: MakeRuntime, database: str, clock: SettableClock) -> Office:
    return Office(store, make_runtime(deploy(), companions=[requests()]), database, clock)


async def test_a_line_holds_the_digest_of_what_was_said_and_not_the_words(office: Office):
    run = await office.rejected()
    (line,) = [e for e in await office.runtime.events(run_id=run.id) if e.kind == "request.rejected"]
    assert CANARY not in str(line.data)
    assert line.data["words"].startswith("sha256:")
    assert (line.said, line.words) == (CANARY, CANARY)
    assert await office.fault() is None


async def test_erased_words_leave_their_digest_and_every_seal(office: Office):
    run = await office.rejected()
    assert await office.fault() is None
    before = await office.erasures.count("U_BOSS")
    assert before == Erasure(texts=1, threads=1)
    assert await office.erasures.erase("U_BOSS", actor="cli:ann") == Erasure(texts=1, messages=2, threads=1)
    (request,) = await office.approvals.find(run_id=run.id)
    (vote,) = (await view_of(office.approvals, request.id)).votes
    events = await office.runtime.events(run_id=run.id)
    (line,) = [e for e in events if e.kind == "request.rejected"]
    assert (vote.reason, vote.erased, vote.reviewer) == (None, line.data["words"], "U_BOSS")
    assert vote.words == line.words == f"(erased: {line.data['words'][:19]})"
    (erased,) = [e for e in await office.runtime.events() if e.kind == "words.erased"]
    assert (erased.actor, dict(erased.data)) == ("cli:ann", {"person": "U_BOSS", "count": 1})
    assert await office.fault() is None
    with aside(office.database) as raw:
        assert CANARY not in str(list(raw.execute("SELECT * FROM texts")))
    assert (await office.erasures.erase("U_BOSS", actor="cli:ann")).texts == 0, "nothing is left"


async def test_only_the_words_of_that_person_go_and_a_freeze_stays_frozen(office: Office):
    alarms = Alarms(office.runtime)
    await alarms.freeze("graph:other", by="U_BOSS", reason=CANARY)
    await alarms.freeze("graph:third", by="U_OPS", reason="it burns")
    run = await office.runtime.start("deploy", {"subject": "x"}, thread_id="case-1")
    await office.runtime.cancel("case-1", run.id, actor="U_BOSS", reason=CANARY)
    assert (await office.erasures.erase("U_BOSS", actor="cli:ann")).texts == 2
    reasons = {freeze.scope: freeze.reason for freeze in await alarms.freezes()}
    assert reasons["graph:third"] == "it burns"
    assert reasons["graph:other"].startswith("(erased: sha256:")
    assert await office.fault() is None


async def test_a_live_run_goes_on_with_the_answer_whose_words_were_erased(office: Office):
    run = await office.runtime.start("deploy", {"subject": "payments"}, thread_id="case-1")
    await office.runtime.advance(run.id)
    ticket = ticket_of(await open_view(office.approvals, run.id), office.store)
    await office.approvals.decide(ticket, boss(), "reject", place=CLI, reason=CANARY)
    await office.erasures.erase("U_BOSS", actor="cli:ann")
    await office.runtime.advance(run.id)
    seen = await office.runtime.look(run.id)
    assert seen.run.status == "completed"
    assert seen.state.values["log"] == ["rejected by U_BOSS"]
    assert seen.state.values["answer"].reason == CANARY, "a run's state is not touched"


async def test_two_who_erase_at_once_count_each_text_once(office: Office):
    for n in range(3):
        await office.rejected(f"case-{n}")
    twice = await asyncio.gather(*(office.erasures.erase("U_BOSS", actor="cli:ann") for _ in range(2)))
    assert sum(one.texts for one in twice) == 3
    assert await office.fault() is None


async def test_a_pruned_thread_takes_the_words_along_and_leaves_the_digest(office: Office):
    await office.rejected()
    office.change("UPDATE outbox SET status = 'delivered'")
    office.clock.now += 10_000_000
    assert await office.runtime.prune(older_than=1) == 1
    assert await office.erasures.count("U_BOSS") == Erasure(gone=1)
    assert await office.fault() is None
    with aside(office.database) as raw:
        ((said, digest),) = raw.execute("SELECT said, digest FROM texts")
    assert said is None
    assert digest.startswith("sha256:")


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE texts SET said = 'Yes, of course'", "words: what was said with line .* was changed"),
        ("DELETE FROM texts", "words: .* is not there any more"),
        ("UPDATE texts SET said = NULL, salt = NULL", "words: .* was changed"),
        ("UPDATE texts SET said = NULL, salt = NULL, erased_in = 'evt-x'", "went, and no line says so"),
    ],
)
async def test_words_that_do_not_fit_their_line_are_named(office: Office, statement: str, why: str):
    await office.rejected()
    assert await office.fault() is None
    office.change(statement)
    assert re.search(why, str(await office.fault()))


async def test_more_that_went_than_a_line_says_is_named(office: Office):
    await office.rejected("case-1")
    await office.erasures.erase("U_BOSS", actor="cli:ann")
    await office.rejected("case-2")
    office.change(
        "UPDATE texts SET said = NULL, salt = NULL, erased_in ="
        " (SELECT event_id FROM events WHERE kind = 'words.erased') WHERE said IS NOT NULL"
    )
    assert "says that 1 texts were erased, and 2 are" in str(await office.fault())


async def test_a_digest_cannot_be_guessed_from_the_words(office: Office):
    """The same words twice have two digests: each has a salt of its own, which goes with them."""
    first, second = await office.rejected("case-1", "no"), await office.rejected("case-2", "no")
    digests = {
        event.data["words"]
        for run in (first, second)
        for event in await office.runtime.events(run_id=run.id)
        if "words" in event.data
    }
    assert len(digests) == 2


async def test_a_refusal_leaves_no_words(office: Office):
    run = await office.runtime.start("deploy", {"subject": "payments"}, thread_id="case-1")
    await office.runtime.advance(run.id)
    ticket = ticket_of(await open_view(office.approvals, run.id), office.store)
    with pytest.raises(Refused):
        await office.approvals.decide(ticket, boss(), "edit", place=CLI, reason=CANARY)
    with aside(office.database) as raw:
        assert list(raw.execute("SELECT * FROM texts")) == []


@pytest.mark.databases("sqlite")
def test_what_was_said_before_there_were_digests_is_kept_and_has_none():
    database = sqlite3.connect(":memory:")
    try:
        for _, name, script in migrations():
            if name.endswith("_texts.sql"):
                database.execute(
                    "INSERT INTO requests (request_id, interrupt_id, thread_id, run_id, graph, node, title, facts, digest,"
                    " policy_name, policy, also, status, revision, opened_at, closed_at, part, parts) VALUES"
                    " ('req-1', 'i', 'case-1', 'run-1', 'g', 'n', 't', '{}', 'd', 'p', '{}', '[]', 'rejected',"
                    " 1, 1, 2, 0, 1)"
                )
                database.execute(
                    "INSERT INTO decisions SELECT 'dec-1', 'req-1', 'U1', 'reject', 'too late', 'd', 'slack', '[]',"
                    " 0, 0, NULL, 2"
                )
                database.execute("INSERT INTO freezes VALUES ('all', 'U2', 'it burns', 3, '[]')")
            for statement in statements(script):
                database.execute(statement)
        texts = database.execute("SELECT person, thread_id, digest, said, said_at FROM texts ORDER BY person")
        assert list(texts) == [("U1", "case-1", None, "too late", 2), ("U2", None, None, "it burns", 3)]
        query = "SELECT t.said FROM {} d JOIN texts t ON t.text_id = d.text_id"
        assert list(database.execute(query.format("decisions"))) == [("too late",)]
        assert list(database.execute(query.format("freezes"))) == [("it burns",)]
    finally:
        database.close()
