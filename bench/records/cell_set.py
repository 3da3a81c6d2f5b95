"""The cells of result folders and the curves of papers as one table."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.core.untrusted import is_there, read_frames
from bench.errors import UsageError
from bench.records.cell import CellResult
from bench.records.published import PublishedSet

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

TABLE_COLUMNS = (
    "codec", "rate", "dataset", "sequence", "frames", "width", "height", "fps", "bytes", "bpp", "kbps", "rate_kind",
    "metric", "value", "status", "reason", "encode_s", "decode_s", "timing", "parameter", "pooling", "value_capped",
    "source", "cell", "scale", "encode_kmac_per_pixel", "decode_kmac_per_pixel", "parameters",
    "encode_energy_j", "decode_energy_j",
)  # fmt: skip


@dataclass
class CellSet:
    """The cells of one or more result folders, curves of papers among them, and what could not be read.

    What is computed of them is in `bench.results.result_set.ResultSet`.

    notes: which names were changed, since they stood for different codecs.
    """

    folders: tuple[Path, ...]
    cells: list[CellResult]
    problems: list[str] = field(default_factory=list)
    published: list[PublishedSet] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_pandas(self, poolings: Iterable[str] = ()) -> pd.DataFrame:
        """One row per cell and metric; failed and skipped cells have one row with their status and reason.

        A published point is a row of ``rate_kind`` "published": a value of a whole dataset, without frames and bytes.
        Each of ``poolings`` adds a column: "mean", "minimum", "maximum", "harmonic_mean", "p1", "p5", "p10", "p50" or
        "p95" of the frames' values, empty where the cell has none.
        """
        import pandas as pd

        wanted = tuple(dict.fromkeys(poolings))
        return pd.DataFrame(self.rows(wanted), columns=[*TABLE_COLUMNS, *wanted])

    def rows(self, poolings: Iterable[str] = (), metrics: Collection[str] | None = None) -> list[dict[str, Any]]:
        """The rows of `to_pandas`, those of published points without columns that do not apply to them.

        ``metrics``: rows of these alone, and those without a metric.
        """
        wanted = tuple(poolings)
        rows = [row for cell in self.cells for row in cell.rows(wanted, metrics)]
        points = (row for part in self.published for row in part.rows())
        return rows + [row for row in points if metrics is None or row["metric"] in metrics]

    def frames(self, metric: str) -> pd.DataFrame:
        """Per-frame values of a metric: codec, rate, dataset, sequence, frame, value."""
        import pandas as pd

        parts = []
        for cell in self.cells:
            values = self.frame_values(cell, [metric]).get(metric) if metric in cell.measurements else None
            if values is None:
                continue
            part = pd.DataFrame({"frame": range(len(values)), "value": values})
            part.insert(0, "sequence", cell.sequence.name)
            part.insert(0, "dataset", cell.sequence.dataset)
            part.insert(0, "rate", cell.rate.value)
            part.insert(0, "codec", cell.codec.name)
            parts.append(part)
        if not parts:
            known = sorted({name for cell in self.cells for name in cell.measurements})
            raise UsageError(f"no per-frame values of {metric!r} here; measured are: {', '.join(known) or 'none'}")
        return pd.concat(parts, ignore_index=True)

    def only(self, codecs: Iterable[str] | None = None, dataset: str | None = None) -> Self:
        """The cells of these codecs and of this dataset; of all where one is not given."""
        names = None if codecs is None else set(codecs)
        cells = [
            cell
            for cell in self.cells
            if (names is None or cell.codec.name in names) and dataset in {None, cell.sequence.dataset}
        ]
        published = [part.only(names, dataset) for part in self.published]
        return self.having(cells, [part for part in published if part.curves])

    def having(self, cells: list[CellResult], published: list[PublishedSet] | None = None) -> Self:
        """The same folders with other cells, and other published curves where they are given."""
        kept = self.published if published is None else published
        return type(self)(self.folders, cells, self.problems, kept, self.notes)

    @cached_property
    def codecs(self) -> list[str]:
        """Names of the codecs, measured and published, in alphabetical order."""
        measured = {cell.codec.name for cell in self.cells}
        return sorted(measured | {part.label(curve) for part in self.published for curve in part.curves})

    @property
    def labels(self) -> dict[str, str]:
        """Each codec's name as legends and tables show it: with its preset where its card's title names one."""
        return {name: name for name in self.codecs} | {cell.codec.name: cell.codec.label for cell in self.cells}

    def frame_values(self, cell: CellResult, metrics: list[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Per-frame values of a cell by metric, NaN where a frame has none; empty where nothing is stored.

        Raises StoreError for a file that is damaged, or no such file.
        """
        for folder in self.folders:
            with suppress(FileNotFoundError):
                path = folder / "frames" / f"{cell.name}.parquet"
                return read_frames(path, folder, cell.sequence.frames, metrics)
        return {}

    def bitstream(self, cell: CellResult) -> Path | None:
        """File of a cell's bitstream; None where there is none. StoreError where it is no regular file of the set."""
        if cell.bitstream is None:
            return None
        paths = ((folder, folder / "bitstreams" / cell.bitstream.file) for folder in self.folders)
        return next((path for folder, path in paths if is_there(path, folder)), None)

    @cached_property
    def metrics(self) -> list[str]:
        """Names of the metrics that any cell or published curve has a value of."""
        measured = [name for cell in self.cells for name in cell.measurements]
        return list(dict.fromkeys([*measured, *(curve.metric for part in self.published for curve in part.curves)]))
