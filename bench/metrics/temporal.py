"""Temporal consistency: the warping error."""

from __future__ import annotations

from typing import Any

from bench.errors import MetricError
from bench.metrics.base import FramePair, Metric
from bench.metrics.flow import DEFAULT_PRESET, MIN_SIDE, MIN_VISIBLE, ewarp_frame, warp_reference
from bench.video import colour
from bench.video.formats import VideoFormat


class Ewarp(Metric):
    """Warping error E_warp (Lai et al. 2018) in RGB with white 1: how much a frame differs from its warped predecessor.

    Flow and occlusions come from the source, so that every codec is judged along the same motion. The first frame
    and frames after a scene cut have no value.
    """

    name, title = "ewarp", "Warping error"
    direction = "lower"
    unit = "squared difference, white is 1"
    bounds = (0.0, 1.0)
    fidelity = False

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        if min(fmt.width, fmt.height) < MIN_SIDE:
            raise MetricError(f"ewarp: {fmt.width}x{fmt.height} is too small for optical flow (sides from {MIN_SIDE})")

    def update(self, pair: FramePair) -> float | None:
        previous = pair.previous
        if previous is None:
            return None
        planes = previous.reference.planes[0], pair.reference.planes[0]
        reference = pair.reference.derived(
            "dis warp reference", lambda: warp_reference(*planes, bit_depth=self.format.bit_depth)
        )
        return ewarp_frame(previous.rgb[1], pair.rgb[1], reference, peak=self.format.peak)

    def provenance(self) -> dict[str, Any]:
        return {
            "flow": f"OpenCV DIS {DEFAULT_PRESET}, of the source's luma",
            "mask": f"forward-backward check and motion boundaries; under {MIN_VISIBLE:.0%} visible no value",
            "scale": "RGB, white is 1; papers often print it times 1000",
            "conversion": colour.describe(self.format),
        }
