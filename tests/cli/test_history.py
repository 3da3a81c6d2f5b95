"""vcbench history on made-up result folders: the page, the picture, the tables and the verdicts in them."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    "made_cells", Path(__file__).parents[1] / "analysis" / "gate" / "conftest.py"
)
assert _spec is not None and _spec.loader is not None
_made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_made)


@pytest.fixture
def revisions(tmp_path: Path) -> Path:
    """Three revisions of x265 in a folder: as it is, 5 % worse, as it was."""
    for name, factor in (("1-first", 1.0), ("2-worse", 1.05), ("3-mended", 1.0)):
        cells = tmp_path / "nightly" / name / "cells"
        cells.mkdir(parents=True)
        for clip in "abc":
            for rate in _made.RATES:
                size = round(factor * 2e6 * 2 ** (-rate / 6))
                cell = _made.cell("x265", clip, rate, 62.0 - 0.8 * rate, size)
                (cells / f"{cell.name}.json").write_text(cell.model_dump_json())
    return tmp_path / "nightly"


def test_a_folder_of_revisions_becomes_page_picture_and_tables(vcbench, revisions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = vcbench("history", revisions, "-o", out, "--fail", "bd_rate(psnr_y)>0.5%", "--title", "<x265>", "--json")
    assert done.code == 0, done.err
    assert [item["verdict"] for item in done.json["revisions"]] == [None, "fail", "pass"]
    (blocking,) = done.json["revisions"][1]["blocking"]
    assert (blocking["rule"], round(blocking["change"])) == ("bd_rate(psnr_y)>0.5%", 5)
    with (out / "history.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["quantity"] == "bd_rate(psnr_y)"]
    assert [float(row["change_percent"]) for row in rows] == pytest.approx([0, 5, 0], abs=0.01)
    assert json.loads((out / "history.json").read_text())["tracks"] == done.json["tracks"]
    page = (out / "index.html").read_text()
    assert "&lt;x265&gt;" in page and "<x265>" not in page
    assert "2-worse, x265, <code>bd_rate(psnr_y)&gt;0.5%</code>: fail, +5 %" in page
    picture = (out / "history.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert vcbench("history", revisions, "-o", out, "--fail", "bd_rate(psnr_y)>0.5%", "--title", "<x265>").code == 0
    assert (out / "history.png").read_bytes() == picture


def test_verdicts_are_the_gates_own_output(vcbench, revisions: Path, tmp_path: Path) -> None:
    first, worse, _ = sorted(revisions.iterdir())
    judged = vcbench("gate", "--baseline", first, "--candidate", worse, "--fail", "bd_rate(psnr_y)>0.5%", "--json")
    assert judged.code == 1
    (worse / "gate.json").write_text(judged.out)
    done = vcbench("history", revisions, "-o", tmp_path / "out", "--json")
    assert [item["verdict"] for item in done.json["revisions"]] == [None, "fail", None]
    (worse / "gate.json").write_text('{"checks": []}')
    spoilt = vcbench("history", revisions, "-o", tmp_path / "out")
    assert spoilt.code == 4
    assert "gate.json: cannot be read as output of vcbench gate --json" in spoilt.err


def test_one_revision_is_no_history(vcbench, revisions: Path, tmp_path: Path) -> None:
    done = vcbench("history", revisions / "1-first", "-o", tmp_path / "out")
    assert (done.code, (tmp_path / "out").exists()) == (4, False)
    assert "two revisions or more" in done.err
    twice = vcbench("history", *[revisions / "1-first"] * 2, "-o", tmp_path / "out")
    assert "given twice" in twice.err
