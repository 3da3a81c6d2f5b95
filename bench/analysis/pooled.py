"""Values of a whole dataset: of all its frames as one set where the metric is defined so, else means over sequences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.analysis.curves import DatasetSource, ExcludedPoint, PublishedSource, RateAxis, RDCurve, RDPoint, on_hull
from bench.analysis.quality import QualityAxis
from bench.core.files import digest_of
from bench.core.untrusted import is_there, read_features
from bench.errors import MetricError, StoreError, UnavailableError, UnknownNameError
from bench.registry import metric_class

if TYPE_CHECKING:
    import pandas as pd

    from bench.records.cell import CellResult
    from bench.records.cell_set import CellSet

OVER_DATASET = "pooled over the dataset"
OVER_SEQUENCES = "mean over sequences"

_COLUMNS = (
    *("codec", "rate", "dataset", "sequences", "frames", "bpp", "kbps", "rate_kind", "metric", "value", "status"),
    *("reason", "pooling", "source", "scale"),
)

_Pool = Callable[[list[Mapping[str, NDArray[Any]]]], Mapping[str, float]]


class DatasetKey(NamedTuple):
    """What a curve of pooled values is of."""

    codec: str
    dataset: str


def is_pooled(metric: str) -> bool:
    """Whether a metric has a value of its own for a dataset, rather than the mean of its sequences' values."""
    try:
        return hasattr(metric_class(metric), "pooled")
    except (UnknownNameError, UnavailableError):
        return False


def dataset_table(results: CellSet, metric: str) -> pd.DataFrame:
    """One row per codec, rate and dataset: see `ResultSet.datasets`."""
    return dataset_tables(results, [metric])[metric]


def dataset_tables(results: CellSet, metrics: Iterable[str]) -> dict[str, pd.DataFrame]:
    """The `dataset_table` of each of ``metrics``, for which the cells are gathered once."""
    import pandas as pd

    groups: dict[tuple[str, float, str, float], list[CellResult]] = {}
    expected: dict[str, set[str]] = {}
    for cell in results.cells:
        groups.setdefault((cell.codec.name, cell.rate.value, cell.sequence.dataset, cell.scale), []).append(cell)
        expected.setdefault(cell.sequence.dataset, set()).add(cell.sequence.name)
    features = _Features(results.folders)
    alike = [(cells, _shared(cells), expected[key[2]]) for key, cells in sorted(groups.items())]
    published = [row for part in results.published for row in part.dataset_rows()]
    found = {}
    for metric in metrics:
        if metric not in results.metrics:
            raise UnknownNameError("metric", metric, results.metrics)
        rows = [_row(cells, shared, metric, sequences, features) for cells, shared, sequences in alike]
        rows += [row for row in published if row["metric"] == metric]
        found[metric] = pd.DataFrame(rows, columns=list(_COLUMNS))
    return found


def dataset_curves(table: pd.DataFrame, rate_axis: RateAxis = "bpp") -> dict[DatasetKey, RDCurve]:
    """The curve of each codec on each dataset, out of a table of `dataset_table` of one metric."""
    rows: dict[DatasetKey, list[Any]] = {}
    table = table.astype(object)
    for row in table.where(table.notna(), None).itertuples(index=False):
        rows.setdefault(DatasetKey(str(row.codec), str(row.dataset or "")), []).append(row)
    return {key: _curve(key, rate_axis, rows[key]) for key in sorted(rows)}


def _curve(key: DatasetKey, rate_axis: RateAxis, rows: list[Any]) -> RDCurve:
    whole = [row for row in rows if row.status == "ok" and getattr(row, rate_axis) is not None]
    axis = QualityAxis.parse(rows[0].metric)
    points = [
        RDPoint(float(getattr(row, rate_axis)), axis.of(float(row.value)), _label(row), scale=row.scale or 1.0)
        for row in whole
    ]
    on, under = on_hull(points, higher_is_better=axis.kind.direction == "higher" if whole else True)
    return RDCurve(
        key.codec,
        key.dataset,
        OVER_DATASET,
        rows[0].metric,
        rate_axis,
        on,
        tuple(_excluded(row, rate_axis) for row in rows if row not in whole),
        tuple(sorted({_source_of(row) for row in whole})),
        estimated=any(row.rate_kind == "estimate" for row in whole),
        under=under,
    )


def _label(row: Any) -> str:
    return str(row.rate) if (row.scale or 1) == 1 else f"{row.rate} at {row.scale:g}x"


def _excluded(row: Any, rate_axis: RateAxis) -> ExcludedPoint:
    return ExcludedPoint(_label(row), row.status, row.reason or f"no {rate_axis}")


def _source_of(row: Any) -> DatasetSource | PublishedSource:
    if row.rate_kind == "published":
        return PublishedSource(row.source)
    return DatasetSource(int(row.sequences), int(row.frames), row.source)


class _Features:
    """The stored features of a result set, by file name."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = [folder / "features" for folder in folders]

    def path(self, name: str) -> Path:
        """File of that name in the first folder that has it; StoreError, naming it, when none does."""
        paths = (folder / name for folder in self._folders)
        found = next((path for path in paths if is_there(path, path.parent.parent)), None)
        if found is None:
            raise StoreError(
                f"{self._folders[0] / name}: is missing; delete the cell's result file to measure it again"
            )
        return found


def _shared(cells: list[CellResult]) -> dict[str, Any]:
    """What the rows of all metrics have in common."""
    first = cells[0]
    return {
        "codec": first.codec.name,
        "rate": first.rate.value,
        "dataset": first.sequence.dataset,
        "sequences": len({cell.sequence.name for cell in cells}),
        "frames": sum(cell.sequence.frames for cell in cells),
        "rate_kind": "estimate" if any(cell.codec.rate_kind == "estimate" for cell in cells) else "bitstream",
        "bpp": fmean(cell.bpp or 0 for cell in cells),
        "kbps": fmean(cell.kbps or 0 for cell in cells),
        "source": _source(cells),
        "scale": first.scale,
    }


def _row(
    cells: list[CellResult], shared: dict[str, Any], metric: str, expected: set[str], features: _Features
) -> dict[str, Any]:
    pool = _pool_of(metric)
    row = {**shared, "metric": metric, "pooling": OVER_SEQUENCES if pool is None else OVER_DATASET}
    problems = [*_problems(cells, metric, expected, pool)]
    if problems:
        return {**row, "bpp": None, "kbps": None, "status": "undefined", "reason": "; ".join(problems)}
    try:
        value = _mean(cells, metric) if pool is None else _pooled(cells, metric, features)
    except (MetricError, StoreError) as error:
        return {**row, "status": "undefined", "reason": str(error)}
    return {**row, "status": "ok", "value": value}


def _problems(cells: list[CellResult], metric: str, expected: set[str], pool: _Pool | None) -> Iterator[str]:
    """Why the cells of one (codec, rate, dataset) have no common value."""
    names = Counter(cell.sequence.name for cell in cells)
    if missing := sorted(expected - set(names)):
        yield f"no result of {', '.join(missing)}"
    for name, count in sorted(names.items()):
        if count > 1:
            yield f"{name}: {count} results under one name"
    for cell in cells:
        measured = cell.measurements.get(metric)
        if cell.status != "ok":
            yield f"{cell.sequence.name}: {cell.status} ({cell.reason})"
        elif measured is None:
            yield f"{cell.sequence.name}: not measured"
        elif measured.value is None if pool is None else not measured.features:
            yield f"{cell.sequence.name}: {measured.status} ({measured.reason or 'nothing is stored to be pooled'})"
    if len({cell.measurements[metric].key for cell in cells if metric in cell.measurements}) > 1:
        yield f"{metric} was measured by different definitions; run it again on all sequences"
    if pool is None and any(cell.measurements[metric].features for cell in cells if metric in cell.measurements):
        yield f"{metric} is not installed here, and its sequences' values have no mean"


def _mean(cells: list[CellResult], metric: str) -> float:
    values = [cell.measurements[metric].value for cell in cells]
    return fmean(value for value in values if value is not None)


def _pooled(cells: list[CellResult], metric: str, features: _Features) -> float:
    parts = [cell.measurements[metric].features for cell in sorted(cells, key=lambda cell: cell.sequence.name)]
    return _pooled_files(
        metric, tuple(tuple((side, features.path(name)) for side, name in sorted(part.items())) for part in parts)
    )


@lru_cache(maxsize=1024)
def _pooled_files(metric: str, parts: tuple[tuple[tuple[str, Path], ...], ...]) -> float:
    """Value pooled over the features in files; remembered, since files are named by content and it may take seconds."""
    pool = _pool_of(metric)
    assert pool is not None
    loaded: list[Mapping[str, NDArray[Any]]] = [
        {side: read_features(path, path.parent.parent) for side, path in part} for part in parts
    ]
    if len({rows.shape[1] for part in loaded for rows in part.values()}) > 1 or len({(*part,) for part in loaded}) > 1:
        raise MetricError(f"{metric}: the features of its cells are of different networks; measure them again")
    try:
        value = pool(loaded)["dataset"]
    except (KeyError, ValueError, np.linalg.LinAlgError) as error:  # not the features of this metric
        raise MetricError(f"{metric}: its features cannot be pooled: {error!r}; measure them again") from None
    if not math.isfinite(value):
        raise MetricError(f"{metric}: its value over the dataset is not a number")
    return value


def _pool_of(metric: str) -> _Pool | None:
    return metric_class(metric).pooled if is_pooled(metric) else None  # type: ignore[attr-defined]


def _source(cells: list[CellResult]) -> str:
    """Digest of what was coded, the same for equal frames whatever their order."""
    return digest_of(
        sorted([s.name, s.sha256, s.start, s.frames, s.width, s.height] for s in (cell.sequence for cell in cells))
    )[:12]
