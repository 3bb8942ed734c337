"""Each failure case of the scenarios that teams run has a test that bears its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

#: Numbers that are missing were never used.
CASES = {
    "a": (1, 2, 3, 4, 5, 7, 8, 10, 11, 13, 14, 15),
    "b": (1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 13, 14),
    "c": (1, 2, 3, 4, 6, 7, 9, 10, 13, 14, 15, 16, 17),
    "d": (1, 2, 3, 5, 6),
    "e": (1, 2, 4, 5, 6),
}
_TEST = re.compile(r"def test_((?:[a-e]\d+_(?:and_)?)+)")


@pytest.fixture(scope="module")
def named() -> set[str]:
    """The cases that tests are named after."""
    files = Path(__file__).parent.rglob("test_*.py")
    found = (match for file in files for match in _TEST.findall(file.read_text("utf-8")))
    return {case for names in found for case in re.findall(r"[a-e]\d+", names)}


@pytest.mark.parametrize("case", [f"{scenario}{n}" for scenario, numbers in CASES.items() for n in numbers])
def test_each_case_has_a_test_of_its_name(named: set[str], case: str) -> None:
    assert case in named
