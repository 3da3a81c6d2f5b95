"""How long a report takes to build and to open: a synthetic result set of a given number of rows, and Chromium.

    python benchmarks/report.py --rows 100000

Prints the seconds of loading and of building, by the clock and of all processes' CPU, the largest files, and, where
Chromium and playwright are here, the time from opening the overview to its first table and figure, with the CPU time of
the page's main thread until then, which other work on the machine does not change.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

CODECS, RATES, DATASETS, METRICS = 25, 5, 4, 10
CHROMIUM = "/usr/bin/chromium"
NAMES = ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "psnr_rgb", "ssim", "ms_ssim", "vmaf", "vmaf_neg", "xpsnr")


def main() -> None:
    """Parse the command line, make, build, open, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="folder for the result set and its report")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.keep or Path(folder)
        print(f"{make(root / 'set', options.rows)} rows")
        report = build(root / "set", root / "report")
        for path in sorted((p for p in report.parent.rglob("*") if p.is_file()), key=lambda p: -p.stat().st_size)[:5]:
            print(f"  {path.stat().st_size / 1e6:8.2f} MB  {path.relative_to(report.parent)}")
        total = sum(path.stat().st_size for path in report.parent.rglob("*") if path.is_file())
        print(f"  {total / 1e6:8.2f} MB  in all")
        open_in_browser(report)


def make(root: Path, rows: int) -> int:
    """Write a result set of about that many rows: curves of a known shape with noise, failures, undefined values."""
    sequences = max(round(rows / (CODECS * RATES * METRICS * DATASETS)), 1)
    (root / "cells").mkdir(parents=True, exist_ok=True)
    chance = random.Random(1)
    count = 0
    for dataset in range(DATASETS):
        for sequence in range(sequences):
            for codec in range(CODECS):
                for rate in range(RATES):
                    cell = _cell(f"set-{dataset}", f"clip-{sequence:03}", codec, rate, chance)
                    (root / "cells" / f"{cell['name']}.json").write_text(json.dumps(cell), encoding="utf-8")
                    count += max(len(cell["measurements"]), 1)
    return count


def build(results: Path, out: Path) -> Path:
    """Load and report, with the seconds of each."""
    from bench.report import build_report
    from bench.results.result_set import load

    started = _clocks()
    loaded = load(results)
    ready = _clocks()
    page = build_report(loaded, out)
    ended = _clocks()
    for what, before, after in (("load", started, ready), ("build", ready, ended)):
        print(f"{what} {after[0] - before[0]:.1f} s, CPU time {after[1] - before[1]:.1f} s")
    return page


def _clocks() -> tuple[float, float]:
    """Seconds by the clock, and of CPU time of this process and of those it has waited for."""
    return time.perf_counter(), sum(os.times()[:4])


def open_in_browser(page: Path) -> None:
    """From navigation to the first table and the first figure of the overview."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("playwright is not installed; the browser is not timed")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for attempt in ("first", "second"):
            tab = browser.new_page()
            watch = tab.context.new_cdp_session(tab)
            watch.send("Performance.enable")
            started = time.perf_counter()
            tab.goto(page.as_uri(), wait_until="commit")
            tab.wait_for_selector("#comparison table")
            table = time.perf_counter() - started
            tab.wait_for_selector("#rd-plot .main-svg")
            curves = time.perf_counter() - started
            cpu = {one["name"]: one["value"] for one in watch.send("Performance.getMetrics")["metrics"]}["ThreadTime"]
            print(f"{attempt} opening: table after {table:.2f} s, curves after {curves:.2f} s, CPU time {cpu:.2f} s")
            started = time.perf_counter()
            tab.select_option("#anchor", "7")
            tab.wait_for_function("document.getElementById('comparison-title').textContent.includes('codec-07')")
            print(f"  another anchor after {time.perf_counter() - started:.2f} s")
            tab.close()
        browser.close()


def _cell(dataset: str, sequence: str, codec: int, rate: int, chance: random.Random) -> dict[str, Any]:
    name, value = f"codec-{codec:02}", 22 + 5 * rate
    key = _digest(f"{dataset} {sequence} {codec} {rate}")
    size = round(400_000 / 2**rate * (1 + codec / 40) * chance.uniform(0.97, 1.03))
    failed = chance.random() < 0.01
    cost = {"seconds": chance.uniform(1, 9) * (1 + codec), "cpu_s": 1.0, "peak_rss_bytes": 10**8, "timing": "alone"}
    cost["commands"] = [
        ["/usr/bin/encoder", "--qp", str(value), "-i", "pipe:0", "-o", f"file:{name}.bin"] + ["--x"] * 20
    ]
    return {
        "schema_version": 1,
        "name": f"{name}_{value}_{dataset}_{sequence}_{key[:12]}",
        "key": key,
        "status": "failed" if failed else "ok",
        "reason": "timeout" if failed else None,
        "message": f"{name}: outran its time limit" if failed else None,
        "codec": {
            "name": name,
            "title": f"codec number {codec}",
            "kind": "classical",
            "rate_kind": "estimate" if codec == 24 else "bitstream",
            "card": {"gop": "random access", "licence": "none", "settings": {"preset": codec}},
            "tool": {"encoder": f"1.{codec}", "sha256": _digest(name)},
        },
        "rate": {"parameter": "qp", "value": value},
        "sequence": {
            **{"name": sequence, "dataset": dataset, "file": f"{sequence}.y4m", "sha256": dataset[-1] * 64, "start": 0},
            **{"frames": 96, "width": 1920, "height": 1080, "fps": "50", "pix_fmt": "yuv420p", "matrix": "bt709"},
            **{"full_range": False, "siting": "left", "conversion": None},
        },
        "bitstream": None if failed else {"file": f"{key[:16]}.bin", "bytes": size, "sha256": key},
        "encode": None if failed else cost,
        "decode": None if failed else {**cost, "seconds": chance.uniform(0.1, 1)},
        "measurements": {} if failed else {name: _measured(name, size, chance) for name in NAMES},
        "provenance": {"vcbench": "0.1.0", "cpu": "a processor", "platform": "a system", "command": ["vcbench", "run"]},
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _measured(name: str, size: int, chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.005:
        return {"key": _digest(name), "status": "undefined", "value": None, "reason": "no frame has a value"}
    step = math.log2(size / 25_000) + chance.uniform(-0.05, 0.05)
    value = 1 - 0.05 / 2**step if "ssim" in name else (70 + 6 * step if "vmaf" in name else 32 + 2 * step)
    return {"key": _digest(name), "status": "ok", "value": value, "provenance": {"pooling": "mean"}}


if __name__ == "__main__":
    main()
