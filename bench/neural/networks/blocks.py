"""Layers that our codecs are built of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResBlock(nn.Module):
    """Two 3x3 convolutions around a residual connection; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.leaky_relu(self.first(x), 0.1))


class Down(nn.Module):
    """Half the size by a convolution with stride 2."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(self.conv(x), 0.1)


class Up(nn.Module):
    """Twice the size by a convolution and pixel shuffle."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out * 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(functional.pixel_shuffle(self.conv(x), 2), 0.1)


def stack(channels: int, count: int) -> nn.Sequential:
    """Residual blocks one after another."""
    return nn.Sequential(*(ResBlock(channels) for _ in range(count)))


def zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution, which gives zeros until it is trained."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def zero_conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A 1x1 convolution that gives zeros until it is trained (ControlNet's)."""
    return zeroed(nn.Conv2d(channels_in, channels_out, 1))


def round_through(x: Tensor) -> Tensor:
    """Rounding whose gradient is that of the identity."""
    return x + (torch.round(x) - x).detach()


def noisy(x: Tensor) -> Tensor:
    """Uniform noise of one quantisation step, training's stand-in for rounding (Balle et al. 2017)."""
    return x + torch.rand_like(x) - 0.5


def pad_to(x: Tensor, multiple: int) -> Tensor:
    """Pad right and below, by reflection, to sides divisible by ``multiple``; by repetition where that is too far."""
    height, width = x.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return x
    mode = "reflect" if below < height and right < width else "replicate"
    return functional.pad(x, (0, right, 0, below), mode=mode)


def channels_together(model: nn.Module) -> nn.Module:
    """The model with the channels of its 2D convolutions side by side in memory: half the time on a CPU."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model
