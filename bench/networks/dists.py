"""DISTS (Ding et al. 2020) with the statistics of the source's maps kept for all that is compared with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional

from bench.networks.backbone import Backbone, Pool, inference, pictures
from bench.networks.device import device
from bench.video.frame import Frame
from bench.weights import files as weights

EPSILON = 1e-6

BAND = 1 << 20
"""Values that are worked on at once on a CPU: larger intermediate results cost more in memory than in arithmetic."""

SHORT_SIDE = 256
"""Of the frames after shrinking, where that is asked for."""


@dataclass(frozen=True)
class Map:
    """The picture or the maps of a stage (N x C x H x W); mean and variance over the pixels (N x C x 1 x 1)."""

    samples: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor


class DistsNetwork:
    """VGG16 with weighted means of squares in place of its maxima, and two weights for every channel."""

    def __init__(self, backbone: Backbone, state: Mapping[str, torch.Tensor]) -> None:
        """``state``: ``alpha`` (of structure) and ``beta`` (of texture), 1 x 1475 x 1 x 1; scaled to add up to 1."""
        self._backbone = backbone
        both = torch.cat([state["alpha"].flatten(), state["beta"].flatten()]).to(device(), torch.float64)
        self._alpha, self._beta = (both / both.sum()).chunk(2)

    @classmethod
    def get(cls) -> DistsNetwork:
        """The network with its weights, built once a process. Raises UnavailableError without them."""
        return _built(Backbone.get("vgg16"), weights.sha256("dists"))

    @inference()
    def extract(self, frames: Sequence[Frame], *, shrink: bool = False) -> tuple[Map, ...]:
        """What ``distances`` needs of source frames of one format; ``shrink`` brings their short side to 256."""
        return tuple(_with_moments(samples) for samples in self._maps(frames, shrink, _l2_pool))

    @inference()
    def distances(self, reference: Sequence[Map], distorted: Sequence[Frame], *, shrink: bool = False) -> list[float]:
        """DISTS of frames from those of ``reference``, ``shrink`` as there; theirs are never all in memory.

        The paper's D = 1 - Σ (α l + β s), written as what l and s lack of 1, since Σ (α + β) = 1: for frames that are
        almost equal no digits are lost to a difference of ones.
        """
        structure, texture = [], []
        for kept, samples in zip(reference, self._maps(distorted, shrink, _l2_pool_in_place), strict=True):
            mean = _mean(samples)
            shift = kept.mean - mean
            variance = _variance([samples], mean)
            change = _variance([kept.samples, samples], shift)
            structure.append(shift**2 / (kept.mean**2 + mean**2 + EPSILON))
            texture.append(change / (kept.variance + variance + EPSILON))
        values: list[float] = (_flat(structure) @ self._alpha + _flat(texture) @ self._beta).tolist()
        return values

    def _maps(self, frames: Sequence[Frame], shrink: bool, pool: Pool) -> Iterator[torch.Tensor]:
        samples = pictures(frames)
        if shrink and min(samples.shape[2:]) > SHORT_SIDE:
            samples = functional.interpolate(
                samples, scale_factor=SHORT_SIDE / min(samples.shape[2:]), mode="bilinear", recompute_scale_factor=False
            )
        yield samples
        yield from self._backbone.maps(samples, pool)


@cache
def _built(backbone: Backbone, digest: str) -> DistsNetwork:
    """By digest too: other weights of the same name are another network."""
    return DistsNetwork(backbone, weights.load("dists"))


def _with_moments(samples: torch.Tensor) -> Map:
    mean = _mean(samples)
    return Map(samples, mean, _variance([samples], mean))


def _mean(samples: torch.Tensor) -> torch.Tensor:
    return samples.mean(dim=(2, 3), keepdim=True)


def _variance(maps: Sequence[torch.Tensor], mean: torch.Tensor) -> torch.Tensor:
    """Variance over the pixels, of maps or of the difference of two, by bands that stay in a CPU's cache."""
    frames, channels, height, width = maps[0].shape
    rows = max(1, BAND // (frames * channels * width)) if maps[0].device.type == "cpu" else height
    total = torch.zeros_like(mean)
    for bands in zip(*(samples.split(rows, dim=2) for samples in maps), strict=True):
        difference = bands[0] - bands[1] if len(bands) == 2 else bands[0]
        total += (difference - mean).square_().sum(dim=(2, 3), keepdim=True)
    return total / (height * width)


def _flat(channels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Values of the channels of all stages, N x 1475, in the precision of the weights."""
    return torch.cat([values.flatten(1) for values in channels], dim=1).to(torch.float64)


def _l2_pool(maps: torch.Tensor) -> torch.Tensor:
    """Root of the squares' mean under a 3x3 Hann window, every second pixel: the paper's L2 pooling."""
    return _root_mean(maps.square())


def _l2_pool_in_place(maps: torch.Tensor) -> torch.Tensor:
    """The same, of maps that nobody needs any more."""
    return _root_mean(maps.square_())


def _root_mean(squares: torch.Tensor) -> torch.Tensor:
    channels = squares.shape[1]
    window = torch.tensor([0.25, 0.5, 0.25], device=squares.device)
    kernel = torch.outer(window, window).repeat(channels, 1, 1, 1)
    pooled = functional.conv2d(squares, kernel, stride=2, padding=1, groups=channels)
    return pooled.add_(1e-12).sqrt_()
