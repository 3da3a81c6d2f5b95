"""A critic that tells generated pictures from those of the source, as generative adversarial training needs one.

It sees pictures through a frozen network's feature maps, with a small head for each depth, so that it learns within a
short training (after "Projected GANs Converge Faster", Sauer et al. 2021, arXiv 2111.01007). It is trained by the same
optimizer as the generator: its own loss reaches its heads alone, the generator's reaches the pictures alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.neural.networks.perceptual_loss import unit

FOLD = 4
"""Pictures themselves are seen in blocks of so many pixels along a side."""


class Critic(nn.Module):
    """Scores of pictures and of their feature maps: positive where it takes them for real.

    Pictures N x 3 x H x W, -1 to 1; feature maps N x C x h x w, whose ``channels`` are given in their order. Gives a
    map N x 1 x h' x w' for the pictures, at a stride of `FOLD`, and one of the same size for each feature map.
    """

    def __init__(self, channels: Sequence[int], width: int = 48) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_head(count, width) for count in (3 * FOLD**2, *channels))

    def forward(self, pictures: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        height, width = (side - side % FOLD for side in pictures.shape[-2:])
        folded = functional.pixel_unshuffle(pictures[..., :height, :width], FOLD)
        seen = [folded, *(unit(each) * math.sqrt(each.shape[1]) for each in features)]
        return [head(each).float() for head, each in zip(self.heads, seen, strict=True)]


def _head(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.2),
        nn.Conv2d(width, 1, 1),
    )  # fmt: skip


def critic_loss(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """The critic's hinge loss on its maps of real and made pictures: 0 where sure and right, 2 where it cannot tell."""
    losses = [functional.relu(1 - a).mean() + functional.relu(1 + b).mean() for a, b in zip(real, made, strict=True)]
    return torch.stack(losses).mean()


def adversarial_loss(critic: Critic, pictures: Tensor, features: Sequence[Tensor]) -> Tensor:
    """What generated pictures lack in the eyes of the critic, which learns nothing by it."""
    resting = {name: value.detach() for name, value in critic.named_parameters()}
    scores: list[Tensor] = torch.func.functional_call(critic, resting, (pictures, features))
    return -torch.stack([score.mean() for score in scores]).mean()
