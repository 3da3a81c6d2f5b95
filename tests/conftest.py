"""Clips, a cache of the tests' own, and an environment without the user's settings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

# moving noise over moving shapes: no encoder codes it for nothing, none is asked for more than it can
_PATTERN = "testsrc2=size={width}x{height}:rate={rate}"
_NOISE = "noise=alls={noise}:allf=t:all_seed=3,"

TinyClip = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that the user set decides a test; VCBENCH_FFMPEG stays, so that another FFmpeg can be tested."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("VCBENCH_") and name != "VCBENCH_FFMPEG"]:
            patch.delenv(name)
        patch.setenv("VCBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_clips() -> Path:
    """Folder of real clips beside the checkout."""
    if not (SHARED / "clips").is_dir():
        pytest.skip("the real clips (../shared/clips beside the checkout) are not here")
    return SHARED / "clips"


@pytest.fixture
def shared_weights(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of real weights beside the checkout, made known to vcbench."""
    if not (SHARED / "weights").is_dir():
        pytest.skip("the real weights (../shared/weights beside the checkout) are not here")
    monkeypatch.setenv("VCBENCH_WEIGHTS", str(SHARED / "weights"))
    return SHARED / "weights"


@pytest.fixture(scope="session")
def ffmpeg_exe() -> str:
    from bench import ffmpeg

    return ffmpeg.executable()


@pytest.fixture(scope="session")
def run_ffmpeg(ffmpeg_exe: str) -> Callable[..., bytes]:
    """Call FFmpeg with arguments; its standard output. The reference that readers are compared with."""

    def run(*arguments: str | Path, stdin: bytes | None = None) -> bytes:
        argv = [ffmpeg_exe, "-v", "error", "-y", *map(str, arguments)]
        source = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(argv, capture_output=True, check=False, **source)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr.decode()
        return bytes(done.stdout)

    return run


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory, run_ffmpeg: Callable[..., bytes]) -> TinyClip:
    """Factory of synthetic y4m clips, each made once a session.

    ``tiny_clip(width=64, height=64, frames=9, pix_fmt="yuv420p", rate="25", noise=12, full_range=False)``. Odd sizes
    are exact; the same arguments give the same bytes.
    """
    folder = tmp_path_factory.mktemp("clips")

    def make(
        width: int = 64,
        height: int = 64,
        frames: int = 9,
        pix_fmt: str = "yuv420p",
        *,
        rate: str = "25",
        noise: int = 12,
        full_range: bool = False,
    ) -> Path:
        name = (
            f"{width}x{height}_{frames}_{pix_fmt}_{rate.replace('/', '-')}_{noise}{'_full' if full_range else ''}.y4m"
        )
        path = folder / name
        if not path.exists():
            pattern = _PATTERN.format(width=width + width % 2, height=height + height % 2, rate=rate)
            filters = (_NOISE.format(noise=noise) if noise else "") + f"format={pix_fmt}"
            filters += f",crop={width}:{height}:0:0:exact=1,setparams=range={'pc' if full_range else 'tv'}"
            run_ffmpeg(
                "-f", "lavfi", "-i", pattern, "-frames:v", str(frames), "-vf", filters, "-strict", "-1", path
            )  # fmt: skip
        return path

    return make
