"""Radial-basis interpolation that grows by one centre at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SINGULAR = 1e-3
"""Pixels: a centre that adds less than this to the basis coincides with one that is there already."""

ROOM = 64
"""Centres that there is room for at first; it doubles when they are more."""


class GrowingInterpolation:
    """What is left of values at some points when those at chosen ones, its centres, are interpolated.

    ``residual``: float32 points x channels. The interpolant is a constant and a sum of -|x - centre|, the "linear"
    kernel of degree 0 of scipy's RBFInterpolator: it has no scale to choose, and breaks at a centre rather than
    overshoot. Each centre adds one function of the Newton basis (Müller and Schaback 2009), of cost points x centres.
    """

    def __init__(self, points: Floats, values: Floats) -> None:
        """``points``: float32 N x 2, pixels; ``values``: float32 N x channels."""
        self.residual = values.copy()
        self._points = points
        self._basis = np.empty((ROOM, len(points)), np.float32)
        self._size = 0
        self._anchor: Floats | None = None

    def add(self, centre: int) -> None:
        """Interpolate the value of one more point, given by its index."""
        away = _distance(self._points, self._points[centre])
        if self._anchor is None:
            self._anchor = away
            self.residual -= self.residual[centre]
            return
        # the kernel with the anchor's row and column projected out, which makes it positive definite
        kernel = self._anchor + self._anchor[centre] - away
        basis = self._basis[: self._size]
        function = kernel - basis[:, centre] @ basis
        power = float(function[centre])
        if power < SINGULAR:
            return
        function /= np.float32(power**0.5)
        if self._size == len(self._basis):
            self._basis = np.concatenate([self._basis, np.empty_like(self._basis)])
        self._basis[self._size] = function
        self._size += 1
        self.residual -= np.outer(function, self.residual[centre] / function[centre])


def _distance(points: Floats, centre: Floats) -> Floats:
    away = points - centre
    distance: Floats = np.sqrt(np.einsum("nc,nc->n", away, away))
    return distance
