"""Optical flow networks: SpyNet of Ranjan and Black 2017, and torchvision's RAFT. Imported late: torch is heavy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from bench.errors import UnavailableError
from bench.networks.backbone import inference
from bench.networks.device import device, rgb_tensor
from bench.video.flow import Flow
from bench.video.frame import Frame
from bench.weights import files as weights

COARSEST = 24
"""Shortest side of SpyNet's coarsest picture in pixels, that of the pictures its first level was trained on."""

State = Mapping[str, torch.Tensor]


class SpyNet(nn.Module):
    """Flow by a pyramid of small networks, each adding detail to the one before (Ranjan and Black 2017).

    Takes pairs of pictures N x 3 x H x W of RGB with white 1, any size from `COARSEST` up; returns N x 2 x H x W, (dx,
    dy) in pixels from the first to the second. The level of 24 to 47 pixels comes first, from no motion at all; up to
    ``len(levels)`` of them are used, as many as the size allows. Sides that do not halve evenly are continued to the
    right and below by their last samples; nothing is resized.
    """

    def __init__(self, levels: int = 6) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_level() for _ in range(levels))

    @classmethod
    def of(cls, state: State) -> SpyNet:
        """Network of a state dict with the keys L1.conv1.weight, L1.conv1.bias, ... L6.conv5.bias.

        Raises UnavailableError where they are not the weights of a SpyNet.
        """
        network = cls()
        own = {f"levels.{i}.{2 * j}.{kind}": f"L{i + 1}.conv{j + 1}.{kind}" for i, j, kind in _PARAMETERS}
        try:
            network.load_state_dict({ours: state[theirs] for ours, theirs in own.items()})
        except (KeyError, RuntimeError) as error:
            raise UnavailableError(f"these are not weights of SpyNet: {error}") from error
        network.eval().requires_grad_(False)
        return network

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        height, width = first.shape[-2:]
        used = pyramid_levels(height, width, len(self.levels))
        pyramid = [tuple(_padded(picture, 1 << (used - 1)) for picture in (first, second))]
        while len(pyramid) < used:
            pyramid.append(tuple(functional.avg_pool2d(picture, 2) for picture in pyramid[-1]))
        coarsest = pyramid[-1][0]
        flow = coarsest.new_zeros(len(coarsest), 2, *coarsest.shape[-2:])
        for index, (a, b) in enumerate(reversed(pyramid)):
            if index:
                flow = 2 * functional.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            flow = flow + self.levels[index](torch.cat([a, warped(b, flow), flow], dim=1))
        return flow[..., :height, :width]


class Raft(nn.Module):
    """RAFT of Teed and Deng 2020 as torchvision builds it, with frames of any size from 128 pixels up.

    Takes and returns what `SpyNet` does. Sides are continued by their last samples to a multiple of 8.
    """

    def __init__(self, *, small: bool) -> None:
        super().__init__()
        from torchvision.models.optical_flow import raft_large, raft_small

        self.network = (raft_small if small else raft_large)(weights=None)

    @classmethod
    def of(cls, state: State, *, small: bool) -> Raft:
        """Network of a state dict of torchvision's. Raises UnavailableError where it does not fit."""
        raft = cls(small=small)
        try:
            raft.network.load_state_dict(state)
        except RuntimeError as error:
            raise UnavailableError(f"these are not weights of RAFT: {error}") from error
        raft.eval().requires_grad_(False)
        return raft

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        height, width = first.shape[-2:]
        estimates = self.network(*(2 * _padded(picture, 8) - 1 for picture in (first, second)))
        flow: torch.Tensor = estimates[-1][..., :height, :width]
        return flow


def network_flow(name: str, file: str, first: Frame, second: Frame) -> Flow:
    """Flow of two frames by a network, "spynet", "raft" or "raft-small", with the weights of that name.

    Returns float32 H x W x 2, (dx, dy) in pixels from the first frame to the second. Raises UnavailableError where
    the weights are not here.
    """
    with inference():
        flow = _network(name, file, weights.sha256(file))(rgb_tensor(first), rgb_tensor(second))
        found: Flow = flow[0].permute(1, 2, 0).contiguous().cpu().numpy()
    return found


@cache
def _network(name: str, file: str, digest: str) -> nn.Module:
    """By digest too: other weights of the same name are another network."""
    state = weights.load(file)
    built = SpyNet.of(state) if name == "spynet" else Raft.of(state, small=name == "raft-small")
    return built.to(device())


_PARAMETERS = [(level, conv, kind) for level in range(6) for conv in range(5) for kind in ("weight", "bias")]


def pyramid_levels(height: int, width: int, most: int = 6) -> int:
    """How many times, and once more, the sides can be halved with `COARSEST` pixels left, up to ``most``."""
    levels = 1
    while levels < most and min(height, width) >> levels >= COARSEST:
        levels += 1
    return levels


def warped(picture: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Backward warping, bilinear, positions outside taking the border's value; N x C x H x W and N x 2 x H x W."""
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device, dtype=flow.dtype),
        torch.arange(width, device=flow.device, dtype=flow.dtype),
        indexing="ij",
    )
    # grid_sample has -1 and 1 for the centres of the outermost pixels
    across = 2 * (x + flow[:, 0]) / max(width - 1, 1) - 1
    down = 2 * (y + flow[:, 1]) / max(height - 1, 1) - 1
    return functional.grid_sample(
        picture, torch.stack([across, down], dim=-1), mode="bilinear", padding_mode="border", align_corners=True
    )


def _level() -> nn.Sequential:
    channels = (8, 32, 64, 32, 16, 2)
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 7, padding=3), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def _padded(picture: torch.Tensor, multiple: int) -> torch.Tensor:
    height, width = picture.shape[-2:]
    return functional.pad(picture, (0, -width % multiple, 0, -height % multiple), mode="replicate")
