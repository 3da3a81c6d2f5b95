"""What measuring costs, against what else measures the same, side by side in one run.

    python benchmarks/metrics.py [--sizes 352x288,1920x1080] [--runs 5] [--only PARTS] [REFERENCE DISTORTED]

Contenders take turns, over and over, so that a machine whose speed drifts slows all of them. Printed are medians of
wall and CPU time (all processes) for a frame, and medians of the ratios run by run beside our targets. Parts:

    structure   psnr + ssim + ms_ssim of luma on frames in memory, against pytorch_msssim's ms_ssim alone
    pass        our measuring pass on two files, against FFmpeg's libvmaf with all threads, the same with float_ms_ssim,
                and the package ffmpeg-quality-metrics (vmaf, psnr, ssim) followed by pytorch_msssim's ms_ssim
    perceptual  benchmarks/perceptual.py, flow: benchmarks/flow.py
    each        every metric that works here, one at a time, frames in memory; --stand-in gives those whose weights are
                missing networks with random weights, which cost as much (their values mean nothing and are not shown)

Without files the clip is the embedded dataset, scaled and joined, and x264 at CRF 32 of it. A library that is not
installed is named and left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from main_job import make_clip
from stand_in import offer_stand_ins

from bench.engine.measure import MetricPass, measure
from bench.errors import UnavailableError
from bench.metrics.base import FramePair, Measurement
from bench.registry import metric_class, metric_names
from bench.video import ffmpeg
from bench.video.frame import CodingTransform, Frame
from bench.video.sequence import Sequence, open_sequence

FRAMES = {"352x288": 300, "1920x1080": 60}
LUMA = ("psnr_y", "ssim", "ms_ssim")
FIDELITY = ("psnr_y", "psnr_u", "psnr_v", "ssim", "ms_ssim")
# pytorch_msssim takes most of a second for a 1080p frame: its time for these few stands for the rest
PEER_FRAMES = {"352x288": 30, "1920x1080": 4}
# scripts of their own, and how each is told the number of runs
SCRIPTS = {"perceptual": "--runs", "flow": "--repeats"}
PARTS = ("structure", "pass", *SCRIPTS, "each")
THREADS = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Cost:
    """Seconds of wall and CPU time, for one frame."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Clip:
    """A source and a decoded version of it."""

    title: str
    reference: Path
    distorted: Path
    frames: int

    def sequences(self) -> tuple[Sequence, Sequence]:
        return open_sequence(self.reference, frames=self.frames), open_sequence(self.distorted, frames=self.frames)

    def pairs(self, count: int) -> list[tuple[Frame, Frame]]:
        source, decoded = self.sequences()
        return [pair for pair, _ in zip(zip(source.read(), decoded.read(), strict=True), range(count), strict=False)]


def cpu_seconds() -> float:
    """CPU time of this process and of the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def cost_of(work: Callable[[], object], frames: int) -> Cost:
    wall, cpu = time.perf_counter(), cpu_seconds()
    work()
    return Cost((time.perf_counter() - wall) / frames, (cpu_seconds() - cpu) / frames)


def take_turns(contenders: dict[str, tuple[Callable[[], object], int]], runs: int) -> dict[str, list[Cost]]:
    """Cost of each contender (its work, and the number of frames that it is for) in each round."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for run in range(runs + 1):
        for name, (work, frames) in contenders.items():
            cost = cost_of(work, frames)
            if run:  # the first round compiles, loads and warms the caches
                costs[name].append(cost)
    return costs


def print_costs(costs: dict[str, list[Cost]]) -> None:
    for name, values in costs.items():
        walls = [1000 * cost.wall for cost in values]
        cpu = 1000 * statistics.median(cost.cpu for cost in values)
        spread = f"({min(walls):.2f} to {max(walls):.2f})"
        print(f"  {name:34} {statistics.median(walls):9.2f} ms {spread:24} CPU {cpu:9.2f} ms")


def print_ratio(title: str, above: list[float], below: list[float], target: float, *, at_most: bool = False) -> None:
    """Median of the ratios run by run, and whether it meets its target."""
    ratio = statistics.median(a / b for a, b in zip(above, below, strict=True))
    met = ratio <= target if at_most else ratio >= target
    bound = f"at {'most' if at_most else 'least'} {target:g}"
    print(f"  {title:70} {ratio:7.2f}  (target: {bound}) {'met' if met else 'MISSED'}")


def walls(costs: list[Cost]) -> list[float]:
    return [cost.wall for cost in costs]


def peer_ms_ssim(pairs: list[tuple[Frame, Frame]]) -> Callable[[], list[float]] | None:
    """pytorch_msssim's MS-SSIM of luma with all threads; tensors are made beforehand and cost it nothing."""
    if importlib.util.find_spec("pytorch_msssim") is None:
        print("  not installed, left out: pytorch_msssim")
        return None
    import numpy as np
    import pytorch_msssim
    import torch

    torch.set_num_threads(THREADS)
    tensors = [
        tuple(torch.from_numpy(frame.planes[0].astype(np.float32))[None, None] for frame in pair) for pair in pairs
    ]
    peak = pairs[0][0].format.peak
    return lambda: [float(pytorch_msssim.ms_ssim(x, y, data_range=peak)) for x, y in tensors]


def measure_in_memory(names: tuple[str, ...], pairs: list[tuple[Frame, Frame]]) -> list[Measurement]:
    """Metrics of frames in memory; nothing is remembered from an earlier call."""
    fmt = pairs[0][0].format
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running = MetricPass([metric_class(name) for name in names], fmt, Path(folder))
        stack.callback(running.close)
        previous = None
        for index, frames in enumerate(pairs):
            fresh = [Frame(frame.format, frame.data, frame.rgb) for frame in frames]
            previous = FramePair(index, fresh[0], fresh[1], previous)
            running.push(previous)
        return running.finish()


def structure(clip: Clip, size: str, runs: int) -> None:
    """PSNR, SSIM and MS-SSIM of luma against one other MS-SSIM."""
    pairs = clip.pairs(min(clip.frames, PEER_FRAMES.get(size, 4)))
    peer = peer_ms_ssim(pairs)
    contenders = {"vcbench psnr_y, ssim, ms_ssim": (lambda: measure_in_memory(LUMA, pairs), len(pairs))}
    if peer is not None:
        contenders["pytorch_msssim ms_ssim"] = (peer, len(pairs))
    costs = take_turns(contenders, runs)
    print_costs(costs)
    if peer is None:
        return
    ours, theirs = (walls(values) for values in costs.values())
    print_ratio("pytorch_msssim / vcbench", theirs, ours, 30 if size == "1920x1080" else 10)
    mine = measure_in_memory(LUMA, pairs)[2].frames
    difference = max(abs((a or 0) - b) for a, b in zip(mine, peer(), strict=True))
    print(f"  largest difference of MS-SSIM: {difference:.1e} {'met' if difference <= 1e-5 else 'MISSED'} (1e-5)")


def whole_pass(clip: Clip, size: str, runs: int) -> None:
    """Our pass over two files against FFmpeg's own, and against the package that people use."""
    frames = clip.frames
    peer = peer_ms_ssim(clip.pairs(min(frames, PEER_FRAMES.get(size, 4))))
    contenders: dict[str, tuple[Callable[[], object], int]] = {
        "FFmpeg vmaf": (lambda: ffmpeg_vmaf(clip), frames),
        "vcbench vmaf": (lambda: our_pass(clip, ("vmaf",)), frames),
        "vcbench psnr, ssim, ms_ssim, vmaf": (lambda: our_pass(clip, (*FIDELITY, "vmaf")), frames),
        "FFmpeg vmaf, float_ms_ssim": (lambda: ffmpeg_vmaf(clip, "float_ms_ssim"), frames),
        "vcbench psnr, ssim, ms_ssim": (lambda: our_pass(clip, FIDELITY), frames),
    }
    if importlib.util.find_spec("ffmpeg_quality_metrics") is None:
        print("  not installed, left out: ffmpeg-quality-metrics")
    else:
        contenders["ffmpeg-quality-metrics"] = (lambda: quality_metrics(clip), frames)
    if peer is not None:
        contenders["pytorch_msssim ms_ssim"] = (peer, min(frames, PEER_FRAMES.get(size, 4)))
    costs = take_turns(contenders, runs)
    print_costs(costs)
    vmaf, alone, everything, both, fidelity, *others = (walls(values) for values in costs.values())
    print_ratio("vcbench vmaf / FFmpeg vmaf", alone, vmaf, 1.25, at_most=True)
    print_ratio("vcbench psnr, ssim, ms_ssim, vmaf / FFmpeg vmaf", everything, vmaf, 1.3, at_most=True)
    print_ratio("FFmpeg vmaf, float_ms_ssim / vcbench psnr, ssim, ms_ssim", both, fidelity, 8)
    if len(others) == 2:
        package = [a + b for a, b in zip(*others, strict=True)]
        title = "ffmpeg-quality-metrics + pytorch_msssim / vcbench with vmaf"
        print_ratio(title, package, everything, 3)


def our_pass(clip: Clip, names: tuple[str, ...]) -> list[Measurement]:
    source, decoded = clip.sequences()
    with tempfile.TemporaryDirectory() as folder:
        return measure(
            source.read(), decoded.read(), [metric_class(name) for name in names],
            CodingTransform(source.format, source.format), Path(folder), threads=THREADS,
        )  # fmt: skip


def ffmpeg_vmaf(clip: Clip, feature: str | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wanted = f":feature=name={feature}" if feature else ""
        cut = f"trim=end_frame={clip.frames},settb=1/25,setpts=N"
        subprocess.run(
            [*ffmpeg.base_command(), "-i", str(clip.distorted.resolve()), "-i", str(clip.reference.resolve()), "-lavfi",
             f"[0]{cut}[d];[1]{cut}[r];[d][r]libvmaf=n_threads={THREADS}{wanted}:log_fmt=json:log_path=log.json",
             "-f", "null", "-"],
            check=True, cwd=folder,
        )  # fmt: skip


def quality_metrics(clip: Clip) -> None:
    """As the README of ffmpeg-quality-metrics shows it."""
    from ffmpeg_quality_metrics import FfmpegQualityMetrics

    logging.getLogger("ffmpeg-quality-metrics").setLevel(logging.ERROR)  # it misses ffprobe, which it can do without
    package = FfmpegQualityMetrics(str(clip.reference), str(clip.distorted), ffmpeg_path=ffmpeg.executable())
    package.calculate(["vmaf", "psnr", "ssim"])


def each(clip: Clip, _: str, runs: int) -> None:
    """Milliseconds of every metric that works here for one frame, decoding excluded."""
    pairs = clip.pairs(min(clip.frames, 24))
    for name in metric_names():
        try:
            metric_class(name).check()
        except UnavailableError as error:
            print(f"  {name:14} unavailable: {str(error).splitlines()[0][:90]}")
            continue
        cost, outcome = marginal_cost(name, pairs, runs)
        note = "" if outcome.status == "ok" else f"  ({outcome.status}: {(outcome.reason or '')[:70]})"
        print(f"  {name:14} {1000 * cost.wall:10.2f} ms  CPU {1000 * cost.cpu:10.2f} ms{note}")


def marginal_cost(name: str, pairs: list[tuple[Frame, Frame]], runs: int) -> tuple[Cost, Measurement]:
    """Cost of one more frame: of a longer run less a shorter one, so that what a whole video costs does not count."""
    measure_in_memory((name,), pairs[:2])
    short = cost_of(lambda: measure_in_memory((name,), pairs[:2]), 1)
    frames = max(6, min(len(pairs), 2 + round(2 / max(short.wall, 1e-3))))
    found = []
    for _ in range(runs):
        outcome: list[Measurement] = []
        longer = cost_of(lambda out=outcome, n=frames: out.extend(measure_in_memory((name,), pairs[:n])), 1)
        short = cost_of(lambda: measure_in_memory((name,), pairs[:2]), 1)
        found.append(Cost((longer.wall - short.wall) / (frames - 2), (longer.cpu - short.cpu) / (frames - 2)))
    wall, cpu = (statistics.median(getattr(cost, kind) for cost in found) for kind in ("wall", "cpu"))
    return Cost(wall, cpu), outcome[0]


def run_script(name: str, runs: int) -> None:
    """Another benchmark of this folder."""
    print(f"\n{name}")
    given, sys.argv = sys.argv, [f"{name}.py", SCRIPTS[name], str(runs)]
    try:
        importlib.import_module(name).main()
    finally:
        sys.argv = given


def clips(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Clip]]:
    """The clip of the command line, or one of each size."""
    if arguments.files:
        reference, distorted = arguments.files
        source = open_sequence(reference)
        size = f"{source.format.width}x{source.format.height}"
        yield size, Clip(f"{reference.name}, {size}", reference, distorted, arguments.frames or source.frames)
        return
    for size in arguments.sizes.split(","):
        frames = arguments.frames or FRAMES.get(size, 60)
        reference, coded, distorted = (folder / f"{name}{size}.{kind}" for name, kind in
                                       (("reference", "y4m"), ("coded", "mkv"), ("distorted", "y4m")))  # fmt: skip
        make_clip(reference, size, frames)
        coding = ["-c:v", "libx264", "-preset", "fast", "-crf", "32"]
        for source, target, options in ((reference, coded, coding), (coded, distorted, [])):
            subprocess.run([*ffmpeg.base_command(), "-i", str(source), *options, str(target)], check=True)
        yield size, Clip(size, reference, distorted, frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="a source and a decoded version of it")
    parser.add_argument("--sizes", default=",".join(FRAMES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--frames", type=int, help="instead of those of the size, or all of the files")
    parser.add_argument("--only", help=f"some of: {','.join(PARTS)}")
    parser.add_argument("--stand-in", action="store_true", help="random weights where none are here, for cost alone")
    arguments = parser.parse_args()
    if len(arguments.files) not in {0, 2}:
        parser.error("give a source and a decoded version of it, or neither")
    wanted = set(arguments.only.split(",")) if arguments.only else set(PARTS)
    if unknown := wanted - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.stand_in:
            offer_stand_ins(Path(scratch) / "weights")
        for size, clip in clips(arguments, Path(scratch)):
            for name, part in (("structure", structure), ("pass", whole_pass), ("each", each)):
                if name in wanted:
                    print(f"\n{clip.title}, {clip.frames} frames, {name}, median of {arguments.runs}, for one frame")
                    part(clip, size, arguments.runs)
    for name in SCRIPTS:
        if name in wanted:
            run_script(name, arguments.runs)


if __name__ == "__main__":
    main()
