"""What the losses of our codecs share: how alike pictures are through a frozen network, and in the eyes of a critic."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.neural.networks.critic import Critic, adversarial_loss, critic_loss
from bench.neural.networks.perceptual_loss import (
    DeepFeatures,
    feature_distance,
    moments_distance,
    texture_distance,
)


def likeness(
    network: DeepFeatures,
    ours: Tensor,
    theirs: Tensor,
    *,
    features: float,
    texture: float,
    of_pixels: bool = True,
    moments: float = 0.0,
    critic: Critic | None = None,
    adversarial: float = 0.0,
) -> dict[str, Tensor]:
    """Terms for generated pictures and those of the source (N x 3 x H x W), each times its weight.

    ``of_pixels``: whether the contrast of pixels counts beside that of features. With a ``critic`` the pictures are
    judged, and it learns by the term ``critic``.
    """
    shown = network(ours)
    with torch.no_grad():
        wanted = network(theirs)
    pixels = of_pixels * 1
    terms = {
        "features": features * feature_distance(wanted, shown).mean(),
        "texture": texture * texture_distance([ours] * pixels + shown, [theirs] * pixels + wanted).mean(),
    }
    if moments:
        terms["moments"] = moments * moments_distance(shown, wanted).mean()
    if critic is not None:
        terms["adversarial"] = adversarial * adversarial_loss(critic, ours, shown)
        made = critic(ours.detach(), [each.detach() for each in shown])
        terms["critic"] = critic_loss(critic(theirs, wanted), made)
    return terms


def mean_feature_distance(network: DeepFeatures, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Distance of deep features of pictures (N x 3 x H x W each), the mean over all."""
    distances = [feature_distance(network(b), network(a)).mean() for a, b in zip(found, wanted, strict=True)]
    return float(torch.stack(distances).mean())


def weights_of_error(lambdas: tuple[float, float], rates: int) -> Tensor:
    """Weight of the mean squared error of pictures 0 to 1 against bits per pixel, of each rate index.

    ``lambdas``: those of the lowest and the highest, of pictures 0 to 255; between them evenly in logarithm.
    """
    first, last = lambdas
    return 255**2 * first * (last / first) ** torch.linspace(0, 1, rates)
