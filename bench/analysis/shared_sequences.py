"""The sequences that everything in one table is averaged over."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import TypeVar

OTHERS_LACK_IT = "others in the table lack it"
"""Why a mean leaves out a sequence that its codec has."""

Name = TypeVar("Name", bound=Hashable)
Key = TypeVar("Key", bound=Hashable)


def common_sequences(owned: Mapping[Name, Collection[Key]]) -> tuple[frozenset[Key], tuple[Name, ...]]:
    """The sequences that the names have in common, and the names that have all of them.

    `owned` has the sequences of each name. A name that has less than half of what the others have in common is not
    among the names, so that one gap does not take the other sequences from everybody.
    """
    common: frozenset[Key] = frozenset()
    among: list[Name] = []
    for name in sorted(owned, key=lambda name: -len(owned[name])):
        both = common & set(owned[name]) if among else frozenset(owned[name])
        if both and 2 * len(both) >= len(common):
            common, among = both, [*among, name]
    return common, tuple(name for name in owned if name in among)


def averaged_sequences(owned: Mapping[Name, Collection[Key]]) -> dict[Name, frozenset[Key]]:
    """For each name the sequences that its mean is over: the common ones, or its own where it lacks most of them."""
    common, among = common_sequences(owned)
    return {name: common if name in among else frozenset(own) for name, own in owned.items()}
