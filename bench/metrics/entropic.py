"""Entropic differences: how much information the decoded frames and their changes lack, or have too much of.

SpEED-QA and ST-RRED measure the same in different bands: the entropies of a frame's blocks, and those of its change
from the frame before, under a Gaussian scale mixture.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.require import how_to_install, require
from bench.errors import MetricError
from bench.metrics.base import DeferredMetric, FramePair, Values
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

Array = npt.NDArray[np.float64]

NOISE = 0.1
"""Variance of the neural noise, on luma of 0 to 255."""

HALVINGS = 4
"""How often SpEED-QA halves a frame before anything else: its own choice of the coarsest scale."""

LEVELS = 4
"""Levels of ST-RRED's pyramid, of which the coarsest is used."""

BAND = 3
"""The authors' subband (``band = 4`` of their code, which counts from the coarsest residue on) in the order of the
filters."""


class EntropicDifference(DeferredMetric):
    """Spatial times temporal difference of local entropies in one band of luma, over all neighbouring frames.

    ``block``: side of the blocks. ``smallest``: shortest side of a frame, so that there are two blocks and a
    covariance.
    """

    direction = "lower"
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    headline = "product"
    shares_reference = True
    block: ClassVar[int]
    smallest: ClassVar[int]

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if fmt.chroma == "rgb":
            raise MetricError(f"{self.name}: an RGB sequence has no luma")
        if min(fmt.width, fmt.height) < self.smallest:
            raise MetricError(f"{self.name}: takes sides from {self.smallest}, not {fmt.width}x{fmt.height}")
        self._values: Values = []
        self._still: list[float] = []
        self._moved: list[float] = []

    @abstractmethod
    def band(self, luma: Array) -> Array:
        """The band of a luma plane (0 to 255) whose entropies are taken; linear in the plane."""

    def push(self, pair: FramePair) -> None:
        before = pair.previous
        if before is None:
            self._values.append(None)
            return
        still = _distance(self._spatial(before.reference)[0], self._spatial(before.distorted)[0])
        moved = _distance(
            pair.reference.derived((self.name, "temporal"), lambda: self._temporal(before.reference, pair.reference)),
            self._temporal(before.distorted, pair.distorted),
        )
        self._still.append(still)
        self._moved.append(moved)
        self._values.append(still * moved)

    def finish(self) -> tuple[Values, Mapping[str, float]]:
        if not self._moved:
            raise MetricError(f"{self.name}: needs two frames, for their difference")
        still, moved = float(np.mean(self._still)), float(np.mean(self._moved))
        return self._values, {"product": still * moved, "spatial": still, "temporal": moved}

    def _spatial(self, frame: Frame) -> tuple[Array, Array]:
        """Weighted entropy of each block of a frame, and the weights."""

        def make() -> tuple[Array, Array]:
            entropy, weights = blocks_of(self._band_of(frame), self.block)
            return entropy * weights, weights

        return frame.derived((self.name, "spatial"), make)

    def _temporal(self, before: Frame, frame: Frame) -> Array:
        """Entropy of each block of the difference of two frames, by its own weight and that of the earlier frame."""
        entropy, weights = blocks_of(self._band_of(frame) - self._band_of(before), self.block)
        weighted: Array = entropy * weights * self._spatial(before)[1]
        return weighted

    def _band_of(self, frame: Frame) -> Array:
        def make() -> Array:
            return self.band(frame.planes[0].astype(np.float64) * (255 / frame.format.peak))

        return frame.derived((self.name, "band"), make)


class SpeedQa(EntropicDifference):
    """SpEED-QA (Bampis, Gupta, Soundararajan and Bovik 2017): spatial times temporal difference of local entropies.

    Luma, halved four times; local means taken off; entropies of 5x5 blocks under a Gaussian scale mixture, weighted by
    the logarithm of their local variance. 0 for identical videos. The value is the product of the two means.
    """

    name, title = "speed_qa", "SpEED-QA"
    block = 5
    smallest = 2 * block << HALVINGS

    def band(self, luma: Array) -> Array:
        from bench.metrics.niqe import halved

        for _ in range(HALVINGS):
            even: Array = luma[: luma.shape[0] // 2 * 2, : luma.shape[1] // 2 * 2]
            luma = halved(even)
        return _less_mean(luma)

    def provenance(self) -> dict[str, Any]:
        scale = f"luma of 0 to 255, halved {HALVINGS} times by MATLAB's bicubic"
        return {"scale": scale, "blocks": f"{self.block}x{self.block}"}


class StRred(EntropicDifference):
    """ST-RRED (Soundararajan and Bovik 2013): spatial times temporal difference of entropies in a wavelet subband.

    Luma; one subband at the coarsest of four levels of a steerable pyramid; entropies of 3x3 blocks of coefficients
    under a Gaussian scale mixture, weighted by the logarithm of their local variance. 0 for identical videos. The value
    is the product of the two means over all neighbouring frames.
    """

    name, title = "strred", "ST-RRED"
    needs = how_to_install("strred")
    block = 3
    smallest = 2 * block << LEVELS - 1

    @classmethod
    def check(cls) -> None:
        require("pyrtools", extra="strred")

    @classmethod
    def identity(cls) -> dict[str, Any]:
        cls.check()
        return {**super().identity(), "pyrtools": version("pyrtools")}

    def band(self, luma: Array) -> Array:
        first, between, oriented = _pyramid()
        luma = _correlated(luma, first)
        for _ in range(LEVELS - 1):
            luma = np.ascontiguousarray(_correlated(luma, between)[::2, ::2])
        return _correlated(luma, oriented)

    def provenance(self) -> dict[str, Any]:
        subband = f"steerable pyramid of 6 orientations, level {LEVELS}, the band of horizontal edges"
        return {"subband": subband, "blocks": f"{self.block}x{self.block}", "pyrtools": version("pyrtools")}


@cache
def _pyramid() -> tuple[Array, Array, Array]:
    """Filters of the steerable pyramid of order 5 (Simoncelli and Freeman 1995; sp5Filters in matlabPyrTools).

    The first low-pass, that before each halving, and the band-pass of ST-RRED's orientation. pyrtools stores the last
    column by column.
    """
    from pyrtools.pyramids.filters import steerable_filters

    found = steerable_filters("sp5_filters")
    side = round(len(found["bfilts"]) ** 0.5)
    return found["lo0filt"], found["lofilt"], np.ascontiguousarray(found["bfilts"][:, BAND].reshape(side, side).T)


def _correlated(plane: Array, taps: Array) -> Array:
    """A plane filtered, its edges mirrored about their samples."""
    import cv2

    found: Array = cv2.filter2D(plane, -1, taps, borderType=cv2.BORDER_REFLECT_101)
    return found


def _distance(a: Array, b: Array) -> float:
    return float(np.abs(a - b).mean())


def _less_mean(plane: Array) -> Array:
    """A plane less its local mean: 7x7 Gaussian, sigma 7/6, edges repeated."""
    import cv2

    taps = np.exp(-(np.arange(-3.0, 4.0) ** 2) / (2 * (7 / 6) ** 2))
    taps /= taps.sum()
    mean: Array = cv2.sepFilter2D(plane, -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
    return plane - mean


def blocks_of(plane: Array, block: int) -> tuple[Array, Array]:
    """Entropy of each block under a Gaussian scale mixture with neural noise, and log2(1 + its local variance).

    The covariance is of all overlapping blocks; a block's variance field is its energy by the inverse of that. As in
    the authors' code of both metrics, the entropy is without the factor 1/2 and has the constant in nats.
    """
    height, width = (side // block * block for side in plane.shape)
    size = block * block
    cut = plane[:height, :width]
    windows = np.lib.stride_tricks.sliding_window_view(cut, (block, block)).reshape(-1, size)
    centred = windows - windows.mean(axis=0)
    covariance = centred.T @ centred / len(windows)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    largest = eigenvalues.max()
    if largest <= 0:
        flat = np.zeros((height // block, width // block))
        return flat, flat
    # a covariance of one direction alone has no inverse; what is no more than rounding counts as rounding
    eigenvalues = np.maximum(eigenvalues, largest * 1e-10)
    tiles = cut.reshape(height // block, block, width // block, block).swapaxes(1, 2).reshape(-1, size)
    energy = ((tiles @ vectors) ** 2 / eigenvalues).sum(axis=1) / size
    entropy = np.log2(np.outer(energy, eigenvalues) + NOISE).sum(axis=1) + size * np.log(2 * np.pi * np.e)
    shape = height // block, width // block
    return entropy.reshape(shape), np.log2(1 + energy).reshape(shape)
