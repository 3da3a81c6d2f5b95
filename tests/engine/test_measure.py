"""The measuring pass against FFmpeg's own filters on the same decoded frames."""

from __future__ import annotations

import json
import math
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bench.engine.measure import measure
from bench.errors import MetricError, MismatchError
from bench.metrics.base import FramePair, Metric
from bench.registry import metric_class
from bench.video import ffmpeg
from bench.video.formats import VideoFormat
from bench.video.frame import CodingTransform, Frame
from bench.video.sequence import Sequence, open_sequence

FORMATS = [
    pytest.param("yuv420p", id="420 8 bit"),
    pytest.param("yuv420p10le", id="420 10 bit"),
    pytest.param("yuv422p10le", id="422 10 bit"),
    pytest.param("yuv444p", id="444 8 bit"),
]
ALL = ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "vmaf", "vmaf_neg", "xpsnr")


def make_clip(
    path: Path, pix_fmt: str, *, frames: int = 6, noise: int = 0, size: str = "192x176", rate: str = "25"
) -> Path:
    """A moving synthetic picture; noise makes a distorted version of it."""
    graph = f"testsrc2=size={size}:rate={rate},format={pix_fmt}" + (
        f",noise=alls={noise}:allf=t:all_seed=7" if noise else ""
    )
    subprocess.run(
        [*ffmpeg.base_command(), "-f", "lavfi", "-i", graph, "-frames:v", str(frames), "-pix_fmt", pix_fmt,
         "-strict", "-1", str(path)],
        check=True,
    )  # fmt: skip
    return path


def scores(source: Sequence, distorted: Sequence, names: tuple[str, ...], folder: Path) -> dict[str, object]:
    transform = CodingTransform(source.format, source.format)
    found = measure(source.read(), distorted.read(), [metric_class(name) for name in names], transform, folder)
    return {item.metric: item for item in found}


def ffmpeg_psnr(source: Path, distorted: Path) -> dict[str, float]:
    """Summary of FFmpeg's psnr filter, frames paired by number."""
    done = subprocess.run(
        [ffmpeg.executable(), "-hide_banner", "-nostdin", "-i", str(distorted), "-i", str(source), "-lavfi",
         "[0]settb=1/25,setpts=N[a];[1]settb=1/25,setpts=N[b];[a][b]psnr", "-f", "null", "-"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    line = re.search(r"PSNR (y:.*)", done.stderr)
    assert line is not None
    return {plane: float(value) for plane, value in re.findall(r"([yuv]|average|min|max):([\d.]+|inf)", line[1])}


def ffmpeg_vmaf(source: Path, distorted: Path, model: str, folder: Path) -> list[float]:
    """Per-frame values of FFmpeg's libvmaf filter reading both files itself."""
    subprocess.run(
        [*ffmpeg.base_command(), "-i", str(distorted), "-i", str(source), "-lavfi",
         "[0]settb=1/25,setpts=N[a];[1]settb=1/25,setpts=N[b];"
         f"[a][b]libvmaf=model=version={model}:log_fmt=json:log_path=direct.json", "-f", "null", "-"],
        check=True, cwd=folder,
    )  # fmt: skip
    log = json.loads((folder / "direct.json").read_text())
    return [frame["metrics"]["vmaf"] for frame in log["frames"]]


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_psnr_and_vmaf_equal_ffmpegs_filters(tmp_path: Path, pix_fmt: str) -> None:
    source = make_clip(tmp_path / "source.y4m", pix_fmt)
    distorted = make_clip(tmp_path / "distorted.y4m", pix_fmt, noise=12)
    found = scores(open_sequence(source), open_sequence(distorted), ALL, tmp_path)
    assert {item.status for item in found.values()} == {"ok"}
    summary = ffmpeg_psnr(source, distorted)
    for plane in "yuv":
        assert found[f"psnr_{plane}"].pooled["from_mean_mse"] == pytest.approx(summary[plane], abs=0.01)
    for name, model in (("vmaf", "vmaf_v0.6.1"), ("vmaf_neg", "vmaf_v0.6.1neg")):
        direct = ffmpeg_vmaf(source, distorted, model, tmp_path)
        assert found[name].frames == pytest.approx(direct, abs=1e-4)
        assert found[name].value == pytest.approx(np.mean(direct), abs=1e-4)


def test_psnr_of_10_bit_has_the_peak_1023(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.y4m", "yuv420p10le")
    distorted = make_clip(tmp_path / "distorted.y4m", "yuv420p10le", noise=20)
    a = np.stack([frame.planes[0] for frame in open_sequence(source).read()]).astype(float)
    b = np.stack([frame.planes[0] for frame in open_sequence(distorted).read()]).astype(float)
    by_hand = 10 * np.log10(1023**2 / ((a - b) ** 2).mean(axis=(1, 2)))
    found = scores(open_sequence(source), open_sequence(distorted), ("psnr_y",), tmp_path)
    assert found["psnr_y"].frames == pytest.approx(by_hand, abs=1e-9)


@pytest.mark.slow
def test_identical_frames_have_infinite_psnr_and_full_similarity(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.y4m", "yuv420p")
    found = scores(
        open_sequence(source), open_sequence(source), ("psnr_y", "psnr_rgb", "ssim", "ms_ssim", "xpsnr"), tmp_path
    )
    assert math.isinf(found["psnr_y"].value)
    assert found["psnr_y"].pooled["mean_capped"] == pytest.approx(99.9)
    assert math.isinf(found["psnr_rgb"].value)
    assert math.isinf(found["xpsnr"].value)
    assert found["ssim"].value == pytest.approx(1)
    assert found["ms_ssim"].value == pytest.approx(1)


def test_psnr_rgb_of_444_by_the_equations_of_bt709(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.y4m", "yuv444p")
    distorted = make_clip(tmp_path / "distorted.y4m", "yuv444p", noise=12)

    def rgb(path: Path) -> np.ndarray:
        frames = []
        for frame in open_sequence(path).read():
            y, u, v = (plane.astype(float) for plane in frame.planes)
            y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
            red, blue = y + 1.5748 * v, y + 1.8556 * u
            green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
            frames.append(np.clip(np.floor(255 * np.stack([red, green, blue]) + 0.5), 0, 255))
        return np.stack(frames)

    expected = 10 * np.log10(255**2 / ((rgb(source) - rgb(distorted)) ** 2).mean(axis=(1, 2, 3)))
    found = scores(open_sequence(source), open_sequence(distorted), ("psnr_rgb",), tmp_path)
    assert found["psnr_rgb"].frames == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("rate", ["25", "50"])
def test_xpsnr_equals_ffmpegs_filter(tmp_path: Path, rate: str) -> None:
    """Above 32 frames per second the filter weighs motion over two frames, so that the rate must reach it."""
    source = make_clip(tmp_path / "source.y4m", "yuv420p", rate=rate)
    distorted = make_clip(tmp_path / "distorted.y4m", "yuv420p", noise=12, rate=rate)
    done = subprocess.run(
        [ffmpeg.executable(), "-hide_banner", "-nostdin", "-i", str(source), "-i", str(distorted), "-lavfi",
         "[0][1]xpsnr", "-f", "null", "-"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    minimum = re.search(r"minimum: ([\d.]+)", done.stderr)
    assert minimum is not None
    found = scores(open_sequence(source), open_sequence(distorted), ("xpsnr",), tmp_path)
    assert found["xpsnr"].value == pytest.approx(float(minimum[1]), abs=1e-4)


def test_a_decoder_that_loses_a_frame_gives_no_score(tmp_path: Path) -> None:
    clip = open_sequence(make_clip(tmp_path / "source.y4m", "yuv420p"))
    transform = CodingTransform(clip.format, clip.format)
    fewer = list(clip.read())[:-1]
    with pytest.raises(MismatchError, match="returned 5 frames, the source has 6"):
        measure(clip.read(), iter(fewer), [metric_class("psnr_y"), metric_class("vmaf")], transform, tmp_path)


def test_a_decoder_that_adds_frames_gives_no_score(tmp_path: Path) -> None:
    clip = open_sequence(make_clip(tmp_path / "source.y4m", "yuv420p"))
    transform = CodingTransform(clip.format, clip.format)
    more = [*clip.read(), *clip.read()]
    with pytest.raises(MismatchError, match="returned 12 frames, the source has 6"):
        measure(clip.read(), iter(more), [metric_class("psnr_y")], transform, tmp_path)


@pytest.mark.parametrize(
    ("got", "reason"),
    [
        (VideoFormat(96, 64), "frame_size"),
        (VideoFormat(64, 64, chroma="444"), "frame_format"),
        (VideoFormat(64, 64, bit_depth=10), "frame_format"),
    ],
)
def test_another_size_or_format_is_never_rescaled(tmp_path: Path, got: VideoFormat, reason: str) -> None:
    expected = VideoFormat(64, 64)

    def blank(fmt: VideoFormat) -> Frame:
        return Frame(fmt, np.zeros(fmt.samples_per_frame, "u1" if fmt.bit_depth == 8 else "<u2"))

    transform = CodingTransform(expected, expected)
    with pytest.raises(MismatchError) as raised:
        measure(iter([blank(expected)]), iter([blank(got)]), [metric_class("psnr_y")], transform, tmp_path)
    assert raised.value.reason == reason


class _FailsAtFrame2(Metric):
    name, title = "fails", "fails at frame 2"

    def update(self, pair: FramePair) -> float:
        if pair.index == 2:
            raise ZeroDivisionError("on purpose")
        return 1.0


class _NotANumber(Metric):
    name, title = "nan", "a NaN at frame 3"

    def update(self, pair: FramePair) -> float:
        return math.nan if pair.index == 3 else 1.0


class _Nothing(Metric):
    name, title = "nothing", "never defined"

    def __init__(self, fmt: VideoFormat) -> None:
        raise MetricError("nothing: not for this format")

    def update(self, pair: FramePair) -> float:
        return 0.0


def test_a_metric_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    clip = open_sequence(make_clip(tmp_path / "source.y4m", "yuv420p"))
    distorted = open_sequence(make_clip(tmp_path / "distorted.y4m", "yuv420p", noise=9))
    kinds = [_FailsAtFrame2, _NotANumber, _Nothing, metric_class("psnr_y")]
    transform = CodingTransform(clip.format, clip.format)
    found = {item.metric: item for item in measure(clip.read(), distorted.read(), kinds, transform, tmp_path)}
    assert (found["fails"].status, found["fails"].value) == ("failed", None)
    assert "frame 2: ZeroDivisionError: on purpose" in found["fails"].reason
    assert (found["nan"].status, found["nan"].value) == ("undefined", None)
    assert "the first is frame 3" in found["nan"].reason
    assert (found["nothing"].status, found["nothing"].reason) == ("undefined", "nothing: not for this format")
    assert found["psnr_y"].status == "ok"


def test_grey_has_no_chroma_metrics_and_says_so(tmp_path: Path) -> None:
    source = open_sequence(make_clip(tmp_path / "source.y4m", "gray"))
    distorted = open_sequence(make_clip(tmp_path / "distorted.y4m", "gray", noise=9))
    found = scores(source, distorted, ("psnr_y", "psnr_u", "psnr_yuv", "vmaf", "ssim", "xpsnr"), tmp_path)
    assert {name: item.status for name, item in found.items()} == {
        "psnr_y": "ok",
        "psnr_u": "undefined",
        "psnr_yuv": "undefined",
        "vmaf": "undefined",
        "ssim": "ok",
        "xpsnr": "ok",
    }
    assert "grey" in found["psnr_u"].reason


def test_ms_ssim_of_a_small_frame_is_undefined_rather_than_resized(tmp_path: Path) -> None:
    source = open_sequence(make_clip(tmp_path / "source.y4m", "yuv420p", size="64x64"))
    found = scores(source, source, ("ssim", "ms_ssim"), tmp_path)
    assert found["ssim"].status == "ok"
    assert found["ms_ssim"].status == "undefined"
    assert "64x64" in found["ms_ssim"].reason


def test_ewarp_of_a_still_clip_is_the_frame_difference(tmp_path: Path) -> None:
    """Without motion the warp is the identity, so that E_warp is the mean squared difference of neighbours."""
    fmt = VideoFormat(96, 80, chroma="444", full_range=True)
    rng = np.random.default_rng(5)
    still = rng.integers(60, 200, fmt.samples_per_frame, dtype=np.uint8)
    distorted = [Frame(fmt, np.clip(still.astype(int) + step, 0, 255).astype(np.uint8)) for step in (0, 3, 3)]
    found = {
        item.metric: item
        for item in measure(
            iter([Frame(fmt, still)] * 3), iter(distorted), [metric_class("ewarp")], CodingTransform(fmt, fmt), tmp_path
        )
    }
    first, second, third = found["ewarp"].frames
    assert first is None
    # adding 3 to Y, U and V moves R, G, B by 3 (1 + 1.5748), 3 (1 - 0.1873 - 0.4681), 3 (1 + 1.8556) before clipping
    assert 0 < second < (3 * 2.8556 / 255) ** 2
    assert third == pytest.approx(0, abs=1e-12)
