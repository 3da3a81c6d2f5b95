"""Tables, figures and pages made from result sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.results import ResultSet

__all__ = ["build_report"]


def build_report(
    results: ResultSet,
    out: Path,
    *,
    anchor: str | None = None,
    metrics: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Write the report of a result set into the folder `out`; its start page is returned.

    `out` gets ``index.html``, ``captions.md``, ``tables/`` (CSV, Markdown) and ``figures/`` (SVG, PDF, PNG); figures
    of an earlier report that are not drawn again are removed. Equal results give equal files.

    `anchor` is the codec that the others are compared with: by default x265, or the first in alphabetical order where
    x265 has no result. `metrics` are those to report, in order: by default all that were measured.

    Raises UnknownNameError for an anchor or a metric that the results do not have, UsageError when there is nothing to
    report, StoreError when `out` cannot be written.
    """
    from bench.report.build import build

    return build(results, Path(out), anchor=anchor, metrics=metrics, title=title)
