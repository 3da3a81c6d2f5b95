"""The guide to adding a metric: its files work as shown, before and after they are installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import program

import bench
from bench.conformance import Finding
from bench.metrics.base import Metric

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "add-a-metric.md"


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the guide shows, in a folder of their own."""
    folder = tmp_path_factory.mktemp("guide")
    blocks = re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert [name for name, _ in blocks] == ["mae.py", "worst_run.py", "pyproject.toml"]
    for name, text in blocks:
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def installed(guide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with what the guide's project installs: its modules, and its entry points."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((guide / "pyproject.toml").read_text())
    info = site / "vcbench_mae-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['project']['name']}\nVersion: 1.0\n")
    groups = project["project"]["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups.items()]
    (info / "entry_points.txt").write_text("".join(lines))
    for name in project["tool"]["hatch"]["build"]["targets"]["wheel"]["include"]:
        shutil.copy(guide / name, site)
    return site


def vcbench(folder: Path, *arguments: str, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, filter(None, (GUIDE.parents[2], site))))
    return program(*arguments, cwd=folder, env={**os.environ, "PYTHONPATH": path})


def commands(*, trusted: bool) -> list[str]:
    found = re.findall(r"^    vcbench (.*)$", GUIDE.read_text(), re.MULTILINE)
    return [command for command in found if ("--trust" in command) == trusted]


def test_the_files_conform_before_they_are_installed(guide: Path) -> None:
    (first, second) = commands(trusted=True)
    files = ",".join(command.split()[2] for command in (first, second))
    done = vcbench(guide, "validate", "--metric", files, "--trust", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(row["valid"], row["problems"], row["warnings"]) for row in json.loads(done.stdout)] == [(True, [], [])] * 2


def test_the_installed_metric_is_listed_checked_and_measured(
    guide: Path, installed: Path, tiny_clip: Callable[..., Path]
) -> None:
    shutil.copy(tiny_clip(), guide / "clip.y4m")
    listing, check, run = commands(trusted=False)
    listed = vcbench(guide, *listing.split(), "--json", site=installed)
    row = next(row for row in json.loads(listed.stdout) if row["name"] == "mae_y")
    assert (row["available"], row["direction"], row["default"]) == (True, "lower", False)
    assert vcbench(guide, *check.split(), site=installed).stdout == "mae_y: ok\n"
    done = vcbench(guide, *run.split(), site=installed)
    assert done.returncode == 0, done.stderr
    table = bench.load(guide / run.split()[-1]).to_pandas()
    errors = table[table["metric"] == "mae_y"].sort_values("bytes")["value"]
    assert len(errors) == 4
    assert errors.is_monotonic_decreasing
    assert (errors > 0).all()


def test_the_guide_names_every_attribute_and_every_rule() -> None:
    text = GUIDE.read_text()
    source = Path(sys.modules[Finding.__module__].__file__ or "").read_text()
    rules = {*re.findall(r"Finding\(\s*\"(\w+)\"", source), *re.findall(r"_differing\(\"(\w+)\"", source)}
    documented = set(re.findall(r"^\| (`.*?) \| [a-z]", text.partition("## What is checked")[2], re.MULTILINE))
    assert {name for cell in documented for name in re.findall(r"`(\w+)`", cell)} == rules
    table = text.partition("## What a class declares")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(Metric.__annotations__)
