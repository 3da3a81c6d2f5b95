"""The bootstrap against full enumeration, the t interval and simulated coverage."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bench.analysis.significance import Interval, bootstrap_interval, mean_intervals
from bench.errors import UsageError

pytestmark = pytest.mark.slow


def mean_of(values: NDArray[np.float64]) -> object:
    return lambda weights: weights @ values


def interval_of_mean(values: list[float] | NDArray[np.float64], **settings: object) -> Interval:
    array = np.asarray(values, dtype=float)
    return bootstrap_interval(mean_of(array), len(array), **settings)  # type: ignore[arg-type]


def ends(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None and interval.high is not None
    return interval.low, interval.high


def test_three_sequences_span_the_smallest_to_the_largest() -> None:
    assert ends(interval_of_mean([-10, -4, -1])) == pytest.approx((-10, -1))


def test_the_quantiles_are_those_of_every_possible_resample() -> None:
    values = np.array([-12.0, -9.5, -7.0, -6.5, -1.0])
    every = np.array([np.mean(draw) for draw in itertools.product(values, repeat=5)])
    tail = stats.norm.cdf(math.sqrt(5 / 4) * stats.t.ppf(0.05, df=4))
    expected = np.quantile(every, [tail, 1 - tail])
    assert ends(interval_of_mean(values, confidence=0.9, resamples=200_000)) == pytest.approx(expected, abs=0.06)


def test_many_normal_values_give_the_t_interval() -> None:
    values = np.random.default_rng(5).normal(-20, 6, size=60)
    expected = stats.t.interval(0.95, 59, loc=values.mean(), scale=stats.sem(values))
    assert ends(interval_of_mean(values, resamples=20_000)) == pytest.approx(expected, abs=0.12)


@pytest.mark.parametrize("count", [10, 15])
def test_it_covers_the_true_mean_about_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(11)
    trials = 1500
    covered = 0
    for seed in range(trials):
        low, high = ends(interval_of_mean(rng.normal(3, 2, size=count), resamples=500, seed=seed))
        covered += low <= 3 <= high
    assert covered / trials == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("count", [3, 4])
def test_too_few_sequences_cover_less_and_the_note_says_how_much(count: int) -> None:
    rng = np.random.default_rng(2)
    intervals = [interval_of_mean(rng.normal(size=count), resamples=200, seed=seed) for seed in range(400)]
    covered = sum(low <= 0 <= high for low, high in map(ends, intervals)) / 400
    promised = {3: 0.75, 4: 0.875}[count]
    assert covered == pytest.approx(promised, abs=0.04)
    assert f"{count} sequences: the interval holds the truth in {promised:.1%}" in (intervals[0].note or "")


def test_enough_sequences_need_no_note() -> None:
    values = np.arange(6.0)
    assert interval_of_mean(values).note is None
    assert interval_of_mean(values, confidence=0.99).note is not None


def test_a_seed_gives_one_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(0).normal(size=12)
    assert interval_of_mean(values, seed=3) == interval_of_mean(values, seed=3)
    assert interval_of_mean(values, seed=3) != interval_of_mean(values, seed=4)


def test_equal_values_give_an_interval_without_width_that_holds_them() -> None:
    value = -100 / 3
    low, high = ends(interval_of_mean([value] * 7))
    assert low <= value <= high
    assert high - low < 1e-12


def test_a_higher_confidence_is_wider() -> None:
    values = np.random.default_rng(1).normal(size=15)
    narrow, wide = (ends(interval_of_mean(values, confidence=level)) for level in (0.8, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_weights_are_shares_and_equal_resamples_are_computed_once() -> None:
    seen: list[NDArray[np.float64]] = []

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        seen.append(weights)
        return weights[:, 0]

    bootstrap_interval(statistic, 3)
    assert seen[0].tolist() == [[1 / 3] * 3]
    # Three sequences drawn three times: ten multisets.
    assert len(seen[1]) == 10
    assert seen[1].sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("count", [3, 4, 20])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 1 - 1e-15])
def test_intervals_of_many_means_are_those_of_each(count: int, confidence: float) -> None:
    samples = np.random.default_rng(5).normal(size=(count, 6))
    together = mean_intervals(samples, resamples=300, confidence=confidence)
    each = [interval_of_mean(column, resamples=300, confidence=confidence) for column in samples.T]
    assert [ends(one) for one in together] == [pytest.approx(ends(one), rel=1e-12, abs=1e-12) for one in each]
    assert [one.note for one in together] == [one.note for one in each]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_sequences_have_no_interval(count: int) -> None:
    interval = interval_of_mean([1.0] * count)
    assert (interval.low, interval.high) == (None, None)
    there = "there is 1" if count == 1 else f"there are {count}"
    assert interval.reason == f"an interval needs at least 3 sequences, {there}"


def test_an_undefined_value_has_no_interval() -> None:
    interval = interval_of_mean([1.0, math.nan, 2.0])
    assert interval == Interval(None, None, "the value itself is undefined")


@pytest.mark.parametrize(("least", "allowed"), [(2, False), (4, True)])
def test_few_resamples_may_be_undefined_but_not_many(least: int, allowed: bool) -> None:
    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(weights[:, 0] >= least / 4, np.nan, weights @ np.arange(4.0))

    # The first of four sequences is drawn at least twice in 67 of 256 resamples, four times in one.
    interval = bootstrap_interval(statistic, 4, resamples=20_000)
    assert (interval.low is not None) == allowed
    assert allowed or "of 20000 resamples" in (interval.reason or "")


def test_wrong_use_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="50 resamples"):
        interval_of_mean([1, 2, 3], resamples=50)
    with pytest.raises(UsageError, match="confidence is 95"):
        interval_of_mean([1, 2, 3], confidence=95)
