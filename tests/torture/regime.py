"""How much of each torture there is: a sample each time, everything in a night."""

from __future__ import annotations

from typing import TypeVar

from kit import NIGHTLY

T = TypeVar("T")


def sample(items: list[T], most: int) -> list[T]:
    """Return so many of the items, evenly spread; all of them in a night."""
    if NIGHTLY or len(items) <= most:
        return items
    return [items[round(n * (len(items) - 1) / (most - 1))] for n in range(most)]


#: What the test that runs at this moment has measured.
FIGURES: list[str] = []


def say(figure: str) -> None:
    """Show a figure at the end of all tests."""
    FIGURES.append(figure)
