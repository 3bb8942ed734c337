"""How much of each torture there is: a sample each time, everything in a night."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")
#: Everything, for hours; without it, a sample, for minutes.
NIGHTLY = bool(os.environ.get("SIGNOFF_NIGHTLY"))


def much(sample: T, everything: T) -> T:
    """Return what is done in this form of the regime."""
    return everything if NIGHTLY else sample


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
