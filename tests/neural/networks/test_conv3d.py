"""Three-dimensional convolutions by frames, against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from bench.neural.networks.conv3d import ByFrames, by_frames

CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((1, 4, 5, 8, 9), (6, 4, 3, 3, 3), {}),
    ((2, 4, 5, 8, 9), (6, 4, 3, 3, 3), {"padding": 1}),
    ((1, 4, 6, 8, 9), (6, 4, 3, 1, 1), {"stride": (2, 1, 1)}),
    ((1, 4, 7, 8, 8), (6, 4, 2, 3, 3), {"stride": (3, 2, 2), "padding": (1, 0, 2)}),
    ((2, 4, 3, 8, 8), (6, 4, 1, 2, 2), {"stride": (1, 2, 2)}),
    ((1, 4, 3, 5, 5), (6, 2, 3, 3, 3), {"groups": 2, "padding": (0, 1, 1)}),
    ((1, 4, 5, 8, 9), (6, 4, 3, 3, 3), {"padding": "same"}),
    ((1, 4, 7, 8, 9), (6, 4, 3, 3, 3), {"dilation": 2}),
    ((4, 5, 8, 9), (6, 4, 3, 3, 3), {"padding": 1}),
]


@pytest.mark.parametrize(("video", "kernel", "settings"), CASES)
@pytest.mark.parametrize("bias", [True, False])
def test_equals_torchs_convolution(
    video: tuple[int, ...], kernel: tuple[int, ...], settings: dict[str, Any], bias: bool
) -> None:
    drawn = torch.Generator().manual_seed(0)
    source, weight = (torch.randn(size, generator=drawn, dtype=torch.float64) for size in (video, kernel))
    added = torch.randn(kernel[0], generator=drawn, dtype=torch.float64) if bias else None
    wanted = functional.conv3d(source, weight, added, **settings)
    torch.testing.assert_close(by_frames(source, weight, added, **settings), wanted)
    with ByFrames():
        torch.testing.assert_close(functional.conv3d(source, weight, added, **settings), wanted)


def test_layers_within_it_go_by_frames_with_equal_gradients() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv3d(3, 5, 3, padding=1)
    video = torch.randn(1, 3, 4, 6, 6)
    layer(video).square().sum().backward()
    assert layer.weight.grad is not None
    wanted = layer.weight.grad.clone()
    layer.zero_grad()
    with ByFrames():
        names = {event.name for event in _profiled(layer, video)}
        layer(video).square().sum().backward()
    assert "aten::conv2d" in names
    assert "aten::conv3d" not in names
    torch.testing.assert_close(layer.weight.grad, wanted, rtol=1e-4, atol=1e-4)


def _profiled(layer: torch.nn.Module, video: torch.Tensor) -> Any:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        layer(video)
    return seen.events()


def test_elsewhere_torch_does_as_ever() -> None:
    meta = torch.nn.Conv3d(3, 5, 3, device="meta")
    with ByFrames():
        assert meta(torch.empty(1, 3, 4, 6, 6, device="meta")).shape == (1, 5, 2, 4, 4)
