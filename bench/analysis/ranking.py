"""Places of competitors by BD-rate, with those that cannot be told apart in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.analysis.significance import Interval, bootstrap_interval

NO_SEQUENCES = "values are of whole datasets, so there are no sequences to compare by"


@dataclass(frozen=True)
class Standing:
    """A competitor's BD-rate in per cent, and that of each sequence; None where it has none of sequences."""

    value: float
    sequences: Mapping[str, float] | None


@dataclass(frozen=True)
class Place:
    """A rank from 1 on, and the competitors that are neither better nor worse for certain.

    certain: whether all differences have an interval; if not, those without count by their values alone.
    """

    rank: int
    ties: tuple[str, ...]
    certain: bool


def places(standings: Mapping[str, Standing]) -> dict[str, Place]:
    """The place of each competitor: one more than there are competitors that are better for certain.

    One is better than another where its value is lower and the 95 % bootstrap interval of the mean difference, paired
    over sequences, excludes 0 (see `bootstrap_interval`). Pairs that have no such interval, under three sequences or
    without sequences, are told apart by their values. Nothing is corrected for the number of pairs.
    """
    names = list(standings)
    better: dict[str, set[str]] = {name: set() for name in names}
    ties: dict[str, list[str]] = {name: [] for name in names}
    certain = dict.fromkeys(names, True)
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            sign, known = _compared(standings[one], standings[other])
            if not known:
                certain[one] = certain[other] = False
            if sign == 0:
                ties[one].append(other)
                ties[other].append(one)
            else:
                better[other if sign < 0 else one].add(one if sign < 0 else other)
    return {name: Place(1 + len(better[name]), tuple(ties[name]), certain[name]) for name in names}


def difference(one: Standing, other: Standing) -> Interval:
    """Interval of the mean difference of two competitors, paired over sequences; none, with the reason, else."""
    if one.sequences is None or other.sequences is None:
        return Interval(None, None, NO_SEQUENCES)
    common = sorted(set(one.sequences) & set(other.sequences))
    differences = np.array([one.sequences[name] - other.sequences[name] for name in common])
    return bootstrap_interval(lambda weights: weights @ differences, len(common))


def _compared(one: Standing, other: Standing) -> tuple[int, bool]:
    """-1 where one is better, 1 where other is, 0 for a tie; and whether an interval says so."""
    interval = difference(one, other)
    if interval.low is None or interval.high is None:
        return int(np.sign(one.value - other.value)), False
    return (-1 if interval.high < 0 else 1 if interval.low > 0 else 0), True
