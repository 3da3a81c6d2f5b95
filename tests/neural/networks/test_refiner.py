"""The network that mends pictures: a start that changes nothing, any size, noise that stays where it is."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from bench.neural.networks.refiner import Refiner  # noqa: E402


def pictures(height: int, width: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) - 0.5


def trained(noise: int) -> Refiner:
    torch.manual_seed(0)
    refiner = Refiner(8, 1, noise).requires_grad_(False)
    torch.nn.init.normal_(refiner.layers[3].weight, std=0.1)
    return refiner


@pytest.mark.parametrize("noise", [0, 2])
@pytest.mark.parametrize(("height", "width"), [(16, 24), (5, 9), (1, 1)])
def test_it_starts_as_the_identity_at_any_size(noise: int, height: int, width: int) -> None:
    source = pictures(height, width)
    assert torch.equal(Refiner(8, 1, noise)(source, source), source)
    assert trained(noise)(source, source).shape == source.shape


def test_texture_comes_of_noise_that_is_equal_for_all_frames_and_calls() -> None:
    refiner, flat = trained(2), torch.zeros(2, 3, 16, 16)
    mended = refiner(flat, flat)
    assert torch.equal(mended[0], mended[1])
    assert torch.allclose(refiner(flat[:1], flat[:1])[0], mended[0], atol=1e-5)
    assert float(mended.std()) > 0.01
    silent = refiner(flat, flat, torch.zeros(1, 2, 16, 16))
    assert not torch.allclose(silent, mended, atol=1e-3)


def test_the_guide_is_looked_at() -> None:
    refiner, source = trained(0), pictures(16, 16)
    assert not torch.allclose(refiner(source, source), refiner(source, -source), atol=1e-3)
