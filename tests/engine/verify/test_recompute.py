"""What a stored result says of itself is computed again, as far as no decode is needed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.engine.verify.integrity import result_problems

TinyClip = Callable[..., Path]
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def measured(tiny_clip: TinyClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cell with metrics of every kind: per plane, weighted, filtered, with a pooling of its own."""
    folder = tmp_path_factory.mktemp("sets") / "measured"
    metrics = ["psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "psnr_y:ffmpeg", "ssim", "vmaf", "xpsnr"]
    bench.run(["vp9"], inputs=[tiny_clip()], metrics=metrics, rates=[40], out=folder)
    return folder


def problems(folder: Path) -> list[str]:
    return result_problems(folder, bench.load(folder))


def edited(measured: Path, folder: Path, edit: Edit) -> list[str]:
    copy = Path(shutil.copytree(measured, folder / "copy"))
    (path,) = (copy / "cells").glob("*.json")
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    return problems(copy)


def test_a_result_as_it_was_written_has_no_contradiction(measured: Path) -> None:
    assert problems(measured) == []


def of(metric: str, **changes: float) -> Edit:
    """Change a metric's value or pooled values."""

    def edit(data: dict[str, Any]) -> None:
        record = data["measurements"][metric]
        for key, value in changes.items():
            (record if key == "value" else record["pooled"])[key] = value

    return edit


def shifted(data: dict[str, Any]) -> None:
    record = data["measurements"]["psnr_y"]
    record["value"] += 0.8
    record["pooled"]["mean"] += 0.8


def at(*path: str, to: Any) -> Edit:
    def edit(data: dict[str, Any]) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return edit


def without_value(data: dict[str, Any]) -> None:
    data["measurements"]["ssim"]["value"] = None


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        pytest.param(of("vmaf", value=150.0, mean=150.0), r"vmaf: value is 150, outside .*\(0 to 100\)", id="bounds"),
        pytest.param(of("ssim", maximum=1.01), r"ssim: pooled maximum is 1\.01, outside", id="bounds of pooled values"),
        pytest.param(shifted, r"psnr_y: pooled mean is .*, the values of the frames give", id="pooled mean"),
        pytest.param(of("vmaf", p5=1.0), r"vmaf: pooled p5 is 1, the values", id="pooled percentile"),
        pytest.param(of("psnr_y", mean_capped=20.0), r"psnr_y: pooled mean_capped is 20", id="capped mean"),
        pytest.param(of("psnr_y:ffmpeg", from_mean_mse=20.0), r"pooled from_mean_mse is 20", id="mean error"),
        pytest.param(of("xpsnr", value=20.0), r"xpsnr: its value is 20, pooled ffmpeg_minimum is", id="headline"),
        pytest.param(without_value, r"ssim: its status is ok and its value None", id="no value"),
        pytest.param(at("encode", "seconds", to=0), r"encode\.seconds is 0", id="time"),
        pytest.param(at("decode", to=None), r"decode is missing", id="no time"),
        pytest.param(at("bitstream", "bytes", to=99), r"a container of \d+ bytes in a file of 99", id="bytes"),
        pytest.param(at("bitstream", "bytes", to=50_000), r"it has \d+ bytes, 50000 are recorded", id="more bytes"),
        pytest.param(
            at("bitstream", "contents", "container", to=500), r"contents (add up|are not those)", id="contents"
        ),
        pytest.param(at("rate", "value", to=41), r"its key is not that of its card", id="rate"),
        pytest.param(at("sequence", "fps", to="50"), r"its key is not that of its card", id="sequence"),
        pytest.param(at("codec", "tool", "ffmpeg", to="9"), r"its key is not that of its card", id="tool"),
        pytest.param(at("decoded", "frames", to=3), r"decoded\.frames is 3, the sequence has 9", id="decoded"),
    ],
)
def test_what_was_changed_by_hand_is_named(measured: Path, tmp_path: Path, edit: Edit, said: str) -> None:
    found = edited(measured, tmp_path, edit)
    assert found
    assert any(re.search(said, problem) for problem in found), found


def test_frames_of_a_weighted_psnr_are_those_of_its_planes(measured: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    copy = Path(shutil.copytree(measured, tmp_path / "copy"))
    (path,) = (copy / "frames").glob("*.parquet")
    table = pq.read_table(path)
    index = table.column_names.index("psnr_yuv")
    values = table.column("psnr_yuv").to_pylist()
    values[4] += 1
    pq.write_table(table.set_column(index, "psnr_yuv", pa.array(values, pa.float64())), path)
    said = " ".join(problems(copy))
    assert "psnr_yuv: frame 4 is" in said and "its planes give" in said
    assert "psnr_yuv: pooled mean is" in said
