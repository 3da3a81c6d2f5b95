"""Features of clips at four stages of I3D, and PVCS's distance of them; imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch

from bench.networks.device import device
from bench.networks.i3d import I3d
from bench.weights import files as weights

LAYERS = ("Conv3d_2c_3x3", "Mixed_3c", "Mixed_4f", "Mixed_5c")
"""Stages of I3D, each of half the resolution of the one before."""


@cache
def _network() -> I3d:
    network = I3d()
    network.load_state_dict(weights.load("i3d"))
    network.eval().to(device())
    return network


@torch.inference_mode()
def features(frames: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Features of a clip, at each stage 1 x C x T x H x W of unit length over C; frames are 3 x 224 x 224."""
    found = []
    x = torch.stack(list(frames), dim=1).unsqueeze(0).to(device())
    for name, layer in _network().named_children():
        x = layer(x)
        if name in LAYERS:
            found.append(x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10))
        if name == LAYERS[-1]:
            break
    return found


@torch.inference_mode()
def distance(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> float:
    """Mean over the stages of the mean squared distance of features."""
    stages = [((x - y) ** 2).sum(dim=1).mean() for x, y in zip(a, b, strict=True)]
    return float(torch.stack(stages).mean())
