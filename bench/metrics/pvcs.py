"""Perceptual video clip similarity: how far clips are from the source's in the features of I3D."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.core.require import NEURAL, require
from bench.errors import MetricError
from bench.metrics.base import DeferredMetric, FramePair, Values
from bench.networks.device import device
from bench.video import colour
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.weights import files as weights

if TYPE_CHECKING:
    import torch

CLIP = 10
SIDE = 224
LAYERS = "Conv3d_2c_3x3, Mixed_3c, Mixed_4f, Mixed_5c"


class Pvcs(DeferredMetric):
    """PVCS (Szeto and Corso 2022, as in ActDiff-VC's code): LPIPS of clips, on four stages of I3D without heads.

    Clips of 10 frames, one from each frame on; the shorter side brought to 224, the middle 224x224 of it. Features of
    unit length; squared differences added over channels, averaged over time, space and stages.
    """

    name, title = "pvcs", "PVCS"
    direction = "lower"
    bounds = (0.0, 4.0)
    needs = "pip install 'vcbench[perceptual]' and vcbench fetch weights i3d"
    headline = "video"
    shares_reference = True

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        self._recent: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=CLIP)
        self._distances: list[float] = []

    @classmethod
    def check(cls) -> None:
        require("torch", extra=NEURAL)
        weights.available("i3d")

    @classmethod
    def identity(cls) -> dict[str, Any]:
        return {**super().identity(), "weights": weights.sha256("i3d")}

    def push(self, pair: FramePair) -> None:
        reference = pair.reference.derived((self.name, "frame"), lambda: cropped(pair.reference))
        self._recent.append((reference, cropped(pair.distorted)))
        if len(self._recent) < CLIP:
            return
        from bench.networks.pvcs import distance, features

        sides = list(zip(*self._recent, strict=True))
        source = pair.reference.derived((self.name, "features", pair.index), lambda: features(sides[0]))
        self._distances.append(distance(source, features(sides[1])))

    def finish(self) -> tuple[Values, Mapping[str, float]]:
        if not self._distances:
            raise MetricError(f"{self.name}: needs {CLIP} frames, a clip; measure more")
        return [], {"video": sum(self._distances) / len(self._distances), "clips": float(len(self._distances))}

    def provenance(self) -> dict[str, Any]:
        return {
            "network": "I3D on RGB, Kinetics-400 (pytorch-i3d's rgb_imagenet)",
            "layers": LAYERS,
            "device": device().type,
            "conversion": colour.describe(self.format),
        }


def cropped(frame: Frame) -> torch.Tensor:
    """RGB of a frame, 3 x 224 x 224, -1 to 1: the shorter side brought to 224 bilinearly, the middle of it."""
    import math

    import torch
    from torch.nn import functional

    from bench.networks.device import rgb_tensor

    height, width = frame.format.height, frame.format.width
    scale = SIDE / min(height, width)
    size = (SIDE, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), SIDE)
    with torch.inference_mode():
        shrunk = functional.interpolate(rgb_tensor(frame), size=size, mode="bilinear", align_corners=False)[0]
        top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
        return (2 * shrunk[:, top : top + SIDE, left : left + SIDE] - 1).cpu()
