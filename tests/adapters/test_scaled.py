"""A codec at a smaller size: the bitstream is the small video's, the quality that of frames scaled back."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Vcbench

import bench
from bench.adapters.scaled import scaled_format
from bench.cards import Catalog, Scaling
from bench.video import ffmpeg
from bench.video.formats import VideoFormat
from bench.video.scale import filter_text

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]

CARD = """
name = "plain"
title = "Samples as they are, in a file of numpy's"
adapter = "plain.py:Plain"
licence = "Apache-2.0"
gop = "all intra"
extension = "npy"
[rates]
parameter = "level"
values = [1]
minimum = 0
maximum = 9
"""
CODE = """
import numpy as np

from bench.adapters.base import Codec, EncodeInfo
from bench.video.formats import VideoFormat
from bench.video.frame import Frame


class Plain(Codec):
    def encode(self, source, rate, bitstream):
        fmt = self.transform(source.format).coded
        with bitstream.open("wb") as file:
            np.save(file, np.array([fmt.width, fmt.height]))
            np.save(file, np.stack([frame.data for frame in source.read()]))
        return EncodeInfo()

    def decode(self, bitstream):
        with bitstream.open("rb") as file:
            width, height = np.load(file)
            for data in np.load(file):
                yield Frame(VideoFormat(int(width), int(height)), data)
"""


def converted(clip: Path, size: tuple[int, int], scaler: str, out: Path) -> Path:
    """A y4m file scaled by FFmpeg's program, apart from all of vcbench's code but the filter's settings."""
    argv = [*ffmpeg.base_command(), "-i", str(clip), "-vf", filter_text(*size, scaler), "-pix_fmt", "yuv420p", str(out)]
    subprocess.run(argv, check=True)
    return out


def luma(clip: Path, width: int, height: int) -> np.ndarray:
    argv = [*ffmpeg.base_command(), "-i", str(clip), "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"]
    raw = subprocess.run(argv, check=True, capture_output=True).stdout
    return np.frombuffer(raw, "u1").reshape(-1, width * height * 3 // 2)[:, : width * height].astype(float)


def psnr(clip: Path, decoded: Path, width: int, height: int) -> float:
    error = ((luma(clip, width, height) - luma(decoded, width, height)) ** 2).mean(axis=1)
    return float(np.mean(10 * np.log10(255**2 / error)))


@pytest.mark.parametrize("scaler", ["lanczos", "bicubic"])
def test_a_rung_is_the_small_videos_bitstream_measured_at_full_size(
    tmp_path: Path, tiny_clip: TinyClip, scaler: str
) -> None:
    clip = tiny_clip(96, 80, 5)
    found = bench.run(
        "x264", inputs=clip, rates=(30,), metrics="psnr_y", scales=(1, 0.5), scale_filter=scaler, out=tmp_path / "out"
    )
    rung, whole = sorted(found.cells, key=lambda cell: cell.scale)
    small = converted(clip, (48, 40), scaler, tmp_path / "small.y4m")
    (alone,) = bench.run("x264", inputs=small, rates=(30,), metrics="psnr_y", out=tmp_path / "alone").cells
    assert (rung.scale, whole.scale) == (0.5, 1)
    assert rung.bitstream is not None and alone.bitstream is not None
    assert rung.bitstream.sha256 == alone.bitstream.sha256
    assert rung.bpp == pytest.approx(alone.bpp / 4)
    decoded = tmp_path / "decoded.y4m"
    stream = tmp_path / "alone" / "bitstreams" / alone.bitstream.file
    subprocess.run([*ffmpeg.base_command(), "-i", str(stream), "-pix_fmt", "yuv420p", str(decoded)], check=True)
    back = converted(decoded, (96, 80), scaler, tmp_path / "back.y4m")
    assert rung.measurements["psnr_y"].value == pytest.approx(psnr(clip, back, 96, 80), abs=1e-6)
    assert rung.changes[0] == f"coded at 48x40, scaled down and back up by FFmpeg's {scaler} filter"
    assert rung.codec.card["scaling"] == {"factor": 0.5, "filter": scaler}


def test_full_size_has_the_key_of_a_run_without_sizes() -> None:
    card = Catalog().card("x265")
    assert "scaling" not in card.identity()
    small = card.model_copy(update={"scaling": Scaling(factor=0.5)})
    assert small.identity() == card.identity() | {"scaling": {"factor": 0.5, "filter": "lanczos"}}


def test_a_codec_in_python_is_given_and_gives_the_small_frames(tmp_path: Path, tiny_clip: TinyClip) -> None:
    folder = tmp_path / "codecs"
    folder.mkdir()
    (folder / "plain.toml").write_text(CARD)
    (folder / "plain.py").write_text(CODE)
    clip = tiny_clip(96, 80, 3)
    (rung,) = bench.run(
        "plain", inputs=clip, metrics="psnr_y", scales=(0.5,), paths=tmp_path, trust=True, out=tmp_path / "out"
    ).cells
    assert rung.status == "ok", rung.message
    small = converted(clip, (48, 40), "lanczos", tmp_path / "small.y4m")
    back = converted(small, (96, 80), "lanczos", tmp_path / "back.y4m")
    assert rung.measurements["psnr_y"].value == pytest.approx(psnr(clip, back, 96, 80), abs=1e-6)


def test_rungs_verify_and_resume(tmp_path: Path, tiny_clip: TinyClip, vcbench: Vcbench) -> None:
    clip, out = tiny_clip(96, 80, 3), tmp_path / "out"
    told = ("run", "--codecs", "x264", "--input", clip, "--rates", "30", "--scales", "1,0.5", "--metrics", "psnr_y")
    assert vcbench(*told, "--out", out, "--json").json["cells"] == {"ok": 2, "failed": 0, "skipped": 0}
    rows = vcbench(*told, "--out", out, "--dry-run", "--json").json["cells"]
    assert [(row["scale"], row["measured"]) for row in rows] == [(1, True), (0.5, True)]
    found = vcbench("verify", out, "--metrics", "--encode", "--input", clip, "--no-sandbox", "--json").json
    assert found["outcomes"]["different"] == 0 and found["outcomes"]["equal"] > 0
    assert not found["problems"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--scales", "1,2"), "--scales: 2 is not a share"),
        (("--scales", "0"), "--scales: 0 is not a share"),
        (("--scales", "1,0.5", "--rates", "auto"), "--scales codes rate points that are given"),
    ],
)
def test_sizes_that_cannot_be(tiny_clip: TinyClip, vcbench: Vcbench, options: tuple[str, ...], says: str) -> None:
    outcome = vcbench("run", "--codecs", "x264,x265", "--input", tiny_clip(96, 80, 3), *options)
    assert outcome.code == 4
    assert says in outcome.err


def test_sides_are_even_and_a_codecs_least_size_holds(tmp_path: Path, tiny_clip: TinyClip) -> None:
    fmt = scaled_format(VideoFormat(854, 481), Scaling(factor=1 / 3))
    assert (fmt.width, fmt.height) == (284, 160)
    assert all(math.isclose(side / whole, 1 / 3, abs_tol=0.003) for side, whole in ((284, 854), (160, 481)))
    (cell,) = bench.run(
        "x265", inputs=tiny_clip(64, 48, 3), rates=(30,), scales=(0.25,), metrics="psnr_y", out=tmp_path / "out"
    ).cells
    assert (cell.status, cell.reason) == ("skipped", "size")
    assert json.loads((tmp_path / "out" / "cells" / f"{cell.name}.json").read_text())["codec"]["card"]["scaling"]
