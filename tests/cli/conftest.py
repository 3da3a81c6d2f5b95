"""A small result set of real encodes to call the command line on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import bench


@pytest.fixture(scope="session")
def clips(tiny_clip: Callable[..., Path]) -> list[Path]:
    """Three clips that no encoder codes alike."""
    return [tiny_clip(96, 80, noise=4), tiny_clip(80, 96, noise=8), tiny_clip(96, 96, noise=16)]


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory, clips: list[Path]) -> Path:
    """A result set: x264 and x265 at four rates on three clips, psnr_y and ssim. To be read only."""
    folder = tmp_path_factory.mktemp("sets") / "measured"
    results = bench.run(["x264", "x265"], inputs=clips, metrics=["psnr_y", "ssim"], out=folder)
    assert [(cell.name, cell.message) for cell in results.cells if cell.status != "ok"] == []
    return folder
