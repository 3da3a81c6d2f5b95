"""Inflated Inception (I3D; Carreira and Zisserman 2017) on RGB, with pytorch-i3d's parameter names; imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

Extent = tuple[int, int, int]

CLASSES = 400

_WIDTHS: dict[str, Sequence[int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""Channels of each block: the 1x1x1 branch; reduction and 3x3x3 of the two branches; the branch after pooling."""


def _padded(x: torch.Tensor, kernel: Extent, stride: Extent) -> torch.Tensor:
    """Zeros around (batch, channels, time, height, width) as TensorFlow's "SAME" has them: the odd one at the end."""
    sides: list[int] = []
    for size, width, step in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        total = max(width - (size % step or step), 0)
        sides += [total // 2, total - total // 2]
    return functional.pad(x, sides)


class _Unit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(inputs, outputs, self.kernel, self.stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.bn(self.conv3d(_padded(x, self.kernel, self.stride))))


class _Pool(nn.Module):
    """Maximum over a window; the zeros around do not matter, since no input is negative."""

    def __init__(self, kernel: Extent, stride: Extent) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.max_pool3d(_padded(x, self.kernel, self.stride), self.kernel, self.stride)


class _Block(nn.Module):
    """Inception block: four branches side by side."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.b0 = _Unit(inputs, widths[0])
        self.b1a, self.b1b = _Unit(inputs, widths[1]), _Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = _Unit(inputs, widths[3]), _Unit(widths[3], widths[4], 3)
        self.b3a, self.b3b = _Pool((3, 3, 3), (1, 1, 1)), _Unit(inputs, widths[5])
        self.channels = widths[0] + widths[2] + widths[4] + widths[5]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))
        return torch.cat(branches, dim=1)


class _Logits(nn.Module):
    """A linear map of each position; a module of its own only for the name of its parameters."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv3d(x)


class I3d(nn.Module):
    """Logits over the 400 classes of Kinetics, averaged over time, of clips.

    Input: float32 N x 3 x T x 224 x 224 of RGB in -1 to 1, T from 9 up; output N x 400.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": _Unit(3, 64, 7, 2),
            "MaxPool3d_2a_3x3": _Pool((1, 3, 3), (1, 2, 2)),
            "Conv3d_2b_1x1": _Unit(64, 64),
            "Conv3d_2c_3x3": _Unit(64, 192, 3),
            "MaxPool3d_3a_3x3": _Pool((1, 3, 3), (1, 2, 2)),
        }
        channels = 192
        for name, widths in _WIDTHS.items():
            if name == "Mixed_4b":
                layers["MaxPool3d_4a_3x3"] = _Pool((3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                layers["MaxPool3d_5a_2x2"] = _Pool((2, 2, 2), (2, 2, 2))
            layers[name] = block = _Block(channels, widths)
            channels = block.channels
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.logits = _Logits(channels)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        x = clips
        *layers, logits = self.children()
        for layer in layers:
            x = layer(x)
        return logits(functional.avg_pool3d(x, (2, 7, 7), stride=1)).mean(dim=(2, 3, 4))
