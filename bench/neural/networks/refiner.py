"""A small network that mends pictures one by one, at their full resolution: what blocks of latents cannot draw."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.neural.networks.blocks import stack, zeroed

FOLD = 4
"""Pictures are worked on in blocks of so many pixels along a side."""

NOISE_SEED = 0


class Refiner(nn.Module):
    """Mends pictures (N x 3 x H x W, any size), given a guide of the same size; starts as the identity.

    ``noise``: channels of noise that it draws texture from, where there is none to go by.
    """

    def __init__(self, width: int, blocks: int, noise: int = 0) -> None:
        super().__init__()
        folded = 3 * FOLD**2
        self.noise = noise
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(FOLD), nn.Conv2d(2 * folded + noise * FOLD**2, width, 3, padding=1), stack(width, blocks),
            zeroed(nn.Conv2d(width, folded, 3, padding=1)), nn.PixelShuffle(FOLD),
        )  # fmt: skip

    def forward(self, pictures: Tensor, guide: Tensor, noise: Tensor | None = None) -> Tensor:
        """The pictures mended, not clamped. ``noise``: N (or 1) x ``noise`` x H x W; `pattern` unless given."""
        height, width = pictures.shape[-2:]
        drawn = self.pattern(height, width).to(pictures.device) if noise is None else noise
        seen = [pictures, guide, drawn.expand(len(pictures), -1, -1, -1)]
        margin = (0, -width % FOLD, 0, -height % FOLD)
        mended: Tensor = self.layers(functional.pad(torch.cat(seen, dim=1), margin, mode="replicate")).float()
        return pictures + mended[..., :height, :width]

    def pattern(self, height: int, width: int) -> Tensor:
        """The noise that decoders use, 1 x ``noise`` x H x W, equal for all of a size: texture stays where it is."""
        drawn = torch.Generator().manual_seed(NOISE_SEED)
        return torch.randn(1, self.noise, height, width, generator=drawn)
