"""SSIMULACRA2, by the functions of the package of that name, with what belongs to the source worked out once."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.require import how_to_install, require
from bench.errors import MetricError
from bench.metrics.base import FramePair, Metric
from bench.video import colour
from bench.video.colour import rgb_of
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

MIN_SIDE = 8

Array = npt.NDArray[np.float64]
Scale = tuple[Array, Array, Array]
"""Picture in XYB, its blur, and the blur of its square, of one scale; H x W x 3."""


class Ssimulacra2(Metric):
    """SSIMULACRA2 (Sneyers 2022): structure and edge differences at six scales in XYB, weighted; 100 at best.

    30 is low, 50 medium, 70 high, 90 visually lossless quality by its author. Below 0 for the worst pictures.
    """

    name, title = "ssimulacra2", "SSIMULACRA2"
    unit = "score"
    bounds: ClassVar[tuple[float | None, float | None]] = (None, 100.0)
    needs = how_to_install("ssimulacra2")
    shares_reference = True

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if min(fmt.width, fmt.height) < MIN_SIDE:
            raise MetricError(f"{self.name}: takes sides from {MIN_SIDE}, not {fmt.width}x{fmt.height}")

    @classmethod
    def check(cls) -> None:
        require("ssimulacra2", extra="ssimulacra2")

    @classmethod
    def identity(cls) -> dict[str, Any]:
        cls.check()
        return {**super().identity(), "ssimulacra2": version("ssimulacra2")}

    def update(self, pair: FramePair) -> float:
        reference = pair.reference.derived((self.name, "scales"), lambda: _scales(pair.reference))
        return _score(reference, _scales(pair.distorted))

    def provenance(self) -> dict[str, Any]:
        return {"ssimulacra2": version("ssimulacra2"), "conversion": colour.describe(self.format)}


def _scales(frame: Frame) -> list[Scale]:
    """The scales of a frame, of which the package makes six while both sides have 8 samples."""
    from ssimulacra2 import ssimulacra2 as package

    linear = package.srgb_to_linear(rgb_of(frame).astype(np.float64) * (255 / frame.format.peak))
    scales: list[Scale] = []
    for _ in range(package.kNumScales):
        if min(linear.shape[:2]) < MIN_SIDE:
            break
        picture = package.make_positive_xyb(package.linear_rgb_to_xyb(linear))
        scales.append((picture, package.blur_image(picture), package.blur_image(picture * picture)))
        linear = package.downsample(linear, 2, 2)
    return scales


def _score(reference: list[Scale], distorted: list[Scale]) -> float:
    from ssimulacra2 import ssimulacra2 as package

    whole = package.Msssim()
    for (a, mean_a, square_a), (b, mean_b, square_b) in zip(reference, distorted, strict=True):
        scale = package.MsssimScale()
        scale.avg_ssim = package.ssim_map(mean_a, mean_b, square_a, square_b, package.blur_image(a * b))
        scale.avg_edgediff = package.edge_diff_map(a, mean_a, b, mean_b)
        whole.scales.append(scale)
    return float(whole.score())
