"""Curves through a few points and their integrals, as scipy.interpolate has them, in a fraction of its time.

A comparison takes thousands of curves of four or five points, for which arrays and their checks cost more than the
arithmetic. The tests hold values to scipy's PchipInterpolator (Fritsch and Butland 1984, ends of Moler's pchiptx) and
Akima1DInterpolator (Akima 1970).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEW = 8
"""Places up to which the arithmetic is done one by one."""

# Akima's slope is not defined where both its weights vanish; scipy takes less than this share of the largest for that
_VANISHING = 1e-9


class Antiderivative:
    """Of the curve through points with the ``method`` "pchip", "akima" or "linear"; 0 at the first.

    ``x`` rises strictly. Called with an array of places, which beyond the points goes on with the nearest piece. Raises
    ValueError where the points lie so close together that a slope leaves the floating-point range.
    """

    def __init__(self, x: Sequence[float], y: Sequence[float], method: str) -> None:
        steps = [after - before for before, after in pairwise(x)]
        rises = [(after - before) / step for (before, after), step in zip(pairwise(y), steps, strict=True)]
        if method == "linear" or len(x) == 2:
            pieces = [(rise, start) for rise, start in zip(rises, y, strict=False)]
            self._pieces = [(0.0, 0.0, rise / 2, start) for rise, start in pieces]
        else:
            slopes = (_pchip if method == "pchip" else _akima)(steps, rises)
            if not all(map(math.isfinite, slopes)):
                raise ValueError("a slope is not finite")
            self._pieces = [
                _piece(step, rise, *ends, start)
                for step, rise, ends, start in zip(steps, rises, pairwise(slopes), y, strict=False)
            ]
        self._x = list(x)
        areas = (_value(piece, step) for piece, step in zip(self._pieces, steps, strict=True))
        self._areas = [0.0, *accumulate(areas)][:-1]

    def __call__(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        if places.size <= _FEW:
            return np.array([self.at(place) for place in places.ravel().tolist()]).reshape(places.shape)
        piece = np.clip(np.searchsorted(self._x, places, side="right") - 1, 0, len(self._pieces) - 1)
        step = places - np.array(self._x)[piece]
        a, b, c, d = np.array(self._pieces)[piece].transpose(-1, *range(places.ndim))
        found: NDArray[np.float64] = np.array(self._areas)[piece] + step * (d + step * (c + step * (b + step * a)))
        return found

    def at(self, place: float) -> float:
        """The antiderivative at one place."""
        piece = min(max(bisect_right(self._x, place) - 1, 0), len(self._pieces) - 1)
        return self._areas[piece] + _value(self._pieces[piece], place - self._x[piece])


def areas(
    curves: Sequence[Antiderivative | None], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Integral of each curve from ``low`` to ``high``, which have a row of places for each; NaN where there is none.

    What calling each curve gives, for all that have equally many points at once.
    """
    found = np.full(low.shape, math.nan)
    alike: dict[int, list[int]] = {}
    for row, curve in enumerate(curves):
        if curve is not None:
            alike.setdefault(len(curve._x), []).append(row)
    for rows in alike.values():
        own = [one for row in rows if (one := curves[row]) is not None]
        x, pieces, before = (np.array([getattr(one, part) for one in own]) for part in ("_x", "_pieces", "_areas"))
        places = np.stack([low[rows], high[rows]])
        at = np.clip((places[..., None] >= x[:, None, :]).sum(axis=-1) - 1, 0, before.shape[1] - 1)
        of = np.arange(len(rows))[:, None]
        start, end = before[of, at] + _value(np.moveaxis(pieces[of, at], -1, 0), places - x[of, at])
        found[rows] = end - start
    return found


_Piece = tuple[float, float, float, float]
"""Coefficients of an antiderivative's fourth, third, second and first power of the step from a point."""


def _piece(step: float, rise: float, before: float, after: float, start: float) -> _Piece:
    """Of the cubic with a slope at each end."""
    bend = (before + after - 2 * rise) / step
    return bend / step / 4, ((rise - before) / step - bend) / 3, before / 2, start


def _value(piece: Any, step: float) -> float:
    a, b, c, d = piece
    found: float = step * (d + step * (c + step * (b + step * a)))
    return found


def _pchip(steps: Sequence[float], rises: Sequence[float]) -> list[float]:
    """Slopes by the weighted harmonic mean of the rises beside a point, 0 where these differ in sign."""
    inner = []
    for (h0, h1), (m0, m1) in zip(pairwise(steps), pairwise(rises), strict=True):
        first, second = h0 + 2 * h1, 2 * h0 + h1
        inner.append(0.0 if _sign(m0) != _sign(m1) or not m0 else (first + second) / (first / m0 + second / m1))
    first_end = _pchip_end(steps[0], steps[1], rises[0], rises[1])
    return [first_end, *inner, _pchip_end(steps[-1], steps[-2], rises[-1], rises[-2])]


def _pchip_end(h0: float, h1: float, m0: float, m1: float) -> float:
    """Slope at an end: that of a parabola through three points, kept from turning the curve."""
    slope = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
    if _sign(slope) != _sign(m0):
        return 0.0
    return 3 * m0 if _sign(m0) != _sign(m1) and abs(slope) > 3 * abs(m0) else slope


def _akima(steps: Sequence[float], rises: Sequence[float]) -> list[float]:
    """Slopes weighted by how much the rises on the other side change; the mean of four where nothing changes."""
    left = 2 * rises[0] - rises[1]
    right = 2 * rises[-1] - rises[-2]
    m = [2 * left - rises[0], left, *rises, right, 2 * right - rises[-1]]
    changes = [abs(after - before) for before, after in pairwise(m)]
    weights = [(changes[i], changes[i + 2]) for i in range(len(rises) + 1)]
    least = _VANISHING * max(before + after for before, after in weights)
    return [
        m[i + 1] + before / (before + after) * (m[i + 2] - m[i + 1])
        if before + after > least
        else (m[i] + m[i + 3]) / 2
        for i, (before, after) in enumerate(weights)
    ]


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
