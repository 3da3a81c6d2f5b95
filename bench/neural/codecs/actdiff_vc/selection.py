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
from bench.neural.codecs.actdiff_vc.interpolation import GrowingInterpolation
from bench.neural.codecs.actdiff_vc.sketch import Sketch
from bench.neural.codecs.actdiff_vc.tracks import Mask, Points
from bench.neural.codecs.actdiff_vc.trajectories import Trajectories, quantised
from bench.neural.codecs.actdiff_vc.trajectory_coding import bits as expected_bits
from bench.neural.codecs.actdiff_vc.trajectory_coding import encode_trajectories

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
    ``tracks``, or else ``bits``: those of the coded trajectories, with positions of ``per_pixel`` units a pixel. It is
    never exceeded. Greedy stops before where no motion is left that such positions could express; under a budget in
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
