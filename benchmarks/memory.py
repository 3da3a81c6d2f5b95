"""Peak memory of the main job, and that it does not grow with the number of frames.

    python benchmarks/memory.py [--frames 60,300] [--size 1920x1080] [--rates 32] [--metrics all] [--stand-in]

x265 on the embedded dataset scaled to the size, one job. Every 10 ms the resident memory of each process of the run is
read; printed are the peak of the largest process, by program, and the peak of all processes together. ``--metrics all``
are all that work here; with ``--stand-in`` those too whose weights are missing, on networks with random weights.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil
from main_job import make_clip
from stand_in import offer_stand_ins

from bench.errors import UnavailableError
from bench.registry import metric_class, metric_names

MIB = 1 << 20


def role_of(name: str, argv: list[str]) -> str:
    """What a process of the run does."""
    if "ffmpeg" in name:
        return "encoder" if "libx265" in argv else "filters" if "-filter_complex" in argv else "decoder"
    return "vcbench" if name.startswith("python") else name


def peaks(command: list[str]) -> dict[str, float]:
    """Peak resident memory in MiB by program, and of all together, while a command runs."""
    found: dict[str, float] = defaultdict(float)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        root = psutil.Process(running.pid)
        while running.poll() is None:
            together = 0
            try:
                processes = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                break
            for process in processes:
                try:
                    resident, role = process.memory_info().rss, role_of(process.name(), process.cmdline())
                except (psutil.NoSuchProcess, psutil.ZombieProcess):
                    continue
                found[role] = max(found[role], resident / MIB)
                together += resident
            found["all together"] = max(found["all together"], together / MIB)
            time.sleep(0.01)
        if running.returncode:
            sys.exit(f"{command} failed")
    return found


def working_metrics() -> list[str]:
    """Names of the metrics that can run on this machine."""
    names = []
    for name in metric_names():
        try:
            metric_class(name).check()
        except UnavailableError as error:
            print(f"left out: {name} ({str(error).splitlines()[0]})")
        else:
            names.append(name)
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", default="60,300")
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--rates", default="32")
    parser.add_argument("--metrics", default="psnr_y,psnr_u,psnr_v,ssim,ms_ssim,vmaf,xpsnr")
    parser.add_argument("--stand-in", action="store_true", help="random weights where none are here")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.frames.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.stand_in:
            offer_stand_ins(Path(scratch) / "weights")
        metrics = ",".join(working_metrics()) if arguments.metrics == "all" else arguments.metrics
        clip = Path(scratch) / f"{arguments.size}.y4m"
        make_clip(clip, arguments.size, max(counts))
        rows = {}
        for count in counts:
            rows[count] = peaks(
                [sys.executable, "-m", "bench.cli", "run", "--codecs", "x265", "--rates", arguments.rates, "--input",
                 str(clip), "--frames", str(count), "--metrics", metrics, "--jobs", "1", "--out",
                 f"{scratch}/out{count}"]
            )  # fmt: skip
        print(f"peak resident memory in MiB, {arguments.size}, x265 QP {arguments.rates}, {metrics}")
        for role in rows[counts[0]]:
            values = [rows[count][role] for count in counts]
            line = "  ".join(f"{value:7.1f} ({count} frames)" for value, count in zip(values, counts, strict=True))
            ratio = f"{values[-1] / values[0]:.3f}" if values[0] else "none"  # seen as it ended
            print(f"  {role:14} {line}   ratio {ratio}")


if __name__ == "__main__":
    main()
