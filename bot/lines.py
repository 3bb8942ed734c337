"""The lines below a card, and what is told to one person alone: pure functions, as the cards are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slack_sdk.models.blocks import Block

from graph_runtime import OutboxEntry, RequestView, Seat
from graph_runtime.requests import POLICY

from .cards import (
    EACH,
    HEADER,
    LINES,
    NAMES,
    REASON,
    REASONS,
    Message,
    date,
    fact,
    headline,
    lines,
    metadata_of,
    mrkdwn,
    reassigned,
    seat_of,
    voice_of,
    voices,
)
from .text import escaped, group, is_slack_id, person, plain


def trail(view: RequestView, entry: OutboxEntry) -> Message:
    """Return one line for the card's thread: who decided, or how the run went on. Tells the requester."""
    request, payload = view.request, entry.payload
    by, status = payload.get("by"), payload["status"]
    # Names the requester, who is told by it.
    mention = f" for {person(request.requester)}" if request.requester else ""
    if payload["what"] == "run":
        text = _RUN_LINE[status] + (f" by {person(by)}" if by else "") + f"{mention}."
        if status in {"failed", "needs_attention"}:
            text += f" Operators: `signoff show {view.run.id}`"
        return Message(text, (mrkdwn(text),), metadata_of(entry, request))
    if payload["what"] in _AROUND:
        scopes = ", ".join(f"`{escaped(scope, 80)}`" for scope in payload.get("scopes", ()))
        said = {
            "by": voice_of(str(by), payload.get("for")),
            "to": person(payload.get("to", "")),
            "scopes": scopes,
        }
        text = _AROUND[payload["what"]].format(**{**payload, **said})
    elif payload["what"] in {"vote", "remind", "escalate"}:
        text = _on_the_way(view, payload)
    else:
        voice = voices(view, [by]) if by else ""
        asked = f", asked by {person(request.requester)}" if request.requester else ""
        mention = asked if " for " in voice else mention
        text = _REQUEST_LINE[status] + (f" by {voice}" if voice else "") + f"{mention}."
    blocks: list[Block] = [mrkdwn(text)]
    vote = next((v for v in reversed(view.votes) if v.reviewer == by), None)
    reason = _reason_of(view, payload)
    if vote is not None and payload["what"] in {"vote", "request"}:
        reason = vote.words
    if reason:
        blocks.append(lines([("Reason", plain(reason, REASON))]))
        text += " Reason: " + escaped(reason, REASON)
    return Message(text, tuple(blocks), metadata_of(entry, request))


def line(text: str, view: RequestView, entry: OutboxEntry) -> Message:
    """Return a message of one line of mrkdwn, which is safe already."""
    return Message(text, (mrkdwn(text),), metadata_of(entry, view.request))


_REQUEST_LINE = {
    "approved": ":white_check_mark: Approved",
    "edited": ":white_check_mark: Approved with changes",
    "responded": ":speech_balloon: Answered instead",
    "withdrawn": ":heavy_multiplication_x: Withdrawn",
    "rejected": ":no_entry: Rejected",
    "timed_out": ":hourglass: The deadline passed and nobody decided, which counts as a no",
}
_RUN_LINE = {
    "completed": ":checkered_flag: The run completed",
    "failed": ":warning: The run failed",
    "cancelled": ":heavy_multiplication_x: The run was cancelled",
    "needs_attention": ":warning: The run stopped and needs an operator",
}
_TOLD = {
    "approved": ":white_check_mark: {what} was approved by {by}.",
    "edited": ":white_check_mark: {what} was approved with changes by {by}.",
    "rejected": ":no_entry: {what} was rejected by {by}.",
    "responded": ":speech_balloon: {what} was answered instead by {by}: it is not carried out.",
    "timed_out": ":hourglass: Nobody decided on {what} in time, which counts as a no.",
    "withdrawn": ":heavy_multiplication_x: {what} was withdrawn by {by}.",
}


def private(view: RequestView, entry: OutboxEntry) -> Message:
    """Return what who asked is told by themselves of how it ended: by whom, what was changed, and why."""
    request, status = view.request, entry.payload["status"]
    place = _in_channel(view)
    what = f"“{escaped(headline(view), HEADER)}”{place}"
    by = voices(view, view.deciders[:NAMES])
    if entry.payload.get("by") == POLICY:
        tier = view.case.terms.tier
        by = f"the policy `{escaped(request.policy_name, 60)}`"
        by += f", by its tier `{escaped(tier, 60)}`: nobody was asked" if tier else ": nobody was asked"
    text = _TOLD[status].format(what=what, by=by)
    blocks: list[Block] = [mrkdwn(text)]
    if status == "edited" and request.action is not None:
        first, last = request.action.arguments, view.standing.arguments or {}
        changed = [
            (plain(name, 60), fact(value, first.get(name)))
            for name, value in last.items()
            if first.get(name) != value
        ]
        blocks += [lines(changed[:LINES])] if changed else []
    for verdict, word in (("edit", "Why"), ("reject", "Reason"), ("respond", "Answer")):
        told = [v.words for v in view.votes if v.verdict == verdict and v.words][-REASONS:]
        if told and _OUTCOME_OF[verdict] == status:
            blocks.append(lines([(word, plain(reason, REASON // len(told))) for reason in told]))
            text += f" {word}: " + "; ".join(escaped(reason, REASON // len(told)) for reason in told)
    return Message(text, tuple(blocks), metadata_of(entry, request))


_OUTCOME_OF = {"edit": "edited", "reject": "rejected", "respond": "responded"}
_AROUND = {
    "reassign": ":busts_in_silhouette: {by} gave their place to {to}",
    "reassign over": ":leftwards_arrow_with_hook: {to} acts no more for {by}",
    "bypass": ":snowflake: {by} lets it through the freeze of {scopes}: {given} of {needed}.",
}
_ON_THE_WAY = {
    "approve": ":white_check_mark: {by} approved",
    "edit": ":pencil2: {by} changed it and approved that",
    "reject": ":no_entry: {by} rejected",
}


def _reason_of(view: RequestView, payload: Mapping[str, Any]) -> str | None:
    """Return why somebody gave their place away, or lets it through a freeze."""
    by, what = payload.get("by"), payload["what"]
    found: list[str | None] = []
    if what == "reassign":
        found = [one.reason for one in reassigned(view) if (one.person, one.delegate) == (by, payload["to"])]
    if what == "bypass":
        found = [one.reason for one in reversed(view.bypasses) if one.person == by]
    return found[0] if found else None


def _on_the_way(view: RequestView, payload: Mapping[str, Any]) -> str:
    """Return a line about a request that is still open: a vote, or that somebody is waited for."""
    if payload["what"] == "vote":
        by = voice_of(payload["by"], payload.get("for"))
        return f"{_ON_THE_WAY[payload['status']].format(by=by)}: {_stood(payload)}."
    if view.request.status != "open":
        return f":bell: Decided meanwhile: {view.request.status.replace('_', ' ')}."
    title, standing = escaped(view.request.title, HEADER), view.standing
    lacking = [seat for seat in standing.seats if seat.filled < seat.count]
    each = ", ".join(_lacking(seat, payload.get("instead", ())) for seat in lacking)
    who = each if len(each) <= EACH else f"{sum(s.count - s.filled for s in lacking)} more"
    expires = f", expires {date(view.request.deadline_at)}" if view.request.deadline_at is not None else ""
    if payload["what"] == "remind":
        return f":bell: Still needed: {who}{expires}."
    to = payload["to"]
    told = person(to) if person(to).startswith("<@") else group(to)
    place = _in_channel(view) if payload.get("channel") else ""
    return (
        f":rotating_light: {told}: nobody has decided on “{title}”{place} yet. Still needed: {who}{expires}."
    )


def _in_channel(view: RequestView) -> str:
    """Say in which channel the card lies; somebody's direct messages are nobody else's to look into."""
    card = view.card
    return f" in <#{card.channel}>" if card is not None and is_slack_id(card.channel, "CG") else ""


def _lacking(seat: Seat, instead: Sequence[Sequence[str]]) -> str:
    """Return who is still needed: of who is away, only the name, beside whoever acts for them."""
    acting = {
        who: f"{person(to)} for {escaped(name, 80) or 'somebody who is away'}" for who, to, name in instead
    }
    people = [acting.pop(who) if who in acting else person(who) for who in seat.people]
    # Those of a group are called with it; who acts for one of them may be in none.
    names = [*map(group, seat.groups), *(acting.values() if seat.groups else ()), *people][:NAMES]
    return f"{seat.count - seat.filled} of {', '.join(names)}"


def _stood(payload: Mapping[str, Any]) -> str:
    """Return how the request stood after a vote, however it stands now."""
    seats = tuple(
        Seat(name, filled, count, tuple(people), tuple(groups))
        for name, filled, count, people, groups in payload["seats"]
    )
    stage, stages = payload["stage"], payload["stages"]
    said = f"stage {stage + 1} of {stages}, " if stages > 1 else ""
    each = ", ".join(map(seat_of, seats))
    said += each if len(each) <= EACH else f"{sum(s.filled for s in seats)} of {sum(s.count for s in seats)}"
    rejections = f"; {payload['rejections']} of {payload['veto']} rejections" if payload["rejections"] else ""
    return said + rejections
