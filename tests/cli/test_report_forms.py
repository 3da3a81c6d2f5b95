"""vcbench report's other forms: files for a paper, and a leaderboard."""

from __future__ import annotations

import shutil
from pathlib import Path


def test_a_paper_is_written_where_it_is_told(vcbench, measured: Path, tmp_path: Path) -> None:
    done = vcbench("report", measured, "-o", tmp_path, "--paper", "--style", "double-column", "--metrics", "ssim")
    assert done.code == 0, done.err
    assert f"report: {tmp_path / 'paper.tex'}" in done.out
    assert {path.name for path in tmp_path.iterdir()} == {
        "captions.md",
        "captions.tex",
        "figures",
        "paper.tex",
        "tables",
        "vcbench.json",
    }
    # every encode's command line, for whoever repeats it
    assert "libx265" in (tmp_path / "captions.md").read_text()


def test_a_leaderboard_of_real_runs(vcbench, measured: Path, tmp_path: Path) -> None:
    arguments = ("report", measured, "--leaderboard", "--anchor", "x265", "-o", tmp_path, "--json")
    done = vcbench(*arguments)
    assert done.code == 0, done.err
    assert {(row["entry"], row["sequences_total"]) for one in done.json["boards"] for row in one["rows"]} == {
        ("x264", 3),
        ("x265", 3),
    }
    assert (tmp_path / "index.html").is_file()


def test_a_damaged_submission_is_refused_and_the_exit_code_says_so(vcbench, measured: Path, tmp_path: Path) -> None:
    other = shutil.copytree(measured, tmp_path / "other")
    next((other / "bitstreams").glob("x264*")).write_bytes(b"x")
    done = vcbench("report", measured, other, "--leaderboard", "--anchor", "x265", "-o", tmp_path / "out")
    assert done.code == 6
    assert "left out: other, the whole submission: x264" in done.err


def test_a_leaderboard_needs_an_anchor_and_a_place(vcbench, measured: Path, tmp_path: Path) -> None:
    for given in (["--anchor", "x265"], ["-o", tmp_path]):
        done = vcbench("report", measured, "--leaderboard", *given)
        assert done.code == 4
        assert "needs --anchor CODEC" in done.err
