"""The search for levels on curves whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from bench.cards import Rates
from bench.engine.rate_search.level_search import MAX_TRIALS, LevelSearch, Reached

FINE = Rates(parameter="crf", values=(18, 24, 30, 36), minimum=0, maximum=51, integer=False)
WHOLE = Rates(parameter="qp", values=(22, 27, 32, 37), minimum=1, maximum=51)
KBPS = Rates(parameter="kbps", values=(100, 1000), minimum=10, maximum=100_000)
NEAR = math.log(1.02)


def curve(value: float) -> float:
    """Log rate of an encoder: it halves about every six steps, and bends."""
    return math.log(2.0) - (value - 20) / 6 * math.log(2.0) - 0.002 * (value - 20) ** 2


def search(
    rates: Rates, level: Callable[[float], float | None], *targets: float, tolerance: float = NEAR, inner: bool = False
) -> tuple[list[Reached], list[float]]:
    """Outcomes of all targets and the values tried, in the order of trial."""
    hunt = LevelSearch(rates, targets, tolerance, inner=inner)
    tried: list[float] = []
    while values := hunt.propose():
        assert len(tried) < 100
        for value in values:
            assert value not in tried
            rates.check(value)
            tried.append(value)
            hunt.observe(value, level(value), "it is odd")
    return [hunt.outcome(target) for target in targets], tried


def test_targets_within_and_beyond_the_cards_points_are_reached_by_few_trials() -> None:
    targets = [math.log(bpp) for bpp in (0.05, 0.1, 0.5, 1.9)]
    found, tried = search(FINE, curve, *targets)
    for target, outcome in zip(targets, found, strict=True):
        assert outcome.status == "reached"
        assert abs(curve(outcome.value) - target) <= NEAR
        assert outcome.distance == pytest.approx(curve(outcome.value) - target)
    assert len(tried) <= 2 + 2 * len(targets)


@pytest.mark.parametrize("target", [0.07, 0.13, 0.4, 1.0])
def test_whole_numbers_end_at_the_nearer_of_two_neighbours(target: float) -> None:
    ((outcome,), tried) = search(WHOLE, curve, math.log(target))
    best = min(range(1, 52), key=lambda qp: abs(curve(qp) - math.log(target)))
    assert outcome.value == best
    assert outcome.status == "reached" or "lie on either side" in str(outcome.reason)
    assert len(tried) <= 7


def test_a_rising_parameter_over_decades_is_searched_by_its_logarithm() -> None:
    targets = [math.log(bpp) for bpp in (50, 200, 700, 5000, 90_000)]
    found, tried = search(KBPS, lambda kbps: math.log(1.1 * kbps + 30), *targets)
    assert {outcome.status for outcome in found} == {"reached"}
    assert len(tried) <= 2 + 3 * len(targets)


@pytest.mark.parametrize(("target", "end"), [(1e-9, "crf=51"), (1e9, "crf=0")])
def test_the_end_of_the_range_is_told(target: float, end: str) -> None:
    ((outcome,), _) = search(FINE, curve, math.log(target))
    assert (outcome.status, outcome.reason) == ("nearest", f"{end} is the end of its range")
    assert outcome.value == float(end.partition("=")[2])


def test_a_curve_of_steps_ends_by_the_bound() -> None:
    ((outcome,), tried) = search(KBPS, lambda kbps: math.log(round(kbps, -2) + 1), math.log(250))
    assert outcome.status == "nearest"
    assert outcome.reason == f"{MAX_TRIALS} trials came no nearer"
    assert len(tried) == 2 + MAX_TRIALS


def test_a_bump_in_the_curve_does_not_hide_the_target() -> None:
    def bumpy(value: float) -> float:
        return curve(value) + (0.3 if 27 < value < 29 else 0.0)

    found, _ = search(FINE, bumpy, math.log(0.2), math.log(0.6), math.log(1.2))
    assert {outcome.status for outcome in found} == {"reached"}


def test_a_parameter_without_effect_is_told() -> None:
    ((outcome,), tried) = search(WHOLE, lambda _: 1.0, 2.0)
    assert (outcome.status, outcome.reason, len(tried)) == ("nearest", "qp makes no difference", 2)


def test_failures_are_told_and_nothing_is_tried_twice() -> None:
    ((outcome,), tried) = search(WHOLE, lambda _: None, 2.0)
    assert (outcome, tried) == (Reached("none", None, None, "it is odd"), [22, 37])
    ((partly,), _) = search(WHOLE, lambda qp: None if qp % 2 else curve(qp), math.log(0.4))
    assert partly.status == "nearest" and "failed: it is odd" in str(partly.reason)


def test_one_rate_point_on_the_card_is_enough_to_begin_with() -> None:
    one = Rates(parameter="q", values=(5,), minimum=0, maximum=9)
    ((outcome,), tried) = search(one, lambda value: -value, -2.0, tolerance=0.1)
    assert (outcome.status, outcome.value) == ("reached", 2)
    assert len(tried) <= 3


def test_the_inner_start_stays_near_the_targets() -> None:
    targets = [curve(value) for value in (24, 26, 28)]
    _, outer = search(FINE, curve, *targets)
    _, inner = search(FINE, curve, *targets, inner=True)
    assert (min(outer), max(outer)) == (18, 36)
    assert min(inner) > 22 and max(inner) < 31


def test_no_target_needs_no_trial() -> None:
    assert search(FINE, curve) == ([], [])
