"""Peak memory of the main job at 1080p, and that it does not grow with the number of frames.

    python benchmarks/memory.py [--frames 60,300] [--metrics psnr_y,ssim,ms_ssim,vmaf,xpsnr,ewarp]

x265 at one QP on the embedded dataset scaled to 1920x1080, one job. Every 10 ms the resident memory of each process of
the run is read; printed are the peak of the largest process, by program, and the peak of all processes together.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", default="60,300")
    parser.add_argument("--metrics", default="psnr_y,psnr_u,psnr_v,ssim,ms_ssim,vmaf,xpsnr")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.frames.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        clip = Path(scratch) / "1920x1080.y4m"
        make_clip(clip, "1920x1080", max(counts))
        rows = {}
        for count in counts:
            rows[count] = peaks(
                [sys.executable, "-m", "bench.cli", "run", "--codecs", "x265", "--rates", "32", "--input", str(clip),
                 "--frames", str(count), "--metrics", arguments.metrics, "--jobs", "1", "--out",
                 f"{scratch}/out{count}"]
            )  # fmt: skip
        print(f"peak resident memory in MiB, 1920x1080, x265 QP 32, {arguments.metrics}")
        for role in rows[counts[0]]:
            values = [rows[count][role] for count in counts]
            line = "  ".join(f"{value:7.1f} ({count} frames)" for value, count in zip(values, counts, strict=True))
            print(f"  {role:14} {line}   ratio {values[-1] / values[0]:.3f}")


if __name__ == "__main__":
    main()
