"""Whether a result set is whole: every file that its result files name is there and as it was measured."""

from __future__ import annotations

from pathlib import Path

from bench.engine.store import Store
from bench.errors import UnavailableError, UnknownNameError
from bench.published import PublishedSet
from bench.registry import metric_class
from bench.results import ResultSet


def result_problems(folder: Path, results: ResultSet) -> list[str]:
    """Problems of a result set: files that are unreadable, missing or changed since; empty where all is well."""
    store = Store(folder)
    problems = list(results.problems)
    for published in results.published:
        problems += _unknown_metrics(published)
    for cell in results.cells:
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
