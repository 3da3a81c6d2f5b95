"""A codec against others at its own rates: `python benchmarks/equal_rate.py RESULTS --test C --anchors A,B`.

The results should hold anchors at the test codec's rates: `vcbench run --codecs A,B --match-rate C`. Tables in
Markdown: how often the test codec is better, by bands of rate; the rate it takes over the anchor's at equal quality,
where the anchor reaches that quality; and the values themselves at some of its rates. A cell of an anchor counts where
its rate is within --within of the test codec's.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.analysis.equal_rate import AtRate, at_rate
from bench.errors import VcbenchError
from bench.registry import metric_class
from bench.results.result_set import ResultSet, load

UNITS = {"kd_squeezenet": (1e6, "10⁶"), "fd_squeezenet": (1e3, "10³"), "ewarp": (1e-4, "10⁻⁴")}
"""What some metrics' values are shown in."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--test", required=True)
    parser.add_argument("--anchors", required=True, help="names, separated by commas")
    parser.add_argument("--metrics", default="psnr_y,ms_ssim,vmaf,niqe,kd_squeezenet,ewarp")
    parser.add_argument("--bands", default="0,0.0125,0.03,0.1,1", help="bounds of the bands in bpp")
    parser.add_argument("--shown", default="0,2,5", help="rate points of the table of values")
    parser.add_argument("--within", type=float, default=0.1)
    options = parser.parse_args()
    results = loaded(parser, options.results)
    metrics, anchors = options.metrics.split(","), options.anchors.split(",")
    bands = list(pairwise(float(bound) for bound in options.bands.split(",")))
    rows = at_rate(results, anchor=options.test, metrics=metrics, codecs=[options.test, *anchors])
    points = [rows[i : i + 1 + len(anchors)] for i in range(0, len(rows), 1 + len(anchors))]
    for number, anchor in enumerate(anchors, 1):
        pairs = [(point[0], point[number]) for point in points if near(point[number], options.within)]
        print_wins(options.test, anchor, pairs, metrics, bands)
        print_rates(results, options.test, anchor, metrics)
    shown = {float(value) for value in options.shown.split(",")}
    print_values([point for point in points if point[0].rate in shown], metrics, options.within)


def loaded(parser: argparse.ArgumentParser, folders: Sequence[Path]) -> ResultSet:
    """The results of a command line; one that cannot be read ends it, saying which and why."""
    try:
        return load(*folders)
    except VcbenchError as error:
        parser.error(str(error))


def near(row: AtRate, within: float) -> bool:
    """Whether a cell's rate is near enough to the target."""
    return row.distance is not None and abs(row.distance) <= within


def is_better(metric: str, ours: float, theirs: float) -> bool:
    """Whether the first value is the better one."""
    return ours > theirs if metric_class(metric).direction == "higher" else ours < theirs


def print_wins(
    test: str,
    anchor: str,
    pairs: Sequence[tuple[AtRate, AtRate]],
    metrics: Sequence[str],
    bands: Sequence[tuple[float, float]],
) -> None:
    """How often the test codec is better, by metric and band."""
    print(f"\n{test} better than {anchor} at equal rate, points of all sequences:\n")
    print_row(["bpp", *metrics])
    print_row(["---", *["--:"] * len(metrics)])
    for low, high in bands:
        cells = []
        for metric in metrics:
            won = [
                is_better(metric, ours, theirs)
                for one, other in pairs
                if low <= one.target_bpp < high
                and (ours := one.values[metric]) is not None
                and (theirs := other.values[metric]) is not None
            ]
            cells.append(f"{sum(won)} of {len(won)}")
        print_row([f"{low:g} to {high:g}", *cells])


def print_rates(results: ResultSet, test: str, anchor: str, metrics: Sequence[str]) -> None:
    """The test codec's rate over the anchor's at equal quality: median and range over the points that both reach."""
    print(f"\nRate of {test} over that of {anchor} at equal quality, where {anchor} reaches it:\n")
    print_row(["metric", "median", "range", "points"])
    print_row(["---", "--:", "--:", "--:"])
    for metric in metrics:
        found = list(ratios(results, test, anchor, metric))
        if found:
            print_row([metric, f"{statistics.median(found):.2f}", f"{min(found):.2f} to {max(found):.2f}", len(found)])
        else:
            print_row([metric, "none", "no quality that both reach on a monotone curve", 0])


def ratios(results: ResultSet, test: str, anchor: str, metric: str) -> Iterator[float]:
    """Ratio of rates at each point's quality, on sequences where the anchor's curve is monotone."""
    sign = 1 if metric_class(metric).direction == "higher" else -1
    for sequence in sorted({cell.sequence.name for cell in results.cells}):
        curves = {}
        for codec in (test, anchor):
            cells = [c for c in results.cells if (c.sequence.name, c.codec.name) == (sequence, codec)]
            curves[codec] = sorted(
                (cell.bpp, sign * value)
                for cell in cells
                if cell.bpp and (measured := cell.measurements.get(metric)) and (value := measured.value) is not None
            )
        if len(curves[anchor]) < 2:
            continue
        rate, quality = np.array(curves[anchor]).T
        if (np.diff(quality) <= 0).any():
            continue
        for bpp, value in curves[test]:
            if quality[0] <= value <= quality[-1]:
                yield bpp / float(np.exp(np.interp(value, quality, np.log(rate))))


def print_values(points: Sequence[Sequence[AtRate]], metrics: Sequence[str], within: float) -> None:
    """Values side by side: of the test codec, then of each anchor."""
    print(f"\nValues at equal rate: {' / '.join(row.codec for row in points[0])}\n" if points else "")
    print_row(["sequence", "bpp", *(f"{m}, {UNITS[m][1]}" if m in UNITS else m for m in metrics)])
    print_row(["---", "--:", *["--:"] * len(metrics)])
    for point in points:
        cells = [
            " / ".join(shown(metric, row.values[metric]) if near(row, within) else "no cell" for row in point)
            for metric in metrics
        ]
        print_row([point[0].sequence, f"{point[0].target_bpp:.4f}", *cells])


def shown(metric: str, value: float | None) -> str:
    """A value with four digits, in the metric's unit."""
    return "none" if value is None else f"{value / UNITS.get(metric, (1.0, ''))[0]:.4g}"


def print_row(cells: Sequence[object]) -> None:
    """A row of a Markdown table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


if __name__ == "__main__":
    main()
