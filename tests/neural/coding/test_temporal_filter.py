"""The filter along motion: closed forms on noise, motion that it follows, cuts that it leaves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from bench.neural.coding.temporal_filter import TemporalFilter


def texture(height: int, width: int, seed: int = 0) -> Tensor:
    """A picture 1 x 3 x H x W that flow can follow, -0.5 to 0.5."""
    drawn = np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(drawn, (0, 0), 3)
    return torch.from_numpy(smooth / (2 * np.abs(smooth).max())).permute(2, 0, 1)[None]


def error(found: Tensor, wanted: Tensor, margin: int = 24) -> float:
    """Mean squared difference, away from the sides."""
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    return float((found[inner] - wanted[inner]).square().mean())


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_noise_on_what_stands_still_falls_as_the_closed_form_says(share: float) -> None:
    still = texture(128, 128)
    noise = torch.Generator().manual_seed(1)
    keep = TemporalFilter(share)
    found = [keep(still + 0.1 * torch.randn(still.shape, generator=noise), still) for _ in range(30)]
    left = np.mean([error(shown, still) for shown in found[15:]]) / 0.01
    assert left == pytest.approx((1 - share) / (1 + share), rel=0.05)


def test_noise_falls_along_motion_too() -> None:
    large = texture(128, 220)
    moving = [large[..., 3 * step : 3 * step + 128] for step in range(20)]
    noise = torch.Generator().manual_seed(1)
    keep = TemporalFilter(0.7)
    found = [keep(frame + 0.1 * torch.randn(frame.shape, generator=noise), frame) for frame in moving]
    assert np.mean([error(shown, frame) for shown, frame in zip(found[10:], moving[10:], strict=True)]) < 0.25 * 0.01


def test_a_still_picture_stays() -> None:
    still = texture(64, 80)
    keep = TemporalFilter(0.9)
    for _ in range(10):
        shown = keep(still, still)
    assert error(shown, still, 8) < 1e-6


def test_after_a_cut_hardly_anything_of_the_frame_before_is_left() -> None:
    first, second = texture(96, 96), torch.sign(texture(96, 96, seed=5))
    keep = TemporalFilter(0.7)
    keep(first, -first.sign())
    assert error(keep(second, second), second) < 0.01 * error(first, second)


def test_without_a_share_or_flow_pictures_stay_as_they_are() -> None:
    for share, side in ((0.0, 64), (0.7, 31)):
        keep = TemporalFilter(share)
        for seed in range(3):
            picture = texture(side, 64, seed)
            assert torch.equal(keep(picture, picture), picture)


def test_what_is_shown_stays_in_range() -> None:
    edges = torch.sign(texture(64, 64))
    keep = TemporalFilter(0.9)
    for shift in range(6):
        moved = edges.roll(shift, dims=-1)
        assert keep(moved, moved).abs().max() <= 1
