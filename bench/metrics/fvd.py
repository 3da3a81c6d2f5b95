"""Fréchet video distance: how far decoded clips are, as a set, from source clips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.metrics.base import FramePair
from bench.metrics.distribution import SIDES, FeatureNetwork, FrechetMetric, Rows
from bench.video.formats import VideoFormat
from bench.video.frame import Frame

if TYPE_CHECKING:
    import torch

CLIP = 16

I3D = FeatureNetwork(
    "i3d",
    "i3d",
    ("torch", "torchvision", "torch_fidelity"),
    400,
    2,
    "I3D on RGB, Kinetics-400 (pytorch-i3d's rgb_imagenet), logits, 400 features; frames resized to 224x224 as in "
    "TensorFlow 1: bilinear, without antialiasing, whatever their shape",
)


class Fvd(FrechetMetric):
    """Fréchet video distance (Unterthiner et al. 2018) between decoded and source clips of 16 frames, none overlapping.

    Frames at the end that fill no clip are not seen.
    """

    name, title = "fvd", "FVD"
    needs = "vcbench[perceptual] and the weights i3d"
    network = I3D
    sample = f"clips of {CLIP} frames"
    min_samples = 2

    def __init__(self, fmt: VideoFormat) -> None:
        super().__init__(fmt)
        self._clips: dict[str, list[torch.Tensor]] = {side: [] for side in SIDES}

    def push(self, pair: FramePair) -> None:
        for side, frame in zip(SIDES, (pair.reference, pair.distorted), strict=True):
            self._clips[side].append(_shrunk(frame))
            if len(self._clips[side]) == CLIP:
                self._rows[side].append(self._features_of_clip(frame, pair.index, self._clips[side]))
                self._clips[side] = []

    def _features_of_clip(self, last: Frame, index: int, clip: list[torch.Tensor]) -> Rows:
        """Features of a clip, kept with its last frame, so that the cells of one source share those of its clips."""
        from bench.networks.features import clip_of, extract

        return last.derived(("features of a clip", index), lambda: extract(self.network.name, clip_of(clip)))

    def provenance(self) -> dict[str, Any]:
        return {**super().provenance(), "clips": f"{CLIP} frames, none overlapping; frames left at the end not seen"}


def _shrunk(frame: Frame) -> torch.Tensor:
    from bench.networks.features import frame_of_clip

    return frame.derived("frame of a clip", lambda: frame_of_clip(frame))
