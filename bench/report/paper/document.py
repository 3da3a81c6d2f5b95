"""Figures, tables and captions to be put into a paper or on slides."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from bench.analysis.curves import RDCurve, curves
from bench.analysis.options import CompareOptions
from bench.analysis.pooled import dataset_curves
from bench.core.folders import check_rewritable, rewritten
from bench.errors import StoreError
from bench.report.comparisons import Compared, comparisons
from bench.report.escape import latex, markdown, slug
from bench.report.measured import Measured, MetricFacts, Scope, dataset_text
from bench.report.overall import DatasetCurves, MeanCurves
from bench.report.paper import figures
from bench.report.paper.captions import T1, Section, methods, write_latex, write_markdown
from bench.report.preamble import Preamble
from bench.report.text.tables import bd_rate_table, markdown_table, write_tables
from bench.results.result_set import ResultSet

DOCUMENT = "paper.tex"
TITLE = "What was measured and how"
COLUMNS = {"single-column": 2, "double-column": 5, "slides": 4}
"""Metrics side by side in a table."""


@dataclass(frozen=True)
class PaperOptions:
    """How it is made: a style of `figures.LOOKS`, the scale of the rate axis, and what is compared.

    min_overlap: the share of the anchor's curve that a BD-rate must compare to have a value, 0 to 1. looks: a file of
    one's own on how codecs are drawn, see `bench.analysis.looks.looks`.
    """

    anchor: str | None = None
    metrics: Sequence[str] | None = None
    style: str = "single-column"
    log_rate: bool = False
    min_overlap: float = 0.0
    mix_published: bool = False
    looks: Path | None = None


@dataclass(frozen=True)
class Float:
    """A figure or table on file, with the caption that says what it shows. `name` is its file's without the suffix."""

    name: str
    caption: str


@dataclass(frozen=True)
class Entry:
    """One BD-rate of a table in per cent, or why there is none.

    interval, spread: the ends of its confidence interval, and its least and greatest value over the interpolations;
    None where it has none. notes: its doubts, and why it is partial or has no interval.
    """

    value: float | None
    interval: tuple[float, float] | None
    spread: tuple[float, float] | None
    notes: tuple[str, ...]


def build_paper(results: ResultSet, out: Path, options: PaperOptions) -> Path:
    """Write figures, tables and captions of a result set into the folder `out`; ``paper.tex`` there is returned.

    ``figures/`` gets SVG, PDF and PNG, ``tables/`` LaTeX (booktabs), Markdown and CSV, ``captions.tex`` and
    ``captions.md`` what was measured and how. ``paper.tex`` shows them all. Files that an earlier call wrote, and that
    have not changed since, are replaced or removed.

    Raises UnknownNameError for an anchor or a metric that the results do not have, UsageError when there is nothing to
    show, StoreError when `out` cannot be written.
    """
    check_rewritable(out, "paper")
    how = CompareOptions(min_overlap=options.min_overlap, mix_published=options.mix_published)
    measured = Measured.of(results, options.anchor, options.metrics or None, how, options.looks)
    compared = comparisons(measured)
    preamble = Preamble.of(measured, TITLE)
    try:
        with rewritten(out, "paper") as folder:
            (folder.path / "figures").mkdir()
            drawn = list(_draw(measured, folder.path / "figures", options))
            list(write_tables(folder.path / "tables", [bd_rate_table(compared, grids=False)]))
            tables = list(_tables(compared, folder.path / "tables", COLUMNS[options.style]))
            sections = [
                Section("Read this first", (preamble.lead, *preamble.notes)),
                *(Section(f"Figure {item.name}", (item.caption,), level=3) for item in drawn),
                *(Section(f"Table {item.name}", (item.caption,), level=3) for item in tables),
                *methods(measured, preamble.protocol),
            ]
            write_markdown(folder.path / "captions.md", preamble.title, sections)
            write_latex(folder.path / "captions.tex", sections)
            _write_document(folder.path, drawn, tables, options.style)
        return out / DOCUMENT
    except OSError as error:
        raise StoreError(
            f"{out}: cannot be written: {error.strerror or error}; name a folder that can be written"
        ) from error


def _draw(measured: Measured, folder: Path, options: PaperOptions) -> Iterator[Float]:
    """One figure a metric, or several metrics side by side where the style is wide, for each dataset."""
    look = figures.LOOKS[options.style]
    plots: dict[str, list[_Plot]] = {}
    for metric in measured.metrics:
        for plot in _plots(measured, metric):
            plots.setdefault(plot.dataset, []).append(plot)
    with figures.style(look):
        for dataset in sorted(plots):
            parts = range(0, len(plots[dataset]), look.plots)
            for number, start in enumerate(parts, start=1):
                shown = plots[dataset][start : start + look.plots]
                axes = [(figures.Axis(p.metric.title, p.metric.axis_unit, p.metric.direction), p.lines) for p in shown]
                last = slug(shown[0].metric.name) if look.plots == 1 else str(number) if len(parts) > 1 else ""
                name = "_".join(filter(None, ["rd", slug(dataset or "input"), last]))
                figures.save(figures.paper_figure(axes, look, log_rate=options.log_rate), folder, name)
                yield Float(name, _figure_caption(dataset, shown, options))


@dataclass(frozen=True)
class _Plot:
    """The curves of all codecs over one dataset by one metric; `over` says what they are over."""

    dataset: str
    metric: MetricFacts
    lines: list[figures.Line]
    over: tuple[str, ...]


def _plots(measured: Measured, metric: MetricFacts) -> Iterator[_Plot]:
    codecs, looks = measured.codecs, measured.looks
    found = curves(measured.frame, metric.name)
    whole = dataset_curves(measured.results.datasets(metric.name)).values() if metric.pooled else ()
    for dataset in sorted({key.dataset for key in found}):
        own = [curve for curve in found.values() if curve.dataset == dataset]
        overall = (
            DatasetCurves(curve for curve in whole if curve.dataset == dataset)
            if metric.pooled
            else MeanCurves(own, codecs)
        )
        shown = sorted(filter(figures.can_draw, overall.curves.values()), key=lambda curve: codecs.index(curve.codec))
        if shown:
            lines = [figures.Line(looks[c.codec], c) for c in shown]
            yield _Plot(dataset, metric, lines, overall.caption(metric))


def _figure_caption(dataset: str, plots: Sequence[_Plot], options: PaperOptions) -> str:
    titles = ", ".join(plot.metric.title for plot in plots)
    shown: list[RDCurve] = [line.curve for plot in plots for line in plot.lines]
    overs = dict.fromkeys(text for plot in plots for text in plot.over if text)
    estimated = sorted({curve.codec for curve in shown if curve.estimated})
    published = sorted({curve.codec for curve in shown if curve.published})
    hidden = sum(len(curve.points) - figures.drawn_points(curve) for curve in shown)
    return _sentences(
        f"Rate and quality on {dataset_text(dataset)} by {titles}",
        *(text[0].upper() + text[1:] for text in overs),
        "Rate in bits of the bitstream per luma sample" + (", logarithmic axis" if options.log_rate else ""),
        f"Dashed, open markers: the rate is an estimate ({', '.join(estimated)})" if estimated else "",
        f"Dotted, open markers: published, not measured ({', '.join(published)})" if published else "",
        f"{hidden} points of infinite quality or without a rate above zero have no place on the axes" if hidden else "",
    )


def _tables(compared: Sequence[Compared], folder: Path, across: int) -> Iterator[Float]:
    """One table a dataset, codecs down and metrics across, split where there are too many of these."""
    for scope, group in groupby(compared, key=lambda c: c.scope):
        of_scope = list(group)
        metrics = list(dict.fromkeys(c.metric.name for c in of_scope))
        parts = [metrics[start : start + across] for start in range(0, len(metrics), across)]
        for number, part in enumerate(parts, start=1):
            table = _Table.of(scope, [c for c in of_scope if c.metric.name in part])
            stem = "all" if scope.dataset is None else slug(scope.dataset or "input")
            name = f"bd_rate_{stem}" + (f"_{number}" if len(parts) > 1 else "")
            (folder / f"{name}.tex").write_text(table.latex(name), encoding="utf-8")
            (folder / f"{name}.md").write_text(table.markdown(), encoding="utf-8")
            yield Float(name, table.caption)


@dataclass(frozen=True)
class _Table:
    """BD-rates of codecs (down) by metrics (across); notes are lettered in the order in which they are met."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, scope: Scope, compared: Sequence[Compared]) -> _Table:
        metrics = tuple(dict.fromkeys(c.metric.name for c in compared))
        tests = list(dict.fromkeys(c.test for c in compared))
        found = {(c.test, c.metric.name): c for c in compared}
        rows = tuple(
            (found[test, metrics[0]].test_label, tuple(_entry(found[test, metric]) for metric in metrics))
            for test in tests
        )
        notes = tuple(dict.fromkeys(note for _, entries in rows for entry in entries for note in entry.notes))
        in_db = {c.metric.name for c in compared if c.metric.scale == "db"}
        headings = tuple(f"{metric} (dB)" if metric in in_db else metric for metric in metrics)
        return cls(_table_caption(scope, compared), headings, rows, notes)

    def latex(self, name: str) -> str:
        wide = "*" if len(self.headings) > COLUMNS["single-column"] else ""
        head = " & ".join(["Codec", *map(latex, self.headings)])
        lines = [" & ".join([latex(codec), *map(self._latex_cell, entries)]) + r" \\" for codec, entries in self.rows]
        notes = [rf"\textsuperscript{{{_letter(n)}}} {latex(note)}" for n, note in enumerate(self.notes)]
        below = (
            "\n\n\\smallskip\\parbox{\\linewidth}{\\raggedright\\scriptsize " + r"\\ ".join(notes) + "}"
            if notes
            else ""
        )
        return (
            f"{T1}% Needs \\usepackage{{booktabs}}.\n"
            f"\\begin{{table{wide}}}[tb]\n\\centering\n\\caption{{{latex(self.caption)}}}\n\\label{{tab:{name}}}\n"
            f"\\footnotesize\n\\begin{{tabular}}{{l{'r' * len(self.headings)}}}\n\\toprule\n{head} \\\\\n\\midrule\n"
            + "\n".join(lines)
            + f"\n\\bottomrule\n\\end{{tabular}}{below}\n\\end{{table{wide}}}\n"
        )

    def markdown(self) -> str:
        head = ["Codec", *map(markdown, self.headings)]
        rows = ([markdown(codec), *map(self._markdown_cell, row)] for codec, row in self.rows)
        table = markdown_table(head, "l" + "r" * len(self.headings), rows)
        notes = "".join(f"- ({_letter(number)}) {markdown(note)}\n" for number, note in enumerate(self.notes))
        return f"{markdown(self.caption)}\n\n{table}" + (f"\n{notes}" if notes else "")

    def _letters(self, entry: Entry) -> str:
        return ",".join(_letter(self.notes.index(note)) for note in entry.notes)

    def _latex_cell(self, entry: Entry) -> str:
        letters = rf"\textsuperscript{{{self._letters(entry)}}}" if entry.notes else ""
        if entry.value is None:
            return f"undefined{letters}"
        value = f"${entry.value:+.2f}$"
        below = [
            rf"\scriptsize${left}{ends[0]:+.2f}, {ends[1]:+.2f}{right}$"
            for ends, left, right in ((entry.interval, "[", "]"), (entry.spread, r"\{", r"\}"))
            if ends is not None
        ]
        if not below:
            return value + letters
        return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{value}{letters}\\" + r"\\".join(below) + r"\end{tabular}"

    def _markdown_cell(self, entry: Entry) -> str:
        letters = f" ({self._letters(entry)})" if entry.notes else ""
        if entry.value is None:
            return f"undefined{letters}"
        interval = "" if entry.interval is None else " \\[{:+.2f}, {:+.2f}\\]".format(*entry.interval)
        spread = "" if entry.spread is None else " {{{:+.2f}, {:+.2f}}}".format(*entry.spread)
        return f"{entry.value:+.2f}{interval}{spread}{letters}".replace("-", "−")


def _entry(compared: Compared) -> Entry:
    if compared.comparison is None:
        return Entry(None, None, None, (compared.problem or "",))
    rate = compared.comparison.bd_rate
    interval = rate.interval
    if rate.value is None:
        return Entry(None, None, None, (rate.reason or "no reason given",))
    notes = [
        f"partial: {rate.reason}" if rate.status == "partial" else "",
        f"no interval: {interval.reason}" if interval.reason else "",
        interval.note or "",
        *rate.notes,
    ]
    ends = None if interval.low is None or interval.high is None else (interval.low, interval.high)
    return Entry(rate.value, ends, rate.spread, tuple(filter(None, notes)))


def _table_caption(scope: Scope, compared: Sequence[Compared]) -> str:
    first = next((c.comparison for c in compared if c.comparison), None)
    method = f", {first.bd_rate.method} interpolation" if first else ""
    pooled = ", ".join(dict.fromkeys(c.metric.name for c in compared if c.metric.pooled))
    in_db = ", ".join(dict.fromkeys(c.metric.name for c in compared if c.metric.scale == "db"))
    measured = any(not c.published for c in compared)
    over = "mean of the per-sequence results" if measured else "of the values that the paper gives for the dataset"
    return _sentences(
        f"BD-rate in per cent on {scope.label} against {compared[0].anchor_label}{method}: {over}",
        "In brackets the 95 % bootstrap interval over sequences" if measured else "",
        "In braces the least and the greatest value over PCHIP, Akima and linear interpolation",
        "Means of one metric are over the same sequences" if measured else "",
        "Negative: fewer bits than the anchor for equal quality",
        f"For {pooled}: of the values of the dataset as a whole" if pooled else "",
        f"BD-rates by {in_db} are of curves in dB, −10 log10(1 − value)" if in_db else "",
    )


def _letter(number: int) -> str:
    return string.ascii_lowercase[number % 26] * (number // 26 + 1)


def _write_document(out: Path, drawn: Iterable[Float], tables: Iterable[Float], style: str) -> None:
    """Write a document that shows everything, to be compiled in `out`, and to be copied from."""
    wide = "*" if style == "double-column" else ""
    width = r"[width=\linewidth]" if style == "slides" else ""
    floats = [
        f"\\begin{{figure{wide}}}[tb]\n\\centering\n\\includegraphics{width}{{figures/{item.name}}}\n"
        f"\\caption{{{latex(item.caption)}}}\n\\label{{fig:{item.name}}}\n\\end{{figure{wide}}}\n"
        for item in drawn
    ]
    floats += [f"\\input{{tables/{item.name}}}\n" for item in tables]
    text = (
        "\\documentclass[10pt,twocolumn]{article}\n"
        "\\usepackage[letterpaper,margin=0.64in,columnsep=0.2in]{geometry}\n"
        "\\usepackage[T1]{fontenc}\n\\usepackage[utf8]{inputenc}\n\\usepackage{booktabs,graphicx,textcomp}\n"
        "\\begin{document}\n" + "\n".join(floats) + "\\clearpage\n\\input{captions}\n\\end{document}\n"
    )
    (out / DOCUMENT).write_text(text, encoding="utf-8")


def _sentences(*parts: str) -> str:
    return " ".join(f"{part}." for part in parts if part)
