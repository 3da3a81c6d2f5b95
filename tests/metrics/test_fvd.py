"""FVD through the measuring pass, on seeded stand-in weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from untrained import standing_in

from bench.engine.measure import DecodedVideo, measure_together
from bench.errors import UnavailableError
from bench.metrics.base import Measurement
from bench.metrics.distances import frechet
from bench.metrics.fvd import Fvd
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame

pytestmark = pytest.mark.slow

SMALL = VideoFormat(48, 36, chroma="rgb")


@pytest.fixture(scope="module")
def i3d(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The network with seeded weights, which are found as if they were the real ones."""
    import torch

    from bench.networks.i3d import I3d

    torch.manual_seed(0)
    network = I3d().eval()
    with standing_in(tmp_path_factory.mktemp("weights"), "i3d", network):
        yield network


def noise(count: int, seed: int) -> list[Frame]:
    generator = np.random.default_rng(seed)
    samples = generator.integers(0, 256, (count, SMALL.samples_per_frame)).astype(np.uint8)
    return [Frame(SMALL, data) for data in samples]


def measured(source: list[Frame], *decoded: list[Frame], folder: Path) -> list[Measurement]:
    videos = [DecodedVideo(iter(frames), [Fvd], CodingTransform.fit(SMALL), folder) for frames in decoded]
    outcomes = measure_together(iter(source), videos)
    return [outcome[0] for outcome in outcomes if isinstance(outcome, list)]


def test_the_distance_is_of_the_logits_of_whole_clips(i3d, tmp_path):
    """35 frames are two clips; the three left are not seen. Resized by picking pixels, as TensorFlow 1 does."""
    import torch
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    source, decoded = noise(35, 0), noise(35, 1)
    found, same = measured(source, decoded, source, folder=tmp_path)
    assert found.value == frechet(found.features["reference"], found.features["decoded"])
    assert found.pooled["samples"] == 2
    assert same.value == pytest.approx(0, abs=1e-12)
    assert np.array_equal(same.features["reference"], found.features["reference"])
    green_blue_red = torch.from_numpy(np.stack([np.stack(frame.planes) for frame in decoded[16:32]]))
    rgb = green_blue_red[:, [2, 0, 1]].to(torch.float32)
    resized = interpolate_bilinear_2d_like_tensorflow1x(rgb, (224, 224), align_corners=False)
    with torch.inference_mode():
        expected = i3d((2 * resized / 255 - 1).transpose(0, 1)[None]).numpy()
    np.testing.assert_allclose(found.features["decoded"][1:], expected, rtol=1e-4, atol=1e-4 * expected.std())


def test_one_clip_is_too_few(i3d, tmp_path):
    source = noise(31, 0)
    (found,) = measured(source, source, folder=tmp_path)
    assert found.status == "undefined"
    assert found.reason == "fvd: the video has too few clips of 16 frames (1); it takes 2 or more"


def test_without_weights_it_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UnavailableError, match="vcbench fetch weights i3d"):
        Fvd.check()


def test_pvcs_is_the_distance_of_four_stages_of_sliding_clips(i3d, tmp_path):
    """One clip, by hooks on the network, as in ActDiff-VC's code; frames are wide: the middle of them counts."""
    import torch
    from torch.nn import functional

    from bench.metrics.pvcs import LAYERS, Pvcs, cropped
    from bench.networks.pvcs import _network
    from bench.video.colour import rgb_of

    _network.cache_clear()
    source, decoded = noise(10, 1), noise(10, 2)
    videos = [DecodedVideo(iter(decoded), [Pvcs], CodingTransform.fit(SMALL), tmp_path)]
    ((found,),) = measure_together(iter(source), videos)

    def clip_of(frames: list[Frame]) -> torch.Tensor:
        pictures = torch.stack([torch.from_numpy(rgb_of(frame)).permute(2, 0, 1) / 255.0 for frame in frames])
        large = functional.interpolate(pictures, size=(224, 299), mode="bilinear", align_corners=False)
        return ((large[..., 37:261] - 0.5) * 2).permute(1, 0, 2, 3).unsqueeze(0)

    assert torch.allclose(cropped(source[0]), clip_of(source)[0, :, 0], atol=1e-6)
    seen = {}
    for name in LAYERS.split(", "):
        getattr(i3d, name).register_forward_hook(lambda _, __, out, name=name: seen.setdefault(name, []).append(out))
    with torch.inference_mode():
        for frames in (source, decoded):
            i3d(clip_of(frames))
    distances = []
    for sides in seen.values():
        a, b = (maps / (maps.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10) for maps in sides)
        distances.append(float((a - b).pow(2).sum(dim=1).mean()))
    assert found.value == pytest.approx(np.mean(distances), rel=1e-5)
    assert found.pooled["clips"] == 1
    _network.cache_clear()


def test_pvcs_needs_a_clip(i3d, tmp_path):
    from bench.metrics.pvcs import Pvcs

    videos = [DecodedVideo(iter(noise(9, 2)), [Pvcs], CodingTransform.fit(SMALL), tmp_path)]
    ((found,),) = measure_together(iter(noise(9, 1)), videos)
    assert found.status == "undefined"
    assert "needs 10 frames" in (found.reason or "")
