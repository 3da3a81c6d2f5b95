"""What the bytes of our codecs' streams are for: `python benchmarks/stream_parts.py RESULTS --codec NAME`.

For each cell of a codec, Markdown: its rate, and the share of its bytes that each kind of unit takes, headers of units
included. At the end their means over the sequences, by rate point.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from equal_rate import loaded

from bench.bitstream.container import StreamReader
from bench.neural.codecs.actdiff_vc.codec import bytes_by_type as parts_of_actdiff
from bench.neural.codecs.diff_sit.codec import bytes_by_type as parts_of_diff_sit
from bench.neural.codecs.restoration.codec import bytes_by_type as parts_of_restoration
from bench.records.cell import CellResult
from bench.results.result_set import ResultSet

COUNTERS = {
    "actdiff-vc": parts_of_actdiff,
    "actdiff-vc-restored": parts_of_actdiff,
    "diff-sit": parts_of_diff_sit,
    "restoration": parts_of_restoration,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--codec", required=True)
    options = parser.parse_args()
    results = loaded(parser, options.results)
    cells = [c for c in results.cells if c.codec.name == options.codec and c.bitstream and c.bpp]
    if not cells:
        parser.error(f"no measured cell of {options.codec} in {', '.join(map(str, options.results))}")
    found = [(cell, shares(parts(results, cell))) for cell in cells]
    kinds = list(found[0][1])
    print_row(["sequence", "rate", "bpp", *kinds])
    print_row(["---", "--:", "--:", *["--:"] * len(kinds)])
    means: dict[float, list[tuple[float, dict[str, float]]]] = defaultdict(list)
    for cell, of_cell in sorted(found, key=lambda pair: (pair[0].sequence.name, pair[0].rate.value)):
        print_row([cell.sequence.name, f"{cell.rate.value:g}", f"{cell.bpp:.4f}", *per_cent(of_cell)])
        means[float(cell.rate.value)].append((float(cell.bpp or 0), of_cell))
    for rate, members in sorted(means.items()):
        mean = {kind: sum(of_cell[kind] for _, of_cell in members) / len(members) for kind in kinds}
        bpp = sum(bpp for bpp, _ in members) / len(members)
        print_row([f"mean of {len(members)}", f"{rate:g}", f"{bpp:.4f}", *per_cent(mean)])


def parts(results: ResultSet, cell: CellResult) -> dict[str, int]:
    """Bytes of a cell's stored stream by what they are for."""
    assert cell.bitstream is not None
    stored = next(p for f in results.folders if (p := f / "bitstreams" / cell.bitstream.file).is_file())
    with stored.open("rb") as file:
        codec = StreamReader(file).header.codec
        file.seek(0)
        return COUNTERS[codec](file)


def shares(of_stream: Mapping[str, int]) -> dict[str, float]:
    """Each kind's share of all bytes."""
    whole = sum(of_stream.values())
    return {kind: count / whole for kind, count in of_stream.items()}


def per_cent(of_stream: Mapping[str, float]) -> list[str]:
    """Shares as they are printed."""
    return [f"{share:.1%}" for share in of_stream.values()]


def print_row(cells: Sequence[object]) -> None:
    """A row of a Markdown table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


if __name__ == "__main__":
    main()
