"""Naturalness of a picture without a reference: NIQE of Mittal, Soundararajan and Bovik."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.datasets import quickstart
from bench.errors import MetricError, UnknownNameError
from bench.metrics.base import Metric
from bench.metrics.no_reference import NoReferenceMetric
from bench.video import colour
from bench.video.colour import rgb_of
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.weights import files as weights

WEIGHTS = "niqe"
BLOCK = 96
"""Side of the blocks at full scale, that of the pristine model's blocks; half of it at the second scale."""

PHOTOGRAPHS = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel")
"""Photographs of scikit-image's, CC0 or in the public domain, that our own model is derived from."""

SHARP = 0.75
"""Share of the sharpness of a picture's sharpest block that a block of a pristine model has (Mittal et al. 2013)."""

Array = npt.NDArray[np.float64]

_WINDOW = np.exp(-(np.arange(-3.0, 4.0) ** 2) / (2 * (7 / 6) ** 2))
_WINDOW /= _WINDOW.sum()
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
# a constant area has coefficients of 1e-14 by rounding, neither left nor right of zero as they must be counted
_ROUNDING = 1e-8


@dataclass(frozen=True)
class PristineModel:
    """Mean (36,) and covariance (36, 36) of the features of undistorted pictures."""

    mean: Array
    covariance: Array

    @classmethod
    def load(cls, path: Path) -> PristineModel:
        """Model of an .npz file with ``mu_pris_param`` and ``cov_pris_param``, as BasicSR publishes the authors'."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(stored["mu_pris_param"].ravel(), stored["cov_pris_param"])

    @classmethod
    def derived(cls, planes: Iterable[Array]) -> PristineModel:
        """Model of the luma planes (0 to 255) of undistorted pictures, by the published procedure.

        Of each picture the blocks are taken whose mean local deviation is above `SHARP` of its sharpest block's. Where
        the authors have 125 pictures, few are to do here: blocks come from four grids, half a block apart.
        """
        taken = []
        for plane in planes:
            for top, left in product((0, BLOCK // 2), repeat=2):
                part = np.ascontiguousarray(plane[top:, left:])
                found, sharp = features(part), _sharpness(part)
                taken.append(found[(sharp > SHARP * sharp.max()) & ~np.isnan(found).any(axis=1)])
        blocks = np.vstack(taken)
        return cls(blocks.mean(axis=0), np.cov(blocks, rowvar=False))


def _sharpness(plane: Array) -> Array:
    """Mean local deviation of each whole block."""
    _, deviation = _local(plane)
    rows, columns = (length // BLOCK for length in plane.shape)
    whole = deviation[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    means: Array = whole.mean(axis=(1, 3)).ravel()
    return means


def luma(frame: Frame) -> Array:
    """Luma (height, width) as the authors' MATLAB release makes it from RGB: BT.601 weights, 0 to 255, rounded.

    It is derived from full-range RGB, so that neither range nor matrix of the file matters; above 8 bit it is rounded
    to 8 bit. Halves go up, exactly: one pixel in ten thousand is one, and moves NIQE in its third decimal.
    """
    import cv2

    thousandfold = cv2.transform(rgb_of(frame).astype(np.float64), np.array([[299.0, 587.0, 114.0]]))
    rounded: Array = np.floor(thousandfold * 255 / (1000 * frame.format.peak) + 0.5)
    return rounded


def _local(plane: Array) -> tuple[Array, Array]:
    """Local mean and deviation, equations 2 and 3; Gaussian 7x7, sigma 7/6, edges repeated."""
    import cv2

    mean = cv2.sepFilter2D(plane, -1, _WINDOW, _WINDOW, borderType=cv2.BORDER_REPLICATE)
    square = cv2.sepFilter2D(plane * plane, -1, _WINDOW, _WINDOW, borderType=cv2.BORDER_REPLICATE)
    return mean, np.sqrt(np.abs(square - mean * mean))


def normalised(plane: Array) -> Array:
    """Mean-subtracted contrast-normalised coefficients, equation 1."""
    mean, deviation = _local(plane)
    coefficients: Array = (plane - mean) / (deviation + 1)
    coefficients[np.abs(coefficients) < _ROUNDING] = 0
    return coefficients


def halved(plane: Array) -> Array:
    """Plane of even sides at half size, as MATLAB's ``imresize(plane, 0.5)``: antialiased bicubic, edges mirrored."""
    import cv2

    distance = np.abs(np.arange(-3.5, 4.0)) / 2
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = np.where(distance <= 1, near, far)
    taps /= taps.sum()
    smooth = cv2.sepFilter2D(plane, -1, taps, taps, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)
    return np.ascontiguousarray(smooth[::2, ::2])


@cache
def _shapes() -> tuple[Array, Array, Array, Array]:
    """Shape parameters searched, the boundaries between their moment ratios, and their two gamma-function factors."""
    from scipy.special import gammaln

    shape = np.arange(0.2, 10.001, 0.001)
    one, two, three = (gammaln(k / shape) for k in (1, 2, 3))
    ratio = np.exp(2 * two - one - three)
    return shape, (ratio[1:] + ratio[:-1]) / 2, np.exp((one - three) / 2), np.exp(two - one)


def _asymmetric_gaussian(samples: Array) -> tuple[Array, Array, Array, Array]:
    """Shape, left and right scale and mean of the asymmetric generalised Gaussian of each row, equations 4 to 8.

    By matching of moments (Lasmar, Stitou and Berthoumieu 2009) over a table of shapes; NaN where a side is empty.
    """
    negative = np.minimum(samples, 0)
    left_sum, all_sum = negative.sum(axis=1), samples.sum(axis=1)
    left_square, all_square = (np.einsum("ij,ij->i", rows, rows) for rows in (negative, samples))
    left_count = np.count_nonzero(negative, axis=1)
    right_count = np.count_nonzero(samples, axis=1) - left_count
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt(left_square / left_count)
        right = np.sqrt((all_square - left_square) / right_count)
        skew = left / right
        moments = (all_sum - 2 * left_sum) ** 2 / samples.shape[1] / all_square
        moments = moments * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shapes, boundaries, scale_factors, mean_factors = _shapes()
    found = np.searchsorted(boundaries, moments)
    shape = np.where(np.isnan(moments), np.nan, shapes[found])
    left, right = left * scale_factors[found], right * scale_factors[found]
    return shape, left, right, (right - left) * mean_factors[found]


def _block_features(coefficients: Array, side: int) -> Array:
    """The 18 features of each block of a scale."""
    rows, columns = (length // side for length in coefficients.shape)
    blocks = coefficients.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows * columns, side, side)
    flat = (len(blocks), side * side)
    shape, left, right, _ = _asymmetric_gaussian(blocks.reshape(flat))
    features = [shape, (left + right) / 2]
    for shift in _NEIGHBOURS:
        products = blocks * np.roll(blocks, shift, axis=(1, 2))
        shape, left, right, mean = _asymmetric_gaussian(products.reshape(flat))
        features += [shape, mean, left, right]
    return np.stack(features, axis=1)


def features(plane: Array) -> Array:
    """Features (blocks, 36) of the whole blocks of a luma plane, 18 a scale; NaN for those a flat block has not.

    What is left over on the right and below is not looked at.
    """
    height, width = (length // BLOCK * BLOCK for length in plane.shape)
    whole = np.ascontiguousarray(plane[:height, :width])
    scales = ((whole, BLOCK), (halved(whole), BLOCK // 2))
    # a strip of blocks at a time stays in the processor's cache
    return np.hstack(
        [
            np.vstack(
                [_block_features(coefficients[top : top + side], side) for top in range(0, len(coefficients), side)]
            )
            for coefficients, side in ((normalised(scale), side) for scale, side in scales)
        ]
    )


def niqe(plane: Array, model: PristineModel) -> float | None:
    """NIQE of a luma plane (0 to 255), equation 10; None with fewer than two blocks that are not flat."""
    found = features(plane)
    complete = found[~np.isnan(found).any(axis=1)]
    if len(complete) < 2:
        return None
    difference = model.mean - np.nanmean(found, axis=0)
    covariance = (model.covariance + np.cov(complete, rowvar=False)) / 2
    return float(np.sqrt(difference @ np.linalg.pinv(covariance) @ difference))


class Niqe(NoReferenceMetric):
    """NIQE (Mittal et al. 2013) of the decoded frames by the authors' model, the source's own beside it."""

    name = "niqe"
    title = "NIQE"
    direction = "lower"
    bounds = (0.0, None)
    needs = "the authors' model: vcbench fetch weights niqe; niqe:photographs needs none"
    variants: ClassVar[Mapping[str, str]] = {
        "photographs": "by our own model of eight public-domain photographs: no download, other values"
    }

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if (fmt.width // BLOCK) * (fmt.height // BLOCK) < 2:
            raise MetricError(
                f"niqe needs two blocks of {BLOCK}x{BLOCK}, a frame of {fmt.width}x{fmt.height} is too small"
            )

    @classmethod
    def variant(cls, options: tuple[str, ...]) -> type[Metric]:
        if options != ("photographs",):
            raise UnknownNameError(f"variant of {cls.name}", ":".join(options), cls.variants)
        return NiqePhotographs

    @classmethod
    def check(cls) -> None:
        weights.available(WEIGHTS)

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), "weights": weights.sha256(WEIGHTS)}

    @cached_property
    def _model(self) -> PristineModel:
        return PristineModel.load(weights.path(WEIGHTS))

    def score(self, frame: Frame) -> float | None:
        return niqe(luma(frame), self._model)

    def provenance(self) -> dict[str, Any]:
        return {**self._common(), "weights": weights.sha256(WEIGHTS)}

    def _common(self) -> dict[str, Any]:
        return {
            "plane": "luma of RGB (BT.601 weights, 0 to 255), rounded to 8 bit",
            "blocks": f"{BLOCK}x{BLOCK}, whole ones only, no border left out",
            "conversion": colour.describe(self.format),
        }


class NiqePhotographs(Niqe):
    """NIQE (Mittal et al. 2013) by a model that is derived anew from photographs: other values than the authors'.

    The published procedure, on eight photographs in the public domain. It comes without a download; its values are not
    those of papers.
    """

    name = "niqe:photographs"
    title = "NIQE, model of eight photographs"
    needs = "nothing beyond the base installation"
    variants: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def check(cls) -> None:
        for name in PHOTOGRAPHS:
            quickstart.bundled_file(f"{name}.png")

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {"name": cls.name, "version": cls.version}

    @property
    def _model(self) -> PristineModel:
        return photographs_model()

    def provenance(self) -> dict[str, Any]:
        return {**self._common(), "model": f"derived from {', '.join(PHOTOGRAPHS)} (scikit-image)"}


@cache
def photographs_model() -> PristineModel:
    """Our own model of undistorted pictures."""
    return PristineModel.derived(_grey(quickstart.photograph(f"{name}.png")) for name in PHOTOGRAPHS)


def _grey(rgb: npt.NDArray[Any]) -> Array:
    """Luma of an 8-bit RGB picture, as `luma` has it of a frame."""
    plane: Array = np.floor((rgb.astype(np.float64) @ np.array([299.0, 587.0, 114.0])) / 1000 + 0.5)
    return plane
