"""Ranks by paired differences: what differs for certain, what is tied, and what no interval can tell."""

from __future__ import annotations

import numpy as np
import pytest

from bench.analysis.ranking import Standing, difference, places

NAMES = [f"s{number}" for number in range(12)]


def standing(values: np.ndarray) -> Standing:
    return Standing(float(values.mean()), dict(zip(NAMES, values.tolist(), strict=False)))


@pytest.fixture(scope="module")
def content() -> np.ndarray:
    """What a sequence does to every codec alike, far more than codecs differ."""
    return np.random.default_rng(1).normal(0, 30, len(NAMES))


def test_a_difference_on_every_sequence_counts_however_much_sequences_differ(content: np.ndarray) -> None:
    noise = np.random.default_rng(2).normal(0, 0.1, len(NAMES))
    found = places({"a": standing(content), "b": standing(content - 1 + noise), "c": standing(content + 5)})
    assert {name: place.rank for name, place in found.items()} == {"b": 1, "a": 2, "c": 3}
    assert all(place.certain and not place.ties for place in found.values())


def test_a_difference_within_the_noise_is_a_tie(content: np.ndarray) -> None:
    noise = np.random.default_rng(3).normal(0, 5, len(NAMES))
    found = places({"a": standing(content), "b": standing(content + noise - noise.mean() + 0.1)})
    assert (found["a"].rank, found["b"].rank) == (1, 1)
    assert found["a"].ties == ("b",) and found["b"].ties == ("a",)


def test_the_decision_is_that_of_the_paired_t_test(content: np.ndarray) -> None:
    from scipy.stats import ttest_rel

    random = np.random.default_rng(4)
    agree = 0
    for _ in range(60):
        other = content + random.normal(0.6, 1, len(NAMES))
        tied = places({"a": standing(content), "b": standing(other)})["a"].ties != ()
        agree += tied == (ttest_rel(content, other).pvalue > 0.05)
    assert agree >= 54


def test_two_sequences_are_ranked_by_value_and_said_to_be() -> None:
    found = places({"a": Standing(1.0, {"x": 0.0, "y": 2.0}), "b": Standing(0.5, {"x": 0.0, "y": 1.0})})
    assert (found["b"].rank, found["a"].rank) == (1, 2)
    assert not found["a"].certain and not found["b"].certain
    assert difference(Standing(1.0, None), Standing(2.0, {})).reason == (
        "values are of whole datasets, so there are no sequences to compare by"
    )


def test_equal_values_tie_without_an_interval_too() -> None:
    found = places({"a": Standing(1.0, None), "b": Standing(1.0, None), "c": Standing(2.0, None)})
    assert [found[name].rank for name in "abc"] == [1, 1, 3]


def test_one_competitor_is_first() -> None:
    assert places({"a": Standing(0.0, {})})["a"].rank == 1
    assert places({}) == {}
