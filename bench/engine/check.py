"""Whether a result set is whole: every file that its result files name is there and as it was measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.engine.store import Store
from bench.errors import UnavailableError, UnknownNameError
from bench.published import PublishedSet
from bench.registry import metric_class
from bench.results import CellResult, ResultSet


def result_problems(folder: Path, results: ResultSet) -> list[str]:
    """Problems of a result set: files that are unreadable, missing or changed since; empty where all is well."""
    store = Store(folder)
    problems = list(results.problems)
    for published in results.published:
        problems += _unknown_metrics(published)
    for cell in results.cells:
        problems += _rate_problems(cell)
        if cell.bitstream is not None and not store.bitstream_is_whole(cell.bitstream):
            problems.append(
                f"{cell.name}: bitstreams/{cell.bitstream.file} is missing or not the file that was measured"
            )
        problems += [
            f"{cell.name}: features/{name} is missing or not the file that was stored; "
            f"delete cells/{cell.name}.json to measure it again"
            for measured in cell.measurements.values()
            for name in measured.features.values()
            if not store.features_are_whole(name)
        ]
        if cell.measurements and not store.frames_path(cell.name).is_file():
            problems.append(
                f"{cell.name}: frames/{cell.name}.parquet is missing; delete cells/{cell.name}.json to measure it again"
            )
    return problems


def _rate_problems(cell: CellResult) -> Iterator[str]:
    """Contradictions between what a result file says its rate is and the card that it says it was made by."""
    kind = cell.codec.rate_kind
    said = cell.codec.card.get("rate_kind", kind)
    if kind != said:
        yield f"{cell.name}: codec.rate_kind is {kind!r}, the card in the same file says {said!r}"
    if kind == "bitstream" and cell.estimated_bits is not None:
        yield f"{cell.name}: estimated_bits is given, but the rate of {cell.codec.name} is measured; remove it"


def _unknown_metrics(published: PublishedSet) -> list[str]:
    problems = []
    for name in sorted({curve.metric for curve in published.curves}):
        try:
            metric_class(name)
        except UnknownNameError as error:
            problems.append(f"{published.paper.name}: curves: metric: {error}")
        except UnavailableError:
            continue
    return problems
