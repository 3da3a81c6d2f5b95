"""What has no value, grouped by what caused it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.report.measured import dataset_text
from bench.report.site.data_script import write_script
from bench.report.site.payload import Texts
from bench.report.site.section import Report, Section
from bench.report.text import tables
from bench.report.text.tables import Row, Table

_NUMBERS = re.compile(r"(?<![\w.])\d+(\.\d+)?(?![\w.])")
# Reasons that name no cause: it is that of rows of the same codec and metric.
_FOLLOWS = re.compile(r"no (sequence|rate point) has a value", re.IGNORECASE)
_SHORTEST_CAUSE = 12


def _write(report: Report) -> None:
    write_script(report.data, "gaps", grouped(report.excluded))


def _values(report: Report) -> dict[str, Any]:
    return {"anchor": report.measured.anchor}


def _tables(report: Report) -> Iterator[Table]:
    yield tables.excluded_table(report.excluded)


def grouped(rows: Iterable[Row]) -> dict[str, Any]:
    """What has no value, by cause: those of single cells and measurements first, then by how many rows they explain.

    A row whose reason contains another row's reason, or names no cause of its own, is put with that one: a comparison
    lacks a value because measurements do. Reasons that differ in numbers alone are one cause, with … for them. Each
    cause has its text, how many rows it explains, and entries [what, status, codecs, metrics, places]: one for all rows
    that differ in codec, metric or place alone. Everything is texts by number.
    """
    rows = list(rows)
    causes = _causes(rows)
    found: dict[str, list[tuple[Row, str]]] = defaultdict(list)
    for row, cause in zip(rows, causes, strict=True):
        found[_NUMBERS.sub("…", cause)].append((row, cause))
    texts = Texts()
    groups = [_group(alike, texts) for alike in found.values()]
    groups.sort(key=lambda group: (group.pop("derived"), -group["count"]))
    return {"causes": groups, "texts": texts.items}


def _causes(rows: list[Row]) -> list[str]:
    reasons = [str(row.get("reason") or row.get("status") or "") for row in rows]
    roots = {reason for row, reason in zip(rows, reasons, strict=True) if _is_root(row)}
    roots = {root for root in roots if len(root) >= _SHORTEST_CAUSE}
    causes = [next((root for root in roots if root in reason), reason) for reason in reasons]
    of_pair: dict[tuple[Any, Any], str] = {}
    for row, cause in zip(rows, causes, strict=True):
        if not _FOLLOWS.match(cause):
            of_pair.setdefault((row.get("codec"), row.get("metric")), cause)
    return [
        of_pair.get((row.get("codec"), row.get("metric")), cause) if _FOLLOWS.match(cause) else cause
        for row, cause in zip(rows, causes, strict=True)
    ]


def _is_root(row: Row) -> bool:
    """Whether a row is of a cell, a measurement or a file, and not of what was computed from these."""
    return row.get("what") in {"result file", "cell", "measurement"}


def _group(alike: list[tuple[Row, str]], texts: Texts) -> dict[str, Any]:
    """A cause with all that it explains."""
    one = len({cause for _, cause in alike}) == 1
    pairs: dict[tuple[Any, ...], dict[str, None]] = defaultdict(dict)
    for row, cause in alike:
        kind = tuple(str(row.get(name) or "") for name in ("what", "status", "codec", "metric"))
        place = _place(row) if one else f"{_place(row)}: {cause}"
        pairs[kind][place] = None
    by_codec: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for (what, status, codec, metric), places in pairs.items():
        by_codec[what, status, metric, tuple(places)].append(codec)
    by_metric: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for (what, status, metric, places), codecs in by_codec.items():
        by_metric[what, status, tuple(codecs), places].append(metric)
    return {
        "reason": texts.number(alike[0][1] if one else _NUMBERS.sub("…", alike[0][1])),
        "count": len(alike),
        "derived": not any(_is_root(row) for row, _ in alike),
        "entries": [
            [
                *(texts.number(what), texts.number(status)),
                *([texts.number(name) for name in names if name] for names in (codecs, metrics, places)),
            ]
            for (what, status, codecs, places), metrics in by_metric.items()
        ],
    }


def _place(row: Mapping[str, Any]) -> str:
    dataset, rate = row.get("dataset"), row.get("rate")
    where = " / ".join(str(part) for part in (dataset and dataset_text(str(dataset)), row.get("sequence")) if part)
    return f"{where} at {rate:g}" if isinstance(rate, int | float) else where


SECTION = Section("Gaps", order=3, write=_write, values=_values, tables=_tables)
