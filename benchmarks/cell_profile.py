"""Where the wall time of one cell goes: ``python benchmarks/cell_profile.py [--codec x265 --rate 32]``.

``vcbench run`` of one cell in this process, one job, under Python's profiler. Each line is a step of the cell with the
seconds that this process spent in it, its programs' included where it waits for them. Steps of the measuring pass
overlap with the decoder and FFmpeg's filters, which work meanwhile: what is small here is not small for the machine.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from main_job import make_clip


def steps() -> dict[str, Callable[..., Any]]:
    """Functions by what they do; an indented one is part of the one before it that is not."""
    from bench.engine import cell, measure
    from bench.engine.run import plan
    from bench.metrics.filters import FilterPass
    from bench.video.frame import DigestedFrames

    work = cell._Work
    return {
        "plan: cards, clip's digest, versions of programs": plan,
        "encode": work.encode,
        "decode and measure": cell._measure,
        "  start the decoder": work.open,
        "  start FFmpeg's filters, prepare metrics": measure.MetricPass.__init__,
        "  wait for decoded frames": cell._WaitingClock.__next__,
        "  the same, and their digest": DigestedFrames.__next__,
        "  measure pairs of frames": measure.MetricPass.push,
        "    of which: hand them to FFmpeg's filters": FilterPass.push,
        "  wait for the filters' last values, pool": measure.MetricPass.finish,
        "check that clip and programs did not change": work.conclude,
        "write the result": work.store,
    }


def profile(codec: str, rate: str, clip: Path, metrics: str, out: Path) -> None:
    """Run one cell and print its steps."""
    started = time.perf_counter()
    import bench

    profiler = cProfile.Profile()
    profiler.enable()
    (cell,) = bench.run(codec, rates=[float(rate)], inputs=clip, metrics=metrics.split(","), jobs=1, out=out).cells
    profiler.disable()
    whole = time.perf_counter() - started
    assert cell.status == "ok", cell.message
    spent = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    costs = ", ".join(
        f"{what} {cost.seconds:.2f} s ({cost.cpu_s:.2f} s of CPU, start {cost.start_s or 0.0:.2f})"
        for what, cost in (("encode", cell.encode), ("decode", cell.decode))
    )
    print(f"{codec} at {rate}, {metrics}: {whole:.2f} s of wall time\n  {costs}")
    named = 0.0
    for title, function in steps().items():
        code = function.__code__
        entry = spent.get((code.co_filename, code.co_firstlineno, code.co_name))
        seconds = entry[3] if entry else 0.0
        named += 0.0 if title.startswith(" ") else seconds
        print(f"  {title:58} {seconds:6.2f} s {seconds / whole:6.1%}")
    print(f"  {'imports, and loading the results':58} {whole - named:6.2f} s {1 - named / whole:6.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", default="x265")
    parser.add_argument("--rate", default="32")
    parser.add_argument("--size", default="416x240")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--metrics", default="psnr_y,ssim,ms_ssim,vmaf")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "clip.y4m"
        make_clip(made, options.size, options.frames)
        profile(options.codec, options.rate, made, options.metrics, Path(folder) / "out")
