"""The wheel, installed away from the repository, is whole: it lists its codecs and codes a clip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_an_installed_wheel_codes_a_clip(tiny_clip: Callable[..., Path], tmp_path: Path) -> None:
    builders = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    (wheel,) = builders.WheelBuilder(str(ROOT)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:  # which is what installing a pure wheel is
        archive.extractall(site)
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}

    def vcbench(*arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "bench.cli", *map(str, arguments)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [sys.executable, "-c", "import bench; print(bench.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(site)
    vcbench("run", "--codecs", "x264", "--rates", "40", "--input", tiny_clip(frames=2), "--metrics", "psnr_y",
            "--jobs", "1", "--out", tmp_path / "results")  # fmt: skip
    (cell,) = (tmp_path / "results").rglob("cells/*.json")
    assert json.loads(cell.read_text(encoding="utf-8"))["status"] == "ok"
