"""A result folder that an earlier vcbench wrote is read, resumed and reported the same.

``old_result_set`` is that of commit bcb0c65, with what it gave of it then in ``expected.json``. Its codec is a file of
Python beside its card, so that its keys hold no program of a machine.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench
from bench.engine.verify.integrity import result_problems
from bench.report import build_report

OLD = Path(__file__).with_name("old_result_set")
CODECS = ("cut-bits", "upper-bits")


@pytest.fixture
def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((OLD / "expected.json").read_text())
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD / "set", tmp_path / "set"))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """The clip that was coded, 64x64 and two frames of 4:2:0."""
    across, down = np.arange(64), np.arange(64)[:, None]
    path = tmp_path / "waves.y4m"
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W64 H64 F25:1 Ip A1:1 C420jpeg\n")
        for time in range(2):
            luma = ((across * 5 + down * 3 + time * 7) * (across + 2 * down) // 16) % 256
            planes = [luma, *(luma[::2, ::2] // step + 60 for step in (2, 5))]
            file.write(b"FRAME\n" + b"".join(plane.astype(np.uint8).tobytes() for plane in planes))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_read(expected: dict[str, Any]) -> None:
    results = bench.load(OLD / "set")
    assert results.problems == []
    assert result_problems(OLD / "set", results) == []
    rows = results.to_pandas()[["codec", "rate", "bpp", "metric", "value"]].to_numpy().tolist()
    assert [row[:4] for row in rows] == [row[:4] for row in expected["rows"]]
    assert [row[4] for row in rows] == pytest.approx([row[4] for row in expected["rows"]], rel=1e-12)
    for metric, values in expected["frames"].items():
        assert list(results.frames(metric)["value"]) == values


def test_it_is_resumed(folder: Path, clip: Path) -> None:
    """What is measured has the keys of today, so that there is nothing to do, and no file is written anew."""
    before = content(folder)
    settings: dict[str, Any] = {"inputs": [clip], "metrics": ["psnr_y", "ssim"], "paths": [OLD], "trust": True}
    results = bench.run(CODECS, out=folder, **settings)
    assert len(results.cells) == len(list((OLD / "set" / "cells").iterdir()))
    after = content(folder)
    assert {name: after[name] for name in before} == before
    assert {name.partition("/")[0] for name in after.keys() - before.keys()} <= {"work"}


def test_it_is_reported(expected: dict[str, Any], tmp_path: Path) -> None:
    results = bench.load(OLD / "set")
    for metric, values in expected["bd"].items():
        compared = bench.compare(results.to_pandas(), *CODECS, metric)
        assert compared.bd_rate.value == pytest.approx(values["bd_rate"], rel=1e-9)
        assert compared.bd_metric.value == pytest.approx(values["bd_metric"], rel=1e-9)
        assert compared.decode.value == pytest.approx(values["speed"], rel=1e-9)
    build_report(results, tmp_path / "report", anchor="cut-bits", pictures=0)
    with (tmp_path / "report" / "tables" / "bd_rate.csv").open(newline="") as file:
        rates = {
            row["metric"]: float(row["bd_rate_percent"]) for row in csv.DictReader(file) if row["test"] == "upper-bits"
        }
    assert rates == pytest.approx({metric: values["bd_rate"] for metric, values in expected["bd"].items()}, rel=1e-9)
