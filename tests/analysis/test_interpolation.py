"""Curves and their integrals against scipy's, and what becomes of points that nearly coincide."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from bench.analysis.interpolation import Antiderivative, areas


def reference(x: list[float], y: list[float], method: str) -> object:
    if method == "linear":
        return lambda places: np.array([_area_below_lines(x, y, place) for place in places])
    # two points are a line, which Akima's curve of SciPy before 1.16 is not
    return (PchipInterpolator if method == "pchip" or len(x) == 2 else Akima1DInterpolator)(x, y).antiderivative()


def _area_below_lines(x: list[float], y: list[float], end: float) -> float:
    places = [*(place for place in x if place < end), end]
    return (
        float(np.trapezoid(np.interp(places, x, y), places))
        if hasattr(np, "trapezoid")
        else float(np.trapz(np.interp(places, x, y), places))
    )


@pytest.mark.parametrize("method", ["pchip", "akima", "linear"])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 9, 30])
def test_integrals_are_scipys(method: str, count: int) -> None:
    chance = np.random.default_rng(count)
    for kind in ("rising", "any", "flat in part"):
        x = np.sort(chance.uniform(-3, 60, count))
        y = chance.normal(size=count)
        if kind == "rising":
            y = np.sort(y)
        if kind == "flat in part":
            y[: count // 2 + 1] = 1.0
        ours = Antiderivative(x.tolist(), y.tolist(), method)
        theirs = reference(x.tolist(), y.tolist(), method)
        places = np.linspace(x[0], x[-1], 50)
        expected = theirs(places) - theirs(places[:1])  # type: ignore[operator]
        assert np.allclose(ours(places), expected, rtol=1e-12, atol=1e-12)
        # few places are worked out one by one
        assert np.allclose(ours(places[10:12]), expected[10:12], rtol=1e-12, atol=1e-12)
        assert ours(places.reshape(2, 5, 5)).tolist() == ours(places).reshape(2, 5, 5).tolist()


def test_areas_of_many_curves_are_those_of_each() -> None:
    chance = np.random.default_rng(1)
    points = [(np.sort(chance.uniform(0, 9, count)), chance.normal(size=count)) for count in (5, 4, 5, 9, 2)]
    curves = [Antiderivative(x.tolist(), y.tolist(), "pchip") for x, y in points]
    # beyond the points too, and at them
    low, high = np.sort(chance.uniform(-1, 10, (2, len(curves), 12)), axis=0)
    low[0, :5] = points[0][0]
    found = areas([*curves[:2], None, *curves[2:]], *(np.insert(ends, 2, 0.0, axis=0) for ends in (low, high)))
    assert np.isnan(found[2]).all()
    each = [curve(ends[1]) - curve(ends[0]) for curve, ends in zip(curves, np.stack([low, high], axis=1), strict=True)]
    assert np.delete(found, 2, axis=0).tolist() == np.array(each).tolist()


@pytest.mark.parametrize("method", ["pchip", "akima"])
def test_a_slope_that_overflows_is_refused(method: str) -> None:
    x = [0.0, 5e-324, 1.0, 2.0]
    with np.errstate(all="ignore"), pytest.raises(ValueError):
        PchipInterpolator(x, [0.0, 1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="not finite"):
        Antiderivative(x, [0.0, 1.0, 2.0, 3.0], method)
