"""Motion: estimated by a small pyramid network, coded as a latent, and used to warp pictures.

A motion field is B x 2 x H/4 x W/4, x before y, in pixels of the picture: what is shown at a place is found at that
place plus its motion.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.neural.codecs.diff_sit.config import DiffSitConfig
from bench.neural.coding.channel import Channel
from bench.neural.coding.latent_coder import Coded, LatentCoder
from bench.neural.networks.blocks import Down, stack, zeroed

FIELD_STRIDE = 4
BLOCK = 4
"""Motion vectors along a side of the blocks that are coded together: 16 pixels."""


def warp(picture: Tensor, field: Tensor) -> Tensor:
    """A picture (B x C x H x W) moved by a field, bilinear; beyond its sides it goes on as at them."""
    return sample(picture, functional.interpolate(field.float(), size=picture.shape[-2:], mode="bilinear"))


def sample(features: Tensor, motion: Tensor) -> Tensor:
    """Features (B x C x H x W) read at each place plus its motion (B x 2 x H x W, in places)."""
    height, width = features.shape[-2:]
    rows = torch.arange(height, device=motion.device, dtype=torch.float32)[:, None]
    columns = torch.arange(width, device=motion.device, dtype=torch.float32)
    x = (motion[:, 0] + columns) * (2 / max(width - 1, 1)) - 1
    y = (motion[:, 1] + rows) * (2 / max(height - 1, 1)) - 1
    with torch.autocast(features.device.type, enabled=False):
        return functional.grid_sample(
            features.float(), torch.stack([x, y], dim=-1), padding_mode="border", align_corners=True
        )


def correlation(first: Tensor, second: Tensor, reach: int = 2) -> Tensor:
    """Mean product of features with the other's at all shifts up to ``reach``: B x (2 reach + 1)^2 x H x W."""
    height, width = first.shape[-2:]
    padded = functional.pad(second, (reach,) * 4)
    shifts = [(row, column) for row in range(2 * reach + 1) for column in range(2 * reach + 1)]
    return torch.stack([(first * padded[..., r : r + height, c : c + width]).mean(1) for r, c in shifts], dim=1)


class FlowNet(nn.Module):
    """Motion from one picture to another, from coarse to fine over strides 64 to 4; one estimator for all of them.

    The encoder's alone: it is never in a decoder. After PWC-Net (Sun et al. 2018), made small.
    """

    LEVELS = 5

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.ModuleList(
            [nn.Sequential(nn.PixelUnshuffle(FIELD_STRIDE), nn.Conv2d(48, width, 3, padding=1), stack(width, 1))]
        )
        self.features.extend(nn.Sequential(Down(width, width), stack(width, 1)) for _ in range(self.LEVELS - 1))
        self.estimate = nn.Sequential(
            nn.Conv2d(25 + width + 2, 48, 3, padding=1), nn.LeakyReLU(0.1),
            nn.Conv2d(48, 32, 3, padding=1), nn.LeakyReLU(0.1),
            nn.Conv2d(32, 32, 3, padding=1), nn.LeakyReLU(0.1),
            nn.Conv2d(32, 2, 3, padding=1),
        )  # fmt: skip
        last = self.estimate[-1]
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.zeros_(last.bias)

    def forward(self, target: Tensor, reference: Tensor) -> list[Tensor]:
        """Fields by which ``reference`` becomes ``target``, coarse to fine, each in pixels; the last is the answer.

        Pictures B x 3 x H x W, sides multiples of 64.
        """
        both = torch.cat([target, reference])
        pyramid = []
        for level in self.features:
            both = level(both)
            pyramid.append(functional.normalize(both.float(), dim=1) * math.sqrt(both.shape[1]))
        fields: list[Tensor] = []
        motion = torch.zeros(1)
        for features in reversed(pyramid):
            ours, theirs = features.chunk(2)
            if fields:
                motion = 2 * functional.interpolate(motion, scale_factor=2, mode="bilinear")
            else:
                motion = ours.new_zeros(len(ours), 2, *ours.shape[-2:])
            cost = correlation(ours, sample(theirs, motion))
            motion = motion + self.estimate(torch.cat([cost, ours, motion / 4], dim=1)).float()
            stride = target.shape[-1] // motion.shape[-1]
            fields.append(motion * stride)
        return fields


class MotionCodec(nn.Module):
    """Codes so many fields together, each as its difference from a predicted one.

    Latent components are those of a cosine transform of 4 x 4 vectors at first, the lowest frequencies.
    """

    def __init__(self, fields: int, config: DiffSitConfig) -> None:
        super().__init__()
        self.fields = fields
        raw = 2 * fields * BLOCK**2
        width, y = config.motion_width, 2 * fields * config.motion_components
        self.analysis = nn.Sequential(nn.PixelUnshuffle(BLOCK), nn.Conv2d(raw, y, 1))
        self.context = nn.Sequential(nn.PixelUnshuffle(BLOCK), nn.Conv2d(raw, width, 1), stack(width, 1))
        self.refine_in = nn.Sequential(nn.Conv2d(raw + y, width, 1), stack(width, 2), zeroed(nn.Conv2d(width, y, 1)))
        self.coder = LatentCoder(y, config.hyper_channels, width, config.rates, temporal=True, coarsest=0.4, finest=2.0)
        self.refine_out = nn.Sequential(
            nn.Conv2d(y + width, width, 1), stack(width, 3), zeroed(nn.Conv2d(width, raw, 3, padding=1))
        )
        self.synthesis = nn.Conv2d(y, raw, 1)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        basis = cosines(self.synthesis.in_channels // (2 * self.fields))
        matrix = torch.kron(torch.eye(2 * self.fields), basis)
        for conv, weight in ((self.analysis[1], matrix), (self.synthesis, matrix.T)):
            conv.weight.copy_(weight[:, :, None, None])
            nn.init.zeros_(conv.bias)

    def forward(
        self, channel: Channel, measured: Callable[[], Tensor], predicted: Tensor, before: Tensor | None
    ) -> tuple[Tensor, Coded]:
        """The fields that a decoder has (B x 2 fields x h x w), of those measured, where there are any to measure."""
        context = self.context(predicted)

        def latent() -> Tensor:
            difference = measured() - predicted
            linear = self.analysis(difference)
            unshuffled = functional.pixel_unshuffle(difference, BLOCK)
            refined: Tensor = linear + self.refine_in(torch.cat([unshuffled, linear], dim=1))
            return refined

        coded = channel.code(self.coder, latent, context, before)
        vectors = self.synthesis(coded.latent) + self.refine_out(torch.cat([coded.latent, context], dim=1))
        return predicted + functional.pixel_shuffle(vectors, BLOCK).float(), coded


def cosines(count: int) -> Tensor:
    """The ``count`` lowest of the orthonormal cosines on a block: count x `BLOCK` squared."""
    places = (torch.arange(BLOCK) + 0.5) * math.pi / BLOCK
    line = torch.cos(torch.arange(BLOCK)[:, None] * places) * math.sqrt(2 / BLOCK)
    line[0] /= math.sqrt(2)
    frequencies = sorted(((row, column) for row in range(BLOCK) for column in range(BLOCK)), key=lambda f: (sum(f), f))
    return torch.stack([torch.outer(line[row], line[column]).flatten() for row, column in frequencies[:count]])
