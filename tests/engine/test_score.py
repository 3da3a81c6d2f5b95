"""Scoring files that exist already: every container alike, every frame counted, nothing rescaled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.engine.score import score
from bench.errors import MediaError, MismatchError, UnknownNameError, UsageError
from bench.metrics.base import Measurement

pytestmark = pytest.mark.slow

FRAMES = 25


@pytest.fixture(scope="module")
def source(tiny_clip) -> Path:
    return tiny_clip(192, 176, FRAMES, rate="30000/1001", noise=6)


@pytest.fixture(scope="module")
def source_10bit(tiny_clip) -> Path:
    return tiny_clip(192, 176, FRAMES, "yuv420p10le", rate="30000/1001", noise=6)


# B frames reorder, and 30000/1001 has no whole number of milliseconds: what containers round and shift
ENCODERS = {
    "x264": (["-c:v", "libx264", "-qp", "30", "-bf", "3"], ("mkv", "mp4", "mov", "h264")),
    "x265": (["-c:v", "libx265", "-qp", "30", "-x265-params", "log-level=none"], ("mkv", "mp4", "hevc")),
    "vvenc": (["-c:v", "libvvenc", "-qp", "32", "-preset", "faster"], ("mkv", "mp4", "vvc")),
    "vp9": (["-c:v", "libvpx-vp9", "-crf", "40", "-b:v", "0", "-deadline", "realtime", "-cpu-used", "8",
             "-auto-alt-ref", "1", "-lag-in-frames", "10"], ("webm", "mp4", "ivf")),
}  # fmt: skip


@pytest.mark.parametrize("encoder", ENCODERS)
def test_one_encode_has_one_score_in_every_container(
    encoder: str, tmp_path: Path, run_ffmpeg, source: Path, source_10bit: Path
) -> None:
    options, containers = ENCODERS[encoder]
    reference = source_10bit if encoder == "vvenc" else source
    files = [tmp_path / f"encode.{container}" for container in containers]
    run_ffmpeg("-i", reference, *options, files[0])
    for file in files[1:]:
        run_ffmpeg("-i", files[0], "-c", "copy", file)
    names = ("psnr_y", "psnr_yuv", "ssim", "ms_ssim", "vmaf", "xpsnr")
    scores = [score(reference, file, names) for file in files]
    assert [item.status for item in scores[0]] == ["ok"] * len(names)
    assert {len(item.frames) for item in scores[0]} == {FRAMES}
    for other in scores[1:]:
        assert other == scores[0]
    assert scores[0][0].frames == pytest.approx(by_index(reference, files[-1], run_ffmpeg), abs=1e-9)


def by_index(reference: Path, distorted: Path, run_ffmpeg) -> list[float]:
    """Luma PSNR of frames paired by number, decoded by FFmpeg to raw samples and worked out here."""
    pix_fmt, sample, peak = ("yuv420p10le", "<u2", 1023) if "10le" in reference.name else ("yuv420p", "u1", 255)
    luma = []
    for path in (reference, distorted):
        raw = run_ffmpeg("-i", path, "-fps_mode", "passthrough", "-pix_fmt", pix_fmt, "-f", "rawvideo", "-")
        luma.append(np.frombuffer(raw, sample).reshape(FRAMES, -1)[:, : 192 * 176].astype(float))
    return list(10 * np.log10(peak**2 / ((luma[0] - luma[1]) ** 2).mean(axis=1)))


def test_png_pictures_are_scored_as_rgb(tmp_path: Path, source: Path, run_ffmpeg) -> None:
    for folder, noise in (("a", "0"), ("b", "20")):
        (tmp_path / folder).mkdir()
        graph = f"noise=alls={noise}:allf=t:all_seed=5,format=rgb24"
        run_ffmpeg("-i", source, "-frames:v", "3", "-vf", graph, tmp_path / folder / "%03d.png")
    import cv2

    def pictures(folder: str) -> np.ndarray:
        return np.stack([cv2.imread(str(path)) for path in sorted((tmp_path / folder).glob("*.png"))]).astype(float)

    (measured,) = score(tmp_path / "a", tmp_path / "b", ["psnr_rgb"], input_format={"fps": 25})
    errors = ((pictures("a") - pictures("b")) ** 2).mean(axis=(1, 2, 3))
    assert measured.value == pytest.approx(np.mean(10 * np.log10(255**2 / errors)), abs=1e-9)


def test_raw_video_takes_its_format_from_the_caller(tmp_path: Path, source: Path, run_ffmpeg) -> None:
    raw = tmp_path / "decoded.yuv"
    run_ffmpeg("-i", source, "-f", "rawvideo", raw)
    with pytest.raises(UsageError, match="raw video needs"):
        score(source, raw, ["psnr_y"])
    given = {"size": "192x176", "pix_fmt": "yuv420p", "fps": "30000/1001"}
    (measured,) = score(source, raw, ["psnr_y"], input_format=given)
    assert measured.value == float("inf")


@pytest.mark.parametrize(
    ("other", "reason", "says"),
    [
        ({"frames": 24}, "frame_count", "24 frames, the source has 25"),
        ({"frames": 26}, "frame_count", "26 frames, the source has 25"),
        ({"width": 176, "height": 192}, "frame_size", "176x192, expected 192x176"),
        ({"pix_fmt": "yuv444p"}, "frame_format", "yuv444p, expected yuv420p"),
    ],
)
def test_what_does_not_fit_has_no_score_and_is_named(
    source: Path, tiny_clip, other: dict[str, object], reason: str, says: str
) -> None:
    changed = tiny_clip(**{"width": 192, "height": 176, "frames": FRAMES, "rate": "30000/1001", "noise": 6} | other)
    with pytest.raises(MismatchError, match=says) as raised:
        score(source, changed, ["psnr_y", "vmaf"])
    assert raised.value.reason == reason
    assert str(changed) in str(raised.value) and str(source) in str(raised.value)


def test_a_file_that_is_no_video_is_named(source: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mkv"
    bad.write_text("no video")
    with pytest.raises(MediaError, match=str(bad)):
        score(source, bad, ["psnr_y"])
    with pytest.raises(UsageError, match=r"gone\.mkv: no such file"):
        score(source, tmp_path / "gone.mkv", ["psnr_y"])


def test_a_wrong_metric_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown metric 'psnr'"):
        score(tmp_path / "gone", tmp_path / "gone", ["psnr"])


def test_measurements_come_in_the_order_asked_for(source: Path) -> None:
    found: list[Measurement] = score(source, source, ["ssim", "xpsnr", "psnr_y"])
    assert [item.metric for item in found] == ["ssim", "xpsnr", "psnr_y"]
