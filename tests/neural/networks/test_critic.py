"""The critic: its loss in closed form, who learns by which loss, and that it comes to tell blurred from sharp."""

from __future__ import annotations

import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("torchvision")

from bench.neural.networks.critic import Critic, adversarial_loss, critic_loss  # noqa: E402
from bench.neural.networks.perceptual_loss import CHANNELS, DeepFeatures  # noqa: E402


def deep_features() -> DeepFeatures:
    import torchvision

    torch.manual_seed(0)
    return DeepFeatures(torchvision.models.squeezenet1_0(weights=None).state_dict())


def test_hinge_loss_is_two_for_one_that_cannot_tell_and_zero_for_one_that_is_sure() -> None:
    zeros, ones = [torch.zeros(2, 1, 4, 4)], [torch.ones(2, 1, 4, 4)]
    assert float(critic_loss(zeros, zeros)) == 2
    assert float(critic_loss(ones, [-each for each in ones])) == 0
    assert float(critic_loss([-each for each in ones], ones)) == 4


def test_the_generators_loss_reaches_the_pictures_and_not_the_critic() -> None:
    features, critic = deep_features(), Critic(CHANNELS, 8)
    pictures = torch.rand(1, 3, 66, 70, requires_grad=True)
    adversarial_loss(critic, pictures, features(pictures)).backward()
    assert pictures.grad is not None and bool(pictures.grad.any())
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_it_comes_to_tell_blurred_pictures_from_sharp_ones() -> None:
    features, critic = deep_features(), Critic(CHANNELS, 8)
    sharp = torch.rand(4, 3, 64, 64) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
    with torch.no_grad():
        seen = [(pictures, features(pictures)) for pictures in (sharp, blurred)]
    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        loss = critic_loss(*(critic(*each) for each in seen))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1.5 and losses[-1] < 1
    assert adversarial_loss(critic, *seen[1]) > adversarial_loss(critic, *seen[0]) + 0.5
