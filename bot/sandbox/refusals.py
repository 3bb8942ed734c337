"""The two ways to be turned down: by Slack's Web API (the app asked) and by the screen (a person tried)."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class SlackError(Exception):
    """A Web API refusal: `error` is Slack's own name for it, `messages` its details with JSON pointers.

    `fields` are further members of the answer, for example `needed` and `provided` of `missing_scope`.
    """

    def __init__(self, error: str, *messages: str, **fields: Any) -> None:
        super().__init__(error, *messages)
        self.error = error
        self.messages = messages
        self.fields = fields

    def answer(self) -> Json:
        """The JSON body Slack sends; the status is still 200."""
        body: Json = {"ok": False, "error": self.error, **self.fields}
        if self.messages:
            body["response_metadata"] = {"messages": list(self.messages)}
        return body


class NotOnScreenError(ValueError):
    """A person tried something their screen does not offer: no such button, field, view, channel or user."""
