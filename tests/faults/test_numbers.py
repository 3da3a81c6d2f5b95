"""Videos and curves at the edges: odd sizes, no error at all, values that are none, curves that do not compare."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bench

RATES = [1.0, 0.5, 0.25, 0.12]
QUALITY = [42.0, 39.0, 36.0, 33.0]


def test_fault_11_odd_size(
    trial, tmp_path: Path, tiny_clip: Callable[..., Path], run_ffmpeg: Callable[..., bytes]
) -> None:
    clip = tiny_clip(67, 45, frames=3)
    results = bench.run("x265", inputs=clip, rates=[40], metrics=["psnr_y"], out=tmp_path / "out")
    (coded,) = results.cells
    assert (coded.sequence.width, coded.sequence.height) == (67, 45)
    assert coded.changes == ["padded by 1 right and 1 below (edge repeated), cropped after decoding"]
    bitstream = tmp_path / "out" / "bitstreams" / coded.bitstream.file
    raw = [run_ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-") for path in (clip, bitstream)]
    source, luma = (
        np.frombuffer(data, "u1").reshape(3, -1)[:, : width * height].reshape(3, height, width)[:, :45, :67]
        for data, (width, height) in zip(raw, ((67, 45), (68, 46)), strict=True)
    )
    error = source.astype(float) - luma
    expected = 10 * np.log10(255**2 / (error**2).mean(axis=(1, 2)))
    assert coded.measurements["psnr_y"].value == pytest.approx(expected.mean(), abs=1e-6)
    assert coded.bpp == 8 * bitstream.stat().st_size / (3 * 67 * 45)

    card = trial.folder / "codecs" / f"{trial.card('good')}.toml"
    card.write_text(card.read_text().replace("input = {", "input = { minimum_size = 48,"))
    done = trial.call("run", "--codecs", card, "--trust", "--input", clip, "--metrics", "psnr_y", "--out", trial.out)
    assert done.code == 0
    skipped = trial.cells()["good"]
    assert (skipped.status, skipped.reason) == ("skipped", "size")
    assert "needs sides of at least 48, the sequence is 67x45" in skipped.message


def test_fault_13_identical_frames(trial) -> None:
    done, cells = trial.run("good")
    assert done.code == 0
    psnr = cells["good"].measurements["psnr_y"]
    assert psnr.value == math.inf and math.isfinite(psnr.pooled["mean_capped"])
    (path,) = (trial.out / "cells").iterdir()
    assert json.loads(path.read_text())["measurements"]["psnr_y"]["value"] == "Infinity"
    table = bench.load(trial.out).to_pandas()
    assert np.isinf(table["value"]).all() and np.isfinite(table["value_capped"]).all()


NOT_A_NUMBER = """
from bench.metrics.base import Metric

class Odd(Metric):
    name = "odd"
    title = "is not a number on every second frame"

    def update(self, pair):
        return float("nan") if pair.index % 2 else 1.0
"""


def test_fault_14_metric_gives_nan(vcbench, trial, plug_ins: Callable[..., None]) -> None:
    plug_ins("odd_metric", NOT_A_NUMBER, metrics="odd = odd_metric:Odd")
    done, cells = trial.run("good", metrics="odd,psnr_y", more=("--json",))
    reason = "2 of 5 frames are not a number, the first is frame 1"
    odd = cells["good"].measurements["odd"]
    assert (odd.status, odd.value, odd.reason) == ("undefined", None, reason)
    assert done.json["failed_measurements"] or done.code == 0
    (path,) = (trial.out / "cells").iterdir()
    assert "NaN" not in path.read_text()
    frames = bench.load(trial.out).frames("odd")
    assert frames["value"].isna().tolist() == [False, True, False, True, False]
    report = vcbench("report", trial.out, "--out", trial.folder / "report", "--pictures", 0)
    assert report.code == 0
    assert reason in (trial.folder / "report" / "tables" / "excluded.csv").read_text()


def test_fault_27_curve_that_is_not_monotone() -> None:
    bent = [42.0, 36.5, 37.0, 33.0]
    plain = bench.bd_rate(RATES, QUALITY, RATES, bent)
    envelope = bench.bd_rate(RATES, QUALITY, [1.0, 0.25, 0.12], [42.0, 37.0, 33.0])
    assert (plain.value, plain.status) == (pytest.approx(envelope.value), "ok")
    assert "non_monotone" in plain.flags
    assert "36.5 at rate 0.5" in plain.notes[0]


@pytest.mark.parametrize(
    ("rates", "quality"),
    [
        (RATES[:2], QUALITY[:2]),
        ([1.0, 1.0, 1.0, 0.12], [42.0, 42.0, 36.0, 33.0]),
        ([1.0, 0.5, 0.25, 0.0], QUALITY),
        ([], []),
    ],
    ids=["two points", "duplicates", "zero rate", "none"],
)
def test_fault_28_too_few_points_duplicates_zero_rate(rates: list[float], quality: list[float]) -> None:
    for result in (bench.bd_rate(RATES, QUALITY, rates, quality), bench.bd_rate(rates, quality, RATES, QUALITY)):
        assert (result.value, result.status) == (None, "undefined")
        assert result.reason


def test_fault_29_little_or_no_overlap() -> None:
    apart = bench.bd_rate(RATES, QUALITY, RATES, [value - 20 for value in QUALITY])
    assert (apart.value, apart.status, apart.overlap) == (None, "undefined", 0)
    little = bench.bd_rate(RATES, QUALITY, RATES, [value - 4 for value in QUALITY])
    assert little.overlap == pytest.approx(5 / 9)
    assert (little.status, little.flags[0]) == ("ok", "little_overlap")
    withheld = bench.bd_rate(RATES, QUALITY, RATES, [value - 4 for value in QUALITY], min_overlap=0.75)
    assert withheld.value is None and "75" in withheld.reason
