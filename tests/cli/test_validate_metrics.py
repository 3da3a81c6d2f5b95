"""vcbench validate --metric: findings for people and for programs, exit codes, and no file executed untrusted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]

METRIC = '''
from bench.metrics.base import Metric

class Brightness(Metric):
    """How much brighter luma is, on average."""

    name, title = "brightness", "Brightness"
    direction = "{direction}"
    bounds = (-1.0, 1.0)

    def update(self, pair):
        source, decoded = pair.reference.planes[0], pair.distorted.planes[0]
        return float(abs(source.astype(float) - decoded).mean()) / self.format.peak
'''


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def write(direction: str) -> str:
        path = tmp_path / f"{direction}.py"
        path.write_text(METRIC.format(direction=direction))
        return f"{path}:Brightness"

    return write


def test_ours_is_ok(vcbench: Call) -> None:
    done = vcbench("validate", "--metric", "psnr_y")
    assert (done.code, done.out, done.err) == (0, "psnr_y: ok\n", "")


def test_wrong_direction_is_told_with_the_values(vcbench: Call, file: Callable[[str], str]) -> None:
    done = vcbench("validate", "--metric", file("higher"), "--trust")
    assert done.code == 4
    assert (
        "higher.py:Brightness: wrong\n  order: the source itself and noise of rising strength have 0, 0.0" in done.out
    )


def test_json_has_problems_and_warnings(vcbench: Call, file: Callable[[str], str]) -> None:
    done = vcbench("validate", "--metric", f"{file('lower')},psnr_y", "--trust", "--json")
    first, second = done.json
    assert done.code == 0
    assert (first["kind"], first["valid"], first["problems"]) == ("metrics", True, [])
    assert first["warnings"] == ["best: identical frames have 0, the best of the bounds is -1"]
    assert second == {"file": "psnr_y", "kind": "metrics", "valid": True, "problems": [], "warnings": []}


def test_warnings_are_marked_for_people(vcbench: Call, file: Callable[[str], str]) -> None:
    done = vcbench("validate", "--metric", file("lower"), "--trust")
    assert done.code == 0
    assert "lower.py:Brightness: ok\n  warning: best: identical frames" in done.out


def test_untrusted_file_is_not_executed(vcbench: Call, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    done = vcbench("validate", "--metric", f"{tmp_path / 'm.py'}:M")
    assert done.code == 4
    assert "give --trust" in done.out
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("psnr-y", "did you mean psnr_y"),
        ("{folder}/nothing.py:M", "is not a Python file"),
        ("{folder}/m.py:Other", "has no class Other"),
        ("{folder}/m.py:Path", "not a subclass of bench.metrics.base.Metric"),
        ("{folder}/broken.py:M", "cannot be imported: SyntaxError"),
    ],
)
def test_what_is_no_metric(vcbench: Call, tmp_path: Path, name: str, word: str) -> None:
    (tmp_path / "m.py").write_text("from pathlib import Path\n")
    (tmp_path / "broken.py").write_text("def (\n")
    done = vcbench("validate", "--metric", name.format(folder=tmp_path), "--trust")
    assert done.code == 4
    assert word in done.out


@pytest.mark.slow
def test_a_file_that_loads_a_heavy_library_is_told(vcbench: Call, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("import scipy.signal\n" + METRIC.format(direction="lower"))
    done = vcbench("validate", "--metric", f"{tmp_path / 'm.py'}:Brightness", "--trust")
    assert done.code == 4
    assert "start: importing it and calling check() loads scipy" in done.out
