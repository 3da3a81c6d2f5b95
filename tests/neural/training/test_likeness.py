"""Terms that the losses of our codecs share."""

from __future__ import annotations

import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("torchvision")

from bench.neural.networks.critic import Critic  # noqa: E402
from bench.neural.networks.perceptual_loss import CHANNELS, DeepFeatures, moments_distance  # noqa: E402
from bench.neural.training.likeness import likeness, mean_feature_distance, weights_of_error  # noqa: E402


def test_rates_are_weighted_evenly_in_logarithm() -> None:
    weights = weights_of_error((0.00006, 0.02), 5)
    assert torch.allclose(weights.log().diff(), weights.log().diff()[:1].expand(4), atol=1e-4)
    assert float(weights[0]) == pytest.approx(255**2 * 0.00006, rel=1e-4)
    assert float(weights[-1]) == pytest.approx(255**2 * 0.02, rel=1e-4)


def test_moments_do_not_depend_on_where_features_are(features: DeepFeatures) -> None:
    maps = [torch.rand(2, 4, 6, 6), torch.rand(2, 3, 3, 3)]
    moved = [each.flip(2).roll(1, 3) for each in maps]
    assert torch.allclose(moments_distance(moved, maps), torch.zeros(2), atol=1e-6)
    more = [2 * each for each in maps]
    assert torch.allclose(moments_distance(more, maps), torch.ones(2), atol=1e-4)


def test_a_critic_learns_by_its_own_term_and_pictures_by_the_others(features: DeepFeatures) -> None:
    torch.manual_seed(0)
    critic = Critic(CHANNELS, width=4)
    ours, theirs = torch.rand(1, 3, 64, 64, requires_grad=True), torch.rand(1, 3, 64, 64)
    terms = likeness(features, ours, theirs, features=1, texture=1, moments=1, critic=critic, adversarial=1)
    assert list(terms) == ["features", "texture", "moments", "adversarial", "critic"]
    terms.pop("critic").backward()
    assert ours.grad is None
    assert all(value.grad is not None for value in critic.parameters())
    critic.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    assert ours.grad is not None
    assert all(value.grad is None for value in critic.parameters())
    plain = likeness(features, theirs, theirs, features=1, texture=1)
    assert {name: round(float(term), 4) for name, term in plain.items()} == {"features": 0, "texture": 0}
    assert mean_feature_distance(features, [theirs], [theirs]) == pytest.approx(0, abs=1e-5)
