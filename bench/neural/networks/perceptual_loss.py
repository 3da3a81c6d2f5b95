"""Training's measure of likeness where LPIPS' own networks are not to be had: distances of SqueezeNet's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Of torchvision's squeezenet1_0: after the first activation, the fire modules before each pooling, and the last.
TAPS = (1, 4, 7, 9, 12)
CHANNELS = (96, 128, 256, 384, 512)
"""Of the feature maps."""
MEAN_BGR = (104.0, 117.0, 123.0)

WINDOW = 5
"""Side of the windows in which the contrast of feature maps is compared."""

LITTLE = 0.003
"""What is added to variances in that comparison, as a share of the channel's mean."""


class DeepFeatures(nn.Module):
    """Features of a frozen SqueezeNet 1.0 (ImageNet) at several depths; input RGB -1 to 1.

    The weights expect BGR 0 to 255 minus a mean, and a first convolution without padding. ``state`` is a state dict
    with torchvision's names.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        from torchvision.models import squeezenet1_0

        net = squeezenet1_0(weights=None)
        net.load_state_dict(state)
        self.layers = net.features.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(MEAN_BGR)[None, :, None, None], persistent=False)

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Feature maps from fine to coarse, strides 2, 4, 8, 8 and 16, not normalised."""
        x = picture.flip(1) * 127.5 + 127.5 - self.mean
        found = []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in TAPS:
                found.append(x)
        return found


def unit(features: Tensor) -> Tensor:
    """Features of unit length at each place, as LPIPS compares them."""
    length: Tensor = features.square().sum(1, keepdim=True).add(1e-6).rsqrt()
    return features * length


def feature_distance(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Mean squared distance of unit features, summed over depths; one number for each item. Unweighted LPIPS."""
    distances = [(unit(a) - unit(b)).square().sum(1).mean((1, 2)) for a, b in zip(first, second, strict=True)]
    return torch.stack(distances).sum(0)


def moments_distance(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """How far the means of features over the whole pictures are from each other, wherever in them these features are.

    Squared distance over the second's squared length, mean over depths; one number for each item. The Fréchet distance
    of sets of pictures is largely made of it.
    """
    distances = []
    for a, b in zip(first, second, strict=True):
        ours, theirs = a.float().mean((2, 3)), b.float().mean((2, 3))
        distances.append((ours - theirs).square().sum(1) / theirs.square().sum(1).clamp_min(1e-6))
    return torch.stack(distances).mean(0)


def texture_distance(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """How far the contrast of feature maps differs, place by place, whatever their details are.

    Maps B x C x H x W of several depths give B numbers, 0 to 1: one minus the contrast term of SSIM (Wang et al. 2004,
    equation 9) in windows of `WINDOW` x `WINDOW`, 0 where these have equal standard deviations, near 1 where one alone
    is flat. Mean over channels and places, then over depths. A blurred picture is far, one with other leaves of the
    same kind is near.
    """
    distances = []
    for a, b in zip(first, second, strict=True):
        ours, theirs = _variance(a), _variance(b)
        little = LITTLE * theirs.detach().mean((2, 3), keepdim=True) + 1e-6
        ours, theirs = ours + little, theirs + little
        distances.append((1 - 2 * (ours * theirs).sqrt() / (ours + theirs)).mean((1, 2, 3)))
    return torch.stack(distances).mean(0)


def _variance(features: Tensor) -> Tensor:
    """Variance of each channel in windows, every second of them; in one window where the map is smaller."""
    features = features.float()
    side = [min(WINDOW, length) for length in features.shape[2:]]
    mean = functional.avg_pool2d(features, side, 2)
    return (functional.avg_pool2d(features.square(), side, 2) - mean.square()).clamp_min(0)


def downsampled(picture: Tensor) -> Tensor:
    """Half the size by averaging."""
    return functional.avg_pool2d(picture, 2)
