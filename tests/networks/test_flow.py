"""Flow networks: SpyNet against its definition and on its real weights, RAFT against torchvision's own call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from bench.errors import MetricError, UnavailableError
from bench.metrics.base import FramePair
from bench.metrics.flow_methods import METHODS, backward_flow
from bench.networks.device import rgb_tensor
from bench.networks.flow import Raft, SpyNet, pyramid_levels, warped
from bench.registry import metric_class
from bench.video import colour
from bench.video.flow import warp
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.video.sequence import open_sequence
from bench.weights import files as weights

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def stand_in() -> State:
    """Seeded weights with the names and shapes of SpyNet's."""
    generator = torch.Generator().manual_seed(0)
    channels = (8, 32, 64, 32, 16, 2)
    state = {}
    for level in range(1, 7):
        for conv in range(1, 6):
            shape = (channels[conv], channels[conv - 1], 7, 7)
            state[f"L{level}.conv{conv}.weight"] = torch.randn(shape, generator=generator) / (49 * shape[1]) ** 0.5
            state[f"L{level}.conv{conv}.bias"] = torch.randn(shape[0], generator=generator) / 10
    return state


def pictures(height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.rand((2, 1, 3, height, width), generator=generator)
    return first, second


def warped_by_hand(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    return warp(np.ascontiguousarray(picture[0].transpose(1, 2, 0)), flow[0].transpose(1, 2, 0)).transpose(2, 0, 1)[
        None
    ]


def spynet_by_hand(state: State, first: torch.Tensor, second: torch.Tensor, levels: int) -> torch.Tensor:
    """The definition: means of 2x2 pixels down, networks from the coarsest up, each adding to the flow it is given."""
    flow = None
    for level in range(levels):
        side = 2 ** (levels - 1 - level)
        a, b = (functional.avg_pool2d(picture, side) for picture in (first, second))
        if flow is None:
            flow = torch.zeros(1, 2, *a.shape[-2:])
        else:
            flow = 2 * functional.interpolate(flow, a.shape[-2:], mode="bilinear", align_corners=True)
        maps = torch.cat([a, torch.from_numpy(warped_by_hand(b.numpy(), flow.numpy())), flow], dim=1)
        for conv in range(1, 6):
            names = (f"L{level + 1}.conv{conv}.{kind}" for kind in ("weight", "bias"))
            maps = functional.conv2d(maps, *(state[name] for name in names), padding=3)
            maps = maps.clamp(min=0) if conv < 5 else maps
        flow = flow + maps
    assert flow is not None
    return flow


@pytest.mark.parametrize(("size", "levels"), [((40, 56), 1), ((48, 64), 2), ((96, 104), 3)])
def test_spynet_is_its_definition(stand_in: State, size: tuple[int, int], levels: int) -> None:
    """Within what OpenCV rounds positions by (1/32 pixel before version 5)."""
    first, second = pictures(*size)
    assert pyramid_levels(*size) == levels
    with torch.inference_mode():
        found = SpyNet.of(stand_in)(first, second)
        expected = spynet_by_hand(stand_in, first, second, levels)
    assert found.abs().mean() > 0.05
    assert (found - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("size", "levels"), [((24, 24), 1), ((47, 90), 1), ((288, 352), 4), ((1080, 1920), 6), ((4320, 7680), 6)]
)
def test_the_coarsest_picture_has_24_to_47_pixels_as_long_as_there_are_levels(
    size: tuple[int, int], levels: int
) -> None:
    assert pyramid_levels(*size) == levels


@pytest.mark.parametrize("size", [(24, 24), (25, 131), (97, 83)])
def test_spynet_takes_every_size(stand_in: State, size: tuple[int, int]) -> None:
    first, second = pictures(*size)
    flow = SpyNet.of(stand_in)(first, second)
    assert flow.shape == (1, 2, *size)
    assert flow.isfinite().all()


def test_a_batch_is_its_pairs(stand_in: State) -> None:
    network = SpyNet.of(stand_in)
    pairs = [pictures(50, 66, seed) for seed in range(3)]
    with torch.inference_mode():
        together = network(*(torch.cat(side) for side in zip(*pairs, strict=True)))
        alone = torch.cat([network(*pair) for pair in pairs])
    assert torch.allclose(together, alone, atol=1e-4, rtol=0)


def test_warping_is_that_of_the_other_metrics() -> None:
    picture = torch.rand((1, 3, 40, 50), generator=torch.Generator().manual_seed(1))
    flow = 6 * torch.rand((1, 2, 40, 50), generator=torch.Generator().manual_seed(2)) - 3
    assert np.abs(warped(picture, flow).numpy() - warped_by_hand(picture.numpy(), flow.numpy())).max() < 1e-4


@pytest.mark.parametrize("name", ["spynet", "raft"])
def test_other_weights_are_refused(stand_in: State, name: str) -> None:
    state = {key: value for key, value in stand_in.items() if not key.startswith("L6")}
    with pytest.raises(UnavailableError, match="not weights of"):
        SpyNet.of(state) if name == "spynet" else Raft.of(state, small=True)


def test_raft_is_torchvisions() -> None:
    """The same seeded weights by torchvision's call and normalisation, on frames continued to multiples of 8."""
    from torchvision.models.optical_flow import Raft_Small_Weights, raft_small

    torch.manual_seed(0)
    theirs = raft_small(weights=None).eval()
    height, width = size = 131, 150
    frames = pictures(*size)
    continued = [
        picture[..., [min(y, height - 1) for y in range(-(-height // 8) * 8)], :][
            ..., [min(x, width - 1) for x in range(-(-width // 8) * 8)]
        ]
        for picture in frames
    ]
    with torch.inference_mode():
        expected = theirs(*Raft_Small_Weights.DEFAULT.transforms()(*continued))[-1][..., :height, :width]
        found = Raft.of(theirs.state_dict(), small=True)(*frames)
    assert found.shape == (1, 2, *size)
    assert torch.allclose(found, expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_spynet_follows_real_motion(shared_weights: Path, shared_clips: Path) -> None:
    """Published with the weights: foreman from 26.2 dB without motion to 34.4, coastguard from 25.0 to 32.9."""
    for name, gain in (("foreman", 6.5), ("coastguard", 7.0)):
        first, second = list(open_sequence(shared_clips / "cif" / f"{name}_352x288.y4m", frames=2).read())
        flow = backward_flow(METHODS["spynet"], first, second)
        before, after = (colour.to_rgb(frame).astype(np.float32) for frame in (first, second))
        still, moved = (10 * np.log10(255**2 / np.mean((p - after) ** 2)) for p in (before, warp(before, flow)))
        assert moved - still > gain


@pytest.mark.parametrize("name", ["ewarp:spynet", "ewarp:spynet:output", "tof:spynet"])
def test_metrics_run_on_the_real_weights(name: str, shared_weights: Path) -> None:
    kind = metric_class(name)
    kind.check()
    fmt = VideoFormat(64, 48, chroma="444", bit_depth=10)
    rng = np.random.default_rng(0)
    samples = [rng.integers(0, 1024, fmt.samples_per_frame, dtype=np.uint16) for _ in range(3)]
    first, second, other = (Frame(fmt, data) for data in samples)
    value = kind(fmt).update(FramePair(1, second, other, FramePair(0, first, first)))
    assert value is None or value > 0
    assert weights.sha256("spynet") in kind(fmt).provenance()["flow"]


def test_without_weights_it_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name, file in (("ewarp:spynet", "spynet"), ("tof:raft", "raft-large"), ("flolpips:raft-small", "")):
        with pytest.raises(UnavailableError, match=f"vcbench fetch weights {file}"):
            metric_class(name).check()


def test_a_frame_too_small_for_raft_is_undefined() -> None:
    with pytest.raises(MetricError, match="sides from 128"):
        metric_class("ewarp:raft")(VideoFormat(176, 120))


def test_rgb_goes_in_with_white_1() -> None:
    fmt = VideoFormat(32, 32, chroma="rgb", bit_depth=10)
    white = Frame(fmt, np.full(fmt.samples_per_frame, 1023, np.uint16))
    assert (rgb_tensor(white) == 1).all()
