"""tLPIPS and FloLPIPS against the package ``lpips`` with identical seeded weights, and flows by OpenCV."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from bench.core.files import file_digest
from bench.engine.measure import measure
from bench.errors import MetricError
from bench.metrics.base import Measurement
from bench.metrics.temporal_lpips import weighted_distance
from bench.registry import metric_class
from bench.video import colour
from bench.video.flow import dis_flow
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame
from bench.weights import files as weights

FORMATS = [
    VideoFormat(96, 80),
    VideoFormat(97, 83, chroma="444", bit_depth=10),
    VideoFormat(64, 33, chroma="gray", bit_depth=12),
    VideoFormat(64, 48, chroma="rgb"),
]


@pytest.fixture(scope="module")
def package() -> Any:
    """LPIPS of the package, with its own heads on AlexNet with seeded weights."""
    import lpips

    with warnings.catch_warnings():  # it calls torchvision by a name of its past
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()


@pytest.fixture(scope="module")
def _stand_in(package: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of weights whose AlexNet is that of the package."""
    folder = tmp_path_factory.mktemp("weights")
    state = {f"features.{name.split('.', 1)[1]}": tensor for name, tensor in package.net.state_dict().items()}
    torch.save(state, folder / "alexnet.pth")
    (folder / weights.MANIFEST).write_text(
        '[[weights]]\nname = "alexnet"\ntitle = "random stand-in"\nfile = "alexnet.pth"\nmade = "random numbers"\n'
        f'sha256 = "{file_digest(folder / "alexnet.pth")}"\nbytes = {(folder / "alexnet.pth").stat().st_size}\n'
        'licence = "none"\nsource = "random numbers"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(weights.ENVIRONMENT, str(folder))
        yield


pytestmark = pytest.mark.usefixtures("_stand_in")


def clip(fmt: VideoFormat, count: int, *, noise: float, seed: int = 0) -> list[Frame]:
    """A moving texture with noise that is anew in every frame."""
    rng = np.random.default_rng(7)
    plane = cv2.GaussianBlur(rng.normal(0, 1, (160, 200)), (0, 0), 2)
    plane = 40 + 170 * (plane - plane.min()) / np.ptp(plane)
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(count):
        planes = []
        for height, width in fmt.plane_shapes:
            view = plane[20 + index : 20 + index + height, 20 + 2 * index : 20 + 2 * index + width]
            noisy = view + noise * rng.normal(0, 1, view.shape)
            planes.append(np.rint(np.clip(noisy, 0, 255) / 255 * fmt.peak))
        frames.append(Frame.from_planes(fmt, planes))
    return frames


def run(name: str, source: list[Frame], decoded: list[Frame], folder: Path) -> Measurement:
    transform = CodingTransform(source[0].format, source[0].format)
    return measure(iter(source), iter(decoded), [metric_class(name)], transform, folder)[0]


def tensor(frame: Frame) -> torch.Tensor:
    """What the package takes: RGB from -1 to 1."""
    picture = colour.to_rgb(frame).astype(np.float32) / frame.format.peak
    return torch.from_numpy(picture.transpose(2, 0, 1)[None] * 2 - 1)


def distance(package: Any, a: Frame, b: Frame) -> float:
    with torch.inference_mode():
        return float(package(tensor(a), tensor(b)))


def weighted_by_hand(package: Any, a: Frame, b: Frame, difference: np.ndarray) -> float:
    """Maps of the package's layers, each averaged by hand with the length of the flow difference as weight."""
    import lpips

    total = 0.0
    with torch.inference_mode():
        maps = [package.net(package.scaling_layer(tensor(frame))) for frame in (a, b)]
        for layer, (x, y) in enumerate(zip(*maps, strict=True)):
            squares = (lpips.normalize_tensor(x) - lpips.normalize_tensor(y)) ** 2
            values = package.lins[layer](squares)[0, 0].double().numpy()
            rows, columns = (
                (np.arange(small) + 0.5) * large / small - 0.5
                for small, large in zip(values.shape, difference.shape, strict=False)
            )
            grid = np.meshgrid(rows, columns, indexing="ij")
            parts = [
                map_coordinates(difference[..., axis].astype(float), grid, order=1, mode="nearest") for axis in (0, 1)
            ]
            length = np.hypot(*parts)
            total += float((values * length).sum() / length.sum())
    return total


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.pix_fmt)
def test_tlpips_is_the_difference_of_the_packages_distances(package: Any, fmt: VideoFormat, tmp_path: Path) -> None:
    source, decoded = clip(fmt, 3, noise=0), clip(fmt, 3, noise=25)
    found = run("tlpips", source, decoded, tmp_path)
    assert found.frames[0] is None
    for index in (1, 2):
        parts = [distance(package, frames[index - 1], frames[index]) for frames in (decoded, source)]
        assert found.frames[index] == pytest.approx(abs(parts[0] - parts[1]), abs=1e-5 * max(parts))


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.pix_fmt)
def test_flolpips_is_the_mean_of_the_distances_weighted_both_ways(
    package: Any, fmt: VideoFormat, tmp_path: Path
) -> None:
    source, decoded = clip(fmt, 4, noise=0), clip(fmt, 4, noise=20)
    depth = fmt.bit_depth

    def difference(index: int, neighbour: int) -> np.ndarray:
        flows = [
            dis_flow(frames[index].planes[0], frames[neighbour].planes[0], bit_depth=depth)
            for frames in (decoded, source)
        ]
        return flows[0] - flows[1]

    def weighted(index: int, first: int, second: int) -> float:
        return weighted_by_hand(package, source[index], decoded[index], difference(first, second))

    found = run("flolpips", source, decoded, tmp_path)
    assert found.frames[0] is None
    assert found.frames[-1] is None
    for index in (1, 2):
        expected = (weighted(index, index, index + 1) + weighted(index, index, index - 1)) / 2
        assert found.frames[index] == pytest.approx(expected, rel=1e-5)
    forward = run("flolpips:forward", source, decoded, tmp_path)
    expected = [pytest.approx(weighted(index, index, index + 1), rel=1e-5) for index in range(3)]
    assert list(forward.frames) == [*expected, None]


def test_equal_weights_give_lpips(package: Any) -> None:
    from bench.networks.lpips import LpipsNetwork

    network = LpipsNetwork.get("alex")
    a, b = clip(FORMATS[0], 1, noise=0)[0], clip(FORMATS[0], 1, noise=20)[0]
    layers = network.layer_maps(network.features(a), network.features(b))
    for level in (0, 1e-3, 5):
        flow = np.full((80, 96, 2), level, np.float32)
        assert weighted_distance(layers, flow) == pytest.approx(distance(package, a, b), rel=1e-5)


@pytest.mark.parametrize("name", ["tlpips", "flolpips", "flolpips:forward"])
def test_the_source_itself_has_zero(name: str, tmp_path: Path) -> None:
    source = clip(FORMATS[0], 4, noise=2)
    assert run(name, source, clip(FORMATS[0], 4, noise=2), tmp_path).value == 0.0


@pytest.mark.parametrize(("name", "least"), [("tlpips", 2), ("flolpips", 3), ("flolpips:forward", 2)])
def test_too_few_frames_have_no_value(name: str, least: int, tmp_path: Path) -> None:
    source, decoded = clip(FORMATS[0], least, noise=2), clip(FORMATS[0], least, noise=9)
    assert run(name, source, decoded, tmp_path).status == "ok"
    assert run(name, source[:-1], decoded[:-1], tmp_path).status == "undefined"


def test_features_and_flows_of_the_source_are_worked_out_once(tmp_path: Path) -> None:
    source = clip(FORMATS[0], 3, noise=0)
    run("flolpips", source, clip(FORMATS[0], 3, noise=5), tmp_path)
    run("tlpips", source, clip(FORMATS[0], 3, noise=5), tmp_path)
    kept = [dict(frame._derived) for frame in source]
    for name in ("flolpips", "tlpips"):
        run(name, source, clip(FORMATS[0], 3, noise=9), tmp_path)
    for before, frame in zip(kept, source, strict=True):
        assert before.keys() == frame._derived.keys()
        assert all(before[key] is value for key, value in frame._derived.items())


@pytest.mark.parametrize("name", ["tlpips", "flolpips"])
def test_frames_too_small_are_undefined(name: str) -> None:
    with pytest.raises(MetricError, match="too small"):
        metric_class(name)(VideoFormat(64, 30))


def test_the_key_depends_on_the_weights() -> None:
    assert weights.sha256("alexnet") in str(metric_class("tlpips").identity())
    assert metric_class("flolpips").identity() != metric_class("flolpips:forward").identity()
