"""What the pages show, as plain data: names once in an index, numbers by position, texts that repeat once a file."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.bd import FLAG_MARKS, FLAG_TEXTS, Cause, Domain
from bench.analysis.curves import CurveKey, RDCurve, SequenceKey, curves
from bench.analysis.matrix import FLAGS, Pairs, Summary, delta_pairs, flag_bits, summarise
from bench.analysis.options import CompareOptions
from bench.analysis.pooled import OVER_DATASET, DatasetKey, dataset_curves
from bench.records.cell import CellResult, CostRecord
from bench.report.comparisons import Scope
from bench.report.measured import MetricFacts, dataset_text
from bench.report.paper.overall import DatasetCurves, MeanCurves, OverallCurves

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 6
"""Significant digits of numbers on pages; the tables beside them have all."""
DB_DIGITS = 12
"""Those of values that pages draw in dB, where a similarity of 0.99999 is apart from 1."""

# The reasons of the sequences, which have rows of their own.
_GIVEN_ELSEWHERE = re.compile(r"(?<=^no sequence has a value) \(.*", re.DOTALL)
_NUMBERS = re.compile(r"(?<![\w.])\d+(\.\d+)?(?![\w.])")
_DOMAINS: tuple[Domain, ...] = ("quality", "rate")


@dataclass
class Texts:
    """Texts by number, each kept once."""

    items: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        """Number of a text, a new one if it was not there."""
        if text not in self._numbers:
            self._numbers[text] = len(self.items)
            self.items.append(text)
        return self._numbers[text]


@dataclass(frozen=True)
class Names:
    """The order that numbers in the data refer to.

    codecs: the anchor first. published: those of them that were read from papers, with what they are of. sequences:
    (dataset, name).
    """

    codecs: tuple[str, ...]
    published: Mapping[str, str]
    metrics: tuple[str, ...]
    scopes: tuple[Scope, ...]
    sequences: tuple[SequenceKey, ...]


def index(names: Names, cells: Sequence[CellResult], metrics: Sequence[MetricFacts], title: str) -> dict[str, Any]:
    """What every page needs: the names, and what tells their kinds apart."""
    by_codec: dict[str, CellResult] = {}
    kinds: dict[str, str] = {}
    loaded = {
        cell.codec.name for cell in cells for cost in (cell.encode, cell.decode) if cost and cost.timing == "shared"
    }
    for cell in cells:
        by_codec.setdefault(cell.codec.name, cell)
        if cell.codec.rate_kind != "bitstream":
            kinds[cell.codec.name] = cell.codec.rate_kind
    records = {SequenceKey(cell.sequence.dataset, cell.sequence.name): cell.sequence for cell in cells}
    counts: dict[SequenceKey, int] = defaultdict(int)
    for cell in cells:
        counts[SequenceKey(cell.sequence.dataset, cell.sequence.name)] += 1
    return {
        "title": title,
        "codecs": [
            {
                "name": name,
                "title": by_codec[name].codec.title if name in by_codec else names.published[name],
                "rate": "published" if name in names.published else kinds.get(name, "bitstream"),
                "loaded": name in loaded,
            }
            for name in names.codecs
        ],
        "metrics": [
            {
                **{"name": m.name, "title": m.title, "unit": m.unit, "better": m.direction, "problem": m.problem},
                **{"axisUnit": m.axis_unit, "scale": m.scale, "pooled": m.pooled},
            }
            for m in metrics
        ],
        "flags": [{"mark": FLAG_MARKS[flag], "text": FLAG_TEXTS[flag]} for flag in FLAGS],
        "partial": FLAGS.index(Cause.PARTIAL),
        "scopes": [{"label": scope.label, "dataset": scope.dataset} for scope in names.scopes],
        "first": next((n for n, s in enumerate(names.scopes) if s.dataset in {key.dataset for key in records}), 0),
        "sequences": [
            {
                "name": key.sequence,
                "dataset": dataset_text(key.dataset),
                "scope": next(n for n, scope in enumerate(names.scopes) if scope.dataset == key.dataset),
                "size": f"{record.width}×{record.height}",
                "frames": record.frames,
                "start": record.start,
                "fps": record.fps,
                "cells": counts[key],
            }
            for key in names.sequences
            for record in [records[key]]
        ],
    }


def metric_comparisons(
    names: Names,
    frame: pd.DataFrame,
    pooled: pd.DataFrame,
    metric: MetricFacts,
    options: CompareOptions,
) -> list[dict[str, Any]]:
    """One metric on each scope: every codec against every other, sequence by sequence, and the overall curves.

    Published curves are of datasets alone: they meet the values of whole datasets, those of other sources only with
    `options.mix_published`.
    """
    found = curves(frame, metric.name)
    by_sequence: dict[SequenceKey, list[RDCurve | None]] = {
        key: [found.get(CurveKey(codec, *key)) for codec in names.codecs] for key in names.sequences
    }
    wholes = dataset_curves(pooled) if metric.pooled or names.published else {}
    published = [curve for curve in found.values() if curve.published]
    pairs = {
        domain: {
            key: delta_pairs(key, own, names.codecs, domain, metric.axis, options) for key, own in by_sequence.items()
        }
        for domain in _DOMAINS
        if metric.axis is not None
    }
    whole_pairs = {
        domain: {
            name: delta_pairs(
                SequenceKey(name, OVER_DATASET),
                [wholes.get(DatasetKey(codec, name)) for codec in names.codecs],
                names.codecs,
                domain,
                metric.axis,
                options,
            )
            for name in _datasets(names)
        }
        for domain in _DOMAINS
        if wholes and metric.axis is not None
    }
    return [
        {
            "problem": metric.problem,
            **_curves(names, scope, metric, by_sequence, wholes, published),
            **_tables(names, scope, metric, pairs, whole_pairs),
        }
        for scope in names.scopes
    ]


def sequence_cells(
    names: Names, key: SequenceKey, cells: Iterable[CellResult], metrics: Sequence[MetricFacts]
) -> dict[str, Any]:
    """Everything that is known of the cells of one sequence, by codec and rate."""
    texts = Texts()
    numbers = {name: number for number, name in enumerate(names.codecs)}
    ordered = sorted(cells, key=lambda cell: (numbers[cell.codec.name], cell.rate.value, cell.name))
    record = ordered[0].sequence
    return {
        "name": key.sequence,
        "dataset": dataset_text(key.dataset),
        "source": {"file": record.file, "sha256": record.sha256, "format": record.pix_fmt, "matrix": record.matrix},
        "kbpsPerBpp": ordered[0].sequence.width * ordered[0].sequence.height * _fps(record.fps) / 1000,
        "cells": [_cell(cell, numbers[cell.codec.name], metrics, texts) for cell in ordered],
        "texts": texts.items,
    }


def gaps(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What has no value, folded: rows that differ in place, or in the numbers of their reason, are one.

    Each has texts by number (what, status, codec, metric, reason) and its places; where reasons differ in numbers, the
    row's has … for them, and each place has its own.
    """
    groups: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for row in rows:
        reason = _GIVEN_ELSEWHERE.sub("", str(row.get("reason") or ""))
        kind = [str(row.get(name) or "") for name in ("what", "status", "codec", "metric")]
        groups.setdefault((*kind, _NUMBERS.sub("…", reason)), []).append((_place(row), reason))
    texts = Texts()
    folded = []
    for (*kind, pattern), found in groups.items():
        alike = len({reason for _, reason in found}) == 1
        told = found[0][1] if alike else pattern
        places = [place if alike else f"{place}: {reason}" for place, reason in found]
        numbers = [texts.number(place) for place in dict.fromkeys(places) if place]
        folded.append([*(texts.number(part) for part in (*kind, told)), numbers])
    return {"rows": folded, "texts": texts.items}


def _place(row: Mapping[str, Any]) -> str:
    dataset, rate = row.get("dataset"), row.get("rate")
    where = " / ".join(str(part) for part in (dataset and dataset_text(str(dataset)), row.get("sequence")) if part)
    return f"{where} at {rate:g}" if isinstance(rate, int | float) else where


def _datasets(names: Names) -> list[str]:
    return [scope.dataset for scope in names.scopes if scope.dataset is not None]


def _tables(
    names: Names,
    scope: Scope,
    metric: MetricFacts,
    pairs: Mapping[Domain, Mapping[SequenceKey, Pairs]],
    whole_pairs: Mapping[Domain, Mapping[str, Pairs]],
) -> dict[str, Any]:
    """Every codec against every other on a scope, and on each sequence of a dataset."""
    keys = [key for key in names.sequences if scope.dataset in {None, key.dataset}]
    texts = Texts()
    tables: dict[str, Any] = {"sequences": [names.sequences.index(key) for key in keys]}
    own_pairs = {domain: [of_domain[key] for key in keys] for domain, of_domain in pairs.items()}
    wholes = {
        domain: [p for name, p in whole_pairs.get(domain, {}).items() if scope.dataset in {None, name}]
        for domain in pairs
    }
    summaries = summarise(own_pairs, names.codecs, wholes if metric.pooled else None)
    of_wholes = summarise(own_pairs, names.codecs, wholes) if names.published and not metric.pooled else None
    for domain, own in own_pairs.items():
        summary = summaries[domain]
        if of_wholes is not None:
            summary = _with_published(summary, of_wholes[domain], names)
        tables[domain] = _table(summary, texts) | {"wholeDoubts": _doubts(wholes[domain], texts)}
        if domain == "quality":
            tables |= {step: _grid(summary, step) for step in ("encode", "decode")}
        if scope.dataset is not None:
            tables[f"{domain}Sequences"] = [_sequence_table(domain, p, texts) for p in own]
    return {**tables, "texts": texts.items}


def _with_published(measured: list[list[Summary]], wholes: list[list[Summary]], names: Names) -> list[list[Summary]]:
    """Pairs by their sequences, and those with a published curve by values of whole datasets."""
    from_paper = [name in names.published for name in names.codecs]
    return [
        [wholes[a][t] if from_paper[a] or from_paper[t] else measured[a][t] for t in range(len(from_paper))]
        for a in range(len(from_paper))
    ]


def _table(summary: Sequence[Sequence[Summary]], texts: Texts) -> dict[str, Any]:
    def number(text: str | None) -> int | None:
        return None if text is None else texts.number(text)

    return {
        **{name: _grid(summary, name) for name in ("value", "overlap", "flags", "used", "total")},
        **{name: [[_ends(getattr(one, name)) for one in row] for row in summary] for name in ("compared", "spread")},
        "apart": [[int(one.apart) for one in row] for row in summary],
        "low": [[short(one.interval.low) for one in row] for row in summary],
        "high": [[short(one.interval.high) for one in row] for row in summary],
        "reason": [[number(one.reason) for one in row] for row in summary],
        "interval": [[number(one.interval.reason or one.interval.note) for one in row] for row in summary],
    }


def _grid(summary: Sequence[Sequence[Summary]], name: str) -> list[list[Any]]:
    return [[short(getattr(one, name)) for one in row] for row in summary]


def _sequence_table(domain: Domain, pairs: Pairs, texts: Texts) -> dict[str, Any]:
    reasons: dict[str, list[int]] = {}
    for (anchor, test), reason in pairs.reasons.items():
        reasons.setdefault(str(texts.number(reason)), []).append(anchor * len(pairs.value) + test)
    table = {
        "value": _rounded(pairs.value),
        "overlap": _rounded(pairs.overlap, 3),
        "flags": pairs.flags.tolist(),
        "reasons": reasons,
    }
    if domain == "quality":
        # The ends of each codec's own curve: of a pair, what both reach is compared.
        codecs = range(len(pairs.value))
        table["ends"] = [_ends(tuple(pairs.compared[:, codec, codec].tolist())) for codec in codecs]
        table["doubts"] = _doubts([pairs], texts)
        table["spread"] = _spreads(pairs)
    return table


def _doubts(pairs: Sequence[Pairs], texts: Texts) -> dict[int, list[int]]:
    """What is doubtful about each codec's own curve, as texts by number."""
    told: dict[int, list[int]] = {}
    for of_key in pairs:
        for codec, doubts in of_key.doubts.items():
            told.setdefault(codec, []).extend(texts.number(doubt.text) for doubt in doubts)
    return {codec: list(dict.fromkeys(numbers)) for codec, numbers in told.items()}


def _spreads(pairs: Pairs) -> dict[int, list[float | None]]:
    """The least and the greatest value over the interpolations, by number of the pair, where these disagree."""
    apart = np.argwhere(pairs.flags & flag_bits([Cause.METHODS_DISAGREE]) > 0).tolist()
    return {
        anchor * len(pairs.value) + test: [
            short(float(end(pairs.methods[:, anchor, test]))) for end in (np.nanmin, np.nanmax)
        ]
        for anchor, test in apart
    }


def _ends(ends: tuple[float, float] | None) -> list[Any] | None:
    return None if ends is None or math.isnan(ends[0]) else [short(end) for end in ends]


def _curves(
    names: Names,
    scope: Scope,
    metric: MetricFacts,
    by_sequence: Mapping[SequenceKey, Sequence[RDCurve | None]],
    wholes: Mapping[DatasetKey, RDCurve],
    published: Sequence[RDCurve],
) -> dict[str, Any]:
    """The overall curves of a dataset: [rate, quality, rate point] a point, and what they are over."""
    if scope.dataset is None:
        return {"curves": [], "curvesOver": "Curves are of one dataset: choose one.", "leftOut": []}
    overall: OverallCurves
    if metric.pooled:
        overall = DatasetCurves(curve for key, curve in wholes.items() if key.dataset == scope.dataset)
    else:
        own = [c for key, found in by_sequence.items() if key.dataset == scope.dataset for c in found if c is not None]
        overall = MeanCurves([*own, *(c for c in published if c.dataset == scope.dataset)], names.codecs)
    return {
        "curves": [
            [names.codecs.index(name), [[short(p.rate), short(p.quality), p.label] for p in curve.points]]
            for name, curve in overall.curves.items()
        ],
        "curvesOver": " ".join(f"{text[0].upper()}{text[1:]}." for text in overall.caption(metric) if text),
        "leftOut": [
            {**row, "what": overall.what, "dataset": scope.dataset, "metric": metric.name} for row in overall.left_out()
        ],
    }


def _cell(cell: CellResult, codec: int, metrics: Sequence[MetricFacts], texts: Texts) -> dict[str, Any]:
    measured = [cell.measurements.get(metric.name) for metric in metrics]
    told = {
        number: [one.status, texts.number(one.reason or "no reason given")]
        for number, one in enumerate(measured)
        if one is not None and one.status != "ok"
    }
    record: dict[str, Any] = {
        "codec": codec,
        "rate": cell.rate.value,
        "parameter": cell.rate.parameter,
        "status": cell.status,
        "name": cell.name,
        "key": cell.key,
        "tool": texts.number(", ".join(f"{name} {value}" for name, value in cell.codec.tool.items())),
        "run": texts.number(_run_text(cell.provenance)),
    }
    if cell.status != "ok":
        return {**record, "reason": texts.number(f"{cell.reason}: {cell.message}")}
    return {
        **record,
        "bytes": cell.rate_bytes,
        "bpp": short(cell.bpp),
        "kbps": short(cell.kbps),
        "sha256": cell.bitstream.sha256 if cell.bitstream else None,
        "encode": _cost(cell.encode),
        "decode": _cost(cell.decode),
        "changes": texts.number("; ".join(cell.changes)) if cell.changes else None,
        "values": [
            short(one.value, DB_DIGITS if metric.scale == "db" else DIGITS)
            if one is not None and one.status == "ok"
            else None
            for one, metric in zip(measured, metrics, strict=True)
        ],
        "notOk": told,
        "recorded": [
            texts.number(f"key {one.key[:12]}; " + _pairs_text(one.provenance)) if one is not None else None
            for one in measured
        ],
    }


def _cost(cost: CostRecord | None) -> dict[str, Any] | None:
    from bench.report.measured import command_text

    if cost is None:
        return None
    return {
        "s": short(cost.seconds),
        "cpu": short(cost.cpu_s),
        "rss": cost.peak_rss_bytes,
        "timing": cost.timing,
        "commands": [command_text(argv) for argv in cost.commands],
    }


def _run_text(provenance: Mapping[str, Any]) -> str:
    wanted = ("vcbench", "vcbench_revision", "started", "python", "platform", "cpu", "gpu", "jobs", "backend")
    return _pairs_text({name: provenance[name] for name in wanted if provenance.get(name) is not None})


def _pairs_text(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in record.items()) or "nothing was recorded"


def _fps(text: str) -> float:
    from fractions import Fraction

    return float(Fraction(text))


def short(value: Any, digits: int = DIGITS) -> Any:
    """A number with that many significant digits; anything else as it is."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.{digits}g}") if math.isfinite(value) else value


def _rounded(table: NDArray[np.float64], digits: int = DIGITS) -> list[list[float | None]]:
    """A table with few digits, None for NaN."""
    return [[None if math.isnan(v) else float(f"{v:.{digits}g}") for v in row] for row in table.tolist()]
