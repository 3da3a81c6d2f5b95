"""The GitHub Action: its scripts run, on a made-up runner, from an empty branch to a second revision."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"] if "name" in step}

# stands for the program, whose commands have tests of their own: notes its words, writes what the steps look for
STANDIN = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$CALLS/$1"
out="" markdown=""
while [ $# -gt 0 ]; do
  case "$1" in --out) out="$2" ;; --markdown) markdown="$2" ;; esac
  shift
done
if [ -n "$markdown" ]; then echo "## Gate" > "$markdown"; echo '{"passed": false}'; exit "$GATE"; fi
mkdir -p "$out/cells" && echo '{}' > "$out/cells/a.json"
"""


class Runner:
    """What a runner gives the steps: a place for outputs, a repository to push to, the program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository.git"
        subprocess.run(["git", "init", "--quiet", "--bare", self.repository], check=True)
        program = folder / "bin" / "vcbench"
        program.parent.mkdir()
        program.write_text(STANDIN)
        program.chmod(0o755)
        (folder / "calls").mkdir()

    def step(self, name: str, gate: int = 0, **given: object) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "CALLS": str(self.folder / "calls"),
            "GATE": str(gate),
            "GITHUB_OUTPUT": str(self.folder / "outputs"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "step-summary.md"),
        }
        assert set(given) == set(STEPS[name].get("env", {}))
        environment |= {key: str(value) for key, value in given.items()}
        script = STEPS[name]["run"]
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            env=environment, cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def revision(self, number: int, gate: int = 0, rules: str = "") -> list[subprocess.CompletedProcess[str]]:
        results, kept = self.folder / f"results{number}", self.folder / f"kept{number}"
        return [
            self.step("Run", CODECS="x265", RUN_ARGS="--datasets quickstart --metrics psnr_y", RESULTS=results),
            self.step("Get the history", BRANCH="kept", FOLDER=kept, TOKEN="", REPOSITORY=self.repository),
            self.step(
                "Gate", gate, FAIL=rules, BASELINE="", HISTORY=kept, RESULTS=results, SUMMARY=self.folder / "summary.md"
            ),
            self.step("Keep the history", BRANCH="kept", FOLDER=kept, RESULTS=results, SHA=f"{number}" * 40),
        ]

    def tree(self) -> list[str]:
        listed = ["git", "-C", str(self.repository), "ls-tree", "-r", "--name-only", "kept"]
        return subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    if shutil.which("git") is None:
        pytest.skip("no git here")
    return Runner(tmp_path)


def test_revisions_gather_on_the_branch_and_each_is_judged_against_the_one_before(runner: Runner) -> None:
    for done in runner.revision(1):
        assert done.returncode == 0, done.stderr
    assert "verdict=none" in (runner.folder / "outputs").read_text()
    (first,) = runner.tree()
    assert first.endswith(f"-{'1' * 10}/cells/a.json")
    for done in runner.revision(2, gate=1, rules="bd_rate(psnr_y)>0.5%\nbytes>1%\n"):
        assert done.returncode == 0, done.stderr
    assert "verdict=fail" in (runner.folder / "outputs").read_text()
    words = (runner.folder / "calls" / "gate").read_text().splitlines()
    assert [words[at + 1] for at, word in enumerate(words) if word == "--fail"] == ["bd_rate(psnr_y)>0.5%", "bytes>1%"]
    assert words[words.index("--baseline") + 1].endswith(first.split("/")[1])
    kept = runner.tree()
    assert [name.partition("/")[2].partition("/")[2] for name in kept if name.startswith("revisions/2")] == [
        "cells/a.json", "cells/a.json", "gate.json",
    ]  # fmt: skip
    assert "history/cells/a.json" in kept


def test_a_gate_that_could_not_judge_ends_the_job(runner: Runner) -> None:
    runner.revision(1)
    assert runner.revision(2, gate=4)[2].returncode == 4


def test_a_history_that_cannot_be_reached_is_not_begun_anew(runner: Runner) -> None:
    shutil.rmtree(runner.repository)
    done = runner.step(
        "Get the history", BRANCH="kept", FOLDER=runner.folder / "kept", TOKEN="", REPOSITORY=runner.repository
    )
    assert done.returncode not in {0, 2}


def test_nothing_that_others_write_is_put_into_a_script() -> None:
    """An expression inside a script would run as part of it."""
    assert [name for name, step in STEPS.items() if "${{" in step.get("run", "")] == []
