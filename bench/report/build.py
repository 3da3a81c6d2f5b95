"""The whole report: what was measured, compared, drawn, written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.errors import StoreError, UnknownNameError, UsageError
from bench.report import tables
from bench.report.comparisons import choose_anchor, comparisons, speeds
from bench.report.distinct import told_apart
from bench.report.facts import codec_facts, environment, metric_facts, sequence_facts
from bench.report.illustrations import illustrate
from bench.report.page import Content, write_captions, write_index
from bench.report.summary import default_title, no_comparison, notes, summary
from bench.results import ResultSet

EXCLUDED_ON_PAGE = 200


def build(
    results: ResultSet, out: Path, *, anchor: str | None, metrics: Sequence[str] | None, title: str | None
) -> Path:
    """See `bench.report.build_report`."""
    names = _metrics(results, metrics)
    cells, renamed = told_apart(results.cells)
    results = ResultSet(results.folders, cells, results.problems)
    base, why = choose_anchor(cells, anchor)
    facts = [metric_facts(cells, name) for name in names]
    frame = results.to_pandas()
    datasets = {name: results.datasets(name) for name in names}
    compared = comparisons(frame, results, base, facts)
    timed = speeds(cells, base, compared)
    codecs = sorted({cell.codec.name for cell in cells}, key=lambda name: (name != base, name))
    records = {(cell.sequence.dataset, cell.sequence.name): cell.sequence for cell in cells}
    try:
        for folder in (out / "tables", out / "figures"):
            folder.mkdir(parents=True, exist_ok=True)
        drawn = illustrate(frame, datasets, facts, codecs, out / "figures")
        excluded = tables.excluded_rows(cells, results.problems, names, compared, drawn.left_out)
        content = Content(
            title=title or default_title(codecs, list(records.values())),
            summary=summary(cells, names),
            anchor=base,
            anchor_reason=why,
            notes=notes(results, renamed, facts, compared, timed),
            no_comparison=no_comparison(codecs, names),
            bd_rate=tables.bd_rate_grids(compared),
            bd_rate_sequences=tables.bd_rate_sequence_grids(compared),
            speed=tables.speed_grids(timed, base),
            excluded=tables.excluded_grid(excluded, EXCLUDED_ON_PAGE) if excluded else None,
            figures=drawn.figures,
            codecs=[codec_facts(cells, name) for name in codecs],
            sequences=[sequence_facts(records[key]) for key in sorted(records)],
            metrics=facts,
            environment=environment(results, cells),
        )
        tables.write_results(out / "tables" / "results.csv", list(frame.columns), cells)
        tables.write_rd(out / "tables" / "rd.csv", cells, names)
        tables.write_datasets(out / "tables" / "datasets.csv", datasets.values())
        tables.write_bd_rate(out / "tables" / "bd_rate.csv", compared)
        tables.write_bd_rate_sequences(out / "tables" / "bd_rate_sequences.csv", compared)
        tables.write_speed(out / "tables" / "speed.csv", timed, base)
        tables.write_excluded(out / "tables" / "excluded.csv", excluded)
        _write_markdown(out / "tables", content, excluded)
        write_captions(out / "captions.md", content)
        return write_index(out / "index.html", content)
    except OSError as error:
        raise StoreError(
            f"{out}: the report cannot be written there: {error.strerror or error}; name a folder that can be written"
        ) from error


def _metrics(results: ResultSet, wanted: Sequence[str] | None) -> list[str]:
    if not results.cells:
        found = f" ({len(results.problems)} files cannot be read: {results.problems[0]})" if results.problems else ""
        folders = ", ".join(map(str, results.folders)) or "the result set"
        raise UsageError(f"{folders}: has no results to report{found}; make some with vcbench run")
    for name in wanted or ():
        if name not in results.metrics:
            raise UnknownNameError("metric", name, results.metrics)
    return list(dict.fromkeys(results.metrics if wanted is None else wanted))


def _write_markdown(folder: Path, content: Content, excluded: Sequence[tables.Row]) -> None:
    nothing = content.no_comparison or "No sequence has a comparison."
    tables.write_markdown(folder / "bd_rate.md", content.bd_rate, nothing)
    tables.write_markdown(folder / "bd_rate_sequences.md", content.bd_rate_sequences, nothing)
    tables.write_markdown(folder / "speed.md", content.speed, "Nothing was timed.")
    grids = [tables.excluded_grid(excluded)] if excluded else []
    tables.write_markdown(folder / "excluded.md", grids, "Nothing is excluded.")
