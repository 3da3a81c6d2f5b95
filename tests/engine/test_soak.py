"""A short soak run: workers and a driver are killed, the results are a quiet run's. In full: benchmarks/soak.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

import bench
from bench.records.cell import CellResult

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module  # where a dataclass looks for its module
    spec.loader.exec_module(module)
    return module


def test_a_disturbed_run_ends_like_a_quiet_one(script: ModuleType, tmp_path: Path) -> None:
    clips = script.make_clips(tmp_path, 2)
    rates = [20, 21, 22]
    quiet = bench.run("x264", inputs=clips, rates=rates, metrics=["psnr_y"], out=tmp_path / "quiet")
    out = tmp_path / "disturbed" / "results"
    out.parent.mkdir()
    argv = script.command(clips, len(rates), out)
    settings = {"every": 0, "worker_kills": 1, "driver_kills": 1, "fill": False, "grace": 60}
    done = script.soak(argv, out, script.Soak(len(quiet.cells)), **settings)
    script.compare(tmp_path / "quiet", out, done)
    assert done.worker_kills == 1
    assert done.driver_kills == 1
    assert done.running == []
    assert (done.statuses, done.changed, done.different) == ({"ok": 6}, [], [])
    assert list((out / "work").iterdir()) == []


def test_a_difference_is_found(script: ModuleType, tmp_path: Path) -> None:
    clips = script.make_clips(tmp_path, 1)
    for name in ("one", "other"):
        bench.run("x264", inputs=clips, rates=[30], metrics=["psnr_y"], out=tmp_path / name)
    (path,) = (tmp_path / "other" / "cells").glob("*.json")
    cell = CellResult.model_validate_json(path.read_text())
    measured = cell.measurements["psnr_y"]
    assert measured.value is not None
    changed = measured.model_copy(update={"value": measured.value + 1e-9})
    path.write_text(cell.model_copy(update={"measurements": {"psnr_y": changed}}).model_dump_json())
    assert script.compare(tmp_path / "one", tmp_path / "other", script.Soak(1)).different == [cell.name]
