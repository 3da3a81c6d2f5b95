"""What has no value, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.report.measured import dataset_text
from bench.report.site.data_script import write_script
from bench.report.site.payload import Texts
from bench.report.site.section import Report, Section
from bench.report.text import tables
from bench.report.text.tables import Table

# The reasons of the sequences, which have rows of their own.
_GIVEN_ELSEWHERE = re.compile(r"(?<=^no sequence has a value) \(.*", re.DOTALL)
_NUMBERS = re.compile(r"(?<![\w.])\d+(\.\d+)?(?![\w.])")


def _write(report: Report) -> None:
    write_script(report.data, "gaps", folded(report.excluded))


def _values(report: Report) -> dict[str, Any]:
    return {"anchor": report.measured.anchor}


def _tables(report: Report) -> Iterator[Table]:
    yield tables.excluded_table(report.excluded)


def folded(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
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


SECTION = Section("Gaps", order=3, write=_write, values=_values, tables=_tables)
