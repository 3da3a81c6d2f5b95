"""Runs of a codec that misbehaves as told, and disks that fill."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import misbehaving
import pytest
from command_line import Outcome, Vcbench

import bench


@dataclass(frozen=True)
class Bench:
    """One clip, a folder of cards of the misbehaving codec, and a result folder."""

    folder: Path
    clip: Path
    call: Vcbench
    modes: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def card(self, mode: str) -> str:
        """Name of a card whose codec has that mode."""
        return misbehaving.card(self.folder, mode, frames_in="y4m", frames_out="y4m")

    def arguments(
        self,
        *modes: str,
        clip: Path | None = None,
        out: Path | None = None,
        jobs: int = 1,
        metrics: str = "psnr_y",
        before: tuple[str, ...] = (),
    ) -> list[str]:
        """A run of the codec in these modes, after the codecs ``before``."""
        names = ",".join([*before, *(self.card(mode) for mode in modes)])
        given = ["run", "--codecs", names, "--path", self.folder, "--trust", "--input", clip or self.clip,
                 "--metrics", metrics, "--jobs", jobs, "--out", out or self.out]  # fmt: skip
        return [str(argument) for argument in given]

    def run(self, *modes: str, **settings: Any) -> tuple[Outcome, dict[str, Any]]:
        """The command's outcome, and the cells it left by mode."""
        more = settings.pop("more", ())
        outcome = self.call(*self.arguments(*modes, **settings), *more)
        return outcome, self.cells(settings.get("out"))

    def cells(self, out: Path | None = None) -> dict[str, Any]:
        loaded = bench.load(out or self.out)
        assert not loaded.problems
        return {cell.codec.name.removeprefix("test-"): cell for cell in loaded.cells}


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_clip: Callable[..., Path], vcbench: Vcbench) -> Bench:
    """The misbehaving codec, ready to be run on a clip of 64x48 and five frames."""
    misbehaving.install(tmp_path, monkeypatch)
    monkeypatch.setenv("NAP", f"6{abs(hash(str(tmp_path))) % 10**9:010d}")
    return Bench(tmp_path, tiny_clip(64, 48, frames=5), vcbench)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Callable[..., Path]) -> Path:
    """A result set of x264 at four rates on one clip, psnr_y. To be copied before it is changed."""
    folder = tmp_path_factory.mktemp("sets") / "measured"
    results = bench.run("x264", inputs=tiny_clip(64, 48, frames=3), metrics=["psnr_y"], out=folder)
    assert len(results.cells) == 4 and {cell.status for cell in results.cells} == {"ok"}
    return folder


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a file system in memory with options ("size=1m"); the same call again changes them."""
    made: list[Path] = []

    def mount(options: str, name: str = "disk") -> Path:
        folder = tmp_path / name
        again = folder in made
        folder.mkdir(exist_ok=True)
        options = f"remount,{options}" if again else options
        argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
        if done is None or done.returncode:
            pytest.skip("a file system can be mounted by root alone" + (f": {done.stderr.strip()}" if done else ""))
        if not again:
            made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a distribution of one module: its code, and its entry points by group."""
    installed: list[str] = []

    def install(module: str, code: str, **groups: str) -> None:
        site = tmp_path / "site"
        info = site / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = [f"[vcbench.{group}]\n{point}\n" for group, point in groups.items()]
        (info / "entry_points.txt").write_text("".join(lines))
        (site / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(site)
        installed.append(module)

    yield install
    for module in installed:
        sys.modules.pop(module, None)
