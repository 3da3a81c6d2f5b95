"""The command line called in this process, and a small result set of real encodes to call it on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.cli import _run


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as strict JSON."""

        def refuse(name: str) -> float:
            raise ValueError(f"{name} is not JSON")

        return json.loads(self.out, parse_constant=refuse)


@pytest.fixture
def vcbench(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the command line with arguments of any type."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = _run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def clips(tiny_clip: Callable[..., Path]) -> list[Path]:
    """Three clips that no encoder codes alike."""
    return [tiny_clip(96, 80, noise=4), tiny_clip(80, 96, noise=8), tiny_clip(96, 96, noise=16)]


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory, clips: list[Path]) -> Path:
    """A result set: x264 and x265 at four rates on three clips, psnr_y and ssim. To be read only."""
    folder = tmp_path_factory.mktemp("sets") / "measured"
    results = bench.run(["x264", "x265"], inputs=clips, metrics=["psnr_y", "ssim"], out=folder)
    assert {cell.status for cell in results.cells} == {"ok"}
    return folder
