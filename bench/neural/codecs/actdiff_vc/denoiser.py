"""Conditional flow matching: a transformer that takes noise to latents, and the steps along its flow.

Lipman et al. 2023, with straight paths: z_t = (1 - t) z + t e from the latent z at t = 0 to noise e at t = 1; the
network gives the velocity e - z.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.quiet_import import imported
from bench.neural.codecs.actdiff_vc.config import ActDiffConfig
from bench.neural.networks.blocks import zeroed

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Noisy latents (B x C x T x H x W), their condition, and times (B, 0 to 1), to the velocity of the latents."""


class ConcatDenoiser(nn.Module):
    """diffusers' WanTransformer3DModel that takes the condition as further input channels; starts from zero."""

    def __init__(self, config: ActDiffConfig, latents: int, condition: int) -> None:
        super().__init__()
        width = config.heads * config.head_width
        self.network: Any = imported("diffusers.models.transformers.transformer_wan").WanTransformer3DModel(
            num_attention_heads=config.heads,
            attention_head_dim=config.head_width,
            in_channels=latents + condition,
            out_channels=latents,
            text_dim=16,
            freq_dim=64,
            ffn_dim=3 * width,
            num_layers=config.layers,
            rope_max_seq_len=512,
        )
        zeroed(self.network.proj_out)

    def forward(self, noisy: Tensor, condition: Tensor, time: Tensor) -> Tensor:
        text = torch.zeros(len(noisy), 1, self.network.config.text_dim, device=noisy.device)
        return run_wan(self.network, torch.cat([noisy, condition], dim=1), time, text)


def run_wan(network: Any, latents: Tensor, time: Tensor, text: Tensor, **control: Tensor) -> Tensor:
    """Output of one of Wan's transformers, which count time to 1000."""
    with warnings.catch_warnings():
        # its norms tell that they would be faster were their weights of bfloat16 too
        warnings.filterwarnings("ignore", "Mismatch dtype between input and weight", UserWarning)
        velocity: Tensor = network(latents, 1000 * time, encoder_hidden_states=text, **control).sample.float()
    return velocity


def windowed(velocity: Velocity, side: int) -> Velocity:
    """The velocity of large latents from that of overlapping windows of ``side`` places: attention's cost stays linear.

    Where windows overlap their velocities are averaged, each counting less towards its edge (Bar-Tal et al. 2023).
    """

    def whole(latents: Tensor, condition: Tensor, time: Tensor) -> Tensor:
        height, width = latents.shape[-2:]
        if max(height, width) <= side:
            return velocity(latents, condition, time)
        sums, weights = torch.zeros_like(latents), torch.zeros_like(latents[:1, :1])
        for rows in _windows(height, side):
            for columns in _windows(width, side):
                part = velocity(latents[..., rows, columns], condition[..., rows, columns], time)
                share = _fading(part.shape[-2], part.device)[:, None] * _fading(part.shape[-1], part.device)
                sums[..., rows, columns] += share * part
                weights[..., rows, columns] += share
        return sums / weights

    return whole


def _windows(length: int, side: int) -> list[slice]:
    """Windows that cover a length, evenly spaced, a sixth of each or more shared; they begin at even places."""
    if length <= side:
        return [slice(0, length)]
    step = side - side // 6
    count = -(-(length - side) // step) + 1
    starts = [2 * round((length - side) * number / (count - 1) / 2) for number in range(count)]
    return [slice(start, start + side) for start in starts]


def _fading(length: int, device: torch.device) -> Tensor:
    places = torch.arange(1.0, length + 1, device=device)
    return torch.minimum(places, length + 1 - places).clamp_max(max(1, length // 6))


def noisy(latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Latents on their way to noise, at times (B)."""
    at = time[:, None, None, None, None]
    return (1 - at) * latents + at * noise


def estimate(velocity: Tensor, at: Tensor, time: Tensor) -> Tensor:
    """The latents to which the velocity at a point of the way leads, taken in one step."""
    return at - time[:, None, None, None, None] * velocity


def integrate(velocity: Velocity, start: Tensor, condition: Tensor, steps: int, begin: float = 1.0) -> Tensor:
    """Latents that the flow leads to, in so many equal steps (Euler), from a point of the way at time ``begin``."""
    latents = start
    for step in range(steps, 0, -1):
        time = torch.full((len(latents),), begin * step / steps, device=latents.device)
        latents = latents - begin * velocity(latents, condition, time) / steps
    return latents
