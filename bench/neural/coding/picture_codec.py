"""A picture to a latent and back: as it is (intra), or as its difference from a prediction (inter).

The first state is a block transform fitted to pictures, for the reason that `bench.neural.networks.linear` serves: a
short training should not spend itself on what a Karhunen-Loeve transform does from the first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.neural.coding.channel import Channel
from bench.neural.coding.latent_coder import LatentCoder
from bench.neural.networks.blocks import stack, zeroed
from bench.neural.networks.linear import become, components, fit, flat

STRIDE = 64
"""Sides of a coded picture are multiples of it: 16 of a latent times 4 of its hyper latent."""


INNER = 48
"""Width of the entropy model's networks."""


class PictureSizes(Protocol):
    """Widths at strides 8 and 16, channels of the latent and of its hyper latent, number of rate indexes.

    At stride 16 networks only correct a linear map, so that ``deep`` may be less than ``y_channels``.
    """

    @property
    def width(self) -> int: ...
    @property
    def deep(self) -> int: ...
    @property
    def y_channels(self) -> int: ...
    @property
    def hyper_channels(self) -> int: ...
    @property
    def rates(self) -> int: ...


class Corrected(nn.Module):
    """A linear map, and what a network adds to it: nothing until it is trained."""

    def __init__(self, linear: nn.Conv2d, network: nn.Module) -> None:
        super().__init__()
        self.linear, self.network = linear, network

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(x) + self.network(x)
        return found


class PictureCodec(nn.Module):
    """A picture to a latent and back, as its difference from what is predicted of it; an intra picture has nothing."""

    def __init__(self, sizes: PictureSizes, *, inter: bool) -> None:
        super().__init__()
        width, deep, y = sizes.width, sizes.deep, sizes.y_channels
        self.patches = nn.Sequential(nn.PixelUnshuffle(8), nn.Conv2d(192, width, 1), stack(width, 2))
        self.context = nn.Sequential(nn.PixelUnshuffle(8), nn.Conv2d(192, width, 1), stack(width, 3)) if inter else None
        # what tells the networks the rate: of an intra picture all that the context is
        self.of_rate = nn.Parameter(torch.zeros(sizes.rates, width, 1, 1))
        self.join_analysis = nn.Sequential(nn.Conv2d(2 * width, width, 1), stack(width, 2))
        self.analysis = nn.Sequential(
            nn.PixelUnshuffle(2),
            Corrected(
                nn.Conv2d(4 * width, y, 1),
                nn.Sequential(nn.Conv2d(4 * width, deep, 1), stack(deep, 2), zeroed(nn.Conv2d(deep, y, 3, padding=1))),
            ),
        )
        self.for_mean = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * width, INNER, 1))
        self.coder = LatentCoder(y, sizes.hyper_channels, INNER, sizes.rates, temporal=inter, inner=INNER)
        self.synthesis = nn.Sequential(
            Corrected(
                nn.Conv2d(y, 4 * width, 1),
                nn.Sequential(nn.Conv2d(y, deep, 3, padding=1), stack(deep, 2), zeroed(nn.Conv2d(deep, 4 * width, 1))),
            ),
            nn.PixelShuffle(2),
        )
        self.join_synthesis = nn.Sequential(nn.Conv2d(2 * width, width, 1), stack(width, 4))
        self.to_picture = nn.Sequential(nn.Conv2d(width, 192, 3, padding=1), nn.PixelShuffle(8))

    def forward(
        self, channel: Channel, picture: Tensor | None, predicted: Tensor, before: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The decoded picture, its latent's symbols, its bits. ``predicted`` is zeros (grey) for an intra picture."""
        batch, _, height, width = predicted.shape
        context = self.of_rate[channel.indexes.to(predicted.device)].expand(batch, -1, height // 8, width // 8)
        if self.context is not None:
            context = context + self.context(predicted)

        def latent() -> Tensor:
            assert picture is not None
            joined = self.join_analysis(torch.cat([self.patches(picture), context], dim=1))
            y: Tensor = self.analysis(joined)
            return y

        coded = channel.code(self.coder, latent, self.for_mean(context), before)
        features = self.join_synthesis(torch.cat([self.synthesis(coded.latent), context], dim=1))
        return predicted + self.to_picture(features).float(), coded.symbols, coded.bits


@torch.no_grad()
def start_picture_codecs(codecs: Sequence[PictureCodec], pictures: Tensor) -> Tensor:
    """Make new codecs of one size the block transform fitted to pictures (N x 3 x H x W).

    Returns the directions of the latent's components in blocks of 16 x 16, for `start_coder`.
    """
    width, y = codecs[0].patches[1].out_channels, codecs[0].coder.channels
    patches = functional.pixel_unshuffle(pictures, 8)
    directions, deviations = components(flat(patches), width)
    # half-way to unit variance: networks like it, and what is large still counts more
    scale = deviations.rsqrt()[:, None]
    forward, backward = directions * scale, (directions / scale).T
    features = torch.einsum("oc,bchw->bohw", forward, patches)
    blocks = functional.pixel_unshuffle(pictures, 16)
    block_directions, _ = components(flat(blocks), y)
    wanted = flat(torch.einsum("oc,bchw->bohw", block_directions, blocks))
    folded = flat(functional.pixel_unshuffle(features, 2))
    analysis, synthesis = fit(folded, wanted), fit(wanted, folded)
    for codec in codecs:
        _start(codec, forward, backward, analysis, synthesis)
    return block_directions


def _start(codec: PictureCodec, forward: Tensor, backward: Tensor, analysis: Tensor, synthesis: Tensor) -> None:
    width = len(forward)
    same, none = torch.eye(width), torch.zeros(width, width)
    become(codec.patches[1], forward)
    if codec.context is not None:
        become(codec.context[1], forward)
    become(codec.join_analysis[0], torch.cat([same, none if codec.context is None else -same], dim=1))
    become(codec.analysis[1].linear, analysis)
    become(codec.synthesis[0].linear, synthesis)
    become(codec.join_synthesis[0], torch.cat([same, none], dim=1))
    become(codec.to_picture[0], backward)
