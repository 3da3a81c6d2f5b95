"""Tables, figures and pages made from result sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.results.result_set import ResultSet

__all__ = ["build_report"]


def build_report(
    results: ResultSet,
    out: Path,
    *,
    anchor: str | None = None,
    metrics: Sequence[str] | None = None,
    title: str | None = None,
    min_overlap: float = 0.0,
    mix_published: bool = False,
    pictures: int | None = None,
    clips: Sequence[Path] = (),
    paths: Sequence[Path] = (),
    trust: bool = False,
    looks: Path | None = None,
) -> Path:
    """Write the report of a result set into the folder `out`; its start page is returned.

    `out` gets the site (``index.html`` and what it needs) and ``tables/`` (CSV, Markdown). It is a new folder, an empty
    one, or one with an earlier report, which is replaced; files there that vcbench did not write, or that were changed
    since, are kept. Equal results give equal files.

    `anchor` is the codec that the others are compared with: by default x265, or the first in alphabetical order where
    x265 has no result; the site compares with any. `metrics` are those to report, in order: by default all that were
    measured. `pictures` is how many the frame viewer gets at most (0 for none; by default some, as far as decoding
    takes a minute); `clips` are files among which the sources are looked for, `paths` further folders of cards,
    which with `trust` may run programs. `min_overlap` is the share of the anchor's curve that a BD-rate must compare to
    have a value, 0 to 1; with 0 there is one wherever the curves meet, marked where it is doubtful. `mix_published`
    compares published curves with measured ones. `looks` is a file of one's own on how codecs are drawn, see
    `bench.analysis.looks.looks`.

    Raises UnknownNameError for an anchor or a metric that the results do not have, UsageError when there is nothing to
    report, `min_overlap` is not a share or `looks` is not as it should be, StoreError when `out` cannot be written or
    holds other files.
    """
    from bench.analysis.options import CompareOptions
    from bench.core.folders import check_rewritable, rewritten
    from bench.core.garbage import garbage_kept
    from bench.core.paths import local_path
    from bench.errors import StoreError
    from bench.report.measured import Measured
    from bench.report.site.pages import START_PAGE, write_site
    from bench.report.site.pictures import PictureOptions
    from bench.report.site.section import Report

    out = local_path(out)
    check_rewritable(out, "report")
    options = CompareOptions(min_overlap=min_overlap, mix_published=mix_published)
    shown = PictureOptions(pictures, tuple(clips), tuple(paths), trust)
    try:
        with garbage_kept():
            measured = Measured.of(results, anchor, metrics, options, looks)
            with rewritten(out, "report") as folder:
                write_site(Report(measured, folder, shown, title))
    except OSError as error:
        raise StoreError(
            f"{out}: the report cannot be written there: {error.strerror or error}; name a folder that can be written"
        ) from error
    return out / START_PAGE
