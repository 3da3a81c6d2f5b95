"""The upper convex hull of rate-quality points, and of curves of several sizes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_COLLINEAR = 1e-12
PIECES = 8
"""Into how many pieces a ladder's hull cuts the way between two rate points of one size, as the AOM CTC does."""


def upper_hull(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices, by rising x, of the points on the rising part of the upper convex hull.

    What is dropped: points that another one dominates (no more x, no less y), and points under the chord of their
    neighbours. Points on a chord stay. x and y are finite and equally long, in any order.
    Source: the monotone chain of A. M. Andrew, "Another efficient algorithm for convex hulls in two dimensions", 1979.
    """
    chain: list[int] = []
    best = -np.inf
    # Python's floats are several times as fast here as NumPy's; a bootstrap takes thousands of hulls
    xs, ys = x.tolist(), y.tolist()
    for index in np.lexsort((-y, x)).tolist():
        if ys[index] <= best:
            continue
        best = ys[index]
        while len(chain) >= 2 and _under_chord(xs, ys, chain[-2], chain[-1], index):
            chain.pop()
        chain.append(index)
    return np.array(chain, dtype=np.intp)


def ladder_hull(
    rates: NDArray[np.float64], qualities: NDArray[np.float64], scales: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """The upper convex hull across the curves of several sizes: rates and qualities of its corners by rising rate.

    A size's curve is taken as straight from each of its rate points to the next over the logarithm of rate, and enters
    the hull with `PIECES` points for each of these ways: two sizes can cross between rate points, and a hull of few
    points would lose what lies between them. The third array says which of the given points a corner is, -1 for one
    between two. Rates are positive, qualities finite and better when higher, `scales` their sizes.
    Source: AOMediaCodec/avm, tools/convexhull_framework, of which config.yaml has 8 pieces and no PCHIP.
    """
    parts = [(rates[:0], qualities[:0], np.empty(0, dtype=np.intp))]
    for scale in np.unique(scales):
        (given,) = np.nonzero(scales == scale)
        given = given[np.lexsort((qualities[given], rates[given]))]
        knots = np.arange(given.size)
        at = np.arange((given.size - 1) * PIECES + 1) / PIECES
        rate = np.exp(np.interp(at, knots, np.log(rates[given])))
        rate[::PIECES] = rates[given]
        index = np.full(at.size, -1, dtype=np.intp)
        index[::PIECES] = given
        parts.append((rate, np.interp(at, knots, qualities[given]), index))
    rate, quality, index = (np.concatenate(part) for part in zip(*parts, strict=True))
    kept = upper_hull(rate, quality)
    return rate[kept], quality[kept], index[kept]


def _under_chord(x: list[float], y: list[float], left: int, mid: int, right: int) -> bool:
    height = (y[mid] - y[left]) * (x[right] - x[left])
    chord = (y[right] - y[left]) * (x[mid] - x[left])
    return height < chord * (1 - _COLLINEAR)
