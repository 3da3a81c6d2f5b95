"""The cells of one sequence: rate and quality, frame by frame, and where each number comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from bench.analysis.curves import SequenceKey
from bench.core.forks import in_forks
from bench.records.cell import CellResult, CostRecord
from bench.report.measured import Measured, MetricFacts, command_text, dataset_text
from bench.report.site import frame_values
from bench.report.site.data_script import write_script
from bench.report.site.payload import DIGITS, Texts, short
from bench.report.site.section import Report, Section
from bench.report.text import tables
from bench.report.text.tables import Table

DB_DIGITS = 12
"""Significant digits of values that pages draw in dB, where a similarity of 0.99999 is apart from 1."""


def _write(report: Report) -> None:
    """One file of data a sequence, and one of its per-frame values as far as there is room for them."""
    measured, room, shown = report.measured, frame_values.MOST_VALUES, 0

    def write(number: int) -> int:
        key = measured.sequences[number]
        return write_script(report.data, f"sequence-{number}", _cells(measured, key, report.cells[key]))

    list(in_forks(write, range(len(report.cells)), report.forks))
    for number, own in enumerate(report.cells.values()):
        entry = report.index["sequences"][number]
        entry["framesData"] = False
        count = frame_values.count(own)
        if count > room:
            continue
        values = frame_values.of_sequence(measured.results, own, measured.metric_names)
        if values is not None:
            write_script(report.data, f"frames-{number}", values)
            entry["framesData"] = True
            shown += 1
            room -= count
    report.index["framesNote"] = (
        f"Per-frame values are shown for {shown} of {len(report.cells)} sequences;"
        " those of this one, if any, are in frames/ of the result set."
    )


def _tables(report: Report) -> Iterator[Table]:
    yield tables.bd_rate_sequences_table(report.compared, report.no_comparison)


def _cells(measured: Measured, key: SequenceKey, cells: Sequence[CellResult]) -> dict[str, Any]:
    """Everything that is known of the cells of one sequence, by codec and rate."""
    texts = Texts()
    numbers = {name: number for number, name in enumerate(measured.codecs)}
    record = cells[0].sequence
    return {
        "name": key.sequence,
        "dataset": dataset_text(key.dataset),
        "source": {"file": record.file, "sha256": record.sha256, "format": record.pix_fmt, "matrix": record.matrix},
        "kbpsPerBpp": record.width * record.height * _fps(record.fps) / 1000,
        "cells": [_cell(cell, numbers[cell.codec.name], measured.metrics, texts) for cell in cells],
        "texts": texts.items,
    }


def _cell(cell: CellResult, codec: int, metrics: Sequence[MetricFacts], texts: Texts) -> dict[str, Any]:
    measured = [cell.measurements.get(metric.name) for metric in metrics]
    told = {
        number: [one.status, texts.number(one.reason or "no reason given")]
        for number, one in enumerate(measured)
        if one is not None and one.status != "ok"
    }
    record: dict[str, Any] = {
        **({"scale": cell.scale} if cell.at else {}),
        "codec": codec,
        "rate": f"{cell.rate.value:g}{cell.at}" if cell.at else cell.rate.value,
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
    return float(Fraction(text))


SECTION = Section("Sequences", order=1, write=_write, tables=_tables)
