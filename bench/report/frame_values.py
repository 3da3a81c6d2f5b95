"""Per-frame values for the pages: those of a cell, and which sequences get them when there are too many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.errors import StoreError
from bench.report.payload import short
from bench.results import CellResult, ResultSet

MOST_VALUES = 1_500_000
"""Values of single frames on all pages together: about 12 MB."""


def frame_values(results: ResultSet, cell: CellResult) -> dict[str, list[float | None]]:
    """Values by metric, one a frame, None where a frame has none; empty where nothing is stored.

    Raises StoreError for a file that is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = (folder / "frames" / f"{cell.name}.parquet" for folder in results.folders)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return {}
    try:
        columns = pq.read_table(path).to_pydict()
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path}: per-frame values cannot be read: {error}; delete it and measure again") from None
    return {name: [None if v is None or math.isnan(v) else v for v in values] for name, values in columns.items()}


def of_sequence(results: ResultSet, cells: Sequence[CellResult], metrics: Sequence[str]) -> dict[str, Any] | None:
    """Per-frame values of the cells, by number of the metric and in the cells' order; None where there are none."""
    found = [frame_values(results, cell) if cell.status == "ok" else {} for cell in cells]
    values: Mapping[int, list[Any]] = {
        number: [[short(value) for value in of_cell[name]] if name in of_cell else None for of_cell in found]
        for number, name in enumerate(metrics)
        if any(name in of_cell for of_cell in found)
    }
    return {"values": values} if values else None


def count(cells: Sequence[CellResult]) -> int:
    """How many values the cells have at most."""
    return sum(cell.sequence.frames * len(cell.measurements) for cell in cells if cell.status == "ok")
