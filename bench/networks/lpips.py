"""LPIPS (Zhang et al. 2018) as the package ``lpips`` defines it, with features that can be kept and compared again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional

from bench.networks.backbone import Backbone, inference, max_pool, pictures
from bench.networks.device import device
from bench.networks.lpips_weights import BACKBONES, heads_file
from bench.video.frame import Frame
from bench.weights import files as weights

POOLS = {"alex": max_pool(3), "vgg": max_pool(2)}

EPSILON = 1e-10


@dataclass(frozen=True)
class Features:
    """Maps of a network's stages, N x C x H x W each, of unit length along the channels, and the frames' size."""

    maps: tuple[torch.Tensor, ...]
    height: int
    width: int


class LpipsNetwork:
    """A backbone and the heads on it: a weight for every channel of every stage."""

    def __init__(self, name: str, backbone: Backbone, heads: Mapping[str, torch.Tensor]) -> None:
        """``name``: "alex" or "vgg"; ``heads``: state dict with the package's names."""
        self.name = name
        self._backbone = backbone
        self._pool = POOLS[name]
        self._heads = [heads[f"lin{stage}.model.1.weight"].flatten().to(device()) for stage in range(5)]

    @classmethod
    def get(cls, name: str) -> LpipsNetwork:
        """The network "alex" or "vgg" with its weights, built once a process. Raises UnavailableError without them."""
        return _built(name, Backbone.get(BACKBONES[name]))

    def features(self, frame: Frame) -> Features:
        """Features of a frame, kept as long as the frame."""
        return self.features_of([frame])

    def features_of(self, frames: Sequence[Frame]) -> Features:
        """Features of consecutive frames of one format, in one batch, kept as long as the last of them."""
        return frames[-1].derived(("lpips features", self.name, len(frames)), lambda: self.extract(frames))

    @inference()
    def extract(self, frames: Sequence[Frame]) -> Features:
        """Features of frames of one format, in one batch, not kept."""
        fmt = frames[0].format
        return Features(tuple(self._unit_maps(frames)), fmt.height, fmt.width)

    @inference()
    def distances(self, reference: Features, distorted: Sequence[Frame]) -> list[float]:
        """LPIPS of frames from those with the features; theirs are never all in memory."""
        stages = zip(reference.maps, self._unit_maps(distorted), self._heads, strict=True)
        return _total([_squares(kept, fresh, head) for kept, fresh, head in stages])

    @inference()
    def distance(self, a: Features, b: Features) -> float:
        """LPIPS of two frames."""
        return _total(self.layer_maps(a, b))[0]

    @inference()
    def layer_maps(self, a: Features, b: Features) -> list[torch.Tensor]:
        """Weighted squared differences of each stage, N x h x w at its resolution; their means add up to LPIPS."""
        return [_squares(*stage) for stage in zip(a.maps, b.maps, self._heads, strict=True)]

    def _unit_maps(self, frames: Sequence[Frame]) -> Iterator[torch.Tensor]:
        for maps in self._backbone.maps(pictures(frames), self._pool):
            yield maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True).add_(EPSILON)


@cache
def _built(name: str, backbone: Backbone) -> LpipsNetwork:
    return LpipsNetwork(name, backbone, weights.read_tensors(heads_file(name)))


def _squares(a: torch.Tensor, b: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Squared differences weighted over the channels, N x h x w."""
    return functional.mse_loss(a, b, reduction="none").permute(0, 2, 3, 1) @ head


def _total(layers: Sequence[torch.Tensor]) -> list[float]:
    """Sum over the stages of the means over the pixels, for each of N frames."""
    means = torch.stack([layer.mean(dim=(1, 2)) for layer in layers])
    values: list[float] = means.to(torch.float64).sum(dim=0).tolist()
    return values
