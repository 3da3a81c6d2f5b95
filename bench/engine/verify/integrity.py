"""Whether a result set is whole: every file that its result files name is there and as it was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from bench.bitstream.units import contents
from bench.core.untrusted import read_features
from bench.engine.store.folder import Store
from bench.engine.verify.recompute import contradictions
from bench.errors import BitstreamError, StoreError, UnavailableError, UnknownNameError
from bench.records.cell import CellResult
from bench.records.published import PublishedSet
from bench.registry import metric_class
from bench.results.result_set import ResultSet


def result_problems(folder: Path, results: ResultSet) -> list[str]:
    """Problems of a result set: files that are unreadable, missing or changed since; empty where all is well."""
    store = Store(folder)
    problems = list(results.problems)
    for published in results.published:
        problems += _unknown_metrics(published)
    for cell in results.cells:
        problems += _rate_problems(cell)
        problems += [f"{cell.name}: {problem}" for problem in _file_problems(cell, store, results)]
        problems += [f"{cell.name}: {problem}" for problem in contradictions(cell, _frames(results, cell))]
    return problems


def _file_problems(cell: CellResult, store: Store, results: ResultSet) -> Iterator[str]:
    """What is wrong with the files that a cell's result file names."""
    again = f"delete cells/{cell.name}.json to measure it again"
    if cell.bitstream is not None:
        name = f"bitstreams/{cell.bitstream.file}"
        yield from _unreadable(lambda: results.bitstream(cell))
        path = store.bitstream_path(cell.bitstream)
        if not store.bitstream_is_whole(cell.bitstream):
            has = f"; it has {path.stat().st_size} bytes, {cell.bitstream.bytes} are recorded" if path.is_file() else ""
            yield f"{name} is missing or not the file that was measured{has}"
        elif cell.bitstream.contents and cell.bitstream.contents != _contents(path):
            yield f"bitstream.contents are not those of {name}, which the rate is counted by"
    for measured in cell.measurements.values():
        for name in measured.features.values():
            if store.features_are_whole(name):
                yield from _unreadable(partial(read_features, store.root / "features" / name, store.root))
            else:
                yield f"features/{name} is missing or not the file that was stored; {again}"
    if cell.measurements:
        if not store.frames_path(cell.name).exists():
            yield f"frames/{cell.name}.parquet is missing; {again}"
        else:
            yield from _unreadable(lambda: results.frame_values(cell))


def _frames(results: ResultSet, cell: CellResult) -> dict[str, Any]:
    with suppress(StoreError, OSError):  # that it cannot be read is said by the check of files
        return results.frame_values(cell)
    return {}


def _contents(path: Path) -> dict[str, int]:
    with suppress(BitstreamError):
        return {str(kind): count for kind, count in contents(path).items()}
    return {}


def _unreadable(read: Callable[[], object]) -> Iterator[str]:
    try:
        read()
    except StoreError as error:
        yield str(error)
    except OSError as error:
        yield f"{error.filename}: cannot be read: {error.strerror}"


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
