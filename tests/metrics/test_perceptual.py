"""LPIPS and DISTS against the packages ``lpips`` and ``piq`` with identical seeded weights, in float64."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.conformance import check_metric
from bench.core.files import file_digest
from bench.engine.measure import DecodedVideo, measure, measure_together
from bench.errors import UnavailableError, UnknownNameError
from bench.metrics.base import Measurement
from bench.networks import backbone, dists
from bench.networks.dists import DistsNetwork
from bench.networks.lpips import LpipsNetwork
from bench.registry import metric_class
from bench.video import colour
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame, sample_dtype
from bench.weights import files as weights

FORMATS = [
    VideoFormat(96, 80),
    VideoFormat(97, 65, chroma="444", bit_depth=10),
    VideoFormat(47, 33, chroma="gray", bit_depth=12),
    VideoFormat(64, 35, chroma="rgb"),
]
BEYOND_256 = VideoFormat(260, 258, chroma="422")
TOLERANCE = 1e-5

Tensor = Any


def package(net: str) -> Any:
    """LPIPS of the package with its own heads on seeded weights."""
    import lpips

    with warnings.catch_warnings():  # it calls torchvision by a name of its past
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return lpips.LPIPS(net=net, pnet_rand=True, verbose=False).double()


@pytest.fixture(scope="module")
def packages() -> dict[str, Any]:
    return {net: package(net) for net in ("alex", "vgg")}


def dists_of_piq(features: Any, state: dict[str, Tensor]) -> Any:
    """piq's DISTS on given weights; its own constructor downloads them."""
    import piq
    from piq.perceptual import ContentLoss

    class PiqDists(piq.DISTS):  # type: ignore[misc]
        def __init__(self) -> None:
            parts = [3, 64, 128, 256, 512, 512]
            ContentLoss.__init__(
                self,
                features,
                layers=["3", "8", "15", "22", "29"],
                weights=[part for key in ("alpha", "beta") for part in torch.split(state[key], parts, dim=1)],
                replace_pooling=True,
                allow_layers_weights_mismatch=True,
            )

        def at_original_size(self, x: Tensor, y: Tensor) -> Tensor:
            return 1 - ContentLoss.forward(self, x, y)

    return PiqDists()


@pytest.fixture(scope="module")
def piq_dists(packages: dict[str, Any], stand_ins: Path) -> Any:
    stages = [stage for name, stage in packages["vgg"].net.named_children() if name.startswith("slice")]
    features = torch.nn.Sequential(*(layer for stage in stages for layer in stage.children()))
    return dists_of_piq(features, weights.read_tensors(stand_ins / "dists.pth"))


@pytest.fixture(scope="module")
def stand_ins(packages: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of weights whose networks are those of the packages."""
    folder = tmp_path_factory.mktemp("weights")
    both = torch.rand(2, 1475, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both /= both.sum()
    states = {"dists": {"alpha": both[:1].clone(), "beta": both[1:].clone()}}
    for net, name in (("alex", "alexnet"), ("vgg", "vgg16")):
        state = packages[net].net.state_dict()
        states[name] = {f"features.{key.split('.', 1)[1]}": tensor.float() for key, tensor in state.items()}
    entries = []
    for name, state in states.items():
        file = folder / f"{name}.pth"
        torch.save(state, file)
        entries.append(
            f'[[weights]]\nname = "{name}"\ntitle = "random stand-in"\nfile = "{file.name}"\nmade = "random numbers"\n'
            f'sha256 = "{file_digest(file)}"\nbytes = {file.stat().st_size}\nlicence = "none"\nsource = "none"\n'
        )
    (folder / weights.MANIFEST).write_text("\n".join(entries), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(weights.ENVIRONMENT, str(folder))
        yield folder


pytestmark = [pytest.mark.usefixtures("stand_ins"), pytest.mark.slow]


def clip(fmt: VideoFormat, count: int, *, noise: float = 0.0) -> list[Frame]:
    """Waves with noise that is always the same, and ``noise`` on top (its standard deviation, white is 1)."""
    frames = []
    for index in range(count):
        planes = []
        for number, (height, width) in enumerate(fmt.plane_shapes):
            y, x = np.mgrid[:height, :width] / max(height, width)
            fixed = np.random.default_rng([index, number]).normal(0, 0.1, (height, width))
            added = np.random.default_rng([number, index, 1]).normal(0, noise, (height, width))
            values = 0.5 + 0.3 * np.sin(9 * x + 5 * y * y + index + number) + fixed + added
            planes.append(np.rint(np.clip(values, 0, 1) * fmt.peak).astype(sample_dtype(fmt)))
        frames.append(Frame.from_planes(fmt, planes))
    return frames


def tensor(frame: Frame) -> Tensor:
    """RGB with white 1 in float64, 1 x 3 x H x W."""
    return torch.from_numpy(colour.to_rgb(frame) / frame.format.peak).permute(2, 0, 1)[None]


def measured(name: str, source: list[Frame], decoded: list[Frame], folder: Path) -> Measurement:
    transform = CodingTransform.fit(source[0].format)
    return measure(iter(source), iter(decoded), [metric_class(name)], transform, folder)[0]


def of_pairs(distance: Callable[[Tensor, Tensor], Tensor], source: list[Frame], decoded: list[Frame]) -> list[float]:
    with torch.no_grad():
        return [float(distance(tensor(a), tensor(b))) for a, b in zip(source, decoded, strict=True)]


@pytest.mark.parametrize("fmt", FORMATS, ids=VideoFormat.describe)
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_that_of_the_package(net: str, fmt: VideoFormat, packages: dict[str, Any], tmp_path: Path) -> None:
    count = 2 if net == "alex" else 1
    source, decoded = clip(fmt, count), clip(fmt, count, noise=0.05)
    expected = of_pairs(lambda a, b: packages[net](a, b, normalize=True), source, decoded)
    found = measured(f"lpips_{net}", source, decoded, tmp_path)
    assert found.frames == pytest.approx(expected, rel=TOLERANCE)
    assert found.value == pytest.approx(np.mean(expected), rel=TOLERANCE)


@pytest.mark.parametrize(("name", "fmt"), [*(("dists", fmt) for fmt in FORMATS), ("dists:256", BEYOND_256)], ids=str)
def test_dists_is_that_of_piq(name: str, fmt: VideoFormat, piq_dists: Any, tmp_path: Path) -> None:
    source, decoded = clip(fmt, 1), clip(fmt, 1, noise=0.05)
    distance = piq_dists if name == "dists:256" else piq_dists.at_original_size
    expected = of_pairs(distance, source, decoded)
    assert measured(name, source, decoded, tmp_path).frames == pytest.approx(expected, rel=TOLERANCE)


@pytest.fixture
def shrunk_to_64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where 256 is meant, of which the test above has proof: VGG takes a sixteenth of the time."""
    assert dists.SHORT_SIDE == 256
    monkeypatch.setattr(dists, "SHORT_SIDE", 64)


def test_only_larger_frames_are_shrunk(tmp_path: Path, shrunk_to_64: None) -> None:
    values = {}
    for fmt in (VideoFormat(66, 64), VideoFormat(66, 66)):
        source, decoded = clip(fmt, 1), clip(fmt, 1, noise=0.05)
        values[fmt.height] = [measured(name, source, decoded, tmp_path).value for name in ("dists", "dists:256")]
    assert values[64][0] == values[64][1]
    assert values[66][0] != values[66][1]


NAMES = ["lpips_alex", "lpips_vgg", "dists", "dists:256"]


@pytest.mark.parametrize("name", NAMES)
def test_identical_frames_have_exactly_no_distance(name: str, tmp_path: Path, shrunk_to_64: None) -> None:
    fmt = VideoFormat(68, 66, bit_depth=10)
    assert measured(name, clip(fmt, 1), clip(fmt, 1), tmp_path).frames == (0.0,)


@pytest.mark.parametrize("name", NAMES)
def test_flat_frames_have_a_distance(name: str, tmp_path: Path) -> None:
    fmt = VideoFormat(40, 40)
    grey, lighter = (Frame(fmt, np.full(fmt.samples_per_frame, level, np.uint8)) for level in (120, 128))
    value = measured(name, [grey], [lighter], tmp_path).value
    assert value is not None
    assert 0 < value < 1


@pytest.mark.parametrize("name", NAMES)
def test_batches_change_no_value(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fmt = VideoFormat(48, 32)
    source, decoded = clip(fmt, 3), clip(fmt, 3, noise=0.05)
    alone = measured(name, source, decoded, tmp_path).frames
    monkeypatch.setattr(backbone, "batch_size", lambda width, height: 2)  # as on a GPU
    for frame in source:
        frame._derived.clear()
    assert measured(name, source, decoded, tmp_path).frames == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("name", ["lpips_alex", "lpips_vgg", "dists"])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_source_is_worked_out_once_and_let_go(
    name: str, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = DistsNetwork if name == "dists" else LpipsNetwork
    extract, seen = network.extract, []

    def counted(self: Any, frames: Any, **options: Any) -> Any:
        seen.append(len(frames))
        return extract(self, frames, **options)

    monkeypatch.setattr(network, "extract", counted)
    monkeypatch.setattr(backbone, "batch_size", lambda width, height: batch)
    fmt = VideoFormat(48, 32)
    source, transform = clip(fmt, 3), CodingTransform.fit(fmt)
    decoded = [clip(fmt, 3, noise=noise) for noise in (0.02, 0.05)]
    videos = [DecodedVideo(iter(frames), [metric_class(name)], transform, tmp_path) for frames in decoded]
    together = measure_together(iter(source), videos)
    assert seen == {1: [1, 1, 1], 2: [2, 1]}[batch]
    alone = [measured(name, clip(fmt, 3), frames, tmp_path) for frames in decoded]
    assert [outcome[0].frames for outcome in together if isinstance(outcome, list)] == [one.frames for one in alone]
    if name != "lpips_alex":
        assert [frame for frame in source if any(frame._derived.get((name, size)) for size in (1, 2))] == source[-1:]


@pytest.mark.parametrize(("name", "smallest"), [("lpips_alex", 31), ("lpips_vgg", 16), ("dists", 17)])
def test_the_smallest_frames(name: str, smallest: int, tmp_path: Path) -> None:
    fits, not_ = VideoFormat(smallest, smallest + 9), VideoFormat(smallest + 9, smallest - 1)
    assert measured(name, clip(fits, 1), clip(fits, 1, noise=0.05), tmp_path).status == "ok"
    refused = measured(name, clip(not_, 1), clip(not_, 1), tmp_path)
    assert refused.status == "undefined"
    assert f"{not_.width}x{not_.height} is too small" in str(refused.reason)


def test_the_package_has_no_lpips_below_the_smallest_frames(packages: dict[str, Any]) -> None:
    for net, smallest in (("alex", 31), ("vgg", 16)):
        with pytest.raises(RuntimeError, match="too small"):
            packages[net](*torch.zeros(2, 1, 3, smallest - 1, 64, dtype=torch.float64))


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="256"):
        metric_class("dists:512")
    with pytest.raises(UnknownNameError):
        metric_class("lpips_alex:256")


@pytest.mark.parametrize(
    ("name", "missing"),
    [("lpips_alex", "alexnet"), ("lpips_vgg", "vgg16"), ("dists", "vgg16"), ("dists:256", "vgg16")],
)
def test_without_weights_it_says_what_to_run(
    name: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(weights.ENVIRONMENT)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UnavailableError, match=f"vcbench fetch weights {missing}"):
        metric_class(name).check()
    fmt = VideoFormat(64, 48)
    assert measured(name, clip(fmt, 1), clip(fmt, 1), tmp_path).status == "unavailable"


@pytest.mark.parametrize(("name", "files"), [("lpips_alex", {"alexnet"}), ("dists", {"vgg16", "dists"})])
def test_the_key_has_the_digests_of_the_weights(name: str, files: set[str]) -> None:
    digests = set(metric_class(name).identity()["weights"].values())
    assert {weights.sha256(file) for file in files} <= digests


def test_the_key_has_the_digest_of_the_heads() -> None:
    import lpips

    heads = Path(lpips.__file__).with_name("weights") / "v0.1" / "alex.pth"
    assert metric_class("lpips_alex").identity()["weights"]["heads"] == file_digest(heads)


def test_the_authors_weights_of_dists_nearly_add_up_to_1(shared_weights: Path) -> None:
    state = weights.read_tensors(shared_weights / "dists_alpha_beta.pt")
    assert float(sum(part.double().sum() for part in state.values())) == pytest.approx(1, abs=3e-7)


def test_lpips_keeps_the_rules_for_metrics() -> None:
    assert [str(finding) for finding in check_metric(metric_class("lpips_alex"), name="lpips_alex")] == []
