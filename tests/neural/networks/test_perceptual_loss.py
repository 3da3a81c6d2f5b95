"""The training's deep features: torchvision's own network, and a distance that is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needed import needed

torch = pytest.importorskip("torch")
needed("torchvision")

from bench.neural.networks.perceptual_loss import (  # noqa: E402
    TAPS,
    DeepFeatures,
    downsampled,
    feature_distance,
    texture_distance,
    unit,
)
from bench.video import colour  # noqa: E402
from bench.video.sequence import open_sequence  # noqa: E402
from bench.weights import files as weights  # noqa: E402


def seeded() -> Any:
    from torchvision.models import squeezenet1_0

    torch.manual_seed(0)
    return squeezenet1_0(weights=None).eval()


def pictures(seed: int = 0, count: int = 2) -> Any:
    return torch.rand((count, 3, 70, 90), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def by_torchvision(network: Any, rgb: np.ndarray) -> list[Any]:
    """Features of 8-bit RGB (N x H x W x 3) by hooks on torchvision's own forward."""
    found = []
    hooks = [network.features[tap].register_forward_hook(lambda *call: found.append(call[2])) for tap in TAPS]
    bgr = rgb[..., ::-1].astype(np.float32) - np.array([104, 117, 123], np.float32)
    with torch.inference_mode():
        network(torch.from_numpy(np.ascontiguousarray(bgr.transpose(0, 3, 1, 2))))
    for hook in hooks:
        hook.remove()
    return found


def test_features_are_torchvisions_on_the_real_weights(shared_weights: Path, shared_clips: Path) -> None:
    """On foreman; the classifier then sees what it was trained on: its first choice is far above chance."""
    from torchvision.models import squeezenet1_0

    network = squeezenet1_0(weights=None).eval()
    network.load_state_dict(weights.load("squeezenet"))
    frame = next(iter(open_sequence(shared_clips / "cif" / "foreman_352x288.y4m", frames=1).read()))
    rgb = colour.to_rgb(frame)[None]
    ours = DeepFeatures(weights.load("squeezenet"))(torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 127.5 - 1)
    theirs = by_torchvision(network, rgb)
    assert len(ours) == len(TAPS)
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() < 1e-3 * b.abs().max()


def test_sizes_of_the_features() -> None:
    found = DeepFeatures(seeded().state_dict())(torch.zeros(1, 3, 256, 256))
    assert [256 / features.shape[-1] for features in found] == pytest.approx([2, 4, 8, 8, 16], rel=0.1)
    assert found[-1].shape[1] == 512


def test_the_distance_is_zero_for_equal_symmetric_and_grows_with_noise() -> None:
    features = DeepFeatures(seeded().state_dict())
    first, second = pictures(0), pictures(1)
    with torch.inference_mode():
        assert feature_distance(features(first), features(first)).tolist() == [0, 0]
        there, back = (feature_distance(features(a), features(b)) for a, b in ((first, second), (second, first)))
        assert torch.equal(there, back)
        near, far = (feature_distance(features(first), features(first + size * second)) for size in (0.05, 0.5))
    assert (far > near).all()
    assert (near > 0).all()


def test_the_distance_is_per_item() -> None:
    features = DeepFeatures(seeded().state_dict())
    first, second = pictures(0), pictures(1)
    second[0] = first[0]
    with torch.inference_mode():
        found = feature_distance(features(first), features(second))
        alone = feature_distance(features(first[1:]), features(second[1:]))
    assert found[0] == 0
    assert found[1] == pytest.approx(float(alone), rel=1e-4)


def test_gradients_reach_the_picture_and_no_weight() -> None:
    features = DeepFeatures(seeded().state_dict())
    picture = pictures(0).requires_grad_()
    feature_distance(features(picture), features(pictures(1))).sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in features.parameters())


def test_units_have_length_one_whatever_the_gain() -> None:
    x = torch.rand(2, 16, 4, 4) + 0.5
    assert torch.allclose(unit(x).square().sum(1), torch.ones(2, 4, 4), atol=1e-5)
    assert torch.allclose(unit(7 * x), unit(x), atol=1e-5)


def test_half_the_size_is_the_mean_of_four() -> None:
    x = pictures()[..., :70, :90]
    assert torch.allclose(downsampled(x), x.reshape(2, 3, 35, 2, 45, 2).mean((3, 5)), atol=1e-6)


def test_texture_distance_tells_blur_from_other_detail_of_the_same_kind() -> None:
    """Noise against other noise of the same strength, of half the strength (closed form), and against flat pictures."""
    noise, other = (torch.randn((2, 3, 80, 80), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    same, half, flat = (texture_distance([found], [noise]) for found in (other, noise / 2 + 1, torch.zeros_like(noise)))
    assert texture_distance([noise], [noise]).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert half.tolist() == pytest.approx([1 - 2 * 0.5 / 1.25] * 2, rel=0.02)
    assert (same < 0.05).all() and (flat > 0.85).all()


def test_texture_distance_is_the_contrast_term_of_ssim() -> None:
    """Against numpy, one window of one channel, and on the way back from flat pictures nothing is infinite."""
    a, b = torch.rand((2, 1, 1, 5, 5), generator=torch.Generator().manual_seed(3))
    x, y = a.numpy().std(), b.numpy().std()
    assert float(texture_distance([a], [b])) == pytest.approx(1 - 2 * x * y / (x**2 + y**2), abs=0.003)
    flat = torch.zeros(1, 1, 9, 9, requires_grad=True)
    texture_distance([flat], [torch.rand(1, 1, 9, 9)]).sum().backward()
    assert flat.grad is not None and flat.grad.isfinite().all()
