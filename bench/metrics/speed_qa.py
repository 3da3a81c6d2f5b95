"""SpEED-QA: how much information the decoded frames and their differences lack, or have too much of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.errors import MetricError
from bench.metrics.base import DeferredMetric, FramePair, Values
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

Array = npt.NDArray[np.float64]

SCALES = 4
"""How often the frame is halved before anything else: SpEED-QA's own choice of the coarsest scale."""

BLOCK = 5
NOISE = 0.1
"""Variance of the neural noise, on luma of 0 to 255."""

MIN_SIDE = 2 * BLOCK << SCALES
"""Two blocks at the coarsest scale, so that there is a covariance."""


class SpeedQa(DeferredMetric):
    """SpEED-QA (Bampis, Gupta, Soundararajan and Bovik 2017): spatial times temporal difference of local entropies.

    Luma, halved four times; local means taken off; entropies of 5x5 blocks under a Gaussian scale mixture, weighted by
    the logarithm of their local variance. 0 for identical videos. The value is the product of the two means.
    """

    name, title = "speed_qa", "SpEED-QA"
    direction = "lower"
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    headline = "product"
    shares_reference = True

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if fmt.chroma == "rgb":
            raise MetricError(f"{self.name}: an RGB sequence has no luma")
        if min(fmt.width, fmt.height) < MIN_SIDE:
            raise MetricError(f"{self.name}: takes sides from {MIN_SIDE}, not {fmt.width}x{fmt.height}")
        self._values: Values = []
        self._still: list[float] = []
        self._moved: list[float] = []

    def push(self, pair: FramePair) -> None:
        before = pair.previous
        if before is None:
            self._values.append(None)
            return
        still = _distance(*(_spatial(frame)[0] for frame in (before.reference, before.distorted)))
        moved = _distance(
            pair.reference.derived("speed temporal", lambda: _temporal(before.reference, pair.reference)),
            _temporal(before.distorted, pair.distorted),
        )
        self._still.append(still)
        self._moved.append(moved)
        self._values.append(still * moved)

    def finish(self) -> tuple[Values, Mapping[str, float]]:
        if not self._moved:
            raise MetricError(f"{self.name}: needs two frames, for their difference")
        still, moved = float(np.mean(self._still)), float(np.mean(self._moved))
        return self._values, {"product": still * moved, "spatial": still, "temporal": moved}

    def provenance(self) -> dict[str, Any]:
        return {"scale": f"luma of 0 to 255, halved {SCALES} times by MATLAB's bicubic", "blocks": f"{BLOCK}x{BLOCK}"}


def _distance(a: Array, b: Array) -> float:
    return float(np.abs(a - b).mean())


def _spatial(frame: Frame) -> tuple[Array, Array]:
    """Weighted entropy of each block of a frame, and the weights."""

    def make() -> tuple[Array, Array]:
        entropy, weights = _blocks(_less_mean(_shrunk(frame)))
        return entropy * weights, weights

    return frame.derived("speed spatial", make)


def _temporal(before: Frame, frame: Frame) -> Array:
    """Entropy of each block of the difference of two frames, by its own weight and that of the earlier frame."""
    entropy, weights = _blocks(_less_mean(_shrunk(frame) - _shrunk(before)))
    weighted: Array = entropy * weights * _spatial(before)[1]
    return weighted


def _shrunk(frame: Frame) -> Array:
    def make() -> Array:
        from bench.metrics.niqe import halved

        plane = frame.planes[0].astype(np.float64) * (255 / frame.format.peak)
        for _ in range(SCALES):
            even: Array = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
            plane = halved(even)
        return plane

    return frame.derived("speed plane", make)


def _less_mean(plane: Array) -> Array:
    """A plane less its local mean: 7x7 Gaussian, sigma 7/6, edges repeated."""
    import cv2

    taps = np.exp(-(np.arange(-3.0, 4.0) ** 2) / (2 * (7 / 6) ** 2))
    taps /= taps.sum()
    mean: Array = cv2.sepFilter2D(plane, -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
    return plane - mean


def _blocks(plane: Array) -> tuple[Array, Array]:
    """Entropy of each 5x5 block under a Gaussian scale mixture with neural noise, and log2(1 + its local variance).

    The covariance is of all overlapping blocks; a block's variance field is its energy by the inverse of that.
    """
    height, width = (side // BLOCK * BLOCK for side in plane.shape)
    cut = plane[:height, :width]
    windows = np.lib.stride_tricks.sliding_window_view(cut, (BLOCK, BLOCK)).reshape(-1, BLOCK * BLOCK)
    centred = windows - windows.mean(axis=0)
    covariance = centred.T @ centred / len(windows)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    largest = eigenvalues.max()
    if largest <= 0:
        flat = np.zeros((height // BLOCK, width // BLOCK))
        return flat, flat
    # a covariance of one direction alone has no inverse; what is no more than rounding counts as rounding
    eigenvalues = np.maximum(eigenvalues, largest * 1e-10)
    tiles = cut.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK * BLOCK)
    energy = ((tiles @ vectors) ** 2 / eigenvalues).sum(axis=1) / (BLOCK * BLOCK)
    entropy = np.log2(np.outer(energy, eigenvalues) + NOISE).sum(axis=1) + BLOCK * BLOCK * np.log(2 * np.pi * np.e)
    shape = height // BLOCK, width // BLOCK
    return entropy.reshape(shape), np.log2(1 + energy).reshape(shape)
