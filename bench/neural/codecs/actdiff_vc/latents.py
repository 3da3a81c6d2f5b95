"""Latents of a segment: what its frames have beyond the warped keyframes, as components of blocks of 4 x 8 x 8.

A small network does well to leave alone what is known: it generates the difference from the prediction, and that in
units of what can be expected of it. Another mends the pictures that prediction and difference give, frame by frame.
Detail that no component carries stays what the keyframes show.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.neural.codecs.actdiff_vc.config import ActDiffConfig
from bench.neural.codecs.actdiff_vc.render import MAPS, Conditions
from bench.neural.networks.block_transform import SIDE, TIME, BlockTransform, pad_video
from bench.neural.networks.blocks import zeroed
from bench.neural.networks.refiner import Refiner

SMALLEST, LARGEST = 0.02, 4.0
"""Of the spread, on latents of about unit variance."""


class ResidualLatents(nn.Module):
    """From segments to latents of what their prediction lacks, and back.

    Videos B x 3 x T x H x W of any length and size; latents B x C x T' x H' x W' of the padded ones (4 k + 1 frames,
    sides multiples of 16), of about unit variance.
    """

    def __init__(self, config: ActDiffConfig) -> None:
        super().__init__()
        self.transform = BlockTransform(config.latent_channels)
        self.expectation = Expectation(self.condition_channels, self.channels, config.expectation_width)
        self.refiner = Refiner(config.refiner_width, config.refiner_blocks, config.refiner_noise)
        self.register_buffer("spread", torch.ones(1, config.latent_channels, 1, 1, 1))
        self.register_buffer("deviation", torch.ones(1, config.latent_channels, 1, 1, 1))

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return int(self.transform.first.out_channels)

    @property
    def condition_channels(self) -> int:
        """Channels of `condition`."""
        return 2 * self.channels + MAPS

    def encode(self, video: Tensor, conditions: Conditions) -> Tensor:
        """Latents of a video: what it has beyond its prediction, and beyond what can be expected of that."""
        mean, spread = self.expected(conditions)
        return (self.residual(video, conditions) - mean) / spread

    def residual(self, video: Tensor, conditions: Conditions) -> Tensor:
        """What a video has beyond its prediction, in units of what is usual."""
        found: Tensor = self.transform(_padded(video - conditions.predicted))
        return found / self.deviation

    def expected(self, conditions: Conditions) -> tuple[Tensor, Tensor]:
        """Mean and spread of `residual`, as `Expectation` has them."""
        found: tuple[Tensor, Tensor] = self.expectation(self.condition(conditions))
        return found

    def condition(self, conditions: Conditions) -> Tensor:
        """What the denoiser sees beside noisy latents, of their size: latents of the pictures, and maps."""
        pictures = (
            self.transform(_padded(video)) / self.spread for video in (conditions.predicted, conditions.difference)
        )
        return torch.cat([*pictures, _maps(conditions.maps)], dim=1)

    def base(self, latents: Tensor, conditions: Conditions) -> Tensor:
        """Prediction and difference together, not yet mended."""
        predicted = conditions.predicted
        frames, height, width = predicted.shape[2:]
        mean, spread = self.expected(conditions)
        residual = self.transform.back((mean + spread * latents) * self.deviation)[:, :, :frames, :height, :width]
        return predicted + residual

    def refine(self, pictures: Tensor, predicted: Tensor, noise: Tensor | None = None) -> Tensor:
        """Pictures N x 3 x H x W mended, not clamped. ``noise`` as `Refiner` says."""
        mended: Tensor = self.refiner(pictures, predicted, noise)
        return mended

    def decode(self, latents: Tensor, conditions: Conditions) -> Tensor:
        """The video of latents, not clamped; one frame at a time is mended."""
        base = self.base(latents, conditions)
        noise = self.refiner.pattern(*base.shape[3:]).to(base.device)
        pairs = zip(base.unbind(2), conditions.predicted.unbind(2), strict=True)
        return torch.stack([self.refine(picture, predicted, noise) for picture, predicted in pairs], dim=2)

    @torch.no_grad()
    def observe(self, video: Tensor, conditions: Conditions, share: float) -> None:
        """Let the normalisation follow the pictures and differences of this batch by a share."""
        over = (0, 2, 3, 4)
        pictures, residual = self.transform(_padded(video)), self.transform(_padded(video - conditions.predicted))
        for buffer, found in ((self.spread, pictures), (self.deviation, residual)):
            buffer.lerp_(found.square().mean(over, keepdim=True).sqrt().clamp_min(1e-3), share)


def _padded(video: Tensor) -> Tensor:
    return pad_video(video, (1 - video.shape[2]) % TIME)


def _maps(maps: Tensor) -> Tensor:
    """Maps of frames as maps of latents: padded as the video is, the mean of each group of frames."""
    patches = SIDE // 8
    rows, columns = (-side % patches for side in maps.shape[-2:])
    whole = functional.pad(maps, (0, columns, 0, rows, 0, (1 - maps.shape[2]) % TIME), mode="replicate")
    first, later = whole[:, :, :1], whole[:, :, 1:]
    return torch.cat([first, later.unflatten(2, (-1, TIME)).mean(3)], dim=2)


class Expectation(nn.Module):
    """Mean and spread of latents (each B x ``latents`` x T x H x W) from their conditions; 0 and 1 until trained.

    Where the warped keyframes agree there is hardly anything to generate, where something was uncovered much. A flow
    that starts from the same noise everywhere has to learn this before all else, and spoils what was right until it
    has. So this small network first tells mean and spread, and the flow generates what is left, of unit variance
    everywhere (after "Residual Corrective Diffusion Modeling", arXiv 2309.15214, which takes the mean away).
    """

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
