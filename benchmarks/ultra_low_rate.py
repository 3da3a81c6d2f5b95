"""A diffusion codec against baseline, encoders and controls: `python benchmarks/ultra_low_rate.py CLIP... --out DIR`.

Each clip (a file, or all in a folder) is coded by --test at one rate index, and by the others at the rate that is
nearest to it; those that share its base code that at the same index. Two tables in Markdown: means over the clips,
with the others' rate over that of --test; and each of the others minus --test, with the 95 % interval of the mean
(bootstrap over clips) and on how many clips --test is better. Cells are kept in --out, so the same command continues
after an interruption and measures only new clips. Weights: `vcbench fetch weights niqe squeezenet`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from equal_rate import UNITS, print_row
from parts import METRICS, apart

import bench
from bench.analysis.equal_rate import AtRate, at_rate
from bench.errors import VcbenchError
from bench.records.cell import CellResult

SAME_BASE = "svt-av1-sr@tuned,svt-av1-sr@tuned-grain,svt-av1-sr@lanczos-quarter,diff-sit-small@no-exchange"
OTHERS = "svt-av1-sr@lanczos-half,vvenc-sr@lanczos-quarter,vvenc-sr@lanczos-half,x265@low-delay,x265@grain,x265@filter"
FEWEST = 3
"""Clips from which on a mean has an interval."""

SUFFIXES = (".y4m", ".mp4", ".mkv", ".webm", ".avi", ".mov")


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path, help="files, or folders of them")
    parser.add_argument("--test", default="diff-sit-small")
    parser.add_argument("--same", default=SAME_BASE, help="codecs at the same rate index, separated by commas")
    parser.add_argument("--others", default=OTHERS, help="codecs at the nearest rate, separated by commas")
    parser.add_argument("--rate", type=int, default=2, help="rate index")
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--metrics", default=METRICS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", default=Path("results/ultra-low-rate"), type=Path)
    options = parser.parse_args()
    same, others, metrics = (
        text.split(",") if text else [] for text in (options.same, options.others, options.metrics)
    )
    try:
        clips = list(files(options.clips))
        shared = {"inputs": clips, "frames": options.frames, "metrics": metrics, "rates": (options.rate,)}
        shared |= {"jobs": options.jobs, "out": options.out}
        results = bench.run([options.test, *same], **shared)
        if others:
            results = bench.run([options.test, *others], match_rate=options.test, **shared)
    except (VcbenchError, OSError) as error:
        parser.error(str(error))
    names = [options.test, *same, *others]
    rows = at_rate(results, anchor=options.test, codecs=names, metrics=metrics)
    points = [rows[start : start + len(names)] for start in range(0, len(rows), len(names))]
    wanted = {clip.stem for clip in clips}
    points = [point for point in points if point[0].rate == options.rate and point[0].sequence in wanted]
    print_gaps(points, metrics, {cell.name: cell for cell in results.cells})
    print_tables(points, metrics)


def files(paths: Sequence[Path]) -> Iterator[Path]:
    """Clips, and those in folders."""
    for path in paths:
        yield from sorted(p for p in path.iterdir() if p.suffix in SUFFIXES) if path.is_dir() else [path]


def print_gaps(points: Sequence[Sequence[AtRate]], metrics: Sequence[str], cells: Mapping[str, CellResult]) -> None:
    """Clips that are left out, of all tables or of one metric, with the reason."""
    for row in (row for point in points for row in point):
        if row.cell is None:
            print(f"{row.sequence} left out: {row.codec}: {row.reason}")
            continue
        for metric in metrics:
            if row.values[metric] is None:
                measured = cells[row.cell].measurements.get(metric)
                why = measured.reason if measured else "not measured"
                print(f"{row.sequence} left out of {metric}: {row.codec}: {why}")


def print_tables(points: Sequence[Sequence[AtRate]], metrics: Sequence[str]) -> None:
    """Means, and differences from the first codec, over the clips that all codecs have."""
    whole = [point for point in points if all(row.cell for row in point)]
    if not whole:
        return
    print(f"\n{len(whole)} of {len(points)} clips: {', '.join(point[0].sequence for point in whole)}\n")
    heads = [f"{name}, {UNITS[name][1]}" if name in UNITS else name for name in metrics]
    of_metric = {metric: values(whole, metric) for metric in metrics}
    print_row(["codec", "bpp", "its rate", *heads])
    print_row(["---", "--:", "--:", *["--:"] * len(metrics)])
    for number, rows in enumerate(zip(*whole, strict=True)):
        rate = np.exp(np.mean([np.log1p(row.distance or 0.0) for row in rows]))
        means = [f"{found[number].mean():.4g}" if found.size else "none" for found in of_metric.values()]
        print_row([rows[0].codec, f"{np.mean([row.bpp or 0.0 for row in rows]):.4f}", f"{rate:.2f}", *means])
    print()
    print_row([f"minus {whole[0][0].codec}", *heads])
    print_row(["---", *["--:"] * len(metrics)])
    for number, row in enumerate(whole[0][1:], 1):
        print_row([row.codec, *(difference(metric, found, number) for metric, found in of_metric.items())])


def values(points: Sequence[Sequence[AtRate]], metric: str) -> np.ndarray:
    """A metric by codec and clip, in the unit of tables, of the clips on which all codecs have it."""
    found = [[row.values[metric] for row in point] for point in points]
    kept = [of_clip for of_clip in found if None not in of_clip]
    return np.array(kept, dtype=float).T / UNITS.get(metric, (1.0, ""))[0]


def difference(metric: str, found: np.ndarray, number: int) -> str:
    """A codec's mean difference from the first, with its interval where there are clips enough for one."""
    if not found.size:
        return "none"
    clips = found.shape[1]
    if clips < FEWEST:
        return f"{(found[number] - found[0]).mean():+.4g} (no interval of {clips} clip{'s' * (clips > 1)})"
    return apart(metric, found[0], found[number])


if __name__ == "__main__":
    main()
