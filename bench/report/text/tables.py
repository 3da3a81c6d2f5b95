"""The tables of a report: as CSV with every digit for programs, as grids of text for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.analysis.bd import FLAG_TEXTS, BDResult, legend, marks, per_cent
from bench.analysis.compare import Overall, SequenceResult, SpeedRatio
from bench.analysis.curves import RDCurve
from bench.analysis.ladder import rungs, rungs_text
from bench.analysis.pooled import OVER_DATASET
from bench.core.forks import in_forks
from bench.records.cell import CellResult
from bench.records.published import PublishedSet
from bench.report.comparisons import Compared, Deltas, Speed
from bench.report.escape import markdown, write_csv
from bench.report.measured import Scope

if TYPE_CHECKING:
    import pandas as pd

UNDEFINED = "undefined"
LOAD = "under load"
NOT_COUNTED = "–"
_NO_REASON = "no reason given"
_NO_COMPARISON = "No sequence has a comparison."
Row = Mapping[str, Any]

_RD = (
    *("codec", "parameter", "rate", "dataset", "sequence", "frames", "width", "height", "fps", "bytes", "bpp", "kbps"),
    *("rate_kind", "encode_s", "decode_s", "timing", "status", "reason", "cell", "scale"),
)
_BD = (
    *("dataset", "anchor", "test", "metric", "higher_is_better", "bd_rate_percent", "ci_low", "ci_high", "ci_reason"),
    *("spread_low", "spread_high", "status", "flags", "reason", "overlap", "compared_low", "compared_high"),
    *("sequences_used", "sequences_total", "convention", "method", "rate_kind", "bd_rate_mean_curve_percent"),
    *("mean_curve_status", "mean_curve_flags", "mean_curve_reason", "mean_curve_sequences", "bd_metric"),
    *("bd_metric_ci_low", "bd_metric_ci_high", "bd_metric_spread_low", "bd_metric_spread_high", "bd_metric_status"),
    *("bd_metric_flags", "bd_metric_reason", "unit", "notes"),
)
_BD_SEQUENCES = (
    *("dataset", "sequence", "anchor", "test", "metric", "higher_is_better", "bd_rate_percent"),
    *("spread_low", "spread_high", "status", "flags", "reason", "overlap", "compared_low", "compared_high", "method"),
    *("rate_kind", "bd_metric", "bd_metric_spread_low", "bd_metric_spread_high", "bd_metric_status"),
    *("bd_metric_flags", "bd_metric_reason", "unit", "notes"),
)
_SPEED = (
    *("dataset", "codec", "anchor", "encode_ratio", "encode_reason", "encode_sequences", "decode_ratio"),
    *("decode_reason", "decode_sequences", "encode_s_per_frame", "decode_s_per_frame", "cells", "timing"),
)
_LADDER = (
    *("dataset", "sequence", "codec", "metric", "scale", "bpp_low", "bpp_high", "quality_low", "quality_high"),
    "points",
)
_COMPLEXITY = (
    *("dataset", "codec", "encode_kmac_per_pixel", "decode_kmac_per_pixel", "parameters", "encode_peak_bytes"),
    *("decode_peak_bytes", "encode_energy_j_per_frame", "decode_energy_j_per_frame", "cells"),
)
_EXCLUDED = ("what", "codec", "rate", "dataset", "sequence", "metric", "status", "reason")


@dataclass(frozen=True)
class Grid:
    """A table as text. `align` has l or r for each column; below stand the `legend` of marks, and numbered `notes`."""

    title: str
    caption: str
    headings: tuple[str, ...]
    align: str
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    legend: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of a report: NAME.csv with every digit, and NAME.md for people where there are grids.

    what: what it holds, in words. nothing: the sentence that stands in place of no grids.
    """

    name: str
    what: str
    columns: Sequence[str]
    rows: Iterable[Row]
    grids: Sequence[Grid] | None = None
    nothing: str = ""


def write_tables(folder: Path, tables: Sequence[Table], forks: int | None = 1) -> Iterator[tuple[str, str]]:
    """Write tables into a new folder; names of the files, with what they hold. `forks`: see `in_forks`."""
    folder.mkdir()

    def write(table: Table) -> None:
        write_csv(folder / f"{table.name}.csv", table.columns, table.rows)
        if table.grids is not None:
            text = "\n".join(map(_markdown_grid, table.grids)) or f"{markdown(table.nothing)}\n"
            (folder / f"{table.name}.md").write_text(text, encoding="utf-8")

    for table, _ in zip(tables, in_forks(write, tables, forks), strict=True):
        yield f"{table.name}.csv", table.what
        if table.grids is not None:
            yield f"{table.name}.md", f"{table.what}, Markdown"


def results_table(columns: Sequence[str], parts: Iterable[CellResult | PublishedSet]) -> Table:
    """One row per (cell, metric), with the columns of `ResultSet.to_pandas`."""
    return Table("results", "every measurement", columns, (row for part in parts for row in part.rows()))


def rd_table(cells: Iterable[CellResult], metrics: Sequence[str]) -> Table:
    """One row per cell, one column per metric; why a metric is empty stands in the column reason."""
    rows = (_rd_row(cell, metrics) for cell in cells)
    return Table("rd", "rate and quality of every cell", (*_RD, *metrics), rows)


def datasets_table(datasets: Iterable[pd.DataFrame]) -> Table:
    """One row per (metric, codec, rate, dataset), with the columns of `ResultSet.datasets`."""
    tables = list(datasets)
    columns = list(tables[0].columns) if tables else []
    whole = (table.astype(object).where(table.notna(), None) for table in tables)
    rows = (dict(zip(columns, row, strict=True)) for part in whole for row in part.to_numpy())
    return Table("datasets", "rate and quality of whole datasets", columns, rows)


def bd_rate_table(compared: Sequence[Compared], no_comparison: str | None = None) -> Table:
    """One row per (dataset, test codec, metric); "undefined" for what has no value, with the reason."""
    return Table(
        "bd_rate",
        "BD-rates",
        _BD,
        map(_bd_row, compared),
        [_bd_grid(scope, list(group)) for scope, group in groupby(compared, key=lambda c: c.scope)],
        no_comparison or _NO_COMPARISON,
    )


def bd_rate_sequences_table(compared: Sequence[Compared], no_comparison: str | None = None) -> Table:
    """One row per (sequence, test codec, metric)."""
    rows = (_sequence_row(c, result) for c in compared for result in _per_sequence(c))
    by_dataset = [c for c in compared if c.scope.dataset is not None]
    groups = groupby(by_dataset, key=lambda c: (c.scope, c.metric.name))
    grids = [grid for (scope, metric), group in groups if (grid := _sequence_grid(scope, metric, list(group)))]
    what = "BD-rates of each sequence"
    return Table("bd_rate_sequences", what, _BD_SEQUENCES, rows, grids, no_comparison or _NO_COMPARISON)


def speed_table(speeds: Sequence[Speed], anchor: str) -> Table:
    """One row per (dataset, codec)."""
    rows = (_speed_row(speed, anchor) for speed in speeds)
    grids = [_speed_grid(scope, list(group), anchor) for scope, group in groupby(speeds, key=lambda s: s.scope)]
    return Table("speed", "times", _SPEED, rows, grids, "Nothing was timed.")


def ladder_table(curves: Mapping[tuple[str, str], Sequence[RDCurve]]) -> Table:
    """One row per stretch of a ladder's hull: sequence, codec, metric, size, and rates and qualities from and to."""
    rows = [
        {
            "dataset": curve.dataset,
            "sequence": curve.sequence,
            "codec": codec,
            "metric": metric,
            "scale": rung.scale,
            "bpp_low": rung.low,
            "bpp_high": rung.high,
            "quality_low": rung.worst,
            "quality_high": rung.best,
            "points": rung.points,
        }
        for (codec, metric), own in curves.items()
        for curve in own
        for rung in rungs(curve)
    ]
    grid = Grid(
        "Sizes of ladders",
        "The size at which each codec is on its hull, by rate; between a size's highest rate and the next one's lowest,"
        " the next one takes over.",
        ("Dataset", "Sequence", "Codec", "Metric", "Sizes (bpp)"),
        "lllll",
        tuple(
            (curve.dataset, curve.sequence, codec, metric, rungs_text(rungs(curve)))
            for (codec, metric), own in curves.items()
            for curve in own
        ),
    )
    return Table(
        "ladder", "sizes of ladders", _LADDER, rows, [grid] if rows else [], "No codec was coded at two sizes."
    )


def complexity_table(speeds: Sequence[Speed]) -> Table:
    """One row per (dataset, codec): what networks multiply, memory, energy; empty where it was not counted."""
    rows = map(_complexity_row, speeds)
    grids = [_complexity_grid(scope, list(group)) for scope, group in groupby(speeds, key=lambda s: s.scope)]
    return Table("complexity", "complexity", _COMPLEXITY, rows, grids, "No cell has finished.")


def excluded_table(rows: Sequence[Row]) -> Table:
    """One row for each value that is not there, with the reason."""
    grid = Grid(
        "Excluded and undefined",
        "Everything that failed, was skipped, or has no defined value; none of it is counted as zero or ranked.",
        ("What", "Codec", "Rate", "Dataset", "Sequence", "Metric", "Status", "Reason"),
        "llrlllll",
        tuple(tuple(_plain(row.get(column)) for column in _EXCLUDED) for row in rows),
    )
    return Table("excluded", "what is excluded", _EXCLUDED, rows, [grid] if rows else [], "Nothing is excluded.")


def excluded_rows(
    cells: Sequence[CellResult],
    problems: Iterable[str],
    metrics: Sequence[str],
    compared: Iterable[Compared],
    left_out: Iterable[Row],
) -> list[Row]:
    """Everything that has no value, with its reason: files, cells, measurements, mean curves, BD-rates, BD-metrics."""
    return [
        *({"what": "result file", "status": "unreadable", "reason": problem} for problem in problems),
        *(row for cell in cells for row in _absent(cell, metrics)),
        *left_out,
        *(row for c in compared for row in _undefined(c)),
    ]


def _rd_row(cell: CellResult, metrics: Sequence[str]) -> Row:
    base = {**next(iter(cell.rows()), {}), **_identity(cell)}
    measured = {name: cell.measurements[name] for name in metrics if name in cell.measurements}
    reasons = [f"{name}: {m.status}, {m.reason or _NO_REASON}" for name, m in measured.items() if m.status != "ok"]
    failure = f"{cell.reason}: {cell.message}" if cell.status != "ok" else None
    values = {name: m.value for name, m in measured.items() if m.status == "ok"}
    return {**base, **values, "status": cell.status, "reason": failure or "; ".join(reasons) or None}


def _identity(cell: CellResult) -> Row:
    return {
        "codec": cell.codec.name,
        "parameter": cell.rate.parameter,
        "rate": cell.rate.value,
        "dataset": cell.sequence.dataset,
        "sequence": cell.sequence.name,
        "cell": cell.name,
    }


def _bd_row(compared: Compared) -> Row:
    base = _compared_columns(compared) | {"dataset": _dataset(compared.scope)}
    if compared.comparison is None:
        values = ("bd_rate_percent", "bd_rate_mean_curve_percent", "bd_metric")
        nothing = dict.fromkeys((*values, "status", "mean_curve_status", "bd_metric_status"), UNDEFINED)
        return base | nothing | {"reason": compared.problem}
    rate, mean, metric = _shown(compared.comparison)
    return base | {
        "bd_rate_percent": _or_undefined(rate.value),
        "ci_low": _or_undefined(rate.interval.low),
        "ci_high": _or_undefined(rate.interval.high),
        "ci_reason": rate.interval.reason or rate.interval.note,
        **_doubt_columns(rate),
        "reason": rate.reason,
        **_overlap_columns(rate),
        "sequences_used": rate.sequences_used,
        "sequences_total": rate.sequences_total,
        "convention": compared.comparison.convention,
        "bd_rate_mean_curve_percent": _or_undefined(mean.value),
        "mean_curve_status": mean.status,
        "mean_curve_flags": _flags(mean),
        "mean_curve_reason": mean.reason,
        "mean_curve_sequences": mean.sequences_used,
        "bd_metric": _or_undefined(metric.value),
        "bd_metric_ci_low": _or_undefined(metric.interval.low),
        "bd_metric_ci_high": _or_undefined(metric.interval.high),
        **_doubt_columns(metric, "bd_metric_"),
        "bd_metric_reason": metric.reason,
        "notes": "; ".join(_all_notes(rate, metric, mean)),
    }


def _sequence_row(compared: Compared, result: SequenceResult) -> Row:
    return _compared_columns(compared) | {
        "dataset": result.dataset,
        "sequence": result.sequence,
        "bd_rate_percent": _or_undefined(result.bd_rate.value),
        **_doubt_columns(result.bd_rate),
        "reason": result.bd_rate.reason,
        **_overlap_columns(result.bd_rate),
        "bd_metric": _or_undefined(result.bd_metric.value),
        **_doubt_columns(result.bd_metric, "bd_metric_"),
        "bd_metric_reason": result.bd_metric.reason,
        "notes": "; ".join(_all_notes(result.bd_rate, result.bd_metric)),
    }


def _doubt_columns(delta: BDResult, of: str = "") -> dict[str, Any]:
    low, high = delta.spread or (None, None)
    return {
        f"{of}spread_low": _or_undefined(low),
        f"{of}spread_high": _or_undefined(high),
        f"{of}status": delta.status,
        f"{of}flags": _flags(delta),
    }


def _overlap_columns(delta: BDResult) -> dict[str, Any]:
    low, high = delta.compared or (None, None)
    return {"overlap": delta.overlap, "compared_low": low, "compared_high": high}


def _flags(delta: BDResult) -> str:
    return "; ".join(str(flag) for flag in FLAG_TEXTS if flag in delta.flags)


def _all_notes(rate: BDResult, metric: BDResult, mean: BDResult | None = None) -> Iterable[str]:
    """The notes of all; those of the curves, which BD-rate and BD-metric share, once."""
    others = {"BD-metric": metric.notes, "mean curve": mean.notes if mean else ()}
    own = (f"{what}: {note}" for what, notes in others.items() for note in notes if note not in rate.notes)
    return (*rate.notes, *own)


def _compared_columns(compared: Compared) -> dict[str, Any]:
    return {
        "anchor": compared.anchor,
        "test": compared.test,
        "metric": compared.metric.name,
        "higher_is_better": None if compared.metric.direction is None else compared.metric.direction == "higher",
        "unit": compared.metric.axis_unit,
        "method": compared.method,
        "rate_kind": "published" if compared.published else "estimate" if compared.estimated else "bitstream",
    }


def _speed_row(speed: Speed, anchor: str) -> Row:
    row: dict[str, Any] = {
        "dataset": _dataset(speed.scope),
        "codec": speed.codec,
        "anchor": anchor,
        "encode_s_per_frame": _or_undefined(speed.encode_s),
        "decode_s_per_frame": _or_undefined(speed.decode_s),
        "cells": speed.cells,
        "timing": _timing(speed.timing),
    }
    for step, ratio in (("encode", speed.encode), ("decode", speed.decode)):
        row |= {
            f"{step}_ratio": 1.0 if speed.is_anchor else _or_undefined(ratio.value),
            f"{step}_reason": None if speed.is_anchor else ratio.reason,
            f"{step}_sequences": None if speed.is_anchor else ratio.sequences_used,
        }
    return row


def _complexity_row(speed: Speed) -> Row:
    found = speed.complexity
    return {
        "dataset": _dataset(speed.scope),
        "codec": speed.codec,
        "encode_kmac_per_pixel": found.encode_kmac,
        "decode_kmac_per_pixel": found.decode_kmac,
        "parameters": found.parameters,
        "encode_peak_bytes": found.encode_bytes,
        "decode_peak_bytes": found.decode_bytes,
        "encode_energy_j_per_frame": found.encode_j,
        "decode_energy_j_per_frame": found.decode_j,
        "cells": speed.cells,
    }


def _absent(cell: CellResult, metrics: Sequence[str]) -> Iterator[Row]:
    if cell.status != "ok":
        yield {**_identity(cell), "what": "cell", "status": cell.status, "reason": f"{cell.reason}: {cell.message}"}
        return
    for name in metrics:
        measured = cell.measurements.get(name)
        row = {**_identity(cell), "what": "measurement", "metric": name}
        if measured is None:
            yield {**row, "status": "not measured", "reason": "the run of this cell did not ask for it"}
        elif measured.status != "ok":
            yield {**row, "status": measured.status, "reason": measured.reason or _NO_REASON}


def _undefined(compared: Compared) -> Iterator[Row]:
    base = {"codec": compared.test, "metric": compared.metric.name, "status": UNDEFINED}
    if compared.comparison is None:
        yield {**base, "what": "BD-rate", "dataset": _dataset(compared.scope), "reason": compared.problem}
        return
    for what, overall in (("BD-rate", compared.comparison.bd_rate), ("BD-metric", compared.comparison.bd_metric)):
        if overall.value is None:
            yield {**base, "what": f"{what} overall", "dataset": _dataset(compared.scope), "reason": overall.reason}
    for result in _per_sequence(compared):
        where = {"dataset": result.dataset, "sequence": result.sequence}
        for what, delta in (("BD-rate", result.bd_rate), ("BD-metric", result.bd_metric)):
            if delta.value is None:
                yield {**base, **where, "what": what, "reason": delta.reason}


def _per_sequence(compared: Compared) -> Sequence[SequenceResult]:
    # The sequences of all datasets together are those of each dataset once more.
    return compared.comparison.per_sequence if compared.comparison and compared.scope.dataset is not None else ()


def _bd_grid(scope: Scope, compared: Sequence[Compared]) -> Grid:
    remarks = _numbered([list(map(_brief, _remarks(c))) for c in compared])
    rows = ((c.metric.name, c.test_label, *_bd_cells(c), text) for c, text in zip(compared, remarks.texts, strict=True))
    pooled = ", ".join(dict.fromkeys(c.metric.name for c in compared if c.metric.pooled))
    return Grid(
        f"BD-rate on {scope.label}",
        f"BD-rate on {scope.label} against {compared[0].anchor_label}, {compared[0].method} interpolation: mean of the"
        " per-sequence results, with its interval of 95 % confidence over sequences, and from its least to its greatest"
        " value over PCHIP, Akima and linear interpolation; then the BD-rate of the mean curves. Means of one metric"
        " are over the same sequences. Negative: fewer bits than the anchor for equal quality. Overlap: the share of"
        " the anchor's curve that is compared, of the sequence where it is least. BD-metric: mean difference in quality"
        " at equal rate."
        + (f" {in_db} in dB, -10 log10(1 - value)." if (in_db := _in_db(compared)) else "")
        + (
            f" For {pooled}: of the values {OVER_DATASET}, then of the mean curves of the videos' own."
            if pooled
            else ""
        ),
        (
            *("Metric", "Codec", "BD-rate", "95 % interval", "Interpolations", "Mean curve", "Sequences", "Overlap"),
            *("Compared", "BD-metric", "Remarks"),
        ),
        "llrrrrrrrrl",
        tuple(rows),
        remarks.notes,
        _legend(delta for c in compared if c.comparison for delta in _shown(c.comparison)),
    )


def _shown(comparison: Deltas) -> tuple[Overall, Overall, Overall]:
    """BD-rate, that of the mean curves, and BD-metric."""
    return comparison.bd_rate, comparison.of_means, comparison.bd_metric


def _legend(deltas: Iterable[BDResult]) -> tuple[str, ...]:
    return tuple(legend(flag for delta in deltas if delta.value is not None for flag in delta.flags))


def _in_db(compared: Iterable[Compared]) -> str:
    """The metrics that are compared in dB though their values are not."""
    return ", ".join(dict.fromkeys(c.metric.name for c in compared if c.metric.scale == "db"))


def _bd_cells(compared: Compared) -> tuple[str, ...]:
    if compared.comparison is None:
        return (UNDEFINED, "none", "none", UNDEFINED, "0", "none", "none", UNDEFINED)
    rate, mean, metric = _shown(compared.comparison)
    unit = compared.metric.axis_unit
    return (
        _per_cent(rate, compared),
        _from_to(rate.interval.low, rate.interval.high),
        _from_to(*(rate.spread or (None, None))),
        _per_cent(mean, compared),
        _of_sequences(rate),
        "none" if rate.overlap is None else per_cent(rate.overlap),
        "none" if rate.compared is None else f"{rate.compared[0]:.4g} to {rate.compared[1]:.4g} {unit}".strip(),
        UNDEFINED if metric.value is None else f"{_signed(metric.value, '.3g')} {unit}".strip() + _marked(metric),
    )


def _of_sequences(rate: Overall) -> str:
    # A published curve is of a whole dataset, whose sequences nobody compared one by one.
    return f"{rate.sequences_used} of {rate.sequences_total}" if rate.sequences_total else "whole dataset"


def _marked(delta: BDResult) -> str:
    """The marks of a value, as they stand behind it."""
    return f" ({marks(delta.flags)})" if delta.flags else ""


def _remarks(compared: Compared) -> list[str]:
    comparison = compared.comparison
    if comparison is None:
        return [compared.problem or ""]
    rate, mean, metric = _shown(comparison)
    interval = rate.interval
    return [
        *([] if rate.reason is None else [rate.reason]),
        *([] if mean.reason is None else [f"mean curve: {mean.reason}"]),
        *([] if metric.reason is None or metric.reason == rate.reason else [f"BD-metric: {metric.reason}"]),
        *([f"no interval: {interval.reason}"] if interval.reason and rate.value is not None else []),
        *([f"interval: {interval.note}"] if interval.note else []),
        *_all_notes(rate, metric),
    ]


@dataclass(frozen=True)
class _Numbered:
    texts: list[str]
    notes: tuple[str, ...]


def _numbered(remarks: Sequence[Sequence[str]]) -> _Numbered:
    """Remarks that several rows share become numbered notes; the others stay in their row."""
    counts = Counter(text for row in remarks for text in dict.fromkeys(row))
    shared = [text for text, count in counts.items() if count > 1]
    numbers = {text: number for number, text in enumerate(shared, start=1)}

    def text(row: Sequence[str]) -> str:
        """What stands in a row: its own remarks, then the numbers of its notes."""
        distinct = list(dict.fromkeys(row))
        found = sorted(numbers[item] for item in distinct if item in numbers)
        own = [item for item in distinct if item not in numbers]
        return "; ".join([*own, *([f"note {', '.join(map(str, found))}"] if found else [])])

    return _Numbered([text(row) for row in remarks], tuple(shared))


def _sequence_grid(scope: Scope, metric: str, compared: Sequence[Compared]) -> Grid | None:
    tests = [c for c in compared if c.comparison]
    results = {(r.sequence, c.test): (c, r.bd_rate) for c in tests for r in _per_sequence(c)}
    sequences = sorted({sequence for sequence, _ in results})
    if not sequences:
        return None

    def cell(sequence: str, test: str) -> str:
        found = results.get((sequence, test))
        if found is None:
            return f"{UNDEFINED}: neither codec was measured"
        c, delta = found
        return _per_cent(delta, c) if delta.value is not None else f"{UNDEFINED}: {_brief(delta.reason or _NO_REASON)}"

    return Grid(
        f"{metric} on {scope.label}",
        f"BD-rate of each sequence of {scope.label} by {metric}, against {compared[0].anchor_label}. The figures behind"
        " the marks are in bd_rate_sequences.csv, column notes.",
        ("Sequence", *(c.test_label for c in tests)),
        "l" + "r" * len(tests),
        tuple((sequence, *(cell(sequence, c.test) for c in tests)) for sequence in sequences),
        legend=_legend(delta for _, delta in results.values()),
    )


def _speed_grid(scope: Scope, speeds: Sequence[Speed], anchor: str) -> Grid:
    loaded = any(speed.timing in {"shared", "mixed"} for speed in speeds)
    label = next((speed.label for speed in speeds if speed.is_anchor), anchor)
    return Grid(
        f"Speed on {scope.label}",
        f"Encoding and decoding time on {scope.label}: the ratio to {label} (geometric mean over the sequences"
        " that the BD-rates are over, or all that both coded where there is none; under 1 is faster), and seconds per"
        " frame (geometric mean over the cells)."
        + (
            f" “{LOAD}”: other cells were at work at the same time, so these times do not compare speed;"
            " such a decoding time is a lower bound. A run that times its cells one at a time gives times to compare."
            if loaded
            else ""
        ),
        ("Codec", "Encoding ratio", "Decoding ratio", "Encoding s/frame", "Decoding s/frame", "Cells", "Timing"),
        "lrrrrrl",
        tuple(
            (
                speed.label,
                _ratio(speed.encode, speed),
                _ratio(speed.decode, speed),
                _seconds(speed.encode_s),
                _seconds(speed.decode_s),
                str(speed.cells),
                _timing(speed.timing),
            )
            for speed in speeds
        ),
    )


def _complexity_grid(scope: Scope, speeds: Sequence[Speed]) -> Grid:
    costs = [speed.complexity for speed in speeds]
    columns: list[tuple[str, list[str]]] = [
        ("Encoder kMAC/pixel", [_figures(cost.encode_kmac) for cost in costs]),
        ("Decoder kMAC/pixel", [_figures(cost.decode_kmac) for cost in costs]),
        ("Parameters (M)", [_figures(_scaled(cost.parameters, 1e6)) for cost in costs]),
        ("Encoder memory (MiB)", [_figures(_scaled(cost.encode_bytes, 1 << 20)) for cost in costs]),
        ("Decoder memory (MiB)", [_figures(_scaled(cost.decode_bytes, 1 << 20)) for cost in costs]),
        ("Encoding J/frame", [_figures(cost.encode_j) for cost in costs]),
        ("Decoding J/frame", [_figures(cost.decode_j) for cost in costs]),
    ]
    shown = [(title, column) for title, column in columns if any(cell != NOT_COUNTED for cell in column)]
    energy = any(cost.encode_j is not None or cost.decode_j is not None for cost in costs)
    return Grid(
        f"Complexity on {scope.label}",
        f"What encoders and decoders need on {scope.label} on any machine: multiply-accumulates of their networks"
        " (thousands per pixel of the source, mean over the cells), parameters of these networks, and peak memory (the"
        f" highest of the cells). “{NOT_COUNTED}”: not counted, as for codecs without networks and for those whose"
        " networks run in an interpreter of their own."
        + (
            " Energy: joules per frame of the machine's processors while a cell ran alone, what the idle machine takes"
            " included."
            if energy
            else ""
        ),
        ("Codec", *(title for title, _ in shown)),
        "l" + "r" * len(shown),
        tuple((speed.codec, *(column[number] for _, column in shown)) for number, speed in enumerate(speeds)),
    )


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _figures(value: float | None) -> str:
    return NOT_COUNTED if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def markdown_table(headings: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, of cells that are Markdown already; `align` has l or r for each column."""
    rule = ["---:" if side == "r" else ":---" for side in align]
    return "".join(f"| {' | '.join(line)} |\n" for line in (headings, rule, *rows))


def _markdown_grid(grid: Grid) -> str:
    table = markdown_table(list(map(markdown, grid.headings)), grid.align, (list(map(markdown, r)) for r in grid.rows))
    notes = "".join(f"{number}. {markdown(note)}\n" for number, note in enumerate(grid.notes, start=1))
    text = f"## {markdown(grid.title)}\n\n{markdown(grid.caption)}\n\n{table}"
    if grid.legend:
        text += f"\nMarks: {'; '.join(map(markdown, grid.legend))}.\n"
    return f"{text}\nNotes:\n\n{notes}" if notes else text


def _brief(reason: str) -> str:
    return reason if len(reason) <= 240 else f"{reason[:200]} … (in full in the CSV)"


def _dataset(scope: Scope) -> str:
    return "all datasets" if scope.dataset is None else scope.dataset


def _per_cent(delta: BDResult, compared: Compared) -> str:
    if delta.value is None:
        return UNDEFINED
    return f"{'≈ ' if compared.estimated else ''}{_signed(delta.value, '.2f')} %{_marked(delta)}"


def _from_to(low: float | None, high: float | None) -> str:
    return "none" if low is None or high is None else f"{_signed(low, '.2f')} to {_signed(high, '.2f')} %"


def _signed(value: float, form: str) -> str:
    return f"{value:+{form}}".replace("-", "−")


def _ratio(ratio: SpeedRatio, speed: Speed) -> str:
    if speed.is_anchor:
        return "1 (anchor)"
    return f"{UNDEFINED}: {ratio.reason}" if ratio.value is None else f"{ratio.value:.3g}"


def _seconds(value: float | None) -> str:
    return "not timed" if value is None else f"{value:.3g}"


def _timing(timing: str) -> str:
    return {"shared": LOAD, "mixed": f"partly {LOAD}", "": "not timed"}.get(timing, timing)


def _plain(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _or_undefined(value: float | None) -> float | str:
    return UNDEFINED if value is None else value
