"""Per-frame values for the pages: those of a cell, and which sequences get them when there are too many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.records.cell import CellResult
from bench.report.site.payload import short
from bench.results.result_set import ResultSet

MOST_VALUES = 1_500_000
"""Values of single frames on all pages together: about 12 MB."""


def frame_values(results: ResultSet, cell: CellResult) -> dict[str, list[float | None]]:
    """Values by metric, one per frame, None where a frame has none; empty where nothing is stored.

    Raises StoreError for a file that is damaged.
    """
    columns = results.frame_values(cell)
    return {name: [None if math.isnan(v) else v for v in values.tolist()] for name, values in columns.items()}


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
