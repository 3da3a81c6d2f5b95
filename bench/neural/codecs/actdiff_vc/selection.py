"""Which of a segment's dense tracks are sent: those that tell most of the motion, under a budget in tracks or in bits.

Three methods: "greedy" sends one after the other the point whose motion is furthest from what those before it tell;
"grid" spreads points evenly, "flow" sends those that move most. The last two are what greedy is compared with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bench.errors import UnknownNameError, UsageError
from bench.neural.codecs.actdiff_vc.tracks import Mask, Picture, Points
from bench.neural.codecs.actdiff_vc.trajectories import Trajectories, quantised
from bench.neural.codecs.actdiff_vc.trajectory_coding import bits as expected_bits
from bench.neural.codecs.actdiff_vc.trajectory_coding import encode_trajectories

Sketch = npt.NDArray[np.float32]
BLUR = 2.0
"""Sigma in pixels of the blur, so that a point beside an edge counts too."""

STRONG = 95.0
"""Percentile of the gradients that is as strong as an edge gets."""

FLOOR = 0.1
"""Weight of flat ground: where it moves by itself, a point there can still be worth its bits."""

Floats = npt.NDArray[np.float32]
SINGULAR = 1e-3
"""Pixels: a centre that adds less than this to the basis coincides with one that is there already."""

ROOM = 64
"""Centres that there is room for at first; it doubles when they are more."""

Indices = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float32]

CANDIDATES = 3000
"""Greedy chooses among about as many points, the strongest of each neighbourhood."""

MOMENTS = 12
"""Frames, evenly spaced, at which greedy looks at the motion."""


def select(
    positions: Points,
    visible: Mask,
    weights: Sketch | None = None,
    *,
    size: tuple[int, int],
    tracks: int = 300,
    bits: int | None = None,
    method: str = "greedy",
    per_pixel: int = 1,
) -> Indices:
    """Indices of the tracks to send, int64, in the order of choice.

    ``positions``: float32 points x frames x 2, pixels; ``visible``: bool points x frames; ``weights``: an edge sketch
    of the first frame, H x W, which "greedy" alone heeds; ``size``: the frame's height and width. The budget is
    ``tracks``, or else ``bits``: those of the coded trajectories, with positions of ``per_pixel`` units per pixel. It
    is never exceeded. Greedy stops before where no motion is left that such positions could express; under a budget in
    bits its weights are divided by the square root of what a track is expected to take (by all of it, they would
    choose what is cheap because it hardly moves). UnknownNameError for a method that is not there, UsageError for a
    negative budget.
    """
    if method not in METHODS:
        raise UnknownNameError("method of selection", method, METHODS)
    if min(tracks, bits or 0) < 0:
        raise UsageError(f"a budget of {tracks} tracks, {bits} bits: give numbers from 0 up")
    worth = np.ones(len(positions), np.float32) if weights is None else _at(weights, positions[:, 0])
    if bits is not None:
        rounded = Trajectories(np.rint(positions * per_pixel).astype(np.int32), visible, per_pixel)
        worth = (worth / np.sqrt(expected_bits(rounded))).astype(np.float32)
    order = METHODS[method](positions, visible, worth, size, 0.5 / per_pixel)
    if bits is None:
        return order.first(tracks)

    def fits(chosen: Indices) -> bool:
        sent = quantised(positions[chosen], visible[chosen], per_pixel)
        return 8 * len(encode_trajectories(sent, *size)) <= bits

    return _most(order.first, fits)


class Order(ABC):
    """Choices of growing number.

    ``positions``, ``visible``, ``size`` as in `select`; ``worth``: float32 points; ``least``: pixels of motion that
    positions can express.
    """

    def __init__(self, positions: Points, visible: Mask, worth: Weights, size: tuple[int, int], least: float) -> None:
        self.positions, self.visible, self.worth, self.size, self.least = positions, visible, worth, size, least

    @abstractmethod
    def first(self, count: int) -> Indices:
        """The best choice of so many tracks, or of all there are to choose."""


class Greedy(Order):
    """One after the other, the point with the largest residual motion times what it is worth.

    Residual: root mean square over the frames in which the point is visible, all frames counted, of the distance
    between its displacement and that interpolated from the chosen points visible there (`GrowingInterpolation`).
    """

    def __init__(self, positions: Points, visible: Mask, worth: Weights, size: tuple[int, int], least: float) -> None:
        super().__init__(positions, visible, worth, size, least)
        starts = positions[:, 0]
        self._candidates = _strongest(starts, worth * visible.mean(axis=1), size)
        frames = positions.shape[1]
        moments = np.unique(np.linspace(min(1, frames - 1), frames - 1, MOMENTS).round().astype(int))
        self._seen = visible[self._candidates][:, moments]
        displacement = positions[self._candidates][:, moments] - starts[self._candidates][:, None]
        self._motion = [
            GrowingInterpolation(starts[self._candidates], np.ascontiguousarray(displacement[:, moment]))
            for moment in range(len(moments))
        ]
        self._left = np.ones(len(self._candidates), bool)
        self._order: list[int] = []

    def first(self, count: int) -> Indices:
        while len(self._order) < count:
            residual = self._residual()
            scores = residual * self.worth[self._candidates] * (self._left & (residual > self.least))
            best = int(np.argmax(scores)) if len(scores) else 0
            if not len(scores) or scores[best] <= 0:
                break
            self._left[best] = False
            self._order.append(best)
            for moment, motion in enumerate(self._motion):
                if self._seen[best, moment]:
                    motion.add(best)
        chosen: Indices = self._candidates[self._order[:count]]
        return chosen

    def _residual(self) -> Weights:
        squares = np.zeros(len(self._candidates), np.float32)
        for seen, motion in zip(self._seen.T, self._motion, strict=True):
            squares += seen * np.einsum("nc,nc->n", motion.residual, motion.residual)
        residual: Weights = np.sqrt(squares / np.float32(len(self._motion)))
        return residual


class EvenGrid(Order):
    """The points next to those of a grid with square cells."""

    def first(self, count: int) -> Indices:
        height, width = self.size
        rows = max(1, round((count * height / width) ** 0.5))
        columns = count // rows
        y = (np.arange(rows) + 0.5) * height / rows
        x = (np.arange(columns) + 0.5) * width / max(1, columns)
        nodes = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)
        away = ((self.positions[None, :, 0] - nodes[:, None]) ** 2).sum(axis=2)
        found: Indices = np.unique(away.argmin(axis=1)) if away.size else np.zeros(0, np.int64)
        return found


class Fastest(Order):
    """The points with the longest way through the frames in which they are visible."""

    def first(self, count: int) -> Indices:
        steps = np.linalg.norm(np.diff(self.positions, axis=1), axis=2)
        way = (steps * self.visible[:, 1:]).sum(axis=1)
        order: Indices = np.argsort(-way, kind="stable")[:count]
        return order


METHODS: dict[str, type[Order]] = {"greedy": Greedy, "grid": EvenGrid, "flow": Fastest}


def _most(first: Callable[[int], Indices], fits: Callable[[Indices], bool]) -> Indices:
    """The largest choice that fits; nothing where none does. Grows by doubling, so that little is chosen in vain."""
    good, bad = 0, 8
    while len(chosen := first(bad)) and fits(chosen):
        good = bad
        if len(chosen) < bad and len(first(2 * bad)) == len(chosen):
            return chosen
        bad *= 2
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(first(middle)) else (good, middle)
    return first(good)


def _strongest(starts: Points, strength: Weights, size: tuple[int, int]) -> Indices:
    """Of the points of each square of the frame the one of most strength, so that about `CANDIDATES` are left."""
    side = max(1.0, (size[0] * size[1] / CANDIDATES) ** 0.5)
    cell = np.floor(starts / side).astype(np.int64)
    name = cell[:, 1] * (int(size[1] / side) + 1) + cell[:, 0]
    order = np.lexsort((-strength, name))
    found: Indices = order[np.unique(name[order], return_index=True)[1]]
    return found


def _at(weights: Sketch, starts: Points) -> Weights:
    x, y = np.rint(starts).astype(int).T
    found: Weights = weights[y, x]
    return found


def sketch(picture: Picture) -> Sketch:
    """Weights float32 H x W, from `FLOOR` to 1, of an RGB picture uint8 H x W x 3: its blurred Sobel gradient."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    edges = cv2.GaussianBlur(cv2.magnitude(across, down), (0, 0), BLUR)
    strength = np.clip(edges / max(float(np.percentile(edges, STRONG)), 1.0), 0, 1)
    weights: Sketch = (FLOOR + (1 - FLOOR) * strength).astype(np.float32)
    return weights


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
