"""Metrics of libvmaf: their values are FFmpeg's own, their model is said, and what they cannot take has a reason."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.engine.measure import measure
from bench.errors import MetricError, UnknownNameError
from bench.metrics.base import EncodedAs, Measurement
from bench.metrics.libvmaf import VIEWINGS
from bench.registry import metric_class
from bench.video import ffmpeg, y4m
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame

CIF = VideoFormat(352, 288)

AOM_LOG = {
    "psnr_y:aom": "psnr_y", "psnr_u:aom": "psnr_cb", "psnr_v:aom": "psnr_cr", "ssim:aom": "float_ssim",
    "ms_ssim:aom": "float_ms_ssim", "psnr_hvs": "psnr_hvs", "ciede2000": "ciede2000", "cambi": "cambi", "vmaf": "vmaf",
    "vmaf_neg": "vmaf_neg", "vmaf:phone": "phone", "vmaf:4k": "k4", "vmaf_neg:4k": "k4neg",
}  # fmt: skip
AVERAGES = {"psnr_y:apsnr": "apsnr_y", "psnr_u:apsnr": "apsnr_cb", "psnr_v:apsnr": "apsnr_cr"}


def clips(fmt: VideoFormat, *noises: float) -> tuple[list[Frame], list[Frame]]:
    """Smooth moving frames and noisy copies of them; noise as a share of the peak."""
    rng = np.random.default_rng(7)
    source, decoded = [], []
    for index, noise in enumerate(noises):
        planes, noisy = [], []
        for height, width in fmt.plane_shapes:
            y, x = np.mgrid[:height, :width]
            plane = 0.5 + 0.2 * np.sin((x + 3 * index) / 9) * np.cos(y / 13) + 0.1 * np.sin(x * y / 900)
            planes.append(np.rint(plane * fmt.peak))
            noisy.append(np.rint((plane + noise * rng.standard_normal(plane.shape)).clip(0, 1) * fmt.peak))
        source.append(Frame.from_planes(fmt, planes))
        decoded.append(Frame.from_planes(fmt, noisy))
    return source, decoded


def ours(
    names: Iterable[str], source: list[Frame], decoded: list[Frame], folder: Path, **how: Any
) -> dict[str, Measurement]:
    fmt = source[0].format
    kinds = [metric_class(name) for name in names]
    found = measure(iter(source), iter(decoded), kinds, CodingTransform(fmt, fmt), folder, **how)
    return {item.metric: item for item in found}


def by_ffmpeg(source: list[Frame], decoded: list[Frame], options: str, folder: Path) -> dict[str, Any]:
    """libvmaf's log for two files that FFmpeg reads itself."""
    for name, frames in (("a", source), ("b", decoded)):
        samples = b"".join(b"FRAME\n" + frame.data.tobytes() for frame in frames)
        (folder / f"{name}.y4m").write_bytes(y4m.header_line(frames[0].format) + samples)
    graph = f"[0:v][1:v]libvmaf={options}:log_fmt=json:log_path=direct.json"
    argv = [ffmpeg.executable(), "-v", "error", "-i", "b.y4m", "-i", "a.y4m", "-lavfi", graph, "-f", "null", "-"]
    subprocess.run(argv, cwd=folder, check=True)
    return dict(json.loads((folder / "direct.json").read_text()))


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_aoms_set_equals_ffmpegs_own(tmp_path: Path, bit_depth: int) -> None:
    """The filter's options are those of libvmaf's --aom_ctc v7.0."""
    source, decoded = clips(VideoFormat(224, 176, bit_depth=bit_depth), 0.01, 0.0, 0.1)
    models = (
        "version=vmaf_v0.6.1\\:name=vmaf|version=vmaf_v0.6.1neg\\:name=vmaf_neg|version=vmaf_4k_v0.6.1\\:name=k4|"
        "version=vmaf_4k_v0.6.1neg\\:name=k4neg|version=vmaf_v0.6.1\\:enable_transform=true\\:name=phone"
    )
    features = (
        "name=psnr\\:reduced_hbd_peak=true\\:enable_apsnr=true\\:min_sse=0.5|name=ciede|name=psnr_hvs|name=cambi|"
        "name=float_ssim\\:scale=1\\:enable_db=true\\:clip_db=true|name=float_ms_ssim\\:enable_db=true\\:clip_db=true"
    )
    log = by_ffmpeg(source, decoded, f"model='{models}':feature='{features}'", tmp_path)
    found = ours([*AOM_LOG, *AVERAGES, "psnr_yuv:aom", "psnr_yuv:apsnr"], source, decoded, tmp_path)
    for name, key in AOM_LOG.items():
        expected = [frame["metrics"][key] for frame in log["frames"]]
        expected = [math.inf if value is None else value for value in expected]
        assert found[name].frames == pytest.approx(expected, abs=1e-6), name
    for name, key in AVERAGES.items():
        assert found[name].value == pytest.approx(log["aggregate_metrics"][key], abs=1e-6)
    for name in ("aom", "apsnr"):
        y, u, v = (found[f"psnr_{plane}:{name}"].value or 0.0 for plane in "yuv")
        assert found[f"psnr_yuv:{name}"].value == pytest.approx((14 * y + u + v) / 16)


@pytest.mark.parametrize(("chroma", "weights"), [("422", (8, 1, 1)), ("444", (4, 1, 1))])
def test_aoms_weights_follow_the_chroma_format(tmp_path: Path, chroma: Any, weights: tuple[int, ...]) -> None:
    source, decoded = clips(VideoFormat(32, 32, chroma), 0.01, 0.1)
    found = ours([f"psnr_{plane}:apsnr" for plane in ("y", "u", "v", "yuv")], source, decoded, tmp_path)
    planes = [found[f"psnr_{plane}:apsnr"].value or 0.0 for plane in "yuv"]
    expected = sum(w * plane for w, plane in zip(weights, planes, strict=True)) / sum(weights)
    assert found["psnr_yuv:apsnr"].value == pytest.approx(expected)


def test_vmaf_v1_equals_ffmpegs_own(tmp_path: Path) -> None:
    """Four displays, each with its model for high frame rates, on 4:4:4, which the smallest pictures may be."""
    source, decoded = clips(VideoFormat(240, 180, "444"), 0.02, 0.02, 0.05, 0.02)
    wanted = {
        f"vmaf_v1:{display}{':hfr' * fast}": f"vmaf_v1.0.16_{'hfr_' * fast}{viewing.suffix}"
        for display, viewing in VIEWINGS.items()
        for fast in (False, True)
    }
    models = "|".join(f"version={model}\\:name=m{number}" for number, model in enumerate(wanted.values()))
    log = by_ffmpeg(source, decoded, f"model='{models}'", tmp_path)
    found = ours([*wanted, "vmaf_v1"], source, decoded, tmp_path)
    for number, (name, model) in enumerate(wanted.items()):
        expected = [frame["metrics"][f"m{number}"] for frame in log["frames"]]
        assert found[name].frames == pytest.approx(expected, abs=1e-6), name
        assert found[name].provenance["model"] == model
    assert found["vmaf_v1"].frames == found["vmaf_v1:3h"].frames
    assert len({item.value for item in found.values()}) > 6


@pytest.mark.parametrize(
    ("size", "fps", "model"),
    [
        ((352, 288), 30, "3d0h"),
        ((2560, 1440), 24, "3d0h"),
        ((1920, 1080), 50, "hfr_3d0h"),
        ((3840, 2160), 30, "1d5h_2160"),
        ((3840, 1600), 60, "hfr_1d5h_2160"),
    ],
)
def test_the_model_of_vmaf_v1_follows_the_clip_and_is_said(size: tuple[int, int], fps: int, model: str) -> None:
    told = metric_class("vmaf_v1")(VideoFormat(*size, fps=Fraction(fps))).provenance()
    assert told["model"] == f"vmaf_v1.0.16_{model}"
    assert told["chosen_by"] == f"{size[0]}x{size[1]} at {fps} frames per second"


def test_cambi_is_told_what_was_encoded(tmp_path: Path) -> None:
    """Steps of 8 bit, measured at 10, are banding; told so, CAMBI takes them for what they are."""
    ramp = np.tile(np.rint(60 + np.arange(CIF.width) / 12), (CIF.height, 1))
    source = [Frame.from_planes(CIF, [ramp, *(np.full((144, 176), 128.0),) * 2])] * 2
    deep = [Frame(replace(CIF, bit_depth=10), frame.data.astype("<u2") << 2) for frame in source]
    names = ("cambi", "vmaf_v1")
    plain, told, small = (
        ours(names, deep, deep, tmp_path, encoded=encoded)
        for encoded in (None, EncodedAs(352, 288, 8), EncodedAs(240, 180, 8))
    )
    at_8_bit = ours(names, source, source, tmp_path)
    for name in names:
        assert told[name].value == pytest.approx(at_8_bit[name].value, abs=1e-4)
        assert told[name].provenance["encoded"] == "352x288, 8 bit"
    assert len({found["cambi"].value for found in (plain, told, small)}) == 3
    tiny = ours(["cambi"], deep, deep, tmp_path, encoded=EncodedAs(160, 120, 8))["cambi"]
    assert tiny.value == told["cambi"].value
    assert "smaller than CAMBI takes" in tiny.provenance["encoded"]


@pytest.mark.parametrize(
    ("name", "fmt"),
    [
        ("cambi", VideoFormat(208, 176)),
        ("vmaf_v1", VideoFormat(320, 158)),
        ("vmaf_v1:2160-3h", VideoFormat(352, 288)),
        ("vmaf_v1:phone", VideoFormat(320, 264)),
        ("ms_ssim:aom", VideoFormat(320, 175)),
        ("psnr_hvs", VideoFormat(64, 64, bit_depth=14)),
        ("ciede2000", VideoFormat(64, 64, "gray")),
    ],
)
def test_what_libvmaf_would_end_on_has_a_reason(name: str, fmt: VideoFormat) -> None:
    with pytest.raises(MetricError, match=name):
        metric_class(name)(fmt)


@pytest.mark.parametrize("name", ["vmaf:8k", "vmaf_v1:hfr", "vmaf_v1:3h:phone", "cambi:fast"])
def test_an_unknown_model_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError):
        metric_class(name)
