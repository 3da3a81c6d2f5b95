"""What each change of a codec does: `python benchmarks/ablation.py RESULTS --base C --variants C@a,C@b`.

A table in Markdown: of each variant, over the cells (sequence and rate point) that it shares with the base, how many
there are, its rate over the base's (geometric mean), and for each metric the base's mean, what the variant's is beyond
it, and how often the variant is better where they differ. Cells are of one rate point, whose rates may differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from equal_rate import UNITS, is_better, loaded, print_row

from bench.records.cell import CellResult
from bench.results.result_set import ResultSet


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--base", required=True)
    parser.add_argument("--variants", required=True, help="names, separated by commas")
    parser.add_argument("--metrics", default="psnr_y,niqe,fd_squeezenet,kd_squeezenet,ewarp")
    options = parser.parse_args()
    results, metrics = loaded(parser, options.results), options.metrics.split(",")
    base = cells_of(results, options.base)
    if not base:
        parser.error(f"no measured cell of {options.base} in {', '.join(map(str, options.results))}")
    print_row(["variant", "cells", "rate", *(f"{m}, {UNITS[m][1]}" if m in UNITS else m for m in metrics)])
    print_row(["---", "--:", "--:", *["--:"] * len(metrics)])
    for variant in options.variants.split(","):
        theirs = cells_of(results, variant)
        shared = [(theirs[key], base[key]) for key in sorted(theirs.keys() & base.keys())]
        if not shared:
            parser.error(f"no cell of {variant} at a rate point of {options.base}")
        rates = [np.log(cell.bpp / other.bpp) for cell, other in shared if cell.bpp and other.bpp]
        print_row([variant, len(shared), f"{np.exp(np.mean(rates)):.3f}", *(change(shared, m) for m in metrics)])


def cells_of(results: ResultSet, codec: str) -> dict[tuple[str, float], CellResult]:
    """Measured cells of a codec by sequence and rate point."""
    found = (cell for cell in results.cells if cell.codec.name == codec and cell.measurements)
    return {(cell.sequence.name, float(cell.rate.value)): cell for cell in found}


def change(shared: Sequence[tuple[CellResult, CellResult]], metric: str) -> str:
    """Mean of a metric, its change, and how often that is for the better."""
    pairs = [
        (value, other)
        for cell, base in shared
        if (one := cell.measurements.get(metric)) and (two := base.measurements.get(metric))
        if (value := one.value) is not None and (other := two.value) is not None
    ]
    if not pairs:
        return "no values"
    ours, theirs = np.array(pairs).T / UNITS.get(metric, (1.0, ""))[0]
    better = sum(is_better(metric, one, two) for one, two in pairs)
    return f"{theirs.mean():.3g} {ours.mean() - theirs.mean():+.2g} ({better} of {sum(a != b for a, b in pairs)})"


if __name__ == "__main__":
    main()
