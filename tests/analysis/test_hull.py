"""The upper hull against scipy's Qhull and by hand."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from bench.analysis.hull import upper_hull


def hull(x: list[float], y: list[float]) -> list[int]:
    return upper_hull(np.array(x, dtype=float), np.array(y, dtype=float)).tolist()


def test_points_under_a_chord_and_dominated_points_go() -> None:
    assert hull([0, 1, 2, 3, 4], [0, 3, 3.5, 5, 4.9]) == [0, 1, 3]


def test_points_on_a_chord_stay() -> None:
    x = np.log([0.05, 0.1, 0.2, 0.4, 0.8])
    assert upper_hull(x, 40 + 4.3 * x).tolist() == [0, 1, 2, 3, 4]


def test_the_best_of_equal_rates_stays_and_equal_points_count_once() -> None:
    assert hull([1, 1, 0, 1], [2, 3, 0, 3]) == [2, 1]


def test_no_points_have_no_hull() -> None:
    assert hull([], []) == []


def above_every_point(x: NDArray[np.float64], y: NDArray[np.float64], kept: NDArray[np.intp]) -> bool:
    return bool(np.all(np.interp(x, x[kept], y[kept]) >= y - 1e-9))


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=4, max_size=20, unique=True))
def test_it_is_the_rising_part_of_the_hull_that_qhull_finds(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points, dtype=float).T
    kept = upper_hull(x, y)
    assert above_every_point(x, y, kept)
    corners = ConvexHull(np.array([*points, (-1000, -1000), (2000, -1000)], dtype=float)).vertices
    rising = {points[i] for i in corners if i < len(points) and x[i] <= x[kept[-1]]}
    assert rising <= {points[i] for i in kept}
