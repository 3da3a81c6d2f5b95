"""BD-rate and BD-metric against the `bjontegaard` package, hand-computed integrals and algebraic properties."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis.bd import (
    FLAG_TEXTS,
    METHODS,
    BDResult,
    Cause,
    bd_metric,
    bd_rate,
    cap_quality,
    legend,
    marks,
    method_label,
)
from bench.errors import UsageError

RATE = (0.05, 0.1, 0.2, 0.4, 0.9)
PSNR = (30.0, 33.1, 35.9, 38.2, 40.1)
LPIPS = (0.31, 0.24, 0.19, 0.16, 0.14)

# The same examples every time, and no deadline: the first one pays for importing the interpolators.
repeatable = settings(deadline=None, derandomize=True)


def steps(low: float, high: float, count: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(low, high), min_size=count, max_size=count)


@st.composite
def rising_curve(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Rates and qualities of four to seven points, both rising strictly, over much the same quality interval."""
    count = draw(st.integers(4, 7))
    log_rate = draw(st.floats(-5, 5)) + np.cumsum(draw(steps(0.1, 1.5, count)))
    gains = np.cumsum(draw(steps(0.5, 2, count)))
    quality = 30 + draw(st.floats(0, 0.5)) + 10 * (gains - gains[0]) / (gains[-1] - gains[0])
    return np.exp(log_rate).tolist(), quality.tolist()


def reference(name: str, *curves: object, method: str) -> float:
    """The `bjontegaard` package's value; it draws figures too, so importing it is what costs time."""
    bjontegaard = pytest.importorskip("bjontegaard")
    arrays = [np.asarray(values) for values in curves]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(getattr(bjontegaard, name)(*arrays, method=method, require_matching_points=False, min_overlap=0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["bd_rate", "bd_psnr"])
@repeatable
@given(anchor=rising_curve(), test=rising_curve())
def test_agrees_with_the_bjontegaard_package(
    name: str, method: str, anchor: tuple[list[float], list[float]], test: tuple[list[float], list[float]]
) -> None:
    ours = bd_rate if name == "bd_rate" else bd_metric
    result = ours(*anchor, *test, method=method, min_overlap=0)
    if result.status == "undefined":
        assert result.cause is Cause.NO_OVERLAP
        return
    expected = reference(name, *anchor, *test, method=method)
    assert result.value == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@repeatable
@given(curve=rising_curve(), factor=st.floats(0.2, 5))
def test_a_test_rate_of_k_times_the_anchor_is_100_times_k_minus_1(
    method: str, curve: tuple[list[float], list[float]], factor: float
) -> None:
    rate, quality = curve
    result = bd_rate(rate, quality, [factor * r for r in rate], quality, method=method)
    assert result.value == pytest.approx(100 * (factor - 1), abs=1e-7)
    assert result.overlap == 1


@pytest.mark.parametrize("method", METHODS)
@repeatable
@given(curve=rising_curve(), gain=st.floats(-3, 3))
def test_a_test_quality_above_the_anchor_by_a_constant_is_that_constant(
    method: str, curve: tuple[list[float], list[float]], gain: float
) -> None:
    rate, quality = curve
    result = bd_metric(rate, quality, rate, [q + gain for q in quality], method=method)
    assert result.value == pytest.approx(gain, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
@repeatable
@given(anchor=rising_curve(), test=rising_curve())
def test_swapping_anchor_and_test_inverts_the_rate_ratio(
    method: str, anchor: tuple[list[float], list[float]], test: tuple[list[float], list[float]]
) -> None:
    there, back = bd_rate(*anchor, *test, method=method), bd_rate(*test, *anchor, method=method)
    assert there.value is not None and back.value is not None
    assert (1 + there.value / 100) * (1 + back.value / 100) == pytest.approx(1, rel=1e-9)


@repeatable
@given(anchor=rising_curve(), test=rising_curve(), order=st.randoms(use_true_random=False))
def test_the_order_of_points_does_not_matter(
    anchor: tuple[list[float], list[float]], test: tuple[list[float], list[float]], order: object
) -> None:
    shuffled = list(zip(*anchor, strict=True))
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    rate, quality = zip(*shuffled, strict=True)
    assert bd_rate(rate, quality, *test) == bd_rate(*anchor, *test)


@pytest.mark.parametrize("method", METHODS)
def test_straight_lines_in_log_rate_give_the_difference_at_the_middle_of_the_common_quality(method: str) -> None:
    anchor_rate, test_rate = np.array([0.1, 0.25, 0.5, 1.2]), np.array([0.08, 0.2, 0.6, 1.5])
    anchor_quality, test_quality = 40 + 4 * np.log(anchor_rate), 42 + 5 * np.log(test_rate)
    low = max(anchor_quality[0], test_quality[0])
    high = min(anchor_quality[-1], test_quality[-1])
    middle = (low + high) / 2
    expected = 100 * (math.exp((middle - 42) / 5 - (middle - 40) / 4) - 1)
    result = bd_rate(anchor_rate, anchor_quality, test_rate, test_quality, method=method, min_overlap=0.5)
    assert result.value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("points", [4, 9])
def test_cubic_integrates_a_cubic_polynomial_exactly(points: int) -> None:
    quality = np.linspace(0, 2, points)
    anchor_rate, test_rate = np.exp(quality), np.exp(quality + quality**3 / 4 - 0.3)
    # Mean over 0..2 of q^3/4 - 0.3: (2^4 / 16) / 2 - 0.3.
    result = bd_rate(anchor_rate, quality, test_rate, quality, method="cubic")
    assert result.value == pytest.approx(100 * (math.exp(0.2) - 1), abs=1e-9)


def test_cubic_is_a_least_squares_fit_beyond_four_points() -> None:
    quality = np.arange(5.0)
    # The residual of (1, -4, 6, -4, 1) is orthogonal to every cubic on five equidistant points: it must have no effect.
    noisy = quality + 0.02 * np.array([1, -4, 6, -4, 1])
    flat = bd_rate(np.exp(quality), quality, np.exp(noisy), quality, method="cubic")
    assert flat.value == pytest.approx(0, abs=1e-9)
    interpolated = bd_rate(np.exp(quality), quality, np.exp(noisy), quality, method="pchip").value
    assert interpolated is not None and abs(interpolated) > 0.1


def test_pchip_is_the_integral_of_the_hermite_pieces() -> None:
    quality = np.array([30.0, 32.0, 35.0, 36.0, 40.0])
    log_rate = np.array([-3.0, -2.6, -1.7, -1.1, 0.4])
    width, rise = np.diff(quality), np.diff(log_rate)
    secant = rise / width
    # Slopes of Fritsch and Butland (1984): a weighted harmonic mean inside, a one-sided three-point slope at the ends.
    heavy, light = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    inside = (heavy + light) / (heavy / secant[:-1] + light / secant[1:])

    def end(h0: float, h1: float, s0: float, s1: float) -> float:
        return ((2 * h0 + h1) * s0 - h0 * s1) / (h0 + h1)

    slope = np.array([end(*width[:2], *secant[:2]), *inside, end(*width[:-3:-1], *secant[:-3:-1])])
    area = np.sum(width * (log_rate[1:] + log_rate[:-1]) / 2 + width**2 * (slope[:-1] - slope[1:]) / 12)
    straight = np.array([30.0, 33.0, 37.0, 40.0])
    expected = 100 * (math.exp(area / 10) - 1)
    result = bd_rate(np.exp(np.zeros(4) + (straight - 35) * 1e-9), straight, np.exp(log_rate), quality)
    assert result.value == pytest.approx(expected, abs=1e-6)


def test_methods_differ_on_a_bent_curve_and_each_result_names_its_own() -> None:
    results = [bd_rate(RATE, PSNR, RATE, (29.0, 33.0, 33.2, 38.9, 39.0), method=method) for method in METHODS]
    assert [result.method for result in results] == list(METHODS)
    assert len({round(result.value or 0, 1) for result in results}) == 3


def test_lower_is_better_flips_neither_the_sign_of_rate_nor_the_value() -> None:
    halved = [rate / 2 for rate in RATE]
    assert bd_rate(RATE, LPIPS, halved, LPIPS, higher_is_better=False).value == pytest.approx(-50)
    mirrored = bd_rate(RATE, [-q for q in LPIPS], halved, [-q * 1.01 for q in LPIPS])
    assert bd_rate(RATE, LPIPS, halved, [q * 1.01 for q in LPIPS], higher_is_better=False).value == mirrored.value


def test_bd_metric_keeps_the_direction_of_the_metric() -> None:
    better = [q - 0.02 for q in LPIPS]
    assert bd_metric(RATE, LPIPS, RATE, better, higher_is_better=False).value == pytest.approx(-0.02)
    assert bd_metric(RATE, PSNR, RATE, [q + 1.5 for q in PSNR]).value == pytest.approx(1.5)


def test_a_metric_read_in_the_wrong_direction_leaves_one_point() -> None:
    result = bd_rate(RATE, LPIPS, RATE, LPIPS)
    assert (result.cause, result.reason) == (
        Cause.TOO_FEW_POINTS,
        "anchor: 1 usable points of 5; at least 3 are needed: measure more rates (--rates)",
    )


@pytest.mark.parametrize(
    ("rate", "quality", "cause", "words"),
    [
        ((), (), Cause.TOO_FEW_POINTS, "test: 0 points; at least 3"),
        (RATE[:2], PSNR[:2], Cause.TOO_FEW_POINTS, "test: 2 points; at least 3"),
        (RATE, (30.0, 33.1, 32.0, 31.0, 30.5), Cause.TOO_FEW_POINTS, "test: 2 usable points of 5"),
        ((0.1, *[0.2] * 4), PSNR, Cause.TOO_FEW_POINTS, "test: 2 usable points of 5"),
        ((0.0, *RATE[1:]), PSNR, Cause.BAD_RATE, "rate 0 is not a positive"),
        ((-0.1, *RATE[1:]), PSNR, Cause.BAD_RATE, "rate -0.1"),
        ((math.nan, *RATE[1:]), PSNR, Cause.BAD_RATE, "rate nan"),
        ((*RATE[:4], math.inf), PSNR, Cause.BAD_RATE, "rate inf"),
        (RATE, (*PSNR[:4], math.nan), Cause.NAN_QUALITY, "NaN, at rate 0.9"),
        (RATE, (*PSNR[:4], math.inf), Cause.INFINITE_QUALITY, "rate 0.9 is infinite"),
        (RATE, (-math.inf, *PSNR[1:]), Cause.INFINITE_QUALITY, "rate 0.05 is infinite"),
        (RATE, [q + 20 for q in PSNR], Cause.NO_OVERLAP, "overlap 0 %"),
    ],
)
def test_undefined_says_why_and_has_no_value(
    rate: tuple[float, ...], quality: tuple[float, ...], cause: Cause, words: str
) -> None:
    result = bd_rate(RATE, PSNR, rate, quality)
    assert (result.value, result.status, result.cause) == (None, "undefined", cause)
    assert words in (result.reason or "")


def test_the_anchor_is_checked_as_the_test_is() -> None:
    assert (bd_rate(RATE[:2], PSNR[:2], RATE, PSNR).reason or "").startswith("anchor: 2 points")


def test_bd_metric_is_undefined_where_the_rates_do_not_meet() -> None:
    result = bd_metric(RATE, PSNR, [rate * 100 for rate in RATE], PSNR)
    assert (result.cause, result.overlap) == (Cause.NO_OVERLAP, 0)


@pytest.mark.parametrize("delta", [bd_rate, bd_metric])
def test_identical_points_count_once_and_of_equal_rates_the_better_one(delta: Any) -> None:
    plain = delta(RATE, PSNR, RATE, PSNR)
    assert delta((*RATE, 0.2, 0.2), (*PSNR, 35.9, 35.9), RATE, PSNR) == plain
    result = delta((*RATE, 0.2), (*PSNR, 34.0), RATE, PSNR)
    assert (result.value, result.flags) == (plain.value, (Cause.NON_MONOTONE,))


@pytest.mark.parametrize("delta", [bd_rate, bd_metric])
def test_a_curve_that_falls_is_compared_by_its_envelope_and_says_so(delta: Any) -> None:
    rate, quality = (0.05, 0.1, 0.15, 0.2, 0.4, 0.6, 0.9), (30.0, 33.1, 32.0, 35.9, 38.2, 38.2, 40.1)
    result = delta(RATE, PSNR, rate, quality)
    assert result.value == pytest.approx(delta(RATE, PSNR, RATE, PSNR).value, abs=1e-9)
    assert (result.status, result.flags) == ("ok", (Cause.NON_MONOTONE,))
    assert result.notes == (
        "test: not monotone, 2 of 7 points left out, as one of lower rate is at least as good: 32 at rate 0.15, 38.2 at"
        " rate 0.6",
    )


def test_the_envelope_of_a_falling_metric_is_of_its_falling_points() -> None:
    result = bd_rate(
        RATE, LPIPS, (0.05, 0.1, 0.15, 0.2, 0.4, 0.9), (0.31, 0.24, 0.25, *LPIPS[2:]), higher_is_better=False
    )
    assert result.value == pytest.approx(0, abs=1e-9)
    assert "0.25 at rate 0.15" in result.notes[0]


def test_a_curve_that_only_falls_has_a_bd_metric_over_all_its_points() -> None:
    """Warping error that grows with rate, of two codecs that differ by 0.01 throughout."""
    growing = [1 - q for q in LPIPS]
    curves = (RATE, growing, RATE, [q - 0.01 for q in growing])
    assert bd_rate(*curves, higher_is_better=False).cause is Cause.TOO_FEW_POINTS
    result = bd_metric(*curves, higher_is_better=False)
    assert (result.value, result.flags) == (pytest.approx(-0.01), (Cause.NON_MONOTONE,))
    assert result.notes[0] == "anchor: not monotone, 4 of 5 points are no better than one of lower rate; all count"


def test_three_points_have_a_value_and_a_flag() -> None:
    for method in METHODS:
        result = bd_rate(RATE[:3], PSNR[:3], [rate / 2 for rate in RATE[:3]], PSNR[:3], method=method)
        assert result.value == pytest.approx(-50)
        assert result.flags == (Cause.THREE_POINTS,)
    assert result.notes[0] == "anchor: three points; four or more make a safer curve"


def test_saturated_points_count_while_they_rise_and_are_flagged() -> None:
    vmaf = (60.0, 75.0, 88.0, 96.0, 99.6)
    assert bd_rate(RATE, vmaf, RATE, vmaf).flags == ()
    result = bd_rate(RATE, vmaf, [rate / 2 for rate in RATE], vmaf, saturation=99.5)
    assert (result.value, result.flags) == (pytest.approx(-50), (Cause.SATURATED,))
    assert result.notes[0] == "anchor: 1 of 5 points saturated (at or beyond 99.5)"


def test_a_saturated_tail_that_no_longer_rises_is_dropped_from_there_on() -> None:
    """As the AOM CTC drops it: also the points behind it that rise again."""
    rate, vmaf = (*RATE, 1.5, 2.5), (60.0, 75.0, 88.0, 99.7, 99.6, 99.8, 99.9)
    result = bd_rate(RATE[:4], vmaf[:4], rate, vmaf, saturation=99.5)
    assert result.value == pytest.approx(0, abs=1e-9)
    assert result.notes[1] == ("test: 4 of 7 points saturated (at or beyond 99.5), 3 left out as they no longer rise")
    assert result.flags == (Cause.SATURATED,)


def test_saturation_of_a_falling_metric_is_at_its_low_end() -> None:
    saturated = bd_rate(RATE, LPIPS, RATE, LPIPS, higher_is_better=False, saturation=0.14)
    assert saturated.flags == (Cause.SATURATED,)
    assert bd_rate(RATE, LPIPS, RATE, LPIPS, higher_is_better=False, saturation=0.13).flags == ()


def test_an_infinite_psnr_is_capped_and_the_cap_is_named() -> None:
    lossless, capped = (*PSNR[:4], math.inf), (*PSNR[:4], 99.9)
    result = bd_rate(RATE, lossless, RATE, lossless, cap=99.9)
    assert result.flags == (Cause.CAPPED,)
    assert result.notes == (
        "anchor: 1 of 5 qualities capped at 99.9",
        "test: 1 of 5 qualities capped at 99.9",
    )
    half = [rate / 2 for rate in RATE]
    assert bd_rate(RATE, lossless, half, PSNR, cap=99.9).value == pytest.approx(bd_rate(RATE, capped, half, PSNR).value)


def test_of_two_capped_points_the_cheaper_one_counts() -> None:
    quality = (*PSNR[:3], math.inf, math.inf)
    result = bd_rate(RATE, quality, RATE[:4], quality[:4], cap=99.9)
    assert (result.value, result.flags) == (pytest.approx(0), (Cause.CAPPED,))


def test_cap_follows_the_direction() -> None:
    values, count = cap_quality(np.array([-1.0, 0.5, 3.0]), 0.0, higher_is_better=False)
    assert (values.tolist(), count) == ([0.0, 0.5, 3.0], 1)
    assert cap_quality(np.array([math.inf]), None)[1] == 0


@pytest.mark.parametrize(
    ("quality", "there", "back"),
    [
        ((30, 31, 33, 35), 0.5, 1.0),  # the lower half of the anchor
        ((32.5, 34, 36, 37.5), 0.5, 1.0),  # a half in its middle
        ((20, 30, 40, 60), 1.0, 0.25),  # all of the anchor; that the test reaches further takes nothing from it
        ((32, 35, 38, 42), 0.8, 0.8),
        ((30, 33, 36, 37.5), 0.75, 1.0),
    ],
)
def test_overlap_is_the_share_of_the_anchor_that_is_compared(
    quality: tuple[float, ...], there: float, back: float
) -> None:
    rate, anchor = (0.1, 0.2, 0.4, 0.8), (30, 33, 36, 40)
    for result, overlap in (
        (bd_rate(rate, anchor, rate, quality), there),
        (bd_rate(rate, quality, rate, anchor), back),
    ):
        assert (result.status, result.overlap) == ("ok", pytest.approx(overlap))
        assert (Cause.LITTLE_OVERLAP in result.flags) == (overlap < 0.75)


def test_the_interval_that_is_compared_is_shown_in_its_own_unit() -> None:
    assert bd_rate(RATE, PSNR, RATE, (32.0, 34.0, 37.0, 40.0, 44.0)).compared == (32.0, 40.1)
    falling = bd_rate(RATE, LPIPS, RATE, [q + 0.01 for q in LPIPS], higher_is_better=False)
    assert falling.compared == (pytest.approx(0.15), 0.31)
    assert bd_metric(RATE, PSNR, [2 * rate for rate in RATE], PSNR).compared == pytest.approx((0.1, 0.9))
    assert bd_rate(RATE, PSNR, RATE, [q + 20 for q in PSNR]).compared is None


def test_a_minimum_of_overlap_withholds_the_value_only_where_it_is_asked_for() -> None:
    rate = (0.1, 0.2, 0.4, 0.8)
    curves = (rate, (30, 33, 36, 40), rate, (30, 31, 33, 35))
    result = bd_rate(*curves)
    assert (result.status, result.flags[0]) == ("ok", Cause.LITTLE_OVERLAP)
    assert result.notes[0] == "50 % of the anchor's quality is compared"
    refused = bd_rate(*curves, min_overlap=0.75)
    assert (refused.value, refused.cause) == (None, Cause.LITTLE_OVERLAP)
    assert refused.reason == "overlap 50 % is under the 75 % asked for (of quality)"
    assert refused.overlap == 0.5


def test_the_hull_is_taken_in_the_plane_of_rate_and_quality() -> None:
    # On the chord of its neighbours in log rate, but under it in rate.
    rate, quality = (0.1, 0.2, 0.4, 0.8), (30.0, 33.0, 36.0, 39.0)
    result = bd_rate(rate, quality, rate, quality, hull=True)
    assert (result.value, result.flags) == (pytest.approx(0), ())
    bent = bd_rate(RATE, PSNR, (0.1, 0.2, 0.3, 0.4, 0.8), (30.0, 31.0, 34.0, 36.0, 39.0), hull=True)
    without = bd_rate(RATE, PSNR, (0.1, 0.3, 0.4, 0.8), (30.0, 34.0, 36.0, 39.0), hull=True)
    assert bent.value == without.value
    assert bent.method == "pchip, convex hull"


def test_a_hull_of_two_points_is_too_few() -> None:
    result = bd_rate(RATE, PSNR, RATE[:4], (30.0, 30.1, 30.2, 38.0), hull=True)
    assert result.cause is Cause.TOO_FEW_POINTS
    assert "2 usable points of 4 on the convex hull" in (result.reason or "")


def test_each_value_has_its_spread_over_interpolations() -> None:
    bent = (RATE, PSNR, RATE, (29.0, 33.0, 33.2, 38.9, 39.0))
    by_hand = {method: bd_rate(*bent, method=method).value for method in ("pchip", "akima")}
    result = bd_rate(*bent)
    assert {name: result.by_method[name] for name in by_hand} == by_hand
    grid = np.linspace(30, 39, 200001)
    straight = np.interp(grid, bent[3], np.log(RATE)) - np.interp(grid, PSNR, np.log(RATE))
    assert result.by_method["linear"] == pytest.approx(100 * math.expm1(float(np.mean(straight))), abs=0.01)
    assert result.spread == (min(result.by_method.values()), max(result.by_method.values()))
    assert Cause.METHODS_DISAGREE in result.flags
    assert Cause.METHODS_DISAGREE in bd_metric(*bent).flags
    assert bd_rate(RATE, PSNR, [rate / 2 for rate in RATE], PSNR).spread == (pytest.approx(-50), pytest.approx(-50))


def test_a_cubic_that_falls_inside_the_interval_is_flagged_and_not_averaged() -> None:
    rate, quality = (0.01, 0.5, 0.55, 4.0), (30.0, 31.0, 38.0, 39.0)
    result = bd_rate(RATE, PSNR, rate, quality, method="cubic")
    fit = np.polyfit(quality, np.log(rate), 3)
    slope = np.polyval(np.polyder(fit), np.linspace(*result.compared, 1001))
    assert slope.min() < 0, "the example is one whose fit falls"
    assert Cause.FIT_FALLS in result.flags
    assert not result.averageable
    assert bd_rate(RATE, PSNR, rate, quality).averageable
    straight = bd_rate(RATE, PSNR, [rate / 2 for rate in RATE], PSNR, method="cubic")
    assert straight.averageable


CTC = Path(__file__).parents[3] / "shared" / "reference" / "ctc_bd.json"


@pytest.mark.parametrize(("metric", "within"), [("psnr_y", 0.05), ("psnr_u", 0.05), ("vmaf", 0.5)])
def test_the_published_values_of_the_aom_ctc(metric: str, within: float) -> None:
    """AV2 against AV1 by AVM's own script, which integrates 100 samples by trapezoids."""
    if not CTC.is_file():
        pytest.skip("the AOM CTC's published curves are not beside the repository")
    saturation = 99.5 if metric == "vmaf" else None
    pairs = json.loads(CTC.read_text())["pairs"]
    for pair in pairs:
        sides = [pair[side][key] for side in ("anchor", "test") for key in ("kbps", metric)]
        result = bd_rate(*sides, saturation=saturation)
        assert result.value == pytest.approx(pair["published"][metric], abs=within), pair["video"]
    assert len(pairs) == 31


def test_the_published_example_of_netflix() -> None:
    """Two encodes by VMAF, of which a rule of 75 % overlap would compare nothing."""
    example = json.loads((Path(__file__).parent / "netflix_bd.json").read_text())
    anchor, test = (list(zip(*example[side], strict=True)) for side in ("anchor", "test"))
    result = bd_rate(*anchor, *test, saturation=99.5)
    assert result.value == pytest.approx(example["published_per_cent"], abs=1e-6)
    assert (result.status, result.flags, round(result.overlap or 0, 3)) == ("ok", (Cause.LITTLE_OVERLAP,), 0.677)


EXTREMES = [5e-324, 1e-308, 1e-10, 1.0, 1 + 2**-52, 1.1, 2.0, 1e10, 1e300, 1.7e308]


@repeatable
@given(
    values=st.tuples(
        *(st.lists(st.sampled_from(EXTREMES), min_size=4, max_size=6, unique=True).map(sorted) for _ in range(2))
    ),
    method=st.sampled_from(METHODS),
    delta=st.sampled_from([bd_rate, bd_metric]),
)
def test_numbers_at_the_ends_of_the_range_never_raise_nor_give_a_value_that_is_not_finite(
    values: tuple[list[float], list[float]], method: str, delta: object
) -> None:
    rate, quality = (sorted(side)[: min(map(len, values))] for side in values)
    result: BDResult = delta(RATE, PSNR, rate, quality, method=method, min_overlap=0)  # type: ignore[operator]
    assert result.value is None or math.isfinite(result.value)
    assert (result.value is None) == (result.reason is not None) == (result.cause is not None)


@repeatable
@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=8))
def test_any_floats_give_a_result(points: list[tuple[float, float]]) -> None:
    rate, quality = [point[0] for point in points], [point[1] for point in points]
    for hull in (False, True):
        result = bd_rate(rate, quality, RATE, PSNR, hull=hull)
        assert (result.value is None) == (result.status == "undefined")
        assert result.overlap is None or 0 <= result.overlap <= 1


def test_points_too_close_for_the_arithmetic_are_undefined() -> None:
    quality = (30.0, 30.000000000000004, 30.000000000000007, 40.0)
    result = bd_rate(RATE[:4], quality, RATE[:4], quality, method="cubic")
    assert result.cause is Cause.ILL_CONDITIONED


def test_wrong_use_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="5 rates and 4 qualities"):
        bd_rate(RATE, PSNR[:4], RATE, PSNR)
    with pytest.raises(UsageError, match="unknown BD method 'spline'; there are: pchip, akima, cubic"):
        bd_rate(RATE, PSNR, RATE, PSNR, method="spline")
    with pytest.raises(UsageError, match="min_overlap is 75"):
        bd_metric(RATE, PSNR, RATE, PSNR, min_overlap=75)
    with pytest.raises(UsageError, match="test: rates and qualities are not numbers"):
        bd_rate(RATE, PSNR, ["low", "high"], [1, 2])  # type: ignore[list-item]


def test_label_and_dictionary() -> None:
    assert method_label("akima", hull=True) == "akima, convex hull"
    assert bd_rate(RATE, PSNR, RATE[:2], PSNR[:2]).to_dict() == {
        "value": None,
        "status": "undefined",
        "reason": "test: 2 points; at least 3 are needed: measure more rates (--rates)",
        "overlap": None,
        "compared": None,
        "method": "pchip",
        "by_method": {},
        "spread": None,
        "cause": "too_few_points",
        "flags": [],
        "notes": [],
    }


def test_every_flag_has_a_mark_and_a_line_in_the_legend() -> None:
    shown = marks(FLAG_TEXTS).split(",")
    assert len(set(shown)) == len(FLAG_TEXTS) and all(len(mark) == 1 for mark in shown)
    assert legend(FLAG_TEXTS) == [f"{mark}: {text}" for mark, text in zip(shown, FLAG_TEXTS.values(), strict=True)]
    assert marks([Cause.PARTIAL, Cause.LITTLE_OVERLAP]) == "o,p"
    assert legend([Cause.PARTIAL]) == ["p: a mean over some of the sequences only"]
