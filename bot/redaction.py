"""What is never shown whole: values that a rule names, card numbers, and what looks like a secret.

A view is redacted before anything is drawn of it, so no drawing can forget to. It is for showing only:
digests, votes and what runs are made of the values as they are. Scanning takes its time, so it is done where
something is drawn: a click that decides, and a dialog that is submitted, wait for none.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from pydantic import BaseModel

from graph_runtime import Action, Event, Freeze, Refused, RequestView, Run, RunView

from .text import worded

HIDDEN = "(hidden)"
_SECRET = "(masked)"  # noqa: S105 - it stands for one
#: Where a value and the one it took the place of look alike once they are masked.
_CHANGED = " (changed)"
#: Of a long text so much is looked at in one piece: the time that a pattern takes grows faster than the text.
_PIECE = 4_000
#: A hidden value of fewer letters is not looked for in titles and reasons: it would be found in other words.
_LEAST_WORDS = 4
_CARD = re.compile(r"(?<![\w-])[2-9](?:[ -]?[0-9]){12,18}(?![\w-])", re.ASCII)
#: A password in an address; our own sentences say where one would stand.
_LOGIN = re.compile(r"(://[^\s:/@]{1,200}:)(?!PASSWORD@)[^\s/@]{1,200}(?=@)")
_DIGITS = re.compile(r"[0-9]")
#: Formats that detect-secrets does not know, or whose matches it ends too early for a mask.
_OWN = (
    r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY[A-Z ]{0,9}-----.*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)",
    r"\bxox[a-z]-[\w-]{8,}|\bxapp-[\w-]{8,}",
    r"\bgithub_pat_\w{22,}",
    r"\bsk-(?:proj|ant|svcacct|admin)-[\w-]{20,}|\bsk-[\w-]{20,100}T3BlbkFJ",
    r"\bAIza[\w-]{35}",
    r"\bnpm_[A-Za-z0-9]{36}",
)
#: What a secret in one of these formats holds: a text without any of it is not looked at further.
_TRACE = re.compile(
    r"A3T|AKIA|ASIA|ABIA|ACCA|aws|AWS|AccountKey=|gh[pousr]_|github_pat_|gl[a-z]{2,6}-|GR1348941|eyJ|-us\d"
    r"|sk-|pypi-|SG\.|xox|XOX|xapp-|hooks\.slack|sq0csp|k_live_|:[\w-]{35}|\.[\w-]{6}\.[\w-]{27}"
    r"|AC[a-z0-9]{32}|SK[a-z0-9]{32}|AIza|npm_|PRIVATE KEY|://[^\s/@]{1,200}@"
)
_REST = r"[\w.+/=~-]*"


class Masked(str):
    """Stands for a value that is not shown whole."""

    __slots__ = ()


def mask(text: str) -> str:
    """Return the text with its card numbers and secrets masked; a :class:`Masked` one when there were any."""
    shown = text
    if _TRACE.search(shown):
        shown = _secrets()[0].sub(_SECRET, shown)
        shown = "".join(_masked(piece) for piece in _pieces(shown))
    if _DIGITS.search(shown):
        shown = _CARD.sub(_last_four, shown)
    return text if shown == text else Masked(shown)


def _masked(piece: str) -> str:
    for pattern in _secrets():
        piece = pattern.sub(_SECRET, piece)
    return _LOGIN.sub(rf"\1{_SECRET}", piece)


def _pieces(text: str) -> Iterator[str]:
    """Yield the text in pieces, each cut where no secret goes on, as far as there is such a place."""
    while len(text) > _PIECE:
        cut = max(text.rfind(mark, 1, _PIECE) for mark in (" ", "\n", '"', ","))
        cut = cut if cut > 0 else _PIECE
        yield text[:cut]
        text = text[cut:]
    yield text


@cache
def _secrets() -> tuple[re.Pattern[str], ...]:
    """Return the patterns, own ones first. Loaded late: many processes never see a trace of a secret."""
    from detect_secrets.plugins import (  # noqa: PLC0415
        aws,
        azure_storage_key,
        discord,
        github_token,
        gitlab_token,
        jwt,
        mailchimp,
        pypi_token,
        sendgrid,
        slack,
        square_oauth,
        stripe,
        telegram_token,
        twilio,
    )

    found = [re.compile(pattern + (_REST if n > 0 else ""), re.DOTALL) for n, pattern in enumerate(_OWN)]
    # Formats of one maker each. Those that only say "this looks random" are left out: a commit's hash does.
    for detector in (
        aws.AWSKeyDetector(),
        azure_storage_key.AzureStorageKeyDetector(),
        discord.DiscordBotTokenDetector(),
        github_token.GitHubTokenDetector(),
        gitlab_token.GitLabTokenDetector(),
        jwt.JwtTokenDetector(),
        mailchimp.MailchimpDetector(),
        pypi_token.PypiTokenDetector(),
        sendgrid.SendGridDetector(),
        slack.SlackDetector(),
        square_oauth.SquareOAuthDetector(),
        stripe.StripeDetector(),
        telegram_token.TelegramBotTokenDetector(),
        twilio.TwilioKeyDetector(),
    ):
        # Its own methods return a part of some matches: enough to find one, and not to mask it.
        found += [re.compile(f"(?:{one.pattern}){_REST}", one.flags) for one in detector.denylist]
    return tuple(found)


def _last_four(found: re.Match[str]) -> str:
    digits = [int(letter) for letter in found[0] if letter.isdigit()]
    # Luhn: each second digit from the right counts double, as the sum of its digits.
    doubled = [d if n % 2 == 0 else d * 2 - 9 * (d > 4) for n, d in enumerate(reversed(digits))]
    return found[0] if sum(doubled) % 10 else f"(card …{''.join(map(str, digits[-4:]))})"


class Redaction:
    """Masks what is shown. ``names`` are globs of facts, arguments and keys of the state that never are.

    A glob is compared with the name, and with the names on the way to it: ``card.*`` are all parts of a value
    called card, wherever that stands. Letters count the same large and small.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = tuple(name.lower() for name in names)

    def text(self, text: str) -> str:
        """Return words of anybody as they may be shown."""
        return mask(text)

    def value(self, value: Any, *path: str) -> Any:
        """Return a value as it may be shown; the same one when nothing of it is masked."""
        if self._hides(path):
            return Masked(HIDDEN)
        if isinstance(value, str):
            return mask(value)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, Mapping):
            shown = {mask(str(key)): self.value(item, *path, str(key)) for key, item in value.items()}
            return value if _same(shown, {str(key): item for key, item in value.items()}) else shown
        if isinstance(value, list | tuple):
            items = [self.value(item, *path, str(n)) for n, item in enumerate(value)]
            return value if all(map(_is, items, value)) else items
        fields = _fields(value)
        if fields is not None:
            shown = {name: self.value(item, *path, name) for name, item in fields.items()}
            return value if _same(shown, fields) else shown
        words = worded(value)
        masked = mask(words)
        return masked if isinstance(masked, Masked) else value

    def values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values by name as they may be shown."""
        return {mask(name): self.value(value, name) for name, value in values.items()}

    def view(self, view: RequestView) -> RequestView:
        """Return a request as it may be drawn. Digest, ids, votes and standing are what they were."""
        request, action = view.request, view.request.action
        first = {} if action is None else action.arguments
        said = [request.facts, first, *(vote.arguments or {} for vote in view.votes)]
        clean = self._cleaner(said)
        terms = request.terms
        if terms is not None and terms.get("confirm"):
            terms = {**terms, "confirm": clean(terms["confirm"])}
        shown = dataclasses.replace(
            request,
            title=clean(request.title),
            action=None if action is None else Action(action.name, self._cleaned(first, clean)),
            facts=self._cleaned(request.facts, clean),
            terms=terms,
        )
        votes = tuple(
            dataclasses.replace(
                vote,
                reason=vote.reason and clean(vote.reason),
                arguments=vote.arguments and self._changed(vote.arguments, first, clean),
            )
            for vote in view.votes
        )
        given = (tuple(_reasoned(one, clean) for one in found) for found in (view.delegations, view.bypasses))
        delegations, bypasses = given
        return dataclasses.replace(
            view,
            request=shown,
            run=self.run(view.run),
            votes=votes,
            delegations=delegations,
            bypasses=bypasses,
        )

    def run(self, run: Run) -> Run:
        """Return a run as it may be shown: with its error masked."""
        if not run.error:
            return run
        return dataclasses.replace(run, error={name: mask(said) for name, said in run.error.items()})

    def look(self, seen: RunView) -> RunView:
        """Return where a run stands as it may be shown."""
        values = seen.state.values
        state = seen.state
        if isinstance(values, Mapping):
            state = dataclasses.replace(state, values=self.values(values))
        asked = tuple(
            dataclasses.replace(
                one, interrupt=dataclasses.replace(one.interrupt, value=self.value(one.interrupt.value))
            )
            for one in seen.questions
        )
        return RunView(self.run(seen.run), state, asked)

    def event(self, event: Event) -> Event:
        """Return a line of the journal as it may be shown."""
        return dataclasses.replace(
            event, data=self.values(event.data), said=None if event.said is None else mask(event.said)
        )

    def freeze(self, freeze: Freeze) -> Freeze:
        """Return a freeze as it may be shown."""
        return dataclasses.replace(freeze, reason=mask(freeze.reason))

    def refusal(self, refusal: Refused, view: RequestView | None) -> Refused:
        """Return a refusal whose sentence names nothing that is hidden in the request."""
        clean: Callable[[str], str] = mask
        if view is not None:
            first = view.request.action.arguments if view.request.action else {}
            clean = self._cleaner([view.request.facts, first])
        return Refused(refusal.code, clean(refusal.sentence), by=refusal.by, at=refusal.at)

    def _hides(self, path: Sequence[str]) -> bool:
        names = [".".join(path[n:]).lower() for n in range(len(path))]
        return any(fnmatchcase(name, glob) for glob in self._names for name in names)

    def _cleaned(self, values: Mapping[str, Any], clean: Callable[[str], str]) -> dict[str, Any]:
        """Return values by name, where a hidden one does not stand in the text of another either."""
        shown = self.values(values)
        return {
            n: v if isinstance(v, Masked) or not isinstance(v, str) else clean(v) for n, v in shown.items()
        }

    def _changed(
        self, values: Mapping[str, Any], first: Mapping[str, Any], clean: Callable[[str], str]
    ) -> dict[str, Any]:
        """Return what an edit left; what it changed is another value, though it may be masked alike."""
        shown, before = self._cleaned(values, clean), self._cleaned(first, clean)
        for real, value in values.items():
            name = mask(real)
            alike = isinstance(shown[name], Masked) and shown[name] == before.get(name)
            if alike and value != first.get(real):
                shown[name] = Masked(f"{shown[name]}{_CHANGED}")
        return shown

    def _cleaner(self, said: Iterable[Mapping[str, Any]]) -> Callable[[str], str]:
        """Return what masks a text about these values: also where it repeats one that is hidden."""
        hidden = {words for values in said for words in self._hidden(values, ())} if self._names else set()
        if not hidden:
            return mask
        longest_first = sorted(map(re.escape, hidden), key=len, reverse=True)
        pattern = re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)", re.IGNORECASE)

        def clean(text: str) -> str:
            shown = pattern.sub(HIDDEN, text)
            return mask(text) if shown == text else Masked(mask(shown))

        return clean

    def _hidden(self, value: Any, path: tuple[str, ...], *, inside: bool = False) -> Iterator[str]:
        """Yield the words of every value that a rule hides."""
        inside = inside or self._hides(path)
        if isinstance(value, Mapping):
            for name, item in value.items():
                yield from self._hidden(item, (*path, str(name)), inside=inside)
        elif isinstance(value, list | tuple):
            for n, item in enumerate(value):
                yield from self._hidden(item, (*path, str(n)), inside=inside)
        elif inside and not isinstance(value, bool) and len(words := worded(value).strip()) >= _LEAST_WORDS:
            yield words


def _fields(value: Any) -> Mapping[str, Any] | None:
    """Return the fields of a record of an author, which would be shown as one text otherwise."""
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    return None


def _reasoned(one: Any, clean: Callable[[str], str]) -> Any:
    return dataclasses.replace(one, reason=clean(one.reason)) if one.reason else one


def _is(one: Any, other: Any) -> bool:
    return one is other


def _same(shown: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return shown.keys() == values.keys() and all(shown[name] is values[name] for name in shown)
