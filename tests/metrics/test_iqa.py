"""Metrics of pyiqa against pyiqa called by hand, and what is refused before it could go wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import FetchError, MetricError, UnavailableError, UnknownNameError, UsageError
from bench.metrics import iqa
from bench.metrics.base import FramePair, Metric
from bench.metrics.iqa import ClipIqa, Musiq, Pyiqa, download, needed_files
from bench.registry import metric_class
from bench.video.colour import rgb_of
from bench.video.formats import VideoFormat
from bench.video.frame import Frame, sample_dtype

pytestmark = pytest.mark.neural

EXECUTED: list[str] = []


class Trap:
    """An object whose unpickling is noticed."""

    def __reduce__(self) -> Any:
        return EXECUTED.append, ("sprung",)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small networks beside other work are several times as fast without threads that wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of torch, pyiqa and vcbench; the folder that pyiqa takes weights from."""
    import pyiqa.utils.download_util

    folder = tmp_path / "torch" / "hub" / "pyiqa"
    folder.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("VCBENCH_CACHE", str(tmp_path / "vcbench"))
    monkeypatch.setattr(pyiqa.utils.download_util, "DEFAULT_CACHE_DIR", str(folder))
    iqa._network.cache_clear()
    return folder


@pytest.fixture
def cnniqa(caches: Path) -> Path:
    """Seeded stand-in weights of pyiqa's smallest network, where it would have downloaded its own."""
    import torch
    from pyiqa.archs import cnniqa_arch

    torch.manual_seed(1)
    file = caches / Path(cnniqa_arch.default_model_urls["koniq10k"]).name
    torch.save({"params": cnniqa_arch.CNNIQA(pretrained=None).state_dict()}, file)
    return file


def frame(seed: int = 0, width: int = 96, height: int = 80, chroma: Any = "420", bit_depth: int = 8) -> Frame:
    fmt = VideoFormat(width, height, chroma, bit_depth)
    rng = np.random.default_rng(seed)
    low, high = fmt.peak // 4, fmt.peak // 4 * 3
    return Frame.from_planes(fmt, [rng.integers(low, high, shape).astype(sample_dtype(fmt))
                                   for shape in fmt.plane_shapes])  # fmt: skip


def tensor(of: Frame) -> Any:
    import torch

    planes = np.ascontiguousarray(np.moveaxis(rgb_of(of), 2, 0)[None], np.float32)
    return torch.from_numpy(planes / np.float32(of.format.peak))


def measured(name: str, source: Frame, decoded: Frame) -> float | None:
    kind = metric_class(name)
    kind.check()
    return kind(source.format).update(FramePair(0, source, decoded))


@pytest.mark.parametrize("model", ["psnr", "psnry", "ssim", "ssimc", "gmsd", "nlpd", "vsi", "fsim"])
def test_full_reference_metrics_without_weights_equal_pyiqas(model: str, caches: Path) -> None:
    import pyiqa

    source, decoded = frame(1), frame(2)
    by_hand = pyiqa.create_metric(model, device="cpu")(tensor(decoded), tensor(source)).item()
    assert measured(f"pyiqa:{model}", source, decoded) == by_hand
    assert list(caches.iterdir()) == []


@pytest.mark.parametrize(("chroma", "bit_depth"), [("420", 10), ("444", 12), ("gray", 8), ("rgb", 10), ("422", 8)])
def test_every_format_is_measured_as_rgb_with_white_1(chroma: Any, bit_depth: int, caches: Path) -> None:
    import pyiqa

    source, decoded = (frame(seed, 97, 81, chroma, bit_depth) for seed in (3, 4))
    by_hand = pyiqa.create_metric("psnr", device="cpu")(tensor(decoded), tensor(source)).item()
    assert measured("pyiqa:psnr", source, decoded) == by_hand


def test_order_of_the_pictures_is_pyiqas(caches: Path) -> None:
    """VIF is not symmetric: it counts what the decoded picture keeps of the source's contrast."""
    import pyiqa

    source = frame(1, chroma="gray")
    flatter = Frame.from_planes(source.format, [96 + plane // 4 for plane in source.planes])
    network = pyiqa.create_metric("vif", device="cpu")
    by_hand = network(tensor(flatter), tensor(source)).item()
    assert measured("pyiqa:vif", source, flatter) == by_hand
    assert abs(by_hand - network(tensor(source), tensor(flatter)).item()) > 0.1


def test_no_reference_metric_equals_pyiqas_with_the_same_weights(cnniqa: Path) -> None:
    import pyiqa

    files = download("cnniqa")
    source, decoded = frame(1), frame(2)
    network = pyiqa.create_metric("cnniqa", device="cpu")
    metric = metric_class("pyiqa:cnniqa")(source.format)
    assert metric.update(FramePair(0, source, decoded)) == network(tensor(decoded)).item()
    assert metric.pool([0.5])["source_mean"] == network(tensor(source)).item()
    assert [Path(file.path) for file in files] == [cnniqa]
    assert metric.provenance()["weights"] == [{"file": cnniqa.name, "sha256": files[0].sha256}]


@pytest.mark.slow
def test_musiq_equals_pyiqas_with_the_same_weights(caches: Path) -> None:
    import pyiqa
    import torch
    from pyiqa.archs import musiq_arch

    torch.manual_seed(2)
    file = caches / Path(musiq_arch.default_model_urls["koniq10k"]).name
    torch.save(musiq_arch.MUSIQ(pretrained=False).state_dict(), file)
    with pytest.raises(UnavailableError, match="run: vcbench fetch weights pyiqa:musiq"):
        Musiq.check()
    download("musiq")
    picture = frame(1, 176, 144)
    by_hand = pyiqa.create_metric("musiq", device="cpu")(tensor(picture)).item()
    assert Musiq(picture.format).score(picture) == by_hand


def test_nothing_is_downloaded_while_measuring(caches: Path) -> None:
    """Not even where the check was passed by: the network is refused where it would be used."""
    record = iqa._record("cnniqa")
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"pyiqa": iqa.version("pyiqa"), "files": []}))
    with pytest.raises(UnavailableError, match="a connection; run: vcbench fetch weights pyiqa:cnniqa"):
        measured("pyiqa:cnniqa", frame(1), frame(2))
    assert list(caches.iterdir()) == []


def test_file_that_is_not_on_record_is_not_used(cnniqa: Path) -> None:
    download("cnniqa")
    record = iqa._record("cnniqa")
    record.write_text(json.dumps({**json.loads(record.read_text()), "files": []}))
    with pytest.raises(UnavailableError, match=f"{cnniqa.name} is not on record"):
        measured("pyiqa:cnniqa", frame(1), frame(2))


def test_changed_file_is_not_used(cnniqa: Path) -> None:
    download("cnniqa")
    content = bytearray(cnniqa.read_bytes())
    content[-200] ^= 1
    cnniqa.write_bytes(content)
    metric_class("pyiqa:cnniqa").check()
    with pytest.raises(UnavailableError, match=f"{cnniqa.name} has changed"):
        measured("pyiqa:cnniqa", frame(1), frame(2))
    cnniqa.write_bytes(content[:-1])
    with pytest.raises(UnavailableError, match="has gone or changed"):
        needed_files("cnniqa")


def test_record_of_another_version_of_pyiqa_is_not_used(cnniqa: Path) -> None:
    download("cnniqa")
    record = iqa._record("cnniqa")
    record.write_text(json.dumps({**json.loads(record.read_text()), "pyiqa": "0.1.2"}))
    with pytest.raises(UnavailableError, match=r"made ready for pyiqa 0\.1\.2; run: vcbench fetch"):
        needed_files("cnniqa")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pyiqa": "1", "files": [{}]}', '{"pyiqa": "1", "files": 3}'])
def test_damaged_record_is_no_record(content: str, caches: Path) -> None:
    record = iqa._record("cnniqa")
    record.parent.mkdir(parents=True)
    record.write_text(content)
    with pytest.raises(UnavailableError, match="not made ready on this machine"):
        needed_files("cnniqa")


def test_weights_that_would_be_executed_are_refused(cnniqa: Path) -> None:
    import torch

    torch.save({"params": torch.load(cnniqa)["params"], "trap": Trap()}, cnniqa)
    with pytest.raises(FetchError, match="cannot be made ready by pyiqa"):
        download("cnniqa")
    assert EXECUTED == []
    assert not iqa._record("cnniqa").exists()


def test_random_weights_are_refused(cnniqa: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    monkeypatch.setitem(DEFAULT_CONFIGS["cnniqa"]["metric_opts"], "pretrained", None)
    with pytest.raises(FetchError, match="its weights are random"):
        download("cnniqa")


def test_output_that_is_not_one_number_is_undefined() -> None:
    import torch

    for output in (torch.zeros(2), (torch.zeros(1), torch.zeros(1)), {"quality": 1.0}):
        with pytest.raises(MetricError, match="does not have exactly one value per frame"):
            iqa._number(output, "fgresq_pair")


def test_declaration_is_pyiqas() -> None:
    lpips, musiq, gmsd = (metric_class(f"pyiqa:{model}") for model in ("lpips", "musiq", "gmsd"))
    assert (lpips.name, lpips.direction, lpips.bounds, lpips.fidelity) == ("pyiqa:lpips", "lower", (0, 1), True)
    assert (musiq.name, musiq.direction, musiq.bounds, musiq.fidelity) == ("pyiqa:musiq", "higher", (None, None), False)
    assert gmsd.bounds == (0, None)
    assert metric_class("pyiqa:fgresq_pair").bounds == (None, None)
    assert metric_class("pyiqa:lpips") is lpips


@pytest.mark.parametrize("kind", [ClipIqa, Musiq])
def test_names_of_our_own_are_the_same_metrics(kind: type[Pyiqa]) -> None:
    family: Any = metric_class(f"pyiqa:{kind.name}")
    assert metric_class(kind.name) is kind
    for attribute in ("direction", "bounds", "model", "fidelity", "shares_reference"):
        assert getattr(kind, attribute) == getattr(family, attribute), attribute


@pytest.mark.parametrize(
    ("model", "reason"),
    [("fid", "sets of pictures"), ("inception_score", "set of pictures"), ("clipscore", "a caption")],
)
def test_metrics_that_are_not_of_frames_are_refused(model: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        metric_class(f"pyiqa:{model}")


def test_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean musiq"):
        metric_class("pyiqa:musik")
    with pytest.raises(UsageError, match="name one, such as pyiqa:musiq"):
        metric_class("pyiqa")


def test_nothing_heavy_is_imported_to_list_and_check() -> None:
    program = """
import sys
from bench.errors import UnavailableError
from bench.registry import metric_class
for name in ("clipiqa", "musiq", "pyiqa:ssim", "pyiqa:topiq_nr"):
    kind = metric_class(name)
    try:
        kind.check()
        print(name, "ready")
    except UnavailableError as error:
        print(name, "vcbench fetch" in str(error) or "setuptools" in str(error))
    kind.identity()
print(sorted({"torch", "pyiqa", "numba", "scipy", "cv2"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["clipiqa True", "musiq True", "pyiqa:ssim ready", "pyiqa:topiq_nr True", "[]"]


def test_pyiqa_prints_nothing(cnniqa: Path, capfd: pytest.CaptureFixture[str]) -> None:
    download("cnniqa")
    measured("pyiqa:cnniqa", frame(1), frame(2))
    assert capfd.readouterr() == ("", "")


def test_hugging_faces_snapshots_count_as_read(caches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their tensors are mapped into memory without Python, which sees no more than the name of the snapshot."""
    from huggingface_hub import constants

    model = tmp_path / "hub" / "models--timm--resnet"
    for snapshot in ("old", "new"):
        (model / "snapshots" / snapshot).mkdir(parents=True)
        (model / "snapshots" / snapshot / "model.safetensors").write_bytes(b"")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("new")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (caches / "head.pth").write_bytes(b"")
    opened = [model / "refs" / "main", caches / "head.pth", caches / "gone.partial", tmp_path / "elsewhere"]
    assert iqa._from_caches(opened) == [model / "snapshots" / "new" / "model.safetensors", caches / "head.pth"]


def test_identity_has_the_version_and_the_weights(cnniqa: Path) -> None:
    kind: type[Metric] = metric_class("pyiqa:cnniqa")
    assert kind.identity() == {"name": "pyiqa:cnniqa", "version": 1, "pyiqa": None, "weights": None}
    (file,) = download("cnniqa")
    assert kind.identity() == {"name": "pyiqa:cnniqa", "version": 1, "pyiqa": iqa.version("pyiqa"),
                               "weights": [{"file": cnniqa.name, "sha256": file.sha256}]}  # fmt: skip
    assert metric_class("pyiqa:psnr").identity()["weights"] == []
    assert download("psnr") == []


def test_the_fetch_command_makes_a_metric_ready(cnniqa: Path, tmp_path: Path) -> None:
    from bench.engine.fetch_weights import FetchedWeights, fetch_weights

    with pytest.raises(UnavailableError, match="vcbench fetch weights pyiqa:cnniqa"):
        metric_class("pyiqa:cnniqa").check()
    (first,) = fetch_weights(["pyiqa:cnniqa"])
    (file,) = needed_files("cnniqa")
    assert first == FetchedWeights("pyiqa:cnniqa", Path(file.path), file.sha256, "downloaded")
    metric_class("pyiqa:cnniqa").check()
    assert [found.status for found in fetch_weights(["pyiqa:cnniqa"])] == ["present"]
    with pytest.raises(UsageError, match="caches of its own"):
        fetch_weights(["pyiqa:cnniqa"], folder=tmp_path / "usb")
    with pytest.raises(UnknownNameError, match="cnniqa"):
        fetch_weights(["pyiqa:cnniqua"])
