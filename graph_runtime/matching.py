"""Who fills which place, so that as many as possible are filled. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def match(counts: Sequence[int], may: Sequence[Collection[int]]) -> list[list[int]]:
    """Return who fills each rule when as many places as possible are filled, each person one at most.

    ``counts`` are the places of each rule, ``may`` the rules that each person fits. A place once filled stays
    filled when more people come, perhaps by another.
    """
    filled: list[list[int]] = [[] for _ in counts]

    def place(person: int, tried: set[int]) -> bool:
        for rule in sorted(may[person]):
            if rule in tried:
                continue
            tried.add(rule)
            if len(filled[rule]) < counts[rule]:
                filled[rule].append(person)
                return True
            for number, other in enumerate(filled[rule]):
                if place(other, tried):
                    filled[rule][number] = person
                    return True
        return False

    for person in range(len(may)):
        place(person, set())
    return filled
