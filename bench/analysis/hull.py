"""The upper convex hull of rate-quality points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_COLLINEAR = 1e-12


def upper_hull(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices, by rising x, of the points on the rising part of the upper convex hull.

    What is dropped: points that another one dominates (no more x, no less y), and points under the chord of their
    neighbours. Points on a chord stay. x and y are finite and equally long, in any order.
    Source: the monotone chain of A. M. Andrew, "Another efficient algorithm for convex hulls in two dimensions", 1979.
    """
    chain: list[np.intp] = []
    best = -np.inf
    for index in np.lexsort((-y, x)):
        if y[index] <= best:
            continue
        best = y[index]
        while len(chain) >= 2 and _under_chord(x, y, chain[-2], chain[-1], index):
            chain.pop()
        chain.append(index)
    return np.array(chain, dtype=np.intp)


def _under_chord(x: NDArray[np.float64], y: NDArray[np.float64], left: np.intp, mid: np.intp, right: np.intp) -> bool:
    height = (y[mid] - y[left]) * (x[right] - x[left])
    chord = (y[right] - y[left]) * (x[mid] - x[left])
    return bool(height < chord * (1 - _COLLINEAR))
