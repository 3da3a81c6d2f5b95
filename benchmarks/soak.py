"""A run that is disturbed all the time against a quiet one: workers and drivers killed, the disk filled.

    python benchmarks/soak.py --cells 200 --every 4 --driver-kills 4 --fill

Two worker processes run x264 over tiny clips. Every so many seconds one of them is killed; the driver gets SIGINT,
SIGTERM, SIGHUP and SIGKILL in turn and is started again; once the file system of the results, a small one mounted for
it, is filled to the last byte. Two seconds after a driver has ended nothing of it may be running. In the end every cell
must have one result, written once, and equal to the quiet run's.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

CLIPS = 10
DISK = 48 << 20
GRACE_S = 2.0
_POLL_S = 0.1
_TOKEN = "VCBENCH_SOAK"

_ENDS = {signal.SIGINT: 2, signal.SIGTERM: 2, signal.SIGHUP: 2, signal.SIGKILL: -signal.SIGKILL}
"""What a driver is ended by, and its exit code then."""


@dataclass
class Soak:
    """What was done to a run, and what came of it.

    changed: results that were written again after they were ok. running: command lines of what a driver left running.
    """

    cells: int
    worker_kills: int = 0
    driver_kills: int = 0
    fills: int = 0
    drivers: int = 0
    seconds: float = 0.0
    changed: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)


def make_clips(folder: Path, number: int) -> list[Path]:
    """So many clips of 64x48 with 5 frames, no two alike."""
    from bench.video import ffmpeg

    paths = []
    for index in range(number):
        paths.append(folder / f"clip{index}.y4m")
        pattern = f"testsrc2=size=64x48:rate=25,noise=alls={8 + index}:allf=t:all_seed=3"
        argv = [*ffmpeg.base_command(), "-f", "lavfi", "-i", pattern, "-frames:v", "5", "-pix_fmt", "yuv420p"]
        subprocess.run([*argv, str(paths[-1])], check=True)
    return paths


def command(clips: list[Path], rates: int, out: Path) -> list[str]:
    """The run, as a user would give it."""
    values = ",".join(str(20 + value) for value in range(rates))
    return [
        sys.executable, "-m", "bench.cli", "run", "--codecs", "x264", "--rates", values, "--metrics", "psnr_y",
        "--jobs", "2", "--backend", "loky", "--out", str(out), "--input", *map(str, clips),
    ]  # fmt: skip


def contents(out: Path) -> dict[str, Any]:
    """Everything of a result set that must not depend on how it was run, by cell."""
    import pandas as pd

    import bench

    return {
        cell.name: (
            cell.status,
            cell.bitstream,
            cell.decoded,
            {name: (item.value, item.pooled) for name, item in cell.measurements.items()},
            pd.read_parquet(out / "frames" / f"{cell.name}.parquet").to_dict("list") if cell.status == "ok" else None,
        )
        for cell in bench.load(out).cells
    }


def soak(
    argv: list[str],
    out: Path,
    done: Soak,
    *,
    every: float,
    driver_kills: int,
    fill: bool,
    worker_kills: float = math.inf,
    grace: float = GRACE_S,
) -> Soak:
    """Run a command until it ends well, disturbing it.

    ``every``: seconds between two kills of a worker, at least; a cell is finished in between. ``worker_kills``: how
    many of them at most. ``grace``: seconds after
    which nothing may be left of a driver that has ended.
    """
    environment = {**os.environ, _TOKEN: secrets.token_hex(16)}
    dice = random.Random(7)
    seen: dict[str, int] = {}
    started = time.monotonic()
    # the driver and the disk go at these shares of the cells
    events = [(share, "driver") for share in [(number + 1) / (driver_kills + 2) for number in range(driver_kills)]]
    events += [(0.8, "disk")] if fill else []
    code = -1
    while code != 0:
        log = out.parent / f"driver{done.drivers}.log"
        with log.open("wb") as stream:
            driver = psutil.Popen(argv, stdout=stream, stderr=stream, start_new_session=True, env=environment)
        done.drivers += 1
        expected = 0
        killed, finished = time.monotonic(), len(seen)
        while driver.poll() is None:
            time.sleep(_POLL_S)
            _watch(out, seen, done)
            if events and len(seen) >= events[0][0] * done.cells:
                what = events.pop(0)[1]
                if what == "driver":
                    number, expected = list(_ENDS.items())[done.driver_kills % len(_ENDS)]
                    driver.send_signal(number)
                    done.driver_kills += 1
                else:
                    expected = _fill(out.parent, driver, log)
                    done.fills += 1
                break
            workers = _workers(driver)
            # where processes take longer to start than that, the run would never come to a cell
            due = time.monotonic() - killed >= every and len(seen) > finished
            if due and workers and done.worker_kills < worker_kills:
                _kill(dice.choice(workers))
                done.worker_kills += 1
                killed, finished = time.monotonic(), len(seen)
        code = driver.wait()
        done.running += _left_running(environment[_TOKEN], grace)
        if code not in {expected, 0}:
            raise SystemExit(f"a driver ended with {code}, not {expected}, and said:\n{log.read_text()[-3000:]}")
        if done.drivers > 20:
            raise SystemExit(f"{done.drivers} drivers did not bring the run to its end:\n{log.read_text()[-3000:]}")
    _watch(out, seen, done)
    done.seconds = time.monotonic() - started
    return done


def _left_running(token: str, grace: float) -> list[str]:
    """What still runs of a driver, so many seconds after it has ended at most."""
    deadline = time.monotonic() + grace
    while True:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get(_TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(_POLL_S)


def _workers(driver: psutil.Popen) -> list[psutil.Process]:
    try:
        return [child for child in driver.children() if any("popen_loky" in part for part in child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def _kill(worker: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        worker.kill()


def _watch(out: Path, seen: dict[str, int], done: Soak) -> None:
    """Notice results as they come, and any that is written again after it was ok."""
    for path in (out / "cells").glob("*.json"):
        written = path.stat().st_mtime_ns
        if path.stem in seen and seen[path.stem] != written:
            done.changed.append(path.stem)
        elif path.stem not in seen and json.loads(path.read_bytes())["status"] != "ok":
            continue
        seen[path.stem] = written


def _fill(disk: Path, driver: psutil.Popen, log: Path) -> int:
    """Fill the disk until the driver gives up, make room again; its exit code must be 4 and it must say why."""
    ballast = disk / "ballast"
    deadline = time.monotonic() + 300
    with ballast.open("wb", buffering=0) as stream:
        while driver.poll() is None and time.monotonic() < deadline:
            try:
                while True:
                    stream.write(bytes(4096))
            except OSError:
                time.sleep(_POLL_S)
    code = int(driver.wait(timeout=60))
    ballast.unlink()
    said = log.read_text()
    if code != 4 or "the disk is full" not in said:
        raise SystemExit(f"on a full disk the driver ended with {code} and said:\n{said[-3000:]}")
    return code


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 48 MiB in a folder; it needs the right to mount one."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def compare(quiet: Path, disturbed: Path, done: Soak) -> Soak:
    """Hold the disturbed run's results against the quiet one's, and what it left behind."""
    wanted, found = contents(quiet), contents(disturbed)
    done.different = [name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)]
    for status, *_ in found.values():
        done.statuses[status] = done.statuses.get(status, 0) + 1
    return done


def main() -> None:
    """Print what was done and what came of it; exit with 1 unless every cell is there once and equal."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cells", type=int, default=200, help=f"a multiple of {CLIPS}, up to {CLIPS * 32}")
    options.add_argument("--every", type=float, default=4, help="seconds between kills, a cell in between")
    options.add_argument("--driver-kills", type=int, default=4)
    options.add_argument("--fill", action="store_true", help="mount a small file system and fill it once")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = make_clips(Path(folder), CLIPS)
        disk = Path(folder) / "disk"
        disk.mkdir()
        quiet = Path(folder) / "quiet"
        started = time.monotonic()
        subprocess.run(command(clips, given.cells // CLIPS, quiet), check=True, stdout=subprocess.DEVNULL)
        took = time.monotonic() - started
        with small_disk(disk) if given.fill else _plain(disk):
            out = disk / "results"
            argv = command(clips, given.cells // CLIPS, out)
            done = soak(
                argv, out, Soak(given.cells), every=given.every, driver_kills=given.driver_kills, fill=given.fill
            )
            compare(quiet, out, done)
            left = [path.name for path in (out / "work").iterdir()]
    print(
        f"{done.cells} cells: quiet {took:.0f} s; disturbed {done.seconds:.0f} s with {done.worker_kills} workers "
        f"killed, {done.driver_kills} drivers killed, the disk filled {done.fills} times, {done.drivers} drivers in "
        f"all\n"
        f"statuses {done.statuses}; results written again: {len(done.changed)}; different from the quiet run: "
        f"{len(done.different)}; left in work/: {left}; left running after {GRACE_S:g} s: {done.running}"
    )
    if done.changed or done.different or done.running or left or done.statuses != {"ok": done.cells}:
        raise SystemExit(1)


@contextmanager
def _plain(folder: Path) -> Iterator[Path]:
    yield folder


if __name__ == "__main__":
    main()
