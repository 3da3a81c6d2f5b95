"""Every codec against every other, by any metric and dataset: BD-rates, overall curves and speed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bench.analysis.bd import Cause, Domain
from bench.analysis.ladder import ladder_curves
from bench.analysis.matrix import Pairs, Summary, flag_bits
from bench.core.forks import in_forks
from bench.records.cell_set import TABLE_COLUMNS
from bench.report.comparisons import Compared, comparisons
from bench.report.grid import Grid
from bench.report.measured import Scope
from bench.report.site.data_script import write_script
from bench.report.site.payload import Texts, rounded, short
from bench.report.site.section import Report, Section
from bench.report.text import tables
from bench.report.text.tables import Row, Table


def _write(report: Report) -> None:
    """One file of data a scope and metric, so that a page loads no more than it shows."""
    measured, datasets = report.measured, report.datasets

    def write(number: int) -> tuple[list[Compared], list[Row]]:
        metric = measured.metrics[number]
        grid = Grid.of(measured, metric, datasets[metric.name])
        left_out: list[Row] = []
        for scope, on_scope in enumerate(_on_scopes(grid)):
            left_out.extend(on_scope.pop("leftOut"))
            write_script(report.data, f"compare-{scope}-{number}", on_scope)
        return comparisons(grid), left_out

    for compared, left_out in in_forks(write, range(len(measured.metrics)), report.forks):
        report.compared.extend(compared)
        report.left_out.extend(left_out)
    report.compared.sort(key=lambda c: measured.scopes.index(c.scope))
    report.index["costs"] = [_costs(report, scope) for scope in measured.scopes]


def _values(report: Report) -> dict[str, Any]:
    return {"preamble": report.preamble, "no_comparison": report.no_comparison}


def _tables(report: Report) -> Iterator[Table]:
    measured, compared = report.measured, report.compared
    cells = measured.results.cells
    yield tables.results_table(TABLE_COLUMNS, [*cells, *measured.results.published])
    yield tables.rd_table(cells, measured.metric_names)
    yield tables.datasets_table(report.datasets.values())
    yield tables.bd_rate_table(compared, report.no_comparison)
    yield tables.speed_table(report.speeds, measured.anchor)
    ladders = ladder_curves(measured.results, measured.metric_names)
    if ladders:
        yield tables.ladder_table(ladders)
    yield tables.complexity_table(report.speeds)


def _costs(report: Report, scope: Scope) -> list[dict[str, Any]]:
    """What codecs cost on a scope: columns of a value per codec, those that any codec has a value of."""
    of = {speed.codec: (speed, speed.complexity) for speed in report.speeds if speed.scope == scope}
    columns: list[tuple[str, dict[str, float | None]]] = [
        ("Encoding, s/frame", {name: speed.encode_s for name, (speed, _) in of.items()}),
        ("Decoding, s/frame", {name: speed.decode_s for name, (speed, _) in of.items()}),
        ("Encoder memory, MiB", {name: _in(2**20, cost.encode_bytes) for name, (_, cost) in of.items()}),
        ("Decoder memory, MiB", {name: _in(2**20, cost.decode_bytes) for name, (_, cost) in of.items()}),
        ("Encoder, kMAC/pixel", {name: cost.encode_kmac for name, (_, cost) in of.items()}),
        ("Decoder, kMAC/pixel", {name: cost.decode_kmac for name, (_, cost) in of.items()}),
        ("Parameters, M", {name: _in(1e6, cost.parameters) for name, (_, cost) in of.items()}),
        ("Encoding, J/frame", {name: cost.encode_j for name, (_, cost) in of.items()}),
        ("Decoding, J/frame", {name: cost.decode_j for name, (_, cost) in of.items()}),
    ]
    return [
        {"title": title, "values": [short(values.get(name), 3) for name in report.measured.codecs]}
        for title, values in columns
        if any(value is not None for value in values.values())
    ]


def _in(unit: float, value: float | None) -> float | None:
    return None if value is None else value / unit


def _on_scopes(grid: Grid) -> list[dict[str, Any]]:
    """One metric on each scope: every codec against every other, sequence by sequence, and the overall curves."""
    return [
        {"problem": grid.metric.problem, **_curves(grid, scope), **_pairs_data(grid, scope)}
        for scope in grid.measured.scopes
    ]


def _pairs_data(grid: Grid, scope: Scope) -> dict[str, Any]:
    """Every codec against every other on a scope, and on each sequence of a dataset."""
    texts = Texts()
    tables: dict[str, Any] = {"sequences": [grid.measured.sequences.index(key) for key in grid.keys(scope)]}
    pairs, wholes = grid.on(scope)
    for domain, summary in grid.over(scope).items():
        tables[domain] = _table(summary, texts) | {"wholeDoubts": _doubts(wholes[domain], texts)}
        if domain == "quality":
            tables |= {step: _grid(summary, step) for step in ("encode", "decode")}
        if scope.dataset is not None:
            tables[f"{domain}Sequences"] = [_sequence_table(domain, p, texts) for p in pairs[domain]]
    return {**tables, "texts": texts.items}


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
    for (anchor, test), (_, reason) in pairs.reasons.items():
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


def _curves(grid: Grid, scope: Scope) -> dict[str, Any]:
    """The overall curves of a dataset: [rate, quality, rate point] a point, and what they are over."""
    if scope.dataset is None:
        return {"curves": [], "curvesOver": "Curves are of one dataset: choose one.", "leftOut": []}
    overall, metric = grid.overall(scope.dataset), grid.metric
    return {
        "curves": [
            [grid.measured.codecs.index(name), [[short(p.rate), short(p.quality), p.label] for p in curve.points]]
            for name, curve in overall.curves.items()
        ],
        "curvesOver": " ".join(f"{text[0].upper()}{text[1:]}." for text in overall.caption(metric) if text),
        "leftOut": [
            {**row, "what": overall.what, "dataset": scope.dataset, "metric": metric.name} for row in overall.left_out()
        ],
    }


SECTION = Section("Overview", order=0, write=_write, values=_values, tables=_tables)
