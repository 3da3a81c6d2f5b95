"""What the conditions let expect of a segment's latents: their mean and spread, place by place.

Where the warped keyframes agree there is hardly anything to generate, where something was uncovered much. A flow that
starts from the same noise everywhere has to learn this before all else, and spoils what was right until it has. So a
small network first tells mean and spread, and the flow generates what is left, of unit variance everywhere (after
"Residual Corrective Diffusion Modeling", arXiv 2309.15214, which takes the mean away).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench.neural.networks.blocks import zeroed

SMALLEST, LARGEST = 0.02, 4.0
"""Of the spread, on latents of about unit variance."""


class Expectation(nn.Module):
    """Mean and spread of latents (each B x ``latents`` x T x H x W) from their conditions; 0 and 1 until trained."""

    def __init__(self, condition: int, latents: int, width: int) -> None:
        super().__init__()
        near = {"kernel_size": 3, "padding": 1, "padding_mode": "replicate"}
        self.layers = nn.Sequential(
            nn.Conv3d(condition, width, 1), nn.LeakyReLU(0.1),
            nn.Conv3d(width, width, **near), nn.LeakyReLU(0.1),
            nn.Conv3d(width, width, **near), nn.LeakyReLU(0.1),
            zeroed(nn.Conv3d(width, 2 * latents, 1)),
        )  # fmt: skip

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and spread, the latter from `SMALLEST` to `LARGEST`. ``condition``: B x ``condition`` x T x H x W."""
        mean, exponent = self.layers(condition).float().chunk(2, dim=1)
        return mean, exponent.clamp(math.log(SMALLEST), math.log(LARGEST)).exp()


def negative_log_likelihood(latents: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """Negative log-likelihood of Laplace-distributed latents, the mean over components without its constant (nats).

    ``spread`` is their standard deviation. Latents have heavy tails; under a normal distribution few of them would
    outweigh all others.
    """
    return torch.mean(math.sqrt(2) * (latents - mean).abs() / spread + spread.log())
