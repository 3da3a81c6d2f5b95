"""The whole report: what was measured, compared, drawn, written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.analysis.curves import SequenceKey
from bench.analysis.identity import told_apart
from bench.analysis.options import CompareOptions
from bench.core.folders import check_rewritable, rewritten
from bench.errors import StoreError, UnknownNameError, UsageError
from bench.report.comparisons import choose_anchor, comparisons, scopes, speeds
from bench.report.measured import codec_facts, environment, metric_facts, sequence_facts
from bench.report.page import Content
from bench.report.site.pages import START_PAGE, Measured, write_comparisons, write_site
from bench.report.site.payload import Names
from bench.report.site.pictures import PictureOptions
from bench.report.text import tables
from bench.report.text.summary import default_title, no_comparison, notes, summary
from bench.results.result_set import ResultSet


def build(
    results: ResultSet,
    out: Path,
    *,
    anchor: str | None,
    metrics: Sequence[str] | None,
    title: str | None,
    options: CompareOptions,
    pictures: PictureOptions,
) -> Path:
    """See `bench.report.build_report`."""
    check_rewritable(out, "report")
    names = _metrics(results, metrics)
    cells, renamed = told_apart(results.cells)
    renamed = [*results.notes, *renamed]
    results = results.having(cells)
    published = {
        part.label(curve): f"{curve.codec} in {part.paper.title}" for part in results.published for curve in part.curves
    }
    base, why = choose_anchor(cells, anchor, published)
    facts = [metric_facts(cells, name) for name in names]
    frame = results.to_pandas()
    datasets = {name: results.datasets(name) for name in names}
    compared = comparisons(frame, results, base, facts, options)
    timed = speeds(cells, base, compared)
    codecs = sorted(results.codecs, key=lambda name: (name != base, name))
    records = {(cell.sequence.dataset, cell.sequence.name): cell.sequence for cell in cells}
    sequences = tuple(SequenceKey(*key) for key in sorted(records))
    shown = tuple(scopes(cells, results.published))
    order = Names(tuple(codecs), published, tuple(names), shown, sequences)
    measured = Measured(results, frame, datasets, facts, order, options)
    try:
        with rewritten(out, "report") as folder:
            (folder.path / "tables").mkdir(parents=True, exist_ok=True)
            left_out = write_comparisons(folder.path, measured)
            excluded = tables.excluded_rows(cells, results.problems, names, compared, left_out)
            content = Content(
                title=title or default_title(codecs, [scope.label for scope in shown if scope.dataset is not None]),
                summary=summary(cells, names),
                anchor=base,
                anchor_reason=why,
                notes=notes(results, renamed, facts, compared, timed),
                no_comparison=no_comparison(codecs, names),
                codecs=[codec_facts(cells, name) for name in codecs if name not in published],
                published=results.published,
                sequences=[sequence_facts(records[key]) for key in sorted(records)],
                metrics=facts,
                environment=environment(results, cells),
                min_overlap=options.min_overlap,
            )
            file, columns = folder.path / "tables" / "results.csv", list(frame.columns)
            tables.write_results(file, columns, [*cells, *results.published])
            tables.write_rd(folder.path / "tables" / "rd.csv", cells, names)
            tables.write_datasets(folder.path / "tables" / "datasets.csv", datasets.values())
            tables.write_bd_rate(folder.path / "tables" / "bd_rate.csv", compared)
            tables.write_bd_rate_sequences(folder.path / "tables" / "bd_rate_sequences.csv", compared)
            tables.write_speed(folder.path / "tables" / "speed.csv", timed, base)
            tables.write_excluded(folder.path / "tables" / "excluded.csv", excluded)
            nothing = content.no_comparison or "No sequence has a comparison."
            for name, grids, none in (
                ("bd_rate", tables.bd_rate_grids(compared), nothing),
                ("bd_rate_sequences", tables.bd_rate_sequence_grids(compared), nothing),
                ("speed", tables.speed_grids(timed, base), "Nothing was timed."),
                ("excluded", [tables.excluded_grid(excluded)] if excluded else [], "Nothing is excluded."),
            ):
                tables.write_markdown(folder.path / "tables" / f"{name}.md", grids, none)
            write_site(folder, measured, content, excluded, pictures)
        return out / START_PAGE
    except OSError as error:
        raise StoreError(
            f"{out}: the report cannot be written there: {error.strerror or error}; name a folder that can be written"
        ) from error


def _metrics(results: ResultSet, wanted: Sequence[str] | None) -> list[str]:
    if not results.cells and not results.published:
        found = f" ({len(results.problems)} files cannot be read: {results.problems[0]})" if results.problems else ""
        folders = ", ".join(map(str, results.folders)) or "the result set"
        raise UsageError(f"{folders}: has no results to report{found}; make some with vcbench run")
    for name in wanted or ():
        if name not in results.metrics:
            raise UnknownNameError("metric", name, results.metrics)
    return list(dict.fromkeys(results.metrics if wanted is None else wanted))
