"""Every codec against every other, by any metric and dataset: BD-rates, overall curves and speed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.analysis.bd import Cause, Domain
from bench.analysis.curves import CurveKey, RDCurve, SequenceKey, curves
from bench.analysis.matrix import Pairs, Summary, delta_pairs, flag_bits, summarise
from bench.analysis.pooled import OVER_DATASET, DatasetKey, dataset_curves
from bench.report.measured import Measured, MetricFacts, Scope
from bench.report.overall import DatasetCurves, MeanCurves, OverallCurves
from bench.report.site.data_script import write_script
from bench.report.site.payload import Texts, rounded, short
from bench.report.site.section import Report, Section
from bench.report.text import tables
from bench.report.text.tables import Table

if TYPE_CHECKING:
    import pandas as pd

_DOMAINS: tuple[Domain, ...] = ("quality", "rate")


def _write(report: Report) -> None:
    """One file of data a scope and metric, so that a page loads no more than it shows."""
    measured = report.measured
    for number, metric in enumerate(measured.metrics):
        for scope, on_scope in enumerate(_on_scopes(measured, report.datasets[metric.name], metric)):
            report.left_out.extend(on_scope.pop("leftOut"))
            write_script(report.data, f"compare-{scope}-{number}", on_scope)


def _values(report: Report) -> dict[str, Any]:
    return {"preamble": report.preamble, "no_comparison": report.no_comparison}


def _tables(report: Report) -> Iterator[Table]:
    measured, compared = report.measured, report.compared
    cells = measured.results.cells
    yield tables.results_table(list(measured.frame.columns), [*cells, *measured.results.published])
    yield tables.rd_table(cells, measured.metric_names)
    yield tables.datasets_table(report.datasets.values())
    yield tables.bd_rate_table(compared, report.no_comparison)
    yield tables.speed_table(report.speeds, measured.anchor)


def _on_scopes(measured: Measured, pooled: pd.DataFrame, metric: MetricFacts) -> list[dict[str, Any]]:
    """One metric on each scope: every codec against every other, sequence by sequence, and the overall curves.

    Published curves are of datasets alone: they meet the values of whole datasets, those of other sources only with
    the option `mix_published`.
    """
    found = curves(measured.frame, metric.name)
    by_sequence: dict[SequenceKey, list[RDCurve | None]] = {
        key: [found.get(CurveKey(codec, *key)) for codec in measured.codecs] for key in measured.sequences
    }
    wholes = dataset_curves(pooled) if metric.pooled or measured.published else {}
    published = [curve for curve in found.values() if curve.published]
    pairs = {
        domain: {
            key: delta_pairs(key, own, measured.codecs, domain, metric.axis, measured.options)
            for key, own in by_sequence.items()
        }
        for domain in _DOMAINS
        if metric.axis is not None
    }
    whole_pairs = {
        domain: {
            name: delta_pairs(
                SequenceKey(name, OVER_DATASET),
                [wholes.get(DatasetKey(codec, name)) for codec in measured.codecs],
                measured.codecs,
                domain,
                metric.axis,
                measured.options,
            )
            for name in _datasets(measured)
        }
        for domain in _DOMAINS
        if wholes and metric.axis is not None
    }
    return [
        {
            "problem": metric.problem,
            **_curves(measured, scope, metric, by_sequence, wholes, published),
            **_pairs_data(measured, scope, metric, pairs, whole_pairs),
        }
        for scope in measured.scopes
    ]


def _datasets(measured: Measured) -> list[str]:
    return [scope.dataset for scope in measured.scopes if scope.dataset is not None]


def _pairs_data(
    measured: Measured,
    scope: Scope,
    metric: MetricFacts,
    pairs: Mapping[Domain, Mapping[SequenceKey, Pairs]],
    whole_pairs: Mapping[Domain, Mapping[str, Pairs]],
) -> dict[str, Any]:
    """Every codec against every other on a scope, and on each sequence of a dataset."""
    keys = [key for key in measured.sequences if scope.dataset in {None, key.dataset}]
    texts = Texts()
    tables: dict[str, Any] = {"sequences": [measured.sequences.index(key) for key in keys]}
    own_pairs = {domain: [of_domain[key] for key in keys] for domain, of_domain in pairs.items()}
    wholes = {
        domain: [p for name, p in whole_pairs.get(domain, {}).items() if scope.dataset in {None, name}]
        for domain in pairs
    }
    summaries = summarise(own_pairs, measured.codecs, wholes if metric.pooled else None)
    of_wholes = summarise(own_pairs, measured.codecs, wholes) if measured.published and not metric.pooled else None
    for domain, own in own_pairs.items():
        summary = summaries[domain]
        if of_wholes is not None:
            summary = _with_published(summary, of_wholes[domain], measured)
        tables[domain] = _table(summary, texts) | {"wholeDoubts": _doubts(wholes[domain], texts)}
        if domain == "quality":
            tables |= {step: _grid(summary, step) for step in ("encode", "decode")}
        if scope.dataset is not None:
            tables[f"{domain}Sequences"] = [_sequence_table(domain, p, texts) for p in own]
    return {**tables, "texts": texts.items}


def _with_published(own: list[list[Summary]], wholes: list[list[Summary]], measured: Measured) -> list[list[Summary]]:
    """Pairs by their sequences, and those with a published curve by values of whole datasets."""
    from_paper = [name in measured.published for name in measured.codecs]
    return [
        [wholes[a][t] if from_paper[a] or from_paper[t] else own[a][t] for t in range(len(from_paper))]
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
        "value": rounded(pairs.value),
        "overlap": rounded(pairs.overlap, 3),
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
    measured: Measured,
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
        overall = MeanCurves([*own, *(c for c in published if c.dataset == scope.dataset)], measured.codecs)
    return {
        "curves": [
            [measured.codecs.index(name), [[short(p.rate), short(p.quality), p.label] for p in curve.points]]
            for name, curve in overall.curves.items()
        ],
        "curvesOver": " ".join(f"{text[0].upper()}{text[1:]}." for text in overall.caption(metric) if text),
        "leftOut": [
            {**row, "what": overall.what, "dataset": scope.dataset, "metric": metric.name} for row in overall.left_out()
        ],
    }


SECTION = Section("Overview", order=0, write=_write, values=_values, tables=_tables)
