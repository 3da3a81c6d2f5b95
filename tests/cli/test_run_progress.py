"""What a run says while it goes on: on a real terminal, in a log, when it is to be quiet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from command_line import on_a_terminal, program

from bench.cli.run_progress import LiveReporter
from bench.engine.progress import Progress

pytestmark = pytest.mark.slow

_STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def lines(written: str) -> list[str]:
    """The lines that stay: what was erased or written over is not among them."""
    return [_STEERING.sub("", re.split(r"\r|\x1b\[2K", line.rstrip("\r"))[-1]).rstrip() for line in written.split("\n")]


def run_of(out: Path, clips: list[Path], *more: object) -> list[object]:
    return ["run", "--codecs", "x264,x265", "--rates", "30,40", "--input", *clips[:2], "--metrics", "psnr_y,ssim",
            "--jobs", 1, "--out", out, *more]  # fmt: skip


def test_a_terminal_shows_each_curve_as_it_is_finished_and_ends_with_the_summary(
    tmp_path: Path, clips: list[Path]
) -> None:
    code, written = on_a_terminal(100, *run_of(tmp_path / "out", clips))
    assert code == 0
    stayed = lines(written)
    curves = [line for line in stayed if "2 rate points" in line]
    assert sorted(line.split()[:2] for line in curves) == sorted(
        [codec, f"{clip.stem}:"] for codec in ("x264", "x265") for clip in clips[:2]
    )
    assert all(re.search(r" 2 rate points, \S+ to \S+ bpp, psnr_y \S+ to \S+ dB", line) for line in curves)
    assert any(line.startswith("BD-rate against x265") for line in stayed)
    assert stayed.index(curves[-1]) < next(n for n, line in enumerate(stayed) if line.startswith("BD-rate"))
    assert not any("/8 cells" in line for line in stayed), "the live line goes when the run is over"
    assert "8/8" not in written and "/8 cells" in written


def test_a_narrow_terminal_and_one_without_colour(tmp_path: Path, clips: list[Path]) -> None:
    code, written = on_a_terminal(60, *run_of(tmp_path / "out", clips), NO_COLOR="1")
    assert code == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", written)
    live = [_STEERING.sub("", part) for part in re.split(r"[\r\n]|\x1b\[2K", written) if "/8 cells" in part]
    assert live and max(map(len, live)) <= 60
    curves = [line for line in lines(written) if line.startswith(("x264 ", "x265 ")) and "bpp" in line]
    assert len(curves) == 4 and max(map(len, curves)) <= 60


def test_verbose_has_a_line_per_cell_and_quiet_has_nothing(vcbench, tmp_path: Path, clips: list[Path]) -> None:
    quiet = program(*run_of(tmp_path / "quiet", clips, "--quiet"))
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    told = vcbench(*run_of(tmp_path / "told", clips, "-v")).err.splitlines()
    (line,) = [line for line in told if f"x264 qp=30 {clips[0].stem}: " in line]
    assert re.search(r"bpp, psnr_y \S+ dB, ssim \S+, encode \S+ s, \d+ MiB, decode \S+ s, \d+ MiB", line)
    refused = vcbench(*run_of(tmp_path / "both", clips, "-v", "-q"))
    assert refused.code == 4 and "contradict each other" in refused.err


def test_quiet_still_says_what_went_wrong(vcbench, tmp_path: Path, clips: list[Path]) -> None:
    done = vcbench(*run_of(tmp_path / "out", clips, "-q", "--time-limit", "0.000001"))
    assert done.code == 6
    assert done.out == ""
    assert done.err.count("failed: x26") == 8


@pytest.mark.parametrize(("waited", "left"), [(0, "40 s"), (10, "30 s"), (30, "30 s"), (50, "50 s")])
def test_the_time_left_goes_down_and_grows_again_where_nothing_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited: float, left: str
) -> None:
    """An estimate of 40 s, some seconds after the last cell."""
    clock = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    monkeypatch.setattr("bench.engine.progress.at_work", lambda folder: [{}, {}])
    live = LiveReporter(tmp_path)
    clock += 2
    live(Progress(3, 8, rate=6.0, left_s=40.0))
    clock += waited
    line: Any = live._line()
    text = next(iter(line.columns[-1].cells))
    assert text == f"2 running, 6.0 cells per minute, about {left} left"
