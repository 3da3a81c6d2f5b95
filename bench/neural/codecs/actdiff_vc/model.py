"""ActDiff-VC: a keyframe codec, and the generator of what lies between keyframes."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor, nn

from bench.neural.codecs.actdiff_vc.config import ActDiffConfig
from bench.neural.codecs.actdiff_vc.denoiser import ConcatDenoiser, integrate, noisy, windowed
from bench.neural.codecs.actdiff_vc.latents import ResidualLatents
from bench.neural.codecs.actdiff_vc.render import Conditions
from bench.neural.coding.picture_codec import PictureCodec
from bench.neural.networks.conv3d import ByFrames
from bench.neural.networks.critic import Critic
from bench.neural.networks.perceptual_loss import CHANNELS

WINDOW = 48
"""Latents a side that the small generator sees at once: 384 pixels."""


class Generator(nn.Module):
    """Segments from their conditions by flow matching.

    ``denoiser`` gives a velocity, see `integrate`; it works in windows of ``window`` latents a side, an even number.
    """

    def __init__(self, latents: nn.Module, denoiser: nn.Module, channels: int, *, window: int) -> None:
        super().__init__()
        self.latents, self.denoiser, self.channels, self.window = latents, denoiser, channels, window

    def forward(self, conditions: Conditions, *, steps: int, seed: int, strength: float = 1.0) -> Tensor:
        """The video, in so many steps. Noise is drawn on the CPU: a seed gives the same on every device.

        ``strength``: how far from the prediction (0) to noise alone (1) the flow begins (Meng et al. 2022, SDEdit).
        """
        moved = to_device(conditions, next(self.parameters()).device)
        with ByFrames():
            return self._generated(moved, steps, seed, strength)

    def _generated(self, moved: Conditions, steps: int, seed: int, strength: float) -> Tensor:
        condition = self.latents.condition(moved)
        size = (len(condition), self.channels, *condition.shape[2:])
        noise = torch.randn(size, generator=torch.Generator().manual_seed(seed)).to(condition.device)
        start = noise
        if strength < 1:
            start = noisy(self.latents.encode(moved.predicted, moved), noise, noise.new_full((len(noise),), strength))
        velocity = windowed(self.denoiser, self.window)
        video: Tensor = self.latents.decode(integrate(velocity, start, condition, steps, strength), moved)
        return video


class ActDiffVc(nn.Module):
    """The whole codec. What is coded are keyframes, by ``intra`` or another codec, and trajectories.

    ``critic`` serves training alone.
    """

    def __init__(self, config: ActDiffConfig, generator: Generator) -> None:
        super().__init__()
        self.config = config
        self.intra = PictureCodec(config, inter=False)
        self.generator = generator
        self.critic = Critic(CHANNELS)


def small(config: ActDiffConfig) -> ActDiffVc:
    """A new, untrained codec."""
    latents = ResidualLatents(config)
    denoiser = ConcatDenoiser(config, latents.channels, latents.condition_channels)
    return ActDiffVc(config, Generator(latents, denoiser, latents.channels, window=WINDOW))


def to_device(conditions: Conditions, device: torch.device) -> Conditions:
    """The conditions on a device."""
    return Conditions(*(getattr(conditions, field.name).to(device) for field in fields(conditions)))
