"""The main job against the scripts it replaces, side by side in one run.

    python benchmarks/main_job.py [--sizes 416x240,1920x1080] [--runs 5] [--compressai PYTHON]

x265 at four QPs on one clip, each contender in turn, over and over, so that a machine whose speed drifts slows all of
them; printed are medians of wall time and of the ratios run by run.

    loop        what people script: for each QP an encode, then an FFmpeg pass with libvmaf, both with all threads
    vcbench -j  ``vcbench run`` with psnr and vmaf
    loky        the same with ``--jobs 2 --backend loky``
    encodes     the encodes of ``--jobs 1`` alone, one after the other, each on one thread as vcbench runs it
    ssim        ``vcbench run --jobs 2`` with psnr, ssim and ms_ssim
    compressai  ``python -m compressai.utils.video.bench x265`` for the same points (``--compressai`` names the
                interpreter that has it; it runs once, for it takes minutes)

The clip is the embedded dataset, scaled and joined: 416x240 with 450 frames, 1920x1080 with 40.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.cards import Catalog
from bench.datasets.manifest import load_manifest, locate
from bench.video import ffmpeg

QPS = (22, 27, 32, 37)
FRAMES = {"416x240": 450, "1920x1080": 40}


def make_clip(path: Path, size: str, frames: int) -> None:
    """Sequences of the embedded dataset, scaled and joined, as y4m."""
    manifest = load_manifest(Catalog().find("datasets", "quickstart"))
    files = [locate(manifest, entry) for entry in manifest.sequences]
    width, height = size.split("x")
    inputs = [word for file in files for word in ("-i", str(file))]
    scaled = "".join(f"[{i}:v]scale={width}:{height}:flags=lanczos,setsar=1,fps=30[s{i}];" for i in range(len(files)))
    joined = "".join(f"[s{i}]" for i in range(len(files))) + f"concat=n={len(files)}[out]"
    subprocess.run(
        [*ffmpeg.base_command(), *inputs, "-filter_complex", scaled + joined, "-map", "[out]", "-frames:v", str(frames),
         "-pix_fmt", "yuv420p", str(path)],
        check=True,
    )  # fmt: skip


def bare_loop(clip: Path, folder: Path) -> None:
    """One multi-threaded encode and one multi-threaded libvmaf pass after the other."""
    threads = len(os.sched_getaffinity(0))
    for qp in QPS:
        stream = folder / f"{qp}.hevc"
        subprocess.run(
            [*ffmpeg.base_command(), "-i", str(clip), "-c:v", "libx265", "-preset", "medium", "-x265-params",
             f"qp={qp}:keyint=32:min-keyint=32:scenecut=0:info=0:log-level=error", str(stream)],
            check=True,
        )  # fmt: skip
        subprocess.run(
            [*ffmpeg.base_command(), "-i", str(stream), "-i", str(clip), "-lavfi",
             "[0]settb=1/25,setpts=N[a];[1]settb=1/25,setpts=N[b];"
             f"[a][b]libvmaf=n_threads={threads}:feature=name=psnr:log_fmt=json:log_path={qp}.json", "-f", "null", "-"],
            check=True, cwd=folder,
        )  # fmt: skip


def encodes(clip: Path, folder: Path) -> None:
    """What ``--jobs 1`` cannot do without: one encode after the other, on one thread."""
    for qp in QPS:
        subprocess.run(
            [*ffmpeg.base_command(), "-i", str(clip), "-c:v", "libx265", "-preset", "medium", "-x265-params",
             f"qp={qp}:keyint=32:min-keyint=32:scenecut=0:pools=none:wpp=0:frame-threads=1:info=0:log-level=error",
             str(folder / f"{qp}.hevc")],
            check=True,
        )  # fmt: skip


def vcbench(clip: Path, folder: Path, jobs: int, metrics: str, backend: str = "auto") -> None:
    subprocess.run(
        [sys.executable, "-m", "bench.cli", "run", "--codecs", "x265", "--rates", ",".join(map(str, QPS)), "--input",
         str(clip), "--metrics", metrics, "--jobs", str(jobs), "--backend", backend, "--out", str(folder / "out")],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def compressai(python: str, clip: Path, folder: Path) -> None:
    """CompressAI's own benchmark of x265; it wants raw video named WIDTHxHEIGHT_FPS and an ffmpeg on PATH."""
    raw = folder / "data"
    raw.mkdir()
    size = clip.stem
    subprocess.run(
        [*ffmpeg.base_command(), "-i", str(clip), "-f", "rawvideo", str(raw / f"clip_{size}_30fps_8bit_420.yuv")],
        check=True,
    )
    tools = folder / "bin"
    tools.mkdir()
    (tools / "ffmpeg").symlink_to(ffmpeg.executable())
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    subprocess.run(
        [python, "-m", "compressai.utils.video.bench", "x265", str(raw), str(folder / "result"), "-q",
         ",".join(map(str, QPS)), "--tune", "psnr",
         "-p", "medium", "-j", "1"],
        check=True, env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def timed(work: Callable[[Path], None]) -> float:
    folder = Path(tempfile.mkdtemp())
    try:
        started = time.perf_counter()
        work(folder)
        return time.perf_counter() - started
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="416x240,1920x1080")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--compressai", metavar="PYTHON")
    parser.add_argument("--frames", type=int, help="instead of those of the size")
    parser.add_argument("--only", help="names of contenders, such as 'vcbench -j2,loky'; the loop always runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for size in arguments.sizes.split(","):
            clip = Path(scratch) / f"{size}.y4m"
            frames = arguments.frames or FRAMES[size]
            make_clip(clip, size, frames)
            contenders: dict[str, Callable[[Path], None]] = {
                "loop": lambda folder, clip=clip: bare_loop(clip, folder),
                "vcbench -j2": lambda folder, clip=clip: vcbench(clip, folder, 2, "psnr_y,psnr_u,psnr_v,vmaf"),
                "vcbench -j1": lambda folder, clip=clip: vcbench(clip, folder, 1, "psnr_y,psnr_u,psnr_v,vmaf"),
                "loky": lambda folder, clip=clip: vcbench(clip, folder, 2, "psnr_y,psnr_u,psnr_v,vmaf", "loky"),
                "encodes": lambda folder, clip=clip: encodes(clip, folder),
                "ssim": lambda folder, clip=clip: vcbench(clip, folder, 2, "psnr_y,psnr_u,psnr_v,ssim,ms_ssim"),
            }
            if arguments.only:
                wanted = {"loop", *arguments.only.split(",")}
                contenders = {name: work for name, work in contenders.items() if name in wanted}
            times: dict[str, list[float]] = {name: [] for name in contenders}
            for run in range(arguments.runs + 1):
                for name, work in contenders.items():
                    seconds = timed(work)
                    if run:  # the first round warms the caches
                        times[name].append(seconds)
            print(f"{size}, {frames} frames, x265 at QP {', '.join(map(str, QPS))}, median of {arguments.runs}")
            for name, values in times.items():
                ratios = [value / loop for value, loop in zip(values, times["loop"], strict=True)]
                median, spread = statistics.median(values), f"{min(values):.2f} to {max(values):.2f}"
                print(f"  {name:12} {median:8.2f} s ({spread})  {statistics.median(ratios):6.3f} x loop")
            if "vcbench -j1" in times and "vcbench -j2" in times:
                jobs = [two / one for two, one in zip(times["vcbench -j2"], times["vcbench -j1"], strict=True)]
                print(f"  -j2 / -j1    {statistics.median(jobs):.3f}")
            if arguments.compressai:
                runs = 1 if size == "1920x1080" else arguments.runs
                values = [
                    timed(lambda folder, clip=clip: compressai(arguments.compressai, clip, folder)) for _ in range(runs)
                ]
                slower = statistics.median(values) / statistics.median(times["ssim"])
                print(f"  compressai   {statistics.median(values):8.2f} s (of {runs})  {slower:6.1f} x vcbench ssim")


if __name__ == "__main__":
    main()
