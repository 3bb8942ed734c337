"""The views people have open: stacks of at most three modals, and one App Home each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bot.sandbox.elements import find, state_of, state_with
from bot.sandbox.records import View
from bot.sandbox.refusals import Json, NotOnScreenError, SlackError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.sandbox.changes import Changes

STACK_LIMIT = 3


class Modals:
    """Who sees which views. Bodies given here are already checked and their blocks have ids."""

    def __init__(self, *, new_id: Callable[[], str], changes: Changes) -> None:
        self._new_id = new_id
        self._changes = changes
        self._stacks: dict[str, list[View]] = {}
        self._homes: dict[str, View] = {}

    def stack(self, user: str) -> list[View]:
        """The person's open modals; the last one is on top."""
        return list(self._stacks.get(user, []))

    def home(self, user: str) -> View | None:
        """The person's App Home, or None before the app published one."""
        return self._homes.get(user)

    def get(self, view_id: str) -> View | None:
        """The view with this id while it is open, or None."""
        return next((view for view in self._all() if view.id == view_id), None)

    def by_external_id(self, external_id: str) -> View | None:
        """The view with the app's own id while it is open, or None."""
        return next((view for view in self._all() if external_id and view.external_id == external_id), None)

    def open(self, user: str, body: Json) -> View:
        """The new modal; it takes the place of whatever modals the person had open."""
        self._refuse_taken(body)
        view = self._new(user, body)
        self._stacks[user] = [view]
        self._changes.touch()
        return view

    def push(self, user: str, body: Json) -> View:
        """The new modal on top of the stack; SlackError `push_limit_reached` when there are three already."""
        stack = self._stacks.setdefault(user, [])
        if len(stack) >= STACK_LIMIT:
            raise SlackError("push_limit_reached")
        self._refuse_taken(body)
        view = self._new(user, body)
        if stack:
            view = replace(view, root_view_id=stack[0].root_view_id, previous_view_id=stack[-1].id)
        stack.append(view)
        self._changes.touch()
        return view

    def update(self, view: View, body: Json, view_hash: str | None = None) -> View:
        """The view with a new body and hash; inputs whose block_id and action_id stayed keep their value."""
        if view_hash is not None and view_hash != view.hash:
            raise SlackError("hash_conflict")
        self._refuse_taken(body, view.id)
        blocks = body["blocks"]
        return self._put(
            replace(
                view,
                body=body,
                blocks=blocks,
                hash=self._new_hash(),
                errors={},
                state=state_of(blocks, view.state),
            )
        )

    def publish(self, user: str, body: Json, view_hash: str | None = None) -> View:
        """The person's App Home with this body; `hash_conflict` when `view_hash` is not the current one."""
        old = self._homes.get(user)
        if old is not None:
            return self.update(old, body, view_hash)
        if view_hash is not None:
            raise SlackError("hash_conflict")
        self._refuse_taken(body)
        view = self._homes[user] = self._new(user, body)
        self._changes.touch()
        return view

    def show_errors(self, view: View, errors: dict[str, str]) -> View:
        """The view with these words below its inputs, by block_id."""
        return self._put(replace(view, errors=errors))

    def type_into(self, view: View, values: dict[str, dict[str, Any]]) -> View:
        """The view after the person typed `values`; raises NotOnScreenError for an input it does not have."""
        state = {block_id: dict(held) for block_id, held in view.state.items()}
        for block_id, actions in values.items():
            for action_id, value in actions.items():
                _, element = find(view.blocks, action_id, block_id)
                state.setdefault(block_id, {})[action_id] = state_with(element, value)
        return self._put(replace(view, state=state))

    def shut(self, view: View) -> None:
        """Afterwards the view and those above it are gone; what lay below is on top again."""
        stack = self._stacks.get(view.user, [])
        for place, one in enumerate(stack):
            if one.id == view.id:
                del stack[place:]
                break
        self._changes.touch()

    def shut_all(self, user: str) -> None:
        """Afterwards the person has no modal open."""
        self._stacks.pop(user, None)
        self._changes.touch()

    def _all(self) -> list[View]:
        return [view for stack in self._stacks.values() for view in stack] + list(self._homes.values())

    def _refuse_taken(self, body: Json, but: str | None = None) -> None:
        taken = self.by_external_id(str(body.get("external_id") or ""))
        if taken is not None and taken.id != but:
            raise SlackError("duplicate_external_id")

    def _new_hash(self) -> str:
        return f"{self._changes.version}.{self._new_id()}"

    def _new(self, user: str, body: Json) -> View:
        view_id = "V" + self._new_id().upper()
        blocks = body["blocks"]
        return View(
            id=view_id,
            user=user,
            type=str(body["type"]),
            body=body,
            blocks=blocks,
            hash=self._new_hash(),
            root_view_id=view_id,
            state=state_of(blocks, {}),
        )

    def _put(self, view: View) -> View:
        if view.type == "home":
            self._homes[view.user] = view
        else:
            stack = self._stacks.get(view.user, [])
            places = [place for place, one in enumerate(stack) if one.id == view.id]
            if not places:
                raise NotOnScreenError(f"view {view.id} is not open any more")
            stack[places[0]] = view
        self._changes.touch()
        return view
