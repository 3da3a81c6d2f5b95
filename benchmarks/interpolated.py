"""Codecs at the rates of one, interpolated: `python benchmarks/interpolated.py RESULTS --test C --others A --rates 1`.

On each sequence the rate of a rate point of the test codec is the target, and each other codec's value there is read
between its two neighbouring rate points, linearly over the logarithm of the rate. Where all of its rates are higher or
all lower, its nearest point stands in, and the table says how far away on average that is. Tables in Markdown: means
over the sequences that all codecs have; and each other codec minus the test codec, with the 95 % interval of the mean
(bootstrap over sequences) and on how many the test codec is better.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from equal_rate import UNITS, loaded, print_row

from bench.records.cell import CellResult
from bench.registry import metric_class
from bench.results.result_set import ResultSet

DRAWS = 2000


@dataclass(frozen=True)
class Read:
    """Values by metric at a rate, and how many times the rate that is that they were measured at."""

    values: dict[str, float]
    off: float


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--test", required=True)
    parser.add_argument("--others", required=True, help="names, separated by commas")
    parser.add_argument("--rates", required=True, help="rate points of the test codec, separated by commas")
    parser.add_argument("--metrics", default="psnr_y,ms_ssim,vmaf_neg,niqe,fd_squeezenet,kd_squeezenet,ewarp,flicker")
    options = parser.parse_args()
    results, metrics = loaded(parser, options.results), options.metrics.split(",")
    others = options.others.split(",")
    for rate in map(float, options.rates.split(",")):
        rows = at(results, options.test, others, rate, metrics)
        if not rows:
            parser.error(f"no sequence has {options.test} at {rate:g} and all of {options.others}")
        print_rates(rows, options.test, others, rate, metrics)


def at(
    results: ResultSet, test: str, others: Sequence[str], rate: float, metrics: Sequence[str]
) -> list[tuple[float, list[Read]]]:
    """Of each sequence that all codecs have: the rate in bpp, and what the test codec and the others have there."""
    curves = {name: curves_of(results, name, metrics) for name in (test, *others)}
    rows = []
    for sequence, cells in curves[test].items():
        own = next((cell for cell in cells if cell.rate.value == rate), None)
        if own is None or own.bpp is None or not all(sequence in curves[name] for name in others):
            continue
        reads = [read([own], own.bpp, metrics), *(read(curves[name][sequence], own.bpp, metrics) for name in others)]
        rows.append((own.bpp, reads))
    return rows


def curves_of(results: ResultSet, codec: str, metrics: Sequence[str]) -> dict[str, list[CellResult]]:
    """Cells of a codec by sequence, in order of rate, that have all the metrics."""
    found: dict[str, list[CellResult]] = {}
    for cell in results.cells:
        whole = all((one := cell.measurements.get(name)) is not None and one.value is not None for name in metrics)
        if cell.codec.name == codec and cell.bpp and whole:
            found.setdefault(cell.sequence.name, []).append(cell)
    return {name: sorted(cells, key=lambda cell: cell.bpp or 0) for name, cells in found.items()}


def read(cells: Sequence[CellResult], bpp: float, metrics: Sequence[str]) -> Read:
    """A curve's values at a rate; those of its end where it does not reach so far."""
    rates = np.array([cell.bpp for cell in cells])
    values = {
        name: float(np.interp(np.log(bpp), np.log(rates), [cell.measurements[name].value for cell in cells]))  # type: ignore[arg-type]
        for name in metrics
    }
    return Read(values, float(np.clip(bpp, rates[0], rates[-1]) / bpp))


def print_rates(
    rows: Sequence[tuple[float, list[Read]]], test: str, others: Sequence[str], rate: float, metrics: Sequence[str]
) -> None:
    """Both tables of a rate point."""
    heads = [f"{name}, {UNITS[name][1]}" if name in UNITS else name for name in metrics]
    print(f"\n{test} at {rate:g}: {np.mean([bpp for bpp, _ in rows]):.4f} bpp, {len(rows)} sequences\n")
    print_row(["codec", "its rate", *heads])
    print_row(["---", "--:", *["--:"] * len(metrics)])
    for number, name in enumerate((test, *others)):
        off = np.exp(np.mean([np.log(reads[number].off) for _, reads in rows]))
        means = [np.mean(values_of(rows, number, metric)) for metric in metrics]
        print_row([name, f"{off:.2f}", *(f"{mean:.4g}" for mean in means)])
    print()
    print_row([f"minus {test}", *heads])
    print_row(["---", *["--:"] * len(metrics)])
    for number, name in enumerate(others, 1):
        print_row([name, *(difference(rows, number, metric) for metric in metrics)])


def values_of(rows: Sequence[tuple[float, list[Read]]], number: int, metric: str) -> np.ndarray:
    """A metric of one of the codecs, sequence by sequence, in the unit of tables."""
    return np.array([reads[number].values[metric] for _, reads in rows]) / UNITS.get(metric, (1.0, ""))[0]


def difference(rows: Sequence[tuple[float, list[Read]]], number: int, metric: str) -> str:
    """Mean difference from the test codec, its interval, and how often the test codec is better."""
    apart = values_of(rows, number, metric) - values_of(rows, 0, metric)
    draws = np.random.default_rng(0).integers(len(apart), size=(DRAWS, len(apart)))
    low, high = np.percentile(apart[draws].mean(axis=1), [2.5, 97.5])
    better = int(np.sum(apart > 0 if metric_class(metric).direction == "lower" else apart < 0))
    return f"{np.mean(apart):+.3g} ({low:+.3g} to {high:+.3g}), {better}/{len(apart)}"


if __name__ == "__main__":
    main()
