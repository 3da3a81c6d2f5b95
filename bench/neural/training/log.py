"""The log of a training run: a CSV table whose columns grow as stages log other figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.core.files import write_atomically
from bench.errors import UsageError

FIRST_COLUMNS = ("stage", "step", "seconds")

Row = dict[str, str]


class TrainingLog:
    """Rows of ``log.csv``: stage, step within it, seconds trained, and whatever figures were logged then."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[Row]:
        """Rows in order, without the figures that they lack; UsageError for a file that is no such log."""
        if not self.path.is_file():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ())[: len(FIRST_COLUMNS)] != FIRST_COLUMNS:
                raise UsageError(
                    f"{self.path}: is not the log of a training (columns {', '.join(FIRST_COLUMNS)} come first)"
                )
            return [{name: value for name, value in row.items() if value} for row in reader]

    def append(self, stage: str, step: int, seconds: float, figures: Mapping[str, float]) -> None:
        """Add a row; figures not logged before become new columns at the right."""
        row = {"stage": stage, "step": str(step), "seconds": f"{seconds:.1f}"}
        row |= {name: f"{value:.6g}" for name, value in figures.items()}
        columns = self._columns()
        if set(row) <= set(columns):
            with self.path.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, columns, restval="").writerow(row)
        else:
            self._write([*self.rows(), row])

    def keep(self, wanted: Callable[[str, int], bool]) -> None:
        """Drop the rows whose stage and step are not wanted: what was logged after the checkpoint comes once more."""
        rows = self.rows()
        kept = [row for row in rows if wanted(row["stage"], int(row["step"]))]
        if len(kept) < len(rows):
            self._write(kept)

    def _columns(self) -> list[str]:
        if not self.path.is_file():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])

    def _write(self, rows: list[Row]) -> None:
        columns = dict.fromkeys([*FIRST_COLUMNS, *(name for row in rows for name in row)])
        text = io.StringIO()
        writer = csv.DictWriter(text, list(columns), restval="")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.path, text.getvalue().encode())
