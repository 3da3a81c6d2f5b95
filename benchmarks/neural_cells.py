"""What a cell of a neural codec costs: ``python benchmarks/neural_cells.py [--before CHECKOUT]``.

CPU seconds of encode, decode, start and all else of ``vcbench run --jobs 1``, with psnr_y alone, at 416x240, 9 frames.
``--before``: a checkout of an earlier vcbench, which takes turns with this one and is given the same clip.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg

HERE = Path(__file__).resolve().parents[1]


def clip(folder: Path, frames: int) -> Path:
    path = folder / "clip.y4m"
    source = f"testsrc2=size=416x240:rate=30,format=yuv420p,trim=end_frame={frames}"
    argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "lavfi", "-i", source, str(path)]
    subprocess.run(argv, check=True)
    return path


def run(checkout: Path, codec: str, rates: str, video: Path, out: Path) -> list[dict[str, float]]:
    """CPU seconds of each cell, and of the driver by itself."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [sys.executable, "-m", "bench.cli", "run", "--codecs", codec, "--rates", rates, "--input", str(video)]
    subprocess.run(
        [*argv, "--metrics", "psnr_y", "--jobs", "1", "--out", str(out)],
        check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(checkout)}, cwd=out.parent,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cells = [json.loads(path.read_text()) for path in sorted((out / "cells").glob("*.json"))]
    costs = [
        {
            "encode": cell["encode"]["cpu_s"],
            "decode": cell["decode"]["cpu_s"],
            "start": cell["encode"].get("start_s") or 0.0,
        }
        for cell in cells
    ]
    print(f"  all processes that were waited for: {spent:.1f} s")
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", default="s2vc-small")
    parser.add_argument("--rates", default="0,1,2,3")
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = clip(folder, options.frames)
        contenders = {"this": HERE, **({"before": options.before.resolve()} if options.before else {})}
        for title, checkout in contenders.items():
            print(title, flush=True)
            costs = run(checkout, options.codec, options.rates, video, folder / title)
            for cost in costs:
                print("  " + ", ".join(f"{what} {seconds:.2f} s" for what, seconds in cost.items()))
            total = sum(cost["encode"] + cost["decode"] for cost in costs) + max(cost["start"] for cost in costs)
            print(
                f"  {len(costs)} cells, start included: {total:.1f} s of CPU time, {total / len(costs):.2f} s a cell",
                flush=True,
            )


if __name__ == "__main__":
    main()
