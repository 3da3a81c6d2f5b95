"""How long until the first encoder is at work: ``python benchmarks/start.py [--before CHECKOUT] [--runs 5]``.

Medians and minima of wall time, and of CPU time of vcbench itself, from the command ``vcbench run`` with x264 until the
folder is there in which the encoder of the first cell starts; and of ``vcbench ls codecs``. ``--before``: a checkout of
an earlier vcbench, which takes turns with this one. Beside them stands what Python takes to import NumPy and pydantic.
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

import psutil
from neural_cells import clip

HERE = Path(__file__).resolve().parents[1]


def environment(checkout: Path) -> dict[str, str]:
    """Modules are compiled once, as pip leaves them, whatever the environment says: to do it anew takes a second."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(checkout)}


def until_first_encoder(checkout: Path, folder: Path, video: Path) -> tuple[float, float]:
    """Seconds of wall time, and of CPU time of vcbench, its programs included that have ended."""
    out = folder / "out"
    argv = [sys.executable, "-m", "bench.cli", "run", "--codecs", "x264", "--rates", "30", "--input", str(video)]
    started = time.perf_counter()
    program = subprocess.Popen(
        [*argv, "--metrics", "psnr_y", "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(checkout), cwd=folder,
    )  # fmt: skip
    while not list(out.glob("work/*/encode")):
        if program.poll() is not None:
            sys.exit("vcbench ended before it encoded")
        time.sleep(0.002)
    wall = time.perf_counter() - started
    cpu = sum(psutil.Process(program.pid).cpu_times()[:4])
    program.wait()
    shutil.rmtree(out)
    return wall, cpu


def whole(argv: list[str], checkout: Path, folder: Path) -> tuple[float, float]:
    """Seconds of wall and CPU time of a command, given where no other checkout is imported from."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=environment(checkout), cwd=folder)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = clip(folder, 2)
        listing = [sys.executable, "-m", "bench.cli", "ls", "codecs"]
        contenders: dict[str, Callable[[], tuple[float, float]]] = {
            "import numpy, pydantic": lambda: whole([sys.executable, "-c", "import numpy, pydantic.main"], HERE, folder)
        }
        for title, checkout in {"before": options.before, "now": HERE}.items():
            if checkout is not None:
                contenders[f"first encoder, {title}"] = lambda c=checkout: until_first_encoder(c, folder, video)
                contenders[f"ls codecs, {title}"] = lambda c=checkout: whole(listing, c, folder)
        found: dict[str, list[tuple[float, float]]] = {title: [] for title in contenders}
        for run in range(options.runs + 1):
            for title, work in contenders.items():
                cost = work()
                if run:  # the first round fills the caches
                    found[title].append(cost)
        for title, costs in found.items():
            (wall, cpu), (least_wall, least_cpu) = (
                [take(values) for values in zip(*costs, strict=True)] for take in (statistics.median, min)
            )
            print(f"{title:26} wall {wall:.2f} s (least {least_wall:.2f}), CPU {cpu:.2f} s (least {least_cpu:.2f})")


if __name__ == "__main__":
    main()
