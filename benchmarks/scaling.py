"""What a second worker brings, and what ten thousand cells on a hundred workers cost the driver.

    python benchmarks/scaling.py --input clips/*.y4m --repeat 3
    python benchmarks/scaling.py --simulate 10000 --workers 100

The first runs the same cells with one and with two jobs in turn. The second has a Dask scheduler and workers in
processes of their own, whose cells only sleep and write a result file; the driver is the real one, from the plan to the
last result.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench.adapters.base import RatePoint
from bench.engine.cell import failed_result
from bench.engine.plan import Plan
from bench.engine.pools.base import Outcome
from bench.engine.pools.cluster import DaskPool
from bench.engine.pools.parcel import Parcel, pack
from bench.engine.progress import Progress
from bench.engine.run import RunOptions, plan, run
from bench.engine.schedule import Job
from bench.engine.store.folder import Store
from bench.records.cell import CellResult, CostRecord, MeasurementRecord

_PROCESSES = 4
_SECONDS = (1.0, 3.0)


def two_over_one(inputs: list[Path], repeat: int, frames: int) -> None:
    """Print the wall time of two jobs over that of one, for the same cells, taking turns."""
    ratios = []
    for _ in range(repeat):
        took = {}
        for jobs in (1, 2):
            with tempfile.TemporaryDirectory() as out:
                argv = [
                    sys.executable, "-m", "bench.cli", "run", "--codecs", "x265", "--metrics", "psnr_y,ssim",
                    "--out", out, "--frames", str(frames), "--jobs", str(jobs), "--input", *map(str, inputs),
                ]  # fmt: skip
                started = time.perf_counter()
                subprocess.run(argv, check=True, capture_output=True)
                took[jobs] = time.perf_counter() - started
        ratios.append(took[2] / took[1])
        print(f"1 job {took[1]:.1f} s, 2 jobs {took[2]:.1f} s, ratio {ratios[-1]:.3f}", flush=True)
    print(f"median ratio {median(ratios):.3f} of {repeat}; load of the machine now {psutil.getloadavg()[0]:.1f}")


def pretend(parcel: Parcel, seconds: float) -> list[CellResult]:
    """Sleep in place of each cell, then write its result as a worker does."""
    task = parcel.task
    store = Store(task.root)
    results = []
    for cell in task.cells:
        with store.working_folder(cell.name):
            time.sleep(seconds)
        cost = CostRecord(seconds=seconds, cpu_s=seconds, peak_rss_bytes=10**8, timing="shared")
        measured = {name: MeasurementRecord(key=key, status="ok", value=40.0) for name, key in task.metrics.items()}
        result = failed_result(task, cell, "ok", "", "").model_copy(
            update={"reason": None, "message": None, "encode": cost, "decode": cost, "measurements": measured}
        )
        store.write(result)
        results.append(result)
    return results


class SleepingPool(DaskPool):
    """A Dask cluster whose cells sleep."""

    _dice = random.Random(7)

    def _start(self, job: Job) -> Outcome:
        seconds = self._dice.uniform(*_SECONDS)
        return self._client.submit(pretend, pack(job.task), seconds, pure=False)  # type: ignore[no-any-return]


def many_cells(clip: Path, number: int) -> Plan:
    """A plan of so many cells that differ in their rate only."""
    planned = plan(RunOptions(codecs=("x264",), inputs=(clip,), metrics=("psnr_y", "ssim", "vmaf"), rates=(30,)))
    (cell,) = planned.cells
    cells = tuple(
        replace(cell, rate=RatePoint(cell.rate.parameter, index), key=f"{index:012x}{cell.key[12:]}")
        for index in range(number)
    )
    return replace(planned, cells=cells)


def simulate(number: int, workers: int) -> None:
    """Print the driver's and the scheduler's CPU time a cell and the driver's memory over the run."""
    from bench.video import ffmpeg

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = folder / "clip.y4m"
        pattern = "testsrc2=size=64x48:rate=25"
        argv = [*ffmpeg.base_command(), "-f", "lavfi", "-i", pattern, "-frames:v", "5", "-pix_fmt", "yuv420p"]
        subprocess.run([*argv, str(clip)], check=True)
        planned = many_cells(clip, number)
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        where = str(folder / "scheduler.json")
        scheduler = psutil.Popen(
            [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
             "--scheduler-file", where, "--no-dashboard"],
            **quiet,
        )  # fmt: skip
        while not Path(where).is_file():
            time.sleep(0.1)
        many = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", where, "--no-dashboard",
             "--nworkers", str(_PROCESSES), "--nthreads", str(workers // _PROCESSES), "--memory-limit", "0"],
            **quiet,
        )  # fmt: skip
        pool = SleepingPool(where, None)
        pool.start()
        while pool.at_once < workers:
            time.sleep(0.5)
            pool._look()
        _measure(planned, pool, scheduler, folder / "results", workers)
        pool.close()
        many.terminate()
        scheduler.terminate()
        many.wait()
        scheduler.wait()


def _measure(planned: Plan, pool: SleepingPool, scheduler: psutil.Popen, out: Path, workers: int) -> None:
    memory: dict[int, int] = {}
    number = len(planned.cells)
    process = psutil.Process()

    def watch(progress: Progress) -> None:
        tenth = 10 * progress.done // number
        if tenth not in memory:
            memory[tenth] = process.memory_info().rss
            print(f"{progress.done} of {number}, {memory[tenth] / 2**20:.0f} MiB", file=sys.stderr, flush=True)

    used = sum(scheduler.cpu_times()[:2])
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    results = run(planned, Store.create(out), pool=pool, progress=watch)
    took = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    driver = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    scheduling = sum(scheduler.cpu_times()[:2]) - used
    slept = sum(result.encode.seconds for result in results if result.encode is not None)
    assert len(results) == number
    print(
        f"{number} cells on {workers} workers: {took:.0f} s, of which the work is {slept / workers:.0f} s\n"
        f"CPU a cell: driver {1000 * driver / number:.2f} ms, Dask scheduler {1000 * scheduling / number:.2f} ms\n"
        f"driver's memory at 0 to 100 %: {', '.join(f'{value / 2**20:.0f}' for value in memory.values())} MiB"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--input", nargs="+", type=Path, default=[])
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--frames", type=int, default=30)
    options.add_argument("--simulate", type=int, metavar="CELLS")
    options.add_argument("--workers", type=int, default=100)
    given = options.parse_args()
    if given.input:
        two_over_one(given.input, given.repeat, given.frames)
    if given.simulate:
        simulate(given.simulate, given.workers)


if __name__ == "__main__":
    main()
