"""Convolutional networks whose maps perceptual metrics compare: torchvision's AlexNet and VGG16, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch.nn import functional

from bench.networks.device import device
from bench.video.colour import rgb_of
from bench.video.frame import Frame
from bench.weights import files as weights

# of ImageNet, as torchvision's weights want their input standardised
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

BATCH_FRAMES, BATCH_PIXELS = 16, 1920 * 1088
"""What goes through a network on a GPU at once, at most: one frame of 1080p, sixteen of 352x288."""

Pool = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Stage:
    """Convolutions with ReLU, by their place in torchvision's ``features``, all of one stride and padding."""

    convolutions: tuple[int, ...]
    pooled: bool = True
    stride: int = 1
    padding: int = 1


STAGES: Mapping[str, tuple[Stage, ...]] = {
    "alexnet": (
        Stage((0,), pooled=False, stride=4, padding=2),
        Stage((3,), padding=2),
        Stage((6,)),
        Stage((8,), pooled=False),
        Stage((10,), pooled=False),
    ),
    "vgg16": (
        Stage((0, 2), pooled=False),
        Stage((5, 7)),
        Stage((10, 12, 14)),
        Stage((17, 19, 21)),
        Stage((24, 26, 28)),
    ),
}


def max_pool(window: int) -> Pool:
    """Maximum over windows two apart, as in torchvision's networks (3 wide in AlexNet, 2 in VGG16)."""
    return lambda maps: functional.max_pool2d(maps, window, stride=2)


class Backbone:
    """The convolutional part of a network of ``STAGES``, of a state dict with torchvision's names."""

    def __init__(self, name: str, state: Mapping[str, torch.Tensor]) -> None:
        self.name = name
        self._stages = [
            (stage, [_convolution(state, position) for position in stage.convolutions]) for stage in STAGES[name]
        ]
        self._mean = torch.tensor(MEAN, device=device()).view(1, 3, 1, 1)
        self._deviation = torch.tensor(DEVIATION, device=device()).view(1, 3, 1, 1)

    @classmethod
    def get(cls, name: str) -> Backbone:
        """The network with its weights, built once a process. Raises UnavailableError without them."""
        return _built(name, weights.sha256(name))

    def maps(self, pictures: torch.Tensor, pool: Pool) -> Iterator[torch.Tensor]:
        """Maps after the last ReLU of each stage (N x C x H x W), for RGB with white 1 (N x 3 x H x W)."""
        maps = (pictures - self._mean).div_(self._deviation)
        for stage, convolutions in self._stages:
            if stage.pooled:
                maps = pool(maps)
            for weight, bias in convolutions:
                maps = functional.conv2d(maps, weight, bias, stage.stride, stage.padding).relu_()
            yield maps


@cache
def _built(name: str, digest: str) -> Backbone:
    """By digest too: other weights of the same name are another network."""
    return Backbone(name, weights.load(name))


def _convolution(state: Mapping[str, torch.Tensor], position: int) -> tuple[torch.Tensor, torch.Tensor]:
    weight, bias = (state[f"features.{position}.{part}"].to(device()) for part in ("weight", "bias"))
    # with channels innermost a convolution on a CPU takes three quarters of the time
    return weight.contiguous(memory_format=torch.channels_last), bias


def pictures(frames: Sequence[Frame]) -> torch.Tensor:
    """Frames of one format as float32 RGB with white 1, N x 3 x H x W with channels innermost, on the device."""
    samples = np.stack([rgb_of(frame) for frame in frames], dtype=np.float32)
    return torch.from_numpy(samples).to(device()).div_(frames[0].format.peak).permute(0, 3, 1, 2)


def batch_size(width: int, height: int) -> int:
    """Frames to take together: one on a CPU, where more are slower, else as many as memory is meant for."""
    return 1 if device().type == "cpu" else max(1, min(BATCH_FRAMES, BATCH_PIXELS // (width * height)))


@contextmanager
def inference() -> Iterator[None]:
    """Without gradients, and in float32 throughout: left alone, CUDA's convolutions round to the ten bits of TF32."""
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
