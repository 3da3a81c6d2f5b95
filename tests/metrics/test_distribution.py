"""Distances between sets of frames: features against the libraries' networks, values through the measuring pass."""

from __future__ import annotations

import gc
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from untrained import standing_in

from bench.engine.measure import DecodedVideo, measure_together
from bench.errors import MetricError, UnavailableError, UnknownNameError
from bench.metrics.base import Measurement
from bench.metrics.distances import frechet, squared_mmd
from bench.metrics.distribution import DistributionMetric, FeatureRows
from bench.registry import metric_class
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame, sample_dtype
from bench.video.sequence import open_sequence

pytestmark = pytest.mark.slow


def noise(fmt: VideoFormat, count: int, seed: int = 0) -> list[Frame]:
    generator = np.random.default_rng(seed)
    samples = (generator.integers(0, fmt.peak + 1, fmt.samples_per_frame) for _ in range(count))
    return [Frame(fmt, data.astype(sample_dtype(fmt))) for data in samples]


def measured(names: str, source: list[Frame], *decoded: list[Frame], folder: Path) -> list[dict[str, Measurement]]:
    """Measurements by name of each decoded video, in one pass."""
    kinds = [metric_class(name) for name in names.split()]
    transform = CodingTransform.fit(source[0].format)
    videos = [DecodedVideo(iter(frames), kinds, transform, folder) for frames in decoded]
    outcomes = []
    for outcome in measure_together(iter(source), videos):
        assert isinstance(outcome, list), outcome
        outcomes.append({item.metric: item for item in outcome})
    return outcomes


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """Seeded stand-in weights with the names and shapes of the real ones, in a folder with a manifest."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Blank(FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict):
            assert not state_dict

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    torch.manual_seed(0)
    network = Blank("blank", ["2048"], empty)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    with standing_in(tmp_path_factory.mktemp("weights"), "inception-fid", network) as file:
        yield {"network": network, "file": file}


@pytest.mark.parametrize("size", [(299, 299), (352, 288), (256, 256)])
def test_inception_features_are_those_of_torch_fidelity(inception_weights, size):
    import torch

    from bench.networks.features import extract, pictures

    (frame,) = noise(VideoFormat(*size, chroma="rgb"), 1)
    shown = pictures(frame)
    theirs = inception_weights["network"](shown.to(torch.uint8))[0].numpy()
    assert theirs.shape == (1, 2048)
    assert theirs.std() > 0.1
    np.testing.assert_allclose(extract("inception", shown), theirs, rtol=1e-4, atol=1e-5 * theirs.std())


def test_fid_with_antialiasing_is_on_the_features_of_torchmetrics(inception_weights, tmp_path, monkeypatch):
    """Of two frames, since each takes the network some tenths of a second."""
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    monkeypatch.setattr(DistributionMetric, "min_samples", 2)
    fmt = VideoFormat(320, 272, chroma="rgb")
    source, decoded = noise(fmt, 2), noise(fmt, 2, seed=1)
    (found,) = measured("fid fid:antialias kid", source, decoded, folder=tmp_path)
    theirs = FrechetInceptionDistance(feature_extractor_weights_path=str(inception_weights["file"])).inception
    for frames, side in ((source, "reference"), (decoded, "decoded")):
        pictures = torch.from_numpy(np.stack([np.stack(frame.planes)[[2, 0, 1]] for frame in frames]))
        expected = theirs(pictures).numpy()
        features = found["fid:antialias"].features[side]
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * expected.std())
    smooth = found["fid:antialias"]
    assert smooth.value == frechet(smooth.features["reference"], smooth.features["decoded"])
    assert found["fid"].value != pytest.approx(smooth.value, rel=1e-3)
    assert found["fid"].features["decoded"].shape == (2, 2048)
    assert np.array_equal(found["fid"].features["decoded"], found["kid"].features["decoded"])
    assert "antialiasing" in smooth.provenance["network"]


def test_squeezenet_features_are_those_of_its_definition(shared_weights):
    """Layer by layer from the stored tensors: BGR less the training mean, unpadded conv1, pooling that rounds up."""
    import torch
    from torch.nn import functional

    from bench.networks.features import extract, pictures
    from bench.weights import files as weights

    (frame,) = noise(VideoFormat(95, 70, chroma="rgb"), 1)
    green, blue, red = (torch.from_numpy(plane.astype(np.float32)) for plane in frame.planes)
    state = weights.load("squeezenet")
    x = torch.stack([blue - 104, green - 117, red - 123])[None]
    x = functional.conv2d(x, state["features.0.weight"], state["features.0.bias"], stride=2).relu()
    for stage in ((3, 4, 5), (7, 8, 9, 10), (12,)):
        x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        for fire in stage:

            def layer(part, given, padding=0, fire=fire):
                weight, bias = (state[f"features.{fire}.{part}.{kind}"] for kind in ("weight", "bias"))
                return functional.conv2d(given, weight, bias, padding=padding).relu()

            x = layer("squeeze", x)
            x = torch.cat([layer("expand1x1", x), layer("expand3x3", x, 1)], dim=1)
    expected = x.mean(dim=(2, 3)).numpy()
    found = extract("squeezenet", pictures(frame))
    assert found.shape == (1, 512)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.std())


@pytest.mark.parametrize(
    ("size", "count"), [((256, 256), 1), ((383, 512), 2), ((384, 384), 2), ((511, 400), 2), ((1920, 1080), 49)]
)
def test_patches_are_those_of_fid_256(size, count):
    """Against the unfolding of NeuralCompression's definition: a grid, and one from (128, 128) on."""
    import torch
    from torch.nn import functional

    from bench.networks.features import pictures

    (frame,) = noise(VideoFormat(*size, chroma="rgb"), 1)
    whole = torch.from_numpy(np.stack(frame.planes)[[2, 0, 1]].astype(np.float32))[None]
    starts = [0, 128] if min(size) >= 384 else [0]
    expected = torch.cat(
        [
            functional.unfold(whole[..., start:, start:], 256, stride=256).transpose(1, 2).reshape(-1, 3, 256, 256)
            for start in starts
        ]
    )
    found = pictures(frame, 256)
    assert len(found) == count
    assert torch.equal(found, expected)


def test_pictures_of_ten_bit_keep_what_eight_bit_cannot_hold():
    from bench.networks.features import pictures

    (frame,) = noise(VideoFormat(8, 6, chroma="rgb", bit_depth=10), 1)
    expected = np.stack(frame.planes)[[2, 0, 1]] * (255 / 1023)
    np.testing.assert_allclose(pictures(frame)[0].numpy(), expected, rtol=1e-6)


def test_distances_rise_with_the_quantiser_and_vanish_without(
    shared_clips: Path, shared_weights: Path, run_ffmpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    clip = tmp_path / "clip.y4m"
    whole = shared_clips / "cif" / "foreman_352x288.y4m"
    run_ffmpeg("-i", whole, "-frames:v", "8", "-vf", "crop=256:256", clip)

    def frames(path: Path) -> list[Frame]:
        return list(open_sequence(path).read())

    videos = [frames(clip)]
    for quantiser in (22, 32, 42):
        stream, decoded = tmp_path / "x.hevc", tmp_path / f"{quantiser}.y4m"
        parameters = f"qp={quantiser}:log-level=error"
        run_ffmpeg("-i", clip, "-c:v", "libx265", "-x265-params", parameters, stream)
        run_ffmpeg("-i", stream, decoded)
        videos.append(frames(decoded))
    names = "fd_squeezenet kd_squeezenet fd_squeezenet_256 kd_squeezenet_256"
    found = measured(names, videos[0], *videos, folder=tmp_path)
    for name in names.split():
        values = [by_name[name].value for by_name in found]
        assert values == sorted(set(values)), name
        if name.startswith("fd"):
            assert values[0] == pytest.approx(0, abs=1e-9)
    features = [by_name["fd_squeezenet"].features for by_name in found]
    assert all(np.array_equal(features[0]["reference"], other["reference"]) for other in features)
    assert found[1]["fd_squeezenet"].value == frechet(features[1]["reference"], features[1]["decoded"])
    assert found[2]["kd_squeezenet"].value == squared_mmd(features[2]["reference"], features[2]["decoded"])
    assert found[1]["fd_squeezenet"].pooled == {"video": found[1]["fd_squeezenet"].value, "samples": 8}
    assert found[1]["fd_squeezenet"].provenance["samples"].startswith("8 frames, 512 features: comparable only")


@pytest.mark.parametrize(
    "fmt",
    [
        VideoFormat(65, 47, chroma="444", bit_depth=10),
        VideoFormat(64, 48, chroma="gray", bit_depth=12),
        VideoFormat(63, 49, chroma="rgb"),
        VideoFormat(32, 32),
    ],
    ids=VideoFormat.describe,
)
def test_every_format_has_a_value(shared_weights: Path, tmp_path: Path, fmt: VideoFormat) -> None:
    (found,) = measured("fd_squeezenet fd_squeezenet_256", noise(fmt, 8), noise(fmt, 8, seed=1), folder=tmp_path)
    assert found["fd_squeezenet"].status == "ok"
    assert found["fd_squeezenet"].value > 0
    assert found["fd_squeezenet_256"].status == "undefined"
    assert "too small (sides from 256)" in (found["fd_squeezenet_256"].reason or "")


def test_too_few_frames_are_refused_with_the_reason(shared_weights: Path, tmp_path: Path) -> None:
    small = VideoFormat(64, 48)
    (found,) = measured("fd_squeezenet kd_squeezenet", noise(small, 7), noise(small, 7, seed=1), folder=tmp_path)
    assert found["fd_squeezenet"].status == "undefined"
    assert found["kd_squeezenet"].reason == "kd_squeezenet: the video has too few frames (7); it takes 8 or more"


def test_a_dataset_is_one_set_of_all_its_frames() -> None:
    generator = np.random.default_rng(0)
    parts = [
        {side: generator.normal(size=(count, 32)).astype(np.float32) for side in ("reference", "decoded")}
        for count in (5, 11)
    ]
    whole = [np.concatenate([part[side] for part in parts]) for side in ("reference", "decoded")]
    assert metric_class("fd_squeezenet").pooled(parts) == {"dataset": frechet(*whole), "samples": 16}
    assert metric_class("kid").pooled(parts) == {
        "dataset": squared_mmd(*whole),
        "samples": 16,
        "subsets": 1,
        "subset_size": 16,
    }
    with pytest.raises(MetricError, match=r"the dataset has too few frames \(5\)"):
        metric_class("fid").pooled(parts[:1])


def test_without_weights_it_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("fid", "fid_256", "kid", "kid_256", "fid:antialias"):
        with pytest.raises(UnavailableError, match="vcbench fetch weights inception-fid"):
            metric_class(name).check()


def test_variants_are_metrics_of_their_own() -> None:
    plain, smooth = metric_class("fid_256"), metric_class("fid_256:antialias")
    assert smooth.name == "fid_256:antialias"
    assert smooth.patch == 256
    assert plain.identity()["name"] != smooth.identity()["name"]
    with pytest.raises(UnknownNameError, match="antialias"):
        metric_class("kid:smooth")
    with pytest.raises(UnknownNameError):
        metric_class("fd_squeezenet:antialias")


def test_rows_come_back_as_they_went_in_and_leave_nothing_open() -> None:
    rows = FeatureRows(3)
    assert rows.array().shape == (0, 3)
    given = np.arange(12, dtype=np.float32).reshape(4, 3)
    rows.append(given[:1])
    assert np.array_equal(rows.array(), given[:1])
    rows.append(given[1:])
    kept = rows.array()
    assert len(rows) == 4
    del rows
    gc.collect()
    assert np.array_equal(kept, given)
