"""What was measured, how, and what it takes to measure it again."""

from __future__ import annotations

from typing import Any

from bench.report.site.section import Report, Section


def _values(report: Report) -> dict[str, Any]:
    measured = report.measured
    return {
        "anchor": measured.anchor,
        "anchor_reason": measured.anchor_reason,
        "codecs": measured.codec_facts(),
        "labels": measured.labels,
        "published": measured.results.published,
        "sequences": measured.sequence_facts(),
        "metrics": measured.metrics,
        "environment": measured.environment(),
        "protocol": report.preamble.protocol,
        "tables": report.files,
    }


SECTION = Section("Method", order=4, values=_values)
