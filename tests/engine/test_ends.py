"""However a run ends, nothing of it is left running: workers, encoders, what these started."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from card_texts import command_card
from command_line import argv

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes by their environment"),
]

# an encoder that is started by a script, and that leaves a helper in a session of its own, without living parents
SCRIPT = """#!/bin/sh
[ "$1" = -V ] && exit
(setsid sleep 600 &)
sleep 600
"""

RUN_AND_RUN_AGAIN = """
import sys
import bench
try:
    bench.run("lasting", inputs=sys.argv[1], paths=[sys.argv[2]], trust=True, metrics=["psnr_y"], jobs=2, out="first")
except KeyboardInterrupt:
    print("interrupted", flush=True)
results = bench.run("x264", inputs=sys.argv[1], rates=[30], metrics=["psnr_y"], jobs=2, out="second")
print([cell.status for cell in results.cells])
"""


class Family:
    """The processes that come of one command, known by their environment."""

    def __init__(self, folder: Path) -> None:
        self._token = secrets.token_hex(16)
        tool = folder / "tool.sh"
        tool.write_text(SCRIPT)
        tool.chmod(0o755)
        (folder / "codecs").mkdir()
        card = command_card(
            "lasting", "TEST_CODEC", ["encode", "{input}", "{bitstream}"], ["decode", "{bitstream}", "{output}"],
            version=["-V"], rates=[0, 1],
        )  # fmt: skip
        (folder / "codecs" / "lasting.toml").write_text(card)
        self.environment = {**os.environ, "TEST_CODEC": str(tool), "TEST_TOKEN": self._token}

    def living(self, command: str = "") -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TEST_TOKEN") == self._token and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return [line for line in found if command in line]

    def wait_for(self, command: str, number: int) -> None:
        deadline = time.monotonic() + 120
        while len(self.living(command)) < number:
            assert time.monotonic() < deadline, self.living()
            time.sleep(0.05)

    def is_gone(self) -> bool:
        # two seconds are promised; a machine with more to do than it can is given more
        deadline = time.monotonic() + 60
        while self.living():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


@pytest.fixture
def family(tmp_path: Path):
    made = Family(tmp_path)
    yield made
    for process in psutil.process_iter():
        try:
            if process.environ().get("TEST_TOKEN") == made._token:
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


@pytest.mark.parametrize(
    ("name", "code", "backend"),
    [
        ("SIGINT", 2, "loky"),
        ("SIGTERM", 2, "loky"),
        ("SIGHUP", 2, "threading"),
        ("SIGKILL", -9, "loky"),
        ("SIGINT", 2, "threading"),
    ],
)
def test_fault_03_a_signal_to_the_driver_alone(
    tmp_path: Path, tiny_clip, family: Family, name: str, code: int, backend: str
) -> None:
    arguments = ["run", "--codecs", "lasting", "--path", tmp_path, "--trust", "--input", tiny_clip(64, 48, frames=2),
                 "--metrics", "psnr_y", "--jobs", 2, "--backend", backend, "--out", tmp_path / "out"]  # fmt: skip
    driver = subprocess.Popen(
        argv(*arguments),
        env=family.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    family.wait_for("sleep 600", 4)
    driver.send_signal(getattr(signal, name))
    _, said = driver.communicate(timeout=120)
    assert driver.returncode == code, said
    assert ("the same command continues" in said) == (code == 2)
    assert "Traceback" not in said
    assert family.is_gone(), family.living()
    # none of them was stored as a failed cell
    assert list((tmp_path / "out" / "cells").iterdir()) == []


def test_a_notebook_is_stopped_and_goes_on(tmp_path: Path, tiny_clip, family: Family) -> None:
    clip = str(tiny_clip(64, 48, frames=2))
    notebook = subprocess.Popen(
        [sys.executable, "-c", RUN_AND_RUN_AGAIN, clip, str(tmp_path)],
        env=family.environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    family.wait_for("sleep 600", 4)
    notebook.send_signal(signal.SIGINT)
    out, said = notebook.communicate(timeout=120)
    assert notebook.returncode == 0, said
    assert out == "interrupted\n['ok']\n"
    assert family.is_gone(), family.living()


def test_nohup_keeps_a_run_alive(tmp_path: Path, tiny_clip, family: Family) -> None:
    arguments = ["run", "--codecs", "lasting", "--path", tmp_path, "--trust", "--input", tiny_clip(64, 48, frames=2),
                 "--metrics", "psnr_y", "--jobs", 1, "--time-limit", 1, "--out", tmp_path / "out"]  # fmt: skip
    driver = subprocess.Popen(
        ["nohup", *argv(*arguments)],
        env=family.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    family.wait_for("sleep 600", 2)
    driver.send_signal(signal.SIGHUP)
    _, said = driver.communicate(timeout=120)
    assert driver.returncode == 6, said
    assert said.count("failed: timeout") == 2
    assert family.is_gone(), family.living()
