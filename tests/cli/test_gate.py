"""vcbench gate on real encodes: x265 against itself, and against an x265 made a little worse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import bench
from bench.cards import Catalog

pytestmark = pytest.mark.slow

RULE = "bd_rate(psnr_y)>0.5%"


def changed_x265(folder: Path, parameters: str) -> Path:
    """A folder for --path with an x265 card that has other parameters."""
    text = Catalog().find("codecs", "x265").read_text(encoding="utf-8")
    (folder / "codecs").mkdir(parents=True)
    (folder / "codecs" / "x265.toml").write_text(text.replace('"qp={rate}:', f'"{parameters}:qp={{rate}}:'))
    return folder


@pytest.fixture(scope="session")
def real_clips(shared_clips: Path, tmp_path_factory: pytest.TempPathFactory, run_ffmpeg) -> list[Path]:
    """Corners of real clips, a few frames each."""
    folder = tmp_path_factory.mktemp("real")
    cut = []
    for name in ("foreman", "coastguard", "news"):
        target = folder / f"{name}.y4m"
        source = shared_clips / "cif" / f"{name}_352x288.y4m"
        run_ffmpeg("-i", source, "-frames:v", "12", "-vf", "crop=176:144:88:72", "-strict", "-1", target)
        cut.append(target)
    return cut


@pytest.fixture(scope="session")
def real(real_clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Result sets of x265 as it is, again, and with fewer candidates for merging."""
    root = tmp_path_factory.mktemp("gate")
    settings = {"inputs": real_clips, "metrics": ["psnr_y"]}
    bench.run("x265", out=root / "main", **settings)
    bench.run("x265", out=root / "again", **settings)
    bench.run("x265", out=root / "worse", paths=changed_x265(root / "cards", "max-merge=2"), **settings)
    return {name: root / name for name in ("main", "again", "worse")}


def test_x265_against_itself_is_an_exact_match(vcbench, real: dict[str, Path], tmp_path: Path) -> None:
    done = vcbench(
        *("gate", "--baseline", real["main"], "--candidate", real["again"], "--fail", RULE, "--json"),
        *("--junit", tmp_path / "gate.xml", "--markdown", tmp_path / "gate.md"),
    )
    assert done.code == 0
    found = {item["rule"]: item for item in done.json["checks"]}
    assert (found[RULE]["change"], found[RULE]["exact"], found[RULE]["verdict"]) == (0, True, "pass")
    assert 'failures="0" errors="0"' in (tmp_path / "gate.xml").read_text()
    assert (tmp_path / "gate.md").read_text().startswith("## Gate passed")


def test_x265_made_about_one_per_cent_worse_is_caught(vcbench, real: dict[str, Path]) -> None:
    done = vcbench("gate", "--baseline", real["main"], "--candidate", real["worse"], "--fail", RULE, "--json")
    (found,) = (item for item in done.json["checks"] if item["rule"] == RULE)
    compared = vcbench("compare", real["main"], real["worse"], "--anchor", "x265", "--json").json
    assert (done.code, found["verdict"]) == (1, "fail")
    assert 0.5 < found["change"] < 1.6
    assert found["change"] == pytest.approx(compared["bd_rate"]["value"])


def test_the_other_way_round_it_is_better_and_passes(vcbench, real: dict[str, Path]) -> None:
    done = vcbench("gate", "--baseline", real["worse"], "--candidate", real["main"], "--fail", RULE)
    assert done.code == 0
    assert "Gate passed: 3 passed" in done.out


def test_a_rule_that_cannot_be_judged_fails(vcbench, real: dict[str, Path]) -> None:
    pair = ("--baseline", real["main"], "--candidate", real["again"])
    done = vcbench("gate", *pair, "--fail", "bd_rate(vmaf)>1%", "--fail", "encode_s>10%")
    assert done.code == 1
    assert "vmaf was not measured on the baseline" in done.out
    assert "run both sides with --timing" in done.out


def test_missing_sides_codecs_and_cells_fail(vcbench, real: dict[str, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    (empty / "cells").mkdir(parents=True)
    rule = ("--fail", RULE)
    assert vcbench("gate", "--baseline", real["main"], "--candidate", empty, *rule).code == 1
    assert vcbench("gate", "--baseline", empty, "--candidate", real["main"], *rule).code == 1
    other = Path(shutil.copytree(empty, tmp_path / "other"))
    nothing = vcbench("gate", "--baseline", empty, "--candidate", other, *rule, "--junit", tmp_path / "gate.xml")
    assert nothing.code == 5
    assert 'errors="1"' in (tmp_path / "gate.xml").read_text()
    part = Path(shutil.copytree(real["again"], tmp_path / "part"))
    next((part / "cells").glob("x265_39_*.json")).write_text("torn")
    torn = vcbench("gate", "--baseline", real["main"], "--candidate", part, *rule)
    assert torn.code == 1
    assert "the candidate does not have it" in torn.out
    assert "left out: " in torn.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--baseline", "MISSING", "--candidate", "MAIN", "--fail", RULE], "there is no such folder"),
        (["--candidate", "MAIN", "--fail", RULE], "no baseline is given"),
        (["--baseline", "MAIN", "--candidate", "AGAIN"], "no rule is given"),
        (["--baseline", "MAIN", "--candidate", "MAIN", "--fail", RULE], "is given twice"),
        (["--baseline", "MAIN", "--candidate", "AGAIN", "--fail", "bd_rate(psnr_y)>x%"], "column 17"),
        (["--baseline", "MAIN", "--candidate", "AGAIN", "--fail", RULE, "--codecs", "x264"], "did you mean x265"),
        (["--baseline", "MAIN", "--candidate", "FOLDER", "--fail", RULE], "is not a result set"),
        (["--baseline", "MAIN", "--candidate", "AGAIN", "--fail", RULE, "--config", "FILE"], "no table [tool.vcbench"),
        (["--baseline", "MAIN", "--candidate", "AGAIN", "--fail", RULE, "--junit", "FILE/x.xml"], "cannot be written"),
        (["--baseline", "MAIN", "--candidate", "AGAIN", "--fail", RULE, "--junit", "FILE"], "did not write it"),
    ],
)
def test_what_cannot_be_run_exits_with_4(
    vcbench, real: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("[tool.other]\n")
    (tmp_path / "FOLDER").mkdir()
    words = [real.get(word.lower(), word) for word in arguments]
    done = vcbench("gate", *words)
    assert (done.code, done.out) == (4, "")
    assert says in done.err
    assert (tmp_path / "FILE").read_text() == "[tool.other]\n"


def test_defaults_stand_in_pyproject_and_options_replace_them(
    vcbench, real: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = f'[tool.vcbench.gate]\nbaseline = [{json.dumps(str(real["main"]))}]\nfail = ["{RULE}", "bytes>50%"]\n'
    (tmp_path / "pyproject.toml").write_text(table)
    monkeypatch.chdir(tmp_path)
    done = vcbench("gate", "--candidate", real["worse"], "--json")
    assert done.code == 1
    assert [item["rule"] for item in done.json["checks"]] == ["complete", "failed_cells>0", RULE, "bytes>50%"]
    assert vcbench("gate", "--candidate", real["worse"], "--fail", "bytes>50%").code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert vcbench("gate", "--candidate", real["worse"], "--config", "../pyproject.toml").code == 1


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("[tool.vcbench.gate]\nfails = []\n", "fails: Extra inputs are not permitted; remove it"),
        ('[tool.vcbench.gate]\ninconclusive = "maybe"\n', "inconclusive"),
        ('[tool]\nvcbench = "gate"\n', "tool.vcbench: is not a table"),
        ("[tool.vcbench.gate\n", "is not TOML"),
        ('[tool.vcbench.gate]\nfail = ["psnr_y>1"]\nbaseline = ["."]\n', "column 7"),
    ],
)
def test_wrong_defaults_are_refused_by_name(
    vcbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, says: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(table)
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path)
    done = vcbench("gate", "--candidate", "set")
    assert done.code == 4
    assert says in done.err


def test_the_gate_from_python(real: dict[str, Path]) -> None:
    result = bench.gate(real["main"], real["worse"], fail=RULE, inconclusive="fail")
    assert not result.passed
    assert [check.verdict for check in result.checks] == ["pass", "pass", "fail"]


def test_repeated_runs_are_given_as_several_folders(vcbench, real: dict[str, Path]) -> None:
    sides = ("--baseline", real["main"], "--baseline", real["again"], "--candidate", real["worse"])
    done = vcbench("gate", *sides, "--fail", "encode_memory>50%", "--json")
    assert done.code == 0
    (found,) = (item for item in done.json["checks"] if item["rule"] == "encode_memory>50%")
    assert found["low"] <= found["change"] <= found["high"]
