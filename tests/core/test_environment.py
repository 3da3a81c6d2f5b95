"""Programs find the same libraries whatever this process has imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.environment import inherited
from bench.core.process import Process
from bench.core.sandbox import passed

SHOW = [sys.executable, "-S", "-c", "import os; print(os.environ.get('LD_LIBRARY_PATH'), flush=True)"]


@pytest.mark.parametrize("given", [None, "/opt/lib", "/opt/lib:/usr/local/lib"])
def test_importing_opencv_changes_nothing_that_programs_get(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    if given is not None:
        monkeypatch.setenv("LD_LIBRARY_PATH", given)
    program = (
        "import json, os; from bench.core.environment import inherited; before = inherited(); import cv2; "
        "print(json.dumps([before == inherited(), inherited() == dict(os.environ), "
        "inherited().get('LD_LIBRARY_PATH'), os.environ.get('LD_LIBRARY_PATH')]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    same, untouched, now, added = json.loads(done.stdout)
    assert same
    assert now == given
    assert not untouched, "OpenCV adds nothing any more: this module can go"
    monkeypatch.setenv("LD_LIBRARY_PATH", added)
    assert inherited().get("LD_LIBRARY_PATH") == passed().get("LD_LIBRARY_PATH") == given
    for env in (None, {"MORE": "1"}):
        with Process(SHOW, stdout="pipe", env=env) as process:
            assert process.stdout.read().decode().strip() == str(given)
            process.finish()


def test_other_folders_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}::/opt/lib64")
    assert inherited()["LD_LIBRARY_PATH"] == f"{tmp_path}::/opt/lib64"
