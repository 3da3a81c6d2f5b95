"""PSNR, SSIM and MS-SSIM of whole frames in every format and under every convention, against other implementations."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bench.errors import MetricError, UnknownNameError
from bench.metrics import dcvc
from bench.metrics.base import FramePair, Metric, conclude
from bench.metrics.kernels import MS_SSIM_WEIGHTS
from bench.registry import metric_class
from bench.video import colour, ffmpeg
from bench.video.formats import VideoFormat
from bench.video.frame import Frame, sample_dtype

NAMES = ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "psnr_rgb", "ssim", "ms_ssim")
# of AOM's, those of chroma are those of luma on other planes
VARIANTS = tuple(
    f"{name}:{option}"
    for name in NAMES
    for option in metric_class(name).variants
    if name not in {"psnr_u", "psnr_v"} or option not in {"aom", "apsnr"}
)
CHROMAS = ("gray", "420", "422", "444", "rgb")


def fresh(name: str, fmt: VideoFormat) -> Any:
    return metric_class(name)(fmt)


def picture(shape: tuple[int, int], peak: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth structure and grain over most of the range."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    phase = rng.uniform(0, 6, 3)
    waves = np.sin(x / 9 + phase[0]) + np.cos(y / 5 + phase[1]) + np.sin((x + 2 * y) / 31 + phase[2])
    return (waves + rng.normal(0, 0.2, shape) + 3.6) / 7.2 * peak


def quantised(planes: list[np.ndarray], fmt: VideoFormat) -> Frame:
    return Frame.from_planes(fmt, [np.clip(np.rint(plane), 0, fmt.peak).astype(sample_dtype(fmt)) for plane in planes])


def pair_of(fmt: VideoFormat, *, noise: float = 0.02, seed: int = 1, index: int = 0) -> FramePair:
    """A synthetic frame and a noisy copy; noise in parts of the peak."""
    rng = np.random.default_rng([seed, index])
    planes = [picture(shape, fmt.peak, rng) for shape in fmt.plane_shapes]
    reference = quantised(planes, fmt)
    noisy = [plane + rng.normal(0, noise * fmt.peak, plane.shape) for plane in reference.planes]
    return FramePair(index, reference, quantised(noisy, fmt))


def identical(fmt: VideoFormat) -> FramePair:
    frame = pair_of(fmt).reference
    return FramePair(0, frame, Frame(fmt, frame.data.copy(), frame.rgb))


def measured(name: str, pairs: list[FramePair]) -> Any:
    metric = fresh(name, pairs[0].reference.format)
    return conclude(metric, [metric.update(pair) for pair in pairs])


def summaries(pairs: list[FramePair], folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """What FFmpeg's psnr and ssim filters print in the end, by plane (lower case)."""
    fmt = pairs[0].reference.format
    for name, frames in (("a", [pair.reference for pair in pairs]), ("b", [pair.distorted for pair in pairs])):
        (folder / name).write_bytes(b"".join(frame.data.tobytes() for frame in frames))
    raw = ["-f", "rawvideo", "-pix_fmt", fmt.pix_fmt, "-s", f"{fmt.width}x{fmt.height}"]
    graph = "[0]split[b1][b2];[1]split[a1][a2];[b1][a1]psnr[x];[b2][a2]ssim[y];[x][y]hstack"
    command = [ffmpeg.executable(), "-hide_banner", "-nostdin", *raw, "-i", "b", *raw, "-i", "a", "-lavfi", graph]
    done = subprocess.run([*command, "-f", "null", "-"], cwd=folder, check=True, capture_output=True, text=True)
    assert "auto_scale" not in done.stderr
    lines = [re.search(rf"{kind} (\w:.*)", done.stderr) for kind in ("PSNR", "SSIM")]
    psnr, ssim = (
        {plane.lower(): float(value) for plane, value in re.findall(r"(\w+):(-?[\d.]+|inf)", line[1])}
        for line in lines
        if line is not None
    )
    return psnr, ssim


@pytest.mark.parametrize("bit_depth", [8, 10, 12])
@pytest.mark.parametrize("chroma", CHROMAS)
def test_ffmpegs_conventions_equal_its_filters(tmp_path: Path, chroma: Any, bit_depth: int) -> None:
    """Three frames of unlike quality and odd size, so that the ways of pooling and of weighting differ."""
    fmt = VideoFormat(99, 77, chroma, bit_depth)
    pairs = [pair_of(fmt, noise=noise, index=index) for index, noise in enumerate((0.01, 0.03, 0.1))]
    psnr, ssim = summaries(pairs, tmp_path)
    assert measured("psnr_yuv:ffmpeg", pairs).value == pytest.approx(psnr["average"], abs=1e-6)
    assert measured("ssim:ffmpeg", pairs).value == pytest.approx(ssim["all"], abs=2e-6)
    for plane in set(psnr) & set("yuv"):
        assert measured(f"psnr_{plane}:ffmpeg", pairs).value == pytest.approx(psnr[plane], abs=1e-6)
    if chroma == "rgb":
        assert measured("psnr_rgb", pairs).pooled["from_mean_mse"] == pytest.approx(psnr["average"], abs=1e-6)


def test_ssim_over_boxes_of_ffmpeg_holds_on_flat_and_inverted_frames(tmp_path: Path) -> None:
    fmt = VideoFormat(64, 48, "gray", 12)
    ramp = picture((48, 64), fmt.peak, np.random.default_rng(2))
    for first, second in ((np.zeros((48, 64)), np.full((48, 64), 4095.0)), (ramp, 4095 - ramp)):
        pairs = [FramePair(0, quantised([first], fmt), quantised([second], fmt))]
        assert measured("ssim:ffmpeg", pairs).value == pytest.approx(summaries(pairs, tmp_path)[1]["all"], abs=2e-6)


@pytest.mark.parametrize("bit_depth", [8, 10, 12, 16])
@pytest.mark.parametrize("chroma", ["gray", "420", "422", "444"])
def test_psnr_of_planes_equals_scikit_image(chroma: Any, bit_depth: int) -> None:
    fmt = VideoFormat(51, 33, chroma, bit_depth)
    pair = pair_of(fmt)
    for name, a, b in zip("yuv", pair.reference.planes, pair.distorted.planes, strict=False):
        expected = peak_signal_noise_ratio(a, b, data_range=fmt.peak)
        assert fresh(f"psnr_{name}", fmt).update(pair) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("bit_depth", [8, 10, 12])
def test_rgb_of_rgb_equals_scikit_image(bit_depth: int) -> None:
    fmt = VideoFormat(101, 67, "rgb", bit_depth)
    pair = pair_of(fmt)
    green, blue, red = (np.dstack(planes) for planes in zip(pair.reference.planes, pair.distorted.planes, strict=True))
    a, b = np.dstack([red[..., 0], green[..., 0], blue[..., 0]]), np.dstack([red[..., 1], green[..., 1], blue[..., 1]])
    assert fresh("psnr_rgb", fmt).update(pair) == pytest.approx(
        peak_signal_noise_ratio(a, b, data_range=fmt.peak), abs=1e-9
    )
    _, full = structural_similarity(
        a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=fmt.peak,
        full=True,
    )  # fmt: skip
    assert fresh("ssim:rgb", fmt).update(pair) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-6)


@pytest.mark.neural
@pytest.mark.parametrize("fmt", [VideoFormat(353, 181), VideoFormat(192, 176, "444", 10)], ids=["420", "444 10 bit"])
def test_rgb_equals_pytorch_msssim(fmt: VideoFormat) -> None:
    import pytorch_msssim
    import torch

    pair = pair_of(fmt)
    x, y = (torch.tensor(rgb.transpose(2, 0, 1)[None].astype(np.float64)) for rgb in pair.rgb)
    theirs = pytorch_msssim.ms_ssim(x, y, data_range=fmt.peak).item()
    assert fresh("ms_ssim:rgb", fmt).update(pair) == pytest.approx(theirs, abs=1e-6)
    theirs = pytorch_msssim.ssim(x, y, data_range=fmt.peak).item()
    assert fresh("ssim:rgb", fmt).update(pair) == pytest.approx(theirs, abs=1e-6)


def test_ms_ssim_of_libvmaf_differs_by_its_low_pass_alone(tmp_path: Path) -> None:
    """libvmaf's float_ms_ssim shrinks with a 9-tap low-pass instead of means: near, and in the same order."""
    fmt = VideoFormat(352, 288, "gray")
    pairs = [pair_of(fmt, noise=noise, index=index) for index, noise in enumerate((0.01, 0.04, 0.1))]
    for name, frames in (("a", [pair.reference for pair in pairs]), ("b", [pair.distorted for pair in pairs])):
        (tmp_path / name).write_bytes(b"".join(frame.data.tobytes() + bytes([128]) * 50688 for frame in frames))
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "352x288"]
    graph = "libvmaf=feature=name=float_ms_ssim|name=float_ssim:log_fmt=json:log_path=log.json"
    command = [*ffmpeg.base_command(), *raw, "-i", "b", *raw, "-i", "a", "-lavfi", graph, "-f", "null", "-"]
    subprocess.run(command, cwd=tmp_path, check=True)
    theirs = [frame["metrics"] for frame in json.loads((tmp_path / "log.json").read_text())["frames"]]
    multi_scale = measured("ms_ssim", pairs).frames
    assert multi_scale == pytest.approx([frame["float_ms_ssim"] for frame in theirs], abs=1e-2)
    assert list(multi_scale) == sorted(multi_scale, reverse=True)
    assert measured("ssim", pairs).frames == pytest.approx([frame["float_ssim"] for frame in theirs], abs=3e-4)


def dcvc_rgb_by_definition(frame: Frame) -> np.ndarray:
    """Full-range BT.709 with chroma centred on one half, chroma by scipy's zoom, before rounding; in float64."""
    fmt = frame.format
    y, cb, cr = (plane / fmt.peak for plane in frame.planes)
    if cb.shape != y.shape:
        cb, cr = (ndimage.zoom(c, [a / b for a, b in zip(y.shape, c.shape, strict=True)], order=1) for c in (cb, cr))
    red, blue = y + 1.5748 * (cr - 0.5), y + 1.8556 * (cb - 0.5)
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    return np.clip(np.dstack([red, green, blue]), 0, 1) * fmt.peak


@pytest.mark.parametrize("bit_depth", [8, 10, 12])
@pytest.mark.parametrize(
    ("chroma", "size"), [("420", (64, 48)), ("420", (63, 47)), ("422", (64, 47)), ("444", (33, 20)), ("420", (1, 1))]
)
def test_dcvcs_rgb_by_its_definition(chroma: Any, size: tuple[int, int], bit_depth: int) -> None:
    fmt = VideoFormat(*size, chroma, bit_depth)
    frame = pair_of(fmt).reference
    found = dcvc.to_rgb(frame)
    assert (found.shape, found.dtype) == ((*size[::-1], 3), sample_dtype(fmt))
    # half a step and what float32 adds to it
    assert np.abs(found - dcvc_rgb_by_definition(frame)).max() <= 0.5 + 1e-6 * fmt.peak


def test_dcvcs_psnr_of_rgb_is_that_of_its_pictures() -> None:
    fmt = VideoFormat(64, 48, bit_depth=10)
    pair = pair_of(fmt)
    a, b = (np.rint(dcvc_rgb_by_definition(frame)) for frame in (pair.reference, pair.distorted))
    expected = peak_signal_noise_ratio(a, b, data_range=1023)
    assert fresh("psnr_rgb:dcvc", fmt).update(pair) == pytest.approx(expected, abs=1e-3)


def test_limited_range_taken_for_full_moves_psnr_by_as_much_as_known() -> None:
    """DCVC stretches nothing: 20 log10(255/219) = 1.32 dB more than the clip's own range gives."""
    pair = pair_of(VideoFormat(96, 64, "444"), noise=0.05)
    grey = [Frame.from_planes(f.format, [f.planes[0] // 2 + 64, *[np.full_like(f.planes[0], 128)] * 2])
            for f in (pair.reference, pair.distorted)]  # fmt: skip
    pair = FramePair(0, *grey)
    fmt = pair.reference.format
    gap = fresh("psnr_rgb:dcvc", fmt).update(pair) - fresh("psnr_rgb", fmt).update(pair)
    assert gap == pytest.approx(20 * math.log10(255 / 219), abs=0.05)


def test_a_natively_rgb_source_keeps_its_pictures_under_dcvcs_convention() -> None:
    fmt = VideoFormat(32, 32, "444", full_range=True)
    rgb = np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    source = colour.from_rgb(rgb, fmt)
    pair = FramePair(0, source, Frame(fmt, source.data))
    assert fresh("psnr_rgb:dcvc", fmt).update(pair) == fresh("psnr_rgb", fmt).update(pair) > 50


def ms_ssim_by_dcvcs_definition(a: np.ndarray, b: np.ndarray, peak: int) -> float:
    """HM's and DCVC's MS-SSIM in float64: a two-dimensional window, scales by a reflected 2x2 mean."""
    offset = np.arange(-5, 6)
    line = np.exp(-(offset**2) / 4.5)
    window = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2

    def blur(plane: np.ndarray) -> np.ndarray:
        return ndimage.convolve(plane, window)[5:-5, 5:-5]

    x, y = a.astype(float), b.astype(float)
    weights = MS_SSIM_WEIGHTS[4 if min(a.shape) < 176 else 5]
    value = 1.0
    for scale, weight in enumerate(weights):
        mean_x, mean_y = blur(x), blur(y)
        variances = blur(x * x) + blur(y * y) - mean_x**2 - mean_y**2
        term = (2 * (blur(x * y) - mean_x * mean_y) + c2) / (variances + c2)
        if scale == len(weights) - 1:
            term *= (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        value *= term.mean() ** weight
        x, y = (ndimage.convolve(plane, np.full((2, 2), 0.25))[::2, ::2] for plane in (x, y))
    return value


@pytest.mark.parametrize(
    "fmt", [VideoFormat(352, 288), VideoFormat(191, 181, "444", 10), VideoFormat(195, 177, "422", 12)], ids=repr
)
def test_ms_ssim_by_dcvcs_definition(fmt: VideoFormat) -> None:
    pair = pair_of(fmt)
    y, u, v = (
        ms_ssim_by_dcvcs_definition(a, b, fmt.peak)
        for a, b in zip(pair.reference.planes, pair.distorted.planes, strict=True)
    )
    assert fresh("ms_ssim:dcvc", fmt).update(pair) == pytest.approx((6 * y + u + v) / 8, abs=1e-6)
    channels = [
        ms_ssim_by_dcvcs_definition(a, b, fmt.peak)
        for a, b in zip(*(np.moveaxis(rgb, 2, 0) for rgb in dcvc.rgb_pair(pair)), strict=True)
    ]
    assert fresh("ms_ssim:rgb:dcvc", fmt).update(pair) == pytest.approx(np.mean(channels), abs=1e-6)


def test_dcvc_counts_each_lossless_plane_as_its_cap() -> None:
    fmt = VideoFormat(16, 16)
    pair = pair_of(fmt)
    chroma_kept = [pair.distorted.planes[0], *pair.reference.planes[1:]]
    pair = FramePair(0, pair.reference, Frame.from_planes(fmt, chroma_kept))
    luma = fresh("psnr_y", fmt).update(pair)
    assert fresh("psnr_yuv", fmt).update(pair) == math.inf
    assert fresh("psnr_yuv:dcvc", fmt).update(pair) == pytest.approx((6 * luma + 2 * 99.9) / 8)
    assert fresh("psnr_u:dcvc", fmt).update(pair) == 99.9


def test_the_ways_of_pooling_stand_behind_their_names() -> None:
    """Frames of MSE 1, 4 and 0 by hand."""
    fmt = VideoFormat(8, 8, "gray")
    flat = [quantised([np.full((8, 8), 100.0 + step)], fmt) for step in (0, 1, 2)]
    pairs = [FramePair(index, flat[0], flat[step]) for index, step in enumerate((1, 2, 0))]
    one, four = (20 * math.log10(255 / error) for error in (1, 2))
    assert measured("psnr_y", pairs).value == math.inf
    assert measured("psnr_y:dcvc", pairs).value == pytest.approx((one + four + 99.9) / 3)
    by_ffmpeg = measured("psnr_y:ffmpeg", pairs)
    assert by_ffmpeg.value == pytest.approx(10 * math.log10(255**2 / (5 / 3)))
    assert by_ffmpeg.provenance["pooling"] == "from_mean_mse"
    assert measured("psnr_y:dcvc", pairs).provenance == {"peak": 255, "ceiling": 99.9, "pooling": "mean"}


def test_a_mean_of_decibels_has_no_mean_error() -> None:
    pairs = [pair_of(VideoFormat(16, 16))]
    assert "from_mean_mse" not in measured("psnr_yuv", pairs).pooled
    assert "from_mean_mse" not in measured("psnr_y:dcvc", pairs).pooled
    by_ffmpeg = measured("psnr_yuv:ffmpeg", pairs).pooled
    assert "from_mean_mse" in by_ffmpeg
    assert "mean_capped" not in by_ffmpeg


@pytest.mark.parametrize("bit_depth", [8, 12])
@pytest.mark.parametrize("chroma", CHROMAS)
@pytest.mark.parametrize("name", NAMES + VARIANTS)
def test_every_convention_in_every_format(name: str, chroma: Any, bit_depth: int) -> None:
    """A value within its bounds that falls with the noise, the best value for identical frames, or a reason."""
    fmt = VideoFormat(179, 177, chroma, bit_depth)
    kind = metric_class(name)
    luma_alone = name.partition(":")[0] in {"psnr_y", "ssim", "ms_ssim"} and name != "ms_ssim:dcvc"
    if ("rgb" not in name and name not in {"psnr_yuv:ffmpeg", "ssim:ffmpeg"}) and (
        chroma == "rgb" or (chroma == "gray" and not luma_alone)
    ):
        with pytest.raises(MetricError, match="grey" if chroma == "gray" else "RGB sequence has no luma"):
            kind(fmt)
        return
    if name == "ms_ssim:dcvc" and chroma == "420":
        assert fresh(name, fmt).provenance()["scales"] == [5, 4, 4]
    best = fresh(name, fmt).update(identical(fmt))
    if name.endswith(("aom", "apsnr")):
        assert math.isfinite(best)
    else:
        assert best == {"psnr": 99.9 if "dcvc" in name else math.inf}.get(name[:4], 1.0)
    light, heavy = (fresh(name, fmt).update(pair_of(fmt, noise=noise)) for noise in (0.01, 0.1))
    low, high = kind.bounds
    assert (low or 0) < heavy < light < best
    assert high is None or light < high


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 2), (7, 9), (10, 10), (12, 88)])
@pytest.mark.parametrize("chroma", ["420", "444"])
def test_tiny_frames_have_a_value_or_a_reason(size: tuple[int, int], chroma: Any) -> None:
    fmt = VideoFormat(*size, chroma)
    for name in NAMES + VARIANTS:
        try:
            metric = fresh(name, fmt)
        except MetricError as error:
            assert re.search(rf"{name}: .*\d+x\d+", str(error))
            assert "ssim" in name
        else:
            assert metric.update(pair_of(fmt, noise=0.2)) > -1, name


@pytest.mark.parametrize(
    ("name", "size", "chroma", "fits"),
    [
        ("ms_ssim", (88, 300), "420", True),
        ("ms_ssim", (87, 300), "420", False),
        ("ms_ssim:rgb", (88, 300), "420", True),
        ("ms_ssim:dcvc", (175, 300), "420", True),
        ("ms_ssim:dcvc", (174, 300), "420", False),
        ("ms_ssim:dcvc", (88, 300), "444", True),
        ("ssim", (11, 11), "420", True),
        ("ssim", (10, 99), "420", False),
        ("ssim:ffmpeg", (15, 15), "420", True),
        ("ssim:ffmpeg", (14, 99), "420", False),
    ],
)
def test_the_smallest_sizes_are_those_of_every_plane(name: str, size: tuple[int, int], chroma: Any, fits: bool) -> None:
    fmt = VideoFormat(*size, chroma)
    if fits:
        assert fresh(name, fmt).update(identical(fmt)) == 1
    else:
        with pytest.raises(MetricError, match="small"):
            fresh(name, fmt)


def test_extremes_of_12_bit() -> None:
    fmt = VideoFormat(176, 176, "444", 12)
    black, white = (Frame(fmt, np.full(fmt.samples_per_frame, value, "<u2")) for value in (0, 4095))
    pair = FramePair(0, black, white)
    assert fresh("psnr_y", fmt).update(pair) == 0
    assert fresh("psnr_yuv:ffmpeg", fmt).update(pair) == 0
    # without structure: c1 / (peak² + c1); FFmpeg's c1 is 64 times as small
    assert fresh("ssim", fmt).update(pair) == pytest.approx(1e-4 / (1 + 1e-4), abs=1e-6)
    assert fresh("ssim:ffmpeg", fmt).update(pair) == pytest.approx(1e-4 / 64, abs=1e-9)
    expected = (1e-4 / (1 + 1e-4)) ** MS_SSIM_WEIGHTS[5][-1]
    assert fresh("ms_ssim", fmt).update(pair) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_convention_is_a_metric_of_its_own(name: str) -> None:
    kind = metric_class(name)
    plain = metric_class(name.partition(":")[0])
    assert issubclass(kind, plain)
    assert kind is metric_class(name)
    assert (kind.name, kind.direction, kind.unit) == (name, plain.direction, plain.unit)
    assert kind.identity() != plain.identity()
    assert kind.title == plain.variants[name.partition(":")[2]] != plain.title
    assert kind.variants == {}


@pytest.mark.parametrize("name", ["psnr_y:dvcv", "ms_ssim:dcvc:rgb", "psnr_y:", "psnr_y:dcvc:ffmpeg"])
def test_an_unknown_convention_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown variant of"):
        metric_class(name)


def test_work_is_shared_over_metrics_and_rate_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """SSIM and MS-SSIM come from one pass, and the source's RGB is made once for all rate points."""
    fmt = VideoFormat(176, 176)
    first = pair_of(fmt)
    second = FramePair(0, first.reference, pair_of(fmt, noise=0.1).distorted)
    assert dcvc.rgb_pair(first)[0] is dcvc.rgb_pair(second)[0]
    calls: list[object] = []
    counted: Callable[..., Any] = first.derived
    monkeypatch.setattr(first, "derived", lambda key, make: counted(key, lambda: [calls.append(key), make()][1]))
    metrics: list[Metric] = [fresh(name, fmt) for name in ("ssim", "ms_ssim")]
    assert all(metric.update(first) is not None for metric in metrics)
    assert len(calls) == 1
